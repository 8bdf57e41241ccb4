"""Hash sets, their markings and retention: the messages, to the model and back."""

from __future__ import annotations

from typing import Final

from hashhub import v1
from hashhub.errors import Violation
from hashhub.model import Deletion, HashSet, Marking, Retention
from hashhub.wire import names
from hashhub.wire.codec import TEXTS, Ids, MessageCodec, name_of
from hashhub.wire.enums import PURPOSE
from hashhub.wire.fields import refuse

MARKING: Final = MessageCodec(Marking, v1.Marking, at="marking", inner="marking.", permitted_purposes=TEXTS)
HASH_SET: Final = MessageCodec(
    HashSet,
    v1.HashSet,
    at="hash_set",
    sends="HashSet, its marking a Marking",
    ids=Ids(("contributor", "id"), names.hash_set_name, names.parse_hash_set, created=("parent", "hash_set_id")),
)
RETENTION: Final = MessageCodec(
    Retention,
    v1.Retention,
    at="retention",
    asked_by=name_of("Token", "deletion_asked_by"),
    ask_time="deletion_ask_time",
)
DELETION: Final = MessageCodec(
    Deletion,
    v1.DeleteHashSetResponse,
    hash_set=name_of("HashSet", "name", is_required=True),
    entries="entry_count",
    imports="import_count",
    findings="finding_count",
    reviews="review_count",
    holds="hold_count",
    revision="delete_revision",
)


def new_hash_set_from_pb(pb: v1.HashSet, contributor: str, hash_set_id: str) -> HashSet:
    """Return the hash set of a create request, which has to say what being in it states."""
    wrong = []
    if not pb.purpose:
        wrong.append(Violation("hash_set.purpose", f"must be one of {PURPOSE.expected}; it is not stated", "REQUIRED"))
    return HASH_SET.created(pb, contributor, hash_set_id, wrong=wrong)


def withdraws_entries(number: int, field: str = "entries") -> bool:
    """Return whether a contributor's entries are withdrawn as it retires. Raises InvalidArgument unless it is said."""
    stands, withdrawn = v1.RetiredEntries.RETIRED_ENTRIES_KEPT, v1.RetiredEntries.RETIRED_ENTRIES_WITHDRAWN
    if number not in {stands, withdrawn}:
        expected = "must be RETIRED_ENTRIES_KEPT or RETIRED_ENTRIES_WITHDRAWN"
        refuse([Violation(field, f"{expected}; it is not stated" if not number else expected, "REQUIRED")])
    return number == withdrawn
