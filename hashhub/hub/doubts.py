"""Of how many items somebody doubts that they are harmful, who says of one that it is not."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

from hashhub.answering.lookup import look_up
from hashhub.frames import reach
from hashhub.hashes import SEARCHED, Hash
from hashhub.model import MatchOptions, Query, Reliability

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hashhub.answering.lists import Lists
    from hashhub.matcher import Matcher

_MOST: Final = 256  # is counted no further: more than weigh by themselves in a day


def items_doubted(
    lists: Lists, matcher: Matcher, contributor: str, statements: Sequence[tuple[Sequence[Hash], bytes]]
) -> list[int]:
    """Return of how many items each statement (hashes and packed frames) of a contributor may be.

    As many as its digests of one algorithm can be of (`frames.reach`), or as entries that reliable others list have
    some of its hashes and none of each other's. `lists`: as the contributor sees them, so that the number tells nothing
    of others.
    """
    asked = [
        (at, h)
        for at, (hashes, _) in enumerate(statements)
        for h in hashes
        if h.algorithm in SEARCHED and SEARCHED[h.algorithm].default_max_distance is not None
    ]
    queries = [Query(hashes=(h,)) for _, h in asked]
    by_query, people = look_up(lists, matcher, queries, MatchOptions(policy=""), caller=None)
    shared: defaultdict[int, defaultdict[int, set[Hash]]] = defaultdict(lambda: defaultdict(set))
    for number, hits in by_query.items():
        at, h = asked[number]
        for hit in hits.nearest():
            who = people[hit.hash_set.contributor]
            if who.id != contributor and who.reliability <= Reliability.C:
                shared[at][hit.entry_id].add(h)
    counts = [reach(hashes, packed, _MOST) for hashes, packed in statements]
    for at, hashes_by_entry in shared.items():
        apart, taken = 0, set[Hash]()
        for own in sorted(hashes_by_entry.values(), key=len):  # an entry that binds all of them joins none
            if taken.isdisjoint(own):
                apart += 1
                taken |= own
        counts[at] = max(counts[at], apart)
    return counts
