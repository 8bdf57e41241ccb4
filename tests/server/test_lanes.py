"""Who gets a thread, and lanes when the system has no more threads to give (over gRPC: test_rooms.py)."""

from __future__ import annotations

import random
import threading
from collections import Counter
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, NoReturn

import pytest

from hashhub.server.lanes import Lane, Threads
from tests.server.calls import wait_until


def _no_thread(_: threading.Thread) -> NoReturn:
    raise RuntimeError("can't start new thread")


def test_the_first_call_needs_no_new_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over gRPC nobody could refuse it: what `submit` raises ends the thread that takes all calls."""
    threads = Threads("calls", 4, 10, most_each=3, most_in_lane=10)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", _no_thread)
        assert threads.lane("one").submit(str, 2).result(60) == "2"
    threads.close()


def test_the_threads_that_there_are_go_on_when_no_more_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = Threads("calls", 4, 10, most_each=3, most_in_lane=10)
    lane = threads.lane("one")
    is_working, may_end = threading.Event(), threading.Event()

    def work() -> bool:
        is_working.set()
        return may_end.wait(180)

    first = lane.submit(work)
    assert is_working.wait(180)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", _no_thread)
        waiting = [lane.submit(str, number) for number in range(5)]
    assert threads.in_progress == 6
    may_end.set()
    assert first.result(60)
    assert [call.result(60) for call in waiting] == ["0", "1", "2", "3", "4"]
    threads.close()


class _Desk:
    """Calls that work until they are told to end, and what was so whenever one began."""

    def __init__(self, working: int) -> None:
        self.most_each = max(1, working * 3 // 4)
        self.spared = min(max(1, working // 8), working - self.most_each)
        self.threads = Threads("calls", working, 10_000, most_each=self.most_each, most_in_lane=10_000)
        self.count = working
        self.lock = threading.Lock()
        self.working: dict[str, list[threading.Event]] = {}
        self.waiting: Counter[str] = Counter()
        self.begun: Counter[str] = Counter()
        self.passed: Counter[str] = Counter()  # calls of others that began while this lane had nothing working
        self.broken: list[str] = []
        self.futures: list[Future[Any]] = []

    @property
    def busy(self) -> int:
        return sum(map(len, self.working.values()))

    def lane(self, name: str) -> Lane:
        return self.threads.lane(name)

    def call(self, name: str) -> None:
        with self.lock:
            self.waiting[name] += 1
        self.futures.append(self.lane(name).submit(self._work, name))

    def end(self, name: str) -> None:
        with self.lock:
            may_end = self.working[name].pop(0)
        may_end.set()

    def _work(self, name: str) -> None:
        may_end = threading.Event()
        with self.lock:
            own = self.working.setdefault(name, [])
            if own and self.busy >= self.count - self.spared:
                self.broken.append(f"{name} began call {len(own) + 1} of its own beside {self.busy} of {self.count}")
            self.waiting[name] -= 1
            self.begun[name] += 1
            self.passed[name] = 0
            for other, count in self.waiting.items():
                if count and other != name and not self.working.get(other):
                    self.passed[other] += 1
            own.append(may_end)
        assert may_end.wait(180)

    def is_settled(self) -> bool:
        """Whether nobody waits who need not."""
        with self.lock:
            free = self.count - self.busy
            return not any(
                count
                and len(own := self.working.get(name, ())) < self.most_each
                and (free > self.spared or (free and not own))
                for name, count in self.waiting.items()
            )

    def close(self) -> None:
        while any(self.waiting.values()) or self.busy:
            wait_until(lambda: self.busy > 0)
            for name in [name for name, own in self.working.items() if own]:
                self.end(name)
        for future in self.futures:
            future.result(180)
        self.threads.close()


@pytest.mark.parametrize("working", [4, 8, 16])
def test_two_tokens_leave_threads_to_a_third(working: int) -> None:
    """Each had three quarters of them, and so both had all. With four threads the second has the last one."""
    desk = _Desk(working)
    for _ in range(2 * working):
        desk.call("one")
    wait_until(lambda: len(desk.working.get("one", ())) == desk.most_each)
    for _ in range(2 * working):
        desk.call("two")
    wait_until(desk.is_settled)
    assert len(desk.working["two"]) == max(1, working - desk.most_each - desk.spared)
    assert not desk.broken
    desk.call("three")
    if working == 4:
        desk.end("one")
    wait_until(lambda: len(desk.working.get("three", ())) == 1)
    desk.close()


@pytest.mark.parametrize("working", [1, 2, 3, 4, 8, 16])
def test_a_token_alone_has_three_quarters_of_the_threads(working: int) -> None:
    desk = _Desk(working)
    for _ in range(2 * working):
        desk.call("one")
    wait_until(lambda: len(desk.working.get("one", ())) == max(1, working * 3 // 4))
    desk.close()
    assert desk.begun["one"] == 2 * working


def test_threads_that_one_lane_may_have_all_of_are_its_own() -> None:
    threads = Threads("small", 8, 100, most_each=8, most_in_lane=108)
    begun = threading.Barrier(9)
    for _ in range(8):
        threads.lane("small").submit(begun.wait, 180)
    begun.wait(180)
    threads.close()


@pytest.mark.parametrize("is_one_by_one", [True, False], ids=["one by one", "at once"])
@pytest.mark.parametrize("seed", range(8))
def test_nobody_waits_who_need_not_and_nobody_for_ever(seed: int, is_one_by_one: bool) -> None:
    """Calls come and end at random. Whether a call might begin can be said where one thing happens at a time."""
    chance = random.Random(seed)
    desk = _Desk(working := chance.choice([1, 2, 3, 4, 5, 8, 16]))
    names = [f"token-{n}" for n in range(chance.randint(1, 2 * working + 1))]
    for _ in range(80):
        busy = [name for name, own in desk.working.items() if own]
        if busy and chance.random() < 0.5:
            desk.end(chance.choice(busy))
        else:
            desk.call(names[int(len(names) * chance.random() ** 2)])  # some call more than others
        if is_one_by_one:
            wait_until(desk.is_settled)
            assert not desk.broken
        with desk.lock:
            assert all(len(own) <= desk.most_each for own in desk.working.values())
            # Those that waited before it with nothing working come first, once each.
            assert all(count <= len(names) + working for count in desk.passed.values())
    desk.close()
    assert sum(desk.begun.values()) == len(desk.futures)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_with_few_threads_a_third_token_waits_for_one_call_to_end(count: int) -> None:
    """Two tokens have all threads, and much more to do. With one thread it waits behind the second token's call, too:
    that one has nothing working either.
    """
    most = max(1, count * 3 // 4)
    threads = Threads("calls", count, 1_000, most_each=most, most_in_lane=1_000)
    begun: SimpleQueue[tuple[str, threading.Event]] = SimpleQueue()

    def work(name: str) -> None:
        may_end = threading.Event()
        begun.put((name, may_end))
        may_end.wait(180)

    working = []
    for name, calls in (("one", most), ("two", count - most)):
        for _ in range(20):
            threads.lane(name).submit(work, name)
        working += [begun.get(timeout=20) for _ in range(calls)]
    assert {name for name, _ in working} == ({"one"} if count == 1 else {"one", "two"})
    threads.lane("third").submit(work, "third")
    working.pop(0)[1].set()
    name, may_end = begun.get(timeout=20)
    if count == 1:
        assert name == "two"
        may_end.set()
        name, may_end = begun.get(timeout=20)
    assert name == "third"
    threads.close()
    for _, one in [*working, (name, may_end)]:
        one.set()
