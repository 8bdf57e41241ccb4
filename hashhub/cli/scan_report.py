"""The page that `scan --out DIR` writes for people: what was looked for, what was not, and what was hit.

One file without pictures, scripts or anything from elsewhere. It names files and entries, and no digest: results.jsonl
has those. What is counted is counted as it comes, so that memory does not grow with the number of files.
"""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from hashhub.cli.terminal import clean, show_path
from hashhub.hits import how, where
from hashhub.model import Coverage, MatchResult, Verdict

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
_STYLE: Final = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 70em; padding: 0 1em; color: #202124 }
h1 { font-size: 1.5em } h2 { font-size: 1.15em; margin-top: 2em }
table { border-collapse: collapse; width: 100% } caption { text-align: left; color: #5f6368; padding: .3em 0 }
th, td { text-align: left; vertical-align: top; padding: .25em .8em .25em 0; border-bottom: 1px solid #dadce0 }
td { overflow-wrap: anywhere } .n { text-align: right; white-space: nowrap }
@media print { body { font-size: 10pt; margin: 0; max-width: none } tr, svg { break-inside: avoid } }
"""


class Hit(NamedTuple):
    """One entry that a file hit."""

    file: str
    verdict: Verdict
    entry: str
    classification: str
    how: str
    tlp: str


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
        self.hits: list[Hit] = []
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
            self.hits.append(
                Hit(
                    file=show_path(path),
                    verdict=result.verdict,
                    entry=match.entry.name,
                    classification=c.text if c else "none",
                    how="; ".join([how(match), *where(match)]),
                    tlp=match.marking.tlp.replace("_", "+"),
                )
            )
        if not result.matches and room:
            told = "; ".join(reason.text or reason.code for reason in result.reasons)
            self.hits.append(Hit(show_path(path), result.verdict, "", "", told, ""))

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
) -> Iterator[str]:
    """Yield the page, piece by piece. `gone`: the first of `gone_count` files of earlier runs that are not there."""
    yield head("hashhub scan")
    yield f"<h1>Scan of {', '.join(text(show_path(Path(path))) for path in paths)}</h1>\n"
    yield from _circumstances(findings, options)
    yield "<h2>Answers</h2>\n"
    yield from _answers(findings)
    yield "<h2>Hits</h2>\n"
    yield from _hits(findings)
    yield "<h2>What was looked for, and what was not</h2>\n"
    yield from _looked_for(findings, skipped)
    if gone_count:
        yield "<h2>Gone</h2>\n"
        yield table(
            ("Files of earlier runs that are not there any more",),
            [(name,) for name in gone],
            numbers=(),
            caption=cut(len(gone), gone_count),
        )
    yield "<h2>Costs</h2>\n"
    yield _costs(costs, sum(findings.verdicts.values()))
    yield "</body></html>\n"


def _circumstances(findings: Findings, options: Mapping[str, str]) -> Iterator[str]:
    low, high = findings.revisions or (0, 0)
    yield table(
        ("", ""),
        [
            ("Begun", f"{findings.begun:%Y-%m-%d %H:%M:%S} UTC"),
            ("Ended", f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"),
            ("Revision of the hub", f"{low}" if low == high else f"{low} to {high}") if high else ("Hub", "not asked"),
            *options.items(),
        ],
        numbers=(),
    )
    yield (
        "<p>An answer is true of the revision at which it was given: lists grow, so scan again. NO_MATCH means that "
        "nothing of what was looked for is known, and UNAVAILABLE that a file could not be read: neither says that a "
        "file is harmless.</p>\n"
    )


def _answers(findings: Findings) -> Iterator[str]:
    yield bars([(verdict, findings.verdicts[verdict], _COLOURS[verdict]) for verdict in Verdict])
    yield table(
        ("Folder", *Verdict, "Files"),
        [
            (name, *(f"{counts[v]:,}" for v in Verdict), f"{sum(counts.values()):,}")
            for name, counts in sorted(findings.folders.items(), key=lambda f: (f[0] == _OTHER_FOLDERS, f[0]))
        ],
        numbers=range(1, 7),
    )


def _hits(findings: Findings) -> Iterator[str]:
    if not findings.hits:
        yield "<p>None.</p>\n"
        return
    if findings.distances:
        most = max(_DISTANCES, *findings.distances) + 1
        yield "<p>Files by PDQ distance to the nearest entry, from 0:</p>\n"
        yield _columns([findings.distances[d] for d in range(most)])
    yield table(
        ("File", "Verdict", "Entry", "Classification", "How", "TLP"),
        [tuple(hit) for hit in findings.hits],
        numbers=(),
        caption=cut(len(findings.hits), findings.hit_count),
    )


def _looked_for(findings: Findings, skipped: Mapping[str, int]) -> Iterator[str]:
    yield table(
        ("Looked for", "Files"),
        [(name, f"{count:,}") for name, count in findings.algorithms.most_common()]
        + [(f"variant {name}", f"{count:,}") for name, count in findings.variants.most_common()],
        numbers=(1,),
    )
    yield table(
        ("Not looked for", "Files"),
        [
            *((code, f"{count:,}") for code, count in findings.gaps.most_common()),
            *((f"unavailable: {code}", f"{count:,}") for code, count in findings.unavailable.most_common()),
            *((f"skipped: {what}", f"{count:,}") for what, count in sorted(skipped.items())),
        ],
        numbers=(1,),
    )
    if findings.unread:
        caption = cut(len(findings.unread), findings.verdicts[Verdict.UNAVAILABLE])
        yield table(("Unavailable", "Why"), findings.unread, numbers=(), caption=caption)


def _costs(costs: Costs, files: int) -> str:
    rate = files / costs.seconds if costs.seconds else 0.0
    return table(
        ("", ""),
        [
            ("Files", f"{files:,}"),
            ("hashed", f"{costs.hashed:,} ({costs.bytes_hashed / 1e6:,.1f} MB)"),
            ("hashed in an earlier run and not changed since", f"{costs.reused:,}"),
            ("Time", f"{costs.seconds:,.1f} s, {rate:,.1f} files a second"),
            ("CPU time of hashing", f"{costs.cpu_seconds:,.1f} s"),
            ("Time spent waiting for the hub", f"{costs.match_seconds:,.1f} s"),
        ],
        numbers=(1,),
    )


def head(title: str) -> str:
    """Return the beginning of a page that loads nothing, and prints as it is."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="ascii">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f'<meta name="referrer" content="no-referrer"><title>{text(title)}</title>\n'
        f"<style>{_STYLE}</style></head><body>\n"
    )


def text(value: object) -> str:
    """Return text as it stands in HTML: it may come from anybody."""
    return html.escape(clean(str(value)))


def cut(shown: int, of: int) -> str:
    """Return what is said over a table that does not show all; empty where it does."""
    return f"The first {shown:,} of {of:,}; results.jsonl has more." if shown < of else ""


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Iterable[int], caption: str = "") -> str:
    """Return a table; empty without rows. `numbers`: columns that are aligned to the right."""
    right = set(numbers)

    def cells(tag: str, values: Sequence[str]) -> str:
        return "".join(
            f'<{tag} class="n">{text(v)}</{tag}>' if i in right else f"<{tag}>{text(v)}</{tag}>"
            for i, v in enumerate(values)
        )

    lines = [f"<tr>{cells('td', row)}</tr>" for row in rows]
    if not lines:
        return ""
    head = f"<thead><tr>{cells('th', heads)}</tr></thead>\n" if any(heads) else ""
    told = f"<caption>{text(caption)}</caption>" if caption else ""
    return f"<table>{told}{head}<tbody>\n" + "\n".join(lines) + "\n</tbody></table>\n"


def bars(parts: Sequence[tuple[str, int, str]]) -> str:
    """Return a bar for each part, as long as its share, and its count as text."""
    total = sum(count for _, count, _ in parts) or 1
    height = 24
    lines = []
    for i, (name, count, colour) in enumerate(parts):
        y = i * height
        width = 560 * count / total
        lines.append(
            f'<text x="0" y="{y + 16}">{text(name)}</text>'
            f'<rect x="120" y="{y + 4}" width="{width:.1f}" height="15" fill="{colour}"/>'
            f'<text x="{126 + width:.1f}" y="{y + 16}">{count:,}</text>'
        )
    size = f'viewBox="0 0 780 {height * len(parts)}" width="780" height="{height * len(parts)}"'
    return f'<svg role="img" aria-label="files by verdict" {size} font-size="13">{"".join(lines)}</svg>\n'


def _columns(counts: Sequence[int]) -> str:
    """Return a column for each count, the highest as high as the chart, with its number below every fourth."""
    most = max(counts, default=0) or 1
    lines = []
    for i, count in enumerate(counts):
        x = i * 20
        height = 100 * count / most
        lines.append(f'<rect x="{x}" y="{115 - height:.1f}" width="16" height="{height:.1f}" fill="#5f6368"/>')
        if count:
            lines.append(f'<text x="{x}" y="{111 - height:.1f}">{count:,}</text>')
        if i % 4 == 0:
            lines.append(f'<text x="{x}" y="130">{i}</text>')
    size = f'viewBox="0 0 {20 * len(counts)} 136" width="{20 * len(counts)}" height="136"'
    return f'<svg role="img" aria-label="files by distance" {size} font-size="11">{"".join(lines)}</svg>\n'
