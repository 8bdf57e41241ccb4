"""Charts as SVG, drawn by ourselves: no script, nothing loaded, the same bytes for the same figures.

They stand in a page and take its text colour, light or dark, or alone (`standalone`). Nothing is told by colour only:
cells hold their numbers, series have forms and names, and each chart has a title and a description for whoever does not
see it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from textwrap import wrap
from typing import Final, NamedTuple

_FONT: Final = 'font-family="system-ui, Segoe UI, Helvetica, Arial, sans-serif"'
_HUE: Final = "#2f7fa8"  # text of either mode stays legible on it up to _STRONGEST
_STRONGEST: Final = 0.5
_WIDTH: Final = 780
_CHARACTER: Final = 6.4  # width of one at 12 px, on average
_LABEL: Final = 40  # characters of a label that stand in one line
_LINE: Final = 14  # pixels from one line of a label to the next
_DASHES: Final = ("", "7 3", "2 3", "9 3 2 3")
_REFUSED: Final = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)


class Cell(NamedTuple):
    """A cell of a heat map: what stands in it, how strong it is (0 to 1, None: empty), and what it says in full."""

    text: str
    strength: float | None
    title: str


class Interval(NamedTuple):
    """A row of a chart of intervals. `value` None: it is not defined, and `text` says so."""

    label: str
    value: float | None
    low: float | None
    high: float | None
    text: str


class Bar(NamedTuple):
    """A row of a bar chart."""

    label: str
    number: int


def plain(text: str) -> str:
    """Return a text for HTML or SVG: escaped, without what XML refuses or what turns the direction of what follows."""
    return escape(_REFUSED.sub("\ufffd", text), quote=True)


def standalone(svg: str) -> str:
    """Return a chart as a file of its own, with colours of its own for light and dark."""
    style = (
        "<style>:root{color:#1b2733;background:#ffffff}"
        "@media(prefers-color-scheme:dark){:root{color:#eceff1;background:#14171a}}</style>"
    )
    head, closing, rest = svg.partition(">")
    return f"{head}{closing}{style}{rest}\n"


def heat_map(
    title: str,
    rows: Sequence[str],
    columns: Sequence[str],
    cells: Mapping[tuple[int, int], Cell],
    *,
    rows_are: str,
    columns_are: str,
) -> str:
    """Return a matrix with a number in each cell. Columns are numbered, and the rows say which number is whose where
    both have the same names; else the names of the columns stand below.
    """
    is_square = list(rows) == list(columns)
    row_labels = [f"{at}  {name}" if is_square else name for at, name in enumerate(rows, 1)]
    left = _label_width(row_labels)
    width = min(64.0, max(34.0, (_WIDTH - left - 10) / max(1, len(columns))))
    top, height = 48, 26 + _more(row_labels)
    step = 18 + _more(columns)
    below = 0 if is_square else step * len(columns) + 12
    parts = [
        _text(8, 16, f"rows: {rows_are}; columns: {columns_are}", small=True, whole=True),
    ]
    parts += [
        _text(left + width * (at + 0.5), 40, str(at + 1), title=name, anchor="middle", bold=True)
        for at, name in enumerate(columns)
    ]
    for at, label in enumerate(row_labels):
        parts.append(_text(left - 8, top + height * (at + 0.5) + 4, label, anchor="end"))
        for column in range(len(columns)):
            cell = cells.get((at, column), Cell("", None, ""))
            parts.append(_cell(left + width * column, top + height * at, width, height, cell))
    if not is_square:
        parts += [
            _text(left, top + height * len(rows) + 22 + (step - 18) / 2 + step * at, f"{at + 1}  {name}")
            for at, name in enumerate(columns)
        ]
    wide = [_CHARACTER * len(rows_are + columns_are) + 120, left + (0 if is_square else _label_width(columns))]
    size = (max([left + width * len(columns) + 10, *wide]), top + height * len(rows) + 10 + below)
    described = f"A matrix of {len(rows)} rows ({rows_are}) and {len(columns)} columns ({columns_are})."
    return _svg(title, described, size, parts)


def intervals(title: str, rows: Sequence[Interval], *, low: float, high: float, marks: Sequence[float]) -> str:
    """Return points with their intervals on one scale from `low` to `high`; what lies outside ends at its edge."""
    labels = [row.label for row in rows]
    left, right, top, height = _label_width(labels), 230, 34, 28 + _more(labels)
    width = _WIDTH - left - right

    def place(value: float) -> float:
        return left + width * (min(max(value, low), high) - low) / (high - low)

    bottom = top + height * len(rows)
    parts = []
    for mark in marks:
        parts.append(_line(place(mark), top - 8, place(mark), bottom, faint=True))
        parts.append(_text(place(mark), 18, f"{mark:g}", anchor="middle", small=True))
    for at, row in enumerate(rows):
        y = top + height * at + height / 2
        parts.append(_text(left - 8, y + 4, row.label, anchor="end"))
        if row.value is not None:
            if row.low is not None and row.high is not None:
                parts.append(_line(place(row.low), y, place(row.high), y))
                parts += [_line(place(end), y - 5, place(end), y + 5) for end in (row.low, row.high)]
            parts.append(
                f'<circle cx="{place(row.value):.1f}" cy="{y:.1f}" r="5" fill="{_HUE}" stroke="currentColor"/>'
            )
        parts.append(_text(left + width + 14, y + 4, row.text, small=True, whole=True))
    return _svg(title, f"{len(rows)} figures with their intervals.", (_WIDTH, bottom + 10), parts)


def bars(title: str, rows: Sequence[Bar]) -> str:
    """Return a bar for each row, the longest filling the width, with its number behind it."""
    labels = [row.label for row in rows]
    left, right, top, height = _label_width(labels), 90, 8, 26 + _more(labels)
    most = max((row.number for row in rows), default=0) or 1
    parts = []
    for at, row in enumerate(rows):
        y, width = top + height * at, (_WIDTH - left - right) * row.number / most
        parts.append(_text(left - 8, y + height / 2 + 4, row.label, anchor="end"))
        parts.append(
            f'<rect x="{left:.1f}" y="{y + 4}" width="{width:.1f}" height="{height - 8}" fill="{_HUE}" '
            f'fill-opacity="{_STRONGEST}" stroke="currentColor" stroke-width="0.6"/>'
        )
        parts.append(_text(left + width + 8, y + height / 2 + 4, f"{row.number:,}"))
    return _svg(title, f"{len(rows)} bars.", (_WIDTH, top + height * len(rows) + 8), parts)


def lines(title: str, places: Sequence[str], series: Mapping[str, Sequence[float | None]]) -> str:
    """Return shares (0 to 1) by place, a line for each name; None: there is nothing, and the line is broken there."""
    left, right, top, height = 52, _label_width(list(series)) + 30, 16, 240
    width = _WIDTH - left - right
    bottom = top + height

    def x_of(at: int) -> float:
        return left + width * (at + 0.5) / max(1, len(places))

    parts = []
    for mark in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = bottom - height * mark
        parts.append(_line(left, y, left + width, y, faint=True))
        parts.append(_text(left - 6, y + 4, f"{mark:.0%}".replace("%", " %"), anchor="end", small=True))
    every = -(-len(places) // 12)
    parts += [
        _text(x_of(at), bottom + 18, place, anchor="middle", small=True)
        for at, place in enumerate(places)
        if at % every == 0
    ]
    # Names stand beside the ends of their lines, moved apart where they would lie on each other.
    ends = sorted(
        (bottom - height * next((v for v in reversed(values) if v is not None), 0.0), name)
        for name, values in series.items()
    )
    label_y, last = {}, float("-inf")
    for y, name in ends:
        last = max(y, last + 15 + _more(list(series)))
        label_y[name] = last
    for number, (name, values) in enumerate(series.items()):
        dash = _DASHES[number % len(_DASHES)]
        points = [(x_of(at), bottom - height * v) for at, v in enumerate(values) if v is not None]
        for at in range(len(values) - 1):
            one, two = values[at], values[at + 1]
            if one is not None and two is not None:
                parts.append(_line(x_of(at), bottom - height * one, x_of(at + 1), bottom - height * two, dash=dash))
        parts += [_marker(number, x, y, name) for x, y in points]
        parts.append(_marker(number, left + width + 12, label_y[name], name))
        parts.append(_text(left + width + 24, label_y[name] + 4, name))
    size = (_WIDTH, max([bottom + 30.0, *(y + 16 for y in label_y.values())]))
    return _svg(title, f"{len(series)} lines over {len(places)} periods.", size, parts)


# --- Parts ------------------------------------------------------------------------------------------------------------


def _svg(title: str, described: str, size: tuple[float, float], parts: Sequence[str]) -> str:
    width, height = (f"{side:.0f}" for side in size)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{plain(title)}" {_FONT} font-size="12" fill="currentColor">'
        f"<title>{plain(title)}</title><desc>{plain(described)}</desc>{''.join(parts)}</svg>"
    )


def _lines_of(text: str) -> list[str]:
    """Return a label in lines: all of it, for what is cut cannot be read on paper."""
    return wrap(text, _LABEL) or [text]


def _more(labels: Sequence[str]) -> int:
    """Return how much higher a row must be than for labels of one line."""
    return _LINE * (max((len(_lines_of(label)) for label in labels), default=1) - 1)


def _label_width(labels: Sequence[str]) -> float:
    return 24 + _CHARACTER * min(_LABEL, max((len(label) for label in labels), default=0))


def _text(
    x: float,
    y: float,
    text: str,
    *,
    title: str = "",
    anchor: str = "start",
    small: bool = False,
    bold: bool = False,
    whole: bool = False,
) -> str:
    lines = [text] if whole else _lines_of(text)
    y -= _LINE / 2 * (len(lines) - 1)
    style = ' font-size="11" fill-opacity="0.85"' * small + ' font-weight="600"' * bold
    inside = f"<title>{plain(title)}</title>" if title else ""
    shown = plain(lines[0]) + "".join(f'<tspan x="{x:.1f}" dy="{_LINE}">{plain(line)}</tspan>' for line in lines[1:])
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{style}>{inside}{shown}</text>'


def _cell(x: float, y: float, width: float, height: float, cell: Cell) -> str:
    strength = _STRONGEST * min(1.0, max(0.0, cell.strength or 0.0))
    inside = f"<title>{plain(cell.title)}</title>" if cell.title else ""
    box = (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{_HUE}" '
        f'fill-opacity="{strength:.3f}" stroke="currentColor" stroke-opacity="0.25"/>'
    )
    label = f'<text x="{x + width / 2:.1f}" y="{y + height / 2 + 4:.1f}" text-anchor="middle">{plain(cell.text)}</text>'
    return f"<g>{inside}{box}{label}</g>"


def _line(x: float, y: float, to_x: float, to_y: float, *, faint: bool = False, dash: str = "") -> str:
    style = ' stroke-opacity="0.2"' if faint else ' stroke-width="1.6"'
    style += f' stroke-dasharray="{dash}"' if dash else ""
    return f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}" stroke="currentColor"{style}/>'


def _marker(number: int, x: float, y: float, title: str) -> str:
    """Return a small form; each of eight series has another."""
    fill = f'fill="{_HUE}"' if number % 8 < 4 else 'fill="none"'  # noqa: PLR2004 - four forms, full and empty
    style = f'{fill} stroke="currentColor" stroke-width="1.4"'
    inside = f"<title>{plain(title)}</title>"
    form = number % 4
    if form == 0:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" {style}>{inside}</circle>'
    corners = {
        1: [(-4, -4), (4, -4), (4, 4), (-4, 4)],
        2: [(0, -5), (5, 4), (-5, 4)],
        3: [(0, -6), (6, 0), (0, 6), (-6, 0)],
    }[form]
    points = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners)
    return f'<polygon points="{points}" {style}>{inside}</polygon>'
