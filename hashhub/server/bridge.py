"""The JSON bridge: `POST /hashhub.v1.Service/Method` with a JSON body, for curl, for languages without gRPC, for
probes.

It is generic: one handler for all calls, through the same gate to the same servicers. Bodies are proto3 JSON (`bytes`
are base64, 64-bit integers are strings). Errors are a `google.rpc.Status` as JSON under the usual HTTP code. Streams
are not bridged: a reader would hold one of few threads for ever, and ListChanges gives the same feed to whoever keeps
its position.

There is no CORS header, and the media type must be `application/json`: a web page from elsewhere cannot make calls
through a browser on this machine.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

import waitress
from google.protobuf import json_format
from google.protobuf.message import Message
from waitress import wasyncore

from hashhub.errors import Code, HashHubError, InvalidArgument, LimitExceeded, NotFound, Reason
from hashhub.server.interceptors import Envelope, Gate, Method
from hashhub.wire import error_to_status

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

_HTTP: Final[Mapping[Code, str]] = {
    # As googleapis maps them (google/rpc/code.proto).
    Code.INVALID_ARGUMENT: "400 Bad Request",
    Code.FAILED_PRECONDITION: "400 Bad Request",
    Code.UNAUTHENTICATED: "401 Unauthorized",
    Code.PERMISSION_DENIED: "403 Forbidden",
    Code.NOT_FOUND: "404 Not Found",
    Code.ALREADY_EXISTS: "409 Conflict",
    Code.ABORTED: "409 Conflict",
    Code.RESOURCE_EXHAUSTED: "429 Too Many Requests",
    Code.UNAVAILABLE: "503 Service Unavailable",
    Code.DATA_LOSS: "500 Internal Server Error",
    Code.INTERNAL: "500 Internal Server Error",
}
_JSON: Final = "application/json"
_SHOWN: Final = 300  # characters of what the JSON parser says
_CONNECTIONS: Final = 256  # open at once; further ones wait in the kernel's queue
_HEADER_ROOM: Final = 64 * 1024
_LOOK_SECONDS: Final = 0.05
_RETRY_SECONDS: Final = 1.0  # advice to a caller with media: some ten pictures later

# Its warnings ("Task queue depth is 1") come with every short burst and say nothing that the metrics do not.
logging.getLogger("waitress.queue").setLevel(logging.ERROR)


class Application:
    """The WSGI application."""

    def __init__(
        self,
        gate: Gate,
        methods: Mapping[str, Method],
        is_serving: Callable[[], bool],
        *,
        worker: int,
        max_message_bytes: int,
        max_media_calls: int,
    ) -> None:
        """`max_message_bytes` bounds a message as gRPC would carry it; base64 makes its JSON a third longer.
        `max_media_calls`: those that may wait for media to be hashed, each holding a thread.
        """
        self._gate = gate
        self._methods = methods
        self._is_serving = is_serving
        self._worker = worker
        self._media_places = threading.BoundedSemaphore(max_media_calls)
        self.max_body_bytes = max_message_bytes * 4 // 3 + _HEADER_ROOM

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one HTTP request."""
        verb, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO", "")
        envelope = Envelope(
            authorization=environ.get("HTTP_AUTHORIZATION", ""), peer=lambda: f"http:{environ.get('REMOTE_ADDR', '')}"
        )
        try:
            if path in self._methods:
                if verb != "POST":
                    return _refusal(
                        start_response, _wrong("method", "must be POST"), "405 Method Not Allowed", ("Allow", "POST")
                    )
                return self._call(self._methods[path], envelope, environ, start_response)
            if path not in {"/healthz", "/metrics"}:
                known = "POST /hashhub.v1.Service/Method, GET /healthz and GET /metrics; docs/api.md lists the calls"
                return _refusal(start_response, NotFound(f"there is no such call; there are {known}"))
            if verb not in {"GET", "HEAD"}:
                return _refusal(
                    start_response, _wrong("method", "must be GET"), "405 Method Not Allowed", ("Allow", "GET, HEAD")
                )
            if path == "/metrics":
                text = self._gate.metrics(envelope, self._worker)
                return _answer(start_response, "200 OK", text.encode(), kind="text/plain; version=0.0.4; charset=utf-8")
            if self._is_serving():
                return _answer(start_response, "200 OK", b'{"status":"SERVING"}')
            return _answer(start_response, "503 Service Unavailable", b'{"status":"NOT_SERVING"}', ("Retry-After", "1"))
        except HashHubError as e:
            return _refusal(start_response, e)

    def _call(
        self, method: Method, envelope: Envelope, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        if method.streams:
            remedy = "use gRPC, or call ListChanges again and again with nextPosition"
            return _refusal(
                start_response, _wrong("method", f"streams are not bridged: {remedy}"), "501 Not Implemented"
            )
        if environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower() != _JSON:
            return _refusal(start_response, _wrong("Content-Type", f"must be {_JSON}"), "415 Unsupported Media Type")
        if not method.hashes_media:
            answer = self._gate.call(method, envelope, lambda: self._read(method, environ), _to_json)
            return _answer(start_response, "200 OK", answer)
        if not self._media_places.acquire(blocking=False):
            full = "as many threads as may wait for media do so already; retry in a moment, or use gRPC"
            self._gate.refuse(method, envelope, LimitExceeded(full, retry_after=_RETRY_SECONDS))
        try:
            answer = self._gate.call(method, envelope, lambda: self._read(method, environ), _to_json)
        finally:
            self._media_places.release()
        return _answer(start_response, "200 OK", answer)

    def _read(self, method: Method, environ: WSGIEnvironment) -> Message:
        # waitress has read the body whole and set the length, also of a chunked one.
        length = int(environ.get("CONTENT_LENGTH") or 0)
        if length > self.max_body_bytes:
            raise LimitExceeded(
                f"the body must be at most {self.max_body_bytes} bytes, got {length}; send smaller batches",
                reason=Reason.TOO_LARGE,
            )
        body: bytes = environ["wsgi.input"].read(length)
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


class Bridge:
    """The HTTP server around the application, on one listening socket, in threads of its own."""

    def __init__(self, application: Application, listener: socket.socket, threads: int) -> None:
        """Take connections from now on."""
        self._application = application
        self._map: dict[int, Any] = {}
        self._stopping = threading.Event()
        body = application.max_body_bytes
        self._server = waitress.create_server(
            application,
            map=self._map,
            sockets=[listener],
            threads=threads,
            ident=None,
            connection_limit=_CONNECTIONS,
            # One byte more than the application takes, so that it is the application that answers, in JSON.
            max_request_body_size=body + 1,
            # waitress writes what exceeds these to a temporary file; media must never touch a disk.
            inbuf_overflow=body + _HEADER_ROOM,
            outbuf_overflow=1 << 30,
            expose_tracebacks=False,
        )
        self._thread = threading.Thread(target=self._run, name="bridge", daemon=True)
        self._thread.start()

    def close(self, drain_seconds: float) -> None:
        """Take no more connections, let calls in progress end, and stop."""
        until = time.monotonic() + drain_seconds
        self._server.accepting = False
        dispatcher = self._server.task_dispatcher
        while (dispatcher.queue or dispatcher.active_count) and time.monotonic() < until:
            time.sleep(_LOOK_SECONDS)
        self._stopping.set()
        self._server.pull_trigger()
        self._thread.join()
        dispatcher.shutdown(timeout=0.5)
        wasyncore.close_all(self._map)

    def _run(self) -> None:
        while not self._stopping.is_set():
            wasyncore.loop(timeout=1.0, map=self._map, count=1)


def _to_json(message: Message) -> bytes:
    return json_format.MessageToJson(message, indent=None).encode()


def _wrong(part: str, description: str) -> InvalidArgument:
    return InvalidArgument.field(part, description, "NOT_ALLOWED")


def _refusal(
    start_response: StartResponse, error: HashHubError, status: str = "", *headers: tuple[str, str]
) -> Iterable[bytes]:
    """Answer with the error's status as JSON, under `status` or the HTTP code that its own code maps to."""
    more = [*headers]
    if error.code is Code.UNAUTHENTICATED:
        more.append(("WWW-Authenticate", "Bearer"))
    if error.retry_after is not None:
        more.append(("Retry-After", str(max(1, round(error.retry_after)))))
    if not status:
        status = "413 Content Too Large" if error.reason is Reason.TOO_LARGE else _HTTP[error.code]
    return _answer(start_response, status, _to_json(error_to_status(error)), *more)


def _answer(
    start_response: StartResponse, status: str, body: bytes, *headers: tuple[str, str], kind: str = _JSON
) -> Iterable[bytes]:
    start_response(
        status,
        [
            ("Content-Type", kind),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            *headers,
        ],
    )
    return [body]
