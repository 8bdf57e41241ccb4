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
from hashhub.schemes.alignment import Correspondence, CrosswalkRow

_LOOKS: Final = {  # the sign of each relation, the dashes of its line if it has one, and what it means
    Correspondence.CORRESPONDS: ("=", "none", "both say the same"),
    Correspondence.BROADER: (">", "12 4", "the left takes in more"),
    Correspondence.NARROWER: ("<", "5 4", "the right takes in more"),
    Correspondence.OVERLAPS: ("~", "1 5", "an item can be of both, or of one"),
    Correspondence.CONFLICTS: ("x", "", "no item is of both"),
    Correspondence.INCOMPARABLE: (".", "", "nothing is told by both"),
}
SIGNS: Final = {relation: sign for relation, (sign, _, _) in _LOOKS.items()}


def draw(left: Scheme, right: Scheme, rows: Iterable[CrosswalkRow]) -> str:
    """Return the picture of a crosswalk, `alignment.rows` of the two schemes."""
    by_pair = {(row.left, row.right): row for row in rows}
    counts = Counter(row.relation for row in by_pair.values())
    longest = max(len(value) for value in left.values)
    values = {"left": left, "right": right, "by_pair": by_pair, "counts": counts, "looks": _LOOKS, "longest": longest}
    return render("schemes/picture.svg", **values)
