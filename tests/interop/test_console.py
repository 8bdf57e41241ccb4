"""The console in real Chromium: everybody can use each page of it, and none shows media, leaks or breaks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hashhub.console.hub_console import HubConsole
from tests.console.walk import crawl
from tests.interop.browsing import Visitor, invalid

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.console.conftest import Console

pytest.importorskip("playwright.sync_api")
WHO = ("OPERATOR", "northland", "AUDITOR")


@pytest.mark.parametrize("who", WHO)
@pytest.mark.timeout(900)
def test_everybody_can_use_each_page(browser: Browser, full: Console, site: HubConsole, who: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    secret = full.served.tokens[who]
    visitor = Visitor(browser, site, secret, reduced_motion="reduce")
    found = crawl(full.as_token(secret), full.console.site, most=1)
    urls = [page.url for pages in found.values() for page in pages]
    faults = {url: faults for url in urls if (faults := visitor.faults(url, axe=axe))}
    visitor.context.close()
    assert not faults, "\n".join(f"{url}: {fault}" for url, all_ in faults.items() for fault in all_)


@pytest.mark.parametrize("who", WHO)
def test_the_pages_are_valid(full: Console, who: str, tmp_path: Path) -> None:
    found = crawl(full.as_token(full.served.tokens[who]), full.console.site)
    errors = invalid({page.url: page.text for pages in found.values() for page in pages}, tmp_path)
    assert not errors, "\n".join(errors)
