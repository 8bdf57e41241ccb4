"""The mapping language: tables without a header, algorithms by row, words, constants, defaults, dates and numbers."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashhub import hashes
from hashhub.errors import InvalidArgument, MalformedSource
from hashhub.hashes import ALGORITHMS, Hash
from hashhub.model import Flags, Record, Reject
from hashhub.testing.connectors import ConnectorContract
from hashhub_connectors.csv_mapping import MappedCSV, read_mapping

MD5 = "7b4747409fe1f2e64f187eac679ea0cc"
SHA1 = "e8b68fd718d14f83fbff3f89b9e2f49bc0d24efd"
SHA256 = "a347453078c89e1360fe02bdc77159b72a530e4df2362e6ccec8aac4c8ae75f9"
PDQ = "ffff0000" * 8
HEADERLESS = 'delimiter = ";"\nheader = false\n[columns]\nmd5 = 1\nvalue = 2\n'
PAIRS = '[columns]\ndigest = "Value"\nalgorithm = "Type"\n'


def read(text: str | bytes, mapping: str) -> list[Record | Reject]:
    data = text if isinstance(text, bytes) else text.encode()
    return list(MappedCSV().read(io.BytesIO(data), {"mapping": mapping}))


def record(items: list[Record | Reject]) -> Record:
    (one,) = items
    assert isinstance(one, Record), one
    return one


def reasons(items: list[Record | Reject]) -> list[str]:
    return [one.reason if isinstance(one, Reject) else "" for one in items]


def wrong_fields(mapping: str) -> set[str]:
    with pytest.raises(InvalidArgument) as caught:
        read_mapping(mapping)
    assert not isinstance(caught.value, MalformedSource)
    return {v.field.removeprefix("options.mapping").removeprefix(".") for v in caught.value.violations}


class TestHeaderless(ConnectorContract):
    connector = MappedCSV()
    sample = f'{MD5};A;x\n{MD5.upper()};"B\n";\n;C;\n{MD5};D\n'.encode()
    items = 4
    options = {"mapping": HEADERLESS}  # noqa: RUF012 - a constant of the class


class TestAlgorithmByRow(ConnectorContract):
    connector = MappedCSV()
    sample = f"Type,Value\nMD5,{MD5}\nsha-1,{SHA1}\n,{MD5}\nSHA512,{MD5 * 4}\npdq,{PDQ}\n".encode()
    items = 5
    options = {"mapping": PAIRS}  # noqa: RUF012 - a constant of the class


class TestWithoutHeader:
    def test_the_first_row_is_an_item(self) -> None:
        items = read(f"{MD5};A\n{MD5};B\n", HEADERLESS)
        assert [(one.position, one.value) for one in items if isinstance(one, Record)] == [
            ("line 1", "A"),
            ("line 2", "B"),
        ]

    @pytest.mark.parametrize(
        "cell", [MD5, SHA1, SHA256, MD5.upper(), f" {MD5} ", f"MD5:{MD5}", "1,23457E+31", "ab" * 144]
    )
    def test_a_header_that_is_an_item_is_refused_with_the_way_out(self, cell: str) -> None:
        with pytest.raises(MalformedSource) as caught:
            read(f"Name;{cell}\nx;{MD5}\n", f'delimiter = ";"\n[columns]\nmd5 = "{cell.strip()}"\n')
        assert "the first row is an item, and no header: its cell 2 is a digest; say header = false" in str(
            caught.value
        )
        assert caught.value.position == "line 1"

    @pytest.mark.parametrize(
        "name",
        ["number_of_submissions_in_the_last_quarter_ab", "Hash value", "a" * 43, "sha256:", "ABCDEFABCDEFABCD", "1"],
    )
    def test_names_of_columns_are_no_items(self, name: str) -> None:
        mapping = f'delimiter = ";"\n[columns]\nmd5 = "MD5"\nseries = "{name}"\n'
        assert record(read(f"MD5;{name}\n{MD5};s\n", mapping)).series == "s"

    def test_rows_must_have_as_many_cells_as_the_first_complete_one(self) -> None:
        text = f"{MD5}\n{MD5};A;x\n{MD5};A;x;y\n{MD5};A\n{MD5};B;z\n"
        assert reasons(read(text, HEADERLESS)) == [
            "WRONG_COLUMN_COUNT",
            "",
            "WRONG_COLUMN_COUNT",
            "WRONG_COLUMN_COUNT",
            "",
        ]

    def test_lines_before_the_items_are_skipped_if_the_mapping_says_so(self) -> None:
        text = f"Hotline Musterstadt\n\nMD5;MD5\n{MD5};A\n"
        (one,) = read(text, "skip = 3\n" + HEADERLESS)
        assert one.position == "line 4"
        named = 'delimiter = ";"\nskip = 2\n[columns]\nmd5 = "MD5"\n'
        assert record(read(f"Hotline;;\n\nMD5;x\n{MD5};A\n", named)).position == "line 4"

    def test_names_need_a_header_and_numbers_need_none(self) -> None:
        assert wrong_fields('header = false\n[columns]\nmd5 = "MD5"') == {"columns.md5"}
        assert wrong_fields("header = false\n[columns]\nmd5 = 0") == {"columns.md5"}
        assert wrong_fields("header = false\n[columns]\nmd5 = true") == {"columns.md5"}
        assert wrong_fields('header = 1\nskip = -1\n[columns]\nmd5 = "x"\ntags = 3') == {
            "header",
            "skip",
            "columns.tags",
        }

    def test_nothing_but_an_empty_file_is_no_list(self) -> None:
        assert read("\n\n", HEADERLESS) == []
        with pytest.raises(MalformedSource, match="empty"):
            read("", HEADERLESS)


class TestAlgorithms:
    @pytest.mark.parametrize(
        ("name", "digest", "algorithm"),
        [
            ("MD5", MD5, "MD5"),
            ("sha-256", SHA256, "SHA256"),
            ("SHA256", SHA256, "SHA256"),
            ("pdq", PDQ, "PDQ"),
            ("SHA-1 Hash", SHA1, "SHA1"),
            ("Hash (MD5)", MD5, "MD5"),
            ("PhotoDNA", "ab" * 144, "PHOTODNA"),
            ("Prüfsumme", MD5, "MD5"),
            ("", MD5, "MD5"),
            ("", SHA1, "SHA1"),
            ("", f"pdq:{PDQ}", "PDQ"),
            ("", f"SHA256:{SHA256}", "SHA256"),
        ],
    )
    def test_a_column_names_it_or_the_digest_itself(self, name: str, digest: str, algorithm: str) -> None:
        mapping = PAIRS + '[algorithms]\n"prüfsumme" = "md5"\n'
        assert record(read(f"Type,Value\n{name},{digest}\n", mapping)).hashes == (
            hashes.parse(algorithm, digest.rpartition(":")[2]),
        )

    @pytest.mark.parametrize(
        ("name", "digest", "reason", "word"),
        [
            ("", SHA256, "AMBIGUOUS_ALGORITHM", "SHA256 or PDQ"),
            ("", "ab" * 8, "AMBIGUOUS_ALGORITHM", "PHASH or DHASH"),
            ("", "ab" * 11, "DIGEST_WRONG_LENGTH", "22 hexadecimal digits"),
            ("", "x" * 32, "AMBIGUOUS_ALGORITHM", "column `algorithm`"),
            ("MD5", SHA1, "DIGEST_WRONG_LENGTH", "32 hexadecimal"),
            ("tiger", MD5, "UNSUPPORTED_ALGORITHM", "tiger"),
            ("MD5", "1,2E+31", "EXCEL_MANGLED", "export the column as text"),
            ("", "1,2E+31", "EXCEL_MANGLED", ""),
            ("MD5", "", "NO_HASH", ""),
        ],
    )
    def test_what_nothing_tells_is_not_guessed(self, name: str, digest: str, reason: str, word: str) -> None:
        (one,) = read(f'Type,Value\n{name},"{digest}"\n', PAIRS)
        assert isinstance(one, Reject)
        assert one.reason == reason
        assert word in one.detail

    def test_lengths_constants_and_defaults_tell_it(self) -> None:
        mixed = '[columns]\ndigest = "Value"\n'
        for more in (
            '[lengths]\n64 = "SHA-256"\n',
            '[defaults]\nalgorithm = "sha256"\n',
            '[constants]\nalgorithm = "sha256"\n',
        ):
            assert record(read(f"Value\n{SHA256}\n", mixed + more)).hashes[0].algorithm == "SHA256"
        by_row = read(f"Type,Value\nPDQ,{PDQ}\n,{SHA256}\n", PAIRS + '[defaults]\nalgorithm = "sha256"\n')
        assert [h.algorithm for one in by_row if isinstance(one, Record) for h in one.hashes] == ["PDQ", "SHA256"]

    def test_sixteen_digits_that_end_in_a_zero_are_a_digest(self) -> None:
        assert record(read("Type,Value\nphash,1234567890123450\n", PAIRS)).hashes[0].digest.hex() == "1234567890123450"
        assert reasons(read("Type,Value\nphash,1234567000000000\n", PAIRS)) == ["EXCEL_MANGLED"]

    def test_several_columns_may_hold_digests_of_one_algorithm(self) -> None:
        one = record(read(f"a,b,c\n{MD5},{MD5[::-1]},{SHA1}\n", '[columns]\nmd5 = ["a", "b"]\ndigest = ["c"]\n'))
        assert [(h.algorithm, h.digest.hex()) for h in one.hashes] == [("MD5", MD5), ("MD5", MD5[::-1]), ("SHA1", SHA1)]

    def test_a_wrong_mapping_of_algorithms_is_refused(self) -> None:
        assert wrong_fields('[columns]\nmd5 = "m"\nalgorithm = "t"') == {"columns.algorithm"}
        mapping = '[columns]\ndigest = "m"\n[lengths]\nx = "md5"\n64 = "tiger"\n[algorithms]\na = 1\n'
        assert wrong_fields(mapping + '[defaults]\nalgorithm = "?"') == {
            "lengths.x",
            "lengths.64",
            "algorithms.a",
            "algorithm",
        }

    @given(st.data())
    def test_any_digests_are_read_by_row(self, data: st.DataObject) -> None:
        drawn = data.draw(st.lists(st.sampled_from(sorted(ALGORITHMS)), min_size=1, max_size=6))
        listed = [
            Hash(a, data.draw(st.binary(min_size=ALGORITHMS[a].digest_bytes, max_size=ALGORITHMS[a].digest_bytes)))
            for a in drawn
        ]
        text = "Type;Value\n" + "".join(f"{h.algorithm.lower()};{h.digest.hex()}\n" for h in listed)
        items = read(text, 'delimiter = ";"\n' + PAIRS)
        for one, hash_ in zip(items, listed, strict=True):
            # Digits alone with zeros behind are what a spreadsheet leaves of a digest.
            if isinstance(one, Reject):
                assert one.reason == "EXCEL_MANGLED"
                assert hash_.digest.hex().isdigit()
                assert hash_.digest.hex().endswith("0" * 8)
            else:
                assert one.hashes == (hash_,)


FLAG = 'delimiter = ";"\n[columns]\nmd5 = "MD5"\n[flags]\nself_generated = "Selbst"\n'


def flag(cell: str, more: str = "") -> tuple[bool | None, list[str]]:
    one = record(read(f"MD5;Selbst\n{MD5};{cell}\n", FLAG + more))
    return one.flags.self_generated, [f.reason for f in one.faults]


class TestWords:
    @pytest.mark.parametrize(
        ("yes", "no"),
        [
            ("ja", "nein"),
            ("Ja", "NEIN"),
            ("oui", "non"),
            ("sí", "no"),
            ("si", "no"),
            ("sì", "no"),
            ("sim", "não"),
            ("tak", "nie"),
            ("ano", "ne"),
            ("áno", "nie"),
            ("kyllä", "ei"),
            ("ja", "nee"),
            ("ja", "nej"),
            ("igen", "nem"),
            ("da", "nu"),
            ("wahr", "falsch"),
            ("vrai", "faux"),
            ("vero", "falso"),
            ("verdadero", "falso"),
            ("waar", "onwaar"),
            ("PRAWDA", "FAŁSZ"),
            ("true", "false"),
            ("1", "0"),
            ("y", "n"),
            ("да", "нет"),
            ("\u03bd\u03b1\u03b9", "όχι"),
            (" J ", "N"),
        ],
    )
    def test_yes_and_no_are_read_in_many_languages(self, yes: str, no: str) -> None:
        assert (flag(yes), flag(no)) == ((True, []), (False, []))

    @pytest.mark.parametrize("cell", ["", " ", "-", "\u2013", "?", "n/a", "unbekannt", "k. A.", "inconnu", "neznámo"])
    def test_what_says_nothing_is_neither(self, cell: str) -> None:
        assert flag(cell) == (None, [])

    @pytest.mark.parametrize("cell", ["x", "X", "o", "vielleicht", "2", "-1", "1.0", "ja/nein", "✓", "=1+1"])
    def test_what_fits_no_list_is_noted(self, cell: str) -> None:
        assert flag(cell) == (None, ["BAD_FIELD"])

    def test_x_is_yes_where_the_mapping_says_so(self) -> None:
        assert flag("X", '[words]\ntrue = ["x"]\n') == (True, [])
        assert flag("x", '[words.self_generated]\ntrue = ["x"]\n') == (True, [])
        assert flag("x", '[words.suspected]\ntrue = ["x"]\n') == (None, ["BAD_FIELD"])

    def test_a_flags_own_words_come_before_those_of_all_and_the_built_in_ones(self) -> None:
        more = '[words]\ntrue = ["nein"]\nfalse = ["ohne Zweifel"]\n'
        more += '[words.self_generated]\ntrue = ["Ohne  zweifel"]\nunknown = ["ja"]\n'
        assert [flag(cell, more)[0] for cell in ("nein", "ohne zweifel", "ja")] == [True, True, None]

    def test_a_flag_that_cannot_be_read_explains_no_fate(self) -> None:
        (one,) = read("MD5;Selbst\n;vielleicht\n", FLAG)
        assert isinstance(one, Reject)
        assert one.reason == "NO_HASH"
        assert "self_generated" not in one.detail
        (one,) = read(f"MD5;Selbst\n{MD5[1:]};vielleicht\n", FLAG)
        assert isinstance(one, Reject)
        assert one.reason == "DIGEST_WRONG_LENGTH"
        assert "self_generated" not in one.detail

    @pytest.mark.parametrize(
        ("words", "fields"),
        [
            ('true = ["a"]\nfalse = ["A"]', {"words.false"}),
            ('true = [""]', {"words.true"}),
            ('true = "x"', {"words.true"}),
            ("yes = []", {"words.yes"}),
            ("suspected = 1", {"words.suspected"}),
            ("true = [1]", {"words.true"}),
        ],
    )
    def test_wrong_words_are_refused(self, words: str, fields: set[str]) -> None:
        assert wrong_fields(FLAG + "[words]\n" + words) == fields


class TestConstantsAndDefaults:
    def test_a_constant_holds_for_every_item(self) -> None:
        mapping = (
            '[columns]\nmd5 = "MD5"\n[constants]\nscheme = "uk-sentencing"\nvalue = "A"\nmedia_type = "Image/JPEG"\n'
            'series = "S"\ntags = ["a", "b"]\nexpire_time = "31.12.2030"\ndistributed = true\n'
        )
        assert record(read(f"MD5\n{MD5}\n", mapping)) == Record(
            position="line 2",
            hashes=(Hash("MD5", bytes.fromhex(MD5)),),
            scheme="uk-sentencing",
            value="A",
            media_type="image/jpeg",
            series="S",
            tags=("a", "b"),
            expire_time=datetime(2031, 1, 1, tzinfo=UTC),
            flags=Flags(distributed=True),
        )
        assert MappedCSV().has_classifications({"mapping": mapping})

    def test_a_default_stands_for_an_empty_cell(self) -> None:
        mapping = '[columns]\nmd5 = "MD5"\nseries = "S"\ntags = "T"\n[defaults]\nseries = "unnamed"\ntags = "none"\n'
        items = read(f"MD5,S,T\n{MD5}, , \n{MD5},x,y\n", mapping)
        assert [(one.series, one.tags) for one in items if isinstance(one, Record)] == [
            ("unnamed", ("none",)),
            ("x", ("y",)),
        ]

    @pytest.mark.parametrize(
        ("more", "fields"),
        [
            ('[defaults]\nvalue = "A"', {"defaults.value"}),
            ("[defaults]\nsuspected = true", {"defaults.suspected"}),
            ('[constants]\nexternal_id = "A"', {"constants.external_id"}),
            ('[constants]\nsuspected = "ja"', {"constants.suspected"}),
            ("[constants]\nvalue = 1", {"constants.value"}),
            ('scheme = "a"\n[constants]\nscheme = "b"', {"constants.scheme"}),
        ],
    )
    def test_what_would_say_what_nobody_said_is_refused(self, more: str, fields: set[str]) -> None:
        top, _, tables = more.partition("[")
        assert wrong_fields(f'{top}[columns]\nmd5 = "MD5"\n[{tables}') >= fields

    def test_a_field_is_a_column_or_a_constant(self) -> None:
        mapping = '[columns]\nmd5 = "MD5"\nvalue = "V"\n[flags]\nsuspected = "s"\n'
        mapping += '[constants]\nvalue = "A"\nsuspected = true\n'
        assert wrong_fields(mapping) == {"constants.value", "constants.suspected"}


DATES = 'delimiter = ";"\n{}[columns]\nmd5 = "MD5"\nexpire_time = "Bis"\nsource_time = "Am"\n'


class TestDatesAndNumbers:
    @pytest.mark.parametrize(
        ("cell", "more", "end", "shown"),
        [
            ("31.01.2027", "", datetime(2027, 2, 1, tzinfo=UTC), "2027-01-31"),
            ("1. 2. 2027", "", datetime(2027, 2, 2, tzinfo=UTC), "2027-02-01"),
            ("31/01/2027", 'date_order = "dmy"\n', datetime(2027, 2, 1, tzinfo=UTC), "2027-01-31"),
            ("01/31/2027", 'date_order = "mdy"\n', datetime(2027, 2, 1, tzinfo=UTC), "2027-01-31"),
            ("31-01-2027", 'date_order = "dmy"\n', datetime(2027, 2, 1, tzinfo=UTC), "2027-01-31"),
            (
                "31.01.2027 14:30",
                'utc_offset = "+01:00"\n',
                datetime(2027, 1, 31, 13, 30, tzinfo=UTC),
                "2027-01-31T14:30",
            ),
            ("31.01.2027, 9:30:00Z", "", datetime(2027, 1, 31, 9, 30, tzinfo=UTC), "2027-01-31T09:30:00Z"),
            ("2027-01-31", 'utc_offset = "-05:00"\n', datetime(2027, 2, 1, 5, tzinfo=UTC), "2027-01-31"),
        ],
    )
    def test_dates_are_read_as_people_write_them(self, cell: str, more: str, end: datetime, shown: str) -> None:
        one = record(read(f"MD5;Bis;Am\n{MD5};{cell};{cell}\n", DATES.format(more)))
        assert (one.expire_time, one.source_time) == (end, shown)

    @pytest.mark.parametrize(
        "cell", ["31/01/2027", "02/03/2027", "31.02.2027", "31.01.27", "31.01.2027 14:30", "1,23E+5", "46052"]
    )
    def test_an_end_that_can_be_read_in_two_ways_is_not_never(self, cell: str) -> None:
        assert reasons(read(f"MD5;Bis;Am\n{MD5};{cell};x\n", DATES.format(""))) == ["BAD_FIELD"]

    def test_other_words_of_a_time_stay_as_they_are(self) -> None:
        assert record(read(f"MD5;Bis;Am\n{MD5};;Frühjahr 2026\n", DATES.format(""))).source_time == "Frühjahr 2026"

    @pytest.mark.parametrize(
        ("cell", "decimal", "size"),
        [
            ("1234567", "", 1234567),
            ("1.234.567", "", 1234567),
            ("1 234 567", "", 1234567),
            ("1\u00a0234", "", 1234),
            ("1'234'567", "", 1234567),
            ("1.234", "", None),
            ("1.234", ",", 1234),
            ("1,234", ".", 1234),
            ("1,234", ",", None),
            ("12345,00", "", 12345),
            ("12345.0", "", 12345),
            ("1.234,0", ",", 1234),
            ("2,5", "", None),
            ("-1", "", None),
        ],
    )
    def test_sizes_are_read_where_it_is_clear_what_they_are(self, cell: str, decimal: str, size: int | None) -> None:
        mapping = f'delimiter = ";"\ndecimal = "{decimal}"\n' if decimal else 'delimiter = ";"\n'
        one = record(read(f"MD5;S\n{MD5};{cell}\n", mapping + '[columns]\nmd5 = "MD5"\nmedia_size = "S"\n'))
        assert one.media_size == size
        assert [f.reason for f in one.faults] == ([] if size is not None else ["BAD_FIELD"])

    @pytest.mark.parametrize(
        ("cell", "decimal", "quality"),
        [
            ("49,9", "", 49),
            ("49.9", "", 49),
            ("97,000", "", None),
            ("97,000", ",", 97),
            ("97.5", ",", None),
            ("100,0", "", 100),
            ("100,5", "", None),
        ],
    )
    def test_a_fraction_of_quality_is_cut(self, cell: str, decimal: str, quality: int | None) -> None:
        mapping = f'delimiter = ";"\ndecimal = "{decimal}"\n' if decimal else 'delimiter = ";"\n'
        assert (
            record(read(f"MD5;Q\n{MD5};{cell}\n", mapping + '[columns]\nmd5 = "MD5"\nquality = "Q"\n')).quality
            == quality
        )

    def test_wrong_settings_are_refused(self) -> None:
        mapping = 'decimal = ";"\ndate_order = "ymd"\nutc_offset = "CET"\n[columns]\nmd5 = "MD5"\n'
        assert wrong_fields(mapping) == {"decimal", "date_order", "utc_offset"}


class TestWhatTheFileSaysOfItself:
    MAPPING = '[columns]\nmd5 = "MD5"\nvalue = "é"\n'

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
    def test_a_byte_order_mark_tells_the_encoding(self, encoding: str) -> None:
        assert record(read(f"MD5,é\r\n{MD5},ü\r\n".encode(encoding), self.MAPPING)).value == "ü"

    def test_an_encoding_that_was_declared_is_not_overruled(self) -> None:
        with pytest.raises(MalformedSource, match="looks like UTF-16"):
            read(f"MD5,é\n{MD5},ü\n".encode("utf-16"), 'encoding = "utf-8"\n' + self.MAPPING)

    @pytest.mark.parametrize("line", ["sep=;", "SEP=;\r"])
    def test_excels_line_tells_the_delimiter(self, line: str) -> None:
        one = record(read(f"{line}\nMD5;é\n{MD5};A\n", self.MAPPING))
        assert (one.position, one.value) == ("line 3", "A")
        assert record(read(f"{line}\nMD5;é\n{MD5};A\n", 'delimiter = ";"\n' + self.MAPPING)) == one

    def test_excels_line_must_not_contradict_the_mapping(self) -> None:
        with pytest.raises(MalformedSource, match="the first line says that the delimiter is ';'"):
            read(f"sep=;\nMD5;é\n{MD5};A\n", 'delimiter = ","\n' + self.MAPPING)
        with pytest.raises(MalformedSource, match="no usable delimiter"):
            read(f'sep="\nMD5;é\n{MD5};A\n', self.MAPPING)

    def test_a_mapping_saved_by_notepad_is_read(self) -> None:
        assert read_mapping("\ufeff" + self.MAPPING.replace("\n", "\r\n")).columns["md5"] == "MD5"


@given(
    st.dictionaries(
        st.sampled_from(["header", "skip", "words", "lengths", "constants", "defaults", "columns", "decimal"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=5),
            lambda x: st.lists(x, max_size=2) | st.dictionaries(st.text(max_size=5), x, max_size=2),
            max_leaves=4,
        ),
    )
)
def test_any_mapping_is_read_or_refused(given_: dict[str, Any]) -> None:
    def toml(value: Any) -> str:
        import json

        if isinstance(value, dict):
            return "{" + ", ".join(f"{json.dumps(k)} = {toml(v)}" for k, v in value.items()) + "}"
        if isinstance(value, list):
            return "[" + ", ".join(map(toml, value)) + "]"
        return json.dumps("" if value is None else value)

    try:
        read_mapping("\n".join(f"{key} = {toml(value)}" for key, value in given_.items()))
    except InvalidArgument as e:
        assert e.violations


class TestWhatStandsAroundACell:
    @pytest.mark.parametrize("cell", ['="{}"', "'{}", "\u200b{}", " {}\u00a0", "\ufeff{}", '"=""{}"""'])
    def test_it_is_no_part_of_a_digest(self, cell: str) -> None:
        one = record(read(f"MD5;x\n{cell.format(MD5)};y\n", 'delimiter = ";"\n[columns]\nmd5 = "MD5"\n'))
        assert one.hashes[0].digest.hex() == MD5

    def test_it_is_no_part_of_an_id_or_a_category(self) -> None:
        mapping = '[columns]\nmd5 = "MD5"\nexternal_id = "Id"\nvalue = "Cat"\n'
        one = record(read(f'MD5,Id,Cat\n{MD5},="007",="1"\n', mapping))
        assert (one.external_id, one.value) == ("007", "1")

    @pytest.mark.parametrize("cell", ["-", "n/a", "NULL", "None", "nan", "unbekannt", '=""', "'"])
    def test_a_word_for_nothing_is_no_digest(self, cell: str) -> None:
        mapping = 'delimiter = ";"\n[columns]\nmd5 = "MD5"\nsha1 = "SHA1"\n'
        assert record(read(f"MD5;SHA1\n{cell};{SHA1}\n", mapping)).faults == ()
        assert reasons(read(f"MD5;SHA1\n{cell};\n", mapping)) == ["NO_HASH"]
