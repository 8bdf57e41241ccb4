"""Calls about entries and their reviews."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Final

import msgspec

from hashhub import v1, wire
from hashhub.client import names
from hashhub.client.asking import Call, Message, Pages, listing
from hashhub.client.calls import Calls
from hashhub.client.calls import request_id as new_request_id
from hashhub.model import (
    Entry,
    EntryAction,
    EntryChanges,
    EntryState,
    QueueItem,
    Review,
    ReviewKind,
    Selection,
    WithdrawalReason,
)

_MANY_TIMEOUT: Final = 600.0  # seconds: a million entries take some tens of them


def ignore(_: int) -> None:
    """Stand in where the caller does not want to be told."""


class EntryCalls(Calls):
    """Entries, one by one and many at once: reading, searching, withdrawing, reviewing."""

    def get_entry(self, name: str) -> Entry:
        """Return the entry `CONTRIBUTOR/SET/ENTRY`.

        Raises NotFound, also for one that the terms do not let the caller see. Roles: operator, auditor, contributor.
        """
        return self._transport.ask(entry(name))

    def list_entries(self, hash_set: str, states: Iterable[EntryState] = ()) -> Iterator[Entry]:
        """Yield the entries of `CONTRIBUTOR/SET` in order of id; no states mean all of them."""
        yield from self._transport.items(entries(hash_set, states))

    def withdraw_entry(
        self, name: str, reason: WithdrawalReason, comment: str = "", *, validate_only: bool = False
    ) -> Entry:
        """Withdraw `CONTRIBUTOR/SET/ENTRY`: it stops matching, its history stays, and no list brings it back. Doing it
        twice is a success.

        OTHER needs a comment. Beyond the daily number it is only asked for (`withdrawal.pending`): the entry matches
        until an operator, or another token of the contributor, withdraws it too.
        """
        return self._transport.ask(withdrawal(name, reason, comment, validate_only=validate_only))

    def restore_entry(self, name: str, comment: str = "", *, validate_only: bool = False) -> Entry:
        """Take the withdrawal of `CONTRIBUTOR/SET/ENTRY`, or a request for it, back. Roles: operator, contributor."""
        return self._transport.ask(restoration(name, comment, validate_only=validate_only))

    def erase_entry(self, name: str, *, validate_only: bool = False) -> Entry:
        """Erase everything that `CONTRIBUTOR/SET/ENTRY` says about its item, for ever. Role: operator."""
        request = v1.EraseEntryRequest(name=names.entry(name), validate_only=validate_only)
        return wire.entry_from_pb(self._transport.call("ContributionService/EraseEntry", request, v1.Entry))

    def release_entry(self, name: str, *, validate_only: bool = False) -> Entry:
        """Release the quarantined `CONTRIBUTOR/SET/ENTRY`: it matches from now on. Role: operator."""
        request = v1.ReleaseEntryRequest(
            name=names.entry(name), validate_only=validate_only, request_id=new_request_id()
        )
        return wire.entry_from_pb(self._transport.call("ContributionService/ReleaseEntry", request, v1.Entry))

    def quarantine_entry(self, name: str, *, validate_only: bool = False) -> Entry:
        """Quarantine the active `CONTRIBUTOR/SET/ENTRY`: it stops matching until it is released. Role: operator."""
        request = v1.QuarantineEntryRequest(
            name=names.entry(name), validate_only=validate_only, request_id=new_request_id()
        )
        return wire.entry_from_pb(self._transport.call("ContributionService/QuarantineEntry", request, v1.Entry))

    def search_entries(
        self, selection: Selection, *, limit: int | None = None, looked_at: Callable[[int], None] = ignore
    ) -> Iterator[Entry]:
        """Yield the entries that fit, in order of id, wherever the caller may list them.

        `looked_at` is told how many entries the hub read for each page. Roles: operator, auditor, contributor.
        """
        yield from islice(self._transport.items(search(selection, limit=limit, looked_at=looked_at)), limit)

    def change_entries(
        self,
        selection: Selection,
        action: EntryAction,
        *,
        reason: WithdrawalReason | None = None,
        comment: str = "",
        limit: int = 0,
        expected_count: int | None = None,
        validate_only: bool = False,
    ) -> EntryChanges:
        """Withdraw, restore, quarantine or release all entries of one contributor that fit, in one event.

        `reason`: for a withdrawal. `limit`: at most so many; 0: all. `expected_count`: when more are hit, nothing is
        done. What is only tried says what would be done.
        """
        request = v1.ChangeEntriesRequest(
            selection=wire.selection_to_pb(selection),
            action=wire.ENTRY_ACTION.to_pb(action),
            reason=wire.WITHDRAWAL_REASON.to_pb(reason) if reason else None,
            comment=comment,
            limit=limit,
            expected_count=expected_count,
            validate_only=validate_only,
            request_id=new_request_id(),
        )
        answer = self._transport.call(
            "ContributionService/ChangeEntries", request, v1.ChangeEntriesResponse, timeout=_MANY_TIMEOUT
        )
        return wire.ENTRY_CHANGES.from_pb(answer, action=action, validate_only=validate_only)

    def list_queue(self, contributor: str = "") -> Iterator[QueueItem]:
        """Yield what waits for the caller, or what waits of one contributor. Roles: operator, auditor, contributor."""
        parent = names.contributor(contributor) if contributor else "contributors/-"
        request = v1.ListQueueItemsRequest(parent=parent)
        for page in self._pages("ContributionService/ListQueueItems", request, v1.ListQueueItemsResponse):
            yield from map(wire.QUEUE_ITEM.from_pb, page.queue_items)

    def create_review(
        self,
        entry: str,
        kind: ReviewKind,
        comment: str = "",
        *,
        validate_only: bool = False,
        request_id: str = "",
    ) -> Review:
        """Add a statement of the caller about `CONTRIBUTOR/SET/ENTRY`. Roles: operator, contributor."""
        return self._transport.ask(new_review(entry, kind, comment, validate_only=validate_only, request_id=request_id))

    def set_aside_review(self, entry: str, review_id: int, comment: str) -> Review:
        """Let an objection to `CONTRIBUTOR/SET/ENTRY` weigh no more; it stays on record. Role: operator."""
        request = v1.SetAsideReviewRequest(
            name=f"{names.entry(entry)}/reviews/{review_id}", comment=comment, request_id=new_request_id()
        )
        return wire.REVIEW.from_pb(self._transport.call("ReviewService/SetAsideReview", request, v1.Review))

    def list_reviews(self, entry: str) -> Iterator[Review]:
        """Yield the reviews of `CONTRIBUTOR/SET/ENTRY`, oldest first. Roles: operator, auditor, contributor."""
        yield from self._transport.items(reviews(entry))


def entry(name: str) -> Call[v1.Entry, Entry]:
    """Return the call that reads an entry."""
    return _one("ContributionService/GetEntry", v1.GetEntryRequest(name=names.entry(name)))


def entries(hash_set: str, states: Iterable[EntryState]) -> Pages[v1.ListEntriesResponse, Entry]:
    """Return the call that lists the entries of a hash set."""
    return listing(
        "ContributionService/ListEntries",
        v1.ListEntriesRequest(parent=names.hash_set(hash_set), states=map(wire.ENTRY_STATE.to_pb, states)),
        v1.ListEntriesResponse,
        lambda page: map(wire.entry_from_pb, page.entries),
    )


def search(
    selection: Selection, *, limit: int | None, looked_at: Callable[[int], None]
) -> Pages[v1.SearchEntriesResponse, Entry]:
    """Return the call that searches entries; `limit`: where no more than so many are wanted."""

    def read(page: v1.SearchEntriesResponse) -> Iterator[Entry]:
        looked_at(page.looked_at_count)
        yield from map(wire.entry_from_pb, page.entries)

    request = v1.SearchEntriesRequest(selection=wire.selection_to_pb(selection))
    return listing("ContributionService/SearchEntries", request, v1.SearchEntriesResponse, read, size=limit)


def withdrawal(name: str, reason: WithdrawalReason, comment: str, *, validate_only: bool) -> Call[v1.Entry, Entry]:
    """Return the call that withdraws an entry."""
    request = v1.WithdrawEntryRequest(
        name=names.entry(name),
        reason=wire.WITHDRAWAL_REASON.to_pb(reason),
        comment=comment,
        validate_only=validate_only,
        request_id=new_request_id(),
    )
    return _one("ContributionService/WithdrawEntry", request)


def restoration(name: str, comment: str, *, validate_only: bool) -> Call[v1.Entry, Entry]:
    """Return the call that takes a withdrawal back."""
    request = v1.RestoreEntryRequest(
        name=names.entry(name), comment=comment, validate_only=validate_only, request_id=new_request_id()
    )
    return _one("ContributionService/RestoreEntry", request)


def new_review(
    entry_name: str, kind: ReviewKind, comment: str, *, validate_only: bool, request_id: str = ""
) -> Call[v1.Review, Review]:
    """Return the call that adds a review; with the `request_id` of one that was made, it makes no second."""
    contributor, hash_set, entry_id = wire.parse_entry(names.entry(entry_name))
    review = Review(id=0, entry_id=entry_id, author="", kind=kind, comment=comment)

    def read(answer: v1.Review) -> Review:
        # What was only checked was not made, so it has no name, number or time.
        if validate_only:
            return msgspec.structs.replace(review, author=wire.parse_author(answer.author))
        return wire.REVIEW.from_pb(answer)

    request = v1.CreateReviewRequest(
        parent=names.entry(entry_name),
        review=wire.review_to_pb(review, contributor, hash_set),
        validate_only=validate_only,
        request_id=request_id or new_request_id(),
    )
    return Call(method="ReviewService/CreateReview", request=request, answer=v1.Review, read=read)


def reviews(entry_name: str) -> Pages[v1.ListReviewsResponse, Review]:
    """Return the call that lists the reviews of an entry."""
    request = v1.ListReviewsRequest(parent=names.entry(entry_name))
    return listing(
        "ReviewService/ListReviews", request, v1.ListReviewsResponse, lambda p: map(wire.REVIEW.from_pb, p.reviews)
    )


def _one(method: str, request: Message) -> Call[v1.Entry, Entry]:
    return Call(method=method, request=request, answer=v1.Entry, read=wire.entry_from_pb)
