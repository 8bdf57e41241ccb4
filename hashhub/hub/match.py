"""The match path, `Match.hashes`: who knows this item, what do they say it is, does that satisfy the policy? And how
much callers learn by asking: a distance that takes in a whole list would give it to somebody who may not list it.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Final

from hashhub import cancellation, trust
from hashhub.answering.answer import answer, answers, check_queries, gather, nothing, standing
from hashhub.answering.lookup import QueryHits, hits_nothing
from hashhub.background import Background
from hashhub.errors import HashHubError, LimitExceeded, PermissionDenied, Reason, Unavailable
from hashhub.hashes import SEARCHED
from hashhub.hashing import Limits, MediaHashes
from hashhub.hashing.coverage import best_quality, coverage, least, nothing_looked_for, remarked
from hashhub.hashing.pool import ChildSlot, MediaPool
from hashhub.hashing.structure import video_pixels
from hashhub.hub import access
from hashhub.hub.access import DisclosureChannel, VisibleLists, caller
from hashhub.hub.digest_walks import WalkGuard
from hashhub.hub.near_hits import NearHitCounter
from hashhub.model import (
    MAX_MEDIA,
    Effort,
    MatchOptions,
    MatchResult,
    MediaResult,
    Principal,
    Query,
    ReasonLine,
    Role,
    Verdict,
    now,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from hashhub.config import Config
    from hashhub.hub.health import Readiness, Tally
    from hashhub.hub.playback import VideoPlayback
    from hashhub.hub.schemes import Catalogue
    from hashhub.matcher import Matcher, SegmentHits
    from hashhub.model import EntryMatch, HashSet
    from hashhub.store import Store
    from hashhub.trust import Policy

_log = logging.getLogger("hashhub.access")
MEDIA_SECONDS: Final = 30.0  # of hashing in one call; a single file takes a few at most
MOST_UNWRITTEN: Final = 65_536  # SHA-256 of what one token was told of that wait to be written
_WRITTEN_SECONDS: Final = 10.0  # how often they are
_SHOWN: Final = 1_000  # tokens in metrics
_DAY: Final = 86_400
_MAY_MATCH: Final = (Role.OPERATOR, Role.CONSUMER, Role.CONTRIBUTOR)


@dataclass(slots=True)
class SearchTrace:
    """What of a query was searched in the matcher's memory, by algorithm, and at which revision."""

    revision: int = 0
    by_algorithm: dict[str, Sequence[SegmentHits]] = field(default_factory=dict)


class Match:
    """Matching by hashes and by media, and the policies that an answer refers to."""

    def __init__(
        self,
        store: Store,
        matcher: Matcher,
        catalogue: Catalogue,
        readiness: Readiness,
        config: Config,
        tally: Tally,
        learned: DisclosureCounter,
    ) -> None:
        self.tally = tally
        self.learned = learned
        self.near_hits = NearHitCounter(config)
        self.walks = WalkGuard(store, config)
        self._max_effort = Effort(config.max_effort.upper())
        self.store = store
        self.matcher = matcher
        self._catalogue = catalogue
        self.readiness = readiness
        self.media_pool = MediaPool(
            children=config.media_children(),
            max_queued=config.max_queued_media,
            seconds=config.media_seconds,
            memory_bytes=config.media_memory_bytes,
            limits=Limits(
                max_bytes=config.max_media_bytes,
                max_pixels=config.max_media_pixels,
                max_video_pixels=video_pixels(config.media_seconds),
            ),
        )

    def miss(
        self, principal: Principal, query: Query, options: MatchOptions, searched: SearchTrace | None = None
    ) -> tuple[MatchResult, int] | None:
        """Answer as `hashes` where nothing is hit at usual distances; else None, and fill `searched`. Never waits."""
        access.allow(principal, *_MAY_MATCH)
        check_queries((query,), options)
        self.readiness.require()
        searched = searched or SearchTrace()
        revision = searched.revision = self.matcher.revision
        is_wide = any(d > (SEARCHED[name].default_max_distance or 0) for name, d in options.max_distances.items())
        by_algorithm = searched.by_algorithm
        if is_wide or self.walks.beside(principal, query):
            return None
        if not hits_nothing(self.matcher, query, options, caller=caller(principal), searched=by_algorithm):
            return None
        result = nothing(query, is_listed=VisibleLists(self.store, principal).has_any())
        self.tally.answered((result,), ())
        return result, revision

    def held_policy(self, principal: Principal, reference: str) -> Policy | None:
        """Return the policy as this process knows it; None where `policy` has to look. Never waits."""
        access.allow(principal, *_MAY_MATCH)
        return self._catalogue.held().policies.known(reference)

    def policy(self, principal: Principal, reference: str) -> Policy:
        """Return the policy that `NAME` or `NAME@VERSION` means. Raises InvalidArgument; Unavailable if unreadable."""
        held = self.held_policy(principal, reference)  # what another process puts or retires counts here after a poll
        return self._catalogue.now().policies.get(reference) if held is None else held

    def hashes(
        self,
        principal: Principal,
        queries: Sequence[Query],
        options: MatchOptions,
        *,
        policy: Policy | None = None,
        searched: SearchTrace | None = None,
    ) -> tuple[list[MatchResult], int]:
        """Answer each query, in order, and return the revision that the answers are true of.

            (1)  authorise; pick the policy
            (2)  search all queries at once, per algorithm; drop what the caller's terms hide, before any limit counts,
                 and all but the nearest of each contributor
            (3)  look up whose the hits are, in the store, which decides what is active now; keep "something exists"
                 only where terms allow. A query without a hit touches no database
            (4)  fetch the entries to judge, and their reviews
            (5)  decide by the policy; a judgement cut short is REVIEW at least
            (6)  answer with verdict, reasons, matches, revision; only here the caller's limit counts

        Raises InvalidArgument (unknown policy, no hashes, PHOTODNA without a distance), LimitExceeded (more than
        MAX_QUERIES), PermissionDenied (DISTANCE_NOT_ALLOWED among them), Unavailable while the matcher has not caught
        up. `policy`: the one that the options name, where it was picked before. `searched`: what `miss` took in of the
        only query.
        """
        access.allow(principal, *_MAY_MATCH)  # (1)
        policy = policy or self.policy(principal, options.policy)
        results, revision, hit_by = self._judged(principal, queries, options, policy, searched=searched)
        self.tally.answered(results, chain.from_iterable(hit_by.values()))
        return results, revision

    def hash_sets(self, principal: Principal, matches: Iterable[EntryMatch]) -> list[HashSet]:
        """Return the hash sets of matches that were answered just now, as far as the principal sees them."""
        registry = self.store.resources.held
        visible = access.sight(principal, registry, DisclosureChannel.ANSWER).visible
        names = dict.fromkeys(f"{match.entry.contributor}/{match.entry.hash_set}" for match in matches)
        return [registry.hash_sets[name] for name in names if name in visible]

    def _judged(
        self,
        principal: Principal,
        queries: Sequence[Query],
        options: MatchOptions,
        policy: Policy,
        *,
        among_frames: bool | None = None,
        searched: SearchTrace | None = None,
    ) -> tuple[list[MatchResult], int, Mapping[int, Sequence[str]]]:
        """Take the steps of `hashes` from (2) on, and return besides by which algorithms each query hit entries."""
        check_queries(queries, options)
        self.learned.check(principal, options.max_distances)
        self.readiness.require()
        revision = searched.revision if searched and searched.by_algorithm else self.matcher.revision
        results, hit_by = answers(  # (2) to (6)
            VisibleLists(self.store, principal),
            self.matcher,
            queries,
            options,
            policy,
            caller=caller(principal),
            among_frames=among_frames,
            searched=None if searched is None else searched.by_algorithm,
        )
        if hit_by:
            self.learned.note_answers(principal, results)
            self.near_hits.note(results)
        results = self.walks.told(principal, queries, results, options)
        return results, revision, hit_by

    def media(
        self,
        principal: Principal,
        media: Sequence[tuple[str, bytes]],
        options: MatchOptions,
        *,
        single: bool = False,
        charge: Callable[[float], None] = lambda _: None,
        policy: Policy | None = None,
    ) -> tuple[list[MediaResult], int]:
        """Hash files in the pool's processes and match them. The bytes are dropped on return.

        Each file is matched by itself and by its variants; with the effort THOROUGH, those of which nothing is known
        once more, with all variants. The effort is at most that of the settings and of the token; the answer's coverage
        says what was looked for.

        Files that were not begun MEDIA_SECONDS after the call get UNAVAILABLE (DEADLINE_EXCEEDED). With `single`, a
        file that cannot be read raises InvalidArgument (UNREADABLE_MEDIA), LimitExceeded (MEDIA_TOO_LARGE,
        MEDIA_TOO_COSTLY) or Unavailable (MEDIA_PROCESS_DIED); in a batch it gets UNAVAILABLE with that reason, never
        NO_MATCH. Raises LimitExceeded (TOO_MANY_REQUESTS) when too many calls wait for those processes. Otherwise as
        `hashes`.

        Hashing stops when nobody waits for the answer any more. `charge` is told the CPU seconds of each time that a
        file is hashed; what it raises ends the call.
        """
        access.allow(principal, *_MAY_MATCH)
        policy = policy or self.policy(principal, options.policy)
        self.learned.check(principal, options.max_distances)  # before anything is hashed
        if len(media) > MAX_MEDIA:
            raise LimitExceeded(
                f"a call takes at most {MAX_MEDIA} files, got {len(media)}; send several", reason=Reason.TOO_LARGE
            )
        effort = self.effort(principal, options)
        until = time.monotonic() + MEDIA_SECONDS
        files = [_File(label, content) for label, content in media]
        with self.media_pool.room() as place:

            def hash_all(chosen: Sequence[_File], given: Effort) -> int:
                for file in chosen:
                    charged = place.cpu_seconds
                    try:
                        file.hash(place, given, until=until, single=single)
                    finally:
                        charge(place.cpu_seconds - charged)
                return self._match_files(principal, chosen, options, policy)

            revision = hash_all(files, least(effort, Effort.STANDARD))
            if effort is Effort.THOROUGH:
                hash_all([file for file in files if file.is_unknown], Effort.THOROUGH)
        self.tally.answered(
            [file.answer for file in files if file.answer is not None], (name for file in files for name in file.hit_by)
        )
        for file in files:
            if file.answer is None:
                self.tally.add("verdicts", Verdict.UNAVAILABLE)
        return [_about(file, effort, options) for file in files], revision

    def _match_files(self, principal: Principal, files: Sequence[_File], options: MatchOptions, policy: Policy) -> int:
        """Answer for those of the files that were hashed, and return the revision that the answers are true of."""
        hashed = [(file, file.hashed.query(file.label)) for file in files if file.hashed is not None]
        if not hashed:
            return self.matcher.revision
        # The file itself may be a picture out of a video; with the effort PLAIN nothing but the file is looked for.
        results, revision, hit_by = self._judged(
            principal,
            [query for _, query in hashed],
            options,
            policy,
            among_frames=self.effort(principal, options) is not Effort.PLAIN,
        )
        for i, ((file, _), result) in enumerate(zip(hashed, results, strict=True)):
            file.answer, file.hit_by = result, hit_by.get(i, ())
        return revision

    def effort(self, principal: Principal, options: MatchOptions) -> Effort:
        """Return which variants are looked for: as asked for, within what the settings and the token allow."""
        return least(options.effort, self._max_effort, principal.max_effort or options.effort)

    def judge(
        self,
        principal: Principal,
        query: Query,
        options: MatchOptions,
        policy: Policy,
        entries: Collection[int],
        *,
        played: Mapping[int, VideoPlayback],
        withheld: bool,
        cut_short: bool,
    ) -> tuple[MatchResult, frozenset[int], int]:
        """Judge again what was hit before: answer as `hashes` would if the query hit these entries alone. Return also
        which of them it still hits, for this caller, and the revision. `played`: those hit as videos. `withheld`,
        `cut_short`: of other hits. Raises as `hashes`. The circuit breaker does not count it.
        """
        access.allow(principal, *_MAY_MATCH)
        self.learned.check(principal, options.max_distances)
        self.readiness.require()
        revision = self.matcher.revision
        lists = VisibleLists(self.store, principal)
        evidence = gather(
            lists,
            self.matcher,
            [query] if entries else [],
            options,
            stated_times=policy.reads_statement_times,
            caller=None,
            among_frames=False,
            played=played,
        ).among(entries)
        hits = evidence.hits.get(0) or QueryHits(0)
        hits.withheld, hits.cut_short = withheld, cut_short
        decided_at = now()
        judgement = trust.decide(
            policy,
            evidence.statements(0),
            evidence.contributors,
            time=decided_at,
            query=query.hashes,
            cut_short=cut_short,
        )
        current = standing(evidence, 0, decided_at)
        result = answer(lists, query, judgement, current, hits, evidence.reviews, options.match_limit)
        self.learned.note_answers(principal, (result,))
        (result,) = self.walks.told(principal, [query], [result], options)
        return result, frozenset(e.id for _, e in current), revision


@dataclass(slots=True)
class _File:
    """A file of a call: what was computed of it and answered, or why nothing was."""

    label: str
    content: bytes
    hashed: MediaHashes | None = None
    answer: MatchResult | None = None
    hit_by: Sequence[str] = ()
    unreadable: ReasonLine | None = None

    @property
    def is_unknown(self) -> bool:
        """Whether nothing is known of what was looked for of it, and there is a picture of which variants can be."""
        return (
            self.answer is not None
            and self.answer.verdict is Verdict.NO_MATCH
            and self.hashed is not None
            and bool(self.hashed.frames)
        )

    def hash(self, place: ChildSlot, effort: Effort, *, until: float, single: bool) -> None:
        """Set what is computed of the file, or why nothing is. `until`: when the call's time is over."""
        cancellation.check()
        try:
            if time.monotonic() > until:
                raise Unavailable(
                    f"hashing the files before this one took {MEDIA_SECONDS:g} s; send it again, in a smaller batch",
                    reason=Reason.DEADLINE_EXCEEDED,
                )
            self.hashed = place.hash(self.content, effort=effort, is_wanted=cancellation.is_wanted)
        except HashHubError as e:
            if single or not cancellation.is_wanted():
                raise
            self.hashed = self.answer = None
            self.hit_by = ()
            self.unreadable = ReasonLine(code=e.reason, text=e.message)


def _about(file: _File, effort: Effort, options: MatchOptions) -> MediaResult:
    """Return what is told about a file. `effort`: what was given of that of the options."""
    if file.hashed is None or file.answer is None:
        assert file.unreadable is not None  # noqa: S101 - it was not hashed
        return MediaResult(
            result=MatchResult(verdict=Verdict.UNAVAILABLE, reasons=(file.unreadable,), label=file.label),
            coverage=nothing_looked_for(file.unreadable, effort, asked=options.effort),
        )
    covered = coverage(file.hashed, effort, asked=options.effort)
    is_decoded = bool(file.hashed.frames or file.hashed.video_frames)
    return MediaResult(
        result=remarked(file.answer, covered),
        hashes=file.hashed.hashes,
        quality=best_quality(file.hashed),
        media_type=file.hashed.media_type if is_decoded else "",
        coverage=covered,
    )


class DisclosureCounter:
    """Bounds and counts what tokens are told of closed hash sets: those that they see in answers and may not list.

    Each process keeps the smallest SHA-256 of entries' names (a sketch: exact below 1,024 names, within some percent
    beyond), and adds them every few seconds to the token's day in the database.
    """

    def __init__(self, store: Store, config: Config) -> None:
        self._store = store
        self._photodna = config.max_photodna_distance
        self._alarm = config.learned_alarm
        self._lock = threading.Lock()
        self._names: dict[str, set[int]] = {}
        self._counts: tuple[int, Mapping[str, int]] = (0, {})
        self._told: set[tuple[str, int]] = set()
        self.thread = Background(
            "learned",
            self.write,
            complaint="what tokens learn of closed hash sets is not counted",
            pause=_WRITTEN_SECONDS,
        )

    def check(self, principal: Principal, max_distances: Mapping[str, int]) -> None:
        """Raise PermissionDenied (DISTANCE_NOT_ALLOWED) for a distance beyond what closed sets' terms allow."""
        usual = {name: of.default_max_distance for name, of in SEARCHED.items()}
        wide = {n: d for n, d in max_distances.items() if d > (usual[n] or 0)}
        if not wide:
            return
        registry = self._store.resources.registry()
        closed = access.sight(principal, registry, DisclosureChannel.ANSWER).closed
        for name, distance in wide.items():
            own = usual[name]
            least = self._photodna if own is None else own
            granted = [registry.hash_sets[x].marking.max_distances.get(name, 0) for x in closed]
            most = max(least, min(granted, default=distance))
            if distance > most:
                raise PermissionDenied(
                    f"options.max_distances[{name}] must be at most {most} for this token, got {distance}: there are "
                    "hash sets that it may see in answers and not list, and a wider question would give them away; ask "
                    "with at most that, or have the operator or their contributors allow more in their terms"
                    + (" (for all: setting max_photodna_distance)" if own is None else ""),
                    reason=Reason.DISTANCE_NOT_ALLOWED,
                    metadata={"algorithm": name, "maxDistance": str(most)},
                )

    def note_answers(self, principal: Principal, results: Sequence[MatchResult]) -> None:
        """Count what answers tell: the entries that matched, and those that reasons name."""
        names = {m.entry.name for r in results for m in r.matches}
        self.note(principal, names.union(*(line.entries for r in results for line in r.reasons)))

    def note(self, principal: Principal, names: Iterable[str]) -> None:
        """Count those of the entries (`CONTRIBUTOR/SET/ID`) that are of closed hash sets."""
        closed = access.sight(principal, self._store.resources.held, DisclosureChannel.ANSWER).closed
        learned = {_number(name) for name in names if name.rpartition("/")[0] in closed}
        if not learned:
            return
        with self._lock:
            own = self._names.setdefault(principal.name, set())
            if len(own) < MOST_UNWRITTEN:
                own |= learned
        with suppress(RuntimeError):  # no thread can be made: the next answer tries again
            self.thread.start(at_once=False)

    def counts(self) -> Mapping[str, int]:
        """Return of how many entries tokens learned today: the _SHOWN highest that this process has written."""
        day, counts = self._counts
        return counts if day == _today() else {}

    def warnings(self) -> list[str]:
        """Return what is to be said of tokens that learned more than the settings say, today or yesterday."""
        if not self._alarm:
            return []
        return [
            f"token {token} was told of {count:,} entries within a day of hash sets that it may not list "
            f"(learned_alarm {self._alarm:,}): ask its holder, and see `hashhub token update {token} --expires now`"
            for token, count in sorted(self._store.tokens.learned(since=_today() - 1).items())
            if count >= self._alarm
        ]

    def write(self) -> None:
        """Add what was counted to what all processes did, and warn in the log of tokens that learned much."""
        with self._lock:
            names, self._names = self._names, {}
        day = _today()
        try:
            counts = self._store.tokens.note_learned(day, names) if names else {}
        except BaseException:
            with self._lock:
                for token, own in names.items():
                    self._names.setdefault(token, set()).update(own)
            raise
        known = {**(self._counts[1] if self._counts[0] == day else {}), **counts}
        self._counts = (day, dict(sorted(known.items(), key=lambda x: -x[1])[:_SHOWN]))
        for token, count in counts.items():
            if self._alarm and count >= self._alarm and (token, day) not in self._told:
                self._told = {told for told in self._told if told[1] == day} | {(token, day)}
                _log.warning(
                    "token %s was told of %d entries today of hash sets that it may not list (learned_alarm)",
                    token,
                    count,
                )

    def close(self) -> None:
        """Write down what was counted last."""
        self.thread.close()
        try:
            self.write()
        except HashHubError as e:
            _log.warning("what tokens learned last could not be written: %s", e.message)


def _number(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])


def _today() -> int:
    return int(time.time()) // _DAY
