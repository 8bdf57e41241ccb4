"""Lanes when the system has no more threads to give (the rest is tested over gRPC: test_rooms.py)."""

from __future__ import annotations

import threading
from typing import NoReturn

import pytest

from hashhub.server.lanes import Threads


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
