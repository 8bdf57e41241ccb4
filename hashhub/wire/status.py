"""Errors on the wire: `HashHubError` to `google.rpc.Status` and back, the only table between the two.

Every status carries `ErrorInfo` with the domain `hashhub.dev`, a stable reason and metadata, and beside it the standard
detail that clients of any language know how to show: BadRequest, ResourceInfo, PreconditionFailure, QuotaFailure,
RetryInfo.

A status travels in the trailing headers, twice: as text and as bytes. Many clients refuse more than 8 KiB of headers,
so what is sent is cut to fit: a long error must arrive shortened, not as a transport failure.
"""

from __future__ import annotations

from typing import Final, cast

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message
from google.rpc import code_pb2, error_details_pb2, status_pb2

from hashhub import errors
from hashhub.errors import HashHubError, InvalidArgument, MalformedSource, Reason, StatusCode, Violation
from hashhub.wire import fields

DOMAIN: Final = "hashhub.dev"
DETAILS_KEY: Final = "grpc-status-details-bin"

_MAX_MESSAGE: Final = 1024  # bytes of UTF-8; percent-encoding can make three of each
_MAX_VALUE: Final = 256  # bytes of one description or metadata value
_MAX_STATUS: Final = 3500  # bytes; 4,700 in base64, which with the message stays under 8 KiB
_VIOLATION_COUNT: Final = "violationCount"

_CLASSES: Final[dict[StatusCode, type[HashHubError]]] = {
    c.code: c
    for c in (
        HashHubError,
        errors.InvalidArgument,
        errors.Unauthenticated,
        errors.PermissionDenied,
        errors.NotFound,
        errors.AlreadyExists,
        errors.FailedPrecondition,
        errors.Conflict,
        errors.Cancelled,
        errors.LimitExceeded,
        errors.Unavailable,
        errors.DataLoss,
    )
}
_CODES: Final = {code_pb2.Code.Value(code): code for code in StatusCode}
_REASONS: Final = {reason.value: reason for reason in Reason}


def error_to_status(error: HashHubError) -> status_pb2.Status:
    """Return the status that says `error`, at most 3,500 bytes long: the first twenty violations, long texts cut."""
    metadata = {key: _cut(value, _MAX_VALUE) for key, value in error.metadata.items()}
    message = _cut(error.message, _MAX_MESSAGE)
    violations: tuple[Violation, ...] = ()
    if isinstance(error, InvalidArgument) and error.violations:
        violations = error.violations
        metadata[_VIOLATION_COUNT] = str(error.violation_count)
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata)
    details: list[Message] = [info]
    match error.code:
        case StatusCode.NOT_FOUND | StatusCode.ALREADY_EXISTS if "resourceName" in metadata:
            kind = metadata.get("resourceType", "")
            details.append(
                error_details_pb2.ResourceInfo(
                    resource_type=f"hashhub.v1.{kind}",
                    resource_name=fields.resource_name(kind, metadata["resourceName"]),
                )
            )
        case StatusCode.FAILED_PRECONDITION:
            details.append(
                error_details_pb2.PreconditionFailure(
                    violations=[error_details_pb2.PreconditionFailure.Violation(type=error.reason)]
                )
            )
        case StatusCode.RESOURCE_EXHAUSTED:
            details.append(
                error_details_pb2.QuotaFailure(
                    violations=[error_details_pb2.QuotaFailure.Violation(subject=error.reason.lower())]
                )
            )
        case _:
            pass
    if error.retry_after is not None:
        seconds, nanos = divmod(round(error.retry_after * 1e9), 1_000_000_000)
        details.append(error_details_pb2.RetryInfo(retry_delay=Duration(seconds=seconds, nanos=nanos)))
    status = status_pb2.Status(code=code_pb2.Code.Value(error.code), message=message)
    for detail in details:
        status.details.add().Pack(detail)
    if violations:
        _add_violations(status, violations)
    return status


def status_to_error(error: grpc.RpcError) -> HashHubError:
    """Return the error that a failed call means; the inverse of `error_to_status` where the server sent details.

    What grpc itself reports (no connection, a deadline that passed, a cancelled call) becomes Unavailable.
    """
    # grpc raises objects that are both an RpcError and a Call; its stubs do not say so.
    call = cast("grpc.Call", error)
    for key, value in call.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            try:
                status = status_pb2.Status.FromString(value)
            except DecodeError:
                break
            if any(d.Is(error_details_pb2.ErrorInfo.DESCRIPTOR) for d in status.details):
                return status_pb_to_error(status)
    return _from_grpc(call.code(), call.details() or "")


def status_pb_to_error(status: status_pb2.Status) -> HashHubError:
    """Return the error that a decoded status says. An unknown reason becomes the class's default one."""
    code = _code(status.code)
    info = error_details_pb2.ErrorInfo()
    bad_request = error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    retry_after: float | None = None
    for detail in status.details:
        if detail.Is(info.DESCRIPTOR):
            _unpack(detail, info)
        elif detail.Is(bad_request.DESCRIPTOR):
            _unpack(detail, bad_request)
        elif detail.Is(retry.DESCRIPTOR) and _unpack(detail, retry):
            retry_after = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
    reason = _REASONS.get(info.reason)
    metadata = dict(info.metadata)
    kind = _CLASSES[code]
    if kind is InvalidArgument:
        if reason is Reason.MALFORMED_SOURCE:
            position = metadata.get("position", "")
            return MalformedSource(status.message.removeprefix(f"{position}: "), position=position)
        violations = tuple(Violation(v.field, v.description, v.reason) for v in bad_request.field_violations)
        return InvalidArgument(status.message, violations=violations, reason=reason, metadata=metadata)
    return kind(status.message, reason=reason, metadata=metadata, retry_after=retry_after)


def error_of(code: str, reason: str, message: str) -> HashHubError:
    """Return the error with these, which were kept as text; what this version does not know is an internal one."""
    kind = next((c for known, c in _CLASSES.items() if known.value == code), HashHubError)
    return kind(message, reason=_REASONS.get(reason))


def _add_violations(status: status_pb2.Status, violations: tuple[Violation, ...]) -> None:
    """Append a BadRequest with as many violations as fit, at least one."""
    room = _MAX_STATUS - status.ByteSize()
    bad_request = error_details_pb2.BadRequest()
    for v in violations:
        bad_request.field_violations.add(
            field=_cut(v.field, _MAX_VALUE), description=_cut(v.description, _MAX_VALUE), reason=v.reason
        )
        if bad_request.ByteSize() > room and len(bad_request.field_violations) > 1:
            del bad_request.field_violations[-1]
            break
    status.details.add().Pack(bad_request)


def _from_grpc(code: grpc.StatusCode, details: str) -> HashHubError:
    """Map what grpc itself says, or a proxy on the way."""
    match code:
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return errors.Unavailable(
                "the server did not answer in time; try again, or allow more time", reason=Reason.DEADLINE_EXCEEDED
            )
        case grpc.StatusCode.UNAVAILABLE:
            return errors.Unavailable(f"the server cannot be reached ({details}); check its address and that it runs")
        case grpc.StatusCode.CANCELLED:
            return errors.Unavailable(f"the call was cancelled ({details}); try again")
        case grpc.StatusCode.UNIMPLEMENTED:
            return HashHubError("the server does not know this call; it may be older than this client: update it")
        case grpc.StatusCode.RESOURCE_EXHAUSTED if "larger than max" in details:
            return errors.LimitExceeded(
                f"the message is too large ({details}); send smaller batches", reason=Reason.TOO_LARGE
            )
        case _:
            return _CLASSES[_code(code.value[0])](details or "the server gave no details; see its log")


def _code(number: int) -> StatusCode:
    return _CODES.get(number, StatusCode.INTERNAL)


def _unpack(detail: AnyMessage, into: Message) -> bool:
    """Decode `detail` into `into`, or leave it empty: a damaged detail must not hide the error it belongs to."""
    try:
        return detail.Unpack(into)
    except DecodeError:
        return False


def _cut(text: str, limit: int) -> str:
    """Cut `text` to `limit` bytes of UTF-8, marking the cut; text that UTF-8 cannot hold is escaped."""
    raw = text.encode("utf-8", "backslashreplace")
    return raw.decode() if len(raw) <= limit else raw[: limit - 3].decode("utf-8", "ignore") + "…"
