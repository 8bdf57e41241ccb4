from __future__ import annotations

import asyncio
import math
from collections.abc import MutableMapping
from typing import Any

import pytest

from hashhub.hook.forms import BodyRefused, sender_pace
from hashhub.hook.settings import AppSettings
from hashhub.senders import SenderPace


class _Clock:
    at = 0.0

    def __call__(self) -> float:
        return self.at


def _left(steps: list[tuple[float, int]], *, most: float | None = None) -> float:
    """Return how many of ten seconds are left to a sender of ten bytes a second at least, after it was waited for so
    many seconds each time, until so many bytes came.
    """
    clock = _Clock()
    pace = SenderPace(10, 10, most=most, clock=clock)
    left = 10.0
    for seconds, count in steps:
        pace.wait()
        clock.at += seconds
        left = pace.came(count)
        clock.at += 1000.0  # what is done with the bytes is not its time
    return left


def test_a_sender_must_go_on() -> None:
    assert _left([(9, 0)]) > 0
    assert _left([(11, 0)]) < 0
    assert _left([(5, 60), (6, 60), (1, 99), (9, 0)]) > 0
    assert _left([(5, 60), (6, 60), (1, 99), (13, 0)]) < 0
    assert _left([(1, 10)] * 1000) == 10  # just fast enough, for ever
    assert _left([(1, 5)] * 21) < 0  # half as fast
    assert _left([(9, 1), (9, 1)]) < 0  # a byte now and then
    assert _left([(100, 5000)]) == 10  # late, and all at once


def test_what_came_fast_excuses_a_pause_only_where_it_is_said_to() -> None:
    assert _left([(1, 100_000), (11, 0)]) < 0
    assert _left([(1, 100_000), (11, 0)], most=math.inf) > 0
    assert _left([(1, 100_000), (11, 0)], most=20.0) > 0
    assert _left([(1, 100_000), (21, 0)], most=20.0) < 0


def test_who_need_not_send_anything_is_never_too_slow() -> None:
    pace = sender_pace(AppSettings(slow_seconds=10, slow_bytes=0))
    assert pace.came(0) == pace.deadline == math.inf


def test_an_app_gives_a_sender_its_window_and_tells_it_what_was_wrong() -> None:
    async def never() -> MutableMapping[str, Any]:
        await asyncio.Event().wait()
        return {}

    async def piece() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": b"abc"}

    async def run() -> None:
        loop = asyncio.get_running_loop()
        pace = sender_pace(AppSettings(slow_seconds=0.2, slow_bytes=1000))
        assert (await pace.next(piece))["body"] == b"abc"
        # A busy machine may end the wait later than that, and never earlier.
        assert 0.01 < pace.deadline - loop.time() <= 0.2
        deadline = pace.deadline
        with pytest.raises(BodyRefused) as refused:
            await pace.next(never)
        assert refused.value.status == 408
        assert loop.time() > deadline - 0.01

    asyncio.run(asyncio.wait_for(run(), 60))


def test_a_wait_ends_when_it_is_cut_off_and_by_the_callers_deadline() -> None:
    async def never() -> MutableMapping[str, Any]:
        await asyncio.Event().wait()
        return {}

    async def run() -> None:
        loop = asyncio.get_running_loop()
        pace = SenderPace(1, 600.0, clock=loop.time)
        loop.call_later(0.05, pace.cut_off)
        with pytest.raises(TimeoutError):
            await pace.next(never)
        with pytest.raises(TimeoutError):
            await pace.next(never, loop.time() + 0.05)

    asyncio.run(asyncio.wait_for(run(), 60))


def test_who_is_cut_off_just_when_its_time_is_over_is_too_slow_and_no_error() -> None:
    async def cut_off_at_the_end() -> MutableMapping[str, Any]:
        try:
            await asyncio.Event().wait()
        finally:
            pace.cut_off()
        return {}

    pace = SenderPace(1, 0.05)
    with pytest.raises(TimeoutError):
        asyncio.run(asyncio.wait_for(pace.next(cut_off_at_the_end), 60))
