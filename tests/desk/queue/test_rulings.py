"""Who decides what, and what two persons must say."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import msgspec
import pytest

from hashhub.desk.cases.clocks import CasePurpose
from hashhub.desk.cases.item import CaseItem
from hashhub.desk.cases.life import CaseOutcome, Cases
from hashhub.desk.people import People
from hashhub.desk.queue.reviews import LaterAnswers
from hashhub.desk.queue.rulings import Rulings
from hashhub.desk.queue.view import ReviewQueue, RulingCode
from hashhub.desk.records import Records, UploadState
from hashhub.desk.settings import CaseSettings
from hashhub.errors import Conflict, FailedPrecondition, HashHubError, InvalidArgument, NotFound, Reason
from hashhub.hashes import Hash
from hashhub.hook import Action
from hashhub.model import ReasonLine, Verdict, VideoMatch
from tests.desk.queue.parts import A, B, Says, case_about, settings_in
from tests.hook.waiting import checked, hit, put, records_of


def test_each_decision_is_an_event_with_its_actor(queue: ReviewQueue, rulings: Rulings, records: Records) -> None:
    reference = put(records, checked(hit(A)), "BLOCKED")
    assert rulings.escalate(reference, actor="ann", comment="seems to be new") is UploadState.BLOCKED
    assert rulings.release(reference, code=RulingCode.OTHER, actor="ann", comment="a test card") is UploadState.RELEASED
    with pytest.raises(Conflict):
        rulings.release(reference, code=RulingCode.OTHER, actor="ann", comment="again")
    assert rulings.confirm(reference, actor="bob") is UploadState.REMOVED
    with pytest.raises(Conflict):
        rulings.confirm(reference, actor="bob")
    upload = queue.get(reference)
    assert [(r.ruling, r.actors) for r in upload.rulings] == [
        ("ESCALATE", ("ann",)),
        ("RELEASE", ("ann",)),
        ("CONFIRM", ("bob",)),
    ]
    assert [(e.kind, e.actor) for e in upload.events] == [
        ("upload.escalated", "ann"),
        ("upload.released", "ann"),
        ("upload.removed", "bob"),
    ]
    assert records.verify() == 3
    for wrong in ("", " ", "a\nb", "x" * 2000):
        with pytest.raises(InvalidArgument, match="comment"):
            rulings.escalate(reference, actor="ann", comment=wrong)


def test_two_different_persons_must_say_the_same(two: Rulings, queue: ReviewQueue, records: Records) -> None:
    reference = put(records, checked(hit(A, "PDQ", 12)))
    assert two.release(reference, code=RulingCode.DIFFERENT_PICTURE, actor="eve") is UploadState.HELD
    with pytest.raises(FailedPrecondition) as error:
        two.release(reference, code=RulingCode.DIFFERENT_PICTURE, actor="eve")
    assert error.value.reason is Reason.SECOND_PERSON_NEEDED
    with pytest.raises(Conflict, match="DIFFERENT_PICTURE"):
        two.release(reference, code=RulingCode.OTHER, actor="ann", comment="another reason")
    assert queue.get(reference).state is UploadState.HELD
    assert two.release(reference, code=RulingCode.DIFFERENT_PICTURE, actor="ann") is UploadState.RELEASED
    assert queue.get(reference).rulings[0].actors == ("eve", "ann")
    assert queue.get(reference).proposal is None


def test_the_word_of_an_account_is_no_persons(two: Rulings, queue: ReviewQueue, records: Records) -> None:
    """Who proposed by an account, while there were no persons, and made oneself one, is still one."""
    reference = put(records, checked(hit(A)))
    two.release(reference, code=RulingCode.FALSE_POSITIVE, actor="account:deploy")
    assert two.release(reference, code=RulingCode.FALSE_POSITIVE, actor="eve") is UploadState.HELD
    proposal = queue.get(reference).proposal
    assert proposal is not None
    assert proposal.actor == "eve"
    assert two.release(reference, code=RulingCode.FALSE_POSITIVE, actor="ann") is UploadState.RELEASED
    assert queue.get(reference).rulings[0].actors == ("eve", "ann")


def test_a_decision_says_who_of_them_had_read_what_is_known(two: Rulings, queue: ReviewQueue, records: Records) -> None:
    reference = put(records, checked(hit(A)))
    two.release(reference, code=RulingCode.FALSE_POSITIVE, actor="eve")
    queue.get(reference, actor="ann")
    two.release(reference, code=RulingCode.FALSE_POSITIVE, actor="ann")
    [event] = [e for e in records.events(subject=reference) if e.kind == "upload.released"]
    assert (event.details["actors"], event.details["viewed_by"]) == (["eve", "ann"], ["ann"])


def test_a_proposed_release_ends_when_the_facts_change(two: Rulings, queue: ReviewQueue, records: Records) -> None:
    one = checked()
    reference = put(records, one, "UNANSWERED")
    two.release(reference, code=RulingCode.OTHER, actor="eve", comment="looks harmless")
    matched = checked(hit(A))  # the hub is back, and knows it
    matched = msgspec.structs.replace(matched, decision=msgspec.structs.replace(matched.decision, reference=reference))
    put(records, matched, "BLOCKED")
    with pytest.raises(Conflict, match="changed"):
        two.release(reference, code=RulingCode.OTHER, actor="ann", comment="looks harmless")
    upload = queue.get(reference)
    assert (upload.state, upload.proposal) == (UploadState.BLOCKED, None)
    assert upload.events[-1].kind == "release.withdrawn"


def test_a_proposal_ends_by_a_word_against_it(two: Rulings, queue: ReviewQueue, records: Records) -> None:
    first, second, third = (put(records, checked(hit(A))) for _ in range(3))
    for reference in (first, second, third):
        two.release(reference, code=RulingCode.FALSE_POSITIVE, actor="eve")
    two.withdraw(first, actor="ann", comment="not so")
    with pytest.raises(NotFound):
        two.withdraw(first, actor="ann")
    assert two.confirm(second, actor="ann") is UploadState.REMOVED
    people = People(records)
    people.add("eve", days=1, actor="account:root")
    people.remove("eve", actor="account:root")  # an account that was stolen
    for reference in (first, second, third):
        assert queue.get(reference).proposal is None
        assert queue.get(reference).state is not UploadState.RELEASED


def test_two_who_release_at_once_make_one_release(queue: ReviewQueue, records: Records, tmp_path: Path) -> None:
    reference = put(records, checked(hit(A)))
    others = [
        Rulings(records_of(settings_in(tmp_path)), settings_in(tmp_path, two_person_release=True)) for _ in range(6)
    ]
    outcomes: list[str] = []

    def run(number: int) -> None:
        try:
            outcomes.append(others[number].release(reference, code=RulingCode.FALSE_POSITIVE, actor=f"p{number}"))
        except HashHubError as e:
            outcomes.append(e.reason)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(others))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["CONCURRENT_CHANGE"] * 4 + ["HELD", "RELEASED"]
    assert len(queue.get(reference).rulings) == 1


def test_an_answer_that_says_the_same_ends_no_proposal(two: Rulings, later: LaterAnswers, records: Records) -> None:
    reference = put(records, checked(hit(A)))
    two.release(reference, code=RulingCode.OTHER, actor="eve", comment="legal here")
    assert later.recheck(Says(hit(A))) == (1, 0)
    assert two.release(reference, code=RulingCode.OTHER, actor="bob", comment="legal here") is UploadState.RELEASED


def test_a_case_that_was_opened_since_is_shown_and_ends_what_was_proposed(
    two: Rulings, queue: ReviewQueue, records: Records
) -> None:
    one = checked(hit(A))
    reference = put(records, one)
    assert queue.get(reference).cases == ()
    two.release(reference, code=RulingCode.OTHER, actor="eve", comment="a friend's")
    cases = Cases(records, CaseSettings())
    case = case_about(cases, *one.hashes)
    [about] = queue.get(reference).cases
    assert (about.case, about.action) == (case, Action.HOLD)
    with pytest.raises(Conflict, match="changed"):
        two.release(reference, code=RulingCode.OTHER, actor="bob", comment="a friend's")
    cases.confirm(case, actor="bob", reason="looked at it")
    for code in (RulingCode.OTHER, RulingCode.FALSE_POSITIVE, RulingCode.DIFFERENT_PICTURE):  # it is that very file
        with pytest.raises(FailedPrecondition, match=case):
            two.release(reference, code=code, actor="bob", comment="a friend's")
    cases.close(case, CaseOutcome.REJECTED, actor="bob", reason="not so")
    two.release(reference, code=RulingCode.OTHER, actor="eve", comment="a friend's")
    assert two.release(reference, code=RulingCode.OTHER, actor="bob", comment="a friend's") is UploadState.RELEASED


@pytest.mark.parametrize(
    ("how", "allowed"),
    [
        ("PDQ at distance 12, by its variant border", {RulingCode.DIFFERENT_PICTURE}),
        ("VPDQ at distance 4", {RulingCode.DIFFERENT_PICTURE}),
        (
            "PDQ exactly, by its variant frame",
            {RulingCode.DIFFERENT_PICTURE, RulingCode.OTHER},
        ),  # a part holds, and never blocks
    ],
)
def test_a_case_that_stopped_an_upload_by_what_is_not_kept_is_shown_and_ends_no_sooner(
    queue: ReviewQueue, rulings: Rulings, records: Records, how: str, allowed: set[RulingCode]
) -> None:
    cases = Cases(records, CaseSettings())
    case = case_about(cases, Hash("PDQ", Random(1).randbytes(32)))
    line = ReasonLine(code="CASE_HOLD", clause=case, text=f"a copy of what {case} is about: {how}")
    one = checked(hit(A), verdict=Verdict.REVIEW, media_type="video/mp4")
    references = {}
    for code in (RulingCode.OTHER, RulingCode.DIFFERENT_PICTURE):
        decision = msgspec.structs.replace(one.decision, reasons=(line,), reference=f"upload-{code}")
        references[code] = put(records, msgspec.structs.replace(one, decision=decision))
    cases.confirm(case, actor="bob", reason="looked at it")
    for code, reference in references.items():
        [about] = queue.get(reference).cases
        assert (about.case, about.how) == (case, how)
        if code in allowed:
            assert rulings.release(reference, code=code, actor="eve", comment="a friend's") is UploadState.RELEASED
        else:
            with pytest.raises(FailedPrecondition, match=case):
                rulings.release(reference, code=code, actor="eve", comment="a friend's")
    cases.close(case, CaseOutcome.REJECTED, actor="bob", reason="not so")
    assert queue.get(references[RulingCode.OTHER]).cases == ()


def test_a_part_that_is_near_hides_no_case_that_is_about_the_whole(
    queue: ReviewQueue, rulings: Rulings, records: Records
) -> None:
    """It was stopped as a variant of the picture, and is also like a frame of the case's video."""
    cases = Cases(records, CaseSettings())
    picture, shown = (Hash("PDQ", Random(i).randbytes(32)) for i in (1, 2))
    opened = cases.open(
        CaseItem(hashes=((picture, ""), (Hash("VPDQ", shown.digest), ""))),
        purpose=CasePurpose.INTIMATE_IMAGE,
        complaint="T-1",
        reason="asked for",
        actor="ann",
        receive_time=datetime.now(UTC),
    )
    how = "PDQ at distance 12, by its variant border"
    line = ReasonLine(code="CASE_HOLD", clause=opened.name, text=f"a copy of what {opened.name} is about: {how}")
    one = checked(hit(A), verdict=Verdict.REVIEW, hashes=(shown,))
    decision = msgspec.structs.replace(one.decision, reasons=(line,))
    reference = put(records, msgspec.structs.replace(one, decision=decision))
    cases.confirm(opened.name, actor="bob", reason="looked at it")
    [about] = queue.get(reference).cases
    assert (about.action, about.how) == (Action.BLOCK, how)
    with pytest.raises(FailedPrecondition, match=opened.name):
        rulings.release(reference, code=RulingCode.OTHER, actor="eve", comment="a friend's")


def test_a_case_is_about_a_listed_video_whose_frames_are_not_kept(
    queue: ReviewQueue, rulings: Rulings, records: Records
) -> None:
    shown = msgspec.structs.replace(
        hit(A, "VPDQ", 3), video=VideoMatch(query_share=100.0, entry_share=100.0, ranges=())
    )
    one = checked(shown, media_type="video/mp4")
    reference = put(records, one)
    cases = Cases(records, CaseSettings())
    case = case_about(cases, *one.hashes)
    assert [about.case for about in queue.get(reference).cases] == [case]
    cases.confirm(case, actor="bob", reason="looked at it")
    with pytest.raises(FailedPrecondition, match=case):
        rulings.release(reference, code=RulingCode.DIFFERENT_PICTURE, actor="eve")


def test_a_release_overrides_no_confirmation_that_its_author_has_not_seen(
    queue: ReviewQueue, rulings: Rulings, records: Records
) -> None:
    reference = put(records, checked(hit(A)))
    seen = queue.get(reference, actor="ann").etag
    rulings.confirm(reference, actor="bob", comment="it is so")
    for etag in (seen, ""):
        with pytest.raises(Conflict, match="bob") as error:
            rulings.release(reference, code=RulingCode.FALSE_POSITIVE, actor="ann", etag=etag)
        assert error.value.reason is Reason.CONCURRENT_CHANGE
        assert "removed" in error.value.message
    assert queue.get(reference).state is UploadState.REMOVED
    assert [event.kind for event in records.events(subject=reference)] == ["upload.viewed", "upload.removed"]
    again = queue.get(reference).etag
    assert rulings.release(reference, code=RulingCode.FALSE_POSITIVE, actor="ann", etag=again) is UploadState.RELEASED


def test_what_is_confirmed_after_a_release_is_removed(queue: ReviewQueue, rulings: Rulings, records: Records) -> None:
    reference = put(records, checked(hit(A)))
    seen = queue.get(reference).etag
    rulings.release(reference, code=RulingCode.FALSE_POSITIVE, actor="bob")
    with pytest.raises(Conflict, match="bob"):  # who names what they saw decides over nothing else
        rulings.confirm(reference, actor="ann", etag=seen)
    assert rulings.confirm(reference, actor="ann") is UploadState.REMOVED


def test_a_decision_for_what_was_read_is_taken_and_for_other_facts_is_not(
    queue: ReviewQueue, rulings: Rulings, later: LaterAnswers, records: Records
) -> None:
    for read in ("escalated", "looked", "reported"):  # none of it changes what is decided over
        reference = put(records, checked(hit(A)))
        seen = queue.get(reference).etag
        match read:
            case "escalated":
                rulings.escalate(reference, actor="bob", comment="whose is it?")
            case "looked":
                queue.get(reference, actor="bob")
            case "reported":
                rulings.reported(reference, recipient="ncmec", filed_as="7", actor="bob")
        assert (
            rulings.release(reference, code=RulingCode.FALSE_POSITIVE, actor="ann", etag=seen) is UploadState.RELEASED
        )
    one = checked(hit(A))
    reference = put(records, one)
    seen = queue.get(reference).etag
    later.recheck(Says(hit(A), hit(B)))
    with pytest.raises(Conflict, match=r"upload\.answer_changed"):
        rulings.release(reference, code=RulingCode.FALSE_POSITIVE, actor="ann", etag=seen)
    seen = queue.get(reference).etag
    case_about(Cases(records, CaseSettings()), *one.hashes)
    with pytest.raises(Conflict, match="a case"):
        rulings.release(reference, code=RulingCode.FALSE_POSITIVE, actor="ann", etag=seen)
    for wrong in ("x", "9" * 40, "-", "0-"):
        with pytest.raises(Conflict):
            rulings.confirm(reference, actor="ann", etag=wrong)


def test_what_was_decided_and_taken_back_is_not_as_it_was_read(
    queue: ReviewQueue, rulings: Rulings, records: Records
) -> None:
    reference = put(records, checked(hit(A)))
    rulings.release(reference, code=RulingCode.FALSE_POSITIVE, actor="bob")
    rulings.confirm(reference, actor="bob")
    seen = queue.get(reference).etag
    rulings.release(reference, code=RulingCode.FALSE_POSITIVE, actor="bob", etag=seen)
    rulings.confirm(reference, actor="bob", comment="it is so after all")
    with pytest.raises(Conflict, match="bob"):
        rulings.release(reference, code=RulingCode.FALSE_POSITIVE, actor="ann", etag=seen)


def test_nobody_agrees_to_a_proposal_that_they_have_not_seen(
    queue: ReviewQueue, two: Rulings, records: Records
) -> None:
    reference = put(records, checked(hit(A)))
    before = queue.get(reference).etag
    two.release(reference, code=RulingCode.OTHER, comment="our own logo", actor="ann", etag=before)
    with pytest.raises(Conflict, match=r"release\.proposed by ann"):  # would have been the second word
        two.release(reference, code=RulingCode.OTHER, comment="x", actor="bob", etag=before)
    with pytest.raises(Conflict, match=r"release\.proposed by ann"):
        two.confirm(reference, actor="bob", etag=before)
    proposed = queue.get(reference).etag
    two.withdraw(reference, actor="ann")
    with pytest.raises(Conflict, match=r"release\.withdrawn by ann"):  # would have been a first word of their own
        two.release(reference, code=RulingCode.OTHER, comment="x", actor="bob", etag=proposed)
    two.release(reference, code=RulingCode.OTHER, comment="a friend asked for it", actor="ann")
    with pytest.raises(Conflict, match=r"release\.proposed by ann"):
        two.release(reference, code=RulingCode.OTHER, comment="x", actor="bob", etag=proposed)
    assert queue.get(reference).state is UploadState.HELD
    again = queue.get(reference).etag
    assert two.release(reference, code=RulingCode.OTHER, comment="x", actor="bob", etag=again) is UploadState.RELEASED


def test_a_release_is_proposed_for_nothing_that_its_author_has_not_seen(
    queue: ReviewQueue, two: Rulings, records: Records
) -> None:
    reference = put(records, checked(hit(A)))
    seen = queue.get(reference).etag
    assert two.release(reference, code=RulingCode.FALSE_POSITIVE, actor="ann", etag=seen) is UploadState.HELD
    two.confirm(reference, actor="bob")
    for actor in ("ann", "eve"):
        with pytest.raises(Conflict, match="bob"):
            two.release(reference, code=RulingCode.FALSE_POSITIVE, actor=actor, etag=seen)
    assert queue.get(reference).proposal is None
