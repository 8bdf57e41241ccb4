"""Fetches all sources of a directory, each when it is due; settings that are added or changed meanwhile count."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from hashhub.client import Client
from hashhub.edge_state import gauge_lines, write_report
from hashhub.errors import Conflict, HashHubError
from hashhub.local_files import lock_file, make_directory, written
from hashhub.model import SourceReport, SourceStatus, now
from hashhub.sources.fetch import fetch, opened
from hashhub.sources.settings import load, names
from hashhub.sources.state import Progress

_log = logging.getLogger(__name__)
METRICS: Final = "sources.prom"
_LOCK: Final = "run.lock"
_LOOK_SECONDS: Final = 1.0
REPORT_SECONDS: Final = 15.0
_TOLD: Final = ("status", "detail", "end_time", "success_time", "next_time")  # to the hub
_AT_LEAST: Final = timedelta(seconds=30)  # between a failure and the next fetch
_AT_ONCE: Final = 4  # fetches; each is a thread, and holds one page and what its connector holds
_GAUGES: Final[tuple[tuple[str, str, Callable[[Progress], float]], ...]] = (
    ("last_success_timestamp_seconds", "gauge", lambda p: p.success_time.timestamp() if p.success_time else 0),
    ("last_change_timestamp_seconds", "gauge", lambda p: p.news_time.timestamp() if p.news_time else 0),
    ("fetches_total", "counter", lambda p: p.fetches),
    ("failures_total", "counter", lambda p: p.failures),
    ("items_total", "counter", lambda p: p.total.items),
    ("rejected_total", "counter", lambda p: p.total.rejected),
)


def run(directory: Path, hub: Client, stop: threading.Event, on_change: Callable[[str, Progress], None]) -> None:
    """Fetch until `stop` is set; `on_change` is told how far a source is after each fetch.

    After each one, and every few seconds, the directory has reports of all. Raises Conflict where another process
    does the same here.
    """
    make_directory(directory, field="dir")
    lock = lock_file(directory / _LOCK)
    if lock is None:
        raise Conflict(
            f"another process fetches the sources of {str(directory)!r} already; one is enough, and this ends"
        )
    pool = ThreadPoolExecutor(_AT_ONCE, "source")
    under_way: dict[str, Future[Progress]] = {}
    not_before: dict[str, datetime] = {}  # of what failed, also before its state could say so
    report_time = float("-inf")
    with lock, pool:
        while not stop.is_set():
            for name in [name for name, future in under_way.items() if future.done()]:
                if not _is_ended_well(name, under_way.pop(name)):
                    not_before[name] = now() + _AT_LEAST
                if name in names(directory):
                    with opened(directory, name) as state:
                        on_change(name, state.progress())
                report_time = float("-inf")
            if time.monotonic() - report_time > REPORT_SECONDS:
                write_reports(directory, under_way)
                report_time = time.monotonic()
            for name in names(directory):
                is_left_alone = name in not_before and now() < not_before[name]
                if name in under_way or is_left_alone:
                    continue
                try:
                    if _is_due(directory, name):
                        under_way[name] = pool.submit(fetch, directory, name, hub, is_cancelled=stop.is_set)
                except HashHubError as e:  # of its state, which does not keep the others from being fetched
                    _log.warning("source %s: %s", name, e.message)
                    not_before[name] = now() + _AT_LEAST
            stop.wait(_LOOK_SECONDS)


def _is_ended_well(name: str, future: Future[Progress]) -> bool:
    error = future.exception()
    if isinstance(error, HashHubError):
        _log.warning("source %s: %s", name, error.message)
    elif error is not None:
        _log.error("source %s: internal error", name, exc_info=error)
    return error is None


def _is_due(directory: Path, name: str) -> bool:
    with opened(directory, name) as state:
        progress = state.progress()
    if progress.status is SourceStatus.HELD:
        return False
    return progress.next_time is None or progress.next_time <= now()


def write_reports(directory: Path, fetching: Collection[str] = ()) -> None:
    """Write how far all sources are: for the hub, and as Prometheus' text, for the textfile collector of its node
    exporter. `fetching`: those whose fetch goes on.
    """
    progress_by_name: dict[str, Progress] = {}
    reports = []
    for name in names(directory):
        told: dict[str, Any] = {"status": SourceStatus.FAILED}
        try:
            settings = load(directory, name)
            told |= {"protocol": settings.protocol, "hash_set": settings.hash_set}
            told["has_credentials"] = bool(settings.credentials)
            with opened(directory, name) as state:
                progress = progress_by_name[name] = state.progress()
            told |= {field: getattr(progress, field) for field in _TOLD}
            told |= {"position": progress.cursor, "items": progress.total.items}
            if name in fetching and progress.fetch is not None:
                told["begin_time"] = progress.fetch.begin_time
        except HashHubError as e:
            told["detail"] = e.message
        reports.append(SourceReport(name=name, **told))
    write_report(directory, sources=reports)
    lines: list[str] = []
    for metric, kind, value in _GAUGES:
        lines += gauge_lines("source", "source", metric, kind, {n: value(p) for n, p in progress_by_name.items()})
    lines.append("# TYPE hashhub_source_status gauge")
    lines += [
        f'hashhub_source_status{{source="{one.name}",status="{status}"}} {int(one.status is status)}'
        for one in reports
        for status in SourceStatus
    ]
    with written(directory / METRICS, replace=True, mode=0o644) as file:
        file.write("\n".join([*lines, ""]).encode())
