"""Items that are only opinions: they become reviews of what is there, and never entries or a list."""

from __future__ import annotations

from typing import Any

import pytest

from hashhub.errors import InvalidArgument
from hashhub.model import (
    Action,
    Disposition,
    EntryState,
    Purpose,
    Record,
    RecordReview,
    Review,
    ReviewKind,
    Verdict,
)
from hashhub_connectors.arachnid import AUTHOR
from tests.hub.conftest import AUDITOR, Desk, Stock, digest, item, total

CONFIRMED = RecordReview(ReviewKind.CONFIRMED, AUTHOR, "csam (near match)")
DOUBTED = RecordReview(ReviewKind.FALSE_POSITIVE, AUTHOR, "an adult")


def opinion(number: int, *reviews: RecordReview, purpose: str = "csam", **fields: Any) -> Record:
    given: dict[str, Any] = {
        "hashes": (digest("PDQ", number),),
        "position": f"answer {number}",
        "action": Action.REVIEW,
        "tags": (f"purpose:{purpose}",) if purpose else (),
        "reviews": reviews or (CONFIRMED,),
        **fields,
    }
    return Record(**given)


def reviews(desk: Desk, name: str, number: int = 0) -> list[Review]:
    """The reviews of the hash set's entry at this place."""
    entry = desk.entries(name)[number]
    return list(desk.hub.reviews.list(AUDITOR, entry.contributor, entry.hash_set, entry.id, 100, 0)[0])


def _fill(desk: Desk) -> None:
    """A hash set with two entries, the second without a PDQ."""
    desk.hash_set("alpha/list")
    desk.contribute("alpha/list", item(1, algorithms=("MD5", "PDQ")), item(2, algorithms=("MD5",), external_id="b"))


@pytest.fixture
def listed(any_stock: Stock) -> Desk:
    return any_stock(_fill)


def test_an_opinion_is_added_to_the_entry_that_has_the_hash(listed: Desk) -> None:
    done = listed.contribute("alpha/list", opinion(1))
    assert (done.counts.items, done.counts.unchanged, done.counts.noted, total(done.counts)) == (1, 1, 1, 1)
    (said,) = reviews(listed, "alpha/list")
    assert (said.kind, said.author, said.comment) == (ReviewKind.CONFIRMED, f"alpha/{AUTHOR}", "csam (near match)")
    name = listed.entries("alpha/list")[0].name
    assert [(f.disposition, f.reason, f.detail) for f in listed.report(done)] == [
        (Disposition.UNCHANGED, "OPINION_ONLY", f"the item is a review of {name}"),
        (Disposition.NOTED, "REVIEW_ADDED", f"added to {name}"),
    ]
    assert len(listed.entries("alpha/list")) == 2


def test_the_same_opinion_again_changes_nothing(listed: Desk) -> None:
    listed.contribute("alpha/list", opinion(1))
    again = listed.contribute(
        "alpha/list", opinion(1), opinion(1, position="answer 2"), opinion(1, DOUBTED, position="3")
    )
    assert (again.counts.unchanged, again.counts.noted) == (3, 1)
    assert "there already" in listed.report(again)[0].detail
    assert [r.kind for r in reviews(listed, "alpha/list")] == [ReviewKind.CONFIRMED, ReviewKind.FALSE_POSITIVE]


def test_without_an_entry_there_is_nothing_to_say_it_of(listed: Desk) -> None:
    done = listed.contribute("alpha/list", opinion(7), opinion(1, external_id="nobody", position="answer 8"))
    assert done.counts.rejected == 2
    assert listed.reasons(done) == {"answer 7": ["NO_ENTRY"], "answer 8": ["NO_ENTRY"]}
    assert listed.verdict(7) is Verdict.NO_MATCH
    assert len(listed.entries("alpha/list")) == 2


def test_nobody_elses_entry_is_touched_or_told_of(listed: Desk) -> None:
    listed.hash_set("beta/list")
    done = listed.contribute("beta/list", opinion(1))
    assert listed.reasons(done) == {"answer 1": ["NO_ENTRY"]}
    assert reviews(listed, "alpha/list") == []


def test_an_external_id_says_which_entry_is_meant(listed: Desk) -> None:
    done = listed.contribute("alpha/list", opinion(1, DOUBTED, external_id="b"))
    assert done.counts.unchanged == 1
    assert (reviews(listed, "alpha/list"), len(reviews(listed, "alpha/list", 1))) == ([], 1)


def test_an_entry_whose_digests_differ_is_another_item(listed: Desk) -> None:
    listed.contribute("alpha/list", Record(position="x", hashes=(digest("SHA1", 3), digest("SHA256", 4))))
    done = listed.contribute("alpha/list", opinion(3, hashes=(digest("SHA1", 3), digest("SHA256", 3))))
    assert listed.reasons(done) == {"answer 3": ["NO_ENTRY"]}


def test_a_quarantined_entry_can_be_reviewed_and_stays_quarantined(listed: Desk) -> None:
    listed.contribute("alpha/list", item(5, algorithms=("MD5", "PDQ"), tags=("purpose:benign",)))
    assert listed.contribute("alpha/list", opinion(5)).counts.noted == 1
    assert [e.state for e in listed.entries("alpha/list")].count(EntryState.QUARANTINED) == 1


@pytest.mark.parametrize(
    ("purpose", "stated", "is_added"),
    [
        (Purpose.CSAM, "csam", True),
        (Purpose.CSAM, "exploitative", False),
        (Purpose.EXPLOITATIVE, "exploitative", True),
        (Purpose.EXPLOITATIVE, "csam", False),
        (Purpose.BENIGN, "csam", False),
        (Purpose.TEST, "csam", True),
        (Purpose.BENIGN, "", True),
    ],
)
def test_a_confirmation_is_of_what_the_set_states(desk: Desk, purpose: Purpose, stated: str, is_added: bool) -> None:
    """That the service calls an item csam must not confirm that it is benign."""
    desk.hash_set("alpha/list", purpose=purpose)
    desk.contribute("alpha/list", item(1, algorithms=("MD5", "PDQ")))
    done = desk.contribute("alpha/list", opinion(1, purpose=stated))
    assert len(reviews(desk, "alpha/list")) == is_added
    assert desk.reasons(done) == {"answer 1": ["OPINION_ONLY" if is_added else "PURPOSE_MISMATCH"]}


def test_opinions_are_no_list_that_replaces_another(listed: Desk) -> None:
    with pytest.raises(InvalidArgument, match="opinions"):
        listed.contribute("alpha/list", opinion(1), replace=True, allow_shrinking=True)
    assert len(listed.entries("alpha/list", EntryState.ACTIVE)) == 2


def test_an_opinion_without_a_review_or_a_hash_is_refused(listed: Desk) -> None:
    by_nobody = RecordReview(ReviewKind.CONFIRMED, "", "")
    done = listed.contribute(
        "alpha/list",
        opinion(1, by_nobody),
        opinion(2, reviews=()),
        opinion(3, hashes=()),
    )
    assert listed.reasons(done) == {
        "answer 1": ["NO_OPINION"],
        "answer 2": ["NO_OPINION"],
        "answer 3": ["MISSING_EXTERNAL_ID"],
    }
    assert done.counts.rejected == total(done.counts) == 3


def test_validate_only_adds_nothing(listed: Desk) -> None:
    done = listed.contribute("alpha/list", opinion(1), validate_only=True)
    assert done.counts.unchanged == 1
    assert reviews(listed, "alpha/list") == []


def test_a_blank_pictures_hash_is_looked_for_and_not_listed(listed: Desk) -> None:
    from hashhub.hashes import Hash

    done = listed.contribute("alpha/list", opinion(1, hashes=(Hash("PDQ", b"\x01" + bytes(31)),)))
    assert listed.reasons(done) == {"answer 1": ["NO_ENTRY"]}


def test_what_the_same_list_replaces_or_withdraws_is_not_reviewed(listed: Desk) -> None:
    done = listed.contribute(
        "alpha/list",
        item(1, algorithms=("MD5", "PDQ"), series="new"),
        Record(position="gone", action=Action.WITHDRAW, external_id="b"),
        opinion(1),
        opinion(2, external_id="b"),
    )
    assert {p: r for p, r in listed.reasons(done).items() if "answer" in p} == {
        "answer 1": ["NO_ENTRY"],
        "answer 2": ["NO_ENTRY"],
    }
