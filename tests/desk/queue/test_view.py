"""What persons see of uploads, in which order, and that they looked."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as settings_of_test
from hypothesis import strategies as st

from hashhub.desk.queue import view
from hashhub.desk.queue.reviews import LaterAnswers
from hashhub.desk.queue.rulings import Rulings
from hashhub.desk.queue.view import ReviewQueue, RulingCode
from hashhub.desk.records import Records, UploadState
from hashhub.errors import DataLoss, InvalidArgument, NotFound
from hashhub.hashes import Hash
from hashhub.model import MatchResult, Verdict, now
from tests.desk.queue.parts import A, B, C, settings_in
from tests.hook.waiting import checked, hit, put, records_of

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def test_copies_of_one_item_are_one_group_and_matches_come_first(
    queue: ReviewQueue, rulings: Rulings, records: Records
) -> None:
    copies = [put(records, checked(hit(A), hit(B)), "BLOCKED") for _ in range(30)]
    review = put(records, checked(hit(A, "PDQ", 20), verdict=Verdict.REVIEW))
    unanswered = put(records, checked(), "UNANSWERED")
    page = queue.page()
    assert [(g.verdict, g.count) for g in page.groups] == [("MATCH", 30), ("REVIEW", 1), ("UNAVAILABLE", 1)]
    assert len(page.groups[0].uploads) == 10
    assert {row.reference for row in page.groups[0].uploads} < set(copies)
    assert page.groups[0].lists == ("police-nl/known", "hotline-de/known")
    assert [g.uploads[0].reference for g in page.groups[1:]] == [review, unanswered]
    assert page.groups[2].no_answer == "HUB_AWAY"
    assert (page.waiting, page.group_count, page.not_read) == (32, 3, 0)
    rulings.confirm(review, actor="ann")
    assert queue.page().waiting == 31
    assert queue.page(states=(UploadState.REMOVED,)).groups[0].uploads[0].reference == review
    with pytest.raises(InvalidArgument):
        queue.page(limit=0)
    assert queue.page(skip=10**30).groups == ()


@pytest.mark.parametrize("damage", [b"", b"\xc1", b"\x80", b"{}"])
def test_a_record_that_is_damaged_is_said_to_be(queue: ReviewQueue, records: Records, damage: bytes) -> None:
    reference = put(records, checked(hit(A)))
    records.write("UPDATE upload SET checked = ? WHERE reference = ?", (damage, reference))
    said = f"the record of upload {reference} is damaged; keep hook.db as it is, and restore a backup beside it"
    for read in (lambda: queue.get(reference), lambda: records.get_upload(reference)):
        with pytest.raises(DataLoss, match=said):
            read()


@pytest.mark.parametrize(
    ("column", "damage"),
    [
        ("checked", b"\xc1"),
        ("checked", b""),
        ("time", "2026-01-0x"),
        ("time", b"\xff\xfe"),
        ("time", "2026-01-01"),
        ("upload_id", b"ann/\xff"),
        ("door", b"\xff"),
    ],
)
def test_a_damaged_record_stands_first_and_hides_no_other(
    queue: ReviewQueue, records: Records, column: str, damage: str | bytes
) -> None:
    match = put(records, checked(hit(A)), "BLOCKED")
    damaged = put(records, checked(upload_id="ann/1"), "UNANSWERED")
    unanswered = put(records, checked(), "UNANSWERED")
    cell = "CAST(? AS TEXT)" if column != "checked" else "?"  # as a flipped bit of the file leaves it
    records.write(f"UPDATE upload SET {column} = {cell} WHERE reference = ?", (damage, damaged))  # noqa: S608
    page = queue.page()
    assert (page.waiting, page.group_count, page.not_read, page.damaged) == (3, 3, 0, 1)
    rows = {group.uploads[0].reference: group for group in page.groups}
    assert set(rows) == {match, damaged, unanswered}
    assert (rows[damaged].verdict, rows[damaged].no_answer, rows[damaged].count) == ("UNAVAILABLE", "RECORD_DAMAGED", 1)
    assert rows[damaged].uploads[0].state is UploadState.UNANSWERED
    assert [g.uploads[0].reference for g in page.groups][2] == unanswered  # what it hit is not known: it may be a match
    assert queue.page(limit=1, skip=2).groups == page.groups[2:]
    with pytest.raises(DataLoss, match=damaged):
        queue.get(damaged)


def test_who_uploads_much_does_not_bury_who_uploads_little(queue: ReviewQueue, records: Records) -> None:
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    for number in range(200):
        put(records, checked(upload_id=f"flood/{number}"), "UNANSWERED", begin + timedelta(seconds=number))
    late = put(records, checked(upload_id="small/1"), "UNANSWERED", begin + timedelta(days=1))
    first = [group.uploads[0].reference for group in queue.page(limit=3).groups]
    assert late in first


def test_who_uploads_the_same_often_does_not_bury_others_that_hit_it(queue: ReviewQueue, records: Records) -> None:
    """Pictures that come near to what is listed are cheap to make, and all are one group."""
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    near = hit(A, "PDQ", 20)
    for number in range(50):
        one = checked(near, verdict=Verdict.REVIEW, upload_id=f"flood/{number}")
        put(records, one, time=begin + timedelta(seconds=number))
    late = put(records, checked(near, verdict=Verdict.REVIEW, upload_id="small/1"), time=begin + timedelta(days=1))
    [group] = queue.page().groups
    assert group.count == 51
    assert len(group.uploads) == 10
    assert late in {row.reference for row in group.uploads}


def test_who_joins_anothers_group_does_not_take_its_place_in_the_order(queue: ReviewQueue, records: Records) -> None:
    """The group that both are in comes when it is the turn of either."""
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    for number in range(100):
        one = checked(hit(f"police-nl/known/{number}"), upload_id=f"flood/{number}")
        put(records, one, "BLOCKED", begin + timedelta(seconds=number))
    late = checked(hit("police-nl/known/99"), upload_id="small/1")
    put(records, late, "BLOCKED", begin + timedelta(days=1))
    groups = queue.page(limit=2).groups
    assert late.decision.reference in {row.reference for group in groups for row in group.uploads}
    assert len({group.key for group in queue.page(limit=200).groups}) == 100


def test_files_that_were_made_to_have_one_md5_are_no_group(queue: ReviewQueue, records: Records) -> None:
    digests = (Hash("MD5", bytes(16)), Hash("SHA1", bytes(20)))
    for number in (1, 2):
        put(records, checked(hashes=(*digests, Hash("SHA256", bytes([number] * 32)))), "UNANSWERED")
    assert [group.count for group in queue.page().groups] == [1, 1]


def test_an_answer_that_came_later_counts_wherever_in_its_group_the_upload_is(
    queue: ReviewQueue, records: Records, later: LaterAnswers
) -> None:
    digest = checked().hashes
    many = [put(records, checked(hashes=digest), "HELD", T0 + timedelta(seconds=n)) for n in range(20)]
    review = put(records, checked(hit(B), verdict=Verdict.REVIEW), "HELD", T0)
    records.write("INSERT INTO later_answer VALUES (?, ?, 'MATCH', 9, '')", (many[-1], now().isoformat()))
    first, second = queue.page().groups
    assert (first.count, second.uploads[0].reference) == (20, review)


def test_who_uploads_more_than_a_listing_reads_is_not_all_that_it_shows(
    queue: ReviewQueue, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(view, "MAX_READ", 10)
    for number in range(30):
        put(records, checked(upload_id=f"flood/{number}"), "HELD", T0 + timedelta(seconds=number))
    late = put(records, checked(upload_id="small/1"), "HELD", T0 + timedelta(days=1))
    match = put(records, checked(hit(A), upload_id="flood/x"), "BLOCKED", T0 + timedelta(days=2))
    page = queue.page()
    assert (page.waiting, page.not_read, page.group_count) == (32, 22, 10)
    assert {match, late} <= {row.reference for group in page.groups for row in group.uploads}


def test_what_a_listing_reads_keeps_nobody_from_recording(
    queue: ReviewQueue, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flood of uploads that wait takes seconds to read; an upload that is recorded meanwhile waits for none of it."""
    reference = put(records, checked(hit(A)), "BLOCKED")
    recorded_meanwhile: list[str] = []

    def connected(*arguments: Any, **named: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*arguments, **named)
        with ThreadPoolExecutor(1) as beside:  # while the listing has its connection
            recorded_meanwhile.append(beside.submit(put, records, checked(hit(A)), "BLOCKED").result(timeout=60))
        return connection

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", connected)
    page = queue.page()
    assert len(recorded_meanwhile) == 1
    assert {reference, *recorded_meanwhile} == {row.reference for group in page.groups for row in group.uploads}


@settings_of_test(max_examples=15, deadline=None)
@given(sources=st.lists(st.sampled_from("abcd"), min_size=1, max_size=30))
def test_pages_show_each_group_once(tmp_path_factory: pytest.TempPathFactory, sources: list[str]) -> None:
    settings = settings_in(tmp_path_factory.mktemp("pages"))
    records = records_of(settings)
    references = {put(records, checked(upload_id=f"{s}/{n}"), "UNANSWERED") for n, s in enumerate(sources)}
    queue = ReviewQueue(records, settings)
    shown = [
        group.uploads[0].reference
        for skip in range(0, len(sources), 4)
        for group in queue.page(limit=4, skip=skip).groups
    ]
    assert len(shown) == len(references)
    assert set(shown) == references
    records.close()


def test_that_somebody_looked_is_on_record_once_a_day(queue: ReviewQueue, records: Records) -> None:
    reference = put(records, checked(hit(A)))
    for _ in range(3):
        queue.get(reference, actor="ann")
    upload = queue.get(reference)
    assert [(e.kind, e.actor) for e in upload.events] == [("upload.viewed", "ann")]
    assert upload.hits[0].exact
    assert upload.hashes[0].startswith("SHA256:")
    with pytest.raises(NotFound):
        queue.get("0" * 20)


def test_a_review_that_is_a_match_by_now_comes_first(queue: ReviewQueue, records: Records) -> None:
    put(records, checked(hit(B), verdict=Verdict.REVIEW))
    reference = put(records, checked(hit(A), verdict=Verdict.REVIEW))
    assert queue.page().groups[0].uploads[0].reference != reference
    records.write("INSERT INTO later_answer VALUES (?, '2026-01-01T00:00:00+00:00', 'MATCH', 9, ?)", (reference, A))
    assert queue.page().groups[0].uploads[0].reference == reference


def test_a_look_by_a_clock_that_was_ahead_hides_no_look_of_today(queue: ReviewQueue, records: Records) -> None:
    reference = put(records, checked(hit(A)))
    with pytest.MonkeyPatch.context() as ahead:
        for module in ("records", "queue.view"):
            ahead.setattr(f"hashhub.desk.{module}.now", lambda: now() + timedelta(days=365))
        queue.get(reference, actor="ann")
    for _ in range(2):
        queue.get(reference, actor="ann")
    assert [event.kind for event in records.events(subject=reference)] == ["upload.viewed"] * 2


@pytest.mark.parametrize("seen", ["nothing", "looked", "escalated", "proposed", "changed"])
def test_reasons_are_added_to_no_upload_that_somebody_may_decide_over_by_what_they_saw(
    two: Rulings, queue: ReviewQueue, records: Records, seen: str
) -> None:
    one = checked(hit(A))
    reference = put(records, one)
    more = msgspec.structs.replace(one, result=MatchResult(verdict=Verdict.MATCH, matches=(hit(A), hit(B))))
    match seen:
        case "looked":
            queue.get(reference, actor="eve")
        case "escalated":
            two.escalate(reference, actor="eve", comment="whose is it?")
        case "proposed":
            two.release(reference, code=RulingCode.OTHER, actor="eve", comment="a friend's")
        case "changed":
            assert records.add_reasons(UploadState.HELD, one, more)
    before = queue.get(reference)
    others = msgspec.structs.replace(one, result=MatchResult(verdict=Verdict.MATCH, matches=(hit(A), hit(C))))
    assert records.add_reasons(UploadState.HELD, one, others) == (seen == "nothing")
    hits = {h.entry for h in queue.get(reference).hits}
    assert hits == ({A, C} if seen == "nothing" else {h.entry for h in before.hits})
