"""The threads of a room, with a lane for each token: a queue of calls in which nobody can stand in front of everybody.

    call of token a ──> lane a ──┐
    call of token b ──> lane b ──┼──> lanes with calls take turns ──> threads
    unknown token   ──> strangers┘
                          └──> the lane of its token, as soon as that is known

grpc gives every call to an executor before anybody has looked who makes it. A plain one has one queue: 200 slow calls
of one token, or of none, and everybody else waits behind them. Here the call waits in the lane of the token that its
header was last seen to open, and lanes take turns; one lane keeps at most three quarters of the threads busy, and that
of strangers half. The last eighth of the threads, one at least, is for lanes with nothing working: two tokens together
would have all threads otherwise, and a third one would wait for a call of theirs to end. With four threads or fewer two
can have them all even so; the next that is free is the third one's then. Which lane a call waits in gives it no rights:
its header is looked at again when it is its turn.

A header that this process has not met is a stranger's until its first call was let in. That one counts in its token's
lane from then on, and those that came with it go over there when it is their turn: or a token would have the threads of
strangers as well as those of its own lane.
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


# `end`: what is called when this thread's call ends; `moves`: what counts it in the lane with a name
_worked_on = threading.local()


def end_call() -> None:
    """Say that the call this thread works on has its answer, before that is sent: whoever has it may make another call
    at once, beside which this one must not count.
    """
    end, _worked_on.end = getattr(_worked_on, "end", None), None
    if end is not None:
        end()


def belong_to(token: str) -> None:
    """Count the call that this thread works on in the lane of a token, whose it turned out to be."""
    moves = getattr(_worked_on, "moves", None)
    if moves is not None:
        moves(token)


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
    time; `most_strangers`: of that of strangers, 0: as of any other. `most_in_lane`: calls of one lane that work or
    wait. `on_end` is called with the lane's name for each call that was given to one, once: when it has ended
    (`end_call`) or could not be begun.
    """

    def __init__(
        self,
        name: str,
        working: int,
        waiting: int,
        *,
        most_each: int,
        most_in_lane: int,
        most_strangers: int = 0,
        on_end: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.most_in_lane, self._on_end = most_in_lane, on_end
        self._name, self._working, self.capacity = name, working, working + waiting
        self._most_each, self._most_strangers = most_each, most_strangers or most_each
        # So that one lane alone gets `most_each`, too.
        self._shared = working - min(max(1, working // 8), working - most_each)
        self._lock = threading.Lock()
        self._lanes: dict[str, Lane] = {}
        self._turns: SimpleQueue[Lane | None] = SimpleQueue()  # lanes whose next call can be begun
        self._held_back: dict[Lane, None] = {}  # in turn: with something working, and too few threads free for more
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
            return self._lane(name)

    @property
    def is_full(self) -> bool:
        """Whether no further call can wait. A look without a lock: few threads add calls, so that one or two more than
        that may be let in.
        """
        return self.in_progress >= self.capacity

    def add(self, call: _Call) -> None:
        """Let a call wait in its lane."""
        try:
            self._add(call)
        except RuntimeError:
            self._on_end(call.counted_for)
            raise

    def _add(self, call: _Call) -> None:
        with self._lock:
            if not self._is_open:
                raise RuntimeError("the threads have ended")  # as an executor says it
            self.in_progress += 1
            call.lane.in_progress += 1
            call.lane.calls.append(call)
            self._line_up(call.lane)

    def close(self) -> None:
        """Take no more calls. Threads end after the call that they work on; those that wait are dropped."""
        with self._lock:
            self._is_open = False
            threads = len(self._threads)
        for _ in range(threads):
            self._turns.put(None)

    def _lane(self, name: str) -> Lane:
        """Return the lane with this name. The caller holds the lock."""
        lane = self._lanes.get(name)
        if lane is None:
            if len(self._lanes) >= _MOST_LANES:
                self._lanes = {n: one for n, one in self._lanes.items() if one.in_progress}
            most = self._most_strangers if name == STRANGERS else self._most_each
            lane = self._lanes[name] = Lane(self, name, most)
        return lane

    def _line_up(self, lane: Lane) -> None:
        """Let the lane have a turn, once, if it has a call and may begin it. The caller holds the lock."""
        if lane.calls and not lane.is_lined_up and lane.working < lane.most:
            if lane.working:
                self._held_back.setdefault(lane)
            else:
                self._give_turn(lane)
        while self._held_back and self._due < self._shared:
            lane = next(iter(self._held_back))
            if lane.working < lane.most:
                self._give_turn(lane)
            else:
                del self._held_back[lane]  # a call of strangers turned out to be its own

    def _give_turn(self, lane: Lane) -> None:
        """Let the lane have a turn. The caller holds the lock."""
        self._held_back.pop(lane, None)
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
                call = lane.calls.popleft()
                lane.is_lined_up = False
                token = call.whose()
                if token is not None and token != lane.name:
                    self._due -= 1
                    self._hand_over(call, token)
                    del call  # another thread's now: it must not outlive its work here
                    continue
                lane.working += 1
                self._line_up(lane)
            _worked_on.end = functools.partial(self._on_end, call.counted_for)
            _worked_on.moves = functools.partial(self._move, call)
            try:
                call.future.set_result(call.work())
            except BaseException as e:  # noqa: BLE001 - whatever a call raises is its caller's, and the thread goes on
                call.future.set_exception(e)
            _worked_on.moves = None
            end_call()
            with self._lock:
                self._due -= 1
                call.lane.working -= 1
                call.lane.in_progress -= 1
                self.in_progress -= 1
                self._line_up(call.lane)
            del call, lane

    def _hand_over(self, call: _Call, token: str) -> None:
        """Let a call whose turn it is wait in the lane of a token instead. The caller holds the lock."""
        before, call.lane = call.lane, self._lane(token)
        before.in_progress -= 1
        call.lane.in_progress += 1
        call.lane.calls.append(call)
        self._line_up(call.lane)
        self._line_up(before)

    def _move(self, call: _Call, token: str) -> None:
        """Count a call that is worked on in the lane of a token."""
        with self._lock:
            before, call.lane = call.lane, self._lane(token)
            before.working -= 1
            before.in_progress -= 1
            call.lane.working += 1
            call.lane.in_progress += 1
            self._line_up(before)


class _Call:
    """A call in a lane.

    `counted_for`: the lane's name that `on_end` is told. `whose`: the token that its header has opened by now, None as
    long as that is not known.
    """

    __slots__ = ("counted_for", "future", "lane", "whose", "work")

    def __init__(self, lane: Lane, work: Callable[[], Any], whose: Callable[[], str | None]) -> None:
        self.lane, self.work, self.whose = lane, work, whose
        self.counted_for = lane.name
        self.future: Future[Any] = Future()


class Lane(ThreadPoolExecutor):
    """What grpc takes for the executor of a call: it submits to the room's threads, in one token's lane.

    grpc takes nothing but a ThreadPoolExecutor; the threads of that one are never started.
    """

    def __init__(self, threads: Threads, name: str, most: int) -> None:
        super().__init__(1)
        self.name, self.most = name, most
        self.calls: deque[_Call] = deque()
        self.working = self.in_progress = 0
        self.is_lined_up = False
        self._room = threads

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Let the call wait for its turn."""
        return self.submit_of(lambda: fn(*args, **kwargs), _nobody)

    def submit_of(self, work: Callable[[], Any], whose: Callable[[], str | None]) -> Future[Any]:
        """Let a call wait for its turn; once `whose` returns a token, it goes over to that one's lane."""
        call = _Call(self, work, whose)
        self._room.add(call)
        return call.future


def _nobody() -> None:
    """What is known of the callers of a lane that is a token's: nothing that would lead them elsewhere."""


class Unmet(ThreadPoolExecutor):
    """What grpc takes for the executor of one call of a header that has opened nothing yet."""

    def __init__(self, lane: Lane, whose: Callable[[], str | None]) -> None:
        """`lane`: the strangers'."""
        super().__init__(1)
        self._lane, self._whose = lane, whose

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Let the call wait for its turn."""
        return self._lane.submit_of(lambda: fn(*args, **kwargs), self._whose)
