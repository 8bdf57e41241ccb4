"""Whether anything was committed to a database of SQLite, read where SQLite itself reads it.

Each process that has a database in WAL mode open maps the file NAME-shm. Its first bytes say, twice, how much of the
journal is committed (https://www.sqlite.org/walformat.html, "The WAL-Index Header"): every commit, by whichever
process, changes both, and every read begins by comparing them with what the connection saw last. `PRAGMA data_version`
tells the outcome of that, for a statement and two locks of the file: 70 µs of an upload, of which this leaves 10.

They are read in the pages that SQLite has mapped. To open the file in order to map it once more would do harm: when a
process closes any descriptor of a file, it loses all its POSIX locks on it, and with them SQLite's.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
from pathlib import Path
from typing import Final

_HEADER_BYTES: Final = 96  # both copies: one differs from the other after a process was killed between them
_FORMAT: Final = 3_007_000  # which SQLite writes first, in the machine's order of bytes
_MAPPINGS: Final = Path("/proc/self/maps")
# Address, rights, offset, device and inode (proc_pid_maps(5)), of what is read and shared.
_FROM_THE_START: Final = re.compile(r"([0-9a-f]+)-[0-9a-f]+ r..s 0+ (\S+) (\d+)(?!\S)")

Header = ctypes.Array[ctypes.c_char]


def mapped_header(path: Path) -> Header | None:
    """Return the header of the database at `path`, in place, as a connection of this process has it mapped: `raw` are
    its bytes, until that connection is closed, and must not be read then. None where it is not known where it is, such
    as on a system without /proc, or on a file system that gives mapped files other numbers than `stat` does.
    """
    try:
        whole = path.resolve()  # beside which SQLite has the other files
        status = whole.with_name(f"{whole.name}-shm").stat()
        lines = _MAPPINGS.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return None
    device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}"
    own = (device, str(status.st_ino))
    addresses = [at[1] for line in lines if (at := _FROM_THE_START.match(line)) and at.group(2, 3) == own]
    if len(addresses) != 1:  # a second one is not SQLite's, and may go at any time
        return None
    header = (ctypes.c_char * _HEADER_BYTES).from_address(int(addresses[0], 16))
    return header if header.raw[:4] == _FORMAT.to_bytes(4, sys.byteorder) else None
