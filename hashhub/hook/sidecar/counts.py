"""What the sidecar counts, in Prometheus' text format. Labels are from closed sets, whatever callers send."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from hashhub.desk.decision import Decision

_BOUNDS: Final = (0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)  # seconds, inclusive


def _head(name: str, kind: str, what: str) -> list[str]:
    return [f"# HELP {name} {what}", f"# TYPE {name} {kind}"]


class _Times:
    def __init__(self) -> None:
        self._counts = [0] * (len(_BOUNDS) + 1)
        self._sum = 0.0

    def add(self, seconds: float) -> None:
        self._counts[bisect_left(_BOUNDS, seconds)] += 1
        self._sum += seconds

    def lines(self, name: str, what: str) -> list[str]:
        lines = _head(name, "histogram", what)
        total = 0
        for bound, count in zip((*_BOUNDS, "+Inf"), self._counts, strict=True):
            total += count
            lines.append(f'{name}_bucket{{le="{bound}"}} {total}')
        return [*lines, f"{name}_sum {self._sum:.6f}", f"{name}_count {total}"]


class SidecarMetrics:
    """Counts of one sidecar since it started. Safe to be shared by threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._decisions: Counter[tuple[str, str, str, str]] = Counter()
        self._responses: Counter[tuple[str, int]] = Counter()
        self._requests, self._decided = _Times(), _Times()
        self.bytes_received = 0
        self.in_progress = 0

    def decision(self, door: str, decision: Decision, seconds: float) -> None:
        """Count a decision and how long it took once the upload was there."""
        with self._lock:
            self._decisions[door, decision.action, decision.verdict, decision.no_answer or ""] += 1
            self._decided.add(seconds)

    def response(self, path: str, status: int, seconds: float) -> None:
        """Count an answer; `path` is one of the sidecar's own, or `other`."""
        with self._lock:
            self._responses[path, status] += 1
            self._requests.add(seconds)

    def text(self, *, memory_bytes: int) -> str:
        """Return all of it as a scrape reads it. `memory_bytes`: of uploads that are in memory now."""
        name = "hashhub_hook"
        with self._lock:
            lines = _head(
                f"{name}_decisions_total", "counter", "Decisions, by door, action, verdict and why there was no answer."
            )
            for (door, action, verdict, no_answer), count in sorted(self._decisions.items()):
                labels = f'door="{door}",action="{action}",verdict="{verdict}",no_answer="{no_answer}"'
                lines.append(f"{name}_decisions_total{{{labels}}} {count}")
            lines += _head(f"{name}_responses_total", "counter", "Answers, by path and status.")
            for (path, status), count in sorted(self._responses.items()):
                lines.append(f'{name}_responses_total{{path="{path}",status="{status}"}} {count}')
            lines += self._requests.lines(f"{name}_request_seconds", "How long requests took, sending included.")
            lines += self._decided.lines(
                f"{name}_decision_seconds", "How long decisions took once the upload was there."
            )
            for key, kind, what, value in (
                ("received_bytes_total", "counter", "Bytes of bodies that were read.", self.bytes_received),
                ("upload_memory_bytes", "gauge", "Bytes of uploads that are in memory.", memory_bytes),
                ("uploads_in_progress", "gauge", "Uploads that are received or decided over.", self.in_progress),
            ):
                lines += [*_head(f"{name}_{key}", kind, what), f"{name}_{key} {value}"]
        return "\n".join(lines) + "\n"
