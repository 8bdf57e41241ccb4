"""What a clause asks of one entry, each thing once: how it is judged, how it is said, and what an entry has instead.

A demand looks at one statement and at nothing beside it. So no other entry decides whether this one fulfils a clause,
and one entry more can only help a clause to be met.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import msgspec

from hashhub.model import Reliability, SchemeStatus
from hashhub.schemes.dimensions import is_within, possible, words
from hashhub.trust.statement import PURPOSES, Statement, Way, is_draft, stated_until, verdicts_of

if TYPE_CHECKING:
    from hashhub.trust.policy import Clause

NO_VARIANT: Final = "none"  # in a clause's `variants`: the upload as it was sent


class Demand(msgspec.Struct, frozen=True):
    """One thing that a clause asks of an entry.

    key: the clause's key. text: goes on from "an entry". holds: whether a statement fulfils it at a time. has: what the
    statement has there, for whoever asks why not.
    """

    key: str
    text: str
    holds: Callable[[Statement, datetime], bool]
    has: Callable[[Statement, datetime], str]


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
        def holds(s: Statement, _: datetime) -> bool:
            del s
            return True
    else:

        def holds(s: Statement, _: datetime) -> bool:
            return verdicts_of(s) <= wanted

    def has(s: Statement, _: datetime) -> str:
        return f"its verdict may be {words('verdict', verdicts_of(s)) or 'anything'}"

    return Demand("verdicts", f"whose verdict is {_one_of(verdicts)}", holds, has)


_PURPOSE: Final = Demand(
    "purpose",
    "in a hash set that is neither of benign nor of test items",
    lambda s, _: s.hash_set.purpose in PURPOSES,
    lambda s, _: f"its hash set is of {s.hash_set.purpose.lower()} items",
)
_VERIFIED: Final = Demand(
    "verified_scheme",
    "classified, verdict included, in a verified scheme",
    lambda s, _: (
        (classification := s.entry.classification) is not None
        and classification.status is SchemeStatus.VERIFIED
        and "verdict" in classification.dimensions
    ),
    lambda s, _: _scheme_of(s),
)
_NO_DRAFT: Final = Demand(
    "drafts",
    "not classified in a draft scheme",
    lambda s, _: not is_draft(s),
    lambda s, _: _scheme_of(s),
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
        lambda s, _: s.contributor.reliability <= independent_from,  # A is the best, and the first in the alphabet
        lambda s, _: f"its contributor is of reliability {s.contributor.reliability}",
    )


def _reliability(wanted: tuple[Reliability, ...]) -> Demand:
    return Demand(
        "reliability",
        f"by a contributor of reliability {_one_of(wanted)}",
        lambda s, _: s.contributor.reliability in wanted,
        lambda s, _: f"its contributor is of reliability {s.contributor.reliability}",
    )


def _jurisdictions(wanted: tuple[str, ...]) -> Demand:
    return Demand(
        "jurisdictions",
        f"by a contributor in {_one_of(wanted)}",
        lambda s, _: s.contributor.jurisdiction in wanted,
        lambda s, _: f"its contributor's jurisdiction is {s.contributor.jurisdiction}",
    )


def _depth(least: int) -> Demand:
    return Demand(
        "min_review_depth",
        f"in a hash set where at least {least} people looked at each item",
        lambda s, _: s.hash_set.review_depth >= least,
        lambda s, _: (
            f"{depth} looked at each item of its hash set"
            if (depth := s.hash_set.review_depth)
            else "its hash set does not say how many looked at each item"
        ),
    )


def _dimension(key: str, name: str, values: Sequence[str]) -> Demand:
    wanted = possible(name, values)

    def stated(s: Statement) -> tuple[str, ...]:
        classification = s.entry.classification
        return () if classification is None else classification.dimensions.get(name, ())

    def has(s: Statement, _: datetime) -> str:
        said = stated(s)
        return f"its {name} may be {words(name, said)}" if said else f"it says nothing about {name}"

    text = f"whose {name} can only be {words(name, wanted)}"
    return Demand(key, text, lambda s, _: is_within(name, stated(s), wanted), has)


def _fresh(days: int) -> Demand:
    age = timedelta(days=days)

    def holds(s: Statement, time: datetime) -> bool:
        at = stated_until(s)
        return at is not None and time - at <= age

    def has(s: Statement, time: datetime) -> str:
        at = stated_until(s)
        if at is None:
            return "when it was stated is not known"
        return f"it was last stated or confirmed {(time - at).days} days ago"

    many = "a day" if days == 1 else f"{days} days"
    return Demand("stated_within_days", f"stated or confirmed within {many}", holds, has)


def _hit(c: Clause) -> Demand:
    """Return the demand on how the entry was hit. Algorithm, distance and variant must be those of one hit."""
    algorithms, distances, variants = c.algorithms, c.max_distance, c.variants or (NO_VARIANT,)
    is_plain = not algorithms and not distances and variants == (NO_VARIANT,)

    def suits(algorithm: str, distance: int, variant: str) -> bool:
        return (
            (variant or NO_VARIANT) in variants
            and (not algorithms or algorithm in algorithms)
            and distance <= distances.get(algorithm, distance)
        )

    def holds(s: Statement, _: datetime) -> bool:
        if is_plain and not s.variant:
            return True
        if suits(s.algorithm, s.distance, s.variant):
            return True
        return any(suits(w.algorithm, w.distance, w.variant) for w in s.also)

    def has(s: Statement, _: datetime) -> str:
        return "it was hit by " + " and ".join(map(said, s.ways))

    text = "hit"
    if algorithms:
        text += f" by {_one_of(algorithms)}"
    if distances:
        text += " at a distance of " + " and ".join(f"at most {most} by {name}" for name, most in distances.items())
    named = [v for v in variants if v != NO_VARIANT]
    sent = ["as it was sent"] if NO_VARIANT in variants else []
    by = [*sent, *([f"turned into its variant {_one_of(named)}"] if named else [])]
    keys = [key for key, value in (("algorithms", algorithms), ("max_distance", distances)) if value]
    return Demand("+".join([*keys, "variants"]), f"{text} by the upload {_one_of(by)}", holds, has)


def said(way: Way) -> str:
    """Return in words how an entry was hit."""
    by = f" of the upload's variant {way.variant}" if way.variant else ""
    return f"{way.algorithm} at distance {way.distance}{by}"
