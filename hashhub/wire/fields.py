"""Values of fields: resource names, hashes, texts, times and enumerations, and how wrong ones are refused.

Readers of a message note every violation in a list, under the path that the client sees, and `refuse` raises when all
of it was read. `Violations` is that list for messages of many items. `sendable` refuses what protobuf cannot hold.

Whole resource names exist only on the wire. `X_name` makes the name of an X from its ids; `parse_X` gives its ids back,
and raises InvalidArgument for another shape, `field` being the name's path in the request. The hub says whether the
thing exists, after it has looked at who asks.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import partial
from typing import Any, Final, Generic, Protocol, Self, TypeVar

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from hashhub import hashes, v1
from hashhub.errors import MAX_VIOLATIONS, InvalidArgument, Violation
from hashhub.hashes import ALGORITHMS, Hash, HashError
from hashhub.model import (
    MAX_NUMBER,
    MAX_TEXT,
    TLP,
    Action,
    ChangeKind,
    ConflictAction,
    ConflictKind,
    ConflictReason,
    ConflictState,
    ContributorKind,
    DeliveryState,
    Disposition,
    Effort,
    EntryAction,
    EntryState,
    ImportState,
    PeerStatus,
    Purpose,
    QueueKind,
    Reliability,
    ReviewKind,
    Role,
    Severity,
    SourceStatus,
    Unclassified,
    Verdict,
    WebhookEvent,
    WithdrawalReason,
    number_of,
)
from hashhub.reconcile.results import Backend, By
from hashhub.schemes.alignment import ChangeOfValue, Correspondence

_T = TypeVar("_T")
_P = TypeVar("_P")

_NANOS: Final = 1_000_000_000
_MAX_DURATION: Final = 315_576_000_000  # seconds: what google.protobuf.Duration allows, some 10,000 years
WIDTHS: Final = {a.name: a.digest_bytes for a in ALGORITHMS.values()}

_OUTPUT_ONLY: Final[Mapping[str, tuple[str, ...]]] = {
    "hashhub.v1.Contributor": (
        "create_time", "revision", "retire_time", "objections_accepted_revision", "signing_keys",
    ),
    "hashhub.v1.Group": ("create_time", "revision"),
    "hashhub.v1.HashSet": ("create_time", "revision", "accepted_revision", "floors", "bank_number"),
    "hashhub.v1.Import": (
        "state", "batch_count", "counts", "create_time", "commit_time", "commit_revision", "revision", "actor",
        "item_count", "signing_key",
    ),
    "hashhub.v1.Review": (
        "author", "create_time", "revision", "actor", "role", "sets_aside", "awaits_acceptance", "create_revision",
    ),
    "hashhub.v1.Webhook": ("actor", "create_time", "old_secret_until", "revision"),
    "hashhub.v1.SigningKey": ("create_time", "revoke_time", "stolen"),
    "hashhub.v1.Token": ("create_time", "creator", "last_use_time", "revision"),
}  # fmt: skip
"""The output-only fields of the messages that stand in requests, as the contract's comments say; a test compares them.
"""


def read_hash(pb: v1.Hash, at: str, wrong: list[Violation]) -> Hash:
    """Return the hash, under its algorithm's canonical name; where it is none, note why and return any."""
    name, digest = pb.algorithm, pb.digest
    if WIDTHS.get(name) == len(digest):
        return Hash(name, digest)
    try:
        return Hash.of(name, digest)
    except HashError as e:
        # Hexadecimal text read as base64 gives three bytes where the digest has two: the commonest mistake in JSON.
        is_text = 2 * len(digest) == 3 * hashes.algorithm(name).digest_bytes
        hint = "; JSON carries bytes in base64, not in hexadecimal" if is_text else ""
        wrong.append(Violation(f"{at}.digest", e.message + hint, e.violations[0].reason))
    except InvalidArgument as e:
        wrong.append(Violation(f"{at}.algorithm", e.message, e.violations[0].reason))
    return Hash(name, digest)


def checked(wrong: list[Violation], parse: Callable[[str, str], _T], text: str, field: str) -> _T | None:
    """Return `parse(text, field)`, or note its violations under `field` and return None."""
    try:
        return parse(text, field)
    except InvalidArgument as e:
        wrong += [Violation(field, v.description, v.reason) for v in e.violations]
        return None


def collect(wrong: list[Violation], convert: Callable[[_P, str], _T], pb: _P, at: str, otherwise: _T) -> _T:
    """Return `convert(pb, at)`, or note its violations and return `otherwise`, which the caller then drops."""
    try:
        return convert(pb, at)
    except InvalidArgument as e:
        wrong += e.violations
        return otherwise


def build(
    kind: Callable[..., _T], values: Mapping[str, Any], wrong: list[Violation], at: str, fields: Mapping[str, str]
) -> _T:
    """Return `kind(**values)`; raise the violations so far and the model's own, under the client's paths."""
    try:
        built = kind(**values)
    except InvalidArgument as e:
        seen = {v.field for v in wrong}
        renamed = (Violation(fields.get(v.field, f"{at}.{v.field}"), v.description, v.reason) for v in e.violations)
        # A field that could not be read has any value here; what the model says of that is no news.
        wrong += [v for v in renamed if v.field not in seen]
        raise _invalid(wrong) from e
    except (AttributeError, TypeError):
        refuse(wrong)  # a part that could not be read is None here
        raise
    refuse(wrong)
    return built


def require(pb: Any, at: str, fields: Iterable[str], wrong: list[Violation]) -> None:
    """Note each of the fields that is empty."""
    wrong += [Violation(f"{at}.{field}", "must not be empty", "REQUIRED") for field in fields if not getattr(pb, field)]


def check_text(text: str, field: str, wrong: list[Violation]) -> None:
    """Note what is wrong with a text: too long, or a NUL character, which PostgreSQL cannot hold."""
    if len(text) > MAX_TEXT:
        wrong.append(Violation(field, f"must be at most {MAX_TEXT} characters, got {len(text)}", "TOO_LONG"))
    if "\0" in text:
        wrong.append(Violation(field, "must not hold NUL characters", "NUL_CHARACTER"))


def read_text(text: str, field: str) -> str:
    """Return the text. Raises InvalidArgument when it is too long or cannot be stored."""
    wrong: list[Violation] = []
    check_text(text, field, wrong)
    refuse(wrong)
    return text


class Violations(list[Violation]):
    """The violations of a request with many items: the first ones, and how many there were.

    Raises InvalidArgument by itself when there are MOST_COUNTED: a request in which so much is wrong is not read to its
    end, so that a hostile one costs no more than an honest one.
    """

    MOST_COUNTED: Final = 1000

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def append(self, violation: Violation) -> None:
        """Count it; keep it if it is one of the first."""
        self.total += 1
        if len(self) < MAX_VIOLATIONS:
            super().append(violation)
        if self.total >= self.MOST_COUNTED:
            first = self[0]
            raise InvalidArgument(
                f"{first.field}: {first.description} (and {self.total - 1} more, at which reading stopped)",
                violations=tuple(self),
                violation_count=self.total,
            )

    def extend(self, violations: Iterable[Violation]) -> None:
        """Count them; keep those that are among the first."""
        for violation in violations:
            self.append(violation)

    def __iadd__(self, violations: Iterable[Violation]) -> Self:  # type: ignore[override,misc]  # counted
        self.extend(violations)
        return self


def refuse(wrong: list[Violation]) -> None:
    """Raise InvalidArgument with the violations, if there are any."""
    if wrong:
        raise _invalid(wrong)


def _invalid(wrong: list[Violation]) -> InvalidArgument:
    first = wrong[0]
    count = wrong.total if isinstance(wrong, Violations) else len(wrong)
    more = f" (and {count - 1} more)" if count > 1 else ""
    return InvalidArgument(f"{first.field}: {first.description}{more}", violations=tuple(wrong), violation_count=count)


@contextmanager
def sendable(what: str, *, expected: str = "") -> Iterator[None]:
    """Map what protobuf says of a value that it cannot hold to InvalidArgument naming the message `what`. `expected`:
    what it is made of; other types are then refused, too.
    """
    try:
        yield
    except ValueError as e:
        raise unsendable(what) from e
    except (AttributeError, TypeError) as e:
        if not expected:
            raise
        raise InvalidArgument.field(what, f"must be {expected} ({e})") from e


def unsendable(what: str) -> InvalidArgument:
    """Return the error for a value that protobuf cannot hold."""
    return InvalidArgument(
        f"{what}: cannot be sent: some text is not valid Unicode, or a number is out of range; correct the source",
        violations=(
            Violation(what.split(" ", 1)[0], "must hold valid Unicode text and numbers in range", "NOT_SENDABLE"),
        ),
    )


def timestamp(time: datetime | None) -> Timestamp | None:
    """Return the message of a time.

    Raises InvalidArgument for one without an offset from UTC: nobody could tell when it is.
    """
    if time is None:
        return None
    if time.tzinfo is None:
        raise InvalidArgument.field("time", f"must say its offset from UTC, got {time.isoformat()}", "OUT_OF_RANGE")
    stamp = Timestamp()
    stamp.FromDatetime(time)
    return stamp


def read_time(pb: Any, field: str, at: str, wrong: list[Violation]) -> datetime | None:
    """Return the time in a field; None where it has none, or holds none, which is noted under `at.field`."""
    if not pb.HasField(field):
        return None
    try:
        time: datetime = getattr(pb, field).ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        wrong.append(
            Violation(
                f"{at}.{field}".lstrip("."), "must be a time between the years 1 and 9999, in UTC", "OUT_OF_RANGE"
            )
        )
        return None
    return time.replace(microsecond=time.microsecond // 1000 * 1000)  # what both databases keep


def read_duration(pb: Any, field: str, at: str, wrong: list[Violation]) -> timedelta | None:
    """Return the duration in a field; None where it has none, or holds none, which is noted under `at.field`."""
    if not pb.HasField(field):
        return None
    value = getattr(pb, field)
    # By ourselves: protobuf takes any number of nanoseconds, and any sign beside another.
    if abs(value.seconds) > _MAX_DURATION or abs(value.nanos) >= _NANOS or value.seconds * value.nanos < 0:
        wrong.append(
            Violation(f"{at}.{field}".lstrip("."), "must be a duration of at most 10,000 years", "OUT_OF_RANGE")
        )
        return None
    return timedelta(seconds=value.seconds, microseconds=value.nanos // 1000)


def _read_in(request: Message, field: str, read: Callable[[Any, str, str, list[Violation]], _T]) -> _T:
    wrong: list[Violation] = []
    value = read(request, field, "", wrong)
    refuse(wrong)
    return value


def duration_in(request: Message, field: str) -> timedelta | None:
    """Return the duration in a request's field, None where it has none. Raises InvalidArgument when it is none."""
    return _read_in(request, field, read_duration)


def time_in(request: Message, field: str) -> datetime | None:
    """Return the time in a request's field, None where it has none. Raises InvalidArgument when it is none."""
    return _read_in(request, field, read_time)


def drop_output_only(request: Message) -> None:
    """Empty the output-only fields of the resource in a request: whatever a caller sends there is ignored."""
    for resource, outputs in _outputs_in(request.DESCRIPTOR):
        if request.HasField(resource):
            for output in outputs:
                getattr(request, resource).ClearField(output)


@functools.cache  # most calls have none, and matching is thousands of calls a second
def _outputs_in(request: Descriptor) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return the names of a request's fields that hold a resource, each with that resource's output-only fields."""
    return tuple(
        (field.name, _OUTPUT_ONLY[field.message_type.full_name])
        for field in request.fields
        if field.message_type is not None and field.message_type.full_name in _OUTPUT_ONLY
    )


_E = TypeVar("_E", bound=StrEnum)


class _PbEnum(Protocol):
    DESCRIPTOR: Any

    def items(self) -> list[tuple[str, Any]]: ...


ENUMS: Final[dict[type[StrEnum], EnumMap[Any]]] = {}
"""By the model's type."""


class _Numbers(dict[_E, Any]):
    """Numbers on the wire by value; what is none of the values, as a program's author can pass it, is refused."""

    def __init__(self, kind: type[_E], numbers: Mapping[_E, Any]) -> None:
        super().__init__(numbers)
        self._kind = kind

    def __missing__(self, value: object) -> Any:
        known = ", ".join(one.value for one in self._kind)
        raise InvalidArgument.field(self._kind.__name__, f"must be one of {known}; got {str(value)[:40]!r}")


class EnumMap(Generic[_E]):
    """An enumeration, both ways. `default`: what UNSPECIFIED reads as; `unknown`: a number not known, None: refused."""

    def __init__(self, kind: type[_E], wire: _PbEnum, default: _E | None = None, *, unknown: _E | None = None) -> None:
        prefix = re.sub("(?<!^)(?=[A-Z])", "_", wire.DESCRIPTOR.name).upper() + "_"
        self.unknown = unknown
        ENUMS[kind] = self
        numbers = {name.removeprefix(prefix): number for name, number in wire.items()}
        # A value that the contract lacks is found at import, by every test, and not by the first caller who sends it.
        self._to_pb: dict[_E, Any] = _Numbers(kind, {value: numbers[value.value] for value in kind})
        self._from_pb: dict[int, _E] = {number: value for value, number in self._to_pb.items()}
        if default is not None:
            self._from_pb[0] = default
        self.expected = ", ".join(f"{prefix}{value}" for value in kind)
        self.to_pb = self._to_pb.__getitem__
        self.get = self._from_pb.get

    def from_pb(self, number: int, field: str, wrong: list[Violation]) -> _E:
        """Return the value; for an unknown number note a violation and return any, which the caller then drops."""
        member = self._from_pb.get(number, self.unknown)
        if member is not None:
            return member
        got = "it is not stated" if number == 0 else f"got {number}, which this version does not know"
        expected = f"must be one of {self.expected}; {got}"
        wrong.append(Violation(field, expected, "REQUIRED" if number == 0 else "UNKNOWN_VALUE"))
        return next(iter(self._to_pb))

    def read(self, number: int, at: str) -> _E:
        """Return the value. Raises InvalidArgument when it is not stated or not known."""
        wrong: list[Violation] = []
        member = self.from_pb(number, at, wrong)
        refuse(wrong)
        return member

    def read_all(self, numbers: Iterable[int], at: str) -> tuple[_E, ...]:
        """Return the values of numbers. Raises InvalidArgument with the violations of all of them."""
        wrong: list[Violation] = []
        members = tuple(self.from_pb(number, f"{at}[{i}]", wrong) for i, number in enumerate(numbers))
        refuse(wrong)
        return members


for _kind in (
    ConflictAction, ConflictKind, ConflictState, ContributorKind, Correspondence, DeliveryState, QueueKind, Severity,
    SourceStatus, PeerStatus, WebhookEvent,
):  # fmt: skip
    EnumMap(_kind, getattr(v1, _kind.__name__))
EnumMap(ChangeOfValue, v1.ValueChange)
EnumMap(Backend, v1.Engine, Backend.DUCKDB)
EnumMap(ImportState, v1.ImportState, ImportState.OPEN)
EnumMap(TLP, v1.Tlp, TLP.AMBER)
EnumMap(Unclassified, v1.Unclassified, Unclassified.QUARANTINED)

ACTION: Final = EnumMap(Action, v1.Action)
BY: Final = EnumMap(By, v1.ComparedBy, By.HASH_SET)
CHANGE_KIND: Final = EnumMap(ChangeKind, v1.ChangeKind)
CONFLICT_REASON: Final = EnumMap(ConflictReason, v1.ConflictReason)
DISPOSITION: Final = EnumMap(Disposition, v1.Disposition)
EFFORT: Final = EnumMap(Effort, v1.Effort, Effort.STANDARD)
ENTRY_ACTION: Final = EnumMap(EntryAction, v1.EntryAction)
ENTRY_STATE: Final = EnumMap(EntryState, v1.EntryState)
PURPOSE: Final = EnumMap(Purpose, v1.Purpose, Purpose.CSAM)
RELIABILITY: Final = EnumMap(Reliability, v1.Reliability, Reliability.F)
REVIEW_KIND: Final = EnumMap(ReviewKind, v1.ReviewKind)
ROLE: Final = EnumMap(Role, v1.Role)
# One that this version does not know is never read as harmless.
VERDICT: Final = EnumMap(Verdict, v1.Verdict, Verdict.UNAVAILABLE, unknown=Verdict.UNAVAILABLE)
WITHDRAWAL_REASON: Final = EnumMap(WithdrawalReason, v1.WithdrawalReason)


_ID: Final = "([a-z0-9-]{1,63})"
_OPAQUE: Final = "([A-Za-z0-9][A-Za-z0-9._@-]{0,127})"  # ids that the hub made, or that stand in data files
_NUMBER: Final = "([1-9][0-9]{0,18})"  # 19 digits: what an int64 can hold, and the check below refuses those above it
_MAX_INT64: Final = (1 << 63) - 1

_HASH_SET: Final = f"contributors/{_ID}/hashSets/{_ID}"
_ENTRY: Final = f"{_HASH_SET}/entries/{_NUMBER}"
_SET_SHAPE: Final = "contributors/{contributor}/hashSets/{hash_set}"
_KINDS: Final = {
    "Contributor": ("contributors/{contributor}", f"contributors/{_ID}", "contributors/{}"),
    "HashSet": (_SET_SHAPE, _HASH_SET, "hash-sets/{}/{}"),
    "Import": (f"{_SET_SHAPE}/imports/{{import}}", f"{_HASH_SET}/imports/{_OPAQUE}", "imports/{}/{}/{}"),
    "Entry": (f"{_SET_SHAPE}/entries/{{entry}}", _ENTRY, "entries/{}/{}/{}"),
    "Webhook": (
        "contributors/{contributor}/webhooks/{webhook}",
        f"contributors/{_ID}/webhooks/{_ID}",
        "webhooks/{}/{}",
    ),
    "Event": ("events/{revision}", f"events/{_NUMBER}", "events/{}"),
    "Approval": ("approvals/{approval}", f"approvals/{_OPAQUE}", "approvals/{}"),
    "Conflict": ("conflicts/{conflict}", f"conflicts/{_ID}", "conflicts/{}"),
    "Group": ("groups/{group}", f"groups/{_ID}", "groups/{}"),
    "Token": ("tokens/{token}", f"tokens/{_OPAQUE}", "tokens/{}"),
    "Policy": ("policies/{policy}", f"policies/{_OPAQUE}", "policies/{}"),
    "Scheme": ("schemes/{scheme}", f"schemes/{_OPAQUE}", "schemes/{}"),
    "Review": (f"{_SET_SHAPE}/entries/{{entry}}/reviews/{{review}}", f"{_ENTRY}/reviews/{_NUMBER}", ""),
    "Author": (
        "contributors/{contributor}[/members/{member}]",
        f"contributors/{_ID}(?:/members/((?s:.){{1,1024}}))?",
        "",
    ),
    "Operation": ("operations/{operation}", f"operations/{_OPAQUE}", ""),
}
"""Of each kind: how its name looks, how it is read, and what events call it, where they are about it."""
_PATTERNS: Final = {kind: re.compile(pattern) for kind, (_, pattern, _) in _KINDS.items()}


contributor_name = "contributors/{}".format
group_name = "groups/{}".format
hash_set_name = "contributors/{}/hashSets/{}".format
import_name = "contributors/{}/hashSets/{}/imports/{}".format
webhook_name = "contributors/{}/webhooks/{}".format
conflict_name = "conflicts/{}".format
event_name = "events/{}".format
token_name = "tokens/{}".format
operation_name = "operations/{}".format
policy_name = "policies/{}".format
scheme_name = "schemes/{}@{}".format


def entry_name(contributor: str, hash_set: str, entry_id: int) -> str:
    return f"contributors/{contributor}/hashSets/{hash_set}/entries/{number_of(entry_id)}"


def review_name(contributor: str, hash_set: str, entry_id: int, review_id: int) -> str:
    return f"{entry_name(contributor, hash_set, entry_id)}/reviews/{number_of(review_id)}"


def author_name(author: str) -> str:
    """Return the resource name of a review's author: a contributor, or `CONTRIBUTOR/MEMBER` of its source."""
    contributor, slash, member = author.partition("/")
    return f"contributors/{contributor}/members/{member}" if slash else f"contributors/{contributor}"


def subject_name(subject: str) -> str:
    """Return the resource name of what an event is about, which the model calls `entries/alpha/list/7`."""
    collection, _, rest = subject.partition("/")
    kind = next((kind for kind, (_, _, called) in _KINDS.items() if called.partition("/")[0] == collection), "")
    name = resource_name(kind, rest)
    return subject if name == rest else name


def parse_subject(name: str, field: str = "subject") -> str:
    """Return what the model calls the subject with this resource name; empty for an empty name."""
    if not name:
        return ""
    subjects = {kind: (shape, subject) for kind, (shape, _, subject) in _KINDS.items() if subject}
    for kind, (_, subject) in subjects.items():
        parts = _PATTERNS[kind].fullmatch(name)
        if parts is not None:
            return subject.format(*parts.groups())
    raise _wrong(" or ".join(shape for shape, _ in subjects.values()), field, f"got {name[:120]!r}")


def resource_name(kind: str, name: str) -> str:
    """Return the resource name of what the model calls `name` (`alpha/list/7`), or `name` if it says too little."""
    has_name = kind in _KINDS and kind not in {"Author", "Event", "Review"}  # which the model calls otherwise
    collections, ids = _KINDS[kind][0].split("/")[::2] if has_name else [], name.split("/")
    if len(ids) != len(collections):
        return name
    return "/".join(f"{collection}/{one}" for collection, one in zip(collections, ids, strict=True))


def _parse_id(kind: str, name: str, field: str = "name") -> str:
    return _parse(kind, name, field)[0]


parse_contributor = partial(_parse_id, "Contributor")
parse_conflict = partial(_parse_id, "Conflict")
parse_group = partial(_parse_id, "Group")
parse_token = partial(_parse_id, "Token")
parse_operation = partial(_parse_id, "Operation")
parse_policy = partial(_parse_id, "Policy")
parse_scheme = partial(_parse_id, "Scheme")


def parse_contributor_or_all(name: str, field: str = "parent") -> str | None:
    """Return the contributor's id, or None for `contributors/-`: all of them."""
    return None if name == "contributors/-" else parse_contributor(name, field)


def parse_hash_set(name: str, field: str = "name") -> tuple[str, str]:
    contributor, hash_set = _parse("HashSet", name, field)
    return contributor, hash_set


def parse_import(name: str, field: str = "name") -> tuple[str, str, str]:
    contributor, hash_set, import_id = _parse("Import", name, field)
    return contributor, hash_set, import_id


def parse_entry(name: str, field: str = "name") -> tuple[str, str, int]:
    contributor, hash_set, number = _parse("Entry", name, field)
    return contributor, hash_set, _number(number, "Entry", field, MAX_NUMBER)


def parse_review(name: str, field: str = "name") -> tuple[str, str, int, int]:
    contributor, hash_set, *numbers = _parse("Review", name, field)
    entry, review = (_number(digits, "Review", field, MAX_NUMBER) for digits in numbers)
    return contributor, hash_set, entry, review


def parse_webhook(name: str, field: str = "name") -> tuple[str, str]:
    contributor, webhook = _parse("Webhook", name, field)
    return contributor, webhook


def parse_author(name: str, field: str = "author") -> str:
    """Return who states a review, as `author_name` takes it."""
    contributor, member = _parse("Author", name, field)
    return f"{contributor}/{member}" if member else contributor


def parse_event(name: str, field: str = "name") -> int:
    return _number(_parse("Event", name, field)[0], "Event", field, _MAX_INT64)


def _parse(kind: str, name: str, field: str) -> tuple[str, ...]:
    parts = _PATTERNS[kind].fullmatch(name)
    if parts is None:
        raise _wrong(_KINDS[kind][0], field, f"got {name[:120]!r}" if name else "it is missing")
    return parts.groups()


def _number(digits: str, kind: str, field: str, most: int) -> int:
    number = int(digits)
    if number > most:
        raise _wrong(_KINDS[kind][0], field, f"its number {digits} is too large")
    return number


def _wrong(shape: str, field: str, problem: str) -> InvalidArgument:
    description = f"must look like {shape}; {problem}"
    reason = "REQUIRED" if problem == "it is missing" else "RESOURCE_NAME"
    return InvalidArgument(f"{field}: {description}", violations=(Violation(field, description, reason),))


PARSERS: Final[dict[str, Callable[[str, str], Any]]] = {
    "Author": parse_author,
    "Conflict": parse_conflict,
    "Contributor": parse_contributor,
    "Entry": parse_entry,
    "Group": parse_group,
    "HashSet": parse_hash_set,
    "Import": parse_import,
    "Policy": parse_policy,
    "Scheme": parse_scheme,
    "Subject": parse_subject,
    "Token": parse_token,
}
MAKERS: Final[dict[str, Callable[[str], str]]] = {"Author": author_name, "Subject": subject_name}
