"""What a source gives for one item, made into one Record or one Reject: the rules that all our connectors share.

Reject reasons: NO_HASH (nothing that could be a hash), that of the first faulty hash when all are faulty,
TOO_MANY_HASHES. A fault that is not about a hash, but about a field that was left out or shortened, is BAD_FIELD:
noted, not lost.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from typing import Any, Final

from hashhub.connector import SAYS_NOTHING, Known, LeftOut, read_flag, read_hashes
from hashhub.hashes import Hash
from hashhub.model import (
    MAX_HASHES_PER_ENTRY,
    MAX_TEXT,
    Action,
    Flags,
    HashFault,
    Record,
    RecordReview,
    Reject,
    ReviewKind,
    VideoFrame,
)
from hashhub_connectors.source import Object

MAX_TAGS: Final = 64  # far above what any format carries; bounds what one record can cost
TAG_FIELDS: Final[Known] = dict.fromkeys(("Tag", "Name", "Text", "Value", "tag", "name", "text", "value"))
_MAX_REVIEWS: Final = 10_000  # of one item that are looked at
MAX_SIZE: Final = 2**63 - 1  # bytes; the widest integer that both databases keep
BROKEN: Final = re.compile(
    r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]+"
)  # controls and lone surrogates: no database keeps them all
_SHORT: Final = 256  # characters: bounds what is remembered
_WHOLE: Final = re.compile(r"[0-9]{1,19}")
_encode: Final = json.JSONEncoder(separators=(",", ":"), sort_keys=True).encode


def finish(position: str, pairs: list[tuple[str, str]], faults: list[HashFault], **fields: Any) -> Record | Reject:
    """Return the Record of the (label, text) pairs and `fields`, or the Reject when they give no hash or too many.

    `faults` are what the connector found already; those of the pairs come after them. An item with `frames` among its
    fields and no pairs is a video, and needs no hash besides.
    """
    if reviews := fields.get("reviews"):
        if len(reviews) > _MAX_REVIEWS:
            return Reject(position, "BAD_FIELD", f"more than {_MAX_REVIEWS} opinions about one item")
        fields["reviews"] = as_many_reviews(reviews, faults)
    if faults:  # what is wrong many times over in one field is told once, and is no reason to refuse the hashes
        faults = list({(f.algorithm, f.reason): f for f in reversed(faults)}.values())[::-1]
    if len(pairs) + len(faults) > MAX_HASHES_PER_ENTRY:
        return Reject(position, "TOO_MANY_HASHES", f"the item has more than {MAX_HASHES_PER_ENTRY} hashes")
    hashes: tuple[Hash, ...]
    hashes, bad = read_hashes(pairs)
    if not hashes and (pairs or not fields.get("frames")):
        # What is noted of other fields says nothing of why there is no hash.
        about_hashes = [f for f in (*faults, *bad) if f.reason != "BAD_FIELD"]
        reason = about_hashes[0].reason if about_hashes else "NO_HASH"
        detail = (
            "; ".join(list(dict.fromkeys(f.detail for f in about_hashes))[:4])
            or "every digest is missing, null or empty; expected at least one"
        )
        return Reject(position, reason, f"the item has no usable hash: {detail}")
    return Record(position=position, hashes=hashes, faults=(*faults, *bad), **fields)


def withdrawal(
    position: str,
    pairs: list[tuple[str, str]],
    faults: list[HashFault],
    external_id: str = "",
    frames: tuple[VideoFrame, ...] = (),
) -> Record | Reject:
    """Return the Record that withdraws an item, or the Reject where nothing says which."""
    good, bad = read_hashes(pairs)
    is_too_much = len(good) + len(bad) + len(faults) > MAX_HASHES_PER_ENTRY
    if is_too_much or not (good or frames or external_id):
        return finish(position, pairs, faults)
    return Record(
        position=position,
        action=Action.WITHDRAW,
        hashes=good,
        faults=(*faults, *bad),
        external_id=external_id,
        frames=frames,
    )


def as_many_reviews(reviews: tuple[RecordReview, ...], faults: list[HashFault]) -> tuple[RecordReview, ...]:
    """Return as many reviews as a record may have, doubt first: left out, the item would come nearer to a match."""
    if len(reviews) <= MAX_HASHES_PER_ENTRY:
        return reviews
    detail = f"of {len(reviews)} reviews {MAX_HASHES_PER_ENTRY} were kept, those that confirm it last"
    faults.append(HashFault("reviews", "BAD_FIELD", detail))
    return tuple(sorted(reviews, key=lambda r: r.kind is ReviewKind.CONFIRMED)[:MAX_HASHES_PER_ENTRY])


def text(value: object, label: str, faults: list[HashFault]) -> str:
    """Return a source's free text without control characters and lone surrogates, at most MAX_TEXT characters long.

    None gives the empty text. A text that was cut ends in an ellipsis. That, and a value that is no text or number,
    adds BAD_FIELD.
    """
    if value is None or value == "":
        return ""
    if not isinstance(value, str):
        if isinstance(value, bool | int | float):
            value = str(value)
        else:
            faults.append(bad_field(label, "a text", value))
            return ""
    value = value.strip()
    if not value.isprintable() and BROKEN.search(value):
        value = BROKEN.sub(" ", value).strip()
        faults.append(HashFault(label, "BAD_FIELD", f"{label} had control characters; spaces stand in their places"))
    if len(value) <= MAX_TEXT:
        return value
    end = MAX_TEXT - 1
    while end and (unicodedata.combining(value[end]) or value[end] == "\u200d"):  # do not part a letter from its accent
        end -= 1
    faults.append(HashFault(label, "BAD_FIELD", f"{label} had {len(value)} characters; {MAX_TEXT} were kept"))
    return value[:end] + "…"


def tags(value: object, label: str, faults: list[HashFault]) -> tuple[str, ...]:
    """Return the distinct tags of a comma-separated text, a list, or an object's `TAG_FIELDS`, in their order."""
    if not value:
        return ()
    if isinstance(value, str) and len(value) <= _SHORT and (usual := _usual_tags(value)) is not None:
        return usual
    return _tags(value, label, faults)


@lru_cache(maxsize=4096)  # millions of records share a few
def _usual_tags(value: str) -> tuple[str, ...] | None:
    """Return the tags of a text of which nothing is wrong."""
    faults: list[HashFault] = []
    read = _tags(value, "", faults)
    return None if faults else read


def _tags(value: object, label: str, faults: list[HashFault]) -> tuple[str, ...]:
    parts: Iterable[object] = (
        value.split(",") if isinstance(value, str) else value
        if isinstance(value, list)
        else [value[key] for key in TAG_FIELDS if key in value] if isinstance(value, dict)
        else (value,)
    )  # fmt: skip
    distinct: dict[str, None] = {}
    for part in parts:
        if tag := text(part, label, faults):
            distinct[tag] = None
            if len(distinct) > MAX_TAGS:
                distinct.popitem()
                faults.append(
                    HashFault(label, "BAD_FIELD", f"{label} had more than {MAX_TAGS} tags; the first were kept")
                )
                break
    return tuple(distinct)


def size(value: object, label: str, faults: list[HashFault]) -> int | None:
    """Return a number of bytes from an integer or its text; None when absent or, with BAD_FIELD, no such number."""
    if value is None or value == "":
        return None
    if isinstance(value, str) and _WHOLE.fullmatch(value.strip()):
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_SIZE:
        return value
    faults.append(bad_field(label, "a whole number of bytes", value))
    return None


def flags(stated: tuple[object, ...], labels: tuple[str, ...], faults: list[HashFault]) -> Flags:
    """Return the tri-state flags of what a source wrote for each, in the order of Flags' fields; those at the end may
    be left out.

    What says neither yes nor no adds BAD_FIELD under the source's name for it.
    """
    try:
        flags, unread = _flags(*stated)
    except TypeError:  # an array or an object cannot be looked up
        flags, unread = _flags.__wrapped__(*stated)
    faults += [bad_field(labels[i], "yes or no", stated[i]) for i in unread]
    return flags


@lru_cache(maxsize=4096, typed=True)  # millions of records share a few; typed, since True == 1 == 1.0
def _flags(*stated: object) -> tuple[Flags, tuple[int, ...]]:
    """Return the flags, and which of `stated` could not be read as one."""
    read = [read_flag(word) for word in stated]
    unread = (i for i, word in enumerate(stated) if read[i] is None and word is not None and str(word).strip())
    return Flags(**dict(zip(Flags.__struct_fields__, read, strict=False))), tuple(unread)


# What a source may say of an item beyond the hub's fields: its own names, so that an export in the same format has it
# again.
EXTRA: Final[Known] = {
    "IsPrecategorized": None,  # VICS
    "PrecategorizationSource": None,
    "Segments": {"MD5": None, "SegmentIndex": None, "Start": None, "End": None, "Category": None},
    "sightings": None,  # STIX and MISP
    "expirations": None,
    "confidence": None,
    "statements": None,
    "opinions": {"owner": None, "status": None, "reaction": None},  # ThreatExchange
    "first_descriptor_id": None,
    "CSPFeedbacks": {"source": None, "feedbackValue": None, "tags": None},  # StopNCII
    "hashRegions": None,
    "frame": None,  # vPDQ
    "timestamp": None,
}


def extra_of(said: Mapping[str, object], left_out: LeftOut, faults: list[HashFault]) -> str:
    """Return what `EXTRA` has of these fields as a compact JSON object in ASCII, its keys sorted; nothing where they
    say nothing.

    Other fields are counted. What does not fit into MAX_TEXT characters is left out whole, with BAD_FIELD.
    """
    if len(said) == 1:
        ((key, value),) = said.items()
        if EXTRA.get(key, EXTRA) is None and isinstance(value, str) and len(value) <= _SHORT:
            return _extra_word(key, value)
    left_out.beyond(said, EXTRA)
    parts: list[str] = []
    too_long: list[str] = []
    size = 1  # of the two braces, less the comma that the first part does not have
    for key in sorted(said.keys() & EXTRA.keys()):
        value = _known(said[key], EXTRA[key], key, left_out)
        if value in SAYS_NOTHING:
            continue
        part = f'"{key}":{_encode(value)}'
        if size + len(part) + 1 > MAX_TEXT:
            too_long.append(key)
            continue
        size += len(part) + 1
        parts.append(part)
    if too_long:
        detail = f"left out, since at most {MAX_TEXT} characters are kept together: {listing(too_long)}"
        faults.append(HashFault("extra", "BAD_FIELD", detail))
    return "{" + ",".join(parts) + "}" if parts else ""


@lru_cache(maxsize=4096)  # millions of records share a few
def _extra_word(key: str, word: str) -> str:
    known = text(word, key, [])
    return f'{{"{key}":{_encode(known)}}}' if known else ""


def read_extra(text: object, left_out: LeftOut, faults: list[HashFault]) -> str:
    """Return what `extra_of` does of a JSON object that hashhub wrote."""
    try:
        said = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        said = None
    if isinstance(said, dict):
        return extra_of(said, left_out, faults)
    left_out.see("extra", text not in SAYS_NOTHING)
    return ""


def _known(value: object, below: Known | None, path: str, left_out: LeftOut) -> object:
    """Return what is known of a value: objects' known fields, otherwise texts, numbers, booleans and lists of them."""
    if isinstance(value, list):
        left_out.see(path, sum(isinstance(one, list) for one in value))
        read = [_known(one, below, path, left_out) for one in value if not isinstance(one, list)]
        return [one for one in read if one not in SAYS_NOTHING]
    if isinstance(value, dict) and below is not None:
        read_fields = {key: _known(value[key], below[key], f"{path}.{key}", left_out) for key in below if key in value}
        return {key: one for key, one in read_fields.items() if one not in SAYS_NOTHING}
    if below is None and isinstance(value, str):
        return text(value, path, [])
    if below is None and (isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))):
        return value
    if isinstance(value, dict):
        left_out.beyond(value, {}, f"{path}.")
    else:
        left_out.see(path, value not in SAYS_NOTHING)
    return None


def bad_field(label: str, expected: str, value: object) -> HashFault:
    """Return the fault for a field that was left out. It names the kind of what was found, never its content."""
    return HashFault(label, "BAD_FIELD", f"{label} was left out: expected {expected}, found {kind(value)}")


def kind(value: object) -> str:
    """Return what a parsed value is, in words for messages."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return f"a text of {len(value)} character{'' if len(value) == 1 else 's'}"
        case list():
            return "an array"
        case dict():
            return "an object"
        case _:
            return "a value longer than expected"


def given_twice(position: str, one: object, read: Collection[str] | None = None) -> Reject | None:
    """Return the Reject for an object that has a key twice: one of those that are `read`, or any."""
    if not isinstance(one, Object) or not (twice := one.repeated.intersection(one.repeated if read is None else read)):
        return None
    names = listing(sorted(twice)) if read is None else ", ".join(sorted(twice))
    return Reject(position, "BAD_FIELD", f"given more than once, so nobody can tell what holds: {names}")


def bad_id(position: str, external_id: str) -> Reject | None:
    """Return the Reject for an identifier that cannot be kept as it is; cutting it would make two items one."""
    if len(external_id) > MAX_TEXT or BROKEN.search(external_id):
        return Reject(
            position,
            "BAD_FIELD",
            f"the item's identifier must be at most {MAX_TEXT} characters, without control characters",
        )
    return None


def listing(names: Iterable[str]) -> str:
    """Return column names for a message: bounded, and safe to print."""
    shown = [repr(name[:40]) for _, name in zip(range(40), names, strict=False)]
    return ", ".join(shown)
