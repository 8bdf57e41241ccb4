"""Contributors, groups and hash sets."""

from __future__ import annotations

from typing import Final

from hashhub import v1, wire
from hashhub.hub.resources import CONTRIBUTOR_FIELDS, GROUP_FIELDS
from hashhub.model import Principal
from hashhub.server.roles import OPERATOR, READERS, WRITERS, served
from hashhub.server.servicers.requests import Page, Service, client_paths, mask_of, only_masked, write_options

_HASH_SET_FIELDS: Final = ("display_name", "review_depth", "marking")
_HASH_SET_FIXED: Final = ("scheme", "purpose", "unclassified")  # the hub says that these cannot change
# A valid contributor whose fields stand in for those that a mask leaves out; the hub takes only the masked ones over.
_ANY_CONTRIBUTOR: Final = v1.Contributor(
    display_name="-", kind=v1.ContributorKind.CONTRIBUTOR_KIND_NGO, jurisdiction="ZZ"
)
# Likewise: TLP:RED alone is no valid terms, but may be what an update makes of terms that name recipients.
_ANY_HASH_SET: Final = v1.HashSet(purpose=v1.Purpose.PURPOSE_CSAM, marking=v1.Marking(recipients=["contributors/any"]))


class ContributorService(Service):
    """Contributors, groups and hash sets."""

    @served(OPERATOR)
    def create_contributor(self, principal: Principal, request: v1.CreateContributorRequest) -> v1.Contributor:
        """Create a contributor."""
        wanted = wire.CONTRIBUTOR.created(request.contributor, request.contributor_id)
        with client_paths(request, "contributor"):
            return wire.CONTRIBUTOR.to_pb(self._hub.contributors.create(principal, wanted, **write_options(request)))

    @served(READERS)
    def get_contributor(self, principal: Principal, request: v1.GetContributorRequest) -> v1.Contributor:
        """Get a contributor."""
        return wire.CONTRIBUTOR.to_pb(self._hub.contributors.get(principal, wire.parse_contributor(request.name)))

    @served(READERS)
    def list_contributors(
        self, principal: Principal, request: v1.ListContributorsRequest
    ) -> v1.ListContributorsResponse:
        """List contributors."""
        page = Page("contributors", request)
        contributors, after = self._hub.contributors.list(principal, page.size, page.after(""))
        return v1.ListContributorsResponse(
            contributors=map(wire.CONTRIBUTOR.to_pb, contributors), next_page_token=page.token(after)
        )

    @served(OPERATOR)
    def update_contributor(self, principal: Principal, request: v1.UpdateContributorRequest) -> v1.Contributor:
        """Update the fields of a contributor that the mask names."""
        mask = mask_of(request.update_mask, request.contributor, CONTRIBUTOR_FIELDS)
        wanted = wire.CONTRIBUTOR.from_pb(only_masked(request.contributor, mask, _ANY_CONTRIBUTOR))
        with client_paths(request, "contributor"):
            return wire.CONTRIBUTOR.to_pb(
                self._hub.contributors.update(principal, wanted, mask, **write_options(request))
            )

    @served(OPERATOR, limiter="commits")
    def retire_contributor(self, principal: Principal, request: v1.RetireContributorRequest) -> v1.Contributor:
        """Retire a contributor."""
        name = wire.parse_contributor(request.name)
        comment = wire.read_text(request.comment, "comment")
        withdraw = wire.withdraws_entries(request.entries)
        return wire.CONTRIBUTOR.to_pb(
            self._hub.contributors.retire(principal, name, comment, withdraw_entries=withdraw)
        )

    @served(OPERATOR)
    def accept_objections(self, principal: Principal, request: v1.AcceptObjectionsRequest) -> v1.Contributor:
        """Accept a contributor's objections."""
        name, comment = wire.parse_contributor(request.name), wire.read_text(request.comment, "comment")
        return wire.CONTRIBUTOR.to_pb(
            self._hub.contributors.accept_objections(principal, name, request.accepted_revision, comment)
        )

    @served(OPERATOR)
    def create_group(self, principal: Principal, request: v1.CreateGroupRequest) -> v1.Group:
        """Create a group."""
        wanted = wire.GROUP.created(request.group, request.group_id)
        with client_paths(request, "group"):
            return wire.GROUP.to_pb(self._hub.groups.create(principal, wanted, **write_options(request)))

    @served(READERS)
    def get_group(self, principal: Principal, request: v1.GetGroupRequest) -> v1.Group:
        """Get a group."""
        return wire.GROUP.to_pb(self._hub.groups.get(principal, wire.parse_group(request.name)))

    @served(READERS)
    def list_groups(self, principal: Principal, request: v1.ListGroupsRequest) -> v1.ListGroupsResponse:
        """List groups."""
        page = Page("groups", request)
        groups, after = self._hub.groups.list(principal, page.size, page.after(""))
        return v1.ListGroupsResponse(groups=map(wire.GROUP.to_pb, groups), next_page_token=page.token(after))

    @served(OPERATOR)
    def update_group(self, principal: Principal, request: v1.UpdateGroupRequest) -> v1.Group:
        """Update the fields of a group that the mask names."""
        mask = mask_of(request.update_mask, request.group, GROUP_FIELDS)
        wanted = wire.GROUP.from_pb(only_masked(request.group, mask, v1.Group()))
        with client_paths(request, "group"):
            return wire.GROUP.to_pb(
                self._hub.groups.update(
                    principal,
                    wanted,
                    mask,
                    add_members=wire.contributors_from_pb(request.add_members, "add_members"),
                    remove_members=wire.contributors_from_pb(request.remove_members, "remove_members"),
                    **write_options(request),
                )
            )

    @served(OPERATOR)
    def delete_group(self, principal: Principal, request: v1.DeleteGroupRequest) -> v1.DeleteGroupResponse:
        """Delete a group."""
        self._hub.groups.delete(principal, wire.parse_group(request.name))
        return v1.DeleteGroupResponse()

    @served(WRITERS)
    def create_hash_set(self, principal: Principal, request: v1.CreateHashSetRequest) -> v1.HashSet:
        """Create a hash set."""
        contributor = wire.parse_contributor(request.parent, "parent")
        wanted = wire.new_hash_set_from_pb(request.hash_set, contributor, request.hash_set_id)
        with client_paths(request, "hash_set"):
            return wire.HASH_SET.to_pb(self._hub.hash_sets.create(principal, wanted, **write_options(request)))

    @served(READERS)
    def get_hash_set(self, principal: Principal, request: v1.GetHashSetRequest) -> v1.HashSet:
        """Get a hash set."""
        return wire.HASH_SET.to_pb(self._hub.hash_sets.get(principal, *wire.parse_hash_set(request.name)))

    @served(READERS)
    def list_hash_sets(self, principal: Principal, request: v1.ListHashSetsRequest) -> v1.ListHashSetsResponse:
        """List the hash sets of one contributor, or of all."""
        contributor = wire.parse_contributor_or_all(request.parent)
        page = Page("hashSets", request, contributor)
        hash_sets, after = self._hub.hash_sets.list(principal, contributor, page.size, page.after(""))
        return v1.ListHashSetsResponse(hash_sets=map(wire.HASH_SET.to_pb, hash_sets), next_page_token=page.token(after))

    @served(WRITERS)
    def update_hash_set(self, principal: Principal, request: v1.UpdateHashSetRequest) -> v1.HashSet:
        """Update the fields of a hash set that the mask names."""
        mask = mask_of(request.update_mask, request.hash_set, _HASH_SET_FIELDS, _HASH_SET_FIXED)
        wanted = wire.HASH_SET.from_pb(only_masked(request.hash_set, mask, _ANY_HASH_SET))
        with client_paths(request, "hash_set"):
            return wire.HASH_SET.to_pb(self._hub.hash_sets.update(principal, wanted, mask, **write_options(request)))

    @served(OPERATOR)
    def accept_hash_set(self, principal: Principal, request: v1.AcceptHashSetRequest) -> v1.HashSet:
        """Accept what a hash set says against harm."""
        name, comment = wire.parse_hash_set(request.name), wire.read_text(request.comment, "comment")
        return wire.HASH_SET.to_pb(self._hub.hash_sets.accept(principal, *name, request.accepted_revision, comment))

    @served(WRITERS, limiter="commits")
    def delete_hash_set(self, principal: Principal, request: v1.DeleteHashSetRequest) -> v1.DeleteHashSetResponse:
        """Delete a hash set with everything that hangs on it, or ask for it."""
        name, comment = wire.parse_hash_set(request.name), wire.read_text(request.comment, "comment")
        deleted = self._hub.retention.delete(principal, *name, comment=comment, validate_only=request.validate_only)
        return wire.DELETION.to_pb(deleted)

    @served(READERS)
    def get_retention(self, principal: Principal, request: v1.GetRetentionRequest) -> v1.Retention:
        """Get how long a hash set's entries are kept."""
        name = wire.parse_hash_set(request.name)
        return wire.RETENTION.to_pb(self._hub.retention.get(principal, *name), name=request.name)

    @served(WRITERS)
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
        return wire.RETENTION.to_pb(updated, name=request.name)
