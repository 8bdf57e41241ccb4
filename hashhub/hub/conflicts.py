"""Conflicts: two statements about one item that cannot both hold. They inform people and decide nothing.

`ConflictFinder` looks for them after commits: no commit waits for it, or tells by its time what others hold. A
contributor knows of a conflict when one of its own entries is a party and the other's terms let it list the other one;
of others not even a number. Only an operator closes a conflict, and that changes no statement and no verdict.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, Unpack

import msgspec

from hashhub.background import Background
from hashhub.errors import FailedPrecondition, InvalidArgument, NotFound, Reason
from hashhub.hub import access
from hashhub.model import (
    MAX_TEXT,
    Conflict,
    ConflictAction,
    ConflictChanges,
    ConflictCount,
    ConflictFilter,
    ConflictingContributor,
    ConflictKind,
    ConflictOrder,
    ConflictParty,
    ConflictReason,
    ConflictState,
    ConflictStatement,
    ConflictSummary,
    EntryState,
    Purpose,
    Reliability,
    Role,
    Severity,
)
from hashhub.schemes.dimensions import words
from hashhub.store import (
    ConflictQuery,
    ConflictScope,
    ConflictSide,
    FoundConflict,
    etag_of,
    no_conflict,
    parties_of,
    party_of,
)
from hashhub.store.entry_codec import unpack_flags, unpack_hashes
from hashhub.trust.contradiction import (
    Assertion,
    contradictions,
    contradictory_digests,
    exact_digests,
    lowered,
    said,
    severity_reduction,
    strength,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from hashhub.hashes import Hash
    from hashhub.model import Entry, HashSet, Principal
    from hashhub.store import ConflictRow, DigestStatement, Neighbourhood, Registry, Store, WriteOptions
    from hashhub.trust.contradiction import Contradiction

SECONDS: Final = 1.0  # between two looks for changes
PIECE: Final = 2_000  # entries worked through at a time: some 100 ms, of which the write takes the smaller part
_REST: Final = 2.0  # times what a piece took, between two pieces: this process also matches, under one lock
_BUSY: Final = 5.0  # times as long a rest while lists come in
SETS: Final = 100  # hash sets that are compared about one digest; of each contributor the first ones
STATEMENTS: Final = 16  # different ones of one hash set that are compared about one digest
COUNTERPARTIES: Final = 32  # conflicts of one hash set about one item, of each kind and dimension
_SIDE: Final = 8  # entries that are kept of each side
_TEXTS: Final = 3  # statements of one side that the sentence tells
AT_ONCE: Final = 200  # conflicts that are changed in one transaction: two tenths of a second
_SUMMED: Final = 100  # contributors in a summary
_CACHED: Final = 100_000  # pairs of statements whose comparison is remembered


class _Position(NamedTuple):
    """What an entry states, and of which file: equal for all that state the same."""

    classification: int | None
    flags: int
    is_undecided: bool
    exact: tuple[Hash, ...]


class ConflictFinder:
    """Finds conflicts in the background by following the changes of entries, a piece at a time."""

    def __init__(self, store: Store, *, seconds: float = SECONDS, piece: int = PIECE) -> None:
        self._store = store
        self._piece = piece
        self._said: dict[tuple[int | None, int, bool, Purpose], Assertion | None] = {}
        self._compared: dict[tuple[int, int], tuple[Contradiction, ...]] = {}
        self.thread = Background(
            "conflicts", partial(self.catch_up, _REST), complaint="conflicts are not looked for", pause=seconds
        )

    def catch_up(self, rest: float = 0.0) -> int:
        """Work through what was committed so far, resting `rest` times as long; return how many entries."""
        entries = 0
        while not self.thread.is_stopping:
            begun = time.monotonic()
            piece = self._store.conflict_pass.next_piece(self._piece)
            if piece is None:
                return entries
            neighbourhood = self._store.conflict_pass.statements_about(piece.ids)
            if self._store.conflict_pass.apply(piece, neighbourhood, self.conflicts_in(neighbourhood)):
                entries += len(piece.ids)
            took = time.monotonic() - begun
            if rest and self._store.imports.are_coming_in():
                took *= _BUSY
            self.thread.wait(rest * took)
        return entries

    def conflicts_in(self, neighbourhood: Neighbourhood) -> Iterator[FoundConflict]:
        """Yield the conflicts between the entries of a neighbourhood."""
        by_name = self._store.resources.hash_sets()
        sets = {key: by_name[name] for key, name in self._store.resources.hash_set_keys().items() if name in by_name}
        if max(len(self._compared), len(self._said)) > _CACHED:
            self._compared.clear()
            self._said.clear()
        for item, of_all in neighbourhood.statements.items():
            statements = [x for x in of_all if x.hash_set in sets]  # others' hash set was deleted
            if len(statements) > 1 and not _all_alike(statements, sets):
                yield from self._about(item, statements, sets)

    def _about(
        self, item: Hash, statements: Sequence[DigestStatement], sets: Mapping[int, HashSet]
    ) -> Iterator[FoundConflict]:
        """Yield the conflicts of entries that all have one digest, of every pair of hash sets. In a flood each
        contributor's first hash sets come first, with so many counterparties of a kind: the work is bounded, and nobody
        is crowded out.
        """
        by_set: dict[int, dict[_Position, list[DigestStatement]]] = {}
        for stated in statements:
            exact = tuple(sorted(exact_digests(unpack_hashes(stated.packed)), key=strength))
            position = _Position(stated.classification, stated.flags, stated.is_undecided, exact)
            by_set.setdefault(stated.hash_set, {}).setdefault(position, []).append(stated)
        ranked = _in_turn(by_set, sets)[:SETS]
        compared = {key: _first(by_set[key]) for key in ranked}
        contradicting: dict[tuple[int, int], dict[Contradiction, tuple[set[_Position], set[_Position]]]] = {}
        of_positions: dict[tuple[_Position, Purpose, _Position, Purpose], tuple[Contradiction, ...]] = {}
        for left, right in itertools.combinations(sorted(ranked), 2):
            for x, y in itertools.product(compared[left], compared[right]):
                key = (x, sets[left].purpose, y, sets[right].purpose)
                if key not in of_positions:
                    of_positions[key] = self._compare(item, *key)
                for reason in of_positions[key]:
                    sides = contradicting.setdefault((left, right), {}).setdefault(reason, (set(), set()))
                    sides[0].add(x)
                    sides[1].add(y)
        for (left, right), reason in _bounded(contradicting, ranked):
            xs, ys = contradicting[left, right][reason]
            yield FoundConflict(
                reason.kind, reason.dimension, reason.gravity, item, left, right,
                _side(by_set[left], xs), _side(by_set[right], ys),
            )  # fmt: skip

    def _compare(
        self, item: Hash, x: _Position, one: Purpose, y: _Position, other: Purpose
    ) -> tuple[Contradiction, ...]:
        """Return why two statements contradict each other; nothing where a stronger common digest tells the same."""
        left, right = frozenset(x.exact), frozenset(y.exact)
        if min(left & right, key=strength) != item:
            return ()
        a, b = self._says(x, one), self._says(y, other)
        digests = contradictory_digests(left, right)
        if a is None or b is None:  # test items
            return ()
        if (id(a), id(b)) not in self._compared:
            self._compared[id(a), id(b)] = contradictions(a, b)
        return self._compared[id(a), id(b)] + digests

    def _says(self, position: _Position, purpose: Purpose) -> Assertion | None:
        key = (position.classification, position.flags, position.is_undecided, purpose)
        if key not in self._said:
            stored = position.classification
            classification = None if stored is None else self._store.entries.classification(stored)
            flags = unpack_flags(position.flags)
            self._said[key] = said(classification, flags, purpose, is_undecided=position.is_undecided)
        return self._said[key]


def _all_alike(statements: Sequence[DigestStatement], sets: Mapping[int, HashSet]) -> bool:
    """Whether all state the same about the same file, as most do: a quick look that spares the comparison."""
    first = statements[0]
    purpose = sets[first.hash_set].purpose
    stated = (first.classification, first.flags, first.packed, first.is_undecided)
    return all(
        (s.classification, s.flags, s.packed, s.is_undecided) == stated and sets[s.hash_set].purpose is purpose
        for s in statements
    )


def _in_turn(by_set: Iterable[int], sets: Mapping[int, HashSet]) -> list[int]:
    """Return the hash sets, the first one of every contributor before the second one of any."""
    turn: Counter[str] = Counter()
    ranked = []
    for key in sorted(by_set):
        contributor = sets[key].contributor
        ranked.append((turn[contributor], key))
        turn[contributor] += 1
    return [key for _, key in sorted(ranked)]


def _first(positions: Iterable[_Position]) -> list[_Position]:
    """Return STATEMENTS of the positions, whatever the order in which they come."""
    listed = list(positions)
    if len(listed) <= STATEMENTS:
        return listed
    return sorted(listed, key=lambda p: (p.classification or 0, p.flags, *map(strength, p.exact)))[:STATEMENTS]


def _bounded(
    contradicting: Mapping[tuple[int, int], Mapping[Contradiction, object]], ranked: Sequence[int]
) -> Iterator[tuple[tuple[int, int], Contradiction]]:
    """Yield the pairs and why they contradict: COUNTERPARTIES of each kind and dimension, by `ranked`."""
    order = {key: number for number, key in enumerate(ranked)}
    taken: Counter[tuple[int, ConflictKind, str]] = Counter()
    for pair in sorted(contradicting, key=lambda pair: sorted((order[pair[0]], order[pair[1]]))):
        for reason in contradicting[pair]:
            ends = [(key, reason.kind, reason.dimension) for key in pair]
            if any(taken[end] < COUNTERPARTIES for end in ends):
                taken.update(ends)
                yield pair, reason


def _side(by_position: Mapping[_Position, Sequence[DigestStatement]], positions: Iterable[_Position]) -> ConflictSide:
    chosen = sorted((s for p in positions for s in by_position[p]), key=lambda s: s.entry_id)
    count_by_classification = {s.classification: s.total for s in chosen}
    encoded = frozenset(
        msgspec.msgpack.encode((p.classification, p.flags, p.is_undecided, [(h.algorithm, h.digest) for h in p.exact]))
        for p in positions
    )
    return ConflictSide(tuple(s.entry_id for s in chosen[:_SIDE]), sum(count_by_classification.values()), encoded)


class Conflicts:
    """What people do with conflicts."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def list(
        self, principal: Principal, wanted: ConflictFilter, page_size: int, after: str = ""
    ) -> tuple[list[Conflict], str]:
        """Return a page of conflicts, the last opened first, and where the next page begins (empty: none)."""
        access.allow(principal, Role.OPERATOR, Role.AUDITOR, Role.CONTRIBUTOR)
        registry = self._store.resources.registry()
        query, scope = _query(wanted, registry, principal), _scope(principal, registry)
        rows = self._store.conflicts.list_conflicts(
            query, _severity_reductions(registry), scope, page_size=page_size, after=after
        )
        conflicts = [_conflict(row, registry, principal) for row in rows]
        return conflicts, rows[-1].name if len(rows) == page_size else ""

    def looked_upto(self, principal: Principal) -> int | None:
        """Return up to which revision conflicts were looked for; a contributor, whom it would tell, gets None."""
        access.allow(principal, Role.OPERATOR, Role.AUDITOR, Role.CONTRIBUTOR)
        return self._store.conflict_pass.looked_upto() if principal.role in access.OVERSEERS else None

    def get(self, principal: Principal, name: str) -> Conflict:
        """Return a conflict with what each side states. Raises NotFound, also for one hidden from the caller."""
        access.allow(principal, Role.OPERATOR, Role.AUDITOR, Role.CONTRIBUTOR)
        return self._told(principal, self._visible(principal, name))

    def summarise(self, principal: Principal, wanted: ConflictFilter, *, counts_only: bool = False) -> ConflictSummary:
        """Count conflicts by pair of contributors, kind, severity and state, and, unless `counts_only`, say who has
        most.
        """
        access.allow(principal, Role.OPERATOR, Role.AUDITOR, Role.CONTRIBUTOR)
        registry = self._store.resources.registry()
        scope = _scope(principal, registry)
        counted = self._store.conflicts.counts(
            _query(wanted, registry, principal), _severity_reductions(registry), scope
        )
        counts: Counter[tuple[str, str, ConflictKind, Severity, ConflictState]] = Counter()
        total: Counter[str] = Counter()
        others: dict[str, set[str]] = {}
        for pair in counted:
            left, right = sorted((pair.left.partition("/")[0], pair.right.partition("/")[0]))
            severity = lowered(pair.gravity, *(_contributor(registry, side)[1] for side in (left, right)))
            counts[left, right, pair.kind, severity, pair.state] += pair.number
            if pair.state is not ConflictState.ENDED:
                for one, other in {(left, right), (right, left)}:
                    total[one] += pair.number
                    others.setdefault(one, set()).add(other)
        items = {} if counts_only else self._store.conflicts.item_counts(scope)
        most = [] if counts_only else sorted(total.items(), key=lambda x: (-x[1], x[0]))[:_SUMMED]
        contributors = [
            ConflictingContributor(
                contributor=contributor,
                reliability=_contributor(registry, contributor)[1],
                conflicts=conflicts,
                items=items.get(contributor, 0),
                others=len(others[contributor] - {contributor}),
            )
            for contributor, conflicts in most
            # Of others a contributor knows only what they have with itself, which the counts say.
            if scope is None or contributor == principal.contributor
        ]
        return ConflictSummary(
            counts=tuple(
                ConflictCount(left=left, right=right, kind=kind, severity=severity, state=state, count=n)
                for (left, right, kind, severity, state), n in sorted(counts.items())
            ),
            contributors=tuple(contributors),
            looked_upto=self.looked_upto(principal),
        )

    def assign(
        self, principal: Principal, name: str, assignee: str, *, etag: str = "", **options: Unpack[WriteOptions]
    ) -> Conflict:
        """Give a conflict to a contributor (`contributors/ID`), or to somebody by any name; empty: to nobody. Raises
        NotFound; FailedPrecondition for a contributor that is no party of it, and for a RESOLVED or ENDED conflict;
        Conflict when `etag` is of another state or other statements.
        """
        access.allow(principal, Role.OPERATOR)
        order = ConflictOrder(action=ConflictAction.ASSIGN, assignee=assignee)
        return self._change_one(principal, name, order, etag, **options)

    def resolve(
        self,
        principal: Principal,
        name: str,
        reason: ConflictReason,
        comment: str,
        *,
        decided_for: str = "",
        etag: str = "",
        **options: Unpack[WriteOptions],
    ) -> Conflict:
        """Say what a conflict comes to. An operator's word closes it, a party's is its view and stands beside.

        Raises NotFound; InvalidArgument without a comment, or with `decided_for` other than a party where the reason is
        DECIDED_FOR; FailedPrecondition when it is RESOLVED or has ENDED; Conflict when `etag` is of other statements.
        """
        access.allow(principal, Role.OPERATOR, Role.CONTRIBUTOR)
        order = ConflictOrder(action=ConflictAction.RESOLVE, reason=reason, comment=comment, decided_for=decided_for)
        return self._change_one(principal, name, order, etag, **options)

    def reopen(
        self, principal: Principal, name: str, comment: str, *, etag: str = "", **options: Unpack[WriteOptions]
    ) -> Conflict:
        """Take back what closed a conflict. Raises NotFound; InvalidArgument without a comment; FailedPrecondition;
        Conflict when `etag` is of another state or other statements.
        """
        access.allow(principal, Role.OPERATOR)
        order = ConflictOrder(action=ConflictAction.REOPEN, comment=comment)
        return self._change_one(principal, name, order, etag, **options)

    def _change_one(
        self, principal: Principal, name: str, order: ConflictOrder, etag: str, **options: Unpack[WriteOptions]
    ) -> Conflict:
        row = self._visible(principal, name)
        self._check_order(order)
        parties = parties_of(row)
        told = " or ".join(sorted(parties))
        if order.reason is ConflictReason.DECIDED_FOR and order.decided_for not in parties:
            raise InvalidArgument.field("decided_for", f"must be a party: {told}", "UNKNOWN_VALUE")
        if (party := party_of(order)) and party not in parties:  # it would not see what it was given
            told = f"contributor {party} is no party of conflict {name}; assign it to {told}, or to a person"
            raise FailedPrecondition(told)
        done = self._store.conflicts.change_one(name, order, etag=etag, by=access.actor(principal), **options)
        return self._told(principal, done)

    def change(
        self,
        principal: Principal,
        wanted: ConflictFilter,
        order: ConflictOrder,
        page_size: int = AT_ONCE,
        before: int = 0,
        **options: Unpack[WriteOptions],
    ) -> tuple[ConflictChanges, int]:
        """Assign, resolve or reopen some of the conflicts that fit, each on its own record; return what was done, and
        before which one to go on (0: these were the last). Raises InvalidArgument for a filter without a criterion, and
        as the action on one conflict; FailedPrecondition (SELECTION_GREW) when more fit than expected at the beginning.
        """
        access.allow(principal, Role.OPERATOR)
        self._check_order(order)
        if order.reason is ConflictReason.DECIDED_FOR and not order.decided_for:
            raise InvalidArgument.field("decided_for", "must name a party", "REQUIRED")
        if msgspec.structs.replace(wanted, states=()) == ConflictFilter():
            told = "says nothing: give a contributor, a kind or another criterion besides states"
            raise InvalidArgument.field("filter", told, "REQUIRED")
        is_reopened = order.action is ConflictAction.REOPEN
        about = (ConflictState.RESOLVED,) if is_reopened else (ConflictState.OPEN, ConflictState.ASSIGNED)
        registry = self._store.resources.registry()
        query = _query(msgspec.structs.replace(wanted, states=wanted.states or about), registry, principal)
        asked = query, _severity_reductions(registry), None
        count = 0 if before else sum(pair.number for pair in self._store.conflicts.counts(*asked))
        if order.expected_count is not None and count > order.expected_count:
            raise FailedPrecondition(
                f"{count:,} conflicts fit, and {order.expected_count:,} were expected: look again at what fits, "
                "with a dry run, then give that number",
                reason=Reason.SELECTION_GREW,
                metadata={"count": str(count), "expectedCount": str(order.expected_count)},
            )
        size = page_size if options.get("validate_only") else min(page_size, AT_ONCE)
        rows = self._store.conflicts.list_conflicts(*asked, page_size=size, after=before)
        following = rows[-1].sequence if len(rows) == size else 0
        actor = access.actor(principal)
        return self._store.conflicts.change(rows, order, (wanted, before), (count, following), by=actor, **options)

    def _check_order(self, order: ConflictOrder) -> None:
        _check_text("assignee", order.assignee)
        _check_text("comment", order.comment, required=order.action is not ConflictAction.ASSIGN)
        if (order.reason is None) == (order.action is ConflictAction.RESOLVE):
            raise InvalidArgument.field("reason", "goes with RESOLVE, which needs it", "NOT_ALLOWED")
        if order.assignee and order.action is not ConflictAction.ASSIGN:
            raise InvalidArgument.field("assignee", "goes with ASSIGN only", "NOT_ALLOWED")
        if order.decided_for and order.reason is not ConflictReason.DECIDED_FOR:
            raise InvalidArgument.field("decided_for", "goes with the reason DECIDED_FOR only", "NOT_ALLOWED")
        party = party_of(order)
        if party and not order.decided_for and party not in self._store.resources.contributors():
            raise NotFound(f"there is no contributor {party[:60]!r}", kind="Contributor", name=party)

    def _visible(self, principal: Principal, name: str) -> ConflictRow:
        """Return a conflict that the caller may know of. Raises NotFound."""
        row = self._store.conflicts.get(name)
        scope = _scope(principal, self._store.resources.registry())
        if scope is not None and not (
            {row.left, row.right} <= scope.visible and not scope.own.isdisjoint({row.left, row.right})
        ):
            raise no_conflict(name)
        return row

    def _told(self, principal: Principal, row: ConflictRow) -> Conflict:
        registry = self._store.resources.registry()
        conflict = _conflict(row, registry, principal)
        left, right = self._store.conflicts.entries_of(row.id)
        entries = self._store.entries.get_entries([*left, *right])

        def statements(ids: Sequence[int], contributor: str) -> tuple[ConflictStatement, ...]:
            # What others took back does not go out again.
            reads_all = access.reads_all_of(principal, contributor)
            chosen = [entries[i] for i in ids if i in entries]
            return tuple(_statement(e) for e in chosen if reads_all or e.state is EntryState.ACTIVE)

        parties = [
            msgspec.structs.replace(party, statements=statements(ids, party.contributor))
            for party, ids in ((conflict.left, left), (conflict.right, right))
        ]
        oversees = principal.role in access.OVERSEERS
        resolutions = tuple(
            r if oversees or (r.contributor == principal.contributor and not r.closes)
            else msgspec.structs.replace(r, actor="")
            for r in self._store.conflicts.resolutions_of(row)
            if oversees or r.closes or r.contributor == principal.contributor
        )  # fmt: skip
        return msgspec.structs.replace(
            conflict, left=parties[0], right=parties[1], why=_why(row, *parties), resolutions=resolutions
        )


def _scope(principal: Principal, registry: Registry) -> ConflictScope | None:
    """Return what the principal may know of; None: everything."""
    return None if principal.role in access.OVERSEERS else scope_of(principal, registry)


def scope_of(principal: Principal, registry: Registry) -> ConflictScope:
    """Return which conflicts its contributor may know of: of its own hash sets with those that it may list."""
    own = frozenset(name for name, s in registry.hash_sets.items() if s.contributor == principal.contributor)
    return ConflictScope(own, access.sight(principal, registry, access.DisclosureChannel.LIST).visible | own)


def _query(wanted: ConflictFilter, registry: Registry, principal: Principal) -> ConflictQuery:
    sets = registry.hash_sets

    def of(contributor: str) -> frozenset[str]:
        return frozenset(name for name, s in sets.items() if s.contributor == contributor)

    if wanted.other and not wanted.contributor:
        raise InvalidArgument.field("filter.other", "goes with filter.contributor only", "NOT_ALLOWED")
    there = (n for n, s in sets.items() if _contributor(registry, s.contributor)[0] == wanted.jurisdiction)
    parties = [frozenset({wanted.hash_set})] if wanted.hash_set else []
    of_set, _, entry = wanted.entry.rpartition("/")
    if wanted.contributor and not wanted.other:
        parties.append(of(wanted.contributor))
    # Whom an operator gave it to is told to nobody else, so nobody else finds it out by asking.
    if wanted.assignee and not _is_told_of(principal, wanted.assignee):
        parties.append(frozenset())
    return ConflictQuery(
        kinds=wanted.kinds,
        severities=wanted.severities,
        states=wanted.states,
        pair=(of(wanted.contributor), of(wanted.other)) if wanted.other else None,
        parties=tuple(parties),
        of_jurisdiction=frozenset(there) if wanted.jurisdiction else None,
        law=wanted.jurisdiction,
        assignee=wanted.assignee,
        since_revision=wanted.since_revision,
        entry=(of_set, int(entry)) if entry else None,
    )


def _conflict(row: ConflictRow, registry: Registry, principal: Principal) -> Conflict:
    left, right = _party(row.left, row.left_count, registry), _party(row.right, row.right_count, registry)
    return Conflict(
        name=row.name,
        kind=row.kind,
        dimension=row.dimension,
        severity=lowered(row.gravity, left.reliability, right.reliability),
        state=row.state,
        left=left,
        right=right,
        assignee=row.assignee if _is_told_of(principal, row.assignee) else "",
        open_time=row.open_time,
        update_time=row.update_time,
        revision=row.revision,
        ended_by=row.ended_by,
        ended_side=("", row.left, row.right)[row.ended_side],
        etag=etag_of(row, is_whole=principal.role in access.OVERSEERS),
    )


def _is_told_of(principal: Principal, assignee: str) -> bool:
    """Whether the principal is told that a conflict was given to this one."""
    return principal.role in access.OVERSEERS or assignee == f"contributors/{principal.contributor}"


def _party(hash_set: str, count: int, registry: Registry) -> ConflictParty:
    known = registry.hash_sets[hash_set]
    jurisdiction, reliability = _contributor(registry, known.contributor)
    return ConflictParty(
        hash_set=hash_set,
        contributor=known.contributor,
        jurisdiction=jurisdiction,
        reliability=reliability,
        purpose=known.purpose,
        entry_count=count,
    )


def _statement(entry: Entry) -> ConflictStatement:
    c = entry.classification
    return ConflictStatement(
        entry=entry.name,
        state=entry.state,
        scheme=f"{c.scheme}@{c.version}" if c else "",
        value=c.value if c else "",
        dimensions=c.dimensions if c else {},
        flags=entry.flags,
        digests=tuple(sorted(exact_digests(entry.hashes), key=strength)),
        create_revision=entry.create_revision,
        update_revision=entry.update_revision,
    )


def _why(row: ConflictRow, left: ConflictParty, right: ConflictParty) -> str:
    """Return in a sentence why both cannot hold, from what may be shown of the statements."""
    if row.kind is ConflictKind.CONTRADICTORY_DIGESTS:
        return (
            f"{row.left} and {row.right} share an exact digest of the item and bind different {row.dimension} digests "
            "to it: one file has one of each"
        )
    sides = [f"{p.hash_set} states {_stated(p, row.dimension)}" for p in (left, right)]
    if row.kind is ConflictKind.BENIGN_AGAINST_HARMFUL:
        return f"{sides[0]}; {sides[1]}: one claims harm and the other excludes it"
    return f"{sides[0]}; {sides[1]}: {row.dimension} cannot be both"


def _stated(party: ConflictParty, dimension: str) -> str:
    """Return what a party's statements say in a dimension."""
    name, _, jurisdiction = dimension.partition(":")
    texts: list[str] = []
    for statement in party.statements:
        values = [v for v in statement.dimensions.get(name, ()) if v.startswith(jurisdiction)]
        if values:
            texts.append(f"{words(name, values)} ({statement.scheme} {statement.value})")
        elif (flag := getattr(statement.flags, name, None)) is not None:
            texts.append(f"{'yes' if flag else 'no'} (flag)")
    if not texts or party.purpose is Purpose.BENIGN:
        texts.append(f"that it is listed in a set of purpose {party.purpose}")
    return " and ".join(dict.fromkeys(texts[:_TEXTS]))


def _contributor(registry: Registry, contributor: str) -> tuple[str, Reliability]:
    """Return a contributor's jurisdiction and reliability; of one that is not known nothing can be judged."""
    known = registry.contributors.get(contributor)
    return (known.jurisdiction, known.reliability) if known is not None else ("", Reliability.F)


def _severity_reductions(registry: Registry) -> dict[str, int]:
    return {
        name: severity_reduction(_contributor(registry, s.contributor)[1]) for name, s in registry.hash_sets.items()
    }


def _check_text(field: str, text: str, *, required: bool = False) -> None:
    if required and not text.strip():
        raise InvalidArgument.field(field, "must say why", "REQUIRED")
    if len(text) > MAX_TEXT:
        raise InvalidArgument.field(field, f"must be at most {MAX_TEXT} characters, got {len(text)}", "TOO_LONG")
