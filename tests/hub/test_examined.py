"""`hashhub doctor` finds nothing in a database that only hashhub wrote, whatever was done there."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa

from hashhub.config import Config
from hashhub.hub import backup, history
from hashhub.hub.selections import BulkOrder
from hashhub.model import (
    TLP,
    ConflictReason,
    ConflictState,
    Contributor,
    ContributorKind,
    EntryAction,
    EntryState,
    Group,
    HashSet,
    Marking,
    Principal,
    Record,
    ReviewKind,
    Role,
    Selection,
    Webhook,
    WebhookEvent,
    WithdrawalReason,
    now,
    number_of,
)
from hashhub.store.examination import RowExamination
from tests.hub.conftest import OPERATOR, Desk, item, writer
from tests.hub.rooms import Room, open_room
from tests.hub.test_policies import block
from tests.hub.test_schemes import put
from tests.hub.test_videos import listed

MOLE = Principal(name="mole", role=Role.OPERATOR, contributor="operator")
NL, FR = writer("nl"), writer("fr")
ERROR = WithdrawalReason.ERROR


@pytest.fixture
def room(
    request: pytest.FixtureRequest, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Room]:
    """A hub on each kind of database, and one that takes every withdrawal of four entries for a large one."""
    for module in ("entry_writes", "feeds", "examination"):
        monkeypatch.setattr(f"hashhub.store.{module}.LARGE", request.param)
    with open_room(database, tmp_path) as hub:
        hub.start()
        yield Room(hub)


def items(*numbers: int, value: str = "csam") -> list[Record]:
    return [item(n, external_id=f"x{n}", value=value) for n in numbers]


def number(desk: Desk, n: int) -> int:
    """The latest entry of nl/known about an item."""
    return max(number_of(e.id) for e in desk.entries("nl/known") if e.external_id == f"x{n}")


def make(desk: Room) -> None:
    hub = desk.hub
    hub.tokens.bootstrap()
    hub.groups.create(OPERATOR, Group(id="g"))
    for name in ("nl/known", "nl/other", "nl/gone", "fr/list"):
        desk.set(name)
    terms = Marking(tlp=TLP.GREEN, recipients=("groups/g",))
    hub.hash_sets.update(OPERATOR, HashSet(contributor="nl", id="other", marking=terms), ["marking"])
    put(hub)
    hub.policies.retire(OPERATOR, hub.policies.put(OPERATOR, block()).full_name)
    hub.schemes.retire(OPERATOR, "own@1")
    webhook = Webhook(contributor="nl", id="hook", url="https://hooks.example/x", events=(WebhookEvent.ENTRY_DISPUTED,))
    hub.webhooks.create(OPERATOR, webhook)
    hub.webhooks.rotate(OPERATOR, "nl", "hook")
    for token in ("desk", "left"):
        hub.tokens.create(OPERATOR, Principal(name=token, role=Role.CONTRIBUTOR, contributor="nl"))
    hub.tokens.rotate(OPERATOR, "desk", timedelta(hours=1))
    hub.tokens.rotate(OPERATOR, "desk")
    hub.tokens.update(OPERATOR, Principal(name="desk", role=Role.CONTRIBUTOR, description="d"), ["description"])
    hub.tokens.delete(OPERATOR, "left")


def contribute(desk: Room) -> None:
    for name in ("nl/known", "nl/other", "nl/gone"):
        desk.contribute(name, *items(*range(30)), listed(50, [1, 2]))
    desk.contribute("nl/known", *items(*range(30)), source="again", validate_only=True)
    desk.contribute("nl/known", *items(0, 1, 2, 3, 4, value="infant"))
    desk.contribute("nl/other", *items(*range(10)), replace=True, allow_shrinking=True)
    desk.contribute("nl/other", *items(*range(5, 30)), replace=True, allow_shrinking=True)
    desk.contribute("fr/list", *items(*range(12), value="harmless"))
    desk.contribute("nl/known", item(60, external_id="x60", value="no such value"))
    desk.contribute("nl/known", *items(60))


def withdraw(desk: Room) -> None:
    hub = desk.hub
    for n, who in ((5, OPERATOR), (6, NL)):
        hub.entries.withdraw(who, "nl", "known", number(desk, n), ERROR, "x")
    hub.entries.restore(OPERATOR, "nl", "known", number(desk, 5), "y")
    hub.entries.withdraw(NL, "nl", "known", number(desk, 7), WithdrawalReason.REQUESTED_BY_PERSON_SHOWN)
    hub.entries.quarantine(OPERATOR, "nl", "known", number(desk, 8))
    hub.entries.quarantine(OPERATOR, "nl", "known", number(desk, 9))
    hub.entries.release(OPERATOR, "nl", "known", number(desk, 9))
    hub.entries.erase(OPERATOR, "nl", "known", number(desk, 0))
    hub.entries.erase(OPERATOR, "nl", "known", number(desk, 6))
    desk.contribute("nl/known", *items(5, 6, 7, 8, 9))


def select(desk: Room) -> None:
    change = partial(desk.hub.selections.change, OPERATOR, Selection(hash_set="nl/other"))
    change(BulkOrder(EntryAction.WITHDRAW, ERROR, "x", limit=9))
    change(BulkOrder(EntryAction.RESTORE, comment="y", limit=7))
    change(BulkOrder(EntryAction.QUARANTINE))
    change(BulkOrder(EntryAction.RELEASE, limit=8))
    change(BulkOrder(EntryAction.WITHDRAW, ERROR, "again"))
    desk.contribute("nl/other", *items(*range(30), value="teen"))


def review(desk: Room) -> None:
    hub = desk.hub
    made = hub.reviews.create(FR, "nl", "known", number(desk, 11), ReviewKind.FALSE_POSITIVE)
    hub.reviews.create(FR, "nl", "known", number(desk, 12), ReviewKind.CONFIRMED)
    hub.reviews.set_aside(OPERATOR, "nl", "known", number(desk, 11), number_of(made.id), "no")
    desk.contribute("nl/known", *items(11, 12, value="teen"))
    desk.look()
    first, second = desk.conflicts()[:2]
    hub.conflicts.assign(OPERATOR, first.name, "contributors/fr")
    hub.conflicts.resolve(FR, first.name, ConflictReason.LEFT_STANDING, "ours")
    for each in (first, second):
        hub.conflicts.resolve(OPERATOR, each.name, ConflictReason.LEFT_STANDING, "criteria differ")
    hub.conflicts.reopen(OPERATOR, first.name, "new facts")
    desk.contribute("nl/known", *items(1, 2, value="open"))
    desk.look()


def revert(desk: Room) -> None:
    hub, since = desk.hub, now()
    hub.selections.change(
        MOLE, Selection(hash_set="nl/known", states=(EntryState.ACTIVE,)), BulkOrder(EntryAction.WITHDRAW, ERROR, "x")
    )
    hub.entries.quarantine(MOLE, "nl", "gone", 1)
    hub.entries.withdraw(MOLE, "nl", "gone", 2, ERROR, "x")
    hub.groups.update(MOLE, Group(id="g", members=("fr",)), ["members"])
    hub.retention.update(MOLE, "nl", "gone", days=400)
    hub.tokens.create(MOLE, Principal(name="spare", role=Role.OPERATOR, contributor="operator"))
    fake = Contributor(id="fake", display_name="F", kind=ContributorKind.NGO, jurisdiction="GB")
    hub.contributors.create(MOLE, fake)
    standing = next(c for c in desk.conflicts() if c.state is ConflictState.OPEN)
    hub.conflicts.resolve(MOLE, standing.name, ConflictReason.LEFT_STANDING, "hush")
    assert any(x.reverted for x in hub.history.revert(OPERATOR, "mole", since, comment="stolen"))


def end(desk: Room) -> None:
    hub = desk.hub
    hub.webhooks.delete(OPERATOR, "nl", "hook")
    opened = desk.add(desk.open("nl/known"), items(70, 71))
    hub.contribute.cancel(NL, opened.id)
    desk.add(desk.open("nl/known"), items(72))  # stays open
    hub.retention.delete(OPERATOR, "nl", "gone", comment="x")
    hub.keeper.delete_rows()
    hub.contributors.retire(OPERATOR, "fr", "closed", withdraw_entries=True)
    hub.keeper.round()


@pytest.mark.parametrize(
    ("database", "room"), [("sqlite", 5_000), ("sqlite", 3), ("postgresql", 3)], indirect=["database", "room"]
)
def test_nothing_is_found_after_anything_that_a_hub_does(room: Room, tmp_path: Path, database: str) -> None:
    is_url = "://" in database
    config = Config(data=str(tmp_path / "hub") if is_url else database, database=database if is_url else "")
    for step in (make, contribute, withdraw, select, review, revert, end):
        step(room)
        room.hub.store.commits.settle()
        found = history.examine(config, is_full=True)
        assert found.is_sound, (step.__name__, found.lines)
    if not is_url:
        backup.back_up(config, tmp_path / "backup", lambda *_: None)
        restored = Config(data=str(tmp_path / "restored"))
        backup.restore(tmp_path / "backup", restored, None, lambda *_: None)
        found = history.examine(restored, is_full=True)
        assert found.is_sound, found.lines


@pytest.mark.parametrize("is_edited", [False, True])
def test_what_a_hub_writes_meanwhile_is_no_edit(
    tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch, is_edited: bool
) -> None:
    is_url = "://" in database
    config = Config(data=str(tmp_path / "hub") if is_url else database, database=database if is_url else "")
    with open_room(database, tmp_path) as hub:
        desk = Room(hub)
        desk.set("nl/known")
        desk.contribute("nl/known", *items(*range(5)))
        if is_edited:
            with hub.store.database.write() as c:
                c.execute(sa.text("UPDATE entry SET position = 'edited' WHERE position = 'line 4'"))
        differences, withdrawn = RowExamination.differences, list[int]()

        def after_another_write(look: RowExamination, most: int | None) -> Iterator[str]:
            hub.entries.withdraw(NL, "nl", "known", number(desk, len(withdrawn)), ERROR)
            withdrawn.append(1)
            return differences(look, most)

        monkeypatch.setattr(RowExamination, "differences", after_another_write)
        found = history.examine(config, is_full=True)
    assert found.is_sound is not is_edited, found.lines
    assert len(withdrawn) == 2
