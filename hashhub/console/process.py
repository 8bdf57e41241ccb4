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
from typing import Final

import msgspec

from hashhub.config import Config
from hashhub.console.hub_console import folder_of, url_of
from hashhub.local_files import make_directory, text_written

_log = logging.getLogger("hashhub.console")
_FIRST_PAUSE: Final = 0.5  # seconds before it is started again; doubles with each end
_LONGEST_PAUSE: Final = 30.0
_HEALTHY_SECONDS: Final = 60.0
_END_SECONDS: Final = 10.0


class ConsoleProcess:
    """A child that serves the console on a socket that this process holds, so that none is lost while it restarts."""

    def __init__(self, config: Config, bound: socket.socket) -> None:
        """Start it, and leave its address for `hashhub console link`. `config`: as for HubConsole."""
        make_directory(folder_of(config.data))
        with text_written(folder_of(config.data) / "address") as file:
            file.write(url_of(config))
        # It needs no way to the database.
        self._told = msgspec.json.encode(msgspec.structs.replace(config, database="", database_password_file=""))
        self._socket = bound
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._run, name="console", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it, and wait until it has ended."""
        self._stopping.set()
        if self._process is not None:
            self._process.terminate()
        self._thread.join(_END_SECONDS)
        if self._process is not None:
            self._process.kill()

    def _run(self) -> None:
        pause = _FIRST_PAUSE
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                code = self._served()
            except OSError as e:  # no memory for a process, say: the next round tries again
                code = e.errno or 1
            pause = _FIRST_PAUSE if time.monotonic() - began > _HEALTHY_SECONDS else min(2 * pause, _LONGEST_PAUSE)
            if not self._stopping.is_set():
                _log.error("the console ended with code %d; it starts again in %g s", code, pause)
            self._stopping.wait(pause)

    def _served(self) -> int:
        """Start the child, and return its code when it has ended. Its input ends when this process does."""
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        with subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-P", "-m", "hashhub.console", str(self._socket.fileno())],
            stdin=subprocess.PIPE,
            env=environment,
            pass_fds=(self._socket.fileno(),),
            start_new_session=True,  # Ctrl-C is for this process
        ) as self._process:
            assert self._process.stdin is not None  # noqa: S101 - as was asked for
            with suppress(OSError):  # it has ended at once
                self._process.stdin.write(self._told + b"\n")
                self._process.stdin.flush()
            if self._stopping.is_set():
                self._process.terminate()
            return self._process.wait()
