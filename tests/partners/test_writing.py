"""What partners' clients write over plain HTTP: feedback and submissions."""

from __future__ import annotations

import base64
import json
import threading
from random import Random
from typing import Any
from urllib.parse import quote

import pytest
from defusedxml.ElementTree import fromstring

from hashhub.model import Entry, EntryState, Principal, Review, ReviewKind, Role, number_of
from tests.hub.conftest import OPERATOR
from tests.partners.conftest import serve_hub
from tests.partners.feeding import LIST, SHARED, Feeding
from tests.partners.test_feeds import Said, send
from tests.server.conftest import Serve, patient_matchers

__all__ = ["patient_matchers", "serve_hub"]

NS = "https://hashsharing.ncmec.org/hashsharing/v2"
AFFIRMATIVE = f'<feedbackSubmission xmlns="{NS}"><affirmative/></feedbackSubmission>'


def token(feeding: Feeding, role: Role = Role.CONTRIBUTOR, contributor: str = "reader") -> str:
    wanted = Principal(name=f"{contributor}-{role.lower()}", role=role, contributor=contributor)
    return feeding.desk.hub.tokens.create(OPERATOR, wanted)[1]


def basic(secret: str) -> str:
    return "Basic " + base64.b64encode(f"anybody:{secret}".encode()).decode()


def negative(*guids: str) -> str:
    listed = "".join(f"<guid>{guid}</guid>" for guid in guids)
    return f'<feedbackSubmission xmlns="{NS}"><negative><reasonIds>{listed}</reasonIds></negative></feedbackSubmission>'


class Voter:
    """Gives feedback on an entry of NCMEC's feed with one token."""

    def __init__(self, feeding: Feeding, secret: str) -> None:
        self.feeding, self.secret = feeding, secret
        self.base = f"{feeding.url}/ncmec/{LIST}/v2"
        status = self.send("GET", "/status")
        self.member = fromstring(status.body)[0].get("id") if status.status == 200 else ""

    def send(self, verb: str, path: str, body: str = "") -> Said:
        return send(self.base + path, verb, body.encode() or None, authorization=basic(self.secret))

    def reasons(self, kind: str = "MD5") -> dict[str, str]:
        root = fromstring(self.send("GET", f"/feedback/{kind}/reasons").body)
        assert root.tag == f"{{{NS}}}availableFeedbackReasons"
        assert {one.get("type") for one in root} == {kind}
        return {one.get("name"): one.get("guid") for one in root}

    def give(self, entry: Entry, body: str, kind: str = "MD5", **path: str) -> Said:
        member, own = path.get("member", self.member), path.get("id", f"list/{number_of(entry.id)}")
        return self.send("PUT", f"/entries/{member}/{own}/{kind}/feedback", body)


@pytest.fixture
def feeding(serve_hub: Serve) -> Feeding:
    feeding = Feeding.of(serve_hub())
    feeding.contribute(*(feeding.record(Random(n)) for n in range(3)))
    return feeding


@pytest.fixture
def voter(feeding: Feeding) -> Voter:
    voter = Voter(feeding, token(feeding))
    voter.member = Voter(feeding, feeding.token).member  # by the feed, which another token may read
    return voter


def reviews(feeding: Feeding, entry: Entry) -> list[Review]:
    return feeding.desk.hub.reviews.list(OPERATOR, "line", "list", number_of(entry.id), 100, 0)[0]


def test_feedback_is_its_contributors_review(feeding: Feeding, voter: Voter) -> None:
    one, other, _ = feeding.standing()
    guids = voter.reasons()
    assert voter.give(one, AFFIRMATIVE).status == 200
    assert voter.give(other, negative(guids["Misclassified"], guids["Not illegal here"]), "pdq").status == 200
    (first,), (second,) = reviews(feeding, one), reviews(feeding, other)
    assert (first.author, first.kind, first.actor) == ("reader", ReviewKind.CONFIRMED, "reader-contributor")
    assert (second.author, second.kind) == ("reader", ReviewKind.NOT_ILLEGAL_HERE)
    assert "PDQ negative (Not illegal here, Misclassified)" in second.comment


def test_feedback_that_is_repeated_is_one_review(feeding: Feeding, voter: Voter) -> None:
    one, *_ = feeding.standing()
    wrong = negative(voter.reasons()["False positive"])
    for body in (AFFIRMATIVE, AFFIRMATIVE, wrong, wrong, AFFIRMATIVE, AFFIRMATIVE):
        assert voter.give(one, body, id=quote(f"list/{number_of(one.id)}", safe="")).status == 200
    kinds = [review.kind for review in reviews(feeding, one)]
    assert kinds == [ReviewKind.CONFIRMED, ReviewKind.FALSE_POSITIVE, ReviewKind.CONFIRMED]


def test_an_objection_stands_until_all_its_negative_feedback_is_taken_back(feeding: Feeding, voter: Voter) -> None:
    """A review is about the entry: praise of another fingerprint must not undo it."""
    one, *_ = feeding.standing()
    wrong = negative(voter.reasons()["False positive"])
    kinds = []
    given = (wrong, "PDQ"), (AFFIRMATIVE, "MD5"), (wrong, "SHA1"), (AFFIRMATIVE, "PDQ"), (AFFIRMATIVE, "SHA1")
    for body, kind in given:
        assert voter.give(one, body, kind).status == 200
        kinds.append(reviews(feeding, one)[-1].kind)
    assert kinds == [ReviewKind.FALSE_POSITIVE] * 4 + [ReviewKind.CONFIRMED]


def test_feedback_on_several_fingerprints_at_once_loses_none(feeding: Feeding, voter: Voter) -> None:
    one, *_ = feeding.standing()
    wrong = negative(voter.reasons()["False positive"])
    votes = [("PDQ", wrong), ("MD5", AFFIRMATIVE), ("SHA1", AFFIRMATIVE), ("PDNA", AFFIRMATIVE)]

    def vote(kind: str, body: str) -> None:
        while voter.give(one, body, kind).status != 200:
            pass

    threads = [threading.Thread(target=vote, args=given) for given in votes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    last = reviews(feeding, one)[-1]
    assert last.kind is ReviewKind.FALSE_POSITIVE
    assert all(kind in last.comment for kind, _ in votes)


BOMB = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]>'


@pytest.mark.parametrize(
    "body",
    [
        "", "{}", "<feedbackSubmission/>", AFFIRMATIVE[:-5], BOMB + AFFIRMATIVE, AFFIRMATIVE.replace(NS, "urn:other"),
        AFFIRMATIVE.replace("<affirmative/>", "<affirmative/><affirmative/>"),
        AFFIRMATIVE.replace("<affirmative/>", "<affirmative><guid/></affirmative>"), negative(), negative("0"),
        AFFIRMATIVE.replace("<affirmative/>", "<neutral/>"), AFFIRMATIVE + " " * 20_000,
    ],
)  # fmt: skip
def test_feedback_that_cannot_be_read_is_refused(feeding: Feeding, voter: Voter, body: str) -> None:
    one, *_ = feeding.standing()
    answer = voter.give(one, body)
    assert answer.status == 400
    assert fromstring(answer.body).findtext("{*}message")
    assert reviews(feeding, one) == []


def test_who_may_not_review_gives_no_feedback(feeding: Feeding, voter: Voter) -> None:
    one, *_ = feeding.standing()
    consumer = Voter(feeding, feeding.token)
    for other, status in ((consumer, 403), (Voter(feeding, "hh_none"), 401)):
        other.member = voter.member
        assert other.give(one, "no XML: it is not looked at").status == status
    assert voter.give(one, AFFIRMATIVE, "NETCLEAN").status == 404
    assert voter.give(one, AFFIRMATIVE, member="1").status == 404
    for own_id in ("list/99999999", "other/1", "1", "list/x", "list/" + "9" * 60):
        assert voter.give(one, AFFIRMATIVE, id=own_id).status == 404, own_id
    feeding.desk.hash_set("line/hidden", marking=None)
    hidden = f"{feeding.url}/ncmec/line/hidden/v2/entries/1/hidden/1/MD5/feedback"
    assert send(hidden, "PUT", AFFIRMATIVE.encode(), authorization=basic(voter.secret)).status == 404
    assert voter.send("DELETE", f"/entries/{voter.member}/list/1").status == 501
    assert voter.send("GET", "/feedback/NETCLEAN/reasons").status == 404
    assert reviews(feeding, one) == []


def post(feeding: Feeding, secret: str, what: str, value: Any, hash_set: str = LIST) -> Said:
    """Send a body as StopNCII's clients do; a text as it is."""
    body = value if isinstance(value, str) else json.dumps(value)
    headers = {"x-functions-key": secret, "content-type": "application/json"}
    return send(f"{feeding.url}/stopncii/{hash_set}/{what}", "POST", body.encode(), **headers)


def submission(*numbers: int, value: str = "Blocked", **more: Any) -> dict[str, Any]:
    records = [
        {
            "lastModtimestamp": 1_700_000_000 + n,
            "signalType": "StopNCIISignalType.ImagePDQ",
            "hashValue": Random(n).randbytes(32).hex(),
            "CSPFeedbacks": [{"tags": ["a tag"], "feedbackValue": value}],
            **more,
        }
        for n in numbers
    ]
    return {"count": len(records), "hashRecords": records}


@pytest.fixture
def ncii(serve_hub: Serve) -> Feeding:
    return Feeding.of(serve_hub(), is_ncii=True)


def waiting(feeding: Feeding) -> list[Entry]:
    return feeding.desk.entries(LIST, EntryState.QUARANTINED)


def test_submitted_hashes_are_an_import_of_their_contributor(ncii: Feeding) -> None:
    """They wait for the operator, as all of StopNCII's do, and are told on once released."""
    secret = token(ncii, contributor="line")
    for _ in range(2):
        answer = post(ncii, secret, "SubmitHashes", submission(1, 2, hashStatus="Active"))
        assert (answer.status, answer.json["items"], answer.json["rejected"]) == (200, 2, 0), answer.body
    answer = post(ncii, secret, "SubmitHashes", submission(2, 3, hashStatus="Active"))
    assert answer.status == 200
    submitted = sorted(r["hashValue"] for r in submission(1, 2, 3)["hashRecords"])
    assert sorted(e.hashes[0].digest.hex() for e in waiting(ncii)) == submitted
    for entry in waiting(ncii):
        (said,) = reviews(ncii, entry)
        assert (said.author, said.kind, said.comment) == ("line/csp:line", ReviewKind.CONFIRMED, "Blocked, a tag")
        ncii.desk.hub.entries.release(OPERATOR, "line", "list", entry.id)
    told = send(f"{ncii.url}/stopncii/{LIST}/FetchHashes", "GET", None, **{"x-functions-key": ncii.token}).json
    assert {r["hashValue"] for r in told["hashRecords"]} == {r["hashValue"] for r in submission(1, 2, 3)["hashRecords"]}


def test_a_submission_that_is_sent_several_times_at_once_is_taken_once(ncii: Feeding) -> None:
    """A client that gives up and sends again must not undo what it sent."""
    secret, body, statuses = token(ncii, contributor="line"), submission(1, 2), []
    threads = [
        threading.Thread(target=lambda: statuses.append(post(ncii, secret, "SubmitHashes", body).status))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert 200 in statuses
    assert set(statuses) <= {200, 400, 409, 429, 503}
    assert len(waiting(ncii)) == 2


def test_a_status_that_nobody_stated_is_that_of_a_new_hash(ncii: Feeding) -> None:
    answer = post(ncii, token(ncii, contributor="line"), "SubmitHashes", submission(1))
    assert (answer.status, answer.json["quarantined"]) == (200, 1)
    (entry,) = waiting(ncii)
    assert entry.classification is None or entry.classification.value == "Received"


@pytest.mark.parametrize(
    "body",
    [
        "", "[]", "{", {}, {"hashRecords": []}, {"hashRecords": [1]}, submission(1) | {"count": 2},
        submission(1, hashValue="ff"), submission(1, hashValue=None), submission(1, signalType="VideoTMK"),
        submission(1, signalType=7), submission(1, hashValue="\ud800"),
        submission(1, CSPFeedbacks=[{"feedbackValue": "Blocked", "tags": ["\ud800"]}]),
        submission(1, hashStatus=["x"]), submission(1, CSPFeedbacks="x"),
        {"hashRecords": submission(1)["hashRecords"] + submission(2, hashValue="0")["hashRecords"]},
    ],
)  # fmt: skip
def test_a_submission_that_cannot_be_read_is_refused_as_a_whole(ncii: Feeding, body: Any) -> None:
    answer = post(ncii, token(ncii, contributor="line"), "SubmitHashes", body)
    assert answer.status == 400
    assert answer.json["message"]
    assert waiting(ncii) == []


def test_a_submission_of_which_the_hub_refuses_a_hash_is_an_error(ncii: Feeding) -> None:
    """A client that looks at the status alone must not take it for complete."""
    listed = submission(1, hashStatus="Active")["hashRecords"] + submission(2, hashValue="0" * 64)["hashRecords"]
    answer = post(ncii, token(ncii, contributor="line"), "SubmitHashes", {"hashRecords": listed})
    assert answer.status == 400
    assert "imports/imp-" in answer.json["message"]
    assert [e.hashes[0].digest.hex() for e in waiting(ncii)] == [listed[0]["hashValue"]]


def test_who_may_not_contribute_submits_nothing(ncii: Feeding) -> None:
    for secret, status in ((ncii.token, 403), (token(ncii), 403), ("hh_none", 401)):
        assert post(ncii, secret, "SubmitHashes", "no JSON: it is not looked at").status == status
    own = token(ncii, contributor="line")
    assert post(ncii, own, "SubmitHashes", submission(1), "line/none").status == 404
    assert send(f"{ncii.url}/stopncii/{LIST}/SubmitHashes", "GET", None, **{"x-functions-key": own}).status == 405
    assert waiting(ncii) == []


def feedbacks(*given: tuple[Entry, str], **more: Any) -> dict[str, Any]:
    listed = [
        {"hashValue": e.hashes[-1].digest.hex(), "feedbackValue": value, "tags": ["b", "a"], **more}
        for e, value in given
    ]
    return {"count": len(listed), "hashFeedbacks": listed}


def test_feedback_on_a_hash_reviews_the_entries_that_have_it(feeding: Feeding) -> None:
    one, other, third = feeding.standing()
    feeding.desk.hash_set("line/other", marking=SHARED)
    secret = token(feeding)
    body = feedbacks((one, "Blocked"), (other, "NotBlocked"))
    for _ in range(2):
        answer = post(feeding, secret, "SubmitFeedback", body)
        assert (answer.status, answer.json["count"]) == (200, 2), answer.body
    assert post(feeding, secret, "SubmitFeedback", body, "line/other").status == 404
    (first,), (second,) = reviews(feeding, one), reviews(feeding, other)
    assert (first.author, first.kind) == ("reader", ReviewKind.CONFIRMED)
    assert (second.author, second.kind) == ("reader", ReviewKind.NOT_ILLEGAL_HERE)
    assert second.comment == "StopNCII feedback: NotBlocked, a, b"
    assert reviews(feeding, third) == []


def test_feedback_that_cannot_be_taken_leaves_nothing(feeding: Feeding) -> None:
    one, other, _ = feeding.standing()
    secret = token(feeding)
    for body, status in (
        (feedbacks((one, "Blocked"), (other, "PendingReview")), 400),
        (feedbacks((one, "Blocked"), (other, "Blocked"), tags=[1]), 400),
        (feedbacks((one, "Blocked"), tags=["\ud800"]), 400),
        (feedbacks((one, "Blocked"), tags=["nul\0"]), 400),
        (feedbacks((one, "Blocked"), tags=["x" * 5000]), 400),
        (feedbacks((one, "Blocked"), tags={"a": 1}), 400),
        (feedbacks((one, "Blocked"), hashValue="x" * 64), 400),
        (feedbacks((one, "Blocked"), hashValue="0" * 64), 404),
        (feedbacks(*[(one, "Blocked")] * 101), 400),
        (feedbacks((one, "Blocked")) | {"count": 7}, 400),
        ("{", 400),
    ):
        assert post(feeding, secret, "SubmitFeedback", body).status == status, body
    for other_secret, status in ((feeding.token, 403), ("hh_none", 401)):
        assert post(feeding, other_secret, "SubmitFeedback", "no JSON: it is not looked at").status == status
    assert reviews(feeding, one) == []
