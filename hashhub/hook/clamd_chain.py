"""The real clamd behind ours: each upload is passed on to it, and its answer comes back as it is.

FOUND     it found something; passed on unchanged
OK        it has read the whole stream and found nothing
ERROR     it reported one, could not be understood, broke off a stream that it had begun to read, or is full
AWAY      it could not be reached, and has read nothing of the stream: only then may the caller choose
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
from enum import StrEnum
from typing import Any, Final

import msgspec

from hashhub.addresses import parse_address

_log = logging.getLogger("hashhub.hook")

LENGTH: Final = struct.Struct("!L")  # before each chunk of a stream; 0 ends it
CONNECT_SECONDS: Final = 5.0
_FULL_SECONDS: Final = 0.02  # between tries while as many connections wait for it as may
_STALL_SECONDS: Final = 30.0  # it writes a stream to disk as it comes, so that only one in trouble takes none for long
_VERSION_SECONDS: Final = 5.0
VERSION_AGE_SECONDS: Final = 1.0  # for which an answer to VERSION is given again
_ANSWER_BYTES: Final = 1 << 16  # a line with the name of what it found


class ReplyKind(StrEnum):
    """What the real clamd's answer means."""

    OK = "OK"
    FOUND = "FOUND"
    ERROR = "ERROR"
    AWAY = "AWAY"


class ChainAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a stream, and its words (`stream: NAME FOUND`), without what ends them; empty where it is AWAY."""

    kind: ReplyKind
    text: bytes = b""


_AWAY: Final = ChainAnswer(kind=ReplyKind.AWAY)
_BUSY: Final = ChainAnswer(kind=ReplyKind.ERROR, text=b"stream: the virus scanner is busy. ERROR")
_NO_ANSWER: Final = ChainAnswer(kind=ReplyKind.ERROR, text=b"stream: the virus scanner gave no answer. ERROR")
_NOT_UNDERSTOOD: Final = ChainAnswer(
    kind=ReplyKind.ERROR, text=b"stream: the virus scanner's answer was not understood. ERROR"
)


class Chain:
    """The way to the real clamd: a connection for each stream, as its other clients do."""

    def __init__(self, address: str, *, seconds: float) -> None:
        """`address`: HOST:PORT or an absolute path. `seconds`: for its answer, from a stream's end."""
        self.seconds = seconds
        self._asking: asyncio.Task[str] | None = None
        self._version_time = 0.0
        self._path = address if address.startswith("/") else ""
        self._host, self._port = ("", 0) if self._path else parse_address("clamd.chained", address, usual_port=3310)

    async def _connect(self) -> socket.socket:
        """Return a new connection, which does not block. Raises OSError, or TimeoutError (which is one)."""
        loop = asyncio.get_running_loop()
        until = loop.time() + CONNECT_SECONDS
        async with asyncio.timeout_at(until):
            if self._path:
                return await _connected_to_path(self._path, until)
            error = OSError(f"{self._host} has no address")
            addresses = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
            for number, (family, _, _, _, address) in enumerate(addresses):
                try:
                    # One that says nothing leaves the others their share of the time.
                    async with asyncio.timeout((until - loop.time()) / (len(addresses) - number)):
                        connection = await _connected(family, address)
                except OSError as e:
                    error = e
                else:
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    return connection
            raise error

    async def version(self) -> str:
        """Return its VERSION, at most a second old, asked for once for all; empty where it is away."""
        age = asyncio.get_running_loop().time() - self._version_time
        if self._asking is None or (self._asking.done() and age >= VERSION_AGE_SECONDS):
            self._asking = asyncio.create_task(self._ask_version())
        return await asyncio.shield(self._asking)

    async def _ask_version(self) -> str:
        try:
            return await self._read_version()
        finally:
            self._version_time = asyncio.get_running_loop().time()

    async def _read_version(self) -> str:
        try:
            connection = await self._connect()
        except OSError as e:
            _log.warning("clamd: the real clamd cannot be reached: %s", e.strerror or type(e).__name__)
            return ""
        try:
            async with asyncio.timeout(_VERSION_SECONDS):
                await asyncio.get_running_loop().sock_sendall(connection, b"zVERSION\0")
                text = await _read_answer(connection)
        except (OSError, EOFError):
            return ""
        finally:
            connection.close()
        return text.decode("utf-8", "replace")

    async def scan(self) -> ChainScan:
        """Begin a stream. Never raises: where it is away or busy, the answer will say so."""
        try:
            return ChainScan(await self._connect(), seconds=self.seconds)
        except BlockingIOError:
            # No choice of the operator's: who sends it much at once would have uploads answered that it has not seen.
            _log.warning("clamd: the real clamd takes no further connection now; see its MaxQueue and MaxThreads")
            return ChainScan(None, seconds=self.seconds, without=_BUSY)
        except OSError as e:
            _log.warning("clamd: the real clamd cannot be reached: %s", e.strerror or type(e).__name__)
            return ChainScan(None, seconds=self.seconds)


class ChainScan:
    """A stream to the real clamd, by one task; nothing raises for what that does. It may answer in the middle and
    close: asyncio's transports would close once a write fails, with the answer unread, so the socket is used as it is.
    """

    def __init__(self, connection: socket.socket | None, *, seconds: float, without: ChainAnswer = _AWAY) -> None:
        """`without`: the answer where there is no connection."""
        self._seconds = seconds
        self._without = without
        self._connection = connection
        self._reading: asyncio.Task[bytes] | None = None
        self._takes_more = connection is not None
        self._is_whole = False
        if connection is not None:
            with contextlib.suppress(OSError):  # then no piece is taken either
                connection.send(b"zINSTREAM\0")
            self._reading = asyncio.create_task(_read_answer(connection))
            self._reading.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def write(self, piece: bytes | bytearray | memoryview) -> bool:
        """Pass on the next bytes, one or more; return whether it takes more. Waits while it takes none."""
        return await self._send(LENGTH.pack(len(piece)) + piece)

    async def _send(self, data: bytes) -> bool:
        if self._connection is None or self._reading is None or not self._takes_more or self._reading.done():
            return False
        try:
            async with asyncio.timeout(_STALL_SECONDS):
                await asyncio.get_running_loop().sock_sendall(self._connection, data)
        except OSError as e:
            self._takes_more = False
            if isinstance(e, TimeoutError):
                with contextlib.suppress(OSError):
                    self._connection.shutdown(socket.SHUT_RDWR)  # nothing is waited for; what it said is still read
            return False
        return True

    async def answer(self) -> ChainAnswer:
        """End the stream and return the answer."""
        self._is_whole = await self._send(LENGTH.pack(0))
        if self._reading is None:
            return self._without
        try:
            async with asyncio.timeout(self._seconds):
                text = await self._reading
        except TimeoutError:
            _log.warning("clamd: the real clamd gave no answer within %g s", self._seconds)
            return _NO_ANSWER
        except (OSError, EOFError):
            _log.warning("clamd: the real clamd went away in the middle of a stream")
            return _NO_ANSWER
        finally:
            self.close()
        return self._understood(text)

    def _understood(self, text: bytes) -> ChainAnswer:
        is_line = all(byte >= ord(" ") for byte in text)
        if is_line and text.startswith(b"stream: ") and text.endswith(b" FOUND"):
            return ChainAnswer(kind=ReplyKind.FOUND, text=text)
        if is_line and text.endswith(b" ERROR"):
            return ChainAnswer(kind=ReplyKind.ERROR, text=text)
        if text == b"stream: OK" and self._is_whole:
            return ChainAnswer(kind=ReplyKind.OK, text=text)
        _log.warning("clamd: the real clamd's answer was not understood: %r", text[:200])
        return _NOT_UNDERSTOOD

    def close(self) -> None:
        """Let go of the connection, the stream being whole or not."""
        if self._connection is None or self._reading is None:
            return
        connection, self._connection = self._connection, None
        # Once nothing waits for it: the loop knows it by its number, which the next connection may get.
        self._reading.add_done_callback(lambda _: connection.close())
        self._reading.cancel()


async def _connected_to_path(path: str, until: float) -> socket.socket:
    """Return a connection to a UNIX socket, waiting while it is full. Raises BlockingIOError past that time."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        while True:
            try:
                connection.connect(path)
            except BlockingIOError:
                if asyncio.get_running_loop().time() + _FULL_SECONDS >= until:
                    raise
                await asyncio.sleep(_FULL_SECONDS)
            else:
                return connection
    except BaseException:
        connection.close()
        raise


async def _connected(family: int, address: Any) -> socket.socket:
    """Return a connection to an address, as getaddrinfo gave it for the family."""
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, address)
    except BaseException:
        connection.close()
        raise
    return connection


async def _read_answer(connection: socket.socket) -> bytes:
    """Return an answer without the zero byte that ends it. Raises EOFError where none comes, or far too much."""
    text = bytearray()
    while (end := text.find(b"\0")) < 0:
        piece = await asyncio.get_running_loop().sock_recv(connection, _ANSWER_BYTES)
        if not piece or len(text) > _ANSWER_BYTES:
            raise EOFError
        text += piece
    return bytes(text[:end])
