"""A load generator that costs little: raw HTTP/2 for gRPC, raw HTTP/1.1 for the HTTP door.

grpc's own Python client takes longer for a call than the server does, and both share this machine. Here every request's
bytes are made once; what is left is a stream number, a send, and reading nine bytes of each frame that comes back (RFC
9113). The server is told to keep no table of headers, so that the trailers of a call that succeeded hold the same bytes
every time; whatever else ends a call is counted as an error. Over HTTP/1.1 what is left is a send and finding where the
answer ends: the head of an answer is read once for all that follow with the same bytes.

Closed loop: so many calls in progress, the next begins when one ends; that gives the most calls a second. Open loop:
calls begin at fixed times whatever happened to those before, and their latency counts from that time, so that a server
that stalls is not excused.
"""

from __future__ import annotations

import re
import select
import socket
import struct
import sys
import time
from array import array
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_HEADER_TABLE_SIZE, _ENABLE_PUSH, _INITIAL_WINDOW_SIZE = 1, 2, 4  # settings
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1
_FRAME: Final = 16_384  # bytes of one DATA frame; the smallest limit that a server may set
_WINDOW: Final = 2**31 - 1
_FIRST_WINDOW: Final = 65_535  # bytes of a connection, and of a stream, before the peer says more; RFC 9113, 6.9.2
_STATUS: Final = b"\x0bgrpc-status"  # as a literal: its length, its name (RFC 7541, 6.2.2)
_OK: Final = _STATUS + b"\x010"
_LENGTH: Final = re.compile(rb"\ncontent-length: *(\d+)", re.IGNORECASE)
_ANSWER: Final = 1 << 14  # bytes of answers read at a time over HTTP/1.1; of a larger buffer the system makes new pages
_GRACE: Final = 5.0  # seconds that calls are waited for when no more begin


@dataclass
class Outcome:
    """What one run gave: seconds of every call that succeeded, the seconds until the last one ended, and why others
    failed.
    """

    latencies: array[float] = field(default_factory=lambda: array("d"))
    seconds: float = 0.0
    errors: Counter[str] = field(default_factory=Counter)


class Connection(Protocol):
    """One connection that calls go over."""

    socket: socket.socket
    in_progress: int
    most: int
    """Calls that may be in progress at a time."""

    def prepared(self, request: bytes) -> bytes:
        """Return what `send` takes for a call with this request: the same on each connection of its kind."""

    def send(self, request: bytes) -> int | None:
        """Begin a call and return its number; None when the peer's flow control wants us to wait."""

    def receive(self) -> Iterator[tuple[int, str]]:
        """Read what is there; yield the number of each call that ended and why it failed; "" when it did not."""


class GRPC:
    """A connection of HTTP/2 that makes unary calls of one method."""

    most = sys.maxsize

    def __init__(self, address: str, path: str, token: str) -> None:
        """Connect and shake hands."""
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.in_progress = 0
        self._headers = _header_block(
            (":method", "POST"), (":scheme", "http"), (":path", path), (":authority", address), ("te", "trailers"),
            ("content-type", "application/grpc"), ("authorization", f"Bearer {token}"),
        )  # fmt: skip
        self._next = 1
        self._open: set[int] = set()
        self._window = _FIRST_WINDOW
        self._buffer = b""
        self._received = 0
        settings = b"".join(
            struct.pack(">HI", name, value)
            for name, value in ((_HEADER_TABLE_SIZE, 0), (_ENABLE_PUSH, 0), (_INITIAL_WINDOW_SIZE, _WINDOW))
        )
        self.socket.sendall(
            _PREFACE
            + _frame(_SETTINGS, 0, 0, settings)
            + _frame(_WINDOW_UPDATE, 0, 0, struct.pack(">I", _WINDOW - _FIRST_WINDOW))
        )

    def prepared(self, request: bytes) -> bytes:
        return request

    def send(self, request: bytes) -> int | None:
        body = b"\0" + struct.pack(">I", len(request)) + request
        assert len(body) <= _FIRST_WINDOW, "a request must fit a stream's window: nothing here counts that"
        if len(body) > self._window:
            return None
        number = self._next
        self._next += 2
        self._window -= len(body)
        self.in_progress += 1
        self._open.add(number)
        parts = [_frame(_HEADERS, _END_HEADERS, number, self._headers)]
        for at in range(0, len(body), _FRAME):
            last = at + _FRAME >= len(body)
            parts.append(_frame(_DATA, _END_STREAM if last else 0, number, body[at : at + _FRAME]))
        self.socket.sendall(b"".join(parts))
        return number

    def receive(self) -> Iterator[tuple[int, str]]:
        got = self.socket.recv(1 << 18)
        if not got:
            msg = "the server closed the connection"
            raise ConnectionError(msg)
        data, at = self._buffer + got, 0
        while len(data) - at >= 9:
            size = data[at] << 16 | data[at + 1] << 8 | data[at + 2]
            if len(data) - at < 9 + size:
                break
            kind, flags = data[at + 3], data[at + 4]
            number = int.from_bytes(data[at + 5 : at + 9]) & _WINDOW
            payload = data[at + 9 : at + 9 + size]
            at += 9 + size
            if kind == _DATA:
                self._received += size
            if kind == _RST_STREAM or (kind in {_DATA, _HEADERS} and flags & _END_STREAM):
                if number not in self._open:
                    continue  # a server that answers before it has read everything resets the stream afterwards
                self._open.remove(number)
                self.in_progress -= 1
                yield number, "" if kind == _HEADERS and _OK in payload else _why(kind, payload)
            elif kind == _WINDOW_UPDATE and number == 0:
                self._window += int.from_bytes(payload)
            elif kind == _SETTINGS and not flags & _ACK:
                self.socket.sendall(_frame(_SETTINGS, _ACK, 0, b""))
            elif kind == _PING and not flags & _ACK:
                self.socket.sendall(_frame(_PING, _ACK, 0, payload))
            elif kind == _GOAWAY:
                msg = "the server ended the connection"
                raise ConnectionError(msg)
        self._buffer = data[at:]
        if self._received > 1 << 24:
            self.socket.sendall(_frame(_WINDOW_UPDATE, 0, 0, struct.pack(">I", self._received)))
            self._received = 0


class HTTP:
    """A kept connection of HTTP/1.1 to the HTTP door: one call at a time."""

    headers = ""
    most = 1

    def __init__(self, address: str, path: str, token: str) -> None:
        """Connect."""
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.in_progress = 0
        self._head = (
            f"POST {path} HTTP/1.1\r\nHost: {address}\r\n{self.headers}Authorization: Bearer {token}\r\n"
            "Content-Length: "
        ).encode()
        self._buffer = b""
        self._number = 0
        self._head_read, self._length, self._failure = b"", 0, ""

    def prepared(self, request: bytes) -> bytes:
        return b"%b%d\r\n\r\n%b" % (self._head, len(request), request)

    def send(self, request: bytes) -> int | None:
        self.in_progress = 1
        self._number += 1
        self.socket.sendall(request)
        return self._number

    def receive(self) -> Iterator[tuple[int, str]]:
        got = self.socket.recv(_ANSWER)
        if not got:
            msg = "the server closed the connection"
            raise ConnectionError(msg)
        got = self._buffer + got
        head, separator, body = got.partition(b"\r\n\r\n")
        if separator and head != self._head_read:
            length = _LENGTH.search(head)
            assert length is not None, "an answer without its length"
            self._failure = "" if head.startswith(b"HTTP/1.1 200") else f"HTTP {head[9:12].decode()}"
            self._head_read, self._length = head, int(length[1])
        if separator and len(body) >= self._length:
            self._buffer = body[self._length :]
            self.in_progress = 0
            yield self._number, self._failure
        else:
            self._buffer = got


class JSON(HTTP):
    """Plain JSON."""

    headers = "Content-Type: application/json\r\n"


class Connect(HTTP):
    """The Connect protocol, messages in bytes."""

    headers = "Content-Type: application/proto\r\nConnect-Protocol-Version: 1\r\n"


class HMA(HTTP):
    """HMA's route for lookups; a request is what stands behind the question mark."""

    def __init__(self, address: str, path: str, token: str) -> None:
        """Connect."""
        super().__init__(address, path, token)
        self._path = path.encode()
        self._tail = f" HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\r\n".encode()

    def prepared(self, request: bytes) -> bytes:
        return b"GET %b?%b%b" % (self._path, request, self._tail)


@contextmanager
def connected(
    door: Callable[[str, str, str], Connection], count: int, address: str, path: str, token: str
) -> Iterator[list[Connection]]:
    """Open so many connections of one kind, for calls of one method, and close them at the end."""
    with ExitStack() as stack:
        opened = [door(address, path, token) for _ in range(count)]
        for connection in opened:
            stack.enter_context(connection.socket)
        yield opened


def run(
    connections: Sequence[Connection],
    requests: Sequence[bytes],
    seconds: float,
    *,
    concurrency: int = 0,
    rate: float = 0,
) -> Outcome:
    """Make calls for so long: either `concurrency` at a time, spread over the connections, or `rate` a second, evenly.

    Those in progress at the end are waited for; whatever is not answered then counts as an error.
    """
    outcome = Outcome()
    each = max(1, concurrency // len(connections))
    most = each * len(connections)
    total = round(rate * seconds)
    ready = [connections[0].prepared(request) for request in requests]
    started: dict[tuple[int, int], float] = {}
    due: deque[float] = deque()
    room = [min(c.most, sys.maxsize if rate else each) for c in connections]
    free = deque(range(len(connections)))  # those that have room for another call
    planned = 0
    with select.epoll(len(connections)) as poller:
        numbers = {connection.socket.fileno(): i for i, connection in enumerate(connections)}
        for descriptor in numbers:
            poller.register(descriptor, select.EPOLLIN)
        begin = at = time.perf_counter()
        end = last = begin + seconds
        while at < end or ((started or due or planned < total) and at < end + _GRACE):
            before = planned
            if rate:
                planned = min(total, int((at - begin) * rate) + 1)
            elif at < end:
                planned += most - len(started) - len(due)
            due.extend(begin + i / rate if rate else at for i in range(before, planned))
            passed = 0
            while due and passed < len(free):
                i = free.popleft()
                connection = connections[i]
                number = connection.send(ready[(planned - len(due)) % len(ready)])
                if number is None:
                    passed += 1
                else:
                    passed = 0
                    started[i, number] = due.popleft()
                if connection.in_progress < room[i]:
                    free.append(i)
            wait = max(0.0, begin + planned / rate - time.perf_counter()) if planned < total and not due else 0.1
            if rate:  # epoll itself waits whole milliseconds, which is longer than calls are apart
                select.select((poller,), (), (), wait)
            for descriptor, _ in poller.poll(0.0 if rate else wait):
                i = numbers[descriptor]
                for number, failure in connections[i].receive():
                    last = time.perf_counter()
                    latency = last - started.pop((i, number))
                    if connections[i].in_progress == room[i] - 1:
                        free.append(i)
                    if failure:
                        outcome.errors[failure] += 1
                    else:
                        outcome.latencies.append(latency)
            at = time.perf_counter()
        outcome.seconds = max(end, last) - begin
    if unanswered := len(started) + len(due) + max(0, total - planned):
        outcome.errors["not answered"] += unanswered
    return outcome


def _why(kind: int, payload: bytes) -> str:
    """Return what to call the error that ended a stream with this frame."""
    if kind == _RST_STREAM:
        return "reset"
    _, found, rest = payload.partition(_STATUS)
    return f"status {rest[1 : 1 + rest[0]].decode()}" if found else "no status"


def _frame(kind: int, flags: int, number: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3) + bytes((kind, flags)) + number.to_bytes(4) + payload


def _header_block(*headers: tuple[str, str]) -> bytes:
    """Encode headers as literals without indexing (RFC 7541, 6.2.2): the same bytes every time."""
    block = b""
    for name, value in headers:
        block += b"\0" + _text(name) + _text(value)
    return block


def _text(text: str) -> bytes:
    raw = text.encode()
    if len(raw) < 127:
        return bytes((len(raw),)) + raw
    rest, size = len(raw) - 127, b"\x7f"
    while rest >= 128:
        size += bytes((rest % 128 + 128,))
        rest //= 128
    return size + bytes((rest,)) + raw
