"""VICS (Project VIC) hash sets and cases, data models 1.1 to 1.3 and 2.0, in OData JSON.

Kept are the fields of `_MEDIA`; all else is case data or names people, and is left out and counted. Segments of a video
are kept in `extra` with their categories: no hash of the whole stands for them.

The context may stand behind `value`, and a bare array of items has none: its region is unknown, as with `Default`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import BinaryIO, Final

from hashhub.connector import SAYS_NOTHING, Certainty, Guess, Known, LeftOut, Option, check_options, partial
from hashhub.model import MAX_HASHES_PER_ENTRY, MAX_TEXT, HashFault, Record, Reject
from hashhub_connectors import items
from hashhub_connectors.source import LARGE, ClassifiedFormat, JSONReader, Object, head_text

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
_OF_CASE: Final = dict.fromkeys(("Media", _NEXT_MEDIA, *_NEXT))
_CONTEXT: Final = re.compile(r'"(odata\.metadata|@odata\.context)"\s*:\s*"((?:[^"\\]|\\.)*)"')
_OF_VICS: Final = ("ICMEC/ProjectVic/", "VICSDATAMODEL/ProjectVic/")
_MEDIA_NAMES: Final = re.compile(
    r'"(?:MediaID|Category|IsPrecategorized|VictimIdentified|OffenderIdentified|IsDistributed|PhotoDNA)"\s*:'
)
_MEDIA_DIGEST: Final = re.compile(r'"(?:MD5|SHA1)"\s*:\s*(?:"|null)')
_ARRAY: Final = re.compile(r'\[\s*\{|\{\s*(?:"[^"@]{0,40}"\s*:\s*"[^"]{0,200}"\s*,\s*)*"value"\s*:\s*\[\s*\{')
_FLAGS: Final = ("VictimIdentified", "OffenderIdentified", "IsDistributed", "IsSuspected", "SelfGenerated")
_DIGESTS: Final = (("MD5", "MD5"), ("SHA1", "SHA1"), ("PhotoDNA", "PHOTODNA"))
EXTRA: Final = ("IsPrecategorized", "PrecategorizationSource", "Segments")
# All that is read of a Media. MediaID counts within one file, and says nothing about the item.
_MEDIA: Final[Known] = {
    **dict.fromkeys(("MediaID", "Category", "MediaSize", "MimeType", "DateUpdated", *_FLAGS, *EXTRA)),
    **dict.fromkeys(key for key, _ in _DIGESTS),
    "AlternativeHashes": {"MD5": None, "HashName": None, "HashValue": None},
    "Series": items.TAG_FIELDS,
    "Tags": items.TAG_FIELDS,
}
_STATED: Final = _MEDIA.keys() - {"MediaID", *EXTRA}  # given twice, nobody can tell what an item says

_Items = Generator[Record | Reject, None, LeftOut]


class VICS(ClassifiedFormat):
    """Reads VICS JSON. Positions: `value[12]`, in a case `value[0].Media[3]`, in an array `[12]`; `region`: 2.0's."""

    name = "vics"
    version = "6"
    summary = "VICS / Project VIC JSON, data models 1.1 to 1.3 and 2.0, hash sets and cases"
    options: tuple[Option, ...] = ()

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
        if _ARRAY.match(text.lstrip()) and _MEDIA_NAMES.search(text) and _MEDIA_DIGEST.search(text):
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
        return read_items(JSONReader(source, "top level"), _rereader(source))


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


def read_items(
    reader: JSONReader, again: Callable[[], JSONReader] | None = None, late_region: str | None = None
) -> _Items:
    """Yield the items. `late_region`: that of a context behind `value`, once it was looked for."""
    region = late_region
    seen = has_more = False
    left_out = LeftOut()
    if (first := reader.peek()) == "[":
        yield from _read_items(reader, "", "", left_out)
        reader.where = "top level"
        reader.end()
        return left_out
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
                return (yield from read_items(again(), None, behind))
            seen = True
            if reader.peek() != "[":
                reader.fail("value is not an array; expected an array of Media or Cases")
            yield from _read_items(reader, "value", region, left_out)
            reader.where = "top level"
        elif key in _NEXT:
            has_more |= reader.read() not in SAYS_NOTHING
        else:
            left_out.beyond({key: reader.read()}, {})
    reader.end()
    if not seen:
        reader.fail(f"the file has no value; expected an array of Media or Cases; {_EXPECTED}")
    if has_more:
        yield partial("nextLink", "the file is one page of a set, and says that another follows")
    return left_out


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


def _some_media(position: str) -> Reject:
    return partial(f"{position}.Media.nextLink", "the case has only some of its Media, and says that others follow")


def _region(reader: JSONReader, key: str) -> str:
    context = reader.value()
    version = _CONTEXTS[key].fullmatch(context) if isinstance(context, str) else None
    if version is None:
        shown = repr(context[:120]) if isinstance(context, str) else items.kind(context)
        reader.fail(f"unknown context {shown} in {key}; {_EXPECTED}")
    return version.group(1) if version.re.groups else ""


def _read_items(reader: JSONReader, name: str, region: str, left_out: LeftOut) -> Iterator[Record | Reject]:
    """Yield the items of the array at the cursor, which is called `name`."""
    scheme = scheme_of(region)
    for index in reader.elements():
        position = f"{name}[{index}]"
        reader.where = position
        element = reader.value()
        if element is LARGE:
            yield from _read_large(reader, position, region, left_out)
            continue
        if isinstance(element, dict) and element.get(_NEXT_MEDIA):
            yield _some_media(position)
        if isinstance(element, dict) and "Media" in element:
            left_out.beyond(element, _OF_CASE)
            media = element["Media"]
            if isinstance(element, Object) and "Media" in element.repeated:
                reader.fail(_MEDIA_TWICE)
            if not isinstance(media, list):
                yield from _no_media(position, media)
                continue
            for i, medium in enumerate(media):
                yield _record(f"{position}.Media[{i}]", medium, region, scheme, left_out)
        else:
            yield _record(position, element, region, scheme, left_out)


def _no_media(position: str, media: object) -> Iterator[Reject]:
    """Yield the Reject of a case whose Media is no array; without any Media it has no items."""
    if media is not None:
        yield Reject(position, "BAD_FIELD", f"Media is {items.kind(media)}; expected an array")


def _read_large(reader: JSONReader, position: str, region: str, left_out: LeftOut) -> Iterator[Record | Reject]:
    """Read an element of `value` that is longer than the window: a case, or one Media with a great many files."""
    scheme = scheme_of(region)
    if reader.peek() != "{":
        reader.skip()
        yield _record(position, [], region, scheme, left_out)
        return
    fields = Object()
    is_case = False
    for key in reader.members():
        if key == _NEXT_MEDIA:
            if reader.read():
                yield _some_media(position)
            continue
        if key != "Media":
            _keep(reader, key, fields, left_out)
            continue
        if is_case:
            reader.fail(_MEDIA_TWICE)
        is_case = True
        if reader.peek() == "[":
            for index in reader.elements():
                reader.where = f"{position}.Media[{index}]"
                yield _record(reader.where, _read_medium(reader, left_out), region, scheme, left_out)
            reader.where = position
        else:
            yield from _no_media(position, reader.read())
    if is_case:
        left_out.beyond(fields, _OF_CASE)
    else:
        yield _record(position, fields, region, scheme, left_out)


def _read_medium(reader: JSONReader, left_out: LeftOut) -> object:
    medium = reader.value()
    if medium is not LARGE:
        return medium
    if reader.peek() != "{":
        reader.skip()
        return []
    fields = Object()
    for key in reader.members():
        _keep(reader, key, fields, left_out)
    return fields


def _keep(reader: JSONReader, key: str, fields: Object, left_out: LeftOut) -> None:
    """Go past the value of a member, and keep it where it is read."""
    value = reader.read()
    if key not in _MEDIA:
        left_out.beyond({key: value}, {})
        return
    fields[key] = value


def scheme_of(region: str) -> str:
    """Return what the categories of a context's region are of, or nothing where the context does not name a region.

    Each region has a table of its own. That of the United Kingdom are CAID's numbers, which are neither the levels of
    uk-sap nor the letters of uk-sentencing. Data models 1.1 to 1.3 name no region: Project VIC's lists of both its
    tables, CAID's and NIST's came in them.
    """
    name = region.casefold()
    if name in _NO_REGION:
        return ""
    return _CAID if name in _UNITED_KINGDOM else f"vic-{name}"


def _record(position: str, media: object, region: str, scheme: str, left_out: LeftOut) -> Record | Reject:
    """Return what a Media says. `region`, `scheme`: the list's."""
    if not isinstance(media, dict):
        return Reject(position, "NOT_AN_OBJECT", f"expected an object with hashes, found {items.kind(media)}")
    left_out.beyond(media, _MEDIA)
    if refused := items.given_twice(position, media, _STATED):
        return refused
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
    faults: list[HashFault] = []
    pairs: list[tuple[str, str]] = []
    for key, algorithm in _DIGESTS:
        digest = get(key)
        if isinstance(digest, str):
            if digest:
                pairs.append((algorithm, digest))
        elif digest is not None:
            faults.append(items.bad_field(key, "a text", digest))
    if alternatives := get("AlternativeHashes"):
        _alternatives(alternatives, get("MD5"), pairs, faults)
    said = {key: media[key] for key in EXTRA if key in media}
    extra = items.extra_of(said, left_out, faults) if said else ""
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


def _alternatives(listed: object, md5: object, pairs: list[tuple[str, str]], faults: list[HashFault]) -> None:
    """Add AlternativeHashes. Each repeats the MD5 of its Media; another one is the item's second MD5."""
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
