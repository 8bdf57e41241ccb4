"""The hook's own database, `DATA/hook.db`: decisions to come back to, and what was done with them. For its owner only.

Everything that is done is an event, chained by digests, so that one taken out or changed shows. Events hold codes,
references, and what persons gave as names, reasons and comments; nothing of an upload, whose row can go. Of uploads
that were answered and allowed only their number is kept.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

import msgspec

from hashhub.desk.decision import DecisionRecord, read_checked
from hashhub.errors import (
    DataLoss,
    FailedPrecondition,
    HashHubError,
    InvalidArgument,
    LimitExceeded,
    Reason,
    Unavailable,
)
from hashhub.local_files import connect
from hashhub.model import Verdict, now

FILE_NAME: Final = "hook.db"
SCHEMA_VERSION: Final = 1
WAIT_SECONDS: Final = 5.0
"""For another thread, and as long for another process: each upload that is recorded may wait so long, and no longer."""
_READ_ROWS: Final = 5_000  # at a time: a year's events do not fit into memory
Version: TypeAlias = tuple[int, int]
T = TypeVar("T", bound=msgspec.Struct)
HOOK: Final = "hook"
"""The actor of what no person did."""

# Each part of what comes after a decision adds its tables here.
_SCHEMA: Final = """
CREATE TABLE meta (key INTEGER PRIMARY KEY CHECK (key = 1), schema_version INTEGER NOT NULL);
CREATE TABLE event (
    number INTEGER PRIMARY KEY,
    time TEXT NOT NULL,
    actor TEXT NOT NULL,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    reason TEXT NOT NULL,
    details TEXT NOT NULL,
    digest BLOB NOT NULL
);
CREATE INDEX event_subject ON event (subject);
CREATE TABLE tally (
    day TEXT, door TEXT, action TEXT, verdict TEXT, no_answer TEXT, count INTEGER NOT NULL,
    PRIMARY KEY (day, door, action, verdict, no_answer)
) WITHOUT ROWID;
CREATE TABLE recheck (
    reference TEXT PRIMARY KEY,
    due REAL NOT NULL,
    since REAL NOT NULL,
    pending BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX recheck_due ON recheck (due);
CREATE TABLE telling (
    number INTEGER PRIMARY KEY,
    due REAL NOT NULL,
    since REAL NOT NULL,
    attempts INTEGER NOT NULL,
    listener TEXT NOT NULL,
    rechecked BLOB NOT NULL
);
CREATE INDEX telling_due ON telling (listener, due);
CREATE TABLE upload_count (state TEXT PRIMARY KEY, count INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE upload (
    reference TEXT PRIMARY KEY,
    time TEXT NOT NULL,
    state TEXT NOT NULL,
    door TEXT NOT NULL,
    upload_id TEXT NOT NULL,
    checked BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX upload_state ON upload (state, time);
CREATE TABLE person (
    name TEXT PRIMARY KEY, token_digest BLOB NOT NULL UNIQUE, add_time TEXT NOT NULL, expire_time TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE vault_item (
    name TEXT PRIMARY KEY,
    reference TEXT NOT NULL UNIQUE,
    size INTEGER NOT NULL,
    time TEXT NOT NULL,
    key_id TEXT NOT NULL,
    wrapped_key BLOB,
    erase_time TEXT
) WITHOUT ROWID;
CREATE TABLE legal_hold (
    reference TEXT, case_name TEXT, actor TEXT NOT NULL, reason TEXT NOT NULL, time TEXT NOT NULL,
    PRIMARY KEY (reference, case_name)
) WITHOUT ROWID;
CREATE TABLE proposal (
    reference TEXT PRIMARY KEY, actor TEXT NOT NULL, code TEXT NOT NULL, comment TEXT NOT NULL, facts BLOB NOT NULL,
    time TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE ruling (
    number INTEGER PRIMARY KEY,
    reference TEXT NOT NULL,
    ruling TEXT NOT NULL,
    code TEXT NOT NULL,
    comment TEXT NOT NULL,
    actors TEXT NOT NULL,
    time TEXT NOT NULL
);
CREATE INDEX ruling_reference ON ruling (reference);
CREATE TABLE later_answer (
    reference TEXT PRIMARY KEY, time TEXT NOT NULL, verdict TEXT NOT NULL, revision INTEGER NOT NULL,
    entries TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE filed_report (
    reference TEXT, recipient TEXT, filed_as TEXT NOT NULL, actor TEXT NOT NULL, time TEXT NOT NULL,
    PRIMARY KEY (reference, recipient, filed_as)
) WITHOUT ROWID;
CREATE TABLE feedback (
    number INTEGER PRIMARY KEY,
    reference TEXT NOT NULL,
    entry TEXT NOT NULL,
    kind TEXT NOT NULL,
    comment TEXT NOT NULL,
    request_id TEXT NOT NULL,
    state TEXT NOT NULL,
    detail TEXT NOT NULL,
    time TEXT NOT NULL
);
CREATE INDEX feedback_state ON feedback (state);
CREATE INDEX feedback_reference ON feedback (reference);
CREATE INDEX feedback_entry ON feedback (entry);
CREATE TABLE hook_case (
    id TEXT PRIMARY KEY,
    state TEXT NOT NULL,
    outcome TEXT NOT NULL,
    change INTEGER NOT NULL,
    until TEXT NOT NULL,
    facts BLOB NOT NULL,
    stopped INTEGER NOT NULL DEFAULT 0,
    stopped_last TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE UNIQUE INDEX hook_case_change ON hook_case (change);
CREATE INDEX hook_case_state ON hook_case (state);
CREATE TABLE case_hash (
    case_id TEXT REFERENCES hook_case (id), algorithm TEXT, digest BLOB, variant TEXT NOT NULL,
    PRIMARY KEY (case_id, algorithm, digest)
) WITHOUT ROWID;
CREATE TABLE case_copy (
    case_id TEXT REFERENCES hook_case (id), place TEXT, how TEXT NOT NULL, state TEXT NOT NULL,
    time TEXT NOT NULL, actor TEXT NOT NULL, reason TEXT NOT NULL,
    PRIMARY KEY (case_id, place)
) WITHOUT ROWID;
CREATE TABLE case_scan (
    number INTEGER PRIMARY KEY, case_id TEXT REFERENCES hook_case (id), place TEXT NOT NULL, begin_time TEXT NOT NULL,
    end_time TEXT NOT NULL, looked INTEGER NOT NULL, unread INTEGER NOT NULL, copies INTEGER NOT NULL,
    partly INTEGER NOT NULL, partial BLOB NOT NULL
);
CREATE INDEX case_scan_case ON case_scan (case_id);
CREATE TABLE evidence_sample (
    sample TEXT, reference TEXT, position INTEGER NOT NULL, PRIMARY KEY (sample, reference)
) WITHOUT ROWID;
CREATE INDEX evidence_sample_reference ON evidence_sample (reference);
CREATE TABLE bucket_unanswered (place TEXT, name TEXT, time TEXT NOT NULL, PRIMARY KEY (place, name)) WITHOUT ROWID;
CREATE TABLE bucket_to_release (reference TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE vault_size (key INTEGER PRIMARY KEY CHECK (key = 1), bytes INTEGER NOT NULL);
CREATE TABLE forgotten (what TEXT, name TEXT, count INTEGER NOT NULL, PRIMARY KEY (what, name)) WITHOUT ROWID;
CREATE TABLE clock (
    key INTEGER PRIMARY KEY CHECK (key = 1), time TEXT NOT NULL, uptime REAL NOT NULL, boot TEXT NOT NULL,
    doubted REAL
);
"""

# What is asked at each upload, or every few seconds, is kept up to date: to count, add up or look through a million
# rows takes from a fifth of a second to half a minute.
_TRIGGERS: Final = (
    """CREATE TRIGGER upload_in AFTER INSERT ON upload BEGIN
        INSERT INTO upload_count VALUES (new.state, 1) ON CONFLICT DO UPDATE SET count = count + 1; END""",
    """CREATE TRIGGER upload_out AFTER DELETE ON upload BEGIN
        UPDATE upload_count SET count = count - 1 WHERE state = old.state; END""",
    """CREATE TRIGGER upload_on AFTER UPDATE OF state ON upload WHEN new.state != old.state BEGIN
        UPDATE upload_count SET count = count - 1 WHERE state = old.state;
        INSERT INTO upload_count VALUES (new.state, 1) ON CONFLICT DO UPDATE SET count = count + 1; END""",
    """CREATE TRIGGER upload_released_new AFTER INSERT ON upload
        WHEN new.state = 'RELEASED' AND new.door = 'bucket' BEGIN
        INSERT OR IGNORE INTO bucket_to_release VALUES (new.reference); END""",
    """CREATE TRIGGER upload_released AFTER UPDATE OF state ON upload
        WHEN new.state = 'RELEASED' AND old.state != 'RELEASED' AND new.door = 'bucket' BEGIN
        INSERT OR IGNORE INTO bucket_to_release VALUES (new.reference); END""",
    """CREATE TRIGGER vault_in AFTER INSERT ON vault_item WHEN new.erase_time IS NULL BEGIN
        UPDATE vault_size SET bytes = bytes + new.size; END""",
    """CREATE TRIGGER vault_out AFTER UPDATE OF erase_time ON vault_item
        WHEN old.erase_time IS NULL AND new.erase_time IS NOT NULL BEGIN
        UPDATE vault_size SET bytes = bytes - new.size; END""",
)

_STATEMENTS: Final = (*filter(None, map(str.strip, _SCHEMA.split(";"))), *_TRIGGERS)


class UploadState(StrEnum):
    """Where an upload that was not simply allowed stands. UNANSWERED: asked again once there can be an answer. HELD,
    BLOCKED: for people. RELEASED: let through after all. REMOVED: confirmed, and gone.
    """

    UNANSWERED = "UNANSWERED"
    HELD = "HELD"
    BLOCKED = "BLOCKED"
    RELEASED = "RELEASED"
    REMOVED = "REMOVED"


class DeskEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was done: when, by whom, what, to what, why. `subject` is a reference or a name."""

    number: int
    time: datetime
    actor: str
    kind: str
    subject: str
    reason: str = ""
    details: dict[str, Any] = {}


class Records:
    """The hook's own database. Several processes may share it; safe to be shared by threads."""

    def __init__(self, directory: Path) -> None:
        """Open or make it. Raises InvalidArgument if others can read the directory, Unavailable without use of it."""
        self._lock = threading.RLock()
        self._process = os.getpid()
        with self._file():
            try:
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                if directory.stat().st_mode & 0o077:
                    raise InvalidArgument.field(
                        "data", "can be read by others; chmod 700 it, or name another directory"
                    )
                self._path = path = directory / FILE_NAME
                self._db = connect(path, isolation_level=None, timeout=WAIT_SECONDS, check_same_thread=False)
            except OSError as e:
                raise Unavailable(f"the hook's data directory cannot be used ({e.strerror}); check its path") from e
            try:
                self._check_layout()  # before anything of another program's file is changed
                for pragma in ("journal_mode = WAL", "synchronous = FULL", "secure_delete = ON", "foreign_keys = ON"):
                    self._db.execute(f"PRAGMA {pragma}").close()
                with self.transaction():
                    if not self._check_layout():
                        for statement in _STATEMENTS:
                            self._db.execute(statement)
                        self._db.execute("INSERT INTO vault_size VALUES (1, 0)")
                        self._db.execute("INSERT INTO meta VALUES (1, ?)", (SCHEMA_VERSION,))
            except BaseException:
                self._db.close()
                raise

    def _check_layout(self) -> bool:
        """Return whether the file has its tables; False for an empty one. Raises FailedPrecondition for any others."""
        own = {" ".join(statement.split()) for statement in _STATEMENTS}
        # SQLite's own, such as what ANALYZE leaves, change nothing.
        rows = self.rows("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT GLOB 'sqlite_*'")
        there = {" ".join(sql.split()) for (sql,) in rows}
        if not there:
            return False
        has_version = " ".join(_STATEMENTS[0].split()) in there
        versions = [version for (version,) in self.rows("SELECT schema_version FROM meta")] if has_version else []
        if there == own and versions == [SCHEMA_VERSION]:
            return True
        of = f"of version {versions[0]}" if versions else "no hook's"
        other = "" if versions != [SCHEMA_VERSION] else ", but with other tables than this hashhub's"
        raise FailedPrecondition(
            f"the records in {FILE_NAME} are {of}{other}, and this hashhub reads version {SCHEMA_VERSION}; nothing in "
            "them was changed. Use the hashhub that wrote them, or another data directory"
        )

    def close(self) -> None:
        """Close the file."""
        # Behind a fork, or where another thread never lets go, it is closed as it is.
        is_taken = os.getpid() == self._process and self._lock.acquire(timeout=WAIT_SECONDS)
        try:
            self._db.close()
        finally:
            if is_taken:
                self._lock.release()

    @contextmanager
    def _file(self) -> Iterator[None]:
        """Have the file for this thread alone; what SQLite raises meanwhile becomes an error of the family."""
        if os.getpid() != self._process:  # SQLite's file would be damaged by both
            raise FailedPrecondition(
                "the hook was opened before this process was forked off; open it in each worker of the app"
            )
        if not self._lock.acquire(timeout=WAIT_SECONDS):
            raise Unavailable("the hook's records are busy; check the disk, and who else has opened hook.db")
        try:
            yield
        except sqlite3.DatabaseError as e:
            raise _ours(e) from e
        finally:
            self._lock.release()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make what is written within one change, or none. Nested ones belong to the outermost."""
        with self._file():
            if self._is_under_way():
                yield
                return
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                # SQLite ends it by itself when the disk is full. One that stays open would swallow all that follow.
                if self._is_under_way():
                    self._db.execute("ROLLBACK")
                raise

    def _is_under_way(self) -> bool:
        return self._db.in_transaction

    def rows(self, sql: str, values: Sequence[object] | Mapping[str, object] = ()) -> list[tuple[Any, ...]]:
        """Return what a statement reads."""
        with self._file():
            return self._db.execute(sql, values).fetchall()

    def structs(self, kind: type[T], sql: str, values: Sequence[object] = ()) -> list[T]:
        """Return what a statement reads as structs of a kind: its columns are named as their fields."""
        with self._file():
            cursor = self._db.execute(sql, values)
            names = [column[0] for column in cursor.description]
            rows = (dict(zip(names, row, strict=True)) for row in cursor)
            return [msgspec.convert(row, kind, strict=False) for row in rows]

    def many_rows(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Return what is committed, by a connection of its own, so that seconds of reading delay no upload."""
        try:
            with closing(sqlite3.connect(self._path, isolation_level=None, timeout=WAIT_SECONDS)) as own:
                own.execute("PRAGMA query_only = ON").close()
                return own.execute(sql, values).fetchall()
        except sqlite3.DatabaseError as e:
            raise _ours(e) from e

    def version(self) -> Version:
        """Return what differs after any change to the file, by whichever process."""
        with self._file():
            # The first is changed by what other connections commit, the second by what this one changes.
            return self._db.execute("PRAGMA data_version").fetchone()[0], self._db.total_changes

    def write(self, sql: str, values: Sequence[object] | Mapping[str, object] = ()) -> int:
        """Carry a statement out, and return how many rows it changed."""
        with self._file():
            return self._db.execute(sql, values).rowcount

    def note(self, kind: str, subject: str, reason: str = "", *, actor: str = HOOK, **details: object) -> DeskEvent:
        """Append an event to the chain. What it is about belongs into the same `transaction`."""
        with self.transaction():
            last = self.rows("SELECT number, digest FROM event ORDER BY number DESC LIMIT 1")
            number, before = last[0] if last else (0, b"")
            event = DeskEvent(
                number=number + 1, time=now(), actor=actor, kind=kind, subject=subject, reason=reason, details=details
            )
            self.write(
                "INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(event.number, event.time.isoformat(), actor, kind, subject, reason),
                    msgspec.json.encode(details, order="sorted").decode(),
                    _link(before, event),
                ),
            )
        return event

    def tally(self, counts: Mapping[tuple[str, str, str, str, str], int]) -> None:
        """Add to the number of decisions by (day, door, action, verdict, why there was no answer)."""
        with self.transaction():
            for key, count in counts.items():
                self.write(
                    "INSERT INTO tally VALUES (?, ?, ?, ?, ?, ?) "
                    "ON CONFLICT DO UPDATE SET count = count + excluded.count",
                    (*key, count),
                )

    def count(self, *states: UploadState) -> int:
        """Return how many uploads are in these states."""
        counts = dict(self.rows("SELECT state, count FROM upload_count"))
        return sum(counts.get(state, 0) for state in states)

    def add_upload(self, checked: DecisionRecord, state: UploadState, *, max_records: int) -> None:
        """Record an upload that was not simply allowed, and that it was. Raises LimitExceeded when there are so many
        without an answer, or so many held and blocked, that there is no room for it. Of what is held, half the room is
        for what somebody knows: files that nobody can read cost nothing to make.
        """
        decision = checked.decision
        if state is not UploadState.UNANSWERED and decision.verdict is Verdict.UNAVAILABLE:
            max_records -= max_records // 2
        with self.transaction():
            of_its_kind = (state,) if state is UploadState.UNANSWERED else (UploadState.HELD, UploadState.BLOCKED)
            if self.count(*of_its_kind) >= max_records:
                raise LimitExceeded(
                    f"{max_records} uploads that are {' or '.join(of_its_kind)} are recorded, as many as may be; "
                    "decide over some, or raise max_records"
                )
            self.write(
                "INSERT INTO upload VALUES (?, ?, ?, ?, ?, ?)",
                (
                    *(decision.reference, checked.time.isoformat(), state, checked.door, checked.upload_id),
                    msgspec.msgpack.encode(checked),
                ),
            )
            self.note(
                f"upload.{state.lower()}",
                decision.reference,
                action=decision.action,
                verdict=decision.verdict,
                noAnswer=decision.no_answer or "",
            )

    def get_upload(self, reference: str) -> tuple[UploadState, DecisionRecord] | None:
        """Return an upload's state and what was known of it; None if it is not recorded. Raises DataLoss."""
        rows = self.rows("SELECT state, checked FROM upload WHERE reference = ?", (reference,))
        if not rows:
            return None
        return UploadState(rows[0][0]), read_checked(rows[0][1], reference)

    def set_upload(self, state: UploadState, checked: DecisionRecord) -> None:
        """Replace an upload's state and what is known of it. The event belongs into the same `transaction`."""
        self.write(
            "UPDATE upload SET state = ?, checked = ? WHERE reference = ?",
            (state, msgspec.msgpack.encode(checked), checked.decision.reference),
        )

    def add_reasons(self, state: UploadState, recorded: DecisionRecord, checked: DecisionRecord) -> bool:
        """Record what else speaks about an upload by a later decision; return False where it is recorded otherwise
        meanwhile, or a person has looked at it: whatever they say next is about what they saw.
        """
        reference = recorded.decision.reference
        with self.transaction():
            if self.get_upload(reference) != (state, recorded) or self.rows(
                "SELECT 1 FROM event WHERE subject = ? AND actor <> ? LIMIT 1", (reference, HOOK)
            ):
                return False
            decision = msgspec.structs.replace(checked.decision, reference=reference)
            hashes = tuple(dict.fromkeys((*recorded.hashes, *checked.hashes)))
            more = msgspec.structs.replace(recorded, decision=decision, hashes=hashes, result=checked.result)
            self.set_upload(state, more)
            self.note("upload.reasons_added", reference, revision=decision.revision)
        return True

    def is_ruled(self, reference: str) -> bool:
        """Return whether a person has decided over an upload."""
        return bool(self.rows("SELECT 1 FROM ruling WHERE reference = ? LIMIT 1", (reference,)))

    def events(self, *, subject: str | None = None) -> list[DeskEvent]:
        """Return the events, the oldest first: all, which may be more than memory holds, or those about one subject."""
        where, values = ("", ()) if subject is None else ("WHERE subject = ?", (subject,))
        return [_event(row) for row in self.rows(f"SELECT * FROM event {where} ORDER BY number", values)]  # noqa: S608

    def each(self, sql: str, values: Mapping[str, object], *, most: int = 200) -> Iterator[tuple[Any, ...]]:
        """Yield what a statement reads, `most` rows at a time, so that others write meanwhile and memory is bounded.
        The statement has `:most`, and `:after`, the first column of the last row, by which it is ordered.
        """
        while rows := self.rows(sql, {**values, "most": most}):
            yield from rows
            values = {**values, "after": rows[-1][0]}

    def chain(self) -> Iterator[tuple[DeskEvent, bool]]:
        """Yield the events that there are now, the oldest first, each with whether the chain is whole up to it."""
        before = b""
        is_whole = True
        [(last,)] = self.rows("SELECT max(number) FROM event")
        sql = "SELECT * FROM event WHERE number > :after AND number <= :last ORDER BY number LIMIT :most"
        # One that was put before the first shows as well.
        rows = self.each(sql, {"after": -(1 << 63), "last": last}, most=_READ_ROWS)
        for count, (*row, digest) in enumerate(rows, 1):
            event = _event((*row, digest))
            is_whole = is_whole and event.number == count and _link(before, event) == digest
            before = digest
            yield event, is_whole

    def verify(self) -> int:
        """Return how many events there are. Raises DataLoss when one was changed or taken out of the chain."""
        count = 0
        for count, (_, is_whole) in enumerate(self.chain(), 1):
            if not is_whole:
                raise broken(count)
        return count


def broken(number: int) -> DataLoss:
    """Return the error for a chain of events that does not hold at this one."""
    return DataLoss(
        f"the hook's record of what was done is broken at event {number}: it was changed or one is missing; keep the "
        "file, restore a backup beside it and compare",
        reason=Reason.HISTORY_BROKEN,
    )


def _event(row: Sequence[Any]) -> DeskEvent:
    number, time, actor, kind, subject, reason, details, _ = row
    return DeskEvent(
        number=number,
        time=datetime.fromisoformat(time),
        actor=actor,
        kind=kind,
        subject=subject,
        reason=reason,
        details=msgspec.json.decode(details),
    )


def _link(before: bytes, event: DeskEvent) -> bytes:
    return hashlib.sha256(before + msgspec.json.encode(event, order="sorted")).digest()


def _ours(error: sqlite3.DatabaseError) -> HashHubError:
    if not isinstance(error, sqlite3.OperationalError):
        return DataLoss("the hook's records are damaged; keep the file and restore a backup")
    if "full" in str(error):
        return LimitExceeded("there is no room for the hook's records; make room on the disk", reason=Reason.DISK_FULL)
    return Unavailable("the hook's records cannot be read or written now; check the disk and try again")
