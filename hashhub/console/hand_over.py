"""Handing a list over: one file of a session, from what it is taken for to the commit. No page gives the file back.

upload ──> what it is taken for ──> check, an import that is only tried ──> what its items would become ──> commit
             └── another format, other columns, a corrected file: and back to the check
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Any, Final

from starlette.responses import Response

from hashhub import connector as connectors
from hashhub.client.sources import look, unpack
from hashhub.console.forms import Form, Input, facts
from hashhub.console.hand_overs import HandOver, cancel_open
from hashhub.console.hub_visit import HubVisit
from hashhub.console.lists import what_became
from hashhub.console.pages import _, alarm, link, word
from hashhub.console.visit import FORM_BYTES, Screen
from hashhub.errors import Conflict, InvalidArgument
from hashhub_connectors.mapping import DIGESTS, FLAGS, MIXED, TEXTS, read_mapping
from hashhub_connectors.proposal import MappingProposal, propose_for

PATH: Final = "/hand-over"
MOST_BYTES: Final = 200 << 20
_COLUMNS: Final = 20  # of a table that a form has; the others are read as they are proposed
_VALUES: Final = 30  # categories
_OPTIONS: Final = 120  # of all categories; beyond these a meaning is typed


def show(visit: HubVisit) -> Response:
    """Show the session's hand-over as far as it is, or the form that begins one to a list."""
    work = visit.hand_overs.works.get(visit.session.digest)  # before the state, which is written before it ends
    one = visit.hand_overs.of(visit.session.digest)
    page: dict[str, Any] = {"may": True, "whole": True, "open": "upload check commit"}
    file, replace = Input("file", _("File"), kind="file"), _("It is the full list: withdraw the entries that it lacks")
    if one is None:
        name = visit.typed("hash_set", visit.query.get("list", ""))
        leads = link(f"/lists/{name}" if name else "/lists", name or _("a list that you choose first"))
        begins = _("A file of hashes, in any format that hashhub reads, Excel's too. Nothing counts before its commit.")
        fields = [file, Input("hash_set", kind="hidden", value=name), Input("replace", replace, kind="check")]
        page["facts"], page["forms"] = (
            [(_("To begin"), begins), (_("It goes to"), leads)],
            [("upload", _("Look at it"), fields)],
        )
        return visit.page(_("Hand over a list"), **page)
    changed = Input("changed", kind="hidden", value=str(one.changed))
    told, forms = facts(one, "filename hash_set taken_for"), list[Form]()
    if work is not None:
        phases, far = {"CHECKSUM": _("Reading"), "SENDING": _("Sending"), "COMMITTING": _("Deciding")}, work.progress
        page["progress"] = (phases[far.phase], far.done, far.total) if far else ()
        told += [
            (_("Items"), far.items if far else _("It waits for its turn.")),
            (_("How far is it?"), link(PATH, _("Look again"))),
        ]
    elif one.doing or one.problem:
        cut = _("The console was restarted in the middle. All of the list counts, or nothing of it: check it again.")
        told.append((_("Problem"), alarm(one.problem or cut)))
    elif one.report:
        repeated = [(_("Repeated"), _("This very list was imported before; nothing was done now."))]
        told.append((_("Committed") if one.is_committed else _("What would become of its items"), ""))
        told += repeated if one.report.repeated else []
        told += what_became(one.report.source, [(g.disposition, g.reason, g.count) for g in one.report.groups[:50]])
        forms = [] if one.is_committed else [("commit", _("Commit it"), [changed])]
    if work is None and not one.is_committed:
        is_all = Input("replace", replace, kind="check", value=str(one.replace or ""))
        forms.append(("check", _("Check it"), [changed, *_readings(visit, one, page), is_all]))
        forms.append(("upload", _("Take a corrected file instead"), [file, changed]))
    forms.append(("cancel", _("Another list") if one.is_committed else _("Cancel"), [changed]))
    return visit.page(_("Hand over a list"), live=work is not None, facts=told, forms=forms, **page)


def _readings(visit: HubVisit, one: HandOver, page: dict[str, Any]) -> list[Input]:
    """Return the fields that say how a file is read: its format and that one's options, and a table's columns."""
    readers = connectors.discover()
    formats = [("", ""), *((name, f"{name}: {reader.summary}") for name, reader in readers.items())]
    fields = [Input("format", _("Read it as"), options=formats, value=one.format)]
    fields += [
        Input(f"option-{o.name}", o.name, o.description, value=one.options.get(o.name, ""))
        for o in getattr(readers.get(one.format), "options", ())
        if o.name != "mapping"
    ]
    if one.format == "csv":
        try:
            fields += _columns(visit, one, page)
        except InvalidArgument as e:
            one.problem = e.message
    may_shrink = Input("may_shrink", _("It may shrink"), kind="check", value=str(one.may_shrink or ""))
    return [*fields, may_shrink] if one.problem or one.may_shrink else fields


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


def _columns(visit: HubVisit, one: HandOver, page: dict[str, Any]) -> list[Input]:
    """Return the fields that say what a table's columns hold, and what its categories mean in the list's scheme."""
    proposal, scheme = _proposed(visit, one), visit.hub.get_hash_set(one.hash_set).scheme
    known = [(v.value, f"{v.value}: {v.title}"[:60]) for v in (visit.hub.get_scheme(scheme).values if scheme else ())]
    columns, cells = proposal.columns[:_COLUMNS], proposal.values()[:_VALUES]
    names, meanings = [c.name or c.key for c in columns], [("", _("as it stands there")), *known]
    page["folded"] = [(_("For example"), [(names, list(zip(*(c.cells[:3] for c in columns), strict=False)))])]
    notes = [
        *proposal.notes,
        *([_("Further columns are read as they are taken for.")] if proposal.columns[_COLUMNS:] else ()),
    ]
    page["tables"] = [([_("How its columns are taken")], [(note,) for note in notes])]
    held = [("", _("not read")), *((f, word(f)) for f in (*DIGESTS, MIXED, "algorithm", *TEXTS, "tags", *FLAGS))]
    orders = [("", _("as they show")), ("dmy", _("day first")), ("mdy", _("month first"))]
    field = partial(Input, options=meanings if len(cells) * len(known) < _OPTIONS else ())
    said = [field(f"value-{i}", cell, value=one.values.get(cell, "")) for i, cell in enumerate(cells)]
    field = partial(Input, options=held)
    return [
        *(field(f"column-{i}", names[i], value=proposal.fields.get(c.key, "")) for i, c in enumerate(columns)),
        Input("date_order", _("Dates such as 02/03/2027"), options=orders, value=one.date_order),
        *([Input("", _("What its categories mean in the list's scheme"), kind="fold", options=said)] if said else ()),
    ]


SCREENS = (
    Screen(
        PATH, show, "hashhub import FILE --hash-set CONTRIBUTOR/SET", "contribute/csv.md", body=MOST_BYTES + FORM_BYTES,
        upload=upload, check=check, commit=commit, cancel=cancel,
    ),
)  # fmt: skip
