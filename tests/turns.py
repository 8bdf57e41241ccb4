"""How long work keeps Python's lock to itself, and every other thread of the process waiting."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

_ATTEMPTS = 5


def longest_wait(work: Callable[[], Any]) -> float:
    """Return for how many seconds at a time another thread waits while `work` runs: the shortest of some attempts,
    since a busy machine lets it wait, too.
    """
    return min(_longest_wait(work) for _ in range(_ATTEMPTS))


def _longest_wait(work: Callable[[], Any]) -> float:
    thread = threading.Thread(target=work)
    longest = 0.0
    last = time.perf_counter()
    thread.start()
    while thread.is_alive():
        time.sleep(0.0002)
        now = time.perf_counter()
        longest, last = max(longest, now - last), now
    return max(longest, time.perf_counter() - last)
