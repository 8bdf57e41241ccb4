"""Statements that one store of this process has compiled, for all that come after it.

SQLAlchemy keeps what it has compiled with the engine. A hub opens its engines once and compiles each statement once;
tests open a store each, and a sixth of the time of one that works at a hub went into compiling the same statements
again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy.engine import URL, Engine

from hashhub.store import database as sql_database


def unsynchronised(connection: object, *_: object) -> None:
    """Do not wait for the disk at each commit of a store: what is there after a power cut is no test's question. Called
    with each connection that is taken from a pool.
    """
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous = OFF")


class Compiled(dict[Any, Any]):
    """Compiled statements of engines that are made alike. Of each key the dialect is left out, which is an engine's."""

    def get(self, key: tuple[Any, ...], default: Any = None) -> Any:
        return super().get(key[1:], default)

    def __setitem__(self, key: tuple[Any, ...], compiled: Any) -> None:
        super().__setitem__(key[1:], compiled)


def share(patch: pytest.MonkeyPatch) -> None:
    """Let the stores that are opened from now on share what they compile: readers with readers, writers likewise."""
    for name in ("sqlite_engines", "postgresql_engines"):
        patch.setattr(sql_database, name, _sharing(getattr(sql_database, name)))


def _sharing(make: Callable[..., tuple[Engine, Engine]]) -> Callable[..., tuple[Engine, Engine]]:
    caches = Compiled(), Compiled()

    def engines(url: URL, **given: Any) -> tuple[Engine, Engine]:
        made = make(url, **given)
        for engine, cache in zip(made, caches, strict=True):
            engine.update_execution_options(compiled_cache=cache)
        return made

    return engines
