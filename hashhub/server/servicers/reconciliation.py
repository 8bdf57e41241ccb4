"""What databases share and where they differ, and operations: work that goes on after the call that started it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from hashhub import v1, wire
from hashhub.model import Conflict, ConflictSummary, Operation, Principal
from hashhub.reconcile.results import Gap, Link
from hashhub.server.servicers.requests import (
    OPERATOR,
    READERS,
    WRITERS,
    Page,
    Service,
    listed,
    named,
    request_id_of,
    served,
    write_options,
)


class ReconciliationService(Service):
    """What databases share, and where they differ."""

    @served(READERS, wire.operation_to_pb)
    def _start(self, principal: Principal, request: Any) -> Operation:
        """Start what the request asks for."""
        return self.hub.reconciliation.start(principal, wire.task_from_pb(request), request_id_of(request))

    extract_entries = compute_overlap = compute_agreement = find_links = find_gaps = write_report = _start

    @served(READERS, limiter="pages")
    def read_result(self, principal: Principal, request: v1.ReadResultRequest) -> v1.ReadResultResponse:
        operation_id = wire.parse_operation(request.name)
        page = Page("rows", request, operation_id)
        rows, after = self.hub.reconciliation.rows(principal, operation_id, page.size, page.after(0))
        return v1.ReadResultResponse(
            links=(wire.LINK.to_pb(row) for row in rows if isinstance(row, Link)),
            gaps=(wire.GAP.to_pb(row) for row in rows if isinstance(row, Gap)),
            next_page_token=page.token(after),
        )

    @served(READERS, limiter="exports")
    def read_files(
        self, caller: Callable[[], Principal], request: v1.ReadFilesRequest, is_wanted: Callable[[], bool]
    ) -> Iterator[v1.ReadFilesResponse]:
        operation_id = wire.parse_operation(request.name)
        for piece in self.hub.reconciliation.files(caller, operation_id, request.paths):
            if not is_wanted():
                return
            yield v1.ReadFilesResponse(path=piece.path, data=piece.data, last=piece.is_last)

    @served(READERS, limiter="pages")
    def list_conflicts(self, principal: Principal, request: v1.ListConflictsRequest) -> v1.ListConflictsResponse:
        wanted = wire.CONFLICT_FILTER.from_pb(request.filter)
        page = Page("conflicts", request, wanted)
        conflicts, after = self.hub.conflicts.list(principal, wanted, page.size, page.after(""))
        return v1.ListConflictsResponse(
            conflicts=map(wire.CONFLICT.to_pb, conflicts),
            next_page_token=page.token(after),
            looked_revision=self.hub.conflicts.looked_upto(principal),
        )

    get_conflict = named(READERS, wire.parse_conflict, lambda hub: hub.conflicts.get, wire.CONFLICT.to_pb)

    @served(READERS, wire.CONFLICT_SUMMARY.to_pb, limiter="pages")
    def summarise_conflicts(self, principal: Principal, request: v1.SummariseConflictsRequest) -> ConflictSummary:
        wanted = wire.CONFLICT_FILTER.from_pb(request.filter)
        return self.hub.conflicts.summarise(principal, wanted, counts_only=request.counts_only)

    @served(OPERATOR, wire.CONFLICT.to_pb)
    def assign_conflict(self, principal: Principal, request: v1.AssignConflictRequest) -> Conflict:
        name, assignee = wire.parse_conflict(request.name), wire.read_text(request.assignee, "assignee")
        etag = wire.read_text(request.etag, "etag")
        return self.hub.conflicts.assign(principal, name, assignee, etag=etag, **write_options(request))

    @served(WRITERS, wire.CONFLICT.to_pb)
    def resolve_conflict(self, principal: Principal, request: v1.ResolveConflictRequest) -> Conflict:
        return self.hub.conflicts.resolve(
            principal,
            wire.parse_conflict(request.name),
            wire.CONFLICT_REASON.read(request.reason, "reason"),
            wire.read_text(request.comment, "comment"),
            decided_for=wire.parse_contributor(request.decided_for, "decided_for") if request.decided_for else "",
            etag=wire.read_text(request.etag, "etag"),
            **write_options(request),
        )

    @served(OPERATOR, wire.CONFLICT.to_pb)
    def reopen_conflict(self, principal: Principal, request: v1.ReopenConflictRequest) -> Conflict:
        name, comment = wire.parse_conflict(request.name), wire.read_text(request.comment, "comment")
        etag = wire.read_text(request.etag, "etag")
        return self.hub.conflicts.reopen(principal, name, comment, etag=etag, **write_options(request))

    @served(OPERATOR, limiter="pages", grave=lambda request: request.action != v1.ConflictAction.CONFLICT_ACTION_ASSIGN)
    def change_conflicts(self, principal: Principal, request: v1.ChangeConflictsRequest) -> v1.ChangeConflictsResponse:
        wanted, order = wire.CONFLICT_FILTER.from_pb(request.filter), wire.CONFLICT_ORDER.from_pb(request)
        page, options = Page("change", request, wanted, order), write_options(request)
        done, after = self.hub.conflicts.change(principal, wanted, order, page.size, page.after(0), **options)
        answer = wire.CONFLICT_CHANGES.to_pb(done)
        answer.next_page_token = page.token(after)
        return answer


class OperationService(Service):
    """Work that goes on after the call that started it."""

    get_operation = named(READERS, wire.parse_operation, lambda hub: hub.operations.get, wire.operation_to_pb)
    list_operations = listed(
        READERS,
        lambda hub: hub.operations.list,
        lambda operation: wire.operation_to_pb(operation, is_brief=True),
        first=0,
        limiter="pages",
    )

    @served(READERS, wire.operation_to_pb, limiter="waits")
    def wait_operation(self, principal: Principal, request: v1.WaitOperationRequest) -> Operation:
        timeout = wire.duration_in(request, "timeout")
        name = wire.parse_operation(request.name)
        return self.hub.operations.wait(principal, name, timeout, self.is_stopping)

    cancel_operation = named(READERS, wire.parse_operation, lambda hub: hub.operations.cancel, wire.operation_to_pb)
    delete_operation = named(READERS, wire.parse_operation, lambda hub: hub.operations.delete)
