"""What databases share, and where they differ."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from hashhub import v1, wire
from hashhub.hub import Hub
from hashhub.model import Conflict, Principal
from hashhub.reconcile.results import Gap, Link
from hashhub.server.roles import OPERATOR, READERS, WRITERS, served
from hashhub.server.servicers.operations import operation_answer
from hashhub.server.servicers.requests import Page, request_id_of


class ReconciliationServicer:
    """What databases share, and where they differ."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    @served(READERS)
    def extract_entries(self, principal: Principal, request: v1.ExtractEntriesRequest) -> v1.Operation:
        """Start to write an extract."""
        return self._start(principal, request)

    @served(READERS)
    def compute_overlap(self, principal: Principal, request: v1.ComputeOverlapRequest) -> v1.Operation:
        """Start to count what is shared."""
        return self._start(principal, request)

    @served(READERS)
    def compute_agreement(self, principal: Principal, request: v1.ComputeAgreementRequest) -> v1.Operation:
        """Start to compare what several state."""
        return self._start(principal, request)

    @served(READERS)
    def find_links(self, principal: Principal, request: v1.FindLinksRequest) -> v1.Operation:
        """Start to look for entries about the same media."""
        return self._start(principal, request)

    @served(READERS)
    def find_gaps(self, principal: Principal, request: v1.FindGapsRequest) -> v1.Operation:
        """Start to look for what a jurisdiction lacks."""
        return self._start(principal, request)

    @served(READERS)
    def write_report(self, principal: Principal, request: v1.WriteReportRequest) -> v1.Operation:
        """Start to write a page for people."""
        return self._start(principal, request)

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
            revision=self._hub.revision(),
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
            revision=self._hub.revision(),
        )

    @served(READERS)
    def get_conflict(self, principal: Principal, request: v1.GetConflictRequest) -> v1.Conflict:
        """Get a conflict with what each side states."""
        return self._conflict(self._hub.conflicts.get(principal, wire.parse_conflict(request.name)))

    @served(READERS, limiter="pages")
    def summarise_conflicts(
        self, principal: Principal, request: v1.SummariseConflictsRequest
    ) -> v1.SummariseConflictsResponse:
        """Count conflicts."""
        pb = wire.CONFLICT_SUMMARY.to_pb(
            self._hub.conflicts.summarise(principal, wire.CONFLICT_FILTER.from_pb(request.filter))
        )
        pb.revision = self._hub.revision()
        return pb

    @served(OPERATOR)
    def assign_conflict(self, principal: Principal, request: v1.AssignConflictRequest) -> v1.Conflict:
        """Give a conflict to somebody."""
        return self._conflict(
            self._hub.conflicts.assign(
                principal,
                wire.parse_conflict(request.name),
                wire.read_text(request.assignee, "assignee"),
                validate_only=request.validate_only,
                request_id=request_id_of(request),
            )
        )

    @served(WRITERS)
    def resolve_conflict(self, principal: Principal, request: v1.ResolveConflictRequest) -> v1.Conflict:
        """Say what a conflict comes to."""
        return self._conflict(
            self._hub.conflicts.resolve(
                principal,
                wire.parse_conflict(request.name),
                wire.CONFLICT_REASON.read(request.reason, "reason"),
                wire.read_text(request.comment, "comment"),
                decided_for=wire.parse_contributor(request.decided_for, "decided_for") if request.decided_for else "",
                etag=wire.read_text(request.etag, "etag"),
                validate_only=request.validate_only,
                request_id=request_id_of(request),
            )
        )

    @served(OPERATOR)
    def reopen_conflict(self, principal: Principal, request: v1.ReopenConflictRequest) -> v1.Conflict:
        """Take back what closed a conflict."""
        return self._conflict(
            self._hub.conflicts.reopen(
                principal,
                wire.parse_conflict(request.name),
                wire.read_text(request.comment, "comment"),
                validate_only=request.validate_only,
                request_id=request_id_of(request),
            )
        )

    def _conflict(self, conflict: Conflict) -> v1.Conflict:
        pb = wire.CONFLICT.to_pb(conflict)
        pb.revision = self._hub.revision()
        return pb

    def _start(self, principal: Principal, request: Any) -> v1.Operation:
        task = wire.task_from_pb(request)
        return operation_answer(self._hub, self._hub.reconciliation.start(principal, task, request_id_of(request)))
