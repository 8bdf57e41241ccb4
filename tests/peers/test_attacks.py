"""A hub whose operator lies, a process that is killed: nobody else's statements are touched, and nothing is lost."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

from hashhub.client import Client
from hashhub.errors import HashHubError, LimitExceeded
from hashhub.hub.entries import REVIEWS_A_DAY
from hashhub.model import Contributor, ContributorKind, HashSet, PeerOrigin, PeerStatus, ReviewKind, WithdrawalReason
from hashhub.peers import taking
from hashhub.peers.state import opened, secret
from tests.peers.conftest import GREEN, HANDED_ON, MakeNation, Nation, digests


def forge(liar: Nation, own_id: str, path: tuple[str, ...], contributor: str = "hotline") -> str:
    """Have a hub say that somebody else's statements came to it."""
    liar.hub.create_contributor(
        Contributor(
            id=own_id,
            display_name="Hotline",
            kind=ContributorKind.HOTLINE,
            jurisdiction="NL",
            origin=PeerOrigin(path=path, contributor=contributor),
        )
    )
    liar.hub.create_hash_set(HashSet(contributor=own_id, id="known", marking=HANDED_ON))
    return f"{own_id}/known"


def test_a_peer_states_nothing_in_the_name_of_a_hub_that_is_joined_or_of_this_one(nation: MakeNation) -> None:
    a, b, liar = nation("a"), nation("b"), nation("liar")
    known, own = a.contribute("hotline", "known"), b.contribute("police", "known")
    a.state(known, digests(1, 2))
    b.state(own, digests(3))
    a.invite(b)
    liar.invite(b)
    for own_id, path in (("of-a", ("a",)), ("far", ("x", "a"))):
        liar.state(forge(liar, own_id, path, f"hotline{'' if own_id == 'of-a' else '2'}"), digests(1, 7))
    liar.state(forge(liar, "of-b", ("b",), "police"), digests(8))
    honest = liar.contribute("ngo", "known")
    liar.state(honest, digests(9))
    for _ in range(2):
        b.settle()
    assert b.standing("a--hotline/known") == digests(1, 2)
    assert b.standing(own) == digests(3)
    assert b.standing("liar--ngo/known") == digests(9)
    assert {s.name for s in b.hub.list_hash_sets()} == {own, "a--hotline/known", "liar--ngo/known"}
    liar.withdraw("of-a/known", digests(1))
    b.settle()
    assert b.standing("a--hotline/known") == digests(1, 2)


def test_an_id_that_is_taken_is_refused_and_nothing_else_is(nation: MakeNation) -> None:
    b, liar = nation("b"), nation("liar")
    own = b.contribute("liar--ngo", "known")
    b.state(own, digests(1))
    for contributor in ("ngo", "other"):
        liar.state(liar.contribute(contributor, "known"), digests(2))
    liar.invite(b)
    b.settle()
    assert b.standing(own) == digests(1)
    assert b.standing("liar--other/known") == digests(2)
    with opened(b.peers, "liar") as state:
        assert "called liar--ngo" in state.offers()["ngo/known"].problem


def test_a_feed_without_an_end_is_refused_and_what_stands_stays(
    nation: MakeNation, monkeypatch: pytest.MonkeyPatch
) -> None:
    b, liar = nation("b"), nation("liar")
    known = liar.contribute("ngo", "known")
    liar.state(known, digests(1, 2))
    liar.invite(b)
    b.settle()
    monkeypatch.setattr(taking, "MOST_ENTRIES", 10)
    liar.state(known, digests(*range(20)))
    with pytest.raises(LimitExceeded, match="more than 10 entries"):
        b.settle()
    assert b.standing("liar--ngo/known") == digests(1, 2)


def test_a_peer_reviews_in_no_name_but_its_own(nation: MakeNation) -> None:
    a, liar = nation("a"), nation("liar")
    known = a.contribute("hotline", "known")
    a.contribute("police", "known")
    a.state(known, digests(1))
    a.invite(liar)
    with Client(a.address, secret(liar.peers, "a")) as there:
        for member in ("police", "hotline", "contributors/police", "a/hotline"):
            try:
                there.create_review(f"{known}/1", ReviewKind.FALSE_POSITIVE, member=member)
            except HashHubError:
                continue
        with pytest.raises(HashHubError):
            there.create_review(f"{known}/1", ReviewKind.FALSE_POSITIVE)
        with pytest.raises(HashHubError):
            there.withdraw_entry(f"{known}/1", WithdrawalReason.ERROR)
    assert {r.author.partition("/")[0] for r in a.hub.list_reviews(f"{known}/1")} == {"liar"}


def test_reviews_that_are_too_many_for_a_peer_wait_and_hold_nothing_up(nation: MakeNation) -> None:
    a, b = nation("a"), nation("b")
    known = a.contribute("hotline", "known")
    a.state(known, digests(1, 2))
    a.invite(b)
    b.settle()
    here = [e.name for e in b.hub.list_entries("a--hotline/known")]
    for n in range(REVIEWS_A_DAY + 3):
        b.hub.create_review(here[0], ReviewKind.FALSE_POSITIVE, f"reason {n}")
    b.hub.create_review(here[1], ReviewKind.CONFIRMED)
    a.withdraw(known, digests(2))
    b.settle()
    b.settle()
    assert b.standing("a--hotline/known") == a.standing(known)
    assert len(list(a.hub.list_reviews(f"{known}/1"))) == REVIEWS_A_DAY
    with opened(b.peers, "a") as state:
        assert len(state.reviews(100)) == 3
        assert state.followed().status is PeerStatus.OK


class Killed(BaseException):
    """The process ends here."""


class Dying:
    """A client of the own hub that ends the process before or after one of its calls."""

    def __init__(self, hub: Client, calls: int, *, after: bool) -> None:
        self._hub, self.left, self._after = hub, calls, after

    def __getattr__(self, name: str) -> Any:
        made = getattr(self._hub, name)

        def call(*arguments: Any, **named: Any) -> Any:
            self.left -= 1
            if self.left == 0 and not self._after:
                raise Killed
            answer = made(*arguments, **named)
            if self.left == 0:
                raise Killed
            return answer

        return call


@pytest.mark.parametrize("after", [False, True])
def test_a_kill_at_any_call_loses_and_repeats_nothing(nation: MakeNation, *, after: bool) -> None:
    a, b = nation("a"), nation("b")
    known = a.contribute("hotline", "known", GREEN)
    a.state(known, digests(1, 2, 3))
    a.invite(b)
    b.settle()
    hub, calls, turn = b.hub, 0, 0
    while True:
        calls += 1
        turn += 1
        a.state(known, digests(10 + turn))
        a.withdraw(known, digests(9 + turn))
        a.update_terms(known, GREEN if turn % 2 else HANDED_ON)
        dying = Dying(hub, calls, after=after)
        b.hub = dying  # type: ignore[assignment]
        with suppress(Killed):
            b.settle()
        b.hub = hub
        b.settle()
        assert b.standing("a--hotline/known") == a.standing(known)
        assert b.hub.get_hash_set("a--hotline/known").marking == a.hub.get_hash_set(known).marking
        if dying.left > 0:
            break
    with opened(b.peers, "a") as state:
        assert state.followed().status is PeerStatus.OK
    assert calls > 5
