"""Queries, options, answers and live streams: the messages of every match call, to the model and back.

Like the other messages, and quick: a batch of a hundred queries that finds nothing may cost little more than its
transport, so an answer that is given again is encoded once.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from hashhub import cancellation, hashes, v1
from hashhub.errors import InvalidArgument, Violation
from hashhub.model import (
    MAX_FRAMES,
    MAX_HASHES_PER_QUERY,
    MAX_LIVE_PICTURE,
    MAX_TEXT,
    MAX_VARIANTS,
    Coverage,
    Effort,
    EntryMatch,
    Hysteresis,
    LiveAnswer,
    LiveOptions,
    LivePicture,
    LiveRange,
    MatchOptions,
    MatchResult,
    MediaResult,
    Query,
    ReasonLine,
    TimeRange,
    VariantHashes,
    VideoFrame,
    VideoMatch,
)
from hashhub.wire.codec import FieldCodec, MessageCodec, name_of, names_of
from hashhub.wire.fields import (
    EFFORT,
    REVIEW_KIND,
    WIDTHS,
    Violations,
    build,
    check_text,
    checked,
    collect,
    read_hash,
    refuse,
    sendable,
)
from hashhub.wire.items import entry_from_pb, entry_to_pb, hash_to_pb, put_frames

DEFAULT_MATCH_LIMIT: Final = 100
MAX_MATCH_LIMIT: Final = 1000
_BETWEEN_LOOKS: Final = 1000  # queries, some 2 ms, between two looks whether the answer is still wanted

_VARIANT: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")  # as policies name them
_AS_SENT: Final = "none"  # what policies call the upload as it was sent
_PDQ_BYTES: Final = WIDTHS["PDQ"]
_MAX_QUALITY: Final = 100  # of PDQ

_QUERY: Final = "Query(hashes=…), and hashes a sequence of Hash: (hashhub.hashes.parse_pair('ALGORITHM:digest'),)"


def query_to_pb(query: Query) -> v1.Query:
    """Return the message of a query."""
    with sendable("query", expected=_QUERY):
        pb = v1.Query(label=query.label)
        add = pb.hashes.add
        for value in query.hashes:
            add(algorithm=value.algorithm, digest=value.digest)
        for variant in query.variants:
            put_frames(pb.variants.add(variant=variant.variant, hashes=map(hash_to_pb, variant.hashes)), variant.frames)
        put_frames(pb, query.frames)
        return pb


def queries_from_pb(request: v1.BatchMatchHashesRequest) -> list[Query]:
    """Return the queries, or raise InvalidArgument with the violations of all of them. Each needs a hash."""
    wrong = Violations()
    read: list[Query] = []
    for i, pb in enumerate(request.queries):
        if i % _BETWEEN_LOOKS == 0:
            cancellation.check()
        read.append(_query(pb, f"queries[{i}]", wrong))
    refuse(wrong)
    return read


def query_from_pb(pb: v1.Query, at: str = "query") -> Query:
    """Return the query; it needs a hash."""
    wrong: list[Violation] = []
    query = _query(pb, at, wrong)
    refuse(wrong)
    return query


def _query(pb: v1.Query, at: str, wrong: list[Violation]) -> Query:
    count = len(pb.hashes)
    if not count and not pb.frames:
        wrong.append(Violation(f"{at}.hashes", "must hold at least one hash", "REQUIRED"))
    elif count > MAX_HASHES_PER_QUERY:
        wrong.append(Violation(f"{at}.hashes", f"must be at most {MAX_HASHES_PER_QUERY}, got {count}", "TOO_MANY"))
    variants = _variants(pb, at, wrong) if pb.variants else ()
    frames = _frames(pb, at, wrong) if pb.frames else ()
    read = pb.hashes[:MAX_HASHES_PER_QUERY]
    given = tuple([read_hash(h, f"{at}.hashes[{i}]", wrong) for i, h in enumerate(read)])
    if len(pb.label) > MAX_TEXT:
        check_text(pb.label, f"{at}.label", wrong)
    return Query(hashes=given, label=pb.label, variants=variants, frames=frames)


def _variants(pb: v1.Query, at: str, wrong: list[Violation]) -> tuple[VariantHashes, ...]:
    field = f"{at}.variants"
    if len(pb.variants) > MAX_VARIANTS:
        wrong.append(Violation(field, f"must be at most {MAX_VARIANTS}, got {len(pb.variants)}", "TOO_MANY"))
        return ()
    count = len(pb.hashes) + sum(len(v.hashes) for v in pb.variants)
    if count > MAX_HASHES_PER_QUERY:
        text = f"a query and its variants must have at most {MAX_HASHES_PER_QUERY} hashes together, got {count}"
        wrong.append(Violation(field, text, "TOO_MANY"))
        return ()
    if sum(len(v.frames) for v in pb.variants) > MAX_FRAMES:
        wrong.append(Violation(field, f"must have at most {MAX_FRAMES} frames together", "TOO_MANY"))
        return ()
    read = []
    for i, v in enumerate(pb.variants):
        if not _VARIANT.fullmatch(v.variant) or v.variant == _AS_SENT:
            text = f"must be 1 to 63 of a-z, 0-9 and -, and not {_AS_SENT}, got {v.variant[:20]!r}"
            wrong.append(Violation(f"{field}[{i}].variant", text, "PATTERN"))
        given = tuple([read_hash(h, f"{field}[{i}].hashes[{j}]", wrong) for j, h in enumerate(v.hashes)])
        read.append(VariantHashes(v.variant, given, _frames(v, f"{field}[{i}]", wrong) if v.frames else ()))
    return tuple(read)


def _frames(pb: v1.Query | v1.VariantHashes, at: str, wrong: list[Violation]) -> tuple[VideoFrame, ...]:
    """Return the frames; of wrong ones the first is noted."""
    field = f"{at}.frames"
    if len(pb.frames) > MAX_FRAMES:
        wrong.append(Violation(field, f"must be at most {MAX_FRAMES}, got {len(pb.frames)}", "TOO_MANY"))
        return ()
    read: list[VideoFrame] = []
    last = 0
    for i, f in enumerate(pb.frames):
        offset_ms, quality, digest = f.offset_ms, f.quality, f.digest
        if offset_ms < last:
            text = f"must be in order, and not negative, got {offset_ms} behind {last}"
            wrong.append(Violation(f"{field}[{i}].offset_ms", text, "OUT_OF_RANGE"))
            break
        if not 0 <= quality <= _MAX_QUALITY:
            text = f"must be 0 to {_MAX_QUALITY}, got {quality}"
            wrong.append(Violation(f"{field}[{i}].quality", text, "OUT_OF_RANGE"))
            break
        if len(digest) != _PDQ_BYTES:
            text = f"must be {_PDQ_BYTES} bytes, a PDQ digest, got {len(digest)}"
            wrong.append(Violation(f"{field}[{i}].digest", text, "WRONG_LENGTH"))
            break
        last = offset_ms
        read.append(VideoFrame(offset_ms, quality, digest))
    return tuple(read)


def options_to_pb(options: MatchOptions) -> v1.MatchOptions:
    """Return the message of match options."""
    with sendable("options", expected="MatchOptions(policy=…)"):
        return v1.MatchOptions(
            policy=options.policy,
            max_distances=options.max_distances,
            match_limit=options.match_limit,
            effort=EFFORT.to_pb(options.effort),
        )


def options_from_pb(pb: v1.MatchOptions, at: str = "options") -> MatchOptions:
    """Return the match options; a limit of 0 means 100, one over 1000 means 1000."""
    wrong: list[Violation] = []
    max_distances = {}
    for name, distance in pb.max_distances.items():
        field = f"{at}.max_distances[{name[:40]}]"
        algorithm = checked(wrong, _algorithm, name, field)
        if distance < 0:
            wrong.append(Violation(field, f"must not be negative, got {distance}", "OUT_OF_RANGE"))
        if algorithm is not None:
            max_distances[algorithm] = distance
    if pb.match_limit < 0:
        wrong.append(Violation(f"{at}.match_limit", f"must not be negative, got {pb.match_limit}", "OUT_OF_RANGE"))
    refuse(wrong)
    return MatchOptions(
        policy=pb.policy,
        max_distances=max_distances,
        match_limit=min(pb.match_limit or DEFAULT_MATCH_LIMIT, MAX_MATCH_LIMIT),
        effort=EFFORT.get(pb.effort, Effort.STANDARD),  # one that this version does not know included
    )


def _algorithm(name: str, _field: str) -> str:
    return name if name == hashes.VPDQ.name else hashes.algorithm(name).name


REASON: Final = MessageCodec(ReasonLine, v1.ReasonLine, entries=names_of("Entry"))
MessageCodec(TimeRange, v1.TimeRange)
MessageCodec(VideoMatch, v1.VideoMatch)
MessageCodec(
    EntryMatch,
    v1.EntryMatch,
    entry=FieldCodec(
        entry_to_pb, lambda pb, field, at, wrong: collect(wrong, entry_from_pb, pb.entry, f"{at}.{field}", None)
    ),
    reviews=FieldCodec(
        lambda counts: [v1.ReviewSummary(kind=REVIEW_KIND.to_pb(kind), review_count=n) for kind, n in counts.items()],
        lambda pb, field, at, wrong: {
            REVIEW_KIND.from_pb(r.kind, f"{at}.{field}[{i}].kind", wrong): r.review_count
            for i, r in enumerate(pb.reviews)
        },
    ),
)
MATCH_RESULT: Final = MessageCodec(MatchResult, v1.MatchResult, at="result")
# How far somebody looked is the least where nothing is said, or what this version does not know.
MessageCodec(
    Coverage,
    v1.Coverage,
    effort=FieldCodec(EFFORT.to_pb, lambda pb, *_: EFFORT.get(pb.effort, Effort.PLAIN) if pb.effort else Effort.PLAIN),
)
MEDIA_RESULT: Final = MessageCodec(MediaResult, v1.MediaResult, at="result")
"""A verdict that this version does not know is read as UNAVAILABLE, never as harmless."""


def match_results_to_pb(results: Sequence[MatchResult], policy: str, revision: int) -> v1.BatchMatchHashesResponse:
    """Return the message of the answers to a batch's queries, in their order."""
    # Nearly all queries of a batch find nothing and are told so in the same words, which are encoded once: protobuf
    # reads concatenated messages as one, several times faster than it copies or fills them.
    chunks: list[bytes] = []
    labelled: list[int] = []
    chunk, last = b"", None
    for i, result in enumerate(results):
        # The most telling differences first. What has matches is never the same.
        if (
            last is None
            or result.reasons is not last.reasons
            or result.matches
            or last.matches
            or result.verdict is not last.verdict
            or result.truncated is not last.truncated
            or result.withheld is not last.withheld
        ):
            pb = MATCH_RESULT.to_pb(result)
            pb.ClearField("label")
            chunk, last = v1.BatchMatchHashesResponse(results=[pb]).SerializeToString(), result
        chunks.append(chunk)
        if result.label:
            labelled.append(i)
    answer = v1.BatchMatchHashesResponse(policy=policy, revision=revision)
    answer.MergeFromString(b"".join(chunks))
    into = answer.results
    for i in labelled:
        into[i].label = results[i].label
    return answer


_HYSTERESIS: Final = ("enter_hits", "enter_frames", "leave_ms", "unread_frames")


def live_start_to_pb(options: LiveOptions) -> v1.MatchLiveRequest:
    """Return the message that begins a stream."""
    with sendable("start", expected="LiveOptions(match=MatchOptions(policy=…))"):
        return v1.MatchLiveRequest(
            start=v1.LiveStart(
                label=options.label,
                options=options_to_pb(options.match),
                frames_per_second=options.frames_per_second,
                hysteresis=v1.Hysteresis(**{name: getattr(options.hysteresis, name) for name in _HYSTERESIS}),
                changes_only=options.changes_only,
            )
        )


def live_start_from_pb(pb: v1.MatchLiveRequest) -> LiveOptions:
    """Return how a stream is to be watched. Raises InvalidArgument, also for a message that is no start."""
    if pb.WhichOneof("part") != "start":
        raise InvalidArgument.field("start", "must be in the first message of a stream", "REQUIRED")
    wrong: list[Violation] = []
    start = pb.start
    check_text(start.label, "start.label", wrong)
    match = collect(wrong, options_from_pb, start.options, "start.options", options_from_pb(v1.MatchOptions()))
    given = {name: value for name in _HYSTERESIS if (value := getattr(start.hysteresis, name))}
    hysteresis = collect(wrong, _hysteresis, given, "start.hysteresis", Hysteresis())
    values = {
        "match": match,
        "label": start.label,
        "frames_per_second": start.frames_per_second or LiveOptions(match=match).frames_per_second,
        "hysteresis": hysteresis,
        "changes_only": start.changes_only,
    }
    return build(LiveOptions, values, wrong, "start", {})


def _hysteresis(given: dict[str, int], at: str) -> Hysteresis:
    return build(Hysteresis, given, [], at, {})


def live_frame_to_pb(frame: LivePicture | VideoFrame) -> v1.MatchLiveRequest:
    """Return the message of a frame."""
    with sendable("frame", expected="LivePicture or VideoFrame"):
        if isinstance(frame, LivePicture):
            return v1.MatchLiveRequest(picture=v1.LivePicture(offset_ms=frame.offset_ms, content=frame.content))
        return v1.MatchLiveRequest(
            frame=v1.VideoFrame(offset_ms=frame.offset_ms, quality=frame.quality, digest=frame.digest)
        )


def live_frame_from_pb(pb: v1.MatchLiveRequest) -> LivePicture | VideoFrame:
    """Return the frame. Raises InvalidArgument, also for a message that is none."""
    wrong: list[Violation] = []
    part = pb.WhichOneof("part")
    if part not in {"picture", "frame"}:
        text = "a stream is started once" if part == "start" else "the message holds neither picture nor frame"
        raise InvalidArgument.field(
            "part", f"must be a picture or a frame in every message but the first; {text}", "REQUIRED"
        )
    offset_ms = pb.picture.offset_ms if part == "picture" else pb.frame.offset_ms
    if offset_ms < 0:
        wrong.append(Violation(f"{part}.offset_ms", f"must not be negative, got {offset_ms}", "OUT_OF_RANGE"))
    if part == "picture":
        size = len(pb.picture.content)
        if size > MAX_LIVE_PICTURE:  # an empty one is no reason to end the stream: it cannot be looked for, and told so
            text = f"must be at most {MAX_LIVE_PICTURE} bytes, got {size}; send smaller pictures"
            wrong.append(Violation("picture.content", text, "OUT_OF_RANGE"))
        refuse(wrong)
        return LivePicture(offset_ms, pb.picture.content)
    if not 0 <= pb.frame.quality <= _MAX_QUALITY:
        wrong.append(Violation("frame.quality", f"must be 0 to 100, got {pb.frame.quality}", "OUT_OF_RANGE"))
    if len(pb.frame.digest) != _PDQ_BYTES:
        text = f"must be a PDQ digest of {_PDQ_BYTES} bytes, got {len(pb.frame.digest)}"
        wrong.append(Violation("frame.digest", text, "WRONG_LENGTH"))
    refuse(wrong)
    return VideoFrame(offset_ms, pb.frame.quality, pb.frame.digest)


MessageCodec(LiveRange, v1.LiveRange, entry=name_of("Entry", is_required=True), is_ended="ended")
LIVE_ANSWER: Final = MessageCodec(LiveAnswer, v1.MatchLiveResponse)
"""A verdict that this version does not know is read as UNAVAILABLE, never as harmless."""
