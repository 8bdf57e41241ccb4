"""A clamd door in this process, a judge that knows a few digests, and a real clamd with a signature for a harmless
string.
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

import pytest

from hashhub.desk.hub import HubAnswer
from hashhub.errors import Unavailable
from hashhub.hook import DecisionRecord, Hook, HookSettings
from hashhub.hook.clamd import ClamdDoor
from hashhub.hook.core import OnChecked
from hashhub.hook.settings import ClamdSettings
from hashhub.model import MatchResult, Query, Verdict

KNOWN = b"a text that is listed"
DOUBTED = b"a text that a person should look at"
CLEAN = b"a text that nobody knows"
VIRUS = b"HASHHUB-HARMLESS-TEST-STRING"  # what the test's own signature is for
VIRUS_ANSWER = "Hashhub.Test.Harmless.UNOFFICIAL"


class ListedDigests:
    """Knows two texts by their SHA-256."""

    def __init__(self) -> None:
        self.asked = 0
        self._listed = {hashlib.sha256(KNOWN).digest()}
        self.is_away = False
        self.before: Callable[[], None] = lambda: None

    def lists(self, content: bytes) -> None:
        """Know another one."""
        self._listed.add(hashlib.sha256(content).digest())

    def judge(self, query: Query) -> HubAnswer:
        self.before()
        self.asked += 1
        if self.is_away:
            raise Unavailable("the hub is away")
        digests = {h.digest for h in query.hashes if h.algorithm == "SHA256"}
        verdict = Verdict.NO_MATCH
        if digests & self._listed:
            verdict = Verdict.MATCH
        elif digests & {hashlib.sha256(DOUBTED).digest()}:
            verdict = Verdict.REVIEW
        return HubAnswer(result=MatchResult(verdict=verdict, reasons=(), matches=()), policy="block@1", revision=1)

    def revision(self) -> int:
        return 1

    def close(self) -> None:
        pass


class Told:
    """An `OnChecked` that does what a test wants of it."""

    def __init__(self) -> None:
        self.does: OnChecked = lambda _checked, _content: None

    def __call__(self, checked: DecisionRecord, content: IO[bytes] | None) -> None:
        self.does(checked, content)


class OpenDoor(NamedTuple):
    port: int
    path: str
    hook: Hook
    judge: ListedDigests
    told: Told

    def connect(self) -> socket.socket:
        connected = socket.create_connection(("127.0.0.1", self.port))
        connected.settimeout(60)
        return connected

    def say(self, *parts: bytes) -> bytes:
        """Send these, and return all that is answered until the door closes the connection."""
        with self.connect() as connected:
            with suppress(OSError):  # it may have answered already
                for part in parts:
                    connected.sendall(part)
            return until_closed(connected)


def until_closed(connected: socket.socket) -> bytes:
    answer = b""
    while data := connected.recv(65536):
        answer += data
    return answer


def stream(content: bytes, chunk: int = 4096) -> bytes:
    """Return content in chunks, ended."""
    parts = [content[i : i + chunk] for i in range(0, len(content), chunk)]
    return b"".join(struct.pack("!L", len(part)) + part for part in parts) + bytes(4)


@contextmanager
def open_door(settings: HookSettings, *, hook: Hook | None = None) -> Iterator[OpenDoor]:
    """Open a door on a free port, or as the settings say; its judge knows two texts, if `hook` has no other."""
    judge, on_checked = ListedDigests(), Told()
    hook = hook or Hook(settings, judge=judge, on_checked=on_checked)
    ready = threading.Event()
    told: list[Any] = []

    def on_ready(address: str, path: str) -> None:
        told.extend((int(address.rpartition(":")[2] or 0), path))
        ready.set()

    async def run() -> None:
        stop = asyncio.Event()
        told_stop.append((asyncio.get_running_loop(), stop))
        door = ClamdDoor(hook)
        try:
            await door.serve(on_ready, stop)
        finally:
            door.close()

    def work() -> None:
        try:
            asyncio.run(run())
        except Exception as e:  # noqa: BLE001 - told to the test
            failed.append(e)
        finally:
            ready.set()

    told_stop: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
    failed: list[Exception] = []
    thread = threading.Thread(target=work)
    thread.start()
    ready.wait(180)
    try:
        if failed:
            raise failed[0]
        yield OpenDoor(told[0], told[1], hook, judge, on_checked)
    finally:
        if told_stop and thread.is_alive():
            loop, stop = told_stop[0]
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(stop.set)
        thread.join(60)
        hook.close()
    assert not thread.is_alive()
    assert not failed


def clamd_settings(**given: Any) -> ClamdSettings:
    return ClamdSettings(**{"chained": "none", "listen": "127.0.0.1:0"} | given)


class RealClamd:
    """A clamd of this machine, on a socket of its own, that can be stopped and started again."""

    def __init__(self, directory: Path, **settings: str) -> None:
        self.path = str(directory / "real.sock")
        self._directory = directory
        (directory / "db").mkdir()
        (directory / "db" / "test.ndb").write_text(f"Hashhub.Test.Harmless:0:*:{VIRUS.hex()}\n")
        lines = {
            "LocalSocket": self.path,
            "DatabaseDirectory": str(directory / "db"),
            "TemporaryDirectory": str(directory),
            "Foreground": "yes",
            **settings,
        }
        (directory / "clamd.conf").write_text("".join(f"{k} {v}\n" for k, v in lines.items()))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        program = shutil.which("clamd", path="/usr/sbin:/usr/bin:/usr/local/sbin")
        if program is None:
            pytest.skip("clamd is not installed: apt-get install clamav-daemon")
        with (self._directory / "clamd.log").open("ab") as log:
            self._process = subprocess.Popen(
                [program, "--config-file", str(self._directory / "clamd.conf")], stdout=log, stderr=log
            )
        for _ in range(600):
            with socket.socket(socket.AF_UNIX) as asked, suppress(OSError):
                asked.connect(self.path)
                asked.sendall(b"zPING\0")
                if asked.recv(16) == b"PONG\0":
                    return
            if self._process.poll() is not None:
                break
            time.sleep(0.1)
        raise AssertionError((self._directory / "clamd.log").read_text("utf-8", "replace"))

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            Path(self.path).unlink(missing_ok=True)
