"""Entries after their import: read, withdraw, restore, quarantine, release, erase; and what outsiders are told of
that.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from hashhub.errors import FailedPrecondition, InvalidArgument, PermissionDenied, Reason
from hashhub.hub import access
from hashhub.hub.holds import HeldItems
from hashhub.hub.intake import same_item
from hashhub.hygiene import Code
from hashhub.model import MAX_TEXT, Entry, EntryState, Principal, Role, Withdrawal, WithdrawalReason, number_of
from hashhub.store import DailyLimit, Origin, trace_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hashhub.hub.follow import Follower
    from hashhub.store import Store

WITHDRAWALS_A_DAY: Final = DailyLimit(entries=1000, share=0.05)
"""What a contributor's tokens may withdraw by hand from a hash set in a day before a second person must agree."""

# Why an entry was withdrawn, as far as outsiders are told. The wish of the person shown is one of those that they are
# not told, and so that its absence does not give it away, neither are all reasons that are no correction of the entry.
TOLD: Final = frozenset({WithdrawalReason.FALSE_POSITIVE, WithdrawalReason.NOT_ILLEGAL_HERE, WithdrawalReason.ERROR})


def disclosed(principal: Principal, entry: Entry) -> Entry:
    """Return the entry as the principal may read it; every way out that shows an entry passes it through here.

    Operators, auditors and the entry's contributor read everything. Others are not told that a withdrawal was asked
    for, nor by which token one was made or in which words; and of the reasons only those that correct the entry.
    """
    if access.reads_all_of(principal, entry.contributor):
        return entry
    if entry.state is not EntryState.WITHDRAWN:
        if entry.withdrawal is None and Code.WITHDRAWAL_PENDING not in entry.reasons:
            return entry
        reasons = tuple(r for r in entry.reasons if r != Code.WITHDRAWAL_PENDING)
        return msgspec.structs.replace(entry, reasons=reasons, withdrawal=None)
    told = entry.withdrawal is not None and entry.withdrawal.reason in TOLD
    return msgspec.structs.replace(
        entry,
        reasons=entry.reasons if told else (),
        withdrawal=Withdrawal(reason=entry.withdrawal.reason, revision=entry.withdrawal.revision)
        if entry.withdrawal is not None and told
        else None,
    )


class WithdrawalByHand(NamedTuple):
    """A withdrawal as the store takes it: what is asked, the origin of its hold, the reason that entries get, and how
    many in a day need no second person (None: any number).
    """

    asked: Withdrawal
    origin: Origin
    code: Code
    limit: DailyLimit | None

    @property
    def is_wish(self) -> bool:
        """Whether the person shown wishes it: it then concerns every entry of the item."""
        return self.origin is Origin.PERSON_SHOWN


def withdrawal_of(principal: Principal, reason: WithdrawalReason, comment: str) -> WithdrawalByHand:
    """Return what the withdrawal of one entry or of many is, by who asks for it and why."""
    is_operator = principal.role is Role.OPERATOR
    is_wish = reason is WithdrawalReason.REQUESTED_BY_PERSON_SHOWN
    return WithdrawalByHand(
        asked=Withdrawal(reason=reason, comment=comment, actor=principal.name, role=principal.role),
        origin=Origin.PERSON_SHOWN if is_wish else Origin.OPERATOR if is_operator else Origin.CONTRIBUTOR,
        code=Code.WITHDRAWN_BY_OPERATOR if is_operator else Code.WITHDRAWN_BY_CONTRIBUTOR,
        limit=None if is_operator or is_wish else WITHDRAWALS_A_DAY,
    )


class Entries:
    """Single entries of a hash set."""

    def __init__(self, store: Store, follower: Follower) -> None:
        self._store = store
        self._follower = follower

    def get(self, principal: Principal, contributor: str, hash_set: str, number: int) -> Entry:
        """Return an entry, with its frames, and with the entries that it replaced and that replaced it. Raises
        NotFound.
        """
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
        *,
        validate_only: bool = False,
        request_id: str = "",
    ) -> Entry:
        """Withdraw an entry: it stops matching before this returns, and no list brings it back. Doing it twice is a
        success.

        Beyond WITHDRAWALS_A_DAY it is only asked for: the entry matches, with the remark WITHDRAWAL_PENDING, until an
        operator or another token of the contributor withdraws it too. A wish of the person shown is not limited, and
        the contributor's other entries of the same item, in all of its hash sets, are withdrawn with it; the event
        names them. Raises NotFound; InvalidArgument for OTHER without a comment; FailedPrecondition when a newer
        statement has taken the entry's place.
        """
        access.allow_writing(principal, contributor)
        check_comment(comment, required=reason is WithdrawalReason.OTHER)
        current = self._store.entries.get_entry(contributor, hash_set, number)
        by_hand = withdrawal_of(principal, reason, comment)
        if validate_only:
            if current.state is EntryState.WITHDRAWN:
                return current
            return msgspec.structs.replace(
                current, state=EntryState.WITHDRAWN, reasons=(by_hand.code,), withdrawal=by_hand.asked
            )
        also: list[Entry] = []
        if by_hand.is_wish:
            own_sets = [x.id for x in self._store.resources.hash_sets().values() if x.contributor == contributor]
            also = same_item(self._store, current, hash_sets=own_sets)
        done = self._store.standing.withdraw_entry(
            current.id,
            by_hand.asked,
            also=[e.id for e in also],
            origin=by_hand.origin,
            code=by_hand.code,
            limit=by_hand.limit,
            by=access.actor(principal),
            request_id=request_id,
        )
        self._follower.catch_up()
        return done

    def restore(
        self,
        principal: Principal,
        contributor: str,
        hash_set: str,
        number: int,
        comment: str = "",
        *,
        validate_only: bool = False,
        request_id: str = "",
    ) -> Entry:
        """Take a withdrawal, or a request for one, back: the entry is what it was before, and lists may state its item
        again.

        What an operator withdrew, or the person shown asked for, only an operator restores. An entry that stands is
        returned as it is. Raises NotFound, PermissionDenied; FailedPrecondition when the item is stated by another
        entry that stands, or was erased.
        """
        access.allow_writing(principal, contributor)
        check_comment(comment, required=False)
        current = self._store.entries.get_entry(contributor, hash_set, number)
        lift: Sequence[int] = ()
        if current.state is EntryState.WITHDRAWN:
            if Code.ERASED in current.reasons:
                raise FailedPrecondition(
                    f"entry {current.name} was erased: nothing is left to restore",
                    reason=Reason.ENTRY_WITHDRAWN,
                    metadata={"entry": current.name},
                )
            self._refuse_if_stated_again(current)
            lift = self._liftable(principal, current, EntryState.WITHDRAWN)
        elif current.withdrawal is None:
            return current
        if validate_only:
            return msgspec.structs.replace(current, state=EntryState.ACTIVE, reasons=(), withdrawal=None)
        self._store.standing.restore_entries(
            [current.id], by=access.actor(principal), comment=comment, lift=lift, request_id=request_id
        )
        self._follower.catch_up()
        return self._store.entries.get_entry(contributor, hash_set, number)

    def quarantine(
        self,
        principal: Principal,
        contributor: str,
        hash_set: str,
        number: int,
        *,
        validate_only: bool = False,
        request_id: str = "",
    ) -> Entry:
        """Keep an entry from matching until it is released, and what its contributor states of the item next, too.

        Raises NotFound, FailedPrecondition.
        """
        access.allow(principal, Role.OPERATOR)
        current = self._standing(contributor, hash_set, number)
        if validate_only:
            if current.state is EntryState.QUARANTINED:
                return current
            return msgspec.structs.replace(
                current, state=EntryState.QUARANTINED, reasons=(Code.QUARANTINED_BY_OPERATOR,)
            )
        done = self._store.standing.quarantine_entry(current.id, by=access.actor(principal), request_id=request_id)
        self._follower.catch_up()
        return done

    def release(
        self,
        principal: Principal,
        contributor: str,
        hash_set: str,
        number: int,
        *,
        validate_only: bool = False,
        request_id: str = "",
    ) -> Entry:
        """Let a quarantined entry match: it does before this returns. Raises NotFound, FailedPrecondition for a
        withdrawn one.

        It then replaces, at the same revision, what its import would have replaced: earlier imports' statements about
        the same item. One without a classification stays undecided: that it was released is no claim of harm.
        """
        access.allow(principal, Role.OPERATOR)
        current = self._standing(contributor, hash_set, number)
        if current.state is EntryState.ACTIVE:
            return current
        if validate_only:
            remarks = tuple(r for r in current.reasons if r == Code.UNCLASSIFIED)
            return msgspec.structs.replace(current, state=EntryState.ACTIVE, reasons=remarks)
        overtaken = [
            e.id
            for e in same_item(self._store, current)
            if e.external_id == current.external_id and e.create_revision < current.create_revision
        ]
        done = self._store.standing.release_entry(
            current.id,
            supersede=overtaken,
            lift=self._liftable(principal, current, EntryState.QUARANTINED),
            by=access.actor(principal),
            request_id=request_id,
        )
        self._follower.catch_up()
        return done

    def erase(
        self, principal: Principal, contributor: str, hash_set: str, number: int, *, validate_only: bool = False
    ) -> Entry:
        """Clear everything that an entry says about its item, for ever. Doing it twice is a success. Raises NotFound.

        Its name stays, withdrawn, and a keyed trace that keeps its contributor's lists from bringing the item back. The
        entries that it replaced are erased with it: they are its contributor's earlier statements about the same item.
        """
        access.allow(principal, Role.OPERATOR)
        current = self._store.entries.get_entry(contributor, hash_set, number)
        if validate_only:
            return current
        by = access.actor(principal)
        if current.state is not EntryState.WITHDRAWN:
            # First withdrawn, then erased: the matchers drop its digests while they can still be read.
            self._store.standing.withdraw_entries(
                [current.id], Code.WITHDRAWN_BY_OPERATOR, by=by, facts={"before": "erasure"}
            )
            self._follower.catch_up()
        self._store.imports.sweep_batches()  # a list that was just committed may still lie there as it was sent
        done = self._store.standing.erase_entry(current.id, secret=self._store.secret, by=by)
        for earlier in self._replaced_by(current):
            self._store.standing.erase_entry(earlier, secret=self._store.secret, by=by)
        self._follower.catch_up()
        return done

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

    def _refuse_if_stated_again(self, entry: Entry) -> None:
        standing = [
            e.name
            for e in self._store.entries.get_entries(map(self._store.entries.id_of, entry.successors)).values()
            if e.state is not EntryState.WITHDRAWN
        ]
        standing += [e.name for e in same_item(self._store, entry) if e.name not in standing]
        if standing:
            raise FailedPrecondition(
                f"{standing[0]} states the item of {entry.name} now and stands; withdraw it first, or leave it at that",
                reason=Reason.ENTRY_WITHDRAWN,
                metadata={"entry": entry.name, "successor": standing[0]},
            )

    def _liftable(self, principal: Principal, entry: Entry, effect: EntryState) -> Sequence[int]:
        """Return the entries whose holds keep this one's item where it is.

        Raises PermissionDenied when one is for an operator to lift.
        """
        holds = self._store.holds.of_set(entry.contributor, entry.hash_set)
        held = HeldItems(holds, partial(trace_of, self._store.secret))
        covering = held.about(entry)
        if principal.role is not Role.OPERATOR and any(
            h.effect is EntryState.QUARANTINED and h.entry_id != entry.id and h.entry_id > 0 for h in covering
        ):
            raise PermissionDenied(
                f"an operator put the item of {entry.name} into quarantine; only an operator restores it",
                metadata={"role": principal.role, "requiredRoles": Role.OPERATOR},
            )
        # Those without an entry are about the same item whatever their effect.
        holds = [h for h in covering if h.effect is effect or h.entry_id < 0]
        erased = [hold for hold in holds if hold.is_of_erased]
        if erased:
            raise FailedPrecondition(
                f"the item of {entry.name} was erased with entry {number_of(erased[0].entry_id)}, and stays so",
                reason=Reason.ENTRY_WITHDRAWN,
                metadata={"entry": entry.name},
            )
        by_operator = [hold for hold in holds if hold.origin.is_operators]
        if principal.role is not Role.OPERATOR and (by_operator or Code.WITHDRAWN_BY_OPERATOR in entry.reasons):
            raise PermissionDenied(
                f"entry {entry.name} was withdrawn by an operator or at the request of the person shown; only an "
                "operator restores it",
                metadata={"role": principal.role, "requiredRoles": Role.OPERATOR},
            )
        return [hold.entry_id for hold in holds]


def check_comment(comment: str, *, required: bool) -> None:
    """Raise InvalidArgument for a comment that is missing where it is required, or that cannot be kept."""
    if required and not comment.strip():
        raise InvalidArgument.field("comment", "must say why, since the reason is OTHER", "REQUIRED")
    if len(comment) > MAX_TEXT or "\0" in comment:
        raise InvalidArgument.field("comment", f"must be at most {MAX_TEXT} characters without NUL", "TOO_LONG")
