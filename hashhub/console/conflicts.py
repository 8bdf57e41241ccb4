"""Conflicts as a queue: which wait, what each party states, and what people make of it."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

from hashhub.console.home import ROWS
from hashhub.console.pages import _, number, word
from hashhub.console.visit import screen
from hashhub.conversion import converted
from hashhub.errors import InvalidArgument
from hashhub.model import (
    ConflictAction,
    ConflictFilter,
    ConflictKind,
    ConflictOrder,
    ConflictReason,
    ConflictState,
    Flags,
    Role,
    Severity,
)
from hashhub.schemes.dimensions import DIMENSIONS, words

if TYPE_CHECKING:
    from starlette.responses import Response

    from hashhub.console.hub_visit import HubVisit
    from hashhub.model import Conflict, ConflictChanges, ConflictParty, ConflictSummary

_LISTS: Final = {"state": "states", "severity": "severities", "kind": "kinds"}  # of an address, and of a filter
_KINDS: Final[dict[str, type[StrEnum]]] = {"state": ConflictState, "severity": Severity, "kind": ConflictKind}
_TEXTS: Final = ("contributor", "other", "hash_set", "jurisdiction", "assignee", "entry")
_STATES: Final = (ConflictState.OPEN, ConflictState.ASSIGNED, ConflictState.RESOLVED)


def show_queue(visit: HubVisit, planned: ConflictChanges | None = None) -> Response:
    """Show how many conflicts there are, and a page of those that were asked for. `planned`: what an order for all of
    them would do.
    """
    chosen = _chosen(visit)
    # Counted are those of all kinds, severities and states, so that each number leads to its conflicts.
    everywhere = {name: value for name, value in chosen.items() if name in _TEXTS}
    page = visit.hub.list_conflicts(_filter(chosen)).page(ROWS, visit.query.get("after", ""))
    return visit.page(
        "conflicts.html",
        chosen=chosen,
        heads=[_("which"), *(f"#{word(state)}" for state in _STATES)],
        kind_of=_kind,
        counts=_counts(visit.hub.summarise_conflicts(_filter(everywhere), counts_only=True), everywhere),
        conflicts=[(c, _address(f"/conflicts/{c.name}", _place(visit))) for c in page.items],
        following=page.next and _address("/conflicts", {**chosen, "after": page.next}),
        choices={name: [("", _("any")), *_options(kind)] for name, kind in _KINDS.items()},
        planned=planned,
        may_order=visit.is_role(Role.OPERATOR) and bool(chosen.keys() - {"state"}),
        actions=_options(ConflictAction),
        reasons=_options(ConflictReason),
    )


def change(visit: HubVisit) -> Response:
    """Do something to all conflicts of the queue: show what it would do, then do it, if there are not more by now."""
    form, given = visit.form, {"ASSIGN": ("assignee",), "REOPEN": ("comment",)}
    names = given.get(form["action"], ("reason", "comment", "decided_for"))
    values = {name: form[name] for name in ("action", "expected_count", *names) if form[name]}
    order = converted(values, ConflictOrder, called=str, hint=_("correct the form"), strict=False)
    is_planned = order.expected_count is None
    changes = visit.hub.change_conflicts(_filter(_chosen(visit)), order, validate_only=is_planned)
    if is_planned:
        return show_queue(visit, changes)
    return visit.go(visit.url, _("Changed: {n}").format(n=number(changes.changed)))


def _counts(summary: ConflictSummary, everywhere: dict[str, str]) -> list[tuple[str, list[tuple[int, str]]]]:
    """Return for each severity and kind how many there are in each state, with the address of those."""
    counts: Counter[tuple[str, str, str]] = Counter()
    for c in summary.counts:
        counts["severity", c.severity, c.state] += c.count
        counts["kind", c.kind, c.state] += c.count
    rows = [("severity", value) for value in reversed(Severity)] + [("kind", value) for value in ConflictKind]
    present = {key[:2] for key in counts}
    return [
        (value, [(counts[name, value, state], _address("/conflicts", {**everywhere, name: value, "state": state}))
                 for state in _STATES])
        for name, value in rows
        if (name, value) in present
    ]  # fmt: skip


def show_conflict(visit: HubVisit) -> Response:
    """Show what each party of a conflict states, and what was said of it."""
    conflict = visit.hub.get_conflict(visit.path["name"])
    return visit.page(
        "conflict.html",
        conflict=conflict,
        kind=_kind(conflict),
        sides=(conflict.left, conflict.right),
        rows=_side_by_side(conflict),
        following=_following(visit),
        queue=_address("/conflicts", _place(visit)),
        is_operator=visit.is_role(Role.OPERATOR),
        may_resolve=visit.is_role(Role.OPERATOR, Role.CONTRIBUTOR)
        and conflict.state in {ConflictState.OPEN, ConflictState.ASSIGNED},
        may_reopen=visit.is_role(Role.OPERATOR) and conflict.state is ConflictState.RESOLVED,
        reasons=_options(ConflictReason),
        parties=[(name, name) for name in dict.fromkeys((conflict.left.contributor, conflict.right.contributor))],
    )


def assign(visit: HubVisit) -> Response:
    """Give a conflict to somebody."""
    visit.hub.assign_conflict(visit.path["name"], visit.form["assignee"], etag=visit.form["etag"])
    return visit.go(visit.url, _("Assigned.") if visit.form["assignee"] else _("Assigned to nobody."))


def resolve(visit: HubVisit) -> Response:
    """Say what a conflict comes to, and go on to the next one of the queue."""
    following = _following(visit)  # once it is resolved, it may be in the queue no more
    reason = visit.form["reason"]
    if reason not in ConflictReason.__members__:
        raise InvalidArgument.field("reason", _("choose what it comes to"), "REQUIRED")
    done = visit.hub.resolve_conflict(
        visit.path["name"],
        ConflictReason(reason),
        visit.form["comment"],
        decided_for=visit.form["decided_for"] if reason == ConflictReason.DECIDED_FOR else "",
        etag=visit.form["etag"],
    )
    said = _("Resolved.") if done.state is ConflictState.RESOLVED else _("Your view is on record.")
    if following:
        return visit.go(following, said + " " + _("This is the next conflict."))
    return visit.go(visit.url, said)


def reopen(visit: HubVisit) -> Response:
    """Take back what closed a conflict."""
    visit.hub.reopen_conflict(visit.path["name"], visit.form["comment"], etag=visit.form["etag"])
    return visit.go(visit.url, _("Open again."))


def _options(kind: type[StrEnum]) -> list[tuple[str, str]]:
    return [(str(value), word(value)) for value in kind]


def _chosen(visit: HubVisit) -> dict[str, str]:
    return {name: value for name in (*_LISTS, *_TEXTS) if (value := visit.query.get(name, "").strip())}


def _filter(chosen: dict[str, str]) -> ConflictFilter:
    values = {_LISTS.get(name, name): [value] if name in _LISTS else value for name, value in chosen.items()}
    return converted(values, ConflictFilter, called=str, hint=_("choose from the lists of the queue"))


def _place(visit: HubVisit) -> dict[str, str]:
    """Return the queue, and its page, that a person works through."""
    return {**_chosen(visit), "after": visit.query.get("after", "")}


def _address(path: str, query: dict[str, str]) -> str:
    given = urlencode({name: value for name, value in query.items() if value})
    return f"{path}?{given}" if given else path


def _following(visit: HubVisit) -> str:
    """Return the address of the queue's conflict behind this one; empty at the end. Of one that has left the queue it
    is the first of its page.
    """
    place = _place(visit)
    page = visit.hub.list_conflicts(_filter(_chosen(visit))).page(ROWS, place["after"])
    names = [conflict.name for conflict in page.items]
    own = visit.path["name"]
    if own in names[-1:] and page.next:
        place["after"] = page.next
        names = [c.name for c in visit.hub.list_conflicts(_filter(_chosen(visit))).page(1, page.next).items]
    else:
        names = names[names.index(own) + 1 :] if own in names else names
    return _address(f"/conflicts/{names[0]}", place) if names else ""


def _kind(conflict: Conflict) -> str:
    """Return the kind, with the law or the algorithm that it is about."""
    law = conflict.dimension.partition(":")[2]
    about = conflict.dimension if conflict.kind is ConflictKind.CONTRADICTORY_DIGESTS else law
    return f"{word(conflict.kind)} {about}".strip()


def _side_by_side(conflict: Conflict) -> list[tuple[str, str, str, bool]]:
    """Return what the parties state by dimension, or of contradictory digests those, and whether that is at odds."""
    is_benign = conflict.kind is ConflictKind.BENIGN_AGAINST_HARMFUL
    at_odds = "verdict" if is_benign else conflict.dimension.partition(":")[0]
    names = dict.fromkeys((*DIMENSIONS, *Flags.__struct_fields__, at_odds))
    rows = [(name, _stated(conflict.left, name), _stated(conflict.right, name)) for name in names]
    rows.append(("purpose", word(conflict.left.purpose), word(conflict.right.purpose)))
    return [(word(name), left, right, name == at_odds) for name, left, right in rows if left or right]


def _stated(party: ConflictParty, dimension: str) -> str:
    texts = []
    for statement in party.statements:
        if values := statement.dimensions.get(dimension):
            texts.append(words(dimension, values))
        if (flag := getattr(statement.flags, dimension, None)) is not None:
            texts.append(_("yes (flag)") if flag else _("no (flag)"))
        texts += [digest.text for digest in statement.digests if digest.algorithm == dimension]
    return "; ".join(dict.fromkeys(texts))


SCREENS = (
    screen("/conflicts", show_queue, change=change),
    screen("/conflicts/{name}", show_conflict, is_item=True, assign=assign, resolve=resolve, reopen=reopen),
)
