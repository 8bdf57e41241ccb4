"""A thread that goes on, whatever happens in it."""

from __future__ import annotations

import threading

import pytest

from hashhub.background import Background
from hashhub.errors import Unavailable
from tests.patience import wait_until


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (Unavailable("the database is away"), "cannot follow: the database is away"),
        (MemoryError(), "cannot follow: out of memory"),
        (RuntimeError("/srv/private"), "cannot follow: internal error, see the log"),
        (SystemExit(1), "cannot follow: internal error, see the log"),
        (KeyboardInterrupt(), "cannot follow: internal error, see the log"),
    ],
)
def test_a_failed_round_is_told_and_the_next_one_comes(
    error: BaseException, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hashhub.background.FIRST_PAUSE", 0.01)
    rounds: list[str] = []
    fails = threading.Event()
    fails.set()

    def work() -> None:
        rounds.append(thread.warning)
        if fails.is_set():
            raise error

    thread = Background("follow", work, complaint="cannot follow", pause=0.01, longest_pause=0.02)
    thread.start()
    wait_until(lambda: len(rounds) > 3)
    assert rounds[:2] == ["", said]
    wait_until(lambda: thread.warning == said)  # of a failure that is being noted it says less, for a moment
    assert thread.failures >= 3
    fails.clear()
    wait_until(lambda: not thread.warning)
    going_on = len(rounds)
    wait_until(lambda: len(rounds) > going_on + 2)
    thread.close()


def test_a_failure_that_cannot_even_be_told_does_not_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hashhub.background.BREATH_SECONDS", 0.01)
    rounds: list[int] = []

    def work() -> None:
        rounds.append(1)
        raise MemoryError

    def tell(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("hashhub.background._log.warning", tell)
    thread = Background("x", work, complaint="cannot do it", pause=0.0, longest_pause=0.01)
    thread.start()
    wait_until(lambda: len(rounds) > 3)
    assert thread.warning.startswith("cannot do it")
    monkeypatch.undo()
    thread.close()


def test_what_wakes_it_does_not_make_a_failing_one_run_hot() -> None:
    rounds: list[int] = []

    def work() -> None:
        rounds.append(1)
        raise Unavailable("no")

    thread = Background("x", work, complaint="cannot do it", longest_pause=30.0)
    thread.start()
    wait_until(lambda: rounds)
    for _ in range(2000):
        thread.wake()
    assert len(rounds) < 20
    thread.close()


def test_the_same_failure_is_logged_once_a_minute(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hashhub.background.FIRST_PAUSE", 0.001)
    rounds: list[int] = []

    def work() -> None:
        rounds.append(1)
        raise Unavailable("the database is away")

    thread = Background("x", work, complaint="cannot do it", pause=0.0, longest_pause=0.001)
    thread.start()
    wait_until(lambda: len(rounds) > 50)
    thread.close()
    assert sum("the database is away" in r.getMessage() for r in caplog.records) == 1


def test_it_waits_to_be_woken_and_ends_when_told() -> None:
    rounds: list[int] = []
    thread = Background("x", lambda: rounds.append(1), complaint="")
    thread.start()
    wait_until(lambda: len(rounds) == 1)
    thread.wake()
    wait_until(lambda: len(rounds) == 2)
    thread.close()
    thread.start()  # one that was closed stays so
    thread.wake()
    assert len(rounds) == 2
    assert thread.is_stopping
