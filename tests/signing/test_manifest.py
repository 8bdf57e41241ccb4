"""Canonical entries and their root, computed again by the words of docs/contribute/signed.md."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashhub.errors import InvalidArgument, MalformedSource
from hashhub.hashes import Hash
from hashhub.model import Action, Flags, Marking, Record, RecordReview, Reject, ReviewKind, VideoFrame
from hashhub.signing.manifest import Manifest, canonical_entry, entries_root, read_statement

TIME = datetime(2026, 12, 3, 12, 0, 0, 123_456, tzinfo=UTC)
FULL = Record(
    position="line 1",
    hashes=(Hash("SHA1", b"\2" * 20), Hash("MD5", b"\1" * 16), Hash("SHA1", b"\2" * 20)),
    action=Action.WITHDRAW,
    external_id="né\n",
    value="1",
    region="US",
    member="desk",
    flags=Flags(suspected=False, distributed=True),
    media_type="image/png",
    media_size=2**62,
    series="s",
    tags=("b", "a"),
    quality=0,
    source_time="then",
    reviews=(RecordReview(ReviewKind.CONFIRMED, "somebody"),),
    scheme="vic-us@2.0",
    expire_time=TIME,
    extra='{"a":1}',
    frames=(VideoFrame(0, 90, b"\3" * 32),),
)


def root_of(leaves: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, as it stands there."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return sha256(b"\0" + leaves[0]).digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return sha256(b"\1" + root_of(leaves[:split]) + root_of(leaves[split:])).digest()


def test_a_canonical_entry_is_what_the_page_says() -> None:
    stated: dict[str, Any] = {
        "hashes": ["MD5:" + "01" * 16, "SHA1:" + "02" * 20],
        "action": "WITHDRAW",
        "external_id": "né\n",
        "value": "1",
        "region": "US",
        "member": "desk",
        "flags": {"suspected": False, "distributed": True},
        "media_type": "image/png",
        "media_size": 2**62,
        "series": "s",
        "tags": ["b", "a"],
        "quality": 0,
        "source_time": "then",
        "reviews": [["CONFIRMED", "somebody", ""]],
        "scheme": "vic-us@2.0",
        "expire_time": 1_796_299_200_123,
        "extra": '{"a":1}',
        "frames": [[0, 90, "03" * 32]],
    }
    text = json.dumps(stated, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert canonical_entry(FULL).decode() == text
    assert canonical_entry(Record(position="line 2")) == b'{"hashes":[]}'


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=40), st.integers(0, 40))
def test_the_root_is_that_of_rfc_6962(texts: list[str], rejects: int) -> None:
    records = [Record(position=f"line {i}", external_id=text, extra=text) for i, text in enumerate(texts)]
    plain = [{"external_id": t, "extra": t, "hashes": list[str]()} if t else {"hashes": list[str]()} for t in texts]
    leaves = [json.dumps(p, separators=(",", ":"), ensure_ascii=False).encode() for p in plain]
    others = [Reject(f"line {i}", "NO_HASH", "none") for i in range(rejects)]
    assert entries_root([*records, *others]) == (len(texts), root_of(leaves).hex())


@pytest.mark.parametrize("count", [4_095, 4_096, 4_097, 8_200])
def test_the_root_does_not_depend_on_how_many_are_hashed_at_a_time(count: int) -> None:
    records = [Record(position="", external_id=str(i)) for i in range(count)]
    assert entries_root(records)[1] == root_of([canonical_entry(r) for r in records]).hex()


def test_half_a_surrogate_pair_is_told() -> None:
    with pytest.raises(MalformedSource, match="line 3"):
        canonical_entry(Record(position="line 3", value="\ud800"))


MANIFEST = Manifest(
    hash_set="nl/known",
    connector="csv",
    connector_version="1",
    entry_count=2,
    entries_root="ab" * 32,
    time=TIME,
    replace=True,
    terms=(Marking(bulk=True),),
)


def test_a_statement_is_read_as_it_was_written() -> None:
    assert read_statement(MANIFEST.statement("list.csv", "cd" * 32)) == (MANIFEST, "cd" * 32)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("_type", "https://in-toto.io/Statement/v2"),
        ("predicateType", "https://slsa.dev/provenance/v1"),
        ("subject", []),
        ("subject", [{"name": "a", "digest": {"sha256": "cd" * 32}}] * 2),
        ("subject", [{"name": "a", "digest": {"sha512": "cd" * 64}}]),
        ("predicate", {}),
        ("predicate.entriesRoot", "AB" * 32),
        ("predicate.time", "2026-12-03T12:00:00"),
        ("predicate.time", (TIME + timedelta(days=1)).timestamp()),
        ("predicate.more", 1),
    ],
)
def test_anything_else_is_no_statement(field: str, value: object) -> None:
    statement = json.loads(MANIFEST.statement("list.csv", "cd" * 32))
    inside = statement["predicate"] if field.startswith("predicate.") else statement
    inside[field.removeprefix("predicate.")] = value
    with pytest.raises(InvalidArgument, match="no statement"):
        read_statement(json.dumps(statement).encode())
    with pytest.raises(InvalidArgument, match="no statement"):
        read_statement(json.dumps(statement).encode()[:-1])
