"""The files at and below the paths that a scan is given, one after another.

Memory does not grow with how many files there are: of each directory on the way down, at most `BATCH` names are held.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final, TypeVar

from hashhub.errors import InvalidArgument, NotFound, Reason
from hashhub.local_files import open_regular
from hashhub.scans.engine import ListedFile, UnreadableItem

_T = TypeVar("_T")

LINKED_DIRECTORIES: Final = "links to directories"
OWN_REPORT: Final = "the directory of this report"

BATCH: Final = 65_536  # names of a directory held at a time; in between, a larger one has no order


class Tree:
    """The files at and below some paths. Links are followed to files, and if given. `skipped`: left out, by kind."""

    def __init__(
        self,
        paths: Iterable[str],
        *,
        own: tuple[int, int] | None = None,
        on_link: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`own`: device and inode of a directory to leave out. `on_link`: told of links that are not followed."""
        self._paths = tuple(paths)
        self._own = own
        self._on_link = on_link
        self.skipped: Counter[str] = Counter()

    def __iter__(self) -> Iterator[Path | UnreadableItem]:
        """Yield files, sorted in each directory, and what cannot be listed or found: opening it says why."""
        for given in self._paths:
            if os.path.isdir(given):  # noqa: PTH112 - Path.is_dir raises for some paths that cannot be looked at
                yield from self._below(given)
            else:
                yield Path(given)

    def _below(self, top: str) -> Iterator[Path | UnreadableItem]:
        way = [(top, self._entries(top))]  # not recursive: a path has room for more directories than Python has frames
        while way:
            path, entries = way[-1]
            try:
                entry = next(entries, None)
            except OSError as e:
                yield _unlisted(path, e)
                entry = None
            if entry is None:
                way.pop()
            elif _is_directory(entry):
                way.append((entry.path, self._entries(entry.path)))
            elif _is_linked_directory(entry):
                self.skipped[LINKED_DIRECTORIES] += 1
                self._on_link(entry.path)
            else:
                yield Path(entry.path)

    def _entries(self, path: str) -> Iterator[os.DirEntry[str]]:
        status = os.stat(path)  # noqa: PTH116 - a text, as scandir takes it
        if (status.st_dev, status.st_ino) == self._own:
            self.skipped[OWN_REPORT] += 1
            return
        with closing(os.scandir(path)) as entries:  # at its end it closes itself, however deep the way goes on
            while batch := sorted(islice(entries, BATCH), key=lambda entry: entry.name):
                yield from batch


def stamp_of(status: os.stat_result) -> str:
    """Return what tells a file from what it was before. Its owner cannot set the time of the last change (ctime)."""
    return f"{status.st_ino} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"


def listed(path: Path, item: _T) -> ListedFile[_T]:
    """Return a file for a scan, as it is now."""
    address = os.path.abspath(path)  # noqa: PTH100 - Path.absolute keeps ".."
    try:
        status = os.stat(path)  # noqa: PTH116 - as it is opened
    except (OSError, ValueError):  # opening it says what is wrong
        return ListedFile(item, address)
    return ListedFile(item, address, stamp_of(status), status.st_mtime)


def opened(path: Path) -> BinaryIO:
    """Open a regular file for reading; a pipe or device never. Raises NotFound, InvalidArgument (UNREADABLE_MEDIA)."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116 - with the next line
            raise InvalidArgument("not a regular file, so it was not read", reason=Reason.UNREADABLE_MEDIA)
        return os.fdopen(open_regular(path), "rb", buffering=0)
    except FileNotFoundError as e:
        raise NotFound("there is no file at this path any more, or none that a link points to; check the path") from e
    except (OSError, ValueError) as e:  # ValueError: a NUL in the path
        raise InvalidArgument(
            f"the file cannot be opened ({type(e).__name__}); expected one that this user can read",
            reason=Reason.UNREADABLE_MEDIA,
        ) from e


def _unlisted(path: str, error: OSError) -> UnreadableItem:
    why = InvalidArgument(
        f"the directory cannot be listed ({type(error).__name__}), so files in it may not have been looked at; "
        "expected one that this user can read",
        reason=Reason.UNREADABLE_MEDIA,
    )
    return UnreadableItem(name=path, error=why)


def _is_directory(entry: os.DirEntry[str]) -> bool:
    with suppress(OSError):  # opening it as a file says what is wrong
        return entry.is_dir(follow_symlinks=False)
    return False


def _is_linked_directory(entry: os.DirEntry[str]) -> bool:
    with suppress(OSError):
        return entry.is_symlink() and entry.is_dir()
    return False
