"""A copy that is kept of a site, and what reads it."""

from __future__ import annotations

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
from tests.hook.conftest import HELD
from tests.mirror.conftest import Site


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

    def put_back(self, backup: Path) -> None:
        """Put an older file of the copy in its place, as a restored backup of this machine does."""
        for name in ("mirror.db-wal", "mirror.db-shm"):
            (self.directory / name).unlink(missing_ok=True)
        shutil.copyfile(backup, self.directory / "mirror.db")

    def missing(self, index: Index | None = None) -> int:
        """Return how many digests of the copy an index that is opened now lacks, once it has caught up."""
        copy = ListCopy(self.directory)
        opened = index or Index(copy, self.directory / DIRECTORY, publisher=False)
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
