"""Cleans up after a test process, also one that was killed: PostgreSQL servers and temporary directories."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

# A process of its own, which a signal to the terminal's group does not reach.
_CLEANING: Final = """
import os, shutil, signal, sys, time
from pathlib import Path

directory, parent = Path(sys.argv[1]), int(sys.argv[2])
while os.getppid() == parent:
    time.sleep(0.2)
for pid_file in directory.glob("*/postmaster.pid"):
    server = int(pid_file.read_text().split()[0])
    os.kill(server, signal.SIGQUIT)
    for _ in range(100):
        if not Path(f"/proc/{server}").exists():
            break
        time.sleep(0.1)
shutil.rmtree(directory, ignore_errors=True)
"""


# Tests make and remove files by the hundred thousand, each of which costs a disk a millisecond.
_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - a directory of our own is made in it
_ROOM_BYTES: Final = 8 << 30


def _temporary_directory() -> str:
    """Return where temporary files go: in memory where that has room for a whole run, as `df` tells it."""
    if "TMPDIR" not in os.environ and _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _ROOM_BYTES:
        return str(_MEMORY)
    return tempfile.gettempdir()


def clean_up_after_this_process() -> None:
    """Put this process's temporary files into a directory of their own, which goes when the process ends, however."""
    # Not within that of the process that started this one: sockets' paths must be short.
    usual = os.environ.get("PYTEST_DEBUG_TEMPROOT") or _temporary_directory()
    directory = Path(tempfile.mkdtemp(prefix="hh-", dir=usual))
    directory.chmod(0o711)  # PostgreSQL's user has to pass
    # What pytest keeps of the last three runs stays where people look for it.
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", usual)
    os.environ["TMPDIR"] = tempfile.tempdir = str(directory)
    command = [sys.executable, "-S", "-c", _CLEANING, str(directory), str(os.getpid())]
    os.posix_spawn(sys.executable, command, os.environ, setsid=True)  # nobody waits for it, so that it can be the last
