"""Deleting a hash set of a million entries: how long the call takes, how long its rows, and what matching notices.

    python -m bench.deletion [ENTRIES] [DATABASE]

Prints one JSON object. `longest_match_ms` is the longest of the single matches that were made meanwhile.
"""

# ruff: noqa: SLF001 - a measurement looks inside

from __future__ import annotations

import json
import sys
import tempfile
import threading
import time
from pathlib import Path
from random import Random

import numpy as np

from hashhub.config import Config
from hashhub.hashes import Hash
from hashhub.hub import Hub
from hashhub.model import (
    Contributor,
    ContributorKind,
    Counts,
    EntryState,
    HashSet,
    Import,
    MatchOptions,
    Principal,
    Query,
    Record,
    Role,
)
from hashhub.testing.rows import EntryRow, pack_entries

OPERATOR = Principal(name="operator", role=Role.OPERATOR, contributor="operator")
PIECE = 20_000


def fill(hub: Hub, hash_set: str, count: int, seed: int) -> bytes:
    """Commit so many entries with an MD5 and a PDQ digest each; return one of the MD5 digests."""
    store = hub._store
    store.resources.create_hash_set(HashSet(contributor="alpha", id=hash_set))
    opened = store.imports.create_import(
        Import(
            id="",
            contributor="alpha",
            hash_set=hash_set,
            connector="bench",
            connector_version="1",
            source_digest=f"{seed:064x}",
        )
    )
    store.commits.begin_commit(opened.id)
    random = Random(seed)
    digest = b""
    for start in range(0, count, PIECE):
        size = min(PIECE, count - start)
        first = store.stage.allocate_entries(opened.id, size)
        rows = []
        for i in range(size):
            digest = random.randbytes(16)
            hashes = (Hash("MD5", digest), Hash("PDQ", random.randbytes(32)))
            rows.append(EntryRow(first + i, EntryState.ACTIVE, Record(position=f"line {start + i}", hashes=hashes)))
        store.stage.stage_entries(opened.id, pack_entries(rows))
    store.commits.finish_commit(opened.id, counts=Counts(items=count, accepted=count))
    hub._follower.catch_up()
    return digest


def main(count: int, database: str) -> None:
    """Fill a hub, delete, and print what was measured."""
    with tempfile.TemporaryDirectory() as directory:
        config = Config(data=str(Path(directory) / "data"), database=database)
        with Hub.open(config) as hub:
            hub._follower.start()
            hub._store.resources.create_contributor(
                Contributor(id="alpha", display_name="A", kind=ContributorKind.HOTLINE, jurisdiction="GB")
            )
            gone = fill(hub, "large", count, 1)
            stays = fill(hub, "small", 1_000, 2)
            waits: list[float] = []
            end = threading.Event()

            def match() -> None:
                queries = [Query(hashes=(Hash("MD5", stays),)), Query(hashes=(Hash("MD5", gone),))]
                while not end.wait(0.01):
                    begun = time.perf_counter()
                    hub.match.hashes(OPERATOR, queries, MatchOptions(policy="any"))
                    waits.append(time.perf_counter() - begun)

            matching = threading.Thread(target=match)
            matching.start()
            begun = time.perf_counter()
            hub.retention.delete(OPERATOR, "alpha", "large")
            called = time.perf_counter() - begun
            hub.keeper.delete_rows()
            cleared = time.perf_counter() - begun
            end.set()
            matching.join()
            hub._store.history.verify_history(hub._store.database_id)
            print(
                json.dumps(
                    {
                        "entries": count,
                        "database": hub._store.kind,
                        "call_seconds": round(called, 2),
                        "cleared_seconds": round(cleared, 2),
                        "microseconds_an_entry": round(cleared / count * 1e6, 1),
                        "matches": len(waits),
                        "median_match_ms": round(float(np.median(waits)) * 1e3, 2),
                        "longest_match_ms": round(max(waits) * 1e3, 1),
                    }
                )
            )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000, sys.argv[2] if len(sys.argv) > 2 else "")
