"""Hundreds of imports of an item or three each, from several writers to two workers, of which some are killed: all is
there, what is counted does not go back, and nothing but what they state grows.
"""

from __future__ import annotations

import hashlib
import http.client
import re
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import pytest

from hashhub.client import Client
from hashhub.hashes import Hash
from hashhub.model import Contributor, ContributorKind, HashSet, MatchOptions, Query, Verdict
from hashhub.testing.hub_process import RunningHub, running_hub
from tests.patience import PATIENCE, wait_until
from tests.server.test_workers import workers

WRITERS, IMPORTS = 4, 120
_SCRAPE_SECONDS = 0.05
_OF_BOTH = {'hashhub_matcher_revision{worker="0"}', 'hashhub_matcher_revision{worker="1"}'}
_COUNTED = ("_total", "_count", "_sum", "_bucket")


def digest(number: int) -> Hash:
    return Hash("MD5", hashlib.md5(str(number).encode(), usedforsecurity=False).digest())


def numbers(index: int) -> range:
    """The items of one import."""
    return range(3 * index, 3 * index + 1 + index % 3)


def _is_counted(name: str) -> bool:
    """Whether a line must not go back. What a process has used, which its system counts, ends with the process."""
    return name.partition("{")[0].endswith(_COUNTED) and not name.startswith("process_")


class Writers:
    """Each sends every fourth list, into a hash set of its own."""

    def __init__(self, hub: RunningHub, directory: Path) -> None:
        self._hub = hub
        self._directory = directory
        self.failures: list[BaseException] = []

    def send(self, first: int, last: int) -> None:
        threads = [threading.Thread(target=self._write, args=(w, first, last)) for w in range(WRITERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert self.failures == []

    def _write(self, writer: int, first: int, last: int) -> None:
        source = self._directory / f"{writer}.txt"
        try:
            with Client(self._hub.address, self._hub.token, retry_seconds=120.0) as client:
                for index in range(first + writer, last, WRITERS):
                    source.write_text("".join(f"{digest(n).digest.hex()}\n" for n in numbers(index)), "ascii")
                    client.import_source(source, connector="hash-lines", hash_set=f"writer-{writer}/list")
        except BaseException as e:  # noqa: BLE001 - told where it is looked for
            self.failures.append(e)


class Scraper:
    """Reads the metrics again and again, and compares each reading with the one before."""

    def __init__(self, hub: RunningHub) -> None:
        self._hub = hub
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.wrong: list[str] = []
        self.last: Mapping[str, float] = {}
        self.scrapes = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(_SCRAPE_SECONDS):
            try:
                self._compare(self._read())
            except (OSError, http.client.HTTPException):  # it was given to a worker that is dying
                continue
            except BaseException as e:  # noqa: BLE001 - told where it is looked for
                self.wrong.append(repr(e))
                return

    def _read(self) -> dict[str, float]:
        connection = http.client.HTTPConnection(self._hub.http, timeout=30)
        connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {self._hub.token}"})
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        if answer.status != 200:
            self.wrong.append(f"{answer.status} {text[:200]}")
            return {}
        lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, _, value in lines}

    def _compare(self, lines: dict[str, float]) -> None:
        if not lines:
            return
        self.scrapes += 1
        for name, value in self.last.items():
            if not _is_counted(name):
                continue
            if lines.get(name, -1.0) < value:
                self.wrong.append(f"{name} was {value} and is {lines.get(name)}")
        self.last = lines


def kinds(lines: Iterable[str]) -> set[str]:
    """The lines of metrics without which worker's and which bucket they are."""
    return {re.sub(r'(worker|le)="[^"]*",?', "", line) for line in lines}


def files(hub: RunningHub) -> set[str]:
    return {path.name for path in hub.data.rglob("*") if not path.name.startswith("hashhub.db-")}


@pytest.mark.timeout(900)
def test_nothing_grows_but_what_they_state(tmp_path: Path) -> None:
    data = tmp_path / "hub"
    with running_hub(data, "--workers", "2") as hub, Client(hub.address, hub.token, retry_seconds=120.0) as client:
        for w in range(WRITERS):
            client.create_contributor(
                Contributor(id=f"writer-{w}", display_name="W", kind=ContributorKind.HOTLINE, jurisdiction="GB")
            )
            client.create_hash_set(HashSet(contributor=f"writer-{w}", id="list"))
        writers = Writers(hub, tmp_path)
        with Scraper(hub) as scraper:
            writers.send(0, IMPORTS // 4)
            client.status()  # opens the log's lock
            first, labels = files(hub), kinds(scraper.last)
            killing = threading.Thread(target=kill_each, args=(data,))
            killing.start()
            writers.send(IMPORTS // 4, IMPORTS)
            killing.join()
            # A worker follows what another one committed a moment later.
            revision = client.status().revision
            wait_until(lambda: all(scraper.last.get(name, -1.0) >= revision for name in _OF_BOTH))
        assert scraper.wrong == []
        assert scraper.scrapes > 10
        # A kind of refusal, or a call that was not made before, is new now and then.
        assert len(kinds(scraper.last) - labels) < IMPORTS // 5, "a label for each import"
        assert files(hub) - first == set()
        status: Any = client.status()
        assert not status.warnings
        listed = [n for index in range(IMPORTS) for n in numbers(index)]
        check(client, listed)
    with running_hub(data, "--workers", "2") as hub, Client(hub.address, hub.token) as client:
        check(client, listed)
    assert "Traceback" not in (data / "hub.log").read_text("utf-8")


def kill_each(data: Path) -> None:
    """Kill each of the first two workers, the second when there are two again."""
    for worker in workers(data):
        wait_until(lambda: len(workers(data)) == 2)
        worker.kill()
        worker.wait(PATIENCE)


def check(client: Client, listed: list[int]) -> None:
    """Whatever worker answers."""
    everything = range(3 * IMPORTS)
    queries = [Query(hashes=(digest(n),)) for n in everything]
    answers = client.match_hashes(queries, MatchOptions(policy="any"))
    matched = [n for n, answer in zip(everything, answers, strict=True) if answer.result.verdict is Verdict.MATCH]
    assert matched == listed
