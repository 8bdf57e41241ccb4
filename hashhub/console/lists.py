"""Lists and their state, what became of each import, and its findings as a work list."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, Final

from hashhub.console.home import decided_at
from hashhub.console.pages import _, word
from hashhub.console.visit import screen
from hashhub.hygiene import Code
from hashhub.model import Disposition, Finding, ImportState, Role

if TYPE_CHECKING:
    from starlette.responses import Response

    from hashhub.console.hub_visit import HubVisit

_SETS: Final = 20  # a page; each asks for its imports
_ROWS: Final = 50
_COUNTED: Final = 5_000  # findings that are counted by reason


def show_lists(visit: HubVisit) -> Response:
    """Show the lists of the person's contributor, or of all: the last one of each, and what waits."""
    of = visit.caller.contributor if visit.is_role(Role.CONTRIBUTOR) else visit.query.get("of", "")
    sets = visit.hub.list_hash_sets(of or None).page(_SETS, visit.query.get("after", ""))
    waiting = list(visit.hub.list_queue(of))
    rows = []
    for one in sets.items:
        imports = visit.hub.list_imports(one.name).page(_SETS).items
        last = next((i for i in imports if i.state is ImportState.COMMITTED), None)
        rows.append((one, last, {item.kind for item in waiting if item.hash_set == one.name}))
    return visit.page("lists.html", rows=rows, of=of, next=sets.next)


def show_list(visit: HubVisit) -> Response:
    """Show one list: its terms, its imports, what waits."""
    hash_set = visit.hub.get_hash_set("{contributor}/{hash_set}".format_map(visit.path))
    imports = visit.hub.list_imports(hash_set.name).page(_SETS, visit.query.get("after", ""))
    waiting = [item for item in visit.hub.list_queue(hash_set.contributor) if item.hash_set == hash_set.name]
    return visit.page(
        "list.html", set=hash_set, imports=imports.items, next=imports.next, waiting=waiting,
        explain=explain, decided_at=decided_at,
    )  # fmt: skip


def cancel_import(visit: HubVisit) -> Response:
    """Cancel an import that was left open."""
    visit.hub.cancel_import("{contributor}/{hash_set}/".format_map(visit.path) + visit.form["import"])
    return visit.go(visit.url, _("Cancelled; nothing of it was kept."))


def show_findings(visit: HubVisit) -> Response:
    """Show what became of an import's items: counts by reason, then rows."""
    of = "{contributor}/{hash_set}".format_map(visit.path)
    name = f"{of}/{visit.path['import']}"
    counted = Counter((f.disposition, f.reason) for f in islice(visit.hub.list_findings(name), _COUNTED))
    outcome, reason, after = (visit.query.get(key, "") for key in ("outcome", "reason", "after"))
    found = visit.hub.list_findings(name, [d for d in Disposition if d == outcome])
    rows: list[Finding] = []
    for _page in range(40):  # asked for one of ours, of a rare reason
        page = found.page(_ROWS - len(rows), after)
        rows += [f for f in page.items if reason in {"", f.reason}]
        after = page.next
        if not after or len(rows) == _ROWS:
            break
    return visit.page(
        "findings.html", list=of, act=visit.hub.get_import(name), rows=rows, next=after, outcome=outcome, reason=reason,
        groups=[(*group, count) for group, count in counted.most_common()], is_counted=counted.total() < _COUNTED,
        explain=explain,
    )  # fmt: skip


def explain(reason: str) -> str:
    """Return a reason code in words."""
    return _(Code[reason].description) if reason in Code.__members__ else word(reason)


SCREENS = (
    screen("/lists", show_lists),
    screen("/lists/{contributor}/{hash_set}", show_list, cancel=cancel_import),
    screen("/lists/{contributor}/{hash_set}/imports/{import}", show_findings),
)
