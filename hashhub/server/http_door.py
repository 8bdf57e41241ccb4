"""The HTTP door: every unary call as `POST /hashhub.v1.Service/Method`, by the Connect protocol and as plain JSON.

Both reach the same servicers through the same gate as gRPC. Plain JSON is for curl and probes: proto3 JSON bodies
(`bytes` are base64, 64-bit integers are strings), errors as a `google.rpc.Status` under the usual HTTP code. Connect
(`connect.py`) is for generated clients; its version header, or a media type that only it has, tells the two apart.
Streams are gRPC's alone: a reader would hold one of few threads for ever, and ListChanges gives the same feed to
whoever keeps its position.

    header  ->  who sends it (`Gate.authorise`)  ->  body, within the budget (`bodies`)  ->  `Gate.call`  ->  answer

Nothing of a body is kept before its sender is known; a refused request's connection is closed, and of its body at most
64 KiB are thrown away before that. One thread brings all requests and never waits: it answers `/healthz`, refuses, and
answers lookups that hit nothing (`Gate.call_at_once`), which most do. Whatever has to ask the database runs in a room:
a look for a token that was not seen just now in one, calls in another, so that no call keeps a lookup waiting for its
token. Looks for a token that was seen before wait in a lane of its own, so that no stranger keeps them waiting either.
Several such threads would be slower: each would wait for Python's lock, and passing that on costs more than it gains
(128 µs of processor time a lookup with one, 152 with four).

There is no CORS header, and a token must be sent in a header: a web page from elsewhere cannot make calls through a
browser on this machine.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from google.protobuf import json_format
from google.protobuf.descriptor_pb2 import MethodOptions

from hashhub import wire
from hashhub.errors import (
    Code,
    HashHubError,
    InvalidArgument,
    LimitExceeded,
    NotFound,
    Reason,
    Unauthenticated,
    Unavailable,
)
from hashhub.hub import access
from hashhub.server import connect
from hashhub.server.bodies import Budget, Clock, Reading, Rest
from hashhub.server.connect import Encoding, Unimplemented
from hashhub.server.hyper import Headers, HTTPServer, Request
from hashhub.server.interceptors import Envelope, Gate, Method
from hashhub.server.lanes import Callers, end_call
from hashhub.server.metrics import CONTENT_TYPE
from hashhub.server.servicers import FILES

if TYPE_CHECKING:
    import socket

    from google.protobuf.message import Message

    from hashhub.model import Principal

STATUS: Final[Mapping[Code, int]] = {
    # As googleapis maps them (google/rpc/code.proto).
    Code.INVALID_ARGUMENT: 400,
    Code.FAILED_PRECONDITION: 400,
    Code.UNAUTHENTICATED: 401,
    Code.PERMISSION_DENIED: 403,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.ABORTED: 409,
    Code.CANCELLED: 499,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.UNAVAILABLE: 503,
    Code.DATA_LOSS: 500,
    Code.INTERNAL: 500,
}
_SHOWN: Final = 300  # characters of what the JSON parser says
_EXTRA: Final = 64 * 1024  # bytes that JSON may take beyond base64
_THREADS: Final = 1  # that brings requests
_SHORT: Final = 4096  # bytes of a message that is decoded on that thread; some 60 hashes
_HEADER_SECONDS: Final = 30.0  # also how long a connection is kept between two requests
_RETRY_SECONDS: Final = 0.5  # advice to a caller that found the server full: a few times the longest usual call
_COMMON: Final = (("cache-control", "no-store"), ("x-content-type-options", "nosniff"), ("server", "hashhub"))
_HEADERS: Final = {kind: (("content-type", kind), *_COMMON) for kind in (connect.JSON, connect.PROTO)}
_ENCODINGS: Final = {
    (kind, packing): Encoding(kind, packing)
    for kind in (connect.JSON, connect.PROTO)
    for packing in ("identity", connect.ACCEPTED_ENCODINGS)
}
_PLAIN_JSON: Final = _ENCODINGS[connect.JSON, "identity"]
_CALLS: Final = "POST /hashhub.v1.Service/Method, GET /healthz and GET /metrics; docs/api.md lists the calls"

Submit = Callable[[Callable[[], None], Method | None, "Principal | None"], bool]


class HTTPDoor:
    """Answers requests; `open` puts it behind a listening socket."""

    def __init__(
        self,
        gate: Gate,
        methods: Mapping[str, Method],
        submit: Submit,
        *,
        health: Callable[[], tuple[bool, bytes]],
        scrape: Callable[[], str],
        max_message_bytes: int,
        body_bytes: int,
        callers: Callers,
    ) -> None:
        """`submit` runs a principal's call in its room or, without a method, the look for who makes it, where the
        principal is whose it seems to be by `callers`; it returns False when there is no place, and raises nothing but
        LimitExceeded, for a token's share. `max_message_bytes` bounds a message as gRPC would carry it; base64 makes
        its JSON a third longer. `body_bytes`: held at a time, by all calls. `health`: whether the hub matches, and the
        page that says so; `scrape`: the metrics as text.
        """
        read_texts_at_once()
        self.gate = gate
        self._methods = methods
        self._health_page = health
        self._scrape = scrape
        self.submit = submit
        self.callers = callers
        self.max_message_bytes = max_message_bytes
        self.max_body_bytes = max_message_bytes * 4 // 3 + _EXTRA
        self.budget = Budget(body_bytes, self.max_body_bytes)
        self.reads = {
            f"/{service.full_name}/{rpc.name}"
            for file in FILES
            for service in file.services_by_name.values()
            for rpc in service.methods
            if rpc.GetOptions().idempotency_level == MethodOptions.NO_SIDE_EFFECTS
        }
        self.clock = Clock()
        self._server: HTTPServer | None = None

    def open(self, listener: socket.socket, *, connections: int, header_seconds: float = _HEADER_SECONDS) -> None:
        """Take connections from now on, so many at a time."""
        self._server = HTTPServer(
            listener, self.handle, threads=_THREADS, connections=connections, header_seconds=header_seconds
        )

    def close(self, drain_seconds: float) -> None:
        """Take no more connections, let calls in progress end, and stop. Closing twice is fine."""
        if self._server is not None:
            self._server.close(drain_seconds)
        self.clock.close()

    def handle(self, request: Request) -> None:
        """Answer one request, now or later, without waiting for anything here."""
        if request.path == "/healthz":
            self._health(request)
            return
        method = self._methods.get(request.path)
        if method is not None:
            call = _Call(self, request, method)
            if call.is_recalled() or self.submit(call.begin, None, self.callers.who(call.authorization)):
                return
        elif request.path != "/metrics":
            self._refuse_unknown(request)
            return
        elif self.submit(lambda: self._metrics(request), None, self.callers.who(request.header("authorization", ""))):
            return
        self.refuse_json(request, _full())

    def _health(self, request: Request) -> None:
        if request.verb not in {"GET", "HEAD"}:
            self.refuse_verb(request, "GET, HEAD")
            return
        is_serving, page = self._health_page()
        if is_serving:
            self._say(request, 200, page)
        else:
            self._say(request, 503, page, ("retry-after", "1"))

    def _refuse_unknown(self, request: Request) -> None:
        if connect.is_connect(_media_type(request), request.header("connect-protocol-version", "")):
            self.refuse_connect(request, Unimplemented(f"there is no such call; there are {_CALLS}"), 404)
        else:
            self.refuse_json(request, NotFound(f"there is no such call; there are {_CALLS}"))

    def _metrics(self, request: Request) -> None:
        if request.verb not in {"GET", "HEAD"}:
            self.refuse_verb(request, "GET, HEAD")
            return
        authorization = request.header("authorization", "")
        known = functools.partial(self.callers.note, authorization)
        try:
            text = self.gate.metrics(Envelope(authorization, request.describe, known=known), self._scrape)
        except HashHubError as e:
            self.refuse_json(request, e)
        else:
            request.answer(200, (("content-type", CONTENT_TYPE), *_COMMON), text.encode())

    def refuse_verb(self, request: Request, verbs: str) -> None:
        """Tell which verbs there are."""
        self.refuse_json(request, _wrong("method", f"must be one of {verbs}"), 405, ("allow", verbs))

    def refuse_json(self, request: Request, error: HashHubError, status: int = 0, *headers: tuple[str, str]) -> None:
        """Answer with the error's status as JSON, under `status` or the HTTP code that its own code maps to."""
        if not status:
            status = 413 if error.reason is Reason.TOO_LARGE else STATUS[error.code]
        self._say(request, status, _to_json(wire.error_to_status(error)), *_advice(error), *headers)

    def refuse_connect(
        self, request: Request, error: HashHubError | Unimplemented, status: int = 0, *headers: tuple[str, str]
    ) -> None:
        """Answer with the error as the Connect protocol writes it."""
        advice = [("accept-encoding", connect.ACCEPTED_ENCODINGS)]
        if isinstance(error, HashHubError):
            advice = _advice(error)
        self._say(request, status or connect.status_of(error), connect.error_json(error), *advice, *headers)

    def refuse_stream(self, request: Request, kind: str, error: Unimplemented) -> None:
        """Answer with a stream of this media type that ends before it has begun."""
        body = connect.end_of_stream(error)
        Rest(request, lambda: request.answer(200, (("content-type", kind), *_COMMON), body)).start(self.clock)

    def _say(self, request: Request, status: int, body: bytes, *headers: tuple[str, str]) -> None:
        everything = (*_HEADERS[connect.JSON], *headers)
        Rest(request, lambda: request.answer(status, everything, body)).start(self.clock)


class _Call:
    """One call, from its header to its answer."""

    __slots__ = (
        "_connect", "_door", "_encoding", "_method", "_principal", "_reading", "_request", "_until", "authorization",
    )  # fmt: skip

    def __init__(self, door: HTTPDoor, request: Request, method: Method) -> None:
        self._door = door
        self._request = request
        self._method = method
        self.authorization = request.header("authorization", "")
        self._principal: Principal | None = None
        self._connect = False
        self._encoding = _PLAIN_JSON
        self._until: float | None = None
        self._reading: Reading | None = None

    def is_recalled(self) -> bool:
        """Begin, if who makes the call is known without asking the database, or nobody; tell whether it was so."""
        self._principal = self._door.gate.recall(self.authorization)
        if self._principal is None and self.authorization:
            return False
        self.begin()
        return True

    def begin(self) -> None:
        """Judge what stands in the header, and go on when the body is there. Raises nothing."""
        request, reads = self._request, self._door.reads
        try:
            if request.verb == "POST":
                self._begin_post()
            elif request.verb == "GET" and request.path in reads and request.query:
                self._begin_get()
            else:
                self._door.refuse_verb(request, "GET, POST" if request.path in reads else "POST")
        except (HashHubError, Unimplemented) as e:
            self._refuse(e)
        except Exception as e:  # noqa: BLE001 - the gate logs it and makes an error of it that says nothing
            self._refuse_counted(e)

    def _begin_post(self) -> None:
        request, door = self._request, self._door
        kind = _media_type(request)
        version = request.header("connect-protocol-version", "")
        self._connect = connect.is_connect(kind, version)
        if self._method.streams:
            self._refuse_stream(kind)
            return
        if kind not in _HEADERS:
            accepted = f"{connect.JSON}, {connect.PROTO}"
            self._refuse(_wrong("Content-Type", f"must be one of {accepted}"), 415, ("accept-post", accepted))
            return
        if self._connect:
            connect.check_version(version)
            self._set_deadline()
        packing = connect.check_packing(request.header("content-encoding", ""))
        self._encoding = _ENCODINGS[kind, packing]
        if not self._is_admitted():
            return
        limit = door.max_message_bytes if kind == connect.PROTO else door.max_body_bytes
        self._reading = Reading(request, door.budget, self._token(), limit=limit, until=self._until)
        try:
            self._reading.start(door.clock, self._received, self._refuse_counted)
        except HashHubError as e:
            self._refuse_counted(e)

    def _begin_get(self) -> None:
        self._connect = True
        self._set_deadline()
        if not self._is_admitted():
            return
        self._encoding, message = connect.read_query(self._request.query)
        self._reading = Reading(
            self._request, self._door.budget, self._token(), limit=self._door.max_message_bytes, until=self._until
        )
        self._received(message)

    def _is_admitted(self) -> bool:
        """Whether the token may make this call; refuse it otherwise."""
        try:
            if self._principal is None:
                self._principal = self._door.gate.authorise(self.authorization, self._method.roles)
                self._door.callers.note(self.authorization, self._principal)
            else:
                access.allow(self._principal, *self._method.roles)
        except HashHubError as e:
            if isinstance(e, Unauthenticated):
                self._door.callers.forget(self.authorization)
            self._refuse_counted(e)
            return False
        return True

    def _token(self) -> str:
        return "" if self._principal is None else self._principal.name

    def _set_deadline(self) -> None:
        allowed = connect.seconds_allowed(self._request.header("connect-timeout-ms", ""))
        if allowed is not None:
            self._until = time.monotonic() + allowed

    def _received(self, body: bytes) -> None:
        """Answer at once where that can be, or in the room for calls."""
        if self._method.at_once is not None and len(body) <= _SHORT and self._encoding.packing == "identity":
            assert self._principal is not None  # noqa: S101 - nothing is read before that
            try:
                answer = self._door.gate.call_at_once(
                    self._method, self._envelope(), self._principal, lambda: self._answered_at_once(body)
                )
            except HashHubError as e:
                self._end()
                self._refuse(e)
                return
            if answer is not None:
                self._end()
                self._answer(answer)
                return
        try:
            if not self._door.submit(lambda: self._make(body), self._method, self._principal):
                raise _full()
        except LimitExceeded as e:
            self._end()
            self._refuse_counted(e)

    def _answered_at_once(self, body: bytes) -> bytes | None:
        method = self._method
        if method.at_once is None:
            return None
        request = self._decode(body)
        wire.drop_output_only(request)
        answer = method.at_once(self._principal, request)
        return None if answer is None else self._encoder()(answer)

    def _make(self, body: bytes) -> None:
        """Make the call and answer."""
        envelope = self._envelope(self._request.watch(), len(body))
        try:
            try:
                answer = self._door.gate.call(self._method, envelope, lambda: self._decode(body), self._encoder())
            finally:
                end_call()
        except HashHubError as e:
            self._refuse(e)
        else:
            self._answer(answer)
        finally:
            self._end()

    def _answer(self, answer: bytes) -> None:
        if self._until is not None and time.monotonic() >= self._until:
            late = "the deadline passed before the answer was ready; allow more time"
            self._refuse(Unavailable(late, reason=Reason.DEADLINE_EXCEEDED))
            return
        headers: Headers = _HEADERS[self._encoding.media_type]
        if self._connect:
            answer, is_packed = connect.pack(answer, self._request.header("accept-encoding", ""))
            if is_packed:
                headers = (*headers, ("content-encoding", "gzip"), ("vary", "accept-encoding"))
        self._request.answer(200, headers, answer)

    def _envelope(self, is_wanted: Callable[[], bool] = lambda: True, size: int | None = None) -> Envelope:
        remaining = None if self._until is None else self._until - time.monotonic()
        packed = self._encoding.packing != "identity"  # how large it is unpacked is seen as it is unpacked
        return Envelope(
            self.authorization,
            self._request.describe,
            remaining,
            is_wanted,
            None if packed else size,
            counted=self._token(),
        )

    def _encoder(self) -> Callable[[Message], bytes]:
        return _to_proto if self._encoding.media_type == connect.PROTO else _to_json

    def _decode(self, body: bytes) -> Message:
        if body and self._encoding.packing == "gzip" and self._reading is not None:  # of nothing, nothing is packed
            body = self._reading.gunzip(body)
        if self._encoding.media_type == connect.JSON:
            wire.check_json(body, self._door.max_body_bytes, self._method.bounds)
            return _from_json(self._method, body)
        return self._method.parse(body)

    def _end(self) -> None:
        if self._reading is not None:
            self._reading.end()

    def _refuse_counted(self, error: Exception) -> None:
        """Count and log an error that comes before the call, and tell what may be told of it."""
        try:
            self._door.gate.refuse(self._method, self._envelope(), error)
        except HashHubError as e:
            self._refuse(e.with_traceback(None))

    def _refuse(self, error: HashHubError | Unimplemented, status: int = 0, *headers: tuple[str, str]) -> None:
        if self._connect:
            self._door.refuse_connect(self._request, error, status, *headers)
        elif isinstance(error, Unimplemented):
            self._door.refuse_json(self._request, _wrong("Content-Encoding", error.message), 415)
        else:
            self._door.refuse_json(self._request, error, status, *headers)

    def _refuse_stream(self, kind: str) -> None:
        remedy = "use gRPC, or call ListChanges again and again with nextPosition"
        if self._method.listens:
            remedy = "use gRPC, or match pictures of the stream one by one with MatchMedia"
        if kind.startswith(connect.STREAM):
            self._door.refuse_stream(self._request, kind, Unimplemented(f"streams are gRPC's alone: {remedy}"))
        elif self._connect:
            self._refuse(Unimplemented(f"streams are gRPC's alone: {remedy}"))
        else:
            self._refuse(_wrong("method", f"streams are not bridged: {remedy}"), 501)


class _UnpairedSurrogates:
    """Stands in for the pattern by which `json_format` looks for half a surrogate pair in each text: that takes 45 ns a
    character, 340 ms for a text of 8 MiB, and all other threads wait for it. This takes a few.
    """

    def search(self, text: str) -> bool:
        """Whether there is one."""
        if text.isascii():
            return False
        try:
            text.encode()
        except UnicodeEncodeError:
            return True
        return False


def read_texts_at_once() -> None:
    """Let `json_format` look through each text of a message at once, in this process."""
    json_format._UNPAIRED_SURROGATE_PATTERN = _UnpairedSurrogates()  # type: ignore[attr-defined]  # noqa: SLF001


def _from_json(method: Method, body: bytes) -> Message:
    try:
        text = body.decode().strip() or "{}"
        if not text.startswith("{"):  # the parser reads an array as an empty message
            raise ValueError("it is no JSON object")
        return json_format.Parse(text, method.request())
    except (json_format.ParseError, ValueError, RecursionError) as e:
        said = str(e)[:_SHOWN]
        raise InvalidArgument.field(
            "body", f"is no {method.request.DESCRIPTOR.name} in proto3 JSON: {said}", "NOT_JSON"
        ) from e


def _to_json(message: Message) -> bytes:
    return json_format.MessageToJson(message, indent=None).encode()


def _to_proto(message: Message) -> bytes:
    return message.SerializeToString()


def _media_type(request: Request) -> str:
    kind = request.header("content-type", "")
    return kind if kind in _HEADERS else kind.partition(";")[0].strip().lower()


def _full() -> LimitExceeded:
    return LimitExceeded(
        "the server has as many calls in progress as it takes; retry in a moment, with fewer at once",
        retry_after=_RETRY_SECONDS,
    )


def _wrong(part: str, description: str) -> InvalidArgument:
    return InvalidArgument.field(part, description, "NOT_ALLOWED")


def _advice(error: HashHubError) -> list[tuple[str, str]]:
    advice = []
    if error.code is Code.UNAUTHENTICATED:
        advice.append(("www-authenticate", "Bearer"))
    if error.retry_after is not None:
        advice.append(("retry-after", str(max(1, round(error.retry_after)))))
    return advice
