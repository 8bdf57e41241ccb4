"""Entries: searched, read and corrected, one or many; what others say of them, and what others see of a hash set."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Final

import msgspec
from markupsafe import Markup
from starlette.responses import Response

from hashhub import model
from hashhub.console.forms import Input, confirmed, facts, hidden, pairs
from hashhub.console.history import entry_link, event_table
from hashhub.console.hub_visit import HubVisit
from hashhub.console.pages import _, folded, link, number, shown, word
from hashhub.console.visit import Screen
from hashhub.conversion import converted
from hashhub.errors import Conflict, InvalidArgument
from hashhub.hashes import parse_pair
from hashhub.model import OBJECTIONS, Entry, EntryAction, EntryState, Role, Selection
from hashhub.model.terms import OVERSEERS
from hashhub.schemes.dimensions import words as values_in_words

_FILE_BYTES: Final = 30 << 20
_LISTS: Final = ("hashes", "external_ids", "names", "imports")  # what a form lists, one a line
_HANDBOOK: Final = "contribute/entries.md"
_Number = Annotated[int, msgspec.Meta(ge=0, lt=1 << 31)]


def show_list(visit: HubVisit) -> Response:
    """The entries of a hash set, in a state, or for a reason."""
    name, state, reason = (visit.query.get(key, "") for key in ("hash_set", "state", "reason"))
    states = tuple(one for one in EntryState if one == state)
    selection = Selection(hash_set=name, states=states, reasons=(reason,) if reason else ())
    found, after = visit.hub.search_entries(selection).page(after=visit.query.get("after", ""))
    filters = [Input("hash_set", kind="hidden", value=name), _state(state)]
    links = link(f"/change?hash_set={name}", _("Change many")), link(f"/terms/{name}", _("What others see"))
    return _listed(visit, found, title=name, after=after, facts=[(_("all of them"), links)], filters=filters)


def search(visit: HubVisit) -> Response:
    """The form to search by; what was found by what was typed, or by the hashes of a file, which the hub computes in
    memory. No URL has any of it.
    """
    found: list[Entry] | None = None
    file = Input("file", _("A file"), _("at most 30 MiB; hashed by the hub in memory, and not kept"), "file")
    forms = [("search", _("Search"), _which(visit) + ([] if visit.is_role(Role.AUDITOR) else [file]))]
    if visit.form["do"] and visit.refused is None:
        hashes, near = visit.form["hashes"], tuple[model.EntryMatch, ...]()
        if (upload := visit.upload("file")) is not None:
            policy = next(visit.hub.list_policies()).id  # one has to be named; what it decides is not shown
            [answer] = visit.hub.match_media([("", upload.file.read())], model.MatchOptions(policy=policy))
            hashes, near = "\n".join(h.text for h in answer.media.hashes), answer.media.result.matches[:50]
        page, after = visit.hub.search_entries(_selection(visit, hashes)).page(after=visit.form["after"])
        found = list({entry.name: entry for entry in (*(match.entry for match in near), *page)}.values())
        if after:
            forms.append(("search", _("More"), hidden(visit, _which(visit), hashes=hashes, after=after)))
    return _listed(visit, found, title=_("Search"), forms=forms, open="search")


def _listed(visit: HubVisit, found: Iterable[Entry] | None, **page: Any) -> Response:
    heads = [_("entry"), _("state"), _("category"), _("why"), _("hashes"), _("position")]
    if found is not None:
        page["rows"] = [
            (entry_link(e.name), e.state, folded(_("Category"), [e.classification.text]) if e.classification else "",
             tuple(map(word, e.reasons)), tuple(h.algorithm for h in e.hashes), e.provenance.position) for e in found
        ]  # fmt: skip
    return visit.page(**page, heads=heads, may=True)


def show(visit: HubVisit) -> Response:
    """An entry: what it states, where it comes from, what others say of it, what became of it."""
    entry = _entry(visit)
    reviews = visit.hub.list_reviews(entry.name).page().items
    events, after = visit.hub.list_events(entry.name).page(20, visit.query.get("after", ""))
    c, w, place = entry.classification, entry.withdrawal, entry.provenance
    said = [f"{c.text}, {word(c.status)}"] if c else [_("not stated")]
    said += [f"{word(name)}: {values_in_words(name, values)}" for name, values in (c.dimensions if c else {}).items()]
    flags = msgspec.structs.asdict(entry.flags).items()
    said += [f"{word(name)}: {shown(value)}" for name, value in flags if value is not None]
    told = [
        (_("why"), tuple(map(word, entry.reasons))), (_("withdrawn"), f"{word(w.reason)} {w.comment}" if w else ""),
        (_("category"), folded(_("Category, and what the source says"), [*said, entry.extra])),
        (_("hashes"), folded(_("Hashes"), [Markup("<code>{}</code>").format(h.text) for h in entry.hashes])),
        *facts(entry, "external_id series tags predecessors successors expire_time media_type"),
        *facts(place, "import_id position connector"), (_("stated by"), place.member or entry.contributor),
        *((one.author, f"{word(one.kind)}: {one.comment}") for one in reviews),
    ]  # fmt: skip
    return visit.page(f"{entry.name}: {word(entry.state)}", facts=told, **event_table(events, entry.name),
        after=after, forms=_forms(visit, entry, reviews), may=True,
    )  # fmt: skip


def _forms(visit: HubVisit, entry: Entry, reviews: Sequence[model.Review]) -> list[tuple[str, str, list[Input]]]:
    """Return the forms of what this person may do to an entry as it is."""
    states, is_operator = visit.caller.role is not Role.AUDITOR, visit.is_role(Role.OPERATOR)
    writes, is_out = states and _reads_all(visit, entry.name), entry.state is EntryState.WITHDRAWN
    revision, in_words = Input("revision", kind="hidden", value=str(entry.update_revision)), _("No case data")
    reason = Input("reason", _("Reason"), options=pairs(model.WithdrawalReason))
    comment, note = Input("comment", _("Comment"), in_words), Input("note", _("Comment"), in_words)
    kinds = pairs(kind for kind in model.ReviewKind if kind is not model.ReviewKind.SET_ASIDE)
    kind, said = Input("kind", _("What you state"), options=kinds), Input("said", _("Comment"), in_words)
    objections = [(str(r.id), f"{r.author}: {word(r.kind)}") for r in reviews if r.kind in OBJECTIONS]
    objection, why = Input("review", _("Objection"), options=objections), Input("why", _("Why"))
    offered: list[tuple[object, str, str, list[Input]]] = [
        (writes and not is_out, "withdraw", _("Withdraw"), [revision, reason, comment]),
        (writes and (is_out or entry.withdrawal), "restore", _("Take the withdrawal back"), [revision, note]),
        (is_operator and entry.state is EntryState.ACTIVE, "quarantine", _("Quarantine"), [revision]),
        (is_operator and entry.state is EntryState.QUARANTINED, "release", _("Release"), [revision]),
        (is_operator and objections, "set_aside", _("Set an objection aside"), [objection, why]),
        (states, "review", _("State something: confirm, object, answer"), [kind, said]),
        (is_operator, "erase", _("Erase, for good"), [revision, Input("confirm", _("Its name, once more"))]),
    ]
    return [(do, label, fields) for may, do, label, fields in offered if may]


def move(visit: HubVisit) -> Response:
    """Withdraw, restore, quarantine, release or erase an entry that is as the page showed it."""
    entry, hub, do = _entry(visit), visit.hub, visit.form["do"]
    if visit.form["revision"] != str(entry.update_revision):
        raise Conflict(_("The entry was changed since this page was opened. Here it is as it stands now."))
    if do == "withdraw":
        done = hub.withdraw_entry(entry.name, _given(visit, "reason", model.WithdrawalReason), visit.form["comment"])
    elif do == "restore":
        done = hub.restore_entry(entry.name, visit.form["note"])
    else:
        calls = {"quarantine": hub.quarantine_entry, "release": hub.release_entry, "erase": hub.erase_entry}
        done = calls[do](confirmed(visit) if do == "erase" else entry.name)
    is_now = ", ".join(map(word, (done.state, *done.reasons)))
    return visit.go(visit.url, _("Done. The entry is now: {}.").format(is_now))


def say(visit: HubVisit) -> Response:
    """State something about an entry, or let an objection weigh no more."""
    name, hub = visit.path["name"], visit.hub
    if visit.form["do"] == "set_aside":
        hub.set_aside_review(name, _given(visit, "review", _Number), visit.form["why"])
    else:
        hub.create_review(name, _given(visit, "kind", model.ReviewKind), visit.form["said"])
    return visit.go(visit.url, _("Added; it stays on record."))


def show_change(visit: HubVisit, done: model.EntryChanges | None = None) -> Response:
    """Which entries are meant, what is to become of them, and what would, or did."""
    may = {Role.OPERATOR: tuple(EntryAction), Role.CONTRIBUTOR: (EntryAction.WITHDRAW, EntryAction.RESTORE)}
    actions = pairs(may.get(visit.caller.role, ()))
    reasons, comment = pairs(model.WithdrawalReason), Input("comment", _("Why; no case data"))
    what = Input("action", _("What to do"), options=actions)
    fields = [*_which(visit), what, Input("reason", _("Reason of a withdrawal"), options=reasons), comment]
    forms, page = [("dry_run", _("Say what would be done"), fields)], dict[str, Any](title=_("Change many entries"))
    if done:
        page["title"] = _("What would be done") if done.validate_only else _("What was done")
        page["facts"] = [
            (_("selected"), done.selected), (word(done.action), done.changed),
            (_("matching until a second person agrees"), done.pending), (_("without an entry"), done.unmatched),
            (_("further entries of the same items"), done.also),
            (_("for example"), tuple(map(entry_link, done.examples[:3]))),
        ]  # fmt: skip
        page["heads"] = [_("stays as it is"), "#" + _("number"), _("for example")]
        page["rows"] = [(word(s.reason), s.count, s.examples[:3]) for s in done.skipped]
        label = f"{word(done.action).capitalize()}: {number(done.changed + done.pending)}"
        if done.validate_only:
            forms.append(("change", label, hidden(visit, fields, told=_order(visit)[1], expected=done.selected)))
        elif done.action is EntryAction.WITHDRAW:
            forms.append(("dry_run", _("Look at taking it back"), hidden(visit, fields, action="RESTORE", state="")))
    return visit.page(
        **page, forms=forms if actions else [], may=True, open="dry_run",
    )  # fmt: skip


def change(visit: HubVisit) -> Response:
    """Say what would become of the entries; do it where this form was told just that, and no more entries are meant."""
    order, digest = _order(visit)
    if visit.form["do"] == "change" and visit.form["told"] == digest:
        return show_change(visit, visit.hub.change_entries(**order, expected_count=_given(visit, "expected", _Number)))
    return show_change(visit, visit.hub.change_entries(**order, validate_only=True))


def _order(visit: HubVisit) -> tuple[dict[str, Any], str]:
    """Return which entries a form means, what is to be done to them, and why; and a digest of that."""
    action = _given(visit, "action", EntryAction)
    reason = _given(visit, "reason", model.WithdrawalReason) if action is EntryAction.WITHDRAW else None
    selection = _selection(visit, visit.form["hashes"])
    order = {"selection": selection, "action": action, "reason": reason, "comment": visit.form["comment"]}
    return order, hashlib.sha256(msgspec.json.encode(order)).hexdigest()


def show_objections(visit: HubVisit) -> Response:
    """What others say against the caller's entries, and what was answered; overseers see that of everybody."""
    of = visit.query.get("hash_set", "") or ("" if visit.is_role(*OVERSEERS) else visit.caller.contributor)
    said = visit.hub.list_events(of, kinds=[model.EventKind.ENTRIES_REVIEWED])
    events, after = said.page(after=visit.query.get("after", ""))
    kinds = {*OBJECTIONS, model.ReviewKind.SET_ASIDE}
    told = [e for e in events if e.reason in kinds or e.actor.contributor == e.subject.split("/")[1]]
    counts = [
        (f"{item.hash_set}: {word(item.reason)}", link(f"/objections?hash_set={item.hash_set}", number(item.count)))
        for item in visit.hub.list_queue() if item.kind is model.QueueKind.OBJECTION
    ]  # fmt: skip
    return visit.page(_("Objections"), facts=counts, **event_table(told), after=after,
    )  # fmt: skip


def _reads_all(visit: HubVisit, name: str) -> bool:
    """Whether no terms keep anything of the contributor in a name from the caller."""
    return visit.is_role(*OVERSEERS) or visit.caller.contributor == name.partition("/")[0]


def _entry(visit: HubVisit) -> Entry:
    """Return the entry; one of others as lists show it. Raises NotFound, PermissionDenied."""
    name = visit.path["name"]
    found = () if _reads_all(visit, name) else visit.hub.search_entries(Selection(names=(name,)))
    return next(iter(found), None) or visit.hub.get_entry(name)


def _given(visit: HubVisit, name: str, kind: Any) -> Any:
    return converted(visit.form[name], kind, called=lambda _path: name, hint=_("load the page again"), strict=False)


def _state(value: str) -> Input:
    return Input("state", _("State"), options=[("", _("any")), *pairs(EntryState)], value=value)


def _which(visit: HubVisit) -> list[Input]:
    """Return the fields that say which entries are meant, as they stand."""
    hash_set = visit.form["hash_set"] or visit.query.get("hash_set", "")
    labels = _("Hashes, as ALGORITHM:DIGEST"), _("Own ids"), _("Entries, as CONTRIBUTOR/SET/ENTRY"), _("Imports")
    lists = zip(_LISTS, labels, strict=True)
    return [
        Input("hash_set", _("Hash set"), _("CONTRIBUTOR/SET"), value=hash_set),
        _state(visit.form["state"]),
        *(Input(name, label, _("one a line"), "lines", value=visit.form[name]) for name, label in lists),
    ]


def _selection(visit: HubVisit, hashes: str) -> Selection:
    """Return which entries a form means. Raises InvalidArgument."""
    texts = {name: visit.form[name] for name in _LISTS} | {"hashes": hashes}
    lines = {name: tuple(filter(None, map(str.strip, text.splitlines()))) for name, text in texts.items()}
    try:
        found = tuple(map(parse_pair, lines["hashes"]))
    except InvalidArgument as e:
        raise InvalidArgument.field("hashes", e.message) from e
    states = tuple(state for state in EntryState if state == visit.form["state"])
    where = {"hash_set": visit.form["hash_set"].strip(), "states": states}
    return Selection(**{**lines, **where, "hashes": found})  # type: ignore[arg-type]


SCREENS = (
    Screen(
        "/search", search, "hashhub entry search", _HANDBOOK, body=_FILE_BYTES + (64 << 10), in_memory=True,
        search=search,
    ),
    Screen("/entries", show_list, "hashhub entry search CONTRIBUTOR/SET", _HANDBOOK),
    Screen(
        "/entries/{name:path}", show, "hashhub entry get {name} --history", _HANDBOOK, is_item=True,
        withdraw=move, restore=move, quarantine=move, release=move, erase=move, review=say, set_aside=say,
    ),
    Screen(
        "/change", show_change, "hashhub entry withdraw --hash-set CONTRIBUTOR/SET --dry-run", _HANDBOOK,
        dry_run=change, change=change,
    ),
    Screen("/objections", show_objections, "hashhub queue", _HANDBOOK),
)  # fmt: skip
