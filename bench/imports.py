"""How fast a list becomes matchable, what it costs when it comes again, and what everybody else notices of it.

    python -m bench.imports --entries 1000000 --databases sqlite,postgresql --workers 2

A VICS list is imported, then comes again: with every second item changed, with every tenth, with all, and unchanged.
Meanwhile another process looks a digest up every 20 ms by the clock (bench/prober.py), and others watch for how long
the machine itself stands still. Then the hub is killed while it takes the next list in, while it commits it and after
that, and the time is taken until it is ready again. `--base` entries of another hash set are in the hub before, which
is given time to tidy up after them: until the machine is idle, fifteen minutes at most.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from bench import result
from bench.prober import asking, summary
from hashhub.client import Client, ImportProgress
from hashhub.hashes import parse
from hashhub.model import Contributor, ContributorKind, HashSet, MatchOptions, Query, Verdict
from hashhub.testing.hub_process import RunningHub, running_hub
from hashhub.testing.lists import write_many_vics

_STEPS: Final[tuple[tuple[str, tuple[int, ...]], ...]] = (
    ("import", ()),
    ("half changed", (2,)),
    ("tenth changed", (2, 10)),
    ("all changed", (2, 10, 1)),
    ("unchanged", (2, 10, 1)),
)
_SETTLE_SECONDS: Final = 900.0
_IDLE_SECONDS: Final = 5.0
_IDLE_SHARE: Final = 0.9


@contextmanager
def database(kind: str) -> Iterator[str]:
    """Give the URL of an empty database: empty for SQLite, which the hub has in its own directory."""
    if kind == "sqlite":
        yield ""
    else:
        with result.postgresql() as url:
            yield url


def import_list(client: Client, source: Path, hash_set: str) -> dict[str, Any]:
    """Import a VICS file into `CONTRIBUTOR/SET`, and return what became of its items and how long it took."""
    at: dict[str, float] = {}

    def progress(p: ImportProgress) -> None:
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


def write_list(
    directory: Path, name: str, entries: int, seed: int, changed_every: Sequence[int] = (), *, copy: int = 0
) -> Path:
    """Write a list as it is after some editions (see `write_many_vics`). `copy`: another file for each number, which
    is not known as sent before.
    """
    source = directory / f"{name}.json"
    with source.open("wb") as out:
        write_many_vics(out, entries, seed=seed, changed_every=changed_every)
        out.write(b"\n" * copy)
    return source


def measure(
    kind: str, entries: int, base: int, workers: int, directory: Path, rest: float, filled: Path | None = None
) -> list[dict[str, Any]]:
    """Import, update and kill one hub. `rest`: seconds between two lists; `filled`: a directory that bench.door has
    filled, of which a copy is used.
    """
    if filled is not None:
        shutil.copytree(filled, directory / "hub")
        base = json.loads((filled / "bench.json").read_text("utf-8"))["n"]
    rows: list[dict[str, Any]] = []
    with database(kind) as url:
        arguments = ["--workers", str(workers), *(["--database", url] if url else [])]
        with running_hub(directory / "hub", *arguments) as hub, Client(hub.address, hub.token) as client:
            if filled is None:
                client.create_contributor(
                    Contributor(
                        id="bench", display_name="Bench", kind=ContributorKind.LAW_ENFORCEMENT, jurisdiction="US"
                    )
                )
            for name in ("list", "base"):
                client.create_hash_set(HashSet(contributor="bench", id=name, scheme="vic-us"))
            if base and filled is None:
                import_list(client, write_list(directory, "base", base, result.SEED + 1), "bench/base")
                await_idleness()
            known = last_md5(write_list(directory, "first", 10, result.SEED + 2))
            for number, (name, changed) in enumerate(_STEPS):
                source = write_list(directory, "list", entries, result.SEED, changed, copy=number)
                row: dict[str, Any] = {
                    "database": kind,
                    "workers": workers,
                    "base": base,
                    "entries": entries,
                    "step": name,
                }
                with (
                    result.watched_machine() as stalls,
                    asking(hub.address, hub.token, {f"MD5:{known}": Verdict.NO_MATCH}) as answers,
                ):
                    row |= import_list(client, source, "bench/list")
                lookups = summary(answers.lookups, 50, 99)
                row |= {f"lookup_{name}": lookups[name] for name in ("p50_ms", "p99_ms", "max_ms")}
                row |= {"lookups": lookups["count"], "lookups_failed": lookups["failed"]}
                row["machine_stall_ms"] = max((core.longest for core in stalls), default=None)
                row["machine_stalls_ms"] = max((core.together for core in stalls), default=None)
                rows.append(row | {"entries_per_second": entries / row["seconds"]})
                rows[-1]["changed_per_second"] = (row["superseded"] or row["accepted"]) / row["seconds"]
                print(json.dumps(result.rounded(rows[-1])), flush=True)
                time.sleep(rest)
        for number, moment in enumerate(("SENDING", "COMMITTING", "DONE")):
            source = write_list(directory, "list", entries, result.SEED, (2, 10, 1, 2), copy=number)
            listed = last_md5(source)
            row = {"database": kind, "workers": workers, "base": base, "entries": entries}
            row["step"] = f"killed while {moment.lower()}" if moment != "DONE" else "killed after it"
            with running_hub(directory / "hub", *arguments) as hub:
                assert kill_at(hub, source, moment, 0 if moment == "DONE" else 1.5), f"it never came to {moment}"
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


def last_md5(source: Path) -> str:
    """Return the MD5 of the last record of a VICS file."""
    with source.open("rb") as file:
        file.seek(max(0, source.stat().st_size - 2000))
        tail = file.read().decode("ascii", "replace")
    return tail.rpartition('"MD5":"')[2][:32]


def await_idleness() -> None:
    """Return once the machine's processors were idle for nine tenths of some seconds, or after some minutes."""
    deadline = time.monotonic() + _SETTLE_SECONDS
    is_idle = False
    while not is_idle and time.monotonic() < deadline:
        before = os.times().elapsed, _idle_seconds()
        time.sleep(_IDLE_SECONDS)
        passed = (os.times().elapsed - before[0]) * (os.cpu_count() or 1)
        is_idle = _idle_seconds() - before[1] > _IDLE_SHARE * passed


def _idle_seconds() -> float:
    """Return for how long the processors were idle, all together, since the machine started."""
    spent = Path("/proc/stat").read_text("ascii").split("\n", 1)[0].split()[1:]  # user, nice, system, idle, …
    return int(spent[3]) / os.sysconf("SC_CLK_TCK")


def kill_at(hub: RunningHub, source: Path, moment: str, seconds: float) -> bool:
    """Import into bench/list from another process, and kill the hub, all its processes, so many seconds after a phase
    has begun. Return whether the import came so far; the hub is killed in any case.
    """
    reached = False
    with subprocess.Popen(
        [sys.executable, "-c", _IMPORTER, hub.address, hub.token, str(source)], stdout=subprocess.PIPE, text=True
    ) as importer:
        assert importer.stdout is not None
        for line in importer.stdout:
            if line.strip() == moment:
                reached = True
                time.sleep(seconds)
                break
        for pid in result.family(hub.pid):
            os.kill(pid, signal.SIGKILL)
        importer.kill()
    return reached


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
    parser.add_argument("--data", type=Path, help="a SQLite hub that bench.door has filled; a copy of it is used")
    parser.add_argument(
        "--rest",
        type=float,
        default=1.0,
        help="seconds between two lists, in which the hub tidies up; the next one waits for what is left of it (1)",
    )
    parser.add_argument("--databases", default="sqlite,postgresql", help="which of sqlite,postgresql (both)")
    parser.add_argument("--workers", type=int, default=2, help="processes of the hub (2)")
    parser.add_argument("--out", type=Path, help="where to write the result; default: bench/results/imports.json")
    options = parser.parse_args()
    rows = []
    for kind in options.databases.split(","):
        with tempfile.TemporaryDirectory(prefix="hashhub-bench-") as directory:
            rows += measure(
                kind, options.entries, options.base, options.workers, Path(directory), options.rest, options.data
            )
    parameters = {"entries": options.entries, "base": options.base, "workers": options.workers, "rest": options.rest}
    packages = ("grpcio", "protobuf", "msgspec", "sqlalchemy", "psycopg", "numpy", "numba")
    result.save("imports", parameters, rows, out=options.out, packages=packages)


if __name__ == "__main__":
    main()
