"""What a newer granian must keep before it can be taken: everything that hashhub/server/hyper.py relies on."""

from __future__ import annotations

import contextlib
import gc
import http.client
import os
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from hashhub.server import hyper
from hashhub.server.hyper import BrokenBody, CancelledBody, HTTPServer, Request

POST = b"POST /a%20b?c=%20d HTTP/1.1\r\nhost: here\r\nx-a: 1\r\nX-A: 2\r\n"
CHUNKED = POST + b"transfer-encoding: chunked\r\n\r\n"
HEADER_SECONDS = 2.0  # more than a busy machine takes between a connection and its first bytes

Handle = Callable[[Request], None]


class Served:
    """One server, whose requests go to `handle`."""

    def __init__(self) -> None:
        self.handle: Handle = lambda request: request.answer(200, (), b"")
        bound = socket.create_server(("127.0.0.1", 0))
        self.address = bound.getsockname()
        self.server = HTTPServer(bound, self._called, threads=1, connections=8, header_seconds=HEADER_SECONDS)

    def _called(self, request: Request) -> None:
        self.handle(request)

    @contextlib.contextmanager
    def connect(self) -> Iterator[socket.socket]:
        with socket.create_connection(self.address, timeout=60) as connection:
            yield connection

    def ask(self, sent: bytes, *, end: bool = False) -> bytes:
        """Send bytes over a connection of their own, and nothing more if `end`; return all that comes."""
        with self.connect() as connection:
            connection.sendall(sent)
            if end:
                connection.shutdown(socket.SHUT_WR)
            came = b""
            while got := connection.recv(65_536):
                came += got
            return came


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setattr(hyper, "_STALL_SECONDS", 1)
    served = Served()
    yield served
    served.server.close(5)


class Reader:
    """Reads bodies in one step or in pieces, keeps them or the name of what went wrong with each, and answers."""

    def __init__(self, *, pieces: bool = False) -> None:
        self.bodies: list[bytes | str] = []
        self.began = threading.Event()
        self._pieces = pieces
        self._ended = threading.Semaphore(0)

    def __call__(self, request: Request) -> None:
        received: list[bytes] = []
        self.began.set()

        def whole(result: Callable[[], bytes]) -> None:
            try:
                self._end(request, result())
            except (BrokenBody, CancelledBody) as e:
                self._end(request, type(e).__name__)

        def piece(result: Callable[[], bytes]) -> None:
            received.append(result())
            if not request.chunk(piece if received[-1] else cut):
                self._end(request, b"".join(received))

        def cut(_: Callable[[], bytes]) -> None:
            self._end(request, "cut")

        if self._pieces:
            request.chunk(piece)
        else:
            request.collect(whole)

    def wait(self) -> bytes | str:
        """Return the next body."""
        assert self._ended.acquire(timeout=180)
        return self.bodies.pop(0)

    def _end(self, request: Request, body: bytes | str) -> None:
        self.bodies.append(body)
        self._ended.release()
        request.is_read = True
        request.answer(200, (), body if isinstance(body, bytes) else body.encode())


def test_a_request_says_what_was_sent(served: Served) -> None:
    said: list[Any] = []

    def handle(request: Request) -> None:
        said.extend((request.verb, request.path, request.query, request.describe(), request.length))
        said.extend((request.header("x-a", ""), request.header("x-b", "none"), request.is_read))
        request.answer(299, (("x-c", "3"), ("server", "ours")), b"body")

    served.handle = handle
    answer = served.ask(POST + b"content-length: 0\r\nconnection: close\r\n\r\n")
    assert said == ["POST", "/a b", "c=%20d", "http:127.0.0.1", 0, "1", "none", True]
    head, _, body = answer.partition(b"\r\n\r\n")
    assert body == b"body"
    assert head.startswith(b"HTTP/1.1 299")
    assert {b"x-c: 3", b"server: ours", b"content-length: 4"} <= set(head.split(b"\r\n"))


@pytest.mark.parametrize(("length", "body"), [(5, b"hello"), (9, "BrokenBody")], ids=["whole", "cut"])
def test_a_body_of_known_length_is_whole_or_broken(served: Served, length: int, body: bytes | str) -> None:
    served.handle = reader = Reader()
    with served.connect() as connection:
        connection.sendall(POST + f"content-length: {length}\r\n\r\nhello".encode())
        if isinstance(body, str):
            assert reader.began.wait(180)
            connection.shutdown(socket.SHUT_WR)
        assert reader.wait() == body


@pytest.mark.parametrize(
    ("sent", "body"),
    [
        (b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", b"hello world"),
        (b"5\r\nhello\r\n6\r\n wor", "cut"),
        (b"5\r\nhello\r\n", "cut"),
        (b"5\r\nhello\r\nnonsense\r\n", "cut"),
        (b"0\r\n\r\n", b""),
    ],
    ids=["whole", "in a chunk", "between chunks", "nonsense", "empty"],
)
def test_a_body_in_chunks_that_was_cut_off_is_told_from_a_whole_one(
    served: Served, sent: bytes, body: bytes | str
) -> None:
    served.handle = reader = Reader(pieces=True)
    with served.connect() as connection:
        connection.sendall(CHUNKED + sent)
        if isinstance(body, str):
            assert reader.began.wait(180)
            connection.shutdown(socket.SHUT_WR)
        assert reader.wait() == body


def test_a_length_beside_chunks_counts_for_nothing(served: Served) -> None:
    lengths: list[int | None] = []
    reader = Reader(pieces=True)

    def handle(request: Request) -> None:
        lengths.append(request.length)
        reader(request)

    served.handle = handle
    answer = served.ask(POST + b"content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
    assert (lengths == [None] and reader.bodies == [b"hello"]) or answer.startswith(b"HTTP/1.1 400")
    # What a proxy that counts the length takes for the next request is not read as one.
    assert b"connection: close" in answer.lower()


def test_a_cancelled_body_calls_back(served: Served) -> None:
    reader = Reader()

    def handle(request: Request) -> None:
        reader(request)
        threading.Timer(0.2, request.cancel).start()

    served.handle = handle
    assert served.ask(POST + b"content-length: 5\r\nconnection: close\r\n\r\nhe").endswith(b"CancelledBody")


def test_an_answer_before_the_body_closes_the_connection(served: Served) -> None:
    answer = served.ask(POST + b"content-length: 5\r\n\r\n")  # returns when the connection is closed
    assert b"connection: close" in answer


def test_kept_connections_serve_one_request_after_another(served: Served) -> None:
    served.handle = Reader()
    connection = http.client.HTTPConnection(served.address[0], served.address[1], timeout=60)
    with contextlib.closing(connection):
        for i in range(5):
            connection.request("POST", "/", f"body {i}".encode())
            assert connection.getresponse().read() == f"body {i}".encode()


@pytest.mark.parametrize("sent", [b"", b"GET / HT", POST], ids=["silent", "line", "headers"])
def test_a_header_that_does_not_come_ends_the_connection(served: Served, sent: bytes) -> None:
    begin = time.monotonic()
    assert served.ask(sent) == b""
    assert time.monotonic() - begin >= HEADER_SECONDS * 0.9


def test_a_kept_connection_that_says_nothing_more_ends(served: Served) -> None:
    assert served.ask(b"GET / HTTP/1.1\r\nhost: here\r\n\r\n").startswith(b"HTTP/1.1 200")  # returns when closed


def test_a_long_header_is_refused(served: Served) -> None:
    assert served.ask(POST + b"x: " + b"y" * 200_000 + b"\r\n\r\n").startswith(b"HTTP/1.1 431")


def _is_closed(connection: socket.socket) -> bool:
    """Whether the server has ended it."""
    connection.setblocking(False)
    try:
        return connection.recv(100) == b""
    except BlockingIOError:
        return False


def test_further_connections_wait(served: Served) -> None:
    with contextlib.ExitStack() as stack:
        others = [stack.enter_context(served.connect()) for _ in range(8)]
        for connection in others:
            connection.sendall(b"GET / HTTP/1.1\r\nhost: here\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 200")
        ninth = stack.enter_context(served.connect())
        ninth.sendall(b"GET / HTTP/1.1\r\nhost: here\r\n\r\n")
        assert ninth.recv(100).startswith(b"HTTP/1.1 200")
        assert any(_is_closed(connection) for connection in others)  # that was quiet for too long


def test_a_sender_that_goes_is_noticed(served: Served) -> None:
    watched: list[Callable[[], bool]] = []
    entered = threading.Event()
    held: list[Request] = []

    def handle(request: Request) -> None:
        watched.append(request.watch())
        held.append(request)
        entered.set()

    served.handle = handle
    with served.connect() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nhost: here\r\n\r\n")
        assert entered.wait(180)
        assert watched[0]()
    until = time.monotonic() + 180
    while watched[0]() and time.monotonic() < until:
        time.sleep(0.02)
    assert not watched[0]()
    held[0].answer(200, (), b"nobody reads this")


def test_a_receiver_that_takes_nothing_is_cut_off(served: Served) -> None:
    served.handle = lambda request: request.answer(200, (), bytes(32 << 20))
    with served.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(b"GET / HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n")
        ours, until = connection.getsockname()[:2], time.monotonic() + 180
        while any(c.raddr == ours for c in psutil.net_connections("tcp4")):  # the server's end of it
            assert time.monotonic() < until
            time.sleep(0.1)  # the kernel probes a closed window at growing intervals
        received = 0
        with contextlib.suppress(ConnectionError):
            while got := connection.recv(1 << 20):
                received += len(got)
    assert received < 32 << 20


def test_an_error_of_ours_is_an_answer_and_not_the_end(served: Served) -> None:
    def fail(_: Request) -> None:
        raise RuntimeError("secret")

    def fail_later(request: Request) -> None:
        request.collect(lambda _: fail(request))

    for handle in (fail, fail_later):
        served.handle = handle
        answer = served.ask(POST + b"content-length: 1\r\nconnection: close\r\n\r\nx")
        assert answer.startswith(b"HTTP/1.1 500")
        assert b"secret" not in answer
    served.handle = Reader()
    assert served.ask(POST + b"content-length: 1\r\nconnection: close\r\n\r\nx").endswith(b"x")


def test_a_second_answer_is_ignored(served: Served) -> None:
    def handle(request: Request) -> None:
        request.answer(200, (), b"first")
        request.answer(200, (), b"second")

    served.handle = handle
    assert served.ask(b"GET / HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n").endswith(b"\r\n\r\nfirst")


class Mark:
    """Something that a request's callbacks refer to."""


def test_nothing_of_a_request_stays(served: Served) -> None:
    marks: list[weakref.ref[Mark]] = []

    def handle(request: Request) -> None:
        mark = Mark()
        marks.append(weakref.ref(mark))
        request.watch()

        def then(result: Callable[[], bytes]) -> None:
            assert isinstance(mark, Mark)
            request.is_read = True
            with contextlib.suppress(BrokenBody, CancelledBody):
                result()
            request.answer(200, (), b"")

        request.collect(then)
        if len(marks) % 3 == 0:
            request.cancel()

    served.handle = handle
    for _ in range(30):
        served.ask(POST + b"content-length: 5\r\nconnection: close\r\n\r\nhello")
    until = time.monotonic() + 180
    while any(mark() is not None for mark in marks) and time.monotonic() < until:
        gc.collect()
        time.sleep(0.05)
    assert len(marks) == 30
    assert not [mark for mark in marks if mark() is not None]


@pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="Linux alone has such turns")
def _threads_of_rust() -> set[int]:
    named = {int(path.name): path / "comm" for path in Path("/proc/self/task").iterdir()}
    return {thread for thread, name in named.items() if name.exists() and "tokio" in name.read_text("ascii")}


def test_rusts_thread_interrupts_nobody_when_it_wakes() -> None:
    of_others = _threads_of_rust()  # servers of earlier tests, some of which have threads that were begun by a call
    served = Served()
    on_threads = []

    def note(request: Request) -> None:
        on_threads.append(os.sched_getscheduler(threading.get_native_id()))
        request.answer(200, (), b"")

    served.handle = note
    served.ask(POST + b"connection: close\r\n\r\n")
    assert on_threads == [os.SCHED_OTHER]  # nor does anything that a call starts wait for others
    threads = _threads_of_rust() - of_others
    assert threads
    assert {os.sched_getscheduler(thread) for thread in threads} == {os.SCHED_BATCH}
    assert os.sched_getscheduler(0) == os.SCHED_OTHER  # whoever opens the door is as before
    served.server.close(5)


def test_closing_frees_the_port_and_waits_for_answers(served: Served) -> None:
    entered, release = threading.Event(), threading.Event()

    def handle(request: Request) -> None:
        entered.set()
        threading.Thread(target=answer, args=(request,)).start()

    def answer(request: Request) -> None:
        assert release.wait(180)
        request.answer(200, (), b"late")

    served.handle = handle
    answers: list[bytes] = []
    asking = threading.Thread(target=lambda: answers.append(served.ask(b"GET / HTTP/1.1\r\nhost: here\r\n\r\n")))
    with served.connect():  # a quiet connection does not hold it up
        asking.start()
        assert entered.wait(180)
        closing = threading.Thread(target=served.server.close, args=(20,))
        closing.start()
        closing.join(0.2)
        assert closing.is_alive()
        release.set()
        closing.join(60)
    asking.join(60)
    assert answers[0].endswith(b"late")
    with pytest.raises(ConnectionError), served.connect():
        pass
    served.server.close(1)
