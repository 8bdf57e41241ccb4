"""Real servers around an app, forms as browsers send them, and a judge that knows what it is told."""

from __future__ import annotations

import asyncio
import hashlib
import re
import socket
import threading
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import msgspec
import uvicorn
import werkzeug.serving

from hashhub.desk.hub import HubAnswer, Judge
from hashhub.errors import Unavailable
from hashhub.hook import Action, Hook, HookSettings, WithoutAnswer
from hashhub.hook.settings import AppSettings, OnHold
from hashhub.model import Effort, MatchResult, Query, Verdict

BOUNDARY = b"----boundary7MA4YWxkTrZu0gW"
LISTED, DOUBTED, OTHER = b"\x00listed", b"\x00doubted", b"\x00other"


class Known:
    """Answers MATCH for files of these contents, REVIEW for others; raises while it is away."""

    def __init__(self, *, listed: Collection[bytes] = (), doubted: Collection[bytes] = ()) -> None:
        self._listed = {hashlib.sha256(content).digest() for content in listed}
        self._doubted = {hashlib.sha256(content).digest() for content in doubted}
        self.is_away = False
        self.asked: list[bytes] = []  # the SHA-256 of each file

    def judge(self, query: Query) -> HubAnswer:
        [digest] = [h.digest for h in query.hashes if h.algorithm == "SHA256"]
        if self.is_away:
            raise Unavailable("the hub is away")
        self.asked.append(digest)
        verdict = Verdict.NO_MATCH
        if digest in self._listed:
            verdict = Verdict.MATCH
        elif digest in self._doubted:
            verdict = Verdict.REVIEW
        return HubAnswer(result=MatchResult(verdict=verdict), policy="block@1", revision=1)

    def revision(self) -> int:
        return 1

    def close(self) -> None:
        pass


class File(NamedTuple):
    field: str
    filename: str | None
    content: bytes
    content_type: str | None = "image/jpeg"


def form(*files: File, boundary: bytes = BOUNDARY) -> bytes:
    """Return a body of multipart/form-data."""
    parts = []
    for file in files:
        disposition = f'form-data; name="{file.field}"'
        if file.filename is not None:
            disposition += f'; filename="{file.filename}"'
        lines = [f"Content-Disposition: {disposition}"]
        if file.content_type is not None:
            lines.append(f"Content-Type: {file.content_type}")
        head = "\r\n".join(lines).encode()
        parts.append(b"--" + boundary + b"\r\n" + head + b"\r\n\r\n" + file.content + b"\r\n")
    return b"".join(parts) + b"--" + boundary + b"--\r\n"


FORM_TYPE = f"multipart/form-data; boundary={BOUNDARY.decode()}"


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


def ask(
    address: tuple[str, int],
    body: bytes | Iterable[bytes] = b"",
    *,
    method: str = "POST",
    path: str = "/",
    headers: Iterable[tuple[str, str]] = (("Content-Type", FORM_TYPE),),
    says_end: bool = False,
) -> Reply:
    """Send one request over a socket of its own; pieces are sent as chunks. `says_end`: send no more then; Werkzeug
    reads what an app has left unread, to its end, before it closes.
    """
    framing = f"Content-Length: {len(body)}" if isinstance(body, bytes) else "Transfer-Encoding: chunked"
    head = [f"{method} {path} HTTP/1.1", "Host: app", "Connection: close", framing]
    head += [f"{name}: {value}" for name, value in headers]
    with socket.create_connection(address, timeout=60) as connection:
        try:
            connection.sendall("\r\n".join([*head, "", ""]).encode("latin-1"))
            if isinstance(body, bytes):
                connection.sendall(body)
            else:
                for piece in body:
                    connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
                connection.sendall(b"0\r\n\r\n")
            if says_end:
                connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # refused before its end; the answer is there all the same
        return reply_from(connection)


def reply_from(connection: socket.socket) -> Reply:
    received = b""
    try:
        while not _is_whole(received) and (piece := connection.recv(65536)):
            received += piece
    except ConnectionResetError:
        pass
    while received.startswith(b"HTTP/1.1 100"):
        received = received.partition(b"\r\n\r\n")[2]
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    if headers.get("transfer-encoding") == "chunked":
        whole = b""
        while body:
            size, _, rest = body.partition(b"\r\n")
            whole, body = whole + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
        body = whole
    return Reply(int(first.split()[1]), headers, body)


def _is_whole(received: bytes) -> bool:
    head, end, body = received.partition(b"\r\n\r\n")
    length = re.search(rb"(?mi)^content-length: *([0-9]+)", head)
    return bool(end and length and len(body) >= int(length[1]))


@contextmanager
def serving_asgi(app: Any, *, lifespan: str = "on") -> Iterator[tuple[str, int]]:
    """Serve an ASGI app with uvicorn on a free port."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan=lifespan))  # type: ignore[arg-type]
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])), daemon=True)
    thread.start()
    try:
        yield listening.getsockname()[:2]
    finally:
        server.should_exit = True
        thread.join(60)
        listening.close()
        assert not thread.is_alive()


@contextmanager
def serving_wsgi(app: Any) -> Iterator[tuple[str, int]]:
    """Serve a WSGI app with Werkzeug's server, which takes chunked bodies, on a free port."""

    class Quiet(werkzeug.serving.WSGIRequestHandler):
        def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002 - Werkzeug's name
            pass

    server = werkzeug.serving.make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield "127.0.0.1", server.port
    finally:
        server.shutdown()
        thread.join(60)
        server.server_close()
        assert not thread.is_alive()


def hook_of(judge: Judge, *, without_answer: Action = Action.HOLD, max_bytes: int = 64 << 20, **app: Any) -> Hook:
    """Return a hook that asks this judge."""
    chosen = WithoutAnswer(
        hub_away=without_answer,
        unreadable=without_answer,
        too_large=without_answer,
        no_perceptual_hash=Action.ALLOW,
    )
    settings = HookSettings(
        policy="block",
        without_answer=chosen,
        hashing_processes=1,
        media_seconds=60.0,  # a loaded machine is no reason for another answer
        effort=Effort.PLAIN,
        max_bytes=max_bytes,
        app=AppSettings(**{"on_hold": OnHold.REFUSE, **app}),
    )
    return Hook(settings, judge=judge)


@contextmanager
def changed(hook: Hook, *, without_answer: Action | None = None, **app: Any) -> Iterator[Hook]:
    """Let a hook have other settings for a while: one of its own would have to start processes again."""
    usual = hook.settings
    chosen = usual.without_answer
    if without_answer is not None:
        chosen = WithoutAnswer(**dict.fromkeys(WithoutAnswer.__struct_fields__, without_answer))
    hook.settings = msgspec.structs.replace(usual, without_answer=chosen, app=msgspec.structs.replace(usual.app, **app))
    listeners = hook.listeners
    if hook.settings.app.on_hold is OnHold.KEEP:
        hook.listeners = (lambda _checked, _content: None,)  # somebody who keeps it
    try:
        yield hook
    finally:
        hook.settings, hook.listeners = usual, listeners
