"""Imports and entries."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from hashhub import v1, wire
from hashhub.errors import InvalidArgument, NotFound, Unavailable
from hashhub.hub.exports import ExportSelection
from hashhub.hub.selections import BulkOrder
from hashhub.model import Principal
from hashhub.server.roles import EVERYBODY, OPERATOR, READERS, WRITERS, served
from hashhub.server.servicers.requests import Page, Service, client_paths, write_options


class ContributionService(Service):
    """Imports and entries."""

    @served(WRITERS)
    def create_import(self, principal: Principal, request: v1.CreateImportRequest) -> v1.Import:
        """Open an import, or find the one of the same source."""
        parent = wire.parse_hash_set(request.parent, "parent")
        wanted = wire.IMPORT.created(getattr(request, "import"), *parent, "")
        with client_paths(request, "import"):
            return wire.IMPORT.to_pb(self._hub.contribute.open(principal, wanted, **write_options(request)))

    @served(WRITERS, limiter="imports")
    def add_records(self, principal: Principal, request: v1.AddRecordsRequest) -> v1.Import:
        """Add one batch of records."""
        import_id = self._named(principal, request.name)
        if request.batch_index < 0:
            raise InvalidArgument.field(
                "batch_index", f"must not be negative, got {request.batch_index}", "OUT_OF_RANGE"
            )
        records = wire.records_from_pb(request.records)
        if request.HasField("columns"):
            if records:
                text = "must be empty where records come as columns"
                raise InvalidArgument.field("records", text, "NOT_ALLOWED")
            records = wire.columns_from_pb(request.columns)
        rejects = wire.rejects_from_pb(request.rejects)
        return wire.IMPORT.to_pb(self._hub.contribute.add(principal, import_id, request.batch_index, records, rejects))

    @served(WRITERS, limiter="commits")
    def commit_import(self, principal: Principal, request: v1.CommitImportRequest) -> v1.Import:
        """Make the import's entries visible."""
        import_id = self._named(principal, request.name)
        return wire.IMPORT.to_pb(
            self._hub.contribute.commit(
                principal,
                import_id,
                batch_count=request.batch_count,
                allow_shrinking=request.allow_shrinking,
                validate_only=request.validate_only,
            )
        )

    @served(WRITERS)
    def cancel_import(self, principal: Principal, request: v1.CancelImportRequest) -> v1.Import:
        """End an import that is not committed."""
        return wire.IMPORT.to_pb(self._hub.contribute.cancel(principal, self._named(principal, request.name)))

    @served(READERS)
    def get_import(self, principal: Principal, request: v1.GetImportRequest) -> v1.Import:
        """Get an import."""
        return wire.IMPORT.to_pb(self._hub.contribute.get(principal, self._named(principal, request.name)))

    @served(READERS)
    def list_imports(self, principal: Principal, request: v1.ListImportsRequest) -> v1.ListImportsResponse:
        """List a hash set's imports."""
        parent = wire.parse_hash_set(request.parent, "parent")
        page = Page("imports", request, *parent)
        imports, after = self._hub.contribute.list(principal, *parent, page.size, page.after(""))
        return v1.ListImportsResponse(imports=map(wire.IMPORT.to_pb, imports), next_page_token=page.token(after))

    @served(READERS, limiter="pages")
    def list_findings(self, principal: Principal, request: v1.ListFindingsRequest) -> v1.ListFindingsResponse:
        """List what became of an import's items."""
        contributor, hash_set, _ = wire.parse_import(request.parent, "parent")
        import_id = self._named(principal, request.parent, "parent")
        dispositions = wire.DISPOSITION.read_all(request.dispositions, "dispositions")
        page = Page("findings", request, import_id, *dispositions)
        findings, after = self._hub.contribute.findings(principal, import_id, page.size, page.after(0), dispositions)
        return v1.ListFindingsResponse(
            findings=(wire.finding_to_pb(f, contributor, hash_set) for f in findings), next_page_token=page.token(after)
        )

    @served(READERS)
    def get_entry(self, principal: Principal, request: v1.GetEntryRequest) -> v1.Entry:
        """Get an entry."""
        return wire.entry_to_pb(self._hub.entries.get(principal, *wire.parse_entry(request.name)))

    @served(READERS, limiter="pages")
    def list_entries(self, principal: Principal, request: v1.ListEntriesRequest) -> v1.ListEntriesResponse:
        """List a hash set's entries."""
        parent = wire.parse_hash_set(request.parent, "parent")
        states = wire.ENTRY_STATE.read_all(request.states, "states")
        page = Page("entries", request, *parent, *states)
        entries, after = self._hub.entries.list(principal, *parent, states, page.size, page.after(0))
        return v1.ListEntriesResponse(entries=map(wire.entry_to_pb, entries), next_page_token=page.token(after))

    @served(EVERYBODY, limiter="exports")
    def export_entries(
        self, caller: Callable[[], Principal], request: v1.ExportEntriesRequest, is_wanted: Callable[[], bool]
    ) -> Iterator[v1.ExportEntriesResponse]:
        """Stream the entries of an export, behind what is said of all of them."""
        selection = ExportSelection(
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
            hash_sets=map(wire.HASH_SET.to_pb, export.hash_sets),
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
            yield wire.exported_to_pb(entries)

    @served(WRITERS)
    def withdraw_entry(self, principal: Principal, request: v1.WithdrawEntryRequest) -> v1.Entry:
        """Withdraw an entry."""
        return wire.entry_to_pb(
            self._hub.entries.withdraw(
                principal,
                *wire.parse_entry(request.name),
                wire.WITHDRAWAL_REASON.read(request.reason, "reason"),
                request.comment,
                **write_options(request),
            )
        )

    @served(WRITERS)
    def restore_entry(self, principal: Principal, request: v1.RestoreEntryRequest) -> v1.Entry:
        """Take a withdrawal back."""
        return wire.entry_to_pb(
            self._hub.entries.restore(
                principal, *wire.parse_entry(request.name), request.comment, **write_options(request)
            )
        )

    @served(OPERATOR)
    def erase_entry(self, principal: Principal, request: v1.EraseEntryRequest) -> v1.Entry:
        """Erase what an entry says about its item."""
        name = wire.parse_entry(request.name)
        return wire.entry_to_pb(self._hub.entries.erase(principal, *name, validate_only=request.validate_only))

    @served(OPERATOR)
    def release_entry(self, principal: Principal, request: v1.ReleaseEntryRequest) -> v1.Entry:
        """Release a quarantined entry."""
        name = wire.parse_entry(request.name)
        return wire.entry_to_pb(self._hub.entries.release(principal, *name, **write_options(request)))

    @served(OPERATOR)
    def quarantine_entry(self, principal: Principal, request: v1.QuarantineEntryRequest) -> v1.Entry:
        """Put an active entry into quarantine."""
        name = wire.parse_entry(request.name)
        return wire.entry_to_pb(self._hub.entries.quarantine(principal, *name, **write_options(request)))

    @served(READERS, limiter="pages")
    def search_entries(self, principal: Principal, request: v1.SearchEntriesRequest) -> v1.SearchEntriesResponse:
        """Search entries wherever the caller may list them."""
        selection = wire.selection_from_pb(request.selection)
        page = Page("entries", request, request.selection.SerializeToString(deterministic=True).hex())
        entries, after, looked_at = self._hub.selections.search(principal, selection, page.size, page.after(0))
        return v1.SearchEntriesResponse(
            entries=map(wire.entry_to_pb, entries), next_page_token=page.token(after), looked_at_count=looked_at
        )

    @served(WRITERS, limiter="pages")
    def change_entries(self, principal: Principal, request: v1.ChangeEntriesRequest) -> v1.ChangeEntriesResponse:
        """Withdraw, restore, quarantine or release what a selection hits."""
        order = BulkOrder(
            action=wire.ENTRY_ACTION.read(request.action, "action"),
            reason=wire.WITHDRAWAL_REASON.read(request.reason, "reason") if request.reason else None,
            comment=request.comment,
            limit=request.limit,
            expected_count=request.expected_count if request.HasField("expected_count") else None,
        )
        return wire.ENTRY_CHANGES.to_pb(
            self._hub.selections.change(
                principal, wire.selection_from_pb(request.selection), order, **write_options(request)
            )
        )

    @served(READERS, limiter="pages")
    def list_queue_items(self, principal: Principal, request: v1.ListQueueItemsRequest) -> v1.ListQueueItemsResponse:
        """List what waits for the caller."""
        contributor = wire.parse_contributor_or_all(request.parent) or ""
        page = Page("queue items", request, contributor)
        items = self._hub.queue.list(principal, contributor)
        start = page.after(0)
        end = start + page.size
        return v1.ListQueueItemsResponse(
            queue_items=map(wire.QUEUE_ITEM.to_pb, items[start:end]),
            next_page_token=page.token(end if len(items) > end else 0),
        )

    def _named(self, principal: Principal, name: str, field: str = "name") -> str:
        """Return the id of the import that `name` means, of which every part must be true."""
        contributor, hash_set, import_id = wire.parse_import(name, field)
        import_ = self._hub.contribute.get(principal, import_id)
        if (import_.contributor, import_.hash_set) != (contributor, hash_set):
            raise NotFound(
                f"there is no import {import_id} in hash set {contributor}/{hash_set}",
                kind="Import",
                name=f"{contributor}/{hash_set}/{import_id}",
            )
        return import_id
