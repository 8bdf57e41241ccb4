"""Background loops that survive errors. Each failure, MemoryError included, is kept for `status`, health and metrics
until a round succeeds, and retried after a growing pause.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from hashhub.errors import HashHubError

_log = logging.getLogger(__name__)
FIRST_PAUSE: Final = 0.2  # seconds after the first failure; doubles with each
_SAID_AGAIN_SECONDS: Final = 60.0  # between two log lines about the same failure
BREATH_SECONDS: Final = 0.1


class Background:
    """A daemon thread that calls `work` round after round until it is closed."""

    def __init__(
        self,
        name: str,
        work: Callable[[], object],
        *,
        complaint: str,
        pause: float | None = None,
        longest_pause: float = 30.0,
    ) -> None:
        """`pause`: seconds between two rounds; None waits for `wake`. `complaint`: what fails, such as `cannot follow
        changes`. `longest_pause`: bounds the growing pause after failures, which no `wake` shortens.
        """
        self.name = name
        self._work = work
        self._complaint = complaint
        self._pause = pause
        self._longest_pause = longest_pause
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._failed_in_a_row = 0
        self._said = ("", 0.0)  # the failure that was logged last, and when
        self.failures = 0
        """Failed rounds since the start."""
        self.warning = ""
        """What the last round failed with; empty when it succeeded."""

    def start(self, *, at_once: bool = True) -> None:
        """Begin with a round, or with a pause unless `at_once`; does nothing when the thread runs or was closed."""
        with self._lock:
            if self._thread is None and not self._stop.is_set():
                thread = threading.Thread(target=self._run, args=(at_once,), name=self.name, daemon=True)
                thread.start()
                self._thread = thread

    def wake(self) -> None:
        """Let the next round begin now."""
        self._wake.set()

    def tell_to_stop(self) -> None:
        """Let no further round begin; does not wait for the one that runs."""
        self._stop.set()
        self._wake.set()

    def close(self) -> None:
        """End after the round that is going on."""
        self.tell_to_stop()
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()

    @property
    def is_stopping(self) -> bool:
        """Whether a round that takes long should give up."""
        return self._stop.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait within a round; return True as soon as the thread is to end."""
        return self._stop.wait(seconds)

    def _run(self, at_once: bool) -> None:  # noqa: FBT001 - a thread's target
        if not at_once:
            self._stop.wait(self._pause)
        while not self._stop.is_set():
            try:
                self._round()
            except BaseException:  # noqa: BLE001 - even telling of a failure may fail, for want of memory
                self.failures += 1
                time.sleep(BREATH_SECONDS)

    def _round(self) -> None:
        try:
            self._work()
        except BaseException as e:  # noqa: BLE001 - nothing may end the thread
            self._note(e)
            pause = min(FIRST_PAUSE * 2 ** min(self._failed_in_a_row - 1, 20), self._longest_pause)
            self._stop.wait(pause)
            return
        if self._failed_in_a_row:
            _log.info("%s: going on after %d failed rounds", self.name, self._failed_in_a_row)
        self._failed_in_a_row = 0
        self.warning = ""
        self._wake.wait(self._pause)
        self._wake.clear()

    def _note(self, error: BaseException) -> None:
        self.failures += 1
        self._failed_in_a_row += 1
        # Set before anything that needs memory, so that the failure shows even where it cannot be described.
        self.warning = self._complaint
        if isinstance(error, HashHubError):
            cause = error.message
        elif isinstance(error, MemoryError):
            cause = "out of memory"
        else:
            cause = "internal error, see the log"
        self.warning = f"{self._complaint}: {cause}"
        said, at = self._said
        if said == self.warning and time.monotonic() - at < _SAID_AGAIN_SECONDS:
            return
        self._said = (self.warning, time.monotonic())
        if isinstance(error, HashHubError | MemoryError):
            _log.warning(self.warning)
        else:
            _log.error(self.warning, exc_info=error)
