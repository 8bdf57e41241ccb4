"""Every call's way in, whatever door it came by.

    log and metrics  ->  errors  ->  authentication and roles  ->  shares and rooms  ->  read, decode  ->  servicer  ->
    encode

Nothing of a request but its headers is read before its caller is known and there is room for it: `decode` reads it.

Failed calls are written down with the token that made them, but of each token only so many a minute: a hostile caller
must not fill the disk, nor drown what others do.

`Gate` is that way. gRPC and HTTP differ only in the `Envelope` that they fill in and in how they decode and
encode. It is one function and not a chain of `grpc.ServerInterceptor`s for two reasons: those run on grpc's single
polling thread, where a look-up of a token in the database would stop every other call; and HTTP has no grpc to
run them.
"""

from __future__ import annotations

import functools
import logging
import secrets
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from time import monotonic, perf_counter
from typing import Any, Final, NoReturn, Self, TypeVar

import msgspec
from google.protobuf.message import DecodeError, Message

from hashhub import cancellation, wire
from hashhub.errors import Code, HashHubError, InvalidArgument, Reason, Unauthenticated, Unavailable
from hashhub.hub import access
from hashhub.model import Principal, Role
from hashhub.server.live import Pace
from hashhub.server.metrics import Metrics
from hashhub.server.rooms import Room, RoomName
from hashhub.server.shares import Admission, TokenShares

_log = logging.getLogger("hashhub.server")
_OK: Final = "OK"
_READS: Final = (
    "Get", "List", "Search", "Match", "BatchMatch", "Follow", "Compare", "Diff", "Explain", "Simulate", "Wait", "Read",
    "Summarise",
)  # fmt: skip
_REFUSALS: Final = frozenset({Code.UNAUTHENTICATED, Code.PERMISSION_DENIED, Code.RESOURCE_EXHAUSTED})
_FAILURES_A_MINUTE: Final = 30  # lines for each token; some 6 KB
_MINUTE: Final = 60.0

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Method:
    """A call that can be made.

    `handle(principal, request)` returns the answer. `at_once(principal, request)` returns it too, without waiting for
    anything, or None where that cannot be; most calls have none. One in the room of media has
    `handle(principal, request, charge)`, where `charge(seconds)` counts CPU seconds to the token. One that `streams`
    has `handle(caller, request, is_wanted)`, which yields answers for as long as `is_wanted()`; `caller()` returns the
    principal as it is now, or raises once its token does not work any more. One that also `listens`, whose caller goes
    on sending, has `handle(caller, request, conversation)`.
    """

    name: str  # Service/Method
    request: type[Message]
    answer: type[Message]
    streams: bool
    roles: frozenset[Role]
    handle: Callable[..., Any]
    bounds: wire.Bounds
    at_once: Callable[..., Any] | None = None
    listens: bool = False
    room: RoomName = "calls"

    @property
    def path(self) -> str:
        """The path by which gRPC and HTTP know it."""
        return f"/hashhub.v1.{self.name}"

    def parse(self, body: bytes) -> Message:
        """Return the request, within its bounds. Raises LimitExceeded, InvalidArgument."""
        try:
            return wire.parse(self.request, body, self.bounds)
        except DecodeError as e:
            raise InvalidArgument.field(
                "request",
                f"the bytes are no {self.request.DESCRIPTOR.name}; is the client generated from hashhub.v1?",
                "NOT_DECODABLE",
            ) from e

    @property
    def reads(self) -> bool:
        """Whether it changes nothing."""
        return _reads(self.name)


@functools.cache  # of the calls that there are
def _reads(name: str) -> bool:
    return name.partition("/")[2].startswith(_READS)


@dataclass(frozen=True, slots=True)
class Conversation:
    """What a call that listens has besides its first request.

    `requests`: the further ones; reading them waits for the caller, and raises Unavailable when it has gone.
    `is_wanted`: whether somebody still waits for answers. `check_media` raises while the caller's token has no media
    seconds left; `charge_media(seconds)` counts some. `take_frame(pace)` takes a frame by the token's pace and
    this one, or returns the seconds until there may be one.
    """

    requests: Iterator[Any]
    is_wanted: Callable[[], bool]
    check_media: Callable[[], None]
    charge_media: Callable[[float], None]
    take_frame: Callable[[Pace], float]


class Envelope(msgspec.Struct, frozen=True):
    """What came with a call besides its body.

    `remaining`: seconds until its deadline, None when it has none. `is_wanted`: whether somebody still waits for the
    answer. `size`: bytes of the request, None when that is not known before it is read. `known`: what is told whose
    call it is. `counted`: the token whose share of calls holds this one already.
    """

    authorization: str
    peer: Callable[[], str]
    remaining: float | None = None
    is_wanted: Callable[[], bool] = lambda: True
    size: int | None = None
    known: Callable[[Principal], None] | None = None
    counted: str = ""


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

    def __init__(
        self,
        authenticate: Callable[[str], Principal],
        metrics: Metrics,
        rooms: Mapping[RoomName, Room],
        shares: TokenShares,
        recall: Callable[[str], Principal | None] = lambda _: None,
    ) -> None:
        """`authenticate` returns who holds a secret, or raises Unauthenticated. `recall` returns who it is where that
        needs no look into the database, or None.
        """
        self._authenticate = authenticate
        self._recall = recall
        self._metrics = metrics
        self.rooms = rooms
        self.shares = shares
        self._failed = FailedCalls()

    def call(
        self, method: Method, envelope: Envelope, decode: Callable[[], Message], encode: Callable[[Message], _T]
    ) -> _T:
        """Make a unary call and return its encoded answer. `decode` reads the request, and is called when its caller is
        let in.
        """
        with self._observed(method.name, envelope, reads=method.reads) as observed:
            principal = self._authorise(observed, method.roles)
            _check_deadline(envelope)
            with (
                cancellation.scope(envelope.is_wanted, envelope.remaining),
                self._admitted(method, envelope, principal) as admission,
            ):
                request = _decoded(decode, admission)
                if method.room == "media":
                    charge = functools.partial(self.shares.charge_media, principal)
                    return encode(method.handle(principal, request, charge))
                return encode(method.handle(principal, request))

    def call_at_once(
        self,
        method: Method,
        envelope: Envelope,
        principal: Principal,
        answer: Callable[[], _T | None],
    ) -> _T | None:
        """Make a unary call for a principal that was just recalled, by `answer`, which waits for nothing.

        Returns None, as `answer` does, and counts nothing, when `call` has to make it.
        """
        with self._observed(method.name, envelope, reads=method.reads) as observed:
            observed.principal = principal
            access.allow(principal, *method.roles)
            _check_deadline(envelope)
            encoded = answer()
            observed.is_counted = encoded is not None
        return encoded

    def recall(self, authorization: str) -> Principal | None:
        """Return who sends this `authorization` header where that needs no waiting, None otherwise or if nobody."""
        scheme, _, secret = authorization.partition(" ")
        return self._recall(secret.strip()) if scheme.lower() == "bearer" else None

    def stream(
        self, method: Method, envelope: Envelope, decode: Callable[[], Message], encode: Callable[[Message], _T]
    ) -> Iterator[_T]:
        """Make a streaming call and yield its encoded answers."""
        with self._observed(method.name, envelope, reads=method.reads) as observed:
            principal = self._authorise(observed, method.roles)
            _check_deadline(envelope)
            caller = functools.partial(self.authorise, envelope.authorization, method.roles)
            with (
                cancellation.scope(envelope.is_wanted, envelope.remaining),
                self._admitted(method, envelope, principal) as admission,
            ):
                request = _decoded(decode, admission)
                yield from map(encode, method.handle(caller, request, envelope.is_wanted))

    def converse(
        self,
        method: Method,
        envelope: Envelope,
        decode: Callable[[], Message],
        rest: Iterator[Message],
        encode: Callable[[Message], _T],
    ) -> Iterator[_T]:
        """Make a call whose caller goes on sending, and yield its encoded answers.

        `decode` reads the first request. The bytes that one may have are set aside for as long as the call lasts.
        """
        with self._observed(method.name, envelope, reads=method.reads) as observed:
            principal = self._authorise(observed, method.roles)
            _check_deadline(envelope)
            caller = functools.partial(self.authorise, envelope.authorization, method.roles)
            with (
                cancellation.scope(envelope.is_wanted, envelope.remaining),
                self._admitted(method, envelope, principal),
            ):
                conversation = Conversation(
                    rest,
                    envelope.is_wanted,
                    functools.partial(self.shares.check_media, principal),
                    functools.partial(self.shares.charge_media, principal),
                    functools.partial(self.shares.take_frame, principal),
                )
                yield from map(encode, method.handle(caller, decode(), conversation))

    def metrics(self, envelope: Envelope, scrape: Callable[[], str]) -> str:
        """Return what `scrape` returns, for operators and auditors."""
        with self._observed("metrics", envelope, reads=True) as observed:
            self._authorise(observed, frozenset({Role.OPERATOR, Role.AUDITOR}))
            return scrape()

    def refuse(self, method: Method, envelope: Envelope, error: Exception) -> NoReturn:
        """Count and raise `error` for a call that is not let in at all."""
        with self._observed(method.name, envelope, reads=method.reads):
            raise error

    def _observed(self, name: str, envelope: Envelope, *, reads: bool) -> _Observed:
        return _Observed(self._metrics, self._failed, name, envelope, reads)

    def _admitted(self, method: Method, envelope: Envelope, principal: Principal) -> Admission:
        if method.room == "media":
            self.shares.check_media(principal)
        size = method.bounds.bytes if envelope.size is None else min(envelope.size, method.bounds.bytes)
        share = "streams" if method.streams else "" if envelope.counted == principal.name else "calls"
        return Admission(self.shares, principal, self.rooms[method.room], share, size)

    def _authorise(self, observed: _Observed, roles: frozenset[Role]) -> Principal:
        """Note and return who sends the `authorization` header. Raises Unauthenticated; PermissionDenied for another
        role.
        """
        # Noted before the role is looked at, so that a refusal says whose token it was.
        principal = observed.principal = self.authenticate(observed.envelope.authorization)
        if observed.envelope.known is not None:
            observed.envelope.known(principal)
        access.allow(principal, *sorted(roles))
        return principal

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
        principal = self._authenticate(secret.strip())
        self.shares.prepare(principal.name)  # before grpc's polling thread takes from them for the token's next call
        return principal


class _Observed:
    """The outer two layers of a call: a line of log, one count, and no foreign exception beyond this point."""

    __slots__ = ("_failed", "_metrics", "_name", "_reads", "_started", "envelope", "is_counted", "principal")

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
        self.is_counted = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None and not self.is_counted:
            return
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
        self._metrics.observe(self._name, code, seconds, "" if shown is None else str(shown.reason))
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
    """Raise Unavailable when the call has waited in the queue past its deadline."""
    if envelope.remaining is not None and envelope.remaining <= 0:
        raise Unavailable(
            "the deadline passed before the call was begun; allow more time", reason=Reason.DEADLINE_EXCEEDED
        )


def _decoded(decode: Callable[[], Message], admission: Admission) -> Message:
    request = decode()
    if admission.is_counted:
        admission.settle(request.ByteSize())
    wire.drop_output_only(request)
    return request
