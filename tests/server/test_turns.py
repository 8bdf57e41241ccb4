"""A hub's threads have the processor for short turns, and its children that compute do not."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Final

import pytest

from hashhub import turns
from hashhub.server import app
from hashhub.testing.hub_process import running_hub
from tests.processes import workers_of

PATIENCE: Final = 180.0


def _in_a_thread(seconds: float) -> tuple[bool, float, float]:
    """Return whether a turn could be set, and what a thread then has and one that it starts."""
    told: list[bool] = []
    measured: list[float] = []

    def measure() -> None:
        measured.append(turns.turn())

    def work() -> None:
        told.append(turns.set_turn(seconds))
        measure()
        inner = threading.Thread(target=measure)
        inner.start()
        inner.join()

    outer = threading.Thread(target=work)
    outer.start()
    outer.join()
    return told[0], measured[0], measured[1]


@pytest.fixture
def default() -> float:
    seconds = turns.turn()
    if not seconds:
        pytest.skip("this system does not tell how long turns are")
    return seconds


def test_turns_are_of_a_thread_and_those_that_it_starts(default: float) -> None:
    assert _in_a_thread(0.000_3) == (True, 0.000_3, 0.000_3)
    assert _in_a_thread(0) == (True, default, default)
    assert turns.turn() == default


def test_turns_that_the_system_does_not_take_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "_CALLS", {})
    assert not turns.set_turn(0.000_3)
    assert turns.turn() == 0
    monkeypatch.setattr(turns, "_CALLS", dict.fromkeys(("x86_64", "aarch64"), (10**6, 10**6)))
    assert not turns.set_turn(0.000_3)


def test_those_of_a_hub_are_short_and_those_of_its_children_are_not(default: float, tmp_path: Path) -> None:
    with running_hub(tmp_path / "data", "--workers", "2") as hub:
        for worker in workers_of(hub.pid):
            of_threads = [turns.turn(thread.id) for thread in worker.threads()]
            assert len(of_threads) > 5
            others = [seconds for seconds in of_threads if seconds != app._PROCESSOR_TURN_SECONDS]
            assert len(others) <= 1  # what listens to the parent was there before
            end = time.monotonic() + PATIENCE
            while not (media := worker.children()) or turns.turn(media[0].pid) != default:
                assert time.monotonic() < end
                time.sleep(0.05)
