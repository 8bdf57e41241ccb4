"""Supervises several workers: they serve on ports that it holds, and it starts again what has died.

Each is a process of its own with a pipe to this one. Worker 0 goes first and alone, so that it alone makes the database
and the first token, and the others when it has; it also publishes the matcher's snapshots.

A worker that dies is started again after a pause that doubles, unless it says what it cannot start for
(`StartFailure`). One that serves is pinged, and its event loop has to answer: one that is silent for ten seconds is
killed, and so started again.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from multiprocessing import connection
from typing import TYPE_CHECKING, Final

import msgspec

from hashhub.addresses import bind, with_port
from hashhub.errors import Unavailable
from hashhub.server.admission import QuotaCounts
from hashhub.server.messages import (
    ENCODER,
    FROM_WORKER,
    LINGER_SECONDS,
    Assignment,
    DatabaseNotice,
    FromWorker,
    MetricsReport,
    MetricsText,
    OnPhase,
    OnReady,
    OpenCommand,
    Ping,
    Pong,
    ReadyNotice,
    StartFailure,
    StartPhase,
    ToWorker,
)
from hashhub.server.metrics import MergedMetrics

if TYPE_CHECKING:
    from hashhub.config import Config

_log = logging.getLogger("hashhub.server")

_LOOK_SECONDS: Final = 0.2  # between looks whether to stop or to start a worker again
_FIRST_BACKOFF: Final = 0.5  # seconds before a worker that died is started again; doubles with each death
_LONGEST_BACKOFF: Final = 30.0
_HEALTHY_SECONDS: Final = 60.0  # a worker that lived for this long starts again from the first backoff
_PING_SECONDS: Final = 2.0  # between an answer and the next ping
_SILENT_SECONDS: Final = 10.0
_LONGEST_LOOK: Final = 1.0  # of the seconds between two looks; of more, this process stood still as well


class _Worker:
    """A worker as its supervisor sees it: the pipe to it, and its history."""

    def __init__(self, index: int, config: Config, counts: QuotaCounts) -> None:
        self.index = index
        self._config = config
        self._counts = counts
        self.due = 0.0  # when to start it again; 0 while it runs
        self.may_open = False  # the database is there
        self.is_ready = False
        self._backoff = _FIRST_BACKOFF
        self._quiet = 0.0  # seconds since its last answer to a ping
        self._is_pinged = False

    def start(self, *, alone: bool) -> None:
        """Start the process; let it open the hub if it may. Raises Unavailable when no process can be started."""
        # The modules that this process sees, from the same places; not from wherever it happens to have been started.
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        try:
            self.pipe, theirs = connection.Pipe()
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "hashhub.server.worker"],
                    stdin=theirs.fileno(),
                    env=environment,
                    pass_fds=(self._counts.file,),
                    start_new_session=True,  # Ctrl-C is for this process, which has the others drain
                )
        except OSError as e:
            raise Unavailable(
                f"worker {self.index} cannot be started ({e.strerror}); check how many processes, files and how much "
                "memory the hub may have"
            ) from e
        self.started = time.monotonic()
        self.due = 0.0
        self.send(Assignment(self._config, self.index, self._counts.file))
        if self.may_open:
            self.send(OpenCommand(alone))

    def send(self, message: ToWorker) -> None:
        """Send a message; one that is dying needs none."""
        with contextlib.suppress(OSError):
            self.pipe.send_bytes(ENCODER.encode(message))

    def messages(self) -> Iterator[FromWorker]:
        """Yield what it has sent; raises EOFError when it is gone."""
        try:
            while self.pipe.poll():
                yield FROM_WORKER.decode(self.pipe.recv_bytes())
        except OSError as e:
            raise EOFError from e

    def take_pulse(self, seconds: float) -> bool:
        """Ping the worker if that is due; kill it when it is silent, and say so. `seconds`: since the last look."""
        self._quiet += min(seconds, _LONGEST_LOOK)
        if self._quiet >= _SILENT_SECONDS + _PING_SECONDS:
            _log.error("worker %d has not answered for %g s; it is killed", self.index, _SILENT_SECONDS)
            self._process.kill()
            self.has_answered()
            return True
        if self._quiet >= _PING_SECONDS and not self._is_pinged:
            self._is_pinged = True
            self.send(Ping())
        return False

    def has_answered(self) -> None:
        """Reset the silence timer: the worker's event loop has answered."""
        self._quiet, self._is_pinged = 0.0, False

    def died(self) -> None:
        """Note the death and when to start again."""
        # It may have closed its pipe and go on: nobody would hear of it.
        code = self.end(time.monotonic() + LINGER_SECONDS)
        self._counts.clear(self.index)  # what its calls held
        if self.is_ready and time.monotonic() - self.started >= _HEALTHY_SECONDS:
            self._backoff = _FIRST_BACKOFF
        self.is_ready = False
        self.has_answered()
        self.put_off(f"worker {self.index} ended with code {code}")

    def put_off(self, why: str) -> None:
        """Note when to start it again."""
        _log.error("%s; it starts again in %g s", why, self._backoff)
        self.due = time.monotonic() + self._backoff
        self._backoff = min(self._backoff * 2, _LONGEST_BACKOFF)

    def tell_to_end(self) -> None:
        """Let the worker drain: end the pipe towards it, which can go on sending. One that has ended stays so."""
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(self.pipe.fileno())) as end:
            end.shutdown(socket.SHUT_WR)

    def end(self, until: float) -> int:
        """See the worker end, and kill it if it goes on `until` then; return its exit code."""
        self.pipe.close()
        try:
            return self._process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


class Supervisor:
    """Keeps `config.workers` workers alive on ports that it holds for them."""

    def __init__(self, config: Config, on_ready: OnReady, on_phase: OnPhase, stop: threading.Event) -> None:
        """Nothing is done yet. Arguments as for `serve`."""
        self._on_ready = on_ready
        self._on_phase = on_phase
        self._stop = stop
        self._reserved = contextlib.ExitStack()
        self._config = config
        self._workers: list[_Worker] = []
        self._was_ready = False
        self._looked = time.monotonic()
        self._ledger = MergedMetrics()

    def run(self) -> None:
        """Reserve the ports, start the workers, and look after them until told to stop.

        Raises what a worker could not start for.
        """
        started: list[_Worker] = []
        try:
            for field in ("listen", "http", "listen_certificates"):
                if address := getattr(self._config, field):
                    actual = self._reserve(field, address)
                    self._config = msgspec.structs.replace(self._config, **{field: actual})
            counts = QuotaCounts(self._config.workers)
            self._workers = [_Worker(index, self._config, counts) for index in range(self._config.workers)]
            self._workers[0].may_open = True
            for worker in self._workers:
                self._start(worker)
                started.append(worker)
            while not self._stop.is_set():
                self._look()
        finally:
            until = time.monotonic() + self._config.drain_seconds + LINGER_SECONDS
            for worker in started:  # all of them drain at once
                worker.tell_to_end()
            self._hear_out(started, until)
            for worker in started:
                worker.end(until)
            self._reserved.close()

    def _hear_out(self, workers: list[_Worker], until: float) -> None:
        """Wait until workers that were told to end have; what they say is taken, so that none waits to say it."""
        draining: dict[object, _Worker] = {worker.pipe: worker for worker in workers if not worker.pipe.closed}
        while draining and time.monotonic() < until:
            for pipe in connection.wait(draining, timeout=until - time.monotonic()):  # type: ignore[arg-type]
                try:
                    draining[pipe].pipe.recv_bytes()
                except (EOFError, OSError):
                    del draining[pipe]
        for worker in draining.values():
            _log.error("worker %d does not end; it is killed", worker.index)

    def _start(self, worker: _Worker) -> None:
        self._ledger.started(worker.index)
        worker.start(alone=not any(other.may_open for other in self._workers if other is not worker))

    def _look(self) -> None:
        """Wait a moment for news of the workers, and act on it."""
        running: dict[object, _Worker] = {worker.pipe: worker for worker in self._workers if not worker.due}
        if not running:
            self._stop.wait(_LOOK_SECONDS)
        for end in connection.wait(running, timeout=_LOOK_SECONDS):  # type: ignore[arg-type]  # what has a descriptor
            worker = running[end]
            try:
                for message in worker.messages():
                    self._take(worker, message)
            except EOFError:
                if not self._stop.is_set():
                    worker.died()
        seconds, self._looked = time.monotonic() - self._looked, time.monotonic()
        for worker in self._workers:
            if worker.is_ready and worker.take_pulse(seconds):
                self._ledger.killed(worker.index)
            if worker.due and time.monotonic() >= worker.due and not self._stop.is_set():
                try:
                    self._start(worker)
                except Unavailable as e:
                    worker.put_off(e.message)

    def _take(self, worker: _Worker, message: FromWorker) -> None:
        match message:
            case StartPhase():
                if not self._was_ready:
                    self._on_phase(message)
            case Pong():
                worker.has_answered()
            case DatabaseNotice():
                for other in self._workers:
                    if not other.may_open:
                        other.may_open = True
                        if not other.due:
                            other.send(OpenCommand(alone=False))
            case ReadyNotice():
                worker.is_ready = True
                if not self._was_ready and all(other.is_ready for other in self._workers):
                    self._was_ready = True
                    self._on_ready(self._config.listen, self._config.http, self._config.listen_certificates)
            case StartFailure():
                if not self._was_ready:
                    from google.rpc.status_pb2 import Status

                    from hashhub.wire import status_pb_to_error

                    raise status_pb_to_error(Status.FromString(message.status))
            case MetricsReport():
                self._ledger.put(worker.index, message.families)
                if message.is_asked_for:
                    worker.send(MetricsText(self._ledger.text()))

    def _reserve(self, field: str, address: str) -> str:
        """Hold the port without listening on it, and return the address with the actual port."""
        # Bound exclusively first: with SO_REUSEPORT alone, another hub's port would be shared without a word.
        probe = bind(field, address)
        actual = with_port(field, address, probe.getsockname()[1])
        probe.close()
        self._reserved.enter_context(bind(field, actual, shared=True))
        return actual
