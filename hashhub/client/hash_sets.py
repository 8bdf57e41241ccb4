"""Calls about hash sets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from google.protobuf.field_mask_pb2 import FieldMask

from hashhub import v1, wire
from hashhub.client import names
from hashhub.client.calls import Calls, request_id
from hashhub.model import Deletion, HashSet, Retention

_LARGE: Final = 600.0  # seconds: a hash set of a million entries is deleted


class HashSetCalls(Calls):
    """Hash sets and their terms."""

    def create_hash_set(self, hash_set: HashSet, *, validate_only: bool = False) -> HashSet:
        """Create a hash set of `hash_set.contributor`. Roles: operator, contributor."""
        request = v1.CreateHashSetRequest(
            hash_set=wire.HASH_SET.to_pb(hash_set),
            parent=wire.contributor_name(hash_set.contributor),
            hash_set_id=hash_set.id,
            validate_only=validate_only,
            request_id=request_id(),
        )
        return self._ask(request, wire.HASH_SET.from_pb)

    def get_hash_set(self, hash_set: str) -> HashSet:
        """Return the hash set `CONTRIBUTOR/SET`. Raises NotFound. Roles: operator, auditor, contributor."""
        request = v1.GetHashSetRequest(name=names.hash_set(hash_set))
        return self._ask(request, wire.HASH_SET.from_pb)

    def list_hash_sets(self, contributor: str | None = None) -> Iterator[HashSet]:
        """Yield the hash sets of one contributor, or of all, in order of name.

        Roles: operator, auditor, contributor.
        """
        request = v1.ListHashSetsRequest(parent=names.contributor("-" if contributor is None else contributor))
        return self._list(request, "hash_sets", wire.HASH_SET.from_pb)

    def update_hash_set(self, hash_set: HashSet, fields: Sequence[str], *, validate_only: bool = False) -> HashSet:
        """Set the named fields (`display_name`, `marking.tlp`, …) of a hash set to the values that `hash_set` has."""
        request = v1.UpdateHashSetRequest(
            hash_set=wire.HASH_SET.to_pb(hash_set),
            update_mask=FieldMask(paths=fields),
            validate_only=validate_only,
            request_id=request_id(),
        )
        return self._ask(request, wire.HASH_SET.from_pb)

    def accept_hash_set(self, hash_set: str, revision: int, comment: str = "") -> HashSet:
        """Let what `CONTRIBUTOR/SET` says against harm weigh up to a revision. Role: operator."""
        request = v1.AcceptHashSetRequest(name=names.hash_set(hash_set), accepted_revision=revision, comment=comment)
        return self._ask(request, wire.HASH_SET.from_pb)

    def delete_hash_set(self, hash_set: str, comment: str = "", *, validate_only: bool = False) -> Deletion:
        """Delete `CONTRIBUTOR/SET` with everything that hangs on it, or ask for it; with `validate_only` say what would
        go. Not retried.

        Roles: operator; contributor its own.
        """
        request = v1.DeleteHashSetRequest(name=names.hash_set(hash_set), comment=comment, validate_only=validate_only)
        return self._ask(request, wire.DELETION.from_pb, timeout=_LARGE, repeatable=validate_only)

    def get_retention(self, hash_set: str) -> Retention:
        """Return how long the entries of `CONTRIBUTOR/SET` are kept. Raises NotFound."""
        request = v1.GetRetentionRequest(name=names.hash_set(hash_set))
        return self._ask(request, wire.RETENTION.from_pb)

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
            name=names.hash_set(hash_set),
            days=days,
            hold=hold,
            drop_deletion_request=drop_deletion_request,
            comment=comment,
        )
        return self._ask(request, wire.RETENTION.from_pb)
