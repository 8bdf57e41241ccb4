"""An analyst's table: a mapping is proposed and looked at, refused rows are told beside the rows and corrected."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from click.testing import Result

from hashhub.cli.outcomes import Outcomes, write_beside, write_positions
from hashhub.client import Client
from hashhub.errors import FailedPrecondition, InvalidArgument
from hashhub.model import Disposition, Finding
from hashhub.testing.hub_process import RunningHub
from hashhub.testing.workbooks import workbook
from hashhub_connectors.delimited import OUTCOME_COLUMNS
from hashhub_connectors.mapping import TableLayout

Run = Callable[..., Result]
DONE, REFUSED, USAGE = 0, 1, 2
A, B, C, D = (f"{n:02x}" * 16 for n in (0xA1, 0xB2, 0xC3, 0xD4))
MAPPING = (
    'delimiter = ";"\nencoding = "cp1252"\n[columns]\nmd5 = "MD5"\nvalue = "Kategorie"\n'
    '[flags]\nself_generated = "Selbst"\n[values]\n"Kat. 1" = "1"\n'
)
LIST = (
    "MD5;Kategorie;Bemerkung;Selbst\r\n"
    f"{A};Kat. 1;=cmd|' /C calc'!A0;ja\r\n"
    "\r\n"
    f"1,23457E+31;Kat. 1;größer;nein\r\n"
    f'{B};Kat. 1;"zwei\r\nZeilen; und ""mehr""";vielleicht\r\n'
    f"{C};Kat. 1\r\n"
    f"{C};strafbar;x;\r\n"
    f"{A};Kat. 1;doppelt;ja"
)


def imported(run: Run, hash_set: str, source: Path, mapping: str, *more: str) -> dict[str, Any]:
    (source.parent / "mapping.toml").write_text(mapping, "utf-8")
    done = run(
        "import", str(source), "--format", "csv", "--hash-set", hash_set, "--json",
        "--mapping", str(source.parent / "mapping.toml"), *more,
    )  # fmt: skip
    assert done.exit_code == DONE, done.stderr
    (report,) = (json.loads(line) for line in done.stdout.splitlines())
    return report  # type: ignore[no-any-return]


def outcomes(text: str, delimiter: str = ";") -> list[tuple[str, str]]:
    rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    assert tuple(rows[0][:3]) == OUTCOME_COLUMNS
    return [(row[0], row[1]) for row in rows[1:] if row]


class TestBesideTheRows:
    def test_every_row_is_there_with_its_outcome(self, run: Run, hash_set: str, tmp_path: Path) -> None:
        source = tmp_path / "liste.csv"
        source.write_bytes(LIST.encode("cp1252"))
        report = imported(run, hash_set, source, MAPPING)
        out = tmp_path / "beside.csv"
        done = run("findings", report["import"], "--csv", str(source), "--out", str(out))
        assert done.exit_code == DONE, done.stderr
        written = out.read_bytes()
        assert outcomes(written.decode("cp1252")) == [
            ("accepted", ""),
            ("rejected", "EXCEL_MANGLED"),
            ("accepted", "BAD_FIELD"),
            ("rejected", "WRONG_COLUMN_COUNT"),
            ("quarantined", "UNKNOWN_VALUE"),
            ("duplicate", "DUPLICATE_IN_SOURCE"),
        ]
        beside, original = written.decode("cp1252"), LIST
        for row in (f"{A};Kat. 1;=cmd|' /C calc'!A0;ja\r\n", 'Kat. 1;"zwei\r\nZeilen; und ""mehr""";vielleicht\r\n'):
            assert row in original
            assert f";{row}" in beside
        assert beside.endswith(f";{A};Kat. 1;doppelt;ja")
        assert "\r\n\r\n" in beside
        for name in (report["import"], hash_set):
            to_stdout = run("findings", name, "--csv", str(source), "--mapping", str(tmp_path / "mapping.toml"))
            assert to_stdout.stdout_bytes == written

    def test_the_corrected_table_is_imported_by_the_same_mapping(self, run: Run, hash_set: str, tmp_path: Path) -> None:
        source, out = tmp_path / "liste.csv", tmp_path / "corrected.csv"
        source.write_bytes(LIST.encode("cp1252"))
        report = imported(run, hash_set, source, MAPPING)
        run("findings", report["import"], "--csv", str(source), "--out", str(out))
        text = out.read_bytes().decode("cp1252")
        text = (
            text.replace("1,23457E+31", D).replace("strafbar", "Kat. 1").replace(f"{C};Kat. 1\r\n", f"{C};Kat. 1;;\r\n")
        )
        out.write_bytes(text.encode("cp1252"))
        counts = imported(run, hash_set, out, MAPPING)["counts"]
        assert (counts["items"], counts["rejected"], counts["quarantined"]) == (6, 0, 0)
        assert counts["accepted"] + counts["unchanged"] + counts["duplicate"] == 6
        again = run("findings", imported(run, hash_set, out, MAPPING)["import"], "--csv", str(out))
        header = again.stdout_bytes.decode("cp1252").split("\r\n")[0]
        assert header.split(";") == [*OUTCOME_COLUMNS, "MD5", "Kategorie", "Bemerkung", "Selbst"], (
            "the old columns are replaced"
        )

    def test_a_workbook_stays_a_workbook(self, run: Run, hash_set: str, tmp_path: Path) -> None:
        source, out = tmp_path / "liste.xlsx", tmp_path / "beside.xlsx"
        source.write_bytes(
            workbook({"Liste": [("MD5", "Kategorie", "Bemerkung"), (A, 1, "x=1"), (), (1.2e31, 1, "+x"), (B, 2, None)]})
        )
        mapping = '[columns]\nmd5 = "MD5"\nvalue = "Kategorie"\n'
        report = imported(run, hash_set, source, mapping)
        assert run("findings", report["import"], "--csv", str(source), "--out", str(out)).exit_code == DONE
        sheet = openpyxl.load_workbook(out)["Liste"]
        values = [[cell.value for cell in row] for row in sheet.iter_rows()]
        assert values[0] == [*OUTCOME_COLUMNS, "MD5", "Kategorie", "Bemerkung"]
        assert [row[0] for row in values[1:]] == ["accepted", None, "rejected", "accepted"]
        assert values[3][1] == "EXCEL_MANGLED"
        assert values[1][3:] == [A, 1, "x=1"]
        assert all(cell.data_type != "f" for row in sheet.iter_rows() for cell in row)
        again = imported(run, hash_set, out, mapping)["counts"]
        assert (again["items"], again["unchanged"], again["rejected"]) == (3, 2, 1)

    def test_another_file_is_refused(self, run: Run, hash_set: str, tmp_path: Path) -> None:
        source, other = tmp_path / "liste.csv", tmp_path / "other.csv"
        source.write_bytes(LIST.encode("cp1252"))
        other.write_bytes(LIST.encode("cp1252") + b"\n")
        report = imported(run, hash_set, source, MAPPING)
        done = run("findings", report["import"], "--csv", str(other), "--out", str(tmp_path / "x.csv"))
        assert done.exit_code == REFUSED
        assert "is not the file of this import" in done.stderr
        assert not (tmp_path / "x.csv").exists()
        unknown = run("findings", hash_set, "--csv", str(other))
        assert (unknown.exit_code, "was never imported into" in unknown.stderr) == (REFUSED, True)
        assert run("findings", report["import"], "--csv", str(source), "--out", str(source)).exit_code == REFUSED
        assert source.read_bytes() == LIST.encode("cp1252")

    def test_formats_without_rows_give_their_positions(self, run: Run, hash_set: str, tmp_path: Path) -> None:
        source = tmp_path / "sums.txt"
        source.write_text(f"{A}  x\n{B[:20]}  y\n{A}  z\n", "ascii")
        done = run("import", str(source), "--format", "hash-lines", "--hash-set", hash_set, "--json")
        name = json.loads(done.stdout)["import"]
        table = run("findings", name, "--csv")
        rows = list(csv.reader(io.StringIO(table.stdout)))
        assert rows[0] == ["position", "outcome", "reason", "detail"]
        assert ["line 2", "rejected", "DIGEST_WRONG_LENGTH"] in [row[:3] for row in rows]

    @pytest.mark.parametrize(
        "arguments",
        [
            ("--out", "x"),
            ("--csv", "x", "--disposition", "rejected"),
            ("--mapping", "x"),
            ("--sheet", "x"),
            ("--csv", "x", "--summary"),
            ("--csv", "x", "--json"),
        ],
    )
    def test_options_that_do_not_go_together(self, run: Run, hash_set: str, arguments: tuple[str, ...]) -> None:
        assert run("findings", f"{hash_set}/imp-0", *arguments).exit_code == USAGE


def test_the_sample_goes_as_its_page_tells(run: Run, police: str, tmp_path: Path) -> None:
    """The counts that docs/contribute/csv.md tells, and what is left after its corrections: one row that has no
    category."""
    hash_set = f"{police}/sample-table"
    assert run("hash-set", "create", hash_set, "--purpose", "csam", "--scheme", "interpol-baseline").exit_code == DONE
    assert run("sample", str(tmp_path)).exit_code == DONE
    mapping = (tmp_path / "liste.toml").read_text("utf-8")
    counts = imported(run, hash_set, tmp_path / "liste.csv", mapping)["counts"]
    assert (counts["items"], counts["accepted"], counts["quarantined"], counts["rejected"]) == (8, 4, 2, 2)
    checked = tmp_path / "liste-checked.csv"
    assert run("findings", hash_set, "--csv", str(tmp_path / "liste.csv"), "--out", str(checked)).exit_code == DONE
    page = (Path(__file__).parents[2] / "docs/contribute/csv.md").read_text("utf-8")
    corrections = re.findall(r"^sed -i 's/([^/]*)/([^/]*)/' liste-checked.csv$", page, re.MULTILINE)
    data = checked.read_bytes()
    for wrong, right in corrections:
        assert data.count(wrong.encode()) == 1
        data = data.replace(wrong.encode(), right.encode())
    checked.write_bytes(data)
    counts = imported(run, hash_set, checked, mapping)["counts"]
    assert (counts["accepted"], counts["unchanged"], counts["quarantined"], counts["rejected"]) == (3, 4, 1, 0)


def _in_a_gzip_file(content: bytes) -> bytes:
    return gzip.compress(content)


def _in_a_zip_archive(content: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("liste.csv", content)
    return packed.getvalue()


@pytest.mark.parametrize("pack", [_in_a_gzip_file, _in_a_zip_archive])
class TestPacked:
    def test_a_mapping_is_proposed(self, run: Run, hash_set: str, tmp_path: Path, pack: Callable[..., bytes]) -> None:
        plain, packed = tmp_path / "liste.csv", tmp_path / "liste.packed"
        plain.write_bytes(LIST.encode("cp1252"))
        packed.write_bytes(pack(LIST.encode("cp1252")))
        done = run("import", str(packed), "--propose-mapping")
        assert done.exit_code == DONE, done.stderr
        assert done.stdout == run("import", str(plain), "--propose-mapping").stdout
        refused = run("import", str(packed), "--hash-set", hash_set)
        assert 'md5 = "MD5"' in refused.stderr
        assert "a table is not imported by a guess" in refused.stderr

    def test_the_outcome_stands_beside_its_rows(
        self, run: Run, hash_set: str, tmp_path: Path, pack: Callable[..., bytes]
    ) -> None:
        source = tmp_path / "liste.packed"
        source.write_bytes(pack(LIST.encode("cp1252")))
        imported(run, hash_set, source, MAPPING)
        for more in ((), ("--mapping", str(tmp_path / "mapping.toml"))):
            done = run("findings", hash_set, "--csv", str(source), *more)
            assert done.exit_code == DONE, done.stderr
            assert len(outcomes(done.stdout_bytes.decode("cp1252"))) == 6


def test_an_empty_mapping_is_named(run: Run, hash_set: str, tmp_path: Path) -> None:
    (tmp_path / "liste.csv").write_bytes(LIST.encode("cp1252"))
    (tmp_path / "empty.toml").write_text("\n")
    done = run("import", str(tmp_path / "liste.csv"), "--mapping", str(tmp_path / "empty.toml"), "--hash-set", hash_set)
    assert done.exit_code == REFUSED
    assert "empty.toml' is empty; --propose-mapping prints what may stand in it" in done.stderr


class TestWithoutAMapping:
    def test_the_import_is_refused_with_a_proposal(self, run: Run, hash_set: str, tmp_path: Path) -> None:
        source = tmp_path / "liste.csv"
        source.write_bytes(LIST.encode("cp1252"))
        done = run("import", str(source), "--format", "csv", "--hash-set", hash_set)
        assert done.exit_code == REFUSED
        assert "a table is not imported by a guess" in done.stderr
        assert 'md5 = "MD5"' in done.stderr
        assert not done.stdout
        assert run("findings", hash_set, "--json").stdout == ""

    def test_what_a_proposal_cannot_tell_stands_on_the_terminal(self, run: Run, tmp_path: Path) -> None:
        source = tmp_path / "liste.csv"
        source.write_bytes(LIST.encode("cp1252"))
        done = run("import", str(source), "--format", "csv", "--propose-mapping")
        assert done.exit_code == DONE
        assert "UNKNOWN_VALUE" in done.stderr
        assert '# "Kat. 1" = "…"' in done.stdout
        told = json.loads(run("import", str(source), "--format", "csv", "--propose-mapping", "--json").stdout)
        assert (told["mapping"].strip(), bool(told["notes"])) == (done.stdout.strip(), True)

    def test_the_report_tells_what_unknown_values_mean(self, run: Run, hash_set: str, tmp_path: Path) -> None:
        source = tmp_path / "liste.csv"
        source.write_bytes(LIST.encode("cp1252"))
        (tmp_path / "mapping.toml").write_text(MAPPING.replace("Kat. 1", "Kat. 9"), "utf-8")
        arguments = ("--format", "csv", "--hash-set", hash_set, "--mapping", str(tmp_path / "mapping.toml"))
        done = run("import", str(source), *arguments)
        assert done.exit_code == DONE, done.stderr
        assert "Unknown values: 3." in done.stdout


class TestWithoutFindings:
    @pytest.mark.parametrize("more", [(), ("--json",)])
    def test_why_there_are_none_is_told(self, run: Run, hash_set: str, tmp_path: Path, more: tuple[str, ...]) -> None:
        head, row = "MD5;Kategorie;Selbst\n", f"{A};Kat. 1;ja\n"
        for content, *options, told in (
            (head + row, "no findings: every item was accepted"),
            (head, "no findings: the import has no items"),
            (head + f"{A[:-1]};Kat. 1;ja\n", "--disposition", "quarantined", "no such findings"),
        ):
            source = tmp_path / "liste.csv"
            source.write_text(content)
            (tmp_path / "mapping.toml").write_text(MAPPING)
            run("import", str(source), "--mapping", str(tmp_path / "mapping.toml"), "--hash-set", hash_set)
            done = run("findings", f"{hash_set}/latest", *options, *more)
            assert (done.exit_code, done.stdout, done.stderr) == (DONE, "", f"note: {told}\n")

    def test_an_open_import_is_no_clean_one(self, run: Run, hub: RunningHub, hash_set: str) -> None:
        with Client(hub.address, hub.token) as client:
            source = io.BytesIO(f"{A}\n{B[:-1]}\n".encode())
            client.import_source(io.BytesIO(f"{C}\n".encode()), hash_set=hash_set, connector="hash-lines")
            with pytest.raises(FailedPrecondition, match="keeps 0 of 1"):
                client.import_source(source, hash_set=hash_set, connector="hash-lines", replace=True)
        done = run("findings", f"{hash_set}/latest")
        assert done.exit_code == DONE
        assert done.stdout == ""
        assert done.stderr == "note: nothing is said of its items until it is committed; it is committing\n"


def beside(text: str | bytes, layout: TableLayout, *findings: Finding, items: int, encoding: str = "utf-8") -> str:
    target = io.BytesIO()
    source = io.BytesIO(text.encode(encoding) if isinstance(text, str) else text)
    write_beside(Outcomes(findings), source, target, layout, sheet="", items=items)
    return target.getvalue().decode(encoding)


class TestJoining:
    def finding(self, place: int, disposition: Disposition, detail: str = "why") -> Finding:
        return Finding(f"line {place}", disposition, "REASON", detail)

    def test_findings_come_in_any_order(self) -> None:
        text = "a,b\n" + "".join(f"{i},x\n" for i in range(2, 22))
        given = [self.finding(i, Disposition.REJECTED) for i in (20, 3, 10, 2)] + [
            self.finding(3, Disposition.NOTED, "n")
        ]
        rows = list(csv.reader(io.StringIO(beside(text, TableLayout(), *given, items=20))))[1:]
        assert [int(row[3]) for row in rows if row[0] == "rejected"] == [2, 3, 10, 20]
        assert rows[1][:3] == ["rejected", "REASON", "why; n"]

    @pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t", "\r"])
    def test_no_added_cell_is_a_formula(self, begin: str) -> None:
        text = beside("a,b\nx,y\n", TableLayout(), self.finding(2, Disposition.REJECTED, f"{begin}1+1,2"), items=1)
        (_, row) = csv.reader(io.StringIO(text, newline=""))
        assert row[2].startswith(f"'{begin}")
        out = io.BytesIO()
        write_positions([*Outcomes([Finding("=1", Disposition.REJECTED, "R", f"{begin}x")])], out)
        assert all(cell[0] not in "=+-@\t\r" for cell in list(csv.reader(io.StringIO(out.getvalue().decode())))[1])

    def test_a_table_without_a_header_keeps_the_numbers_of_its_columns(self) -> None:
        text = beside(
            "a;b\nc\nd;e;f",
            TableLayout(delimiter=";", has_header=False),
            self.finding(2, Disposition.REJECTED, ""),
            items=3,
        )
        assert text == "a;b;accepted;;\nc;;rejected;REASON;\nd;e;f;accepted;;"

    @pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "cp1250"])
    @pytest.mark.parametrize("end", ["\n", "\r\n"])
    def test_cells_stay_byte_for_byte(self, encoding: str, end: str) -> None:
        rows = ["ď;ž", 'x;"a ""b"" ; c"', f'"1{end}2";', "", ' "q";'.replace(" ", "")]
        data = end.join(rows).encode(encoding)
        layout = TableLayout(delimiter=";", encoding="" if encoding in {"utf-8-sig", "utf-16"} else encoding)
        text = io.BytesIO()
        write_beside(Outcomes(()), io.BytesIO(data), text, layout, sheet="", items=3)
        head = ";".join(OUTCOME_COLUMNS)
        expected = end.join([f"{head};{rows[0]}", *(f"accepted;;;{r}" if r else "" for r in rows[1:])])
        assert text.getvalue() == expected.encode(encoding)

    def test_what_stands_above_the_rows_stays_there(self) -> None:
        layout = TableLayout(skip=2)
        assert beside("sep=;\nTitel\n\nm;n\nx;y\n", layout, items=1).splitlines()[:3] == ["sep=;", "Titel", ""]

    def test_a_row_that_is_none_is_told_beside_it(self) -> None:
        text = beside('a,b\n"x"y,z\n', TableLayout(), self.finding(2, Disposition.REJECTED), items=1)
        assert text.splitlines()[1] == 'rejected,REASON,why,"x"y,z'

    def test_a_table_read_in_another_way_is_refused(self) -> None:
        with pytest.raises(InvalidArgument, match="was read as 1 rows, where the import had 2 items"):
            beside("a;b\nx;y\n", TableLayout(delimiter=";"), items=2)

    def test_a_long_list_needs_little_memory(self) -> None:
        count = 60_000
        source = io.BytesIO(b"a;b\n" + b"x;y\n" * count)

        def findings() -> Iterator[Finding]:
            for i in range(count):
                yield self.finding(i + 2, Disposition.REJECTED, "z" * 100)

        class Counter(io.BytesIO):
            size = 0

            def write(self, data: Any, /) -> int:
                self.size += len(data)
                return len(data)

        target = Counter()
        tracemalloc.start()
        write_beside(Outcomes(findings()), source, target, TableLayout(delimiter=";"), sheet="", items=count)
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert target.size > count * 110
        assert used < 8 << 20
