"""Single lookups through each door of one hub, in one run, and where the time of one goes.

    python -m bench.door --entries 10000000 --workers 2 --data DIR

The hub and its entries are those of `bench.server`, which also sends the load. A lookup is MatchHashes with one PDQ
hash; one of a hundred is near an entry. `connect`: the Connect protocol with binary messages, the door that is meant
for this; `single`: gRPC; `json`: plain JSON. Each first closed loop, as many as the server takes; then `connect` at
70 % of the target at fixed times. Of each answer the load generator reads the status and the length only: before and
after the load a sample of answers is read whole, over `connect` and over gRPC.

The generator shares the cores. `generator_cores` is what it takes, which a client on another machine would not.

Then one lookup in this process, step by step, without any socket: `hub` is the hub's own work, `gate` adds
authentication, roles, counting and both codecs, `door` adds what the HTTP door does around the gate.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import http.client
import multiprocessing
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np

from bench import result, server
from hashhub import v1, wire
from hashhub.config import Config
from hashhub.hub import Hub
from hashhub.model import MatchOptions, Principal, Role
from hashhub.server import servicers
from hashhub.server.http_door import HTTPDoor
from hashhub.server.interceptors import Envelope, Gate
from hashhub.server.lanes import Callers
from hashhub.server.metrics import Metrics
from hashhub.server.rooms import rooms_of
from hashhub.server.shares import TokenShares
from hashhub.testing.hub_process import running_hub

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.message import Message

    from hashhub.server.hyper import Request
    from hashhub.server.interceptors import Method
    from hashhub.testing.hub_process import RunningHub

_TARGET: Final = 12_000.0  # calls a second with two workers, on two cores that the generator shares
_SHARE: Final = 0.7
_CONCURRENCY: Final = 32
_PATH: Final = "/hashhub.v1.MatchService/MatchHashes"
_ROUNDS: Final = 5
_VERIFIED: Final = 100  # answers of each kind
_SECRET: Final = "hh_bench"  # noqa: S105 - of a token that exists in this process only


def load(data: Path, digests: server.Digests, workers: int, seconds: float, processes: int) -> list[dict[str, Any]]:
    """Measure each door of one hub."""
    spawn = multiprocessing.get_context("spawn")
    with running_hub(data, "--workers", str(workers)) as hub, spawn.Pool(processes) as pool:
        verify(hub, digests)
        bench = server.Bench(hub, pool, processes, digests)
        rows = []
        for kind in ("single", "json", "connect"):
            bench.run(kind, bench.tasks(kind, min(2.0, seconds), concurrency=_CONCURRENCY))  # warm
            rows.append(bench.run(kind, bench.tasks(kind, seconds, concurrency=_CONCURRENCY)))
        rows.append(bench.run("connect", bench.tasks("connect", seconds, rate=_SHARE * _TARGET)))
        verify(hub, digests)
    return [{"n": len(digests), "workers": workers, **row} for row in rows]


def verify(hub: RunningHub, digests: server.Digests) -> None:
    """Check a sample of answers of both doors: what is near an entry is found, and nothing else."""
    server.verify(hub, digests)
    near = server.single_requests(server.sample_queries(digests, _VERIFIED, _VERIFIED, result.SEED))
    far = server.single_requests(server.sample_queries(digests, _VERIFIED, 0, result.SEED + 1))
    headers = {"Authorization": f"Bearer {hub.token}", "Content-Type": "application/proto"}
    with contextlib.closing(http.client.HTTPConnection(hub.http.removeprefix("http://"))) as connection:
        for i, request in enumerate((*near, *far)):
            connection.request("POST", _PATH, request, headers)
            answer = v1.MatchHashesResponse.FromString(connection.getresponse().read())
            is_miss = answer.result.verdict == v1.Verdict.VERDICT_NO_MATCH
            said = is_miss, [match.distance for match in answer.result.matches]
            assert said == ((False, [12]) if i < len(near) else (True, [])), "the HTTP door's answers are wrong"


class _Sent:
    """A request that has arrived whole, for the door to answer."""

    verb, path, query = "POST", _PATH, ""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._headers = {
            "authorization": f"Bearer {_SECRET}", "content-type": "application/proto",
            "connect-protocol-version": "1", "content-length": str(len(body)),
        }  # fmt: skip
        self.header = self._headers.get
        self.length = len(body)
        self.status = 0
        self.is_read = False

    def describe(self) -> str:
        return "bench"

    def collect(self, then: Any) -> None:
        then(lambda: self._body)

    def watch(self) -> Callable[[], bool]:
        return lambda: True

    def answer(self, status: int, headers: object, body: bytes) -> None:
        del headers, body
        self.status = status


def steps(data: Path, digests: server.Digests, count: int) -> list[dict[str, Any]]:
    """Return the median microseconds of one lookup up to each step, all of them in turn in each round."""
    requests = server.single_requests(server.sample_queries(digests, count, count // 100, result.SEED + 2))
    options = MatchOptions(policy="any")
    with Hub.open(Config(data=str(data))) as hub:
        hub.start()
        operator = Principal(name="bench", role=Role.OPERATOR)
        config = Config()
        shares = TokenShares(config, cores=1)
        gate = Gate(lambda _: operator, Metrics(), rooms_of(config), shares, lambda _: operator)
        method = servicers.methods(hub, lambda: False, config.max_message_bytes)[_PATH]
        door = HTTPDoor(
            gate,
            {_PATH: method},
            _run,
            health=lambda: (True, b"{}"),
            scrape=str,
            max_message_bytes=1 << 20,
            body_bytes=1 << 30,
            callers=Callers(),
        )
        envelope = Envelope(authorization=f"Bearer {_SECRET}", peer=str)

        def by_hub() -> None:
            for query in models:
                hub.match.hashes(operator, [query], options)

        def by_gate() -> None:
            for body in requests:
                gate.call(method, envelope, functools.partial(method.request.FromString, body), _serialized)

        def by_door() -> None:
            for body in requests:
                sent = _Sent(body)
                door.handle(cast("Request", sent))
                assert sent.status == 200, "the door refused a lookup"

        models = [wire.query_from_pb(v1.MatchHashesRequest.FromString(body).query) for body in requests]
        taken: dict[str, list[float]] = {"hub": [], "gate": [], "door": []}
        for _ in range(_ROUNDS):
            for name, work in (("hub", by_hub), ("gate", by_gate), ("door", by_door)):
                taken[name].append(result.timed(work) / count * 1e6)
        door.close(0)
    return [{"step": name, "us": float(np.median(times))} for name, times in taken.items()]


def _run(work: Callable[[], None], _: Method | None, __: Principal | None) -> bool:
    work()
    return True


def _serialized(message: Message) -> bytes:
    return message.SerializeToString()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=100_000, help="in the hub (100,000)")
    parser.add_argument("--workers", type=int, default=2, help="worker processes of the server (2)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each run (5)")
    parser.add_argument("--processes", type=int, default=1, help="that generate load (1)")
    parser.add_argument("--lookups", type=int, default=5_000, help="of each round of the steps (5,000)")
    parser.add_argument(
        "--data", type=Path, help="the hub's directory, kept for further runs; default: a temporary one"
    )
    parser.add_argument("--out", type=Path, help="where to write the result; default: bench/results/door-N.json")
    options = parser.parse_args()
    digests = np.frombuffer(np.random.default_rng(result.SEED).bytes(32 * options.entries), np.uint8).reshape(-1, 32)
    with tempfile.TemporaryDirectory(prefix="hashhub-bench-") as name:
        data = options.data or Path(name)
        server.fill(data, digests)
        rows = load(data, digests, options.workers, options.seconds, options.processes)
        result.show(rows, [c for c in rows[0] if c != "failures"])
        taken = steps(data, digests, options.lookups)
        result.show(taken)
    parameters = {"seconds": options.seconds, "processes": options.processes, "concurrency": _CONCURRENCY}
    packages = ("granian", "grpcio", "protobuf", "numpy", "numba", "faiss-cpu")
    result.save(f"door-{options.entries}", parameters, [*rows, *taken], out=options.out, packages=packages)


if __name__ == "__main__":
    main()
