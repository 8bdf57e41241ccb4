"""Limiters: how many calls of each kind run and wait, so that no kind waits for another; and the threads on
which they work.

    calls     small calls: matching by hashes, names, reviews
    pages     lists of up to a thousand lines, and what is done to many entries at once
    imports   batches of records
    commits   what writes a whole list, or undoes one: one at a time
    media     hashing of files
    feeds     followed feeds, each for as long as it is read
    live      live streams, each for as long as it lasts
    waits     calls that wait for the end of an operation
    exports   entries on their way to a file, as fast as the caller writes it
    webhooks  test calls, which wait for somebody else's server
    trials    what another policy would change, one at a time

Each process has its own. Tokens take turns, and none can take a limiter for itself: docs/decisions/0018.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import threading
from collections import Counter, deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from hashhub.errors import LimitExceeded, Reason, Unavailable
from hashhub.senders import ByteBudget
from hashhub.server.bodies import body_budget

if TYPE_CHECKING:
    from hashhub.config import Config


LimiterName = Literal[
    "calls", "pages", "imports", "commits", "media", "feeds", "live", "waits", "exports", "webhooks", "trials"
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


class CallThreads:
    """So many daemon threads."""

    def __init__(self, count: int) -> None:
        """Raises Unavailable where the system has too few to give."""
        self._queue: SimpleQueue[tuple[Callable[[], Any], asyncio.Future[Any]] | None] = SimpleQueue()
        self._count = 0
        try:
            for number in range(count):
                threading.Thread(target=self._run, name=f"calls-{number}", daemon=True).start()
                self._count += 1
        except RuntimeError as e:
            self.close()
            raise Unavailable(
                f"the system has no {count} threads to give; raise the limit on threads, or set lower `threads` and "
                "`max_live_streams`"
            ) from e

    async def run(self, do: Callable[[], _T], when_cancelled: Callable[[], None]) -> _T:
        """Return what `do` returns on a thread, or raise what it raises. Its end is waited for even where the caller is
        cancelled, which `when_cancelled` is told.
        """
        outcome: asyncio.Future[_T] = asyncio.get_running_loop().create_future()
        self._queue.put((do, outcome))
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
        for _ in range(self._count):
            self._queue.put(None)

    def _run(self) -> None:
        while (work := self._queue.get()) is not None:
            do, outcome = work
            try:
                settle, result = outcome.set_result, do()
            except BaseException as e:  # noqa: BLE001 - whatever it raises is its caller's, and the thread goes on
                settle, result = outcome.set_exception, e
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
