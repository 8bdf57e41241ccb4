"""ThreatExchange dumps: `threat_updates` and descriptors in JSON, and the text forms of the `threatexchange` package.

One record is one indicator with the opinions of several owners. The item's value is the opinion of the option `owner`,
else the first MALICIOUS one, else the first; the others are reviews. Only MALICIOUS claims harm. `should_delete`, or no
`descriptors` at all, is a withdrawal.

URLs and texts are refused one by one. The frames of a video are one item, unless their times go back (VIDEO_FRAME).
Pickles are never opened.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from typing import BinaryIO, Final, NamedTuple

import msgspec

from hashhub import hashes, vpdq
from hashhub.connector import (
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
    read_flag,
    read_hashes,
)
from hashhub.errors import InvalidArgument, MalformedSource
from hashhub.model import (
    Entry,
    EntryState,
    HashFault,
    Record,
    RecordReview,
    Reject,
    ReviewKind,
    VideoFrame,
)
from hashhub_connectors import exchange, items
from hashhub_connectors.delimited import Rows, UnreadColumns
from hashhub_connectors.outgoing import FORMULA, Cells, Output, UnsupportedFields, no_place_for_hash, withheld
from hashhub_connectors.source import READ_SIZE, ClassifiedFormat, JSONReader, Object, lines, look_at
from hashhub_connectors.vpdq import read_video

SCHEME: Final = "threatexchange"
_MALICIOUS: Final = "MALICIOUS"
_NON_MALICIOUS: Final = "NON_MALICIOUS"
_SEED: Final = "INVESTIGATION_SEED"
_DISPUTED: Final = "DISPUTED"
_VIDEO_TAG: Final = "media_type_video"
_CLASSIFICATION: Final = "classification:"  # a tag of ours: a value with its scheme
_SIGNAL_TYPE: Final = "signal_type:"  # begins the tag that says what a DEBUG_STRING is
_OTHER_TYPE: Final = "DEBUG_STRING"  # how the package shares what the Graph API has no type for
_FRAMES: Final = "VPDQ"
_LONGEST: Final = 4 << 20  # characters of one row or value: 20,000 frames have 2 million
_NOBODY: Final = "0"  # the owner that we write where no app is known
# The categories of `tx dataset` are those that it sorts statuses into (fetch_state.py, SignalOpinionCategory).
_STATUSES: Final = {"POSITIVE_CLASS": _MALICIOUS, "NEGATIVE_CLASS": _NON_MALICIOUS}
_CATEGORIES: Final = {status: category for category, status in _STATUSES.items()} | {_SEED: _SEED, _DISPUTED: _DISPUTED}
# Types of the Graph API and signal types of the package; video: that the item is one is said by the name.
_TYPES: Final = {
    "HASH_PDQ": ("PDQ", False), "HASH_MD5": ("MD5", False), "HASH_VIDEO_MD5": ("MD5", True),
    "HASH_SHA1": ("SHA1", False), "HASH_SHA256": ("SHA256", False), "HASH_VIDEO_SHA256": ("SHA256", True),
    "PDQ": ("PDQ", False), "VIDEO_MD5": ("MD5", True), "VIDEO_SHA256": ("SHA256", True), "PHOTO_MD5": ("MD5", False),
    "MD5": ("MD5", False), "SHA1": ("SHA1", False), "SHA256": ("SHA256", False), "PHOTODNA": ("PHOTODNA", False),
    # Its name is that of VPDQSignal in the package's extensions; that it is a video's, the frames say.
    "VPDQ": (_FRAMES, False), "VIDEO_VPDQ": (_FRAMES, False), "HASH_VIDEO_VPDQ": (_FRAMES, False),
}  # fmt: skip
_OWN_STATEMENT: Final = frozenset({"status", "raw_indicator"})  # a descriptor has them, an indicator does not
_RECORD_FIELDS: Final = frozenset(
    {"indicator", "raw_indicator", "type", "should_delete", "descriptors", "status", "id"}
)
_OF_DESCRIPTOR: Final[Known] = {
    **dict.fromkeys(("id", "raw_indicator", "type", "status", "added_on")),
    "owner": {"id": None},
    "tags": {"id": None, "text": None, "data": {"id": None, "text": None}},
    "reactions": {"key": None, "value": None},
}
_KNOWN: Final[Known] = {
    **_OF_DESCRIPTOR,
    **dict.fromkeys(("indicator", "should_delete")),
    "descriptors": {**_OF_DESCRIPTOR, "data": _OF_DESCRIPTOR},
}
_HEADER: Final = frozenset({"signal_type", "signal_str"})
_COLUMNS: Final = _HEADER | {"collab", "category", "tags"}
_TEXT_LINE: Final = re.compile(
    r"(?P<type>[A-Za-z][A-Za-z0-9_]*) (?P<signal>\[[^\[\]]*\]|\S+)"
    r"(?: (?P<collab>'[^']*'|\"[^\"]*\"))?(?: (?P<category>[A-Z][A-Z_]*)(?: (?P<tags>.*))?)?"
)
_VIDEO: Final = re.compile(r'\[\s*"[0-9A-Fa-f]{64},[0-9]{1,3},')
_APP: Final = re.compile(r"[1-9][0-9]{0,19}")
_LOOKS: Final = re.compile(rb'"(?:raw_)?indicator"\s*:')
_LOOKS_TYPED: Final = re.compile(rb'"type"\s*:\s*"(?:HASH_|URI|RAW_URI|DEBUG_STRING)|"descriptors"\s*:')
_LOOKS_TEXT: Final = re.compile(
    rb"(?:pdq|video_md5|video_sha256|raw_text|url|url_md5|trend_query|vpdq|tlsh_pdf) \S+"
    rb"(?: (?:'[^'\n]*'|\"[^\"\n]*\") (?:POSITIVE_CLASS|NEGATIVE_CLASS|INVESTIGATION_SEED|DISPUTED))"
    rb"|vpdq \[\"[0-9A-Fa-f]{64},[0-9]{1,3},"  # whose line may be longer than what is looked at
)
_CACHE_NAME: Final = re.compile(r"simple\.([A-Z0-9_]+)\.te")


class _Opinion(NamedTuple):
    """What one owner says of an indicator."""

    owner: str
    status: str
    added_on: object


class _SignalContent(NamedTuple):
    """What one signal says: a hash as (algorithm, text), or the frames of a video."""

    pairs: list[tuple[str, str]]
    frames: tuple[VideoFrame, ...]


class ThreatExchange(ClassifiedFormat):
    """Reads ThreatExchange dumps. Positions are `[12]`, `data[12]`, `[2].data[12]` in JSON and `line 12` in text."""

    name = SCHEME
    version = "4"
    summary = "ThreatExchange: threat_updates and descriptors in JSON, and what tx dataset prints, as CSV or text"
    options: tuple[Option, ...] = (
        Option(
            "owner",
            "id of the app whose opinions are the contributor's own; those of others become reviews of its items",
        ),
        Option("type", "indicator type of a file that has no column for it, such as HASH_PDQ: simple.TYPE.te"),
    )

    def detect(self, head: bytes, name: str) -> Guess | None:
        """Return a guess from names that only ThreatExchange and its package use."""
        start = exchange.start_of(head)
        if start[:1] in {b"{", b"["}:
            if _LOOKS.search(start) and _LOOKS_TYPED.search(start):
                return Guess(Certainty.CERTAIN, "it is JSON whose records have an indicator and ThreatExchange's types")
            return None
        if start.replace(b'"', b"")[:64].lower().startswith(b"signal_type,signal_str"):
            return Guess(Certainty.CERTAIN, "its first line is the header that tx dataset --csv prints")
        if _LOOKS_TEXT.match(start):
            return Guess(Certainty.CERTAIN, "its first line is one that tx dataset prints")
        if (cache := _CACHE_NAME.fullmatch(name.rpartition("/")[2])) and b"," in start:
            return Guess(Certainty.LIKELY, "it has the name of an older ThreatExchange cache", {"type": cache[1]})
        return None

    def read(self, source: BinaryIO, options: Mapping[str, str]) -> Items:
        """Yield one Record or Reject for each indicator, descriptor, row or line.

        Raises MalformedSource for a pickle, for JSON that is cut off or is none of the shapes above, and for an empty
        file; InvalidArgument for an owner that is no app id.
        """
        check_options(self, options)
        owner = options.get("owner", "")
        if owner and not _APP.fullmatch(owner):
            raise InvalidArgument.field("options.owner", "must be the id of an app: 1 to 20 digits", "PATTERN")
        return _read(source, owner, options.get("type", "").strip())


def _read(source: BinaryIO, owner: str, stated_type: str) -> Items:
    left_out = LeftOut()
    head, begun = look_at(source, READ_SIZE)
    exchange.refuse_pickle(head)
    start = exchange.start_of(head)
    if start[:1] in {b"{", b"["}:
        yield from _read_json(JSONReader(begun, "top level", limit=_LONGEST), owner, left_out)
    elif _is_delimited(start, stated_type):
        yield from _read_rows(begun, stated_type, left_out)
    else:
        yield from _read_lines(begun, stated_type)
    return left_out


# --- JSON -------------------------------------------------------------------------------------------------------------


def _read_json(reader: JSONReader, owner: str, left_out: LeftOut) -> Iterator[Record | Reject]:
    if reader.peek() == "{":
        yield from _read_page(reader, "", owner, left_out)
    else:
        for index in reader.elements():
            reader.where = f"[{index}]"
            if reader.peek() != "{":
                reader.skip()
                yield Reject(f"[{index}]", "NOT_AN_OBJECT", "expected an object with an indicator, or a page of them")
                continue
            yield from _read_page(reader, f"[{index}]", owner, left_out)
    reader.end()


def _read_page(reader: JSONReader, position: str, owner: str, left_out: LeftOut) -> Iterator[Record | Reject]:
    """Read the object at the cursor: a page, whose records are streamed, or one record."""
    fields = Object()
    is_page = has_more = is_delta = False
    prefix = f"{position}." if position else ""
    for key in reader.members():
        if key == "data" and reader.peek() == "[":
            if is_page:
                reader.fail("data is given twice; expected it once")
            is_page = True
            for where, te in exchange.elements(reader, f"{prefix}data"):
                yield _record(where, te, owner, left_out)
            reader.where = position or "top level"
            continue
        value = reader.read()
        is_delta |= key == exchange.CHANGES_ONLY and value is True
        if key == "paging":
            has_more |= isinstance(value, dict) and bool(value.get("next"))
        elif key in _KNOWN:
            fields[key] = value
        elif key != exchange.CHANGES_ONLY:
            left_out.beyond({key: value}, {})
    if has_more:
        yield partial(f"{prefix}paging", "the file is one page of an answer, and says that another follows")
    if is_delta:
        yield exchange.changes_only()
    if not is_page:
        if not position and not {"indicator", "raw_indicator"} & fields.keys():
            reader.fail(
                "the file is not ThreatExchange JSON; expected an array of records with an indicator, or an object "
                "with such an array as data"
            )
        yield _record(position or "top level", fields, owner, left_out)


def _record(position: str, te: object, owner: str, left_out: LeftOut) -> Record | Reject:
    if not isinstance(te, dict):
        return Reject(position, "NOT_AN_OBJECT", f"expected an object with an indicator, found {items.kind(te)}")
    left_out.beyond(te, _KNOWN)
    if refused := items.given_twice(position, te, _RECORD_FIELDS):
        return refused
    indicator = te.get("indicator", te.get("raw_indicator"))
    stated_type = te.get("type")
    if not isinstance(indicator, str) or not isinstance(stated_type, str):
        missing = "indicator" if not isinstance(indicator, str) else "type"
        return Reject(position, "BAD_FIELD", f"{missing} is {items.kind(te.get(missing))}; expected a text")
    faults: list[HashFault] = []
    is_descriptor = "descriptors" not in te and not _OWN_STATEMENT.isdisjoint(te)
    descriptors = [te] if is_descriptor else _data(te.get("descriptors"), "descriptors", faults)
    tags = _tags(descriptors, faults)
    algorithm, is_video, tags = _algorithm(stated_type, tags, indicator)
    external_id = exchange.own_id(te.get("id"))
    if refused := items.bad_id(position, external_id):
        return refused
    told = _told(position, algorithm, indicator)
    is_deleted = read_flag(te.get("should_delete"))
    if is_deleted is None and te.get("should_delete") is not None:
        faults.append(items.bad_field("should_delete", "true or false", te.get("should_delete")))
    is_withdrawal = is_deleted or ("descriptors" not in te and not is_descriptor)
    if isinstance(told, Reject):
        if not (is_withdrawal and external_id):
            return told
        faults.append(HashFault("indicator", told.reason, told.detail))
        told = _SignalContent([], ())
    if is_withdrawal:
        good, bad = read_hashes(told.pairs)
        if not good and any(f.reason == "UNSUPPORTED_ALGORITHM" for f in bad):
            return items.finish(position, told.pairs, faults)
        return items.withdrawal(position, told.pairs, faults, external_id, told.frames)
    opinions = list(_opinions(descriptors, faults))
    own = _own(opinions, owner)
    others = [o for o in opinions if o is not own]
    value, scheme, tags = _value(own.status if own else "", tags)
    reviews, unread = _reviews(own, others, descriptors)
    return items.finish(
        position,
        told.pairs,
        faults,
        frames=told.frames,
        external_id=external_id,
        value=value,
        scheme=scheme,
        member=own.owner if own and own.owner not in {owner, _NOBODY} else "",
        media_type="video" if is_video else "",
        tags=tags,
        source_time=items.text(own.added_on, "added_on", faults) if own else "",
        reviews=reviews,
        extra=items.extra_of({"opinions": unread} if unread else {}, left_out, faults),
    )


def _told(position: str, algorithm: str, signal: str) -> _SignalContent | Reject:
    """Return what a signal says, or why it is no video."""
    if algorithm != _FRAMES:
        return _SignalContent([(algorithm, signal)], ())
    frames = read_video(position, signal)
    return frames if isinstance(frames, Reject) else _SignalContent([], frames)


def _data(value: object, label: str, faults: list[HashFault]) -> list[dict[str, object]]:
    """Return the objects of `{"data": […]}` or of a plain array."""
    listed = value.get("data") if isinstance(value, dict) else value
    if listed is None:
        return []
    if not isinstance(listed, list):
        faults.append(items.bad_field(label, "an array", listed))
        return []
    wrong = [one for one in listed if not isinstance(one, dict)]
    if wrong:
        faults.append(items.bad_field(label, "objects", wrong[0]))
    return [one for one in listed if isinstance(one, dict)]


def _tags(descriptors: Iterable[Mapping[str, object]], faults: list[HashFault]) -> tuple[str, ...]:
    texts: list[object] = []
    for descriptor in descriptors:
        tags = descriptor.get("tags")
        listed = tags.get("data") if isinstance(tags, dict) else tags
        if isinstance(listed, list):
            texts += [tag.get("text") if isinstance(tag, dict) else tag for tag in listed]
        elif listed is not None:
            faults.append(items.bad_field("tags", "an array", listed))
    return items.tags(texts, "tags", faults)


def _algorithm(stated_type: str, tags: tuple[str, ...], signal: str) -> tuple[str, bool, tuple[str, ...]]:
    """Return an algorithm, or a type of none; whether it is said to be a video; the tags without the type's."""
    if stated_type == _OTHER_TYPE and (saying := next((t for t in tags if t.startswith(_SIGNAL_TYPE)), "")):
        stated_type = saying.removeprefix(_SIGNAL_TYPE) or stated_type
        tags = tuple(t for t in tags if t != saying)
    elif stated_type == _OTHER_TYPE and _VIDEO.match(signal):  # a withdrawal has no tags
        stated_type = _FRAMES
    algorithm, is_video = _TYPES.get(stated_type.strip().upper(), (stated_type.strip()[:40], False))
    return algorithm or "type", is_video or _VIDEO_TAG in tags, tags


def _opinions(descriptors: Iterable[Mapping[str, object]], faults: list[HashFault]) -> Iterator[_Opinion]:
    """Yield each owner's opinion. A descriptor without an owner is nobody's: the API leaves the owner out at times."""
    for descriptor in descriptors:
        owner = descriptor.get("owner")
        app = owner.get("id") if isinstance(owner, dict) else None
        status = descriptor.get("status")
        text = items.text(app, "owner", faults)
        if not text or not isinstance(status, str) or not status.strip():
            what = "an owner with an id" if not text else "a status"
            faults.append(HashFault("descriptors", "BAD_FIELD", f"a descriptor was left out: expected {what}"))
            continue
        yield _Opinion(text, items.text(status, "status", faults), descriptor.get("added_on"))


def _own(opinions: list[_Opinion], owner: str) -> _Opinion | None:
    """Return the opinion that is the item's: a NON_MALICIOUS one only where nobody else holds another."""
    by_weight = sorted(opinions, key=lambda o: (o.owner != owner, _weight(o.status)))
    return by_weight[0] if by_weight else None


def _weight(status: str) -> int:
    return {_MALICIOUS: 0, _NON_MALICIOUS: 2}.get(status.upper(), 1)


def _value(status: str, tags: tuple[str, ...]) -> tuple[str, str, tuple[str, ...]]:
    """Return value and scheme of a status, and the tags without those that only say these and that it is a video."""
    spelled = [t for t in tags if t.startswith(_CLASSIFICATION)]
    rest = tuple(t for t in tags if t != _VIDEO_TAG)
    classification = exchange.unspell(spelled[0].removeprefix(_CLASSIFICATION)) if len(spelled) == 1 else None
    if classification is not None:
        scheme, value = classification
        # MALICIOUS may be told more precisely; no tag turns another status into a claim.
        if status.upper() == _MALICIOUS or (status == _SEED and scheme.partition("@")[0] == SCHEME):
            return value, scheme, tuple(t for t in rest if t != spelled[0])
    return status, SCHEME if status else "", rest


def _reviews(
    own: _Opinion | None, others: list[_Opinion], descriptors: Iterable[Mapping[str, object]]
) -> tuple[tuple[RecordReview, ...], list[dict[str, object]]]:
    """Return what others say of the item, as reviews; and opinions and reactions neither for nor against it."""
    if own is None:
        return (), []
    said: dict[tuple[str, ReviewKind], str] = {}
    unread: list[dict[str, object]] = []
    for opinion in others:
        if opinion.owner == own.owner and opinion.status.upper() == own.status.upper():
            continue
        kind = _review_kind(own.status.upper(), opinion.status.upper()) if opinion.owner != own.owner else None
        if kind is None:
            unread.append({"owner": opinion.owner, "status": opinion.status})
        else:
            said.setdefault((opinion.owner, kind), opinion.status)
    heard = {own.owner, *(owner for owner, _ in said)}
    for owner, key in _reactions(descriptors):
        # A reaction is to a descriptor: as an opinion about the item it can be read where that calls it malicious.
        kind = {"HELPFUL": ReviewKind.CONFIRMED, "DISAGREE_WITH_TAGS": ReviewKind.FALSE_POSITIVE}.get(key)
        if kind is None or own.status.upper() != _MALICIOUS:
            unread.append({"owner": owner, "reaction": key})
        elif owner not in heard:
            said[owner, kind] = key
    return tuple(RecordReview(kind, f"te-owner:{owner}", what) for (owner, kind), what in said.items()), unread


def _review_kind(stated: str, by_other: str) -> ReviewKind | None:
    if {stated, by_other} - {_MALICIOUS, _NON_MALICIOUS}:
        return None
    if stated == by_other:
        return ReviewKind.CONFIRMED
    return ReviewKind.FALSE_POSITIVE if stated == _MALICIOUS else ReviewKind.MISCLASSIFIED


def _reactions(descriptors: Iterable[Mapping[str, object]]) -> Iterator[tuple[str, str]]:
    """Yield (app, reaction) of each reaction to a descriptor that calls its indicator malicious."""
    for descriptor in descriptors:
        listed = descriptor.get("reactions")
        if str(descriptor.get("status")).strip().upper() != _MALICIOUS or not isinstance(listed, list):
            continue
        for reaction in listed:
            if isinstance(reaction, dict) and isinstance(reaction.get("value"), str):
                for app in str(reaction["value"]).split(","):
                    if _APP.fullmatch(app.strip()):
                        yield app.strip(), items.text(reaction.get("key"), "reactions", [])[:40]


# --- Text -------------------------------------------------------------------------------------------------------------


def _is_delimited(first: bytes, stated_type: str) -> bool:
    line = first.partition(b"\n")[0].lower()
    return line.startswith((b"signal_type,", b'"signal_type",')) or (bool(stated_type) and b"," in line)


def _read_rows(source: BinaryIO, stated_type: str, left_out: LeftOut) -> Iterator[Record | Reject]:
    rows = Rows(source, ",", longest=_LONGEST)
    names = [cell.casefold() for cell in rows.header]
    if not set(names) >= _HEADER:
        if not stated_type:
            raise MalformedSource(
                f"the columns are {items.listing(rows.header)}; expected signal_type and signal_str, or the option "
                "type for a file without a header",
                position=rows.header_position,
            )
        yield _cache_row(rows.header_position, list(rows.header), stated_type, left_out)
        for row in rows:
            yield row if isinstance(row, Reject) else _cache_row(*row, stated_type, left_out)
        return
    unread = UnreadColumns(rows.header, {place for place, name in enumerate(names) if name in _COLUMNS}, left_out)
    for row in rows:
        if isinstance(row, Reject):
            yield row
            continue
        position, cells = row
        if len(cells) != len(names):
            detail = f"the row has {len(cells)} columns, the header {len(names)}"
            yield Reject(position, "WRONG_COLUMN_COUNT", detail)
            continue
        unread.see(cells)
        cell = {"category": "", "tags": "", "collab": "", **dict(zip(names, cells, strict=True))}
        labels = cell["tags"].split(" ")
        yield _signal(
            position, cell["signal_type"], cell["signal_str"], cell["category"], labels, member=cell["collab"]
        )


def _cache_row(position: str, cells: list[str], stated_type: str, left_out: LeftOut) -> Record | Reject:
    """Read a row of simple.TYPE.te: indicator, id of the first descriptor, its time, labels. It states no opinion."""
    indicator, descriptor, added_on, labels, *further = (*cells, "", "", "", "")
    left_out.see("further cells", any(further))
    record = _signal(position, stated_type, indicator, "", labels.split(" "))
    if isinstance(record, Reject):
        return record
    faults: list[HashFault] = []
    source_time = items.text(added_on, "added_on", faults)
    beyond = items.extra_of({"first_descriptor_id": descriptor}, left_out, faults)
    return msgspec.structs.replace(record, source_time=source_time, extra=beyond, faults=(*record.faults, *faults))


def _read_lines(source: BinaryIO, stated_type: str) -> Iterator[Record | Reject]:
    for number, line in lines(source, longest=_LONGEST):
        position, text = f"line {number}", line.strip()
        if not text:
            continue
        if stated_type and " " not in text:
            yield _signal(position, stated_type, text, "", [])
            continue
        parts = _TEXT_LINE.fullmatch(text)
        if parts is None:
            expected = "expected a signal type, a signal and, after it, what tx dataset prints"
            yield Reject(position, "UNPARSABLE_LINE", f"the line is in no layout of ThreatExchange; {expected}")
            continue
        collab = (parts["collab"] or "")[1:-1]
        tags = (parts["tags"] or "").split(",")
        yield _signal(position, parts["type"], parts["signal"], parts["category"] or "", tags, member=collab)


def _signal(
    position: str, stated_type: str, signal: str, category: str, labels: list[str], member: str = ""
) -> Record | Reject:
    faults: list[HashFault] = []
    tags = items.tags(labels, "tags", faults)
    algorithm, is_video, tags = _algorithm(stated_type, tags, signal)
    told = _told(position, algorithm, signal)
    if isinstance(told, Reject):
        return told
    category = items.text(category, "category", faults)
    value, scheme, tags = _value(_STATUSES.get(category.upper(), category), tags)
    return items.finish(
        position,
        told.pairs,
        faults,
        frames=told.frames,
        value=value,
        scheme=scheme,
        member=items.text(member, "collab", faults),
        media_type="video" if is_video else "",
        tags=tags,
    )


# --- Writing ----------------------------------------------------------------------------------------------------------


class ThreatExchangeWriter:
    """Writes an array of `threat_updates` records, one for each hash and for the frames of a video; changes as a page
    of them.

    Written are entries that claim harm, as MALICIOUS with a tag that says value and scheme, and entries of the scheme
    `threatexchange` with their own status. All others are left out: there is no status that says nothing.
    """

    name = SCHEME
    version = "2"
    summary = "ThreatExchange threat_updates in JSON: what claims harm, as MALICIOUS; withdrawals as should_delete"
    options: tuple[Option, ...] = (
        Option("owner", "id of the app that the descriptors are of; 0 unless given, which says nobody's"),
    )
    reads_back = SCHEME
    has_withdrawals = True
    suffix = ".json"

    def reading_options(self, exported: Exported, options: Mapping[str, str]) -> Mapping[str, str]:  # noqa: ARG002
        """Return the owner, whose opinions are then the contributor's own."""
        return {"owner": options["owner"]} if options.get("owner") else {}

    def write(
        self, entries: Iterable[Entry], target: BinaryIO, exported: Exported, options: Mapping[str, str]
    ) -> Iterator[Loss]:
        """Write the entries; see hashhub.connector.Writer."""
        check_options(self, options)
        owner = options.get("owner", "")
        if owner and not _APP.fullmatch(owner):
            raise InvalidArgument.field("options.owner", "must be the id of an app: 1 to 20 digits", "PATTERN")
        return _write_json(entries, target, exported, owner or _NOBODY)


class ThreatExchangeCSVWriter:
    """Writes what `tx dataset -P --csv` prints, a row for each hash and for the frames of a video."""

    name = "threatexchange-csv"
    version = "3"
    summary = "ThreatExchange dataset in CSV, as tx dataset prints it: what claims harm, as POSITIVE_CLASS"
    options: tuple[Option, ...] = ()
    reads_back = SCHEME
    has_withdrawals = False
    suffix = ".csv"

    def write(
        self, entries: Iterable[Entry], target: BinaryIO, exported: Exported, options: Mapping[str, str]
    ) -> Iterator[Loss]:
        """Write the entries; see hashhub.connector.Writer."""
        check_options(self, options)
        return _write_csv(entries, target, exported)


_FORM: Final = "ThreatExchange"
_JSON_TYPES: Final = {
    ("PDQ", False): "HASH_PDQ", ("PDQ", True): "HASH_PDQ", ("MD5", False): "HASH_MD5", ("MD5", True): "HASH_VIDEO_MD5",
    ("SHA1", False): "HASH_SHA1", ("SHA1", True): "HASH_SHA1", ("SHA256", False): "HASH_SHA256",
    ("SHA256", True): "HASH_VIDEO_SHA256",
}  # fmt: skip
_CSV_TYPES: Final = {
    ("PDQ", False): "pdq", ("PDQ", True): "pdq", ("MD5", False): "md5", ("MD5", True): "video_md5",
    ("SHA1", False): "sha1", ("SHA1", True): "sha1", ("SHA256", False): "sha256", ("SHA256", True): "video_sha256",
}  # fmt: skip
_FRAMES_TYPE: Final = "vpdq"
_NO_PLACE: Final = UnsupportedFields(
    _FORM, "flags", "media_size", "series", "quality", "extra", "expire_time", has_frames=True
)
_NO_PLACE_IN_CSV: Final = UnsupportedFields(f"{_FORM}'s CSV", "external_id", "source_time", has_frames=True)


class _SignalRecords(NamedTuple):
    """What both writers write of an entry."""

    signals: list[tuple[str, str]]  # (type, digest or frames)
    status: str
    tags: list[str]


def _prepare(
    entry: Entry, exported: Exported, types: Mapping[tuple[str, bool], str], *, by_spaces: bool
) -> tuple[_SignalRecords | None, list[Loss]]:
    """Return what is written of an entry, if anything, and what is lost.

    `by_spaces`: tags are joined by spaces.
    """
    status, spelled = _status(entry, exported)
    if not status:
        detail = "nothing says that the item is harmful; ThreatExchange has no status that says nothing"
        return None, [Loss(entry.name, "entry", "NO_HARM_CLAIM", detail)]
    is_video = entry.media_type.casefold().partition("/")[0] == "video"
    signals: list[tuple[str, str]] = []
    losses: list[Loss] = []
    for h in entry.hashes:
        if name := types.get((h.algorithm, is_video)):
            signals.append((name, hashes.encode(h)))
        else:
            losses += no_place_for_hash(entry, _FORM, [h.algorithm])
    if entry.frames:
        signals.append((_FRAMES_TYPE, vpdq.render(entry.frames, vpdq.FrameFormat.ARRAY).rstrip()))
    if not signals:
        return None, [exchange.no_hash(entry, _FORM)]
    if entry.state is EntryState.WITHDRAWN:
        return _SignalRecords(signals, status, []), losses
    if len(signals) > 1:
        detail = f"{len(signals)} hashes or frames of the item are records of their own, which nothing binds together"
        losses.append(Loss(entry.name, "hashes", "HASHES_PARTED", detail))
    tags = [tag for tag in entry.tags if _can_be_tag(tag, by_spaces=by_spaces)]
    if len(tags) != len(entry.tags):
        losses.append(Loss(entry.name, "tags", "UNWRITABLE_TEXT", "it has a space, or means something here"))
    tags += [spelled] if spelled else []
    if is_video and any("VIDEO" not in name.upper() for name, _ in signals):
        tags.append(_VIDEO_TAG)
    if entry.media_type and entry.media_type != "video":
        losses.append(Loss(entry.name, "media_type", "NO_PLACE", f"{_FORM} knows videos, and no other media type"))
    losses += _NO_PLACE.losses(entry)
    return _SignalRecords(signals, status, tags), losses


def _status(entry: Entry, exported: Exported) -> tuple[str, str]:
    """Return the status and the tag that says more precisely what it stands for; empty for an entry without a claim."""
    hash_set, classification = exchange.hash_set_of(entry, exported), entry.classification
    claims_harm = bool(exchange.harm(entry, hash_set))
    if classification is not None and classification.scheme == SCHEME:
        status = classification.value
        may_be_written = exchange.survives(status) and (claims_harm or status != _MALICIOUS)
        return (status if may_be_written else ""), ""
    if entry.state is EntryState.WITHDRAWN:
        return _MALICIOUS, ""
    if not claims_harm:
        return "", ""
    word = exchange.LISTED if classification is None else exchange.spell(classification)
    return _MALICIOUS, f"{_CLASSIFICATION}{word}"


def _can_be_tag(tag: str, *, by_spaces: bool) -> bool:
    return (
        bool(tag)
        and exchange.survives(tag)
        and tag != _VIDEO_TAG
        and not tag.startswith((_CLASSIFICATION, _SIGNAL_TYPE))
        and not (by_spaces and (" " in tag or tag.startswith(FORMULA)))
    )


def _terms() -> Loss:
    return Loss("", "terms", "NO_PLACE", f"{_FORM} has no place for handling terms; agree them with the recipient")


def _write_json(entries: Iterable[Entry], target: BinaryIO, exported: Exported, owner: str) -> Iterator[Loss]:
    sink = Output(target)
    sink.put(b'{"data":[' if exported.is_delta else b"[")
    listing = exchange.JSONArray(sink)
    time = int(exported.time.timestamp())
    is_first = True
    for entry in entries:
        refused = withheld(entry, exported, has_withdrawals=True) or exchange.withdrawal_of_all(entry, exported)
        if refused is not None:
            yield refused
            continue
        written, losses = _prepare(entry, exported, _JSON_TYPES, by_spaces=False)
        yield from losses
        if written is None:
            continue
        if is_first:
            is_first = False
            yield _terms()
        own_id = entry.external_id
        # An id is one indicator's, and one app's: of several hashes, or of several contributors, it is none.
        has_id = bool(_APP.fullmatch(own_id)) and len(written.signals) == 1 and len(exported.hash_sets) == 1
        if own_id and not has_id:
            detail = "an id is a number and belongs to one hash"
            yield Loss(entry.name, "external_id", "UNWRITABLE_TEXT", detail)
        by = entry.provenance.member
        is_withdrawal = entry.state is EntryState.WITHDRAWN
        is_app = bool(_APP.fullmatch(by)) and by != owner
        if not is_withdrawal:
            if by and not is_app:
                yield Loss(entry.name, "member", "UNWRITABLE_TEXT", "an owner is the id of an app")
            has_time = exchange.survives(entry.source_time)
            if not has_time:
                yield Loss(entry.name, "source_time", "UNWRITABLE_TEXT", "the time holds characters that are not kept")
        for kind, digest in written.signals:
            record: dict[str, object] = {"id": own_id} if has_id else {}
            is_video = kind == _FRAMES_TYPE
            stated_type = _OTHER_TYPE if is_video else kind
            record |= {"indicator": digest, "type": stated_type, "last_updated": time, "should_delete": is_withdrawal}
            if not is_withdrawal:
                tags = [*written.tags, f"{_SIGNAL_TYPE}{kind}"] if is_video else written.tags
                number = int.from_bytes(sha256(f"{entry.name} {kind} {digest}".encode()).digest()[:7])
                descriptor: dict[str, object] = {
                    "id": str(number),
                    "owner": {"id": by if is_app else owner},
                    "status": written.status,
                    "tags": {"data": [{"text": tag} for tag in tags]},
                }
                if entry.source_time and has_time:
                    descriptor["added_on"] = entry.source_time
                record["descriptors"] = {"data": [descriptor]}
            listing.add(exchange.encode(record))
    sink.put(b'\n],"%s":true}\n' % exchange.CHANGES_ONLY.encode() if exported.is_delta else b"\n]\n")
    sink.flush()


def _write_csv(entries: Iterable[Entry], target: BinaryIO, exported: Exported) -> Iterator[Loss]:
    sink = Output(target)
    quoted = Cells(",").quoted
    sink.put("signal_type,signal_str,collab,category,tags\r\n")
    is_first = True
    for entry in entries:
        if (loss := withheld(entry, exported, has_withdrawals=False)) is not None:
            yield loss
            continue
        written, losses = _prepare(entry, exported, _CSV_TYPES, by_spaces=True)
        yield from losses
        if written is None:
            continue
        if is_first:
            is_first = False
            yield _terms()
        yield from _NO_PLACE_IN_CSV.losses(entry)
        collab = entry.provenance.member
        if not exchange.survives(collab):
            yield Loss(entry.name, "member", "UNWRITABLE_TEXT", "the member holds characters that are not kept")
            collab = ""
        elif collab.startswith(FORMULA):
            yield Loss(entry.name, "member", "FORMULA", "a spreadsheet would calculate the member's name")
            collab = ""
        category, tags = _CATEGORIES.get(written.status, ""), list(written.tags)
        if not category:  # told apart by the JSON only
            category = _SEED
            tags += [f"{_CLASSIFICATION}{exchange.spell(entry.classification)}"] if entry.classification else []
        for kind, digest in written.signals:
            sink.put(",".join(map(quoted, (kind, digest, collab, category, " ".join(tags)))) + "\r\n")
    sink.flush()
