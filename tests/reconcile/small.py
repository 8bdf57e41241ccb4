"""Small extracts of entries that a test names, written by the real writer from a stand-in for the store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from hashhub.hashes import Hash
from hashhub.model import Classification, Contributor, ContributorKind, HashSet, Purpose, SchemeStatus
from hashhub.reconcile import extract as extracts
from hashhub.reconcile.extract import Extract
from hashhub.store import Position
from hashhub.store.extract import StandingEntries

TIME = datetime(2026, 1, 1, tzinfo=UTC)


class Small(NamedTuple):
    """An entry. `hash_set`: CONTRIBUTOR/SET; `dimensions`: None where it is not classified."""

    hash_set: str
    hashes: tuple[Hash, ...]
    is_active: bool = True
    dimensions: Mapping[str, tuple[str, ...]] | None = None
    is_unclassified: bool = False


class SmallStore:
    """Gives `extract.write` what a store with these entries, numbered from 1, would give it."""

    database_id = "small"

    def __init__(
        self,
        entries: Sequence[Small],
        jurisdictions: Mapping[str, str],
        purposes: Mapping[str, Purpose] | None = None,
        hash_sets: Sequence[str] = (),
    ) -> None:
        self.listed = list(entries)
        names = sorted({*hash_sets, *(e.hash_set for e in entries)})
        contributors = {
            c: Contributor(id=c, display_name=c, kind=ContributorKind.HOTLINE, jurisdiction=jurisdictions[c])
            for c in {name.split("/")[0] for name in names}
        }
        sets = {
            name: HashSet(
                contributor=name.split("/")[0],
                id=name.split("/")[1],
                purpose=(purposes or {}).get(name, Purpose.CSAM),
            )
            for name in names
        }
        self.resources = SimpleNamespace(registry=lambda: SimpleNamespace(contributors=contributors, hash_sets=sets))
        self.history = SimpleNamespace(position=lambda: Position(7, bytes(32)), has_been_at=lambda _: True)
        self.extract = self.entries = self

    def blocks(self, contributor: str, hash_set: str, bits: int) -> list[int]:
        name = f"{contributor}/{hash_set}"
        return sorted({n >> bits for n, e in enumerate(self.listed, 1) if e.hash_set == name})

    def commit_of(self, _key: int) -> tuple[int, datetime]:
        return 1, TIME

    def classification(self, key: int) -> Classification:
        dimensions = self.listed[key - 1].dimensions
        assert dimensions is not None
        return Classification(
            scheme="s", version="1", region="ZZ", value="x", status=SchemeStatus.DRAFT, dimensions=dict(dimensions)
        )

    def standing_entries(
        self, contributor: str, hash_set: str, first: int, last: int, *, revision: int
    ) -> Iterator[StandingEntries]:
        name = f"{contributor}/{hash_set}"
        chosen = [(n, e) for n, e in enumerate(self.listed, 1) if e.hash_set == name and first <= n <= last]
        yield StandingEntries(
            ids=np.array([n for n, _ in chosen], np.int64),
            is_active=np.array([e.is_active for _, e in chosen], np.bool_),
            is_unclassified=np.array([e.is_unclassified for _, e in chosen], np.bool_),
            revisions=np.full(len(chosen), revision, np.int64),
            imports=np.ones(len(chosen), np.int64),
            classifications=np.array([0 if e.dimensions is None else n for n, e in chosen], np.int64),
            hashes=[
                (h.algorithm, np.array([at]), np.frombuffer(h.digest, np.uint8).reshape(1, -1))
                for at, (_, e) in enumerate(chosen)
                for h in e.hashes
            ],
        )


def small_extract(
    directory: Path,
    entries: Sequence[Small],
    jurisdictions: Mapping[str, str],
    purposes: Mapping[str, Purpose] | None = None,
    hash_sets: Sequence[str] = (),
) -> Extract:
    """Write an extract of the entries and open it."""
    store: Any = SmallStore(entries, jurisdictions, purposes, hash_sets)
    extracts.write(store, directory)
    return Extract.open(directory)
