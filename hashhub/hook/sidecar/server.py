"""The sidecar behind a socket: uvicorn, with bounds on connections, heads of requests and slow readers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from hashhub.addresses import bind, parse_address, shown
from hashhub.hook.sidecar.application import Sidecar

if TYPE_CHECKING:
    from hashhub.hook.core import Hook
    from hashhub.hook.settings import SidecarSettings

_BACKLOG: Final = 64  # connections that asyncio accepts at once, before they are counted
_HEAD_BYTES: Final = 16 * 1024
_FULL: Final = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n"


def serve(hook: Hook, *, on_ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT, then for `end_seconds`. `on_ready` gets HOST:PORT. Raises InvalidArgument for
    unsafe settings, FailedPrecondition when the address is taken.
    """
    import uvicorn

    settings = hook.settings.sidecar
    parse_address("sidecar.listen", settings.listen, usual_port=8472)
    sidecar = Sidecar(hook)
    listening = bind("sidecar.listen", settings.listen)
    # What uvicorn says of a request could show what a stranger wrote, one line a request.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets=sockets)
            if self.started:
                on_ready(shown(*listening.getsockname()[:2]))

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            sidecar.is_ending = True
            await super().shutdown(sockets=sockets)

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            """As the original, without dying of the signal in the end: this end is a good one."""
            handlers = {s: signal.signal(s, self.handle_exit) for s in (signal.SIGINT, signal.SIGTERM)}
            try:
                yield
            finally:
                for number, handler in handlers.items():
                    signal.signal(number, handler)

    config = uvicorn.Config(
        sidecar,
        http=_protocol(settings),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=max(1, round(settings.header_seconds)),
        timeout_graceful_shutdown=max(1, round(settings.end_seconds)),
        h11_max_incomplete_event_size=_HEAD_BYTES,
        backlog=_BACKLOG,
    )
    with listening:
        Server(config).run(sockets=[listening])


def _protocol(settings: SidecarSettings) -> type[asyncio.Protocol]:
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Protocol(H11Protocol):
        """One connection. A timer runs whenever no request is being answered, and another while the caller does not
        read: uvicorn's own ends with each byte that comes, so that one byte now and then would hold a connection.
        """

        _reader_is_slow: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > settings.max_connections:
                transport.write(_FULL)
                transport.close()
                return
            self.timeout_keep_alive_task = self.loop.call_later(
                settings.header_seconds, self.timeout_keep_alive_handler
            )

        def data_received(self, data: bytes) -> None:
            if self.transport.is_closing():
                return
            self.conn.receive_data(data)
            self.handle_events()

        def timeout_keep_alive_handler(self) -> None:
            self.transport.abort()

        def pause_writing(self) -> None:
            super().pause_writing()
            self._reader_is_slow = self.loop.call_later(settings.slow_seconds, self.transport.abort)

        def resume_writing(self) -> None:
            super().resume_writing()
            self._reads()

        def connection_lost(self, exc: Exception | None) -> None:
            self._reads()
            if self.timeout_keep_alive_task is not None:
                self.timeout_keep_alive_task.cancel()
            super().connection_lost(exc)

        def _reads(self) -> None:
            if self._reader_is_slow is not None:
                self._reader_is_slow.cancel()
                self._reader_is_slow = None

    return Protocol
