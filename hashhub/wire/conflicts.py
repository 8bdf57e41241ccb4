"""Conflicts: the messages, to the model and back."""

from __future__ import annotations

from typing import Final

from hashhub import v1
from hashhub.model import (
    Conflict,
    ConflictCount,
    ConflictFilter,
    ConflictingContributor,
    ConflictParty,
    ConflictResolution,
    ConflictStatement,
    ConflictSummary,
)
from hashhub.wire import names
from hashhub.wire.codec import NOT_NEGATIVE, TEXT, Ids, MessageCodec, name_of

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
CONFLICT: Final = MessageCodec(
    Conflict,
    v1.Conflict,
    at="conflict",
    sends="",
    name=name_of("Conflict", is_required=True),
    revision="conflict_revision",
    ended_side=name_of("HashSet"),
)
CONFLICT_FILTER: Final = MessageCodec(
    ConflictFilter,
    v1.ConflictFilter,
    at="filter",
    sends="ConflictFilter",
    contributor=name_of("Contributor"),
    other=name_of("Contributor"),
    hash_set=name_of("HashSet"),
    jurisdiction=TEXT,
    since_revision=NOT_NEGATIVE,
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
CONFLICT_SUMMARY: Final = MessageCodec(
    ConflictSummary, v1.SummariseConflictsResponse, at="summary", sends="", looked_upto="looked_revision"
)
