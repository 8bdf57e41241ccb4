"""Uploads that never pass the app: they land in a quarantine, are checked there, and what is allowed is published.

    quarantine/NAME ── taken ── held/checking/WORKER-…/NAME ── read, decided ─┬─ ALLOW ── public/NAME
     (app writes)                (only the worker writes)                     ├─ HOLD ─── held/hold/REFERENCE/NAME
                                       │                                      └─ BLOCK ── held/block/REFERENCE/NAME
                                       └─ no answer from the hub: stays, and is checked again

The place of an upload is its state: workers share the places, and a killed one resumes. What was read is published.
"""

from __future__ import annotations

import contextlib
import functools
import secrets
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import msgspec

from hashhub import structs
from hashhub.desk.decision import Action, Decision, DecisionRecord, NoAnswer
from hashhub.desk.records import Records, UploadState
from hashhub.errors import Conflict, HashHubError, InvalidArgument, LimitExceeded, NotFound, Unavailable, Violation
from hashhub.holders import end, has_ended, new_holder
from hashhub.hook.bucket_events import EventQueue, Notice
from hashhub.hook.places import PARTIAL, ObjectPlace, S3Place, StoredObject, is_folder, mark, place_of
from hashhub.hook.settings import is_inside
from hashhub.model import ReasonLine, now
from hashhub.scans.engine import UnreadableItem

if TYPE_CHECKING:
    from hashhub.hashes import Hash
    from hashhub.hook.core import Hook

DOOR: Final = "bucket"
_ACTOR: Final = "hook/bucket"
_CHECKING: Final = "checking/"
_NAME_TAKEN: Final = "NAME_TAKEN"
_TAKEN_TEXT: Final = "another object has its name"
_FOLDERS: Final = {Action.HOLD: "hold", Action.BLOCK: "block"}
_LONGEST_PREFIX: Final = f"{_CHECKING}{'x' * 50}/"  # as long as block/REFERENCE/ or longer
_MOST_A_PASS: Final = 10_000  # objects of the quarantine looked at before everything else has its turn
_MOST_REMEMBERED: Final = 10_000  # names of what failed, so that it is not tried, and told, at every look
_MOST_WAITING: Final = 1_000
_AWAY_AFTER: Final = 3  # uploads in a row without an answer, after which the hub counts as away
_MOST_TRIES: Final = 10  # of one upload while others do get answers; then it is for a person to look at
_LONGEST_WAIT: Final = 600.0
_UNANSWERED, _TO_RELEASE = "unanswered", "to release"  # what is done anew beside names that uploaders choose
_MOST_MISLED: Final = 100  # names in a row that are not there, after which events are not relied on
_RECHECKED_A_PASS: Final = 100
MOST_RESTING: Final = 10_000  # files whose time is yet to come, watched at once
_CLOCKS_SECONDS: Final = 86_400.0  # by which a store's clock and ours may differ
_LONGEST_PAUSE: Final = 60.0


class ObjectOutcome(StrEnum):
    """What was done with an upload.

    WAITING: no answer from the hub, it is checked again. NAME_TAKEN: allowed, but another object has its name; it is
    held. RELEASED: a person let it go, and it is published. TAKEN_BACK: published without an answer, which came and
    was not ALLOW. FAILED: it could not be read or moved, and is where it was.
    """

    PUBLISHED = "PUBLISHED"
    HELD = "HELD"
    BLOCKED = "BLOCKED"
    WAITING = "WAITING"
    NAME_TAKEN = "NAME_TAKEN"
    RELEASED = "RELEASED"
    TAKEN_BACK = "TAKEN_BACK"
    FAILED = "FAILED"


class HandledUpload(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one upload. `name`: below the quarantine. `where`: its address now."""

    name: str
    outcome: ObjectOutcome
    where: str
    decision: Decision | None = None
    reason: str = ""


class _Retry(msgspec.Struct, frozen=True):
    due: float
    tries: int


class _RestingObject(msgspec.Struct, frozen=True):
    stamp: str
    until: float


class _Countdown:
    """Calls `then` once what was begun has ended. It begins as one thing that is under way."""

    def __init__(self, then: Callable[[], None]) -> None:
        self._then = then
        self._left = 1
        self._lock = threading.Lock()

    def add(self) -> None:
        with self._lock:
            self._left += 1

    def end(self) -> None:
        with self._lock:
            self._left -= 1
            is_over = not self._left
        if is_over:
            self._then()


class BucketWorker:
    """Takes, checks and moves uploads. Use it as a context manager; one thread calls `look_once` or `run`."""

    def __init__(
        self,
        hook: Hook,
        on_handled: Callable[[HandledUpload], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`on_handled`: called by one thread at a time. Raises InvalidArgument for places that do not fit."""
        structs.prepare()
        self.hook = hook
        self._settings = settings = hook.settings.bucket
        missing = [name for name in ("quarantine", "held", "public") if not getattr(settings, name)]
        if missing:
            violations = tuple(Violation(f"bucket.{name}", "must name a place", "REQUIRED") for name in missing)
            raise InvalidArgument(f"the section [bucket] needs {', '.join(missing)}", violations=violations)
        self.quarantine, self.held, self.public = (
            place_of(place, settings) for place in (settings.quarantine, settings.held, settings.public)
        )
        if any(is_inside(hook.settings.data, place.url) for place in (self.quarantine, self.held, self.public)):
            raise InvalidArgument.field("data", "must not be in a place of the section [bucket]", "NOT_ALLOWED")
        self._on_handled = on_handled
        self.clock = clock
        self._lock = threading.RLock()
        self.records = Records(Path(hook.settings.data))
        self._id = new_holder()
        hook.start()
        self._jobs = ThreadPoolExecutor(settings.jobs, "hook-bucket")
        self._room = threading.BoundedSemaphore(2 * settings.jobs)
        self._under_way: set[str] = set()
        self._waiting: dict[str, _Retry] = {}
        self._failed: OrderedDict[tuple[str, str], _Retry] = OrderedDict()
        self.resting: dict[str, _RestingObject] = {}
        self._listing: Iterator[StoredObject | UnreadableItem] | None = None
        self._listed_since = float("-inf")  # by the clock, when the last listing began
        self._hears = False  # whether the queue of events could be asked the last time
        self._deletes = True  # whether it has not been said yet that messages may not be deleted
        self._misled = 0  # names in a row that events told of and that were not there
        self._strange: OrderedDict[str, None] = OrderedDict()  # messages not understood, of which it was said
        self._misses = 0  # uploads in a row without an answer
        self._is_turn_of_new = False  # to try a hub that is away
        self._next_probe = 0.0
        self._trouble: HashHubError | None = None
        self._is_ending = threading.Event()
        self.outcomes: Counter[ObjectOutcome] = Counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let what is under way come to its end, and take nothing more."""
        self._is_ending.set()
        self._jobs.shutdown(wait=True, cancel_futures=True)
        self.records.close()
        end(self._id)

    def run(self, *, wake: threading.Event, on_trouble: Callable[[HashHubError, float], None]) -> None:
        """Look again and again until `stop`. `wake`: set when there is something new. `on_trouble`: told, by any
        thread, of an error and of the seconds before a next try; 0: none. Raises HashHubError if the first look fails.
        """
        self._listen(on_trouble)
        has_begun = False
        pause = self._settings.poll_seconds
        while not self._is_ending.is_set():
            wake.clear()
            try:
                is_more = self.look()
            except HashHubError as e:
                if not has_begun:
                    raise
                pause = min(2 * pause, max(_LONGEST_PAUSE, self._settings.poll_seconds))
                on_trouble(e, pause)
                for place in (self.quarantine, self.held, self.public):
                    if isinstance(place, S3Place):
                        place.refresh()
            else:
                has_begun = True
                pause = 0.0 if is_more else self._settings.poll_seconds
            if pause:
                wake.wait(pause)

    def stop(self, wake: threading.Event) -> None:
        """Have `run` return once what is under way is done."""
        self._is_ending.set()
        wake.set()

    def look_once(self) -> None:
        """Handle everything that is there now, and wait until it is done. Raises HashHubError as `run` does."""
        self._look_through()
        if self.resting:  # a worker that is started anew each time would never see that they have rested
            self._is_ending.wait(self._settings.settle_seconds)
            self._look_through()
        self._raise_trouble()

    def _look_through(self) -> None:
        while self.look():
            pass
        self.drain()

    def drain(self) -> None:
        """Wait until what was handed out is done."""
        for _ in range(2 * self._settings.jobs):
            self._room.acquire()
        for _ in range(2 * self._settings.jobs):
            self._room.release()

    def _raise_trouble(self) -> None:
        trouble, self._trouble = self._trouble, None
        if trouble is not None:
            self._listing = None
            raise trouble

    def look(self) -> bool:
        """Hand out what there is; return whether there is more than one look takes."""
        if self._is_turn_of_new:  # those that have waited may be what never gets an answer
            is_more = self._admit()
            self._resume()
        else:
            self._resume()
            is_more = self._admit()
        self._recheck()
        self._release()
        self._raise_trouble()
        return is_more

    # What is taken, and by whom

    def _resume(self) -> None:
        """Go on with what was taken and not decided, by this worker or by one that has ended."""
        with contextlib.suppress(NotFound):
            for taken in self.held.objects(_CHECKING):
                if isinstance(taken, UnreadableItem):
                    continue
                folder, _, name = taken.name.removeprefix(_CHECKING).partition("/")
                if name.rpartition("/")[2].startswith(PARTIAL):  # a copy that was cut short; its source is there
                    if self._is_abandoned(folder, taken):
                        self.held.remove(taken)
                    continue
                waiting = self._waiting.get(taken.name)
                held_up = waiting or self._failed.get(("", taken.name))
                if not name or (held_up is not None and held_up.due > self.clock()):
                    continue
                if waiting is None and not self._is_abandoned(folder, taken):
                    continue
                if not self._may_ask():
                    return
                self._note_try(has_waited=waiting is not None)
                # It is still in the quarantine if a worker ended in between.
                stored = self.quarantine.look(name)
                if stored is not None and folder.split("-")[1:2] == [mark(self.quarantine, stored)]:
                    self.quarantine.remove(stored)
                self._hand_out(taken.name, functools.partial(self._check, taken, name, is_resumed=waiting is None))

    def _is_abandoned(self, folder: str, taken: StoredObject) -> bool:
        """Return whether nobody is at work on what was taken."""
        worker = folder.partition("-")[0]
        if worker == self._id:
            return taken.name not in self._under_way
        ended = has_ended(worker)
        return time.time() - taken.modified > self._settings.lease_seconds if ended is None else ended

    def _admit(self) -> bool:
        """Take what has landed in the quarantine; return whether the listing goes on."""
        if self._listing is None:
            is_told = self._hears and self._misled < _MOST_MISLED and not self._is_away()
            if is_told and self.clock() < self._listed_since + self._settings.relist_seconds:
                return False
            self._listing = self.quarantine.objects()
            # What had rested when the listing before this began, and was not taken, is gone: it makes room for others.
            gone = [name for name, resting in self.resting.items() if resting.until < self._listed_since]
            for name in gone:
                del self.resting[name]
            self._listed_since = self.clock()
        for _ in range(_MOST_A_PASS):
            if self._is_ending.is_set() or self._trouble is not None or not self._may_ask():
                return False  # the listing goes on at the next look
            try:
                item = next(self._listing, None)
            except HashHubError:
                self._listing = None
                raise
            if item is None:
                self._listing = None
                return False
            if self._is_held_up(item.name):
                continue
            if isinstance(item, UnreadableItem):
                self._fail(item.name, item.error)
            elif self._is_settled(item):
                self._note_try(has_waited=False)
                self._hand_out(item.name, functools.partial(self.take, item))
        return True

    # What events tell of

    def _listen(self, on_trouble: Callable[[HashHubError, float], None]) -> None:
        """Begin to take what the queue of events tells of. Raises HashHubError if it cannot be asked at all."""
        if not self._settings.events or not isinstance(self.quarantine, S3Place):
            return
        place = self.quarantine
        events = self._event_queue(place)
        first = events.receive(wait=False)
        self._hears = True
        threading.Thread(
            target=self._hear, args=(events, place, first, on_trouble), name="hook-bucket-events", daemon=True
        ).start()

    def _event_queue(self, place: S3Place) -> EventQueue:
        return EventQueue(self._settings.events, region=self._settings.region, bucket=place.bucket)

    def _hear(
        self,
        events: EventQueue,
        place: S3Place,
        notices: list[Notice],
        on_trouble: Callable[[HashHubError, float], None],
    ) -> None:
        """Take what is told of, until the worker ends. A message is deleted once what it names was looked at."""
        pause = self._settings.poll_seconds
        while True:
            try:
                for notice in notices:
                    self._heed(events, place, notice, on_trouble)
                # While the hub is away messages stay where they are: each time that one comes counts.
                while self._is_away() and not self._is_ending.is_set():
                    self._is_ending.wait(self._settings.poll_seconds)
                if self._is_ending.is_set():
                    return
                notices = events.receive()
            except Exception as e:  # noqa: BLE001 - a thread that ended would leave the queue to itself
                if self._is_ending.is_set():
                    return
                error = e if isinstance(e, HashHubError) else HashHubError(f"events are not heard ({type(e).__name__})")
                notices = []
                pause = min(2 * pause, max(_LONGEST_PAUSE, self._settings.poll_seconds))
                if self._hears:
                    on_trouble(error, pause)
                self._hears = False  # the quarantine is listed as often as without events
                self._is_ending.wait(pause)
                with contextlib.suppress(HashHubError):
                    events = self._event_queue(place)  # credentials are looked for anew
            else:
                self._hears, pause = True, self._settings.poll_seconds

    def _heed(
        self,
        events: EventQueue,
        place: S3Place,
        notice: Notice,
        on_trouble: Callable[[HashHubError, float], None],
    ) -> None:
        """Look at what a message names. What is not there costs one question, and takes no turn from an upload."""
        if notice.keys is None:
            if notice.id not in self._strange:
                self._strange[notice.id] = None
                if len(self._strange) > _MOST_REMEMBERED:
                    self._strange.popitem(last=False)
                text = f"message {notice.id} of {self._settings.events} is not understood, and is left there"
                on_trouble(HashHubError(text), 0.0)
            return
        left = _Countdown(functools.partial(self._delete, events, notice, on_trouble))
        for name in filter(None, map(place.name_of, notice.keys)):
            if self._is_held_up(name):
                continue  # it was looked at, and is again in its time
            if self._is_ending.is_set() or self._is_away():
                return
            try:
                stored = place.look(name)
            except InvalidArgument:  # no object can have this name
                stored = None
            if stored is None or is_folder(stored.name, stored.size):
                self._misled += 1
                continue
            self._misled = 0
            left.add()
            if not self._hand_out(name, functools.partial(self.take, stored), on_done=left.end):
                return  # it may have changed since it was taken: that is seen when the message comes again
        left.end()

    def _delete(self, events: EventQueue, notice: Notice, on_trouble: Callable[[HashHubError, float], None]) -> None:
        try:
            events.delete(notice)
        except HashHubError as e:  # it comes again, which harms nobody
            if not isinstance(e, Unavailable) and self._deletes:
                self._deletes = False
                on_trouble(e, 0.0)

    def _is_settled(self, item: StoredObject) -> bool:
        """Return whether a file of a folder has rested; an object of a bucket is there at once, or not."""
        if isinstance(self.quarantine, S3Place):
            return True
        age = time.time() - item.modified
        if age >= 0:
            return age >= self._settings.settle_seconds
        # Its time is yet to come: the clock was set back, or the file brought the time of another machine. It must not
        # wait until then, and rests as long as any other, by a clock that nobody sets.
        at = self.clock()
        resting = self.resting.get(item.name)
        if resting is None or resting.stamp != item.stamp:
            resting = _RestingObject(item.stamp, at + self._settings.settle_seconds)
            if item.name in self.resting or len(self.resting) < MOST_RESTING:
                self.resting[item.name] = resting
        if resting.until > at:
            return False
        self.resting.pop(item.name, None)
        return True

    def _is_away(self) -> bool:
        """Return whether uploads stay where they are, since the hub does not answer."""
        return self._misses >= _AWAY_AFTER and self.hook.settings.without_answer.hub_away is not Action.ALLOW

    def _may_ask(self) -> bool:
        """Return whether the hub answers as far as is known; while it does not, one upload tries it now and then."""
        with self._lock:
            return not self._is_away() or (self.clock() >= self._next_probe and not self._under_way)

    def _note_try(self, *, has_waited: bool) -> None:
        """Note that an upload tries a hub that is away, if it is."""
        with self._lock:
            if self._is_away():
                self._is_turn_of_new = has_waited
                self._next_probe = self.clock() + self._settings.retry_seconds

    def _hand_out(
        self, key: str, work: Callable[[], HandledUpload | None], *, on_done: Callable[[], None] = lambda: None
    ) -> bool:
        """Have a thread do it, then call `on_done`; False where one works on this `key`. Waits for room."""
        with self._lock:
            if key in self._under_way:
                return False
            self._under_way.add(key)
        self._room.acquire()

        def run() -> None:
            try:
                handled = work()
                if handled is not None:
                    self._tell(handled)
                on_done()
            except Conflict:
                pass  # it changed, or another worker has it; the next look sees what there is
            except (Unavailable, LimitExceeded) as e:
                self._trouble = e
            except HashHubError as e:
                self._fail(key, e)
            except Exception as e:  # noqa: BLE001 - a thread that ended would leave its upload without a word
                self._fail(key, HashHubError(f"it could not be handled ({type(e).__name__})"))
            finally:
                with self._lock:
                    self._under_way.discard(key)
                self._room.release()

        self._jobs.submit(run)
        return True

    # One upload

    def take(self, stored: StoredObject) -> HandledUpload | None:
        """Take an upload out of the quarantine and check it."""
        refused = self.held.refuses(stored.name, prefix=_LONGEST_PREFIX) or self.public.refuses(stored.name)
        if refused:
            raise InvalidArgument(f"the name is refused: {refused}; upload it under another name")
        name = f"{_CHECKING}{self._id}-{mark(self.quarantine, stored)}-{secrets.token_hex(4)}/{stored.name}"
        with self._lock:
            self._under_way.add(name)
        try:
            if not self.quarantine.take(stored, self.held, name):
                return None
            taken = self.held.look(name)
            if taken is None:
                return None
            # Another worker that has taken it, too, has removed it: one of the two goes on. What has the name now is
            # another upload.
            if not self.quarantine.remove(stored) and self.quarantine.look(stored.name) is None:
                self.held.remove(taken)
                return None
            return self._check(taken, stored.name)
        finally:
            with self._lock:
                self._under_way.discard(name)

    def _check(self, taken: StoredObject, name: str, *, is_resumed: bool = False) -> HandledUpload:
        """Decide over what was taken, and bring it where it belongs."""
        earlier = self._recorded_before(taken, name) if is_resumed else ""
        decision, hashes = self._decide(self.held, taken, name, asks_again=True, earlier=earlier)
        if decision.no_answer is NoAnswer.HUB_AWAY and decision.action is not Action.ALLOW:
            if self._wait(taken.name):
                text = decision.reasons[0].text if decision.reasons else ""
                return HandledUpload(
                    name=name,
                    outcome=ObjectOutcome.WAITING,
                    where=f"{self.held.url.rstrip('/')}/{taken.name}",
                    decision=decision,
                    reason=text,
                )
            decision, hashes = self._decide(self.held, taken, name)  # once more, for the record
        is_away = decision.no_answer is NoAnswer.HUB_AWAY
        if not is_away:
            self._waiting.pop(taken.name, None)
        if decision.action is not Action.ALLOW:
            return self.keep(taken, name, decision, _FOLDERS[decision.action])
        if is_away:
            self._note_unanswered(name)
        is_published = self.publish(taken, name)
        if is_away and is_published:
            self._note_unanswered(name)  # again: what had the name before may have been checked, and the note dropped
        if not is_published:
            self._queue_name_taken(taken, name, decision, hashes)
            return self.keep(taken, name, decision, _FOLDERS[Action.HOLD], reason=_NAME_TAKEN)
        return HandledUpload(
            name=name, outcome=ObjectOutcome.PUBLISHED, where=self._address(self.public, name), decision=decision
        )

    def _recorded_before(self, taken: StoredObject, name: str) -> str:
        """Return the reference of this upload from a worker that was killed before it brought it there; empty where
        none did. Without it persons would have the upload twice.
        """
        since = datetime.fromtimestamp(taken.modified - _CLOCKS_SECONDS, UTC).isoformat()
        rows = self.records.rows(
            "SELECT reference, state FROM upload WHERE state IN (?, ?) AND time >= ? AND door = ? AND upload_id = ? "
            "ORDER BY time DESC",
            (UploadState.HELD, UploadState.BLOCKED, since, DOOR, name),
        )
        for reference, state in rows:
            folder = _FOLDERS[Action.HOLD if state == UploadState.HELD else Action.BLOCK]
            kept_as = f"{folder}/{reference}/{name}"
            if self.held.look(kept_as) is None or self.held.is_moved(taken.name, kept_as):
                return str(reference)
        return ""

    def _note_unanswered(self, name: str) -> None:
        """Have what is published under this name checked again."""
        self.records.write(
            "INSERT OR REPLACE INTO bucket_unanswered VALUES (?, ?, ?)", (self.public.url, name, now().isoformat())
        )

    def publish(self, taken: StoredObject, name: str) -> bool:
        """Move an upload to where the public sees it; return whether it was there to be moved."""
        try:
            if not self.held.publish(taken.name, self.public, name, overwrite=self._settings.overwrite):
                return False
        except InvalidArgument:
            return False  # a part of the name is an object, or a folder
        self.held.remove(taken)
        return True

    def keep(
        self, taken: StoredObject, name: str, decision: Decision, folder: str, *, reason: str = ""
    ) -> HandledUpload:
        """Keep an upload where only the worker and who decides over it can see it."""
        kept_as = f"{folder}/{decision.reference}/{name}"
        where = self._address(self.held, kept_as)
        if not self._is_kept(decision.reference):  # a worker that was killed may have said so
            self.records.note(
                "bucket.kept",
                decision.reference,
                reason or (decision.reasons[0].code if decision.reasons else ""),
                actor=_ACTOR,
                action=Action.HOLD if folder == _FOLDERS[Action.HOLD] else Action.BLOCK,
                where=self._address(self.held, f"{folder}/{decision.reference}"),
            )
        if not self.held.move(taken.name, kept_as):
            raise Conflict(f"{name!r} was taken over by another worker")
        outcome = ObjectOutcome.BLOCKED if folder == _FOLDERS[Action.BLOCK] else ObjectOutcome.HELD
        if reason:
            outcome = ObjectOutcome.NAME_TAKEN
        text = _TAKEN_TEXT if reason else (decision.reasons[0].text if decision.reasons else "")
        return HandledUpload(name=name, outcome=outcome, where=where, decision=decision, reason=text)

    def _queue_name_taken(self, taken: StoredObject, name: str, decision: Decision, hashes: tuple[Hash, ...]) -> None:
        """Queue an upload that was allowed and not published, unless it is in the queue for want of an answer."""
        line = ReasonLine(code=_NAME_TAKEN, text=f"allowed, but {_TAKEN_TEXT}")
        held = msgspec.structs.replace(decision, action=Action.HOLD, reasons=(line, *decision.reasons))
        checked = DecisionRecord(
            decision=held, time=now(), door=DOOR, upload_id=name, size_bytes=taken.size, hashes=hashes
        )
        with self.records.transaction():
            if self.records.get_upload(decision.reference) is None:
                most = self.hook.settings.max_records
                with contextlib.suppress(LimitExceeded):  # a full queue: its event and its place tell of it
                    self.records.add_upload(checked, UploadState.HELD, max_records=most)

    def _decide(
        self, place: ObjectPlace, stored: StoredObject, name: str, *, asks_again: bool = False, earlier: str = ""
    ) -> tuple[Decision, tuple[Hash, ...]]:
        """Return what was decided, and the hashes of what was read."""
        with self.hook.receive(upload_id=name, door=DOOR, asks_again=asks_again, earlier=earlier) as upload:
            if stored.size > self.hook.settings.max_bytes:
                upload.pass_over(stored.size)
            else:
                for piece in place.read(stored):
                    upload.write(piece)
            decision = upload.decide()
            hashes = upload.query.hashes if upload.query is not None else ()
        if decision.no_answer is NoAnswer.TOO_LARGE:
            return decision, hashes  # says nothing of the hub
        with self._lock:
            self._misses = self._misses + 1 if decision.no_answer is NoAnswer.HUB_AWAY else 0
            if self._misses == _AWAY_AFTER:
                self._next_probe = self.clock() + self._settings.retry_seconds
        return decision, hashes

    def _wait(self, taken: str) -> bool:
        """Check it again later; return False when it was tried often enough while others had answers."""
        with self._lock:
            tries = self._waiting[taken].tries if taken in self._waiting else 0
            is_away = self._misses >= _AWAY_AFTER
            if not is_away and (tries >= _MOST_TRIES or len(self._waiting) >= _MOST_WAITING):
                self._waiting.pop(taken, None)
                return False
            pause = min(self._settings.retry_seconds * 2 ** min(tries, 20), _LONGEST_WAIT)
            self._waiting[taken] = _Retry(self.clock() + pause, tries + 1)
            return True

    # What comes later

    def _recheck(self) -> None:
        """Check again what was published without an answer, as the settings allow, once the hub answers."""
        rows = self.records.rows(
            "SELECT name, time FROM bucket_unanswered WHERE place = ? ORDER BY time LIMIT ?",
            (self.public.url, _RECHECKED_A_PASS + len(self._failed)),
        )
        for name, time_published in rows:
            if self._is_held_up(name, _UNANSWERED):
                continue
            with self._lock:
                if self._misses and self.clock() < self._next_probe:
                    return
                self._next_probe = self.clock() + self._settings.retry_seconds
            try:
                is_settled = self._has_answer(name)
            except (Unavailable, LimitExceeded):
                raise
            except HashHubError as e:
                is_settled = False
                if not isinstance(e, Conflict):
                    self._fail(name, e, of=_UNANSWERED, where=self._address(self.public, name))
            if is_settled:
                with self._lock:
                    self._failed.pop((_UNANSWERED, name), None)
                # Another upload may have taken the name meanwhile: its row has another time.
                sql = "DELETE FROM bucket_unanswered WHERE place = ? AND name = ? AND time = ?"
                self.records.write(sql, (self.public.url, name, time_published))
            else:  # behind the others, which may have one
                sql = "UPDATE bucket_unanswered SET time = ? WHERE place = ? AND name = ? AND time = ?"
                self.records.write(sql, (now().isoformat(), self.public.url, name, time_published))

    def _has_answer(self, name: str) -> bool:
        """Check again what was published; False: no answer yet. Raises Conflict for what changed meanwhile."""
        stored = self.public.look(name)
        if stored is None:
            return True
        decision, _ = self._decide(self.public, stored, name)
        if decision.no_answer is NoAnswer.HUB_AWAY:
            return False
        if decision.action is not Action.ALLOW:
            self._take_back(stored, name, decision)
        return True

    def _take_back(self, stored: StoredObject, name: str, decision: Decision) -> None:
        kept_as = f"{_FOLDERS[decision.action]}/{decision.reference}/{name}"
        where = self._address(self.held, kept_as)
        self.records.note(
            "bucket.taken_back",
            decision.reference,
            decision.reasons[0].code if decision.reasons else "",
            actor=_ACTOR,
            action=decision.action,
            where=self._address(self.held, f"{_FOLDERS[decision.action]}/{decision.reference}"),
        )
        is_gone = self.public.take(stored, self.held, kept_as) and (
            self.public.remove(stored) or self.public.look(name) is None
        )
        if not is_gone:
            raise Conflict(f"{name!r} has changed; it is checked again")
        self._tell(HandledUpload(name=name, outcome=ObjectOutcome.TAKEN_BACK, where=where, decision=decision))

    def _release(self) -> None:
        """Publish what people have released; what another object's name hinders waits for them again."""
        rows = self.records.rows(
            "SELECT reference, upload_id FROM bucket_to_release JOIN upload USING (reference) "
            "ORDER BY upload.time, reference LIMIT ?",
            (_RECHECKED_A_PASS + len(self._failed),),
        )
        for reference, name in rows:
            if self._is_held_up(reference, _TO_RELEASE):
                continue
            try:
                self._release_one(reference, name)
            except (Unavailable, LimitExceeded):
                raise
            except HashHubError as e:  # this object's; the others have their turn
                self._fail(reference, e, of=_TO_RELEASE, name=name, where=self._address(self.public, name))

    def _release_one(self, reference: str, name: str) -> None:
        where = left = ""
        # Looked at for each by itself: those before it took their time, and it may have been removed meanwhile.
        sql = "SELECT 1 FROM upload WHERE reference = ? AND state = ?"
        is_released = bool(self.records.rows(sql, (reference, UploadState.RELEASED))) and self._is_kept(reference)
        for folder in _FOLDERS.values() if is_released else ():
            taken = self.held.look(f"{folder}/{reference}/{name}")
            if taken is None:
                continue
            if self.publish(taken, name):
                where = self._address(self.public, name)
            else:
                left = self._address(self.held, taken.name)
        if left and not where:
            with self.records.transaction():
                self.records.write("DELETE FROM bucket_to_release WHERE reference = ?", (reference,))
                if self.records.write(
                    "UPDATE upload SET state = ? WHERE reference = ? AND state = ?",
                    (UploadState.HELD, reference, UploadState.RELEASED),
                ):
                    self.records.note("bucket.not_released", reference, _NAME_TAKEN, actor=_ACTOR)
            self._tell(HandledUpload(name=name, outcome=ObjectOutcome.NAME_TAKEN, where=left, reason=_TAKEN_TEXT))
            return
        with self.records.transaction():
            self.records.write("DELETE FROM bucket_to_release WHERE reference = ?", (reference,))
            if is_released:
                self.records.note("bucket.released", reference, "" if where else "NOT_PUBLISHED", actor=_ACTOR)
        if where:
            self._tell(HandledUpload(name=name, outcome=ObjectOutcome.RELEASED, where=where))

    def _is_kept(self, reference: str) -> bool:
        """Whether it was kept under this reference; what was published at once, without an answer, was not."""
        return bool(
            self.records.rows(
                "SELECT 1 FROM event WHERE subject = ? AND kind IN ('bucket.kept', 'bucket.taken_back') LIMIT 1",
                (reference,),
            )
        )

    def _is_held_up(self, key: str, of: str = "") -> bool:
        """Return whether it could not be handled, and it is too early to try again."""
        failed = self._failed.get((of, key))
        return failed is not None and failed.due > self.clock()

    def _fail(self, key: str, error: HashHubError, *, of: str = "", name: str = "", where: str = "") -> None:
        """Remember and tell once what could not be handled. `key`: its name, unless given; `of`: what was done."""
        with self._lock:
            before = self._failed.pop((of, key), None)
            tries = before.tries if before else 0
            pause = min(self._settings.retry_seconds * 2 ** min(tries, 20), _LONGEST_WAIT)
            self._failed[of, key] = _Retry(self.clock() + pause, tries + 1)
            if len(self._failed) > _MOST_REMEMBERED:
                self._failed.popitem(last=False)
        if before is None:
            where = where or self._address(self.held if key.startswith(_CHECKING) else self.quarantine, key)
            self._tell(HandledUpload(name=name or key, outcome=ObjectOutcome.FAILED, where=where, reason=error.message))

    def _tell(self, handled: HandledUpload) -> None:
        with self._lock:
            self.outcomes[handled.outcome] += 1
            if handled.outcome not in {ObjectOutcome.FAILED, ObjectOutcome.WAITING}:
                self._failed.pop(("", handled.name), None)
            self._on_handled(handled)

    @staticmethod
    def _address(place: ObjectPlace, name: str) -> str:
        return f"{place.url.rstrip('/')}/{name}"
