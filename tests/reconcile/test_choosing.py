"""Whose hash sets are looked at: by reliability and by choice, with whom that leaves out."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hashhub import schemes
from hashhub.errors import InvalidArgument
from hashhub.model import Reliability
from hashhub.reconcile import tasks
from hashhub.reconcile.extract import Extract
from hashhub.reconcile.results import Agreement, ConflictTotals, Gap, Omission, Overlap, PairConflicts
from hashhub.reconcile.work import compute
from tests.extracts import ListedEntry, ListedSet, write_extract

VALUES = ("csam", "exploitative", "non-pertinent")
SETS = (
    ListedSet(name="a/list", reliability="A"),
    ListedSet(name="b/list", jurisdiction="GB", reliability="C"),
    ListedSet(name="e/list", jurisdiction="FR", reliability="E"),
    ListedSet(name="flood/list", reliability="F"),
)


def says(contributor: str, item: int, value: str) -> ListedEntry:
    return ListedEntry(
        hash_set=f"{contributor}/list", digests={"MD5": str(item)}, dimensions={"verdict": (value,)}, value=value
    )


def ask(task: tasks.Task, extract: Extract, out: Path) -> Any:
    out.mkdir(exist_ok=True)
    return compute(task, extract, out, lambda *_: None, schemes.load())


@pytest.fixture
def flooded(tmp_path: Path) -> Extract:
    """Three rated contributors about sixty items, and one that nobody has rated, which contradicts them all."""
    entries = [says(name, n, VALUES[(n + (n % 7 == k)) % 3]) for k, name in enumerate("abe") for n in range(60)]
    entries += [says("flood", n, VALUES[(n + 1) % 3]) for n in range(200)]
    return write_extract(tmp_path / "extract", SETS, entries)


def test_who_is_not_rated_moves_no_figure_and_is_told(flooded: Extract, tmp_path: Path) -> None:
    def without(answer: Any) -> Any:
        return msgspec.structs.replace(answer, left_out=())

    alone = flooded.restricted([s.name for s in SETS[:3]])
    told = (Omission(contributor="flood", reliability="F"),)
    for task in (tasks.ComputeAgreement(), tasks.ComputeOverlap()):
        answer = ask(task, flooded, tmp_path / "out")
        assert answer.left_out == told
        assert without(answer) == ask(task, alone, tmp_path / "out")
    gaps: tasks.GapsResult = ask(tasks.FindGaps(jurisdiction="DE"), flooded, tmp_path / "out")
    assert gaps.gaps.left_out == told
    assert without(gaps.gaps) == ask(tasks.FindGaps(jurisdiction="DE"), alone, tmp_path / "out").gaps
    assert ask(tasks.FindLinks(), flooded, tmp_path / "out").left_out == told
    # It takes part where somebody says so, and then it moves them.
    moved: Agreement = ask(tasks.ComputeAgreement(min_reliability=Reliability.F), flooded, tmp_path / "out")
    usual: Agreement = ask(tasks.ComputeAgreement(), flooded, tmp_path / "out")
    assert moved.left_out == ()
    assert moved.dimensions[0].alpha is not None
    assert usual.dimensions[0].alpha is not None
    assert moved.dimensions[0].alpha < usual.dimensions[0].alpha - 0.2


def test_they_can_be_chosen(flooded: Extract, tmp_path: Path) -> None:
    named: Overlap = ask(tasks.ComputeOverlap(contributors=("a", "flood")), flooded, tmp_path / "out")
    assert named.names == ("a/list", "flood/list")
    assert [(x.contributor, x.by_choice) for x in named.left_out] == [("b", True), ("e", True)]
    rated: Overlap = ask(tasks.ComputeOverlap(min_reliability=Reliability.C), flooded, tmp_path / "out")
    assert rated.names == ("a/list", "b/list")
    assert [(x.contributor, x.reliability, x.by_choice) for x in rated.left_out] == [
        ("e", "E", False),
        ("flood", "F", False),
    ]
    with pytest.raises(InvalidArgument, match="'nobody'"):
        ask(tasks.ComputeOverlap(contributors=("a", "nobody")), flooded, tmp_path / "out")
    with pytest.raises(InvalidArgument, match="'flood'"):  # in the same words, where it may not be seen
        ask(tasks.ComputeOverlap(contributors=("a", "flood")), flooded.restricted(["a/list"]), tmp_path / "out")


def test_where_nobody_is_rated_all_take_part(tmp_path: Path) -> None:
    sets = [ListedSet(name=f"{name}/list", reliability="F") for name in "ab"]
    extract = write_extract(tmp_path / "extract", sets, [says(name, 1, "csam") for name in "ab"])
    overlap: Overlap = ask(tasks.ComputeOverlap(), extract, tmp_path / "out")
    assert (overlap.names, overlap.left_out) == (("a/list", "b/list"), ())


def test_gaps_are_of_the_items_that_agreement_finds(tmp_path: Path) -> None:
    """Somebody binds the MD5 of one item to the SHA-1 of another: it joins nobody's items, and is of its strongest."""
    bound = {"MD5": "1", "SHA1": "2"}
    entries = [
        ListedEntry(hash_set="a/list", digests={"MD5": "1", "SHA1": "1"}),
        ListedEntry(hash_set="b/list", digests={"MD5": "2", "SHA1": "2"}),
        ListedEntry(hash_set="e/list", digests=bound),
        ListedEntry(hash_set="a/list", digests={"MD5": "3"}),
        ListedEntry(hash_set="b/list", digests={"MD5": "3", "SHA1": "3"}),
    ]
    extract = write_extract(tmp_path / "extract", SETS, entries)
    found: tasks.GapsResult = ask(tasks.FindGaps(jurisdiction="DE"), extract, tmp_path / "out")
    assert (found.gaps.items, found.gaps.by_contributor) == (3, {"a": 2, "b": 2, "e": 1})
    rows = [msgspec.json.decode(line, type=Gap) for line in (tmp_path / "out" / tasks.ROWS).read_bytes().splitlines()]
    assert {row.entries for row in rows} == {("a/list/1",), ("b/list/2", "e/list/3"), ("a/list/4", "b/list/5")}


def test_the_report_says_so_and_when(flooded: Extract, tmp_path: Path) -> None:
    made: tasks.ReportResult = ask(tasks.WriteReport(), flooded, tmp_path / "out")
    page = (tmp_path / "out" / tasks.FILES / "report.html").read_text()
    assert [x.contributor for x in made.left_out] == ["flood"]
    assert "flood (F)" in page.partition("</section>")[0]
    assert "flood" not in page.partition("<main>")[2]
    at = flooded.manifest.create_time
    assert f"as it was on {at.day} {at:%B %Y}" in page


def test_drift_goes_by_the_sources_own_time(tmp_path: Path) -> None:
    def in_may(contributor: str, item: int) -> ListedEntry:
        return msgspec.structs.replace(says(contributor, item, "csam"), stated_time=datetime(2019, 5, 1, tzinfo=UTC))

    entries = [says(name, n, "csam") for name in "ab" for n in range(30)]
    entries += [in_may(name, n) for name in "ab" for n in range(30, 60)]
    agreement: Agreement = ask(tasks.ComputeAgreement(), write_extract(tmp_path / "x", SETS, entries), tmp_path / "out")
    assert {d.period for d in agreement.drift} == {"2026-Q1", "2019-Q2"}


def test_the_first_sentences_tell_what_can_be_told(tmp_path: Path) -> None:
    """Nobody could differ about the first dimension: then the verdict's figure and the gravest conflicts are told."""
    entries = [
        msgspec.structs.replace(
            says(name, n, VALUES[(n + (n % 7 == k)) % 3]),
            dimensions={"age_band": ("prepubescent",), "verdict": (VALUES[(n + (n % 7 == k)) % 3],)},
        )
        for k, name in enumerate("ab")
        for n in range(60)
    ]
    extract = write_extract(tmp_path / "x", SETS[:2], entries)
    out = tmp_path / "out"
    out.mkdir()
    counts = tuple(
        PairConflicts(kind="BENIGN_AGAINST_HARMFUL", severity=severity, left="a", right="b", count=n)
        for severity, n in (("HIGH", 4), ("LOW", 3))
    )
    conflicts = ConflictTotals(revision=7, counts=counts)
    compute(tasks.WriteReport(), extract, out, lambda *_: None, schemes.load(), conflicts=conflicts)
    page = (out / tasks.FILES / "report.html").read_text()
    short = page.partition("<nav")[0]
    assert "Age band: Alpha is not defined" in short
    assert "alpha for verdict is 0." in short
    assert "7 conflicts between them are not resolved.</p>\n<p>4 of these are of high severity." in short
    assert "benign against harmful" in page
    assert "BENIGN_AGAINST" not in page
