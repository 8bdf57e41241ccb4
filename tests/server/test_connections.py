"""What connections of HTTP may hold up, without a word of HTTP or with a proper request."""

from __future__ import annotations

import contextlib
import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import psutil
import pytest

from hashhub import v1
from hashhub.server import connections, http_listener
from tests.hub.conftest import Desk, item

if TYPE_CHECKING:
    from tests.server.conftest import Serve, Served

HEADER_SECONDS = 2.0  # more than a busy machine takes between a connection and its first bytes
LINE = b"GET /healthz HTTP/1.1\r\nhost: here\r\n"


@pytest.fixture
def served(serve_hub: Serve, monkeypatch: pytest.MonkeyPatch) -> Served:
    monkeypatch.setattr(http_listener, "HEADER_SECONDS", HEADER_SECONDS)
    return serve_hub()


def connect(served: Served) -> socket.socket:
    host, _, port = served.doors.http_address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=60)


def ask(served: Served, sent: bytes) -> bytes:
    """Send bytes over a connection of their own; return all that comes until it is closed."""
    with connect(served) as connection:
        connection.sendall(sent)
        came = b""
        while got := connection.recv(65_536):
            came += got
        return came


def test_a_header_that_does_not_come_ends_the_connection(served: Served) -> None:
    def lasts(sent: bytes) -> float:
        begun = time.monotonic()
        assert ask(served, sent) == b""
        return time.monotonic() - begun

    with ThreadPoolExecutor(4) as pool:
        assert min(pool.map(lasts, (b"", b"P", b"GET / HT", LINE))) >= HEADER_SECONDS * 0.9


def test_one_byte_now_and_then_holds_no_connection(served: Served) -> None:
    begun = time.monotonic()
    with connect(served) as connection, contextlib.suppress(OSError):
        for byte in LINE * 100:
            connection.sendall(bytes([byte]))
            time.sleep(0.1)
    assert time.monotonic() - begun < 60


def test_a_kept_connection_that_says_nothing_more_ends(served: Served) -> None:
    answer = ask(served, LINE + b"\r\n")  # returns when closed
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"\ndate: " in answer


@pytest.mark.parametrize("size", [100_000, 2_000_000])
def test_a_long_header_is_refused(served: Served, size: int) -> None:
    host, _, port = served.doors.http_address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        try:
            connection.sendall(LINE + b"x: " + b"y" * size + b"\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 431")
        except ConnectionError:
            assert size > 1_000_000, "what it still sends is not read"


def test_a_receiver_that_takes_nothing_is_cut_off(serve_hub: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "STALL_SECONDS", 1.0)
    monkeypatch.setattr(http_listener, "HEADER_SECONDS", 600.0)  # nothing else ends the connection
    served = serve_hub()
    desk = Desk(served.hub)
    desk.hash_set("alpha/list")
    desk.contribute("alpha/list", *(item(n, series=f"{n}" + "s" * 1000) for n in range(1000)))
    body = v1.ListEntriesRequest(parent="contributors/alpha/hashSets/list", page_size=1000).SerializeToString()
    with connect(served) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        request = (
            b"POST /hashhub.v1.ContributionService/ListEntries HTTP/1.1\r\nhost: h\r\n"
            b"content-type: application/proto\r\nauthorization: Bearer %b\r\ncontent-length: %d\r\n\r\n%b"
            % (served.tokens["OPERATOR"].encode(), len(body), body)
        )
        connection.sendall(request * 20)  # their answers are more than the kernel holds
        head = connection.recv(1000)
        assert head.startswith(b"HTTP/1.1 200")
        length = re.search(rb"content-length: (\d+)", head)
        assert length is not None
        assert int(length[1]) > 1_000_000
        ours, until = connection.getsockname()[:2], time.monotonic() + 180
        while any(c.raddr == ours for c in psutil.net_connections("tcp4")):  # the server's end of it
            assert time.monotonic() < until
            time.sleep(0.1)  # the kernel probes a closed window at growing intervals
