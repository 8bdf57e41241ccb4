"""The two CSV connectors."""

from __future__ import annotations

import io
import tomllib
import tracemalloc
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashhub.connector import Connector
from hashhub.errors import InvalidArgument, MalformedSource
from hashhub.model import Flags, Record, Reject
from hashhub_connectors.csv_mapping import MappedCSV, propose, read_mapping
from hashhub_connectors.icse_csv import ICSECSV

MD5 = "7b4747409fe1f2e64f187eac679ea0cc"
SHA1 = "e8b68fd718d14f83fbff3f89b9e2f49bc0d24efd"
ICSE = (
    "MD5;SHA1;PhotoDNA;Image ID;Is distributed;Victim identified;Offender identified;Series name;"
    "Number of submissions;File Available;Media Type;Baseline"
)
MAPPING = 'delimiter = ";"\n[columns]\nmd5 = "MD5"\nvalue = "Cat"\n'


def read(connector: Connector, text: str | bytes, options: Mapping[str, str] | None = None) -> list[Record | Reject]:
    data = text if isinstance(text, bytes) else text.encode()
    return list(connector.read(io.BytesIO(data), options or {}))


def icse(*rows: str, header: str = ICSE) -> list[Record | Reject]:
    return read(ICSECSV(), "\n".join([header, *rows]))


def mapped(text: str | bytes, mapping: str = MAPPING) -> list[Record | Reject]:
    return read(MappedCSV(), text, {"mapping": mapping})


def record(items: list[Record | Reject]) -> Record:
    (one,) = items
    assert isinstance(one, Record)
    return one


def reason(items: list[Record | Reject]) -> str:
    (one,) = items
    assert isinstance(one, Reject)
    return one.reason


class TestWhatATableSaysOfItsValues:
    MAPPING = '[columns]\nmd5 = "MD5"\n{}'

    def test_it_has_classifications_if_a_column_of_them_is_read(self) -> None:
        for column, has in (('value = "Cat"\n', True), ("", False)):
            assert MappedCSV().has_classifications({"mapping": self.MAPPING.format(column)}) is has
        assert ICSECSV().has_classifications({})
        with pytest.raises(InvalidArgument):
            MappedCSV().has_classifications({"mapping": "x"})

    @pytest.mark.parametrize("scheme", ["", "uk-sentencing", "vic-us@2.0"])
    def test_the_mapping_names_their_scheme(self, scheme: str) -> None:
        mapping = f'scheme = "{scheme}"\n{self.MAPPING.format("")}'
        assert record(mapped(f"MD5\n{MD5}\n", mapping)).scheme == scheme
        assert record(icse(f"{MD5};;;SYN-1;;;;;;;;Y")).scheme == "interpol-baseline"

    @pytest.mark.parametrize("scheme", ['"a b"', '"vic-us@"', '"@2"', "7"])
    def test_a_scheme_that_is_none_is_refused(self, scheme: str) -> None:
        with pytest.raises(InvalidArgument, match=r"options\.mapping\.scheme"):
            mapped(f"MD5\n{MD5}\n", f"scheme = {scheme}\n{self.MAPPING.format('')}")

    @pytest.mark.parametrize("key", ["", " "])
    def test_no_mapping_says_what_an_empty_cell_means(self, key: str) -> None:
        mapping = self.MAPPING.format(f'value = "Cat"\n[values]\n"{key}" = "A"\n')
        with pytest.raises(InvalidArgument, match="it says nothing"):
            mapped(f"MD5,Cat\n{MD5},\n", mapping)

    @pytest.mark.parametrize(
        ("cell", "expected"),
        [
            ("", None),
            ("2027-01-31", datetime(2027, 2, 1, tzinfo=UTC)),
            ("31.01.2027", datetime(2027, 2, 1, tzinfo=UTC)),
            ("31.1.2027 9:30:00+01:00", datetime(2027, 1, 31, 8, 30, tzinfo=UTC)),
            ("2027-01-31T12:00:00+02:00", datetime(2027, 1, 31, 10, tzinfo=UTC)),
            ("2027-01-31T12:00:00Z", datetime(2027, 1, 31, 12, tzinfo=UTC)),
        ],
    )
    def test_an_item_can_expire(self, cell: str, expected: datetime | None) -> None:
        mapping = self.MAPPING.format('expire_time = "Until"\n')
        assert record(mapped(f"MD5,Until\n{MD5},{cell}\n", mapping)).expire_time == expected

    @pytest.mark.parametrize(
        "cell", ["soon", "31/01/2027", "31.02.2027", "2027-01-31T12:00:00", "2027-02-30", "9999-12-31"]
    )
    def test_an_expiry_that_cannot_be_read_is_not_never(self, cell: str) -> None:
        mapping = self.MAPPING.format('expire_time = "Until"\n')
        assert reason(mapped(f"MD5,Until\n{MD5},{cell}\n", mapping)) == "BAD_FIELD"


def test_icse_reads_every_column_that_it_keeps() -> None:
    ramp = bytes(range(144))
    item = record(icse(f'{MD5};{SHA1};{ramp.hex().upper()};SYN-1;Y;no;T;"a; ""b""";3;Y;Image;Y'))
    assert [h.algorithm for h in item.hashes] == ["MD5", "SHA1", "PHOTODNA"]
    assert item.hashes[2].digest == ramp
    assert (item.external_id, item.series, item.media_type, item.value) == ("SYN-1", 'a; "b"', "image", "Y")
    assert item.flags == Flags(distributed=True, victim_identified=False, offender_identified=True)
    assert item.position == "line 2"


def test_icse_header_may_stand_in_any_order_and_case_with_more_columns() -> None:
    names = ["Remarks", *sorted(ICSE.upper().split(";")), "Extra"]
    cells = {"MD5": MD5, "IMAGE ID": "SYN-1", "BASELINE": "N", "SERIES NAME": "s"}
    item = record(icse(";".join(cells.get(n, "") for n in names), header="\ufeff" + " ; ".join(names) + "\r"))
    assert (item.external_id, item.value, item.series) == ("SYN-1", "N", "s")


@pytest.mark.parametrize(("cell", "value"), [("Y", "Y"), ("n", "N"), ("True", "Y"), ("no", "N"), ("", ""), (" ", "")])
def test_icse_baseline_is_yes_no_or_nothing(cell: str, value: str) -> None:
    assert record(icse(f"{MD5};;;S;;;;;;;;{cell}")).value == value


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (f"{MD5};;;S;;;;;;;", "WRONG_COLUMN_COUNT"),
        (f"{MD5}", "WRONG_COLUMN_COUNT"),
        (f"{MD5};;;S;;;;a;b;3;Y;Image;Y", "BAD_FIELD"),
        (";;;S;;;;;;;;Y", "NO_HASH"),
        (f"{MD5[:-1]};;;S;;;;;;;;Y", "DIGEST_WRONG_LENGTH"),
        (f'"{MD5}"x;;;S;;;;;;;;Y', "UNPARSABLE_LINE"),
        (f"{MD5};;;{'x' * 2000};;;;;;;;Y", "BAD_FIELD"),
    ],
)
def test_icse_refuses_rows_where_they_stand(row: str, why: str) -> None:
    items = icse(f"{MD5};;;A;;;;;;;;Y", row, "", f"{MD5};;;Z;;;;;;;;Y")
    assert [f.position for f in items] == ["line 2", "line 3", "line 5"]
    assert reason(items[1:2]) == why


def test_icse_rows_may_be_longer_or_lack_what_is_not_read() -> None:
    header = (
        "MD5;SHA1;PhotoDNA;Image ID;Is distributed;Victim identified;Offender identified;Series name;Baseline;"
        "Number of submissions;File Available;Media Type"
    )
    items = icse(f"{MD5};;;S;;;;;Y", f"{MD5};;;S;;;;;Y;3;Y;Image;more;and more", header=header)
    assert [isinstance(f, Record) for f in items] == [True, True]


def test_icse_notes_a_flag_that_is_none() -> None:
    item = record(icse(f"{MD5};;;S;maybe;;;;;;;Y"))
    assert item.flags == Flags()
    assert [(f.algorithm, f.reason) for f in item.faults] == [("is distributed", "BAD_FIELD")]


@pytest.mark.parametrize("missing", ICSE.split(";"))
def test_icse_names_what_the_header_lacks(missing: str) -> None:
    with pytest.raises(MalformedSource) as caught:
        icse(header=ICSE.replace(missing, "other"))
    assert f"lacks {missing.lower()}" in caught.value.message
    assert "'other'" in caught.value.message
    assert caught.value.position == "line 1"


FULL = """
delimiter = "\\t"
[columns]
md5 = "m"
sha1 = "s1"
sha256 = "s2"
pdq = "p"
phash = "ph"
dhash = "dh"
photodna = "pd"
value = "v"
external_id = "id"
series = "se"
media_size = "ms"
media_type = "mt"
source_time = "st"
quality = "q"
tags = ["t1", "t2"]
[flags]
victim_identified = "f1"
offender_identified = "f2"
distributed = "f3"
suspected = "f4"
self_generated = "f5"
[values]
"Cat. A" = "A"
"""


def test_a_mapping_can_name_every_field() -> None:
    names = [
        "f5",
        "f4",
        "f3",
        "f2",
        "f1",
        "t2",
        "t1",
        "q",
        "st",
        "mt",
        "ms",
        "se",
        "id",
        "v",
        "pd",
        "dh",
        "ph",
        "p",
        "s2",
        "s1",
        "m",
    ]
    cells = {
        "m": MD5, "s1": SHA1, "s2": "ab" * 32, "p": "0f" * 32, "ph": "0f" * 8, "dh": "f0" * 8,
        "pd": bytes(range(144)).hex(),
        "v": "Cat. A", "id": "x-1", "se": "SERIES", "ms": "12", "mt": "Image/PNG", "st": "2025-01-02", "q": "97",
        "t1": "a, b",
        "t2": "c", "f1": "yes", "f2": "0", "f3": "", "f4": "N", "f5": "TRUE",
    }  # fmt: skip
    item = record(mapped("\t".join(names) + "\n" + "\t".join(cells[n] for n in names), FULL))
    assert [h.algorithm for h in item.hashes] == ["MD5", "SHA1", "SHA256", "PDQ", "PHASH", "DHASH", "PHOTODNA"]
    assert item == Record(
        position="line 2",
        hashes=item.hashes,
        value="A",
        external_id="x-1",
        series="SERIES",
        media_size=12,
        media_type="image/png",
        source_time="2025-01-02",
        quality=97,
        tags=("a", "b", "c"),
        flags=Flags(victim_identified=True, offender_identified=False, suspected=False, self_generated=True),
    )


def test_values_that_are_not_translated_stay_as_they_are() -> None:
    items = mapped(f"MD5;Cat\n{MD5};Cat. A\n{MD5};D\n", MAPPING + '[values]\n"Cat. A" = "A"\n')
    assert [f.value for f in items if isinstance(f, Record)] == ["A", "D"]


def test_a_wrong_header_names_what_is_missing_and_what_was_found() -> None:
    with pytest.raises(MalformedSource) as caught:
        mapped(f"md5;Category\n{MD5};A\n")
    assert caught.value.position == "line 1"
    assert "lacks 'MD5', 'Cat'" in caught.value.message
    assert "found 'md5', 'Category'" in caught.value.message
    with pytest.raises(MalformedSource, match="twice"):
        mapped(f"MD5;Cat;Cat\n{MD5};A;B\n")


@pytest.mark.parametrize(
    ("mapping", "fields"),
    [
        ("", ["columns"]),
        ("columns = 7", ["columns", "columns"]),
        ('[columns]\nmd5 = 7\nfoo = "x"\ntags = ["a", 1]',
         ["columns.foo", "columns.md5", "columns.foo", "columns.tags"]),
        ('delimiter = ";;"\nencoding = 1\nextra = 2\n[columns]\nmd5 = "m"', ["extra", "delimiter", "encoding"]),
        ('delimiter = "\\""\n[columns]\nmd5 = "m"\n[flags]\nfoo = "x"\n[values]\na = 1',
         ["delimiter", "flags.foo", "values.a"]),
        ('encoding = "rot13"\n[columns]\nmd5 = "m"', ["encoding"]),
        ('encoding = "utf-7"\n[columns]\nmd5 = "m"', ["encoding"]),
        ('encoding = "\\u0000"\n[columns]\nmd5 = "m"', ["encoding"]),
        ('[columns]\nvalue = "v"', ["columns"]),
        ('[columns]\nmd5 = " "', ["columns.md5"]),
        ("[columns", [""]),
    ],
)  # fmt: skip
def test_a_wrong_mapping_names_every_field(mapping: str, fields: list[str]) -> None:
    with pytest.raises(InvalidArgument) as caught:
        mapped(f"m\n{MD5}\n", mapping or " ")
    assert not isinstance(caught.value, MalformedSource)
    wrong_fields = {v.field.removeprefix("options.mapping").removeprefix(".") for v in caught.value.violations}
    assert wrong_fields == set(fields)


def test_a_mapping_is_required() -> None:
    with pytest.raises(InvalidArgument, match=r"options\.mapping is required"):
        read(MappedCSV(), f"MD5\n{MD5}\n")


@pytest.mark.parametrize(
    "encoding", ["utf-8", "latin-1", "cp1252", "utf-16", "utf-16-le", "utf-16-be", "UTF-8-SIG", "shift_jis"]
)
def test_a_declared_encoding_is_read(encoding: str) -> None:
    text = f"MD5;Cat\n{MD5};é\n" if encoding != "shift_jis" else f"MD5;Cat\n{MD5};カ\n"
    item = record(mapped(text.encode(encoding), MAPPING.replace("\n", f'\nencoding = "{encoding}"\n', 1)))
    assert item.value in {"é", "カ"}
    marked = b"\xfe\xff" + f"MD5;Cat\n{MD5};A\n".encode("utf-16-be")
    assert record(mapped(marked, MAPPING.replace("\n", '\nencoding = "utf-16"\n', 1))).value == "A"


@pytest.mark.parametrize(
    ("data", "where", "word"),
    [
        (f"MD5;Cat\n{MD5};A\n{MD5};é\n".encode("latin-1"), "line 3, byte 76", "is not UTF-8"),
        (f"MD5;Cat\n{MD5};A\n".encode("utf-16-be"), "line 1, byte 0", "UTF-16"),
        (f"MD5;Cat\n{MD5};\xe9".encode()[:-1], "line 2, byte 41", "middle of a character"),
        (b"", "line 1", "empty"),
        (b"\n\n", "", ""),
        (f"MD5;Cat\r{MD5};A\r".encode(), "line 1", "CR alone"),
        (f'MD5;Cat\n{MD5};"A\n{MD5};B\n'.encode(), "line 2", "not closed"),
        (f'MD5;Cat\n{MD5};"A\n{MD5};"B\n'.encode(), "line 2", "not closed"),
        (f'MD5;Cat\n{MD5};"A'.encode(), "line 2", "not closed"),
        (f'"MD5;Cat\n{MD5};A'.encode(), "line 1", "not closed"),
        (f'"MD5"x;Cat\n{MD5};A'.encode(), "line 1", "no row of cells"),
        (f"MD5;Cat\r{MD5};A\r\n".encode(), "line 1", "a CR stands within the line"),
        (b"MD5;Cat\n" + MD5.encode() + b";" + b"x" * (10 << 20) + b"\n", "line 2", "longer than"),
        (b"MD5;Cat\n" + MD5.encode() + b';"' + b"x\n" * (5 << 20), "line 2", "quote"),
        (b"MD5;Cat\n" + MD5.encode() + b';"x\n"' * (1 << 20), "line 2", "a row is longer than"),
    ],
)
def test_a_source_that_cannot_be_read_on_says_where_and_why(data: bytes, where: str, word: str) -> None:
    tracemalloc.start()
    with pytest.raises(MalformedSource) as caught:
        mapped(data)
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught.value.position == where or not where
    assert word in caught.value.message
    assert used < 24 << 20


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (MD5, "WRONG_COLUMN_COUNT"),
        (f"{MD5};A;B", "WRONG_COLUMN_COUNT"),
        (";A", "NO_HASH"),
        ("x;A", "DIGEST_WRONG_LENGTH"),
        (f'{MD5};"A"B', "UNPARSABLE_LINE"),
        (f"{MD5};{'A' * 2000}", "BAD_FIELD"),
    ],
)
def test_rows_are_refused_where_they_stand(row: str, why: str) -> None:
    items = mapped(f'MD5;Cat\n{MD5};"A\nB"\n\n{row}\n{MD5};Z\n')
    assert [f.position for f in items] == ["line 2", "line 5", "line 6"]
    assert reason(items[1:2]) == why


@pytest.mark.parametrize(
    ("quality", "kept"),
    [
        ("97", 97),
        ("0", 0),
        ("100", 100),
        ("101", None),
        ("x", None),
        ("", None),
        ("50.0", 50),
        ("49.9", 49),
        ("100.5", None),
        ("-1", None),
        ("1e1", None),
        ("nan", None),
    ],
)
def test_quality_out_of_range_is_noted(quality: str, kept: int | None) -> None:
    item = record(mapped(f"MD5,q\n{MD5},{quality}\n", '[columns]\nmd5 = "MD5"\nquality = "q"\n'))
    assert item.quality == kept
    assert [f.algorithm for f in item.faults] == ([] if kept is not None or not quality else ["quality"])
    assert all("expected a number of 0 to 100" in f.detail for f in item.faults)


def test_a_proposal_reads_the_file_it_was_made_from() -> None:
    data = (
        '\ufeffID,"MD5 hash",SHA-256,PDNA,Category,"Age band",Keywords,Self-generated,Grid,MD5\r\n'
        f'1,{MD5},,,A,7-10,"a,b",Y,N,\r\n'
    )
    proposed = propose(data.encode()[:90] + b"\xc3")
    item = record(mapped(data, proposed))
    assert (item.external_id, item.value, item.tags) == ("1", "A", ("7-10", "a", "b"))
    assert item.flags.self_generated is True
    assert '# not read: "Grid"' in proposed


@pytest.mark.parametrize(
    ("header", "delimiter", "encoding"),
    [
        (b"md5;category", ";", "utf-8"),
        (b"md5\tcategory", "\t", "utf-8"),
        (b"md5|category", "|", "utf-8"),
        (b"md5", ",", "utf-8"),
        ("md5;catégorie".encode("cp1252"), ";", "cp1252"),
        ("md5;category\n".encode("utf-16"), ";", "utf-16-le"),
    ],
)
def test_a_proposal_guesses_delimiter_and_encoding(header: bytes, delimiter: str, encoding: str) -> None:
    mapping = read_mapping(propose(header))
    assert (mapping.delimiter, mapping.encoding, mapping.columns["md5"]) == (delimiter, encoding, "md5")


def test_a_proposal_without_a_digest_says_so_and_is_refused_as_it_is() -> None:
    proposed = propose(b"name,category\n")
    assert "No column looks like a digest" in proposed
    with pytest.raises(InvalidArgument, match="must name one of md5"):
        read_mapping(proposed)


@given(st.binary(max_size=200) | st.text(max_size=60).map(str.encode))
def test_a_proposal_for_any_bytes_is_toml_or_refused(header: bytes) -> None:
    try:
        proposed = propose(header)
    except MalformedSource:
        return
    tomllib.loads(proposed)


# A name that holds another delimiter may be taken for several.
NAMES = st.text(st.characters(codec="utf-8", exclude_characters=";\t|"), min_size=1, max_size=12)


@given(st.lists(NAMES, min_size=1, max_size=6, unique=True))
def test_any_column_names_survive_a_proposal(names: list[str]) -> None:
    out = io.StringIO()
    import csv

    csv.writer(out, lineterminator="\n").writerow(["MD5", *names])
    try:
        mapping: dict[str, Any] = tomllib.loads(propose(out.getvalue().encode()))
    except MalformedSource:  # a name with a line break
        return
    if len(out.getvalue().splitlines()) == 1 and "md5" not in {n.strip().lower() for n in names}:
        assert mapping["columns"]["md5"] == "MD5"
