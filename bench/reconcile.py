"""What sets share: the extract from a store, and overlap on it, exact and near, on one machine.

    python -m bench.reconcile                                           at full size; some minutes
    python -m bench.reconcile --entries 20000 --near 5000 --stored 20000

`extract`: a store on SQLite into Parquet, the whole of it and once more after one more import. `overlap`: hash sets of
so many entries, written as an extract without a store; each figure is from a process of its own, the median of several.
Seven entries of ten are a set's own; the others are from a pool that all sets take from.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench import result
from hashhub.hashes import ALGORITHMS, Hash
from hashhub.model import Classification, Contributor, ContributorKind, Counts, EntryState, HashSet, Import, Record
from hashhub.reconcile import extract as extracts
from hashhub.reconcile import overlap
from hashhub.reconcile.results import By, Engine
from hashhub.store import Position, Store
from hashhub.store.extract import StandingEntries
from hashhub.testing.rows import EntryRow, pack_entries

_POOLED: Final = 0.3  # of a set's entries that are from the pool
_PAGE: Final = 10_000
_MAX_FLIPS: Final = 31
_COUNTRIES: Final = ("DE", "NL", "GB", "FR", "SE")


def digests_of(items: NDArray[np.int64], width: int, salt: int) -> NDArray[np.uint8]:
    """Return a digest for each item, uint8[n, width]: equal for equal items, otherwise as if random (SplitMix64)."""
    words = -(-width // 8)
    state = (items[:, None] * (words + 1) + np.arange(words)).astype(np.uint64)
    state = (state + np.uint64(salt << 40)) * np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    state ^= state >> np.uint64(31)
    return np.ascontiguousarray(state).view(np.uint8).reshape(len(items), -1)[:, :width]


class SyntheticStore:
    """Gives `extract.write` what a store with such entries would give it, without keeping them anywhere."""

    database_id = "synthetic"

    def __init__(self, sets: int, entries: int, algorithms: tuple[str, ...], *, altered: bool = False) -> None:
        self._entries = entries
        self._algorithms = algorithms
        self._altered = altered
        self._names = [f"c{i}/list" for i in range(sets)]
        contributors = {
            f"c{i}": Contributor(
                id=f"c{i}",
                display_name=f"C{i}",
                kind=ContributorKind.LAW_ENFORCEMENT,
                jurisdiction=_COUNTRIES[i % len(_COUNTRIES)],
            )
            for i in range(sets)
        }
        hash_sets = {name: HashSet(contributor=name.split("/")[0], id="list") for name in self._names}
        self.resources = SimpleNamespace(
            registry=lambda: SimpleNamespace(contributors=contributors, hash_sets=hash_sets)
        )
        self.history = SimpleNamespace(position=lambda: Position(1, bytes(32)), has_been_at=lambda _: True)
        self.extracting = self

    def blocks(self, contributor: str, hash_set: str, bits: int) -> list[int]:
        first = self._names.index(f"{contributor}/{hash_set}") * self._entries + 1
        return list(range(first >> bits, (first + self._entries - 1 >> bits) + 1))

    def changed(self, _after: int, _until: int) -> Iterator[Any]:
        return iter(())

    def commit_of(self, _key: int) -> tuple[int, datetime]:
        return 1, datetime(2026, 1, 1, tzinfo=UTC)

    def classification(self, key: int) -> Classification:
        raise AssertionError(key)

    def standing_entries(
        self, contributor: str, hash_set: str, first: int, last: int, *, revision: int
    ) -> Iterator[StandingEntries]:
        number = self._names.index(f"{contributor}/{hash_set}")
        start = number * self._entries + 1
        for low in range(max(first, start), min(last, start + self._entries - 1) + 1, _PAGE):
            ids = np.arange(low, min(low + _PAGE, last + 1, start + self._entries), dtype=np.int64)
            random = np.random.default_rng(result.SEED + low)
            items = np.where(
                random.random(len(ids)) < _POOLED, random.integers(0, self._entries, len(ids)), ids + 10**9
            )
            hashes = []
            for name in self._algorithms:
                of = ALGORITHMS[name]
                digests = digests_of(items, of.digest_bytes, of.code)
                if self._altered and of.is_perceptual:
                    digests = _altered(digests, random)
                hashes.append((name, np.arange(len(ids)), digests))
            ones = np.ones(len(ids), np.int64)
            yield StandingEntries(ids, ones == 1, ones == 0, ones * revision, ones, ones * 0, hashes)


def _altered(digests: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    """Flip up to 31 bits of three digests of four: pictures that were scaled or compressed anew."""
    bits = np.unpackbits(digests, axis=1)
    flips = np.where(random.random(len(bits)) < 0.75, random.integers(1, _MAX_FLIPS + 1, len(bits)), 0)
    order = np.argsort(random.random(bits.shape), axis=1)
    return np.packbits(bits ^ (order < flips[:, None]).astype(np.uint8), axis=1)


def write_synthetic(directory: Path, sets: int, entries: int, algorithms: tuple[str, ...]) -> None:
    """Write an extract of such hash sets."""
    store: Any = SyntheticStore(sets, entries, algorithms, altered=True)
    extracts.write(store, directory)


def child(directory: Path, *, near: bool, engine: Engine) -> None:
    """Compute the overlap in this process and print what it took."""
    extract = extracts.Extract.open(directory)
    begun = time.perf_counter()
    computed = overlap.compute(extract, By.HASH_SET, near=near, engine=engine)
    seconds = time.perf_counter() - begun
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(
        json.dumps(
            {
                "seconds": seconds,
                "cpu_seconds": used.ru_utime + used.ru_stime,
                "peak_mib": result.peak_mib(),
                "exact": sum(c.exact for c in computed.cells),
                "near": sum(c.near for c in computed.cells),
                "alone": sum(computed.alone.values()),
            }
        )
    )


def measure_overlap(
    directory: Path, sets: int, entries: int, *, near: bool, runs: int, engine: Engine = Engine.DUCKDB
) -> dict[str, Any]:
    """Return the medians of so many runs."""
    write_synthetic(directory, sets, entries, ("PDQ",) if near else ("MD5", "SHA1"))
    command = [sys.executable, "-m", "bench.reconcile", "--child", str(directory), "--engine", engine.value]
    told = [
        json.loads(subprocess.run([*command, *["--is-near"] * near], stdout=subprocess.PIPE, check=True).stdout)
        for _ in range(runs)
    ]
    medians = {name: statistics.median(t[name] for t in told) for name in told[0]}
    return {
        "what": f"overlap, {'near' if near else 'exact'}, {engine.value.lower()}",
        "sets": sets,
        "entries_each": entries,
        **medians,
        "seconds_of_runs": [round(t["seconds"], 2) for t in told],
    }


def measure_extract(directory: Path, entries: int) -> list[dict[str, Any]]:
    """Write the extract of a store with so many entries, and again after one more import."""
    store = Store.open(directory / "store")
    store.resources.create_contributor(
        Contributor(id="alpha", display_name="A", kind=ContributorKind.HOTLINE, jurisdiction="GB")
    )
    store.resources.create_hash_set(HashSet(contributor="alpha", id="list"))
    numbers = itertools.count()

    def contribute(count: int) -> None:
        source = f"source-{next(numbers)}"
        made = store.imports.create_import(
            Import(id="", contributor="alpha", hash_set="list", connector="bench", connector_version="1",
                   source_digest=source)
        )  # fmt: skip
        store.commits.begin_commit(made.id)
        for low in range(0, count, _PAGE):
            size = min(_PAGE, count - low)
            first = store.stage.allocate_entries(made.id, size)
            items = np.arange(first, first + size)
            columns = {name: digests_of(items, ALGORITHMS[name].digest_bytes, 1) for name in ("MD5", "SHA1", "PDQ")}
            records = [
                Record(position=f"line {i}", hashes=tuple(Hash(n, d[i].tobytes()) for n, d in columns.items()))
                for i in range(size)
            ]
            rows = (EntryRow(first + i, EntryState.ACTIVE, record) for i, record in enumerate(records))
            store.stage.stage_entries(made.id, pack_entries(rows))
        store.commits.finish_commit(made.id, counts=Counts(items=count, accepted=count))

    told = []
    for what, count in (("extract, all anew", entries), ("extract, after one import of 100", 100)):
        contribute(count)
        result.reset_peak()
        before, begun = time.process_time(), time.perf_counter()
        written = extracts.write(store, directory / "extract")
        seconds = time.perf_counter() - begun
        told.append(
            {
                "what": what,
                "entries": written.entries,
                "files_written": written.written,
                "files_unchanged": written.unchanged,
                "seconds": seconds,
                "cpu_seconds": time.process_time() - before,
                "entries_per_second": written.entries / seconds,
                "peak_mib": result.peak_mib(),
            }
        )
    store.close()
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=10)
    parser.add_argument("--entries", type=int, default=1_000_000, help="in each set, for exact overlap; 0: none")
    parser.add_argument("--near", type=int, default=100_000, help="in each set, for near overlap; 0: none")
    parser.add_argument("--stored", type=int, default=1_000_000, help="in the store, for the extract; 0: none")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--is-near", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--engine", type=Engine, default=Engine.DUCKDB, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, near=options.is_near, engine=options.engine)
        return
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="hashhub-bench-") as temporary:
        directory = Path(temporary)
        if options.stored:
            rows += measure_extract(directory, options.stored)
        for near, entries in ((False, options.entries), (True, options.near)):
            if entries:
                at = directory / f"near-{near}"
                rows.append(measure_overlap(at, options.sets, entries, near=near, runs=options.runs))
    result.show(rows)
    parameters = {name: getattr(options, name) for name in ("sets", "entries", "near", "stored", "runs")}
    result.save("reconcile", parameters, rows, out=options.out, packages=("duckdb", "pyarrow", "numpy", "numba"))


if __name__ == "__main__":
    main()
