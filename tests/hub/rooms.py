"""Desks with a scheme of one dimension each, whose finder of conflicts works when told."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from hashhub.config import Config
from hashhub.hub import Hub
from hashhub.model import (
    TLP,
    Conflict,
    ConflictFilter,
    Entry,
    EntryState,
    Marking,
    Principal,
    WithdrawalReason,
)
from tests.hub.conftest import AUDITOR, Desk, item, writer

SCHEME = """
id = "desk"
version = "1"
region = "ZZ"
status = "verified"
title = "Values of one dimension each"
source = ["invented for tests"]
"""
VALUES: dict[str, dict[str, Any]] = {
    "csam": {"verdict": "csam"},
    "exploitative": {"verdict": "exploitative"},
    "either": {"verdict": ["csam", "exploitative"]},
    "harmless": {"verdict": "non-pertinent"},
    "comparison": {"verdict": "comparison"},
    "open": {"verdict": "unclassified"},
    "unsure": {"verdict": ["csam", "non-pertinent"]},
    "infant": {"verdict": "csam", "age_band": "0-2"},
    "prepubescent": {"verdict": "csam", "age_band": "prepubescent"},
    "teen": {"verdict": "csam", "age_band": ["14-15", "16-17"]},
    "adult": {"verdict": ["csam", "non-pertinent"], "age_band": "18+"},
    "posing": {"verdict": "csam", "act": "posing"},
    "penetrative": {"verdict": "csam", "act": "penetrative"},
    "drawn": {"verdict": "csam", "medium": "drawn"},
    "photo": {"verdict": "csam", "medium": "photo"},
    "gb-illegal": {"verdict": "csam", "legal_status": "GB:illegal"},
    "gb-legal": {"verdict": ["csam", "exploitative"], "legal_status": "GB:not-illegal"},
    "nl-legal": {"verdict": ["csam", "exploitative"], "legal_status": "NL:not-illegal"},
    "series": {"verdict": "csam", "context": "series"},
    "meme": {"verdict": "csam", "context": "meme"},
}
OPEN_MARKING = Marking(tlp=TLP.GREEN, bulk=True)


def _toml() -> str:
    def line(name: str, values: Any) -> str:
        return f"dimensions.{name} = {values!r}".replace("'", '"')

    blocks = [
        f'[values.{value}]\ntitle = "{value}"\n' + "\n".join(itertools.starmap(line, dimensions.items()))
        for value, dimensions in VALUES.items()
    ]
    return SCHEME + "\n\n".join(blocks)


class Room(Desk):
    """A desk whose hash sets use the scheme of this file and are open to all, and whose finder works when told."""

    def set(self, name: str, **fields: Any) -> str:
        fields = {"scheme": "desk@1", "marking": OPEN_MARKING, **fields}
        return self.hash_set(name, **fields)

    def state(self, name: str, number: int, value: str = "", **fields: Any) -> None:
        """Let a hash set state a value of the synthetic file with this number, and look for conflicts."""
        fields = {"external_id": f"x{number}", **fields}
        self.contribute(name, item(number, value=value, **fields))
        self.look()

    def look(self) -> int:
        finder = self.hub.finder
        assert finder is not None
        return finder.catch_up()

    def conflicts(self, who: Principal = AUDITOR, **wanted: Any) -> list[Conflict]:
        return self.hub.conflicts.list(who, ConflictFilter(**wanted), 1000)[0]

    def last_sequence(self) -> int:
        """Of the conflict that was opened last."""
        [(sequence,)] = self.hub.store.database.fetch("SELECT sequence FROM conflict_progress")
        return int(sequence)

    def only(self, who: Principal = AUDITOR, **wanted: Any) -> Conflict:
        (conflict,) = self.conflicts(who, **wanted)
        return conflict

    def contradict(self, left: str = "csam", right: str = "harmless", **fields: Any) -> Conflict:
        """Let alpha/list and beta/list state these values of one file, and return the conflict."""
        self.set("alpha/list")
        self.set("beta/list")
        self.state("alpha/list", 1, left, **fields)
        self.state("beta/list", 1, right, **fields)
        return self.only()

    def entry(self, name: str) -> Entry:
        (entry,) = self.entries(name, EntryState.ACTIVE)
        return entry

    def withdraw(self, name: str, reason: WithdrawalReason = WithdrawalReason.ERROR) -> Entry:
        entry = self.entry(name)
        contributor, _, own = name.partition("/")
        self.hub.entries.withdraw(writer(contributor), contributor, own, entry.id, reason)
        self.look()
        return entry


def write_scheme(folder: Path) -> Path:
    """Write the scheme of this file into a folder, and return that."""
    folder.mkdir(exist_ok=True)
    (folder / "desk.toml").write_text(_toml())
    return folder


def open_room(database: str, tmp_path: Path, *, publisher: bool = True) -> Hub:
    schemes = write_scheme(tmp_path / "schemes")
    is_url = "://" in database
    data = str(tmp_path / "hub") if is_url else database
    config = Config(data=data, database=database if is_url else "", schemes=str(schemes), poll_interval=0.05)
    return Hub.open(config, publisher=publisher)
