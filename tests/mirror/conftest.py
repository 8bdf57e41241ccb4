"""A hub behind real doors that can be stopped, restored and started again, and a copy of it that is compared with its
store.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from hashhub.client import Client
from hashhub.config import Config
from hashhub.hub import Hub
from hashhub.model import Principal, number_of
from hashhub.server.listeners import Listeners
from tests.hub.conftest import Desk
from tests.hub.receiving import admit, entitled

Content = dict[str, tuple[Any, ...]]


class Site:
    """A hub that is served, and copies that are kept of it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.data = directory / "hub"
        self.open()

    def open(self) -> None:
        config = Config(data=str(self.data), listen="127.0.0.1:0", http="", drain_seconds=0.2, poll_interval=0.05)
        self.hub = Hub.open(config)
        self.doors = Listeners(self.hub, config)
        self.doors.start()
        self.hub.start()
        self.desk = Desk(self.hub)

    def close(self) -> None:
        self.doors.close()
        self.hub.close()

    def back_up(self) -> Path:
        """Copy the database as it is now."""
        to = self.directory / "backup.db"
        to.unlink(missing_ok=True)
        with closing(sqlite3.connect(self.data / "hashhub.db")) as c:
            c.execute("VACUUM INTO ?", (str(to),))
        return to

    def restore(self, backup: Path) -> None:
        """Stop the hub, put an older database in the place of its own, and start it again."""
        self.close()
        for name in ("hashhub.db-wal", "hashhub.db-shm"):
            (self.data / name).unlink(missing_ok=True)
        shutil.copyfile(backup, self.data / "hashhub.db")
        self.open()

    def token(self, who: Principal) -> str:
        """Make a token for this principal, and return its secret."""
        return admit(self.hub.store, who)

    def client(self, secret: str) -> Client:
        return Client(self.doors.grpc_address, secret)


def copied(directory: Path) -> tuple[Content, set[str]]:
    """What a copy holds: its entries with all that they say, and the names of its hash sets."""
    with closing(sqlite3.connect(directory / "mirror.db")) as c:
        hashes: dict[int, list[tuple[str, str]]] = {}
        for entry, algorithm, digest in c.execute("SELECT entry, algorithm, digest FROM hash ORDER BY 1, 2, 3"):
            hashes.setdefault(entry, []).append((algorithm, digest.hex()))
        reviews: dict[int, list[tuple[Any, ...]]] = {}
        for row in c.execute("SELECT entry, id, author, kind, role FROM review ORDER BY 1, 2"):
            reviews.setdefault(row[0], []).append(row[1:])
        entries = {
            f"{row[1]}/{number_of(row[0])}": (
                *row[1:-2],
                *map(json.loads, row[-2:]),
                hashes.pop(row[0]),
                reviews.pop(row[0], []),
            )
            for row in c.execute(
                "SELECT e.id, h.name, s.import, e.position, e.external_id, c.value, c.scheme, e.suspected, "
                "e.media_type, "
                "e.media_size_bytes, e.series, e.quality, e.create_revision, e.update_revision, e.tags, e.reasons "
                "FROM entry e JOIN hash_set h ON h.key = e.hash_set JOIN source s ON s.key = e.source "
                "LEFT JOIN classification c ON c.key = e.classification"
            )
        }
        count = c.execute("SELECT count(*) FROM entry").fetchone()[0]
        sets = {row[0] for row in c.execute("SELECT name FROM hash_set")}
    assert (len(entries), hashes, reviews) == (count, {}, {}), "rows that belong to no entry"
    return entries, sets


def due(hub: Hub, who: Principal) -> tuple[Content, set[str]]:
    """What a copy should hold, in the same form."""
    held, sets = entitled(hub, who)
    reviews = hub.store.entries.reviews_of(e.id for e, _ in held.values())
    return {
        i: (
            f"{e.contributor}/{e.hash_set}",
            f"contributors/{e.contributor}/hashSets/{e.hash_set}/imports/{e.provenance.import_id}",
            e.provenance.position,
            e.external_id,
            e.classification and e.classification.value,
            e.classification and f"{e.classification.scheme}@{e.classification.version}",
            e.flags.suspected,
            e.media_type,
            e.media_size,
            e.series,
            e.quality,
            e.create_revision,
            e.update_revision,
            list(e.tags),
            list(e.reasons),
            sorted((h.algorithm, h.digest.hex()) for h in e.hashes),
            [(number_of(r.id), r.author, str(r.kind), str(r.role)) for r in reviews.get(e.id, ())],
        )
        for i, (e, _) in held.items()
    }, set(sets)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.close()
