"""Two hubs: what one states is stated at the other, and what it withdraws is withdrawn there."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from hashhub.cli import main
from hashhub.client import Client
from hashhub.errors import HashHubError
from hashhub.model import TLP, EntryState, Marking, Principal, Reliability, ReviewKind, Role, WithdrawalReason
from hashhub.peers.joining import left
from hashhub.peers.state import opened
from tests.conftest import new_database
from tests.peers.conftest import GREEN, HANDED_ON, MakeNation, Nation, digests

HERE = "a--hotline/known"


def test_what_a_hub_states_and_withdraws_is_stated_and_withdrawn_at_its_peer(nation: MakeNation) -> None:
    a, b = nation("a"), nation("b")
    known = a.contribute("hotline", "known")
    a.state(known, digests(1, 2, 3))
    a.state(known, digests(4, 5), named=False)
    a.invite(b)
    b.settle()
    assert b.standing(HERE) == digests(1, 2, 3, 4, 5)
    here = b.hub.get_contributor("a--hotline")
    assert here.origin is not None
    assert (here.origin.path, here.origin.contributor, here.reliability) == (("a",), "hotline", Reliability.A)

    a.withdraw(known, digests(2))
    a.withdraw(known, digests(5), named=False)
    b.settle()
    assert b.standing(HERE) == digests(1, 3, 4)

    a.state(known, digests(2))
    b.settle()
    assert b.standing(HERE) == digests(1, 2, 3, 4)


def test_terms_of_the_origin_hold_at_its_peer_and_follow_it(nation: MakeNation) -> None:
    a, b = nation("a"), nation("b")
    known = a.contribute("hotline", "known", HANDED_ON)
    a.state(known, digests(1, 2))
    a.invite(b)
    [token] = [t for t in a.hub.list_tokens() if t.role is Role.PEER]
    a.hub.update_token(replace(token, purposes=("moderation",)), ["purposes"])
    b.settle()
    assert b.hub.get_hash_set(HERE).marking == HANDED_ON
    for marking in (
        replace(GREEN, legal_basis="an agreement"),  # tighter
        Marking(tlp=TLP.CLEAR, bulk=True, legal_basis="an agreement"),  # looser
        Marking(tlp=TLP.AMBER, bulk=True, redistribution=True, permitted_purposes=("moderation",)),  # both
    ):
        a.update_terms(known, marking)
        b.settle()
        here = b.hub.get_hash_set(HERE)
        assert here.marking == marking
        assert b.standing(HERE) == digests(1, 2)
        with pytest.raises(HashHubError, match="looser"):
            b.update_terms(HERE, replace(marking, tlp=TLP.CLEAR, permitted_purposes=(), redistribution=True))

    a.update_terms(known, Marking(tlp=TLP.AMBER, bulk=True))
    b.settle()
    assert b.standing(HERE) == set()
    a.update_terms(known, GREEN)
    b.settle()
    assert b.standing(HERE) == digests(1, 2)


def test_what_is_withdrawn_by_hand_here_stays_withdrawn_here(nation: MakeNation) -> None:
    a, b = nation("a"), nation("b")
    known = a.contribute("hotline", "known")
    a.state(known, digests(1, 2))
    a.invite(b)
    b.settle()
    one = next(e for e in b.hub.list_entries(HERE) if e.hashes[0].digest.hex() in digests(1))
    b.hub.withdraw_entry(one.name, WithdrawalReason.NOT_ILLEGAL_HERE)
    a.state(known, digests(3))
    b.hub.close()
    b.hub = b.connect()
    with opened(b.peers, "a") as state, state.transaction():
        state.save(replace(state.followed(), position="", number=7, is_filling=True))
    b.settle()
    assert b.standing(HERE) == digests(2, 3)
    assert a.standing(known) == digests(1, 2, 3)


def test_a_hub_that_was_restored_is_brought_in_line(nation: MakeNation) -> None:
    a, b = nation("a"), nation("b")
    known = a.contribute("hotline", "known")
    a.state(known, digests(1, 2, 3))
    a.invite(b)
    b.settle()
    backups = a.back_up(), b.back_up()
    a.withdraw(known, digests(1))
    a.state(known, digests(4))
    b.settle()
    b.restore(backups[1])
    assert b.standing(HERE) == digests(2, 3)  # withdrawals outlive the database
    b.settle()
    assert b.standing(HERE) == digests(2, 3, 4)

    a.restore(backups[0])
    a.state(known, digests(5))
    a.withdraw(known, digests(2))
    b.settle()
    assert b.standing(HERE) == a.standing(known)


def test_who_leaves_takes_its_statements_back_on_both_sides(nation: MakeNation) -> None:
    a, b = nation("a"), nation("b")
    there, here = a.contribute("hotline", "known"), b.contribute("police", "liste")
    a.state(there, digests(1))
    b.state(here, digests(2))
    a.invite(b)
    a.settle()
    b.settle()
    assert (a.standing("b--police/liste"), b.standing(HERE)) == (digests(2), digests(1))
    left(b.peers, b.hub, "a")
    assert b.standing(HERE) == set()
    a.settle()
    assert a.standing("b--police/liste") == set()
    assert (a.standing(there), b.standing(here)) == (digests(1), digests(2))


def test_a_review_travels_to_the_author_s_hub_once(nation: MakeNation) -> None:
    a, b = nation("a"), nation("b")
    known = a.contribute("hotline", "known")
    a.state(known, digests(1))
    a.invite(b)
    b.settle()
    b.contribute("ngo", "own")
    secret = b.hub.create_token(Principal(name="ngo", role=Role.CONTRIBUTOR, contributor="ngo"))
    [entry] = b.hub.list_entries(HERE, (EntryState.ACTIVE,))
    with Client(b.address, secret) as ngo:
        ngo.create_review(entry.name, ReviewKind.FALSE_POSITIVE, "a drawing")
    before = b.peers / "a.db"
    copy = before.read_bytes()
    b.settle()
    before.write_bytes(copy)  # as after a kill before it was noted
    b.settle()
    a.settle()
    b.settle()
    [review] = a.hub.list_reviews(f"{known}/1")
    assert (review.author, review.kind, review.comment) == ("b/ngo", ReviewKind.FALSE_POSITIVE, "a drawing")
    assert [r.author for r in b.hub.list_reviews(entry.name)] == ["ngo"]


def test_who_takes_from_a_contributor_of_this_hub_does_so_here(nation: MakeNation) -> None:
    a, b = nation("a"), nation("b")
    own, known = b.contribute("police", "own"), a.contribute("hotline", "known")
    b.state(own, digests(1))
    a.state(known, digests(2))
    a.invite(b)
    a.settle()
    a.hub.update_contributor(replace(a.hub.get_contributor("hotline"), takes_from=("b--police",)), ["takes_from"])
    b.settle()
    assert b.standing(HERE) == digests(2)
    assert b.hub.get_contributor("a--hotline").takes_from == ("police",)
    assert b.hub.get_contributor("police").origin is None


def test_two_hubs_on_postgresql(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    with ExitStack() as stack:
        urls = [stack.enter_context(new_database(request, "postgresql")) for _ in range(2)]
        a, b = (Nation(tmp_path, name, database=url) for name, url in zip("ab", urls, strict=True))
        stack.callback(b.close)
        stack.callback(a.close)
        known = a.contribute("hotline", "known", HANDED_ON)
        a.state(known, digests(1, 2))
        a.state(known, digests(3), named=False)
        a.invite(b)
        b.settle()
        assert b.standing(HERE) == digests(1, 2, 3)
        a.withdraw(known, digests(1))
        a.withdraw(known, digests(3), named=False)
        a.update_terms(known, GREEN)
        b.hub.create_review(next(b.hub.list_entries(HERE, (EntryState.ACTIVE,))).name, ReviewKind.FALSE_POSITIVE)
        b.settle()
        assert b.standing(HERE) == digests(2)
        assert b.hub.get_hash_set(HERE).marking == GREEN
        left(b.peers, b.hub, "a")
        assert b.standing(HERE) == set()


def test_letters_can_be_changed_and_those_of_whom_it_gave_follow(nation: MakeNation) -> None:
    a, b = nation("a"), nation("b")
    a.state(a.contribute("hotline", "known"), digests(1))
    a.invite(b)
    b.settle()
    command = ["peer", "change", "a", "--dir", str(b.peers), "--json"]
    for given, letter in ((["--reliability", "A=C"], Reliability.C), ([], Reliability.F)):
        done = CliRunner().invoke(main, [*command, *given])
        assert done.exit_code == 0, done.output
        b.settle()
        assert b.hub.get_contributor("a--hotline").reliability is letter
    assert b.standing(HERE) == digests(1)


def test_a_hub_among_sources_leads_to_joining_it() -> None:
    done = CliRunner().invoke(main, ["source", "add", "hashhub", "nl"])
    assert done.exit_code == 2
    assert "hashhub peer join" in done.output
