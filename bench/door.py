"""Single lookups through each interface of one hub, under load.

    python -m bench.door --entries 1000000 --workers 2 --data DIR

The hub holds random PDQ digests, one an entry; one query of a hundred is near one of them. Entries are written through
the store, as the commit of an import writes them, and the matcher's snapshot is built from the same digests. With
--data the filled directory is kept, and used again as it is.

A lookup is MatchHashes with one hash. `connect`: the Connect protocol with binary messages; `single`: gRPC; `json`:
plain JSON; `hma`: HMA's route, half of the queries near an entry. Each first closed loop, as many as the server
takes; then `connect` at 70 % of what is promised, at fixed times. Of each answer the load generator (bench/load.py)
reads the status and the length only: before and after the load a sample of answers is read whole, over `connect` and
over gRPC.

The feeds are taken by one client, ThreatExchange's as a whole, of TAXII's and MISP's the first 100,000 entries. Entries
a second depend on what else the machine does: `server_cores` and `generator_cores`, divided by them, are the processor
time of an entry.

The generator shares the cores. `generator_cores` is what it takes, which a client on another machine would not.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import http.client
import json
import multiprocessing
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from bench import load, result
from hashhub import v1, wire
from hashhub.client import Client
from hashhub.hashes import Hash
from hashhub.hub.follow import SnapshotMark
from hashhub.matcher import Matcher
from hashhub.misp_feed import MISPFeed
from hashhub.model import (
    Contributor,
    ContributorKind,
    Counts,
    EntryState,
    FeedPage,
    HashSet,
    Import,
    MatchOptions,
    Query,
    Record,
    Verdict,
)
from hashhub.store import Store
from hashhub.testing.hub_process import RunningHub, running_hub
from tests.rows import EntryRow, pack_entries

Digests = NDArray[np.uint8]

_PIECE: Final = 10_000  # entries that the store is given at a time
_REQUESTS: Final = {"single": 20_000, "connect": 20_000, "json": 5_000, "hma": 5_000}  # different ones
_TARGET: Final = 10_000.0  # calls a second by Connect, two workers on two cores that the generator shares
_SHARE: Final = 0.7
_CONCURRENCY: Final = 32
_CONNECTIONS: Final = 16  # the kernel deals them to the workers
_TAKEN: Final = 100_000  # entries of feeds that are slow
_VERIFIED: Final = 100  # answers of each kind
_PATH: Final = "/hashhub.v1.MatchService/MatchHashes"
HMA_PATH: Final = "/hma/m/lookup"
_DOORS: Final[dict[str, Callable[[str, str, str], load.Connection]]] = {
    "connect": load.Connect,
    "json": load.JSON,
    "hma": load.HMA,
}
_OPTIONS: Final = MatchOptions(policy="any")
_STARTING: Final = 0.5  # seconds for the generators to connect, before they begin together


# The hub


def random_digests(count: int) -> Digests:
    """Return the digests of a hub with so many entries."""
    return np.frombuffer(np.random.default_rng(result.SEED).bytes(32 * count), np.uint8).reshape(-1, 32)


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
        store.commits.begin_commit(opened)
        first = store.stage.allocate_entries(opened, len(digests))
        for start in range(0, len(digests), _PIECE):
            rows = [
                EntryRow(
                    first + i,
                    EntryState.ACTIVE,
                    Record(position=f"line {i + 1}", hashes=(Hash("PDQ", digests[i].tobytes()),)),
                )
                for i in range(start, min(start + _PIECE, len(digests)))
            ]
            store.stage.stage_entries(opened, pack_entries(rows))
        store.commits.finish_commit(opened, counts=Counts(items=len(digests), accepted=len(digests)))
        with Matcher(data / "matcher" / store.database_id) as matcher:
            matcher.rebuild(store.revision(), [("PDQ", digests)])
        # As the hub's follower leaves it: without it the first hub to open this would not know whose snapshot it is,
        # and build it anew.
        mark = SnapshotMark(data / "matcher" / store.database_id / "POSITION", publisher=True)
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


def verify(hub: RunningHub, digests: Digests) -> None:
    """Check a sample of answers, by gRPC and by the Connect protocol: what is near an entry is found with it, what is
    near none is not.
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
    near_requests = single_requests(sample_queries(digests, _VERIFIED, _VERIFIED, result.SEED))
    far_requests = single_requests(sample_queries(digests, _VERIFIED, 0, result.SEED + 1))
    headers = {"Authorization": f"Bearer {hub.token}", "Content-Type": "application/proto"}
    with contextlib.closing(http.client.HTTPConnection(hub.http.removeprefix("http://"))) as connection:
        for i, request in enumerate((*near_requests, *far_requests)):
            connection.request("POST", _PATH, request, headers)
            told = v1.MatchHashesResponse.FromString(connection.getresponse().read())
            is_miss = told.result.verdict == v1.Verdict.VERDICT_NO_MATCH
            said = is_miss, [match.distance for match in told.result.matches]
            assert said == ((False, [12]) if i < len(near_requests) else (True, [])), "the answers over HTTP are wrong"


def take_feeds(hub: RunningHub, digests: Digests) -> list[dict[str, Any]]:
    """Take the hash set as partners' clients do, by one of them, each page after the one before."""
    rows = []
    for kind, take in _FEEDS.items():
        served, sent = sum(map(result.cpu_seconds, result.family(hub.pid))), time.process_time()
        began = time.perf_counter()
        given = take(hub)
        seconds = time.perf_counter() - began
        served, sent = sum(map(result.cpu_seconds, result.family(hub.pid))) - served, time.process_time() - sent
        told = set(map(bytes, np.frombuffer(given, np.uint8).reshape(-1, digests.shape[1])))
        whole = set(map(bytes, digests))
        assert told <= whole, f"the feed of {kind} is not what stands"
        assert len(told) >= (len(whole) if kind == "threatexchange" else min(len(whole), _TAKEN)), (
            f"{kind} left some out"
        )
        rows.append(
            {
                "calls": f"{kind}, entries",
                "calls_per_second": len(told) / seconds,
                "server_cores": served / seconds,
                "generator_cores": sent / seconds,
            }
        )
    return rows


def _take_threatexchange(hub: RunningHub) -> bytearray:
    told = bytearray()  # a set of texts would cost the client the more the more it holds
    path = f"/threatexchange/bench/pdq/1/threat_updates/?access_token={hub.token}&limit=1000"
    with contextlib.closing(http.client.HTTPConnection(hub.http.removeprefix("http://"))) as connection:
        while path:
            connection.request("GET", path)
            page = json.loads(connection.getresponse().read())
            told += bytes.fromhex("".join(update["indicator"] for update in page["data"]))
            path = page.get("paging", {}).get("next", "").removeprefix(hub.http)
    return told


def _take_taxii(hub: RunningHub) -> bytearray:
    told = bytearray()
    headers = {"Authorization": f"Bearer {hub.token}", "Accept": "application/taxii+json;version=2.1"}
    with contextlib.closing(http.client.HTTPConnection(hub.http.removeprefix("http://"))) as connection:

        def ask(path: str) -> Any:
            connection.request("GET", f"/taxii2/bench/pdq/collections/{path}", headers=headers)
            return json.loads(connection.getresponse().read())

        (collection,) = ask("")["collections"]
        further = ""
        while len(told) < 32 * _TAKEN:
            page = ask(f"{collection['id']}/objects/?limit=2000{further}")
            found = [one["pattern"].split("'")[-2] for one in page["objects"] if one["type"] == "indicator"]
            told += bytes.fromhex("".join(found))
            if not page.get("more"):
                break
            further = f"&next={page['next']}"
    return told


class _FirstEntries(Client):
    """Gives the first entries of the change feed as if there were no others."""

    def list_changes(self, position: str = "", **options: Any) -> Iterator[FeedPage]:
        count = 0
        for page in super().list_changes(position, **options):
            count += sum(change.entry is not None for change in page.changes)
            yield msgspec.structs.replace(page, is_complete=page.is_complete or count >= _TAKEN)
            if count >= _TAKEN:
                break


def _take_misp(hub: RunningHub) -> bytearray:
    """Write the files that a MISP fetches."""
    told = bytearray()
    with (
        tempfile.TemporaryDirectory(prefix="hashhub-bench-") as name,
        _FirstEntries(hub.address, hub.token) as client,
        MISPFeed(Path(name)) as files,
    ):
        files.update(client)
        for path in files.files.glob("*-*.json"):
            objects = json.loads(path.read_bytes())["Event"]["Object"]
            found = [x["value"] for one in objects for x in one["Attribute"] if x["object_relation"] == "pdq"]
            told += bytes.fromhex("".join(found))
    return told


_FEEDS: Final = {"threatexchange": _take_threatexchange, "taxii": _take_taxii, "misp": _take_misp}


# The load


def requests(digests: Digests, kind: str) -> list[bytes]:
    """Return different requests of one kind; one query of a hundred is near an entry, at HMA's route every second."""
    count = _REQUESTS[kind]
    queries = sample_queries(digests, count, count // (2 if kind == "hma" else 100), result.SEED)
    if kind == "hma":
        return [b"signal_type=pdq&signal=" + q.tobytes().hex().encode() for q in queries]
    if kind == "json":
        options = {"policy": _OPTIONS.policy}
        digest = [base64.b64encode(q.tobytes()).decode() for q in queries]
        return [
            json.dumps({"query": {"hashes": [{"algorithm": "PDQ", "digest": d}]}, "options": options}).encode()
            for d in digest
        ]
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
    path = HMA_PATH if task.kind == "hma" else _PATH
    with load.connected(door, task.connections, task.address, path, task.token) as opened:
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
        self._requests = {kind: requests(digests, kind) for kind in _REQUESTS}

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

    def run(self, kind: str, tasks: list[Task]) -> dict[str, Any]:
        """Send these tasks at once, and return what came of them."""
        hub = result.family(self._hub.pid)
        served = sum(map(result.cpu_seconds, hub))
        sent = self._pool.map(_send, tasks, chunksize=1)
        served = sum(map(result.cpu_seconds, hub)) - served
        outcomes = [outcome for outcome, _ in sent]
        latencies = np.concatenate([np.asarray(o.latencies) for o in outcomes])
        failures = sum((o.errors for o in outcomes), Counter[str]())
        seconds = max(o.seconds for o in outcomes)
        return {
            "calls": kind,
            "offered": sum(t.rate for t in tasks) or None,
            "calls_per_second": sum(len(o.latencies) / o.seconds for o in outcomes),
            **{name.replace("_us", "_ms"): value / 1e3 for name, value in result.percentiles(latencies).items()},
            "errors": failures.total() / max(len(latencies) + failures.total(), 1),
            "failures": dict(failures),
            "server_cores": served / seconds,
            "generator_cores": sum(took for _, took in sent) / seconds,
        }


def measure(data: Path, digests: Digests, workers: int, seconds: float, processes: int) -> list[dict[str, Any]]:
    """Measure each interface of one hub."""
    spawn = multiprocessing.get_context("spawn")
    with running_hub(data, "--workers", str(workers)) as hub, spawn.Pool(processes) as pool:
        verify(hub, digests)
        bench = Bench(hub, pool, processes, digests)
        rows = []
        for kind in ("single", "json", "connect", "hma"):
            bench.run(kind, bench.tasks(kind, min(2.0, seconds), concurrency=_CONCURRENCY))  # warm
            rows.append(bench.run(kind, bench.tasks(kind, seconds, concurrency=_CONCURRENCY)))
        rows.append(bench.run("connect", bench.tasks("connect", seconds, rate=_SHARE * _TARGET)))
        rows += [dict.fromkeys(rows[0]) | row for row in take_feeds(hub, digests)]
        verify(hub, digests)
    return [{"n": len(digests), "workers": workers, **row} for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=100_000, help="in the hub (100,000)")
    parser.add_argument("--workers", type=int, default=2, help="worker processes of the server (2)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each run (5)")
    parser.add_argument("--processes", type=int, default=1, help="that generate load (1)")
    parser.add_argument(
        "--data", type=Path, help="the hub's directory, kept for further runs; default: a temporary one"
    )
    parser.add_argument("--out", type=Path, help="where to write the result; default: bench/results/door-N.json")
    options = parser.parse_args()
    digests = random_digests(options.entries)
    with tempfile.TemporaryDirectory(prefix="hashhub-bench-") as name:
        data = options.data or Path(name)
        fill(data, digests)
        rows = measure(data, digests, options.workers, options.seconds, options.processes)
        result.show(rows, [c for c in rows[0] if c != "failures"])
    parameters = {"seconds": options.seconds, "processes": options.processes, "concurrency": _CONCURRENCY}
    packages = ("uvicorn", "httptools", "uvloop", "grpcio", "protobuf", "numpy", "numba", "faiss-cpu")
    result.save(f"door-{options.entries}", parameters, rows, out=options.out, packages=packages)


if __name__ == "__main__":
    main()
