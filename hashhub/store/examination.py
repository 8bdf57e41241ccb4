"""Compares the rows that decide with what the history says of them, and names those that were edited underneath.

Small tables are compared whole. Entries, their digests and the looked-up digests are compared from a place on, so many
of each, so that a night's look is bounded and some nights see all.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import sqlalchemy as sa

from hashhub.errors import HashHubError
from hashhub.frames import matching_digests
from hashhub.hashes import VPDQ
from hashhub.model import ConflictState, EventKind, number_of
from hashhub.store import schema as s
from hashhub.store.database import NO_ENTRY, Database
from hashhub.store.entry_codec import (
    NAMES,
    IdSet,
    compared_details,
    ordered_hashes,
    reasons_before,
    shape_of,
    statement,
    unpack_hashes,
)
from hashhub.store.entry_writes import LARGE, unpacked_page
from hashhub.store.events import WHOLE, differing, imprint, lead_of, names_of, rows_of, unpack_imprints, whole
from hashhub.store.holds import Origin
from hashhub.store.schema import COMMITTED, UPSERT, WITHDRAW, WITHDRAWN

_PAGE: Final = 5_000
# Rows that go with another one, which is compared by itself.
_PARENTS: Final = {"hold": "entry", "reviewed": "entry", "withdrawal": "entry", "conflict_resolution": "conflict"}
_COLUMNS: Final = [column.name for column in s.entry.c]
_STATE, _REASONS, _MOVED = (_COLUMNS.index(name) for name in ("state", "reasons", "update_revision"))
_Row = tuple[Any, ...]


class ExaminationPlace(msgspec.Struct, frozen=True):
    """Where a look goes on: behind an entry, and behind a row of looked-up digests."""

    entry: int = 0
    algorithm: int = 0
    digest: bytes = b""


class _LargeWithdrawal(NamedTuple):
    """Entries that a revision withdrew, as part of so many that their rows are written behind it."""

    revision: int
    ids: IdSet
    origin: str


class RowExamination:
    """One examination of the rows against the history; `place` is then where the next one resumes."""

    def __init__(self, database: Database, secret: bytes, place: ExaminationPlace) -> None:
        self._db = database
        self._secret = secret
        self.place = place
        self.entries = 0
        self._known: dict[str, dict[int | str, tuple[bytes, int]]] = {name: {} for name in s.DECIDING}
        moved: set[int] = set()  # revisions that tell of entries one by one
        events = self._pages(sa.select(s.event.c.revision, s.event.c.imprints), s.event.c.revision)
        for revision, packed in events:
            moved.update([revision] if packed is not None and b"entry" in packed else ())
            for table, of_table in (unpack_imprints(packed) if packed is not None else {}).items():
                self._known[table].update({lead: (known, revision) for lead, known in of_table.items()})
        t, e, h = s.change, s.event, s.hash_set
        self._deleted = dict(self._db.select(sa.select(h.c.key, h.c.deletion).where(h.c.delete_revision > 0)))
        changes = self._db.select(
            sa.select(t.c.revision, t.c.kind, t.c["import"], t.c.first_entry, t.c.last_entry, t.c.ids)
            .where(t.c.kind.in_((UPSERT, WITHDRAW)))
            .order_by(t.c.revision, t.c.ordinal)
        )
        self._committed = sorted((row[3], row[4], row[0]) for row in changes if row[1] == UPSERT and row[2])
        self._large: list[_LargeWithdrawal] = []
        for revision, rows in itertools.groupby((x for x in changes if x[1] == WITHDRAW), key=lambda row: row[0]):
            sets = [IdSet(*row[3:]) for row in rows]
            if sum(map(len, sets)) > LARGE or revision not in moved:
                body = self._db.select(sa.select(e.c.body).where(e.c.revision == revision))[0][0]
                facts = msgspec.json.decode(body)[9]
                by_source = facts.get("by_source", 0)  # so many of an import's, which are the first
                for ids in sets:
                    origin = str(facts.get("origin", Origin.SOURCE if by_source > 0 else ""))
                    self._large.append(_LargeWithdrawal(revision, ids, origin))
                    by_source -= len(ids)
        listed = self._db.select(sa.select(s.metadata.c.outstanding))[0][0]
        self._outstanding = {int(x) for x in listed.split(",") if x}

    def differences(self, most: int | None) -> Iterator[str]:
        """Yield what differs, a line each. `most`: entries, and looked-up digests, that are compared; None: all."""
        for table in s.DECIDING:
            if table not in {"entry", "statement_page"}:
                yield from self._small(table)
        yield from self._others()
        while most is None or self.entries < most:
            yield from self._entries()
            if not self.place.entry:
                break
        yield from self._looked_up(most)

    # Rows with imprints in events

    def _small(self, table: str) -> Iterator[str]:
        known = dict(self._known[table])
        for lead, rows in self._groups(table):
            before, revision = known.pop(lead, (b"", 0))
            now = imprint(self._secret, table, rows)
            if now == before or self._is_written_behind(table, lead, rows, before, revision):
                continue
            if before:
                fields = differing(table, before, now, rows)
                if fields == ["grounds"] and not any(row[names_of(table).index("grounds")] for row in rows):
                    continue  # they are emptied behind the event that erased an entry
                told = ", ".join(fields) or "what it holds"
                yield f"{self._called(table, lead)}: {told} differs from what revision {revision} left"
            elif not self._is_deleting(table):
                told = f"revision {revision} removed it" if revision else "no event tells of it"
                yield f"{self._called(table, lead)} was added: {told}"
        gone = sorted(lead for lead, (before, _) in known.items() if before and not self._is_deleting(table))
        if gone and table in _PARENTS:
            sql = f"SELECT id FROM {_PARENTS[table]} WHERE id {{keys}}"  # noqa: S608 - our own names
            there = {row[0] for row in self._db.by_keys(sql, "int8", (), gone)}
            gone = [lead for lead in gone if lead in there or int(lead) < 0]
        for lead in gone:
            if table != "change" or not self._is_staging(int(lead)):
                yield f"{self._called(table, lead)} is gone: revision {known[lead][1]} left it there"

    def _is_deleting(self, table: str) -> bool:
        """Whether a hash set's rows are being deleted, of which the last step tells."""
        return table in {"hold", "review"} and any(deletion is not None for deletion in self._deleted.values())

    def _is_written_behind(
        self, table: str, lead: int | str, rows: Sequence[_Row], before: bytes, revision: int
    ) -> bool:
        """Whether rows are what was there at `revision` but for those that withdrawals of many wrote behind their
        events since, which may have taken the place of all others.
        """
        if table not in {"hold", "withdrawal"}:
            return False
        of_large = {(x.revision, x.origin) for x in self._large if x.revision > revision and int(lead) in x.ids}
        rest = []
        for row in rows:
            of = dict(zip(names_of(table), row, strict=True))
            if not any(of["revision"] == r and of.get("origin", o) == o for r, o in of_large):
                rest.append(row)
        return len(rest) < len(rows) and (not rest or imprint(self._secret, table, rest) == before)

    def _is_staging(self, revision: int) -> bool:
        e = s.event
        return self._db.select(sa.select(e.c.kind).where(e.c.revision == revision)) == [
            (EventKind.IMPORT_STAGED.value,)
        ]

    def _others(self) -> Iterator[str]:
        """Yield what differs in tables that are told by others."""
        k, a, i, c, r = s.classification, s.allocation, s.imports, s.conflict, s.conflict_resolution
        for key, digest, content in self._pages(sa.select(k.c.id, k.c.content_digest, k.c.content), k.c.id):
            if hashlib.sha256(content).digest() != digest:
                yield f"classification {key}: its content is not that of its digest"
        hiding = sa.select(a.c.first_entry, a.c.last_entry).join_from(a, i, i.c.key == a.c["import"], isouter=True)
        for first, last in self._db.select(hiding.where(sa.or_(i.c.key.is_(None), i.c.state == COMMITTED))):
            yield f"allocation {first}: it hides the entries {first} to {last}, whose import is committed or missing"
        closed = sa.exists().where(r.c.conflict == c.c.id, r.c.closes.is_(True), r.c.grounds == c.c.resolved_grounds)
        is_resolved: sa.ColumnElement[bool] = c.c.state == s.CONFLICT_STATES[ConflictState.RESOLVED]
        wrong = sa.or_(
            sa.and_(c.c.resolved_grounds != b"", sa.not_(closed)),
            sa.and_(is_resolved, c.c.resolved_grounds != c.c.grounds),
            sa.and_(c.c.state < s.CONFLICT_STATES[ConflictState.RESOLVED], c.c.resolved_grounds == c.c.grounds),
        )
        for (name,) in self._db.select(sa.select(c.c.name).where(wrong)):
            yield f"conflicts/{name}: its state or resolved_grounds are not what its resolutions say"
        for x in self._large:
            if x.origin and x.revision not in self._outstanding:
                sql = "SELECT entry FROM hold WHERE entry {keys}"
                for piece in x.ids.pieces(_PAGE):
                    ids = [n for n in piece.tolist() if self._known["hold"].get(n, (b"", 0))[1] < x.revision]
                    held = {row[0] for row in self._db.by_keys(sql, "int8", (), ids)}
                    there = {
                        row[0] for row in self._db.by_keys("SELECT id FROM entry WHERE id {keys}", "int8", (), ids)
                    }
                    for entry in sorted(there - held):
                        yield f"{self._called('hold', entry)} is gone: revision {x.revision} left it there"

    # Entries

    def _entries(self) -> Iterator[str]:
        """Compare the entries of the next page of statements, and those before it; without one begin anew."""
        p, after = s.statement_page, self.place.entry
        page = next(
            iter(self._db.select(sa.select(p).where(p.c.first_entry > after).order_by(p.c.first_entry).limit(1))), None
        )
        last = NO_ENTRY if page is None else max(page.first_entry, page.last_entry)
        query = rows_of("entry").where(s.entry.c.id > after, s.entry.c.id <= last)
        rows = {row[0]: tuple(row)[1:] for row in self._db.select(query)}
        self.place = msgspec.structs.replace(self.place, entry=0 if page is None else last)
        self.entries += len(rows)
        imprints: dict[int, bytes] = {}
        if page is not None:
            yield from self._page(page)
            imprints = {
                page.first_entry + n: page.imprints[n * WHOLE : (n + 1) * WHOLE]
                for n in range(len(page.imprints) // WHOLE)
            }
            imprints = {entry: known for entry, known in imprints.items() if any(known)}
        late: dict[int, int] = {}
        for x in self._large:
            if x.ids.first <= last and x.ids.last > after:
                for piece in x.ids.pieces(1 << 20):
                    late.update(dict.fromkeys(piece[(piece > after) & (piece <= last)].tolist(), x.revision))
        staged = self._db.select(
            sa.select(s.allocation.c.first_entry, s.allocation.c.last_entry)
            .join(s.imports, s.imports.c.key == s.allocation.c["import"])
            .where(s.imports.c.state != COMMITTED)
        )
        for entry in sorted(rows.keys() | imprints.keys()):
            row = rows.get(entry)
            if any(first <= entry <= end for first, end in staged):
                continue
            known, revision = self._known["entry"].get(entry, (imprints.get(entry, b""), 0))
            if row is None:
                is_committed = any(first <= entry <= end for first, end, _ in self._committed)
                if known and page is not None and page.hash_set not in self._deleted and is_committed:
                    yield f"{self._called('entry', entry)} is gone: no event deleted it"
            elif not known:
                yield f"{self._called('entry', entry)} was added: no event tells of it"
            else:
                yield from self._entry(entry, row, known, revision, late.get(entry, 0), page)
        yield from self._digests(rows)

    def _page(self, page: Any) -> Iterator[str]:
        known, revision = self._known["statement_page"].get(page.first_entry, (b"", 0))
        now = imprint(self._secret, "statement_page", [tuple(page)])
        if known != now and page.hash_set not in self._deleted:
            fields = ", ".join(differing("statement_page", known, now, [tuple(page)])) or "what it holds"
            name = self._called("statement_page", page.first_entry)
            yield f"{name}: {fields} differs from what revision {revision} left"

    def _entry(self, entry: int, row: _Row, known: bytes, revision: int, late: int, page: Any) -> Iterator[str]:
        if whole(self._secret, [row]) == known[:WHOLE]:
            if late > revision and late not in self._outstanding and row[_MOVED] < late:
                yield f"{self._called('entry', entry)}: its state is not WITHDRAWN, which revision {late} left"
            return
        if late > revision and row[_STATE] == WITHDRAWN and row[_MOVED] == late:
            state, reasons = reasons_before(row[_REASONS])
            for moved in {0, revision, *(x.revision for x in self._large)}:
                before = list(row)
                before[_STATE], before[_REASONS], before[_MOVED] = state, reasons, moved
                if whole(self._secret, [tuple(before)]) == known[:WHOLE]:
                    return
        if revision:
            fields = differing("entry", known, imprint(self._secret, "entry", [row]), [row])
        else:
            fields = self._differing_from_page(entry, row, page)
        told = f"revision {revision}" if revision else "its import"
        yield f"{self._called('entry', entry)}: {', '.join(fields) or 'what it holds'} differs from what {told} left"

    def _differing_from_page(self, entry: int, row: _Row, page: Any) -> list[str]:
        digests, classifications = unpacked_page(page.first_entry, page.last_entry, page.form, page.content)
        of = dict(zip(_COLUMNS, row, strict=False))
        at = entry - page.first_entry
        try:
            hashes = ordered_hashes(of["hashes"], shape_of(of["hashes"]))
            details = compared_details(of["details"])
            stated = statement(of["external_id"] or "", of["flags"], of["expire_time"], details, hashes)
        except (HashHubError, msgspec.MsgspecError):
            stated = b""
        fields = []
        if stated != digests[at].tobytes():
            fields.append("what it states (external_id, flags, hashes, details or expire_time)")
        if (of["classification"] or 0) != classifications[at]:
            fields.append("classification")
        return fields or [
            "state, reasons, position, details, hash_set, import, update_revision, frames or classification"
        ]

    # Looked-up digests

    def _digests(self, rows: dict[int, _Row]) -> Iterator[str]:
        """Yield which of the entries' digests are not looked up."""
        wanted: dict[int, set[tuple[bytes, int]]] = {}
        for entry, row in rows.items():
            for code, digest in _hashes_of(row):
                wanted.setdefault(code, set()).add((digest, entry))
        sql = "SELECT digest, entry FROM hash WHERE algorithm = ? AND entry BETWEEN ? AND ? AND digest {keys}"
        for code, pairs in wanted.items():
            ends = (code, min(rows), max(rows))
            there = {(bytes(a), b) for a, b in self._db.by_keys(sql, "bytea", ends, sorted({x for x, _ in pairs}))}
            for entry in sorted({entry for _, entry in pairs - there}):
                yield f"{self._called('hash', entry)}: a {NAMES[code]} that it states is not looked up"

    def _looked_up(self, most: int | None) -> Iterator[str]:
        """Yield which looked-up digests no entry states."""
        t = s.hash_
        key = sa.tuple_(t.c.algorithm, t.c.digest)
        count = 0
        while most is None or count < most:
            after = key > sa.tuple_(self.place.algorithm, self.place.digest)
            page = self._db.select(
                sa.select(t).where(after).order_by(t.c.algorithm, t.c.digest, t.c.entry).limit(_PAGE)
            )
            if len(page) == _PAGE:  # all of the last digest come together
                end = sa.and_(t.c.algorithm == page[-1].algorithm, t.c.digest == page[-1].digest)
                page = [row for row in page if row[:2] != page[-1][:2]] + list(self._db.select(sa.select(t).where(end)))
            ids = sorted({row.entry for row in page})
            entries: dict[int, _Row] = {}
            for start in range(0, len(ids), 500):
                query = rows_of("entry").where(s.entry.c.id.in_(ids[start : start + 500]))
                entries |= {row[0]: tuple(row)[1:] for row in self._db.select(query)}
            stated = {entry: set(_hashes_of(row)) for entry, row in entries.items()}
            for code, digest, entry in page:
                if (code, bytes(digest)) not in stated.get(entry, ()):
                    yield f"{self._called('hash', entry)}: a {NAMES.get(code, code)} is looked up that is not its own"
            count += len(page)
            ends = (
                ExaminationPlace(self.place.entry, page[-1].algorithm, bytes(page[-1].digest))
                if page
                else ExaminationPlace(self.place.entry)
            )
            self.place = ends
            if not page:
                return

    def _called(self, table: str, lead: int | str) -> str:
        collection = {"contributor": "contributors", "hash_set": "hash-sets", "contributor_group": "groups"}
        if table in {"entry", "hash", "hold", "reviewed", "withdrawal"} and int(lead) > 0:
            rows = self._db.select(sa.select(s.entry.c.hash_set).where(s.entry.c.id == lead))
            hash_set = self._db.hash_set_names().get(rows[0][0], "?") if rows else ""
            name = f"entries/{hash_set}/{number_of(int(lead))}" if rows else f"entry {lead}"
            return name if table == "entry" else f"{name} in the table {table}"
        return f"{collection.get(table, table)}/{lead}"

    def _pages(self, query: sa.Select[Any], lead: sa.ColumnElement[Any]) -> Iterator[Any]:
        """Yield the rows of a query whose first column is unique."""
        rows = self._db.select(query.order_by(lead).limit(_PAGE))
        while rows:
            yield from rows
            rows = self._db.select(query.where(lead > rows[-1][0]).order_by(lead).limit(_PAGE))

    def _groups(self, table: str) -> Iterator[tuple[int | str, list[_Row]]]:
        """Yield the rows of a table by their lead, in order."""
        lead, limit = lead_of(table), _PAGE
        query = further = rows_of(table).order_by(lead)
        while True:
            rows = self._db.select(further.limit(limit))
            groups = [(k, [tuple(row)[1:] for row in of]) for k, of in itertools.groupby(rows, key=lambda row: row[0])]
            if len(rows) < limit:
                yield from groups
                return
            yield from groups[:-1]  # the last one may have more
            limit = limit if groups[:-1] else 2 * limit
            further = query.where(lead > groups[-2][0]) if groups[:-1] else further


def _hashes_of(row: _Row) -> Iterator[tuple[int, bytes]]:
    """Yield codes of algorithms and digests by which an entry is looked up."""
    try:
        for h in unpack_hashes(row[_COLUMNS.index("hashes")]):
            yield s.ALGORITHM_CODES[h.algorithm], h.digest
        if row[-1] is not None:
            yield from ((VPDQ.code, digest.tobytes()) for digest in matching_digests(row[-1]))
    except HashHubError:
        return
