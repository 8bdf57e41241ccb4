"""How fast a list becomes matchable: file -> real client -> real server -> committed -> found, beside the bare driver.

    python -m bench.imports --entries 1000000 --databases sqlite,postgresql --variants plain,mixed

plain    VICS records with MD5 and SHA1
mixed    the same with PhotoDNA beside them

Then the list comes again: unchanged; with a tenth of it changed; with half of it changed.

The bare driver writes the rows of entries and hashes that the import wrote, packed and sorted already, through
sqlite3's executemany or psycopg's COPY, once the hub has dropped the staged batches and rests: what is left is the
price of the protocol, of checking, staging, packing, sorting, leases and accounting. On a busy machine compare
processor times: an import has two processes at work, the bare driver one. Memory beyond the index is how far the
server's peak lies above what it had before, minus what the matcher holds for the entries at the end.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import psycopg

from bench import result, store_rows
from hashhub.client import Client, Progress
from hashhub.hashes import parse
from hashhub.model import Contributor, ContributorKind, Counts, HashSet, MatchOptions, Query, Verdict
from hashhub.store.drivers import FILE_NAME
from hashhub.testing.hub_process import RunningHub, running_hub
from hashhub.testing.lists import write_many_vics

_TIDY_SECONDS: Final = 300.0
_INDEX_BYTES: Final = {
    "plain": 24 + 16 + 2,
    "mixed": 24 + 16 + 144 + 3,
}  # rows (whole words) and directory of an entry's digests

# The editions of each version of the list (`write_many_vics`); one differs from the version before by the last of them.
_UPDATES: Final[dict[str, tuple[int, ...]]] = {"unchanged": (), "tenth": (10,), "half": (10, 2)}


@contextmanager
def database(kind: str) -> Iterator[str]:
    """Give the URL of an empty database: empty for SQLite, which the hub has in its own directory."""
    if kind == "sqlite":
        yield ""
    else:
        with result.postgresql() as url:
            yield url


class _Run(NamedTuple):
    """What one import took: wall and CPU seconds by phase, and memory."""

    seconds: dict[str, tuple[float, float, float]]  # at the beginning of each phase: wall, client's CPU, server's CPU
    counts: Counts
    server_peak_mib: float
    server_before_mib: float
    client_peak_mib: float
    client_before_mib: float

    def took(self, first: str, then: str, which: int = 0) -> float:
        return self.seconds[then][which] - self.seconds[first][which]


def _import(client: Client, hub: RunningHub, source: Path) -> _Run:
    """Import a file and wait until its last item is matchable."""
    query, options = Query(hashes=(parse("MD5", last_md5(source)),)), MatchOptions(policy="any")
    started: dict[str, tuple[float, float, float]] = {}

    def mark(name: str) -> None:
        if name not in started:
            started[name] = (time.perf_counter(), result.cpu_seconds(), result.cpu_seconds(hub.pid))

    def progress(p: Progress) -> None:
        mark(p.phase)

    before = result.resident_mib()
    result.reset_peak()
    with result.watched_memory(hub.pid) as memory:
        mark("START")
        report = client.import_source(source, connector="vics", hash_set="bench/list", progress=progress)
        mark("DONE")
        while next(iter(client.match_hashes([query], options))).result.verdict is Verdict.NO_MATCH:
            time.sleep(0.001)
        mark("MATCHABLE")
    return _Run(started, report.source.counts, memory[1], memory[0], result.peak_mib(), before)


def _wait_until_tidy(url: str, directory: Path) -> None:
    """Wait until the hub has nothing to drop any more: it would write beside whatever is measured next."""
    look = "SELECT count(*) FROM staged_batch"
    deadline = time.monotonic() + _TIDY_SECONDS
    with ExitStack() as opened:
        if url:
            c: Any = opened.enter_context(psycopg.connect(url.replace("+psycopg", ""), autocommit=True))
        else:
            c = opened.enter_context(closing(sqlite3.connect(directory / FILE_NAME)))
        while c.execute(look).fetchone() != (0,):
            assert time.monotonic() < deadline, "the hub does not drop the staged batches"
            time.sleep(0.1)


def measure(kind: str, variant: str, entries: int, updates: Sequence[str], directory: Path) -> dict[str, Any]:
    """Import one list into a fresh hub, then its updates, and return what it took."""
    source = directory / "list.json"

    def write(editions: Sequence[int] = (), end: bytes = b"") -> None:
        with source.open("wb") as out:
            write_many_vics(out, entries, seed=result.SEED, photodna=variant == "mixed", changed_every=editions)
            out.write(end)

    write()
    with (
        database(kind) as url,
        running_hub(directory / "hub", *(["--database", url] if url else [])) as hub,
        Client(hub.address, hub.token) as client,
    ):
        client.create_contributor(
            Contributor(id="bench", display_name="Bench", kind=ContributorKind.LAW_ENFORCEMENT, jurisdiction="US")
        )
        client.create_hash_set(HashSet(contributor="bench", id="list", scheme="vic-us"))
        query, options = Query(hashes=(parse("MD5", last_md5(source)),)), MatchOptions(policy="any")
        [before] = client.match_hashes([query], options)  # also makes the server load what it loads lazily
        assert before.result.verdict is Verdict.NO_MATCH
        run = _import(client, hub, source)
        assert run.counts.accepted == entries, run.counts
        digests = sum(a.digest_count for a in client.status().algorithms)
        _wait_until_tidy(url, directory / "hub")
        bare = store_rows.bare_postgresql(url) if url else store_rows.bare_sqlite(directory / "hub")
        total = run.took("START", "MATCHABLE")
        index_mib = entries * _INDEX_BYTES[variant] / 2**20
        row = {
            "database": kind,
            "variant": variant,
            "entries": entries,
            "file_mib": source.stat().st_size / 2**20,
            "digests": digests,
            "entries_per_second": entries / total,
            "bare_entries_per_second": bare.entries_per_second,
            "bare_cpu_seconds": bare.cpu_seconds,
            "times_bare": total / (entries / bare.entries_per_second),
            "total_seconds": total,
            "checksum_seconds": run.took("CHECKSUM", "SENDING"),
            "sending_seconds": run.took("SENDING", "COMMITTING"),
            "commit_seconds": run.took("COMMITTING", "DONE"),
            "until_matchable_seconds": run.took("DONE", "MATCHABLE"),
            "client_cpu_seconds": run.took("START", "MATCHABLE", 1),
            "server_cpu_seconds": run.took("START", "MATCHABLE", 2),
            "server_cpu_sending": run.took("SENDING", "COMMITTING", 2),
            "server_cpu_commit": run.took("COMMITTING", "DONE", 2),
            "server_peak_mib": run.server_peak_mib,
            "server_idle_mib": run.server_before_mib,
            "server_beyond_index_mib": run.server_peak_mib - run.server_before_mib - index_mib,
            "client_peak_mib": run.client_peak_mib,
            "client_idle_mib": run.client_before_mib,
        }
        for name in updates:
            editions = _UPDATES[name]
            write(editions, end=b"\n" * len(row))  # other bytes than before, whatever they state
            update = _import(client, hub, source)
            changed = -(-entries // editions[-1]) if editions else 0
            assert (update.counts.accepted, update.counts.unchanged) == (changed, entries - changed), update.counts
            row[f"{name}_seconds"] = update.took("START", "MATCHABLE")
            row[f"{name}_times_first"] = update.took("START", "MATCHABLE") / total
            row[f"{name}_commit_seconds"] = update.took("COMMITTING", "DONE")
            row[f"{name}_bytes_an_item"] = (update.server_peak_mib - update.server_before_mib) * 2**20 / entries
    return row


def last_md5(source: Path) -> str:
    """Return the MD5 of the last record of a VICS file."""
    with source.open("rb") as file:
        file.seek(max(0, source.stat().st_size - 2000))
        tail = file.read().decode("ascii", "replace")
    return tail.rpartition('"MD5":"')[2][:32]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=100_000, help="records in the list (100,000)")
    parser.add_argument("--databases", default="sqlite,postgresql", help="which of sqlite,postgresql (both)")
    parser.add_argument("--variants", default="plain,mixed", help="which of plain,mixed (both)")
    parser.add_argument("--updates", default="unchanged,tenth,half", help="which of unchanged,tenth,half (all)")
    parser.add_argument("--out", type=Path, help="where to write the result; default: bench/results/imports.json")
    options = parser.parse_args()
    updates = [name for name in options.updates.split(",") if name]
    rows = []
    for kind in options.databases.split(","):
        for variant in options.variants.split(","):
            with tempfile.TemporaryDirectory(prefix="hashhub-bench-") as directory:
                rows.append(measure(kind, variant, options.entries, updates, Path(directory)))
            print(json.dumps({k: result.rounded(v) for k, v in rows[-1].items()}, indent=1), flush=True)
    packages = ("grpcio", "protobuf", "msgspec", "sqlalchemy", "psycopg", "numpy", "numba")
    result.save("imports", {"entries": options.entries}, rows, out=options.out, packages=packages)


if __name__ == "__main__":
    main()
