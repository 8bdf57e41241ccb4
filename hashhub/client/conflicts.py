"""Calls about conflicts: statements about one item that cannot both hold."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from hashhub import v1, wire
from hashhub.client import names
from hashhub.client.calls import Calls
from hashhub.errors import PermissionDenied
from hashhub.model import Conflict, ConflictFilter, ConflictReason, ConflictSummary

_POLL_SECONDS: Final = 0.2
_EVERYTHING: Final = ConflictFilter()


class ConflictCalls(Calls):
    """Conflicts: reading, assigning, resolving, reopening. A contributor knows those that entries of its own are in."""

    def list_conflicts(self, wanted: ConflictFilter = _EVERYTHING, *, limit: int | None = None) -> Iterator[Conflict]:
        """Yield conflicts, those that were opened last first, without statements and resolutions."""
        request = v1.ListConflictsRequest(filter=wire.CONFLICT_FILTER.to_pb(wanted))
        return self._list(request, "conflicts", wire.CONFLICT.from_pb, limit)

    def await_conflicts(self, timeout: float = 60.0) -> bool:
        """Wait until conflicts were looked for up to the hub's revision at the call; return False after `timeout`
        seconds. Roles: operator, auditor; raises PermissionDenied for others, who are not told.
        """
        request = v1.ListConflictsRequest(page_size=1)
        until = time.monotonic() + timeout
        target: int | None = None
        while True:
            page = self._transport.call(request)
            target = page.revision if target is None else target
            if not page.HasField("looked_revision"):
                raise PermissionDenied(
                    "how far the hub has looked for conflicts is told to operators and auditors only; look again in a "
                    "minute"
                )
            if page.looked_revision >= target:
                return True
            if time.monotonic() >= until:
                return False
            time.sleep(_POLL_SECONDS)

    def get_conflict(self, name: str) -> Conflict:
        """Return a conflict with what each side states, and what was said of it."""
        return self._ask(v1.GetConflictRequest(name=names.conflict(name)), wire.CONFLICT.from_pb)

    def summarise_conflicts(self, wanted: ConflictFilter = _EVERYTHING) -> ConflictSummary:
        """Return how many conflicts there are, by pair of contributors, kind, severity and state."""
        request = v1.SummariseConflictsRequest(filter=wire.CONFLICT_FILTER.to_pb(wanted))
        return self._ask(request, wire.CONFLICT_SUMMARY.from_pb)

    def assign_conflict(self, name: str, assignee: str, *, validate_only: bool = False) -> Conflict:
        """Give a conflict to a party (`contributors/ID`) or a person by any name; empty: to nobody. Role: operator."""
        request = v1.AssignConflictRequest(name=names.conflict(name), assignee=assignee, validate_only=validate_only)
        return self._ask(request, wire.CONFLICT.from_pb)

    def resolve_conflict(
        self,
        name: str,
        reason: ConflictReason,
        comment: str,
        *,
        decided_for: str = "",
        etag: str = "",
        validate_only: bool = False,
    ) -> Conflict:
        """Say what a conflict comes to. An operator's word closes it; a contributor's is its view.

        `decided_for`: the contributor that is right, with DECIDED_FOR. `etag`: as read; raises Conflict when the
        parties state something else by now.
        """
        request = v1.ResolveConflictRequest(
            name=names.conflict(name),
            reason=wire.CONFLICT_REASON.to_pb(reason),
            comment=comment,
            decided_for=names.contributor(decided_for) if decided_for else "",
            etag=etag,
            validate_only=validate_only,
        )
        return self._ask(request, wire.CONFLICT.from_pb)

    def reopen_conflict(self, name: str, comment: str, *, validate_only: bool = False) -> Conflict:
        """Take back what closed a conflict; one that is open stays so. Role: operator."""
        request = v1.ReopenConflictRequest(name=names.conflict(name), comment=comment, validate_only=validate_only)
        return self._ask(request, wire.CONFLICT.from_pb)
