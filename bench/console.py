"""How soon each page of a hub's console begins to come, and how large it is.

    python -m bench.console --entries 2000000 --conflicts 50000

A hub is filled by its own imports: one contributor's list, and another's that contradicts so many of its items. Then a
browser of an operator, and one of the first contributor, follow all links from the front page, without script, to
three pages of each screen at most, and fetch each of them again and again. `first_byte_ms` is the median of a
page, `slowest_ms` its 95th percentile, both of the slowest page of a screen; `kilobytes` of the largest one, as sent,
uncompressed. `core_ms`: processor time of hub and console for a page, which also tells on a machine that others use.
With --data the filled directory is kept, and used again as it is.
"""

from __future__ import annotations

import argparse
import html
import http.client
import importlib
import json
import pkgutil
import re
import statistics
import tempfile
import time
from collections import deque
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urldefrag, urljoin, urlsplit

import numpy as np
from starlette.routing import compile_path

from bench import result
from hashhub import console
from hashhub.client import Client
from hashhub.console.hub_console import folder_of
from hashhub.console.sessions import Sessions
from hashhub.errors import AlreadyExists
from hashhub.model import (
    TLP,
    ConflictFilter,
    Contributor,
    ContributorKind,
    Group,
    HashSet,
    Marking,
    Principal,
    Reliability,
    ReviewKind,
    Role,
    Webhook,
    WebhookEvent,
    WithdrawalReason,
)
from hashhub.testing.hub_process import RunningHub, running_hub
from hashhub.testing.lists import write_many_vics

PAGES_EACH: Final = 3
_LINK: Final = re.compile(r'\shref="([^"]+)"')
_SECONDS: Final = 7200.0  # in which conflicts are found


class Fetched(NamedTuple):
    """An answer. `seconds`: from the request to the first byte of it."""

    status: int
    kind: str
    body: bytes
    seconds: float


class Browser:
    """Signed in by a link, on one kept connection."""

    def __init__(self, address: str, folder: Path, secret: str) -> None:
        """Sign in as the token with this secret."""
        self._connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=120)
        self._headers = {"Sec-Fetch-Site": "same-origin", "Accept-Language": "en"}
        sessions = Sessions(folder / "sessions.db")
        try:
            code = sessions.make_link(secret)
        finally:
            sessions.close()
        self._connection.request("GET", f"/sign-in/link/{code}", headers=self._headers)
        answer = self._connection.getresponse()
        answer.read()
        assert answer.status == 303, answer.status
        self._headers["Cookie"] = "; ".join(
            cookie.partition(";")[0] for cookie in answer.headers.get_all("Set-Cookie", [])
        )

    def get(self, path: str) -> Fetched:
        """Fetch a page."""
        begun = time.perf_counter()
        self._connection.request("GET", path, headers=self._headers)
        answer = self._connection.getresponse()
        seconds = time.perf_counter() - begun
        return Fetched(answer.status, answer.headers.get("Content-Type", ""), answer.read(), seconds)


def contradict(client: Client, entries: int, conflicts: int, directory: Path, names: tuple[str, str]) -> None:
    """Hand over, for two contributors with a hash set `known`, lists that contradict each other about so many items."""
    for name, count, values in ((names[0], entries - conflicts, ("1", "2")), (names[1], conflicts, ("2", "1"))):
        source = directory / f"{name}.json"
        with source.open("wb") as out:
            write_many_vics(out, count, seed=result.SEED, values=values)
        seconds = result.timed(lambda: client.import_source(source, connector="vics", hash_set=f"{name}/known"))  # noqa: B023 - called at once
        print(f"{count:,} entries of {name} in {seconds:.0f} s", flush=True)
        source.unlink()


def fill(hub: RunningHub, entries: int, conflicts: int, directory: Path) -> None:
    """Let two contributors hand over lists that contradict each other about so many items, and work on them."""
    with Client(hub.address, hub.token, timeout=600.0) as client:
        names = "northland", "southland"
        for name in names:
            client.create_contributor(
                Contributor(
                    id=name,
                    display_name=name.capitalize(),
                    kind=ContributorKind.HOTLINE,
                    jurisdiction="US",
                    reliability=Reliability.B,
                )
            )
            marking = Marking(tlp=TLP.GREEN, bulk=True)
            client.create_hash_set(HashSet(contributor=name, id="known", scheme="vic-us", marking=marking))
        contradict(client, entries, conflicts, directory, names)
        client.create_group(Group(id="northern", members=names))
        url = "https://hooks.example/in"
        client.create_webhook(Webhook(contributor="northland", id="desk", url=url, events=tuple(WebhookEvent)))
        mine = client.list_entries("northland/known").page(3).items
        client.create_review(mine[0].name, ReviewKind.FALSE_POSITIVE)
        client.withdraw_entry(mine[1].name, WithdrawalReason.ERROR)
        client.quarantine_entry(mine[2].name)
        seconds = result.timed(lambda: client.await_conflicts(_SECONDS))
        found = sum(one.count for one in client.summarise_conflicts(ConflictFilter()).counts)
        print(f"{found:,} conflicts {seconds:.0f} s later", flush=True)
        for conflict in client.list_conflicts().page(5).items:
            client.assign_conflict(conflict.name, "contributors/northland")
        client.reconciliation.overlap().wait()


def screens() -> list[str]:
    """Return the paths of all screens, with their parameters."""
    names = [
        module.name for module in pkgutil.iter_modules(console.__path__, "hashhub.console.") if "__" not in module.name
    ]
    return [one.path for name in names for one in getattr(importlib.import_module(name), "SCREENS", ())]


def walk(browser: Browser, paths: list[str]) -> dict[str, list[str]]:
    """Follow all links from the front page; return some pages of each screen, by its path."""
    patterns = [(path, compile_path(path)[0]) for path in paths]
    pages: dict[str, list[str]] = {}
    waiting, seen = deque(["/"]), {"/"}
    while waiting:
        path = waiting.popleft()
        screen = next((name for name, pattern in patterns if pattern.match(urlsplit(path).path)), "")
        if not screen or len(pages.setdefault(screen, [])) >= PAGES_EACH:
            continue
        page = browser.get(path)
        if page.status != 200 or not page.kind.startswith("text/html"):
            print(f"{path}: {page.status} {page.kind}", flush=True)
            continue
        pages[screen].append(path)
        for link in _LINK.findall(page.body.decode()):
            target = urldefrag(urljoin(path, html.unescape(link)))[0]
            if not urlsplit(target).netloc and target not in seen:
                seen.add(target)
                waiting.append(target)
    return pages


def measure(hub: RunningHub, rounds: int) -> list[dict[str, Any]]:
    """Return what each screen took, for an operator and for a contributor."""
    folder = folder_of(str(hub.data))
    address = (folder / "address").read_text("ascii")
    with Client(hub.address, hub.token) as client:
        try:
            token = Principal(name="northland", role=Role.CONTRIBUTOR, contributor="northland")
            secret = client.create_token(token)
        except AlreadyExists:
            secret = client.rotate_token("northland")
    rows = []
    for who, its in (("operator", hub.token), ("contributor", secret)):
        browser = Browser(address, folder, its)
        pages = walk(browser, screens())
        times: dict[str, list[float]] = {}
        sizes: dict[str, int] = {}
        cores: dict[str, float] = {}
        processes = result.family(hub.pid)
        for path in (path for paths in pages.values() for path in paths):
            begun = sum(map(result.cpu_seconds, processes))
            fetched = [browser.get(path) for _ in range(rounds)]
            cores[path] = (sum(map(result.cpu_seconds, processes)) - begun) * 1000 / rounds
            times[path] = [page.seconds * 1000 for page in fetched]
            sizes[path] = max(len(page.body) for page in fetched)
        rows += [
            {
                "who": who,
                "screen": screen,
                "pages": len(paths),
                "first_byte_ms": max(statistics.median(times[path]) for path in paths),
                "slowest_ms": max(float(np.percentile(times[path], 95)) for path in paths),
                "core_ms": max(cores[path] for path in paths),
                "kilobytes": max(sizes[path] for path in paths) / 1000,
                "page": max(paths, key=lambda path: statistics.median(times[path])),
            }
            for screen, paths in sorted(pages.items())
            if paths
        ]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=2_000_000, help="in the hub (2,000,000)")
    parser.add_argument("--conflicts", type=int, default=50_000, help="items of which the lists contradict (50,000)")
    parser.add_argument("--rounds", type=int, default=20, help="times that each page is fetched (20)")
    parser.add_argument("--data", type=Path, help="a directory to fill, or that an earlier run has filled")
    parser.add_argument("--out", type=Path, help="where to write the result; default: bench/results/console.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hashhub-bench-") as directory:
        data: Path = options.data or Path(directory) / "hub"
        label, marker = {"entries": options.entries, "conflicts": options.conflicts}, data / "bench.json"
        if marker.exists() and json.loads(marker.read_text("utf-8")) != label:
            raise SystemExit("--data holds other numbers; name another directory")
        with running_hub(data, "--console", "127.0.0.1:0") as hub:
            if not marker.exists():
                fill(hub, options.entries, options.conflicts, Path(directory))
                marker.write_text(json.dumps(label), "utf-8")
            rows = measure(hub, options.rounds)
    result.show(rows)
    result.save("console", {**label, "rounds": options.rounds}, rows, out=options.out, packages=("starlette", "jinja2"))


if __name__ == "__main__":
    main()
