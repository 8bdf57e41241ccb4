"""Compare and translate statements of different schemes in dimension space; codes are never compared.

With a statement read as the set of worlds it allows in each dimension (`dimensions.worlds`; unknown allows all):

- two statements **conflict** when some dimension's sets are disjoint: they cannot both be right;
- a value of another scheme **remains possible** when no dimension contradicts it;
- a value **may be emitted** only when the statement lies inside it: every dimension that the value asserts is known and
  at least as narrow. `unclassified` and the like assert nothing and are never emitted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from itertools import islice
from types import MappingProxyType
from typing import Final

import msgspec

from hashhub.model import Classification, SchemeStatus
from hashhub.schemes import Scheme
from hashhub.schemes.dimensions import is_bundle, telling, words, worlds

_NOTHING: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType({})


class Relation(StrEnum):
    """How two statements stand to each other."""

    AGREE = "AGREE"  # equal in every dimension that both know, and there is one
    IMPRECISE = "IMPRECISE"  # compatible, but at least one allows more than the other
    CONFLICT = "CONFLICT"  # disjoint in some dimension
    INCOMPARABLE = "INCOMPARABLE"  # no dimension is known to both


class ValueComparison(msgspec.Struct, frozen=True, kw_only=True):
    """The relation, and the dimensions in sorted order by what they contribute; one side only knows `one_sided`."""

    relation: Relation
    conflicting: tuple[str, ...] = ()
    overlapping: tuple[str, ...] = ()
    agreeing: tuple[str, ...] = ()
    one_sided: tuple[str, ...] = ()


def compare(a: Mapping[str, tuple[str, ...]], b: Mapping[str, tuple[str, ...]]) -> ValueComparison:
    """Return how two sets of dimensions stand to each other; symmetric.

    Dimensions are named as in the statements, `legal_status` with its jurisdiction (`legal_status:GB`).
    Raises InvalidArgument for a dimension or value that does not exist.
    """
    left, right = worlds(a), worlds(b)
    conflicting, overlapping, agreeing = [], [], []
    for name in sorted(left.keys() & right.keys()):
        if left[name] == right[name]:
            agreeing.append(name)
        elif is_bundle(name) or not left[name].isdisjoint(right[name]):
            overlapping.append(name)
        else:
            conflicting.append(name)
    if conflicting:
        relation = Relation.CONFLICT
    elif overlapping:
        relation = Relation.IMPRECISE
    else:
        relation = Relation.AGREE if agreeing else Relation.INCOMPARABLE
    return ValueComparison(
        relation=relation,
        conflicting=tuple(conflicting),
        overlapping=tuple(overlapping),
        agreeing=tuple(agreeing),
        one_sided=tuple(sorted(left.keys() ^ right.keys())),
    )


class TranslationLoss(msgspec.Struct, frozen=True):
    """One line of a loss report: what is lost in which dimension (empty: none in particular)."""

    dimension: str
    text: str


class Translation(msgspec.Struct, frozen=True, kw_only=True):
    """A statement in a foreign scheme. `value` may be written into an export; None: nothing may. `possible`: the values
    that the statement does not exclude, in the target's order, for people and statistics only. `losses`: why nothing
    may be written, or what the written value no longer tells.
    """

    value: str | None
    possible: tuple[str, ...]
    losses: tuple[TranslationLoss, ...]


def translate(
    classification: Classification, target: Scheme, *, also: Mapping[str, tuple[str, ...]] = _NOTHING
) -> Translation:
    """Return what `target` may say of an item so classified.

    `also`: what else is known of the item, such as its flags; where both speak, the classification wins. Nothing is
    written on the word of a draft, be it the source's scheme or the target. Raises InvalidArgument for a dimension or
    value that does not exist.
    """
    if (classification.scheme, classification.version) == (target.id, target.version):
        return Translation(value=classification.value, possible=(classification.value,), losses=())
    said, added = worlds(classification.dimensions), worlds(also)
    known = {**added, **said}

    def words(name: str) -> str:
        return in_words(name, classification.dimensions if name in said else also) if name in known else "nothing"

    asserted = {value: claims for value, claims in target.claims.items() if claims}
    possible = tuple(_possible(known, asserted))
    why_not = [
        TranslationLoss("", f"{name} is a draft, on whose word nothing is written")
        for name, status in (
            (f"{classification.scheme}@{classification.version}", classification.status),
            (target.name, target.status),
        )
        if status is SchemeStatus.DRAFT
    ]
    if not asserted:
        why_not.append(TranslationLoss("", f"no value of {target.name} asserts anything"))
    if not possible:
        names = sorted({n for claims in asserted.values() for n in claims if _clash(n, known, claims)})
        why_not += [TranslationLoss(n, f"{words(n)} is stated, which fits no value of {target.name}") for n in names]
    if len(possible) > 1:
        why_not.append(TranslationLoss("", f"{', '.join(possible)} of {target.name} all remain possible"))
    for value in possible:
        why_not += [
            TranslationLoss(
                n, f"{target.name} {value} asserts {in_words(n, target.values[value].dimensions)}; stated is {words(n)}"
            )
            for n in asserted[value]
            if not is_inside(n, known, asserted[value])
        ]
    if why_not:
        return Translation(value=None, possible=possible, losses=tuple(why_not))
    (value,) = possible
    dropped = tuple(
        TranslationLoss(n, f"{words(n)} is stated; {target.name} {value} does not tell it")
        for n, w in sorted(telling(known).items())
        if asserted[value].get(n) != w
    )
    return Translation(value=value, possible=possible, losses=dropped)


def written(classification: Classification, target: Scheme) -> str | None:
    """Return the value of `translate`, without saying why: it costs far less."""
    if (classification.scheme, classification.version) == (target.id, target.version):
        return classification.value
    if SchemeStatus.DRAFT in {classification.status, target.status}:
        return None
    known = worlds(classification.dimensions)
    possible = tuple(islice(_possible(known, target.claims), 2))
    if len(possible) != 1:
        return None
    claims = target.claims[possible[0]]
    return possible[0] if all(is_inside(n, known, claims) for n in claims) else None


def _possible(
    known: Mapping[str, frozenset[str]], asserted: Mapping[str, Mapping[str, frozenset[str]]]
) -> Iterator[str]:
    """Yield the values that assert something and that nothing known contradicts."""
    return (v for v, claims in asserted.items() if claims and not any(_clash(n, known, claims) for n in claims))


def _clash(name: str, known: Mapping[str, frozenset[str]], asserted: Mapping[str, frozenset[str]]) -> bool:
    return name in known and not is_bundle(name) and known[name].isdisjoint(asserted[name])


def is_inside(name: str, known: Mapping[str, frozenset[str]], asserted: Mapping[str, frozenset[str]]) -> bool:
    """Whether what is known implies what is asserted under this key of `worlds`; of a bundle, every fact."""
    if name not in known:
        return False
    return asserted[name] <= known[name] if is_bundle(name) else known[name] <= asserted[name]


def in_words(name: str, stated: Mapping[str, tuple[str, ...]]) -> str:
    """Return what is stated under a key of `worlds`, as people read it."""
    dimension, _, jurisdiction = name.partition(":")
    if dimension == "legal_status":
        return " or ".join(v for v in stated[dimension] if v.startswith(jurisdiction))
    return words(dimension, stated[dimension])
