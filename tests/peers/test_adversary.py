"""A peer that speaks for others: what it forges reaches nobody's statements but its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from msgspec.structs import replace

from hashhub.errors import FailedPrecondition, HashHubError, InvalidArgument
from hashhub.model import (
    ChangedEntry,
    ChangeKind,
    Contributor,
    ContributorKind,
    FeedPage,
    HashSet,
    PeerOrigin,
    Reliability,
    Review,
    ReviewKind,
    Role,
)
from hashhub.peers.joining import left
from hashhub.peers.state import all_offers, opened
from hashhub.peers.taking import Taking
from hashhub.peers.ways import Ways
from tests.peers.conftest import GREEN, HANDED_ON, MakeNation, Nation, digests


@contextmanager
def forged(at: Nation, by: Nation) -> Iterator[Taking]:
    """What one hub takes from another, which may be given pages that the other never made."""
    with opened(at.peers, by.name) as state, state.locked():
        taking = Taking(state, at.hub, at.name, at.ways)
        with taking.connected(at.peers) as there:
            taking.check(there)
            yield taking


def page(taking: Taking, *lines: ChangedEntry, hub: str) -> FeedPage:
    return FeedPage(changes=lines, position=taking.position, revision=1, head="1:00", is_complete=True, hub=hub)


def contributor(name: str, *path: str, of: str = "hotline") -> ChangedEntry:
    told = Contributor(
        id=name,
        display_name=name,
        kind=ContributorKind.HOTLINE,
        jurisdiction="NL",
        reliability=Reliability.A,
        origin=PeerOrigin(path=path, contributor=of) if path else None,
    )
    return ChangedEntry(revision=1, kind=ChangeKind.UPSERT, contributor=told)


def hash_set(owner: str, name: str = "known") -> ChangedEntry:
    told = HashSet(contributor=owner, id=name, marking=HANDED_ON)
    return ChangedEntry(revision=1, kind=ChangeKind.UPSERT, hash_set=told)


def entry(by: Nation, stated: str, owner: str, *reviews: Review) -> ChangedEntry:
    """An entry that `by` states, as of another contributor."""
    real = next(e for e in by.hub.list_entries(stated))
    told = replace(real, contributor=owner, hash_set="known", external_id="")
    return ChangedEntry(revision=1, kind=ChangeKind.UPSERT, entry=told, reviews=reviews)


@pytest.fixture
def three(nation: MakeNation) -> dict[str, Nation]:
    """B is joined to A and C, of whom each states something; A means harm."""
    nations = {name: nation(name) for name in "abc"}
    for name, number in (("a", 1), ("c", 3)):
        nations[name].state(nations[name].contribute("hotline", "known", HANDED_ON), digests(number))
        nations[name].invite(nations["b"])
    nations["b"].state(nations["b"].contribute("police", "known"), digests(2))
    nations["b"].settle()
    assert nations["b"].standing("c--hotline/known") == digests(3)
    return nations


def standing(at: Nation) -> dict[str, set[str]]:
    return {one.name: at.standing(one.name) for one in at.hub.list_hash_sets()}


def test_forged_paths_reach_nobodys_statements(three: dict[str, Nation]) -> None:
    """Of a hub that is joined itself, of this one, through this one, and round by the forger."""
    a, b = three["a"], three["b"]
    before = standing(b)
    for path, owner in ((("c",), "hotline"), (("b",), "police"), (("c", "b"), "police"), (("a",), "hotline")):
        with forged(b, a) as taking:
            lines = [contributor("x", *path, of=owner), hash_set("x"), hash_set("x", "more")]
            lines.append(entry(a, "hotline/known", "x"))
            taking.apply(page(taking, *lines, hub="a"))
            assert standing(b) == before, path
            lines = [ChangedEntry(revision=2, kind=ChangeKind.WITHDRAW, hash_set_name="x/known")]
            taking.apply(page(taking, *lines, hub="a"))
        assert standing(b) == before, path


def test_withdrawals_in_others_names_withdraw_nothing(three: dict[str, Nation]) -> None:
    """Nor does an address that leads to another hub."""
    a, b = three["a"], three["b"]
    before = standing(b)
    with forged(b, a) as taking:
        for name in ("police/known", "c--hotline/known", "a--hotline/known"):
            numbers = [e.name.rpartition("/")[2] for e in b.hub.list_entries(name)]
            gone = [ChangedEntry(revision=1, kind=ChangeKind.WITHDRAW, entry_name=f"{name}/{n}") for n in numbers]
            lost = ChangedEntry(revision=1, kind=ChangeKind.WITHDRAW, hash_set_name=name)
            taking.apply(page(taking, *gone, lost, hub="a"))
        for name in ("c", "b", ""):
            with pytest.raises(FailedPrecondition):
                taking.apply(page(taking, contributor("hotline"), hash_set("hotline", "more"), hub=name))
    assert standing(b) == before


def test_an_id_that_somebody_has_here_stays_that_ones(three: dict[str, Nation]) -> None:
    a, b = three["a"], three["b"]
    b.contribute("a--police", "known")
    b.state("a--police/known", digests(9))
    with forged(b, a) as taking:
        taking.apply(
            page(taking, contributor("police"), hash_set("police"), entry(a, "hotline/known", "police"), hub="a")
        )
    assert b.standing("a--police/known") == digests(9)
    here = b.hub.get_contributor("a--police")
    assert (here.origin, here.reliability) == (None, Reliability.A)
    with opened(b.peers, "a") as state:
        assert "another contributor" in state.offers()["police/known"].problem


def test_reviews_in_others_names_are_the_peers(three: dict[str, Nation]) -> None:
    a, b = three["a"], three["b"]
    said = [
        Review(id=n, entry_id=1, author=author, kind=ReviewKind.FALSE_POSITIVE, role=Role.OPERATOR)
        for n, author in enumerate(("operator", "police", "c--hotline"), 1)
    ]
    with forged(b, a) as taking:
        taking.apply(
            page(
                taking,
                contributor("hotline"),
                hash_set("hotline"),
                entry(a, "hotline/known", "hotline", *said),
                hub="a",
            )
        )
    reviews = [r for e in b.hub.list_entries("a--hotline/known") for r in b.hub.list_reviews(e.name)]
    assert {r.author.partition("/")[0] for r in reviews} == {"a--hotline"}
    assert {r.role for r in reviews} == {Role.CONTRIBUTOR}
    others = [r for e in b.hub.list_entries("police/known") for r in b.hub.list_reviews(e.name)]
    assert not others


def test_a_peer_reviews_by_its_own_name_only(three: dict[str, Nation]) -> None:
    a, b = three["a"], three["b"]
    b.update_terms("police/known", GREEN)
    (target,) = b.hub.list_entries("police/known")
    with opened(a.peers, "b") as state, state.locked():
        taking = Taking(state, a.hub, "a", a.ways)
        with taking.connected(a.peers) as there:
            for member in ("operator", "../police", "police/ada", "b"):
                made = there.create_review(target.name, ReviewKind.FALSE_POSITIVE, member=member)
                assert made.author == f"a/{member}"
            with pytest.raises(InvalidArgument):
                there.create_review(target.name, ReviewKind.FALSE_POSITIVE)
            with pytest.raises(HashHubError):
                there.list_contributors().__next__()
    assert {r.role for r in b.hub.list_reviews(target.name)} == {Role.PEER}


@pytest.fixture
def far(nation: MakeNation) -> dict[str, Nation]:
    """B has the statements of C's hotline by A, whom its operator trusts up to B; M, whom it trusts up to C, forges."""
    nations = {name: nation(name) for name in "abcm"}
    a, b, c, m = nations.values()
    c.state(c.contribute("hotline", "known", HANDED_ON), digests(1, 2))
    c.invite(a)
    a.settle()
    m.state(m.contribute("ngo", "own", HANDED_ON), digests(9))
    m.invite(b, {Reliability.A: Reliability.C})
    a.invite(b, {Reliability.A: Reliability.B})
    b.settle()
    assert b.standing("c--hotline/known") == digests(1, 2)
    return nations


def forging(m: Nation, taking: Taking) -> None:
    """State and withdraw in the name of C's hotline, as if M were joined to C, and name it as a supplier."""
    theirs = contributor("ngo")
    assert theirs.contributor is not None
    theirs = replace(theirs, contributor=replace(theirs.contributor, takes_from=("x",)))
    said = [contributor("x", "c"), theirs, hash_set("x"), hash_set("x", "more"), entry(m, "ngo/own", "x")]
    taking.apply(page(taking, *said, hub="m"))


def described(at: Nation) -> tuple[Contributor, ...]:
    return tuple(one for one in at.hub.list_contributors() if one.id.startswith("c--"))


@pytest.mark.parametrize("path", [("c",), ("z", "c"), ("d", "e", "c")])
@pytest.mark.parametrize("letter", [Reliability.A, Reliability.B, Reliability.C])
def test_no_claimed_path_takes_an_established_way_over(
    far: dict[str, Nation], path: tuple[str, ...], letter: Reliability
) -> None:
    """However far M is trusted, and after the hub has looked at its state anew."""
    b, m = far["b"], far["m"]
    trust(b, m, letter)
    before, who = standing(b), described(b)
    for ways in (b.ways, Ways(all_offers(b.peers))):
        b.ways = ways
        with forged(b, m) as taking:
            lines = [contributor("x", *path), hash_set("x"), entry(m, "ngo/own", "x")]
            taking.apply(page(taking, *lines, hub="m"))
            assert (standing(b), described(b)) == (before, who)
            lines = [ChangedEntry(revision=2, kind=ChangeKind.WITHDRAW, hash_set_name="x/known")]
            taking.apply(page(taking, *lines, hub="m"))
        assert (standing(b), described(b)) == (before, who)


@pytest.mark.parametrize("letter", [Reliability.B, Reliability.C])
def test_beside_an_established_way_is_taken_only_who_is_trusted_as_far(
    far: dict[str, Nation], letter: Reliability
) -> None:
    """A hash set that only M offers of C's hotline, whose letter is that of A's way."""
    b, m = far["b"], far["m"]
    trust(b, m, letter)
    who = described(b)
    with forged(b, m) as taking:
        lines = [contributor("x", "c"), hash_set("x", "more")]
        taking.apply(page(taking, *lines, hub="m"))
    assert ("c--hotline/more" in standing(b)) == (letter is Reliability.B)
    assert described(b) == who
    assert [one.reliability for one in who] == [Reliability.B]


def test_when_the_way_ends_the_letter_is_that_of_the_next(far: dict[str, Nation]) -> None:
    b, m = far["b"], far["m"]
    with forged(b, m) as taking:
        lines = [contributor("x", "c"), hash_set("x"), entry(m, "ngo/own", "x")]
        taking.apply(page(taking, *lines, hub="m"))
        left(b.peers, b.hub, "a")
        b.ways.drop("a")
        taking.check(taking.connected(b.peers))
        taking.apply(page(taking, *lines, hub="m"))
    assert [one.reliability for one in described(b)] == [Reliability.C]
    assert standing(b)["c--hotline/known"] == digests(9)


def trust(b: Nation, m: Nation, letter: Reliability) -> None:
    """Have B's operator give M's A this letter."""
    with opened(b.peers, m.name) as state, state.transaction():
        state.save(replace(state.peer(), letters={Reliability.A: letter}))


def test_a_supplier_that_a_peer_names_is_not_described_anew(far: dict[str, Nation]) -> None:
    """Of a hub that is joined itself, and of one whose statements come by another peer."""
    a, b, c, m = far.values()
    before, who = standing(b), described(b)
    with forged(b, m) as taking:
        forging(m, taking)
    assert described(b) == who
    c.invite(b)
    b.settle()
    who = described(b)
    assert [one.reliability for one in who] == [Reliability.A]
    with forged(b, m) as taking:
        forging(m, taking)
    assert (described(b), standing(b)["c--hotline/known"]) == (who, before["c--hotline/known"])
    assert a.standing("c--hotline/known") == digests(1, 2)
