"""The moderator's pages, which the hook serves by itself under /moderation: the queue, cases, report drafts, and which
evidence there is. Persons sign in with their own tokens; `Rulings` and `Cases` decide, as for the other doors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from hashhub.console.pages import _, ago, link, word
from hashhub.console.sign_in import token_way
from hashhub.console.site import Site
from hashhub.console.visit import SiteSettings, Visit, screen
from hashhub.desk.cases.life import CaseOutcome, Cases, CaseState
from hashhub.desk.evidence import drawn_samples
from hashhub.desk.people import People
from hashhub.desk.queue.rulings import Rulings
from hashhub.desk.queue.view import DAMAGED, WAITING, ReviewQueue, RulingCode
from hashhub.desk.records import UploadState
from hashhub.desk.reports.assembly import gather, note_drafted
from hashhub.desk.reports.recipients import Recipient, render
from hashhub.errors import InvalidArgument

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from hashhub.console.sessions import BrowserSession, Sessions
    from hashhub.desk.records import Records
    from hashhub.desk.reports.draft import RenderedReport
    from hashhub.desk.settings import DeskSettings

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

    def more(self, count: int) -> str:
        """Return the address of the next page of a list of so many rows; empty where this one is the last."""
        query = urlencode({**self.query, "after": self.after + _PAGE})
        return f"{self.url.partition('?')[0]}?{query}" if self.after + _PAGE < count else ""


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
    rows = [
        (link(f"{PATH}/uploads/{first.reference}", first.reference), first.state, word(g.no_answer or g.verdict),
         first.verdict_now and word(first.verdict_now), g.count, ago(g.oldest), g.lists[:5])
        for g in listing.groups
        for first in g.uploads[:1]
    ]  # fmt: skip
    proposed = visit.desk.records.rows("SELECT reference, actor FROM proposal ORDER BY time LIMIT ?", (_PAGE,))
    proposals = [(link(f"{PATH}/uploads/{name}", name), actor) for name, actor in proposed]
    more = visit.more(listing.group_count)
    return visit.page("desk_queue.html", listing=listing, rows=rows, proposals=proposals, more=more)


def _upload(visit: DeskVisit) -> Response:
    upload = visit.desk.queue.get(visit.path["reference"], actor=visit.who)
    basis = upload.etag.partition("-")[2]  # what stands before it counts events that change nothing, such as a look
    drawn = visit.query.get("drawn", basis)  # what the page was drawn from that asks for its news
    cases = [(link(f"{PATH}/cases/{one.case}", one.case), one.action, one.how) for one in upload.cases]
    return visit.page(
        "desk_upload.html", upload=upload, drawn=drawn, basis=basis, cases=cases, codes=_words(RulingCode)
    )


def _cases(visit: DeskVisit) -> Response:
    states = [state for state in CaseState if state == visit.query.get("state")] or _UNDER_WAY
    cases = sorted(visit.desk.cases.listed(states), key=lambda case: case.urgency)
    rows = [
        (link(f"{PATH}/cases/{case.name}", case.name), case.state, case.action, clock and clock.due,
         clock and clock.standing, case.stopped, case.copies_there)
        for case in cases[visit.after : visit.after + _PAGE]
        for clock in (case.first_due,)
    ]  # fmt: skip
    return visit.page("desk_cases.html", rows=rows, more=visit.more(len(cases)))


def _case(visit: DeskVisit) -> Response:
    record = visit.desk.cases.record(visit.path["name"])
    return visit.page("desk_case.html", record=record, case=record.case, outcomes=_words(CaseOutcome))


def _reports(visit: DeskVisit) -> Response:
    records, is_open = visit.desk.records, visit.query.get("filed") != "1"
    found = records.rows(_REMOVED, (visit.query.get("after", ""), is_open, _PAGE))
    rows = [(link(f"{PATH}/reports/{name}", name), filed) for name, filed in found]
    more = f"{PATH}/reports?filed={not is_open:d}&after={found[-1][0]}" if len(found) == _PAGE else ""
    [(kept,)] = records.rows("SELECT count(*) FROM vault_item WHERE erase_time IS NULL")
    return visit.page("desk_reports.html", rows=rows, more=more, samples=drawn_samples(records), kept=kept)


def _report(visit: DeskVisit, rendered: RenderedReport | None = None) -> Response:
    return visit.page("desk_report.html", recipients=_words(Recipient), rendered=rendered)


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


SCREENS: Final = (
    screen(PATH, _queue),
    screen(f"{PATH}/", _queue),
    screen(f"{PATH}/uploads/{{reference}}", _upload, is_item=True,
           confirm=_does(lambda desk: desk.rulings.confirm, goes_on=True, comment=str, etag=_etag),
           release=_does(lambda desk: desk.rulings.release, goes_on=True, code=RulingCode, comment=str, etag=_etag),
           escalate=_does(lambda desk: desk.rulings.escalate, goes_on=True, comment=str),
           withdraw=_does(lambda desk: desk.rulings.withdraw, comment=str)),
    screen(f"{PATH}/cases", _cases),
    screen(f"{PATH}/cases/{{name}}", _case, taken_down=_taken_down,
           confirm=_does(lambda desk: desk.cases.confirm, reason=str),
           dispute=_does(lambda desk: desk.cases.dispute, reason=str, by=str),
           close=_does(lambda desk: desk.cases.close, outcome=CaseOutcome, reason=str, incomplete=bool)),
    screen(f"{PATH}/reports", _reports),
    screen(f"{PATH}/reports/{{reference}}", _report, draft=_draft,
           reported=_does(lambda desk: desk.rulings.reported, recipient=str, filed_as=str)),
)  # fmt: skip
