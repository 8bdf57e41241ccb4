"""The Connect protocol, unary calls (https://connectrpc.com/docs/protocol): what its requests and errors look like.

Pure: headers and queries in, facts and bytes out. `http_listener` serves them.

    POST /hashhub.v1.Service/Method                                            any call
    GET  /hashhub.v1.Service/Method?connect=v1&encoding=json&message={…}       calls without side effects
"""

from __future__ import annotations

import base64
import binascii
import gzip
import json
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

from google.protobuf import json_format

from hashhub.errors import HTTP_STATUS, HashHubError, InvalidArgument, Reason, StatusCode
from hashhub.wire import error_to_status

if TYPE_CHECKING:
    from google.protobuf.any_pb2 import Any as AnyMessage

JSON: Final = "application/json"
PROTO: Final = "application/proto"
STREAM: Final = "application/connect+"
ACCEPTED_ENCODINGS: Final = "gzip"

_ENCODINGS: Final = {"json": JSON, "proto": PROTO}
_VERSION: Final = "1"
_VERSIONS: Final = frozenset({"", _VERSION})
_QUERY_VERSION: Final = "v1"
_FIELDS: Final = 16  # parameters of a query; the protocol has five
_TIMEOUT_DIGITS: Final = 10
_WORTH_PACKING: Final = 1024  # bytes
_LEVEL: Final = 1
_END_OF_STREAM: Final = 0b10
_UNIMPLEMENTED: Final = "unimplemented"
_LATE: Final = "deadline_exceeded"


@dataclass(frozen=True, slots=True)
class MessageEncoding:
    """How a message is written, and how it is packed: `identity` or `gzip`."""

    media_type: str
    packing: str


class Unimplemented(Exception):
    """What the protocol has and this server has not."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


def is_connect(media_type: str, version: str) -> bool:
    """Whether a POST is one of the Connect protocol, and not the plain JSON that this server speaks besides."""
    return bool(version) or media_type == PROTO or media_type.startswith(STREAM)


def check_version(version: str) -> None:
    """Raise InvalidArgument for a version of the protocol that does not exist yet."""
    if version not in _VERSIONS:
        raise InvalidArgument.field("Connect-Protocol-Version", f"must be {_VERSION}, got {version[:20]!r}", "VERSION")


def check_packing(packing: str) -> str:
    """Return what `Content-Encoding` says. Raises Unimplemented for what nobody here can unpack."""
    if not packing:
        return "identity"
    packing = packing.strip().lower() or "identity"
    if packing not in {"identity", "gzip"}:
        raise Unimplemented(f"the compression {packing[:20]!r} is unknown; use {ACCEPTED_ENCODINGS}, or none")
    return packing


def seconds_allowed(milliseconds: str) -> float | None:
    """Return what `Connect-Timeout-Ms` allows, None without it. Raises InvalidArgument."""
    if not milliseconds:
        return None
    if not (milliseconds.isascii() and milliseconds.isdecimal() and len(milliseconds) <= _TIMEOUT_DIGITS):
        raise InvalidArgument.field(
            "Connect-Timeout-Ms", f"must be milliseconds, at most {_TIMEOUT_DIGITS} digits", "OUT_OF_RANGE"
        )
    return int(milliseconds) / 1000


def read_query(query: str) -> tuple[MessageEncoding, bytes]:
    """Return how the message of a GET is written, and its bytes. Raises InvalidArgument; Unimplemented."""
    try:
        # Bytes that are no UTF-8 come through as they are: a message need not be text.
        fields = dict(parse_qsl(query, keep_blank_values=True, max_num_fields=_FIELDS, errors="surrogateescape"))
    except ValueError as e:
        raise InvalidArgument.field("query", f"has more than {_FIELDS} parameters", "OUT_OF_RANGE") from e
    if fields.get("connect", _QUERY_VERSION) != _QUERY_VERSION:
        raise InvalidArgument.field("connect", f"must be {_QUERY_VERSION}", "VERSION")
    media_type = _ENCODINGS.get(fields.get("encoding", ""))
    if media_type is None or "message" not in fields:
        raise InvalidArgument.field("query", "must have `encoding` (json or proto) and `message`", "REQUIRED")
    packing = check_packing(fields.get("compression", ""))
    message = fields["message"].encode("utf-8", "surrogateescape")
    match fields.get("base64", "0"):
        case "1":
            message = _from_base64(message)
        case "0":
            pass
        case _:
            raise InvalidArgument.field("base64", "must be 1 or left out", "OUT_OF_RANGE")
    return MessageEncoding(media_type, packing), message


def pack(body: bytes, accepted: str) -> tuple[bytes, bool]:
    """Return the body and whether it is packed: that is, where it is worth it and `Accept-Encoding` allows gzip."""
    if len(body) < _WORTH_PACKING or not _allows_gzip(accepted):
        return body, False
    return gzip.compress(body, _LEVEL), True


def status_of(error: HashHubError | Unimplemented) -> int:
    """Return the HTTP status under which the protocol sends this error."""
    if isinstance(error, Unimplemented):
        return 501
    return 504 if _code(error) == _LATE else HTTP_STATUS[error.code]


def error_json(error: HashHubError | Unimplemented) -> bytes:
    """Return the error as the protocol writes it."""
    return json.dumps(_error(error), separators=(",", ":")).encode()


def end_of_stream(error: HashHubError | Unimplemented) -> bytes:
    """Return the one message of a stream that ends with this error before it has begun."""
    text = json.dumps({"error": _error(error)}, separators=(",", ":")).encode()
    return struct.pack(">BI", _END_OF_STREAM, len(text)) + text


def _error(error: HashHubError | Unimplemented) -> dict[str, Any]:
    if isinstance(error, Unimplemented):
        return {"code": _UNIMPLEMENTED, "message": error.message}
    status = error_to_status(error)
    return {"code": _code(error), "message": status.message, "details": [_detail(d) for d in status.details]}


def _detail(detail: AnyMessage) -> dict[str, Any]:
    debug = json_format.MessageToDict(detail)
    debug.pop("@type")
    return {
        "type": detail.type_url.rpartition("/")[2],
        "value": base64.b64encode(detail.value).decode().rstrip("="),
        "debug": debug,
    }


def _code(error: HashHubError | Unimplemented) -> str:
    if isinstance(error, Unimplemented):
        return _UNIMPLEMENTED
    if error.code is StatusCode.UNAVAILABLE and error.reason is Reason.DEADLINE_EXCEEDED:
        return _LATE
    if error.code is StatusCode.CANCELLED:
        return "canceled"  # as the protocol spells it
    return error.code.lower()


def _allows_gzip(accepted: str) -> bool:
    for choice in accepted.lower().split(","):
        name, _, weight = choice.partition(";")
        if name.strip() == "gzip":
            return weight.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False


def _from_base64(text: bytes) -> bytes:
    try:
        return base64.b64decode(text.rstrip(b"=") + b"=" * (-len(text.rstrip(b"=")) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as e:
        raise InvalidArgument.field("message", "is not URL-safe base64, as base64=1 says", "NOT_URL_SAFE") from e
