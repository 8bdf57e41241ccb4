"""Withdrawals on record outside the database: a start after a restored backup finds those that the backup lacks, and applies them again.

`withdrawals.log` in the data directory has one JSON object a line, appended and synchronised to the disk before a call that withdrew
returns: which entries, why, and by which event. An entry is told by its id and a keyed commitment to its name and import, so that another
entry that has its number in a restored database is not taken for it; no digest and no external id stands in the file. What restores entries is written down, too, so that nothing is withdrawn again that was
restored since.

Each process of a hub appends what is missing when it sees that the database moved; the file is locked meanwhile, and whoever comes second
finds nothing missing.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import hmac
import logging
import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import msgspec

from hashhub.errors import HashHubError, Unavailable
from hashhub.hygiene import Code
from hashhub.model import SYSTEM, EntryState, EventKind, Role, Withdrawal, WithdrawalReason
from hashhub.store import BY_SOURCE, IdSet, Origin, Position

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hashhub.model import Entry, Event
    from hashhub.store import Store

_log = logging.getLogger(__name__)
FILE_NAME: Final = "withdrawals.log"
REAPPLIED: Final = "REAPPLIED_AFTER_RESTORE"
_COMMITMENT_BYTES: Final = 16
_PIECE: Final = 10_000  # entries read at a time
_PAGE: Final = 1_000  # events read at a time
_KINDS: Final = (
    EventKind.ENTRIES_WITHDRAWN,
    EventKind.IMPORT_COMMITTED,
    EventKind.ENTRIES_RESTORED,
    EventKind.ENTRY_ERASED,
)


class _Line(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One event that withdrew, erased or restored entries. `ids` is base64 of the packed set, empty for the whole range.

    `commitments`: base64 of 16 bytes for each entry, in the order of ids; none for restored ones.
    """

    database: str
    revision: int
    digest: str
    kind: str
    hash_set: str = ""
    reason: str = ""
    origin: str = ""
    actor: str = ""
    role: str = ""
    first: int
    last: int
    ids: str = ""
    commitments: str = ""

    @property
    def position(self) -> Position:
        return Position(self.revision, bytes.fromhex(self.digest))

    @property
    def entries(self) -> IdSet:
        return IdSet(self.first, self.last, base64.b64decode(self.ids) if self.ids else None)


class WithdrawalLog:
    """The file of one data directory, for one database."""

    def __init__(self, path: Path, store: Store) -> None:
        """Nothing is read or written yet."""
        self._path = path
        self._store = store
        self._lock = threading.Lock()
        self._written: int | None = None  # the last revision that is looked after in the file; None: not looked yet
        self._size = -1  # of the file when that was known
        self.warning = ""

    def follow(self) -> bool:
        """Append what is missing; when that fails, say so in `warning` and the log, and return False: a withdrawal matters more."""
        try:
            self.append_missing()
        except HashHubError as e:
            self.warning = e.message
            _log.warning(self.warning)
            return False
        self.warning = ""
        return True

    def append_missing(self) -> None:
        """Append what the database did since the last line and the file lacks. Raises Unavailable when it cannot be written."""
        with self._lock:
            position = self._store.position()
            if self._written is not None and self._written >= position.revision:
                return
            try:
                with self._opened() as file:
                    after = self._last_revision(file)
                    for event in self._events(after):
                        for line in self._lines(event):
                            os.write(file, msgspec.json.encode(line) + b"\n")
                            os.fsync(file)
                    self._size = os.fstat(file).st_size
            except OSError as e:
                raise Unavailable(
                    f"withdrawals cannot be written to {FILE_NAME} in the data directory ({e.strerror}); they stand in the database, and are "
                    "written down once that is possible"
                ) from e
            self._written = position.revision

    def reapply(self) -> int:
        """Withdraw again what this database lacks because it was restored from a backup; return how many entries that were.

        Only for a start, before anybody reads: an entry is withdrawn again if it exists, is the same, and is not withdrawn.
        """
        lacking: list[_Line] = []
        for line in reversed(list(self._read())):
            if line.database != self._store.database_id:
                continue
            if self._store.has_been_at(line.position):
                break  # and so is everything before
            lacking.append(line)
        count = 0
        restored_later: set[int] = set()
        # The newest first: what was restored after a withdrawal is not withdrawn again.
        for line in lacking:
            if line.kind == EventKind.ENTRIES_RESTORED:
                restored_later.update(int(i) for piece in line.entries.pieces(_PIECE) for i in piece)
            else:
                count += self._apply(line, restored_later)
        if count:
            _log.warning(
                "the database was restored from an older backup: %d entries that had been withdrawn since were withdrawn again",
                count,
            )
        return count

    def _apply(self, line: _Line, but: set[int]) -> int:
        commitments = base64.b64decode(line.commitments)
        count = at = 0
        for piece in line.entries.pieces(_PIECE):
            entries = self._store.get_entries(piece.tolist())
            chosen: list[Entry] = []
            for i in piece.tolist():
                entry = entries.get(i)
                if (
                    entry is not None
                    and i not in but
                    and hmac.compare_digest(self._commitment(entry), commitments[at : at + _COMMITMENT_BYTES])
                ):
                    chosen.append(entry)
                at += _COMMITMENT_BYTES
            if line.kind == EventKind.ENTRY_ERASED:
                for entry in chosen:
                    if Code.ERASED not in entry.reasons:
                        self._store.erase_entry(entry.id, secret=self._store.secret, by=SYSTEM, reason=REAPPLIED)
                        count += 1
                continue
            live = [entry.id for entry in chosen if entry.state is not EntryState.WITHDRAWN]
            if live:
                self._store.withdraw_entries(
                    live,
                    _code(line),
                    by=SYSTEM,
                    subject=f"hash-sets/{line.hash_set}",
                    reason=REAPPLIED,
                    facts={"lost_revision": line.revision},
                    origin=Origin(line.origin) if line.origin else None,
                    withdrawal=Withdrawal(reason=WithdrawalReason(line.reason), actor=line.actor, role=Role(line.role))
                    if line.reason in set(WithdrawalReason)
                    else None,
                )
                count += len(live)
        return count

    def _events(self, after: int) -> Iterator[Event]:
        """Yield the events of the kinds that matter behind a revision, the oldest first."""
        found: list[Event] = []
        before = 0
        while page := self._store.list_events(kinds=_KINDS, before_revision=before, after_revision=after, limit=_PAGE):
            found += page
            before = page[-1].revision
        return reversed(found)

    def _lines(self, event: Event) -> Iterator[_Line]:
        changes = self._store.changes_at(event.revision)
        if event.kind is EventKind.ENTRIES_RESTORED:
            chosen = [ids for kind, ids in changes if kind in {"UPSERT", "REVIEWED"}]
        elif event.kind is EventKind.IMPORT_COMMITTED:
            # What the source's own deletion messages withdrew is the first change of the revision.
            chosen = [ids for kind, ids in changes if kind == "WITHDRAW"][:1] if event.facts.get(BY_SOURCE) else []
        else:
            chosen = [ids for kind, ids in changes if kind == "WITHDRAW"]
        for ids in chosen:
            commitments = bytearray()
            hash_set = ""
            for piece in ids.pieces(_PIECE):
                for entry in self._store.get_entries(piece.tolist()).values():
                    hash_set = f"{entry.contributor}/{entry.hash_set}"
                    commitments += self._commitment(entry)
            yield _Line(
                database=self._store.database_id,
                revision=event.revision,
                digest=event.digest.hex(),
                kind=event.kind,
                hash_set=hash_set,
                reason=event.reason,
                origin=Origin.SOURCE
                if event.kind is EventKind.IMPORT_COMMITTED
                else str(event.facts.get("origin", "")),
                actor=event.actor.name,
                role=event.actor.role,
                first=ids.first,
                last=ids.last,
                ids=base64.b64encode(ids.packed).decode() if ids.packed else "",
                commitments=""
                if event.kind is EventKind.ENTRIES_RESTORED
                else base64.b64encode(bytes(commitments)).decode(),
            )

    def _commitment(self, entry: Entry) -> bytes:
        """Return what tells whether an entry is the same, and nothing else. Import ids are random, and outlast an erasure."""
        parts = [entry.name, entry.provenance.import_id, str(entry.create_revision)]
        return hmac.digest(self._store.secret, "\0".join(["withdrawal", *parts]).encode(), hashlib.sha256)[
            :_COMMITMENT_BYTES
        ]

    @contextmanager
    def _opened(self) -> Iterator[int]:
        file = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file
        finally:
            os.close(file)

    def _last_revision(self, file: int) -> int:
        """Return up to which revision the file knows this database; end a line that a crash cut off."""
        size = os.fstat(file).st_size
        if self._written is not None and size == self._size:
            return self._written
        if size and os.pread(file, 1, size - 1) != b"\n":
            os.write(file, b"\n")
        last = 0
        for line in self._read():
            if line.database == self._store.database_id and self._store.has_been_at(line.position):
                last = max(last, line.revision)
        return max(last, self._written or 0)

    def _read(self) -> Iterator[_Line]:
        """Yield the lines that can be read: one that a crash cut off is no line."""
        try:
            with self._path.open("rb") as lines:
                for text in lines:
                    try:
                        yield msgspec.json.decode(text, type=_Line)
                    except msgspec.DecodeError:
                        continue
        except FileNotFoundError:
            return
        except OSError as e:
            raise HashHubError(f"{FILE_NAME} in the data directory cannot be read ({e.strerror}); correct that") from e


def _code(line: _Line) -> str:
    if line.kind == EventKind.IMPORT_COMMITTED:
        return Code.WITHDRAWN_BY_SOURCE
    return Code.WITHDRAWN_BY_OPERATOR if line.role == Role.OPERATOR else Code.WITHDRAWN_BY_CONTRIBUTOR
