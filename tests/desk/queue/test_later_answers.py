"""What the hub says later of what was held."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
import pytest

from hashhub.desk.queue.reviews import LaterAnswers
from hashhub.desk.queue.rulings import Rulings
from hashhub.desk.queue.view import ReviewQueue, RulingCode
from hashhub.desk.records import Records, UploadState
from hashhub.errors import Conflict, DataLoss, Unavailable
from hashhub.model import Verdict, VideoMatch
from tests.desk.queue.parts import A, B, Says
from tests.hook.waiting import checked, hit, put

T0: Final = datetime(2026, 1, 1, tzinfo=UTC)


def test_what_was_withdrawn_is_shown_and_not_released(
    two: Rulings, queue: ReviewQueue, later: LaterAnswers, records: Records
) -> None:
    reference = put(records, checked(hit(A, "PDQ", 3, "turned"), hit(B)), "BLOCKED")
    two.release(reference, code=RulingCode.OTHER, actor="eve", comment="they will withdraw it")
    assert later.recheck(Says(hit(A, "PDQ", 3, "turned"), hit(B))) == (1, 0)
    judge = Says(verdict=Verdict.NO_MATCH)
    assert later.recheck(judge) == (1, 1)
    assert later.recheck(judge) == (1, 0), "said once"
    [variant] = judge.queries[0].variants
    assert (variant.variant, variant.hashes[0].algorithm) == ("turned", "PDQ")
    upload = queue.get(reference)
    assert upload.state is UploadState.BLOCKED
    assert upload.later_answer is not None
    assert (upload.later_answer.verdict, upload.later_answer.gone) == (Verdict.NO_MATCH, (B, A))
    assert queue.page().groups[0].uploads[0].verdict_now == "NO_MATCH"
    with pytest.raises(Conflict, match="changed"):  # the first spoke of other facts
        two.release(reference, code=RulingCode.OTHER, actor="ann", comment="withdrawn")


def test_what_cannot_be_asked_again_is_left_alone_and_the_longest_unasked_come_first(
    later: LaterAnswers, records: Records
) -> None:
    for _ in range(3):
        put(records, checked(hit(A), hashes=()))
    for _ in range(5):
        put(records, checked(hit(A)))
    put(records, checked(), "UNANSWERED")
    judge = Says(hit(A))
    assert [later.recheck(judge, limit=2)[0] for _ in range(3)] == [2, 2, 2]
    assert len({query.hashes for query in judge.queries}) == 5
    with pytest.raises(Unavailable):
        later.recheck(Says(verdict=Verdict.UNAVAILABLE))


def test_a_record_that_is_damaged_keeps_no_other_from_being_asked_about(later: LaterAnswers, records: Records) -> None:
    damaged, *_ = [put(records, checked(hit(A)), "BLOCKED", T0 + timedelta(days=number)) for number in range(3)]
    records.write("UPDATE upload SET checked = x'c1' WHERE reference = ?", (damaged,))
    judge = Says(hit(A))
    with pytest.raises(DataLoss, match=f"the record of upload {damaged} is damaged"):
        later.recheck(judge)
    assert len(judge.queries) == 2


def test_a_picture_that_hit_a_frame_of_a_video_is_asked_about_again_and_a_video_is_not(
    later: LaterAnswers, records: Records
) -> None:
    shown = msgspec.structs.replace(
        hit(A, "VPDQ", 3, "frame"), video=VideoMatch(query_share=100.0, entry_share=10.0, ranges=())
    )
    put(records, checked(shown, media_type="video/mp4"))
    put(records, checked(shown, media_type="image/png"))
    judge = Says(shown)
    assert later.recheck(judge) == (1, 0)
    [variant] = judge.queries[0].variants
    assert (variant.variant, variant.hashes[0].algorithm) == ("frame", "PDQ")
