"""Cancellation of work whose caller has gone or whose deadline has passed.

The server opens a `scope` around a call, and long work calls `check` every few milliseconds; outside a scope it does
nothing. Do not check where stopping would leave something half done.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from hashhub.errors import Reason, Unavailable

if TYPE_CHECKING:
    from types import TracebackType


class _Call:
    __slots__ = ("is_wanted", "until")

    def __init__(self, is_wanted: Callable[[], bool], until: float | None) -> None:
        self.is_wanted = is_wanted
        self.until = until  # by time.monotonic()


_CALL: Final[ContextVar[_Call | None]] = ContextVar("hashhub_call", default=None)


class scope:  # noqa: N801 - used like a function; as a generator it would cost every call 2 µs
    """Let `check` speak for a call in the body. `remaining`: seconds until its deadline, None when it has none."""

    __slots__ = ("_call", "_token")

    def __init__(self, is_wanted: Callable[[], bool], remaining: float | None = None) -> None:
        self._call = _Call(is_wanted, None if remaining is None else time.monotonic() + remaining)

    def __enter__(self) -> None:
        self._token = _CALL.set(self._call)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            _CALL.reset(self._token)
        except ValueError:
            # A stream that nobody takes more of ends where its last reference goes, maybe in another context. Its own
            # may be the call's: let it not hold the call.
            self._call.is_wanted = lambda: False


def check() -> None:
    """Raise Unavailable when the deadline has passed (DEADLINE_EXCEEDED) or the caller has gone (CALLER_GONE)."""
    call = _CALL.get()
    if call is None:
        return
    if call.until is not None and time.monotonic() >= call.until:
        raise Unavailable(
            "the deadline passed before the answer was ready; allow more time, or send smaller requests",
            reason=Reason.DEADLINE_EXCEEDED,
        )
    if not call.is_wanted():
        raise Unavailable("the caller cancelled the call or went away; nothing was done", reason=Reason.CALLER_GONE)


def is_wanted() -> bool:
    """Whether `check` would let the work go on: for work that ends in its own way."""
    try:
        check()
    except Unavailable:
        return False
    return True
