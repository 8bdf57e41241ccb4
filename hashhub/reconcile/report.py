"""The report: one page for whoever does not have the hub before them: sentences, tables, charts and how to read them.

It loads and runs nothing and holds no digest: whatever reads like one in a name is cut. What was not computed is said
to be so, never shown as zero. `report.html` has the words, this module the figures.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from markupsafe import Markup

from hashhub.local_files import make_directory, written
from hashhub.pages import charts, render
from hashhub.pages.charts import Bar, Cell, Interval
from hashhub.reconcile.results import (
    Agreement,
    By,
    ConflictTotals,
    Confusion,
    ContributorAgreement,
    DimensionAgreement,
    Gaps,
    Omission,
    Overlap,
    OverlapCell,
    Proportion,
    SuggestedRow,
)
from hashhub.schemes import Scheme, alignment
from hashhub.schemes.picture import draw

PAGE: Final = "report.html"

MAX_MATRIX: Final = 20  # names of a matrix; with more of them the strongest pairs are listed
_MAX_ROWS: Final = 60  # of a table
_MAX_MAPS: Final = 24  # confusion heat maps
_MAX_LINES: Final = 8  # of a chart of drift: as many as there are forms
# What reads like a digest: hexadecimal of 8 bytes or more, or base64 of 16 bytes or more.
_HEX: Final = re.compile(r"[0-9A-Fa-f]{16,}")
_BASE64: Final = re.compile(r"[0-9A-Za-z+/_-]{22,}={0,2}")

_BY: Final = {By.HASH_SET: "hash set", By.CONTRIBUTOR: "contributor", By.JURISDICTION: "jurisdiction"}
_RELATIONS: Final = {
    "AGREE": "say the same",
    "IMPRECISE": "compatible, one is wider",
    "CONFLICT": "exclude each other",
    "INCOMPARABLE": "have nothing in common to compare",
    "": "no table here",
}


def write(directory: Path, html: str) -> Path:
    """Write the page into a directory, made if need be, in place of an earlier one; return its path."""
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
    conflicts: ConflictTotals | None = None,
    gaps: Sequence[Gaps] | None = None,
    crosswalks: Sequence[tuple[Scheme, Scheme]] | None = None,
    names: Mapping[str, str] | None = None,
    left_out: Sequence[Omission] = (),
    time: datetime | None = None,
) -> str:
    """Return the page's HTML; the same for the same figures.

    `names`: display names of contributors by id; `left_out`: whose hash sets were not looked at; `time`: of what the
    figures show; what is None was not computed.
    """
    names = names or {}
    parts = [part for part in (overlap, agreement, conflicts, *(gaps or ())) if part is not None]
    unheard = [(f"{_name(x.contributor, names)} ({x.reliability})", x.by_choice) for x in left_out]
    return render(
        "reconcile/report.html",
        _cut,
        title=title,
        revision=revision,
        time=time,
        overlap=overlap,
        agreement=agreement,
        conflicts=conflicts,
        gaps=gaps,
        crosswalks=None if crosswalks is None else [_crosswalk(*schemes) for schemes in crosswalks],
        other_revisions=[f"{r:,}" for r in sorted({part.revision for part in parts} - {revision})],
        not_chosen=[who for who, by_choice in unheard if by_choice],
        too_low=[who for who, by_choice in unheard if not by_choice],
        most_rows=_MAX_ROWS,
        name=partial(_name, names=names),
        number=_number,
        listed=_listed,
        percent=_percent,
        dimension=_dimension,
        alpha=_alpha,
        **(_overlap(overlap, names) if overlap is not None else {}),
        **(_conflicts(conflicts, names) if conflicts is not None and conflicts.counts else {}),
        **(_agreement(agreement, names) if agreement is not None else {}),
        **_gaps(gaps or (), names),
    )


def overlap_map(overlap: Overlap, names: Mapping[str, str], *, words: tuple[str, str, str] | None = None) -> Markup:
    """Return the chart of an overlap: the share of each row's entries that each column holds, too. `words`: its title,
    what rows are and what columns are, where it is to speak another language; its cells then say nothing.
    """
    what = _BY[overlap.by]
    title, rows_are, columns_are = words or (
        "Share of each row's entries that the column holds, too",
        f"{what} whose entries they are",
        f"{what} that holds them, too",
    )
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
                    "" if words else
                    f"{labels[j]} holds {cell.exact + cell.near:,} of the {entries:,} entries of {labels[i]}{near}",
                )  # fmt: skip
    return charts.heat_map(title, labels, labels, matrix, rows_are=rows_are, columns_are=columns_are)


def _overlap(overlap: Overlap, names: Mapping[str, str]) -> dict[str, Any]:
    def share(c: OverlapCell) -> float:
        return (c.exact + c.near) / max(1, overlap.entries[c.left])

    entries, alone, has_near = overlap.entries, overlap.alone, bool(overlap.max_distances)
    return {
        "by": _BY[overlap.by],
        "overlap_chart": overlap_map(overlap, names) if len(overlap.names) <= MAX_MATRIX else None,
        "largest": max(overlap.cells, key=share, default=None),
        "holders": [
            (_shown(name, names), entries.get(name, 0), alone.get(name, 0),
             _percent(alone.get(name, 0), entries.get(name, 0)))
            for name in overlap.names
        ],
        "pairs": [
            (_shown(c.left, names), _shown(c.right, names), c.exact, *([c.near] if has_near else []),
             _percent(c.exact + c.near, entries.get(c.left, 0)))
            for c in sorted(overlap.cells, key=lambda c: (-(c.exact + c.near), c.left, c.right))
            if c.exact + c.near
        ],
    }  # fmt: skip


def _conflicts(conflicts: ConflictTotals, names: Mapping[str, str]) -> dict[str, Any]:
    by_kind = _totals((c.kind, c.count) for c in conflicts.counts)
    by_severity = _totals((c.severity, c.count) for c in conflicts.counts)
    by_pair: dict[tuple[str, str], int] = _totals(((c.left, c.right), c.count) for c in conflicts.counts)
    people = sorted({name for pair in by_pair for name in pair})
    labels, most = [_shown(name, names) for name in people], max(by_pair.values())
    matrix = {}
    for (left, right), count in by_pair.items():
        for a, b in ((left, right), (right, left)):
            i, j = people.index(a), people.index(b)
            matrix[i, j] = Cell(f"{count:,}", count / most, f"{labels[i]} and {labels[j]}: {count:,} conflicts")
    chart = charts.heat_map("Conflicts by pair", labels, labels, matrix, rows_are="one", columns_are="the other")
    return {
        "conflict_kinds": charts.bars("Conflicts by kind", [Bar(_words(k), n) for k, n in _most_first(by_kind)]),
        "severities": [(_words(severity), count) for severity, count in _most_first(by_severity)],
        "conflict_pairs": chart if len(people) <= MAX_MATRIX else None,
        "conflict_rows": [
            (_shown(c.left, names), _shown(c.right, names), _words(c.kind), _words(c.severity), c.count)
            for c in sorted(conflicts.counts, key=lambda c: (-c.count, c.left, c.right, c.kind, c.severity))
        ],
    }


def _agreement(agreement: Agreement, names: Mapping[str, str]) -> dict[str, Any]:
    measured = [d for d in agreement.dimensions if d.alpha is not None]
    by_map: dict[tuple[str, str], list[Confusion]] = {}
    for cell in agreement.confusions:
        by_map.setdefault((cell.dimension, cell.contributor), []).append(cell)
    differing = {(c.dimension, c.contributor) for c in agreement.contributors if c.share.count < c.share.items}
    maps = [(key, cells) for key, cells in by_map.items() if key in differing]
    changes = agreement.drift if len({d.period for d in agreement.drift}) > 1 else ()  # a change takes two
    return {
        "measured": measured,
        "alphas": alpha_chart(
            "Krippendorff's alpha by dimension",
            agreement.dimensions,
            label=lambda d: f"{_dimension(d.dimension)}, {d.metric}",
            text=lambda d: "not defined" if d.alpha is None else _alpha(d),
        ),
        "alpha_rows": [
            (_dimension(d.dimension), d.metric, d.items, d.contributors,
             "not defined" if d.alpha is None else f"{d.alpha:.3f}", _bounds(d.low, d.high))
            for d in agreement.dimensions
        ],
        "undefined": list(dict.fromkeys(_dimension(d.dimension) for d in agreement.dimensions if d.alpha is None)),
        "contributor_rows": [
            (_shown(c.contributor, names), _dimension(c.dimension), c.share.count, c.share.items,
             *_share(c.share), c.by_one_other)
            for c in agreement.contributors
        ],
        "maps": [_confusion(key, cells, names) for key, cells in maps[:_MAX_MAPS]],
        "maps_left_out": len(maps) - _MAX_MAPS,
        "changes": [
            (_dimension(name), *change_chart(f"Agreement with the others by quarter: {_dimension(name).lower()}",
                                             name, changes, names))
            for name in dict.fromkeys(d.dimension for d in changes)
        ],
        "change_rows": [
            (_dimension(d.dimension), _shown(d.contributor, names), d.period, *_share(d.share), d.share.items)
            for d in changes
        ],
        "suggestions": [_suggestion(row) for row in agreement.suggestions],
    }  # fmt: skip


def alpha_chart(
    title: str,
    dimensions: Sequence[DimensionAgreement],
    *,
    label: Callable[[DimensionAgreement], str],
    text: Callable[[DimensionAgreement], str],
) -> Markup:
    """Return the chart of alpha by dimension, with its intervals."""
    rows = [Interval(label(d), d.alpha, d.low, d.high, text(d)) for d in dimensions]
    lowest = min([0.0, *(d.low if d.low is not None else d.alpha for d in dimensions if d.alpha is not None)])
    low = -1.0 if lowest < -0.5 else -0.5 if lowest < 0 else 0.0  # noqa: PLR2004 - marks of the scale
    marks = [mark / 4 for mark in range(int(low * 4), 5)]
    return charts.intervals(title, rows, low=low, high=1.0, marks=marks)


def _confusion(key: tuple[str, str], cells: Sequence[Confusion], names: Mapping[str, str]) -> tuple[str, Markup]:
    dimension, contributor = key
    rows = _by_items((c.consensus, c.share.count) for c in cells)
    columns = _by_items((c.stated, c.share.count) for c in cells)
    if set(columns) <= set(rows):
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
    who = _shown(contributor, names)
    heading = f"{who}: {_dimension(dimension).lower()}"
    columns = labels if columns is rows else columns
    stated = f"stated by {who}"
    return heading, charts.heat_map(heading, labels, columns, matrix, rows_are="consensus (items)", columns_are=stated)


def change_chart(
    title: str, dimension: str, drift: Sequence[ContributorAgreement], names: Mapping[str, str]
) -> tuple[Markup, int]:
    """Return the chart of those that change most in a dimension, and how many are left out there."""
    periods = sorted({d.period for d in drift})
    by_name: dict[str, dict[str, float]] = {}
    for d in drift:
        if d.dimension == dimension and d.share.items:
            by_name.setdefault(d.contributor, {})[d.period] = d.share.count / d.share.items
    changes = {name: max(shares.values()) - min(shares.values()) for name, shares in by_name.items()}
    chosen = sorted(by_name, key=lambda name: (-changes[name], name))[:_MAX_LINES]
    series: dict[str, list[float | None]] = {}
    for name in sorted(chosen):
        label = _shown(name, names)  # of two names that are cut it can be the same
        series[f"{label} ({len(series)})" if label in series else label] = [by_name[name].get(p) for p in periods]
    return charts.lines(title, periods, series), len(by_name) - len(chosen)


def _crosswalk(left: Scheme, right: Scheme) -> tuple[list[str], Markup, list[tuple[str, str, str, str]]]:
    """Return the names of the schemes, the picture for an address, and the rows of the table."""
    rows = list(alignment.rows(left, right))
    picture = Markup(quote(_cut(draw(left, right, rows))))  # noqa: S704 - no character is left that HTML knows
    lines: list[tuple[str, str, str, str]] = []
    for value, of_value in groupby(rows, key=lambda row: row.left):
        told = [row for row in of_value if row.relation is not alignment.Correspondence.INCOMPARABLE]
        lines += [(value, row.right, row.relation.lower(), row.why) for row in told] or [
            (value, "-", "incomparable", "no value there says anything about what this one says")
        ]
    return [left.name, right.name], picture, lines


def _suggestion(row: SuggestedRow) -> tuple[str, ...]:
    return (
        f"{row.scheme} {row.value}",
        f"{row.other_scheme} {row.other_value}",
        *_share(row.share),
        f"{row.share.count:,} of {row.share.items:,}",
        _RELATIONS.get(row.relation, row.relation),
        _listed(row.contributors),
        "; ".join(f"{left} and {right}" for left, right in row.examples) or "-",
    )


def _gaps(gaps: Sequence[Gaps], names: Mapping[str, str]) -> dict[str, Any]:
    ordered = sorted(gaps, key=lambda g: (-g.items, g.jurisdiction))
    title = "Items that partners hold and a country lacks"
    return {
        "gap_bars": charts.bars(title, [Bar(g.jurisdiction, g.items) for g in ordered]),
        "lacking": [
            (
                g,
                [(_shown(name, names), count) for name, count in _most_first(g.by_contributor)],
                _most_first(g.by_verdict),
            )
            for g in ordered
        ],
    }


# --- Texts ------------------------------------------------------------------------------------------------------------


def _cut(text: str) -> str:
    """Return a text in which whatever reads like a digest is cut to its first eight characters."""
    text = _HEX.sub(lambda match: match[0][:8] + "…", text)
    return _BASE64.sub(lambda match: match[0][:8] + "…" if _is_encoded(match[0]) else match[0], text)


def _is_encoded(text: str) -> bool:
    """Whether a long word is base64, not a name: it ends in =, or changes kind of character at every third."""
    kinds = [(c.isupper(), c.islower(), c.isdigit()) for c in text]
    return text.endswith("=") or sum(one != other for one, other in pairwise(kinds)) * 3 >= len(text)


def _name(name: str, names: Mapping[str, str]) -> str:
    """Return the name of a contributor, hash set or jurisdiction within a sentence."""
    display = names.get(name, "").strip()
    return f"{display} ({name})" if display and display != name else name


def _shown(name: str, names: Mapping[str, str]) -> str:
    return _cut(_name(name, names))


def _words(code: str) -> str:
    return _cut(code.replace("_", " ").lower())


def _dimension(name: str) -> str:
    dimension, _, jurisdiction = name.partition(":")
    words = dimension.replace("_", " ").capitalize()
    return f"{words} in {jurisdiction}" if jurisdiction else words


def _number(count: int, one: str, several: str = "") -> str:
    return f"{count:,} {one if count == 1 else several or one + 's'}"


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


def _interval(share: Proportion) -> str:
    return f"{100 * share.low:.1f} to {100 * share.high:.1f} %" if share.items else "-"


def _share(share: Proportion) -> tuple[str, str]:
    return _percent(share.count, share.items), _interval(share)


def _alpha(figure: DimensionAgreement) -> str:
    bounds = f" ({_bounds(figure.low, figure.high)})" if figure.low is not None else ""
    return f"{figure.alpha:.3f}{bounds}, {_number(figure.items, 'item')}"


def _listed(texts: Sequence[str]) -> str:
    most = 6
    return ", ".join(texts[:most]) + (f" and {len(texts) - most} more" if len(texts) > most else "")


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
