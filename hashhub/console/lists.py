"""Lists and their state, what became of each import, and its findings as a work list."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from hashhub.console.pages import _, word
from hashhub.console.visit import screen
from hashhub.hygiene import Code
from hashhub.model import Disposition, Finding, HashSet, ImportState, QueueItem, QueueKind, Role
from hashhub.renewals import usual_seconds

if TYPE_CHECKING:
    from starlette.responses import Response

    from hashhub.client import Client
    from hashhub.console.hub_visit import HubVisit

_SETS: Final = 20  # a page; each asks for its imports
_ROWS: Final = 50
_COUNTED: Final = 5_000  # findings that are counted by reason
_PAGES: Final = 40  # asked of the hub for one page of findings of a reason


def show_lists(visit: HubVisit) -> Response:
    """Show the lists of the person's contributor, or of all."""
    of = visit.caller.contributor if visit.is_role(Role.CONTRIBUTOR) else visit.query.get("of", "")
    sets = visit.hub.list_hash_sets(of or None).page(_SETS, visit.query.get("after", ""))
    waiting = list(visit.hub.list_queue(of))
    rows = [_state(visit.hub, one, waiting) for one in sets.items]
    return visit.page("lists.html", rows=rows, of=of, next=sets.next)


def show_list(visit: HubVisit) -> Response:
    """Show one list: its terms, its imports, what waits."""
    name = "{contributor}/{hash_set}".format_map(visit.path)
    hash_set = visit.hub.get_hash_set(name)
    imports = visit.hub.list_imports(name).page(_SETS, visit.query.get("after", ""))
    state = _state(visit.hub, hash_set, list(visit.hub.list_queue(hash_set.contributor)))
    return visit.page("list.html", state=state, imports=imports.items, next=imports.next, explain=explain)


def cancel_import(visit: HubVisit) -> Response:
    """Cancel an import that was left open."""
    visit.hub.cancel_import("{contributor}/{hash_set}/".format_map(visit.path) + visit.form["import"])
    return visit.go(visit.url, _("Cancelled; nothing of it was kept."))


def show_findings(visit: HubVisit) -> Response:
    """Show what became of an import's items: counts by reason, then rows."""
    of = "{contributor}/{hash_set}".format_map(visit.path)
    name = f"{of}/{visit.path['import']}"
    import_ = visit.hub.get_import(name)
    counted = Counter((f.disposition, f.reason) for f in islice(visit.hub.list_findings(name), _COUNTED))
    groups = sorted(counted.items(), key=lambda group: -group[1])
    outcome, reason = visit.query.get("outcome", ""), visit.query.get("reason", "")
    dispositions = [d for d in Disposition if d == outcome]
    rows: list[Finding] = []
    after = visit.query.get("after", "")
    for _page in range(_PAGES):
        page = visit.hub.list_findings(name, dispositions).page(_ROWS - len(rows), after)
        rows += [f for f in page.items if reason in {"", f.reason}]
        after = page.next
        if not after or len(rows) == _ROWS:
            break
    is_counted = counted.total() < _COUNTED
    return visit.page(
        "findings.html", list=of, act=import_, groups=groups, is_counted=is_counted, rows=rows, next=after,
        outcome=outcome, reason=reason, explain=explain,
    )  # fmt: skip


def explain(reason: str) -> str:
    """Return a reason code in words."""
    return _(Code[reason].description) if reason in Code.__members__ else word(reason)


def _state(hub: Client, hash_set: HashSet, waiting: list[QueueItem]) -> dict[str, Any]:
    """Return a hash set as its contributor wants to know it: its last list, how usual that is, and what waits."""
    imports = hub.list_imports(hash_set.name).page(_SETS).items
    usual = usual_seconds([one.commit_time.timestamp() for one in reversed(imports) if one.commit_time])
    waits = [item for item in waiting if item.hash_set == hash_set.name]
    return {
        "hash_set": hash_set,
        "last": next((one for one in imports if one.state is ImportState.COMMITTED), None),
        "usual": timedelta(seconds=usual) if usual else None,
        "waiting": waits,
        "late_since": next((item.since for item in waits if item.kind is QueueKind.OVERDUE), None),
        "quarantined": sum(item.count for item in waits if item.kind is QueueKind.QUARANTINED),
    }


SCREENS = (
    screen("/lists", show_lists),
    screen("/lists/{contributor}/{hash_set}", show_list, cancel=cancel_import),
    screen("/lists/{contributor}/{hash_set}/imports/{import}", show_findings),
)
