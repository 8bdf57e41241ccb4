"""The moderator's pages, which the hook serves by itself under /moderation: the queue, cases, report drafts, and which
evidence there is. Persons sign in with their own tokens; `Rulings` and `Cases` decide, as for the other doors.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from starlette.background import BackgroundTask

from hashhub.console.pages import _, word
from hashhub.console.sign_in import token_way
from hashhub.console.site import Site
from hashhub.console.visit import SiteSettings, Visit, screen
from hashhub.desk.cases.life import CaseOutcome, Cases, CaseState, CopyState
from hashhub.desk.evidence import drawn_samples
from hashhub.desk.people import People
from hashhub.desk.queue.reviews import ReviewSender
from hashhub.desk.queue.rulings import Rulings
from hashhub.desk.queue.view import DAMAGED, WAITING, QueuePage, ReviewQueue, RulingCode
from hashhub.desk.records import UploadState
from hashhub.desk.reports.assembly import gather, note_drafted
from hashhub.desk.reports.recipients import Recipient, render
from hashhub.errors import InvalidArgument

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from hashhub.console.sessions import Session, Sessions
    from hashhub.desk.records import Records
    from hashhub.desk.reports.draft import RenderedReport
    from hashhub.desk.settings import DeskSettings

PATH: Final = "/moderation"
_PAGE: Final = 50
_LISTINGS: Final = 8  # pages of the queue that are remembered
_LISTING_SECONDS: Final = 2.0
_UNDER_WAY: Final = (CaseState.OPEN, CaseState.DISPUTED, CaseState.CONFIRMED)
_REMOVED: Final = """
    SELECT reference, (SELECT count(*) FROM event WHERE subject = reference AND kind = 'REPORT_DRAFTED'),
        (SELECT group_concat(recipient || ' ' || filed_as, ', ') FROM filed_report f WHERE f.reference = u.reference)
    FROM upload u WHERE state = 'REMOVED' AND reference > :after AND :filed =
        EXISTS (SELECT 1 FROM filed_report f WHERE f.reference = u.reference) ORDER BY reference LIMIT :most"""


class ModeratedDesk:
    """What the pages show, and by what persons decide. Safe to be shared by threads."""

    def __init__(self, records: Records, settings: DeskSettings) -> None:
        self.records = records
        self.settings = settings
        self.people = People(records)
        self.queue = ReviewQueue(records, settings)
        self.rulings = Rulings(records, settings, queue=self.queue)
        self.reviews = ReviewSender(records, settings)
        self.cases = Cases(records, settings.case)
        self.decision_count = 0
        self._pages: dict[tuple[tuple[UploadState, ...], int], tuple[QueuePage, float, int]] = {}

    def listing(
        self, states: tuple[UploadState, ...] = WAITING, skip: int = 0, *, since_decision: bool = True
    ) -> QueuePage:
        """Return a page of the queue as it was a moment ago. `since_decision`: after the last that was made here."""
        page, until, count = self._pages.get((states, skip), (None, 0.0, 0))
        if page is None or time.monotonic() > until or (since_decision and count != self.decision_count):
            began, count = time.monotonic(), self.decision_count
            page = self.queue.page(states=states, limit=_PAGE, skip=skip)
            if len(self._pages) >= _LISTINGS:
                self._pages = {}
            # To read 10,000 takes 0.3 s of CPU time, and each open page asks again and again.
            until = time.monotonic() + max(_LISTING_SECONDS, 5 * (time.monotonic() - began))
            self._pages[states, skip] = page, until, count
        return page

    def next_after(self, reference: str) -> str:
        """Return the upload that waits after this one in the queue; empty where no other does."""
        rows = [row for group in self.listing(since_decision=False).groups for row in group.uploads]
        names = [row.reference for row in rows if row.no_answer != DAMAGED]
        place = names.index(reference) + 1 if reference in names else 0
        sql = "SELECT state FROM upload WHERE reference = ?"  # somebody may have decided since
        for name in (*names[place:], *names[:place]):
            if name != reference and any(state in WAITING for (state,) in self.records.rows(sql, (name,))):
                return name
        return ""


class DeskVisit(Visit):
    """A person's visit to the desk."""

    def __init__(self, desk: ModeratedDesk, site: SiteSettings, session: Session, request: Request) -> None:
        """Raise Unauthenticated where the session's token is no person's any more."""
        self.desk = desk
        super().__init__(site, session, request, who=desk.people.who(session.secret).name)


def moderation_site(records: Records, settings: DeskSettings, sessions: Sessions, origins: Sequence[str]) -> Site:
    """Return the site of the pages, for browsers that reach it by these origins."""
    desk = ModeratedDesk(records, settings)
    way = token_way(lambda token: desk.people.who(token).expire_time)
    shared = SiteSettings(
        title="hashhub moderation", sessions=sessions, navigation=_navigation, origins=origins, ways=[way],
        prefix=PATH,
    )  # fmt: skip
    return Site(shared, SCREENS, visit=lambda *visit: DeskVisit(desk, *visit))


def _navigation(_visit: DeskVisit) -> list[tuple[str, str]]:
    return [(f"{PATH}/", _("Queue")), (f"{PATH}/cases", _("Cases")), (f"{PATH}/reports", _("Reports"))]


def _words(kind: type[StrEnum]) -> list[tuple[str, str]]:
    """Return a form's choices, of which none is made yet."""
    return [("", "-"), *((one.value, word(one)) for one in kind)]


def _skip(visit: DeskVisit) -> int:
    after = visit.query.get("after", "")
    return int(after) if after.isascii() and after.isdecimal() and len(after) < 6 else 0  # noqa: PLR2004 - MAX_READ


def _more(path: str, state: str, skip: int, count: int) -> str:
    """Return the address of the next page of a list; empty where this one is the last."""
    return f"{PATH}{path}?after={skip + _PAGE}&state={state}" if skip + _PAGE < count else ""


def _queue(visit: DeskVisit) -> Response:
    state, skip = visit.query.get("state", ""), _skip(visit)
    listing = visit.desk.listing((UploadState(state),) if state in UploadState.__members__ else WAITING, skip)
    proposals = visit.desk.records.rows("SELECT reference, actor, time FROM proposal ORDER BY time LIMIT ?", (_PAGE,))
    more = _more("/", state, skip, listing.group_count)
    return visit.page("desk_queue.html", listing=listing, state=state, proposals=proposals, more=more)


def _upload(visit: DeskVisit) -> Response:
    upload = visit.desk.queue.get(visit.path["reference"], actor=visit.who)
    basis = upload.etag.partition("-")[2]  # what stands before it counts events that change nothing, such as a look
    drawn = visit.query.get("drawn", basis)  # what the page was drawn from that asks for its news
    return visit.page("desk_upload.html", upload=upload, drawn=drawn, basis=basis, codes=_words(RulingCode))


def _cases(visit: DeskVisit) -> Response:
    state, skip = visit.query.get("state", ""), _skip(visit)
    states = (CaseState(state),) if state in CaseState.__members__ else _UNDER_WAY
    cases = sorted(visit.desk.cases.listed(states), key=lambda case: case.urgency)
    shown, more = cases[skip : skip + _PAGE], _more("/cases", state, skip, len(cases))
    return visit.page("desk_cases.html", cases=shown, state=state, more=more)


def _case(visit: DeskVisit) -> Response:
    record = visit.desk.cases.record(visit.path["name"])
    there = [copy for copy in record.copies if copy.state is CopyState.THERE]
    outcomes = _words(CaseOutcome)
    return visit.page("desk_case.html", record=record, case=record.case, copies=there[:_PAGE], outcomes=outcomes)


def _reports(visit: DeskVisit) -> Response:
    records, filed = visit.desk.records, visit.query.get("filed", "0")
    rows = records.rows(_REMOVED, {"after": visit.query.get("after", ""), "filed": filed == "1", "most": _PAGE})
    [(kept,)] = records.rows("SELECT count(*) FROM vault_item WHERE erase_time IS NULL")
    return visit.page(
        "desk_reports.html",
        uploads=rows,
        more=f"{PATH}/reports?filed={filed == '1':d}&after={rows[-1][0]}" if len(rows) == _PAGE else "",
        samples=drawn_samples(records),
        written=records.events(subject="evidence")[-_PAGE:],
        kept=kept,
    )


def _report(visit: DeskVisit, rendered: RenderedReport | None = None) -> Response:
    return visit.page("desk_report.html", recipients=_words(Recipient), rendered=rendered)


def _draft(visit: DeskVisit) -> Response:
    reference, recipient = visit.path["reference"], _given(visit, {"to": Recipient})["to"]
    records, reporter = visit.desk.records, visit.desk.settings.reporter
    case = reference if reference.startswith("case-") else ""
    draft = gather(records, [reference], reporter=reporter, facts=visit.form["facts"], case=case)
    rendered = render(draft, recipient)
    note_drafted(records, draft, rendered, recipient, actor=visit.who)
    return _report(visit, rendered)


def _given(visit: DeskVisit, fields: dict[str, type[Any]]) -> dict[str, Any]:
    """Return the fields of a form, which are arguments of the same names. Raises InvalidArgument for no choice."""
    given = {}
    for name, kind in fields.items():
        try:
            given[name] = kind(visit.form[name])
        except ValueError as e:
            raise InvalidArgument.field(name, _("choose one"), "REQUIRED") from e
    return given


def _ruling(
    rule: Callable[..., object], *, goes_on: bool = True, **fields: type[Any]
) -> Callable[[DeskVisit], Response]:
    """Return what rules over an upload, goes on to the next, and tells the hub meanwhile."""

    def act(visit: DeskVisit) -> Response:
        desk, reference = visit.desk, visit.path["reference"]
        following = desk.next_after(reference) if goes_on else reference
        given = _given(visit, fields)
        if "etag" in given:
            given["etag"] = given["etag"] or "missing"  # is no leave to decide over what nobody has read
        state = rule(desk.rulings, reference, actor=visit.who, **given)
        desk.decision_count += 1
        is_proposed = rule is Rulings.release and state is not UploadState.RELEASED
        done = _("Proposed; another person must say the same:") if is_proposed else _("Recorded:")
        response = visit.go(f"{PATH}/uploads/{following}" if following else f"{PATH}/", f"{done} {reference}")
        response.background = BackgroundTask(desk.reviews.send)
        return response

    return act


def _step(step: Callable[..., object], **fields: type[Any]) -> Callable[[DeskVisit], Response]:
    """Return what takes a step with a case."""

    def act(visit: DeskVisit) -> Response:
        step(visit.desk.cases, visit.path["name"], actor=visit.who, **_given(visit, fields))
        return visit.go(visit.url, _("Recorded."))

    return act


def _taken_down(visit: DeskVisit) -> Response:
    if not (places := visit.forms("places")):
        raise InvalidArgument.field("places", _("choose the copies, or all of them"), "REQUIRED")
    # All of them is an empty place, and none at all is a form that says nothing.
    step = partial(Cases.taken_down, places=[] if "" in places else places)
    return _step(step, reason=str, stays=bool)(visit)


SCREENS: Final = (
    screen(PATH, _queue),
    screen(f"{PATH}/", _queue),
    screen(f"{PATH}/uploads/{{reference}}", _upload, is_item=True,
           confirm=_ruling(Rulings.confirm, comment=str, etag=str),
           release=_ruling(Rulings.release, code=RulingCode, comment=str, etag=str),
           withdraw=_ruling(Rulings.withdraw, goes_on=False, comment=str),
           escalate=_ruling(Rulings.escalate, comment=str)),
    screen(f"{PATH}/cases", _cases),
    screen(f"{PATH}/cases/{{name}}", _case, taken_down=_taken_down,
           confirm=_step(Cases.confirm, reason=str), dispute=_step(Cases.dispute, reason=str, by=str),
           close=_step(Cases.close, outcome=CaseOutcome, reason=str, incomplete=bool)),
    screen(f"{PATH}/reports", _reports),
    screen(f"{PATH}/reports/{{reference}}", _report, draft=_draft,
           reported=_ruling(Rulings.reported, goes_on=False, recipient=str, filed_as=str)),
)  # fmt: skip
