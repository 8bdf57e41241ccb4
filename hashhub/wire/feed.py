"""Entries that leave: lines of the change feed, and the columns of an export: the messages, to the model and back.

Entries of one list differ in little: number, digests, position and the fields `item.OWN`. All else they share with many
others, so that it is sent once, as a template: the first of them, without those.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate
from operator import attrgetter
from typing import Any, Final, TypeVar

import msgspec

from hashhub import hashes, item, v1
from hashhub.errors import InvalidArgument, Violation
from hashhub.hashes import Hash
from hashhub.item import FieldKind
from hashhub.model import ChangedEntry, Entry, FeedPage, RecordReview, Review, number_of
from hashhub.wire import names
from hashhub.wire.codec import MessageCodec, name_of
from hashhub.wire.contribution import REVIEW_IDS, SETS_ASIDE
from hashhub.wire.entries import entry_from_pb, entry_to_pb, put_entry
from hashhub.wire.enums import CHANGE_KIND, REVIEW_KIND
from hashhub.wire.fields import WIDTHS, Violations, refuse, unsendable
from hashhub.wire.records import put_reviews
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
        pb.name = names.resource_name("Entry", change.entry_name)
    else:
        pb.name = names.resource_name("HashSet", change.hash_set_name)


def changed_entry_from_pb(pb: v1.Change, at: str = "change") -> ChangedEntry:
    wrong: list[Violation] = []
    kind = CHANGE_KIND.from_pb(pb.kind, f"{at}.kind", wrong)
    refuse(wrong)
    has = pb.HasField
    entry_name = hash_set_name = ""
    if "/entries/" in pb.name:
        entry_name = "/".join(map(str, names.parse_entry(pb.name, f"{at}.name")))
    elif pb.name:
        hash_set_name = "/".join(names.parse_hash_set(pb.name, f"{at}.name"))
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
        return names.review_name(entry.contributor, entry.hash_set, about, review_id) if review_id else ""

    return [_REVIEW.to_pb(r, name=name(r.id), sets_aside=name(r.sets_aside)) for r in by_id.values()]


_NOT_STATED: Final = -1  # in a column of numbers
_OWN: Final = tuple(f.name for f in item.OWN)
_DEFAULTS: Final = tuple(f.default for f in item.OWN)
_own_of: Final = attrgetter(*_OWN)
_algorithm_of: Final = attrgetter("algorithm")
_digest_of: Final = attrgetter("digest")
# What a template says. The classification by its scheme and value: it is a mapping inside, and depends on these.
_shared_of: Final = attrgetter(
    "contributor", "hash_set", "state", "provenance.import_id", "provenance.member", "flags", "media_type", "series",
    "tags", "expire_time", "reasons", "withdrawal", "create_revision", "update_revision", "frames_digest",
)  # fmt: skip
_value_of: Final = attrgetter("scheme", "version", "value")


def entry_columns_to_pb(entries: Iterable[Entry]) -> v1.EntryColumns:
    """Return the message of entries as columns. Raises InvalidArgument for text that is not Unicode."""
    templates: dict[tuple[Any, ...], int] = {}
    firsts: list[v1.Entry] = []
    template_indexes: list[int] = []
    sequences: dict[tuple[str, ...], int] = {}
    sequence_indexes: list[int] = []
    ids: list[int] = []
    digests: list[bytes] = []
    positions: list[str] = []
    own: list[tuple[Any, ...]] = []
    for entry in entries:
        classification = entry.classification
        shared = (*_shared_of(entry), None if classification is None else _value_of(classification))
        number = templates.get(shared)
        if number is None:
            number = templates[shared] = len(templates)
            firsts.append(_template(entry))
        template_indexes.append(number)
        algorithms = tuple(map(_algorithm_of, entry.hashes))
        number = sequences.get(algorithms)
        if number is None:
            number = sequences[algorithms] = len(sequences)
        sequence_indexes.append(number)
        ids.append(number_of(entry.id))
        digests.extend(map(_digest_of, entry.hashes))
        positions.append(entry.provenance.position)
        own.append(_own_of(entry))
    try:
        pb = v1.EntryColumns(
            templates=firsts,
            template_indexes=template_indexes,
            entry_ids=ids,
            sequences=[v1.AlgorithmSequence(algorithms=sequence) for sequence in sequences],
            sequence_indexes=sequence_indexes,
            digests=b"".join(digests),
            positions=positions,
        )
        for f, default, values in zip(item.OWN, _DEFAULTS, zip(*own, strict=True), strict=False):
            if any(value != default for value in values):
                sent = [_NOT_STATED if v is None else v for v in values] if f.kind is FieldKind.NUMBER else values
                getattr(pb, f.column).extend(sent)
    except ValueError as e:
        raise unsendable("entries of an export") from e
    return pb


def exported_to_pb(entries: Sequence[Entry]) -> v1.ExportEntriesResponse:
    """Return the message of a piece of an export."""
    pb = v1.ExportEntriesResponse(columns=entry_columns_to_pb(entries))
    for index, entry in enumerate(entries):
        if entry.reviews:
            put_reviews(pb.reviews.add(entry_index=index), entry.reviews)
    return pb


def exported_from_pb(pb: v1.ExportEntriesResponse) -> list[Entry]:
    """Return the entries of a piece of an export. Raises InvalidArgument for parts that do not fit together."""
    entries = entries_from_columns_pb(pb.columns)
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


def entries_from_columns_pb(pb: v1.EntryColumns, at: str = "columns") -> list[Entry]:
    """Return the entries. Raises InvalidArgument for columns that do not fit together."""
    ids, template_indexes, sequence_indexes = list(pb.entry_ids), list(pb.template_indexes), list(pb.sequence_indexes)
    count = len(ids)
    templates = [entry_from_pb(t, f"{at}.templates[{i}]") for i, t in enumerate(pb.templates)]
    sequences = [[hashes.algorithm(name).name for name in s.algorithms] for s in pb.sequences]
    widths = [sum(WIDTHS[name] for name in sequence) for sequence in sequences]
    columns: dict[str, Sequence[Any]] = {}
    for f in item.OWN:
        if values := list(getattr(pb, f.column)):
            columns[f.name] = (
                [None if v == _NOT_STATED else v for v in values] if f.kind is FieldKind.NUMBER else values
            )
    lengths = {len(template_indexes), len(sequence_indexes), len(pb.positions), *map(len, columns.values())}
    if (
        (count and lengths != {count})
        or max(template_indexes, default=-1) >= len(templates)
        or max(sequence_indexes, default=-1) >= len(sequences)
        or sum(widths[i] for i in sequence_indexes) != len(pb.digests)
    ):
        raise InvalidArgument.field(at, "do not fit together; is the server of another version?", "WRONG_LENGTH")
    starts = accumulate((widths[i] for i in sequence_indexes), initial=0)
    digests, positions = pb.digests, list(pb.positions)
    replace = msgspec.structs.replace
    entries = []
    for number, start in zip(range(count), starts, strict=False):
        own = []
        for name in sequences[sequence_indexes[number]]:
            end = start + WIDTHS[name]
            own.append(Hash(name, digests[start:end]))
            start = end  # noqa: PLW2901 - goes along the digests of this entry
        template = templates[template_indexes[number]]
        entries.append(
            replace(
                template,
                id=ids[number],
                hashes=tuple(own),
                provenance=replace(template.provenance, position=positions[number]),
                **{name: values[number] for name, values in columns.items()},
            )
        )
    return entries


def _template(entry: Entry) -> v1.Entry:
    provenance = msgspec.structs.replace(entry.provenance, position="")
    bare = dict(zip(_OWN, _DEFAULTS, strict=True))
    return entry_to_pb(msgspec.structs.replace(entry, hashes=(), provenance=provenance, **bare))
