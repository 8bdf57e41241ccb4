"""Charts as SVG: no script, nothing loaded, the same bytes for the same figures.

They take the text colour of their page, or stand alone (`standalone`). Nothing is told by colour only: cells hold
numbers, series have forms and names, and each chart has a title and a description.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from textwrap import wrap
from typing import Any, Final, NamedTuple

from markupsafe import Markup

from hashhub.pages import render

_HUE: Final = "#2f7fa8"  # text of either mode stays legible on it up to _STRONGEST
_STRONGEST: Final = 0.5
_WIDTH: Final = 780
_CHARACTER: Final = 6.4  # width of one at 12 px, on average
_LABEL: Final = 40  # characters of a label that stand in one line
_LINE: Final = 14  # pixels from one line of a label to the next
_DASHES: Final = ("", "7 3", "2 3", "9 3 2 3")
_FORMS: Final = (  # corners of the markers of series; none: a circle
    (),
    ((-4, -4), (4, -4), (4, 4), (-4, 4)),
    ((0, -5), (5, 4), (-5, 4)),
    ((0, -6), (6, 0), (0, 6), (-6, 0)),
)
_COLOURS: Final = (
    "<style>:root{color:#1b2733;background:#ffffff}"
    "@media(prefers-color-scheme:dark){:root{color:#eceff1;background:#14171a}}</style>"
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
    colour: str = ""


class _Shape(NamedTuple):
    """An SVG element: its attributes, its title, and the lines of text or the shapes in it."""

    tag: str
    attributes: Mapping[str, str]
    lines: Sequence[str]
    title: str
    parts: Sequence[_Shape] = ()


def standalone(svg: Markup) -> str:
    """Return a chart as a file of its own, with colours of its own for light and dark."""
    head, closing, rest = str(svg).partition(">")
    return f"{head}{closing}{_COLOURS}{rest}\n"


def heat_map(
    title: str,
    rows: Sequence[str],
    columns: Sequence[str],
    cells: Mapping[tuple[int, int], Cell],
    *,
    rows_are: str,
    columns_are: str,
) -> Markup:
    """Return a matrix of numbers. Columns are numbered as the rows, or named below where names differ."""
    is_square = list(rows) == list(columns)
    row_labels = [f"{at}  {name}" if is_square else name for at, name in enumerate(rows, 1)]
    left = _label_width(row_labels)
    width = min(64.0, max(34.0, (_WIDTH - left - 10) / max(1, len(columns))))
    top, height = 48, 26 + _more(row_labels)
    step = 18 + _more(columns)
    shapes = [_note(8, 16, f"↓ {rows_are}   → {columns_are}")]
    shapes += [
        _text(left + width * (at + 0.5), 40, str(at + 1), title=name, text_anchor="middle", font_weight="600")
        for at, name in enumerate(columns)
    ]
    for at, label in enumerate(row_labels):
        shapes.append(_text(left - 8, top + height * (at + 0.5) + 4, label, text_anchor="end"))
        for column in range(len(columns)):
            cell = cells.get((at, column), Cell("", None, ""))
            shapes.append(_cell(left + width * column, top + height * at, width, height, cell))
    below = top + height * len(rows)
    if not is_square:
        y = below + 22 + (step - 18) / 2
        shapes += [_text(left, y + step * at, f"{at + 1}  {name}") for at, name in enumerate(columns)]
    widths = (
        left + width * len(columns) + 10,
        _CHARACTER * len(rows_are + columns_are) + 120,
        left + (0 if is_square else _label_width(columns)),
    )
    size = max(widths), below + 10 + (0 if is_square else step * len(columns) + 12)
    return _svg(title, f"{rows_are}: {len(rows)}; {columns_are}: {len(columns)}", size, shapes)


def intervals(title: str, rows: Sequence[Interval], *, low: float, high: float, marks: Sequence[float]) -> Markup:
    """Return points with their intervals on one scale from `low` to `high`; what lies outside ends at its edge."""
    labels = [row.label for row in rows]
    left, right, top, height = _label_width(labels), 230, 34, 28 + _more(labels)
    width = _WIDTH - left - right
    bottom = top + height * len(rows)

    def place(value: float) -> float:
        return left + width * (min(max(value, low), high) - low) / (high - low)

    shapes = []
    for mark in marks:
        shapes.append(_faint_line(place(mark), top - 8, place(mark), bottom))
        shapes.append(_note(place(mark), 18, f"{mark:g}", text_anchor="middle"))
    for at, row in enumerate(rows):
        y = top + height * at + height / 2
        shapes.append(_text(left - 8, y + 4, row.label, text_anchor="end"))
        if row.value is not None:
            if row.low is not None and row.high is not None:
                shapes.append(_line(place(row.low), y, place(row.high), y))
                shapes += [_line(place(end), y - 5, place(end), y + 5) for end in (row.low, row.high)]
            shapes.append(_shape("circle", cx=place(row.value), cy=y, r="5", fill=_HUE, stroke="currentColor"))
        shapes.append(_note(left + width + 14, y + 4, row.text))
    return _svg(title, "; ".join(f"{row.label}: {row.text}" for row in rows), (_WIDTH, bottom + 10), shapes)


def bars(title: str, rows: Sequence[Bar], *, whole: int = 0) -> Markup:
    """Return a bar and its number for each row. `whole`: what a full bar would be; 0: the longest is."""
    labels = [row.label for row in rows]
    left, right, top, height = _label_width(labels), 90, 8, 26 + _more(labels)
    most = whole or max((row.number for row in rows), default=0) or 1
    shapes = []
    for at, row in enumerate(rows):
        y, width = top + height * at, (_WIDTH - left - right) * row.number / most
        shapes.append(_text(left - 8, y + height / 2 + 4, row.label, text_anchor="end"))
        style = {"fill": row.colour or _HUE, "fill_opacity": "1" if row.colour else "0.5", "stroke": "currentColor"}
        shapes.append(_shape("rect", x=left, y=y + 4, width=width, height=height - 8, stroke_width="0.6", **style))
        shapes.append(_text(left + width + 8, y + height / 2 + 4, f"{row.number:,}"))
    described = "; ".join(f"{row.label}: {row.number:,}" for row in rows)
    return _svg(title, described, (_WIDTH, top + height * len(rows) + 8), shapes)


def columns(title: str, counts: Sequence[int]) -> Markup:
    """Return a column for each count, with its place, from 0, below every fourth."""
    most, step = max(counts, default=0) or 1, 20
    shapes = []
    for at, count in enumerate(counts):
        top = 115 - 100 * count / most
        shapes.append(_shape("rect", x=step * at, y=top, width=step - 4, height=115 - top, fill=_HUE))
        if count:
            shapes.append(_note(step * at, top - 4, f"{count:,}"))
        if at % 4 == 0:
            shapes.append(_note(step * at, 130, str(at)))
    return _svg(title, f"{len(counts)} columns.", (step * len(counts), 136), shapes)


def lines(title: str, places: Sequence[str], series: Mapping[str, Sequence[float | None]]) -> Markup:
    """Return shares (0 to 1) by place, a line for each name; None: there is nothing, and the line is broken there."""
    left, right, top, height = 52, _label_width(list(series)) + 30, 16, 240
    width = _WIDTH - left - right
    bottom = top + height

    def x_of(at: int) -> float:
        return left + width * (at + 0.5) / max(1, len(places))

    shapes = []
    for mark in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = bottom - height * mark
        shapes.append(_faint_line(left, y, left + width, y))
        shapes.append(_note(left - 6, y + 4, f"{100 * mark:.0f} %", text_anchor="end"))
    every = 1 + int(len(places) * (_CHARACTER * max(map(len, places), default=0) + 8) // width)
    shapes += [_note(x_of(at), bottom + 18, places[at], text_anchor="middle") for at in range(0, len(places), every)]
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
        points = [None if v is None else (x_of(at), bottom - height * v) for at, v in enumerate(values)]
        dash = _DASHES[number % len(_DASHES)]
        shapes += [_line(*one, *two, dash) for one, two in pairwise(points) if one and two]
        shapes += [_marker(number, *point, name) for point in points if point]
        shapes.append(_marker(number, left + width + 12, label_y[name], name))
        shapes.append(_text(left + width + 24, label_y[name] + 4, name))
    size = (_WIDTH, max([bottom + 30.0, *(y + 16 for y in label_y.values())]))
    return _svg(title, "; ".join(series), size, shapes)


# --- Parts ------------------------------------------------------------------------------------------------------------


def _svg(title: str, described: str, size: tuple[float, float], shapes: Sequence[_Shape]) -> Markup:
    width, height = (f"{side:.0f}" for side in size)
    return Markup(  # noqa: S704 - the template escapes
        render("pages/charts.svg", title=title, described=described, width=width, height=height, shapes=shapes)
    )


def _shape(tag: str, *, lines: Sequence[str] = (), title: str = "", **attributes: Any) -> _Shape:
    """Return an element; of an attribute's name `_` stands for `-`, and coordinates have one decimal."""
    values = {
        name.replace("_", "-"): f"{value:.1f}" if isinstance(value, int | float) else value
        for name, value in attributes.items()
        if value != ""
    }
    return _Shape(tag, values, lines, title)


def _lines_of(text: str) -> list[str]:
    """Return a label in lines: all of it, for what is cut cannot be read on paper."""
    return wrap(text, _LABEL) or [text]


def _more(labels: Sequence[str]) -> int:
    """Return how much higher a row must be than for labels of one line."""
    return _LINE * (max((len(_lines_of(label)) for label in labels), default=1) - 1)


def _label_width(labels: Sequence[str]) -> float:
    return 24 + _CHARACTER * min(_LABEL, max((len(label) for label in labels), default=0))


def _text(x: float, y: float, text: str, **style: str) -> _Shape:
    lines = _lines_of(text)
    return _shape("text", lines=lines, x=x, y=y - _LINE / 2 * (len(lines) - 1), **style)


def _note(x: float, y: float, text: str, **style: str) -> _Shape:
    """Return a text that is smaller, and in one line."""
    return _shape("text", lines=[text], x=x, y=y, font_size="11", fill_opacity="0.85", **style)


def _cell(x: float, y: float, width: float, height: float, cell: Cell) -> _Shape:
    strength = _STRONGEST * min(1.0, max(0.0, cell.strength or 0.0))
    box = _shape("rect", x=x, y=y, width=width, height=height, fill=_HUE, fill_opacity=f"{strength:.3f}",
                 stroke="currentColor", stroke_opacity="0.25")  # fmt: skip
    label = _shape("text", lines=[cell.text], x=x + width / 2, y=y + height / 2 + 4, text_anchor="middle")
    return _Shape("g", {}, (), cell.title, (box, label))


def _line(x: float, y: float, to_x: float, to_y: float, dash: str = "") -> _Shape:
    style = {"stroke": "currentColor", "stroke_width": "1.6", "stroke_dasharray": dash}
    return _shape("line", x1=x, y1=y, x2=to_x, y2=to_y, **style)


def _faint_line(x: float, y: float, to_x: float, to_y: float) -> _Shape:
    return _shape("line", x1=x, y1=y, x2=to_x, y2=to_y, stroke="currentColor", stroke_opacity="0.2")


def _marker(number: int, x: float, y: float, title: str) -> _Shape:
    """Return a small form; each of eight series has another."""
    style = {"fill": _HUE if number % 8 < len(_FORMS) else "none", "stroke": "currentColor", "stroke_width": "1.4"}
    corners = _FORMS[number % len(_FORMS)]
    if not corners:
        return _shape("circle", title=title, cx=x, cy=y, r="4.5", **style)
    points = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners)
    return _shape("polygon", title=title, points=points, **style)
