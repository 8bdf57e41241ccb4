"""Webhooks and their calls: the messages, to the model and back."""

from __future__ import annotations

from typing import Final

from hashhub import v1
from hashhub.errors import Violation
from hashhub.model import DeliveryError, Webhook, WebhookDelivery, WebhookEvent
from hashhub.wire import names
from hashhub.wire.codec import TEXT, FieldCodec, Ids, MessageCodec, enums, name_of, word

_events: Final = enums(WebhookEvent)


def _read_events(pb: v1.Webhook, field: str, at: str, wrong: list[Violation]) -> tuple[WebhookEvent, ...]:
    return tuple(dict.fromkeys(_events.read(pb, field, at, wrong)))


WEBHOOK: Final = MessageCodec(
    Webhook,
    v1.Webhook,
    at="webhook",
    sends="Webhook",
    ids=Ids(("contributor", "id"), names.webhook_name, names.parse_webhook, created=("parent", "webhook_id")),
    without="create_revision",
    url=TEXT,
    events=FieldCodec(_events.put, _read_events),
    description=TEXT,
    actor=name_of("Token"),
)
DELIVERY: Final = MessageCodec(
    WebhookDelivery,
    v1.WebhookDelivery,
    at="delivery",
    ids=Ids(("contributor", "webhook"), names.webhook_name, names.parse_webhook, "webhook"),
    error=word(DeliveryError, is_optional=True),
)
