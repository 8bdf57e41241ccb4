"""Contributors, groups, hash sets and webhooks."""

from __future__ import annotations

from typing import Any, Final

from hashhub import v1, wire
from hashhub.hub.resources import CONTRIBUTOR_FIELDS, GROUP_FIELDS
from hashhub.model import Contributor, Deletion, Group, HashSet, Principal, Webhook
from hashhub.server.servicers.requests import (
    OPERATOR,
    READERS,
    WRITERS,
    Service,
    always,
    listed,
    mask_of,
    named,
    only_masked,
    served,
    write_options,
)

_HASH_SET_FIELDS: Final = ("display_name", "review_depth", "marking", "bank", "require_signature")
_HASH_SET_FIXED: Final = ("scheme", "purpose", "unclassified")  # the hub says that these cannot change
_WEBHOOK_FIELDS: Final = ("url", "events", "description")
# Valid resources whose fields stand in for those that a mask leaves out; the hub takes only the masked ones over.
_ANY_CONTRIBUTOR: Final = v1.Contributor(
    display_name="-", kind=v1.ContributorKind.CONTRIBUTOR_KIND_NGO, jurisdiction="ZZ"
)
# TLP:RED alone is no valid terms, but may be what an update makes of terms that name recipients.
_ANY_HASH_SET: Final = v1.HashSet(purpose=v1.Purpose.PURPOSE_CSAM, marking=v1.Marking(recipients=["contributors/any"]))
_ANY_WEBHOOK: Final = v1.Webhook(url="-", events=[v1.WebhookEvent.WEBHOOK_EVENT_ENTRY_DISPUTED])


def _mask(request: Any) -> Any:
    return request.update_mask.paths if "update_mask" in request.DESCRIPTOR.fields_by_name else ()


def _names(request: Any, *fields: str) -> bool:
    """Whether a request writes one of these fields: a new resource, a mask that names one or all, or names none."""
    return not _mask(request) or not {"*", *fields}.isdisjoint(_mask(request))


def _grades(request: Any) -> bool:
    """Whether a grade of reliability is given or changed. To whom is new, F gives none."""
    is_new = isinstance(request, v1.CreateContributorRequest)
    nothing = v1.Reliability.RELIABILITY_F if is_new else v1.Reliability.RELIABILITY_UNSPECIFIED
    is_said = request.contributor.reliability not in {v1.Reliability.RELIABILITY_UNSPECIFIED, nothing}
    return _names(request, "reliability") and (is_said or bool(_mask(request)))


def _opens(request: Any) -> bool:
    """Whether a hash set is let go in bulk."""
    return _names(request, "marking", "marking.bulk") and request.hash_set.marking.bulk


def _weakens(request: Any) -> bool:
    """Whether a hash set is let go in bulk, or need not be signed any more."""
    is_named = not {"*", "require_signature"}.isdisjoint(_mask(request))
    return _opens(request) or (is_named and not request.hash_set.require_signature)


def _withdraws(request: Any) -> bool:
    return wire.withdraws_entries(request.entries)


class ContributorService(Service):
    """Contributors, groups and hash sets."""

    @served(OPERATOR, wire.CONTRIBUTOR.to_pb, resource="contributor", grave=_grades)
    def create_contributor(self, principal: Principal, request: v1.CreateContributorRequest) -> Contributor:
        wanted = wire.CONTRIBUTOR.created(request.contributor, request.contributor_id)
        return self.hub.contributors.create(principal, wanted, **write_options(request))

    get_contributor = named(READERS, wire.parse_contributor, lambda hub: hub.contributors.get, wire.CONTRIBUTOR.to_pb)
    list_contributors = listed(READERS, lambda hub: hub.contributors.list, wire.CONTRIBUTOR.to_pb)

    @served(OPERATOR, wire.CONTRIBUTOR.to_pb, resource="contributor", grave=_grades)
    def update_contributor(self, principal: Principal, request: v1.UpdateContributorRequest) -> Contributor:
        mask = mask_of(request.update_mask, request.contributor, CONTRIBUTOR_FIELDS)
        wanted = wire.CONTRIBUTOR.from_pb(only_masked(request.contributor, mask, _ANY_CONTRIBUTOR))
        return self.hub.contributors.update(principal, wanted, mask, **write_options(request))

    @served(OPERATOR, wire.CONTRIBUTOR.to_pb, limiter="commits", grave=_withdraws)
    def retire_contributor(self, principal: Principal, request: v1.RetireContributorRequest) -> Contributor:
        name = wire.parse_contributor(request.name)
        comment = wire.read_text(request.comment, "comment")
        return self.hub.contributors.retire(principal, name, comment, withdraw_entries=_withdraws(request))

    @served(OPERATOR, wire.CONTRIBUTOR.to_pb)
    def accept_objections(self, principal: Principal, request: v1.AcceptObjectionsRequest) -> Contributor:
        name, comment = wire.parse_contributor(request.name), wire.read_text(request.comment, "comment")
        return self.hub.contributors.accept_objections(principal, name, request.accepted_revision, comment)

    # A stolen token must not be enough to sign in its contributor's name.
    @served(WRITERS, wire.CONTRIBUTOR.to_pb, resource="signing_key", grave=always)
    def add_signing_key(self, principal: Principal, request: v1.AddSigningKeyRequest) -> Contributor:
        key = wire.SIGNING_KEY.from_pb(request.signing_key)
        return self.hub.signatures.add_key(principal, wire.parse_contributor(request.name), key)

    @served(WRITERS, wire.CONTRIBUTOR.to_pb)
    def revoke_signing_key(self, principal: Principal, request: v1.RevokeSigningKeyRequest) -> Contributor:
        name, key = wire.parse_contributor(request.name), wire.read_text(request.key_id, "key_id")
        comment = wire.read_text(request.comment, "comment")
        return self.hub.signatures.revoke_key(principal, name, key, comment, stolen=request.stolen)

    @served(OPERATOR, wire.GROUP.to_pb, resource="group")
    def create_group(self, principal: Principal, request: v1.CreateGroupRequest) -> Group:
        wanted = wire.GROUP.created(request.group, request.group_id)
        return self.hub.groups.create(principal, wanted, **write_options(request))

    get_group = named(READERS, wire.parse_group, lambda hub: hub.groups.get, wire.GROUP.to_pb)
    list_groups = listed(READERS, lambda hub: hub.groups.list, wire.GROUP.to_pb)

    @served(OPERATOR, wire.GROUP.to_pb, resource="group")
    def update_group(self, principal: Principal, request: v1.UpdateGroupRequest) -> Group:
        mask = mask_of(request.update_mask, request.group, GROUP_FIELDS)
        return self.hub.groups.update(
            principal,
            wire.GROUP.from_pb(only_masked(request.group, mask, v1.Group())),
            mask,
            add_members=wire.contributors_from_pb(request.add_members, "add_members"),
            remove_members=wire.contributors_from_pb(request.remove_members, "remove_members"),
            **write_options(request),
        )

    delete_group = named(OPERATOR, wire.parse_group, lambda hub: hub.groups.delete)

    @served(WRITERS, wire.HASH_SET.to_pb, resource="hash_set", grave=_opens)
    def create_hash_set(self, principal: Principal, request: v1.CreateHashSetRequest) -> HashSet:
        contributor = wire.parse_contributor(request.parent, "parent")
        wanted = wire.new_hash_set_from_pb(request.hash_set, contributor, request.hash_set_id)
        return self.hub.hash_sets.create(principal, wanted, **write_options(request))

    get_hash_set = named(READERS, wire.parse_hash_set, lambda hub: hub.hash_sets.get, wire.HASH_SET.to_pb)
    list_hash_sets = listed(
        READERS, lambda hub: hub.hash_sets.list, wire.HASH_SET.to_pb, parent=wire.parse_contributor_or_all
    )

    @served(WRITERS, wire.HASH_SET.to_pb, resource="hash_set", grave=_weakens)
    def update_hash_set(self, principal: Principal, request: v1.UpdateHashSetRequest) -> HashSet:
        mask = mask_of(request.update_mask, request.hash_set, _HASH_SET_FIELDS, _HASH_SET_FIXED)
        wanted = wire.HASH_SET.from_pb(only_masked(request.hash_set, mask, _ANY_HASH_SET))
        return self.hub.hash_sets.update(principal, wanted, mask, **write_options(request))

    @served(OPERATOR, wire.HASH_SET.to_pb)
    def accept_hash_set(self, principal: Principal, request: v1.AcceptHashSetRequest) -> HashSet:
        name, comment = wire.parse_hash_set(request.name), wire.read_text(request.comment, "comment")
        return self.hub.hash_sets.accept(principal, *name, request.accepted_revision, comment)

    @served(WRITERS, wire.DELETION.to_pb, limiter="commits")
    def delete_hash_set(self, principal: Principal, request: v1.DeleteHashSetRequest) -> Deletion:
        name, comment = wire.parse_hash_set(request.name), wire.read_text(request.comment, "comment")
        return self.hub.retention.delete(principal, *name, comment=comment, validate_only=request.validate_only)

    @served(READERS)
    def get_retention(self, principal: Principal, request: v1.GetRetentionRequest) -> v1.Retention:
        name = wire.parse_hash_set(request.name)
        return wire.RETENTION.to_pb(self.hub.retention.get(principal, *name), name=request.name)

    @served(WRITERS)
    def update_retention(self, principal: Principal, request: v1.UpdateRetentionRequest) -> v1.Retention:
        updated = self.hub.retention.update(
            principal,
            *wire.parse_hash_set(request.name),
            days=request.days if request.HasField("days") else None,
            hold=request.hold if request.HasField("hold") else None,
            drop_request=request.drop_deletion_request,
            comment=wire.read_text(request.comment, "comment"),
        )
        return wire.RETENTION.to_pb(updated, name=request.name)


class WebhookService(Service):
    """Webhooks and their calls."""

    @served(WRITERS)
    def create_webhook(self, principal: Principal, request: v1.CreateWebhookRequest) -> v1.CreateWebhookResponse:
        contributor = wire.parse_contributor(request.parent, "parent")
        wanted = wire.WEBHOOK.created(request.webhook, contributor, request.webhook_id)
        webhook, secret = self.hub.webhooks.create(principal, wanted, validate_only=request.validate_only)
        return v1.CreateWebhookResponse(webhook=wire.WEBHOOK.to_pb(webhook), secret=secret)

    get_webhook = named(READERS, wire.parse_webhook, lambda hub: hub.webhooks.get, wire.WEBHOOK.to_pb)
    list_webhooks = listed(
        READERS,
        lambda hub: hub.webhooks.list,
        wire.WEBHOOK.to_pb,
        parent=wire.parse_contributor_or_all,
        key=lambda one: one.name,
    )

    @served(WRITERS, wire.WEBHOOK.to_pb)
    def update_webhook(self, principal: Principal, request: v1.UpdateWebhookRequest) -> Webhook:
        mask = mask_of(request.update_mask, request.webhook, _WEBHOOK_FIELDS, ("all_contributors",))
        wanted = wire.WEBHOOK.from_pb(only_masked(request.webhook, mask, _ANY_WEBHOOK))
        return self.hub.webhooks.update(principal, wanted, mask, validate_only=request.validate_only)

    delete_webhook = named(WRITERS, wire.parse_webhook, lambda hub: hub.webhooks.delete)

    @served(WRITERS)
    def rotate_webhook_secret(
        self, principal: Principal, request: v1.RotateWebhookSecretRequest
    ) -> v1.RotateWebhookSecretResponse:
        name, grace = wire.parse_webhook(request.name), wire.duration_in(request, "grace")
        webhook, secret = self.hub.webhooks.rotate(principal, *name, grace)
        return v1.RotateWebhookSecretResponse(webhook=wire.WEBHOOK.to_pb(webhook), secret=secret)

    test_webhook = named(
        WRITERS, wire.parse_webhook, lambda hub: hub.webhooks.test, wire.DELIVERY.to_pb, limiter="webhooks"
    )
    list_webhook_deliveries = listed(
        READERS,
        lambda hub: hub.webhooks.deliveries,
        wire.DELIVERY.to_pb,
        parent=wire.parse_webhook,
        first=0,
        limiter="pages",
    )
