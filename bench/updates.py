"""What a list that comes again costs, and what everybody else notices of it.

    python -m bench.updates --entries 1000000 --databases sqlite,postgresql --workers 2

A list is imported, then comes again: with every second item changed, with every tenth, and unchanged. Meanwhile another
process looks a digest up every 20 ms by the clock, whatever happened to the lookups before; latencies count from the
scheduled time, so that a server that stalls is not excused. Then the hub is killed in the middle of another update, and
the time is taken until it is ready again. `--base` entries of another hash set are in the hub before.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench import result
from bench.imports import _database, _last_md5
from hashhub.client import Client, Progress
from hashhub.errors import HashHubError
from hashhub.hashes import parse
from hashhub.model import Contributor, ContributorKind, HashSet, MatchOptions, Query, Verdict
from hashhub.testing.hub_process import RunningHub, running_hub
from hashhub.testing.lists import write_many_vics

_SECONDS: Final = 0.02  # between lookups
_STEPS: Final[tuple[tuple[str, tuple[int, ...]], ...]] = (
    ("import", ()),
    ("half changed", (2,)),
    ("tenth changed", (2, 10)),
    ("unchanged", (2, 10)),
)


def _look_up(address: str, token: str, md5: str, pipe: Connection) -> None:
    """Look one digest up by the clock until told to stop; send latencies in ms and what went wrong, with counts."""
    query, options = Query(hashes=(parse("MD5", md5),)), MatchOptions(policy="any")
    milliseconds: list[float] = []
    failures: Counter[str] = Counter()
    with Client(address, token) as client, ThreadPoolExecutor(64) as pool:

        def one(scheduled: float) -> None:
            try:
                client.match_hashes([query], options)
            except HashHubError as e:
                failures[str(e.reason)] += 1
            milliseconds.append((time.perf_counter() - scheduled) * 1e3)

        one(time.perf_counter())
        milliseconds.clear()
        pipe.send(None)
        scheduled = time.perf_counter()
        while not pipe.poll(max(0.0, scheduled - time.perf_counter())):
            pool.submit(one, scheduled)
            scheduled += _SECONDS
    pipe.send((milliseconds, dict(failures)))


@contextmanager
def _looking_up(hub: RunningHub, md5: str, row: dict[str, Any]) -> Iterator[None]:
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_look_up, args=(hub.address, hub.token, md5, theirs), daemon=True
    )
    process.start()
    if not ours.poll(60):
        raise AssertionError("the process that looks up did not start")
    ours.recv()
    yield
    ours.send(None)
    milliseconds, failures = ours.recv()
    process.join()
    row |= {f"lookup_p{p}_ms": float(np.percentile(milliseconds, p)) for p in (50, 99)}
    row |= {"lookup_max_ms": max(milliseconds), "lookups": len(milliseconds), "lookups_failed": failures}


def _import(client: Client, source: Path, hash_set: str) -> dict[str, Any]:
    at: dict[str, float] = {}

    def progress(p: Progress) -> None:
        at.setdefault(p.phase, time.perf_counter())

    begun = time.perf_counter()
    report = client.import_source(source, connector="vics", hash_set=hash_set, progress=progress)
    done = time.perf_counter()
    counts = report.source.counts
    return {
        "accepted": counts.accepted,
        "unchanged": counts.unchanged,
        "superseded": counts.superseded,
        "seconds": done - begun,
        "commit_seconds": done - at["COMMITTING"],
    }


def _write(
    directory: Path, name: str, entries: int, seed: int, changed_every: Sequence[int] = (), *, copy: int = 0
) -> Path:
    source = directory / f"{name}.json"
    with source.open("wb") as out:
        write_many_vics(out, entries, seed=seed, changed_every=changed_every)
        out.write(b"\n" * copy)  # the same list in another file, which is not known as sent before
    return source


def measure(kind: str, entries: int, base: int, workers: int, directory: Path) -> list[dict[str, Any]]:
    """Import, update and kill one hub."""
    rows: list[dict[str, Any]] = []
    with _database(kind) as url:
        arguments = ["--workers", str(workers), *(["--database", url] if url else [])]
        with running_hub(directory / "hub", *arguments) as hub, Client(hub.address, hub.token) as client:
            client.create_contributor(
                Contributor(id="bench", display_name="Bench", kind=ContributorKind.LAW_ENFORCEMENT, jurisdiction="US")
            )
            for name in ("list", "base"):
                client.create_hash_set(HashSet(contributor="bench", id=name, scheme="vic-us"))
            if base:
                _import(client, _write(directory, "base", base, result.SEED + 1), "bench/base")
            known = _last_md5(_write(directory, "first", 10, result.SEED + 2))
            for number, (name, changed) in enumerate(_STEPS):
                source = _write(directory, "list", entries, result.SEED, changed, copy=number)
                row: dict[str, Any] = {
                    "database": kind,
                    "workers": workers,
                    "base": base,
                    "entries": entries,
                    "step": name,
                }
                with _looking_up(hub, known, row):
                    row |= _import(client, source, "bench/list")
                rows.append(row | {"entries_per_second": entries / row["seconds"]})
                rows[-1]["changed_per_second"] = (row["superseded"] or row["accepted"]) / row["seconds"]
                print(json.dumps(result.rounded(rows[-1])), flush=True)
                time.sleep(1)
        source = _write(directory, "list", entries, result.SEED, (2, 10, 2))
        listed = _last_md5(source)
        for moment in ("SENDING", "COMMITTING", "DONE"):
            row = {"database": kind, "workers": workers, "base": base, "entries": entries}
            row["step"] = f"killed while {moment.lower()}" if moment != "DONE" else "killed after it"
            with running_hub(directory / "hub", *arguments) as hub:
                _kill_at(hub, source, moment)
            begun = time.perf_counter()
            with running_hub(directory / "hub", *arguments) as hub:
                row["ready_seconds"] = time.perf_counter() - begun
                with Client(hub.address, hub.token) as client:
                    query = Query(hashes=(parse("MD5", listed),))
                    [answer] = client.match_hashes([query], MatchOptions(policy="any"))
                    assert answer.result.verdict is Verdict.MATCH
                    row["matched_after_seconds"] = time.perf_counter() - begun
            rows.append(row)
            print(json.dumps(result.rounded(row)), flush=True)
    return rows


def _kill_at(hub: RunningHub, source: Path, moment: str) -> None:
    """Import from another process, and kill the hub, all its processes, in the middle of a phase."""
    reached = threading.Event()
    importer = subprocess.Popen(
        [sys.executable, "-c", _IMPORTER, hub.address, hub.token, str(source)], stdout=subprocess.PIPE, text=True
    )

    def watch() -> None:
        assert importer.stdout is not None
        for line in importer.stdout:
            if line.strip() == moment:
                reached.set()

    threading.Thread(target=watch, daemon=True).start()
    if not reached.wait(600):
        raise AssertionError(f"the import never came to {moment}")
    time.sleep(1.5 if moment != "DONE" else 0)
    for pid in result.family(hub.pid):
        os.kill(pid, signal.SIGKILL)
    importer.kill()
    importer.wait()


_IMPORTER: Final = """
import sys
from pathlib import Path
from hashhub.client import Client
seen = set()
def progress(p):
    if p.phase not in seen:
        seen.add(p.phase)
        print(p.phase, flush=True)
with Client(sys.argv[1], sys.argv[2]) as client:
    client.import_source(Path(sys.argv[3]), connector="vics", hash_set="bench/list", progress=progress)
print("DONE", flush=True)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=100_000, help="items in the list (100,000)")
    parser.add_argument("--base", type=int, default=0, help="entries of another hash set in the hub (none)")
    parser.add_argument("--databases", default="sqlite,postgresql", help="which of sqlite,postgresql (both)")
    parser.add_argument("--workers", type=int, default=2, help="processes of the hub (2)")
    parser.add_argument("--out", type=Path, help="where to write the result; default: bench/results/updates.json")
    options = parser.parse_args()
    rows = []
    for kind in options.databases.split(","):
        with tempfile.TemporaryDirectory(prefix="hashhub-bench-") as directory:
            rows += measure(kind, options.entries, options.base, options.workers, Path(directory))
    parameters = {"entries": options.entries, "base": options.base, "workers": options.workers}
    packages = ("grpcio", "protobuf", "msgspec", "sqlalchemy", "psycopg", "numpy", "numba")
    result.save("updates", parameters, rows, out=options.out, packages=packages)


if __name__ == "__main__":
    main()
