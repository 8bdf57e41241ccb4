"""Calls about contributors and groups."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from google.protobuf.field_mask_pb2 import FieldMask

from hashhub import v1, wire
from hashhub.client import names
from hashhub.client.calls import Calls, request_id
from hashhub.model import Contributor, Group

_LARGE: Final = 600.0  # seconds: a million entries are withdrawn


class ContributorCalls(Calls):
    """Who contributes, and the groups that terms may name."""

    def create_contributor(self, contributor: Contributor, *, validate_only: bool = False) -> Contributor:
        """Create a contributor. Role: operator."""
        request = v1.CreateContributorRequest(
            contributor=wire.CONTRIBUTOR.to_pb(contributor),
            contributor_id=contributor.id,
            validate_only=validate_only,
            request_id=request_id(),
        )
        return self._ask(request, wire.CONTRIBUTOR.from_pb)

    def get_contributor(self, contributor: str) -> Contributor:
        """Return the contributor. Raises NotFound. Roles: operator, auditor, contributor."""
        request = v1.GetContributorRequest(name=names.contributor(contributor))
        return self._ask(request, wire.CONTRIBUTOR.from_pb)

    def list_contributors(self) -> Iterator[Contributor]:
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
            request_id=request_id(),
        )
        return self._ask(request, wire.CONTRIBUTOR.from_pb)

    def retire_contributor(self, contributor: str, comment: str = "", *, withdraw_entries: bool) -> Contributor:
        """Retire a contributor, for good: its tokens stop working; what it stated stands, or is withdrawn.

        Role: operator.
        """
        stands, withdrawn = v1.RetiredEntries.RETIRED_ENTRIES_KEPT, v1.RetiredEntries.RETIRED_ENTRIES_WITHDRAWN
        request = v1.RetireContributorRequest(
            name=names.contributor(contributor), comment=comment, entries=withdrawn if withdraw_entries else stands
        )
        return self._ask(request, wire.CONTRIBUTOR.from_pb, timeout=_LARGE)

    def accept_objections(self, contributor: str, revision: int, comment: str = "") -> Contributor:
        """Let a contributor's objections beyond the daily number weigh up to a revision. Role: operator."""
        request = v1.AcceptObjectionsRequest(
            name=names.contributor(contributor), accepted_revision=revision, comment=comment
        )
        return self._ask(request, wire.CONTRIBUTOR.from_pb)

    def create_group(self, group: Group, *, validate_only: bool = False) -> Group:
        """Create a group. Role: operator."""
        request = v1.CreateGroupRequest(
            group=wire.GROUP.to_pb(group), group_id=group.id, validate_only=validate_only, request_id=request_id()
        )
        return self._ask(request, wire.GROUP.from_pb)

    def get_group(self, group: str) -> Group:
        """Return the group. Raises NotFound. Roles: operator, auditor, contributor."""
        request = v1.GetGroupRequest(name=names.group(group))
        return self._ask(request, wire.GROUP.from_pb)

    def list_groups(self) -> Iterator[Group]:
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
            request_id=request_id(),
        )
        return self._ask(request, wire.GROUP.from_pb)

    def delete_group(self, group: str) -> None:
        """Delete a group, which no terms may name; its name is never used again. Role: operator."""
        request = v1.DeleteGroupRequest(name=names.group(group))
        self._transport.call(request, repeatable=False)
