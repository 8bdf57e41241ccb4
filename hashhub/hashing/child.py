"""The processes that decode media: a template that loads the libraries once, and children forked from it.

    python -P -m hashhub.hashing.child SECONDS MEMORY_BYTES        started by `hashing.pool`, control socket on stdin

    template   single-threaded; forks a child for each socket that it is handed, ends one when told to; ends them all
       │       when its control socket closes
       ├── child   hashes one file after another from its socket, under limits of memory and of CPU time for each file
       └── compiler   compiles and keeps the kernels where there are none yet; children do without until then

Children have no environment, socket or file but the one in hand, and may not write any. docs/decisions/0011.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import resource
import signal
import socket
import stat
import struct
import sys
from pathlib import Path
from typing import BinaryIO, Final, NoReturn

import msgspec

from hashhub.errors import FailedPrecondition, HashHubError, InvalidArgument, LimitExceeded, Reason, StatusCode
from hashhub.hashing import compiled
from hashhub.hashing.decoding import load_decoders, quiet_pillow, require_extra
from hashhub.hashing.media import MediaHashes, hash_media
from hashhub.hashing.structure import Limits
from hashhub.model import Effort

FORK: Final = b"F"  # with a socket beside it; the answer is the child's process id
END: Final = b"E"  # followed by the process id; the answer is a ChildExit
PID: Final = struct.Struct("!q")
REQUEST: Final = struct.Struct("!IQ")  # bytes of the Task, bytes of the file; both follow
DESCRIPTOR: Final = (1 << 64) - 1  # instead of the file's bytes: its descriptor came beside the request
ANSWER: Final = struct.Struct("!I")  # bytes of the Outcome, which follows

TIME_IS_UP: Final = signal.SIGPROF  # what ends a child whose file takes too long
_CONTROL_BYTES: Final = 64  # longest message to the template
_COMPILING_NICENESS: Final = 15  # nothing waits for compiled kernels
_NICENESS: Final = 5  # matching goes before media where there are not cores enough for both


class Task(msgspec.Struct, frozen=True, array_like=True):
    """How to hash the file that follows. `extra_seconds`: of CPU time. `algorithms`: as of `hash_media`."""

    effort: Effort
    limits: Limits
    extra_seconds: float = 0.0
    algorithms: tuple[str, ...] | None = None


class ChildFailure(msgspec.Struct, frozen=True, array_like=True):
    """An error of the family on its way to the hub."""

    code: StatusCode
    reason: Reason
    message: str
    metadata: dict[str, str]

    @classmethod
    def of(cls, error: HashHubError) -> ChildFailure:
        """Return the error as it is sent to the parent process."""
        return cls(error.code, error.reason, error.message, error.metadata)


class ChildResult(msgspec.Struct, frozen=True, array_like=True):
    """What became of one file, one of the two, and the CPU seconds that it took."""

    hashes: MediaHashes | None
    failure: ChildFailure | None
    cpu_seconds: float


class ChildExit(msgspec.Struct, frozen=True, array_like=True):
    """How a child ended: the signal, or 0, and the CPU seconds of its life."""

    signal_number: int
    cpu_seconds: float


def main() -> None:
    """Run the template process, from which the others are forked."""
    seconds, memory_bytes = float(sys.argv[1]), int(sys.argv[2])
    for number in (signal.SIGINT, signal.SIGTERM):  # sent to a whole group of processes: the hub drains first
        signal.signal(number, signal.SIG_IGN)
    control = socket.socket(fileno=os.dup(0))
    quiet_pillow()
    _load()
    gc.collect()
    gc.freeze()  # the collector need not look at, and so copy, what all children share
    children: set[int] = set()
    compiler = _compiler(control)
    try:
        while True:
            message, descriptors, _, _ = socket.recv_fds(control, _CONTROL_BYTES, 1)
            if message == FORK:
                if compiler is not None and os.waitpid(compiler, os.WNOHANG)[0]:
                    compiler = None
                compiled.load(compiles=False)
                child = os.fork()
                if child == 0:
                    control.close()
                    _child(socket.socket(fileno=descriptors[0]), seconds, memory_bytes)
                children.add(child)
                os.close(descriptors[0])
                control.sendall(PID.pack(child))
            elif message.startswith(END):
                (child,) = PID.unpack(message[len(END) :])
                children.remove(child)
                control.sendall(msgspec.msgpack.encode(_ended(child)))
            else:  # the hub is gone
                return
    except ConnectionError:  # it was killed before it took an answer
        return
    finally:
        for child in (*children, *([compiler] if compiler is not None else ())):
            os.kill(child, signal.SIGKILL)


def _compiler(control: socket.socket) -> int | None:
    """Start to compile kernels if that is possible and they are not kept; return the process that does."""
    if compiled.load(compiles=False) or not compiled.has_numba():
        return None
    process = os.fork()
    if process == 0:
        try:
            control.close()
            with contextlib.suppress(OSError):
                os.nice(_COMPILING_NICENESS)
            logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(process)d %(name)s %(message)s")
            compiled.load()
        finally:
            os._exit(0)
    return process


def _load() -> None:
    """Load what the first file would load, so that no child has to. Without the extra, digests can still be had."""
    try:
        load_decoders()
    except FailedPrecondition:
        return
    import io

    from PIL import Image

    compiled.load(compiles=False)
    blank = io.BytesIO()
    Image.new("RGB", (80, 64)).save(blank, "PNG")
    hash_media(blank.getvalue(), effort=Effort.THOROUGH)
    with contextlib.suppress(FailedPrecondition):
        require_extra("video")  # which imports what it looks for


def _ended(child: int) -> ChildExit:
    """End a child, which may have ended by itself: until it is waited for, its process id is not given away."""
    os.kill(child, signal.SIGKILL)
    _, status, usage = os.wait4(child, 0)
    return ChildExit(os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0, usage.ru_utime + usage.ru_stime)


def _child(hub: socket.socket, seconds: float, memory_bytes: int) -> NoReturn:
    """Hash files until the hub closes the socket."""
    code = 1
    try:
        _confine(memory_bytes)
        while (request := _request(hub)) is not None:
            task_bytes, file_bytes, descriptor = request
            header = _received(hub, task_bytes)
            if header is None:
                break
            task = msgspec.msgpack.decode(header, type=Task)
            outcome = _outcome(hub, task, file_bytes, descriptor, seconds + task.extra_seconds)
            if outcome is None:
                break
            body = msgspec.msgpack.encode(outcome)
            hub.sendall(ANSWER.pack(len(body)) + body)
        code = 0
    except OSError:  # the hub is gone
        pass
    finally:
        os._exit(code)


def _confine(memory_bytes: int) -> None:
    """Give up what hashing does not need. `memory_bytes`: beyond what the libraries map."""
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):  # libraries below Pillow write to the last; what they say is about somebody's file
        os.dup2(null, descriptor)
    os.close(null)
    with contextlib.suppress(OSError):
        os.nice(_NICENESS)
    mapped = 0
    with contextlib.suppress(OSError):  # no /proc: the limits below hold anyway
        Path("/proc/self/oom_score_adj").write_text("1000", "ascii")  # if memory runs out, this goes and not the hub
        mapped = int(Path("/proc/self/statm").read_text("ascii").split()[0]) * resource.getpagesize()
    for limit, value in (
        (resource.RLIMIT_AS, mapped + memory_bytes),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
    ):
        _, most = resource.getrlimit(limit)  # the hub itself may have been given less
        bound = value if most == resource.RLIM_INFINITY else min(value, most)
        resource.setrlimit(limit, (bound, bound))


def _request(hub: socket.socket) -> tuple[int, int, int | None] | None:
    """Return the task's bytes, the file's bytes and its descriptor if that came; None when the hub is gone."""
    begin, descriptors, _, _ = socket.recv_fds(hub, REQUEST.size, 1)
    rest = _received(hub, REQUEST.size - len(begin)) if begin else None
    if rest is None:
        return None
    task_bytes, file_bytes = REQUEST.unpack(begin + rest)
    return task_bytes, file_bytes, descriptors[0] if file_bytes == DESCRIPTOR else None


def _outcome(
    hub: socket.socket, task: Task, file_bytes: int, descriptor: int | None, seconds: float
) -> ChildResult | None:
    """Receive a file, unless its descriptor came, and hash it; None when the hub is gone."""
    compiled.load(compiles=False)  # compiled since this process was forked
    begun = _cpu_seconds()
    hashes: MediaHashes | None = None
    failure: ChildFailure | None = None
    try:
        file = _received(hub, file_bytes) if descriptor is None else os.fdopen(descriptor, "rb")
        if file is None:
            return None
        # SIGPROF ends the process, in whatever library it is. It counts the CPU time of all its threads.
        signal.setitimer(signal.ITIMER_PROF, seconds)
        try:
            hashes = _hashed(file, task) if isinstance(file, bytearray) else _of_file(file, task)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
    except HashHubError as e:
        failure = ChildFailure.of(e)
    except MemoryError:
        failure = ChildFailure.of(
            LimitExceeded(
                "the file needs more memory than there is; send a smaller one",
                reason=Reason.MEDIA_TOO_LARGE,
                metadata={"limit": "memory"},
            )
        )
    return ChildResult(hashes, failure, _cpu_seconds() - begun)


def _of_file(file: BinaryIO, task: Task) -> MediaHashes:
    """Hash an open file and close it. The descriptor shares its position with the one of whoever opened it."""
    with file:
        before = os.fstat(file.fileno())
        if not stat.S_ISREG(before.st_mode):  # a pipe or a device could be read for ever
            raise InvalidArgument("not a regular file, so it was not read", reason=Reason.UNREADABLE_MEDIA)
        file.seek(0)
        hashes = _hashed(file, task)
        after = os.fstat(file.fileno())
    as_before = (before.st_size, before.st_mtime_ns, before.st_ctime_ns)
    if as_before != (after.st_size, after.st_mtime_ns, after.st_ctime_ns) or hashes.size_bytes != after.st_size:
        raise InvalidArgument(
            "the file changed while it was read; treat it as not checked, and hash it again when it is complete",
            reason=Reason.UNREADABLE_MEDIA,
        )
    return hashes


def _hashed(file: BinaryIO | bytearray, task: Task) -> MediaHashes:
    return hash_media(file, algorithms=task.algorithms, effort=task.effort, limits=task.limits)


def _cpu_seconds() -> float:
    # Not time.process_time: once the timer was set, Linux gives that clock in ticks, and a small file takes none.
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _received(hub: socket.socket, count: int) -> bytearray | None:
    """Return the next `count` bytes, or None when the hub has closed the socket."""
    buffer = bytearray(count)
    view = memoryview(buffer)
    while view:
        received = hub.recv_into(view)
        if not received:
            return None
        view = view[received:]
    return buffer


if __name__ == "__main__":
    main()
