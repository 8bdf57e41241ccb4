"""Several workers: fresh processes on ports that the parent holds, and the line between each of them and it.

    parent ── Go, Scraped ──► worker 0..n-1
           ◄── Phase, Opened, Ready, Failed, Counted, Scrape ──

Workers are fresh processes and not forks: grpc's threads do not survive a fork. All load their program at once; worker
0 goes first and alone, so that it alone migrates the database and makes the first token, and the others when it has.
Worker 0 also publishes the matcher's snapshots.

What tokens take is counted in memory that all workers share (`counts`), made here before the first of them.

One that dies is started again, after a pause that doubles, during the start as well: only what it could not start for,
and says (`Failed`), would come again and stops the hub. A worker that loses its parent stops: it would serve data that
nobody holds the lock of.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator
from multiprocessing import connection, get_context
from typing import TYPE_CHECKING, Final

import msgspec

from hashhub.addresses import bind, with_port
from hashhub.background import Background
from hashhub.errors import HashHubError, Unavailable, missing_extra
from hashhub.server.app import (
    LINGER_SECONDS,
    OnPhase,
    OnReady,
    Phase,
    load_program,
    serve_here,
    set_up_logging,
    stopping_on_signals,
)
from hashhub.server.counts import Counts
from hashhub.server.metrics import Family, Ledger, Metrics

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

    from hashhub.config import Config
    from hashhub.server.doors import Doors

_log = logging.getLogger("hashhub.server")

_LOOK_SECONDS: Final = 0.2  # between looks whether to stop or to start a worker again
_FIRST_BACKOFF: Final = 0.5  # seconds before a worker that died is started again; doubles with each death
_LONGEST_BACKOFF: Final = 30.0
_HEALTHY_SECONDS: Final = 60.0  # a worker that lived for this long starts again from the first backoff
_COUNT_SECONDS: Final = 3.0  # between two reports of what was counted: what a killed worker can take with it
_SCRAPE_SECONDS: Final = 5.0  # a parent that takes longer to answer hangs


class Go(msgspec.Struct, frozen=True, tag=True):
    """Open the hub. `alone`: no other process serves the data."""

    alone: bool


class Scraped(msgspec.Struct, frozen=True, tag=True):
    """The metrics of all workers as text: the answer to a Scrape."""

    text: str


class Told(msgspec.Struct, frozen=True, tag=True):
    """A step of the worker's start begins or ends."""

    phase: Phase


class Opened(msgspec.Struct, frozen=True, tag=True):
    """The database is there, migrated, and so is the first token: others can open it."""


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The worker has caught up and answers."""


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The worker cannot start, as a google.rpc.Status."""

    status: bytes


class Counted(msgspec.Struct, frozen=True, tag=True):
    """What the worker has counted. `is_asked_for`: somebody scrapes it, and it wants those of all."""

    families: list[Family]
    is_asked_for: bool = False


_ENCODER: Final = msgspec.msgpack.Encoder()
_TO_PARENT: Final = msgspec.msgpack.Decoder(Told | Opened | Ready | Failed | Counted)
_TO_WORKER: Final = msgspec.msgpack.Decoder(Go | Scraped)


class _Worker:
    """A worker as its parent sees it: the process, the line to it, and its history."""

    def __init__(self, config: Config, index: int, counts: Counts) -> None:
        self.index = index
        self._counts = counts
        self.due = 0.0  # when to start it again; 0 while it runs
        self.may_go = False  # the database is there
        self.is_ready = False
        self._backoff = _FIRST_BACKOFF
        self._config = config

    def start(self, *, alone: bool) -> None:
        """Start the process; let it open the hub if it may."""
        spawn = get_context("spawn")
        self.pipe, theirs = spawn.Pipe()
        self.process: SpawnProcess = spawn.Process(
            target=run_worker,
            args=(self._config, self.index, theirs, self._counts),
            name=f"hashhub-worker-{self.index}",
        )
        self.process.start()
        theirs.close()
        self.started = time.monotonic()
        self.due = 0.0
        if self.may_go:
            self.send(Go(alone))

    def send(self, message: Go | Scraped) -> None:
        """Send a message; one that is dying needs none."""
        with contextlib.suppress(OSError):
            self.pipe.send_bytes(_ENCODER.encode(message))

    def messages(self) -> Iterator[Told | Opened | Ready | Failed | Counted]:
        """Yield what it has sent; raises EOFError when it is gone."""
        try:
            while self.pipe.poll():
                yield _TO_PARENT.decode(self.pipe.recv_bytes())
        except OSError as e:
            raise EOFError from e

    def died(self) -> None:
        """Note the death and when to start again."""
        self.process.join(LINGER_SECONDS)
        if self.process.is_alive():  # it closed its line and goes on: nobody would hear of it
            self.process.kill()
            self.process.join()
        self._counts.clear(self.index)  # what its calls held
        self.pipe.close()
        if self.is_ready and time.monotonic() - self.started >= _HEALTHY_SECONDS:
            self._backoff = _FIRST_BACKOFF
        self.is_ready = False
        _log.error(
            "worker %d ended with code %s; it starts again in %g s", self.index, self.process.exitcode, self._backoff
        )
        self.due = time.monotonic() + self._backoff
        self._backoff = min(self._backoff * 2, _LONGEST_BACKOFF)

    def end(self, until: float) -> None:
        """Tell the worker to drain, and see it end."""
        self.pipe.close()
        if self.process.is_alive():
            self.process.terminate()
        self.process.join(max(0.0, until - time.monotonic()))
        if self.process.is_alive():
            _log.error("worker %d does not end; it is killed", self.index)
            self.process.kill()
            self.process.join()


class Parent:
    """Keeps `config.workers` workers alive on ports that it holds for them."""

    def __init__(self, config: Config, on_ready: OnReady, on_phase: OnPhase, stop: threading.Event) -> None:
        """Nothing is started yet; arguments as for `serve`."""
        self._on_ready = on_ready
        self._on_phase = on_phase
        self._stop = stop
        self._reserved = contextlib.ExitStack()
        self._config = config
        self._workers: list[_Worker] = []
        self._was_ready = False
        self._ledger = Ledger()

    def run(self) -> None:
        """Reserve the ports, start the workers, and look after them until told to stop.

        Raises what a worker could not start for.
        """
        started: list[_Worker] = []
        try:
            for field in ("listen", "http"):
                if address := getattr(self._config, field):
                    actual = self._reserve(field, address)
                    self._config = msgspec.structs.replace(self._config, **{field: actual})
            counts = Counts(self._config.workers)
            self._workers = [_Worker(self._config, index, counts) for index in range(self._config.workers)]
            self._workers[0].may_go = True
            for worker in self._workers:
                self._start(worker)
                started.append(worker)
            while not self._stop.is_set():
                self._look()
        finally:
            until = time.monotonic() + self._config.drain_seconds + LINGER_SECONDS
            for worker in started:
                worker.pipe.close()  # all of them drain at once
            for worker in started:
                worker.end(until)
            self._reserved.close()

    def _start(self, worker: _Worker) -> None:
        self._ledger.started(worker.index)
        worker.start(alone=not any(other.may_go for other in self._workers if other is not worker))

    def _look(self) -> None:
        """Wait a moment for news of the workers, and act on it."""
        running = {worker.pipe: worker for worker in self._workers if not worker.due}
        if not running:
            self._stop.wait(_LOOK_SECONDS)
        for pipe in connection.wait(list(running), timeout=_LOOK_SECONDS):
            worker = running[pipe]  # type: ignore[index]  # what was given to it
            try:
                for message in worker.messages():
                    self._take(worker, message)
            except EOFError:
                if not self._stop.is_set():
                    worker.died()
        for worker in self._workers:
            if worker.due and time.monotonic() >= worker.due and not self._stop.is_set():
                self._start(worker)

    def _take(self, worker: _Worker, message: Told | Opened | Ready | Failed | Counted) -> None:
        match message:
            case Told():
                if not self._was_ready:
                    self._on_phase(message.phase)
            case Opened():
                for other in self._workers:
                    if not other.may_go:
                        other.may_go = True
                        if not other.due:
                            other.send(Go(alone=False))
            case Ready():
                worker.is_ready = True
                if not self._was_ready and all(other.is_ready for other in self._workers):
                    self._was_ready = True
                    self._on_ready(self._config.listen, self._config.http)
            case Failed():
                if not self._was_ready:
                    raise _failure(message.status)
            case Counted():
                self._ledger.put(worker.index, message.families)
                if message.is_asked_for:
                    worker.send(Scraped(self._ledger.text()))

    def _reserve(self, field: str, address: str) -> str:
        """Hold the port without listening on it, and return the address with the actual port."""
        # Bound exclusively first: with SO_REUSEPORT alone, another hub's port would be shared without a word.
        probe = bind(field, address)
        actual = with_port(field, address, probe.getsockname()[1])
        probe.close()
        self._reserved.enter_context(bind(field, actual, shared=True))
        return actual


class _Line:
    """The line to the parent, as a worker has it."""

    def __init__(self, pipe: Connection, stop: threading.Event) -> None:
        self._pipe = pipe
        self._stop = stop
        self._sending = threading.Lock()
        self._scraping = threading.Lock()
        self._answered = threading.Condition()
        self._texts: list[str] = []
        self.go: Go | None = None
        self.went = threading.Event()
        self.listener = Background("parent", self._listen, complaint="the parent is not heard", pause=0.0)

    def send(self, message: Told | Opened | Ready | Failed | Counted) -> None:
        """Send a message; a parent that is gone needs no news."""
        with self._sending, contextlib.suppress(OSError):
            self._pipe.send_bytes(_ENCODER.encode(message))

    def scrape(self, metrics: Metrics) -> str:
        """Return the metrics of all workers. Raises Unavailable when the parent does not answer."""
        with self._scraping:
            self._texts.clear()
            self.send(Counted(metrics.families(), is_asked_for=True))
            with self._answered:
                self._answered.wait_for(lambda: self._texts or self._stop.is_set(), _SCRAPE_SECONDS)
                if self._texts:
                    return self._texts.pop()
        raise Unavailable("the process that gathers the metrics of all workers does not answer; try again")

    def _listen(self) -> None:
        """Take one message. The end of the line means that the parent closed it, or died."""
        try:
            message = _TO_WORKER.decode(self._pipe.recv_bytes())
        except (EOFError, OSError):
            self._stop.set()
            self.went.set()
            self.listener.tell_to_stop()
            return
        if isinstance(message, Go):
            self.go = message
            self.went.set()
        else:
            with self._answered:
                self._texts.append(message.text)
                self._answered.notify_all()


def run_worker(config: Config, index: int, pipe: Connection, counts: Counts) -> None:
    """A worker process's main function."""
    counts.worker = index
    set_up_logging()
    stop = threading.Event()
    line = _Line(pipe, stop)
    with stopping_on_signals(stop):
        line.listener.start()
        try:
            # What takes time, while worker 0 opens the database; its own kernels wait until the others can open it too.
            if load_program() and index > 0:
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


def _serve(config: Config, index: int, line: _Line, stop: threading.Event, counts: Counts, *, alone: bool) -> None:
    shown: list[Metrics] = []

    def count() -> None:
        for metrics in shown:
            line.send(Counted(metrics.families()))

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


def _failure(status: bytes) -> HashHubError:
    from google.rpc.status_pb2 import Status

    from hashhub.wire import status_pb_to_error

    return status_pb_to_error(Status.FromString(status))
