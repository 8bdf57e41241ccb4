"""A MISP feed that is kept up to date: files for a web server, of what one token may hold.

    change feed ──(1) each page in one transaction──> state.db ──(2)──> feed/UUID.json, of the events that changed
                                                                 (3)──> feed/manifest.json, feed/hashes.csv

A process that is killed leaves events marked as due, and the next run writes them again. An event holds the entries of
one hash set whose numbers lie in one range. What MISP's reader does with the files (its app/Model/Feed.php, Event.php,
MispObject.php and MispAttribute.php) asks for these rules:

-   It takes an event, an object or an attribute over only when its time is later than that of its copy. Each change
    sets a later time, whatever the clock says.
-   It keeps what an event says no more, and events that are listed no more. So an entry that is withdrawn, or lost with
    its hash set, stays as a deleted object that has its UUIDs and nothing else: perhaps it was erased.
-   It adds tags and takes none away. So a digest with other tags is another attribute, and the old one is deleted.
"""

from __future__ import annotations

import hashlib
import io
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid5

import msgspec

from hashhub.client import Client
from hashhub.connector import Exported
from hashhub.errors import Conflict, FailedPrecondition, InvalidArgument, LimitExceeded, Reason, Unavailable
from hashhub.local_files import lock_file, make_directory, written
from hashhub.model import ChangedEntry, ChangeKind, Entry, FeedPage, HashSet, now
from hashhub.state_file import StateFile
from hashhub_connectors.misp import MISPWriter, event_of

EVENT_ENTRIES: Final = 1000
"""How many numbers of entries one event has: a change of one entry writes, and each reader takes in, a whole event."""
_OURS: Final = UUID("f0a5e7c2-3c1e-4a44-9d43-5f4b7a1c60de")  # namespace of the ids that we make
_SCHEMA_VERSION: Final = 1
_DELETED: Final = {
    "type": "text", "category": "Other", "object_relation": "withdrawn", "value": "withdrawn", "to_ids": False,
    "disable_correlation": True, "distribution": "5", "deleted": True, "comment": "",
}  # fmt: skip
_PUBLISH_SECONDS: Final = 60.0  # how long changes may wait for the feed's end
_MODE: Final = 0o640  # of published files: the web server is in their group
_CSV_PAUSE: Final = 10.0  # times what hashes.csv, which has all digests, took to be written: until it is written again
_SCHEMA: Final = """
CREATE TABLE meta (id INTEGER PRIMARY KEY, schema_version INTEGER, position TEXT, generation INTEGER, sweeping INTEGER,
    csv_due INTEGER);
CREATE TABLE hash_set (name TEXT PRIMARY KEY, record BLOB NOT NULL);
CREATE TABLE event (
    key INTEGER PRIMARY KEY, hash_set TEXT NOT NULL, part INTEGER NOT NULL, uuid TEXT NOT NULL, date TEXT NOT NULL,
    time INTEGER NOT NULL, due INTEGER NOT NULL, listed BLOB, digests BLOB, UNIQUE (hash_set, part)
);
CREATE INDEX event_due ON event (key) WHERE due;
CREATE TABLE object (
    event INTEGER, number INTEGER, content BLOB NOT NULL, deleted INTEGER NOT NULL, generation INTEGER NOT NULL,
    PRIMARY KEY (event, number)
);
INSERT INTO meta VALUES (1, 1, '', 1, 0, 1);
"""
_FIND: Final = """SELECT content, deleted FROM object JOIN event ON event.key = object.event
    WHERE hash_set = ? AND part = ? AND number = ?"""
_encode: Final = msgspec.json.Encoder().encode
_Object = dict[str, Any]


class MISPFeed(StateFile):
    """The files in a directory, and their state. One process keeps them."""

    what = "the feed"
    remedy = "remove the directory, and the feed is made anew"

    def __init__(self, directory: Path) -> None:
        """Raise Conflict while another process keeps the directory; InvalidArgument where it cannot be used."""
        make_directory(directory, field="directory", mode=0o750)
        self.files = directory / "feed"
        make_directory(self.files, field="directory", mode=0o750)
        self.left_out = 0  # entries that MISP has no place for, as far as this process met them
        self._published = time.monotonic()
        self._csv_after = 0.0
        if (lock := lock_file(directory / "lock")) is None:
            raise Conflict("another process keeps this feed; end one of the two")
        self._lock = lock
        try:
            super().__init__(directory / "state.db")
        except BaseException:
            self._lock.close()
            raise

    def close(self) -> None:
        """Let another process keep the directory."""
        super().close()
        self._lock.close()

    def _open(self) -> None:
        self._db.execute("PRAGMA synchronous = FULL").close()
        with self.transaction():
            if not self._rows("SELECT 1 FROM sqlite_master WHERE name = 'meta'"):
                for statement in _SCHEMA.split(";\n"):
                    self._db.execute(statement)
        [(version,)] = self._rows("SELECT schema_version FROM meta")
        if version != _SCHEMA_VERSION:
            expected = f"is a feed of version {version}, expected {_SCHEMA_VERSION}; name a new one"
            raise InvalidArgument.field("directory", expected, "NOT_ALLOWED")

    def start_over(self) -> None:
        """Read the change feed from its beginning; what is not given again is deleted in the end."""
        self._db.execute("UPDATE meta SET position = '', generation = generation + 1, sweeping = 1")

    def update(self, hub: Client) -> None:
        """Bring the files up to date.

        Raises InvalidArgument when they were made with another token or from another hub, and what else the hub or the
        disk answers.
        """
        self._update(hub)
        self._write_csv()

    def follow(self, hub: Client, stop: threading.Event, seconds: float, tell: Callable[[str], None]) -> None:
        """Bring the files up to date every so many seconds until `stop` is set. `tell`: what is wrong meanwhile."""
        while not stop.is_set():
            pause = seconds
            try:
                self._update(hub)
            except (Unavailable, LimitExceeded) as e:
                if e.reason is Reason.DISK_FULL:  # only a person can make room
                    raise
                tell(e.message)
                pause = max(pause, e.retry_after or 0.0)
            stop.wait(pause)
        self._write_csv()

    def counts(self) -> dict[str, int]:
        """Return how many events there are, entries that stand in them, and those that are deleted."""
        [(events,)] = self._rows("SELECT count(*) FROM event")
        by = dict(self._rows("SELECT deleted, count(*) FROM object GROUP BY deleted"))
        return {"events": events, "entries": by.get(0, 0), "deleted": by.get(1, 0)}

    def _update(self, hub: Client) -> None:
        try:
            self._read(hub)
        except FailedPrecondition as e:
            if e.reason is not Reason.POSITION_UNKNOWN:
                raise
            self.start_over()
            self._read(hub)

    def _read(self, hub: Client) -> None:
        if self._rows("SELECT 1 FROM event WHERE due LIMIT 1"):  # a process that was killed has left them
            self._publish()
        [(position,)] = self._rows("SELECT position FROM meta")
        for page in hub.list_changes(position):
            self._apply(page)
            if page.is_complete or time.monotonic() - self._published > _PUBLISH_SECONDS:
                self._publish()

    # --- (1) ----------------------------------------------------------------------------------------------------------

    def _apply(self, page: FeedPage) -> None:
        with self.transaction():
            change = _PageChange(self._db, page)
            change.apply()
            self._db.execute("UPDATE meta SET position = ?", (page.position,))
        self.left_out += change.left_out

    # --- (2), (3) -----------------------------------------------------------------------------------------------------

    def _publish(self) -> None:
        """Write the events that are due, then what lists them: a listed time is never later than its file's."""
        began = time.monotonic()
        due = self._rows("SELECT key, hash_set, part, uuid, date, time FROM event WHERE due")
        for key, name, _, uuid, date, at in due:
            [(record,)] = self._rows("SELECT record FROM hash_set WHERE name = ?", (name,))
            hash_set = msgspec.json.decode(record, type=HashSet)
            event = event_of(UUID(uuid), hash_set.contributor, name, hash_set, date=date, timestamp=at)
            contents = self._rows("SELECT content, deleted FROM object WHERE event = ? ORDER BY number", (key,))
            body = _encode({"Event": {**event, "Object": [msgspec.Raw(content) for content, _ in contents]}})
            self._put(f"{uuid}.json", body)
            digests = b"".join(_digests(content) for content, is_deleted in contents if not is_deleted)
            self._db.execute("UPDATE event SET listed = ?, digests = ? WHERE key = ?", (_listed(event), digests, key))
        manifest = self.files / "manifest.json"
        if due or not manifest.exists():
            listed = self._db.execute("SELECT uuid, listed FROM event WHERE listed IS NOT NULL ORDER BY uuid")
            body = _encode({uuid: msgspec.Raw(about) for uuid, about in listed})
            self._put(manifest.name, body)
            self._db.execute("UPDATE meta SET csv_due = 1")
        if began >= self._csv_after:
            self._write_csv()
        for key, *_, at in due:
            self._db.execute("UPDATE event SET due = 0 WHERE key = ? AND time = ?", (key, at))
        self._published = time.monotonic()

    def _put(self, name: str, body: bytes) -> None:
        with written(self.files / name, replace=True, field="directory", mode=_MODE) as file:
            file.write(body)

    def _write_csv(self) -> None:
        if not self._rows("SELECT 1 FROM meta WHERE csv_due"):
            return
        began = time.monotonic()
        with written(self.files / "hashes.csv", replace=True, field="directory", mode=_MODE) as file:
            for uuid, digests in self._db.execute("SELECT uuid, digests FROM event WHERE digests > x'' ORDER BY uuid"):
                line = f",{uuid}\n".encode()
                file.writelines(digests[i : i + 16].hex().encode() + line for i in range(0, len(digests), 16))
        self._db.execute("UPDATE meta SET csv_due = 0")
        self._csv_after = time.monotonic() + _CSV_PAUSE * (time.monotonic() - began)


class _PageChange:
    """What one page of the change feed makes of the tables, in the caller's transaction."""

    def __init__(self, db: sqlite3.Connection, page: FeedPage) -> None:
        self.left_out = 0
        self._db = db
        self._page = page
        [(self._generation, self._is_sweeping)] = db.execute("SELECT generation, sweeping FROM meta").fetchall()
        rows = db.execute("SELECT name, record FROM hash_set").fetchall()
        self._hash_sets = {name: msgspec.json.decode(record, type=HashSet) for name, record in rows}
        self._events: dict[tuple[str, int], tuple[int, UUID, int]] = {}  # key, UUID, time of this page's changes

    def apply(self) -> None:
        entries: dict[str, Entry | None] = {}  # the last word on each
        for line in self._page.changes:
            if line.entry is not None and line.kind is ChangeKind.UPSERT:
                entries[line.entry.name] = line.entry
            elif line.entry_name:
                entries[line.entry_name] = None
            else:
                self._put(entries)
                entries = {}
                self._take_hash_set(line)
        self._put(entries)
        if self._is_sweeping and self._page.is_complete:
            self._delete_all(self._generation)
            self._db.execute("UPDATE meta SET sweeping = 0")

    def _take_hash_set(self, line: ChangedEntry) -> None:
        if line.hash_set is not None:
            name, record = line.hash_set.name, _encode(line.hash_set)
            if self._hash_sets.get(name) != line.hash_set:
                self._db.execute("INSERT OR REPLACE INTO hash_set VALUES (?, ?)", (name, record))
                self._hash_sets[name] = line.hash_set
                for (part,) in self._db.execute("SELECT part FROM event WHERE hash_set = ?", (name,)).fetchall():
                    self._event(name, part)
        elif line.hash_set_name:
            self._delete_all(self._generation + 1, line.hash_set_name)

    def _delete_all(self, before: int, hash_set: str | None = None) -> None:
        """Delete what stands and was last given in an earlier generation: of a hash set, or of all. An event at a time:
        a hash set may have more than memory.
        """
        sql = "SELECT number, content FROM object WHERE event = ? AND NOT deleted AND generation < ?"
        for key, name, part in self._db.execute("SELECT key, hash_set, part FROM event").fetchall():
            for number, content in self._db.execute(sql, (key, before)).fetchall() if hash_set in {None, name} else ():
                self._delete(name, part, number, content)

    def _put(self, entries: dict[str, Entry | None]) -> None:
        standing = [entry for entry in entries.values() if entry is not None]
        objects = self._objects(standing)
        for name in entries:
            hash_set, _, text = name.rpartition("/")
            number, made = int(text), objects.get(name)
            part = number // EVENT_ENTRIES
            row = self._db.execute(_FIND, (hash_set, part, number)).fetchone()
            if made is not None:
                self._write(hash_set, part, number, made, row)
            elif row is not None and not row[1]:
                self._delete(hash_set, part, number, row[0])

    def _objects(self, entries: list[Entry]) -> dict[str, _Object]:
        """Return by name of an entry the object that the format's writer makes of it; none of what it leaves out."""
        target = io.BytesIO()
        exported = Exported(self._hash_sets, {}, now())
        losses = MISPWriter().write(entries, target, exported, {})
        left_out = {loss.entry for loss in losses if loss.field == "entry"}
        self.left_out += len(left_out)
        events = msgspec.json.decode(target.getvalue())["response"]
        made = [one for event in events for one in event["Event"].get("Object", ())]
        return dict(zip((e.name for e in entries if e.name not in left_out), made, strict=True))

    def _event(self, name: str, part: int) -> tuple[int, UUID, int]:
        """Return an event that changes, with a time later than any that it had."""
        known = self._events.get((name, part))
        if known is None:
            at = now()
            uuid = uuid5(_OURS, f"{name} {part}")
            [(key, time_)] = self._db.execute(
                "INSERT INTO event (hash_set, part, uuid, date, time, due) VALUES (?, ?, ?, ?, ?, 1) "
                "ON CONFLICT (hash_set, part) DO UPDATE SET time = max(time + 1, excluded.time), due = 1 "
                "RETURNING key, time",
                (name, part, str(uuid), f"{at:%Y-%m-%d}", int(at.timestamp())),
            ).fetchall()
            known = self._events[name, part] = key, uuid, time_
        return known

    def _write(self, name: str, part: int, number: int, made: _Object, row: tuple[bytes, int] | None) -> None:
        old: _Object = msgspec.json.decode(row[0]) if row is not None else {}
        own_id = uuid5(uuid5(_OURS, f"{name} {part}"), str(number))
        standing = {uuid: a for a in made["Attribute"] for uuid in [str(uuid5(own_id, _meaning(a)))]}
        before = [a["uuid"] for a in old.get("Attribute", ()) if not a["deleted"]]
        if before == list(standing) and old["name"] == made["name"]:  # told again, or what others say of it changed
            self._db.execute(
                "UPDATE object SET generation = ? WHERE number = ? AND event = "
                "(SELECT key FROM event WHERE hash_set = ? AND part = ?)",
                (self._generation, number, name, part),
            )
            return
        key, _, at = self._event(name, part)
        attributes = [{**a, "uuid": uuid, "timestamp": str(at)} for uuid, a in standing.items()]
        attributes += [_deleted(a, at) for a in old.get("Attribute", ()) if a["uuid"] not in standing]
        content = {**made, "uuid": str(own_id), "timestamp": str(at), "Attribute": attributes}
        self._store(key, number, content)

    def _delete(self, name: str, part: int, number: int, content: bytes) -> None:
        key, _, at = self._event(name, part)
        old: _Object = msgspec.json.decode(content)
        attributes = [_deleted(a, at) for a in old["Attribute"]]
        self._store(key, number, {**old, "timestamp": str(at), "deleted": True, "Attribute": attributes})

    def _store(self, event: int, number: int, content: _Object) -> None:
        row = (event, number, _encode(content), content["deleted"], self._generation)
        self._db.execute("INSERT OR REPLACE INTO object VALUES (?, ?, ?, ?, ?)", row)


def _meaning(attribute: _Object) -> str:
    """Return all that an attribute says: one that says something else is another attribute."""
    tags = sorted(tag["name"] for tag in attribute.get("Tag", ()))
    said = [attribute[key] for key in ("type", "category", "object_relation", "value", "to_ids")]
    return _encode([said, tags]).decode()


def _deleted(attribute: _Object, at: int) -> _Object:
    """Return what deletes an attribute at its readers, and says no more what it was."""
    if attribute["deleted"]:
        return attribute
    return {"uuid": attribute["uuid"], **_DELETED, "timestamp": str(at)}


def _digests(content: bytes) -> bytes:
    """Return the MD5s of the values by which MISP finds an object."""
    values = (a["value"] for a in msgspec.json.decode(content)["Attribute"] if not a["deleted"] and a["type"] != "text")
    return b"".join(hashlib.md5(value.encode(), usedforsecurity=False).digest() for value in values)


def _listed(event: _Object) -> bytes:
    """Return what manifest.json says of an event."""
    numbers = {key: int(event[key]) for key in ("analysis", "threat_level_id", "timestamp")}
    return _encode({key: event[key] for key in ("Orgc", "Tag", "info", "date")} | numbers)
