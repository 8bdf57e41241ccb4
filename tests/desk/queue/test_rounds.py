"""What the hook does by itself with what it keeps."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from hashhub.desk.queue.reviews import FeedbackState
from hashhub.desk.queue.rulings import Rulings
from hashhub.desk.queue.view import ReviewQueue
from hashhub.desk.records import Records
from hashhub.desk.rounds import QueueRounds
from hashhub.desk.settings import QueueSettings
from hashhub.hook import HookSettings, open_hook
from hashhub.model import Verdict, now
from tests.desk.queue.parts import A, Says, contributor_token, listed_upload, told
from tests.hook.waiting import checked, hit, put

if TYPE_CHECKING:
    from tests.hook.conftest import Listed


def test_the_hook_sends_and_asks_again_by_itself(settings: HookSettings, records: Records) -> None:
    old, young = (put(records, checked(hit(A)), time=now() - age) for age in (timedelta(days=2), timedelta(hours=1)))
    judge = Says(verdict=Verdict.NO_MATCH)
    rounds = QueueRounds(records, settings, judge)
    rounds.round()
    rounds.round()  # nothing is due for an hour
    assert len(judge.queries) == 1
    queue = ReviewQueue(records, settings)
    rulings = Rulings(records, settings)
    assert queue.get(old).later_answer is not None
    assert queue.get(young).later_answer is None
    away = QueueRounds(records, settings, Says(verdict=Verdict.UNAVAILABLE))
    records.write("UPDATE later_answer SET time = ?", ((now() - timedelta(days=2)).isoformat(),))
    away.round()  # no answer is no error of the thread
    rulings.confirm(old, actor="ann")
    away.round()  # the hub is away: the review waits
    assert told(queue, old) == [(A, "CONFIRMED", FeedbackState.QUEUED)]


def test_what_came_or_was_asked_about_by_a_clock_that_was_ahead_is_asked_about_again(
    settings: HookSettings, records: Records
) -> None:
    ahead = now() + timedelta(days=365)
    came = put(records, checked(hit(A)), time=ahead)
    asked = put(records, checked(hit(A)), time=now() - timedelta(days=3))
    records.write(
        "INSERT INTO later_answer VALUES (?, ?, 'NO_MATCH', 9, ?)", (asked, ahead.isoformat(timespec="milliseconds"), A)
    )
    judge = Says(hit(A))
    QueueRounds(records, settings, judge).round()
    queue = ReviewQueue(records, settings)
    for reference in (came, asked):
        answer = queue.get(reference).later_answer
        assert answer is not None
        assert answer.verdict is Verdict.MATCH
        assert answer.time < ahead


def test_a_running_hook_sends_the_reviews_that_wait(
    asking: tuple[HookSettings, Records], listed: Listed, tmp_path: Path, make_settings: Callable[..., HookSettings]
) -> None:
    _, records = asking
    token_file = tmp_path / "review.token"
    token_file.write_text(contributor_token(listed))
    settings = make_settings(queue=QueueSettings(review_token_file=str(token_file)))
    reference, _ = listed_upload(settings, records, listed.known)
    Rulings(records, settings).confirm(reference, actor="ann")
    queue = ReviewQueue(records, settings)
    until = time.monotonic() + 120
    with open_hook(settings):
        while {state for _, _, state in told(queue, reference)} != {FeedbackState.SENT}:
            assert time.monotonic() < until
            time.sleep(0.05)
