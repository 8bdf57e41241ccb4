"""The page that `scan --out DIR` writes for people: what was looked for, what was not, and what was hit.

One file without pictures, scripts or anything from elsewhere. It names files and entries, and no digest: results.jsonl
has those. What is counted is counted as it comes, so that memory does not grow with the number of files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from hashhub.cli.terminal import show_path
from hashhub.hits import how, where
from hashhub.model import Coverage, MatchResult, Verdict
from hashhub.pages import charts, render
from hashhub.pages.charts import Bar

MOST_ROWS: Final = 1_000  # of a table; results.jsonl has all
_MOST_FOLDERS: Final = 200  # counted apart; files in further ones are counted together
_OTHER_FOLDERS: Final = "other folders"
_DISTANCES: Final = 32  # PDQ's default limit is 31
_COLOURS: Final = {
    Verdict.MATCH: "#b3261e",
    Verdict.REVIEW: "#c98a00",
    Verdict.BENIGN: "#2e7d32",
    Verdict.NO_MATCH: "#9aa0a6",
    Verdict.UNAVAILABLE: "#8e24aa",
}


class Costs(NamedTuple):
    """What a run took. Seconds on the clock, except for `cpu_seconds`, which are of hashing in all processes."""

    seconds: float
    cpu_seconds: float
    match_seconds: float
    hashed: int
    reused: int
    bytes_hashed: int


class Findings:
    """What a run has come to so far, as far as a page can show it."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._tops = [Path(path) for path in paths]
        self.begun = datetime.now(UTC)
        self.verdicts: Counter[Verdict] = Counter()
        self.gaps: Counter[str] = Counter()  # files by the code of what was not looked for
        self.unavailable: Counter[str] = Counter()  # files by the code of why there is no answer
        self.algorithms: Counter[str] = Counter()  # files by what was looked for
        self.variants: Counter[str] = Counter()
        self.folders: dict[str, Counter[Verdict]] = {}
        self.distances: Counter[int] = Counter()  # hits by PDQ, each file's nearest
        self.hits: list[tuple[str, ...]] = []  # file, verdict, entry, classification, how, TLP
        self.hit_count = 0
        self.unread: list[tuple[str, str]] = []
        self.revisions: tuple[int, int] | None = None
        self.policies: dict[str, None] = {}

    def add(self, path: Path, result: MatchResult, covered: Coverage, policy: str, revision: int) -> None:
        """Count one answer. `revision`: 0 where the hub was not asked."""
        self.verdicts[result.verdict] += 1
        self._folder(path)[result.verdict] += 1
        self.algorithms.update(covered.algorithms)
        self.variants.update(covered.variants)
        if revision:
            low, high = self.revisions or (revision, revision)
            self.revisions = (min(low, revision), max(high, revision))
            self.policies[policy] = None
        if result.verdict is Verdict.UNAVAILABLE:
            self.unavailable.update({reason.code for reason in result.reasons})
            if len(self.unread) < MOST_ROWS:
                self.unread.append((show_path(path), "; ".join(r.text or r.code for r in result.reasons)))
        else:
            self.gaps.update({gap.code for gap in covered.gaps})
        if result.verdict not in {Verdict.MATCH, Verdict.REVIEW}:
            return
        near = [match.distance for match in result.matches if match.algorithm == "PDQ"]
        if near:
            self.distances[min(near)] += 1
        self.hit_count += max(1, len(result.matches))
        room = MOST_ROWS - len(self.hits)
        for match in result.matches[:room]:
            c = match.entry.classification
            means = c.text if c else "none"
            by = "; ".join([how(match), *where(match)])
            tlp = match.marking.tlp.replace("_", "+")
            self.hits.append((show_path(path), result.verdict, match.entry.name, means, by, tlp))
        if not result.matches and room:
            told = "; ".join(reason.text or reason.code for reason in result.reasons)
            self.hits.append((show_path(path), result.verdict, "", "", told, ""))

    def _folder(self, path: Path) -> Counter[Verdict]:
        """Return the counts of the folder directly below what was scanned that the file is in."""
        name = show_path(path.parent)
        for top in self._tops:
            if path.is_relative_to(top):
                below = path.relative_to(top).parts
                name = show_path(top / below[0] if len(below) > 1 else top)
                break
        if name not in self.folders and len(self.folders) >= _MOST_FOLDERS:
            name = _OTHER_FOLDERS
        return self.folders.setdefault(name, Counter())


def page(
    findings: Findings,
    *,
    paths: Sequence[str],
    options: Mapping[str, str],
    costs: Costs,
    skipped: Mapping[str, int],
    gone: Sequence[str],
    gone_count: int,
) -> str:
    """Return the page. `gone`: the first of `gone_count` files of earlier runs that are not there."""
    files = sum(findings.verdicts.values())
    most = max(_DISTANCES, *findings.distances, 0)
    by_folder = sorted(findings.folders.items(), key=lambda folder: (folder[0] == _OTHER_FOLDERS, folder[0]))
    return render(
        "cli/scan_report.html",
        findings=findings,
        paths=[show_path(Path(path)) for path in paths],
        options=options,
        costs=costs,
        gone=gone,
        gone_count=gone_count,
        ended=datetime.now(UTC),
        files=files,
        rate=files / costs.seconds if costs.seconds else 0.0,
        answers=charts.bars(
            "files by verdict", [Bar(v, findings.verdicts[v], _COLOURS[v]) for v in Verdict], whole=files
        ),
        distances=charts.columns("files by distance", [findings.distances[d] for d in range(most + 1)]),
        verdicts=[f"#{verdict}" for verdict in Verdict],
        folders=[(name, *(counts[v] for v in Verdict), counts.total()) for name, counts in by_folder],
        looked_for=[
            *findings.algorithms.most_common(),
            *((f"variant {name}", count) for name, count in findings.variants.most_common()),
        ],
        not_looked_for=[
            *findings.gaps.most_common(),
            *((f"unavailable: {code}", count) for code, count in findings.unavailable.most_common()),
            *((f"skipped: {what}", count) for what, count in sorted(skipped.items())),
        ],
    )
