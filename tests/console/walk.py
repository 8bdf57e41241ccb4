"""A hub at which something of everything has happened, and a walk through all pages of its console by their links."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any
from urllib.parse import urldefrag, urljoin, urlsplit

import msgspec
from starlette.routing import Match, Route

from hashhub.console.site import Site
from hashhub.hub import Hub
from hashhub.model import (
    TLP,
    Group,
    Marking,
    Principal,
    Reject,
    ReviewKind,
    Role,
    Webhook,
    WebhookEvent,
    WithdrawalReason,
)
from hashhub.reconcile import tasks
from hashhub.reconcile.results import By
from tests.console.conftest import Browser, Page
from tests.hub.conftest import OPERATOR, item, writer
from tests.hub.rooms import Room, write_scheme
from tests.patience import PATIENCE, wait_until
from tests.server.conftest import Served, _serve

HOSTILE = "\"'></textarea></title><script>alert(1)</script><img src=x onerror=alert(2)>{{7*7}}\u202e%(x)s"
NAMES = ("northland", "southland", "westland")
QUESTIONS = (
    tasks.ComputeOverlap(by=By.CONTRIBUTOR),
    tasks.ComputeAgreement(),
    tasks.FindGaps(jurisdiction="NL"),
    tasks.WriteReport(title="Week 1"),
)
OTHERWISE = {"/reconciliation/{id}": len(QUESTIONS)}
"""Of how many pages each looks otherwise than the others of its screen."""
ELSEWHERE = ("/crosswalk?first=desk@1&second=vic-us@2.0", "/queue/OBJECTION")
"""Which a form leads to, or a list that is long."""


def serve_full(folder: Path, **settings: Any) -> Served:
    """Serve a hub at which something of everything has happened. `_close` ends it."""
    write_scheme(folder / "schemes")
    served = _serve(folder / "hub", schemes=str(folder / "schemes"), **settings)
    fill(served.hub)
    for name in NAMES:
        wanted = Principal(name=f"{name}-analyst", role=Role.CONTRIBUTOR, contributor=name, person=f"Analyst of {name}")
        _, served.tokens[name] = served.hub.tokens.create(OPERATOR, wanted)
    return served


def fill_with_hostile_text(hub: Hub) -> None:
    """Let somebody write, in each field that takes free text, what a page must not become."""
    room = Room(hub)
    for name in NAMES:
        member = hub.contributors.get(OPERATOR, name)
        named = msgspec.structs.replace(member, display_name=f"{name} {HOSTILE}"[:100])
        hub.contributors.update(OPERATOR, named, ("display_name",))
    hub.groups.create(OPERATOR, Group(id="hostile", display_name=HOSTILE, members=NAMES[:1]))
    records: list[Any] = [
        item(200 + n, value="csam" if n % 2 else HOSTILE[:60], external_id=f"{n}{HOSTILE}", tags=(HOSTILE,))
        for n in range(6)
    ]
    records.append(Reject(f"line 9 {HOSTILE}", "BAD_FIELD", HOSTILE))
    room.contribute("northland/known", *records, source=f"list {HOSTILE}.csv")
    mine = room.entries("northland/known")
    hub.reviews.create(writer("southland"), "northland", "known", mine[-1].id, ReviewKind.FALSE_POSITIVE, HOSTILE)
    hub.entries.withdraw(writer("northland"), "northland", "known", mine[-2].id, WithdrawalReason.ERROR, HOSTILE)
    hub.tokens.create(OPERATOR, Principal(name="odd", role=Role.OPERATOR, person=f"Odd {HOSTILE}"[:60]))


def fill(hub: Hub) -> None:
    """Let three contributors hand over lists, contradict, review, withdraw and share."""
    room = Room(hub)
    for name, grade in zip(NAMES, "ABC", strict=True):
        room.contributor(name, reliability=grade)
        room.set(f"{name}/known", marking=Marking(tlp=TLP.GREEN, bulk=True))
    hub.groups.create(OPERATOR, Group(id="northern", members=("northland", "southland")))
    room.set("northland/narrow", marking=Marking(tlp=TLP.RED, recipients=("groups/northern",)))
    said = {"northland": "csam", "southland": "harmless", "westland": "teen"}
    for name, value in said.items():
        records = [item(n, value=value, external_id=f"case-{n}", media_type="image/png") for n in range(60)]
        room.contribute(f"{name}/known", *records, source=f"{name} week 1")
    spoiled = (item(70), item(71, value="9"), Reject("line 3", "BAD_FIELD", "is no date"), item(1, value="csam"))
    room.contribute("northland/known", *spoiled, source="northland week 2")
    room.add(room.open("northland/narrow"), [item(n, value="csam") for n in range(80, 90)])
    room.look()
    mine = room.entries("northland/known")
    for entry, kind in zip(mine, (ReviewKind.FALSE_POSITIVE, ReviewKind.MISCLASSIFIED), strict=False):
        hub.reviews.create(writer("southland"), "northland", "known", entry.id, kind, "seen by two of us")
    hub.entries.withdraw(writer("northland"), "northland", "known", mine[5].id, WithdrawalReason.ERROR)
    hub.entries.quarantine(OPERATOR, "westland", "known", room.entries("westland/known")[0].id)
    hub.webhooks.create(
        writer("northland"),
        Webhook(contributor="northland", id="desk", url="https://hooks.example/in", events=tuple(WebhookEvent)[:2]),
    )
    asked = [hub.reconciliation.start(OPERATOR, question) for question in QUESTIONS]
    # Each loads its libraries anew: two seconds of a core, and minutes where twenty others want it.
    wait_until(lambda: all(hub.operations.get(OPERATOR, one.id).has_ended for one in asked), 3 * PATIENCE)


def crawl(browser: Browser, site: Site, most: int = 2) -> dict[str, list[Page]]:
    """Follow all links from the front page; return so many pages of each screen that they lead to, by its path."""
    found: dict[str, list[Page]] = {}
    waiting, seen = deque(["/", *ELSEWHERE]), {"/"}
    while waiting:
        path = waiting.popleft()
        route = route_of(site, path)
        pages = found.setdefault(route, [])
        if len(pages) >= max(most, OTHERWISE.get(route, 0)):
            continue
        page = browser.get(path)
        is_document = "sandbox" in page.headers["content-security-policy"]  # the hub wrote it, to be printed
        if is_document or not page.headers["content-type"].startswith("text/html"):
            continue
        pages.append(page)
        for link in page.read.links:
            target = urldefrag(urljoin(path, link))[0]
            if not urlsplit(target).netloc and target not in seen:
                seen.add(target)
                waiting.append(target)
    return {route: pages for route, pages in found.items() if pages}


def route_of(site: Site, path: str) -> str:
    """Return the path, with its parameters, of the screen that shows a page."""
    scope = {"type": "http", "method": "GET", "path": urlsplit(path).path}
    routes = (route for route in site.routes if isinstance(route, Route))
    return next(route.path for route in routes if route.matches(scope)[0] is not Match.NONE)
