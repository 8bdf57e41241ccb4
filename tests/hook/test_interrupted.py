"""Ctrl-C, once, while `hashhub hook sync` is at any of its steps: the process ends, and the next one goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Final

import pytest

from hashhub.cli import interrupts as interrupts_module
from hashhub.cli.interrupts import Interrupts
from hashhub.cli.session import INTERRUPTED
from hashhub.errors import Unavailable
from tests.hook.local_copies import Local
from tests.warm import FIRST

pytestmark = pytest.mark.usefixtures("warm")
_SECONDS: Final = 120.0  # for a start with kernels to be compiled, on a busy machine

# Each is run before the command, and sends one SIGINT when the command comes to it. `once` makes a function that does
# so before what it stands for; `lost` where the interpreter drops whatever is raised, as in a finaliser.
_PRELUDE: Final = """
import os, signal, sys, threading, time
from hashhub import cli
from hashhub.cli import interrupts
interrupts.GRACE_SECONDS = 100.0  # what comes to its end by itself may take its time

def interrupt():
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(100):
        pass  # where Python's handlers are called

class Lost:
    def __del__(self):
        interrupt()

def once(owner, name, act=interrupt):
    stands_for, done = getattr(owner, name), []
    def stand_in(*arguments, **named):
        if not done:
            done.append(True)
            act()
        return stands_for(*arguments, **named)
    setattr(owner, name, stand_in)

def later(seconds=0.3):
    threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT)).start()
"""
_STEPS: Final = {
    "settings": "import hashhub.hook; once(hashhub.hook, 'load_settings')",
    "an import that drops it": (
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'hashhub.hook.local':\n"
        "            Lost()\n"
        "sys.meta_path.insert(0, Finder())"
    ),
    "opening": "from hashhub.hook import local; once(local, 'Index', Lost)",
    "the policy": "from hashhub.hook import local; once(local, '_fetched')",
    "a page": "from hashhub.client import mirror; once(mirror, '_page', Lost)",
    "writing a page": "from hashhub.client import mirror; once(mirror.Mirror, '_take')",
    "the index": "from hashhub.hook.copy import Index; once(Index, '_build', Lost)",
    "a kernel": "from hashhub.matcher import compaction; once(compaction, 'sorted_rows', Lost)",
    "telling": "from hashhub.cli.hook import serve; once(serve, '_tell', Lost)",
    "the stream": "from hashhub.client.transport import Transport; once(Transport, 'stream', later)",
    "the stream, which drops it": "from hashhub.client.transport import Transport; once(Transport, 'stream', Lost)",
}
_LAST_STEP: Final = "from hashhub.hook.copy import Index; once(Index, 'close', Lost)"


def _sync(local: Local, step: str, *options: str) -> subprocess.Popen[str]:
    settings = local.settings
    file = Path(settings.data).with_name("hook.toml")
    quoted = {
        key: json.dumps(value)
        for key, value in {
            "policy": settings.policy,
            "hub": settings.hub,
            "token_file": settings.token_file,
            "data": settings.data,
        }.items()
    }
    file.write_text(
        "".join(f"{key} = {value}\n" for key, value in quoted.items())
        + 'mode = "LOCAL"\n[without_answer]\n'
        + "".join(f'{case} = "hold"\n' for case in ("hub_away", "unreadable", "too_large", "no_perceptual_hash"))
    )
    return subprocess.Popen(
        ["hashhub", "hook", "sync", *options, "--settings", str(file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {FIRST: f"{_PRELUDE}\n{step}"},
    )


def _ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    with process:
        try:
            _, errors = process.communicate(timeout=_SECONDS)
        finally:
            process.kill()
    return process.returncode, errors


@pytest.mark.parametrize("step", _STEPS)
def test_one_interrupt_ends_it_wherever_it_is(local: Local, step: str) -> None:
    code, errors = _ended(_sync(local, _STEPS[step], "--follow"))
    assert (code, errors.strip()) == (INTERRUPTED, "interrupted")
    local.sync()
    assert local.missing() == 0


@pytest.mark.parametrize("step", [_STEPS["a page"], _LAST_STEP], ids=["a page", "closing"])
def test_one_interrupt_ends_a_single_run_too(local: Local, step: str) -> None:
    code, errors = _ended(_sync(local, step, "--once"))
    assert (code, errors.strip()) == (INTERRUPTED, "interrupted")


def test_one_interrupt_just_before_the_end_is_told_too(local: Local) -> None:
    """What waits for it had not read it yet, and took what came behind it, that all is over, for a second Ctrl-C."""
    late = (
        "import fcntl, struct, termios\n"
        "from hashhub.cli.interrupts import Interrupts\n"
        "next_, begun = Interrupts._next, []\n"
        "def late(self, seconds):\n"
        "    while not begun:\n"
        "        waiting = fcntl.ioctl(self._reading, termios.FIONREAD, bytes(4))\n"
        "        if struct.unpack('i', waiting)[0] >= 2: begun.append(True)\n"
        "        time.sleep(0.01)\n"
        "    return next_(self, seconds)\n"
        "Interrupts._next = late\n"
    )
    code, errors = _ended(_sync(local, late + _LAST_STEP, "--once"))
    assert (code, errors.strip()) == (INTERRUPTED, "interrupted")


def test_a_thread_that_does_not_end_keeps_no_process_from_ending(local: Local) -> None:
    """The interpreter waits for threads that are no daemons, as those of an executor."""
    stuck = (
        "from hashhub.cli import interrupts; interrupts.GRACE_SECONDS = 2.0\n"
        "threading.Thread(target=time.sleep, args=(100_000.0,)).start()\n"
    )
    code, errors = _ended(_sync(local, stuck + _STEPS["the stream"], "--follow"))
    assert (code, errors.strip()) == (INTERRUPTED, "interrupted")


@pytest.mark.parametrize("again", [False, True], ids=["by itself", "by a second one"])
def test_what_does_not_come_to_its_end_is_ended(local: Local, again: bool) -> None:
    """The main thread is where nothing wakes it, as in one long statement of a database, and so is what stops it."""
    grace = 3600.0 if again else 0.2
    stuck = (
        f"from hashhub.cli import interrupts; interrupts.GRACE_SECONDS = {grace}\n"
        "def stuck():\n"
        "    later()\n"
        f"    {'later(0.6)' if again else ''}\n"
        "    while True: time.sleep(1)\n"
        "from hashhub.hook import local; once(local.Sync, 'stop', lambda: time.sleep(100_000))\n"
        "from hashhub.hook.copy import Index; once(Index, '_build', stuck)"
    )
    code, errors = _ended(_sync(local, stuck, "--follow"))
    assert (code, errors.strip()) == (INTERRUPTED, "interrupted")
    local.sync()
    assert local.missing() == 0


@pytest.fixture
def goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process is not ended."""
    monkeypatch.setattr(interrupts_module, "GRACE_SECONDS", None)


@pytest.mark.usefixtures("goes_on")
def test_an_interrupt_is_told_from_a_failure() -> None:
    """Within this process: what the work says when it is stopped is not what the person is told."""
    stopped = threading.Event()
    with pytest.raises(KeyboardInterrupt), Interrupts() as interrupts:  # noqa: PT012 - it is raised at the end
        interrupts.call(stopped.set)
        os.kill(os.getpid(), signal.SIGINT)
        assert stopped.wait(_SECONDS)
        raise Unavailable("the connection was closed by this program")
    with pytest.raises(Unavailable), Interrupts():
        raise Unavailable("the hub is away")


def test_a_process_that_shall_go_on_is_not_ended_by_what_waited_for_the_interrupt() -> None:
    """That may come to wait only when the next test has begun, under which this process must not end either."""
    code = (
        "import os, signal, time\n"
        "from hashhub.cli import interrupts\n"
        "class Late(interrupts.Interrupts):\n"
        "    def _next(self, seconds):\n"
        "        read = super()._next(seconds)\n"
        "        time.sleep(0.3)\n"
        "        return read\n"
        "interrupts.GRACE_SECONDS = None\n"
        "try:\n"
        "    with Late() as late:\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "        late.came.wait()\n"
        "except KeyboardInterrupt:\n"
        "    interrupts.GRACE_SECONDS = 0.0\n"
        "time.sleep(1.5)\n"
        "print('goes on')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=_SECONDS, check=False)
    assert (done.returncode, done.stdout) == (0, "goes on\n"), done.stderr


@pytest.mark.usefixtures("goes_on")
def test_an_interrupt_that_came_before_there_was_anything_to_stop_stops_it() -> None:
    stopped = threading.Event()
    with pytest.raises(KeyboardInterrupt), Interrupts() as interrupts:  # noqa: PT012 - it is raised at the end
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupts.came.wait(_SECONDS)
        interrupts.call(stopped.set)
        assert stopped.is_set()


def test_afterwards_an_interrupt_is_what_it_was() -> None:
    with Interrupts():
        pass
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - it comes while there is something to wait for
        os.kill(os.getpid(), signal.SIGINT)
        threading.Event().wait(_SECONDS)


def test_who_ignores_interrupts_goes_on_ignoring_them() -> None:
    """As a job of a shell's background does."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interrupts() as interrupts:
            os.kill(os.getpid(), signal.SIGINT)
        assert not interrupts.came.is_set()
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_bucket_worker_is_stopped_also_while_what_wakes_it_is_locked(tmp_path: Path, number: signal.Signals) -> None:
    """The handler runs in the thread that waits to be woken, which may hold that event's lock just then."""
    code = (
        "import os, sys, threading\n"
        "from types import SimpleNamespace\n"
        "from hashhub.cli.hook.storage import _run\n"
        "ended = threading.Event()\n"
        "def run(*, wake, on_trouble):\n"
        "    with wake._cond:\n"
        "        os.kill(os.getpid(), int(sys.argv[1]))\n"
        "        for _ in range(1000): pass\n"
        "    ended.wait()\n"
        "def stop(wake):\n"
        "    wake.set()\n"
        "    ended.set()\n"
        "_run(SimpleNamespace(quarantine=SimpleNamespace(url='s3://bucket'), run=run, stop=stop))\n"
    )
    subprocess.run([sys.executable, "-c", code, str(int(number))], timeout=60.0, check=True, cwd=tmp_path)
