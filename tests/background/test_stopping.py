"""What a signal stops: at once, wherever the main thread is, and with nothing of it left behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import pytest

from hashhub.signals import stopping_on_signals

PATIENCE = 60.0
EACH = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])


def _run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    before = "import os, signal, sys, threading, time\nfrom hashhub.signals import stopping_on_signals\n"
    command = [sys.executable, "-c", before + textwrap.dedent(code), *arguments]
    return subprocess.run(command, timeout=PATIENCE, check=False, capture_output=True, text=True)


@EACH
def test_a_signal_stops_while_the_main_thread_does_not_wake(number: signal.Signals) -> None:
    """As it does not when the signal comes as it begins to wait for a lock: Python runs a handler after that wait."""
    ended = _run(
        """
        stop, release = threading.Event(), threading.Lock()
        release.acquire()
        with stopping_on_signals(lambda: (stop.set(), release.release())):
            signal.pthread_sigmask(signal.SIG_BLOCK, {int(sys.argv[1])})  # not for this thread, which sleeps on
            threading.Timer(0.2, os.kill, (os.getpid(), int(sys.argv[1]))).start()
            release.acquire()
            print(stop.is_set())
        """,
        str(int(number)),
    )
    assert (ended.returncode, ended.stdout) == (0, "True\n"), ended.stderr


@EACH
def test_a_signal_that_comes_while_the_event_is_locked_is_not_waited_for_by_itself(number: signal.Signals) -> None:
    """It may come in the thread that waits for the event, which may hold the event's lock just then."""
    ended = _run(
        """
        stop = threading.Event()
        with stopping_on_signals(stop.set):
            with stop._cond:
                os.kill(os.getpid(), int(sys.argv[1]))
                for _ in range(1000): pass
            stop.wait()
        """,
        str(int(number)),
    )
    assert ended.returncode == 0, ended.stderr


def test_it_is_stopped_once_and_by_nothing_else() -> None:
    ended = _run(
        """
        stop = threading.Event()
        calls = []
        signal.signal(signal.SIGUSR1, lambda *_: None)
        with stopping_on_signals(lambda: (calls.append(1), stop.set())):
            os.kill(os.getpid(), signal.SIGUSR1)
            print(stop.wait(0.3))
            os.kill(os.getpid(), signal.SIGTERM)
            stop.wait()
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.3)
        print(calls)
        """
    )
    assert ended.stdout == "False\n[1]\n", ended.stderr


def test_a_process_that_does_not_end_after_a_signal_is_ended() -> None:
    """Whatever it is at: nothing looks at the event here."""
    ended = _run(
        """
        with stopping_on_signals(threading.Event().set, within=0.1):
            for _ in range(3): os.kill(os.getpid(), signal.SIGTERM)
            while True: signal.pause()
        """
    )
    assert ended.returncode == 1
    assert ended.stderr.count("does not end within 0.1 seconds") == 1


def test_one_that_ends_in_time_is_left_alone() -> None:
    ended = _run(
        """
        stop = threading.Event()
        with stopping_on_signals(stop.set, within=0.1):
            os.kill(os.getpid(), signal.SIGTERM)
            stop.wait()
        time.sleep(0.5)
        """
    )
    assert ended.returncode == 0, ended.stderr


@EACH
def test_all_is_as_it_was_afterwards(number: signal.Signals) -> None:
    ended = _run(
        """
        def state():
            return signal.getsignal(number), sorted(os.listdir("/proc/self/fd")), threading.enumerate()

        number = int(sys.argv[1])
        before = state()
        with stopping_on_signals(lambda: None):
            print(signal.getsignal(number) is before[0])
        print(state() == before, signal.set_wakeup_fd(-1))
        """,
        str(int(number)),
    )
    assert ended.stdout == "False\nTrue -1\n", ended.stderr


def test_elsewhere_than_in_the_main_thread_signals_stay_what_they_are() -> None:
    def within() -> bool:
        with stopping_on_signals(lambda: None):
            return signal.getsignal(signal.SIGTERM) == before

    before = signal.getsignal(signal.SIGTERM)
    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(within).result(PATIENCE)
