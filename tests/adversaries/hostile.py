"""The hostile contributor, with an accomplice: everything that their tokens allow, in any order, against what three
honest ones list.

What must hold, whatever the two do (issue 6, "Statements"):

- An item that honest contributors list is never answered with less than they alone would bring about, under any policy;
  except with REVIEW where a hostile one whose word counts (C or better) spoke against that very item, not against one
  that is merely near.
- A hostile one whose word does not count (D to F) changes no verdict on it at all, in neither direction.
- What honest contributors list is accepted and active, whatever others listed before.
- An honest objection stands until its author takes it back. An operator's quarantine or withdrawal stays.
- What D to F list is never MATCH under `block`; what nobody listed is NO_MATCH.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import ClassVar, Final

from hashhub.hashes import Hash
from hashhub.model import (
    TLP,
    Action,
    EntryState,
    Marking,
    Principal,
    Purpose,
    RecordReview,
    Reliability,
    ReviewKind,
    Role,
    Verdict,
    WithdrawalReason,
    number_of,
)
from tests.adversaries.scene import OPERATOR, Item, World, digest, near, record, writer
from tests.adversaries.sequences import Broken

COUNTS: Final = frozenset({Reliability.A, Reliability.B, Reliability.C})
POLICIES: Final = ("any", "block")
SETS: Final = (
    "csam",
    "exploitative",
    "benign",
    "test",
    "vics",
)  # of the hostile: by their purpose, and one with a scheme
DOUBTS: Final = (ReviewKind.FALSE_POSITIVE, ReviewKind.NOT_ILLEGAL_HERE, ReviewKind.MISCLASSIFIED, ReviewKind.DUPLICATE)
FLOOD: Final = 1_001  # digests: more than a query's search once considered


class Hostile:
    """Two hostile contributors against three honest ones."""

    name: ClassVar[str] = "hostile"
    hubs: ClassVar[int] = 1
    moves: ClassVar[Mapping[str, int]] = {
        "honest_list": 5,
        "honest_restatement": 1,
        "list": 12,
        "list_near": 4,
        "claim": 6,
        "review_others": 5,
        "review_own": 1,
        "withdraw": 3,
        "withdraw_others": 1,
        "replace": 2,
        "probe": 2,
        "change_terms": 2,
        "change_others": 1,
        "begin_and_leave": 1,
        "honest_objection": 3,
        "operator_quarantine": 2,
        "operator_withdrawal": 2,
        "operator_accepts": 2,
        "restore": 2,
        "withdraw_as_asked": 1,
        "repeat_request": 1,
        "flood": 1,
    }

    def __init__(self, worlds: Sequence[World], key: str, random: Random) -> None:
        """Set the scene."""
        (self.world,) = worlds
        self.key = key
        self.consumer = Principal(name=f"{key}-platform", role=Role.CONSUMER, contributor=f"{key}-p")
        self.world.contributor(f"{key}-p")
        # Honest: one by whose word alone `block` matches, one that counts beside another, one that does not count.
        self.honest = {f"{key}-v1": Reliability.A, f"{key}-v2": random.choice("BC"), f"{key}-v3": random.choice("DEF")}
        for name, reliability in self.honest.items():
            self.world.contributor(name, reliability)
            self.world.hash_set(f"{name}/list", scheme="vic-us" if name.endswith("v1") else "")
        self.hostile = {f"{key}-h{i}": Reliability(random.choice("ABCDEFFF")) for i in (1, 2)}
        for name, reliability in self.hostile.items():
            self.world.contributor(name, reliability)
        self.own_sets: set[str] = set()  # of the hostile; made when they are needed
        self.items = [Item(f"{key} item {i}") for i in range(4)]
        self.listers = [sorted(self.honest), [f"{key}-v1"], [f"{key}-v2"], [f"{key}-v2", f"{key}-v3"]]
        self.decoys = [Item(f"{key} decoy {i}") for i in range(2)]  # no honest contributor lists these
        self.nobodys = Item(f"{key} nobody's")
        self.listed: dict[int, set[str]] = {i: set() for i in range(4)}  # honest contributors by item
        self.spoken: set[int] = set()  # items of which a hostile one that counts said anything
        self.spoken_near: set[int] = set()  # the same of something near them
        self.sets_with: dict[tuple[str, int], set[str]] = {}  # where a hostile one ever listed a decoy
        self.benign: dict[str, set[int]] = {}  # items that are in a hostile benign set
        self.accepted: set[str] = set()  # benign sets that the operator ever accepted
        self.objected: dict[int, str] = {}  # the hash set of the entry that an honest contributor objected to, by decoy
        self.stopped: dict[
            int, tuple[str, bool]
        ] = {}  # by decoy: where the operator stopped it; in all sets of the contributor?
        self.numbers = 0

    # What they do

    def move(self, name: str, a: int, b: int, c: int) -> str:
        """Make a move."""
        makes: Callable[[int, int, int], str] = getattr(self, f"_{name}")
        return makes(a, b, c)

    def _honest_list(self, a: int, b: int, c: int) -> str:
        item = a % len(self.items)
        waiting = [v for v in self.listers[item] if v not in self.listed[item]]
        if not waiting:
            return self._honest_restatement(a, b, c)
        return self._honest(waiting[b % len(waiting)], item, "")

    def _honest_restatement(self, a: int, b: int, c: int) -> str:
        item = a % len(self.items)
        if not self.listed[item]:
            return "nothing to state again"
        who = sorted(self.listed[item])[b % len(self.listed[item])]
        return self._honest(who, item, f"series {c}")

    def _honest(self, who: str, item: int, series: str) -> str:
        hashes, value = self.items[item].hashes, "1" if who.endswith("v1") else ""
        done = self.world.lists(
            f"{who}/list", [record(f"item {item}", hashes, external_id=f"{item}", value=value, series=series)]
        )
        self.listed[item].add(who)
        if done.counts.accepted + done.counts.unchanged != 1:
            reasons = [f"{f.disposition} {f.reason}" for f in self.world.findings(done, OPERATOR)]
            raise Broken(f"{who}'s item {item} was not accepted: {', '.join(reasons)}")
        return f"{who} lists item {item} {series}".rstrip()

    def _who(self, number: int) -> str:
        return sorted(self.hostile)[number % 2]

    def _own(self, who: str, kind: str) -> str:
        """Return the hash set of this kind, which is made if need be."""
        name = f"{who}/{kind}"
        if name not in self.own_sets:
            is_scheme = kind == "vics"
            self.world.hash_set(
                name, purpose=Purpose.CSAM if is_scheme else Purpose(kind.upper()), scheme="vic-us" if is_scheme else ""
            )
            self.own_sets.add(name)
        return name

    def _target(self, number: int) -> tuple[int, Item]:
        """Return an item or a decoy, and its number; decoys come behind the items."""
        both = [*self.items, *self.decoys]
        index = number % len(both)
        return index, both[index]

    def _note(self, who: str, index: int, hash_set: str) -> None:
        """Remember who listed or reviewed what."""
        if index >= len(self.items):
            self.sets_with.setdefault((who, index), set()).add(hash_set)
        elif hash_set.endswith("/benign"):  # until the operator accepts it, it says nothing
            self.benign.setdefault(hash_set, set()).add(index)
        elif self.hostile[who] in COUNTS:
            self.spoken.add(index)

    def _list(self, a: int, b: int, c: int) -> str:
        who, (index, item) = self._who(a), self._target(a // 2)
        garbage = self._garbage("SHA1")
        hashes: Sequence[Hash] = (
            item.hashes,
            (item.md5,),
            (item.pdq,),
            (item.md5, garbage),  # a binding that is not so
            (item.md5, item.sha1, self._garbage("PDQ")),
        )[b % 5]
        hash_set = self._own(who, SETS[b // 5 % len(SETS)])
        value = ("", "0", "1", "4", "5", "nonsense")[c % 6]
        carried = (
            (),
            (RecordReview(ReviewKind.CONFIRMED, f"{self.key}-v1"),),
            (RecordReview(ReviewKind.CONFIRMED, "operator"), RecordReview(ReviewKind.CONFIRMED, "")),
            (RecordReview(ReviewKind.FALSE_POSITIVE, f"{self.key}-v1"),),
        )[c // 6 % 4]
        action = Action.WITHDRAW if c // 24 % 8 == 0 else Action.CONTRIBUTE
        validate_only = c // 192 % 6 == 0
        external_id = ("", f"{index}", f"own {b}")[b // 64 % 3] or ("x" if action is Action.WITHDRAW else "")
        said = record(
            "line 1", hashes, value=value, reviews=carried, action=action, external_id=external_id, series=f"s{c % 3}"
        )
        done = self.world.lists(hash_set, [said], validate_only=validate_only)
        if not validate_only and action is Action.CONTRIBUTE:
            self._note(who, index, hash_set)
        what = f"{action} of {'item' if index < 4 else 'decoy'} {index} by {[h.algorithm for h in hashes]}"
        return (
            f"{who} ({self.hostile[who]}) {hash_set}: {what} as {value!r} id {external_id!r}, carrying "
            f"{[(r.kind.value, r.author) for r in carried]}"
            f"{', checked only' if validate_only else ''}: {done.counts.accepted} accepted"
        )

    def _claim(self, a: int, b: int, c: int) -> str:
        """Claim harm of something that no honest contributor lists, or state that claim again, changed."""
        who, index = self._who(a), len(self.items) + b % len(self.decoys)
        hash_set = self._own(who, ("vics", "csam")[b // 2 % 4 == 3])
        external_id = ("", f"{index}", f"{index}", f"{c}")[b // 8 % 4]
        said = record(
            "line 1",
            self.decoys[index - len(self.items)].hashes,
            value="1",
            external_id=external_id,
            series=f"s{c % 5}",
            reviews=(RecordReview(ReviewKind.CONFIRMED, (f"{self.key}-v1", "operator", who)[c % 3]),),
        )
        done = self.world.lists(hash_set, [said])
        self._note(who, index, hash_set)
        claim = f"{who} ({self.hostile[who]}) claims decoy {index} in {hash_set}, id {external_id!r}"
        return f"{claim}: {done.counts.accepted} accepted"

    def _list_near(self, a: int, b: int, c: int) -> str:
        who, index = self._who(a), a // 2 % len(self.items)
        bits = (1, 5, 15, 30)[b % 4]
        hash_set = self._own(who, SETS[b // 4 % len(SETS)])
        hashes = [near(self.items[index].pdq, bits, c)]
        value = ("0", "1", "")[c % 3]
        self.world.lists(hash_set, [record("line 1", hashes, value=value, external_id=f"near {b} {c}")])
        if self.hostile[who] in COUNTS:
            self.spoken_near.add(index)
        return f"{who} ({self.hostile[who]}) lists a PDQ {bits} bits from item {index} in {hash_set} as {value!r}"

    def _entries(self, contributors: Sequence[str]) -> list[str]:
        """Return the names of entries, in any state, of these contributors; oldest first."""
        names = []
        for who in contributors:
            sets = (
                [f"{who}/list"] if who in self.honest else sorted(s for s in self.own_sets if s.startswith(f"{who}/"))
            )
            for hash_set in sets:
                names += [e.name for e in self.world.entries(hash_set)]
        return sorted(names, key=lambda name: int(name.rpartition("/")[2]))

    def _review_others(self, a: int, b: int, c: int) -> str:
        who = self._who(a)
        entries = self._entries(sorted(self.honest))
        if not entries:
            return "nothing to review"
        entry = entries[b % len(entries)]
        kind = (*DOUBTS, ReviewKind.CONFIRMED)[c % 5]
        # Before it is refused, if it is: a review that is written and then refused would be a bug of its own.
        self._note(who, self._item_of(entry), f"{who}/-")
        self.world.review(entry, kind, by=writer(who), validate_only=c // 5 % 5 == 0)
        return f"{who} ({self.hostile[who]}) reviews {entry} (item {self._item_of(entry)}): {kind}"

    def _item_of(self, entry: str) -> int:
        contributor, hash_set, number = entry.split("/")
        for e in self.world.entries(f"{contributor}/{hash_set}"):
            if number_of(e.id) == int(number):
                return int(e.external_id)
        raise AssertionError(entry)

    def _review_own(self, a: int, b: int, c: int) -> str:
        who = self._who(a)
        entries = self._entries([who])
        if not entries:
            return "nothing of its own to review"
        entry, kind = entries[b % len(entries)], (ReviewKind.CONFIRMED, *DOUBTS)[c % 5]
        self.world.review(entry, kind, by=writer(who))
        return f"{who} reviews its own {entry}: {kind}"

    def _withdraw(self, a: int, b: int, c: int) -> str:
        who = self._who(a)
        entries = self._entries([who])
        if not entries:
            return "nothing of its own to withdraw"
        entry = entries[(b + c) % len(entries)]
        self.world.withdraw(entry, by=writer(who))
        return f"{who} withdraws its own {entry}"

    def _withdraw_others(self, a: int, b: int, c: int) -> str:
        who, entries = self._who(a), self._entries(sorted(self.honest))
        if not entries:
            return "nothing to withdraw"
        entry = entries[(b + c) % len(entries)]
        self.world.withdraw(entry, by=writer(who))
        raise Broken(f"{who} could withdraw {entry}")

    def _replace(self, a: int, b: int, c: int) -> str:
        who, (index, item) = self._who(a), self._target(a // 2)
        hash_set = self._own(who, ("csam", "benign", "vics")[b % 3])
        self.world.lists(hash_set, [record("line 1", item.hashes, value=str(c % 6), external_id=str(b))], replace=True)
        self._note(who, index, hash_set)
        return f"{who} ({self.hostile[who]}) replaces {hash_set} by {index} as {c % 6}"

    def _probe(self, a: int, b: int, c: int) -> str:
        who, (index, item) = self._who(a), self._target(a // 2)
        done = self.world.lists(
            self._own(who, "csam"), [record(f"line {c}", (item.md5, self._garbage("SHA1")))], validate_only=True
        )
        reasons = [f.reason for f in self.world.findings(done, writer(who))]
        return f"{who} checks a garbage binding of {index}: {reasons} {b % 2}"

    def _change_terms(self, a: int, b: int, c: int) -> str:
        who = self._who(a)
        hash_set = self._own(who, ("csam", "benign", "exploitative", "vics")[b % 4])
        marking = (
            Marking(tlp=TLP.RED, recipients=(f"contributors/{who}",), disclose_existence=bool(c // 4 % 2)),
            Marking(tlp=TLP.CLEAR),
            Marking(tlp=TLP.AMBER, recipients=(f"contributors/{self.key}-v1",)),
            Marking(tlp=TLP.GREEN, permitted_purposes=("nothing",)),
        )[c % 4]
        self.world.terms(hash_set, marking, by=writer(who))
        terms = f"{marking.tlp}, recipients {marking.recipients}, discloses {marking.disclose_existence}"
        return f"{who} puts {hash_set} under {terms}"

    def _change_others(self, a: int, b: int, c: int) -> str:
        who, victim = self._who(a), sorted(self.honest)[b % 3]
        self.world.terms(f"{victim}/list", Marking(tlp=TLP.RED, recipients=(f"contributors/{who}",)), by=writer(who))
        raise Broken(f"{who} could change the terms of {victim}/list ({c % 2})")

    def _begin_and_leave(self, a: int, b: int, c: int) -> str:
        who, (index, item) = self._who(a), self._target(a // 2)
        opened = self.world.begin(self._own(who, "benign"), replace=bool(b % 2))
        self.world.hub.contribute.add(writer(who), opened.id, 0, [record(f"line {c}", item.hashes)], [])
        return f"{who} begins an import of {index} into its benign set and leaves it"

    def _honest_objection(self, a: int, b: int, c: int) -> str:
        entries = [
            (index, hash_set, e)
            for (_, index), sets in sorted(self.sets_with.items())
            for hash_set in sorted(sets)
            for e in self.world.entries(hash_set)
            if e.state is EntryState.ACTIVE and self._is_of(e.hashes, index) and not e.reasons
        ]
        if not entries:
            return "nothing to object to"
        index, hash_set, entry = entries[(a + b) % len(entries)]
        self.world.review(entry.name, ReviewKind.FALSE_POSITIVE, by=writer(f"{self.key}-v1"))
        self.objected.setdefault(index, hash_set)
        return f"{self.key}-v1 (A) objects to {entry.name} (decoy {index}) {c % 1 or ''}".rstrip()

    def _is_of(self, hashes: Sequence[Hash], index: int) -> bool:
        return bool(set(hashes) & {*self.decoys[index - len(self.items)].hashes})

    def _operator_accepts(self, a: int, b: int, c: int) -> str:
        """Accept a hostile benign set as it is now, as an operator does who was deceived."""
        sets = sorted(s for s in self.own_sets if s.endswith("/benign"))
        if not sets:
            return "nothing benign to accept"
        name = sets[(a + b + c) % len(sets)]
        self.world.accept(name)
        self.accepted.add(name)
        if self.hostile[name.partition("/")[0]] in COUNTS:
            self.spoken |= self.benign.get(name, set())
        return f"the operator accepts {name}"

    def _restore(self, a: int, b: int, c: int) -> str:
        who = self._who(a)
        entries = self._entries([who])
        if not entries:
            return "nothing of its own to restore"
        entry = entries[(b + c) % len(entries)]
        self.world.restore(entry, by=writer(who))
        return f"{who} restores its own {entry}"

    def _withdraw_as_asked(self, a: int, b: int, c: int) -> str:
        """Withdraw something on behalf of a person shown, which has no daily limit."""
        who = self._who(a)
        entries = self._entries([who])
        if not entries:
            return "nothing of its own to withdraw"
        entry = entries[(b + c) % len(entries)]
        self.world.withdraw(entry, by=writer(who), reason=WithdrawalReason.REQUESTED_BY_PERSON_SHOWN)
        return f"{who} withdraws its own {entry}, it says at the request of a person shown"

    def _repeat_request(self, a: int, b: int, c: int) -> str:
        """Send a request under the id that an honest contributor used for its own."""
        who, entries = self._who(a), self._entries(sorted(self.honest))
        if not entries:
            return "nothing to review"
        entry, request_id = entries[b % len(entries)], f"{self.key} {c % 3}"
        honest = writer(f"{self.key}-v1")
        first = self.world.review(entry, ReviewKind.CONFIRMED, by=honest, request_id=request_id)
        second = self.world.review(entry, ReviewKind.CONFIRMED, by=writer(who), request_id=request_id)
        if second.author != who or second.id == first.id:
            raise Broken(f"{who} was given the answer to the request of {honest.name}: {second}")
        self._note(who, self._item_of(entry), f"{who}/-")
        return f"{who} reviews {entry} under a request id of {honest.name}"

    def _operator_quarantine(self, a: int, b: int, c: int) -> str:
        return self._stop(a + b + c, in_all_sets=False)

    def _operator_withdrawal(self, a: int, b: int, c: int) -> str:
        return self._stop(a + b + c, in_all_sets=True)

    def _stop(self, number: int, *, in_all_sets: bool) -> str:
        """Let the operator stop every entry about a decoy in one hash set, or withdraw them, which holds in all
        sets.
        """
        listed = sorted((index, hash_set) for (_, index), sets in self.sets_with.items() for hash_set in sets)
        if not listed:
            return "nothing for the operator to stop"
        index, hash_set = listed[number % len(listed)]
        decoy, who = self.decoys[index - len(self.items)], hash_set.partition("/")[0]
        sets = sorted(s for s in self.own_sets if s.startswith(f"{who}/")) if in_all_sets else [hash_set]
        stopped = []
        for entry in (e for name in sets for e in self.world.entries(name) if e.state is EntryState.ACTIVE):
            if {decoy.md5, decoy.sha1} & {*entry.hashes}:
                (self.world.withdraw(entry.name, by=OPERATOR) if in_all_sets else self.world.quarantine(entry.name))
                stopped.append(entry)
        if not any(decoy.md5 in entry.hashes for entry in stopped):
            return f"the operator stops {[e.name for e in stopped]}, none of which has the decoy's MD5"
        if index not in self.stopped or in_all_sets:
            self.stopped[index] = hash_set, in_all_sets
        return (
            f"the operator {'withdraws' if in_all_sets else 'quarantines'} {[e.name for e in stopped]} (decoy {index})"
        )

    def _flood(self, a: int, b: int, c: int) -> str:
        who, index = self._who(a), a // 2 % len(self.items)
        item, hash_set = self.items[index], self._own(who, ("csam", "benign", "exploitative")[b % 3])
        bits = 1 + c % 15  # nearer to the copy than the item is
        closer = {near(item.near_pdq, bits, i).digest for i in range(FLOOD)} - {item.pdq.digest}
        records = [record(f"line {i}", [Hash("PDQ", d)], value="1") for i, d in enumerate(sorted(closer))]
        self.world.lists(hash_set, records)
        if b // 3 % 2:
            self.world.terms(hash_set, Marking(tlp=TLP.RED, recipients=(f"contributors/{who}",)), by=writer(who))
        if self.hostile[who] in COUNTS:
            self.spoken_near.add(index)
        return (
            f"{who} ({self.hostile[who]}) floods {hash_set} with {len(closer)} PDQs nearer to the copy of item {index}"
        )

    def _garbage(self, algorithm: str) -> Hash:
        self.numbers += 1
        return digest(algorithm, f"{self.key} garbage {self.numbers}")

    # What must hold

    def check(self) -> None:
        """Ask about everything, and compare with what the model allows."""
        queries, about = [], []
        for index in (i for i, who in self.listed.items() if who):
            item = self.items[index]
            for kind, hashes in (
                ("MD5", [item.md5]),
                ("SHA1", [item.sha1]),
                ("PDQ", [item.pdq]),
                ("all", item.hashes),
                ("copy", [item.near_pdq]),
            ):
                queries.append(hashes)
                about.append((index, kind))
        decoys = range(len(self.items), len(self.items) + len(self.decoys))
        for index in decoys:
            decoy = self.decoys[index - len(self.items)]
            queries += [decoy.hashes, [decoy.md5]]
            about += [(index, "all"), (index, "MD5")]
        queries.append(self.nobodys.hashes)
        for policy in POLICIES:
            answers = self.world.ask(queries, policy, by=self.consumer)
            for (index, kind), answer in zip(about, answers, strict=False):
                if index in decoys:
                    self._check_decoy(index, kind, policy, answer.verdict)
                    continue
                allowed = self._allowed(index, kind, policy)
                if answer.verdict not in allowed:
                    said = [f"{r.code} {r.text}" for r in answer.reasons]
                    raise Broken(
                        f"item {index}, listed by {sorted(self.listed[index])}, asked by {kind} under `{policy}`: "
                        f"{answer.verdict}, "
                        f"where {' or '.join(sorted(allowed))} must be; {said[:4]}"
                    )
                names = {m.entry.name.partition("/")[0] for m in answer.matches}
                if not answer.truncated and not self.listed[index] <= names:
                    raise Broken(
                        f"item {index} asked by {kind}: the answer lacks the entry of {self.listed[index] - names}"
                    )
            if answers[-1].verdict is not Verdict.NO_MATCH:
                raise Broken(f"what nobody listed is {answers[-1].verdict} under `{policy}`")

    def _allowed(self, index: int, kind: str, policy: str) -> set[Verdict]:
        """Return the verdicts that honest statements and those whose word counts can bring about."""
        weighty = [v for v in self.listed[index] if self.honest[v] in COUNTS]
        alone = Verdict.MATCH if policy == "any" or f"{self.key}-v1" in weighty or len(weighty) > 1 else Verdict.REVIEW
        spoken = index in self.spoken or (kind == "copy" and index in self.spoken_near)
        # Whoever counts can speak against it, or be the second that it takes.
        return {alone, Verdict.REVIEW, Verdict.MATCH} if spoken else {alone} | self._near_support(index, kind, alone)

    def _near_support(self, index: int, kind: str, alone: Verdict) -> set[Verdict]:
        """What is near an exact item cannot dispute it, but one that counts supports it."""
        supported = index in self.spoken_near and kind in {"PDQ", "all"} and alone is Verdict.REVIEW
        return {Verdict.MATCH} if supported else set()

    def _check_decoy(self, index: int, kind: str, policy: str, verdict: Verdict) -> None:
        if verdict is Verdict.BENIGN and not self.accepted:
            raise Broken(f"decoy {index} is BENIGN under `{policy}` by a set that nobody accepted")
        if policy == "block" and verdict is Verdict.MATCH:
            who = {h for h, i in self.sets_with if i == index}
            if not any(self.hostile[h] in COUNTS for h in who):
                raise Broken(f"decoy {index} is MATCH under `block` by the word of {who} alone")
            sets = {s for (_, i), listed in self.sets_with.items() if i == index for s in listed}
            if sets == {self.objected.get(index)}:
                raise Broken(
                    f"decoy {index} is MATCH under `block` against the objection of {self.key}-v1, which stands"
                )
        # What is stopped is held by its exact digests, so that a PDQ alone under another name is another item.
        if index in self.stopped and kind == "MD5" and verdict is not Verdict.NO_MATCH:
            where, in_all_sets = self.stopped[index]
            sets = {s for (_, i), listed in self.sets_with.items() if i == index for s in listed}
            if sets == {where} or (in_all_sets and {s.partition("/")[0] for s in sets} == {where.partition("/")[0]}):
                raise Broken(
                    f"decoy {index} is {verdict} under `{policy}`, although the operator stopped it in {where}"
                )
