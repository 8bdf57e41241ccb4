"""The queue: who decides what, what two persons must say, and what the hub is told of it."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import settings as settings_of_test
from hypothesis import strategies as st

from hashhub.client import Client
from hashhub.errors import (
    Conflict,
    FailedPrecondition,
    HashHubError,
    InvalidArgument,
    LimitExceeded,
    NotFound,
    Reason,
    Unauthenticated,
    Unavailable,
)
from hashhub.hashes import Hash
from hashhub.hashing import hash_media
from hashhub.hook import Action, HookSettings, open_hook
from hashhub.hook.cases import CaseOutcome, CasePurpose, Cases, Item, item_of_hashes
from hashhub.hook.judges import HubJudge, Judged
from hashhub.hook.people import People
from hashhub.hook.queue import Code, FeedbackState, Queue, QueueRounds
from hashhub.hook.records import Records, UploadState
from hashhub.hook.settings import CaseSettings, QueueSettings
from hashhub.hub.reviews import REVIEWS_A_DAY
from hashhub.model import (
    Contributor,
    ContributorKind,
    MatchResult,
    Principal,
    Query,
    ReasonLine,
    ReviewKind,
    Role,
    Verdict,
    VideoMatch,
    now,
)
from tests.hook.conftest import HELD
from tests.hook.waiting import checked, hit, put, records_of

if TYPE_CHECKING:
    from tests.hook.conftest import Listed

A, B, C = "police-nl/known/1", "hotline-de/known/1", "hotline-de/known/2"


def settings_in(directory: Path, **given: Any) -> HookSettings:
    return HookSettings(
        policy="block",
        without_answer=HELD,
        data=str(directory / "hook"),
        hub="127.0.0.1:1",
        queue=QueueSettings(**given),
    )


@pytest.fixture
def settings(tmp_path: Path) -> HookSettings:
    return settings_in(tmp_path)


@pytest.fixture
def records(settings: HookSettings) -> Records:
    return records_of(settings)


@pytest.fixture
def queue(records: Records, settings: HookSettings) -> Queue:
    return Queue(records, settings)


@pytest.fixture
def two(records: Records, tmp_path: Path) -> Queue:
    """A queue whose releases need two persons."""
    return Queue(records, settings_in(tmp_path, two_person_release=True))


# What is shown


def test_copies_of_one_item_are_one_group_and_matches_come_first(queue: Queue, records: Records) -> None:
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
    queue.confirm(review, actor="ann")
    assert queue.page().waiting == 31
    assert queue.page(states=(UploadState.REMOVED,)).groups[0].uploads[0].reference == review
    with pytest.raises(InvalidArgument):
        queue.page(limit=0)
    assert queue.page(skip=10**30).groups == ()


def test_who_uploads_much_does_not_bury_who_uploads_little(queue: Queue, records: Records) -> None:
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    for number in range(200):
        put(records, checked(upload_id=f"flood/{number}"), "UNANSWERED", begin + timedelta(seconds=number))
    late = put(records, checked(upload_id="small/1"), "UNANSWERED", begin + timedelta(days=1))
    first = [group.uploads[0].reference for group in queue.page(limit=3).groups]
    assert late in first


@settings_of_test(max_examples=15, deadline=None)
@given(sources=st.lists(st.sampled_from("abcd"), min_size=1, max_size=30))
def test_pages_show_each_group_once(tmp_path_factory: pytest.TempPathFactory, sources: list[str]) -> None:
    settings = settings_in(tmp_path_factory.mktemp("pages"))
    records = records_of(settings)
    references = {put(records, checked(upload_id=f"{s}/{n}"), "UNANSWERED") for n, s in enumerate(sources)}
    queue = Queue(records, settings)
    shown = [
        group.uploads[0].reference
        for skip in range(0, len(sources), 4)
        for group in queue.page(limit=4, skip=skip).groups
    ]
    assert len(shown) == len(references)
    assert set(shown) == references
    records.close()


def test_that_somebody_looked_is_on_record_once_a_day(queue: Queue, records: Records) -> None:
    reference = put(records, checked(hit(A)))
    for _ in range(3):
        queue.get(reference, actor="ann")
    upload = queue.get(reference)
    assert [(e.kind, e.actor) for e in upload.events] == [("upload.viewed", "ann")]
    assert upload.hits[0].exact
    assert upload.hashes[0].startswith("SHA256:")
    with pytest.raises(NotFound):
        queue.get("0" * 20)


# What is decided


def test_each_decision_is_an_event_with_its_actor(queue: Queue, records: Records) -> None:
    reference = put(records, checked(hit(A)), "BLOCKED")
    assert queue.escalate(reference, actor="ann", comment="seems to be new") is UploadState.BLOCKED
    assert queue.release(reference, code=Code.OTHER, actor="ann", comment="a test card") is UploadState.RELEASED
    with pytest.raises(Conflict):
        queue.release(reference, code=Code.OTHER, actor="ann", comment="again")
    assert queue.confirm(reference, actor="bob") is UploadState.REMOVED
    with pytest.raises(Conflict):
        queue.confirm(reference, actor="bob")
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
            queue.escalate(reference, actor="ann", comment=wrong)


def test_two_different_persons_must_say_the_same(two: Queue, records: Records) -> None:
    reference = put(records, checked(hit(A, "PDQ", 12)))
    assert two.release(reference, code=Code.DIFFERENT_PICTURE, actor="eve") is UploadState.HELD
    with pytest.raises(FailedPrecondition) as error:
        two.release(reference, code=Code.DIFFERENT_PICTURE, actor="eve")
    assert error.value.reason is Reason.SECOND_PERSON_NEEDED
    with pytest.raises(Conflict, match="DIFFERENT_PICTURE"):
        two.release(reference, code=Code.OTHER, actor="ann", comment="another reason")
    assert two.get(reference).state is UploadState.HELD
    assert two.release(reference, code=Code.DIFFERENT_PICTURE, actor="ann") is UploadState.RELEASED
    assert two.get(reference).rulings[0].actors == ("eve", "ann")
    assert two.get(reference).proposal is None


def test_the_word_of_an_account_is_no_persons(two: Queue, records: Records) -> None:
    """Who proposed by an account, while there were no persons, and made oneself one, is still one."""
    reference = put(records, checked(hit(A)))
    two.release(reference, code=Code.FALSE_POSITIVE, actor="account:deploy")
    assert two.release(reference, code=Code.FALSE_POSITIVE, actor="eve") is UploadState.HELD
    proposal = two.get(reference).proposal
    assert proposal is not None
    assert proposal.actor == "eve"
    assert two.release(reference, code=Code.FALSE_POSITIVE, actor="ann") is UploadState.RELEASED
    assert two.get(reference).rulings[0].actors == ("eve", "ann")


def test_a_decision_says_who_of_them_had_read_what_is_known(two: Queue, records: Records) -> None:
    reference = put(records, checked(hit(A)))
    two.release(reference, code=Code.FALSE_POSITIVE, actor="eve")
    two.get(reference, actor="ann")
    two.release(reference, code=Code.FALSE_POSITIVE, actor="ann")
    [event] = [e for e in records.events(subject=reference) if e.kind == "upload.released"]
    assert (event.details["actors"], event.details["viewed_by"]) == (["eve", "ann"], ["ann"])


def test_a_proposed_release_ends_when_the_facts_change(two: Queue, records: Records) -> None:
    one = checked()
    reference = put(records, one, "UNANSWERED")
    two.release(reference, code=Code.OTHER, actor="eve", comment="looks harmless")
    matched = checked(hit(A))  # the hub is back, and knows it
    matched = msgspec.structs.replace(matched, decision=msgspec.structs.replace(matched.decision, reference=reference))
    put(records, matched, "BLOCKED")
    with pytest.raises(Conflict, match="changed"):
        two.release(reference, code=Code.OTHER, actor="ann", comment="looks harmless")
    upload = two.get(reference)
    assert (upload.state, upload.proposal) == (UploadState.BLOCKED, None)
    assert upload.events[-1].kind == "release.withdrawn"


def test_a_proposal_ends_by_a_word_against_it(two: Queue, records: Records) -> None:
    first, second, third = (put(records, checked(hit(A))) for _ in range(3))
    for reference in (first, second, third):
        two.release(reference, code=Code.FALSE_POSITIVE, actor="eve")
    two.withdraw(first, actor="ann", comment="not so")
    with pytest.raises(NotFound):
        two.withdraw(first, actor="ann")
    assert two.confirm(second, actor="ann") is UploadState.REMOVED
    people = People(records)
    people.add("eve", days=1, actor="account:root")
    people.remove("eve", actor="account:root")  # an account that was stolen
    for reference in (first, second, third):
        assert two.get(reference).proposal is None
        assert two.get(reference).state is not UploadState.RELEASED


def test_two_who_release_at_once_make_one_release(two: Queue, records: Records, tmp_path: Path) -> None:
    reference = put(records, checked(hit(A)))
    others = [
        Queue(records_of(settings_in(tmp_path)), settings_in(tmp_path, two_person_release=True)) for _ in range(6)
    ]
    outcomes: list[str] = []

    def run(number: int) -> None:
        try:
            outcomes.append(others[number].release(reference, code=Code.FALSE_POSITIVE, actor=f"p{number}"))
        except HashHubError as e:
            outcomes.append(e.reason)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(others))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["CONCURRENT_CHANGE"] * 4 + ["HELD", "RELEASED"]
    assert len(two.get(reference).rulings) == 1


def test_who_acts_is_who_holds_the_token(records: Records) -> None:
    people = People(records)
    token = people.add("ann", days=1, actor="account:root")
    assert people.who(token).name == "ann"
    assert [p.name for p in people.everybody()] == ["ann"]
    with pytest.raises(HashHubError):
        people.add("ann", days=1, actor="account:root")
    for wrong in ("", "ann", token[:-1], token + "x", "\udcff"):
        with pytest.raises(Unauthenticated):
            people.who(wrong)
    records.write("UPDATE person SET expire_time = '2020-01-01T00:00:00+00:00'")
    with pytest.raises(Unauthenticated) as error:
        people.who(token)
    assert error.value.reason is Reason.TOKEN_EXPIRED
    for name in ("", "Ann", "a b", "a/b", "é", "x" * 64, "hook"):
        with pytest.raises(InvalidArgument):
            people.add(name, days=1, actor="account:root")
    people.remove("ann", actor="account:root")
    with pytest.raises(Unauthenticated):
        people.who(token)
    assert token not in Path(records_path(records)).read_bytes().decode("latin-1")
    assert [e.kind for e in records.events()] == ["person.added", "person.removed"]


def records_path(records: Records) -> str:
    path: str = records.rows("PRAGMA database_list")[0][2]
    return path


# What the hub is told


def told(queue: Queue, reference: str) -> list[tuple[str, str, FeedbackState]]:
    return [(f.entry, f.kind, f.state) for f in queue.get(reference).feedback]


@pytest.mark.parametrize(
    ("code", "kind"), [(Code.FALSE_POSITIVE, "FALSE_POSITIVE"), (Code.NOT_ILLEGAL_HERE, "NOT_ILLEGAL_HERE")]
)
def test_an_objection_is_about_the_listed_file_itself(queue: Queue, records: Records, code: Code, kind: str) -> None:
    """Who draws pictures that come near to a listed one, to have them cleared, has no entry disputed by it."""
    near = put(records, checked(hit(A, "PDQ", 30), verdict=Verdict.REVIEW))
    turned = put(records, checked(hit(A, "MD5", 0, variant="as stored")))
    for reference in (near, turned):
        with pytest.raises(InvalidArgument, match="DIFFERENT_PICTURE"):
            queue.release(reference, code=code, actor="ann")
        queue.release(reference, code=Code.DIFFERENT_PICTURE, actor="ann")
        assert told(queue, reference) == [(A, "", FeedbackState.NOT_SAID)]
    both = put(records, checked(hit(A), hit(B, "PDQ", 2)))
    queue.release(both, code=code, actor="ann")
    assert told(queue, both) == [(A, kind, FeedbackState.QUEUED), (B, kind, FeedbackState.NOT_SAID)]


def test_a_thousand_copies_are_told_once(queue: Queue, records: Records) -> None:
    states = []
    for _ in range(20):
        reference = put(records, checked(hit(A), hit(A, "PDQ", 0)))
        queue.confirm(reference, actor="ann")
        states += told(queue, reference)
    assert states == [(A, "CONFIRMED", FeedbackState.QUEUED)] + [(A, "CONFIRMED", FeedbackState.COVERED)] * 19
    reference = put(records, checked(hit(A)))
    queue.release(reference, code=Code.FALSE_POSITIVE, actor="ann")  # another word is told
    assert told(queue, reference) == [(A, "FALSE_POSITIVE", FeedbackState.QUEUED)]


def test_with_the_hub_away_reviews_wait(queue: Queue, records: Records) -> None:
    reference = put(records, checked(hit(A)))
    queue.confirm(reference, actor="ann")
    for _ in range(2):
        assert queue.send()[FeedbackState.QUEUED] == 1
    assert told(queue, reference) == [(A, "CONFIRMED", FeedbackState.QUEUED)]


_MEMBER = itertools.count()


@pytest.fixture
def asking(make_settings: Callable[..., HookSettings]) -> tuple[HookSettings, Records]:
    settings = make_settings()
    return settings, records_of(settings)


def listed_upload(settings: HookSettings, records: Records, content: bytes) -> tuple[str, list[str]]:
    """Put what the real hub answers about an upload into the queue; return its reference and the entries hit."""
    judge = HubJudge(settings)
    query = hash_media(content).query()
    result = judge.judge(query).result
    judge.close()
    one = checked(*result.matches, hashes=query.hashes, upload_id="secret-account/secret-name.jpg")
    return put(records, one, "BLOCKED"), sorted({m.entry.name for m in result.matches})


def contributor_token(listed: Listed, contributor: str = "app") -> str:
    name = f"reviewer-{next(_MEMBER)}"
    return listed.operator.create_token(Principal(name=name, role=Role.CONTRIBUTOR, contributor=contributor))


def test_a_decision_becomes_one_review_of_each_entry(
    asking: tuple[HookSettings, Records], listed: Listed, tmp_path: Path, make_settings: Callable[..., HookSettings]
) -> None:
    _, records = asking
    token_file = tmp_path / "review.token"
    token_file.write_text(contributor_token(listed))
    settings = make_settings(queue=QueueSettings(review_token_file=str(token_file)))
    queue = Queue(records, settings)
    reference, entries = listed_upload(settings, records, listed.known)
    assert len(entries) == 4, "an MD5 and a PDQ digest of two lists, each an entry"
    before = {entry: len(list(listed.operator.list_reviews(entry))) for entry in entries}
    queue.confirm(reference, actor="ann", comment="a private remark")

    class LosesAnswers:
        """A hub whose answers get lost after it did what was asked."""

        def __init__(self) -> None:
            self.client = Client(listed.hub.address, token_file.read_text(), timeout=60.0)

        def create_review(self, *given: Any, **more: Any) -> None:
            self.client.create_review(*given, **more)
            raise Unavailable("the answer was lost")

    lossy = LosesAnswers()
    assert queue.send(lossy)[FeedbackState.QUEUED] == 4  # type: ignore[arg-type]
    lossy.client.close()
    assert queue.send()[FeedbackState.SENT] == 4
    assert queue.send() == dict.fromkeys(FeedbackState, 0)
    for entry in entries:
        reviews = list(listed.operator.list_reviews(entry))
        assert len(reviews) == before[entry] + 1, "sent once, although its answer was lost"
        last = reviews[-1]
        assert (last.author, last.kind) == ("app", ReviewKind.CONFIRMED)
        assert "blocked by the upload hook, then removed" in last.comment
        for private in ("secret", "ann", "remark", reference):
            assert private not in last.comment
    assert {state for _, _, state in told(queue, reference)} == {FeedbackState.SENT}


def test_an_entry_that_was_reviewed_too_often_today_holds_up_no_other(
    asking: tuple[HookSettings, Records], listed: Listed, tmp_path: Path, make_settings: Callable[..., HookSettings]
) -> None:
    _, records = asking
    token_file = tmp_path / "review.token"
    other = Contributor(id="other-app", display_name="Other app", kind=ContributorKind.PLATFORM, jurisdiction="IE")
    listed.operator.create_contributor(other)  # what it says of an entry counts in no other test
    token_file.write_text(contributor_token(listed, other.id))
    queue = Queue(records, make_settings(queue=QueueSettings(review_token_file=str(token_file))))
    reference, entries = listed_upload(make_settings(), records, listed.known)
    queue.confirm(reference, actor="ann")
    with Client(listed.hub.address, token_file.read_text()) as client:
        for _ in range(REVIEWS_A_DAY):
            client.create_review(entries[0], ReviewKind.CONFIRMED, "again")
        with pytest.raises(LimitExceeded) as refused:
            client.create_review(entries[0], ReviewKind.CONFIRMED, "again")
    assert refused.value.retry_after is None
    fates = queue.send()
    waiting = {f.entry for f in queue.get(reference).feedback if f.state is FeedbackState.QUEUED}
    assert waiting == {entries[0]}
    assert (fates[FeedbackState.SENT], fates[FeedbackState.QUEUED]) == (3, 1)


@pytest.mark.parametrize("error", [LimitExceeded("the hub is busy", retry_after=1.0), Unavailable("the hub is away")])
def test_a_hub_that_is_busy_is_not_asked_for_each_review_that_waits(
    settings: HookSettings, records: Records, error: HashHubError
) -> None:
    queue = Queue(records, settings)
    for entry in (A, B):
        queue.confirm(put(records, checked(hit(entry))), actor="ann")
    asked: list[str] = []

    class Busy(Client):
        def create_review(self, entry: str, *_: object, **__: object) -> NoReturn:
            asked.append(entry)
            raise error

    with Busy("127.0.0.1:1", "token") as client:
        assert queue.send(client)[FeedbackState.QUEUED] == 2
    assert asked == [A]


def test_a_token_that_may_not_review_is_said_and_the_queue_goes_on(
    asking: tuple[HookSettings, Records], listed: Listed, tmp_path: Path, make_settings: Callable[..., HookSettings]
) -> None:
    settings, records = asking  # a consumer's token
    queue = Queue(records, settings)
    reference, _ = listed_upload(settings, records, listed.known)
    queue.confirm(reference, actor="ann")
    gone = put(records, checked(hit("police-nl/known/999999")))
    queue.confirm(gone, actor="ann")
    fates = queue.send()
    assert (fates[FeedbackState.REFUSED], fates[FeedbackState.QUEUED]) == (5, 0)
    assert {f.detail for f in queue.get(reference).feedback} == {"ROLE_NOT_ALLOWED"}
    token_file = tmp_path / "review.token"
    token_file.write_text(contributor_token(listed))
    queue = Queue(records, make_settings(queue=QueueSettings(review_token_file=str(token_file))))
    assert queue.resend(actor="account:root") == 5
    fates = queue.send()
    assert (fates[FeedbackState.SENT], fates[FeedbackState.GONE]) == (4, 1)
    assert records.verify() > 0


class Hub(Client):
    """A hub that takes reviews or not, and remembers those that it took."""

    def __init__(self) -> None:
        super().__init__("127.0.0.1:1", "token")
        self.takes = True
        self.said: list[tuple[str, ReviewKind]] = []

    def create_review(self, entry: str, kind: ReviewKind, *_: Any, **__: Any) -> Any:
        if not self.takes:
            raise Unauthenticated("the token is not known: it was revoked")
        self.said.append((entry, kind))


@settings_of_test(max_examples=60, deadline=None)
@given(
    words=st.lists(
        st.tuples(
            st.sampled_from([A, B]), st.sampled_from(["confirm", "object", "other"]), st.booleans(), st.booleans()
        ),
        max_size=8,
    )
)
@example(words=[(A, "object", False, True), (A, "confirm", True, True)])  # the objection is of yesterday
@example(words=[(A, "confirm", False, True)] * 3)
def test_what_is_sent_again_is_the_last_word_and_said_once(
    tmp_path_factory: pytest.TempPathFactory, words: list[tuple[str, str, bool, bool]]
) -> None:
    """Decisions of weeks come together while a token was revoked; an old one must not stand above a newer one."""
    settings = settings_in(tmp_path_factory.mktemp("again"))
    records = records_of(settings)
    queue = Queue(records, settings)
    last: dict[str, ReviewKind] = {}
    with Hub() as hub:
        for entry, word, takes, is_sent in words:
            reference = put(records, checked(hit(entry)))
            if word == "confirm":
                queue.confirm(reference, actor="ann")
                last[entry] = ReviewKind.CONFIRMED
            elif word == "object":
                queue.release(reference, code=Code.FALSE_POSITIVE, actor="ann")
                last[entry] = ReviewKind.FALSE_POSITIVE
            else:
                queue.release(reference, code=Code.OTHER, actor="ann", comment="another reason")
            hub.takes = takes
            if is_sent:
                queue.send(hub)
        hub.takes = True
        queue.resend(actor="account:root")
        queue.send(hub)
        assert queue.resend(actor="account:root") == 0
    for entry in (A, B):
        kinds = [kind for of, kind in hub.said if of == entry]
        assert kinds[-1:] == ([last[entry]] if entry in last else [])
        assert all(one is not other for one, other in itertools.pairwise(kinds)), "the same was said twice"
    records.close()


# Asked again


class Says:
    """A judge that answers what it is told to."""

    def __init__(self, *hits: Any, verdict: Verdict = Verdict.MATCH) -> None:
        self.hits, self.verdict, self.queries = hits, verdict, list[Query]()

    def judge(self, query: Query) -> Judged:
        self.queries.append(query)
        return Judged(result=MatchResult(verdict=self.verdict, matches=self.hits), policy="block@1", revision=9)

    def revision(self) -> int:
        return 9

    def close(self) -> None:
        pass


def test_what_was_withdrawn_is_shown_and_not_released(two: Queue, records: Records) -> None:
    reference = put(records, checked(hit(A, "PDQ", 3, "turned"), hit(B)), "BLOCKED")
    two.release(reference, code=Code.OTHER, actor="eve", comment="they will withdraw it")
    assert two.recheck(Says(hit(A, "PDQ", 3, "turned"), hit(B))) == (1, 0)
    judge = Says(verdict=Verdict.NO_MATCH)
    assert two.recheck(judge) == (1, 1)
    assert two.recheck(judge) == (1, 0), "said once"
    [variant] = judge.queries[0].variants
    assert (variant.variant, variant.hashes[0].algorithm) == ("turned", "PDQ")
    upload = two.get(reference)
    assert upload.state is UploadState.BLOCKED
    assert upload.later_answer is not None
    assert (upload.later_answer.verdict, upload.later_answer.gone) == (Verdict.NO_MATCH, (B, A))
    assert two.page().groups[0].uploads[0].verdict_now == "NO_MATCH"
    with pytest.raises(Conflict, match="changed"):  # the first spoke of other facts
        two.release(reference, code=Code.OTHER, actor="ann", comment="withdrawn")


def test_a_review_that_is_a_match_by_now_comes_first(queue: Queue, records: Records) -> None:
    put(records, checked(hit(B), verdict=Verdict.REVIEW))
    reference = put(records, checked(hit(A), verdict=Verdict.REVIEW))
    assert queue.page().groups[0].uploads[0].reference != reference
    records.write("INSERT INTO later_answer VALUES (?, '2026-01-01T00:00:00+00:00', 'MATCH', 9, ?)", (reference, A))
    assert queue.page().groups[0].uploads[0].reference == reference


def test_what_cannot_be_asked_again_is_left_alone_and_the_longest_unasked_come_first(
    queue: Queue, records: Records
) -> None:
    for _ in range(3):
        put(records, checked(hit(A), hashes=()))
    for _ in range(5):
        put(records, checked(hit(A)))
    put(records, checked(), "UNANSWERED")
    judge = Says(hit(A))
    assert [queue.recheck(judge, limit=2)[0] for _ in range(3)] == [2, 2, 2]
    assert len({query.hashes for query in judge.queries}) == 5
    with pytest.raises(Unavailable):
        queue.recheck(Says(verdict=Verdict.UNAVAILABLE))


def test_a_picture_that_hit_a_frame_of_a_video_is_asked_about_again_and_a_video_is_not(
    queue: Queue, records: Records
) -> None:
    shown = msgspec.structs.replace(
        hit(A, "VPDQ", 3, "frame"), video=VideoMatch(query_share=100.0, entry_share=10.0, ranges=())
    )
    put(records, checked(shown, media_type="video/mp4"))
    put(records, checked(shown, media_type="image/png"))
    judge = Says(shown)
    assert queue.recheck(judge) == (1, 0)
    [variant] = judge.queries[0].variants
    assert (variant.variant, variant.hashes[0].algorithm) == ("frame", "PDQ")


def case_about(cases: Cases, *hashes: Hash) -> str:
    opened = cases.open(
        item_of_hashes(hashes),
        purpose=CasePurpose.INTIMATE_IMAGE,
        complaint="T-1",
        reason="asked for",
        actor="ann",
        receive_time=datetime.now(UTC),
    )
    return opened.name


def test_a_case_that_was_opened_since_is_shown_and_ends_what_was_proposed(two: Queue, records: Records) -> None:
    one = checked(hit(A))
    reference = put(records, one)
    assert two.get(reference).cases == ()
    two.release(reference, code=Code.OTHER, actor="eve", comment="a friend's")
    cases = Cases(records, CaseSettings())
    case = case_about(cases, *one.hashes)
    [about] = two.get(reference).cases
    assert (about.case, about.action) == (case, Action.HOLD)
    with pytest.raises(Conflict, match="changed"):
        two.release(reference, code=Code.OTHER, actor="bob", comment="a friend's")
    cases.confirm(case, actor="bob", reason="looked at it")
    for code in (Code.OTHER, Code.FALSE_POSITIVE, Code.DIFFERENT_PICTURE):  # it is that very file
        with pytest.raises(FailedPrecondition, match=case):
            two.release(reference, code=code, actor="bob", comment="a friend's")
    cases.close(case, CaseOutcome.REJECTED, actor="bob", reason="not so")
    two.release(reference, code=Code.OTHER, actor="eve", comment="a friend's")
    assert two.release(reference, code=Code.OTHER, actor="bob", comment="a friend's") is UploadState.RELEASED


@pytest.mark.parametrize(
    ("how", "allowed"),
    [
        ("PDQ at distance 12, by its variant border", {Code.DIFFERENT_PICTURE}),
        ("VPDQ at distance 4", {Code.DIFFERENT_PICTURE}),
        ("PDQ exactly, by its variant frame", {Code.DIFFERENT_PICTURE, Code.OTHER}),  # a part holds, and never blocks
    ],
)
def test_a_case_that_stopped_an_upload_by_what_is_not_kept_is_shown_and_ends_no_sooner(
    queue: Queue, records: Records, how: str, allowed: set[Code]
) -> None:
    cases = Cases(records, CaseSettings())
    case = case_about(cases, Hash("PDQ", Random(1).randbytes(32)))
    line = ReasonLine(code="CASE_HOLD", clause=case, text=f"a copy of what {case} is about: {how}")
    one = checked(hit(A), verdict=Verdict.REVIEW, media_type="video/mp4")
    references = {}
    for code in (Code.OTHER, Code.DIFFERENT_PICTURE):
        decision = msgspec.structs.replace(one.decision, reasons=(line,), reference=f"upload-{code}")
        references[code] = put(records, msgspec.structs.replace(one, decision=decision))
    cases.confirm(case, actor="bob", reason="looked at it")
    for code, reference in references.items():
        [about] = queue.get(reference).cases
        assert (about.case, about.how) == (case, how)
        if code in allowed:
            assert queue.release(reference, code=code, actor="eve", comment="a friend's") is UploadState.RELEASED
        else:
            with pytest.raises(FailedPrecondition, match=case):
                queue.release(reference, code=code, actor="eve", comment="a friend's")
    cases.close(case, CaseOutcome.REJECTED, actor="bob", reason="not so")
    assert queue.get(references[Code.OTHER]).cases == ()


def test_a_part_that_is_near_hides_no_case_that_is_about_the_whole(queue: Queue, records: Records) -> None:
    """It was stopped as a variant of the picture, and is also like a frame of the case's video."""
    cases = Cases(records, CaseSettings())
    picture, shown = (Hash("PDQ", Random(i).randbytes(32)) for i in (1, 2))
    opened = cases.open(
        Item(hashes=((picture, ""), (Hash("VPDQ", shown.digest), ""))),
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
        queue.release(reference, code=Code.OTHER, actor="eve", comment="a friend's")


@pytest.mark.parametrize("seen", ["nothing", "looked", "escalated", "proposed", "changed"])
def test_reasons_are_added_to_no_upload_that_somebody_may_decide_over_by_what_they_saw(
    two: Queue, records: Records, seen: str
) -> None:
    one = checked(hit(A))
    reference = put(records, one)
    more = msgspec.structs.replace(one, result=MatchResult(verdict=Verdict.MATCH, matches=(hit(A), hit(B))))
    match seen:
        case "looked":
            two.get(reference, actor="eve")
        case "escalated":
            two.escalate(reference, actor="eve", comment="whose is it?")
        case "proposed":
            two.release(reference, code=Code.OTHER, actor="eve", comment="a friend's")
        case "changed":
            assert records.add_reasons(UploadState.HELD, one, more)
    before = two.get(reference)
    others = msgspec.structs.replace(one, result=MatchResult(verdict=Verdict.MATCH, matches=(hit(A), hit(C))))
    assert records.add_reasons(UploadState.HELD, one, others) == (seen == "nothing")
    hits = {h.entry for h in two.get(reference).hits}
    assert hits == ({A, C} if seen == "nothing" else {h.entry for h in before.hits})


def test_a_case_is_about_a_listed_video_whose_frames_are_not_kept(queue: Queue, records: Records) -> None:
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
        queue.release(reference, code=Code.DIFFERENT_PICTURE, actor="eve")


def test_an_answer_that_says_the_same_ends_no_proposal(two: Queue, records: Records) -> None:
    reference = put(records, checked(hit(A)))
    two.release(reference, code=Code.OTHER, actor="eve", comment="legal here")
    assert two.recheck(Says(hit(A))) == (1, 0)
    assert two.release(reference, code=Code.OTHER, actor="bob", comment="legal here") is UploadState.RELEASED


def test_the_hook_sends_and_asks_again_by_itself(settings: HookSettings, records: Records) -> None:
    old, young = (put(records, checked(hit(A)), time=now() - age) for age in (timedelta(days=2), timedelta(hours=1)))
    judge = Says(verdict=Verdict.NO_MATCH)
    rounds = QueueRounds(records, settings, judge)
    rounds.round()
    rounds.round()  # nothing is due for an hour
    assert len(judge.queries) == 1
    queue = Queue(records, settings)
    assert queue.get(old).later_answer is not None
    assert queue.get(young).later_answer is None
    away = QueueRounds(records, settings, Says(verdict=Verdict.UNAVAILABLE))
    records.write("UPDATE later_answer SET time = ?", ((now() - timedelta(days=2)).isoformat(),))
    away.round()  # no answer is no error of the thread
    queue.confirm(old, actor="ann")
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
    queue = Queue(records, settings)
    for reference in (came, asked):
        answer = queue.get(reference).later_answer
        assert answer is not None
        assert answer.verdict is Verdict.MATCH
        assert answer.time < ahead


def test_a_look_by_a_clock_that_was_ahead_hides_no_look_of_today(queue: Queue, records: Records) -> None:
    reference = put(records, checked(hit(A)))
    with pytest.MonkeyPatch.context() as ahead:
        for module in ("records", "queue"):
            ahead.setattr(f"hashhub.hook.{module}.now", lambda: now() + timedelta(days=365))
        queue.get(reference, actor="ann")
    for _ in range(2):
        queue.get(reference, actor="ann")
    assert [event.kind for event in records.events(subject=reference)] == ["upload.viewed"] * 2


def test_a_running_hook_sends_the_reviews_that_wait(
    asking: tuple[HookSettings, Records], listed: Listed, tmp_path: Path, make_settings: Callable[..., HookSettings]
) -> None:
    _, records = asking
    token_file = tmp_path / "review.token"
    token_file.write_text(contributor_token(listed))
    settings = make_settings(queue=QueueSettings(review_token_file=str(token_file)))
    reference, _ = listed_upload(settings, records, listed.known)
    Queue(records, settings).confirm(reference, actor="ann")
    queue = Queue(records, settings)
    until = time.monotonic() + 120
    with open_hook(settings):
        while {state for _, _, state in told(queue, reference)} != {FeedbackState.SENT}:
            assert time.monotonic() < until
            time.sleep(0.05)
