"""Records as columns on the wire: the same records, the same refusals, no small message that becomes a large one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashhub import item, v1, wire
from hashhub.errors import InvalidArgument
from hashhub.hashes import ALGORITHMS, Hash
from hashhub.item import FieldKind
from hashhub.model import Action, Flags, HashFault, Record, RecordReview, ReviewKind
from tests.examples import examples

_texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
_VALUES = {
    FieldKind.TEXT: _texts,
    FieldKind.TEXTS: st.lists(_texts, max_size=3).map(tuple),
    FieldKind.NUMBER: st.none() | st.integers(0, 100),
    FieldKind.TIME: st.sampled_from([None, datetime(2040, 1, 2, tzinfo=UTC)]),
    FieldKind.FLAGS: st.builds(Flags, distributed=st.sampled_from([None, True, False])),
}
_hashes = st.sampled_from(list(ALGORITHMS.values())).flatmap(
    lambda a: st.builds(Hash, st.just(a.name), st.binary(min_size=a.digest_bytes, max_size=a.digest_bytes))
)
_records = st.builds(
    Record,
    position=_texts.filter(bool),
    hashes=st.lists(_hashes, max_size=3).map(tuple),
    faults=st.sampled_from([(), (HashFault("MD5", "DIGEST_EMPTY", "none"),)]),
    action=st.sampled_from(Action),
    reviews=st.sampled_from([(), (RecordReview(ReviewKind.CONFIRMED, "member"),)]),
    **{f.name: _VALUES[f.kind] for f in item.FIELDS},
)


@settings(max_examples=examples(100))
@given(records=st.lists(_records, max_size=8))
def test_they_are_the_records_that_rows_are(records: list[Record]) -> None:
    sent = wire.columns_to_pb(records).SerializeToString()
    received = wire.columns_from_pb(v1.RecordColumns.FromString(sent))
    assert received == records == wire.records_from_pb([wire.record_to_pb(r) for r in records])


def usual(count: int = 3) -> v1.RecordColumns:
    hashes = [Hash("MD5", n.to_bytes(16)) for n in range(count)]
    records = [Record(position=f"line {n}", hashes=(h,), external_id=f"id {n}") for n, h in enumerate(hashes)]
    return wire.columns_to_pb(records)


def _break(change: Callable[[v1.RecordColumns], object]) -> v1.RecordColumns:
    pb = usual()
    change(pb)
    return pb


WRONG: dict[str, tuple[Callable[[v1.RecordColumns], object], str, str]] = {
    "no position": (lambda pb: pb.positions.__setitem__(1, ""), "columns.positions[1]", "REQUIRED"),
    "endless position": (lambda pb: pb.positions.__setitem__(1, "x" * 1025), "columns.positions[1]", "TOO_LONG"),
    "NUL": (lambda pb: pb.external_ids.__setitem__(2, "a\0"), "columns.external_ids[2]", "NUL_CHARACTER"),
    "an index short": (lambda pb: pb.template_indexes.pop(), "columns.template_indexes", "WRONG_LENGTH"),
    "no such template": (lambda pb: pb.template_indexes.__setitem__(0, 9), "columns.template_indexes", "OUT_OF_RANGE"),
    "no such sequence": (lambda pb: pb.sequence_indexes.__setitem__(0, 1), "columns.sequence_indexes", "OUT_OF_RANGE"),
    "an id short": (lambda pb: pb.external_ids.pop(), "columns.external_ids", "WRONG_LENGTH"),
    "a quality of 101": (lambda pb: pb.qualities.extend([1, 101, -1]), "columns.qualities[1]", "OUT_OF_RANGE"),
    "a size of -2": (lambda pb: pb.media_sizes.extend([1, -2, -1]), "columns.media_sizes[1]", "OUT_OF_RANGE"),
    "a digest short": (lambda pb: setattr(pb, "digests", pb.digests[1:]), "columns.digests", "WRONG_LENGTH"),
    "an unknown algorithm": (
        lambda pb: pb.sequences[0].algorithms.append("CRC"), "columns.sequences[0].algorithms[1]", "UNKNOWN_ALGORITHM",
    ),
    "too many hashes": (
        lambda pb: pb.sequences[0].algorithms.extend(["MD5"] * 64), "columns.sequences[0].algorithms", "TOO_MANY",
    ),
    "an id in a template": (
        lambda pb: setattr(pb.templates[0], "external_id", "x"), "columns.templates[0].external_id", "NOT_ALLOWED",
    ),
    "a position in a template": (
        lambda pb: setattr(pb.templates[0], "position", "x"), "columns.templates[0].position", "NOT_ALLOWED",
    ),
    "hashes in a template": (
        lambda pb: pb.templates[0].hashes.add(algorithm="MD5", digest=b"x" * 16),
        "columns.templates[0].hashes", "NOT_ALLOWED",
    ),
    "a size of 0 in a template": (
        lambda pb: setattr(pb.templates[0], "media_size_bytes", 0),
        "columns.templates[0].media_size_bytes", "NOT_ALLOWED",
    ),
    "no action": (
        lambda pb: setattr(pb.templates[0], "action", 0), "columns.templates[0].action", "REQUIRED",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_told_by_its_path(what: str) -> None:
    change, path, reason = WRONG[what]
    with pytest.raises(InvalidArgument) as refused:
        wire.columns_from_pb(_break(change))
    assert [(v.field, v.reason) for v in refused.value.violations] == [(path, reason)]


def test_a_small_message_does_not_become_a_large_batch() -> None:
    """One template of 60 KB for 2,000 records would be 120 MB of rows."""
    pb = usual(2_000)
    pb.templates[0].tags.extend(["x" * 1_000 for _ in range(60)])
    assert pb.ByteSize() < 200_000
    with pytest.raises(InvalidArgument, match="send smaller batches") as refused:
        wire.columns_from_pb(pb)
    assert refused.value.violations[0].field == "columns.templates"
