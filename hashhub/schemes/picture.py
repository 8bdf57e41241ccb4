"""The crosswalk of two schemes as a picture: SVG, the same bytes for the same crosswalk.

    values of one ── lines by relation ── values of the other      and below, each with each as a table of signs

A relation is told by the form of its line and by a sign, never by colour alone. Conflicts, and values that cannot be
compared, are most of the pairs; they have a sign in the table and no line.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

from hashhub.pages import render
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
    Correspondence.CORRESPONDS: "none",
    Correspondence.BROADER: "12 4",
    Correspondence.NARROWER: "5 4",
    Correspondence.OVERLAPS: "1 5",
}


def draw(left: Scheme, right: Scheme, rows: Iterable[Row]) -> str:
    """Return the picture of a crosswalk, `alignment.rows` of the two schemes."""
    by_pair = {(row.left, row.right): row for row in rows}
    counts = Counter(row.relation for row in by_pair.values())
    return render(
        "schemes/picture.svg",
        left=left,
        right=right,
        by_pair=by_pair,
        relations=[(r, SIGNS[r], MEANINGS[r], counts[r]) for r in Correspondence],
        signs=SIGNS,
        dashes=_DASHES,
        longest=max(len(value) for value in left.values),
    )
