"""A hub that demands a second person, joined: what protects is done at once, and only what opens waits."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from msgspec.structs import replace

from hashhub.client import Client
from hashhub.errors import FailedPrecondition, Reason
from hashhub.model import TLP, Marking, PeerStatus, Principal, Reliability, Role
from hashhub.peers import taking
from hashhub.peers.state import opened
from tests.peers.conftest import GREEN, HANDED_ON, Nation, digests

HERE = "a--hotline/known"


@pytest.fixture
def joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Nation, Nation]]:
    """A, and B, which demands a second person and has taken two entries of A's."""
    monkeypatch.setattr(taking, "WAITING_PAUSE", 0.0)
    a, b = Nation(tmp_path, "a"), Nation(tmp_path, "b", second_person=True)
    try:
        a.state(a.contribute("hotline", "known", HANDED_ON), digests(1, 2))
        a.invite(b)
        b.settle()
        yield a, b
    finally:
        b.close()
        a.close()


def waiting(b: Nation) -> str:
    with opened(b.peers, "a") as state:
        assert state.followed().status is PeerStatus.OK
        [offer] = state.offers().values()
        assert (offer.is_taken, offer.problem) == (True, "")
        return offer.waits


def reliability(b: Nation) -> Reliability:
    return b.hub.get_contributor("a--hotline").reliability


def test_what_is_stated_stands_and_what_opens_it_waits(joined: tuple[Nation, Nation]) -> None:
    _, b = joined
    assert b.standing(HERE) == digests(1, 2)
    assert reliability(b) is Reliability.F
    assert b.hub.get_hash_set(HERE).marking == replace(HANDED_ON, bulk=False)
    assert "bulk" in waiting(b)
    assert "reliability A" in waiting(b)


def test_tighter_terms_and_withdrawals_apply_at_once(joined: tuple[Nation, Nation]) -> None:
    a, b = joined
    agree(b)
    b.settle()
    a.update_terms("hotline/known", replace(GREEN, legal_basis="an agreement"))
    a.withdraw("hotline/known", digests(1))
    b.settle()
    assert b.hub.get_hash_set(HERE).marking == replace(GREEN, legal_basis="an agreement")
    assert b.standing(HERE) == digests(2)
    a.update_terms("hotline/known", Marking(tlp=TLP.AMBER_STRICT, bulk=True))
    b.settle()
    assert b.standing(HERE) == set()


def test_two_persons_agree_and_nothing_waits_any_more(joined: tuple[Nation, Nation]) -> None:
    a, b = joined
    agree(b)
    a.state("hotline/known", digests(3))
    b.settle()
    assert waiting(b) == ""
    assert b.hub.get_hash_set(HERE).marking == HANDED_ON
    assert reliability(b) is Reliability.A
    assert b.standing(HERE) == digests(1, 2, 3)
    with opened(b.peers, "a") as state:
        assert state.followed().number == 1  # no entry was asked for a second time


def agree(b: Nation) -> None:
    """Have two persons give what waits, each by the same calls."""
    persons = {name: Principal(name=name, role=Role.OPERATOR, person=name) for name in ("ada", "grace")}
    for name, made in [(name, b.hub.create_token(one)) for name, one in persons.items()]:
        with Client(b.address, made) as hub:
            here, stated = hub.get_hash_set(HERE), hub.get_contributor("a--hotline")
            opened_here = replace(here, marking=replace(here.marking, bulk=True))
            graded = replace(stated, reliability=Reliability.A)
            calls = (
                partial(hub.update_hash_set, opened_here, ["marking.bulk"]),
                partial(hub.update_contributor, graded, ["reliability"]),
            )
            for call in calls:
                if name == "grace":
                    call()
                    continue
                with pytest.raises(FailedPrecondition) as waits:
                    call()
                assert waits.value.reason is Reason.SECOND_PERSON_NEEDED
