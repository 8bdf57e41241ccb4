"""Whoever edits the tables that decide by other means than hashhub is found out by `hashhub doctor`, row by row.

The edits are generated from the tables themselves: a new column is edited in a test by being there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import sqlalchemy as sa
from msgspec.structs import replace

from hashhub.errors import FailedPrecondition
from hashhub.hub import Hub
from hashhub.model import (
    TLP,
    ConflictReason,
    Group,
    HashSet,
    Marking,
    Principal,
    ReviewKind,
    Role,
    Webhook,
    WebhookEvent,
    WithdrawalReason,
)
from hashhub.store import ExaminationPlace
from hashhub.store import schema as s
from hashhub.store.drivers import locate
from tests.conftest import new_database
from tests.hub.conftest import OPERATOR, item, writer
from tests.hub.rooms import Room, open_room
from tests.hub.test_schemes import put
from tests.hub.test_videos import listed


def differences(hub: Hub) -> list[str]:
    return list(hub.store.examination(ExaminationPlace()).differences(None))


class Underneath:
    """A hub with something in every table that decides, and its database as somebody else than hashhub opens it."""

    def __init__(self, desk: Room, database: str) -> None:
        self.hub = desk.hub
        self._engine = sa.create_engine(locate(database))
        fill(desk)

    def close(self) -> None:
        self._engine.dispose()

    def run(self, *statements: Any) -> None:
        with self._engine.begin() as c:
            if c.dialect.name == "postgresql":
                c.execute(sa.text("SET session_replication_role = replica"))  # no foreign keys are in the way
            for statement in statements:
                c.execute(statement)

    def rows(self, table: sa.Table) -> list[Mapping[str, Any]]:
        with self._engine.begin() as c:
            return [dict(row) for row in c.execute(sa.select(table)).mappings()]


def fill(desk: Room) -> None:
    hub = desk.hub
    hub.groups.create(OPERATOR, Group(id="g"))
    desk.contributor("fr")
    desk.set("nl/known")
    terms = Marking(tlp=TLP.AMBER, recipients=("contributors/fr", "groups/g"))
    changed = HashSet(contributor="nl", id="known", marking=terms)
    hub.hash_sets.update(OPERATOR, changed, ("marking",))
    desk.set("fr/list")
    hub.tokens.create(OPERATOR, Principal(name="desk", role=Role.CONTRIBUTOR, contributor="nl"))
    named = Principal(name="machine", role=Role.CONTRIBUTOR, contributor="nl", identities=("DNS:nl.example",))
    hub.tokens.create(OPERATOR, named)
    with pytest.raises(FailedPrecondition):
        hub.approvals.agreed(replace(OPERATOR, person="Ada"), "PolicyService/PutPolicy", b"")
    hub.webhooks.create(
        OPERATOR,
        Webhook(contributor="nl", id="hook", url="https://hooks.example/x", events=(WebhookEvent.ENTRY_DISPUTED,)),
    )
    put(hub)
    hub.retention.update(OPERATOR, "nl", "known", days=400)
    desk.contribute("nl/known", *(item(n, external_id=f"id {n}", value="csam") for n in range(12)), listed(50, [1, 2]))
    entries = desk.entries("nl/known")
    for entry in entries[:2]:
        hub.reviews.create(writer("fr"), "nl", "known", entry.id, ReviewKind.FALSE_POSITIVE)
    hub.entries.withdraw(writer("nl"), "nl", "known", entries[1].id, WithdrawalReason.ERROR)
    hub.entries.quarantine(OPERATOR, "nl", "known", entries[2].id)
    # Some are stated otherwise, and some as they were: a review goes on to the next statement.
    desk.contribute("nl/known", *(item(n, external_id=f"id {n}", value="infant") for n in range(4)))
    hub.entries.erase(OPERATOR, "nl", "known", entries[5].id)
    desk.state("fr/list", 7, "harmless")
    hub.conflicts.resolve(OPERATOR, desk.conflicts()[0].name, ConflictReason.LEFT_STANDING, "criteria differ")


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def underneath(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Underneath]:
    """One for all tests on each kind of database: each takes its edits back."""
    directory = tmp_path_factory.mktemp("underneath")
    with new_database(request, request.param) as database, open_room(database, directory) as hub:
        made = Underneath(Room(hub), database)
        yield made
        made.close()


def otherwise(value: Any, column: sa.Column[Any]) -> Any:
    if isinstance(column.type, sa.Boolean):
        return not value
    if isinstance(column.type, sa.LargeBinary):
        return (value or b"\1")[:-1] + bytes([(value or b"\1")[-1] ^ 1])
    if isinstance(column.type, sa.Text):
        return (value or "") + "x"
    return (value or 0) + 1_000


def is_row(table: sa.Table, row: Mapping[str, Any]) -> sa.ColumnElement[bool]:
    return sa.and_(*(c == row[c.name] for c in table.primary_key))


def edits(table: sa.Table, row: Mapping[str, Any]) -> Iterator[tuple[str, Any, list[Any]]]:
    """What is edited, the edit, and what takes it back."""
    left_out = s.DECIDING[table.name].left_out if table.name in s.DECIDING else {}
    where = is_row(table, row)
    for column in table.columns:
        if column.name in left_out:
            continue
        values = {column.name: otherwise(row[column.name], column)}
        changed = {**row, **values}
        undo = sa.update(table).where(is_row(table, changed)).values({column.name: row[column.name]})
        yield column.name, sa.update(table).where(where).values(values), [undo]
    if row.get("content") and row["content"][:1] == b"{":
        for field, value in json.loads(row["content"]).items():
            other = {**json.loads(row["content"]), field: [value, 1]}
            edit = sa.update(table).where(where).values(content=json.dumps(other).encode())
            yield field, edit, [sa.update(table).where(where).values(content=row["content"])]
    yield "", sa.delete(table).where(where), [sa.insert(table).values(row)]


COMPARED_OTHERWISE = {
    "classification": "with its own digest, which an entry's imprint has",
    "frames": "in the imprint of its entry",
    "hash": "with the hashes in its entry's row",
    "allocation": "with the imports that are committed",
    "conflict": "a resolved one with the resolution; what was found is found anew from the entries",
    "outstanding": "the entries that it is about with the changes",
    "event": "the log",
    "event_detail": "the chain",
    "log": "where its digests change, with the events; who signs, with what was signed",
    "tile": "with the events",
    "metadata": "its head with the log, its secret with every imprint; own_contributor is a default for new tokens",
}
UNDECIDING = {
    "used_name": "refuses new names only",
    "request": "answers to repeated calls, for a day",
    "operation": "work that informs",
    "feed_position": "where readers of the feed were; what is not known is told again",
    "learned": "how much tokens learned",
    "delivery": "calls of webhooks, and how they ended",
    "sender": "how far events were told",
    "import": "what is visible is told by changes; a report's counts",
    "entry_leaves": "checked with what the contributor signed, by whoever verifies",
    "staged_batch": "is checked as it comes in",
    "finding": "a report",
    "finding_run": "a report",
    "succession": "which of two statements about an item is restored, which a person asks for",
    "conflict_entry": "found anew from the entries",
    "conflict_progress": "how far conflicts were looked for",
}


def test_every_table_is_compared_or_left_out_for_a_reason() -> None:
    named = [*s.DECIDING, *COMPARED_OTHERWISE, *UNDECIDING]
    assert sorted(named) == sorted(s.tables.tables)
    assert all({**COMPARED_OTHERWISE, **UNDECIDING}.values())
    for name, deciding in s.DECIDING.items():
        assert deciding.left_out.keys() <= set(s.tables.tables[name].columns.keys())


def test_all_is_as_it_is_said_to_be(underneath: Underneath) -> None:
    assert differences(underneath.hub) == []
    assert [name for name in s.DECIDING if not underneath.rows(s.tables.tables[name])] == []


@pytest.mark.parametrize("name", [*s.DECIDING, "frames", "hash", "classification"])
def test_each_edit_is_found_and_named(underneath: Underneath, name: str) -> None:
    table = s.tables.tables[name]
    missed = []
    assert differences(underneath.hub) == []
    rows = underneath.rows(table)
    if name == "change":  # what is not visible yet was told to matchers only
        rows = [row for row in rows if row["kind"] != s.STAGED]
    for row in rows[-1:]:
        for what, edit, undo in edits(table, row):
            underneath.run(edit)
            said = differences(underneath.hub)
            names = (what, "was added", "what it holds") if name in s.DECIDING else ("",)
            if not any(x in line for x in names for line in said):
                missed.append((what or "deleted", said[:2]))
            underneath.run(*undo)
    assert missed == []
    assert differences(underneath.hub) == []


@pytest.mark.parametrize("name", list(s.DECIDING))
def test_a_row_that_is_added_is_found(underneath: Underneath, name: str) -> None:
    table = s.tables.tables[name]
    row = dict(underneath.rows(table)[-1])
    for column in table.columns:
        is_key = column.primary_key or any(
            column.name in {c.name for c in x.columns} for x in table.constraints if isinstance(x, sa.UniqueConstraint)
        )
        if is_key and not column.foreign_keys:
            row[column.name] = otherwise(row[column.name], column)
    underneath.run(sa.insert(table).values(row))
    assert differences(underneath.hub)
    underneath.run(sa.delete(table).where(is_row(table, row)))
    assert differences(underneath.hub) == []
