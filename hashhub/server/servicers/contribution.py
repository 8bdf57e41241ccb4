"""Imports, entries, reviews, and the change feed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final

from hashhub import v1, wire
from hashhub.errors import InvalidArgument, NotFound, Unavailable
from hashhub.hub.exports import ExportSelection
from hashhub.hub.selections import BulkOrder
from hashhub.model import Entry, EntryChanges, Import, Principal
from hashhub.server import pages
from hashhub.server.servicers.requests import (
    EVERYBODY,
    FEED_READERS,
    OPERATOR,
    READERS,
    REVIEWERS,
    WRITERS,
    Page,
    Service,
    always,
    listed,
    named,
    served,
    write_options,
)

_LIFE_SIGN_SECONDS: Final = 10.0  # a followed feed says something at least this often, so that a dead connection shows
_LOOK_SECONDS: Final = 0.5  # how soon a followed feed notices that its reader has gone or the server stops


class ContributionService(Service):
    """Imports and entries."""

    @served(WRITERS, wire.IMPORT.to_pb, resource="import")
    def create_import(self, principal: Principal, request: v1.CreateImportRequest) -> Import:
        parent = wire.parse_hash_set(request.parent, "parent")
        wanted = wire.IMPORT.created(getattr(request, "import"), *parent, "")
        return self.hub.contribute.open(principal, wanted, **write_options(request))

    @served(WRITERS, wire.IMPORT.to_pb, limiter="imports")
    def add_records(self, principal: Principal, request: v1.AddRecordsRequest) -> Import:
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
        return self.hub.contribute.add(principal, import_id, request.batch_index, records, rejects)

    @served(WRITERS, wire.IMPORT.to_pb, limiter="commits")
    def commit_import(self, principal: Principal, request: v1.CommitImportRequest) -> Import:
        return self.hub.contribute.commit(
            principal,
            self._named(principal, request.name),
            batch_count=request.batch_count,
            allow_shrinking=request.allow_shrinking,
            validate_only=request.validate_only,
        )

    @served(WRITERS, wire.IMPORT.to_pb)
    def cancel_import(self, principal: Principal, request: v1.CancelImportRequest) -> Import:
        return self.hub.contribute.cancel(principal, self._named(principal, request.name))

    @served(READERS, wire.IMPORT.to_pb)
    def get_import(self, principal: Principal, request: v1.GetImportRequest) -> Import:
        return self.hub.contribute.get(principal, self._named(principal, request.name))

    list_imports = listed(READERS, lambda hub: hub.contribute.list, wire.IMPORT.to_pb, parent=wire.parse_hash_set)

    @served(READERS, limiter="pages")
    def list_findings(self, principal: Principal, request: v1.ListFindingsRequest) -> v1.ListFindingsResponse:
        contributor, hash_set, _ = wire.parse_import(request.parent, "parent")
        import_id = self._named(principal, request.parent, "parent")
        dispositions = wire.DISPOSITION.read_all(request.dispositions, "dispositions")
        page = Page("findings", request, import_id, *dispositions)
        findings, after = self.hub.contribute.findings(principal, import_id, page.size, page.after(0), dispositions)
        return v1.ListFindingsResponse(
            findings=(wire.finding_to_pb(f, contributor, hash_set) for f in findings), next_page_token=page.token(after)
        )

    get_entry = named(READERS, wire.parse_entry, lambda hub: hub.entries.get, wire.entry_to_pb)

    get_entry_proof = named(
        READERS, wire.parse_entry, lambda hub: hub.signatures.proof, wire.ENTRY_PROOF.to_pb, limiter="pages"
    )

    @served(READERS, limiter="pages")
    def list_entries(self, principal: Principal, request: v1.ListEntriesRequest) -> v1.ListEntriesResponse:
        parent = wire.parse_hash_set(request.parent, "parent")
        states = wire.ENTRY_STATE.read_all(request.states, "states")
        page = Page("entries", request, *parent, *states)
        entries, after = self.hub.entries.list(principal, *parent, states, page.size, page.after(0))
        return v1.ListEntriesResponse(entries=map(wire.entry_to_pb, entries), next_page_token=page.token(after))

    @served(EVERYBODY, limiter="exports")
    def export_entries(
        self, caller: Callable[[], Principal], request: v1.ExportEntriesRequest, is_wanted: Callable[[], bool]
    ) -> Iterator[v1.ExportEntriesResponse]:
        selection = ExportSelection(
            hash_sets=tuple(
                "/".join(wire.parse_hash_set(name, f"hash_sets[{i}]")) for i, name in enumerate(request.hash_sets)
            ),
            policy=request.policy,
            position=request.position,
        )
        export = self.hub.exports.begin(
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
            if self.is_stopping():
                raise Unavailable("the server is stopping; discard what was written, and export again", retry_after=1.0)
            yield wire.exported_to_pb(entries)

    @served(WRITERS, wire.entry_to_pb)
    def withdraw_entry(self, principal: Principal, request: v1.WithdrawEntryRequest) -> Entry:
        name, reason = wire.parse_entry(request.name), wire.WITHDRAWAL_REASON.read(request.reason, "reason")
        return self.hub.entries.withdraw(principal, *name, reason, request.comment, **write_options(request))

    @served(WRITERS, wire.entry_to_pb)
    def restore_entry(self, principal: Principal, request: v1.RestoreEntryRequest) -> Entry:
        name = wire.parse_entry(request.name)
        return self.hub.entries.restore(principal, *name, request.comment, **write_options(request))

    @served(OPERATOR, wire.entry_to_pb, grave=always)
    def erase_entry(self, principal: Principal, request: v1.EraseEntryRequest) -> Entry:
        name = wire.parse_entry(request.name)
        return self.hub.entries.erase(principal, *name, validate_only=request.validate_only)

    @served(OPERATOR, wire.entry_to_pb)
    def release_entry(self, principal: Principal, request: v1.ReleaseEntryRequest) -> Entry:
        return self.hub.entries.release(principal, *wire.parse_entry(request.name), **write_options(request))

    @served(OPERATOR, wire.entry_to_pb)
    def quarantine_entry(self, principal: Principal, request: v1.QuarantineEntryRequest) -> Entry:
        return self.hub.entries.quarantine(principal, *wire.parse_entry(request.name), **write_options(request))

    @served(READERS, limiter="pages")
    def search_entries(self, principal: Principal, request: v1.SearchEntriesRequest) -> v1.SearchEntriesResponse:
        selection = wire.selection_from_pb(request.selection)
        page = Page("entries", request, request.selection.SerializeToString(deterministic=True).hex())
        entries, after, looked_at = self.hub.selections.search(principal, selection, page.size, page.after(0))
        return v1.SearchEntriesResponse(
            entries=map(wire.entry_to_pb, entries), next_page_token=page.token(after), looked_at_count=looked_at
        )

    @served(
        WRITERS,
        wire.ENTRY_CHANGES.to_pb,
        limiter="pages",
        grave=lambda request: request.action == v1.EntryAction.ENTRY_ACTION_WITHDRAW,
    )
    def change_entries(self, principal: Principal, request: v1.ChangeEntriesRequest) -> EntryChanges:
        order = BulkOrder(
            action=wire.ENTRY_ACTION.read(request.action, "action"),
            reason=wire.WITHDRAWAL_REASON.read(request.reason, "reason") if request.reason else None,
            comment=request.comment,
            limit=request.limit,
            expected_count=request.expected_count if request.HasField("expected_count") else None,
        )
        selection = wire.selection_from_pb(request.selection)
        return self.hub.selections.change(principal, selection, order, **write_options(request))

    @served(READERS, limiter="pages")
    def list_queue_items(self, principal: Principal, request: v1.ListQueueItemsRequest) -> v1.ListQueueItemsResponse:
        contributor = wire.parse_contributor_or_all(request.parent) or ""
        page = Page("queue items", request, contributor)
        items = self.hub.queue.list(principal, contributor)
        start = page.after(0)
        end = start + page.size
        return v1.ListQueueItemsResponse(
            queue_items=map(wire.QUEUE_ITEM.to_pb, items[start:end]),
            next_page_token=page.token(end if len(items) > end else 0),
        )

    def _named(self, principal: Principal, name: str, field: str = "name") -> str:
        """Return the id of the import that `name` means, of which every part must be true."""
        contributor, hash_set, import_id = wire.parse_import(name, field)
        import_ = self.hub.contribute.get(principal, import_id)
        if (import_.contributor, import_.hash_set) != (contributor, hash_set):
            raise NotFound(
                f"there is no import {import_id} in hash set {contributor}/{hash_set}",
                kind="Import",
                name=f"{contributor}/{hash_set}/{import_id}",
            )
        return import_id


class ReviewService(Service):
    """Reviews of entries."""

    @served(REVIEWERS)
    def create_review(self, principal: Principal, request: v1.CreateReviewRequest) -> v1.Review:
        contributor, hash_set, entry_id = wire.parse_entry(request.parent, "parent")
        kind, comment = wire.new_review_from_pb(request.review)
        made = self.hub.reviews.create(
            principal,
            contributor,
            hash_set,
            entry_id,
            kind,
            comment,
            member=wire.read_text(request.member, "member"),
            **write_options(request),
        )
        return wire.review_to_pb(made, contributor, hash_set)

    @served(OPERATOR)
    def set_aside_review(self, principal: Principal, request: v1.SetAsideReviewRequest) -> v1.Review:
        contributor, hash_set, entry_id, review_id = wire.parse_review(request.name)
        made = self.hub.reviews.set_aside(
            principal, contributor, hash_set, entry_id, review_id, request.comment, **write_options(request)
        )
        return wire.review_to_pb(made, contributor, hash_set)

    @served(READERS)
    def list_reviews(self, principal: Principal, request: v1.ListReviewsRequest) -> v1.ListReviewsResponse:
        contributor, hash_set, entry_id = wire.parse_entry(request.parent, "parent")
        page = Page("reviews", request, contributor, hash_set, entry_id)
        reviews, after = self.hub.reviews.list(principal, contributor, hash_set, entry_id, page.size, page.after(0))
        return v1.ListReviewsResponse(
            reviews=(wire.review_to_pb(r, contributor, hash_set) for r in reviews), next_page_token=page.token(after)
        )


class ChangeService(Service):
    """The change feed."""

    @served(FEED_READERS, limiter="pages")
    def list_changes(self, principal: Principal, request: v1.ListChangesRequest) -> v1.ListChangesResponse:
        size = pages.size(request.page_size)
        first = ("", 0)
        if request.first_entry:
            contributor, hash_set, number = wire.parse_entry(request.first_entry, "first_entry")
            first = f"{contributor}/{hash_set}", number
        page = self.hub.changes.page(
            principal,
            request.position,
            from_now=request.from_now,
            page_size=size,
            withdrawn_entries=request.withdrawn_entries,
            reader=request.reader,
            since_time=wire.time_in(request, "since_time"),
            hash_sets=["/".join(wire.parse_hash_set(n, f"hash_sets[{i}]")) for i, n in enumerate(request.hash_sets)],
            first_entry=first,
        )
        answer = wire.feed_page_to_pb(v1.ListChangesResponse, page)
        if page.read_time is not None:
            answer.read_time.FromDatetime(page.read_time)
        return answer

    @served(FEED_READERS, limiter="feeds")
    def follow_changes(
        self, caller: Callable[[], Principal], request: v1.FollowChangesRequest, is_wanted: Callable[[], bool]
    ) -> Iterator[v1.FollowChangesResponse]:
        position, from_now = request.position, request.from_now
        said, was_complete = 0.0, False
        while is_wanted():
            if self.is_stopping():
                raise Unavailable("the server is stopping; follow again from the last position", retry_after=1.0)
            # Each page is authorised anew.
            page = self.hub.changes.page(
                caller(), position, from_now=from_now, withdrawn_entries=request.withdrawn_entries
            )
            position, from_now = page.position, False
            is_news = bool(page.changes) or (page.is_complete and not was_complete)
            if is_news or time.monotonic() - said >= _LIFE_SIGN_SECONDS:
                yield wire.feed_page_to_pb(v1.FollowChangesResponse, page)
                said, was_complete = time.monotonic(), page.is_complete
            if page.is_complete:
                self.hub.follower.wait(page.revision, _LOOK_SECONDS)
