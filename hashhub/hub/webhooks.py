"""Webhooks: a contributor is called when somebody disputes an entry of its own; and the one process that calls.

A call names entries and counts, and holds no digest, no comment and no author; what it may tell is decided each time.
It is signed as https://www.standardwebhooks.com (2023) says, and made at least once, with one `webhook-id`. WORKERS
threads make calls, at most MOST_EACH of one contributor: endpoints that never answer hold up nobody else's.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import random
import secrets
import threading
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec

from hashhub.background import Background
from hashhub.errors import HashHubError, InvalidArgument, NotFound
from hashhub.holders import new_holder
from hashhub.hub import access
from hashhub.hub.conflicts import scope_of
from hashhub.model import DeliveryState, Principal, Role, Webhook, WebhookDelivery, WebhookEvent, now
from hashhub.store.webhooks import FailingWebhook, NotifiableEvent, WebhookCall

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hashhub.hub.outbound import Outbound
    from hashhub.store import ConflictScope, Registry, Store

_log = logging.getLogger(__name__)

MOST: Final = 10
"""Webhooks that one contributor may have."""
WORKERS: Final = 8
MOST_EACH: Final = 2
GIVE_UP: Final = timedelta(days=3)
"""How long a call is tried again, from the first attempt."""
FIRST_WAIT: Final = 10.0  # seconds before the second attempt; threefold with each,
_LONGEST_WAIT: Final = 6 * 3600.0  # up to this
_LONGEST_ADVICE: Final = 3600.0  # seconds that an answer may ask for
_JITTER: Final = 0.2  # of a wait, up or down
_SECRET_BYTES: Final = 32
_SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - no secret; the prefix that the specification gives them
_GRACE: Final = timedelta(days=1)
_MAX_GRACE: Final = timedelta(days=30)
_TEST_PAUSE: Final = timedelta(seconds=10)  # between two tests of one webhook
ROUND_SECONDS: Final = 1.0
_TOLD_SINCE: Final = timedelta(days=7)  # for how long the status tells of a call that was given up
_FIELDS: Final = ("description", "events", "url")
_TYPES: Final = {WebhookEvent.ENTRY_DISPUTED: "entry.disputed", WebhookEvent.CONFLICT_OPENED: "conflict.opened"}
_CONFLICTS: Final = 1_000  # looked at in one round
TEST: Final = "ping"


class Webhooks:
    """Registering webhooks, and looking at their calls."""

    def __init__(self, store: Store, outbound: Outbound) -> None:
        self._store = store
        self._outbound = outbound

    def create(self, principal: Principal, webhook: Webhook, *, validate_only: bool = False) -> tuple[Webhook, str]:
        """Register a webhook, and return it with its secret, which cannot be had again. Raises InvalidArgument for a
        URL that is never called, PermissionDenied, NotFound, FailedPrecondition, AlreadyExists, LimitExceeded beyond
        MOST.
        """
        access.allow_writing(principal, webhook.contributor)
        if webhook.all_contributors:
            why = "only an operator registers a webhook that is told what concerns all contributors; leave "
            access.allow(principal, Role.OPERATOR, why=why + "all_contributors out")
        self._outbound.check(webhook.url, "webhook.url")
        secret = secrets.token_bytes(_SECRET_BYTES)
        made = self._store.webhooks.create_webhook(
            webhook, secret, most=MOST, by=access.actor(principal), validate_only=validate_only
        )
        return made, "" if validate_only else _spelled(secret)

    def get(self, principal: Principal, contributor: str, webhook: str) -> Webhook:
        """Return a webhook. Raises NotFound, PermissionDenied."""
        return self._allowed(principal, contributor, webhook, access.allow_reading)

    def update(
        self, principal: Principal, webhook: Webhook, mask: Sequence[str], *, validate_only: bool = False
    ) -> Webhook:
        """Take the masked fields over. Raises NotFound; InvalidArgument for a field that cannot change."""
        self._allowed(principal, webhook.contributor, webhook.id, access.allow_writing)
        fields = access.masked(webhook, mask, _FIELDS)
        if "url" in mask:
            self._outbound.check(webhook.url, "webhook.url")
        return self._store.webhooks.update_webhook(
            webhook.contributor, webhook.id, fields, by=access.actor(principal), validate_only=validate_only
        )

    def rotate(
        self, principal: Principal, contributor: str, webhook: str, grace: timedelta | None = None
    ) -> tuple[Webhook, str]:
        """Give a webhook another secret, and return both; for `grace`, by default a day, calls are signed with both."""
        self._allowed(principal, contributor, webhook, access.allow_writing)
        grace = _GRACE if grace is None else grace
        if not timedelta(0) <= grace <= _MAX_GRACE:
            raise InvalidArgument.field("grace", f"must be 0 to {_MAX_GRACE.days} days", "OUT_OF_RANGE")
        secret = secrets.token_bytes(_SECRET_BYTES)
        by = access.actor(principal)
        rotated = self._store.webhooks.rotate_webhook(contributor, webhook, secret, now() + grace, by=by)
        return rotated, _spelled(secret)

    def delete(self, principal: Principal, contributor: str, webhook: str) -> None:
        """Delete a webhook, and what was to be told. Raises NotFound."""
        self._allowed(principal, contributor, webhook, access.allow_writing)
        self._store.webhooks.delete_webhook(contributor, webhook, by=access.actor(principal))

    def test(self, principal: Principal, contributor: str, webhook: str) -> WebhookDelivery:
        """Make a test call now, once, and return what came of it. Raises NotFound, LimitExceeded."""
        self._allowed(principal, contributor, webhook, access.allow_writing)
        call = self._store.webhooks.begin_test(contributor, webhook, pause=_TEST_PAUSE)
        outcome = self._outbound.post(call.webhook.url, *_request(call, {}, at=now()))
        state = DeliveryState.GIVEN_UP if outcome.error else DeliveryState.DELIVERED
        self._store.webhooks.end_attempt(call.key, state, status=outcome.status, error=outcome.error, due=None)
        return self._store.webhooks.get_call(call.key).delivery

    def deliveries(
        self, principal: Principal, contributor: str, webhook: str, page_size: int, before: int
    ) -> tuple[list[WebhookDelivery], int]:
        """Return the calls of a webhook, the newest first, before `before`, and where to go on (0: no more)."""
        self._allowed(principal, contributor, webhook, access.allow_reading)
        return self._store.webhooks.list_deliveries(contributor, webhook, page_size, before)

    def failing(self, principal: Principal, contributor: str = "") -> list[tuple[FailingWebhook, Webhook]]:
        """Return the webhooks that the caller may read and whose calls fail, or were given up within a week."""
        failing = self._store.webhooks.failing(now() - _TOLD_SINCE)
        known = {w.name: w for w in self._store.webhooks.list_webhooks(contributor or None)} if failing else {}
        return [(x, w) for x in failing if (w := known.get(x.webhook)) is not None and _reads(principal, w)]

    def _allowed(
        self, principal: Principal, contributor: str, webhook: str, allow: Callable[[Principal, str], None]
    ) -> Webhook:
        """Return the webhook where `allow` permits. Raises NotFound, also for one that only operators see."""
        allow(principal, contributor)
        known = self._store.webhooks.get_webhook(contributor, webhook)
        if not _reads(principal, known):
            name = f"{contributor}/{webhook}"
            raise NotFound(f"there is no webhook {name[:127]!r}", kind="Webhook", name=name)
        return known

    def list(self, principal: Principal, contributor: str | None) -> list[Webhook]:
        """Return the webhooks of a contributor, or of all, as far as the caller may read them, in order of name."""
        if contributor is not None:
            access.allow_reading(principal, contributor)
        access.allow(principal, Role.OPERATOR, Role.AUDITOR, Role.CONTRIBUTOR)
        of = contributor if principal.role in access.OVERSEERS else principal.contributor
        return [w for w in self._store.webhooks.list_webhooks(of) if _reads(principal, w)]


class WebhookSender:
    """Makes the calls: one process of all that share a database does, by a lease."""

    def __init__(self, store: Store, outbound: Outbound, gather_seconds: float) -> None:
        """`gather_seconds`: for how long what happens is added to one call before it is made."""
        self._store = store
        self._outbound = outbound
        self.gather_time = timedelta(seconds=gather_seconds)
        self._lease = ""  # made when there is something to call
        self._has_lease = False
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="webhook")
        self._lock = threading.Lock()
        self.in_flight: dict[str, tuple[str, Future[None]]] = {}  # by webhook's name: its contributor, and the call
        self._renewed: datetime | None = None
        self.thread = Background("webhooks", self.round, complaint="webhooks are not called", pause=ROUND_SECONDS)

    def round(self) -> None:
        """Look for what happened, and begin the calls that are due."""
        if self._store.webhooks.is_idle() or not self._leads():
            return
        while self._store.webhooks.gather(self._lease, self.gather_time) and not self.thread.is_stopping:
            pass
        self._gather_conflicts()
        for call in self._store.webhooks.due(now()):
            if self.thread.is_stopping:
                return
            self._begin(call)

    def settle(self) -> None:
        """Wait until the calls that were begun have ended."""
        with self._lock:
            calls = list(self.in_flight.values())
        for _, call in calls:
            call.result()

    def close(self) -> None:
        """End the calls that are being made, which count as failed attempts, and let another process go on."""
        self.thread.close()
        self._outbound.close()
        self._pool.shutdown(wait=True, cancel_futures=True)
        if self._has_lease:
            try:
                self._store.webhooks.release_lease(self._lease)
            except HashHubError as e:  # it runs out by itself
                _log.warning("webhooks are called again in a while: %s", e.message)

    def _leads(self) -> bool:
        at = now()
        if self._renewed is None or not at - self._renewed < timedelta(seconds=10):
            self._lease = self._lease or new_holder()
            self._has_lease = self._store.webhooks.take_lease(self._lease)
            self._renewed = at if self._has_lease else None
        return self._has_lease

    def _begin(self, call: WebhookCall) -> None:
        """Make a call if it may be made now: one of each webhook, few of each contributor, and all workers at most."""
        name, owner = call.webhook.name, call.webhook.contributor
        with self._lock:
            busy = [contributor for contributor, _ in self.in_flight.values()]
            if name in self.in_flight or len(busy) >= WORKERS or busy.count(owner) >= MOST_EACH:
                return
            made = self._pool.submit(self._make, call)
            self.in_flight[name] = owner, made
        made.add_done_callback(lambda _: self._end(name))

    def _end(self, name: str) -> None:
        with self._lock:
            self.in_flight.pop(name, None)

    def _make(self, call: WebhookCall) -> None:
        try:
            self.attempt(call)
        except HashHubError as e:  # the database is away: it is tried again, maybe with the same content
            _log.warning("what came of a call of webhook %s is not noted: %s", call.webhook.name, e.message)
        except Exception:  # noqa: BLE001 - of a thread of a pool, nobody else would say it
            _log.exception("a call of webhook %s failed", call.webhook.name)

    def attempt(self, call: WebhookCall) -> None:
        """Make a call that is due, and note its outcome and when it is tried again."""
        webhooks = self._store.webhooks
        if not webhooks.begin_attempt(call.key):
            return
        # Nothing is added to it any more: read again, with the webhook as it is now.
        call = webhooks.get_call(call.key)
        data = self._may_tell(call)
        if data is None:
            webhooks.end_attempt(call.key, DeliveryState.DROPPED, due=None)
            return
        at = now()
        outcome = self._outbound.post(call.webhook.url, *_request(call, data, at=at))
        if outcome.error is None:
            webhooks.end_attempt(call.key, DeliveryState.DELIVERED, status=outcome.status, due=None)
            return
        due = at + _wait(call.delivery.attempts, outcome.retry_after)
        first = call.first_attempt_time or at
        state = DeliveryState.PENDING if due < first + GIVE_UP else DeliveryState.GIVEN_UP
        webhooks.end_attempt(call.key, state, status=outcome.status, error=outcome.error, due=due)
        if state is DeliveryState.GIVEN_UP:
            what = (call.webhook.name, call.delivery.attempts, outcome.error)
            _log.warning("a call of webhook %s is given up after %d attempts (%s)", *what)

    def _may_tell(self, call: WebhookCall) -> dict[str, Any] | None:
        """Return what a call may tell now, None for nothing: of hash sets that are there, and its own."""
        registry = self._store.resources.registry()
        owner = registry.contributors.get(call.webhook.contributor)
        if owner is None or owner.retire_time is not None:
            return None
        told = call.told
        scope = _scope(call.webhook, registry)

        def is_told(place: str) -> bool:
            if call.webhook.all_contributors:
                # The sum of many places has no name.
                return not place or all(name in registry.hash_sets for name in place.split(" "))
            if call.delivery.event is WebhookEvent.CONFLICT_OPENED:
                return scope is not None and _is_within(scope, place)
            known = registry.hash_sets.get(place)
            return known is not None and known.contributor == owner.id

        counts = {place: kinds for place, kinds in told.counts.items() if is_told(place)}
        if not counts:
            return None
        kinds: Counter[str] = Counter()
        for of_place in counts.values():
            kinds.update(of_place)
        what = "conflicts" if call.delivery.event is WebhookEvent.CONFLICT_OPENED else "entries"
        return {
            "count": sum(kinds.values()),
            "kinds": dict(kinds),
            what: [name for place, names in told.names.items() if is_told(place) for name in names],
            "hash_sets": sorted({name for place in counts for name in place.split(" ") if name}),
            "first_revision": told.first_revision,
            "last_revision": told.last_revision,
        }

    def _gather_conflicts(self) -> None:
        """Write calls for conflicts that were opened since the last look, for those who may know of them."""
        after = self._store.webhooks.conflict_sequence()
        rows = self._store.conflicts.opened_after(after, limit=_CONFLICTS)
        if not rows:
            return
        registry = self._store.resources.registry()
        told: dict[str, list[NotifiableEvent]] = {}
        for webhook in self._store.webhooks.list_webhooks():
            if WebhookEvent.CONFLICT_OPENED not in webhook.events:
                continue
            scope = _scope(webhook, registry)
            told[webhook.name] = [
                NotifiableEvent(row.revision, round(row.update_time.timestamp() * 1000), place, row.name, str(row.kind))
                for row in rows
                if webhook.create_time is None or row.update_time >= webhook.create_time
                if scope is None or _is_within(scope, f"{row.left} {row.right}")
                for place in (f"{row.left} {row.right}",)
            ]
        self._store.webhooks.note_conflicts(self._lease, after, rows[-1].sequence, told, self.gather_time)


def _scope(webhook: Webhook, registry: Registry) -> ConflictScope | None:
    """Return which conflicts a webhook may tell of, None: all. It has stated no purpose, and acts for others."""
    if webhook.all_contributors:
        return None
    reader = Principal(name="", role=Role.CONTRIBUTOR, contributor=webhook.contributor, acts_for_others=True)
    return scope_of(reader, registry)


def _is_within(scope: ConflictScope, place: str) -> bool:
    """Whether a conflict between two hash sets (`LEFT RIGHT`) may be told."""
    sides = set(place.split(" "))
    return bool(sides & scope.own) and sides <= scope.visible


def signature(key: bytes, message_id: str, timestamp: str, body: bytes) -> str:
    """Return one signature of a call, by Standard Webhooks: HMAC-SHA256 of `ID.TIMESTAMP.BODY`."""
    signed = hmac.digest(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256)
    return f"v1,{base64.b64encode(signed).decode()}"


def _request(call: WebhookCall, data: dict[str, Any], *, at: datetime) -> tuple[dict[str, str], bytes]:
    """Return the headers and the body of a call that is made at a time."""
    event = call.delivery.event
    happened = datetime.fromtimestamp(call.told.last_time / 1000, at.tzinfo)
    content = {
        "type": TEST if event is None else _TYPES[event],
        "timestamp": happened.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "data": {"webhook": call.webhook.name, **data},
    }
    body = msgspec.json.encode(content)
    timestamp = str(int(at.timestamp()))
    headers = {
        "webhook-id": call.delivery.id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(signature(key, call.delivery.id, timestamp, body) for key in call.secrets),
    }
    return headers, body


def _wait(attempts: int, advised: float) -> timedelta:
    """Return how long to wait after so many attempts: exponential, with jitter, and as an answer asked for."""
    seconds = min(FIRST_WAIT * 3.0 ** min(attempts - 1, 20), _LONGEST_WAIT)
    seconds *= 1 + random.uniform(-_JITTER, _JITTER)  # noqa: S311 - spreads load, keeps nothing secret
    return timedelta(seconds=max(seconds, min(advised, _LONGEST_ADVICE)))


def _spelled(secret: bytes) -> str:
    return _SECRET_PREFIX + base64.b64encode(secret).decode()


def _reads(principal: Principal, webhook: Webhook) -> bool:
    """Whether the principal may know of a webhook: its contributor may, but for one that oversees."""
    return principal.role in access.OVERSEERS or (
        webhook.contributor == principal.contributor and not webhook.all_contributors
    )
