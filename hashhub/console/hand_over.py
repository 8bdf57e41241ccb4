"""Handing a list over: one file of a session, from what it is taken for to the commit. No page gives the file back.

upload ──> what it is taken for ──> check, an import that is only tried ──> what its items would become ──> commit
             └── another format, other columns, a corrected file: and back to the check
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from hashhub import connector as connectors
from hashhub.client.sources import look, unpack
from hashhub.console.hand_overs import HandOver, cancel_open
from hashhub.console.lists import what_became
from hashhub.console.pages import _, word
from hashhub.console.visit import FORM_BYTES, screen
from hashhub.errors import Conflict, InvalidArgument
from hashhub_connectors.mapping import DIGESTS, FLAGS, MIXED, TEXTS, read_mapping
from hashhub_connectors.proposal import MappingProposal, propose_for

if TYPE_CHECKING:
    from starlette.responses import Response

    from hashhub.console.hub_visit import HubVisit

PATH: Final = "/hand-over"
MOST_BYTES: Final = 200 << 20
_COLUMNS: Final = 20  # of a table that a form has; the others are read as they are proposed
_VALUES: Final = 30  # categories


def show(visit: HubVisit) -> Response:
    """Show the session's hand-over as far as it is, or the form that begins one to a list."""
    work = visit.hand_overs.works.get(visit.session.digest)  # before the state, which is written before it ends
    hand_over = visit.hand_overs.of(visit.session.digest)
    report = hand_over.report if hand_over else None
    groups = [(g.disposition, g.reason, g.count) for g in report.groups[:50]] if report else []
    values: dict[str, Any] = {"one": hand_over, "work": work}
    values["became"] = what_became(report.source, groups) if report else []
    if hand_over and work is None and not hand_over.is_committed:
        readers = connectors.discover()
        values["formats"] = [("", ""), *((name, f"{name}: {reader.summary}") for name, reader in readers.items())]
        values["options"] = [o for o in getattr(readers.get(hand_over.format), "options", ()) if o.name != "mapping"]
        if hand_over.format == "csv":
            try:
                values |= _table(visit, hand_over)
            except InvalidArgument as e:
                hand_over.problem = e.message
    return visit.page("hand_over.html", **values)


def upload(visit: HubVisit) -> Response:
    """Take a file, or a corrected one instead of it, and check it where nothing is to be asked."""
    form, file = visit.form, visit.upload("file")
    if form["changed"] or visit.hand_overs.of(visit.session.digest):
        hand_over = _current(visit)
    else:
        hash_set = visit.hub.get_hash_set(form["hash_set"]).name
        hand_over = HandOver(hash_set=hash_set, filename="", replace=bool(form["replace"]))
    if file is None:
        raise InvalidArgument.field("file", _("choose a file"), "REQUIRED")
    if (file.size or 0) > MOST_BYTES:
        raise InvalidArgument.field("file", _("is larger than pages take; hand it over on the command line"))
    hand_over.filename, hand_over.may_shrink = (file.filename or "")[-200:], False
    seen = look(file.file, file.file.read(connectors.HEAD_BYTES), hand_over.file)
    if not seen.guesses and seen.what:
        raise InvalidArgument.field("file", _("is {what}").format(what=seen.what), "UNKNOWN_FORMAT")
    hand_over.taken_for = "; ".join(f"{name}, {guess.why}" for name, guess in seen.guesses)
    if not hand_over.format:
        with suppress(InvalidArgument):  # unclear: the person says it
            hand_over.format, guess = connectors.choose(seen.guesses)
            hand_over.options = dict(guess.options)
    file.file.seek(0)
    visit.hand_overs.take(visit.session.digest, hand_over, file.file)
    return _go_on(visit, hand_over)


def check(visit: HubVisit) -> Response:
    """Check the list, read as the form says; of another format or sheet, the page shows first what is to be asked."""
    hand_over, form = _current(visit), visit.form
    hand_over.replace, hand_over.may_shrink = bool(form["replace"]), bool(form["may_shrink"])
    options = {o.name: text for o in connectors.get(form["format"]).options if (text := form[f"option-{o.name}"])}
    if form["format"] != hand_over.format or options.get("sheet") != hand_over.options.get("sheet"):
        hand_over.fields = {}
    elif hand_over.format == "csv":
        proposal = _proposed(visit, hand_over)
        hand_over.values |= {cell: form[f"value-{i}"] for i, cell in enumerate(proposal.values()[:_VALUES])}
        columns = enumerate(proposal.columns[:_COLUMNS])
        hand_over.fields = proposal.fields | {c.key: form[f"column-{i}"] for i, c in columns}
        hand_over.date_order = form["date_order"]
    hand_over.format, hand_over.options = form["format"], options
    return _go_on(visit, hand_over)


def commit(visit: HubVisit) -> Response:
    """Commit the list that was checked."""
    hand_over = _current(visit)
    if not hand_over.report or hand_over.is_committed:
        raise Conflict(_("it must be checked as it is now, before it is committed"))
    visit.hand_overs.start(visit.session.digest, hand_over, visit.hub, "commit")
    return visit.go(PATH)


def cancel(visit: HubVisit) -> Response:
    """Stop, delete the file, and have the hub drop what it was sent."""
    hand_over = _current(visit)
    visit.hand_overs.end(visit.session.digest)
    if not hand_over.is_committed:
        cancel_open(visit.hub, hand_over)
    return visit.go(PATH)


def _current(visit: HubVisit) -> HandOver:
    """Return the session's hand-over, as the form's tab shows it. Raises Conflict where it is another by now."""
    hand_over = visit.hand_overs.of(visit.session.digest)
    if hand_over is None or str(hand_over.changed) != visit.form["changed"]:
        raise Conflict(_("this was changed in another tab; the page shows how it is now"))
    return hand_over


def _go_on(visit: HubVisit, hand_over: HandOver) -> Response:
    """Check the list where it is known how to read it; otherwise the page asks."""
    if hand_over.fields:
        hand_over.options["mapping"] = _proposed(visit, hand_over).text()
        read_mapping(hand_over.options["mapping"])
    if hand_over.fields or hand_over.format not in {"", "csv"}:
        visit.hand_overs.start(visit.session.digest, hand_over, visit.hub, "check")
    else:  # a person must look at a table's columns
        visit.hand_overs.change(visit.session.digest, hand_over)
    return visit.go(PATH)


def _proposed(visit: HubVisit, hand_over: HandOver) -> MappingProposal:
    """Return what is proposed for a table, or what a person said instead."""
    with visit.hand_overs.path(visit.session.digest, hand_over).open("rb") as source:
        inside = unpack(source, hand_over.file)
        proposal = propose_for(inside.stream if inside else source, hand_over.options.get("sheet", ""))
    if hand_over.fields:
        proposal.settle(hand_over.fields, hand_over.values, hand_over.date_order)
    return proposal


def _table(visit: HubVisit, hand_over: HandOver) -> dict[str, Any]:
    """Return what the form of a table's columns shows."""
    proposal = _proposed(visit, hand_over)
    scheme = visit.hub.get_hash_set(hand_over.hash_set).scheme
    known = visit.hub.get_scheme(scheme).values if scheme else ()
    return {
        "proposal": proposal,
        "columns": proposal.columns[:_COLUMNS],
        "cells": proposal.values()[:_VALUES],
        "fields": [
            ("", _("not read")),
            *((f, word(f)) for f in (*DIGESTS, MIXED, "algorithm", *TEXTS, "tags", *FLAGS)),
        ],
        "known": [("", _("as it stands there")), *((v.value, f"{v.value}: {v.title}"[:60]) for v in known)],
    }


SCREENS = (screen(PATH, show, body=MOST_BYTES + FORM_BYTES, upload=upload, check=check, commit=commit, cancel=cancel),)
