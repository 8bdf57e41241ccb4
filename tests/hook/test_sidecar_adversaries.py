"""What a stranger, a slow network or a caller that goes away does to the sidecar, and to the others that ask it."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashhub.errors import Cancelled
from hashhub.hook import Decision
from hashhub.hook.forms import BodyRefused, FormReader, ReceivedFile
from hashhub.hook.settings import SidecarSettings
from hashhub.hook.sidecar import Sidecar

if TYPE_CHECKING:
    from hashhub.testing.hub_process import RunningSidecar
    from tests.hook.conftest import Listed, MakeHook, Start

IMPATIENT = "header_seconds = 0.4\nslow_seconds = 0.4\nmax_connections = 20"
HEAD = b"POST /check HTTP/1.1\r\nHost: 127.0.0.1\r\n"


@contextmanager
def connected(url: str) -> Iterator[socket.socket]:
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=120) as connection:
        yield connection


def rest(connection: socket.socket) -> bytes:
    """Read to the end, however the other side ends it."""
    answer = b""
    with suppress(ConnectionError):
        while piece := connection.recv(65536):
            answer += piece
    return answer


def trickle(connection: socket.socket, piece: bytes) -> None:
    """Send a piece again and again until the other side has had enough."""
    with suppress(ConnectionError):
        while True:
            connection.sendall(piece)
            time.sleep(0.05)


def memory_bytes(sidecar: RunningSidecar) -> int:
    """Of uploads, as the sidecar counts them."""
    text = httpx.get(f"{sidecar.url}/metrics", timeout=60).text
    return int(text.partition("\nhashhub_hook_upload_memory_bytes ")[2].partition("\n")[0])


def until(is_so: Callable[[], bool]) -> None:
    """Wait; the test's own limit ends it."""
    while not is_so():
        time.sleep(0.02)


@pytest.mark.parametrize("piece", [b"X: y\r\n", b"\r\n", b"G"], ids=["headers", "blank lines", "one word"])
def test_a_head_that_never_ends_is_cut_off(started: Start, piece: bytes) -> None:
    with connected(started(sidecar=IMPATIENT).url) as connection:
        if piece.startswith(b"X"):
            connection.sendall(HEAD)
        trickle(connection, piece)


def test_idle_connections_are_cut_off_before_and_between_requests(started: Start) -> None:
    url = started(sidecar=IMPATIENT).url
    with connected(url) as connection:
        assert rest(connection) == b""

    def is_answered() -> bool:
        with connected(url) as connection:
            with suppress(ConnectionError):  # it may be cut off before it has asked
                connection.sendall(b"GET /docs HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            return rest(connection).startswith(b"HTTP/1.1 200")

    until(is_answered)


def test_a_body_that_comes_slowly_is_cut_off_and_told_so(started: Start) -> None:
    url, answer = started(sidecar=IMPATIENT).url, b""
    while not answer:  # it may be cut off before its head has come
        with connected(url) as connection:
            with suppress(ConnectionError):
                connection.sendall(HEAD + b"Content-Length: 5000000\r\n\r\n")
            trickling = threading.Thread(target=trickle, args=(connection, b"x" * 10))
            trickling.start()
            answer = rest(connection)
            trickling.join()
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"SLOW_SENDER" in answer
    assert b'"action":"HOLD"' in answer


def test_a_thousand_connections_leave_room_for_an_app(started: Start, listed: Listed) -> None:
    sidecar = started(sidecar=IMPATIENT)
    with ExitStack() as stack:
        for _ in range(1000):
            connection = stack.enter_context(connected(sidecar.url))
            with suppress(ConnectionError):
                connection.sendall(HEAD)
            assert len(list(Path(f"/proc/{sidecar.pid}/fd").iterdir())) < 400  # 20, those accepted at once, its own

        def is_answered() -> bool:
            try:
                answer = httpx.post(f"{sidecar.url}/check", content=listed.known, timeout=60)
            except httpx.TransportError:
                return False
            return answer.status_code == 200 and answer.json()["action"] == "BLOCK"

        until(is_answered)


def test_a_head_that_is_too_long_is_refused(started: Start) -> None:
    with connected(started(sidecar=IMPATIENT).url) as connection:
        with suppress(ConnectionError):
            connection.sendall(HEAD + b"X-Bomb: " + b"x" * 1_000_000)
        assert rest(connection)[:12] in {b"HTTP/1.1 400", b""}
    with connected(started().url) as connection:
        connection.sendall(HEAD + b"".join(b"X-%d: 1\r\n" % n for n in range(900)) + b"Content-Length: 1\r\n\r\nx")
        assert connection.recv(12) == b"HTTP/1.1 200"


def test_requests_in_a_row_are_answered_in_their_order(started: Start, listed: Listed) -> None:
    contents = [listed.unknown, listed.known, b"a text", listed.known]
    requests = b"".join(HEAD + b"Content-Length: %d\r\n\r\n" % len(c) + c for c in contents)
    with connected(started().url) as connection:
        connection.sendall(requests + b"GET /docs HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        answer = rest(connection)
    actions = [json.loads(b"{" + part.partition(b"\r\n\r\n{")[2]) for part in answer.split(b"HTTP/1.1 200 OK")[1:-1]]
    assert [a["action"] for a in actions] == ["ALLOW", "BLOCK", "ALLOW", "BLOCK"]


def test_a_caller_that_does_not_read_is_cut_off(started: Start) -> None:
    with connected(started(sidecar=IMPATIENT).url) as connection:
        trickle(connection, b"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 1000)


def test_a_hundred_thousand_parts_end_at_the_limit(started: Start) -> None:
    part = b'--X\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n\r\n\r\n'
    sidecar = started()
    answer = httpx.post(
        f"{sidecar.url}/check",
        content=part * 100_000 + b"--X--\r\n",
        headers={"Content-Type": "multipart/form-data; boundary=X"},
        timeout=300,
    )
    assert (answer.status_code, answer.json()["error"]["reason"]) == (413, "TOO_LARGE")
    assert memory_bytes(sidecar) == 0


@pytest.mark.parametrize("kind", [b"image/jpeg", b"multipart/form-data; boundary=X"])
def test_an_upload_that_is_broken_off_leaves_nothing(started: Start, listed: Listed, kind: bytes) -> None:
    sidecar = started()
    part = b'--X\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n\r\n'
    with ExitStack() as stack:
        for _ in range(10):
            connection = stack.enter_context(connected(sidecar.url))
            connection.sendall(HEAD + b"Content-Type: " + kind + b"\r\nContent-Length: 1000000\r\n\r\n")
            connection.sendall(part + listed.known)
        until(lambda: memory_bytes(sidecar) > 9 * len(listed.known))
    until(lambda: memory_bytes(sidecar) == 0)
    assert "uploads_in_progress 0\n" in httpx.get(f"{sidecar.url}/metrics", timeout=60).text
    assert "Traceback" not in sidecar.log.read_text()


# A caller that goes while its upload is decided over


class Slow:
    """A hook whose decisions end when they are abandoned only."""

    memory_bytes = 0

    def __init__(self, settings: Any) -> None:
        self.settings = settings
        self.begun, self.ended, self.closed = threading.Event(), threading.Event(), threading.Event()
        self._abandoned = threading.Event()

    def receive(self, **_: str) -> Slow:
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.ended.is_set()  # no thread reads it any more
        self.closed.set()

    def write(self, piece: bytes) -> None:
        pass

    def decide(self) -> Decision:
        self.begun.set()
        self._abandoned.wait()
        self.ended.set()
        raise Cancelled("given up")

    def abandon(self) -> None:
        self._abandoned.set()


def test_a_caller_that_goes_ends_the_decision(make_settings: Callable[..., Any]) -> None:
    hook = Slow(make_settings())

    async def run() -> None:
        sidecar = Sidecar(hook)  # type: ignore[arg-type]
        came = False

        async def receive() -> dict[str, Any]:
            nonlocal came
            if not came:
                came = True
                return {"type": "http.request", "body": b"x", "more_body": False}
            await asyncio.to_thread(hook.begun.wait)
            return {"type": "http.disconnect"}

        async def send(_: Any) -> None:
            pass

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/check",
            "query_string": b"",
            "headers": [(b"host", b"127.0.0.1")],
        }
        await sidecar(scope, receive, send)

    asyncio.run(run())
    assert hook.closed.is_set()


class SlowForAll(Slow):
    """The same for several uploads, of which one is decided over."""

    def __exit__(self, *_: object) -> None:
        pass


def test_uploads_beyond_the_places_wait_and_are_then_told_to_come_back(make_settings: Callable[..., Any]) -> None:
    hook = SlowForAll(make_settings(sidecar=SidecarSettings(max_uploads=1, wait_seconds=0.2)))

    async def run() -> None:
        transport = httpx.ASGITransport(Sidecar(hook))  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            first = asyncio.create_task(client.post("/check", content=b"x"))
            await asyncio.to_thread(hook.begun.wait)
            for path in ("/check", "/pict-rs"):
                answer = await client.post(path, content=b"x")
                assert (answer.status_code, answer.json()["action"]) == (503, "HOLD")
                assert answer.headers["retry-after"] == "1"
            assert (await client.get("/metrics")).status_code == 200  # who watches is not behind uploads
            hook.abandon()
            assert (await first).status_code == 499
            assert "uploads_in_progress 0\n" in (await client.get("/metrics")).text

    asyncio.run(run())


def test_an_abandoned_upload_is_not_hashed(make_hook: MakeHook, listed: Listed) -> None:
    with make_hook().receive() as upload:
        upload.write(listed.known)
        upload.abandon()
        with pytest.raises(Cancelled):
            upload.decide()


# Forms


class Written:
    """An upload that only keeps what was written."""

    def __init__(self) -> None:
        self.content, self.is_closed = b"", False

    def write(self, piece: bytes) -> None:
        self.content += bytes(piece)

    def close(self) -> None:
        self.is_closed = True


def read_form(body: bytes, cuts: list[int], uploads: list[Written]) -> list[ReceivedFile]:
    def receive(_: int) -> Any:
        uploads.append(Written())
        return uploads[-1]

    form = FormReader("multipart/form-data; boundary=X", receive, max_files=8, max_fields=8, max_field_bytes=100)
    files: list[ReceivedFile] = []
    try:
        for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True):
            if end > start:
                form.write(body[start:end])
                files += form.take()
        form.end()
    finally:
        form.close()
    return files


@given(
    contents=st.lists(
        st.binary(max_size=40) | st.sampled_from([b"\r\n--", b"\r\n--Y", b"-X--", b"\r\n\r\n", b""]),
        min_size=1,
        max_size=4,
    ),
    data=st.data(),
)
def test_a_form_is_read_alike_however_it_is_cut(contents: list[bytes], data: st.DataObject) -> None:
    head = b'--X\r\nContent-Disposition: form-data; name="a"; filename="b"\r\n\r\n'
    body = b"".join(head + c + b"\r\n" for c in contents) + b"--X--\r\n"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=12)))
    uploads: list[Written] = []
    if any(b"--X" in c for c in contents):
        with pytest.raises(BodyRefused):  # it could be taken for the boundary
            read_form(body, cuts, uploads)
        return
    files = read_form(body, cuts, uploads)
    assert [u.content for u in uploads] == contents
    taken: list[Any] = [file.upload for file in files]
    assert taken == uploads
    with pytest.raises(BodyRefused):
        read_form(body + b"--X", cuts, [])
    with pytest.raises(BodyRefused):
        read_form(body[:-6], [c for c in cuts if c <= len(body) - 6], [])


@given(body=st.binary(max_size=300) | st.text('-X\r\n:;="ContentDispositionform-data ', max_size=300).map(str.encode))
def test_no_form_raises_anything_but_the_family_or_leaves_an_upload_open(body: bytes) -> None:
    uploads: list[Written] = []
    files: list[ReceivedFile] = []
    with suppress(BodyRefused):
        files = read_form(b"--X\r\n" + body, [], uploads)
    taken: list[Any] = [file.upload for file in files]
    assert all(u.is_closed or u in taken for u in uploads)
