"""How fast the store writes and finds entries, beside the bare driver with the same rows in the same order.

    python -m bench.store_rows --entries 1000000                       SQLite, in a temporary directory
    python -m bench.store_rows --entries 1000000 --database URL        an empty PostgreSQL database

The bare figures write the rows of the tables `entry` and `hash` that the store wrote, already packed and sorted,
through sqlite3's executemany or psycopg's COPY, with the same indexes, settings and durability, in transactions of
50,000 rows: what is left is the price of packing, sorting, leases and accounting.
"""

from __future__ import annotations

import argparse
import random
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import psycopg

from bench import result
from hashhub.hashes import Hash
from hashhub.model import (
    Classification,
    Contributor,
    ContributorKind,
    Counts,
    EntryState,
    HashSet,
    Import,
    Record,
    SchemeStatus,
)
from hashhub.store import Store
from hashhub.store.drivers import WRITER_PRAGMAS
from hashhub.testing.rows import EntryRow, pack_entries

PIECE: Final = 10_000


def entries(first: int, n: int, classification: int) -> Iterator[list[EntryRow]]:
    rng = random.Random(result.SEED)
    for start in range(first, first + n, PIECE):
        yield [
            EntryRow(
                i,
                EntryState.ACTIVE,
                Record(
                    position=f"value[{i}]",
                    hashes=(
                        Hash("MD5", rng.randbytes(16)),
                        Hash("SHA1", rng.randbytes(20)),
                        Hash("PDQ", rng.randbytes(32)),
                    ),
                    external_id=f"media-{i:08}",
                ),
                classification,
            )
            for i in range(start, min(start + PIECE, first + n))
        ]


def seconds(work: Callable[[], object], *, repeat: int = 1) -> float:
    start = time.perf_counter()
    for _ in range(repeat):
        work()
    return (time.perf_counter() - start) / repeat


def through_store(store: Store, n: int) -> dict[str, float]:
    store.resources.create_contributor(
        Contributor(id="bench", display_name="Bench", kind=ContributorKind.HOTLINE, jurisdiction="ZZ")
    )
    store.resources.create_hash_set(HashSet(contributor="bench", id="list"))
    opened = store.imports.create_import(
        Import(id="", contributor="bench", hash_set="list", connector="bench", connector_version="1", source_digest="0")
    )
    [classification] = store.stage.classification_ids(
        [
            Classification(
                scheme="example",
                version="1",
                region="",
                value="1",
                status=SchemeStatus.DRAFT,
                dimensions={"act": ("a",)},
            )
        ]
    )
    store.commits.begin_commit(opened.id)
    result.reset_peak()
    before = result.resident_mib()
    first = store.stage.allocate_entries(opened.id, n)
    staging = longest = 0.0
    last: list[EntryRow] = []
    for last in entries(first, n, classification):
        took = seconds(lambda: store.stage.stage_entries(opened.id, pack_entries(last)))  # noqa: B023 - at once
        staging, longest = staging + took, max(longest, took)
    finish = seconds(lambda: store.commits.finish_commit(opened.id, counts=Counts(items=n, accepted=n)))
    peak = result.peak_mib()
    digests = [entry.record.hashes[2].digest for entry in last[:1000]]
    ids = iter(range(first, first + 100))
    return {
        "entries_per_second": n / (staging + finish),
        "staging_seconds": staging,
        "longest_piece_seconds": longest,
        "finish_seconds": finish,
        "find_1_microseconds": seconds(lambda: store.entries.entries_by_digests("PDQ", digests[:1]), repeat=1000) * 1e6,
        "find_1000_microseconds_each": seconds(lambda: store.entries.entries_by_digests("PDQ", digests), repeat=10)
        * 1e3,
        "miss_1_microseconds": seconds(lambda: store.entries.entries_by_digests("PDQ", [bytes(32)]), repeat=1000) * 1e6,
        "revision_microseconds": seconds(store.revision, repeat=1000) * 1e6,
        "all_digests_per_second": 3 * n / seconds(lambda: sum(len(rows) for _, rows, _ in store.feeds.all_digests())),
        "digests_of_range_per_second": 3 * n / seconds(lambda: store.feeds.digests_of_range(first, first + n)),
        "withdraw_milliseconds": seconds(lambda: store.transitions.withdraw([next(ids)], "BENCH"), repeat=100) * 1e3,
        "import_memory_mebibytes": peak - before,
    }


class Bare(NamedTuple):
    """What the bare driver took. `cpu_seconds`: of this process, which with SQLite is all that there is."""

    entries_per_second: float
    cpu_seconds: float


def bare_sqlite(directory: Path) -> Bare:
    source = sqlite3.connect(directory / "hashhub.db")
    tables = {name: source.execute(f"SELECT * FROM {name}").fetchall() for name in ("entry", "hash")}
    target = sqlite3.connect(directory / "bare.db", isolation_level=None)
    for pragma in ("journal_mode = WAL", *WRITER_PRAGMAS):
        target.execute(f"PRAGMA {pragma}").fetchall()
    for (sql,) in source.execute(
        "SELECT sql FROM sqlite_master WHERE tbl_name IN ('entry', 'hash') AND sql NOT NULL ORDER BY type DESC"
    ):
        target.execute(sql)
    n = len(tables["entry"])

    def work() -> None:
        for name, rows in tables.items():
            marks = ", ".join("?" * len(rows[0]))
            for start in range(0, len(rows), 5 * PIECE):
                target.execute("BEGIN IMMEDIATE")
                target.executemany(f"INSERT INTO {name} VALUES ({marks})", rows[start : start + 5 * PIECE])
                target.execute("COMMIT")

    return _measured(n, work)


def bare_postgresql(url: str) -> Bare:
    with psycopg.connect(url.replace("postgresql+psycopg://", "postgresql://"), autocommit=True) as c:
        tables: dict[str, list[Any]] = {
            name: c.execute(f"SELECT * FROM {name} ORDER BY {order}").fetchall()
            for name, order in (("entry", "id"), ("hash", "algorithm, digest"))
        }
        types = {
            "entry": [
                "int8",
                "int4",
                "int4",
                "int2",
                "text",
                "text",
                "int4",
                "int2",
                "bytea",
                "bytea",
                "text",
                "int8",
                "int8",
            ],
            "hash": ["int2", "bytea", "int8"],
        }
        for name in tables:
            c.execute(f"CREATE TABLE bare_{name} (LIKE {name} INCLUDING ALL)")
        n = len(tables["entry"])

        def work() -> None:
            for name, rows in tables.items():
                for start in range(0, len(rows), 5 * PIECE):
                    with c.cursor().copy(f"COPY bare_{name} FROM STDIN (FORMAT BINARY)") as copy:
                        copy.set_types(types[name])
                        for row in rows[start : start + 5 * PIECE]:
                            copy.write_row(row)

        return _measured(n, work)


def _measured(n: int, work: Callable[[], None]) -> Bare:
    begun = time.process_time()
    took = seconds(work)
    return Bare(n / took, time.process_time() - begun)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=200_000, help="entries to write, each with three hashes")
    parser.add_argument("--database", help="URL of an empty PostgreSQL database; default: SQLite")
    parser.add_argument("--out", type=Path, help="where to write the result; default: bench/results")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        store = Store.open(options.database or directory)
        try:
            figures = through_store(store, options.entries)
        finally:
            store.close()
        bare = bare_postgresql(options.database) if options.database else bare_sqlite(Path(directory))
    kind = "postgresql" if options.database else "sqlite"
    rows = [
        {"figure": name, "value": value}
        for name, value in {**figures, "bare_entries_per_second": bare.entries_per_second}.items()
    ]
    result.show(rows)
    packages = ("sqlalchemy", "psycopg", "numpy")
    parameters = {"database": kind, "entries": options.entries, "sqlite": sqlite3.sqlite_version}
    result.save(f"store_rows_{kind}", parameters, rows, out=options.out, packages=packages)


if __name__ == "__main__":
    main()
