"""Entries after their import, and reviews of them.

Where a single entry is refused the call is; one of many stays as it is and is counted under its reason.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Unpack

import msgspec

from hashhub import cancellation
from hashhub.answering.lookup import items_doubted
from hashhub.errors import FailedPrecondition, HashHubError, InvalidArgument, NotFound, PermissionDenied, Reason
from hashhub.frames import known_by
from hashhub.hub import access
from hashhub.hub.access import VisibleLists, disclosed
from hashhub.hub.intake.identity import HeldItems, same_items
from hashhub.hygiene import Code
from hashhub.model import (
    MAX_TEXT,
    OBJECTIONS,
    Entry,
    EntryAction,
    EntryState,
    Principal,
    Review,
    ReviewKind,
    Role,
    Withdrawal,
    WithdrawalReason,
    now,
    number_of,
)
from hashhub.store import (
    DailyLimit,
    IdempotentRequest,
    Origin,
    SelectedEntries,
    TransitionCommand,
    TransitionResult,
    WithdrawalByHand,
    trace_of,
)
from hashhub.store.comparison import EXTERNAL_ID
from hashhub.store.entries import no_entry

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hashhub.hub.follow import Follower
    from hashhub.matcher import Matcher
    from hashhub.store import Store, WriteOptions
    from hashhub.store.holds import Hold

WITHDRAWALS_A_DAY: Final = DailyLimit(entries=1000, share=0.05)
"""What a contributor's tokens may withdraw by hand from a hash set in a day before a second person must agree."""
OBJECTIONS_A_DAY: Final = 100
"""Of how many items a contributor's objections against others' entries weigh by themselves; those beyond wait for the
operator's acceptance. One counts as often as its entry's hashes may be of different items (`items_doubted`)."""
REVIEWS_A_DAY: Final = 20
"""How often one contributor reviews one entry within a day: whoever is asked about its item reads all that was said."""
MEMBERS_A_DAY: Final = 10
"""How many times as much as one of its members a peer may do, of all of them together: it could name any number."""
_PIECE: Final = 1_000


class _TransitionPlan(NamedTuple):
    """What goes with letting entries stand: what they replace, holds to lift, entries that stay, by reason."""

    supersede: dict[int, list[int]]
    lift: list[int]
    skipped: dict[str, list[int]]


def withdrawal_of(principal: Principal, reason: WithdrawalReason, comment: str) -> WithdrawalByHand:
    """Return what a withdrawal is, by who asks for it and why."""
    is_operator = principal.role is Role.OPERATOR
    is_wish = reason is WithdrawalReason.REQUESTED_BY_PERSON_SHOWN
    return WithdrawalByHand(
        asked=Withdrawal(reason=reason, comment=comment, actor=principal.name, role=principal.role),
        origin=Origin.PERSON_SHOWN if is_wish else Origin.OPERATOR if is_operator else Origin.CONTRIBUTOR,
        code=Code.WITHDRAWN_BY_OPERATOR if is_operator else Code.WITHDRAWN_BY_CONTRIBUTOR,
        limit=None if is_operator or is_wish else WITHDRAWALS_A_DAY,
    )


def check_comment(comment: str, *, required: bool) -> None:
    """Raise InvalidArgument for a comment that is missing where it is required, or that cannot be kept."""
    if required and not comment.strip():
        raise InvalidArgument.field("comment", "must say why, since the reason is OTHER", "REQUIRED")
    if len(comment) > MAX_TEXT or "\0" in comment:
        raise InvalidArgument.field("comment", f"must be at most {MAX_TEXT} characters without NUL", "TOO_LONG")


class EntryRules:
    """Moves entries within the rules, and lets matchers follow before it returns."""

    def __init__(self, store: Store, follower: Follower) -> None:
        self._store = store
        self._follower = follower

    def move(
        self,
        principal: Principal,
        entries: SelectedEntries | Entry,
        action: EntryAction,
        command: TransitionCommand,
        *,
        reason: WithdrawalReason | None = None,
    ) -> TransitionResult:
        """Do to entries of one contributor what an action says. Where a single entry is refused it raises why."""
        transitions = self._store.transitions
        ids = [entries.id] if isinstance(entries, Entry) else entries
        match action:
            case EntryAction.WITHDRAW:
                by_hand = withdrawal_of(principal, reason or WithdrawalReason.OTHER, command.comment)
                also = self._same_items(entries) if by_hand.is_wish else ()
                moved = transitions.withdraw_by_hand(ids, by_hand, command, also=also)
            case EntryAction.QUARANTINE:
                moved = transitions.quarantine(ids, command)
            case EntryAction.RELEASE:
                supersede, lift, skipped = self._moves(principal, entries, EntryState.QUARANTINED)
                moved = transitions.release(ids, command, supersede=supersede, lift=lift, skipped=skipped)
            case EntryAction.RESTORE:
                _, lift, skipped = self._moves(principal, entries, EntryState.WITHDRAWN)
                moved = transitions.restore(ids, command, lift=lift, skipped=skipped)
        if not command.dry:
            if moved.revision and not command.is_single:
                self._store.commits.settle()
            self._follower.catch_up()
        return moved

    def _pieces(self, entries: SelectedEntries | Entry, state: EntryState) -> Iterator[list[Entry]]:
        """Yield the entries in a state, some at a time."""
        if isinstance(entries, Entry):
            yield from [[entries]] if entries.state is state else []
            return
        code = {EntryState.ACTIVE: 1, EntryState.QUARANTINED: 2, EntryState.WITHDRAWN: 3}[state]
        ids = entries.ids[entries.states == code].tolist()
        for start in range(0, len(ids), _PIECE):
            cancellation.check()
            yield list(self._store.entries.get_entries(ids[start : start + _PIECE]).values())

    def _same_items(self, entries: SelectedEntries | Entry) -> list[int]:
        """Return the live entries about the same items in all hash sets of the contributor."""
        own_sets: dict[str, list[str]] = {}
        for x in self._store.resources.hash_sets().values():
            own_sets.setdefault(x.contributor, []).append(x.id)
        also: set[int] = set()
        for state in EntryState:
            for piece in self._pieces(entries, state):
                about = same_items(self._store, piece, hash_sets=own_sets[piece[0].contributor])
                also.update(e.id for group in about.values() for e in group)
        return sorted(also)

    def _moves(self, principal: Principal, entries: SelectedEntries | Entry, state: EntryState) -> _TransitionPlan:
        """Return what goes with letting the entries in a state stand, and which of them stay as they are."""
        moves = _TransitionPlan({}, [], {})
        for piece in self._pieces(entries, state):
            about = same_items(self._store, piece)
            held = self._held(piece)
            for entry in piece:
                same, covering = about.get(entry.id, []), held.get(entry.id, [])
                # Those without an entry are about the same item whatever their effect.
                holds = [h for h in covering if h.effect is state or h.entry_id < 0]
                if (refused := self._refusal(principal, entry, same, covering, holds)) is None:
                    moves.lift.extend(h.entry_id for h in holds)
                    moves.supersede[entry.id] = [
                        e.id
                        for e in same
                        if e.external_id == entry.external_id and e.create_revision < entry.create_revision
                    ]
                elif isinstance(entries, Entry):
                    raise refused[1]
                else:
                    moves.skipped.setdefault(refused[0], []).append(entry.id)
        return moves

    def _held(self, entries: Sequence[Entry]) -> dict[int, list[Hold]]:
        """Return the holds that cover each of some entries, by id; only what is near these entries is read."""
        by_set: dict[tuple[str, str], list[Entry]] = {}
        for entry in entries:
            if Code.ERASED not in entry.reasons:
                by_set.setdefault((entry.contributor, entry.hash_set), []).append(entry)
        covering: dict[int, list[Hold]] = {}
        for (contributor, hash_set), own in by_set.items():
            values: dict[str, list[Any]] = {EXTERNAL_ID: [e.external_id for e in own if e.external_id]}
            for h in (h for entry in own for h in known_by(entry)):
                values.setdefault(h.algorithm, []).append(h.digest)
            holds = self._store.comparison.holds_about(contributor, hash_set, values.items())
            held = HeldItems(holds, partial(trace_of, self._store.secret))
            covering |= {entry.id: held.about(entry) for entry in own}
        return covering

    def _refusal(
        self, principal: Principal, entry: Entry, same: Sequence[Entry], covering: Sequence[Hold], holds: Sequence[Hold]
    ) -> tuple[Code | Reason, HashHubError] | None:
        """Return why an entry does not stand again, as many are told and as one is; None where it does. `same`: live
        entries about its item; `covering`: the holds on it; `holds`: those that keep it where it is.
        """
        erased = [hold for hold in holds if hold.is_of_erased]
        where = {"entry": entry.name}
        if Code.ERASED in entry.reasons:
            text = f"entry {entry.name} was erased: nothing is left to restore"
            return Code.ERASED, FailedPrecondition(text, reason=Reason.ENTRY_WITHDRAWN, metadata=where)
        if entry.state is EntryState.WITHDRAWN and (standing := self._standing(entry, same)):
            text = f"{standing} states the item of {entry.name} now and stands; withdraw it first, or leave it at that"
            where["successor"] = standing
            return Code.SUPERSEDED, FailedPrecondition(text, reason=Reason.ENTRY_WITHDRAWN, metadata=where)
        is_operator = principal.role is Role.OPERATOR
        roles: dict[str, str] = {"role": principal.role, "requiredRoles": Role.OPERATOR}
        if not is_operator and any(
            h.effect is EntryState.QUARANTINED and h.entry_id != entry.id and h.entry_id > 0 for h in covering
        ):
            text = f"an operator put the item of {entry.name} into quarantine; only an operator restores it"
            return Reason.ROLE_NOT_ALLOWED, PermissionDenied(text, metadata=roles)
        if erased:
            text = f"the item of {entry.name} was erased with entry {number_of(erased[0].entry_id)}, and stays so"
            return Code.ERASED, FailedPrecondition(text, reason=Reason.ENTRY_WITHDRAWN, metadata=where)
        if not is_operator and (
            any(hold.origin.is_operators for hold in holds) or Code.WITHDRAWN_BY_OPERATOR in entry.reasons
        ):
            text = (
                f"entry {entry.name} was withdrawn by an operator or at the request of the person shown; only an "
                "operator restores it"
            )
            return Reason.ROLE_NOT_ALLOWED, PermissionDenied(text, metadata=roles)
        return None

    def _standing(self, entry: Entry, same: Sequence[Entry]) -> str:
        """Return the name of an entry that states the item of a withdrawn one now, empty where there is none."""
        ids = list(map(self._store.entries.id_of, entry.successors))
        successors = self._store.entries.get_entries(ids).values() if ids else ()
        standing = [e.name for e in (*successors, *same) if e.state is not EntryState.WITHDRAWN]
        return standing[0] if standing else ""


class Entries:
    """Single entries of a hash set."""

    def __init__(self, store: Store, follower: Follower) -> None:
        self._store = store
        self._follower = follower
        self._rules = EntryRules(store, follower)

    def get(self, principal: Principal, contributor: str, hash_set: str, number: int) -> Entry:
        """Return an entry, with its frames and the entries that it replaced and that replaced it. Raises NotFound."""
        access.allow_reading(principal, contributor)
        entry = self._store.entries.get_entry(contributor, hash_set, number)
        return disclosed(principal, self._store.entries.with_frames(entry))

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
        self._store.resources.get_hash_set(contributor, hash_set)
        entries = self._store.entries.list_entries(
            contributor, hash_set, tuple(states) or tuple(EntryState), page_size + 1, after
        )
        page = [disclosed(principal, e) for e in entries[:page_size]]
        return page, entries[page_size - 1].id if len(entries) > page_size else 0

    def withdraw(
        self,
        principal: Principal,
        contributor: str,
        hash_set: str,
        number: int,
        reason: WithdrawalReason,
        comment: str = "",
        **options: Unpack[WriteOptions],
    ) -> Entry:
        """Withdraw an entry: it stops matching before this returns, and no list brings it back. Idempotent.

        Beyond WITHDRAWALS_A_DAY it is only asked for: the entry matches, with the remark WITHDRAWAL_PENDING, until an
        operator or another token of the contributor withdraws it too. A wish of the person shown has no limit, and
        withdraws the contributor's other entries of the item. Raises NotFound; InvalidArgument for OTHER without a
        comment; FailedPrecondition when a newer statement has taken the entry's place.
        """
        access.allow_writing(principal, contributor)
        check_comment(comment, required=reason is WithdrawalReason.OTHER)
        current = self._store.entries.get_entry(contributor, hash_set, number)
        if options.get("validate_only"):
            if current.state is EntryState.WITHDRAWN:
                return current
            by_hand = withdrawal_of(principal, reason, comment)
            return msgspec.structs.replace(
                current, state=EntryState.WITHDRAWN, reasons=(by_hand.code,), withdrawal=by_hand.asked
            )
        return self._move(principal, current, EntryAction.WITHDRAW, comment, reason=reason, **options)

    def restore(
        self,
        principal: Principal,
        contributor: str,
        hash_set: str,
        number: int,
        comment: str = "",
        **options: Unpack[WriteOptions],
    ) -> Entry:
        """Take a withdrawal, or a request for one, back; lists may state the item again. What an operator withdrew, or
        the person shown asked for, only an operator restores. Idempotent. Raises NotFound, PermissionDenied;
        FailedPrecondition when another entry states the item and stands, or when it was erased.
        """
        access.allow_writing(principal, contributor)
        check_comment(comment, required=False)
        current = self._store.entries.get_entry(contributor, hash_set, number)
        if current.state is not EntryState.WITHDRAWN and current.withdrawal is None:
            return current
        self._move(principal, current, EntryAction.RESTORE, comment, **options)
        if options.get("validate_only"):
            return msgspec.structs.replace(current, state=EntryState.ACTIVE, reasons=(), withdrawal=None)
        return self._store.entries.get_entry(contributor, hash_set, number)

    def quarantine(
        self, principal: Principal, contributor: str, hash_set: str, number: int, **options: Unpack[WriteOptions]
    ) -> Entry:
        """Keep an entry, and what its contributor states of the item next, from matching until it is released."""
        access.allow(principal, Role.OPERATOR)
        current = self._standing(contributor, hash_set, number)
        if options.get("validate_only"):
            if current.state is EntryState.QUARANTINED:
                return current
            return msgspec.structs.replace(
                current, state=EntryState.QUARANTINED, reasons=(Code.QUARANTINED_BY_OPERATOR,)
            )
        return self._move(principal, current, EntryAction.QUARANTINE, **options)

    def release(
        self, principal: Principal, contributor: str, hash_set: str, number: int, **options: Unpack[WriteOptions]
    ) -> Entry:
        """Let a quarantined entry match: it does before this returns, and replaces what its import would have replaced.
        One without a classification stays undecided, which is no claim of harm. Raises NotFound, FailedPrecondition.
        """
        access.allow(principal, Role.OPERATOR)
        current = self._standing(contributor, hash_set, number)
        if current.state is EntryState.ACTIVE:
            return current
        if options.get("validate_only"):
            remarks = tuple(r for r in current.reasons if r == Code.UNCLASSIFIED)
            return msgspec.structs.replace(current, state=EntryState.ACTIVE, reasons=remarks)
        return self._move(principal, current, EntryAction.RELEASE, **options)

    def erase(
        self, principal: Principal, contributor: str, hash_set: str, number: int, *, validate_only: bool = False
    ) -> Entry:
        """Clear everything that an entry, and those that it replaced, say about their item, for ever. Idempotent. Its
        name stays, withdrawn, and a keyed trace that keeps lists from bringing the item back. Raises NotFound.
        """
        access.allow(principal, Role.OPERATOR)
        current = self._store.entries.get_entry(contributor, hash_set, number)
        if validate_only:
            return current
        by = access.actor(principal)
        if current.state is not EntryState.WITHDRAWN:
            # First withdrawn, then erased: the matchers drop its digests while they can still be read.
            self._store.transitions.withdraw(
                [current.id], Code.WITHDRAWN_BY_OPERATOR, by=by, facts={"before": "erasure"}
            )
            self._follower.catch_up()
        self._store.imports.sweep_batches()  # a list that was just committed may still lie there as it was sent
        done = self._store.deletions.erase(current.id, by=by)
        for earlier in self._replaced_by(current):
            self._store.deletions.erase(earlier, by=by)
        self._follower.catch_up()
        return done

    def _move(
        self,
        principal: Principal,
        entry: Entry,
        action: EntryAction,
        comment: str = "",
        *,
        reason: WithdrawalReason | None = None,
        **options: Unpack[WriteOptions],
    ) -> Entry:
        """Do what an action says, and return the entry as it is then."""
        dry, request_id = options.get("validate_only", False), options.get("request_id", "")
        request = IdempotentRequest(
            "" if dry else request_id, f"{action}_ENTRY", (entry.id, reason, comment), principal.name
        )
        by = access.actor(principal)
        command = TransitionCommand(by, comment=comment, is_single=True, dry=dry, request=request)
        return self._rules.move(principal, entry, action, command, reason=reason).entry or entry

    def _replaced_by(self, entry: Entry) -> Sequence[int]:
        """Return the withdrawn entries that an entry replaced, and those that these replaced before, by id."""
        reached: dict[str, Entry] = {}
        names = list(entry.predecessors)
        while names:
            name = names.pop()
            if name not in reached:
                contributor, hash_set, number = name.split("/")
                reached[name] = self._store.entries.get_entry(contributor, hash_set, int(number))
                names += reached[name].predecessors
        return sorted(e.id for e in reached.values() if e.state is EntryState.WITHDRAWN)

    def _standing(self, contributor: str, hash_set: str, number: int) -> Entry:
        """Return an entry that is not withdrawn. Raises NotFound, FailedPrecondition."""
        current = self._store.entries.get_entry(contributor, hash_set, number)
        if current.state is EntryState.WITHDRAWN:
            raise FailedPrecondition(
                f"entry {current.name} is withdrawn; restore it first, or contribute the item again",
                reason=Reason.ENTRY_WITHDRAWN,
                metadata={"entry": current.name},
            )
        return current


class Reviews:
    """Append-only statements about entries, by others than their contributor. They count for the entries by which it
    states the item again, in the same hash set, be it as a newer statement or after a withdrawal.
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
        *,
        member: str = "",
        **options: Unpack[WriteOptions],
    ) -> Review:
        """Add a review; its author is the caller's contributor, of another hub with the `member` that it names. Raises
        NotFound, also for an entry whose terms hide it; LimitExceeded beyond REVIEWS_A_DAY of one entry. Objections
        beyond OBJECTIONS_A_DAY await acceptance. Both numbers hold for each member of a peer, too.
        """
        access.allow(principal, Role.OPERATOR, Role.CONTRIBUTOR, Role.PEER)
        is_peer = principal.role is Role.PEER
        if is_peer != bool(member):
            expected = "must say who at the other hub states it" if is_peer else "is for peers; leave it out"
            raise InvalidArgument.field("member", expected, "REQUIRED" if is_peer else "NOT_ALLOWED")
        if kind is ReviewKind.SET_ASIDE:
            raise InvalidArgument.field("review.kind", "is made by setting a review aside", "NOT_ALLOWED")
        entry = self._visible(principal, contributor, hash_set, number)
        review = self._of(principal, entry.id, kind, comment, member)
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
            members=MEMBERS_A_DAY if is_peer else 0,
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
        """Let an objection weigh no more, by a statement of the operator's with a reason; it stays on record. Raises
        NotFound; InvalidArgument when the review is no objection, or without a reason.
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
        """Return an entry's reviews after id `after`, the oldest first, as outsiders see them, and where to go on."""
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

    def _of(self, principal: Principal, entry_id: int, kind: ReviewKind, comment: str, member: str = "") -> Review:
        return Review(
            id=0,
            entry_id=entry_id,
            author=f"{principal.contributor}/{member}" if member else principal.contributor,
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
