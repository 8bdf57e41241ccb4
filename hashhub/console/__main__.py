"""`python -m hashhub.console FD`: serve the console on a socket that the hub's process holds, until that is gone.

Its settings are the first line of standard input, whose end means that the hub's process has ended.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading

import msgspec
import uvicorn

from hashhub.console.hub_console import ConsoleSettings, HubConsole


def main() -> None:
    """Serve until told to end."""
    os.umask(0o077)
    settings = msgspec.json.decode(sys.stdin.buffer.readline(), type=ConsoleSettings)
    bound = socket.socket(fileno=int(sys.argv[1]))
    console = HubConsole(settings)

    def follow() -> None:
        sys.stdin.buffer.read()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=follow, daemon=True).start()
    server = uvicorn.Server(
        uvicorn.Config(
            console.application,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=200,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=5,
            ssl_certfile=settings.tls_certificate or None,
            ssl_keyfile=settings.tls_key or None,
        )
    )
    try:
        server.run(sockets=[bound])
    finally:
        console.close()


main()
