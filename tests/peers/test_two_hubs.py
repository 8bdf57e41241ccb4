"""Two hubs: what one states is stated at the other, and what it withdraws is withdrawn there."""

from __future__ import annotations

from hashhub.model import Reliability
from tests.peers.conftest import MakeNation, digests


def test_what_a_hub_states_and_withdraws_is_stated_and_withdrawn_at_its_peer(nation: MakeNation) -> None:
    a, b = nation("a"), nation("b")
    known = a.contribute("hotline", "known")
    a.state(known, digests(1, 2, 3))
    a.state(known, digests(4, 5), named=False)
    a.invite(b)
    b.settle()
    assert b.standing("a--hotline/known") == digests(1, 2, 3, 4, 5)
    here = b.hub.get_contributor("a--hotline")
    assert here.origin is not None
    assert (here.origin.path, here.origin.contributor, here.reliability) == (("a",), "hotline", Reliability.A)

    a.withdraw(known, digests(2))
    a.withdraw(known, digests(5), named=False)
    b.settle()
    assert b.standing("a--hotline/known") == digests(1, 3, 4)

    a.state(known, digests(2))
    b.settle()
    assert b.standing("a--hotline/known") == digests(1, 2, 3, 4)
