"""Webhooks and their calls: the messages, to the model and back."""

from __future__ import annotations

from typing import Final

from hashhub import v1
from hashhub.errors import Violation
from hashhub.model import DeliveryError, DeliveryState, Webhook, WebhookDelivery, WebhookEvent
from hashhub.wire import names
from hashhub.wire.fields import EnumMap, Sendable, build, check_text, checked, read_time, timestamp

_EVENT: Final = EnumMap(WebhookEvent, v1.WebhookEvent, "WEBHOOK_EVENT_")
_STATE: Final = EnumMap(DeliveryState, v1.DeliveryState, "DELIVERY_STATE_")
_ERRORS: Final = {str(error): error for error in DeliveryError}


def webhook_to_pb(webhook: Webhook) -> v1.Webhook:
    with Sendable("webhook", expected="Webhook"):
        return v1.Webhook(
            name=names.webhook_name(webhook.contributor, webhook.id),
            url=webhook.url,
            events=map(_EVENT.to_pb, webhook.events),
            description=webhook.description,
            all_contributors=webhook.all_contributors,
            actor=names.token_name(webhook.actor) if webhook.actor else "",
            create_time=timestamp(webhook.create_time),
            old_secret_until=timestamp(webhook.old_secret_until),
        )


def webhook_from_pb(
    pb: v1.Webhook, *, contributor: str | None = None, webhook_id: str | None = None, at: str = "webhook"
) -> Webhook:
    """Return the webhook. `contributor` and `webhook_id`: what a create request gives instead of a name."""
    wrong: list[Violation] = []
    if contributor is None or webhook_id is None:
        contributor, webhook_id = checked(wrong, names.parse_webhook, pb.name, f"{at}.name") or ("", "")
        fields = {"contributor": f"{at}.name", "id": f"{at}.name"}
    else:
        fields = {"contributor": "parent", "id": "webhook_id"}
    for field in ("url", "description"):
        check_text(getattr(pb, field), f"{at}.{field}", wrong)
    events = tuple(_EVENT.from_pb(number, f"{at}.events[{i}]", wrong) for i, number in enumerate(pb.events))
    values = {
        "contributor": contributor,
        "id": webhook_id,
        "url": pb.url,
        "events": tuple(dict.fromkeys(events)),
        "description": pb.description,
        "all_contributors": pb.all_contributors,
        "actor": (checked(wrong, names.parse_token, pb.actor, f"{at}.actor") or "") if pb.actor else "",
        "create_time": read_time(pb, "create_time", at, wrong),
        "old_secret_until": read_time(pb, "old_secret_until", at, wrong),
    }
    return build(Webhook, values, wrong, at, fields)


def delivery_to_pb(delivery: WebhookDelivery) -> v1.WebhookDelivery:
    return v1.WebhookDelivery(
        id=delivery.id,
        webhook=names.webhook_name(delivery.contributor, delivery.webhook),
        event=v1.WebhookEvent.WEBHOOK_EVENT_UNSPECIFIED if delivery.event is None else _EVENT.to_pb(delivery.event),
        state=_STATE.to_pb(delivery.state),
        count=delivery.count,
        attempts=delivery.attempts,
        status=delivery.status,
        error=delivery.error or "",
        create_time=timestamp(delivery.create_time),
        last_attempt_time=timestamp(delivery.last_attempt_time),
        next_attempt_time=timestamp(delivery.next_attempt_time),
    )


def delivery_from_pb(pb: v1.WebhookDelivery, at: str = "delivery") -> WebhookDelivery:
    wrong: list[Violation] = []
    contributor, webhook = checked(wrong, names.parse_webhook, pb.webhook, f"{at}.webhook") or ("", "")
    if pb.error and pb.error not in _ERRORS:
        wrong.append(Violation(f"{at}.error", f"is not known to this version: {pb.error[:40]!r}", "UNKNOWN_VALUE"))
    values = {
        "id": pb.id,
        "contributor": contributor,
        "webhook": webhook,
        "event": _EVENT.from_pb(pb.event, f"{at}.event", wrong) if pb.event else None,
        "state": _STATE.from_pb(pb.state, f"{at}.state", wrong),
        "count": pb.count,
        "attempts": pb.attempts,
        "status": pb.status,
        "error": _ERRORS.get(pb.error),
        "create_time": read_time(pb, "create_time", at, wrong),
        "last_attempt_time": read_time(pb, "last_attempt_time", at, wrong),
        "next_attempt_time": read_time(pb, "next_attempt_time", at, wrong),
    }
    return build(WebhookDelivery, values, wrong, at, {})
