"""The console in real Chromium: everybody can use each page of it, and none shows media, leaks or breaks."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hashhub.console.hub_console import HubConsole
from tests.console.walk import crawl
from tests.interop.browsing import Visitor
from tests.node import node_packages

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.console.conftest import Console

WHO = ("OPERATOR", "northland", "AUDITOR")


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("who", WHO)
@pytest.mark.timeout(900)
def test_everybody_can_use_each_page(browser: Browser, full: Console, site: HubConsole, who: str, theme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    secret = full.served.tokens[who]
    visitor = Visitor(browser, site, secret, reduced_motion="reduce")
    visitor.go("/reader")
    visitor.page.select_option("select[name=theme]", theme)
    visitor.press("Keep")
    pages = crawl(full.as_token(secret), full.console.site)
    urls = [page.url for found in pages.values() for page in found]
    assert len(urls) > 10
    faults = {url: faults for url in urls if (faults := visitor.faults(url, axe=axe))}
    visitor.context.close()
    assert not faults, "\n".join(f"{url}: {fault}" for url, all_ in faults.items() for fault in all_)


@pytest.mark.parametrize("who", WHO)
def test_the_pages_are_valid(full: Console, who: str, tmp_path: Path) -> None:
    java = shutil.which("java")
    if java is None:
        pytest.skip("there is no Java on this machine")
    jar = node_packages(Path(__file__).parent / "vnu_node") / "node_modules" / "vnu-jar" / "build" / "dist" / "vnu.jar"
    pages = [
        page for found in crawl(full.as_token(full.served.tokens[who]), full.console.site).values() for page in found
    ]
    files = {str(tmp_path / f"{number}.html"): page for number, page in enumerate(pages)}
    for file, page in files.items():
        Path(file).write_text(page.text)
    command = [java, "-jar", str(jar), "--errors-only", "--exit-zero-always", "--format", "json", *files]
    told = subprocess.run(command, capture_output=True, timeout=180, check=True).stderr  # as vnu has it
    errors = [
        f"{files[m['url'].removeprefix('file:')].url}: line {m['lastLine']}: {m['message']}"
        for m in json.loads(told)["messages"]
    ]
    assert not errors, "\n".join(errors)
