"""Undoes what one token wrote: what an insider or a stolen token did, in one go, the newest first. Tokens that it made
since then count as its own, and those that they made: they are ended first.

Each event is undone by writes of its own that say which one they undo: running it again goes on where it was cut off,
and nothing is undone twice. What somebody else has changed since stays as it is, and is told. What somebody writes
between a look and the write that follows it is noticed by that write (store.event_effects.RevertRun).
"""

from __future__ import annotations

import math
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
import numpy as np

from hashhub.hygiene import Code
from hashhub.model import EntryState, Event, EventKind, Retention, RevertedEvent, Review, ReviewKind, now
from hashhub.store import IdSet, Origin, StaleEntries, TransitionCommand
from hashhub.trust.statement import set_aside

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from hashhub.model import Actor
    from hashhub.store import EventEffect, Store
    from hashhub.store.conflicts import Preview

REASON: Final = "REVERT"
_PIECE: Final = 50_000  # entries moved in one transaction
_WITHDRAWALS: Final = frozenset({EventKind.ENTRIES_WITHDRAWN, EventKind.WITHDRAWAL_ASKED})
_OF_ENTRIES: Final = _WITHDRAWALS | {
    EventKind.ENTRIES_EXPIRED,
    EventKind.ENTRIES_QUARANTINED,
    EventKind.ENTRIES_RELEASED,
    EventKind.ENTRIES_RESTORED,
    EventKind.IMPORT_COMMITTED,
}
_PUT_BACK: Final = frozenset(
    {
        EventKind.CONTRIBUTOR_UPDATED,
        EventKind.CONTRIBUTOR_RETIRED,
        EventKind.OBJECTIONS_ACCEPTED,
        EventKind.SIGNING_KEY_ADDED,
        EventKind.SIGNING_KEY_REVOKED,
        EventKind.SCHEME_SIGNED_OFF,
        EventKind.SCHEME_RETIRED,
        EventKind.GROUP_UPDATED,
        EventKind.GROUP_DELETED,
        EventKind.HASH_SET_UPDATED,
        EventKind.HASH_SET_ACCEPTED,
        EventKind.TERMS_CHANGED,
        EventKind.TOKEN_UPDATED,
        EventKind.WEBHOOK_UPDATED,
        EventKind.POLICY_RETIRED,
    }
)
_OF_CONFLICTS: Final = {EventKind.CONFLICT_ASSIGNED, EventKind.CONFLICT_RESOLVED, EventKind.CONFLICT_REOPENED}
_ENDED: Final = {
    EventKind.CONTRIBUTOR_CREATED: "the contributor is retired",
    EventKind.GROUP_CREATED: "the group admits nobody any more",
    EventKind.POLICY_PUT: "the version is retired",
}
_ENDS: Final = {*_PUT_BACK, *_OF_CONFLICTS, *_ENDED, EventKind.RETENTION_CHANGED, EventKind.SCHEME_PUT}
"""Undone by a single write."""
_FINAL: Final = {
    EventKind.ENTRY_ERASED: "what was erased cannot be brought back; have the item contributed again",
    EventKind.EVENT_REDACTED: "what was erased cannot be brought back",
    EventKind.ENTRIES_EXPORTED: "what has left the hub cannot be called back; tell whoever has the file",
    EventKind.TOKEN_DELETED: "the secret of a deleted token is gone; create another token",
    EventKind.TOKEN_ROTATED: "secrets cannot be brought back; rotate the token again, or delete it, and revert what it "
    "wrote since",
    EventKind.CONFLICT_COMMENTED: "a party's view decides nothing, and stays on record",
    EventKind.WEBHOOK_ROTATED: "secrets cannot be brought back; rotate the webhook's secret again, or delete it",
    EventKind.WEBHOOK_DELETED: "the secret of a deleted webhook is gone; register another one",
    EventKind.HISTORY_MENDED: "that the history was mended stays on record",
    EventKind.LOG_BEGUN: "that a new log was begun stays on record",
    EventKind.ACTOR_REVERTED: "what it undid is listed event by event",
    EventKind.APPROVAL_ASKED: "a call that waits for a second person does nothing; it waits until the token ends, or "
    "for seven days",
    EventKind.APPROVAL_GIVEN: "what was agreed to is an event of its own",
}
_SIDES: Final = ("before", "after")  # of what an event changed, as it is on record
_DONE: Final = "it was undone before"
_MOVED: Final = "it was moved since"
_ACTIVE, _QUARANTINED, _WITHDRAWN = 1, 2, 3  # codes of states
_NO_IDS: Final = np.empty(0, np.int64)


class _PriorRevert(NamedTuple):
    """An event that closed an earlier run: its revision, since when (ms) that undid, and what which token had done."""

    revision: int
    since: int
    token: str


class Revert:
    """One run, or with `dry` its preview, which keeps account of what the undoing of newer events would have done."""

    def __init__(self, store: Store, by: Actor, *, dry: bool) -> None:
        self._store = store
        self._by = by
        self._dry = dry
        self._run = store.event_effects.begin(dry=dry)
        self._undoes = 0  # the revision of the event that is looked at
        self._since = 0  # in ms
        self._actors: dict[str, None] = {}  # the token, and those that it made since, of which it is the first
        self._ours: list[int] = []
        self._undone: dict[int, list[EventEffect]] = {}  # by revision what undid it
        self._done = _NO_IDS  # entries for which the event that is looked at was undone before
        self._moved: dict[int, int] = {}  # in a preview: entry id to the code of the state that it would be in
        self._contents: dict[str, dict[str, Any]] = {}  # in a preview: resources as they would be
        self._retentions: dict[str, Retention] = {}  # likewise
        self._conflicts: Preview | None = {} if dry else None  # likewise

    def undo(self, actor: str, since: datetime, *, withdrawals_only: bool, comment: str) -> list[RevertedEvent]:
        """Undo the events of the token, and of tokens that it made, since a time, and say what became of each."""
        self._since = _millis(since)
        self._actors[actor] = None
        self._made(since)
        self._learn()
        told = self._prior_reverts()
        outcomes: list[RevertedEvent] = []
        events = entries = 0
        for event in self._events(since):
            if withdrawals_only and event.kind not in _WITHDRAWALS:
                continue
            outcome, before = self._outcome(event, told)
            outcomes.append(outcome)
            events += outcome.reverted or bool(before)
            # One that was put into quarantine, or released, alone: its event has no number.
            alone = {EventKind.ENTRIES_QUARANTINED, EventKind.ENTRIES_RELEASED}
            entries += outcome.entry_count + sum(past.entries or past.kind in alone for past in before)
        if not self._dry and events:
            with self._run.undoing(0):
                self._store.event_effects.note(
                    EventKind.ACTOR_REVERTED,
                    subject=f"tokens/{actor}",
                    comment=comment,
                    facts={
                        "since": since.isoformat(),
                        "events": events,
                        "entries": entries,
                        **({"tokens": tuple(list(self._actors)[1:])} if len(self._actors) > 1 else {}),
                    },
                    by=self._by,
                )
        return outcomes

    def _outcome(self, event: Event, told: Sequence[_PriorRevert]) -> tuple[RevertedEvent, list[EventEffect]]:
        """Undo an event; return what became of it, and what earlier runs undid of it and could not tell."""
        tokens = {next(iter(self._actors)), event.actor.name}
        upto = max((n.revision for n in told if n.since <= _millis(event.time) and n.token in tokens), default=0)
        while True:
            self._learn()
            untold = [
                past
                for past in self._undone.get(event.revision, ())
                if past.revision > upto and not self._is_done(past.revision)
            ]
            self._done = self._done_of(event.revision)
            self._undoes = event.revision
            try:
                with self._run.undoing(event.revision):
                    return self._undo(event), untold
            except StaleEntries:  # its first write, or it would count less the second time: see `_move`
                continue

    def _learn(self) -> None:
        """Learn which revisions are the token's own or a revert's, and what these undid."""
        for past in self._run.learn(self._since):
            if past.actor in self._actors or past.reason == REASON:
                self._ours.append(past.revision)
            if past.undoes:
                self._undone.setdefault(past.undoes, []).append(past)

    def _prior_reverts(self) -> list[_PriorRevert]:
        """Return the events that closed earlier reverts of these tokens."""
        notes = self._read(subjects=[f"tokens/{actor}" for actor in self._actors], kinds=[EventKind.ACTOR_REVERTED])
        return [
            _PriorRevert(
                n.revision, _millis(datetime.fromisoformat(str(n.facts["since"]))), n.subject.removeprefix("tokens/")
            )
            for n in notes
        ]

    def _is_done(self, revision: int) -> bool:
        """Whether an event was undone before, and that was not undone itself."""
        return any(not self._is_done(past.revision) for past in self._undone.get(revision, ()))

    def _done_of(self, revision: int) -> NDArray[np.int64]:
        """Return the entries for which an event was undone before, without those for which that was undone itself."""
        done = _NO_IDS
        for past in self._undone.get(revision, ()):
            if past.kind is EventKind.ENTRIES_REVIEWED:
                continue
            changes = self._store.feeds.changes_at(past.revision)
            moved = np.concatenate([_NO_IDS, *(piece for _, ids in changes for piece in ids.pieces(_PIECE))])
            done = np.union1d(done, np.setdiff1d(moved, self._done_of(past.revision)))
        return done

    def _events(self, since: datetime) -> Iterator[Event]:
        """Yield what made tokens, for these are to end before all else, then the other events, the newest first."""
        ended: set[int] = set()
        while made := [e for e in self._made(since) if e.revision not in ended]:
            ended.update(e.revision for e in made)
            yield from made
        # Read as a whole first: undoing writes events, too.
        rest = [e for actor in self._actors for e in self._read(actor=actor, since=since)]
        yield from sorted((e for e in rest if e.kind is not EventKind.TOKEN_CREATED), key=lambda e: -e.revision)

    def _made(self, since: datetime) -> list[Event]:
        """Return by which events the tokens made others, and count these among them."""
        made: list[Event] = []
        rest = list(self._actors)
        while rest:
            made_by = self._read(actor=rest.pop(), since=since, kinds=[EventKind.TOKEN_CREATED])
            names = [e.subject.removeprefix("tokens/") for e in made_by]
            rest += [name for name in names if name not in self._actors]
            self._actors |= dict.fromkeys(names)
            made += made_by
        return sorted(made, key=lambda e: -e.revision)

    def _read(self, **chosen: Any) -> list[Event]:
        """Return all events that `Events.list_events` gives, the newest first."""
        events: list[Event] = []
        before = 0
        while page := self._store.history.list_events(before_revision=before, limit=1000, **chosen):
            events += page
            before = page[-1].revision
        return events

    def _undo(self, event: Event) -> RevertedEvent:
        count = 0
        collection, _, name = event.subject.partition("/")
        place = name.split("/")[:2]
        is_of_set = collection in {"hash-sets", "entries", "imports"} and len(place) == 2  # noqa: PLR2004 - a pair
        if is_of_set and self._store.deletions.is_deleted(*place):
            outcome, reverted = "its hash set was deleted, and cannot be brought back", False
        elif event.kind in _FINAL:
            outcome, reverted = _FINAL[event.kind], False
        elif event.kind in _ENDS and self._is_done(event.revision):
            outcome, reverted = _DONE, False
        elif event.kind in _PUT_BACK:
            outcome, reverted = self._put_back(event)
        elif event.kind in _OF_ENTRIES:
            outcome, reverted, count = self._moves(event)
        elif event.kind in _OF_CONFLICTS:
            outcome, reverted = self._store.conflicts.undo(event, by=self._by, reason=REASON, preview=self._conflicts)
        elif event.kind in _ENDED:
            fields: dict[str, Any] = (
                {"members": []} if event.kind is EventKind.GROUP_CREATED else {"retire_time": _text(now())}
            )
            outcome, reverted = self._put_back(event, fields, _ENDED[event.kind])
        else:
            undo = {
                EventKind.ENTRIES_REVIEWED: self._reviews,
                EventKind.SCHEME_PUT: self._scheme,
                EventKind.TOKEN_CREATED: self._token,
                EventKind.WEBHOOK_CREATED: self._webhook,
                EventKind.HASH_SET_DELETION_ASKED: self._deletion_request,
                EventKind.RETENTION_CHANGED: self._retention,
                EventKind.HASH_SET_CREATED: self._hash_set,
            }.get(event.kind, lambda _: ("an event of this kind cannot be undone", False))
            outcome, reverted = undo(event)
        return RevertedEvent(event=event, outcome=outcome, reverted=reverted, entry_count=count)

    # Entries

    def _moves(self, event: Event) -> tuple[str, bool, int]:
        """Undo what an event did to entries by the inverse of each of its changes."""
        changes: dict[str, list[IdSet]] = {}
        for kind, ids in self._store.feeds.changes_at(event.revision):
            changes.setdefault(kind, []).append(ids)
        standing, gone = changes.get("UPSERT", []), changes.get("WITHDRAW", [])
        # What was done to one entry that was named is undone likewise.
        is_single = event.subject.startswith("entries/")
        command = TransitionCommand(self._by, reason=REASON, is_single=is_single)
        transitions = self._store.transitions
        aside = 0
        match event.kind:
            case EventKind.WITHDRAWAL_ASKED:
                return self._requests(event)
            case _ if event.facts.get("before") == "erasure":
                return _FINAL[EventKind.ENTRY_ERASED], False, 0
            case EventKind.ENTRIES_RESTORED if not changes:
                return "a request for a withdrawal was taken back; make it again if it was right", False, 0
            case EventKind.ENTRIES_QUARANTINED if not changes:
                return "it waited in quarantine before; look at it and release it", False, 0
            case EventKind.ENTRIES_RESTORED:
                standing += changes.get("REVIEWED", [])
                done = self._withdraw(standing, Code.WITHDRAWN_BY_OPERATOR, Origin.OPERATOR)
                return self._said("withdrawn again, for an operator to restore", *done)
            case EventKind.ENTRIES_QUARANTINED:
                done = self._move(gone, [_QUARANTINED], _ACTIVE, lambda ids: transitions.release(ids, command).changed)
                if is_single:
                    return ("released", True, 1) if done[0] else (_MOVED, False, 0)
                return self._said("released", *done)
            case EventKind.ENTRIES_WITHDRAWN | EventKind.ENTRIES_EXPIRED:
                return self._said("restored", *self._restore(gone))
            case EventKind.ENTRIES_RELEASED:
                count, left = self._move(
                    standing, [_ACTIVE], _QUARANTINED, lambda ids: transitions.quarantine(ids, command).changed
                )
                # Where somebody else moved what was released, what it had replaced stays as it is, too.
                restored, also_left = self._restore(gone) if count or not left else (0, 0)
                more = "; {} that it had replaced restored" if is_single else ", {} that they had replaced restored"
                what = "in quarantine again" + (more.format(restored) if restored else "")
                if is_single and not count and not restored:
                    return _MOVED, False, 0
            case _:  # an import
                count, left = self._withdraw(standing, Code.REVERTED, None)
                restored, also_left = self._restore(gone)
                aside = sum(self._set_aside(r) for r in self._store.event_effects.reviews_at(event.revision))
                what = f"withdrawn, {restored} that it had ended restored"
                what += f", {aside} reviews set aside" if aside else ""
        outcome, reverted, _ = self._said(what, count, left + also_left, or_else=restored + aside)
        return outcome, reverted, count + restored

    def _requests(self, event: Event) -> tuple[str, bool, int]:
        asked = self._store.withdrawal_requests.made_at(event.revision)
        waiting = [i for i in asked if self._moved.get(i) != _WITHDRAWN]
        is_single = event.subject.startswith("entries/")
        if not waiting:
            return f"the {'request does' if is_single else 'requests do'} not stand any more", False, 0
        if not self._dry:
            with self._run.undoing(event.revision, waiting):  # at most store.entry_transitions.MOST
                self._store.transitions.restore(waiting, TransitionCommand(self._by, reason=REASON))
        counted = "" if is_single else f"{_entries(len(waiting))}: "
        return f"{counted}the request is taken back", True, len(waiting)

    def _restore(self, sets: Iterable[IdSet]) -> tuple[int, int]:
        command = TransitionCommand(self._by, reason=REASON)
        return self._move(
            sets, [_WITHDRAWN], _ACTIVE, lambda ids: self._store.transitions.restore(ids, command).changed
        )

    def _withdraw(self, sets: Iterable[IdSet], code: str, origin: Origin | None) -> tuple[int, int]:
        def withdraw(ids: list[int]) -> int:
            [entry] = self._store.entries.get_entries(ids[:1]).values()
            subject = f"hash-sets/{entry.contributor}/{entry.hash_set}"
            self._store.transitions.withdraw(ids, code, by=self._by, subject=subject, reason=REASON, origin=origin)
            return len(ids)

        return self._move(sets, [_ACTIVE, _QUARANTINED], _WITHDRAWN, withdraw)

    def _move(
        self, sets: Iterable[IdSet], states: Sequence[int], to: int, write: Callable[[list[int]], int]
    ) -> tuple[int, int]:
        """Move those in one of the states that nobody has moved since, by `write`, which returns how many it moved;
        return how many, and how many stay as they are. What somebody moves meanwhile is looked at again.
        """
        done = left = 0
        for chosen, others in self._standing(sets, states):
            left += others
            if self._dry:
                self._moved.update(dict.fromkeys(chosen, to))
                done += len(chosen)
            elif chosen:
                try:
                    with self._run.undoing(self._undoes, chosen):
                        moved = write(chosen)
                    done += moved
                    left += len(chosen) - moved
                except StaleEntries:
                    self._learn()
                    also_done, also_left = self._move([IdSet.of(chosen)], states, to, write)
                    done += also_done
                    left += also_left
        return done, left

    def _standing(self, sets: Iterable[IdSet], states: Sequence[int]) -> Iterator[tuple[list[int], int]]:
        """Yield the entries in one of the states that nobody else moved, and how many others did, piece by piece."""
        for ids in sets:
            for ids_, now_in, revisions in self._store.event_effects.standings(ids):
                if self._moved:
                    now_in = np.array(  # noqa: PLW2901 - the preview's view of the same column
                        [self._moved.get(i, code) for i, code in zip(ids_.tolist(), now_in.tolist(), strict=True)],
                        np.int64,
                    )
                is_there = np.isin(now_in, states) & ~np.isin(ids_, self._done)
                is_ours = np.isin(revisions, self._ours)
                yield ids_[is_there & is_ours].tolist(), int((is_there & ~is_ours).sum())

    def _said(self, what: str, count: int, left: int, *, or_else: int = 0) -> tuple[str, bool, int]:
        if not count and not or_else:
            if not left:
                return "nothing of it stands any more", False, 0
            return f"{_entries(left)} changed by others since", False, 0
        rest = f"; {_entries(left)} changed by others since, or replaced, and left as before" if left else ""
        return f"{_entries(count)} {what}{rest}", True, count

    # Reviews and resources

    def _reviews(self, event: Event) -> tuple[str, bool]:
        count = sum(map(self._set_aside, self._store.event_effects.reviews_at(event.revision)))
        return ("the review is set aside", True) if count else ("the review was set aside before", False)

    def _set_aside(self, review: Review) -> bool:
        """Set a review aside unless one that weighs does so already; return whether it was done."""
        about = self._store.entries.reviews_of([review.entry_id]).get(review.entry_id, [])
        if review.id in set_aside(about):
            return False
        if not self._dry:
            made = Review(
                id=0,
                entry_id=review.entry_id,
                author=self._by.contributor,
                kind=ReviewKind.SET_ASIDE,
                comment=f"revert of revision {review.revision}",
                actor=self._by.name,
                role=self._by.role,
                sets_aside=review.id,
            )
            self._store.entries.add_review(made, by=self._by)
        return True

    def _put_back(
        self, event: Event, fields: dict[str, Any] | None = None, outcome: str = "what stood before is put back"
    ) -> tuple[str, bool]:
        """Put a resource back as it was; one that was made, and cannot be deleted, gets `fields` instead."""
        undo = self._store.history.undo_of(event.revision) or {}
        before, after = (None if (text := undo.get(at)) is None else msgspec.json.decode(text) for at in _SIDES)
        if fields is not None and after is not None:
            before = after | fields
        if before is None:
            return f"what {'stood before' if fields is None else 'it was made as'} is not on record any more", False
        why = self._replace(event, after, before)
        return (f"left as it is: {why}", False) if why else (outcome, True)

    def _replace(self, event: Event, after: dict[str, Any] | None, before: dict[str, Any]) -> str:
        if self._dry:
            held = self._contents.get(event.subject)
            if held is not None and after is not None:  # a newer event of this run would have put something back
                fields = {f for f in {*before, *after} if before.get(f) != after.get(f)}
                changed = sorted(f for f in fields if held.get(f) != after.get(f))
                if changed:
                    return f"{', '.join(changed)} was changed since"
                self._contents[event.subject] = {**held, **{f: before.get(f) for f in fields}}
                return ""
            self._contents[event.subject] = before
        kind = {
            EventKind.CONTRIBUTOR_CREATED: EventKind.CONTRIBUTOR_RETIRED,
            EventKind.SCHEME_PUT: EventKind.SCHEME_RETIRED,
            EventKind.GROUP_CREATED: EventKind.GROUP_UPDATED,
            EventKind.GROUP_DELETED: EventKind.GROUP_CREATED,
            EventKind.POLICY_PUT: EventKind.POLICY_RETIRED,
            EventKind.POLICY_RETIRED: EventKind.POLICY_PUT,
        }.get(event.kind, event.kind)
        return self._store.event_effects.put_back(event.subject, after, before, kind=kind, by=self._by, dry=self._dry)

    def _scheme(self, event: Event) -> tuple[str, bool]:
        """Retire a version that was put. Hash sets that have it go on, and are named."""
        outcome, reverted = self._put_back(event, {"retire_time": _text(now())}, "the version is retired")
        name = event.subject.removeprefix("schemes/")
        users = sorted(x.name for x in self._store.resources.hash_sets().values() if x.scheme == name)
        if users:
            shown = ", ".join(users[:3]) + (f" and {len(users) - 3} more" if len(users) > 3 else "")  # noqa: PLR2004
            outcome += f"; {shown} still {'has' if len(users) == 1 else 'have'} it: look at what is imported there"
        return outcome, reverted

    def _token(self, event: Event) -> tuple[str, bool]:
        name = event.subject.removeprefix("tokens/")
        if all(token.name != name for token in self._store.tokens.list_tokens()):
            return "the token was deleted before", False
        if not self._dry:
            self._store.tokens.delete_token(name, by=self._by)
        return "the token is deleted", True

    def _webhook(self, event: Event) -> tuple[str, bool]:
        contributor, _, webhook = event.subject.removeprefix("webhooks/").partition("/")
        known = {w.name: w for w in self._store.webhooks.list_webhooks(contributor)}.get(f"{contributor}/{webhook}")
        if known is None or known.create_revision != event.revision:
            return "the webhook was deleted before", False
        if not self._dry:
            self._store.webhooks.delete_webhook(contributor, webhook, by=self._by)
        return "the webhook is deleted", True

    def _deletion_request(self, event: Event) -> tuple[str, bool]:
        """Take a request for a deletion back, to which whoever asks next would agree without meaning to."""
        contributor, _, hash_set = event.subject.removeprefix("hash-sets/").partition("/")
        asker = event.actor.name

        def take_back(before: Retention) -> Retention:
            if before.asked_by != asker:
                return before
            return msgspec.structs.replace(before, asked_by="", ask_time=None)

        if self._store.retention.get(contributor, hash_set).asked_by != asker:
            return "the request does not stand any more", False
        if not self._dry:
            self._store.retention.update(contributor, hash_set, take_back, comment="", by=self._by, reason=REASON)
        return "the request is taken back", True

    def _retention(self, event: Event) -> tuple[str, bool]:
        """Keep entries for as long as before, and hold them or not as before."""
        undo = self._store.history.undo_of(event.revision)
        if undo is None:
            return "how long entries were kept before is not on record", False
        before, after = (msgspec.json.decode(undo[at], type=Retention) for at in _SIDES)
        fields = [name for name in ("days", "hold") if getattr(before, name) != getattr(after, name)]
        if not fields:
            return "a request for a deletion was taken back; make it again if it was right", False
        contributor, _, hash_set = event.subject.removeprefix("hash-sets/").partition("/")
        changed: list[str] = []

        def put_back(current: Retention) -> Retention:
            changed[:] = [name for name in fields if getattr(current, name) != getattr(after, name)]
            if changed:
                return current
            return msgspec.structs.replace(current, **{name: getattr(before, name) for name in fields})

        if self._dry:
            current = self._retentions.get(event.subject) or self._store.retention.get(contributor, hash_set)
            self._retentions[event.subject] = put_back(current)
        else:
            self._store.retention.update(contributor, hash_set, put_back, comment="", by=self._by, reason=REASON)
        if changed:
            return f"left as it is: {', '.join(changed)} was changed since", False
        kept_before = math.inf if before.hold or not before.days else before.days
        has_expired = 0 < after.days < kept_before and not after.hold
        rest = "; entries that expired meanwhile stay withdrawn: restore those that should stand" if has_expired else ""
        return f"what stood before is put back{rest}", True

    def _hash_set(self, event: Event) -> tuple[str, bool]:
        contributor, _, hash_set = event.subject.removeprefix("hash-sets/").partition("/")
        ids = self._store.entries.active_ids(contributor, hash_set, states=(EntryState.ACTIVE, EntryState.QUARANTINED))
        standing = sum(1 for i in ids.tolist() if self._moved.get(i) != _WITHDRAWN)
        if standing:
            return f"{_entries(standing)} of others' imports in it; withdraw them, or change its terms", False
        return "nothing stands in it any more", True


def _millis(time: datetime) -> int:
    return round(time.timestamp() * 1000)


def _entries(count: int) -> str:
    return f"{count} {'entry' if count == 1 else 'entries'}"


def _text(time: datetime) -> str:
    return time.isoformat().replace("+00:00", "Z")
