"""Lists and their state, what became of each import, and its findings as a work list."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import islice
from typing import Final
from urllib.parse import quote

import msgspec
from starlette.responses import Response

from hashhub.console.home import decided_at
from hashhub.console.hub_visit import HubVisit
from hashhub.console.pages import _, ago, folded, link, number, word
from hashhub.console.visit import Screen
from hashhub.hygiene import Code
from hashhub.model import Disposition, Finding, Import, ImportState, Role

_SETS: Final = 20  # a page; each asks for its imports
_ROWS: Final = 50
_COUNTED: Final = 5_000  # findings that are counted by reason


def show_lists(visit: HubVisit) -> Response:
    """Show the lists of the person's contributor, or of all: the last one of each, and what waits."""
    of = visit.caller.contributor if visit.is_role(Role.CONTRIBUTOR) else visit.query.get("of", "")
    sets = visit.hub.list_hash_sets(of or None).page(_SETS, visit.query.get("after", ""))
    waiting, rows = list(visit.hub.list_queue(of)), []
    for one in sets.items:
        imports = visit.hub.list_imports(one.name).page(_SETS).items
        last = next((i for i in imports if i.state is ImportState.COMMITTED), None)
        counts = (last and last.counts.items, last and last.counts.rejected)
        kinds = dict.fromkeys(word(item.kind) for item in waiting if item.hash_set == one.name)
        name = link(f"/lists/{one.name}", one.display_name or one.name)
        rows.append((name, ago(last.commit_time if last else None), *counts, tuple(kinds), one.marking.tlp))
    return visit.page(
        _("Lists"),
        heads=[_("List"), _("Last list"), "#" + _("Items"), "#" + _("Rejected"), _("What waits"), _("Label")],
        rows=rows,
        empty=_("No list yet; hashhub hash-set create makes one."),
        after=sets.next,
    )


def show_list(visit: HubVisit) -> Response:
    """Show one list: its terms, what waits, its imports."""
    one = visit.hub.get_hash_set("{contributor}/{hash_set}".format_map(visit.path))
    imports = visit.hub.list_imports(one.name).page(_SETS, visit.query.get("after", ""))
    waiting = [item for item in visit.hub.list_queue(one.contributor) if item.hash_set == one.name]
    return visit.page(one.display_name or one.name,
        facts=[
            (_("Name"), one.name), (_("Purpose"), one.purpose), (_("Scheme"), one.scheme),
            (_("Label"), one.marking.tlp), (_("A new one"), link(f"/hand-over?list={one.name}", _("Hand over a list"))),
            (_("Entries"), link(f"/entries?hash_set={one.name}", _("all of them"))),
            (_("Terms"), link(f"/terms/{one.name}", _("what others see of it"))),
            *((word(i.kind), link(decided_at(i), f"{number(i.count)} {explain(i.reason)}")) for i in waiting[:_ROWS]),
        ],
        heads=[_("Opened"), _("State"), _("Format"), "#" + _("Items"), "#" + _("Quarantined"), "#" + _("Rejected")],
        rows=[
            (link(f"/lists/{one.name}/imports/{i.id}", ago(i.create_time)), _state(i), i.connector,
             i.counts.items, i.counts.quarantined, i.counts.rejected)
            for i in imports.items
        ],
        empty=_("Nothing was handed over yet."),
        after=imports.next,
    )  # fmt: skip


def show_import(visit: HubVisit) -> Response:
    """Show what became of an import's items: counts by reason, then the findings, of one reason or all."""
    import_ = visit.hub.get_import(_name(visit))
    of = f"{import_.contributor}/{import_.hash_set}"
    counted = Counter((f.disposition, f.reason) for f in islice(visit.hub.list_findings(_name(visit)), _COUNTED))
    groups = [(*group, count) for group, count in counted.most_common()]
    outcome, reason, after = (visit.query.get(key, "") for key in ("outcome", "reason", "after"))
    found = visit.hub.list_findings(_name(visit), [d for d in Disposition if d == outcome])
    rows: list[Finding] = []
    for _page in range(40):  # asked for one of ours, of a rare reason
        page = found.page(_ROWS - len(rows), after)
        rows += [f for f in page.items if reason in {"", f.reason}]
        after = page.next
        if not after or len(rows) == _ROWS:
            break
    return visit.page(_("Findings"),
        facts=[
            (_("List"), link(f"/lists/{of}", of)), (_("Opened"), import_.create_time), (_("State"), _state(import_)),
            *what_became(import_, groups),
            *([] if counted.total() < _COUNTED else [(_("Reasons"), _("of the first findings only; there are more"))]),
            *([(_("Only those"), explain(reason))] if reason else []),
        ],
        heads=[_("Where"), _("Outcome"), _("What is wrong"), _("What was expected"), _("Entry")],
        rows=[
            (f.position, f.disposition, explain(f.reason),
             folded(_("Category"), [f.detail]) if f.reason == Code.UNKNOWN_VALUE else f.detail,
             link(f"/entries/{of}/{f.entry_id}", str(f.entry_id)) if f.entry_id else "")
            for f in rows
        ],
        empty=_("None among those looked at."),
        after=after,
        forms=[("cancel", _("Cancel"), [])] if import_.state is ImportState.OPEN else [],
        may=True,
    )  # fmt: skip


def cancel_import(visit: HubVisit) -> Response:
    """Cancel an import that was left open."""
    visit.hub.cancel_import(_name(visit))
    return visit.go(visit.url, _("Cancelled; nothing of it was kept."))


def what_became(import_: Import, groups: Iterable[tuple[Disposition, str, int]]) -> list[tuple[str, object]]:
    """Return what became of an import's items as facts: its counts, and those of each outcome and reason."""
    path = f"/lists/{import_.contributor}/{import_.hash_set}/imports/{import_.id}"
    return [
        (_("All findings"), link(path, _("Row by row"))),
        *((word(name), count) for name, count in msgspec.structs.asdict(import_.counts).items() if count),
        *(
            (f"{word(one)}: {explain(why)}", link(f"{path}?outcome={one}&reason={quote(why)}", number(count)))
            for one, why, count in groups
        ),
    ]


def explain(reason: str) -> str:
    """Return a reason code in words."""
    return _(Code[reason].description) if reason in Code.__members__ else word(reason)


def _state(import_: Import) -> object:
    return _("checked only: nothing was kept") if import_.is_only_checked else import_.state


def _name(visit: HubVisit) -> str:
    return "{contributor}/{hash_set}/{import}".format_map(visit.path)


SCREENS = (
    Screen("/lists", show_lists, "hashhub hash-set list", "contribute/README.md"),
    Screen(
        "/lists/{contributor}/{hash_set}", show_list, "hashhub findings {contributor}/{hash_set}",
        "contribute/README.md",
    ),
    Screen(
        "/lists/{contributor}/{hash_set}/imports/{import}", show_import,
        "hashhub findings {contributor}/{hash_set}/{import}", "contribute/analyst.md", cancel=cancel_import,
    ),
)  # fmt: skip
