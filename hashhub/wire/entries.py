"""Entries, with their hashes, classification and withdrawal: the messages, to the model and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from hashhub import v1
from hashhub.errors import Violation
from hashhub.hashes import Hash
from hashhub.model import (
    Classification,
    Entry,
    Provenance,
    Role,
    SchemeStatus,
    Withdrawal,
)
from hashhub.wire import names
from hashhub.wire.codec import FieldCodec, Ids, MessageCodec, name_of
from hashhub.wire.fields import ENTRY_STATE, ROLE, build, checked, collect, read_hash
from hashhub.wire.records import ENTRY_FIELDS, put_fields, put_frames, read_entry_fields, read_frames


def hash_to_pb(value: Hash) -> v1.Hash:
    return v1.Hash(algorithm=value.algorithm, digest=value.digest)


_CLASSIFICATION: Final = MessageCodec(
    Classification,
    v1.Classification,
    ids=Ids(("scheme", "version"), "{}@{}".format, lambda name, _: name.partition("@")[::2], "scheme"),
    status=FieldCodec(
        lambda status: status is SchemeStatus.DRAFT,
        lambda pb, *_: SchemeStatus.DRAFT if pb.draft else SchemeStatus.VERIFIED,
        "draft",
    ),
)
classification_to_pb: Final = _CLASSIFICATION.to_pb
classification_from_pb: Final = _CLASSIFICATION.from_pb


def dimensions_from_pb(dimensions: Mapping[str, v1.DimensionValues]) -> dict[str, tuple[str, ...]]:
    return {name: tuple(dimensions[name].values) for name in sorted(dimensions)}


def entry_to_pb(entry: Entry) -> v1.Entry:
    pb = v1.Entry()
    put_entry(pb, entry)
    return pb


def put_entry(pb: v1.Entry, entry: Entry) -> None:
    """Set all of an empty message, in place: copying would be felt in a feed of a million entries."""
    provenance = entry.provenance
    pb.name = names.entry_name(entry.contributor, entry.hash_set, entry.id)
    pb.state = ENTRY_STATE.to_pb(entry.state)
    if entry.reasons:
        pb.reasons.extend(entry.reasons)
    source = pb.provenance
    source.connector = provenance.connector
    source.connector_version = provenance.connector_version
    source.source_digest = provenance.source_digest
    source.position = provenance.position
    source.member = provenance.member
    setattr(source, "import", names.import_name(entry.contributor, entry.hash_set, provenance.import_id))
    pb.create_revision = entry.create_revision
    pb.update_revision = entry.update_revision
    put_fields(pb, ENTRY_FIELDS, entry)
    add = pb.hashes.add
    for value in entry.hashes:
        add(algorithm=value.algorithm, digest=value.digest)
    if entry.classification is not None:
        pb.classification.CopyFrom(classification_to_pb(entry.classification))
    if entry.withdrawal is not None:
        pb.withdrawal.CopyFrom(_WITHDRAWAL.to_pb(entry.withdrawal))
    if entry.frame_count:
        pb.frame_count = entry.frame_count
        put_frames(pb, entry.frames)
    if entry.predecessors:
        pb.predecessors.extend(names.resource_name("Entry", name) for name in entry.predecessors)
    if entry.successors:
        pb.successors.extend(names.resource_name("Entry", name) for name in entry.successors)


def entry_from_pb(pb: v1.Entry, at: str = "entry") -> Entry:
    wrong: list[Violation] = []
    contributor, hash_set, entry_id = checked(wrong, names.parse_entry, pb.name, f"{at}.name") or ("", "", 0)
    source = getattr(pb.provenance, "import")
    _, _, import_id = checked(wrong, names.parse_import, source, f"{at}.provenance.import") or ("", "", "")
    values = {
        "id": entry_id,
        "contributor": contributor,
        "hash_set": hash_set,
        "hashes": tuple([read_hash(h, f"{at}.hashes[{i}]", wrong) for i, h in enumerate(pb.hashes)]),
        "state": ENTRY_STATE.from_pb(pb.state, f"{at}.state", wrong),
        "provenance": Provenance(
            import_id=import_id,
            connector=pb.provenance.connector,
            connector_version=pb.provenance.connector_version,
            source_digest=pb.provenance.source_digest,
            position=pb.provenance.position,
            member=pb.provenance.member,
        ),
        "classification": classification_from_pb(pb.classification) if pb.HasField("classification") else None,
        "reasons": tuple(pb.reasons),
        "create_revision": pb.create_revision,
        "update_revision": pb.update_revision,
        **read_entry_fields(pb, at, wrong),
        "withdrawal": collect(wrong, _WITHDRAWAL.from_pb, pb.withdrawal, f"{at}.withdrawal", None)
        if pb.HasField("withdrawal")
        else None,
        "predecessors": _entry_names(pb.predecessors, f"{at}.predecessors", wrong),
        "successors": _entry_names(pb.successors, f"{at}.successors", wrong),
        "frame_count": pb.frame_count,
        "frames": read_frames(pb) if pb.frames else (),
    }
    return build(Entry, values, wrong, at, {})


_WITHDRAWAL: Final = MessageCodec(
    Withdrawal,
    v1.Withdrawal,
    at="withdrawal",
    actor=name_of("Token"),
    role=FieldCodec(
        ROLE.to_pb,
        lambda pb, _, at, wrong: ROLE.from_pb(pb.role, f"{at}.role", wrong) if pb.actor else Role.CONTRIBUTOR,
    ),
    revision="withdraw_revision",
    # Outsiders are not told by which token an entry was withdrawn.
    derived=lambda withdrawal: {} if withdrawal.actor else {"role": v1.Role.ROLE_UNSPECIFIED},
)


def _entry_names(pb: Iterable[str], at: str, wrong: list[Violation]) -> tuple[str, ...]:
    parsed = [checked(wrong, names.parse_entry, name, f"{at}[{i}]") or ("", "", 0) for i, name in enumerate(pb)]
    return tuple(f"{contributor}/{hash_set}/{entry_id}" for contributor, hash_set, entry_id in parsed)
