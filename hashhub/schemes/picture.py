"""The crosswalk of two schemes as a picture: SVG, the same bytes for the same crosswalk.

    values of one ── lines by relation ── values of the other      and below, each with each as a table of signs

A relation is told by the form of its line and by a sign, never by colour alone. Conflicts, and values that cannot be
compared, are most of the pairs; they have a sign in the table and no line. Texts are of strangers, and escaped.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from html import escape
from typing import Final

from hashhub.schemes import Scheme
from hashhub.schemes.alignment import Correspondence, Row

SIGNS: Final = {
    Correspondence.CORRESPONDS: "=",
    Correspondence.BROADER: ">",
    Correspondence.NARROWER: "<",
    Correspondence.OVERLAPS: "~",
    Correspondence.CONFLICTS: "x",
    Correspondence.INCOMPARABLE: ".",
}
"""The sign of each relation."""

MEANINGS: Final = {
    Correspondence.CORRESPONDS: "both say the same",
    Correspondence.BROADER: "the left takes in more",
    Correspondence.NARROWER: "the right takes in more",
    Correspondence.OVERLAPS: "an item can be of both, or of one",
    Correspondence.CONFLICTS: "no item is of both",
    Correspondence.INCOMPARABLE: "nothing is told by both",
}
"""What each relation means, in a few words."""

_DASHES: Final = {  # of the lines: solid and thick, long, short, dotted
    Correspondence.CORRESPONDS: "",
    Correspondence.BROADER: "12 4",
    Correspondence.NARROWER: "5 4",
    Correspondence.OVERLAPS: "1 5",
}
_WIDTH: Final = 960
_BOX: Final = 300  # of a value
_ROW: Final = 44
_TOP: Final = 84
_CELL: Final = 30
_LABEL: Final = 38  # characters of a title in a box
_STYLE: Final = """
svg { background: #ffffff; color: #1a1a1a; font: 13px system-ui, sans-serif; }
text { fill: currentColor; }
rect { fill: none; stroke: currentColor; }
.h { font-weight: 600; font-size: 15px; }
.s { opacity: 0.75; font-size: 11px; }
.m { text-anchor: middle; }
path { fill: none; stroke-width: 2; stroke-linecap: round; }
.CORRESPONDS { stroke: #00664f; stroke-width: 4; }
.BROADER { stroke: #0b5cad; }
.NARROWER { stroke: #8a4b00; }
.OVERLAPS { stroke: #6b3fa0; stroke-width: 3; }
@media (prefers-color-scheme: dark) {
  svg { background: #14171a; color: #eceff1; }
  .CORRESPONDS { stroke: #5fd3b4; }
  .BROADER { stroke: #7db8f5; }
  .NARROWER { stroke: #f0b060; }
  .OVERLAPS { stroke: #c3a2ee; }
}
"""


def draw(left: Scheme, right: Scheme, rows: Iterable[Row]) -> str:
    """Return the picture of a crosswalk, `alignment.rows` of the two schemes."""
    by_pair = {(row.left, row.right): row for row in rows}
    counts = {r: sum(row.relation is r for row in by_pair.values()) for r in Correspondence}
    a, b = list(left.values), list(right.values)
    height_of_lines = _TOP + _ROW * max(len(a), len(b))
    legend = height_of_lines + 30
    table = legend + 24 * len(Correspondence) + 40
    margin = 24 + 8 * max(len(_short(v, 16)) for v in a)
    width = max(_WIDTH, margin + _CELL * len(b) + 40)
    height = table + _CELL * (len(a) + 1) + 24
    said = ", ".join(f"{counts[r]} {_word(r)}" for r in Correspondence)
    about = f"How each value of {left.name} stands to each of {right.name}: {said}."
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"',
        '  role="img" aria-labelledby="title description">',
        f'<title id="title">{_text(f"Crosswalk of {left.name} and {right.name}")}</title>',
        f'<desc id="description">{_text(about)}</desc>',
        f"<style>{_STYLE}</style>",
        *_heading(left, 24),
        *_heading(right, _WIDTH - 24 - _BOX),
    ]
    for i, v in enumerate(a):
        for j, w in enumerate(b):
            row = by_pair.get((v, w))
            if row is not None and row.relation in _DASHES:
                out.append(_line(row, left, right, _TOP + _ROW * i + 18, _TOP + _ROW * j + 18))
    for x, scheme in ((24, left), (_WIDTH - 24 - _BOX, right)):
        for i, value in enumerate(scheme.values.values()):
            y = _TOP + _ROW * i
            shown, told = _short(f"{value.value}  {value.title}", _LABEL), f"{value.value}: {value.title}"
            out.append(f'<rect x="{x}" y="{y}" width="{_BOX}" height="36" rx="4"/>')
            out.append(f'<text x="{x + 10}" y="{y + 23}"><title>{_text(told)}</title>{_text(shown)}</text>')
    for i, relation in enumerate(Correspondence):
        y = legend + 24 * i
        if relation in _DASHES:
            out.append(f'<path class="{relation}" {_dashes(relation)}d="M24 {y} H84"/>')
        out.append(
            f'<text x="96" y="{y + 4}">{_text(f"{SIGNS[relation]}  {_word(relation)}: {MEANINGS[relation]}")}</text>'
        )
    out += _table(left, right, by_pair, margin, table)
    out.append("</svg>")
    return "\n".join(out) + "\n"


def _heading(scheme: Scheme, x: int) -> list[str]:
    region = "" if scheme.region == "ZZ" else f", {scheme.region}"
    return [
        f'<text class="h" x="{x}" y="34">{_text(scheme.name)}</text>',
        f'<text class="s" x="{x}" y="54">{_text(_short(f"{scheme.title}", 48))}</text>',
        f'<text class="s" x="{x}" y="70">{_text(f"{scheme.status.lower()}{region}")}</text>',
    ]


def _line(row: Row, left: Scheme, right: Scheme, y: int, z: int) -> str:
    x, end = 24 + _BOX, _WIDTH - 24 - _BOX
    bend = (end - x) // 2
    told = f"{left.name} {row.left} {SIGNS[row.relation]} {right.name} {row.right}, {_word(row.relation)}: {row.why}"
    course = f"M{x} {y} C{x + bend} {y} {end - bend} {z} {end} {z}"
    return f'<path class="{row.relation}" {_dashes(row.relation)}d="{course}"><title>{_text(told)}</title></path>'


def _table(left: Scheme, right: Scheme, by_pair: dict[tuple[str, str], Row], margin: int, top: int) -> list[str]:
    out = []
    for j, w in enumerate(right.values):
        out.append(
            f'<text class="m" x="{margin + _CELL * j + _CELL // 2}" y="{top}">'
            f"<title>{_text(w)}</title>{_text(_short(w, 4))}</text>"
        )
    for i, v in enumerate(left.values):
        y = top + _CELL * i + 10
        out.append(f'<text x="24" y="{y + 20}">{_text(_short(v, 16))}</text>')
        for j, w in enumerate(right.values):
            row = by_pair.get((v, w))
            if row is None:
                continue
            x = margin + _CELL * j
            out.append(
                f'<rect x="{x}" y="{y}" width="{_CELL}" height="{_CELL}"/>'
                f'<text class="m" x="{x + _CELL // 2}" y="{y + 20}"><title>{_text(f"{v}, {w}: {row.why}")}</title>'
                f"{_text(SIGNS[row.relation])}</text>"
            )
    return out


def _dashes(relation: Correspondence) -> str:
    return f'stroke-dasharray="{_DASHES[relation]}" ' if _DASHES[relation] else ""


def _word(relation: Correspondence) -> str:
    return relation.lower()


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _text(text: str) -> str:
    """Return the text as it stands in XML, which has no control characters at all, and without any that would turn the
    direction of writing.
    """
    return escape(
        "".join(c if unicodedata.category(c) not in _UNPRINTABLE else "\N{REPLACEMENT CHARACTER}" for c in text)
    )


_UNPRINTABLE: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
