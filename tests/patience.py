"""How tests wait for a condition, and how long: a busy machine is no reason for another result."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE = 180.0


def wait_until(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.01)
