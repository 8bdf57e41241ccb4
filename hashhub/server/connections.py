"""Connections of HTTP/1.1: uvicorn's protocol, with bounds on how many there are and on what they may hold up.

Further connections than allowed wait in the kernel's queue. A header has a size and a time in which it must come, which
count for silent and for kept connections as well. The kernel ends a connection whose peer takes nothing of an answer
for `STALL_SECONDS`. HTTP/2 is refused: each of its streams would be a connection that nothing counts.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import socket
import ssl
import time
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.auto import AutoHTTPProtocol
from uvicorn.server import ServerState

_log = logging.getLogger("hashhub.server")

Application = Callable[[Any, Any, Any], Awaitable[None]]

_BACKLOG: Final = 1024  # connections that the kernel keeps waiting
HEADER_BYTES: Final = 64 * 1024  # of one request
STALL_SECONDS: Final = 30.0
_LOOK_SECONDS: Final = 0.5  # between looks at all connections
_OWN_SHARE: Final = 2  # of the files that the process may open, connections get one in so many
_METHODS: Final = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH"})
_HTTP2: Final = b"PRI"  # as its connections begin
LONG_HEADER: Final = f"the header of a request may have at most {HEADER_BYTES} bytes; send shorter ones"


class HTTPConnection(AutoHTTPProtocol):  # type: ignore[misc, valid-type]  # a class that is chosen when it is imported
    """One connection. `idle_since`: since when no request is worked on; None while one is."""

    def __init__(self, release: Callable[[], None], **given: Any) -> None:
        super().__init__(app_state={"connection": self}, **given)
        self._release = release
        self.idle_since: float | None = time.monotonic()
        self._header_bytes = 0

    def data_received(self, data: bytes) -> None:
        """Take what comes, as far as it may be of a request."""
        if self.transport.is_closing():
            return
        if self.idle_since is not None:
            if not self._header_bytes and not self._is_request(data):
                return
            self._header_bytes += len(data)
        super().data_received(data)
        if self.idle_since is not None and self._header_bytes > HEADER_BYTES and not self.is_in_request:
            self.refuse("431 Request Header Fields Too Large", LONG_HEADER)

    def on_headers_complete(self) -> None:
        """Begin the request, whose headers are whole: a body in chunks may bring trailers, which are not among them."""
        super().on_headers_complete()
        self.headers: list[tuple[bytes, bytes]] = []

    @property
    def is_in_request(self) -> bool:
        """Whether a request has begun and has no whole answer yet."""
        return self.cycle is not None and not self.cycle.response_complete

    def begin(self) -> bool:
        """Note that a request is worked on; False: its header is too long."""
        received, self._header_bytes, self.idle_since = self._header_bytes, 0, None
        headers = self.scope["headers"] if received > HEADER_BYTES else ()  # a body may have come with it
        return sum(len(name) + len(value) for name, value in headers) <= HEADER_BYTES

    def end(self) -> None:
        """Note that its answer was given."""
        self.idle_since = time.monotonic()

    def refuse(self, status: str, why: str) -> None:
        """Answer what is no request, and close the connection."""
        body = f'{{"message": "{why}"}}'
        self.transport.write(
            f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\n"
            f"content-length: {len(body)}\r\n\r\n{body}".encode()
        )
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Make place for another connection."""
        super().connection_lost(exc)
        self.app_state: dict[str, Any] = {}  # it refers back to this object
        self._release()

    def _is_request(self, data: bytes) -> bool:
        """Whether it can be one of HTTP/1; refuse it otherwise."""
        method, space, _ = data[:32].partition(b" ")
        if method == _HTTP2:
            self.refuse("505 HTTP Version Not Supported", "this address speaks HTTP/1.1; gRPC has another one")
        elif space and method.isalpha() and method.isupper() and method not in _METHODS:
            self.refuse("405 Method Not Allowed", "the method must be one of GET, HEAD, POST")
        else:
            return True
        return False


class HTTPServer:
    """Connections of one listening socket."""

    def __init__(
        self,
        application: Application,
        listener: socket.socket,
        *,
        connections: int,
        header_seconds: float,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Take the bound socket over. `connections` is reduced to half of the files that this process may open. `tls`:
        with the server's certificate; a handshake has as long as a header.
        """
        # What uvicorn says of a request could show what a stranger wrote, one line a request, or a token in its query.
        for name in ("uvicorn.error", "uvicorn.access"):
            logging.getLogger(name).setLevel(logging.ERROR)
        self._config = uvicorn.Config(
            application,
            http=HTTPConnection,
            interface="asgi3",
            lifespan="off",
            ws="none",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=max(1, round(header_seconds)),
            h11_max_incomplete_event_size=HEADER_BYTES,
        )
        self._config.load()
        self._state = ServerState()
        self._header_seconds = header_seconds
        most = max(1, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // _OWN_SHARE)
        self._places = asyncio.Semaphore(min(connections, most))
        self._are_gone = asyncio.Event()
        self._listener = listener
        self._tls = tls
        self._handshakes: set[asyncio.Task[None]] = set()
        listener.setblocking(False)
        if listener.family != socket.AF_UNIX:  # whoever reads nothing there holds one of this machine's connections
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(STALL_SECONDS * 1000))
        listener.listen(_BACKLOG)
        self._tasks = [asyncio.create_task(self._accept()), asyncio.create_task(self._look())]

    async def close(self, seconds: float) -> None:
        """Take no more connections and give the calls in progress so long."""
        for task in (*self._tasks, *self._handshakes):
            task.cancel()
        self._listener.close()
        for connection in list(self._connections()):
            connection.shutdown()
        if self._connections():
            self._are_gone.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._are_gone.wait(), seconds)
        for connection in list(self._connections()):
            connection.transport.abort()

    def _connections(self) -> set[Any]:
        return self._state.connections

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._places.acquire()
            try:
                accepted, _ = await loop.sock_accept(self._listener)
                if self._tls is None:
                    await self._begin(accepted)
                else:  # nobody waits for another's handshake
                    handshake = asyncio.create_task(self._shake_hands(accepted))
                    self._handshakes.add(handshake)
                    handshake.add_done_callback(self._handshakes.discard)
            except Exception as e:  # noqa: BLE001 - whatever it is, such as no file to be had, there are further ones
                self._places.release()
                _log.warning("a connection over HTTP was not accepted: %s", e)
                await asyncio.sleep(_LOOK_SECONDS)

    async def _begin(self, accepted: socket.socket, **tls: Any) -> None:
        await asyncio.get_running_loop().connect_accepted_socket(
            lambda: HTTPConnection(self._release, config=self._config, server_state=self._state), accepted, **tls
        )

    async def _shake_hands(self, accepted: socket.socket) -> None:
        try:
            await self._begin(accepted, ssl=self._tls, ssl_handshake_timeout=self._header_seconds)
        except Exception:  # noqa: BLE001 - a stranger's handshake: whatever fails in it is theirs
            accepted.close()
            self._places.release()

    def _release(self) -> None:
        self._places.release()
        if not self._connections():
            self._are_gone.set()

    async def _look(self) -> None:
        """Close connections whose next request does not come, and tell the time in answers."""
        while True:
            self._state.default_headers[:] = [(b"date", formatdate(usegmt=True).encode())]
            await asyncio.sleep(min(_LOOK_SECONDS, self._header_seconds / 4))
            before = time.monotonic() - self._header_seconds
            for connection in list(self._connections()):
                is_late = connection.idle_since is not None and connection.idle_since < before
                if is_late and not connection.transport.get_write_buffer_size():
                    connection.transport.close()
