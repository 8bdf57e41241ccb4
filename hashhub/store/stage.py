"""Staging: the entries of an import on their way in, as rows that nobody sees before the commit; and its report.

Entries go in as they come; their hashes are gathered in memory and written in large runs sorted by digest, because the
table of hashes is clustered by digest. Each piece of entries comes with a STAGED change row that tells matchers to take
its digests in.

The report says line by line what became of the items. Lines one after the other that say the same of other items are
one row (`FindingRun`): zlib-compressed MessagePack [reason, detail before, detail after, positions, entries], where
entries are the bytes of little-endian int64.
"""

from __future__ import annotations

import hashlib
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from heapq import merge
from itertools import islice
from operator import itemgetter
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.engine import Connection

from hashhub.errors import InvalidArgument
from hashhub.model import Classification, Disposition, EventKind, Finding, number_of
from hashhub.store import schema as s
from hashhub.store.database import Database, Row
from hashhub.store.drivers import mapped
from hashhub.store.entry_codec import EntryColumns, IdSet, cut, unpack_hashes
from hashhub.store.entry_writes import PAGE, EntryWrites, delete_frames, frame_rows, page_of, take_ids
from hashhub.store.events import append_event, touch, whole
from hashhub.store.leases import PIECE, Commit, Leases
from hashhub.store.resources import to_json
from hashhub.store.schema import STAGED


class FindingRun(NamedTuple):
    """Lines one after the other that differ in their position and in the entry that they name: the detail of each is
    `before`, the entry's number and `after`. `entries`: their ids, int64[n].
    """

    disposition: Disposition
    reason: str
    before: str
    after: str
    positions: list[str]
    entries: NDArray[np.int64]

    def findings(self, first: int = 0) -> Iterator[Finding]:
        """Yield the lines from the one with the index `first` on."""
        for position, entry in zip(self.positions[first:], self.entries[first:].tolist(), strict=True):
            yield Finding(position, self.disposition, self.reason, f"{self.before}{number_of(entry)}{self.after}")


class _RunContent(msgspec.Struct, array_like=True, frozen=True):
    reason: str
    before: str
    after: str
    positions: list[str]
    entries: bytes


_RUNS: Final = 4  # rows of runs read at a time, each of up to PIECE lines
_decode: Final = msgspec.msgpack.Decoder(_RunContent).decode


class Reports:
    """The part of the Store that keeps reports. Nobody sees a line before the import is COMMITTED or CANCELLED."""

    def __init__(self, database: Database, leases: Leases) -> None:
        self._db = database
        self._leases = leases

    def write(self, commit: Commit, lines: Iterable[Finding | FindingRun]) -> None:
        """Append lines to the report of an import whose lease this process holds."""
        piece: list[Finding | FindingRun] = []
        count = 0
        for line in lines:
            piece.append(line)
            count += len(line.positions) if isinstance(line, FindingRun) else 1
            if count >= PIECE:
                self._append(commit, piece, count)
                piece, count = [], 0
        if piece:
            self._append(commit, piece, count)

    def page(
        self, import_id: str, size: int, after: int, dispositions: Iterable[Disposition] | None
    ) -> list[tuple[int, Finding]]:
        """Return up to `size` lines with their ordinals, beyond `after`; of these dispositions only, unless None."""
        codes = None if dispositions is None else [s.DISPOSITIONS[d] for d in dispositions]
        f, t = s.finding, s.imports
        singles = (
            sa.select(f.c.ordinal, f.c.position, f.c.disposition, f.c.reason, f.c.detail, f.c.entry)
            .join(t, t.c.key == f.c["import"])
            .where(*_is_told(import_id), f.c.ordinal > after, *_among(f, codes))
            .order_by(f.c.ordinal)
            .limit(size)
        )

        def read(c: Connection) -> list[tuple[int, Finding]]:
            alone = [
                (ordinal, Finding(position, s.DISPOSITIONS.members[disposition], reason, detail, entry))
                for ordinal, position, disposition, reason, detail, entry in c.execute(singles)
            ]
            return list(islice(merge(alone, _lines(_runs(c, import_id, after, codes), after), key=itemgetter(0)), size))

        return self._db.read(read)

    @staticmethod
    def purge(c: Connection, commit: Commit) -> None:
        """Remove the lines of an import that is not committed."""
        for table in (s.finding, s.finding_run):
            c.execute(sa.delete(table).where(table.c["import"] == commit.key))
        c.execute(sa.update(s.imports).where(s.imports.c.key == commit.key).values(finding_count=0))

    def _append(self, commit: Commit, lines: Iterable[Finding | FindingRun], count: int) -> None:
        t = s.imports
        singles: list[Row] = []
        runs: list[Row] = []
        with commit.lock, self._db.write() as c:
            self._leases.renew(c, commit)
            after: int = c.execute(
                sa.update(t)
                .where(t.c.key == commit.key)
                .values(finding_count=t.c.finding_count + count)
                .returning(t.c.finding_count)
            ).scalar_one()
            ordinal = after - count
            for line in lines:
                code = s.DISPOSITIONS[line.disposition]
                if isinstance(line, FindingRun):
                    last = ordinal + len(line.positions) - 1
                    runs.append((commit.key, ordinal, last, code, _packed(line)))
                    ordinal = last + 1
                else:
                    place = (commit.key, ordinal, line.position)
                    singles.append((*place, code, line.reason, line.detail, line.entry_id))
                    ordinal += 1
            self._db.insert(c, s.finding, singles)
            self._db.insert(c, s.finding_run, runs)


def named_entries(c: Connection, import_key: int, disposition: Disposition) -> Iterator[NDArray[np.int64]]:
    """Yield the entries that the runs of an import's report name with a disposition."""
    r = s.finding_run
    own = sa.select(r.c.lines).where(r.c["import"] == import_key, r.c.disposition == s.DISPOSITIONS[disposition])
    for lines in c.execute(own).scalars():
        yield np.frombuffer(_decode(zlib.decompress(lines)).entries, "<i8").astype(np.int64)


def _packed(run: FindingRun) -> bytes:
    entries = run.entries.astype("<i8").tobytes()
    content = msgspec.msgpack.encode(_RunContent(run.reason, run.before, run.after, run.positions, entries))
    return zlib.compress(content, 1)


def _is_told(import_id: str) -> tuple[sa.ColumnElement[bool], ...]:
    return (s.imports.c.id == import_id, s.imports.c.state.in_((s.COMMITTED, s.CANCELLED)))


def _among(table: sa.Table, codes: Sequence[int] | None) -> tuple[sa.ColumnElement[bool], ...]:
    return () if codes is None else (table.c.disposition.in_(codes),)


def _runs(c: Connection, import_id: str, after: int, codes: Sequence[int] | None) -> Iterator[tuple[int, int, bytes]]:
    """Yield (first ordinal, disposition, lines) of runs beyond `after`, reading no more than a page needs."""
    r, t = s.finding_run, s.imports
    while True:
        query = (
            sa.select(r.c.ordinal, r.c.disposition, r.c.lines, r.c.last)
            .join(t, t.c.key == r.c["import"])
            .where(*_is_told(import_id), r.c.last > after, *_among(r, codes))
            .order_by(r.c.ordinal)
            .limit(_RUNS)
        )
        rows = c.execute(query).all()
        for ordinal, code, lines, last in rows:
            yield ordinal, code, lines
            after = last
        if len(rows) < _RUNS:
            return


def _lines(rows: Iterable[tuple[int, int, bytes]], after: int) -> Iterator[tuple[int, Finding]]:
    """Yield the lines of runs beyond `after`, with their ordinals."""
    for first, code, packed in rows:
        run = _decode(zlib.decompress(packed))
        entries = np.frombuffer(run.entries, "<i8")
        unpacked = FindingRun(s.DISPOSITIONS.members[code], run.reason, run.before, run.after, run.positions, entries)
        start = max(0, after + 1 - first)
        yield from enumerate(unpacked.findings(start), first + start)


CLASSIFICATIONS_KEPT: Final = 10_000  # whose ids are at hand: some megabytes
_CLASSIFICATION: Final = list(s.entry.c).index(s.entry.c.classification)
RUN: Final = 256 * 1024 * 1024  # bytes of gathered digests and ids that are sorted and written together


class Stage:
    """The part of the Store that writes what an import brings."""

    def __init__(self, database: Database, writes: EntryWrites, leases: Leases, reports: Reports) -> None:
        self._db = database
        self._writes = writes
        self._leases = leases
        self._reports = reports
        self._classification_ids: dict[bytes, int] = {}

    def allocate_entries(self, import_id: str, n: int) -> int:
        """Reserve `n` consecutive entry ids for an import and return the first. Raises LimitExceeded: none left."""
        commit = self._leases.commit_of(import_id)
        with self._db.write_in_order() as c:
            self._leases.renew(c, commit)
            first = take_ids(c, s.hash_set.c.next_entry, commit.hash_set, n)
            if n:
                c.execute(
                    sa.insert(s.allocation).values(
                        {"first_entry": first, "last_entry": first + n - 1, "import": commit.key}
                    )
                )
        commit.allocations.append((first, first + n - 1))
        return first

    def classification_ids(self, classifications: Sequence[Classification]) -> list[int]:
        """Return each classification's id, storing new ones; pass some thousand, so that others need not wait."""
        contents = [to_json(x) for x in classifications]
        ids = self._classification_ids
        missing = sorted({x for x in contents if x not in ids})
        if missing:
            stored = self._stored_classifications(missing)
            ids = {**ids, **stored}
            # A list may state another value for each of a million items.
            self._classification_ids = ids if len(ids) <= CLASSIFICATIONS_KEPT else {}
        return [ids[x] for x in contents]

    def stage_entries(self, import_id: str, entries: EntryColumns) -> None:
        """Write entries of an import being committed; nobody sees them before `finish_commit`.

        Their ids are ascending and from `allocate_entries`. Pass 5,000 to 20,000 at a time: the fewer, the shorter
        other writers wait; the more, the less each costs. Raises Conflict when another process has taken over the
        commit.
        """
        if not entries.ids:
            return
        commit = self._leases.commit_of(import_id)
        first, last = entries.ids[0], entries.ids[-1]
        if not any(a <= first <= last <= b for a, b in commit.allocations):
            raise InvalidArgument.field(
                "entries", f"ids {first} to {last} were not allocated to {import_id}", "NOT_ALLOCATED"
            )
        count = len(entries.ids)
        # The table's columns in their order.
        columns = (
            entries.ids,
            [commit.hash_set] * count,
            [commit.key] * count,
            *entries[1:-3],
            [0] * count,
            entries.expire_times,
        )
        shapes = list(cut(entries.hashes))
        with mapped():  # half a surrogate pair
            imprints = self._imprints(entries, columns)
        page = page_of(entries, commit.hash_set, commit.key, imprints)
        with self._db.write() as c:
            self._db.insert(c, s.entry, list(zip(*columns, strict=True)))
            self._db.insert(c, s.frames, frame_rows(entries))
            self._db.insert(c, s.statement_page, [page])
            self._db.lock(c)  # after the rows: on PostgreSQL others can write meanwhile
            self._leases.renew(c, commit)
            revision = append_event(c, commit.by, EventKind.IMPORT_STAGED, subject=commit.subject)
            self._writes.add_changes(c, revision, [(STAGED, IdSet(first, last), commit.key)])
            touch(c, "statement_page", [first])
        with commit.lock:
            # Only now: a run must not have hashes of entries that are not there, which a purge would not find.
            commit.gather(entries, shapes)
            commit.ranges.append((first, last))
            if commit.size >= RUN:
                self.write_pieces(commit, self.run_of(commit))

    def _imprints(self, entries: EntryColumns, columns: Sequence[Sequence[Any]]) -> list[bytes]:
        """Return the imprints of entries' rows, given as the table's columns."""
        secret = self._db.fetch("SELECT secret FROM metadata")[0][0]
        frames = {row[0]: row[1:] for row in frame_rows(entries)}
        sql = "SELECT k.id, k.content_digest FROM classification k WHERE k.id {keys}"
        digests: dict[int, bytes] = dict(
            self._db.by_keys(sql, "int8", (), sorted({x for x in entries.classifications if x is not None}))
        )
        none = (None, None, None)
        rows = zip(*columns, strict=True)
        return [whole(secret, [(*row, digests.get(row[_CLASSIFICATION]), *frames.get(row[0], none))]) for row in rows]

    def add_findings(self, import_id: str, findings: Iterable[Finding | FindingRun]) -> None:
        """Append lines to the report of an import being committed; nobody sees them before `finish_commit`."""
        self._reports.write(self._leases.commit_of(import_id), findings)

    def run_of(self, commit: Commit) -> Iterator[Callable[[Connection], None]]:
        """Yield what writes the gathered hashes, in order, a piece each."""
        for code, digests, entries in commit.take_run():
            yield partial(self._db.insert_hashes, code=code, digests=digests, entries=entries)

    def write_pieces(self, commit: Commit, pieces: Iterable[Callable[[Connection], None]]) -> None:
        """Write pieces in transactions of their own, several at once on PostgreSQL, holding `commit.lock`."""
        try:
            with self._leases.releasing(commit), ThreadPoolExecutor(self._db.writers, "pieces") as beside:
                writing: deque[Future[None]] = deque()
                for piece in pieces:
                    if len(writing) == self._db.writers:
                        writing.popleft().result()
                    writing.append(beside.submit(self._write_piece, commit, piece))
                for one in writing:
                    one.result()
        except BaseException:
            # Part of a run is gone from memory: only a new begin_commit, which purges, can go on.
            self._leases.commits.pop(commit.import_id, None)
            raise

    def _write_piece(self, commit: Commit, piece: Callable[[Connection], None]) -> None:
        with self._db.write() as c:
            piece(c)
            self._leases.renew(c, commit)  # last: on PostgreSQL other pieces would wait for the import's row

    def purge(self, commit: Commit) -> None:
        """Remove what the import staged, in pieces, so that other writers do not wait."""
        a = s.allocation
        ranges = self._db.read(
            lambda c: c.execute(sa.select(a.c.first_entry, a.c.last_entry).where(a.c["import"] == commit.key)).all()
        )
        page = 'SELECT id, hashes FROM entry WHERE id BETWEEN ? AND ? AND "import" = ? ORDER BY id LIMIT ?'
        for first, last in ranges:
            while rows := self._db.fetch(page, (first, last, commit.key, PAGE)):
                hashes = [
                    (s.ALGORITHM_CODES[h.algorithm], h.digest, row[0]) for row in rows for h in unpack_hashes(row[1])
                ]
                with self._db.write() as c:
                    self._leases.renew(c, commit)
                    self._db.delete_hashes(c, hashes)
                    delete_frames(c, self._db, [row[0] for row in rows])
                    c.execute(sa.delete(s.entry).where(s.entry.c.id.between(rows[0][0], rows[-1][0])))
            with self._db.write() as c:
                self._leases.renew(c, commit)
                c.execute(sa.delete(s.succession).where(s.succession.c.later.between(first, last)))
                c.execute(sa.delete(s.statement_page).where(s.statement_page.c.first_entry.between(first, last)))
        with self._db.write() as c:
            self._leases.renew(c, commit)
            self._reports.purge(c, commit)
            is_staged = s.change.c.kind == sa.literal_column(str(STAGED))  # spelt out, so that the partial index serves
            c.execute(sa.delete(s.change).where(s.change.c["import"] == commit.key, is_staged))
            c.execute(sa.delete(a).where(a.c["import"] == commit.key))

    def _stored_classifications(self, contents: Sequence[bytes]) -> dict[bytes, int]:
        """Store those that are new, and return the id of each; no lock is needed, as equal ones are one row."""
        content_of = {hashlib.sha256(content).digest(): content for content in contents}
        digests = sorted(content_of)
        ids = self._ids_of(digests)
        if new := [digest for digest in digests if digest not in ids]:
            sql = "INSERT INTO classification (content_digest, content) VALUES (?, ?) ON CONFLICT DO NOTHING"
            with self._db.write() as c:
                self._db.execute(c, sql, [(digest, content_of[digest]) for digest in new])
            ids |= self._ids_of(new)
        return {content_of[digest]: ids[digest] for digest in digests}

    def _ids_of(self, digests: Sequence[bytes]) -> dict[bytes, int]:
        sql = "SELECT c.content_digest, c.id FROM classification c WHERE c.content_digest {keys}"
        return {bytes(row[0]): row[1] for row in self._db.by_keys(sql, "bytea", (), digests)}
