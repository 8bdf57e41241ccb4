"""Every enumeration, both ways: the model's values and the contract's numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, Final, Generic, Protocol, TypeVar

from hashhub import v1
from hashhub.errors import InvalidArgument, Violation
from hashhub.model import (
    TLP,
    Action,
    ChangeKind,
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
    Purpose,
    QueueKind,
    Reliability,
    ReviewKind,
    Role,
    Severity,
    Unclassified,
    Verdict,
    WebhookEvent,
    WithdrawalReason,
)
from hashhub.reconcile.results import Backend, By
from hashhub.schemes.alignment import ChangeOfValue, Correspondence
from hashhub.wire.fields import refuse

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
    ConflictKind, ConflictState, ContributorKind, Correspondence, DeliveryState, QueueKind, Severity, WebhookEvent,
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
