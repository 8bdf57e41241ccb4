"""VICS (Project VIC) hash sets and cases, data models 1.1 to 1.3 and 2.0, in OData JSON.

Kept in fields of their own: hashes (MD5, SHA1, PhotoDNA in both of its places, AlternativeHashes), Category, the five
flags, Series, Tags, MediaSize, MimeType, DateUpdated. What else an item says of itself, unknown keys included, goes
into `extra`, so that an export in the same format has it again.

Dropped on purpose, at any depth, because they are case data or name people, and no other organisation may have them:
MediaFiles and the fields of its files, Exifs, MediaMetadata, Comments, RelativeFilePath, Repositories, Identifiers,
Cases, Contact…, everything of a Case but its Media. OData's annotations and MediaID are no statements about an item:
MediaID counts within one file, and another export would count anew. Segments have the categories of parts of a video,
which no hash of the whole stands for: they stay in `extra`. TotalMediaFiles is known to be wrong in real files and is
not read.

The context may stand behind `value`, and a bare array of items has none: its region is unknown, as with `Default`.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from operator import itemgetter
from typing import BinaryIO, Final, NamedTuple

import msgspec

from hashhub.connector import Certainty, Guess, Option, check_options, partial, read_hashes
from hashhub.model import MAX_HASHES_PER_ENTRY, MAX_TEXT, HashFault, Record, Reject
from hashhub_connectors import items
from hashhub_connectors.json_stream import LARGE, JSONReader, Object
from hashhub_connectors.source import head_text

_CONTEXTS: Final = {
    "odata.metadata": re.compile(r"https?://github\.com/ICMEC/ProjectVic/DataModels/1\.[123]\.xml#(?:Media|Cases)"),
    "@odata.context": re.compile(
        r"https?://github\.com/VICSDATAMODEL/ProjectVic/DataModels/2\.0\.xml/([A-Za-z][A-Za-z0-9_-]{0,31})"
        r"/\$metadata#(?:Media|Cases)"
    ),
}
_NO_REGION: Final = frozenset({"", "default", "custom", "unknown"})
_UNITED_KINGDOM: Final = frozenset({"uk", "gb"})
_CAID: Final = "uk-caid"
_EXPECTED: Final = (
    "expected odata.metadata of …/ICMEC/ProjectVic/DataModels/1.1.xml to 1.3.xml#Media or #Cases, or @odata.context of "
    "…/VICSDATAMODEL/ProjectVic/DataModels/2.0.xml/REGION/$metadata#Media or #Cases"
)
_NEXT: Final = frozenset(
    {"@odata.nextLink", "odata.nextLink"}
)  # OData 4 and 3, where a server gives a set page by page
_NEXT_MEDIA: Final = "Media@odata.nextLink"  # the same for the Media of a case
_MEDIA_TWICE: Final = "Media is given twice; expected it once"
_CONTEXT_TWICE: Final = "the context is given twice; expected it once"
_FLAGS: Final = ("VictimIdentified", "OffenderIdentified", "IsDistributed", "IsSuspected", "SelfGenerated")
_DIGESTS: Final = (("MD5", "MD5"), ("SHA1", "SHA1"), ("PhotoDNA", "PHOTODNA"))
_OTHER_FIELDS: Final = frozenset({*_FLAGS, "Series", "Tags", "MediaSize", "MimeType", "DateUpdated"})
_SHARED_FIELDS: Final = frozenset({"Category", *_FLAGS, "Series", "Tags", "MimeType", "IsPrecategorized"})
_FIELDS: Final = frozenset({*(key for key, _ in _DIGESTS), "AlternativeHashes", "Category", *_OTHER_FIELDS})
# Keys in lower case that never get into `extra`, and how others begin that do not either; see the module's docstring.
_DROPPED: Final = frozenset(
    {
        "mediaid", "mediafiles", "exifs", "mediametadata", "comments", "comment", "relativefilepath", "repositories",
        "identifiers", "cases", "mediafileid", "filename", "filepath", "created", "written", "accessed", "unallocated",
        "sourceid", "physicallocation", "deleted",
    }
)  # fmt: skip
_DROPPED_BEGIN: Final = ("contact", "case", "exif", "parent", "odata.")
_MAX_LEVELS: Final = 8  # of arrays and objects in a value that is kept in `extra`
_MAX_KEYS: Final = 512  # of an item larger than the window, beside its fields
_MORE: Final = "…"  # stands for the keys beyond them
_SHAPES_KEPT: Final = 256
_KNOWN_KEPT: Final = 4_096
_SHAPE_CHARACTERS: Final = 2_048  # in the keys of a shape that is remembered: bounds what they cost
_EMPTY: Final = ("{}", "[]")
_USUAL: Final = 64  # characters of a text that may be remembered
_LARGEST_USUAL: Final = (1 << 32) - 1  # of the numbers that may be
_CONTEXT: Final = re.compile(r'"(odata\.metadata|@odata\.context)"\s*:\s*"((?:[^"\\]|\\.)*)"')
_OF_VICS: Final = ("ICMEC/ProjectVic/", "VICSDATAMODEL/ProjectVic/")
_MEDIA: Final = re.compile(
    r'"(?:MediaID|Category|IsPrecategorized|VictimIdentified|OffenderIdentified|IsDistributed|PhotoDNA)"\s*:'
)
_MEDIA_DIGEST: Final = re.compile(r'"(?:MD5|SHA1)"\s*:\s*(?:"|null)')
_ARRAY: Final = re.compile(r'\[\s*\{|\{\s*(?:"[^"@]{0,40}"\s*:\s*"[^"]{0,200}"\s*,\s*)*"value"\s*:\s*\[\s*\{')


class VICS:
    """Reads VICS JSON. Positions are `value[12]` in a hash set, `value[0].Media[3]` in a case, `[12]` in a bare array;
    `region` is the 2.0 context's.
    """

    name = "vics"
    version = "5"
    summary = "VICS / Project VIC JSON, data models 1.1 to 1.3 and 2.0, hash sets and cases"
    options: tuple[Option, ...] = ()

    def has_classifications(self, options: Mapping[str, str]) -> bool:  # noqa: ARG002 - the same with all options
        """Return True: the Category."""
        return True

    def detect(self, head: bytes, name: str) -> Guess | None:  # noqa: ARG002 - the content says it
        """Return CERTAIN for a context of Project VIC, LIKELY for items with VICS' names and no context in sight."""
        text = head_text(head)
        begin = text.lstrip()[:1]
        if begin not in {"{", "["}:
            return None
        for key, escaped in _CONTEXT.findall(text):
            context = escaped.replace("\\/", "/")
            if _CONTEXTS[key].fullmatch(context):
                return Guess(Certainty.CERTAIN, f"its {key} is {context}")
            if any(part in context for part in _OF_VICS):
                what = "a data model that hashhub does not read"
                return Guess(Certainty.CERTAIN, f"its {key} is {context[:120]}, {what}")
            return None
        if _ARRAY.match(text.lstrip()) and _MEDIA.search(text) and _MEDIA_DIGEST.search(text):
            what = "it is a bare array" if begin == "[" else "it has a value"
            return Guess(Certainty.LIKELY, f"{what} of objects with the names that VICS gives to hashes and categories")
        return None

    def read(self, source: BinaryIO, options: Mapping[str, str]) -> Iterator[Record | Reject]:
        """Yield one Record or Reject for each Media; one MD5 in several Media is several items. A nextLink makes the
        source partial.

        Raises MalformedSource for text that is not JSON or is cut off, for an unknown or missing context, and for one
        behind `value` where the source cannot be read twice.
        """
        check_options(self, options)
        return _read(JSONReader(source, "top level"), _rereader(source))


def _rereader(source: BinaryIO) -> Callable[[], JSONReader] | None:
    """Return what reads the source from here once more, or None where it cannot be."""
    try:
        if not source.seekable():
            return None
        start = source.tell()
    except (OSError, ValueError):
        return None

    def again() -> JSONReader:
        source.seek(start)
        return JSONReader(source, "top level")

    return again


def _read(
    reader: JSONReader, again: Callable[[], JSONReader] | None = None, late_region: str | None = None
) -> Iterator[Record | Reject]:
    """Yield the items. `late_region`: that of a context behind `value`, once it was looked for."""
    region = late_region
    seen = has_more = False
    if (first := reader.peek()) == "[":
        yield from _read_items(reader, "", "")
        reader.where = "top level"
        reader.end()
        return
    if first != "{":
        what = "is empty" if not first else "is not VICS JSON"
        reader.fail(
            f"the file {what}: expected an object with a context and a value, or an array of Media; {_EXPECTED}"
        )
    for key in reader.members():
        if key in _CONTEXTS:
            stated = _region(reader, key)
            if region is not None and late_region is None:
                reader.fail(_CONTEXT_TWICE)
            region = stated
        elif key == "value":
            if seen:
                reader.fail("value is given twice; expected it once")
            if region is None:
                if again is None:
                    reader.fail(
                        "the context is missing before value, and this source cannot be read twice to look behind it; "
                        f"give a file, or write the context first; {_EXPECTED}"
                    )
                behind = _context_anywhere(again())
                yield from _read(again(), None, behind)
                return
            seen = True
            if reader.peek() != "[":
                reader.fail("value is not an array; expected an array of Media or Cases")
            yield from _read_items(reader, "value", region)
            reader.where = "top level"
        elif key in _NEXT:
            has_more |= _is_given(reader)
        else:
            reader.skip()
    reader.end()
    if not seen:
        reader.fail(f"the file has no value; expected an array of Media or Cases; {_EXPECTED}")
    if has_more:
        yield partial("nextLink", "the file is one page of a set, and says that another follows")


def _context_anywhere(reader: JSONReader) -> str:
    """Go through the whole document and return the region of its one context."""
    region: str | None = None
    for key in reader.members():
        if key in _CONTEXTS:
            if region is not None:
                reader.fail(_CONTEXT_TWICE)
            region = _region(reader, key)
        elif key == "value" and reader.peek() == "[":
            for index in reader.elements():
                reader.where = f"value[{index}]"
                reader.skip()
            reader.where = "top level"
        else:
            reader.skip()
    reader.end()
    if region is None:
        reader.fail(f"the context is missing; {_EXPECTED}")
    return region


def _is_given(reader: JSONReader) -> bool:
    """Go past the next value, and tell whether it says anything."""
    value = reader.value()
    if value is LARGE:
        reader.skip()
    return bool(value)


def _some_media(position: str) -> Reject:
    return partial(f"{position}.Media.nextLink", "the case has only some of its Media, and says that others follow")


def _region(reader: JSONReader, key: str) -> str:
    context = reader.value()
    version = _CONTEXTS[key].fullmatch(context) if isinstance(context, str) else None
    if version is None:
        shown = repr(context[:120]) if isinstance(context, str) else items.kind(context)
        reader.fail(f"unknown context {shown} in {key}; {_EXPECTED}")
    return version.group(1) if version.re.groups else ""


def _read_items(reader: JSONReader, name: str, region: str) -> Iterator[Record | Reject]:
    """Yield the items of the array at the cursor, which is called `name`."""
    scheme = _scheme(region)
    for index in reader.elements():
        position = f"{name}[{index}]"
        reader.where = position
        element = reader.value()
        if type(element) is dict and "Media" not in element and _NEXT_MEDIA not in element:
            yield _record(position, element, region, scheme)
            continue
        if element is LARGE:
            yield from _read_large(reader, position, region)
            continue
        if isinstance(element, dict) and element.get(_NEXT_MEDIA):
            yield _some_media(position)
        if isinstance(element, dict) and "Media" in element:
            media = element["Media"]
            if isinstance(element, Object) and "Media" in element.repeated:
                reader.fail(_MEDIA_TWICE)
            if not isinstance(media, list):
                yield from _no_media(position, media)
                continue
            for i, medium in enumerate(media):
                yield _record(f"{position}.Media[{i}]", medium, region, scheme)
        else:
            yield _record(position, element, region, scheme)


def _no_media(position: str, media: object) -> Iterator[Reject]:
    """Yield the Reject of a case whose Media is no array; without any Media it has no items."""
    if media is not None:
        yield Reject(position, "BAD_FIELD", f"Media is {items.kind(media)}; expected an array")


def _read_large(reader: JSONReader, position: str, region: str) -> Iterator[Record | Reject]:
    """Read an element of `value` that is longer than the window: a case, or one Media with a great many files."""
    scheme = _scheme(region)
    if reader.peek() != "{":
        reader.skip()
        yield _record(position, [], region, scheme)
        return
    fields = Object()
    is_case = False
    for key in reader.members():
        if key == _NEXT_MEDIA:
            if _is_given(reader):
                yield _some_media(position)
            continue
        if key != "Media":
            _keep(reader, key, fields)
            continue
        if is_case:
            reader.fail(_MEDIA_TWICE)
        is_case = True
        if reader.peek() == "[":
            for index in reader.elements():
                reader.where = f"{position}.Media[{index}]"
                yield _record(reader.where, _read_medium(reader), region, scheme)
            reader.where = position
        else:
            media = reader.value()
            if media is LARGE:
                reader.skip()
            yield from _no_media(position, media)
    if not is_case:
        yield _record(position, fields, region, scheme)


def _read_medium(reader: JSONReader) -> object:
    medium = reader.value()
    if medium is not LARGE:
        return medium
    if reader.peek() != "{":
        reader.skip()
        return []
    fields = Object()
    for key in reader.members():
        _keep(reader, key, fields)
    return fields


def _keep(reader: JSONReader, key: str, fields: Object) -> None:
    """Go past the value of a member, and keep it where it is read or small enough for `extra`."""
    is_field = key in _FIELDS
    if not is_field and _is_dropped(key):
        reader.skip()
        return
    if key in fields:
        fields.repeated.add(key)
    value = reader.value()
    if value is LARGE:
        reader.skip()
    if not is_field:
        if key not in fields and len(fields) >= _MAX_KEYS:
            fields[_MORE] = LARGE
            return
        if _encoded(value) is None:
            value = LARGE
    fields[key] = value


class _Shape(NamedTuple):
    """What there is to do for items with the same keys in the same order.

    `shared`: returns an item's values of the keys for which many items have the same; None where there is nothing to
    gain by it. `has_own_extra`: whether `extra` depends on the values of other keys.
    """

    number: int
    digests: tuple[tuple[str, str], ...]
    has_other_fields: bool
    extra: tuple[str, ...]  # sorted
    is_remembered: bool
    has_own_extra: bool
    shared: Callable[[dict[str, object]], tuple[object, ...]] | None


class _Shared(NamedTuple):
    """What items of one shape with the same shared values have in common.

    `types`: of the values, since True == 1 == 1.0; `record`: one of them, without what `_own` gives.
    """

    types: tuple[type, ...]
    record: Record


_shapes: Final[dict[tuple[str, ...], _Shape]] = {}
_shape_numbers: Final = itertools.count()
_known: Final[dict[tuple[int, str, tuple[object, ...]], _Shared]] = {}  # by shape, region and values


def _shape(keys: tuple[str, ...]) -> _Shape:
    present = frozenset(keys)
    is_remembered = sum(map(len, keys)) <= _SHAPE_CHARACTERS
    shared = [key for key in keys if key in _SHARED_FIELDS]
    extra = tuple(sorted(key for key in present if key not in _FIELDS and not _is_dropped(key)))
    shape = _Shape(
        next(_shape_numbers),
        tuple((key, algorithm) for key, algorithm in _DIGESTS if key in present),
        bool(present & _OTHER_FIELDS),
        extra,
        is_remembered,
        not _SHARED_FIELDS.issuperset(extra),
        itemgetter(*shared) if is_remembered and len(shared) > 1 and "AlternativeHashes" not in present else None,
    )
    if is_remembered:
        if len(_shapes) >= _SHAPES_KEPT:
            _shapes.clear()
        _shapes[keys] = shape
    return shape


def _is_dropped(key: str) -> bool:
    """Whether a key that is no field of ours must not get into `extra`."""
    name = key.lower()
    return name in _DROPPED or name.startswith(_DROPPED_BEGIN) or "@" in name


def _record(position: str, media: object, region: str, scheme: str) -> Record | Reject:
    if type(media) is not dict or (shape := _shapes.get(tuple(media))) is None or shape.shared is None:
        return _read_record(position, media, region, scheme)
    values = shape.shared(media)
    key = (shape.number, region, values)
    try:
        known = _known.get(key)
    except TypeError:  # an array or an object cannot be looked up
        return _read_record(position, media, region, scheme)
    if known is None:
        record = _read_record(position, media, region, scheme)
        if isinstance(record, Record) and not record.faults and all(map(_is_usual, values)):
            if len(_known) >= _KNOWN_KEPT:
                _known.clear()
            _known[key] = _Shared(
                tuple(map(type, values)),
                msgspec.structs.replace(record, position="", hashes=(), media_size=None, source_time=""),
            )
        return record
    own = _own(media, shape) if tuple(map(type, values)) == known.types else None
    if own is None:
        return _read_record(position, media, region, scheme)
    return msgspec.structs.replace(known.record, position=position, **own)


def _own(media: dict[str, object], shape: _Shape) -> dict[str, object] | None:
    """Return what an item's values that are not shared say, by field; None where something about them is unusual."""
    pairs: list[tuple[str, str]] = []
    for key, algorithm in shape.digests:
        if type(digest := media[key]) is not str:
            return None
        if digest:
            pairs.append((algorithm, digest))
    hashes, bad = read_hashes(pairs)
    size = media.get("MediaSize")
    if bad or not hashes or not (size is None or (type(size) is int and 0 <= size <= items.MAX_SIZE)):
        return None
    faults: list[HashFault] = []
    time = media.get("DateUpdated", "")
    if type(time) is not str or len(time) > _USUAL or not time.isprintable() or time[:1] == " " or time[-1:] == " ":
        time = items.text(time, "DateUpdated", faults)
    own: dict[str, object] = {"hashes": hashes, "media_size": size, "source_time": time}
    if shape.has_own_extra:
        own["extra"] = _extra(media, shape.extra, faults, is_usual=shape.is_remembered)
    return None if faults else own


def _read_record(position: str, media: object, region: str, scheme: str) -> Record | Reject:
    if not isinstance(media, dict):
        return Reject(position, "NOT_AN_OBJECT", f"expected an object with hashes, found {items.kind(media)}")
    if isinstance(media, Object) and (twice := sorted(media.repeated & _FIELDS)):
        return Reject(position, "BAD_FIELD", f"given more than once, so nobody can tell what holds: {', '.join(twice)}")
    get = media.get
    category = get("Category")
    if isinstance(category, float) and category.is_integer():
        category = int(category)
    if isinstance(category, int) and not isinstance(category, bool):
        value = str(category)
    elif category is None:
        value = ""
    elif isinstance(category, str) and len(category) <= MAX_TEXT:
        value = items.text(category, "Category", [])
    else:
        return Reject(
            position, "BAD_FIELD", f"Category is {items.kind(category)}; expected a whole number, its text, or null"
        )
    keys = tuple(media)
    _, digests, has_other_fields, extra_keys, is_usual, *_ = _shapes.get(keys) or _shape(keys)
    faults: list[HashFault] = []
    pairs: list[tuple[str, str]] = []
    for key, algorithm in digests:
        digest = media[key]
        if isinstance(digest, str):
            if digest:
                pairs.append((algorithm, digest))
        elif digest is not None:
            faults.append(items.bad_field(key, "a text", digest))
    if alternatives := get("AlternativeHashes"):
        _alternatives(alternatives, get("MD5"), pairs, faults)
    extra = _extra(media, extra_keys, faults, is_usual=is_usual) if extra_keys else ""
    if not has_other_fields:
        return items.finish(position, pairs, faults, value=value, region=region, scheme=scheme, extra=extra)
    series = get("Series")
    return items.finish(
        position,
        pairs,
        faults,
        value=value,
        region=region,
        scheme=scheme,
        flags=items.flags(tuple(map(get, _FLAGS)), _FLAGS, faults),
        media_type=items.text(get("MimeType"), "MimeType", faults).lower(),
        media_size=items.size(get("MediaSize"), "MediaSize", faults),
        series=", ".join(items.tags(series, "Series", faults))
        if isinstance(series, list | dict)
        else items.text(series, "Series", faults),
        tags=items.tags(get("Tags"), "Tags", faults),
        source_time=items.text(get("DateUpdated"), "DateUpdated", faults),
        extra=extra,
    )


def _extra(media: dict[str, object], keys: tuple[str, ...], faults: list[HashFault], *, is_usual: bool) -> str:
    """Return the item's own other fields as one JSON object in ASCII, its keys sorted; nothing where none is given.

    Fields that say nothing (null, an empty text, array or object) are not given. What does not fit into MAX_TEXT
    characters, or is given twice, is left out whole and noted.
    """
    values = tuple([media[key] for key in keys])
    is_usual &= type(media) is dict and all(map(_is_usual, values))
    if is_usual and (text := _usual_extra(keys, *values)) is not None:
        return text
    repeated = media.repeated if isinstance(media, Object) else frozenset()
    parts: list[str] = []
    left_out: list[str] = []
    size = 1  # of the two braces, less the comma that the first part does not have
    for key, value in zip(keys, values, strict=True):
        if _says_nothing(value):
            continue
        part = None if key in repeated else _encoded(value)
        if part in _EMPTY:  # all that was in it is dropped
            continue
        name = json.dumps(key)
        if part is None or size + len(name) + len(part) + 2 > MAX_TEXT:
            left_out.append(key)
            continue
        size += len(name) + len(part) + 2
        parts.append(f"{name}:{part}")
    if left_out:
        faults.append(
            HashFault(
                "extra",
                "BAD_FIELD",
                f"{len(left_out)} fields that the hub only passes on were left out: more than {MAX_TEXT} characters "
                f"together, nested too deeply, no JSON, or given twice: {items.listing(left_out[:8])}",
            )
        )
    return "{" + ",".join(parts) + "}" if parts else ""


def _is_usual(value: object) -> bool:
    """Whether a value may be remembered. A list could fill a dict with larger numbers that all have one hash value."""
    if isinstance(value, int):
        return -_LARGEST_USUAL <= value <= _LARGEST_USUAL
    return value is None or (isinstance(value, str) and len(value) <= _USUAL)


@lru_cache(maxsize=4096, typed=True)  # millions of records share a few; typed, since True == 1
def _usual_extra(keys: tuple[str, ...], *values: object) -> str | None:
    """Return what `_extra` does where nothing is left out, or None."""
    stated = {key: value for key, value in zip(keys, values, strict=True) if not _says_nothing(value)}
    if not stated:
        return ""
    text = json.dumps(stated, separators=(",", ":"))
    return text if len(text) <= MAX_TEXT else None


def _says_nothing(value: object) -> bool:
    return value is None or (isinstance(value, str | list | dict) and not value)


def _encoded(value: object) -> str | None:
    """Return a value as compact JSON in ASCII without the fields that are dropped; None where that is too long or is
    none.
    """
    if isinstance(value, str) and len(value) > MAX_TEXT:
        return None
    try:
        text = json.dumps(_without_case_data(value), separators=(",", ":"), sort_keys=True, allow_nan=False)
    except (TypeError, ValueError):  # LARGE; NaN and infinities, which JSON does not have; too many levels
        return None
    return text if len(text) <= MAX_TEXT else None


def _without_case_data(value: object, level: int = 0) -> object:
    if level > _MAX_LEVELS:
        raise ValueError
    if isinstance(value, dict):
        return {k: _without_case_data(v, level + 1) for k, v in value.items() if not _is_dropped(k)}
    if isinstance(value, list):
        return [_without_case_data(v, level + 1) for v in value]
    return value


def _scheme(region: str) -> str:
    """Return what the categories of a context's region are of, or nothing where the context does not name a region.

    Each region has a table of its own. That of the United Kingdom are CAID's numbers, which are neither the levels of
    uk-sap nor the letters of uk-sentencing. Data models 1.1 to 1.3 name no region: Project VIC's lists of both its
    tables, CAID's and NIST's came in them.
    """
    name = region.casefold()
    if name in _NO_REGION:
        return ""
    return _CAID if name in _UNITED_KINGDOM else f"vic-{name}"


def _alternatives(listed: object, md5: object, pairs: list[tuple[str, str]], faults: list[HashFault]) -> None:
    """Add the hashes of AlternativeHashes. Each repeats the MD5 of its Media; another one there is the item's second
    MD5.
    """
    if not isinstance(listed, list):
        faults.append(items.bad_field("AlternativeHashes", "an array", listed))
        return
    for i, alternative in enumerate(listed[: MAX_HASHES_PER_ENTRY + 1]):  # one too many is enough to be refused
        label = f"AlternativeHashes[{i}]"
        if not isinstance(alternative, dict) or isinstance(alternative, Object):
            faults.append(items.bad_field(label, "an object with one HashName and one HashValue", alternative))
            continue
        own = alternative.get("MD5")
        if own and own != md5 and isinstance(own, str):
            pairs.append(("MD5", own))
        if digest := alternative.get("HashValue"):
            name = alternative.get("HashName")
            if isinstance(name, str) and name.strip() and isinstance(digest, str):
                pairs.append((items.text(name, label, faults)[:40], digest))
            else:
                faults.append(items.bad_field(label, "a HashName and a HashValue that are texts", name))
