"""Reviews: append-only statements about entries, by others than their contributor, and what the operator sets aside."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final, Unpack

import msgspec

from hashhub.errors import InvalidArgument, NotFound
from hashhub.hub import access
from hashhub.hub.disclosure import VisibleLists, items_doubted
from hashhub.hub.intake.identity import same_items
from hashhub.model import Entry, EntryState, Principal, Review, ReviewKind, Role, now, number_of
from hashhub.store import OBJECTIONS
from hashhub.store.hash_sets import no_entry

if TYPE_CHECKING:
    from hashhub.matcher import Matcher
    from hashhub.store import Store, WriteOptions

OBJECTIONS_A_DAY: Final = 100
"""Of how many items a contributor's objections against others' entries weigh by themselves; those beyond wait for the
operator's acceptance. One counts as often as its entry's hashes may be of different items (`items_doubted`)."""

REVIEWS_A_DAY: Final = 20
"""How often one contributor reviews one entry within a day: whoever is asked about its item reads all that was said."""


class Reviews:
    """Append-only statements about entries, by others than their contributor.

    What is said of an entry counts for the entries by which its contributor states the item again, in the same hash
    set, be it as a newer statement or after a withdrawal.
    """

    def __init__(self, store: Store, matcher: Matcher) -> None:
        self._store, self._matcher = store, matcher

    def create(
        self,
        principal: Principal,
        contributor: str,
        hash_set: str,
        number: int,
        kind: ReviewKind,
        comment: str = "",
        **options: Unpack[WriteOptions],
    ) -> Review:
        """Add a review; its author is the caller's contributor. Raises NotFound, also for an entry whose terms hide it;
        LimitExceeded beyond REVIEWS_A_DAY of one entry. Objections beyond OBJECTIONS_A_DAY await acceptance.
        """
        access.allow(principal, Role.OPERATOR, Role.CONTRIBUTOR)
        if kind is ReviewKind.SET_ASIDE:
            raise InvalidArgument.field("review.kind", "is made by setting a review aside", "NOT_ALLOWED")
        entry = self._visible(principal, contributor, hash_set, number)
        review = self._of(principal, entry.id, kind, comment)
        if options.get("validate_only"):
            return review
        # The entry may have been replaced since the author was shown it.
        newer = same_items(self._store, [entry]).get(entry.id, []) if entry.state is EntryState.WITHDRAWN else []
        return self._store.entries.add_review(
            review,
            also=[e.id for e in newer],
            items=self._items(principal, entry) if kind in OBJECTIONS else 0,
            daily=None if principal.role is Role.OPERATOR else OBJECTIONS_A_DAY,
            most=None if principal.role is Role.OPERATOR else REVIEWS_A_DAY,
            by=access.actor(principal),
            request_id=options.get("request_id", ""),
        )

    def set_aside(
        self,
        principal: Principal,
        contributor: str,
        hash_set: str,
        number: int,
        review: int,
        comment: str,
        **options: Unpack[WriteOptions],
    ) -> Review:
        """Let an objection weigh no more, by a statement of the operator's with a reason; it stays on record.

        Raises NotFound when no such review counts for the entry; InvalidArgument when it is no objection, or without a
        reason.
        """
        access.allow(principal, Role.OPERATOR)
        if not comment.strip():
            raise InvalidArgument.field("comment", "must say why the objection weighs no more", "REQUIRED")
        entry = self._visible(principal, contributor, hash_set, number)
        reviews = self._store.entries.reviews_of([entry.id]).get(entry.id, [])
        target = next((r for r in reviews if number_of(r.id) == review), None)
        if target is None:
            name = f"{contributor}/{hash_set}/{number}/{review}"
            raise NotFound(f"there is no review {name[:150]!r}", kind="Review", name=name)
        if target.kind not in OBJECTIONS:
            raise InvalidArgument.field(
                "name", f"only an objection can be set aside, this review is {target.kind}", "NOT_ALLOWED"
            )
        made = msgspec.structs.replace(
            self._of(principal, entry.id, ReviewKind.SET_ASIDE, comment), sets_aside=target.id
        )
        if options.get("validate_only"):
            return made
        return self._store.entries.add_review(
            made, by=access.actor(principal), request_id=options.get("request_id", "")
        )

    def list(
        self, principal: Principal, contributor: str, hash_set: str, number: int, page_size: int, after: int
    ) -> tuple[list[Review], int]:
        """Return an entry's reviews after id `after`, oldest first, and where to go on (0: no more).

        Who belongs to another contributor than the author learns the author, not the token.
        """
        access.allow(principal, Role.OPERATOR, Role.AUDITOR, Role.CONTRIBUTOR)
        entry = self._visible(principal, contributor, hash_set, number)
        reviews = self._store.entries.list_reviews(entry.id, page_size + 1, after)
        page = [disclosed_review(principal, r) for r in reviews[:page_size]]
        return page, reviews[page_size - 1].id if len(reviews) > page_size else 0

    def _items(self, principal: Principal, entry: Entry) -> int:
        if entry.contributor == principal.contributor:
            return 0
        frames = b"".join(packed for _, packed in self._store.entries.frames_of([entry.id]))
        lists = VisibleLists(self._store, principal)
        return items_doubted(lists, self._matcher, principal.contributor, [(entry.hashes, frames)])[0]

    def _of(self, principal: Principal, entry_id: int, kind: ReviewKind, comment: str) -> Review:
        return Review(
            id=0,
            entry_id=entry_id,
            author=principal.contributor,
            kind=kind,
            comment=comment,
            actor=principal.name,
            role=principal.role,
            create_time=now(),
        )

    def _visible(self, principal: Principal, contributor: str, hash_set: str, number: int) -> Entry:
        """Return the entry. Raises NotFound, in the same words where the caller may not know of it."""
        visible = access.sight(principal, self._store.resources.registry(), access.DisclosureChannel.ANSWER).visible
        with suppress(NotFound):
            entry = self._store.entries.get_entry(contributor, hash_set, number)
            if f"{contributor}/{hash_set}" in visible:
                return entry
        raise no_entry(f"{contributor}/{hash_set}/{number}")


def disclosed_review(principal: Principal, review: Review) -> Review:
    """Return the review without its token unless the principal oversees, or is of its author's contributor."""
    if access.reads_all_of(principal, review.author.partition("/")[0]):
        return review
    return msgspec.structs.replace(review, actor="")
