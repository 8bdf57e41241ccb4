"""Webhooks, their calls, and how far the one process that makes them has got.

What is to be told is found by walking the history behind a remembered revision, which moves in the transaction that
writes the calls: a restart tells nothing twice. Of each webhook one call is made at a time, the oldest first; what
happens meanwhile is added to the call behind it, so that at most two wait for each kind of event.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from hashhub.errors import AlreadyExists, LimitExceeded, NotFound, Reason
from hashhub.model import (
    OBJECTIONS,
    Actor,
    DeliveryError,
    DeliveryState,
    EventKind,
    Webhook,
    WebhookDelivery,
    WebhookEvent,
    now,
)
from hashhub.store import schema as s
from hashhub.store.database import Database
from hashhub.store.events import decoded
from hashhub.store.leases import is_held
from hashhub.store.resources import check_active, registry_changed, to_json

NAMES: Final = 100  # of entries or conflicts that one call names
PLACES: Final = 1_000  # hash sets, or pairs of them, that one call counts one by one
# A process that died while it made the calls is waited for so long, unless PostgreSQL tells at once.
LEASE: Final = timedelta(seconds=30)
PAGE: Final = 1_000  # events looked at in one transaction
_PENDING: Final = s.DELIVERY_STATES[DeliveryState.PENDING]
_OTHERS: Final = ""  # stands for the places beyond PLACES


class NotifiableEvent(NamedTuple):
    """Something that webhooks may tell: its kind, the name of what it is about, and where that is.

    An objection to an entry: a review's kind, `CONTRIBUTOR/SET/ENTRY` and `CONTRIBUTOR/SET`. A conflict: its kind, its
    name, and both hash sets with a space between. `time`: in milliseconds.
    """

    revision: int
    time: int
    place: str
    name: str
    kind: str

    @property
    def contributor(self) -> str:
        """Whose entry it is."""
        return self.place.partition("/")[0]


class NotificationSummary(msgspec.Struct, kw_only=True):
    """What a call tells: how often what happened, by place and kind, and some names by place."""

    counts: dict[str, dict[str, int]] = {}
    names: dict[str, list[str]] = {}
    first_revision: int = 0
    last_revision: int = 0
    last_time: int = 0

    def add(self, one: NotifiableEvent) -> None:
        """Take in one more."""
        place = one.place if one.place in self.counts or len(self.counts) < PLACES else _OTHERS
        kinds = self.counts.setdefault(place, {})
        kinds[one.kind] = kinds.get(one.kind, 0) + 1
        if sum(map(len, self.names.values())) < NAMES and one.name not in self.names.get(one.place, ()):
            self.names.setdefault(one.place, []).append(one.name)
        self.first_revision = self.first_revision or one.revision
        self.last_revision = max(self.last_revision, one.revision)
        self.last_time = max(self.last_time, one.time)


class WebhookCall(NamedTuple):
    """A call that is to be made, to whom, and with which secrets it is signed: the present one first."""

    key: int
    delivery: WebhookDelivery
    webhook: Webhook
    told: NotificationSummary
    secrets: tuple[bytes, ...]
    first_attempt_time: datetime | None


class FailingWebhook(NamedTuple):
    """A webhook whose calls do not get through: `since` when, and how many were given up lately."""

    webhook: str
    since: datetime
    error: str
    given_up: int


class WebhookTable:
    """The part of the Store that knows whom to call, and what was told."""

    def __init__(self, database: Database) -> None:
        self._db = database

    # Webhooks

    def create_webhook(
        self, webhook: Webhook, secret: bytes, *, most: int, by: Actor, validate_only: bool = False
    ) -> Webhook:
        """Store a webhook; it is told of what happens from now on. Raises NotFound, FailedPrecondition when its
        contributor is retired, AlreadyExists, LimitExceeded when the contributor has `most` already.
        """
        t = s.webhook
        with self._db.write_in_order(dry=validate_only) as c:
            check_active(c, webhook.contributor)
            if _row(c, webhook.contributor, webhook.id) is not None:
                raise AlreadyExists(
                    f"webhook {webhook.name} exists already; update it or choose another id",
                    kind="Webhook",
                    name=webhook.name,
                )
            count = sa.select(sa.func.count()).where(t.c.contributor == webhook.contributor)
            if c.execute(count).scalar_one() >= most:
                raise LimitExceeded(
                    f"contributor {webhook.contributor} has {most} webhooks, and may have no more; delete one",
                    reason=Reason.SHARE_EXCEEDED,
                    metadata={"share": "webhooks", "most": str(most)},
                )
            revision: int = c.execute(sa.select(s.metadata.c.revision)).scalar_one() + 1
            webhook = msgspec.structs.replace(
                webhook, actor=by.name, create_time=now(), create_revision=revision, old_secret_until=None
            )
            if not c.execute(sa.select(sa.func.count()).select_from(t)).scalar_one():
                # Nobody was to be told of anything: what happened until now need not be walked through.
                last: int = c.execute(sa.select(s.conflict_progress.c.sequence)).scalar_one()
                c.execute(sa.update(s.sender).values(revision=revision, conflict_sequence=last))
            c.execute(
                sa.insert(t).values(
                    contributor=webhook.contributor, id=webhook.id, content=to_json(webhook), secret=secret
                )
            )
            _changed(c, by, EventKind.WEBHOOK_CREATED, None, webhook)
            return webhook

    def get_webhook(self, contributor: str, webhook: str) -> Webhook:
        """Return the webhook. Raises NotFound."""
        return _webhook(self._db.read(lambda c: _existing(c, contributor, webhook)))

    def list_webhooks(self, contributor: str | None = None) -> list[Webhook]:
        """Return the webhooks of one contributor, or of all, in the order of their names."""
        t = s.webhook
        query = sa.select(t).order_by(t.c.contributor, t.c.id)
        if contributor is not None:
            query = query.where(t.c.contributor == contributor)
        return [_webhook(row) for row in self._db.select(query)]

    def update_webhook(
        self, contributor: str, webhook: str, fields: Mapping[str, Any], *, by: Actor, validate_only: bool = False
    ) -> Webhook:
        """Replace these fields of a webhook, in one transaction. Raises NotFound."""
        with self._db.write_in_order(dry=validate_only) as c:
            row = _existing(c, contributor, webhook)
            before = _webhook(row)
            after = msgspec.structs.replace(before, **fields)
            stored = msgspec.structs.replace(after, old_secret_until=None)
            c.execute(sa.update(s.webhook).where(s.webhook.c.key == row.key).values(content=to_json(stored)))
            _changed(c, by, EventKind.WEBHOOK_UPDATED, before, after)
            return after

    def rotate_webhook(self, contributor: str, webhook: str, secret: bytes, until: datetime, *, by: Actor) -> Webhook:
        """Give a webhook another secret; calls are signed with the present one, too, until `until`. Raises NotFound."""
        t = s.webhook
        with self._db.write_in_order() as c:
            row = _existing(c, contributor, webhook)
            c.execute(
                sa.update(t)
                .where(t.c.key == row.key)
                .values(secret=secret, old_secret=row.secret, old_secret_until=s.to_millis(until))
            )
            before = _webhook(row)
            after = msgspec.structs.replace(before, old_secret_until=until)
            _changed(c, by, EventKind.WEBHOOK_ROTATED, before, after)
            return after

    def delete_webhook(self, contributor: str, webhook: str, *, by: Actor) -> None:
        """Delete a webhook with its calls. Raises NotFound."""
        with self._db.write_in_order() as c:
            row = _existing(c, contributor, webhook)
            c.execute(sa.delete(s.delivery).where(s.delivery.c.webhook == row.key))
            c.execute(sa.delete(s.webhook).where(s.webhook.c.key == row.key))
            _changed(c, by, EventKind.WEBHOOK_DELETED, _webhook(row), None)

    # Calls

    def list_deliveries(
        self, contributor: str, webhook: str, page_size: int, before: int = 0
    ) -> tuple[list[WebhookDelivery], int]:
        """Return up to `page_size` calls of a webhook, the newest first, before the place `before` (0: from the newest
        on), and where to go on (0: no more). Raises NotFound.
        """
        t = s.delivery

        def read(c: Connection) -> Sequence[Any]:
            row = _existing(c, contributor, webhook)
            query = sa.select(t).where(t.c.webhook == row.key).order_by(t.c.key.desc()).limit(page_size + 1)
            return c.execute(query.where(t.c.key < before) if before else query).all()

        rows = self._db.read(read)
        page = [_delivery(row, contributor, webhook) for row in rows[:page_size]]
        return page, rows[page_size - 1].key if len(rows) > page_size else 0

    def begin_test(self, contributor: str, webhook: str, *, pause: timedelta) -> WebhookCall:
        """Note a test call that begins now. Raises NotFound, LimitExceeded: the last began less than `pause` ago."""
        t = s.delivery
        with self._db.write_in_order() as c:
            row = _existing(c, contributor, webhook)
            at = now()
            last: int | None = c.scalar(
                sa.select(sa.func.max(t.c.create_time)).where(t.c.webhook == row.key, t.c.event == "")
            )
            if last is not None and s.from_millis(last) + pause > at:
                raise LimitExceeded(
                    f"webhook {contributor}/{webhook} was tested just now; wait {pause.seconds} s between two tests",
                    retry_after=(s.from_millis(last) + pause - at).total_seconds(),
                )
            values = _new(row.key, "", NotificationSummary(last_time=s.to_millis(at)), at, at)
            values |= {
                "attempts": 1,
                "first_attempt_time": s.to_millis(at),
                "last_attempt_time": s.to_millis(at),
                "state": s.DELIVERY_STATES[DeliveryState.GIVEN_UP],  # unless an answer comes
            }
            made = c.execute(sa.insert(t).values(values).returning(t)).one()
            return _call(made, row)

    def revision(self) -> int:
        """Return up to which revision it is known what is to be told."""
        revision: int = self._db.fetch("SELECT revision FROM sender")[0][0]
        return revision

    def is_idle(self) -> bool:
        """Whether there is no webhook at all."""
        return not self._db.fetch("SELECT 1 FROM webhook LIMIT 1")

    def take_lease(self, lease: str) -> bool:
        """Let nobody else make the calls for a while; return False while somebody else does."""
        t = s.sender
        with self._db.write() as c:
            holder, until = c.execute(sa.select(t.c.lease, t.c.lease_until)).one()
            if holder != lease and is_held(holder, until):
                return False
            taken = c.execute(
                sa.update(t)
                .where(t.c.lease == holder, t.c.lease_until == until)  # unless it was renewed since it was looked at
                .values(lease=lease, lease_until=s.to_millis(now() + LEASE))
            )
            return bool(taken.rowcount)

    def release_lease(self, lease: str) -> None:
        """Let others make the calls at once."""
        t = s.sender
        with self._db.write() as c:
            c.execute(sa.update(t).where(t.c.lease == lease).values(lease="", lease_until=0))

    def gather(self, lease: str, wait: timedelta) -> bool:
        """Write calls, due after `wait`, for what happened behind the last look, or add to those that wait; return
        whether there may be more. Does nothing when the lease was lost.
        """
        sql = (
            "SELECT revision, time, subject, body FROM event WHERE revision > ? AND revision <= ? AND kind = ? "
            "ORDER BY revision LIMIT ?"
        )
        after = self.revision()
        present: int = self._db.fetch("SELECT revision FROM metadata")[0][0]
        if present == after:
            return False
        rows = self._db.fetch(sql, (after, present, EventKind.ENTRIES_REVIEWED.value, PAGE))
        upto = rows[-1][0] if len(rows) == PAGE else present
        disputes = [d for row in rows if (d := _dispute(row)) is not None]
        with self._db.write() as c:
            t = s.sender
            held = sa.select(t.c.revision).where(t.c.lease == lease).with_for_update()
            if c.scalar(held) != after:
                return False
            if disputes:
                self._note(c, disputes, wait)
            c.execute(sa.update(t).values(revision=upto))
        return upto < present

    def conflict_sequence(self) -> int:
        """Return up to which conflict it is known what is to be told."""
        sequence: int = self._db.fetch("SELECT conflict_sequence FROM sender")[0][0]
        return sequence

    def note_conflicts(
        self, lease: str, after: int, upto: int, told: Mapping[str, Sequence[NotifiableEvent]], wait: timedelta
    ) -> None:
        """Write calls for conflicts behind `after`, by webhook, and move to `upto`; nothing if the lease was lost."""
        t, w = s.sender, s.webhook
        with self._db.write() as c:
            held = sa.select(t.c.conflict_sequence).where(t.c.lease == lease).with_for_update()
            if c.scalar(held) != after:
                return
            keys = {
                f"{row.contributor}/{row.id}": row.key for row in c.execute(sa.select(w.c.contributor, w.c.id, w.c.key))
            }
            for name, happenings in told.items():
                if happenings and name in keys:
                    self._add(c, keys[name], WebhookEvent.CONFLICT_OPENED, happenings, wait)
            c.execute(sa.update(t).values(conflict_sequence=upto))

    def due(self, at: datetime) -> list[WebhookCall]:
        """Return the oldest call of each webhook that waits, where it is due."""
        t, w = s.delivery, s.webhook

        def read(c: Connection) -> list[WebhookCall]:
            oldest = sa.select(sa.func.min(t.c.key)).where(t.c.state == sa.literal_column(str(_PENDING)))
            keys = c.execute(oldest.group_by(t.c.webhook)).scalars().all()
            rows = c.execute(sa.select(t).where(t.c.key.in_(keys), t.c.due_time <= s.to_millis(at))).all()
            owners = {row.key: row for row in c.execute(sa.select(w).where(w.c.key.in_({r.webhook for r in rows})))}
            return [_call(row, owners[row.webhook]) for row in rows if row.webhook in owners]

        return self._db.read(read)

    def begin_attempt(self, key: int) -> bool:
        """Note that a call is being made: nothing is added to it any more. False: it does not wait any more."""
        t = s.delivery
        at = s.to_millis(now())
        with self._db.write() as c:
            begun = c.execute(
                sa.update(t)
                .where(t.c.key == key, t.c.state == _PENDING)
                .values(
                    attempts=t.c.attempts + 1,
                    last_attempt_time=at,
                    first_attempt_time=sa.func.coalesce(t.c.first_attempt_time, at),
                )
            )
            return bool(begun.rowcount)

    def get_call(self, key: int) -> WebhookCall:
        """Return a call with its webhook, both as they are now. Raises NotFound when they were deleted."""

        def read(c: Connection) -> WebhookCall:
            row = c.execute(sa.select(s.delivery).where(s.delivery.c.key == key)).first()
            owner = (
                None if row is None else c.execute(sa.select(s.webhook).where(s.webhook.c.key == row.webhook)).first()
            )
            if owner is None:
                raise NotFound("the webhook was deleted", kind="Webhook", name="")
            return _call(row, owner)

        return self._db.read(read)

    def end_attempt(
        self,
        key: int,
        state: DeliveryState,
        *,
        status: int = 0,
        error: DeliveryError | None = None,
        due: datetime | None,
    ) -> None:
        """Note what came of an attempt; `due`: when the next one of a PENDING call is."""
        t = s.delivery
        values: dict[str, Any] = {"state": s.DELIVERY_STATES[state], "status": status, "error": error or ""}
        if due is not None:
            values["due_time"] = s.to_millis(due)
        with self._db.write() as c:
            c.execute(sa.update(t).where(t.c.key == key).values(values))

    def failing(self, since: datetime) -> list[FailingWebhook]:
        """Return the webhooks whose oldest call has failed, or whose last finished one was given up after `since`."""
        t, w = s.delivery, s.webhook
        given_up = s.DELIVERY_STATES[DeliveryState.GIVEN_UP]
        bad = sa.or_(
            sa.and_(t.c.state == _PENDING, t.c.attempts > 0, t.c.error != ""),
            sa.and_(t.c.state == given_up, t.c.last_attempt_time > s.to_millis(since), t.c.event != ""),
        )
        query = (
            sa.select(w.c.contributor, w.c.id, t.c.state, t.c.first_attempt_time, t.c.error)
            .join(w, w.c.key == t.c.webhook)
            .where(bad)
            .order_by(w.c.contributor, w.c.id, t.c.key)
        )
        failing: dict[str, FailingWebhook] = {}
        for contributor, own, state, first, error in self._db.select(query):
            name = f"{contributor}/{own}"
            before = failing.get(name)
            failing[name] = FailingWebhook(
                name,
                before.since if before else s.from_millis(first),
                error,
                (before.given_up if before else 0) + (state == given_up),
            )
        return list(failing.values())

    def purge(self, before: datetime, limit: int) -> int:
        """Delete up to `limit` finished calls that were made before a time; return how many that were."""
        t = s.delivery
        old = sa.select(t.c.key).where(t.c.state != _PENDING, t.c.create_time < s.to_millis(before)).limit(limit)
        with self._db.write() as c:
            return c.execute(sa.delete(t).where(t.c.key.in_(old.scalar_subquery()))).rowcount

    def _note(self, c: Connection, disputes: Sequence[NotifiableEvent], wait: timedelta) -> None:
        for row in c.execute(sa.select(s.webhook).order_by(s.webhook.c.key)).all():
            webhook = _webhook(row)
            if WebhookEvent.ENTRY_DISPUTED not in webhook.events:
                continue
            mine = [
                d
                for d in disputes
                if d.revision > webhook.create_revision
                and (d.contributor == webhook.contributor or webhook.all_contributors)
            ]
            if mine:
                self._add(c, row.key, WebhookEvent.ENTRY_DISPUTED, mine, wait)

    def _add(
        self, c: Connection, webhook: int, event: WebhookEvent, happenings: Iterable[NotifiableEvent], wait: timedelta
    ) -> None:
        """Add to the call that waits and was not tried yet, or make one."""
        t = s.delivery
        waiting = c.execute(
            sa.select(t.c.key, t.c.content)
            .where(t.c.webhook == webhook, t.c.event == event, t.c.state == _PENDING, t.c.attempts == 0)
            .with_for_update()
        ).first()
        told = (
            NotificationSummary() if waiting is None else msgspec.json.decode(waiting.content, type=NotificationSummary)
        )
        for one in happenings:
            told.add(one)
        if waiting is None:
            at = now()
            c.execute(sa.insert(t).values(_new(webhook, event, told, at, at + wait)))
        else:
            c.execute(sa.update(t).where(t.c.key == waiting.key).values(content=msgspec.json.encode(told)))


def _new(webhook: int, event: str, told: NotificationSummary, at: datetime, due: datetime) -> dict[str, Any]:
    return {
        "id": f"msg_{secrets.token_hex(16)}",
        "webhook": webhook,
        "event": event,
        "state": _PENDING,
        "content": msgspec.json.encode(told),
        "create_time": s.to_millis(at),
        "due_time": s.to_millis(due),
    }


def _dispute(row: Sequence[Any]) -> NotifiableEvent | None:
    """Return the objection that an event is, None for any other review, and for one of the entry's own contributor."""
    revision, time, subject, body = row
    event = decoded(body)
    entry = subject.removeprefix("entries/")
    if event.reason not in OBJECTIONS or event.contributor == entry.partition("/")[0]:
        return None
    return NotifiableEvent(revision, time, entry.rpartition("/")[0], entry, event.reason)


def _changed(c: Connection, by: Actor, kind: EventKind, before: Webhook | None, after: Webhook | None) -> None:
    webhook = after or before
    assert webhook is not None  # noqa: S101 - one of them is given
    registry_changed(c, by, kind, f"webhooks/{webhook.name}", before, after, facts={"events": webhook.events})


def _row(c: Connection, contributor: str, webhook: str) -> Any:
    t = s.webhook
    return c.execute(sa.select(t).where(t.c.contributor == contributor, t.c.id == webhook)).first()


def _existing(c: Connection, contributor: str, webhook: str) -> Any:
    row = _row(c, contributor, webhook)
    if row is None:
        raise _no_webhook(contributor, webhook)
    return row


def _no_webhook(contributor: str, webhook: str) -> NotFound:
    name = f"{contributor}/{webhook}"
    return NotFound(f"there is no webhook {name[:127]!r}", kind="Webhook", name=name)


def _webhook(row: Any) -> Webhook:
    webhook = msgspec.json.decode(row.content, type=Webhook)
    until = s.time_of(row.old_secret_until)
    return webhook if until is None or until <= now() else msgspec.structs.replace(webhook, old_secret_until=until)


def _call(row: Any, owner: Any) -> WebhookCall:
    webhook = _webhook(owner)
    keys = (owner.secret,) if webhook.old_secret_until is None else (owner.secret, owner.old_secret)
    first = s.time_of(row.first_attempt_time)
    told = msgspec.json.decode(row.content, type=NotificationSummary)
    return WebhookCall(row.key, _delivery(row, webhook.contributor, webhook.id), webhook, told, keys, first)


def _delivery(row: Any, contributor: str, webhook: str) -> WebhookDelivery:
    told = msgspec.json.decode(row.content, type=NotificationSummary)
    state = s.DELIVERY_STATES.members[row.state]
    return s.struct_of(
        WebhookDelivery,
        row,
        contributor=contributor,
        webhook=webhook,
        event=WebhookEvent(row.event) if row.event else None,
        state=state,
        count=sum(n for kinds in told.counts.values() for n in kinds.values()),
        error=DeliveryError(row.error) if row.error else None,
        create_time=s.from_millis(row.create_time),
        last_attempt_time=s.time_of(row.last_attempt_time),
        next_attempt_time=s.from_millis(row.due_time) if state is DeliveryState.PENDING else None,
    )
