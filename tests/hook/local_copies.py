"""A copy that is kept of a site, and what reads it."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from hashhub.desk.settings import Mode
from hashhub.hook.copy import COPY, DIRECTORY, Index, ListCopy
from hashhub.hook.local import LocalJudge, Sync
from hashhub.hook.settings import HookSettings, LocalSettings
from hashhub.model import Marking
from tests.hook.conftest import HELD
from tests.hub.conftest import item
from tests.hub.receiving import mirroring
from tests.mirror.conftest import Site


def listed_twice(site: Site, directory: Path) -> Local:
    """Give the hub two lists, by which numbers below 10 match; return a hook's settings."""
    for name in ("alpha/one", "beta/one"):
        site.desk.hash_set(name, marking=Marking(bulk=True))
        site.desk.contribute(name, *[item(n, algorithms=("MD5", "PDQ"), quality=90) for n in range(10)])
    return Local(site, directory, site.token(mirroring()), "any")


class Local:
    """The settings of a hook in local mode, and short ways to use them."""

    def __init__(self, site: Site, directory: Path, secret: str, policy: str = "block", **local: Any) -> None:
        token_file = directory / f"{policy}.token"
        token_file.write_text(secret)
        self.directory = directory / "hook" / COPY
        self.settings = HookSettings(
            policy=policy,
            without_answer=HELD,
            mode=Mode.LOCAL,
            hub=site.doors.grpc_address,
            token_file=str(token_file),
            data=str(directory / "hook"),
            hashing_processes=1,
            local=LocalSettings(**{"follow": False, **local}),
        )

    def sync(self, on_page: Callable[[int, bool], None] | None = None) -> None:
        with Sync(self.settings) as sync:
            sync.update(on_page)

    def judge(self, **changed: Any) -> LocalJudge:
        return LocalJudge(msgspec.structs.replace(self.settings, **changed))

    def copied_to(self, data: Path) -> Local:
        """Return the same of a hook whose data is a copy of this one's."""
        shutil.copytree(self.settings.data, data)
        other = copy.copy(self)
        other.directory, other.settings = data / COPY, msgspec.structs.replace(self.settings, data=str(data))
        return other

    def put_back(self, backup: Path) -> None:
        """Put an older file of the copy in its place, as a restored backup of this machine does."""
        for name in ("mirror.db-wal", "mirror.db-shm"):
            (self.directory / name).unlink(missing_ok=True)
        shutil.copyfile(backup, self.directory / "mirror.db")

    def missing(self, index: Index | None = None) -> int:
        """Return how many digests of the copy an index that is opened now lacks, once it has caught up."""
        opened = index or Index(ListCopy(self.directory), self.directory / DIRECTORY, publisher=False)
        try:
            lacking = 0

            def count(look: Any) -> None:
                nonlocal lacking
                for name, digests, _ in look.all_digests():
                    lacking += int(np.count_nonzero(~opened.matcher.contains(name, digests)))

            opened.look(count)
            return lacking
        finally:
            if index is None:
                opened.close()
