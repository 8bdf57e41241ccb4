"""The HTTP server underneath the HTTP door: hyper, by way of granian, inside this process. The only user of granian.

granian is made to run whole applications in processes of its own. A hub needs the server in the process that holds the
matcher and the gRPC server, so this module takes granian's worker alone, whose interface is not public: the version is
pinned, and `tests/server/test_hyper.py` is the contract that a newer one must keep.

    socket -> hyper, in Rust: connections, headers, timeouts, keep-alive
           -> one of a few threads of granian's, which takes Python's lock only to call `handle(request)`
           -> `request.collect` or `request.chunk`: the body is read in Rust; its callback comes on one of these threads
           -> `request.answer`

On Linux Rust's thread does not interrupt others when it wakes (SCHED_BATCH): a lookup wakes it three times, and each
time it pushed the thread aside that answers lookups, with Python's lock in its hands. Woken for several at once, it
takes less for each.

No thread of Python's waits for a sender or a receiver. granian's worker asks for an event loop to bring results back
to; `_Here` stands in for one and calls the callback on the thread that brings the result.

What hyper bounds: the size of a header (431 beyond it), the time until a header is complete, which counts for a
connection that says nothing and for a kept one as well, and the number of connections; further ones wait in the
kernel's queue. The kernel ends a connection whose peer takes nothing of an answer for `_STALL_SECONDS`.
"""

from __future__ import annotations

import functools
import logging
import os
import resource
import socket
import sys
import threading
from asyncio import CancelledError
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from granian import _granian
from granian.http import HTTP1Settings

_log = logging.getLogger("hashhub.server")

Headers = Sequence[tuple[str, str]]

_rust: Any = _granian  # its stub is not that of this version
_turns = threading.local()  # has `are_usual` on threads that no longer wait for the end of a turn

_BACKLOG: Final = 1024  # connections that the kernel keeps waiting
_HEADER_BYTES: Final = 64 * 1024  # of one request; also what hyper reads of a body ahead of its reader
_STALL_SECONDS: Final = 30
_IDLE_THREAD_SECONDS: Final = 30
_TAKES_BACKLOG: Final = sys.platform == "linux"
_OWN_SHARE: Final = 2  # of the files that the process may open, connections get one in so many


class BrokenBody(Exception):
    """The sender went, or what it sent is no body by the rules of HTTP."""


class CancelledBody(Exception):
    """`cancel` was called before the rest of the body arrived."""


class Request:
    """One request. Everything here may be called on any thread, one at a time."""

    __slots__ = (
        "_chunks", "_gone", "_protocol", "_scope", "_waiting", "has_answer", "header", "is_begun", "is_read", "length",
        "path", "verb",
    )  # fmt: skip

    def __init__(self, scope: Any, protocol: Any) -> None:
        """`scope`, `protocol`: granian's, for what came and how to answer."""
        self._protocol = protocol
        self._scope = scope
        self.verb: str = scope.method
        self.path: str = scope.path
        self.header: Callable[[str, str], str] = scope.headers.get
        """`header(name, default)`: the first one of that name, which is in small letters; `default` also where it is
        not printable ASCII.
        """
        self.has_answer = False
        self.length: int | None = None
        """Of the body; None when its sender does not tell it beforehand. hyper has checked the headers."""
        if "transfer-encoding" not in scope.headers:
            self.length = int(self.header("content-length", "0") or 0)
        self.is_read = self.length == 0
        """Whether nothing more of this request is to come; its reader says so when it has the whole body."""
        self.is_begun = False
        """Whether its body is being read."""
        self._chunks: Any = None
        self._waiting: Any = None
        self._gone: Any = None

    @property
    def query(self) -> str:
        """What stands behind the path's question mark, as it was sent."""
        query: str = self._scope.query_string
        return query

    def describe(self) -> str:
        """Return where the request comes from, for the log."""
        return f"http:{self._scope.client.rpartition(':')[0]}"

    def collect(self, then: Callable[[Callable[[], bytes]], None]) -> None:
        """Read the whole body; call `then` with a function that returns it or raises BrokenBody or CancelledBody.

        For short bodies of a known length: one callback, and no bound of its own.
        """
        self._await(self._protocol(), then)

    def chunk(self, then: Callable[[Callable[[], bytes]], None]) -> bool:
        """Read on; call `then` with a function that returns some bytes, or none for a break in the stream, or raises.

        Returns False when the body has ended. After none there is either the end, or the body was cut off.
        """
        if self._chunks is None:
            self._chunks = self._protocol.__aiter__()
        try:
            future = self._chunks.__anext__()
        except StopAsyncIteration:
            return False
        self._await(future, then)
        return True

    def cancel(self) -> None:
        """Stop waiting for the body. The callback comes with CancelledBody, unless it comes with bytes just now."""
        if self._waiting is not None:
            self._waiting.cancel()

    def watch(self) -> Callable[[], bool]:
        """Return a function that tells whether the sender is still there. Costs some microseconds."""
        self._gone = gone = self._protocol.client_disconnect()
        return lambda: not gone.done()

    def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """Answer, once; a second answer is ignored. A connection whose body was not read is closed after it."""
        self.has_answer = True
        if not self.is_read or self.length is None:
            # Without it hyper leaves the connection open and deaf, and the client sends its next request there. Beside
            # Transfer-Encoding hyper drops a Content-Length unsaid, and what a proxy took for the body may follow.
            headers = (*headers, ("connection", "close"))
        if self._gone is not None:
            self._gone.cancel()  # it would wait for ever
            self._gone = None
        # hyper closes the connection when nobody can read the rest of the body any more, and this object may live on in
        # some traceback until the garbage collector comes by.
        protocol, self._protocol, self._chunks = self._protocol, None, None
        if protocol is not None:
            protocol.response_bytes(status, headers, body)

    def _await(self, future: Any, then: Callable[[Callable[[], bytes]], None]) -> None:
        # granian's futures keep their callback and take no part in garbage collection: a callback that refers to its
        # future would keep both, and the request, for ever.
        self.is_begun = True
        self._waiting = future
        future.add_done_callback(functools.partial(self._arrived, then))

    def _arrived(self, then: Callable[[Callable[[], bytes]], None], future: Any) -> None:
        self._waiting = None
        try:
            then(functools.partial(_result, future))
        except Exception:  # noqa: BLE001 - nothing above this catches: the thread is granian's
            self.fail()

    def fail(self) -> None:
        """Log the error that is being handled, which nobody expected, and answer without a word about it."""
        _log.exception("unexpected error in the HTTP door")
        if not self.has_answer:
            self.answer(500, (), b"")


def _result(future: Any) -> bytes:
    try:
        data: bytes = future.result()
    except CancelledError:
        raise CancelledBody from None
    except _rust.RSGIProtocolClosed:
        raise BrokenBody from None
    return data


class HTTPServer:
    """hyper on one listening socket."""

    def __init__(
        self,
        listener: socket.socket,
        handle: Callable[[Request], None],
        *,
        threads: int,
        connections: int,
        header_seconds: float,
    ) -> None:
        """Take the bound socket over, and connections from now on.

        `handle` is called on one of `threads` threads and must not wait; whatever it raises is logged and answered with
        500. `connections` is reduced to half of the files that this process may open.
        """
        self._handle = handle
        # It tells each start and stop of a worker; a hub tells that itself.
        logging.getLogger("_granian").setLevel(logging.WARNING)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; accepted sockets inherit it
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _STALL_SECONDS * 1000)
        here = _Here()
        scheduler = _rust.CallbackScheduler(here, None, None, _nothing, _nothing)
        scheduler._schedule_fn = self._called  # noqa: SLF001 - granian's own code sets it
        self._signal = _rust.WorkerSignal()
        self._ended = threading.Event()
        self._signal.add_cb(self._ended.set)
        listener.listen(_BACKLOG)
        place = (listener.detach(), False)
        self._worker = _rust.RSGIWorker(
            1,
            (None, _rust.SocketHolder(*place, _BACKLOG) if _TAKES_BACKLOG else _rust.SocketHolder(*place)),
            None,  # no channel to a parent of granian's
            1,  # thread of Rust's
            1,  # thread of Rust's for files, which are not served
            threads,
            _IDLE_THREAD_SECONDS,
            min(connections, max(1, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // _OWN_SHARE)),
            "1",  # HTTP/1: streams of HTTP/2 would be connections that nothing counts
            HTTP1Settings(
                header_read_timeout=round(header_seconds * 1000), keep_alive=True, max_buffer_size=_HEADER_BYTES
            ),
            None,
            False,  # no websockets
            None,  # no files
            False,  # no TLS: the proxy's task
            None,
            None,
            None,
            "1.3",
            None,
            [],
            False,
            (None, None),
        )
        with _patient_threads() as self._is_patient:
            self._worker.serve_mtr(scheduler, here, self._signal)

    def close(self, seconds: float) -> None:
        """Take no more connections and give those in progress so long. Closing twice is fine."""
        self._signal.set()
        self._ended.wait(seconds)

    def _called(self, watcher: Any) -> None:
        if self._is_patient and not hasattr(_turns, "are_usual"):
            _turns.are_usual = True
            _set_policy(os.SCHED_OTHER)
        request = Request(watcher.scope, watcher.proto)
        # An exception on its way keeps the frames below it, so this one must not keep the body: see `Request.answer`.
        del watcher
        try:
            self._handle(request)
        except Exception:  # noqa: BLE001 - likewise
            request.fail()


class _Here:
    """What granian's worker needs of an event loop: a callback runs at once, on the thread that brings the result."""

    def call_soon(self, callback: Callable[..., object], *args: object, context: object = None) -> None:
        """Call it; it raises nothing."""
        del context
        callback(*args)

    call_soon_threadsafe = call_soon


@contextmanager
def _patient_threads() -> Iterator[bool]:
    """Let the threads that are started in the body wait for the end of a turn when they wake, and not cut it short; say
    whether they do.

    A thread inherits that from the one which starts it; those that calls are answered on take it off at their first
    call. Where the system knows no such thing, allows none, or was told otherwise by whoever started this process,
    nothing changes.
    """
    is_usual = hasattr(os, "SCHED_BATCH") and os.sched_getscheduler(0) == os.SCHED_OTHER
    is_patient = is_usual and _set_policy(os.SCHED_BATCH)
    try:
        yield is_patient
    finally:
        if is_patient:
            _set_policy(os.SCHED_OTHER)


def _set_policy(policy: int) -> bool:
    """Set the scheduling policy of this thread, and of those that it starts; False: the system does not allow it."""
    try:
        os.sched_setscheduler(0, policy, os.sched_param(0))
    except OSError:
        return False
    return True


def _nothing(*_: object) -> None:
    """What granian calls around the steps of a coroutine; there are none here."""
