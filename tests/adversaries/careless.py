"""The careless operator, beside a careless contributor: wrong recipients, deleted and emptied groups, terms to and fro,
an old backup restored.

What must hold: no entry reaches anybody whom the terms in force do not admit, by an answer or by the feed, and none is
kept from somebody whom they do; what is wrong in a request is refused and changes nothing; whoever terms name is not
deleted; a name is never used again; what was withdrawn by hand does not match again, not even after an older database
was put back.

The terms in force after a backup was restored are those of the backup: the hub cannot know of others.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import ClassVar, Final

import msgspec

from hashhub.errors import AlreadyExists, FailedPrecondition, HashHubError, InvalidArgument, NotFound
from hashhub.model import TLP, ChangeKind, EntryState, Marking, Principal, Record, Role, Verdict
from tests.adversaries.scene import OPERATOR, Item, World, record, writer
from tests.adversaries.sequences import Broken

ITEMS: Final = 3
SETS: Final = ("one", "two")
PAST, FUTURE = datetime(2020, 1, 1, tzinfo=UTC), datetime(2090, 1, 1, tzinfo=UTC)


@dataclass
class _Model:
    """What a backup would hold."""

    terms: dict[str, Marking]
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)
    used_groups: set[str] = field(default_factory=set)
    receivers: dict[str, Principal] = field(default_factory=dict)
    listed: dict[str, set[int]] = field(default_factory=lambda: {name: set() for name in SETS})


class Careless:
    """An operator and a contributor who do not look twice."""

    name: ClassVar[str] = "careless"
    hubs: ClassVar[int] = 1
    moves: ClassVar[Mapping[str, int]] = {
        "terms": 10,
        "recipients_only": 4,
        "clear_recipients": 2,
        "label_only": 3,
        "create_group": 4,
        "change_group": 4,
        "delete_group": 3,
        "change_token": 3,
        "delete_token": 2,
        "list": 6,
        "withdraw": 3,
        "old_list": 2,
        "back_up": 1,
        "restore_backup": 1,
        "restart": 1,
    }

    def __init__(self, worlds: Sequence[World], key: str, random: Random) -> None:
        """Set the scene."""
        (self.world,) = worlds
        self.key = key
        self.lister = self.world.contributor(f"{key}-l", random.choice("ACF"))
        for name in ("x", "y", "z"):
            self.world.contributor(f"{key}-{name}", "C")
        first = Marking(tlp=TLP.AMBER, recipients=(f"contributors/{key}-x",))
        for name in SETS:
            self.world.hash_set(f"{self.lister}/{name}", marking=first)
        tokens = (
            Principal(name=f"{key}-x-platform", role=Role.CONSUMER, contributor=f"{key}-x", may_mirror=True),
            Principal(name=f"{key}-x-provider", role=Role.CONSUMER, contributor=f"{key}-x", acts_for_others=True),
            Principal(name=f"{key}-y-desk", role=Role.CONTRIBUTOR, contributor=f"{key}-y", may_mirror=True),
            Principal(name=f"{key}-y-case", role=Role.CONSUMER, contributor=f"{key}-y", purposes=("casework",)),
            Principal(name=f"{key}-z", role=Role.CONSUMER, contributor=f"{key}-z", purposes=("casework", "research")),
        )
        self.model = _Model(dict.fromkeys(SETS, first))
        for token in tokens:
            self.model.receivers[token.name] = self.world.hub.tokens.create(OPERATOR, token)[0]
        self.items = [Item(f"{key} item {i}") for i in range(ITEMS)]
        self.withdrawn: set[tuple[str, int]] = set()
        self.backup: tuple[_Model, Path] | None = None
        self.mirrors = {t.name: self.world.changes(t, from_now=True)[1] for t in tokens if t.may_mirror}
        self.copies: dict[str, dict[str, str]] = {name: {} for name in self.mirrors}  # hash set by entry

    def move(self, name: str, a: int, b: int, c: int) -> str:
        """Make a move."""
        makes: Callable[[int, int, int], str] = getattr(self, f"_{name}")
        return makes(a, b, c)

    # Terms

    def _recipients(self, number: int) -> tuple[str, ...]:
        """Return recipients as somebody in a hurry writes them: some right, some not."""
        key = self.key
        right = (
            f"contributors/{key}-x", f"contributors/{key}-y", f"groups/{key}-g0", f"groups/{key}-g1", f"tokens/{key}-z",
            f"tokens/{key}-y-case",
        )  # fmt: skip
        wrong = (
            "",
            f"{key}-x",
            f"contributors/{key}-xx",
            f"groups/{key}-x",
            f"contributors/{key}-g0",
            "contributors/",
            "tokens/operator ",
        )
        first = right[number % 6]
        kind = number // 6 % 8
        if kind == 0:
            return ()
        if kind == 1:
            return (first, wrong[number // 48 % len(wrong)])
        if kind == 2:
            return (wrong[number // 48 % len(wrong)],)
        if kind < 5:
            return (first, right[number // 48 % 6])
        return (first,)

    def _exist(self, recipients: Sequence[str]) -> bool:
        known = {f"contributors/{self.key}-{name}" for name in "lxyz"}
        known |= {f"groups/{name}" for name in self.model.groups} | {f"tokens/{name}" for name in self.model.receivers}
        return set(recipients) <= known

    def _change(self, name: str, wanted: Callable[[Marking], Marking], mask: tuple[str, ...], what: str) -> str:
        """Change terms; what cannot be must be refused and change nothing."""
        before = self.model.terms[name]
        try:
            after = wanted(before)
        except InvalidArgument:
            return f"{what} of {name} cannot even be written"
        sound = self._exist(after.recipients)
        try:
            self.world.terms(f"{self.lister}/{name}", after, by=writer(self.lister), mask=mask)
        except HashHubError as e:
            if sound:
                raise Broken(f"{what} of {name} to {after} was refused: {e.message}") from e
            if not isinstance(e, (InvalidArgument, NotFound)):
                raise Broken(f"{what} of {name} to {after}: {e}") from e
            return f"{what} of {name} to {after.recipients}: refused"
        if not sound:
            raise Broken(f"{what} of {name} named recipients that do not exist: {after.recipients}")
        self.model.terms[name] = after
        return f"{what} of {name}: {_told(after)}"

    def _terms(self, a: int, b: int, c: int) -> str:
        tlp = tuple(TLP)[b % len(TLP)]

        def wanted(_: Marking) -> Marking:
            return Marking(
                tlp=tlp,
                recipients=self._recipients(c),
                permitted_purposes=((), (), ("casework",), ("research", "training"))[b // 5 % 4],
                bulk=bool(b // 20 % 2),
                disclose_existence=b // 40 % 4 == 0,
                expire_time=(None, None, None, PAST, FUTURE)[b // 160 % 5],
            )

        return self._change(SETS[a % 2], wanted, ("marking", "marking.recipients"), "new terms")

    def _recipients_only(self, a: int, b: int, c: int) -> str:
        recipients = self._recipients(c)
        return self._change(
            SETS[(a + b) % 2],
            lambda m: msgspec.structs.replace(m, recipients=recipients),
            ("marking.recipients",),
            "recipients",
        )

    def _clear_recipients(self, a: int, b: int, c: int) -> str:
        return self._change(
            SETS[(a + b + c) % 2],
            lambda m: msgspec.structs.replace(m, recipients=()),
            ("marking.recipients",),
            "no recipients",
        )

    def _label_only(self, a: int, b: int, c: int) -> str:
        tlp, bulk = tuple(TLP)[b % len(TLP)], bool(c % 2)
        return self._change(
            SETS[a % 2],
            lambda m: msgspec.structs.replace(m, tlp=tlp, bulk=bulk),
            ("marking.tlp", "marking.bulk"),
            "label and bulk",
        )

    # Groups and tokens

    def _members(self, number: int) -> tuple[str, ...]:
        return tuple(f"{self.key}-{name}" for i, name in enumerate("xyz") if number >> i & 1)

    def _create_group(self, a: int, b: int, c: int) -> str:
        name, members = f"{self.key}-g{a % 2}", self._members(b)
        try:
            self.world.create_group(name, members)
        except AlreadyExists:
            if name not in self.model.used_groups:
                raise
            return f"{name} was there before: refused {c % 1 or ''}".rstrip()
        if name in self.model.used_groups:
            raise Broken(f"the name of group {name} was used again")
        self.model.groups[name] = members
        self.model.used_groups.add(name)
        return f"creates {name} of {members}"

    def _change_group(self, a: int, b: int, c: int) -> str:
        name, members = f"{self.key}-g{a % 2}", self._members(b)
        if c % 8 == 0:
            members = (*members, f"{self.key}-nobody")
        try:
            self.world.change_group(name, members)
        except (NotFound, InvalidArgument) as e:
            if name in self.model.groups and c % 8:
                raise Broken(f"the members of {name} cannot be changed: {e.message}") from e
            return f"{name} of {members}: refused"
        if name not in self.model.groups or c % 8 == 0:
            raise Broken(f"{name} of {members} was changed, although it does not exist or a member does not")
        self.model.groups[name] = members
        return f"{name} is now of {members}"

    def _delete_group(self, a: int, b: int, c: int) -> str:
        name = f"{self.key}-g{(a + b + c) % 2}"
        return self._delete(f"groups/{name}", name in self.model.groups, lambda: self.world.delete_group(name))

    def _change_token(self, a: int, b: int, c: int) -> str:
        names = sorted(self.model.receivers)
        if not names:
            return "no token is left"
        token = self.model.receivers[names[a % len(names)]]
        wanted = msgspec.structs.replace(
            token, purposes=((), ("casework",), ("research",))[b % 3], acts_for_others=bool(c % 2)
        )
        changed = self.world.hub.tokens.update(OPERATOR, wanted, ("purposes", "acts_for_others"))
        self.model.receivers[token.name] = changed
        return f"{token.name} is now for {changed.purposes}, for others: {changed.acts_for_others}"

    def _delete_token(self, a: int, b: int, c: int) -> str:
        names = sorted(self.model.receivers)
        if not names:
            return "no token is left"
        name = names[(a + b + c) % len(names)]
        told = self._delete(
            f"tokens/{name}", is_there=True, delete=lambda: self.world.hub.tokens.delete(OPERATOR, name)
        )
        if f"tokens/{name}" not in {r for m in self.model.terms.values() for r in m.recipients}:
            del self.model.receivers[name]
        return told

    def _delete(self, resource: str, is_there: bool, delete: Callable[[], None]) -> str:
        is_named = resource in {r for m in self.model.terms.values() for r in m.recipients}
        try:
            delete()
        except NotFound:
            if is_there:
                raise Broken(f"{resource} is said not to be there") from None
            return f"{resource} is not there to be deleted"
        except FailedPrecondition as e:
            if not is_named:
                raise Broken(f"{resource}, which no terms name, cannot be deleted: {e.message}") from e
            return f"{resource} is named by terms and stays"
        if is_named or not is_there:
            raise Broken(
                f"{resource} was deleted, {'although terms name it' if is_named else 'although it is not there'}"
            )
        if resource.startswith("groups/"):
            del self.model.groups[resource.partition("/")[2]]
        return f"deletes {resource}"

    # Entries, and the database

    def _list(self, a: int, b: int, c: int) -> str:
        name, items = SETS[a % 2], [i for i in range(ITEMS) if b >> i & 1] or [b % ITEMS]
        self.world.lists(f"{self.lister}/{name}", self._records(items, f"s{c % 3}"))
        self.model.listed[name] |= {i for i in items if (name, i) not in self.withdrawn}
        return f"lists {items} in {name}"

    def _old_list(self, a: int, b: int, c: int) -> str:
        """Send a list that is always the same."""
        name = SETS[a % 2]
        source = f"{self.key} {name} old {(b + c) % 2}"
        self.world.lists(f"{self.lister}/{name}", self._records(range(ITEMS), "old"), source=source)
        self.model.listed[name] |= {i for i in range(ITEMS) if (name, i) not in self.withdrawn}
        return f"lists everything in {name}, as always"

    def _records(self, items: Sequence[int], series: str) -> list[Record]:
        return [record(f"line {i}", self.items[i].hashes, external_id=f"{i}", series=series) for i in items]

    def _withdraw(self, a: int, b: int, c: int) -> str:
        name = SETS[a % 2]
        there = sorted(self.model.listed[name])
        if not there:
            return "nothing to withdraw"
        i = there[b % len(there)]
        entries = [
            e.name
            for e in self.world.entries(f"{self.lister}/{name}")
            if e.state is EntryState.ACTIVE and set(e.hashes) & {*self.items[i].hashes}
        ]
        by = (OPERATOR, writer(self.lister))[c % 2]
        for entry in entries:
            if self.world.withdraw(entry, by=by).state is not EntryState.WITHDRAWN:  # waits for a second person
                self.world.withdraw(entry, by=OPERATOR)
                by = OPERATOR
        for other in SETS if by is OPERATOR else (name,):
            if (
                other == name or i not in self.model.listed[other]
            ):  # a hold of the operator's keeps it from being listed elsewhere
                self.withdrawn.add((other, i))
        self.model.listed[name].discard(i)
        return f"{by.name} withdraws item {i} in {name} by hand"

    def _back_up(self, a: int, b: int, c: int) -> str:
        self.backup = copy.deepcopy(self.model), self.world.back_up()
        return f"makes a backup {(a + b + c) * 0 or ''}".rstrip()

    def _restore_backup(self, a: int, b: int, c: int) -> str:
        if self.backup is None:
            return "there is no backup"
        model, file = self.backup
        self.world.restore_backup(file)
        self.model = copy.deepcopy(model)
        for name, i in self.withdrawn:
            self.model.listed[name].discard(i)
        self.mirrors = dict.fromkeys(self.mirrors, "")  # what they knew of never happened
        self.copies = {name: {} for name in self.copies}
        return f"puts the backup back {(a + b + c) * 0 or ''}".rstrip()

    def _restart(self, a: int, b: int, c: int) -> str:
        self.world.restart()
        return f"stops and starts the hub {(a + b + c) * 0 or ''}".rstrip()

    # What must hold

    def check(self) -> None:
        """See what reaches whom."""
        for receiver in self.model.receivers.values():
            answers = self.world.ask([item.hashes for item in self.items], "any", by=receiver)
            for i, answer in enumerate(answers):
                listing = [name for name in SETS if i in self.model.listed[name]]
                expected = {name for name in listing if self._admits(receiver, name)}
                told = any(self.model.terms[name].disclose_existence for name in listing if name not in expected)
                got = {m.entry.hash_set for m in answer.matches}
                verdict = Verdict.MATCH if expected else Verdict.REVIEW if told else Verdict.NO_MATCH
                if got != expected or answer.verdict is not verdict:
                    terms = [f"{name}: {_told(self.model.terms[name])}" for name in SETS]
                    raise Broken(
                        f"{receiver.name} asks for item {i}, listed in {listing}: {answer.verdict} from {sorted(got)}, "
                        "where the terms say "
                        f"{verdict} from {sorted(expected)}; {'; '.join(terms)}; groups {self.model.groups}"
                    )
            if receiver.name in self.mirrors:
                self._check_copy(receiver)

    def _check_copy(self, receiver: Principal) -> None:
        lines, self.mirrors[receiver.name] = self.world.changes(receiver, self.mirrors[receiver.name])
        copied = self.copies[receiver.name]
        for line in lines:
            if line.entry is not None and line.entry.contributor == self.lister:
                copied[line.entry.name] = line.entry.hash_set
            elif line.kind is ChangeKind.WITHDRAW:
                gone = line.hash_set_name
                for entry in [e for e in copied if e == line.entry_name or (gone and e.startswith(f"{gone}/"))]:
                    del copied[entry]
        for name in SETS:
            expected = len(self.model.listed[name]) if self._admits(receiver, name, bulk=True) else 0
            held = sum(hash_set == name for hash_set in copied.values())
            if held != expected:
                raise Broken(
                    f"{receiver.name}'s copy of {name} has {held} entries, where the terms give it {expected}: "
                    f"{_told(self.model.terms[name])}"
                )

    def _admits(self, receiver: Principal, name: str, *, bulk: bool = False) -> bool:
        """Say whether the terms in force let this receiver have entries, from the design's table of labels."""
        terms = self.model.terms[name]
        named = {f"contributors/{receiver.contributor}", f"tokens/{receiver.name}"}
        named |= {f"groups/{g}" for g, members in self.model.groups.items() if receiver.contributor in members}
        is_named = bool(named & {*terms.recipients})
        by_label = {
            TLP.CLEAR: True,
            TLP.GREEN: True,
            TLP.AMBER: True,
            TLP.AMBER_STRICT: not receiver.acts_for_others,
            TLP.RED: is_named,
        }[terms.tlp]
        return (
            by_label
            and (is_named or not terms.recipients)
            and (not terms.permitted_purposes or bool({*terms.permitted_purposes} & {*receiver.purposes}))
            and terms.expire_time != PAST
            and (terms.bulk or not bulk)
        )


def _told(terms: Marking) -> str:
    """Return terms in a few words."""
    more = [
        word
        for word, is_so in (
            ("bulk", terms.bulk),
            ("discloses", terms.disclose_existence),
            ("expired", terms.expire_time == PAST),
        )
        if is_so
    ]
    purposes = list(terms.permitted_purposes) or "any purpose"
    return f"{terms.tlp} to {list(terms.recipients) or 'all'} for {purposes} {' '.join(more)}".rstrip()
