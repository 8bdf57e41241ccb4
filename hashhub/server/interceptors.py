"""Every call's way in, whatever door it came by.

    log and metrics  ->  errors  ->  authentication and roles  ->  limits  ->  decode  ->  servicer  ->  encode

Failed calls are written down with the token that made them, but of each token only so many a minute: a hostile caller
must not fill the disk, nor drown what others do.

`Gate` is that way. gRPC and the JSON bridge differ only in the `Envelope` that they fill in and in how they decode and
encode. It is one function and not a chain of `grpc.ServerInterceptor`s for two reasons: those run on grpc's single
polling thread, where a look-up of a token in the database would stop every other call; and the bridge has no grpc to
run them.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import monotonic, perf_counter
from typing import Any, Final, NoReturn, Self, TypeVar

from google.protobuf.message import DecodeError, Message

from hashhub import wire
from hashhub.errors import Code, HashHubError, InvalidArgument, Reason, Unauthenticated, Unavailable
from hashhub.hub import access
from hashhub.model import Principal, Role

_log = logging.getLogger("hashhub.server")
_OK: Final = "OK"
_READS: Final = ("Get", "List", "Match", "BatchMatch", "Follow")
_REFUSALS: Final = frozenset({Code.UNAUTHENTICATED, Code.PERMISSION_DENIED, Code.RESOURCE_EXHAUSTED})
_FAILURES_A_MINUTE: Final = 30  # lines for each token; some 6 KB
_MINUTE: Final = 60.0

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Method:
    """A call that can be made.

    `handle(principal, request)` returns the answer. One that `hashes_media` has
    `handle(principal, request, is_wanted)`, and a room of its own, because it may wait for long. One that `streams` has
    `handle(caller, request, is_wanted)`, which yields answers for as long as `is_wanted()`; `caller()` returns the
    principal as it is now, or raises once its token does not work any more.
    """

    name: str  # Service/Method
    request: type[Message]
    answer: type[Message]
    streams: bool
    roles: frozenset[Role]
    handle: Callable[..., Any]
    hashes_media: bool = False

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

    `remaining`: seconds until its deadline, None when it has none. `is_wanted`: whether somebody still waits for the
    answer.
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


class FailedCalls:
    """Decides which failed calls are written down: the first of each token in a minute, and then their number.

    Callers without a known token share one allowance, so what is kept here is bounded by the number of tokens.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        """`clock` tells seconds."""
        self._clock = clock
        self._lock = threading.Lock()
        self._failures: Counter[str] = Counter()
        self._until = clock() + _MINUTE

    def may_write(self, token: str) -> bool:
        """Count a failed call of this token; tell whether it is still to be written down."""
        with self._lock:
            self._failures[token] += 1
            return self._failures[token] <= _FAILURES_A_MINUTE

    def write_rest(self) -> None:
        """When the minute is over, write down how many failed calls of each token were left out, and begin another."""
        if self._clock() < self._until:
            return
        with self._lock:
            if self._clock() < self._until:  # another thread was first
                return
            failures, self._failures = self._failures, Counter()
            self._until = self._clock() + _MINUTE
        for token, count in failures.items():
            if count > _FAILURES_A_MINUTE:
                _log.warning(
                    "%d more failed calls of token=%s are not written down one by one",
                    count - _FAILURES_A_MINUTE,
                    token,
                )


class Gate:
    """Lets calls through to the servicers. Whatever goes wrong leaves it as a HashHubError that is safe to show."""

    def __init__(self, authenticate: Callable[[str], Principal], metrics: Metrics) -> None:
        """`authenticate` returns who holds a secret, or raises Unauthenticated."""
        self._authenticate = authenticate
        self._metrics = metrics
        self._failed = FailedCalls()

    def call(
        self, method: Method, envelope: Envelope, decode: Callable[[], Message], encode: Callable[[Message], _T]
    ) -> _T:
        """Make a unary call and return its encoded answer."""
        with self._observed(method.name, envelope, reads=method.reads) as observed:
            self._authorise(observed, method.roles)
            _check_deadline(envelope)
            more = (envelope.is_wanted,) if method.hashes_media else ()
            return encode(method.handle(observed.principal, _decoded(method, decode), *more))

    def stream(
        self, method: Method, envelope: Envelope, decode: Callable[[], Message], encode: Callable[[Message], _T]
    ) -> Iterator[_T]:
        """Make a streaming call and yield its encoded answers."""
        with self._observed(method.name, envelope, reads=method.reads) as observed:
            self._authorise(observed, method.roles)
            _check_deadline(envelope)
            request = _decoded(method, decode)

            def caller() -> Principal:
                return self.authorise(envelope.authorization, method.roles)

            yield from map(encode, method.handle(caller, request, envelope.is_wanted))

    def metrics(self, envelope: Envelope, worker: int) -> str:
        """Return the counts of this process, for operators and auditors."""
        with self._observed("metrics", envelope, reads=True) as observed:
            self._authorise(observed, frozenset({Role.OPERATOR, Role.AUDITOR}))
            return self._metrics.text(worker)

    def refuse(self, method: Method, envelope: Envelope, error: HashHubError) -> NoReturn:
        """Count and raise `error` for a call that is not let in at all."""
        with self._observed(method.name, envelope, reads=method.reads):
            raise error

    def _observed(self, name: str, envelope: Envelope, *, reads: bool) -> _Observed:
        return _Observed(self._metrics, self._failed, name, envelope, reads)

    def _authorise(self, observed: _Observed, roles: frozenset[Role]) -> None:
        """Note who sends the `authorization` header. Raises Unauthenticated; PermissionDenied for another role."""
        # Noted before the role is looked at, so that a refusal says whose token it was.
        observed.principal = self.authenticate(observed.envelope.authorization)
        access.allow(observed.principal, *sorted(roles))

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
    """The outer two layers of a call: a line of log, one count, and no foreign exception beyond this point."""

    __slots__ = ("_failed", "_metrics", "_name", "_reads", "_started", "envelope", "principal")

    def __init__(
        self,
        metrics: Metrics,
        failed: FailedCalls,
        name: str,
        envelope: Envelope,
        reads: bool,  # noqa: FBT001 - made in one place
    ) -> None:
        self._metrics, self._failed, self._name, self._reads = metrics, failed, name, reads
        self._started = perf_counter()
        self.envelope = envelope
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
            _log.error("unexpected error method=%s request=%s", self._name, request_id, exc_info=error)
            # The text of an unknown error may hold anything: paths, SQL, digests. It stays in the log.
            shown = HashHubError(
                "internal error; ask the operator to look for this request id in the server's log",
                metadata={"requestId": request_id},
            )
        seconds = perf_counter() - self._started
        code = _OK if shown is None else str(shown.code)
        self._metrics.observe(self._name, code, seconds)
        self._failed.write_rest()
        # A token that has ended is not let in; its refusal names it.
        token = self.principal.name if self.principal else shown.metadata.get("token", "-") if shown else "-"
        level = self._level(shown)
        if _log.isEnabledFor(level) and (shown is None or self._failed.may_write(token)):
            _log.log(
                level,
                "call method=%s code=%s reason=%s ms=%.2f token=%s peer=%s request=%s",
                self._name,
                code,
                "-" if shown is None else shown.reason,
                seconds * 1e3,
                token,
                self.envelope.peer(),
                request_id or "-",
            )
        if shown is not None and shown is not error:
            raise shown from error

    def _level(self, shown: HashHubError | None) -> int:
        if shown is None:
            # Counted, and written down only on demand: matching is thousands of calls a second.
            return logging.DEBUG if self._reads else logging.INFO
        return logging.WARNING if shown.code in _REFUSALS else logging.INFO


def _check_deadline(envelope: Envelope) -> None:
    """Raise Unavailable when nobody waits for the answer any more: it queued for longer than its caller's patience."""
    if envelope.remaining is not None and envelope.remaining <= 0:
        raise Unavailable(
            "the deadline passed before the call was begun; allow more time", reason=Reason.DEADLINE_EXCEEDED
        )


def _decoded(method: Method, decode: Callable[[], Message]) -> Message:
    try:
        request = decode()
    except DecodeError as e:
        raise InvalidArgument.field(
            "request",
            f"the bytes are no {method.request.DESCRIPTOR.name}; is the client generated from hashhub.v1?",
            "NOT_DECODABLE",
        ) from e
    wire.drop_output_only(request)
    return request
