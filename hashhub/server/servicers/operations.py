"""Work that goes on after the call that started it."""

from __future__ import annotations

from hashhub import v1, wire
from hashhub.model import Principal
from hashhub.server.roles import READERS, served
from hashhub.server.servicers.requests import Page, Service


class OperationService(Service):
    """Work that goes on after the call that started it."""

    @served(READERS)
    def get_operation(self, principal: Principal, request: v1.GetOperationRequest) -> v1.Operation:
        """Get an operation."""
        return wire.operation_to_pb(self._hub.operations.get(principal, wire.parse_operation(request.name)))

    @served(READERS, limiter="pages")
    def list_operations(self, principal: Principal, request: v1.ListOperationsRequest) -> v1.ListOperationsResponse:
        """List operations, the newest first."""
        page = Page("operations", request)
        operations, after = self._hub.operations.list(principal, page.size, page.after(0))
        return v1.ListOperationsResponse(
            operations=(wire.operation_to_pb(o, is_brief=True) for o in operations), next_page_token=page.token(after)
        )

    @served(READERS, limiter="waits")
    def wait_operation(self, principal: Principal, request: v1.WaitOperationRequest) -> v1.Operation:
        """Get an operation once it has ended, or as it is after a time."""
        timeout = wire.duration_in(request, "timeout")
        name = wire.parse_operation(request.name)
        return wire.operation_to_pb(self._hub.operations.wait(principal, name, timeout, self._is_stopping))

    @served(READERS)
    def cancel_operation(self, principal: Principal, request: v1.CancelOperationRequest) -> v1.Operation:
        """Ask for an operation's end."""
        return wire.operation_to_pb(self._hub.operations.cancel(principal, wire.parse_operation(request.name)))

    @served(READERS)
    def delete_operation(self, principal: Principal, request: v1.DeleteOperationRequest) -> v1.DeleteOperationResponse:
        """Delete an operation that has ended."""
        self._hub.operations.delete(principal, wire.parse_operation(request.name))
        return v1.DeleteOperationResponse()
