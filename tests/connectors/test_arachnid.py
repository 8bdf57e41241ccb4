"""Answers of Arachnid Shield: opinions, and nothing that is none."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import pytest

from hashhub.connector import Certainty
from hashhub.errors import MalformedSource
from hashhub.hashes import Hash
from hashhub.model import Action, Record, RecordReview, Reject, ReviewKind
from hashhub.testing.connectors import ConnectorContract
from hashhub_connectors.arachnid import AUTHOR, Arachnid

PDQ = bytes.fromhex("f0" * 4 + "0f1e2d3c4b5a69788796a5b4c3d2e1f000112233445566778899aabb")
SHA1 = bytes(range(20))
SHA256 = bytes(range(32))


def answer(classification: object = "csam", match_type: object = "near", **more: Any) -> dict[str, Any]:
    details = {"timestamp": 0.0, "sha1_base32": "A" * 32, "sha256_hex": "ab" * 32, "classification": classification}
    return {"classification": classification, "match_type": match_type, "near_match_details": details, **more}


def pdq(number: int = 0) -> str:
    return base64.b64encode((int.from_bytes(PDQ) ^ number).to_bytes(32)).decode()


def media(classification: object = "csam", **more: Any) -> dict[str, Any]:
    return {
        "size_bytes": 7,
        "sha1_base32": base64.b32encode(SHA1).decode(),
        "sha256_hex": SHA256.hex().upper(),
        "near_match_details": [],
        "match_type": "exact",
        "classification": classification,
        **more,
    }


HASHES = {
    "scanned_hashes": {
        pdq(): answer(),
        pdq(1): answer("harmful-abusive-material", None),
        pdq(2): answer("test"),
        pdq(3): answer("no-known-match", None, near_match_details=None),
        pdq(4): None,
        pdq(5): answer("something-new"),
        pdq(6): "csam",
        pdq(7)[:20]: answer(),
        pdq(8): answer(7),
    }
}


def read(*documents: object) -> list[Record | Reject]:
    text = "\n".join(json.dumps(d) for d in documents)
    return list(Arachnid().read(io.BytesIO(text.encode()), {}))


class TestHashes(ConnectorContract):
    connector = Arachnid()
    sample = json.dumps(HASHES).encode()
    items = 9
    self_delimiting = True
    truncation_step = 5


class TestMedia(ConnectorContract):
    connector = Arachnid()
    sample = b"\xef\xbb\xbf" + json.dumps([media(), media("test"), 3, HASHES]).encode()
    items = 12
    self_delimiting = True
    truncation_step = 11


def test_an_opinion_is_a_review_and_never_an_entry() -> None:
    first, harmful = (r for r in read(HASHES) if isinstance(r, Record))
    assert first == Record(
        position="answer 1: scanned_hashes[0]",
        hashes=(Hash("PDQ", PDQ),),
        action=Action.REVIEW,
        tags=("purpose:csam",),
        reviews=(RecordReview(ReviewKind.CONFIRMED, AUTHOR, "csam (near match)"),),
    )
    assert harmful.tags == ("purpose:exploitative",)
    assert harmful.reviews[0].comment == "harmful-abusive-material (kind of match not stated)"


def test_what_is_no_opinion_is_refused_and_never_called_harmless() -> None:
    reasons = {r.position: r.reason for r in read(HASHES) if isinstance(r, Reject)}
    at = "answer 1: scanned_hashes[{}]".format
    assert reasons == {
        at(2): "NO_OPINION",
        at(3): "NO_OPINION",
        at(4): "NO_OPINION",
        at(5): "UNKNOWN_VALUE",
        at(6): "NOT_AN_OBJECT",
        at(7): "DIGEST_WRONG_LENGTH",
        at(8): "BAD_FIELD",
    }
    assert all("never a sign" in r.detail for r in read(HASHES) if isinstance(r, Reject) and "OPINION" in r.reason)


def test_media_answers_are_about_the_scanned_file_and_not_its_near_matches() -> None:
    (record,) = read(media(near_match_details=[{"sha256_hex": "ab" * 32, "sha1_base32": "A" * 32}]))
    assert isinstance(record, Record)
    assert record.hashes == (Hash("SHA1", SHA1), Hash("SHA256", SHA256))
    assert (record.position, record.media_size, record.action) == ("answer 1", 7, Action.REVIEW)


def test_answers_may_follow_each_other_as_lines() -> None:
    assert [r.position for r in read(media(), [media(), media("test")], HASHES)][:4] == [
        "answer 1",
        "answer 2",
        "answer 3",
        "answer 4: scanned_hashes[0]",
    ]


def test_an_answer_that_says_two_things_is_none() -> None:
    text = '{"scanned_hashes": {"' + pdq() + '": {"classification": "csam", "classification": "no-known-match"}}}'
    (reject,) = Arachnid().read(io.BytesIO(text.encode()), {})
    assert isinstance(reject, Reject)
    assert reject.reason == "BAD_FIELD"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "7",
        '"csam"',
        '{"detail": "no"}',
        "{}",
        '{"scanned_hashes": []}',
        '{"scanned_hashes": null}',
        "[{}]",
        '{"scanned_hashes": {}, "classification": "csam"}',
        "[1] x",
    ],
)
def test_other_documents_are_refused(text: str) -> None:
    with pytest.raises(MalformedSource):
        list(Arachnid().read(io.BytesIO(text.encode()), {}))


def test_an_empty_answer_has_no_items() -> None:
    assert read({"scanned_hashes": {}}) == []


def test_detection() -> None:
    for document in (HASHES, [media()]):
        guess = Arachnid().detect(json.dumps(document).encode(), "")
        assert guess is not None
        assert guess.certainty is Certainty.CERTAIN
    assert Arachnid().detect(b'{"value": []}', "arachnid.json") is None
