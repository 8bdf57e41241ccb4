"""VICS hash sets, data models 2.0 and 1.3, in OData JSON, as `vics` reads them.

MD5 is the key of a Media, so that an entry without one is left out. Category is given only where the file's region has
a table that the entry's classification fits: by its own scheme, or by translation; otherwise it is missing, which says
that nobody has decided. What a VICS file said of an item beyond the hub's fields goes out again.

Not written, because no entry states it: TotalMediaFiles. MediaID counts the items of the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO, Final

import msgspec

from hashhub import hashes
from hashhub.connector import Exported, Loss, Option, check_options
from hashhub.errors import InvalidArgument
from hashhub.hashes import Hash
from hashhub.model import NO_FLAGS, Entry
from hashhub_connectors import outgoing
from hashhub_connectors.outgoing import Output, Speller, UnsupportedFields, is_plain
from hashhub_connectors.vics import EXTRA, scheme_of

_WHAT: Final = "VICS"
_CONTEXT_20: Final = (
    '"@odata.context":"http://github.com/VICSDATAMODEL/ProjectVic/DataModels/2.0.xml/{}/$metadata#Media"'
)
_CONTEXT_13: Final = '"odata.metadata":"http://github.com/ICMEC/ProjectVic/DataModels/1.3.xml#Media"'
_VERSIONS: Final = ("2.0", "1.3")
_REGION: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}")
_UNNAMED: Final = "Default"  # a region that names no table
# What entries of a scheme go out under, where that is not its id without `vic-`, in capitals.
_REGION_OF: Final = {"uk-caid": "UK"}
_FLAGS: Final = (
    ("victim_identified", "VictimIdentified"),
    ("offender_identified", "OffenderIdentified"),
    ("distributed", "IsDistributed"),
    ("suspected", "IsSuspected"),
    ("self_generated", "SelfGenerated"),
)
_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,7})?(?:Z|[+-]\d\d:\d\d)")  # Edm.DateTimeOffset
_MAX_CATEGORY: Final = 255  # Edm.Byte
_ALTERNATIVE: Final = {"PHOTODNA": "PhotoDNA"}  # names of algorithms in AlternativeHashes, where they are not ours
_encode: Final = msgspec.json.Encoder().encode


class VICSWriter:
    """Writes VICS hash sets."""

    name = "vics"
    version = "2"
    summary = "VICS / Project VIC JSON hash sets, data model 2.0, or 1.3 with version=1.3"
    options: tuple[Option, ...] = (
        Option("version", "the data model: 2.0, which is the default, or 1.3"),
        Option(
            "region",
            "whose categories the file has, such as US; unless given, that of the hash sets' scheme, and where they "
            "have no one scheme of VICS, Default, which has none",
        ),
    )
    reads_back = "vics"
    has_withdrawals = False
    suffix = ".json"

    def write(
        self, entries: Iterable[Entry], target: BinaryIO, exported: Exported, options: Mapping[str, str]
    ) -> Iterator[Loss]:
        """Write a hash set. Raises InvalidArgument for another version or region, and for mixed purposes."""
        check_options(self, options)
        version, region = _version(options), _region(options, exported)
        outgoing.refuse_mixed_purposes(exported, _WHAT)
        scheme = scheme_of(region)
        values = Speller(_WHAT, scheme, exported, _is_category)
        is_20 = version == "2.0"
        output = Output(target)
        yield from outgoing.about_the_file(exported, _WHAT, scheme="" if is_20 else scheme)
        output.put("{" + (_CONTEXT_20.format(region) if is_20 else _CONTEXT_13) + ',"value":[')
        number = 0
        for entry in entries:
            if (refused := outgoing.withheld(entry, exported, has_withdrawals=False)) is not None:
                yield refused
                continue
            md5 = next((h for h in entry.hashes if h.algorithm == "MD5"), None)
            if md5 is None:
                detail = "VICS knows items by their MD5, and the entry has no such digest"
                yield Loss(entry.name, "entry", "NO_HASH", detail)
                continue
            number += 1
            media: dict[str, Any] = {"MediaID": number}
            said = values.of(entry)
            if said.value:
                media["Category"] = int(said.value)
            if said.reason:
                yield Loss(entry.name, "value", said.reason, said.detail)
            _put_hashes(media, md5, entry.hashes, is_20=is_20)
            if entry.flags is not NO_FLAGS:
                for field, name in _FLAGS:
                    if (flag := getattr(entry.flags, field)) is not None:
                        media[name] = flag
            yield from _put_fields(media, entry)
            yield from _NO_PLACE.losses(entry)
            output.put((",\n" if number > 1 else "\n") + _encode(media).decode())
        output.put("\n]}\n")
        output.flush()


_NO_PLACE: Final = UnsupportedFields(_WHAT, "external_id", "quality", "expire_time", "member")


def _put_hashes(media: dict[str, Any], md5: Hash, own: tuple[Hash, ...], *, is_20: bool) -> None:
    media["MD5"] = key = md5.digest.hex().upper()
    alternatives = []
    for value in own:
        name = value.algorithm
        if value is md5:
            continue
        if name == "SHA1" and "SHA1" not in media:
            media["SHA1"] = value.digest.hex().upper()
        elif name == "PHOTODNA" and is_20 and "PhotoDNA" not in media:
            media["PhotoDNA"] = hashes.encode(value)
        else:
            text = value.digest.hex().upper() if name in {"MD5", "SHA1", "SHA256"} else hashes.encode(value)
            alternatives.append({"MD5": key, "HashName": _ALTERNATIVE.get(name, name), "HashValue": text})
    if alternatives:
        media["AlternativeHashes"] = alternatives


def _put_fields(media: dict[str, Any], entry: Entry) -> Iterator[Loss]:
    """Set the other fields of a Media, and yield what cannot be."""
    if entry.series:
        if is_plain(entry.series):
            media["Series"] = entry.series
        else:
            yield outgoing.unwritable(entry, "series")
    if entry.tags:
        tags = [t for t in entry.tags if t and "," not in t and is_plain(t)]
        if tags:
            media["Tags"] = ",".join(tags)
        if len(tags) < len(entry.tags):
            yield outgoing.unwritable(entry, "tags")
    if entry.media_size is not None:
        media["MediaSize"] = entry.media_size
    if entry.media_type:
        if is_plain(entry.media_type) and entry.media_type == entry.media_type.lower():
            media["MimeType"] = entry.media_type
        else:
            yield outgoing.unwritable(entry, "media_type")
    if entry.source_time:
        if _MOMENT.fullmatch(entry.source_time):
            media["DateUpdated"] = entry.source_time
        else:
            yield Loss(
                entry.name,
                "source_time",
                "NO_MOMENT",
                "DateUpdated is a time with its offset from UTC, and this is none",
            )
    if entry.extra:
        try:
            said = msgspec.json.decode(entry.extra, type=dict[str, Any])
        except (msgspec.DecodeError, RecursionError):
            said = {"": None}
        media |= {key: said[key] for key in EXTRA if key in said}
        if not said.keys() <= {*EXTRA} and entry.provenance.connector == "vics":
            yield outgoing.unwritable(entry, "extra")
        elif not said.keys() <= {*EXTRA}:
            yield Loss(entry.name, "extra", "OTHER_FORMAT", "what another format said goes out in that format only")


def _is_category(value: str) -> bool:
    return value.isascii() and value.isdigit() and str(int(value)) == value and int(value) <= _MAX_CATEGORY


def _version(options: Mapping[str, str]) -> str:
    version = options.get("version") or _VERSIONS[0]
    if version not in _VERSIONS:
        raise InvalidArgument.field(
            "options.version", f"is {version[:40]!r}; expected one of {', '.join(_VERSIONS)}", "WORD"
        )
    return version


def _region(options: Mapping[str, str], exported: Exported) -> str:
    region = options.get("region", "")
    if region and not _REGION.fullmatch(region):
        raise InvalidArgument.field(
            "options.region", f"is {region[:40]!r}; expected the region of a VICS context, such as US", "PATTERN"
        )
    if region:
        return region
    scheme = outgoing.only_scheme(exported).partition("@")[0]
    for candidate in (_REGION_OF.get(scheme, ""), scheme.removeprefix("vic-").upper()):
        if candidate and _REGION.fullmatch(candidate) and scheme_of(candidate) == scheme and "-" not in candidate:
            return candidate
    return _UNNAMED
