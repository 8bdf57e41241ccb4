"""`python -m hashhub.console FD`: serve the console on a socket that the hub's process holds, until that is gone.

Its settings are the first line of standard input, whose end means that the hub's process has ended.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
import sys
import threading
from contextlib import suppress
from typing import Any, Final

import msgspec

from hashhub.config import Config
from hashhub.console.hub_console import HubConsole
from hashhub.errors import InvalidArgument
from hashhub.key_pair import KeyPair
from hashhub.server.connections import HTTPServer

_CONNECTIONS: Final = 512
_HEADER_SECONDS: Final = 30.0
_DRAIN_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 5.0  # between looks whether the certificate was renewed


async def _serve(console: HubConsole, config: Config, bound: socket.socket) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    pair = KeyPair("console", config.tls_certificate, config.tls_key) if config.tls_certificate else None
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if pair else None
    if tls:
        tls.load_cert_chain(config.tls_certificate, config.tls_key)

    async def application(scope: Any, receive: Any, send: Any) -> None:
        connection = scope["state"]["connection"]
        try:
            if connection.begin():
                await console.application(scope, receive, send)
            else:
                connection.transport.close()  # its header is longer than any browser's
        finally:
            connection.end()

    server = HTTPServer(application, bound, connections=_CONNECTIONS, header_seconds=_HEADER_SECONDS, tls=tls)
    while not stop.is_set():
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _LOOK_SECONDS)
        with suppress(InvalidArgument, OSError):  # in the middle of a change; the old one holds until there is a new
            if pair and tls and pair.refresh():
                tls.load_cert_chain(config.tls_certificate, config.tls_key)
    await server.close(_DRAIN_SECONDS)


def main() -> None:
    """Serve until told to end."""
    os.umask(0o077)
    config = msgspec.json.decode(sys.stdin.buffer.readline(), type=Config)
    bound = socket.socket(fileno=int(sys.argv[1]))
    console = HubConsole(config)

    def follow() -> None:
        sys.stdin.buffer.read()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=follow, daemon=True).start()
    try:
        asyncio.run(_serve(console, config, bound))
    finally:
        console.close()


main()
