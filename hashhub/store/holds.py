"""What lists must not bring back: entries withdrawn by hand or by their source, and what an operator put into quarantine.

Read from the entries as they are, by the reason of their state.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from hashhub.hashes import Hash
from hashhub.model import EntryState, HashSet, Import, Unclassified
from hashhub.store.database import Database
from hashhub.store.imports import Imports


class Hold(NamedTuple):
    """What keeps an item's entry from being active although a list states it.

    `hash_set`: the one that it holds in; empty: in all of the contributor's. `source_time`: of a source's own deletion message.
    `traces`: of an erased entry, whose external id and hashes are gone.
    """

    entry_id: int
    hash_set: str
    effect: str
    origin: str
    revision: int
    source_time: str = ""
    external_id: str = ""
    hashes: tuple[Hash, ...] = ()
    traces: frozenset[bytes] = frozenset()


_WITHDRAWN: Final = {
    "WITHDRAWN_BY_CONTRIBUTOR": "CONTRIBUTOR",
    "WITHDRAWN_BY_OPERATOR": "OPERATOR",
    "WITHDRAWN_BY_SOURCE": "SOURCE",
}


class Holds(Imports):
    """The part of the Store that knows holds. A stand-in: what it remembers beside the database ends with the process."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._stated: dict[str, bool | None] = {}
        self._unclassified: dict[str, Unclassified] = {}

    def holds(self, contributor: str, hash_set: str) -> Sequence[Hold]:
        """Return the holds on items of a hash set: its own, and those in all sets of the contributor."""
        found: list[Hold] = []
        for other in self.list_hash_sets(contributor, 1000):
            for entry in self.list_entries(contributor, other.id, page_size=1_000_000):
                effect, origin = "", ""
                if entry.state is EntryState.WITHDRAWN and entry.reasons[0] in _WITHDRAWN:
                    effect, origin = "WITHDRAWN", _WITHDRAWN[entry.reasons[0]]
                elif entry.state is EntryState.QUARANTINED and "QUARANTINED_BY_OPERATOR" in entry.reasons:
                    effect, origin = "QUARANTINED", "OPERATOR"
                if effect and (other.id == hash_set or origin == "OPERATOR"):
                    where = "" if origin == "OPERATOR" else other.id
                    found.append(
                        Hold(
                            entry.id, where, effect, origin, entry.update_revision, "", entry.external_id, entry.hashes
                        )
                    )
        return found

    def trace_of(self, kind: str, value: bytes) -> bytes:
        """Return the keyed trace of an external id or a digest."""
        return hmac.digest(b"stand-in", kind.encode() + b"\0" + value, hashlib.sha256)[:16]

    def create_import(self, new: Import, *, request_id: str = "") -> Import:
        """Open an import, as Imports does, and remember what it says of its format."""
        created = super().create_import(new, request_id=request_id)
        self._stated.setdefault(created.id, new.has_classifications)
        return self.get_import(created.id)

    def get_import(self, import_id: str) -> Import:
        """Return the import. Raises NotFound."""
        stated = self._stated.get(import_id)
        return msgspec.structs.replace(super().get_import(import_id), has_classifications=stated)

    def create_hash_set(self, hash_set: HashSet, *, request_id: str = "") -> HashSet:
        """Create a hash set, as Resources does, and remember what it does with unclassified items."""
        created = super().create_hash_set(hash_set, request_id=request_id)
        self._unclassified[created.name] = hash_set.unclassified
        return created

    def get_hash_set(self, contributor: str, hash_set: str) -> HashSet:
        """Return the hash set. Raises NotFound."""
        found = super().get_hash_set(contributor, hash_set)
        return msgspec.structs.replace(found, unclassified=self._unclassified.get(found.name, Unclassified.QUARANTINED))
