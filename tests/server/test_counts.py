"""What workers count together: real processes over one memory."""

from __future__ import annotations

import fcntl
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.reduction import DupFd
from typing import TYPE_CHECKING, Any

import pytest

from hashhub.config import Config
from hashhub.errors import LimitExceeded
from hashhub.model import Principal, Role, Shares
from hashhub.server.admission import QuotaCounts, TokenQuotas
from hashhub.server.live import FrameRate
from tests.patience import PATIENCE

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

SPAWN = get_context("spawn")


def begin(work: Callable[..., None], counts: QuotaCounts, worker: int, *args: Any) -> SpawnProcess:
    process = SPAWN.Process(target=_as_worker, args=(work, _Passed(counts), worker, *args))
    process.start()
    return process


class _Passed:
    """Counts on their way to a process of these tests."""

    def __init__(self, counts: QuotaCounts) -> None:
        self._counts = counts

    def __reduce__(self) -> tuple[Callable[..., QuotaCounts], tuple[Any, ...]]:
        counts = self._counts
        return _attached, (counts.workers, counts.most_rows, DupFd(counts.file))


def _attached(workers: int, most_rows: int, file: Any) -> QuotaCounts:
    return QuotaCounts(workers, most_rows=most_rows, file=file.detach())


def _as_worker(work: Callable[..., None], counts: QuotaCounts, worker: int, *args: Any) -> None:
    counts.worker = worker
    work(counts, *args)


def ended(*processes: SpawnProcess) -> None:
    for process in processes:
        process.join(PATIENCE)
        assert process.exitcode == 0


def _crowd(counts: QuotaCounts, begins: Any, places: Any, got: Any) -> None:
    begins.wait(PATIENCE)
    taken = 0
    end = time.monotonic() + 2
    while time.monotonic() < end or not taken:
        if counts.take("one", "calls", 1, 3):
            assert places.acquire(block=False), "a fourth place was taken"
            taken += 1
            places.release()
            counts.give("one", "calls", 1)
    got.put(taken)


def test_workers_never_take_more_than_the_share_together() -> None:
    workers = 5
    counts = QuotaCounts(workers)
    begins, places, got = SPAWN.Barrier(workers), SPAWN.Semaphore(3), SPAWN.Queue()
    processes = [begin(_crowd, counts, worker, begins, places, got) for worker in range(workers)]
    ended(*processes)
    assert all(got.get(timeout=PATIENCE) > 0 for _ in processes), "each has its turn"
    assert counts.held("one", "calls") == 0


def _take_all(counts: QuotaCounts, tokens: list[str], begins: Any) -> None:
    random.shuffle(tokens)
    begins.wait(PATIENCE)
    for token in tokens:
        assert counts.take(token, "streams", 1, 2)


def test_workers_agree_on_the_row_of_each_of_many_tokens() -> None:
    counts = QuotaCounts(3)
    tokens = [f"token-{number}" for number in range(2_000)]
    begins = SPAWN.Barrier(2)
    ended(begin(_take_all, counts, 0, tokens, begins), begin(_take_all, counts, 1, tokens, begins))
    assert {counts.held(token, "streams") for token in tokens} == {2}
    assert counts.held("another", "streams") == 0
    counts.worker = 2
    assert not counts.take(tokens[0], "streams", 1, 2)
    assert counts.take("another", "streams", 1, 2)
    assert counts.take(tokens[0], "message_bytes", 5, 2), "one request is always let in"
    assert not counts.take(tokens[0], "message_bytes", 1, 5)


def _hold(counts: QuotaCounts, is_holding: Any) -> None:
    for number in range(100):
        assert counts.take(f"token-{number}", "calls", 3, 3)
        assert counts.take(f"token-{number}", "message_bytes", 1 << 40, 1 << 40)
    is_holding.set()
    time.sleep(PATIENCE)


def test_what_a_killed_worker_held_is_free_again_and_nothing_else_is() -> None:
    counts = QuotaCounts(3)
    is_holding = SPAWN.Event()
    process = begin(_hold, counts, 1, is_holding)
    assert is_holding.wait(PATIENCE)
    assert counts.take("token-7", "streams", 2, 2)
    assert not counts.take("token-7", "calls", 1, 3)
    assert process.pid
    os.kill(process.pid, signal.SIGKILL)
    process.join(PATIENCE)
    counts.clear(1)
    for number in range(100):
        assert (counts.held(f"token-{number}", "calls"), counts.held(f"token-{number}", "message_bytes")) == (0, 0)
    assert counts.held("token-7", "streams") == 2, "another worker's"


def _make_rows(counts: QuotaCounts, prefix: str, is_making: Any) -> None:
    number = 0
    is_making.set()
    while True:
        counts.take(f"{prefix}-{number}", "calls", 1, 1)
        counts.add_debt("one", "media_seconds", 0.0, time.monotonic())
        number += 1


@pytest.mark.parametrize("attempt", range(3))
def test_a_worker_killed_while_it_makes_rows_keeps_nobody_from_making_some(attempt: int) -> None:
    counts = QuotaCounts(2)
    is_making = SPAWN.Event()
    process = begin(_make_rows, counts, 1, f"{attempt}", is_making)
    assert is_making.wait(PATIENCE)
    time.sleep(random.random() / 50)
    process.kill()
    process.join(PATIENCE)
    counts.clear(1)
    assert all(counts.take(f"{attempt}-{number}", "calls", 1, 1) for number in range(300))
    assert all(counts.take(f"new-{number}", "calls", 1, 1) for number in range(300))
    assert {counts.held(f"{attempt}-{number}", "calls") for number in range(300)} == {1}


def _stop_in_the_middle(counts: QuotaCounts) -> None:
    fcntl.lockf(counts.file, fcntl.LOCK_EX)
    os.kill(os.getpid(), signal.SIGSTOP)


def test_a_worker_stopped_while_it_writes_what_is_not_its_own_keeps_nobody_waiting() -> None:
    counts = QuotaCounts(2)
    counts.give("one", "calls", counts.take("one", "calls", 1, 1))
    process = begin(_stop_in_the_middle, counts, 1)
    try:
        assert process.pid
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)

        def work() -> None:
            counts.add_debt("one", "media_seconds", 90.0, time.monotonic())
            for number in range(100):
                assert counts.take("one", "calls", 1, 1)
                assert not counts.take("one", "calls", 1, 1)
                counts.give("one", "calls", 1)
                assert counts.take(f"new-{number}", "calls", 1, 1)
                assert not counts.take(f"new-{number}", "calls", 1, 1)

        working = threading.Thread(target=work, daemon=True)
        began = time.monotonic()
        working.start()
        working.join(PATIENCE)
        assert not working.is_alive()
        assert counts.debt("one", "media_seconds", began) >= 90
        assert counts.held("new-99", "calls") == 1, "it was counted, and refused at its share"
    finally:
        process.kill()
        process.join(PATIENCE)
    counts.clear(1)
    assert counts.take("newer", "calls", 1, 1)
    ended(begin(_find_newer, counts, 1))


def _find_newer(counts: QuotaCounts) -> None:
    assert counts.held("newer", "calls") == 1, "it is in the memory of all again"
    assert counts.debt("one", "media_seconds", 0.0) > 0, "as the first"


def _take_beyond(counts: QuotaCounts) -> None:
    for number in range(40):
        assert counts.take(f"token-{number}", "calls", 1, 2)
        assert counts.take(f"token-{number}", "calls", 1, 2) == (number >= 4), "those in memory count both workers"


def test_beyond_the_bound_tokens_are_counted_by_each_worker_and_nobody_is_shut_out() -> None:
    counts = QuotaCounts(2, most_rows=4)
    for number in range(40):
        assert counts.take(f"token-{number}", "calls", 1, 2)
    ended(begin(_take_beyond, counts, 1))
    assert [counts.held(f"token-{number}", "calls") for number in range(6)] == [2, 2, 2, 2, 1, 1]
    assert not counts.take("token-3", "calls", 1, 2)
    assert counts.take("token-4", "calls", 1, 2)
    assert not counts.take("token-4", "calls", 1, 2)
    counts.clear(1)
    assert counts.take("token-3", "calls", 1, 2)


def _shares(counts: QuotaCounts | None = None) -> TokenQuotas:
    config = Config(token_media_seconds=60, token_live_frames_per_second=10.0)
    return TokenQuotas(config, cores=2, counts=counts)


ONE = Principal(name="one", role=Role.CONSUMER)
OTHER = Principal(name="other", role=Role.CONSUMER)


def _charge(counts: QuotaCounts, now: float) -> None:
    shares = _shares(counts)
    shares.clock = lambda: now
    shares.charge_media(ONE, 40.0)


def test_media_seconds_of_all_workers_add_up_and_time_pays_them_whoever_dies() -> None:
    counts = QuotaCounts(3)
    now = [time.monotonic()]
    ended(begin(_charge, counts, 0, now[0]))
    shares = _shares(counts)
    shares.clock = lambda: now[0]
    shares.check_media(ONE)
    ended(begin(_charge, counts, 1, now[0]))
    counts.clear(0)
    counts.clear(1)
    with pytest.raises(LimitExceeded) as refused:
        shares.check_media(ONE)
    assert refused.value.retry_after
    assert 19 < refused.value.retry_after < 22
    shares.check_media(OTHER)
    now[0] += 21
    shares.check_media(ONE)


def test_a_tokens_own_share_of_media_seconds_counts_at_all_workers() -> None:
    counts = QuotaCounts(2)
    generous = Principal(name="one", role=Role.CONSUMER, shares=Shares(media_seconds=600))
    shares, now = _shares(counts), time.monotonic()
    shares.clock = lambda: now
    for _ in range(2):
        shares.charge_media(generous, 290.0)
        shares.check_media(generous)
    shares.charge_media(generous, 30.0)
    with pytest.raises(LimitExceeded, match="600 seconds"):
        shares.check_media(generous)


def _look_at_frames(counts: QuotaCounts, now: float) -> None:
    shares = _shares(counts)
    shares.clock = lambda: now
    for _ in range(6):
        assert shares.take_frame(ONE, FrameRate(100.0)) == 0.0


def test_frames_of_all_workers_have_one_pace() -> None:
    counts = QuotaCounts(2)
    now = [time.monotonic()]
    shares = _shares(counts)
    shares.clock = lambda: now[0]
    ended(begin(_look_at_frames, counts, 0, now[0]))
    counts.worker = 1
    own = FrameRate(100.0)
    assert [shares.take_frame(ONE, own) == 0.0 for _ in range(6)] == [True] * 4 + [False] * 2
    assert 0.0 < shares.take_frame(ONE, own) <= 0.1
    assert shares.take_frame(OTHER, own) == 0.0
    now[0] += 0.11
    assert shares.take_frame(ONE, own) == 0.0
    assert shares.take_frame(ONE, own) > 0.0


def test_one_process_counts_as_several_do() -> None:
    counts = QuotaCounts()
    assert [counts.take("one", "calls", 1, 2) for _ in range(3)] == [True, True, False]
    assert counts.take("other", "calls", 1, 2)
    counts.give("one", "calls", 1)
    assert counts.take("one", "calls", 1, 2)
    assert (counts.held("one", "calls"), counts.held("other", "calls"), counts.held("one", "streams")) == (2, 1, 0)
