"""Calls about entries and their reviews."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

import msgspec

from hashhub import v1, wire
from hashhub.client.transport import Calls, Listing, contributor_name, entry_name, hash_set_name, listing
from hashhub.model import (
    Entry,
    EntryAction,
    EntryChanges,
    EntryProof,
    EntryState,
    QueueItem,
    Review,
    ReviewKind,
    Selection,
    WithdrawalReason,
)

_MANY_TIMEOUT: Final = 600.0  # seconds: a million entries take some tens of them


class EntryCalls(Calls):
    """Entries, one by one and many at once: reading, searching, withdrawing, reviewing."""

    def get_entry(self, name: str) -> Entry:
        """Return the entry `CONTRIBUTOR/SET/ENTRY`.

        Raises NotFound, also for one that the terms do not let the caller see. Roles: operator, auditor, contributor.
        """
        return self._ask(v1.GetEntryRequest(name=entry_name(name)), wire.entry_from_pb)

    def get_entry_proof(self, name: str) -> EntryProof:
        """Return the proof that somebody signed what the entry `CONTRIBUTOR/SET/ENTRY` says; it is not verified here.

        Raises NotFound where nobody did. Roles: operator, auditor; contributor its own.
        """
        return self._ask(v1.GetEntryProofRequest(name=entry_name(name)), wire.ENTRY_PROOF.from_pb)

    def list_entries(self, hash_set: str, states: Iterable[EntryState] = ()) -> Listing[Entry]:
        """Yield the entries of `CONTRIBUTOR/SET` in order of id; no states mean all of them."""
        request = v1.ListEntriesRequest(
            parent=hash_set_name(hash_set), states=[wire.ENTRY_STATE.to_pb(state) for state in states]
        )
        return self._list(request, "entries", wire.entry_from_pb)

    def withdraw_entry(
        self, name: str, reason: WithdrawalReason, comment: str = "", *, validate_only: bool = False
    ) -> Entry:
        """Withdraw `CONTRIBUTOR/SET/ENTRY`: it stops matching, its history stays, and no list brings it back.

        OTHER needs a comment. Beyond the daily number it is only asked for (`withdrawal.pending`): the entry matches
        until an operator, or another token of the contributor, withdraws it too.
        """
        request = v1.WithdrawEntryRequest(
            name=entry_name(name),
            reason=wire.WITHDRAWAL_REASON.to_pb(reason),
            comment=comment,
            validate_only=validate_only,
        )
        return self._ask(request, wire.entry_from_pb)

    def restore_entry(self, name: str, comment: str = "", *, validate_only: bool = False) -> Entry:
        """Take the withdrawal of `CONTRIBUTOR/SET/ENTRY`, or a request for it, back. Roles: operator, contributor."""
        request = v1.RestoreEntryRequest(name=entry_name(name), comment=comment, validate_only=validate_only)
        return self._ask(request, wire.entry_from_pb)

    def erase_entry(self, name: str, *, validate_only: bool = False) -> Entry:
        """Erase everything that `CONTRIBUTOR/SET/ENTRY` says about its item, for ever. Role: operator."""
        return self._ask(v1.EraseEntryRequest(name=entry_name(name), validate_only=validate_only), wire.entry_from_pb)

    def release_entry(self, name: str, *, validate_only: bool = False) -> Entry:
        """Release the quarantined `CONTRIBUTOR/SET/ENTRY`: it matches from now on. Role: operator."""
        request = v1.ReleaseEntryRequest(name=entry_name(name), validate_only=validate_only)
        return self._ask(request, wire.entry_from_pb)

    def quarantine_entry(self, name: str, *, validate_only: bool = False) -> Entry:
        """Quarantine the active `CONTRIBUTOR/SET/ENTRY`: it stops matching until it is released. Role: operator."""
        request = v1.QuarantineEntryRequest(name=entry_name(name), validate_only=validate_only)
        return self._ask(request, wire.entry_from_pb)

    def search_entries(
        self, selection: Selection, *, limit: int | None = None, looked_at: Callable[[int], None] = lambda _: None
    ) -> Listing[Entry]:
        """Yield the entries that fit, in order of id, wherever the caller may list them.

        `looked_at` is told how many entries the hub read for each page. Roles: operator, auditor, contributor.
        """

        def read(page: v1.SearchEntriesResponse) -> Iterator[Entry]:
            looked_at(page.looked_at_count)
            yield from map(wire.entry_from_pb, page.entries)

        request = v1.SearchEntriesRequest(selection=wire.selection_to_pb(selection))
        return self._transport.items(listing(request, read, size=limit), limit)

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
            reason=None if reason is None else wire.WITHDRAWAL_REASON.to_pb(reason),
            comment=comment,
            limit=limit,
            expected_count=expected_count,
            validate_only=validate_only,
        )
        return self._ask(
            request,
            lambda pb: wire.ENTRY_CHANGES.from_pb(pb, action=action, validate_only=validate_only),
            timeout=_MANY_TIMEOUT,
        )

    def list_queue(self, contributor: str = "") -> Listing[QueueItem]:
        """Yield pending work: the caller's, or that of one contributor. Roles: operator, auditor, contributor."""
        parent = contributor_name(contributor) if contributor else "contributors/-"
        return self._list(v1.ListQueueItemsRequest(parent=parent), "queue_items", wire.QUEUE_ITEM.from_pb)

    def create_review(
        self,
        entry: str,
        kind: ReviewKind,
        comment: str = "",
        *,
        validate_only: bool = False,
        request_id: str = "",
        member: str = "",
    ) -> Review:
        """Add a statement of the caller about `CONTRIBUTOR/SET/ENTRY`. With the `request_id` of one that was made, it
        makes no second. `member`: who states it at the hub that is the caller. Roles: operator, contributor; peer, with
        a member.
        """
        contributor, hash_set, entry_id = wire.parse_entry(entry_name(entry))
        review = Review(id=0, entry_id=entry_id, author="", kind=kind, comment=comment)

        def read(answer: v1.Review) -> Review:
            # What was only checked was not made, so it has no name, number or time.
            if validate_only:
                return msgspec.structs.replace(review, author=wire.parse_author(answer.author))
            return wire.REVIEW.from_pb(answer)

        request = v1.CreateReviewRequest(
            parent=entry_name(entry),
            review=wire.review_to_pb(review, contributor, hash_set),
            validate_only=validate_only,
            request_id=request_id,
            member=member,
        )
        return self._ask(request, read)

    def set_aside_review(self, entry: str, review_id: int, comment: str) -> Review:
        """Let an objection to `CONTRIBUTOR/SET/ENTRY` weigh no more; it stays on record. Role: operator."""
        request = v1.SetAsideReviewRequest(name=f"{entry_name(entry)}/reviews/{review_id}", comment=comment)
        return self._ask(request, wire.REVIEW.from_pb)

    def list_reviews(self, entry: str) -> Listing[Review]:
        """Yield the reviews of `CONTRIBUTOR/SET/ENTRY`, oldest first. Roles: operator, auditor, contributor."""
        return self._list(v1.ListReviewsRequest(parent=entry_name(entry)), "reviews", wire.REVIEW.from_pb)
