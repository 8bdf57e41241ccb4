"""`Hook`: an upload in, a decision out. No framework, no wire; every adapter asks it.

bytes, as they come ── digests ── remembered? ── who knows the digests? ── hashed ── who knows the hashes? ── action
   │                                                │ MATCH decides            │ UNREADABLE, TOO_LARGE
   └── memory that no file system has               └ no answer: HUB_AWAY, in half a second; hashing goes on for
       (TOO_LARGE, or no room: digests only)          the record, and it is asked again later (`rechecks`)

The decision is recorded and handed to listeners (`OnChecked`) before the app gets it. Deciding blocks a thread.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import threading
from collections import Counter
from collections.abc import AsyncIterable, Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Protocol, Self, TypeAlias, TypeVar, runtime_checkable

import msgspec

from hashhub import structs
from hashhub.background import Background
from hashhub.desk.decision import Action, Decision, DecisionRecord, NoAnswer, severest
from hashhub.desk.hub import Judge
from hashhub.desk.queue.stored_decision import is_same, is_same_with_more_reasons
from hashhub.desk.records import UploadState
from hashhub.desk.rounds import OnRecheck, PendingQuestion, Rechecks
from hashhub.desk.settings import HashingSite, Mode
from hashhub.errors import HashHubError, InvalidArgument, Reason, Unavailable
from hashhub.hashes import Hash
from hashhub.hook.examiner import CaseJudge, Examiner, UploadEvidence, given_up, if_skipped, query_of_nothing
from hashhub.hook.hashing import A_PICTURE, Piece, UploadBytes
from hashhub.hook.settings import OnHold
from hashhub.local_files import open_regular
from hashhub.model import Query, ReasonLine, Verdict, now
from hashhub.senders import ByteBudget

if TYPE_CHECKING:
    from hashhub.desk.records import Records
    from hashhub.desk.rounds import QueueRounds
    from hashhub.hashing.media import MediaHashes
    from hashhub.hook.hashing import UploadHasher
    from hashhub.hook.settings import HookSettings

__all__ = ["Hook", "OnChecked", "Readable", "Upload", "severest"]

_log = logging.getLogger("hashhub.hook")
_T = TypeVar("_T")
_PIECE: Final = 1 << 20  # bytes read at a time
_REFERENCE_BYTES: Final = 10
MOST_THREADS: Final = 64  # each waits for a child process or the hub
_API: Final = "api"  # the door of an app's own code
_MAX_UPLOAD_ID: Final = 1024
_LATE_SECONDS: Final = 120.0  # for which an upload's digests are not asked about again because its hashes may come yet
START_SECONDS: Final = 2.0  # for a first answer of the hub, before a door opens without one
_WARM_SECONDS: Final = 30.0  # for the processes that hash, which load libraries and kernels
_TALLY_SECONDS: Final = 2.0  # a hook that is killed loses so much of its counts, and nothing else

OnChecked = Callable[[DecisionRecord, IO[bytes] | None], None]
"""Is told of each decision before the app is, with the upload's bytes where there are some. What it raises makes the
decision HOLD at least: what should have been kept was not.
"""


@runtime_checkable
class Readable(Protocol):
    """A binary stream, as frameworks hand an upload over."""

    def read(self, size: int, /) -> bytes:
        """Return at most so many bytes; none at the end."""
        ...


Checkable: TypeAlias = bytes | bytearray | memoryview | Path | Readable | Query | Iterable[Hash]


class _Call(msgspec.Struct, frozen=True, kw_only=True):
    """The arguments of `Hook.receive` for one upload."""

    door: str
    upload_id: str
    asks_again: bool = False
    earlier: str = ""


class Hook:
    """Decides over uploads. Safe to be shared by threads; use it as a context manager, or close it."""

    def __init__(
        self,
        settings: HookSettings,
        *,
        judge: Judge,
        connect: Callable[[], None] | None = None,
        records: Records | None = None,
        on_checked: OnChecked | Sequence[OnChecked] | None = None,
        on_recheck: Sequence[OnRecheck] = (),
        queue_rounds: QueueRounds | None = None,
    ) -> None:
        """See `factory.open_hook`.

        `judge`: who is asked, a MediaJudge where the settings say that the hub hashes; closed with the hook.
        `connect`: waits for the hub's first answer.
        `records`: the hook's own database, closed with it; None: nothing is recorded. `on_recheck`: who is told what an
        upload without an answer turned out to be. `queue_rounds`: started and closed with the hook.
        """
        structs.prepare()
        self.settings = settings
        self.judge = judge
        self._cases = judge if isinstance(judge, CaseJudge) else None
        self._connect = connect
        self.records = records
        self.listeners = () if on_checked is None else (on_checked,) if callable(on_checked) else tuple(on_checked)
        self.memory = ByteBudget(settings.max_total_bytes)
        self.hashing: UploadHasher | None = None
        if settings.hashing is HashingSite.HERE:
            # The libraries that hash are loaded by its child processes only.
            from hashhub.hook.hashing import UploadHasher

            self.hashing = UploadHasher(settings)
        self.examiner = Examiner(settings, judge=judge, hashing=self.hashing)
        self._lock = threading.Lock()
        self.counts: Counter[tuple[str, str, str, str, str]] = Counter()
        self._threads: ThreadPoolExecutor | None = None
        self.under_way: dict[bytes, asyncio.Future[bool]] = {}  # by content: what an event loop has decided over
        self._is_closed = False
        self._starting: tuple[int, threading.Thread, threading.Thread] | None = None
        self._rechecks: Rechecks | None = None
        self._queue_rounds = queue_rounds
        if queue_rounds is not None:
            queue_rounds.start()
        if records is not None:
            self._rechecks = Rechecks(settings, records, judge, tuple(on_recheck))
            self._rechecks.start()
            self._counting = Background(
                "hook-counts", self._write_counts, complaint="decisions are not counted", pause=_TALLY_SECONDS
            )
            self._counting.start(at_once=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the threads and the processes that hash, write what was counted, and let go of the hub."""
        self._is_closed = self.examiner.is_closing = True
        if self._threads is not None:
            self._threads.shutdown(wait=True)
        if self._queue_rounds is not None:
            self._queue_rounds.close()
        if self._rechecks is not None:
            self._rechecks.close()
        if self.hashing is not None:
            self.hashing.close()
        if self.records is not None:
            self._counting.close()
            try:
                self._write_counts()  # before the judge is closed, which may close the records
            except HashHubError as e:
                _log.warning("the last decisions could not be counted: %s", e.message)
        self.judge.close()  # only now: one that looks for copies of cases closes the records
        if self.records is not None:
            self.records.close()

    def start(self, *, wait_seconds: float = 0.0) -> None:
        """Begin to start the children and to connect to the hub, once in each process. With `wait_seconds`, return once
        they hash and the hub has answered, for which it has so many seconds.
        """
        with self._lock:
            if self._starting is None or self._starting[0] != os.getpid():
                warm_up = self.hashing.warm_up if self.hashing is not None else None
                warming = threading.Thread(target=warm_up, name="hook-warm", daemon=True)
                connecting = threading.Thread(target=self._go_along, args=(warming,), name="hook-connect", daemon=True)
                warming.start()
                connecting.start()
                self._starting = os.getpid(), warming, connecting
            _, warming, connecting = self._starting
        if wait_seconds:
            warming.join(_WARM_SECONDS)
            connecting.join(wait_seconds)

    def connect(self) -> bool:
        """Wait up to 10 seconds for the hub's first answer; return whether it came. Errors are logged and left."""
        if self._connect is None:
            return False
        try:
            self._connect()
        except HashHubError as e:
            if not self._is_closed:
                _log.warning("uploads have no answer yet: %s", e.message)
            return False
        return True

    def _go_along(self, warming: threading.Thread) -> None:
        """Warm up: run a sample picture through the whole path without recording it, if there is a judge to ask."""
        if not self.connect() and self.settings.mode is not Mode.LOCAL:
            return
        warming.join()
        with self.receive() as upload, suppress(HashHubError):
            upload.write(A_PICTURE)
            upload.try_out()

    @property
    def keeps_uploads(self) -> bool:
        """Whether somebody is given what is held: the vault, or the app's own store."""
        return bool(self.listeners)

    def probe(self) -> bool:
        """Ask about a digest that nobody has; return whether a list is behind the answer. Raises HashHubError."""
        judged = self.judge.judge(query_of_nothing())
        if judged.result.verdict is Verdict.UNAVAILABLE or judged.is_past_limit or judged.without_lists:
            raise Unavailable("the hub answers, but cannot say who knows an upload; look at its own health")
        return judged.is_listed

    @property
    def memory_bytes(self) -> int:
        """Bytes of uploads that are in memory now."""
        return self.memory.taken

    def recheck(self) -> int:
        """Ask again about uploads whose time it is, as the hook does by itself; return how many got an answer."""
        return self._rechecks.round() if self._rechecks is not None else 0

    def state_of(self, reference: str) -> UploadState | None:
        """Return where an upload stands in the records; None if it is not recorded."""
        recorded = self.records.get_upload(reference) if self.records is not None else None
        return recorded[0] if recorded is not None else None

    def check(
        self,
        upload: Checkable,
        *,
        upload_id: str = "",
        door: str = _API,
        earlier: str = "",
        gaps: tuple[ReasonLine, ...] = (),
    ) -> Decision:
        """Decide over one upload: its bytes, a path, a stream (read from where it stands to its end), or its hashes.
        `earlier`: see `receive`. `gaps`: what was not looked at when the hashes of a query were computed.

        What is HELD is kept by the vault, or by the app's own store (`on_held` of `open_hook`). Where neither can, as
        of hashes, `is_kept` is false, unless `[app] on_hold` leaves it to the app.

        Never raises because of the upload's content, the hub or the network: what has no answer is decided as the
        settings say. Raises InvalidArgument for what cannot be an upload: a path that is no readable file, a stream of
        text, no hashes; and what reading a stream raises.
        """
        if isinstance(upload, Path):
            with _opened(upload) as file:
                return self._receive_all(file.read, upload_id=upload_id, door=door, earlier=earlier)
        if isinstance(upload, (bytes, bytearray, memoryview)):
            with self.receive(upload_id=upload_id, door=door, earlier=earlier) as receiving:
                receiving.write(upload)
                return receiving.decide()
        if isinstance(upload, Readable):
            return self._receive_all(upload.read, upload_id=upload_id, door=door, earlier=earlier)
        query = upload if isinstance(upload, Query) else Query(hashes=_hashes(upload))
        call = _Call(door=door, upload_id=upload_id, earlier=earlier)
        return self._decided(self.examiner.examine_hashes(query, gaps), call, None)

    async def acheck(
        self, upload: Checkable | AsyncIterable[bytes] | Any, *, upload_id: str = "", door: str = _API
    ) -> Decision:
        """Decide as `check` does, without blocking the event loop; also over an asynchronous iterable of pieces, or a
        stream whose `read` is awaited. A task that is cancelled leaves nothing.
        """
        if isinstance(upload, AsyncIterable) and not isinstance(upload, Readable):
            pieces: AsyncIterable[bytes] = upload
        elif inspect.iscoroutinefunction(getattr(upload, "read", None)):
            pieces = _pieces(upload)
        else:
            return await self._in_thread(lambda: self.check(upload, upload_id=upload_id, door=door))
        with self.receive(upload_id=upload_id, door=door) as receiving:
            async for piece in pieces:
                await self._in_thread(partial(receiving.write, piece))
            return await receiving.adecide()

    def receive(self, *, upload_id: str = "", door: str = _API, asks_again: bool = False, earlier: str = "") -> Upload:
        """Return an upload to be written as it streams in, and decided over at its end. `asks_again`: the caller keeps
        what has no answer and asks anew; it is not recorded each time. `earlier`: reference of the last decision over
        this unchanged object: the same one again is not recorded, kept or told; further reasons are added to one that
        waits for a person.
        """
        return Upload(self, _Call(door=door, upload_id=upload_id, asks_again=asks_again, earlier=earlier))

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        with self._lock:
            if self._threads is None:
                count = min(MOST_THREADS, self.settings.max_waiting)
                self._threads = ThreadPoolExecutor(count, thread_name_prefix="hook-check")
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def _receive_all(self, read: Callable[[int], bytes], *, upload_id: str, door: str, earlier: str) -> Decision:
        with self.receive(upload_id=upload_id, door=door, earlier=earlier) as receiving:
            while piece := read(_PIECE):
                receiving.write(piece)
            return receiving.decide()

    def _weighed(self, examined: UploadEvidence) -> tuple[Action, Verdict, NoAnswer | None]:
        """Return the action, the verdict, and why that says less than it could. No choice weakens a verdict."""
        settings, judged = self.settings, examined.judged
        causes = list(examined.causes)
        actions: list[Action] = []
        verdict = Verdict.UNAVAILABLE
        if judged is not None:
            verdict = judged.result.verdict
            actions.append(judged.at_least)
            if verdict is Verdict.MATCH:
                return severest(settings.on_match, *actions), verdict, None
            if verdict is Verdict.UNAVAILABLE or judged.without_lists:
                causes.append(NoAnswer.HUB_AWAY)
            elif judged.is_past_limit and verdict is not Verdict.REVIEW:
                causes.append(NoAnswer.HUB_AWAY)
                actions.append(Action.HOLD)
        if verdict is Verdict.REVIEW:
            actions.append(settings.on_review)
        actions.append(if_skipped(settings, examined.coverage))
        if verdict in {Verdict.REVIEW, Verdict.BENIGN}:  # about this very file: an answer, whatever it could not tell
            causes = [cause for cause in causes if cause is not NoAnswer.NO_PERCEPTUAL_HASH]
        actions += [settings.without_answer.action(cause) for cause in causes]
        if examined.is_unhashed and self._cases is not None and self._cases.has_cases():
            # A case holds without a hub, and nobody could look.
            actions.append(Action.HOLD)
        if examined.is_slow:
            # No outage, through which everybody's uploads would have to go: somebody may have made it slow about this.
            actions.append(Action.HOLD)
        cause = min(causes, key=_CAUSES.index, default=None)
        if cause is not None and cause is not NoAnswer.NO_PERCEPTUAL_HASH and verdict is not Verdict.REVIEW:
            verdict = Verdict.UNAVAILABLE  # something was not looked at
        return severest(Action.ALLOW, *actions), verdict, cause

    def _decided(self, examined: UploadEvidence, call: _Call, content: UploadBytes | None) -> Decision:
        action, verdict, cause = self._weighed(examined)
        judged = examined.judged
        reasons = judged.result.reasons if judged is not None else ()
        if examined.lines or examined.coverage.gaps:
            codes = {line.code for line in reasons}
            gaps = dict.fromkeys(line for line in (*examined.lines, *examined.coverage.gaps) if line.code not in codes)
            is_by_choice = False  # because something is not known of it, rather than by what is known
            if cause is not None and judged is not None:
                is_for_review = judged.result.verdict is Verdict.REVIEW
                is_by_choice = action is not severest(
                    judged.at_least, self.settings.on_review if is_for_review else Action.ALLOW
                )
            reasons = (*gaps, *reasons) if is_by_choice else (*reasons, *gaps)  # what decides comes first
        # Whether the app's own code has the bytes alone, although what is held is to be kept.
        is_to_be_kept = action is Action.HOLD and call.door == _API and self.settings.app.on_hold is OnHold.KEEP
        decision = Decision(
            action=action,
            verdict=verdict,
            reasons=reasons,
            reference=os.urandom(_REFERENCE_BYTES).hex(),
            no_answer=cause,
            policy=judged.policy if judged else "",
            revision=judged.revision if judged else 0,
            stale_since=judged.stale_since if judged else None,
            coverage=examined.coverage,
            is_kept=not is_to_be_kept or (content is not None and bool(self.listeners)),
        )
        state = _state(decision)
        if call.asks_again and action is not Action.ALLOW and state is UploadState.UNANSWERED:
            return decision
        if state is None and not (call.earlier or self.listeners):  # most uploads: all that is kept is a number
            self._count(call.door, decision)
            return decision
        checked = DecisionRecord(
            decision=decision,
            time=now(),
            door=call.door,
            # A name out of a file system may hold bytes that are no text.
            upload_id=call.upload_id[:_MAX_UPLOAD_ID].encode("utf-8", "backslashreplace").decode(),
            size_bytes=content.size if content is not None else 0,
            media_type=examined.media_type,
            hashes=examined.query.hashes,
            result=judged.result if judged else None,
        )
        if call.earlier and self._is_recorded_as(call.earlier, checked):
            self._count(call.door, checked.decision)
            return msgspec.structs.replace(checked.decision, reference=call.earlier)
        checked = self._told(checked, content)
        if self._cases is not None and self.records is not None:
            self._cases.note(checked)
        return self._recorded(checked, examined).decision

    def _is_recorded_as(self, reference: str, checked: DecisionRecord) -> bool:
        """Return whether the same decision for the same reasons is recorded already, and kept; see `receive`."""
        if self.records is None:
            return False
        try:
            recorded = self.records.get_upload(reference)
            if recorded is None or (recorded[0] is UploadState.RELEASED and not self.records.is_ruled(reference)):
                return False  # what an answer that came later released, nobody has decided over
            if is_same(*recorded, checked):
                return True
            # The scan of a case may have had it hashed since, so that more was asked.
            return is_same_with_more_reasons(*recorded, checked) and self.records.add_reasons(
                recorded[0], recorded[1], checked
            )
        except HashHubError:
            return False  # recording it anew fails as well, and then it is held

    def _told(self, checked: DecisionRecord, content: UploadBytes | None) -> DecisionRecord:
        for listener in self.listeners:
            file = content.open() if content is not None else None
            try:
                listener(checked, file)
            except Exception as e:  # noqa: BLE001 - whatever goes wrong there, the upload was not kept
                checked = _held_at_least(checked, e, "what should have been kept of the upload was not")
            finally:
                if file is not None:
                    file.close()
        return checked

    def _recorded(self, checked: DecisionRecord, examined: UploadEvidence) -> DecisionRecord:
        if self.records is None or self._rechecks is None:
            return checked
        decision = checked.decision
        state = _state(decision)
        if state is not None:
            try:
                with self.records.transaction():
                    self.records.add_upload(checked, state, max_records=self.settings.max_records)
                    is_allowed, cause = decision.action is Action.ALLOW, decision.no_answer
                    if cause is NoAnswer.HUB_AWAY or (cause in _OF_THE_FILE and is_allowed):
                        pending = PendingQuestion(query=examined.query, if_unknown=examined.if_unknown, cause=cause)
                        seconds = 0.0 if cause is NoAnswer.HUB_AWAY else _DAY
                        if examined.late is not None:
                            seconds = _LATE_SECONDS
                        self._rechecks.add(decision.reference, pending, seconds=seconds)
            except HashHubError as e:
                checked = _held_at_least(checked, e, "it could not be recorded")
            else:
                if examined.late is not None:
                    examined.late.add_done_callback(partial(self._complete, self._rechecks, checked, examined))
        self._count(checked.door, checked.decision)
        return checked

    def _count(self, door: str, decision: Decision) -> None:
        if self.records is not None:
            key = (now().date().isoformat(), door, decision.action, decision.verdict, decision.no_answer or "")
            with self._lock:
                self.counts[key] += 1

    def _complete(
        self, rechecks: Rechecks, checked: DecisionRecord, examined: UploadEvidence, late: Future[MediaHashes]
    ) -> None:
        """Put hashes that came after the decision beside it."""
        # Nothing that the decision rests on is changed: it was given.
        later = self.examiner.examine_late(examined.query, late)
        if later is None:
            return  # it is asked about by digests
        cause = next((c for c in later.causes if c is not NoAnswer.NO_PERCEPTUAL_HASH), NoAnswer.HUB_AWAY)
        pending = PendingQuestion(query=later.query, if_unknown=later.if_unknown, cause=cause)
        try:
            rechecks.complete(
                checked.decision.reference,
                pending,
                hashes=later.query.hashes,
                media_type=later.media_type or checked.media_type,
                coverage=later.coverage,
            )
        except HashHubError as e:
            _log.warning(
                "the hashes of %s came late and could not be recorded: %s", checked.decision.reference, e.message
            )

    def _write_counts(self) -> None:
        if self.records is None:
            return
        with self._lock:
            counts, self.counts = self.counts, Counter()
        if not counts:
            return
        try:
            self.records.tally(counts)
        except HashHubError:
            with self._lock:
                self.counts += counts
            raise


class Upload:
    """An upload as it streams in, for one thread at a time. `query`: what was asked, once it is decided over."""

    def __init__(self, hook: Hook, call: _Call) -> None:
        self._hook = hook
        self._call = call
        self._content = UploadBytes(hook.memory, hook.settings.max_bytes)
        self._is_wanted = True
        self._is_closed = False
        self.query: Query | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def size(self) -> int:
        """Bytes that were written."""
        return self._content.size

    def write(self, piece: bytes | bytearray | memoryview) -> None:
        """Take in the next bytes; beyond the limit they are only digested. Raises InvalidArgument for others."""
        self._content.write(piece)

    def reserve(self, size: int) -> bool:
        """Take room for the next `size` bytes, which are written in one piece; return whether they will be kept."""
        return self._content.reserve(size)

    @contextmanager
    def read_back(self) -> Iterator[Iterator[Piece]]:
        """Give what was written and is kept, also when it is closed meanwhile. Reading raises OSError."""
        self._content.hold()
        try:
            yield self._content.read_back()
        finally:
            self._content.drop()

    def pass_over(self, count: int) -> None:
        """Count bytes that are not read: the upload is too large, and nothing is known of it, not a digest."""
        self._content.pass_over(count)

    def decide(self) -> Decision:
        """Decide over what was written; call it once, at the end. Raises Cancelled when it was abandoned meanwhile."""
        if not self._is_wanted:
            raise given_up()
        hook = self._hook
        self._content.hold()
        try:
            examined = hook.examiner.examine(self._content, is_wanted=lambda: self._is_wanted)
            self.query = examined.query
            return hook._decided(examined, self._call, self._content)  # noqa: SLF001 - of one piece
        finally:
            self._content.drop()

    def try_out(self) -> None:
        """Find out what would be decided by, and decide nothing. Raises HashHubError."""
        examiner = self._hook.examiner
        examiner.examine(self._content, is_wanted=lambda: not examiner.is_closing)

    async def adecide(self) -> Decision:
        """Decide as `decide` does, without blocking the event loop. A task that is cancelled abandons it. While a file
        is decided over, the same file waits here, and leaves the threads to others.
        """
        hook, key = self._hook, self._content.key
        loop = asyncio.get_running_loop()
        under_way: asyncio.Future[bool] = loop.create_future()
        while (first := hook.under_way.setdefault(key, under_way)) is not under_way:
            if first.get_loop() is not loop or await asyncio.shield(first):
                break
        is_decided = False
        try:
            decision = await hook._in_thread(self.decide)  # noqa: SLF001 - of one piece
            is_decided = True
        finally:
            if not is_decided:
                self.abandon()
            if first is under_way:
                del hook.under_way[key]
                first.set_result(is_decided)
        return decision

    def abandon(self) -> None:
        """Say, from any thread, that nobody waits for the decision: hashing ends, and nothing is recorded."""
        self._is_wanted = False

    def close(self) -> None:
        """Drop the bytes; a decision in another thread keeps them until it is made."""
        if not self._is_closed:
            self._is_closed = True
            self._content.drop()


_CAUSES: Final = (NoAnswer.HUB_AWAY, NoAnswer.UNREADABLE, NoAnswer.TOO_LARGE, NoAnswer.NO_PERCEPTUAL_HASH)
_OF_THE_FILE: Final = frozenset({NoAnswer.UNREADABLE, NoAnswer.TOO_LARGE})
_DAY: Final = 86_400.0


def _state(decision: Decision) -> UploadState | None:
    """Return as what an upload is recorded; None if it was answered and allowed."""
    match decision.action:
        case _ if decision.no_answer is NoAnswer.HUB_AWAY and decision.verdict is not Verdict.REVIEW:
            return UploadState.UNANSWERED
        case Action.BLOCK:
            return UploadState.BLOCKED
        case Action.HOLD:
            return UploadState.HELD
    return UploadState.UNANSWERED if decision.verdict is Verdict.UNAVAILABLE else None


def _held_at_least(checked: DecisionRecord, error: Exception, what: str) -> DecisionRecord:
    is_ours = isinstance(error, HashHubError)
    if not is_ours:
        _log.error("%s", what, exc_info=error)
    line = ReasonLine(
        code=error.reason if isinstance(error, HashHubError) else Reason.INTERNAL,
        text=f"{what}: {error.message if isinstance(error, HashHubError) else type(error).__name__}",
    )
    decision = msgspec.structs.replace(
        checked.decision,
        action=severest(Action.HOLD, checked.decision.action),
        is_kept=False,
        reasons=(*checked.decision.reasons, line),
    )
    return msgspec.structs.replace(checked, decision=decision)


def _hashes(given: object) -> tuple[Hash, ...]:
    every = tuple(given) if isinstance(given, Iterable) else ()
    hashes = tuple(h for h in every if isinstance(h, Hash))
    if not hashes or len(hashes) < len(every):
        raise InvalidArgument.field("upload", "must be bytes, a Path, an open binary stream, a Query or hashes")
    return hashes


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    try:
        file = os.fdopen(open_regular(path), "rb")
    except (OSError, ValueError) as e:  # ValueError: a NUL in the path
        why = getattr(e, "strerror", None) or e
        raise InvalidArgument.field(
            "upload", f"cannot be opened: {why}; give the path of one, or an open stream"
        ) from e
    with file:
        try:
            yield file
        except OSError as e:  # of a disk that fails
            raise InvalidArgument.field("upload", f"cannot be read: {e.strerror or type(e).__name__}") from e


async def _pieces(stream: Any) -> Any:
    while piece := await stream.read(_PIECE):
        yield piece
