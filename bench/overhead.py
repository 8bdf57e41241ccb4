"""What the server adds to the matcher, and what `import hashhub` costs.

    python -m bench.overhead --sizes 100000,1000000

The same batches of 100 PDQ queries go, in turn, to the matcher in this process; over a socket to a real server over the
same snapshot; and over a socket to a gRPC server that answers a message of the same size and does nothing else. Two
mixes: misses only, and 5 queries of 100 that hit. What the server adds is the median of the differences between the
first two. The sockets are those of bench/load.py: what grpc's client in Python costs its caller is given beside it
(`grpc_client_alone_ms`, and `typed_client_alone_ms` for hashhub's), but it is not the server's.

In turn, because a machine's speed drifts, and because whoever waits for calls finds colder caches than one who is
called back to back. The figures `…_alone_ms` are of one way called back to back.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import grpc
import numpy as np
from numpy.typing import NDArray

from bench import load, result
from bench.server import batch_request, fill, sample_queries
from hashhub.client import Client
from hashhub.hashes import Hash
from hashhub.matcher import Matcher
from hashhub.model import MatchOptions, Query
from hashhub.testing.hub_process import RunningHub, running_hub

BATCH: Final = 100
_MAX_DISTANCE: Final = 31
_METHOD: Final = "/hashhub.v1.MatchService/BatchMatchHashes"
_HEAVY: Final = ("faiss", "numpy", "numba", "sqlalchemy", "grpc")


def _same(body: bytes) -> bytes:
    return body


@contextmanager
def echo_server(answer: bytes) -> Iterator[str]:
    """Run a gRPC server of one process that answers every call with `answer`, and yield its address: what transport
    alone costs.
    """
    spawn = get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_echo, args=(theirs, answer), daemon=True)
    process.start()
    try:
        yield ours.recv()
    finally:
        ours.close()
        process.join(10)


def _echo(pipe: Connection, answer: bytes) -> None:
    def behaviour(body: bytes, context: grpc.ServicerContext) -> bytes:
        del body, context
        return answer

    class Echo(grpc.GenericRpcHandler):
        def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
            del details
            return grpc.unary_unary_rpc_method_handler(behaviour)

    server = grpc.server(ThreadPoolExecutor(8), handlers=[Echo()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    pipe.send(f"127.0.0.1:{port}")
    with suppress(EOFError):
        pipe.recv()
    server.stop(None).wait()


def measure(n: int, rounds: int) -> list[dict[str, Any]]:
    """Measure one size of the index."""
    rng = np.random.default_rng(result.SEED)
    digests = rng.integers(0, 256, (n, 32), np.uint8)
    with tempfile.TemporaryDirectory(prefix="hashhub-bench-") as name:
        fill(Path(name), digests)
        [snapshots] = [p for p in (Path(name) / "matcher").iterdir() if p.is_dir()]
        with (
            running_hub(Path(name)) as hub,
            Matcher(snapshots, publisher=False) as matcher,
            Client(hub.address, hub.token) as client,
        ):
            assert matcher.status().algorithms["PDQ"].count == n
            return [
                {"n": n, "mix": mix, **_measure_mix(hub, matcher, client, digests, hits, rounds)}
                for mix, hits in (("misses", 0), ("hits 5 of 100", 5))
            ]


def _measure_mix(
    hub: RunningHub, matcher: Matcher, client: Client, digests: NDArray[np.uint8], hits: int, rounds: int
) -> dict[str, float]:
    batches = [sample_queries(digests, BATCH, hits, result.SEED + i) for i in range(40)]
    requests = [batch_request(queries) for queries in batches]
    typed = [[Query(hashes=(Hash("PDQ", q.tobytes()),)) for q in queries] for queries in batches]
    options = MatchOptions(policy="any")
    with grpc.insecure_channel(hub.address) as channel, ExitStack() as stack:
        call = channel.unary_unary(_METHOD, _same, _same)
        metadata = (("authorization", f"Bearer {hub.token}"),)
        echo = stack.enter_context(echo_server(call(requests[0], metadata=metadata)))
        to_hub, to_echo = (load.GRPC(address, _METHOD, hub.token) for address in (hub.address, echo))
        stack.enter_context(to_hub.socket)
        stack.enter_context(to_echo.socket)
        ways: dict[str, Callable[[int], object]] = {
            "matcher": lambda i: matcher.search("PDQ", batches[i], max_distance=_MAX_DISTANCE, limit=1000),
            "server": lambda i: _call(to_hub, requests[i]),
            "echo": lambda i: _call(to_echo, requests[i]),
        }
        took = _in_turn(ways, len(batches), rounds)
        ways["grpc_client"] = lambda i: call(requests[i], metadata=metadata)
        ways["typed_client"] = lambda i: list(client.match_hashes(typed[i], options))
        alone = {way: _in_turn({way: work}, len(batches), rounds)[way] for way, work in ways.items()}
    return {
        **{f"{way}_ms": float(np.median(times)) * 1e3 for way, times in took.items()},
        "server_adds_ms": float(np.median(took["server"] - took["matcher"])) * 1e3,
        "hub_adds_ms": float(np.median(took["server"] - took["matcher"] - took["echo"])) * 1e3,
        **{f"{way}_alone_ms": float(np.median(times)) * 1e3 for way, times in alone.items()},
    }


def _call(connection: load.GRPC, request: bytes) -> None:
    connection.send(request)
    while not (ended := list(connection.receive())):
        pass
    assert ended[0][1] == "", ended


def _in_turn(ways: Mapping[str, Callable[[int], object]], inputs: int, rounds: int) -> dict[str, NDArray[np.float64]]:
    """Return the seconds of each call, by way: every input goes to all ways before the next input. The first pass does
    not count.
    """
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for r in range(rounds + 1):
        for i in range(inputs):
            for way, call in ways.items():
                start = time.perf_counter()
                call(i)
                if r:
                    seconds[way].append(time.perf_counter() - start)
    return {way: np.array(times) for way, times in seconds.items()}


def import_time(repeat: int = 15) -> dict[str, Any]:
    """Time `import hashhub` and the client in fresh processes, beside a Python that imports nothing."""
    check = f"import sys, hashhub; print([m for m in {_HEAVY} if m in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True).stdout.strip()

    def best(code: str) -> float:
        return min(
            result.timed(lambda: subprocess.run([sys.executable, "-c", code], check=True)) for _ in range(repeat)
        )

    nothing = best("pass")
    return {
        "python_alone_seconds": nothing,
        "import_hashhub_seconds": best("import hashhub") - nothing,
        "import_client_seconds": best("import hashhub.client") - nothing,
        "heavy_modules_loaded_by_hashhub": loaded,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="100000", help="entries, comma-separated (100000)")
    parser.add_argument("--rounds", type=int, default=10, help="passes over 40 batches of 100 queries (10)")
    parser.add_argument("--out", type=Path, help="where to write the result; default: bench/results/overhead.json")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for n in map(int, options.sizes.split(",")):
        rows += measure(n, options.rounds)
    result.show(rows)
    imports = import_time()
    result.show([imports])
    packages = ("grpcio", "protobuf", "numpy", "numba", "faiss-cpu")
    result.save("overhead", {"rounds": options.rounds, "imports": imports}, rows, out=options.out, packages=packages)


if __name__ == "__main__":
    main()
