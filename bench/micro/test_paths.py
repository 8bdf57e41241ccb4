"""Microbenchmarks of what happens once for each record or query: `python -m pytest bench/micro`.

They show which step of a path became slower; the whole paths are measured by the other benchmarks.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest

from hashhub import connector, hashes, hygiene, trust, v1, wire
from hashhub.client.contribution import cut
from hashhub.matcher import Matcher, warm_up
from hashhub.model import MatchResult, Query, ReasonLine, Record, Verdict
from hashhub.testing.lists import write_many_vics

SEED = 20_261_125
N = 2_000  # records: one batch
VICS = io.BytesIO()
write_many_vics(VICS, N, seed=SEED)


@pytest.fixture(scope="module")
def records() -> list[Record]:
    VICS.seek(0)
    return [r for r in connector.get("vics").read(VICS, {}) if isinstance(r, Record)]


@pytest.fixture(scope="module")
def matcher() -> Any:
    warm_up()
    with Matcher(threads=1) as found:
        found.rebuild(1, [("PDQ", np.random.default_rng(SEED).integers(0, 256, (100_000, 32), np.uint8))])
        yield found


def test_read_2000_vics_records(benchmark: Any) -> None:
    def read() -> int:
        VICS.seek(0)
        return sum(1 for _ in connector.get("vics").read(VICS, {}))

    benchmark(read)


def test_inspect_2000_records(benchmark: Any, records: list[Record]) -> None:
    benchmark(lambda: [hygiene.inspect(r) for r in records])


def test_send_2000_records(benchmark: Any, records: list[Record]) -> None:
    benchmark(lambda: [batch.SerializeToString() for batch in cut(records)])


def test_receive_2000_records(benchmark: Any, records: list[Record]) -> None:
    [sent] = [batch.SerializeToString() for batch in cut(records)]
    benchmark(lambda: wire.columns_from_pb(v1.AddRecordsRequest.FromString(sent).columns))


def test_parse_a_hash(benchmark: Any) -> None:
    benchmark(hashes.parse, "PDQ", "0123456789abcdef" * 4)


def test_receive_100_queries(benchmark: Any) -> None:
    queries = [Query(hashes=(hashes.Hash("PDQ", bytes([i] * 32)),)) for i in range(100)]
    sent = v1.BatchMatchHashesRequest(queries=map(wire.query_to_pb, queries)).SerializeToString()
    benchmark(lambda: wire.queries_from_pb(v1.BatchMatchHashesRequest.FromString(sent)))


def test_send_100_misses(benchmark: Any) -> None:
    why = (ReasonLine(code=trust.ReasonCode.NOTHING_KNOWN, text="no entry within the searched distances"),)
    results = [MatchResult(verdict=Verdict.NO_MATCH, reasons=why, label=f"upload {i}") for i in range(100)]

    benchmark(lambda: wire.match_results_to_pb(results, "any", 1).SerializeToString())


@pytest.mark.parametrize("queries", [1, 100])
def test_search_100000_digests(benchmark: Any, matcher: Matcher, queries: int) -> None:
    asked = np.random.default_rng(1).integers(0, 256, (queries, 32), np.uint8)
    benchmark(lambda: matcher.search("PDQ", asked, max_distance=31))


def test_add_and_withdraw_one_digest(benchmark: Any, matcher: Matcher) -> None:
    one = {"PDQ": np.full((1, 32), 0xA5, np.uint8)}

    def change() -> None:
        matcher.apply(matcher.revision + 1, add=one)
        matcher.apply(matcher.revision + 1, withdraw=one)

    benchmark(change)
