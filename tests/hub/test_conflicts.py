"""What becomes of conflicts: told to those whom terms let know of them, and resolved by people."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from hashhub.errors import Conflict as Clash
from hashhub.errors import FailedPrecondition, InvalidArgument, NotFound, PermissionDenied, Reason
from hashhub.model import (
    SYSTEM,
    TLP,
    ConflictAction,
    ConflictChanges,
    ConflictFilter,
    ConflictKind,
    ConflictOrder,
    ConflictReason,
    ConflictState,
    EntryState,
    EventKind,
    Marking,
    Principal,
    QueueKind,
    Reliability,
    Severity,
    WithdrawalReason,
    now,
)
from hashhub.store.database import Database
from tests.hub.conftest import AUDITOR, OPERATOR, digest, item, writer
from tests.hub.rooms import Room

# --- What becomes of one ----------------------------------------------------------------------------------------------


def test_a_conflict_ends_with_a_statement_and_comes_back_with_it(any_room: Room) -> None:
    before = any_room.contradict()
    entry = any_room.withdraw("beta/list")
    assert any_room.conflicts() == []
    ended = any_room.only(states=[ConflictState.ENDED])
    assert (ended.name, ended.ended_by, ended.ended_side) == (before.name, "WITHDRAWN", "beta/list")
    with pytest.raises(FailedPrecondition, match="has ended"):
        any_room.hub.conflicts.resolve(OPERATOR, ended.name, ConflictReason.CORRECTED, "they did")
    any_room.hub.entries.restore(writer("beta"), "beta", "list", entry.id)
    any_room.look()
    again = any_room.only()
    assert (again.name, again.state, again.ended_by) == (before.name, ConflictState.OPEN, "")


def test_a_correction_ends_it_and_the_list_says_so(room: Room) -> None:
    room.contradict("infant", "teen")
    room.state("beta/list", 1, "prepubescent")
    ended = room.only(states=[ConflictState.ENDED])
    assert (ended.ended_by, ended.ended_side) == ("SUPERSEDED", "beta/list")
    assert room.conflicts() == []


def test_a_resolution_stands_until_its_ground_changes(any_room: Room) -> None:
    desk = any_room
    name = desk.contradict("infant", "teen").name
    resolved = desk.hub.conflicts.resolve(OPERATOR, name, ConflictReason.LEFT_STANDING, "criteria differ")
    assert resolved.state is ConflictState.RESOLVED
    (said_,) = resolved.resolutions
    assert (said_.closes, said_.stands, said_.contributor, said_.actor) == (True, True, "operator", "operator")

    # The same statements again, in a list that replaces the old one and as a new entry: nothing has changed.
    sequence = desk.last_sequence()
    desk.contribute("beta/list", item(1, value="teen", external_id="x1", series="another"), source="again")
    desk.look()
    assert [e.state for e in desk.entries("beta/list")] == [EntryState.WITHDRAWN, EntryState.ACTIVE]
    conflict = desk.only()
    assert (conflict.name, conflict.state) == (name, ConflictState.RESOLVED)
    assert conflict.etag == resolved.etag
    # Withdrawn and restored: it ends, and what was said of it holds again.
    entry = desk.withdraw("beta/list")
    desk.hub.entries.restore(writer("beta"), "beta", "list", entry.id)
    desk.look()
    assert desk.only().state is ConflictState.RESOLVED
    assert desk.last_sequence() == sequence
    assert desk.only().name == name

    # Another value that contradicts as well: it opens, and what was said is history.
    desk.state("alpha/list", 1, "prepubescent")
    opened = desk.hub.conflicts.get(AUDITOR, name)
    assert opened.state is ConflictState.OPEN
    assert opened.etag != resolved.etag
    assert [r.stands for r in opened.resolutions] == [False]
    assert desk.last_sequence() == sequence + 1
    with pytest.raises(Clash, match="has changed since"):
        desk.hub.conflicts.resolve(OPERATOR, name, ConflictReason.OTHER, "late", etag=resolved.etag)


def test_another_digest_is_another_ground(room: Room) -> None:
    name = room.contradict("infant", "teen", algorithms=("MD5",)).name
    room.hub.conflicts.resolve(OPERATOR, name, ConflictReason.NOT_THE_SAME_ITEM, "looked at both")
    room.contribute("beta/list", item(1, value="teen", external_id="x1", algorithms=("MD5", "SHA1")))
    room.look()
    conflict = room.only()
    assert (conflict.name, conflict.state) == (name, ConflictState.OPEN)


def test_several_digests_in_common_are_one_conflict(room: Room) -> None:
    room.set("alpha/list")
    room.set("beta/list")
    algorithms = ("MD5", "SHA1", "SHA256")
    room.state("alpha/list", 1, "csam", algorithms=algorithms)
    room.state("beta/list", 1, "harmless", algorithms=algorithms)
    room.only()


def test_an_erased_entry_ends_it_and_leaves_no_digest(any_room: Room) -> None:
    desk = any_room
    name = desk.contradict().name
    desk.hub.conflicts.resolve(writer("beta"), name, ConflictReason.DECIDED_FOR, "case 7", decided_for="beta")
    entry = desk.entry("beta/list")
    desk.hub.entries.erase(OPERATOR, "beta", "list", entry.id)
    desk.look()
    ended = desk.hub.conflicts.get(AUDITOR, name)
    assert (ended.state, ended.ended_by, ended.ended_side) == (ConflictState.ENDED, "WITHDRAWN", "beta/list")
    assert [r.comment for r in ended.resolutions] == [""]
    store = desk.hub.store
    rows = store.database.fetch("SELECT item, grounds, resolved_grounds FROM conflict")
    assert [[bytes(x) for x in row] for row in rows] == [[b"", b"", b""]]
    assert all(d not in repr(rows) for d in (digest("MD5", 1).digest.hex(), digest("SHA1", 1).digest.hex()))


def test_erasing_both_sides_at_once_or_one_that_ended_before_leaves_no_trace(room: Room) -> None:
    desk = room
    desk.set("alpha/list")
    desk.set("beta/list")
    for name, value in (("alpha/list", "csam"), ("beta/list", "harmless")):
        desk.contribute(name, *(item(n, value=value, external_id=f"x{n}") for n in (1, 2)))
    desk.look()
    assert len(desk.conflicts()) == 2
    first = desk.entries("beta/list", EntryState.ACTIVE)[0]
    desk.hub.entries.withdraw(writer("beta"), "beta", "list", first.id, WithdrawalReason.ERROR)
    desk.look()
    for name in ("alpha", "beta"):
        for entry in desk.entries(f"{name}/list"):
            desk.hub.entries.erase(OPERATOR, name, "list", entry.id)
    desk.look()
    assert desk.conflicts() == []
    rows = desk.hub.store.database.fetch("SELECT item, grounds, state FROM conflict")
    assert [(bytes(a), bytes(b), state) for a, b, state in rows] == [(b"", b"", 4)] * 2


# --- Who may know of it -----------------------------------------------------------------------------------------------


def test_terms_decide_who_knows_of_a_conflict(any_room: Room) -> None:
    desk = any_room
    desk.set("alpha/list")
    desk.set("beta/list", marking=Marking(tlp=TLP.RED, recipients=("contributors/gamma",), bulk=True))
    desk.set("gamma/list")
    desk.state("alpha/list", 1, "csam")
    desk.state("beta/list", 1, "harmless")
    conflict = desk.only()
    alpha, beta, gamma = map(writer, ("alpha", "beta", "gamma"))
    # beta sees alpha's entry, alpha must not know that beta has one, gamma sees both and is no party.
    assert [c.name for c in desk.conflicts(beta)] == [conflict.name]
    for who in (alpha, gamma):
        assert desk.conflicts(who, states=list(ConflictState)) == []
        summary = desk.hub.conflicts.summarise(who, ConflictFilter())
        assert (summary.counts, summary.contributors) == ((), ())
        assert desk.conflicts(who, contributor="beta") == desk.conflicts(who, hash_set="beta/list") == []
        with pytest.raises(NotFound) as refused:
            desk.hub.conflicts.get(who, conflict.name)
        with pytest.raises(NotFound) as unknown:
            desk.hub.conflicts.get(who, "0" * 16)
        assert str(refused.value).replace(conflict.name, "") == str(unknown.value).replace("0" * 16, "")
        with pytest.raises(NotFound):
            desk.hub.conflicts.resolve(who, conflict.name, ConflictReason.OTHER, "x")
    # Terms are asked each time.
    open_marking = Marking(tlp=TLP.GREEN, bulk=True)
    beta_list = desk.hub.hash_sets.get(OPERATOR, "beta", "list")
    desk.hub.hash_sets.update(
        OPERATOR, msgspec.structs.replace(beta_list, marking=open_marking), ["marking.tlp", "marking.recipients"]
    )
    assert [c.name for c in desk.conflicts(alpha)] == [conflict.name]
    assert desk.conflicts(gamma) == []


def test_without_bulk_there_is_no_list_of_conflicts(room: Room) -> None:
    room.set("alpha/list")
    room.set("beta/list", marking=Marking(tlp=TLP.GREEN, bulk=False))
    room.state("alpha/list", 1, "csam")
    room.state("beta/list", 1, "harmless")
    assert room.conflicts(writer("alpha")) == []
    assert len(room.conflicts(writer("beta"))) == 1


def test_a_commit_tells_nothing_of_what_others_hold(room: Room) -> None:
    room.set("alpha/list")
    room.set("beta/list", marking=Marking(tlp=TLP.RED, recipients=("contributors/beta",)))
    room.state("beta/list", 1, "harmless")
    before = room.hub.revision()
    done = room.contribute("alpha/list", item(1, value="csam"))
    at_commit = room.hub.revision()
    room.look()
    assert len(room.conflicts()) == 1
    # No finding, no revision and no event of the hub's own by which it could be told.
    assert room.report(done) == []
    assert room.hub.revision() == at_commit
    events = room.hub.store.history.list_events(after_revision=before)
    assert {e.kind for e in events} == {EventKind.IMPORT_COMMITTED}


def test_others_withdrawn_statements_do_not_go_out_again(room: Room) -> None:
    name = room.contradict().name
    room.withdraw("beta/list", WithdrawalReason.REQUESTED_BY_PERSON_SHOWN)
    told = room.hub.conflicts.get(writer("alpha"), name)
    assert (told.left.statements[0].value, told.right.statements) == ("csam", ())
    assert "harmless" not in told.why
    assert told.ended_by == "WITHDRAWN"
    assert room.hub.conflicts.get(AUDITOR, name).right.statements[0].value == "harmless"


def test_one_is_in_the_queue_of_whom_it_was_given_to(any_room: Room) -> None:
    desk = any_room
    desk.set("alpha/list")
    desk.set("beta/list")
    for n in (1, 2):
        desk.state("alpha/list", n, "csam")
        desk.state("beta/list", n, "harmless")
    first, second = (c.name for c in desk.conflicts())

    def waits(who: Principal, contributor: str = "") -> list[tuple[str, str, int, str]]:
        items = desk.hub.queue.list(who, contributor)
        return [(x.contributor, x.reason, x.count, x.name) for x in items if x.kind is QueueKind.CONFLICT]

    assert waits(OPERATOR) == waits(writer("beta")) == []
    for name in (first, second):
        desk.hub.conflicts.assign(OPERATOR, name, "contributors/beta")
    given = [("beta", "contributors/beta", 2, first)]
    assert waits(writer("beta")) == waits(OPERATOR) == waits(AUDITOR, "beta") == given
    assert waits(writer("alpha")) == waits(AUDITOR, "alpha") == []
    desk.hub.conflicts.assign(OPERATOR, second, "Ann at the desk")
    assert ("alpha", "Ann at the desk", 1, second) in waits(OPERATOR)
    assert waits(writer("beta")) == [("beta", "contributors/beta", 1, first)]
    desk.hub.conflicts.resolve(OPERATOR, first, ConflictReason.LEFT_STANDING, "seen")
    assert waits(writer("beta")) == []


def test_what_was_done_meanwhile_is_told_and_not_overwritten(room: Room) -> None:
    conflicts = room.hub.conflicts
    read = room.contradict()
    assert conflicts.get(writer("alpha"), read.name).etag == conflicts.get(writer("beta"), read.name).etag != read.etag
    of_party = conflicts.get(writer("alpha"), read.name).etag
    given = conflicts.assign(OPERATOR, read.name, "Ann", etag=read.etag)
    with pytest.raises(Clash, match="has changed since"):
        conflicts.assign(OPERATOR, read.name, "Bob", etag=read.etag)
    assert conflicts.get(writer("alpha"), read.name).etag == of_party  # whom it was given to is not told
    resolved = conflicts.resolve(OPERATOR, read.name, ConflictReason.OTHER, "of the statements as read", etag=read.etag)
    with pytest.raises(Clash):
        conflicts.reopen(OPERATOR, read.name, "of one not resolved", etag=given.etag)
    assert conflicts.reopen(OPERATOR, read.name, "a slip", etag=resolved.etag).state is ConflictState.ASSIGNED


def test_many_are_given_resolved_and_reopened_as_one_is(any_room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = any_room
    monkeypatch.setattr("hashhub.hub.conflicts.AT_ONCE", 2)
    for name in ("alpha", "beta", "gamma"):
        desk.set(f"{name}/list")
    for n in range(1, 6):
        desk.state("alpha/list", n, "csam")
        desk.state("beta/list" if n < 4 else "gamma/list", n, "harmless")
    names = [c.name for c in desk.conflicts()]
    conflicts, of_alpha = desk.hub.conflicts, ConflictFilter(contributor="alpha")
    resolve = ConflictOrder(
        action=ConflictAction.RESOLVE, reason=ConflictReason.DECIDED_FOR, comment="by beta", decided_for="beta"
    )
    before = desk.hub.revision()

    def change(wanted: ConflictFilter, order: ConflictOrder, **options: Any) -> ConflictChanges:
        """Go on until the end, each piece asked for twice where it has an id."""
        done, position = ConflictChanges(action=order.action), 0
        while True:
            one = conflicts.change(OPERATOR, wanted, order, 2, position, **options)
            if options.get("request_id"):
                assert conflicts.change(OPERATOR, wanted, order, 2, position, **options) == one
            done, position = done.with_next(one[0]), one[1]
            if not position:
                return done

    would = change(of_alpha, resolve, validate_only=True)
    assert would.total == 5
    assert (would.selected, would.changed, would.skipped, would.revision) == (5, 3, {"NOT_A_PARTY": 2}, 0)
    with pytest.raises(FailedPrecondition) as grew:
        change(of_alpha, msgspec.structs.replace(resolve, expected_count=4))
    assert (grew.value.reason, desk.hub.revision()) == (Reason.SELECTION_GREW, before)
    done = change(of_alpha, msgspec.structs.replace(resolve, expected_count=5), request_id="x")
    assert done == msgspec.structs.replace(would, revision=before + 3, validate_only=False)
    assert [e.kind for e in desk.hub.store.history.list_events(after_revision=before)] == ["CONFLICT_RESOLVED"] * 3
    (said,) = conflicts.get(writer("beta"), done.examples[0]).resolutions
    assert (said.reason, said.decided_for, said.comment, said.closes) == (resolve.reason, "beta", "by beta", True)

    given = ConflictOrder(action=ConflictAction.ASSIGN, assignee="contributors/gamma")
    assert change(of_alpha, given).changed == 2
    repeated = change(ConflictFilter(hash_set="gamma/list"), given)
    assert (repeated.changed, repeated.skipped) == (0, {"ASSIGNED": 2})
    reopen = ConflictOrder(action=ConflictAction.REOPEN, comment="too soon")
    # Cut off in the middle, and asked for again.
    assert conflicts.change(OPERATOR, of_alpha, reopen)[0].changed == 2
    assert change(of_alpha, reopen).changed == 1
    assert {conflicts.get(OPERATOR, name).state for name in names} == {ConflictState.OPEN, ConflictState.ASSIGNED}
    desk.hub.history.revert(OPERATOR, OPERATOR.name, now() - timedelta(hours=1), comment="stolen")
    assert {c.state for c in desk.conflicts()} == {ConflictState.OPEN}


@pytest.mark.parametrize(
    ("wanted", "order", "field"),
    [
        ({"states": (ConflictState.OPEN,)}, {"action": ConflictAction.ASSIGN}, "filter"),
        ({"contributor": "alpha"}, {"action": ConflictAction.RESOLVE, "comment": "x"}, "reason"),
        ({"contributor": "alpha"}, {"action": ConflictAction.REOPEN, "comment": " "}, "comment"),
        ({"contributor": "alpha"}, {"action": ConflictAction.REOPEN, "comment": "x", "assignee": "Ann"}, "assignee"),
        ({"contributor": "alpha"}, {"action": ConflictAction.ASSIGN, "decided_for": "alpha"}, "decided_for"),
    ],
)
def test_an_order_that_says_too_little_or_too_much(
    room: Room, wanted: dict[str, Any], order: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidArgument) as refused:
        room.hub.conflicts.change(OPERATOR, ConflictFilter(**wanted), ConflictOrder(**order))
    assert [v.field for v in refused.value.violations] == [field]


def test_what_people_say_is_told_to_whom_it_concerns(room: Room) -> None:
    desk = room
    name = desk.contradict().name
    alpha, beta = writer("alpha"), writer("beta")
    conflicts = desk.hub.conflicts
    assert conflicts.resolve(alpha, name, ConflictReason.LEFT_STANDING, "ours").state is ConflictState.OPEN
    assert conflicts.assign(OPERATOR, name, "Ann at the desk").state is ConflictState.ASSIGNED
    assert [r.comment for r in conflicts.get(alpha, name).resolutions] == ["ours"]
    assert conflicts.get(beta, name).resolutions == ()
    assert conflicts.get(beta, name).assignee == ""
    assert desk.conflicts(beta, assignee="Ann at the desk") == []
    assert desk.only(assignee="Ann at the desk").assignee == "Ann at the desk"
    assert conflicts.assign(OPERATOR, name, "contributors/beta").assignee == "contributors/beta"
    assert conflicts.get(beta, name).assignee == "contributors/beta"
    assert conflicts.get(alpha, name).assignee == ""
    assert desk.only(beta, assignee="contributors/beta").name == name
    desk.contributor("gamma")
    with pytest.raises(FailedPrecondition, match="no party"):
        conflicts.assign(OPERATOR, name, "contributors/gamma")
    with pytest.raises(NotFound):
        conflicts.assign(OPERATOR, name, "contributors/nobody")
    with pytest.raises(InvalidArgument):
        conflicts.resolve(OPERATOR, name, ConflictReason.DECIDED_FOR, "x", decided_for="gamma")
    with pytest.raises(InvalidArgument):
        conflicts.resolve(OPERATOR, name, ConflictReason.OTHER, " ")
    with pytest.raises(PermissionDenied):
        conflicts.assign(alpha, name, "contributors/alpha")
    closed = conflicts.resolve(OPERATOR, name, ConflictReason.DECIDED_FOR, "seen", decided_for="alpha", request_id="r")
    again = conflicts.resolve(OPERATOR, name, ConflictReason.DECIDED_FOR, "seen", decided_for="alpha", request_id="r")
    assert len(closed.resolutions) == len(again.resolutions) == 2
    (seen,) = conflicts.get(beta, name).resolutions
    assert (seen.closes, seen.comment, seen.actor) == (True, "seen", "")
    with pytest.raises(FailedPrecondition, match="was resolved"):
        conflicts.assign(OPERATOR, name, "")
    kinds = [e.kind for e in desk.hub.store.history.list_events(limit=5) if e.subject == f"conflicts/{name}"]
    assert kinds == [
        EventKind.CONFLICT_RESOLVED, EventKind.CONFLICT_ASSIGNED, EventKind.CONFLICT_ASSIGNED,
        EventKind.CONFLICT_COMMENTED,
    ]  # fmt: skip
    with pytest.raises(PermissionDenied):
        conflicts.reopen(alpha, name, "ours")
    with pytest.raises(InvalidArgument):
        conflicts.reopen(OPERATOR, name, " ")
    assert conflicts.reopen(OPERATOR, name, "tried", validate_only=True).state is ConflictState.RESOLVED
    for _ in range(2):  # a repeated call does nothing more
        opened = conflicts.reopen(OPERATOR, name, "a mistake", request_id="again")
        assert (opened.state, opened.assignee) == (ConflictState.ASSIGNED, "contributors/beta")
        assert [r.closes for r in opened.resolutions] == [False, False]
    assert conflicts.get(beta, name).resolutions == ()
    last, before = desk.hub.store.history.list_events(limit=2)
    assert (last.kind, last.subject, last.details) == (
        EventKind.CONFLICT_REOPENED, f"conflicts/{name}", {"comment": "a mistake"},
    )  # fmt: skip
    assert last.facts == {"kind": opened.kind, "resolution": before.revision}
    desk.look()
    assert conflicts.get(OPERATOR, name).state is ConflictState.ASSIGNED
    conflicts.resolve(OPERATOR, name, ConflictReason.OTHER, "at last")
    # It decides nothing: what matching says is what it was.
    assert desk.hub.conflicts.get(AUDITOR, name).left.statements[0].state is EntryState.ACTIVE


def test_a_partys_views_are_bounded_and_close_nothing(room: Room) -> None:
    name = room.contradict().name
    for number in range(20):
        room.hub.conflicts.resolve(writer("beta"), name, ConflictReason.OTHER, f"view {number}")
    with pytest.raises(FailedPrecondition, match="20 times"):
        room.hub.conflicts.resolve(writer("beta"), name, ConflictReason.OTHER, "one more")
    room.hub.conflicts.resolve(writer("alpha"), name, ConflictReason.OTHER, "not silenced")
    assert room.only().state is ConflictState.OPEN


# --- Lists ------------------------------------------------------------------------------------------------------------


def test_severity_follows_reliability_at_once(any_room: Room) -> None:
    desk = any_room
    desk.contradict()
    for reliability, severity in (("A", "HIGH"), ("D", "MEDIUM"), ("F", "LOW"), ("C", "HIGH")):
        beta = desk.hub.contributors.get(OPERATOR, "beta")
        changed = msgspec.structs.replace(beta, reliability=Reliability(reliability))
        desk.hub.contributors.update(OPERATOR, changed, ["reliability"])
        assert desk.only().severity == severity
        for wanted in Severity:
            assert len(desk.conflicts(severities=[wanted])) == (wanted == severity)
        (count,) = desk.hub.conflicts.summarise(AUDITOR, ConflictFilter(severities=(Severity(severity),))).counts
        assert (count.severity, count.count) == (severity, 1)


def test_filters_and_pages(any_room: Room) -> None:
    desk = any_room
    for name in ("alpha/list", "beta/list", "gamma/list"):
        desk.set(name)
    for number, (left, right) in enumerate(itertools.combinations(("infant", "teen", "adult"), 2)):
        desk.contribute("alpha/list", item(number, value=left))
        desk.contribute("beta/list", item(number, value=right))
    desk.look()
    revision = desk.hub.revision()
    desk.state("gamma/list", 1, "teen")  # against alpha's infant and beta's adult
    everything = desk.conflicts()
    assert len(everything) == 5
    assert len(desk.conflicts(since_revision=revision + 1)) == 2
    assert len(desk.conflicts(contributor="gamma")) == 2
    assert len(desk.conflicts(contributor="alpha", other="beta")) == 3
    assert len(desk.conflicts(contributor="beta", hash_set="gamma/list")) == 1
    assert len(desk.conflicts(jurisdiction="GB")) == 5
    assert desk.conflicts(jurisdiction="NL") == []
    one = desk.hub.conflicts.get(OPERATOR, everything[0].name)
    for side in (one.left, one.right):
        chosen = desk.conflicts(entry=side.statements[0].entry)
        assert one.name in {c.name for c in chosen}
        assert len(chosen) < 5
    own, _, entry_id = one.left.statements[0].entry.rpartition("/")
    assert desk.conflicts(entry=f"{one.right.hash_set}/{entry_id}") == []
    assert desk.conflicts(entry=f"{own}/999999") == []
    assert desk.conflicts(kinds=[ConflictKind.VERDICT]) == []
    with pytest.raises(InvalidArgument):
        desk.conflicts(other="beta")
    names: list[str] = []
    after = ""
    while True:
        page, after = desk.hub.conflicts.list(AUDITOR, ConflictFilter(), 2, after)
        names += [c.name for c in page]
        if not after:
            break
    assert names == [c.name for c in everything]
    summary = desk.hub.conflicts.summarise(AUDITOR, ConflictFilter())
    assert {(c.left, c.right): c.count for c in summary.counts if c.severity is Severity.HIGH}[("alpha", "beta")] == 2
    assert [(c.contributor, c.conflicts, c.items, c.others) for c in summary.contributors] == [
        ("alpha", 4, 3, 2), ("beta", 4, 3, 2), ("gamma", 2, 1, 2),
    ]  # fmt: skip
    assert summary.looked_upto == desk.hub.revision()
    mine = desk.hub.conflicts.summarise(writer("gamma"), ConflictFilter())
    assert [c.contributor for c in mine.contributors] == ["gamma"]
    assert all("gamma" in (c.left, c.right) for c in mine.counts)
    assert mine.looked_upto is None


def test_a_summary_asks_no_more_however_many_contributors_it_names(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0
    read = Database.read

    def counted(database: Database, body: Any) -> Any:
        nonlocal asked
        asked += database is room.hub.store.database
        return read(database, body)

    def statements() -> int:
        nonlocal asked
        asked = 0
        with monkeypatch.context() as patch:
            patch.setattr(Database, "read", counted)
            summary = room.hub.conflicts.summarise(OPERATOR, ConflictFilter())
        assert {c.items for c in summary.contributors} == {1}
        return asked

    for name in ("alpha", "beta", "gamma", "delta", "epsilon"):
        room.set(f"{name}/list")
    for name, value in (("alpha", "csam"), ("beta", "harmless")):
        room.state(f"{name}/list", 1, value)
    few = statements()
    for name in ("gamma", "delta", "epsilon"):
        room.state(f"{name}/list", 1, "harmless")
    assert len(room.hub.conflicts.summarise(OPERATOR, ConflictFilter()).contributors) == 5
    assert statements() == few


def test_a_contributor_is_told_of_its_items_about_which_it_may_know_of_conflicts_that_stand(room: Room) -> None:
    def items() -> dict[str, list[int]]:
        told = {
            name: room.hub.conflicts.summarise(who, ConflictFilter()).contributors
            for name, who in (("all", OPERATOR), ("own", writer("alpha")))
        }
        return {name: [c.items for c in those if c.contributor == "alpha"] for name, those in told.items()}

    for name in ("alpha/list", "beta/list"):
        room.set(name)
    room.set("gamma/hidden", marking=Marking(tlp=TLP.RED, recipients=("contributors/gamma",)))
    for number in (1, 2, 3):
        room.state("alpha/list", number, "csam")
    room.state("beta/list", 1, "harmless")
    room.state("beta/list", 2, "harmless")
    room.state("gamma/hidden", 3, "harmless")
    assert items() == {"all": [3], "own": [2]}
    [first, *_] = room.entries("beta/list", EntryState.ACTIVE)
    room.hub.entries.withdraw(writer("beta"), "beta", "list", first.id, WithdrawalReason.ERROR)
    room.look()
    assert items() == {"all": [2], "own": [1]}
    room.hub.store.deletions.delete("beta", "list", most_alone=None, comment="", by=SYSTEM)
    assert items() == {"all": [1], "own": []}


def test_what_was_opened_since_for_whoever_is_told(room: Room) -> None:
    store = room.hub.store
    room.set("alpha/list")
    room.set("beta/list")
    room.set("gamma/list")
    assert store.conflicts.opened_after(0) == []
    room.state("alpha/list", 1, "csam")
    room.state("beta/list", 1, "harmless")
    (first,) = store.conflicts.opened_after(0)
    room.state("gamma/list", 1, "harmless")
    (second,) = store.conflicts.opened_after(first.sequence)
    assert {second.left, second.right} == {"alpha/list", "gamma/list"}
    assert store.conflicts.opened_after(second.sequence) == []
    assert [c.name for c in store.conflicts.opened_after(0, contributor="beta")] == [first.name]
