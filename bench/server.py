"""What a running hub answers: lookups a second, hashes a second in batches, latencies below saturation, and small calls
beside big ones.

    python -m bench.server --n 10000000 --workers 1,2 --data DIR

The hub holds n entries with random PDQ digests; one query of a hundred is near one of them. They are written through
the store, as the commit of an import writes them, and the matcher's snapshot is built from the same digests: what a
client would send and hygiene would check is left out. With --data the filled directory is kept, and used again as it
is.

For each kind of call, first as many as the server takes (closed loop), then 70 % of the target, or of what it takes
where there is no target, at fixed times (open loop). `single`: one hash a call. `batch`: 100. `json`: one hash as plain
JSON over HTTP. `single beside big`: 1,000 single calls a second while two batches of 1,000 are always in progress.

The load comes from processes on the same machine (bench/load.py). `h2load`, where it is installed, sends single calls
too, as a check on that generator; it repeats one request, and sees no error but HTTP's. The server keeps no answers, so
that a repeated request costs it a search like any other, though one whose memory the processor still holds; the other
figures come from 20,000 different queries.
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
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench import load, result
from hashhub import v1, wire
from hashhub.client import Client
from hashhub.hashes import Hash
from hashhub.hub.follow import Mark
from hashhub.matcher import Matcher
from hashhub.model import (
    Contributor,
    ContributorKind,
    Counts,
    EntryState,
    HashSet,
    Import,
    MatchOptions,
    Query,
    Record,
    Verdict,
)
from hashhub.store import Store
from hashhub.testing.hub_process import RunningHub, running_hub
from hashhub.testing.rows import EntryRow, pack_entries

Digests = NDArray[np.uint8]

_PIECE: Final = 10_000  # entries that the store is given at a time
_HASHES: Final = {"single": 1, "connect": 1, "batch": 100, "json": 1, "big": 1000}  # in one call
_REQUESTS: Final = {"single": 20_000, "connect": 20_000, "batch": 200, "json": 5_000, "big": 20}  # different ones
_TARGETS: Final = {"single": 4_000.0, "batch": 80.0}  # calls a second
_SHARE: Final = 0.7
_CONCURRENCY: Final = 32
_CONNECTIONS: Final = 16  # the kernel deals them to the workers
_BESIDE: Final = 1_000.0  # single calls a second beside big ones
_PATHS: Final = {
    "single": "/hashhub.v1.MatchService/MatchHashes",
    "connect": "/hashhub.v1.MatchService/MatchHashes",
    "json": "/hashhub.v1.MatchService/MatchHashes",
    "batch": "/hashhub.v1.MatchService/BatchMatchHashes",
    "big": "/hashhub.v1.MatchService/BatchMatchHashes",
}
_DOORS: Final[dict[str, Callable[[str, str, str], load.Connection]]] = {"connect": load.Connect, "json": load.JSON}
_OPTIONS: Final = MatchOptions(policy="any")
_STARTING: Final = 0.5  # seconds for the generators to connect, before they begin together
_H2LOAD: Final = re.compile(r"finished in [\d.]+m?s, ([\d.]+) req/s")


# The hub


def fill(data: Path, digests: Digests) -> float:
    """Write an entry for each digest and the matcher's snapshot into `data`, and return the seconds it took, now or
    when it was filled.
    """
    label = {"n": len(digests), "seed": result.SEED}
    marker = data / "bench.json"
    if marker.exists():
        found = json.loads(marker.read_text("utf-8"))
        if found.items() >= label.items():
            return float(found["seconds"])
        msg = f"--data holds {found['n']:,} entries, not {len(digests):,}; name another directory"
        raise SystemExit(msg)
    data.mkdir(parents=True, exist_ok=True)
    if any(data.iterdir()):
        msg = "--data is neither empty nor filled by an earlier run that ended well; name another directory"
        raise SystemExit(msg)
    seconds = result.timed(lambda: _write(data, digests))
    marker.write_text(json.dumps({**label, "seconds": seconds}), "utf-8")
    return seconds


def _write(data: Path, digests: Digests) -> None:
    store = Store.open(data)
    try:
        store.resources.create_contributor(
            Contributor(id="bench", display_name="Bench", kind=ContributorKind.HOTLINE, jurisdiction="ZZ")
        )
        store.resources.create_hash_set(HashSet(contributor="bench", id="pdq"))
        new = Import(
            id="", contributor="bench", hash_set="pdq", connector="bench", connector_version="1", source_digest="0"
        )
        opened = store.imports.create_import(new).id
        store.imports.begin_commit(opened)
        first = store.imports.allocate_entries(opened, len(digests))
        for start in range(0, len(digests), _PIECE):
            rows = [
                EntryRow(
                    first + i,
                    EntryState.ACTIVE,
                    Record(position=f"line {i + 1}", hashes=(Hash("PDQ", digests[i].tobytes()),)),
                )
                for i in range(start, min(start + _PIECE, len(digests)))
            ]
            store.imports.stage_entries(opened, pack_entries(rows))
        store.imports.finish_commit(opened, counts=Counts(items=len(digests), accepted=len(digests)))
        with Matcher(data / "matcher" / store.database_id) as matcher:
            matcher.rebuild(store.revision(), [("PDQ", digests)])
        # As the hub's follower leaves it: without it the first hub to open this would not know whose snapshot it is,
        # and build it anew.
        mark = Mark(data / "matcher" / store.database_id / "POSITION", publisher=True)
        mark.write(store.history.position(), store.revision())
    finally:
        store.close()


def sample_queries(digests: NDArray[np.uint8], count: int, hits: int, seed: int) -> NDArray[np.uint8]:
    """Return `count` random queries, of which `hits` are stored digests with 12 bits flipped."""
    rng = np.random.default_rng([seed, 1])  # not the stream that the digests came from
    queries = rng.integers(0, 256, (count, digests.shape[1]), np.uint8)
    for at in rng.choice(count, hits, replace=False):
        near = digests[rng.integers(len(digests))].copy()
        for bit in rng.choice(8 * len(near), 12, replace=False):
            near[bit // 8] ^= 1 << (bit % 8)
        queries[at] = near
    return queries


def batch_request(queries: NDArray[np.uint8]) -> bytes:
    """Return the bytes of a BatchMatchHashes request."""
    message = v1.BatchMatchHashesRequest(
        queries=[wire.query_to_pb(Query(hashes=(Hash("PDQ", q.tobytes()),))) for q in queries],
        options=wire.options_to_pb(_OPTIONS),
    )
    return message.SerializeToString()


def verify(hub: RunningHub, digests: Digests) -> None:
    """Check a sample of answers through the typed client: what is near an entry is found with it, what is near none is
    not.
    """
    rows = np.random.default_rng(result.SEED).choice(len(digests), 100, replace=False)
    near = [sample_queries(digests[i : i + 1], 1, 1, int(i))[0] for i in rows]
    far = list(sample_queries(digests, 100, 0, result.SEED + 1))
    queries = [Query(hashes=(Hash("PDQ", q.tobytes()),)) for q in (*near, *far)]
    with Client(hub.address, hub.token) as client:
        answers = list(client.match_hashes(queries, _OPTIONS))
        assert [client.match(q, _OPTIONS).result for q in queries[:10]] == [a.result for a in answers[:10]]
    for i, answer in zip(rows, answers, strict=False):
        found = [(m.entry.hashes[0].digest, m.distance) for m in answer.result.matches]
        assert found == [(digests[i].tobytes(), 12)], "the hub's answers are wrong"
    assert all(a.result.verdict is Verdict.NO_MATCH for a in answers[len(near) :])


# The load


def _requests(digests: Digests, kind: str) -> list[bytes]:
    """Return different requests of one kind; one query of a hundred is near an entry."""
    size = _HASHES[kind]
    count = _REQUESTS[kind] * size
    queries = sample_queries(digests, count, count // 100, result.SEED)
    if kind == "json":
        options = {"policy": _OPTIONS.policy}
        digest = [base64.b64encode(q.tobytes()).decode() for q in queries]
        return [
            json.dumps({"query": {"hashes": [{"algorithm": "PDQ", "digest": d}]}, "options": options}).encode()
            for d in digest
        ]
    if size > 1:
        return [batch_request(queries[i : i + size]) for i in range(0, count, size)]
    return single_requests(queries)


def single_requests(queries: NDArray[np.uint8]) -> list[bytes]:
    """Return the bytes of a MatchHashes request for each query."""
    sent = wire.options_to_pb(_OPTIONS)
    return [
        v1.MatchHashesRequest(
            query=wire.query_to_pb(Query(hashes=(Hash("PDQ", q.tobytes()),))), options=sent
        ).SerializeToString()
        for q in queries
    ]


@dataclass(frozen=True)
class Task:
    """What one process sends: either `concurrency` calls at a time or `rate` a second, from `begin` (of perf_counter)
    on.
    """

    kind: str
    address: str
    token: str
    requests: Sequence[bytes]
    connections: int
    seconds: float
    begin: float
    concurrency: int = 0
    rate: float = 0.0


def _send(task: Task) -> tuple[load.Outcome, float]:
    """Generate load in this process; return also the processor time that took."""
    door = _DOORS.get(task.kind, load.GRPC)
    with load.connected(door, task.connections, task.address, _PATHS[task.kind], task.token) as opened:
        time.sleep(max(0.0, task.begin - time.perf_counter()))
        before = time.process_time()
        outcome = load.run(opened, task.requests, task.seconds, concurrency=task.concurrency, rate=task.rate)
        return outcome, time.process_time() - before


class Bench:
    """One hub under one load after another."""

    def __init__(self, hub: RunningHub, pool: Pool, processes: int, digests: Digests) -> None:
        """`pool`: of fresh processes, as many as generate load together."""
        self._hub = hub
        self._pool = pool
        self._processes = processes
        self._requests = {kind: _requests(digests, kind) for kind in _HASHES}

    def tasks(self, kind: str, seconds: float, *, rate: float = 0.0, concurrency: int = 0) -> list[Task]:
        """Divide one load among the processes."""
        address = self._hub.http.removeprefix("http://") if kind in _DOORS else self._hub.address
        requests, parts = self._requests[kind], self._processes
        return [
            Task(
                kind, address, self._hub.token, requests[i::parts],
                max(1, min(_CONNECTIONS, concurrency or _CONNECTIONS) // parts),
                seconds, time.perf_counter() + _STARTING, concurrency=concurrency // parts, rate=rate / parts,
            )
            for i in range(parts)
        ]  # fmt: skip

    def run(self, label: str, wanted: list[Task], beside: Sequence[Task] = ()) -> dict[str, Any]:
        """Send these tasks at once, and return what came of `wanted`; of `beside`, only the calls a second and the
        errors.
        """
        hub = result.family(self._hub.pid)
        served = sum(map(result.cpu_seconds, hub))
        found = self._pool.map(_send, [*wanted, *beside], chunksize=1)
        served = sum(map(result.cpu_seconds, hub)) - served
        outcomes = [outcome for outcome, _ in found[: len(wanted)]]
        others = [outcome for outcome, _ in found[len(wanted) :]]
        latencies = np.concatenate([np.asarray(o.latencies) for o in outcomes])
        failures = sum((o.errors for o in (*outcomes, *others)), Counter[str]())
        calls = len(latencies) + sum(len(o.latencies) for o in others) + failures.total()
        seconds = max(o.seconds for o in (*outcomes, *others))
        rate = sum(len(o.latencies) / o.seconds for o in outcomes)
        hashes = sum(
            _HASHES[t.kind] * len(o.latencies) / o.seconds
            for t, (o, _) in zip((*wanted, *beside), found, strict=True)
        )  # fmt: skip
        return {
            "calls": label,
            "offered": sum(t.rate for t in wanted) or None,
            "calls_per_second": rate,
            "hashes_per_second": hashes,
            **{name.replace("_us", "_ms"): value / 1e3 for name, value in result.percentiles(latencies).items()},
            "errors": failures.total() / max(calls, 1),
            "failures": dict(failures),
            "server_cores": served / seconds,
            "generator_cores": sum(took for _, took in found) / seconds,
        }

    def all(self, seconds: float) -> list[dict[str, Any]]:
        """Measure every kind of call, and small ones beside big ones."""
        rows = []
        for kind in ("single", "batch", "json"):
            self.run(kind, self.tasks(kind, min(2.0, seconds), concurrency=_CONCURRENCY))  # warm
            most = self.run(kind, self.tasks(kind, seconds, concurrency=_CONCURRENCY))
            rate = _SHARE * _TARGETS.get(kind, most["calls_per_second"])
            rows += [most, self.run(kind, self.tasks(kind, seconds, rate=rate))]
        rows.append(self.run("single alone", self.tasks("single", seconds, rate=_BESIDE)))
        big = self.tasks("big", seconds, concurrency=2 * self._processes)
        rows.append(self.run("single beside big", self.tasks("single", seconds, rate=_BESIDE), big))
        if (external := self._h2load(seconds)) is not None:
            rows.append({"calls": "single, h2load", "calls_per_second": external, "hashes_per_second": external})
        return rows

    def _h2load(self, seconds: float) -> float | None:
        """Return single lookups a second as h2load counts them; None where it is not installed."""
        tool = shutil.which("h2load")
        if tool is None:
            return None
        request = self._requests["single"][0]
        with tempfile.NamedTemporaryFile() as body:
            body.write(b"\0" + len(request).to_bytes(4) + request)
            body.flush()
            streams = _CONCURRENCY // _CONNECTIONS
            command = [
                tool, "-D", f"{round(1000 * seconds)}ms", "-c", str(_CONNECTIONS), "-m", str(streams), "-d", body.name,
            ]  # fmt: skip
            for header in (
                "content-type: application/grpc",
                "te: trailers",
                f"authorization: Bearer {self._hub.token}",
            ):
                command += ["-H", header]
            url = f"http://{self._hub.address}{_PATHS['single']}"
            said = subprocess.run([*command, url], capture_output=True, text=True, check=True).stdout
        return requests_per_second(said)


def requests_per_second(said: str) -> float:
    """Return what h2load counted."""
    found = _H2LOAD.search(said)
    if found is None:
        msg = "h2load said nothing of requests a second"
        raise ValueError(msg)
    return float(found.group(1))


def measure(data: Path, digests: Digests, workers: int, seconds: float, processes: int) -> list[dict[str, Any]]:
    """Measure one hub."""
    spawn = multiprocessing.get_context("spawn")
    with running_hub(data, "--workers", str(workers)) as hub, spawn.Pool(2 * processes) as pool:
        verify(hub, digests)
        rows = Bench(hub, pool, processes, digests).all(seconds)
        verify(hub, digests)
        memory = result.shared_mib(result.family(hub.pid))
    return [{"n": len(digests), "workers": workers, **row, "server_mib": memory} for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=100_000, help="entries in the hub (100,000)")
    parser.add_argument("--workers", default="1", help="worker processes of the server, comma-separated (1)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each run (5)")
    parser.add_argument("--processes", type=int, default=1, help="that generate load (1)")
    parser.add_argument(
        "--data", type=Path, help="the hub's directory, kept for further runs; default: a temporary one"
    )
    parser.add_argument("--out", type=Path, help="where to write the result; default: bench/results/server-N.json")
    options = parser.parse_args()
    digests = np.frombuffer(np.random.default_rng(result.SEED).bytes(32 * options.n), np.uint8).reshape(-1, 32)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="hashhub-bench-") as name:
        data = options.data or Path(name)
        filled = fill(data, digests)
        print(f"{options.n:,} entries and their snapshot took {filled:.1f} s to write", flush=True)
        for workers in map(int, options.workers.split(",")):
            found = measure(data, digests, workers, options.seconds, options.processes)
            result.show(found, [c for c in found[0] if c not in {"failures", "server_mib"}])
            rows += found
    parameters = {
        "seconds": options.seconds,
        "processes": options.processes,
        "concurrency": _CONCURRENCY,
        "fill_seconds": filled,
    }
    packages = ("grpcio", "protobuf", "numpy", "numba", "faiss-cpu")
    result.save(f"server-{options.n}", parameters, rows, out=options.out, packages=packages)


if __name__ == "__main__":
    main()
