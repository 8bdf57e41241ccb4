"""The moderator's pages in real Chromium, at a sidecar: everybody can use each, and one decides after another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from hashhub.desk.evidence import draw_sample
from hashhub.desk.queue.view import RulingCode
from hashhub.model import ReasonLine
from tests.desk.queue.parts import A, B
from tests.desk.test_moderation import Desk, opened_case, upload
from tests.hook.waiting import checked, hit, put
from tests.interop.browsing import Moderator, invalid

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytest.importorskip("playwright.sync_api")


def filled(desk: Desk) -> tuple[str, str, list[str]]:
    """Let something of everything happen; return two uploads that wait, and the paths of all pages."""
    long = ReasonLine(code="LISTED", text="listed as a category of the scheme", entries=(A,))
    one = checked(hit(A), hit(B, "PDQ", 12, "turned"), upload_id="U-1/1", media_type="image/png")
    one = msgspec.structs.replace(one, decision=msgspec.structs.replace(one.decision, reasons=(long,) * 3))
    first, second = put(desk.records, one), put(desk.records, checked(hit(A), upload_id="U-2/" + "x" * 150))
    put(desk.records, checked())
    removed = put(desk.records, checked(hit(B)), state="REMOVED")
    desk.rulings.release(second, code=RulingCode.FALSE_POSITIVE, actor="bob", comment="as bob sees it")
    desk.rulings.reported(removed, recipient="ncmec", filed_as="12", actor="bob")
    case = opened_case(desk.cases, places=("/srv/a", "/srv/b"))
    draw_sample(desk.records, "quarter-1", size=2, seed=7, actor="bob")
    pages = ["", "?state=REMOVED", "cases", f"cases/{case}", "reports", "reports?filed=1", f"reports/{first}", "reader"]
    return first, second, [upload(first), upload(second), *(f"/moderation/{page}" for page in pages)]


@pytest.mark.timeout(600)
def test_everybody_can_use_each_page(browser: Browser, desk: Desk) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    *_, paths = filled(desk)
    ann = Moderator(browser, desk, reduced_motion="reduce")
    faults = {path: faults for path in paths if (faults := ann.faults(path, axe=axe))}
    ann.context.close()
    assert not faults, "\n".join(f"{path}: {fault}" for path, all_ in faults.items() for fault in all_)


def test_one_decides_and_the_other_page_says_so_by_itself(browser: Browser, desk: Desk) -> None:
    first, _, _ = filled(desk)
    ann = Moderator(browser, desk)
    ann.go(upload(first))
    desk.rulings.confirm(first, actor="bob")
    ann.page.get_by_text("Somebody decided meanwhile").wait_for()
    ann.press("Read it again")
    assert ann.page.locator("button[value=confirm]").count() == 0
    ann.context.close()


def test_the_pages_are_valid(desk: Desk, tmp_path: Path) -> None:
    *_, paths = filled(desk)
    ann = desk.sign_in("ann")
    errors = invalid({path: ann.get(path).text for path in paths}, tmp_path)
    assert not errors, "\n".join(errors)
