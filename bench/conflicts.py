"""How long the search for conflicts takes behind a large commit, and how much memory.

    python -m bench.conflicts --entries 1000000 --held 3                       SQLite, in a temporary directory
    python -m bench.conflicts --entries 1000000 --held 3 --database URL        an empty PostgreSQL database

So many hash sets of different contributors hold so many entries each, and each set shares half of its items with the
one before. Another contributor then commits as many, all of items that the first set holds, and contradicts it in one
of a hundred. `held` is the pass over all that was there, as after an upgrade, and `commit` the one behind the commit.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from bench import result
from hashhub.hashes import Hash
from hashhub.hub.conflicts import Finder
from hashhub.model import (
    Classification,
    ConflictState,
    Contributor,
    ContributorKind,
    Counts,
    EntryState,
    HashSet,
    Import,
    Record,
    Reliability,
    SchemeStatus,
)
from hashhub.store import ConflictQuery, Store
from hashhub.testing.rows import EntryRow, pack_entries

PIECE: Final = 10_000
EVERY: Final = 100  # one item of so many is contradicted


def hashes(number: int) -> tuple[Hash, ...]:
    """Return the synthetic digests of an item."""
    name = f"{result.SEED} {number}".encode()
    return (
        Hash("MD5", hashlib.md5(name, usedforsecurity=False).digest()),
        Hash("SHA1", hashlib.sha1(name, usedforsecurity=False).digest()),
    )


def classification(value: str, **dimensions: tuple[str, ...]) -> Classification:
    return Classification(
        scheme="bench", version="1", region="ZZ", value=value, status=SchemeStatus.VERIFIED, dimensions=dimensions
    )


def contribute(store: Store, name: str, numbers: range, *, contradicts: bool) -> None:
    """Commit a list of these items."""
    store.resources.create_contributor(
        Contributor(
            id=name,
            display_name=name,
            kind=ContributorKind.HOTLINE,
            jurisdiction="ZZ",
            reliability=Reliability.B,
        )
    )
    store.resources.create_hash_set(HashSet(contributor=name, id="list"))
    opened = store.imports.create_import(
        Import(id="", contributor=name, hash_set="list", connector="bench", connector_version="1", source_digest=name)
    )
    store.commits.begin_commit(opened.id)
    [stated, other] = store.stage.classification_ids(
        [
            classification("A", verdict=("csam",), age_band=("0-2", "3-6")),
            classification("B", verdict=("csam",), age_band=("14-15", "16-17")),
        ]
    )
    for start in range(numbers.start, numbers.stop, PIECE):
        part = range(start, min(start + PIECE, numbers.stop))
        first = store.stage.allocate_entries(opened.id, len(part))
        rows = (
            EntryRow(
                first + i,
                EntryState.ACTIVE,
                Record(position=f"value[{number}]", hashes=hashes(number), external_id=f"media-{number:08}"),
                other if contradicts and number % EVERY == 0 else stated,
            )
            for i, number in enumerate(part)
        )
        store.stage.stage_entries(opened.id, pack_entries(rows))
    store.commits.finish_commit(opened.id, counts=Counts(items=len(numbers), accepted=len(numbers)))


def measured(store: Store, what: str) -> dict[str, Any]:
    """Return what one pass took."""
    finder = Finder(store)
    result.reset_peak()
    before, cpu = result.resident_mib(), result.cpu_seconds()
    entries = 0

    def work() -> None:
        nonlocal entries
        entries = finder.catch_up()

    seconds = result.timed(work)
    query = ConflictQuery(states=tuple(ConflictState))
    return {
        "pass": what,
        "entries": entries,
        "seconds": seconds,
        "cpu_seconds": result.cpu_seconds() - cpu,
        "entries_per_second": entries / seconds,
        "more_memory_mib": result.peak_mib() - before,
        "conflicts": sum(count.number for count in store.conflicts.counts(query, {}, None)),
    }


def rows(store: Store, entries: int, held: int) -> Iterator[dict[str, Any]]:
    for number in range(held):
        first = number * entries // 2
        contribute(store, f"held{number}", range(first, first + entries), contradicts=False)
    yield measured(store, "held")
    contribute(store, "new", range(entries), contradicts=True)
    yield measured(store, "commit")
    query = ConflictQuery()
    seconds = result.timed(lambda: store.conflicts.list_conflicts(query, {}, None, page_size=100))
    yield {"pass": "list 100", "seconds": seconds}
    yield {"pass": "summary", "seconds": result.timed(lambda: store.conflicts.counts(query, {}, None))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--held", type=int, default=3)
    parser.add_argument("--database", default="")
    parser.add_argument("--out", type=Path, help="Where the figures go; by default bench/results.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hashhub-bench-") as directory:
        store = Store.open(options.database or directory)
        try:
            figures = list(rows(store, options.entries, options.held))
        finally:
            store.close()
        kind = "postgresql" if options.database else "sqlite"
    result.show(figures)
    parameters = {"entries": options.entries, "held": options.held}
    result.save(f"conflicts-{kind}", parameters, figures, out=options.out, packages=("numpy",))


if __name__ == "__main__":
    main()
