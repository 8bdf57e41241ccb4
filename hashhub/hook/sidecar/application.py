"""The sidecar's ASGI application.

POST /check      bytes as they are, or multipart      a decision, for multipart one a file
POST /hashes     {"hashes": ["MD5:…", "PDQ:…"]}       a decision
POST /pict-rs    bytes                                2xx or not
POST /tusd       a hook request of tusd               a hook response
/queue…          for persons, by their own tokens     see `queue_api`; only where the settings say so
/moderation/…    for persons, in a browser            see `moderation`; as /queue
GET  /healthz  /metrics  /openapi.json  /docs

What is answered is for the app, not for the uploader, who may see `action` and `reference` at most. An error is no
decision: its `action` is HOLD, for apps that read nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from hashhub import structs
from hashhub.addresses import is_loopback_host, parse_address
from hashhub.console.sessions import Sessions
from hashhub.desk import moderation
from hashhub.desk.decision import Action, Decision, severest_of
from hashhub.desk.queue_api import queue_routes
from hashhub.desk.records import Records
from hashhub.errors import (
    HashHubError,
    InvalidArgument,
    LimitExceeded,
    NotFound,
    Reason,
    StatusCode,
    Unavailable,
)
from hashhub.hashes import parse_pair
from hashhub.hook.core import START_SECONDS
from hashhub.hook.forms import BodyRefused, FormReader, ReceivedFile
from hashhub.hook.settings import StatusRule
from hashhub.hook.sidecar import pages, shapes
from hashhub.hook.sidecar.counts import SidecarMetrics
from hashhub.hook.sidecar.guard import Guard
from hashhub.hook.sidecar.turns import UploadBody, UploadTurns
from hashhub.model import Query, now

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from hashhub.hook.core import Hook, Upload
    from hashhub.hook.sidecar.turns import Turn

access_log: Final = logging.getLogger("hashhub.hook.access")
_log: Final = logging.getLogger("hashhub.hook.sidecar")

_STATUS: Final = {
    StatusCode.INVALID_ARGUMENT: 400,
    StatusCode.FAILED_PRECONDITION: 400,
    StatusCode.UNAUTHENTICATED: 401,
    StatusCode.PERMISSION_DENIED: 403,
    StatusCode.NOT_FOUND: 404,
    StatusCode.RESOURCE_EXHAUSTED: 413,
    StatusCode.CANCELLED: 499,
    StatusCode.UNAVAILABLE: 503,
}
_BY_REASON: Final = {Reason.SLOW_SENDER: 408, Reason.TOO_MANY_REQUESTS: 503}
_JSON: Final = "application/json"
_QUEUE: Final = "/queue"
_GROUPS: Final = (_QUEUE, moderation.PATH)
_HEADERS: Final = {
    b"cache-control": b"no-store",
    b"x-content-type-options": b"nosniff",
    b"cross-origin-resource-policy": b"same-origin",
    b"content-security-policy": b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
}
_MOST_JSON: Final = 256 * 1024  # bytes; tusd's request has all headers of its client
_MOST_HASHES: Final = 64
_MOST_UPLOAD_ID: Final = 200  # characters
_MOST_FIELD: Final = 64 * 1024  # bytes of a form field that is text; a longer one is a file
_SHOWN: Final = 200  # characters of a name that come back
_LOOK_SECONDS: Final = 5.0  # between looks whether the hub answers
_STEP: Final = 1 << 20  # bytes of a stored file that are read at a time


class Sidecar:
    """The application over one hook, which the caller opens and closes."""

    def __init__(self, hook: Hook) -> None:
        """Raises InvalidArgument for settings under which anybody could ask."""
        structs.prepare()
        self._hook = hook
        self._settings = hook.settings.sidecar
        queue = hook.settings.queue
        self._guard = Guard(self._settings, for_persons=_QUEUE if queue.over_http else "")
        self._counts = SidecarMetrics()
        most_lent = hook.settings.max_total_bytes // 4
        self._turns = UploadTurns(self._settings, self._counts, most_lent_bytes=most_lent)
        self._threads = ThreadPoolExecutor(self._settings.max_uploads, thread_name_prefix="sidecar")
        self._most = max(self._settings.max_body_bytes, hook.settings.max_bytes)
        self._health: dict[str, Any] = {"status": "STARTING"}
        self.is_ending = False
        routes: list[BaseRoute] = [
            Route("/check", self._check, methods=["POST"]),
            Route("/hashes", self._hashes, methods=["POST"]),
            Route("/pict-rs", self._pict_rs, methods=["POST"]),
            Route("/tusd", self._tusd, methods=["POST"]),
            Route("/healthz", self._healthz, methods=["GET"]),
            Route("/metrics", self._metrics, methods=["GET"]),
            Route("/openapi.json", pages.openapi, methods=["GET"]),
            Route("/docs", pages.docs, methods=["GET"]),
        ]
        self._paths = frozenset(route.path for route in routes if isinstance(route, Route))
        self._files = contextlib.ExitStack()
        if queue.over_http:
            # Of its own: no decision waits while a long queue is read.
            data = Path(hook.settings.data)
            records = self._files.enter_context(contextlib.closing(Records(data)))
            self._paths |= {_QUEUE}
            routes += queue_routes(records, hook.settings)
            if origins := _origins(queue.url, self._settings.listen):
                sessions = self._files.enter_context(contextlib.closing(Sessions(data / "sessions.db")))
                self._paths |= {moderation.PATH}
                routes += moderation.moderation_site(records, hook.settings, sessions, origins).routes
        self._app = Starlette(
            routes=routes,
            lifespan=self._lifespan,
            exception_handlers={HTTPException: _told_by_framework, HashHubError: _refused, Exception: _failed},
        )
        self._app.router.redirect_slashes = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Guard, answer, count and log one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        request = Request(scope, receive)
        path = next((one for one in _GROUPS if scope["path"].startswith(f"{one}/")), scope["path"])
        path = path if path in self._paths else "other"
        line: dict[str, Any] = {}
        scope["hashhub.line"] = line
        status = 0

        async def answer(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if path != moderation.PATH:  # whose pages have headers of their own
                    own = [(name, value) for name, value in message["headers"] if name not in _HEADERS]
                    message["headers"] = [*own, *_HEADERS.items()]
            await send(message)

        try:
            try:
                self._guard.check(scope["method"], scope["path"], request.headers)
            except HashHubError as e:
                await _error(e)(scope, receive, answer)
            else:
                with contextlib.suppress(Exception):  # answered and logged by `_failed`
                    await self._app(scope, receive, answer)
        finally:
            seconds = time.perf_counter() - began
            self._counts.response(path, status or 499, seconds)
            access_log.info(
                "%s",
                msgspec.json.encode(
                    {
                        "time": now(),
                        "method": scope["method"] if path != "other" else "",
                        "path": path,
                        "status": status or 499,
                        "milliseconds": round(seconds * 1000, 1),
                        **line,
                    }
                ).decode(),
            )

    @asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        await asyncio.to_thread(self._hook.start, wait_seconds=START_SECONDS)
        looks = asyncio.create_task(self._look())
        try:
            yield
        finally:
            looks.cancel()
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._files.close()

    # Checks

    async def _check(self, request: Request) -> Response:
        types = request.headers.getlist("content-type")
        if len(types) > 1:
            raise InvalidArgument.field("Content-Type", "must be there once")
        with self._turns.turn() as turn:
            if types and "multipart" in types[0].lower():  # what any app's parser could take for a form
                return await self._form(request, types[0], turn)
            decision = await self._bytes(request, "sidecar", turn)
        return self._answered(decision, decision)

    async def _pict_rs(self, request: Request) -> Response:
        with self._turns.turn() as turn:
            decision = await self._bytes(request, "pict-rs", turn)
        return _json(shapes.STATUS[decision.action], decision)

    async def _bytes(self, request: Request, door: str, turn: Turn) -> Decision:
        body = self._body(request, turn)
        with self._hook.receive(upload_id=_upload_id(request), door=door) as upload:
            async for piece in body.pieces():
                upload.write(piece)
                self._counts.bytes_received += len(piece)
            if not body.is_whole:
                upload.pass_over(0)  # what was read is a part: its digests are no file's
            return await self._decided(request, body, upload, door)

    async def _form(self, request: Request, content_type: str, turn: Turn) -> Response:
        upload_id = _upload_id(request)

        def receive(number: int) -> Upload:
            return self._hook.receive(upload_id=f"{upload_id}#{number}" if upload_id else "", door="sidecar")

        body = self._body(request, turn)
        files: list[dict[str, Any]] = []
        decisions: list[Decision] = []
        taken: list[ReceivedFile] = []
        most = self._settings.max_parts
        form = FormReader(content_type, receive, max_files=most, max_fields=most, max_field_bytes=_MOST_FIELD)
        try:
            async for piece in body.pieces():
                self._counts.bytes_received += len(piece)
                form.write(piece)
                taken = form.take()
                for part in taken:
                    decision = await self._decided(request, body, part.upload, "sidecar")
                    part.upload.close()
                    decisions.append(decision)
                    name = {"field": part.field[:_SHOWN], "file_name": part.filename[:_SHOWN]}
                    files.append({**name, "decision": decision})
            if not body.is_whole:
                raise LimitExceeded(f"the body has more than {self._most} bytes", reason=Reason.TOO_LARGE)
            form.end()
        finally:
            form.close()
            for part in taken:
                part.upload.close()
        worst = severest_of(decisions)
        if worst is None:
            raise InvalidArgument.field(
                "body", "no part is a file; send one with a file name, or the bytes as they are"
            )
        request.scope["hashhub.line"].update(_line(worst), files=len(files))
        not_checked = [name[:_SHOWN] for name in form.not_files]
        return self._answered(worst, {**msgspec.to_builtins(worst), "files": files, "not_checked": not_checked})

    async def _hashes(self, request: Request) -> Response:
        content = await self._body(request).all(_MOST_JSON)
        try:
            asked = msgspec.json.decode(content, type=_Hashes)
        except msgspec.MsgspecError as e:
            raise InvalidArgument.field("body", f'must be JSON such as {{"hashes": ["MD5:…"]}}: {e}') from e
        if not 1 <= len(asked.hashes) <= _MOST_HASHES:
            raise InvalidArgument.field("hashes", f"must have 1 to {_MOST_HASHES} hashes of one upload")
        query = Query(hashes=tuple(parse_pair(text) for text in asked.hashes))
        upload_id = _upload_id(request)
        with self._turns.turn() as turn:
            await turn.take()
            decision = await self._timed(
                request, "sidecar", lambda: self._hook.check(query, upload_id=upload_id, door="sidecar")
            )
        return self._answered(decision, decision)

    async def _tusd(self, request: Request) -> Response:
        hook = shapes.tusd_hook(await self._body(request).all(_MOST_JSON))
        if not hook.is_finished:
            return _json(200, {})
        with self._turns.turn() as turn:
            await turn.take()
            file = shapes.open_tusd_upload(hook, self._settings.tusd_directory)
            upload_id = hook.event.upload.upload_id[:_MOST_UPLOAD_ID]
            with file, self._hook.receive(upload_id=upload_id, door="tusd") as upload:
                loop = asyncio.get_running_loop()
                while piece := await loop.run_in_executor(self._threads, _read, file):
                    upload.write(piece)
                decision = await self._decided(request, None, upload, "tusd")
        return _json(200, shapes.tusd_answer(decision))

    def _body(self, request: Request, turn: Turn | None = None) -> UploadBody:
        encodings = request.headers.getlist("content-encoding")
        if any(encoding.strip().lower() not in {"", "identity"} for encoding in encodings):
            raise InvalidArgument.field("Content-Encoding", "is not read; send the file's bytes as they are")
        announced = request.headers.get("content-length", "0")
        is_larger = announced.isdecimal() and int(announced) > self._most
        # One that says so itself is read until it is too large for the hook, and no further.
        most = self._hook.settings.max_bytes if is_larger else self._most
        return UploadBody(request.receive, self._settings, most=most, turn=turn)

    async def _decided(self, request: Request, body: UploadBody | None, upload: Upload, door: str) -> Decision:
        """Decide in a thread. Raises Cancelled when the caller goes meanwhile, as far as that can be seen."""
        deciding = asyncio.ensure_future(self._timed(request, door, upload.decide))
        waits: set[asyncio.Future[Any]] = {deciding}
        if body is None or body.is_whole:
            waits.add(asyncio.ensure_future(_gone(request.receive)))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits - {deciding}:
                wait.cancel()
            if not deciding.done():
                upload.abandon()
                await asyncio.wait({deciding})  # its thread reads the upload, which is closed after this
        return deciding.result()

    async def _timed(self, request: Request, door: str, decide: Callable[[], Decision]) -> Decision:
        began = time.perf_counter()
        decision = await asyncio.get_running_loop().run_in_executor(self._threads, decide)
        self._counts.decision(door, decision, time.perf_counter() - began)
        request.scope["hashhub.line"].update(_line(decision))
        return decision

    def _answered(self, decision: Decision, content: object) -> Response:
        is_told = self._settings.status is StatusRule.ON_BLOCK_451
        return _json(shapes.STATUS[decision.action] if is_told else 200, content)

    # Health

    async def _look(self) -> None:
        """Look now and then whether the hub answers, so that probes cost nothing."""
        loop = asyncio.get_running_loop()
        since: datetime | None = None
        was: bool | None = None
        thread = ThreadPoolExecutor(1, thread_name_prefix="sidecar-look")  # not behind uploads
        try:
            while True:
                reason = ""
                has_lists: bool | None = None  # unknown
                try:
                    has_lists = await loop.run_in_executor(thread, self._hook.probe)
                except HashHubError as e:
                    reason = e.reason
                if was is not (not reason):
                    was, since = not reason, now()
                    _log.info("uploads are decided %s", "with answers" if was else f"without an answer: {reason}")
                self._health = {
                    "status": "SERVING",
                    "has_answers": was,
                    "has_lists": has_lists,
                    "since": since,
                    "reason": reason,
                }
                await asyncio.sleep(_LOOK_SECONDS)
        finally:
            thread.shutdown(wait=False, cancel_futures=True)

    async def _healthz(self, _request: Request) -> Response:
        health = {
            **self._health,
            "mode": self._hook.settings.mode,
            "without_answer": self._hook.settings.without_answer,
        }
        if self.is_ending:
            health["status"] = "ENDING"
        return _json(200 if health["status"] == "SERVING" else 503, health)

    async def _metrics(self, _request: Request) -> Response:
        return Response(self._counts.text(memory_bytes=self._hook.memory_bytes), media_type="text/plain; version=0.0.4")


def _origins(url: str, address: str) -> list[str]:
    """Return by which origins browsers may reach the pages: its URL, or the names of this machine; else none."""
    if url:
        return [url.rstrip("/")]
    host, port = parse_address("sidecar.listen", address, usual_port=8472)
    return [f"http://{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]")] if is_loopback_host(host) else []


class _Hashes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    hashes: list[str]


def _line(decision: Decision) -> dict[str, Any]:
    return {
        "action": decision.action,
        "verdict": decision.verdict,
        "no_answer": decision.no_answer or "",
        "reference": decision.reference,
    }


def _read(file: Any) -> bytes:
    try:
        content: bytes = file.read(_STEP)
    except OSError as e:
        raise Unavailable("the stored upload cannot be read now; check the disk and try again") from e
    return content


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _upload_id(request: Request) -> str:
    """Return the app's own name for the upload."""
    given = request.headers.get("hashhub-upload-id", "")
    if len(given) > _MOST_UPLOAD_ID or not given.isprintable():
        raise InvalidArgument.field("Hashhub-Upload-Id", f"must be at most {_MOST_UPLOAD_ID} printable characters")
    return given


def _json(status: int, content: object) -> Response:
    return Response(msgspec.json.encode(content), status, media_type=_JSON)


def _error(error: HashHubError) -> Response:
    if isinstance(error, BodyRefused):
        status = error.status
    else:
        status = _BY_REASON.get(error.reason, _STATUS.get(error.code, 500))
    response = _json(status, {"error": {"reason": error.reason, "message": error.message}, "action": Action.HOLD})
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(max(1, round(error.retry_after)))
    if status == _STATUS[StatusCode.UNAUTHENTICATED]:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


async def _refused(_request: Request, error: Exception) -> Response:
    return _error(error if isinstance(error, HashHubError) else HashHubError(""))


async def _failed(_request: Request, error: Exception) -> Response:
    _log.error("a request failed inside the sidecar", exc_info=error)
    return _error(HashHubError("the sidecar failed; its log says why"))


async def _told_by_framework(_request: Request, error: Exception) -> Response:
    """Answer what Starlette refuses by itself: no such path, another method."""
    response = _error(NotFound("there is no such path or method; see /docs"))
    if isinstance(error, HTTPException):
        response.status_code = error.status_code
        response.headers.update(error.headers or {})
    return response
