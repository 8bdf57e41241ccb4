"""Entries after their import: read, withdraw, restore, quarantine, release, erase; and what outsiders learn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Unpack

import msgspec

from hashhub.errors import FailedPrecondition, Reason
from hashhub.hub import access
from hashhub.hub.entry_rules import EntryRules, check_comment, withdrawal_of
from hashhub.hygiene import Code
from hashhub.model import Entry, EntryAction, EntryState, Principal, Role, Withdrawal, WithdrawalReason
from hashhub.store import IdempotentRequest, TransitionCommand

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hashhub.hub.follow import Follower
    from hashhub.store import Store, WriteOptions

# Why an entry was withdrawn, as far as outsiders are told. The wish of the person shown is one of those that they are
# not told, and so that its absence does not give it away, neither are all reasons that are no correction of the entry.
TOLD: Final = frozenset({WithdrawalReason.FALSE_POSITIVE, WithdrawalReason.NOT_ILLEGAL_HERE, WithdrawalReason.ERROR})


def disclosed(principal: Principal, entry: Entry) -> Entry:
    """Return the entry as the principal may read it; every channel that shows an entry uses this.

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
        operator or another token of the contributor withdraws it too. A wish of the person shown is not limited, and
        withdraws the contributor's other entries of the same item, in all of its hash sets. Raises NotFound;
        InvalidArgument for OTHER without a comment; FailedPrecondition when a newer statement has taken the entry's
        place.
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
        """Take a withdrawal, or a request for one, back; lists may state the item again.

        What an operator withdrew, or the person shown asked for, only an operator restores. An entry that stands is
        returned as it is. Raises NotFound, PermissionDenied; FailedPrecondition when another entry states the item and
        stands, or when it was erased.
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
        """Keep an entry from matching until it is released, and what its contributor states of the item next, too.

        Raises NotFound, FailedPrecondition.
        """
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
        """Let a quarantined entry match: it does before this returns. Raises NotFound, FailedPrecondition for a
        withdrawn one.

        It replaces, at the same revision, what its import would have replaced. One without a classification stays
        undecided: that it was released is no claim of harm.
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
        """Clear everything that an entry says about its item, for ever. Idempotent. Raises NotFound.

        Its name stays, withdrawn, and a keyed trace that keeps its contributor's lists from bringing the item back. The
        entries that it replaced are erased with it.
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
        done = self._store.transitions.erase(current.id, secret=self._store.secret, by=by)
        for earlier in self._replaced_by(current):
            self._store.transitions.erase(earlier, secret=self._store.secret, by=by)
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
