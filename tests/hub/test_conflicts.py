"""Conflicts: found behind commits, told to those whom terms let know of them, resolved by people; against brute force
over all pairs.
"""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashhub.config import Config
from hashhub.errors import Conflict as Clash
from hashhub.errors import FailedPrecondition, InvalidArgument, NotFound, PermissionDenied
from hashhub.hub import Hub
from hashhub.hub import conflicts as module
from hashhub.hub.conflicts import ConflictFinder
from hashhub.model import (
    SYSTEM,
    TLP,
    Conflict,
    ConflictFilter,
    ConflictKind,
    ConflictReason,
    ConflictState,
    Entry,
    EntryState,
    EventKind,
    Flags,
    Marking,
    Principal,
    Purpose,
    QueueKind,
    Reliability,
    Severity,
    Unclassified,
    WithdrawalReason,
    now,
)
from hashhub.store import Store
from hashhub.store.database import Database
from hashhub.trust.contradiction import contradictions, contradictory_digests, exact_digests, said, strength
from tests.hub.conftest import AUDITOR, OPERATOR, Desk, digest, item, writer

SCHEME = """
id = "desk"
version = "1"
region = "ZZ"
status = "verified"
title = "Values of one dimension each"
source = ["invented for tests"]
"""
VALUES: dict[str, dict[str, Any]] = {
    "csam": {"verdict": "csam"},
    "exploitative": {"verdict": "exploitative"},
    "either": {"verdict": ["csam", "exploitative"]},
    "harmless": {"verdict": "non-pertinent"},
    "comparison": {"verdict": "comparison"},
    "open": {"verdict": "unclassified"},
    "unsure": {"verdict": ["csam", "non-pertinent"]},
    "infant": {"verdict": "csam", "age_band": "0-2"},
    "prepubescent": {"verdict": "csam", "age_band": "prepubescent"},
    "teen": {"verdict": "csam", "age_band": ["14-15", "16-17"]},
    "adult": {"verdict": ["csam", "non-pertinent"], "age_band": "18+"},
    "posing": {"verdict": "csam", "act": "posing"},
    "penetrative": {"verdict": "csam", "act": "penetrative"},
    "drawn": {"verdict": "csam", "medium": "drawn"},
    "photo": {"verdict": "csam", "medium": "photo"},
    "gb-illegal": {"verdict": "csam", "legal_status": "GB:illegal"},
    "gb-legal": {"verdict": ["csam", "exploitative"], "legal_status": "GB:not-illegal"},
    "nl-legal": {"verdict": ["csam", "exploitative"], "legal_status": "NL:not-illegal"},
    "series": {"verdict": "csam", "context": "series"},
    "meme": {"verdict": "csam", "context": "meme"},
}
OPEN_MARKING = Marking(tlp=TLP.GREEN, bulk=True)


def _toml() -> str:
    def line(name: str, values: Any) -> str:
        return f"dimensions.{name} = {values!r}".replace("'", '"')

    blocks = [
        f'[values.{value}]\ntitle = "{value}"\n' + "\n".join(itertools.starmap(line, dimensions.items()))
        for value, dimensions in VALUES.items()
    ]
    return SCHEME + "\n\n".join(blocks)


class Room(Desk):
    """A desk whose hash sets use the scheme of this file and are open to all, and whose finder works when told."""

    def set(self, name: str, **fields: Any) -> str:
        fields = {"scheme": "desk@1", "marking": OPEN_MARKING, **fields}
        return self.hash_set(name, **fields)

    def state(self, name: str, number: int, value: str = "", **fields: Any) -> None:
        """Let a hash set state a value of the synthetic file with this number, and look for conflicts."""
        fields = {"external_id": f"x{number}", **fields}
        self.contribute(name, item(number, value=value, **fields))
        self.look()

    def look(self) -> int:
        finder = self.hub.finder
        assert finder is not None
        return finder.catch_up()

    def conflicts(self, who: Principal = AUDITOR, **wanted: Any) -> list[Conflict]:
        return self.hub.conflicts.list(who, ConflictFilter(**wanted), 1000)[0]

    def last_sequence(self) -> int:
        """Of the conflict that was opened last."""
        [(sequence,)] = self.hub.store.database.fetch("SELECT sequence FROM conflict_progress")
        return int(sequence)

    def only(self, who: Principal = AUDITOR, **wanted: Any) -> Conflict:
        (conflict,) = self.conflicts(who, **wanted)
        return conflict

    def entry(self, name: str) -> Entry:
        (entry,) = self.entries(name, EntryState.ACTIVE)
        return entry

    def withdraw(self, name: str, reason: WithdrawalReason = WithdrawalReason.ERROR) -> Entry:
        entry = self.entry(name)
        contributor, _, own = name.partition("/")
        self.hub.entries.withdraw(writer(contributor), contributor, own, entry.id, reason)
        self.look()
        return entry


def _room(database: str, tmp_path: Path, *, publisher: bool = True) -> Hub:
    schemes = tmp_path / "schemes"
    schemes.mkdir(exist_ok=True)
    (schemes / "desk.toml").write_text(_toml())
    is_url = "://" in database
    data = str(tmp_path / "hub") if is_url else database
    config = Config(data=data, database=database if is_url else "", schemes=str(schemes), poll_interval=0.05)
    return Hub.open(config, publisher=publisher)


@pytest.fixture
def any_room(database: str, tmp_path: Path) -> Iterator[Room]:
    with _room(database, tmp_path) as hub:
        yield Room(hub)


@pytest.fixture
def room(sqlite_directory: Path, tmp_path: Path) -> Iterator[Room]:
    with _room(str(sqlite_directory), tmp_path) as hub:
        yield Room(hub)


# --- What is found ----------------------------------------------------------------------------------------------------


PAIRS = [
    ("csam", "harmless", "BENIGN_AGAINST_HARMFUL verdict HIGH"),
    ("csam", "comparison", "BENIGN_AGAINST_HARMFUL verdict HIGH"),
    ("csam", "exploitative", "VERDICT verdict MEDIUM"),
    ("harmless", "comparison", "VERDICT verdict HIGH"),
    ("unsure", "exploitative", "VERDICT verdict MEDIUM"),
    ("csam", "either", ""),
    ("csam", "open", ""),
    ("harmless", "open", ""),
    ("csam", "", ""),
    ("infant", "teen", "AGE_BAND age_band MEDIUM"),
    ("infant", "prepubescent", ""),
    ("infant", "adult", "AGE_BAND age_band HIGH"),
    ("infant", "csam", ""),
    ("posing", "penetrative", "ACT act MEDIUM"),
    ("drawn", "photo", "MEDIUM medium MEDIUM"),
    ("gb-illegal", "gb-legal", "LEGAL_STATUS legal_status:GB MEDIUM"),
    ("gb-illegal", "nl-legal", ""),
    ("series", "meme", ""),
]


def test_what_contradicts_what(room: Room) -> None:
    room.set("alpha/list")
    room.set("beta/list", unclassified=Unclassified.LISTED)
    room.contribute("alpha/list", *(item(n, value=one) for n, (one, _, _) in enumerate(PAIRS)))
    room.contribute("beta/list", *(item(n, value=other) for n, (_, other, _) in enumerate(PAIRS)))
    room.look()
    told = set()
    for conflict in room.conflicts():
        told_in_full = room.hub.conflicts.get(AUDITOR, conflict.name)
        one, other = (party.statements[0].value for party in (told_in_full.left, told_in_full.right))
        assert one in told_in_full.why
        assert other in told_in_full.why
        told.add((one, other, f"{conflict.kind} {conflict.dimension} {conflict.severity}"))
    assert told == {pair for pair in PAIRS if pair[2]}
    assert len(room.conflicts()) == len(told)


def test_purposes_and_flags_are_statements_and_what_is_unsaid_is_none(room: Room) -> None:
    room.set("alpha/list", scheme="")  # listed: that is a claim of harm
    room.set("beta/known", scheme="", purpose=Purpose.BENIGN)
    room.set("gamma/tests", scheme="", purpose=Purpose.TEST)
    room.set("delta/list")
    room.set("epsilon/list")
    for name in ("alpha/list", "beta/known", "gamma/tests"):
        room.state(name, 1)
    conflict = room.only()
    assert (conflict.kind, conflict.left.hash_set, conflict.right.hash_set) == (
        ConflictKind.BENIGN_AGAINST_HARMFUL, "alpha/list", "beta/known",
    )  # fmt: skip
    room.state("delta/list", 2, "csam", flags=Flags(self_generated=True, victim_identified=True))
    room.state("epsilon/list", 2, "csam", flags=Flags(self_generated=False, victim_identified=False))
    (by_flag,) = room.conflicts(contributor="delta")
    assert (by_flag.kind, by_flag.severity) == (ConflictKind.SELF_GENERATED, Severity.LOW)
    why = room.hub.conflicts.get(AUDITOR, by_flag.name).why
    assert "yes (flag)" in why
    assert "no (flag)" in why


def test_digests_that_cannot_be_of_one_file(room: Room) -> None:
    room.set("alpha/list")
    room.set("beta/list")
    room.contribute("alpha/list", item(1, value="csam", hashes=(digest("MD5", 1), digest("SHA1", 1))))
    room.contribute("beta/list", item(1, value="csam", hashes=(digest("MD5", 1), digest("SHA1", 2))))
    room.look()
    conflict = room.only()
    assert (conflict.kind, conflict.dimension) == (ConflictKind.CONTRADICTORY_DIGESTS, "SHA1")
    why = room.hub.conflicts.get(AUDITOR, conflict.name).why
    assert "SHA1" in why
    assert digest("MD5", 1).digest.hex() not in why


def test_two_hash_sets_of_one_contributor_contradict_each_other(room: Room) -> None:
    room.set("alpha/list")
    room.set("alpha/other")
    room.state("alpha/list", 1, "infant")
    room.state("alpha/other", 1, "teen")
    assert room.only(writer("alpha")).kind is ConflictKind.AGE_BAND
    (count,) = room.hub.conflicts.summarise(writer("alpha"), ConflictFilter()).counts
    assert (count.left, count.right, count.count) == ("alpha", "alpha", 1)


def test_entries_in_quarantine_take_part_when_they_are_released(room: Room) -> None:
    room.set("alpha/list")
    room.set("beta/list")
    room.state("alpha/list", 1, "csam")
    room.state("beta/list", 1, "no such value")
    assert room.conflicts() == []
    room.state("beta/list", 2, "harmless")
    room.state("alpha/list", 2, "csam")
    conflict = room.only()
    entry = room.entry("beta/list")
    room.hub.entries.quarantine(OPERATOR, "beta", "list", entry.id)
    room.look()
    ended = room.only(states=[ConflictState.ENDED])
    assert (ended.name, ended.ended_by, ended.ended_side) == (conflict.name, "QUARANTINED", "beta/list")
    room.hub.entries.release(OPERATOR, "beta", "list", entry.id)
    room.look()
    assert room.only().name == conflict.name


# --- What becomes of one ----------------------------------------------------------------------------------------------


def test_a_conflict_ends_with_a_statement_and_comes_back_with_it(any_room: Room) -> None:
    any_room.set("alpha/list")
    any_room.set("beta/list")
    any_room.state("alpha/list", 1, "csam")
    any_room.state("beta/list", 1, "harmless")
    before = any_room.only()
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
    room.set("alpha/list")
    room.set("beta/list")
    room.state("alpha/list", 1, "infant")
    room.state("beta/list", 1, "teen")
    room.state("beta/list", 1, "prepubescent")
    ended = room.only(states=[ConflictState.ENDED])
    assert (ended.ended_by, ended.ended_side) == ("SUPERSEDED", "beta/list")
    assert room.conflicts() == []


def test_a_resolution_stands_until_its_ground_changes(any_room: Room) -> None:
    desk = any_room
    desk.set("alpha/list")
    desk.set("beta/list")
    desk.state("alpha/list", 1, "infant")
    desk.state("beta/list", 1, "teen")
    name = desk.only().name
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
    room.set("alpha/list")
    room.set("beta/list")
    room.state("alpha/list", 1, "infant", algorithms=("MD5",))
    room.state("beta/list", 1, "teen", algorithms=("MD5",))
    name = room.only().name
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
    desk.set("alpha/list")
    desk.set("beta/list")
    desk.state("alpha/list", 1, "csam")
    desk.state("beta/list", 1, "harmless")
    name = desk.only().name
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
    room.set("alpha/list")
    room.set("beta/list")
    room.state("alpha/list", 1, "csam")
    room.state("beta/list", 1, "harmless")
    name = room.only().name
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


def test_what_people_say_is_told_to_whom_it_concerns(room: Room) -> None:
    desk = room
    desk.set("alpha/list")
    desk.set("beta/list")
    desk.state("alpha/list", 1, "csam")
    desk.state("beta/list", 1, "harmless")
    name = desk.only().name
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
    room.set("alpha/list")
    room.set("beta/list")
    room.state("alpha/list", 1, "csam")
    room.state("beta/list", 1, "harmless")
    name = room.only().name
    for number in range(20):
        room.hub.conflicts.resolve(writer("beta"), name, ConflictReason.OTHER, f"view {number}")
    with pytest.raises(FailedPrecondition, match="20 times"):
        room.hub.conflicts.resolve(writer("beta"), name, ConflictReason.OTHER, "one more")
    room.hub.conflicts.resolve(writer("alpha"), name, ConflictReason.OTHER, "not silenced")
    assert room.only().state is ConflictState.OPEN


# --- Lists ------------------------------------------------------------------------------------------------------------


def test_severity_follows_reliability_at_once(any_room: Room) -> None:
    desk = any_room
    desk.set("alpha/list")
    desk.set("beta/list")
    desk.state("alpha/list", 1, "csam")
    desk.state("beta/list", 1, "harmless")
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


# --- Floods, restarts, two processes ----------------------------------------------------------------------------------


def test_a_digest_that_many_list_makes_no_square_of_rows(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COUNTERPARTIES", 3)
    numbers = range(12)
    for number in numbers:
        room.set(f"c{number}/list")
        room.contribute(f"c{number}/list", item(1, value="infant" if number % 2 else "teen"))
    room.look()
    conflicts = room.conflicts()
    of_set = Counter(name for c in conflicts for name in (c.left.hash_set, c.right.hash_set))
    assert len(conflicts) <= 3 * len(numbers)
    assert all(of_set[f"c{number}/list"] >= 3 for number in numbers)  # and nobody is left out


def test_one_contributors_many_sets_crowd_nobody_out(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SETS", 4)
    room.set("alpha/list")
    for number in range(8):
        room.set(f"flood/s{number}")
    room.set("beta/list")
    for number in range(8):
        room.contribute(f"flood/s{number}", item(1, value="harmless"))
    room.contribute("alpha/list", item(1, value="csam"))
    room.contribute("beta/list", item(1, value="exploitative"))
    room.look()
    assert room.conflicts(contributor="alpha", other="beta")


def test_one_item_listed_many_times_is_one_conflict(room: Room) -> None:
    room.set("alpha/list")
    room.set("beta/list")
    shared = digest("MD5", 1)
    lines = [
        item(n, value="harmless", hashes=(shared, digest("SHA1", n)), external_id=f"x{n}") for n in range(100, 115)
    ]
    for line in lines:  # in one source they would contradict each other, and wait in quarantine
        room.contribute("beta/list", line)
    room.contribute("alpha/list", item(1, value="csam", algorithms=("MD5",)))
    room.look()
    conflict = room.only()
    assert conflict.right.entry_count == len(room.entries("beta/list", EntryState.ACTIVE))
    assert len(room.hub.conflicts.get(AUDITOR, conflict.name).right.statements) <= 8


def test_a_pass_goes_on_where_it_was_cut_off_and_two_do_no_harm(any_room: Room) -> None:
    desk = any_room
    desk.set("alpha/list")
    desk.set("beta/list")
    numbers = range(40)
    desk.contribute("alpha/list", *(item(n, value="csam") for n in numbers))
    desk.contribute("beta/list", *(item(n, value="harmless") for n in numbers))
    store = desk.hub.store
    one, other = ConflictFinder(store, piece=7), ConflictFinder(store, piece=5)
    piece = store.conflict_pass.next_piece(7)
    assert piece is not None
    near = store.conflict_pass.statements_about(piece.ids)
    assert store.conflict_pass.apply(piece, near, one.conflicts_in(near))
    written = len(desk.conflicts())
    assert 0 < written < len(numbers)
    assert not store.conflict_pass.apply(piece, near, one.conflicts_in(near))  # somebody was there already
    threads = [threading.Thread(target=finder.catch_up) for finder in (one, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    names = [c.name for c in desk.conflicts()]
    assert len(names) == len(set(names)) == len(numbers)
    assert desk.look() == 0


def test_large_updates_are_seen_when_their_rows_say_so(any_room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    from hashhub.store import entry_writes

    monkeypatch.setattr(entry_writes, "LARGE", 3)
    desk = any_room
    desk.set("alpha/list")
    desk.set("beta/list")
    numbers = range(10)
    desk.contribute("alpha/list", *(item(n, value="csam") for n in numbers))
    desk.contribute("beta/list", *(item(n, value="harmless", external_id=f"x{n}") for n in numbers))
    desk.look()
    assert len(desk.conflicts()) == len(numbers)
    desk.contribute("beta/list", *(item(n, value="csam", external_id=f"x{n}") for n in numbers), replace=True)
    desk.look()
    assert len(desk.conflicts()) == len(numbers)  # looked for up to where rows say what became of their entries
    desk.hub.store.commits.tidy()
    desk.look()
    assert desk.conflicts() == []
    assert {c.ended_by for c in desk.conflicts(states=[ConflictState.ENDED])} == {"SUPERSEDED"}


def test_an_entry_that_expires_ends_it(any_room: Room) -> None:
    any_room.set("alpha/list")
    any_room.set("beta/list")
    tomorrow = now() + timedelta(days=1)
    any_room.state("alpha/list", 1, "csam")
    any_room.state("beta/list", 1, "harmless", expire_time=tomorrow)
    any_room.only()
    any_room.hub.store.transitions.expire(tomorrow + timedelta(seconds=1))
    any_room.look()
    ended = any_room.only(states=[ConflictState.ENDED])
    assert (ended.ended_by, ended.ended_side) == ("EXPIRED", "beta/list")


def test_a_search_that_fails_hinders_nobody_and_says_so(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    room.set("alpha/list")
    room.set("beta/list")
    conflict_pass = room.hub.store.conflict_pass
    looked = threading.Event()

    def fail(*_: object) -> None:
        looked.set()
        raise MemoryError

    monkeypatch.setattr(conflict_pass, "statements_about", fail)
    room.contribute("alpha/list", item(1, value="csam"))
    done = room.contribute("beta/list", item(1, value="harmless"))
    assert done.counts.accepted == 1
    room.hub.start()
    assert looked.wait(180)
    finder = room.hub.finder
    assert finder is not None
    while not finder.thread.warning:
        threading.Event().wait(0.01)
    assert any("conflicts are not looked for" in w for w in room.hub.status(OPERATOR).warnings)
    assert room.known(1) == [1]
    monkeypatch.undo()
    room.look()
    room.only()


# --- Against brute force ----------------------------------------------------------------------------------------------

_SETS = ("alpha/list", "alpha/other", "beta/list", "gamma/known")
_STEP = st.tuples(
    st.sampled_from(_SETS),
    st.integers(0, 3),  # which MD5
    st.integers(0, 4),  # which SHA1; 4: none
    st.sampled_from(sorted(VALUES)),
    st.sampled_from(("state", "state", "state", "withdraw", "restore", "quarantine", "release")),
)


def _brute_force(store: Store, entries: list[Entry]) -> set[tuple[str, str, str, str]]:
    """All conflicts, from every pair of entries."""
    sets = store.resources.hash_sets()
    conflicts = set()
    for a, b in itertools.combinations(entries, 2):
        left, right = (sets[f"{e.contributor}/{e.hash_set}"] for e in (a, b))
        x, y = exact_digests(a.hashes), exact_digests(b.hashes)
        if left.name == right.name or not x & y:
            continue
        one, other = (
            said(e.classification, e.flags, s.purpose, is_undecided="UNCLASSIFIED" in e.reasons)
            for e, s in ((a, left), (b, right))
        )
        if one is None or other is None:
            continue
        first, second = sorted((left.name, right.name))
        anchor = min(x & y, key=strength)
        for reason in (*contradictions(one, other), *contradictory_digests(x, y)):
            conflicts.add((f"{reason.kind} {reason.dimension}", first, second, anchor.digest.hex()))
    return conflicts


@settings(max_examples=20)
@given(steps=st.lists(_STEP, min_size=1, max_size=14), piece=st.integers(1, 5))
def test_all_conflicts_and_no_others(
    sqlite_directory: Path,
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[tuple[str, int, int, str, str]],
    piece: int,
) -> None:
    import shutil

    directory = tmp_path_factory.mktemp("brute")
    data = shutil.copytree(sqlite_directory, directory / "data")
    with _room(str(data), directory) as hub:
        desk = Room(hub)
        for name in _SETS:
            desk.set(name, purpose=Purpose.BENIGN if name == "gamma/known" else Purpose.CSAM)
        store = hub.store
        finder = ConflictFinder(store, piece=piece)
        for number, (name, md5, sha1, value, what) in enumerate(steps):
            contributor, _, own = name.partition("/")
            states = {"withdraw": EntryState.ACTIVE, "quarantine": EntryState.ACTIVE, "restore": EntryState.WITHDRAWN}
            if what == "state":
                hashes = (digest("MD5", md5), *((digest("SHA1", sha1),) if sha1 < 4 else ()))
                desk.contribute(name, item(number, value=value, hashes=hashes))
            else:
                chosen = desk.entries(name, states.get(what, EntryState.QUARANTINED))
                if not chosen:
                    continue
                entry = chosen[0]
                call = getattr(hub.entries, what)
                extra = (WithdrawalReason.ERROR,) if what == "withdraw" else ()
                try:
                    call(OPERATOR, contributor, own, entry.id, *extra)
                except FailedPrecondition:
                    continue
            if number % 3 == 0:
                finder.catch_up()
        finder.catch_up()
        standing = [e for name in _SETS for e in desk.entries(name, EntryState.ACTIVE)]
        told: Counter[tuple[str, str, str]] = Counter()
        for c in desk.conflicts():
            first, second = sorted((c.left.hash_set, c.right.hash_set))
            told[f"{c.kind} {c.dimension}", first, second] += 1
        expected = Counter((kind, first, second) for kind, first, second, _ in _brute_force(store, standing))
        assert told == expected
