"""`serve`: a hub, in one process or several, from start to drain.

    one worker      this process: lock the data, open the hub and the doors, wait for a signal, drain
    several         parent: lock the data, reserve the ports, start the workers, restart one that dies, forward signals
                    └── worker 0..n-1, each a fresh process: open the hub and the doors on the shared ports

Workers are fresh processes and not forks: grpc's threads do not survive a fork. Worker 0 publishes the matcher's
snapshots, and it starts first and alone, so that it alone migrates the database and makes the first token. A worker
that loses its parent stops: it would serve data that nobody holds the lock of.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import connection, get_context
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from hashhub.errors import HashHubError, Unavailable
from hashhub.hub import Hub
from hashhub.matcher import warm_up
from hashhub.server.doors import Doors, bind, check_exposure, with_port
from hashhub.store import lock_data
from hashhub.wire import error_to_status, status_pb_to_error

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

    from hashhub.config import Config

_log = logging.getLogger("hashhub.server")

TOKEN_FILE: Final = "operator.token"  # noqa: S105 - the file's name, not a secret
_LOG_FORMAT: Final = "%(asctime)s %(levelname)s %(process)d %(name)s %(message)s"
_TURN_SECONDS: Final = 0.000_5
_LOOK_SECONDS: Final = 0.05  # between looks whether the matcher has caught up
_FIRST_BACKOFF: Final = 0.5  # seconds before a worker that died is started again; doubles with each death
_LONGEST_BACKOFF: Final = 30.0
_HEALTHY_SECONDS: Final = 60.0  # a worker that lived for this long starts again from the first backoff
_LINGER_SECONDS: Final = 5.0  # beyond the drain, before a worker that does not end is killed

OnReady = Callable[[str, str], None]


def serve(config: Config, *, on_ready: OnReady, stop: threading.Event | None = None) -> None:
    """Serve a hub until SIGTERM or SIGINT (or until `stop` is set), then drain.

    `on_ready` is called once, with the actual addresses of gRPC and of HTTP (empty without one), when every
    worker has caught up and answers. The first start writes the operator's token to `operator.token` in the data
    directory, for its owner only.

    Raises InvalidArgument for settings that cannot work or would expose tokens, FailedPrecondition when the data or a
    port is in use or others can read the data, Unavailable when the database is away.
    """
    _set_up_logging()
    check_exposure(config)
    stop = stop or threading.Event()
    with lock_data(config.data), _stopping_on_signals(stop):
        if config.workers == 1:
            _serve_here(config, on_ready, stop, alone=True)
        else:
            _Parent(config, on_ready, stop).run()


def _serve_here(
    config: Config, on_ready: OnReady, stop: threading.Event, *, alone: bool, shared: bool = False, worker: int = 0
) -> None:
    """Open the hub and the doors in this process, and serve until `stop`. `alone`: no other process serves the data
    yet.
    """
    with Hub.open(config, publisher=worker == 0) as hub:
        if alone:
            hub.take_over()
        if worker == 0:
            _write_first_token(hub, Path(config.data))
        doors = Doors(hub, config, listen=config.listen, http=config.http, shared=shared, worker=worker)
        try:
            doors.start()
            # The doors are open meanwhile: health says NOT_SERVING, and matching raises Unavailable
            # (MATCHER_NOT_READY).
            hub.match.media_pool.start()
            warm_up()
            hub.start(wait=False)
            while not hub.is_ready and not stop.wait(_LOOK_SECONDS):
                pass
            if hub.is_ready:
                _relax_collector()
                _take_short_turns()
                doors.announce()
                on_ready(doors.grpc_address, doors.http_address)
            stop.wait()
            _log.info("draining for at most %g seconds", config.drain_seconds)
        finally:
            doors.close()


def _take_short_turns() -> None:
    """Let threads of this process take turns ten times as often as Python's default.

    A thread that computes, a commit's for example, keeps the interpreter for one interval before another gets it, and a
    match needs it several times. Measured while a commit of 200,000 records ran on two busy cores, a match every 20 ms:
    p99 120 to 410 ms with the default of 5 ms, 36 to 59 ms with this; the commit took no longer.
    """
    sys.setswitchinterval(_TURN_SECONDS)


def _relax_collector() -> None:
    """Let the garbage collector leave alone what stays anyway, and look less often.

    A call makes tens of thousands of short-lived objects and no cycles. With Python's defaults the collector took
    nearly half of an import's commit, and a full collection, which walks all modules, stopped every call for as long as
    hundreds of lookups take.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def _set_up_logging() -> None:
    """One line an event on stderr, unless the caller has set logging up already."""
    if not logging.root.handlers:
        logging.basicConfig(level=logging.INFO, format=_LOG_FORMAT)
        logging.getLogger("alembic").setLevel(logging.WARNING)  # tells its plugins one by one


def _write_first_token(hub: Hub, data: Path) -> None:
    secret = hub.tokens.bootstrap()
    if secret is None:
        return
    try:
        # Created for its owner only; a file that is there already belongs to a database that is gone.
        with contextlib.suppress(FileNotFoundError):
            (data / TOKEN_FILE).unlink()
        file = os.open(data / TOKEN_FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(file, "w", encoding="ascii") as out:
            out.write(secret + "\n")
    except OSError as e:
        raise Unavailable(
            f"cannot write the operator's token to {TOKEN_FILE} in the data directory ({e.strerror}); correct that "
            "and, since "
            "the token is lost, begin with an empty database"
        ) from e


@contextlib.contextmanager
def _stopping_on_signals(stop: threading.Event) -> Iterator[None]:
    """Set `stop` on SIGTERM and SIGINT. Only a main thread can take signals; elsewhere the caller sets `stop`
    itself.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Worker:
    """A worker as its parent sees it: the process, the pipe by which it says that it is ready, and its history."""

    def __init__(self, config: Config, index: int) -> None:
        self.index = index
        self.backoff = _FIRST_BACKOFF
        self.due = 0.0  # when to start it again; 0 while it runs
        self._config = config
        self.start(alone=index == 0)

    def start(self, *, alone: bool = False) -> None:
        spawn = get_context("spawn")
        self.pipe, theirs = spawn.Pipe()
        self.process: SpawnProcess = spawn.Process(
            target=_run_worker, args=(self._config, self.index, alone, theirs), name=f"hashhub-worker-{self.index}"
        )
        self.process.start()
        theirs.close()
        self.started = time.monotonic()
        self.due = 0.0

    def died(self) -> None:
        """Note the death and when to start again."""
        self.process.join()
        self.pipe.close()
        if time.monotonic() - self.started >= _HEALTHY_SECONDS:
            self.backoff = _FIRST_BACKOFF
        _log.error(
            "worker %d ended with code %s; it starts again in %g s", self.index, self.process.exitcode, self.backoff
        )
        self.due = time.monotonic() + self.backoff
        self.backoff = min(self.backoff * 2, _LONGEST_BACKOFF)

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


class _Parent:
    """Keeps `config.workers` workers alive on ports that it holds for them."""

    def __init__(self, config: Config, on_ready: OnReady, stop: threading.Event) -> None:
        self._on_ready = on_ready
        self._stop = stop
        self._reserved = contextlib.ExitStack()
        self._config = config

    def run(self) -> None:
        """Reserve the ports, start the workers, worker 0 first and alone, and watch them until told to stop."""
        workers: list[_Worker] = []
        try:
            for field in ("listen", "http"):
                if address := getattr(self._config, field):
                    actual = self._reserve(field, address)
                    self._config = msgspec.structs.replace(self._config, **{field: actual})
            for index in range(self._config.workers):
                worker = _Worker(self._config, index)
                workers.append(worker)
                if index == 0 and not self._await_ready(worker):
                    return
            for worker in workers[1:]:
                if not self._await_ready(worker):
                    return
            self._on_ready(self._config.listen, self._config.http)
            self._watch(workers)
        finally:
            until = time.monotonic() + self._config.drain_seconds + _LINGER_SECONDS
            for worker in workers:
                worker.pipe.close()  # all of them drain at once
            for worker in workers:
                worker.end(until)
            self._reserved.close()

    def _reserve(self, field: str, address: str) -> str:
        """Hold the port without listening on it, and return the address with the actual port."""
        # Bound exclusively first: with SO_REUSEPORT alone, another hub's port would be shared without a word.
        probe = bind(field, address, shared=False)
        actual = with_port(field, address, probe.getsockname()[1])
        probe.close()
        self._reserved.enter_context(bind(field, actual, shared=True))
        return actual

    def _await_ready(self, worker: _Worker) -> bool:
        """Wait until the worker is ready; return False when told to stop meanwhile. Raises what the worker could not
        start for.
        """
        while not self._stop.is_set():
            if worker.pipe.poll(_LOOK_SECONDS):
                try:
                    failure = worker.pipe.recv_bytes()
                except EOFError:
                    worker.process.join()
                    raise HashHubError(
                        f"worker {worker.index} ended with code {worker.process.exitcode} before it was ready; see the "
                        "log"
                    ) from None
                if failure:
                    raise _failure(failure)
                return True
        return False

    def _watch(self, workers: list[_Worker]) -> None:
        while not self._stop.is_set():
            alive = [w.process.sentinel for w in workers if not w.due]
            for sentinel in (
                connection.wait(alive, timeout=_LOOK_SECONDS * 4) if alive else (self._stop.wait(_LOOK_SECONDS),)
            ):
                for worker in workers:
                    if not worker.due and worker.process.sentinel == sentinel and not self._stop.is_set():
                        worker.died()
            for worker in workers:
                if worker.due and time.monotonic() >= worker.due and not self._stop.is_set():
                    worker.start()


def _run_worker(config: Config, index: int, alone: bool, pipe: Connection) -> None:  # noqa: FBT001 - by position
    """A worker process's main function."""
    _set_up_logging()
    stop = threading.Event()

    def until_parent_goes() -> None:
        # The parent never sends anything: what comes is the end of the pipe, because it closed it or died.
        with contextlib.suppress(EOFError, OSError):
            pipe.recv_bytes()
        stop.set()

    with _stopping_on_signals(stop):
        threading.Thread(target=until_parent_goes, name="parent", daemon=True).start()
        try:
            _serve_here(config, lambda *_: _tell(pipe, b""), stop, alone=alone, shared=True, worker=index)
        except HashHubError as e:
            _log.error("worker %d cannot go on: %s", index, e.message)
            _tell(pipe, error_to_status(e).SerializeToString())
            raise SystemExit(1) from None


def _tell(pipe: Connection, what: bytes) -> None:
    with contextlib.suppress(OSError):  # a parent that is gone needs no news
        pipe.send_bytes(what)


def _failure(status: bytes) -> HashHubError:
    from google.rpc.status_pb2 import Status

    return status_pb_to_error(Status.FromString(status))
