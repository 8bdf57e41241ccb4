"""How a call is let in: the quota of its token, a place in the limiter of its kind, and the thread on which it works.

    call ──> the token's quota of calls ──> the limiter ──> bytes: the limiter's budget, the token's quota ──> read

A quota is what one token may have in use at a time, at all workers together, of what all tokens use; an operator can
set it for a token. A limiter is of one process: so many calls of a kind work and wait, and no kind waits for another.
Tokens take turns (docs/decisions/0018). A refusal is LimitExceeded with a time to retry after.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import hashlib
import mmap
import os
import threading
import time
import weakref
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeAlias, TypeVar

from hashhub.errors import LimitExceeded, Reason, Unavailable
from hashhub.senders import ByteBudget
from hashhub.server.bodies import body_budget, take_bytes

if TYPE_CHECKING:
    from types import TracebackType

    from google.protobuf.message import Message

    from hashhub.config import Config
    from hashhub.model import Principal
    from hashhub.server.live import FrameRate


LimiterName = Literal[
    "calls",  # small ones: matching by hashes, names, reviews
    "pages",  # lists of up to a thousand lines, and what is done to many entries at once
    "imports",  # batches of records
    "commits",  # what writes a whole list, or undoes one: one at a time
    "media",  # hashing of files
    "feeds",  # followed feeds, each for as long as it is read
    "live",  # live streams, each for as long as it lasts
    "waits",  # calls that wait for the end of an operation
    "exports",  # entries on their way to a file, as fast as the caller writes it
    "webhooks",  # test calls, which wait for somebody else's server
    "trials",  # what another policy would change, one at a time
]
FOLLOWERS: Final = 64  # followed feeds in one process; each holds a thread that mostly sleeps


class Limiter:
    """Places for one kind of work. All but `depth` is for the event loop's thread.

    `working`: calls at a time. `waiting`: further ones that wait for a place. `retry_seconds`: how long the others are
    told to stay away: about what one call takes. `budget`: of the bytes of requests that are read or worked on.
    """

    def __init__(
        self, name: str, working: int, waiting: int, *, retry_seconds: float, budget: ByteBudget | None = None
    ) -> None:
        self.name, self.working, self.capacity = name, working, working + waiting
        self.retry_seconds, self.budget = retry_seconds, budget
        self.most_each = max(1, working * 3 // 4)
        self._most_of_one = max(1, self.capacity * 3 // 4)
        # So that one token alone gets its three quarters, too. Without a queue nobody could use what is spared.
        self._spared = min(max(1, working // 8), working - self.most_each) if waiting else 0
        self._working: Counter[str] = Counter()
        self._queues: dict[str, deque[asyncio.Future[None]]] = {}  # in the order of turns
        self._working_count = self._waiting_count = 0

    @property
    def depth(self) -> tuple[int, int]:
        """How many calls work, and how many wait."""
        return self._working_count, self._waiting_count

    def in_progress_of(self, token: str) -> int:
        """Return how many calls of a token work or wait here."""
        return self._working[token] + len(self._queues.get(token, ()))

    async def enter(self, token: str) -> None:
        """Wait for a place and take it; `leave` gives it back. Raises LimitExceeded when as many wait as may, of all or
        of this token; Unavailable when the caller goes while it waits.
        """
        if (
            self._working_count + self._waiting_count >= self.capacity
            or self.in_progress_of(token) >= self._most_of_one
        ):
            raise self.full()
        if self._may_begin(token):
            self._take(token)
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queues.setdefault(token, deque()).append(turn)
        self._waiting_count += 1
        try:
            await turn
        except asyncio.CancelledError as e:
            if turn.cancelled():
                self._forget(token, turn)
            else:
                self.leave(token)
            raise Unavailable(
                "the caller cancelled the call or went away; nothing was done", reason=Reason.CALLER_GONE
            ) from e

    def leave(self, token: str) -> None:
        """Give the place back."""
        self._working_count -= 1
        self._working[token] -= 1
        if not self._working[token]:
            del self._working[token]
        self._begin_next()

    def full(self) -> LimitExceeded:
        """Return the refusal of a call for which there is no place."""
        return LimitExceeded(
            f"the server has as many calls in progress and waiting as it takes (room: {self.name}); retry in "
            f"{self.retry_seconds:g} s, with fewer at once",
            retry_after=self.retry_seconds,
            metadata={"room": self.name},
        )

    def _may_begin(self, token: str) -> bool:
        own = self._working[token]
        most = self.working - self._spared if own else self.working
        return own < self.most_each and self._working_count < most

    def _take(self, token: str) -> None:
        self._working_count += 1
        self._working[token] += 1

    def _begin_next(self) -> None:
        """Give free places to tokens in turn, first to those with nothing working."""
        while ready := [token for token in self._queues if self._may_begin(token)]:
            token = next((token for token in ready if not self._working[token]), ready[0])
            queue = self._queues.pop(token)
            turn = queue.popleft()
            if queue:
                self._queues[token] = queue
            self._waiting_count -= 1
            if not turn.done():
                self._take(token)
                turn.set_result(None)

    def _forget(self, token: str, turn: asyncio.Future[None]) -> None:
        queue = self._queues.get(token, deque())
        if turn in queue:
            queue.remove(turn)
            self._waiting_count -= 1
        if not queue:
            self._queues.pop(token, None)


def limiters_of(config: Config) -> dict[LimiterName, Limiter]:
    """Return the limiters of one process, by name."""

    def budget() -> ByteBudget:
        return body_budget(config.max_bytes_in_progress, config.max_message_bytes)

    return {
        "calls": Limiter(
            "calls", config.threads, max(0, config.max_concurrent_calls - config.threads), retry_seconds=0.5
        ),
        "pages": Limiter("pages", 4, 60, retry_seconds=1.0),
        "imports": Limiter("imports", 4, 28, retry_seconds=0.5, budget=budget()),
        "commits": Limiter("commits", 1, config.max_waiting_commits, retry_seconds=2.0),
        "media": Limiter("media", config.media_children(), config.max_queued_media, retry_seconds=1.0, budget=budget()),
        "feeds": Limiter("feeds", FOLLOWERS, 0, retry_seconds=5.0),
        "live": Limiter("live", config.max_live_streams, 0, retry_seconds=5.0, budget=budget()),
        "waits": Limiter("waits", 16, 0, retry_seconds=2.0),
        "exports": Limiter("exports", 4, 8, retry_seconds=5.0),
        "webhooks": Limiter("webhooks", 2, 4, retry_seconds=5.0),
        "trials": Limiter("trials", 1, 3, retry_seconds=2.0),
    }


_T = TypeVar("_T")
_CallQueue: TypeAlias = "SimpleQueue[tuple[Callable[[], Any], asyncio.Future[Any]] | None]"


class CallThreads:
    """A fixed pool of daemon threads that run calls for the event loop.

    The one that was busy last is taken first: taken in turn, hits took half as much again of a core (600 µs each
    instead of 410), since what a thread works with has left the processor's cache by then.
    """

    def __init__(self, count: int) -> None:
        """Raises Unavailable where the system has too few to give."""
        self._queues: list[_CallQueue] = []
        self._idle: list[_CallQueue] = []
        try:
            for number in range(count):
                own: _CallQueue = SimpleQueue()
                threading.Thread(target=self._run, args=(own,), name=f"calls-{number}", daemon=True).start()
                self._queues.append(own)
                self._idle.append(own)
        except RuntimeError as e:
            self.close()
            raise Unavailable(
                f"the system has no {count} threads to give; raise the limit on threads, or set lower `threads` and "
                "`max_live_streams`"
            ) from e

    async def run(self, do: Callable[[], _T], when_cancelled: Callable[[], None]) -> _T:
        """Return what `do` returns on a thread, or raise what it raises. Its end is waited for even where the caller is
        cancelled, which `when_cancelled` is told. The caller has a place, of which there are as many as threads.
        """
        outcome: asyncio.Future[_T] = asyncio.get_running_loop().create_future()
        self._idle.pop().put((do, outcome))
        while not outcome.done():
            try:
                await asyncio.wait({outcome})
            except asyncio.CancelledError:
                when_cancelled()
        try:
            return outcome.result()
        finally:
            del outcome  # what it raised refers to this frame

    def close(self) -> None:
        """End each thread after the work that it does."""
        for queue in self._queues:
            queue.put(None)

    def _run(self, own: _CallQueue) -> None:
        while (work := own.get()) is not None:
            do, outcome = work
            try:
                settle, result = outcome.set_result, do()
            except BaseException as e:  # noqa: BLE001 - whatever it raises is its caller's, and the thread goes on
                settle, result = outcome.set_exception, e
            self._idle.append(own)  # before its place is free, so that each place finds a thread
            with contextlib.suppress(RuntimeError):  # the loop was closed over it
                outcome.get_loop().call_soon_threadsafe(settle, result)
            del work, do, outcome, settle, result


_MOST_KNOWN: Final = 100_000  # tokens in use at a time; more begin anew
ANONYMOUS: Final = ""


class TokenNames:
    """Names of tokens by digests of headers. It gives no rights: only where a look for a token waits depends on it."""

    def __init__(self) -> None:
        self._known: dict[bytes, str] = {}

    def name(self, authorization: str) -> str:
        """Return the name of the token that a header opened last, that of strangers where it opened none."""
        return self._known.get(_digest(authorization), ANONYMOUS)

    def note(self, authorization: str, token: str) -> None:
        """Remember whose header it is."""
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[_digest(authorization)] = token

    def forget(self, authorization: str) -> None:
        """Take a header that lets nobody in any more for a stranger's."""
        self._known.pop(_digest(authorization), None)


def _digest(authorization: str) -> bytes:
    return hashlib.sha256(authorization.encode("utf-8", "replace")).digest()


_MINUTE: Final = 60.0
_LONGEST_RETRY: Final = 30.0  # seconds
_WORDS: Final[Mapping[str, str]] = {
    "calls": "{} calls in progress",
    "streams": "{} followed feeds and live streams",
    "message_bytes": "{} bytes of requests in progress, or of answers that it has not taken",
    "media_seconds": "{} seconds of media hashing a minute",
}


class TokenQuotas:
    """What each token may take, and takes, of the hub."""

    def __init__(
        self,
        config: Config,
        *,
        cores: int,
        counts: QuotaCounts | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`cores`: of the machine, for the quota of media seconds where the settings name none. `counts`: what is
        taken; None: of this process alone.
        """
        self._most: Mapping[str, int] = {
            "calls": config.token_calls,
            "streams": config.token_streams,
            "message_bytes": config.token_message_bytes,
            "media_seconds": config.token_media_seconds or max(int(_MINUTE), cores * int(_MINUTE) // 2),
        }
        self._frames = config.token_live_frames_per_second
        self.counts = counts or QuotaCounts()
        self.clock = clock

    def most(self, principal: Principal, quota: str) -> int:
        """Return how much of a quota the token may take."""
        own: int = getattr(principal.shares, quota)
        return own or self._most[quota]

    def taken(self, token: str, quota: str) -> int:
        """Return how much of a quota a token has in use, at all workers."""
        return self.counts.held(token, quota)

    def take(self, principal: Principal, quota: str, count: int = 1) -> None:
        """Take so much of a quota; `give` gives it back. Raises LimitExceeded when the token has no more of it."""
        most = self.most(principal, quota)
        # One request is always let in: a quota below the size of a message would lock its token out.
        if not self.counts.take(principal.name, quota, count, most):
            raise self.exceeded(principal.name, quota, most, 1.0)

    def give(self, token: str, quota: str, count: int = 1) -> None:
        """Give back what was taken."""
        self.counts.give(token, quota, count)

    def check_media(self, principal: Principal) -> None:
        """Raise LimitExceeded while the token has used its media seconds up; time pays them back."""
        most = self.most(principal, "media_seconds")
        beyond = self.counts.debt(principal.name, "media_seconds", self.clock()) - _MINUTE
        if beyond >= 0:
            wait = beyond + _MINUTE / most  # until a second is free
            raise self.exceeded(principal.name, "media_seconds", most, min(wait, _LONGEST_RETRY))

    def charge_media(self, principal: Principal, seconds: float) -> None:
        """Count seconds of a core that hashing took; a token may go into debt by what it has in progress."""
        paid_in = seconds * _MINUTE / self.most(principal, "media_seconds")
        self.counts.add_debt(principal.name, "media_seconds", paid_in, self.clock())

    def take_frame(self, principal: Principal, own: FrameRate) -> float:
        """Take a frame by the pace of the token and of the stream, or return the seconds until there may be one."""
        at_once = max(1.0, self._frames)
        now = self.clock()
        beyond = self.counts.debt(principal.name, "frames", now) - (at_once - 1.0) / self._frames
        wait = max(beyond, own.wait())
        if wait > 0:
            return wait
        self.counts.add_debt(principal.name, "frames", 1.0 / self._frames, now)
        own.take()
        return 0.0

    def exceeded(self, token: str, quota: str, most: int, retry_after: float) -> LimitExceeded:
        """Return the refusal of a call by a token that has taken `most` of a quota, all that it may."""
        return LimitExceeded(
            f"token {token} has taken its share of this server ({_WORDS[quota].format(most)}); retry in "
            f"{retry_after:.1f} s, with less at once, or ask the operator for a larger share",
            reason=Reason.SHARE_EXCEEDED,
            retry_after=retry_after,
            metadata={"share": quota, "most": str(most)},
        )


class Admission:
    """A call that is let in, for as long as the body runs.

    `most_bytes`: the most that its request may have; so many are set aside until `settle` says how many it has.
    Entering raises LimitExceeded, and Unavailable when the caller goes while it waits.
    """

    def __init__(
        self, quotas: TokenQuotas, principal: Principal, limiter: Limiter, quota: str, most_bytes: int
    ) -> None:
        self._quotas, self._principal, self._limiter, self._quota = quotas, principal, limiter, quota
        self._bytes = most_bytes

    async def __aenter__(self) -> Self:
        token, budget = self._principal.name, self._limiter.budget
        with contextlib.ExitStack() as held:
            self._quotas.take(self._principal, self._quota)
            held.callback(self._quotas.give, token, self._quota)
            await self._limiter.enter(token)
            held.callback(self._limiter.leave, token)
            if budget is not None and self._bytes:
                self._quotas.take(self._principal, "message_bytes", self._bytes)
                held.callback(lambda: self._quotas.give(token, "message_bytes", self._bytes))
                take_bytes(budget, token, self._bytes)
                held.callback(lambda: budget.give_back(self._bytes, token))
            self._held = held.pop_all()
        return self

    def settle(self, message: Message) -> None:
        """Give back what was set aside beyond the request's real size. May be called on any thread."""
        if self._limiter.budget is not None and (beyond := self._bytes - message.ByteSize()) > 0:
            self._bytes -= beyond
            self._limiter.budget.give_back(beyond, self._principal.name)
            self._quotas.give(self._principal.name, "message_bytes", beyond)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.close()


HELD: Final = ("calls", "streams", "message_bytes")
PAID: Final = ("media_seconds", "frames")
MOST_ROWS: Final = 65_536  # 6 MiB with two workers, of which what is used takes memory
_DIGEST: Final = hashlib.sha256().digest_size
_CELL: Final = 8
_HELD_AT: Final = {name: number for number, name in enumerate(HELD)}
_PAID_AT: Final = {name: number for number, name in enumerate(PAID)}
_NANOSECONDS: Final = 1_000_000_000
_LONGEST_WAIT: Final = 0.2  # seconds, for the lock that is held for microseconds
_SHORT_WAIT: Final = 0.005  # the same, soon after somebody waited in vain
_DISTRUST_SECONDS: Final = 5.0  # how soon that is
_LOOK_SECONDS: Final = 0.001


class QuotaCounts:
    """The counts as one process sees them.

        used rows │ digests of the tokens' names │ row of token 0: calls    of worker 0, 1, … n-1
                  │                              │                 streams  of worker 0, 1, … n-1
                  │                              │                 bytes    of worker 0, 1, … n-1
                  │                              │                 when its media seconds are paid, and its frames

    **Held** counts have a column for each worker, which alone writes it: no lock is held over it, and the parent clears
    the column of a worker that died. **Paid** ones are points in time. They and new rows are written under a lock on
    the file, which others wait for only briefly in case its holder was stopped. Beyond `MOST_ROWS` tokens each process
    counts for itself.
    """

    def __init__(self, workers: int = 1, *, most_rows: int = MOST_ROWS, file: int | None = None) -> None:
        """`workers`: that share the counts; 1: this process alone. `file`: of counts that there are already,
        which closes it.
        """
        self.worker = 0
        """Which of them this process is."""
        self.workers, self.most_rows = workers, most_rows
        self._width = len(HELD) * workers + len(PAID)
        self._lock = threading.Lock()
        self._writing = threading.Lock()  # beside the file's, for which a call that only counts must not wait
        self._distrusted_until = 0.0
        self._fence = threading.Lock()
        self._fence.acquire()
        self._rows: dict[str, memoryview] = {}
        self._places: dict[bytes, int] = {}
        self._first = _CELL + most_rows * _DIGEST
        self._file: int | None = None
        if workers > 1:
            size = self._first + most_rows * self._width * _CELL
            self._file = os.memfd_create("hashhub-counts", os.MFD_CLOEXEC) if file is None else file
            weakref.finalize(self, os.close, self._file)
            if file is None:
                os.ftruncate(self._file, size)
            self._bytes = memoryview(mmap.mmap(self._file, size))
            # Aligned cells of eight bytes: each is read and written whole.
            self._cells = self._bytes.cast("q")

    @property
    def file(self) -> int:
        """The descriptor of what the workers share, which is passed on to their processes; -1 without one."""
        return -1 if self._file is None else self._file

    def prepare(self, token: str) -> None:
        """Make the token's row if need be, so that `take` waits for nobody."""
        if token not in self._rows:
            self.make_row(token)

    def is_prepared(self, token: str) -> bool:
        """Whether the token has its row."""
        return token in self._rows

    def take(self, token: str, what: str, count: int, most: int) -> bool:
        """Add to what the token holds if that is `most` then, or if it holds nothing else; tell whether it was."""
        row = self._rows.get(token) or self.make_row(token)
        first = _HELD_AT[what] * self.workers
        with self._lock:
            row[first + self.worker] += count
            # What was written must be seen by all before others' columns are read; giving a lock back and taking it
            # again is such a barrier on x86-64 and ARM.
            self._fence.release()
            self._fence.acquire()
            taken = sum(row[first : first + self.workers])
            if taken <= most or taken == count:
                return True
            row[first + self.worker] -= count
        return False

    def give(self, token: str, what: str, count: int) -> None:
        """Take back what was added."""
        at = _HELD_AT[what] * self.workers + self.worker
        with self._lock:
            self._rows[token][at] -= count

    def held(self, token: str, what: str) -> int:
        """Return how much the token holds, at all workers."""
        row = self._rows.get(token) or self.make_row(token)
        first = _HELD_AT[what] * self.workers
        return sum(row[first : first + self.workers])

    def add_debt(self, token: str, what: str, seconds: float, now: float) -> None:
        """Add seconds to the token's debt. `now`: of the monotonic clock, which all processes share."""
        row = self._rows.get(token) or self.make_row(token)
        at = len(HELD) * self.workers + _PAID_AT[what]
        with self._alone():
            row[at] = max(row[at], int(now * _NANOSECONDS)) + int(seconds * _NANOSECONDS)

    def debt(self, token: str, what: str, now: float) -> float:
        """Return how many seconds remain until the token's debt is paid off."""
        row = self._rows.get(token) or self.make_row(token)
        until = row[len(HELD) * self.workers + _PAID_AT[what]]
        return max(0, until - int(now * _NANOSECONDS)) / _NANOSECONDS

    def clear(self, worker: int) -> None:
        """Take back all that a worker held that is no more."""
        if self._file is None:
            return
        for number in range(self._cells[0]):
            row = self._at(number)
            for first in range(0, len(HELD) * self.workers, self.workers):
                row[first + worker] = 0

    def make_row(self, token: str) -> memoryview:
        """Return the token's row, which is made if need be."""
        with self._alone() as is_locked:
            row = self._rows.get(token)
            if row is None:
                place = self._place(hashlib.sha256(token.encode()).digest()) if is_locked else None
                row = memoryview(bytearray(self._width * _CELL)).cast("q") if place is None else self._at(place)
                self._rows[token] = row
            return row

    def _place(self, digest: bytes) -> int | None:
        """Return which shared row is that of a name, None beyond the bound. The caller is alone."""
        used = self._cells[0]
        for number in range(len(self._places), used):  # those that other workers made
            self._places[bytes(self._bytes[(at := _CELL + number * _DIGEST) : at + _DIGEST])] = number
        if digest not in self._places and used < self.most_rows:
            # A worker that is killed in between leaves a name without a row, which the next one overwrites.
            self._bytes[(at := _CELL + used * _DIGEST) : at + _DIGEST] = digest
            self._cells[0] = used + 1
            self._places[digest] = used
        return self._places.get(digest)

    def _at(self, place: int) -> memoryview:
        first = self._first // _CELL + place * self._width
        return self._cells[first : first + self._width]

    @contextlib.contextmanager
    def _alone(self) -> Iterator[bool]:
        """Keep other threads and processes from writing what is not one worker's alone. Yields whether the file is
        locked: not where there is none, and not where another process does not let go of it.
        """
        with self._writing:
            is_locked = self._file is not None and self._lock_file(self._file)
            try:
                yield is_locked
            finally:
                if is_locked and self._file is not None:
                    fcntl.lockf(self._file, fcntl.LOCK_UN)

    def _lock_file(self, file: int) -> bool:
        began = time.monotonic()
        is_trusted = began >= self._distrusted_until
        until = began + (_LONGEST_WAIT if is_trusted else _SHORT_WAIT)
        while True:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # of the process: flock's the parent would share
            except OSError as e:
                if e.errno not in {errno.EACCES, errno.EAGAIN}:
                    raise
            else:
                return True
            if time.monotonic() >= until:
                if is_trusted:
                    self._distrusted_until = until + _DISTRUST_SECONDS
                return False
            time.sleep(_LOOK_SECONDS)
