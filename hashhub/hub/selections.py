"""Many entries at once: which ones a selection hits, within what the caller may see, and moving them in one go. Where
one entry would be refused (`entries`), it stays as it is and is counted under its reason; what a caller may not see
shows in none of these numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
import numpy as np

from hashhub import cancellation
from hashhub.errors import FailedPrecondition, InvalidArgument, NotFound, Reason, Violation
from hashhub.hub import access
from hashhub.hub.access import disclosed
from hashhub.hub.entries import EntryRules, check_comment
from hashhub.model import (
    MAX_SELECTED,
    MAX_TEXT,
    Entry,
    EntryAction,
    EntryChanges,
    EntryState,
    Principal,
    Role,
    Selection,
    SkippedEntries,
    WithdrawalReason,
)
from hashhub.schemes.dimensions import possible
from hashhub.store import IdempotentRequest, Scope, SelectedEntries, TransitionCommand, TransitionResult

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from hashhub.hub.follow import Follower
    from hashhub.store import Store

LOOKED_AT: Final = 100_000
"""Entries that one page of a search looks at where no index leads to those that fit: it may then be short, even empty,
and go on all the same.
"""
_EXAMPLES: Final = 5
# Which states an action is about where none is named; entries that are named one by one are looked at in any.
_STATES: Final = {
    EntryAction.WITHDRAW: (EntryState.ACTIVE, EntryState.QUARANTINED),
    EntryAction.RESTORE: (EntryState.WITHDRAWN,),
    EntryAction.QUARANTINE: (EntryState.ACTIVE, EntryState.QUARANTINED),
    EntryAction.RELEASE: (EntryState.QUARANTINED,),
}


class SearchPage(NamedTuple):
    """A page of a search. `after`: where to go on, 0: no more. `looked_at`: entries that were read for it."""

    entries: list[Entry]
    after: int
    looked_at: int


class BulkOrder(NamedTuple):
    """What is to be done to the entries that a selection hits, and for a withdrawal why. `limit`: at most so many, in
    order of id; 0: all. `expected_count`: refuse when more are hit; None: as many as there are.
    """

    action: EntryAction
    reason: WithdrawalReason | None = None
    comment: str = ""
    limit: int = 0
    expected_count: int | None = None


class Selections:
    """Searching and moving entries by what they have in common."""

    def __init__(self, store: Store, follower: Follower) -> None:
        self._store = store
        self._rules = EntryRules(store, follower)

    def search(self, principal: Principal, selection: Selection, page_size: int, after: int) -> SearchPage:
        """Return the entries behind id `after` that fit, by id: the caller's own in any state; of others the active
        ones that it may list. Raises InvalidArgument for a selection that says nothing; NotFound.
        """
        access.allow(principal, Role.OPERATOR, Role.AUDITOR, Role.CONTRIBUTOR)
        selection = _checked(selection)
        scope = self._readable(principal, selection)
        hits: list[Entry] = []
        looked_at = 0
        for piece in self._store.selector.walk(selection, scope, after=after, check=cancellation.check):
            rows = piece.rows[: page_size + 1 - len(hits)]
            hits += [disclosed(principal, e) for e in self._store.entries.of_rows(rows)]
            if len(hits) > page_size:
                return SearchPage(hits[:page_size], hits[page_size - 1].id, piece.looked_at)
            looked_at = piece.looked_at
            if looked_at >= LOOKED_AT:
                return SearchPage(hits, piece.upto, looked_at)
        return SearchPage(hits, 0, looked_at)

    def change(
        self,
        principal: Principal,
        selection: Selection,
        order: BulkOrder,
        *,
        validate_only: bool = False,
        request_id: str = "",
    ) -> EntryChanges:
        """Withdraw, restore, quarantine or release all entries of one contributor that fit, at one revision; say what
        became of them. Raises InvalidArgument for a selection without a criterion, or that hits several contributors;
        FailedPrecondition (SELECTION_GREW) when more are hit than expected; LimitExceeded; and as the action on one
        entry.
        """
        if order.action in {EntryAction.QUARANTINE, EntryAction.RELEASE}:
            access.allow(principal, Role.OPERATOR)
        access.allow(principal, Role.OPERATOR, Role.CONTRIBUTOR)
        selection = _checked(selection)
        if selection.hash_set == "" and msgspec.structs.replace(selection, contributor="").is_empty:
            raise _no_criterion()
        _check_order(order)
        scope = self._writable(principal, selection)
        pending_too = order.action is EntryAction.RESTORE and not selection.states
        named = selection.has_values
        if not selection.states and not named and not pending_too:
            selection = msgspec.structs.replace(selection, states=_STATES[order.action])
        chosen = self._store.selector.choose(selection, scope, cancellation.check)
        if pending_too and not named:
            chosen = _restorable(chosen, self._store.withdrawal_requests.waiting(chosen.ids))
        self._refuse_several(chosen)
        if order.expected_count is not None and len(chosen.ids) > order.expected_count:
            raise FailedPrecondition(
                f"the selection hits {len(chosen.ids):,} entries, and {order.expected_count:,} were expected: look "
                "again at what it hits, with a dry run, then give that number",
                reason=Reason.SELECTION_GREW,
                metadata={"count": str(len(chosen.ids)), "expectedCount": str(order.expected_count)},
            )
        missing = self._store.selector.unmatched(selection, scope, cancellation.check) if named else []
        if order.limit:
            chosen = SelectedEntries(chosen.ids[: order.limit], chosen.states[: order.limit], chosen.revision)
        asked = (msgspec.to_builtins(selection, builtin_types=(bytes,)), order)
        request = IdempotentRequest(request_id, "change_entries", asked, principal.name) if request_id else None
        by, described = access.actor(principal), _described(selection)
        command = TransitionCommand(by, comment=order.comment, selection=described, dry=validate_only, request=request)
        moved = self._rules.move(principal, chosen, order.action, command, reason=order.reason)
        return self._said(order.action, moved, missing, validate_only=validate_only)

    # Where a selection looks

    def _readable(self, principal: Principal, selection: Selection) -> Scope:
        registry = self._store.resources.registry()
        visible = access.sight(principal, registry, access.DisclosureChannel.LIST).visible
        own = frozenset(name for name, x in registry.hash_sets.items() if access.reads_all_of(principal, x.contributor))
        wanted = _wanted(selection, frozenset(registry.hash_sets))
        # What the caller names and may not see is refused as if it were not there, whether or not it is.
        named = selection.hash_set or selection.contributor
        if named and not wanted & (own | visible):
            if selection.hash_set:
                contributor, _, hash_set = selection.hash_set.partition("/")
                if access.reads_all_of(principal, contributor):
                    self._store.resources.get_hash_set(contributor, hash_set)
            elif access.reads_all_of(principal, selection.contributor):
                return Scope(frozenset())
            raise NotFound(
                f"there is no hash set of {named[:130]!r} that this token may list", kind="HashSet", name=named
            )
        return Scope(wanted & own, (wanted & visible) - own)

    def _writable(self, principal: Principal, selection: Selection) -> Scope:
        contributors = {name.partition("/")[0] for name in (*selection.names, *selection.imports)}
        contributors |= {x for x in (selection.contributor, selection.hash_set.partition("/")[0]) if x}
        for contributor in sorted(contributors):
            access.allow_writing(principal, contributor)
        if selection.hash_set:
            contributor, _, hash_set = selection.hash_set.partition("/")
            self._store.resources.get_hash_set(contributor, hash_set)
        sets = self._store.resources.registry().hash_sets
        writable = frozenset(
            name
            for name, x in sets.items()
            if principal.role is Role.OPERATOR or (principal.contributor and x.contributor == principal.contributor)
        )
        return Scope(_wanted(selection, writable))

    def _refuse_several(self, chosen: SelectedEntries) -> None:
        keys = self._store.resources.hash_set_keys()
        counts: dict[str, int] = {}
        for key, count in zip(*np.unique(chosen.ids >> 32, return_counts=True), strict=True):
            owner = keys[int(key)].partition("/")[0]
            counts[owner] = counts.get(owner, 0) + int(count)
        if len(counts) > 1:
            told = ", ".join(f"{owner} ({count:,})" for owner, count in sorted(counts.items())[:10])
            raise InvalidArgument.field(
                "selection",
                f"hits entries of several contributors: {told}; what is done to entries is a part of their "
                "contributor's history, so name one of them, and then the next",
                "SEVERAL_CONTRIBUTORS",
            )

    def _said(
        self, action: EntryAction, moved: TransitionResult, missing: Sequence[str], *, validate_only: bool
    ) -> EntryChanges:
        told = [*moved.examples, *(i for _, ids in moved.skipped.values() for i in ids)]
        names = {i: e.name for i, e in self._store.entries.get_entries(told).items()}

        def named(ids: Sequence[int]) -> tuple[str, ...]:
            return tuple(names[i] for i in ids if i in names)

        return EntryChanges(
            action=action,
            selected=moved.selected,
            changed=moved.changed,
            pending=moved.pending,
            also=moved.also,
            skipped=tuple(
                SkippedEntries(reason=why, count=count, examples=named(ids))
                for why, (count, ids) in sorted(moved.skipped.items())
            ),
            examples=named(moved.examples),
            unmatched=len(missing),
            unmatched_examples=tuple(missing[:_EXAMPLES]),
            revision=moved.revision,
            validate_only=validate_only,
        )


def _wanted(selection: Selection, names: frozenset[str]) -> frozenset[str]:
    """Return those of the hash sets that the selection speaks of."""
    if selection.hash_set:
        names &= {selection.hash_set}
    if selection.contributor:
        names = frozenset(name for name in names if name.partition("/")[0] == selection.contributor)
    for given in (selection.names, selection.imports):
        if given:
            names &= {name.rpartition("/")[0] for name in given}
    return names


def _restorable(chosen: SelectedEntries, waiting: NDArray[np.int64]) -> SelectedEntries:
    """Return those that are withdrawn, or of which that was asked."""
    is_meant = (chosen.states == 3) | np.isin(chosen.ids, waiting)  # noqa: PLR2004 - WITHDRAWN
    return SelectedEntries(chosen.ids[is_meant], chosen.states[is_meant], chosen.revision)


def _checked(selection: Selection) -> Selection:
    """Return the selection with its dimensions' shorthand expanded. Raises InvalidArgument with all that is wrong."""
    wrong: list[Violation] = []
    if selection.is_empty:
        raise _no_criterion()
    for name in ("names", "hashes", "external_ids"):
        if (n := len(getattr(selection, name))) > MAX_SELECTED:
            text = f"must be at most {MAX_SELECTED:,}, got {n:,}; select in several calls, or by --import"
            wrong.append(Violation(f"selection.{name}", text, "TOO_MANY"))
    if len(selection.text) > MAX_TEXT:
        wrong.append(Violation("selection.text", f"must be at most {MAX_TEXT} characters", "TOO_LONG"))
    dimensions = {}
    for name, values in selection.dimensions.items():
        try:
            dimensions[name] = possible(name, values)
        except InvalidArgument as e:
            said = e.message.partition(": ")[2]  # with what was expected
            wrong.append(Violation(f"selection.dimensions.{name}", said, "UNKNOWN"))
    if wrong:
        raise InvalidArgument("; ".join(f"{v.field}: {v.description}" for v in wrong), violations=tuple(wrong))
    return msgspec.structs.replace(selection, dimensions=dimensions)


def _no_criterion() -> InvalidArgument:
    return InvalidArgument.field(
        "selection",
        "says nothing: give at least one criterion, such as a hash set, an import, a hash, an external id or names; "
        "everything at once is never meant",
        "REQUIRED",
    )


def _check_order(order: BulkOrder) -> None:
    if order.action is EntryAction.WITHDRAW and order.reason is None:
        raise InvalidArgument.field("reason", "must say why the entries are withdrawn", "REQUIRED")
    if order.action is not EntryAction.WITHDRAW and order.reason is not None:
        raise InvalidArgument.field("reason", "is for withdrawals only", "NOT_ALLOWED")
    if order.limit < 0 or (order.expected_count or 0) < 0:
        raise InvalidArgument.field("limit", "must not be negative", "OUT_OF_RANGE")
    check_comment(order.comment, required=order.reason is WithdrawalReason.OTHER)


def _described(selection: Selection) -> str:
    """Return how entries were selected, for the history: no digest and no external id, only how many."""
    parts = [selection.hash_set or selection.contributor]
    parts += [f"import {name}" for name in selection.imports[:_EXAMPLES]]
    parts += [f"state {'|'.join(selection.states)}"] if selection.states else []
    parts += [f"reason {'|'.join(selection.reasons)}"] if selection.reasons else []
    parts += [f"{name}={'|'.join(values)}" for name, values in selection.dimensions.items()]
    counted = {
        "names": selection.names,
        "hashes": selection.hashes,
        "external ids": selection.external_ids,
        "tags": selection.tags,
        "series": selection.series,
    }
    parts += [f"{len(values):,} {what}" for what, values in counted.items() if values]
    parts += ["a text"] if selection.text else []
    return ", ".join(part for part in parts if part)[:MAX_TEXT]
