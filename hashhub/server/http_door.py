"""The HTTP door: every unary call as `POST /hashhub.v1.Service/Method`, by the Connect protocol and as plain JSON.

Both reach the same servicers through the same gate as gRPC. Plain JSON is for curl and probes: proto3 JSON bodies
(`bytes` are base64, 64-bit integers are strings), errors as a `google.rpc.Status` under the usual HTTP code. Connect
(`connect.py`) is for generated clients; its version header, or a media type that only it has, tells the two apart.
Streams are gRPC's alone: a reader would hold one of few threads for ever, and ListChanges gives the same feed to
whoever keeps its position.

    header  ->  who sends it (`Gate.authorise`)  ->  body, within the budget (`bodies`)  ->  `Gate.call`  ->  answer

Nothing of a body is read before the first two are known; a refused request's connection is closed with the rest of its
body unread. Single lookups are answered on the thread that brings them, as long as one of those threads stays free for
`/healthz`; everything else runs in the room for calls.

There is no CORS header, and a token must be sent in a header: a web page from elsewhere cannot make calls through a
browser on this machine.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, NoReturn

from google.protobuf import json_format
from google.protobuf.descriptor_pb2 import MethodOptions

from hashhub.errors import Code, HashHubError, InvalidArgument, LimitExceeded, NotFound, Reason, Unavailable
from hashhub.server import connect
from hashhub.server.bodies import Budget, Clock, Reading, too_large
from hashhub.server.connect import Encoding, Unimplemented
from hashhub.server.hyper import Headers, HTTPServer, Request
from hashhub.server.interceptors import Envelope, Gate, Method
from hashhub.server.servicers import FILES
from hashhub.wire import error_to_status

if TYPE_CHECKING:
    import socket

    from google.protobuf.message import Message

_STATUS: Final[Mapping[Code, int]] = {
    # As googleapis maps them (google/rpc/code.proto).
    Code.INVALID_ARGUMENT: 400,
    Code.FAILED_PRECONDITION: 400,
    Code.UNAUTHENTICATED: 401,
    Code.PERMISSION_DENIED: 403,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.ABORTED: 409,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.UNAVAILABLE: 503,
    Code.DATA_LOSS: 500,
    Code.INTERNAL: 500,
}
_SHOWN: Final = 300  # characters of what the JSON parser says
_EXTRA: Final = 64 * 1024  # bytes that JSON may take beyond base64
_THREADS: Final = 4  # that bring requests; all but one may be answering one meanwhile
_SINGLE: Final = "MatchService/MatchHashes"
_SINGLE_BYTES: Final = 4096  # some 60 hashes
_HEADER_SECONDS: Final = 30.0  # also how long a connection is kept between two requests
_RETRY_SECONDS: Final = 0.5  # advice to a caller that found the server full: a few times the longest usual call
_TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
_COMMON: Final = (("cache-control", "no-store"), ("x-content-type-options", "nosniff"), ("server", "hashhub"))
_PLAIN: Final = {
    kind: (("content-type", kind), *_COMMON) for kind in (connect.JSON, connect.PROTO, f"{connect.STREAM}json")
}
_CALLS: Final = "POST /hashhub.v1.Service/Method, GET /healthz and GET /metrics; docs/api.md lists the calls"

Submit = Callable[[Callable[[], None]], bool]


class HTTPDoor:
    """Answers requests; `open` puts it behind a listening socket."""

    def __init__(
        self,
        gate: Gate,
        methods: Mapping[str, Method],
        is_serving: Callable[[], bool],
        submit: Submit,
        *,
        worker: int,
        max_message_bytes: int,
        body_bytes: int,
    ) -> None:
        """`submit` runs a call in its room and returns False when that is full. `max_message_bytes` bounds a message as
        gRPC would carry it; base64 makes its JSON a third longer. `body_bytes`: held at a time, by all calls.
        """
        self.gate = gate
        self._methods = methods
        self._is_serving = is_serving
        self._submit = submit
        self._worker = worker
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
        self._seats = deque(range(_THREADS - 1))
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
        elif not self.run(lambda: self._route(request), here=True):
            _refuse_json(request, _full())

    def run(self, work: Callable[[], None], *, here: bool) -> bool:
        """Run it on this thread if that is allowed and another one stays free, else in the room for calls.

        Returns False when there is no room. `work` must not raise.
        """
        if here:
            try:
                seat = self._seats.pop()
            except IndexError:
                pass
            else:
                try:
                    work()
                finally:
                    self._seats.append(seat)
                return True
        return self._submit(work)

    def _health(self, request: Request) -> None:
        if request.verb not in {"GET", "HEAD"}:
            _not_allowed(request, "GET, HEAD")
        elif self._is_serving():
            _answer(request, 200, b'{"status":"SERVING"}')
        else:
            _answer(request, 503, b'{"status":"NOT_SERVING"}', ("retry-after", "1"))

    def _route(self, request: Request) -> None:
        method = self._methods.get(request.path)
        if method is not None:
            _Call(self, request, method).begin()
        elif request.path == "/metrics":
            self._metrics(request)
        elif connect.is_connect(_media_type(request), request.header("connect-protocol-version", "")):
            _refuse_connect(request, Unimplemented(f"there is no such call; there are {_CALLS}"), 404)
        else:
            _refuse_json(request, NotFound(f"there is no such call; there are {_CALLS}"))

    def _metrics(self, request: Request) -> None:
        if request.verb not in {"GET", "HEAD"}:
            _not_allowed(request, "GET, HEAD")
            return
        try:
            text = self.gate.metrics(_envelope(request), self._worker)
        except HashHubError as e:
            _refuse_json(request, e)
        else:
            request.answer(200, (("content-type", _TEXT), *_COMMON), text.encode())


class _Call:
    """One call, from its header to its answer."""

    __slots__ = ("_connect", "_door", "_encoding", "_is_wanted", "_method", "_reading", "_request", "_until")

    def __init__(self, door: HTTPDoor, request: Request, method: Method) -> None:
        self._door = door
        self._request = request
        self._method = method
        self._connect = False
        self._encoding = Encoding(connect.JSON, "identity")
        self._until: float | None = None
        self._is_wanted: Callable[[], bool] | None = None
        self._reading: Reading | None = None

    def begin(self) -> None:
        """Judge what stands in the header, and go on when the body is there."""
        request, method = self._request, self._method
        try:
            if request.verb == "POST":
                self._begin_post()
            elif request.verb == "GET" and request.path in self._door.reads and request.query:
                self._begin_get()
            else:
                _not_allowed(request, "GET, POST" if request.path in self._door.reads else "POST")
        except (HashHubError, Unimplemented) as e:
            self._refuse(e)
        except Exception as e:  # noqa: BLE001 - the gate logs it and makes an error of it that says nothing
            self._refuse(self._counted(method, e))

    def _begin_post(self) -> None:
        request, method, door = self._request, self._method, self._door
        kind = _media_type(request)
        version = request.header("connect-protocol-version", "")
        self._connect = connect.is_connect(kind, version)
        if method.streams:
            self._refuse_stream(kind)
            return
        if kind not in {connect.JSON, connect.PROTO}:
            accepted = f"{connect.JSON}, {connect.PROTO}"
            self._refuse(_wrong("Content-Type", f"must be one of {accepted}"), 415, ("accept-post", accepted))
            return
        if self._connect:
            connect.check_version(version)
            self._set_deadline()
        self._encoding = Encoding(kind, connect.check_packing(request.header("content-encoding", "")))
        token = self._admit()
        limit = door.max_message_bytes if kind == connect.PROTO else door.max_body_bytes
        self._reading = Reading(request, door.budget, token, limit=limit, until=self._until)
        try:
            self._reading.start(door.clock, self._received, self._not_received)
        except HashHubError as e:
            raise self._counted(method, e) from e

    def _begin_get(self) -> None:
        self._connect = True
        self._set_deadline()
        self._admit()
        self._encoding, message = connect.read_query(self._request.query)
        self._received(message)

    def _admit(self) -> str:
        """Return the name of the token that makes this call. Raises Unauthenticated; PermissionDenied."""
        try:
            principal = self._door.gate.authorise(
                self._request.header("authorization", ""), self._method.roles
            )
        except HashHubError as e:
            raise self._counted(self._method, e) from e
        return principal.name

    def _set_deadline(self) -> None:
        allowed = connect.seconds_allowed(self._request.header("connect-timeout-ms", ""))
        if allowed is not None:
            self._until = time.monotonic() + allowed

    def _received(self, body: bytes) -> None:
        single = (
            self._method.name == _SINGLE and len(body) <= _SINGLE_BYTES and self._encoding.packing == "identity"
        )
        if not single:
            self._is_wanted = self._request.watch()
        if not self._door.run(lambda: self._make(body), here=single):
            self._end()
            self._refuse(self._counted(self._method, _full()))

    def _not_received(self, error: HashHubError) -> None:
        self._refuse(self._counted(self._method, error))

    def _make(self, body: bytes) -> None:
        """Make the call and answer."""
        until = self._until
        envelope = _envelope(self._request)
        if until is not None or self._is_wanted is not None:
            envelope = Envelope(
                envelope.authorization,
                envelope.peer,
                None if until is None else until - time.monotonic(),
                self._is_wanted or envelope.is_wanted,
            )
        proto = self._encoding.media_type == connect.PROTO
        try:
            answer = self._door.gate.call(
                self._method,
                envelope,
                lambda: self._decode(body),
                _to_proto if proto else _to_json,
            )
        except HashHubError as e:
            self._refuse(e)
            return
        finally:
            self._end()
        if until is not None and time.monotonic() >= until:
            self._refuse(
                Unavailable("the deadline passed before the answer was ready", reason=Reason.DEADLINE_EXCEEDED)
            )
            return
        headers: Headers = _PLAIN[self._encoding.media_type]
        if self._connect:
            answer, is_packed = connect.pack(answer, self._request.header("accept-encoding", ""))
            if is_packed:
                headers = (*headers, ("content-encoding", "gzip"), ("vary", "accept-encoding"))
        self._request.answer(200, headers, answer)

    def _decode(self, body: bytes) -> Message:
        limit = self._door.max_message_bytes
        if self._encoding.packing == "gzip":
            body = self._unpack(body)
        if self._encoding.media_type == connect.JSON:
            return _from_json(self._method, body)
        if len(body) > limit:
            raise too_large(limit, str(len(body)))
        return self._method.request.FromString(body)

    def _unpack(self, body: bytes) -> bytes:
        if self._reading is None:  # the message of a GET, as long as a header may be
            self._reading = Reading(self._request, self._door.budget, "", limit=self._door.max_message_bytes, until=None)
        return self._reading.gunzip(body)

    def _end(self) -> None:
        if self._reading is not None:
            self._reading.end()

    def _counted(self, method: Method, error: Exception) -> HashHubError:
        """Count and log an error that comes before the call; return what may be told of it."""
        try:
            self._door.gate.refuse(method, _envelope(self._request), error)  # type: ignore[arg-type]
        except HashHubError as e:
            return e

    def _refuse(self, error: HashHubError | Unimplemented, status: int = 0, *headers: tuple[str, str]) -> None:
        if self._connect:
            _refuse_connect(self._request, error, status, *headers)
        elif isinstance(error, Unimplemented):
            _refuse_json(self._request, _wrong("Content-Encoding", error.message), 415)
        else:
            _refuse_json(self._request, error, status, *headers)

    def _refuse_stream(self, kind: str) -> None:
        remedy = "use gRPC, or call ListChanges again and again with nextPosition"
        if kind.startswith(connect.STREAM):
            body = connect.end_of_stream(Unimplemented(f"streams are gRPC's alone: {remedy}"))
            self._request.answer(200, (("content-type", kind), ("connection", "close"), *_COMMON), body)
        elif self._connect:
            self._refuse(Unimplemented(f"streams are gRPC's alone: {remedy}"))
        else:
            self._refuse(_wrong("method", f"streams are not bridged: {remedy}"), 501)


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
    return request.header("content-type", "").partition(";")[0].strip().lower()


def _envelope(request: Request) -> Envelope:
    return Envelope(authorization=request.header("authorization", ""), peer=lambda: f"http:{request.peer}")


def _full() -> LimitExceeded:
    return LimitExceeded(
        "the server has as many calls in progress as it takes; retry in a moment, with fewer at once",
        retry_after=_RETRY_SECONDS,
    )


def _wrong(part: str, description: str) -> InvalidArgument:
    return InvalidArgument.field(part, description, "NOT_ALLOWED")


def _not_allowed(request: Request, verbs: str) -> None:
    _refuse_json(request, _wrong("method", f"must be one of {verbs}"), 405, ("allow", verbs))


def _refuse_json(request: Request, error: HashHubError, status: int = 0, *headers: tuple[str, str]) -> None:
    """Answer with the error's status as JSON, under `status` or the HTTP code that its own code maps to."""
    if not status:
        status = 413 if error.reason is Reason.TOO_LARGE else _STATUS[error.code]
    _answer(request, status, _to_json(error_to_status(error)), *_advice(request, error), *headers)


def _refuse_connect(
    request: Request, error: HashHubError | Unimplemented, status: int = 0, *headers: tuple[str, str]
) -> None:
    """Answer with the error as the Connect protocol writes it."""
    advice = [("accept-encoding", connect.ACCEPTED_ENCODINGS)]
    if isinstance(error, HashHubError):
        advice = _advice(request, error)
    _answer(request, status or connect.status_of(error), connect.error_json(error), *advice, *headers)


def _advice(request: Request, error: HashHubError) -> list[tuple[str, str]]:
    advice = []
    if error.code is Code.UNAUTHENTICATED:
        advice.append(("www-authenticate", "Bearer"))
    if error.retry_after is not None:
        advice.append(("retry-after", str(max(1, round(error.retry_after)))))
    return advice


def _answer(request: Request, status: int, body: bytes, *headers: tuple[str, str]) -> None:
    request.answer(status, (*_PLAIN[connect.JSON], *headers), body)
