"""SIGTERM and SIGINT, for programs that serve until one comes."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator

_log = logging.getLogger(__name__)
_ENDING = frozenset({signal.SIGTERM, signal.SIGINT})


@contextlib.contextmanager
def stopping_on_signals(stop: Callable[[], object], *, within: float | None = None) -> Iterator[None]:
    """Call `stop` once, from a thread of its own, when SIGTERM or SIGINT comes. Only a main thread can take signals;
    elsewhere it does nothing, and the caller stops by itself.

    `within`: end the process when the body is not over so many seconds after the signal. A start that compiles, for
    example, looks at nothing meanwhile; nothing is lost that a kill would not lose.

    Python runs a handler in the main thread only. One that is just about to wait for a lock runs it when that wait is
    over, which may be never. What Python writes to the wakeup descriptor is written at once, in whichever thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    over = threading.Event()
    reading, writing = os.pipe()
    os.set_blocking(writing, False)

    def watch() -> None:
        while numbers := os.read(reading, 64):
            if _ENDING.intersection(numbers):
                stop()
                if within is not None and not over.wait(within):
                    _log.error("the process does not end within %g seconds of the signal; it is ended", within)
                    os._exit(1)
                return

    watcher = threading.Thread(target=watch, name="signals", daemon=True)
    watcher.start()
    wakeup_before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    # Python writes only about signals that it has a handler for.
    handlers_before = {number: signal.signal(number, lambda *_: None) for number in _ENDING}
    try:
        yield
    finally:
        over.set()
        for number, handler in handlers_before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup_before)
        os.close(writing)
        watcher.join()
        os.close(reading)
