"""The change feed: complete at any page size, exact after any interruption, and only what the reader may have."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from datetime import timedelta
from random import Random
from typing import Any

import msgspec
import pytest

from hashhub.errors import FailedPrecondition, InvalidArgument, PermissionDenied, Reason
from hashhub.hub import Hub
from hashhub.hub.exchange import PIECE, ChangePage
from hashhub.model import ChangedEntry, ChangeKind, Marking, Principal, Review, ReviewKind, Role, now, number_of
from hashhub.store.entries import EntryTable
from hashhub.store.feeds import Feeds
from tests.hub.conftest import OPERATOR, Desk, Open, item, writer
from tests.hub.receiving import Receiver, admit, entitled, mirroring

SHARED = Marking(bulk=True)
WHOLE = mirroring(Role.AUDITOR, "overseer")
OUTSIDER = mirroring()
SIZES = (1, 2, 3, 7, 1000)


def told(lines: list[ChangedEntry]) -> list[tuple[str, str]]:
    """What happened to whom: positions of entries in their lists, names of hash sets and contributors."""
    return [(line.kind, _about(line)) for line in lines]


def _about(line: ChangedEntry) -> str:
    if line.entry is not None:
        return line.entry.provenance.position
    if line.hash_set is not None:
        return line.hash_set.name
    if line.contributor is not None:
        return line.contributor.id
    return line.entry_name or line.hash_set_name


def terms(desk: Desk, name: str, **marking: Any) -> None:
    contributor, _, set_id = name.partition("/")
    hash_set = desk.hub.store.resources.get_hash_set(contributor, set_id)
    changed = msgspec.structs.replace(hash_set.marking, **marking)
    desk.hub.store.resources.update_hash_set(contributor, set_id, {"marking": changed})


def holds_what_it_may(receiver: Receiver) -> None:
    assert (receiver.entries, receiver.sets) == entitled(receiver.hub, receiver.who)


@pytest.fixture
def eventful(any_desk: Desk) -> Desk:
    """Seven files; one withdrawn, one set aside and taken back, one set aside, one suspect from the beginning."""
    desk = any_desk
    desk.hash_set("alpha/list", marking=SHARED)
    desk.contribute("alpha/list", *(item(n) for n in range(1, 7)), item(7, algorithms=("MD5", "PDQ"), quality=1))
    ids = {e.provenance.position: e.id for e in desk.entries("alpha/list")}
    desk.hub.store.transitions.withdraw([ids["line 2"]], "X")
    desk.hub.entries.quarantine(OPERATOR, "alpha", "list", ids["line 3"])
    desk.hub.entries.release(OPERATOR, "alpha", "list", ids["line 3"])
    desk.hub.entries.quarantine(OPERATOR, "alpha", "list", ids["line 4"])
    return desk


def test_a_first_sync_is_what_there_is_now(eventful: Desk) -> None:
    for size in SIZES:
        receiver = Receiver(eventful.hub, OUTSIDER)
        assert told(receiver.catch_up(size)) == [
            ("UPSERT", "alpha"), ("UPSERT", "alpha/list"),
            ("UPSERT", "line 1"), ("UPSERT", "line 3"), ("UPSERT", "line 5"), ("UPSERT", "line 6"),
        ], size  # fmt: skip
        holds_what_it_may(receiver)
        assert receiver.catch_up(size) == []


def test_a_receiver_goes_on_inside_an_import(any_desk: Desk) -> None:
    """An import is one revision: whoever can only name revisions loses the rest of it, or reads it all again."""
    any_desk.hash_set("alpha/list", marking=SHARED)
    receivers = {size: Receiver(any_desk.hub, OUTSIDER) for size in SIZES}
    for receiver in receivers.values():
        receiver.catch_up()
    done = any_desk.contribute("alpha/list", *(item(n) for n in range(50)))
    for size, receiver in receivers.items():
        lines = receiver.catch_up(size)
        assert told(lines) == [("UPSERT", f"line {n}") for n in range(50)], size
        assert {line.revision for line in lines} == {done.revision}
    gone = any_desk.entries("alpha/list")[::2]
    any_desk.hub.store.transitions.withdraw([e.id for e in gone], "X")
    for size, receiver in receivers.items():
        assert told(receiver.catch_up(size)) == [("WITHDRAW", e.name) for e in gone], size
        holds_what_it_may(receiver)


def test_a_withdrawal_in_the_middle_of_a_first_sync_is_not_missed(any_desk: Desk) -> None:
    any_desk.hash_set("alpha/list", marking=SHARED)
    any_desk.contribute("alpha/list", *(item(n) for n in range(1, 10)))
    ids = {e.provenance.position: e.id for e in any_desk.entries("alpha/list")}
    for given in range(12):
        receiver = Receiver(any_desk.hub, OUTSIDER)
        for _ in range(given):
            receiver.page(1)
        for line in ("line 2", "line 8"):
            any_desk.hub.entries.quarantine(OPERATOR, "alpha", "list", ids[line])
        receiver.catch_up(1)
        holds_what_it_may(receiver)
        for line in ("line 2", "line 8"):
            any_desk.hub.entries.release(OPERATOR, "alpha", "list", ids[line])
        receiver.catch_up(2)
        holds_what_it_may(receiver)


def test_from_now_on_gives_terms_but_no_entry_that_is_there(eventful: Desk) -> None:
    receiver = Receiver(eventful.hub, OUTSIDER)
    assert told(receiver.catch_up(from_now=True)) == [("UPSERT", "alpha"), ("UPSERT", "alpha/list")]
    eventful.contribute("alpha/list", item(8), item(9))
    assert told(receiver.catch_up()) == [("UPSERT", "line 8"), ("UPSERT", "line 9")]


@pytest.mark.parametrize(
    ("without", "with_"),
    [
        ({"bulk": False}, {"bulk": True}),
        ({"recipients": ("contributors/other",)}, {"recipients": ("contributors/other", "contributors/receiver")}),
        ({"recipients": ("tokens/other-mirror",)}, {"recipients": ("tokens/receiver-mirror",)}),
        ({"permitted_purposes": ("research",)}, {"permitted_purposes": ("moderation",)}),
    ],
)
def test_a_change_of_terms_reaches_the_receiver(any_desk: Desk, without: dict[str, Any], with_: dict[str, Any]) -> None:
    for name in ("alpha/list", "beta/list"):
        any_desk.hash_set(name, marking=SHARED)
        any_desk.contribute(name, *(item(n) for n in range(5)))
    for contributor in ("other", "receiver"):
        admit(any_desk.hub.store, mirroring(contributor=contributor))
    who = msgspec.structs.replace(OUTSIDER, purposes=("moderation",))
    receivers = {size: Receiver(any_desk.hub, who) for size in SIZES}
    for size, receiver in receivers.items():
        receiver.catch_up(size)
    terms(any_desk, "alpha/list", **without)
    entry = any_desk.entries("alpha/list")[0]
    any_desk.hub.store.transitions.withdraw([entry.id], "X")
    for size, receiver in receivers.items():
        # What becomes of its entries after that is nothing that it is told of.
        assert told(receiver.catch_up(size)) == [
            ("WITHDRAW", "alpha/list"), ("UPSERT", "beta"), ("UPSERT", "beta/list"),
        ], size  # fmt: skip
        holds_what_it_may(receiver)
    terms(any_desk, "alpha/list", **with_)
    for size, receiver in receivers.items():
        assert told(receiver.catch_up(size)) == [
            ("UPSERT", "alpha"), ("UPSERT", "beta"), ("UPSERT", "alpha/list"), ("UPSERT", "beta/list"),
            *(("UPSERT", f"line {n}") for n in range(1, 5)),
        ], size  # fmt: skip
        holds_what_it_may(receiver)


def test_terms_that_change_back_unseen_cost_nothing(desk: Desk) -> None:
    desk.hash_set("alpha/list", marking=SHARED)
    desk.contribute("alpha/list", item(1), item(2))
    receiver = Receiver(desk.hub, OUTSIDER)
    receiver.catch_up()
    terms(desk, "alpha/list", bulk=False)
    ids = [e.id for e in desk.entries("alpha/list")]
    desk.hub.store.transitions.withdraw(ids[:1], "X")
    terms(desk, "alpha/list", bulk=True)
    assert told(receiver.catch_up()) == [("WITHDRAW", f"alpha/list/{number_of(ids[0])}")]
    holds_what_it_may(receiver)


def test_a_purpose_of_the_token_and_the_end_of_terms_are_changes_too(desk: Desk) -> None:
    assert desk.hub.housekeeping is not None
    desk.hub.housekeeping.thread.close()  # a round of it would write that they have ended
    desk.hash_set("alpha/purpose", marking=Marking(bulk=True, permitted_purposes=("research",)))
    desk.hash_set("alpha/ending", marking=SHARED)
    desk.contribute("alpha/purpose", item(1))
    desk.contribute("alpha/ending", item(2))
    receiver = Receiver(desk.hub, OUTSIDER)
    receiver.catch_up()
    assert receiver.sets.keys() == {"alpha/ending"}
    receiver.who = msgspec.structs.replace(OUTSIDER, purposes=("research",))
    receiver.catch_up()
    assert receiver.sets.keys() == {"alpha/ending", "alpha/purpose"}
    end = now() + timedelta(seconds=0.5)
    terms(desk, "alpha/ending", expire_time=end)
    revision = desk.hub.revision()
    while now() < end:
        receiver.catch_up()
    receiver.catch_up()
    # Nothing was written: the clock alone made the difference.
    assert desk.hub.revision() == revision
    assert ("WITHDRAW", "alpha/ending") in told(receiver.lines)
    assert receiver.sets.keys() == {"alpha/purpose"}
    holds_what_it_may(receiver)


def test_what_a_policy_needs_comes_with_the_entries(any_desk: Desk) -> None:
    any_desk.contributor("origin")
    any_desk.contributor("passes-on", takes_from=["origin"])
    any_desk.contributor("nobody-reads")
    any_desk.hash_set("alpha/list", marking=SHARED)
    any_desk.contribute("alpha/list", item(1), item(2))
    receiver = Receiver(any_desk.hub, OUTSIDER)
    receiver.catch_up()
    assert receiver.contributors.keys() == {"alpha"}
    entry = any_desk.entries("alpha/list")[0]
    objection = ReviewKind.FALSE_POSITIVE, "a private word"
    any_desk.hub.reviews.create(writer("passes-on"), "alpha", "list", entry.id, *objection)
    lines = receiver.catch_up()
    assert told(lines) == [
        ("UPSERT", "alpha"), ("UPSERT", "origin"), ("UPSERT", "passes-on"), ("UPSERT", "alpha/list"),
        ("UPSERT", "line 1"),
    ]  # fmt: skip
    assert [(r.author, r.kind) for r in lines[-1].reviews] == [("passes-on", ReviewKind.FALSE_POSITIVE)]
    holds_what_it_may(receiver)
    any_desk.hub.store.resources.update_contributor("origin", {"display_name": "Another"}, lambda _: None)
    assert receiver.catch_up()[1].contributor == receiver.contributors["origin"]
    assert receiver.contributors["origin"].display_name == "Another"
    any_desk.hub.store.resources.update_contributor("nobody-reads", {"display_name": "Another"}, lambda _: None)
    assert receiver.catch_up() == []


@pytest.mark.parametrize("is_new", [True, False], ids=["a hash set that is given", "a hash set that is followed"])
def test_the_first_review_of_a_hash_set_is_not_missed_while_a_page_is_made(
    any_desk: Desk, monkeypatch: pytest.MonkeyPatch, is_new: bool
) -> None:
    any_desk.hash_set("alpha/list", marking=SHARED)
    any_desk.contribute("alpha/list", item(1))
    [entry] = any_desk.entries("alpha/list")
    receiver = Receiver(any_desk.hub, OUTSIDER)
    if not is_new:
        receiver.catch_up()
    any_desk.contribute("alpha/list", item(2))
    any_desk.contributor("beta")
    real = Feeds.review_authors
    written: list[Review] = []

    def overtaken(self: Feeds) -> dict[int, set[str]]:
        """Somebody reviews an entry once the page knows who has reviewed."""
        authors = real(self)
        if not written:
            made = any_desk.hub.reviews.create(writer("beta"), "alpha", "list", entry.id, ReviewKind.MISCLASSIFIED)
            written.append(made)
        return authors

    monkeypatch.setattr(Feeds, "review_authors", overtaken)
    receiver.catch_up()
    assert written
    holds_what_it_may(receiver)


def test_two_worlds_that_differ_in_what_is_hidden_read_alike(open_hub: Open, tmp_path: Any) -> None:
    def world(directory: str, *, secret: bool) -> list[tuple[Any, ...]]:
        desk = Desk(open_hub(data=str(tmp_path / directory)))
        desk.hash_set("alpha/list", marking=SHARED)
        desk.hash_set("gamma/hidden", marking=Marking(recipients=("contributors/alpha",), bulk=True))
        receiver = Receiver(desk.hub, OUTSIDER)
        lines = []
        for n in range(4):
            desk.contribute("alpha/list", item(n), item(n + 10))
            if secret:
                desk.contribute("gamma/hidden", item(n), item(n + 20))
                hidden = desk.entries("gamma/hidden")
                desk.hub.store.transitions.withdraw([hidden[0].id], "X")
                desk.hub.reviews.create(OPERATOR, "gamma", "hidden", hidden[1].id, ReviewKind.FALSE_POSITIVE)
                terms(desk, "gamma/hidden", legal_basis=str(n))
            lines += receiver.catch_up(3)
        return [(*pair, line.entry and line.entry.hashes) for pair, line in zip(told(lines), lines, strict=True)]

    assert world("one", secret=False) == world("two", secret=True)


def test_who_may_read_it(desk: Desk) -> None:
    desk.hash_set("alpha/list")
    desk.contribute("alpha/list", item(1))
    with pytest.raises(PermissionDenied, match="may not read the change feed"):
        desk.hub.changes.page(OPERATOR)
    for role in Role:
        receiver = Receiver(desk.hub, mirroring(role))
        receiver.catch_up()
        assert len(receiver.entries) == (role in {Role.OPERATOR, Role.AUDITOR})
    own = Receiver(desk.hub, mirroring(Role.CONTRIBUTOR, "alpha"))
    own.catch_up()
    assert len(own.entries) == 1


def test_positions_are_the_hubs_own_and_one_readers(eventful: Desk, tmp_path: Any) -> None:
    position = eventful.hub.changes.page(OUTSIDER, page_size=3).position
    other = msgspec.structs.replace(OUTSIDER, name="another-token")
    for who, wrong in (
        (other, position),
        (OUTSIDER, position[:-2]),
        (OUTSIDER, "x"),
        (OUTSIDER, "é" * 50),
        (OUTSIDER, "A" * 2_000_000),
        *((OUTSIDER, position[:i] + ("A" if position[i] != "A" else "B") + position[i + 1 :]) for i in range(0, 40, 7)),
    ):
        with pytest.raises(InvalidArgument, match="position"):
            eventful.hub.changes.page(who, wrong)


def test_a_restored_database_is_noticed(open_hub: Open, tmp_path: Any) -> None:
    data = tmp_path / "hub"
    desk = Desk(open_hub(data=str(data)))
    desk.hash_set("alpha/list", marking=SHARED)
    desk.contribute("alpha/list", item(1))
    desk.hub.close()
    backup = (data / "hashhub.db").read_bytes()
    desk.hub = open_hub(data=str(data))
    early = Receiver(desk.hub, OUTSIDER)
    early.catch_up()
    late = Receiver(desk.hub, OUTSIDER)
    desk.contribute("alpha/list", item(2))
    late.catch_up()
    desk.hub.close()
    for name in ("hashhub.db-wal", "hashhub.db-shm"):
        (data / name).unlink(missing_ok=True)
    (data / "hashhub.db").write_bytes(backup)
    desk.hub = early.hub = late.hub = open_hub(data=str(data))
    # As many revisions as before, but others.
    desk.contribute("alpha/list", item(3))
    assert told(early.catch_up()) == [("UPSERT", "line 3")]
    with pytest.raises(FailedPrecondition) as e:
        late.catch_up()
    assert e.value.reason is Reason.POSITION_UNKNOWN


def test_a_write_between_two_reads_of_a_page_is_told(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever changes while a page is read, a complete page leaves nothing out and nothing in."""
    desk.hash_set("alpha/list", marking=SHARED)
    desk.hash_set("alpha/other", marking=Marking())
    desk.contribute("alpha/list", *(item(n) for n in range(1, 6)))
    desk.contribute("alpha/other", *(item(n) for n in range(6, 9)))
    ids = itertools.cycle(e.id for e in desk.entries("alpha/list"))
    writes: Iterator[Callable[[], object]] = itertools.cycle(
        [
            lambda: desk.hub.entries.quarantine(OPERATOR, "alpha", "list", next(ids)),
            lambda: terms(desk, "alpha/list", bulk=False),
            lambda: terms(desk, "alpha/other", bulk=True),
            lambda: desk.hub.entries.release(OPERATOR, "alpha", "list", next(ids)),
            lambda: terms(desk, "alpha/list", bulk=True),
            lambda: terms(desk, "alpha/other", bulk=False),
        ]
    )
    calls = 0
    due = 0

    def between(function: Any) -> Any:
        def wrapped(*arguments: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == due:
                next(writes)()
            return function(*arguments)

        return wrapped

    for name in ("_sight", "_tell_losses", "_tell_registry", "_read_log", "_fill", "_upsert"):
        monkeypatch.setattr(ChangePage, name, between(getattr(ChangePage, name)))
    receiver = Receiver(desk.hub, OUTSIDER)
    random = Random(1)
    for _ in range(60):
        calls, due = 0, random.randrange(1, 12)
        if random.random() < 0.3:
            receiver = Receiver(desk.hub, OUTSIDER)
        receiver.catch_up(random.choice((1, 2, 1000)))
        holds_what_it_may(receiver)


@pytest.mark.parametrize("size", [1, 2, 1000])
@pytest.mark.parametrize("step", ["_sight", "_tell_losses", "_tell_registry", "_read_log", "_fill", "_upsert"])
def test_a_first_review_while_a_page_is_read_is_told(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, step: str, size: int
) -> None:
    """With whoever made it, who was a stranger to the receiver until then; told of a whole list, or of its changes."""
    desk.contributor("beta")
    desk.contributor("gamma")
    desk.hash_set("alpha/list", marking=SHARED)
    desk.contribute("alpha/list", *(item(n) for n in range(1, 4)))
    ids = [e.id for e in desk.entries("alpha/list")]
    real = getattr(ChangePage, step)
    reviewers = [writer("beta"), writer("gamma")]

    def reviewed_before(*arguments: Any) -> Any:
        if reviewers:
            desk.hub.reviews.create(reviewers.pop(0), "alpha", "list", ids[-1], ReviewKind.MISCLASSIFIED, "x")
        return real(*arguments)

    receiver = Receiver(desk.hub, OUTSIDER)
    receiver.catch_up()
    desk.hub.reviews.create(writer("alpha"), "alpha", "list", ids[0], ReviewKind.CONFIRMED, "x")
    late = Receiver(desk.hub, OUTSIDER)
    monkeypatch.setattr(ChangePage, step, reviewed_before)
    for one in (receiver, late):
        one.catch_up(size)
        holds_what_it_may(one)
    assert not reviewers


def test_a_hidden_stretch_is_skipped_without_a_look_at_its_entries(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.hash_set("alpha/list", marking=SHARED)
    desk.hash_set("alpha/hidden", marking=Marking(recipients=("contributors/other",), bulk=True))
    receiver = Receiver(desk.hub, OUTSIDER)
    receiver.catch_up()
    for n in range(5):
        desk.contribute("alpha/hidden", *(item(100 * n + i) for i in range(100)))
    desk.contribute("alpha/list", item(9999))
    looked_at: list[int] = []
    real = EntryTable.get_entries

    def counting(store: EntryTable, ids: list[int]) -> object:
        looked_at.extend(ids)
        return real(store, ids)

    monkeypatch.setattr(EntryTable, "get_entries", counting)
    assert told(receiver.catch_up()) == [("UPSERT", "line 9999")]
    assert len(looked_at) == 1


def test_a_page_ends_after_its_time_and_moves_on(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries that are no longer active cost time and give nothing: the page ends empty, and the next goes on behind
    it.
    """
    desk.hash_set("alpha/list", marking=SHARED)
    receiver = Receiver(desk.hub, OUTSIDER)
    receiver.catch_up()
    desk.contribute("alpha/list", *(item(n) for n in range(3 * PIECE)))
    desk.hub.entries.quarantine(OPERATOR, "alpha", "list", _all(desk.hub)[0])
    monkeypatch.setattr("hashhub.hub.exchange.PAGE_SECONDS", 0.0)
    receiver.catch_up()
    assert receiver.pages > 3
    holds_what_it_may(receiver)


def test_a_page_is_bounded_in_bytes(desk: Desk) -> None:
    desk.hash_set("alpha/list", marking=SHARED)
    desk.contribute("alpha/list", *(item(n, series="x" * 1000, tags=("y" * 900,)) for n in range(1500)))
    receiver = Receiver(desk.hub, OUTSIDER)
    while not (page := receiver.page()).is_complete:
        assert len(msgspec.json.encode(page.changes)) < 3 << 20
    holds_what_it_may(receiver)
    assert receiver.pages > 3


def _all(hub: Hub) -> list[int]:
    return [int(i) for i in hub.store.entries.active_ids("alpha", "list")]


def test_an_empty_hub_is_complete(desk: Desk) -> None:
    page = desk.hub.changes.page(OUTSIDER)
    assert (page.changes, page.is_complete) == ((), True)
    revision, _, digest = page.head.partition(":")
    assert (int(revision), len(digest)) == (page.revision, 64)


def test_withdraw_lines_carry_the_name_only(eventful: Desk) -> None:
    receiver = Receiver(eventful.hub, OUTSIDER)
    receiver.catch_up()
    entry = eventful.entries("alpha/list")[0]
    eventful.hub.store.transitions.withdraw([entry.id], "X")
    assert receiver.catch_up() == [
        ChangedEntry(revision=eventful.hub.revision(), kind=ChangeKind.WITHDRAW, entry_name=entry.name)
    ]


def test_an_unknown_role_of_the_reader_is_no_matter(desk: Desk) -> None:
    reader = Principal(name="r", role=Role.CONSUMER, contributor="", may_mirror=True)
    desk.hash_set("alpha/list", marking=SHARED)
    assert told(list(desk.hub.changes.page(reader).changes)) == [("UPSERT", "alpha"), ("UPSERT", "alpha/list")]
