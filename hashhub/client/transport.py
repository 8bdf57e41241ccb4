"""Calls to a hub: short names to resource names, the connection, retries, and blocking calls; `aio` has the
asynchronous ones.

    call ──> attempt ──(Unavailable, or LimitExceeded or Conflict with RetryInfo)──> wait ──> attempt … ──> HashHubError
               │                                                                       until `retry_seconds` have passed
               └── answer

Every call has a deadline. Only calls that can be repeated are: reads, and writes whose request holds a `request_id`
or whose repetition the contract defines as a success.
"""

from __future__ import annotations

import random
import re
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from copy import deepcopy
from itertools import islice
from types import ModuleType
from typing import Any, Final, Generic, NamedTuple, Protocol, Self, TypedDict, TypeVar, cast
from weakref import WeakSet

import grpc
import msgspec
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from hashhub import addresses, v1, wire
from hashhub.errors import Conflict, HashHubError, InvalidArgument, LimitExceeded, Reason, Unauthenticated, Unavailable
from hashhub.key_pair import KeyPair
from hashhub.wire import status_to_error

R = TypeVar("R")
PAGE: Final = 1_000  # what the hub gives at most
_METHODS: Final[dict[str, Any]] = {
    method.input_type.full_name: method
    for module in vars(v1).values()
    if isinstance(module, ModuleType)
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}


def _parts(name: str, shape: str) -> list[str]:
    parts = name.split("/")
    if not name.isascii():
        told = f"expected {shape} in the letters a-z, digits and -, got {name[:200]!r}"
        raise InvalidArgument.field("name", told, "RESOURCE_NAME")
    if len(parts) != shape.count("/") + 1 or not all(parts):
        raise InvalidArgument.field("name", f"expected {shape}, got {name[:200]!r}", "RESOURCE_NAME")
    return parts


def _named(shape: str, make: Callable[..., str]) -> Callable[[str], str]:
    """Return a function from the short name that commands use to the resource name."""
    return lambda name: make(*_parts(name, shape))


contributor_name: Final = _named("CONTRIBUTOR", wire.contributor_name)
conflict_name: Final = _named("CONFLICT", wire.conflict_name)
group_name: Final = _named("GROUP", wire.group_name)
token_name: Final = _named("TOKEN", wire.token_name)
policy_name: Final = _named("NAME", wire.policy_name)  # or NAME@VERSION
hash_set_name: Final = _named("CONTRIBUTOR/SET", wire.hash_set_name)
webhook_name: Final = _named("CONTRIBUTOR/WEBHOOK", wire.webhook_name)
import_name: Final = _named("CONTRIBUTOR/SET/IMPORT", wire.import_name)


def entry_name(name: str) -> str:
    """Return the resource name of `CONTRIBUTOR/SET/ENTRY`."""
    contributor_id, hash_set_id, entry_id = _parts(name, "CONTRIBUTOR/SET/ENTRY")
    if not entry_id.isdecimal() or not entry_id.isascii():
        told = f"expected CONTRIBUTOR/SET/ENTRY with a number, got {name[:200]!r}"
        raise InvalidArgument.field("name", told, "RESOURCE_NAME")
    return wire.entry_name(contributor_id, hash_set_id, int(entry_id))


def subject_name(name: str) -> str:
    """Return the resource name of an event's subject, from its short name."""
    parts = name.split("/")
    if not name or parts[0] in {"approvals", "tokens", "groups", "events", "policies", "schemes", "conflicts"}:
        return name
    match parts:
        case ["webhooks", _, _]:
            return webhook_name(name.removeprefix("webhooks/"))
        case [_]:
            return contributor_name(name)
        case [_, _]:
            return hash_set_name(name)
        case [_, _, last] if not last.isdecimal():
            return import_name(name)
    return entry_name(name)


class Unreachable(Unavailable):
    """The hub cannot be reached. `passes`: a retry may help; otherwise the address or settings must be corrected."""

    def __init__(self, message: str, *, passes: bool) -> None:
        super().__init__(message, reason=Reason.SERVER_UNAVAILABLE)
        self.passes = passes


class CertificateRenewed(Unavailable):
    """The client certificate with which a call began holds no longer, and there is a new one for the next call."""


# What grpc's text has in it, what that means, and whether it passes by itself.
_CAUSES: Final = (
    ("WRONG_VERSION_NUMBER|HTTP_REQUEST",
     ("{address} speaks no TLS, and this client does: name the hub's gRPC address; if it is meant to be without TLS, "
     "say so (--no-tls)"), False),
    ("CERTIFICATE_VERIFY_FAILED",
     ("the certificate of {address} is not of an authority that this machine trusts: name the authority's file "
     "(--ca-file)"), False),
    ("Hostname Verification Check failed",
     "the certificate of {address} is for another name: use the name that it was made for", False),
    (r"Failed parsing HTTP/2|http1\.x server|http2 header with status|invalid content-type",
     ("{address} does not speak gRPC: it may be the hub's HTTP address (by default port 8471), or another program's; "
     "name its gRPC address (by default port 8470)"), False),
    ("Connection refused|No such file or directory",
     ("the server cannot be reached: nothing listens on {address}; start the hub (hashhub serve), or correct the "
     "address"), True),
    ("lookup failed|[Dd]omain name not found|DNS resolution failed|Name or service not known",
     "the server cannot be reached: the host of {address} is not known; correct its name", True),
    ("Socket closed|Connection reset|recvmsg",
     "the server cannot be reached: {address} closed the connection; {closed}", True),
    ("[Nn]etwork is unreachable|[Nn]o route to host|timed out|timeout occurred|FD shutdown",
     "the server cannot be reached: {address} does not answer; correct the address, or the firewall between", True),
)  # fmt: skip


def call_error(error: grpc.RpcError, address: str, *, tls: bool) -> HashHubError:
    """Return the error for a failed call; for a failed connection, with its cause."""
    known = status_to_error(error)
    if type(known) is not Unavailable or known.retry_after is not None:
        return known
    call = cast("grpc.Call", error)
    if call.code() is not grpc.StatusCode.UNAVAILABLE or known.message == call.details():  # the hub's own words
        return known
    said = call.details() or ""
    # The hub's HTTP door closes what begins as gRPC does, as one with TLS does what has none.
    what = ", or not take this certificate, or a client without one" if tls else ", or speak TLS (--tls, or --ca-file)"
    closed = f"it may be stopping{what}, or be the hub's HTTP address (by default port 8471)"
    for text, meaning, passes in _CAUSES:
        if re.search(text, said):
            return Unreachable(meaning.format(address=address, closed=closed), passes=passes)
    return known


_FIRST_WAIT: Final = 0.1  # seconds before the second attempt; doubles with each
_LONGEST_WAIT: Final = 5.0  # seconds
_LONGEST_ADVICE: Final = 30.0  # seconds that a server may ask for
_GRPC_SCHEMES: Final = frozenset({"unix", "dns", "ipv4", "ipv6", "xds"})
MAX_ANSWER_BYTES: Final = 128 * 1024 * 1024  # a batch of 1,000 queries with 100 matches each is near 60 MB
RENEWAL_SECONDS: Final = 60.0
"""For how long what follows a feed waits for the certificate that takes the place of one that has expired."""
_RENEWAL_LOOK: Final = 1.0
CLOSED: Final = "the connection was closed by this program; open a new client"
OPTIONS: Final = (
    ("grpc.max_receive_message_length", MAX_ANSWER_BYTES),
    ("grpc.max_send_message_length", -1),  # the server decides
    ("grpc.enable_retries", 0),  # retried here, where it is known which calls may be
    ("grpc.initial_reconnect_backoff_ms", 100),
    # grpc gives each attempt to connect so long, whatever the name says: TLS over a long way needs it, and so does a
    # machine that is busy.
    ("grpc.min_reconnect_backoff_ms", 5000),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # A way that was cut without a word: who follows a feed sends nothing, and would wait for its next page for good.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.http2.ping_timeout_ms", 20_000),
)


def is_loopback(address: str) -> bool:
    """Whether `HOST:PORT` (or `unix:PATH`) is on this machine, see `addresses`."""
    if address.startswith("unix:"):
        return True
    return addresses.is_loopback_host(address.rpartition(":")[0].strip("[]") or address)


class ConnectionOptions(TypedDict, total=False):
    """How a client connects.

    `tls`: None means plain text to loopback addresses and TLS to all others; False says that plain text to another
    machine is intended. `ca_certificates`: PEM bytes, instead of the system's roots. `certificate`: PEM files of a
    client certificate and of its private key, instead of a token; once they are renewed, the next call has the new one.
    `timeout`: seconds for each attempt of an ordinary call, 30 unless said. `retry_seconds`: how long to go on trying
    while the hub is away or busy, 2 unless said.
    """

    tls: bool | None
    ca_certificates: bytes | None
    certificate: tuple[str, str] | None
    timeout: float
    retry_seconds: float


class Connection:
    """Where a client's calls go, and the channel for them: of grpc or grpc.aio, whose functions have the same names."""

    def __init__(
        self,
        address: str,
        token: str,
        *,
        tls: bool | None = None,
        ca_certificates: bytes | None = None,
        certificate: tuple[str, str] | None = None,
        timeout: float = 30.0,
        retry_seconds: float = 2.0,
    ) -> None:
        """Check the address and the token; nothing is sent. Raises InvalidArgument."""
        scheme, separator, _ = address.partition("://")
        if separator and scheme not in _GRPC_SCHEMES:
            raise InvalidArgument.field(
                "server",
                f"is a URL ({scheme[:10]}://…); expected the HOST:PORT of the hub's gRPC service, for example "
                "127.0.0.1:8470, which is not its HTTP address",
            )
        has_port = address.startswith("unix:") or address.rpartition(":")[2].isdecimal()
        if not has_port or not address.isprintable():
            told = f"expected HOST:PORT, for example 127.0.0.1:8470, got {address[:80]!r}"
            raise InvalidArgument.field("server", told)
        if not token.isascii() or any(c.isspace() for c in token):
            raise InvalidArgument.field("token", "must be ASCII without white space; was the right file named?")
        self.address = address
        self.timeout = timeout
        self.retry_seconds = retry_seconds
        self.metadata = (("authorization", f"Bearer {token}"),) if token else ()
        if certificate is not None and (token or tls is False):
            raise InvalidArgument.field("certificate", "is sent instead of a token, and by TLS; leave out the other")
        is_local = is_loopback(address) and ca_certificates is None and certificate is None
        self._tls = not is_local if tls is None else tls
        self._pair = KeyPair("certificate", *certificate) if certificate is not None else None
        self._ca = ca_certificates
        self._lock = threading.Lock()
        self._channel: Any = None
        self._channels: WeakSet[Any] = WeakSet()  # with those before, on which calls still go on
        self._stubs: dict[str, Callable[..., Any]] = {}
        self.is_closed = threading.Event()

    def stub(self, kind: Any, request: Message) -> tuple[Callable[..., Any], Any]:
        """Return the callable for a request's method, and its channel, to be held until the call is over. `kind`: grpc
        or grpc.aio. Raises Unavailable once the connection is closed.
        """
        name = request.DESCRIPTOR.full_name
        with self._lock:
            if self.is_closed.is_set():
                raise Unavailable(CLOSED)
            if self._newest() is None:
                self._channel, self._stubs = self._open(kind), {}
                self._channels.add(self._channel)
            if name not in self._stubs:
                method = _METHODS[name]
                ways = (method.client_streaming, method.server_streaming)
                make = getattr(self._channel, "_".join("stream" if streams else "unary" for streams in ways))
                self._stubs[name] = make(
                    f"/{method.containing_service.full_name}/{method.name}",
                    request_serializer=type(request).SerializeToString,
                    response_deserializer=GetMessageClass(method.output_type).FromString,
                )
            return self._stubs[name], self._channel

    def _newest(self) -> Any:
        """Return the channel with the certificate as it is now, None where it is to be opened."""
        with suppress(InvalidArgument):  # in the middle of a change
            if self._pair is not None and self._pair.refresh():
                self._channel = None
        return self._channel

    def _open(self, kind: Any) -> Any:
        if not self._tls:
            return kind.insecure_channel(self.address, OPTIONS)
        own = (self._pair.key, self._pair.chain) if self._pair is not None else (None, None)
        return kind.secure_channel(self.address, grpc.ssl_channel_credentials(self._ca, *own), OPTIONS)

    def close(self) -> list[Any]:
        """Open no channel any more, and return those that are to be closed."""
        with self._lock:
            self.is_closed.set()
            return list(self._channels)

    def error(self, error: grpc.RpcError, channel: Any) -> HashHubError:
        """Return the error that a failed call means, which was made by this channel."""
        known = call_error(error, self.address, tls=self._tls)
        if isinstance(known, Unauthenticated):
            with self._lock:
                if self._newest() is not channel:
                    return CertificateRenewed("the client certificate was renewed during the call; call again")
        return known

    def renewal_pause(self, error: grpc.RpcError, channel: Any, failed: float) -> float:
        """Return the seconds until it is to be asked again whether a stream goes on that failed then, by the monotonic
        clock; 0: it does, with a renewed certificate. Raises what else the error means.
        """
        known = self.error(error, channel)
        if isinstance(known, CertificateRenewed):
            return 0.0
        if known.reason is not Reason.CERTIFICATE_EXPIRED or time.monotonic() > failed + RENEWAL_SECONDS:
            raise known from error
        if self.is_closed.is_set():
            raise Unavailable(CLOSED) from error
        return _RENEWAL_LOOK

    def attempts(self, *, timeout: float | None, retry_seconds: float | None, repeatable: bool) -> Attempts:
        """Return the attempts of one call, which begins now; None: the client's defaults."""
        retry_for = (self.retry_seconds if retry_seconds is None else retry_seconds) if repeatable else 0.0
        return Attempts(timeout or self.timeout, retry_for)


class Attempts:
    """The attempts of one call: each has `timeout` seconds; new ones begin until `retry_for` seconds have passed.

    A hub that is busy and says when to come again is asked again for `timeout` seconds, too, if those are longer: it is
    there, and the call waits outside instead of inside.
    """

    def __init__(self, timeout: float, retry_for: float) -> None:
        self.timeout = timeout
        self._retry_for = retry_for
        self._begun = time.monotonic()
        self._wait = _FIRST_WAIT

    def pause(self, error: HashHubError) -> float:
        """Return the seconds before the next attempt, after one that failed. Raises the error where there is none."""
        # Full jitter keeps many clients from coming back together.
        pause = _pause(error, self._wait * (0.5 + random.random() / 2))  # noqa: S311 - spreads load, is no secret
        is_busy = isinstance(error, LimitExceeded) and pause is not None and self._retry_for > 0
        until = self._begun + (max(self._retry_for, self.timeout) if is_busy else self._retry_for)
        if pause is None or time.monotonic() + pause > until:
            raise error
        self._wait = min(2 * self._wait, _LONGEST_WAIT)
        return pause


def _pause(error: HashHubError, wait: float) -> float | None:
    """Return the seconds before another attempt, or None when another attempt cannot help."""
    if isinstance(error, Unreachable) and not error.passes:
        return None  # until somebody has corrected something
    if isinstance(error, Unavailable) or error.reason is Reason.CERTIFICATE_EXPIRED:  # which may be renewed just now
        # The caller's own time was used up: another attempt would take as long again.
        return None if error.reason is Reason.DEADLINE_EXCEEDED else min(error.retry_after or wait, _LONGEST_WAIT)
    if error.reason is Reason.DISK_FULL:
        return None  # until somebody has made room; the caller had better know at once
    if isinstance(error, LimitExceeded | Conflict) and error.retry_after is not None:
        # Some more than advised, and not all the same: who was refused together must not come back together.
        return min(max(error.retry_after, wait), _LONGEST_ADVICE) * (1 + random.random() / 4)  # noqa: S311 - as above
    return None


class PagedRequest(Protocol):
    """Fields common to all requests of List calls."""

    page_size: int
    page_token: str


class Rpc(msgspec.Struct, Generic[R], frozen=True, kw_only=True):
    """One remote call, and how its answer is read.

    `turn`, of a list: change the request to that of the next page; False at the end. Of a stream: change it to one for
    what comes after an answer; False where there is none, so that no renewed certificate can go on with it. `timeout`:
    seconds for each attempt, None for the client's. `retry_seconds`: for how long new attempts begin, None for the
    client's. `repeatable`: False where a second attempt would be a second write.
    """

    request: Any
    read: Callable[[Any], R]
    turn: Callable[[Any], bool] = lambda _: False
    timeout: float | None = None
    retry_seconds: float | None = None
    repeatable: bool = True


def unread(answer: Any) -> Any:
    """Return an answer as it was sent."""
    return answer


def listing(request: PagedRequest, read: Callable[[Any], Iterable[R]], *, size: int | None = None) -> Rpc[Iterable[R]]:
    """Return a List call, page by page. `size`: of a page, where few of the list are wanted."""
    request.page_size = min(size or PAGE, PAGE)

    def turn(page: Any) -> bool:
        request.page_token = page.next_page_token
        return bool(page.next_page_token)

    return Rpc(request=request, read=read, turn=turn)


def following(request: v1.FollowChangesRequest, read: Callable[[Any], R]) -> Rpc[R]:
    """Return the call that follows the change feed; it outlives its client certificate."""

    def turn(answer: v1.FollowChangesResponse) -> bool:
        request.position, request.from_now = answer.next_position, False
        return True

    return Rpc(request=request, read=read, turn=turn)


IN_FLIGHT: Final = 2  # calls sent ahead at a time; more would only fill memory

T = TypeVar("T")


class Transport:
    """Thread-safe calls over a connection."""

    def __init__(self, connection: Connection) -> None:
        """Keep where calls go; the channel is opened by the first one."""
        self._connection = connection
        self.address = connection.address

    def close(self) -> None:
        """Close the connection; calls in progress are cancelled, and none is tried again."""
        for channel in self._connection.close():
            channel.close()

    def call(
        self,
        request: Message,
        *,
        timeout: float | None = None,
        retry_seconds: float | None = None,
        repeatable: bool = True,
    ) -> Any:
        """Make the call of a request and return its answer; `timeout` and `retry_seconds`: see Attempts. Raises
        HashHubError.
        """
        attempts = self._connection.attempts(timeout=timeout, retry_seconds=retry_seconds, repeatable=repeatable)
        while True:
            send, channel = self._connection.stub(grpc, request)
            try:
                return send(request, timeout=attempts.timeout, metadata=self._connection.metadata)
            except grpc.RpcError as e:
                pause = attempts.pause(self._connection.error(e, channel))
            except ValueError as e:
                raise Unavailable(CLOSED) from e
            self._connection.is_closed.wait(pause)

    def ask(self, rpc: Rpc[R]) -> R:
        """Make a call and return its converted answer. Raises HashHubError."""
        return rpc.read(
            self.call(rpc.request, timeout=rpc.timeout, retry_seconds=rpc.retry_seconds, repeatable=rpc.repeatable)
        )

    def items(self, rpc: Rpc[Iterable[R]], limit: int | None = None) -> Listing[R]:
        """Return a list's items, at most `limit`. Raises HashHubError."""
        return Listing(self, rpc, islice(self._items(rpc), limit))

    def _items(self, rpc: Rpc[Iterable[R]]) -> Iterator[R]:
        while True:
            answer = self.call(rpc.request, timeout=rpc.timeout)
            yield from rpc.read(answer)
            if not rpc.turn(answer):
                return

    def each(self, rpcs: Iterable[Rpc[Iterable[R]]]) -> Iterator[R]:
        """Yield the items of several lists, one list after the other, as they are consumed."""
        for rpc in rpcs:
            yield from self._items(rpc)

    def stream(self, rpc: Rpc[R], rest: Iterable[T] | None = None, put: Callable[[T], Message] = unread) -> Iterator[R]:
        """Make a streaming call and yield its converted answers until either side ends it. Raises HashHubError.

        `rest`: sent after the request, each converted by `put`. It is iterated on another thread; its errors are raised
        here.
        """
        failed: list[Exception] = []

        def requests(rest: Iterable[T]) -> Iterator[Message]:
            try:
                yield rpc.request
                yield from map(put, rest)
            except Exception as e:  # noqa: BLE001 - raised below, where the answers end: grpc would log it and hide it
                failed.append(e)

        sent = rpc.request if rest is None else requests(rest)
        goes_on = rest is None
        while True:
            send, channel = self._connection.stub(grpc, rpc.request)
            try:
                answers = send(sent, metadata=self._connection.metadata)
            except ValueError as e:
                raise Unavailable(CLOSED) from e
            try:
                for answer in answers:
                    goes_on = rpc.turn(answer)
                    yield rpc.read(answer)
                break
            except grpc.RpcError as e:
                if not goes_on:
                    raise self._connection.error(e, channel) from e
                failed_at = time.monotonic()
                while pause := self._connection.renewal_pause(e, channel, failed_at):
                    self._connection.is_closed.wait(pause)
            finally:
                answers.cancel()
        if failed:
            raise failed[0]


class ListPage(NamedTuple, Generic[R]):
    """Some items of a list, and where the next page begins: empty after the last."""

    items: tuple[R, ...]
    next: str


class Listing(Iterator[R]):
    """A list's items: all of them, fetching pages as they are consumed, or one page. Raises HashHubError."""

    def __init__(self, transport: Transport, rpc: Rpc[Iterable[R]], items: Iterator[R]) -> None:
        self._transport = transport
        self._rpc = rpc
        self._items = items

    def __next__(self) -> R:
        return next(self._items)

    def page(self, size: int = 50, after: str = "") -> ListPage[R]:
        """Return one page, of at most `size` items; the hub can give fewer. `after`: the `next` of the page before.

        policies, after = hub.list_policies().page(50)
        """
        request = deepcopy(self._rpc.request)
        request.page_size, request.page_token = size, after
        answer = self._transport.call(request, timeout=self._rpc.timeout)
        return ListPage(tuple(self._rpc.read(answer)), answer.next_page_token)


class SendAhead:
    """Makes calls in order on its own thread, at most IN_FLIGHT queued. A later `send`, or the end of the body, raises
    the error of one that failed; if the body raises, queued calls are dropped.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._sender = ThreadPoolExecutor(1, "hashhub-ahead")
        self._in_flight: deque[Future[object]] = deque()

    def __enter__(self) -> Self:
        return self

    def send(self, rpc: Rpc[Any]) -> None:
        """Make a call; wait while there are too many. Raises HashHubError, of a call before."""
        if len(self._in_flight) == IN_FLIGHT:
            self._in_flight.popleft().result()
        self._in_flight.append(self._sender.submit(self._transport.ask, rpc))

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            while kind is None and self._in_flight:
                self._in_flight.popleft().result()
        finally:
            self._sender.shutdown(cancel_futures=True)


class Calls:
    """A group of calls over one connection. Groups do not call each other; `Client` is all of them."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def _ask(
        self, request: Any, read: Callable[[Any], R], *, timeout: float | None = None, repeatable: bool = True
    ) -> R:
        """Make a call and return its converted answer; a write gets a request id, so that it can be repeated."""
        if "request_id" in request.DESCRIPTOR.fields_by_name and not request.request_id:
            request.request_id = str(uuid.uuid4())
        return self._transport.ask(Rpc(request=request, read=read, timeout=timeout, repeatable=repeatable))

    def _list(
        self, request: PagedRequest, field: str, read: Callable[[Any], R], limit: int | None = None
    ) -> Listing[R]:
        """Return the items in `field` of a list's answers, at most `limit`."""
        pages = listing(request, lambda page: map(read, getattr(page, field)), size=limit)
        return self._transport.items(pages, limit)


def secret_of(answer: Any) -> str:
    """Return the secret in an answer."""
    return str(answer.secret)
