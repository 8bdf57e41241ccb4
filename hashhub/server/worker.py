"""One of several workers, and its line to the parent.

    python -P -m hashhub.server.worker        started by `workers`, the line on stdin

A worker that loses its parent stops: it would serve data that nobody holds the lock of.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from multiprocessing import connection
from typing import TYPE_CHECKING, Final

from hashhub.background import Background
from hashhub.errors import HashHubError, Unavailable, missing_extra
from hashhub.server.app import LOADING, Phase, load_program, serve_here, set_up_logging
from hashhub.server.counts import Counts
from hashhub.server.line import (
    ENCODER,
    TO_WORKER,
    Counted,
    Failed,
    FromWorker,
    Go,
    Opened,
    Ready,
    Scraped,
    Serving,
    Told,
)
from hashhub.stopping import stopping_on_signals

if TYPE_CHECKING:
    from hashhub.config import Config
    from hashhub.server.doors import Doors
    from hashhub.server.metrics import Metrics

_log = logging.getLogger("hashhub.server")

_LOOK_SECONDS: Final = 0.2  # between looks whether to stop
_COUNT_SECONDS: Final = 3.0  # between two reports of what was counted: what a killed worker can take with it
_SCRAPE_SECONDS: Final = 5.0  # a parent that takes longer to answer hangs


class _Line:
    """The line to the parent, as a worker has it."""

    def __init__(self, pipe: connection.Connection, stop: threading.Event) -> None:
        self._pipe = pipe
        self._stop = stop
        self._sending = threading.Lock()
        self._telling = threading.Lock()
        self._scraping = threading.Lock()
        self._answered = threading.Condition()
        self._texts: list[str] = []
        self.go: Go | None = None
        self.went = threading.Event()
        self.listener = Background("parent", self._listen, complaint="the parent is not heard", pause=0.0)

    def send(self, message: FromWorker) -> None:
        """Send a message; a parent that is gone needs no news."""
        with self._sending, contextlib.suppress(OSError):
            self._pipe.send_bytes(ENCODER.encode(message))

    def tell(self, metrics: Metrics, *, is_asked_for: bool = False) -> None:
        """Send what was counted. Of two readings the older one never comes last: counters would go back."""
        with self._telling:
            self.send(Counted(metrics.families(), is_asked_for=is_asked_for))

    def scrape(self, metrics: Metrics) -> str:
        """Return the metrics of all workers. Raises Unavailable when the parent does not answer."""
        with self._scraping:
            self._texts.clear()
            self.tell(metrics, is_asked_for=True)
            with self._answered:
                self._answered.wait_for(lambda: self._texts or self._stop.is_set(), _SCRAPE_SECONDS)
                if self._texts:
                    return self._texts.pop()
        raise Unavailable("the process that gathers the metrics of all workers does not answer; try again")

    def _listen(self) -> None:
        """Take one message. The end of the line means that the parent hung up, or died."""
        try:
            message = TO_WORKER.decode(self._pipe.recv_bytes())
        except (EOFError, OSError):
            self._stop.set()
            self.went.set()
            self.listener.tell_to_stop()
            return
        if isinstance(message, Go):
            self.go = message
            self.went.set()
        elif isinstance(message, Scraped):
            with self._answered:
                self._texts.append(message.text)
                self._answered.notify_all()


def main() -> None:
    """Run a worker until its parent hangs up, or a signal stops it."""
    pipe = connection.Connection(os.dup(0))
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - as a descriptor
        os.dup2(nothing.fileno(), 0)
    try:
        serving = TO_WORKER.decode(pipe.recv_bytes())
    except (EOFError, OSError):  # the parent is gone
        return
    if isinstance(serving, Serving):
        os.set_inheritable(serving.counts, False)
        _run(serving.config, serving.index, pipe, Counts(serving.config.workers, file=serving.counts))


def _run(config: Config, index: int, pipe: connection.Connection, counts: Counts) -> None:
    counts.worker = index
    set_up_logging()
    stop = threading.Event()
    line = _Line(pipe, stop)
    with stopping_on_signals(stop.set):
        line.listener.start()
        try:
            # What takes time, while worker 0 opens the database; its own kernels wait until the others can open it too.
            if _load(line, index) and index > 0:
                from hashhub.matcher import warm_up

                warm_up()
            while not line.went.wait(_LOOK_SECONDS):
                if stop.is_set():
                    return
            if line.go is None:
                return
            _serve(config, index, line, stop, counts, alone=line.go.alone)
        except (HashHubError, ModuleNotFoundError) as e:
            from hashhub.wire import error_to_status

            error = e if isinstance(e, HashHubError) else missing_extra(e, "server", what="serving")
            _log.error("worker %d cannot go on: %s", index, error.message)
            line.send(Failed(error_to_status(error).SerializeToString()))
            raise SystemExit(1) from None


def _load(line: _Line, index: int) -> bool:
    """Load the program, and return whether its kernels are compiled already."""
    began = time.perf_counter()
    line.send(Told(Phase(LOADING, worker=index)))
    has_kernels = load_program()
    line.send(Told(Phase(LOADING, time.perf_counter() - began, worker=index)))
    return has_kernels


def _serve(config: Config, index: int, line: _Line, stop: threading.Event, counts: Counts, *, alone: bool) -> None:
    shown: list[Metrics] = []

    def count() -> None:
        for metrics in shown:
            line.tell(metrics)

    def begin_counting(doors: Doors) -> None:
        shown.append(doors.metrics)
        counting.start()

    counting = Background("metrics", count, complaint="metrics are not told", pause=_COUNT_SECONDS)
    try:
        serve_here(
            config,
            on_ready=lambda *_: line.send(Ready()),
            on_phase=lambda phase: line.send(Told(phase)),
            on_opened=lambda: line.send(Opened()),
            on_doors=begin_counting,
            stop=stop,
            alone=alone,
            shared=True,
            worker=index,
            scrape=line.scrape,
            counts=counts,
        )
    finally:
        counting.close()


if __name__ == "__main__":
    main()
