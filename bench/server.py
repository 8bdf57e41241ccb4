"""What a running hub answers: lookups a second, hashes a second in batches, and latencies below saturation.

    python -m bench.server --n 1000000 --workers 1,2

The index holds n random PDQ digests; one query of a hundred is near one that has entries. First as many calls as the server takes (closed
loop), then 70 % of that rate (open loop), for single lookups and for batches of 100 over gRPC, and for single lookups over the JSON bridge. The
load comes from processes on the same machine (bench/load.py); `h2load` is used for the first figure too where it is installed.

Only the first 100,000 digests are imported; the others are put straight into the matcher's snapshot, which makes no difference to a query that hits
nothing and spares an hour of imports.
"""

from __future__ import annotations

import argparse
import base64
import json
import multiprocessing
import re
import shutil
import subprocess
import tempfile
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench import load, result
from bench.overhead import batch_request, pdq_hub, sample_queries
from hashhub import v1, wire
from hashhub.hashes import Hash
from hashhub.model import MatchOptions, Query
from hashhub.store import Store
from hashhub.testing.hub_process import RunningHub

_IMPORTED: Final = 100_000
_BATCH: Final = 100
_REQUESTS: Final = 500  # different ones
_CONCURRENCY: Final = 32
_CONNECTIONS: Final = 16  # the kernel deals them to the workers
_SHARE: Final = 0.7
_SINGLE: Final = "/hashhub.v1.MatchService/MatchHashes"
_BATCHED: Final = "/hashhub.v1.MatchService/BatchMatchHashes"
_H2LOAD: Final = re.compile(r"finished in [\d.]+m?s, ([\d.]+) req/s")


@contextmanager
def hub_of(n: int, workers: int) -> Iterator[tuple[RunningHub, NDArray[np.uint8]]]:
    """Run a hub over n digests; the first of them have entries."""
    rng = np.random.default_rng(result.SEED)
    digests = np.frombuffer(rng.bytes(32 * n), np.uint8).reshape(n, 32)
    with tempfile.TemporaryDirectory(prefix="hashhub-bench-") as name:
        known = digests[:_IMPORTED]
        with pdq_hub(Path(name), known, "--workers", str(workers), prepare=lambda data: _put(data, digests)) as hub:
            yield hub, known


def _put(data: Path, digests: NDArray[np.uint8]) -> None:
    """Write a snapshot of all digests at the store's revision."""
    from hashhub.matcher import Matcher

    store = Store.open(data)
    try:
        with Matcher(data / "matcher" / store.database_id) as matcher:
            matcher.rebuild(store.revision(), [("PDQ", digests)])
    finally:
        store.close()


def _requests(known: NDArray[np.uint8], kind: str) -> list[bytes]:
    count = _REQUESTS * (_BATCH if kind == "batch" else 1) // (10 if kind == "batch" else 1)
    queries = sample_queries(known, count, count // 100, result.SEED)
    if kind == "batch":
        return [batch_request(queries[i : i + _BATCH]) for i in range(0, count, _BATCH)]
    if kind == "json":
        return [
            json.dumps(
                {
                    "query": {"hashes": [{"algorithm": "PDQ", "digest": base64.b64encode(q.tobytes()).decode()}]},
                    "options": {"policy": "any"},
                }
            ).encode()
            for q in queries
        ]
    options = wire.options_to_pb(MatchOptions(policy="any"))
    return [
        v1.MatchHashesRequest(
            query=wire.query_to_pb(Query(hashes=(Hash("PDQ", q.tobytes()),))), options=options
        ).SerializeToString()
        for q in queries
    ]


def _run(task: tuple[str, str, str, list[bytes], int, float, float]) -> tuple[array[float], float, int]:
    """Generate load from this process."""
    kind, address, token, requests, connections, rate, seconds = task
    path = _BATCHED if kind == "batch" else _SINGLE
    door: Callable[[str, str, str], load.Connection] = load.JSON if kind == "json" else load.GRPC
    opened = [door(address, path, token) for _ in range(connections)]
    if rate:
        outcome = load.open_loop(opened, requests, rate, seconds)
    else:
        outcome = load.closed_loop(opened, requests, max(connections, _CONCURRENCY), seconds)
    return outcome.latencies, outcome.seconds, outcome.errors


def _drive(
    hub: RunningHub, kind: str, requests: list[bytes], rate: float, seconds: float, processes: int
) -> dict[str, float]:
    address = hub.http.removeprefix("http://") if kind == "json" else hub.address
    task = (kind, address, hub.token, requests, _CONNECTIONS // processes, rate / processes, seconds)
    if processes == 1:
        parts = [_run(task)]
    else:
        with multiprocessing.get_context("spawn").Pool(processes) as pool:
            parts = pool.map(_run, [task] * processes)
    latencies = np.concatenate([np.asarray(p[0]) for p in parts])
    errors = sum(p[2] for p in parts)
    longest = max(p[1] for p in parts)
    return {"calls_per_second": len(latencies) / longest, "errors": errors, **result.percentiles(latencies)}


def _h2load(hub: RunningHub, requests: list[bytes], seconds: float) -> float | None:
    """Return single lookups a second as h2load counts them; None where it is not installed."""
    tool = shutil.which("h2load")
    if tool is None:
        return None
    with tempfile.NamedTemporaryFile() as body:
        body.write(b"\0" + len(requests[0]).to_bytes(4) + requests[0])
        body.flush()
        command = [tool, "-D", f"{seconds:g}", "-c", str(_CONNECTIONS), "-m", "2", "-d", body.name]
        for header in ("content-type: application/grpc", "te: trailers", f"authorization: Bearer {hub.token}"):
            command += ["-H", header]
        run = subprocess.run([*command, f"http://{hub.address}{_SINGLE}"], capture_output=True, text=True, check=True)
    return requests_per_second(run.stdout)


def requests_per_second(said: str) -> float:
    """Return what h2load counted."""
    found = _H2LOAD.search(said)
    if found is None:
        msg = "h2load said nothing of requests a second"
        raise ValueError(msg)
    return float(found.group(1))


def measure(n: int, workers: int, seconds: float, processes: int) -> list[dict[str, Any]]:
    """Measure one hub."""
    rows = []
    with hub_of(n, workers) as (hub, known):
        for kind in ("single", "batch", "json"):
            requests = _requests(known, kind)
            _drive(hub, kind, requests, 0, min(2.0, seconds), 1)  # warm
            most = _drive(hub, kind, requests, 0, seconds, processes)
            at = _drive(hub, kind, requests, _SHARE * most["calls_per_second"], seconds, processes)
            row: dict[str, Any] = {
                "n": n,
                "workers": workers,
                "kind": kind,
                "calls_per_second": most["calls_per_second"],
                "hashes_per_second": most["calls_per_second"] * (_BATCH if kind == "batch" else 1),
                "saturated_p50_ms": most["p50_us"] / 1e3,
                "saturated_p99_ms": most["p99_us"] / 1e3,
                "at_70_rate": at["calls_per_second"],
                "at_70_p50_ms": at["p50_us"] / 1e3,
                "at_70_p99_ms": at["p99_us"] / 1e3,
                "errors": most["errors"] + at["errors"],
                "server_mib": result.resident_mib(hub.pid),
            }
            if kind == "single" and (external := _h2load(hub, requests, seconds)) is not None:
                row["h2load_calls_per_second"] = external
            rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=100_000, help="digests in the index (100,000)")
    parser.add_argument("--workers", default="1", help="worker processes of the server, comma-separated (1)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each run (5)")
    parser.add_argument("--processes", type=int, default=1, help="that generate load (1)")
    parser.add_argument("--out", type=Path, help="where to write the result; default: bench/results/server-N.json")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for workers in map(int, options.workers.split(",")):
        rows += measure(options.n, workers, options.seconds, options.processes)
        result.show(rows[-3:])
    parameters = {"seconds": options.seconds, "processes": options.processes, "concurrency": _CONCURRENCY}
    packages = ("grpcio", "protobuf", "numpy", "numba", "faiss-cpu")
    result.save(f"server-{options.n}", parameters, rows, out=options.out, packages=packages)


if __name__ == "__main__":
    main()
