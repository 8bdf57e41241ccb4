"""Entries after their import: read, withdraw, quarantine, release; and the reviews of them."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from hashhub.errors import FailedPrecondition, NotFound, Reason
from hashhub.hub import access
from hashhub.hub.intake import same_item
from hashhub.hygiene import Code
from hashhub.model import Entry, EntryState, Principal, Review, Role, now

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hashhub.hub.follow import Follower
    from hashhub.store import Store


class Entries:
    """Single entries of a hash set."""

    def __init__(self, store: Store, follower: Follower) -> None:
        """Keep the parts."""
        self._store = store
        self._follower = follower

    def get(self, principal: Principal, contributor: str, hash_set: str, entry_id: int) -> Entry:
        """Return an entry. Raises NotFound."""
        access.allow_reading(principal, contributor)
        return self._store.get_entry(contributor, hash_set, entry_id)

    def list(
        self,
        principal: Principal,
        contributor: str,
        hash_set: str,
        states: Sequence[EntryState],
        page_size: int,
        after: int,
    ) -> tuple[list[Entry], int]:
        """Return the hash set's entries after id `after`, in order of id, and where to go on (0: no more)."""
        access.allow_reading(principal, contributor)
        self._store.get_hash_set(contributor, hash_set)
        found = self._store.list_entries(
            contributor, hash_set, tuple(states) or tuple(EntryState), page_size + 1, after
        )
        return found[:page_size], found[page_size - 1].id if len(found) > page_size else 0

    def withdraw(
        self,
        principal: Principal,
        contributor: str,
        hash_set: str,
        entry_id: int,
        *,
        validate_only: bool = False,
        request_id: str = "",
    ) -> Entry:
        """Make an entry history: it stops matching before this returns. Withdrawing twice is a success. Raises NotFound."""
        access.allow_writing(principal, contributor)
        return self._move(
            contributor,
            hash_set,
            entry_id,
            EntryState.WITHDRAWN,
            (Code.WITHDRAWN_BY_OPERATOR if principal.role is Role.OPERATOR else Code.WITHDRAWN_BY_CONTRIBUTOR,),
            validate_only,
            request_id,
        )

    def quarantine(
        self,
        principal: Principal,
        contributor: str,
        hash_set: str,
        entry_id: int,
        *,
        validate_only: bool = False,
        request_id: str = "",
    ) -> Entry:
        """Keep an active entry from matching until it is released. Raises NotFound, FailedPrecondition."""
        access.allow(principal, Role.OPERATOR)
        return self._move(
            contributor,
            hash_set,
            entry_id,
            EntryState.QUARANTINED,
            (Code.QUARANTINED_BY_OPERATOR,),
            validate_only,
            request_id,
        )

    def release(
        self,
        principal: Principal,
        contributor: str,
        hash_set: str,
        entry_id: int,
        *,
        validate_only: bool = False,
        request_id: str = "",
    ) -> Entry:
        """Let a quarantined entry match: it does before this returns. Raises NotFound, FailedPrecondition for a withdrawn one.

        It then replaces, at the same revision, what its import would have replaced: earlier imports' statements about the same item.
        """
        access.allow(principal, Role.OPERATOR)
        return self._move(contributor, hash_set, entry_id, EntryState.ACTIVE, (), validate_only, request_id)

    def _move(
        self,
        contributor: str,
        hash_set: str,
        entry_id: int,
        state: EntryState,
        reasons: tuple[str, ...],
        validate_only: bool,  # noqa: FBT001 - private; the callers have it as a keyword
        request_id: str,
    ) -> Entry:
        current = self._store.get_entry(contributor, hash_set, entry_id)
        if current.state is state:
            return current
        if Code.UNCLASSIFIED in current.reasons and state is not EntryState.WITHDRAWN:
            # Nobody has said what the item is: not by putting it into quarantine, nor by letting it match.
            reasons = tuple(dict.fromkeys((*reasons, Code.UNCLASSIFIED.value)))
        if current.state is EntryState.WITHDRAWN:
            raise FailedPrecondition(
                f"entry {current.name} is withdrawn, and a withdrawal is final; contribute the item again",
                reason=Reason.ENTRY_WITHDRAWN,
                metadata={"entry": current.name},
            )
        if validate_only:
            return msgspec.structs.replace(current, state=state, reasons=reasons)
        overtaken: list[int] = []
        if state is EntryState.ACTIVE:
            overtaken = [
                e.id
                for e in same_item(self._store, current)
                if e.external_id == current.external_id and e.create_revision < current.create_revision
            ]
        moved, _ = self._store.set_entry_state(
            entry_id, state, reasons, expected=current.state, supersede=overtaken, request_id=request_id
        )
        self._follower.catch_up()
        return moved


class Reviews:
    """Append-only statements about entries, by others than their contributor.

    What is said of an entry is said of its contributor's statement on that item: it counts for the entries by which the contributor
    states the item again, in the same hash set, be it as a newer statement or after a withdrawal.
    """

    def __init__(self, store: Store) -> None:
        """Keep the store."""
        self._store = store

    def create(
        self,
        principal: Principal,
        contributor: str,
        hash_set: str,
        entry_id: int,
        review: Review,
        *,
        validate_only: bool = False,
        request_id: str = "",
    ) -> Review:
        """Add a review; its author is the caller. Raises NotFound, also for an entry whose terms hide it from the caller."""
        access.allow(principal, Role.OPERATOR, Role.CONTRIBUTOR)
        entry = self._visible(principal, contributor, hash_set, entry_id)
        review = msgspec.structs.replace(
            review, entry_id=entry_id, author=principal.contributor or principal.name, create_time=now()
        )
        if validate_only:
            return review
        # The entry may have been replaced since the author was shown it.
        newer = [e.id for e in same_item(self._store, entry)] if entry.state is EntryState.WITHDRAWN else []
        return self._store.add_review(review, also=newer, request_id=request_id)

    def list(
        self, principal: Principal, contributor: str, hash_set: str, entry_id: int, page_size: int, after: int
    ) -> tuple[list[Review], int]:
        """Return an entry's reviews after id `after`, oldest first, and where to go on (0: no more)."""
        access.allow(principal, Role.OPERATOR, Role.AUDITOR, Role.CONTRIBUTOR)
        self._visible(principal, contributor, hash_set, entry_id)
        found = self._store.list_reviews(entry_id, page_size + 1, after)
        return found[:page_size], found[page_size - 1].id if len(found) > page_size else 0

    def _visible(self, principal: Principal, contributor: str, hash_set: str, entry_id: int) -> Entry:
        """Return the entry. Raises NotFound, in the same words whether it does not exist or the caller may not know of it."""
        visible = access.sight(principal, self._store.registry(), access.WayOut.ANSWER).visible
        with suppress(NotFound):
            entry = self._store.get_entry(contributor, hash_set, entry_id)
            if f"{contributor}/{hash_set}" in visible:
                return entry
        name = f"{contributor}/{hash_set}/{entry_id}"
        raise NotFound(f"there is no entry {name[:150]!r} that this token may see", kind="Entry", name=name)
