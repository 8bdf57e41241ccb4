"""One connection to a hub: which bytes go where, for how long, and how often. It hides deadlines, retries and TLS.

    call ──> attempt ──(Unavailable, or LimitExceeded or Conflict with RetryInfo)──> wait ──> attempt … ──> HashHubError
               │                                                                       until `retry_seconds` have passed
               └── answer

Every call carries a deadline. Only calls that can be repeated are: reads, and writes whose request holds a `request_id`
or whose repetition the contract defines as a success.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from typing import Final, Protocol, TypeVar, cast

import grpc

from hashhub.client.reaching import Unreachable, call_error
from hashhub.errors import Conflict, HashHubError, InvalidArgument, LimitExceeded, Reason, Unavailable

_FIRST_WAIT: Final = 0.1  # seconds before the second attempt; doubles with each
_LONGEST_WAIT: Final = 5.0  # seconds
_LONGEST_ADVICE: Final = 30.0  # seconds that a server may ask for
_GRPC_SCHEMES: Final = frozenset({"unix", "dns", "ipv4", "ipv6", "xds"})
MAX_ANSWER_BYTES: Final = 128 * 1024 * 1024  # a batch of 1,000 queries with 100 matches each is near 60 MB


class Message(Protocol):
    """What the transport needs to know of a protobuf message."""

    def SerializeToString(self) -> bytes:  # noqa: N802 - protobuf's name
        """Return the wire form."""
        ...


class Answer(Protocol):
    """What the transport needs to know of the class of an answer."""

    @classmethod
    def FromString(cls, data: bytes, /) -> Answer:  # noqa: N802 - protobuf's name
        """Read the wire form."""
        ...


A = TypeVar("A")


def is_loopback(address: str) -> bool:
    """Return whether `HOST:PORT` (or `unix:PATH`) cannot leave this machine. Names other than `localhost` are not
    looked up.
    """
    if address.startswith("unix:"):
        return True
    host = address.rpartition(":")[0].strip("[]") or address
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


class Transport:
    """A thread-safe channel with a bearer token.

    `tls`: None means plain text to loopback addresses and TLS to all others; False says that plain text beyond this
    machine is intended. `ca_certificates`: PEM, instead of the system's roots.
    """

    def __init__(
        self,
        address: str,
        token: str,
        *,
        tls: bool | None,
        ca_certificates: bytes | None,
        timeout: float,
        retry_seconds: float,
    ) -> None:
        """Prepare the channel; nothing is sent before the first call. Raises InvalidArgument for an address without
        port.
        """
        scheme, separator, _ = address.partition("://")
        if separator and scheme not in _GRPC_SCHEMES:
            raise InvalidArgument.field(
                "server",
                f"is a URL ({scheme[:10]}://…); expected the HOST:PORT of the hub's gRPC service, for example "
                "127.0.0.1:8470, which is not its HTTP address",
            )
        has_port = address.startswith("unix:") or address.rpartition(":")[2].isdecimal()
        if not has_port or not address.isprintable():
            raise InvalidArgument.field(
                "server", f"expected HOST:PORT, for example 127.0.0.1:8470, got {address[:80]!r}"
            )
        if not token.isascii() or any(c.isspace() for c in token):
            raise InvalidArgument.field("token", "must be ASCII without white space; was the right file named?")
        self.address = address
        self.timeout = timeout
        self.retry_seconds = retry_seconds
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()
        options = [
            ("grpc.max_receive_message_length", MAX_ANSWER_BYTES),
            ("grpc.max_send_message_length", -1),  # the server decides
            ("grpc.enable_retries", 0),  # retried here, where it is known which calls may be
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1000),
        ]
        self._tls = tls if tls is not None else (ca_certificates is not None or not is_loopback(address))
        if self._tls:
            self._channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(ca_certificates), options)
        else:
            self._channel = grpc.insecure_channel(address, options)
        self._methods: dict[str, Callable[..., object]] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the connection; calls in progress are cancelled."""
        self._channel.close()

    def call(
        self,
        method: str,
        request: Message,
        answer: type[A],
        *,
        timeout: float | None = None,
        retry_seconds: float | None = None,
        repeatable: bool = True,
    ) -> A:
        """Call `Service/Method` and return its answer.

        Each attempt has `timeout` seconds; new attempts begin until `retry_seconds` have passed. A hub that is busy and
        says when to come again is asked again for `timeout` seconds, too, if those are longer: it is there, and the
        call waits outside instead of inside. Raises HashHubError.
        """
        send = self._method(method, request, answer, stream=False)
        retry_for = (self.retry_seconds if retry_seconds is None else retry_seconds) if repeatable else 0.0
        begun = time.monotonic()
        wait = _FIRST_WAIT
        while True:
            try:
                return cast("A", send(request, timeout=timeout or self.timeout, metadata=self._metadata))
            except grpc.RpcError as e:
                error = call_error(e, self.address, tls=self._tls)
                # Full jitter keeps many clients from coming back together.
                pause = _pause(error, wait * (0.5 + random.random() / 2))  # noqa: S311 - spreads load, is no secret
                is_busy = isinstance(error, LimitExceeded) and pause is not None and retry_for > 0
                until = begun + (max(retry_for, timeout or self.timeout) if is_busy else retry_for)
                if pause is None or time.monotonic() + pause > until:
                    raise error from e
            except ValueError as e:
                raise Unavailable("the connection was closed by this program; open a new client") from e
            time.sleep(pause)
            wait = min(2 * wait, _LONGEST_WAIT)

    def stream(self, method: str, request: Message, answer: type[A]) -> Iterator[A]:
        """Call a streaming `Service/Method` and yield its answers until either side ends it. Raises HashHubError."""
        answers = self._method(method, request, answer, stream=True)(request, metadata=self._metadata)
        try:
            yield from cast("Iterator[A]", answers)
        except grpc.RpcError as e:
            raise call_error(e, self.address, tls=self._tls) from e
        finally:
            cast("grpc.RpcContext", answers).cancel()

    def _method(self, method: str, request: Message, answer: type[object], *, stream: bool) -> Callable[..., object]:
        with self._lock:
            call = self._methods.get(method)
            if call is None:
                make = self._channel.unary_stream if stream else self._channel.unary_unary
                call = self._methods[method] = make(
                    f"/hashhub.v1.{method}",
                    request_serializer=type(request).SerializeToString,
                    response_deserializer=cast("type[Answer]", answer).FromString,
                )
            return call


def _pause(error: HashHubError, wait: float) -> float | None:
    """Return the seconds before another attempt, or None when another attempt cannot help."""
    if isinstance(error, Unreachable) and not error.passes:
        return None  # until somebody has corrected something
    if isinstance(error, Unavailable):
        # The caller's own time was used up: another attempt would take as long again.
        return None if error.reason is Reason.DEADLINE_EXCEEDED else min(error.retry_after or wait, _LONGEST_WAIT)
    if error.reason is Reason.DISK_FULL:
        return None  # until somebody has made room; the caller had better know at once
    if isinstance(error, LimitExceeded | Conflict) and error.retry_after is not None:
        # Some more than advised, and not all the same: who was refused together must not come back together.
        return min(max(error.retry_after, wait), _LONGEST_ADVICE) * (1 + random.random() / 4)  # noqa: S311 - as above
    return None
