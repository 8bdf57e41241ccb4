"""Entries: searched, read and corrected, one or many; what others say of them, and what others see of a hash set."""

from __future__ import annotations

import hashlib
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec

from hashhub.console.pages import _, word
from hashhub.console.visit import screen
from hashhub.conversion import converted
from hashhub.errors import Conflict, InvalidArgument, PermissionDenied
from hashhub.hashes import parse_pair
from hashhub.model import (
    OBJECTIONS,
    Entry,
    EntryAction,
    EntryMatch,
    EntryState,
    Event,
    EventKind,
    MatchOptions,
    Principal,
    QueueKind,
    Review,
    ReviewKind,
    Role,
    Selection,
    WithdrawalReason,
    now,
)
from hashhub.model.terms import OVERSEERS, DisclosureChannel, withheld
from hashhub.schemes.dimensions import words as values_in_words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from enum import StrEnum

    from starlette.responses import Response

    from hashhub.console.hub_visit import HubVisit

_FILE_BYTES: Final = 30 << 20
_Number = Annotated[int, msgspec.Meta(ge=0, lt=1 << 31)]
_ASKED: Final = 20  # rows of a page, of each of which the hub is asked


def pairs(values: Iterable[StrEnum]) -> list[tuple[str, str]]:
    """Return values of the model with their words, as a choice takes them."""
    return [(value.value, word(value)) for value in values]


def show_search(visit: HubVisit) -> Response:
    """The form to search by."""
    return _listed(visit, None, hashes=visit.form["hashes"])


def search(visit: HubVisit) -> Response:
    """Search by what was typed, or by the hashes of a file, which the hub computes in memory. No URL has any of it."""
    hashes, near = visit.form["hashes"], tuple[EntryMatch, ...]()
    if (file := visit.upload("file")) is not None:
        policy = next(visit.hub.list_policies()).id  # one has to be named; what it decides is not shown
        [answer] = visit.hub.match_media([("", file.file.read())], MatchOptions(policy=policy))
        hashes, near = "\n".join(h.text for h in answer.media.hashes), answer.media.result.matches
    found = visit.hub.search_entries(_selection(visit, hashes)).page(after=visit.form["after"])
    return _listed(visit, found, hashes=hashes, near=near)


def show_list(visit: HubVisit) -> Response:
    """The entries of a hash set, in a state, or for a reason."""
    name, state, reason = (visit.query.get(key, "") for key in ("hash_set", "state", "reason"))
    states = tuple(one for one in EntryState if one == state)
    if name and not reason and _reads_all(visit, name):
        entries = visit.hub.list_entries(name, states)
    else:
        reasons = (reason,) if reason else ()
        entries = visit.hub.search_entries(Selection(hash_set=name, states=states, reasons=reasons))
    return _listed(visit, entries.page(after=visit.query.get("after", "")), name=name)


def _listed(
    visit: HubVisit, found: Any, *, name: str = "", hashes: str = "", near: Sequence[EntryMatch] = ()
) -> Response:
    rows, after = found or (None, "")
    return visit.page(
        "entries.html", name=name, hashes=hashes, near=near, rows=rows, after=after, states=pairs(EntryState)
    )


def show(visit: HubVisit) -> Response:
    """An entry: what it states, where it comes from, what others say of it, what became of it."""
    entry = _entry(visit)
    reviews, more_reviews = visit.hub.list_reviews(entry.name).page(after=visit.query.get("reviews", ""))
    events, after = visit.hub.list_events(entry.name).page(_ASKED, visit.query.get("after", ""))
    dimensions = entry.classification.dimensions if entry.classification is not None else {}
    flags = {name: getattr(entry.flags, name) for name in entry.flags.__struct_fields__}
    return visit.page(
        "entry.html",
        entry=entry,
        stated=[(word(name), values_in_words(name, values)) for name, values in dimensions.items()]
        + [(word(name), _("yes") if value else _("no")) for name, value in flags.items() if value is not None],
        reviews=reviews,
        more_reviews=more_reviews,
        events=events,
        after=after,
        reasons=pairs(WithdrawalReason),
        kinds=pairs(kind for kind in ReviewKind if kind is not ReviewKind.SET_ASIDE),
        objections=OBJECTIONS,
        may_write=not visit.is_role(Role.AUDITOR) and _reads_all(visit, entry.name),
    )


def withdraw(visit: HubVisit) -> Response:
    """Withdraw an entry, or ask for it."""
    entry, reason = _unchanged(visit), _given(visit, "reason", WithdrawalReason)
    done = visit.hub.withdraw_entry(entry.name, reason, visit.form["comment"])
    if done.withdrawal is not None and done.withdrawal.pending:
        return visit.go(visit.url, _("It still matches, until a second person withdraws it, too."))
    return visit.go(visit.url, _("Withdrawn. It can be taken back below."))


def move(visit: HubVisit) -> Response:
    """Take a withdrawal, or a request for one, back; quarantine an entry, or release it."""
    hub, comment = visit.hub, visit.form["note"]
    calls: dict[str, tuple[Callable[[str], object], str]] = {
        "restore": (partial(hub.restore_entry, comment=comment), _("Restored.")),
        "quarantine": (hub.quarantine_entry, _("In quarantine. It can be released below.")),
        "release": (hub.release_entry, _("Released: it matches.")),
    }
    call, notice = calls[visit.form["do"]]
    call(_unchanged(visit).name)
    return visit.go(visit.url, notice)


def erase(visit: HubVisit) -> Response:
    """Erase what an entry says of its item, for good."""
    name = _unchanged(visit).name
    if visit.form["confirm"].strip() != name:
        raise InvalidArgument.field("confirm", _("must be the entry's name, {}").format(name))
    visit.hub.erase_entry(name)
    return visit.go(visit.url, _("Erased."))


def review(visit: HubVisit) -> Response:
    """State something about an entry."""
    visit.hub.create_review(visit.path["name"], _given(visit, "kind", ReviewKind), visit.form["said"])
    return visit.go(visit.url, _("Added."))


def set_aside(visit: HubVisit) -> Response:
    """Let an objection weigh no more."""
    visit.hub.set_aside_review(visit.path["name"], _given(visit, "review", _Number), visit.form["why"])
    return visit.go(visit.url, _("Set aside; it stays on record."))


def show_change(visit: HubVisit, done: object = None) -> Response:
    """Which entries are meant, what is to become of them, and what would, or did."""
    of_contributors = (EntryAction.WITHDRAW, EntryAction.RESTORE) if visit.is_role(Role.CONTRIBUTOR) else ()
    actions = tuple(EntryAction) if visit.is_role(Role.OPERATOR) else of_contributors
    tried = _stamp(visit) if done else ""
    choices = {"actions": pairs(actions), "reasons": pairs(WithdrawalReason), "states": pairs(EntryState)}
    return visit.page("change.html", done=done, tried=tried, choices=choices)


def dry_run(visit: HubVisit) -> Response:
    """Say what would become of the entries."""
    return show_change(visit, visit.hub.change_entries(*_order(visit)[:2], **_order(visit)[2], validate_only=True))


def change(visit: HubVisit) -> Response:
    """Do what the dry run told, unless more entries are meant by now; tell first where it told something else."""
    if visit.form["tried"] != _stamp(visit):
        return dry_run(visit)
    selection, action, why = _order(visit)
    expected = _given(visit, "expected", _Number)
    return show_change(visit, visit.hub.change_entries(selection, action, **why, expected_count=expected))


def show_objections(visit: HubVisit) -> Response:
    """What others say against the caller's entries, and what was answered; overseers see that of everybody."""
    of = visit.query.get("hash_set", "") or ("" if visit.is_role(*OVERSEERS) else visit.caller.contributor)
    reviewed = visit.hub.list_events(of, kinds=[EventKind.ENTRIES_REVIEWED])
    events, after = reviewed.page(_ASKED, visit.query.get("after", ""))
    rows = [
        (event, name, _answer(event, name, visit.hub.list_reviews(name).page(200).items))
        for event in events
        if event.reason in OBJECTIONS
        and (name := event.subject.removeprefix("entries/")).partition("/")[0] != event.actor.contributor
    ]
    names = tuple({name for _event, name, _answered in rows})
    entries = {e.name: e for e in visit.hub.search_entries(Selection(names=names))} if names else {}
    counts = [item for item in visit.hub.list_queue() if item.kind is QueueKind.OBJECTION]
    return visit.page("objections.html", of=of, counts=counts, rows=rows, entries=entries, after=after)


def _answer(event: Event, name: str, reviews: tuple[Review, ...]) -> Review | None:
    """Return what answered an objection: that it was set aside, or what the entry's contributor stated afterwards."""
    own, contributor = {review.id for review in reviews if review.revision == event.revision}, name.partition("/")[0]
    later = [review for review in reviews if review.revision > event.revision]
    return next((one for one in later if one.sets_aside in own or one.author == contributor), None)


def show_seen(visit: HubVisit) -> Response:
    """What others have of a hash set by each way out: each token, for overseers; for its contributor what others can
    have at most, as far as terms and groups tell.
    """
    name, after = f"{visit.path['contributor']}/{visit.path['hash_set']}", visit.query.get("after", "")
    if not _reads_all(visit, name):
        raise PermissionDenied(_("what others see of a hash set is told to its contributor"))
    hub, hash_set = visit.hub, visit.hub.get_hash_set(name)
    named = (recipient.partition("/") for recipient in hash_set.marking.recipients)
    groups = {name: hub.get_group(name) for collection, _slash, name in named if collection == "groups"}
    rows: Any
    if visit.is_role(*OVERSEERS):
        tokens, after = hub.list_tokens().page(_ASKED, after)
        rows = [(token.name, token.contributor, hub.access(token.name)[name]) for token in tokens]
    else:
        members, after = hub.list_contributors().page(after=after)
        any_token = Principal(
            name="", role=Role.CONTRIBUTOR, purposes=hash_set.marking.permitted_purposes, may_mirror=True
        )
        rows = [
            ("", token.contributor, {way: withheld(token, hash_set, groups, way, now()) for way in DisclosureChannel})
            for token in (msgspec.structs.replace(any_token, contributor=member.id) for member in members)
        ]
    shown = {"rows": rows, "after": after, "ways": list(DisclosureChannel)}
    return visit.page("seen.html", hash_set=hash_set, groups=groups, **shown)


def _reads_all(visit: HubVisit, name: str) -> bool:
    """Whether no terms keep anything of the contributor in a name from the caller."""
    return visit.is_role(*OVERSEERS) or visit.caller.contributor == name.partition("/")[0]


def _entry(visit: HubVisit) -> Entry:
    """Return the entry; one of others as lists show it. Raises NotFound, PermissionDenied."""
    name = visit.path["name"]
    if _reads_all(visit, name):
        return visit.hub.get_entry(name)
    return next(visit.hub.search_entries(Selection(names=(name,))), None) or visit.hub.get_entry(name)


def _unchanged(visit: HubVisit) -> Entry:
    """Return the entry. Raises Conflict where it is another than the page was drawn from."""
    entry = _entry(visit)
    if visit.form["revision"] != str(entry.update_revision):
        raise Conflict(_("The entry was changed since this page was opened. Here it is as it stands now."))
    return entry


def _given(visit: HubVisit, name: str, kind: Any) -> Any:
    return converted(visit.form[name], kind, called=lambda _path: name, hint=_("load the page again"), strict=False)


def _selection(visit: HubVisit, hashes: str) -> Selection:
    """Return which entries a form means; of most fields each line is a value. Raises InvalidArgument."""
    lists = ("hashes", "names", "external_ids", "imports", "reasons", "tags")
    lines = {name: tuple(x.strip() for x in visit.form[name].splitlines() if x.strip()) for name in lists}
    try:
        found = tuple(parse_pair(line.strip()) for line in hashes.splitlines() if line.strip())
    except InvalidArgument as e:
        raise InvalidArgument.field("hashes", e.message) from e
    states = tuple(state for state in EntryState if state in visit.forms("state"))
    where = {name: visit.form[name].strip() for name in ("hash_set", "text")}
    return Selection(**where, **{**lines, "hashes": found}, states=states)  # type: ignore[arg-type]


def _order(visit: HubVisit) -> tuple[Selection, EntryAction, dict[str, Any]]:
    """Return which entries a form means, what is to be done to them, and why."""
    action = _given(visit, "action", EntryAction)
    reason = _given(visit, "reason", WithdrawalReason) if action is EntryAction.WITHDRAW else None
    return _selection(visit, visit.form["hashes"]), action, {"reason": reason, "comment": visit.form["comment"]}


def _stamp(visit: HubVisit) -> str:
    return hashlib.sha256(msgspec.json.encode(_order(visit))).hexdigest()


SCREENS = (
    screen("/search", show_search, body=_FILE_BYTES + (64 << 10), in_memory=True, search=search),
    screen("/entries", show_list),
    screen(
        "/entries/{name:path}", show, is_item=True, withdraw=withdraw, restore=move, quarantine=move,
        release=move, erase=erase, review=review, set_aside=set_aside,
    ),
    screen("/change", show_change, dry_run=dry_run, change=change),
    screen("/objections", show_objections),
    screen("/lists/{contributor}/{hash_set}/seen", show_seen),
)  # fmt: skip
