"""What a hub does in several transactions, in small pieces, and processes that are killed behind one of these.

python -m tests.hub.killing    reads lines of JSON: what to do, where the hub is, and behind which transaction to die;
   │                           answers each with the exit code and the number of transactions. What dies behind none
   │                           it does itself
   └── forked                  does it and dies: to load a hub takes a second, and there are a hundred of these
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import Connection
from sqlalchemy.pool import Pool

from hashhub.config import Config
from hashhub.hub import Hub, conflicts
from hashhub.hub import housekeeping as ages
from hashhub.matcher import warm_up
from hashhub.model import Principal, Role, now
from hashhub.store import database as sql_database
from hashhub.store import deletion, entry_writes, event_effects, imports
from hashhub.store import retention as purging
from tests import statements

_OPERATOR: Final = Principal(name="operator", role=Role.OPERATOR, contributor="operator")
_PIECE: Final = 13
_YEAR: Final = timedelta(days=365)
_BEFORE: Final = datetime(2020, 1, 1, tzinfo=UTC)
ACTOR: Final = "alpha-desk"


def make_small(replace: Callable[[Any, str, int], None]) -> None:
    """Have all that is done in pieces done in small ones."""
    replace(entry_writes, "LARGE", 10)
    for module, name in ((entry_writes, "PIECE"), (event_effects, "_PIECE"), (ages, "_PIECE")):
        replace(module, name, _PIECE)
    replace(purging, "PURGED_AT_ONCE", 8)
    for name, size in {"PURGED_AT_ONCE": 30, "FINDINGS": 30, "DETAILS": 10}.items():
        replace(deletion, name, size)
    replace(imports, "_SWEPT", 4)


def find_conflicts(hub: Hub) -> None:
    conflicts.ConflictFinder(hub.store, piece=_PIECE).catch_up()


def revert(hub: Hub) -> None:
    hub.history.revert(_OPERATOR, ACTOR, _BEFORE, comment="a stolen token")


def tidy(hub: Hub) -> None:
    hub.store.commits.tidy()


def delete(hub: Hub) -> None:
    if not hub.store.deletions.is_deleted("alpha", "list"):
        hub.retention.delete(_OPERATOR, "alpha", "list", comment="asked for")
    hub.keeper.delete_rows()


def let_age(hub: Hub) -> None:
    """What the settings say of entries that nobody lists, of rows of withdrawn entries, and of reports, in a year."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ages, "now", lambda: now() + _YEAR)
        hub.keeper.apply_ages()


DOES: Final[Mapping[str, Callable[[Hub], None]]] = {
    "conflicts": find_conflicts,
    "revert": revert,
    "expiry": let_age,
    "tidying": tidy,
    "deletion": delete,
    "purge": let_age,
}


def config(what: str, data: Path, database: str) -> Config:
    """Return the configuration of a hub that does this."""
    days = 1 if what == "purge" else 0
    return Config(
        data=str(data), database=database, poll_interval=0.05, keep_withdrawn_days=days, keep_reports_days=days
    )


class Killing:
    """Has things done by processes that die of it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def have_done(self, what: str, data: Path, database: str, *, killed_behind: int = 0) -> int:
        """Have something done in another process, which is killed right behind one of its transactions; return how many
        there were.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps([what, str(data), database, killed_behind]), file=self._process.stdin, flush=True)
        code, count = json.loads(self._process.stdout.readline())
        assert code == (-signal.SIGKILL if killed_behind and count == killed_behind else 0)
        return int(count)

    def close(self) -> None:
        self._process.communicate()


def _serve() -> None:
    warm_up()
    make_small(setattr)
    event.listen(Pool, "checkout", statements.unsynchronised)
    statements.share(pytest.MonkeyPatch())
    for line in sys.stdin:
        what, data, database, killed_behind = json.loads(line)
        read, written = os.pipe()
        code = 0
        if not killed_behind:  # in this process, which then has compiled all statements
            _do(what, data, database, killed_behind, written)
            os.close(written)
            assert threading.active_count() == 1, threading.enumerate()
        else:
            child = os.fork()
            if child == 0:
                os.close(read)
                _do(what, data, database, killed_behind, written)
                os._exit(0)
            os.close(written)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        with os.fdopen(read, "rb") as told:
            count = len(told.read())
        sys.stdout.write(f"{json.dumps([code, count])}\n")
        sys.stdout.flush()


def _do(what: str, data: str, database: str, killed_behind: int, told: int) -> None:
    with Hub.open(config(what, Path(data), database)) as hub, _counted(killed_behind, told):
        DOES[what](hub)


@contextmanager
def _counted(killed_behind: int, told: int) -> Iterator[None]:
    """Tell of each transaction that has written something and is committed, and die behind one of them."""
    real = sql_database.Database.write
    counting = threading.Lock()
    count = 0

    @contextmanager
    def write(self: sql_database.Database) -> Iterator[Connection]:
        nonlocal count
        wrote: list[str] = []
        with real(self) as c:
            sa.event.listen(c, "before_cursor_execute", lambda _, __, sql, *___: wrote.append(sql))
            yield c
        if all(sql.startswith("SELECT") for sql in wrote):
            return
        with counting:
            count += 1
            os.write(told, b".")
            if count == killed_behind:
                os.kill(os.getpid(), signal.SIGKILL)

    sql_database.Database.write = write  # type: ignore[method-assign]
    try:
        yield
    finally:
        sql_database.Database.write = real  # type: ignore[method-assign]


if __name__ == "__main__":
    _serve()
