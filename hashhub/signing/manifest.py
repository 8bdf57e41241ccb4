"""What a contributor signs: the source's digest, the Merkle root of its canonical entries, where they go, and when."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any, Final, Literal

import msgspec

from hashhub.errors import DataLoss, InvalidArgument, MalformedSource, Reason
from hashhub.item import FIELDS, KEPT, FieldKind
from hashhub.model import Action, Entry, EntryProof, Marking, Record, Reject
from hashhub.tlog.tree import EMPTY_ROOT, Tile, append, edge, leaf_hash, verify_inclusion

PREDICATE_TYPE: Final = "urn:hashhub:contribution:v1"
_SHA256: Final = re.compile("[0-9a-f]{64}")
_PIECE: Final = 4_096  # leaves hashed at a time
_values_of: Final = attrgetter(*(f.name for f in FIELDS))
_ENCODE: Final = msgspec.json.Encoder(order="sorted").encode


class Manifest(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """One contribution. `entries_root`: RFC 6962's, of the canonical entries in the source's order, in hexadecimal.
    `terms`: what the source states of its items' terms.
    """

    hash_set: str
    connector: str
    connector_version: str
    entry_count: int
    entries_root: str
    time: datetime
    replace: bool = False
    terms: tuple[Marking, ...] = ()

    def statement(self, name: str, source_digest: str) -> bytes:
        """Return the in-toto statement about a source, in one line: its file's name, and its SHA-256."""
        subject = [_Subject(name=name, digest={"sha256": source_digest})]
        return msgspec.json.encode(_Statement(subject=subject, predicate=self)) + b"\n"


class _Subject(msgspec.Struct):
    name: str
    digest: dict[str, str]


class _Statement(msgspec.Struct, kw_only=True, rename={"type_": "_type", "predicate_type": "predicateType"}):
    type_: Literal["https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1"] = (
        "https://in-toto.io/Statement/v1"
    )
    subject: list[_Subject]
    predicate_type: Literal["urn:hashhub:contribution:v1"] = PREDICATE_TYPE
    predicate: Manifest


class EntriesTree:
    """The Merkle tree of canonical entries, as they come. It holds no more than the incomplete tile of each level."""

    def __init__(self) -> None:
        self.size = 0
        self.root = EMPTY_ROOT
        self.edge: dict[Tile, bytes] = {}

    def add(self, leaves: Iterable[bytes]) -> dict[Tile, bytes]:
        """Append leaves, and return the tiles that are new or longer."""
        grown = append(self.size, self.edge, leaves)
        tiles = self.edge | grown.tiles
        self.size, self.root = grown.size, grown.root
        self.edge = {tile: tiles[tile] for tile in edge(grown.size)}
        return grown.tiles


def read_statement(statement: bytes) -> tuple[Manifest, str]:
    """Return the manifest, and the SHA-256 of the source that it is about. Raises InvalidArgument for anything else."""
    try:
        read = msgspec.json.decode(statement, type=_Statement)
    except (msgspec.DecodeError, UnicodeDecodeError, InvalidArgument) as e:
        why = str(e)
    else:
        digests = [subject.digest.get("sha256", "") for subject in read.subject]
        if read.predicate.time.tzinfo is None:
            why = "its time has no offset from UTC"
        elif len(digests) == 1 and _SHA256.fullmatch(digests[0]) and _SHA256.fullmatch(read.predicate.entries_root):
            return read.predicate, digests[0]
        else:
            why = "it must be about one file by its SHA-256, and have an entriesRoot of 64 hexadecimal digits"
    text = f"is no statement of a contribution ({why:.200}); `hashhub sign` writes one"
    raise InvalidArgument.field("signature", text, "STATEMENT")


def verify_entry(proof: EntryProof, manifest: Manifest) -> None:
    """Raise DataLoss (PROOF_FAILED) unless a proof shows that the list of a manifest has what it says of an entry."""
    if proof.name.rpartition("/")[0] != manifest.hash_set:
        raise DataLoss(
            f"the proof is of {proof.name:.130}, and the list that was signed of {manifest.hash_set:.130}; ask for it "
            "again",
            reason=Reason.PROOF_FAILED,
        )
    root, leaf = bytes.fromhex(manifest.entries_root), leaf_hash(proof.canonical_entry.encode())
    verify_inclusion(proof.index, manifest.entry_count, leaf, root, proof.hashes)


def entries_root(items: Iterable[Record | Reject]) -> tuple[int, str]:
    """Return how many entries a connector read, and the root of their tree in hexadecimal."""
    tree, leaves = EntriesTree(), list[bytes]()
    for item in items:
        if isinstance(item, Record):
            leaves.append(leaf_of(item))
            if len(leaves) == _PIECE:
                tree.add(leaves)
                leaves.clear()
    tree.add(leaves)
    return tree.size, tree.root.hex()


def leaf_of(record: Record) -> bytes:
    """Return the leaf of a record."""
    return leaf_hash(canonical_entry(record))


def canonical_entry(record: Record) -> bytes:
    """Return what a record states, as docs/contribute/signed.md describes: JSON with sorted keys and no white space, of
    what it says beside its position, its faults and what it leaves open.
    """
    content: dict[str, Any] = {"hashes": sorted({f"{h.algorithm}:{h.digest.hex()}" for h in record.hashes})}
    for field, value in zip(FIELDS, _values_of(record), strict=True):
        if value != field.default:
            content[field.name] = _PLAIN[field.kind](value) if field.kind in _PLAIN else value
    if record.action is not Action.CONTRIBUTE:
        content["action"] = record.action
    if record.frames:
        content["frames"] = [(f.offset_ms, f.quality, f.digest.hex()) for f in record.frames]
    if record.reviews:
        content["reviews"] = record.reviews
    try:
        return _ENCODE(content)
    except UnicodeEncodeError as e:
        raise MalformedSource("a text holds half a surrogate pair; remove it", position=record.position) from e


def records_of(entry: Entry) -> Iterator[Record]:
    """Give the records that may have become an entry as it is: what a source says of region and scheme, or does not,
    is not kept beside what it meant.
    """
    kept = {f.name: attrgetter(f.entry_path)(entry) for f in KEPT}
    c = entry.classification
    regions = {"", c.region} if c else {""}
    schemes = {"", c.scheme, f"{c.scheme}@{c.version}"} if c else {""}
    for region, scheme in itertools.product(sorted(regions), sorted(schemes)):
        value = c.value if c else ""
        yield Record(
            position="", hashes=entry.hashes, frames=entry.frames, **kept, value=value, region=region, scheme=scheme
        )


def _milliseconds(time: datetime) -> int:
    return int(time.astimezone(UTC).timestamp() * 1000)


def _stated_flags(flags: msgspec.Struct) -> dict[str, bool]:
    return {name: flag for name, flag in msgspec.structs.asdict(flags).items() if flag is not None}


_PLAIN: Final[dict[FieldKind, Callable[[Any], Any]]] = {
    FieldKind.TIME: _milliseconds,
    FieldKind.FLAGS: _stated_flags,
}
