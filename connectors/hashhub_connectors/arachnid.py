"""Answers of Project Arachnid's Shield as opinions: `v1/pdq` (by PDQ), and ScannedMedia of `v1/media` and `v1/url`.

An answer is what a third party says of a hash: a review, by `arachnid-shield` inside the contributor, of the entries
that have it, and never an entry. `csam` confirms entries of a set of that purpose, `harmful-abusive-material` those of
an exploitative one. `no-known-match`, `test`, null and unknown words are refused with their reason, and never "clean".
Digests in `near_match_details` are of other pictures, and are not kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import BinaryIO, Final

from hashhub.connector import (
    PURPOSE_TAG,
    Certainty,
    Guess,
    Items,
    Known,
    LeftOut,
    Option,
    check_options,
)
from hashhub.model import Action, HashFault, Record, RecordReview, Reject, ReviewKind
from hashhub_connectors import items
from hashhub_connectors.source import JSONReader, Object, UnclassifiedFormat

AUTHOR: Final = "arachnid-shield"
_HASHES: Final = "scanned_hashes"
_PURPOSES: Final = {"csam": "csam", "harmful-abusive-material": "exploitative"}
_NO_OPINION: Final = {
    "": "the service gave no classification",
    "no-known-match": "the service knows no match, which says nothing of the item",
    "test": "the service's own test item",
}
_MATCHES: Final = {"exact": "exact match", "near": "near match"}
_DIGESTS: Final = (("SHA1", "sha1_base32"), ("SHA256", "sha256_hex"))
_MEDIA: Final = frozenset({"classification", "match_type", "size_bytes", *(key for _, key in _DIGESTS)})
_READ: Final = _MEDIA - {"size_bytes"}
_ANSWER: Final[Known] = dict.fromkeys(("classification", "match_type"))
_EXPECTED: Final = (
    "expected an answer of Arachnid Shield: an object with scanned_hashes, or one with sha1_base32, sha256_hex and "
    "classification, or an array of such objects"
)


class Arachnid(UnclassifiedFormat):
    """Reads answers of Arachnid Shield. Positions are `answer 1` and `answer 1: scanned_hashes[3]`."""

    name = "arachnid"
    version = "1"
    summary = "answers of Project Arachnid's Shield (JSON), as reviews of entries that are there; never entries"
    options: tuple[Option, ...] = ()

    def detect(self, head: bytes, name: str) -> Guess | None:  # noqa: ARG002 - the content says it
        """Return a guess by the names that only these answers have."""
        start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
        if start[:1] in {b"{", b"["}:
            if b'"scanned_hashes"' in start:
                return Guess(Certainty.CERTAIN, "it has the scanned_hashes of an answer of Arachnid Shield")
            if b'"sha1_base32"' in start and b'"classification"' in start:
                return Guess(
                    Certainty.CERTAIN, "it has the sha1_base32 and classification of Arachnid Shield's answers"
                )
        return None

    def read(self, source: BinaryIO, options: Mapping[str, str]) -> Items:
        """Yield one Record that is only a review, or one Reject, for each hash or media item of the answers.

        Raises MalformedSource for text that is not JSON or is cut off, and for another object than an answer.
        """
        check_options(self, options)
        return (yield from _read(JSONReader(source, "answer 1")))


def _read(reader: JSONReader) -> Items:
    left_out = LeftOut()
    if not reader.peek():
        reader.fail(f"the file is empty; {_EXPECTED}")
    number = 0
    while first := reader.peek():  # answers may follow each other, as in JSON lines
        if first == "[":
            for _ in reader.elements():
                number += 1
                yield from _answer(reader, number, left_out)
        elif first == "{":
            number += 1
            yield from _answer(reader, number, left_out)
        else:
            reader.fail(_EXPECTED)
    return left_out


def _answer(reader: JSONReader, number: int, left_out: LeftOut) -> Iterator[Record | Reject]:
    position = reader.where = f"answer {number}"
    if reader.peek() != "{":
        reader.skip()
        yield Reject(position, "NOT_AN_OBJECT", _EXPECTED)
        return
    fields = Object()
    names: set[str] = set()
    for key in reader.members():
        names.add(key)
        if key == _HASHES:
            if reader.peek() != "{":
                reader.fail(f"scanned_hashes is no object of hashes; {_EXPECTED}")
            for index, text in enumerate(reader.members()):
                reader.where = f"{position}: {_HASHES}[{index}]"
                answer = reader.read()
                left_out.beyond(answer, _ANSWER)
                yield _of_hash(reader.where, text, answer)
            reader.where = position
        elif key in _MEDIA:
            fields[key] = reader.read()
        else:
            left_out.beyond({key: reader.read()}, {})
    if _HASHES in names and not fields:
        return
    if not fields or _HASHES in names:
        what = "an error" if "detail" in names else "something else"
        reader.fail(f"the object is {what}; {_EXPECTED}")
    yield _of_media(position, fields)


def _of_hash(position: str, text: str, answer: object) -> Record | Reject:
    if answer is None:
        answer = {}
    if not isinstance(answer, dict):
        return Reject(position, "NOT_AN_OBJECT", f"the answer for a hash is {items.kind(answer)}; expected an object")
    return _opinion(position, [("PDQ", text)], answer, [])


def _of_media(position: str, answer: dict[str, object]) -> Record | Reject:
    faults: list[HashFault] = []
    pairs: list[tuple[str, str]] = []
    for label, key in _DIGESTS:
        digest = answer.get(key)
        if isinstance(digest, str):
            pairs.append((label, digest))
        elif digest is not None:
            faults.append(items.bad_field(key, "a text", digest))
    size = items.size(answer.get("size_bytes"), "size_bytes", faults)
    return _opinion(position, pairs, answer, faults, size)


def _opinion(
    position: str,
    pairs: list[tuple[str, str]],
    answer: dict[str, object],
    faults: list[HashFault],
    size: int | None = None,
) -> Record | Reject:
    if refused := items.given_twice(position, answer, _READ):
        return refused
    stated = answer.get("classification")
    if stated is not None and not isinstance(stated, str):
        return Reject(position, "BAD_FIELD", f"classification is {items.kind(stated)}; expected a text or null")
    word = (stated or "").strip().lower()
    if word in _NO_OPINION:
        return Reject(position, "NO_OPINION", f"{_NO_OPINION[word]}; never a sign that it is harmless")
    if word not in _PURPOSES:
        return Reject(
            position,
            "UNKNOWN_VALUE",
            f"the classification {word[:40]!r} is not known here, so that the answer is unavailable, and never a sign "
            "that the item is harmless",
        )
    matched = answer.get("match_type")
    how = _MATCHES.get(matched.strip().lower(), "") if isinstance(matched, str) else ""
    if matched is not None and not how:
        faults.append(HashFault("match_type", "BAD_FIELD", "match_type was left out: expected exact or near"))
    comment = f"{word} ({how or 'kind of match not stated'})"
    return items.finish(
        position,
        pairs,
        faults,
        action=Action.REVIEW,
        media_size=size,
        tags=(f"{PURPOSE_TAG}{_PURPOSES[word]}",),
        reviews=(RecordReview(ReviewKind.CONFIRMED, AUTHOR, comment),),
    )
