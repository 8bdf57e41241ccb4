from __future__ import annotations

import io
import json
from typing import Any

import pytest

from hashhub.connector import NCII_TAG
from hashhub.errors import MalformedSource
from hashhub.hashes import parse
from hashhub.model import Action, Record, RecordReview, Reject, ReviewKind
from hashhub_connectors.stopncii import StopNCII

MD5 = "7b4747409fe1f2e64f187eac679ea0cc"
PDQ = "ffff0000" * 8


def read(document: object) -> list[Record | Reject]:
    return list(StopNCII().read(io.BytesIO(json.dumps(document).encode()), {}))


def one(**fields: Any) -> Record:
    record = {"signalType": "ImagePDQ", "hashValue": PDQ, "hashStatus": "Active", **fields}
    (item,) = read({"hashRecords": [record]})
    assert isinstance(item, Record), item
    return item


def test_every_item_says_that_it_is_no_abuse_material() -> None:
    record = one(lastModtimestamp=1735787045)
    assert (record.tags, record.scheme, record.value) == ((NCII_TAG,), "stopncii", "Active")
    assert record.source_time == "1735787045"


@pytest.mark.parametrize("status", ["Withdrawn", "Deleted", "withdrawn", " DELETED "])
def test_the_status_withdraws(status: str) -> None:
    record = one(hashStatus=status)
    assert (record.action, record.hashes) == (Action.WITHDRAW, (parse("PDQ", PDQ),))


@pytest.mark.parametrize("status", ["Received", "Unknown", "Undefined", "Something New"])
def test_a_status_that_nobody_has_seen_is_the_value_and_never_dropped(status: str) -> None:
    record = one(hashStatus=status)
    assert (record.action, record.value) == (Action.CONTRIBUTE, status)


@pytest.mark.parametrize("fields", [{"hashValue": "Withdrawn"}, {"caseNumbers": {"a": "Withdrawn"}}])
def test_nothing_else_withdraws(fields: dict[str, Any]) -> None:
    (item,) = read([{"signalType": "ImagePDQ", "hashValue": PDQ, "hashStatus": "Active", **fields}])
    assert isinstance(item, Reject) or item.action is Action.CONTRIBUTE


def test_an_item_without_a_status_has_no_value() -> None:
    assert one(hashStatus=None).value == ""


def test_case_numbers_are_dropped() -> None:
    number = "00000000-0000-4000-8000-000000000001"
    assert number not in repr(one(caseNumbers={number: "Active"}))


def test_feedback_is_a_review_or_beside_the_item_and_an_unknown_word_loses_nothing() -> None:
    feedback = [
        {"source": "One", "feedbackValue": "Blocked", "tags": ["a"]},
        {"source": "Two", "feedbackValue": "NotBlocked"},
        {"source": "Three", "feedbackValue": "Undefined", "tags": ["t"]},
        "nonsense",
    ]
    record = one(CSPFeedbacks=feedback, hashRegions=["UK"])
    assert record.reviews == (
        RecordReview(ReviewKind.CONFIRMED, "csp:One", "Blocked, a"),
        RecordReview(ReviewKind.NOT_ILLEGAL_HERE, "csp:Two", "NotBlocked"),
    )
    assert json.loads(record.extra) == {"CSPFeedbacks": feedback[2:3], "hashRegions": ["UK"]}


@pytest.mark.parametrize("odd", ["NaN", "1e999", "[" * 400 + "]" * 400, '"' + "x" * 2000 + '"'])
def test_feedback_that_cannot_be_kept_is_told(odd: str) -> None:
    text = (
        f'[{{"signalType":"ImagePDQ","hashValue":"{PDQ}","hashStatus":"Active","CSPFeedbacks":[{{"source":{odd}}}]}}]'
    )
    (item,) = StopNCII().read(io.BytesIO(text.encode()), {})
    assert isinstance(item, Record)
    assert len(item.extra) <= 1024
    assert "NaN" not in item.extra


@pytest.mark.parametrize("kind", ["VideoTMK", "Text", "URL", "Unknown", "Unheard", ""])
def test_signals_that_are_no_digest_of_ours_are_refused_one_by_one(kind: str) -> None:
    (item,) = read([{"signalType": kind, "hashValue": MD5, "hashStatus": "Active"}])
    assert isinstance(item, Reject)
    assert item.reason == "UNSUPPORTED_ALGORITHM"


def test_a_video_is_one() -> None:
    record = one(signalType="VideoMD5", hashValue=MD5.upper())
    assert (record.hashes, record.media_type) == ((parse("MD5", MD5),), "video")


@pytest.mark.parametrize("more", [{"hasMoreRecords": True}, {"nextPageToken": "x"}])
def test_a_page_that_another_follows_is_partial(more: dict[str, Any]) -> None:
    (item,) = read({**more, "hashRecords": []})
    assert isinstance(item, Reject)
    assert item.reason == "PARTIAL_SOURCE"


@pytest.mark.parametrize("document", [{}, {"hashRecords": {}}, 7, {"count": 1}])
def test_json_of_somebody_else_is_refused(document: object) -> None:
    with pytest.raises(MalformedSource):
        read(document)
