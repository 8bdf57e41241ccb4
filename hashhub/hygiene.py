"""Intake rules: whether one record is accepted, quarantined or rejected, and which of its hashes are kept.

A hash that says nothing about any item (of the empty file, all zeros) is left out and noted: those beside it are still
right. A perceptual hash that would match unrelated pictures (blank, nearly uniform, low quality) quarantines the whole
entry: the item itself may be blank or broken, and only a person can tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from operator import attrgetter
from typing import Final, Self

import msgspec

from hashhub import item
from hashhub.hashes import ALGORITHMS, Hash, Metric
from hashhub.item import FieldKind
from hashhub.model import (
    MAX_FRAMES,
    MAX_HASHES_PER_ENTRY,
    MAX_TEXT,
    Action,
    Disposition,
    Record,
    RecordReview,
    ReviewKind,
    VideoFrame,
)


class Code(StrEnum):
    """Stable reason codes of intake. Removing or renaming one is a breaking change."""

    def __new__(cls, value: str, description: str) -> Self:
        """Make a member whose value is the code and whose `description` is one sentence for people."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.description = description
        return member

    description: str

    # The source cannot be read as items (connectors).
    NOT_AN_OBJECT = "NOT_AN_OBJECT", "The item is not an object with named fields."
    BAD_FIELD = (
        "BAD_FIELD",
        "A field of the item has the wrong type, is out of range, too long, or holds characters that cannot be stored.",
    )
    UNPARSABLE_LINE = "UNPARSABLE_LINE", "The line is in none of the layouts that the connector reads."
    WRONG_COLUMN_COUNT = "WRONG_COLUMN_COUNT", "The row has more or fewer columns than the header."
    MISSING_EXTERNAL_ID = (
        "MISSING_EXTERNAL_ID",
        (
            "The item does not name what it is about: the format demands the contributor's own id, and a withdrawal or "
            "an opinion the id or a hash."
        ),
    )

    VIDEO_FRAME = (
        "VIDEO_FRAME",
        "The hash is that of one frame of a video, which stands for neither a picture nor the video.",
    )

    # About the import as a whole.
    IMPORT_EXPIRED = "IMPORT_EXPIRED", "Nobody went on with the import for too long; the records that it held are gone."

    # About the source as a whole (connectors).
    PARTIAL_SOURCE = (
        "PARTIAL_SOURCE",
        (
            "The source says that more belongs to it, such as further pages; it is imported, but cannot replace a hash "
            "set."
        ),
    )
    FIELD_LEFT_OUT = (
        "FIELD_LEFT_OUT",
        "The source has a field of this name, which hashhub does not keep: nothing of it was stored.",
    )
    TERMS_STATED = (
        "TERMS_STATED",
        "The source states handling terms of its items; they are noted, and those of the hash set hold.",
    )

    PROVENANCE_LOST = (
        "PROVENANCE_LOST",
        "The source is an index of hashes only: which list they come from, and what it said of them, is lost.",
    )

    # A hash cannot be one.
    NO_HASH = "NO_HASH", "The item has no hash."
    DIGEST_EMPTY = "DIGEST_EMPTY", "The digest is missing."
    DIGEST_WRONG_LENGTH = "DIGEST_WRONG_LENGTH", "The digest has the wrong length for its algorithm."
    DIGEST_NOT_ENCODED = "DIGEST_NOT_ENCODED", "The digest is in none of its algorithm's encodings."
    EXCEL_MANGLED = (
        "EXCEL_MANGLED",
        "Excel turned this digest into a number; export the column as text.",
    )
    AMBIGUOUS_ALGORITHM = (
        "AMBIGUOUS_ALGORITHM",
        "Several algorithms have digests of this length, and nothing says which one this is.",
    )
    UNSUPPORTED_ALGORITHM = (
        "UNSUPPORTED_ALGORITHM",
        "This hub does not match hashes of this algorithm; the hash was left out.",
    )
    TOO_MANY_HASHES = "TOO_MANY_HASHES", "The item has more hashes than one media item can have."

    # A hash says nothing, or too little.
    EMPTY_FILE = "EMPTY_FILE", "The digest is that of the empty file; the hash was left out."
    ALL_ZERO = "ALL_ZERO", "Every bit of the digest is 0, which is a placeholder; the hash was left out."
    ALL_ONE = "ALL_ONE", "Every bit of the digest is 1, which is a placeholder; the hash was left out."
    LOW_ENTROPY = "LOW_ENTROPY", "The perceptual hash is too regular to tell one picture from another."
    BLANK_PICTURE = "BLANK_PICTURE", "The perceptual hash is that of a picture of one colour."
    LOW_QUALITY = "LOW_QUALITY", "The PDQ quality is below 50, so that the hash would match unrelated pictures."

    # The record contradicts itself, another item of the source, or the store (hub).
    CONTRADICTORY_BINDING = (
        "CONTRADICTORY_BINDING",
        "One exact digest is bound to two different digests of another algorithm.",
    )
    UNLIKE_HASHES = (
        "UNLIKE_HASHES",
        "The item's perceptual hashes are of more pictures that are unlike each other than one item has.",
    )
    CONFLICTING_CATEGORIES = (
        "CONFLICTING_CATEGORIES",
        "The same item stands in this source with two classifications that cannot both hold.",
    )
    UNKNOWN_VALUE = "UNKNOWN_VALUE", "The classification is no value of the hash set's scheme."
    UNCLASSIFIED = (
        "UNCLASSIFIED",
        "The item has no classification, although its format carries them or the hash set's scheme demands one.",
    )
    REGION_MISMATCH = "REGION_MISMATCH", "The source states another region than the hash set's scheme has."
    SCHEME_MISMATCH = "SCHEME_MISMATCH", "The source states another scheme than the hash set has."
    PURPOSE_MISMATCH = "PURPOSE_MISMATCH", "The source states another purpose of its items than the hash set has."

    # What became of the item otherwise (hub).
    DUPLICATE_IN_SOURCE = (
        "DUPLICATE_IN_SOURCE",
        "The same item stands earlier in this source; its hashes were merged into that one.",
    )
    REPEATED_DIGEST = (
        "REPEATED_DIGEST",
        (
            "The source has so many items with one digest that not all of them are judged when it is asked about; each "
            "is kept as an entry."
        ),
    )
    IDENTICAL_ENTRY = "IDENTICAL_ENTRY", "The hash set already holds an identical entry."
    SUPERSEDED = "SUPERSEDED", "A newer statement of the same contributor about the same item replaced the entry."
    ABSENT_FROM_LIST = "ABSENT_FROM_LIST", "The replacing list no longer holds the item."
    WITHDRAWN_BY_SOURCE = "WITHDRAWN_BY_SOURCE", "The source asked for the withdrawal."
    WITHDRAWN_BY_CONTRIBUTOR = "WITHDRAWN_BY_CONTRIBUTOR", "The contributor withdrew the entry."
    WITHDRAWN_BY_OPERATOR = "WITHDRAWN_BY_OPERATOR", "An operator withdrew the entry."
    WITHDRAWAL_PENDING = (
        "WITHDRAWAL_PENDING",
        "The contributor asked to withdraw the entry; so many a day need a second person, until then it matches.",
    )
    AWAITS_ACCEPTANCE = (
        "AWAITS_ACCEPTANCE",
        (
            "The entry calls its item harmless, beyond the number for one day; against others it weighs once an "
            "operator has accepted it."
        ),
    )
    EXPIRED = "EXPIRED", "The time that the source gave for the entry has passed."
    EXPIRED_BY_AGE = "EXPIRED_BY_AGE", "Nobody listed the entry for as long as its hash set keeps entries."
    HASH_SET_DELETED = "HASH_SET_DELETED", "The hash set that held the entry was deleted."
    REPORT_DELETED = "REPORT_DELETED", "The lines of the report were deleted by age; the import's counts stay."
    REVERTED = "REVERTED", "An operator undid what the token that contributed the entry had done."
    ERASED = "ERASED", "An operator erased everything that the entry said about its item."
    QUARANTINED_BY_OPERATOR = "QUARANTINED_BY_OPERATOR", "An operator put the entry into quarantine."
    STAYS_WITHDRAWN = (
        "STAYS_WITHDRAWN",
        "The item was withdrawn by hand, or by a newer deletion message of its source, and no list brings it back.",
    )
    UNKNOWN_EXTERNAL_ID = "UNKNOWN_EXTERNAL_ID", "The withdrawal names an item that the hash set does not hold."

    # The item is only an opinion about entries.
    OPINION_ONLY = "OPINION_ONLY", "The item is only an opinion about entries of the hash set; it becomes none itself."
    REVIEW_ADDED = "REVIEW_ADDED", "The opinion was added, as a review, to the entries that it is about."
    NO_OPINION = (
        "NO_OPINION",
        "The item states no opinion, which says nothing about what it is, and never that it is harmless.",
    )
    NO_ENTRY = "NO_ENTRY", "The item is only an opinion, and the hash set has no entry that it is about."


ABOUT_SOURCE: Final = frozenset({Code.PARTIAL_SOURCE, Code.FIELD_LEFT_OUT})
"""Reasons of a Reject that stands for no item: it is noted."""


class Inspection(msgspec.Struct, frozen=True):
    """What intake decided: ACCEPTED (for a withdrawal: it can be carried out), QUARANTINED or REJECTED for `reasons`,
    codes, most telling first. `notes`: (code, detail) for every reason and each hash or review left out. `hashes`,
    `reviews`: to keep.
    """

    disposition: Disposition
    reasons: tuple[str, ...]
    hashes: tuple[Hash, ...]
    notes: tuple[tuple[str, str], ...]
    reviews: tuple[RecordReview, ...] = ()

    def detail(self, reason: str) -> str:
        """Return the sentences about one reason, for the import's report."""
        return " ".join(text for code, text in self.notes if code == reason)


UNNAMED: Final = "unnamed"
"""The author, inside a contributor, of doubt that a source carries without saying whose it is."""

MIN_PDQ_QUALITY: Final = 50  # ThreatExchange, PdqSignal and the PDQ paper: below it, matches are noise

# MD5 (RFC 1321, A.5), SHA-1 and SHA-256 of no bytes.
EMPTY_FILE_DIGESTS: Final = frozenset(
    bytes.fromhex(text)
    for text in (
        "d41d8cd98f00b204e9800998ecf8427e",
        "da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    )
)
_ZEROS: Final = frozenset(bytes(a.digest_bytes) for a in ALGORITHMS.values())
_ONES: Final = frozenset(b"\xff" * a.digest_bytes for a in ALGORITHMS.values())
_USELESS: Final = EMPTY_FILE_DIGESTS | _ZEROS | _ONES

# How regular is too regular. Measured with pdqhash 0.2.7 and imagehash 4.3.2 on 5,000 seeded synthetic pictures (1/f
# textures, with and without occluding shapes), 7,000 uniform colours and all 256 greys:
#
#   PDQ     pictures of quality 50 and more: exactly 128 set bits (the hash cuts at the median), at least 17 distinct
#           bytes of 32. Uniform pictures (64x64 to 640x480): what is left is the rounding noise of the transform, and
#           either at most 107 set bits with at most 21 distinct bytes, or 128 set bits with at most 5 distinct bytes.
#   PHASH   pictures: exactly 32 set bits (a median cut too), at least 4 distinct bytes of 8. Uniform: 1 set bit;
#           gradients: 1 to 8.
#   DHASH   pictures: 11 to 43 set bits, at least 2 distinct bytes of 8. Uniform and gradients: 0 or 64 set bits.
#
# The bounds lie outside what pictures give, and 5 standard deviations or more away from what uniformly random digests
# give.
PDQ_SET_BITS: Final = range(64, 193)  # those of PDQ are asked of the frames of videos as well (hashhub.frames)
PDQ_MIN_DISTINCT: Final = 12
"""Distinct bytes that a picture's digest has at least."""
PDQ_NOISE_MAX_DISTINCT: Final = 22
"""Distinct bytes that rounding noise has at most."""
PDQ_NOISE_MAX_SET_BITS: Final = 112
"""Set bits that rounding noise has at most."""
_PLAUSIBLE: Final = {
    "PDQ": (PDQ_SET_BITS, PDQ_MIN_DISTINCT), "PHASH": (range(12, 53), 3), "DHASH": (range(8, 57), 2),
}  # fmt: skip
# imagehash.phash of any picture of one colour but black (black gives all zeros), whatever its size: only the constant
# term is left.
_BLANK_PHASH: Final = bytes.fromhex("8000000000000000")
# IPED (PhotoDNALookup, minEntropy): the share of adjacent bytes that differ; at least 0.7 of 143 pairs.
_PHOTODNA_BYTES: Final = ALGORITHMS["PHOTODNA"].digest_bytes
_PHOTODNA_MAX_EQUAL_PAIRS: Final = int((_PHOTODNA_BYTES - 1) * (1 - 0.7))

_PERCEPTUAL: Final = frozenset(a.name for a in ALGORITHMS.values() if a.is_perceptual)
# Bits within which two digests may be of pictures that have to do with each other. Measured with PDQ on 40 synthetic
# pictures: unrelated ones are 106 or more of 256 apart, consecutive frames of a camera that pans mostly 70 or fewer.
_ALIKE: Final = {
    a.name: a.bits * 35 // 100 if a.metric is Metric.HAMMING else 0 for a in ALGORITHMS.values() if a.is_perceptual
}
MAX_UNLIKE: Final = 8
"""Perceptual hashes of one algorithm that are unlike each other, of one item at most: of a picture's eight turns."""
_TEXTS: Final = tuple(f.name for f in item.of_kind(FieldKind.TEXT))
_texts_of: Final = attrgetter(*_TEXTS)
_NUMBERS: Final = tuple((f.name, f.maximum) for f in item.of_kind(FieldKind.NUMBER))
_TIMES: Final = tuple(f.name for f in item.of_kind(FieldKind.TIME))
_MAX_QUALITY: Final = 100
_PDQ_BYTES: Final = ALGORITHMS["PDQ"].digest_bytes
MAX_OFFSET_MS: Final = 2**32 - 1  # of a frame: 49 days
_ACCEPTED: Final = Disposition.ACCEPTED


def inspect(record: Record) -> Inspection:
    """Decide about one record; nothing else is looked at, nothing raised. Rejected: unstorable fields, too many hashes,
    none left, withdrawals that name nothing. Quarantined: suspicious perceptual hashes, two digests of one exact
    algorithm.
    """
    bad = _bad_field(record)
    if bad:
        return _rejected(Code.BAD_FIELD, bad)
    if len(record.frames) > MAX_FRAMES:
        detail = f"{len(record.frames)} frames; a video can have {MAX_FRAMES} at most: take them at a lower rate."
        return _rejected(Code.TOO_MANY_HASHES, detail)
    if (count := len(record.hashes) + len(record.faults)) > MAX_HASHES_PER_ENTRY:
        detail = f"{count} hashes; at most {MAX_HASHES_PER_ENTRY} can belong to one item."
        return _rejected(Code.TOO_MANY_HASHES, detail)

    left_out: list[tuple[str, str]] = []
    suspicious: list[tuple[str, str]] = []
    exact: dict[str, bytes] = {}
    sound = record.hashes
    for h in record.hashes:
        name = h.algorithm
        digest = h.digest
        if digest in _USELESS:
            sound = tuple(k for k in sound if k is not h)
            left_out.append(_useless(h))
        elif name in _PERCEPTUAL:
            code = _suspicion(name, digest)
            if code is not None:
                suspicious.append((code.value, f"{name}: {code.description}"))
        elif exact.setdefault(name, digest) != digest:
            suspicious.append((Code.CONTRADICTORY_BINDING.value, f"{name}: the item has two different digests."))
    reviews = record.reviews
    if reviews:
        reviews, notes = _usable_reviews(reviews)
        left_out += notes
    if record.faults:
        left_out += [(fault.reason, f"{fault.algorithm}: {fault.detail}") for fault in record.faults]

    if record.action is Action.REVIEW and not reviews:
        return _rejected(Code.NO_OPINION, Code.NO_OPINION.description, *left_out)
    if record.action is not Action.CONTRIBUTE:
        if record.external_id or sound or record.frames:
            return Inspection(_ACCEPTED, (), sound, tuple(left_out), reviews)
    elif sound or record.frames:
        if record.quality is not None and record.quality < MIN_PDQ_QUALITY and any(h.algorithm == "PDQ" for h in sound):
            suspicious.append(
                (Code.LOW_QUALITY.value, f"PDQ: quality {record.quality}; at least {MIN_PDQ_QUALITY} is needed.")
            )
        if record.frames and not any(map(_matches, record.frames)):
            text = f"no frame has a quality of {MIN_PDQ_QUALITY} or more and a hash that tells pictures apart."
            suspicious.append((Code.LOW_QUALITY.value, text))
        if not suspicious:
            return Inspection(_ACCEPTED, (), sound, tuple(left_out), reviews)
        reasons = tuple(dict.fromkeys(code for code, _ in suspicious))
        return Inspection(Disposition.QUARANTINED, reasons, sound, (*suspicious, *left_out), reviews)
    # What is noted of other fields is no reason why there is no hash.
    if about_hashes := [code for code, _ in left_out if code != Code.BAD_FIELD]:
        return Inspection(Disposition.REJECTED, (about_hashes[0],), (), tuple(left_out))
    code = Code.NO_HASH if record.action is Action.CONTRIBUTE else Code.MISSING_EXTERNAL_ID
    return _rejected(code, code.description, *left_out)


def _rejected(code: Code, detail: str, *notes: tuple[str, str]) -> Inspection:
    return Inspection(Disposition.REJECTED, (code.value,), (), ((code.value, detail), *notes))


def unlike_hashes(hashes: Sequence[Hash]) -> str:
    """Return in a sentence of which algorithm one item's hashes are too unlike each other, or an empty string."""
    if len(hashes) > MAX_UNLIKE:
        for name, within in _ALIKE.items():
            count = _pictures([h.digest for h in hashes if h.algorithm == name], within)
            if count > MAX_UNLIKE:
                return (
                    f"{name}: the hashes are of {count} pictures that are unlike each other, and one item has at most "
                    f"{MAX_UNLIKE}; list each picture as an item, and a video's frames as its frames."
                )
    return ""


def _pictures(digests: Sequence[bytes], within: int) -> int:
    """Return of how many pictures digests are at least, those alike over others taken for one."""
    groups: list[list[int]] = []
    for number in map(int.from_bytes, digests):
        apart, together = list[list[int]](), [number]
        for group in groups:
            if any((number ^ other).bit_count() <= within for other in group):
                together += group
            else:
                apart.append(group)
        groups = [*apart, together]
    return len(groups)


def unlike(digests: Iterable[bytes], within: int, most: int) -> int:
    """Return how many digests are more than `within` bits from each counted before, counting up to `most`."""
    counted: list[int] = []
    for number in map(int.from_bytes, digests):
        if len(counted) < most and all((number ^ other).bit_count() > within for other in counted):
            counted.append(number)
    return len(counted)


def _bad_field(record: Record) -> str:
    """Return what is wrong with a field that is to be stored, or an empty string."""
    text = "".join(_texts_of(record))
    if record.tags:
        text += "".join(record.tags)
    # The common case in one look: short, and neither NUL nor half a surrogate pair (PostgreSQL refuses both).
    if len(text) > MAX_TEXT or not text.isascii() or "\0" in text:
        for name, value in zip(_TEXTS, _texts_of(record), strict=True):
            if wrong := _bad_text(value):
                return f"{name} {wrong}."
        for tag in record.tags:
            if wrong := _bad_text(tag):
                return f"a tag {wrong}."
    for name, maximum in _NUMBERS:
        number = getattr(record, name)
        if number is not None and not 0 <= number <= maximum:
            return f"{name} must be between 0 and {maximum}."
    for name in _TIMES:
        time = getattr(record, name)
        if time is not None and time.tzinfo is None:
            return f"{name} must say its offset from UTC."
    return _bad_frames(record.frames) if record.frames else ""


def _matches(frame: VideoFrame) -> bool:
    return frame.quality >= MIN_PDQ_QUALITY and _suspicion("PDQ", frame.digest) is None


def _bad_frames(listed: tuple[VideoFrame, ...]) -> str:
    before = 0
    for number, frame in enumerate(listed):
        if len(frame.digest) != _PDQ_BYTES:
            return f"frames[{number}]: a digest must have {_PDQ_BYTES} bytes, got {len(frame.digest)}."
        if not 0 <= frame.quality <= _MAX_QUALITY:
            return f"frames[{number}]: the quality must be between 0 and {_MAX_QUALITY}, got {frame.quality}."
        if not before <= frame.offset_ms <= MAX_OFFSET_MS:
            return (
                f"frames[{number}]: times must be in order and at most {MAX_OFFSET_MS} ms, got "
                f"{frame.offset_ms} ms after {before} ms."
            )
        before = frame.offset_ms
    return ""


def _bad_text(text: str) -> str:
    if len(text) > MAX_TEXT:
        return f"must be at most {MAX_TEXT} characters, got {len(text)}"
    if "\0" in text:
        return "must not contain NUL"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "must be Unicode text, but holds half a surrogate pair"
    return ""


def _usable_reviews(
    reviews: tuple[RecordReview, ...],
) -> tuple[tuple[RecordReview, ...], list[tuple[str, str]]]:
    """Return the reviews that a source may carry, and notes about the others.

    Doubt whose author the source does not name is kept, as that of UNNAMED: leaving it out would bring the item nearer
    to a match. A confirmation by nobody would take doubt back, so it is left out; and no source sets reviews aside.
    """
    attributed: list[RecordReview] = []
    notes: list[tuple[str, str]] = []
    for review in reviews:
        author = review.author.strip()
        if review.kind is ReviewKind.SET_ASIDE:
            notes.append((Code.BAD_FIELD.value, "a review was left out: no source can set other reviews aside."))
        elif author:
            attributed.append(review if author == review.author else RecordReview(review.kind, author, review.comment))
        elif review.kind is ReviewKind.CONFIRMED:
            notes.append((Code.BAD_FIELD.value, "a confirmation was left out: the source does not say by whom it is."))
        else:
            notes.append((Code.BAD_FIELD.value, f"a review without an author was kept as one by {UNNAMED!r}."))
            attributed.append(RecordReview(review.kind, UNNAMED, review.comment))
    return tuple(attributed), notes


def _useless(h: Hash) -> tuple[str, str]:
    code = Code.ALL_ZERO if h.digest in _ZEROS else Code.ALL_ONE if h.digest in _ONES else Code.EMPTY_FILE
    return code.value, f"{h.algorithm}: {code.description}"


def _suspicion(name: str, digest: bytes) -> Code | None:
    """Return why a perceptual hash would match unrelated pictures, or None."""
    bits = int.from_bytes(digest)
    if name == "PHOTODNA":
        # A byte of x ^ (x >> 8) is 0 where a byte equals the one before it; the first has none before it.
        equal = (bits ^ (bits >> 8)).to_bytes(_PHOTODNA_BYTES).count(0, 1)
        return Code.LOW_ENTROPY if equal > _PHOTODNA_MAX_EQUAL_PAIRS else None
    if name not in _PLAUSIBLE:
        return None  # nothing is measured of what its blank pictures look like
    ones, distinct = bits.bit_count(), len(set(digest))
    is_noise = name == "PDQ" and distinct <= PDQ_NOISE_MAX_DISTINCT and ones <= PDQ_NOISE_MAX_SET_BITS
    if is_noise or (name == "PHASH" and digest == _BLANK_PHASH):
        return Code.BLANK_PICTURE
    set_bits, least_distinct = _PLAUSIBLE[name]
    return None if ones in set_bits and distinct >= least_distinct else Code.LOW_ENTROPY
