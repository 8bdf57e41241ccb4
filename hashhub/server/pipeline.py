"""What every call goes through, whichever listener it came by.

    log and metrics -> errors -> authentication and roles -> quota and limiter -> read -> on a thread: decode, servicer,
    encode

Everything waits on the event loop; what may ask the database or compute runs on threads, one for each place of each
limiter. A lookup is searched in memory on the event loop: one that hits nothing is answered there, and what others hit
is handed on to a thread. gRPC and HTTP differ only in the `Envelope` that they fill in and in how they read, decode and
encode.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import secrets
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from time import monotonic, perf_counter
from typing import Any, Final, Self, TypeVar

import msgspec
from google.protobuf.message import DecodeError, Message

from hashhub import cancellation, wire
from hashhub.errors import HashHubError, InvalidArgument, Reason, StatusCode, Unauthenticated, Unavailable
from hashhub.hub import access
from hashhub.model import Principal, Role
from hashhub.server.admission import Admission, CallThreads, Limiter, LimiterName, TokenNames, TokenQuotas
from hashhub.server.connect import Unimplemented
from hashhub.server.live import FrameRate
from hashhub.server.metrics import Metrics

_log = logging.getLogger("hashhub.server")
_OK: Final = "OK"
_READS: Final = (
    "Get", "List", "Search", "Match", "BatchMatch", "Follow", "Compare", "Diff", "Explain", "Simulate", "Wait", "Read",
    "Summarise",
)  # fmt: skip
_REFUSALS: Final = frozenset({StatusCode.UNAUTHENTICATED, StatusCode.PERMISSION_DENIED, StatusCode.RESOURCE_EXHAUSTED})
_FAILURES_A_MINUTE: Final = 30  # lines for each token; some 6 KB
_MINUTE: Final = 60.0
_SHORT: Final = 4096  # bytes of a message that is decoded on the event loop; some 60 hashes
_LOOKUPS: Final = 2  # at a time, into the database for who makes a call

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Method:
    """A call that can be made.

    `handle(principal, request)` returns the answer; `at_once(principal, request)`, which most calls lack, returns it
    without waiting, or what returns it and may wait. In the limiter of media it is `handle(principal, request,
    charge)`, where `charge(seconds)` counts CPU seconds to the token. One that `streams` has `handle(caller, request,
    is_wanted)`, which yields answers while `is_wanted()`; `caller()` returns the principal as it is now, or raises. One
    that also `listens` has `handle(caller, request, conversation)`.
    """

    name: str  # Service/Method
    request: type[Message]
    answer: type[Message]
    streams: bool
    roles: tuple[Role, ...]
    handle: Callable[..., Any]
    bounds: wire.Bounds
    at_once: Callable[..., Any] | None = None
    listens: bool = False
    limiter: LimiterName = "calls"

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
        return self.name.partition("/")[2].startswith(_READS)


@dataclass(frozen=True, slots=True)
class Conversation:
    """What a call that listens has besides its first request.

    `requests`: the further ones; reading them waits for the caller, and raises Unavailable when it has gone.
    `check_media` raises while the token has no media seconds left; `charge_media(seconds)` counts some.
    `take_frame(pace)` takes a frame, or returns the seconds until there may be one.
    """

    requests: Iterator[Any]
    is_wanted: Callable[[], bool]
    check_media: Callable[[], None]
    charge_media: Callable[[float], None]
    take_frame: Callable[[FrameRate], float]


class Envelope(msgspec.Struct):
    """What came with a call besides its body.

    `certificate`: the caller's in PEM, which the listener has verified; empty: none. `until`: the monotonic time of its
    deadline, None when it has none. `size`: bytes of the request, None when that is not known before it is read.
    `check` raises what the caller may not be let in for.
    """

    authorization: str
    peer: Callable[[], str]
    certificate: bytes = b""
    until: float | None = None
    size: int | None = None
    check: Callable[[Principal], None] | None = None
    has_gone: bool = False
    """Whether the caller has gone."""

    @property
    def proof(self) -> str:
        """By which the caller is told from others before it is known who it is."""
        return self.authorization or self.certificate.decode("latin-1")

    def leave(self) -> None:
        """Note that the caller has gone."""
        self.has_gone = True

    def is_wanted(self) -> bool:
        """Whether somebody still waits for the answer."""
        return not self.has_gone

    @property
    def remaining(self) -> float | None:
        """Seconds until its deadline."""
        return None if self.until is None else self.until - monotonic()


class FailureLog:
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


class Pipeline:
    """Lets calls through to the servicers. Whatever goes wrong leaves it as a HashHubError that is safe to show."""

    def __init__(
        self,
        authenticate: Callable[[str | bytes], Principal],
        metrics: Metrics,
        limiters: Mapping[LimiterName, Limiter],
        quotas: TokenQuotas,
        recall: Callable[[str | bytes], Principal | None] = lambda _: None,
    ) -> None:
        """`authenticate` returns who holds a secret, or a certificate, or raises Unauthenticated. `recall` returns who
        it is where that needs no look into the database, or None. Raises Unavailable where the system has too few
        threads to give.
        """
        self.authenticate = authenticate
        self.recall = recall
        self._metrics = metrics
        self.limiters = limiters
        self.quotas = quotas
        self.token_names = TokenNames()
        self.failures = FailureLog()
        calls = limiters["calls"]
        self.lookups = Limiter("tokens", _LOOKUPS, calls.capacity, retry_seconds=calls.retry_seconds)
        self._threads = CallThreads(sum(limiter.working for limiter in (*limiters.values(), self.lookups)))

    def close(self) -> None:
        """Begin no further work."""
        self._threads.close()

    async def call(
        self,
        method: Method,
        envelope: Envelope,
        receive: Callable[[str], Awaitable[bytes]],
        decode: Callable[[bytes], Message],
        encode: Callable[[Message], bytes],
        *,
        keeps_budget: bool = False,
    ) -> bytes:
        """Make a unary call and return its encoded answer.

        `receive` reads the request of a token, which is let in. `keeps_budget`: it keeps to a budget of its own, so
        that a slow sender takes no place from others while it sends. `decode` and `encode` may be called on a thread.
        """
        with _CallRecord(self._metrics, self.failures, method.name, envelope, method.reads) as observed:
            principal = await self._let_in(observed, method.roles)
            if keeps_budget:
                body = await receive(principal.name)
                work = self._begin(method, envelope, principal, body, decode, encode)
                if isinstance(work, bytes):
                    return work
                async with self._admitted(method, envelope, principal) as admission:
                    return await self.run(envelope, functools.partial(work, admission))
            async with self._admitted(method, envelope, principal) as admission:
                body = await receive(principal.name)
                work = self._begin(method, envelope, principal, body, decode, encode)
                if isinstance(work, bytes):
                    return work
                return await self.run(envelope, functools.partial(work, admission))

    def _begin(
        self,
        method: Method,
        envelope: Envelope,
        principal: Principal,
        body: bytes,
        decode: Callable[[bytes], Message],
        encode: Callable[[Message], bytes],
    ) -> bytes | Callable[[Admission], bytes]:
        """Return the answer of a call that can be answered at once, or else what makes it on a thread."""
        if method.at_once is None or envelope.size is None or envelope.size > _SHORT:
            return functools.partial(self._make, method, principal, body, decode, encode)
        _check_deadline(envelope)
        request = decode(body)
        wire.drop_output_only(request)
        answer = method.at_once(principal, request)
        return (lambda _: encode(answer())) if callable(answer) else encode(answer)

    def _make(
        self,
        method: Method,
        principal: Principal,
        body: bytes,
        decode: Callable[[bytes], Message],
        encode: Callable[[Message], bytes],
        admission: Admission,
    ) -> bytes:
        """Make a call on a thread."""
        request = _decoded(decode, body, admission)
        if method.limiter == "media":
            return encode(method.handle(principal, request, functools.partial(self.quotas.charge_media, principal)))
        return encode(method.handle(principal, request))

    async def stream(
        self,
        method: Method,
        envelope: Envelope,
        receive: Callable[[str], Awaitable[bytes]],
        decode: Callable[[bytes], Message],
        send: Callable[[bytes], None],
        following: Iterator[Message],
    ) -> None:
        """Make a streaming call. `send` takes encoded answers, `following` gives further requests, both on threads."""
        with _CallRecord(self._metrics, self.failures, method.name, envelope, method.reads) as observed:
            principal = await self._let_in(observed, method.roles)
            caller = functools.partial(self._caller, envelope, method.roles)
            async with self._admitted(method, envelope, principal) as admission:
                body = await receive(principal.name)

                def work() -> None:
                    # The bytes that one message may have stay set aside for as long as a caller goes on sending.
                    request = decode(body) if method.listens else _decoded(decode, body, admission)
                    asked: Any = Conversation(
                        following,
                        envelope.is_wanted,
                        functools.partial(self.quotas.check_media, principal),
                        functools.partial(self.quotas.charge_media, principal),
                        functools.partial(self.quotas.take_frame, principal),
                    )
                    with contextlib.closing(
                        method.handle(caller, request, asked if method.listens else envelope.is_wanted)
                    ) as answers:
                        for answer in answers:
                            send(answer.SerializeToString())

                await self.run(envelope, work)

    async def metrics(self, envelope: Envelope, scrape: Callable[[], str]) -> str:
        """Return what `scrape` returns, for operators and auditors."""
        with _CallRecord(self._metrics, self.failures, "metrics", envelope, True) as observed:
            await self._let_in(observed, (Role.AUDITOR, Role.OPERATOR))
            return await self._look(envelope, scrape)

    async def let_in(
        self, name: str, envelope: Envelope, work: Callable[[Principal], Awaitable[_T]], *, reads: bool
    ) -> _T:
        """Return what `work` makes of a request of another protocol than hashhub.v1 once its sender is known. What it
        asks of the hub are calls of its own; `name` is for the log and the metrics, and one of few.
        """
        with _CallRecord(self._metrics, self.failures, name, envelope, reads) as observed:
            return await work(await self._let_in(observed, tuple(Role)))

    async def look(self, name: str, envelope: Envelope, work: Callable[[], _T]) -> _T:
        """Return what `work` returns, which may wait for the database, to whoever asks; `name` as of `let_in`."""
        with _CallRecord(self._metrics, self.failures, name, envelope, True):
            return await self._look(envelope, work)

    async def run(self, envelope: Envelope, work: Callable[[], _T]) -> _T:
        """Return what `work` returns on a thread. It learns by `cancellation` when its caller has gone, and is waited
        for all the same: its thread belongs to the place that the call has.
        """
        return await self._threads.run(functools.partial(_in_scope, envelope, work), envelope.leave)

    def _admitted(self, method: Method, envelope: Envelope, principal: Principal) -> Admission:
        if method.limiter == "media":
            self.quotas.check_media(principal)
        size = method.bounds.bytes if envelope.size is None else min(envelope.size, method.bounds.bytes)
        quota = "streams" if method.streams else "calls"
        return Admission(self.quotas, principal, self.limiters[method.limiter], quota, size)

    async def _let_in(self, observed: _CallRecord, roles: tuple[Role, ...]) -> Principal:
        """Note and return who makes the call. Raises Unauthenticated; PermissionDenied for another role; LimitExceeded
        where too many wait to be looked up; Unavailable when its deadline has passed.
        """
        # Noted before the role is looked at, so that a refusal says whose token it was.
        envelope = observed.envelope
        principal = observed.principal = await self._principal(envelope)
        access.check_proof(principal, observed.name)
        access.allow(principal, *roles)
        if principal.addresses:
            access.check_address(principal, envelope.peer())
        if envelope.check is not None:
            envelope.check(principal)
        _check_deadline(envelope)
        return principal

    async def _principal(self, envelope: Envelope) -> Principal:
        sent = _sent(envelope)
        principal = self.recall(sent)
        if principal is not None and self.quotas.counts.is_prepared(principal.name):
            return principal
        if not sent:
            return self.authenticate(sent)  # nothing is looked up for none
        try:
            principal = await self._look(envelope, functools.partial(self._looked_up, sent))
        except Unauthenticated:
            self.token_names.forget(envelope.proof)
            raise
        self.token_names.note(envelope.proof, principal.name)
        return principal

    async def _look(self, envelope: Envelope, work: Callable[[], _T]) -> _T:
        """Do what may wait for another process; a token that was seen before waits beside unknown ones."""
        limiter, name = self.lookups, self.token_names.name(envelope.proof)
        await limiter.enter(name)
        try:
            return await self.run(envelope, work)
        finally:
            limiter.leave(name)

    def _looked_up(self, sent: str | bytes) -> Principal:
        principal = self.authenticate(sent)
        self.quotas.counts.prepare(principal.name)  # before the event loop takes from them
        return principal

    def _caller(self, envelope: Envelope, roles: tuple[Role, ...]) -> Principal:
        """Return who makes a call that goes on, as it is now. Raises Unauthenticated, PermissionDenied."""
        principal = self._looked_up(_sent(envelope))
        access.allow(principal, *roles)
        if principal.addresses:
            access.check_address(principal, envelope.peer())
        return principal


def _sent(envelope: Envelope) -> str | bytes:
    """Return the secret or the certificate that came with a call, empty for none."""
    scheme, _, rest = envelope.authorization.partition(" ")
    if envelope.authorization and scheme.lower() != "bearer":
        raise Unauthenticated("the authorization header must be `Bearer <token>`", reason=Reason.TOKEN_UNKNOWN)
    secret = rest.strip()
    if secret and envelope.certificate:
        told = "a token and a client certificate were sent; send one, a token to the address that takes no certificates"
        raise Unauthenticated(told, reason=Reason.CERTIFICATE_UNKNOWN)
    return secret or envelope.certificate


def _in_scope(envelope: Envelope, work: Callable[[], _T]) -> _T:
    _check_deadline(envelope)
    with cancellation.scope(envelope.is_wanted, envelope.remaining):
        return work()


class _CallRecord:
    """The outer two layers of a call: a line of log, one count, and no foreign exception beyond this point."""

    def __init__(
        self,
        metrics: Metrics,
        failed: FailureLog,
        name: str,
        envelope: Envelope,
        reads: bool,  # noqa: FBT001 - made in one place
    ) -> None:
        self._metrics, self._failed, self.name, self._reads = metrics, failed, name, reads
        self._started = perf_counter()
        self.envelope = envelope
        self.principal: Principal | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Unimplemented):  # of the protocol, and no call
            return
        shown: HashHubError | None = None
        request_id = ""
        if isinstance(error, HashHubError):
            shown = error
        elif isinstance(error, asyncio.CancelledError):
            shown = Unavailable("the caller cancelled the call or went away", reason=Reason.CALLER_GONE)
        elif isinstance(error, Exception):
            request_id = secrets.token_hex(8)
            _log.error("unexpected error method=%s request=%s", self.name, request_id, exc_info=error)
            # The text of an unknown error may hold anything: paths, SQL, digests. It stays in the log.
            shown = HashHubError(
                "internal error; ask the operator to look for this request id in the server's log",
                metadata={"requestId": request_id},
            )
        seconds = perf_counter() - self._started
        code = _OK if shown is None else str(shown.code)
        self._metrics.observe(self.name, code, seconds, "" if shown is None else str(shown.reason))
        self._failed.write_rest()
        # A token that has ended is not let in; its refusal names it.
        token = self.principal.name if self.principal else shown.metadata.get("token", "-") if shown else "-"
        level = logging.WARNING if shown is not None and shown.code in _REFUSALS else logging.INFO
        if shown is None and self._reads:  # written down only on demand: matching is thousands of calls a second
            level = logging.DEBUG
        if _log.isEnabledFor(level) and (shown is None or self._failed.may_write(token)):
            _log.log(
                level,
                "call method=%s code=%s reason=%s ms=%.2f token=%s peer=%s request=%s",
                self.name,
                code,
                "-" if shown is None else shown.reason,
                seconds * 1e3,
                token,
                self.envelope.peer(),
                request_id or "-",
            )
        if shown is not None and shown is not error:
            raise shown from error


def _check_deadline(envelope: Envelope) -> None:
    """Raise Unavailable when the call has waited in the queue past its deadline."""
    if envelope.until is not None and envelope.until <= monotonic():
        raise Unavailable(
            "the deadline passed before the call was begun; allow more time", reason=Reason.DEADLINE_EXCEEDED
        )


def _decoded(decode: Callable[[bytes], Message], body: bytes, admission: Admission) -> Message:
    request = decode(body)
    admission.settle(request)
    wire.drop_output_only(request)
    return request
