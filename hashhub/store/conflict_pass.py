"""The pass that finds conflicts: it follows the changes of entries, a piece at a time (`hub.conflicts.ConflictFinder`).

    next_piece ──> statements_about ──> what contradicts what is for the hub to say ──> apply

`apply` writes a piece's conflicts and how far the pass is in one transaction; of two passes over one database the one
that comes second with a piece writes nothing. What is looked at is the entries as they are.

A conflict is known by its kind, the two hash sets, and the item: a keyed trace of the digest that both sides have.
Finding one takes no revision and writes no event: a contributor could otherwise tell that somebody whom it may not see
holds the item.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from hashhub.hashes import Hash, is_exact
from hashhub.model import ConflictKind, ConflictState, Severity, now
from hashhub.store import schema as s
from hashhub.store.database import Database
from hashhub.store.entry_codec import IdSet, digests_by_algorithm, unpack_reasons
from hashhub.store.entry_writes import DeferredWithdrawals
from hashhub.store.holds import trace_of
from hashhub.store.schema import ACTIVE, QUARANTINED, STAGED_AROUND, UPSERT, WITHDRAW

EACH: Final = 8  # entries of one hash set and classification that are looked at for one digest, and kept on each side
LEFT, RIGHT = 1, 2  # the sides of a conflict, in its rows
OPEN: Final = s.CONFLICT_STATES[ConflictState.OPEN]
ASSIGNED: Final = s.CONFLICT_STATES[ConflictState.ASSIGNED]
RESOLVED: Final = s.CONFLICT_STATES[ConflictState.RESOLVED]
ENDED: Final = s.CONFLICT_STATES[ConflictState.ENDED]
_CHANGE_PAGE: Final = 50  # rows of the feed read at a time: each may hold a set of some 100 KB
_NAME_BYTES: Final = 8
_TRACE_BYTES: Final = 16
_UNCLASSIFIED: Final = "UNCLASSIFIED"
# What others are told of why an entry does not stand any more; whatever else somebody did by hand is WITHDRAWN.
_TOLD: Final = frozenset({"SUPERSEDED", "ABSENT_FROM_LIST", "WITHDRAWN_BY_SOURCE", "EXPIRED"})
_CHANGED: Final = "STATEMENT_CHANGED"


class PassPosition(NamedTuple):
    """The next change to look at, and after which of its entries."""

    revision: int
    ordinal: int
    entry: int


class PassPiece(NamedTuple):
    """Entries of some changes, ascending; `before` and `after`: where the pass is before and after it."""

    ids: list[int]
    before: PassPosition
    after: PassPosition


class DigestStatement(NamedTuple):
    """An entry with a digest. `packed`: its hashes; `total`: how many of its set have the digest and classification."""

    entry_id: int
    hash_set: int
    classification: int | None
    flags: int
    packed: bytes
    is_undecided: bool
    total: int


class Neighbourhood(NamedTuple):
    """The ACTIVE entries of each exact digest of a piece that several sets have; `doubtful`: conflicts with erased
    ones.
    """

    statements: dict[Hash, list[DigestStatement]]
    digests: list[Hash]
    doubtful: list[int]


class ConflictSide(NamedTuple):
    """One side of a conflict: a few entries, how many there are, and what they state, equal bytes for the same."""

    entries: tuple[int, ...]
    total: int
    stated: frozenset[bytes]


class FoundConflict(NamedTuple):
    """A conflict as the entries have it now. `left_set` is the lower key."""

    kind: ConflictKind
    dimension: str
    gravity: Severity
    item: Hash
    left_set: int
    right_set: int
    left: ConflictSide
    right: ConflictSide


class _Key(NamedTuple):
    """What a conflict is known by, as its row has it: one that comes back is the same. `item`: a keyed trace."""

    kind: int
    dimension: str
    item: bytes
    left_set: int
    right_set: int


class _Row(NamedTuple):
    """A conflict on record, as far as the pass asks for it."""

    id: int
    kind: int
    dimension: str
    item: bytes
    left_set: int
    right_set: int
    grounds: bytes
    state: int
    assignee: str
    resolved_grounds: bytes

    @property
    def key(self) -> _Key:
        return _Key(self.kind, self.dimension, self.item, self.left_set, self.right_set)


_COLUMNS: Final = ", ".join(f"t.{column}" for column in _Row._fields)
_SELECT: Final = f"SELECT {_COLUMNS} FROM conflict t"  # noqa: S608 - our own columns


class ConflictPass:
    """The part of the Store that finds what may contradict, and writes what does."""

    def __init__(self, database: Database, outstanding: DeferredWithdrawals, secret: bytes) -> None:
        self._db = database
        self._outstanding = outstanding
        self._secret = secret

    def progress(self) -> PassPosition:
        """Return where the pass is."""
        return PassPosition(*self._db.fetch("SELECT revision, ordinal, entry FROM conflict_progress")[0])

    def looked_upto(self) -> int:
        """Return the revision up to which conflicts were looked for."""
        settled = self._outstanding.settled_revision()
        at = self.progress()
        sql = (
            "SELECT min(revision) FROM change WHERE (revision, ordinal) >= (?, ?) "  # noqa: S608 - our own numbers
            f"AND kind IN ({UPSERT}, {WITHDRAW})"
        )
        rows = self._db.fetch(sql, (at.revision, at.ordinal))
        return settled if rows[0][0] is None else min(settled, rows[0][0] - 1)

    def next_piece(self, size: int) -> PassPiece | None:
        """Return up to `size` entries that changes behind the pass, written into the rows, are about; None: through."""
        before = self.progress()
        sql = (
            "SELECT revision, ordinal, first_entry, last_entry, ids FROM change "  # noqa: S608 - our own numbers
            f"WHERE (revision, ordinal) >= (?, ?) AND revision <= ? AND kind IN ({UPSERT}, {WITHDRAW}) "
            "ORDER BY revision, ordinal LIMIT ?"
        )
        ids: set[int] = set()
        at = before
        rows = self._db.fetch(sql, (at.revision, at.ordinal, self._outstanding.settled_revision(), _CHANGE_PAGE))
        for revision, ordinal, *ends in rows:
            after = at.entry if (revision, ordinal) == (at.revision, at.ordinal) else 0
            room = size - len(ids)
            part = IdSet(*ends).after(after, room)
            ids.update(part)
            if len(part) == room:
                return PassPiece(sorted(ids), before, PassPosition(revision, ordinal, part[-1]))
            at = PassPosition(revision, ordinal + 1, 0)
        return PassPiece(sorted(ids), before, at) if rows else None

    def statements_about(self, ids: Sequence[int]) -> Neighbourhood:
        """Return who states what about the items of these entries, visible or withdrawn."""
        erased: list[int] = []
        packed: list[bytes] = []
        for entry_id, hashes in self._db.by_keys(
            "SELECT e.id, e.hashes FROM entry e WHERE e.id {keys}", "int8", (), ids
        ):
            if hashes:
                packed.append(hashes)
            else:
                erased.append(entry_id)
        doubtful: list[int] = []
        if erased:
            sql = "SELECT DISTINCT m.conflict FROM conflict_entry m WHERE m.entry {keys}"
            doubtful = sorted({row[0] for row in self._db.by_keys(sql, "int8", (), erased)})
            sql = (
                "SELECT DISTINCT e.id, e.hashes FROM conflict_entry m JOIN entry e ON e.id = m.entry "
                "WHERE m.conflict {keys}"
            )
            packed += [row[1] for row in self._db.by_keys(sql, "int8", (), doubtful) if row[1]]
        statements: dict[Hash, list[DigestStatement]] = {}
        looked_at: list[Hash] = []
        for algorithm, rows in digests_by_algorithm(packed).items():
            if not is_exact(algorithm):
                continue
            shared = self._shared(algorithm, [row.tobytes() for row in rows])
            looked_at += [Hash(algorithm, digest) for digest in shared]
            for digest, stated in self._stated(algorithm, shared):
                statements.setdefault(Hash(algorithm, digest), []).append(stated)
        return Neighbourhood(
            {h: of_item for h, of_item in statements.items() if len({x.hash_set for x in of_item}) > 1},
            looked_at,
            doubtful,
        )

    def _shared(self, algorithm: str, digests: Sequence[bytes]) -> list[bytes]:
        """Return those of the digests (ascending) that more than one entry has or had, by an index alone."""
        sql = (
            "SELECT h.digest FROM hash h WHERE h.algorithm = ? AND h.digest {keys} GROUP BY h.digest "
            "HAVING count(*) > 1"
        )
        return sorted({row[0] for row in self._db.by_keys(sql, "bytea", (s.ALGORITHM_CODES[algorithm],), digests)})

    def _stated(self, algorithm: str, digests: Sequence[bytes]) -> Iterator[tuple[bytes, DigestStatement]]:
        """Yield the ACTIVE visible entries of the digests, EACH of a hash set and classification at most."""
        # CROSS JOIN, which SQLite never turns around. By what they state and not by their ids, so that entries that are
        # listed again take the places of those that they replace.
        sql = (
            "SELECT q.digest, q.id, q.hash_set, q.classification, q.flags, q.hashes, q.reasons, q.total "  # noqa: S608
            "FROM ("
            "SELECT h.digest, e.id, e.hash_set, e.classification, e.flags, e.hashes, e.reasons, "
            "row_number() OVER (PARTITION BY h.digest, e.hash_set, e.classification ORDER BY e.flags, e.hashes, e.id) "
            "AS number, count(*) OVER (PARTITION BY h.digest, e.hash_set, e.classification) AS total "
            "FROM hash h CROSS JOIN entry e WHERE e.id = h.entry AND h.algorithm = ? AND h.digest {keys} "
            f"AND e.state = {ACTIVE} AND NOT EXISTS ({STAGED_AROUND})) q WHERE q.number <= {EACH}"
        )
        for row in self._db.by_keys(sql, "bytea", (s.ALGORITHM_CODES[algorithm],), digests):
            digest, entry_id, set_key, classification, flags, hashes, reasons, count = row
            yield (
                digest,
                DigestStatement(
                    entry_id,
                    set_key,
                    classification,
                    flags,
                    hashes,
                    reasons is not None and _UNCLASSIFIED in unpack_reasons(reasons),
                    count,
                ),
            )

    def apply(self, piece: PassPiece, neighbourhood: Neighbourhood, conflicts: Iterable[FoundConflict]) -> bool:
        """Let the conflicts about a piece's items be exactly these; False, and nothing, after another pass."""
        wanted = {self._key(conflict): conflict for conflict in conflicts}
        items = {self._trace(h) for h in neighbourhood.digests}
        at = s.to_millis(now())
        with self._db.write_in_order() as c:
            sequence = self._go_on(c, piece)
            if sequence is None:
                return False
            about = self._db.by_keys(f"{_SELECT} WHERE t.item {{keys}}", "bytea", (), sorted(items), c)
            present = {row.key: row for row in map(_Row._make, about)}
            last = sequence
            new: dict[int, FoundConflict] = {}  # by sequence
            members: list[tuple[int, int, int]] = []
            for key, conflict in wanted.items():
                row = present.get(key)
                if row is None:
                    last += 1
                    new[last] = conflict
                else:
                    last += self._renew(c, row, conflict, last + 1, at, piece.after.revision)
                    members += _members(row.id, conflict)
            members += self._open(c, new, at, piece.after.revision)
            self._db.insert(c, s.conflict_entry, members)
            gone = [row for key, row in present.items() if key not in wanted and row.state != ENDED]
            self._end(c, [row.id for row in gone], at)
            self._forget(c, neighbourhood.doubtful, at)
            if last != sequence:
                c.execute(sa.update(s.conflict_progress).values(sequence=last))
        return True

    def _go_on(self, c: Connection, piece: PassPiece) -> int | None:
        """Move the pass behind the piece and return the last opening's sequence; None: another pass was there."""
        p = s.conflict_progress
        here = sa.and_(
            p.c.revision == piece.before.revision,
            p.c.ordinal == piece.before.ordinal,
            p.c.entry == piece.before.entry,
        )
        moved = sa.update(p).where(here).values(**piece.after._asdict()).returning(p.c.sequence)
        sequence: int | None = c.execute(moved).scalar()
        return sequence

    def _open(
        self, c: Connection, conflicts: Mapping[int, FoundConflict], at: int, revision: int
    ) -> list[tuple[int, int, int]]:
        """Put conflicts on record, by sequence, and return their members."""
        if not conflicts:
            return []
        rows = [
            {
                "name": secrets.token_hex(_NAME_BYTES),
                **self._key(conflict)._asdict(),
                "state": OPEN,
                "sequence": sequence,
                "open_time": at,
                "update_time": at,
                "revision": revision,
                **self._as_found(conflict),
            }
            for sequence, conflict in conflicts.items()
        ]
        made = c.execute(sa.insert(s.conflict).returning(s.conflict.c.id, s.conflict.c.sequence), rows)
        return [member for number, sequence in made for member in _members(number, conflicts[sequence])]

    def _renew(self, c: Connection, row: _Row, conflict: FoundConflict, sequence: int, at: int, revision: int) -> bool:
        """Rewrite a conflict's row, delete its members, and return whether it opens again, with this sequence."""
        values = self._as_found(conflict)
        grounds = values["grounds"]
        state = RESOLVED if row.resolved_grounds == grounds else ASSIGNED if row.assignee else OPEN
        opens = state != RESOLVED and row.state not in {OPEN, ASSIGNED}
        if opens:
            values["sequence"] = sequence
        if opens or row.state != state or row.grounds != grounds:
            values |= {"state": state, "update_time": at, "revision": revision}
        set_values(c, row.id, values)
        c.execute(sa.delete(s.conflict_entry).where(s.conflict_entry.c.conflict == row.id))
        return opens

    def _as_found(self, conflict: FoundConflict) -> dict[str, Any]:
        """Return the columns that say what the entries make of a conflict, which then has not ended."""
        return {
            "gravity": s.SEVERITIES[conflict.gravity],
            "left_count": conflict.left.total,
            "right_count": conflict.right.total,
            "grounds": self._grounds(conflict),
            "ended_by": "",
            "ended_side": 0,
        }

    def _end(self, c: Connection, ids: Sequence[int], at: int) -> None:
        """Let conflicts be ENDED, with what ended them."""
        if not ids:
            return
        sql = (
            "SELECT m.conflict, m.side, e.state, e.reasons FROM conflict_entry m JOIN entry e ON e.id = m.entry "
            "WHERE m.conflict {keys} ORDER BY m.conflict, m.side, m.entry"
        )
        of_conflict: dict[int, dict[int, list[tuple[int, str | None]]]] = {}
        for number, side, state, reasons in self._db.by_keys(sql, "int8", (), sorted(ids), c):
            of_conflict.setdefault(number, {}).setdefault(side, []).append((state, reasons))
        for number in ids:
            why, whose = _CHANGED, 0
            for side, members in sorted(of_conflict.get(number, {}).items()):
                if all(state != ACTIVE for state, _ in members):
                    why, whose = _told(*members[0]), side
                    break
            set_values(c, number, {"state": ENDED, "update_time": at, "ended_by": why, "ended_side": whose})

    def _forget(self, c: Connection, doubtful: Sequence[int], at: int) -> None:
        """Of conflicts with an erased entry, end those that nothing else bears out, and keep no trace of its item."""
        if not doubtful:
            return
        t = s.conflict
        live = (
            "SELECT m.conflict, m.side FROM conflict_entry m JOIN entry e ON e.id = m.entry "  # noqa: S608 - our number
            f"WHERE e.state = {ACTIVE} AND m.conflict {{keys}}"
        )
        sides: dict[int, set[int]] = {}
        for number, side in self._db.by_keys(live, "int8", (), doubtful, c):
            sides.setdefault(number, set()).add(side)
        for number in doubtful:
            state: int = c.execute(sa.select(t.c.state).where(t.c.id == number)).scalar_one()
            if state != ENDED and sides.get(number, set()) == {LEFT, RIGHT}:
                continue
            values: dict[str, Any] = {"item": b"", "grounds": b"", "resolved_grounds": b""}
            if state != ENDED:
                whose = min({LEFT, RIGHT} - sides.get(number, set()))
                values |= {"state": ENDED, "update_time": at, "ended_by": "WITHDRAWN", "ended_side": whose}
            set_values(c, number, values)
            r = s.conflict_resolution
            c.execute(sa.update(r).where(r.c.conflict == number).values(comment="", grounds=b""))

    def _trace(self, h: Hash) -> bytes:
        # Under a name of its own: what is kept here cannot be compared with what holds keep of erased entries.
        return trace_of(self._secret, f"CONFLICT {h.algorithm}", h.digest)

    def _key(self, conflict: FoundConflict) -> _Key:
        kind = s.CONFLICT_KINDS[conflict.kind]
        return _Key(kind, conflict.dimension, self._trace(conflict.item), conflict.left_set, conflict.right_set)

    def _grounds(self, conflict: FoundConflict) -> bytes:
        digest = hmac.new(self._secret, b"CONFLICT GROUNDS\0", hashlib.sha256)
        for side in (conflict.left, conflict.right):
            digest.update(len(side.stated).to_bytes(4))
            for stated in sorted(side.stated):
                digest.update(len(stated).to_bytes(4) + stated)
        return digest.digest()[:_TRACE_BYTES]


def set_values(c: Connection, conflict: int, values: Mapping[str, Any]) -> None:
    """Change the row of a conflict."""
    c.execute(sa.update(s.conflict).where(s.conflict.c.id == conflict).values(**values))


def _members(number: int, conflict: FoundConflict) -> list[tuple[int, int, int]]:
    """Return rows of `conflict_entry`: entry, conflict, side."""
    return [
        (entry, number, side) for side, of in ((LEFT, conflict.left), (RIGHT, conflict.right)) for entry in of.entries
    ]


def _told(state: int, reasons: str | None) -> str:
    if state == QUARANTINED:
        return "QUARANTINED"
    first = next(iter(unpack_reasons(reasons)), "")
    return first if first in _TOLD else "WITHDRAWN"
