"""What an event changed, whether that still stands, and resources put back as they were: all that a revert needs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.engine import Connection

from hashhub.errors import AlreadyExists, Conflict, FailedPrecondition
from hashhub.model import Actor, DefinitionKind, EventKind, HashSet, Principal, Review
from hashhub.store import schema as s
from hashhub.store.database import Database
from hashhub.store.entries import REVIEW_SQL, review_of_row
from hashhub.store.entry_codec import IdSet
from hashhub.store.entry_writes import DeferredWithdrawals
from hashhub.store.events import TABLES_OF, UNDOES, Facts, append_event, decoded, lead_of, touch_resource, undoing
from hashhub.store.resources import refuse_looser_than_standing
from hashhub.store.tokens import put_identities

_ENTRIES: Final = "entries"  # a fact of events that move many: how many
_PIECE: Final = 50_000  # entries looked at together


class EntryStates(NamedTuple):
    """How entries stand, by id: ids, codes of states (schema.ENTRY_STATES), revisions of their last change."""

    ids: NDArray[np.int64]
    states: NDArray[np.int64]
    revisions: NDArray[np.int64]


class EventEffect(NamedTuple):
    """An event as a revert sees it: which revision it undid (`undoes`, 0: none), how many entries it moved."""

    revision: int
    actor: str
    reason: str
    kind: EventKind
    undoes: int
    entries: int


class StaleEntries(Conflict):
    """Somebody moved one of the entries between a run's look at them and its write: look again."""


class RevertRun:
    """One run of a revert among whatever else is written meanwhile.

    Each of its writes asks, under the lock on the counter, what was written behind `seen`: where another run has undone
    something, this one ends, so that one of them goes on; where entries that it is about to move were moved, it looks
    at them again.
    """

    def __init__(self, database: Database, *, dry: bool) -> None:
        self._db = database
        self._dry = dry
        self._own: set[int] = set()
        self._is_begun = False
        self.seen = 0

    def learn(self, millis: int) -> Iterator[EventEffect]:
        """Yield the events since a time that are new to this run. Raises Conflict when another run undid something."""
        upto: int = self._db.fetch("SELECT revision FROM metadata")[0][0]
        sql = (
            "SELECT revision, body FROM event WHERE revision > ? AND time >= ? AND kind <> ? ORDER BY revision LIMIT ?"
        )
        while rows := self._db.fetch(sql, (self.seen, millis, EventKind.IMPORT_STAGED.value, _PIECE)):
            for past in itertools.starmap(_past, rows):
                self._refuse_another(past)
                self.seen = past.revision
                yield past
        self.seen = max(self.seen, upto)
        self._is_begun = True

    @contextmanager
    def undoing(self, revision: int, entries: Sequence[int] = ()) -> Iterator[None]:
        """Let every event that this thread appends meanwhile tell that it undoes the one of this revision, 0: none.

        `entries`: to be moved, ascending, as looked at after the last `learn`. The write raises StaleEntries when one
        moved since, Conflict when another run undid something.
        """

        def joins(c: Connection, own: int) -> int:
            sql = "SELECT revision, body FROM event WHERE revision > ? AND kind <> ?"
            for row in self._db.execute(c, sql, (self.seen, EventKind.IMPORT_STAGED.value)).all():
                self._refuse_another(_past(*row))
            if len(entries):
                self._refuse_moved(c, np.array(entries, np.int64))
            self._own.add(own)
            return revision

        with undoing(joins):
            yield

    def _refuse_another(self, past: EventEffect) -> None:
        is_undoing = past.undoes or past.kind is EventKind.ACTOR_REVERTED
        if self._is_begun and not self._dry and is_undoing and past.revision not in self._own:
            raise Conflict(
                "another revert undid something while this one ran, and goes on; wait until it has ended, then run "
                "this one again: nothing is undone twice"
            )

    def _refuse_moved(self, c: Connection, entries: NDArray[np.int64]) -> None:
        sql = (
            "SELECT revision, first_entry, last_entry, ids FROM change WHERE revision > ? AND kind <> ? "
            "AND first_entry <= ? AND last_entry >= ?"
        )
        span = int(entries[-1]), int(entries[0])
        for revision, *ids in self._db.execute(c, sql, (self.seen, s.STAGED, *span)).all():
            if revision in self._own:
                continue
            if any(np.isin(entries, piece, assume_unique=True).any() for piece in IdSet(*ids).pieces(_PIECE)):
                raise StaleEntries("the entries were moved meanwhile; look at them again")


class EventEffects:
    """The part of the Store that reads what events did, and puts resources back."""

    def __init__(self, database: Database, outstanding: DeferredWithdrawals) -> None:
        self._db = database
        self._outstanding = outstanding

    def standings(self, ids: IdSet) -> Iterator[EntryStates]:
        """Yield how entries stand, piece by piece. The revision of one that never changed is that of its import."""
        self._outstanding.settle()
        sql = (
            "SELECT e.id, e.state, CASE WHEN e.update_revision > 0 THEN e.update_revision ELSE i.revision END FROM "
            "entry e "
            'JOIN "import" i ON i.key = e."import" WHERE e.id BETWEEN ? AND ? ORDER BY e.id'
        )
        for piece in ids.pieces(_PIECE):
            rows: list[tuple[int, int, int]] = []
            for first, last in _spans(piece):
                rows += [(row[0], row[1], row[2]) for row in self._db.fetch(sql, (first, last))]
            table = np.array(rows, np.int64).reshape(-1, 3)
            table = table[np.isin(table[:, 0], piece, assume_unique=True)]
            yield EntryStates(table[:, 0], table[:, 1], table[:, 2])

    def reviews_at(self, revision: int) -> list[Review]:
        """Return the reviews that a revision made."""
        sql = f"{REVIEW_SQL} WHERE r.revision = ? AND e.id = r.entry ORDER BY r.id"
        return [review_of_row(row) for row in self._db.fetch(sql, (revision,))]

    def begin(self, *, dry: bool) -> RevertRun:
        """Return a run that has seen nothing yet; with `dry` it writes nothing, and what others write is in no way."""
        return RevertRun(self._db, dry=dry)

    def put_back(
        self,
        subject: str,
        after: Mapping[str, Any] | None,
        before: Mapping[str, Any],
        *,
        kind: EventKind,
        by: Actor,
        dry: bool,
    ) -> str:
        """Give a resource the fields of `before` that differ from `after` (None: it was deleted); return why not, if
        so.
        """
        collection, _, name = subject.partition("/")
        table, where = _resource(collection, name)
        if table is None:
            return "it is of a kind that cannot be put back"
        with self._db.write_in_order() as c:
            content: bytes | None = c.scalar(sa.select(table.c.content).where(where))
            if after is None:
                if content is not None:
                    return "it exists again"
                if not dry:
                    c.execute(sa.insert(table).values(id=name, content=msgspec.json.encode(before)))
            else:
                if content is None:
                    return "it does not exist any more"
                current = msgspec.json.decode(content)
                fields = {name for name in {*before, *after} if before.get(name) != after.get(name)}
                changed = sorted(name for name in fields if current.get(name) != after.get(name))
                if changed:
                    return f"{', '.join(changed)} was changed since"
                restored = {name: value for name, value in current.items() if name not in fields or name in before}
                restored |= {name: before[name] for name in fields if name in before}
                if table is s.hash_set:
                    key = c.execute(sa.select(s.hash_set.c.key).where(where)).scalar_one()
                    try:
                        refuse_looser_than_standing(c, self._db, key, msgspec.convert(restored, HashSet))
                    except FailedPrecondition as e:
                        return e.message
                if table is s.token and not dry:
                    try:
                        put_identities(c, msgspec.convert(restored, Principal))
                    except AlreadyExists as e:
                        return e.message
                if not dry:
                    c.execute(sa.update(table).where(where).values(content=msgspec.json.encode(restored)))
            if not dry:
                touch_resource(c, subject)
                revision = append_event(
                    c,
                    by,
                    kind,
                    subject=subject,
                    reason="REVERT",
                    undo={
                        "before": None if after is None else msgspec.json.encode(after),
                        "after": msgspec.json.encode(before),
                    },
                )
                c.execute(sa.update(s.metadata).values(registry_revision=revision))
        return ""

    def note(self, kind: EventKind, *, subject: str, comment: str, facts: Facts, by: Actor) -> int:
        """Append an event that changes nothing by itself, and return its revision."""
        with self._db.write_in_order() as c:
            return append_event(c, by, kind, subject=subject, facts=facts, details={"comment": comment})


def _past(revision: int, body: bytes) -> EventEffect:
    told = decoded(body)
    undoes, entries = (n if isinstance(n := told.facts.get(name), int) else 0 for name in (UNDOES, _ENTRIES))
    return EventEffect(revision, told.actor, told.reason, EventKind(told.kind), undoes, entries)


def _spans(piece: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return ranges that hold all ids of a piece, and not many more."""
    breaks = np.flatnonzero(np.diff(piece) > 8)  # noqa: PLR2004 - reading eight rows more costs less than another query
    return list(zip(piece[np.r_[0, breaks + 1]].tolist(), piece[np.r_[breaks, len(piece) - 1]].tolist(), strict=True))


def _resource(collection: str, name: str) -> tuple[sa.Table | None, sa.ColumnElement[bool]]:
    """Return the table and the condition for the row of what an event names; no table for what has no such row."""
    if collection not in TABLES_OF:
        return None, sa.false()
    table = s.tables.tables[TABLES_OF[collection][0]]
    is_named = lead_of(table.name) == name
    if table is not s.definition:
        return table, is_named
    kind = DefinitionKind.SCHEME if collection == "schemes" else DefinitionKind.POLICY
    return table, sa.and_(is_named, table.c.kind == s.DEFINITION_KINDS[kind])
