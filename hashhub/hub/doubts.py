"""Harmless verdicts against what others list: how many a contributor made within a day decides whether the next ones
weigh.

Only entries that the contributor may see count: otherwise the remark on its own entries would tell it which items stand
in lists that it may not see.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from hashhub.hashes import ALGORITHMS, Hash
from hashhub.hub import access
from hashhub.model import Principal, Purpose, Role
from hashhub.trust.policy import excludes_harm

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from collections.abc import Set as AbstractSet

    from hashhub.matcher import Matcher
    from hashhub.store import Store

_PIECE: Final = 1_000  # digests searched for together
_MEMBERS: Final = frozenset({Role.CONTRIBUTOR, Role.CONSUMER})


class Doubts:
    """Tells which new entries speak against others' entries."""

    def __init__(self, store: Store, matcher: Matcher) -> None:
        """The matcher finds what is near; the store says whose it is."""
        self._store = store
        self._matcher = matcher

    def against_others(
        self, principal: Principal, contributor: str, harmless: Sequence[tuple[int, tuple[Hash, ...]]]
    ) -> Sequence[int]:
        """Return, ascending, those of the entries (id, hashes), which claim no harm, about whose item another
        contributor's entry may claim it.

        About the item is what has one of the exact digests, or a perceptual one within the algorithm's default
        distance.
        """
        visible = self._visible_to(principal, contributor)
        by_algorithm: dict[str, dict[bytes, set[int]]] = {}
        for entry_id, hashes in harmless:
            for h in hashes:
                by_algorithm.setdefault(h.algorithm, {}).setdefault(h.digest, set()).add(entry_id)
        against: set[int] = set()
        for name, ids_by_digest in by_algorithm.items():
            distance = ALGORITHMS[name].default_max_distance
            if distance is None:  # PHOTODNA: only the very digest is known to mean the same item
                distance = 0
            digests = sorted(d for d, ids in ids_by_digest.items() if not ids <= against)
            for low in range(0, len(digests), _PIECE):
                piece = digests[low : low + _PIECE]
                rows = np.frombuffer(b"".join(piece), np.uint8).reshape(len(piece), -1)
                matches = self._matcher.search(name, rows, max_distance=distance)
                near = [digest.tobytes() for digest in matches.digests]
                claimed = self._claimed_by_others(contributor, visible, name, near)
                for query, digest in enumerate(piece):
                    around = near[matches.lims[query] : matches.lims[query + 1]]
                    if not claimed.isdisjoint(around):
                        against |= ids_by_digest[digest]
        return sorted(against)

    def _visible_to(self, principal: Principal, contributor: str) -> frozenset[str]:
        """Return the hash sets that the contributor sees, by whichever of its tokens.

        Otherwise it would look by a token that states a purpose, and contradict by one that states none. An operator
        who commits for it, or a token of its own that oversees the hub, sees more than is meant here.
        """
        own = [t for t in (principal, *self._store.tokens.list_tokens()) if t.contributor == contributor]
        own = [t if t.role in _MEMBERS else msgspec.structs.replace(t, role=Role.CONTRIBUTOR) for t in own]
        own = own or [Principal(name="", role=Role.CONTRIBUTOR, contributor=contributor)]
        registry = self._store.resources.registry()
        return frozenset().union(*(access.sight(t, registry, access.WayOut.ANSWER).visible for t in own))

    def _claimed_by_others(
        self, contributor: str, visible: AbstractSet[str], algorithm: str, digests: Iterable[bytes]
    ) -> set[bytes]:
        """Return the digests that an active entry of another contributor's visible hash sets has which may claim
        harm.
        """
        sets = self._store.resources.hash_sets()
        claimed: set[bytes] = set()
        for hit in self._store.entries.hits_by_digests(algorithm, set(digests)):
            hash_set = sets[hit.hash_set]
            if hit.hash_set not in visible:
                continue
            if hash_set.contributor == contributor or hash_set.purpose in {Purpose.BENIGN, Purpose.TEST}:
                continue
            if hit.digest in claimed:
                continue
            classification = self._store.entries.read_entry(hit).classification
            if classification is None or not excludes_harm(classification.dimensions):
                claimed.add(hit.digest)
        return claimed
