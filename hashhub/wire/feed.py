"""Entries that leave: lines of the change feed, and pieces of an export: the messages, to the model and back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, TypeVar

import msgspec

from hashhub import v1
from hashhub.errors import InvalidArgument, Violation
from hashhub.model import ChangedEntry, Entry, FeedPage, RecordReview, Review
from hashhub.wire import fields
from hashhub.wire.codec import MessageCodec, name_of
from hashhub.wire.contribution import REVIEW_IDS, SETS_ASIDE
from hashhub.wire.fields import CHANGE_KIND, REVIEW_KIND, Sendable, Violations, refuse
from hashhub.wire.items import entry_from_pb, put_entry, put_reviews
from hashhub.wire.resources import CONTRIBUTOR, HASH_SET

_Answer = TypeVar("_Answer", v1.ListChangesResponse, v1.FollowChangesResponse)


def feed_page_to_pb(message: type[_Answer], page: FeedPage) -> _Answer:
    """Return a page as the answer of either way to read the feed."""
    pb = message(revision=page.revision, next_position=page.position, complete=page.is_complete, head=page.head)
    add = pb.changes.add
    for change in page.changes:
        put_changed_entry(add(), change)
    return pb


def changed_entry_to_pb(change: ChangedEntry) -> v1.Change:
    pb = v1.Change()
    put_changed_entry(pb, change)
    return pb


def put_changed_entry(pb: v1.Change, change: ChangedEntry) -> None:
    """Set all of an empty message."""
    pb.change_revision = change.revision
    pb.kind = CHANGE_KIND.to_pb(change.kind)
    if change.entry is not None:
        put_entry(pb.entry, change.entry)
        if change.reviews:
            pb.reviews.extend(_feed_reviews(change.entry, change.reviews))
    elif change.hash_set is not None:
        pb.hash_set.CopyFrom(HASH_SET.to_pb(change.hash_set))
    elif change.contributor is not None:
        pb.contributor.CopyFrom(CONTRIBUTOR.to_pb(change.contributor))
    elif change.entry_name:
        pb.name = fields.resource_name("Entry", change.entry_name)
    else:
        pb.name = fields.resource_name("HashSet", change.hash_set_name)


def changed_entry_from_pb(pb: v1.Change, at: str = "change") -> ChangedEntry:
    wrong: list[Violation] = []
    kind = CHANGE_KIND.from_pb(pb.kind, f"{at}.kind", wrong)
    refuse(wrong)
    has = pb.HasField
    entry_name = hash_set_name = ""
    if "/entries/" in pb.name:
        entry_name = "/".join(map(str, fields.parse_entry(pb.name, f"{at}.name")))
    elif pb.name:
        hash_set_name = "/".join(fields.parse_hash_set(pb.name, f"{at}.name"))
    return ChangedEntry(
        revision=pb.change_revision,
        kind=kind,
        entry=entry_from_pb(pb.entry, f"{at}.entry") if has("entry") else None,
        reviews=tuple(_REVIEW.from_pb(r, f"{at}.reviews[{i}]") for i, r in enumerate(pb.reviews)),
        hash_set=HASH_SET.from_pb(pb.hash_set, f"{at}.hash_set") if has("hash_set") else None,
        contributor=CONTRIBUTOR.from_pb(pb.contributor, f"{at}.contributor") if has("contributor") else None,
        entry_name=entry_name,
        hash_set_name=hash_set_name,
    )


_REVIEW: Final = MessageCodec(
    Review,
    v1.FeedReview,
    ids=REVIEW_IDS,
    without="comment actor create_time",
    author=name_of("Author", is_required=True),
    sets_aside=SETS_ASIDE,
    revision="create_revision",
)


def _feed_reviews(entry: Entry, reviews: Iterable[Review]) -> list[v1.FeedReview]:
    """Return the messages of the reviews that count for an entry, without comment, actor and time."""
    by_id = {r.id: r for r in reviews}

    def name(review_id: int) -> str:
        # A review may have been stated about an earlier entry about the same item.
        about = by_id[review_id].entry_id if review_id in by_id else entry.id
        return fields.review_name(entry.contributor, entry.hash_set, about, review_id) if review_id else ""

    return [_REVIEW.to_pb(r, name=name(r.id), sets_aside=name(r.sets_aside)) for r in by_id.values()]


def exported_to_pb(entries: Sequence[Entry]) -> v1.ExportEntriesResponse:
    """Return the message of a piece of an export."""
    pb = v1.ExportEntriesResponse()
    with Sendable("entries of an export"):
        for index, entry in enumerate(entries):
            put_entry(pb.entries.add(), entry)
            if entry.reviews:
                put_reviews(pb.reviews.add(entry_index=index), entry.reviews)
    return pb


def exported_from_pb(pb: v1.ExportEntriesResponse) -> list[Entry]:
    """Return the entries of a piece of an export. Raises InvalidArgument for what is no entry or review of them."""
    entries = [entry_from_pb(entry, f"entries[{i}]") for i, entry in enumerate(pb.entries)]
    wrong = Violations()
    for one in pb.reviews:
        if one.entry_index >= len(entries):
            raise InvalidArgument.field("reviews.entry_index", f"must be below {len(entries)}", "OUT_OF_RANGE")
        reviews = tuple(
            RecordReview(REVIEW_KIND.from_pb(r.kind, "reviews.kind", wrong), r.author, r.comment) for r in one.reviews
        )
        entries[one.entry_index] = msgspec.structs.replace(entries[one.entry_index], reviews=reviews)
    refuse(wrong)
    return entries
