"""Harmless verdicts against others' entries: what an import says against harm, counted so that nobody doubts in bulk unseen.

A classification that leaves no harm possible disputes others' claims of harm about the same item, if its contributor's word counts. One
contributor may so doubt a bounded number of others' entries in a day; those beyond wait for the operator (`hash-set accept`). Whether an
entry meets another's claim is looked up when it is committed, by its digests and near them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hashhub.hashes import ALGORITHMS
from hashhub.hub.lookup import look_up
from hashhub.model import MatchOptions, Principal, Purpose, Query, Role
from hashhub.trust.policy import COUNTABLE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hashhub.hashes import Hash
    from hashhub.matcher import Matcher
    from hashhub.model import HashSet
    from hashhub.store import EntryHit, Store

_BATCH: Final = 1_000  # entries looked up at a time
_EVERYTHING: Final = Principal(name="system", role=Role.OPERATOR)  # counts what the hub holds, whoever may see it
_OPTIONS: Final = MatchOptions(policy="")


def is_harmless(hash_set: HashSet, dimensions: Mapping[str, Sequence[str]]) -> bool:
    """Whether a classification leaves no harm possible, in a hash set whose purpose does not say that already."""
    verdicts = dimensions.get("verdict", ())
    return hash_set.purpose not in {Purpose.BENIGN, Purpose.TEST} and bool(verdicts) and COUNTABLE.isdisjoint(verdicts)


def against_others(
    store: Store, matcher: Matcher, contributor: str, harmless: Sequence[tuple[int, tuple[Hash, ...]]]
) -> Iterator[int]:
    """Yield the ids of those entries, given with their hashes, about whose items another contributor's active entry leaves harm possible.

    Same digests, and perceptual ones within their default distance; PHOTODNA has none and is compared by sameness of the others only.
    """
    for start in range(0, len(harmless), _BATCH):
        batch = harmless[start : start + _BATCH]
        queries = [
            Query(hashes=tuple(h for h in hashes if ALGORITHMS[h.algorithm].default_max_distance is not None))
            for _, hashes in batch
        ]
        hits, _ = look_up(store, matcher, _EVERYTHING, queries, _OPTIONS)
        for i, of_query in sorted(hits.items()):
            others = (hit for hit in of_query.nearest() if hit.hash_set.contributor != contributor)
            if any(_may_be_harmful(store, hit.hash_set, hit.entry_hit) for hit in others):
                yield batch[i][0]


def _may_be_harmful(store: Store, hash_set: HashSet, hit: EntryHit) -> bool:
    if hash_set.purpose in {Purpose.BENIGN, Purpose.TEST}:
        return False
    classification = store.read_entry(hit).classification
    return classification is None or not is_harmless(hash_set, classification.dimensions)
