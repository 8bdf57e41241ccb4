"""Another hub as a reader and reviewer of this one: what it is given, what it may state, who is who."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Final

import msgspec
import pytest

from hashhub.errors import AlreadyExists, FailedPrecondition, InvalidArgument, LimitExceeded, NotFound, Reason
from hashhub.hub import entries
from hashhub.hub.access import DisclosureChannel, permits
from hashhub.model import (
    TLP,
    Contributor,
    ContributorKind,
    EventKind,
    HashSet,
    Marking,
    PeerOrigin,
    Principal,
    Review,
    ReviewKind,
    Role,
    now,
)
from hashhub.store import Store
from tests.hub.conftest import AUDITOR, OPERATOR, Desk, Stock, item

AT: Final = now()
B: Final = Principal(name="hub-b", role=Role.PEER, contributor="b", may_mirror=True)
BULK: Final = Marking(tlp=TLP.CLEAR, bulk=True)
# What a peer is given, by any way out. `stated`: by a contributor of this hub; `told`: came from another hub itself.
TABLE: Final = """
    label         stated               told
    CLEAR         bulk                 bulk,redistribution-if-named
    GREEN         bulk                 bulk,redistribution
    AMBER         bulk,redistribution  bulk,redistribution
    AMBER_STRICT  no                   no
    RED           no                   no
"""


def foreign(name: str, *path: str, contributor: str = "hotline") -> Contributor:
    return Contributor(
        id=name,
        display_name=name,
        kind=ContributorKind.HOTLINE,
        jurisdiction="ZZ",
        origin=PeerOrigin(path=path, contributor=contributor),
    )


def test_the_whole_table() -> None:
    header, *rows = (line.split() for line in TABLE.strip().splitlines())
    cells = {(TLP(row[0]), column == "told"): row[i].split(",") for row in rows for i, column in enumerate(header) if i}
    recipients = {(): None, ("contributors/b",): True, ("tokens/hub-b",): True, ("contributors/c",): False}
    seen = set()
    for label, told, way, (named, is_named), purposes, bulk, redistribution, acts, lives, owner in itertools.product(
        TLP, (False, True), DisclosureChannel, recipients.items(), ((), ("x",), ("y",)), (False, True), (False, True),
        (False, True), (False, True), ("alpha", "b"),
    ):  # fmt: skip
        if label is TLP.RED and not named:
            continue  # such terms cannot be made
        marking = Marking(
            tlp=label, recipients=named, permitted_purposes=purposes, bulk=bulk, redistribution=redistribution,
            expire_time=AT + timedelta(days=1 if lives else 0),
        )  # fmt: skip
        peer = msgspec.structs.replace(B, purposes=("x",), acts_for_others=acts)
        cell = cells[label, told]
        expected = (
            lives
            and is_named is not False
            and purposes != ("y",)
            and "no" not in cell
            and bulk
            and (redistribution or "redistribution" not in cell)
            and (redistribution or not named or "redistribution-if-named" not in cell)
        )
        hash_set = HashSet(contributor=owner, id="list", marking=marking)
        assert permits(peer, hash_set, {}, way, AT, has_origin=told) is expected, (marking, told, way, owner)
        seen.add(expected)
    assert seen == {False, True}


def _fill(desk: Desk) -> None:
    desk.contributor("b")
    desk.hub.contributors.create(OPERATOR, foreign("c--hotline", "c", "d"))
    for name, marking in (
        ("alpha/open", BULK),
        ("alpha/strict", Marking(tlp=TLP.AMBER_STRICT, bulk=True)),
        ("b/own", Marking(tlp=TLP.AMBER, bulk=True)),
        ("c--hotline/green", Marking(tlp=TLP.GREEN, bulk=True)),
        ("c--hotline/handed-on", Marking(tlp=TLP.AMBER, bulk=True, redistribution=True)),
    ):
        desk.hash_set(name, marking=marking)
        desk.contribute(name, item(1), item(2))


@pytest.fixture
def desk(any_stock: Stock) -> Desk:
    return any_stock(_fill)


def test_a_peer_is_told_whose_statements_it_gets(desk: Desk) -> None:
    """Its own contributor's hash set is under terms for it like all others: another hub holds the token."""
    lines = desk.hub.changes.page(B).changes
    assert {f"{x.entry.contributor}/{x.entry.hash_set}" for x in lines if x.entry} == {
        "alpha/open",
        "c--hotline/handed-on",
    }
    origins = {x.contributor.id: x.contributor.origin for x in lines if x.contributor is not None}
    assert origins == {"alpha": None, "c--hotline": PeerOrigin(path=("c", "d"), contributor="hotline")}


def test_terms_that_change_reach_a_peer(desk: Desk) -> None:
    position = desk.hub.changes.page(B).position
    for marking, gives in ((Marking(tlp=TLP.AMBER, bulk=True), 0), (Marking(tlp=TLP.GREEN, bulk=True), 2)):
        changed = HashSet(contributor="alpha", id="open", marking=marking)
        desk.hub.hash_sets.update(OPERATOR, changed, ["marking"])
        page = desk.hub.changes.page(B, position, withdrawn_entries=True)
        position = page.position
        assert len([x for x in page.changes if x.entry and x.kind == "UPSERT"]) == gives
        assert len([x for x in page.changes if x.entry and x.kind == "WITHDRAW"]) == 2 - gives


def objection(desk: Desk, member: str, name: str = "alpha/open", number: int = 0, request_id: str = "") -> Review:
    contributor, _, set_id = name.partition("/")
    entry = desk.entries(name)[number]
    return desk.hub.reviews.create(
        B, contributor, set_id, entry.id, ReviewKind.FALSE_POSITIVE, "no", member=member, request_id=request_id
    )


def test_a_review_comes_back_as_its_members_once(desk: Desk) -> None:
    for _ in range(2):
        assert objection(desk, "hotline/ada", request_id="b's review 7").author == "b/hotline/ada"
    (entry, _) = desk.entries("alpha/open")
    (review,) = desk.hub.reviews.list(AUDITOR, "alpha", "open", entry.id, 10, 0)[0]
    assert (review.role, review.actor, review.author) == (Role.PEER, "hub-b", "b/hotline/ada")
    told = [r for x in desk.hub.changes.page(B).changes for r in x.reviews]
    assert [r.author for r in told] == ["b/hotline/ada"]


@pytest.mark.parametrize("name", ["alpha/strict", "b/own", "c--hotline/green"])
def test_a_peer_reviews_nothing_that_it_was_not_given(desk: Desk, name: str) -> None:
    with pytest.raises(NotFound):
        objection(desk, "hotline", name)


def test_only_a_peer_names_a_member_and_it_must(desk: Desk) -> None:
    (entry, _) = desk.entries("alpha/open")
    for who, member in ((OPERATOR, "x"), (Principal(name="w", role=Role.CONTRIBUTOR, contributor="b"), "x"), (B, "")):
        with pytest.raises(InvalidArgument) as caught:
            desk.hub.reviews.create(who, "alpha", "open", entry.id, ReviewKind.CONFIRMED, member=member)
        assert caught.value.violations[0].field == "member"


def test_one_member_does_not_use_up_what_others_may_say(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """And members that a peer makes up do not go past what all of it may say."""
    monkeypatch.setattr(entries, "OBJECTIONS_A_DAY", 1)
    monkeypatch.setattr(entries, "MEMBERS_A_DAY", 2)
    said = [objection(desk, member, number=n).awaits_acceptance for member, n in (("x", 0), ("x", 1), ("y", 1))]
    assert said == [False, True, False]
    assert objection(desk, "z", "c--hotline/handed-on").awaits_acceptance
    monkeypatch.setattr(entries, "REVIEWS_A_DAY", 2)
    objection(desk, "x")
    with pytest.raises(LimitExceeded):
        objection(desk, "x")
    for member in ("y", "z"):
        objection(desk, member)
    with pytest.raises(LimitExceeded):
        objection(desk, "w")


def test_the_way_of_an_origin_may_change_and_nothing_else_of_it(desk: Desk) -> None:
    direct = desk.hub.contributors.update(OPERATOR, foreign("c--hotline", "d"), ["origin"])
    assert direct.origin == PeerOrigin(path=("d",), contributor="hotline")
    assert desk.hub.contributors.get(OPERATOR, "c--hotline") == direct
    for other in (foreign("c--hotline", "e"), foreign("c--hotline", "d", contributor="police"), foreign("alpha", "d")):
        with pytest.raises(InvalidArgument) as caught:
            desk.hub.contributors.update(OPERATOR, other, ["origin"])
        assert caught.value.violations[0].field == "origin"


def test_one_author_is_one_contributor(desk: Desk) -> None:
    """Or an entry that comes by two ways would be two, and look like two independent statements."""
    with pytest.raises(AlreadyExists) as caught:
        desk.hub.contributors.create(OPERATOR, foreign("d--hotline", "d"))
    assert "kept as contributor c--hotline already" in caught.value.message
    desk.hub.contributors.create(OPERATOR, foreign("d--police", "d", contributor="police"))


@pytest.mark.parametrize("path", [(), ("a", "b", "a"), ("A",), ("a--b",), tuple(f"h{n}" for n in range(17))])
def test_a_path_that_is_none_is_refused(path: tuple[str, ...]) -> None:
    with pytest.raises(InvalidArgument):
        PeerOrigin(path=path, contributor="hotline")


def test_a_hub_is_named_once(desk: Desk) -> None:
    contributors = desk.hub.contributors
    assert desk.hub.changes.page(B).hub == ""
    for name in ("", "A", "a b", "x" * 64, "a--b"):
        with pytest.raises(InvalidArgument):
            contributors.name_hub(OPERATOR, name)
    assert [contributors.name_hub(OPERATOR, "a") for _ in range(2)] == ["a", "a"]
    with pytest.raises(FailedPrecondition) as caught:
        contributors.name_hub(OPERATOR, "other")
    assert caught.value.reason is Reason.HUB_NAMED
    assert (desk.hub.changes.page(B).hub, desk.hub.status(OPERATOR).hub) == ("a", "a")
    assert [e.facts for e in desk.hub.store.history.list_events(kinds=[EventKind.HUB_NAMED])] == [{"hub": "a"}]
    with pytest.raises(InvalidArgument):
        contributors.update(OPERATOR, foreign("c--hotline", "c", "a", "d"), ["origin"])


def test_a_name_outlives_a_restart(sqlite_directory: str) -> None:
    with_name = Store.open(sqlite_directory)
    with_name.resources.name_hub("a")
    with_name.close()
    again = Store.open(sqlite_directory)
    assert again.resources.hub() == "a"
    again.close()
