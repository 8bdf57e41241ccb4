"""The hub's lists as one caller sees them: what answers are made from (`hashhub.answering`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from hashhub.answering.lists import VisibleSets
from hashhub.hub import access
from hashhub.hub.entries import disclosed

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from hashhub.hashes import Hash
    from hashhub.model import Entry, Principal
    from hashhub.store import Store
    from hashhub.store.entries import EntryTable


class VisibleLists:
    """The store, as terms let the principal see it in an answer."""

    def __init__(self, store: Store, principal: Principal) -> None:
        self._store, self._principal = store, principal

    @property
    def entries(self) -> EntryTable:
        """Reads them."""
        return self._store.entries

    def seen(self) -> VisibleSets:
        """Return what is seen now, by one look at the registry."""
        registry = self._store.resources.registry()
        sight = access.sight(self._principal, registry, access.DisclosureChannel.ANSWER)
        return VisibleSets(registry.contributors, registry.hash_sets, sight.visible, sight.disclosed)

    def has_any(self) -> bool:
        """Return whether terms let the principal know of a hash set, as of this process's last look at the database.

        Of entries nothing is asked: that one is there must not show in who may not see it.
        """
        sight = access.sight(self._principal, self._store.resources.held, access.DisclosureChannel.ANSWER)
        return bool(sight.visible or sight.disclosed)

    def hash_set_keys(self, names: Collection[str]) -> Mapping[int, str]:
        """Return the names of hash sets, these among them, by their keys."""
        return self._store.feeds.hash_set_keys(names)

    def disclosed(self, entry: Entry, asked: frozenset[Hash]) -> Entry:
        """Return the entry as the principal may read it; if not listed, with the digests asked about only."""
        entry = disclosed(self._principal, entry)
        listed = access.sight(self._principal, self._store.resources.held, access.DisclosureChannel.LIST).visible
        if f"{entry.contributor}/{entry.hash_set}" in listed:
            return entry
        return msgspec.structs.replace(entry, hashes=tuple(h for h in entry.hashes if h in asked))


def caller(principal: Principal) -> str:
    """Return whose traffic the principal's queries are, where the circuit breaker counts."""
    return principal.contributor or principal.name
