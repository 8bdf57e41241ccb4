"""What a scrape shows: all workers of a hub in one answer, whichever of them is asked.

    worker  Metrics ── families() ──► parent  MergedMetrics ── text() ──► worker ──► /metrics
                     every few seconds, and before each scrape

The parent adds up what the predecessors of a worker had counted when they died, so that a counter neither vanishes nor
counts twice. The library's own way with several processes maps files, and a process that writes to a mapped file on a
full disk is killed (docs/decisions/0029).

`DESCRIPTIONS` names every metric; docs/operate/metrics.md has its table. All labels are from closed sets but for hash
sets and tokens, of which a scrape shows a bounded number.
"""

from __future__ import annotations

import threading
from collections import Counter as Counted
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import msgspec
from prometheus_client import Counter, Histogram, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

import hashhub
from hashhub.model import now
from hashhub.server.messages import MetricFamily, MetricSample

if TYPE_CHECKING:
    from hashhub.background import Background
    from hashhub.hub import Hub

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)  # seconds
_CALLS: Final = "hashhub_call_seconds"
_GROWING: Final = frozenset({"counter", "histogram"})
_WORKER: Final = "worker"


class MetricDescription(msgspec.Struct, frozen=True):
    """A metric: its name as a scrape has it, its kind, its labels besides `worker`, and what it says."""

    name: str
    kind: str
    labels: tuple[str, ...]
    text: str


DESCRIPTIONS: Final = tuple(
    MetricDescription(name, kind, tuple(labels.split()), text)
    for name, kind, labels, text in (
        ("hashhub_call_seconds", "histogram", "method code", "How long calls took, by method and how they ended."),
        ("hashhub_refusals_total", "counter", "reason", "Calls that did not end with OK, by reason."),
        ("hashhub_verdicts_total", "counter", "verdict", "Answers to queries and media, by verdict."),
        ("hashhub_hits_total", "counter", "algorithm",
         "Entries that answers were judged by, by what they were hit with."),
        ("hashhub_live_frames_total", "counter", "outcome",
         "Frames of live streams: HASHED and looked for, UNREAD, or SKIPPED for newer ones."),
        ("hashhub_learned_entries", "gauge", "token",
         "Entries that the token was told of today (UTC), of hash sets that it may not list."),
        ("hashhub_near_hit_entries", "gauge", "",
         "Entries hit by one perceptual algorithm alone, today (UTC), as often as `near_hits_alarm` says."),
        ("hashhub_walking_tokens", "gauge", "",
         "Tokens that asked today (UTC) about near variants of one picture, as if to learn what is listed."),
        ("hashhub_import_batches_total", "counter", "", "Batches of imports that were staged."),
        ("hashhub_import_bytes_total", "counter", "", "Bytes of them as they are staged."),
        ("hashhub_import_items_total", "counter", "disposition",
         "Items of committed imports, and entries they withdrew, by what became of them."),
        ("hashhub_import_phase_seconds_total", "counter", "phase",
         "Time spent in imports: stage, decide, write, publish, follow."),
        ("hashhub_import_phases_total", "counter", "phase", "How often each of these phases was gone through."),
        ("hashhub_calls_in_progress", "gauge", "room", "Calls that run or wait, by the limiter that they have."),
        ("hashhub_calls_limit", "gauge", "room", "How many there may be before further ones are refused."),
        ("hashhub_matcher_digests", "gauge", "algorithm", "Digests that match."),
        ("hashhub_matcher_tail_digests", "gauge", "algorithm", "Of them, those that no snapshot has yet."),
        ("hashhub_matcher_bytes", "gauge", "algorithm", "Bytes of the index, mapped or in memory."),
        ("hashhub_matcher_revision", "gauge", "", "The revision up to which the matcher knows everything."),
        ("hashhub_matcher_revisions_behind", "gauge", "",
         "How many revisions the database was ahead of it, when looked at last."),
        ("hashhub_matcher_seconds_behind", "gauge", "",
         "For how long the matcher has not been known to have everything."),
        ("hashhub_matcher_damages_total", "counter", "",
         "How often the index was found damaged; nothing is answered then until it is rebuilt."),
        ("hashhub_service_up", "gauge", "service", "1 while the service can answer: what health says."),
        ("hashhub_background_failing", "gauge", "thread", "1 while the last round of this background work failed."),
        ("hashhub_background_failures_total", "counter", "thread", "Rounds of it that failed."),
        ("hashhub_list_age_seconds", "gauge", "hash_set",
         "How long ago the hash set's last import was committed; once its interval is known."),
        ("hashhub_list_overdue_ratio", "gauge", "hash_set",
         "This over the usual interval between its imports: above 1 it is late."),
        ("hashhub_backup_age_seconds", "gauge", "",
         "How long ago the last `hashhub backup` began; missing while none is known."),
        ("hashhub_certificate_seconds_left", "gauge", "setting",
         "How long the hub's certificate, or that of its clients' authority, works on; by the setting that names it."),
        ("hashhub_log_problems", "gauge", "",
         "1 while no checkpoint of the log is signed for those who ask, and 1 for each witness that does not cosign."),
        ("hashhub_worker_starts_total", "counter", "", "How often the worker was started."),
        ("hashhub_worker_kills_total", "counter", "", "How often it was killed because it did not answer."),
        ("hashhub_build_info", "gauge", "version", "Always 1."),
        ("process_resident_memory_bytes", "gauge", "", "Memory of the process."),
        ("process_virtual_memory_bytes", "gauge", "", "Address space of the process, snapshots included."),
        ("process_cpu_seconds_total", "counter", "", "Time of processors that the process has used."),
        ("process_open_fds", "gauge", "", "Files and connections that the process has open."),
        ("process_max_fds", "gauge", "", "How many it may have open."),
        ("process_start_time_seconds", "gauge", "", "When the process began, in seconds since 1970."),
    )
)  # fmt: skip
_BY_NAME: Final = {described.name: described for described in DESCRIPTIONS}


class Metrics:
    """What one process counts, and what it reads off the hub when it is asked."""

    def __init__(self) -> None:
        """Start at zero. `families` has what `watch` and `limiters` name from then on."""
        self._calls = Histogram(_CALLS, "", ("method", "code"), buckets=_BUCKETS, registry=None)
        self._refusals = Counter("hashhub_refusals", "", ("reason",), registry=None)
        self._hub: Hub | None = None
        self._is_up: Callable[[], Mapping[str, bool]] = dict
        self._limiters: Callable[[], Mapping[str, tuple[int, int]]] = dict
        self._threads: Callable[[], Sequence[Background]] = list
        self._processes = ProcessCollector(registry=None)

    def observe(self, method: str, code: str, seconds: float, reason: str = "") -> None:
        """Count a call that ended with `code`, for `reason`, after `seconds`; all labels are of closed sets."""
        self._calls.labels(method, code).observe(seconds)
        if reason:
            self._refusals.labels(reason).inc()

    def watch(
        self,
        hub: Hub,
        *,
        is_up: Callable[[], Mapping[str, bool]],
        limiters: Callable[[], Mapping[str, tuple[int, int]]],
        threads: Callable[[], Sequence[Background]],
    ) -> None:
        """Show the state of a hub, too. `is_up`: by service; `limiters`: calls in progress and their limit by limiter;
        `threads`: what goes on in the background.
        """
        self._hub, self._is_up, self._limiters, self._threads = hub, is_up, limiters, threads

    def families(self) -> list[MetricFamily]:
        """Return all that this process has to tell, without the label `worker`."""
        families = [
            MetricFamily(_CALLS, _samples(self._calls)),
            MetricFamily("hashhub_refusals_total", _samples(self._refusals)),
        ]
        families += [MetricFamily(sample.name, [sample]) for sample in _samples(self._processes)]
        families += [
            _family("hashhub_build_info", {hashhub.__version__: 1}),
            _family("hashhub_service_up", self._is_up()),
        ]
        limiters = self._limiters()
        families += [
            _family("hashhub_calls_in_progress", {name: running for name, (running, _) in limiters.items()}),
            _family("hashhub_calls_limit", {name: most for name, (_, most) in limiters.items()}),
        ]
        return families if self._hub is None else families + _of_hub(self._hub, self._threads())


def _of_hub(hub: Hub, threads: Sequence[Background]) -> list[MetricFamily]:
    counts = hub.tally.read()
    matcher = hub.matcher.status()
    algorithms = matcher.algorithms
    lists = hub.renewals.at(now())
    backup, witnesses = hub.backup_time(), hub.log.witnesses
    return [
        _family("hashhub_verdicts_total", counts["verdicts"]),
        _family("hashhub_hits_total", counts["hits"]),
        _family("hashhub_live_frames_total", counts["live"]),
        _family("hashhub_learned_entries", hub.learned.counts()),
        _family("hashhub_near_hit_entries", {"": len(hub.match.near_hits.alarming())}),
        _family("hashhub_walking_tokens", {"": len(hub.match.walks.walking())}),
        _family("hashhub_import_batches_total", counts["batches"]),
        _family("hashhub_import_bytes_total", counts["bytes"]),
        _family("hashhub_import_items_total", counts["items"]),
        _family("hashhub_import_phase_seconds_total", counts["seconds"]),
        _family("hashhub_import_phases_total", counts["phases"]),
        _family("hashhub_matcher_digests", {name: a.count for name, a in algorithms.items()}),
        _family("hashhub_matcher_tail_digests", {name: a.tail for name, a in algorithms.items()}),
        _family("hashhub_matcher_bytes", {name: a.nbytes for name, a in algorithms.items()}),
        _family("hashhub_matcher_revision", {"": matcher.revision}),
        _family("hashhub_matcher_revisions_behind", {"": max(0, hub.condition.revision - matcher.revision)}),
        _family("hashhub_matcher_seconds_behind", {"": hub.readiness.seconds_behind()}),
        _family("hashhub_matcher_damages_total", {"": matcher.damages}),
        _family("hashhub_background_failing", {thread.name: bool(thread.warning) for thread in threads}),
        _family("hashhub_background_failures_total", {thread.name: thread.failures for thread in threads}),
        _family("hashhub_list_age_seconds", {name: renewal.age for name, renewal in lists.items()}),
        _family("hashhub_list_overdue_ratio", {name: renewal.ratio for name, renewal in lists.items()}),
        _family(
            "hashhub_certificate_seconds_left",
            {name: (end - now()).total_seconds() for name, end in hub.certificate_end_times().items()},
        ),
        _family("hashhub_log_problems", {"": hub.log.is_withheld + len(witnesses.problems if witnesses else ())}),
        _family("hashhub_backup_age_seconds", {"": (now() - backup).total_seconds()} if backup else {}),
    ]


def _samples(collector: Collector) -> list[MetricSample]:
    """Return what is counted, but for the times at which counting began."""
    samples = (s for metric in collector.collect() for s in metric.samples)
    return [MetricSample(s.name, dict(s.labels), s.value) for s in samples if not s.name.endswith("_created")]


def _family(name: str, values: Mapping[str, float]) -> MetricFamily:
    """Return the lines of a metric with one label, or with none."""
    labels = _BY_NAME[name].labels
    return MetricFamily(
        name, [MetricSample(name, {labels[0]: key} if labels else {}, float(n)) for key, n in values.items()]
    )


class MergedMetrics(Collector):
    """What all workers have reported, by worker. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._latest: dict[int, list[MetricFamily]] = {}
        self._of_the_dead: dict[int, dict[tuple[str, str, tuple[tuple[str, str], ...]], float]] = {}
        self._of_workers: Counted[tuple[str, int]] = Counted()  # by metric and worker

    def started(self, worker: int) -> None:
        """Count a worker's start; what its predecessor had counted stays."""
        with self._lock:
            self._of_workers["hashhub_worker_starts_total", worker] += 1
            self._of_workers["hashhub_worker_kills_total", worker] += 0
            counted = self._of_the_dead.setdefault(worker, {})
            for family in self._latest.pop(worker, []):
                if _BY_NAME[family.name].kind in _GROWING and not family.name.startswith("process_"):
                    for sample in family.samples:
                        key = family.name, sample.name, tuple(sample.labels.items())
                        counted[key] = counted.get(key, 0.0) + sample.value

    def killed(self, worker: int) -> None:
        """Count that a worker was killed."""
        with self._lock:
            self._of_workers["hashhub_worker_kills_total", worker] += 1

    def put(self, worker: int, families: list[MetricFamily]) -> None:
        """Replace a worker's previous report with this one."""
        with self._lock:
            self._latest[worker] = families

    def text(self) -> str:
        """Return a scrape in Prometheus' text format."""
        return generate_latest(self).decode()

    def collect(self) -> list[Metric]:
        """Return the metrics as the library has them."""
        values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
        with self._lock:
            for worker, counted in self._of_the_dead.items():
                for (family_name, name, labels), value in counted.items():
                    values.setdefault(family_name, {})[name, (*labels, (_WORKER, str(worker)))] = value
            for worker, families in self._latest.items():
                for family in families:
                    lines = values.setdefault(family.name, {})
                    is_growing = _BY_NAME[family.name].kind in _GROWING
                    for sample in family.samples:
                        key = sample.name, (*sample.labels.items(), (_WORKER, str(worker)))
                        lines[key] = sample.value + (lines.get(key, 0.0) if is_growing else 0.0)
            for (name, worker), count in self._of_workers.items():
                values.setdefault(name, {})[name, ((_WORKER, str(worker)),)] = count
        metrics = []
        for described in DESCRIPTIONS:
            metric = Metric(described.name.removesuffix("_total"), described.text, described.kind)
            for (name, labels), value in values.get(described.name, {}).items():
                metric.add_sample(name, dict(labels), value)
            metrics.append(metric)
        return metrics
