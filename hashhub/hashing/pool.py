"""Media decoded in other processes: a hostile file costs its limits and its own answer, and nothing else.

    a call ── room: so many are hashed or wait, the next is told when to come back
               └── a place ── each of its files waits for a child, first come, first served
                               └── hashed within limits of memory, CPU time and time on the clock, for as long as
                                   somebody waits for the answer; then, or beyond a limit, the child is killed

Bytes go to children (`hashing.child`) over sockets; of a file that is open here its descriptor goes.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import IO, Final, TypeAlias

import msgspec

from hashhub import structs
from hashhub.errors import (
    FailedPrecondition,
    HashHubError,
    InvalidArgument,
    LimitExceeded,
    NotFound,
    Reason,
    Unavailable,
)
from hashhub.hashing import child as protocol
from hashhub.hashing.media import MediaHashes
from hashhub.hashing.structure import Limits
from hashhub.model import Effort

_log = logging.getLogger("hashhub.hashing")

Buffer: TypeAlias = bytes | bytearray | memoryview  # of single bytes
Content: TypeAlias = bytes | tuple[Buffer, ...] | IO[bytes]
"""A file: its bytes, at once or in pieces, or itself, open for reading. It must be a regular file, and is read from its
begin.
"""

_LOOK_SECONDS: Final = 0.05  # between looks whether the answer is still wanted
WALL: Final = 3  # seconds on the clock for one of CPU time; a child that gets no more of a core is stopped, too
_STREAM_BYTES_A_SECOND: Final = 32 << 20  # the three digests take 300 MB/s; the rest is for slow disks
_ANSWER_SECONDS: Final = 10.0  # for an answer of some KB once it has begun to come
_MOST_PIECES: Final = 1024  # that Linux takes in one call
SEND_BYTES: Final = 4 << 20  # of a file that are sent without waiting for the child, if the system allows so many
_MOST_ANSWER: Final = 1 << 24  # bytes of an answer; the largest, 32 frames with variants, has some 50 KB
_PART_BYTES: Final = 1 << 16  # of an answer that are taken at once
_START_SECONDS: Final = 60.0  # for the template to load the libraries and fork its first child
_END_SECONDS: Final = 5.0  # before a template that does not end is killed
_SHORTEST_RETRY: Final = 0.5
_LONGEST_RETRY: Final = 30.0
_FIRST_MEAN: Final = 0.1  # CPU seconds of a file, until there is a measurement
_WEIGHT: Final = 0.1  # of the last file in the running mean

# All that a child sees of the hub's environment: the rest may hold secrets. The last three say where compiled kernels
# are; the template writes them there, and a child can only read.
ENVIRONMENT: Final = (
    *("PATH", "PYTHONHOME", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "LC_CTYPE", "SYSTEMROOT"),
    *("HASHHUB_KERNEL_CACHE", "XDG_CACHE_HOME", "HOME"),
)
SETTINGS: Final = {
    # A template with threads could not be forked, and a child is meant to have one core.
    **dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    # glibc's malloc otherwise gives memory back after each file, and faulting it in again takes 15 ms of the next one's
    # 70 (2 megapixels). In bytes; a child keeps 60 MB more.
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(128 << 20),
    "MALLOC_TOP_PAD_": str(32 << 20),
}

_FAMILY: Final = {
    kind.code: kind
    for kind in (HashHubError, InvalidArgument, LimitExceeded, FailedPrecondition, NotFound, Unavailable)
}


class MediaPool:
    """Child processes that hash media. `most_calls`: calls that may be hashed or wait at once."""

    def __init__(
        self,
        *,
        children: int,
        max_queued: int,
        seconds: float,
        memory_bytes: int,
        limits: Limits,
        algorithms: tuple[str, ...] | None = None,
    ) -> None:
        """Nothing is started before `start` or the first file. `max_queued`: calls that may wait. `seconds`: CPU time
        of a file. `memory_bytes`: of a child, beyond its libraries. `algorithms`: as of `hash_media`.
        """
        structs.prepare()
        self._limits = limits
        self._algorithms = algorithms
        self._seconds = seconds
        self.template = _Template(seconds, memory_bytes)
        self.children: queue.SimpleQueue[_Child] = queue.SimpleQueue()
        for _ in range(children):
            self.children.put(_Child(self.template, lambda: self._is_closed))
        self.size = children
        self.most_calls = children + max_queued
        self._lock = threading.Lock()
        self._calls = 0
        self._is_closed = False
        self._mean = _FIRST_MEAN

    @property
    def calls(self) -> int:
        """Calls that are being hashed or wait."""
        return self._calls

    def start(self) -> None:
        """Begin to start a child, from which on others start in milliseconds; return at once."""
        threading.Thread(target=self._start_child, name="media-start", daemon=True).start()

    @contextlib.contextmanager
    def room(self) -> Iterator[ChildSlot]:
        """Give a place to one call, however many files it has. Raises LimitExceeded when all are taken."""
        with self._lock:
            if self._calls >= self.most_calls:
                waiting = self._mean * self._calls / self.size
                raise LimitExceeded(
                    f"{self._calls} calls with media are being hashed or wait, as many as this server takes; retry "
                    "later, with fewer at once",
                    retry_after=min(max(waiting, _SHORTEST_RETRY), _LONGEST_RETRY),
                )
            self._calls += 1
        try:
            yield ChildSlot(self)
        finally:
            with self._lock:
                self._calls -= 1

    def close(self) -> None:
        """End the children. A file that is being hashed gets Unavailable, and so does any that comes later."""
        self._is_closed = True
        self.template.close()
        self._disconnect_idle()

    def _start_child(self) -> None:
        child = self.children.get()
        try:
            child.start()
        except HashHubError as e:  # the first file will try again, and tell its caller
            if not self._is_closed:  # where it closes, whoever asked for children has no use for them
                _log.warning("%s", e.message)
        finally:
            self._put_back(child)

    def _put_back(self, child: _Child) -> None:
        self.children.put(child)
        if self._is_closed:
            self._disconnect_idle()

    def _disconnect_idle(self) -> None:
        idle: list[_Child] = []
        with contextlib.suppress(queue.Empty):
            while True:
                idle.append(self.children.get_nowait())
        for child in idle:
            child.disconnect()
            self.children.put(child)

    def hash_by_child(
        self,
        content: Content,
        is_wanted: Callable[[], bool],
        *,
        effort: Effort,
    ) -> protocol.ChildResult:
        """Return what became of a file, hashed by an idle child. Its caller has a place in the pool."""
        extra = 0.0
        if not isinstance(content, (bytes, tuple)):
            # A file that is digested as a stream, whatever its size, takes time by its length.
            extra = os.fstat(content.fileno()).st_size / _STREAM_BYTES_A_SECOND
        task = protocol.Task(effort, self._limits, extra, self._algorithms)
        child = self._idle_child(is_wanted)
        try:
            outcome = child.hash(content, task, self._seconds + extra, is_wanted)
        finally:
            self._put_back(child)
        with self._lock:
            self._mean += _WEIGHT * (outcome.cpu_seconds - self._mean)
        return outcome

    def _idle_child(self, is_wanted: Callable[[], bool]) -> _Child:
        while is_wanted():
            with contextlib.suppress(queue.Empty):
                return self.children.get(timeout=_LOOK_SECONDS)
        raise _unwanted()


class ChildSlot:
    """One call's place in the pool. `cpu_seconds`: of its files so far, also those that could not be hashed."""

    def __init__(self, pool: MediaPool) -> None:
        self._pool = pool
        self.cpu_seconds = 0.0

    def hash(
        self,
        content: Content,
        *,
        effort: Effort = Effort.PLAIN,
        is_wanted: Callable[[], bool] = lambda: True,
    ) -> MediaHashes:
        """Return the hashes of one file, as `hash_media` does.

        A picture is read once, so its digests and its perceptual hashes are of the same bytes. A file that is written
        to while a child reads it is refused: what was read may never have been its content.

        `is_wanted`: whether somebody still waits for the answer; asked 20 times a second.

        Raises, besides what `hash_media` raises:
            InvalidArgument: UNREADABLE_MEDIA, for an open file that changed meanwhile or is no regular file.
            LimitExceeded: MEDIA_TOO_COSTLY, if it takes longer than a file may; MEDIA_TOO_LARGE, if it takes more
                memory.
            Unavailable: MEDIA_PROCESS_DIED; DEADLINE_EXCEEDED, if nobody waits any more.
        """
        outcome = self._pool.hash_by_child(content, is_wanted, effort=effort)
        self.cpu_seconds += outcome.cpu_seconds
        if outcome.hashes is not None:
            return outcome.hashes
        failure = outcome.failure or protocol.ChildFailure.of(_died())
        raise _FAMILY[failure.code](failure.message, reason=failure.reason, metadata=failure.metadata)


class _Child:
    """One child process and its successors. For one file at a time."""

    def __init__(self, template: _Template, is_closed: Callable[[], bool]) -> None:
        self.template, self._is_closed = template, is_closed
        self._socket: socket.socket | None = None
        self.id: tuple[int, int] = (0, 0)
        self.cpu_seconds = 0.0  # of this process so far

    def start(self) -> socket.socket:
        """Return the socket to the process, which is forked unless there is one. Raises Unavailable."""
        if self._socket is not None:
            if not _is_ready(self._socket, select.POLLIN, 0):
                return self._socket
            self.disconnect()  # what says something has ended
            self.template.end(self.id)
        self.id, self._socket = self.template.fork()
        self.cpu_seconds = 0.0
        return self._socket

    def disconnect(self) -> None:
        """Close the socket to the process, which then ends as soon as it has no file in its hands."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def hash(
        self, content: Content, task: protocol.Task, seconds: float, is_wanted: Callable[[], bool]
    ) -> protocol.ChildResult:
        """Return what became of the file. Raises Unavailable when no process can be had."""
        connected = self.start()
        until = time.monotonic() + seconds * WALL
        error: HashHubError | None = None
        try:
            outcome = _exchange(connected, content, task, until, is_wanted)
        except (OSError, EOFError, msgspec.MsgspecError) as e:
            if isinstance(e, TimeoutError):
                error = _too_costly(seconds)
            elif isinstance(e, _UnwantedError):
                error = _unwanted()
        except BaseException:  # what is left of the answer must not be taken for the next file's
            self._ended(_died(), seconds)
            raise
        else:
            self.cpu_seconds += outcome.cpu_seconds
            return outcome
        return self._ended(error, seconds)

    def _ended(self, error: HashHubError | None, seconds: float) -> protocol.ChildResult:
        """Kill and replace the process; say what became of the file. `error`: why; None if it ended by itself."""
        self.disconnect()
        ending = self.template.end(self.id)
        if error is None and self._is_closed():  # by the end of the pool, which is no fault of the file's
            ended = Unavailable("the processes that hash media were ended; treat the file as not checked")
            return protocol.ChildResult(None, protocol.ChildFailure.of(ended), 0.0)
        if error is None:
            error = _too_costly(seconds) if ending.signal_number == protocol.TIME_IS_UP else _died()
        _log.warning(
            "a process that hashed media ended: reason=%s signal=%d cpu=%.2f s",
            error.reason,
            ending.signal_number,
            ending.cpu_seconds - self.cpu_seconds,
        )
        outcome = protocol.ChildResult(
            None, protocol.ChildFailure.of(error), max(0.0, ending.cpu_seconds - self.cpu_seconds)
        )
        with contextlib.suppress(HashHubError):  # the next file tries again
            self.start()
        return outcome


class _UnwantedError(EOFError):
    """Nobody waits for the answer any more."""


def _exchange(
    child: socket.socket, content: Content, task: protocol.Task, until: float, is_wanted: Callable[[], bool]
) -> protocol.ChildResult:
    """Send a file and return the answer. Raises TimeoutError, _UnwantedError; OSError, EOFError for a lost child."""
    header = msgspec.msgpack.encode(task)
    if isinstance(content, (bytes, tuple)):
        pieces = [content] if isinstance(content, bytes) else content
        request = protocol.REQUEST.pack(len(header), sum(map(len, pieces))) + header
        _send(child, [request, *pieces], until)
    else:
        request = protocol.REQUEST.pack(len(header), protocol.DESCRIPTOR) + header
        sent = socket.send_fds(child, [request], [content.fileno()])  # at once: the child wakes at the first byte
        if sent < len(request):
            _send(child, [request[sent:]], until)
    answer = bytearray()
    size = protocol.ANSWER.size
    while len(answer) < size:
        while not _is_ready(child, select.POLLIN, _LOOK_SECONDS):
            if time.monotonic() > until:
                raise TimeoutError
            if not answer and not is_wanted():
                raise _UnwantedError
        part = child.recv(_PART_BYTES)
        if not answer:
            until = time.monotonic() + _ANSWER_SECONDS
        elif time.monotonic() > until:
            raise TimeoutError
        if not part:
            raise EOFError
        answer += part
        if size == protocol.ANSWER.size and len(answer) >= size:
            size += protocol.ANSWER.unpack_from(answer)[0]
            if size > _MOST_ANSWER:
                raise EOFError
    return msgspec.msgpack.decode(memoryview(answer)[protocol.ANSWER.size :], type=protocol.ChildResult)


def _send(child: socket.socket, pieces: list[Buffer], until: float) -> None:
    while pieces:
        if time.monotonic() > until:
            raise TimeoutError
        try:
            sent = child.sendmsg(pieces[:_MOST_PIECES])
        except BlockingIOError:
            _is_ready(child, select.POLLOUT, _LOOK_SECONDS)
            continue
        while pieces and sent >= len(pieces[0]):
            sent -= len(pieces.pop(0))
        if sent:
            pieces[0] = memoryview(pieces[0])[sent:]


def _is_ready(child: socket.socket, event: int, seconds: float) -> bool:
    """Wait for POLLIN or POLLOUT, for so many seconds at most; return whether it came."""
    poll = select.poll()  # unlike select.select, it takes descriptors beyond 1,023
    poll.register(child, event)
    return bool(poll.poll(seconds * 1000))


class _Template:
    """The process that children are forked from, started when needed. A child's name: pid, number of its template."""

    def __init__(self, seconds: float, memory_bytes: int) -> None:
        self._arguments = (str(seconds), str(memory_bytes))
        self._lock = threading.Lock()
        self.process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self.generation = 0
        self._closed = False

    def fork(self) -> tuple[tuple[int, int], socket.socket]:
        """Return a new child's name and the socket to it. Raises Unavailable."""
        ours, theirs = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES)
        ours.setblocking(False)
        with self._lock, theirs:
            for last in (False, True):
                try:
                    control = self._started()
                    socket.send_fds(control, [protocol.FORK], [theirs.fileno()])
                    (pid,) = protocol.PID.unpack(_message(control))
                except (OSError, EOFError) as e:
                    self._discard()
                    if last or self._closed:
                        ours.close()
                        raise Unavailable(
                            "the process that hashes media cannot be started; retry, and tell the operator if it lasts",
                            reason=Reason.MEDIA_PROCESS_DIED,
                        ) from e
                    _log.warning("the process that media are hashed from ended; it is started again")
                else:
                    return (pid, self.generation), ours
        raise AssertionError("unreachable: the last attempt returns or raises")

    def end(self, name: tuple[int, int]) -> protocol.ChildExit:
        """Kill a child and return how it ended; one of a former template ends by itself once its socket is closed."""
        pid, generation = name
        with self._lock:
            if generation == self.generation and self._control is not None:
                try:
                    self._control.sendall(protocol.END + protocol.PID.pack(pid))
                    return msgspec.msgpack.decode(_message(self._control), type=protocol.ChildExit)
                except (OSError, EOFError, msgspec.MsgspecError):
                    self._discard()
        return protocol.ChildExit(0, 0.0)

    def close(self) -> None:
        """End the template, and with it its children. None is forked from now on."""
        self._closed = True
        with self._lock:
            self._discard()

    def _started(self) -> socket.socket:
        if self._control is not None:
            return self._control
        if self._closed:
            raise EOFError
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        environment = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
        # The modules that this process sees, from the same places; not from wherever it happens to have been started.
        environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        with theirs:
            try:
                self.process = subprocess.Popen(  # noqa: S603 - our own module
                    [sys.executable, "-P", "-m", protocol.__name__, *self._arguments],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    env=environment | SETTINGS,
                    start_new_session=True,
                )
            except OSError:
                ours.close()
                raise
        self.generation += 1
        self._control = ours
        ours.settimeout(_START_SECONDS)
        return ours

    def _discard(self) -> None:
        """Close the control socket, by which the template ends, and see it end."""
        if self._control is not None:
            self._control.close()
            self._control = None
        if self.process is not None:
            try:
                self.process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None


def _message(control: socket.socket) -> bytes:
    message = control.recv(4096)
    if not message:
        raise EOFError
    return message


def _too_costly(seconds: float) -> LimitExceeded:
    return LimitExceeded(
        f"hashing the file took longer than the {seconds:g} s of CPU time that one may take, and was stopped; treat it "
        "as not checked, or send a smaller picture",
        reason=Reason.MEDIA_TOO_COSTLY,
        metadata={"limit": "media_seconds", "bound": f"{seconds:g}"},
    )


def _died() -> Unavailable:
    return Unavailable(
        "the process that hashed the file ended before it was done; treat the file as not checked",
        reason=Reason.MEDIA_PROCESS_DIED,
    )


def _unwanted() -> Unavailable:
    return Unavailable("nobody waits for the answer any more; hashing was stopped", reason=Reason.DEADLINE_EXCEEDED)
