"""A proposal for a table is right enough to be used, and says what it cannot tell."""

from __future__ import annotations

import csv
import io
import tomllib
from datetime import date, timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashhub.connector import Certainty
from hashhub.errors import InvalidArgument, MalformedSource
from hashhub.hashes import ALGORITHMS, Hash
from hashhub.model import Flags, Record, Reject
from hashhub.testing.workbooks import workbook
from hashhub_connectors.csv_mapping import MappedCSV, read_mapping
from hashhub_connectors.proposal import MappingProposal, propose_for

# Of each language: the names of the columns in the order of FIELDS, yes and no, and the code page of its Excel.
LANGUAGES = {
    "de": (("MD5-Hash", "SHA-1", "Kategorie", "Aktenzeichen", "Dateigröße", "Erfasst am", "Gültig bis",
            "Selbst erstellt", "Verbreitet"), "ja", "nein", "cp1252"),
    "fr": (("Empreinte MD5", "SHA1", "Catégorie", "Référence", "Taille", "Date d'ajout", "Valable jusqu'au",
            "Autoproduit", "Diffusé"), "oui", "non", "cp1252"),
    "es": (("Hash MD5", "SHA1", "Clasificación", "Identificador", "Tamaño", "Fecha", "Válido hasta",
            "Autogenerado", "Distribuido"), "sí", "no", "cp1252"),
    "it": (("Impronta MD5", "SHA-1", "Categoria", "Identificativo", "Dimensione", "Data inserimento", "Scadenza",
            "Autoprodotto", "Distribuito"), "sì", "no", "cp1252"),
    "nl": (("MD5", "SHA1", "Categorie", "Kenmerk", "Bestandsgrootte", "Toegevoegd", "Geldig tot",
            "Zelfgemaakt", "Verspreid"), "ja", "nee", "cp1252"),
    "pl": (("Skrót MD5", "SHA-1", "Kategoria", "Sygnatura", "Rozmiar pliku", "Data dodania", "Ważne do",
            "Samodzielnie wytworzone", "Rozpowszechnione"), "tak", "nie", "cp1250"),
    "pt": (("MD5", "SHA1", "Classificação", "Referência", "Tamanho", "Data de inclusão", "Validade",
            "Autoproduzido", "Divulgado"), "sim", "não", "cp1252"),
    "sv": (("MD5", "SHA1", "Kategori", "Löpnummer", "Storlek", "Registrerad", "Giltig till",
            "Självgenererat", "Spritt"), "ja", "nej", "cp1252"),
    "cs": (("Otisk MD5", "SHA-1", "Kategorie", "Číslo jednací", "Velikost souboru", "Datum přidání", "Platnost do",
            "Vlastní výroby", "Šířeno"), "ano", "ne", "cp1250"),
    "ja": (("MD5ハッシュ", "SHA-1", "カテゴリ", "管理番号", "ファイルサイズ", "登録日", "有効期限",
            "Self generated", "Distributed"), "はい", "いいえ", "cp932"),
}  # fmt: skip
FIELDS = ("md5", "sha1", "value", "external_id", "media_size", "source_time", "expire_time")
FLAGS = ("self_generated", "distributed")
KINDS = ("text", "utf-16", "code page", "workbook", "no header")


def proposed(data: bytes) -> MappingProposal:
    return propose_for(io.BytesIO(data))


def read(data: bytes, mapping: str) -> list[Record | Reject]:
    return list(MappedCSV().read(io.BytesIO(data), {"mapping": mapping}))


def table(rows: list[list[str]], kind: str, code_page: str, delimiter: str = ";") -> bytes:
    if kind == "workbook":
        return workbook({"Tabelle1": rows})
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter).writerows(rows)
    encoding = {"utf-16": "utf-16", "code page": code_page}.get(kind, "utf-8-sig")
    return out.getvalue().encode(encoding)


@given(
    st.sampled_from(sorted(LANGUAGES)),
    st.sampled_from(KINDS),
    st.sampled_from(";,\t|"),
    st.integers(4, 60),
    st.integers(),
)
def test_a_table_of_any_language_is_read_without_loss_as_proposed(
    language: str, kind: str, delimiter: str, count: int, seed: int
) -> None:
    random = Random(seed)
    names, yes, no, code_page = LANGUAGES[language]
    has_header = kind != "no header"
    rows, wanted = [list(names)] if has_header else [], []
    for i in range(count):
        hashes = tuple(Hash(a, random.randbytes(ALGORITHMS[a].digest_bytes)) for a in ("MD5", "SHA1"))
        value = random.choice("AB" if i else "A")
        day = date(2026, 1, 1) + timedelta(days=random.randint(0, 300))
        words = [random.choice((yes, no, "", yes.upper())) for _ in FLAGS]
        size = random.randint(1, 10**7)
        rows.append([
            hashes[0].digest.hex().upper(), hashes[1].digest.hex(), value, f"{language}-{i}/26", str(size),
            day.strftime("%d.%m.%Y"), "31.12.2030", *words,
        ])  # fmt: skip
        flags = {f: {"": None, yes: True, yes.upper(): True, no: False}[w] for f, w in zip(FLAGS, words, strict=True)}
        wanted.append((hashes, value, f"{language}-{i}/26", size, day.isoformat(), Flags(**flags)))
    data = table(rows, kind, code_page, delimiter)
    items = read(data, proposed(data).text())
    assert len(items) == count
    for one, (hashes, value, external_id, size, added, flags_) in zip(items, wanted, strict=True):
        assert isinstance(one, Record), one
        assert one.hashes == hashes
        assert one.faults == ()
        assert (one.value, one.source_time) == (value, added)
        if has_header:  # nothing but its name tells an id, a size, a flag or an end from other columns
            assert (one.external_id, one.media_size, one.flags) == (external_id, size, flags_)
            assert one.expire_time is not None


def lines(*rows: str, count: int = 6) -> bytes:
    """Return a table of `rows`, in which `{i}` stands for numbers and `{md5}`, `{sha256}`, `{pdq}` for digests."""
    head, *body = rows
    text = head + "\n"
    for i in range(count):
        random = Random(i)
        pdq = [1] * 128 + [0] * 128
        random.shuffle(pdq)
        for row in body:
            text += row.format(
                i=i, md5=random.randbytes(16).hex(), sha1=random.randbytes(20).hex(), sha256=random.randbytes(32).hex(),
                pdq=f"{int(''.join(map(str, pdq)), 2):064x}", day=i + 1,
            ) + "\n"  # fmt: skip
    return text.encode()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (lines("Foo;Bar", "{md5};x"), {"md5": "Foo"}),
        (lines("Foo;Bar", "{sha1};x"), {"sha1": "Foo"}),
        (lines("Foo;Bar", "{sha256};x"), {"sha256": "Foo"}),
        (lines("Foo;Bar", "{pdq};x"), {"pdq": "Foo"}),
        (lines("SHA256;PDQ", "{sha256};{pdq}", count=1), {"sha256": "SHA256", "pdq": "PDQ"}),
        (lines("MD5;x", "{sha1};x"), {"sha1": "MD5"}),
        (lines("Foo;Bar", "{md5};x", "{sha1};y"), {"digest": "Foo"}),
        (lines("Foo;Bar", "MD5:{md5};x"), {"digest": "Foo"}),
        (lines("Typ;Wert", "MD5;{md5}", "SHA-1;{sha1}", "sha256;{sha256}"), {"digest": "Wert", "algorithm": "Typ"}),
        (lines("MD5 geprüft;Hash", "ja;{md5}"), {"md5": "Hash"}),
        (lines("a,b,c", "{md5},{i},image/jpeg"), {"md5": "a", "media_type": "c"}),
        (lines("MD5 a;MD5 b", "{md5};{md5}"), {"md5": ["MD5 a", "MD5 b"]}),
    ],
)
def test_digests_are_told_by_their_cells(data: bytes, expected: dict[str, Any]) -> None:
    mapping = proposed(data).text()
    assert tomllib.loads(mapping)["columns"] == expected
    assert all(isinstance(one, Record) and not one.faults for one in read(data, mapping))


@pytest.mark.parametrize(
    ("head", "value", "encoding"),
    [
        ("ハッシュ;カテゴリ", "A", "cp932"),
        ("ハッシュ値,分類", "有害", "cp932"),
        ("MD5;区分", "未", "cp932"),
        ("MD5;備考|表示", "髙橋①", "cp932"),
        ("哈希;类别", "一级", "gbk"),
        ("MD5;分类", "甲", "gbk"),
        ("MD5;Catégorie", "A", "cp1252"),
        ("MD5;Date d\u2019ajout", "A", "cp1252"),
        ("MD5;Größe", "Maßnahme \u2013 „grün“", "cp1252"),
        ("MD5;Übergröße", "ÄÖÜ", "cp1252"),
        ("MD5;Skrót źródła", "wartość", "cp1250"),
        ("ハッシュ;Größe", "哈希", "utf-8"),
    ],
)
def test_the_encoding_is_told_by_the_characters(head: str, value: str, encoding: str) -> None:
    text = lines(head, "{md5}" + next(c for c in ";," if c in head) + value).decode()
    proposal = proposed(text.encode(encoding)).text()
    assert tomllib.loads(proposal)["encoding"] == encoding
    assert ("# a guess: the file is not UTF-8" in proposal) == (encoding != "utf-8")
    assert all(isinstance(one, Record) and not one.faults for one in read(text.encode(encoding), proposal))


def test_a_japanese_table_is_read_as_proposed() -> None:
    data = lines("管理番号,ハッシュ,カテゴリ", "JP-{i},{md5},A").decode().encode("cp932")
    mapping = tomllib.loads(proposed(data).text())
    assert mapping["columns"] == {"md5": "ハッシュ", "external_id": "管理番号", "value": "カテゴリ"}


def test_digests_of_64_digits_that_nothing_tells_apart_are_left_to_a_person() -> None:
    one = proposed(lines("Foo;Bar", "{sha256};x", count=2))
    assert "sha256 or pdq: say which" in one.text()
    assert any("sha256 or pdq" in n for n in one.notes)
    assert one.digests == []
    mixed = proposed(lines("Foo;Bar", "{md5};x", "{sha256};y", count=3))
    assert tomllib.loads(mixed.text())["columns"] == {"digest": "Foo"}
    assert "lengths" in tomllib.loads(mixed.text())
    assert any("[lengths]" in n for n in mixed.notes)


def test_a_first_row_that_is_an_item_is_no_header() -> None:
    data = lines(f"{'ab' * 16};A", "{md5};B")
    one = proposed(data)
    assert not one.has_header
    mapping = read_mapping(one.text())
    assert (mapping.layout.has_header, mapping.columns) == (False, {"md5": 1, "value": 2})
    assert [r.value for r in read(data, one.text()) if isinstance(r, Record)] == ["A", *"BBBBBB"]


def test_names_that_cannot_be_used_become_numbers() -> None:
    data = lines("MD5;MD5;", "{md5};{md5};{sha1}")
    text = proposed(data).text()
    assert read_mapping(text).layout.skip == 1
    items = read(data, text)
    assert len(items) == 6
    assert all(isinstance(one, Record) and len(one.hashes) == 2 for one in items)


def test_titles_above_the_header_are_skipped() -> None:
    data = b"Hotline Musterstadt;\nStand: 1.1.2026;\n\n" + lines("MD5;Kategorie", "{md5};A")
    text = proposed(data).text()
    assert read_mapping(text).layout.skip == 3
    assert len(read(data, text)) == 6
    book = workbook({"x": [("Hotline",), (), ("MD5", "Kategorie"), *(("ab" * 15 + f"{i:02x}", "A") for i in range(5))]})
    assert len(read(book, proposed(book).text())) == 5


class TestCategories:
    def test_those_of_no_scheme_are_named_and_none_is_assumed(self) -> None:
        one = proposed(lines("MD5;Einstufung", "{md5};Kat. 1", "{md5};strafbar"))
        assert read_mapping(one.text()).scheme == ""
        assert '# "Kat. 1" = "…"' in one.text()
        (note,) = one.notes
        assert "UNKNOWN_VALUE" in note
        assert "'Einstufung'" in note

    def test_those_of_schemes_are_named_and_none_is_assumed(self) -> None:
        one = proposed(lines("MD5;Kategorie", "{md5};A", "{md5};C"))
        assert read_mapping(one.text()).scheme == ""
        assert 'scheme = "uk-sentencing' in one.text()
        assert one.notes == []


def test_a_header_that_stands_again_is_no_item() -> None:
    """Of two files that were joined: its words would be a category of no scheme, and spoil the ids."""
    header, items = "id;md5;category\n", [f"{n};{n:032x};{'YN'[n % 2]}\n" for n in range(161, 167)]
    once, again = (
        proposed((header + "".join(items[:3]) + between + "".join(items[3:])).encode()) for between in ("", header)
    )
    assert again.text() == once.text()
    assert 'external_id = "id"' in once.text()
    assert not again.notes


class TestFlags:
    def test_a_column_of_ticks_says_yes(self) -> None:
        data = lines("MD5;Selbst erstellt", "{md5};x", "{md5};")
        mapping = read_mapping(proposed(data).text())
        assert mapping.words["self_generated"] == {"x": True}
        flags = {one.flags.self_generated for one in read(data, proposed(data).text()) if isinstance(one, Record)}
        assert flags == {True, None}

    @pytest.mark.parametrize("other", ["nein", "o", "y"])
    def test_x_beside_other_words_is_left_to_a_person(self, other: str) -> None:
        one = proposed(lines("MD5;Selbst erstellt", "{md5};x", f"{{md5}};{other}"))
        assert read_mapping(one.text()).words["self_generated"] == ({} if other != "y" else {"x": True})
        assert bool(one.notes) is (other != "y")


class TestDates:
    def test_the_order_is_told_by_a_day_beyond_twelve(self) -> None:
        data = lines("MD5;Valid until", "{md5};13/02/2030")
        assert read_mapping(proposed(data).text()).date_order == "dmy"
        assert all(isinstance(one, Record) and one.expire_time for one in read(data, proposed(data).text()))

    @pytest.mark.parametrize(("cell", "word"), [("01/02/2030", "date_order"), ("31.12.2030 10:00", "utc_offset")])
    def test_an_end_that_cannot_be_read_is_left_to_a_person(self, cell: str, word: str) -> None:
        one = proposed(lines("MD5;Valid until", "{md5};" + cell))
        assert "expire_time" not in read_mapping(one.text()).columns
        assert any(word in note for note in one.notes)


def test_an_id_that_stands_twice_is_no_id() -> None:
    one = proposed(lines("MD5;Id", "{md5};same"))
    assert "external_id" not in read_mapping(one.text()).columns
    assert "some ids stand in it twice" in one.text()


class TestDetection:
    def detect(self, data: bytes, name: str = "") -> tuple[Certainty, str] | None:
        guess = MappedCSV().detect(data[: 1 << 16], name)
        return None if guess is None else (guess.certainty, guess.why)

    def test_a_table_with_digests_is_likely(self) -> None:
        guess = MappedCSV().detect(lines("MD5;Kategorie", "{md5};A"), "liste.csv")
        assert guess is not None
        assert guess.certainty is Certainty.LIKELY
        assert "md5 'MD5'" in guess.why

    def test_one_without_a_header_may_be_a_list_of_another_kind(self) -> None:
        assert self.detect(lines("ab" * 16 + ",97", "{md5},98")) == (
            Certainty.POSSIBLE, "it is a table with digests: md5 '1'",
        )  # fmt: skip

    def test_its_mapping_is_refused_until_somebody_has_looked(self) -> None:
        data = lines("MD5;Kategorie", "{md5};A")
        guess = MappedCSV().detect(data, "liste.csv")
        assert guess is not None
        with pytest.raises(InvalidArgument, match="a table is never imported by a guess"):
            list(MappedCSV().read(io.BytesIO(data), guess.options))
        with pytest.raises(InvalidArgument, match="a table is never imported by a guess"):
            MappedCSV().has_classifications(guess.options)
        looked_at = guess.options["mapping"].replace("proposal = true", "")
        assert len(list(MappedCSV().read(io.BytesIO(data), {"mapping": looked_at}))) == 6

    def test_a_workbook_is_certain(self) -> None:
        assert self.detect(workbook({"x": [("a",)]})) == (Certainty.CERTAIN, "it is an Excel workbook")
        assert self.detect(b"PK\x03\x04 other") is None

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"\0" * 100,
            b"{}",
            b"name,category\nx,y\n",
            b"\x89PNG\r\n",
            b"MD5;Kategorie"[:3],
            b"\xff\xfe",
            b"\n\n\n",
        ],
    )
    def test_others_are_not(self, data: bytes) -> None:
        assert self.detect(data) is None

    @given(st.binary(max_size=300) | st.text(max_size=100).map(str.encode))
    def test_any_bytes_are_recognised_or_not(self, data: bytes) -> None:
        guess = MappedCSV().detect(data, "x.csv")
        if guess is not None and "mapping" in guess.options:
            tomllib.loads(guess.options["mapping"])


@given(st.lists(st.lists(st.text(max_size=12), min_size=1, max_size=5), min_size=1, max_size=8))
def test_any_rows_are_proposed_for_or_refused(rows: list[list[str]]) -> None:
    out = io.StringIO()
    csv.writer(out, delimiter=";").writerows(rows)
    data = out.getvalue().encode("utf-8", "replace")
    try:
        text = proposed(data).text()
    except MalformedSource:
        return
    tomllib.loads(text)


JAPANESE = ("管理番号,ハッシュ値,分類,シリーズ", "JP-{i},{md5},A,さくら公園の写真その{i}")
KOREAN = ("번호,해시값,분류,시리즈", "KR-{i},{md5},A,한국어로 쓴 시리즈 이름입니다 {i}")
CHINESE = ("编号,哈希值,类别,系列", "CN-{i},{md5},A,这是一个中文的系列名称和说明文字 {i}")
TAIWANESE = ("編號,雜湊,類別,系列", "TW-{i},{md5},A,這是一個繁體中文的系列名稱與說明文字 {i}")


@pytest.mark.parametrize(
    ("table", "encoding", "expected"),
    [
        (JAPANESE, "cp932", ["cp932"]),
        (JAPANESE, "euc_jp", ["euc_jp"]),
        (KOREAN, "euc_kr", ["euc_kr"]),
        ((KOREAN[0], KOREAN[1] + " 똠방각하"), "cp949", ["cp949"]),
        (CHINESE, "gbk", ["gbk"]),
        (TAIWANESE, "big5", ["big5"]),
        ((CHINESE[0], CHINESE[1] + " の"), "gbk", ["gbk", "euc_jp"]),
        (("管理番号,分類", "{md5},甲"), "euc_jp", ["gbk", "euc_jp"]),
        (("md5,분류", "{md5},가"), "euc_kr", ["gbk", "euc_jp", "euc_kr"]),
    ],
)
def test_east_asian_encodings_are_told_apart_or_named(
    table: tuple[str, str], encoding: str, expected: list[str]
) -> None:
    proposal = proposed(lines(*table).decode().encode(encoding))
    text = proposal.text()
    assert tomllib.loads(text)["encoding"] == expected[0]
    assert "# a guess" in text
    if len(expected) > 1:
        assert f"one of {', '.join(expected)}" in text
        assert any(" or ".join(expected) in note for note in proposal.notes)
    else:
        assert "one of" not in text
        assert not any("encoding" in note for note in proposal.notes)
