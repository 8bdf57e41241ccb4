"""The ASGI middleware under a server of HTTP/2, where many requests come mixed on one connection, a body needs no
length, and one request can be given up while the others go on.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Self

import pytest
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, DataReceived, ResponseReceived, StreamEnded, StreamReset
from hypercorn.asyncio import serve
from hypercorn.config import Config

from hashhub.hook import Hook
from hashhub.hook.asgi import UploadHook
from tests.hook.test_asgi import App, digest
from tests.hook.web import FORM_TYPE, LISTED, OTHER, File, changed, form
from tests.patience import wait_until


@contextmanager
def serving_http2(app: Any) -> Iterator[tuple[str, int]]:
    """Serve an ASGI app with Hypercorn on a free port: HTTP/2 to whoever begins with it, without TLS."""
    config = Config()
    listening = socket.create_server(("127.0.0.1", 0))
    address = listening.getsockname()[:2]
    config.bind = [f"fd://{listening.detach()}"]  # it closes what it is given
    config.errorlog = config.accesslog = None
    stop: list[Callable[[], object]] = []

    async def run() -> None:
        loop, is_over = asyncio.get_running_loop(), asyncio.Event()
        stop.append(lambda: loop.call_soon_threadsafe(is_over.set))
        await serve(app, config, shutdown_trigger=is_over.wait)

    thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
    thread.start()
    try:
        yield address
    finally:
        stop[0]()
        thread.join(60)
        assert not thread.is_alive()


class Connection:
    """One connection of a client, on which any number of requests are under way."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._socket = socket.create_connection(address, timeout=60)
        self._http2 = H2Connection()
        self._http2.initiate_connection()
        self._bodies: defaultdict[int, bytearray] = defaultdict(bytearray)
        self._statuses: dict[int, int] = {}
        self._ended: set[int] = set()
        self._flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def begin(self, *, content_type: str = FORM_TYPE, more: Iterable[tuple[str, str]] = ()) -> int:
        """Begin a request, and return its stream."""
        stream: int = self._http2.get_next_available_stream_id()
        said = [(":method", "POST"), (":path", "/"), (":scheme", "http"), (":authority", "app")]
        self._http2.send_headers(stream, [*said, ("content-type", content_type), *more])
        self._flush()
        return stream

    def send(self, stream: int, content: bytes, *, is_last: bool = False, frame: int = 4096) -> None:
        """Send more of a body, within what the server takes; nothing more once it has answered."""
        view = memoryview(content)
        while view and stream not in self._ended:
            room = min(frame, self._http2.local_flow_control_window(stream), self._http2.max_outbound_frame_size)
            if not room:
                self._read()
                continue
            self._http2.send_data(stream, bytes(view[:room]))
            view = view[room:]
            self._flush()
        if is_last and stream not in self._ended:
            self._http2.end_stream(stream)
            self._flush()

    def give_up(self, stream: int) -> None:
        self._http2.reset_stream(stream)
        self._flush()

    def answer(self, stream: int) -> tuple[int, bytes]:
        """Return the status and the body of what a request is answered with."""
        while stream not in self._ended:
            self._read()
        return self._statuses[stream], bytes(self._bodies[stream])

    def _read(self) -> None:
        data = self._socket.recv(65536)
        assert data, "the server closed the connection, with all that is under way on it"
        for event in self._http2.receive_data(data):
            if isinstance(event, ResponseReceived):
                self._statuses[event.stream_id] = int(dict(event.headers)[b":status"])
            elif isinstance(event, DataReceived):
                self._bodies[event.stream_id] += event.data
                self._http2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, (StreamEnded, StreamReset)):
                self._ended.add(event.stream_id)
            else:
                assert not isinstance(event, ConnectionTerminated), event
        self._flush()

    def _flush(self) -> None:
        self._socket.sendall(self._http2.data_to_send())


@pytest.fixture
def served(hook: Hook) -> Iterator[tuple[App, UploadHook, tuple[str, int]]]:
    app = App()
    wrapped = app.wrapped(hook)
    with serving_http2(wrapped) as address:
        yield app, wrapped, address


Served = tuple[App, UploadHook, tuple[str, int]]


def _is_free(hook: Hook, wrapped: UploadHook) -> bool:
    return hook.memory_bytes == 0 and wrapped.memory.taken == 0


@pytest.mark.parametrize("frame", [7, 1000, 16384])
def test_a_form_without_a_length_is_decided_over_part_by_part(served: Served, frame: int) -> None:
    app, _, address = served
    large = OTHER + bytes(20 * frame)
    with Connection(address) as connection:
        allowed = connection.begin()
        connection.send(allowed, form(File("a", "a", large), File("b", "b", OTHER)), is_last=True, frame=frame)
        status, body = connection.answer(allowed)
        given = json.loads(body)
        assert (status, given["decisions"], given["files"]) == (200, ["ALLOW"] * 2, [digest(large), digest(OTHER)])
        refused = connection.begin(more=[("hashhub-action", "ALLOW")])
        connection.send(refused, form(File("a", "a", OTHER), File("b", "b", LISTED)), is_last=True, frame=frame)
        assert connection.answer(refused)[0] == 451
        assert app.calls == 1
        bare = connection.begin(content_type="image/jpeg")
        connection.send(bare, LISTED, is_last=True, frame=frame)
        assert connection.answer(bare)[0] == 451
        empty = connection.begin(content_type="image/jpeg")
        connection.send(empty, b"", is_last=True)
        assert connection.answer(empty)[0] == 200


def test_uploads_mixed_on_one_connection_are_each_decided_over_alone(served: Served) -> None:
    app, wrapped, address = served
    contents = [LISTED if number % 3 == 0 else b"\x00one of them %d" % number for number in range(24)]
    bodies = [form(File("a", "a", content)) for content in contents]
    with Connection(address) as connection:
        streams = [connection.begin() for _ in bodies]
        for at in range(0, max(map(len, bodies)), 10):
            for stream, body in zip(streams, bodies, strict=True):
                if at < len(body):
                    connection.send(stream, body[at : at + 10], is_last=at + 10 >= len(body))
        for stream, content in zip(streams, contents, strict=True):
            status, body = connection.answer(stream)
            assert status == (451 if content == LISTED else 200)
            assert content == LISTED or json.loads(body)["files"] == [hashlib.sha256(content).hexdigest()]
    assert app.calls == sum(content != LISTED for content in contents)
    wait_until(lambda: _is_free(wrapped.process.get(), wrapped))


def test_who_pauses_in_one_request_holds_up_no_other_of_the_connection(served: Served) -> None:
    _, _, address = served
    body = form(File("a", "a", LISTED))
    with Connection(address) as connection:
        paused = connection.begin()
        connection.send(paused, body[:-20])
        quick = connection.begin()
        connection.send(quick, form(File("a", "a", OTHER)), is_last=True)
        assert connection.answer(quick)[0] == 200
        connection.send(paused, body[-20:], is_last=True)
        assert connection.answer(paused)[0] == 451


def test_an_upload_that_is_given_up_leaves_nothing_and_the_others_go_on(served: Served) -> None:
    app, wrapped, address = served
    large = form(File("a", "a", OTHER + bytes(50_000)))
    with Connection(address) as connection:
        given_up, other = connection.begin(), connection.begin()
        connection.send(other, large[:100])
        connection.send(given_up, large[:30_000])
        wait_until(lambda: wrapped.memory.taken > 20_000)
        connection.give_up(given_up)
        wait_until(lambda: wrapped.memory.taken <= 100)
        connection.send(other, large[100:], is_last=True)
        assert connection.answer(other)[0] == 200
    assert app.calls == 1
    wait_until(lambda: _is_free(wrapped.process.get(), wrapped))


def test_a_connection_that_ends_in_the_middle_leaves_nothing(served: Served) -> None:
    app, wrapped, address = served
    with Connection(address) as connection:
        for _ in range(3):
            connection.send(connection.begin(), form(File("a", "a", OTHER + bytes(9000)))[:5000])
        wait_until(lambda: wrapped.memory.taken >= 12_000)
    wait_until(lambda: _is_free(wrapped.process.get(), wrapped))
    assert app.calls == 0


def test_what_is_too_large_ends_no_other_request(hook: Hook) -> None:
    app = App()
    with (
        changed(hook, max_request_bytes=10_000),
        serving_http2(app.wrapped(hook)) as address,
        Connection(address) as connection,
    ):
        other = connection.begin()
        connection.send(other, form(File("a", "a", OTHER))[:50])
        said, unsaid = connection.begin(more=[("content-length", "20000")]), connection.begin()
        assert connection.answer(said)[0] == 413
        connection.send(unsaid, form(File("a", "a", bytes(20_000))))
        assert connection.answer(unsaid)[0] == 413
        connection.send(other, form(File("a", "a", OTHER))[50:], is_last=True)
        assert connection.answer(other)[0] == 200


def test_who_is_too_slow_can_go_on_with_another_request(hook: Hook) -> None:
    with (
        changed(hook, slow_seconds=0.2),
        serving_http2(App().wrapped(hook)) as address,
        Connection(address) as connection,
    ):
        slow = connection.begin()
        connection.send(slow, form(File("a", "a", OTHER))[:50])
        assert connection.answer(slow)[0] == 408
        after = connection.begin()
        connection.send(after, form(File("a", "a", OTHER)), is_last=True)
        assert connection.answer(after)[0] in {200, 408}  # on a machine that is slow itself
