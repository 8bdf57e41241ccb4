"""Chromium at a console: how a person gets in, and what is wrong with a page that they see."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import uvicorn

from hashhub.console.hub_console import HubConsole
from tests.console.conftest import console_of
from tests.desk.test_moderation import Desk
from tests.node import node_packages
from tests.patience import PATIENCE, wait_until
from tests.server.conftest import Served

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Locator, Page, Response

MOST_BYTES: Final = 50_000
_JUDGED: Final = {
    "dark": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]},
    "light": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]},  # all else is the same in it
}
_WIDTHS: Final = {360: "a narrow phone", 640: "a window of 1280 at 200 %"}
_MEDIA: Final = "img, picture, video, audio, iframe, frame, embed, object, canvas, source, svg image"
_LOOK: Final = """media => {
  const faults = [];
  for (const e of document.querySelectorAll(media)) faults.push(`shows ${e.outerHTML.slice(0, 100)}`);
  for (const e of document.querySelectorAll('svg')) if (!e.closest('figure')) faults.push('a drawing without figure');
  for (const e of document.querySelectorAll('*'))
    for (const a of e.attributes)
      if (/^\\s*(data|blob|javascript):/i.test(a.value)) faults.push(`${a.name} leads to ${a.value.slice(0, 40)}`);
  const h1 = document.querySelectorAll('h1').length;
  if (h1 != 1) faults.push(`${h1} headings of the first level`);
  for (const mark of ['body > header', 'body > main', 'body > footer'])
    if (document.querySelectorAll(mark).length != 1) faults.push(`no ${mark}`);
  return faults;
}"""
_MOVES: Final = """() => [...document.querySelectorAll('*')].filter(e => {
  const s = getComputedStyle(e);
  const seconds = v => v.split(',').some(t => parseFloat(t) > 0);
  return seconds(s.transitionDuration) || (s.animationName != 'none' && seconds(s.animationDuration))
    || s.scrollBehavior == 'smooth';
}).map(e => e.tagName)"""
_WIDE: Final = """() => {
  const most = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= most) return [];
  return [...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > most + 1
    && !e.closest('.wide, figure, .skip')).slice(0, 3).map(e => e.outerHTML.slice(0, 120));
}"""
_LABEL: Final = """() => {
  const e = document.activeElement;
  return (e.labels?.[0]?.innerText || e.innerText || e.getAttribute('aria-label') || '').trim();
}"""
_REACHABLE: Final = """() => {
  const radios = [...document.querySelectorAll('input[type=radio]')];
  const first = e => radios.find(o => o.name == e.name && o.form == e.form);
  const all = [...document.querySelectorAll(
    'a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex="0"]')].filter(e =>
    !e.disabled && e.checkVisibility() && e.tabIndex >= 0 && (e.type != 'radio' || e == first(e)));
  const at = document.activeElement, s = getComputedStyle(at), r = at.getBoundingClientRect();
  const isSeen = s.outlineStyle != 'none' && parseFloat(s.outlineWidth) >= 2 && r.width > 0 && r.right > 0;
  return [all.map(e => e.outerHTML.slice(0, 100)), all.indexOf(at.type == 'radio' ? first(at) : at), isSeen];
}"""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Give the system's Chromium; skips the test where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", exc_type=ImportError)
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("there is no chromium on this machine")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@contextmanager
def served_to_browsers(served: Served) -> Iterator[HubConsole]:
    """Serve the console of a hub on a port of its own."""
    with socket.create_server(("127.0.0.1", 0)) as bound:
        address = f"127.0.0.1:{bound.getsockname()[1]}"
        console = console_of(served, console_url=f"http://{address}", console=address)
        with answering(console.application, bound):
            yield console
        console.close()


@contextmanager
def answering(application: Any, bound: socket.socket) -> Iterator[None]:
    """Serve an application on a socket, in a thread."""
    server = uvicorn.Server(uvicorn.Config(application, log_level="warning", access_log=False, lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
    thread.start()
    try:
        wait_until(lambda: server.started)
        yield
    finally:
        server.should_exit = True
        thread.join(PATIENCE)


class Visitor:
    """A person at Chromium. `told`: what the browser's console says, and what was asked of elsewhere."""

    def __init__(self, browser: Browser, console: HubConsole, secret: str, **options: Any) -> None:
        """Sign in by a link that works once."""
        self.open(browser, console.site.settings.origins[0], **options)
        self.go(f"/sign-in/link/{console.sessions.make_link(secret)}")

    def open(self, browser: Browser, origin: str, **options: Any) -> None:
        """Open a page that is at no address yet."""
        self.origin = origin
        self.context: BrowserContext = browser.new_context(base_url=self.origin, **options)
        self.page: Page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE * 1000)
        self.told: list[str] = []
        self.page.on("console", lambda message: self._tell(message.type, message.text))
        self.page.on("pageerror", lambda error: self.told.append(f"script: {error}"))
        self.page.on("request", lambda request: self._look(request.url))

    def go(self, path: str) -> Response:
        """Load a page."""
        response = self.page.goto(path)
        assert response is not None
        return response

    def press(self, label: str, *, inside: str = "main") -> None:
        """Press the button, follow the link or unfold what has this label, and wait for the page that comes."""
        self.take(self.page.locator(inside).locator("button, a, summary").filter(has_text=label).first)

    def take(self, target: Locator) -> None:
        """Click something, and wait for the page that comes, if it leads to one."""
        if target.evaluate("e => e.tagName") == "SUMMARY":
            target.click()
            return
        with self.page.expect_navigation():
            target.click()

    def tab_to(self, label: str) -> None:
        """Press Tab until what has this label, or begins with it, has the focus."""
        for _ in range(500):
            self.page.keyboard.press("Tab")
            if self.page.evaluate(_LABEL).startswith(label):
                return
        raise AssertionError(f"Tab does not come to {label}")

    def enter(self, label: str) -> None:
        """Do what `press` does, by the keyboard alone."""
        self.tab_to(label)
        if self.page.evaluate("() => document.activeElement.tagName") == "SUMMARY":
            self.page.keyboard.press("Enter")
            return
        with self.page.expect_navigation():
            self.page.keyboard.press("Enter")

    def choose(self, label: str, text: str) -> None:
        """Choose an option by the keyboard alone."""
        self.tab_to(label)
        for _ in range(100):
            if self.page.evaluate("() => document.activeElement.selectedOptions[0].text") == text:
                return
            self.page.keyboard.press("ArrowDown")
        raise AssertionError(f"{label} has no {text}")

    def keep(self, name: str) -> None:
        """Keep a picture of what is seen, where WALK_PICTURES names a folder for them."""
        if folder := os.environ.get("WALK_PICTURES"):
            self.page.screenshot(path=Path(folder) / f"{name}.png")

    def _tell(self, kind: str, text: str) -> None:
        if kind in {"error", "warning"}:
            self.told.append(f"{kind}: {text}")

    def _look(self, url: str) -> None:
        if not url.startswith(self.origin):
            self.told.append(f"asked for {url[:80]}")

    def faults(self, path: str, *, axe: Any) -> list[str]:
        """Load a page, and return what is wrong with it, in dark and in light."""
        page = self.page
        page.set_viewport_size({"width": 1280, "height": 900})
        self.told.clear()
        response = self.go(path)
        faults = [] if response.status == 200 else [f"status {response.status}"]
        if (size := len(response.body())) > MOST_BYTES:
            faults.append(f"{size} bytes")
        faults += page.evaluate(_LOOK, _MEDIA)
        faults += [f"{tag} moves though motion is to be reduced" for tag in set(page.evaluate(_MOVES))]
        faults += self._beyond_reach()
        for theme, judged in _JUDGED.items():
            page.evaluate("theme => { document.documentElement.dataset.theme = theme; }", theme)
            found = axe.run(page, options={"runOnly": judged}).response["violations"]
            nodes = [(v["id"], node) for v in found for node in v["nodes"][:3]]
            faults += [f"axe in {theme}: {rule}: {node['html'][:120]} {_why(node)}" for rule, node in nodes]
        for width, means in _WIDTHS.items():
            page.set_viewport_size({"width": width, "height": 800})
            faults += [f"wider than {means}: {one}" for one in page.evaluate(_WIDE)]
        return [*faults, *self.told]

    def _beyond_reach(self) -> Iterator[str]:
        """Press Tab through the page; yield what it does not come to, and where nothing shows that it has."""
        there, *_ = self.page.evaluate(_REACHABLE)
        left = set(range(len(there)))
        for _ in range(3 * len(there) + 20):  # a field for a date has several places to be at
            if not left:
                break
            self.page.keyboard.press("Tab")
            _, at, is_seen = self.page.evaluate(_REACHABLE)
            if at in left and not is_seen:
                yield f"no focus is seen at {there[at]}"
            left.discard(at)
        yield from (f"Tab does not reach {there[at]}" for at in sorted(left)[:3])


def invalid(pages: Mapping[str, str], folder: Path) -> list[str]:
    """Return what vnu finds wrong with pages, by their addresses. Skips the test where there is no Java."""
    java = shutil.which("java")
    if java is None:
        pytest.skip("there is no Java on this machine")
    jar = node_packages(Path(__file__).parent / "vnu_node") / "node_modules" / "vnu-jar" / "build" / "dist" / "vnu.jar"
    urls = {folder / f"{number}.html": url for number, url in enumerate(pages)}
    for file, url in urls.items():
        file.write_text(pages[url])
    command = [java, "-jar", str(jar), "--errors-only", "--exit-zero-always", "--format", "json", *map(str, urls)]
    told = subprocess.run(command, capture_output=True, timeout=PATIENCE, check=True).stderr  # as vnu has it
    messages = json.loads(told)["messages"]
    return [f"{urls[Path(m['url'].removeprefix('file:'))]}: {m['lastLine']}: {m['message']}" for m in messages]


class Moderator(Visitor):
    """A person at Chromium, who pastes their token."""

    def __init__(self, browser: Browser, desk: Desk, **options: Any) -> None:
        self.open(browser, f"http://{desk.settings.sidecar.listen}", **options)
        self.go("/moderation/")
        self.page.fill("input[name=token]", desk.people.add("ann", days=9, actor="account:root"))
        self.press("Sign in")


def _why(node: Any) -> str:
    checks: Sequence[Any] = [*node.get("any", ()), *node.get("all", ()), *node.get("none", ())]
    return checks[0]["message"] if checks else ""
