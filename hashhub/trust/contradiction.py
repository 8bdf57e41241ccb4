"""When two statements about one item cannot both hold, and how grave that is. Pure: it knows no store and no terms.

Statements are compared in dimension space, as the sets of worlds that they allow: imprecise ones that overlap, and what
only one side states, are no conflict. A disagreement is told once, under its gravest name: where one side claims harm
and the other side excludes it, that is BENIGN_AGAINST_HARMFUL and not VERDICT as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

import msgspec

from hashhub.errors import InvalidArgument
from hashhub.hashes import Hash, is_exact
from hashhub.model import Classification, ConflictKind, Flags, Purpose, Reliability, Severity
from hashhub.schemes.dimensions import DIMENSIONS, every_world, is_bundle, worlds
from hashhub.trust.policy import HARMFUL

_PURPOSES: Final = {Purpose.CSAM: ("csam",), Purpose.EXPLOITATIVE: ("exploitative",)}
_CHILD: Final = every_world("age_band") - {"18+"}
_ADULT: Final = frozenset({"18+"})
_STEPS: Final = (Severity.LOW, Severity.MEDIUM, Severity.HIGH)
_GRAVITY: Final[Mapping[ConflictKind, Severity]] = MappingProxyType(
    {
        ConflictKind.BENIGN_AGAINST_HARMFUL: Severity.HIGH,
        ConflictKind.VERDICT: Severity.MEDIUM,  # HIGH where one side is of no concern
        ConflictKind.AGE_BAND: Severity.MEDIUM,  # HIGH where one side says adult
        ConflictKind.ACT: Severity.MEDIUM,
        ConflictKind.MEDIUM: Severity.MEDIUM,
        ConflictKind.LEGAL_STATUS: Severity.MEDIUM,
        ConflictKind.CONTRADICTORY_DIGESTS: Severity.MEDIUM,
        ConflictKind.PERSONS: Severity.LOW,
        ConflictKind.SELF_GENERATED: Severity.LOW,
    }
)
_KIND_OF_DIMENSION: Final = {
    kind.lower(): kind
    for kind in ConflictKind
    if kind not in {ConflictKind.BENIGN_AGAINST_HARMFUL, ConflictKind.CONTRADICTORY_DIGESTS}
}
# Steps down from a conflict's gravity, by the less reliable of its two parties. F: nobody has judged its reliability.
_STEPS_DOWN: Final = {Reliability.D: 1, Reliability.E: 1, Reliability.F: 2}


class Claim(StrEnum):
    """What a statement says about harm."""

    HARM = "HARM"  # every verdict that it leaves possible is harmful
    OPEN = "OPEN"  # harm is possible, or nothing is stated
    NO_HARM = "NO_HARM"  # no verdict that it leaves possible is harmful
    BENIGN = "BENIGN"  # its hash set is of benign items


class Assertion(msgspec.Struct, frozen=True):
    """What a statement says, as far as it can contradict another: the worlds that it allows, by their keys."""

    worlds: dict[str, frozenset[str]]
    claim: Claim


class Contradiction(msgspec.Struct, frozen=True):
    """Why two statements cannot both hold. `dimension`: a key of `schemes.dimensions.worlds` (`legal_status:GB`); of
    CONTRADICTORY_DIGESTS the hash algorithm. `gravity`: its severity between parties of good reliability.
    """

    kind: ConflictKind
    dimension: str
    gravity: Severity


def said(
    classification: Classification | None, flags: Flags, purpose: Purpose, *, is_undecided: bool
) -> Assertion | None:
    """Return what an entry says; None where it takes no part, being a test item.

    `is_undecided`: it has the remark UNCLASSIFIED, so that only its being listed is known. Where classification and
    flags both speak the classification counts. A value that is none any more says nothing.
    """
    if purpose is Purpose.TEST:
        return None
    stated: dict[str, tuple[str, ...]] = {
        name: ("yes" if value else "no",)
        for name in Flags.__struct_fields__
        if name in DIMENSIONS and (value := getattr(flags, name)) is not None
    }
    if classification is not None:
        stated |= classification.dimensions
    elif purpose in _PURPOSES and not is_undecided:
        stated["verdict"] = _PURPOSES[purpose]
    if is_undecided:
        stated.pop("verdict", None)
    known: dict[str, frozenset[str]] = {}
    for name, values in stated.items():
        try:
            known |= worlds({name: values})
        except InvalidArgument:
            continue
    told = {key: w for key, w in known.items() if not is_bundle(key) and w != every_world(key)}
    verdict = told.get("verdict")
    if purpose is Purpose.BENIGN:
        told.pop("verdict", None)
        return Assertion(told, Claim.BENIGN)
    claim = Claim.OPEN
    if verdict is not None and verdict <= HARMFUL:
        claim = Claim.HARM
    elif verdict is not None and verdict.isdisjoint(HARMFUL):
        claim = Claim.NO_HARM
    return Assertion(told, claim)


def contradictions(a: Assertion, b: Assertion) -> tuple[Contradiction, ...]:
    """Return why two statements cannot both hold; symmetric."""
    claims = {a.claim, b.claim}
    is_benign_against_harmful = Claim.HARM in claims and not claims.isdisjoint({Claim.NO_HARM, Claim.BENIGN})
    reasons = []
    if is_benign_against_harmful:
        kind = ConflictKind.BENIGN_AGAINST_HARMFUL
        reasons.append(Contradiction(kind, "verdict", gravity(kind)))
    for key in sorted(a.worlds.keys() & b.worlds.keys()):
        left, right = a.worlds[key], b.worlds[key]
        if not left.isdisjoint(right) or (key == "verdict" and is_benign_against_harmful):
            continue
        kind = _KIND_OF_DIMENSION[key.partition(":")[0]]
        reasons.append(Contradiction(kind, key, gravity(kind, left, right)))
    return tuple(reasons)


def exact_digests(hashes: tuple[Hash, ...]) -> frozenset[Hash]:
    """Return the hashes by exact algorithms, which say what file an entry is about."""
    return frozenset(h for h in hashes if is_exact(h.algorithm))


def strength(h: Hash) -> tuple[int, str, bytes]:
    """Return what orders exact hashes, the longest digest first: two entries are about the first one in common."""
    return -len(h.digest), h.algorithm, h.digest


def contradictory_digests(a: frozenset[Hash], b: frozenset[Hash]) -> tuple[Contradiction, ...]:
    """Return the exact algorithms of which both sides have digests and none in common, as contradictions."""
    common = {h.algorithm for h in a & b}
    both = {h.algorithm for h in a} & {h.algorithm for h in b}
    kind = ConflictKind.CONTRADICTORY_DIGESTS
    return tuple(Contradiction(kind, algorithm, gravity(kind)) for algorithm in sorted(both - common))


def gravity(kind: ConflictKind, left: frozenset[str] = frozenset(), right: frozenset[str] = frozenset()) -> Severity:
    """Return how grave a conflict between parties of good reliability is, from its kind and its dimension's worlds."""
    if kind is ConflictKind.VERDICT and any(x and x.isdisjoint(HARMFUL) for x in (left, right)):
        return Severity.HIGH
    if kind is ConflictKind.AGE_BAND and _ADULT in (left, right) and any(x and x <= _CHILD for x in (left, right)):
        return Severity.HIGH
    return _GRAVITY[kind]


def severity_reduction(reliability: Reliability) -> int:
    """Return by how many steps a party of this reliability lowers a conflict's severity: A to C 0, D and E 1, F 2."""
    return _STEPS_DOWN.get(reliability, 0)


def lowered(grave: Severity, *parties: Reliability) -> Severity:
    """Return a conflict's severity from its gravity and its parties' reliability, of which the lowest counts.

    It is never less than LOW: whatever anybody states is listed, and nobody can raise noise to the top of the list.
    """
    return _STEPS[max(_STEPS.index(grave) - max(map(severity_reduction, parties), default=0), 0)]


def severity(
    kind: ConflictKind,
    *parties: Reliability,
    left: frozenset[str] = frozenset(),
    right: frozenset[str] = frozenset(),
) -> Severity:
    """Return a conflict's severity. `left` and `right`: the worlds of its dimension that the two sides allow."""
    return lowered(gravity(kind, left, right), *parties)
