"""Calls about webhooks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta

from google.protobuf.field_mask_pb2 import FieldMask

from hashhub import v1, wire
from hashhub.client import names
from hashhub.client.calls import Calls, secret_of
from hashhub.model import Webhook, WebhookDelivery


class WebhookCalls(Calls):
    """Webhooks, and the calls that the hub makes of them."""

    def create_webhook(self, webhook: Webhook) -> str:
        """Register a webhook and return its secret, `whsec_…`, which cannot be had again. Not retried: see
        list_webhooks.

        Roles: operator; contributor for itself.
        """
        request = v1.CreateWebhookRequest(
            webhook=wire.WEBHOOK.to_pb(webhook),
            parent=wire.contributor_name(webhook.contributor),
            webhook_id=webhook.id,
        )
        return self._ask(request, secret_of, repeatable=False)

    def get_webhook(self, webhook: str) -> Webhook:
        """Return the webhook `CONTRIBUTOR/WEBHOOK`. Raises NotFound."""
        request = v1.GetWebhookRequest(name=names.webhook(webhook))
        return self._ask(request, wire.WEBHOOK.from_pb)

    def list_webhooks(self, contributor: str | None = None) -> Iterator[Webhook]:
        """Yield the webhooks of one contributor, or of all that the token may read, in order of name."""
        request = v1.ListWebhooksRequest(parent=names.contributor("-" if contributor is None else contributor))
        return self._list(request, "webhooks", wire.WEBHOOK.from_pb)

    def update_webhook(self, webhook: Webhook, fields: Sequence[str]) -> Webhook:
        """Set the named fields (`url`, `events`, `description`) of a webhook to the values that `webhook` has."""
        request = v1.UpdateWebhookRequest(webhook=wire.WEBHOOK.to_pb(webhook), update_mask=FieldMask(paths=fields))
        return self._ask(request, wire.WEBHOOK.from_pb)

    def rotate_webhook_secret(self, webhook: str, grace: timedelta | None = None) -> str:
        """Give a webhook a new secret and return it; for `grace` (a day) calls are signed with both. Not retried."""
        request = v1.RotateWebhookSecretRequest(name=names.webhook(webhook), grace=grace)
        return self._ask(request, secret_of, repeatable=False)

    def delete_webhook(self, webhook: str) -> None:
        """Delete a webhook, and what it was to be told."""
        request = v1.DeleteWebhookRequest(name=names.webhook(webhook))
        self._transport.call(request, repeatable=False)

    def test_webhook(self, webhook: str) -> WebhookDelivery:
        """Have a webhook called once, now, and return what came of it."""
        request = v1.TestWebhookRequest(name=names.webhook(webhook))
        return self._ask(request, wire.DELIVERY.from_pb, repeatable=False)

    def list_webhook_deliveries(self, webhook: str, limit: int | None = None) -> Iterator[WebhookDelivery]:
        """Yield the calls of a webhook, the newest first."""
        request = v1.ListWebhookDeliveriesRequest(parent=names.webhook(webhook))
        return self._list(request, "deliveries", wire.DELIVERY.from_pb, limit)
