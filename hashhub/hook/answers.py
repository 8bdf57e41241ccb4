"""Answers about the same bytes, remembered for seconds."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict

import msgspec

from hashhub.desk.decision import NoAnswer
from hashhub.desk.hub import HubAnswer
from hashhub.model import Coverage, Query


class CachedAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of some bytes, and who answered what. `causes`: at most NO_PERCEPTUAL_HASH; what had no answer is
    not remembered.
    """

    judged: HubAnswer
    query: Query
    media_type: str
    coverage: Coverage
    causes: tuple[NoAnswer, ...]


class AnswerCache:
    """By SHA-256 digest that was computed here; digests that callers state never get in, so nobody can say of one file
    what is true of another. An answer holds for `seconds`, and only at the revision that it was given at: the first
    answer of a newer one ends all. Safe to be shared by threads.
    """

    def __init__(self, *, most: int, seconds: float) -> None:
        self._most = most
        self._seconds = seconds
        self._lock = threading.Lock()
        self._answers: OrderedDict[bytes, tuple[float, CachedAnswer]] = OrderedDict()
        self._revision = 0

    def get(self, key: bytes, revision: int) -> CachedAnswer | None:
        """Return the answer that holds at the revision, None without one."""
        with self._lock:
            self._at(revision)
            until, answer = self._answers.get(key, (0.0, None))
            return answer if time.monotonic() < until else None

    def put(self, key: bytes, answer: CachedAnswer, *, asked: float) -> None:
        """Remember an answer. `asked`: when it was asked for, by the monotonic clock: it holds from then."""
        if not self._most or not self._seconds:
            return
        with self._lock:
            if answer.judged.revision < self._revision:
                return
            self._at(answer.judged.revision)
            self._answers[key] = (asked + self._seconds, answer)
            self._answers.move_to_end(key)
            while len(self._answers) > self._most:
                self._answers.popitem(last=False)

    def _at(self, revision: int) -> None:
        if revision > self._revision:
            self._revision = revision
            self._answers.clear()
