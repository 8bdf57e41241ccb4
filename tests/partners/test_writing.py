"""What partners' clients write over plain HTTP: feedback and submissions."""

from __future__ import annotations

import base64
import threading
from random import Random
from urllib.parse import quote

import pytest
from defusedxml.ElementTree import fromstring

from hashhub.model import Entry, Principal, Review, ReviewKind, Role, number_of
from tests.hub.conftest import OPERATOR
from tests.partners.conftest import serve_hub
from tests.partners.feeding import LIST, Feeding
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
