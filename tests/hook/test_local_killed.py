"""A process that is killed while it keeps the copy, before whichever step, and two that try to keep one: an index that
is believed lacks nothing of the copy, and the next run brings both up to date.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Final
from unittest import mock

import msgspec
import numpy as np
import pytest

from hashhub.client import mirror
from hashhub.errors import DataLoss, Unavailable
from hashhub.hook.copy import DIRECTORY, CopyReader, Index, ListCopy
from hashhub.hook.local import Sync, make_directories
from hashhub.hook.settings import HookSettings
from hashhub.model import EntryState, Record
from tests.hook.local_copies import Local
from tests.hub.conftest import item
from tests.hub.test_videos import video
from tests.killed import Killable, Steps, killable
from tests.mirror.conftest import Site


def sync(said: str, steps: Steps) -> None:
    """Sync by a hook's settings in JSON. Steps are also where SQLite's transactions end."""
    settings = msgspec.json.decode(said, type=HookSettings)
    connect = sqlite3.connect

    def traced(*args: Any, **options: Any) -> sqlite3.Connection:
        db: sqlite3.Connection = connect(*args, **options)
        db.set_trace_callback(lambda sql: steps.step() if sql.startswith(("BEGIN", "COMMIT")) else None)
        return db

    with mock.patch.object(sqlite3, "connect", traced), mock.patch.object(mirror, "PAGE", 20):
        steps.count_files_in(settings.data)
        with Sync(settings) as syncing:
            syncing.update()
            syncing.index.matcher.compact()
            syncing.trim()


@pytest.fixture
def syncing() -> Iterator[Killable]:
    with killable(sync) as process:
        yield process


def digests_of(directory: Path) -> dict[str, set[bytes]]:
    """Every digest of a copy, read from its tables."""
    digests: dict[str, set[bytes]] = {}
    with ListCopy(directory).look() as look:
        for name, rows, _ in look.all_digests():
            digests.setdefault(name, set()).update(row.tobytes() for row in rows)
    return digests


def refusal(directory: Path) -> str:
    """Why the copy cannot be read now; empty where a reader is given all that it holds."""
    make_directories(directory)
    lacking = 0
    copy = ListCopy(directory)
    with ExitStack() as stack:
        try:
            index = stack.enter_context(closing(Index(copy, directory / DIRECTORY, publisher=False)))

            def count(look: CopyReader) -> None:
                nonlocal lacking
                for name, rows, _ in look.all_digests():
                    lacking += int(np.count_nonzero(~index.matcher.contains(name, rows)))

            is_read = index.look(count)
        except (Unavailable, DataLoss) as e:
            return e.message
    assert not lacking
    return "" if is_read else "the copy was never complete"


def listed(site: Site) -> set[bytes]:
    """The MD5 digests that the hub's lists hold now."""
    entries = [e for name in ("alpha/one", "beta/one") for e in site.desk.entries(name, EntryState.ACTIVE)]
    return {h.digest for e in entries for h in e.hashes if h.algorithm == "MD5"}


@pytest.mark.parametrize("is_first", [True, False], ids=["first", "later"])
def test_whatever_step_it_was_at(
    site: Site, local: Local, syncing: Killable, monkeypatch: pytest.MonkeyPatch, is_first: bool
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)
    before = local.directory.parent
    if is_first:
        before.mkdir()
    else:
        with Sync(local.settings) as kept:
            kept.update()
            kept.index.matcher.compact()
            for number in (100, 101):  # snapshots that are removed, too
                site.desk.contribute("alpha/one", item(number))
                kept.update()
                kept.index.matcher.compact()
    gone = site.desk.entries("alpha/one", EntryState.ACTIVE)[:3]
    site.hub.store.transitions.withdraw([e.id for e in gone], "FALSE_POSITIVE")
    site.desk.contribute("alpha/one", *map(item, range(200, 215)), Record(position="v", frames=video(range(5))))
    steps = 0
    refusals: list[str] = []
    worn = shutil.copytree(before, before.parent / "worn")  # killed again and again
    while True:
        steps += 1
        fresh = shutil.copytree(before, before.parent / str(steps))
        settings = msgspec.structs.replace(local.settings, data=str(fresh))
        code = syncing.work(msgspec.json.encode(settings).decode(), steps)
        if steps % 3 == 0:
            syncing.work(msgspec.json.encode(msgspec.structs.replace(settings, data=str(worn))).decode(), steps)
        refusals += filter(None, [refusal(fresh / "copy")])
        with Sync(settings) as kept:
            kept.update()
            kept.index.matcher.compact()
            for name, digests in digests_of(fresh / "copy").items():
                assert kept.index.matcher.count(name) == len(digests)
        assert not refusal(fresh / "copy")
        index = fresh / "copy" / DIRECTORY
        # `recheck.lock` is there once a matcher was open for a second.
        names = {"CURRENT", "mark", "publisher.lock", "recheck.lock", "snapshots"}
        assert {path.name for path in index.iterdir()} <= names
        assert not list((index / "snapshots").glob(".*"))
        shutil.rmtree(fresh)
        if code == 0:
            break
        assert code == -signal.SIGKILL
    assert steps > 40
    assert len(refusals) < steps if is_first else not refusals  # an index that was there is never lost
    with Sync(msgspec.structs.replace(local.settings, data=str(worn))) as kept:
        kept.update()
    assert not refusal(worn / "copy")
    assert digests_of(worn / "copy")["MD5"] == listed(site)


# Syncs again and again, and lets go of the copy in between; tells what came of each try.
_AGAIN: Final = """
import sys, msgspec
from hashhub.client import mirror
from hashhub.errors import HashHubError
from hashhub.hook.local import Sync
from hashhub.hook.settings import HookSettings
from hashhub.matcher import warm_up

warm_up()
mirror.PAGE = 4
settings = msgspec.json.decode(sys.argv[1], type=HookSettings)
for line in sys.stdin:
    try:
        with Sync(settings) as sync:
            sync.update()
            sync.index.matcher.compact()
            sync.trim()
        print("synced", flush=True)
    except HashHubError as e:
        print(f"{type(e).__name__} {e.reason}", flush=True)
"""


def test_of_two_at_once_one_keeps_the_copy_and_the_other_says_so(site: Site, local: Local) -> None:
    settings = msgspec.json.encode(local.settings).decode()
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", _AGAIN, settings],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
                )
            )
            for _ in range(2)
        ]
        said: Counter[str] = Counter()
        for number in range(12):
            site.desk.contribute("alpha/one", *[item(n) for n in range(100 + 10 * number, 110 + 10 * number)])
            gone = site.desk.entries("alpha/one", EntryState.ACTIVE)[0]
            site.hub.store.transitions.withdraw([gone.id], "FALSE_POSITIVE")
            for process in processes:
                assert process.stdin is not None
                print(file=process.stdin, flush=True)
            if number:
                assert not refusal(local.directory)  # also while they write
            for process in processes:
                assert process.stdout is not None
                said[process.stdout.readline().strip()] += 1
        for process in processes:
            process.communicate()
    assert set(said) <= {"synced", "FailedPrecondition DATA_IN_USE"}
    assert said["synced"] >= 12  # one of them at least, each time
    local.sync()
    assert digests_of(local.directory)["MD5"] == listed(site)
    assert not refusal(local.directory)
