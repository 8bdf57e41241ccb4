"""Imports: a list's batches as they come in, and what became of it in the end.

create_import ─ put_batch … ─ a commit (commits) ─ findings
OPEN           OPEN       COMMITTING, then COMMITTED; or CANCELLED
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from hashhub.errors import Conflict, FailedPrecondition, LimitExceeded, NotFound, Reason, Unavailable
from hashhub.hygiene import Code
from hashhub.model import SYSTEM, ChangeKind, Counts, Disposition, EventKind, Finding, Import, ImportState, Marking, now
from hashhub.store import schema as s
from hashhub.store.database import Database, IdempotentRequest
from hashhub.store.events import append_event
from hashhub.store.leases import Commit, Leases, is_held
from hashhub.store.resources import check_active, refuse_looser_than_list, to_json
from hashhub.store.schema import CANCELLED, COMMITTED
from hashhub.store.stage import FindingRun, Reports, Stage

# Of an import that has just been opened, as its contributor has them.
_SIGNATURE: Final = ("signature", "signing_key")
_SAME_COLUMNS: Final = (
    "connector",
    "connector_version",
    "source_digest",
    "replace",
    "has_classifications",
    "actor",
    *_SIGNATURE,
)
_MOMENT: Final = timedelta(seconds=2)  # longer than a sender takes between two batches
_SWEPT: Final = 8  # batches deleted in one transaction: some 10 MB, which take 50 ms


class Imports:
    """The part of the Store that takes imports in."""

    def __init__(self, database: Database, leases: Leases, stage: Stage, reports: Reports) -> None:
        self._db = database
        self._leases = leases
        self._stage = stage
        self._reports = reports

    def create_import(
        self, new: Import, *, sign_time: datetime | None = None, request_id: str = "", most_open: int | None = None
    ) -> Import:
        """Open an import, or return the one of the same hash set, source digest, connector, version and `replace`.

        An OPEN or COMMITTING one is to be resumed. A COMMITTED one counts as done only while nothing was withdrawn from
        the set since, other than by a newer statement; a replacing one while it is the last there; and one that asks
        for withdrawals while nothing has become active since: a deletion message that comes again after its item was
        listed again deletes it again. One that is not committed takes the signature of the new one, if leaves of all of
        it were kept, or else does not count; nor does a COMMITTED one that this key did not sign.

        Raises NotFound; FailedPrecondition where the set's terms are looser than the list's; LimitExceeded beyond
        `most_open` of its contributor that are not committed.
        """
        kept = ("contributor", "hash_set", *_SAME_COLUMNS, "terms")
        fresh = Import(id="", **{name: getattr(new, name) for name in kept})
        request = IdempotentRequest(request_id, "create_import", fresh, new.actor)
        t = s.imports
        with self._db.write_in_order() as c:
            if (first := request.replayed(c, Import)) is not None:
                return first
            check_active(c, new.contributor)
            set_key = self._db.key_of_set(new.contributor, new.hash_set, c)
            terms = to_json(new.terms) if new.terms else None
            refuse_looser_than_list(c, set_key, terms)
            of_this_source = _import_rows(
                c,
                t.c.hash_set == set_key,
                t.c.source_digest == new.source_digest,
                t.c.connector == new.connector,
                t.c.connector_version == new.connector_version,
                t.c.replace == new.replace,
                t.c.state != CANCELLED,
            )
            latest = of_this_source[0] if of_this_source else None
            if latest is not None and new.signature not in {b"", latest.signature}:
                latest = self._signed_now(c, latest, new, sign_time)
            is_open = latest is not None and latest.state is not ImportState.COMMITTED
            if latest is not None and (is_open or _is_last_word(c, set_key, latest)):
                if not is_open:  # it is listed once more, see Retentions.aged
                    c.execute(sa.update(t).where(t.c.id == latest.id).values(touch_time=s.to_millis(now())))
                return request.remember(c, latest)
            self._check_open(c, new.contributor, most_open)
            at = now()
            created = msgspec.structs.replace(fresh, id=f"imp-{secrets.token_hex(8)}", create_time=at)
            c.execute(
                sa.insert(t).values(
                    id=created.id,
                    hash_set=set_key,
                    state=s.OPEN,
                    counts=to_json(created.counts),
                    create_time=s.to_millis(at),
                    terms=terms,
                    sign_time=None if sign_time is None else s.to_millis(sign_time),
                    **{name: getattr(created, name) for name in _SAME_COLUMNS},
                    open_revision=sa.select(s.metadata.c.revision).scalar_subquery(),
                )
            )
            return request.remember(c, created)

    def _signed_now(self, c: Connection, latest: Import, new: Import, sign_time: datetime | None) -> Import | None:
        """Give an import that goes on the signature of a new one of the same source, and return it; None: it cannot."""
        t, x = s.imports, s.entry_leaves
        if latest.state is ImportState.COMMITTED:
            return latest if latest.signing_key == new.signing_key else None
        key, holder, until = c.execute(sa.select(t.c.key, t.c.lease, t.c.lease_until).where(t.c.id == latest.id)).one()
        with_leaves = c.scalar(sa.select(sa.func.count()).where(x.c["import"] == key))
        if is_held(holder, until) or with_leaves != latest.batch_count or sign_time is None:
            return None
        values = {name: getattr(new, name) for name in _SIGNATURE}
        c.execute(sa.update(t).where(t.c.key == key).values(**values, sign_time=s.to_millis(sign_time)))
        return msgspec.structs.replace(latest, **values)

    def has_newer_signed(self, import_: Import, sign_time: datetime, *, but_the_same: bool) -> bool:
        """Whether another list was committed that makes one that was signed at this time an old one: the same, signed
        at the same time, or a signed one not before it of which either is the full list of their hash set.
        `but_the_same`: that was signed by the very same signature does not count.
        """
        t, h = s.imports, s.hash_set
        millis = s.to_millis(sign_time)
        is_full = sa.true() if import_.replace else t.c.replace
        same = sa.and_(t.c.source_digest == import_.source_digest, t.c.sign_time == millis)
        newer = (
            sa.select(t.c.key)
            .join(h, h.c.key == t.c.hash_set)
            .where(h.c.contributor == import_.contributor, h.c.id == import_.hash_set, t.c.id != import_.id)
            .where(t.c.signature != import_.signature if but_the_same else sa.true())
            .where(t.c.state == COMMITTED, sa.or_(same, sa.and_(is_full, t.c.sign_time >= millis)))
        )
        return self._db.read(lambda c: c.execute(newer.limit(1)).first()) is not None

    def signed_imports(self, contributor: str, hash_set: str) -> list[Import]:
        """Return the committed imports of a hash set whose entries can be proved to be signed, the newest first."""
        t = s.imports
        has_leaves = sa.exists().where(s.entry_leaves.c["import"] == t.c.key)
        own = (s.hash_set.c.contributor == contributor, s.hash_set.c.id == hash_set)
        return self._db.read(lambda c: _import_rows(c, *own, t.c.state == COMMITTED, t.c.signing_key != "", has_leaves))

    def leaves(self, import_id: str) -> Iterator[bytes]:
        """Yield the leaves of an import's batches, in order; none of those that were sent before they were kept."""
        sql = (
            'SELECT x."index", x.leaves FROM entry_leaves x JOIN "import" i ON i.key = x."import" '
            'WHERE i.id = ? AND x."index" = ?'
        )
        for [(_, leaves)] in self._db.pages(-1, lambda last: self._db.fetch(sql, (import_id, last + 1))):
            yield bytes(leaves)

    def get_import(self, import_id: str) -> Import:
        """Return the import. Raises NotFound."""
        return self._db.read(lambda c: one_import(c, import_id))

    def list_imports(
        self, contributor: str = "", hash_set: str = "", page_size: int = 100, after: str = ""
    ) -> list[Import]:
        """Return up to `page_size` imports, the newest first, after the import `after`; empty names: all."""
        t = s.imports
        where = []
        if contributor:
            where.append(s.hash_set.c.contributor == contributor)
        if hash_set:
            where.append(s.hash_set.c.id == hash_set)
        if after:
            where.append(t.c.key < sa.select(t.c.key).where(t.c.id == after).scalar_subquery())
        return self._db.read(lambda c: _import_rows(c, *where, limit=page_size))

    def last_commit_times(self, limit: int) -> dict[str, list[datetime]]:
        """Return when each hash set's last imports were committed, up to `limit` of each, ascending, by its name."""
        t, h = s.imports, s.hash_set
        place = sa.func.row_number().over(partition_by=t.c.hash_set, order_by=t.c.key.desc()).label("place")
        last = (
            sa.select(t.c.hash_set, t.c.commit_time, place)
            .where(t.c.state == COMMITTED, t.c.commit_time.is_not(None))
            .subquery()
        )
        query = (
            sa.select(h.c.contributor, h.c.id, last.c.commit_time)
            .join(h, h.c.key == last.c.hash_set)
            .where(last.c.place <= limit)
            .order_by(last.c.commit_time)
        )
        times: dict[str, list[datetime]] = {}
        for contributor, hash_set, millis in self._db.select(query):
            times.setdefault(f"{contributor}/{hash_set}", []).append(s.from_millis(millis))
        return times

    def source_revisions(self, contributor: str, hash_set: str, source_digest: str) -> tuple[int, list[int]]:
        """Return the last revision when a source was first sent for a set, or the present one, and those of its
        commits, ascending. Raises NotFound.
        """
        t = s.imports

        def read(c: Connection) -> tuple[int, list[int]]:
            set_key = self._db.key_of_set(contributor, hash_set, c)
            where = (t.c.hash_set == set_key, t.c.source_digest == source_digest)
            first: int | None = c.scalar(sa.select(sa.func.min(t.c.open_revision)).where(*where))
            revisions = c.execute(sa.select(t.c.revision).where(*where, t.c.state == COMMITTED).order_by(t.c.revision))
            if first is None:
                first = c.execute(sa.select(s.metadata.c.revision)).scalar_one()
            return first, list(revisions.scalars())

        return self._db.read(read)

    def put_batch(
        self,
        import_id: str,
        index: int,
        payload: bytes,
        leaves: bytes | None = None,
        *,
        items: int = 0,
        most_bytes: int | None = None,
    ) -> Import:
        """Store one batch of an OPEN import, with so many items, and return the import; the same one again changes
        nothing. `leaves`: of its canonical entries, where they are kept.

        Raises Conflict when the payload differs, FailedPrecondition (IMPORT_INCOMPLETE: an earlier one is missing;
        IMPORT_CLOSED), LimitExceeded beyond `most_bytes` of its contributor in imports that are not committed.
        """
        t, b = s.imports, s.staged_batch
        with self._db.write() as c:
            row = c.execute(
                sa.select(t.c.key, t.c.state, t.c.batch_count).where(t.c.id == import_id).with_for_update()
            ).first()
            if row is None:
                raise _no_import(import_id)
            key, state, count = row
            if state != s.OPEN:
                raise closed(import_id, state)
            if index > count or index < 0:
                raise FailedPrecondition(
                    f"import {import_id} has {count} batches, so the next one has index {count}, got {index}; send the "
                    "missing ones",
                    reason=Reason.IMPORT_INCOMPLETE,
                    metadata={"nextBatch": str(count)},
                )
            if index == count:
                self._check_staged(c, key, len(payload) + len(leaves or b""), most_bytes)
                c.execute(sa.insert(b).values({"import": key, "index": index, "payload": payload}))
                if leaves is not None:
                    c.execute(sa.insert(s.entry_leaves).values({"import": key, "index": index, "leaves": leaves}))
                c.execute(
                    sa.update(t)
                    .where(t.c.key == key)
                    .values(
                        batch_count=count + 1,
                        staged_items=t.c.staged_items + items,
                        staged_bytes=t.c.staged_bytes + len(payload),
                        touch_time=s.to_millis(now()),
                    )
                )
            elif c.scalar(sa.select(b.c.payload).where(b.c["import"] == key, b.c.index == index)) != payload:
                raise Conflict(
                    f"batch {index} of import {import_id} was stored with other content; "
                    "cancel the import and start again if the source has changed"
                )
            return one_import(c, import_id)

    def batches(self, import_id: str) -> Iterator[bytes]:
        """Yield the stored batches' payloads in order; none once the import is COMMITTED or CANCELLED."""
        sql = (
            'SELECT b."index", b.payload FROM staged_batch b JOIN "import" i ON i.key = b."import" '
            'WHERE i.id = ? AND b."index" = ? AND i.state NOT IN (?, ?)'
        )
        pages = self._db.pages(-1, lambda last: self._db.fetch(sql, (import_id, last + 1, COMMITTED, CANCELLED)))
        for [(_, payload)] in pages:
            if import_id in self._leases.commits:
                self._leases.renew_commit(import_id)
            yield payload

    def expire_imports(self, before: datetime) -> list[ExpiredImport]:
        """Cancel, with an event and a report, the imports that nobody touched since `before`; return what they held."""
        t = s.imports
        millis = s.to_millis(before)
        idle = sa.select(t.c.id).where(s.UNDER_WAY, *_untouched_since(millis)).order_by(t.c.key)
        expired = (self._expire(import_id, millis) for import_id in self._db.read(lambda c: c.scalars(idle).all()))
        return [import_ for import_ in expired if import_ is not None]

    def _expire(self, import_id: str, millis: int) -> ExpiredImport | None:
        t = s.imports
        with self._db.write() as c:
            row = c.execute(
                sa.select(t.c.staged_items, t.c.staged_bytes, t.c.batch_count)
                .where(t.c.id == import_id, t.c.state.in_((s.OPEN, s.COMMITTING)), *_untouched_since(millis))
                .with_for_update()
            ).first()
            if row is None:  # somebody has gone on meanwhile
                return None
            # From here on nothing can be added: what is told is what it held.
            c.execute(sa.update(t).where(t.c.id == import_id).values(state=s.COMMITTING))
        items, size, batches = row
        detail = (
            f"nobody added to the import or committed it for too long; the {items} records of its {batches} batches "
            "were dropped: send the source again"
        )
        finding = Finding("import", Disposition.NOTED, Code.IMPORT_EXPIRED, detail)
        cancelled = self.cancel_import(
            import_id, findings=[finding], expired={"items": items, "batches": batches, "bytes": size}
        )
        return ExpiredImport(cancelled, items, batches)

    def cancel_import(
        self,
        import_id: str,
        *,
        counts: Counts | None = None,
        findings: Iterable[Finding | FindingRun] = (),
        expired: Mapping[str, int] | None = None,
        is_asked_for: bool = False,
    ) -> Import:
        """Purge what an import has staged, and return it CANCELLED; twice is a success.

        `counts` and `findings` stay as its report. `expired`: what it held, for an event that says so. `is_asked_for`:
        even a commit of another process ends. Raises FailedPrecondition (IMPORT_CLOSED); Conflict while another process
        commits it.
        """
        t = s.imports
        with self._db.write_in_order() as c:
            import_ = one_import(c, import_id)
            if import_.state is ImportState.CANCELLED:
                return import_
            if import_.state is ImportState.COMMITTED:
                raise closed(import_id, COMMITTED)
            key, set_key, holder, until = c.execute(
                sa.select(t.c.key, t.c.hash_set, t.c.lease, t.c.lease_until).where(t.c.id == import_id)
            ).one()
            ours = self._leases.commits.get(import_id)
            if not is_asked_for and (ours is None or ours.lease != holder) and is_held(holder, until):
                raise Conflict(
                    f"import {import_id} is being committed by another process; retry later", retry_after=1.0
                )
            lease = self._leases.take(c, key)
        self._leases.commits.pop(import_id, None)
        commit = Commit(import_id, key, set_key, lease, subject_of(import_), SYSTEM)
        with self._leases.releasing(commit):
            self._stage.purge(commit)
            self._reports.write(commit, findings)
            with self._db.write() as c:
                self._leases.renew(c, commit)
                c.execute(
                    sa.update(t)
                    .where(t.c.key == key)
                    .values(state=CANCELLED, counts=to_json(counts or Counts()), lease="", lease_until=0)
                )
                if expired is not None:
                    self._db.lock(c)
                    append_event(c, SYSTEM, EventKind.IMPORT_EXPIRED, subject=commit.subject, facts=dict(expired))
        with suppress(Unavailable, LimitExceeded):  # it is CANCELLED all the same
            self.sweep_batches()
        return self.get_import(import_id)

    def findings(
        self,
        import_id: str,
        page_size: int,
        after_ordinal: int = -1,
        dispositions: Iterable[Disposition] | None = None,
    ) -> list[tuple[int, Finding]]:
        """Return up to `page_size` lines of an import's report, of these `dispositions`, with their ordinals, after
        `after_ordinal`; there are some once it is COMMITTED, or was tried and CANCELLED. Raises NotFound.
        """
        lines = self._reports.page(import_id, page_size, after_ordinal, dispositions)
        if not lines:
            self.get_import(import_id)
        return lines

    def _check_open(self, c: Connection, contributor: str, most: int | None) -> None:
        """Raise LimitExceeded when the contributor has as many open imports as it may."""
        if most is None:
            return
        t = s.imports
        count: int = c.scalar(sa.select(sa.func.count(t.c.key)).where(*_open_of(contributor))) or 0
        if count >= most:
            raise LimitExceeded(
                f"{contributor} has {count} imports that are not committed, and may have {most}; commit or cancel some "
                f"(see `hashhub findings CONTRIBUTOR/SET`), or wait until they expire",
                reason=Reason.SHARE_EXCEEDED,
                metadata={"share": "open_imports", "most": str(most)},
            )

    def _check_staged(self, c: Connection, key: int, size: int, most: int | None) -> None:
        """Raise LimitExceeded when so many bytes more are beyond what the import's contributor may have staged."""
        if most is None:
            return
        t, h = s.imports, s.hash_set
        contributor: str = c.execute(
            sa.select(h.c.contributor).join(t, t.c.hash_set == h.c.key).where(t.c.key == key)
        ).scalar_one()
        staged: int = c.scalar(sa.select(sa.func.sum(t.c.staged_bytes)).where(*_open_of(contributor))) or 0
        if staged + size > most:
            raise LimitExceeded(
                f"{contributor} has sent {staged} bytes of records that are not committed, and may have sent {most}; "
                "commit or cancel what is open first, or send the source in parts",
                reason=Reason.SHARE_EXCEEDED,
                metadata={"share": "staged_bytes", "most": str(most)},
            )

    def are_coming_in(self) -> bool:
        """Whether some import was opened or added to a moment ago, or is being committed, by whatever process."""
        t = s.imports
        recent = s.to_millis(now() - _MOMENT)
        active = sa.select(t.c.key).where(s.UNDER_WAY, sa.not_(sa.and_(*_untouched_since(recent))))
        return self._db.read(lambda c: c.execute(active.limit(1)).first()) is not None

    def sweep_batches(self, is_stopping: Callable[[], bool] = lambda: False) -> None:
        """Delete the batches of imports that are done, a few at a time; what is left the next call deletes. So are
        leaves of which no proof is asked: nobody signed them, or a later full list was signed.
        """
        t, later = s.imports, s.imports.alias()
        is_signed = sa.and_(t.c.state == COMMITTED, t.c.signing_key != "")
        of_set = (later.c.hash_set == t.c.hash_set, later.c.revision > t.c.revision, later.c.state == COMMITTED)
        is_replaced = sa.exists().where(*of_set, later.c.replace, later.c.signing_key != "")
        is_done = t.c.state.in_([COMMITTED, CANCELLED])
        for b, over in (
            (s.staged_batch, is_done),
            (s.entry_leaves, sa.and_(is_done, sa.or_(sa.not_(is_signed), is_replaced))),
        ):
            chosen = sa.select(b.c["import"], b.c.index).join(t, t.c.key == b.c["import"]).where(over)
            batches = [tuple(row) for row in self._db.select(chosen)]
            delete = f'DELETE FROM {b.name} WHERE "import" = ? AND "index" = ?'  # noqa: S608 - our own table
            for start in range(0, len(batches), _SWEPT):
                if is_stopping():
                    return
                with self._db.write() as c:
                    self._db.execute(c, delete, batches[start : start + _SWEPT])


class ExpiredImport(NamedTuple):
    """An import that was cancelled because nobody went on with it, and what it held."""

    source: Import
    items: int
    batches: int


def _open_of(contributor: str) -> tuple[sa.ColumnElement[bool], ...]:
    """Return the condition for a contributor's imports that are not committed or cancelled."""
    t, h = s.imports, s.hash_set
    sets = sa.select(h.c.key).where(h.c.contributor == contributor)
    # Not plainly by the hash set: its index has all imports that there ever were.
    return (s.UNDER_WAY, (t.c.hash_set + 0).in_(sets))


def _untouched_since(millis: int) -> tuple[sa.ColumnElement[bool], ...]:
    """Return the condition for an import that nobody opened, added to or tried to commit since then."""
    t = s.imports
    return (t.c.create_time < millis, t.c.touch_time < millis, t.c.lease_until < millis)


def _import_rows(c: Connection, *where: sa.ColumnElement[bool], limit: int | None = None) -> list[Import]:
    """Return imports, the newest first."""
    t, h = s.imports, s.hash_set
    query = (
        sa.select(t, h.c.contributor, h.c.id.label("set_id"))
        .join(h, h.c.key == t.c.hash_set)
        .where(h.c.delete_revision == 0, *where)
        .order_by(t.c.key.desc())
        .limit(limit)
    )
    return [
        s.struct_of(
            Import,
            row,
            hash_set=row.set_id,
            state=s.IMPORT_STATES.members[row.state],
            item_count=row.staged_items,
            counts=msgspec.json.decode(row.counts, type=Counts),
            create_time=s.from_millis(row.create_time),
            commit_time=s.time_of(row.commit_time),
            terms=msgspec.json.decode(row.terms or b"[]", type=tuple[Marking, ...]),
            signature=bytes(row.signature or b""),
        )
        for row in c.execute(query)
    ]


def _is_last_word(c: Connection, set_key: int, done: Import) -> bool:
    """Whether the hash set still holds what a COMMITTED import left in it, or newer statements about the same items."""
    t, h = s.imports, s.hash_set
    last = sa.select(sa.func.max(t.c.revision)).where(t.c.hash_set == set_key, t.c.state == COMMITTED)
    withdrawn: int = c.execute(sa.select(h.c.withdraw_revision).where(h.c.key == set_key)).scalar_one()
    if withdrawn > done.revision or (done.replace and done.revision != c.scalar(last)):
        return False
    if not done.counts.withdrawn:
        return True
    x = s.change
    active = sa.select(x.c.revision).where(
        x.c.revision > done.revision, x.c.hash_set == set_key, x.c.kind == s.CHANGE_KINDS[ChangeKind.UPSERT]
    )
    return c.execute(active.limit(1)).first() is None


def one_import(c: Connection, import_id: str) -> Import:
    """Return an import in this transaction. Raises NotFound."""
    rows = _import_rows(c, s.imports.c.id == import_id)
    if not rows:
        raise _no_import(import_id)
    return rows[0]


def subject_of(import_: Import) -> str:
    """Return what events call an import."""
    return f"imports/{import_.contributor}/{import_.hash_set}/{import_.id}"


def _no_import(import_id: str) -> NotFound:
    return NotFound(f"there is no import {import_id[:63]!r}", kind="Import", name=import_id)


def closed(import_id: str, state: int) -> FailedPrecondition:
    """Return the error for an import that is not OPEN any more; `state`: its code."""
    return FailedPrecondition(
        f"import {import_id} is {s.IMPORT_STATES.members[state]}; start a new import",
        reason=Reason.IMPORT_CLOSED,
        metadata={"state": str(s.IMPORT_STATES.members[state])},
    )
