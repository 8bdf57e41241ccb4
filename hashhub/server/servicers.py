"""The calls: each converts its request, asks the hub, and converts the answer. Nothing else happens here.

A servicer's methods are the RPCs' names in snake_case and take `(principal, request)`, one that streams or hashes media
also whether it is wanted. They know no transport: what they raise is mapped to a status outside, and what they return
is encoded outside.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from hashhub import v1, wire
from hashhub.columns import RecordColumns
from hashhub.errors import InvalidArgument, NotFound, Unavailable, Violation
from hashhub.hub import Hub
from hashhub.hub.access import OVERSEERS
from hashhub.hub.exports import Selection
from hashhub.hub.policies import Since
from hashhub.hub.schemes import Listed
from hashhub.hub.selections import Order
from hashhub.model import (
    Conflict,
    Contributor,
    Entry,
    FeedPage,
    Group,
    HashSet,
    Import,
    Operation,
    Principal,
    Record,
    Retention,
    Webhook,
)
from hashhub.reconcile.results import Gap, Link
from hashhub.server import pages
from hashhub.server.interceptors import Method
from hashhub.server.roles import ROLES
from hashhub.trust import Version
from hashhub.v1 import (
    admin_service_pb2,
    change_service_pb2,
    contribution_service_pb2,
    contributor_service_pb2,
    history_service_pb2,
    match_service_pb2,
    operation_service_pb2,
    policy_service_pb2,
    reconciliation_service_pb2,
    review_service_pb2,
    scheme_service_pb2,
    webhook_service_pb2,
)

FILES: Final = (
    admin_service_pb2.DESCRIPTOR,
    change_service_pb2.DESCRIPTOR,
    contribution_service_pb2.DESCRIPTOR,
    contributor_service_pb2.DESCRIPTOR,
    history_service_pb2.DESCRIPTOR,
    match_service_pb2.DESCRIPTOR,
    operation_service_pb2.DESCRIPTOR,
    reconciliation_service_pb2.DESCRIPTOR,
    policy_service_pb2.DESCRIPTOR,
    review_service_pb2.DESCRIPTOR,
    scheme_service_pb2.DESCRIPTOR,
    webhook_service_pb2.DESCRIPTOR,
)

_MAX_REQUEST_ID: Final = 128  # characters; a UUID has 36
_LIFE_SIGN_SECONDS: Final = 10.0  # a followed feed says something at least this often, so that a dead connection shows
_LOOK_SECONDS: Final = 0.5  # how soon a followed feed notices that its reader has gone or the server stops
_CAMEL: Final = re.compile(r"(?<!^)(?=[A-Z])")


def methods(hub: Hub, is_stopping: Callable[[], bool], max_message_bytes: int) -> dict[str, Method]:
    """Return every call of the contract by its path. Raises KeyError or AttributeError when one has no role or no
    servicer.
    """
    servicers = {
        "AdminService": Admin(hub),
        "ChangeService": Changes(hub, is_stopping),
        "ContributionService": Contribution(hub, is_stopping),
        "ContributorService": Contributors(hub),
        "HistoryService": History(hub),
        "MatchService": Match(hub),
        "OperationService": Operations(hub, is_stopping),
        "ReconciliationService": Reconciliation(hub),
        "PolicyService": Policies(hub),
        "ReviewService": Reviews(hub),
        "SchemeService": Schemes(hub),
        "WebhookService": Webhooks(hub),
    }
    calls = [
        Method(
            name=f"{service.name}/{rpc.name}",
            request=GetMessageClass(rpc.input_type),
            answer=GetMessageClass(rpc.output_type),
            streams=rpc.server_streaming,
            roles=ROLES[f"{service.name}/{rpc.name}"],
            handle=getattr(servicers[service.name], _CAMEL.sub("_", rpc.name).lower()),
            bounds=wire.bounds_of(rpc.input_type, max_message_bytes),
            at_once=getattr(servicers[service.name], _CAMEL.sub("_", rpc.name).lower() + "_at_once", None),
        )
        for file in FILES
        for service in file.services_by_name.values()
        for rpc in service.methods
    ]
    return {method.path: method for method in calls}


class Admin:
    """Tokens and the state of the hub."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def create_token(self, principal: Principal, request: v1.CreateTokenRequest) -> v1.CreateTokenResponse:
        """Create a token and show its secret, this once."""
        wanted = wire.token_from_pb(request.token, token_id=request.token_id)
        token, secret = self._hub.tokens.create(principal, wanted)
        return v1.CreateTokenResponse(token=wire.token_to_pb(token), secret=secret, revision=self._hub.revision())

    def list_tokens(self, principal: Principal, request: v1.ListTokensRequest) -> v1.ListTokensResponse:
        """List tokens by name."""
        page = _Page("tokens", request)
        tokens, token = page.of(self._hub.tokens.list(principal), lambda t: t.name)
        return v1.ListTokensResponse(
            tokens=map(wire.token_to_pb, tokens), next_page_token=token, revision=self._hub.revision()
        )

    def update_token(self, principal: Principal, request: v1.UpdateTokenRequest) -> v1.Token:
        """Update the fields of a token that the mask names."""
        mask = _mask(request.update_mask, request.token, _TOKEN_FIELDS)
        # A token has no terms that hang together: what the mask leaves out is read as well, and not taken over.
        patched = _patch(request.token, mask, v1.Token(role=v1.Role.ROLE_AUDITOR))
        return self._token(self._hub.tokens.update(principal, wire.token_from_pb(patched), mask))

    def rotate_token(self, principal: Principal, request: v1.RotateTokenRequest) -> v1.RotateTokenResponse:
        """Give a token a new secret and show it, this once."""
        name, grace = wire.parse_token(request.name), wire.duration_in(request, "grace")
        token, secret = self._hub.tokens.rotate(principal, name, grace)
        return v1.RotateTokenResponse(token=wire.token_to_pb(token), secret=secret, revision=self._hub.revision())

    def delete_token(self, principal: Principal, request: v1.DeleteTokenRequest) -> v1.DeleteTokenResponse:
        """Delete a token."""
        self._hub.tokens.delete(principal, wire.parse_token(request.name))
        return v1.DeleteTokenResponse(revision=self._hub.revision())

    def get_status(self, principal: Principal, request: v1.GetStatusRequest) -> v1.Status:
        """Get the state of the hub."""
        del request
        return wire.status_to_pb(self._hub.status(principal))

    def _token(self, value: Principal) -> v1.Token:
        pb = wire.token_to_pb(value)
        pb.revision = self._hub.revision()
        return pb


class Changes:
    """The change feed."""

    def __init__(self, hub: Hub, is_stopping: Callable[[], bool]) -> None:
        """`is_stopping` tells a followed feed to end."""
        self._hub = hub
        self._is_stopping = is_stopping

    def list_changes(self, principal: Principal, request: v1.ListChangesRequest) -> v1.ListChangesResponse:
        """List changes behind a position."""
        size = pages.size(request.page_size)
        page = self._hub.changes.page(principal, request.position, from_now=request.from_now, page_size=size)
        return v1.ListChangesResponse(**_feed(page))

    def follow_changes(
        self, caller: Callable[[], Principal], request: v1.FollowChangesRequest, is_wanted: Callable[[], bool]
    ) -> Iterator[v1.FollowChangesResponse]:
        """Stream changes behind a position, and then those to come, until the reader has gone, its token ends or the
        server stops.
        """
        position, from_now = request.position, request.from_now
        said, was_complete = 0.0, False
        while is_wanted():
            if self._is_stopping():
                raise Unavailable("the server is stopping; follow again from the last position", retry_after=1.0)
            # Each page is authorised anew.
            page = self._hub.changes.page(caller(), position, from_now=from_now)
            position, from_now = page.position, False
            is_news = bool(page.changes) or (page.is_complete and not was_complete)
            if is_news or time.monotonic() - said >= _LIFE_SIGN_SECONDS:
                yield v1.FollowChangesResponse(**_feed(page))
                said, was_complete = time.monotonic(), page.is_complete
            if page.is_complete:
                self._hub.changes.wait(page.revision, _LOOK_SECONDS)


class Contribution:
    """Imports and entries."""

    def __init__(self, hub: Hub, is_stopping: Callable[[], bool]) -> None:
        """`is_stopping` tells an export to end."""
        self._hub = hub
        self._is_stopping = is_stopping

    def create_import(self, principal: Principal, request: v1.CreateImportRequest) -> v1.Import:
        """Open an import, or find the one of the same source."""
        parent = wire.parse_hash_set(request.parent, "parent")
        wanted = wire.import_from_pb(getattr(request, "import"), hash_set=parent)
        with _paths(request, "import"):
            opened = self._hub.contribute.open(
                principal, wanted, validate_only=request.validate_only, request_id=_request_id(request)
            )
        return self._import(opened)

    def add_records(self, principal: Principal, request: v1.AddRecordsRequest) -> v1.Import:
        """Add one batch of records."""
        import_id = self._named(principal, request.name)
        if request.batch_index < 0:
            raise InvalidArgument.field(
                "batch_index", f"must not be negative, got {request.batch_index}", "OUT_OF_RANGE"
            )
        records: Sequence[Record] | RecordColumns = wire.records_from_pb(request.records)
        if request.HasField("columns"):
            if records:
                text = "must be empty where records come as columns"
                raise InvalidArgument.field("records", text, "NOT_ALLOWED")
            records = wire.columns_from_pb(request.columns)
        rejects = wire.rejects_from_pb(request.rejects)
        return self._import(self._hub.contribute.add(principal, import_id, request.batch_index, records, rejects))

    def commit_import(self, principal: Principal, request: v1.CommitImportRequest) -> v1.Import:
        """Make the import's entries visible."""
        import_id = self._named(principal, request.name)
        return self._import(
            self._hub.contribute.commit(
                principal,
                import_id,
                batch_count=request.batch_count,
                allow_shrinking=request.allow_shrinking,
                validate_only=request.validate_only,
            )
        )

    def cancel_import(self, principal: Principal, request: v1.CancelImportRequest) -> v1.Import:
        """End an import that is not committed."""
        return self._import(self._hub.contribute.cancel(principal, self._named(principal, request.name)))

    def get_import(self, principal: Principal, request: v1.GetImportRequest) -> v1.Import:
        """Get an import."""
        return self._import(self._hub.contribute.get(principal, self._named(principal, request.name)))

    def list_imports(self, principal: Principal, request: v1.ListImportsRequest) -> v1.ListImportsResponse:
        """List a hash set's imports."""
        parent = wire.parse_hash_set(request.parent, "parent")
        page = _Page("imports", request, *parent)
        imports, after = self._hub.contribute.list(principal, *parent, page.size, page.after(""))
        return v1.ListImportsResponse(
            imports=map(wire.import_to_pb, imports), next_page_token=page.token(after), revision=self._hub.revision()
        )

    def list_findings(self, principal: Principal, request: v1.ListFindingsRequest) -> v1.ListFindingsResponse:
        """List what became of an import's items."""
        contributor, hash_set, _ = wire.parse_import(request.parent, "parent")
        import_id = self._named(principal, request.parent, "parent")
        dispositions = wire.dispositions_from_pb(request.dispositions)
        page = _Page("findings", request, import_id, *dispositions)
        findings, after = self._hub.contribute.findings(principal, import_id, page.size, page.after(0), dispositions)
        return v1.ListFindingsResponse(
            findings=(wire.finding_to_pb(f, contributor, hash_set) for f in findings),
            next_page_token=page.token(after),
            revision=self._hub.revision(),
        )

    def get_entry(self, principal: Principal, request: v1.GetEntryRequest) -> v1.Entry:
        """Get an entry."""
        return self._entry(self._hub.entries.get(principal, *wire.parse_entry(request.name)))

    def list_entries(self, principal: Principal, request: v1.ListEntriesRequest) -> v1.ListEntriesResponse:
        """List a hash set's entries."""
        parent = wire.parse_hash_set(request.parent, "parent")
        states = wire.entry_states_from_pb(request.states)
        page = _Page("entries", request, *parent, *states)
        entries, after = self._hub.entries.list(principal, *parent, states, page.size, page.after(0))
        return v1.ListEntriesResponse(
            entries=map(wire.entry_to_pb, entries), next_page_token=page.token(after), revision=self._hub.revision()
        )

    def export_entries(
        self, caller: Callable[[], Principal], request: v1.ExportEntriesRequest, is_wanted: Callable[[], bool]
    ) -> Iterator[v1.ExportEntriesResponse]:
        """Stream the entries of an export, behind what is said of all of them."""
        selection = Selection(
            hash_sets=tuple(
                "/".join(wire.parse_hash_set(name, f"hash_sets[{i}]")) for i, name in enumerate(request.hash_sets)
            ),
            policy=request.policy,
            position=request.position,
        )
        export = self._hub.exports.begin(
            caller(),
            selection,
            file_format=wire.read_text(request.format, "format"),
            recipient=wire.read_text(request.recipient, "recipient"),
        )
        yield v1.ExportEntriesResponse(
            revision=export.revision,
            hash_sets=map(wire.hash_set_to_pb, export.hash_sets),
            left_out=(
                v1.LeftOut(hash_set=wire.hash_set_name(*name.split("/")), entry_count=count)
                for name, count in export.left_out
            ),
            next_position=export.position,
            entry_count=export.entry_count,
            delta=export.is_delta,
        )
        for entries in export.pieces(caller):
            if not is_wanted():
                return
            if self._is_stopping():
                raise Unavailable("the server is stopping; discard what was written, and export again", retry_after=1.0)
            yield v1.ExportEntriesResponse(columns=wire.entry_columns_to_pb(entries))

    def withdraw_entry(self, principal: Principal, request: v1.WithdrawEntryRequest) -> v1.Entry:
        """Withdraw an entry."""
        return self._entry(
            self._hub.entries.withdraw(
                principal,
                *wire.parse_entry(request.name),
                wire.withdrawal_reason_from_pb(request.reason),
                request.comment,
                validate_only=request.validate_only,
                request_id=_request_id(request),
            )
        )

    def restore_entry(self, principal: Principal, request: v1.RestoreEntryRequest) -> v1.Entry:
        """Take a withdrawal back."""
        return self._entry(
            self._hub.entries.restore(
                principal,
                *wire.parse_entry(request.name),
                request.comment,
                validate_only=request.validate_only,
                request_id=_request_id(request),
            )
        )

    def erase_entry(self, principal: Principal, request: v1.EraseEntryRequest) -> v1.Entry:
        """Erase what an entry says about its item."""
        name = wire.parse_entry(request.name)
        return self._entry(self._hub.entries.erase(principal, *name, validate_only=request.validate_only))

    def release_entry(self, principal: Principal, request: v1.ReleaseEntryRequest) -> v1.Entry:
        """Release a quarantined entry."""
        return self._move(self._hub.entries.release, principal, request)

    def quarantine_entry(self, principal: Principal, request: v1.QuarantineEntryRequest) -> v1.Entry:
        """Put an active entry into quarantine."""
        return self._move(self._hub.entries.quarantine, principal, request)

    def search_entries(self, principal: Principal, request: v1.SearchEntriesRequest) -> v1.SearchEntriesResponse:
        """Search entries wherever the caller may list them."""
        selection = wire.selection_from_pb(request.selection)
        page = _Page("entries", request, request.selection.SerializeToString(deterministic=True).hex())
        entries, after, looked_at = self._hub.selections.search(principal, selection, page.size, page.after(0))
        return v1.SearchEntriesResponse(
            entries=map(wire.entry_to_pb, entries),
            next_page_token=page.token(after),
            revision=self._hub.revision(),
            looked_at_count=looked_at,
        )

    def change_entries(self, principal: Principal, request: v1.ChangeEntriesRequest) -> v1.ChangeEntriesResponse:
        """Withdraw, restore, quarantine or release what a selection hits."""
        order = Order(
            action=wire.entry_action_from_pb(request.action),
            reason=wire.optional_reason_from_pb(request.reason),
            comment=request.comment,
            limit=request.limit,
            expected_count=request.expected_count if request.HasField("expected_count") else None,
        )
        pb = wire.entry_changes_to_pb(
            self._hub.selections.change(
                principal,
                wire.selection_from_pb(request.selection),
                order,
                validate_only=request.validate_only,
                request_id=_request_id(request),
            )
        )
        pb.revision = self._hub.revision()
        return pb

    def list_queue_items(self, principal: Principal, request: v1.ListQueueItemsRequest) -> v1.ListQueueItemsResponse:
        """List what waits for the caller."""
        contributor = wire.parse_contributor_or_all(request.parent) or ""
        page = _Page("queue items", request, contributor)
        items = self._hub.queue.list(principal, contributor)
        start = page.after(0)
        end = start + page.size
        return v1.ListQueueItemsResponse(
            queue_items=map(wire.queue_item_to_pb, items[start:end]),
            next_page_token=page.token(end if len(items) > end else 0),
            revision=self._hub.revision(),
        )

    def _move(
        self,
        move: Callable[..., Entry],
        principal: Principal,
        request: v1.ReleaseEntryRequest | v1.QuarantineEntryRequest,
    ) -> v1.Entry:
        name = wire.parse_entry(request.name)
        return self._entry(move(principal, *name, validate_only=request.validate_only, request_id=_request_id(request)))

    def _named(self, principal: Principal, name: str, field: str = "name") -> str:
        """Return the id of the import that `name` means. Import ids are unique by themselves, but the whole name must
        be true.
        """
        contributor, hash_set, import_id = wire.parse_import(name, field)
        import_ = self._hub.contribute.get(principal, import_id)
        if (import_.contributor, import_.hash_set) != (contributor, hash_set):
            raise NotFound(
                f"there is no import {import_id} in hash set {contributor}/{hash_set}",
                kind="Import",
                name=f"{contributor}/{hash_set}/{import_id}",
            )
        return import_id

    def _import(self, value: Import) -> v1.Import:
        pb = wire.import_to_pb(value)
        pb.revision = self._hub.revision()
        return pb

    def _entry(self, value: Entry) -> v1.Entry:
        pb = wire.entry_to_pb(value)
        pb.revision = self._hub.revision()
        return pb


class Contributors:
    """Contributors, groups and hash sets."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def create_contributor(self, principal: Principal, request: v1.CreateContributorRequest) -> v1.Contributor:
        """Create a contributor."""
        wanted = wire.contributor_from_pb(request.contributor, contributor_id=request.contributor_id)
        with _paths(request, "contributor"):
            made = self._hub.contributors.create(
                principal, wanted, validate_only=request.validate_only, request_id=_request_id(request)
            )
        return self._contributor(made)

    def get_contributor(self, principal: Principal, request: v1.GetContributorRequest) -> v1.Contributor:
        """Get a contributor."""
        return self._contributor(self._hub.contributors.get(principal, wire.parse_contributor(request.name)))

    def list_contributors(
        self, principal: Principal, request: v1.ListContributorsRequest
    ) -> v1.ListContributorsResponse:
        """List contributors."""
        page = _Page("contributors", request)
        contributors, after = self._hub.contributors.list(principal, page.size, page.after(""))
        return v1.ListContributorsResponse(
            contributors=map(wire.contributor_to_pb, contributors),
            next_page_token=page.token(after),
            revision=self._hub.revision(),
        )

    def update_contributor(self, principal: Principal, request: v1.UpdateContributorRequest) -> v1.Contributor:
        """Update the fields of a contributor that the mask names."""
        mask = _mask(request.update_mask, request.contributor, _CONTRIBUTOR_FIELDS)
        wanted = wire.contributor_from_pb(_patch(request.contributor, mask, _ANY_CONTRIBUTOR))
        with _paths(request, "contributor"):
            made = self._hub.contributors.update(
                principal, wanted, mask, validate_only=request.validate_only, request_id=_request_id(request)
            )
        return self._contributor(made)

    def retire_contributor(self, principal: Principal, request: v1.RetireContributorRequest) -> v1.Contributor:
        """Retire a contributor."""
        name = wire.parse_contributor(request.name)
        comment = wire.read_text(request.comment, "comment")
        withdraw = wire.withdraws_entries(request.entries)
        return self._contributor(self._hub.contributors.retire(principal, name, comment, withdraw_entries=withdraw))

    def accept_objections(self, principal: Principal, request: v1.AcceptObjectionsRequest) -> v1.Contributor:
        """Accept a contributor's objections."""
        name, comment = wire.parse_contributor(request.name), wire.read_text(request.comment, "comment")
        return self._contributor(
            self._hub.contributors.accept_objections(principal, name, request.accepted_revision, comment)
        )

    def create_group(self, principal: Principal, request: v1.CreateGroupRequest) -> v1.Group:
        """Create a group."""
        wanted = wire.group_from_pb(request.group, group_id=request.group_id)
        with _paths(request, "group"):
            made = self._hub.groups.create(
                principal, wanted, validate_only=request.validate_only, request_id=_request_id(request)
            )
        return self._group(made)

    def get_group(self, principal: Principal, request: v1.GetGroupRequest) -> v1.Group:
        """Get a group."""
        return self._group(self._hub.groups.get(principal, wire.parse_group(request.name)))

    def list_groups(self, principal: Principal, request: v1.ListGroupsRequest) -> v1.ListGroupsResponse:
        """List groups."""
        page = _Page("groups", request)
        groups, after = self._hub.groups.list(principal, page.size, page.after(""))
        return v1.ListGroupsResponse(
            groups=map(wire.group_to_pb, groups), next_page_token=page.token(after), revision=self._hub.revision()
        )

    def update_group(self, principal: Principal, request: v1.UpdateGroupRequest) -> v1.Group:
        """Update the fields of a group that the mask names."""
        mask = _mask(request.update_mask, request.group, _GROUP_FIELDS)
        wanted = wire.group_from_pb(_patch(request.group, mask, v1.Group()))
        with _paths(request, "group"):
            made = self._hub.groups.update(
                principal,
                wanted,
                mask,
                add_members=wire.contributors_from_pb(request.add_members, "add_members"),
                remove_members=wire.contributors_from_pb(request.remove_members, "remove_members"),
                validate_only=request.validate_only,
                request_id=_request_id(request),
            )
        return self._group(made)

    def delete_group(self, principal: Principal, request: v1.DeleteGroupRequest) -> v1.DeleteGroupResponse:
        """Delete a group."""
        self._hub.groups.delete(principal, wire.parse_group(request.name))
        return v1.DeleteGroupResponse(revision=self._hub.revision())

    def create_hash_set(self, principal: Principal, request: v1.CreateHashSetRequest) -> v1.HashSet:
        """Create a hash set."""
        contributor = wire.parse_contributor(request.parent, "parent")
        wanted = wire.hash_set_from_pb(request.hash_set, contributor=contributor, hash_set_id=request.hash_set_id)
        with _paths(request, "hash_set"):
            made = self._hub.hash_sets.create(
                principal, wanted, validate_only=request.validate_only, request_id=_request_id(request)
            )
        return self._hash_set(made)

    def get_hash_set(self, principal: Principal, request: v1.GetHashSetRequest) -> v1.HashSet:
        """Get a hash set."""
        return self._hash_set(self._hub.hash_sets.get(principal, *wire.parse_hash_set(request.name)))

    def list_hash_sets(self, principal: Principal, request: v1.ListHashSetsRequest) -> v1.ListHashSetsResponse:
        """List the hash sets of one contributor, or of all."""
        contributor = wire.parse_contributor_or_all(request.parent)
        page = _Page("hashSets", request, contributor)
        hash_sets, after = self._hub.hash_sets.list(principal, contributor, page.size, page.after(""))
        return v1.ListHashSetsResponse(
            hash_sets=map(wire.hash_set_to_pb, hash_sets),
            next_page_token=page.token(after),
            revision=self._hub.revision(),
        )

    def update_hash_set(self, principal: Principal, request: v1.UpdateHashSetRequest) -> v1.HashSet:
        """Update the fields of a hash set that the mask names."""
        mask = _mask(request.update_mask, request.hash_set, _HASH_SET_FIELDS, _HASH_SET_FIXED)
        wanted = wire.hash_set_from_pb(_patch(request.hash_set, mask, _ANY_HASH_SET))
        with _paths(request, "hash_set"):
            made = self._hub.hash_sets.update(
                principal, wanted, mask, validate_only=request.validate_only, request_id=_request_id(request)
            )
        return self._hash_set(made)

    def accept_hash_set(self, principal: Principal, request: v1.AcceptHashSetRequest) -> v1.HashSet:
        """Accept what a hash set says against harm."""
        name, comment = wire.parse_hash_set(request.name), wire.read_text(request.comment, "comment")
        return self._hash_set(self._hub.hash_sets.accept(principal, *name, request.accepted_revision, comment))

    def delete_hash_set(self, principal: Principal, request: v1.DeleteHashSetRequest) -> v1.DeleteHashSetResponse:
        """Delete a hash set with everything that hangs on it, or ask for it."""
        name, comment = wire.parse_hash_set(request.name), wire.read_text(request.comment, "comment")
        deleted = self._hub.retention.delete(principal, *name, comment=comment, validate_only=request.validate_only)
        pb = wire.deletion_to_pb(deleted)
        pb.revision = self._hub.revision()
        return pb

    def get_retention(self, principal: Principal, request: v1.GetRetentionRequest) -> v1.Retention:
        """Get how long a hash set's entries are kept."""
        name = wire.parse_hash_set(request.name)
        return self._retention(request.name, self._hub.retention.get(principal, *name))

    def update_retention(self, principal: Principal, request: v1.UpdateRetentionRequest) -> v1.Retention:
        """Change how long a hash set's entries are kept."""
        updated = self._hub.retention.update(
            principal,
            *wire.parse_hash_set(request.name),
            days=request.days if request.HasField("days") else None,
            hold=request.hold if request.HasField("hold") else None,
            drop_request=request.drop_deletion_request,
            comment=wire.read_text(request.comment, "comment"),
        )
        return self._retention(request.name, updated)

    def _retention(self, name: str, value: Retention) -> v1.Retention:
        pb = wire.retention_to_pb(value, name)
        pb.revision = self._hub.revision()
        return pb

    def _group(self, value: Group) -> v1.Group:
        pb = wire.group_to_pb(value)
        pb.revision = self._hub.revision()
        return pb

    def _contributor(self, value: Contributor) -> v1.Contributor:
        pb = wire.contributor_to_pb(value)
        pb.revision = self._hub.revision()
        return pb

    def _hash_set(self, value: HashSet) -> v1.HashSet:
        pb = wire.hash_set_to_pb(value)
        pb.revision = self._hub.revision()
        return pb


class Match:
    """Matching."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def match_hashes(self, principal: Principal, request: v1.MatchHashesRequest) -> v1.MatchHashesResponse:
        """Match one item by its hashes."""
        options = wire.options_from_pb(request.options)
        query = wire.query_from_pb(request.query)
        policy = self._hub.match.policy(principal, options.policy)
        (result,), revision = self._hub.match.hashes(principal, [query], options, policy=policy)
        return v1.MatchHashesResponse(
            result=wire.match_result_to_pb(result), policy=policy.full_name, revision=revision
        )

    def match_hashes_at_once(
        self, principal: Principal, request: v1.MatchHashesRequest
    ) -> v1.MatchHashesResponse | None:
        """Match one item that hits nothing; None for any other. Never waits."""
        options = wire.options_from_pb(request.options)
        policy = self._hub.match.held_policy(principal, options.policy)
        if policy is None:
            return None
        missed = self._hub.match.miss(principal, wire.query_from_pb(request.query), options)
        if missed is None:
            return None
        result, revision = missed
        return v1.MatchHashesResponse(
            result=wire.match_result_to_pb(result), policy=policy.full_name, revision=revision
        )

    def batch_match_hashes(
        self, principal: Principal, request: v1.BatchMatchHashesRequest
    ) -> v1.BatchMatchHashesResponse:
        """Match many items by their hashes."""
        options = wire.options_from_pb(request.options)
        queries = wire.queries_from_pb(request)
        policy = self._hub.match.policy(principal, options.policy)
        results, revision = self._hub.match.hashes(principal, queries, options, policy=policy)
        return wire.match_results_to_pb(results, policy.full_name, revision)

    def match_media(
        self, principal: Principal, request: v1.MatchMediaRequest, charge: Callable[[float], None]
    ) -> v1.MatchMediaResponse:
        """Hash one media file and match it."""
        options = wire.options_from_pb(request.options)
        media = [(request.media.label, request.media.content)]
        policy = self._hub.match.policy(principal, options.policy)
        (result,), revision = self._hub.match.media(
            principal, media, options, single=True, charge=charge, policy=policy
        )
        return v1.MatchMediaResponse(result=wire.media_result_to_pb(result), policy=policy.full_name, revision=revision)

    def batch_match_media(
        self, principal: Principal, request: v1.BatchMatchMediaRequest, charge: Callable[[float], None]
    ) -> v1.BatchMatchMediaResponse:
        """Hash several media files and match them."""
        options = wire.options_from_pb(request.options)
        media = [(m.label, m.content) for m in request.media]
        policy = self._hub.match.policy(principal, options.policy)
        results, revision = self._hub.match.media(principal, media, options, single=False, charge=charge, policy=policy)
        return v1.BatchMatchMediaResponse(
            results=map(wire.media_result_to_pb, results), policy=policy.full_name, revision=revision
        )

    def list_policies(self, principal: Principal, request: v1.ListPoliciesRequest) -> v1.ListPoliciesResponse:
        """List the policies."""
        page = _Page("policies", request)
        policies, token = page.of(self._hub.policies.currents(principal), lambda p: p.name)
        return v1.ListPoliciesResponse(
            policies=(wire.policy_to_pb(v, in_list=True) for v in policies),
            next_page_token=token,
            revision=self._hub.revision(),
        )

    def list_schemes(self, principal: Principal, request: v1.ListSchemesRequest) -> v1.ListSchemesResponse:
        """List the classification schemes."""
        page = _Page("schemes", request)
        schemes, token = page.of(self._hub.schemes.list(principal), lambda s: s.scheme.name)
        return v1.ListSchemesResponse(
            schemes=(wire.scheme_to_pb(s.scheme, s.definition) for s in schemes),
            next_page_token=token,
            revision=self._hub.revision(),
        )


class Policies:
    """Versions of policies, and what they make of items."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def get_policy(self, principal: Principal, request: v1.GetPolicyRequest) -> v1.Policy:
        """Get a version of a policy."""
        return self._policy(principal, self._hub.policies.get(principal, wire.parse_policy(request.name)))

    def list_policy_versions(
        self, principal: Principal, request: v1.ListPolicyVersionsRequest
    ) -> v1.ListPolicyVersionsResponse:
        """List all versions of a policy."""
        name = wire.parse_policy(request.parent, "parent")
        page = _Page("policyVersions", request, name)
        after = page.after(0)
        left = [v for v in self._hub.policies.versions(principal, name) if v.version > after]
        shown = left[: page.size]
        return v1.ListPolicyVersionsResponse(
            policies=(self._policy(principal, v) for v in shown),
            next_page_token=page.token(shown[-1].version if len(left) > len(shown) else 0),
            revision=self._hub.revision(),
        )

    def put_policy(self, principal: Principal, request: v1.PutPolicyRequest) -> v1.Policy:
        """Put the next version of a policy."""
        made = self._hub.policies.put(
            principal,
            request.text,
            comment=wire.read_text(request.comment, "comment"),
            validate_only=request.validate_only,
            request_id=_request_id(request),
        )
        return self._policy(principal, made)

    def retire_policy(self, principal: Principal, request: v1.RetirePolicyRequest) -> v1.Policy:
        """Retire a version of a policy."""
        retired = self._hub.policies.retire(
            principal,
            wire.parse_policy(request.name),
            comment=wire.read_text(request.comment, "comment"),
            validate_only=request.validate_only,
            request_id=_request_id(request),
        )
        return self._policy(principal, retired)

    def explain_match(self, principal: Principal, request: v1.ExplainMatchRequest) -> v1.ExplainMatchResponse:
        """Explain a policy's verdict about one item."""
        options = wire.options_from_pb(request.options)
        trace, verdict, revision = self._hub.policies.explain(principal, wire.query_from_pb(request.query), options)
        return wire.trace_to_pb(trace, verdict, revision)

    def simulate_policy(self, principal: Principal, request: v1.SimulatePolicyRequest) -> v1.SimulatePolicyResponse:
        """Say what a policy would change."""
        time = wire.time_in(request, "since_time")
        hash_sets = tuple("/".join(wire.parse_hash_set(n, f"hash_sets[{i}]")) for i, n in enumerate(request.hash_sets))
        options = wire.options_from_pb(v1.MatchOptions(max_distances=request.max_distances), "")
        page = _Page("trial", _Unpaged(request.page_token), request.since_revision, time, hash_sets)
        after, resolved = _trial_position(page.after("0:0"))
        by_entries = request.HasField("since_revision") or time is not None or bool(hash_sets)
        since = Since(
            revision=resolved or request.since_revision,
            time=None if resolved else time,
            hash_sets=hash_sets,
            after=after,
        )
        trial = self._hub.policies.try_out(
            principal,
            request.before,
            request.after,
            text=request.text,
            queries=[wire.query_from_pb(q, f"queries[{i}]") for i, q in enumerate(request.queries)],
            since=since if by_entries else None,
            max_distances=options.max_distances,
        )
        token = page.token(f"{trial.next_after}:{trial.since_revision}") if trial.next_after else ""
        return wire.trial_to_pb(trial, token)

    def _policy(self, principal: Principal, version: Version) -> v1.Policy:
        tells_actor = principal.role in OVERSEERS  # names of operators' tokens are their own affair
        pb = wire.policy_to_pb(version, tells_actor=tells_actor)
        pb.revision = self._hub.revision()
        return pb


def _trial_position(position: str) -> tuple[int, int]:
    """Return behind which entry a trial goes on, and behind which revision its entries became visible."""
    match = re.fullmatch(r"([0-9]{1,18}):([0-9]{1,18})", position)
    if match is None:
        raise InvalidArgument.field("page_token", "is damaged; start again without it", "PAGE_TOKEN")
    return int(match[1]), int(match[2])


class _Unpaged(NamedTuple):
    """A request that goes on from a token, and says no size."""

    page_token: str
    page_size: int = 0


class Reviews:
    """Reviews of entries."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def create_review(self, principal: Principal, request: v1.CreateReviewRequest) -> v1.Review:
        """Add a review."""
        contributor, hash_set, entry_id = wire.parse_entry(request.parent, "parent")
        made = self._hub.reviews.create(
            principal,
            contributor,
            hash_set,
            entry_id,
            *wire.new_review_from_pb(request.review),
            validate_only=request.validate_only,
            request_id=_request_id(request),
        )
        pb = wire.review_to_pb(made, contributor, hash_set)
        pb.revision = self._hub.revision()
        return pb

    def set_aside_review(self, principal: Principal, request: v1.SetAsideReviewRequest) -> v1.Review:
        """Let an objection weigh no more."""
        contributor, hash_set, entry_id, review_id = wire.parse_review(request.name)
        made = self._hub.reviews.set_aside(
            principal,
            contributor,
            hash_set,
            entry_id,
            review_id,
            request.comment,
            validate_only=request.validate_only,
            request_id=_request_id(request),
        )
        pb = wire.review_to_pb(made, contributor, hash_set)
        pb.revision = self._hub.revision()
        return pb

    def list_reviews(self, principal: Principal, request: v1.ListReviewsRequest) -> v1.ListReviewsResponse:
        """List the reviews of an entry."""
        contributor, hash_set, entry_id = wire.parse_entry(request.parent, "parent")
        page = _Page("reviews", request, contributor, hash_set, entry_id)
        reviews, after = self._hub.reviews.list(principal, contributor, hash_set, entry_id, page.size, page.after(0))
        return v1.ListReviewsResponse(
            reviews=(wire.review_to_pb(r, contributor, hash_set) for r in reviews),
            next_page_token=page.token(after),
            revision=self._hub.revision(),
        )


class History:
    """The history, and undoing what a token did."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def list_events(self, principal: Principal, request: v1.ListEventsRequest) -> v1.ListEventsResponse:
        """List events, the newest first."""
        subject = wire.parse_subject(request.subject)
        actor = wire.parse_token(request.actor, "actor") if request.actor else ""
        since = wire.time_in(request, "since")
        page = _Page("events", request, subject, actor, since)
        events, after = self._hub.history.list(principal, subject, actor, since, page.size, page.after(0))
        return v1.ListEventsResponse(
            events=map(wire.event_to_pb, events), next_page_token=page.token(after), revision=self._hub.revision()
        )

    def redact_event(self, principal: Principal, request: v1.RedactEventRequest) -> v1.Event:
        """Erase the details of an event."""
        return wire.event_to_pb(self._hub.history.redact(principal, wire.parse_event(request.name)))

    def revert_actor(self, principal: Principal, request: v1.RevertActorRequest) -> v1.RevertActorResponse:
        """Undo what a token wrote since a time."""
        since = wire.time_in(request, "since")
        if since is None:
            raise InvalidArgument.field("since", "must say from when on", "REQUIRED")
        events = self._hub.history.revert(
            principal,
            wire.parse_token(request.actor, "actor"),
            since,
            withdrawals_only=request.withdrawals_only,
            comment=request.comment,
            validate_only=request.validate_only,
        )
        return v1.RevertActorResponse(events=map(wire.reverted_event_to_pb, events), revision=self._hub.revision())


class Operations:
    """Work that goes on after the call that started it."""

    def __init__(self, hub: Hub, is_stopping: Callable[[], bool]) -> None:
        """`is_stopping` ends the waiting for one."""
        self._hub = hub
        self._is_stopping = is_stopping

    def get_operation(self, principal: Principal, request: v1.GetOperationRequest) -> v1.Operation:
        """Get an operation."""
        return _operation(self._hub, self._hub.operations.get(principal, wire.parse_operation(request.name)))

    def list_operations(self, principal: Principal, request: v1.ListOperationsRequest) -> v1.ListOperationsResponse:
        """List operations, the newest first."""
        page = _Page("operations", request)
        operations, after = self._hub.operations.list(principal, page.size, page.after(0))
        return v1.ListOperationsResponse(
            operations=(wire.operation_to_pb(o, is_brief=True) for o in operations),
            next_page_token=page.token(after),
            revision=self._hub.revision(),
        )

    def wait_operation(self, principal: Principal, request: v1.WaitOperationRequest) -> v1.Operation:
        """Get an operation once it has ended, or as it is after a time."""
        timeout = wire.duration_in(request, "timeout")
        name = wire.parse_operation(request.name)
        operation = self._hub.operations.wait(principal, name, timeout, self._is_stopping)
        return _operation(self._hub, operation)

    def cancel_operation(self, principal: Principal, request: v1.CancelOperationRequest) -> v1.Operation:
        """Ask for an operation's end."""
        return _operation(self._hub, self._hub.operations.cancel(principal, wire.parse_operation(request.name)))

    def delete_operation(self, principal: Principal, request: v1.DeleteOperationRequest) -> v1.DeleteOperationResponse:
        """Delete an operation that has ended."""
        self._hub.operations.delete(principal, wire.parse_operation(request.name))
        return v1.DeleteOperationResponse(revision=self._hub.revision())


class Reconciliation:
    """What databases share, and where they differ."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def extract_entries(self, principal: Principal, request: v1.ExtractEntriesRequest) -> v1.Operation:
        """Start to write an extract."""
        return self._start(principal, request)

    def compute_overlap(self, principal: Principal, request: v1.ComputeOverlapRequest) -> v1.Operation:
        """Start to count what is shared."""
        return self._start(principal, request)

    def compute_agreement(self, principal: Principal, request: v1.ComputeAgreementRequest) -> v1.Operation:
        """Start to compare what several state."""
        return self._start(principal, request)

    def find_links(self, principal: Principal, request: v1.FindLinksRequest) -> v1.Operation:
        """Start to look for entries about the same media."""
        return self._start(principal, request)

    def find_gaps(self, principal: Principal, request: v1.FindGapsRequest) -> v1.Operation:
        """Start to look for what a jurisdiction lacks."""
        return self._start(principal, request)

    def write_report(self, principal: Principal, request: v1.WriteReportRequest) -> v1.Operation:
        """Start to write a page for people."""
        return self._start(principal, request)

    def read_result(self, principal: Principal, request: v1.ReadResultRequest) -> v1.ReadResultResponse:
        """Read rows of a result."""
        operation_id = wire.parse_operation(request.name)
        page = _Page("rows", request, operation_id)
        rows, after = self._hub.reconciliation.rows(principal, operation_id, page.size, page.after(0))
        return v1.ReadResultResponse(
            links=(wire.link_to_pb(row) for row in rows if isinstance(row, Link)),
            gaps=(wire.gap_to_pb(row) for row in rows if isinstance(row, Gap)),
            next_page_token=page.token(after),
            revision=self._hub.revision(),
        )

    def read_files(
        self, caller: Callable[[], Principal], request: v1.ReadFilesRequest, is_wanted: Callable[[], bool]
    ) -> Iterator[v1.ReadFilesResponse]:
        """Stream files of a result."""
        operation_id = wire.parse_operation(request.name)
        for piece in self._hub.reconciliation.files(caller, operation_id, request.paths):
            if not is_wanted():
                return
            yield v1.ReadFilesResponse(path=piece.path, data=piece.data, last=piece.is_last)

    def list_conflicts(self, principal: Principal, request: v1.ListConflictsRequest) -> v1.ListConflictsResponse:
        """List conflicts."""
        wanted = wire.conflict_filter_from_pb(request.filter)
        page = _Page("conflicts", request, wanted)
        conflicts, after = self._hub.conflicts.list(principal, wanted, page.size, page.after(""))
        return v1.ListConflictsResponse(
            conflicts=map(wire.conflict_to_pb, conflicts),
            next_page_token=page.token(after),
            looked_revision=self._hub.conflicts.looked_upto(principal),
            revision=self._hub.revision(),
        )

    def get_conflict(self, principal: Principal, request: v1.GetConflictRequest) -> v1.Conflict:
        """Get a conflict with what each side states."""
        return self._conflict(self._hub.conflicts.get(principal, wire.parse_conflict(request.name)))

    def summarise_conflicts(
        self, principal: Principal, request: v1.SummariseConflictsRequest
    ) -> v1.SummariseConflictsResponse:
        """Count conflicts."""
        pb = wire.conflict_summary_to_pb(
            self._hub.conflicts.summarise(principal, wire.conflict_filter_from_pb(request.filter))
        )
        pb.revision = self._hub.revision()
        return pb

    def assign_conflict(self, principal: Principal, request: v1.AssignConflictRequest) -> v1.Conflict:
        """Give a conflict to somebody."""
        return self._conflict(
            self._hub.conflicts.assign(
                principal,
                wire.parse_conflict(request.name),
                wire.read_text(request.assignee, "assignee"),
                validate_only=request.validate_only,
                request_id=_request_id(request),
            )
        )

    def resolve_conflict(self, principal: Principal, request: v1.ResolveConflictRequest) -> v1.Conflict:
        """Say what a conflict comes to."""
        return self._conflict(
            self._hub.conflicts.resolve(
                principal,
                wire.parse_conflict(request.name),
                wire.conflict_reason_from_pb(request.reason),
                wire.read_text(request.comment, "comment"),
                decided_for=wire.parse_contributor(request.decided_for, "decided_for") if request.decided_for else "",
                etag=wire.read_text(request.etag, "etag"),
                validate_only=request.validate_only,
                request_id=_request_id(request),
            )
        )

    def _conflict(self, conflict: Conflict) -> v1.Conflict:
        pb = wire.conflict_to_pb(conflict)
        pb.revision = self._hub.revision()
        return pb

    def _start(self, principal: Principal, request: Any) -> v1.Operation:
        task = wire.task_from_pb(request)
        return _operation(self._hub, self._hub.reconciliation.start(principal, task, _request_id(request)))


def _operation(hub: Hub, operation: Operation) -> v1.Operation:
    pb = wire.operation_to_pb(operation)
    pb.revision = hub.revision()
    return pb


class Schemes:
    """Classification schemes."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def get_scheme(self, principal: Principal, request: v1.GetSchemeRequest) -> v1.Scheme:
        """Get a scheme with its text."""
        return self._scheme(self._hub.schemes.get(principal, wire.parse_scheme(request.name)))

    def put_scheme(self, principal: Principal, request: v1.PutSchemeRequest) -> v1.Scheme:
        """Put a version of a scheme."""
        return self._scheme(
            self._hub.schemes.put(
                principal,
                request.text,
                comment=wire.read_text(request.comment, "comment"),
                validate_only=request.validate_only,
                request_id=_request_id(request),
            )
        )

    def sign_off_scheme(self, principal: Principal, request: v1.SignOffSchemeRequest) -> v1.Scheme:
        """Answer for a version that somebody else put."""
        return self._scheme(
            self._hub.schemes.sign_off(
                principal,
                wire.parse_scheme(request.name),
                wire.read_text(request.comment, "comment"),
                validate_only=request.validate_only,
                request_id=_request_id(request),
            )
        )

    def retire_scheme(self, principal: Principal, request: v1.RetireSchemeRequest) -> v1.Scheme:
        """Let no new hash set take a version."""
        return self._scheme(
            self._hub.schemes.retire(
                principal,
                wire.parse_scheme(request.name),
                wire.read_text(request.comment, "comment"),
                validate_only=request.validate_only,
                request_id=_request_id(request),
            )
        )

    def compare_schemes(self, principal: Principal, request: v1.CompareSchemesRequest) -> v1.CompareSchemesResponse:
        """Lay two schemes side by side."""
        first = wire.parse_scheme(request.name)
        second = wire.parse_scheme(request.other_name, "other_name")
        # By version: what an id alone means may change between two pages.
        a, b = (self._hub.schemes.get(principal, name).scheme for name in (first, second))
        page = _Page("crosswalk", request, a.name, b.name)
        rows, after = self._hub.schemes.compare(principal, a.name, b.name, page.size, page.after(0))
        return v1.CompareSchemesResponse(
            name=wire.scheme_name(a.id, a.version),
            other_name=wire.scheme_name(b.id, b.version),
            rows=map(wire.crosswalk_row_to_pb, rows),
            next_page_token=page.token(after),
            revision=self._hub.revision(),
        )

    def diff_schemes(self, principal: Principal, request: v1.DiffSchemesRequest) -> v1.DiffSchemesResponse:
        """Say what differs between two schemes."""
        old, new = wire.parse_scheme(request.name), wire.parse_scheme(request.other_name, "other_name")
        pb = wire.difference_to_pb(self._hub.schemes.diff(principal, old, new))
        pb.revision = self._hub.revision()
        return pb

    def _scheme(self, listed: Listed) -> v1.Scheme:
        pb = wire.scheme_to_pb(listed.scheme, listed.definition, with_text=True)
        pb.revision = self._hub.revision()
        return pb


class Webhooks:
    """Webhooks and their calls."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def create_webhook(self, principal: Principal, request: v1.CreateWebhookRequest) -> v1.CreateWebhookResponse:
        """Register a webhook and show its secret, this once."""
        contributor = wire.parse_contributor(request.parent, "parent")
        wanted = wire.webhook_from_pb(request.webhook, contributor=contributor, webhook_id=request.webhook_id)
        webhook, secret = self._hub.webhooks.create(principal, wanted, validate_only=request.validate_only)
        return v1.CreateWebhookResponse(
            webhook=wire.webhook_to_pb(webhook), secret=secret, revision=self._hub.revision()
        )

    def get_webhook(self, principal: Principal, request: v1.GetWebhookRequest) -> v1.Webhook:
        """Get a webhook."""
        return self._webhook(self._hub.webhooks.get(principal, *wire.parse_webhook(request.name)))

    def list_webhooks(self, principal: Principal, request: v1.ListWebhooksRequest) -> v1.ListWebhooksResponse:
        """List webhooks by name."""
        contributor = wire.parse_contributor_or_all(request.parent)
        page = _Page("webhooks", request, contributor)
        webhooks, token = page.of(self._hub.webhooks.list(principal, contributor), lambda w: w.name)
        return v1.ListWebhooksResponse(
            webhooks=map(wire.webhook_to_pb, webhooks), next_page_token=token, revision=self._hub.revision()
        )

    def update_webhook(self, principal: Principal, request: v1.UpdateWebhookRequest) -> v1.Webhook:
        """Update the fields of a webhook that the mask names."""
        mask = _mask(request.update_mask, request.webhook, _WEBHOOK_FIELDS, ("all_contributors",))
        wanted = wire.webhook_from_pb(_patch(request.webhook, mask, _ANY_WEBHOOK))
        return self._webhook(self._hub.webhooks.update(principal, wanted, mask, validate_only=request.validate_only))

    def delete_webhook(self, principal: Principal, request: v1.DeleteWebhookRequest) -> v1.DeleteWebhookResponse:
        """Delete a webhook."""
        self._hub.webhooks.delete(principal, *wire.parse_webhook(request.name))
        return v1.DeleteWebhookResponse(revision=self._hub.revision())

    def rotate_webhook_secret(
        self, principal: Principal, request: v1.RotateWebhookSecretRequest
    ) -> v1.RotateWebhookSecretResponse:
        """Give a webhook a new secret and show it, this once."""
        name, grace = wire.parse_webhook(request.name), wire.duration_in(request, "grace")
        webhook, secret = self._hub.webhooks.rotate(principal, *name, grace)
        return v1.RotateWebhookSecretResponse(
            webhook=wire.webhook_to_pb(webhook), secret=secret, revision=self._hub.revision()
        )

    def test_webhook(self, principal: Principal, request: v1.TestWebhookRequest) -> v1.WebhookDelivery:
        """Call a webhook once, now."""
        return wire.delivery_to_pb(self._hub.webhooks.test(principal, *wire.parse_webhook(request.name)))

    def list_webhook_deliveries(
        self, principal: Principal, request: v1.ListWebhookDeliveriesRequest
    ) -> v1.ListWebhookDeliveriesResponse:
        """List the calls of a webhook."""
        name = wire.parse_webhook(request.parent, "parent")
        page = _Page("webhookDeliveries", request, *name)
        deliveries, after = self._hub.webhooks.deliveries(principal, *name, page.size, page.after(0))
        return v1.ListWebhookDeliveriesResponse(
            deliveries=map(wire.delivery_to_pb, deliveries),
            next_page_token=page.token(after),
            revision=self._hub.revision(),
        )

    def _webhook(self, value: Webhook) -> v1.Webhook:
        pb = wire.webhook_to_pb(value)
        pb.revision = self._hub.revision()
        return pb


class _Page:
    """The paging of one request: its size, where it goes on, and the token for the next one."""

    def __init__(self, collection: str, request: Any, *filters: object) -> None:
        self._question = (collection, *filters)
        self._token = request.page_token
        self.size = pages.size(request.page_size)

    def after(self, first: Any) -> Any:
        return pages.decode(self._token, first, *self._question)

    def token(self, after: int | str) -> str:
        return pages.encode(after, *self._question)

    def of(self, everything: Any, key: Callable[[Any], str]) -> tuple[list[Any], str]:
        """Cut the page out of a short list that the hub gives as a whole."""
        after = self.after("")
        rest = [item for item in sorted(everything, key=key) if key(item) > after]
        return rest[: self.size], self.token(key(rest[self.size - 1]) if len(rest) > self.size else "")


_CONTRIBUTOR_FIELDS: Final = ("display_name", "kind", "jurisdiction", "reliability", "takes_from")
_GROUP_FIELDS: Final = ("display_name", "members")
_TOKEN_FIELDS: Final = (
    "description",
    "purposes",
    "acts_for_others",
    "may_mirror",
    "max_effort",
    "expire_time",
    "shares",
)
_HASH_SET_FIELDS: Final = ("display_name", "review_depth", "marking")
_WEBHOOK_FIELDS: Final = ("url", "events", "description")
_HASH_SET_FIXED: Final = ("scheme", "purpose", "unclassified")  # the hub says that these cannot change
# A valid contributor whose fields stand in for those that a mask leaves out; the hub takes only the masked ones over.
_ANY_CONTRIBUTOR: Final = v1.Contributor(
    display_name="-", kind=v1.ContributorKind.CONTRIBUTOR_KIND_NGO, jurisdiction="ZZ"
)
# Likewise: TLP:RED alone is no valid terms, but may be what an update makes of terms that name recipients.
_ANY_HASH_SET: Final = v1.HashSet(purpose=v1.Purpose.PURPOSE_CSAM, marking=v1.Marking(recipients=["contributors/any"]))


_ANY_WEBHOOK: Final = v1.Webhook(url="-", events=[v1.WebhookEvent.WEBHOOK_EVENT_ENTRY_DISPUTED])


def _mask(mask: FieldMask, given: Message, fields: tuple[str, ...], fixed: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return the fields to take over: those of the mask; all for `*`; for an empty mask those that are set.

    A field inside one is named by its path, `marking.tlp`: the others stay. `fixed` fields can be named, and the hub
    refuses them.
    """
    if not mask.paths:
        return tuple(path for path in _paths_set(given) if path.partition(".")[0] in (*fields, *fixed))
    if list(mask.paths) == ["*"]:
        return fields
    unknown = [path for path in mask.paths if not _is_path(path, (*fields, *fixed))]
    if unknown:
        expected = f"can name {', '.join(fields)}, or `*` for all of them"
        raise InvalidArgument(
            f"update_mask: {expected}; got {', '.join(unknown)[:80]!r}",
            violations=tuple(
                Violation("update_mask", f"{expected}; got {path[:40]!r}", "UNKNOWN_FIELD") for path in unknown
            ),
        )
    return tuple(dict.fromkeys(mask.paths))


def _paths_set(given: Message) -> Iterator[str]:
    """Yield the fields that are set; of terms each one that is."""
    for field, value in given.ListFields():
        if isinstance(value, v1.Marking):
            yield from (f"{field.name}.{term.name}" for term, _ in value.ListFields())
        else:
            yield field.name


def _is_path(path: str, fields: tuple[str, ...]) -> bool:
    """Whether it names one of the fields, or one of the terms."""
    field, dot, term = path.partition(".")
    return field in fields and (not dot or (field == "marking" and term in v1.Marking.DESCRIPTOR.fields_by_name))


def _patch(given: Any, mask: tuple[str, ...], otherwise: Any) -> Any:
    """Return `given` with every field outside the mask taken from `otherwise`, except its name."""
    patched = type(given)()
    patched.CopyFrom(otherwise)
    FieldMask(paths=mask).MergeMessage(given, patched, replace_message_field=True, replace_repeated_field=True)
    patched.name = given.name
    return patched


@contextmanager
def _paths(request: Message, prefix: str) -> Iterator[None]:
    """Give the hub's violations the client's paths: what is no field of the request is one of its resource."""
    try:
        yield
    except InvalidArgument as e:
        own = request.DESCRIPTOR.fields_by_name
        e.violations = tuple(
            v if re.split(r"[.\[]", v.field)[0] in own else Violation(f"{prefix}.{v.field}", v.description, v.reason)
            for v in e.violations
        )
        raise


def _request_id(request: Any) -> str:
    request_id: str = request.request_id
    if len(request_id) > _MAX_REQUEST_ID or "\0" in request_id:
        raise InvalidArgument.field(
            "request_id", f"must be at most {_MAX_REQUEST_ID} characters; a UUID is best", "TOO_LONG"
        )
    return request_id


def _feed(page: FeedPage) -> dict[str, Any]:
    """Return what both ways of reading the feed answer with."""
    return {
        "changes": wire.changed_entries_to_pb(page.changes),
        "revision": page.revision,
        "next_position": page.position,
        "complete": page.is_complete,
        "head": page.head,
    }
