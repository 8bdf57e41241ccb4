"""What this process has done since its start, counted: for metrics. It knows no library of metrics and no wire.

All labels are from closed sets (verdicts, algorithms, dispositions, phases), so that no caller can make it grow.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from hashhub.model import Counts, MatchResult


class Tally:
    """Counters that only grow, by what is counted and by label. Adding takes a microsecond."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, dict[str, float]] = {
            "live": {"HASHED": 0, "UNREAD": 0, "SKIPPED": 0},
            "batches": {"": 0},
            "bytes": {"": 0},
        }
        for what in ("verdicts", "hits", "items", "seconds", "phases"):
            self._counts[what] = defaultdict(int)

    def add(self, what: str, label: str = "", number: float = 1) -> None:
        """Count something."""
        with self._lock:
            self._counts[what][label] += number

    def answered(self, answers: Iterable[MatchResult], hit_algorithms: Iterable[str]) -> None:
        """Count the verdicts of one call, and by which algorithms its entries were hit."""
        verdicts, hits = self._counts["verdicts"], self._counts["hits"]
        with self._lock:  # a loop: Counter.update takes 2 µs however little it is given
            for answer in answers:
                verdicts[answer.verdict] += 1
            for algorithm in hit_algorithms:
                hits[algorithm] += 1

    def committed(self, counts: Counts) -> None:
        """Count what became of an import's items."""
        for field in counts.__struct_fields__:
            if field != "items":
                self.add("items", field, getattr(counts, field))

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add up how long the block takes, whether or not it succeeds."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.add("seconds", name, time.perf_counter() - started)
            self.add("phases", name)

    def read(self) -> Mapping[str, Mapping[str, float]]:
        """Return a copy of all counts: by what is counted, by label."""
        with self._lock:
            return {what: {str(label): n for label, n in of.items()} for what, of in self._counts.items()}
