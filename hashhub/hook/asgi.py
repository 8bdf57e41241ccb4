"""The upload hook as ASGI middleware: FastAPI, Starlette, Litestar, Quart, Django and any other.

    app.add_middleware(UploadHook, settings=Path("hook.toml"))

The app gets a request once each of its files is decided over, and never one that is refused. What was decided is in
`scope["hashhub"]` (`forms.Uploads`) and in the request's headers `hashhub-action` and `hashhub-reference`. What
comes over a WebSocket, or over anything else that is no HTTP request, is not looked at. Runs on asyncio.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any, Final, TypeAlias

from hashhub.desk.decision import Decision
from hashhub.hook.core import START_SECONDS, Hook
from hashhub.hook.factory import UploadMiddleware
from hashhub.hook.forms import (
    BodyRefused,
    CheckedFile,
    RefusalResponse,
    RequestIntake,
    Uploads,
    answer_to,
    answer_to_refused,
    is_looked_at,
    sender_pace,
    too_large,
)
from hashhub.hook.hashing import UploadBytes

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]

_OWN_HEADERS: Final = b"hashhub-"
_BODY_HEADERS: Final = (b"content-type", b"content-encoding", b"content-length", b"transfer-encoding")


class UploadHook(UploadMiddleware):
    """ASGI middleware that decides over uploads before the app gets them.

    Its own hook is closed when the server tells the app to end; where the app has no lifespan, it ends with the
    process. What is wrong with settings in a running event loop, where FastAPI and Starlette make their middleware, the
    server is told at its start, and each request raises it. Where no start is told (`--lifespan off`, an app mounted in
    another), wrap the app instead: `UploadHook(app, settings=…)`.
    """

    def _is_told_later(self) -> bool:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return False
        return True

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one connection."""
        if self._error is not None:
            if scope["type"] != "lifespan":
                raise self._error
            await receive()
            await send({"type": "lifespan.startup.failed", "message": f"the upload hook: {self._error.message}"})
            return
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
            return
        hook = self.process.get()
        if scope["type"] != "http":
            await self._app(_without_own_headers(scope) if "headers" in scope else scope, receive, send)
        elif not is_looked_at(scope["path"], self._paths, mount=scope.get("root_path", "")):
            await self._app(_without_own_headers(scope), receive, send)
        else:
            await self._answer(hook, scope, receive, send)

    async def _live(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        # An app without a lifespan, such as Django, raises or returns at once, and requests come all the same.
        is_ending = False

        async def hear() -> Message:
            nonlocal is_ending
            message = await receive()
            is_ending = message["type"] == "lifespan.shutdown"
            return message

        async def tell(message: Message) -> None:
            nonlocal is_ending
            is_ending = is_ending or message["type"] == "lifespan.startup.failed"
            await send(message)

        await asyncio.to_thread(lambda: self.process.get().start(wait_seconds=START_SECONDS))
        try:
            await self._app(scope, hear, tell)
        except asyncio.CancelledError:
            is_ending = True
            raise
        finally:
            if is_ending and self.process.is_own:
                # Requests whose uploads are decided over yet need the loop to come to their end.
                await asyncio.to_thread(self.process.close)

    async def _answer(self, hook: Hook, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        headers = _read_headers(scope)
        if not _has_body(scope, headers):
            # Not every server keeps to that: bridges of serverless platforms hand on the headers that they were left.
            receive, is_empty = await _begun(receive)
            if is_empty:
                await self._app(_told(scope, Uploads(app=self._limits), None), receive, send)
                return
        try:
            if _length(headers) > self._limits.max_request_bytes:
                raise too_large(self._limits.max_request_bytes)
            with RequestIntake(
                hook,
                self.memory,
                door="asgi",
                content_types=headers[b"content-type"],
                content_encodings=headers[b"content-encoding"],
                fields=self._fields,
                upload_id=self._upload_id(scope) if self._upload_id is not None else "",
            ) as intake:
                files = await self._take_in(intake, receive)
                if files is None:
                    return  # the sender is gone: there is nobody to answer, and nothing that the app could use
                uploads = Uploads(files=tuple(files), unchecked=tuple(intake.unchecked), app=self._limits)
                severest = uploads.severest
                answer = answer_to(severest, self._limits)
                if answer is None:
                    await self._app(_told(scope, uploads, severest), _Replay(intake.body, receive), send)
                    return
        except BodyRefused as e:
            answer = answer_to_refused(e)
        await _send(answer, send)

    async def _take_in(self, intake: RequestIntake, receive: Receive) -> list[CheckedFile] | None:
        """Return the decisions; None when the sender has gone. Raises BodyRefused when it is too slow."""
        pace, is_more = sender_pace(self._limits), True
        files: list[CheckedFile] = []
        while is_more:
            message = await pace.next(receive)
            if message["type"] != "http.request":
                return None
            piece, is_more = message.get("body", b""), message.get("more_body", False)
            intake.write(piece)
            if not is_more:
                intake.end()
            files += [await ended.adecide() for ended in intake.take()]
        return files


class _Replay:
    """`receive` for the app: the body as it came, then what the server says."""

    def __init__(self, body: UploadBytes, receive: Receive) -> None:
        self._body, self._receive = body, receive
        self._is_done = False

    async def __call__(self) -> Message:
        if self._is_done:
            return await self._receive()
        if not self._body.is_kept:  # the app has answered; the rest was dropped
            return {"type": "http.disconnect"}
        piece = self._body.take_piece()
        self._is_done = self._body.taken == 0
        return {"type": "http.request", "body": piece, "more_body": not self._is_done}


def _read_headers(scope: MutableMapping[str, Any]) -> Mapping[bytes, Sequence[str]]:
    """Return the values of the headers that say what the body is, each name in lower case."""
    values: dict[bytes, list[str]] = {name: [] for name in _BODY_HEADERS}
    for key, value in scope["headers"]:
        if (name := key.lower()) in values:
            values[name].append(value.decode("latin-1"))
    return values


def _has_body(scope: MutableMapping[str, Any], headers: Mapping[bytes, Sequence[str]]) -> bool:
    # HTTP/1 says so in its headers; later versions need not.
    is_said = headers[b"content-length"] or headers[b"transfer-encoding"]
    return bool(is_said) or not scope.get("http_version", "1.1").startswith("1")


async def _begun(receive: Receive) -> tuple[Receive, bool]:
    """Return `receive` as it was before its first message was taken, and whether there is no body by that message."""
    first = await receive()
    is_empty = first["type"] != "http.request" or not (first.get("body") or first.get("more_body"))
    coming = [first]

    async def again() -> Message:
        return coming.pop() if coming else await receive()

    return again, is_empty


def _length(headers: Mapping[bytes, Sequence[str]]) -> int:
    values = headers[b"content-length"]
    return int(values[0]) if values and values[0].isascii() and values[0].isdigit() else 0


def _without_own_headers(scope: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Return the scope without headers by which a sender would speak as the hook, also as WSGI would spell them."""
    headers = [
        (name, value)
        for name, value in scope["headers"]
        if not name.lower().replace(b"_", b"-").startswith(_OWN_HEADERS)
    ]
    return {**scope, "headers": headers}


def _told(scope: MutableMapping[str, Any], uploads: Uploads, severest: Decision | None) -> MutableMapping[str, Any]:
    """Return the scope with what was decided."""
    told = _without_own_headers(scope)
    told["hashhub"] = uploads
    if severest is not None:
        told["headers"] += [
            (b"hashhub-action", severest.action.encode("ascii")),
            (b"hashhub-reference", severest.reference.encode("ascii")),
        ]
    return told


async def _send(answer: RefusalResponse, send: Send) -> None:
    headers = [(name.encode("ascii"), value.encode("ascii")) for name, value in answer.headers]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
