"""What is told of a start, by whoever starts a hub or a part of it. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

LOADING: Final = "loading the program"
LINGER_SECONDS: Final = 5.0  # beyond the drain, before a process that does not end is ended


class StartPhase(msgspec.Struct, frozen=True, tag=True):
    """A step of a start. `seconds` is None while it goes on; `is_long` says that it may take more than a moment."""

    what: str
    seconds: float | None = None
    is_long: bool = False
    worker: int = 0


OnReady = Callable[[str, str], None]
OnPhase = Callable[[StartPhase], None]
