"""Live streams: their messages, to the model and back."""

from __future__ import annotations

from typing import Final

from hashhub import hashes, v1
from hashhub.errors import InvalidArgument, Violation
from hashhub.model import (
    MAX_LIVE_PICTURE,
    Hysteresis,
    LiveAnswer,
    LiveOptions,
    LivePicture,
    LiveRange,
    VideoFrame,
)
from hashhub.wire.codec import MessageCodec, name_of
from hashhub.wire.fields import Sendable, build, check_text, collect, refuse
from hashhub.wire.matching import options_from_pb, options_to_pb

_PDQ: Final = hashes.algorithm("PDQ").digest_bytes
_BEST_QUALITY: Final = 100  # of PDQ
_HYSTERESIS: Final = ("enter_hits", "enter_frames", "leave_ms", "unread_frames")


def live_start_to_pb(options: LiveOptions) -> v1.MatchLiveRequest:
    """Return the message that begins a stream."""
    with Sendable("start", expected="LiveOptions(match=MatchOptions(policy=…))"):
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
    with Sendable("frame", expected="LivePicture or VideoFrame"):
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
    if not 0 <= pb.frame.quality <= _BEST_QUALITY:
        wrong.append(Violation("frame.quality", f"must be 0 to 100, got {pb.frame.quality}", "OUT_OF_RANGE"))
    if len(pb.frame.digest) != _PDQ:
        text = f"must be a PDQ digest of {_PDQ} bytes, got {len(pb.frame.digest)}"
        wrong.append(Violation("frame.digest", text, "WRONG_LENGTH"))
    refuse(wrong)
    return VideoFrame(offset_ms, pb.frame.quality, pb.frame.digest)


MessageCodec(LiveRange, v1.LiveRange, entry=name_of("Entry", is_required=True), is_ended="ended")
LIVE_ANSWER: Final = MessageCodec(LiveAnswer, v1.MatchLiveResponse)
"""A verdict that this version does not know is read as UNAVAILABLE, never as harmless."""
