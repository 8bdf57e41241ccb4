"""Why a hub cannot be reached: what grpc says of a connection that was not made, told as a cause and a remedy.

grpc gives no codes for it, so its texts are looked for; one that is not known is shown as it is.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple, cast

import grpc

from hashhub.errors import HashHubError, Reason, Unavailable
from hashhub.wire import status_to_error


class Unreachable(Unavailable):
    """The hub is away. `passes`: perhaps not for long; otherwise somebody has to correct something first."""

    def __init__(self, message: str, *, passes: bool) -> None:
        super().__init__(message, reason=Reason.SERVER_UNAVAILABLE)
        self.passes = passes


class _Cause(NamedTuple):
    text: re.Pattern[str]
    meaning: str
    passes: bool = False


_CAUSES: Final = (
    _Cause(
        re.compile("WRONG_VERSION_NUMBER|HTTP_REQUEST"),
        "{address} speaks no TLS, and this client does: name the hub's gRPC address; if it is meant to be without TLS, "
        "say so (--no-tls)",
    ),
    _Cause(
        re.compile("CERTIFICATE_VERIFY_FAILED"),
        "the certificate of {address} is not of an authority that this machine trusts: name the authority's file "
        "(--ca-file)",
    ),
    _Cause(
        re.compile("Hostname Verification Check failed"),
        "the certificate of {address} is for another name: use the name that it was made for",
    ),
    _Cause(
        re.compile(r"Failed parsing HTTP/2|http1\.x server|http2 header with status|invalid content-type"),
        "{address} does not speak gRPC: it may be the hub's HTTP address (by default port 8471), or another program's; "
        "name its gRPC address (by default port 8470)",
    ),
    _Cause(
        re.compile("Connection refused|No such file or directory"),
        "the server cannot be reached: nothing listens on {address}; start the hub (hashhub serve), or correct the "
        "address",
        passes=True,
    ),
    _Cause(
        re.compile("lookup failed|[Dd]omain name not found|DNS resolution failed|Name or service not known"),
        "the server cannot be reached: the host of {address} is not known; correct its name",
        passes=True,
    ),
    _Cause(
        re.compile("Socket closed|Connection reset|recvmsg"),
        "the server cannot be reached: {address} closed the connection; {closed}",
        passes=True,
    ),
    _Cause(
        re.compile("[Nn]etwork is unreachable|[Nn]o route to host|timed out|timeout occurred|FD shutdown"),
        "the server cannot be reached: {address} does not answer; correct the address, or the firewall between",
        passes=True,
    ),
)


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
    for cause in _CAUSES:
        if cause.text.search(said):
            return Unreachable(cause.meaning.format(address=address, closed=closed), passes=cause.passes)
    return known
