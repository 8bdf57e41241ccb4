"""What this process has done since its start, counted: for metrics. It knows no library of metrics and no wire.

All labels are from closed sets (verdicts, algorithms, dispositions, phases), so that no caller can make it grow.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from hashhub.model import Counts, MatchResult


class Tally:
    """Counters that only grow. Adding takes a microsecond."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._verdicts: Counter[str] = Counter()
        self._hits: Counter[str] = Counter()
        self._live: Counter[str] = Counter({"HASHED": 0, "UNREAD": 0, "SKIPPED": 0})
        self._items: Counter[str] = Counter()
        self._batches = 0
        self._bytes = 0
        self._seconds: dict[str, float] = {}
        self._phases: Counter[str] = Counter()

    def answered(self, answers: Iterable[MatchResult], hit_algorithms: Iterable[str]) -> None:
        """Count the verdicts of one call, and by which algorithms its entries were hit."""
        with self._lock:  # a loop: Counter.update takes 2 µs however little it is given
            for answer in answers:
                self._verdicts[answer.verdict] += 1
            for algorithm in hit_algorithms:
                self._hits[algorithm] += 1

    def unavailable(self, verdict: str) -> None:
        """Count a file that could not be read or hashed."""
        with self._lock:
            self._verdicts[verdict] += 1

    def live(self, outcome: str, count: int = 1) -> None:
        """Count frames of live streams: HASHED, UNREAD or SKIPPED."""
        with self._lock:
            self._live[outcome] += count

    def staged(self, payload_bytes: int) -> None:
        """Count one batch of an import."""
        with self._lock:
            self._batches += 1
            self._bytes += payload_bytes

    def committed(self, counts: Counts) -> None:
        """Count what became of an import's items."""
        with self._lock:
            for field in counts.__struct_fields__:
                if field != "items":
                    self._items[field] += getattr(counts, field)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add up how long the block takes, whether or not it succeeds."""
        started = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - started
            with self._lock:
                self._seconds[name] = self._seconds.get(name, 0.0) + seconds
                self._phases[name] += 1

    def read(self) -> Mapping[str, Mapping[str, float]]:
        """Return a copy of all counts: by what is counted, by label."""
        with self._lock:
            return {
                "verdicts": {str(verdict): count for verdict, count in self._verdicts.items()},
                "hits": dict(self._hits),
                "live": dict(self._live),
                "items": dict(self._items),
                "batches": {"": self._batches},
                "bytes": {"": self._bytes},
                "seconds": dict(self._seconds),
                "phases": dict(self._phases),
            }
