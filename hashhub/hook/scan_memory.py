"""What is remembered of objects that were uploaded before, in `DATA/scan.db`: by the scan of an archive and the search
for copies of a case, which may go on side by side.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec

from hashhub.desk.settings import HashingSite
from hashhub.model import Query, ReasonLine
from hashhub.scans.memory import ScanMemory
from hashhub.trust import ReasonCode
from hashhub.writing import make_directory

if TYPE_CHECKING:
    from hashhub.hook.settings import HookSettings

FILE_NAME: Final = "scan.db"


class Hashed(msgspec.Struct, frozen=True):
    """What to ask about an object. `gaps`: what of it was not looked at when its hashes were computed."""

    query: Query
    gaps: tuple[ReasonLine, ...] = ()


HookMemory: TypeAlias = ScanMemory[Hashed]


def scan_memory(settings: HookSettings) -> HookMemory:
    """Open the memory of one scan. Raises HashHubError when the file cannot be used."""
    from hashhub.hashing.software import software

    directory = Path(settings.data)
    make_directory(directory, field="data")
    at_hub = ", at the hub" if settings.hashing is HashingSite.HUB else ""
    return ScanMemory(
        directory / FILE_NAME, Hashed, hashed_by=f"{software()}, {settings.effort}{at_hub}", is_shared=True
    )


def gaps_among(lines: Iterable[ReasonLine]) -> tuple[ReasonLine, ...]:
    """Return the lines that say what of an object was not looked at."""
    return tuple(line for line in lines if line.code == ReasonCode.FRAMES_SKIPPED)
