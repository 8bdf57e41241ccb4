"""A real hub to quarrel at, used for many sequences, and short ways to act at it.

A sequence has contributors and digests of its own, so that one hub serves many of them; a fresh one from time to time
keeps each step as cheap as the first. This is the only module here that knows how the hub's use-cases are called.
"""

from __future__ import annotations

import hashlib
import itertools
import shutil
import sqlite3
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any, Final, Self

from hashhub.config import Config
from hashhub.hashes import ALGORITHMS, Hash
from hashhub.hub import Hub
from hashhub.model import (
    TLP,
    ChangedEntry,
    Contributor,
    ContributorKind,
    Counts,
    Entry,
    Finding,
    Group,
    HashSet,
    Import,
    Marking,
    MatchOptions,
    MatchResult,
    Principal,
    Purpose,
    Query,
    Record,
    Reliability,
    Review,
    ReviewKind,
    Role,
    WithdrawalReason,
)

OPERATOR: Final = Principal(name="operator", role=Role.OPERATOR, contributor="operator")
ALL_ALGORITHMS: Final = ("MD5", "SHA1", "PDQ")
MEMORY: Final = Path("/dev/shm")  # noqa: S108 - where it exists, commits need not wait for a disk

_numbers = itertools.count()


def writer(contributor: str) -> Principal:
    """Return a token that writes for this contributor."""
    return Principal(name=f"{contributor}-desk", role=Role.CONTRIBUTOR, contributor=contributor)


def digest(algorithm: str, seed: object) -> Hash:
    """Return the synthetic hash of a seed: equal seeds, equal digests."""
    return Hash(algorithm, Random(f"{algorithm} {seed}").randbytes(ALGORITHMS[algorithm].digest_bytes))


def near(value: Hash, bits: int, seed: object) -> Hash:
    """Return a hash exactly so many bits away."""
    number = int.from_bytes(value.digest)
    for bit in Random(f"{value.digest.hex()} {seed}").sample(range(8 * len(value.digest)), bits):
        number ^= 1 << bit
    return Hash(value.algorithm, number.to_bytes(len(value.digest)))


class Item:
    """One synthetic media file: its exact and its perceptual hashes, and those of its re-encoded copy."""

    def __init__(self, seed: object) -> None:
        self.md5, self.sha1, self.pdq = (digest(a, seed) for a in ALL_ALGORITHMS)
        self.near_pdq = near(self.pdq, 20, "copy")

    @property
    def hashes(self) -> tuple[Hash, ...]:
        return self.md5, self.sha1, self.pdq


class World:
    """One hub in a directory of its own."""

    def __init__(self) -> None:
        """Open a new hub."""
        self.directory = Path(tempfile.mkdtemp(prefix="hashhub-world-", dir=MEMORY if MEMORY.is_dir() else None))
        self.hub = self._open()

    def _open(self) -> Hub:
        hub = Hub.open(Config(data=str(self.directory / "data"), poll_interval=1.0))
        hub.start()
        return hub

    def close(self) -> None:
        """Close the hub and remove what it kept."""
        self.hub.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # What people do

    def contributor(self, name: str, reliability: Reliability | str = Reliability.F) -> str:
        """Create a contributor."""
        self.hub.contributors.create(
            OPERATOR,
            Contributor(
                id=name,
                display_name=name,
                kind=ContributorKind.HOTLINE,
                jurisdiction="GB",
                reliability=Reliability(reliability),
            ),
        )
        return name

    def hash_set(
        self,
        name: str,
        *,
        scheme: str = "",
        purpose: Purpose = Purpose.CSAM,
        marking: Marking | None = None,
        by: Principal | None = None,
    ) -> str:
        """Create `CONTRIBUTOR/SET`."""
        contributor, _, set_id = name.partition("/")
        hash_set = HashSet(
            contributor=contributor,
            id=set_id,
            scheme=scheme,
            purpose=purpose,
            marking=marking or Marking(tlp=TLP.GREEN),
        )
        self.hub.hash_sets.create(by or writer(contributor), hash_set)
        return name

    def terms(
        self, name: str, marking: Marking, *, by: Principal, mask: Sequence[str] = ("marking", "marking.recipients")
    ) -> None:
        """Change a hash set's terms, or those that the mask names."""
        contributor, _, set_id = name.partition("/")
        wanted = HashSet(contributor=contributor, id=set_id, marking=marking)
        self.hub.hash_sets.update(by, wanted, mask)

    def create_group(self, name: str, members: Sequence[str]) -> None:
        """Create a group."""
        self.hub.groups.create(OPERATOR, Group(id=name, members=tuple(members)))

    def change_group(self, name: str, members: Sequence[str]) -> None:
        """Give a group other members."""
        self.hub.groups.update(OPERATOR, Group(id=name, members=tuple(members)), ("members",))

    def delete_group(self, name: str) -> None:
        """Delete a group."""
        self.hub.groups.delete(OPERATOR, name)

    def back_up(self) -> Path:
        """Copy the database, as `hashhub backup` or any tool for SQLite does, and return where it is."""
        copy = self.directory / f"backup-{next(_numbers)}.db"
        with closing(sqlite3.connect(self._database)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
        return copy

    def restore_backup(self, copy: Path) -> None:
        """Stop the hub, put a copy of the database in its place, and start the hub again."""
        self.hub.close()
        for suffix in ("-wal", "-shm"):
            self._database.with_name(self._database.name + suffix).unlink(missing_ok=True)
        shutil.copyfile(copy, self._database)
        self.hub = self._open()

    def restart(self) -> None:
        """Stop the hub and start it again."""
        self.hub.close()
        self.hub = self._open()

    @property
    def _database(self) -> Path:
        return self.directory / "data" / "hashhub.db"

    def begin(self, name: str, *, source: str = "", replace: bool = False, by: Principal | None = None) -> Import:
        """Open an import; a source of the same text is the same source."""
        contributor, _, set_id = name.partition("/")
        return self.hub.contribute.open(
            by or writer(contributor),
            Import(
                id="",
                contributor=contributor,
                hash_set=set_id,
                connector="test",
                connector_version="1",
                source_digest=hashlib.sha256((source or f"source {next(_numbers)}").encode()).hexdigest(),
                replace=replace,
            ),
        )

    def lists(
        self,
        name: str,
        records: Sequence[Record],
        *,
        source: str = "",
        replace: bool = False,
        validate_only: bool = False,
        by: Principal | None = None,
    ) -> Import:
        """Hand a list over, whole and in one batch."""
        by = by or writer(name.partition("/")[0])
        opened = self.begin(name, source=source, replace=replace, by=by)
        if opened.batch_count == 0:
            opened = self.hub.contribute.add(by, opened.id, 0, records, [])
        return self.hub.contribute.commit(
            by, opened.id, batch_count=opened.batch_count, allow_shrinking=True, validate_only=validate_only
        )

    def findings(self, done: Import, by: Principal) -> list[Finding]:
        """Return an import's report."""
        return list(self.hub.contribute.findings(by, done.id, 1000, 0)[0])

    def entries(self, name: str) -> list[Entry]:
        """Return all entries of a hash set, in any state, oldest first."""
        contributor, _, set_id = name.partition("/")
        entries: list[Entry] = []
        after = 0
        while True:
            page, after = self.hub.entries.list(OPERATOR, contributor, set_id, (), 1000, after)
            entries += page
            if not after:
                return entries

    def withdraw(self, entry: str, *, by: Principal, reason: WithdrawalReason = WithdrawalReason.ERROR) -> Entry:
        """Withdraw an entry by hand."""
        contributor, hash_set, number = entry.split("/")
        return self.hub.entries.withdraw(by, contributor, hash_set, int(number), reason)

    def restore(self, entry: str, *, by: Principal) -> Entry:
        """Take a withdrawal by hand back."""
        contributor, hash_set, number = entry.split("/")
        return self.hub.entries.restore(by, contributor, hash_set, int(number))

    def quarantine(self, entry: str) -> None:
        """Put an entry into quarantine, as the operator."""
        contributor, hash_set, number = entry.split("/")
        self.hub.entries.quarantine(OPERATOR, contributor, hash_set, int(number))

    def review(
        self, entry: str, kind: ReviewKind, *, by: Principal, validate_only: bool = False, request_id: str = ""
    ) -> Review:
        """Review an entry."""
        contributor, hash_set, number = entry.split("/")
        return self.hub.reviews.create(
            by, contributor, hash_set, int(number), kind, validate_only=validate_only, request_id=request_id
        )

    def accept(self, name: str) -> None:
        """Let a hash set's word against harm weigh, up to now, as the operator."""
        contributor, _, set_id = name.partition("/")
        self.hub.hash_sets.accept(OPERATOR, contributor, set_id, self.hub.revision())

    def changes(self, by: Principal, position: str = "", *, from_now: bool = False) -> tuple[list[ChangedEntry], str]:
        """Read the change feed behind a position to its end; return the lines and where to go on."""
        lines: list[ChangedEntry] = []
        while True:
            page = self.hub.changes.page(by, position, from_now=from_now and not position)
            lines += page.changes
            position = page.position
            if page.is_complete:
                return lines, position

    def ask(
        self, queries: Iterable[Sequence[Hash]], policy: str, *, by: Principal, **options: Any
    ) -> list[MatchResult]:
        """Ask about items, each by some of its hashes."""
        return self.hub.match.hashes(
            by, [Query(hashes=tuple(q)) for q in queries], MatchOptions(policy=policy, **options)
        )[0]


def record(position: object, hashes: Iterable[Hash], **fields: Any) -> Record:
    """Return what a connector reads about one item."""
    return Record(position=str(position), hashes=tuple(hashes), **fields)


def accounted(counts: Counts) -> int:
    """Return the sum over everything that can become of an item."""
    return (
        counts.accepted
        + counts.quarantined
        + counts.rejected
        + counts.duplicate
        + counts.unchanged
        + counts.withdrawn
        + counts.stays_withdrawn
    )
