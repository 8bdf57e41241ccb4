"""Runs a reconciliation job in a child process of low priority.

    hub ──(stdin: the job; then held open)──> child
        <──(stdout: JobProgress …, then JobResult or JobFailure)──

The child is nice to everything else (priority, half of the cores, first to go when memory runs out), shares no thread
or lock with the hub, and ends as soon as its standard input does.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Final

import msgspec

from hashhub.errors import Conflict, HashHubError, Reason
from hashhub.model import Failure
from hashhub.reconcile.results import Progress
from hashhub.reconcile.work import Job, work

_log = logging.getLogger("hashhub.reconcile")

_TELL_SECONDS: Final = 1.0  # between two words on how far it is
_NICE: Final = 15  # of 19
_FIRST_TO_GO: Final = "800"  # of 1000, for the kernel when memory runs out
_MAX_LINE: Final = 256 * 1024 * 1024  # bytes of a response


class JobProgress(msgspec.Struct, frozen=True, tag=True):
    """The progress of a job: `done` of `total`, and what it is doing."""

    done: int
    total: int
    doing: str


class JobResult(msgspec.Struct, frozen=True, tag=True):
    """The response, as JSON."""

    response: msgspec.Raw


class JobFailure(msgspec.Struct, frozen=True, tag=True):
    """The error that a job ended with."""

    failure: Failure


_FROM_CHILD: Final = msgspec.json.Decoder(JobProgress | JobResult | JobFailure)


class JobFailed(HashHubError):
    """The error of a job, for its caller."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def failure_of(error: HashHubError) -> Failure:
    """Return an error as it is kept."""
    if isinstance(error, JobFailed):
        return error.failure
    return Failure(code=error.code, reason=error.reason, message=error.message)


def run(job: Job, tell: Progress) -> bytes:
    """Run the job in a child process and return its response as JSON. `tell` is called each second; its errors end the
    child. Raises JobFailed, or Conflict (OPERATION_ABORTED) when the child was killed.
    """
    command = [sys.executable, "-m", __name__]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as child:  # noqa: S603
        try:
            with contextlib.suppress(OSError):  # it died at once, which shows below
                _given(child.stdin).write(msgspec.json.encode(job) + b"\n")
            return _listen(child, tell)
        finally:
            child.kill()


def _given(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise HashHubError("a child has no pipe although it was started with one")
    return pipe


def _listen(child: subprocess.Popen[bytes], tell: Progress) -> bytes:
    stream = _given(child.stdout).fileno()
    held = bytearray()
    step = JobProgress(0, 0, "")
    due = time.monotonic() + _TELL_SECONDS
    while True:
        ready, _, _ = select.select([stream], [], [], max(0.0, due - time.monotonic()))
        if time.monotonic() >= due:
            tell(step.done, step.total, step.doing)
            due = time.monotonic() + _TELL_SECONDS
        if not ready:
            continue
        piece = os.read(stream, 1 << 20)
        if not piece:
            raise _killed(child.wait())
        held += piece
        if len(held) > _MAX_LINE:
            raise HashHubError("the response is too large to be kept")
        *lines, rest = held.split(b"\n") if b"\n" in piece else ([held])
        held = rest
        for line in lines:
            match _FROM_CHILD.decode(line):
                case JobProgress() as step:
                    pass
                case JobResult(response):
                    return bytes(response)
                case JobFailure(failure):
                    raise JobFailed(failure)


def _killed(code: int) -> Conflict:
    how = f"by signal {-code}, probably for want of memory" if code < 0 else f"with code {code}; see the server's log"
    return Conflict(
        f"the process that computed it ended {how}; start the operation again, about less at a time",
        reason=Reason.OPERATION_ABORTED,
    )


def main() -> None:
    """The child process: read a job, run it, report the result."""
    os.nice(_NICE)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_GO, "ascii")
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what libraries print must not be taken for a message
    line = sys.stdin.buffer.readline()
    if not line:
        return
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    job = msgspec.json.decode(line, type=Job)
    lock = threading.Lock()

    def say(message: JobProgress | JobResult | JobFailure) -> None:
        with lock:
            text = msgspec.json.encode(message) + b"\n"
            while text:
                text = text[out.write(text) or 0 :]

    say(_outcome(job, lambda done, total, doing: say(JobProgress(done, total, doing))))


def _outcome(job: Job, progress: Progress) -> JobResult | JobFailure:
    try:
        return JobResult(msgspec.Raw(msgspec.json.encode(work(job, progress))))
    except HashHubError as e:
        return JobFailure(failure_of(e))
    except Exception:  # noqa: BLE001 - the hub is told, whatever it is
        _log.exception("an operation failed")
        error = HashHubError("the operation failed; see the server's log")
        return JobFailure(failure_of(error))


def _end_with_stdin() -> None:
    while sys.stdin.buffer.read(1):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
