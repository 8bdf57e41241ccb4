"""How long things are kept: settings of hash sets, what is too old by them, and what is deleted by the hub's settings.

Nothing is deleted by age unless somebody said so, and each run that removes something is an event with counts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

import msgspec
import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.engine import Connection

from hashhub.model import SYSTEM, Actor, Disposition, Event, EventKind, Retention
from hashhub.store import schema as s
from hashhub.store.database import Database
from hashhub.store.deletion import PURGED_AT_ONCE, deletable, purge_entries
from hashhub.store.entry_codec import ascending
from hashhub.store.events import Events, append_event, last_before, touch_resource
from hashhub.store.resources import to_json
from hashhub.store.schema import ACTIVE, COMMITTED, QUARANTINED, STAGED_AROUND, WITHDRAWN
from hashhub.store.stage import named_entries

REPORT_DELETED: Final = "REPORT_DELETED"
_STATED: Final = re.compile(r"entry \S+/([0-9]+) already states exactly this")  # as intake's report says it


class RetentionTable:
    """The part of the Store that knows how long things are kept."""

    def __init__(self, database: Database, history: Events, secret: bytes) -> None:
        self._db = database
        self._history = history
        self._secret = secret

    def get(self, contributor: str, hash_set: str) -> Retention:
        """Return the retention of a hash set. Raises NotFound."""
        return self._db.read(lambda c: _retention(c, self._db.key_of_set(contributor, hash_set, c)))

    def all(self) -> Mapping[str, Retention]:
        """Return the retention of the hash sets that have one, by name."""
        t = s.hash_set
        query = sa.select(t.c.contributor, t.c.id, t.c.retention).where(
            t.c.retention.is_not(None), t.c.delete_revision == 0
        )
        rows = self._db.select(query)
        return {f"{row[0]}/{row[1]}": msgspec.json.decode(row[2], type=Retention) for row in rows}

    def update(
        self,
        contributor: str,
        hash_set: str,
        change: Callable[[Retention], Retention],
        *,
        comment: str,
        by: Actor,
        reason: str = "",
    ) -> Retention:
        """Replace the retention of a hash set by what `change` makes of it, which may raise. Raises NotFound."""
        with self._db.write_in_order() as c:
            key = self._db.key_of_set(contributor, hash_set, c)
            before = _retention(c, key)
            after = change(before)
            if after != before:
                told = {
                    name: str(getattr(after, name))
                    for name in ("days", "hold", "asked_by")
                    if getattr(before, name) != getattr(after, name)
                }
                touch_resource(c, f"hash-sets/{contributor}/{hash_set}")
                append_event(
                    c,
                    by,
                    EventKind.RETENTION_CHANGED,
                    subject=f"hash-sets/{contributor}/{hash_set}",
                    reason=reason,
                    facts={"fields": tuple(sorted(told)), "days": after.days, "hold": int(after.hold)},
                    details={"comment": comment},
                    undo={"before": to_json(before), "after": to_json(after)},
                )
                c.execute(sa.update(s.hash_set).where(s.hash_set.c.key == key).values(retention=to_json(after)))
            return after

    def aged(self, contributor: str, hash_set: str, before: datetime) -> NDArray[np.int64]:
        """Return the live entries of a hash set that nobody has moved, or listed, be it unchanged, since a time, by id.
        Raises NotFound.
        """
        t = s.imports
        millis = s.to_millis(before)

        def read(c: Connection) -> NDArray[np.int64]:
            key = self._db.key_of_set(contributor, hash_set, c)
            rows = c.execute(
                sa.select(t.c.key, t.c.commit_time, t.c.touch_time).where(t.c.hash_set == key, t.c.state == COMMITTED)
            ).all()
            old = [row.key for row in rows if max(row.commit_time or 0, row.touch_time) < millis]
            if not old:
                return np.empty(0, np.int64)
            last = last_before(c, millis)
            sql = (
                "SELECT e.id FROM entry e WHERE e.hash_set = ? "  # noqa: S608 - our own numbers
                f'AND e.state IN ({ACTIVE}, {QUARANTINED}) AND e.update_revision <= ? AND e."import" {{keys}} '
                f"AND NOT EXISTS ({STAGED_AROUND})"
            )
            stale = self._db.by_keys(sql, "int8", (key, last), sorted(old), c)
            ids = ascending(np.fromiter((row[0] for row in stale), np.int64))
            for import_key in sorted({row.key for row in rows} - set(old)) if len(ids) else ():
                ids = ids[~np.isin(ids, self._unchanged(c, import_key))]
            return ids

        return self._db.read(read)

    def purge_withdrawn(self, hash_set: str, before: datetime) -> int:
        """Delete some of a set's unreviewed entries withdrawn before a time; return how many. Raises NotFound."""
        contributor, _, own = hash_set.partition("/")
        sql = (
            "SELECT e.id, e.external_id, e.hashes FROM entry e WHERE e.hash_set = ? AND e.state = ? "
            "AND e.update_revision > 0 AND e.update_revision <= ? "
            "AND NOT EXISTS (SELECT 1 FROM reviewed r WHERE r.hash_set = e.hash_set AND r.entry = e.id) "
            "AND NOT EXISTS (SELECT 1 FROM hold x WHERE x.entry = e.id AND x.traces IS NOT NULL) ORDER BY e.id LIMIT ?"
        )
        with self._db.write_in_order() as c:
            key = self._db.key_of_set(contributor, own, c)
            if _retention(c, key).hold:
                return 0
            last = last_before(c, s.to_millis(before))
            rows = [tuple(row) for row in self._db.execute(c, sql, (key, WITHDRAWN, last, PURGED_AT_ONCE))]
            if not rows:
                return 0
            rows = list(deletable(self._db, rows))
            gone = purge_entries(c, self._db, key, rows, secret=self._secret, all_holds=True)
            append_event(
                c,
                SYSTEM,
                EventKind.RETENTION_APPLIED,
                subject=f"hash-sets/{hash_set}",
                reason="WITHDRAWN_ENTRIES",
                facts={"entries": gone.entries, "hashes": gone.hashes, "holds": gone.holds},
            )
            return gone.entries

    def last_purge(self, after: int) -> list[Event]:
        """Return the event of the last purge of withdrawn entries behind a revision, if there is one."""
        return self._history.list_events(
            kinds=[EventKind.RETENTION_APPLIED], subjects=["hash-sets"], after_revision=after, limit=1
        )

    def purge_report(self, hash_set: str, before: datetime) -> int:
        """Replace the oldest report made before a time by one line; return how many went. Raises NotFound."""
        contributor, _, own = hash_set.partition("/")
        t = s.imports
        with self._db.write_in_order() as c:
            key = self._db.key_of_set(contributor, own, c)
            if _retention(c, key).hold:
                return 0
            row = c.execute(
                sa.select(t.c.key, t.c.id, t.c.finding_count)
                .where(
                    t.c.hash_set == key,
                    t.c.state.in_((COMMITTED, s.CANCELLED)),
                    t.c.finding_count > 1,
                    sa.func.coalesce(t.c.commit_time, t.c.create_time) < s.to_millis(before),
                    t.c.touch_time < s.to_millis(before),
                )
                .order_by(t.c.key)
                .limit(1)
            ).first()
            if row is None:
                return 0
            for table in (s.finding, s.finding_run):
                c.execute(sa.delete(table).where(table.c["import"] == row.key))
            count = row.finding_count
            text = f"the report's {count:,} lines were deleted by age; the import's counts stay"
            noted = s.DISPOSITIONS[Disposition.NOTED]
            self._db.insert(c, s.finding, [(row.key, 0, "", noted, REPORT_DELETED, text, 0)])
            c.execute(sa.update(t).where(t.c.key == row.key).values(finding_count=1))
            append_event(
                c,
                SYSTEM,
                EventKind.RETENTION_APPLIED,
                subject=f"imports/{hash_set}/{row.id}",
                reason="REPORT",
                facts={"findings": count},
            )
            return int(count)

    def note_deliveries(self, count: int) -> None:
        """Append the event of deleted calls of webhooks."""
        with self._db.write_in_order() as c:
            append_event(
                c, SYSTEM, EventKind.RETENTION_APPLIED, reason="WEBHOOK_DELIVERIES", facts={"deliveries": count}
            )

    def _unchanged(self, c: Connection, import_key: int) -> NDArray[np.int64]:
        """Return the entries that an import found unchanged, those that go on waiting in quarantine included."""
        code = s.DISPOSITIONS[Disposition.UNCHANGED]
        f = s.finding
        waiting = sa.select(f.c.entry).where(
            f.c["import"] == import_key, f.c.disposition == s.DISPOSITIONS[Disposition.QUARANTINED], f.c.entry > 0
        )
        details = c.execute(sa.select(f.c.detail).where(f.c["import"] == import_key, f.c.disposition == code)).scalars()
        single = [int(m[1]) for text in details if (m := _STATED.search(text))]
        single += c.execute(waiting).scalars()
        return np.concatenate([np.array(single, np.int64), *named_entries(c, import_key, Disposition.UNCHANGED)])


def _retention(c: Connection, key: int) -> Retention:
    content = c.scalar(sa.select(s.hash_set.c.retention).where(s.hash_set.c.key == key))
    return Retention() if content is None else msgspec.json.decode(content, type=Retention)
