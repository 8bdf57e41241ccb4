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

_MARKING: Final = MessageCodec(Marking, v1.Marking, at="marking", inner="marking.", permitted_purposes=TEXTS)
_HASH_SET: Final = MessageCodec(
    HashSet,
    v1.HashSet,
    at="hash_set",
    sends="HashSet, its marking a Marking",
    ids=Ids(("contributor", "id"), names.hash_set_name, names.parse_hash_set),
)
_RETENTION: Final = MessageCodec(
    Retention,
    v1.Retention,
    at="retention",
    asked_by=name_of("Token", "deletion_asked_by"),
    ask_time="deletion_ask_time",
)
_DELETION: Final = MessageCodec(
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

marking_to_pb = _MARKING.to_pb
marking_from_pb = _MARKING.from_pb
hash_set_to_pb = _HASH_SET.to_pb
retention_from_pb = _RETENTION.from_pb
deletion_to_pb = _DELETION.to_pb
deletion_from_pb = _DELETION.from_pb


def hash_set_from_pb(
    pb: v1.HashSet, *, contributor: str | None = None, hash_set_id: str | None = None, at: str = "hash_set"
) -> HashSet:
    """Return the hash set. `contributor` and `hash_set_id`: what a create request gives instead of a name."""
    if contributor is None or hash_set_id is None:
        return _HASH_SET.from_pb(pb, at)
    wrong = []
    if not pb.purpose:  # what being in the set states is for whoever makes it to say
        wrong.append(Violation(f"{at}.purpose", f"must be one of {PURPOSE.expected}; it is not stated", "REQUIRED"))
    paths = {"contributor": "parent", "id": "hash_set_id"}
    return _HASH_SET.from_pb(pb, at, wrong=wrong, contributor=contributor, id=hash_set_id, paths=paths)


def retention_to_pb(retention: Retention, name: str) -> v1.Retention:
    """Return the message of the retention of the hash set with this resource name."""
    return _RETENTION.to_pb(retention, name=name)


def withdraws_entries(number: int, field: str = "entries") -> bool:
    """Return whether a contributor's entries are withdrawn with its retirement. Raises InvalidArgument unless it is
    said.
    """
    stands, withdrawn = v1.RetiredEntries.RETIRED_ENTRIES_KEPT, v1.RetiredEntries.RETIRED_ENTRIES_WITHDRAWN
    if number not in {stands, withdrawn}:
        expected = "must be RETIRED_ENTRIES_KEPT or RETIRED_ENTRIES_WITHDRAWN"
        refuse([Violation(field, f"{expected}; it is not stated" if not number else expected, "REQUIRED")])
    return number == withdrawn
