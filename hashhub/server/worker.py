"""One of several workers, and its pipe to the supervisor.

    python -P -m hashhub.server.worker        started by `supervisor`, the pipe on stdin

A worker that loses its supervisor stops: it would serve data that nobody holds the lock of.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from multiprocessing import connection
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final

from hashhub.background import Background
from hashhub.errors import HashHubError, Unavailable, missing_extra
from hashhub.server.admission import QuotaCounts
from hashhub.server.messages import (
    ENCODER,
    LOADING,
    TO_WORKER,
    Assignment,
    DatabaseNotice,
    FromWorker,
    MetricsReport,
    MetricsText,
    OpenCommand,
    Ping,
    Pong,
    ReadyNotice,
    StartFailure,
    StartPhase,
)
from hashhub.server.process import load_program, serve_here, set_up_logging
from hashhub.signals import stopping_on_signals

if TYPE_CHECKING:
    from hashhub.config import Config
    from hashhub.server.listeners import Listeners
    from hashhub.server.metrics import Metrics

_log = logging.getLogger("hashhub.server")

_LOOK_SECONDS: Final = 0.2  # between looks whether to stop
_COUNT_SECONDS: Final = 3.0  # between two reports of what was counted: what a killed worker can take with it
_SCRAPE_SECONDS: Final = 5.0  # a supervisor that takes longer to answer hangs


class SupervisorLink:
    """The supervisor, as a worker sees it over its pipe."""

    def __init__(self, pipe: connection.Connection, stop: threading.Event) -> None:
        self._pipe = pipe
        self._stop = stop
        self._sending = threading.Lock()
        self._reporting = threading.Lock()
        self._scraping = threading.Lock()
        self._texts: SimpleQueue[str] = SimpleQueue()
        self.listeners: Listeners | None = None
        self.order: OpenCommand | None = None
        self.has_ordered = threading.Event()
        self.thread = Background("supervisor", self._take, complaint="the supervisor is not heard", pause=0.0)

    def send(self, message: FromWorker) -> None:
        """Send a message; a supervisor that is gone needs no news."""
        with self._sending, contextlib.suppress(OSError):
            self._pipe.send_bytes(ENCODER.encode(message))

    def report(self, metrics: Metrics, *, is_asked_for: bool = False) -> None:
        """Send what was counted. Of two readings the older one never comes last: counters would go back."""
        with self._reporting:
            self.send(MetricsReport(metrics.families(), is_asked_for=is_asked_for))

    def scrape(self, metrics: Metrics) -> str:
        """Return the metrics of all workers. Raises Unavailable when the parent does not answer."""
        with self._scraping:
            self._texts = SimpleQueue()  # one that came too late for an earlier scrape is dropped
            self.report(metrics, is_asked_for=True)
            try:
                return self._texts.get(timeout=_SCRAPE_SECONDS)
            except Empty:
                raise Unavailable(
                    "the process that gathers the metrics of all workers does not answer; try again"
                ) from None

    def _take(self) -> None:
        """Take one message. The end of the pipe means that the supervisor wants no more of this worker, or died."""
        try:
            message = TO_WORKER.decode(self._pipe.recv_bytes())
        except (EOFError, OSError):
            self._stop.set()
            self.has_ordered.set()
            self.thread.tell_to_stop()
            return
        if isinstance(message, OpenCommand):
            self.order = message
            self.has_ordered.set()
        elif isinstance(message, Ping) and self.listeners is not None:
            self.listeners.ping(lambda: self.send(Pong()))
        elif isinstance(message, MetricsText):
            self._texts.put(message.text)


def main() -> None:
    """Run a worker until its supervisor wants no more of it, or a signal stops it."""
    pipe = connection.Connection(os.dup(0))
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - as a descriptor
        os.dup2(nothing.fileno(), 0)
    try:
        given = TO_WORKER.decode(pipe.recv_bytes())
    except (EOFError, OSError):  # the supervisor is gone
        return
    if isinstance(given, Assignment):
        os.set_inheritable(given.counts, False)
        _run(given.config, given.index, pipe, QuotaCounts(given.config.workers, file=given.counts))


def _run(config: Config, index: int, pipe: connection.Connection, counts: QuotaCounts) -> None:
    counts.worker = index
    set_up_logging()
    stop = threading.Event()
    supervisor = SupervisorLink(pipe, stop)
    with stopping_on_signals(stop.set):
        supervisor.thread.start()
        try:
            # What takes time, while worker 0 opens the database; its own kernels wait until the others can open it too.
            if _load(supervisor, index) and index > 0:
                from hashhub.matcher import warm_up

                warm_up()
            while not supervisor.has_ordered.wait(_LOOK_SECONDS):
                if stop.is_set():
                    return
            if supervisor.order is None:
                return
            _serve(config, index, supervisor, stop, counts, alone=supervisor.order.alone)
        except (HashHubError, ModuleNotFoundError) as e:
            from hashhub.wire import error_to_status

            error = e if isinstance(e, HashHubError) else missing_extra(e, "server", what="serving")
            _log.error("worker %d cannot go on: %s", index, error.message)
            supervisor.send(StartFailure(error_to_status(error).SerializeToString()))
            raise SystemExit(1) from None


def _load(supervisor: SupervisorLink, index: int) -> bool:
    """Load the program, and return whether its kernels are compiled already."""
    began = time.perf_counter()
    supervisor.send(StartPhase(LOADING, worker=index))
    has_kernels = load_program()
    supervisor.send(StartPhase(LOADING, time.perf_counter() - began, worker=index))
    return has_kernels


def _serve(
    config: Config, index: int, supervisor: SupervisorLink, stop: threading.Event, counts: QuotaCounts, *, alone: bool
) -> None:
    def count() -> None:
        if supervisor.listeners is not None:
            supervisor.report(supervisor.listeners.metrics)

    def begin_counting(listeners: Listeners) -> None:
        supervisor.listeners = listeners
        counting.start()

    counting = Background("metrics", count, complaint="metrics are not reported", pause=_COUNT_SECONDS)
    try:
        serve_here(
            config,
            on_ready=lambda *_: supervisor.send(ReadyNotice()),
            on_phase=supervisor.send,
            on_opened=lambda: supervisor.send(DatabaseNotice()),
            on_listeners=begin_counting,
            stop=stop,
            alone=alone,
            shared=True,
            worker=index,
            scrape=supervisor.scrape,
            counts=counts,
        )
    finally:
        counting.close()


if __name__ == "__main__":
    main()
