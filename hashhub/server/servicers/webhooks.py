"""Webhooks and their calls."""

from __future__ import annotations

from typing import Final

from hashhub import v1, wire
from hashhub.model import Principal
from hashhub.server.roles import READERS, WRITERS, served
from hashhub.server.servicers.requests import Page, Service, mask_of, only_masked

_WEBHOOK_FIELDS: Final = ("url", "events", "description")
_ANY_WEBHOOK: Final = v1.Webhook(url="-", events=[v1.WebhookEvent.WEBHOOK_EVENT_ENTRY_DISPUTED])


class WebhookService(Service):
    """Webhooks and their calls."""

    @served(WRITERS)
    def create_webhook(self, principal: Principal, request: v1.CreateWebhookRequest) -> v1.CreateWebhookResponse:
        """Register a webhook and show its secret, this once."""
        contributor = wire.parse_contributor(request.parent, "parent")
        wanted = wire.WEBHOOK.created(request.webhook, contributor, request.webhook_id)
        webhook, secret = self._hub.webhooks.create(principal, wanted, validate_only=request.validate_only)
        return v1.CreateWebhookResponse(webhook=wire.WEBHOOK.to_pb(webhook), secret=secret)

    @served(READERS)
    def get_webhook(self, principal: Principal, request: v1.GetWebhookRequest) -> v1.Webhook:
        """Get a webhook."""
        return wire.WEBHOOK.to_pb(self._hub.webhooks.get(principal, *wire.parse_webhook(request.name)))

    @served(READERS)
    def list_webhooks(self, principal: Principal, request: v1.ListWebhooksRequest) -> v1.ListWebhooksResponse:
        """List webhooks by name."""
        contributor = wire.parse_contributor_or_all(request.parent)
        page = Page("webhooks", request, contributor)
        webhooks, token = page.of(self._hub.webhooks.list(principal, contributor), lambda w: w.name)
        return v1.ListWebhooksResponse(webhooks=map(wire.WEBHOOK.to_pb, webhooks), next_page_token=token)

    @served(WRITERS)
    def update_webhook(self, principal: Principal, request: v1.UpdateWebhookRequest) -> v1.Webhook:
        """Update the fields of a webhook that the mask names."""
        mask = mask_of(request.update_mask, request.webhook, _WEBHOOK_FIELDS, ("all_contributors",))
        wanted = wire.WEBHOOK.from_pb(only_masked(request.webhook, mask, _ANY_WEBHOOK))
        return wire.WEBHOOK.to_pb(
            self._hub.webhooks.update(principal, wanted, mask, validate_only=request.validate_only)
        )

    @served(WRITERS)
    def delete_webhook(self, principal: Principal, request: v1.DeleteWebhookRequest) -> v1.DeleteWebhookResponse:
        """Delete a webhook."""
        self._hub.webhooks.delete(principal, *wire.parse_webhook(request.name))
        return v1.DeleteWebhookResponse()

    @served(WRITERS)
    def rotate_webhook_secret(
        self, principal: Principal, request: v1.RotateWebhookSecretRequest
    ) -> v1.RotateWebhookSecretResponse:
        """Give a webhook a new secret and show it, this once."""
        name, grace = wire.parse_webhook(request.name), wire.duration_in(request, "grace")
        webhook, secret = self._hub.webhooks.rotate(principal, *name, grace)
        return v1.RotateWebhookSecretResponse(webhook=wire.WEBHOOK.to_pb(webhook), secret=secret)

    @served(WRITERS, limiter="webhooks")
    def test_webhook(self, principal: Principal, request: v1.TestWebhookRequest) -> v1.WebhookDelivery:
        """Call a webhook once, now."""
        return wire.DELIVERY.to_pb(self._hub.webhooks.test(principal, *wire.parse_webhook(request.name)))

    @served(READERS, limiter="pages")
    def list_webhook_deliveries(
        self, principal: Principal, request: v1.ListWebhookDeliveriesRequest
    ) -> v1.ListWebhookDeliveriesResponse:
        """List the calls of a webhook."""
        name = wire.parse_webhook(request.parent, "parent")
        page = Page("webhookDeliveries", request, *name)
        deliveries, after = self._hub.webhooks.deliveries(principal, *name, page.size, page.after(0))
        return v1.ListWebhookDeliveriesResponse(
            deliveries=map(wire.DELIVERY.to_pb, deliveries), next_page_token=page.token(after)
        )
