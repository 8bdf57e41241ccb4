"""The store against a model made of dictionaries, whatever the order of calls, on both databases."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from hashhub.errors import Conflict, NotFound
from hashhub.model import SYSTEM, ChangeKind, Counts, EntryState, ImportState, Review, ReviewKind
from hashhub.store import IdSet, Store, TransitionCommand, entry_writes
from hashhub.store import commits as commits_module
from hashhub.store import stage as module
from hashhub.store.commits import Commits
from tests.store.conftest import entries_by_digests

NUMBERS = st.integers(0, 6)

STATES = st.sampled_from(EntryState)
SETS = st.sampled_from(["list", "second"])


@dataclass
class Entry:
    hash_set: str
    number: int
    state: EntryState
    external_id: str
    revision: int
    before: EntryState = EntryState.ACTIVE

    def withdraw(self, revision: int) -> None:
        if self.state is not EntryState.WITHDRAWN:
            self.before, self.state, self.revision = self.state, EntryState.WITHDRAWN, revision


@dataclass
class Staging:
    hash_set: str
    entries: dict[int, Entry] = field(default_factory=dict)


class Machine(RuleBasedStateMachine):
    store: Store
    fill: Any

    @initialize()
    def start(self) -> None:
        self.entries: dict[int, Entry] = {}
        self.staging: dict[str, Staging] = {}
        self.matcher: dict[bytes, bool] = {}
        self.feed: dict[int, bool] = {}
        self.reviews: dict[int, set[tuple[int, str]]] = {}  # by entry, in the order in which they were made
        self.reviews_made = 0
        self.followed = self.store.revision()
        self.fed = (self.followed + 1, 0)
        # One database serves all examples: each uses a contributor of its own.
        self.name = f"c{self.followed}"
        self.fill.register(self.store, self.name, "list")
        self.fill.register(self.store, self.name, "second")
        self.salt = self.followed * 1000

    def digest(self, number: int) -> bytes:
        digest: bytes = self.fill.digest(self.salt + number)
        return digest

    @rule(hash_set=SETS)
    def begin(self, hash_set: str) -> None:
        opened = self.store.imports.create_import(self.fill.new(self.name, hash_set))
        if any(staging.hash_set == hash_set for staging in self.staging.values()):
            with pytest.raises(Conflict):
                self.store.commits.begin_commit(opened.id)
            self.store.imports.cancel_import(opened.id)
        else:
            self.store.commits.begin_commit(opened.id)
            self.staging[opened.id] = Staging(hash_set)

    @precondition(lambda self: self.staging)
    @rule(
        data=st.data(),
        numbers=st.lists(NUMBERS, min_size=1, max_size=4),
        state=STATES,
        external=st.sampled_from(["", "x", "y"]),
    )
    def stage(self, data: st.DataObject, numbers: list[int], state: EntryState, external: str) -> None:
        import_id = data.draw(st.sampled_from(sorted(self.staging)))
        salted = [self.salt + number for number in numbers]
        ids = self.fill.stage(self.store, import_id, salted, state=state, external_id=external)
        staging = self.staging[import_id]
        for entry_id, number in zip(ids, numbers, strict=True):
            staging.entries[entry_id] = Entry(staging.hash_set, number, state, external, 0)

    @precondition(lambda self: self.staging)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        import_id = data.draw(st.sampled_from(sorted(self.staging)))
        staging = self.staging.pop(import_id)
        mine = sorted(i for i, e in self.entries.items() if e.hash_set == staging.hash_set)
        gone = data.draw(st.lists(st.sampled_from(mine), unique=True)) if mine else []
        done = self.store.commits.finish_commit(import_id, counts=Counts(), absent=gone)
        for entry in staging.entries.values():
            entry.revision = done.revision
        self.entries |= staging.entries
        for entry_id in gone:
            self.entries[entry_id].withdraw(done.revision)

    @precondition(lambda self: self.staging)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        import_id = data.draw(st.sampled_from(sorted(self.staging)))
        del self.staging[import_id]
        assert self.store.imports.cancel_import(import_id).state is ImportState.CANCELLED

    @precondition(lambda self: self.staging)
    @rule(data=st.data())
    def begin_again(self, data: st.DataObject) -> None:
        import_id = data.draw(st.sampled_from(sorted(self.staging)))
        self.store.leases.release_commit(import_id)
        self.store.commits.begin_commit(import_id)
        self.staging[import_id].entries.clear()

    @precondition(lambda self: self.entries)
    @rule(data=st.data(), state=st.sampled_from([EntryState.ACTIVE, EntryState.QUARANTINED]))
    def move(self, data: st.DataObject, state: EntryState) -> None:
        entry_id = data.draw(st.sampled_from(sorted(self.entries)))
        entry = self.entries[entry_id]
        transitions, command = self.store.transitions, TransitionCommand(SYSTEM, is_single=True)
        move = transitions.release if state is EntryState.ACTIVE else transitions.quarantine
        if entry.state is EntryState.WITHDRAWN:
            with pytest.raises(Conflict):
                move([entry_id], command)
            return
        moved = move([entry_id], command).entry
        assert moved is not None
        assert moved.state is state
        if entry.state is not state:
            assert moved.update_revision == self.store.revision()
            entry.state, entry.revision = state, moved.update_revision

    @precondition(lambda self: self.entries)
    @rule(data=st.data())
    def restore(self, data: st.DataObject) -> None:
        """What is restored is what it was before it was withdrawn; what was said of its item counts for it."""
        ids = data.draw(st.lists(st.sampled_from(sorted(self.entries)), min_size=1, unique=True))
        withdrawn = sorted(i for i in ids if self.entries[i].state is EntryState.WITHDRAWN)
        assert self.store.transitions.restore(ids, TransitionCommand(SYSTEM)).changed == len(withdrawn)
        for entry_id in withdrawn:
            entry = self.entries[entry_id]
            entry.state, entry.revision = entry.before, self.store.revision()
        for other in sorted(self.reviews):
            for entry_id in withdrawn:
                if self.is_about_same(self.entries[other], self.entries[entry_id]):
                    self.reviews.setdefault(entry_id, set()).update(self.reviews[other])

    @staticmethod
    def is_about_same(one: Entry, another: Entry) -> bool:
        is_same_file = one.number == another.number or (one.external_id and one.external_id == another.external_id)
        return one.hash_set == another.hash_set and bool(is_same_file)

    @rule()
    def settle(self) -> None:
        """Do what the next start does about withdrawals that a process left behind."""
        self.store.deferred_withdrawals.settle()

    @precondition(lambda self: self.entries)
    @rule(data=st.data(), stranger=st.booleans())
    def withdraw(self, data: st.DataObject, stranger: bool) -> None:
        ids = data.draw(st.lists(st.sampled_from(sorted(self.entries)), min_size=1, unique=True))
        if stranger:
            with pytest.raises(NotFound):
                self.store.transitions.withdraw([*ids, 10**9], "X")
            return
        revision = self.store.transitions.withdraw(ids, "X")
        for entry_id in ids:
            self.entries[entry_id].withdraw(revision)

    @precondition(lambda self: self.entries)
    @rule(
        data=st.data(), comment=st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=5)
    )
    def review(self, data: st.DataObject, comment: str) -> None:
        entry_id = data.draw(st.sampled_from(sorted(self.entries)))
        self.store.entries.add_review(
            Review(id=0, entry_id=entry_id, author="a", kind=ReviewKind.CONFIRMED, comment=comment)
        )
        self.reviews_made += 1
        self.reviews.setdefault(entry_id, set()).add((self.reviews_made, comment))

    @rule(limit=st.integers(1, 3))
    def follow(self, limit: int) -> None:
        """Do what a matcher does: keep the digests that may match."""
        while page := self.store.feeds.matcher_changes(self.followed, limit):
            for c in page:
                if c.kind == ChangeKind.UPSERT and c.import_key:
                    for ids in self.store.feeds.withdrawn_while_staged(c.import_key, c.revision):
                        self.keep_active(ids)
                elif c.kind == ChangeKind.WITHDRAW:
                    self.keep_active(c.ids)
                else:
                    for digests in self.store.feeds.digests_of(c.ids, 2):
                        for row in digests.get("PDQ", ()):
                            self.matcher[row.tobytes()] = True
            self.followed = page[-1].revision

    def keep_active(self, ids: IdSet) -> None:
        for gone in self.store.feeds.digests_of(ids, 2, states=[EntryState.WITHDRAWN, EntryState.QUARANTINED]):
            digests = gone.get("PDQ", np.empty((0, 32), np.uint8))
            for row, active in zip(digests, self.store.feeds.still_active("PDQ", digests), strict=True):
                self.matcher[row.tobytes()] = bool(active)

    @rule(limit=st.integers(1, 3))
    def feed_consumer(self, limit: int) -> None:
        while page := self.store.feeds.changes(*self.fed, limit=limit):
            for c in page:
                for entry_id in self.store.feeds.change_ids(c).after(0, 9999):
                    # What others say of an entry is told as an UPSERT too; as everywhere in the feed, its state now
                    # decides.
                    self.feed[entry_id] = (
                        c.kind is ChangeKind.UPSERT and self.entries[entry_id].state is EntryState.ACTIVE
                    )
            self.fed = (page[-1].revision, page[-1].ordinal + 1)

    @invariant()
    def reads_agree_with_the_model(self) -> None:
        if not hasattr(self, "name"):
            return
        assert {i: (e.state, e.update_revision) for i, e in self.store.entries.get_entries(self.entries).items()} == {
            i: (e.state, e.revision) for i, e in self.entries.items()
        }
        staged = [i for staging in self.staging.values() for i in staging.entries]
        assert self.store.entries.get_entries(staged) == {}
        entries_by_digest = entries_by_digests(self.store, "PDQ", [self.digest(n) for n in range(7)])
        for number in range(7):
            assert [e.id for e in entries_by_digest.get(self.digest(number), [])] == sorted(
                i for i, e in self.entries.items() if e.number == number and e.state is EntryState.ACTIVE
            )
        for hash_set in ("list", "second"):
            mine = {i: e for i, e in sorted(self.entries.items()) if e.hash_set == hash_set}
            assert [e.id for e in self.store.entries.list_entries(self.name, hash_set)] == list(mine)
            for state in EntryState:
                wanted = [i for i, e in mine.items() if e.state is state]
                assert self.store.entries.entry_count(self.name, hash_set, state) == len(wanted)
                assert self.store.entries.active_ids(self.name, hash_set, states=[state]).tolist() == wanted
            live: dict[str, list[int]] = {}
            for i, e in mine.items():
                if e.external_id and e.state is not EntryState.WITHDRAWN:
                    live.setdefault(e.external_id, []).append(i)
            known = self.store.entries.existing_by_external_ids(self.name, hash_set, ["x", "y"])
            assert {x: [e.id for e in entries] for x, entries in known.items()} == live
        reviews = self.store.entries.reviews_of(self.entries)
        assert {i: [r.comment for r in said] for i, said in reviews.items()} == {
            i: [comment for _, comment in sorted(said)] for i, said in self.reviews.items()
        }

    def teardown(self) -> None:
        if not hasattr(self, "name"):
            return
        # A matcher that followed has what one that starts now gets, and all that may match.
        self.follow(2)
        self.feed_consumer(3)
        self.store.deferred_withdrawals.settle()
        mine = {self.digest(n) for n in range(7)}
        rebuilt = {
            row.tobytes() for name, part, _ in self.store.feeds.all_digests(5) if name == "PDQ" for row in part
        } & mine
        active = {self.digest(e.number) for e in self.entries.values() if e.state is EntryState.ACTIVE}
        staged = {
            self.digest(e.number)
            for x in self.staging.values()
            for e in x.entries.values()
            if e.state is EntryState.ACTIVE
        }
        assert rebuilt == active | staged
        assert {digest for digest, kept in self.matcher.items() if kept} >= active
        matching = {i for i, upsert in self.feed.items() if upsert and i in self.entries}
        assert {i for i, e in self.entries.items() if e.state is EntryState.ACTIVE} <= matching
        assert not {i for i, e in self.entries.items() if e.state is EntryState.WITHDRAWN} & matching
        for import_id in self.staging:
            self.store.imports.cancel_import(import_id)


@pytest.mark.parametrize("is_large", [False, True])
@pytest.mark.parametrize("run", [1, 10**9])
def test_the_store_agrees_with_a_model(
    store: Store,
    fill: Any,
    run: int,
    is_large: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`is_large`: every commit's withdrawals are large ones, and its process ends before they are in the rows."""
    monkeypatch.setattr(module, "RUN", run)
    if is_large:
        monkeypatch.setattr(entry_writes, "LARGE", 0)
        monkeypatch.setattr(entry_writes, "PIECE", 1)
        monkeypatch.setattr(commits_module, "CHANGE_IDS", 1)
        monkeypatch.setattr(Commits, "settle", lambda *_: None)

    class Bound(Machine):
        pass

    Bound.store, Bound.fill = store, fill
    count = 8 if store.database.is_sqlite else 4  # PostgreSQL takes several times as long for each
    run_state_machine_as_test(
        Bound,
        settings=settings(
            max_examples=count, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
