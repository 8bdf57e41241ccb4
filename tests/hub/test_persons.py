"""Two tokens are not two people: who signs off, and what is undone with a stolen token."""

from __future__ import annotations

import time
from datetime import datetime, timedelta

import msgspec
import pytest

from hashhub.errors import FailedPrecondition, Reason
from hashhub.hub import Hub
from hashhub.hub.access import may_be_one_person
from hashhub.hub.selections import BulkOrder
from hashhub.model import (
    SYSTEM,
    ConflictReason,
    ConflictState,
    EntryAction,
    EntryState,
    EventKind,
    Group,
    HashSet,
    Marking,
    Principal,
    Reliability,
    RevertedEvent,
    Role,
    SchemeStatus,
    Selection,
    WithdrawalReason,
    now,
)
from hashhub.store.tokens import TokenTable
from tests.hub.conftest import OPERATOR, Desk, item
from tests.hub.rooms import Room
from tests.hub.test_reverting import revert
from tests.hub.test_schemes import text


def person(name: str, role: Role = Role.OPERATOR, contributor: str = "operator") -> Principal:
    return Principal(name=name, role=role, contributor=contributor)


def made(hub: Hub, name: str, by: Principal, role: Role = Role.OPERATOR, contributor: str = "") -> Principal:
    return hub.tokens.create(by, Principal(name=name, role=role, contributor=contributor))[0]


@pytest.fixture
def root(any_desk: Desk) -> Desk:
    """A hub whose first token is the hub's own."""
    assert any_desk.hub.tokens.bootstrap()
    return any_desk


class TestSigningOff:
    def refused(self, hub: Hub, author: Principal, signer: Principal, name: str) -> None:
        hub.schemes.put(author, text(name))
        with pytest.raises(FailedPrecondition, match="takes two people") as no:
            hub.schemes.sign_off(signer, name, "looked fine")
        assert no.value.reason is Reason.SECOND_PERSON_NEEDED
        assert hub.schemes.get(signer, name).scheme.status is SchemeStatus.DRAFT

    def test_by_another_persons_token_only(self, root: Desk) -> None:
        hub = root.hub
        ann, ben = made(hub, "ann", OPERATOR), made(hub, "ben", OPERATOR)
        first, second = made(hub, "first", ann), made(hub, "second", ann)
        third = made(hub, "third", first)
        pairs = [(ann, first), (first, ann), (ann, third), (third, ann), (first, second), (third, second)]
        pairs += [(OPERATOR, ann), (ann, OPERATOR), (OPERATOR, third)]
        for i, (author, signer) in enumerate(pairs):
            self.refused(hub, author, signer, f"own@{i + 1}")
        for i, (author, signer) in enumerate([(ann, ben), (ben, third), (third, ben)]):
            hub.schemes.put(author, text(f"fine@{i + 1}"))
            signed = hub.schemes.sign_off(signer, f"fine@{i + 1}", "read it")
            assert signed.scheme.status is SchemeStatus.VERIFIED

    def test_nor_once_the_token_between_is_gone(self, root: Desk) -> None:
        hub = root.hub
        ann = made(hub, "ann", OPERATOR)
        between = made(hub, "between", ann)
        far = made(hub, "far", between)
        hub.tokens.delete(ann, "between")
        self.refused(hub, ann, far, "own@1")
        hub.schemes.put(far, text("own@2"))
        hub.tokens.delete(ann, "far")
        with pytest.raises(FailedPrecondition):
            hub.schemes.sign_off(ann, "own@2", "read it")

    def test_nor_by_a_token_whose_secret_the_author_has_replaced(self, root: Desk) -> None:
        hub = root.hub
        ann, ben = made(hub, "ann", OPERATOR), made(hub, "ben", OPERATOR)
        old = made(hub, "old", ben)
        hub.tokens.rotate(ben, "ben")  # one's own
        assert not may_be_one_person(hub.store, "ann", "ben")
        hub.tokens.rotate(ann, "ben", timedelta(0))
        self.refused(hub, ann, ben, "own@1")
        # What that token had made before, its holder gave away before.
        assert not may_be_one_person(hub.store, "ann", old.name)
        for _ in range(3):
            hub.tokens.rotate(ben, "ben")
        assert may_be_one_person(hub.store, "ann", "ben")

    def test_two_first_tokens_are_two(self, root: Desk) -> None:
        hub = root.hub
        TokenTable.put_token(hub.store.tokens, b"2", person("operator-2"), by=SYSTEM)
        assert not may_be_one_person(hub.store, "operator", "operator-2")
        assert may_be_one_person(hub.store, "operator", "operator")


def undone(done: list[RevertedEvent]) -> set[EventKind]:
    assert all(x.reverted for x in done), [(x.event.kind, x.outcome) for x in done if not x.reverted]
    return {x.event.kind for x in done}


class TestStolen:
    def test_what_a_token_made_ends_and_what_that_wrote_is_undone(self, root: Desk) -> None:
        """By each of three generations of tokens, something of every kind that decides."""
        hub = root.hub
        mole = made(hub, "mole", OPERATOR)
        early = made(hub, "early", mole)
        for name in ("alpha/list", "beta/list"):
            root.hash_set(name)
        root.contribute("alpha/list", item(1), item(2), item(3))
        benign = root.contribute("beta/list", item(4))
        hub.groups.create(OPERATOR, Group(id="allies", members=("alpha",)))
        contributors = hub.contributors.list(OPERATOR, 10, "")[0]
        sets = hub.hash_sets.list(OPERATOR, None, 10, "")[0]
        since = now()
        child = made(hub, "child", mole)
        desk = made(hub, "stranger", child, Role.CONTRIBUTOR, "alpha")
        grandchild = made(hub, "grandchild", child)
        for number, token in enumerate((mole, child, grandchild)):
            entry = root.entries("alpha/list")[number]
            hub.entries.quarantine(token, "alpha", "list", entry.id)
            hub.groups.create(token, Group(id=f"friends-{number}", members=("beta",)))
            hub.policies.put(token, POLICY.format(f"mine-{number}"))
            hub.schemes.put(token, text(f"mine@{number + 1}"))
        alpha = next(c for c in contributors if c.id == "alpha")
        raised = msgspec.structs.replace(alpha, reliability=Reliability.A)
        hub.contributors.update(child, raised, ["reliability"])
        hub.hash_sets.accept(grandchild, "beta", "list", benign.revision)
        hub.hash_sets.update(
            desk, HashSet(contributor="alpha", id="list", marking=Marking(recipients=("tokens/child",))), ["marking"]
        )
        hub.groups.update(grandchild, Group(id="allies"), (), add_members=["beta"])
        hub.tokens.update(grandchild, Principal(name="early", role=Role.OPERATOR, may_mirror=True), ["may_mirror"])
        assert undone(revert(root, "mole", since)) >= {
            EventKind.TOKEN_CREATED, EventKind.TOKEN_UPDATED, EventKind.ENTRIES_QUARANTINED, EventKind.GROUP_CREATED,
            EventKind.GROUP_UPDATED, EventKind.POLICY_PUT, EventKind.SCHEME_PUT, EventKind.CONTRIBUTOR_UPDATED,
            EventKind.HASH_SET_ACCEPTED, EventKind.TERMS_CHANGED,
        }  # fmt: skip
        assert {t.name for t in hub.tokens.list(OPERATOR)} == {"operator", "mole", "early"}
        assert not any(t.may_mirror for t in hub.tokens.list(OPERATOR) if t.name == early.name)
        assert [e.state for e in root.entries("alpha/list")] == [EntryState.ACTIVE] * 3
        assert hub.contributors.list(OPERATOR, 10, "")[0] == contributors
        assert hub.hash_sets.list(OPERATOR, None, 10, "")[0] == sets
        assert hub.groups.get(OPERATOR, "allies").members == ("alpha",)
        assert all(not hub.groups.get(OPERATOR, f"friends-{n}").members for n in range(3))
        last, *_ = hub.store.history.list_events(kinds=[EventKind.ACTOR_REVERTED])
        assert set(last.facts["tokens"]) == {"child", "stranger", "grandchild"}  # type: ignore[arg-type]
        # Run again, nothing is left to do, and nothing is counted twice.
        assert not any(x.reverted for x in hub.history.revert(OPERATOR, "mole", since, comment="again"))
        again, *_ = hub.store.history.list_events(kinds=[EventKind.ACTOR_REVERTED])
        assert again.facts["events"] == 0 or again.revision == last.revision

    def test_a_token_made_before_is_another_matter(self, root: Desk) -> None:
        hub = root.hub
        mole = made(hub, "mole", OPERATOR)
        early = made(hub, "early", mole)
        time.sleep(0.005)
        since = now()
        hub.groups.create(early, Group(id="allies"))
        assert not hub.history.revert(OPERATOR, "mole", since, comment="stolen")
        assert "early" in {t.name for t in hub.tokens.list(OPERATOR)}

    def test_conflicts_open_again(self, any_room: Room) -> None:
        room_, conflicts = any_room, any_room.hub.conflicts
        for name, value in (("alpha/list", "csam"), ("beta/list", "harmless")):
            room_.set(name)
            for number in range(4):
                room_.state(name, number, value)
        names = [c.name for c in room_.conflicts()]
        assert len(names) == 4
        conflicts.assign(OPERATOR, names[0], "Ann")
        conflicts.resolve(OPERATOR, names[3], ConflictReason.OTHER, "seen")
        since = now()
        mole = made(room_.hub, "mole", OPERATOR)
        child = made(room_.hub, "child", mole)
        conflicts.assign(mole, names[0], "somebody")
        conflicts.assign(mole, names[0], "nobody")
        conflicts.assign(mole, names[1], "Ben")
        conflicts.assign(OPERATOR, names[1], "Cem")
        for name, token in zip(names, (mole, child, child), strict=False):
            conflicts.resolve(token, name, ConflictReason.OTHER, "no matter")
        conflicts.reopen(mole, names[3], "no")
        conflicts.reopen(mole, names[2], "no")
        conflicts.resolve(mole, names[2], ConflictReason.OTHER, "no matter at all")
        done = revert(room_, "mole", since)
        assert [x.event.subject for x in done if not x.reverted] == [f"conflicts/{names[1]}"]
        states = [(c.state, c.assignee) for c in (conflicts.get(OPERATOR, name) for name in names)]
        assert states == [
            (ConflictState.ASSIGNED, "Ann"), (ConflictState.ASSIGNED, "Cem"), (ConflictState.OPEN, ""),
            (ConflictState.RESOLVED, ""),
        ]  # fmt: skip
        assert not any(x.reverted for x in room_.hub.history.revert(OPERATOR, "mole", since, comment="again"))

    def test_a_resolution_of_what_ended_since_does_not_come_back(self, any_room: Room) -> None:
        room_, conflicts = any_room, any_room.hub.conflicts
        for name, value in (("alpha/list", "csam"), ("beta/list", "harmless")):
            room_.set(name)
            room_.state(name, 1, value)
        found = room_.only()
        since = now()
        conflicts.resolve(person("mole"), found.name, ConflictReason.OTHER, "no matter")
        entry = room_.entry("beta/list")
        room_.hub.entries.withdraw(OPERATOR, "beta", "list", entry.id, WithdrawalReason.ERROR)
        room_.look()
        assert conflicts.get(OPERATOR, found.name).state is ConflictState.ENDED
        undone(revert(room_, "mole", since))
        room_.hub.entries.restore(OPERATOR, "beta", "list", entry.id)
        room_.look()
        assert conflicts.get(OPERATOR, found.name).state is ConflictState.OPEN


def test_a_preview_takes_no_request_back(any_desk: Desk) -> None:
    """Of many at once, which wait for a second person."""
    any_desk.hash_set("alpha/list")
    any_desk.contribute("alpha/list", *(item(n) for n in range(60)))
    thief = person("thief", Role.CONTRIBUTOR, "alpha")
    since: datetime = now()
    order = BulkOrder(EntryAction.WITHDRAW, WithdrawalReason.ERROR)
    asked = any_desk.hub.selections.change(thief, Selection(hash_set="alpha/list"), order)
    assert asked.pending
    waiting = [e.withdrawal for e in any_desk.entries("alpha/list")]
    any_desk.hub.history.revert(OPERATOR, "thief", since, validate_only=True)
    assert [e.withdrawal for e in any_desk.entries("alpha/list")] == waiting
    undone(revert(any_desk, "thief", since))
    assert not any(e.withdrawal for e in any_desk.entries("alpha/list"))


POLICY = """
name = "{}"
title = "Two say so"
description = "Matches what two independent contributors state."
disputed_by = ["BENIGN_SET"]
disputed_from = "C"
independent_from = "C"
test = "REVIEW"

[[clause]]
id = "two"
title = "two independent contributors state it"
contributors = 2
verdicts = ["csam"]
"""
