"""Something else stands in the place of a file that `hashhub hook sync` keeps: it is named, nothing is lost, and no
answer is made from what could not be read.
"""

from __future__ import annotations

import ctypes
import logging
import os
import shutil
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import chdir, closing, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Final

import pytest

from hashhub.client import mirror
from hashhub.desk.hub import client_of
from hashhub.errors import HashHubError, InvalidArgument, Unavailable
from hashhub.hook.copy import DIRECTORY
from hashhub.hook.local import Sync
from hashhub.model import Query, Verdict
from tests.hook.local_copies import Local, listed_twice
from tests.hub.conftest import digest, item
from tests.mirror.conftest import Site

_DIRECTORIES: Final = ("hook", "copy", "index", "snapshots", "snapshot")
_FILES: Final = ("mirror.db", "mirror.db-wal", "mirror.db-shm", "mark", "CURRENT", "publisher.lock", "manifest", "rows")
_LISTED, _NEW, _UNKNOWN = 1, 50, 99


def kept(copy: Path) -> dict[str, Path]:
    """What the process that syncs keeps, by a short name."""
    index = copy / DIRECTORY
    [snapshot, *_] = (index / "snapshots").iterdir()
    return {
        "hook": copy.parent,
        "copy": copy,
        "index": index,
        "snapshots": index / "snapshots",
        "snapshot": snapshot,
        "manifest": snapshot / "manifest.json",
        "rows": next(p for p in snapshot.iterdir() if p.suffix == ".rows"),
        **{name: copy / name for name in ("mirror.db", "mirror.db-wal", "mirror.db-shm")},
        **{name: index / name for name in ("mark", "CURRENT", "publisher.lock")},
    }


@contextmanager
def without_privileges() -> Iterator[None]:
    """Let permissions count for this thread, and those that it starts, where root runs it."""
    if os.geteuid():
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    words = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable, twice
    if sys.platform != "linux" or libc.capget(header, words):
        pytest.skip("root's privileges cannot be laid down here")
    before = words[0]
    words[0] = before & ~0b110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    assert libc.capset(header, words) == 0
    try:
        yield
    finally:
        words[0] = before
        assert libc.capset(header, words) == 0


class InTheWay:
    """Something that stands in a file's place, until it is moved away."""

    def __init__(self, path: Path, kind: str, aside: Path) -> None:
        self.path, self.kind = path, kind
        self._aside = aside
        self._mode = 0
        if kind == "closed":
            if not path.exists():
                pytest.skip("it is only there while a process has the copy open")
            self._mode = path.stat().st_mode
            path.chmod(0)
            return
        if os.path.lexists(path):
            path.rename(aside)
        match kind:
            case "directory":
                path.mkdir()
                (path / "theirs").write_text("of others")
            case "file":
                path.write_text("of others")
            case "loop":
                path.symlink_to(path.name)
            case "pipe":  # blocks whoever opens it
                os.mkfifo(path)
            case "device":  # has no end
                path.symlink_to("/dev/zero")
            case "socket":
                with socket.socket(socket.AF_UNIX) as listener, chdir(path.parent):  # its path may be too long for one
                    listener.bind(path.name)

    def is_untouched(self) -> bool:
        """Whether what is in the way is there as it was; a link or a pipe holds nothing to lose."""
        match self.kind:
            case "directory":
                return (self.path / "theirs").read_text() == "of others"
            case "file":
                return self.path.read_text() == "of others"
        return True

    def move_away(self) -> None:
        if self.kind == "closed":
            with suppress(FileNotFoundError):  # of an index that was written anew meanwhile
                self.path.chmod(self._mode)
            return
        if self.path.is_dir() and not self.path.is_symlink():
            shutil.rmtree(self.path)
        else:
            self.path.unlink(missing_ok=True)
        if self._aside.exists() and self.path.parent.exists():
            self._aside.rename(self.path)


def verdicts(local: Local) -> list[Verdict | None]:
    """What a hook that is opened now answers, about a listed item, a new one, and one that is unknown; None: it has no
    answer.
    """
    answers: list[Verdict | None] = []
    try:
        judge = local.judge()
    except HashHubError:
        return [None] * 3
    try:
        for number in (_LISTED, _NEW, _UNKNOWN):
            try:
                answers.append(judge.judge(Query(hashes=(digest("MD5", number),))).result.verdict)
            except HashHubError:
                answers.append(None)
    finally:
        judge.close()
    return answers


@pytest.fixture(scope="module")
def synced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    """A copy that was synced once, and at the hub an item that came after that."""
    directory = tmp_path_factory.mktemp("synced")
    with closing(Site(directory)) as site:
        site.desk.contributor("receiver")
        local = listed_twice(site, directory)
        with Sync(local.settings) as sync:
            sync.update()
            sync.index.matcher.compact()
        site.desk.contribute("alpha/one", item(_NEW))
        yield local


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *((name, "directory") for name in _FILES),
        *((name, "file") for name in _DIRECTORIES),
        *((name, kind) for name in (*_DIRECTORIES, *_FILES) for kind in ("loop", "closed", "pipe", "device", "socket")),
    ],
)
@pytest.mark.parametrize("anew", [False, True], ids=["sync", "reindex"])
def test_what_is_in_the_way_is_named_and_nothing_is_taken_for_clean(
    synced: Local, tmp_path: Path, name: str, kind: str, anew: bool
) -> None:
    local = synced.copied_to(tmp_path / "hook")
    in_the_way = InTheWay(kept(local.directory)[name], kind, tmp_path / "aside")
    refusal = ""
    with without_privileges() if kind == "closed" else nullcontext():
        try:
            with Sync(local.settings) as sync:
                sync.update()
                if anew:
                    sync.reindex()
        except HashHubError as e:
            refusal = e.message
        listed, new, unknown = verdicts(local)
    if refusal:
        assert in_the_way.is_untouched()
        assert in_the_way.path.name in refusal
        assert "move it away" in refusal or "check its" in refusal
    else:
        assert (listed, new, unknown) == (Verdict.MATCH, Verdict.MATCH, Verdict.NO_MATCH)
    assert listed in {Verdict.MATCH, None}
    assert new in {Verdict.MATCH, None} or refusal  # a copy that could not be brought up to date is of before
    in_the_way.move_away()
    local.sync()
    assert verdicts(local) == [Verdict.MATCH, Verdict.MATCH, Verdict.NO_MATCH]
    assert local.missing() == 0


def test_a_sync_that_goes_on_says_what_is_in_the_way_and_takes_the_index_up_again(
    site: Site, local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(mirror, "LONGEST_PAUSE", 0.01)
    local.sync()
    mark = local.directory / DIRECTORY / "mark"
    mark.unlink()
    mark.mkdir()
    (mark / "theirs").write_text("of others")
    site.desk.contribute("alpha/one", item(_NEW))
    is_said, is_done = threading.Event(), threading.Event()

    def on_page(_lines: int, is_complete: bool) -> None:
        if is_complete:
            is_done.set()

    class Heard(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "mark is a directory" in record.getMessage():
                is_said.set()

    logger, heard = logging.getLogger("hashhub.hook.local"), Heard()
    logger.addHandler(heard)
    try:
        with Sync(local.settings) as sync:
            following = threading.Thread(target=sync.follow, args=(on_page,))
            following.start()
            try:
                assert is_said.wait(60)
                assert not is_done.is_set()
                assert verdicts(local) == [None] * 3
                shutil.rmtree(mark)
                assert is_done.wait(60)
            finally:
                sync.stop()
                following.join(60)
    finally:
        logger.removeHandler(heard)
    assert verdicts(local) == [Verdict.MATCH, Verdict.MATCH, Verdict.NO_MATCH]


def test_an_index_that_cannot_be_removed_is_given_no_mark(local: Local) -> None:
    """It would be taken for one of this copy, should the process be killed before the new one is there."""
    with Sync(local.settings) as sync:
        sync.update()
        sync.index.matcher.compact()
    paths = kept(local.directory)
    paths["mark"].unlink()
    paths["snapshot"].chmod(0o500)
    paths["snapshots"].chmod(0o500)
    with without_privileges():
        with pytest.raises(Unavailable, match="snapshots holds an older index that cannot be removed"):
            local.sync()
        assert not paths["mark"].exists()
        assert verdicts(local) == [None] * 3
    paths["snapshot"].chmod(0o700)
    paths["snapshots"].chmod(0o700)
    local.sync()
    assert verdicts(local) == [Verdict.MATCH, Verdict.NO_MATCH, Verdict.NO_MATCH]


def test_a_copy_that_cannot_be_opened_leaves_nothing_open(local: Local) -> None:
    """A process that keeps the copy from within an app tries again and again."""
    local.sync()
    shm = local.directory / "mirror.db-shm"
    shm.unlink(missing_ok=True)
    shm.mkdir()
    client = client_of(local.settings, timeout=60)
    with pytest.raises(InvalidArgument, match=r"mirror\.db-shm is a directory"):
        Sync(local.settings, client=client)
    with pytest.raises(Unavailable, match="closed by this program"):
        client.get_policy("any")
    open_files = {os.path.realpath(file) for file in Path("/proc/self/fd").iterdir()}
    assert not open_files & {str(local.directory / name) for name in ("mirror.db", f"{DIRECTORY}/publisher.lock")}
    shm.rmdir()
    local.sync()
