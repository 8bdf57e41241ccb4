"""A MISP that fetches our feed has what the feed's token may hold: after anything, interrupted anywhere."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest
from msgspec.structs import replace
from pymisp import MISPEvent

from hashhub import hashes, local_files, misp_feed
from hashhub.client import Client
from hashhub.errors import Conflict, Unavailable
from hashhub.misp_feed import MISPFeed
from hashhub.model import Entry, FeedPage, Marking, Principal
from tests.hub.conftest import item
from tests.hub.receiving import entitled, mirroring
from tests.mirror.conftest import Site
from tests.mirror.test_holding import World
from tests.patience import wait_until

_RECEIVER = replace(mirroring(), purposes=("moderation",))
Said = dict[tuple[str, str], list[tuple[str, ...]]]


class MISPReader:
    """What MISP keeps of a feed, by the rules of its Feed::getNewEventUuids, Event::_add and _edit,
    MispObject::editObject and MispAttribute::editAttribute.
    """

    def __init__(self) -> None:
        self.events: dict[str, Any] = {}
        self._owners: dict[str, tuple[str, ...]] = {}  # of an object's or attribute's UUID

    def fetch(self, directory: Path) -> int:
        """Fetch what the manifest lists as newer; return how many events that were."""
        fetched = 0
        for uuid, listed in json.loads((directory / "manifest.json").read_bytes()).items():
            own = self.events.get(uuid)
            if own is not None and own["timestamp"] >= listed["timestamp"]:
                continue
            event = json.loads((directory / f"{uuid}.json").read_bytes())["Event"]
            at = int(event["timestamp"])
            assert event["uuid"] == uuid
            assert at >= listed["timestamp"], "the file is older than it is listed as"
            assert own is None or at > own["timestamp"], "Event in the request not newer than the local copy"
            own = self.events.setdefault(uuid, {"info": event["info"], "objects": {}, "tags": set()})
            own["timestamp"] = at
            own["tags"] |= {tag["name"] for tag in event["Tag"]}
            for one in event["Object"]:
                self._edit(uuid, own["objects"], one)
            fetched += 1
        return fetched

    def _edit(self, event: str, objects: dict[str, Any], one: dict[str, Any]) -> None:
        assert self._owners.setdefault(one["uuid"], (event,)) == (event,), "duplicate UUID"
        at = int(one["timestamp"])
        own = objects.setdefault(one["uuid"], {"timestamp": -1, "attributes": {}})
        if own["timestamp"] >= at:
            return
        own |= {"timestamp": at, "deleted": one["deleted"]}
        for a in one["Attribute"]:
            owner = (event, one["uuid"])
            assert self._owners.setdefault(a["uuid"], owner) == owner, "duplicate UUID"
            kept = own["attributes"].setdefault(a["uuid"], {"timestamp": -1, "tags": set()})
            if kept["timestamp"] >= int(a["timestamp"]):
                continue
            kept |= {key: a[key] for key in ("value", "type", "object_relation", "to_ids")}
            kept |= {"timestamp": int(a["timestamp"]), "deleted": a["deleted"] or one["deleted"]}
            kept["tags"] |= {tag["name"] for tag in a.get("Tag", ())}

    def said(self) -> Said:
        """What stands: by hash set and digest, the tags that it has."""
        said: Said = {}
        for event in self.events.values():
            for one in event["objects"].values():
                for a in one["attributes"].values():
                    if not one["deleted"] and not a["deleted"] and a["object_relation"] in {"md5", "pdq"}:
                        key = event["info"].removeprefix("hash set "), a["value"]
                        said.setdefault(key, []).append(tuple(sorted(a["tags"])))
        return {key: sorted(tags) for key, tags in said.items()}


def due(site: Site, who: Principal) -> Said:
    """What a reader should have, straight from the store."""
    said: Said = {}
    for entry, _ in entitled(site.hub, who)[0].values():
        for h in entry.hashes:
            tags = (*entry.tags, *_said(entry))
            said.setdefault((f"{entry.contributor}/{entry.hash_set}", hashes.encode(h)), []).append(tuple(sorted(tags)))
    return {key: sorted(tags) for key, tags in said.items()}


def _said(entry: Entry) -> tuple[str, ...]:
    if entry.classification is not None:
        c = entry.classification
        return (f'hashhub:classification="{c.scheme}@{c.version}={c.value}"',)
    return ("hashhub:undecided",) if "UNCLASSIFIED" in entry.reasons else ()


class Killed(BaseException):
    """Ends a run as a kill does: nothing handles it."""


@pytest.fixture
def kills(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """End runs at random where they write; what is appended turns it on."""
    random, switched = Random(7), list[str]()
    whole, list_changes = local_files.written, Client.list_changes

    def perhaps() -> None:
        if switched and random.random() < 0.15:
            switched.append("killed")
            raise Killed

    @contextmanager
    def written(*arguments: Any, **how: Any) -> Iterator[Any]:
        perhaps()
        with whole(*arguments, **how) as file:
            yield file
            perhaps()
        perhaps()

    def listed(hub: Client, position: str) -> Iterator[FeedPage]:
        for page in list_changes(hub, position):
            perhaps()
            yield page
            perhaps()

    monkeypatch.setattr(misp_feed, "written", written)
    monkeypatch.setattr(Client, "list_changes", listed)
    return switched


def updated(directory: Path, hub: Client) -> bool:
    try:
        with MISPFeed(directory) as feed:
            feed.update(hub)
    except Killed:
        return False
    return True


@pytest.mark.parametrize("seed", range(3))
def test_a_misp_has_what_the_token_may_hold(
    site: Site, tmp_path: Path, seed: int, kills: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hashhub.client.changes.PAGE", 7 + 20 * seed)
    monkeypatch.setattr(misp_feed, "EVENT_ENTRIES", 16)
    world, random, secret = World(site, seed), Random(seed), site.token(_RECEIVER)
    directory, reader, late = tmp_path / "misp", MISPReader(), MISPReader()
    kills.append("on")
    for step in range(70):
        world.step()
        if random.random() < 0.5 and step < 69:
            continue
        with site.client(secret) as hub:
            while not updated(directory, hub):
                if (directory / "feed" / "manifest.json").exists():
                    reader.fetch(directory / "feed")  # in the midst of it
        reader.fetch(directory / "feed")
        assert reader.said() == due(site, _RECEIVER), step
        if random.random() < 0.1:
            late.fetch(directory / "feed")
    late.fetch(directory / "feed")
    new = MISPReader()
    new.fetch(directory / "feed")
    assert late.said() == new.said() == due(site, _RECEIVER)
    assert kills.count("killed") > 5


class Retold:
    """A hub that says of its entries what a test wants it to."""

    def __init__(self, hub: Client, **fields: Any) -> None:
        self._hub, self._fields = hub, fields

    def list_changes(self, position: str = "") -> Iterator[FeedPage]:
        for page in self._hub.list_changes(position):
            lines = [
                line if line.entry is None else replace(line, entry=replace(line.entry, **self._fields))
                for line in page.changes
            ]
            yield replace(page, changes=tuple(lines))


def test_what_an_entry_says_no_more_is_taken_back(site: Site, tmp_path: Path) -> None:
    site.desk.hash_set("alpha/one", marking=Marking(bulk=True))
    site.desk.contribute("alpha/one", *(item(n, algorithms=("MD5", "PDQ"), tags=("x",)) for n in range(2)))
    reader = MISPReader()
    with site.client(site.token(_RECEIVER)) as hub, MISPFeed(tmp_path) as feed:
        for fields, tags in (({}, "x"), ({"tags": ("y",)}, "y"), ({"tags": ("x",)}, "x"), ({"media_type": "a/b"}, "x")):
            feed.start_over()
            feed.update(Retold(hub, **fields))  # type: ignore[arg-type]
            reader.fetch(tmp_path / "feed")
            said = reader.said()
            assert [tag for all_tags in said.values() for own in all_tags for tag in own if len(tag) == 1] == [tags] * 4
        feed.start_over()
        feed.update(Retold(hub, hashes=site.desk.entries("alpha/one")[0].hashes[:1]))  # type: ignore[arg-type]
    reader.fetch(tmp_path / "feed")
    assert {value for _, value in reader.said()} == {hashes.encode(site.desk.entries("alpha/one")[0].hashes[0])}


def test_files_hold_no_digest_of_what_is_withdrawn_or_lost(site: Site, tmp_path: Path) -> None:
    site.desk.hash_set("alpha/one", marking=Marking(bulk=True))
    site.desk.hash_set("alpha/two", marking=Marking(bulk=True))
    for name, first_number in (("alpha/one", 0), ("alpha/two", 10)):
        site.desk.contribute(name, *(item(first_number + n, algorithms=("MD5", "PDQ")) for n in range(3)))
    secret = site.token(_RECEIVER)
    directory, reader = tmp_path / "misp", MISPReader()

    def texts() -> str:
        return "".join(path.read_text() for path in sorted((directory / "feed").iterdir()))

    with site.client(secret) as hub:
        assert updated(directory, hub)
        reader.fetch(directory / "feed")
        first, *_ = site.desk.entries("alpha/one")
        values = [hashes.encode(h) for h in first.hashes]
        assert all(value in texts() for value in values)
        site.hub.store.transitions.withdraw([first.id], "FALSE_POSITIVE")
        site.hub.store.resources.update_hash_set("alpha", "two", {"marking": Marking(bulk=False)})
        assert updated(directory, hub)
    lost = [hashes.encode(h) for e in site.desk.entries("alpha/two") for h in e.hashes]
    gone = [value for value in [*values, *lost] if value in texts()]
    assert gone == []
    md5s = [hashlib.md5(value.encode(), usedforsecurity=False).hexdigest() for value in [*values, *lost]]
    assert not any(md5 in texts() for md5 in md5s)
    reader.fetch(directory / "feed")
    assert reader.said() == due(site, _RECEIVER)
    assert len(reader.said()) == 4


def test_nothing_new_writes_nothing_and_moves_no_time(site: Site, tmp_path: Path) -> None:
    site.desk.hash_set("alpha/one", marking=Marking(bulk=True))
    site.desk.contribute("alpha/one", *(item(n, algorithms=("MD5",)) for n in range(3)))
    with site.client(site.token(_RECEIVER)) as hub:
        directory, reader = tmp_path / "misp", MISPReader()
        assert updated(directory, hub)
        before = {path.name: path.stat().st_ino for path in (directory / "feed").iterdir()}
        assert reader.fetch(directory / "feed") == 1
        assert updated(directory, hub)
        assert {path.name: path.stat().st_ino for path in (directory / "feed").iterdir()} == before
        with MISPFeed(directory) as feed:
            feed.start_over()
            feed.update(hub)
            with pytest.raises(Conflict):
                MISPFeed(directory)
        assert reader.fetch(directory / "feed") == 0


def test_pymisp_reads_the_files_and_lists_them_as_we_do(site: Site, tmp_path: Path) -> None:
    site.desk.hash_set("alpha/one", marking=Marking(bulk=True))
    site.desk.contribute("alpha/one", *(item(n, algorithms=("MD5", "SHA1", "PDQ"), tags=("x",)) for n in range(5)))
    with site.client(site.token(_RECEIVER)) as hub:
        assert updated(tmp_path, hub)
        site.hub.store.transitions.withdraw([site.desk.entries("alpha/one")[0].id], "FALSE_POSITIVE")
        assert updated(tmp_path, hub)
    files = tmp_path / "feed"
    manifest = json.loads((files / "manifest.json").read_bytes())
    listed = [tuple(row) for row in csv.reader((files / "hashes.csv").read_text().splitlines())]
    found: list[tuple[str, str]] = []
    for uuid, about in manifest.items():
        event = MISPEvent()
        event.load_file(files / f"{uuid}.json")
        own = event.manifest[uuid]
        tags = [tag["name"] for tag in own.pop("Tag")]
        assert tags == [tag["name"] for tag in about.pop("Tag")]
        assert {key: str(value) for key, value in own.items()} == {key: str(value) for key, value in about.items()}
        standing = [a for one in event.objects if not one.deleted for a in one.attributes if not a.deleted]
        assert len(standing) == 4 * 3
        found += [(md5, uuid) for a in standing if a.type != "text" for md5 in a.hash_values("md5")]
    assert sorted(listed) == sorted(found)
    assert len(found) == 4 * 2


def started(site: Site, secret: str, directory: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "hashhub.cli", "feed", "misp", str(directory), *options],
        env={**os.environ, "HASHHUB_SERVER": site.doors.grpc_address, "HASHHUB_TOKEN": secret},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_processes_that_are_killed_leave_files_that_a_reader_can_use(site: Site, tmp_path: Path) -> None:
    site.desk.hash_set("alpha/one", marking=Marking(bulk=True))
    site.desk.contribute("alpha/one", *(item(n, algorithms=("MD5",)) for n in range(6_000)), batch=3_000)
    secret, random, reader = site.token(_RECEIVER), Random(5), MISPReader()
    manifest, codes = tmp_path / "feed" / "manifest.json", []
    for _ in range(4):
        before = _position(tmp_path)
        process = started(site, secret, tmp_path, "--once")
        wait_until(lambda: process.poll() is not None or _position(tmp_path) != before)  # noqa: B023 - in this turn
        time.sleep(random.uniform(0, 0.05))
        process.kill()
        process.communicate()
        codes.append(process.returncode)
        if manifest.exists():
            reader.fetch(tmp_path / "feed")
        ids = [int(i) for i in site.hub.store.entries.active_ids("alpha", "one")]
        site.hub.store.transitions.withdraw(random.sample(ids, 300), "X")
    assert -signal.SIGKILL in codes
    assert set(codes) <= {-signal.SIGKILL, 0}
    last = started(site, secret, tmp_path, "--once", "--json")
    told, errors = last.communicate(timeout=120)
    assert last.returncode == 0, errors
    reader.fetch(tmp_path / "feed")
    assert reader.said() == due(site, _RECEIVER)
    assert json.loads(told)["entries"] == len(reader.said()) == 6_000 - 4 * 300


def _position(directory: Path) -> str:
    """Where the files' state is; empty before there is any."""
    with suppress(sqlite3.OperationalError), closing(sqlite3.connect(directory / "state.db", timeout=30.0)) as db:
        return str(db.execute("SELECT position FROM meta").fetchone()[0])
    return ""


def test_a_feed_that_is_kept_follows_and_ends_when_it_is_told_to(site: Site, tmp_path: Path) -> None:
    site.desk.hash_set("alpha/one", marking=Marking(bulk=True))
    site.desk.contribute("alpha/one", item(1, algorithms=("MD5",)))
    process, reader = started(site, site.token(_RECEIVER), tmp_path, "--seconds", "1"), MISPReader()

    def has(count: int) -> bool:
        if (tmp_path / "feed" / "manifest.json").exists():
            reader.fetch(tmp_path / "feed")
        return process.poll() is not None or len(reader.said()) == count

    wait_until(lambda: has(1))
    site.desk.contribute("alpha/one", *(item(n, algorithms=("MD5",)) for n in range(2, 5)))
    wait_until(lambda: has(4))
    site.hub.store.transitions.withdraw([site.desk.entries("alpha/one")[0].id], "X")
    wait_until(lambda: has(3))
    process.send_signal(signal.SIGTERM)
    told, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert "3 entries in 1 events" in told
    assert reader.said() == due(site, _RECEIVER)


def test_a_hub_that_is_away_is_asked_again(site: Site, tmp_path: Path) -> None:
    site.desk.hash_set("alpha/one", marking=Marking(bulk=True))
    site.desk.contribute("alpha/one", item(1, algorithms=("MD5",)))
    stop, told = threading.Event(), list[str]()

    class Away:
        """A hub that answers the second time."""

        def __init__(self, hub: Client) -> None:
            self._hub = hub

        def list_changes(self, position: str) -> Iterator[FeedPage]:
            if not told:
                raise Unavailable("the hub is away")
            stop.set()
            return self._hub.list_changes(position)

    with site.client(site.token(_RECEIVER)) as hub, MISPFeed(tmp_path) as feed:
        feed.follow(Away(hub), stop, 0.01, told.append)  # type: ignore[arg-type]
        assert (told, feed.counts()["entries"]) == (["the hub is away"], 1)


def test_what_a_killed_process_took_in_is_written_while_the_hub_is_away(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.desk.hash_set("alpha/one", marking=Marking(bulk=True))
    site.desk.contribute("alpha/one", *(item(n, algorithms=("MD5",)) for n in range(3)))
    secret, reader = site.token(_RECEIVER), MISPReader()
    with site.client(secret) as hub:
        assert updated(tmp_path, hub)
        site.hub.store.transitions.withdraw([site.desk.entries("alpha/one")[0].id], "X")

        def killed(*_: Any, **how: Any) -> Any:
            raise Killed

        with monkeypatch.context() as patched:
            patched.setattr(misp_feed, "written", killed)
            assert not updated(tmp_path, hub)
        monkeypatch.setattr(Client, "list_changes", _away)
        with pytest.raises(Unavailable):
            updated(tmp_path, hub)
    reader.fetch(tmp_path / "feed")
    assert len(reader.said()) == 2


def _away(*_: object) -> Iterator[FeedPage]:
    raise Unavailable("the hub is away")
