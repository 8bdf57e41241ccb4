"""Every call's way in, whatever door it came by.

    log and metrics  ->  errors  ->  authentication and roles  ->  limits  ->  decode  ->  servicer  ->  encode

`Gate` is that way. gRPC and the JSON bridge differ only in the `Envelope` that they fill in and in how they decode and encode.
It is one function and not a chain of `grpc.ServerInterceptor`s for two reasons: those run on grpc's single polling thread, where a
look-up of a token in the database would stop every other call; and the bridge has no grpc to run them.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final, NoReturn, Self, TypeVar

from google.protobuf.message import DecodeError, Message

from hashhub.errors import HashHubError, InvalidArgument, Reason, Unauthenticated, Unavailable
from hashhub.hub import access
from hashhub.model import Principal, Role

_log = logging.getLogger("hashhub.server")
_OK: Final = "OK"
_READS: Final = ("Get", "List", "Match", "BatchMatch", "Follow")

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Method:
    """A call that can be made.

    `handle(principal, request)` returns the answer. One that `streams` has `handle(principal, request, is_wanted)`, which yields
    answers for as long as `is_wanted()`.
    """

    name: str  # Service/Method
    request: type[Message]
    answer: type[Message]
    streams: bool
    roles: frozenset[Role]
    handle: Callable[..., Any]

    @property
    def path(self) -> str:
        """The path by which gRPC and the JSON bridge know it."""
        return f"/hashhub.v1.{self.name}"

    @property
    def reads(self) -> bool:
        """Whether it changes nothing."""
        return self.name.partition("/")[2].startswith(_READS)


@dataclass(frozen=True, slots=True)
class Envelope:
    """What came with a call besides its body.

    `remaining`: seconds until its deadline, None when it has none. `is_wanted`: whether somebody still waits for the answer.
    """

    authorization: str
    peer: Callable[[], str]
    remaining: float | None = None
    is_wanted: Callable[[], bool] = lambda: True


class Metrics:
    """Counts and durations by method, for this process since its start."""

    def __init__(self) -> None:
        """Start at zero."""
        self._lock = threading.Lock()
        self._calls: Counter[tuple[str, str]] = Counter()
        self._seconds: Counter[str] = Counter()

    def observe(self, method: str, code: str, seconds: float) -> None:
        """Count one call that ended with `code` after `seconds`."""
        with self._lock:
            self._calls[method, code] += 1
            self._seconds[method] += seconds  # type: ignore[assignment]  # a Counter adds floats as well

    def text(self, worker: int) -> str:
        """Return the counts in the Prometheus text format; `worker` tells the processes apart that share the port."""
        with self._lock:
            calls, seconds = sorted(self._calls.items()), sorted(self._seconds.items())
        lines = ["# HELP hashhub_calls_total Calls by method and code.", "# TYPE hashhub_calls_total counter"]
        lines += [f'hashhub_calls_total{{worker="{worker}",method="{m}",code="{c}"}} {n}' for (m, c), n in calls]
        lines += ["# HELP hashhub_call_seconds_total Time spent in calls.", "# TYPE hashhub_call_seconds_total counter"]
        lines += [f'hashhub_call_seconds_total{{worker="{worker}",method="{m}"}} {s:.6f}' for m, s in seconds]
        return "\n".join(lines) + "\n"


class Gate:
    """Lets calls through to the servicers. Whatever goes wrong leaves it as a HashHubError that is safe to show."""

    def __init__(self, authenticate: Callable[[str], Principal], metrics: Metrics) -> None:
        """`authenticate` returns who holds a secret, or raises Unauthenticated."""
        self._authenticate = authenticate
        self._metrics = metrics

    def call(
        self, method: Method, envelope: Envelope, decode: Callable[[], Message], encode: Callable[[Message], _T]
    ) -> _T:
        """Make a unary call and return its encoded answer."""
        with _Observed(self._metrics, method, envelope) as observed:
            observed.principal = self.authenticate(envelope.authorization)
            access.allow(observed.principal, *sorted(method.roles))
            _check_deadline(envelope)
            return encode(method.handle(observed.principal, _decoded(method, decode)))

    def stream(
        self, method: Method, envelope: Envelope, decode: Callable[[], Message], encode: Callable[[Message], _T]
    ) -> Iterator[_T]:
        """Make a streaming call and yield its encoded answers."""
        with _Observed(self._metrics, method, envelope) as observed:
            observed.principal = self.authenticate(envelope.authorization)
            access.allow(observed.principal, *sorted(method.roles))
            _check_deadline(envelope)
            request = _decoded(method, decode)
            yield from map(encode, method.handle(observed.principal, request, envelope.is_wanted))

    def refuse(self, method: Method, envelope: Envelope, error: HashHubError) -> NoReturn:
        """Count and raise `error` for a call that is not let in at all."""
        with _Observed(self._metrics, method, envelope):
            raise error

    def authorise(self, authorization: str, roles: frozenset[Role]) -> Principal:
        """Return who sends this `authorization` header. Raises Unauthenticated; PermissionDenied for another role."""
        principal = self.authenticate(authorization)
        access.allow(principal, *sorted(roles))
        return principal

    def authenticate(self, authorization: str) -> Principal:
        """Return who sends this `authorization` header. Raises Unauthenticated."""
        scheme, _, secret = authorization.partition(" ")
        if authorization and scheme.lower() != "bearer":
            raise Unauthenticated("the authorization header must be `Bearer <token>`", reason=Reason.TOKEN_UNKNOWN)
        return self._authenticate(secret.strip())


class _Observed:
    """The outer two layers of a call: one line of log, one count, and no foreign exception beyond this point."""

    __slots__ = ("_envelope", "_method", "_metrics", "_started", "principal")

    def __init__(self, metrics: Metrics, method: Method, envelope: Envelope) -> None:
        self._metrics, self._method, self._envelope = metrics, method, envelope
        self._started = perf_counter()
        self.principal: Principal | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        shown: HashHubError | None = None
        request_id = ""
        if isinstance(error, HashHubError):
            shown = error
        elif isinstance(error, Exception):
            request_id = secrets.token_hex(8)
            _log.error("unexpected error method=%s request=%s", self._method.name, request_id, exc_info=error)
            # The text of an unknown error may hold anything: paths, SQL, digests. It stays in the log.
            shown = HashHubError(
                "internal error; ask the operator to look for this request id in the server's log",
                metadata={"requestId": request_id},
            )
        seconds = perf_counter() - self._started
        code = _OK if shown is None else str(shown.code)
        self._metrics.observe(self._method.name, code, seconds)
        # What succeeded and changed nothing is counted, and written down only on demand: matching is thousands of calls a second.
        level = logging.DEBUG if shown is None and self._method.reads else logging.INFO
        if _log.isEnabledFor(level):
            _log.log(
                level,
                "call method=%s code=%s reason=%s ms=%.2f token=%s peer=%s request=%s",
                self._method.name,
                code,
                "-" if shown is None else shown.reason,
                seconds * 1e3,
                # A token that has ended is not let in; its refusal names it.
                self.principal.name if self.principal else shown.metadata.get("token", "-") if shown else "-",
                self._envelope.peer(),
                request_id or "-",
            )
        if shown is not None and shown is not error:
            raise shown from error


def _check_deadline(envelope: Envelope) -> None:
    """Raise Unavailable when nobody waits for the answer any more: it queued for longer than its caller's patience."""
    if envelope.remaining is not None and envelope.remaining <= 0:
        raise Unavailable(
            "the deadline passed before the call was begun; allow more time", reason=Reason.DEADLINE_EXCEEDED
        )


def _decoded(method: Method, decode: Callable[[], Message]) -> Message:
    try:
        return decode()
    except DecodeError as e:
        raise InvalidArgument.field(
            "request",
            f"the bytes are no {method.request.DESCRIPTOR.name}; is the client generated from hashhub.v1?",
            "NOT_DECODABLE",
        ) from e
