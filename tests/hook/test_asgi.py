"""The ASGI middleware under uvicorn, around Starlette and FastAPI: what reaches the app, and what never does."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
import pytest
from fastapi import Depends, FastAPI, UploadFile
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient

from hashhub.desk.hub import HubAnswer
from hashhub.hook import Action, Decision, Hook, HookSettings
from hashhub.hook.asgi import UploadHook
from hashhub.hook.fastapi import checked
from hashhub.hook.forms import CheckedFile, ReceivedFile
from hashhub.hook.settings import OnHold
from hashhub.model import Query
from tests.hook.conftest import jpeg
from tests.hook.web import DOUBTED, FORM_TYPE, LISTED, OTHER, File, Known, ask, changed, form, hook_of, serving_asgi

if TYPE_CHECKING:
    from tests.hook.conftest import Listed, MakeHook


class App:
    """An app that counts its requests and says what it was given."""

    def __init__(self) -> None:
        self.calls = 0
        self.was_told_to_end = False

    async def echo(self, request: Request) -> JSONResponse:
        self.calls += 1
        told = request.scope.get("hashhub")
        given: dict[str, Any] = {
            "action": request.headers.getlist("hashhub-action"),
            "reference": request.headers.getlist("hashhub-reference"),
            "decisions": [] if told is None else [file.decision.action for file in told.files],
        }
        if request.headers.get("content-type", "").startswith("multipart/"):
            async with request.form() as values:
                given["files"] = [
                    hashlib.sha256(await value.read()).hexdigest()
                    for _, value in values.multi_items()
                    if not isinstance(value, str)
                ]
        else:
            given["body"] = hashlib.sha256(await request.body()).hexdigest()
        return JSONResponse(given)

    async def stream(self, _: Request) -> StreamingResponse:
        async def pieces() -> Any:
            for number in range(3):
                yield f"{number}".encode()

        return StreamingResponse(pieces())

    async def socket(self, websocket: Any) -> None:
        await websocket.accept()
        await websocket.send_text(await websocket.receive_text())
        await websocket.close()

    def wrapped(self, hook: Hook, **named: Any) -> UploadHook:
        methods = ["GET", "POST", "PUT", "DELETE"]
        app = Starlette(
            routes=[
                Route("/stream", self.stream, methods=methods),
                WebSocketRoute("/socket", self.socket),
                Route("/{path:path}", self.echo, methods=methods),
            ]
        )
        return UploadHook(app, hook=hook, **named)


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_each_file_is_decided_over_and_a_listed_one_never_reaches_the_app(hook: Hook) -> None:
    app = App()
    with serving_asgi(app.wrapped(hook)) as address:
        reply = ask(address, form(File("a", "a", OTHER), File("t", None, b"text", None), File("b", "b", b"\x00second")))
        given = json.loads(reply.body)
        assert (reply.status, given["action"], given["decisions"]) == (200, ["ALLOW"], ["ALLOW", "ALLOW"])
        assert given["files"] == [digest(OTHER), digest(b"\x00second")]
        for refused in (
            form(File("a", "a", OTHER), File("b", "b", LISTED)),
            form(File("a", None, LISTED, None)),
            form(File("a", "a", DOUBTED)),  # held: without a choice nothing is published unseen
        ):
            reply = ask(address, refused)
            assert (reply.status, app.calls) == (451, 1)
            error = json.loads(reply.body)["error"]
            assert set(error) == {"reason", "message", "reference"}
            assert all(word not in reply.body.lower() for word in (b"match", b"block", b"hold", b"review"))


def test_a_body_that_is_no_form_is_a_file_by_any_method(hook: Hook) -> None:
    app = App()
    with serving_asgi(app.wrapped(hook)) as address:
        for method in ("PUT", "POST", "GET", "DELETE"):
            assert ask(address, LISTED, method=method, headers=[("Content-Type", "text/plain")]).status == 451
        assert app.calls == 0
        for body, decisions in ((OTHER, ["ALLOW"]), (b'{"a": 1}', []), (b"", [])):
            reply = ask(address, body, method="PUT", headers=[])
            assert (reply.status, json.loads(reply.body)["body"]) == (200, digest(body))
            assert json.loads(reply.body)["decisions"] == decisions


@pytest.mark.parametrize("headers", [[], [(b"Content-Length", b"7")]])
def test_a_body_that_no_header_announces_is_decided_over(hook: Hook, headers: list[tuple[bytes, bytes]]) -> None:
    """Bridges of serverless platforms hand bodies over whole, with the headers that their gateway left or renamed."""
    app = App()
    middleware = app.wrapped(hook)

    def send(*messages: dict[str, Any]) -> int:
        statuses: list[int] = []
        coming = iter(messages)

        async def receive() -> Any:
            return next(coming, {"type": "http.disconnect"})

        async def tell(message: Any) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "POST",
            "path": "/",
            "query_string": b"",
            "root_path": "",
        }
        asyncio.run(middleware({**scope, "headers": headers}, receive, tell))
        return statuses[0]

    def piece(body: bytes, *, more_body: bool = False) -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": more_body}

    assert send(piece(LISTED)) == 451
    assert send(piece(b"", more_body=True), piece(LISTED)) == 451
    assert app.calls == 0
    assert send(piece(OTHER)) == send(piece(b"")) == send({"type": "http.request"}) == 200


def test_chunks_arrive_as_they_were(hook: Hook) -> None:
    body = form(File("a", "a", os.urandom(300_000)), File("b", "b", LISTED[:-1]))
    with serving_asgi(App().wrapped(hook)) as address:
        reply = ask(address, (body[at : at + 70_001] for at in range(0, len(body), 70_001)))
        assert json.loads(reply.body)["decisions"] == ["ALLOW", "ALLOW"]
        reply = ask(address, iter([body[:10], body[10:]]), headers=[("Content-Type", "text/x")])
        assert json.loads(reply.body)["body"] == digest(body)
        assert ask(address, iter([LISTED[:2], LISTED[2:]]), headers=[]).status == 451


def test_expect_continue_is_answered(hook: Hook) -> None:
    with serving_asgi(App().wrapped(hook)) as address, socket.create_connection(address, timeout=60) as connection:
        head = f"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {len(OTHER)}\r\n"
        connection.sendall(head.encode() + b"Expect: 100-continue\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")
        connection.sendall(OTHER)
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")


def test_a_sender_cannot_speak_as_the_hook(hook: Hook) -> None:
    headers = [("Hashhub-Action", "ALLOW"), ("hashhub_action", "ALLOW"), ("HASHHUB-REFERENCE", "1")]
    with serving_asgi(App().wrapped(hook, paths=["/up"])) as address:
        for path in ("/up", "/elsewhere"):
            given = json.loads(ask(address, b"", path=path, headers=headers).body)
            assert (given["action"], given["reference"]) == ([], [])
        given = json.loads(ask(address, OTHER, path="/UP//x", headers=headers).body)
        assert (given["action"], len(given["reference"])) == (["ALLOW"], 1)
        assert ask(address, LISTED, path="/up/", headers=headers).status == 451
        assert ask(address, LISTED, path="/elsewhere", headers=headers).status == 200  # not looked at, as was chosen


def test_what_can_be_read_in_two_ways_is_refused(hook: Hook, judge: Known) -> None:
    body = form(File("a", "a", LISTED))
    app = App()
    with serving_asgi(app.wrapped(hook)) as address:
        asked = len(judge.asked)
        for headers in (
            [("Content-Type", "text/plain"), ("Content-Type", FORM_TYPE)],
            [("Content-Type", FORM_TYPE), ("Content-Type", "multipart/form-data; boundary=other")],
            [("Content-Type", FORM_TYPE + "; boundary=other")],
            [("Content-Type", FORM_TYPE), ("Content-Encoding", "gzip")],
            [("Content-Type", "multipart/related; boundary=x")],
        ):
            assert ask(address, body, headers=headers).status in {400, 415}
        assert ask(address, body[:-20]).status == 400
        assert (app.calls, len(judge.asked)) == (0, asked)


@pytest.mark.parametrize("on_hold", [OnHold.KEEP, OnHold.APP])
def test_what_is_held_goes_where_the_settings_say(hook: Hook, on_hold: OnHold) -> None:
    app = App()
    with changed(hook, on_hold=on_hold, block_status=403), serving_asgi(app.wrapped(hook)) as address:
        reply = ask(address, form(File("a", "a", DOUBTED), File("b", "b", OTHER)))
        if on_hold is OnHold.APP:
            given = json.loads(reply.body)
            assert (reply.status, given["action"], given["decisions"]) == (200, ["HOLD"], ["HOLD", "ALLOW"])
        else:
            assert (reply.status, app.calls) == (202, 0)
        app.calls = 0
        assert (ask(address, form(File("a", "a", LISTED))).status, app.calls) == (403, 0)


@pytest.mark.parametrize("chosen", list(Action))
def test_without_the_hub_it_is_as_chosen(
    hook: Hook, judge: Known, monkeypatch: pytest.MonkeyPatch, chosen: Action
) -> None:
    monkeypatch.setattr(judge, "is_away", True)
    app = App()
    with changed(hook, without_answer=chosen), serving_asgi(app.wrapped(hook)) as address:
        assert ask(address, form(File("a", "a", OTHER))).status == (200 if chosen is Action.ALLOW else 451)
        assert app.calls == (chosen is Action.ALLOW)


def test_what_is_no_upload_passes_untouched(hook: Hook) -> None:
    middleware = App().wrapped(hook)
    with serving_asgi(middleware) as address:
        assert ask(address, b"", path="/stream", method="GET").body == b"012"
    with TestClient(middleware) as client, client.websocket_connect("/socket") as websocket:
        websocket.send_text("hello")
        assert websocket.receive_text() == "hello"


@pytest.mark.parametrize("kind", ["websocket", "webtransport", "something-new"])
@pytest.mark.parametrize("version", ["1.1", "2", "3"])
def test_what_comes_over_another_protocol_passes_untouched(hook: Hook, kind: str, version: str) -> None:
    """But for headers by which its sender would speak as the hook, which has not looked at it."""
    given: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        given.extend((scope, receive, send))

    async def receive() -> Any:
        raise AssertionError("nothing is taken from the app")

    async def send(_: Any) -> None:
        raise AssertionError("nothing is answered in its place")

    headers = [(b"host", b"a"), (b"content-type", FORM_TYPE.encode())]
    scope = {"type": kind, "http_version": version, "path": "/", "headers": headers, "extensions": {}}
    forged = [(b"hashhub-action", b"ALLOW"), (b"Hashhub_Reference", b"1")]
    asyncio.run(UploadHook(app, hook=hook)({**scope, "headers": [*headers, *forged]}, receive, send))
    assert given == [scope, receive, send]
    given.clear()
    without = {"type": kind}  # no protocol but HTTP's must have headers
    asyncio.run(UploadHook(app, hook=hook)(without, receive, send))
    assert given == [without, receive, send]


@pytest.mark.parametrize("version", ["2", "2.0", "3"])
def test_an_upload_over_a_later_http_is_looked_at(hook: Hook, version: str) -> None:
    """It need not say in its headers that it has a body."""
    app = App()
    middleware = app.wrapped(hook)

    def status(*pieces: bytes) -> int:
        statuses: list[int] = []
        coming = [{"type": "http.request", "body": body, "more_body": True} for body in pieces]

        async def receive() -> Any:
            return coming.pop(0) if coming else {"type": "http.request", "body": b"", "more_body": False}

        async def tell(message: Any) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        scope = {
            "type": "http",
            "http_version": version,
            "method": "POST",
            "path": "/",
            "query_string": b"",
            "headers": [],
        }
        asyncio.run(middleware(scope, receive, tell))
        return statuses[0]

    assert status(LISTED[:1], LISTED[1:]) == 451
    assert app.calls == 0
    assert status(OTHER) == status() == 200
    assert app.calls == 2


def test_startup_and_shutdown_reach_the_app(hook: Hook) -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "lifespan"
        for _ in range(2):
            message = await receive()
            seen.append(message["type"])
            await send({"type": f"{message['type']}.complete"})

    with serving_asgi(UploadHook(app, hook=hook)):
        pass
    assert seen == ["lifespan.startup", "lifespan.shutdown"]


def test_where_an_app_has_no_lifespan_its_uploads_are_decided_over(make_settings: Callable[..., HookSettings]) -> None:
    """Django's has none: it raises, and the server goes on."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise ValueError("only HTTP")
        await PlainTextResponse(scope["hashhub"].severest.action)(scope, receive, send)

    wrapped = UploadHook(app, settings=make_settings())
    try:
        with serving_asgi(wrapped, lifespan="auto") as address:
            reply = ask(address, jpeg(61), headers=[("Content-Type", "image/jpeg")])
            assert (reply.status, reply.body) == (200, b"ALLOW")
    finally:
        wrapped.process.close()


def test_a_sender_that_goes_away_leaves_nothing(hook: Hook) -> None:
    app = App()
    middleware = app.wrapped(hook)
    body = form(File("a", "a", OTHER * 50_000))
    with serving_asgi(middleware) as address:
        before = _memory_files()
        for _ in range(10):
            with socket.create_connection(address, timeout=60) as connection:
                head = f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\nContent-Type: {FORM_TYPE}\r\n\r\n"
                connection.sendall(head.encode() + body[:-1000])
                while not middleware.memory.taken:
                    pass
        while middleware.memory.taken or _memory_files() != before:  # the test's own time limit ends it
            pass
        assert app.calls == 0


def test_a_request_that_is_cancelled_while_it_waits_for_its_turn_leaves_nothing() -> None:
    """As servers do, other than uvicorn, when a sender goes away."""
    is_asked, go_on = threading.Event(), threading.Event()

    class Waiting(Known):
        def judge(self, query: Query) -> HubAnswer:
            is_asked.set()
            assert go_on.wait(180)
            return super().judge(query)

    async def run(hook: Hook) -> None:
        wrapped = App().wrapped(hook)
        body = form(File("a", "a", OTHER), File("b", "b", OTHER))  # the second is not decided over at all
        waiting = [asyncio.create_task(one_request(wrapped, body)) for _ in range(3)]
        await asyncio.to_thread(is_asked.wait, 180)
        for _ in range(6000):  # the others are in wait
            if hook.memory_bytes == 6 * len(OTHER):
                break
            await asyncio.sleep(0.01)
        assert hook.memory_bytes == 6 * len(OTHER)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        go_on.set()
        for _ in range(3000):
            if hook.memory_bytes == 0:
                break
            await asyncio.sleep(0.01)
        assert hook.memory_bytes == 0

    settings = msgspec.structs.replace(hook_of(Waiting()).settings, max_waiting=1)
    with Hook(settings, judge=Waiting()) as hook:
        asyncio.run(run(hook))


def test_a_request_does_not_wait_for_a_decision_that_was_given_up() -> None:
    """Who cancels requests again and again must not keep others waiting."""
    is_asked, go_on = threading.Event(), threading.Event()

    class Waiting(Known):
        def judge(self, query: Query) -> HubAnswer:
            if not is_asked.is_set():
                is_asked.set()
                assert go_on.wait(180)
            return super().judge(query)

    async def run(wrapped: UploadHook) -> None:
        given_up = asyncio.create_task(one_request(wrapped, form(File("a", "a", OTHER))))
        await asyncio.to_thread(is_asked.wait, 180)
        given_up.cancel()
        await asyncio.gather(given_up, return_exceptions=True)
        try:
            answers = await asyncio.wait_for(one_request(wrapped, form(File("a", "a", b"another"))), 30)
        finally:
            go_on.set()
        assert answers[0]["status"] == 200

    with Hook(hook_of(Waiting()).settings, judge=Waiting()) as hook:
        asyncio.run(run(App().wrapped(hook)))


def test_where_the_system_had_no_thread_the_next_request_gets_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def run(wrapped: UploadHook) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", none_left)
            with pytest.raises(RuntimeError, match="new thread"):
                await one_request(wrapped, form(File("a", "a", OTHER)))
        answers = await asyncio.wait_for(one_request(wrapped, form(File("a", "a", OTHER))), 30)
        assert answers[0]["status"] == 200

    with hook_of(Known()) as hook:
        asyncio.run(run(App().wrapped(hook)))
        assert hook.memory_bytes == 0


async def one_request(app: Any, body: bytes) -> list[Any]:
    """Send one request to an app without a server, and return what it answers."""
    answers: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        answers.append(message)

    headers = [(b"content-type", FORM_TYPE.encode()), (b"content-length", str(len(body)).encode())]
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "path": "/",
        "query_string": b"",
        "headers": headers,
    }
    await app(scope, receive, send)
    return answers


def test_a_slow_sender_is_answered(hook: Hook) -> None:
    app = App()
    with changed(hook, slow_seconds=0.2), serving_asgi(app.wrapped(hook)) as address:
        with socket.create_connection(address, timeout=60) as connection:
            connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nabc")
            assert connection.recv(1000).startswith(b"HTTP/1.1 408 ")
        assert app.calls == 0


def test_a_sender_has_time_while_a_file_is_decided_over_and_none_for_ever_behind_it(
    hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    decide = ReceivedFile.adecide

    async def decide_late(ended: ReceivedFile) -> CheckedFile:
        await asyncio.sleep(2.5)  # some windows
        return await decide(ended)

    monkeypatch.setattr(ReceivedFile, "adecide", decide_late)
    app = App()
    body = form(File("a", "a.jpg", b"\x00a"), File("b", "b.jpg", b"\x00b"))
    first = body.index(b"\x00b")
    head = f"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: {FORM_TYPE}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with changed(hook, slow_seconds=1.0), serving_asgi(app.wrapped(hook)) as address:
        with socket.create_connection(address, timeout=60) as connection:
            begun = time.monotonic()
            connection.sendall(head + body[:first])
            assert connection.recv(1000).startswith(b"HTTP/1.1 408 ")
            assert time.monotonic() - begun > 3.4
        assert app.calls == 0
        assert ask(address, body).status == 200


async def answer_to_late(wrapped: UploadHook, receive: Callable[[], Any]) -> list[Any]:
    """Return what a sender is answered of whom `receive` waits for the body."""
    answers: list[Any] = []

    async def send(message: Any) -> None:
        answers.append(message)

    scope = {"type": "http", "http_version": "1.1", "path": "/", "headers": [(b"content-length", b"1000")]}
    await wrapped(scope, receive, send)
    return answers


async def never() -> Any:
    await asyncio.Event().wait()


def test_of_a_slow_sender_nothing_is_left_in_the_task_that_waited(hook: Hook) -> None:
    async def first_a_piece_then_never() -> Any:
        if pieces:
            return {"type": "http.request", "body": pieces.pop(), "more_body": True}
        return await never()

    async def answers_all_the_same() -> Any:
        with suppress(asyncio.CancelledError):
            await never()
        return {"type": "http.request", "body": b"abc", "more_body": False}

    async def fails() -> Any:
        try:
            await never()
        except asyncio.CancelledError:
            raise ConnectionError from None

    async def run(wrapped: UploadHook) -> None:
        task = asyncio.current_task()
        assert task is not None
        for receive in (never, first_a_piece_then_never, answers_all_the_same):
            answers = await answer_to_late(wrapped, receive)
            assert (answers[0]["status"], task.cancelling()) == (408, 0)
        with pytest.raises(ConnectionError):
            await answer_to_late(wrapped, fails)
        assert task.cancelling() == 0

    pieces = [b"\x00", b"\x00"]
    app = App()
    with changed(hook, slow_seconds=0.05):
        asyncio.run(run(app.wrapped(hook)))
    assert app.calls == 0


def test_who_is_cancelled_by_somebody_else_as_well_is_cancelled(hook: Hook) -> None:
    async def run(wrapped: UploadHook) -> None:
        async def cancelled_twice() -> Any:
            try:
                await never()
            except asyncio.CancelledError:
                waiting.cancel()  # by a server that stops
                raise

        waiting = asyncio.create_task(answer_to_late(wrapped, cancelled_twice))
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert waiting.cancelling() == 1

    with changed(hook, slow_seconds=0.05):
        asyncio.run(run(App().wrapped(hook)))


def test_twenty_at_once_each_get_their_own_answer(hook: Hook) -> None:
    app = App()
    with serving_asgi(app.wrapped(hook)) as address, ThreadPoolExecutor(20) as pool:
        contents = [LISTED if number % 4 == 0 else b"\x00%d" % number for number in range(20)]
        replies = list(pool.map(lambda content: ask(address, form(File("a", "a", content))), contents))
        for content, reply in zip(contents, replies, strict=True):
            assert reply.status == (451 if content == LISTED else 200)
            if reply.status == 200:
                assert json.loads(reply.body)["files"] == [digest(content)]
        assert app.calls == 15


def test_two_hundred_megabytes_pass_in_bounded_memory() -> None:
    taken: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        size, is_more = 0, True
        taken.append(middleware.memory.taken)
        while is_more:
            message = await receive()
            assert len(message["body"]) <= 65536
            size += len(message["body"])
            is_more = message["more_body"]
        taken.append(middleware.memory.taken)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(size).encode()})

    size = 200 << 20
    piece = bytes(1 << 20)
    with hook_of(Known(), without_answer=Action.ALLOW, max_bytes=8 << 20) as hook:
        middleware = UploadHook(app, hook=hook)
        with serving_asgi(middleware, lifespan="off") as address:
            reply = ask(address, (piece for _ in range(200)), headers=[("Content-Type", "image/jpeg")])
            assert int(reply.body) == size
            assert taken == [size, 0]  # of the body only, and none once the app has read it
            # What would exceed a limit is refused at once, by its Content-Length or when it comes.
            assert ask(address, b"", headers=[("Content-Length", str(1 << 40))]).status == 400  # two lengths
            reply = ask(address, (piece for _ in range(257)), headers=[("Content-Type", "image/jpeg")])
            assert (reply.status, middleware.memory.taken) == (413, 0)


def test_all_bodies_together_are_bounded(hook: Hook) -> None:
    app = App()
    with changed(hook, max_total_bytes=1000):
        middleware = app.wrapped(hook)
        with serving_asgi(middleware) as address:
            with socket.create_connection(address, timeout=60) as hoarding:
                hoarding.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n" + bytes(900))
                while middleware.memory.taken < 900:
                    pass
                reply = ask(address, bytes(200), headers=[])
                assert (reply.status, reply.headers["retry-after"]) == (503, "10")
            while middleware.memory.taken:
                pass
            assert ask(address, bytes(200), headers=[]).status == 200


# FastAPI


def fast_app(hook: Hook | None) -> FastAPI:
    app = FastAPI()

    decided = Depends(checked("picture", hook=hook))  # a hook of this function cannot be named in an annotation

    @app.post("/pictures")
    async def add(picture: UploadFile, decision: Decision = decided) -> Any:
        return {"action": decision.action, "size": len(await picture.read())}

    return app


@pytest.mark.parametrize("has_middleware", [False, True])
def test_a_fastapi_dependency_hands_the_decision_on(hook: Hook, has_middleware: bool) -> None:
    app: Any = fast_app(None if has_middleware else hook)
    if has_middleware:
        app.add_middleware(UploadHook, hook=hook)
    with serving_asgi(app) as (host, port):
        url = f"http://{host}:{port}/pictures"
        assert httpx.post(url, files={"picture": OTHER}, timeout=60).json() == {"action": "ALLOW", "size": len(OTHER)}
        for refused in (LISTED, DOUBTED):
            reply = httpx.post(url, files={"picture": refused}, timeout=60)
            assert reply.status_code == 451
            assert "reference" in reply.text
        assert httpx.post(url, files={"other": OTHER}, timeout=60).status_code == 422
        several = [("picture", OTHER), ("picture", LISTED)]
        assert httpx.post(url, files=several, timeout=60).status_code == 451


def test_a_fastapi_dependency_that_nothing_has_checked_fails(hook: Hook) -> None:
    app: Any = fast_app(None)
    with serving_asgi(app) as (host, port):
        assert httpx.post(f"http://{host}:{port}/pictures", files={"picture": OTHER}, timeout=60).status_code == 500
    app = fast_app(None)
    app.add_middleware(UploadHook, hook=hook, fields={"other"})
    with serving_asgi(app) as (host, port):
        assert httpx.post(f"http://{host}:{port}/pictures", files={"picture": OTHER}, timeout=60).status_code == 500


def test_with_a_real_hub(make_hook: MakeHook, listed: Listed) -> None:
    app = App()
    with serving_asgi(app.wrapped(make_hook())) as address:
        assert ask(address, form(File("a", "a.jpg", listed.known))).status == 451
        assert ask(address, form(File("a", "a.jpg", listed.unknown))).status == 200
        assert app.calls == 1


def _memory_files() -> int:
    count = 0
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # closed meanwhile
            count += str(link.readlink()).startswith(("/memfd:body", "/memfd:upload"))
    return count


def test_a_path_is_looked_at_however_the_app_is_mounted(hook: Hook) -> None:
    from starlette.applications import Starlette
    from starlette.routing import Mount

    app = App()
    mounted = Starlette(routes=[Mount("/site", app.wrapped(hook, paths=["/up"]))])
    with serving_asgi(mounted) as address:
        assert ask(address, LISTED, path="/site/up", headers=[]).status == 451
        assert ask(address, LISTED, path="/site/elsewhere", headers=[]).status == 200
    named = Starlette(routes=[Mount("/site", app.wrapped(hook, paths=["/site/up"]))])
    with serving_asgi(named) as address:
        assert ask(address, LISTED, path="/site/up", headers=[]).status == 451
