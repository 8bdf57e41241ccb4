"""Calls about contributors, groups, hash sets, webhooks, tokens, status and the history."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from google.protobuf.field_mask_pb2 import FieldMask

from hashhub import v1, wire
from hashhub.client.log import KeptCheckpoint, followed_checkpoint
from hashhub.client.transport import (
    Calls,
    Listing,
    contributor_name,
    group_name,
    hash_set_name,
    secret_of,
    subject_name,
    token_name,
    webhook_name,
)
from hashhub.model import (
    Caller,
    Contributor,
    Deletion,
    Event,
    Group,
    HashSet,
    Partners,
    Principal,
    Retention,
    RevertedEvent,
    SigningKey,
    Status,
    Webhook,
    WebhookDelivery,
)

_LARGE: Final = 600.0  # seconds: a million entries are withdrawn or deleted


class ContributorCalls(Calls):
    """Who contributes, and the groups that terms may name."""

    def create_contributor(self, contributor: Contributor, *, validate_only: bool = False) -> Contributor:
        """Create a contributor. Role: operator."""
        request = v1.CreateContributorRequest(
            contributor=wire.CONTRIBUTOR.to_pb(contributor), contributor_id=contributor.id, validate_only=validate_only
        )
        return self._ask(request, wire.CONTRIBUTOR.from_pb)

    def get_contributor(self, contributor: str) -> Contributor:
        """Return the contributor. Raises NotFound. Roles: operator, auditor, contributor."""
        return self._ask(v1.GetContributorRequest(name=contributor_name(contributor)), wire.CONTRIBUTOR.from_pb)

    def list_contributors(self) -> Listing[Contributor]:
        """Yield the contributors in order of name, a page at a time as they are consumed.

        Roles: operator, auditor, contributor.
        """
        return self._list(v1.ListContributorsRequest(), "contributors", wire.CONTRIBUTOR.from_pb)

    def update_contributor(
        self, contributor: Contributor, fields: Sequence[str], *, validate_only: bool = False
    ) -> Contributor:
        """Set the named fields of a contributor to the values that `contributor` has. Role: operator."""
        request = v1.UpdateContributorRequest(
            contributor=wire.CONTRIBUTOR.to_pb(contributor),
            update_mask=FieldMask(paths=fields),
            validate_only=validate_only,
        )
        return self._ask(request, wire.CONTRIBUTOR.from_pb)

    def retire_contributor(self, contributor: str, comment: str = "", *, withdraw_entries: bool) -> Contributor:
        """Retire a contributor, for good: its tokens stop working; what it stated stands, or is withdrawn.

        Role: operator.
        """
        stands, withdrawn = v1.RetiredEntries.RETIRED_ENTRIES_KEPT, v1.RetiredEntries.RETIRED_ENTRIES_WITHDRAWN
        request = v1.RetireContributorRequest(
            name=contributor_name(contributor), comment=comment, entries=withdrawn if withdraw_entries else stands
        )
        return self._ask(request, wire.CONTRIBUTOR.from_pb, timeout=_LARGE)

    def add_signing_key(self, contributor: str, key: SigningKey) -> Contributor:
        """Register a key with which a contributor signs. Raises AlreadyExists. Roles: operator; contributor itself."""
        request = v1.AddSigningKeyRequest(name=contributor_name(contributor), signing_key=wire.SIGNING_KEY.to_pb(key))
        return self._ask(request, wire.CONTRIBUTOR.from_pb)

    def revoke_signing_key(
        self, contributor: str, key_id: str, comment: str = "", *, stolen: bool = False
    ) -> Contributor:
        """Revoke a key, for good. Raises NotFound. Roles: operator; contributor itself."""
        request = v1.RevokeSigningKeyRequest(
            name=contributor_name(contributor), key_id=key_id, comment=comment, stolen=stolen
        )
        return self._ask(request, wire.CONTRIBUTOR.from_pb)

    def accept_objections(self, contributor: str, revision: int, comment: str = "") -> Contributor:
        """Let a contributor's objections beyond the daily number weigh up to a revision. Role: operator."""
        request = v1.AcceptObjectionsRequest(
            name=contributor_name(contributor), accepted_revision=revision, comment=comment
        )
        return self._ask(request, wire.CONTRIBUTOR.from_pb)

    def create_group(self, group: Group, *, validate_only: bool = False) -> Group:
        """Create a group. Role: operator."""
        request = v1.CreateGroupRequest(group=wire.GROUP.to_pb(group), group_id=group.id, validate_only=validate_only)
        return self._ask(request, wire.GROUP.from_pb)

    def get_group(self, group: str) -> Group:
        """Return the group. Raises NotFound. Roles: operator, auditor, contributor."""
        return self._ask(v1.GetGroupRequest(name=group_name(group)), wire.GROUP.from_pb)

    def list_groups(self) -> Listing[Group]:
        """Yield the groups in order of name. Roles: operator, auditor, contributor."""
        return self._list(v1.ListGroupsRequest(), "groups", wire.GROUP.from_pb)

    def update_group(
        self,
        group: Group,
        fields: Sequence[str] = (),
        *,
        add_members: Iterable[str] = (),
        remove_members: Iterable[str] = (),
        validate_only: bool = False,
    ) -> Group:
        """Set the named fields of a group to the values that `group` has, then add and remove members.

        Role: operator.
        """
        request = v1.UpdateGroupRequest(
            # Without a mask what is set would be taken over.
            group=wire.GROUP.to_pb(group if fields else Group(id=group.id)),
            update_mask=FieldMask(paths=fields),
            add_members=map(wire.contributor_name, add_members),
            remove_members=map(wire.contributor_name, remove_members),
            validate_only=validate_only,
        )
        return self._ask(request, wire.GROUP.from_pb)

    def delete_group(self, group: str) -> None:
        """Delete a group, which no terms may name; its name is never used again. Role: operator."""
        self._transport.call(v1.DeleteGroupRequest(name=group_name(group)), repeatable=False)


class HashSetCalls(Calls):
    """Hash sets and their terms."""

    def create_hash_set(self, hash_set: HashSet, *, validate_only: bool = False) -> HashSet:
        """Create a hash set of `hash_set.contributor`. Roles: operator, contributor."""
        request = v1.CreateHashSetRequest(
            hash_set=wire.HASH_SET.to_pb(hash_set),
            parent=wire.contributor_name(hash_set.contributor),
            hash_set_id=hash_set.id,
            validate_only=validate_only,
        )
        return self._ask(request, wire.HASH_SET.from_pb)

    def get_hash_set(self, hash_set: str) -> HashSet:
        """Return the hash set `CONTRIBUTOR/SET`. Raises NotFound. Roles: operator, auditor, contributor."""
        return self._ask(v1.GetHashSetRequest(name=hash_set_name(hash_set)), wire.HASH_SET.from_pb)

    def list_hash_sets(self, contributor: str | None = None) -> Listing[HashSet]:
        """Yield the hash sets of one contributor, or of all, in order of name.

        Roles: operator, auditor, contributor.
        """
        request = v1.ListHashSetsRequest(parent=contributor_name("-" if contributor is None else contributor))
        return self._list(request, "hash_sets", wire.HASH_SET.from_pb)

    def update_hash_set(self, hash_set: HashSet, fields: Sequence[str], *, validate_only: bool = False) -> HashSet:
        """Set the named fields (`display_name`, `marking.tlp`, …) of a hash set to the values that `hash_set` has."""
        request = v1.UpdateHashSetRequest(
            hash_set=wire.HASH_SET.to_pb(hash_set), update_mask=FieldMask(paths=fields), validate_only=validate_only
        )
        return self._ask(request, wire.HASH_SET.from_pb)

    def accept_hash_set(self, hash_set: str, revision: int, comment: str = "") -> HashSet:
        """Accept the statements of `CONTRIBUTOR/SET` against harm up to a revision. Role: operator."""
        request = v1.AcceptHashSetRequest(name=hash_set_name(hash_set), accepted_revision=revision, comment=comment)
        return self._ask(request, wire.HASH_SET.from_pb)

    def delete_hash_set(self, hash_set: str, comment: str = "", *, validate_only: bool = False) -> Deletion:
        """Delete `CONTRIBUTOR/SET` with everything that hangs on it, or ask for it; `validate_only`: say what would go.
        Not retried. Roles: operator; contributor its own.
        """
        request = v1.DeleteHashSetRequest(name=hash_set_name(hash_set), comment=comment, validate_only=validate_only)
        return self._ask(request, wire.DELETION.from_pb, timeout=_LARGE, repeatable=validate_only)

    def get_retention(self, hash_set: str) -> Retention:
        """Return how long the entries of `CONTRIBUTOR/SET` are kept. Raises NotFound."""
        return self._ask(v1.GetRetentionRequest(name=hash_set_name(hash_set)), wire.RETENTION.from_pb)

    def update_retention(
        self,
        hash_set: str,
        *,
        days: int | None = None,
        hold: bool | None = None,
        drop_deletion_request: bool = False,
        comment: str = "",
    ) -> Retention:
        """Change how long the entries of `CONTRIBUTOR/SET` are kept; only operators shorten that, and hold."""
        request = v1.UpdateRetentionRequest(
            name=hash_set_name(hash_set),
            days=days,
            hold=hold,
            drop_deletion_request=drop_deletion_request,
            comment=comment,
        )
        return self._ask(request, wire.RETENTION.from_pb)


class WebhookCalls(Calls):
    """Webhooks, and the calls that the hub makes of them."""

    def create_webhook(self, webhook: Webhook) -> str:
        """Register a webhook and return its secret, `whsec_…`, which cannot be had again. Not retried: see
        list_webhooks. Roles: operator; contributor for itself.
        """
        request = v1.CreateWebhookRequest(
            webhook=wire.WEBHOOK.to_pb(webhook),
            parent=wire.contributor_name(webhook.contributor),
            webhook_id=webhook.id,
        )
        return self._ask(request, secret_of, repeatable=False)

    def get_webhook(self, webhook: str) -> Webhook:
        """Return the webhook `CONTRIBUTOR/WEBHOOK`. Raises NotFound."""
        return self._ask(v1.GetWebhookRequest(name=webhook_name(webhook)), wire.WEBHOOK.from_pb)

    def list_webhooks(self, contributor: str | None = None) -> Listing[Webhook]:
        """Yield the webhooks of one contributor, or of all that the token may read, in order of name."""
        request = v1.ListWebhooksRequest(parent=contributor_name("-" if contributor is None else contributor))
        return self._list(request, "webhooks", wire.WEBHOOK.from_pb)

    def update_webhook(self, webhook: Webhook, fields: Sequence[str]) -> Webhook:
        """Set the named fields (`url`, `events`, `description`) of a webhook to the values that `webhook` has."""
        request = v1.UpdateWebhookRequest(webhook=wire.WEBHOOK.to_pb(webhook), update_mask=FieldMask(paths=fields))
        return self._ask(request, wire.WEBHOOK.from_pb)

    def rotate_webhook_secret(self, webhook: str, grace: timedelta | None = None) -> str:
        """Give a webhook a new secret and return it; for `grace` (a day) calls are signed with both. Not retried."""
        request = v1.RotateWebhookSecretRequest(name=webhook_name(webhook), grace=grace)
        return self._ask(request, secret_of, repeatable=False)

    def delete_webhook(self, webhook: str) -> None:
        """Delete a webhook and its pending deliveries."""
        self._transport.call(v1.DeleteWebhookRequest(name=webhook_name(webhook)), repeatable=False)

    def test_webhook(self, webhook: str) -> WebhookDelivery:
        """Call a webhook once, now, and return the delivery."""
        return self._ask(v1.TestWebhookRequest(name=webhook_name(webhook)), wire.DELIVERY.from_pb, repeatable=False)

    def list_webhook_deliveries(self, webhook: str, limit: int | None = None) -> Listing[WebhookDelivery]:
        """Yield the calls of a webhook, the newest first."""
        request = v1.ListWebhookDeliveriesRequest(parent=webhook_name(webhook))
        return self._list(request, "deliveries", wire.DELIVERY.from_pb, limit)


class AdministrationCalls(Calls):
    """Tokens and status."""

    def create_token(self, principal: Principal) -> str:
        """Create a token and return its secret, shown once. Role: operator. Not retried: see list_tokens."""
        request = v1.CreateTokenRequest(token=wire.TOKEN.to_pb(principal), token_id=principal.name)
        return self._ask(request, secret_of, repeatable=False)

    def list_tokens(self) -> Listing[Principal]:
        """Yield the tokens, without their secrets, in order of name."""
        return self._list(v1.ListTokensRequest(), "tokens", wire.TOKEN.from_pb)

    def update_token(self, token: Principal, fields: Sequence[str]) -> Principal:
        """Set the named fields of a token to the values that `token` has. Role: operator."""
        request = v1.UpdateTokenRequest(token=wire.TOKEN.to_pb(token), update_mask=FieldMask(paths=fields))
        return self._ask(request, wire.TOKEN.from_pb)

    def rotate_token(self, name: str, grace: timedelta | None = None) -> str:
        """Give a token a new secret and return it; the old one works on for `grace`, by default a day. Not retried.

        Roles: operator; any token for itself.
        """
        return self._ask(v1.RotateTokenRequest(name=token_name(name), grace=grace), secret_of, repeatable=False)

    def caller(self) -> Caller:
        """Return who this client is to the hub. Roles: all but peer."""
        return self._ask(v1.GetCallerRequest(), wire.CALLER.from_pb)

    def access(self, token: str) -> dict[str, dict[str, str]]:
        """Return by hash set (CONTRIBUTOR/SET) and way out (ANSWER, LIST, FEED, EXPORT) why a token has nothing of it
        there now; empty: it has. Roles: operator, auditor.
        """
        answer = self._ask(v1.GetAccessRequest(name=token_name(token)), lambda message: message)
        names = v1.DisclosureChannel
        return {
            "/".join(wire.parse_hash_set(one.hash_set)): {
                names.Name(c.channel).removeprefix("DISCLOSURE_CHANNEL_"): c.refusal for c in one.channels
            }
            for one in answer.hash_sets
        }

    def begin_session(self) -> tuple[str, datetime]:
        """Return a secret that may be sent over HTTP instead of this client's certificate, and until when it works."""
        answer = self._ask(v1.BeginSessionRequest(), lambda message: message)
        return answer.secret, answer.expire_time.ToDatetime(UTC)

    def delete_token(self, name: str) -> None:
        """Delete a token: it stops working within a second. Role: operator."""
        self._transport.call(v1.DeleteTokenRequest(name=token_name(name)), repeatable=False)

    def status(self) -> Status:
        """Return the state of the hub. Roles: operator, auditor."""
        return self._ask(v1.GetStatusRequest(), wire.STATUS.from_pb)

    def partners(self) -> Partners:
        """Return how far sources and peers are; for a contributor's token the sources of its own hash sets.

        Roles: operator, auditor, contributor.
        """
        return self._ask(v1.GetPartnersRequest(), wire.PARTNERS.from_pb)

    def name_hub(self, name: str) -> str:
        """Give the hub the name by which other hubs know it, for good; the one that it has already changes nothing.

        Raises FailedPrecondition (HUB_NAMED) where it has another one. Role: operator.
        """
        return self._ask(v1.NameHubRequest(hub=name), lambda answer: str(answer.hub))


_REVERT_TIMEOUT: Final = 3600.0  # seconds: a million entries take some minutes


class HistoryCalls(Calls):
    """Events: reading, redacting, reverting."""

    def list_events(
        self,
        name: str = "",
        *,
        actor: str = "",
        since: datetime | None = None,
        kinds: Iterable[str] = (),
        before_revision: int = 0,
        limit: int | None = None,
    ) -> Listing[Event]:
        """Yield events, the newest first: about `CONTRIBUTOR[/SET[/ENTRY]]`, `tokens/TOKEN` or `groups/GROUP`; of
        `actor`: only what this token wrote; of `kinds`: only these; those before a revision, 0: all. The facts of an
        event are text.
        """
        request = v1.ListEventsRequest(
            subject=subject_name(name),
            actor=token_name(actor) if actor else "",
            since=wire.timestamp(since),
            kinds=kinds,
            before_revision=before_revision,
        )
        return self._list(request, "events", wire.EVENT.from_pb, limit)

    def receipt(self, revision: int) -> tuple[bytes, bytes]:
        """Return an event as the log has it, and the proof that it does (a tlog-proof). Roles: operator, auditor;
        contributors for what their own tokens wrote.
        """
        request = v1.GetReceiptRequest(name=wire.event_name(revision))
        return self._ask(request, lambda answer: (bytes(answer.content), bytes(answer.proof)))

    def get_checkpoint(self, known: KeptCheckpoint | None = None) -> KeptCheckpoint:
        """Return the log's checkpoint, after a look that it contains a known one; of a log that began since, the first.
        Raises DataLoss (LOG_INCONSISTENT, PROOF_FAILED) where the hub shows another history.
        """
        return followed_checkpoint(self._transport.call, known)

    def redact_event(self, revision: int) -> Event:
        """Erase the details of an event; the chain still verifies. Role: operator."""
        return self._ask(v1.RedactEventRequest(name=wire.event_name(revision)), wire.EVENT.from_pb)

    def revert_actor(
        self,
        actor: str,
        since: datetime,
        comment: str = "",
        *,
        withdrawals_only: bool = False,
        validate_only: bool = False,
    ) -> list[RevertedEvent]:
        """Undo what a token wrote since a time, as far as nobody has changed it since; return what became of each
        event. One that was cut off goes on when it is run again. Role: operator.
        """
        request = v1.RevertActorRequest(
            actor=token_name(actor),
            since=wire.timestamp(since),
            withdrawals_only=withdrawals_only,
            validate_only=validate_only,
            comment=comment,
        )
        return self._ask(
            request, lambda answer: list(map(wire.REVERTED_EVENT.from_pb, answer.events)), timeout=_REVERT_TIMEOUT
        )
