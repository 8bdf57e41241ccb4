"""The curious consumer, and a curious contributor, at two hubs that differ only in what neither of them may see.

In the second world a contributor keeps hash sets that the curious are not admitted to: harmful and benign, the same
digests and near ones, thousands of them. Whatever the curious do, at whatever time, both worlds answer alike: verdicts,
reasons, matches, flags, errors, findings and counts of their own imports, lists, the feed, and the numbers of entries
and reviews; all but for revisions, times and the random ids of imports. Sets whose terms disclose that something exists
are the one exception, and are not used here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any, ClassVar, Final

import msgspec

from hashhub.errors import HashHubError, StatusCode
from hashhub.hashes import Hash
from hashhub.hub.exports import ExportSelection
from hashhub.model import TLP, Action, EntryState, Event, Marking, Principal, Purpose, ReviewKind, Role, now, number_of
from tests.adversaries.scene import Item, World, digest, near, record, writer
from tests.adversaries.sequences import Broken

_IN_SET: Final = {"id", "entry_id", "sets_aside"}  # of which callers are told the number in the hash set
_REVISIONS: Final = {
    "revision", "create_revision", "update_revision", "commit_revision", "accepted_revision",
    "objections_accepted_revision", "position", "head", "bank_number",  # the last by a secret of each hub
}  # fmt: skip
_TIMES: Final = {"create_time", "commit_time", "update_time", "last_use_time", "time"}
_FLOOD: Final = 1_001


def blurred(value: Any, field: str = "") -> Any:
    """Return a value as the curious may compare it: without revisions, times and the random ids of imports."""
    match value:
        case Event():  # its digest chains it to what was before, and `content` is a salted commitment
            plain = msgspec.structs.replace(
                value, digest=b"", facts={k: v for k, v in value.facts.items() if k != "content"}
            )
            return {name: blurred(getattr(plain, name), name) for name in value.__struct_fields__}
        case msgspec.Struct():
            return {name: blurred(getattr(value, name), name) for name in value.__struct_fields__}
        case dict():
            return {str(k): blurred(v, str(k)) for k, v in value.items()}
        case list() | tuple():
            return [blurred(v, field) for v in value]
        case _ if field in _TIMES:
            return value is None
        case int() if field in _IN_SET and not isinstance(value, bool):
            return number_of(value)
        case int() if field in _REVISIONS and not isinstance(value, bool):
            return "#" if value else 0
        case str() if field == "position" and not value.startswith("line"):
            return "#"
        case str():
            return re.sub(r"imp-[0-9a-f]+", "imp-#", value)
        case bytes():
            return value.hex()
        case _:
            return value


class Curious:
    """A consumer and a contributor who want to know what is hidden from them."""

    name: ClassVar[str] = "curious"
    hubs: ClassVar[int] = 2
    moves: ClassVar[Mapping[str, int]] = {
        "secret_list": 8,
        "secret_near": 4,
        "secret_benign": 4,
        "secret_flood": 1,
        "secret_withdrawal": 2,
        "secret_terms": 2,
        "secret_review": 1,
        "secret_acceptance": 2,
        "open_list": 4,
        "match": 10,
        "match_near": 4,
        "list": 5,
        "check": 5,
        "replace": 1,
        "withdraw": 1,
        "look_around": 3,
        "guess": 3,
        "read_changes": 2,
        "export": 3,
        "read_history": 2,
        "restore": 1,
        "repeat_request": 1,
    }

    def __init__(self, worlds: Sequence[World], key: str, random: Random) -> None:
        """Set the scene, the same in both worlds but for the hidden sets."""
        self.worlds = worlds
        self.secret_world = worlds[1]
        self.key = key
        purposes = random.choice(((), ("research",)))
        self.consumer = Principal(name=f"{key}-platform", role=Role.CONSUMER, contributor=f"{key}-p", purposes=purposes)
        self.contributor = msgspec.structs.replace(writer(f"{key}-c"), may_mirror=True)
        self.secret, self.open = writer(f"{key}-s"), writer(f"{key}-o")
        for world in worlds:
            for who, reliability in (("p", "F"), ("c", random.choice("AF")), ("s", "A"), ("o", "A"), ("x", "C")):
                world.contributor(f"{key}-{who}", reliability if who != "c" else "B")
            world.hash_set(f"{key}-o/list", scheme="vic-us")
            world.hash_set(f"{key}-c/own", scheme="vic-us")
            world.hash_set(f"{key}-c/benign", purpose=Purpose.BENIGN)
        for name, purpose in (("hidden", Purpose.CSAM), ("hidden-benign", Purpose.BENIGN)):
            self.secret_world.hash_set(f"{key}-s/{name}", purpose=purpose, marking=self._hidden(0))
        self.positions = {world: world.changes(self.contributor, from_now=True)[1] for world in worlds}
        self.items = [Item(f"{key} item {i}") for i in range(3)]
        self.numbers = 0
        self.began = now()

    def _hidden(self, number: int) -> Marking:
        """Return terms that admit neither of the curious."""
        return (
            Marking(tlp=TLP.RED, recipients=(f"contributors/{self.key}-x",)),
            Marking(tlp=TLP.AMBER, recipients=(f"contributors/{self.key}-x",)),
            Marking(tlp=TLP.CLEAR, recipients=(f"contributors/{self.key}-x",)),
            Marking(tlp=TLP.GREEN, permitted_purposes=("casework",)),
        )[number % 4]

    def move(self, name: str, a: int, b: int, c: int) -> str:
        """Make a move: what is secret in the second world only, everything else in both, which must answer alike."""
        act: Callable[..., Any] = getattr(self, f"_{name}")
        if name.startswith("secret"):
            return str(act(a, b, c))
        self.numbers += 1
        answers = [self._outcome(act, world, a, b, c) for world in self.worlds]
        if answers[0] != answers[1]:
            raise Broken(f"{name}({a}, {b}, {c}) tells what is hidden: {difference(*answers)}")
        return f"{name}({a}, {b}, {c}): {str(answers[0])[:150]}"

    def check(self) -> None:
        """Nothing beyond what each move compares."""

    def _outcome(self, act: Callable[..., Any], world: World, a: int, b: int, c: int) -> Any:
        try:
            return blurred(act(world, a, b, c))
        except HashHubError as e:
            if e.code is StatusCode.INTERNAL:
                raise
            return blurred({"error": type(e).__name__, "reason": str(e.reason), "message": e.message, **e.metadata})

    # In the second world only

    def _secret_list(self, a: int, b: int, c: int) -> str:
        item = self.items[a % 3]
        hashes: Sequence[Hash] = (item.hashes, (item.md5,), (item.md5, digest("SHA1", f"{self.key} {c}")))[b % 3]
        self.secret_world.lists(
            f"{self.key}-s/hidden", [record("line 1", hashes, external_id=f"{a % 3}", series=f"{c}")]
        )
        return f"the secret contributor lists item {a % 3} by {[h.algorithm for h in hashes]}"

    def _secret_near(self, a: int, b: int, c: int) -> str:
        bits, name = (1, 10, 25)[b % 3], ("hidden", "hidden-benign")[b // 3 % 2]
        hashes = [near(self.items[a % 3].pdq, bits, c)]
        self.secret_world.lists(f"{self.key}-s/{name}", [record("line 1", hashes, external_id=f"near {c}")])
        return f"the secret contributor lists a PDQ {bits} bits from item {a % 3} in {name}"

    def _secret_benign(self, a: int, b: int, c: int) -> str:
        self.secret_world.lists(
            f"{self.key}-s/hidden-benign", [record("line 1", self.items[a % 3].hashes, external_id=f"{a % 3} {b % 2}")]
        )
        return f"the secret contributor lists item {a % 3} as benign {c % 1 or ''}".rstrip()

    def _secret_flood(self, a: int, b: int, c: int) -> str:
        item, name = self.items[a % 3], ("hidden", "hidden-benign")[b % 2]
        closer = {near(item.near_pdq, 1 + c % 15, i).digest for i in range(_FLOOD)} - {item.pdq.digest}
        records = [record(f"line {i}", [Hash("PDQ", d)]) for i, d in enumerate(sorted(closer))]
        self.secret_world.lists(f"{self.key}-s/{name}", records)
        return f"the secret contributor floods {name} with {len(closer)} PDQs near the copy of item {a % 3}"

    def _secret_withdrawal(self, a: int, b: int, c: int) -> str:
        entries = [e for e in self.secret_world.entries(f"{self.key}-s/hidden") if e.state is EntryState.ACTIVE]
        if not entries:
            return "nothing secret to withdraw"
        entry = entries[(a + b + c) % len(entries)].name
        self.secret_world.withdraw(entry, by=self.secret)
        return f"the secret contributor withdraws {entry}"

    def _secret_terms(self, a: int, b: int, c: int) -> str:
        name = ("hidden", "hidden-benign")[a % 2]
        self.secret_world.terms(f"{self.key}-s/{name}", self._hidden(b), by=self.secret)
        return f"{name} is now under {self._hidden(b)} {c % 1 or ''}".rstrip()

    def _secret_review(self, a: int, b: int, c: int) -> str:
        entries = self.secret_world.entries(f"{self.key}-s/hidden")
        if not entries:
            return "nothing secret to review"
        kind = tuple(ReviewKind)[c % 5]
        self.secret_world.review(entries[(a + b) % len(entries)].name, kind, by=self.secret)
        return f"the secret contributor reviews its entry: {kind}"

    def _secret_acceptance(self, a: int, b: int, c: int) -> str:
        self.secret_world.accept(f"{self.key}-s/hidden-benign")
        return f"the operator accepts the hidden benign set {(a + b + c) * 0 or ''}".rstrip()

    # In both worlds

    def _open_list(self, world: World, a: int, b: int, c: int) -> Any:
        """What another honest contributor does; it may not see the hidden sets either."""
        item = self.items[a % 3]
        said = record("line 1", item.hashes, external_id=f"{a % 3}", value=("1", "0", "2")[b % 3], series=f"{c % 2}")
        done = world.lists(f"{self.key}-o/list", [said], source=f"{self.key} open {self.numbers}")
        return done, world.findings(done, self.open)

    def _asker(self, number: int) -> Principal:
        return (self.consumer, self.contributor)[number % 2]

    def _match(self, world: World, a: int, b: int, c: int) -> Any:
        queries: list[Sequence[Hash]] = []
        for item in self.items:
            queries += [[item.md5], [item.pdq], item.hashes, [item.near_pdq]]
        return world.ask(queries, ("any", "block")[b % 2], by=self._asker(a), match_limit=(0, 1, 1000)[c % 3])

    def _match_near(self, world: World, a: int, b: int, c: int) -> Any:
        query = [near(self.items[a % 3].pdq, b % 40, c)]
        return world.ask(
            [query], ("any", "block")[c % 2], by=self._asker(a // 3), max_distances={"PDQ": (0, 31, 60)[c // 2 % 3]}
        )

    def _said(self, b: int, c: int) -> Any:
        item, garbage = self.items[b % 3], digest("SHA1", f"{self.key} garbage {self.numbers}")
        hashes: Sequence[Hash] = (item.hashes, (item.md5,), (item.md5, garbage), (item.pdq,), (item.near_pdq,))[
            b // 3 % 5
        ]
        action = Action.WITHDRAW if c // 4 % 6 == 0 else Action.CONTRIBUTE
        return record("line 1", hashes, value=("1", "0", "", "5")[c % 4], external_id=f"own {b % 4}", action=action)

    def _list(self, world: World, a: int, b: int, c: int) -> Any:
        name = f"{self.key}-c/{('own', 'benign')[a % 2]}"
        done = world.lists(name, [self._said(b, c)], source=f"{self.key} own {self.numbers}")
        return done, world.findings(done, self.contributor), world.entries(name)

    def _check(self, world: World, a: int, b: int, c: int) -> Any:
        name = f"{self.key}-c/{('own', 'benign')[a % 2]}"
        done = world.lists(name, [self._said(b, c)], source=f"{self.key} check {self.numbers}", validate_only=True)
        return done, world.findings(done, self.contributor)

    def _replace(self, world: World, a: int, b: int, c: int) -> Any:
        done = world.lists(
            f"{self.key}-c/own", [self._said(b, c)], source=f"{self.key} all {self.numbers} {a % 2}", replace=True
        )
        return done, world.findings(done, self.contributor)

    def _withdraw(self, world: World, a: int, b: int, c: int) -> Any:
        entries = world.entries(f"{self.key}-c/own")
        if entries:
            world.withdraw(entries[(a + b + c) % len(entries)].name, by=self.contributor)
        return world.entries(f"{self.key}-c/own")

    def _look_around(self, world: World, a: int, b: int, c: int) -> Any:
        who, hub = self._asker(a), world.hub
        looks: Sequence[Callable[[], Any]] = (
            lambda: hub.hash_sets.list(who, f"{self.key}-s", 100, ""),
            lambda: hub.hash_sets.list(who, None, 1000, f"{self.key}-"),
            lambda: hub.contributors.get(who, f"{self.key}-s"),
            lambda: hub.entries.list(who, f"{self.key}-s", "hidden", (), 100, 0),
            lambda: hub.contribute.list(who, f"{self.key}-s", "hidden", 100, ""),
            lambda: hub.hash_sets.get(who, f"{self.key}-s", "hidden"),
            lambda: hub.policies.currents(who),
            lambda: hub.groups.list(who, 100, f"{self.key}-"),
            lambda: hub.tokens.list(who),
            lambda: hub.contribute.list(who, f"{self.key}-c", "own", 100, ""),
        )
        return looks[b % len(looks)]() if c >= 0 else None

    def _guess(self, world: World, a: int, b: int, c: int) -> Any:
        """Ask for a hidden entry by its true name."""
        hidden = self.secret_world.entries(f"{self.key}-s/hidden")
        number = number_of(hidden[a % len(hidden)].id) if hidden else 1
        who, name = self.contributor, f"{self.key}-s/hidden/{number}"
        guesses: Sequence[Callable[[], Any]] = (
            lambda: world.review(name, ReviewKind.CONFIRMED, by=who),
            lambda: world.review(name, ReviewKind.FALSE_POSITIVE, by=who, validate_only=True),
            lambda: world.hub.reviews.list(who, f"{self.key}-s", "hidden", number, 10, 0),
            lambda: world.hub.entries.get(who, f"{self.key}-s", "hidden", number),
            lambda: world.withdraw(name, by=who),
            lambda: world.lists(f"{self.key}-s/hidden", [self._said(b, c)], by=who),
            lambda: world.terms(f"{self.key}-s/hidden", Marking(), by=who),
        )
        return guesses[b % len(guesses)]()

    def _read_history(self, world: World, a: int, b: int, c: int) -> Any:
        who = self.contributor
        own = world.entries(f"{self.key}-c/own")
        subject = (
            "",
            f"hash-sets/{self.key}-s/hidden",
            f"contributors/{self.key}-s",
            f"hash-sets/{self.key}-c/own",
            f"entries/{own[b % len(own)].name}" if own else f"entries/{self.key}-c/own/1",
        )[a % 5]
        events, _ = world.hub.history.list(who, subject, "", self.began, 200, 0)
        return [blurred(e) for e in events if f"{self.key}-" in repr(e)], c * 0

    def _restore(self, world: World, a: int, b: int, c: int) -> Any:
        entries = world.entries(f"{self.key}-c/own")
        return world.restore(entries[(a + b + c) % len(entries)].name, by=self.contributor) if entries else None

    def _repeat_request(self, world: World, a: int, b: int, c: int) -> Any:
        """Send a request under an id that the secret contributor used for its own."""
        request_id = f"{self.key} {c % 3}"
        hidden = self.secret_world.entries(f"{self.key}-s/hidden")
        if hidden and world is self.secret_world:
            self.secret_world.review(hidden[0].name, ReviewKind.CONFIRMED, by=self.secret, request_id=request_id)
        entries = world.entries(f"{self.key}-o/list")
        if not entries:
            return None
        return world.review(
            entries[a % len(entries)].name, ReviewKind.CONFIRMED, by=self.contributor, request_id=request_id
        ), b * 0

    def _export(self, world: World, a: int, b: int, c: int) -> Any:
        """Take all that one may into a file, by a hash set's name or by a policy."""
        who, hub = self._asker(a), world.hub
        names = (f"{self.key}-s/hidden", f"{self.key}-s/nothing", f"{self.key}-o/list", f"{self.key}-c/own")
        selection = (ExportSelection(hash_sets=(names[b % 4],)), ExportSelection(policy=("any", "block")[b % 2]))[c % 2]
        recipient = ("", f"contributors/{self.key}-x", f"contributors/{self.key}-c")[c // 2 % 3]
        export = hub.exports.begin(who, selection, recipient=recipient)
        entries = [e for piece in export.pieces(lambda: who) for e in piece if f"{self.key}-" in e.name]
        told = [line for line in (*export.hash_sets, *export.left_out) if f"{self.key}-" in repr(line)]
        return [blurred(x) for x in (*told, *entries)]

    def _read_changes(self, world: World, a: int, b: int, c: int) -> Any:
        """Read the feed, of everything or since the last time; only what concerns this sequence is of interest."""
        lines, position = world.changes(self.contributor, "" if a % 4 == 0 else self.positions[world])
        self.positions[world] = position
        return [blurred(line) for line in lines if f"{self.key}-" in repr(line)], (b + c) * 0


def difference(first: Any, second: Any, where: str = "answer") -> str:
    """Say where two answers differ first."""
    if isinstance(first, dict) and isinstance(second, dict) and set(first) == set(second):
        pairs = [(first[k], second[k], f"{where}.{k}") for k in first]
    elif isinstance(first, list) and isinstance(second, list) and len(first) == len(second):
        pairs = [(a, b, f"{where}[{i}]") for i, (a, b) in enumerate(zip(first, second, strict=True))]
    else:
        return f"{where}: {str(first)[:300]} without what is hidden, {str(second)[:300]} with it"
    return next(difference(a, b, at) for a, b, at in pairs if a != b)
