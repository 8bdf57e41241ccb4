"""msgspec's structs, made ready before threads share them.

msgspec (0.22) works out the fields of a struct when it is first decoded, and lets other threads see what it has so far.
One that decodes the same struct meanwhile reads what is not there yet, and the process ends by a segmentation fault.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Final
from weakref import WeakSet

import msgspec

_lock: Final = threading.Lock()
_ready: Final[WeakSet[type[msgspec.Struct]]] = WeakSet()


def prepare() -> None:
    """Make all structs of hashhub ready that are loaded. Whoever starts threads calls it before them, and whoever loads
    further structs in one of them after that; those that are ready already cost microseconds.
    """
    with _lock:
        for struct in unprepared():
            with suppress(
                NameError, TypeError
            ):  # of one whose fields have types for the type checker only: never decoded
                msgspec.json.Decoder(struct)
            _ready.add(struct)


def unprepared() -> list[type[msgspec.Struct]]:
    """Return the structs of hashhub that are loaded and not ready."""
    structs: list[type[msgspec.Struct]] = [msgspec.Struct]
    for struct in structs:  # which grows by those made of it
        structs += struct.__subclasses__()
    return [s for s in structs if s.__module__.partition(".")[0].startswith("hashhub") and s not in _ready]
