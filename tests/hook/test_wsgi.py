"""The WSGI middleware around Flask and a plain app, under Werkzeug's server (which takes chunked bodies) and Python's
own.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import socket
import threading
import time
import wsgiref.simple_server
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import flask
import pytest
import werkzeug.test

from hashhub.hook import Action, Hook
from hashhub.hook.forms import CheckedFile, ReceivedFile
from hashhub.hook.settings import OnHold
from hashhub.hook.wsgi import WSGIUploadHook
from tests.hook.web import DOUBTED, FORM_TYPE, LISTED, OTHER, File, Known, ask, changed, form, hook_of, serving_wsgi


class Echo:
    """A Flask app that says what it was given."""

    def __init__(self) -> None:
        self.calls = 0
        self.app = flask.Flask("echo")
        self.app.add_url_rule("/<path:path>", view_func=self.echo, methods=["GET", "POST", "PUT"])
        self.app.add_url_rule("/", view_func=self.echo, methods=["GET", "POST", "PUT"], defaults={"path": ""})

    def echo(self, path: str) -> Any:
        self.calls += 1
        request = flask.request
        told = request.environ.get("hashhub")
        files = [hashlib.sha256(file.read()).hexdigest() for file in request.files.values()]
        return {
            "action": request.headers.get("hashhub-action", ""),
            "decisions": [] if told is None else [file.decision.action for file in told.files],
            "files": files,
            "body": hashlib.sha256(request.get_data()).hexdigest(),
        }

    def wrapped(self, hook: Hook, **named: Any) -> WSGIUploadHook:
        return WSGIUploadHook(self.app.wsgi_app, hook=hook, **named)


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_flask_gets_what_is_allowed_and_nothing_else(hook: Hook) -> None:
    echo = Echo()
    with serving_wsgi(echo.wrapped(hook)) as address:
        reply = ask(address, form(File("a", "a", OTHER), File("t", None, b"text", None)))
        given = json.loads(reply.body)
        assert (given["action"], given["decisions"], given["files"]) == ("ALLOW", ["ALLOW"], [digest(OTHER)])
        for refused in (LISTED, DOUBTED):
            reply = ask(address, form(File("b", "b", OTHER), File("a", "a", refused)))
            assert (reply.status, set(json.loads(reply.body)["error"])) == (451, {"reason", "message", "reference"})
        assert ask(address, LISTED, method="PUT", headers=[("Content-Type", "application/json")]).status == 451
        assert echo.calls == 1
        for body in (b"", b'{"a": 1}', OTHER):
            assert json.loads(ask(address, body, method="PUT", headers=[]).body)["body"] == digest(body)


def test_chunks_arrive_as_they_were(hook: Hook) -> None:
    content = os.urandom(300_000)
    body = form(File("a", "a", content))
    with serving_wsgi(Echo().wrapped(hook)) as address:
        reply = ask(address, (body[at : at + 70_001] for at in range(0, len(body), 70_001)))
        assert json.loads(reply.body)["files"] == [digest(content)]
        assert ask(address, iter([LISTED[:2], LISTED[2:]]), headers=[]).status == 451


def test_what_a_sender_says_of_the_length_hides_nothing_that_the_app_reads(hook: Hook) -> None:
    echo = Echo()
    with serving_wsgi(echo.wrapped(hook)) as address:
        for length in ("0", "2"):  # beside chunks, by which the server goes
            for headers in ([], [("Content-Type", FORM_TYPE)]):
                body = LISTED if not headers else form(File("a", "a", LISTED))
                reply = ask(address, iter([body]), headers=[*headers, ("Content-Length", length)])
                assert reply.status == 451, (length, headers)
    assert echo.calls == 0


def test_a_body_without_a_length_is_read_to_its_end_where_the_server_ends_it(hook: Hook) -> None:
    echo = Echo()
    middleware = echo.wrapped(hook)

    def send(body: bytes, **more: Any) -> tuple[int, Any]:
        environ = werkzeug.test.create_environ(method="POST")
        environ.pop("CONTENT_LENGTH", None)  # HTTP/2 needs none, and has no chunks either
        environ |= {"CONTENT_TYPE": FORM_TYPE, "wsgi.input": io.BytesIO(body), **more}
        pieces, status, _ = werkzeug.test.run_wsgi_app(middleware, environ, buffered=True)
        return int(status[:3]), json.loads(b"".join(pieces))

    terminated = {"wsgi.input_terminated": True}
    assert send(form(File("a", "a", LISTED)), **terminated)[0] == 451
    assert echo.calls == 0
    assert send(form(File("a", "a", OTHER)), **terminated)[1]["files"] == [digest(OTHER)]
    assert send(b"", **terminated)[1]["decisions"] == []
    # A read behind the end may wait for ever elsewhere: without a length there is no body, as for the app.
    assert send(form(File("a", "a", LISTED)))[1]["files"] == []


def test_a_sender_cannot_speak_as_the_hook(hook: Hook) -> None:
    headers = [("Hashhub-Action", "ALLOW"), ("Hashhub_Action", "ALLOW")]
    with serving_wsgi(Echo().wrapped(hook, paths=["/up"])) as address:
        for path in ("/up", "/elsewhere"):
            assert json.loads(ask(address, b"", path=path, headers=headers).body)["action"] == ""
        assert ask(address, LISTED, path="//UP/", headers=headers).status == 451
        assert ask(address, LISTED, path="/elsewhere", headers=headers).status == 200  # not looked at, as was chosen


def test_what_can_be_read_in_two_ways_or_is_cut_off_is_refused(hook: Hook) -> None:
    body = form(File("a", "a", LISTED))
    echo = Echo()
    with serving_wsgi(echo.wrapped(hook)) as address:
        assert ask(address, body, headers=[("Content-Type", FORM_TYPE + "; boundary=other")]).status == 400
        assert ask(address, body, headers=[("Content-Type", FORM_TYPE), ("Content-Encoding", "gzip")]).status == 415
        with socket.create_connection(address, timeout=60) as connection:
            head = f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\nContent-Type: {FORM_TYPE}\r\n\r\n"
            connection.sendall(head.encode() + body[:-30])
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(1000).split()[1] == b"400"
        assert echo.calls == 0


def test_an_app_that_fails_leaves_nothing_in_memory(hook: Hook) -> None:
    def failing(environ: Any, start_response: Any) -> Any:
        raise ValueError("of the app")

    middleware = WSGIUploadHook(failing, hook=hook)
    body = form(File("a", "a", OTHER))
    environ = {"CONTENT_LENGTH": str(len(body)), "CONTENT_TYPE": FORM_TYPE, "wsgi.input": io.BytesIO(body)}
    with pytest.raises(ValueError, match="of the app"):
        middleware(environ, lambda *_: None)
    assert middleware.memory.taken == 0


def test_what_is_held_goes_where_the_settings_say(hook: Hook) -> None:
    echo = Echo()
    for on_hold, status, calls in ((OnHold.KEEP, 202, 0), (OnHold.APP, 200, 1)):
        with changed(hook, on_hold=on_hold), serving_wsgi(echo.wrapped(hook)) as address:
            reply = ask(address, form(File("a", "a", DOUBTED)))
            assert (reply.status, echo.calls) == (status, calls)
    assert json.loads(reply.body)["action"] == "HOLD"


@pytest.mark.parametrize("chosen", list(Action))
def test_without_the_hub_it_is_as_chosen(
    hook: Hook, judge: Known, monkeypatch: pytest.MonkeyPatch, chosen: Action
) -> None:
    monkeypatch.setattr(judge, "is_away", True)
    echo = Echo()
    with changed(hook, without_answer=chosen), serving_wsgi(echo.wrapped(hook)) as address:
        assert ask(address, form(File("a", "a", OTHER))).status == (200 if chosen is Action.ALLOW else 451)
        assert echo.calls == (chosen is Action.ALLOW)


def test_twenty_at_once_each_get_their_own_answer(hook: Hook) -> None:
    contents = [LISTED if number % 4 == 0 else b"\x00%d" % number for number in range(20)]
    with serving_wsgi(Echo().wrapped(hook)) as address, ThreadPoolExecutor(20) as pool:
        replies = list(pool.map(lambda content: ask(address, form(File("a", "a", content))), contents))
    for content, reply in zip(contents, replies, strict=True):
        assert reply.status == (451 if content == LISTED else 200)
        if reply.status == 200:
            assert json.loads(reply.body)["files"] == [digest(content)]


class Late:
    """A body of which each piece but the first comes late."""

    def __init__(self, *pieces: bytes, seconds: float) -> None:
        self._pieces, self._seconds, self._wait = list(pieces), seconds, 0.0

    def read(self, _: int) -> bytes:
        time.sleep(self._wait if self._pieces else 0.0)
        self._wait = self._seconds
        return self._pieces.pop(0) if self._pieces else b""


def test_a_slow_sender_is_answered_and_has_time_while_a_file_is_decided_over(
    hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    decide = ReceivedFile.decide

    def decide_late(ended: ReceivedFile) -> CheckedFile:
        time.sleep(1.5)
        return decide(ended)

    monkeypatch.setattr(ReceivedFile, "decide", decide_late)
    body = form(File("a", "a", OTHER), File("b", "b", OTHER))
    second = body.rindex(OTHER)
    with changed(hook, slow_seconds=1.0):
        echo = Echo()
        middleware = echo.wrapped(hook)
        for seconds, status in ((0.0, 200), (1.5, 408)):
            request = werkzeug.test.create_environ(method="POST")
            request |= {"CONTENT_TYPE": FORM_TYPE, "CONTENT_LENGTH": str(len(body))}
            request |= {"wsgi.input": Late(body[:second], body[second:], seconds=seconds)}
            assert werkzeug.test.run_wsgi_app(middleware, request, buffered=True)[1].startswith(str(status))
            assert middleware.memory.taken == 0
        assert echo.calls == 1


class Endless:
    """A body without an end."""

    def read(self, size: int) -> bytes:
        return bytes(size)


def test_two_hundred_megabytes_pass_and_more_do_not(hook: Hook) -> None:
    taken: list[int] = []

    def app(environ: Any, start_response: Any) -> Any:
        taken.append(middleware.memory.taken)
        size = 0
        while piece := environ["wsgi.input"].read(65536):
            size += len(piece)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(size).encode()]

    with hook_of(Known(), without_answer=Action.ALLOW, max_bytes=8 << 20) as small:
        middleware = WSGIUploadHook(app, hook=small)
        piece = bytes(1 << 20)
        with serving_wsgi(middleware) as address:
            reply = ask(address, (piece for _ in range(200)), headers=[("Content-Type", "image/jpeg")])
            assert (int(reply.body), taken) == (200 << 20, [200 << 20])
        for environ in (
            {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True},
            {"CONTENT_LENGTH": str(1 << 40)},
        ):
            statuses: list[str] = []
            middleware({**environ, "wsgi.input": Endless()}, lambda status, _, told=statuses: told.append(status))
            assert (statuses[0][:3], middleware.memory.taken) == ("413", 0)
        assert len(taken) == 1


def test_pythons_own_server(hook: Hook) -> None:
    class Quiet(wsgiref.simple_server.WSGIRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    echo = Echo()
    server = wsgiref.simple_server.make_server("127.0.0.1", 0, echo.wrapped(hook), handler_class=Quiet)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        address = ("127.0.0.1", server.server_port)
        assert json.loads(ask(address, form(File("a", "a", OTHER))).body)["files"] == [digest(OTHER)]
        assert ask(address, form(File("a", "a", LISTED))).status == 451
        assert ask(address, iter([OTHER])).status == 411  # it takes no chunks, and would hand an empty body on
        # Bottle reads chunks by itself, whatever length stands beside them.
        for length in ("0", "6"):
            assert ask(address, iter([LISTED]), headers=[("Content-Length", length)]).status == 411
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert echo.calls == 1


def test_a_path_is_looked_at_however_the_app_is_mounted_and_its_letters_are_sent(hook: Hook) -> None:
    from urllib.parse import quote

    from werkzeug.middleware.dispatcher import DispatcherMiddleware

    echo = Echo()
    app = echo.wrapped(hook, paths=["/größe"])
    with serving_wsgi(DispatcherMiddleware(app, {"/site": app})) as address:
        for path in ("/größe", "/größe/x", "/site/größe", "/GRÖSSE"):
            assert ask(address, LISTED, path=quote(path), headers=[]).status == 451, path
        assert echo.calls == 0
        assert ask(address, LISTED, path="/site/elsewhere", headers=[]).status == 200
    with serving_wsgi(DispatcherMiddleware(app, {"/größe": echo.wrapped(hook, paths=["/größe/up"])})) as address:
        assert ask(address, LISTED, path=quote("/größe/up"), headers=[]).status == 451
