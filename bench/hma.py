"""HMA's lookups beside those of a real HMA: the same hashes, the same requests, on one machine and in turn.

    python -m bench.hma --hma CHECKOUT/hasher-matcher-actioner --python VENV/bin/python --entries 1000000 --data DIR

HMA (github.com/facebook/ThreatExchange) is nothing that this needs installed: --hma names the directory in a checkout,
--python an interpreter whose environment has what HMA's pyproject.toml asks for, and gunicorn. It runs as its image
does, by gunicorn and with jemalloc where there is one, as a matcher in production with its index in memory, over a
PostgreSQL of its own, but with one thread of OpenMP for a search: more wait for each other. Its tables are filled by
SQL, and its own command builds the index. The image's workers make a connection for each request; here they are
gunicorn's `gthread`, which keep connections, with each number of --threads: its best is what hashhub is compared with.
Half of the queries are near an entry. Both have so many worker processes, and share the cores with the generator and
PostgreSQL, whose processor time counts as HMA's: hashhub's store is in it.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import psycopg

from bench import door, load, result
from hashhub.testing.hub_process import running_hub

_CONNECTIONS: Final = 16
_BANK: Final = "BENCH"
_ENABLED: Final = 1  # what HMA's column disable_until_ts says of what is not disabled
_JEMALLOC: Final = Path("/usr/lib/x86_64-linux-gnu/libjemalloc.so.2")  # where HMA's image has it
_READY_SECONDS: Final = 120.0
_CONFIG: Final = """
PRODUCTION = True
ROLE_MATCHER = True
TASK_INDEX_CACHE = True
"""
_FILLED: Final = (
    "COPY bank_content (id, bank_id, disable_until_ts) FROM STDIN",
    "COPY content_signal (content_id, signal_type, signal_val) FROM STDIN",
)


class HMA:
    """A checkout of HMA, its database and its settings."""

    def __init__(self, source: Path, python: Path, database: str, directory: Path) -> None:
        """`database`: its URL, for psycopg."""
        config = directory / "omm_config.py"
        config.write_text(_CONFIG, "utf-8")
        self._source = source / "src"
        self._python = python
        self._database = database
        preload = {"LD_PRELOAD": str(_JEMALLOC)} if _JEMALLOC.exists() else {}
        self._environment = {
            "OMP_NUM_THREADS": "1", **os.environ, **preload, "PYTHONPATH": str(self._source), "OMM_CONFIG": str(config),
            "OMM_DATABASE_URI": database.replace("+psycopg:", "+psycopg2:"),
        }  # fmt: skip

    def fill(self, digests: door.Digests) -> None:
        """Make the tables, write an item for each digest into one bank, and build the index."""
        self._flask({"MIGRATION_COMMAND": "1"}, "db", "upgrade", "--directory", "OpenMediaMatch/migrations")
        with psycopg.connect(self._database.replace("+psycopg:", ":")) as connection, connection.cursor() as cursor:
            cursor.execute("INSERT INTO bank (id, name, enabled_ratio) VALUES (1, %s, 1.0)", (_BANK,))
            with cursor.copy(_FILLED[0]) as copy:
                for number in range(1, len(digests) + 1):
                    copy.write_row((number, 1, _ENABLED))
            with cursor.copy(_FILLED[1]) as copy:
                for number, digest in enumerate(digests, 1):
                    copy.write_row((number, "pdq", digest.tobytes().hex()))
        with psycopg.connect(self._database.replace("+psycopg:", ":"), autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")
        self._flask({}, "build_indices")

    def _flask(self, environment: dict[str, str], *arguments: str) -> None:
        command = [str(self._python), "-m", "flask", "--app", "OpenMediaMatch.app", *arguments]
        done = subprocess.run(
            command, cwd=self._source, env=self._environment | environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"HMA's {' '.join(arguments)} failed: {done.stderr[-2000:]}")

    @contextlib.contextmanager
    def serving(self, workers: int, threads: int) -> Iterator[tuple[str, int]]:
        """Run it, and give its address and process once it can match."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        command = [
            str(self._python), "-m", "gunicorn", "--bind", address, "--workers", str(workers),
            "--worker-class", "gthread", "--threads", str(threads), "--log-level", "warning",
            "OpenMediaMatch.app:create_app()",
        ]  # fmt: skip
        with subprocess.Popen(
            command, cwd=self._source, env=self._environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            try:
                _wait_until_ready(address, process, workers)
                yield address, process.pid
            finally:
                process.terminate()


def _wait_until_ready(address: str, process: subprocess.Popen[bytes], workers: int) -> None:
    """Wait until HMA says, as many times in a row as leave no worker out, that its index is loaded."""
    end, ready = time.monotonic() + _READY_SECONDS, 0
    while ready < 20 * workers:
        if process.poll() is not None or time.monotonic() > end:
            raise SystemExit("HMA did not become ready; run gunicorn by hand to see why")
        try:
            with contextlib.closing(http.client.HTTPConnection(address)) as connection:
                connection.request("GET", "/status")
                is_ready = connection.getresponse().status == http.HTTPStatus.OK
        except OSError:
            is_ready = False
        ready = ready + 1 if is_ready else 0
        if not is_ready:
            time.sleep(0.5)


def distances(address: str, path: str, token: str, requests: Sequence[bytes]) -> list[list[str]]:
    """Return how far what matches each request is, whatever its bank is called."""
    told = []
    with contextlib.closing(http.client.HTTPConnection(address)) as connection:
        for request in requests:
            connection.request("GET", f"{path}?{request.decode()}", headers={"Authorization": f"Bearer {token}"})
            answer = connection.getresponse()
            banks: dict[str, list[dict[str, Any]]] = json.loads(answer.read())
            assert answer.status == http.HTTPStatus.OK, banks
            told.append(sorted(one["distance"] for matches in banks.values() for one in matches))
    return told


def measure(
    name: str, address: str, path: str, token: str, pids: Sequence[int], requests: Sequence[bytes], seconds: float
) -> dict[str, Any]:
    """Ask as much as is answered, and return what came of it."""

    def cpu_seconds() -> dict[int, float]:
        told = {}
        for pid in [member for one in pids for member in result.family(one)]:
            with contextlib.suppress(OSError):  # it ended meanwhile, as PostgreSQL's processes may
                told[pid] = result.cpu_seconds(pid)
        return told

    with load.connected(load.HMA, _CONNECTIONS, address, path, token) as opened:
        load.run(opened, requests, min(1.0, seconds), concurrency=_CONNECTIONS)
        before, took = cpu_seconds(), time.process_time()
        outcome = load.run(opened, requests, seconds, concurrency=_CONNECTIONS)
        took = time.process_time() - took
    served = sum(seconds - before.get(pid, 0.0) for pid, seconds in cpu_seconds().items())
    count = len(outcome.latencies)
    return {
        "server": name,
        "lookups_per_second": count / outcome.seconds,
        **result.percentiles(np.asarray(outcome.latencies)),
        "errors": outcome.errors.total() / max(count + outcome.errors.total(), 1),
        "server_us_per_lookup": served / max(count, 1) * 1e6,
        "server_cores": served / outcome.seconds,
        "generator_cores": took / outcome.seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hma", type=Path, required=True, help="`hasher-matcher-actioner` in a checkout")
    parser.add_argument("--python", type=Path, required=True, help="of an environment that can run it")
    parser.add_argument("--entries", type=int, default=100_000, help="in each (100,000)")
    parser.add_argument("--workers", type=int, default=2, help="worker processes of each (2)")
    parser.add_argument("--threads", default="1,4", help="of each of HMA's workers, each in turn (1,4)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each run (5)")
    parser.add_argument("--rounds", type=int, default=3, help="in which each runs once (3)")
    parser.add_argument("--data", type=Path, help="the hub's directory, kept for further runs, as of bench.door")
    parser.add_argument("--out", type=Path, help="where to write the result; default: bench/results/hma.json")
    options = parser.parse_args()
    digests = door.random_digests(options.entries)
    requests = door.requests(digests, "hma")
    rows = []
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hashhub-bench-hma-")))
        data = options.data or directory / "hub"
        door.fill(data, digests)
        database = stack.enter_context(result.postgresql())
        hma = HMA(options.hma.resolve(), options.python.absolute(), database, directory)
        hma.fill(digests)
        postmaster = _postmaster(database)
        hub = stack.enter_context(running_hub(data, "--workers", str(options.workers)))
        ours = hub.http.removeprefix("http://"), door.HMA_PATH, hub.token
        expected = distances(*ours, requests[:200])
        servers = {"hashhub": (*ours, [hub.pid])}
        for threads in map(int, options.threads.split(",")):
            address, pid = stack.enter_context(hma.serving(options.workers, threads))
            theirs = address, "/m/lookup", ""
            assert distances(*theirs, requests[:200]) == expected, "the two do not answer the same"
            servers[f"HMA, {threads} threads"] = (*theirs, [pid, postmaster])
        for _ in range(options.rounds):
            rows += [
                {"n": len(digests), "workers": options.workers} | measure(name, *of, requests, options.seconds)
                for name, of in servers.items()
            ]
    result.show(rows)
    rate = {
        name: statistics.median(row["lookups_per_second"] for row in rows if row["server"] == name) for name in servers
    }
    best = max((name for name in servers if name != "hashhub"), key=rate.__getitem__)
    print(
        f"lookups a second, median: hashhub {rate['hashhub']:,.0f}; {best} {rate[best]:,.0f}; "
        f"{rate['hashhub'] / rate[best]:.2f} times"
    )
    result.save("hma", {"seconds": options.seconds, "connections": _CONNECTIONS}, rows, out=options.out)


def _postmaster(database: str) -> int:
    """Return the process of a PostgreSQL server on this machine."""
    with psycopg.connect(database.replace("+psycopg:", ":")) as connection:
        row = connection.execute("SHOW data_directory").fetchone()
    assert row is not None
    return int((Path(row[0]) / "postmaster.pid").read_text("ascii").split()[0])


if __name__ == "__main__":
    main()
