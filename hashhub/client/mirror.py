"""A local copy of the entries that a token may hold, in SQLite, kept up to date through the change feed. Its tables are
documented in docs/match/mirror.md.

The position moves in the transaction that applies a page, so an interrupted copy continues exactly there. If the hub no
longer knows the position (its database was restored), the copy starts from nothing under a new generation, and drops
the old one once it is complete. A restored hub may give an entry's number to another item: the old entry is then kept
under a separate id.
"""

from __future__ import annotations

import itertools
import logging
import os
import secrets
import sqlite3
import stat
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

import msgspec

from hashhub import v1, wire
from hashhub.client.log import KeptCheckpoint, followed_checkpoint
from hashhub.client.transport import Transport, following, unread
from hashhub.errors import (
    AlreadyExists,
    Cancelled,
    Conflict,
    DataLoss,
    FailedPrecondition,
    HashHubError,
    InvalidArgument,
    LimitExceeded,
    Reason,
    Unavailable,
)
from hashhub.hashes import VPDQ
from hashhub.local_files import is_in_the_way, misplaced, obstacle, written
from hashhub.model import Flags, HashSet, VideoFrame, id_in_set, now, number_of
from hashhub.state_file import StateFile

_log = logging.getLogger(__name__)
FILE_NAME: Final = "mirror.db"
SCHEMA_VERSION: Final = 4
JOURNAL_VERSION: Final = 5
"""Of a copy with a journal: a hashhub that would not write it must not keep the copy."""
_EVIDENCE: Final = {"known": "log-known.checkpoint", "shown": "log-shown.checkpoint"}
_OWN_FILES: Final = frozenset({FILE_NAME, f"{FILE_NAME}-wal", f"{FILE_NAME}-shm", *_EVIDENCE.values()})
_CHECKPOINTS: Final = """
CREATE TABLE IF NOT EXISTS checkpoint (
    note TEXT PRIMARY KEY,
    verifier_key TEXT NOT NULL,
    time TEXT NOT NULL
) WITHOUT ROWID
"""
PAGE: Final = 1000
PATIENCE: Final = 60.0  # seconds for which one page is tried again
FIRST_PAUSE: Final = 1.0  # seconds before a stream that broke is taken up again; doubles each time
LONGEST_PAUSE: Final = 30.0
_HEAD_SECONDS: Final = 60.0  # between two heads, and checkpoints, that are kept
SET_ASIDE: Final = 1 << 62 | 1 << 31
"""Ids from here on are of a copy of its own; no hub comes so far."""
_FLAGS: Final = Flags.__struct_fields__
_NO_FLAGS: Final = (None,) * len(_FLAGS)
_PUT_ENTRY: Final = f"INSERT INTO entry VALUES ({', '.join('?' * 24)})"  # noqa: S608 - marks only
_HASH_SET_COLUMNS: Final = (
    "name", "contributor", "display_name", "scheme", "purpose", "review_depth", "unclassified", "accepted_revision",
    "tlp",
    "permitted_purposes", "legal_basis", "redistribution", "recipients", "disclose_existence", "bulk", "expire_time",
    "generation",
)  # fmt: skip

OnPage = Callable[[int, bool], None]
"""Is told, after each page, how many lines were applied so far and whether the copy is complete."""
# Made once the copy is complete for the first time: in random order, row by row, it would take as long as all the rest
# of a million entries.
_DIGEST_INDEX: Final = "CREATE INDEX IF NOT EXISTS hash_digest ON hash (digest, algorithm)"

Answer = v1.ListChangesResponse | v1.FollowChangesResponse

_SCHEMA: Final = """
CREATE TABLE meta (
    key INTEGER PRIMARY KEY CHECK (key = 1),
    schema_version INTEGER NOT NULL,
    server TEXT NOT NULL,
    position TEXT NOT NULL,
    revision INTEGER NOT NULL,
    complete INTEGER NOT NULL,
    complete_revision INTEGER NOT NULL,
    complete_time TEXT,
    answer_time TEXT,
    generation INTEGER NOT NULL,
    sweeping INTEGER NOT NULL
);
CREATE TABLE head (revision INTEGER, digest TEXT, time TEXT NOT NULL, PRIMARY KEY (revision, digest)) WITHOUT ROWID;
CREATE TABLE contributor (
    id TEXT PRIMARY KEY,
    display_name TEXT NOT NULL,
    kind TEXT NOT NULL,
    jurisdiction TEXT NOT NULL,
    reliability TEXT NOT NULL,
    takes_from TEXT NOT NULL,
    retire_time TEXT,
    objections_accepted_revision INTEGER NOT NULL,
    generation INTEGER NOT NULL
);
CREATE TABLE hash_set (
    key INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    contributor TEXT NOT NULL,
    display_name TEXT NOT NULL,
    scheme TEXT NOT NULL,
    purpose TEXT NOT NULL,
    review_depth INTEGER NOT NULL,
    unclassified TEXT NOT NULL,
    accepted_revision INTEGER NOT NULL,
    tlp TEXT NOT NULL,
    permitted_purposes TEXT NOT NULL,
    legal_basis TEXT NOT NULL,
    redistribution INTEGER NOT NULL,
    recipients TEXT NOT NULL,
    disclose_existence INTEGER NOT NULL,
    bulk INTEGER NOT NULL,
    expire_time TEXT,
    generation INTEGER NOT NULL
);
CREATE TABLE classification (
    key INTEGER PRIMARY KEY,
    scheme TEXT NOT NULL,
    region TEXT NOT NULL,
    value TEXT NOT NULL,
    draft INTEGER NOT NULL,
    dimensions TEXT NOT NULL,
    UNIQUE (scheme, region, value, draft, dimensions)
);
CREATE TABLE source (
    key INTEGER PRIMARY KEY,
    import TEXT NOT NULL UNIQUE,
    connector TEXT NOT NULL,
    connector_version TEXT NOT NULL,
    source_digest TEXT NOT NULL
);
CREATE TABLE entry (
    id INTEGER PRIMARY KEY,
    number INTEGER NOT NULL,
    hash_set INTEGER NOT NULL,
    source INTEGER NOT NULL,
    position TEXT NOT NULL,
    member TEXT NOT NULL,
    external_id TEXT NOT NULL,
    classification INTEGER,
    victim_identified INTEGER,
    offender_identified INTEGER,
    distributed INTEGER,
    suspected INTEGER,
    self_generated INTEGER,
    media_type TEXT NOT NULL,
    media_size_bytes INTEGER,
    series TEXT NOT NULL,
    tags TEXT NOT NULL,
    quality INTEGER,
    source_time TEXT NOT NULL,
    expire_time TEXT,
    reasons TEXT NOT NULL,
    create_revision INTEGER NOT NULL,
    update_revision INTEGER NOT NULL,
    generation INTEGER NOT NULL
);
CREATE INDEX entry_hash_set ON entry (hash_set);
CREATE TABLE hash (entry INTEGER, algorithm TEXT, digest BLOB, PRIMARY KEY (entry, algorithm, digest)) WITHOUT ROWID;
CREATE TABLE frame (
    entry INTEGER,
    number INTEGER,
    offset_ms INTEGER NOT NULL,
    quality INTEGER NOT NULL,
    digest BLOB NOT NULL,
    PRIMARY KEY (entry, number)
) WITHOUT ROWID;
CREATE TABLE review (
    entry INTEGER,
    id INTEGER,
    author TEXT NOT NULL,
    kind TEXT NOT NULL,
    role TEXT NOT NULL,
    sets_aside INTEGER NOT NULL,
    awaits_acceptance INTEGER NOT NULL,
    create_revision INTEGER NOT NULL,
    PRIMARY KEY (entry, id)
) WITHOUT ROWID;
"""

# What a hook in local mode needs besides; see docs/hook/local.md.
_JOURNAL: Final = """
CREATE TABLE journal_page (sequence INTEGER PRIMARY KEY, mark BLOB NOT NULL);
CREATE TABLE journal (
    sequence INTEGER,
    number INTEGER,
    algorithm TEXT NOT NULL,
    digests BLOB NOT NULL,
    PRIMARY KEY (sequence, number)
) WITHOUT ROWID;
CREATE TABLE video (entry INTEGER PRIMARY KEY, digest_count INTEGER NOT NULL);
CREATE TABLE policy (
    reference TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    text TEXT NOT NULL,
    fault TEXT NOT NULL,
    time TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX frame_digest ON frame (digest);
"""
_MARK_BYTES: Final = 8
_JOURNAL_DIGESTS: Final = 50_000  # in one row


class KeptPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """A policy as the hub had it at `time`. `reference`: as asked for; `name`: NAME@VERSION; `fault`: why it fails."""

    reference: str
    name: str
    text: str
    fault: str
    time: datetime


class MirrorState(msgspec.Struct, frozen=True, kw_only=True):
    """How current a copy is.

    `is_complete`: it holds exactly what its token may hold at `revision`; `complete_revision`, `complete_time`: when
    that was true last. `answer_time`: when the hub answered last. `has_started_over`: the hub's database was restored,
    and the copy is, or was just, brought in line with it. `lines`: how many changes this run applied. `log_fault`: how
    the hub's log contradicts the checkpoint that is kept; empty: it does not.
    """

    revision: int
    is_complete: bool
    complete_revision: int
    complete_time: datetime | None
    answer_time: datetime | None
    head: str
    entries: int
    hash_sets: int
    lines: int = 0
    has_started_over: bool = False
    log_fault: str = ""


class Mirror(StateFile):
    """A copy in a directory of its own.

    Several processes may read its file; of two that write, the slower one is refused.
    """

    what = "the copy"
    remedy = "remove it, then run the mirror again"

    def __init__(self, directory: Path, transport: Transport, *, journal: bool = False) -> None:
        """Open the copy, or make an empty one: the directory and the file are for their owner only.

        `journal`: note from now on which digests each page touched, for an index beside the copy; a copy that has a
        journal goes on with it. Raises InvalidArgument for a directory that others can read and that holds other
        files, or for a copy of another version.
        """
        self._transport = transport
        self._has_journal = journal
        self._lines = 0
        self._started_over = self._is_sweeping = False
        self._head_kept = float("-inf")
        self._log_fault = ""
        super().__init__(_prepare(directory))

    def update(self, on_page: OnPage | None = None) -> None:
        """Bring the copy up to date.

        Raises InvalidArgument when it was made with another token or from another hub, and what else the hub answers.
        """
        try:
            self._update(on_page)
        except FailedPrecondition as e:
            if e.reason is not Reason.POSITION_UNKNOWN:
                raise
            self.start_over()
            self._update(on_page)

    def follow(self, on_page: OnPage | None = None, *, stop: threading.Event | None = None) -> None:
        """Bring the copy up to date and keep it so, through restarts of the hub, until `stop` is set.

        Whoever sets it closes the client, too, for that ends a stream on which nothing comes. Raises HashHubError once
        the token does not allow it any more or the copy cannot be written.
        """
        stop = stop or threading.Event()
        pause = FIRST_PAUSE
        while not stop.is_set():
            try:
                self.update(on_page)
                request = v1.FollowChangesRequest(position=self._position)
                for answer in self._transport.stream(following(request, unread)):
                    self._apply(answer, on_page)
                    pause = FIRST_PAUSE
            except Cancelled:
                if not stop.is_set():  # else the client was closed under a call
                    raise
            except FailedPrecondition as e:
                if e.reason is not Reason.POSITION_UNKNOWN:
                    raise
                self.start_over()
            except (Unavailable, LimitExceeded) as e:
                if e.reason is Reason.DISK_FULL:  # of this machine: only a person can make room
                    raise
                # The copy stays as it is, and says since when it has heard nothing.
                stop.wait(max(pause, e.retry_after or 0.0))
                pause = min(2 * pause, LONGEST_PAUSE)

    def _open(self) -> None:
        for pragma in (
            "synchronous = NORMAL",  # a power cut may undo the last pages, together with their position
            "cache_size = -131072",  # KiB
            "wal_autocheckpoint = 16384",  # pages
            "journal_size_limit = 268435456",  # bytes
        ):
            self._db.execute(f"PRAGMA {pragma}").close()
        with self.transaction():
            if not self._rows("SELECT 1 FROM sqlite_master WHERE name = 'meta'"):
                for statement in _SCHEMA.split(";"):
                    self._db.execute(statement)
                self._db.execute(
                    "INSERT INTO meta VALUES (1, ?, ?, '', 0, 0, 0, NULL, NULL, 1, 0)",
                    (SCHEMA_VERSION, self._transport.address),
                )
        [(version, self._position, self._generation)] = self._rows(
            "SELECT schema_version, position, generation FROM meta"
        )
        if version not in {SCHEMA_VERSION, JOURNAL_VERSION}:
            told = (
                f"holds a copy with tables of version {version}, this hashhub writes version {SCHEMA_VERSION}; "
                "name another one"
            )
            raise InvalidArgument.field("directory", told, "NOT_ALLOWED")
        self._db.execute("UPDATE meta SET server = ?", (self._transport.address,))
        self._db.execute(_CHECKPOINTS)
        self._journal = _Journal(self._db) if self._has_journal or version == JOURNAL_VERSION else None
        if self._journal is not None and version != JOURNAL_VERSION:
            with self.transaction():
                self._journal.create()
        self._read_keys()

    def _update(self, on_page: OnPage | None) -> None:
        ahead = ThreadPoolExecutor(1, thread_name_prefix="mirror")
        try:
            answer = _page(self._transport, self._position)
            while True:
                # The next page is on its way while this one is written.
                following = None if answer.complete else ahead.submit(_page, self._transport, answer.next_position)
                self._apply(answer, on_page)
                if following is None:
                    return
                answer = following.result()
        finally:
            # Not waited for: where this ends early, a hub that does not answer would be waited for a minute and more.
            ahead.shutdown(wait=False)

    def state(self) -> MirrorState:
        """Return how current the copy is."""
        [(revision, complete, complete_revision, complete_time, answer_time)] = self._rows(
            "SELECT revision, complete, complete_revision, complete_time, answer_time FROM meta"
        )
        heads = self._rows("SELECT revision, digest FROM head ORDER BY time DESC, revision DESC LIMIT 1")
        [(entries, sets)] = self._rows("SELECT (SELECT count(*) FROM entry), (SELECT count(*) FROM hash_set)")
        return MirrorState(
            revision=revision,
            is_complete=bool(complete),
            complete_revision=complete_revision,
            complete_time=time_of(complete_time),
            answer_time=time_of(answer_time),
            head=f"{heads[0][0]}:{heads[0][1]}" if heads else "",
            entries=entries,
            hash_sets=sets,
            lines=self._lines,
            has_started_over=self._started_over,
            log_fault=self._log_fault,
        )

    def put_policy(self, policy: KeptPolicy) -> None:
        """Store a policy under its reference, in place of an earlier one. Needs a journal."""
        with self.transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO policy VALUES (?, ?, ?, ?, ?)",
                (policy.reference, policy.name, policy.text, policy.fault, _text(policy.time)),
            )

    def trim_journal(self, sequence: int) -> None:
        """Remove pages before this one from the journal, once an index on disk has them."""
        with self.transaction():
            self._db.execute("DELETE FROM journal WHERE sequence <= ?", (sequence,))
            self._db.execute("DELETE FROM journal_page WHERE sequence < ?", (sequence,))

    def start_over(self) -> None:
        """Go back to the beginning of the feed; entries stay until the hub has sent everything again."""
        with self.transaction():
            self._generation += 1
            self._db.execute(
                "UPDATE meta SET position = '', complete = 0, generation = ?, sweeping = 1", (self._generation,)
            )
        self._position = ""
        self._started_over = True

    def _apply(self, answer: Answer, on_page: OnPage | None) -> None:
        """Take in the lines behind the position, and move it on.

        Raises Conflict when another process has moved it meanwhile.
        """
        at = _text(now())
        head_revision, _, digest = answer.head.partition(":")
        keeps_head = answer.complete and digest and time.monotonic() - self._head_kept >= _HEAD_SECONDS
        try:
            with self.transaction():
                [(position, sweeping)] = self._rows("SELECT position, sweeping FROM meta")
                if position != self._position:
                    raise Conflict("another process is keeping this copy; end one of the two")
                self._is_sweeping = bool(sweeping)
                if self._journal is not None:
                    self._journal.begin(answer.changes, sweeping=answer.complete and sweeping)
                self._take(answer.changes)
                if answer.complete and sweeping:
                    self._sweep()
                if answer.complete:
                    self._db.execute(_DIGEST_INDEX)
                if keeps_head:
                    self._db.execute("INSERT OR IGNORE INTO head VALUES (?, ?, ?)", (int(head_revision), digest, at))
                self._db.execute(
                    "UPDATE meta SET position = ?, revision = ?, complete = ?, answer_time = ?",
                    (answer.next_position, answer.revision, answer.complete, at),
                )
                if answer.complete:
                    self._db.execute(
                        "UPDATE meta SET complete_revision = revision, complete_time = answer_time, sweeping = 0"
                    )
        except BaseException:
            self._read_keys()  # as they were before
            raise
        if keeps_head:
            self._head_kept = time.monotonic()
            self._follow_log()
        self._position = answer.next_position
        self._lines += len(answer.changes)
        if on_page is not None:
            on_page(self._lines, answer.complete)

    def _follow_log(self) -> None:
        """Look that the hub's log contains the checkpoint that is kept, and keep the new one. A contradiction does not
        stop the copy, which protects somebody: it is in `state`, and both checkpoints in files beside the copy.
        """
        rows = self._rows("SELECT note, verifier_key FROM checkpoint ORDER BY time DESC LIMIT 1")
        known = KeptCheckpoint(*rows[0]) if rows else None
        try:
            shown = followed_checkpoint(self._transport.call, known)
        except DataLoss as e:
            self._log_fault = e.message
            _log.error("the log of %s: %s", self._transport.address, e.message)
            for name in _EVIDENCE.keys() & e.metadata.keys():
                with suppress(AlreadyExists), written(self._path.with_name(_EVIDENCE[name])) as file:
                    file.write(e.metadata[name].encode())
        except HashHubError as e:  # an older hub's, or one that signs none now
            _log.info("the log of %s was not looked at: %s", self._transport.address, e.message)
        else:
            self._log_fault = ""
            row = (*shown, _text(now()))
            self._db.execute("INSERT OR IGNORE INTO checkpoint VALUES (?, ?, ?)", row)

    def _take(self, changes: Iterable[v1.Change]) -> None:
        # The last word on each entry; a page may hold several.
        entries: dict[int, v1.Change | None] = {}
        for change in changes:
            if change.HasField("entry"):
                entries[self._id_of(change.entry.name)] = change
            elif "/entries/" in change.name:
                entries[self._id_of(change.name)] = None
            else:
                self._put_entries(entries)
                entries = {}
                self._take_registry(change)
        self._put_entries(entries)

    def _id_of(self, name: str) -> int:
        """Return an entry's id in this copy, by its hash set and its number there."""
        contributor, set_id, number = wire.parse_entry(name)
        return id_in_set(self._set_key(f"{contributor}/{set_id}"), number)

    def _put_entries(self, entries: dict[int, v1.Change | None]) -> None:
        if not entries:
            return
        execute = self._db.executemany
        if self._is_sweeping:
            entries = self._set_aside(entries)
        if entries and self._rows("SELECT 1 FROM entry WHERE id BETWEEN ? AND ? LIMIT 1", (min(entries), max(entries))):
            ids = [(i,) for i in entries]
            if self._journal is not None:
                self._journal.drop(entries)
            for table, column in (("hash", "entry"), ("frame", "entry"), ("review", "entry"), ("entry", "id")):
                execute(f"DELETE FROM {table} WHERE {column} = ?", ids)  # noqa: S608 - our own names
        given = [(i, change) for i, change in entries.items() if change is not None]
        execute(_PUT_ENTRY, [self._row(i, change.entry) for i, change in given])
        execute(
            "INSERT OR IGNORE INTO hash VALUES (?, ?, ?)",
            [(i, h.algorithm, h.digest) for i, change in given for h in change.entry.hashes],
        )
        execute(
            "INSERT INTO frame VALUES (?, ?, ?, ?, ?)",
            [
                (i, number, f.offset_ms, f.quality, f.digest)
                for i, change in given
                for number, f in enumerate(change.entry.frames)
            ],
        )
        execute(
            "INSERT INTO review VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (i, r.id, r.author, r.kind, r.role, r.sets_aside, r.awaits_acceptance, r.revision)
                for i, change in given
                if change.reviews
                for r in wire.changed_entry_from_pb(change).reviews
            ],
        )
        if self._journal is not None:
            self._journal.put([(i, change.entry) for i, change in given])

    def _set_aside(self, entries: dict[int, v1.Change | None]) -> dict[int, v1.Change | None]:
        """Give other ids to entries of an older generation whose ids are given to other items now. Return what is to be
        put: an older generation's entries stay until the copy is complete, even where the hub has none with their id.
        """
        ids = ", ".join(map(str, entries))
        sql = f"SELECT id FROM entry WHERE id IN ({ids}) AND generation < ?"  # noqa: S608 - our numbers
        older = {entry for (entry,) in self._rows(sql, (self._generation,))}
        if not older:
            return entries
        stated: defaultdict[int, set[tuple[str, bytes]]] = defaultdict(set)
        for entry, algorithm, digest in self._rows(
            f"SELECT entry, algorithm, digest FROM hash WHERE entry IN ({ids}) "  # noqa: S608 - likewise
            f"UNION ALL SELECT entry, '{VPDQ.name}', digest FROM frame WHERE entry IN ({ids})"
        ):
            stated[entry].add((algorithm, digest))
        others = []
        for entry in sorted(older):
            if (change := entries[entry]) is not None:
                now_stated = {(h.algorithm, h.digest) for h in change.entry.hashes}
                now_stated |= {(VPDQ.name, f.digest) for f in change.entry.frames}
                if not stated[entry] <= now_stated:
                    others.append(entry)
        [(last,)] = self._rows("SELECT max(?, coalesce(max(id), 0)) FROM entry", (SET_ASIDE,))
        moves = [(last + number, entry) for number, entry in enumerate(others, 1)]
        tables = [("entry", "id"), ("hash", "entry"), ("frame", "entry"), ("review", "entry")]
        if self._journal is not None:
            tables.append(("video", "entry"))
        for table, column in tables:
            sql = f"UPDATE {table} SET {column} = ? WHERE {column} = ?"  # noqa: S608 - our own names
            self._db.executemany(sql, moves)
        return {entry: change for entry, change in entries.items() if change is not None or entry not in older}

    def _row(self, entry: int, e: v1.Entry) -> tuple[Any, ...]:
        p, has = e.provenance, e.HasField
        f = e.flags if has("flags") else None
        name = getattr(p, "import")
        _, contributor, _, set_id, _, _ = e.name.split("/")  # which `_take` has parsed
        return (
            entry,
            number_of(entry),
            self._set_key(f"{contributor}/{set_id}"),
            self._sources.get(name) or self._new_source(name, p),
            p.position,
            p.member,
            e.external_id,
            self._classification(e.classification) if has("classification") else None,
            *(_NO_FLAGS if f is None else [getattr(f, name) if f.HasField(name) else None for name in _FLAGS]),
            e.media_type,
            e.media_size_bytes if has("media_size_bytes") else None,
            e.series,
            _json(list(e.tags)) if e.tags else "[]",
            e.quality if has("quality") else None,
            e.source_time,
            _text(e.expire_time.ToDatetime(tzinfo=UTC)) if has("expire_time") else None,
            _json(list(e.reasons)) if e.reasons else "[]",
            e.create_revision,
            e.update_revision,
            self._generation,
        )

    def _set_key(self, name: str) -> int:
        key = self._set_keys.get(name)
        if key is None:
            told = f"the hub gave an entry of hash set {name[:127]} before that set's terms; is it of another version?"
            raise HashHubError(told)
        return key

    def _new_source(self, name: str, p: v1.Provenance) -> int:
        sql = (
            "INSERT INTO source (import, connector, connector_version, source_digest) VALUES (?, ?, ?, ?) RETURNING key"
        )
        [(key,)] = self._rows(sql, (name, p.connector, p.connector_version, p.source_digest))
        self._sources[name] = key
        return int(key)

    def _classification(self, c: v1.Classification) -> int:
        packed = c.SerializeToString()
        key = self._classifications.get(packed)
        if key is None:
            dimensions = _json(wire.dimensions_from_pb(c.dimensions))
            values = (c.scheme, c.region, c.value, c.draft, dimensions)
            self._db.execute(
                "INSERT OR IGNORE INTO classification (scheme, region, value, draft, dimensions) VALUES (?, ?, ?, ?, "
                "?)",
                values,
            )
            [(key,)] = self._rows(
                "SELECT key FROM classification WHERE (scheme, region, value, draft, dimensions) = (?, ?, ?, ?, ?)",
                values,
            )
            self._classifications[packed] = key
        return int(key)

    def _take_registry(self, change: v1.Change) -> None:
        line = wire.changed_entry_from_pb(change)
        if line.hash_set is not None:
            self._put_hash_set(line.hash_set)
        elif (c := line.contributor) is not None:
            values = (
                c.id, c.display_name, c.kind, c.jurisdiction, c.reliability, _json(c.takes_from), _text(c.retire_time),
                c.objections_accepted_revision, self._generation,
            )  # fmt: skip
            self._db.execute("INSERT OR REPLACE INTO contributor VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
        elif line.hash_set_name:
            key = self._set_keys.pop(line.hash_set_name, 0)
            self._drop_entries("hash_set = ?", (key,))
            self._db.execute("DELETE FROM hash_set WHERE key = ?", (key,))

    def _put_hash_set(self, h: HashSet) -> None:
        m = h.marking
        values = (
            h.name, h.contributor, h.display_name, h.scheme, h.purpose, h.review_depth, h.unclassified,
            h.accepted_revision,
            m.tlp, _json(m.permitted_purposes), m.legal_basis, m.redistribution, _json(m.recipients),
            m.disclose_existence, m.bulk,
            _text(m.expire_time), self._generation,
        )  # fmt: skip
        columns = _HASH_SET_COLUMNS
        [(key,)] = self._rows(
            f"INSERT INTO hash_set ({', '.join(columns)}) "  # noqa: S608 - our own names
            f"VALUES ({', '.join('?' * len(columns))}) "
            f"ON CONFLICT (name) DO UPDATE SET {', '.join(f'{c} = excluded.{c}' for c in columns[1:])} RETURNING key",
            values,
        )
        self._set_keys[h.name] = key

    def _sweep(self) -> None:
        """Remove the rows that were not sent again since the last start from nothing."""
        old = (self._generation,)
        self._drop_entries("generation < ?", old)
        self._db.execute("DELETE FROM hash_set WHERE generation < ?", old)
        self._db.execute("DELETE FROM contributor WHERE generation < ?", old)
        self._read_keys()

    def _read_keys(self) -> None:
        self._set_keys: dict[str, int] = dict(self._rows("SELECT name, key FROM hash_set"))
        self._sources: dict[str, int] = dict(self._rows("SELECT import, key FROM source"))
        self._classifications: dict[bytes, int] = {}

    def _drop_entries(self, which: str, values: tuple[Any, ...]) -> None:
        if self._journal is not None:
            self._journal.drop_all(which, values)
        for table in ("hash", "frame", "review"):
            entries = f"SELECT id FROM entry WHERE {which}"  # noqa: S608 - our own text
            self._db.execute(f"DELETE FROM {table} WHERE entry IN ({entries})", values)  # noqa: S608 - likewise
        self._db.execute(f"DELETE FROM entry WHERE {which}", values)  # noqa: S608 - likewise


class _Journal:
    """Which digests each page touched, so that an index beside the copy can follow: those that are in the copy are to
    be added, the others dropped. Before the copy is complete for the first time there is nothing to follow.

    Each page has a random mark, by which an index tells whether it was made from this copy's past: a file that was put
    back from a backup, or lost its last pages in a power cut, counts on with the same numbers.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._sequence = self._number = 0
        self._is_followed = False

    def create(self) -> None:
        """Make its tables, in the caller's transaction, and count the videos that the copy holds."""
        for statement in _JOURNAL.split(";"):
            self._db.execute(statement)
        self._db.execute("INSERT INTO journal_page VALUES (1, ?)", (secrets.token_bytes(_MARK_BYTES),))
        self._db.execute("UPDATE meta SET schema_version = ?", (JOURNAL_VERSION,))
        for (entry,) in self._db.execute("SELECT DISTINCT entry FROM frame").fetchall():
            rows = self._db.execute("SELECT offset_ms, quality, digest FROM frame WHERE entry = ?", (entry,))
            count = len(_frame_digests(VideoFrame(*row) for row in rows))
            self._db.execute("INSERT INTO video VALUES (?, ?)", (entry, count))

    def begin(self, changes: Sequence[v1.Change], *, sweeping: bool) -> None:
        """Begin a page; one that changes nothing is not noted."""
        [(self._is_followed,)] = self._db.execute("SELECT complete_time IS NOT NULL FROM meta").fetchall()
        if not changes and not sweeping:
            return
        [(last,)] = self._db.execute("SELECT max(sequence) FROM journal_page").fetchall()
        self._sequence, self._number = last + 1, 0
        mark = secrets.token_bytes(_MARK_BYTES)
        self._db.execute("INSERT INTO journal_page VALUES (?, ?)", (self._sequence, mark))

    def put(self, entries: Sequence[tuple[int, v1.Entry]]) -> None:
        """Note the digests of entries that were put."""
        digests: defaultdict[str, set[bytes]] = defaultdict(set)
        for entry_id, entry in entries:
            for h in entry.hashes if self._is_followed else ():
                digests[h.algorithm].add(h.digest)
            if entry.frames:
                of_frames = _frame_digests(VideoFrame(f.offset_ms, f.quality, f.digest) for f in entry.frames)
                digests[VPDQ.name] |= of_frames
                self._db.execute("INSERT OR REPLACE INTO video VALUES (?, ?)", (entry_id, len(of_frames)))
        for algorithm, of_algorithm in digests.items():
            self._note(algorithm, of_algorithm)

    def drop(self, ids: Iterable[int]) -> None:
        """Note the digests of entries that are about to be dropped, or put anew."""
        self.drop_all(f"id IN ({', '.join(map(str, ids))})", ())

    def drop_all(self, which: str, values: tuple[Any, ...]) -> None:
        """Likewise, of those that meet a condition on `entry`."""
        entries = f"SELECT id FROM entry WHERE {which}"  # noqa: S608 - our own text
        if self._is_followed:
            for sql in (
                f"SELECT algorithm, digest FROM hash WHERE entry IN ({entries}) ORDER BY algorithm",  # noqa: S608
                f"SELECT '{VPDQ.name}', digest FROM frame WHERE entry IN ({entries})",  # noqa: S608
            ):
                rows = self._db.execute(sql, values)
                while page := rows.fetchmany(_JOURNAL_DIGESTS):
                    for algorithm, of_algorithm in itertools.groupby(page, key=itemgetter(0)):
                        self._note(algorithm, {digest for _, digest in of_algorithm})
        self._db.execute(f"DELETE FROM video WHERE entry IN ({entries})", values)  # noqa: S608

    def _note(self, algorithm: str, digests: set[bytes]) -> None:
        if digests and self._is_followed:
            row = (self._sequence, self._number, algorithm, b"".join(sorted(digests)))
            self._db.execute("INSERT INTO journal VALUES (?, ?, ?, ?)", row)
            self._number += 1


def _frame_digests(given: Iterable[VideoFrame]) -> set[bytes]:
    """Return the distinct digests of those frames that match."""
    from hashhub import frames  # NumPy, which a client without a journal does without

    return {digest.tobytes() for digest in frames.columns_of(given).matching().digests}


def _page(transport: Transport, position: str) -> v1.ListChangesResponse:
    request = v1.ListChangesRequest(position=position, page_size=PAGE)
    try:
        answer: v1.ListChangesResponse = transport.call(request, retry_seconds=PATIENCE)
    except InvalidArgument as e:
        if position and any(v.field == "position" for v in e.violations):
            raise InvalidArgument(
                "the copy was made with another token or from another hub, which this one cannot go on from; "
                "use that token, name another directory, or replace what it holds with --start-over",
                violations=e.violations,
            ) from e
        raise
    return answer


def _prepare(directory: Path) -> Path:
    """Make the directory and the file, or check that only their owner can read them; return the file's path."""
    path = directory / FILE_NAME
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if stat.S_IMODE(directory.stat().st_mode) & 0o077:
            if not {p.name for p in directory.iterdir()} <= _OWN_FILES:
                told = (
                    "others can read it and it holds other files; name a directory of its own, or take their access "
                    "away (chmod 700)"
                )
                raise InvalidArgument.field("directory", told, "NOT_ALLOWED")
            directory.chmod(0o700)
        for name in _OWN_FILES:
            if os.path.lexists(directory / name):
                _check_own(directory / name)
    except OSError as e:
        what = "move it away" if is_in_the_way(e) else "check its disk and permissions"
        told = f"cannot be used: {obstacle(e, 'the copy')}; {what}"
        raise InvalidArgument.field("directory", told, "NOT_ALLOWED") from e
    return path


def _check_own(path: Path) -> None:
    """See that a file of the copy is one, and for its owner only: SQLite would not say which of them is in the way."""
    if not stat.S_ISREG(path.stat().st_mode):
        told = f"cannot be used: {misplaced(path, 'the copy', 'file')}; move it away"
        raise InvalidArgument.field("directory", told, "NOT_ALLOWED")
    path.chmod(0o600)


def _json(values: object) -> str:
    return msgspec.json.encode(values).decode()


def _text(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def time_of(text: str | None) -> datetime | None:
    """Return a time as the file has it."""
    return None if text is None else datetime.fromisoformat(text)
