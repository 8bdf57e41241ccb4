"""Live streams: each frame is looked up as a picture, and as one that a listed video goes on with; the policy judges.

What is shown is judged anew when it, the hub's revision or the policy changes, and every _AGAIN_SECONDS. The circuit
breaker does not count frames: thousands of one stream are near one listed digest.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import msgspec

from hashhub import cancellation, trust
from hashhub.answering.answer import check_queries
from hashhub.answering.lookup import Hit, QueryHits, look_up, set_keys
from hashhub.errors import HashHubError, InvalidArgument, PermissionDenied, Reason, Unauthenticated
from hashhub.hashes import VPDQ, Hash
from hashhub.hashing.coverage import best_quality, least
from hashhub.hub import access
from hashhub.hub.access import VisibleLists
from hashhub.hub.playback import StreamWindow, VideoPlayback
from hashhub.hygiene import MIN_PDQ_QUALITY
from hashhub.model import (
    Effort,
    LiveAnswer,
    LiveOptions,
    LivePicture,
    LiveRange,
    MatchResult,
    Principal,
    Query,
    ReasonLine,
    Role,
    VariantHashes,
    Verdict,
    VideoFrame,
)
from hashhub.trust import Closeness, FrameOutcome, HitPath, SightingTracker, Span

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hashhub.config import Config
    from hashhub.hub.match import Match
    from hashhub.hub.playback import VideoPlay
    from hashhub.trust import Policy

_MAY_MATCH: Final = (Role.OPERATOR, Role.CONSUMER, Role.CONTRIBUTOR)
HITS: Final = 300  # entries that one frame may hit, the nearest of each contributor; of more the verdict is REVIEW
_TRACKED: Final = 2_000  # entries that one stream may hit at a time; likewise
_AGAIN_SECONDS: Final = 10.0  # after which what is shown is judged anew, whatever happened
_SIGN_MS: Final = 10_000  # of frames, after which a stream that answers changes only answers all the same
_WHOLE_FRAMES: Final = 100  # whose hashes are all looked up again when what is shown is judged
_GAP_FRAMES: Final = 2  # at the announced rate: a longer gap between two frames was not watched

# Beside entries, whose ids are above 0, two things are tracked: both must last to count, as an entry's hits must.
_WITHHELD: Final = -1  # something that the caller may not see, but may know of
_CUT_SHORT: Final = -2  # more than HITS, or than is looked at of videos


class Live:
    """Opens live streams for matching. `rate`: frames a second of one that may be looked up."""

    def __init__(self, match: Match, config: Config) -> None:
        self._match = match
        self.rate = config.live_frames_per_second

    def open(self, principal: Principal, options: LiveOptions) -> LiveStream:
        """Begin to watch a stream. Raises InvalidArgument (unknown policy, bad distances), PermissionDenied."""
        access.allow(principal, *_MAY_MATCH)
        check_queries([Query(hashes=(Hash("PDQ", bytes(32)),))], options.match)
        self._match.learned.check(principal, options.match.max_distances)
        policy = self._match.policy(principal, options.match.policy)
        return LiveStream(self._match, options, policy)


class LiveStream:
    """One stream that is watched, by one thread. A frame that is not later than the one before counts as unread: a
    repeated frame is not two hits, and a clock that was set back is noticed.
    """

    def __init__(self, match: Match, options: LiveOptions, policy: Policy) -> None:
        self._store, self._matcher, self._readiness = match.store, match.matcher, match.readiness
        self._match, self._tally = match, match.tally
        self._options, self._policy = options, policy
        gap = _GAP_FRAMES * 1000 / options.frames_per_second
        self._shown: SightingTracker[int] = SightingTracker(options.hysteresis, longest_gap_ms=gap, most=_TRACKED)
        self.nearest: dict[int, tuple[Hit, Query]] = {}  # of what is tracked: the closest hit, and its frame
        self.window = StreamWindow(
            self._store,
            self._matcher,
            max_distance=options.match.max_distances.get(VPDQ.name),
            longest_gap_ms=gap,
        )
        self._played: dict[int, VideoPlayback] = {}  # of what is tracked: the videos
        self._judged: MatchResult | None = None
        self._judged_at = 0.0
        self._judged_of: tuple[object, ...] = ()
        self._revision = 0
        self.sent: MatchResult | None = None
        self._sent_ms = 0
        self._sent_counts = (0, 0, 0)
        self._offset_ms = -1
        self._unread = ""  # the reason code of the last frame that could not be looked for
        self._blank = 0  # frames in a row
        self._hashed = self._unreadable = self._skipped = 0

    def skip(self, count: int) -> None:
        """Count frames that are left out."""
        if count:
            self._skipped += count
            self._tally.add("live", "SKIPPED", count)

    def frame(
        self,
        principal: Principal,
        frame: LivePicture | VideoFrame,
        *,
        check_media: Callable[[], None] = lambda: None,
        charge_media: Callable[[float], None] = lambda _: None,
    ) -> LiveAnswer | None:
        """Look a frame up and answer, unless there is nothing to say. A frame that cannot be looked for is answered
        with the reason. `check_media` raises when the caller may have no picture hashed now; `charge_media` is told the
        CPU seconds. Raises Unavailable when nobody waits, InvalidArgument when the policy was retired,
        PermissionDenied.
        """
        access.allow(principal, *_MAY_MATCH)
        quality: int | None = None
        hits: dict[int, Hit] = {}
        sure: dict[int, bool] = {}
        plays: Mapping[int, VideoPlay] = {}
        unread: ReasonLine | None = None
        try:
            if frame.offset_ms <= self._offset_ms:
                raise InvalidArgument.field(
                    "offset_ms",
                    f"must be later than that of the frame before, {self._offset_ms}, got {frame.offset_ms}; the frame "
                    "was not looked for",
                    "OUT_OF_ORDER",
                )
            query, quality = self._hash(principal, frame, check_media, charge_media)
            hits, sure = self._look_up(principal, query)
            plays, beside = self._look_up_video(principal, frame.offset_ms, query, quality)
            sure = beside | sure | dict.fromkeys(plays.keys() - hits.keys(), False)
            look = FrameOutcome.BLANK if quality is not None and quality < MIN_PDQ_QUALITY else FrameOutcome.READ
        except (PermissionDenied, Unauthenticated):
            raise
        except HashHubError as e:
            cancellation.check()
            look, unread, self._unread = FrameOutcome.UNREAD, ReasonLine(code=e.reason, text=e.message), e.reason
        self._offset_ms = max(frame.offset_ms, self._offset_ms)
        self._count(look)
        names = self._names()
        spans = self._shown.frame(self._offset_ms, look, sure)
        ended = [self._range(key, names[key], span, is_ended=True) for key, span in spans.items() if key in names]
        for key in self._shown.tracked & hits.keys():
            known = self.nearest.get(key)
            if known is None or hits[key].rank < known[0].rank:
                self.nearest[key] = (hits[key], query)
        for key in self._shown.tracked & plays.keys():
            if key in self._played:
                self._played[key].add(plays[key])
            else:
                self._played[key] = VideoPlayback(plays[key])
        self.nearest = {key: nearest for key, nearest in self.nearest.items() if key in self._shown.tracked}
        self._played = {key: played for key, played in self._played.items() if key in self._shown.tracked}
        self._judge(principal)
        return self._answer(hit_count=len(hits.keys() | plays.keys()), quality=quality, unread=unread, ended=ended)

    def look_again(self, principal: Principal) -> LiveAnswer | None:
        """Judge anew if something may have changed without a frame; answer if it has. Raises as `frame`."""
        access.allow(principal, *_MAY_MATCH)
        if self.sent is None:
            return None
        self._judge(principal)
        return self._answer(only_news=True)

    def end(self) -> LiveAnswer | None:
        """Answer once more, if frames were counted since the last answer."""
        return self._answer(is_last=True) if self._counts != self._sent_counts else None

    def _count(self, look: FrameOutcome) -> None:
        is_unread = look is FrameOutcome.UNREAD
        self._unreadable += is_unread
        self._hashed += not is_unread
        if not is_unread:
            self._blank = self._blank + 1 if look is FrameOutcome.BLANK else 0
        self._tally.add("live", "UNREAD" if is_unread else "HASHED")

    def _names(self) -> dict[int, str]:
        """Return the names of the entries that are shown and may be seen, the nearest first."""
        return {} if self._judged is None else {m.entry.id: m.entry.name for m in self._judged.matches}

    @property
    def _counts(self) -> tuple[int, int, int]:
        return self._hashed, self._unreadable, self._skipped

    def _hash(
        self,
        principal: Principal,
        frame: LivePicture | VideoFrame,
        check_media: Callable[[], None],
        charge_media: Callable[[float], None],
    ) -> tuple[Query, int | None]:
        if isinstance(frame, VideoFrame):
            return Query(hashes=(Hash("PDQ", frame.digest),)), frame.quality
        check_media()
        options = self._options.match
        # Crops take too long for a live stream, and the next frame is another chance.
        effort = least(self._match.effort(principal, options), Effort.STANDARD)
        with self._match.media_pool.room() as place:
            try:
                hashed = place.hash(frame.content, effort=effort, is_wanted=cancellation.is_wanted)
            finally:
                charge_media(place.cpu_seconds)
        if hashed.not_perceptual:
            raise InvalidArgument.field("picture", f"must be a picture: {hashed.not_perceptual}", "NOT_A_PICTURE")
        return hashed.query(), best_quality(hashed)

    def _look_up(self, principal: Principal, query: Query) -> tuple[dict[int, Hit], dict[int, bool]]:
        """Return what the query hits, by entry, and of all that is tracked whether one such frame is enough."""
        self._match.learned.check(principal, self._options.match.max_distances)
        self._readiness.require()
        by_query, _ = look_up(
            VisibleLists(self._store, principal),
            self._matcher,
            [query],
            self._options.match,
            caller=None,
            among_frames=False,
        )
        of_frame = by_query.get(0, QueryHits(0))
        hits = {hit.entry_id: hit for hit in of_frame.nearest(HITS)}
        # What is not an entry first, so that there is room for it.
        sure = {_WITHHELD: False} if of_frame.withheld else {}
        if of_frame.cut_short:
            sure[_CUT_SHORT] = False
        return hits, sure | {key: _is_sure(hit) for key, hit in hits.items()}

    def _look_up_video(
        self, principal: Principal, offset_ms: int, query: Query, quality: int | None
    ) -> tuple[Mapping[int, VideoPlay], dict[int, bool]]:
        """Return the videos that go on with the frame, by entry, and what is tracked beside entries."""
        digest = next((h.digest for h in query.hashes if h.algorithm == "PDQ"), None)
        if digest is None:
            return {}, {}
        # Most frames are near nothing listed: then nobody looks at the registry.
        playing = self.window.frame(
            VideoFrame(offset_ms, quality or 0, digest), lambda: set_keys(VisibleLists(self._store, principal))
        )
        beside = ((_WITHHELD, playing.withheld), (_CUT_SHORT, playing.cut_short))
        return playing.plays, {key: False for key, is_so in beside if is_so}

    def _judge(self, principal: Principal) -> None:
        """Judge what is shown, if it, the policy, the hub's revision or the caller has changed, or it is time."""
        policy = self._match.policy(principal, self._options.match.policy)
        keys = self._shown.shown.keys()
        entries = {key for key in keys if key > 0}
        nearest = {key: self.nearest[key] for key in entries & self.nearest.keys()}
        played = {key: self._played[key] for key in entries & self._played.keys()}
        now = time.monotonic()
        is_recent = now - self._judged_at < _AGAIN_SECONDS
        try:
            # What is shown must be so now, whatever the matcher knows; what is not shown waits for the matcher.
            revision = self._store.revision() if entries else self._matcher.revision
            of = (
                policy.full_name,
                revision,
                principal,
                frozenset(keys),
                self._shown.is_full,
                frozenset((key, hit.rank) for key, (hit, _) in nearest.items()),
                frozenset((key, one.nearest, one.is_whole) for key, one in played.items()),
            )
            if of == self._judged_of and (not entries or is_recent):
                return
            result, still, revision = self._match.judge(
                principal,
                _query_of(nearest, self._options.label),
                self._options.match,
                policy,
                entries,
                played=played,
                withheld=_WITHHELD in keys,
                cut_short=_CUT_SHORT in keys or self._shown.is_full,
            )
        except (PermissionDenied, Unauthenticated, InvalidArgument):
            raise
        except HashHubError as e:
            cancellation.check()
            # What was judged before may not hold any more, and what it is now is not known.
            self._judged_of = ()
            self._judged = MatchResult(
                verdict=Verdict.UNAVAILABLE,
                reasons=(ReasonLine(code=e.reason, text=e.message),),
                label=self._options.label,
            )
            return
        gone = entries - still  # withdrawn, expired, or behind terms now
        for key in gone:
            self._shown.forget(key)
            self.nearest.pop(key, None)
            self._played.pop(key, None)
        self._judged, self._revision, self._policy, self._judged_at = result, revision, policy, now
        self._judged_of = () if gone else of

    def _result(self) -> MatchResult:
        """Return what was judged, unless too few frames could be looked for to say that it is harmless."""
        assert self._judged is not None  # noqa: S101 - every frame is judged before it is answered
        reasons, verdict = self._judged.reasons, self._judged.verdict
        settings = self._options.hysteresis
        if self._blank >= settings.enter_frames:
            text = (
                f"the last frames' PDQ quality is below {MIN_PDQ_QUALITY}: blank or nearly blank pictures, which say "
            )
            reasons += (ReasonLine(code=trust.ReasonCode.LOW_QUALITY, text=text + "little"),)
        if self._shown.is_unknown:
            text = f"none of the last {settings.unread_frames} frames could be looked for"
            if not self._hashed:
                text = "no frame could be looked for yet"
            reasons += (ReasonLine(code=self._unread or Reason.SHARE_EXCEEDED, text=text),)
            if verdict not in {Verdict.MATCH, Verdict.REVIEW}:
                verdict = Verdict.UNAVAILABLE
        return msgspec.structs.replace(self._judged, verdict=verdict, reasons=reasons)

    def _answer(
        self,
        *,
        hit_count: int = 0,
        quality: int | None = None,
        unread: ReasonLine | None = None,
        ended: Sequence[LiveRange] = (),
        only_news: bool = False,
        is_last: bool = False,
    ) -> LiveAnswer | None:
        if self._judged is None:  # all frames were skipped
            self._judged = MatchResult(verdict=Verdict.UNAVAILABLE, label=self._options.label)
        result = self._result()
        # How far a video has been played is told with its range, in every answer.
        told = _without_ranges(result)
        is_news = self.sent is None or told != self.sent
        is_due = is_last or not (
            only_news or (self._options.changes_only and self._offset_ms - self._sent_ms < _SIGN_MS)
        )
        if not (is_news or is_due or ended):
            return None
        spans = self._shown.shown
        ranges = [self._range(key, name, spans[key]) for key, name in self._names().items() if key in spans]
        self.sent, self._sent_ms, self._sent_counts = told, self._offset_ms, self._counts
        return LiveAnswer(
            offset_ms=max(0, self._offset_ms),
            verdict=result.verdict,
            result=result if is_news else None,
            ranges=(*ranges, *ended),
            hit_count=hit_count,
            quality=quality,
            unread=unread,
            frames_hashed=self._hashed,
            frames_unread=self._unreadable,
            frames_skipped=self._skipped,
            policy=self._policy.full_name,
            revision=self._revision,
        )

    def _range(self, key: int, name: str, span: Span, *, is_ended: bool = False) -> LiveRange:
        played = self._played.get(key)
        begin_ms, hit_count = span.begin_ms, span.hits
        if played is not None and played.begin_ms < begin_ms:
            begin_ms, hit_count = played.begin_ms, hit_count + played.earlier
        return LiveRange(
            entry=name,
            begin_ms=begin_ms,
            end_ms=span.end_ms,
            hit_count=hit_count,
            is_ended=is_ended,
            video=None if played is None else played.match,
        )


def _without_ranges(result: MatchResult) -> MatchResult:
    if not any(match.video for match in result.matches):
        return result
    matches = tuple(msgspec.structs.replace(match, video=None) for match in result.matches)
    return msgspec.structs.replace(result, matches=matches)


def _is_sure(hit: Hit) -> bool:
    """Whether one frame is enough: it is the listed file or picture itself."""
    return HitPath(hit.algorithm, hit.distance, hit.variant).closeness <= Closeness.DIGEST


def _query_of(nearest: Mapping[int, tuple[Hit, Query]], label: str) -> Query:
    """Return one query that hits what the frames hit: the closest ones whole, of others the digest that hit."""
    hashes: dict[Hash, None] = {}
    variants: dict[VariantHashes, None] = {}
    whole: set[int] = set()
    for hit, query in sorted(nearest.values(), key=lambda one: one[0].rank):
        if id(query) in whole or len(whole) < _WHOLE_FRAMES:
            whole.add(id(query))
            hashes |= dict.fromkeys(query.hashes)
            variants |= dict.fromkeys(query.variants)
        else:
            h = Hash("PDQ" if hit.algorithm == VPDQ.name else hit.algorithm, hit.query_digest)
            if hit.variant:
                variants[VariantHashes(hit.variant, (h,))] = None
            else:
                hashes[h] = None
    return Query(hashes=tuple(hashes), variants=tuple(variants), label=label)
