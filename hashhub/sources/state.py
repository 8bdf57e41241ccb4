"""Where a source stands: its position, what a fetch has staged, and counters, in SQLite beside its settings.

Pages and the place to go on from are one transaction; the position moves only after the hub has committed what came
before it. So a kill at any point repeats pages, which the hub recognises, and loses none.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from statistics import median
from typing import Final

import msgspec

from hashhub.edge_state import EdgeState
from hashhub.model import Counts, SourceStatus

_PAUSES_KEPT: Final = 20
_PAUSES_NEEDED: Final = 3  # fewer say nothing of what is usual
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS progress (key INTEGER PRIMARY KEY CHECK (key = 1), value BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS token (token TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS staged (key TEXT PRIMARY KEY, content BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS kept (key TEXT PRIMARY KEY, content BLOB NOT NULL);
"""


class Fetch(msgspec.Struct, frozen=True, kw_only=True):
    """A fetch that is under way. `is_anew`: it asks for all, whatever was applied before. `token`: where it goes on;
    empty at its beginning. `cursor`: the position once it is applied. `is_complete`: the partner said that it is all.
    """

    begin_time: datetime
    is_anew: bool
    token: str = ""
    cursor: str = ""
    pages: int = 0
    size: int = 0
    is_complete: bool = False


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a source is.

    `cursor`: the position up to which the hub has everything. `success_time`, `full_time`, `news_time`: of the last
    fetch, of the last full one, of the last that brought a change; `pauses`: seconds between such ones, the latest
    last. `end_time`: of the last fetch, however it ended. `next_time`: when it is due. `detail`: why it is held or
    failed; `would`: what applying it would do.
    """

    settings: str = ""
    cursor: str = ""
    fetch: Fetch | None = None
    status: SourceStatus = SourceStatus.NEW
    detail: str = ""
    would: Counts | None = None
    end_time: datetime | None = None
    success_time: datetime | None = None
    full_time: datetime | None = None
    news_time: datetime | None = None
    next_time: datetime | None = None
    pauses: tuple[float, ...] = ()
    failures_in_a_row: int = 0
    fetches: int = 0
    failures: int = 0
    last_import: str = ""
    last: Counts | None = None
    total: Counts = Counts()

    def silent_since(self, now: datetime, times: float) -> datetime | None:
        """Return since when nothing has changed, where that is unusually long."""
        if not times or self.news_time is None or len(self.pauses) < _PAUSES_NEEDED:
            return None
        usual = timedelta(seconds=times * median(self.pauses))
        return self.news_time if now - self.news_time > usual else None

    def with_news(self, now: datetime) -> Progress:
        """Return it after a fetch that changed something."""
        pause = () if self.news_time is None else ((now - self.news_time).total_seconds(),)
        return msgspec.structs.replace(self, news_time=now, pauses=(*self.pauses, *pause)[-_PAUSES_KEPT:])


class SourceState(EdgeState):
    """A source's state. Reading needs no lock; what changes it is done within `locked`."""

    what = "a source's state"

    def _open(self) -> None:
        self._db.executescript(_SCHEMA)

    def progress(self) -> Progress:
        """Return how far the source is."""
        with self._mapped():
            row = self._db.execute("SELECT value FROM progress").fetchone()
        return msgspec.json.decode(row[0], type=Progress) if row else Progress()

    def save(self, progress: Progress) -> None:
        """Keep how far it is, and nothing else."""
        with self.transaction():
            self._put(progress)

    def begin(self, progress: Progress) -> None:
        """Drop what is staged, and keep how far it is."""
        with self.transaction():
            self._clear()
            self._put(progress)

    def stage(self, progress: Progress, records: Iterable[tuple[str, bytes]]) -> bool:
        """Stage a page, with how far it is; content that is empty takes a record away. Return False, and stage nothing,
        where the fetch is to go on from where it was before.
        """
        fetch = progress.fetch
        with self.transaction():
            if fetch is not None and fetch.token:
                try:
                    self._db.execute("INSERT INTO token VALUES (?)", (fetch.token,))
                except sqlite3.IntegrityError:
                    return False
            self._db.executemany("INSERT OR REPLACE INTO staged VALUES (?, ?)", records)
            self._put(progress)
        return True

    def keys(self, *, kept: bool) -> set[str]:
        """Return the keys of what `contents` yields."""
        with self._mapped():
            staged = {key for (key,) in self._db.execute("SELECT key FROM staged WHERE length(content) > 0")}
            before = self._db.execute("SELECT key FROM kept WHERE key NOT IN (SELECT key FROM staged)") if kept else ()
            return staged.union(key for (key,) in before)

    def has_news(self) -> bool:
        """Whether anything is staged that the last fetch did not have: windows of time overlap."""
        with self._mapped():
            new = self._db.execute(
                "SELECT 1 FROM staged WHERE NOT EXISTS "
                "(SELECT 1 FROM kept WHERE kept.key = staged.key AND kept.content = staged.content) LIMIT 1"
            )
            return new.fetchone() is not None

    def contents(self, *, kept: bool) -> Iterator[bytes]:
        """Yield what is staged, in its order; before it what is `kept` of earlier fetches and not staged anew."""
        with self._mapped():
            if kept:
                yield from (
                    content
                    for (content,) in self._db.execute(
                        "SELECT content FROM kept WHERE key NOT IN (SELECT key FROM staged) ORDER BY rowid"
                    )
                )
            staged = self._db.execute("SELECT content FROM staged WHERE length(content) > 0 ORDER BY rowid")
            yield from (content for (content,) in staged)

    def finish(self, progress: Progress, *, keeps_earlier: bool) -> None:
        """Move the position: what is staged is applied, and kept instead of what was before, or of what it restates."""
        with self.transaction():
            stale = " WHERE key IN (SELECT key FROM staged)" if keeps_earlier else ""
            self._db.execute(f"DELETE FROM kept{stale}")  # noqa: S608 - one of two texts
            self._db.execute(
                "INSERT INTO kept SELECT key, content FROM staged WHERE length(content) > 0 ORDER BY rowid"
            )
            self._clear()
            self._put(progress)

    def _clear(self) -> None:
        self._db.execute("DELETE FROM staged")
        self._db.execute("DELETE FROM token")

    def _put(self, progress: Progress) -> None:
        self._db.execute("INSERT OR REPLACE INTO progress VALUES (1, ?)", (msgspec.json.encode(progress),))
