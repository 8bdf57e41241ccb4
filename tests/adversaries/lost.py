"""The lost contributor: it re-sends, sends parts, sends old lists, breaks off, replaces lists, and forgets what it
withdrew.

What must hold: its hash sets state what its last word was; what it, or the operator, withdrew by hand is not revived by
any list until it is restored by name; what its own source deleted is not brought back by an older list; every item of
every import is accounted for; what was never committed has no effect.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import ClassVar, Final

from hashhub.errors import HashHubError
from hashhub.model import (
    Action,
    Disposition,
    EntryState,
    Import,
    ImportState,
    Principal,
    Record,
    Role,
    Verdict,
    WithdrawalReason,
)
from tests.adversaries.scene import OPERATOR, Item, World, accounted, record, writer
from tests.adversaries.sequences import Broken

ITEMS: Final = 5
SETS: Final = ("a", "b")


@dataclass
class _List:
    """A list as it was sent: its source, where to, and what it states of which items."""

    source: str
    hash_set: str
    items: tuple[int, ...]
    version: str
    replace: bool
    deletes: bool = False
    renamed: bool = False
    first_sent: int = 0
    before: str = ""  # the import that was left open


@dataclass
class _Item:
    """What the model knows about one item in one hash set."""

    active: bool = False
    version: str = ""
    held: str = ""  # the entry that was withdrawn by hand
    held_by_operator: bool = False
    pending_by: str = ""  # the token that asked for a withdrawal which awaits a second one
    deleted_at: int = 0  # when its source deleted it


@dataclass
class _Set:
    items: dict[int, _Item] = field(default_factory=lambda: {i: _Item() for i in range(ITEMS)})
    replacing: str = ""  # the source of the last import, if it replaced everything


class Lost:
    """A contributor who has lost track of what was sent."""

    name: ClassVar[str] = "lost"
    hubs: ClassVar[int] = 1
    moves: ClassVar[Mapping[str, int]] = {
        "list": 8,
        "replace": 4,
        "resend": 5,
        "delete": 2,
        "check": 1,
        "begin": 2,
        "resume": 2,
        "cancel": 1,
        "withdraw": 5,
        "operator_withdraws": 1,
        "person_shown": 1,
        "operator_restores": 1,
        "restore": 3,
        "renamed": 3,
    }

    def __init__(self, worlds: Sequence[World], key: str, random: Random) -> None:
        """Set the scene."""
        (self.world,) = worlds
        self.key = key
        self.who = self.world.contributor(f"{key}-l", random.choice("ACF"))
        for hash_set in SETS:
            self.world.hash_set(f"{self.who}/{hash_set}")
        self.consumer = Principal(name=f"{key}-platform", role=Role.CONSUMER, contributor=self.who)
        self.items = [Item(f"{key} item {i}") for i in range(ITEMS)]
        self.sets = {name: _Set() for name in SETS}
        self.sent: list[_List] = []
        self.open: list[_List] = []
        self.clock = 0

    def move(self, name: str, a: int, b: int, c: int) -> str:
        """Make a move."""
        self.clock += 1
        makes: Callable[[int, int, int], str] = getattr(self, f"_{name}")
        return makes(a, b, c)

    def _new(self, a: int, b: int, c: int, *, replace: bool = False, deletes: bool = False) -> _List:
        items = tuple(i for i in range(ITEMS) if b >> i & 1) or (b % ITEMS,)
        return _List(
            f"{self.key} {self.clock}", SETS[a % 2], items, f"v{c % 3}", replace, deletes, first_sent=self.clock
        )

    def _records(self, sent: _List) -> list[Record]:
        action = Action.WITHDRAW if sent.deletes else Action.CONTRIBUTE
        return [
            record(
                f"line {i}",
                () if sent.deletes else self.items[i].hashes,
                external_id=f"{i} of {sent.source}" if sent.renamed else f"{i}",
                series="" if sent.deletes else sent.version,
                action=action,
            )
            for i in sent.items
        ]

    # Lists

    def _list(self, a: int, b: int, c: int) -> str:
        return self._send(self._new(a, b, c))

    def _replace(self, a: int, b: int, c: int) -> str:
        return self._send(self._new(a, b, c, replace=True))

    def _delete(self, a: int, b: int, c: int) -> str:
        return self._send(self._new(a, b, c, deletes=True))

    def _resend(self, a: int, b: int, c: int) -> str:
        """Send a list that was sent before, byte by byte."""
        if not self.sent:
            return "nothing to send again"
        return "again: " + self._send(self.sent[(a + b + c) % len(self.sent)])

    def _renamed(self, a: int, b: int, c: int) -> str:
        """List items that were withdrawn by hand under new ids."""
        sent = self._new(a, b, c)
        sent.items = tuple(i for i in sent.items if self.sets[sent.hash_set].items[i].held)
        sent.renamed = True
        return self._send(sent) if sent.items else "nothing is withdrawn that could be renamed"

    def _check(self, a: int, b: int, c: int) -> str:
        sent = self._new(a, b, c, replace=bool(c % 2))
        done = self.world.lists(
            f"{self.who}/{sent.hash_set}",
            self._records(sent),
            source=f"{sent.source} check",
            replace=sent.replace,
            validate_only=True,
        )
        self._conserve(done, sent)
        return f"checks {sent.items} for {sent.hash_set}"

    def _begin(self, a: int, b: int, c: int) -> str:
        sent = self._new(a, b, c, replace=bool(b % 3 == 0))
        opened = self.world.begin(f"{self.who}/{sent.hash_set}", source=sent.source, replace=sent.replace)
        if c % 2:
            self.world.hub.contribute.add(writer(self.who), opened.id, 0, self._records(sent), [])
        sent.before = opened.id
        self.open.append(sent)
        return f"begins {'all' if sent.replace else 'a list'} of {sent.items} for {sent.hash_set} and is cut off"

    def _resume(self, a: int, b: int, c: int) -> str:
        if not self.open:
            return "nothing to go on with"
        sent = self.open.pop((a + b + c) % len(self.open))
        return "goes on: " + self._send(sent)

    def _cancel(self, a: int, b: int, c: int) -> str:
        if not self.open:
            return "nothing to cancel"
        sent = self.open.pop((a + b + c) % len(self.open))
        self.world.hub.contribute.cancel(writer(self.who), sent.before)
        return f"cancels the list of {sent.items} for {sent.hash_set}"

    def _send(self, sent: _List) -> str:
        name = f"{self.who}/{sent.hash_set}"
        opened = self.world.begin(name, source=sent.source, replace=sent.replace)
        what = (
            f"{'deletes' if sent.deletes else 'replaces all by' if sent.replace else 'lists'} {sent.items} in "
            f"{sent.hash_set} as "
            f"{sent.version}{', renamed' if sent.renamed else ''} (source {sent.first_sent})"
        )
        if opened.state is ImportState.COMMITTED:
            self._expect_done(sent)
            return f"{what}: was done before"
        done = self.world.lists(name, self._records(sent), source=sent.source, replace=sent.replace)
        if sent not in self.sent:
            self.sent.append(sent)
        self._conserve(done, sent)
        self._apply(sent, done)
        return f"{what}: {done.counts.accepted} accepted, {done.counts.stays_withdrawn} stay withdrawn"

    def _conserve(self, done: Import, sent: _List) -> None:
        counts = done.counts
        if not counts.items == accounted(counts) == len(sent.items):
            raise Broken(
                f"{len(sent.items)} items were sent, {counts.items} counted and {accounted(counts)} accounted for"
            )

    def _expect_done(self, sent: _List) -> None:
        """A list may be taken for a repetition only where it would change nothing that its contributor could mean.

        A deletion message sent again is one whatever was listed since: the new statement stands.
        """
        items = self.sets[sent.hash_set].items
        if sent.deletes:
            return
        wrong = [i for i in sent.items if not items[i].active and not self._stays(sent, items[i])]
        if sent.replace:
            wrong += [i for i in range(ITEMS) if items[i].active and i not in sent.items]
        if wrong:
            raise Broken(f"the list of {sent.items} is said to be done, but items {wrong} are not as it states them")

    def _stays(self, sent: _List, item: _Item) -> bool:
        return bool(item.held) or item.deleted_at > sent.first_sent

    def _apply(self, sent: _List, done: Import) -> None:
        known = self.sets[sent.hash_set]
        held = [i for i in sent.items if self._stays(sent, known.items[i])]
        if not sent.deletes and done.counts.stays_withdrawn != len(held):
            raise Broken(f"items {held} stay withdrawn, the report counts {done.counts.stays_withdrawn}")
        loud = [f for f in self.world.findings(done, OPERATOR) if f.disposition is Disposition.STAYS_WITHDRAWN]
        if not sent.deletes and len(loud) != len(held):
            raise Broken(f"items {held} stay withdrawn, the findings name {[f.position for f in loud]}")
        for i in sent.items:
            item = known.items[i]
            if sent.deletes and item.active:  # what is not there cannot be deleted, and the report says so
                item.active, item.pending_by, item.deleted_at = False, "", self.clock
            elif not sent.deletes and i not in held:
                item.active, item.version, item.deleted_at, item.pending_by = True, sent.version, 0, ""
        if sent.replace:
            for i in set(range(ITEMS)) - {*sent.items}:
                known.items[i].active, known.items[i].pending_by = False, ""

    # By hand

    def _withdraw(self, a: int, b: int, c: int) -> str:
        name = SETS[a % 2]
        active = [i for i, item in self.sets[name].items.items() if item.active]
        if not active:
            return "nothing to withdraw"
        i = active[b % len(active)]
        item = self.sets[name].items[i]
        token = f"{self.who}-{('desk', 'second')[c % 2]}"
        by = Principal(name=token, role=Role.CONTRIBUTOR, contributor=self.who)
        entry = self._entry(name, i)
        state = self.world.withdraw(entry, by=by).state
        if state is EntryState.WITHDRAWN:
            item.active, item.held, item.pending_by = False, entry, ""
            return f"{token} withdraws item {i} in {name} by hand"
        if item.pending_by not in {"", token}:
            raise Broken(f"item {i} still waits, although {item.pending_by} and {token} both withdrew it")
        item.pending_by = token
        return f"{token} asks for the withdrawal of item {i} in {name}"

    def _operator_withdraws(self, a: int, b: int, c: int) -> str:
        return f"the operator withdraws {self._everywhere((a + b + c) % ITEMS, OPERATOR, WithdrawalReason.ERROR)}"

    def _person_shown(self, a: int, b: int, c: int) -> str:
        reason = WithdrawalReason.REQUESTED_BY_PERSON_SHOWN
        withdrawn = self._everywhere((a + b + c) % ITEMS, writer(self.who), reason)
        return f"at the request of a person shown withdraws {withdrawn}"

    def _everywhere(self, i: int, by: Principal, reason: WithdrawalReason) -> str:
        """Withdraw an item wherever it stands; that holds in all sets of the contributor, and only the operator lifts
        it.
        """
        done: list[str] = []
        standing = {name: self._entry(name, i) for name in SETS if self.sets[name].items[i].active}
        for name in SETS:
            item = self.sets[name].items[i]
            if item.active:
                entry = standing[name]
                # A request of the person shown for one of them withdraws the others with it.
                is_gone = reason is WithdrawalReason.REQUESTED_BY_PERSON_SHOWN and bool(done)
                if not is_gone and self.world.withdraw(entry, by=by, reason=reason).state is not EntryState.WITHDRAWN:
                    raise Broken(f"{by.name} withdrew item {i} for {reason}, and it is still there")
                item.active, item.pending_by, item.held = False, "", entry
                done.append(entry)
        for name in SETS:
            if done:
                self.sets[name].items[i].held = self.sets[name].items[i].held or done[0]
                self.sets[name].items[i].held_by_operator = True
        return f"item {i}: {done}"

    def _operator_restores(self, a: int, b: int, c: int) -> str:
        """Restore an item wherever it was withdrawn by hand, as the operator."""
        i = (a + b + c) % ITEMS
        restored = []
        for name in SETS:
            item = self.sets[name].items[i]
            if item.held.startswith(f"{self.who}/{name}/"):
                self.world.restore(item.held, by=OPERATOR)
                restored.append(item.held)
                item.active, item.deleted_at = True, 0
        for name in SETS:
            if restored:
                self.sets[name].items[i].held, self.sets[name].items[i].held_by_operator = "", False
        return f"the operator restores item {i}: {restored}"

    def _restore(self, a: int, b: int, c: int) -> str:
        held = [
            (name, i, item)
            for name in SETS
            for i, item in self.sets[name].items.items()
            if item.held.startswith(f"{self.who}/{name}/")
        ]
        if not held:
            return "nothing to restore"
        name, i, item = held[(a + b) % len(held)]
        by_operator = bool(c % 3 == 0) and not item.held_by_operator
        by = OPERATOR if by_operator else writer(self.who)
        try:
            self.world.restore(item.held, by=by)
        except HashHubError as e:
            if item.held_by_operator:
                return f"{by.name} cannot restore item {i} in {name}, which the operator withdrew: {e.reason}"
            raise Broken(f"{by.name} cannot restore item {i} in {name}: {e.message}") from e
        if item.held_by_operator:
            raise Broken(f"{by.name} restored item {i} in {name}, which the operator withdrew")
        entry, item.held, item.active, item.deleted_at = item.held, "", True, 0
        return f"{by.name} restores {entry} (item {i} in {name})"

    def _entry(self, name: str, i: int) -> str:
        wanted = {*self.items[i].hashes}
        entries = [
            e for e in self.world.entries(f"{self.who}/{name}") if e.state is EntryState.ACTIVE and wanted & {*e.hashes}
        ]
        if len(entries) != 1:
            raise Broken(f"item {i} is stated by {len(entries)} active entries in {name}: {[e.name for e in entries]}")
        return entries[0].name

    # What must hold

    def check(self) -> None:
        """Ask about every item by each of its hashes, and see in which sets it is."""
        queries = [[h] for item in self.items for h in item.hashes]
        answers = self.world.ask(queries, "any", by=self.consumer)
        for number, answer in enumerate(answers):
            i, hash_ = number // 3, queries[number][0].algorithm
            expected = {name for name in SETS if self.sets[name].items[i].active}
            hit = [m.entry for m in answer.matches]
            sets = {e.hash_set for e in hit}
            if sets != expected or (answer.verdict is Verdict.MATCH) != bool(expected):
                held = [name for name in SETS if self.sets[name].items[i].held]
                raise Broken(
                    f"item {i} by {hash_} matches in {sorted(sets) or 'no set'}, and its contributor's last word is "
                    f"{sorted(expected) or 'no set'}; by hand it was withdrawn in {held or 'none'}; {answer.verdict}"
                )
            for e in hit:
                if e.series != self.sets[e.hash_set].items[i].version:
                    raise Broken(
                        f"item {i} in {e.hash_set} says {e.series}, its last word was "
                        f"{self.sets[e.hash_set].items[i].version}"
                    )
