"""`Hook`: an upload in, a decision out. No framework, no wire; every door asks it.

bytes, as they come ── digests ── remembered? ── who knows the digests? ── hashed ── who knows the hashes? ── action
   │                                                │ MATCH decides            │ UNREADABLE, TOO_LARGE
   └── memory that no file system has               └ no answer: HUB_AWAY, in half a second; hashing goes on for
       (TOO_LARGE, or no room: digests only)          the record, and it is asked again later (`rechecks`)

What is decided is kept (`records`) and told to who keeps more of it (`OnChecked`) before the app gets it.

Deciding is in steps (`hashhub.steps`): a thread takes them all; an event loop takes those that wait for nobody but a
child process, which are all where a copy answers at once that nothing is known.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import stat
import threading
import time
from collections import Counter
from collections.abc import AsyncIterable, Callable, Iterable, Sequence
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Protocol, Self, TypeAlias, TypeVar, runtime_checkable

import msgspec

from hashhub.background import Background
from hashhub.config import MEDIA_BYTES
from hashhub.errors import Cancelled, HashHubError, InvalidArgument, LimitExceeded, Reason, Unavailable
from hashhub.hashes import SEARCHED, Hash
from hashhub.hook.answers import Answer, Answers
from hashhub.hook.content import Content, Memory
from hashhub.hook.decision import Action, Checked, Decision, NoAnswer, severest
from hashhub.hook.judges import Judge, Judged, MediaJudge, query_of_nothing, without_hub
from hashhub.hook.met_again import is_same, is_same_and_more
from hashhub.hook.rechecks import OnRecheck, Pending, Rechecks
from hashhub.hook.records import UploadState
from hashhub.hook.settings import Hashing as WhereHashed
from hashhub.model import Coverage, Query, ReasonLine, Verdict, now
from hashhub.steps import Settling, acarry_out, carry_out
from hashhub.trust import ReasonCode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hashhub.hashing.media import MediaHashes
    from hashhub.hook.case_judge import CaseJudge
    from hashhub.hook.hashing import Hashing
    from hashhub.hook.queue import QueueRounds
    from hashhub.hook.records import Records
    from hashhub.hook.settings import HookSettings
    from hashhub.steps import Steps

__all__ = ["Hook", "OnChecked", "Readable", "Upload", "severest"]

_log = logging.getLogger("hashhub.hook")
_T = TypeVar("_T")
_PIECE: Final = 1 << 20  # bytes read at a time
_REFERENCE_BYTES: Final = 10
_MAX_UPLOAD_ID: Final = 1024
_AWAY_SECONDS: Final = 0.42  # of the half second in which an upload is decided over while the hub is away
_LEAST_WAIT: Final = 0.02  # for hashes that are remembered, or as good as there
_LOOK_SECONDS: Final = 0.1  # between looks whether somebody still waits
_LATE_SECONDS: Final = 120.0  # for which an upload's digests are not asked about again because its hashes may come yet
_TALLY_SECONDS: Final = 2.0  # a hook that is killed loses so much of its counts, and nothing else
_TOO_LARGE: Final = frozenset({Reason.MEDIA_TOO_LARGE, Reason.MEDIA_TOO_COSTLY, Reason.TOO_LARGE})
_UNREADABLE: Final = frozenset({Reason.UNREADABLE_MEDIA, Reason.MEDIA_PROCESS_DIED, Reason.MISSING_EXTRA})
_EXACT_ONLY: Final = ReasonCode.EXACT_ONLY.value
_FRAMES_SKIPPED: Final = ReasonCode.FRAMES_SKIPPED.value

OnChecked = Callable[[Checked, IO[bytes] | None], None]
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


class _Looked(msgspec.Struct, kw_only=True):
    """What is known of one upload so far.

    `query`: what is asked about it, or could be. `if_unknown`: see Pending. `causes`: why there is no answer, or less
    of one; `lines` say so. `late`: its hashes, where the decision does not wait for them. `is_unasked`: there is an
    answer to be had, and nobody was asked yet. `is_unhashed`: it is a picture or video of which nobody has computed
    more than digests yet: a case may be about it.
    """

    door: str
    upload_id: str
    asks_again: bool = False
    earlier: str = ""
    size: int = 0
    media_type: str = ""
    query: Query
    coverage: Coverage = Coverage()
    judged: Judged | None = None
    causes: tuple[NoAnswer, ...] = ()
    lines: tuple[ReasonLine, ...] = ()
    if_unknown: Action = Action.HOLD
    late: Future[MediaHashes] | None = None
    is_unasked: bool = False
    is_unhashed: bool = False

    def lacks(self, cause: NoAnswer, code: str, text: str) -> None:
        """Note why there is no answer, or less of one."""
        if cause not in self.causes:
            self.causes = (*self.causes, cause)
        self.lines = (*self.lines, ReasonLine(code=code, text=text))


class Hook:
    """Decides over uploads. Safe to be shared by threads; use it as a context manager, or close it."""

    def __init__(
        self,
        settings: HookSettings,
        *,
        judge: Judge,
        media_judge: MediaJudge | None = None,
        cases: CaseJudge | None = None,
        connect: Callable[[], None] | None = None,
        holds: Callable[[Judged], bool] | None = None,
        is_ready: Callable[[], bool] | None = None,
        judge_miss: Callable[[Query], Judged | None] | None = None,
        records: Records | None = None,
        on_checked: OnChecked | Sequence[OnChecked] | None = None,
        on_recheck: Sequence[OnRecheck] = (),
        queue_rounds: QueueRounds | None = None,
    ) -> None:
        """See `opening.open_hook`.

        `judge`: who is asked; closed with the hook. `media_judge`: who hashes uploads where the settings say HUB.
        `cases`: the judge again, where it is one of cases: they are asked beside answers that are remembered.
        `connect`: waits for the hub's first answer. `holds`: whether a remembered answer would be given now as well, by
        more than its revision. `is_ready`: whether the judge would answer now, without a hub; then it is asked once
        about a picture, by all its hashes. `judge_miss`: gives the judge's answer where that waits for nobody, for an
        event loop; None: `judge` has it.
        `records`: the hook's own database, closed with it; None: nothing is recorded. `on_recheck`: who is told what an
        upload without an answer turned out to be. `queue_rounds`: started and closed with the hook.
        """
        self.settings = settings
        self._judge = judge
        self._media_judge = media_judge
        self._cases = cases
        self._connect = connect
        self._holds = holds
        self._judge_miss = judge_miss
        self._is_ready = is_ready if settings.hashing is WhereHashed.HERE else None
        self._records = records
        self._listeners = () if on_checked is None else (on_checked,) if callable(on_checked) else tuple(on_checked)
        self._memory = Memory(settings.max_total_bytes)
        self._answers = Answers(most=settings.cache_entries, seconds=settings.cache_seconds)
        self._with_hub = threading.BoundedSemaphore(settings.max_waiting)
        self._hashing: Hashing | None = None
        if settings.hashing is WhereHashed.HERE:
            # The libraries that hash are loaded by its child processes only.
            from hashhub.hook.hashing import Hashing

            self._hashing = Hashing(settings)
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str, str, str, str]] = Counter()
        self._threads: ThreadPoolExecutor | None = None
        self._is_closed = False
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
        self._is_closed = True
        if self._threads is not None:
            self._threads.shutdown(wait=True)
        if self._queue_rounds is not None:
            self._queue_rounds.close()
        if self._rechecks is not None:
            self._rechecks.close()
        if self._hashing is not None:
            self._hashing.close()
        if self._records is not None:
            self._counting.close()
            try:
                self._write_counts()  # before the judge is closed, which may close the records
            except HashHubError as e:
                _log.warning("the last decisions could not be counted: %s", e.message)
        self._judge.close()  # only now: one that looks for copies of cases closes the records
        if self._records is not None:
            self._records.close()

    def start(self, *, wait_seconds: float = 0.0) -> None:
        """Begin to start the processes that hash and to connect to the hub, so that the first uploads need not wait for
        them; return once the hub has answered, or after `wait_seconds`. Call it after a fork.
        """
        if self._hashing is not None:
            self._hashing.start()
        if self._connect is not None:
            connecting = threading.Thread(target=self.connect, name="hook-connect", daemon=True)
            connecting.start()
            connecting.join(wait_seconds)

    def connect(self) -> None:
        """Wait until the hub has answered once, for up to 10 seconds; without one that is asked, return at once. What
        goes wrong is logged, and left to the first upload.
        """
        if self._connect is None:
            return
        try:
            self._connect()
        except HashHubError as e:
            if not self._is_closed:
                _log.warning("uploads have no answer yet: %s", e.message)

    def probe(self) -> None:
        """Ask about a digest that nobody has, as a look whether answers can be had. Raises HashHubError when not.
        Nothing is decided, counted or recorded.
        """
        judged = self._judge.judge(query_of_nothing())
        if judged.result.verdict is Verdict.UNAVAILABLE or judged.is_past_limit or judged.without_lists:
            raise Unavailable("the hub answers, but cannot say who knows an upload; look at its own health")

    @property
    def memory_bytes(self) -> int:
        """Bytes of uploads that are in memory now."""
        return self._memory.taken

    def recheck(self) -> int:
        """Ask again about uploads without an answer whose time it is, in this thread; the hook does so by itself.
        Return how many have one now.
        """
        return self._rechecks.round() if self._rechecks is not None else 0

    def state_of(self, reference: str) -> UploadState | None:
        """Return where an upload stands in the records; None if it is not recorded."""
        recorded = self._records.get_upload(reference) if self._records is not None else None
        return recorded[0] if recorded is not None else None

    def check(self, upload: Checkable, *, upload_id: str = "", door: str = "api", earlier: str = "") -> Decision:
        """Decide over one upload: its bytes, a path, a stream (read from where it stands to its end), or its hashes.
        `earlier`: see `receive`.

        Never raises because of the upload's content, the hub or the network: what has no answer is decided as the
        settings say. Raises InvalidArgument for what cannot be an upload: a path that is no readable file, a stream of
        text, no hashes; and what reading a stream raises.
        """
        if isinstance(upload, Query):
            return self._decide_hashes(upload, upload_id=upload_id, door=door, earlier=earlier)
        if isinstance(upload, Path):
            with _opened(upload) as file:
                return self._receive_all(file, upload_id=upload_id, door=door, earlier=earlier)
        if isinstance(upload, (bytes, bytearray, memoryview)):
            with self.receive(upload_id=upload_id, door=door, earlier=earlier) as receiving:
                receiving.write(upload)
                return receiving.decide()
        if isinstance(upload, Readable):
            return self._receive_all(upload, upload_id=upload_id, door=door, earlier=earlier)
        return self._decide_hashes(Query(hashes=_hashes(upload)), upload_id=upload_id, door=door, earlier=earlier)

    async def acheck(
        self, upload: Checkable | AsyncIterable[bytes] | Any, *, upload_id: str = "", door: str = "api"
    ) -> Decision:
        """Decide over one upload as `check` does, without blocking the event loop. `upload` may also be an asynchronous
        iterable of pieces, or a stream whose `read` is awaited.

        When the task is cancelled, hashing ends, nothing is recorded and the bytes are freed.
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

    def receive(self, *, upload_id: str = "", door: str = "api", asks_again: bool = False, earlier: str = "") -> Upload:
        """Return an upload to be written as it streams in, and decided over at its end.

        `asks_again`: the caller keeps what is held without an answer, and has it decided over anew later: it is not
        recorded, nor kept, each time. `earlier`: reference of the last decision over this object, which has not
        changed. If it is recorded, and the same is decided for the same reasons, the decision has this reference again,
        and nothing is recorded, kept or told; further reasons are recorded with one that waits for a person.
        """
        return Upload(self, upload_id=upload_id, door=door, asks_again=asks_again, earlier=earlier)

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._own_threads(), work)

    def _own_threads(self) -> Executor:
        with self._lock:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(self.settings.max_waiting, thread_name_prefix="hook-check")
            return self._threads

    def _receive_all(self, stream: Readable, *, upload_id: str, door: str, earlier: str) -> Decision:
        with self.receive(upload_id=upload_id, door=door, earlier=earlier) as receiving:
            while piece := stream.read(_PIECE):
                receiving.write(piece)
            return receiving.decide()

    def _decide_hashes(self, query: Query, *, upload_id: str, door: str, earlier: str) -> Decision:
        looked = _Looked(door=door, upload_id=upload_id, earlier=earlier, query=query, if_unknown=Action.ALLOW)
        every = (*query.hashes, *(h for variant in query.variants for h in variant.hashes))
        if not query.frames and not any(SEARCHED[h.algorithm].is_perceptual for h in every if h.algorithm in SEARCHED):
            self._only_exact(looked, "only exact digests were given")
        try:
            looked.judged = self._judge.judge(query)
        except HashHubError as e:
            looked.lacks(NoAnswer.HUB_AWAY, e.reason, e.message)
        return carry_out(self._decided(looked, None))

    def _decide_content(
        self,
        content: Content,
        *,
        upload_id: str,
        door: str,
        asks_again: bool,
        earlier: str,
        is_wanted: Callable[[], bool],
        on_query: Callable[[Query], None],
        is_on_loop: bool,
    ) -> Steps[Decision]:
        from hashhub.hashing.signature import media_type_of

        begun = time.monotonic()
        looked = _Looked(
            door=door,
            upload_id=upload_id,
            asks_again=asks_again,
            earlier=earlier,
            size=content.size,
            query=Query(hashes=content.digests),
        )
        key, answer = content.key, None
        if key:
            answer = self._answers.get(key, self._judge.revision())
        if answer is not None and self._holds is not None and not self._holds(answer.judged):
            answer = None
        if answer is not None and self._cases is not None:
            yield None
        # A case may have been opened since; it stops what the lists allowed a moment ago.
        if answer is not None and not (
            self._cases is not None and self._cases.is_stopped(answer.query, answer.media_type)
        ):
            looked.judged, looked.causes = answer.judged, answer.causes
            looked.query, looked.media_type = answer.query, answer.media_type
            looked.coverage = answer.coverage
            on_query(looked.query)
            return (yield from self._decided(looked, content))
        looked.media_type = media_type_of(content.head)
        looked.is_unasked = self._is_asked_once(looked.media_type)
        if not looked.is_unasked:
            yield from self._ask(looked, is_on_loop=is_on_loop)
        if looked.judged is None or looked.judged.result.verdict is not Verdict.MATCH:
            yield from self._look(looked, content, begun, is_wanted, is_on_loop=is_on_loop)
        if looked.is_unasked:
            yield from self._ask(looked, is_on_loop=is_on_loop)
            if looked.judged is None and looked.query.hashes != content.digests:
                # Whatever it cannot answer about the others: a listed file is stopped.
                with suppress(HashHubError):
                    looked.judged = self._judge.judge(Query(hashes=content.digests))
        if not is_wanted():
            raise _given_up()
        if key and looked.judged is not None and _is_to_be_remembered(looked.judged, looked.causes):
            remembered = Answer(
                judged=looked.judged,
                query=looked.query,
                media_type=looked.media_type,
                coverage=looked.coverage,
                causes=looked.causes,
            )
            self._answers.put(key, remembered, asked=begun)
        on_query(looked.query)
        return (yield from self._decided(looked, content))

    def _is_asked_once(self, media_type: str) -> bool:
        """Whether the judge is asked by all hashes at once. Asking a hub about the digests first tells in time that it
        is away; a copy knows. A listed video is better told by its digests than read for seconds.
        """
        return self._is_ready is not None and media_type.startswith("image/") and self._is_ready()

    def _ask(self, looked: _Looked, *, is_on_loop: bool) -> Steps[None]:
        looked.is_unasked = False
        if not looked.query.hashes:
            return
        if is_on_loop and self._judge_miss is not None:
            with suppress(HashHubError):  # which the judge raises as well
                judged = self._judge_miss(looked.query)
                if judged is not None:
                    looked.judged = judged
                    return
        yield None
        try:
            looked.judged = self._judge.judge(looked.query)
        except HashHubError as e:
            looked.lacks(NoAnswer.HUB_AWAY, e.reason, e.message)

    def _look(
        self, looked: _Looked, content: Content, begun: float, is_wanted: Callable[[], bool], *, is_on_loop: bool
    ) -> Steps[None]:
        """Find out more than digests tell."""
        if content.is_too_large:
            looked_for = "only identical files were looked for" if content.digests else "nothing was looked for"
            text = f"larger than {self.settings.max_bytes} bytes: {looked_for}"
            self._failed(looked, NoAnswer.TOO_LARGE, Reason.MEDIA_TOO_LARGE, text)
        elif looked.media_type.partition("/")[0] not in {"image", "video"}:
            self._only_exact(looked, f"not a picture or a video ({looked.media_type})")
        elif content.is_crowded_out:
            looked.is_unhashed = True
            text = f"other uploads have all {self.settings.max_total_bytes} bytes that uploads may have in memory"
            looked.lacks(NoAnswer.HUB_AWAY, Reason.TOO_MANY_REQUESTS, text)
        elif self._hashing is not None:
            looked.is_unhashed = True
            yield from self._hash_here(self._hashing, looked, content, begun, is_wanted, is_on_loop=is_on_loop)
        else:
            looked.is_unhashed = True
            yield None
            self._hash_at_hub(looked, content)

    def _only_exact(self, looked: _Looked, why: str) -> None:
        looked.lacks(NoAnswer.NO_PERCEPTUAL_HASH, _EXACT_ONLY, f"only identical files were looked for: {why}")
        looked.coverage = msgspec.structs.replace(
            looked.coverage, algorithms=tuple(h.algorithm for h in looked.query.hashes), gaps=looked.lines[-1:]
        )
        looked.if_unknown = self.settings.without_answer.no_perceptual_hash

    def _failed(self, looked: _Looked, cause: NoAnswer, code: str, text: str) -> None:
        looked.lacks(cause, code, text)
        looked.coverage = Coverage(effort=self.settings.effort, gaps=looked.lines[-1:])
        looked.if_unknown = self.settings.without_answer.action(cause)
        looked.is_unhashed = cause is NoAnswer.HUB_AWAY  # what cannot be hashed is as chosen

    def _hash_here(
        self,
        hashing: Hashing,
        looked: _Looked,
        content: Content,
        begun: float,
        is_wanted: Callable[[], bool],
        *,
        is_on_loop: bool,
    ) -> Steps[None]:
        is_away = not looked.is_unasked and (looked.judged is None or looked.judged.without_lists)
        try:
            future, is_joining = yield from hashing.submit_in_steps(
                content, is_wanted=None if is_away else is_wanted, is_on_loop=is_on_loop
            )
        except LimitExceeded as e:
            looked.lacks(NoAnswer.HUB_AWAY, e.reason, e.message)
            return
        try:
            if not is_joining and not future.done():
                yield None
            # One file that takes long can be sent many times: who joins waits on the loop, and leaves others a thread.
            media = yield from self._awaited(future, begun, is_wanted, is_away=is_away)
        except GeneratorExit:
            hashing.give_up(content, future)
            raise
        except (FutureTimeoutError, CancelledError):
            if not is_wanted():
                hashing.give_up(content, future)
                return
            looked.late = future
            if not is_away:
                text = f"waited {self.settings.waiting_seconds:g} seconds for its turn to be hashed"
                looked.lacks(NoAnswer.HUB_AWAY, Reason.TOO_MANY_REQUESTS, text)
            return
        except HashHubError as e:
            self._not_hashed(looked, e)
            return
        self._hashed(looked, media)
        if looked.is_unasked or (
            looked.query.hashes == content.digests and not looked.query.frames and not looked.query.variants
        ):
            return  # these are asked about yet, or were
        if not is_away:
            yield from self._ask(looked, is_on_loop=is_on_loop)
            return
        yield None
        try:
            with without_hub():
                looked.judged = self._judge.judge(looked.query)
        except HashHubError:
            return
        looked.causes = tuple(c for c in looked.causes if c is not NoAnswer.HUB_AWAY)
        looked.lines = ()

    def _awaited(
        self, future: Future[MediaHashes], begun: float, is_wanted: Callable[[], bool], *, is_away: bool
    ) -> Steps[MediaHashes]:
        """Return the hashes. Raises TimeoutError when the decision waits no longer, and what hashing raises."""
        at = time.monotonic()
        until = max(begun + _AWAY_SECONDS, at + _LEAST_WAIT) if is_away else at + self.settings.waiting_seconds
        while True:
            wait = until - time.monotonic()
            if wait <= 0 and (is_away or not future.running() or self._is_closed):
                return future.result(timeout=0)
            # Once it is being hashed the limits of the child processes hold; but who closes the hook may do so on the
            # event loop that it is hashed on.
            if not future.done() and is_wanted():
                yield Settling(future, wait if wait > 0 else _LOOK_SECONDS)
            if future.done() or not is_wanted():
                return future.result(timeout=0)

    def _not_hashed(self, looked: _Looked, error: HashHubError) -> None:
        if error.reason in _UNREADABLE:
            self._failed(looked, NoAnswer.UNREADABLE, error.reason, error.message)
        elif isinstance(error, LimitExceeded) and error.reason in _TOO_LARGE:
            self._failed(looked, NoAnswer.TOO_LARGE, error.reason, error.message)
        else:
            looked.lacks(NoAnswer.HUB_AWAY, error.reason, error.message)

    def _hashed(self, looked: _Looked, media: MediaHashes) -> None:
        from hashhub.hashing.coverage import coverage

        looked.query = media.query()
        looked.media_type = media.media_type
        looked.coverage = coverage(media, self.settings.effort, query=looked.query)
        looked.if_unknown = self._if_skipped(looked.coverage)
        looked.is_unhashed = False
        if not media.frames and not media.video_frames:
            self._only_exact(looked, media.not_perceptual or "it has no frames")

    def _hash_at_hub(self, looked: _Looked, content: Content) -> None:
        if looked.judged is None or looked.judged.without_lists:
            return  # the hub is away
        if content.size > MEDIA_BYTES:
            text = f"larger than the {MEDIA_BYTES} bytes that a hub takes: only identical files were looked for"
            self._failed(looked, NoAnswer.TOO_LARGE, Reason.MEDIA_TOO_LARGE, text)
            return
        file = content.open()
        if self._media_judge is None or file is None:
            looked.lacks(NoAnswer.HUB_AWAY, Reason.INTERNAL, "nobody hashes uploads for this hook")
            return
        with file:
            if not self._with_hub.acquire(timeout=self.settings.waiting_seconds):
                text = f"{self.settings.max_waiting} uploads are being hashed at the hub; see max_waiting"
                looked.lacks(NoAnswer.HUB_AWAY, Reason.TOO_MANY_REQUESTS, text)
                return
            try:
                judged = self._media_judge.judge_media("", file.read())
            except HashHubError as e:
                self._not_hashed(looked, e)
                return
            finally:
                self._with_hub.release()
        media = judged.media
        if media.result.verdict is Verdict.UNAVAILABLE:
            codes = {line.code for line in media.result.reasons}
            cause = (
                NoAnswer.UNREADABLE if codes & _UNREADABLE else
                NoAnswer.TOO_LARGE if codes & _TOO_LARGE else NoAnswer.HUB_AWAY
            )  # fmt: skip
            at_least = severest(looked.judged.at_least, judged.at_least)
            looked.judged = msgspec.structs.replace(looked.judged, at_least=at_least)
            text = media.result.reasons[0].text if media.result.reasons else "the hub could not hash it"
            self._failed(looked, cause, media.result.reasons[0].code if media.result.reasons else Reason.INTERNAL, text)
            return
        at_least = severest(looked.judged.at_least, judged.at_least)
        looked.judged = Judged(result=media.result, policy=judged.policy, revision=judged.revision, at_least=at_least)
        looked.query = Query(hashes=media.hashes)
        looked.coverage, looked.media_type = media.coverage, media.media_type
        looked.if_unknown = self._if_skipped(looked.coverage)
        looked.is_unhashed = False
        if any(gap.code == _EXACT_ONLY for gap in media.coverage.gaps):
            self._only_exact(looked, f"the hub did not decode it ({media.media_type})")

    def _weighed(self, looked: _Looked) -> tuple[Action, Verdict, NoAnswer | None]:
        """Return what becomes of the upload, by which verdict, and why that says less than it could.

        A verdict stands above the choices: they never weaken it.
        """
        settings, judged = self.settings, looked.judged
        causes = list(looked.causes)
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
        actions.append(self._if_skipped(looked.coverage))
        if verdict in {Verdict.REVIEW, Verdict.BENIGN}:  # about this very file: an answer, whatever it could not tell
            causes = [cause for cause in causes if cause is not NoAnswer.NO_PERCEPTUAL_HASH]
        actions += [settings.without_answer.action(cause) for cause in causes]
        if looked.is_unhashed and self._cases is not None and self._cases.has_cases():
            # A case holds without a hub, and nobody could look.
            actions.append(Action.HOLD)
        cause = min(causes, key=_CAUSES.index, default=None)
        if cause is not None and cause is not NoAnswer.NO_PERCEPTUAL_HASH and verdict is not Verdict.REVIEW:
            verdict = Verdict.UNAVAILABLE  # something was not looked at
        return severest(Action.ALLOW, *actions), verdict, cause

    def _if_skipped(self, coverage: Coverage) -> Action:
        """Return what becomes at least of an upload of which so much was looked at."""
        is_skipped = any(gap.code == _FRAMES_SKIPPED for gap in coverage.gaps)
        return self.settings.on_frames_skipped if is_skipped else Action.ALLOW

    def _is_by_choice(self, looked: _Looked, action: Action, cause: NoAnswer | None) -> bool:
        """Whether this becomes of the upload because something is not known of it, rather than by what is known."""
        if cause is None or looked.judged is None:
            return False
        is_for_review = looked.judged.result.verdict is Verdict.REVIEW
        by_answer = severest(looked.judged.at_least, self.settings.on_review if is_for_review else Action.ALLOW)
        return action is not by_answer

    def _decided(self, looked: _Looked, content: Content | None) -> Steps[Decision]:
        if looked.is_unhashed:
            yield None  # for a look at the cases
        action, verdict, cause = self._weighed(looked)
        judged = looked.judged
        said = judged.result.reasons if judged is not None else ()
        codes = {line.code for line in said}
        gaps = dict.fromkeys(line for line in (*looked.lines, *looked.coverage.gaps) if line.code not in codes)
        checked = Checked(
            decision=Decision(
                action=action,
                verdict=verdict,
                # What decides comes first.
                reasons=(*gaps, *said) if self._is_by_choice(looked, action, cause) else (*said, *gaps),
                reference=os.urandom(_REFERENCE_BYTES).hex(),
                no_answer=cause,
                policy=judged.policy if judged else "",
                revision=judged.revision if judged else 0,
                stale_since=judged.stale_since if judged else None,
            ),
            time=now(),
            door=looked.door,
            # A name out of a file system may hold bytes that are no text.
            upload_id=looked.upload_id[:_MAX_UPLOAD_ID].encode("utf-8", "backslashreplace").decode(),
            size_bytes=looked.size,
            media_type=looked.media_type,
            hashes=looked.query.hashes,
            result=judged.result if judged else None,
            coverage=looked.coverage,
        )
        state = _state(checked.decision)
        if looked.asks_again and action is not Action.ALLOW and state is UploadState.UNANSWERED:
            return checked.decision
        if looked.earlier or self._listeners or state is not None:
            yield None
        if looked.earlier and self._is_recorded_as(looked.earlier, checked):
            self._count(checked)
            return msgspec.structs.replace(checked.decision, reference=looked.earlier)
        checked = self._told(checked, content)
        if self._cases is not None and self._records is not None:
            self._cases.note(checked)
        return self._recorded(checked, looked).decision

    def _is_recorded_as(self, reference: str, checked: Checked) -> bool:
        """Return whether an upload is recorded already, with the same decision for the same reasons, and kept; see
        `receive`.
        """
        if self._records is None:
            return False
        try:
            recorded = self._records.get_upload(reference)
            if recorded is None or (recorded[0] is UploadState.RELEASED and not self._records.is_ruled(reference)):
                return False  # what an answer that came later released, nobody has decided over
            if is_same(*recorded, checked):
                return True
            # The scan of a case may have had it hashed since, so that more was asked.
            return is_same_and_more(*recorded, checked) and self._records.add_reasons(recorded[0], recorded[1], checked)
        except HashHubError:
            return False  # recording it anew fails as well, and then it is held

    def _told(self, checked: Checked, content: Content | None) -> Checked:
        for listener in self._listeners:
            file = content.open() if content is not None else None
            try:
                listener(checked, file)
            except Exception as e:  # noqa: BLE001 - whatever goes wrong there, the upload was not kept
                checked = _held_at_least(checked, e, "what should have been kept of the upload was not")
            finally:
                if file is not None:
                    file.close()
        return checked

    def _recorded(self, checked: Checked, looked: _Looked) -> Checked:
        if self._records is None or self._rechecks is None:
            return checked
        decision = checked.decision
        state = _state(decision)
        if state is not None:
            try:
                with self._records.transaction():
                    self._records.add_upload(checked, state, max_records=self.settings.max_records)
                    pending = self._pending(looked, decision)
                    if pending is not None:
                        seconds = 0.0
                        if looked.late is not None:
                            seconds = _LATE_SECONDS
                        elif pending.cause is not NoAnswer.HUB_AWAY:
                            seconds = _DAY
                        self._rechecks.add(decision.reference, pending, seconds=seconds)
            except HashHubError as e:
                checked = _held_at_least(checked, e, "it could not be recorded")
            else:
                if looked.late is not None:
                    looked.late.add_done_callback(partial(self._complete, self._rechecks, checked, looked))
        self._count(checked)
        return checked

    def _count(self, checked: Checked) -> None:
        decision = checked.decision
        key = (
            checked.time.date().isoformat(),
            checked.door,
            decision.action,
            decision.verdict,
            decision.no_answer or "",
        )
        with self._lock:
            self._counts[key] += 1

    def _pending(self, looked: _Looked, decision: Decision) -> Pending | None:
        cause = decision.no_answer
        if cause is NoAnswer.HUB_AWAY or (
            cause in {NoAnswer.UNREADABLE, NoAnswer.TOO_LARGE} and decision.action is Action.ALLOW
        ):
            return Pending(query=looked.query, if_unknown=looked.if_unknown, cause=cause)
        return None

    def _complete(self, rechecks: Rechecks, checked: Checked, looked: _Looked, late: Future[MediaHashes]) -> None:
        """Put hashes that came after the decision beside it."""
        # Nothing that the decision rests on is changed: it was given.
        later = _Looked(door=looked.door, upload_id=looked.upload_id, query=looked.query)
        try:
            self._hashed(later, late.result(timeout=0))
        except HashHubError as e:
            self._not_hashed(later, e)
        except (CancelledError, FutureTimeoutError):
            return  # it is asked about by digests
        cause = next((c for c in later.causes if c is not NoAnswer.NO_PERCEPTUAL_HASH), NoAnswer.HUB_AWAY)
        pending = Pending(query=later.query, if_unknown=later.if_unknown, cause=cause)
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
        if self._records is None:
            return
        with self._lock:
            counts, self._counts = self._counts, Counter()
        if not counts:
            return
        try:
            self._records.tally(counts)
        except HashHubError:
            with self._lock:
                self._counts += counts
            raise


class Upload:
    """An upload as it streams in. Its bytes are in memory that no file system has, until it is closed.

    To be written to by one thread at a time. `query`: what was asked about it, once it is decided over.
    """

    def __init__(self, hook: Hook, *, upload_id: str, door: str, asks_again: bool, earlier: str) -> None:
        self._hook = hook
        self._asks_again, self._earlier = asks_again, earlier
        self._upload_id, self._door = upload_id, door
        self._content = Content(hook._memory, hook.settings.max_bytes)  # noqa: SLF001 - of one piece
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
        """Take in the next bytes. What is beyond the limit is digested and not kept. Raises InvalidArgument for what is
        no bytes.
        """
        self._content.write(piece)

    def pass_over(self, count: int) -> None:
        """Count bytes that are not read, since the upload has more than the limit by what its store says. Nothing is
        then known of it, not even a digest.
        """
        self._content.pass_over(count)

    def _take_query(self, query: Query) -> None:
        self.query = query

    def decide(self) -> Decision:
        """Decide over what was written; call it once, at the end. Raises Cancelled when it was abandoned meanwhile."""
        return carry_out(self._steps(is_on_loop=False))

    def _steps(self, *, is_on_loop: bool) -> Steps[Decision]:
        if not self._is_wanted:
            raise _given_up()
        self._content.hold()
        try:
            return (
                yield from self._hook._decide_content(  # noqa: SLF001 - of one piece
                    self._content,
                    upload_id=self._upload_id,
                    door=self._door,
                    asks_again=self._asks_again,
                    earlier=self._earlier,
                    is_wanted=lambda: self._is_wanted,
                    on_query=self._take_query,
                    is_on_loop=is_on_loop,
                )
            )
        finally:
            self._content.drop()

    async def adecide(self, threads: Executor | None = None) -> Decision:
        """Decide as `decide` does, without blocking the event loop: what may take long is done in one of `threads`, by
        default of the hook's own. A task that is cancelled abandons it.
        """
        threads = threads or self._hook._own_threads()  # noqa: SLF001 - of one piece
        return await acarry_out(self._steps(is_on_loop=True), threads, self.abandon)

    def abandon(self) -> None:
        """Say, from any thread, that nobody waits for the decision: hashing ends, and nothing is recorded."""
        self._is_wanted = False

    def close(self) -> None:
        """Drop the bytes; a decision in another thread keeps them until it is made."""
        if not self._is_closed:
            self._is_closed = True
            self._content.drop()


def _given_up() -> Cancelled:
    return Cancelled("the upload was given up before it was decided over")


_CAUSES: Final = (NoAnswer.HUB_AWAY, NoAnswer.UNREADABLE, NoAnswer.TOO_LARGE, NoAnswer.NO_PERCEPTUAL_HASH)
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


def _is_to_be_remembered(judged: Judged, causes: tuple[NoAnswer, ...]) -> bool:
    return (
        judged.result.verdict is not Verdict.UNAVAILABLE
        and judged.stale_since is None
        and not judged.is_past_limit
        and judged.at_least is Action.ALLOW
        and (judged.result.verdict is Verdict.MATCH or all(c is NoAnswer.NO_PERCEPTUAL_HASH for c in causes))
    )


def _held_at_least(checked: Checked, error: Exception, what: str) -> Checked:
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
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe waits for who writes to it
            raise InvalidArgument.field("upload", "is no regular file; give the path of one, or an open stream")
        file = path.open("rb")
    except (OSError, ValueError) as e:  # ValueError: a NUL in the path
        raise InvalidArgument.field("upload", f"cannot be opened: {getattr(e, 'strerror', None) or e}") from e
    with file:
        yield file


async def _pieces(stream: Any) -> Any:
    while piece := await stream.read(_PIECE):
        yield piece
