"""When two statements contradict each other, and how grave that is."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashhub.model import Classification, ConflictKind, Flags, Purpose, Reliability, SchemeStatus, Severity
from hashhub.schemes.crosswalk import compare
from hashhub.schemes.dimensions import DIMENSIONS, worlds
from hashhub.trust.contradiction import Assertion, Claim, contradictions, lowered, said, severity

_DIMENSIONS = st.fixed_dictionaries(
    {},
    optional={
        name: st.sets(st.sampled_from(sorted(d.values)), min_size=1, max_size=3).map(lambda v: tuple(sorted(v)))
        for name, d in DIMENSIONS.items()
        if name != "legal_status"
    },
)


def _said(dimensions: dict[str, tuple[str, ...]], purpose: Purpose = Purpose.CSAM) -> Assertion:
    stated = Classification(
        scheme="s", version="1", region="ZZ", value="v", status=SchemeStatus.DRAFT, dimensions=dimensions
    )
    told = said(stated, Flags(), purpose, is_undecided=False)
    assert told is not None
    return told


@given(left=_DIMENSIONS, right=_DIMENSIONS)
def test_a_contradiction_is_a_dimension_in_which_no_world_is_left(
    left: dict[str, tuple[str, ...]], right: dict[str, tuple[str, ...]]
) -> None:
    a, b = _said(left), _said(right)
    told = contradictions(a, b)
    assert {c.dimension for c in told} == set(compare(left, right).conflicting)
    assert told == contradictions(b, a)
    assert contradictions(a, a) == ()
    for c in told:
        assert c.kind in {ConflictKind.BENIGN_AGAINST_HARMFUL, ConflictKind(c.dimension.upper())}


def test_every_dimension_that_can_contradict_has_a_kind() -> None:
    can = set()
    for name, dimension in DIMENSIONS.items():
        values = ["GB:illegal", "GB:not-illegal"] if name == "legal_status" else sorted(dimension.values)
        pairs = itertools.combinations(values, 2)
        if any(compare({name: (x,)}, {name: (y,)}).conflicting for x, y in pairs):
            can.add(name.upper())
    others = {ConflictKind.BENIGN_AGAINST_HARMFUL, ConflictKind.CONTRADICTORY_DIGESTS}
    assert can == {kind.value for kind in ConflictKind if kind not in others}


def test_what_is_unsaid_is_no_claim() -> None:
    nothing = said(None, Flags(), Purpose.CSAM, is_undecided=True)
    listed = said(None, Flags(), Purpose.CSAM, is_undecided=False)
    benign = said(None, Flags(), Purpose.BENIGN, is_undecided=False)
    assert nothing is not None
    assert listed is not None
    assert benign is not None
    assert (nothing.claim, listed.claim, benign.claim) == (Claim.OPEN, Claim.HARM, Claim.BENIGN)
    assert contradictions(nothing, benign) == contradictions(nothing, listed) == ()
    assert [c.kind for c in contradictions(listed, benign)] == [ConflictKind.BENIGN_AGAINST_HARMFUL]
    both = _said({"verdict": ("csam", "exploitative")})
    assert both.claim is Claim.HARM  # which of the two is open, that it is harmful is not
    assert [c.kind for c in contradictions(both, benign)] == [ConflictKind.BENIGN_AGAINST_HARMFUL]
    assert _said({"verdict": ("csam", "non-pertinent")}).claim is Claim.OPEN
    assert said(None, Flags(), Purpose.TEST, is_undecided=False) is None
    assert _said({"verdict": ("a value of long ago",), "gone": ("x",)}).worlds == {}


@pytest.mark.parametrize(
    ("kind", "left", "right", "expected"),
    [
        (ConflictKind.BENIGN_AGAINST_HARMFUL, (), (), Severity.HIGH),
        (ConflictKind.VERDICT, ("csam",), ("non-pertinent",), Severity.HIGH),
        (ConflictKind.VERDICT, ("csam",), ("exploitative",), Severity.MEDIUM),
        (ConflictKind.AGE_BAND, ("18+",), ("prepubescent",), Severity.HIGH),
        (ConflictKind.AGE_BAND, ("0-2",), ("16-17",), Severity.MEDIUM),
        (ConflictKind.AGE_BAND, ("18+", "16-17"), ("0-2",), Severity.MEDIUM),
        (ConflictKind.CONTRADICTORY_DIGESTS, (), (), Severity.MEDIUM),
        (ConflictKind.PERSONS, ("solo",), ("adult-child",), Severity.LOW),
    ],
)
def test_severity(kind: ConflictKind, left: tuple[str, ...], right: tuple[str, ...], expected: Severity) -> None:
    name = kind.lower()
    sides = [worlds({name: v})[name] if v else frozenset() for v in (left, right)]
    good = [severity(kind, one, Reliability.C, left=sides[0], right=sides[1]) for one in Reliability if one <= "C"]
    assert good == [expected] * 3
    assert severity(kind, Reliability.C, Reliability.A, left=sides[1], right=sides[0]) == expected


def test_the_less_reliable_party_lowers_it_and_nothing_raises_it() -> None:
    order = list(Severity)
    for grave, one, other in itertools.product(Severity, Reliability, Reliability):
        told = lowered(grave, one, other)
        assert told == lowered(grave, other, one)
        assert order.index(told) <= order.index(grave)
        if Reliability.F in {one, other}:
            assert told is Severity.LOW
        elif {one, other} & {Reliability.D, Reliability.E}:
            assert order.index(told) == max(order.index(grave) - 1, 0)
        else:
            assert told is grave
