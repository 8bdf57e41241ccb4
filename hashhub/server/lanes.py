"""The threads of a room, with a lane for each token: a queue of calls in which nobody can stand in front of everybody.

    call of token a ──> lane a ──┐
    call of token b ──> lane b ──┼──> lanes with calls take turns ──> threads
    unknown token   ──> strangers┘

grpc gives every call to an executor before anybody has looked who makes it. A plain one has one queue: 200 slow calls
of one token, or of none, and everybody else waits behind them. Here the call waits in the lane of the token that its
header was last seen to open, and lanes take turns; one lane keeps at most three quarters of the threads busy. Which
lane a call waits in gives it no rights: its header is looked at again when it is its turn.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from hashhub.model import Principal

STRANGERS: Final = ""
_MOST_LANES: Final = 1_000  # of a room; idle ones are dropped beyond
_MOST_KNOWN: Final = 100_000  # tokens in use at a time; more begin anew


_worked_on = threading.local()  # `end`: what is called when this thread's call ends


def end_call() -> None:
    """Say that the call this thread works on has its answer, before that is sent: whoever has it may make another call
    at once, beside which this one must not count.
    """
    end, _worked_on.end = getattr(_worked_on, "end", None), None
    if end is not None:
        end()


class Callers:
    """Which token a header has opened: digests of headers only."""

    def __init__(self) -> None:
        self._known: dict[bytes, Principal] = {}

    def who(self, authorization: str) -> Principal | None:
        """Return whom a header let in last, None for strangers."""
        return self._known.get(_digest(authorization)) if authorization else None

    def note(self, authorization: str, principal: Principal) -> None:
        """Remember whom a header let in."""
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[_digest(authorization)] = principal

    def forget(self, authorization: str) -> None:
        """Take a header that lets nobody in any more for a stranger's: it must not use its token's share up."""
        self._known.pop(_digest(authorization), None)


def _digest(authorization: str) -> bytes:
    # However it is written: a header that opens a token and is not known as its own would wait among the strangers, and
    # one token could have their threads as well as those of its own lane.
    scheme, _, secret = authorization.partition(" ")
    return hashlib.sha256(f"{scheme.lower()} {secret.strip()}".encode("utf-8", "replace")).digest()


class Threads:
    """The threads of one room.

    `working`: how many. `waiting`: calls that wait for one. `most_each`: calls of one lane that are worked on at a
    time. `most_in_lane`: calls of one lane that work or wait. `on_end` is called with the lane's name for each call
    that was given to one, once: when it has ended (`end_call`) or could not be begun.
    """

    def __init__(
        self,
        name: str,
        working: int,
        waiting: int,
        *,
        most_each: int,
        most_in_lane: int,
        on_end: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.most_in_lane, self._on_end = most_in_lane, on_end
        self._name, self._working, self.capacity = name, working, working + waiting
        self._most_each = most_each
        self._lock = threading.Lock()
        self._lanes: dict[str, Lane] = {}
        self._turns: SimpleQueue[Lane | None] = SimpleQueue()  # lanes whose next call can be begun
        self._due = 0  # turns that no thread has taken yet, and calls that are worked on
        self._threads: list[threading.Thread] = []
        self._is_open = True
        self.in_progress = 0
        # Now, and not with the first call: where the system has no thread to give, grpc's polling thread would end with
        # what `submit` raises, and no call would be answered any more.
        self._add_thread()

    def lane(self, name: str) -> Lane:
        """Return the lane with this name."""
        with self._lock:
            lane = self._lanes.get(name)
            if lane is None:
                if len(self._lanes) >= _MOST_LANES:
                    self._lanes = {n: one for n, one in self._lanes.items() if one.in_progress}
                lane = self._lanes[name] = Lane(self, name)
            return lane

    @property
    def is_full(self) -> bool:
        """Whether no further call can wait. A look without a lock: few threads add calls, so that one or two more than
        that may be let in.
        """
        return self.in_progress >= self.capacity

    def add(self, lane: Lane, future: Future[Any], work: Callable[[], Any]) -> None:
        """Let a call wait in its lane."""
        try:
            self._add(lane, future, work)
        except RuntimeError:
            self._on_end(lane.name)
            raise

    def _add(self, lane: Lane, future: Future[Any], work: Callable[[], Any]) -> None:
        with self._lock:
            if not self._is_open:
                raise RuntimeError("the threads have ended")  # as an executor says it
            self.in_progress += 1
            lane.in_progress += 1
            lane.calls.append((future, work))
            self._line_up(lane)

    def close(self) -> None:
        """Take no more calls. Threads end after the call that they work on; those that wait are dropped."""
        with self._lock:
            self._is_open = False
            threads = len(self._threads)
        for _ in range(threads):
            self._turns.put(None)

    def _line_up(self, lane: Lane) -> None:
        """Let the lane have a turn, once, if it has a call and may begin it. The caller holds the lock."""
        if lane.calls and not lane.is_lined_up and lane.working < self._most_each:
            if len(self._threads) < min(self._due + 1, self._working):
                with contextlib.suppress(RuntimeError):  # the system has none to give: those that there are go on
                    self._add_thread()
            lane.is_lined_up = True
            self._due += 1
            self._turns.put(lane)

    def _add_thread(self) -> None:
        """Start one more thread. Raises RuntimeError where the system has none to give."""
        thread = threading.Thread(target=self._run, name=f"{self._name}-{len(self._threads)}", daemon=True)
        thread.start()
        self._threads.append(thread)

    def _run(self) -> None:
        while True:
            lane = self._turns.get()
            with self._lock:
                if lane is None or not self._is_open:
                    return
                future, work = lane.calls.popleft()
                lane.is_lined_up = False
                lane.working += 1
                self._line_up(lane)
            _worked_on.end = functools.partial(self._on_end, lane.name)
            try:
                future.set_result(work())
            except BaseException as e:  # noqa: BLE001 - whatever a call raises is its caller's, and the thread goes on
                future.set_exception(e)
            del future, work
            end_call()
            with self._lock:
                self._due -= 1
                lane.working -= 1
                lane.in_progress -= 1
                self.in_progress -= 1
                self._line_up(lane)


class Lane(ThreadPoolExecutor):
    """What grpc takes for the executor of a call: it submits to the room's threads, in one token's lane.

    grpc takes nothing but a ThreadPoolExecutor; the threads of that one are never started.
    """

    def __init__(self, threads: Threads, name: str) -> None:
        super().__init__(1)
        self.name = name
        self.calls: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self.working = self.in_progress = 0
        self.is_lined_up = False
        self._room = threads

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Let the call wait for its turn."""
        future: Future[Any] = Future()
        self._room.add(self, future, lambda: fn(*args, **kwargs))
        return future
