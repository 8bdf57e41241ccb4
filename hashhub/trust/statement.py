"""Statements: entries as they were hit, what each says by itself, and what the clauses of policies demand of it.

A demand looks at one statement and at nothing beside it. So no other entry decides whether this one fulfils a clause,
and one entry more can only help a clause to be met.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum
from functools import cache
from typing import Final

import msgspec

from hashhub.hashes import SEARCHED, VPDQ
from hashhub.model import (
    READINGS,
    Contributor,
    Entry,
    HashSet,
    Purpose,
    Reliability,
    Review,
    ReviewKind,
    Role,
    SchemeStatus,
)
from hashhub.schemes.dimensions import is_within, possible, words

NO_VARIANT: Final = "none"  # in a clause's `variants`: the upload as it was sent
_REMEMBERED: Final = 4_096
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


class Corroboration(StrEnum):
    """What bears out a hit by a perceptual algorithm: whoever knows a listed digest can make a picture that is near it.

    All but CONFIRMED say that the upload is the listed item. CONFIRMED says that the item is rightly listed.
    """

    EXACT_DIGEST = "EXACT_DIGEST"  # the upload has an exact digest of the entry
    SECOND_ALGORITHM = "SECOND_ALGORITHM"  # two perceptual algorithms of two kinds hit the entry by the same picture
    SECOND_FRAME = "SECOND_FRAME"  # two frames of a video that are unlike each other hit the entry
    CONFIRMED = "CONFIRMED"  # somebody independent of its contributor, or an operator, has confirmed the entry


# A frame's digest is PDQ's; and PHASH has signs of the same low frequencies: of 80 pictures made from nothing but a PDQ
# digest 53 were within 10 bits of the original's PHASH, and one of its DHASH.
_SAME_ALGORITHM: Final = {VPDQ.name: "PDQ", "PHASH": "PDQ"}


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
    `several_frames`: it was hit by two frames of a video that are unlike each other.
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
    several_frames: bool = False

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
    nor of test items. is_confirmed: as CONFIRMED.
    """

    __slots__ = ("closeness", "is_confirmed", "may_count", "number", "statement", "verdicts")

    def __init__(self, statement: Statement, number: int = 0) -> None:
        self.is_confirmed = False
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


def corroborations(s: Statement, variants: Sequence[str] | None = None) -> frozenset[Corroboration]:
    """Return what bears out that the upload is the entry's item, CONFIRMED aside.

    `variants`: as in a clause, of the pictures by which perceptual algorithms hit; None: any. Variants do not bear each
    other out: whoever forges an upload has forged them with it.
    """
    pictures = None if variants is None else {_picture("" if v == NO_VARIANT else v) for v in variants}
    by_picture: dict[str, set[str]] = {}
    found: set[Corroboration] = set()
    for way in s.ways:
        picture = _picture(way.variant)
        if way.closeness is _FILE:
            found.add(Corroboration.EXACT_DIGEST)
        elif way.algorithm in _PERCEPTUAL and (pictures is None or picture in pictures):
            by_picture.setdefault(picture, set()).add(_SAME_ALGORITHM.get(way.algorithm, way.algorithm))
            if s.several_frames and way.algorithm == VPDQ.name:
                found.add(Corroboration.SECOND_FRAME)
    if any(len(algorithms) > 1 for algorithms in by_picture.values()):
        found.add(Corroboration.SECOND_ALGORITHM)
    return frozenset(found)


def _picture(variant: str) -> str:
    return "" if variant in READINGS else variant


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


class Clause(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One way to reach MATCH: `contributors` pairwise independent contributors, each with an entry that fulfils all the
    rest.

    `verdicts`: every verdict that the entry leaves possible is one of these; `unclassified` takes entries that leave
    open whether they claim harm. `reliability`: the contributor's is one of these; empty
    means any. `verified_scheme`: the entry is classified, verdict included, in a scheme whose table was verified.
    `drafts`: entries classified in a draft scheme count too. `min_review_depth`: so many people looked at each item of
    the hash set. `jurisdictions`: the contributor's is one of these; empty means any. `dimensions`: all that the entry
    leaves possible in each is among the values (`schemes.dimensions.is_within`). `legal_status`: the same of
    JURISDICTION:STATUS. `stated_within_days`: it was stated, or confirmed by its contributor or an operator, so lately;
    0 means ever. `algorithms`: it was hit by one of these; empty means any. `max_distance`: of a hit by the algorithm,
    inclusive. `variants`: it was hit by one of these variants of the upload, NO_VARIANT being the upload as it was
    sent; empty means as sent. One hit must be what all three of these ask. `corroborated`: one of these bears the hit
    out; empty: nothing need.
    """

    id: str
    title: str
    contributors: int
    verdicts: tuple[str, ...]
    reliability: tuple[Reliability, ...] = ()
    verified_scheme: bool = False
    drafts: bool = False
    min_review_depth: int = 0
    jurisdictions: tuple[str, ...] = ()
    dimensions: dict[str, tuple[str, ...]] = {}
    legal_status: tuple[str, ...] = ()
    stated_within_days: int = 0
    algorithms: tuple[str, ...] = ()
    max_distance: dict[str, int] = {}
    variants: tuple[str, ...] = ()
    corroborated: tuple[Corroboration, ...] = ()


class Demand(msgspec.Struct, frozen=True):
    """One thing that a clause asks of an entry.

    key: the clause's key. text: goes on from "an entry". holds: whether a statement fulfils it at a time. has: what the
    statement has there, for whoever asks why not.
    """

    key: str
    text: str
    holds: Callable[[AssessedStatement, datetime], bool]
    has: Callable[[AssessedStatement, datetime], str]


def demands_of(c: Clause, independent_from: Reliability) -> tuple[Demand, ...]:
    """Return what the clause asks of each entry; how many contributors it asks for is not among it."""
    demands = [_verdicts(c.verdicts), _PURPOSE]
    if c.contributors > 1:
        demands.append(_independent(independent_from))
    if c.reliability:
        demands.append(_reliability(c.reliability))
    if c.jurisdictions:
        demands.append(_jurisdictions(c.jurisdictions))
    if c.verified_scheme:
        demands.append(_VERIFIED)
    if not c.drafts:
        demands.append(_NO_DRAFT)
    if c.min_review_depth:
        demands.append(_depth(c.min_review_depth))
    demands += [_dimension(f"dimensions.{name}", name, values) for name, values in c.dimensions.items()]
    if c.legal_status:
        demands.append(_dimension("legal_status", "legal_status", c.legal_status))
    if c.stated_within_days:
        demands.append(_fresh(c.stated_within_days))
    demands.append(_hit(c))
    if c.corroborated:
        demands.append(_corroborated(c))
    return tuple(demands)


def or_better(reliability: Reliability) -> str:
    """Return this reliability and those above it in words."""
    return f"{reliability}" if reliability is Reliability.A else f"A to {reliability}"


def _one_of(values: Sequence[str]) -> str:
    return " or ".join(values)


def _verdicts(verdicts: tuple[str, ...]) -> Demand:
    wanted = frozenset(verdicts)
    if "unclassified" in wanted:
        # It allows every verdict, so a clause that takes it takes whatever may be harmful.
        def holds(x: AssessedStatement, _: datetime) -> bool:
            del x
            return True
    else:

        def holds(x: AssessedStatement, _: datetime) -> bool:
            return x.verdicts <= wanted

    def has(x: AssessedStatement, _: datetime) -> str:
        return f"its verdict may be {words('verdict', x.verdicts) or 'anything'}"

    return Demand("verdicts", f"whose verdict is {_one_of(verdicts)}", holds, has)


_PURPOSE: Final = Demand(
    "purpose",
    "in a hash set that is neither of benign nor of test items",
    lambda x, _: x.may_count,
    lambda x, _: f"its hash set is of {x.statement.hash_set.purpose.lower()} items",
)
_VERIFIED: Final = Demand(
    "verified_scheme",
    "classified, verdict included, in a verified scheme",
    lambda x, _: (
        (classification := x.statement.entry.classification) is not None
        and classification.status is SchemeStatus.VERIFIED
        and "verdict" in classification.dimensions
    ),
    lambda x, _: _scheme_of(x.statement),
)
_NO_DRAFT: Final = Demand(
    "drafts",
    "not classified in a draft scheme",
    lambda x, _: not is_draft(x.statement),
    lambda x, _: _scheme_of(x.statement),
)


def _scheme_of(s: Statement) -> str:
    classification = s.entry.classification
    if classification is None:
        return "it is not classified"
    scheme = f"{classification.scheme}@{classification.version}"
    if classification.status is SchemeStatus.DRAFT:
        return f"its scheme, {scheme}, is a draft"
    return f"its value in {scheme} says nothing about the verdict"


def _independent(independent_from: Reliability) -> Demand:
    return Demand(
        "independent_from",
        f"by contributors of reliability {or_better(independent_from)}",
        lambda x, _: (
            x.statement.contributor.reliability <= independent_from
        ),  # A is the best, and the first in the alphabet
        lambda x, _: f"its contributor is of reliability {x.statement.contributor.reliability}",
    )


def _reliability(wanted: tuple[Reliability, ...]) -> Demand:
    return Demand(
        "reliability",
        f"by a contributor of reliability {_one_of(wanted)}",
        lambda x, _: x.statement.contributor.reliability in wanted,
        lambda x, _: f"its contributor is of reliability {x.statement.contributor.reliability}",
    )


def _jurisdictions(wanted: tuple[str, ...]) -> Demand:
    return Demand(
        "jurisdictions",
        f"by a contributor in {_one_of(wanted)}",
        lambda x, _: x.statement.contributor.jurisdiction in wanted,
        lambda x, _: f"its contributor's jurisdiction is {x.statement.contributor.jurisdiction}",
    )


def _depth(least: int) -> Demand:
    return Demand(
        "min_review_depth",
        f"in a hash set where at least {least} people looked at each item",
        lambda x, _: x.statement.hash_set.review_depth >= least,
        lambda x, _: (
            f"{depth} looked at each item of its hash set"
            if (depth := x.statement.hash_set.review_depth)
            else "its hash set does not say how many looked at each item"
        ),
    )


def _dimension(key: str, name: str, values: Sequence[str]) -> Demand:
    wanted = possible(name, values)

    judged: dict[tuple[str, ...], bool] = {}  # entries repeat the few sets that the schemes hold

    def stated(x: AssessedStatement) -> tuple[str, ...]:
        classification = x.statement.entry.classification
        return () if classification is None else classification.dimensions.get(name, ())

    def holds(x: AssessedStatement, _: datetime) -> bool:
        possibly = stated(x)
        known = judged.get(possibly)
        if known is None:
            if len(judged) >= _REMEMBERED:
                judged.clear()
            known = judged[possibly] = is_within(name, possibly, wanted)
        return known

    def has(x: AssessedStatement, _: datetime) -> str:
        possibly = stated(x)
        return f"its {name} may be {words(name, possibly)}" if possibly else f"it says nothing about {name}"

    return Demand(key, f"whose {name} can only be {words(name, wanted)}", holds, has)


def _fresh(days: int) -> Demand:
    age = timedelta(days=days)

    def holds(x: AssessedStatement, time: datetime) -> bool:
        at = stated_until(x.statement)
        return at is not None and time - at <= age

    def has(x: AssessedStatement, time: datetime) -> str:
        at = stated_until(x.statement)
        if at is None:
            return "when it was stated is not known"
        return f"it was last stated or confirmed {(time - at).days} days ago"

    many = "a day" if days == 1 else f"{days} days"
    return Demand("stated_within_days", f"stated or confirmed within {many}", holds, has)


def _hit(c: Clause) -> Demand:
    """Return the demand on how the entry was hit. Algorithm, distance and variant must be those of one hit."""
    algorithms, distances, variants = c.algorithms, c.max_distance, c.variants or (NO_VARIANT,)
    takes_own = NO_VARIANT in variants
    takes_any_own = takes_own and not algorithms and not distances

    def suits(algorithm: str, distance: int, variant: str) -> bool:
        return (
            (variant in variants or (takes_own and (not variant or variant in READINGS)))
            and (not algorithms or algorithm in algorithms)
            and distance <= distances.get(algorithm, distance)
        )

    def holds(x: AssessedStatement, _: datetime) -> bool:
        s = x.statement
        if takes_any_own and not s.variant:
            return True
        if suits(s.algorithm, s.distance, s.variant):
            return True
        return bool(s.also) and any(suits(w.algorithm, w.distance, w.variant) for w in s.also)

    def has(x: AssessedStatement, _: datetime) -> str:
        return "it was hit by " + " and ".join(map(in_words, x.statement.ways))

    text = "hit"
    if algorithms:
        text += f" by {_one_of(algorithms)}"
    if distances:
        text += " at a distance of " + " and ".join(f"at most {most} by {name}" for name, most in distances.items())
    named = [v for v in variants if v != NO_VARIANT]
    sent = ["as it was sent"] if takes_own else []
    by = [*sent, *([f"turned into its variant {_one_of(named)}"] if named else [])]
    keys = [key for key, value in (("algorithms", algorithms), ("max_distance", distances)) if value]
    return Demand("+".join([*keys, "variants"]), f"{text} by the upload {_one_of(by)}", holds, has)


_CORROBORATIONS: Final = {
    Corroboration.EXACT_DIGEST: "an exact digest",
    Corroboration.SECOND_ALGORITHM: "a second perceptual algorithm",
    Corroboration.SECOND_FRAME: "a second frame of a video",
    Corroboration.CONFIRMED: "somebody's confirmation of the entry",
}


def _corroborated(c: Clause) -> Demand:
    wanted, variants = frozenset(c.corroborated), c.variants or (NO_VARIANT,)
    takes_confirmed = Corroboration.CONFIRMED in wanted

    def holds(x: AssessedStatement, _: datetime) -> bool:
        return (takes_confirmed and x.is_confirmed) or not wanted.isdisjoint(corroborations(x.statement, variants))

    def has(x: AssessedStatement, _: datetime) -> str:
        borne_out = [_CORROBORATIONS[kind] for kind in sorted(corroborations(x.statement, variants))]
        return f"only {_one_of(borne_out)} bears it out" if borne_out else "nothing bears it out"

    return Demand("corroborated", f"borne out by {_one_of([_CORROBORATIONS[k] for k in c.corroborated])}", holds, has)


def in_words(way: HitPath) -> str:
    """Return in words how an entry was hit."""
    by = ""
    if way.variant:
        by = f" of the upload's {'reading' if way.variant in READINGS else 'variant'} {way.variant}"
    return f"{way.algorithm} at distance {way.distance}{by}"
