"""Conflicts: the messages, to the model and back."""

from __future__ import annotations

from typing import Final

from hashhub import v1
from hashhub.errors import Violation
from hashhub.model import (
    Conflict,
    ConflictCount,
    ConflictFilter,
    ConflictingContributor,
    ConflictParty,
    ConflictReason,
    ConflictResolution,
    ConflictStatement,
    ConflictSummary,
)
from hashhub.wire import names
from hashhub.wire.codec import TEXT, Ids, MessageCodec, name_of
from hashhub.wire.enums import CONFLICT_REASON
from hashhub.wire.fields import refuse

MessageCodec(ConflictStatement, v1.ConflictStatement, entry=name_of("Entry", is_required=True))
MessageCodec(
    ConflictParty,
    v1.ConflictParty,
    ids=Ids(
        ("hash_set", "contributor"),
        lambda hash_set, _: names.resource_name("HashSet", hash_set),
        lambda name, field: ("/".join(parts := names.parse_hash_set(name, field)), parts[0]),
        "hash_set",
    ),
)
MessageCodec(
    ConflictResolution,
    v1.ConflictResolution,
    contributor=name_of("Contributor"),
    actor=name_of("Token"),
    decided_for=name_of("Contributor"),
    revision="create_revision",
)
_CONFLICT: Final = MessageCodec(
    Conflict,
    v1.Conflict,
    at="conflict",
    sends="",
    name=name_of("Conflict", is_required=True),
    revision="conflict_revision",
    ended_side=name_of("HashSet"),
)
_FILTER: Final = MessageCodec(
    ConflictFilter,
    v1.ConflictFilter,
    at="filter",
    sends="ConflictFilter",
    contributor=name_of("Contributor"),
    other=name_of("Contributor"),
    hash_set=name_of("HashSet"),
    jurisdiction=TEXT,
    assignee=TEXT,
    entry=name_of("Entry"),
)
MessageCodec(
    ConflictCount,
    v1.ConflictCount,
    left=name_of("Contributor", is_required=True),
    right=name_of("Contributor", is_required=True),
)
MessageCodec(
    ConflictingContributor,
    v1.ConflictingContributor,
    contributor=name_of("Contributor", is_required=True),
    conflicts="conflict_count",
    items="item_count",
    others="other_count",
)
_SUMMARY: Final = MessageCodec(
    ConflictSummary, v1.SummariseConflictsResponse, at="summary", sends="", looked_upto="looked_revision"
)

conflict_to_pb = _CONFLICT.to_pb
conflict_from_pb = _CONFLICT.from_pb
conflict_filter_to_pb = _FILTER.to_pb
conflict_summary_to_pb = _SUMMARY.to_pb
conflict_summary_from_pb = _SUMMARY.from_pb


def conflict_filter_from_pb(pb: v1.ConflictFilter) -> ConflictFilter:
    """Return the filter. Raises InvalidArgument with all that is wrong."""
    wrong = []
    if pb.since_revision < 0:
        text = f"must not be negative, got {pb.since_revision}"
        wrong.append(Violation("filter.since_revision", text, "OUT_OF_RANGE"))
    return _FILTER.from_pb(pb, wrong=wrong)


def conflict_reason_to_pb(reason: ConflictReason) -> v1.ConflictReason:
    number: v1.ConflictReason = CONFLICT_REASON.to_pb(reason)
    return number


def conflict_reason_from_pb(number: int, at: str = "reason") -> ConflictReason:
    """Return what a conflict comes to. Raises InvalidArgument when it is not stated."""
    wrong: list[Violation] = []
    reason = CONFLICT_REASON.from_pb(number, at, wrong)
    refuse(wrong)
    return reason
