"""The moderator's pages, which the hook serves by itself under /moderation: the queue, cases, report drafts, and which
evidence there is. Persons sign in with their own tokens; `Rulings` and `Cases` decide, as for the other doors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from functools import partial
from typing import Any, Final
from urllib.parse import urlencode

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from hashhub.console.forms import Input, facts
from hashhub.console.pages import _, ago, alarm, folded, link, word
from hashhub.console.sessions import BrowserSession, Sessions
from hashhub.console.sign_in import token_way
from hashhub.console.site import Site
from hashhub.console.visit import Screen, SiteSettings, Visit
from hashhub.desk.cases.clocks import CasePurpose
from hashhub.desk.cases.item import item_of_hashes
from hashhub.desk.cases.life import CaseOutcome, Cases, CaseState
from hashhub.desk.evidence import drawn_samples
from hashhub.desk.people import People
from hashhub.desk.queue.rulings import Rulings
from hashhub.desk.queue.view import DAMAGED, WAITING, ReviewQueue, RulingCode
from hashhub.desk.records import Records, UploadState
from hashhub.desk.reports.assembly import gather, note_drafted
from hashhub.desk.reports.draft import RenderedReport
from hashhub.desk.reports.recipients import Recipient, render
from hashhub.desk.settings import DeskSettings
from hashhub.errors import InvalidArgument
from hashhub.hashes import parse_pair

PATH: Final = "/moderation"
_PAGE: Final = 50
_UNDER_WAY: Final = (CaseState.OPEN, CaseState.DISPUTED, CaseState.CONFIRMED)
_REMOVED: Final = """
    SELECT u.reference, group_concat(recipient || ' ' || filed_as, ', ') AS filed FROM upload u
    LEFT JOIN filed_report USING (reference) WHERE state = 'REMOVED' AND u.reference > ?
    GROUP BY u.reference HAVING (filed IS NULL) = ? ORDER BY u.reference LIMIT ?"""


class ModeratedDesk:
    """What the pages show, and by what persons decide. Safe to be shared by threads."""

    def __init__(self, records: Records, settings: DeskSettings) -> None:
        self.records, self.settings = records, settings
        self.people = People(records)
        self.queue = ReviewQueue(records, settings)
        self.rulings = Rulings(records, settings, queue=self.queue)
        self.cases = Cases(records, settings.case)

    def path_after(self, reference: str) -> str:
        """Return the path of the upload that waits after this one; of the queue where no other does."""
        rows = [row for group in self.queue.page(limit=_PAGE).groups for row in group.uploads]
        names = [row.reference for row in rows if row.no_answer != DAMAGED]
        place = names.index(reference) if reference in names else 0
        following = next((name for name in (*names[place:], *names[:place]) if name != reference), "")
        return f"{PATH}/uploads/{following}" if following else f"{PATH}/"


class DeskVisit(Visit):
    """A person's visit to the desk."""

    def __init__(self, desk: ModeratedDesk, site: SiteSettings, session: BrowserSession, request: Request) -> None:
        """Raise Unauthenticated where the session's token is no person's any more."""
        self.desk = desk
        super().__init__(site, session, request, who=desk.people.who(session.secret).name)

    @property
    def after(self) -> int:
        """How many rows of a list came on the pages before."""
        after = self.query.get("after", "")[:9]
        return int(after) if after.isascii() and after.isdecimal() else 0

    def following(self, count: int) -> str:
        """Return how many rows come before the next page of a list of so many; empty where this one is the last."""
        return str(self.after + _PAGE) if self.after + _PAGE < count else ""


def moderation_site(records: Records, settings: DeskSettings, sessions: Sessions, origins: Sequence[str]) -> Site:
    """Return the site of the pages, for browsers that reach it by these origins."""
    desk = ModeratedDesk(records, settings)
    shared = SiteSettings(
        title="hashhub moderation", sessions=sessions, navigation=_navigation, origins=origins, prefix=PATH,
        ways=[token_way(lambda token: desk.people.who(token).expire_time)],
    )  # fmt: skip
    return Site(shared, SCREENS, visit=partial(DeskVisit, desk))


def _navigation(_visit: DeskVisit) -> list[tuple[str, str]]:
    return [(f"{PATH}/", _("Queue")), (f"{PATH}/cases", _("Cases")), (f"{PATH}/reports", _("Reports"))]


def _words(kind: type[StrEnum]) -> list[tuple[str, str]]:
    """Return a form's choices, of which none is made yet."""
    return [("", "-"), *((one.value, word(one)) for one in kind)]


def _queue(visit: DeskVisit) -> Response:
    states = [state for state in UploadState if state == visit.query.get("state")] or WAITING
    listing = visit.desk.queue.page(states=states, limit=_PAGE, skip=visit.after)
    proposed = visit.desk.records.rows("SELECT reference, actor FROM proposal ORDER BY time LIMIT ?", (_PAGE,))
    proposals = [(_link_to("uploads", name), actor) for name, actor in proposed]
    others = _others("", state={"REMOVED": _("removed"), "RELEASED": _("released")})
    return visit.page(
        _("Queue"),
        live=15,
        facts=[*facts(listing, "waiting group_count not_read damaged"), others],
        tables=[([_("Upload"), _("Release proposed by")], proposals, _("Waits for a second person"))],
        heads=[_("Upload"), _("State"), _("Verdict"), _("Now"), "#" + _("Uploads"), _("Oldest"), _("Lists")],
        rows=[
            (_link_to("uploads", first.reference), first.state, word(g.no_answer or g.verdict),
             first.verdict_now and word(first.verdict_now), g.count, ago(g.oldest), g.lists[:5])
            for g in listing.groups
            for first in g.uploads[:1]
        ],
        empty=_("Nothing waits here."),
        after=visit.following(listing.group_count),
    )  # fmt: skip


def _link_to(kind: str, name: str) -> Markup:
    return link(f"{PATH}/{kind}/{name}", name)


def _others(path: str, **choices: Mapping[str, str]) -> tuple[str, tuple[Markup, ...]]:
    """Return the fact that leads to the other pages of a list, by a value of its query."""
    links = (link(f"{PATH}/{path}?{key}={value}", text) for key, of in choices.items() for value, text in of.items())
    return _("Others"), tuple(links)


def _upload(visit: DeskVisit) -> Response:
    upload = visit.desk.queue.get(visit.path["reference"], actor=visit.who)
    basis = upload.etag.partition("-")[2]  # what stands before it counts events that change nothing, such as a look
    drawn = visit.query.get("drawn", basis)  # what the page was drawn from that asks for its news
    first, answer, path = upload.proposal, upload.later_answer, f"{PATH}/uploads/{upload.reference}"
    again = alarm(_("Somebody decided meanwhile, or more is known.")), link(path, _("Read it again"))
    report = link(f"{PATH}/reports/{upload.reference}", _("Draft a report, or note that one was filed"))
    unseen = [*(line.text for line in upload.coverage.gaps), *upload.coverage.unsearched]
    said = first and f"{first.actor}: {word(first.code)}. {first.comment}"
    buttons = {
        "confirm": _("Confirm: remove it") if upload.state is not UploadState.REMOVED else "",
        "release": _("Release") if upload.state is not UploadState.RELEASED else "",
        "withdraw": _("End this proposal") if first else "",
    }
    fields = [
        Input("etag", kind="hidden", value=upload.etag),
        Input("code", _("Why it is let go"), options=_words(RulingCode), value=first.code if first else ""),
        Input("comment", _("Comment; of what is handed on, to whom and why")),
        *(Input(do, label, kind="button") for do, label in buttons.items() if label),
    ]
    return visit.page(
        upload.reference,
        live=10,
        live_at=f"?{urlencode({'drawn': drawn})}",
        facts=[
            *([(_("Changed"), again)] if drawn != basis else []),
            (_("Verdict"), word(upload.no_answer or upload.verdict)),
            *facts(upload, "state time upload_id door media_type size_bytes policy"),
            (_("Verdict, asked again"), answer and answer.verdict),
            (_("Not found any more"), answer and answer.gone[:20]), (_("New"), answer and answer.added[:20]),
            (_("Hits"), len(upload.hits)), (_("Report"), report), (_("Release proposed by"), said),
        ],
        tables=[
            ([_("Why"), _("Who says so"), _("In words")], [
                (line.code, ", ".join(line.entries[:5]) or line.clause, folded(_("Category"), [line.text]))
                for line in upload.reasons[:50]
            ]),
            ("entry algorithm exact #distance variant", upload.hits[:50], "", _("It hit no entry.")),
            ([_("Case"), _("Copies are"), _("How")],
             [(_link_to("cases", one.case), one.action, one.how) for one in upload.cases]),
            ([_("What was not looked at")], [(line,) for line in unseen], "", _("Of what was not looked at, nothing.")),
            ("recipient filed_as actor time", upload.reports),
            ("ruling code actors comment time", upload.rulings[-50:]),
        ],
        forms=[("escalate", _("Hand it on"), fields)],
        open="escalate",
    )  # fmt: skip


def _cases(visit: DeskVisit) -> Response:
    states = [state for state in CaseState if state == visit.query.get("state")] or _UNDER_WAY
    cases = sorted(visit.desk.cases.listed(states), key=lambda case: case.urgency)
    numbers = "#" + _("Stopped"), "#" + _("There")
    fields = [
        Input("hashes", _("Hashes of the item, as ALGORITHM:DIGEST"), _("one a line"), "lines"),
        Input("purpose", _("What the complaint says that it is"), options=_words(CasePurpose)),
        Input("complaint", _("Your own reference of the complaint")),
        Input("reason", _("Reason")),
        Input("received", _("When it was received"), _("A time with its zone, such as 2027-01-31T08:00Z")),
        Input("places", _("Where copies were seen"), _("one a line"), "lines"),
    ]
    return visit.page(
        _("Cases"),
        live=60,
        facts=[_others("cases", state={"EXPIRED": _("expired"), "CLOSED": _("closed")})],
        heads=[_("Case"), _("State"), _("Copies are"), _("Due"), _("Standing"), *numbers],
        rows=[
            (_link_to("cases", case.name), case.state, case.action, clock and clock.due, clock and clock.standing,
             case.stopped, case.copies_there)
            for case in cases[visit.after : visit.after + _PAGE]
            for clock in (case.first_due,)
        ],
        empty=_("No case is here."),
        after=visit.following(len(cases)),
        forms=[("open", _("Open a case"), fields)],
    )  # fmt: skip


def _open(visit: DeskVisit) -> Response:
    given = _given(visit, purpose=CasePurpose, complaint=str, reason=str, received=datetime.fromisoformat)
    places, hashes = (visit.form[name].splitlines() for name in ("places", "hashes"))
    item = item_of_hashes([parse_pair(line.strip()) for line in hashes if line.strip()])
    case = visit.desk.cases.open(item, places=places, actor=visit.who, receive_time=given.pop("received"), **given)
    return visit.go(f"{PATH}/cases/{case.name}", _("Opened; its copies are stopped."))


def _case(visit: DeskVisit) -> Response:
    record = visit.desk.cases.record(visit.path["name"])
    case, forms, reason = record.case, [], Input("reason", _("Reason"))
    if case.copies_there:
        there = [(one.place, f"{one.place} ({one.how})") for one in record.copies if one.state == "THERE"]
        copies = Input("places", kind="checks", options=[*there[:50], ("", _("All copies that are there"))])
        stays = Input("stays", _("They are not gone: they are no copies, or may stay"), kind="check")
        forms.append(("taken_down", _("Record"), [copies, stays, reason]))
    if case.state is not CaseState.CLOSED:
        fields = [
            reason,
            Input("by", _("Your reference of who objects")),
            Input("outcome", _("How it ended"), options=_words(CaseOutcome)),
            Input("incomplete", _("Close it although the record lacks something"), kind="check"),
            Input("confirm", _("The complaint holds"), kind="button"),
            Input("dispute", _("Somebody objects"), kind="button"),
        ]
        forms.append(("close", _("Close"), fields))
    lacking = [_("What the record lacks, and what was not looked for")]
    return visit.page(
        case.name,
        facts=[
            *facts(case, "state action complaint receive_time opened_by reason stopped copies_there"),
            (_("About"), folded(_("Category"), [word(case.purpose)])),
            (_("Report"), link(f"{PATH}/reports/{case.name}", _("Draft a report"))),
        ],
        tables=[
            ("title due standing", case.clocks),
            (lacking, [(line,) for line in record.missing + case.not_searched], "", _("The record is complete.")),
        ],
        folded=[(_("What was done"), [("time kind actor reason", record.history[-50:])])],
        forms=forms,
        open="taken_down close",
    )  # fmt: skip


def _reports(visit: DeskVisit) -> Response:
    records, is_open = visit.desk.records, visit.query.get("filed") != "1"
    found = records.rows(_REMOVED, (visit.query.get("after", ""), is_open, _PAGE))
    [(kept,)] = records.rows("SELECT count(*) FROM vault_item WHERE erase_time IS NULL")
    return visit.page(
        _("Reports"),
        facts=[
            (_("Filing"), _("Nothing is filed from here: a person checks a draft, files it, and notes the number.")),
            (_("Uploads that the vault keeps, taken out by the command line only"), kept),
            _others("reports", filed={"0": _("not reported"), "1": _("reported")}),
        ],
        folded=[
            (
                _("Evidence"),
                [("name #size #decided #confirmed time", drawn_samples(records), "", _("No sample was drawn."))],
            )
        ],
        heads=[_("Removed upload"), _("Filed as")],
        rows=[(_link_to("reports", name), filed) for name, filed in found],
        empty=_("None is here."),
        after=found[-1][0] if len(found) == _PAGE else "",
    )


def _report(visit: DeskVisit, rendered: RenderedReport | None = None) -> Response:
    reference, shown = visit.path["reference"], list[tuple[str, Any]]()
    stated = Input("facts", _("What a person states (TOML)"), kind="code")
    forms = [("draft", _("Draft"), [stated, Input("to", _("Who it is for"), options=_words(Recipient))])]
    if not reference.startswith("case-"):
        filed = [Input("recipient", _("To whom")), Input("filed_as", _("Their number"))]
        forms.append(("reported", _("Note that it was filed"), filed))
    if rendered:
        shown = [(name, content.decode()) for name, content in sorted(rendered.files.items())]
        shown.append((_("Left out"), [("path why", rendered.dropped)]))
    return visit.page(
        f"{_('Report about')} {reference}",
        facts=[(_("Missing"), line) for line in (rendered.missing if rendered else ())],
        folded=shown,
        forms=forms,
        open="draft reported",
    )


def _draft(visit: DeskVisit) -> Response:
    desk, reference, recipient = visit.desk, visit.path["reference"], _given(visit, to=Recipient)["to"]
    case = reference if reference.startswith("case-") else ""
    draft = gather(desk.records, [reference], reporter=desk.settings.reporter, facts=visit.form["facts"], case=case)
    rendered = render(draft, recipient)
    note_drafted(desk.records, draft, rendered, recipient, actor=visit.who)
    return _report(visit, rendered)


def _given(visit: DeskVisit, **fields: Callable[[str], Any]) -> dict[str, Any]:
    """Return the fields of a form, which are arguments of the same names. Raises InvalidArgument for no choice."""
    given = {}
    for name, read in fields.items():
        try:
            given[name] = read(visit.form[name])
        except ValueError as e:
            raise InvalidArgument.field(name, _("choose one"), "REQUIRED") from e
    return given


def _does(
    step: Callable[[ModeratedDesk], Callable[..., object]], *, goes_on: bool = False, **fields: Callable[[str], Any]
) -> Callable[[DeskVisit], Response]:
    """Return what takes a step with an upload or a case. `goes_on`: to what waits next."""

    def act(visit: DeskVisit) -> Response:
        desk, [subject] = visit.desk, visit.path.values()
        path = desk.path_after(subject) if goes_on else visit.url
        step(desk)(subject, actor=visit.who, **_given(visit, **fields))
        is_proposed = desk.queue.proposal(subject) is not None
        done = _("Proposed; another person must say the same:") if is_proposed else _("Recorded:")
        return visit.go(path, f"{done} {subject}")

    return act


def _taken_down(visit: DeskVisit) -> Response:
    if not (places := visit.forms("places")):
        raise InvalidArgument.field("places", _("choose the copies, or all of them"), "REQUIRED")
    # All of them is an empty place, and none at all is a form that says nothing.
    places = [] if "" in places else places
    return _does(lambda desk: partial(desk.cases.taken_down, places=places), reason=str, stays=bool)(visit)


def _etag(text: str) -> str:
    return text or "missing"  # which is no leave to decide over what nobody has read


_QUEUE: Final = ("hashhub hook queue list", "hook/queue.md")
SCREENS: Final = (
    Screen(PATH, _queue, *_QUEUE),
    Screen(f"{PATH}/", _queue, *_QUEUE),
    Screen(f"{PATH}/uploads/{{reference}}", _upload, "hashhub hook queue get {reference}", "hook/queue.md",
           is_item=True,
           confirm=_does(lambda desk: desk.rulings.confirm, goes_on=True, comment=str, etag=_etag),
           release=_does(lambda desk: desk.rulings.release, goes_on=True, code=RulingCode, comment=str, etag=_etag),
           escalate=_does(lambda desk: desk.rulings.escalate, goes_on=True, comment=str),
           withdraw=_does(lambda desk: desk.rulings.withdraw, comment=str)),
    Screen(f"{PATH}/cases", _cases, "hashhub hook case list", "hook/cases.md", open=_open),
    Screen(f"{PATH}/cases/{{name}}", _case, "hashhub hook case get {name}", "hook/cases.md", taken_down=_taken_down,
           confirm=_does(lambda desk: desk.cases.confirm, reason=str),
           dispute=_does(lambda desk: desk.cases.dispute, reason=str, by=str),
           close=_does(lambda desk: desk.cases.close, outcome=CaseOutcome, reason=str, incomplete=bool)),
    Screen(f"{PATH}/reports", _reports, "hashhub hook evidence write --out DIRECTORY", "hook/reports.md"),
    Screen(f"{PATH}/reports/{{reference}}", _report,
           "hashhub hook report draft {reference} --to ncmec --facts FILE --out DIRECTORY", "hook/reports.md",
           draft=_draft,
           reported=_does(lambda desk: desk.rulings.reported, recipient=str, filed_as=str)),
)  # fmt: skip
