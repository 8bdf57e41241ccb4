"""Hubs behind real doors, each with an operator, joined with each other by what the command line does."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hashhub.client import Client
from hashhub.config import Config
from hashhub.errors import HashHubError, NotFound
from hashhub.hub import Hub
from hashhub.model import (
    TLP,
    Contributor,
    ContributorKind,
    EntryState,
    HashSet,
    Marking,
    Principal,
    Reliability,
    Role,
)
from hashhub.peers import line as lines
from hashhub.peers.joining import OwnAddress, accepted, invitation
from hashhub.peers.state import all_offers, opened
from hashhub.peers.taking import Taking
from hashhub.peers.ways import Ways
from hashhub.server.listeners import Listeners
from tests.hub.receiving import admit

SAME_LETTERS = {letter: letter for letter in Reliability}
GREEN = Marking(tlp=TLP.GREEN, bulk=True)
HANDED_ON = Marking(tlp=TLP.GREEN, bulk=True, redistribution=True)


class Nation:
    """A hub of this name, with the peers that it is joined to. Its operator follows them when a test says so."""

    def __init__(self, directory: Path, name: str, **settings: Any) -> None:
        self.settings = settings
        self.name, self.data, self.peers = name, directory / name, directory / f"{name}-peers"
        self.port, self.token = 0, ""
        self.open()
        self.hub.name_hub(name)
        self.ways = Ways()

    def open(self) -> None:
        config = Config(
            data=str(self.data),
            listen=f"127.0.0.1:{self.port}",
            http="",
            drain_seconds=0.1,
            poll_interval=0.02,
            **self.settings,
        )
        self.inner = Hub.open(config)
        self.doors = Listeners(self.inner, config)
        self.doors.start()
        self.inner.start()
        self.address = self.doors.grpc_address
        self.port = int(self.address.rpartition(":")[2])
        if not self.token:
            operator = Principal(name="tests", role=Role.OPERATOR, contributor="operator", may_mirror=True)
            self.token = admit(self.inner.store, operator)
        self.hub = self.connect()

    def connect(self) -> Client:
        return Client(self.address, self.token, retry_seconds=0.5)

    def back_up(self) -> Path:
        """Copy the database as it is now."""
        to = self.data / f"backup-{time.monotonic_ns()}"
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

    def update_terms(self, hash_set: str, marking: Marking) -> None:
        """Give a hash set other terms."""
        fields = [f"marking.{name}" for name in Marking.__struct_fields__]
        self.hub.update_hash_set(msgspec.structs.replace(self.hub.get_hash_set(hash_set), marking=marking), fields)

    def close(self) -> None:
        self.hub.close()
        self.doors.close()
        self.inner.close()

    def invite(self, other: Nation, letters: Mapping[Reliability, Reliability] = SAME_LETTERS) -> None:
        """Exchange lines with another hub, as two operators do. `letters`: that the other gives this one."""
        line = invitation(self.peers, self.hub, other.name, OwnAddress(self.address, "", "NL"))
        answer = accepted(other.peers, other.hub, lines.read(line), letters, OwnAddress(other.address, "", "DE"))
        none = accepted(self.peers, self.hub, lines.read(answer), SAME_LETTERS, OwnAddress("", "", "NL"))
        assert not none

    def follow(self, name: str) -> bool:
        """Take all that a peer has to give now. Return whether the feed was to be read anew."""
        with opened(self.peers, name) as state, state.locked():
            taking = Taking(state, self.hub, self.name, self.ways)
            with taking.connected(self.peers) as there:
                taking.check(there)
                pages = there.list_changes(taking.position)
                while True:
                    try:
                        page = next(pages, None)
                    except HashHubError as e:
                        before = taking.position
                        taking.note_error(e)
                        return taking.position != before
                    if page is None:
                        return False
                    taking.apply(page)
                    taking.check(there)
                    if taking.position != page.position:
                        return True

    def peer_names(self) -> list[str]:
        return [peer.name for peer, _ in all_offers(self.peers)]

    def is_joined(self, name: str) -> bool:
        return name in self.peer_names()

    def settle(self) -> None:
        """Follow all peers until nothing is to be read anew."""
        while any(self.follow(peer.name) for peer, _ in all_offers(self.peers)):
            pass

    def contribute(self, contributor: str, hash_set: str, marking: Marking = GREEN) -> str:
        """Make a hash set, and its contributor; return its name."""
        known = {one.id for one in self.hub.list_contributors()}
        if contributor not in known:
            self.hub.create_contributor(
                Contributor(
                    id=contributor,
                    display_name=contributor.title(),
                    kind=ContributorKind.HOTLINE,
                    jurisdiction="NL",
                    reliability=Reliability.A,
                )
            )
        self.hub.create_hash_set(HashSet(contributor=contributor, id=hash_set, marking=marking))
        return f"{contributor}/{hash_set}"

    def state(self, hash_set: str, digests: Iterable[str], *, full: bool = False, named: bool = True) -> None:
        """State items by MD5 digests, whose first letters are their external ids if they are `named`; `full`: and
        nothing else.
        """
        self._import(hash_set, [_line(hash_set, d, named=named) for d in digests], full=full)

    def withdraw(self, hash_set: str, digests: Iterable[str], *, named: bool = True) -> None:
        """Withdraw items by a list of changes."""
        self._import(hash_set, [_line(hash_set, d, named=named, state="WITHDRAWN") for d in digests], full=False)

    def _import(self, hash_set: str, lines: list[dict[str, object]], *, full: bool) -> None:
        head = {
            "format": "hashhub-entries",
            "version": 2,
            "time": datetime.now(UTC).isoformat(),
            "is_delta": not full,
            "hash_sets": [],
        }
        document = BytesIO(b"".join(json.dumps(one).encode() + b"\n" for one in [head, *lines, {"end": len(lines)}]))
        options = {"hash_set": hash_set, "classifications": "no"}
        self.hub.import_source(
            document, hash_set=hash_set, connector="hashhub-jsonl", options=options, replace=full, allow_shrinking=True
        )

    def standing(self, hash_set: str) -> set[str]:
        """Return the MD5 digests of what is active; of a hash set that is not there, none."""
        try:
            entries = list(self.hub.list_entries(hash_set, (EntryState.ACTIVE,)))
        except NotFound:
            return set()
        return {h.digest.hex() for entry in entries for h in entry.hashes}


def _line(hash_set: str, digest: str, *, named: bool, state: str = "ACTIVE") -> dict[str, object]:
    line: dict[str, object] = {"entry": f"{hash_set}/1", "hashes": [f"MD5:{digest}"], "state": state}
    return line | ({"external_id": digest[:8]} if named else {})


def digests(*numbers: int) -> set[str]:
    """Return MD5 digests that are nothing's."""
    return {hashlib.md5(f"item {n}".encode(), usedforsecurity=False).hexdigest() for n in numbers}


MakeNation = Callable[[str], Nation]


@pytest.fixture
def nation(tmp_path: Path) -> Iterator[MakeNation]:
    """Give hubs, each by its name."""
    with ExitStack() as stack:

        def make(name: str) -> Nation:
            made = Nation(tmp_path, name)
            stack.callback(made.close)
            return made

        yield make
