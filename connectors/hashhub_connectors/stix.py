"""STIX 2.1 bundles, TAXII 2.1 envelopes and bare arrays of STIX objects; observed data of STIX 2.0 as well.

Items are `file` and `artifact` objects, and indicators that compare nothing but `file:hashes` with `=`. Opinions become
reviews, `revoked` a withdrawal, `valid_until` the end; sightings and statements are kept in `extra`, TLP markings as
tags (TERMS_STATED) that change no terms. Only hashhub's own extension gives a value. File names, paths and payloads are
case data and are not kept.

A bundle is read twice, first what refers to other objects, then the items, in bounded memory. The library `stix2` would
hold it whole; it only makes and checks what is written.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO, Final
from uuid import UUID, uuid5

from hashhub import hashes
from hashhub.connector import (
    PURPOSE_TAG,
    Certainty,
    Exported,
    Guess,
    Items,
    Known,
    LeftOut,
    Loss,
    Option,
    check_options,
    partial,
)
from hashhub.errors import InvalidArgument, MalformedSource, Reason
from hashhub.hygiene import Code
from hashhub.model import (
    MAX_HASHES_PER_ENTRY,
    MAX_TEXT,
    TLP,
    Entry,
    EntryState,
    Flags,
    HashFault,
    HashSet,
    Purpose,
    Record,
    RecordReview,
    Reject,
    ReviewKind,
)
from hashhub_connectors import exchange, items
from hashhub_connectors.outgoing import Output, PurposeCheck, with_known_extra, withheld
from hashhub_connectors.source import LARGE, JSONReader

EXTENSION: Final = "extension-definition--a6af0206-0bc2-40c4-919b-20d1aa6da5f9"  # ours: what an entry states
_OURS: Final = UUID("abfdb484-e604-4260-b1a2-c0b7f276dd5a")  # namespace of the ids that we make
_TLP_EXTENSION: Final = "extension-definition--60a3c5c5-0d10-413e-aab3-9e08dde9e88d"
_TLP_WORDS: Final = {tlp: tlp.value.lower().replace("_", "+") for tlp in TLP}
# TLP 2: OASIS, cti-stix-common-objects, extension-definition-specifications/tlp-2.0; TLP 1: STIX 2.1, 7.2.1.4.
TLP_2: Final = {
    TLP.CLEAR: "marking-definition--94868c89-83c2-464b-929b-a1a8aa3c8487",
    TLP.GREEN: "marking-definition--bab4a63c-aed9-4cf5-a766-dfca5abac2bb",
    TLP.AMBER: "marking-definition--55d920b0-5e8b-4f79-9ee9-91f868d9b421",
    TLP.AMBER_STRICT: "marking-definition--939a9414-2ddd-4d32-a0cd-375ea402b003",
    TLP.RED: "marking-definition--e828b379-4e03-4974-9ac4-e53a884c97c1",
}
_TLP_TAGS: Final = {marking: f"tlp:{_TLP_WORDS[tlp]}" for tlp, marking in TLP_2.items()} | {
    "marking-definition--613f2e26-407d-48c7-9eca-b8e91df99dc9": "tlp:white",
    "marking-definition--34098fce-860f-48ae-8e50-ebd3cc5e41da": "tlp:green",
    "marking-definition--f88d31f6-486f-44da-b317-01333bde0b82": "tlp:amber",
    "marking-definition--5e57c739-391a-4eb3-b6be-7d15ca92d5ed": "tlp:red",
}
_OPINIONS: Final = {
    "strongly-disagree": ReviewKind.FALSE_POSITIVE,
    "disagree": ReviewKind.FALSE_POSITIVE,
    "agree": ReviewKind.CONFIRMED,
    "strongly-agree": ReviewKind.CONFIRMED,
}
_CERTIFICATE: Final = "x509-certificate"  # its hashes are of no file
_ITEMS: Final = frozenset({"file", "artifact", "indicator", "observed-data"})
_OF_ALL: Final = dict.fromkeys(
    ("type", "id", "spec_version", "created", "modified", "created_by_ref", "object_marking_refs", "revoked")
)
_OWN: Final[Known] = {
    **dict.fromkeys(("extension_type", "stated_by_ref", "hash_set", "review_depth", "external_id", "member", "series")),
    **dict.fromkeys(("source_time", "extra", "tags", "purpose", "undecided", "more_hashes", "quality", "media_type")),
    **dict.fromkeys(("media_size", "expire_time")),
    "classification": {"scheme": None, "value": None},
    "flags": dict.fromkeys(Flags.__struct_fields__),
}
_FILE: Final[Known] = {
    **_OF_ALL,
    **dict.fromkeys(("hashes", "mime_type", "size", "confidence")),
    "extensions": {EXTENSION: _OWN},
}
_DEFINITION: Final = "extension-definition"
# All that is read of an object by its type, of our own definition by its id.
_KNOWN: Final[dict[str, Known]] = {
    "file": _FILE,
    "artifact": _FILE,
    "indicator": {
        **_FILE,
        **dict.fromkeys(("pattern", "pattern_type", "indicator_types", "labels", "valid_from", "valid_until")),
    },
    "observed-data": {**_OF_ALL, **dict.fromkeys(("objects", "number_observed", "first_observed", "last_observed"))},
    "identity": {**_OF_ALL, "name": None, "identity_class": None},
    "sighting": {**_OF_ALL, "count": None, "sighting_of_ref": None},
    "opinion": {**_OF_ALL, **dict.fromkeys(("opinion", "object_refs", "explanation"))},
    EXTENSION: {**_OF_ALL, **dict.fromkeys(("name", "description", "schema", "version", "extension_types"))},
    "marking-definition": {
        **_OF_ALL,
        "definition_type": None,
        "name": None,
        "definition": {"tlp": None, "statement": None},
        "extensions": {_TLP_EXTENSION: {"extension_type": None, "tlp_2_0": None}},
    },
}
_ENVELOPE: Final[Known] = dict.fromkeys(("type", "id", "spec_version", "more", "next", exchange.CHANGES_ONLY))
MAX_REFERENCES: Final = 100_000  # opinions, sightings, markings and identities: what is held of a bundle
_MAX_NAME: Final = 200  # characters of what is held of one
_COMPARISON: Final = re.compile(
    r"(?:file|artifact):hashes\.(?:'([^'\\]{1,250})'|([A-Za-z0-9_-]{1,250}))\s{0,9}=\s{0,9}'([^'\\]{1,1000})'"
)
_PATTERN: Final = re.compile(
    rf"\s*\[\s*(?:{_COMPARISON.pattern}|(?:{_COMPARISON.pattern})(?:(?:\s+AND\s+{_COMPARISON.pattern})+"
    rf"|(?:\s+OR\s+{_COMPARISON.pattern})+))\s*\]\s*"
)
_MAX_PATTERN: Final = 20_000  # characters
_SAFE_INTEGER: Final = 2**53 - 1  # what JSON numbers keep (RFC 7493), which STIX asks for
_MIME_TYPE: Final = re.compile(r"[a-z]+/[a-z0-9.+-]{1,100}")
_NAMES: Final = {"SHA1": "SHA-1", "SHA256": "SHA-256"}  # hash-algorithm-ov; all others by our own name
_LOOKS: Final = re.compile(
    rb'"type"\s*:\s*"bundle"|"spec_version"\s*:\s*"2\.[01]"|"id"\s*:\s*"[a-z0-9-]+--[0-9a-f]{8}-'
)


class STIX(exchange.OptionalClassification):
    """Reads STIX 2.1. Positions are `objects[12]`, `objects[3].objects.0` in observed data, `[12]` in a bare array."""

    name = "stix"
    version = "3"
    summary = "STIX 2.1 bundles and TAXII envelopes: file objects, indicators of file hashes, opinions, revocations"

    def detect(self, head: bytes, name: str) -> Guess | None:  # noqa: ARG002 - the content is enough
        """Return a guess from the ids and types that STIX objects have."""
        start = exchange.start_of(head)
        if start[:1] not in {b"{", b"["} or not _LOOKS.search(start):
            return None
        if b'"objects"' in start:
            return Guess(Certainty.CERTAIN, "it is JSON with objects whose ids are STIX's")
        return Guess(Certainty.LIKELY, "it is JSON whose ids look like STIX's")

    def read(self, source: BinaryIO, options: Mapping[str, str]) -> Items:
        """Yield one Record or Reject for each object with digests of a file, and for each indicator.

        Raises MalformedSource for JSON that is cut off or is no bundle, envelope or array, and for more than a hundred
        thousand opinions, sightings, markings and identities; InvalidArgument for a wrong option.
        """
        check_options(self, options)
        return _read(source, is_classified=self.has_classifications(options))


def _read(source: BinaryIO, *, is_classified: bool) -> Items:
    left_out = LeftOut()
    with exchange.seekable(source) as stream:
        start = stream.tell()
        references = _References()
        # A file that cannot be read to its end gives no items at all: what it says against them may be what is missing.
        for _, one in _objects(JSONReader(stream, "top level"), [], left_out):
            references.add(one)
        stream.seek(start)
        more: list[str] = []
        items_of = _ItemReader(references, left_out, is_classified=is_classified)
        for position, one in _objects(JSONReader(stream, "top level"), more, LeftOut()):
            yield from items_of.read(position, one)
        if exchange.CHANGES_ONLY in more:
            yield exchange.changes_only()
        elif more:
            yield partial(more[0], "the file is one page of a TAXII answer, and says that another follows")
    return left_out


def _objects(reader: JSONReader, more: list[str], left_out: LeftOut) -> Iterator[tuple[str, object]]:
    """Yield (position, object) of each STIX object, and add to `more` what says that the file is only a part."""
    if reader.peek() == "[":
        yield from exchange.elements(reader, "")
        reader.end()
        return
    if reader.peek() != "{":
        reader.fail("the file is not STIX; expected a bundle, a TAXII envelope or an array of STIX objects")
    has_objects = is_bundle = False
    for key in reader.members():
        if key == "objects":
            if reader.peek() != "[":
                reader.fail("objects is not an array; expected an array of STIX objects")
            if has_objects:
                reader.fail("objects is given twice; expected it once")
            has_objects = True
            for index in reader.elements():
                reader.where = f"objects[{index}]"
                one = reader.value()
                yield reader.where, _skimmed(reader) if one is LARGE else one
            reader.where = "top level"
            continue
        value = reader.read()
        if key == "type" and value != "bundle":
            reader.fail("the file is a single object, by its type no bundle; expected a bundle of STIX objects")
        is_bundle |= key == "type"
        left_out.beyond({key: value}, _ENVELOPE)
        if (key in {"more", exchange.CHANGES_ONLY} and value is True) or (key == "next" and value):
            more.append(key)
    reader.end()
    if not has_objects and not is_bundle:
        reader.fail("the file has no objects; expected a STIX bundle or a TAXII envelope")


def _skimmed(reader: JSONReader) -> object:
    """Return, of an object that is longer than the window, its type and that it was too long."""
    if reader.peek() != "{":
        reader.skip()
        return LARGE
    kind: object = None
    for key in reader.members():
        value = reader.read()
        if key == "type":
            kind = value
    return {"type": kind, "": LARGE}


class _References:
    """What of a bundle speaks about other objects of it."""

    def __init__(self) -> None:
        self._held = 0
        self.names: dict[str, str] = {}
        self.markings: dict[str, tuple[str, str]] = {}  # id: (tag, statement)
        self.sightings: dict[str, int] = {}
        self._opinions: dict[str, list[tuple[ReviewKind, str, str]]] = {}

    def add(self, one: object) -> None:
        """Take what an object says of others."""
        if not isinstance(one, dict) or one.get("revoked") is True:
            return
        match one.get("type"):
            case "identity":
                self._hold(self.names, one.get("id"), items.text(one.get("name"), "", [])[:_MAX_NAME])
            case "marking-definition":
                self._hold(self.markings, one.get("id"), _marking(one))
            case "sighting":
                count = one.get("count", 1)
                ref = one.get("sighting_of_ref")
                if isinstance(ref, str) and isinstance(count, int) and not isinstance(count, bool) and count > 0:
                    self._hold(self.sightings, ref, self.sightings.get(ref, 0) + count)
            case "opinion":
                kind = _OPINIONS.get(str(one.get("opinion")))
                refs = one.get("object_refs")
                if kind is None or not isinstance(refs, list):
                    return
                author = items.text(one.get("created_by_ref"), "", [])[:_MAX_NAME]
                words = items.text(one.get("explanation"), "", [])[:_MAX_NAME]
                for ref in refs:
                    if isinstance(ref, str) and len(ref) <= _MAX_NAME:
                        self._count()
                        self._opinions.setdefault(ref, []).append((kind, author, words))

    def _hold(self, held: dict[str, Any], key: object, value: Any) -> None:
        if not isinstance(key, str) or len(key) > _MAX_NAME:
            return
        if key not in held:
            self._count()
        held[key] = value

    def _count(self) -> None:
        self._held += 1
        if self._held > MAX_REFERENCES:
            raise MalformedSource(
                f"the bundle has more than {MAX_REFERENCES} opinions, sightings, markings and identities; split it",
                position="top level",
            )

    def name(self, ref: object) -> str:
        """Return whom a reference means: a name of the bundle, or the reference itself."""
        return self.names.get(ref, "") or ref if isinstance(ref, str) else ""

    def reviews(self, ref: object) -> tuple[RecordReview, ...]:
        """Return what the bundle's opinions say of an object: one review for each author and kind."""
        said: dict[tuple[ReviewKind, str], str] = {}
        for kind, author, words in self._opinions.get(ref, []) if isinstance(ref, str) else []:
            said.setdefault((kind, author), words)
        return tuple(
            RecordReview(k, f"stix:{self.name(author)}" if author else "", w) for (k, author), w in said.items()
        )


def _marking(one: Mapping[str, object]) -> tuple[str, str]:
    """Return the tag of a TLP marking, or the text of a statement."""
    definition, extensions = one.get("definition"), one.get("extensions")
    tlp = definition.get("tlp") if isinstance(definition, dict) else None
    if isinstance(extensions, dict) and isinstance(extensions.get(_TLP_EXTENSION), dict):
        tlp = extensions[_TLP_EXTENSION].get("tlp_2_0")
    known = _TLP_TAGS.get(str(one.get("id")), "")
    tag = known or (f"tlp:{items.text(tlp, '', [])[:40].lower()}" if isinstance(tlp, str) and tlp.strip() else "")
    statement = definition.get("statement") if isinstance(definition, dict) else None
    return tag, items.text(statement, "", [])[:_MAX_NAME] if isinstance(statement, str) else ""


class _ItemReader:
    """The second pass: objects to records."""

    def __init__(self, references: _References, left_out: LeftOut, *, is_classified: bool) -> None:
        self._references = references
        self._left_out = left_out
        self._is_classified = is_classified
        self._told: set[str] = set()  # markings that a finding has named

    def read(self, position: str, one: object) -> Iterator[Record | Reject]:
        """Yield a Record or Reject if the object is an item, or for each item in it."""
        if not isinstance(one, dict):
            yield Reject(position, "NOT_AN_OBJECT", f"expected a STIX object, found {items.kind(one)}")
            return
        kind = one.get("type")
        self._count(one)
        if not isinstance(kind, str) or not kind.strip():
            yield Reject(position, "NOT_AN_OBJECT", "the object has no type; expected a STIX object")
        elif kind == "bundle":
            yield Reject(position, "BAD_FIELD", "a bundle stands where an object belongs; import each bundle by itself")
        elif kind not in _ITEMS:
            if isinstance(one.get("hashes"), dict) and kind != _CERTIFICATE:
                detail = f"an object of the type {kind[:40]!r} has hashes, and is none that is known to be of a file"
                yield Reject(position, "BAD_FIELD", detail)
        elif one.get("") is LARGE:
            yield Reject(position, "BAD_FIELD", f"the {kind} is longer than a million characters and was not read")
        elif refused := items.given_twice(position, one):
            yield refused
        elif kind == "observed-data":
            embedded = one.get("objects")
            if isinstance(embedded, dict):
                for index, inner in enumerate(embedded.values()):
                    self._count(inner)
                    if isinstance(inner, dict) and inner.get("type") in ("file", "artifact"):
                        yield self._file(f"{position}.objects.{index}", inner, one)
        else:
            yield self._indicator(position, one) if kind == "indicator" else self._file(position, one, one)

    def _count(self, one: object) -> None:
        """Count what is not read of an object."""
        kind = one.get("type") if isinstance(one, dict) else None
        known = _KNOWN.get(str(one.get("id") if isinstance(one, dict) and kind == _DEFINITION else kind))
        if known is not None:
            self._left_out.beyond(one, known, f"{kind}.")
        else:
            self._left_out.see(f"object of the type {kind}" if isinstance(kind, str) else "object without a type")

    def _file(self, position: str, one: Mapping[str, Any], outer: Mapping[str, Any]) -> Record | Reject:
        """Read a file object; `outer` has its id, markings and revocation, and is the observed data that it is in."""
        faults: list[HashFault] = []
        pairs: list[tuple[str, str]] = []
        listed = one.get("hashes")
        if isinstance(listed, dict):
            for name, digest in [*listed.items()][: MAX_HASHES_PER_ENTRY + 1]:  # one too many is enough to be refused
                if isinstance(digest, str) and digest:
                    pairs.append((name[:40] or "hashes", digest))
                else:
                    faults.append(items.bad_field("hashes", "texts", digest))
        elif listed is not None:
            faults.append(items.bad_field("hashes", "an object", listed))
        fields: dict[str, Any] = {
            "media_type": items.text(one.get("mime_type"), "mime_type", faults).lower(),
            "media_size": items.size(one.get("size"), "size", faults),
            "expire_time": None,
        }
        return self._finish(position, pairs, faults, fields, outer, one)

    def _indicator(self, position: str, one: Mapping[str, Any]) -> Record | Reject:
        pattern = one.get("pattern")
        if not isinstance(pattern, str) or one.get("pattern_type", "stix") != "stix":
            return Reject(position, "BAD_FIELD", "the indicator has no pattern of the type stix, which is all we read")
        pairs = _compared(pattern)
        if isinstance(pairs, str):
            return Reject(position, "NO_HASH" if not pairs else "BAD_FIELD", pairs or _NO_FILE_HASH)
        faults: list[HashFault] = []
        external_id = exchange.own_id(one.get("id"))
        if refused := items.bad_id(position, external_id):
            return refused
        types = items.tags(one.get("indicator_types"), "indicator_types", faults)
        if not self._is_classified and "benign" in types:
            return Reject(position, "BAD_FIELD", "the indicator calls the file benign, and cannot be read as listed")
        fields: dict[str, Any] = {
            "external_id": external_id,
            "member": items.text(self._references.name(one.get("created_by_ref")), "created_by_ref", faults),
            "tags": (
                *items.tags(one.get("labels"), "labels", faults),
                *(f"indicator-type:{t}"[:MAX_TEXT] for t in types),
            ),
            "source_time": items.text(one.get("modified"), "modified", faults),
            "expire_time": exchange.read_time(one.get("valid_until"), "valid_until", faults),
        }
        return self._finish(position, pairs, faults, fields, one, one)

    def _finish(
        self,
        position: str,
        pairs: list[tuple[str, str]],
        faults: list[HashFault],
        fields: dict[str, Any],
        outer: Mapping[str, Any],
        one: Mapping[str, Any],
    ) -> Record | Reject:
        extensions = one.get("extensions")
        own = extensions.get(EXTENSION) if isinstance(extensions, dict) else None
        markings = self._markings(outer)
        if isinstance(own, dict):
            fields = _own_fields(own, fields, pairs, faults)
            fields["extra"] = items.read_extra(own.get("extra"), self._left_out, faults)
            if not self._is_classified and (fields["value"] or own.get("undecided") is True):
                detail = "the object states a classification, or that there is none; read it without classified=no"
                return Reject(position, "BAD_FIELD", detail)
        else:
            fields = _of_others(fields, markings, self._references.sightings.get(str(outer.get("id")), 0), one, faults)
        if outer.get("revoked") is True:
            return items.withdrawal(position, pairs, faults, fields.get("external_id", ""))
        reviews = self._references.reviews(outer.get("id"))
        read = items.finish(position, pairs, faults, reviews=reviews, **fields)
        if isinstance(read, Record):
            new = {told for marking, tag, words in markings if (told := tag or words) and marking not in self._told}
            self._told |= {marking for marking, _, _ in markings}
            return exchange.with_terms(read, "object_marking_refs", new)
        return read

    def _markings(self, outer: Mapping[str, Any]) -> list[tuple[str, str, str]]:
        """Return (id, tag, statement) of each marking of an object that the bundle or the specification explains."""
        refs = outer.get("object_marking_refs")
        known = [ref for ref in refs if isinstance(ref, str)] if isinstance(refs, list) else []
        held = ((ref, *self._references.markings.get(ref, (_TLP_TAGS.get(ref, ""), ""))) for ref in known[:64])
        return [(ref, tag, words) for ref, tag, words in held if tag or words]


_NO_FILE_HASH: Final = "the pattern names no digest of a file; expected such as [file:hashes.MD5 = '…']"


def _compared(pattern: str) -> list[tuple[str, str]] | str:
    """Return the digests that a pattern compares, or why it is not read; empty: it is about something else."""
    if "hashes" not in pattern:
        return ""
    if len(pattern) > _MAX_PATTERN or not _PATTERN.fullmatch(pattern):
        return (
            "the pattern is not read; expected one comparison of file:hashes with =, or several, all joined by AND or "
            "all by OR"
        )
    pairs = [(quoted or plain, digest) for quoted, plain, digest in _COMPARISON.findall(pattern)]
    algorithms = ["".join(c for c in name.lower() if c.isalnum()) for name, _ in pairs]
    if len(set(algorithms)) < len(algorithms):
        return "the pattern names two digests of one algorithm, which are of two files; expected an indicator for each"
    return pairs


def _of_others(
    fields: dict[str, Any],
    markings: list[tuple[str, str, str]],
    sightings: int,
    one: Mapping[str, Any],
    faults: list[HashFault],
) -> dict[str, Any]:
    """Return the fields of an object that somebody else made."""
    tags = (*fields.get("tags", ()), *(tag for _, tag, _ in markings if tag))
    beyond: dict[str, object] = {}
    if sightings:
        beyond["sightings"] = sightings
    if statements := [words for _, _, words in markings if words]:
        beyond["statements"] = statements
    confidence = one.get("confidence")
    if isinstance(confidence, int | float) and not isinstance(confidence, bool) and math.isfinite(confidence):
        beyond["confidence"] = confidence
    return {
        **fields,
        "tags": tuple(dict.fromkeys(tags))[: items.MAX_TAGS],
        "extra": items.extra_of(beyond, LeftOut(), faults),
    }


def _own_fields(
    own: Mapping[str, Any], fields: dict[str, Any], pairs: list[tuple[str, str]], faults: list[HashFault]
) -> dict[str, Any]:
    """Return the fields that our extension states, with what stands beside it; add its further hashes to `pairs`."""
    texts = {
        name: exchange.as_written(own.get(name), name, faults)
        for name in ("external_id", "member", "series", "source_time")
    }
    classification = own.get("classification")
    value = scheme = ""
    if isinstance(classification, dict):
        value = exchange.as_written(classification.get("value"), "classification", faults)
        scheme = items.text(classification.get("scheme"), "classification", faults)
    elif classification is not None:
        faults.append(items.bad_field("classification", "an object", classification))
    stated = own.get("flags")
    flags = (
        {n: stated[n] for n in Flags.__struct_fields__ if isinstance(stated.get(n), bool)}
        if isinstance(stated, dict)
        else {}
    )
    listed = own.get("tags")
    tags = (
        [exchange.as_written(t, "tags", faults) for t in listed[: items.MAX_TAGS]] if isinstance(listed, list) else []
    )
    purpose = own.get("purpose")
    if isinstance(purpose, str) and purpose.upper() in Purpose.__members__:
        tags.append(f"{PURPOSE_TAG}{purpose.lower()}")
    more = own.get("more_hashes")
    for text in more[:MAX_HASHES_PER_ENTRY] if isinstance(more, list) else []:
        name, colon, digest = text.partition(":") if isinstance(text, str) else ("", "", "")
        if colon and name and digest:
            pairs.append((name[:40], digest))
        else:
            faults.append(items.bad_field("more_hashes", "ALGORITHM:digest", text))
    media_type = exchange.as_written(own.get("media_type"), "media_type", faults) or fields.get("media_type", "")
    media_size = items.size(own.get("media_size"), "media_size", faults)
    return {
        **texts,
        "value": value,
        "scheme": scheme if value else "",
        "flags": Flags(**flags),
        "tags": tuple(dict.fromkeys(t for t in tags if t)),
        "quality": exchange.quality(own.get("quality"), "quality", faults),
        "media_type": media_type,
        "media_size": fields.get("media_size") if media_size is None else media_size,
        "expire_time": exchange.read_time(own.get("expire_time"), "expire_time", faults),
    }


# --- Writing ----------------------------------------------------------------------------------------------------------

_HARM: Final = (Purpose.CSAM, Purpose.EXPLOITATIVE)
_BEGIN: Final = "2025-01-01T00:00:00.000Z"  # created, of objects that are the same in every export
_NUMBER: Final = (1 << 62) - 1  # the bits of a UUID behind those that say of which kind it is
_HUB: Final = f"identity--{uuid5(_OURS, 'hashhub')}"


class STIXWriter:
    """Writes a STIX 2.1 bundle: a `file` object for each entry, with what it states in an extension, and an identity
    for each contributor.

    A file object accuses nobody, so that undecided and harmless entries are written as well. It cannot be revoked
    either: a withdrawal is a revoked indicator of the same hashes. An extension adds to the id of a file object: one
    file that two contributors state is two objects, each with its own statement.
    """

    name = "stix"
    version = "2"
    summary = "STIX 2.1 bundle: file objects, statements in an extension, TLP 2.0; withdrawals as revoked indicators"
    options: tuple[Option, ...] = (
        Option(
            "items",
            "files (otherwise), or versions: objects with ids of their own that are revoked one by one, as TAXII has "
            "them; what is harmful as indicators, all else as observed data",
        ),
    )
    reads_back = "stix"
    has_withdrawals = True
    suffix = ".json"

    def write(
        self, entries: Iterable[Entry], target: BinaryIO, exported: Exported, options: Mapping[str, str]
    ) -> Iterator[Loss]:
        """Write the entries; see hashhub.connector.Writer. Raises InvalidArgument without the library `stix2`."""
        check_options(self, options)
        if (kind := options.get("items", "")) not in {"", "files", "versions"}:
            raise InvalidArgument.field("options.items", f"is {kind[:40]!r}; expected files or versions", "WORD")
        return _Bundle(_library(), target, exported, has_versions=kind == "versions").write(entries)


def _library() -> Any:
    try:
        import stix2
    except ImportError as e:
        raise InvalidArgument(
            "writing STIX needs the library stix2, which is not installed: pip install 'hashhub[formats]'",
            reason=Reason.MISSING_EXTRA,
        ) from e
    return stix2.v21


def id_of_versions(entry: Entry) -> UUID:
    """Return the id of the objects that an entry is as versions; `number_in` has its number back."""
    hash_set, _, number = entry.name.rpartition("/")
    return UUID(int=uuid5(_OURS, hash_set).int & ~_NUMBER | int(number))


def number_in(id_: UUID) -> int:
    """Return the number in its hash set of the entry that an id is of; of no such id a number that no entry has."""
    return id_.int & _NUMBER


class _Bundle:
    """One bundle that is being written. `library` makes and checks each object."""

    def __init__(self, library: Any, target: BinaryIO, exported: Exported, *, has_versions: bool) -> None:
        self._has_versions = has_versions
        self._library = library
        self._exported = exported
        self._sink = Output(target)
        self._listing = exchange.JSONArray(self._sink)
        self._written: set[str] = set()  # ids of identities and markings
        self._about: dict[str, tuple[str, list[str]]] = {}  # by hash set: identity and markings

    def write(self, entries: Iterable[Entry]) -> Iterator[Loss]:
        """Write all of it, and yield what is lost."""
        names = " ".join(sorted(self._exported.hash_sets))
        bundle = uuid5(_OURS, f"{exchange.time_text(self._exported.time)} {names}")
        self._sink.put(b'{"type":"bundle","id":"bundle--%s","objects":[' % str(bundle).encode())
        self._add_definition()
        for entry in entries:
            if (loss := withheld(entry, self._exported, has_withdrawals=True)) is not None:
                yield loss
            elif not entry.hashes and not (self._has_versions and entry.state is EntryState.WITHDRAWN):
                yield exchange.no_hash(entry, "STIX")
            else:
                yield from self._about_hash_set(entry)
                yield from exchange.no_frames(entry, "STIX")
                entry, loss = with_known_extra(entry)  # noqa: PLW2901 - the same one, with less of it
                if loss is not None:
                    yield loss
                self._add_entry(entry)
        changes = b',"%s":true' % exchange.CHANGES_ONLY.encode() if self._exported.is_delta else b""
        self._sink.put(b"\n]%s}\n" % changes)
        self._sink.flush()

    def _add(self, kind: str, **properties: Any) -> None:
        made = getattr(self._library, kind)(allow_custom=True, **properties)
        self._listing.add(made.serialize().encode())

    def _add_definition(self) -> None:
        self._add("Identity", id=_HUB, created=_BEGIN, modified=_BEGIN, name="hashhub", identity_class="system")
        self._add(
            "ExtensionDefinition",
            id=EXTENSION,
            created=_BEGIN,
            modified=_BEGIN,
            created_by_ref=_HUB,
            name="hashhub entry",
            description="What one contributor states of one item: classification in its own scheme, flags, tags, ids.",
            schema="docs/contribute/formats.md of hashhub, section stix",
            version="1.0.0",
            extension_types=["property-extension"],
        )

    def _about_hash_set(self, entry: Entry) -> Iterator[Loss]:
        name = f"{entry.contributor}/{entry.hash_set}"
        if name in self._about:
            return
        identity = f"identity--{uuid5(_OURS, entry.contributor)}"
        if identity not in self._written:
            self._written.add(identity)
            self._add(
                "Identity",
                id=identity,
                created=_BEGIN,
                modified=_BEGIN,
                name=entry.contributor,
                identity_class="organization",
            )
        hash_set = self._exported.hash_sets.get(name)
        self._about[name] = identity, self._add_markings(hash_set) if hash_set else []
        if hash_set is not None and (hash_set.marking.recipients or hash_set.marking.expire_time):
            yield Loss("", "terms", "NO_PLACE", f"whom the terms of {name} name, and when they end, is not written")

    def _add_markings(self, hash_set: HashSet) -> list[str]:
        terms = hash_set.marking
        word = _TLP_WORDS[terms.tlp]
        markings = [TLP_2[terms.tlp]]
        if markings[0] not in self._written:
            self._written.add(markings[0])
            extension = {"extension_type": "property-extension", "tlp_2_0": word}
            self._add(
                "MarkingDefinition",
                id=markings[0],
                created="2022-10-01T00:00:00.000Z",
                name=f"TLP:{word.upper()}",
                extensions={_TLP_EXTENSION: extension},
            )
        words = [f"Permitted purposes: {', '.join(terms.permitted_purposes)}."] if terms.permitted_purposes else []
        words += [f"Legal basis: {terms.legal_basis}"] if terms.legal_basis.strip() else []
        if words:
            statement = " ".join(words)
            marking = f"marking-definition--{uuid5(_OURS, statement)}"
            markings.append(marking)
            if marking not in self._written:
                self._written.add(marking)
                self._add(
                    "MarkingDefinition",
                    id=marking,
                    created=_BEGIN,
                    definition_type="statement",
                    definition={"statement": statement},
                )
        return markings

    def _add_entry(self, entry: Entry) -> None:
        name = f"{entry.contributor}/{entry.hash_set}"
        identity, markings = self._about[name]
        digests: dict[str, str] = {}
        more: list[str] = []
        for h in entry.hashes:
            label = _NAMES.get(h.algorithm, h.algorithm)
            if label in digests:
                more.append(h.text)
            else:
                digests[label] = hashes.encode(h)
        is_withdrawal = entry.state is EntryState.WITHDRAWN
        stated: dict[str, Any] = {"extension_type": "property-extension", "stated_by_ref": identity, "hash_set": name}
        stated |= {"external_id": entry.external_id} if is_withdrawal else self._stated(entry)
        stated["more_hashes"] = more
        extension = {key: value for key, value in stated.items() if value or value == 0}
        about: dict[str, Any] = {"object_marking_refs": markings} if markings else {}
        about["extensions"] = {EXTENSION: extension}
        if self._has_versions:
            self._add_version(entry, digests, identity, about)
            return
        if is_withdrawal:
            self._add_revocation(entry, digests, identity, about)
            return
        if entry.media_size is not None and entry.media_size <= _SAFE_INTEGER:
            about["size"] = entry.media_size
        if _MIME_TYPE.fullmatch(entry.media_type):
            about["mime_type"] = entry.media_type
        self._add("File", hashes=digests, **about)

    def _add_version(self, entry: Entry, digests: dict[str, str], identity: str, about: dict[str, Any]) -> None:
        """Add what an entry is now, or was. Of one that is gone it may not be known which of both it was, and then both
        are revoked, without its hashes.
        """
        own = id_of_versions(entry)
        extensions = about.pop("extensions")
        about |= {"spec_version": "2.1", "created_by_ref": identity, "created": _BEGIN}
        about |= {"modified": max(exchange.time_text(self._exported.time), _BEGIN)}
        about |= {"revoked": True} if entry.state is EntryState.WITHDRAWN else {}
        hash_set = exchange.hash_set_of(entry, self._exported)
        is_known = hash_set is not None and bool(digests)
        is_harm = is_known and self._claims_harm(entry, hash_set)
        if is_harm or not is_known:
            compared = " OR ".join(f"file:hashes.'{name}' = '{digest}'" for name, digest in digests.items())
            about["pattern"] = f"[{compared}]" if is_harm else "[x-hashhub-entry:is_listed = true]"
            kind: dict[str, Any] = {"type": "indicator", "id": f"indicator--{own}", "indicator_types": ["unknown"]}
            kind |= {"pattern_type": "stix", "valid_from": _BEGIN, "extensions": extensions}
            self._listing.add(exchange.encode({**kind, **about}))
            del about["pattern"]
        if not is_harm:
            # In one object with its file, which could not be revoked on its own.
            file = {"type": "file", "extensions": extensions} | ({"hashes": digests} if digests else {"name": "erased"})
            data: dict[str, Any] = {"type": "observed-data", "id": f"observed-data--{own}", "objects": {"0": file}}
            data |= {"first_observed": _BEGIN, "last_observed": _BEGIN, "number_observed": 1}
            self._listing.add(exchange.encode({**data, **about}))

    def _claims_harm(self, entry: Entry, hash_set: HashSet | None) -> bool:
        if hash_set is None or hash_set.purpose not in _HARM:
            return False
        alone = Exported({hash_set.name: hash_set}, {}, self._exported.time)
        return PurposeCheck(alone, "STIX").refuses(entry) is None

    def _add_revocation(self, entry: Entry, digests: dict[str, str], identity: str, about: dict[str, Any]) -> None:
        what = entry.external_id or " ".join(h.text for h in sorted(entry.hashes))
        compared = " OR ".join(f"file:hashes.'{name}' = '{digest}'" for name, digest in digests.items())
        self._add(
            "Indicator",
            id=f"indicator--{uuid5(_OURS, f'{entry.contributor}/{entry.hash_set} {what}')}",
            created_by_ref=identity,
            created=_BEGIN,
            modified=max(exchange.time_text(self._exported.time), _BEGIN),
            revoked=True,
            indicator_types=["unknown"],
            pattern=f"[{compared}]",
            pattern_type="stix",
            valid_from=_BEGIN,
            **about,
        )

    def _stated(self, entry: Entry) -> dict[str, Any]:
        """Return what an entry states beside its hashes, by the names of our extension; empty ones say nothing."""
        hash_set = exchange.hash_set_of(entry, self._exported)
        classification = entry.classification
        version = f"@{classification.version}" if classification and classification.version else ""
        return {
            "classification": {"scheme": f"{classification.scheme}{version}", "value": classification.value}
            if classification
            else None,
            "undecided": True if Code.UNCLASSIFIED.value in entry.reasons else None,
            "purpose": hash_set.purpose.lower() if hash_set and hash_set.purpose is not Purpose.CSAM else None,
            "review_depth": (hash_set.review_depth or None) if hash_set else None,
            "external_id": entry.external_id,
            "member": entry.provenance.member,
            "series": entry.series,
            "source_time": entry.source_time,
            "quality": entry.quality,
            "tags": list(entry.tags),
            "flags": {n: v for n in Flags.__struct_fields__ if (v := getattr(entry.flags, n)) is not None},
            "extra": entry.extra,
            "expire_time": exchange.time_text(entry.expire_time) if entry.expire_time else None,
            "media_type": "" if _MIME_TYPE.fullmatch(entry.media_type) else entry.media_type,
            "media_size": str(entry.media_size)
            if entry.media_size is not None and entry.media_size > _SAFE_INTEGER
            else None,
        }
