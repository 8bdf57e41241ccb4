"""VICS (Project VIC) hash sets and cases, data models 1.1 to 1.3 and 2.0, in OData JSON.

Kept: hashes (MD5, SHA1, PhotoDNA in both of its places, AlternativeHashes), Category, the five flags, Series, Tags,
MediaSize, MimeType, DateUpdated. Dropped on purpose, because they are case data or name people: MediaFiles, Exifs,
MediaMetadata, Comments, RelativeFilePath, Repositories, Identifiers, everything of a Case but its Media; and Segments,
whose categories are those of parts of a video, which no hash of the whole stands for. MediaID is unique within one file
only, so it is nobody's external id; TotalMediaFiles and IsPrecategorized are known to be wrong in real files and are
not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import BinaryIO, Final

from hashhub.connector import Option, check_options, partial
from hashhub.model import MAX_HASHES_PER_ENTRY, MAX_TEXT, HashFault, Record, Reject
from hashhub_connectors import items
from hashhub_connectors.json_stream import LARGE, JSONReader, Object

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
_FLAGS: Final = ("VictimIdentified", "OffenderIdentified", "IsDistributed", "IsSuspected", "SelfGenerated")
_DIGESTS: Final = (("MD5", "MD5"), ("SHA1", "SHA1"), ("PhotoDNA", "PHOTODNA"))
_FIELDS: Final = frozenset(
    {
        "MD5", "SHA1", "PhotoDNA", "AlternativeHashes", "Category", *_FLAGS, "Series", "Tags", "MediaSize", "MimeType",
        "DateUpdated",
    }
)  # fmt: skip


class VICS:
    """Reads VICS JSON. Positions are `value[12]` in a hash set and `value[0].Media[3]` in a case; `region` is the 2.0
    context's.
    """

    name = "vics"
    version = "4"
    summary = "VICS / Project VIC JSON, data models 1.1 to 1.3 and 2.0, hash sets and cases"
    options: tuple[Option, ...] = ()

    def has_classifications(self, options: Mapping[str, str]) -> bool:  # noqa: ARG002 - the same with all options
        """Return True: the Category."""
        return True

    def read(self, source: BinaryIO, options: Mapping[str, str]) -> Iterator[Record | Reject]:
        """Yield one Record or Reject for each Media; one MD5 in several Media is several items. A nextLink makes the
        source partial.

        Raises MalformedSource for text that is not JSON or is cut off, and for an unknown, missing or late context.
        """
        check_options(self, options)
        return _read(JSONReader(source, "top level"))


def _read(reader: JSONReader) -> Iterator[Record | Reject]:
    region: str | None = None
    seen = has_more = False
    if (first := reader.peek()) != "{":
        what = "is empty" if not first else "is not VICS JSON"
        reader.fail(f"the file {what}: expected an object with a context and a value; {_EXPECTED}")
    for key in reader.members():
        if key in _CONTEXTS:
            if region is not None:
                reader.fail("the context is given twice; expected it once")
            region = _region(reader, key)
        elif key == "value":
            if region is None:
                reader.fail(f"the context is missing before value; {_EXPECTED}")
            if seen:
                reader.fail("value is given twice; expected it once")
            seen = True
            yield from _read_value(reader, region)
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


def _read_value(reader: JSONReader, region: str) -> Iterator[Record | Reject]:
    if reader.peek() != "[":
        reader.fail("value is not an array; expected an array of Media or Cases")
    for index in reader.elements():
        position = f"value[{index}]"
        reader.where = position
        element = reader.value()
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
                yield _record(f"{position}.Media[{i}]", medium, region)
        else:
            yield _record(position, element, region)


def _no_media(position: str, media: object) -> Iterator[Reject]:
    """Yield the Reject of a case whose Media is no array; without any Media it has no items."""
    if media is not None:
        yield Reject(position, "BAD_FIELD", f"Media is {items.kind(media)}; expected an array")


def _read_large(reader: JSONReader, position: str, region: str) -> Iterator[Record | Reject]:
    """Read an element of `value` that is longer than the window: a case, or one Media with a great many files."""
    if reader.peek() != "{":
        reader.skip()
        yield _record(position, [], region)
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
                yield _record(reader.where, _read_medium(reader), region)
            reader.where = position
        else:
            media = reader.value()
            if media is LARGE:
                reader.skip()
            yield from _no_media(position, media)
    if not is_case:
        yield _record(position, fields, region)


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
    if key not in _FIELDS:
        reader.skip()
        return
    if key in fields:
        fields.repeated.add(key)
    fields[key] = reader.value()
    if fields[key] is LARGE:
        reader.skip()


def _record(position: str, media: object, region: str) -> Record | Reject:
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
    series = get("Series")
    return items.finish(
        position,
        pairs,
        faults,
        value=value,
        region=region,
        scheme=_scheme(region),
        flags=items.flags(tuple(map(get, _FLAGS)), _FLAGS, faults),
        media_type=items.text(get("MimeType"), "MimeType", faults).lower(),
        media_size=items.size(get("MediaSize"), "MediaSize", faults),
        series=", ".join(items.tags(series, "Series", faults))
        if isinstance(series, list | dict)
        else items.text(series, "Series", faults),
        tags=items.tags(get("Tags"), "Tags", faults),
        source_time=items.text(get("DateUpdated"), "DateUpdated", faults),
    )


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
