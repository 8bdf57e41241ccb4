"""Handing a list over: one file of a session, from what it is taken for to the commit. No page gives the file back.

upload ──> what it is taken for ──> check, an import that is only tried ──> what its items would become ──> commit
             └── another format, other columns, a corrected file: and back to the check
"""

from __future__ import annotations

import re
import time
import tomllib
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from hashhub import connector as connectors
from hashhub.client.sources import look, unpack
from hashhub.console.hand_overs import HandOver, Step, cancel_open
from hashhub.console.lists import explain
from hashhub.console.pages import _, word
from hashhub.console.visit import FORM_BYTES, screen
from hashhub.errors import Conflict, InvalidArgument
from hashhub.model import Role
from hashhub_connectors.mapping import DIGESTS, FLAGS, MIXED, TEXTS, Column, read_mapping, write_mapping
from hashhub_connectors.proposal import MappingProposal, propose_for

if TYPE_CHECKING:
    from starlette.responses import Response

    from hashhub.console.hub_visit import HubVisit

PATH: Final = "/hand-over"
MOST_BYTES: Final = 200 << 20
_NAME_SHOWN: Final = 200  # characters of a file's name
_COLUMNS: Final = 25  # of a table that a form has; its mapping's text can name any
_VALUES: Final = 30  # categories
_SHOWN: Final = 60  # characters of what a category of a scheme means
_SUFFIX: Final = re.compile(r"(?:\.[A-Za-z0-9]{1,8}){0,2}\Z")  # of a file's name, which may tell its format
_FIELDS: Final = (*DIGESTS, MIXED, "algorithm", *TEXTS, "tags")


def show(visit: HubVisit) -> Response:
    """Show the session's hand-over as far as it is, or the form that begins one."""
    hand_overs, session = visit.hand_overs, visit.session.digest
    hand_over = hand_overs.of(session)
    if hand_over is None:
        of = visit.caller.contributor if visit.is_role(Role.CONTRIBUTOR) else None
        sets = [(one.name, one.display_name or one.name) for one in visit.hub.list_hash_sets(of).page(1000).items]
        return visit.page("hand_over_new.html", sets=sets, chosen=visit.query.get("list", ""), most=MOST_BYTES >> 20)
    work = hand_overs.works.get(session)
    values: dict[str, Any] = {"hand_over": hand_over, "work": work, "explain": explain}
    values |= {"formats": (), "proposal": None, "unread": ""}
    if work is None and hand_over.step is not Step.COMMITTED and not visit.is_live:
        readers = connectors.discover()
        values["formats"] = [("", ""), *((name, f"{name}: {reader.summary}") for name, reader in readers.items())]
        reader = readers.get(hand_over.format)
        values["options"] = [o for o in reader.options if o.name != "mapping"] if reader else []
        if hand_over.format == "csv":
            try:
                values |= _table(visit, hand_over, _proposed(visit, hand_over))
            except InvalidArgument as e:
                values["unread"] = e.message
    return visit.page("hand_over.html", **values)


def upload(visit: HubVisit) -> Response:
    """Take a file, or a corrected one instead of it, and check it where nothing is to be asked."""
    before = _current(visit)
    file = visit.upload("file")
    if file is None:
        raise InvalidArgument.field("file", _("choose a file"), "REQUIRED")
    if (file.size or 0) > MOST_BYTES:
        raise InvalidArgument.field("file", _("is larger than pages take; hand it over on the command line"))
    name = "list" + "".join(_SUFFIX.findall(file.filename or "")[:1])
    seen = look(file.file, file.file.read(connectors.HEAD_BYTES), name)
    if not seen.guesses and seen.what:
        raise InvalidArgument.field("file", _("is {what}").format(what=seen.what), "UNKNOWN_FORMAT")
    hand_over = HandOver(
        hash_set=before.hash_set if before else visit.hub.get_hash_set(visit.form["hash_set"]).name,
        filename=(file.filename or "")[:_NAME_SHOWN],
        file=name,
        size=file.size or 0,
        begun=time.time(),
        replace=before.replace if before else bool(visit.form["replace"]),
        guesses=tuple(
            (n, g.certainty.name, " ".join((g.why, seen.container and f"(in {seen.container})")), dict(g.options))
            for n, g in seen.guesses
        ),
    )
    if before and before.format in {n for n, *_ in hand_over.guesses}:
        hand_over.format, hand_over.options = before.format, before.options
    else:
        with suppress(InvalidArgument):  # unclear: the person says it
            _read_as(hand_over, connectors.choose(seen.guesses)[0])
    file.file.seek(0)
    visit.hand_overs.take(visit.session.digest, hand_over, file.file)
    return _go_on(visit, hand_over)


def check(visit: HubVisit) -> Response:
    """Check the list, read as the form says."""
    hand_over = _idle(visit)
    form = visit.form
    hand_over.replace, hand_over.may_shrink = bool(form["replace"]), bool(form["may_shrink"])
    if form["format"] != hand_over.format:
        connectors.get(form["format"])
        _read_as(hand_over, form["format"])
        return _go_on(visit, hand_over)
    options = {o.name: text for o in connectors.get(hand_over.format).options if (text := form[f"option-{o.name}"])}
    is_same_sheet = options.get("sheet", "") == hand_over.options.get("sheet", "")
    if hand_over.format == "csv" and is_same_sheet:  # of another one the page shows the columns first
        options["mapping"] = _mapping(visit, hand_over)
    hand_over.options = options
    return _go_on(visit, hand_over)


def map_by_text(visit: HubVisit) -> Response:
    """Check the list, its columns read as a text in the mapping language says."""
    hand_over = _idle(visit)
    read_mapping(visit.form["mapping"])
    hand_over.options["mapping"] = visit.form["mapping"]
    return _go_on(visit, hand_over)


def commit(visit: HubVisit) -> Response:
    """Commit the list that was checked, or go on with that after a restart."""
    hand_over = _idle(visit)
    if hand_over.step not in {Step.CHECKED, Step.COMMITTING}:
        raise Conflict(_("it must be checked as it is now, before it is committed"))
    visit.hand_overs.start(visit.session.digest, hand_over, visit.hub, is_commit=True)
    return visit.go(PATH)


def cancel(visit: HubVisit) -> Response:
    """Stop, delete the file, and have the hub drop what it was sent."""
    hand_over = _current(visit)
    hand_overs, session = visit.hand_overs, visit.session.digest
    hand_overs.end(session)
    if hand_over and hand_over.step is not Step.COMMITTED:
        cancel_open(visit.hub, hand_over)
    return visit.go(PATH)


def _current(visit: HubVisit) -> HandOver | None:
    """Return the session's hand-over, as the form's tab shows it. Raises Conflict where it is another by now."""
    hand_over = visit.hand_overs.of(visit.session.digest)
    if (hand_over.mark if hand_over else "") != visit.form["mark"]:
        raise Conflict(_("this was changed in another tab; the page shows how it is now"))
    return hand_over


def _idle(visit: HubVisit) -> HandOver:
    """Return it where nothing goes on. Raises Conflict."""
    hand_over = _current(visit)
    if hand_over is None or visit.session.digest in visit.hand_overs.works:
        raise Conflict(_("this list is being worked on; wait until it is done, or cancel it"))
    return hand_over


def _go_on(visit: HubVisit, hand_over: HandOver) -> Response:
    """Check the list where it is known how to read it; otherwise the page asks."""
    if hand_over.format and (hand_over.format != "csv" or "mapping" in hand_over.options):
        visit.hand_overs.start(visit.session.digest, hand_over, visit.hub, is_commit=False)
    else:
        hand_over.step = Step.CHOOSE
        visit.hand_overs.keep(visit.session.digest, hand_over, is_new=True)
    return visit.go(PATH)


def _read_as(hand_over: HandOver, format_: str) -> None:
    """Read the file as of a format, with the options that it gives itself; a table's columns a person must look at."""
    given = next((options for name, _, _, options in hand_over.guesses if name == format_), {})
    hand_over.format = format_
    hand_over.options = {name: text for name, text in given.items() if name != "mapping"}


def _proposed(visit: HubVisit, hand_over: HandOver) -> MappingProposal:
    with visit.hand_overs.path(visit.session.digest, hand_over).open("rb") as source:
        inside = unpack(source, hand_over.file)
        return propose_for(source if inside is None else inside.stream, hand_over.options.get("sheet", ""))


def _table(visit: HubVisit, hand_over: HandOver, proposal: MappingProposal) -> dict[str, Any]:
    """Return what the form of a table's columns shows."""
    text = hand_over.options.get("mapping") or proposal.text()
    given = tomllib.loads(text)
    meanings, values = _meanings(given), given.get("values", {})
    scheme = visit.hub.get_hash_set(hand_over.hash_set).scheme
    known = visit.hub.get_scheme(scheme).values if scheme else ()
    keyed = [(c, proposal.key_of(c)) for c in proposal.columns]
    cells = dict.fromkeys(cell for c, key in keyed if meanings.get(key) == "value" for cell in c.cells)
    return {
        "proposal": proposal,
        "mapping": text,
        "date_order": given.get("date_order", ""),
        "columns": [(i, c, key, meanings.get(key, "")) for i, (c, key) in enumerate(keyed[:_COLUMNS])],
        "fields": [("", _("not read")), *((f, word(f)) for f in (*_FIELDS, *FLAGS))],
        "values": [(i, cell, values.get(cell, "")) for i, cell in enumerate(list(cells)[:_VALUES])],
        "known": [("", _("as it stands there")), *((v.value, f"{v.value}: {v.title}"[:_SHOWN]) for v in known)],
    }


def _mapping(visit: HubVisit, hand_over: HandOver) -> str:
    """Return the mapping with columns and categories as the form has them, and the rest as it was."""
    proposal, form = _proposed(visit, hand_over), visit.form
    given = tomllib.loads(hand_over.options.get("mapping") or proposal.text())
    keys = [proposal.key_of(column) for column in proposal.columns]
    meanings = _meanings(given) | {key: form[f"column-{i}"] for i, key in enumerate(keys[:_COLUMNS])}
    tables: dict[str, dict[str, Any]] = {"columns": {}, "flags": {}}
    for key in keys:
        if key is not None and (field := meanings.get(key)):
            tables["flags" if field in FLAGS else "columns"].setdefault(field, []).append(key)
    for name, table in tables.items():
        given[name] = {field: of[0] if len(of) == 1 else of for field, of in table.items()}
    values = given.get("values", {}) | {cell: form[f"value-{i}"] for i, cell in enumerate(visit.forms("cell"))}
    given["values"] = {cell: value for cell, value in values.items() if value}
    given["date_order"] = form["date_order"]
    text = write_mapping({name: value for name, value in given.items() if value != ""})
    read_mapping(text)
    return text


def _meanings(given: dict[str, Any]) -> dict[Column | None, str]:
    """Return what each column of a mapping holds."""
    meanings: dict[Column | None, str] = {}
    for field, keys in (given.get("columns", {}) | given.get("flags", {})).items():
        meanings.update(dict.fromkeys(keys if isinstance(keys, list) else [keys], field))
    return meanings


SCREENS = (
    screen(
        PATH, show, body=MOST_BYTES + FORM_BYTES,
        upload=upload, check=check, map=map_by_text, commit=commit, cancel=cancel,
    ),
)  # fmt: skip
