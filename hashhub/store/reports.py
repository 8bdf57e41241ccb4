"""Reports: what became of the items of an import, line by line, in the order of the source.

Most lines of a list that comes again say the same of one item after the other, but for its position and the entry that
states it already. Such a run of lines is one row (`FindingRun`), and is taken apart where it is read.

The row of a run holds zlib-compressed MessagePack: [reason, detail before, detail after, positions, entries], where
entries are the bytes of little-endian int64.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from heapq import merge
from itertools import islice
from operator import itemgetter
from typing import Final, NamedTuple

import msgspec
import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.engine import Connection

from hashhub.model import Disposition, Finding, number_of
from hashhub.store import schema as s
from hashhub.store.database import Database, Row
from hashhub.store.leases import PIECE, Commit, Leases

_DISPOSITIONS: Final = {code: disposition for disposition, code in s.DISPOSITIONS.items()}


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


class _Packed(msgspec.Struct, array_like=True, frozen=True):
    reason: str
    before: str
    after: str
    positions: list[str]
    entries: bytes


_RUNS: Final = 4  # rows of runs read at a time, each of up to PIECE lines
_decode: Final = msgspec.msgpack.Decoder(_Packed).decode


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
                (ordinal, Finding(position, _DISPOSITIONS[disposition], reason, detail, entry))
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
    content = msgspec.msgpack.encode(_Packed(run.reason, run.before, run.after, run.positions, entries))
    return zlib.compress(content, 1)


def _is_told(import_id: str) -> tuple[sa.ColumnElement[bool], ...]:
    return (s.imports.c.id == import_id, s.imports.c.state.in_((s.COMMITTED, s.CANCELLED)))


def _among(table: sa.Table, codes: Sequence[int] | None) -> tuple[sa.ColumnElement[bool], ...]:
    return () if codes is None else (table.c.disposition.in_(codes),)


def _runs(c: Connection, import_id: str, after: int, codes: Sequence[int] | None) -> Iterator[tuple[int, int, bytes]]:
    """Yield (ordinal of the first line, disposition, lines) of the runs beyond `after`; a few are read at a time,
    because a page needs no more.
    """
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
        unpacked = FindingRun(_DISPOSITIONS[code], run.reason, run.before, run.after, run.positions, entries)
        start = max(0, after + 1 - first)
        yield from enumerate(unpacked.findings(start), first + start)
