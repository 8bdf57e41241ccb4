"""Conflicts: statements of two hash sets about one item that cannot both hold, kept as rows beside the entries.

They are derived from the entries, by a pass that follows the changes a piece at a time (`hub.conflicts`):

    next_piece ──> statements_about ──> what contradicts what is for the hub to say ──> apply

`apply` writes a piece's conflicts and how far the pass is in one transaction. Two passes over one database do no harm:
the one that comes second with a piece writes nothing. What is looked at is the entries as they are, so that a piece can
be worked through again, and what a change says is only where to look.

A conflict is known by its kind, the two hash sets, and the item: a keyed trace of the digest that both sides have. Rows
hold ids of entries, and no digest; once an entry was erased, not even the traces.

Finding conflicts is no visible write. It takes no revision and writes no event: a contributor could otherwise tell from
the revision after its commit that somebody whom it may not see holds the item. What people do with one is an event.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from hashhub.errors import Conflict as Clash
from hashhub.errors import FailedPrecondition, NotFound, Reason
from hashhub.hashes import Hash, is_exact
from hashhub.model import (
    SYSTEM,
    Actor,
    Classification,
    ConflictKind,
    ConflictReason,
    ConflictResolution,
    ConflictState,
    EventKind,
    Flags,
    Severity,
    now,
)
from hashhub.store import schema as s
from hashhub.store.database import Database
from hashhub.store.entries import Entries
from hashhub.store.events import append_event
from hashhub.store.feeds import Feeds
from hashhub.store.holds import trace_of
from hashhub.store.idset import IdSet
from hashhub.store.packing import digests_by_algorithm, unpack_flags, unpack_hashes, unpack_reasons
from hashhub.store.requests import Request
from hashhub.store.schema import ACTIVE, QUARANTINED, ROLE_OF_CODE, STAGED_AROUND, UPSERT, WITHDRAW

EACH: Final = 8  # entries of one hash set and classification that are looked at for one digest, and kept on each side
COMMENTS: Final = 20  # of one contributor about one conflict
_CHANGE_PAGE: Final = 50  # rows of the feed read at a time: each may hold a set of some 100 KB
_NAME_BYTES: Final = 8
_TRACE_BYTES: Final = 16
_UNCLASSIFIED: Final = "UNCLASSIFIED"
_LEFT, _RIGHT = 1, 2
_KINDS: Final = {code: kind for kind, code in s.CONFLICT_KINDS.items()}
_STATES: Final = {code: state for state, code in s.CONFLICT_STATES.items()}
_SEVERITIES: Final = {code: severity for severity, code in s.SEVERITIES.items()}
_OPEN: Final = s.CONFLICT_STATES[ConflictState.OPEN]
_ASSIGNED: Final = s.CONFLICT_STATES[ConflictState.ASSIGNED]
_RESOLVED: Final = s.CONFLICT_STATES[ConflictState.RESOLVED]
_ENDED: Final = s.CONFLICT_STATES[ConflictState.ENDED]
# What others are told of why an entry does not stand any more; whatever else somebody did by hand is WITHDRAWN.
_TOLD: Final = frozenset({"SUPERSEDED", "ABSENT_FROM_LIST", "WITHDRAWN_BY_SOURCE", "EXPIRED"})
_CHANGED: Final = "STATEMENT_CHANGED"


class Progress(NamedTuple):
    """The next change to look at, and after which of its entries."""

    revision: int
    ordinal: int
    entry: int


class Piece(NamedTuple):
    """Entries of some changes, ascending; `before` and `after`: where the pass is before and after it."""

    ids: list[int]
    before: Progress
    after: Progress


class Stated(NamedTuple):
    """An entry that has a digest. `packed`: its hashes, see `Conflicts.hashes`. `total`: how many of its hash set have
    the digest with this classification.
    """

    entry_id: int
    hash_set: int
    classification: int | None
    flags: int
    packed: bytes
    is_undecided: bool
    total: int


class Neighbourhood(NamedTuple):
    """What stands about the items of a piece: the ACTIVE entries of each exact digest that several hash sets have.

    `digests`: all that were looked at and that more than one entry ever had. `doubtful`: conflicts with an entry of
    which nothing is left.
    """

    statements: dict[Hash, list[Stated]]
    digests: list[Hash]
    doubtful: list[int]


class Side(NamedTuple):
    """One side of a conflict: a few entries, how many there are in all, and what they state, as bytes that are equal
    where the same is stated.
    """

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
    left: Side
    right: Side


class ConflictRow(NamedTuple):
    """A conflict as it is kept. Hash sets are `CONTRIBUTOR/SET`. `grounds`: a keyed digest of
    what both sides state. `ended_side`: 0 none, 1 left, 2 right.
    """

    id: int
    name: str
    kind: ConflictKind
    dimension: str
    gravity: Severity
    left: str
    right: str
    left_count: int
    right_count: int
    grounds: bytes
    state: ConflictState
    assignee: str
    sequence: int
    open_time: datetime
    update_time: datetime
    revision: int
    ended_by: str
    ended_side: int


class ConflictScope(NamedTuple):
    """Which conflicts somebody may know of: one party is among `own`, the other among `visible`, which holds `own`
    (hash sets, `CONTRIBUTOR/SET`).
    """

    own: frozenset[str]
    visible: frozenset[str]


class ConflictQuery(NamedTuple):
    """Conditions on conflicts, by names of hash sets. None or empty: no condition.

    `pair`: one side is in each of the two. `parties`: either side is in each of them. `of_jurisdiction`: either side is
    in it, or it is a LEGAL_STATUS conflict by the `law` of that jurisdiction. `entry`: one on either side, by hash set
    and id.
    """

    kinds: tuple[ConflictKind, ...] = ()
    severities: tuple[Severity, ...] = ()
    states: tuple[ConflictState, ...] = ()
    pair: tuple[frozenset[str], frozenset[str]] | None = None
    parties: tuple[frozenset[str], ...] = ()
    of_jurisdiction: frozenset[str] | None = None
    law: str = ""
    assignee: str = ""
    since_revision: int = 0
    entry: tuple[str, int] | None = None


class PairCount(NamedTuple):
    """How many conflicts two hash sets have, by kind, gravity and state."""

    left: str
    right: str
    kind: ConflictKind
    gravity: Severity
    state: ConflictState
    number: int


class Conflicts:
    """The part of the Store that keeps conflicts."""

    def __init__(self, database: Database, entries: Entries, feeds: Feeds, secret: bytes) -> None:
        self._db = database
        self._entries = entries
        self._feeds = feeds
        self._secret = secret

    # The pass

    def progress(self) -> Progress:
        """Return where the pass is."""
        return Progress(*self._db.fetch("SELECT revision, ordinal, entry FROM conflict_progress")[0])

    def looked_upto(self) -> int:
        """Return the revision up to which conflicts were looked for."""
        settled = self._feeds.settled_revision()
        at = self.progress()
        sql = self._db.sql(
            "SELECT min(revision) FROM change WHERE (revision, ordinal) >= (?, ?) "  # noqa: S608 - our own numbers
            f"AND kind IN ({UPSERT}, {WITHDRAW})"
        )
        rows = self._db.fetch(sql, (at.revision, at.ordinal))
        return settled if rows[0][0] is None else min(settled, rows[0][0] - 1)

    def next_piece(self, size: int) -> Piece | None:
        """Return up to `size` entries that changes after the pass are about; None when it is through.

        Only changes whose withdrawals are written into the rows, which they are some seconds after a large commit.
        """
        before = self.progress()
        sql = self._db.sql(
            "SELECT revision, ordinal, first_entry, last_entry, ids FROM change "  # noqa: S608 - our own numbers
            f"WHERE (revision, ordinal) >= (?, ?) AND revision <= ? AND kind IN ({UPSERT}, {WITHDRAW}) "
            "ORDER BY revision, ordinal LIMIT ?"
        )
        ids: set[int] = set()
        at = before
        rows = self._db.fetch(sql, (at.revision, at.ordinal, self._feeds.settled_revision(), _CHANGE_PAGE))
        for revision, ordinal, *ends in rows:
            after = at.entry if (revision, ordinal) == (at.revision, at.ordinal) else 0
            room = size - len(ids)
            part = IdSet(*ends).after(after, room)
            ids.update(part)
            if len(part) == room:
                return Piece(sorted(ids), before, Progress(revision, ordinal, part[-1]))
            at = Progress(revision, ordinal + 1, 0)
        return Piece(sorted(ids), before, at) if rows else None

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
        statements: dict[Hash, list[Stated]] = {}
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
        """Return those of the digests (ascending) that more than one entry has or had: mostly few, and told by an index
        alone.
        """
        sql = (
            "SELECT h.digest FROM hash h WHERE h.algorithm = ? AND h.digest {keys} GROUP BY h.digest "
            "HAVING count(*) > 1"
        )
        return sorted({row[0] for row in self._db.by_keys(sql, "bytea", (s.ALGORITHM_CODES[algorithm],), digests)})

    def _stated(self, algorithm: str, digests: Sequence[bytes]) -> Iterator[tuple[bytes, Stated]]:
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
                Stated(
                    entry_id,
                    set_key,
                    classification,
                    flags,
                    hashes,
                    reasons is not None and _UNCLASSIFIED in unpack_reasons(reasons),
                    count,
                ),
            )

    def classification(self, key: int | None) -> Classification | None:
        """Return what is stored under an id; None for None."""
        return None if key is None else self._entries.classification(key)

    def hashes(self, packed: bytes) -> tuple[Hash, ...]:
        """Return the hashes of `Stated.packed`."""
        return unpack_hashes(packed)

    def flags(self, packed: int) -> Flags:
        """Return the flags of `Stated.flags`."""
        return unpack_flags(packed)

    def apply(self, piece: Piece, neighbourhood: Neighbourhood, conflicts: Iterable[FoundConflict]) -> bool:
        """Let the conflicts about the items of a piece be exactly these, and the pass go on behind it; return False,
        with nothing written, when another pass has been there.

        What ends stays on record as ENDED. One that comes back, or whose ground changed after it was resolved, opens
        again; one of which the same is listed again stays as it is.
        """
        wanted = {self._key(c): c for c in conflicts}
        items = {self._trace(h) for h in neighbourhood.digests}
        at = s.to_millis(now())
        p = s.conflict_progress
        with self._db.write() as c:
            self._db.lock(c)
            here = sa.and_(
                p.c.revision == piece.before.revision,
                p.c.ordinal == piece.before.ordinal,
                p.c.entry == piece.before.entry,
            )
            moved = sa.update(p).where(here).values(**piece.after._asdict()).returning(p.c.sequence)
            sequence: int | None = c.execute(moved).scalar()
            if sequence is None:
                return False
            last = sequence
            rows = list(self._db.by_keys(f"{_SELECT} WHERE t.item {{keys}}", "bytea", (), sorted(items), c))
            present = {(row[2], row[3], row[5], row[6], row[7]): row for row in rows}
            gone: list[Any] = [row for key, row in present.items() if key not in wanted and row[11] != _ENDED]
            fresh: list[dict[str, Any]] = []
            members: list[tuple[int, int, int]] = []  # conflict, entry, side
            for key, conflict in wanted.items():
                grounds = self._grounds(conflict)
                row = present.get(key)
                values: dict[str, Any] = {
                    "gravity": s.SEVERITIES[conflict.gravity],
                    "left_count": conflict.left.total,
                    "right_count": conflict.right.total,
                    "grounds": grounds,
                    "ended_by": "",
                    "ended_side": 0,
                }
                if row is None:
                    last += 1
                    fresh.append(
                        {
                            "name": secrets.token_hex(_NAME_BYTES),
                            "kind": key[0],
                            "dimension": key[1],
                            "item": key[2],
                            "left_set": key[3],
                            "right_set": key[4],
                            "state": _OPEN,
                            "assignee": "",
                            "resolved_grounds": b"",
                            "sequence": last,
                            "open_time": at,
                            "update_time": at,
                            "revision": piece.after.revision,
                            **values,
                        }
                    )
                    continue
                was_open = row[11] in {_OPEN, _ASSIGNED}
                state = _RESOLVED if row[13] == grounds else _ASSIGNED if row[12] else _OPEN
                opens = state != _RESOLVED and not was_open
                if opens:
                    last += 1
                    values["sequence"] = last
                if opens or row[11] != state or row[10] != grounds:
                    values |= {"state": state, "update_time": at, "revision": piece.after.revision}
                self._set(c, row[0], values)
                self._drop_members(c, [row[0]])
                members += _members(row[0], conflict)
            if fresh:
                made = c.execute(sa.insert(s.conflict).returning(s.conflict.c.id, s.conflict.c.sequence), fresh)
                key_of_sequence = {sequence: number for number, sequence in made}
                new = [conflict for key, conflict in wanted.items() if key not in present]
                for values, conflict in zip(fresh, new, strict=True):
                    members += _members(key_of_sequence[values["sequence"]], conflict)
            self._db.insert(c, s.conflict_entry, [(entry, number, side) for number, entry, side in members])
            self._end(c, gone, at)
            self._forget(c, neighbourhood.doubtful, at)
            if last != sequence:
                c.execute(sa.update(p).values(sequence=last))
        return True

    def _end(self, c: Connection, rows: Sequence[Any], at: int) -> None:
        """Let conflicts be ENDED, with what ended them."""
        if not rows:
            return
        sql = (
            "SELECT m.conflict, m.side, e.state, e.reasons FROM conflict_entry m JOIN entry e ON e.id = m.entry "
            "WHERE m.conflict {keys} ORDER BY m.conflict, m.side, m.entry"
        )
        of_conflict: dict[int, dict[int, list[tuple[int, str | None]]]] = {}
        for number, side, state, reasons in self._db.by_keys(sql, "int8", (), sorted(row[0] for row in rows), c):
            of_conflict.setdefault(number, {}).setdefault(side, []).append((state, reasons))
        for row in rows:
            why, whose = _CHANGED, 0
            for side, members in sorted(of_conflict.get(row[0], {}).items()):
                if all(state != ACTIVE for state, _ in members):
                    why, whose = _told(*members[0]), side
                    break
            self._set(c, row[0], {"state": _ENDED, "update_time": at, "ended_by": why, "ended_side": whose})

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
            if state != _ENDED and sides.get(number, set()) == {_LEFT, _RIGHT}:
                continue
            values: dict[str, Any] = {"item": b"", "grounds": b"", "resolved_grounds": b""}
            if state != _ENDED:
                whose = min({_LEFT, _RIGHT} - sides.get(number, set()))
                values |= {"state": _ENDED, "update_time": at, "ended_by": "WITHDRAWN", "ended_side": whose}
            self._set(c, number, values)
            r = s.conflict_resolution
            c.execute(sa.update(r).where(r.c.conflict == number).values(comment="", grounds=b""))

    def _set(self, c: Connection, number: int, values: Mapping[str, Any]) -> None:
        c.execute(sa.update(s.conflict).where(s.conflict.c.id == number).values(**values))

    def _drop_members(self, c: Connection, numbers: Sequence[int]) -> None:
        c.execute(sa.delete(s.conflict_entry).where(s.conflict_entry.c.conflict.in_(numbers)))

    def _trace(self, h: Hash) -> bytes:
        # Under a name of its own: what is kept here cannot be compared with what holds keep of erased entries.
        return trace_of(self._secret, f"CONFLICT {h.algorithm}", h.digest)

    def _key(self, conflict: FoundConflict) -> tuple[int, str, bytes, int, int]:
        kind = s.CONFLICT_KINDS[conflict.kind]
        return kind, conflict.dimension, self._trace(conflict.item), conflict.left_set, conflict.right_set

    def _grounds(self, conflict: FoundConflict) -> bytes:
        digest = hmac.new(self._secret, b"CONFLICT GROUNDS\0", hashlib.sha256)
        for side in (conflict.left, conflict.right):
            digest.update(len(side.stated).to_bytes(4))
            for stated in sorted(side.stated):
                digest.update(len(stated).to_bytes(4) + stated)
        return digest.digest()[:_TRACE_BYTES]

    # Reading

    def list_conflicts(
        self,
        query: ConflictQuery,
        steps_down: Mapping[str, int],
        scope: ConflictScope | None,
        *,
        page_size: int,
        after: str = "",
    ) -> list[ConflictRow]:
        """Return up to `page_size` conflicts, those that were opened last first, behind the one called `after`.

        `steps_down`: by how many steps each hash set lowers a conflict's severity. `scope` None: all conflicts.
        """
        keys = self._keys()
        t = s.conflict
        chosen = (
            sa.select(t)
            .where(*self._conditions(query, steps_down, scope, keys), *_of_hash_sets_that_are())
            .limit(page_size)
        )
        if after:
            begin = sa.select(t.c.sequence).where(t.c.name == after).scalar_subquery()
            chosen = chosen.where(t.c.sequence < begin)
        # Not in the order of an index for somebody who may not see everything: a walk along it would take its time by
        # what others have.
        chosen = chosen.order_by((t.c.sequence if scope is None else t.c.sequence + 0).desc())
        return [self._row(row, keys) for row in self._db.read(lambda c: c.execute(chosen).all())]

    def get(self, name: str) -> ConflictRow:
        """Return a conflict. Raises NotFound."""
        rows = self._db.read(
            lambda c: c.execute(sa.select(s.conflict).where(s.conflict.c.name == name, *_of_hash_sets_that_are())).all()
        )
        if not rows:
            raise no_conflict(name)
        return self._row(rows[0], self._keys())

    def entries_of(self, conflict_id: int) -> tuple[list[int], list[int]]:
        """Return the ids of some entries of each side, ascending."""
        sql = self._db.sql("SELECT entry, side FROM conflict_entry WHERE conflict = ? ORDER BY entry")
        rows = self._db.fetch(sql, (conflict_id,))
        return [row[0] for row in rows if row[1] == _LEFT], [row[0] for row in rows if row[1] == _RIGHT]

    def resolutions_of(self, conflict: ConflictRow) -> list[ConflictResolution]:
        """Return what was said of a conflict, the oldest first."""
        r = s.conflict_resolution
        chosen = sa.select(r).where(r.c.conflict == conflict.id).order_by(r.c.id)
        return [
            ConflictResolution(
                contributor=row.contributor,
                actor=row.actor,
                role=ROLE_OF_CODE[row.role],
                reason=ConflictReason(row.reason),
                comment=row.comment,
                decided_for=row.decided_for,
                closes=bool(row.closes),
                stands=row.grounds == conflict.grounds,
                create_time=s.from_millis(row.time),
                revision=row.revision,
            )
            for row in self._db.read(lambda c: c.execute(chosen).all())
        ]

    def opened_after(self, sequence: int, *, contributor: str = "", limit: int = 100) -> list[ConflictRow]:
        """Return up to `limit` conflicts that were opened, or opened again, after this one's `sequence` and still are,
        in that order; with `contributor`, those to which it is a party.

        Whose terms let whom know of one is for the hub to ask.
        """
        keys = self._keys()
        t = s.conflict
        chosen = (
            sa.select(t)
            .where(t.c.sequence > sequence, t.c.state.in_([_OPEN, _ASSIGNED]), *_of_hash_sets_that_are())
            .order_by(t.c.sequence)
            .limit(limit)
        )
        if contributor:
            own = [key for key, name in keys.items() if name.partition("/")[0] == contributor]
            chosen = chosen.where(sa.or_(t.c.left_set.in_(own), t.c.right_set.in_(own)))
        return [self._row(row, keys) for row in self._db.read(lambda c: c.execute(chosen).all())]

    def last_sequence(self) -> int:
        """Return the sequence of the conflict that was opened last; 0: there was none."""
        last: int = self._db.fetch("SELECT sequence FROM conflict_progress")[0][0]
        return last

    def counts(
        self, query: ConflictQuery, steps_down: Mapping[str, int], scope: ConflictScope | None
    ) -> list[PairCount]:
        """Return how many conflicts there are, by pair of hash sets, kind, gravity and state."""
        keys = self._keys()
        t = s.conflict
        by = (t.c.left_set, t.c.right_set, t.c.kind, t.c.gravity, t.c.state)
        chosen = (
            sa.select(*by, sa.func.count())
            .where(*self._conditions(query, steps_down, scope, keys), *_of_hash_sets_that_are())
            .group_by(*by)
        )
        return [
            PairCount(keys[row[0]], keys[row[1]], _KINDS[row[2]], _SEVERITIES[row[3]], _STATES[row[4]], row[5])
            for row in self._db.read(lambda c: c.execute(chosen).all())
        ]

    def item_count(self, own: Collection[str], visible: Collection[str]) -> int:
        """Return about how many items hash sets of `own` have conflicts that have not ended with any of `visible`."""
        keys = self._keys()
        t = s.conflict
        mine = [key for key, name in keys.items() if name in own]
        others = [key for key, name in keys.items() if name in visible]
        stands = t.c.state != _ENDED
        items = sa.union(
            sa.select(t.c.item).where(stands, t.c.left_set.in_(mine), t.c.right_set.in_(others)),
            sa.select(t.c.item).where(stands, t.c.right_set.in_(mine), t.c.left_set.in_(others)),
        ).subquery()
        chosen = sa.select(sa.func.count()).select_from(items)
        count: int = self._db.read(lambda c: c.execute(chosen).scalar_one())
        return count

    def _conditions(
        self,
        query: ConflictQuery,
        steps_down: Mapping[str, int],
        scope: ConflictScope | None,
        keys: Mapping[int, str],
    ) -> list[sa.ColumnElement[bool]]:
        t = s.conflict

        def of(names: Collection[str]) -> list[int]:
            return [key for key, name in keys.items() if name in names]

        states = query.states or (ConflictState.OPEN, ConflictState.ASSIGNED, ConflictState.RESOLVED)
        conditions: list[sa.ColumnElement[bool]] = [t.c.state.in_([s.CONFLICT_STATES[x] for x in states])]
        if scope is not None:
            own, visible = of(scope.own), of(scope.visible)
            conditions.append(
                sa.or_(
                    sa.and_(t.c.left_set.in_(own), t.c.right_set.in_(visible)),
                    sa.and_(t.c.right_set.in_(own), t.c.left_set.in_(visible)),
                )
            )
        if query.kinds:
            conditions.append(t.c.kind.in_([s.CONFLICT_KINDS[x] for x in query.kinds]))
        if query.severities:
            down = [of({name for name, steps in steps_down.items() if steps == n}) for n in (2, 1)]
            lowest = sa.case(
                (sa.or_(t.c.left_set.in_(down[0]), t.c.right_set.in_(down[0])), t.c.gravity - 2),
                (sa.or_(t.c.left_set.in_(down[1]), t.c.right_set.in_(down[1])), t.c.gravity - 1),
                else_=t.c.gravity,
            )
            severity = sa.case((lowest < 0, 0), else_=lowest)
            conditions.append(severity.in_([s.SEVERITIES[x] for x in query.severities]))
        if query.pair is not None:
            one, other = of(query.pair[0]), of(query.pair[1])
            conditions.append(
                sa.or_(
                    sa.and_(t.c.left_set.in_(one), t.c.right_set.in_(other)),
                    sa.and_(t.c.left_set.in_(other), t.c.right_set.in_(one)),
                )
            )
        for names in query.parties:
            party = of(names)
            conditions.append(sa.or_(t.c.left_set.in_(party), t.c.right_set.in_(party)))
        if query.of_jurisdiction is not None:
            there = of(query.of_jurisdiction)
            conditions.append(
                sa.or_(t.c.left_set.in_(there), t.c.right_set.in_(there), t.c.dimension == f"legal_status:{query.law}")
            )
        if query.assignee:
            conditions.append(t.c.assignee == query.assignee)
        if query.since_revision:
            conditions.append(t.c.revision >= query.since_revision)
        if query.entry is not None:
            member, of_set = s.conflict_entry.c, of({query.entry[0]})
            on_side = sa.select(member.conflict).where(member.entry == query.entry[1])
            conditions.append(
                sa.or_(
                    sa.and_(t.c.left_set.in_(of_set), t.c.id.in_(on_side.where(member.side == 1))),
                    sa.and_(t.c.right_set.in_(of_set), t.c.id.in_(on_side.where(member.side == 2))),  # noqa: PLR2004
                )
            )
        return conditions

    # What people do

    def assign(
        self, name: str, assignee: str, *, by: Actor = SYSTEM, validate_only: bool = False, request_id: str = ""
    ) -> ConflictRow:
        """Give a conflict to somebody, or, with an empty `assignee`, to nobody; return it.

        Raises NotFound; FailedPrecondition when it is RESOLVED or has ENDED.
        """
        request = Request(request_id, "assign_conflict", (name, assignee), by.name)
        with self._db.write() as c:
            self._db.lock(c)
            row = self._of_name(c, name)
            if request.replayed(c, str) is not None:
                return row
            if row.state in {ConflictState.RESOLVED, ConflictState.ENDED}:
                raise _closed(row)
            if validate_only or row.assignee == assignee:
                return row
            append_event(
                c,
                by,
                EventKind.CONFLICT_ASSIGNED,
                subject=f"conflicts/{name}",
                facts={"kind": row.kind},
                details={"assignee": assignee, "before": row.assignee},
            )
            state = _ASSIGNED if assignee else _OPEN
            self._set(c, row.id, {"assignee": assignee, "state": state, "update_time": s.to_millis(now())})
            request.remember(c, name)
            return self._of_name(c, name)

    def resolve(
        self,
        name: str,
        resolution: ConflictResolution,
        *,
        etag: str = "",
        by: Actor = SYSTEM,
        validate_only: bool = False,
        request_id: str = "",
    ) -> ConflictRow:
        """Append what somebody says that a conflict comes to, and return the conflict; RESOLVED where it `closes`.

        Raises NotFound; FailedPrecondition when it is RESOLVED or has ENDED, and beyond COMMENTS views of one
        contributor; Conflict when `etag` is of other statements.
        """
        said = (resolution.reason, resolution.comment, resolution.decided_for, resolution.closes)
        request = Request(request_id, "resolve_conflict", (name, said, etag), by.name)
        r = s.conflict_resolution
        with self._db.write() as c:
            self._db.lock(c)
            row = self._of_name(c, name)
            if request.replayed(c, str) is not None:
                return row
            if row.state is ConflictState.ENDED or (row.state is ConflictState.RESOLVED and resolution.closes):
                raise _closed(row)
            if etag and etag != etag_of(row):
                raise Clash(
                    f"what the parties of conflict {name} state has changed since it was read; read it again, then "
                    "say what it comes to"
                )
            if not resolution.closes:
                views = sa.select(sa.func.count()).where(
                    r.c.conflict == row.id, r.c.contributor == by.contributor, r.c.closes.is_(False)
                )
                if c.execute(views).scalar_one() >= COMMENTS:
                    raise FailedPrecondition(
                        f"{by.contributor} has said {COMMENTS} times what it thinks of conflict {name}; ask the hub's "
                        "operator to close it",
                        reason=Reason.CONFLICT_CLOSED,
                    )
            if validate_only:
                return row
            at = now()
            revision = append_event(
                c,
                by,
                EventKind.CONFLICT_RESOLVED if resolution.closes else EventKind.CONFLICT_COMMENTED,
                subject=f"conflicts/{name}",
                reason=resolution.reason,
                facts={
                    "kind": row.kind,
                    **({"decided_for": resolution.decided_for} if resolution.decided_for else {}),
                },
                details={"comment": resolution.comment},
                at=at,
            )
            c.execute(
                sa.insert(r).values(
                    conflict=row.id,
                    contributor=by.contributor,
                    actor=by.name,
                    role=s.ROLES[by.role],
                    reason=resolution.reason,
                    comment=resolution.comment,
                    decided_for=resolution.decided_for,
                    closes=resolution.closes,
                    grounds=row.grounds,
                    time=s.to_millis(at),
                    revision=revision,
                )
            )
            if resolution.closes:
                closed = {"state": _RESOLVED, "resolved_grounds": row.grounds, "update_time": s.to_millis(at)}
                self._set(c, row.id, closed)
            request.remember(c, name)
            return self._of_name(c, name)

    def _of_name(self, c: Connection, name: str) -> ConflictRow:
        row = c.execute(sa.select(s.conflict).where(s.conflict.c.name == name)).first()
        if row is None:
            raise no_conflict(name)
        return self._row(row, self._keys())

    def _keys(self) -> Mapping[int, str]:
        return self._feeds.hash_set_keys()

    def set_keys(self) -> Mapping[int, str]:
        """Return the names of hash sets (`CONTRIBUTOR/SET`) by key."""
        return self._keys()

    def _row(self, row: Any, keys: Mapping[int, str]) -> ConflictRow:
        return ConflictRow(
            id=row.id,
            name=row.name,
            kind=_KINDS[row.kind],
            dimension=row.dimension,
            gravity=_SEVERITIES[row.gravity],
            left=keys[row.left_set],
            right=keys[row.right_set],
            left_count=row.left_count,
            right_count=row.right_count,
            grounds=row.grounds,
            state=_STATES[row.state],
            assignee=row.assignee,
            sequence=row.sequence,
            open_time=s.from_millis(row.open_time),
            update_time=s.from_millis(row.update_time),
            revision=row.revision,
            ended_by=row.ended_by,
            ended_side=row.ended_side,
        )


# In the order of the table's columns, up to what `apply` asks for.
_SELECT: Final = (
    "SELECT t.id, t.name, t.kind, t.dimension, t.gravity, t.item, t.left_set, t.right_set, t.left_count, "
    "t.right_count, t.grounds, t.state, t.assignee, t.resolved_grounds FROM conflict t"
)


def etag_of(row: ConflictRow) -> str:
    """Return what changes with a conflict's ground."""
    return hashlib.sha256(b"conflict etag\0" + row.grounds).hexdigest()[:_TRACE_BYTES]


def no_conflict(name: str) -> NotFound:
    """Return the error for a conflict that does not exist, or that the caller may not know of."""
    return NotFound(f"there is no conflict {name[:60]!r}", kind="Conflict", name=name)


def _members(number: int, conflict: FoundConflict) -> list[tuple[int, int, int]]:
    return [
        (number, entry, side) for side, of in ((_LEFT, conflict.left), (_RIGHT, conflict.right)) for entry in of.entries
    ]


def _told(state: int, reasons: str | None) -> str:
    if state == QUARANTINED:
        return "QUARANTINED"
    first = next(iter(unpack_reasons(reasons)), "")
    return first if first in _TOLD else "WITHDRAWN"


def _closed(row: ConflictRow) -> FailedPrecondition:
    state = "was resolved" if row.state is ConflictState.RESOLVED else "has ended"
    return FailedPrecondition(
        f"conflict {row.name} {state}; it opens again by itself when a party states something else about the item",
        reason=Reason.CONFLICT_CLOSED,
    )


def _of_hash_sets_that_are() -> tuple[sa.ColumnElement[bool], ...]:
    """Return the condition that neither hash set of a conflict was deleted."""
    t, h = s.conflict, s.hash_set
    deleted = sa.select(h.c.key).where(h.c.delete_revision > 0)
    return (t.c.left_set.not_in(deleted), t.c.right_set.not_in(deleted))
