"""The process that workers are forked from: it loads the program once, for all of them and for those that follow one
that died.

    python -P -m hashhub.server.template        started by `app`, control socket on stdin

    parent ── Serving, Fork, End ──► template ── fork ──► worker 0..n-1
           ◄── Loaded, Ended ──

A fork of it is sound because it has one thread and no object of grpc, no database connection and no server: these are
made in the workers. To load takes a second of a core, a fork some milliseconds, and what it has loaded is in memory
once. It ends with its parent; its workers drain when either of the two has ended.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Final

from hashhub.errors import HashHubError
from hashhub.server.app import LINGER_SECONDS, begin_template, load_program, set_up_logging
from hashhub.server.counts import Counts
from hashhub.server.line import (
    ENCODER,
    FROM_TEMPLATE,
    MOST_BYTES,
    TO_TEMPLATE,
    End,
    Ended,
    Fork,
    Loaded,
    Serving,
)

if TYPE_CHECKING:
    from hashhub.config import Config

_log = logging.getLogger("hashhub.server")

_LOOK_SECONDS: Final = 0.01  # between looks whether a worker has ended
_BLAS_THREADS: Final = "OPENBLAS_NUM_THREADS"


class Template:
    """The template as the parent sees it. When it has ended, the next fork starts another one."""

    def __init__(
        self, process: subprocess.Popen[bytes], control: socket.socket, config: Config, counts: Counts
    ) -> None:
        """`process` and `control`: as begun, and ended here. `config`: with the actual ports; `counts`: in which all
        workers count.
        """
        self._process: subprocess.Popen[bytes] | None = process
        self._control: socket.socket | None = control
        self._config, self._counts = config, counts
        self._forked: set[int] = set()
        self.is_loaded = False
        with contextlib.suppress(OSError):  # it has ended, which shows when a worker is to be forked
            self._introduce()

    @property
    def control(self) -> socket.socket | None:
        """Where it can be heard; None while there is none."""
        return self._control

    def fork(self, index: int, line: Connection) -> None:
        """Have a worker forked as soon as the program is loaded; its end of the line is closed here.

        When the template ends before that, the line does. Raises Unavailable when no process can be started.
        """
        with line:
            try:
                self._send_fork(index, line)
            except OSError:  # it has ended since it was last heard
                self._discard()
                self._send_fork(index, line)
            self._forked.add(index)

    def hear(self) -> None:
        """Take one message, or note that the template has ended."""
        if self._receive() is None:
            self._discard()

    def end(self, index: int, until: float) -> int | None:
        """See a worker end, and kill it if it goes on `until` then; return its exit code, None where that is not known.

        A worker of a template that has ended cannot be killed, but drains by itself.
        """
        if self._control is None or index not in self._forked:
            return None
        self._forked.discard(index)
        seconds = max(0.0, until - time.monotonic())
        try:
            self._control.settimeout(seconds + LINGER_SECONDS)
            self._control.sendall(ENCODER.encode(End(index, seconds)))
            message = self._receive()
            while isinstance(message, Loaded):
                message = self._receive()
        except OSError:
            message = None
        if message is None:
            self._discard()
            return None
        self._control.settimeout(None)
        return message.code

    def close(self) -> None:
        """End it. Workers that it has forked drain."""
        self._discard()

    def _send_fork(self, index: int, line: Connection) -> None:
        socket.send_fds(self._started(), [ENCODER.encode(Fork(index))], [line.fileno()])

    def _introduce(self) -> None:
        if self._control is not None:
            socket.send_fds(self._control, [ENCODER.encode(Serving(self._config))], [self._counts.file])

    def _started(self) -> socket.socket:
        if self._control is not None:
            return self._control
        self._process, self._control = begin_template()
        self._introduce()
        return self._control

    def _receive(self) -> Loaded | Ended | None:
        """Return the next message; None when the template has ended."""
        if self._control is None:
            return None
        try:
            packet = self._control.recv(MOST_BYTES)
        except ConnectionError:
            return None
        message = FROM_TEMPLATE.decode(packet) if packet else None
        self.is_loaded |= isinstance(message, Loaded)
        return message

    def _discard(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._process is not None:
            self._process.kill()  # it holds nothing that could be lost, and may be loading
            self._process.wait()
            self._process = None
        self._forked.clear()
        self.is_loaded = False


def main() -> None:
    """Run the template; in a process that it forks, run the worker."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # sent to a whole group of processes: the workers drain first
    control = socket.socket(fileno=os.dup(0))
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - as a descriptor
        os.dup2(nothing.fileno(), 0, inheritable=True)
    serving, descriptor = _received(control)
    if not isinstance(serving, Serving):  # the parent is gone
        return
    counts = Counts(serving.config.workers, file=descriptor)
    set_up_logging()
    _load()
    gc.collect()
    gc.freeze()  # the collector need not look at, and so copy, what all workers share
    forked = None
    with contextlib.suppress(ConnectionError):  # the parent is gone
        control.sendall(ENCODER.encode(Loaded()))
        forked = _forked(control)
    if forked is not None:
        from hashhub.server.worker import run_worker

        run_worker(serving.config, *forked, counts)


def _load() -> None:
    """Load what all workers need, while there is nothing else in this process."""
    try:
        with _no_threads_of_blas():
            has_kernels = load_program()
        if has_kernels:  # to compile them takes long, which a worker tells; it opens its doors first
            from hashhub.matcher import warm_up

            warm_up()
    except (HashHubError, ModuleNotFoundError):
        pass  # each worker meets it too, and tells it


@contextlib.contextmanager
def _no_threads_of_blas() -> Iterator[None]:
    """Let NumPy load without threads for its linear algebra, which a worker has no use for and a fork would lose.

    FAISS has its own, which it loads where it is first needed, in a worker.
    """
    before = os.environ.get(_BLAS_THREADS)
    os.environ[_BLAS_THREADS] = "1"
    try:
        import numpy as np  # noqa: F401 - reads it once

        yield
    finally:
        if before is None:
            del os.environ[_BLAS_THREADS]
        else:
            os.environ[_BLAS_THREADS] = before


def _forked(control: socket.socket) -> tuple[int, Connection, int] | None:
    """Do what the parent asks for until it is gone. Returns in each process that is forked: the worker's number, its
    line, and a descriptor whose end says that the template has ended.
    """
    workers: dict[int, int] = {}  # process ids
    life, alive = os.pipe()
    while True:
        message, descriptor = _received(control)
        match message:
            case Fork(index):
                try:
                    process = os.fork()
                except OSError as e:  # the end of its line tells the parent, which tries again
                    _log.error("worker %d cannot be forked: %s", index, e.strerror)
                    os.close(descriptor)
                    continue
                if process == 0:
                    signal.signal(signal.SIGTERM, signal.SIG_DFL)
                    control.close()
                    os.close(alive)
                    return index, Connection(descriptor), life
                workers[index] = process
                os.close(descriptor)
            case End(index, seconds):
                code = _exit_code(workers.pop(index), seconds) if index in workers else 1
                control.sendall(ENCODER.encode(Ended(code)))
            case _:
                return None


def _received(control: socket.socket) -> tuple[Serving | Fork | End | None, int]:
    """Return the parent's next message, None when it is gone, and the descriptor beside it, -1 without one."""
    packet, descriptors, _, _ = socket.recv_fds(control, MOST_BYTES, 1)
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    return (TO_TEMPLATE.decode(packet) if packet else None), (descriptors[0] if descriptors else -1)


def _exit_code(process: int, seconds: float) -> int:
    """Wait for a process to end, and kill it if it goes on for so many seconds."""
    until = time.monotonic() + seconds
    ended, status = os.waitpid(process, os.WNOHANG)
    while not ended:
        if time.monotonic() >= until:
            os.kill(process, signal.SIGKILL)
            ended, status = os.waitpid(process, 0)
        else:
            time.sleep(_LOOK_SECONDS)
            ended, status = os.waitpid(process, os.WNOHANG)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    main()
