"""Conflicts as a queue: which wait, what each party states, and what people make of it."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlencode

import msgspec
from markupsafe import Markup
from msgspec.structs import replace
from starlette.responses import Response

from hashhub import model
from hashhub.console.forms import Input, facts, hidden, kept, pairs
from hashhub.console.home import ROWS
from hashhub.console.hub_visit import HubVisit
from hashhub.console.pages import _, alarm, link, number, word
from hashhub.console.visit import Screen
from hashhub.conversion import converted
from hashhub.errors import InvalidArgument
from hashhub.model import ConflictChanges, ConflictState, Role
from hashhub.schemes.dimensions import DIMENSIONS, words

_LISTS: Final = {"state": "states", "severity": "severities", "kind": "kinds"}  # of an address, and of a filter
SECONDS_AT_ONCE: Final = 2.0  # of a long change, between two pages that tell how far it is
_STATES: Final = (ConflictState.OPEN, ConflictState.ASSIGNED, ConflictState.RESOLVED)


def show_queue(visit: HubVisit, done: ConflictChanges | None = None, after: str = "") -> Response:
    """Show how many conflicts there are, and a page of those that were asked for. `done`: what a change of all of them
    would do or did so far, which goes on `after`.
    """
    chosen = _chosen(visit)
    page = visit.hub.list_conflicts(_filter(chosen)).page(ROWS, visit.query.get("after", ""))
    order = [
        Input("action", _("Do"), options=pairs(model.ConflictAction)),
        Input("assignee", _("Person or party")),
        *_word(),
    ]
    label, told, progress = (
        _("Count what a change of all that fit would do"),
        list[tuple[str, object]](),
        tuple[object, ...](),
    )
    if done:
        told = [(_("Would be changed") if done.validate_only else _("Changed"), done.changed)]
        told += [(word(why), n) for why, n in done.skipped.items()]
        if done.validate_only:
            given = {"expected_count": done.selected, "request_id": uuid.uuid4()}
            label, order = _("Change all that fit"), [*order, *hidden(visit, (), **given)]
        elif after:
            progress = (_("Looked at"), done.selected, done.total)
            going = {"expected_count": visit.form["expected_count"], "request_id": visit.form["request_id"]}
            so_far = msgspec.json.encode(done).decode()
            label, order = _("Go on"), hidden(visit, order, **going, after=after, so_far=so_far)
    return visit.page(
        _("Conflicts"),
        filters=_filters(chosen),
        facts=told,
        progress=progress,
        tables=[([_("which"), *(f"#{word(state)}" for state in _STATES)], _counts(visit, chosen))],
        heads=[_("conflict"), _("kind"), _("severity"), _("state"), _("between"), _("assigned to"), _("opened")],
        rows=[
            (link(_address(f"/conflicts/{c.name}", visit.query), c.name), _kind(c), _severity(c), c.state,
             (c.left.hash_set, c.right.hash_set), c.assignee, c.open_time)
            for c in page.items
        ],
        empty=_("No conflict fits. Nothing needs doing here."),
        live=0 if done else 15,
        after=page.next,
        forms=[("change", label, order)] if chosen.keys() - {"state"} else [],
        open="change" if done else "",
        by_itself="change" if after else "",
    )  # fmt: skip


def change(visit: HubVisit) -> Response:
    """Do something to all conflicts of the queue: show what it would do, then do it, some seconds of it at a time, if
    there are not more by now. A form sent again goes on from where it was.
    """
    values = {name: visit.form[name] for name in model.ConflictOrder.__struct_fields__ if visit.form[name]}
    order = converted(values, model.ConflictOrder, called=str, hint=_("correct the form"), strict=False)
    is_planned, after, until = order.expected_count is None, visit.form["after"], time.monotonic() + SECONDS_AT_ONCE
    wanted, own_id = _filter(_chosen(visit)), visit.form["request_id"]
    listed = visit.hub.change_conflicts(wanted, order, validate_only=is_planned, request_id=own_id)
    done = ConflictChanges(action=order.action)
    if after:
        done = kept(visit, "so_far", ConflictChanges)
    while True:
        (piece,), after = listed.page(1_000, after)
        done = done.with_next(piece)
        if not after or (time.monotonic() > until and not is_planned):
            return show_queue(visit, done, after)


def show_conflict(visit: HubVisit) -> Response:
    """Show what each party of a conflict states, and what was said of it."""
    conflict, is_operator = visit.hub.get_conflict(visit.path["name"]), visit.is_role(Role.OPERATOR)
    left, right = conflict.left, conflict.right
    etag, forms = Input("etag", kind="hidden", value=conflict.etag), []
    if conflict.state in {ConflictState.OPEN, ConflictState.ASSIGNED}:
        label = _("Resolve") if is_operator else _("Put your view on record")
        forms = [("resolve", label, [etag, *_word(left.contributor, right.contributor)])]
        hint = _("A name, or a party as contributors/ID, which is then told. Empty: nobody.")
        person = Input("assignee", _("Person or party"), hint, value=conflict.assignee)
        forms += [("assign", _("Assign"), [etag, person])] if is_operator else []
    elif conflict.state is ConflictState.RESOLVED and is_operator:
        forms = [("reopen", _("Open again"), [etag, _word()[-1]])]
    statements = left.statements + right.statements
    return visit.page(f"{_('Conflict')} {conflict.name}",
        facts=[
            (_("kind"), _kind(conflict)),
            (_("severity"), _severity(conflict)),
            (_("ended by"), conflict.ended_by and f"{word(conflict.ended_by)} {conflict.ended_side}"),
            *facts(conflict, "state assignee open_time"),
            *((side.hash_set, f"{side.jurisdiction} {side.reliability}, {side.entry_count}") for side in (left, right)),
            (_("queue"), link(_address("/conflicts", visit.query), _("Back to the queue"))),
            (_("next"), link(_following(visit), _("Next conflict"))),
        ],
        live=10,
        folded=[
            (_("What each of them states"), [
                ([_("dimension"), left.hash_set, right.hash_set], _side_by_side(conflict), conflict.why),
                ([_("entry"), _("state"), _("scheme"), _("value")],
                 [(link(f"/entries/{s.entry}", s.entry), s.state, s.scheme, s.value) for s in statements]),
            ]),
        ],
        heads=[_("when"), _("who"), _("what it comes to"), _("why"), _("closes it"), _("of what stands now")],
        rows=[
            (r.create_time, f"{r.contributor} {r.actor}", f"{word(r.reason)} {r.decided_for}", r.comment,
             r.closes, r.stands)
            for r in conflict.resolutions
        ],
        empty=_("Nobody has said anything of it."),
        forms=forms,
        may=visit.is_role(Role.OPERATOR, Role.CONTRIBUTOR),
        open="resolve assign",
    )  # fmt: skip


def assign(visit: HubVisit) -> Response:
    """Give a conflict to somebody."""
    visit.hub.assign_conflict(visit.path["name"], visit.form["assignee"], etag=visit.form["etag"])
    return visit.go(visit.url, _("Assigned.") if visit.form["assignee"] else _("Assigned to nobody."))


def resolve(visit: HubVisit) -> Response:
    """Say what a conflict comes to, and go on to the next one of the queue."""
    name, form = visit.path["name"], visit.form
    following = _following(visit)  # once it is resolved, it may be in the queue no more
    if form["reason"] not in model.ConflictReason.__members__:
        raise InvalidArgument.field("reason", _("choose what it comes to"), "REQUIRED")
    if visit.is_role(Role.OPERATOR):  # of its etag, resolving checks what the parties state, not who has it
        visit.hub.assign_conflict(name, "", etag=form["etag"], validate_only=True)
    reason, decided_for = model.ConflictReason(form["reason"]), form["decided_for"]
    done = visit.hub.resolve_conflict(name, reason, form["comment"], decided_for=decided_for, etag=form["etag"])
    said = _("Resolved.") if done.state is ConflictState.RESOLVED else _("Your view is on record.")
    return visit.go(following, said + " " + _("Here the queue goes on."))


def reopen(visit: HubVisit) -> Response:
    """Take back what closed a conflict."""
    visit.hub.reopen_conflict(visit.path["name"], visit.form["comment"], etag=visit.form["etag"])
    return visit.go(visit.url, _("Open again."))


def _filters(chosen: Mapping[str, str]) -> list[Input]:
    fields = [
        Input("state", _("State"), options=pairs(ConflictState)),
        Input("severity", _("Severity"), options=pairs(model.Severity)),
        Input("kind", _("Kind"), options=pairs(model.ConflictKind)),
        Input("contributor", _("A party")),
        Input("other", _("The other party")),
        Input("assignee", _("Assigned to")),
    ]
    return [
        replace(f, options=f.options and [("", _("any")), *f.options], value=chosen.get(f.name, "")) for f in fields
    ]


def _word(*parties: str) -> list[Input]:
    """Return what a person fills in who says what a conflict comes to."""
    options = [("", "-"), *zip(parties, parties, strict=True)] if parties else ()
    return [
        Input("reason", _("It comes to"), options=[("", "-"), *pairs(model.ConflictReason)]),
        Input("decided_for", _("Who is right, if one of them is"), options=options),
        Input("comment", _("Why"), _("No case data."), "lines"),
    ]


def _chosen(visit: HubVisit) -> dict[str, str]:
    return {field.name: value for field in _filters({}) if (value := visit.query.get(field.name, "").strip())}


def _filter(chosen: dict[str, str]) -> model.ConflictFilter:
    values = {_LISTS.get(name, name): [value] if name in _LISTS else value for name, value in chosen.items()}
    return converted(values, model.ConflictFilter, called=str, hint=_("choose from the lists of the queue"))


def _address(path: str, query: Mapping[str, str]) -> str:
    return f"{path}?{urlencode({name: value for name, value in query.items() if value})}"


def _counts(visit: HubVisit, chosen: dict[str, str]) -> list[tuple[str, ...]]:
    """Return for each severity and kind how many there are in each state, with the address of those: of the parties and
    the person that were chosen, whatever else was.
    """
    of = {name: value for name, value in chosen.items() if name not in _LISTS}
    counts: Counter[tuple[str, str, ConflictState]] = Counter()
    for c in visit.hub.summarise_conflicts(_filter(of), counts_only=True).counts:
        counts["severity", c.severity, c.state] += c.count
        counts["kind", c.kind, c.state] += c.count

    def cell(name: str, value: str, state: ConflictState) -> Markup:
        return link(_address("/conflicts", {**of, name: value, "state": state}), number(counts[name, value, state]))

    found = sorted({key[:2] for key in counts}, reverse=True)
    return [(word(value), *(cell(name, value, state) for state in _STATES)) for name, value in found]


def _following(visit: HubVisit) -> str:
    """Return where the queue goes on behind this conflict: at the next one or, behind the last of its page, at the next
    page. Of one that has left the queue it is the first of its page.
    """
    page = visit.hub.list_conflicts(_filter(_chosen(visit))).page(ROWS, visit.query.get("after", ""))
    names, own = [conflict.name for conflict in page.items], visit.path["name"]
    names = names[names.index(own) + 1 :] if own in names else names
    place = {**visit.query, "after": page.next}
    return _address(f"/conflicts/{names[0]}", visit.query) if names else _address("/conflicts", place)


def _kind(conflict: model.Conflict) -> str:
    """Return the kind, with the law or the algorithm that it is about."""
    is_of_digests = conflict.kind is model.ConflictKind.CONTRADICTORY_DIGESTS
    return f"{word(conflict.kind)} {conflict.dimension if is_of_digests else conflict.dimension.partition(':')[2]}"


def _severity(conflict: model.Conflict) -> object:
    return alarm(word(conflict.severity)) if conflict.severity is model.Severity.HIGH else conflict.severity


def _side_by_side(conflict: model.Conflict) -> list[tuple[str, str, str]]:
    """Return what the parties state by dimension, or of contradictory digests those, and whether that is at odds."""
    is_benign = conflict.kind is model.ConflictKind.BENIGN_AGAINST_HARMFUL
    at_odds = "verdict" if is_benign else conflict.dimension.partition(":")[0]
    names = {name: word(name) for name in (*DIMENSIONS, *model.Flags.__struct_fields__)}
    names[at_odds] = alarm(f"{word(at_odds)}: {_('cannot both hold')}")
    rows = [(said, _stated(conflict.left, name), _stated(conflict.right, name)) for name, said in names.items()]
    return [row for row in rows if any(row[1:])]


def _stated(party: model.ConflictParty, dimension: str) -> str:
    texts = []
    for statement in party.statements:
        if values := statement.dimensions.get(dimension):
            texts.append(words(dimension, values))
        if (flag := getattr(statement.flags, dimension, None)) is not None:
            texts.append(_("yes (flag)") if flag else _("no (flag)"))
        texts += [digest.text for digest in statement.digests if digest.algorithm == dimension]
    return "; ".join(dict.fromkeys(texts))


SCREENS = (
    Screen("/conflicts", show_queue, "hashhub reconcile conflicts list", "reconcile/conflicts.md", change=change),
    Screen(
        "/conflicts/{name}", show_conflict, "hashhub reconcile conflicts get {name}",
        "reconcile/conflicts.md#work-on-it", is_item=True, assign=assign, resolve=resolve, reopen=reopen,
    ),
)  # fmt: skip
