"""Exports: entries on their way to a file that is handed on.

An export is of the revision at which it begins, without what is withdrawn, quarantined, erased or expired meanwhile;
the next export of changes goes on there. It is an event in the history of every hash set that it takes from, written
before the first entry leaves. The terms are asked again before each piece.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import msgspec
import pyroaring

from hashhub import cancellation, trust
from hashhub.errors import FailedPrecondition, InvalidArgument, NotFound, PermissionDenied, Reason
from hashhub.hashes import SEARCHED, VPDQ
from hashhub.hub import access
from hashhub.hub.access import as_withdrawn, disclosed
from hashhub.hub.exchange import changed_ids
from hashhub.model import (
    MAX_TEXT,
    ChangeKind,
    Entry,
    EntryState,
    HashSet,
    Principal,
    Purpose,
    RecordReview,
    ReviewKind,
    Role,
    Verdict,
    now,
)
from hashhub.store import IdSet
from hashhub.trust import HitPath, Statement

if TYPE_CHECKING:
    from hashhub.hub.exchange import Changes
    from hashhub.hub.schemes import Catalogue
    from hashhub.store import Store
    from hashhub.trust import Policy

_PIECE: Final = 2_000  # entries read, and sent, at a time
_FRAMES: Final = 40_000  # of videos in one piece: clients of other languages refuse messages of more than 4 MiB
_FRAMES_A_REVIEW: Final = 20  # that take as much room
_OUTSIDER: Final = Principal(name="", role=Role.CONSUMER)
_SHOWN: Final = 5  # names in a message
_REMEMBERED: Final = 10_000  # judgements: entries of a list differ in little of what a policy looks at


class ExportSelection(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries: exactly one of `hash_sets` (`CONTRIBUTOR/SET`), `policy` and `position`."""

    hash_sets: tuple[str, ...] = ()
    policy: str = ""
    position: str = ""


class StartedExport(msgspec.Struct, frozen=True, kw_only=True):
    """An export that has begun. `left_out`: hash sets of which nothing may leave, each with its number of active
    entries. `entry_count`: the most that follow. `pieces` yields them, for a function that returns the caller as it is
    now.
    """

    revision: int
    hash_sets: tuple[HashSet, ...]
    left_out: tuple[tuple[str, int], ...]
    position: str
    entry_count: int
    is_delta: bool
    pieces: Callable[[Callable[[], Principal]], Iterator[list[Entry]]]


class Exports:
    """Begins exports."""

    def __init__(self, store: Store, changes: Changes, catalogue: Catalogue) -> None:
        self._store = store
        self._changes = changes
        self._catalogue = catalogue

    def begin(
        self, principal: Principal, selection: ExportSelection, *, file_format: str = "", recipient: str = ""
    ) -> StartedExport:
        """Begin an export: (1) what of the selection may leave, (2) which entries those are, (3) the events that say
        so; (4) the entries follow with `pieces`. `recipient`: `contributors/ID`, whose terms then count, too, or
        anybody else.

        Raises PermissionDenied where the terms let nothing leave; InvalidArgument for a selection that cannot be read;
        NotFound for a hash set that the caller may not see, or a recipient; FailedPrecondition for a retired one, or a
        position of another history.
        """
        access.allow(principal, *(role for role in Role if role is not Role.PEER))
        for field, text in (("format", file_format), ("recipient", recipient)):
            if len(text) > MAX_TEXT:
                raise InvalidArgument.field(field, f"must be at most {MAX_TEXT} characters", "TOO_LONG")
        policy = self._check(selection)
        member = self._member(recipient)
        since, wanted = self._wanted(principal, selection, policy)
        here = self._store.history.position()
        may = _may_leave(self._store, principal, wanted, member)  # (1)
        allowed, left_out = {n: s for n, s in wanted.items() if n in may}, [n for n in wanted if n not in may]
        if left_out and not allowed:
            names = ", ".join(left_out[:_SHOWN]) + (" and others" if len(left_out) > _SHOWN else "")
            whom = "say whom the file is for (contributors/ID for one of this hub), " if not recipient else ""
            raise PermissionDenied(
                f"the terms of {names} let nothing leave by this token for {recipient or 'somebody outside'}; {whom}"
                "have it exported by its contributor's own token, or ask for other terms",
                reason=Reason.EXPORT_NOT_ALLOWED,
            )
        ids = self._ids(allowed, here.revision, since)  # (2)
        position = self._changes.position_at(principal, here, allowed) if policy is None else ""
        facts: dict[str, str | int | tuple[str, ...]] = {"format": file_format, "revision": here.revision}
        facts |= {"recipient": recipient} if member else {}
        facts |= {"policy": selection.policy} if selection.policy else {}
        facts |= {"since_revision": since[0]} if since is not None else {}
        self._store.history.note_export(  # (3)
            {f"hash-sets/{name}": {**facts, "entries": len(ids[name])} for name in allowed},
            by=access.actor(principal),
            details={} if member else {"recipient": recipient},
        )
        taken = _ExportedEntries(self._store, allowed, ids, here.revision, since, policy, member)
        return StartedExport(
            revision=here.revision,
            hash_sets=tuple(allowed.values()),
            left_out=tuple((name, self._store.entries.entry_count(*name.partition("/")[::2])) for name in left_out),
            position=position,
            entry_count=sum(map(len, ids.values())),
            is_delta=since is not None,
            pieces=taken.pieces,
        )

    def _check(self, selection: ExportSelection) -> Policy | None:
        """Return the selection's policy, if it has one."""
        given = sum(map(bool, (selection.hash_sets, selection.policy, selection.position)))
        if given != 1:
            raise InvalidArgument.field(
                "hash_sets",
                "give exactly one of hash_sets, policy and position: they choose the entries",
                "CONTRADICTION" if given else "REQUIRED",
            )
        if len(set(selection.hash_sets)) < len(selection.hash_sets):
            raise InvalidArgument.field("hash_sets", "name each hash set once", "DUPLICATE")
        if not selection.policy:
            return None
        return self._catalogue.now().policies.get(selection.policy, "policy")

    def _member(self, recipient: str) -> str:
        """Return the contributor that the file is for, or nothing for somebody outside."""
        collection, _, name = recipient.partition("/")
        if collection != "contributors":
            return ""
        contributor = self._store.resources.contributors().get(name)
        if contributor is None:
            raise NotFound(
                f"there is no contributor {name[:80]!r} that the file could be for; name somebody outside in words",
                kind="Contributor",
                name=name[:80],
            )
        if contributor.retire_time is not None:
            raise FailedPrecondition(f"contributor {name} is retired; nothing is handed to it any more")
        return name

    def _wanted(
        self, principal: Principal, selection: ExportSelection, policy: Policy | None
    ) -> tuple[tuple[int, int] | None, dict[str, HashSet]]:
        """Return since which change, if only changes are wanted, and the hash sets that the caller may see."""
        sets = self._store.resources.registry().hash_sets
        # Those that the caller may be told of.
        seen = access.sight(principal, self._store.resources.registry(), access.DisclosureChannel.LIST).visible
        if selection.position:
            since, names = self._changes.opened(principal, selection.position)
            return since, {name: sets[name] for name in sorted(names) if name in seen}
        if policy is not None:
            purposes = {Purpose.CSAM, Purpose.EXPLOITATIVE}
            if policy.test is Verdict.MATCH:
                purposes.add(Purpose.TEST)
            return None, {name: s for name, s in sorted(sets.items()) if name in seen and s.purpose in purposes}
        for name in selection.hash_sets:
            if name not in seen:
                raise NotFound(
                    f"there is no hash set {name[:130]!r} that this token may see; `hashhub hash-set list` shows them",
                    kind="HashSet",
                    name=name[:130],
                )
        return None, {name: sets[name] for name in selection.hash_sets}

    def _ids(
        self, names: Collection[str], revision: int, since: tuple[int, int] | None
    ) -> dict[str, pyroaring.BitMap64]:
        """Return by hash set the entries that stand or were withdrawn since `revision`; of changes, all changed."""
        if since is not None:
            return changed_ids(self._store, names, since)
        standing = {name: pyroaring.BitMap64() for name in names}
        for name, own in standing.items():
            contributor, hash_set = name.split("/")
            for piece in self._store.entries.active_pages(contributor, hash_set):
                cancellation.check()
                own |= pyroaring.BitMap64(piece.tolist())  # noqa: PLW2901 - adds to it
        withdrawn = changed_ids(self._store, names, (revision + 1, 0), kind=ChangeKind.WITHDRAW)
        return {name: own | withdrawn[name] for name, own in standing.items()}


def _may_leave(store: Store, principal: Principal, wanted: Mapping[str, HashSet], member: str) -> frozenset[str]:
    """Return which of the hash sets the terms let leave now, by this caller and for this recipient."""
    registry, at = store.resources.registry(), now()
    receivers: tuple[Principal, ...] = ()
    if member:
        tokens = [t for t in store.tokens.list_tokens() if t.contributor == member]
        receivers = tuple(t for t in tokens if t.expire_time is None or t.expire_time > at)
    return frozenset(
        name
        for name in wanted
        if (current := registry.hash_sets.get(name)) is not None
        and access.may_export(principal, current, registry.groups, at, member=member, receivers=receivers)
    )


@dataclasses.dataclass
class _ExportedEntries:
    """The entries of one export."""

    store: Store
    hash_sets: Mapping[str, HashSet]
    ids: Mapping[str, pyroaring.BitMap64]
    revision: int
    since: tuple[int, int] | None
    policy: Policy | None
    member: str
    judged: dict[tuple[object, ...], bool] = dataclasses.field(default_factory=dict)

    def pieces(self, caller: Callable[[], Principal]) -> Iterator[list[Entry]]:
        """Yield the entries by hash set and id. Raises PermissionDenied once the terms do not allow it any more."""
        for name, hash_set in self.hash_sets.items():
            ids = self.ids[name]
            if not len(ids):
                continue
            for piece in IdSet.of(ids).pieces(_PIECE):
                cancellation.check()
                if name not in _may_leave(self.store, caller(), {name: hash_set}, self.member):
                    raise PermissionDenied(
                        f"the terms of {name} changed meanwhile: nothing more of it leaves; discard what was written, "
                        "and export again",
                        reason=Reason.EXPORT_NOT_ALLOWED,
                    )
                entries = self._stated(piece.tolist())
                if entries and self.policy is not None:
                    entries = self._matching(self.policy, hash_set, entries)
                yield from self._told(entries)

    def _told(self, entries: Sequence[Entry]) -> Iterator[list[Entry]]:
        """Yield the entries as they leave, with the frames of videos: no more of these at a time than a message may."""
        piece: list[Entry] = []
        framed = 0
        said = self._reviews(e.id for e in entries if e.state is EntryState.ACTIVE)
        for e in entries:
            reviews = said.get(e.id, ())
            weight = e.frame_count + _FRAMES_A_REVIEW * len(reviews)
            if framed + weight > _FRAMES and framed:
                yield piece
                piece, framed = [], 0
            framed += weight
            told = msgspec.structs.replace(self.store.entries.with_frames(e), reviews=reviews)
            piece.append(disclosed(_OUTSIDER, told))
        if piece:
            yield piece

    def _reviews(self, ids: Iterable[int]) -> dict[int, tuple[RecordReview, ...]]:
        """Return what is said of entries and weighs here: of each author the last word of each kind, in their order."""
        people = self.store.resources.contributors()
        told: dict[int, tuple[RecordReview, ...]] = {}
        for entry, reviews in self.store.entries.reviews_of(ids).items():
            last: dict[tuple[str, ReviewKind], RecordReview] = {}
            for r in reviews:
                author = people.get(r.author.partition("/")[0])
                waits = r.awaits_acceptance and (author is None or r.revision > author.objections_accepted_revision)
                if r.kind is not ReviewKind.SET_ASIDE and not waits:
                    last.pop((r.author, r.kind), None)
                    last[r.author, r.kind] = RecordReview(r.kind, r.author, r.comment)
            told[entry] = tuple(last.values())
        return told

    def _stated(self, ids: Sequence[int]) -> list[Entry]:
        """Return of the entries those that the export has, as it has them."""
        at = now()
        if self.since is None:
            entries = self.store.entries.entries_at(ids, self.revision)
            return [e for e in entries if e.expire_time is None or e.expire_time > at]
        stated = []
        for e in self.store.entries.get_entries(ids).values():
            if e.state is EntryState.ACTIVE and (e.expire_time is None or e.expire_time > at):
                stated.append(e)
            elif e.create_revision < self.since[0]:  # others were never in an earlier export
                stated.append(as_withdrawn(e))
        return stated

    def _matching(self, policy: Policy, hash_set: HashSet, entries: Sequence[Entry]) -> list[Entry]:
        """Return the entries that satisfy the policy each by itself, with what others state about it."""
        people = self.store.resources.contributors()
        contributor = people[hash_set.contributor]
        reviews = self.store.entries.reviews_of(e.id for e in entries)
        stated = self.store.entries.stated_times(entries) if policy.reads_statement_times else {}
        matching = []
        for e in entries:
            said, classification = tuple(reviews.get(e.id, ())), e.classification
            key: tuple[object, ...] | None = None
            if not said:
                value = (classification.scheme, classification.version, classification.value) if classification else ()
                algorithms_of = (*(h.algorithm for h in e.hashes), bool(e.frame_count))
                key = (hash_set.name, value, e.reasons, algorithms_of, stated.get(e.id))
            is_match = None if key is None else self.judged.get(key)
            if is_match is None:
                # The statement by itself, hit by its own digests, an exact one first if there is any.
                algorithms = dict.fromkeys([h.algorithm for h in e.hashes] + [VPDQ.name] * bool(e.frame_count))
                first, *rest = sorted(algorithms, key=lambda name: SEARCHED[name].is_perceptual)
                statement = Statement(
                    e,
                    contributor,
                    hash_set,
                    first,
                    0,
                    said,
                    also=tuple(HitPath(name, 0) for name in rest),
                    stated_time=stated.get(e.id),
                )
                is_match = trust.decide(policy, [statement], people, time=now()).verdict is Verdict.MATCH
                if key is not None:
                    if len(self.judged) >= _REMEMBERED:
                        self.judged.clear()
                    self.judged[key] = is_match
            if is_match:
                matching.append(e)
        return matching
