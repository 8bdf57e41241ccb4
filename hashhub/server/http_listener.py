"""Calls over HTTP: every unary call as `POST /hashhub.v1.Service/Method`, by the Connect protocol and as plain JSON.

Plain JSON is for curl and probes: proto3 JSON bodies, errors as a `google.rpc.Status` under the usual HTTP code.
Connect (`connect.py`) is for generated clients; its version header, or a media type that only it has, tells the two
apart. Streams are gRPC's alone: ListChanges gives the same feed to whoever keeps its position.

Nothing of a body is kept before its sender is known. There is no CORS header, and a token must be sent in a header: a
web page from elsewhere cannot make calls through a browser on this machine.
"""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from google.protobuf import json_format
from google.protobuf.descriptor_pb2 import MethodOptions

from hashhub import wire
from hashhub.errors import HTTP_STATUS, HashHubError, InvalidArgument, NotFound, Reason, StatusCode, Unavailable
from hashhub.server import connect
from hashhub.server.bodies import RequestBody, body_budget, drain
from hashhub.server.connect import MessageEncoding, Unimplemented
from hashhub.server.connections import LONG_HEADER, HTTPServer
from hashhub.server.metrics import CONTENT_TYPE
from hashhub.server.pipeline import Envelope, Method, Pipeline
from hashhub.server.servicers import FILES

if TYPE_CHECKING:
    import socket

    from google.protobuf.message import Message

_log = logging.getLogger("hashhub.server")

_SHOWN: Final = 300  # characters of what the JSON parser says
_LONGEST_TEXT: Final = 1 << 20  # characters
_EXTRA: Final = 64 * 1024  # bytes that JSON may take beyond base64
HEADER_SECONDS: Final = 30.0  # also how long a connection is kept between two requests
_WATCHED_SECONDS: Final = 0.1  # after which a call's sender is looked after; most calls are over by then
_COMMON: Final = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"), (b"server", b"hashhub"))
_HEADERS: Final = {kind: ((b"content-type", kind.encode()), *_COMMON) for kind in (connect.JSON, connect.PROTO)}
_CALLS: Final = "POST /hashhub.v1.Service/Method, GET /healthz and GET /metrics; docs/api.md lists the calls"

Headers = Sequence[tuple[bytes, bytes]]
Answer = Callable[["HTTPRequest"], Awaitable[None]]


class HTTPListener:
    """Answers requests; `open` puts it behind a listening socket."""

    def __init__(
        self,
        pipeline: Pipeline,
        methods: Mapping[str, Method],
        *,
        health: Callable[[], tuple[bool, bytes]],
        scrape: Callable[[], str],
        max_message_bytes: int,
        body_bytes: int,
    ) -> None:
        """`max_message_bytes` bounds a message as gRPC would carry it; base64 makes its JSON a third longer.
        `body_bytes`: held at a time, by all calls. `health`: whether the hub matches, and the page that says so;
        `scrape`: the metrics as text, which may wait.
        """
        self.pipeline = pipeline
        self._methods = methods
        self._health_page = health
        self._scrape = scrape
        self.max_message_bytes = max_message_bytes
        self.max_body_bytes = max_message_bytes * 4 // 3 + _EXTRA
        self.budget = body_budget(body_bytes, self.max_body_bytes)
        self.reads = {
            f"/{service.full_name}/{rpc.name}"
            for file in FILES
            for service in file.services_by_name.values()
            for rpc in service.methods
            if rpc.GetOptions().idempotency_level == MethodOptions.NO_SIDE_EFFECTS
        }
        self.others: dict[str, Answer] = {}
        """What answers a path, by its first part."""
        self._servers: list[HTTPServer] = []

    def open(self, listener: socket.socket, *, connections: int, answer: Answer | None = None) -> None:
        """Take connections from now on, so many at a time. `answer`: instead of this listener's own calls."""
        application = functools.partial(self._serve, answer or self._answer)
        self._servers.append(HTTPServer(application, listener, connections=connections, header_seconds=HEADER_SECONDS))

    async def close(self, drain_seconds: float) -> None:
        """Take no more connections, let calls in progress end, and stop."""
        await asyncio.gather(*(server.close(drain_seconds) for server in self._servers))

    async def _serve(self, answer: Answer, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request: an application by ASGI, but for its first argument."""
        connection = scope["state"]["connection"]
        is_short = connection.begin()
        request = HTTPRequest(scope, receive, send)
        try:
            if is_short:
                await answer(request)
            else:
                await self.refuse_json(request, _wrong("header", LONG_HEADER), 431)
        except Exception:  # noqa: BLE001 - nothing above this says it in words that are safe to show
            _log.exception("unexpected error over HTTP")
            await request.answer(500, (), b"")
        finally:
            connection.end()

    async def _answer(self, request: HTTPRequest) -> None:
        method = self._methods.get(request.path)
        if method is not None:
            await _Call(self, request, method).make()
        elif (other := self.others.get(_first_part(request.path))) is not None:
            await other(request)
        elif request.path in {"/healthz", "/metrics"} and request.verb not in {"GET", "HEAD"}:
            await self.refuse_verb(request, "GET, HEAD")
        elif request.path == "/healthz":
            await self._health(request)
        elif request.path == "/metrics":
            await self._metrics(request)
        elif connect.is_connect(_media_type(request), request.header(b"connect-protocol-version")):
            await self.refuse_connect(request, Unimplemented(f"there is no such call; there are {_CALLS}"), 404)
        else:
            await self.refuse_json(request, NotFound(f"there is no such call; there are {_CALLS}"))

    async def _health(self, request: HTTPRequest) -> None:
        is_serving, page = self._health_page()
        if is_serving:
            await self._say(request, 200, page)
        else:
            await self._say(request, 503, page, (b"retry-after", b"1"))

    async def answer_log(self, request: HTTPRequest, serve: Callable[[str], tuple[bytes, str]]) -> None:
        """Answer with what `serve` has below `/log/`. None of it may be kept: a new log has the same paths."""
        path = request.path.removeprefix("/log/")
        if request.verb not in {"GET", "HEAD"}:
            await self.refuse_verb(request, "GET, HEAD")
            return
        try:
            envelope = Envelope("", request.describe)
            body, kind = await self.pipeline.look("log", envelope, functools.partial(serve, path))
        except HashHubError as e:
            await self.refuse_json(request, e)
        else:
            await request.answer(200, ((b"content-type", kind.encode()), *_COMMON), body)

    async def _metrics(self, request: HTTPRequest) -> None:
        try:
            text = await self.pipeline.metrics(
                Envelope(request.header(b"authorization"), request.describe), self._scrape
            )
        except HashHubError as e:
            await self.refuse_json(request, e)
        else:
            await request.answer(200, ((b"content-type", CONTENT_TYPE.encode()), *_COMMON), text.encode())

    async def refuse_verb(self, request: HTTPRequest, verbs: str) -> None:
        """Tell which verbs there are."""
        await self.refuse_json(request, _wrong("method", f"must be one of {verbs}"), 405, (b"allow", verbs.encode()))

    async def refuse_json(
        self, request: HTTPRequest, error: HashHubError, status: int = 0, *headers: tuple[bytes, bytes]
    ) -> None:
        """Answer with the error's status as JSON, under `status` or the HTTP code that its own code maps to."""
        if not status:
            status = 413 if error.reason is Reason.TOO_LARGE else HTTP_STATUS[error.code]
        await self._say(request, status, _to_json(wire.error_to_status(error)), *_advice(error), *headers)

    async def refuse_connect(
        self, request: HTTPRequest, error: HashHubError | Unimplemented, status: int = 0, *headers: tuple[bytes, bytes]
    ) -> None:
        """Answer with the error as the Connect protocol writes it."""
        advice = [(b"accept-encoding", connect.ACCEPTED_ENCODINGS.encode())]
        if isinstance(error, HashHubError):
            advice = _advice(error)
        await self._say(request, status or connect.status_of(error), connect.error_json(error), *advice, *headers)

    async def refuse_stream(self, request: HTTPRequest, kind: str, error: Unimplemented) -> None:
        """Answer with a stream of this media type that ends before it has begun."""
        await request.drain()
        await request.answer(200, ((b"content-type", kind.encode("latin-1")), *_COMMON), connect.end_of_stream(error))

    async def _say(self, request: HTTPRequest, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
        await request.drain()
        await request.answer(status, (*_HEADERS[connect.JSON], *headers), body)


class HTTPRequest:
    """One request: what stands in its header, and how to answer it."""

    def __init__(self, scope: Any, receive: Any, send: Any) -> None:
        """By ASGI."""
        self._scope, self.receive, self._send = scope, receive, send
        self.verb: str = scope["method"]
        self.path: str = scope["path"]
        self._headers: dict[bytes, bytes] = dict(reversed(scope["headers"]))  # of several of a name the first
        self.length: int | None = None
        """Of the body; None when its sender does not tell it beforehand."""
        if b"transfer-encoding" not in self._headers:
            self.length = int(self.header(b"content-length", "0") or 0)
        self.is_read = self.length == 0
        """Whether nothing more of this request is to come."""
        self.has_answer = False

    def header(self, name: bytes, default: str = "") -> str:
        """Return a header by its name in small letters; `default` also where it is not printable ASCII."""
        value = self._headers.get(name)
        if not value:
            return default
        text = value.decode("ascii", "replace")
        return text if text.isascii() and text.isprintable() else default

    @property
    def query(self) -> str:
        """What stands behind the path's question mark, as it was sent."""
        query: bytes = self._scope["query_string"]
        return query.decode("latin-1")

    def describe(self) -> str:
        """Return where the request comes from, for the log."""
        client = self._scope["client"]
        return f"http:{client[0]}" if client else "unix:"

    async def drain(self) -> None:
        """Throw away a body that was not read, as far as it is short."""
        if not self.is_read:
            self.is_read = await drain(self.receive, self.length)

    async def wait_until_gone(self) -> None:
        """Wait until the sender has gone. Its body must have been read."""
        while (await self.receive())["type"] != "http.disconnect":
            pass

    async def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """Answer, once; a second answer is ignored. A connection whose body was not read is closed after it."""
        if self.has_answer:
            return
        self.has_answer = True
        everything = [*headers, (b"content-length", b"%d" % len(body))]
        if not self.is_read:
            everything.append((b"connection", b"close"))
        await self._send({"type": "http.response.start", "status": status, "headers": everything})
        await self._send({"type": "http.response.body", "body": body})


class SenderWatch:
    """Cancels the task that answers a request when the request's sender goes."""

    def __init__(self, request: HTTPRequest) -> None:
        self._request = request
        self._waiting: asyncio.TimerHandle | None = None
        self._watcher: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Watch the current task's sender, whose request has been read as a whole."""
        if self._waiting is None:
            loop = asyncio.get_running_loop()
            self._waiting = loop.call_later(_WATCHED_SECONDS, self._begin, asyncio.current_task())

    def stop(self) -> None:
        """Watch no more."""
        if self._waiting is not None:
            self._waiting.cancel()
        if self._watcher is not None:
            self._watcher.cancel()

    def _begin(self, task: asyncio.Task[Any] | None) -> None:
        async def watch() -> None:
            await self._request.wait_until_gone()
            if task is not None:
                task.cancel()

        self._watcher = asyncio.create_task(watch())


class _Call:
    """One call, from its header to its answer."""

    def __init__(self, listener: HTTPListener, request: HTTPRequest, method: Method) -> None:
        self._listener, self._request, self._method = listener, request, method
        self._envelope = Envelope(request.header(b"authorization"), request.describe)
        self._connect = False
        self._encoding = MessageEncoding(connect.JSON, "identity")
        self._body: RequestBody | None = None
        self._watch = SenderWatch(request)

    async def make(self) -> None:
        """Make the call and answer it, or say why not."""
        request, reads = self._request, self._listener.reads
        try:
            if request.verb == "POST":
                await self._post()
            elif request.verb == "GET" and request.path in reads and request.query:
                await self._get()
            else:
                await self._listener.refuse_verb(request, "GET, POST" if request.path in reads else "POST")
        except (HashHubError, Unimplemented) as e:
            await self._refuse(e.with_traceback(None))
        finally:
            if self._body is not None:
                self._body.release()

    async def _post(self) -> None:
        request = self._request
        kind = _media_type(request)
        version = request.header(b"connect-protocol-version")
        self._connect = connect.is_connect(kind, version)
        if self._method.streams:
            await self._refuse_stream(kind)
            return
        if kind not in _HEADERS:
            accepted = f"{connect.JSON}, {connect.PROTO}"
            await self._refuse(
                _wrong("Content-Type", f"must be one of {accepted}"), 415, (b"accept-post", accepted.encode())
            )
            return
        if self._connect:
            connect.check_version(version)
            self._set_deadline()
        packing = connect.check_packing(request.header(b"content-encoding"))
        self._encoding = MessageEncoding(kind, packing)
        await self._answer(self._read)

    async def _get(self) -> None:
        self._connect = True
        self._set_deadline()

        async def read(token: str) -> bytes:
            self._encoding, message = connect.read_query(self._request.query)
            self._make_body(token, self._listener.max_message_bytes)
            return self._counted(message)

        await self._answer(read)

    async def _read(self, token: str) -> bytes:
        listener = self._listener
        limit = listener.max_message_bytes if self._encoding.media_type == connect.PROTO else listener.max_body_bytes
        body = await self._make_body(token, limit).read()
        self._request.is_read = True
        return self._counted(body)

    def _counted(self, message: bytes) -> bytes:
        if self._encoding.packing == "identity":  # how large it is unpacked is seen as it is unpacked
            self._envelope.size = len(message)
        self._watch.start()
        return message

    def _make_body(self, token: str, limit: int) -> RequestBody:
        request = self._request
        self._body = RequestBody(
            request.receive, request.length, self._listener.budget, token, limit=limit, until=self._envelope.until
        )
        return self._body

    async def _answer(self, read: Callable[[str], Awaitable[bytes]]) -> None:
        """Make the call, whose message `read` reads, and give the answer."""
        envelope = self._envelope

        def encode(answer: Message) -> bytes:
            return answer.SerializeToString() if self._encoding.media_type == connect.PROTO else _to_json(answer)

        try:
            answer = await self._listener.pipeline.call(
                self._method, envelope, read, self._decode, encode, keeps_budget=True
            )
        finally:
            self._watch.stop()
        if envelope.until is not None and time.monotonic() >= envelope.until:
            late = "the deadline passed before the answer was ready; allow more time"
            raise Unavailable(late, reason=Reason.DEADLINE_EXCEEDED)
        headers: Headers = _HEADERS[self._encoding.media_type]
        if self._connect:
            answer, is_packed = connect.pack(answer, self._request.header(b"accept-encoding"))
            if is_packed:
                headers = (*headers, (b"content-encoding", b"gzip"), (b"vary", b"accept-encoding"))
        await self._request.answer(200, headers, answer)

    def _set_deadline(self) -> None:
        allowed = connect.seconds_allowed(self._request.header(b"connect-timeout-ms"))
        if allowed is not None:
            self._envelope.until = time.monotonic() + allowed

    def _decode(self, body: bytes) -> Message:
        if body and self._encoding.packing == "gzip" and self._body is not None:  # of nothing, nothing is packed
            body = self._body.gunzip(body)
        if self._encoding.media_type == connect.JSON:
            wire.check_json(body, self._listener.max_body_bytes, self._method.bounds)
            return _from_json(self._method, body)
        return self._method.parse(body)

    async def _refuse(
        self, error: HashHubError | Unimplemented, status: int = 0, *headers: tuple[bytes, bytes]
    ) -> None:
        if self._connect:
            await self._listener.refuse_connect(self._request, error, status, *headers)
        elif isinstance(error, Unimplemented):
            await self._listener.refuse_json(self._request, _wrong("Content-Encoding", error.message), 415)
        else:
            await self._listener.refuse_json(self._request, error, status, *headers)

    async def _refuse_stream(self, kind: str) -> None:
        remedy = "use gRPC, or call ListChanges again and again with nextPosition"
        if self._method.listens:
            remedy = "use gRPC, or match pictures of the stream one by one with MatchMedia"
        if kind.startswith(connect.STREAM):
            await self._listener.refuse_stream(
                self._request, kind, Unimplemented(f"streams are gRPC's alone: {remedy}")
            )
        elif self._connect:
            await self._refuse(Unimplemented(f"streams are gRPC's alone: {remedy}"))
        else:
            await self._refuse(_wrong("method", f"streams are not bridged: {remedy}"), 501)


def _from_json(method: Method, body: bytes) -> Message:
    try:
        text = body.decode().strip() or "{}"
        if not text.startswith("{"):  # the parser reads an array as an empty message
            raise ValueError("it is no JSON object")
        if len(text) > _LONGEST_TEXT:
            _check_texts(json.loads(text), method.request.DESCRIPTOR)
        return json_format.Parse(text, method.request())
    except (json_format.ParseError, ValueError, RecursionError) as e:
        said = str(e)[:_SHOWN]
        raise InvalidArgument.field(
            "body", f"is no {method.request.DESCRIPTOR.name} in proto3 JSON: {said}", "NOT_JSON"
        ) from e


def _check_texts(value: Any, message: Any) -> None:
    """Raise ValueError for a text, which is not bytes in base64, that is too long for the library.

    It looks through each at 45 ns a character, for which all other threads wait.
    """
    given = value if isinstance(value, dict) else {}
    if message.GetOptions().map_entry:
        given = {"key": list(given), "value": list(given.values())}
    for field in message.fields:
        for name in {field.name, field.json_name} & given.keys():
            for one in given[name] if isinstance(given[name], list) else (given[name],):
                if field.message_type is not None:
                    _check_texts(one, field.message_type)
                elif field.type == field.TYPE_STRING and isinstance(one, str) and len(one) > _LONGEST_TEXT:
                    raise ValueError(f"{name} may have at most {_LONGEST_TEXT} characters")


def _to_json(message: Message) -> bytes:
    return json_format.MessageToJson(message, indent=None).encode()


def _media_type(request: HTTPRequest) -> str:
    kind = request.header(b"content-type")
    return kind if kind in _HEADERS else kind.partition(";")[0].strip().lower()


def _first_part(path: str) -> str:
    return path.split("/", 2)[1] if path.startswith("/") else ""


def _wrong(part: str, description: str) -> InvalidArgument:
    return InvalidArgument.field(part, description, "NOT_ALLOWED")


def _advice(error: HashHubError) -> list[tuple[bytes, bytes]]:
    advice = []
    if error.code is StatusCode.UNAUTHENTICATED:
        advice.append((b"www-authenticate", b"Bearer"))
    if error.retry_after is not None:
        advice.append((b"retry-after", b"%d" % max(1, round(error.retry_after))))
    return advice
