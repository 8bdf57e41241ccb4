"""What the server adds to the matcher, and what `import hashhub` costs.

    python -m bench.overhead --sizes 100000,1000000

The same 100 PDQ queries go to the matcher in this process and, over gRPC, to a real server over the same snapshot. Two mixes: misses only,
and 5 queries of 100 that hit. What the server adds is the difference of the medians; it has one core to itself where there are two.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import grpc
import numpy as np
from numpy.typing import NDArray

from bench import result
from hashhub import v1, wire
from hashhub.client import Client
from hashhub.hashes import Hash
from hashhub.matcher import Matcher
from hashhub.model import Contributor, ContributorKind, HashSet, MatchOptions, Query
from hashhub.testing.hub_process import RunningHub, running_hub

BATCH: Final = 100
_MAX_DISTANCE: Final = 31
_HEAVY: Final = ("faiss", "numpy", "numba", "sqlalchemy", "grpc")


@contextmanager
def pdq_hub(
    directory: Path,
    digests: NDArray[np.uint8],
    *arguments: str,
    prepare: Callable[[Path], None] = lambda _: None,
) -> Iterator[RunningHub]:
    """Run a hub that holds these digests, one entry each, served from a snapshot. `prepare` gets its data before it starts."""
    source = directory / "digests.txt"
    with source.open("w", encoding="ascii") as out:
        for row in digests:
            out.write(row.tobytes().hex() + "\n")
    data = directory / "hub"
    with running_hub(data) as hub, Client(hub.address, hub.token) as client:
        client.create_contributor(
            Contributor(id="bench", display_name="Bench", kind=ContributorKind.HOTLINE, jurisdiction="ZZ")
        )
        client.create_hash_set(HashSet(contributor="bench", id="pdq"))
        report = client.import_source(
            source, connector="hash-lines", hash_set="bench/pdq", options={"algorithm": "PDQ"}
        )
        assert report.source.counts.accepted == len(digests), report.source.counts
    source.unlink()
    # A hub that starts without a snapshot makes one of what the database holds.
    for snapshots in (data / "matcher").iterdir():
        snapshots.rename(snapshots.with_name(f"{snapshots.name}.set-aside"))
    prepare(data)
    with running_hub(data, *arguments) as hub:
        yield hub


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
        options=wire.options_to_pb(MatchOptions(policy="any")),
    )
    return message.SerializeToString()


def _same(body: bytes) -> bytes:
    return body


def measure(n: int, rounds: int) -> list[dict[str, Any]]:
    """Measure one size of the index."""
    rng = np.random.default_rng(result.SEED)
    digests = rng.integers(0, 256, (n, 32), np.uint8)
    rows = []
    with tempfile.TemporaryDirectory(prefix="hashhub-bench-") as name, pdq_hub(Path(name), digests) as hub:
        [snapshots] = [p for p in (hub.data / "matcher").iterdir() if "." not in p.name]
        with (
            Matcher(snapshots, publisher=False) as matcher,
            grpc.insecure_channel(hub.address) as channel,
            Client(hub.address, hub.token) as client,
        ):
            assert matcher.status().algorithms["PDQ"].count == n
            call = channel.unary_unary("/hashhub.v1.MatchService/BatchMatchHashes", _same, _same)
            bearer = (("authorization", f"Bearer {hub.token}"),)
            for mix, hits in (("misses", 0), ("hits 5 of 100", 5)):
                batches = [sample_queries(digests, BATCH, hits, result.SEED + i) for i in range(40)]
                requests = [batch_request(q) for q in batches]
                typed = [[Query(hashes=(Hash("PDQ", q.tobytes()),)) for q in batch] for batch in batches]
                options = MatchOptions(policy="any")

                def in_process(i: int, batches: list[NDArray[np.uint8]] = batches) -> None:
                    matcher.search("PDQ", batches[i], max_distance=_MAX_DISTANCE, limit=1000)

                def over_grpc(i: int, requests: list[bytes] = requests) -> None:
                    call(requests[i], metadata=bearer)

                def over_client(i: int, typed: list[list[Query]] = typed, options: MatchOptions = options) -> None:
                    list(client.match_hashes(typed[i], options))

                took = {
                    name: _median(work, len(batches), rounds)
                    for name, work in (("matcher", in_process), ("grpc", over_grpc), ("client", over_client))
                }
                rows.append(
                    {
                        "n": n,
                        "mix": mix,
                        "matcher_ms": took["matcher"] * 1e3,
                        "grpc_ms": took["grpc"] * 1e3,
                        "typed_client_ms": took["client"] * 1e3,
                        "server_adds_ms": (took["grpc"] - took["matcher"]) * 1e3,
                    }
                )
    return rows


def _median(work: Callable[[int], None], inputs: int, rounds: int) -> float:
    for i in range(inputs):
        work(i)
    times = []
    for _ in range(rounds):
        for i in range(inputs):
            start = time.perf_counter()
            work(i)
            times.append(time.perf_counter() - start)
    return float(np.median(times))


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
