"""Withdrawals on record outside the database: a start after a restored backup applies again those that it lacks.

`withdrawals.log` in the data directory has one JSON object a line, on the disk before a call that withdrew returns.
Entries are told by ids and keyed commitments, items by keyed traces, never by a digest or external id. Restored entries
are written down, too, and tokens and contributors that were shut out or changed; of secrets SHA-256. Each process of a
hub appends what is missing when the database moved; the file is locked meanwhile.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import itertools
import logging
import os
import threading
from collections import defaultdict
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import msgspec

from hashhub.errors import FailedPrecondition, HashHubError, NotFound, Unavailable
from hashhub.frames import known_by
from hashhub.hub.intake.identity import HeldItems
from hashhub.hygiene import Code
from hashhub.local_files import lock_file, write_all
from hashhub.model import SYSTEM, EntryState, EventKind, Principal, Role, Withdrawal, WithdrawalReason, now
from hashhub.store import BY_SOURCE, IdSet, Origin, Position, TransitionCommand, WithdrawalByHand, trace_of
from hashhub.store.holds import HeldItem, Hold, traces_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from io import FileIO
    from pathlib import Path

    from hashhub.model import Entry, Event
    from hashhub.store import Store
    from hashhub.store.holds import LiveItem

_log = logging.getLogger(__name__)
FILE_NAME: Final = "withdrawals.log"
REAPPLIED: Final = "REAPPLIED_AFTER_RESTORE"
_TRACE: Final = 16  # bytes of a commitment, and of a trace
_PIECE: Final = 10_000  # entries read at a time
_PAGE: Final = 1_000  # events read at a time
_KINDS: Final = (
    EventKind.ENTRIES_WITHDRAWN,
    EventKind.IMPORT_COMMITTED,
    EventKind.ENTRIES_RESTORED,
    EventKind.ENTRY_ERASED,
    EventKind.HASH_SET_DELETED,
)
_OF_TOKENS: Final = (EventKind.TOKEN_DELETED, EventKind.TOKEN_ROTATED, EventKind.TOKEN_UPDATED)
_OF_ACCESS: Final = (*_OF_TOKENS, EventKind.CONTRIBUTOR_RETIRED)
_NOT_OF_TOKENS: Final = {"name", "create_time", "last_use_time", "by_old_secret"}  # what an update does not change


class _Line(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One event that withdrew, erased or restored entries. `ids` is base64 of the packed set, empty for the whole
    range.

    `commitments`: base64 of 16 bytes for each entry, in the order of ids; none for restored ones. `traces`: for each
    entry, see `_pack`. `goes_on`: the event has further lines. Of the kind REAPPLIED: everything before was looked
    after.

    `subject`: the token or contributor of an event about who may call, which has no entries; `token`, `secret` and
    `until`: what the token was then (None: deleted), its secret's SHA-256, and until when the one before works.
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
    first: int = 0
    last: int = 0
    ids: str = ""
    commitments: str = ""
    traces: tuple[str, ...] = ()
    goes_on: bool = False
    subject: str = ""
    token: Principal | None = None
    secret: str = ""
    until: datetime | None = None

    @property
    def position(self) -> Position:
        return Position(self.revision, bytes.fromhex(self.digest))

    @property
    def entries(self) -> IdSet:
        return IdSet(self.first, self.last, base64.b64decode(self.ids) if self.ids else None)


class WithdrawalLog:
    """The file of one data directory, for one database."""

    def __init__(self, path: Path, store: Store) -> None:
        self._path = path
        self._store = store
        self._lock = threading.Lock()
        self._written: int | None = None  # the last revision that is looked after in the file; None: not looked yet
        self._size = -1  # of the file when that was known
        self.warning = ""

    def follow(self) -> bool:
        """Append what is missing; when that fails, say so in `warning` and the log, and return False."""
        try:
            self.append_missing()
        except HashHubError as e:
            self.warning = e.message
            _log.warning(self.warning)
            return False
        self.warning = ""
        return True

    def append_missing(self) -> None:
        """Append what the database did and the file lacks. Raises Unavailable."""
        with self._lock:
            position = self._store.history.position()
            if self._written is not None and self._written >= position.revision:
                return
            try:
                with self._opened() as file:
                    written = self._last_revision(file)
                    for event in self._events(written):
                        self._append(file, self._lines(event))
                        written = event.revision  # may be of a moment after `position`
                    self._size = os.fstat(file).st_size
            except OSError as e:
                raise Unavailable(
                    f"withdrawals cannot be written to {FILE_NAME} in the data directory ({e.strerror}); they stand in "
                    "the database, and are written down once that is possible"
                ) from e
            self._written = max(position.revision, written)

    def reapply(self) -> int:
        """Withdraw again what this database lacks because it was restored from a backup; return how many entries. Only
        for a start. An entry that the log names is withdrawn if it is the same and stands. Otherwise the entries that
        state the same item are, in all hash sets where the withdrawal held; where there is none, the item is held, so
        that the next list does not bring it back.
        """
        present = self._store.revision()
        lacking: list[_Line] = []
        for line in reversed(list(self._read())):
            if line.database != self._store.database_id:
                continue
            if line.revision <= present and self._store.history.has_been_at(line.position):
                break  # and so is everything before
            lacking.append(line)
        if not lacking:
            return 0
        self._shut_out(lacking)
        again = _WithdrawalReplay(self._store)
        stated = self._stated(lacking)
        while piece := list(itertools.islice(stated, _PIECE)):
            entries = self._store.entries.get_entries([one.entry_id for one in piece])
            for one in piece:
                entry = entries.get(one.entry_id)
                is_same = entry is not None and hmac.compare_digest(self._commitment(entry), one.commitment)
                again.take(one, entry if is_same else None)
        entry_count, item_count = again.carry_out()
        if self.follow():  # the next start need not look at all of the lines again
            line = self._line(self._store.history.position(), REAPPLIED)
            with self._lock, contextlib.suppress(OSError), self._opened() as file:
                self._append(file, [line])
        if entry_count or item_count:
            _log.warning(
                "the database was restored from an older backup: %d entries that had been withdrawn since were "
                "withdrawn again, and %d withdrawn items of which it has no entry are held",
                entry_count,
                item_count,
            )
        return entry_count

    def _shut_out(self, lines: Iterable[_Line]) -> None:
        """Make tokens what lines, the newest first, say that they were, and retire contributors again."""
        done: set[str] = set()
        for line in lines:
            if line.subject and line.subject not in done:
                done.add(line.subject)
                try:
                    if line.kind == EventKind.CONTRIBUTOR_RETIRED:
                        self._store.resources.retire_contributor(line.subject.partition("/")[2], comment=REAPPLIED)
                    else:
                        self._renew_token(line)
                except NotFound:  # made after the backup: there is nothing that lets anybody in
                    continue
                except FailedPrecondition as e:  # its token is the only operator's that the backup has
                    _log.warning("%s was retired after the backup, and could not be again: %s", line.subject, e.message)
        if done:
            _log.warning(
                "the database was restored from an older backup, in which these were as they had been before: %s; "
                "they are what they were last; terms and groups are those of the backup: look through them",
                ", ".join(sorted(done)),
            )

    def _renew_token(self, line: _Line) -> None:
        name, tokens = line.subject.partition("/")[2], self._store.tokens
        if line.token is None:
            try:
                tokens.delete_token(name)
            except FailedPrecondition:  # the backup's terms name it
                tokens.update_token(name, {"expire_time": now()})
            return
        fields = {f: getattr(line.token, f) for f in Principal.__struct_fields__ if f not in _NOT_OF_TOKENS}
        tokens.update_token(name, fields)
        secret = bytes.fromhex(line.secret)
        if tokens.secret_of(name)[0] != secret:
            tokens.rotate_token(name, secret, line.until or now())

    def _stated(self, lines: Iterable[_Line]) -> Iterator[_LoggedWithdrawal]:
        """Yield what lines, the newest first, withdrew or erased, but for what was restored later."""
        restored_ids: set[int] = set()
        restored_items: dict[str, set[bytes]] = defaultdict(set)  # by hash set, and by contributor
        for line in lines:
            if line.kind == REAPPLIED or line.subject:
                continue
            ids = (int(i) for piece in line.entries.pieces(_PIECE) for i in piece)
            items = map(_unpack, line.traces)
            if line.kind == EventKind.ENTRIES_RESTORED:
                restored_ids.update(ids)
                for name, others in items:
                    for scope in (line.hash_set, line.hash_set.partition("/")[0]):
                        restored_items[scope] |= others | ({name} if name else set())
                continue
            cause = _Cause.of(line)
            scope = line.hash_set.partition("/")[0] if cause.is_everywhere else line.hash_set
            commitments = base64.b64decode(line.commitments)
            for at, entry_id in enumerate(ids):
                name, others = next(items, (b"", frozenset[bytes]()))
                if entry_id in restored_ids:
                    continue
                if not restored_items[scope].isdisjoint(others | {name}):
                    name, others = b"", frozenset()
                commitment = commitments[at * _TRACE : (at + 1) * _TRACE]
                yield _LoggedWithdrawal(entry_id, commitment, cause, line, name, others)

    def _append(self, file: int, lines: Iterable[_Line]) -> None:
        """Append the lines of one event, all of them or none. Raises OSError."""
        begun = os.fstat(file).st_size
        try:
            left = iter(lines)
            following = next(left, None)
            while (line := following) is not None:
                following = next(left, None)
                marked = msgspec.structs.replace(line, goes_on=following is not None)
                write_all(file, msgspec.json.encode(marked) + b"\n")
            os.fsync(file)
        except BaseException:
            os.ftruncate(file, begun)
            raise

    def _events(self, after: int) -> Iterator[Event]:
        """Yield the events of the kinds that matter behind a revision, the oldest first."""
        newest_first: list[Event] = []
        before = 0
        while page := self._store.history.list_events(
            kinds=(*_KINDS, *_OF_ACCESS), before_revision=before, after_revision=after, limit=_PAGE
        ):
            newest_first += page
            before = page[-1].revision
        return reversed(newest_first)

    def _lines(self, event: Event) -> Iterator[_Line]:
        if event.kind in _OF_ACCESS:
            yield self._line_about_access(event)
            return
        is_import, is_restored = event.kind is EventKind.IMPORT_COMMITTED, event.kind is EventKind.ENTRIES_RESTORED
        kinds = {"UPSERT", "REVIEWED"} if is_restored else {"WITHDRAW"}
        chosen = [ids for kind, ids in self._store.feeds.changes_at(event.revision) if kind in kinds]
        if is_import:  # what the source's own deletion messages withdrew is the first change of the revision
            chosen = chosen[:1] if event.facts.get(BY_SOURCE) else []
        if event.kind is EventKind.ENTRIES_WITHDRAWN and event.subject.startswith("entries/"):
            # One that was withdrawn already changes nothing but its hold.
            own = self._store.entries.id_of(event.subject.removeprefix("entries/"))
            if not any(own in piece for ids in chosen for piece in ids.pieces(_PIECE)):
                chosen = [*chosen, IdSet(own, own)]
        elif event.kind is EventKind.ENTRIES_WITHDRAWN and "held_again" in event.facts:
            undo = self._store.history.undo_of(event.revision)
            chosen += [IdSet(*undo["again"])] if undo else []
        for ids in chosen:
            commitments = bytearray()
            traces: list[str] = []
            hash_set = ""
            for piece in ids.pieces(_PIECE):
                known = self._store.entries.get_entries(piece.tolist())
                for entry_id in piece.tolist():
                    entry = known.get(entry_id)
                    if entry is None:  # deleted with its hash set before it was written down here
                        commitments += bytes(_TRACE)
                        traces.append(_pack(b"", ()))
                        continue
                    hash_set = f"{entry.contributor}/{entry.hash_set}"
                    commitments += self._commitment(entry)
                    traces.append(self._traces(entry))
            yield self._line(
                event,
                event.kind,
                hash_set=hash_set,
                reason=event.reason,
                origin=Origin.SOURCE if is_import else str(event.facts.get("origin", "")),
                actor=event.actor.name,
                role=event.actor.role,
                first=ids.first,
                last=ids.last,
                ids=base64.b64encode(ids.packed).decode() if ids.packed else "",
                commitments="" if is_restored else base64.b64encode(commitments).decode(),
                traces=tuple(traces),
            )

    def _line_about_access(self, event: Event) -> _Line:
        token, secret, until = None, b"", None
        if event.kind in _OF_TOKENS:
            name = event.subject.partition("/")[2]
            token = next((t for t in self._store.tokens.list_tokens() if t.name == name), None)
            secret, until = self._store.tokens.secret_of(name)
        return self._line(event, event.kind, subject=event.subject, token=token, secret=secret.hex(), until=until)

    def _line(self, at: Event | Position, kind: str, **fields: Any) -> _Line:
        return _Line(
            database=self._store.database_id, revision=at.revision, digest=at.digest.hex(), kind=kind, **fields
        )

    def _traces(self, entry: Entry) -> str:
        """Return by what an entry's item is known, as `_unpack` reads it; of an erased one what its hold knows."""
        secret = self._store.secret
        if Code.ERASED in entry.reasons:
            return _pack(b"", self._store.holds.erased_traces(entry.id))
        name = trace_of(secret, "EXTERNAL_ID", entry.external_id.encode()) if entry.external_id else b""
        return _pack(name, traces_of(secret, entry.external_id, known_by(entry)) - {name})

    def _commitment(self, entry: Entry) -> bytes:
        """Return what tells whether an entry is the same, and nothing else. Import ids outlast an erasure."""
        parts = [entry.name, entry.provenance.import_id, str(entry.create_revision)]
        return hmac.digest(self._store.secret, "\0".join(["withdrawal", *parts]).encode(), hashlib.sha256)[:_TRACE]

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int]:
        with cast("FileIO", lock_file(self._path, wait=True)) as opened:
            file = opened.fileno()
            size = os.fstat(file).st_size
            if size and os.pread(file, 1, size - 1) != b"\n":  # of a line that a crash cut off
                os.write(file, b"\n")
            yield file

    def _last_revision(self, file: int) -> int:
        """Return up to which revision the file knows this database."""
        size = os.fstat(file).st_size
        if self._written is not None and size == self._size:
            return self._written
        present = self._store.revision()
        # An event of which a crash cut lines off is written down anew.
        ours = [
            x for x in self._read() if x.database == self._store.database_id and x.revision <= present and not x.goes_on
        ]
        ours.sort(key=lambda line: line.revision, reverse=True)
        last = next((line.revision for line in ours if self._store.history.has_been_at(line.position)), 0)
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


class _Cause(NamedTuple):
    """Why and by whom something was withdrawn: what is written again for all that have it in common."""

    code: str
    origin: Origin | None
    reason: str
    actor: str
    role: str

    @classmethod
    def of(cls, line: _Line) -> _Cause:
        origin = Origin(line.origin) if line.origin else None
        if line.kind == EventKind.ENTRY_ERASED:
            origin = Origin.OPERATOR
        code = Code.WITHDRAWN_BY_OPERATOR if line.role == Role.OPERATOR else Code.WITHDRAWN_BY_CONTRIBUTOR
        if line.kind == EventKind.IMPORT_COMMITTED:
            code = Code.WITHDRAWN_BY_SOURCE
        return cls(code, origin, line.reason, line.actor, line.role)

    @property
    def is_everywhere(self) -> bool:
        """Whether it holds in all hash sets of the contributor."""
        return self.origin is not None and self.origin.is_operators

    @property
    def withdrawal(self) -> Withdrawal | None:
        if self.reason not in set(WithdrawalReason):
            return None
        return Withdrawal(reason=WithdrawalReason(self.reason), actor=self.actor, role=Role(self.role))


class _LoggedWithdrawal(NamedTuple):
    """One entry that a line withdrew. `name`, `others`: its item's traces; empty where unknown or restored since."""

    entry_id: int
    commitment: bytes
    cause: _Cause
    line: _Line
    name: bytes
    others: frozenset[bytes]

    @property
    def traces(self) -> frozenset[bytes]:
        return self.others | ({self.name} if self.name else set())


class _WithdrawalReplay:
    """What is to be withdrawn again, gathered from all lines, so that it takes a few large writes."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._ids: dict[tuple[str, _Cause], set[int]] = defaultdict(set)  # by hash set and cause
        self._chosen: set[int] = set()
        self._erased: list[int] = []
        # What the database has as withdrawn, maybe for a reason that holds nothing.
        self._gone: list[_LoggedWithdrawal] = []
        # By contributor: what has no entry of its own.
        self._items: dict[str, list[_LoggedWithdrawal]] = defaultdict(list)
        self._last_revision = 0

    def take(self, one: _LoggedWithdrawal, entry: Entry | None) -> None:
        """Take in what a line withdrew, the newest first; `entry`: that very one as the database has it."""
        self._last_revision = max(self._last_revision, one.line.revision)
        if one.line.kind == EventKind.ENTRY_ERASED and entry is not None and Code.ERASED not in entry.reasons:
            self._erased.append(entry.id)
        elif entry is not None and entry.state is EntryState.WITHDRAWN:
            self._gone.append(one)
        elif entry is not None:
            self._choose(f"{entry.contributor}/{entry.hash_set}", entry.id, one.cause)
        elif one.cause.origin is not None and one.traces:
            self._items[one.line.hash_set.partition("/")[0]].append(one)

    def carry_out(self) -> tuple[int, int]:
        """Write it; return the numbers of entries withdrawn or erased, and of items that are held without an entry."""
        held: list[HeldItem] = []
        sets = [name.partition("/")[::2] for name in self._store.resources.hash_sets()]
        for contributor, items in self._items.items():
            own_sets = [set_id for owner, set_id in sets if owner == contributor]
            held += self._choose_by_item(contributor, own_sets, items)
        for entry_id in self._erased:
            self._store.deletions.erase(entry_id, by=SYSTEM, reason=REAPPLIED)
        count = len(self._erased)
        for (name, cause), chosen in self._ids.items():
            ids = sorted(chosen.difference(self._erased))
            count += len(ids)
            for low in range(0, len(ids), _PIECE):
                self._store.transitions.withdraw(
                    ids[low : low + _PIECE],
                    cause.code,
                    by=SYSTEM,
                    subject=f"hash-sets/{name}",
                    reason=REAPPLIED,
                    facts={"lost_revision": self._last_revision},
                    origin=cause.origin,
                    withdrawal=cause.withdrawal,
                )
        for one in self._gone:
            withdrawal = one.cause.withdrawal
            if withdrawal is not None and one.cause.origin is not None:
                # Refused where a newer statement stands: that one has a line of its own if it was withdrawn, too.
                with contextlib.suppress(FailedPrecondition):
                    self._store.transitions.withdraw_by_hand(
                        [one.entry_id],
                        WithdrawalByHand(withdrawal, one.cause.origin, one.cause.code),
                        TransitionCommand(SYSTEM, is_single=True),
                    )
        if held:
            self._store.holds.hold_items(
                held, by=SYSTEM, reason=REAPPLIED, facts={"lost_revision": self._last_revision}
            )
        return count, len(held)

    def _choose(self, name: str, entry_id: int, cause: _Cause) -> None:
        if entry_id not in self._chosen:
            self._chosen.add(entry_id)
            self._ids[name, cause].add(entry_id)

    def _choose_by_item(
        self, contributor: str, own_sets: Sequence[str], items: Sequence[_LoggedWithdrawal]
    ) -> Iterator[HeldItem]:
        """Choose the live entries about the same items; yield the items of which there is none."""
        number_of = dict(enumerate(items, 1))
        without = set(number_of)
        done: set[tuple[str, frozenset[bytes]]] = set()
        for set_id in own_sets:
            name = f"{contributor}/{set_id}"
            done |= {(h.hash_set, h.traces) for h in self._store.holds.of_set(contributor, set_id) if h.entry_id < 0}
            holds = [
                Hold(number, "", EntryState.WITHDRAWN, Origin.OPERATOR, number, traces=one.traces)
                for number, one in number_of.items()
                if one.cause.is_everywhere or one.line.hash_set == name
            ]
            if not holds:
                continue
            held = HeldItems(holds, partial(trace_of, self._store.secret))
            self._store.commits.settle()
            for item in self._store.holds.live_items(contributor, set_id):
                for hold in held.about(item):
                    one = number_of[hold.entry_id]
                    if one.cause.is_everywhere or not self._is_a_sibling(item, one):
                        self._choose(name, item.entry_id, one.cause)
                        without.discard(hold.entry_id)
        for number in sorted(without):
            one = number_of[number]
            hash_set = "" if one.cause.is_everywhere else one.line.hash_set.partition("/")[2]
            if one.cause.origin is not None and (hash_set, one.traces) not in done:
                done.add((hash_set, one.traces))
                yield HeldItem(contributor, hash_set, one.cause.origin, one.traces)

    def _is_a_sibling(self, item: LiveItem, one: _LoggedWithdrawal) -> bool:
        """Whether both have external ids, and different ones: then they are two entries of one file."""
        if not item.external_id or not one.name:
            return False
        return trace_of(self._store.secret, "EXTERNAL_ID", item.external_id.encode()) != one.name


def _pack(name: bytes, others: Iterable[bytes]) -> str:
    """Return the traces of an item as text: that of its external id, zeros without one, and then the others."""
    return base64.b64encode((name or bytes(_TRACE)) + b"".join(sorted(others))).decode()


def _unpack(text: str) -> tuple[bytes, frozenset[bytes]]:
    """Return the trace of an item's external id, empty without one, and its other traces."""
    packed = base64.b64decode(text)
    name, *others = (packed[at : at + _TRACE] for at in range(0, len(packed), _TRACE))
    return name if any(name) else b"", frozenset(others)
