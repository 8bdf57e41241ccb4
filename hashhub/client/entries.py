"""Calls about entries and their reviews."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from hashhub import v1, wire
from hashhub.client import names
from hashhub.client.calls import Calls, request_id
from hashhub.model import Entry, EntryState, Review, ReviewKind, WithdrawalReason


class EntryCalls(Calls):
    """Entries one by one: reading, withdrawing, reviewing."""

    def get_entry(self, name: str) -> Entry:
        """Return the entry `CONTRIBUTOR/SET/ENTRY`.

        Raises NotFound, also for one that the terms do not let the caller see. Roles: operator, auditor, contributor.
        """
        return wire.entry_from_pb(
            self._transport.call("ContributionService/GetEntry", v1.GetEntryRequest(name=names.entry(name)), v1.Entry)
        )

    def list_entries(self, hash_set: str, states: Iterable[EntryState] = ()) -> Iterator[Entry]:
        """Yield the entries of `CONTRIBUTOR/SET` in order of id; no states mean all of them."""
        request = v1.ListEntriesRequest(parent=names.hash_set(hash_set), states=wire.entry_states_to_pb(states))
        for page in self._pages("ContributionService/ListEntries", request, v1.ListEntriesResponse):
            yield from map(wire.entry_from_pb, page.entries)

    def withdraw_entry(
        self, name: str, reason: WithdrawalReason, comment: str = "", *, validate_only: bool = False
    ) -> Entry:
        """Withdraw `CONTRIBUTOR/SET/ENTRY`: it stops matching, its history stays, and no list brings it back. Doing it
        twice is a success.

        OTHER needs a comment. Beyond the daily number it is only asked for (`withdrawal.pending`): the entry matches
        until an operator, or another token of the contributor, withdraws it too.
        """
        request = v1.WithdrawEntryRequest(
            name=names.entry(name),
            reason=wire.withdrawal_reason_to_pb(reason),
            comment=comment,
            validate_only=validate_only,
            request_id=request_id(),
        )
        return wire.entry_from_pb(self._transport.call("ContributionService/WithdrawEntry", request, v1.Entry))

    def restore_entry(self, name: str, comment: str = "", *, validate_only: bool = False) -> Entry:
        """Take the withdrawal of `CONTRIBUTOR/SET/ENTRY`, or a request for it, back. Roles: operator, contributor."""
        request = v1.RestoreEntryRequest(
            name=names.entry(name), comment=comment, validate_only=validate_only, request_id=request_id()
        )
        return wire.entry_from_pb(self._transport.call("ContributionService/RestoreEntry", request, v1.Entry))

    def erase_entry(self, name: str, *, validate_only: bool = False) -> Entry:
        """Erase everything that `CONTRIBUTOR/SET/ENTRY` says about its item, for ever. Role: operator."""
        request = v1.EraseEntryRequest(name=names.entry(name), validate_only=validate_only)
        return wire.entry_from_pb(self._transport.call("ContributionService/EraseEntry", request, v1.Entry))

    def release_entry(self, name: str, *, validate_only: bool = False) -> Entry:
        """Release the quarantined `CONTRIBUTOR/SET/ENTRY`: it matches from now on. Role: operator."""
        request = v1.ReleaseEntryRequest(name=names.entry(name), validate_only=validate_only, request_id=request_id())
        return wire.entry_from_pb(self._transport.call("ContributionService/ReleaseEntry", request, v1.Entry))

    def quarantine_entry(self, name: str, *, validate_only: bool = False) -> Entry:
        """Quarantine the active `CONTRIBUTOR/SET/ENTRY`: it stops matching until it is released. Role: operator."""
        request = v1.QuarantineEntryRequest(
            name=names.entry(name), validate_only=validate_only, request_id=request_id()
        )
        return wire.entry_from_pb(self._transport.call("ContributionService/QuarantineEntry", request, v1.Entry))

    def create_review(self, entry: str, kind: ReviewKind, comment: str = "", *, validate_only: bool = False) -> Review:
        """Add a statement of the caller about `CONTRIBUTOR/SET/ENTRY`. Roles: operator, contributor."""
        contributor, hash_set, entry_id = wire.parse_entry(names.entry(entry))
        review = Review(id=0, entry_id=entry_id, author="", kind=kind, comment=comment)
        request = v1.CreateReviewRequest(
            parent=names.entry(entry),
            review=wire.review_to_pb(review, contributor, hash_set),
            validate_only=validate_only,
            request_id=request_id(),
        )
        answer = self._transport.call("ReviewService/CreateReview", request, v1.Review)
        # What was only checked was not made, so it has no name, number or time.
        if validate_only:
            return msgspec.structs.replace(review, author=wire.parse_author(answer.author))
        return wire.review_from_pb(answer)

    def set_aside_review(self, entry: str, review_id: int, comment: str) -> Review:
        """Let an objection to `CONTRIBUTOR/SET/ENTRY` weigh no more; it stays on record. Role: operator."""
        request = v1.SetAsideReviewRequest(
            name=f"{names.entry(entry)}/reviews/{review_id}", comment=comment, request_id=request_id()
        )
        return wire.review_from_pb(self._transport.call("ReviewService/SetAsideReview", request, v1.Review))

    def list_reviews(self, entry: str) -> Iterator[Review]:
        """Yield the reviews of `CONTRIBUTOR/SET/ENTRY`, oldest first. Roles: operator, auditor, contributor."""
        request = v1.ListReviewsRequest(parent=names.entry(entry))
        for page in self._pages("ReviewService/ListReviews", request, v1.ListReviewsResponse):
            yield from map(wire.review_from_pb, page.reviews)
