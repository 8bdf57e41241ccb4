"""A load generator that costs little: raw HTTP/2 for gRPC, raw HTTP/1.1 for the JSON bridge.

grpc's own Python client takes longer for a call than the server does, and both share this machine. Here every request's bytes are made once;
what is left is a stream number, a send, and reading nine bytes of each frame that comes back (RFC 9113). An answer without DATA is an error: gRPC
sends those as trailers only.

Closed loop: so many calls in progress, the next begins when one ends; that gives the most calls a second. Open loop: calls begin at fixed times
whatever happened to those before, and their latency counts from that time, so that a server that stalls is not excused.
"""

from __future__ import annotations

import selectors
import socket
import struct
import time
from array import array
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 4, 6, 7, 8
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1
_FRAME: Final = 16_384  # bytes of one DATA frame; the smallest limit that a server may set
_WINDOW: Final = 2**31 - 1


@dataclass
class Outcome:
    """What one run gave: seconds of every call that was answered, the seconds it ran, and how many calls failed."""

    latencies: array[float] = field(default_factory=lambda: array("d"))
    seconds: float = 0.0
    errors: int = 0


class Connection(Protocol):
    """One connection that calls go over."""

    socket: socket.socket
    in_progress: int

    def send(self, request: bytes) -> int | None:
        """Begin a call and return its number; None when the peer's flow control wants us to wait."""

    def receive(self) -> Iterator[tuple[int, bool]]:
        """Read what is there; yield the number of each call that ended and whether it succeeded."""


class GRPC:
    """A connection of HTTP/2 that makes unary calls of one method."""

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
        self._window = 65_535  # bytes that the peer takes on the connection; RFC 9113, 6.9.2
        self._got_data: set[int] = set()
        self._buffer = b""
        self._received = 0
        settings = struct.pack(">HI", 4, _WINDOW) + struct.pack(">HI", 2, 0)  # initial window; no push
        self.socket.sendall(
            _PREFACE
            + _frame(_SETTINGS, 0, 0, settings)
            + _frame(_WINDOW_UPDATE, 0, 0, struct.pack(">I", _WINDOW - 65_535))
        )

    def send(self, request: bytes) -> int | None:
        body = b"\0" + struct.pack(">I", len(request)) + request
        if len(body) > self._window:
            return None
        number = self._next
        self._next += 2
        self._window -= len(body)
        self.in_progress += 1
        parts = [_frame(_HEADERS, _END_HEADERS, number, self._headers)]
        for at in range(0, len(body), _FRAME):
            last = at + _FRAME >= len(body)
            parts.append(_frame(_DATA, _END_STREAM if last else 0, number, body[at : at + _FRAME]))
        self.socket.sendall(b"".join(parts))
        return number

    def receive(self) -> Iterator[tuple[int, bool]]:
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
                if size:
                    self._got_data.add(number)
            if kind in {_DATA, _HEADERS} and flags & _END_STREAM:
                self.in_progress -= 1
                ok = number in self._got_data
                self._got_data.discard(number)
                yield number, ok
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


class JSON:
    """A kept connection of HTTP/1.1 to the JSON bridge: one call at a time."""

    def __init__(self, address: str, path: str, token: str) -> None:
        """Connect."""
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host, int(port)))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.in_progress = 0
        self._head = (
            f"POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {token}\r\nContent-Length: "
        ).encode()
        self._buffer = b""
        self._number = 0

    def send(self, request: bytes) -> int | None:
        if self.in_progress:
            return None
        self.in_progress = 1
        self._number += 1
        self.socket.sendall(self._head + str(len(request)).encode() + b"\r\n\r\n" + request)
        return self._number

    def receive(self) -> Iterator[tuple[int, bool]]:
        got = self.socket.recv(1 << 18)
        if not got:
            msg = "the server closed the connection"
            raise ConnectionError(msg)
        self._buffer += got
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        if len(body) >= length:
            self._buffer = body[length:]
            self.in_progress = 0
            yield self._number, head.startswith(b"HTTP/1.1 200")


def closed_loop(
    connections: Sequence[Connection], requests: Sequence[bytes], concurrency: int, seconds: float
) -> Outcome:
    """Keep `concurrency` calls in progress, spread over the connections, for so long."""
    outcome = Outcome()
    started: dict[tuple[int, int], float] = {}
    each = max(1, concurrency // len(connections))
    turn = 0
    with selectors.DefaultSelector() as selector:
        for i, connection in enumerate(connections):
            selector.register(connection.socket, selectors.EVENT_READ, i)
        begin = time.perf_counter()
        end = begin + seconds
        while (at := time.perf_counter()) < end:
            for i, connection in enumerate(connections):
                while connection.in_progress < each:
                    number = connection.send(requests[turn % len(requests)])
                    if number is None:
                        break
                    turn += 1
                    started[i, number] = at
            _gather(selector, connections, started, outcome, 0.1)
        outcome.seconds = time.perf_counter() - begin
        _drain(selector, connections)
    return outcome


def open_loop(connections: Sequence[Connection], requests: Sequence[bytes], rate: float, seconds: float) -> Outcome:
    """Begin `rate` calls a second, evenly, for so long."""
    outcome = Outcome()
    started: dict[tuple[int, int], float] = {}
    waiting: deque[float] = deque()  # times of calls that are due
    planned = 0
    with selectors.DefaultSelector() as selector:
        for i, connection in enumerate(connections):
            selector.register(connection.socket, selectors.EVENT_READ, i)
        begin = time.perf_counter()
        while (at := time.perf_counter()) < begin + seconds:
            while begin + planned / rate <= at:
                waiting.append(begin + planned / rate)
                planned += 1
            blocked = 0
            while waiting and blocked < len(connections):
                i = (planned - len(waiting) + blocked) % len(connections)
                number = connections[i].send(requests[(planned - len(waiting)) % len(requests)])
                if number is None:
                    blocked += 1
                    continue
                blocked = 0
                started[i, number] = waiting.popleft()
            _gather(selector, connections, started, outcome, max(0.0, begin + planned / rate - time.perf_counter()))
        outcome.seconds = time.perf_counter() - begin
        at = time.perf_counter()
        # What was never answered or never begun waited at least until now.
        outcome.latencies.extend(at - due for due in (*waiting, *started.values()) if at - due > 1.0)
        _drain(selector, connections)
    return outcome


def _gather(
    selector: selectors.BaseSelector,
    connections: Sequence[Connection],
    started: dict[tuple[int, int], float],
    outcome: Outcome,
    timeout: float,
) -> None:
    for key, _ in selector.select(timeout):
        for number, ok in connections[key.data].receive():
            latency = time.perf_counter() - started.pop((key.data, number))
            if ok:
                outcome.latencies.append(latency)
            else:
                outcome.errors += 1


def _drain(selector: selectors.BaseSelector, connections: Sequence[Connection]) -> None:
    """Let the calls in progress end, so that the connections can be used again."""
    until = time.perf_counter() + 5
    while any(c.in_progress for c in connections) and time.perf_counter() < until:
        for key, _ in selector.select(0.1):
            for _ in connections[key.data].receive():
                pass


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
