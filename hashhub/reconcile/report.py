"""The report: one page that an operator brings to a meeting, for whoever does not have the hub before them.

It has tables and charts, says first in sentences what they show, and at each how to read it. It loads nothing and runs
nothing, can be printed, and holds no digest: what strangers name is escaped, and whatever reads like a digest in a name
is cut. What was not computed is said to be so, never shown as zero.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from hashhub.model import Severity
from hashhub.reconcile import charts
from hashhub.reconcile.charts import Bar, Cell, Interval, plain
from hashhub.reconcile.results import (
    Agreement,
    By,
    ConflictSummary,
    Confusion,
    ContributorAgreement,
    Crosswalk,
    DimensionAgreement,
    Gaps,
    LeftOut,
    Overlap,
    Share,
    SuggestedRow,
)
from hashhub.writing import make_directory, written

PAGE: Final = "report.html"

MAX_MATRIX: Final = 20  # names of a matrix; with more of them the strongest pairs are listed
MAX_ROWS: Final = 60  # of a table
MAX_MAPS: Final = 24  # confusion heat maps
_MAX_LINES: Final = 8  # of a chart of drift: as many as there are forms
_FULL: Final = frozenset({28, 122})  # ENOSPC, EDQUOT
# What reads like a digest: hexadecimal of 8 bytes or more, or base64 of 16 bytes or more.
_HEX: Final = re.compile(r"[0-9A-Fa-f]{16,}")
_BASE64: Final = re.compile(r"[0-9A-Za-z+/_-]{22,}={0,2}")

_STYLE: Final = """
:root { color-scheme: light dark; --line: #c9d4dc; --soft: #f4f7f9; --text: #1b2733; --back: #ffffff; }
@media (prefers-color-scheme: dark) {
  :root { --line: #3a454e; --soft: #1c2126; --text: #eceff1; --back: #14171a; }
}
body { color: var(--text); background: var(--back); font: 16px/1.5 system-ui, Segoe UI, Helvetica, Arial, sans-serif;
  max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.7rem; line-height: 1.2; } h2 { margin-top: 2.6rem; border-bottom: 1px solid var(--line); }
h3 { margin-top: 1.6rem; font-size: 1.05rem; }
table { border-collapse: collapse; width: 100%; font-size: 0.88rem; margin: 0.8rem 0; }
caption { text-align: left; font-weight: 600; padding: 0.3rem 0; }
th, td { border-bottom: 1px solid var(--line); padding: 0.25rem 0.5rem; text-align: left; vertical-align: top; }
td:last-child { overflow-wrap: anywhere; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
figure { margin: 1rem 0; overflow-x: auto; } svg, img { max-width: 100%; height: auto; }
figcaption, .how { font-size: 0.9rem; background: var(--soft); padding: 0.5rem 0.8rem; margin: 0.5rem 0;
  border-left: 3px solid var(--line); }
nav ul { columns: 2; }
@media print {
  @page { size: A4; margin: 16mm; }
  :root { --line: #999999; --soft: #ffffff; --text: #000000; --back: #ffffff; }
  body { font-size: 10pt; margin: 0; max-width: none; } nav { display: none; } a { color: inherit; }
  figure, tr, h2, h3 { break-inside: avoid; } h2, h3 { break-after: avoid; }
}
"""

_RELATIONS: Final = {
    "AGREE": "say the same",
    "IMPRECISE": "compatible, one is wider",
    "CONFLICT": "exclude each other",
    "INCOMPARABLE": "have nothing in common to compare",
    "": "no table here",
}


def write(
    directory: Path,
    *,
    title: str,
    revision: int,
    overlap: Overlap | None = None,
    agreement: Agreement | None = None,
    conflicts: ConflictSummary | None = None,
    gaps: Sequence[Gaps] | None = None,
    crosswalks: Sequence[Crosswalk] | None = None,
    names: Mapping[str, str] | None = None,
    left_out: Sequence[LeftOut] = (),
    time: datetime | None = None,
) -> Path:
    """Write the page into a directory, which is made if need be, and return where it is.

    `names`: display names of contributors by id; `left_out`: whose hash sets were not looked at; `time`: of what the
    figures show; what is None was not computed. The page is written aside and renamed, so that an earlier one stays
    until this one is whole. Raises as `written` does.
    """
    html = page(
        title=title,
        revision=revision,
        overlap=overlap,
        agreement=agreement,
        conflicts=conflicts,
        gaps=gaps,
        crosswalks=crosswalks,
        names=names,
        left_out=left_out,
        time=time,
    )
    target = directory / PAGE
    make_directory(directory, mode=0o777)
    with written(target, replace=True, mode=0o666) as file:
        file.write(html.encode())
    return target


def page(
    *,
    title: str,
    revision: int,
    overlap: Overlap | None = None,
    agreement: Agreement | None = None,
    conflicts: ConflictSummary | None = None,
    gaps: Sequence[Gaps] | None = None,
    crosswalks: Sequence[Crosswalk] | None = None,
    names: Mapping[str, str] | None = None,
    left_out: Sequence[LeftOut] = (),
    time: datetime | None = None,
) -> str:
    """Return the page's HTML; the same for the same figures."""
    names = names or {}
    sections = {
        "overlap": ("What they share", _overlap(overlap, names)),
        "conflicts": ("Where they contradict each other", _conflicts(conflicts, names)),
        "agreement": ("How far they agree", _agreement(agreement)),
        "contributors": ("Each against the consensus of the others", _contributors(agreement, names)),
        "drift": ("How that changes over time", _drift(agreement, names)),
        "crosswalks": ("How their schemes correspond", _crosswalks(crosswalks)),
        "suggestions": ("What data suggest for the crosswalks", _suggestions(agreement)),
        "gaps": ("What partners hold and a country lacks", _gaps(gaps, names)),
        "limits": ("Methods, and what the numbers do not say", _limits()),
    }
    summary = _summary(revision, overlap, agreement, conflicts, gaps, names) + _unheard(left_out, names)
    contents = "".join(f'<li><a href="#{key}">{heading}</a></li>' for key, (heading, _) in sections.items())
    body = "".join(
        f'<section id="{key}"><h2>{heading}</h2>{inside}</section>' for key, (heading, inside) in sections.items()
    )
    # Styles stand in the page itself and there is no script: the policy holds whatever a name may contain.
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
        "img-src data:; base-uri 'none'; form-action 'none'\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="referrer" content="no-referrer">'
        f"<title>{_t(title)}</title><style>{_STYLE}</style></head><body><header><h1>{_t(title)}</h1>"
        f"<p>From a hashhub at revision {revision:,}{_as_of(time)}.</p></header>"
        f'<section id="summary"><h2>In short</h2>{summary}</section>'
        f'<nav aria-label="Contents"><ul>{contents}</ul></nav>'
        f"<main>{body}</main></body></html>\n"
    )


# --- Sections ---------------------------------------------------------------------------------------------------------


def _summary(
    revision: int,
    overlap: Overlap | None,
    agreement: Agreement | None,
    conflicts: ConflictSummary | None,
    gaps: Sequence[Gaps] | None,
    names: Mapping[str, str],
) -> str:
    said = []
    if overlap is None:
        said.append("Overlap was not computed.")
    else:
        said.append(_overlap_in_short(overlap, names))
    if conflicts is None:
        said.append("Conflicts were not counted.")
    elif conflicts.counts:
        total = sum(c.count for c in conflicts.counts)
        high = sum(c.count for c in conflicts.counts if c.severity == Severity.HIGH)
        said.append(f"{_number(total, 'conflict')} between them {_are(total)} not resolved.")
        said.append(f"{f'{high:,}' if high else 'None'} of these {_are(high)} of high severity.")
    else:
        said.append("No conflict between them is open.")
    if agreement is None:
        said.append("Agreement was not computed.")
    elif not agreement.dimensions:
        said.append(_NO_AGREEMENT)
    else:
        said.append(_agreement_in_short(agreement))
    if gaps is None:
        said.append("Gaps were not looked for.")
    else:
        said += [f"{g.jurisdiction} lacks {_number(g.items, 'item')} that partners hold." for g in gaps]
    others = sorted(
        {part.revision for part in (overlap, agreement, conflicts, *(gaps or ())) if part is not None} - {revision}
    )
    if others:
        said.append(
            f"Not all of it is of revision {revision:,}: parts are of {', '.join(f'{r:,}' for r in others)}, so that "
            "counts of different sections need not fit."
        )
    return "".join(f"<p>{_t(sentence)}</p>" for sentence in said)


def _as_of(time: datetime | None) -> str:
    return f", as it was on {time.day} {time:%B %Y} at {time:%H:%M} UTC" if time is not None else ""


def _unheard(left_out: Sequence[LeftOut], names: Mapping[str, str]) -> str:
    """Return whose hash sets were not looked at, and why."""
    said = []
    for why, by_choice in (("Others were chosen, so that the page leaves out", True), (_TOO_LOW, False)):
        if some := [f"{_name(x.contributor, names)} ({x.reliability})" for x in left_out if x.by_choice is by_choice]:
            said.append(_p(f"{why}: {_listed(some)}."))
    return "".join(said)


_TOO_LOW: Final = (
    "Left out of all figures for their reliability, which the operator of the hub rates from A to E and which is F "
    "where nobody has"
)
_NO_AGREEMENT: Final = (
    "How far they agree cannot be said: no item was classified by two contributors that are independent of each other."
)
_BY: Final = {By.HASH_SET: "hash set", By.CONTRIBUTOR: "contributor", By.JURISDICTION: "jurisdiction"}


def _overlap_in_short(overlap: Overlap, names: Mapping[str, str]) -> str:
    what, count = _BY[overlap.by], len(overlap.names)
    total = sum(overlap.entries.values())
    sentence = f"{_number(count, what)} {_have(count)} {_number(total, 'entry', 'entries')}"
    if not total or count < 2:  # noqa: PLR2004 - sharing takes two
        return f"{sentence}, and there is nobody to share them with." if total else f"{sentence}."
    alone = sum(overlap.alone.values())
    sentence += f"; {_number(alone, 'entry', 'entries')} of these ({_percent(alone, total)}) nobody else holds."
    strongest = max(overlap.cells, key=lambda c: (c.exact + c.near) / max(1, overlap.entries[c.left]), default=None)
    if strongest is not None and strongest.exact + strongest.near:
        left, right = _name(strongest.left, names), _name(strongest.right, names)
        share = _percent(strongest.exact + strongest.near, overlap.entries[strongest.left])
        sentence += f" The largest share is that of {left}: {share} of its entries are also in {right}."
    return sentence


def _agreement_in_short(agreement: Agreement) -> str:
    words = f"Several contributors classified {_number(agreement.items, 'item')}."
    if agreement.dimensions[0].alpha is None:
        words += f" {_dimension(agreement.dimensions[0].dimension)}: {_UNDEFINED}"
    defined = [d for d in agreement.dimensions if d.alpha is not None]
    if not defined:
        return words
    first = next((d for d in defined if d.dimension == "verdict"), defined[0])
    first = first if agreement.dimensions[0].alpha is None else agreement.dimensions[0]
    worst = min(defined, key=lambda d: d.alpha if d.alpha is not None else 1.0)
    words += f" Krippendorff's alpha for {_dimension(first.dimension).lower()} is {_alpha(first)}."
    if first.alpha == 1.0:
        words += " That is no statement contradicting another there, also where schemes tell it only roughly."
    if worst.dimension != first.dimension:
        words += f" They agree least about {_dimension(worst.dimension).lower()}: {_alpha(worst)}."
    return words


def overlap_map(overlap: Overlap, names: Mapping[str, str]) -> str:
    """Return the chart of an overlap: the share of each row's entries that each column holds, too."""
    what = _BY[overlap.by]
    labels = [_shown(name, names) for name in overlap.names]
    cells = {(c.left, c.right): c for c in overlap.cells}
    matrix: dict[tuple[int, int], Cell] = {}
    for i, left in enumerate(overlap.names):
        entries = overlap.entries.get(left, 0)
        for j, right in enumerate(overlap.names):
            if i == j:
                matrix[i, j] = Cell("-", None, "")
            elif (cell := cells.get((left, right))) is not None and entries:
                share = (cell.exact + cell.near) / entries
                near = f", of which {cell.near:,} by near hashes only" if cell.near else ""
                matrix[i, j] = Cell(
                    _percent(cell.exact + cell.near, entries),
                    share,
                    f"{labels[j]} holds {cell.exact + cell.near:,} of the {entries:,} entries of {labels[i]}{near}",
                )
    return charts.heat_map(
        "Share of each row's entries that the column holds, too",
        labels,
        labels,
        matrix,
        rows_are=f"{what} whose entries they are",
        columns_are=f"{what} that holds them, too",
    )


def _overlap(overlap: Overlap | None, names: Mapping[str, str]) -> str:
    if overlap is None:
        return _p("Overlap was not computed.")
    what = _BY[overlap.by]
    parts = []
    if len(overlap.names) <= MAX_MATRIX:
        parts.append(
            _figure(
                overlap_map(overlap, names),
                "Read along a row: of all entries of this one, how many does each other one hold. The two directions "
                "of a pair differ, for a small list can lie wholly in a large one. An entry counts once, whatever "
                "number of hashes it has.",
            )
        )
    strongest = sorted(overlap.cells, key=lambda c: (-(c.exact + c.near), c.left, c.right))
    has_near = bool(overlap.max_distances)
    rows = [
        [_shown(name, names), _n(overlap.entries.get(name, 0)), _n(overlap.alone.get(name, 0)),
         _n(_percent(overlap.alone.get(name, 0), overlap.entries.get(name, 0)))]
        for name in overlap.names
    ]  # fmt: skip
    parts.append(_table(f"By {what}", [what, "#entries", "#nobody else's", "#share"], rows))
    pairs = [
        [_shown(c.left, names), _shown(c.right, names), _n(c.exact), *([_n(c.near)] if has_near else []),
         _n(_percent(c.exact + c.near, overlap.entries.get(c.left, 0)))]
        for c in strongest
        if c.exact + c.near
    ]  # fmt: skip
    heads = ["entries of", "also held by", "#exact", *(["#near only"] if has_near else []), "#share"]
    parts.append(_table("Pairs, the most entries first", heads, pairs))
    if has_near:
        distances = ", ".join(f"{name} up to {most}" for name, most in sorted(overlap.max_distances.items()))
        parts.append(_p(f"Near hashes were looked at, too, and count apart: {distances}."))
    else:
        parts.append(_p("Only exact digests were compared; altered copies of a picture are not counted."))
    return "".join(parts)


def _conflicts(conflicts: ConflictSummary | None, names: Mapping[str, str]) -> str:
    if conflicts is None:
        return _p("Conflicts were not counted.")
    if not conflicts.counts:
        return _p("No conflict is open.")
    by_kind = _totals((c.kind, c.count) for c in conflicts.counts)
    by_severity = _totals((c.severity, c.count) for c in conflicts.counts)
    by_pair: dict[tuple[str, str], int] = _totals(((c.left, c.right), c.count) for c in conflicts.counts)
    people = sorted({name for pair in by_pair for name in pair})
    parts = [
        _figure(
            charts.bars("Conflicts by kind", [Bar(_words(kind), count) for kind, count in _most_first(by_kind)]),
            "A conflict is two statements about one item that cannot both hold. Statements that are only less precise "
            "than others are none.",
        ),
        _table(
            "By severity", ["severity", "#conflicts"], [[_words(s), _n(count)] for s, count in _most_first(by_severity)]
        ),
    ]
    if len(people) <= MAX_MATRIX:
        labels, most = [_shown(name, names) for name in people], max(by_pair.values())
        matrix = {}
        for (left, right), count in by_pair.items():
            for a, b in ((left, right), (right, left)):
                i, j = people.index(a), people.index(b)
                matrix[i, j] = Cell(f"{count:,}", count / most, f"{labels[i]} and {labels[j]}: {count:,} conflicts")
        parts.append(
            _figure(
                charts.heat_map("Conflicts by pair", labels, labels, matrix, rows_are="one", columns_are="the other"),
                "Each pair stands twice, once in each direction. On the diagonal: between lists of one contributor.",
            )
        )
    rows = [
        [_shown(c.left, names), _shown(c.right, names), _words(c.kind), _words(c.severity), _n(c.count)]
        for c in sorted(conflicts.counts, key=lambda c: (-c.count, c.left, c.right, c.kind, c.severity))
    ]
    parts.append(_table("By pair, kind and severity", ["between", "and", "kind", "severity", "#conflicts"], rows))
    return "".join(parts)


def _agreement(agreement: Agreement | None) -> str:
    if agreement is None:
        return _p("Agreement was not computed.")
    if not agreement.dimensions:
        return _p(_NO_AGREEMENT)
    rows = [
        Interval(
            f"{_dimension(d.dimension)}, {d.metric}",
            d.alpha,
            d.low,
            d.high,
            _alpha(d) if d.alpha is not None else "not defined",
        )
        for d in agreement.dimensions
    ]
    lowest = min([0.0, *(d.low if d.low is not None else d.alpha for d in agreement.dimensions if d.alpha is not None)])
    low = max(-1.0, -1.0 if lowest < -0.5 else -0.5 if lowest < 0 else 0.0)  # noqa: PLR2004 - marks of the scale
    marks = [mark / 4 for mark in range(int(low * 4), 5)]
    undefined = [_dimension(d.dimension) for d in agreement.dimensions if d.alpha is None]
    return "".join(
        [
            _p(f"Several contributors classified {_number(agreement.items, 'item')}."),
            _figure(
                charts.intervals("Krippendorff's alpha by dimension", rows, low=low, high=1.0, marks=marks),
                "1 means that they never contradict each other, 0 that they agree no more than chance would have it, "
                "less than 0 that they contradict each other more than that. Krippendorff asks for 0.8, and for 0.667 "
                "at least where conclusions are tentative. The line is the 95 % interval. Ordinal counts neighbouring "
                "values as a smaller difference than distant ones.",
            ),
            _table(
                "The figures",
                ["dimension", "metric", "#items", "#contributors", "#alpha", "#95 % interval"],
                [
                    [_dimension(d.dimension), d.metric, _n(d.items), _n(d.contributors),
                     _n("not defined" if d.alpha is None else f"{d.alpha:.3f}"), _n(_bounds(d.low, d.high))]
                    for d in agreement.dimensions
                ],
            ),
            _p(f"{_UNDEFINED} So it is with: {', '.join(dict.fromkeys(undefined))}.") if undefined else "",
        ]
    )  # fmt: skip


_UNDEFINED: Final = "Alpha is not defined where nobody could have differed: all that could be compared says the same."


def _contributors(agreement: Agreement | None, names: Mapping[str, str]) -> str:
    if agreement is None:
        return _p("Agreement was not computed.")
    if not agreement.contributors:
        return _p("No contributor can be measured: of no item do independent others have a consensus.")
    table = _table(
        "How often each states what the consensus of the others allows",
        ["contributor", "dimension", "#agrees", "#of items", "#share", "#95 % interval", "#by one other"],
        [
            [_shown(c.contributor, names), _dimension(c.dimension), _n(c.share.count), _n(c.share.items),
             _n(_percent(c.share.count, c.share.items)), _n(_interval(c.share)), _n(c.by_one_other)]
            for c in agreement.contributors
        ],
    )  # fmt: skip
    how = _how(
        "A contributor is never measured against itself, nor against whoever it shares a source with. By one other: of "
        "that many items only one other states anything, so that the consensus is that one's word. Who differs is not "
        "wrong: criteria and law differ between countries."
    )
    by_map: dict[tuple[str, str], list[Confusion]] = {}
    for cell in agreement.confusions:
        by_map.setdefault((cell.dimension, cell.contributor), []).append(cell)
    differing = {(c.dimension, c.contributor) for c in agreement.contributors if c.share.count < c.share.items}
    shown = [(key, cells) for key, cells in by_map.items() if key in differing]
    maps = [_confusion(key, cells, names) for key, cells in shown[:MAX_MAPS]]
    reading = _how(
        "Read along a row: where the consensus of the others is this, how often does the contributor state each of the "
        "columns. At most twelve rows and columns, the most frequent. There is no matrix of a contributor that never "
        "contradicts the consensus in a dimension."
    )
    heading = "<h3>What they state, by what the consensus is</h3>"
    return "".join(
        [
            table,
            how,
            *([heading, reading] if maps else []),
            *maps,
            _left_out(len(shown) - len(maps), "further matrix", "further matrices"),
        ]
    )


def _confusion(key: tuple[str, str], cells: Sequence[Confusion], names: Mapping[str, str]) -> str:
    dimension, contributor = key
    rows = _by_items((c.consensus, c.share.count) for c in cells)
    columns = _by_items((c.stated, c.share.count) for c in cells)
    if set(rows) | set(columns) == set(rows):
        columns = rows  # one order for both, so that what agrees stands on the diagonal
    matrix = {
        (rows.index(c.consensus), columns.index(c.stated)): Cell(
            _percent(c.share.count, c.share.items),
            c.share.count / c.share.items,
            f"{c.share.count:,} of {c.share.items:,} items ({_interval(c.share)})",
        )
        for c in cells
        if c.consensus in rows and c.stated in columns
    }
    items = {c.consensus: c.share.items for c in cells}
    labels = [f"{row} ({items.get(row, 0):,})" for row in rows]
    if columns is rows:
        columns = labels
    who = _shown(contributor, names)
    return _figure(
        charts.heat_map(
            f"{who}: {_dimension(dimension).lower()}",
            labels,
            columns,
            matrix,
            rows_are="consensus (items)",
            columns_are=f"stated by {who}",
        ),
        f"{who}: {_dimension(dimension).lower()}",
    )


def _drift(agreement: Agreement | None, names: Mapping[str, str]) -> str:
    if agreement is None:
        return _p("Agreement was not computed.")
    periods = sorted({d.period for d in agreement.drift})
    if len(periods) < 2:  # noqa: PLR2004 - a change takes two
        return _p("There is nothing to say about change: all that can be measured was stated in one quarter.")
    parts = []
    for dimension in dict.fromkeys(d.dimension for d in agreement.drift):
        by_name: dict[str, dict[str, ContributorAgreement]] = {}
        for d in agreement.drift:
            if d.dimension == dimension:
                by_name.setdefault(d.contributor, {})[d.period] = d
        chosen = sorted(by_name, key=lambda name: (-_range(by_name[name].values()), name))[:_MAX_LINES]
        series = {
            _unique(_shown(name, names), name): [_share_of(by_name[name].get(period)) for period in periods]
            for name in sorted(chosen)
        }
        more = len(by_name) - len(chosen)
        parts.append(
            _figure(
                charts.lines(f"Agreement with the others by quarter: {_dimension(dimension).lower()}", periods, series),
                f"{_dimension(dimension)}: how much of what was stated in a quarter the consensus of the others allows."
                + (f" Shown are those that change most; {more} further ones are not." if more else ""),
            )
        )
    rows = [
        [_dimension(d.dimension), _shown(d.contributor, names), _n(d.period),
         _n(_percent(d.share.count, d.share.items)), _n(_interval(d.share)), _n(d.share.items)]
        for d in agreement.drift
    ]  # fmt: skip
    heads = ["dimension", "contributor", "#quarter", "#share", "#95 % interval", "#of items"]
    return "".join([*parts, _table("The figures", heads, rows)])


def _crosswalks(crosswalks: Sequence[Crosswalk] | None) -> str:
    if crosswalks is None:
        return _p("Crosswalks were not computed.")
    if not crosswalks:
        return _p("There are no two schemes to be laid side by side.")
    parts = [_how("What the schemes' tables say, before any data: which values can stand for the same item.")]
    for crosswalk in crosswalks:
        heading = f"{_cut(crosswalk.scheme)} and {_cut(crosswalk.other_scheme)}"
        parts.append(f"<h3>{_t(heading)}</h3>")
        if crosswalk.picture:
            # As an image the picture's styles stay its own, and nothing in it can act.
            data = f"data:image/svg+xml,{quote(_cut(crosswalk.picture))}"
            alt = _t(f"Crosswalk of {heading}; the table below says the same")
            parts.append(f'<figure><img src="{data}" alt="{alt}"></figure>')
        rows = [[line.value, line.other_value or "-", line.relation, line.why] for line in crosswalk.lines]
        heads = [crosswalk.scheme, crosswalk.other_scheme, "relation", "why"]
        parts.append(_table(heading, heads, rows))
    return "".join(parts)


def _suggestions(agreement: Agreement | None) -> str:
    if agreement is None:
        return _p("Agreement was not computed.")
    if not agreement.suggestions:
        return _p("Data suggest nothing: too few items carry values of two schemes by independent contributors.")
    how = _how(
        "Of the items that carry the first value and any value of the other scheme, how many carry this one. The most "
        "surprising come first: values that stand together although the tables exclude it, then values that stand for "
        "each other although the tables do not say so. It is evidence to be looked at by people, and changes nothing."
    )
    rows = [_suggestion(row) for row in agreement.suggestions]
    heads = ["value", "stands with", "#share", "#95 % interval", "#items", "tables say they", "resting on", "examples"]
    return how + _table("Rows that data suggest", heads, rows)


def _suggestion(row: SuggestedRow) -> list[Any]:
    examples = "; ".join(f"{left} and {right}" for left, right in row.examples)
    return [
        f"{row.scheme} {row.value}",
        f"{row.other_scheme} {row.other_value}",
        _n(_percent(row.share.count, row.share.items)),
        _n(_interval(row.share)),
        _n(f"{row.share.count:,} of {row.share.items:,}"),
        _RELATIONS.get(row.relation, row.relation),
        _listed(row.contributors),
        examples or "-",
    ]


def _gaps(gaps: Sequence[Gaps] | None, names: Mapping[str, str]) -> str:
    if gaps is None:
        return _p("Gaps were not looked for.")
    if not gaps:
        return _p("No jurisdiction was asked about.")
    ordered = sorted(gaps, key=lambda g: (-g.items, g.jurisdiction))
    parts = [
        _figure(
            charts.bars(
                "Items that partners hold and a country lacks", [Bar(g.jurisdiction, g.items) for g in ordered]
            ),
            "Only items that somebody lists as harmful or leaves open; copies under several hashes count once. What "
            "partners' terms keep from a country is not in it.",
        )
    ]
    for g in ordered:
        by_contributor = [[_shown(name, names), _n(count)] for name, count in _most_first(g.by_contributor)]
        by_verdict = [[verdict, _n(count)] for verdict, count in _most_first(g.by_verdict)]
        parts.append(f"<h3>{_t(g.jurisdiction)}: {_number(g.items, 'item')}</h3>")
        parts.append(_table("Held by", ["contributor", "#items"], by_contributor))
        parts.append(_table("What is stated of them", ["verdict", "#items"], by_verdict))
    return "".join(parts)


def _limits() -> str:
    return "".join(f"<h3>{heading}</h3>{_p(text)}" for heading, text in _LIMITS.items())


_LIMITS: Final = {
    "Items": (
        "Entries are of one item when they share an exact digest. Only active entries count. Altered copies are items "
        "of their own, so overlap is at least what is shown here."
    ),
    "Statements": (
        "Each scheme's values are read as what they leave possible in common dimensions. Two statements disagree only "
        "if they cannot both hold; a vague one disagrees with little, which is no merit. Who states nothing in a "
        "dimension is not counted there. Several entries of one contributor about an item are one statement, and "
        "where they contradict each other, none."
    ),
    "Alpha": (
        "Krippendorff's coefficient (2011), with statements that overlap taken for no difference, and contributors "
        "that take material from each other or from one source not compared. The interval is a bootstrap over items."
    ),
    "Consensus": (
        "What remains possible in all that independent others state. Where they contradict one another: the model of "
        "Dawid and Skene (1979), learned from the items of the measured contributor without its own statements, if at "
        "least 50 of these have three others and it is sure to 75 %; with fewer, more than half of the others. "
        "Otherwise there is no consensus, and the item does not count."
    ),
    "Shares": ("They have Wilson's 95 % interval. It is about chance in a random sample; lists are no random sample."),
    "What the numbers do not say": (
        "They do not say who is right: a majority can share an error, or a law. They do not measure the quality of a "
        "list, of which most may be nobody else's. Items that several hold are not like the others: they circulate "
        "more. Few items make wide intervals; read the interval, not the figure. What is not in an extract, by terms "
        "or because it was taken back, is not in any of this."
    ),
}


# --- Texts ------------------------------------------------------------------------------------------------------------


class _Number(str):
    """A cell that is set as a number."""

    __slots__ = ()


def _n(value: int | str) -> _Number:
    return _Number(f"{value:,}" if isinstance(value, int) else value)


def _cut(text: str) -> str:
    """Return a text in which whatever reads like a digest is cut to its first eight characters."""
    text = _HEX.sub(lambda match: match[0][:8] + "…", text)
    return _BASE64.sub(lambda match: match[0][:8] + "…" if _is_encoded(match[0]) else match[0], text)


def _is_encoded(text: str) -> bool:
    """Whether a long word is base64 rather than a name: it ends in =, or changes between capitals, small letters and
    digits at every third character or more often.
    """
    kinds = [(c.isupper(), c.islower(), c.isdigit()) for c in text]
    return text.endswith("=") or sum(one != other for one, other in pairwise(kinds)) * 3 >= len(text)


def _t(text: str) -> str:
    return plain(_cut(text))


def _p(text: str) -> str:
    return f"<p>{_t(text)}</p>"


def _how(text: str) -> str:
    return f'<p class="how">{_t(text)}</p>'


def _figure(svg: str, caption: str) -> str:
    return f"<figure>{svg}<figcaption>{_t(caption)}</figcaption></figure>"


def _table(caption: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; a head that begins with # is above numbers. What is beyond MAX_ROWS is said to be left out."""
    head = "".join(
        f'<th scope="col" class="n">{_t(h[1:])}</th>' if h.startswith("#") else f'<th scope="col">{_t(h)}</th>'
        for h in heads
    )
    body = "".join(
        "<tr>"
        + "".join(f'<td class="n">{_t(c)}</td>' if isinstance(c, _Number) else f"<td>{_t(c)}</td>" for c in row)
        + "</tr>"
        for row in rows[:MAX_ROWS]
    )
    more = len(rows) - MAX_ROWS
    note = _left_out(more, "further row")
    return f"<table><caption>{_t(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{note}"


def _left_out(count: int, one: str, several: str = "") -> str:
    return _p(f"{_number(count, one, several)} {_are(count)} left out here.") if count > 0 else ""


def _name(name: str, names: Mapping[str, str]) -> str:
    """Return what to call a contributor, hash set or jurisdiction in a sentence."""
    display = names.get(name, "").strip()
    return f"{display} ({name})" if display and display != name else name


def _shown(name: str, names: Mapping[str, str]) -> str:
    return _cut(_name(name, names))


def _unique(label: str, name: str) -> str:
    return label if name in label else f"{label} ({name})"


def _words(code: str) -> str:
    return _cut(code.replace("_", " ").lower())


def _dimension(name: str) -> str:
    dimension, _, jurisdiction = name.partition(":")
    words = dimension.replace("_", " ").capitalize()
    return f"{words} in {jurisdiction}" if jurisdiction else words


def _number(count: int, one: str, several: str = "") -> str:
    return f"{count:,} {one if count == 1 else several or one + 's'}"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _have(count: int) -> str:
    return "has" if count == 1 else "have"


def _percent(count: int, of: int) -> str:
    """Return a share as people read it: never 0 % of what there is, and never 100 % of what is not all."""
    if not of:
        return "-"
    share = 100 * count / of
    if 0 < share < 1:
        return "<1 %"
    if 99 < share < 100:  # noqa: PLR2004 - see above
        return ">99 %"
    return f"{share:.0f} %"


def _bounds(low: float | None, high: float | None) -> str:
    return "-" if low is None or high is None else f"{low:.3f} to {high:.3f}"


def _interval(share: Share) -> str:
    return f"{100 * share.low:.1f} to {100 * share.high:.1f} %" if share.items else "-"


def _alpha(figure: DimensionAgreement) -> str:
    bounds = f" ({_bounds(figure.low, figure.high)})" if figure.low is not None else ""
    return f"{figure.alpha:.3f}{bounds}, {_number(figure.items, 'item')}"


def _listed(texts: Sequence[str]) -> str:
    most = 6
    return ", ".join(texts[:most]) + (f" and {len(texts) - most} more" if len(texts) > most else "")


def _share_of(figure: ContributorAgreement | None) -> float | None:
    return figure.share.count / figure.share.items if figure is not None and figure.share.items else None


def _range(figures: Iterable[ContributorAgreement]) -> float:
    shares = [share for figure in figures if (share := _share_of(figure)) is not None]
    return max(shares, default=0.0) - min(shares, default=0.0)


def _totals(counted: Iterable[tuple[Any, int]]) -> dict[Any, int]:
    totals: dict[Any, int] = {}
    for key, count in counted:
        totals[key] = totals.get(key, 0) + count
    return totals


def _most_first(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda both: (-both[1], both[0]))


def _by_items(counted: Iterable[tuple[str, int]]) -> list[str]:
    """Return at most twelve labels, in their order: those that stand for the most items."""
    totals = _totals(counted)
    chosen = {label for label, _ in _most_first(totals)[:12]}
    return [label for label in totals if label in chosen]
