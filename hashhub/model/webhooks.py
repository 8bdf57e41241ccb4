"""Webhooks: what is told to whom, and what became of each call."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec

from hashhub.errors import Violation
from hashhub.model.resources import refuse, wrong_in_slug, wrong_in_text


class WebhookEvent(StrEnum):
    """What a webhook tells of.

    ENTRY_DISPUTED: somebody else objects to an entry of the webhook's contributor. CONFLICT_OPENED: a conflict to which
    it is a party, and of which it may know, was found or opened again.
    """

    ENTRY_DISPUTED = "ENTRY_DISPUTED"
    CONFLICT_OPENED = "CONFLICT_OPENED"


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    """Where a contributor wants to be called when something happens; its secret is no part of it.

    `all_contributors`: it is told what concerns any contributor, as operators are; only they make and change it.
    `actor`: the token that registered it. `old_secret_until`: until then calls are signed with the secret before, too.
    """

    contributor: str
    id: str
    url: str
    events: tuple[WebhookEvent, ...]
    description: str = ""
    all_contributors: bool = False
    actor: str = ""
    create_time: datetime | None = None
    create_revision: int = 0
    old_secret_until: datetime | None = None

    @property
    def name(self) -> str:
        """`CONTRIBUTOR/WEBHOOK`, as commands and answers write it."""
        return f"{self.contributor}/{self.id}"

    def __post_init__(self) -> None:
        """Raise InvalidArgument with every violation. What the URL may lead to is for the hub to say."""
        wrong = [*wrong_in_slug("contributor", self.contributor), *wrong_in_slug("id", self.id)]
        wrong += wrong_in_text("url", self.url)
        wrong += wrong_in_text("description", self.description, required=False)
        if not self.events:
            wrong.append(Violation("events", "must name at least one event", "REQUIRED"))
        refuse("webhook", wrong)


class DeliveryState(StrEnum):
    """PENDING: to be made, or made again. DROPPED: nothing of it may be told any more. The others are final, too."""

    PENDING = "PENDING"
    DELIVERED = "DELIVERED"
    GIVEN_UP = "GIVEN_UP"
    DROPPED = "DROPPED"


class DeliveryError(StrEnum):
    """Why a webhook's call did not get through.

    ADDRESS_NOT_ALLOWED: its host has no address that may be called. STATUS: the answer was none of success; a redirect
    is none. NOT_HTTP: the answer was no HTTP.
    """

    ADDRESS_NOT_ALLOWED = "ADDRESS_NOT_ALLOWED"
    CONNECT_FAILED = "CONNECT_FAILED"
    TLS_FAILED = "TLS_FAILED"
    TIMED_OUT = "TIMED_OUT"
    NOT_HTTP = "NOT_HTTP"
    STATUS = "STATUS"


class WebhookDelivery(msgspec.Struct, frozen=True, kw_only=True):
    """One call of a webhook, which is made until it succeeds or is given up; `id` is its `webhook-id`.

    `event`: None for a test. `count`: how much happened that it tells of. `status`: HTTP's of the last answer, 0:
    none came. `next_attempt_time`: of a PENDING one.
    """

    id: str
    contributor: str
    webhook: str
    event: WebhookEvent | None
    state: DeliveryState
    count: int = 0
    attempts: int = 0
    status: int = 0
    error: DeliveryError | None = None
    create_time: datetime | None = None
    last_attempt_time: datetime | None = None
    next_attempt_time: datetime | None = None
