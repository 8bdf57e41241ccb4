"""One Media of VICS as a Record or a Reject; what is kept of it and what is dropped is said in `vics`."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from operator import itemgetter
from typing import Final, NamedTuple

import msgspec

from hashhub.connector import SAYS_NOTHING, Known, LeftOut, read_hashes
from hashhub.model import MAX_HASHES_PER_ENTRY, MAX_TEXT, HashFault, Record, Reject
from hashhub_connectors import items
from hashhub_connectors.json_stream import Object

_FLAGS: Final = ("VictimIdentified", "OffenderIdentified", "IsDistributed", "IsSuspected", "SelfGenerated")
DIGESTS: Final = (("MD5", "MD5"), ("SHA1", "SHA1"), ("PhotoDNA", "PHOTODNA"))
_OTHER_FIELDS: Final = frozenset({*_FLAGS, "Series", "Tags", "MediaSize", "MimeType", "DateUpdated"})
EXTRA: Final = ("IsPrecategorized", "PrecategorizationSource", "Segments")
SHARED_FIELDS: Final = frozenset(
    {"Category", *_FLAGS, "Series", "Tags", "MimeType", "IsPrecategorized", "PrecategorizationSource"}
)
# All that is read of a Media. MediaID counts within one file, and says nothing about the item.
MEDIA: Final[Known] = {
    **dict.fromkeys(("MediaID", "Category", *(key for key, _ in DIGESTS), *_OTHER_FIELDS, *EXTRA)),
    "AlternativeHashes": {"MD5": None, "HashName": None, "HashValue": None},
    "Series": items.TAG_FIELDS,
    "Tags": items.TAG_FIELDS,
}
_STATED: Final = MEDIA.keys() - {"MediaID", *EXTRA}  # given twice, nobody can tell what an item says
_ARRAYS: Final = frozenset({"AlternativeHashes", "Segments"})
_SHAPES_KEPT: Final = 256
KNOWN_KEPT: Final = 4_096
_SHAPE_CHARACTERS: Final = 2_048  # in the keys of a shape that is remembered: bounds what they cost
USUAL: Final = 64  # characters of a text that may be remembered
_LARGEST_USUAL: Final = (1 << 32) - 1  # of the numbers that may be


class _Shape(NamedTuple):
    """What there is to do for items with the same keys in the same order.

    `left_out`: those that are not kept. `shared`: returns an item's values of the keys for which many items have the
    same; None where there is nothing to gain by it.
    """

    number: int
    digests: tuple[tuple[str, str], ...]
    has_other_fields: bool
    left_out: tuple[str, ...]
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
    shared = [key for key in keys if key in SHARED_FIELDS]
    is_remembered = sum(map(len, keys)) <= _SHAPE_CHARACTERS
    shape = _Shape(
        next(_shape_numbers),
        tuple((key, algorithm) for key, algorithm in DIGESTS if key in present),
        bool(present & _OTHER_FIELDS),
        tuple(key for key in keys if key not in MEDIA),
        itemgetter(*shared) if is_remembered and len(shared) > 1 and not present & _ARRAYS else None,
    )
    if is_remembered:
        if len(_shapes) >= _SHAPES_KEPT:
            _shapes.clear()
        _shapes[keys] = shape
    return shape


def record_of(position: str, media: object, region: str, scheme: str, left_out: LeftOut) -> Record | Reject:
    """Return what a Media says, by what was read of others with the same values. `region`, `scheme`: the list's."""
    if type(media) is not dict or (shape := _shapes.get(tuple(media))) is None or shape.shared is None:
        return read_alone(position, media, region, scheme, left_out)
    values = shape.shared(media)
    key = (shape.number, region, values)
    try:
        known = _known.get(key)
    except TypeError:  # an array or an object cannot be looked up
        return read_alone(position, media, region, scheme, left_out)
    if known is None:
        record = read_alone(position, media, region, scheme, left_out)
        if isinstance(record, Record) and not record.faults and all(map(is_usual, values)):
            if len(_known) >= KNOWN_KEPT:
                _known.clear()
            _known[key] = _Shared(
                tuple(map(type, values)),
                msgspec.structs.replace(record, position="", hashes=(), media_size=None, source_time=""),
            )
        return record
    own = _own(media, shape) if tuple(map(type, values)) == known.types else None
    if own is None:
        return read_alone(position, media, region, scheme, left_out)
    for name in shape.left_out:
        left_out.see(name, media[name] not in SAYS_NOTHING)
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
    if type(time) is not str or not is_plain(time):
        time = items.text(time, "DateUpdated", faults)
    return None if faults else {"hashes": hashes, "media_size": size, "source_time": time}


def read_alone(position: str, media: object, region: str, scheme: str, left_out: LeftOut) -> Record | Reject:
    """Return what a Media says, by itself."""
    if not isinstance(media, dict):
        return Reject(position, "NOT_AN_OBJECT", f"expected an object with hashes, found {items.kind(media)}")
    left_out.beyond(media, MEDIA)
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
    keys = tuple(media)
    _, digests, has_other_fields, *_ = _shapes.get(keys) or _shape(keys)
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
    said = {key: media[key] for key in EXTRA if key in media}
    extra = items.extra_of(said, left_out, faults) if said else ""
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


def is_usual(value: object) -> bool:
    """Whether a value may be remembered. A list could fill a dict with larger numbers that all have one hash value."""
    if isinstance(value, int):
        return -_LARGEST_USUAL <= value <= _LARGEST_USUAL
    return value is None or (isinstance(value, str) and len(value) <= USUAL)


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


def is_plain(text: str) -> bool:
    """Whether a text that may be remembered is kept as it is."""
    return len(text) <= USUAL and text.isprintable() and text[:1] != " " and text[-1:] != " "
