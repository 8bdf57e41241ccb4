"""Conflicts are found after commits, by one or several processes; against brute force over all pairs."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashhub.errors import FailedPrecondition
from hashhub.hub import conflicts as module
from hashhub.hub.conflicts import ConflictFinder
from hashhub.model import (
    ConflictFilter,
    ConflictKind,
    ConflictState,
    Entry,
    EntryState,
    Flags,
    Purpose,
    Severity,
    Unclassified,
    WithdrawalReason,
    now,
)
from hashhub.store import Store
from hashhub.trust.contradiction import contradictions, contradictory_digests, exact_digests, said, strength
from tests.examples import examples
from tests.hub.conftest import AUDITOR, OPERATOR, digest, item, writer
from tests.hub.rooms import VALUES, Room, open_room

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


@settings(max_examples=examples(20))
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
    with open_room(str(data), directory) as hub:
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
