"""What waits for somebody, by hash set: in quarantine, for a second person, for an answer to an objection, to be
committed, or for the operator's acceptance.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final, NamedTuple

import sqlalchemy as sa

from hashhub.model import OBJECTIONS, EventKind, ImportState, Purpose, ReviewKind, number_of
from hashhub.store import schema as s
from hashhub.store.database import Database
from hashhub.store.entry_codec import unpack_reasons
from hashhub.store.events import facts_of
from hashhub.store.resources import Resources
from hashhub.store.schema import QUARANTINED, STAGED_AROUND, WITHDRAWN

COUNTED: Final = 100_000  # entries of one hash set that are counted; of more it is told that there are more
_IMPORTS: Final = 1_000


class BacklogItems(NamedTuple):
    """So many things of one kind in one hash set (`CONTRIBUTOR/SET`); `name`: one of them, as commands write it."""

    hash_set: str
    reason: str
    number: int
    name: str
    actor: str = ""
    since: datetime | None = None


class BacklogKinds(NamedTuple):
    """What may wait in a hash set: entries in quarantine, withdrawals for a second person, reviews for an answer."""

    hash_set: str
    has_quarantined: bool
    has_requests: bool
    has_reviews: bool


class Backlog:
    """The part of the Store that lists pending work by hash set."""

    def __init__(self, database: Database, resources: Resources) -> None:
        self._db = database
        self._resources = resources

    def hash_sets(self, contributor: str = "") -> list[BacklogKinds]:
        """Return by name where something may wait, by one statement; `contributor` empty: of all."""
        sql = (
            "SELECT w.contributor, w.id, w.quarantined, w.requested, w.reviewed "  # noqa: S608 - our own text
            "FROM (SELECT h.contributor, h.id, "
            f"EXISTS (SELECT 1 FROM entry e WHERE e.hash_set = h.key AND e.state = {QUARANTINED}) AS quarantined, "
            "EXISTS (SELECT 1 FROM withdrawal x WHERE x.hash_set = h.key AND x.pending) AS requested, "
            "EXISTS (SELECT 1 FROM reviewed a WHERE a.hash_set = h.key) AS reviewed "
            "FROM hash_set h WHERE h.delete_revision = 0 AND (? = '' OR h.contributor = ?)) w "
            "WHERE w.quarantined OR w.requested OR w.reviewed"
        )
        rows = self._db.fetch(sql, (contributor, contributor))
        return sorted(BacklogKinds(f"{row[0]}/{row[1]}", *(bool(has) for has in row[2:])) for row in rows)

    def quarantined(self, hash_set: str) -> list[BacklogItems]:
        """Return a hash set's quarantined entries by first reason; beyond COUNTED those of the lowest ids."""
        sql = (
            "SELECT q.reasons, count(*), min(q.id) FROM (SELECT e.reasons, e.id FROM entry e "  # noqa: S608 - our own
            f"WHERE e.hash_set = ? AND e.state = {QUARANTINED} AND NOT EXISTS ({STAGED_AROUND}) "
            f"ORDER BY e.id LIMIT {COUNTED}) q GROUP BY q.reasons"
        )
        by_reason: dict[str, tuple[int, int]] = {}
        for packed, count, first in self._db.fetch(sql, (self._db.hash_set_key(hash_set),)):
            reason = next(iter(unpack_reasons(packed)), "")
            before = by_reason.get(reason, (0, first))
            by_reason[reason] = (before[0] + count, min(before[1], first))
        return [
            BacklogItems(hash_set, why, n, f"{hash_set}/{number_of(first)}")
            for why, (n, first) in sorted(by_reason.items())
        ]

    def requests(self, hash_set: str) -> list[BacklogItems]:
        """Return the withdrawals that wait for a second person, by who asked for them."""
        sql = (
            "SELECT w.actor, count(*), min(w.entry), min(w.time) FROM withdrawal w WHERE w.hash_set = ? AND w.pending "
            "GROUP BY w.actor ORDER BY w.actor"
        )
        return [
            BacklogItems(hash_set, "", n, f"{hash_set}/{number_of(first)}", actor, s.from_millis(since))
            for actor, n, first, since in self._db.fetch(sql, (self._db.hash_set_key(hash_set),))
        ]

    def objections(self, hash_set: str) -> list[BacklogItems]:
        """Return the objections of others against entries that stand, and that nobody set aside, by their kind."""
        contributor = hash_set.partition("/")[0]
        kinds = ", ".join(str(s.REVIEW_KINDS[kind]) for kind in sorted(OBJECTIONS))
        # What was set aside is read once: asked of each review, it is looked for among all of its entry, and an entry
        # that somebody had reviewed 20,000 times took minutes. Not as a join, which PostgreSQL would make by a loop.
        sql = (
            "SELECT r.kind, count(DISTINCT a.entry), min(a.entry), min(r.create_time) "  # noqa: S608 - our own text
            "FROM reviewed a JOIN review r ON r.id = a.review JOIN entry e ON e.id = a.entry "
            f"WHERE a.hash_set = ? AND e.state <> {WITHDRAWN} AND r.kind IN ({kinds}) AND r.author <> ? "
            "AND substr(r.author, 1, ?) <> ? AND (a.entry, r.id) NOT IN (SELECT b.entry, q.sets_aside "
            "FROM reviewed b JOIN review q ON q.id = b.review WHERE b.hash_set = ? AND q.sets_aside <> 0) "
            "GROUP BY r.kind ORDER BY r.kind"
        )
        own = f"{contributor}/"
        key = self._db.hash_set_key(hash_set)
        rows = self._db.fetch(sql, (key, contributor, len(own), own, key))
        return [
            BacklogItems(
                hash_set, s.REVIEW_KINDS.members[kind], n, f"{hash_set}/{number_of(first)}", "", s.from_millis(since)
            )
            for kind, n, first, since in rows
        ]

    def open_imports(self, contributor: str = "") -> list[BacklogItems]:
        """Return the imports that were never committed, the oldest first; empty: of all contributors."""
        t, h = s.imports, s.hash_set
        query = (
            sa.select(h.c.contributor, h.c.id, t.c.id, t.c.staged_items, t.c.actor, t.c.create_time)
            .join(h, h.c.key == t.c.hash_set)
            .where(t.c.state == s.IMPORT_STATES[ImportState.OPEN])
            .order_by(t.c.key)
            .limit(_IMPORTS)
        )
        if contributor:
            query = query.where(h.c.contributor == contributor)
        rows = self._db.select(query)
        return [
            BacklogItems(f"{row[0]}/{row[1]}", "", row[3], f"{row[0]}/{row[1]}/{row[2]}", row[4], s.from_millis(row[5]))
            for row in rows
        ]

    def unaccepted(self, contributor: str = "") -> list[BacklogItems]:
        """Return objections (`hash_set`: a contributor), harmless verdicts and benign sets still to be accepted."""
        lines: list[BacklogItems] = []
        accepted = {x.id: x.objections_accepted_revision for x in self._resources.contributors().values()}
        for row in self._db.fetch("SELECT DISTINCT author FROM review WHERE awaits_acceptance"):
            author: str = row[0]
            own = author.partition("/")[0]
            if contributor and own != contributor:
                continue
            later = (
                "SELECT count(*), min(create_time) FROM review WHERE author = ? AND awaits_acceptance AND revision > ?"
            )
            count, since = self._db.fetch(later, (author, accepted.get(own, 0)))[0]
            if count:
                lines.append(BacklogItems(own, ReviewKind.FALSE_POSITIVE, count, own, "", s.from_millis(since)))
        for x in self._resources.hash_sets().values():
            if contributor and x.contributor != contributor:
                continue
            rows = self._imports_since(x.name, x.accepted_revision)
            counts = [
                (facts.get("accepted", 0) if x.purpose is Purpose.BENIGN else facts.get("awaits_acceptance", 0), time)
                for body, time in rows
                for facts in (facts_of(body),)
            ]
            waiting = [(n, time) for n, time in counts if isinstance(n, int) and n]
            if waiting:
                total = sum(n for n, _ in waiting)
                lines.append(BacklogItems(x.name, "", total, x.name, "", s.from_millis(waiting[0][1])))
        return lines

    def _imports_since(self, hash_set: str, revision: int) -> list[tuple[bytes, int]]:
        """Return body and time of the events of a hash set's imports behind a revision, the oldest first."""
        of_set = f"imports/{hash_set}"  # 0 follows the slash
        sql = (
            "SELECT body, time FROM event WHERE subject >= ? AND subject < ? AND kind = ? AND revision > ? "
            "ORDER BY revision LIMIT ?"
        )
        about = (f"{of_set}/", f"{of_set}0", EventKind.IMPORT_COMMITTED.value, revision, _IMPORTS)
        rows = self._db.fetch(sql, about)
        return [(row[0], row[1]) for row in rows]
