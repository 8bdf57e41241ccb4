"""The one family of exceptions. It knows no wire: `hashhub.server` maps it to gRPC and `hashhub.client` back.

Every message says what is wrong, what was expected and what to do. It never holds a whole digest, a path of the server
or SQL.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Final

MAX_VIOLATIONS: Final = 20
"""Violations that one error holds; how many more there were is told as a number. A list of all of them would cost a
hostile caller a megabyte of wrong fields, and the server a gigabyte.
"""


class Reason(StrEnum):
    """Stable, machine-readable causes, told in docs/reasons.md. Removing or renaming one is a breaking change."""

    INVALID_FIELD = "INVALID_FIELD"
    MALFORMED_SOURCE = "MALFORMED_SOURCE"
    UNKNOWN_FORMAT = "UNKNOWN_FORMAT"
    UNKNOWN_SCHEME = "UNKNOWN_SCHEME"
    HUB_NAMED = "HUB_NAMED"
    SCHEME_RETIRED = "SCHEME_RETIRED"
    SCHEME_UNUSABLE = "SCHEME_UNUSABLE"
    SECOND_PERSON_NEEDED = "SECOND_PERSON_NEEDED"
    UNKNOWN_ALGORITHM = "UNKNOWN_ALGORITHM"
    DISTANCE_REQUIRED = "DISTANCE_REQUIRED"
    DISTANCE_NOT_ALLOWED = "DISTANCE_NOT_ALLOWED"
    UNREADABLE_MEDIA = "UNREADABLE_MEDIA"
    MEDIA_TOO_LARGE = "MEDIA_TOO_LARGE"
    MEDIA_TOO_COSTLY = "MEDIA_TOO_COSTLY"
    MEDIA_PROCESS_DIED = "MEDIA_PROCESS_DIED"
    TOKEN_MISSING = "TOKEN_MISSING"  # noqa: S105 - a reason code, not a secret
    TOKEN_UNKNOWN = "TOKEN_UNKNOWN"  # noqa: S105 - a reason code, not a secret
    TOKEN_EXPIRED = "TOKEN_EXPIRED"  # noqa: S105 - a reason code, not a secret
    TOKEN_RETIRED = "TOKEN_RETIRED"  # noqa: S105 - a reason code, not a secret
    CERTIFICATE_MISSING = "CERTIFICATE_MISSING"
    CERTIFICATE_UNKNOWN = "CERTIFICATE_UNKNOWN"
    CERTIFICATE_EXPIRED = "CERTIFICATE_EXPIRED"
    CERTIFICATE_REVOKED = "CERTIFICATE_REVOKED"
    REVOCATIONS_UNREADABLE = "REVOCATIONS_UNREADABLE"
    PERSON_UNKNOWN = "PERSON_UNKNOWN"
    ID_TOKEN_INVALID = "ID_TOKEN_INVALID"  # noqa: S105 - a reason code, not a secret
    ISSUER_UNAVAILABLE = "ISSUER_UNAVAILABLE"
    LOGIN_REFUSED = "LOGIN_REFUSED"
    SECRET_REPLACED = "SECRET_REPLACED"  # noqa: S105 - a reason code, not a secret
    ADDRESS_NOT_ALLOWED = "ADDRESS_NOT_ALLOWED"
    ROLE_NOT_ALLOWED = "ROLE_NOT_ALLOWED"
    NOT_YOUR_CONTRIBUTOR = "NOT_YOUR_CONTRIBUTOR"
    RESOURCE_NOT_FOUND = "RESOURCE_NOT_FOUND"
    RESOURCE_EXISTS = "RESOURCE_EXISTS"
    NAMED_BY_TERMS = "NAMED_BY_TERMS"
    EXPORT_NOT_ALLOWED = "EXPORT_NOT_ALLOWED"
    TERMS_TOO_LOOSE = "TERMS_TOO_LOOSE"
    CONTRIBUTOR_RETIRED = "CONTRIBUTOR_RETIRED"
    LAST_OPERATOR = "LAST_OPERATOR"
    RETENTION_HOLD = "RETENTION_HOLD"
    POSITION_UNKNOWN = "POSITION_UNKNOWN"
    IMPORT_CLOSED = "IMPORT_CLOSED"
    IMPORT_INCOMPLETE = "IMPORT_INCOMPLETE"
    ENTRY_WITHDRAWN = "ENTRY_WITHDRAWN"
    LIST_SHRANK = "LIST_SHRANK"
    SIGNATURE_REQUIRED = "SIGNATURE_REQUIRED"
    SIGNATURE_REFUSED = "SIGNATURE_REFUSED"
    SELECTION_GREW = "SELECTION_GREW"
    CONFLICT_CLOSED = "CONFLICT_CLOSED"
    DATA_IN_USE = "DATA_IN_USE"
    DATA_EXPOSED = "DATA_EXPOSED"
    ADDRESS_IN_USE = "ADDRESS_IN_USE"
    CONCURRENT_CHANGE = "CONCURRENT_CHANGE"
    OPERATION_ABORTED = "OPERATION_ABORTED"
    OPERATION_CANCELLED = "OPERATION_CANCELLED"
    OPERATION_UNFINISHED = "OPERATION_UNFINISHED"
    RESULT_WITHHELD = "RESULT_WITHHELD"
    RESULT_GONE = "RESULT_GONE"
    TOO_LARGE = "TOO_LARGE"
    TOO_MANY_REQUESTS = "TOO_MANY_REQUESTS"
    SHARE_EXCEEDED = "SHARE_EXCEEDED"
    SLOW_SENDER = "SLOW_SENDER"
    DISK_FULL = "DISK_FULL"
    DATABASE_UNAVAILABLE = "DATABASE_UNAVAILABLE"
    SERVER_UNAVAILABLE = "SERVER_UNAVAILABLE"
    MATCHER_NOT_READY = "MATCHER_NOT_READY"
    POLICY_UNREADABLE = "POLICY_UNREADABLE"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    HUB_SLOW = "HUB_SLOW"
    CALLER_GONE = "CALLER_GONE"
    SNAPSHOT_DAMAGED = "SNAPSHOT_DAMAGED"
    HISTORY_BROKEN = "HISTORY_BROKEN"
    PROOF_FAILED = "PROOF_FAILED"
    LOG_INCONSISTENT = "LOG_INCONSISTENT"
    LOG_WITHHELD = "LOG_WITHHELD"
    VAULT_OFF = "VAULT_OFF"
    VAULT_KEY_LOST = "VAULT_KEY_LOST"
    VAULT_DAMAGED = "VAULT_DAMAGED"
    UPLOAD_REFUSED = "UPLOAD_REFUSED"
    MISSING_EXTRA = "MISSING_EXTRA"
    INTERNAL = "INTERNAL"


class StatusCode(StrEnum):
    """The canonical error codes used here, by the names of `google.rpc.Code`."""

    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    NOT_FOUND = "NOT_FOUND"
    ALREADY_EXISTS = "ALREADY_EXISTS"
    FAILED_PRECONDITION = "FAILED_PRECONDITION"
    ABORTED = "ABORTED"
    CANCELLED = "CANCELLED"
    RESOURCE_EXHAUSTED = "RESOURCE_EXHAUSTED"
    UNAVAILABLE = "UNAVAILABLE"
    DATA_LOSS = "DATA_LOSS"
    INTERNAL = "INTERNAL"


HTTP_STATUS: Final = {
    StatusCode.INVALID_ARGUMENT: 400,
    StatusCode.FAILED_PRECONDITION: 400,
    StatusCode.UNAUTHENTICATED: 401,
    StatusCode.PERMISSION_DENIED: 403,
    StatusCode.NOT_FOUND: 404,
    StatusCode.ALREADY_EXISTS: 409,
    StatusCode.ABORTED: 409,
    StatusCode.CANCELLED: 499,
    StatusCode.RESOURCE_EXHAUSTED: 429,
    StatusCode.UNAVAILABLE: 503,
    StatusCode.DATA_LOSS: 500,
    StatusCode.INTERNAL: 500,
}
"""By code, as google/rpc/code.proto and the Connect protocol have them."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One wrong field: its path as the caller sees it (`hashes[3].digest`), a sentence and a short reason."""

    field: str
    description: str
    reason: str = "INVALID"


class HashHubError(Exception):
    """Base of the family; itself for internal errors. `metadata`: lowerCamelCase keys. `retry_after`: seconds, if
    known.
    """

    code: ClassVar[StatusCode] = StatusCode.INTERNAL
    default_reason: ClassVar[Reason] = Reason.INTERNAL

    def __init__(
        self,
        message: str,
        *,
        reason: Reason | None = None,
        metadata: dict[str, str] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.default_reason
        self.metadata = dict(metadata or {})
        self.retry_after = retry_after


class InvalidArgument(HashHubError):
    """The caller's data is wrong: the first MAX_VIOLATIONS wrong fields, and `violation_count`, how many there are."""

    code = StatusCode.INVALID_ARGUMENT
    default_reason = Reason.INVALID_FIELD

    def __init__(
        self,
        message: str,
        *,
        violations: tuple[Violation, ...] = (),
        violation_count: int | None = None,
        reason: Reason | None = None,
        metadata: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message, reason=reason, metadata=metadata)
        self.violations = violations[:MAX_VIOLATIONS]
        self.violation_count = len(violations) if violation_count is None else violation_count

    @classmethod
    def field(cls, field: str, description: str, reason: str = "INVALID") -> InvalidArgument:
        """Return the error for one wrong field."""
        return cls(f"{field}: {description}", violations=(Violation(field, description, reason),))

    @classmethod
    def unknown_name(cls, field: str, message: str, known: Iterable[str], reason: Reason) -> InvalidArgument:
        """Return the error for a name that is none of those known, which the message ends with."""
        names = ", ".join(known)
        wrong = Violation(field, f"must be one of {names}", reason.value)
        return cls(f"{message} {names}", reason=reason, violations=(wrong,))


class MalformedSource(InvalidArgument):
    """A source cannot be read past `position`, in the connector's terms (`line 12`, `value[3]`, `byte 4096`)."""

    default_reason = Reason.MALFORMED_SOURCE

    def __init__(self, message: str, *, position: str) -> None:
        super().__init__(f"{position}: {message}", metadata={"position": position})
        self.position = position


class Unauthenticated(HashHubError):
    """No token, an unknown one, or one that has ended."""

    code = StatusCode.UNAUTHENTICATED
    default_reason = Reason.TOKEN_MISSING


class PermissionDenied(HashHubError):
    """The token's role does not allow this."""

    code = StatusCode.PERMISSION_DENIED
    default_reason = Reason.ROLE_NOT_ALLOWED


class _AboutResource(HashHubError):
    """Names what it is about, in metadata: its message of the contract (`resourceType`) and name (`resourceName`)."""

    def __init__(
        self,
        message: str,
        *,
        kind: str = "",
        name: str = "",
        reason: Reason | None = None,
        metadata: dict[str, str] | None = None,
        retry_after: float | None = None,
    ) -> None:
        about = {"resourceType": kind, "resourceName": name} if name else {}
        super().__init__(message, reason=reason, metadata={**about, **(metadata or {})}, retry_after=retry_after)


class NotFound(_AboutResource):
    """The named thing does not exist, or the caller may not know of it."""

    code = StatusCode.NOT_FOUND
    default_reason = Reason.RESOURCE_NOT_FOUND


class AlreadyExists(_AboutResource):
    """The name is taken."""

    code = StatusCode.ALREADY_EXISTS
    default_reason = Reason.RESOURCE_EXISTS


class FailedPrecondition(HashHubError):
    """The state of the hub forbids it; retrying alone will not help."""

    code = StatusCode.FAILED_PRECONDITION
    default_reason = Reason.IMPORT_CLOSED


def missing_extra(error: ImportError, extra: str, *, what: str = "this") -> FailedPrecondition:
    """Return the error for a package that is not installed and that comes with an extra of ours."""
    return FailedPrecondition(
        f"{what} needs the package {error.name!r}, which is not installed; run: pip install 'hashhub[{extra}]'",
        reason=Reason.MISSING_EXTRA,
        metadata={"extra": extra},
    )


class Conflict(HashHubError):
    """Somebody else changed it meanwhile; read again and retry."""

    code = StatusCode.ABORTED
    default_reason = Reason.CONCURRENT_CHANGE


class Cancelled(HashHubError):
    """Somebody asked for its end."""

    code = StatusCode.CANCELLED
    default_reason = Reason.OPERATION_CANCELLED


class LimitExceeded(HashHubError):
    """A quota, a size or a concurrency limit."""

    code = StatusCode.RESOURCE_EXHAUSTED
    default_reason = Reason.TOO_MANY_REQUESTS


class Unavailable(HashHubError):
    """The hub or its database is away; retry."""

    code = StatusCode.UNAVAILABLE
    default_reason = Reason.SERVER_UNAVAILABLE


class DataLoss(HashHubError):
    """Stored bytes do not match their digest."""

    code = StatusCode.DATA_LOSS
    default_reason = Reason.SNAPSHOT_DAMAGED
