"""A hub to work at: contributors, their lists, and uploads to match, in few words. Every part is real."""

from __future__ import annotations

import hashlib
import itertools
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from hashhub.config import Config
from hashhub.hashes import ALGORITHMS, Hash
from hashhub.hub import Hub
from hashhub.model import (
    Contributor,
    ContributorKind,
    Counts,
    Disposition,
    Entry,
    EntryState,
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
    Reject,
    Reliability,
    Role,
    Unclassified,
    Verdict,
)

if TYPE_CHECKING:
    from tests.hub.rooms import Room

OPERATOR = Principal(name="operator", role=Role.OPERATOR, contributor="operator")
AUDITOR = Principal(name="auditor", role=Role.AUDITOR)
PLATFORM = Principal(name="platform", role=Role.CONSUMER)


def writer(contributor: str) -> Principal:
    """A token of this contributor."""
    return Principal(name=f"{contributor}-desk", role=Role.CONTRIBUTOR, contributor=contributor)


def digest(algorithm: str, number: int) -> Hash:
    """The synthetic hash with this number: equal numbers, equal digests."""
    return Hash(algorithm, Random(f"{algorithm} {number}").randbytes(ALGORITHMS[algorithm].digest_bytes))


def near(h: Hash, bits: int) -> Hash:
    """A hash exactly so many bits away."""
    value = int.from_bytes(h.digest)
    for bit in Random(h.digest.hex()).sample(range(8 * len(h.digest)), bits):
        value ^= 1 << bit
    return Hash(h.algorithm, value.to_bytes(len(h.digest)))


def item(number: int, *, algorithms: Sequence[str] = ("MD5", "SHA1"), **fields: Any) -> Record:
    """What a connector reads about the synthetic file with this number."""
    fields = {"position": f"line {number}", "hashes": tuple(digest(a, number) for a in algorithms), **fields}
    return Record(**fields)


_sources = itertools.count()


class Desk:
    """One hub and short ways to use it."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub

    def contributor(self, name: str, *, reliability: str = "C", takes_from: Sequence[str] = ()) -> str:
        self.hub.contributors.create(
            OPERATOR,
            Contributor(
                id=name,
                display_name=name.title(),
                kind=ContributorKind.HOTLINE,
                jurisdiction="GB",
                reliability=Reliability(reliability),
                takes_from=tuple(takes_from),
            ),
        )
        return name

    def recipient(self, name: str) -> None:
        """Create what terms are to name, if need be."""
        collection, _, own_id = name.partition("/")
        if collection == "groups" and own_id not in {g.id for g in self.hub.groups.list(OPERATOR, 100, "")[0]}:
            self.hub.groups.create(OPERATOR, Group(id=own_id))
        if collection == "tokens" and own_id not in {t.name for t in self.hub.tokens.list(OPERATOR)}:
            self.hub.tokens.create(OPERATOR, Principal(name=own_id, role=Role.AUDITOR))
        if collection == "contributors" and own_id not in {
            c.id for c in self.hub.contributors.list(OPERATOR, 100, "")[0]
        }:
            self.contributor(own_id)

    def hash_set(
        self,
        name: str,
        *,
        scheme: str = "",
        purpose: Purpose = Purpose.CSAM,
        marking: Marking | None = None,
        unclassified: Unclassified = Unclassified.QUARANTINED,
    ) -> str:
        """Create CONTRIBUTOR/SET, and the contributor if need be."""
        contributor, _, set_id = name.partition("/")
        if contributor not in {c.id for c in self.hub.contributors.list(OPERATOR, 100, "")[0]}:
            self.contributor(contributor)
        for recipient in marking.recipients if marking else ():
            self.recipient(recipient)
        self.hub.hash_sets.create(
            OPERATOR,
            HashSet(
                contributor=contributor,
                id=set_id,
                scheme=scheme,
                purpose=purpose,
                marking=marking or Marking(),
                unclassified=unclassified,
            ),
        )
        return name

    def open(
        self, name: str, *, source: str = "", replace: bool = False, has_classifications: bool | None = None
    ) -> Import:
        contributor, _, set_id = name.partition("/")
        source = source or f"source {next(_sources)}"
        return self.hub.contribute.open(
            writer(contributor),
            Import(
                id="",
                contributor=contributor,
                hash_set=set_id,
                connector="test",
                connector_version="1",
                source_digest=hashlib.sha256(source.encode()).hexdigest(),
                replace=replace,
                has_classifications=has_classifications,
            ),
        )

    def add(self, import_: Import, *batches: Sequence[Record | Reject]) -> Import:
        """Send the batches behind those that are there."""
        who = writer(import_.contributor)
        for index, batch in enumerate(batches, import_.batch_count):
            import_ = self.hub.contribute.add(
                who,
                import_.id,
                index,
                [x for x in batch if isinstance(x, Record)],
                [x for x in batch if isinstance(x, Reject)],
            )
        return import_

    def commit(self, import_: Import, *, allow_shrinking: bool = False, validate_only: bool = False) -> Import:
        return self.hub.contribute.commit(
            writer(import_.contributor),
            import_.id,
            batch_count=import_.batch_count,
            allow_shrinking=allow_shrinking,
            validate_only=validate_only,
        )

    def contribute(
        self,
        name: str,
        *items: Record | Reject,
        source: str = "",
        replace: bool = False,
        allow_shrinking: bool = False,
        validate_only: bool = False,
        has_classifications: bool | None = None,
        batch: int = 1000,
    ) -> Import:
        """Hand a whole list over, in batches of `batch` items."""
        opened = self.open(name, source=source, replace=replace, has_classifications=has_classifications)
        batches = [items[i : i + batch] for i in range(0, len(items), batch)]
        added = self.add(opened, *batches[opened.batch_count :])
        return self.commit(added, allow_shrinking=allow_shrinking, validate_only=validate_only)

    def report(self, done: Import, *, page_size: int = 3) -> list[Finding]:
        """All lines of an import's report, read page by page."""
        findings: list[Finding] = []
        after = 0
        while True:
            page, after = self.hub.contribute.findings(AUDITOR, done.id, page_size, after)
            findings += page
            if not after:
                return findings

    def reasons(self, done: Import) -> dict[str, list[str]]:
        """The report's reason codes by position, without NOTED lines."""
        reasons_by_position: dict[str, list[str]] = {}
        for f in self.report(done):
            if f.disposition is not Disposition.NOTED:
                reasons_by_position.setdefault(f.position, []).append(f.reason)
        return reasons_by_position

    def entries(self, name: str, *states: EntryState) -> list[Entry]:
        contributor, _, set_id = name.partition("/")
        return self.hub.entries.list(AUDITOR, contributor, set_id, states, 1000, 0)[0]

    def match(
        self,
        *hashes: Hash,
        policy: str = "any",
        who: Principal = PLATFORM,
        hub: Hub | None = None,
        **options: Any,
    ) -> MatchResult:
        """Ask about one item."""
        query = Query(hashes=hashes, label="upload")
        return (hub or self.hub).match.hashes(who, [query], MatchOptions(policy=policy, **options))[0][0]

    def verdict(self, number: int, *, policy: str = "any", who: Principal = PLATFORM) -> Verdict:
        """What the hub says of the synthetic file with this number, asked by its MD5."""
        return self.match(digest("MD5", number), policy=policy, who=who).verdict

    def known(self, *numbers: int) -> list[int]:
        """Those of the synthetic files whose MD5 matches."""
        return [n for n in numbers if self.verdict(n) is Verdict.MATCH]


def total(counts: Counts) -> int:
    """The sum over everything that can become of an item."""
    return (
        counts.accepted
        + counts.quarantined
        + counts.rejected
        + counts.duplicate
        + counts.unchanged
        + counts.withdrawn
        + counts.stays_withdrawn
    )


Open = Callable[..., Hub]


@pytest.fixture(autouse=True)
def patient_matchers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that stands still for some seconds is no reason for a matcher to doubt that it knows what is listed."""
    monkeypatch.setattr("hashhub.hub.health.STALE_SECONDS", 60.0)


@pytest.fixture
def open_hub(sqlite_directory: Path) -> Iterator[Open]:
    """Return a function that opens hubs on one SQLite database, started unless told otherwise; all are closed in the
    end.
    """
    opened: list[Hub] = []

    def open_(*, publisher: bool = True, start: bool = True, **settings: Any) -> Hub:
        config = Config(**{"data": str(sqlite_directory), "poll_interval": 0.05, **settings})
        hub = Hub.open(config, publisher=publisher)
        opened.append(hub)
        if start:
            hub.start()
        return hub

    yield open_
    for hub in reversed(opened):
        hub.close()


@pytest.fixture
def desk(open_hub: Open) -> Desk:
    """A desk at an empty hub on SQLite."""
    return Desk(open_hub())


@pytest.fixture
def any_desk(database: str, tmp_path: Path) -> Iterator[Desk]:
    """A desk at an empty hub on each kind of database in turn."""
    is_url = "://" in database
    config = Config(data=str(tmp_path / "hub") if is_url else database, database=database if is_url else "")
    with Hub.open(config) as hub:
        hub.start()
        yield Desk(hub)


def seeds(sqlite: int, postgresql: int) -> pytest.MarkDecorator:
    """Try a test with so many seeds on each kind of database; PostgreSQL takes several times as long for each."""
    cases = [(kind, n) for kind, count in (("sqlite", sqlite), ("postgresql", postgresql)) for n in range(count)]
    return pytest.mark.parametrize(("database", "seed"), cases, indirect=["database"])


@pytest.fixture
def any_room(database: str, tmp_path: Path) -> Iterator[Room]:
    """A room at an empty hub on each kind of database in turn."""
    from tests.hub.rooms import Room, open_room

    with open_room(database, tmp_path) as hub:
        yield Room(hub)


@pytest.fixture
def room(sqlite_directory: Path, tmp_path: Path) -> Iterator[Room]:
    """A room at an empty hub on SQLite."""
    from tests.hub.rooms import Room, open_room

    with open_room(str(sqlite_directory), tmp_path) as hub:
        yield Room(hub)


Fill = Callable[[Desk], object]
Stock = Callable[[Fill], Desk]


class Stocks:
    """What hubs hold that were filled once, on each kind of database. Each test that begins with it gets a copy."""

    def __init__(self, request: pytest.FixtureRequest, directory: Path) -> None:
        self._request = request
        self._directory = directory
        self._made: dict[tuple[str, Fill], Config] = {}

    def open(self, kind: str, fill: Fill, data: Path) -> Hub:
        """Open a hub on a copy of its own that holds what `fill` makes."""
        if (kind, fill) not in self._made:
            first = self._directory / str(len(self._made))
            shutil.copytree(self._request.getfixturevalue("_sqlite_template"), first)
            template = self._request.getfixturevalue("_postgresql_template") if kind == "postgresql" else ""
            config = self._config(first, template)
            with Hub.open(config) as hub:
                hub.start()
                fill(Desk(hub))
            self._made[kind, fill] = config
        made = self._made[kind, fill]
        shutil.copytree(made.data, data)
        hub = Hub.open(self._config(data, made.database.partition("?")[0].rpartition("/")[2]))
        hub.start()
        return hub

    def _config(self, data: Path, template: str) -> Config:
        server = self._request.getfixturevalue("postgresql") if template else None
        return Config(data=str(data), database=server.create_database(template) if server else "", poll_interval=0.05)


@pytest.fixture(scope="session")
def _stocks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Stocks:
    return Stocks(request, tmp_path_factory.mktemp("stocks"))


@contextmanager
def _stock(stocks: Stocks, kind: str, directory: Path) -> Iterator[Stock]:
    with ExitStack() as stack:
        yield lambda fill: Desk(stack.enter_context(stocks.open(kind, fill, directory / "stocked")))


@pytest.fixture
def stock(_stocks: Stocks, tmp_path: Path) -> Iterator[Stock]:
    """Return a function that gives a desk at a hub on SQLite that holds what it is given to fill it with."""
    with _stock(_stocks, "sqlite", tmp_path) as made:
        yield made


@pytest.fixture(params=["sqlite", "postgresql"])
def any_stock(request: pytest.FixtureRequest, _stocks: Stocks, tmp_path: Path) -> Iterator[Stock]:
    """The same on each kind of database in turn."""
    with _stock(_stocks, request.param, tmp_path) as made:
        yield made
