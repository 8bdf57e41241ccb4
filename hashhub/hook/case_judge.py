"""Cases before the lists: who is stopped because of an open case, whatever the hub says, and without it.

A case is no statement about an item, so it never makes a verdict MATCH. A copy is REVIEW, which a person decides, and
`at_least` says what is done with it until then.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import IO, TYPE_CHECKING, Final, NamedTuple

import msgspec

from hashhub.errors import HashHubError, Unavailable
from hashhub.hashes import ALGORITHMS, VPDQ, Hash, is_exact
from hashhub.hook.cases import Cases
from hashhub.hook.decision import Action, Checked, severest
from hashhub.hook.judges import Judge, Judged, JudgedMedia, MediaJudge
from hashhub.hygiene import MIN_PDQ_QUALITY
from hashhub.model import MatchResult, Query, ReasonLine, Verdict, now

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from hashhub.hook.records import Records
    from hashhub.hook.settings import HookSettings

MAX_DISTANCE: Final = ALGORITHMS["PDQ"].default_max_distance or 0
"""Bits, inclusive, at which a picture counts as a copy: what PDQ calls the same picture."""
VIDEO_SHARE: Final = 0.8
"""Share of the frames of a case's video, or of the upload's, that the other has as well.

Source: the vPDQ extension of python-threatexchange matches from 80 % of a query's frames on.
"""
_STOPPED: Final = "CASE_"  # begins the code of a reason, the clause of which is the case
_FOR_PEOPLE: Final = frozenset({Verdict.MATCH, Verdict.REVIEW})


class CaseHit(NamedTuple):
    """A case of whose item an upload is a copy: what is done with it, and by what it was noticed."""

    case: str
    action: Action
    algorithm: str
    distance: int
    variant: str

    @property
    def how(self) -> str:
        """By what, in words."""
        near = "exactly" if self.distance == 0 else f"at distance {self.distance}"
        return f"{self.algorithm} {near}{f', by its variant {self.variant}' if self.variant else ''}"


class _Stops(NamedTuple):
    action: Action
    until: datetime | None
    hashes: list[tuple[Hash, str]]


class CaseIndex:
    """The digests of cases, in memory; brought up to date with the records before each answer.

    Memory: some 300 bytes a digest. Safe to be shared by threads.
    """

    def __init__(self, cases: Cases, *, only: str = "") -> None:
        """`only`: the name of the one case that is looked for."""
        self._cases = cases
        self._only = only
        self._lock = threading.Lock()
        self._change = 0
        self._stops: dict[str, _Stops] = {}
        self._by_digest: dict[Hash, list[str]] = {}
        self._pdq = _Near()
        self._frames = _Near()

    def hits(self, query: Query) -> list[CaseHit]:
        """Return one hit for each case of which this is a copy, the nearest. Raises HashHubError when the records
        cannot be read.
        """
        by_digest, pdq, frames = self._current()
        best: dict[str, CaseHit] = {}
        for h, variant in _hashes(query):
            if is_exact(h.algorithm):
                for name in by_digest.get(h, ()):
                    self._keep(best, name, h.algorithm, 0, variant)
            elif h.algorithm == "PDQ":
                for name, distance in pdq.near(h.digest):
                    self._keep(best, name, "PDQ", distance, variant)
        if query.frames and frames.names:
            wanted = list(dict.fromkeys(f.digest for f in query.frames if f.quality >= MIN_PDQ_QUALITY))
            for name, distance in frames.alike(wanted):
                self._keep(best, name, VPDQ.name, distance, "")
        return sorted(best.values(), key=lambda hit: (hit.distance, hit.case))

    def has_cases(self) -> bool:
        """Whether there is a digest to look for. Raises HashHubError when the records cannot be read."""
        self._current()
        return bool(self._stops)

    def _keep(self, best: dict[str, CaseHit], name: str, algorithm: str, distance: int, variant: str) -> None:
        stops = self._stops.get(name)
        if stops is None or (stops.until is not None and stops.until <= now()):
            return
        if name not in best or distance < best[name].distance:
            best[name] = CaseHit(name, stops.action, algorithm, distance, variant)

    def _current(self) -> tuple[Mapping[Hash, list[str]], _Near, _Near]:
        with self._lock:
            last, changed = self._cases.changes(self._change)
            if changed:
                for name, (action, until, hashes) in changed.items():
                    if action is Action.ALLOW or (self._only and name != self._only):
                        self._stops.pop(name, None)
                    else:
                        self._stops[name] = _Stops(action, until, hashes)
                by_digest: dict[Hash, list[str]] = {}
                pdq: list[tuple[str, bytes]] = []
                frames: list[tuple[str, bytes]] = []
                for name, stops in self._stops.items():
                    for h, _ in stops.hashes:
                        if is_exact(h.algorithm):
                            by_digest.setdefault(h, []).append(name)
                        else:
                            (pdq if h.algorithm == "PDQ" else frames).append((name, h.digest))
                self._by_digest, self._pdq, self._frames = by_digest, _Near(pdq), _Near(frames)
            self._change = last
            return self._by_digest, self._pdq, self._frames


class _Near:
    """Digests of 32 bytes, searched one by one."""

    def __init__(self, named: Iterable[tuple[str, bytes]] = ()) -> None:
        self.names: list[str] = []
        self._words: NDArray[np.uint64] | None = None
        digests = []
        for name, digest in named:
            self.names.append(name)
            digests.append(digest)
        if digests:
            import numpy as np

            words = np.frombuffer(b"".join(digests), dtype=np.uint64).reshape(len(digests), 4)
            self._words = np.ascontiguousarray(words.T)  # uint64[4, n]: each column is read in one go

    def near(self, digest: bytes) -> list[tuple[str, int]]:
        """Return the names of digests within MAX_DISTANCE, with their distances."""
        return [(self.names[i], distance) for i, distance in self._rows(digest)]

    def alike(self, frames: list[bytes]) -> list[tuple[str, int]]:
        """Return the names of videos that share VIDEO_SHARE of their frames, or of these, with the least distance."""
        rows_of: dict[str, set[int]] = {}
        frames_of: dict[str, set[int]] = {}
        least: dict[str, int] = {}
        for number, frame in enumerate(frames):
            for row, distance in self._rows(frame):
                name = self.names[row]
                rows_of.setdefault(name, set()).add(row)
                frames_of.setdefault(name, set()).add(number)
                least[name] = min(distance, least.get(name, distance))
        return [
            (name, least[name])
            for name in least
            if len(rows_of[name]) >= VIDEO_SHARE * self.names.count(name)
            or len(frames_of[name]) >= VIDEO_SHARE * len(frames)
        ]

    def _rows(self, digest: bytes) -> list[tuple[int, int]]:
        if self._words is None:
            return []
        import numpy as np

        distances = np.zeros(self._words.shape[1], dtype=np.uint16)
        for column, word in zip(self._words, np.frombuffer(digest, dtype=np.uint64), strict=True):
            distances += np.bitwise_count(column ^ word)
        return [(int(i), int(distances[i])) for i in np.nonzero(distances <= MAX_DISTANCE)[0]]


def _hashes(query: Query) -> Iterable[tuple[Hash, str]]:
    for h in query.hashes:
        yield h, ""
    for variant in query.variants:
        for h in variant.hashes:
            yield h, variant.variant


class CaseJudge:
    """A judge, and the cases before it."""

    def __init__(
        self,
        judge: Judge,
        records: Records,
        settings: HookSettings,
        *,
        media_judge: MediaJudge | None = None,
        owns_records: bool = False,
    ) -> None:
        """The judge is closed with it, and the records if `owns_records`."""
        self._owns_records = owns_records
        self._media_judge = media_judge
        self._judge = judge
        self._records = records
        self._settings = settings
        self._cases = Cases(records, settings.case)
        self._index = CaseIndex(self._cases)

    def judge(self, query: Query) -> Judged:
        """Answer one query. Raises HashHubError when the judge has no answer and no case stops the upload."""
        action, lines = self.stops(query)
        try:
            judged = self._judge.judge(query)
        except HashHubError as e:
            if not lines:
                raise
            away = ReasonLine(code=e.reason, text=e.message)
            result = MatchResult(verdict=Verdict.REVIEW, reasons=(*lines, away), label=query.label)
            judged = Judged(result=result, policy="", revision=self._judge.revision(), without_lists=True)
        else:
            if not lines:
                return judged
            verdict = judged.result.verdict
            is_unsaid = verdict is Verdict.UNAVAILABLE or (judged.is_past_limit and verdict not in _FOR_PEOPLE)
            judged = msgspec.structs.replace(
                judged, result=_stopped(judged.result, lines), at_least=action, without_lists=is_unsaid
            )
        if judged.without_lists:
            # What is done without an answer is chosen by the caller; a case makes it no milder.
            action = severest(action, self._settings.without_answer.hub_away)
        return msgspec.structs.replace(judged, at_least=action)

    def judge_media(self, label: str, content: bytes) -> JudgedMedia:
        """Let the hub hash an upload and answer. Raises HashHubError when no answer can be had."""
        if self._media_judge is None:
            raise Unavailable("nobody hashes uploads for this hook; set hashing to here, or mode to online")
        judged = self._media_judge.judge_media(label, content)
        action, lines = self.stops(Query(hashes=judged.media.hashes))
        if not lines:
            return judged
        if judged.media.result.verdict is Verdict.UNAVAILABLE:  # it stays unread; what the case does, the digests say
            return msgspec.structs.replace(judged, at_least=action)
        media = msgspec.structs.replace(judged.media, result=_stopped(judged.media.result, lines))
        return msgspec.structs.replace(judged, media=media, at_least=action)

    def has_cases(self) -> bool:
        """Whether any case stops uploads now; also where that cannot be read."""
        try:
            return self._index.has_cases()
        except HashHubError:
            return True

    def is_stopped(self, query: Query) -> bool:
        """Whether a case is about this upload, or cannot be read."""
        try:
            return bool(self._index.hits(query))
        except HashHubError:
            return True

    def stops(self, query: Query) -> tuple[Action, tuple[ReasonLine, ...]]:
        """Return what cases do with this upload at least, and why; ALLOW and nothing where no case is about it."""
        try:
            hits = self._index.hits(query)
        except HashHubError as e:
            text = f"the cases could not be read, so it is not known whether one is about this upload: {e.message}"
            return Action.HOLD, (ReasonLine(code="CASES_UNREAD", text=text),)
        if not hits:
            return Action.ALLOW, ()
        action = severest(*(hit.action for hit in hits))
        lines = tuple(
            ReasonLine(
                code=f"{_STOPPED}{hit.action}",
                clause=hit.case,
                text=f"a copy of what {hit.case} is about: {hit.how}",
            )
            for hit in sorted(hits, key=lambda hit: hit.action is not action)
        )
        return action, lines

    def on_checked(self, checked: Checked, content: IO[bytes] | None) -> None:
        """Count an upload in the cases that stopped it: once, however often they were asked about it."""
        del content
        names = {line.clause: None for line in checked.decision.reasons if line.code.startswith(_STOPPED)}
        if names:
            with contextlib.suppress(HashHubError):  # a count; the decision does not depend on it
                self._cases.note_stopped(names)

    def revision(self) -> int:
        """Return the judge's revision."""
        return self._judge.revision()

    def close(self) -> None:
        """Close the judge, and the records where they are its own."""
        self._judge.close()
        if self._owns_records:
            self._records.close()


def _stopped(result: MatchResult, lines: tuple[ReasonLine, ...]) -> MatchResult:
    verdict = result.verdict if result.verdict in _FOR_PEOPLE else Verdict.REVIEW
    # What decides comes first.
    reasons = (*result.reasons, *lines) if verdict is Verdict.MATCH else (*lines, *result.reasons)
    return msgspec.structs.replace(result, verdict=verdict, reasons=reasons)
