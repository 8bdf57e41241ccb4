"""What databases share, and where they differ."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from hashhub import v1, wire
from hashhub.model import Principal
from hashhub.reconcile.results import Gap, Link
from hashhub.server.roles import OPERATOR, READERS, WRITERS, served
from hashhub.server.servicers.requests import Page, Service, request_id_of, write_options


class ReconciliationService(Service):
    """What databases share, and where they differ."""

    @served(READERS)
    def _start(self, principal: Principal, request: Any) -> v1.Operation:
        """Start what the request asks for."""
        task = wire.task_from_pb(request)
        return wire.operation_to_pb(self._hub.reconciliation.start(principal, task, request_id_of(request)))

    extract_entries = compute_overlap = compute_agreement = find_links = find_gaps = write_report = _start

    @served(READERS, limiter="pages")
    def read_result(self, principal: Principal, request: v1.ReadResultRequest) -> v1.ReadResultResponse:
        """Read rows of a result."""
        operation_id = wire.parse_operation(request.name)
        page = Page("rows", request, operation_id)
        rows, after = self._hub.reconciliation.rows(principal, operation_id, page.size, page.after(0))
        return v1.ReadResultResponse(
            links=(wire.LINK.to_pb(row) for row in rows if isinstance(row, Link)),
            gaps=(wire.GAP.to_pb(row) for row in rows if isinstance(row, Gap)),
            next_page_token=page.token(after),
        )

    @served(READERS, limiter="exports")
    def read_files(
        self, caller: Callable[[], Principal], request: v1.ReadFilesRequest, is_wanted: Callable[[], bool]
    ) -> Iterator[v1.ReadFilesResponse]:
        """Stream files of a result."""
        operation_id = wire.parse_operation(request.name)
        for piece in self._hub.reconciliation.files(caller, operation_id, request.paths):
            if not is_wanted():
                return
            yield v1.ReadFilesResponse(path=piece.path, data=piece.data, last=piece.is_last)

    @served(READERS, limiter="pages")
    def list_conflicts(self, principal: Principal, request: v1.ListConflictsRequest) -> v1.ListConflictsResponse:
        """List conflicts."""
        wanted = wire.CONFLICT_FILTER.from_pb(request.filter)
        page = Page("conflicts", request, wanted)
        conflicts, after = self._hub.conflicts.list(principal, wanted, page.size, page.after(""))
        return v1.ListConflictsResponse(
            conflicts=map(wire.CONFLICT.to_pb, conflicts),
            next_page_token=page.token(after),
            looked_revision=self._hub.conflicts.looked_upto(principal),
        )

    @served(READERS)
    def get_conflict(self, principal: Principal, request: v1.GetConflictRequest) -> v1.Conflict:
        """Get a conflict with what each side states."""
        return wire.CONFLICT.to_pb(self._hub.conflicts.get(principal, wire.parse_conflict(request.name)))

    @served(READERS, limiter="pages")
    def summarise_conflicts(
        self, principal: Principal, request: v1.SummariseConflictsRequest
    ) -> v1.SummariseConflictsResponse:
        """Count conflicts."""
        return wire.CONFLICT_SUMMARY.to_pb(
            self._hub.conflicts.summarise(principal, wire.CONFLICT_FILTER.from_pb(request.filter))
        )

    @served(OPERATOR)
    def assign_conflict(self, principal: Principal, request: v1.AssignConflictRequest) -> v1.Conflict:
        """Give a conflict to somebody."""
        return wire.CONFLICT.to_pb(
            self._hub.conflicts.assign(
                principal,
                wire.parse_conflict(request.name),
                wire.read_text(request.assignee, "assignee"),
                **write_options(request),
            )
        )

    @served(WRITERS)
    def resolve_conflict(self, principal: Principal, request: v1.ResolveConflictRequest) -> v1.Conflict:
        """Say what a conflict comes to."""
        return wire.CONFLICT.to_pb(
            self._hub.conflicts.resolve(
                principal,
                wire.parse_conflict(request.name),
                wire.CONFLICT_REASON.read(request.reason, "reason"),
                wire.read_text(request.comment, "comment"),
                decided_for=wire.parse_contributor(request.decided_for, "decided_for") if request.decided_for else "",
                etag=wire.read_text(request.etag, "etag"),
                **write_options(request),
            )
        )

    @served(OPERATOR)
    def reopen_conflict(self, principal: Principal, request: v1.ReopenConflictRequest) -> v1.Conflict:
        """Take back what closed a conflict."""
        return wire.CONFLICT.to_pb(
            self._hub.conflicts.reopen(
                principal,
                wire.parse_conflict(request.name),
                wire.read_text(request.comment, "comment"),
                **write_options(request),
            )
        )
