"""Metrics: all that DESCRIPTIONS names is in a scrape, all workers are in one, and no caller can make them grow."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from hashhub import v1
from hashhub.errors import HashHubError
from hashhub.hub.health import MOST_SETS, Renewals, renewals
from hashhub.server.messages import MetricFamily, MetricSample
from hashhub.server.metrics import DESCRIPTIONS, MergedMetrics, Metrics
from tests.hub.conftest import Desk, item

if TYPE_CHECKING:
    from tests.server.conftest import Serve, Served


def scrape(served: Served) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return values(served.doors.own_metrics(served.doors.metrics))


def values(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Return the value of each line by name and labels; none stands twice."""
    lines: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in lines
            lines[key] = sample.value
    return lines


def value(served: Served, name: str, **labels: str) -> float:
    return scrape(served).get((name, frozenset({"worker": "0", **labels}.items())), 0.0)


def test_calls_verdicts_hits_and_imports_are_counted(serve_hub: Serve) -> None:
    served = serve_hub()
    desk = Desk(served.hub)
    desk.hash_set("alpha/list")
    desk.contribute("alpha/list", item(1), item(2), item(2))
    before = served.hub.tally.read()
    known = item(1).hashes
    queries = [v1.Query(hashes=[v1.Hash(algorithm=h.algorithm, digest=h.digest) for h in known])]
    queries += [v1.Query(hashes=[v1.Hash(algorithm="MD5", digest=bytes(16))])] * 3
    request = v1.BatchMatchHashesRequest(queries=queries, options=v1.MatchOptions(policy="any"))
    served.call("MatchService/BatchMatchHashes", request, v1.BatchMatchHashesResponse)
    assert value(served, "hashhub_verdicts_total", verdict="NO_MATCH") - before["verdicts"].get("NO_MATCH", 0) == 3
    assert value(served, "hashhub_verdicts_total", verdict="MATCH") == 1
    assert sum(v for (name, _), v in scrape(served).items() if name == "hashhub_hits_total") == 1
    assert value(served, "hashhub_import_items_total", disposition="accepted") == 2
    assert value(served, "hashhub_import_items_total", disposition="duplicate") == 1
    assert value(served, "hashhub_import_batches_total") == 1
    assert value(served, "hashhub_import_bytes_total") > 0
    for phase in ("stage", "decide", "write", "publish", "follow"):
        assert value(served, "hashhub_import_phases_total", phase=phase) == 1
    name = "MatchService/BatchMatchHashes"
    assert value(served, "hashhub_call_seconds_count", method=name, code="OK") == 1
    assert value(served, "hashhub_call_seconds_bucket", method=name, code="OK", le="+Inf") == 1
    with pytest.raises(HashHubError):
        served.call("MatchService/BatchMatchHashes", request, v1.BatchMatchHashesResponse, who="nobody")
    assert value(served, "hashhub_refusals_total", reason="TOKEN_UNKNOWN") == 1
    digests = sum(v for (name, _), v in scrape(served).items() if name == "hashhub_matcher_digests")
    assert digests == sum(
        len({h for h in (*item(1).hashes, *item(2).hashes) if h.algorithm == a}) for a in algorithms()
    )
    assert value(served, "hashhub_matcher_revision") == served.hub.revision()


def algorithms() -> set[str]:
    return {h.algorithm for h in item(1).hashes}


def test_a_scrape_has_exactly_what_is_described(serve_hub: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    served = serve_hub()
    monkeypatch.setattr(served.hub, "backup_time", lambda: datetime.now(UTC))  # one was taken
    monkeypatch.setattr(served.hub, "certificate_end_times", lambda: {"tls_certificate": datetime.now(UTC)})
    desk = Desk(served.hub)
    desk.hash_set("alpha/list")
    desk.contribute("alpha/list", item(1))
    served.hub.renewals.intervals = {"alpha/list": (datetime.now(UTC).timestamp() - 50.0, 10.0)}
    served.call("AdminService/GetStatus", v1.GetStatusRequest(), v1.Status)
    with pytest.raises(HashHubError):
        served.call("AdminService/GetStatus", v1.GetStatusRequest(), v1.Status, who=None)
    query = v1.Query(hashes=[v1.Hash(algorithm=h.algorithm, digest=h.digest) for h in item(1).hashes])
    served.call(
        "MatchService/MatchHashes",
        v1.MatchHashesRequest(query=query, options=v1.MatchOptions(policy="any")),
        v1.MatchHashesResponse,
        who="CONSUMER",
    )
    served.hub.learned.write()
    text = served.doors.own_metrics(served.doors.metrics)
    for described in DESCRIPTIONS:
        suffix = "_count" if described.kind == "histogram" else ""
        lines = [labels for name, labels in scrape(served) if name == described.name + suffix]
        assert lines, f"nothing tells {described.name}"
        assert {key for key, _ in lines[0]} == {*described.labels, "worker"}, described.name
        assert f"# HELP {described.name} {described.text}" in text
    assert {name.removesuffix("_bucket").removesuffix("_count").removesuffix("_sum") for name, _ in scrape(served)} == {
        described.name for described in DESCRIPTIONS
    }


def test_no_caller_can_make_them_grow(served: Served) -> None:
    before = set(scrape(served))
    for i in range(40):
        ask: grpc.UnaryUnaryMultiCallable[bytes, bytes] = served.channel.unary_unary(
            f"/hashhub.v1.MatchService/Nope{i}", None, None
        )
        with pytest.raises(Exception, match="UNIMPLEMENTED"):
            ask(b"", timeout=30, metadata=served.metadata(f"hh_{i}"))
        with pytest.raises(HashHubError):
            served.call("AdminService/GetStatus", v1.GetStatusRequest(), v1.Status, who=f"hh_{i}")
    grown = {
        name for name, labels in set(scrape(served)) - before if "nope" in str(labels).lower() or "hh_" in str(labels)
    }
    assert not grown
    assert len(set(scrape(served)) - before) <= 25  # one method's histogram, one reason


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["count", "tell", "die"]), st.integers(1, 5))))
def test_a_dead_worker_s_counters_neither_vanish_nor_count_twice(steps: list[tuple[int, str, int]]) -> None:
    ledger = MergedMetrics()
    workers = {index: Metrics() for index in range(3)}
    told = dict.fromkeys(workers, 0)  # what the ledger knows of each, over all its lives
    lost = dict.fromkeys(workers, 0)  # what it counted since
    shown: dict[int, float] = dict.fromkeys(workers, 0.0)
    for index in workers:
        ledger.started(index)
    for index, step, times in steps:
        if step == "count":
            for _ in range(times):
                workers[index].observe("A/B", "OK", 0.001)
            lost[index] += times
        elif step == "tell":
            ledger.put(index, workers[index].families())
            told[index], lost[index] = told[index] + lost[index], 0
        else:
            workers[index], lost[index] = Metrics(), 0
            ledger.started(index)
        lines = values(ledger.text())
        for other, count in told.items():
            labels = {"worker": str(other), "method": "A/B", "code": "OK"}
            now = lines.get(("hashhub_call_seconds_count", frozenset(labels.items())), 0.0)
            assert now == count
            assert now >= shown[other]
            shown[other] = now


def test_gauges_of_a_dead_worker_vanish() -> None:
    ledger = MergedMetrics()
    ledger.started(0)
    ledger.put(0, [MetricFamily("hashhub_matcher_revision", [MetricSample("hashhub_matcher_revision", {}, 7.0)])])
    assert ("hashhub_matcher_revision", frozenset({("worker", "0")})) in values(ledger.text())
    ledger.started(0)
    assert ("hashhub_matcher_revision", frozenset({("worker", "0")})) not in values(ledger.text())


def test_counting_from_many_threads_loses_nothing() -> None:
    metrics = Metrics()

    def count() -> None:
        for _ in range(2_000):
            metrics.observe("A/B", "UNAVAILABLE", 0.001, "MATCHER_NOT_READY")

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    samples = {s.name: s.value for f in metrics.families() for s in f.samples if s.labels.get("le", "+Inf") == "+Inf"}
    assert samples["hashhub_call_seconds_count"] == samples["hashhub_refusals_total"] == 8_000


class TestRenewals:
    """A list that is not renewed as often as it used to be."""

    def test_commits_close_together_are_one_renewal(self) -> None:
        assert renewals([0, 60, 120, 600, 3600, 3660, 90_000]) == [0, 3600, 90_000]
        assert renewals([]) == []

    @staticmethod
    def at(store: Any, times: list[datetime], moment: datetime) -> Any:
        class Told:
            @staticmethod
            def last_commit_times(limit: int) -> dict[str, list[datetime]]:
                return {"alpha/list": times[-limit:]}

        told = Renewals(SimpleNamespace(imports=Told()))  # type: ignore[arg-type]  # all that it asks a store for
        told.look()
        return told.at(moment).get("alpha/list")

    def test_a_weekly_list_is_overdue_after_a_week_however_many_files_a_renewal_has(self) -> None:
        start, week = datetime(2026, 1, 5, tzinfo=UTC), timedelta(days=7)
        times = [start + n * week + timedelta(seconds=20 * file) for n in range(6) for file in range(15)]
        last = start + 5 * week
        on_time = self.at(None, times, last + timedelta(days=6))
        late = self.at(None, times, last + timedelta(days=15))
        assert on_time.usual == week.total_seconds()
        assert on_time.ratio < 1
        assert late.ratio > 2

    @pytest.mark.parametrize("count", [0, 1, 3])
    def test_what_has_no_habit_yet_is_not_late(self, count: int) -> None:
        start = datetime(2026, 1, 1, tzinfo=UTC)
        times = [start + timedelta(days=n) for n in range(count)]
        assert self.at(None, times, start + timedelta(days=400)) is None

    def test_the_store_tells_when_lists_were_committed(self, served: Served) -> None:
        desk = Desk(served.hub)
        desk.hash_set("renewed/list")
        for number in range(3):
            desk.contribute("renewed/list", item(100 + number))
        times = served.hub.store.imports.last_commit_times(2)["renewed/list"]
        assert len(times) == 2
        assert times == sorted(times)

    def test_a_scrape_tells_of_a_bounded_number(self) -> None:
        told = Renewals(None)  # type: ignore[arg-type]  # it is not asked
        told.intervals = {f"a/{n}": (0.0, 1.0 + n) for n in range(MOST_SETS + 10)}
        shown = told.at(datetime.fromtimestamp(100, UTC))
        assert len(shown) == MOST_SETS
        assert next(iter(shown)) == "a/0"
