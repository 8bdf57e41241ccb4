"""Short ways to fill a store."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from hashhub.hashes import Hash
from hashhub.model import Contributor, ContributorKind, Counts, Entry, EntryState, HashSet, Import, Record
from hashhub.store import Store
from hashhub.store.schema import ALGORITHM_CODES
from tests.rows import EntryRow, pack_entries


def entries_by_digests(store: Store, algorithm: str, digests: Iterable[bytes]) -> dict[bytes, list[Entry]]:
    """Return the visible ACTIVE entries that have one of the digests, by digest, in the order of their ids."""
    sql = "SELECT digest, entry FROM hash WHERE algorithm = ? AND digest {keys} ORDER BY digest, entry"
    rows = list(store.database.by_keys(sql, "bytea", (ALGORITHM_CODES[algorithm],), sorted(set(digests))))
    known = store.entries.get_entries([entry_id for _, entry_id in rows])
    found: dict[bytes, list[Entry]] = {}
    for digest, entry_id in rows:
        if entry_id in known and known[entry_id].state is EntryState.ACTIVE:
            found.setdefault(digest, []).append(known[entry_id])
    return found


class Filler:
    """Contributes synthetic entries: an entry is given by the numbers of its hashes, equal numbers being equal
    digests.
    """

    def __init__(self) -> None:
        self._sources = itertools.count()

    def register(self, store: Store, contributor: str = "alpha", hash_set: str = "list") -> None:
        if contributor not in store.resources.contributors():
            store.resources.create_contributor(
                Contributor(id=contributor, display_name="A", kind=ContributorKind.HOTLINE, jurisdiction="GB")
            )
        store.resources.create_hash_set(HashSet(contributor=contributor, id=hash_set))

    def digest(self, number: int, width: int = 32) -> bytes:
        return random.Random(number).randbytes(width)

    def hashes(self, number: int) -> tuple[Hash, ...]:
        return Hash("MD5", self.digest(number, 16)), Hash("PDQ", self.digest(number))

    def new(self, contributor: str = "alpha", hash_set: str = "list", **fields: Any) -> Import:
        """Return an import that `create_import` has not seen."""
        source = fields.pop("source_digest", f"source-{next(self._sources)}")
        return Import(
            id="",
            contributor=contributor,
            hash_set=hash_set,
            connector="test",
            connector_version="1",
            source_digest=source,
            **fields,
        )

    def begin(self, store: Store, contributor: str = "alpha", hash_set: str = "list") -> str:
        """Open an import, begin its commit and return its id."""
        opened = store.imports.create_import(self.new(contributor, hash_set))
        store.commits.begin_commit(opened.id)
        return opened.id

    def stage(self, store: Store, import_id: str, numbers: Sequence[int], **fields: Any) -> list[int]:
        """Stage one entry for each number and return their ids."""
        first = store.stage.allocate_entries(import_id, len(numbers))
        state = fields.pop("state", EntryState.ACTIVE)
        classification, reasons = fields.pop("classification", None), fields.pop("reasons", ())
        store.stage.stage_entries(
            import_id,
            pack_entries(
                EntryRow(
                    first + i,
                    state,
                    Record(position=f"line {i}", hashes=self.hashes(number), **fields),
                    classification,
                    reasons,
                )
                for i, number in enumerate(numbers)
            ),
        )
        return list(range(first, first + len(numbers)))

    def contribute(
        self, store: Store, numbers: Iterable[int], contributor: str = "alpha", hash_set: str = "list", **fields: Any
    ) -> list[int]:
        """Commit an import of one entry for each number and return the ids."""
        import_id = self.begin(store, contributor, hash_set)
        numbers = list(numbers)
        ids = self.stage(store, import_id, numbers, **fields) if numbers else []
        store.commits.finish_commit(import_id, counts=Counts(items=len(ids), accepted=len(ids)))
        return ids

    def found(self, store: Store, number: int) -> list[int]:
        """Return the ids of the ACTIVE entries that have this number's PDQ digest."""
        digest = self.digest(number)
        return [entry.id for entry in entries_by_digests(store, "PDQ", [digest]).get(digest, [])]


@pytest.fixture
def fill() -> Filler:
    return Filler()


@pytest.fixture
def filled(store: Store, fill: Filler) -> Store:
    """A store with the contributor `alpha` and its hash set `list`."""
    fill.register(store)
    return store
