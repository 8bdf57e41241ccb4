"""Excel workbooks are read like delimited text, and hostile ones are refused before they cost anything."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from datetime import UTC, date, datetime
from random import Random
from typing import Any
from xml.sax.saxutils import escape

import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashhub.errors import InvalidArgument, MalformedSource
from hashhub.model import Flags, Record, Reject
from hashhub.testing.connectors import ConnectorContract, Trickle
from hashhub.testing.workbooks import Cell, sheet, workbook
from hashhub_connectors import workbook as module
from hashhub_connectors.csv_mapping import MappedCSV, propose, read_mapping
from hashhub_connectors.workbook import SheetRows, text_of

MD5 = "7b4747409fe1f2e64f187eac679ea0cc"
SHA1 = "e8b68fd718d14f83fbff3f89b9e2f49bc0d24efd"
MAPPING = """
[columns]
md5 = "MD5"
value = "Kategorie"
media_size = "Größe"
source_time = "Erfasst"
expire_time = "Gültig bis"
[flags]
self_generated = "Selbst"
"""
HEADER = ("MD5", "Kategorie", "Größe", "Erfasst", "Gültig bis", "Selbst")
ROWS: list[tuple[Cell, ...]] = [
    HEADER,
    (MD5, 1, 2835, date(2026, 3, 1), date(2027, 1, 31), True),
    (),
    (MD5.upper(), "A", 12345.0, "01.03.2026", "31.01.2027", "nein"),
    (MD5,),
]


def read(data: bytes, mapping: str = MAPPING, **options: str) -> list[Record | Reject]:
    return list(MappedCSV().read(io.BytesIO(data), {"mapping": mapping, **options}))


def only_md5(*cells: Cell) -> list[Record | Reject]:
    return read(workbook({"x": [("MD5", "Other"), *((c, "y") for c in cells)]}), '[columns]\nmd5 = "MD5"\n')


class TestWorkbook(ConnectorContract):
    connector = MappedCSV()
    sample = workbook({"Liste": ROWS})
    items = 3
    options = {"mapping": MAPPING}  # noqa: RUF012 - a constant of the class
    self_delimiting = True
    truncation_step = 5
    mutations = 150


def test_cells_are_read_as_what_they_show() -> None:
    first, second, third = read(workbook({"Liste": ROWS}))
    assert isinstance(first, Record)
    assert isinstance(second, Record)
    assert isinstance(third, Record)
    assert (first.position, first.value, first.media_size) == ("row 2", "1", 2835)
    assert (second.position, second.value, second.media_size) == ("row 4", "A", 12345)
    assert (first.flags, second.flags) == (Flags(self_generated=True), Flags(self_generated=False))
    for one in (first, second):
        assert one.source_time == "2026-03-01"
        assert one.expire_time == datetime(2027, 2, 1, tzinfo=UTC)
        assert one.hashes[0].digest.hex() == MD5
    assert third == Record(position="row 5", hashes=first.hashes)


def test_what_openpyxl_writes_is_read_too() -> None:
    book = openpyxl.Workbook()
    page = book.active
    assert page is not None
    for row in ROWS:
        page.append(row)
    file = io.BytesIO()
    book.save(file)
    assert read(file.getvalue()) == read(workbook({"Liste": ROWS}))


def test_a_stream_that_cannot_seek_is_read() -> None:
    source: Any = Trickle(workbook({"Liste": ROWS}), 1000)
    assert list(MappedCSV().read(source, {"mapping": MAPPING})) == read(workbook({"Liste": ROWS}))


def test_the_first_sheet_is_read_unless_one_is_named() -> None:
    data = workbook({"Erste": [("MD5",), (MD5,)], "Zweite": [("MD5",), (MD5,), (MD5,)]})
    mapping = '[columns]\nmd5 = "MD5"\n'
    assert len(read(data, mapping)) == 1
    assert len(read(data, mapping, sheet="Zweite")) == 2
    with pytest.raises(InvalidArgument, match=r"options\.sheet: is 'Dritte'; the workbook has 'Erste', 'Zweite'"):
        read(data, mapping, sheet="Dritte")
    with pytest.raises(InvalidArgument, match="is for Excel workbooks"):
        read(b"MD5\n", mapping, sheet="Zweite")


COVER = [("Liste der Meldestelle",), (), ("Kontakt", "list@hotline.example"), ("Stand", "2026-03-01"), ("Einträge", 3)]


@pytest.mark.parametrize("order", [("Deckblatt", "Liste", "Hinweise"), ("Deckblatt", "Hinweise", "Liste")])
def test_a_cover_is_passed_over(order: tuple[str, ...]) -> None:
    sheets: dict[str, Any] = {"Deckblatt": COVER, "Hinweise": [("MD5", "Kategorie"), ("siehe", "Liste")], "Liste": ROWS}
    data = workbook({name: sheets[name] for name in order})
    assert read(data) == read(workbook({"Liste": ROWS}))
    proposal = propose(data)
    assert f"# The sheet 'Liste' of {', '.join(map(repr, order))}; --option sheet=NAME reads another." in proposal
    assert read_mapping(proposal).digests == read_mapping(propose(workbook({"Liste": ROWS}))).digests
    with pytest.raises(MalformedSource, match=r"in the sheet 'Deckblatt' of 'Deckblatt', .*--option sheet=NAME"):
        read(data, sheet="Deckblatt")


def test_which_sheet_is_the_list_is_asked_where_several_may_be() -> None:
    data = workbook({"Deckblatt": COVER, "A": ROWS, "B": ROWS})
    asked = "options.sheet: is missing: the sheets 'A', 'B' hold digests, the first has none; .* --option sheet=NAME"
    for door in (read, propose):
        with pytest.raises(InvalidArgument, match=asked):
            door(data)
    assert read(data, sheet="B") == read(workbook({"Liste": ROWS}))


def test_a_damaged_sheet_before_the_list_is_no_list() -> None:
    data = workbook({"x": [], "Liste": ROWS}, parts={"xl/worksheets/sheet1.xml": "<worksheet><sheetData><row"})
    assert read(data) == read(workbook({"Liste": ROWS}))


@pytest.mark.parametrize(
    "cell",
    ["1,23457E+31", "1.23457E+31", "1.23e31", 1.23457e31, 12345678901234500000, "12345678901234500000000000000000",
     "1234567890123456789012345678901", "12345678901234567890123456789012,0"],
)  # fmt: skip
def test_a_digest_that_became_a_number_is_named_as_such(cell: Cell) -> None:
    (refused,) = only_md5(cell)
    assert isinstance(refused, Reject)
    assert (refused.position, refused.reason) == ("row 2", "EXCEL_MANGLED")
    assert "Excel turned this digest into a number; export the column as text" in refused.detail
    text = f"MD5;Other\n{cell};y\n".encode()
    (refused,) = MappedCSV().read(io.BytesIO(text), {"mapping": 'delimiter = ";"\n[columns]\nmd5 = "MD5"\n'})
    assert isinstance(refused, Reject)
    assert refused.reason == "EXCEL_MANGLED"


@pytest.mark.parametrize(
    ("cell", "reason"),
    [("0" * 32, ""), ("12345678901234567890123456789012", ""), (MD5[:31], "DIGEST_WRONG_LENGTH"),
     (4711, "DIGEST_WRONG_LENGTH"), ("=A1", "NO_HASH"), ("7b4747409fe1f2e64f187eac00000000", "")],
)  # fmt: skip
def test_others_are_not(cell: Cell, reason: str) -> None:
    (one,) = only_md5(cell)
    assert (one.reason if isinstance(one, Reject) else "") == reason


def test_a_mangled_digest_beside_a_good_one_is_noted() -> None:
    data = workbook({"x": [("MD5", "SHA1"), ("1,2E+31", SHA1)]})
    (one,) = read(data, '[columns]\nmd5 = "MD5"\nsha1 = "SHA1"\n')
    assert isinstance(one, Record)
    assert [(f.algorithm, f.reason) for f in one.faults] == [("MD5", "EXCEL_MANGLED")]


def test_a_row_that_is_too_long_is_refused_and_a_shorter_one_is_not() -> None:
    data = workbook({"x": [("MD5", "Other"), (MD5,), (MD5, "a", None), (MD5, "a", "b")]})
    items = read(data, '[columns]\nmd5 = "MD5"\n')
    assert [one.reason if isinstance(one, Reject) else "" for one in items] == ["", "", "WRONG_COLUMN_COUNT"]


def test_without_a_header_rows_may_be_of_any_length() -> None:
    items = read(
        workbook({"x": [(MD5,), (MD5, "a", "b"), (None, "a")]}), "header = false\n[columns]\nmd5 = 1\nseries = 2\n"
    )
    assert [one.series if isinstance(one, Record) else one.reason for one in items] == ["", "a", "NO_HASH"]


def row(number: str, *places: str) -> str:
    cells = "".join(f'<c r="{p}" t="inlineStr"><is><t>{MD5}</t></is></c>' for p in places)
    return sheet(()).replace("<sheetData>", f'<sheetData><row r="{number}">{cells}</row>')


@pytest.mark.parametrize(
    ("xml", "word"),
    [
        (row("999999999", "A999999999"), "a row has the number"),
        (row("1048577", "A1048577"), "a row has the number"),
        (row("-1", "A1"), "a row has the number"),
        (row("1", "XFD1"), "a cell stands at 'XFD1'"),
        (row("1", "ZZZZZZ1"), "a cell stands at"),
        (row("1", "B1", "A1"), "rising columns"),
        (row("1", "A2"), "a cell stands at"),
        (row("2", "A2").replace("</sheetData>", '<row r="1"/></sheetData>'), "a row has the number"),
        (row("1", "A1").replace(MD5, "x" * (2 << 20)), "longer than"),
        (row("1", "A1")[:-40], "damaged"),
        ('<!DOCTYPE x [<!ENTITY a "b">]>' + row("1", "A1").split("?>", 1)[1], "damaged"),
        ('<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><worksheet>&a;</worksheet>', "damaged"),
        ("", "damaged"),
        ("x", "damaged"),
        (row("²", "A1"), "a row has the number"),
    ],
)
def test_a_hostile_sheet_is_refused_and_costs_nothing(xml: str, word: str) -> None:
    data = workbook({"x": [("MD5",)]}, parts={"xl/worksheets/sheet1.xml": xml})
    tracemalloc.start()
    with pytest.raises(MalformedSource) as caught:
        read(data, '[columns]\nmd5 = "MD5"\n')
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert word in caught.value.message or "no workbook that can be read" in caught.value.message
    assert caught.value.position
    assert used < 48 << 20


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    bomb = sheet([("MD5",)]).replace("<sheetData>", " " * (32 << 20) + "<sheetData>")
    for part in ("xl/worksheets/sheet1.xml", "xl/sharedStrings.xml", "xl/styles.xml"):
        with pytest.raises(MalformedSource, match="too large when unpacked"):
            read(workbook({"x": [("MD5",)]}, parts={part: bomb}))


def test_too_large_a_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FILE", 100)
    with pytest.raises(MalformedSource, match="larger than"):
        read(workbook({"Liste": ROWS}))


def test_other_archives_and_old_files_are_named() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.csv", "MD5\n")
        archive.writestr("b.csv", "MD5\n")
    with pytest.raises(MalformedSource, match="a ZIP archive with 2 files, and no Excel workbook"):
        read(file.getvalue())
    for part, word in (("xl/workbook.bin", r"\.xlsb"), ("mimetype", "OpenDocument")):
        other = io.BytesIO()
        with zipfile.ZipFile(other, "w") as archive:
            archive.writestr(part, "x")
            archive.writestr("content.xml", "x")
        with pytest.raises(MalformedSource, match=word):
            read(other.getvalue())
    with pytest.raises(MalformedSource, match=r"\.xls"):
        read(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600)
    with pytest.raises(MalformedSource, match="the sheet is empty"):
        read(workbook({"x": [(), ()]}))


FIRST, LAST = datetime(1901, 1, 1), datetime(2200, 1, 1)  # noqa: DTZ001 - cells have no zone


@given(
    st.lists(
        st.lists(
            st.none()
            | st.booleans()
            | st.integers(-(10**14), 10**14)
            | st.floats(-1e9, 1e9).map(lambda f: round(f, 4))
            | st.dates(date(1901, 1, 1), date(2200, 1, 1))
            | st.datetimes(FIRST, LAST).map(lambda d: d.replace(microsecond=0))
            | st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=20),
            max_size=6,
        ),
        max_size=8,
    )
)
def test_cells_that_openpyxl_writes_are_read_as_they_were(rows: list[list[Any]]) -> None:
    book = openpyxl.Workbook()
    page = book.active
    assert page is not None
    for values in rows:
        page.append([v if not isinstance(v, str) else "'" + v for v in values])
    file = io.BytesIO()
    book.save(file)

    def text(value: Any) -> str:
        if isinstance(value, float):
            return str(int(value)) if value.is_integer() else f"{value:.15g}"
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        return "'" + value if isinstance(value, str) else text_of(value)

    wanted = []
    for number, values in enumerate(rows, 1):
        cells = [text(v) for v in values]
        while cells and not cells[-1].strip():
            cells.pop()
        if cells:
            wanted.append((f"row {number}", cells))
    with SheetRows(io.BytesIO(file.getvalue()), has_header=False) as read_rows:
        assert list(read_rows) == wanted


SHARED = """<sst xmlns="m"><si><t>MD5</t></si><si><r><t>7b4747409fe1f2e6</t></r><r><t>4f187eac679ea0cc</t></r>
<rPh><t>x</t></rPh></si><si><t>a_x000D_b_x005F_</t></si></sst>"""


def shared(*cells: str) -> str:
    return sheet(()).replace("<sheetData>", "<sheetData>" + "".join(f"<row>{c}</row>" for c in cells))


def test_shared_texts_are_put_together() -> None:
    xml = shared(
        '<c t="s"><v>0</v></c>', '<c t="s"><v>1</v></c><c t="s"><v>2</v></c>', '<c t="str"><f>A1</f><v>x</v></c>'
    )
    data = workbook({"x": []}, parts={"xl/worksheets/sheet1.xml": xml, "xl/sharedStrings.xml": SHARED})
    with SheetRows(io.BytesIO(data)) as rows:
        assert rows.header == ("MD5",)
        assert list(rows) == [("row 2", [MD5, "a\rb_"]), ("row 3", ["x"])]


@pytest.mark.parametrize("number", ["9", "-1", "x", "1e3"])
def test_a_shared_text_that_is_not_there_is_damage(number: str) -> None:
    xml = shared('<c t="s"><v>0</v></c>', f'<c t="s"><v>{number}</v></c>')
    data = workbook({"x": []}, parts={"xl/worksheets/sheet1.xml": xml, "xl/sharedStrings.xml": SHARED})
    with pytest.raises(MalformedSource, match="damaged"):
        read(data, '[columns]\nmd5 = "MD5"\n')


def test_days_of_a_book_from_1904_and_other_formats_of_dates() -> None:
    formats = ["yyyy\\-mm\\-dd", 'dd"."mm"."yy', "0.00", "[$-407]d. mmm yyyy", '"day" 0', "General", "[h]:mm", "mm:ss"]
    shown = "".join(f"<numFmt numFmtId='{170 + i}' formatCode='{escape(f)}'/>" for i, f in enumerate(formats))
    used = "".join(f"<xf numFmtId='{170 + i}'/>" for i in range(len(formats)))
    styles = f"<styleSheet><numFmts>{shown}</numFmts><cellXfs>{used}</cellXfs></styleSheet>"
    cells = "".join(f'<c s="{i}"><v>1000.5</v></c>' for i in range(len(formats)))
    book = '<workbook><workbookPr date1904="1"/><sheets><sheet name="x" r:id="rId1"/></sheets></workbook>'
    parts = {"xl/worksheets/sheet1.xml": shared(cells), "xl/styles.xml": styles, "xl/workbook.xml": book}
    with SheetRows(io.BytesIO(workbook({"x": []}, parts=parts)), has_header=False) as rows:
        ((_, texts),) = rows
    day = "1906-09-27T12:00:00"
    assert texts == [day, day, "1000.5", day, "1000.5", "1000.5", "1000.5", day]


def test_an_element_without_an_end_is_not_kept() -> None:
    head = sheet(()).partition("<sheetData>")[0]
    noise = Random(1).randbytes(8 << 20).hex()
    data = workbook(
        {"x": []}, parts={"xl/worksheets/sheet1.xml": f'{head}<sheetData a="{noise}"></sheetData></worksheet>'}
    )
    with pytest.raises(MalformedSource, match="damaged"):
        read(data, '[columns]\nmd5 = "MD5"\n')
