"""Ctrl-C for long-running commands.

Python raises KeyboardInterrupt wherever the main thread is, and drops it in a finaliser or callback, so that the
command never ends. Raised while a connection is being closed, it leaves gRPC's channel half closed, and its finaliser
waits for ever.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

from hashhub.cli.session import INTERRUPTED
from hashhub.errors import HashHubError

GRACE_SECONDS: float | None = 5.0  # for the work to come to its end by itself
_OVER: Final = b"\0"  # no signal has this number
_INTERRUPT: Final = bytes([signal.SIGINT])


class Interrupts:
    """Within it, Ctrl-C does not interrupt the main thread: another one waits for it, also while the main thread is in
    one long call, and calls what stops the work. KeyboardInterrupt is raised at the end.

    Only for work that may be killed anywhere: what has not ended `GRACE_SECONDS` later, or at a second Ctrl-C, is
    ended with the process, threads that still run included, and so is a process that has not ended as long after its
    work. It does nothing outside the main thread, or where interrupts are ignored.
    """

    def __init__(self) -> None:
        self.came = threading.Event()
        self._is_known = threading.Event()  # whether it came
        self._lock = threading.Lock()
        self._stop: Callable[[], None] | None = None
        self._thread: threading.Thread | None = None
        self._wakeup_before = self._reading = self._writing = -1
        self._grace = GRACE_SECONDS

    def __enter__(self) -> Self:
        if (
            sys.platform != "win32"  # where no thread can wait for a pipe
            and threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        ):
            self._reading, self._writing = os.pipe()
            os.set_blocking(self._writing, False)
            # Written to as soon as a signal comes, whatever the main thread does.
            self._wakeup_before = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
            signal.signal(signal.SIGINT, lambda *_: None)
            self._thread = threading.Thread(target=self._watch, name="interrupts", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._thread is None:
            return
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.set_wakeup_fd(self._wakeup_before)
        # Behind what came just now and was not read yet, which is one to be told.
        os.write(self._writing, _OVER)
        self._is_known.wait()
        if not self.came.is_set():
            self._thread.join()
            os.close(self._reading)
            os.close(self._writing)
        # Else the thread stays: a thread that the interpreter waits for may not come to its end either.
        if self.came.is_set() and (error is None or isinstance(error, HashHubError)):
            raise KeyboardInterrupt from error

    def call(self, stop: Callable[[], None]) -> None:
        """Let Ctrl-C call `stop`, from another thread; at once where it came already."""
        with self._lock:
            self._stop = stop
            has_come = self.came.is_set()
        if has_come:
            stop()

    def _watch(self) -> None:
        what = b""
        while what not in (_OVER, _INTERRUPT):
            what = self._next(None)
        if what == _OVER:
            self._is_known.set()
            return
        with self._lock:
            self.came.set()
            stop = self._stop
        self._is_known.set()
        if stop is not None:
            # Whatever it raises, the process ends. Not waited for: it may be what does not come to its end.
            threading.Thread(target=_quietly, args=(stop,), name="interrupted", daemon=True).start()
        if self._next(self._grace) == _OVER:
            self._next(self._grace)  # the main thread tells it, and the process ends
        else:
            with suppress(OSError):
                os.write(sys.stderr.fileno(), b"interrupted\n")  # a stream's lock may be held
        os._exit(INTERRUPTED)

    def _next(self, seconds: float | None) -> bytes:
        """Return the next signal that came, or that it is over; nothing after so many seconds."""
        ready, _, _ = select.select([self._reading], [], [], seconds)
        return os.read(self._reading, 1) if ready else b""


def _quietly(stop: Callable[[], None]) -> None:
    with suppress(Exception):
        stop()
