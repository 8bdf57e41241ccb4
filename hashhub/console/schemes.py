"""Classification schemes: what their values mean, two side by side, and versions, signed off by another person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hashhub import schemes
from hashhub.console import toml_text
from hashhub.console.pages import _
from hashhub.console.visit import screen
from hashhub.schemes.alignment import Difference, diff

if TYPE_CHECKING:
    from starlette.responses import Response

    from hashhub.console.hub_visit import HubVisit


def show_all(visit: HubVisit) -> Response:
    """The schemes."""
    rows, after = visit.hub.list_schemes().page(after=visit.query.get("after", ""))
    return visit.page("schemes.html", rows=rows, names=[(one.id, one.id) for one in rows], after=after)


def show(visit: HubVisit, *, difference: Difference | None = None) -> Response:
    """One version. `difference`: of the text of the form, which could be put."""
    scheme, faults = visit.hub.get_scheme(visit.path["name"]), toml_text.faults(visit.form["text"], visit.refused)
    return visit.page("scheme.html", scheme=scheme, difference=difference, faults=faults)


def compare(visit: HubVisit) -> Response:
    """Two schemes side by side."""
    first, second, after = (visit.query.get(name, "") for name in ("first", "second", "after"))
    rows, following = visit.hub.compare_schemes(first, second).page(after=after)
    are_versions = not after and first.partition("@")[0] == second.partition("@")[0]
    difference = visit.hub.diff_schemes(first, second) if are_versions else None
    shown = {"first": first, "second": second, "rows": rows, "after": following, "difference": difference}
    return visit.page("crosswalk.html", **shown)


def check(visit: HubVisit) -> Response:
    """Show how what would be put differs."""
    text, old = visit.form["text"], visit.hub.get_scheme(visit.path["name"])
    visit.hub.put_scheme(text, visit.form["comment"], validate_only=True)
    new = schemes.parse(text.encode(), "text", as_draft=True)
    return show(visit, difference=diff(schemes.parse(old.text.encode(), old.id), new))


def put(visit: HubVisit) -> Response:
    """Put a version, as a draft."""
    made = visit.hub.put_scheme(visit.form["text"], visit.form["comment"])
    return visit.go(f"/schemes/{made.id}", _("Put. It is a draft until another operator signs it off."))


def sign_off(visit: HubVisit) -> Response:
    """Answer for a version that another person put."""
    visit.hub.sign_off_scheme(visit.path["name"], visit.form["checked_against"])
    return visit.go(visit.url, _("Signed off."))


def retire(visit: HubVisit) -> Response:
    """Let no new hash set take a version."""
    visit.hub.retire_scheme(visit.path["name"], visit.form["reason"])
    return visit.go(visit.url, _("Retired."))


SCREENS = (
    screen("/schemes", show_all),
    screen("/schemes/{name}", show, check=check, put=put, sign_off=sign_off, retire=retire),
    screen("/crosswalk", compare),
)
