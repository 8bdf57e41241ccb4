"""What every connection to a hub goes by: its address, when it is TLS, when a failed call is tried again, and why a hub
cannot be reached.

grpc gives no codes for the last: its texts are looked for, and one that is not known is shown as it is.
"""

from __future__ import annotations

import random
import re
import time
from typing import Final, TypedDict, cast

import grpc

from hashhub import addresses
from hashhub.errors import Conflict, HashHubError, InvalidArgument, LimitExceeded, Reason, Unavailable
from hashhub.wire import status_to_error


class Unreachable(Unavailable):
    """The hub is away. `passes`: perhaps not for long; otherwise somebody has to correct something first."""

    def __init__(self, message: str, *, passes: bool) -> None:
        super().__init__(message, reason=Reason.SERVER_UNAVAILABLE)
        self.passes = passes


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
    """Return the error that a failed call means; where the connection is at fault, with its cause."""
    known = status_to_error(error)
    if type(known) is not Unavailable or known.retry_after is not None:
        return known
    call = cast("grpc.Call", error)
    if call.code() is not grpc.StatusCode.UNAVAILABLE or known.message == call.details():  # the hub's own words
        return known
    said = call.details() or ""
    # The hub's HTTP door closes what begins as gRPC does, as one with TLS does what has none.
    what = "" if tls else ", or speak TLS (--tls, or --ca-file)"
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
)


def is_loopback(address: str) -> bool:
    """Return whether what is sent to `HOST:PORT` (or `unix:PATH`) cannot leave this machine, see `addresses`."""
    if address.startswith("unix:"):
        return True
    return addresses.is_loopback_host(address.rpartition(":")[0].strip("[]") or address)


class ConnectionOptions(TypedDict, total=False):
    """How a client connects.

    `tls`: None means plain text to loopback addresses and TLS to all others; False says that plain text to another
    machine is intended. `ca_certificates`: PEM bytes, instead of the system's roots. `timeout`: seconds for each
    attempt of an ordinary call, 30 unless said. `retry_seconds`: how long to go on trying while the hub is away or
    busy, 2 unless said.
    """

    tls: bool | None
    ca_certificates: bytes | None
    timeout: float
    retry_seconds: float


class Connection:
    """Where a client's calls go."""

    def __init__(
        self,
        address: str,
        token: str,
        *,
        tls: bool | None = None,
        ca_certificates: bytes | None = None,
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
            raise InvalidArgument.field(
                "server", f"expected HOST:PORT, for example 127.0.0.1:8470, got {address[:80]!r}"
            )
        if not token.isascii() or any(c.isspace() for c in token):
            raise InvalidArgument.field("token", "must be ASCII without white space; was the right file named?")
        self.address = address
        self.timeout = timeout
        self.retry_seconds = retry_seconds
        self.metadata = (("authorization", f"Bearer {token}"),) if token else ()
        self._tls = tls if tls is not None else (ca_certificates is not None or not is_loopback(address))
        self.credentials = grpc.ssl_channel_credentials(ca_certificates) if self._tls else None

    def error(self, error: grpc.RpcError) -> HashHubError:
        """Return the error that a failed call means."""
        return call_error(error, self.address, tls=self._tls)

    def attempts(self, *, timeout: float | None, retry_seconds: float | None, repeatable: bool) -> Attempts:
        """Return the attempts of one call, which begins now; None: as the client was told."""
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
    if isinstance(error, Unavailable):
        # The caller's own time was used up: another attempt would take as long again.
        return None if error.reason is Reason.DEADLINE_EXCEEDED else min(error.retry_after or wait, _LONGEST_WAIT)
    if error.reason is Reason.DISK_FULL:
        return None  # until somebody has made room; the caller had better know at once
    if isinstance(error, LimitExceeded | Conflict) and error.retry_after is not None:
        # Some more than advised, and not all the same: who was refused together must not come back together.
        return min(max(error.retry_after, wait), _LONGEST_ADVICE) * (1 + random.random() / 4)  # noqa: S311 - as above
    return None
