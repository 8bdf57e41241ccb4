"""What a policy weighs: an entry as it was hit, and what it says by itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import IntEnum
from functools import cache
from typing import Final

import msgspec

from hashhub.hashes import SEARCHED
from hashhub.model import (
    READINGS,
    Contributor,
    Entry,
    HashSet,
    Purpose,
    Review,
    ReviewKind,
    Role,
    SchemeStatus,
)

# What being in a hash set states when the entry itself says nothing more precise.
PURPOSES: Final[Mapping[Purpose, frozenset[str]]] = {
    Purpose.CSAM: frozenset({"csam"}),
    Purpose.EXPLOITATIVE: frozenset({"exploitative"}),
}
# A remark in `Entry.reasons` of an active entry (code of hashhub.hygiene).
_UNCLASSIFIED: Final = "UNCLASSIFIED"
_UNDECIDED: Final = frozenset({"unclassified"})
_NOTHING: Final[frozenset[str]] = frozenset()
# Looked up once: members of an enumeration are slow to reach, and to hash, where it is done for every entry.
_CSAM, _EXPLOITATIVE = Purpose.CSAM, Purpose.EXPLOITATIVE
_PERCEPTUAL: Final = frozenset(a.name for a in SEARCHED.values() if a.is_perceptual)


class Closeness(IntEnum):
    """How closely an entry was hit, the closest first. A less close hit never disputes a closer one."""

    FILE = 0  # by the digest of an exact algorithm
    DIGEST = 1  # by a perceptual digest at distance 0
    NEAR = 2  # by a perceptual digest at a greater distance
    VARIANT = 3  # by a picture that was derived from the upload


_FILE, _DIGEST, _NEAR = Closeness.FILE, Closeness.DIGEST, Closeness.NEAR


class HitPath(msgspec.Struct, frozen=True):
    """One way in which an entry was hit: by which algorithm, at which distance, and by which variant of the upload;
    empty: by the upload as it was sent. One of `READINGS` is the upload as it was sent, too.
    """

    algorithm: str
    distance: int
    variant: str = ""

    @property
    def closeness(self) -> Closeness:
        """How closely it is."""
        if self.variant and self.variant not in READINGS:
            return Closeness.VARIANT
        if self.algorithm not in _PERCEPTUAL:
            return Closeness.FILE
        return Closeness.NEAR if self.distance else Closeness.DIGEST


class Statement(msgspec.Struct, frozen=True):
    """An entry, who states it in which hash set, by which algorithm, at which distance and by which variant of the
    upload it was hit most closely, and its reviews.

    `also`: the other ways in which it was hit. `stated_time`: when it was last stated; None: not known.
    """

    entry: Entry
    contributor: Contributor
    hash_set: HashSet
    algorithm: str
    distance: int
    reviews: tuple[Review, ...] = ()
    variant: str = ""
    also: tuple[HitPath, ...] = ()
    stated_time: datetime | None = None

    @property
    def ways(self) -> tuple[HitPath, ...]:
        """All ways in which the entry was hit, that of `algorithm`, `distance` and `variant` first."""
        return (HitPath(self.algorithm, self.distance, self.variant), *self.also)

    @property
    def closeness(self) -> Closeness:
        """How closely the entry was hit."""
        return min(way.closeness for way in self.ways)


class AssessedStatement:
    """A statement, and what a judgement asks of it again and again, worked out once.

    number: its entry's place in the order in which reasons name entries. may_count: its hash set is neither of benign
    nor of test items.
    """

    __slots__ = ("closeness", "may_count", "number", "statement", "verdicts")

    def __init__(self, statement: Statement, number: int = 0) -> None:
        self.number = number
        self.statement = statement
        purpose = statement.hash_set.purpose
        self.may_count = purpose is _CSAM or purpose is _EXPLOITATIVE
        self.verdicts = verdicts_of(statement)
        own = not statement.variant or statement.variant in READINGS
        if own and statement.algorithm not in _PERCEPTUAL:
            self.closeness = _FILE  # nothing is closer, however else it was hit
        elif statement.variant or statement.also:
            self.closeness = statement.closeness
        else:
            self.closeness = _NEAR if statement.distance else _DIGEST


def verdicts_of(s: Statement) -> frozenset[str]:
    """Return the verdicts that the entry leaves possible: its classification's or, where it has none, its set's
    purpose.

    Of an entry whose source says nothing where it could have said something, or says something that is no verdict
    (INTERPOL Baseline N), only the listing is known: nothing is decided, and the set's purpose decides nothing for it.
    """
    entry = s.entry
    if _UNCLASSIFIED in entry.reasons:
        return _UNDECIDED
    classification = entry.classification
    if classification is None:
        return PURPOSES.get(s.hash_set.purpose, _NOTHING)
    stated = classification.dimensions.get("verdict")
    if stated is not None:
        return _as_set(stated)
    return _UNDECIDED if s.hash_set.purpose in PURPOSES else _NOTHING


def is_draft(s: Statement) -> bool:
    """Whether the entry is classified in a draft scheme."""
    classification = s.entry.classification
    return classification is not None and classification.status is SchemeStatus.DRAFT


def stated_until(s: Statement) -> datetime | None:
    """Return when the entry was last stated, or confirmed by its own contributor or an operator; None: not known.

    Nobody else's confirmation makes it newer: whoever confirms states nothing of its own.
    """
    if not s.reviews:
        return s.stated_time
    ignored = set_aside(s.reviews)
    times = [
        r.create_time
        for r in s.reviews
        if r.kind is ReviewKind.CONFIRMED
        and r.create_time is not None
        and r.id not in ignored
        and (r.role is Role.OPERATOR or r.author.partition("/")[0] == s.contributor.id)
    ]
    return max(times if s.stated_time is None else [*times, s.stated_time], default=None)


def set_aside(reviews: Iterable[Review]) -> set[int]:
    """Return the ids of the reviews that an operator's statement sets aside, unless a newer one sets that aside."""
    ignored: set[int] = set()
    for r in sorted(reviews, key=age_of, reverse=True):
        if r.kind is ReviewKind.SET_ASIDE and r.role is Role.OPERATOR and r.id not in ignored:
            ignored.add(r.sets_aside)
    return ignored


def age_of(r: Review) -> tuple[int, int]:
    """Return what orders reviews, the oldest first."""
    return r.revision, r.id


@cache  # statements repeat the few sets that the schemes hold
def _as_set(values: tuple[str, ...]) -> frozenset[str]:
    return frozenset(values)
