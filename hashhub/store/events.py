"""The history: one event for each visible write, and the log over them, so that nobody who holds the database can
rewrite it unseen.

    body     a JSON array as RFC 8785 writes it (no spaces, keys sorted, UTF-8): ["hashhub-event-1", revision, time in
             ms, actor, contributor, role, kind, subject, reason, facts, commitment, imprints]
    leaf     of the log's tree (hashhub.tlog): SHA-256(0x00, SHA-256(salt, body)), with 32 random bytes as the salt
    digest   the root of the tree with this event
    details  what may have to be erased: its own row. `commitment` is SHA-256(salt, content, 0x00, undo) in
             hexadecimal; the salt keeps both from being guessed
    imprints digests of the rows that decide, in the body by their SHA-256

`facts` hold names and codes only: no digest of an item, no external id, no text. docs/operate/history.md verifies one.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from hashhub.errors import DataLoss, NotFound, Reason
from hashhub.model import SYSTEM, Actor, Event, EventBody, EventKind, Role, now
from hashhub.store import schema as s
from hashhub.store.database import AT_END, Database, Row
from hashhub.store.drivers import NOTES
from hashhub.tlog.tree import (
    EMPTY_ROOT,
    Growth,
    Tile,
    Tiles,
    append,
    edge,
    entry_of,
    leaf_hash,
    node_hash,
)

VERSION: Final = "hashhub-event-1"
_PERSONS: Final = ("actor.person", "actor.second_person")  # among details, which can be erased
_SALT_BYTES: Final = 16
LEAF_SALT_BYTES: Final = 32
_PAGE: Final = 10_000  # events read at a time
MAX_REVISION: Final = (1 << 63) - 1
_APPENDED: Final = "appended"  # to a transaction
_WALK: Final = 4  # events that are walked first for each that is wanted, before it is known how many there are
EMPTY_TREE: Final = Growth(0, EMPTY_ROOT, {})
_encode: Final = msgspec.json.Encoder(order="sorted").encode
_WRITE_TILE: Final = sa.text(
    "INSERT INTO tile (log, level, number, hashes) VALUES (:log, :level, :number, :hashes) "
    "ON CONFLICT (log, level, number) DO UPDATE SET hashes = excluded.hashes"
)

UNDOES: Final = "undoes"
"""A fact of what a revert writes: the revision of the event that it undoes."""
_Joins = Callable[[Connection, int], int]
_undoing: Final[ContextVar[_Joins | None]] = ContextVar("undoing", default=None)

Imprints = Mapping[str, Mapping[int | str, bytes]]
"""By table and lead (schema.DECIDING): a keyed digest of all rows with that lead, then two bytes for each field, to say
what differs; empty where there is no row. A write names the rows that it changes; they are read at the end
of its transaction: rows that are edited underneath no longer have theirs. Imprints of imported entries stand in their
page of statements; a withdrawal of many, written after its event, has none (store.examination).
"""

WHOLE: Final = 16  # bytes of the digest of rows
_HINT: Final = 2  # of a field
_TOUCHED: Final = "touched"
_AT_ONCE: Final = 500  # leads read together
_JSON: Final = frozenset({"content", "retention"})  # columns whose fields are told apart
TABLES_OF: Final = {
    "contributors": ("contributor",),
    "groups": ("contributor_group",),
    "hash-sets": ("hash_set",),
    "approvals": ("approval",),
    "policies": ("definition",),
    "schemes": ("definition",),
    "tokens": ("token", "secret", "identity"),
    "webhooks": ("webhook",),
}
"""The tables that have what events name, by collection."""
_pack: Final = msgspec.msgpack.Encoder().encode

Facts = Mapping[str, str | int | tuple[str, ...]]


class Position(NamedTuple):
    """A revision of one history: a restored database that was written to has it with another digest."""

    revision: int
    digest: bytes


class LogState(NamedTuple):
    """One of a database's logs, numbered from 1 on: the revision of its first leaf, up to which revision digests are
    those of release 0.1.0, the verifier key of its checkpoints (empty: none was signed yet), and its number of leaves.
    """

    number: int
    first_revision: int
    chained_revision: int
    verifier_key: str
    size: int


def genesis(database_id: str) -> bytes:
    """Return what stands before the first event; release 0.1.0 chained its digests from there."""
    return hashlib.sha256(b"hashhub-history-1\0" + database_id.encode()).digest()


@contextmanager
def undoing(joins: _Joins) -> Iterator[None]:
    """Let this thread's events tell which one they undo: what `joins` makes of their own revision; 0: none."""
    token = _undoing.set(joins)
    try:
        yield
    finally:
        _undoing.reset(token)


def append_event(
    c: Connection,
    by: Actor,
    kind: EventKind,
    *,
    subject: str = "",
    reason: str = "",
    facts: Facts | None = None,
    details: Mapping[str, str] | None = None,
    undo: object = None,
    at: datetime | None = None,
) -> int:
    """Append the event of this transaction at the next revision, and return that; `undo`: what a revert needs."""
    m = s.metadata
    revision: int = c.execute(sa.update(m).values(revision=m.c.revision + 1).returning(m.c.revision)).scalar_one()
    salt = os.urandom(_SALT_BYTES)
    persons = dict(zip(_PERSONS, (by.person, by.second_person), strict=True))
    content = _encode({name: text for name, text in {**(details or {}), **persons}.items() if text})
    before = None if undo is None else msgspec.msgpack.encode(undo)
    told = dict(facts or {})
    joins = _undoing.get()
    if joins is not None and (undone := joins(c, revision)):
        told[UNDOES] = undone
    commitment = _commitment(salt, content, before)
    c.execute(sa.insert(s.event_detail).values(revision=revision, salt=salt, content=content, undo=before))
    time = s.to_millis(at or now())
    body = EventBody(VERSION, revision, time, by.name, by.contributor, by.role, kind, subject, reason, told, commitment)
    c.info[NOTES].setdefault(_APPENDED, []).append(body)
    c.info[NOTES][AT_END] = _seal
    return revision


def _seal(c: Connection) -> None:
    """Put the events of a transaction into the log at its end, the last one with what the rows that decide are then."""
    secret: bytes = c.execute(sa.select(s.metadata.c.secret)).scalar_one()
    bodies: list[EventBody] = c.info[NOTES][_APPENDED]
    log, first = c.execute(
        sa.select(s.log.c.number, s.log.c.first_revision).order_by(s.log.c.number.desc()).limit(1)
    ).one()
    imprints = _taken(c, secret)
    size = bodies[0].revision - first
    tree = Growth(size, b"", _read_tiles(c, log, edge(size)))
    changed: dict[Tile, bytes] = {}
    for told in bodies:
        left = imprints if told is bodies[-1] else None
        body = _encode(msgspec.structs.replace(told, imprints=_sha256(left)))
        salt = os.urandom(LEAF_SALT_BYTES)
        tree, tiles = grow(tree, [leaf_hash(entry_of(salt, body))])
        changed |= tiles
        index = {name: getattr(told, name) for name in ("revision", "time", "actor", "kind", "subject")}
        row = sa.insert(s.event).values(**index, body=body, digest=tree.root, salt=salt, imprints=left)
        c.execute(row)
    write_tiles(c, log, changed)
    c.execute(sa.update(s.metadata).values(head=tree.root))


def _read_tiles(c: Connection, log: int, tiles: Collection[Tile]) -> dict[Tile, bytes]:
    t = s.tile
    query = sa.select(t.c.level, t.c.number, t.c.hashes).where(t.c.log == log)
    rows = c.execute(query.where(sa.tuple_(t.c.level, t.c.number).in_(list(tiles)))) if tiles else ()
    return {Tile(level, number): bytes(hashes) for level, number, hashes in rows}


def grow(tree: Growth, leaves: Sequence[bytes]) -> tuple[Growth, dict[Tile, bytes]]:
    """Append leaves to a tree, of which the tiles of its edge are given; return it so, and the tiles that changed."""
    grown = append(tree.size, tree.tiles, leaves)
    known = {**tree.tiles, **grown.tiles}
    return grown._replace(tiles={tile: known[tile] for tile in edge(grown.size)}), grown.tiles


def write_tiles(c: Connection, log: int, tiles: Mapping[Tile, bytes]) -> None:
    """Write tiles that are new or longer than before."""
    c.execute(_WRITE_TILE, [{"log": log, **tile._asdict(), "hashes": hashes} for tile, hashes in tiles.items()])


class _Walk:
    """A tree that leaves are appended to one after the other: its size, and the roots of its complete subtrees."""

    def __init__(self) -> None:
        self.size = 0
        self._subtrees: list[bytes] = []

    def add(self, leaf: bytes) -> bytes:
        """Append a leaf, and return the root."""
        size = self.size
        while size & 1:
            leaf = node_hash(self._subtrees.pop(), leaf)
            size >>= 1
        self._subtrees.append(leaf)
        self.size += 1
        return functools.reduce(lambda right, left: node_hash(left, right), reversed(self._subtrees))


class Events:
    """The part of the Store that reads the history."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def list_events(
        self,
        *,
        subjects: Sequence[str] = (),
        actor: str = "",
        since: datetime | None = None,
        before_revision: int = 0,
        after_revision: int = 0,
        revisions: Iterable[int] | None = None,
        kinds: Sequence[EventKind] = (),
        limit: int = 100,
    ) -> list[Event]:
        """Return up to `limit` events, the newest first, before `before_revision` (0: the newest) and after
        `after_revision`.

        `subjects`: only events about one of these, or something in one (by path: `hash-sets/nl/known` holds
        `entries/nl/known/7`). `revisions`: only these. Staging is left out unless `kinds` asks for it.
        """
        t, d = s.event, s.event_detail
        query = sa.select(t.c.body, t.c.digest, d.c.content).join_from(t, d, d.c.revision == t.c.revision, isouter=True)
        query = query.where(t.c.kind.in_(kinds) if kinds else t.c.kind != EventKind.IMPORT_STAGED)
        # Not knowing which actor it will be, PostgreSQL would walk all events, unless the actors' index alone has the
        # order.
        is_walk_of_actor = bool(actor) and revisions is None and not self._db.is_sqlite
        if is_walk_of_actor:
            query = query.order_by(t.c.actor.desc(), t.c.revision.desc())
        else:
            query = query.order_by(t.c.revision.desc())
            if actor:
                query = query.where(t.c.actor == actor)
        if since is not None:
            query = query.where(t.c.time >= s.to_millis(since))
        if subjects and (actor or revisions is not None):
            query = query.where(_is_about(subjects, t.c.subject))
        if revisions is not None:
            query = query.where(t.c.revision.in_(sorted(set(revisions))))
        low = after_revision
        if since is not None and revisions is None:  # rows that are named need no look for where they can be
            low = max(low, self.first_since(since) - 1)
        if subjects and not actor and revisions is None:
            return self._about(query, subjects, low, before_revision or self.position().revision + 1, limit)
        if is_walk_of_actor:
            place, end = sa.tuple_(t.c.actor, t.c.revision), before_revision or MAX_REVISION
            query = query.where(place > sa.tuple_(actor, low), place < sa.tuple_(actor, end))
        else:
            if low:
                query = query.where(t.c.revision > low)
            if before_revision:
                query = query.where(t.c.revision < before_revision)
        return self._events(query.limit(limit))

    def _about(self, query: sa.Select[Any], subjects: Sequence[str], low: int, before: int, limit: int) -> list[Event]:
        """Return the last events of a query about some subjects, after one revision and before another.

        No index has them in the order of revisions. Few are sorted; among many the newest are not far: it walks down
        ever further, until that would look at more events than there are to sort.
        """
        t = s.event
        walked = query.where(_is_about(subjects, t.c.subject + ""))  # no index of subjects serves for that
        events: list[Event] = []
        span = _WALK * limit
        while before > low + 1 and len(events) < limit:
            if before - low - 1 > span and self._has_fewer(subjects, span):
                return events + self._sorted_about(query, subjects, low, before, limit - len(events))
            bottom = max(low, before - span - 1)
            piece = walked.where(t.c.revision > bottom, t.c.revision < before)
            events += self._events(piece.limit(limit - len(events)))
            before = bottom + 1
            span *= 4
        return events

    def _has_fewer(self, subjects: Sequence[str], count: int) -> bool:
        """Whether fewer events than so many are about the subjects."""
        some = sa.select(_of_subjects(subjects).c.revision).limit(count).subquery()
        number = sa.select(sa.func.count()).select_from(some)
        rows: int = self._db.read(lambda c: c.execute(number).scalar_one())
        return rows < count

    def _sorted_about(
        self, query: sa.Select[Any], subjects: Sequence[str], low: int, before: int, limit: int
    ) -> list[Event]:
        """Do as `_about`, from the subjects' index alone: rows are read of those events only that are returned."""
        events: list[Event] = []
        while len(events) < limit:
            about = _of_subjects(subjects, low, before)
            # Not plainly by the revision, along which PostgreSQL could walk instead.
            last = sa.select(about.c.revision).order_by((about.c.revision + 0).desc()).limit(limit)
            revisions = [row[0] for row in self._db.select(last)]
            if revisions:
                events += self._events(query.where(s.event.c.revision.in_(revisions)).limit(limit - len(events)))
            if len(revisions) < limit:
                break
            before = revisions[-1]
        return events

    def _events(self, query: sa.Select[Any]) -> list[Event]:
        return [_event(row) for row in self._db.select(query)]

    def get_event(self, revision: int) -> Event:
        """Return the event of a revision. Raises NotFound."""
        events = self.list_events(revisions=[revision], kinds=tuple(EventKind), limit=1)
        if not events:
            raise NotFound(f"there is no event {revision}", kind="Event", name=str(revision))
        return events[0]

    def revisions_of(self, subject: str, after: int, before: int, limit: int) -> list[int]:
        """Return the `limit` newest revisions about a subject itself after one and before another (0: of all)."""
        sql = (
            "SELECT revision FROM event WHERE subject = ? AND revision > ? AND revision < ? AND kind <> ? "
            "ORDER BY revision DESC LIMIT ?"
        )
        staged = EventKind.IMPORT_STAGED.value
        return [row[0] for row in self._db.fetch(sql, (subject, after, before or MAX_REVISION, staged, limit))]

    def undo_of(self, revision: int) -> Any:
        """Return what `append_event` was told to keep for a revert of this revision, or None."""
        rows = self._db.fetch("SELECT undo FROM event_detail WHERE revision = ?", (revision,))
        return msgspec.msgpack.decode(rows[0][0]) if rows and rows[0][0] is not None else None

    def redact_event(self, revision: int, *, by: Actor) -> Event:
        """Erase the details of an event, and return it as it is now. Raises NotFound."""
        self.get_event(revision)
        with self._db.write_in_order() as c:
            erased = c.execute(sa.delete(s.event_detail).where(s.event_detail.c.revision == revision)).rowcount
            if erased:
                append_event(c, by, EventKind.EVENT_REDACTED, subject=f"events/{revision}")
        return self.get_event(revision)

    def note_export(self, taken: Mapping[str, Facts], *, by: Actor, details: Mapping[str, str]) -> None:
        """Append an event for each hash set that an export takes entries from: its subject, and what is taken of it."""
        if not taken:
            return
        with self._db.write_in_order() as c:
            for subject, facts in taken.items():
                append_event(c, by, EventKind.ENTRIES_EXPORTED, subject=subject, facts=facts, details=details)

    def revision_before(self, time: datetime) -> int:
        """Return the last revision that was written before a time, as `last_before` does."""
        return self._db.read(lambda c: last_before(c, s.to_millis(time)))

    def first_since(self, time: datetime) -> int:
        """Return the first revision written at a time or later: as clocks go back, later ones may be older."""
        t = s.event
        # Not plainly by the revision, along which PostgreSQL could walk instead of the index of times.
        first = sa.select(sa.func.min(t.c.revision + 0)).where(t.c.time >= s.to_millis(time))
        return self._db.read(lambda c: c.scalar(first)) or MAX_REVISION

    def position(self) -> Position:
        """Return the last revision with its digest; reads made after this see everything up to it."""
        return Position(*self._db.fetch("SELECT revision, head FROM metadata")[0])

    def has_been_at(self, position: Position) -> bool:
        """Whether this position is in the database's past; if not, it was restored from a backup made before."""
        if position.revision == 0:
            return True
        return bool(self._db.fetch("SELECT 1 FROM event WHERE revision = ? AND digest = ?", position))

    def logs(self, until: int | None = None) -> list[LogState]:
        """Return the logs over the events up to a revision, or all; the last one is that which goes on."""
        last = self.position().revision if until is None else until
        sql = (
            "SELECT number, first_revision, chained_revision, verifier_key FROM log WHERE first_revision <= ? "
            "ORDER BY number"
        )
        rows = self._db.fetch(sql, (max(last, 1),))
        ends = [first for _, first, *_ in rows[1:]]
        return [
            LogState(number, first, chained, key, end - first)
            for (number, first, chained, key), end in zip(rows, [*ends, last + 1], strict=True)
        ]

    def note_verifier_key(self, number: int, verifier_key: str) -> None:
        """Note whose signature a log's checkpoints have from now on."""
        with self._db.write() as c:
            c.execute(sa.update(s.log).where(s.log.c.number == number).values(verifier_key=verifier_key))

    def tiles(self, number: int) -> Tiles:
        """Return what reads tiles of a log."""
        return lambda tiles: self._db.read(lambda c: _read_tiles(c, number, tiles))

    def leaf_entries(self, log: LogState, first: int, count: int) -> list[bytes]:
        """Return entries of leaves (of tlog.tree), by index."""
        sql = "SELECT salt, body FROM event WHERE revision >= ? AND revision < ? ORDER BY revision"
        begin = log.first_revision + first
        return [entry_of(_bytes(salt), _bytes(body)) for salt, body in self._db.fetch(sql, (begin, begin + count))]

    def leaf(self, revision: int) -> bytes:
        """Return of what the entry of an event is the SHA-256: salt, then body."""
        salt, body = self._db.fetch("SELECT salt, body FROM event WHERE revision = ?", (revision,))[0]
        return _bytes(salt) + _bytes(body)

    def verify_history(self, database_id: str, until: Position | None = None) -> Position:
        """Walk the log, from its beginning or that of the last one, and return its end.

        `until`: walk up to this position only. Details are compared with their commitments, and those that are missing
        with what was erased on record. Raises DataLoss that says where it breaks.
        """
        log = self.logs(until.revision if until else None)[-1]
        after, walk = log.first_revision - 1, _Walk()
        head, tree = genesis(database_id), EMPTY_TREE
        if log.chained_revision and after:  # it began at what mended a break
            head = bytes.fromhex(str(self.get_event(log.first_revision).facts["head"]))
        sql = (
            "SELECT e.revision, e.time, e.actor, e.kind, e.subject, e.body, e.digest, e.salt, e.imprints, "
            "d.salt, d.content, d.undo FROM event e LEFT JOIN event_detail d ON d.revision = e.revision "
            "WHERE e.revision > ? AND e.revision <= ? ORDER BY e.revision LIMIT ?"
        )
        last = until.revision if until else MAX_REVISION
        missing: dict[int, str] = {}  # the subjects of events whose details are gone
        end = until or self.position()
        while rows := self._db.fetch(sql, (after, last, _PAGE)):
            leaves = [leaf_hash(entry_of(_bytes(row[7]), _bytes(row[5]))) for row in rows]
            tree, changed = grow(tree, leaves)
            kept = self._db.read(functools.partial(_read_tiles, log=log.number, tiles=changed))
            if any(not kept.get(tile, b"").startswith(hashes) for tile, hashes in changed.items()):
                raise _broken(after + 1, "the log's tiles are not those of its events, or of some that follow")
            for leaf, row in zip(leaves, rows, strict=True):
                revision, time, actor, kind, subject, body, digest, _, imprints, *details = row
                told = decoded(body)
                if revision != after + 1:
                    raise _broken(after + 1, "its event is missing")
                if (told.revision, told.time, told.actor, told.kind, told.subject) != (
                    revision, time, actor, kind, subject,
                ):  # fmt: skip
                    raise _broken(revision, "its event says something else than its index")
                root = walk.add(leaf)
                head = hashlib.sha256(head + _bytes(body)).digest() if revision <= log.chained_revision else root
                if head != digest:
                    raise _broken(revision, "its digest does not follow from the events up to it")
                if told.imprints != _sha256(imprints):
                    raise _broken(revision, "what it says of the rows that it left is not what was written")
                if details[0] is None and told.commitment:
                    missing[revision] = subject
                elif details[0] is not None and told.commitment != _commitment(*details):
                    raise _broken(revision, "its details are not those that it was written with")
                after = revision
            end = until or self.position()  # what a hub writes meanwhile is walked, too
        if (after, head) != (end.revision, end.digest):
            raise _broken(end.revision, "the last events are missing" if until is None else "it is another event")
        for revision in missing.keys() - self._erased(missing):
            raise _broken(revision, "its details are missing, and nothing on record erased them")
        return end

    def _erased(self, missing: Mapping[int, str]) -> set[int]:
        """Return those of the revisions, given with their subjects, whose details were erased on record."""
        erased: set[int] = set()
        about: dict[str, int] = {}
        sets: dict[str, int] = {}  # deleted hash sets, by name
        before = 0
        kinds = (EventKind.EVENT_REDACTED, EventKind.ENTRY_ERASED, EventKind.HASH_SET_DELETED)
        while missing and (page := self.list_events(kinds=kinds, before_revision=before, limit=_PAGE)):
            for event in page:
                if event.kind is EventKind.EVENT_REDACTED:
                    erased.add(int(event.subject.removeprefix("events/")))
                elif event.kind is EventKind.HASH_SET_DELETED:
                    sets.setdefault(event.subject.removeprefix("hash-sets/"), event.revision)
                else:
                    about.setdefault(event.subject, event.revision)
            before = page[-1].revision
        return erased | {
            revision
            for revision, subject in missing.items()
            if revision <= about.get(subject, 0) or revision < sets.get(_hash_set_of(subject), 0)
        }

    def begin_log(self, kind: EventKind, facts: Facts, *, reason: str, least: int = 0) -> int:
        """Begin a new log, whose first leaf says from which head it goes on; return the revision. `least`: the number
        that it has at least.
        """
        with self._db.write_in_order() as c:
            head: bytes = c.execute(sa.select(s.metadata.c.head)).scalar_one()
            number = max(c.execute(sa.select(sa.func.max(s.log.c.number))).scalar_one() + 1, least)
            told = {"log": number, "head": head.hex(), **facts}
            revision = append_event(c, SYSTEM, kind, facts=told, details={"comment": reason})
            c.execute(sa.insert(s.log).values(number=number, first_revision=revision))
            return revision


def last_before(c: Connection, millis: int) -> int:
    """Return the last revision before a time, by halving: after a clock was set back rather too low than too high."""
    t = s.event
    low: int = c.scalar(sa.select(sa.func.min(t.c.revision))) or 1
    high: int = (c.scalar(sa.select(sa.func.max(t.c.revision))) or 0) + 1
    while low < high:
        middle = (low + high) // 2
        time: int | None = c.scalar(sa.select(t.c.time).where(t.c.revision == middle))
        if time is not None and time < millis:
            low = middle + 1
        else:
            high = middle
    return low - 1


def _is_about(subjects: Sequence[str], column: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
    """Return the condition that an event is about one of the subjects, or about something in one."""
    return sa.or_(*(sa.or_(column == x, sa.and_(column >= f"{x}/", column < f"{x}0")) for x in subjects))


def _of_subjects(subjects: Sequence[str], low: int = 0, before: int = MAX_REVISION) -> sa.Subquery:
    """Return a query for revisions of events about the subjects, which reads a part of the index for each."""
    t = s.event
    within = (t.c.revision > low, t.c.revision < before)
    parts = [sa.select(t.c.revision).where(about, *within) for x in subjects for about in (t.c.subject == x, is_in(x))]
    return sa.union_all(*parts).subquery()


def is_in(subject: str) -> sa.ColumnElement[bool]:
    """Return the condition that an event is about something in a subject: 0 follows the slash."""
    column = s.event.c.subject
    return sa.and_(column >= f"{subject}/", column < f"{subject}0")  # PostgreSQL takes no collation within BETWEEN


def last_day(c: Connection, subject: str, kind: EventKind) -> Iterable[bytes]:
    """Return the bodies of the last day's events of this kind about something in a subject."""
    t, since = s.event, s.to_millis(now() - timedelta(days=1))
    return c.execute(sa.select(t.c.body).where(is_in(subject), t.c.kind == kind, t.c.time > since)).scalars()


def _hash_set_of(subject: str) -> str:
    """Return the hash set (CONTRIBUTOR/SET) that a subject is, or is in; empty for none."""
    collection, _, rest = subject.partition("/")
    return "/".join(rest.split("/")[:2]) if collection in {"hash-sets", "entries", "imports"} else ""


def _bytes(value: bytes | str) -> bytes:
    """Return what a column of bytes holds, which an edit of SQLite's tables can make a text."""
    return value.encode() if isinstance(value, str) else bytes(value)


def _commitment(salt: bytes, content: bytes, undo: bytes | None) -> str:
    # JSON holds no zero byte, so that nothing can be moved from one to the other.
    return hashlib.sha256(salt + content + b"\0" + (undo or b"")).hexdigest()


def _sha256(imprints: bytes | None) -> str:
    return "" if imprints is None else hashlib.sha256(imprints).hexdigest()


def facts_of(body: bytes) -> Facts:
    """Return what an event did, read back from its canonical encoding."""
    return decoded(body).facts


def decoded(body: bytes) -> EventBody:
    """Return an event, read back from its canonical encoding. Raises DataLoss."""
    try:
        return msgspec.json.decode(body, type=EventBody)
    except msgspec.DecodeError as e:
        raise DataLoss("an event of the history cannot be read: restore the database from a backup") from e


def _event(row: Row) -> Event:
    told = decoded(row[0])
    details = {} if row[2] is None else msgspec.json.decode(row[2], type=dict[str, str])
    persons = [details.pop(name, "") for name in _PERSONS]
    return Event(
        revision=told.revision,
        time=s.from_millis(told.time),
        actor=Actor(told.actor, told.contributor, Role(told.role), *persons),
        kind=EventKind(told.kind),
        subject=told.subject,
        reason=told.reason,
        facts=told.facts,
        details=None if row[2] is None and told.commitment else details,
        digest=row[1],
    )


def _broken(revision: int, why: str) -> DataLoss:
    return DataLoss(
        f"the history was changed outside hashhub: at revision {revision} {why}; restore a backup, or look with "
        "`hashhub doctor`",
        reason=Reason.HISTORY_BROKEN,
    )


def touch(c: Connection, table: str, leads: Iterable[int | str]) -> None:
    """Have the event of this transaction tell what its rows with these leads are in the end."""
    c.info[NOTES].setdefault(_TOUCHED, {}).setdefault(table, set()).update(leads)


def touched(c: Connection, table: str) -> list[Any]:
    """Return the leads of a table that this transaction has touched so far."""
    return sorted(c.info[NOTES].get(_TOUCHED, {}).get(table, ()))


def touch_resource(c: Connection, subject: str) -> None:
    """Do as `touch`, of what an event names."""
    collection, _, name = subject.partition("/")
    for table in TABLES_OF[collection]:
        touch(c, table, [name])


def _taken(c: Connection, secret: bytes) -> bytes | None:
    """Return the imprints of what was touched, packed, or None where nothing was."""
    touched: dict[str, set[int | str]] = c.info[NOTES].get(_TOUCHED, {})
    imprints: dict[str, dict[int | str, bytes]] = {}
    for table, leads in touched.items():
        ordered: list[Any] = sorted(leads)  # of one table they are of one type
        imprints[table] = dict.fromkeys(ordered, b"")
        for start in range(0, len(ordered), _AT_ONCE):
            groups: dict[int | str, list[Sequence[Any]]] = {}
            where = lead_of(table).in_(ordered[start : start + _AT_ONCE])
            for lead, *row in c.execute(rows_of(table).where(where)):
                groups.setdefault(lead, []).append(row)
            imprints[table].update({lead: imprint(secret, table, rows) for lead, rows in groups.items()})
    return _pack(imprints) if touched else None


def unpack_imprints(packed: bytes) -> Imprints:
    """Return imprints as events have them."""
    return msgspec.msgpack.decode(packed, type=dict[str, dict[int | str, bytes]])


def lead_of(table: str) -> sa.ColumnElement[Any]:
    """Return what the rows of a table are told by: a column, or several with something between."""
    columns = s.tables.tables[table].c
    name, *others = s.DECIDING[table].lead
    lead: sa.ColumnElement[Any] = columns[name]
    for between, other in zip(others[::2], others[1::2], strict=True):
        lead = lead + between + columns[other]
    return lead


@functools.cache
def rows_of(table: str) -> sa.Select[Any]:
    """Return the query for the rows of a table: the lead, then what an imprint is of."""
    compared = [column for column in s.tables.tables[table].c if column.name not in s.DECIDING[table].left_out]
    query = sa.select(lead_of(table).label("lead"), *compared)
    if table == "entry":  # with what it refers to
        e, f, k = s.entry, s.frames, s.classification
        query = query.add_columns(k.c.content_digest, f.c.frame_count, f.c.digest_count, f.c.content)
        query = query.select_from(e.outerjoin(k, k.c.id == e.c.classification).outerjoin(f, f.c.entry == e.c.id))
    return query


@functools.cache
def names_of(table: str) -> tuple[str, ...]:
    """Return the names of what an imprint is of."""
    return tuple(column.name for column in rows_of(table).selected_columns)[1:]


def whole(secret: bytes, rows: Sequence[Sequence[Any]]) -> bytes:
    """Return the digest of rows with one lead, in whatever order."""
    packed = b"".join(sorted(map(_pack, rows))) if len(rows) > 1 else _pack(tuple(rows[0]))
    return hashlib.blake2b(packed, digest_size=WHOLE, key=secret).digest()


def imprint(secret: bytes, table: str, rows: Sequence[Sequence[Any]]) -> bytes:
    """Return the imprint of rows with one lead, of the columns of `rows_of`."""
    rows = sorted((tuple(bytes(x) if isinstance(x, memoryview) else x for x in row) for row in rows), key=_pack)
    fields = _fields(table, rows)
    hints = (hashlib.blake2b(_pack(fields[name]), digest_size=_HINT, key=secret).digest() for name in sorted(fields))
    return whole(secret, rows) + b"".join(hints)


def differing(table: str, before: bytes, after: bytes, rows: Sequence[Sequence[Any]]) -> list[str]:
    """Return the names of the fields in which imprints differ; `rows`: those that `after` is of."""
    names = sorted(_fields(table, rows))
    if len(before) != len(after):  # fields came or went
        return []
    hints = (range(WHOLE + i * _HINT, WHOLE + (i + 1) * _HINT) for i in range(len(names)))
    return [name for name, at in zip(names, hints, strict=True) if any(before[i] != after[i] for i in at)]


def _fields(table: str, rows: Sequence[Sequence[Any]]) -> dict[str, list[Any]]:
    fields: dict[str, list[Any]] = {}
    for row in rows:
        for name, value in zip(names_of(table), row, strict=True):
            is_json = name in _JSON and table not in {"entry", "statement_page"} and value is not None
            try:
                parts = msgspec.json.decode(value) if is_json else {name: value}
            except msgspec.DecodeError:
                parts = {name: value}
            for part, of_part in (parts if isinstance(parts, dict) else {name: value}).items():
                fields.setdefault(part, []).append(of_part)
    return fields
