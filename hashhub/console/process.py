"""The console's process: started beside a hub, again whenever it ends, and gone when the hub is."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from hashhub.console.hub_console import ConsoleSettings
from hashhub.local_files import make_directory, text_written

_log = logging.getLogger("hashhub.console")
_FIRST_PAUSE: Final = 0.5  # seconds before it is started again; doubles with each end
_LONGEST_PAUSE: Final = 30.0
_HEALTHY_SECONDS: Final = 60.0
_END_SECONDS: Final = 10.0


class ConsoleProcess:
    """A child that serves the console on a socket that this process holds, so that none is lost while it restarts."""

    def __init__(self, settings: ConsoleSettings, bound: socket.socket) -> None:
        """Start it, and leave its address for `hashhub console link`."""
        make_directory(Path(settings.folder))
        with text_written(Path(settings.folder) / "address") as file:
            file.write(settings.url)
        self._settings, self._socket = settings, bound
        self._stopping = threading.Event()
        self._process = self._start()
        self._thread = threading.Thread(target=self._watch, name="console", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it, and wait until it has ended."""
        self._stopping.set()
        self._end()
        self._thread.join()

    def _start(self) -> subprocess.Popen[bytes]:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-P", "-m", "hashhub.console", str(self._socket.fileno())],
            stdin=subprocess.PIPE,
            env=environment,
            pass_fds=(self._socket.fileno(),),
            start_new_session=True,  # Ctrl-C is for this process
        )
        assert process.stdin is not None  # noqa: S101 - as was asked for
        with suppress(OSError):  # it has ended at once, which the watch sees
            process.stdin.write(msgspec.json.encode(self._settings) + b"\n")
            process.stdin.flush()  # and stays open: it ends when this process is gone
        return process

    def _watch(self) -> None:
        pause, began = _FIRST_PAUSE, time.monotonic()
        while True:
            code = self._process.wait()
            if self._stopping.is_set():
                return
            if time.monotonic() - began > _HEALTHY_SECONDS:
                pause = _FIRST_PAUSE
            _log.error("the console ended with code %d; it starts again in %g s", code, pause)
            if self._stopping.wait(pause):
                return
            pause, began = min(2 * pause, _LONGEST_PAUSE), time.monotonic()
            with suppress(OSError):  # no memory for a process, say: the next round tries again
                self._process = self._start()
            if self._stopping.is_set():
                self._end()

    def _end(self) -> None:
        process = self._process
        with suppress(OSError):
            if process.stdin is not None:
                process.stdin.close()
        process.terminate()
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
