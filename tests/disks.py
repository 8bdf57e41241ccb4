"""Small disks, to be filled to the last byte."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(place: Path, mebibytes: int) -> Iterator[Path]:
    """Mount a file system of this size at `place`; skips the test where that is not allowed."""
    if sys.platform != "linux" or os.getuid() != 0:
        pytest.skip("needs the right to mount a small disk")
    place.mkdir()
    options = f"size={mebibytes}m,mode=0755"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], check=False, capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def fill(disk: Path, leave: int = 0) -> Path:
    """Fill a disk but for `leave` bytes, or altogether where others took them; return what to remove for room."""
    filler = disk / "filler"
    room = os.statvfs(disk)
    with filler.open("ab", buffering=0) as file:
        try:
            file.write(bytes(max(1, room.f_bavail * room.f_frsize - leave)))
            while not leave:  # what was freed meanwhile, too
                file.write(bytes(room.f_frsize))
        except OSError as e:
            if e.errno != errno.ENOSPC:
                raise
    return filler
