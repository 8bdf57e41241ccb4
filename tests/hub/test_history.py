"""Random histories: the hub against a dictionary, and its matcher and its feed against the hub."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hashhub.config import Config
from hashhub.hashes import ALGORITHMS
from hashhub.hub import Hub
from hashhub.model import Action, Entry, EntryState, Role, Verdict, WithdrawalReason
from hashhub.store import Store
from tests.hub.conftest import OPERATOR, Desk, digest, item
from tests.hub.receiving import Receiver, mirroring

_SETS = ("alpha/one", "alpha/two", "beta/one")
_NUMBERS = range(6)
_ALGORITHMS = ("MD5", "PDQ")
_STATEMENTS = st.sampled_from(
    ["this", "that", "suspect"]
)  # what a list may say of a file; the last goes into quarantine

_template = Path(tempfile.mkdtemp(prefix="hashhub-history-"))


def _data() -> Path:
    """A directory with an empty database, made once and copied: bringing its tables up takes longer than a history."""
    template = _template / "empty"
    if not template.exists():
        Store.open(template).close()
    return Path(shutil.copytree(template, tempfile.mkdtemp(dir=_template), dirs_exist_ok=True))


class History(RuleBasedStateMachine):
    """A model that knows, for each hash set and number, the live statements and their states, the oldest first."""

    def __init__(self) -> None:
        super().__init__()
        self.data = _data()
        self.desk = Desk(self._open())
        self.live: dict[tuple[str, int], list[tuple[str, EntryState]]] = {}
        self.held: set[tuple[str, int]] = set()  # contributor and number: withdrawn by the operator, in all sets
        self.receiver = Receiver(self.desk.hub, mirroring(Role.AUDITOR))

    def _open(self) -> Hub:
        hub = Hub.open(Config(data=str(self.data), poll_interval=30.0))  # no polling: calls alone must suffice
        hub.start()
        return hub

    @initialize()
    def register(self) -> None:
        for name in _SETS:
            self.desk.hash_set(name)

    def teardown(self) -> None:
        self.desk.hub.close()
        shutil.rmtree(self.data)

    # What may happen

    @rule(
        name=st.sampled_from(_SETS),
        stated=st.dictionaries(st.sampled_from(_NUMBERS), _STATEMENTS, max_size=4),
        withdrawn=st.sets(st.sampled_from(_NUMBERS), max_size=2),
        replace=st.booleans(),
    )
    def contribute(self, name: str, stated: dict[int, str], withdrawn: set[int], *, replace: bool) -> None:
        """A list whose items are new, the same, changed, suspect, or withdrawals, which a full list cannot have."""
        replace &= not withdrawn
        items = [item(n, algorithms=("MD5",), action=Action.WITHDRAW, position=f"gone {n}") for n in sorted(withdrawn)]
        items += [
            item(n, algorithms=_ALGORITHMS, tags=(s,), quality=10 if s == "suspect" else 90) for n, s in stated.items()
        ]
        self.desk.contribute(name, *items, replace=replace, allow_shrinking=True, batch=2)
        for n in _NUMBERS:
            key = (name, n)
            if n in stated and n not in withdrawn and key not in self.live and (name.partition("/")[0], n) in self.held:
                continue  # stays withdrawn
            if n in stated:
                self.live[key] = _restated(self.live.get(key, []), stated[n])
            elif replace or n in withdrawn:
                self.live.pop(key, None)

    @precondition(lambda self: self.live)
    @rule(data=st.data(), move=st.sampled_from(["withdraw", "release"]))
    def move(self, data: st.DataObject, move: str) -> None:
        """Somebody changes the state of one entry."""
        name, number = key = data.draw(st.sampled_from(sorted(self.live)))
        contributor, _, set_id = name.partition("/")
        entries = [e for e in self._live(name) if _number(e) == number]
        held = self.live[key]
        at = data.draw(st.integers(0, len(held) - 1))
        entry = (OPERATOR, contributor, set_id, entries[at].id)
        if move == "withdraw":
            self.desk.hub.entries.withdraw(*entry, WithdrawalReason.ERROR)
            self.held.add((contributor, number))
            held.pop(at)
            if not held:
                del self.live[key]
            return
        self.desk.hub.entries.release(*entry)
        if held[at][1] is EntryState.QUARANTINED:  # released, it takes the place of those before it
            held[: at + 1] = [(held[at][0], EntryState.ACTIVE)]

    @rule(compact=st.booleans())
    def restart(self, *, compact: bool) -> None:
        """The hub stops and starts, with a snapshot of now or of long ago."""
        if compact:
            self.desk.hub.matcher.compact()
        self.desk.hub.close()
        self.desk.hub = self._open()

    @rule(page_size=st.integers(1, 7))
    def read_the_feed(self, page_size: int) -> None:
        """A receiver goes on where it was, and then has exactly what is active."""
        self.receiver.hub = self.desk.hub
        self.receiver.catch_up(page_size)
        assert {i: e for i, (e, _) in self.receiver.entries.items()} == {e.name: e for e in self._active()}

    # What always holds

    @invariant()
    def the_hub_holds_what_the_model_does(self) -> None:
        held = [((name, _number(e)), (e.tags[0], e.state)) for name in _SETS for e in self._live(name)]
        assert sorted(held) == sorted((key, one) for key, live in self.live.items() for one in live)

    @invariant()
    def the_matcher_holds_the_active_digests(self) -> None:
        matcher = self.desk.hub.matcher
        active = {h for e in self._active() for h in e.hashes}
        for name in _ALGORITHMS:
            digests = {h.digest for h in active if h.algorithm == name}
            assert matcher.count(name) == len(digests)
            if digests:
                rows = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, ALGORITHMS[name].digest_bytes)
                assert matcher.contains(name, rows).all()

    @invariant()
    def what_is_active_matches_and_nothing_else(self) -> None:
        wanted = {n for (_, n), live in self.live.items() if any(state is EntryState.ACTIVE for _, state in live)}
        for name in _ALGORITHMS:
            answer = {n for n in _NUMBERS if self.desk.match(digest(name, n)).verdict is Verdict.MATCH}
            assert answer == wanted

    def _live(self, name: str) -> list[Entry]:
        return self.desk.entries(name, EntryState.ACTIVE, EntryState.QUARANTINED)

    def _active(self) -> Iterable[Entry]:
        return [e for name in _SETS for e in self.desk.entries(name, EntryState.ACTIVE)]


def _restated(held: list[tuple[str, EntryState]], stated: str) -> list[tuple[str, EntryState]]:
    """What is live after a list stated it: what an operator made of the same statement since is no reason to change
    it.
    """
    at = next((i for i, (known, _) in enumerate(held) if known == stated), None)
    if at is not None:  # the last word again: what waits behind it is out of date
        return [one for i, one in enumerate(held) if i <= at or one[1] is EntryState.ACTIVE]
    if stated == "suspect":  # it waits, and what is active stays until it is released
        return [*(one for one in held if one[1] is EntryState.ACTIVE), (stated, EntryState.QUARANTINED)]
    return [(stated, EntryState.ACTIVE)]


def _number(entry: Entry) -> int:
    return next(n for n in _NUMBERS if digest("MD5", n) in entry.hashes)


History.TestCase.settings = settings(max_examples=15, stateful_step_count=12, phases=[Phase.explicit, Phase.generate])
TestHistory = History.TestCase
