"""Who gets a place in a room (over gRPC: test_rooms.py)."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from hashhub.errors import LimitExceeded, Reason, Unavailable
from hashhub.server.admission import Limiter


class Desk:
    """Calls that work until they are told to end, and what was so whenever one began."""

    def __init__(self, working: int, waiting: int = 10_000) -> None:
        self.room = Limiter("calls", working, waiting, retry_seconds=1.0)
        self.count, self.most_each = working, max(1, working * 3 // 4)
        self.spared = min(max(1, working // 8), working - self.most_each) if waiting else 0
        self.working: Counter[str] = Counter()
        self.waiting: Counter[str] = Counter()
        self.passed: Counter[str] = Counter()  # calls of others that began while this token had nothing working
        self.tasks: list[tuple[str, asyncio.Task[None]]] = []

    def call(self, token: str) -> None:
        self.waiting[token] += 1
        self.tasks.append((token, asyncio.get_running_loop().create_task(self._enter(token))))

    async def _enter(self, token: str) -> None:
        try:
            await self.room.enter(token)
        finally:
            self.waiting[token] -= 1
        others = self.working.total()
        assert not self.working[token] or others < self.count - self.spared, f"{token} beside {others} of {self.count}"
        assert self.working[token] < self.most_each
        self.passed[token] = 0
        for other, count in self.waiting.items():
            if count and other != token and not self.working[other]:
                self.passed[other] += 1
        self.working[token] += 1

    def end(self, token: str) -> None:
        self.working[token] -= 1
        self.room.leave(token)

    def check_that_nobody_waits_who_need_not(self) -> None:
        free = self.count - self.working.total()
        for token, count in self.waiting.items():
            own = self.working[token]
            may_begin = own < self.most_each and (free > self.spared or (free and not own))
            assert not (count and may_begin), f"{token} waits beside {free} free places"

    async def close(self) -> None:
        while self.waiting.total() or self.working.total():
            for token in [token for token, count in self.working.items() if count]:
                self.end(token)
            await settled()
        for _, task in self.tasks:
            await task
        assert self.room.depth == (0, 0)


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.mark.parametrize("working", [4, 8, 16])
def test_two_tokens_leave_places_to_a_third(working: int) -> None:
    """Each had three quarters of them, and so both had all. With four places the second has the last one."""

    async def test() -> None:
        desk = Desk(working)
        for token in ("one", "two"):
            for _ in range(2 * working):
                desk.call(token)
        await settled()
        assert desk.working["one"] == desk.most_each
        assert desk.working["two"] == max(1, working - desk.most_each - desk.spared)
        desk.call("three")
        if working == 4:
            desk.end("one")
        await settled()
        assert desk.working["three"] == 1
        await desk.close()

    asyncio.run(test())


@pytest.mark.parametrize("working", [1, 2, 3, 4, 8, 16])
def test_a_token_alone_has_three_quarters_of_the_places(working: int) -> None:
    async def test() -> None:
        desk = Desk(working)
        for _ in range(2 * working):
            desk.call("one")
        await settled()
        assert desk.working["one"] == max(1, working * 3 // 4)
        await desk.close()

    asyncio.run(test())


@pytest.mark.parametrize("seed", range(20))
def test_whatever_comes_and_goes_nobody_waits_in_vain(seed: int) -> None:
    async def test() -> None:
        chance = random.Random(seed)
        working = chance.choice([1, 2, 3, 4, 8, 16])
        desk = Desk(working)
        names = [f"token {n}" for n in range(chance.randint(1, 6))]
        for _ in range(300):
            busy = [token for token, count in desk.working.items() if count]
            waiting = [task for token, task in desk.tasks if not task.done()]
            match chance.randrange(5):
                case 0 | 1:
                    desk.call(chance.choice(names))
                case 2 | 3 if busy:
                    desk.end(chance.choice(busy))
                case _ if waiting:
                    chance.choice(waiting).cancel()
            await settled()
            desk.check_that_nobody_waits_who_need_not()
            # Those that waited before it with nothing working come first, once each.
            assert all(count <= len(names) + working for count in desk.passed.values())
        for _, task in desk.tasks:
            if task.done() and (error := task.exception()):
                assert isinstance(error, Unavailable)
                assert error.reason is Reason.CALLER_GONE
        desk.tasks.clear()
        await desk.close()

    asyncio.run(test())


def test_one_beyond_the_queue_and_one_tokens_part_of_it_are_refused() -> None:
    async def test() -> None:
        desk = Desk(4, waiting=4)
        for _ in range(6):  # three quarters of eight
            desk.call("one")
        await settled()
        with pytest.raises(LimitExceeded) as own:
            await desk.room.enter("one")
        assert own.value.retry_after
        for _ in range(2):
            desk.call("two")
        await settled()
        with pytest.raises(LimitExceeded) as full:
            await desk.room.enter("three")
        assert full.value.metadata["room"] == "calls"
        await desk.close()

    asyncio.run(test())
