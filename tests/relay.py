"""A way to a hub that is slow at first, as to one far away or on a busy machine."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Relay:
    """Connections to a hub, which get nowhere before `opens` is set."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._hub = host, int(port)
        self._server = socket.create_server(("127.0.0.1", 0))
        self._sockets = [self._server]
        self._lock = threading.Lock()
        self._is_closed = False
        self.address = f"127.0.0.1:{self._server.getsockname()[1]}"
        self.opens = threading.Event()
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
        self.opens.set()
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _keep(self, opened: socket.socket) -> bool:
        """Have it closed with the relay; return whether that is not closed already."""
        with self._lock:
            if self._is_closed:
                opened.close()
            else:
                self._sockets.append(opened)
            return not self._is_closed

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client = self._server.accept()[0]
                if not self._keep(client):
                    return
                self.connections += 1
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        self.opens.wait()
        with suppress(OSError):
            hub = socket.create_connection(self._hub)
            if self._keep(hub):
                threading.Thread(target=_pass_on, args=(client, hub), daemon=True).start()
                _pass_on(hub, client)


def _pass_on(one: socket.socket, other: socket.socket) -> None:
    with suppress(OSError):
        while data := one.recv(65536):
            other.sendall(data)
    with suppress(OSError):
        other.shutdown(socket.SHUT_WR)


@contextmanager
def slow_way_to(address: str) -> Iterator[Relay]:
    relay = Relay(address)
    try:
        yield relay
    finally:
        relay.close()
