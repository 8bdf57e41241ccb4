"""Evidence says what was recorded, and of the rest that it is not known."""

from __future__ import annotations

import html
import json
import random
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from hashhub.cli import main
from hashhub.desk import evidence
from hashhub.desk.cases.clocks import CasePurpose
from hashhub.desk.cases.item import item_of_hashes
from hashhub.desk.cases.life import Cases
from hashhub.desk.decision import Decision, DecisionRecord
from hashhub.desk.evidence import PolicyInUse, collect, draw_sample, page, sampled
from hashhub.desk.records import Records
from hashhub.desk.settings import CaseSettings
from hashhub.errors import AlreadyExists, NotFound
from hashhub.hashes import Hash
from hashhub.hook import Action, Hook
from hashhub.intervals import wilson
from hashhub.model import Principal, ReasonLine, Role, Verdict
from tests.hook.test_core import OneVerdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from hashhub.hook import HookSettings
    from tests.hook.conftest import Listed


def keep(
    records: Records, reference: str, state: str, *, verdict: Verdict = Verdict.MATCH, case: str = "", name: str = ""
) -> None:
    reasons = (ReasonLine(code="CASE_HOLD", clause=case),) if case else ()
    at = datetime.now(UTC)
    checked = DecisionRecord(
        decision=Decision(action=Action.HOLD, verdict=verdict, reasons=reasons, reference=reference),
        time=at,
        door="api",
        upload_id=name,
    )
    records.write(
        "INSERT INTO upload VALUES (?, ?, ?, ?, ?, ?)",
        (reference, at.isoformat(), state, "api", name, msgspec.msgpack.encode(checked)),
    )


def rule(records: Records, reference: str, ruling: str, code: str = "", actors: str = "ann") -> None:
    records.write(
        "INSERT INTO ruling (reference, ruling, code, comment, actors, time) VALUES (?, ?, ?, '', ?, ?)",
        (reference, ruling, code, actors, datetime.now(UTC).isoformat()),
    )


@given(st.integers(0, 500), st.integers(0, 500))
def test_the_interval_holds_the_share_and_narrows(successes: int, failures: int) -> None:
    trials = successes + failures
    bounds = wilson(successes, trials)
    if trials == 0:
        assert bounds is None
        return
    assert bounds is not None
    low, high = bounds
    assert 0 <= low <= successes / trials <= high <= 1
    wider = wilson(successes, trials)
    more = wilson(successes * 10, trials * 10)
    assert wider is not None
    assert more is not None
    assert more[1] - more[0] < wider[1] - wider[0]


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(10, 10, 0.7225, 1.0), (0, 10, 0.0, 0.2775), (81, 263, 0.2553, 0.3662)],  # the last by Newcombe (1998), table I
)
def test_the_interval_is_wilsons(successes: int, trials: int, low: float, high: float) -> None:
    bounds = wilson(successes, trials)
    assert bounds is not None
    assert list(bounds) == pytest.approx([low, high], abs=1e-4)


def test_that_a_clock_may_always_have_been_wrong_is_said(
    records: Records, make_settings: Callable[..., HookSettings]
) -> None:
    [line] = [line for line in collect(records, make_settings(), None).unknown if "clock" in line]
    assert "ever since this hook was installed" in line
    assert line.endswith("; no jump of it is on record")
    with records.transaction():
        for kind in ("clock.set_back", "clock.doubted", "clock.believed"):
            records.note(kind, "clock", actor="hook")
    evidence = collect(records, make_settings(), None)
    [line] = [line for line in evidence.unknown if "clock" in line]
    assert line.endswith("; jumps of it on record: 2 (events clock.…)")
    assert line in html.unescape(page(evidence))


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        assert not any(name.startswith("on") or name in {"src", "href"} for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_is_harmless_whatever_stands_in_it(
    records: Records, make_settings: Callable[..., HookSettings]
) -> None:
    empty = collect(records, make_settings(), None)

    def shown(text: str) -> _Page:
        evidence = msgspec.structs.replace(
            empty,
            hub=text,
            unknown=(text,),
            policy=PolicyInUse(name=text, explanation=text, text=text),
            choices={text: text},
            recognised_by={text: 1},
            rulings={text: 1},
            decisions=({"day": text},),
            outages=({"day": text},),
            events={text: 1},
            chain=text,
        )
        read = _Page()
        read.feed(page(evidence))
        return read

    hostile = shown("<script>alert(1)</script>\"'\x1b\u202e</pre></title><img src=x onerror=y>")
    assert hostile.tags == shown("x").tags
    assert hostile.text.count("<script>alert(1)</script>") == 13
    assert not {"\x1b", "\u202e"} & set(hostile.text)


def test_an_empty_hook_claims_nothing(records: Records, make_settings: Callable[..., HookSettings]) -> None:
    evidence = collect(records, make_settings(), None)
    assert all((s.share, s.low, s.high) == (None, None, None) for s in evidence.precision)
    assert len(evidence.unknown) == 6
    assert (evidence.lists, evidence.are_lists_known) == ((), False)
    shown = _Page()
    shown.feed(page(evidence))
    assert "100" not in shown.text.partition("Precision")[2]
    assert "not known" in shown.text


def test_precision_counts_what_people_decided_and_nothing_else(
    records: Records, make_settings: Callable[..., HookSettings]
) -> None:
    for number, state in enumerate(["REMOVED"] * 3 + ["RELEASED"] + ["BLOCKED"] * 5):
        keep(records, f"m{number}", state)
    keep(records, "r0", "RELEASED", verdict=Verdict.REVIEW)
    keep(records, "c0", "REMOVED", verdict=Verdict.REVIEW, case="case-1")
    keep(records, "u0", "REMOVED", verdict=Verdict.UNAVAILABLE)
    for reference in ("m0", "m1", "c0", "u0"):
        rule(records, reference, "CONFIRM")
    rule(records, "m2", "RELEASE", "OTHER")
    rule(records, "m2", "CONFIRM")  # taken back
    rule(records, "m3", "RELEASE", "FALSE_POSITIVE", "ann bob")
    rule(records, "r0", "RELEASE", "DIFFERENT_PICTURE")
    rule(records, "m4", "ESCALATE")
    keep(records, "later", "RELEASED")  # by the hub's late answer, and not by a person
    evidence = collect(records, make_settings(), None)
    assert evidence.rulings == {
        "CONFIRM": 5, "ESCALATE": 1, "RELEASE DIFFERENT_PICTURE": 1, "RELEASE FALSE_POSITIVE": 1, "RELEASE OTHER": 1
    }  # fmt: skip
    assert evidence.decided_by_two == 1
    by_kind = {s.of: s for s in evidence.precision}
    assert (by_kind["MATCH"].confirmed, by_kind["MATCH"].decided, by_kind["MATCH"].waiting) == (3, 4, 5)
    assert by_kind["MATCH"].share == 0.75
    assert (by_kind["REVIEW"].confirmed, by_kind["REVIEW"].decided) == (0, 1)
    assert (by_kind["CASE"].confirmed, by_kind["CASE"].decided) == (1, 1)
    assert by_kind["CASE"].low is not None
    assert by_kind["CASE"].low < 0.3, "one decision proves little"


def test_a_sample_is_drawn_once_and_can_be_drawn_again_by_who_checks_it(
    records: Records, make_settings: Callable[..., HookSettings]
) -> None:
    for number in range(50):
        keep(records, f"m{number:02}", "BLOCKED")
    keep(records, "nobody", "UNANSWERED")
    drawn = draw_sample(records, "q1", size=10, seed=4, actor="ann")
    assert len(set(drawn)) == 10
    assert draw_sample(records, "checked", size=10, seed=4, actor="bob") == drawn
    assert draw_sample(records, "other", size=10, seed=5, actor="bob") != drawn
    with pytest.raises(AlreadyExists):
        draw_sample(records, "q1", size=10, seed=6, actor="ann")
    records.write("UPDATE upload SET state = 'REMOVED' WHERE reference = ?", (drawn[0],))
    rule(records, drawn[0], "CONFIRM")
    records.write("DELETE FROM upload WHERE reference = ?", (drawn[1],))
    assert [state for _, state in sampled(records, "q1")][:3] == ["REMOVED", "ERASED", "BLOCKED"]
    [sample, *_] = collect(records, make_settings(), None).samples
    assert (sample.name, sample.size, sample.decided, sample.confirmed) == ("q1", 10, 1, 1)
    assert (sample.seed, sample.frame, sample.actor) == (4, 50, "ann")
    with pytest.raises(NotFound):
        sampled(records, "q9")


def test_a_sample_is_that_of_all_uploads_in_order_and_reads_a_few_at_a_time(
    records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A seed on record gives what it gave when all of them were held in memory."""
    states = ("HELD", "BLOCKED", "RELEASED", "REMOVED", "UNANSWERED")
    for number in range(120):
        keep(records, f"m{number * 7919 % 120:03}", states[number % 5])
        time = f"2026-01-{1 + number * 31 % 11:02}T00:00:00Z"
        records.write("UPDATE upload SET time = ? WHERE reference = ?", (time, f"m{number * 7919 % 120:03}"))
    in_order = [
        reference
        for reference, state in records.rows("SELECT reference, state FROM upload ORDER BY time, reference")
        if state != "UNANSWERED"
    ]
    monkeypatch.setattr(evidence, "ROWS", 7)
    rows, most = records.rows, [0]

    def counted(sql: str, values: Any = ()) -> list[tuple[Any, ...]]:
        read = rows(sql, values)
        most.append(len(read))
        return read

    monkeypatch.setattr(records, "rows", counted)
    for size in (1, 10, 95, 96, 500):
        drawn = draw_sample(records, f"s{size}", size=size, seed=size, actor="ann")
        assert drawn == random.Random(size).sample(in_order, min(size, len(in_order)))
    assert max(most) <= 7


def test_outages_are_told_by_day(records: Records, make_settings: Callable[..., HookSettings]) -> None:
    for day, no_answer, count in (("2026-01-01", "HUB_AWAY", 3), ("2026-01-01", "", 7), ("2026-01-02", "", 9)):
        records.write("INSERT INTO tally VALUES (?, 'api', 'ALLOW', 'NO_MATCH', ?, ?)", (day, no_answer, count))
    assert collect(records, make_settings(), None).outages == ({"day": "2026-01-01", "without_answer": 3, "of": 10},)


def test_a_broken_chain_is_told(records: Records, make_settings: Callable[..., HookSettings]) -> None:
    records.note("A", "x", actor="ann")
    records.note("B", "x", actor="ann")
    assert collect(records, make_settings(), None).chain == "unbroken"
    records.write("UPDATE event SET actor = 'bob' WHERE number = 1")
    evidence = collect(records, make_settings(), None)
    assert "broken at event 1" in evidence.chain
    assert evidence.event_count == 2


def test_lists_and_policy_come_from_the_hub(
    records: Records, make_settings: Callable[..., HookSettings], listed: Listed, tmp_path: Path
) -> None:
    item = item_of_hashes([Hash("MD5", bytes(range(16)))])
    Cases(records, CaseSettings()).open(
        item,
        purpose=CasePurpose.OTHER,
        complaint="<script>alert(1)</script>",
        reason="x",
        actor="ann",
        receive_time=datetime.now(UTC),
    )
    keep(records, "m1", "BLOCKED", name="<img src=x onerror=alert(1)>")
    settings = make_settings()
    file = tmp_path / "hook.toml"
    file.write_text(
        f'policy = "block"\nhub = "{settings.hub}"\ntoken_file = "{settings.token_file}"\ndata = "{settings.data}"\n'
        '[without_answer]\nhub_away = "hold"\nunreadable = "hold"\ntoo_large = "hold"\nno_perceptual_hash = "allow"\n'
    )
    out = tmp_path / "evidence"
    line = ["hook", "evidence", "--out", str(out), "--settings", str(file)]
    done = CliRunner().invoke(main, line)
    assert done.exit_code == 0, done.output
    assert "the lists could not be read" in done.output, "a consumer's token may not see them"
    token = tmp_path / "auditor.token"
    token.write_text(listed.operator.create_token(Principal(name="app-auditor", role=Role.AUDITOR)))
    done = CliRunner().invoke(main, [*line, "--token-file", str(token)])
    assert done.exit_code == 0, done.output
    data = json.loads((out / "evidence.json").read_text())
    assert {x["name"] for x in data["lists"]} >= {"police-nl/known", "hotline-de/known"}
    assert all(x["last_import"] for x in data["lists"] if x["name"].endswith("/known"))
    assert data["policy"]["name"].startswith("block@")
    assert data["policy"]["explanation"]
    assert data["choices"]["without_answer.hub_away"] == "HOLD"
    assert data["case_standings"] == {"RUNNING": 1}
    shown = _Page()
    shown.feed((out / "evidence.html").read_text())
    assert not {"script", "img", "iframe", "link"} & set(shown.tags)
    assert "police-nl/known" in shown.text
    assert [e.kind for e in records.events()][-1] == "evidence.written"
    drawn = CliRunner().invoke(
        main, ["hook", "evidence", "sample", "q1", "--size", "5", "--settings", str(file), "--json"]
    )
    assert json.loads(drawn.stdout) == {"reference": "m1", "state": "BLOCKED"}


@pytest.mark.parametrize(
    ("zone", "day"),
    [
        ("Europe/Amsterdam", datetime(2027, 3, 28, tzinfo=UTC)),  # has 23 hours there
        ("Europe/Amsterdam", datetime(2027, 10, 31, tzinfo=UTC)),  # and 25
        ("America/New_York", datetime(2027, 11, 7, tzinfo=UTC)),
        ("Pacific/Kiritimati", datetime(2027, 1, 1, tzinfo=UTC)),  # is 14 hours ahead
    ],
)
def test_days_are_those_of_utc_and_each_upload_is_counted_in_one(
    make_settings: Callable[..., HookSettings], monkeypatch: pytest.MonkeyPatch, zone: str, day: datetime
) -> None:
    moments = [
        day + timedelta(hours=hours, microseconds=microseconds)
        for hours in (-24, 0, 1, 2, 3, 24, 48)
        for microseconds in (-1, 0)
    ]
    clock = moments[:1]
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        monkeypatch.setattr("hashhub.hook.core.now", lambda: clock[0].astimezone(UTC))
        settings = make_settings()
        records = Records(Path(settings.data))
        with Hook(settings, judge=OneVerdict(Verdict.NO_MATCH), records=records) as hook:
            for moment in moments:
                clock[0] = moment
                hook.check(b"a text")
        records = Records(Path(settings.data))
        counted = Counter[str]()
        for row in collect(records, settings, None).decisions:
            counted[row["day"]] += row["count"]
        records.close()
    finally:
        monkeypatch.undo()
        time.tzset()
    assert counted == Counter(f"{moment:%Y-%m-%d}" for moment in moments)
