"""What the hub is told of decisions."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from hypothesis import example, given
from hypothesis import settings as settings_of_test
from hypothesis import strategies as st

from hashhub.client import Client
from hashhub.desk.queue.reviews import FeedbackState, ReviewSender
from hashhub.desk.queue.rulings import Rulings
from hashhub.desk.queue.view import ReviewQueue, RulingCode
from hashhub.desk.records import Records
from hashhub.desk.settings import QueueSettings
from hashhub.errors import HashHubError, InvalidArgument, LimitExceeded, Unauthenticated, Unavailable
from hashhub.hook import HookSettings
from hashhub.hub.entries import REVIEWS_A_DAY
from hashhub.model import Contributor, ContributorKind, ReviewKind, Verdict
from tests.desk.queue.parts import A, B, contributor_token, listed_upload, settings_in, told
from tests.examples import examples
from tests.hook.waiting import checked, hit, put, records_of

if TYPE_CHECKING:
    from tests.hook.conftest import Listed


@pytest.mark.parametrize(
    ("code", "kind"), [(RulingCode.FALSE_POSITIVE, "FALSE_POSITIVE"), (RulingCode.NOT_ILLEGAL_HERE, "NOT_ILLEGAL_HERE")]
)
def test_an_objection_is_about_the_listed_file_itself(
    queue: ReviewQueue, rulings: Rulings, records: Records, code: RulingCode, kind: str
) -> None:
    """Who draws pictures that come near to a listed one, to have them cleared, has no entry disputed by it."""
    near = put(records, checked(hit(A, "PDQ", 30), verdict=Verdict.REVIEW))
    turned = put(records, checked(hit(A, "MD5", 0, variant="as stored")))
    for reference in (near, turned):
        with pytest.raises(InvalidArgument, match="DIFFERENT_PICTURE"):
            rulings.release(reference, code=code, actor="ann")
        rulings.release(reference, code=RulingCode.DIFFERENT_PICTURE, actor="ann")
        assert told(queue, reference) == [(A, "", FeedbackState.NOT_SAID)]
    both = put(records, checked(hit(A), hit(B, "PDQ", 2)))
    rulings.release(both, code=code, actor="ann")
    assert told(queue, both) == [(A, kind, FeedbackState.QUEUED), (B, kind, FeedbackState.NOT_SAID)]


def test_a_thousand_copies_are_told_once(queue: ReviewQueue, rulings: Rulings, records: Records) -> None:
    states = []
    for _ in range(20):
        reference = put(records, checked(hit(A), hit(A, "PDQ", 0)))
        rulings.confirm(reference, actor="ann")
        states += told(queue, reference)
    assert states == [(A, "CONFIRMED", FeedbackState.QUEUED)] + [(A, "CONFIRMED", FeedbackState.COVERED)] * 19
    reference = put(records, checked(hit(A)))
    rulings.release(reference, code=RulingCode.FALSE_POSITIVE, actor="ann")  # another word is told
    assert told(queue, reference) == [(A, "FALSE_POSITIVE", FeedbackState.QUEUED)]


def test_with_the_hub_away_reviews_wait(
    queue: ReviewQueue, rulings: Rulings, reviews: ReviewSender, records: Records
) -> None:
    reference = put(records, checked(hit(A)))
    rulings.confirm(reference, actor="ann")
    for _ in range(2):
        assert reviews.send()[FeedbackState.QUEUED] == 1
    assert told(queue, reference) == [(A, "CONFIRMED", FeedbackState.QUEUED)]


def test_a_decision_becomes_one_review_of_each_entry(
    asking: tuple[HookSettings, Records], listed: Listed, tmp_path: Path, make_settings: Callable[..., HookSettings]
) -> None:
    _, records = asking
    token_file = tmp_path / "review.token"
    token_file.write_text(contributor_token(listed))
    settings = make_settings(queue=QueueSettings(review_token_file=str(token_file)))
    queue = ReviewQueue(records, settings)
    rulings = Rulings(records, settings)
    reviews = ReviewSender(records, settings)
    reference, entries = listed_upload(settings, records, listed.known)
    assert len(entries) == 4, "an MD5 and a PDQ digest of two lists, each an entry"
    before = {entry: len(list(listed.operator.list_reviews(entry))) for entry in entries}
    rulings.confirm(reference, actor="ann", comment="a private remark")

    class LosesAnswers:
        """A hub whose answers get lost after it did what was asked."""

        def __init__(self) -> None:
            self.client = Client(listed.hub.address, token_file.read_text(), timeout=60.0)

        def create_review(self, *given: Any, **more: Any) -> None:
            self.client.create_review(*given, **more)
            raise Unavailable("the answer was lost")

    lossy = LosesAnswers()
    assert reviews.send(lossy)[FeedbackState.QUEUED] == 4  # type: ignore[arg-type]
    lossy.client.close()
    assert reviews.send()[FeedbackState.SENT] == 4
    assert reviews.send() == dict.fromkeys(FeedbackState, 0)
    for entry in entries:
        made = list(listed.operator.list_reviews(entry))
        assert len(made) == before[entry] + 1, "sent once, although its answer was lost"
        last = made[-1]
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
    queue = ReviewQueue(records, make_settings(queue=QueueSettings(review_token_file=str(token_file))))
    rulings = Rulings(records, make_settings(queue=QueueSettings(review_token_file=str(token_file))))
    reviews = ReviewSender(records, make_settings(queue=QueueSettings(review_token_file=str(token_file))))
    reference, entries = listed_upload(make_settings(), records, listed.known)
    rulings.confirm(reference, actor="ann")
    with Client(listed.hub.address, token_file.read_text()) as client:
        for _ in range(REVIEWS_A_DAY):
            client.create_review(entries[0], ReviewKind.CONFIRMED, "again")
        with pytest.raises(LimitExceeded) as refused:
            client.create_review(entries[0], ReviewKind.CONFIRMED, "again")
    assert refused.value.retry_after is None
    fates = reviews.send()
    waiting = {f.entry for f in queue.get(reference).feedback if f.state is FeedbackState.QUEUED}
    assert waiting == {entries[0]}
    assert (fates[FeedbackState.SENT], fates[FeedbackState.QUEUED]) == (3, 1)


@pytest.mark.parametrize("error", [LimitExceeded("the hub is busy", retry_after=1.0), Unavailable("the hub is away")])
def test_a_hub_that_is_busy_is_not_asked_for_each_review_that_waits(
    settings: HookSettings, records: Records, error: HashHubError
) -> None:
    rulings = Rulings(records, settings)
    reviews = ReviewSender(records, settings)
    for entry in (A, B):
        rulings.confirm(put(records, checked(hit(entry))), actor="ann")
    asked: list[str] = []

    class Busy(Client):
        def create_review(self, entry: str, *_: object, **__: object) -> NoReturn:
            asked.append(entry)
            raise error

    with Busy("127.0.0.1:1", "token") as client:
        assert reviews.send(client)[FeedbackState.QUEUED] == 2
    assert asked == [A]


def test_a_token_that_may_not_review_is_said_and_the_queue_goes_on(
    asking: tuple[HookSettings, Records], listed: Listed, tmp_path: Path, make_settings: Callable[..., HookSettings]
) -> None:
    settings, records = asking  # a consumer's token
    queue = ReviewQueue(records, settings)
    rulings = Rulings(records, settings)
    reviews = ReviewSender(records, settings)
    reference, _ = listed_upload(settings, records, listed.known)
    rulings.confirm(reference, actor="ann")
    gone = put(records, checked(hit("police-nl/known/999999")))
    rulings.confirm(gone, actor="ann")
    fates = reviews.send()
    assert (fates[FeedbackState.REFUSED], fates[FeedbackState.QUEUED]) == (5, 0)
    assert {f.detail for f in queue.get(reference).feedback} == {"ROLE_NOT_ALLOWED"}
    token_file = tmp_path / "review.token"
    token_file.write_text(contributor_token(listed))
    queue = ReviewQueue(records, make_settings(queue=QueueSettings(review_token_file=str(token_file))))
    rulings = Rulings(records, make_settings(queue=QueueSettings(review_token_file=str(token_file))))
    reviews = ReviewSender(records, make_settings(queue=QueueSettings(review_token_file=str(token_file))))
    assert reviews.resend(actor="account:root") == 5
    fates = reviews.send()
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


@settings_of_test(max_examples=examples(60), deadline=None)
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
    rulings = Rulings(records, settings)
    reviews = ReviewSender(records, settings)
    last: dict[str, ReviewKind] = {}
    with Hub() as hub:
        for entry, word, takes, is_sent in words:
            reference = put(records, checked(hit(entry)))
            if word == "confirm":
                rulings.confirm(reference, actor="ann")
                last[entry] = ReviewKind.CONFIRMED
            elif word == "object":
                rulings.release(reference, code=RulingCode.FALSE_POSITIVE, actor="ann")
                last[entry] = ReviewKind.FALSE_POSITIVE
            else:
                rulings.release(reference, code=RulingCode.OTHER, actor="ann", comment="another reason")
            hub.takes = takes
            if is_sent:
                reviews.send(hub)
        hub.takes = True
        reviews.resend(actor="account:root")
        reviews.send(hub)
        assert reviews.resend(actor="account:root") == 0
    for entry in (A, B):
        kinds = [kind for of, kind in hub.said if of == entry]
        assert kinds[-1:] == ([last[entry]] if entry in last else [])
        assert all(one is not other for one, other in itertools.pairwise(kinds)), "the same was said twice"
    records.close()
