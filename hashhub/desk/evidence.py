"""What a regulator asks of a company that checks uploads, as data and as one page. Numbers come from records only: what
was not recorded is said to be unknown, and nothing decided yet is no precision of 100 %.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import IO, TYPE_CHECKING, Any, Final, TypeAlias

import msgspec

from hashhub.desk.cases.clocks import ClockState
from hashhub.desk.cases.life import Case, Cases
from hashhub.desk.decision import read_checked
from hashhub.desk.queue.stored_decision import lists_of
from hashhub.desk.records import broken
from hashhub.errors import AlreadyExists, DataLoss, HashHubError, InvalidArgument, LimitExceeded, NotFound, Unavailable
from hashhub.intervals import wilson
from hashhub.model import Verdict, now
from hashhub.pages import render

if TYPE_CHECKING:
    from hashhub.client import Client
    from hashhub.desk.decision import DecisionRecord
    from hashhub.desk.records import DeskEvent, Records
    from hashhub.desk.settings import DeskSettings
    from hashhub.model import Contributor, HashSet

ListsOfCopy: TypeAlias = "Callable[[], Iterable[tuple[HashSet, Mapping[str, Contributor]]]]"

LAST_RULING: Final = """(SELECT ruling FROM ruling r
    WHERE r.reference = u.reference AND ruling IN ('CONFIRM', 'RELEASE') ORDER BY number DESC LIMIT 1)"""
"""SQL: what persons decided last over the upload `u`."""
_SAMPLED: Final = ("HELD", "BLOCKED", "RELEASED", "REMOVED")
ROWS: Final = 1000  # uploads read at a time
_STANDING: Final = frozenset({"HELD", "BLOCKED", "UNANSWERED"})


class ListInUse(msgspec.Struct, frozen=True, kw_only=True):
    """A hash set that the token may see; in local mode one of which the copy has entries. `last_import`: of the newest
    import whose time can be read; None: not known, which says nothing about its age.
    """

    name: str
    display_name: str
    contributor: str
    contributor_kind: str
    jurisdiction: str
    reliability: str
    purpose: str
    scheme: str
    tlp: str
    permitted_purposes: tuple[str, ...]
    legal_basis: str
    expire_time: datetime | None
    create_time: datetime | None
    last_import: datetime | None


class PolicyInUse(msgspec.Struct, frozen=True, kw_only=True):
    """The policy as NAME@VERSION, what it does in sentences, and its text with the thresholds."""

    name: str
    explanation: str
    text: str


class Precision(msgspec.Struct, frozen=True, kw_only=True):
    """A share of what people decided, with Wilson's interval of 95 %. None where nothing was decided."""

    of: str
    confirmed: int
    decided: int
    waiting: int
    share: float | None
    low: float | None
    high: float | None


class EvidenceSample(msgspec.Struct, frozen=True, kw_only=True):
    """A sample of what was held or blocked, drawn by chance; how many of it people have decided by now."""

    name: str
    size: int
    decided: int
    confirmed: int
    seed: int
    frame: int
    time: datetime
    actor: str


class EvidenceReport(msgspec.Struct, frozen=True, kw_only=True):
    """The evidence report: lists, policy, counts, rulings and samples.

    `are_lists_known`: whether `lists` are all; then none means that uploads are compared with nothing.
    `recognised_by`: lists by how many uploads on record they recognised. `rulings`: what persons decided, by how often:
    CONFIRM, ESCALATE, and RELEASE with its code; `decided_by_two`: how many of these two persons did. `forgotten`:
    decided uploads whose rows are gone (`records.keep_days`); they count on in `recognised_by` and `precision`.
    `unknown`: what could not be told, and why, in sentences. The events themselves are written by `write_json`.
    """

    written: datetime
    hub: str
    mode: str
    lists: tuple[ListInUse, ...]
    are_lists_known: bool
    recognised_by: dict[str, int]
    policy: PolicyInUse | None
    choices: dict[str, str]
    precision: tuple[Precision, ...]
    rulings: dict[str, int]
    decided_by_two: int
    samples: tuple[EvidenceSample, ...]
    uploads: dict[str, int]
    forgotten: int
    decisions: tuple[dict[str, Any], ...]
    outages: tuple[dict[str, Any], ...]
    events: dict[str, int]
    event_count: int
    chain: str
    cases: tuple[Case, ...]
    case_standings: dict[str, int]
    unknown: tuple[str, ...]


def draw_sample(records: Records, name: str, *, size: int, seed: int, actor: str) -> list[str]:
    """Draw uploads that were held or blocked, decided or not, and record which; return their references in the order to
    look at them. The seed and the record give it again. Raises AlreadyExists: no sample is drawn again under its name.
    """
    if size < 1:
        raise InvalidArgument.field("size", f"must be at least 1, got {size}")
    with records.transaction():
        if records.rows("SELECT 1 FROM event WHERE kind = 'sample.drawn' AND subject = ?", (f"sample-{name}",)):
            raise AlreadyExists(f"there is a sample {name[:40]!r} already; its record stays, so give another name")
        frame = sum(records.rows("SELECT count(*) FROM upload WHERE state = ?", (state,))[0][0] for state in _SAMPLED)
        # Places in the order of uploads: what a seed gives of a range, it gives of a list of as many.
        places = random.Random(seed).sample(range(frame), min(size, frame))  # noqa: S311 - to be repeatable
        at_place = dict.fromkeys(places, "")
        for place, reference in enumerate(_in_order(records)):
            if place in at_place:
                at_place[place] = reference
        drawn = [at_place[place] for place in places]
        for position, reference in enumerate(drawn):
            records.write("INSERT INTO evidence_sample VALUES (?, ?, ?)", (name, reference, position))
        records.note("sample.drawn", f"sample-{name}", actor=actor, size=len(drawn), seed=seed, frame=frame)
    return drawn


def _in_order(records: Records) -> Iterator[str]:
    """Yield the uploads that samples are drawn from by time, then reference, in bounded memory."""

    def of_state(state: str) -> Iterator[tuple[str, str]]:
        sql = (
            "SELECT time, reference FROM upload WHERE state = ? AND (time, reference) > (?, ?) "
            "ORDER BY time, reference LIMIT ?"
        )
        after = ("", "")
        while rows := records.rows(sql, (state, *after, ROWS)):
            for time, reference in rows:
                after = (time, reference)
                yield after

    return (reference for _, reference in heapq.merge(*map(of_state, _SAMPLED)))


def sampled(records: Records, name: str) -> list[tuple[str, str]]:
    """Return a sample's references with their states. Raises NotFound."""
    rows = records.rows(
        "SELECT s.reference, coalesce(u.state, 'ERASED') FROM evidence_sample s LEFT JOIN upload u USING (reference) "
        "WHERE s.sample = ? ORDER BY s.position",
        (name,),
    )
    if not rows and not records.rows("SELECT 1 FROM event WHERE subject = ?", (f"sample-{name}",)):
        raise NotFound(f"there is no sample {name[:40]!r}; see `hashhub hook evidence sample --help`")
    return [(reference, state) for reference, state in rows]


def collect(
    records: Records, settings: DeskSettings, client: Client | None, lists_of_copy: ListsOfCopy | None = None
) -> EvidenceReport:
    """Return the evidence; what the hub cannot be asked now is said to be unknown. Never raises for the hub's sake.
    `lists_of_copy`: reads the lists of the copy by which a hook in the mode LOCAL decides.
    """
    unknown: list[str] = []
    policy = _policy(client, settings, unknown)
    lists, are_lists_known = _lists(client, lists_of_copy, unknown)
    kinds: Counter[str] = Counter()
    drawn: list[DeskEvent] = []
    chain = "unbroken"
    for count, (event, is_whole) in enumerate(records.chain(), 1):
        kinds[event.kind] += 1
        if event.kind == "sample.drawn":
            drawn.append(event)
        if not is_whole and chain == "unbroken":
            chain = broken(count).message
    jumps = sum(kinds[kind] for kind in ("clock.set", "clock.set_back", "clock.doubted"))
    unknown.append(
        "whether all times here are right: they are of this machine's clock, and one that has been wrong ever since "
        "this hook was installed cannot be told; "
        + (f"jumps of it on record: {jumps} (events clock.…)" if jumps else "no jump of it is on record")
    )
    decisions, outages = _tally(records)
    if not decisions:
        unknown.append("no upload has been counted: the hook has decided nothing yet, or does not keep a tally")
    states: dict[str, int] = dict(records.rows("SELECT state, count(*) FROM upload GROUP BY state ORDER BY state"))
    precision, recognised_by = _of_uploads(records)
    if not any(share.decided for share in precision):
        unknown.append("nobody has decided over a held or blocked upload yet, so nothing is known of the precision")
    rulings, decided_by_two = _rulings(records)
    samples = _samples(records, drawn)
    if not samples:
        unknown.append("no sample was drawn (`hashhub hook evidence sample`)")
    cases = Cases(records, settings.case).listed()
    standings = Counter(clock.standing.value for case in cases for clock in case.clocks)
    return EvidenceReport(
        written=now(),
        hub=settings.hub,
        mode=settings.mode,
        lists=_dated(lists, client, unknown),
        are_lists_known=are_lists_known,
        recognised_by=recognised_by,
        policy=policy,
        choices={
            "on_match": settings.on_match,
            "on_review": settings.on_review,
            "on_frames_skipped": settings.on_frames_skipped,
            **{f"without_answer.{n}": getattr(settings.without_answer, n)
               for n in settings.without_answer.__struct_fields__},
            "case.complaint": settings.case.complaint,
            "case.confirmed": settings.case.confirmed,
            "effort": settings.effort,
        },
        precision=precision,
        rulings=rulings,
        decided_by_two=decided_by_two,
        samples=samples,
        uploads=states,
        forgotten=_forgotten(records, "UPLOADS")[""],
        decisions=decisions,
        outages=outages,
        events=dict(sorted(kinds.items())),
        event_count=kinds.total(),
        chain=chain,
        cases=tuple(cases),
        case_standings={s.value: standings[s.value] for s in ClockState if s.value in standings},
        unknown=tuple(unknown),
    )  # fmt: skip


def _policy(client: Client | None, settings: DeskSettings, unknown: list[str]) -> PolicyInUse | None:
    if client is None:
        unknown.append("the hub was not asked: which policy is in use is not known from here")
        return None
    try:
        version = client.get_policy(settings.policy)
    except HashHubError as e:
        unknown.append(f"the policy {settings.policy} could not be read: {e.message}")
        return None
    return PolicyInUse(name=version.name, explanation=version.explanation, text=version.text)


def _lists(
    client: Client | None, lists_of_copy: ListsOfCopy | None, unknown: list[str]
) -> tuple[tuple[ListInUse, ...], bool]:
    """Return the lists that uploads are compared with, and whether these are all."""
    lists: list[ListInUse] = []
    try:
        if lists_of_copy is not None:
            # The hub may have others, which this hook does not compare uploads with.
            lists += (_list(one, contributors) for one, contributors in lists_of_copy())
        elif client is None:
            raise Unavailable("the hub was not asked")
        else:
            contributors = {c.id: c for c in client.list_contributors()}
            lists += (_list(one, contributors) for one in client.list_hash_sets())
    except HashHubError as e:
        unknown.append(f"the lists could not be read to their end: {e.message}")
        return tuple(lists), False
    return tuple(lists), True


def _list(one: HashSet, contributors: Mapping[str, Contributor]) -> ListInUse:
    by = contributors.get(one.contributor)
    return ListInUse(
        name=one.name,
        display_name=one.display_name,
        contributor=by.display_name if by else one.contributor,
        contributor_kind=by.kind if by else "",
        jurisdiction=by.jurisdiction if by else "",
        reliability=by.reliability if by else "",
        purpose=one.purpose,
        scheme=one.scheme,
        tlp=one.marking.tlp,
        permitted_purposes=one.marking.permitted_purposes,
        legal_basis=one.marking.legal_basis,
        expire_time=one.marking.expire_time,
        create_time=one.create_time,
        last_import=None,
    )


def _dated(lists: Sequence[ListInUse], client: Client | None, unknown: list[str]) -> tuple[ListInUse, ...]:
    """Return the lists with when they were imported last, as far as the hub tells."""
    dated = list(lists)
    for number, one in enumerate(lists):
        if client is None:
            break
        try:
            times = [i.commit_time for i in client.list_imports(one.name) if i.commit_time is not None]
        except (Unavailable, LimitExceeded) as e:  # the next list would wait for the hub as long
            unknown.append(f"how old {one.name} is, and each list after it: {e.message}")
            break
        except HashHubError:  # only a list's owner and the hub's auditors read its imports
            unknown.append(f"how old {one.name} is: this token may not read its imports")
            continue
        dated[number] = msgspec.structs.replace(one, last_import=max(times, default=None))
    return tuple(dated)


def _tally(records: Records) -> tuple[tuple[dict[str, Any], ...], tuple[dict[str, Any], ...]]:
    """Return the decisions by day, and the days on which the hub could not be asked."""
    rows = records.rows("SELECT day, action, verdict, no_answer, sum(count) FROM tally GROUP BY 1, 2, 3, 4 ORDER BY 1")
    decisions = tuple(
        {"day": day, "action": action, "verdict": verdict, "no_answer": no_answer or "", "count": count}
        for day, action, verdict, no_answer, count in rows
    )
    away: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for row in decisions:
        total[row["day"]] += row["count"]
        if row["no_answer"] == "HUB_AWAY":
            away[row["day"]] += row["count"]
    return decisions, tuple({"day": day, "without_answer": away[day], "of": total[day]} for day in sorted(away))


def _of_uploads(records: Records) -> tuple[tuple[Precision, ...], dict[str, int]]:
    """Return how many of the policy's MATCH and REVIEW, and of the cases' holds, people agreed with by the last ruling
    of each upload; and how many uploads each list recognised.
    """
    confirmed, decided = _forgotten(records, "CONFIRMED"), _forgotten(records, "DECIDED")
    recognised = _forgotten(records, "RECOGNISED")
    waiting: Counter[str] = Counter()
    sql = (
        f"SELECT u.reference, u.state, u.checked, {LAST_RULING} FROM upload u WHERE u.reference > :after "  # noqa: S608
        "ORDER BY u.reference LIMIT :most"
    )
    for reference, state, stored, ruling in records.each(sql, {"after": ""}):
        try:
            checked = read_checked(stored, reference)
        except DataLoss:
            continue
        recognised.update(lists_of(checked))
        of = kind_of(checked)
        if not of:
            continue
        if ruling is not None:
            decided[of] += 1
            confirmed[of] += ruling == "CONFIRM"
        elif state in _STANDING:
            waiting[of] += 1
    shares = []
    for of in ("MATCH", "REVIEW", "CASE"):
        low, high = wilson(confirmed[of], decided[of]) or (None, None)
        shares.append(
            Precision(
                of=of,
                confirmed=confirmed[of],
                decided=decided[of],
                waiting=waiting[of],
                share=confirmed[of] / decided[of] if decided[of] else None,
                low=low,
                high=high,
            )
        )
    return tuple(shares), dict(sorted(recognised.items()))


def kind_of(checked: DecisionRecord) -> str:
    """Return of what an upload's ruling is a judgement: MATCH, REVIEW, or CASE; empty: of none of them."""
    decision = checked.decision
    if decision.verdict is Verdict.REVIEW and any(line.code.startswith("CASE_") for line in decision.reasons):
        return "CASE"
    return decision.verdict if decision.verdict in {Verdict.MATCH, Verdict.REVIEW} else ""


def _forgotten(records: Records, what: str) -> Counter[str]:
    """Return what was counted when rows went; see `rounds`."""
    return Counter(dict(records.rows("SELECT name, count FROM forgotten WHERE what = ?", (what,))))


def _rulings(records: Records) -> tuple[dict[str, int], int]:
    rows = records.rows("SELECT trim(ruling || ' ' || code) AS said, count(*) FROM ruling GROUP BY said ORDER BY said")
    [(by_two,)] = records.rows("SELECT count(*) FROM ruling WHERE instr(trim(actors), ' ')")
    return dict(rows), by_two


def drawn_samples(records: Records) -> tuple[EvidenceSample, ...]:
    """Return the samples that were drawn, by name, with how far each is decided."""
    names = records.rows("SELECT DISTINCT sample FROM evidence_sample ORDER BY sample")
    return _samples(records, [event for (name,) in names for event in records.events(subject=f"sample-{name}")])


def _samples(records: Records, events: Sequence[DeskEvent]) -> tuple[EvidenceSample, ...]:
    samples = []
    for event in events:
        name = event.subject.removeprefix("sample-")
        rulings = [
            ruling
            for (ruling,) in records.rows(
                f"SELECT {LAST_RULING} FROM evidence_sample u WHERE u.sample = ?",  # noqa: S608 - our own text
                (name,),
            )
        ]
        samples.append(
            EvidenceSample(
                name=name,
                size=len(rulings),
                decided=sum(ruling is not None for ruling in rulings),
                confirmed=rulings.count("CONFIRM"),
                seed=event.details["seed"],
                frame=event.details["frame"],
                time=event.time,
                actor=event.actor,
            )
        )
    return tuple(samples)


def write_json(evidence: object, records: Records, out: IO[str], *, event_count: int) -> None:
    """Write the evidence, given as what JSON holds, and with it the events that it counts, one a line, as they come."""
    text = msgspec.json.format(msgspec.json.encode(evidence), indent=2).decode()
    out.write(text.removesuffix("\n}") + ',\n  "access": [')
    for count, (event, _) in enumerate(islice(records.chain(), event_count)):
        line = msgspec.to_builtins(event)
        del line["details"]
        out.write(("," if count else "") + "\n    " + msgspec.json.encode(line).decode())
    out.write("\n  ]\n}\n")


COMPARED_WITH_NOTHING: Final = "No list is in use: uploads are compared with nothing, so that none matches."


def page(evidence: EvidenceReport) -> str:
    """Return the evidence as one HTML page, without scripts, to print."""
    return render(
        "desk/evidence.html", e=evidence, time=_time, percent=_percent, compared_with_nothing=COMPARED_WITH_NOTHING
    )


def _time(time: datetime | None) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC") if time else "not known"


def _percent(share: float | None) -> str:
    return "not known" if share is None else f"{100 * share:.1f} %"
