"""How long work keeps Python's lock to itself, and every other thread of the process waiting."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

_ATTEMPTS = 10


def keeps_waiting_less(work: Callable[[], Any], than: Callable[[], Any]) -> bool:
    """Return whether another thread waits at a time for less than a quarter as long while `work` runs as it does during
    another: in one of many attempts, since a busy machine lets it wait, too.
    """
    longest = min(_longest_wait(than) for _ in range(3))
    return any(_longest_wait(work) < longest / 4 for _ in range(_ATTEMPTS))


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
