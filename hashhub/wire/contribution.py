"""Imports, selections, reviews, and entries that leave, by feed and export: the messages, to the model and back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeVar

import msgspec

from hashhub import v1
from hashhub.errors import InvalidArgument, Violation
from hashhub.model import (
    MAX_TEXT,
    ChangedEntry,
    Counts,
    Entry,
    EntryChanges,
    EntryProof,
    FeedPage,
    Finding,
    Import,
    QueueItem,
    QueueKind,
    RecordReview,
    Reject,
    Review,
    ReviewKind,
    Selection,
    SkippedEntries,
)
from hashhub.wire import fields
from hashhub.wire.codec import FieldCodec, Ids, MessageCodec, name_of, names_of
from hashhub.wire.fields import CHANGE_KIND, REVIEW_KIND, Violations, check_text, checked, refuse, require, sendable
from hashhub.wire.items import entry_from_pb, put_entry, put_reviews
from hashhub.wire.resources import CONTRIBUTOR, HASH_SET

_Answer = TypeVar("_Answer", v1.ListChangesResponse, v1.FollowChangesResponse)


def _read_entry(pb: v1.Finding, field: str, at: str, wrong: list[Violation]) -> int:
    parts = checked(wrong, fields.parse_entry, pb.entry, f"{at}.{field}") if pb.entry else None
    return parts[2] if parts else 0


_COUNTS: Final[dict[str, Any]] = {name: f"{name}_count" for name in Counts.__struct_fields__}
MessageCodec(Counts, v1.ImportCounts, **(_COUNTS | {"items": "item_count"}))
IMPORT: Final = MessageCodec(
    Import,
    v1.Import,
    at="import",
    sends="",
    ids=Ids(
        ("contributor", "hash_set", "id"),
        lambda contributor, hash_set, id_: fields.import_name(contributor, hash_set, id_) if id_ else "",
        fields.parse_import,
    ),
    actor=name_of("Token"),
    revision="commit_revision",
)
ENTRY_PROOF: Final = MessageCodec(
    EntryProof,
    v1.EntryProof,
    at="entry_proof",
    name=name_of("Entry"),
    hashes=FieldCodec(list, lambda pb, field, *_: tuple(getattr(pb, field))),
)
REJECT: Final = MessageCodec(Reject, v1.Reject, at="reject", sends="Reject")
FINDING: Final = MessageCodec(
    Finding, v1.Finding, at="finding", entry_id=FieldCodec(lambda _: "", _read_entry, "entry")
)


def rejects_from_pb(rejects: Iterable[v1.Reject], at: str = "rejects") -> list[Reject]:
    """Return the rejects, or raise InvalidArgument with the violations of all of them."""
    wrong = Violations()
    rejects_read = []
    for i, pb in enumerate(rejects):
        require(pb, f"{at}[{i}]", ("position", "reason"), wrong)
        for field in ("position", "reason", "detail"):
            check_text(getattr(pb, field), f"{at}[{i}].{field}", wrong)
        rejects_read.append(Reject(pb.position, pb.reason, pb.detail))
    refuse(wrong)
    return rejects_read


def finding_to_pb(finding: Finding, contributor: str, hash_set: str) -> v1.Finding:
    """Return the message of a finding of an import into this hash set."""
    entry = fields.entry_name(contributor, hash_set, finding.entry_id) if finding.entry_id else ""
    return FINDING.to_pb(finding, entry=entry)


def _parent_name(name: str) -> str:
    """Return the resource name of `CONTRIBUTOR/SET` or `CONTRIBUTOR`; empty for an empty name."""
    return fields.resource_name("HashSet" if "/" in name else "Contributor", name) if name else ""


def _parse_parent(name: str, field: str) -> tuple[str, str]:
    """Return the contributor, and `CONTRIBUTOR/SET` or an empty text."""
    if "/hashSets/" in name:
        contributor, hash_set = fields.parse_hash_set(name, field)
        return contributor, f"{contributor}/{hash_set}"
    return fields.parse_contributor(name, field), ""


def _read_selected(name: str, field: str) -> tuple[str, str]:
    contributor, hash_set = _parse_parent(name, field) if name else ("", "")
    return "" if hash_set else contributor, hash_set


def _read_labels(pb: v1.EntrySelection, field: str, at: str, wrong: list[Violation]) -> tuple[str, ...]:
    for i, text in enumerate(getattr(pb, field)):
        if not text or len(text) > MAX_TEXT or "\0" in text:
            problem = f"must be 1 to {MAX_TEXT} characters without NUL"
            wrong.append(Violation(f"{at}.{field}[{i}]", problem, "REQUIRED" if not text else "TOO_LONG"))
    return tuple(getattr(pb, field))


def _read_dimensions(pb: v1.EntrySelection, field: str, at: str, wrong: list[Violation]) -> dict[str, tuple[str, ...]]:
    dimensions: dict[str, tuple[str, ...]] = {}
    for i, criterion in enumerate(pb.dimensions):
        if criterion.dimension in dimensions:
            wrong.append(Violation(f"{at}.{field}[{i}].dimension", "stands there twice", "NOT_ALLOWED"))
        dimensions[criterion.dimension] = tuple(criterion.values)
    return dimensions


_LABELS: Final = FieldCodec(lambda value: value, _read_labels)
_SELECTION: Final = MessageCodec(
    Selection,
    v1.EntrySelection,
    at="selection",
    sends="Selection, its hashes a sequence of Hash: hashhub.hashes.parse_pair(…)",
    ids=Ids(("contributor", "hash_set"), lambda one, hash_set: _parent_name(hash_set or one), _read_selected, "parent"),
    names=names_of("Entry"),
    imports=names_of("Import"),
    external_ids=_LABELS,
    reasons=_LABELS,
    tags=_LABELS,
    series=_LABELS,
    dimensions=FieldCodec(
        lambda value: [v1.DimensionCriterion(dimension=name, values=values) for name, values in value.items()],
        _read_dimensions,
    ),
)
selection_from_pb: Final = _SELECTION.from_pb


def selection_to_pb(selection: Selection) -> v1.EntrySelection:
    """Return the message. Names are those that commands use."""
    for name in ("names", "external_ids", "imports", "reasons", "tags", "series"):
        if isinstance(getattr(selection, name, ()), str):  # each of its characters would be a value
            raise InvalidArgument.field(f"selection.{name}", "must be a sequence of texts, and not one text alone")
    return _SELECTION.to_pb(selection)


MessageCodec(SkippedEntries, v1.SkippedEntries, examples=names_of("Entry"))
ENTRY_CHANGES: Final = MessageCodec(
    EntryChanges,
    v1.ChangeEntriesResponse,
    without="action validate_only",
    selected="selected_count",
    changed="changed_count",
    pending="pending_count",
    also="also_count",
    examples=names_of("Entry"),
    unmatched="unmatched_count",
    revision="change_revision",
)
"""The action and whether it was only tried stand in the request."""


def _example_name(item: QueueItem) -> str:
    if item.kind is QueueKind.CONFLICT and "/" not in item.name:
        return fields.conflict_name(item.name)
    if item.kind is QueueKind.WEBHOOK_FAILING and "/" in item.name:
        return fields.resource_name("Webhook", item.name)
    kinds = {1: "Contributor", 2: "HashSet", 3: "Import" if item.kind is QueueKind.OPEN_IMPORT else "Entry"}
    return fields.resource_name(kinds[item.name.count("/") + 1], item.name) if item.name else ""


QUEUE_ITEM: Final = MessageCodec(
    QueueItem,
    v1.QueueItem,
    at="queue_item",
    ids=Ids(("contributor", "hash_set"), lambda one, hash_set: _parent_name(hash_set or one), _parse_parent, "parent"),
    name=FieldCodec(lambda _: "", lambda pb, *_: "/".join(pb.example.split("/")[1::2]), "example"),
    actor=name_of("Token"),
    derived=lambda item: {"example": _example_name(item)},
)


def _read_aside(pb: v1.Review | v1.FeedReview, field: str, at: str, wrong: list[Violation]) -> int:
    parts = checked(wrong, fields.parse_review, getattr(pb, field), f"{at}.{field}") if getattr(pb, field) else None
    return parts[3] if parts else 0


def _no_name(*_: object) -> str:
    """Return no name: `review_to_pb` and the feed know the hash set, which a review does not."""
    return ""


REVIEW_IDS: Final = Ids(("entry_id", "id"), _no_name, lambda name, field: fields.parse_review(name, field)[2:])
SETS_ASIDE: Final = FieldCodec(_no_name, _read_aside)
REVIEW: Final = MessageCodec(
    Review,
    v1.Review,
    at="review",
    sends="Review, its kind a ReviewKind",
    ids=REVIEW_IDS,
    author=name_of("Author", is_required=True),
    actor=name_of("Token"),
    sets_aside=SETS_ASIDE,
    revision="create_revision",
)


def review_to_pb(review: Review, contributor: str, hash_set: str) -> v1.Review:
    """Return the message of a review of an entry in this hash set; a review without an id has no name yet."""

    def name(review_id: int) -> str:
        return fields.review_name(contributor, hash_set, review.entry_id, review_id) if review_id else ""

    return REVIEW.to_pb(review, name=name(review.id), sets_aside=name(review.sets_aside))


def new_review_from_pb(pb: v1.Review, at: str = "review") -> tuple[ReviewKind, str]:
    """Return what a caller states about an entry: kind and comment. Who says so is not for the caller to say."""
    wrong: list[Violation] = []
    kind = REVIEW_KIND.from_pb(pb.kind, f"{at}.kind", wrong)
    check_text(pb.comment, f"{at}.comment", wrong)
    refuse(wrong)
    return kind, pb.comment


def feed_page_to_pb(message: type[_Answer], page: FeedPage) -> _Answer:
    """Return a page as the answer of either way to read the feed."""
    pb = message(
        revision=page.revision,
        next_position=page.position,
        complete=page.is_complete,
        head=page.head,
        hub=page.hub,
    )
    add = pb.changes.add
    for change in page.changes:
        _put_change(add(), change)
    return pb


def _put_change(pb: v1.Change, change: ChangedEntry) -> None:
    """Set all of an empty message."""
    pb.change_revision = change.revision
    pb.kind = CHANGE_KIND.to_pb(change.kind)
    if change.entry is not None:
        put_entry(pb.entry, change.entry)
        if change.reviews:
            pb.reviews.extend(_feed_reviews(change.entry, change.reviews))
        if change.entry_name:
            pb.name = fields.resource_name("Entry", change.entry_name)
        for entry in change.same_hash:
            put_entry(pb.same_hash_entries.add(), entry)
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
        reviews=tuple(_FEED_REVIEW.from_pb(r, f"{at}.reviews[{i}]") for i, r in enumerate(pb.reviews)),
        hash_set=HASH_SET.from_pb(pb.hash_set, f"{at}.hash_set") if has("hash_set") else None,
        contributor=CONTRIBUTOR.from_pb(pb.contributor, f"{at}.contributor") if has("contributor") else None,
        entry_name=entry_name,
        hash_set_name=hash_set_name,
        same_hash=tuple(entry_from_pb(e, f"{at}.same_hash_entries[{i}]") for i, e in enumerate(pb.same_hash_entries)),
    )


_FEED_REVIEW: Final = MessageCodec(
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

    return [_FEED_REVIEW.to_pb(r, name=name(r.id), sets_aside=name(r.sets_aside)) for r in by_id.values()]


def exported_to_pb(entries: Sequence[Entry]) -> v1.ExportEntriesResponse:
    """Return the message of a piece of an export."""
    pb = v1.ExportEntriesResponse()
    with sendable("entries of an export"):
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
