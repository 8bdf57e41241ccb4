"""Real hubs as processes of their own, and what people do with them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from hashhub.cli import main
from hashhub.client import Client
from hashhub.errors import HashHubError
from hashhub.hashes import Hash
from hashhub.model import Contributor, ContributorKind, HashSet, MatchOptions, Query, Reliability, Verdict
from hashhub.testing.hub_process import RunningHub
from hashhub.testing.lists import ListItem, list_file, random_items
from tests.patience import PATIENCE, wait_until
from tests.warm import Warm

OpenHub = Callable[..., AbstractContextManager["Desk"]]


class Desk:
    """A place to work at: a running hub, and a token to use it with."""

    def __init__(self, hub: RunningHub, directory: Path, token: str = "") -> None:
        self.hub = hub
        self.directory = directory
        self.token = token or hub.token
        self._started: list[subprocess.Popen[str]] = []

    @property
    def environment(self) -> dict[str, str]:
        return {"HASHHUB_SERVER": self.hub.address, "HASHHUB_TOKEN": self.token}

    def client(self, **settings: Any) -> Client:
        return Client(self.hub.address, self.token, **settings)

    def as_(self, token: str) -> Desk:
        """Return the same place for somebody else."""
        return Desk(self.hub, self.directory, token)

    def run(self, *arguments: str | Path) -> Result:
        """Run a command in this process."""
        return CliRunner().invoke(main, [str(a) for a in arguments], env=self.environment, catch_exceptions=False)

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        """Run a command as a process of its own, to be killed."""
        process = subprocess.Popen(
            [sys.executable, "-m", "hashhub.cli", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **self.environment},
        )
        self._started.append(process)
        return process

    def close(self) -> None:
        for process in self._started:
            process.kill()
            process.communicate()

    def hash_set(self, name: str, scheme: str = "vic-us") -> str:
        """Make the hash set `CONTRIBUTOR/SET`, with its contributor if it is new, and return its name."""
        contributor, _, set_id = name.partition("/")
        with self.client() as hub:
            if contributor not in {c.id for c in hub.list_contributors()}:
                hub.create_contributor(
                    Contributor(
                        id=contributor,
                        display_name=contributor,
                        kind=ContributorKind.HOTLINE,
                        jurisdiction="US",
                        reliability=Reliability.A,
                    )
                )
            hub.create_hash_set(HashSet(contributor=contributor, id=set_id, scheme=scheme))
        return name

    def file(self, name: str, data: bytes) -> Path:
        path = self.directory / name
        path.write_bytes(data)
        return path

    def vics(self, name: str, count: int, seed: int) -> tuple[Path, list[ListItem]]:
        """Write a sound list; return it and its items."""
        items = random_items(count, seed=seed, values=("1",))
        return self.file(name, list_file("vics-2.0", items).data), items

    def contribute(self, source: Path, hash_set: str, format_: str = "vics") -> dict[str, Any]:
        """Import a list by the command line; return the report."""
        done = self.run("import", source, "--format", format_, "--hash-set", hash_set, "--json")
        assert done.exit_code == 0, done.stderr
        report: dict[str, Any] = json.loads(done.stdout)
        return report

    def states(self, hash_set: str) -> list[str]:
        """Return the states of the hash set's imports, newest first."""
        with self.client() as hub:
            return [i.state for i in hub.list_imports(hash_set)]

    def visible(self, hash_set: str) -> int:
        """Return the number of entries that anybody can see, whatever their state."""
        with self.client() as hub:
            return sum(1 for _ in hub.list_entries(hash_set))

    def verdicts(self, *items: ListItem, retry_seconds: float = 0.0) -> list[Verdict | str]:
        """Ask about each item through one fresh connection; where there is no answer, the error's reason stands for
        each.
        """
        queries = [Query(hashes=(Hash("MD5", bytes.fromhex(i.digest("MD5"))),)) for i in items]
        with self.client(retry_seconds=retry_seconds) as hub:
            try:
                return [m.result.verdict for m in hub.match_hashes(queries, MatchOptions(policy="any"))]
            except HashHubError as e:
                return [e.reason] * len(items)

    def verdict(self, item: ListItem) -> Verdict | str:
        return self.verdicts(item)[0]


def stop_when(process: subprocess.Popen[str], condition: Callable[[], bool]) -> None:
    """Stop a process once it is so. It works in short steps till then: while somebody slow looks, it does not end."""
    end = time.monotonic() + PATIENCE
    while True:
        process.send_signal(signal.SIGSTOP)
        if condition():
            return
        assert time.monotonic() < end, "it did not come about"
        process.send_signal(signal.SIGCONT)
        time.sleep(0.05)


def kill(pid: int) -> None:
    """End a process as a power cut would."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="session")
def shared_hub(warmed: Warm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    """One hub for all tests that leave it as they found it: running."""
    with warmed.hub(tmp_path_factory.mktemp("shared")) as hub:
        yield hub


@pytest.fixture
def desk(shared_hub: RunningHub, tmp_path: Path) -> Iterator[Desk]:
    """An operator's desk at the shared hub, which must be up, and the same process, when the test is over."""
    at = Desk(shared_hub, tmp_path)
    yield at
    at.close()
    with at.client() as hub:
        wait_until(lambda: not hub.status().warnings)  # of a busy machine one may be there for a moment
    log = (shared_hub.data / "hub.log").read_text("utf-8")
    assert "Traceback" not in log, log[log.index("Traceback") - 300 :][:4000]


@pytest.fixture
def new_set(desk: Desk, request: pytest.FixtureRequest) -> str:
    """A hash set at the shared hub that no other test uses."""
    return desk.hash_set(f"hotline/s{abs(hash(request.node.nodeid)) % 10**12}")


@pytest.fixture
def open_hub(warmed: Warm, tmp_path: Path) -> Iterator[OpenHub]:
    """Start a hub of the test's own: `with open_hub(directory, *arguments) as desk`. Commands started at it may outlive
    it.
    """
    desks: list[Desk] = []

    @contextmanager
    def opened(data: Path, *arguments: str) -> Iterator[Desk]:
        with warmed.hub(data, *arguments) as hub:
            desks.append(Desk(hub, tmp_path))
            yield desks[-1]

    yield opened
    for at in desks:
        at.close()


@pytest.fixture(name="wait_until")
def _wait_until() -> Callable[..., None]:
    return wait_until


@pytest.fixture(name="kill")
def _kill() -> Callable[[int], None]:
    return kill
