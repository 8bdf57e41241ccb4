"""MISP events in JSON: one event, a list, the answer of a search (`response`), an event file of a feed.

Items are objects and single attributes with digests of files; perceptual hashes are free text whose `object_relation`
names an algorithm. Tags stay tags, `deleted` is a withdrawal, sightings of type 1 are reviews, others are counted.
Only the tag `hashhub:classification="SCHEME@VERSION=VALUE"` gives a value. Terms in tags are noted (TERMS_STATED) and
change nothing. File names and comments are not kept. An event is streamed; `pymisp` would hold it whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO, Final, NamedTuple
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
    read_flag,
)
from hashhub.errors import InvalidArgument, MalformedSource
from hashhub.hygiene import Code
from hashhub.model import (
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
from hashhub_connectors.outgoing import Output, with_known_extra, withheld
from hashhub_connectors.source import JSONReader, read_block

TEMPLATE: Final = UUID("6e29e0f7-48c3-4fd5-b975-3809ecd5c400")  # of our object
_OURS: Final = UUID("acfbcf93-b6c2-47a2-9929-4e5b2d093c3a")  # namespace of the ids that we make
_DIGESTS: Final = {"md5": "MD5", "sha1": "SHA1", "sha256": "SHA256"}
_OTHER_DIGESTS: Final = frozenset(
    {
        "sha224", "sha384", "sha512", "sha512/224", "sha512/256", "sha3-224", "sha3-256", "sha3-384", "sha3-512",
        "tlsh", "ssdeep", "vhash",
    }
)  # fmt: skip
_FREE: Final = frozenset({"text", "other", "hex"})  # types whose relation says what they are
_CLASSIFICATION: Final = "hashhub:classification="
_PURPOSE: Final = "hashhub:purpose="
_UNDECIDED: Final = "hashhub:undecided"
_TLP: Final = re.compile(r"tlp:[a-z0-9+:-]{1,40}", re.IGNORECASE)
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_HASHES_CSV: Final = re.compile(rb"[0-9a-fA-F]{32,64},[0-9a-fA-F]{8}-")
_LOOKS: Final = re.compile(rb'"Event"\s*:\s*\{|"(?:Attribute|Object)"\s*:\s*\[')
_LOOKS_TYPED: Final = re.compile(rb'"(?:to_ids|orgc_id|Orgc|threat_level_id|template_uuid|object_relation)"\s*:')
_EVENT_KEYS: Final = frozenset({"Event", "response", "Attribute", "Object", "info"})  # one of which an event has
_SHOWN_KEYS: Final = 8
# All that is read, and what is of the event as a file.
_OF_EVENT: Final[Known] = dict.fromkeys(
    ("uuid", "id", "date", "timestamp", "published", "analysis", "threat_level_id", "distribution", "sharing_group_id")
)
_ORGANISATION: Final[Known] = dict.fromkeys(("name", "id", "uuid"))
_TAG: Final[Known] = dict.fromkeys(("name", "id", "colour", "exportable"))
_EVENT: Final[Known] = {"Tag": _TAG, "Orgc": _ORGANISATION}
_ATTRIBUTE: Final[Known] = {
    **dict.fromkeys(("uuid", "id", "type", "category", "value", "object_relation", "timestamp", "deleted", "to_ids")),
    **dict.fromkeys(("distribution", "disable_correlation", "event_id", "object_id", "sharing_group_id")),
    "Tag": _TAG,
    "Sighting": {"type": None, "source": None, "Organisation": _ORGANISATION},
}
_OBJECT: Final[Known] = {
    **dict.fromkeys(("uuid", "id", "name", "meta-category", "template_uuid", "template_version")),
    **dict.fromkeys(("distribution", "sharing_group_id", "timestamp", "deleted", "event_id")),
    "Attribute": _ATTRIBUTE,
}
_MAX_DEPTH: Final = 4  # response / element / Event
_MAX_EVENTS: Final = 20_000
_MAX_EVENT_TAGS: Final = 64
_SIGHTING, _FALSE_POSITIVE, _EXPIRATION = "0", "1", "2"
_EXPECTED: Final = "expected a MISP event, a list of events, or the answer of a search for them"


class MISP(exchange.OptionalClassification):
    """Reads MISP events. Positions are `Event.Object[3]`, `response[0].Event.Attribute[12]`."""

    name = "misp"
    version = "3"
    summary = "MISP events in JSON and event files of a feed: objects and attributes with digests, tags, sightings"

    def detect(self, head: bytes, name: str) -> Guess | None:  # noqa: ARG002 - the content is enough
        """Return a guess from names that only MISP uses."""
        start = exchange.start_of(head)
        if start[:1] in {b"{", b"["} and _LOOKS.search(start):
            if _LOOKS_TYPED.search(start):
                return Guess(Certainty.CERTAIN, "it is JSON with the names of a MISP event")
            if b'"Event"' in start:
                return Guess(Certainty.LIKELY, "it is JSON with an Event")
        return None

    def read(self, source: BinaryIO, options: Mapping[str, str]) -> Items:
        """Yield one Record or Reject for each object and for each attribute outside objects.

        Raises MalformedSource for JSON that is cut off or holds no event, a feed's manifest.json and hashes.csv, and
        for more than twenty thousand events; InvalidArgument for a wrong option.
        """
        check_options(self, options)
        return _read(source, is_classified=self.has_classifications(options))


class _Part(NamedTuple):
    """A piece of an event: an element of Attribute or Object, or (kind Tag, Orgc) what holds for all of them."""

    event: int
    position: str
    kind: str
    value: object


class _Event(NamedTuple):
    """What an event says of all its items."""

    tags: tuple[str, ...] = ()
    organisation: str = ""


def _read(source: BinaryIO, *, is_classified: bool) -> Items:
    left_out = LeftOut()
    with exchange.seekable(source) as stream:
        start = stream.tell()
        if _HASHES_CSV.match(exchange.start_of(read_block(stream))):
            raise MalformedSource(
                "the file is a feed's hashes.csv, which says in which events digests stand; import the event files",
                position="line 1",
            )
        stream.seek(start)
        events: dict[int, _Event] = {}
        # A file that cannot be read to its end gives no items at all: an event's tags come after them.
        for part in _EventStream(JSONReader(stream, "top level"), left_out).parts():
            _note(events, part)
        stream.seek(start)
        reading = _ItemReader(left_out, is_classified=is_classified)
        walk = _EventStream(JSONReader(stream, "top level"), LeftOut())
        for part in walk.parts():
            if part.kind == "Object":
                yield reading.object(part, events.get(part.event, _NO_EVENT))
            elif part.kind == "Attribute":
                yield reading.attribute(part, events.get(part.event, _NO_EVENT))
        if walk.is_delta:
            yield exchange.changes_only()
    return left_out


_NO_EVENT: Final = _Event()


def _note(events: dict[int, _Event], part: _Part) -> None:
    if part.kind not in {"Tag", "Orgc"}:
        return
    if part.event not in events and len(events) >= _MAX_EVENTS:
        raise MalformedSource(f"the file has more than {_MAX_EVENTS} events; split it", position=part.position)
    event = events.get(part.event, _NO_EVENT)
    if part.kind == "Tag":
        event = event._replace(tags=_tag_names(part.value, [])[:_MAX_EVENT_TAGS])
    elif isinstance(part.value, dict):
        event = event._replace(organisation=items.text(part.value.get("name"), "Orgc", [])[:200])
    events[part.event] = event


class _EventStream:
    """One way through the file. Events are numbered in their order."""

    def __init__(self, reader: JSONReader, left_out: LeftOut) -> None:
        self._reader = reader
        self._left_out = left_out
        self._count = 0
        self.is_delta = False

    def parts(self) -> Iterator[_Part]:
        """Yield the pieces of all events."""
        reader = self._reader
        if reader.peek() == "[":
            yield from self._list("", 0)
        elif reader.peek() == "{":
            yield from self._container("", 0)
        else:
            reader.fail(f"the file is not MISP JSON; {_EXPECTED}")
        reader.end()

    def _list(self, position: str, depth: int) -> Iterator[_Part]:
        reader = self._reader
        if depth > _MAX_DEPTH:
            reader.fail("events are nested too deeply; expected a list of them")
        for index in reader.elements():
            reader.where = where = f"{position}[{index}]"
            if reader.peek() == "{":
                yield from self._container(where, depth + 1)
            else:
                reader.skip()
                yield _Part(0, where, "Object", None)

    def _container(self, position: str, depth: int) -> Iterator[_Part]:
        """Read an event, or what holds events."""
        reader = self._reader
        if depth > _MAX_DEPTH:
            reader.fail("events are nested too deeply; expected a list of them")
        self._count += 1
        event, prefix = self._count, f"{position}." if position else ""
        keys: list[str] = []
        is_event = False
        for key in reader.members():
            if len(keys) < _SHOWN_KEYS:
                keys.append(key)
            is_event |= key in _EVENT_KEYS
            where = f"{prefix}{key[:40]}"
            opening = reader.peek()
            if key in {"Event", "response"} and opening == "{":
                yield from self._container(where, depth + 1)
            elif key in {"Event", "response"} and opening == "[":
                yield from self._list(where, depth + 1)
            elif key in {"Attribute", "Object", "Event", "response"}:
                if opening != "[":
                    reader.fail(f"{key} is neither an array nor an object as expected, so that its items would be lost")
                for index in reader.elements():
                    reader.where = f"{where}[{index}]"
                    yield _Part(event, f"{where}[{index}]", key, reader.read())
            elif key in _EVENT:
                value = reader.read()
                self._left_out.beyond({key: value}, _EVENT)
                yield _Part(event, where, key, value)
            elif key == exchange.CHANGES_ONLY and opening == "t":
                self.is_delta |= reader.value() is True
            else:
                self._left_out.beyond({key: reader.read()}, _OF_EVENT)
            reader.where = position or "top level"
        if not is_event and depth:
            yield _Part(event, position, "Object", None)
        elif not is_event:
            if keys and all(_UUID.fullmatch(key) for key in keys):
                reader.fail("the file is a feed's manifest.json, which only lists events; import the event files")
            reader.fail(f"the file holds no event; {_EXPECTED}")


class _ItemReader:
    """The second way through: pieces to records."""

    def __init__(self, left_out: LeftOut, *, is_classified: bool) -> None:
        self._left_out = left_out
        self._is_classified = is_classified
        self._told: set[str] = set()  # terms that a finding has named

    def attribute(self, part: _Part, event: _Event) -> Record | Reject:
        """Read an attribute outside objects."""
        self._left_out.beyond(part.value, _ATTRIBUTE, "Attribute.")
        one = _object(part, "an attribute")
        if isinstance(one, Reject):
            return one
        faults: list[HashFault] = []
        pairs = _pairs(one, faults, self._left_out)
        if not pairs and not faults:
            kind = items.text(one.get("type"), "type", [])[:40]
            return Reject(part.position, "NO_HASH", f"the attribute is of the type {kind!r}, which is no file's digest")
        external_id = exchange.own_id(one.get("uuid"))
        source_time = items.text(one.get("timestamp"), "timestamp", faults)
        fields: dict[str, Any] = {"external_id": external_id, "source_time": source_time}
        tags = _tag_names(one.get("Tag"), faults)
        return self._finish(part, pairs, faults, fields, [one], tags, event, is_deleted=_is_deleted(one, faults))

    def object(self, part: _Part, event: _Event) -> Record | Reject:
        """Read an object: its hashes are those of one file."""
        self._left_out.beyond(part.value, _OBJECT, "Object.")
        one = _object(part, "an object")
        if isinstance(one, Reject):
            return one
        faults: list[HashFault] = []
        listed = one.get("Attribute")
        if not isinstance(listed, list):
            return Reject(part.position, "NO_HASH", f"the object has no attributes, {items.kind(listed)} as Attribute")
        attributes = [a for a in listed if isinstance(a, dict)]
        if len(attributes) < len(listed):
            faults.append(items.bad_field("Attribute", "objects", None))
        is_ours = one.get("template_uuid") == str(TEMPLATE)
        standing: list[tuple[str, str]] = []
        gone: list[tuple[str, str]] = []
        tags: dict[str, None] = {}
        for a in attributes:
            pairs = _pairs(a, faults, self._left_out)
            relation = str(a.get("object_relation") or a.get("type"))
            if not pairs and relation not in _RELATIONS:
                self._left_out.see(f"attribute {relation}")
            (gone if _is_deleted(a, faults) else standing).extend(pairs)
            if pairs:
                tags.update(dict.fromkeys(_tag_names(a.get("Tag"), faults, as_written=is_ours)))
        is_deleted = _is_deleted(one, faults) or (not standing and bool(gone))
        if gone and not is_deleted:
            faults.append(HashFault("Attribute", "BAD_FIELD", f"{len(gone)} deleted attributes were left out"))
        pairs = [*standing, *gone] if is_deleted else standing
        if not pairs and not any(f.reason != "BAD_FIELD" for f in faults):
            name = items.text(one.get("name"), "name", [])[:40]
            return Reject(part.position, "NO_HASH", f"the object {name!r} has no digest of a file")
        if is_ours:
            fields = _own_fields(attributes, faults)
            fields["extra"] = items.read_extra(fields["extra"], self._left_out, faults)
        else:
            fields = _of_others(one, attributes, faults)
        return self._finish(
            part, pairs, faults, fields, attributes, tuple(tags), event, is_deleted=is_deleted, is_ours=is_ours
        )

    def _finish(
        self,
        part: _Part,
        pairs: list[tuple[str, str]],
        faults: list[HashFault],
        fields: dict[str, Any],
        attributes: list[dict[str, Any]],
        tags: tuple[str, ...],
        event: _Event,
        *,
        is_deleted: bool,
        is_ours: bool = False,
    ) -> Record | Reject:
        position, external_id = part.position, fields["external_id"]
        if not is_ours and (refused := items.bad_id(position, external_id)):
            return refused
        if is_deleted:
            return items.withdrawal(position, pairs, faults, external_id)
        value, scheme, tags = _value(tags)
        if not self._is_classified and (value or _UNDECIDED in tags):
            detail = "the item states a classification, or that there is none; read it without classified=no"
            return Reject(position, "BAD_FIELD", detail)
        stated = (*tags, *event.tags)
        purposes = [p for t in event.tags if (p := _quoted(t, _PURPOSE)) and p.upper() in Purpose.__members__]
        if is_ours:
            tags = tuple(t for t in tags if t != _UNDECIDED)
        else:
            tags = tuple(dict.fromkeys(stated))
            fields = {"member": event.organisation, **fields}
        tags = tuple(dict.fromkeys((*tags, *(f"{PURPOSE_TAG}{p.lower()}" for p in purposes))))[: items.MAX_TAGS]
        reviews, counts = _sightings(attributes, faults)
        if not is_ours:
            fields["extra"] = items.extra_of(counts, self._left_out, faults)
        read = items.finish(position, pairs, faults, value=value, scheme=scheme, tags=tags, reviews=reviews, **fields)
        return self._with_terms(read, stated) if isinstance(read, Record) else read

    def _with_terms(self, read: Record, tags: Iterable[str]) -> Record:
        new = {t.lower() for t in tags if _TLP.fullmatch(t)} - self._told
        self._told |= new
        return exchange.with_terms(read, "Tag", new)


def _object(part: _Part, expected: str) -> dict[str, Any] | Reject:
    one = part.value
    if not isinstance(one, dict):
        return Reject(part.position, "NOT_AN_OBJECT", f"expected {expected} of an event, found {items.kind(one)}")
    return items.given_twice(part.position, one) or one


def _pairs(attribute: Mapping[str, Any], faults: list[HashFault], left_out: LeftOut) -> list[tuple[str, str]]:
    """Return the (label, digest) of an attribute, if it is one."""
    kind, value = attribute.get("type"), attribute.get("value")
    if not isinstance(kind, str):
        return []
    is_composite = kind.startswith("filename|")
    name = kind.removeprefix("filename|")
    relation = attribute.get("object_relation")
    label = _DIGESTS.get(name, "")
    if not label and name in _OTHER_DIGESTS:
        label = name
    if not label and kind in _FREE and isinstance(relation, str):
        try:
            label = hashes.algorithm(relation[:40]).name
        except InvalidArgument:
            return []
    if not label:
        return []
    if not isinstance(value, str):
        faults.append(items.bad_field(kind[:40], "a text", value))
        return []
    file_name, _, digest = value.rpartition("|") if is_composite else ("", "", value)
    left_out.see("file name", bool(file_name))
    return [(label, digest)]


def _is_deleted(one: Mapping[str, Any], faults: list[HashFault]) -> bool:
    stated = one.get("deleted")
    flag = read_flag(stated)
    if flag is None and stated is not None and stated != "":
        faults.append(items.bad_field("deleted", "true or false", stated))
    return flag is True


def _tag_names(listed: object, faults: list[HashFault], *, as_written: bool = False) -> tuple[str, ...]:
    if listed is None:
        return ()
    if not isinstance(listed, list):
        faults.append(items.bad_field("Tag", "an array", listed))
        return ()
    names = [tag.get("name") if isinstance(tag, dict) else tag for tag in listed]
    if not as_written:
        return items.tags(names, "Tag", faults)
    return tuple(
        dict.fromkeys(t for name in names[: items.MAX_TAGS + 2] if (t := exchange.as_written(name, "Tag", faults)))
    )


def _quoted(tag: str, start: str) -> str:
    """Return the value of a machine tag: `namespace:predicate="value"`."""
    value = tag.removeprefix(start)
    return value[1:-1] if value != tag and len(value) > 1 and value[0] == value[-1] == '"' else ""


def _value(tags: tuple[str, ...]) -> tuple[str, str, tuple[str, ...]]:
    """Return value and scheme that the tags state, and the others. Two of them state nothing, and stay tags."""
    spelled = [t for t in tags if t.startswith(_CLASSIFICATION)]
    classification = exchange.unspell(_quoted(spelled[0], _CLASSIFICATION)) if len(spelled) == 1 else None
    if classification is None or not classification[1]:
        return "", "", tags
    return classification[1], classification[0], tuple(t for t in tags if t != spelled[0])


def _sightings(
    attributes: list[dict[str, Any]], faults: list[HashFault]
) -> tuple[tuple[RecordReview, ...], dict[str, object]]:
    """Return who calls the item a false positive, and how often it was seen and called expired."""
    by: dict[str, None] = {}
    counts: dict[str, int] = {}
    for attribute in attributes:
        listed = attribute.get("Sighting")
        for one in listed if isinstance(listed, list) else []:
            kind = str(one.get("type")) if isinstance(one, dict) else ""
            if kind == _FALSE_POSITIVE:
                organisation = one.get("Organisation")
                name = organisation.get("name") if isinstance(organisation, dict) else one.get("source")
                author = items.text(name, "Sighting", faults)
                by[f"misp-org:{author}" if author else ""] = None
            elif kind in {_SIGHTING, _EXPIRATION}:
                key = "sightings" if kind == _SIGHTING else "expirations"
                counts[key] = counts.get(key, 0) + 1
            else:
                faults.append(items.bad_field("Sighting", "a type of 0, 1 or 2", one))
    return tuple(RecordReview(ReviewKind.FALSE_POSITIVE, author, "sighting") for author in by), {**counts}


def _of_others(one: Mapping[str, Any], attributes: list[dict[str, Any]], faults: list[HashFault]) -> dict[str, Any]:
    by_relation = {
        a.get("object_relation"): a.get("value") for a in attributes if isinstance(a.get("object_relation"), str)
    }
    return {
        "external_id": exchange.own_id(one.get("uuid")),
        "source_time": items.text(one.get("timestamp"), "timestamp", faults),
        "media_type": items.text(by_relation.get("mimetype"), "mimetype", faults).lower(),
        "media_size": items.size(by_relation.get("size-in-bytes"), "size-in-bytes", faults),
    }


# --- Writing, and reading what was written ----------------------------------------------------------------------------

_TEXTS: Final = ("external_id", "member", "series", "source_time", "extra", "media_type")
_TYPED: Final = {"MD5": "md5", "SHA1": "sha1", "SHA256": "sha256"}
EVENT_SIZE: Final = 10_000  # objects; MISP takes an event whole
_DESCRIPTION: Final = "Hashes of one picture or video, and what a contributor of hash sets states of it"


def _relation(field: str) -> str:
    return field.replace("_", "-")


_RELATIONS: Final = frozenset(
    {"mimetype", "size-in-bytes", *map(_relation, (*_TEXTS, "quality", "media_size", "expire_time"))}
).union(map(_relation, Flags.__struct_fields__))


def _own_fields(attributes: list[dict[str, Any]], faults: list[HashFault]) -> dict[str, Any]:
    """Return the fields of an object of our own template."""
    by_relation = {
        a["object_relation"]: a.get("value") for a in attributes if isinstance(a.get("object_relation"), str)
    }
    fields: dict[str, Any] = {
        name: exchange.as_written(by_relation.get(_relation(name)), _relation(name), faults) for name in _TEXTS
    }
    fields["quality"] = exchange.quality(by_relation.get("quality"), "quality", faults)
    fields["media_size"] = items.size(by_relation.get("media-size"), "media-size", faults)
    fields["expire_time"] = exchange.read_time(by_relation.get("expire-time"), "expire-time", faults)
    names = Flags.__struct_fields__
    fields["flags"] = items.flags(
        tuple(by_relation.get(_relation(n)) for n in names), tuple(_relation(n) for n in names), faults
    )
    return fields


class MISPWriter:
    """Writes MISP events, one for each hash set and 10,000 entries, as the answer of a search holds them.

    An entry is an object of our private template, since MISP's own have no place for perceptual hashes: `csam-hash` if
    it claims that its item is child sexual abuse material, else `media-hash`. Whatever makes MISP act (`to_ids`) is set
    for digests of entries that claim harm, and for no others.
    """

    name = "misp"
    version = "2"
    summary = "MISP events in JSON: an object for each entry, classification and TLP as tags; withdrawals as deleted"
    options: tuple[Option, ...] = ()
    reads_back = "misp"
    has_withdrawals = True
    suffix = ".json"

    def write(
        self, entries: Iterable[Entry], target: BinaryIO, exported: Exported, options: Mapping[str, str]
    ) -> Iterator[Loss]:
        """Write the entries; see hashhub.connector.Writer."""
        check_options(self, options)
        return _Events(target, exported).write(entries)


def event_of(
    uuid: UUID, contributor: str, name: str, hash_set: HashSet | None, *, date: str, timestamp: int
) -> dict[str, Any]:
    """Return an event for entries of the hash set `CONTRIBUTOR/SET`, without its objects."""
    tags: list[str] = []
    if hash_set is not None:
        tags.append(f"tlp:{hash_set.marking.tlp.value.lower().replace('_', '+')}")
        tags += [f'hashhub:permitted-purpose="{p}"' for p in hash_set.marking.permitted_purposes]
        if hash_set.purpose is not Purpose.CSAM:
            tags.append(f'{_PURPOSE}"{hash_set.purpose.lower()}"')
    return {
        "uuid": str(uuid),
        "info": f"hash set {name}",
        "date": date,
        "timestamp": str(timestamp),
        "published": False,
        "analysis": "2",
        "threat_level_id": "4",  # undefined
        "distribution": "0",  # this organisation only, until whoever takes it in decides
        "Orgc": {"name": contributor, "uuid": str(uuid5(_OURS, contributor))},
        "Tag": [{"name": tag} for tag in tags],
    }


class _Events:
    """Events that are being written."""

    def __init__(self, target: BinaryIO, exported: Exported) -> None:
        self._exported = exported
        self._sink = Output(target)
        self._events = 0
        self._objects: exchange.JSONArray | None = None  # of the event that is open
        self._of = ""  # its hash set
        self._count = 0  # its objects
        self._told: set[str] = set()  # hash sets whose terms are told in part

    def write(self, entries: Iterable[Entry]) -> Iterator[Loss]:
        """Write all of them, and yield what is lost."""
        self._sink.put(b'{"response":[')
        for entry in entries:
            if (loss := withheld(entry, self._exported, has_withdrawals=True)) is not None:
                yield loss
                continue
            if not entry.hashes:
                yield exchange.no_hash(entry, "MISP")
                continue
            name = f"{entry.contributor}/{entry.hash_set}"
            if self._objects is None or self._of != name or self._count == EVENT_SIZE:
                self._close()
                self._open(entry, name)
                yield from self._terms(name)
            assert self._objects is not None  # noqa: S101 - for the type checker; it was opened above
            tags = [tag for tag in entry.tags if not tag.startswith("hashhub:")]
            if len(tags) != len(entry.tags) and entry.state is not EntryState.WITHDRAWN:
                yield Loss(entry.name, "tags", "UNWRITABLE_TEXT", "a tag that means something here")
            yield from exchange.no_frames(entry, "MISP")
            entry, loss = with_known_extra(entry)  # noqa: PLW2901 - the same one, with less of it
            if loss is not None:
                yield loss
            self._objects.add(exchange.encode(self._object(entry, tags)))
            self._count += 1
        self._close()
        changes = b',"%s":true' % exchange.CHANGES_ONLY.encode() if self._exported.is_delta else b""
        self._sink.put(b"\n]%s}\n" % changes)
        self._sink.flush()

    def _open(self, entry: Entry, name: str) -> None:
        time = self._exported.time
        event = event_of(
            uuid5(_OURS, f"{name} {exchange.time_text(time)} {self._events}"),
            entry.contributor,
            name,
            self._exported.hash_sets.get(name),
            date=f"{time:%Y-%m-%d}",
            timestamp=int(time.timestamp()),
        )
        self._sink.put(b",\n" if self._events else b"\n")
        self._sink.put(b'{"Event":' + exchange.encode(event)[:-1] + b',"Object":[')
        self._objects = exchange.JSONArray(self._sink)
        self._events += 1
        self._count, self._of = 0, name

    def _close(self) -> None:
        if self._objects is not None:
            self._sink.put(b"]}}")
            self._objects = None

    def _terms(self, name: str) -> Iterator[Loss]:
        hash_set = self._exported.hash_sets.get(name)
        if hash_set is None or name in self._told:
            return
        self._told.add(name)
        marking = hash_set.marking
        if marking.recipients or marking.expire_time or marking.legal_basis.strip():
            detail = f"whom the terms of {name} name, their legal basis and when they end is not written"
            yield Loss("", "terms", "NO_PLACE", detail)

    def _object(self, entry: Entry, tags: list[str]) -> dict[str, Any]:
        claims = exchange.harm(entry, exchange.hash_set_of(entry, self._exported))
        is_deleted = entry.state is EntryState.WITHDRAWN
        time = str(int(self._exported.time.timestamp()))
        # By what stays the same from one statement about an item to the next, so that MISP updates and deletes it.
        what = entry.external_id or " ".join(h.text for h in sorted(entry.hashes))
        own_id = uuid5(_OURS, f"{entry.contributor}/{entry.hash_set} {what}")
        if entry.classification is not None:
            tags = [*tags, f'{_CLASSIFICATION}"{exchange.spell(entry.classification)}"']
        elif Code.UNCLASSIFIED.value in entry.reasons:
            tags = [*tags, _UNDECIDED]

        def attribute(kind: str, category: str, relation: str, value: str) -> dict[str, Any]:
            is_digest = kind != "text"
            return {
                "uuid": str(uuid5(own_id, f"{relation} {value}")),
                "type": kind,
                "category": category,
                "object_relation": relation,
                "value": value,
                "to_ids": is_digest and bool(claims) and not is_deleted,
                "disable_correlation": not is_digest,
                "distribution": "5",
                "timestamp": time,
                "deleted": is_deleted,
                "comment": "",
            }

        attributes: list[dict[str, Any]] = []
        for h in entry.hashes:
            kind = _TYPED.get(h.algorithm, "text")
            category = "Other" if kind == "text" else "Payload delivery"
            made = attribute(kind, category, h.algorithm.lower(), hashes.encode(h))
            if not is_deleted and tags:
                made["Tag"] = [{"name": tag} for tag in tags]
            attributes.append(made)
        stated = [("external_id", entry.external_id)] if is_deleted else _stated(entry)
        attributes += [attribute("text", "Other", _relation(field), text) for field, text in stated if text]
        return {
            "uuid": str(own_id),
            "name": "csam-hash" if claims == {"csam"} else "media-hash",
            "meta-category": "misc",
            "description": _DESCRIPTION,
            "template_uuid": str(TEMPLATE),
            "template_version": "1",
            "distribution": "5",
            "sharing_group_id": "0",
            "timestamp": time,
            "deleted": is_deleted,
            "comment": "",
            "Attribute": attributes,
        }


def _stated(entry: Entry) -> list[tuple[str, str]]:
    """Return (field, text) of what an entry states beside hashes, tags and classification."""
    flags = [(n, v) for n in Flags.__struct_fields__ if (v := getattr(entry.flags, n)) is not None]
    return [
        *((n, entry.provenance.member if n == "member" else getattr(entry, n)) for n in _TEXTS),
        ("quality", "" if entry.quality is None else str(entry.quality)),
        ("media_size", "" if entry.media_size is None else str(entry.media_size)),
        ("expire_time", exchange.time_text(entry.expire_time) if entry.expire_time else ""),
        *((name, "yes" if value else "no") for name, value in flags),
    ]
