"""docs/reconcile/extract.md: its tables say what the code does, and its examples run as they stand."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import duckdb
import pytest

from hashhub.hashes import ALGORITHMS
from hashhub.reconcile.columns import BLOCK_BITS, DIGEST_COLUMNS, HASH_SET_COLUMNS
from hashhub.reconcile.comparison import PERCEPTUAL
from hashhub.reconcile.links import MOST_NEAR
from tests.reconcile.small import Small, small_extract
from tests.reconcile.test_sharing import JURISDICTIONS, MD5, PDQ, SETS

PAGE = (Path(__file__).parents[2] / "docs/reconcile/extract.md").read_text("utf-8")


@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The parent of a directory `extract`, which the examples are run in."""
    chosen = [
        Small(SETS[n % 5], (MD5[n % 3], PDQ[n % 4]), dimensions={"age_band": ("0-2", "3-6")}, is_active=n != 7)
        for n in range(10)
    ]
    small_extract(tmp_path / "extract", chosen, JURISDICTIONS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def table(name: str) -> dict[str, str]:
    (part,) = re.findall(rf"<!-- {name} -->\n(.*?)<!-- end -->", PAGE, re.DOTALL)
    return dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", part, re.MULTILINE))


def test_the_tables_have_the_columns() -> None:
    by_dimension = {name: text for name, text in DIGEST_COLUMNS.items() if name.startswith("d_")}
    expected = {name: text for name, text in DIGEST_COLUMNS.items() if name not in by_dimension}
    of_bits = {text for name, text in by_dimension.items() if name != "d_legal_status"}
    assert len(of_bits) == 1
    assert table("digest columns") == {
        **expected,
        "d_DIMENSION": of_bits.pop(),
        "d_legal_status": by_dimension["d_legal_status"],
    }
    assert table("hash set columns") == HASH_SET_COLUMNS


def test_the_numbers_are_those_of_the_code() -> None:
    assert f"divided by {1 << BLOCK_BITS:,}" in PAGE
    assert f"more than {MOST_NEAR} digests" in PAGE
    assert f"(PDQ {PERCEPTUAL['PDQ']} of {ALGORITHMS['PDQ'].bits} bits" in PAGE
    assert PERCEPTUAL == {"PDQ": 31, "PHASH": 10, "DHASH": 10}


def test_every_query_gives_an_answer(beside: Path) -> None:
    answers = [duckdb.sql(sql).fetchall() for sql in blocks("sql")]
    assert answers[0] == [
        ("alpha", "MD5", 4), ("alpha", "PDQ", 4), ("beta", "MD5", 1), ("beta", "PDQ", 1),
        ("delta", "MD5", 2), ("delta", "PDQ", 2), ("gamma", "MD5", 2), ("gamma", "PDQ", 2),
    ]  # fmt: skip
    assert answers[1] == [("MD5", 3)]
    assert answers[2] == [("0-2", 10), ("3-6", 10)]


def test_the_python_runs(beside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (plain,) = blocks("python")
    exec(compile(plain, "docs/reconcile/extract.md", "exec"), {})  # noqa: S102 - what the page shows
    assert "delta/a" in capsys.readouterr().out


def test_pandas_reads_it(beside: Path) -> None:
    pytest.importorskip("pandas")
    (shown,) = blocks("python pandas")
    exec(compile(shown, "docs/reconcile/extract.md", "exec"), {"Path": Path})  # noqa: S102 - likewise


def test_r_reads_it(beside: Path) -> None:
    if not shutil.which("Rscript"):
        pytest.skip("R is not installed")
    (shown,) = blocks("r")
    (beside / "shown.R").write_text(shown)
    subprocess.run(["Rscript", "shown.R"], check=True, timeout=100)
