"""Live streams through a real door: what they show, for whom, and what a bad sender or reader does to them."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import queue
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hashhub import v1, wire
from hashhub.client import Client
from hashhub.client.aio import AsyncClient
from hashhub.errors import HashHubError, InvalidArgument, LimitExceeded, Reason, Unauthenticated, Unavailable
from hashhub.hashing import hash_media
from hashhub.model import (
    MAX_LIVE_PICTURE,
    Hysteresis,
    LiveAnswer,
    LiveOptions,
    LivePicture,
    MatchOptions,
    Principal,
    Record,
    Role,
    TimeRange,
    Verdict,
    VideoFrame,
)
from hashhub.server import live
from hashhub.server.live import FrameRate, Inbox
from hashhub.server.servicers import matching as servicer
from hashhub.testing.pictures import picture
from tests.hub.conftest import OPERATOR, Desk, digest, near
from tests.patience import wait_until
from tests.trust.test_policies import text

if TYPE_CHECKING:
    from tests.server.conftest import Serve, Served


class Stream:
    """A live stream of a test: frames are sent when it says so, and answers waited for."""

    def __init__(
        self, served: Served, options: LiveOptions | None, who: str = "CONSUMER", timeout: float | None = 60.0
    ) -> None:
        self._outgoing: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        call: Any = served.channel.stream_stream(
            "/hashhub.v1.MatchService/MatchLive", None, v1.MatchLiveResponse.FromString
        )
        if options is not None:
            self.send(wire.live_start_to_pb(options))
        self.call: Any = call(iter(self._outgoing.get, None), metadata=served.metadata(who), timeout=timeout)
        self.offset_ms = 0

    def send(self, message: v1.MatchLiveRequest) -> None:
        self._outgoing.put(message.SerializeToString())

    def frame(self, digest: bytes, *, quality: int = 100, after_ms: int = 1000) -> None:
        self.offset_ms += after_ms
        self.send(wire.live_frame_to_pb(VideoFrame(self.offset_ms, quality, digest)))

    def picture(self, content: bytes, *, after_ms: int = 1000) -> None:
        self.offset_ms += after_ms
        self.send(wire.live_frame_to_pb(LivePicture(self.offset_ms, content)))

    def answer(self) -> LiveAnswer:
        try:
            return wire.LIVE_ANSWER.from_pb(next(self.call))
        except grpc.RpcError as e:
            raise wire.status_to_error(e) from e

    def shown(self, digest: bytes, **more: Any) -> LiveAnswer:
        self.frame(digest, **more)
        return self.answer()

    def seen(self, content: bytes) -> LiveAnswer:
        self.picture(content)
        return self.answer()

    def end(self) -> list[LiveAnswer]:
        self._outgoing.put(None)
        try:
            return [wire.LIVE_ANSWER.from_pb(pb) for pb in self.call]
        except grpc.RpcError as e:
            raise wire.status_to_error(e) from e


LISTED = digest("PDQ", 1)
NEAR = near(LISTED, 20).digest
OTHER = digest("PDQ", 2).digest
ANY = LiveOptions(match=MatchOptions(policy="any"), frames_per_second=10.0)


@cache
def good() -> bytes:
    buffer = io.BytesIO()
    image: Image.Image = picture(3, (256, 192))
    image.save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture
def serve(serve_hub: Serve) -> Callable[..., Served]:
    """Return a function that serves a hub which knows LISTED and the picture `good`."""

    def serve(**settings: Any) -> Served:
        served = serve_hub(**{"poll_interval": 0.05, "media_workers": 1, **settings})
        desk = Desk(served.hub)
        desk.hash_set("hotline/set")
        pdq = next(h for h in hash_media(good(), algorithms=["PDQ"]).hashes)
        desk.contribute(
            "hotline/set",
            Record(position="line 1", hashes=(LISTED,)),
            Record(position="line 2", hashes=(pdq,)),
            has_classifications=False,
        )
        return served

    return serve


def test_it_is_known_within_two_frames_and_over_after_a_while(serve: Callable[..., Served]) -> None:
    served = serve()
    stream = Stream(served, ANY)
    assert stream.shown(OTHER).verdict is Verdict.NO_MATCH
    assert stream.shown(NEAR).verdict is Verdict.NO_MATCH
    second = stream.shown(NEAR)
    assert second.verdict is Verdict.MATCH
    assert second.result is not None
    assert second.ranges[0].begin_ms == 2_000
    (ended,) = stream.end() or [second]
    assert ended == second  # there was nothing more to say
    metrics = served.doors.metrics.families()
    (frames,) = [f for f in metrics if f.name == "hashhub_live_frames_total"]
    assert {s.labels["outcome"]: s.value for s in frames.samples} == {"HASHED": 3, "UNREAD": 0, "SKIPPED": 0}


def test_pictures_are_hashed_by_the_hub_and_broken_ones_told(serve: Callable[..., Served]) -> None:
    stream = Stream(serve(), ANY)
    first = stream.seen(good())
    assert (first.verdict, first.frames_hashed) == (Verdict.MATCH, 1)  # the listed picture itself
    assert first.quality is not None
    for broken in (good()[:500], b"", b"%PDF-1.7 no picture"):
        answer = stream.seen(broken)
        assert answer.unread is not None
        assert answer.verdict is Verdict.MATCH
    assert (answer.frames_hashed, answer.frames_unread) == (1, 3)
    assert stream.end() == []


def test_a_listed_video_is_found_in_a_stream_and_told_where(serve: Callable[..., Served]) -> None:
    """Beginning with pictures on both sides: of the list, and of the stream in another size."""
    served = serve()
    scenes = [_scene(seed) for seed in range(12)]
    frames = tuple(VideoFrame(second * 1000, q, d) for second, (d, q) in enumerate(map(_hashed, scenes)))
    Desk(served.hub).contribute("hotline/set", Record(position="video", frames=frames), has_classifications=False)
    stream = Stream(served, LiveOptions(match=MatchOptions(policy="block")))
    answers = [stream.shown(_other(n)) for n in range(8)]
    answers += [stream.seen(_jpeg(scene.resize((200, 150)))) for scene in scenes[3:]]
    assert [a.verdict for a in answers] == [Verdict.NO_MATCH] * 13 + [Verdict.REVIEW] * 4
    (shown,) = answers[-1].ranges
    assert shown.entry.startswith("hotline/set/")
    assert (shown.begin_ms, shown.end_ms, shown.hit_count) == (9_000, 17_000, 9)
    assert shown.video is not None
    assert shown.video.ranges == (TimeRange(9_000, 17_000, 3_000, 11_000),)
    assert shown.video.entry_share == 75.0
    assert answers[13].result is not None
    (match,) = answers[13].result.matches
    assert (match.algorithm, match.variant) == ("VPDQ", "frame")
    assert match.video is not None
    assert match.video.ranges == (TimeRange(9_000, 14_000, 3_000, 8_000),)


def _scene(seed: int) -> Image.Image:
    return picture(500 + seed, (320, 240))


def _jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG")
    return buffer.getvalue()


def _hashed(image: Image.Image) -> tuple[bytes, int]:
    frame = hash_media(_jpeg(image), algorithms=["PDQ"]).frames[0]
    return frame.hashes[0].digest, frame.quality or 0


def _other(n: int) -> bytes:
    return digest("PDQ", 70 + n).digest


def test_of_a_flood_the_newest_is_looked_for_and_the_rest_counted(serve: Callable[..., Served]) -> None:
    """More than a stream may send: nobody waits, every frame is accounted for, and the last one is looked for."""
    served = serve(live_frames_per_second=2.0)
    stream = Stream(served, ANY)
    for _ in range(300):
        stream.frame(OTHER, after_ms=10)
    stream.frame(LISTED.digest, after_ms=10)
    answers = stream.end()
    last = answers[-1]
    assert last.frames_hashed + last.frames_skipped == 301
    assert last.frames_unread == 0
    assert last.frames_skipped > 0
    assert (last.offset_ms, last.verdict) == (3_010, Verdict.MATCH)
    assert served.call(
        "MatchService/ListPolicies", v1.ListPoliciesRequest(), v1.ListPoliciesResponse
    ).policies  # and others are answered


def test_streams_of_a_token_share_its_pace(serve: Callable[..., Served]) -> None:
    served = serve(token_live_frames_per_second=1.0)
    streams = [Stream(served, ANY) for _ in range(2)]
    for stream in streams:
        for _ in range(50):
            stream.frame(OTHER, after_ms=10)
    last = [stream.end()[-1] for stream in streams]
    assert all(a.frames_hashed + a.frames_skipped == 50 for a in last)
    assert sum(a.frames_skipped for a in last) > 0


def test_a_reader_that_does_not_read_fills_no_memory_and_is_cut_off(
    serve: Callable[..., Served], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "READ_RATE", 10_000.0)
    served = serve(slow_sender_seconds=1.0, live_frames_per_second=10_000.0, token_live_frames_per_second=10_000.0)
    inboxes: list[Inbox[Any]] = []

    class Seen(Inbox[Any]):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            inboxes.append(self)

    monkeypatch.setattr(servicer, "Inbox", Seen)
    label = "x" * 1000  # a long one comes back in the results, so that the connection fills up soon
    # What is shown changes with every frame.
    options = LiveOptions(match=ANY.match, label=label, hysteresis=Hysteresis(leave_ms=1))
    # So that it takes no seconds of computing until it is full: the connection's window does not grow.
    settings = [("grpc.http2.bdp_probe", 0), ("grpc.use_local_subchannel_pool", 1)]
    channel = grpc.insecure_channel(served.doors.grpc_address, settings)
    stream = Stream(dataclasses.replace(served, channel=channel), options, timeout=None)
    room = served.doors.pipeline.limiters["live"]
    wait_until(lambda: room.depth == (1, 0))
    until = time.monotonic() + 300
    while room.depth != (0, 0):  # nothing is read here
        assert time.monotonic() < until
        for _ in range(60):
            stream.frame(LISTED.digest, after_ms=100_000)
            stream.frame(OTHER, after_ms=100_000)
        time.sleep(0.01)
        assert all(len(inbox.frames) <= 10 for inbox in inboxes)
    assert len(inboxes) == 1
    stream.call.cancel()
    channel.close()


def test_a_token_that_is_deleted_ends_its_stream(serve: Callable[..., Served]) -> None:
    served = serve()
    _, secret = served.hub.tokens.create(OPERATOR, Principal(name="brief", role=Role.CONSUMER, contributor="home"))
    stream = Stream(served, ANY, who=secret)
    assert stream.shown(OTHER).verdict is Verdict.NO_MATCH
    served.hub.tokens.delete(OPERATOR, "brief")
    with pytest.raises(Unauthenticated):
        _until_it_ends(stream)


def test_a_policy_that_is_retired_ends_the_stream_in_words(serve: Callable[..., Served]) -> None:
    served = serve()
    served.hub.policies.put(OPERATOR, text())
    own = next(v for v in served.hub.policies.currents(OPERATOR) if not v.is_from_file)
    stream = Stream(served, LiveOptions(match=MatchOptions(policy=own.full_name)))
    assert stream.shown(OTHER).policy == own.full_name
    served.hub.policies.retire(OPERATOR, own.full_name)
    with pytest.raises(InvalidArgument, match="retired"):
        _until_it_ends(stream)


def _until_it_ends(stream: Stream) -> None:
    until = time.monotonic() + 180
    while time.monotonic() < until:
        stream.shown(OTHER)
        time.sleep(0.05)


def test_a_server_that_stops_ends_streams_with_a_time_to_come_again(serve: Callable[..., Served]) -> None:
    served = serve(drain_seconds=30.0)
    stream = Stream(served, ANY)
    stream.shown(OTHER)
    served.doors.stopping.set()
    with pytest.raises(Unavailable, match="stopping") as caught:
        stream.answer()
    assert caught.value.retry_after


def test_a_stream_without_frames_is_ended(serve: Callable[..., Served], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servicer, "IDLE_SECONDS", 0.2)
    stream = Stream(serve(), ANY)
    with pytest.raises(Unavailable, match="no frame came") as caught:
        stream.answer()
    assert caught.value.reason is Reason.SLOW_SENDER


def test_a_stream_has_a_longest_time(serve: Callable[..., Served], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servicer, "LONGEST_SECONDS", 0.0)
    stream = Stream(serve(), ANY)
    with pytest.raises(Unavailable, match="open another"):
        stream.answer()


def test_streams_have_places_of_their_own(serve: Callable[..., Served]) -> None:
    served = serve(threads=1, max_live_streams=4, token_streams=2)
    streams = [Stream(served, ANY, who=who) for who in ("CONSUMER", "OPERATOR") for _ in range(2)]
    for stream in streams:
        stream.shown(OTHER)
    assert served.doors.pipeline.limiters["live"].depth == (4, 0)
    served.call("MatchService/ListPolicies", v1.ListPoliciesRequest(), v1.ListPoliciesResponse)
    with pytest.raises(LimitExceeded) as caught:
        Stream(served, ANY, who="CONSUMER").answer()
    assert caught.value.reason in {Reason.SHARE_EXCEEDED, Reason.TOO_MANY_REQUESTS}
    for stream in streams:
        stream.call.cancel()
    wait_until(lambda: sum(served.doors.pipeline.limiters["live"].depth) == 0)
    wait_until(lambda: not [t for t in threading.enumerate() if t.name == "live-reader"])
    assert Stream(served, ANY).shown(OTHER).verdict is Verdict.NO_MATCH


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (v1.MatchLiveRequest(), "start"),
        (v1.MatchLiveRequest(frame=v1.VideoFrame(offset_ms=1, digest=OTHER)), "start"),
        (v1.MatchLiveRequest(start=v1.LiveStart(options=v1.MatchOptions(policy="nonsense"))), "options.policy"),
        (
            v1.MatchLiveRequest(start=v1.LiveStart(options=v1.MatchOptions(policy="any"), frames_per_second=-1)),
            "start.frames_per_second",
        ),
        (
            v1.MatchLiveRequest(
                start=v1.LiveStart(options=v1.MatchOptions(policy="any"), hysteresis=v1.Hysteresis(enter_hits=9))
            ),
            "start.hysteresis.enter_hits",
        ),
    ],
    ids=["empty", "frame", "policy", "rate", "hysteresis"],
)
def test_a_stream_that_does_not_begin_as_it_should_is_refused(
    served: Served, message: v1.MatchLiveRequest, field: str
) -> None:
    stream = Stream(served, None)
    stream.send(message)
    with pytest.raises(InvalidArgument) as caught:
        stream.answer()
    assert field in {v.field for v in caught.value.violations}


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (v1.MatchLiveRequest(), "part"),
        (wire.live_start_to_pb(ANY), "part"),
        (v1.MatchLiveRequest(frame=v1.VideoFrame(offset_ms=-1, digest=OTHER)), "frame.offset_ms"),
        (v1.MatchLiveRequest(frame=v1.VideoFrame(offset_ms=1, digest=b"short")), "frame.digest"),
        (v1.MatchLiveRequest(frame=v1.VideoFrame(offset_ms=1, digest=OTHER, quality=101)), "frame.quality"),
        (v1.MatchLiveRequest(picture=v1.LivePicture(offset_ms=-1)), "picture.offset_ms"),
        (v1.MatchLiveRequest(picture=v1.LivePicture(content=bytes((4 << 20) + 1))), "picture.content"),
    ],
    ids=["empty", "start", "offset", "digest", "quality", "picture-offset", "picture"],
)
def test_a_message_that_is_no_frame_ends_the_stream(served: Served, message: v1.MatchLiveRequest, field: str) -> None:
    stream = Stream(served, ANY)
    stream.send(message)
    with pytest.raises(InvalidArgument) as caught:
        stream.answer()
    assert {v.field for v in caught.value.violations} == {field}


def test_a_message_that_is_too_large_ends_the_stream(served: Served) -> None:
    stream = Stream(served, ANY)
    stream.send(v1.MatchLiveRequest(picture=v1.LivePicture(offset_ms=1, content=bytes(5 << 20))))
    with pytest.raises(LimitExceeded) as caught:
        stream.answer()
    assert caught.value.reason is Reason.TOO_LARGE


def test_both_clients_watch_a_stream(serve: Callable[..., Served]) -> None:
    served = serve()
    frames = [VideoFrame(n * 1000, 100, NEAR if n > 1 else OTHER) for n in range(5)]
    address, token = served.doors.grpc_address, served.tokens["CONSUMER"]
    with Client(address, token) as client:
        answers = list(client.match_live(frames, ANY))

    async def watch() -> list[LiveAnswer]:
        async def come() -> AsyncIterator[VideoFrame]:
            for frame in frames:
                yield frame

        async with AsyncClient(address, token) as client:
            return [answer async for answer in client.match_live(come(), ANY)]

    assert [a.verdict for a in answers] == [Verdict.NO_MATCH] * 3 + [Verdict.MATCH] * 2
    assert asyncio.run(watch()) == answers
    assert answers[-1].ranges[0].entry.startswith("hotline/set/")


def test_what_the_frames_raise_is_raised_and_a_lost_stream_is_not_begun_anew(serve: Callable[..., Served]) -> None:
    served = serve()

    def frames() -> Iterator[VideoFrame]:
        yield VideoFrame(0, 100, OTHER)
        raise RuntimeError("the camera was unplugged")

    with Client(served.doors.grpc_address, served.tokens["CONSUMER"]) as client:
        answers = client.match_live(frames(), ANY)
        assert next(answers).verdict is Verdict.NO_MATCH
        with pytest.raises(RuntimeError, match="unplugged"):
            next(answers)
    with Client("127.0.0.1:1", "token") as client, pytest.raises(HashHubError):
        next(client.match_live([VideoFrame(0, 100, OTHER)], ANY))


# The inbox, by itself


def test_an_inbox_keeps_the_newest_within_its_bounds() -> None:
    inbox: Inbox[int] = Inbox(lambda _: MAX_LIVE_PICTURE // 2, clock=lambda: 0.0)
    for n in range(5):
        inbox.put(n)
    inbox.close()
    assert inbox.take(0.0, lambda: 0.0) == (3, 3)
    assert inbox.take(0.0, lambda: 0.0) == (4, 0)
    assert inbox.take(0.0, lambda: 0.0) == (None, 0)
    assert inbox.is_over


def test_frames_that_waited_too_long_give_way_to_newer_ones() -> None:
    now = [0.0]
    inbox: Inbox[str] = Inbox(lambda _: 0, clock=lambda: now[0])
    inbox.put("old")
    now[0] = 0.15
    inbox.put("new")
    inbox.put("newest")
    assert inbox.take(0.0, lambda: 0.0) == ("new", 1)
    assert inbox.take(0.0, lambda: 0.0) == ("newest", 0)
    inbox.put("alone")
    now[0] = 9.0
    assert inbox.take(0.0, lambda: 0.0) == ("alone", 0)  # late is better than never


def test_an_inbox_that_broke_off_says_why() -> None:
    inbox: Inbox[int] = Inbox(lambda _: 0)
    inbox.put(1)
    inbox.close(LimitExceeded("too large"))
    assert inbox.take(0.0, lambda: 0.0).frame is None
    with pytest.raises(LimitExceeded):
        _ = inbox.is_over


@given(st.lists(st.tuples(st.floats(0, 3), st.booleans()), max_size=50), st.floats(0.5, 20))
def test_a_pace_is_never_exceeded(steps: list[tuple[float, bool]], rate: float) -> None:
    now = [0.0]
    pace = FrameRate(rate, clock=lambda: now[0])
    taken = 0
    for seconds, is_wanted in steps:
        now[0] += seconds
        if is_wanted and pace.wait() == 0.0:
            pace.take()
            taken += 1
        assert taken <= max(1.0, rate) + now[0] * rate + 1e-6
