"""Live streams through a real door: what they show, for whom, and what a bad sender or reader does to them."""

from __future__ import annotations

import io
import queue
import random
import time
from collections.abc import Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from PIL import Image

from hashhub import v1, wire
from hashhub.errors import HashHubError, InvalidArgument, LimitExceeded, Reason, Unauthenticated, Unavailable
from hashhub.hashes import Hash
from hashhub.hashing import hash_media
from hashhub.model import (
    LiveAnswer,
    LiveOptions,
    LivePicture,
    MatchOptions,
    Role,
    Verdict,
    VideoFrame,
)
from hashhub.testing.pictures import picture

if TYPE_CHECKING:
    from tests.server.conftest import Serve, Served


class Stream:
    """A live stream of a test: frames are sent when it says so, and answers waited for."""

    def __init__(self, served: Served, options: LiveOptions | None, who: str = "CONSUMER", timeout: float = 60.0) -> None:
        self._outgoing: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        call = served.channel.stream_stream("/hashhub.v1.MatchService/MatchLive", None, v1.MatchLiveResponse.FromString)
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
            return wire.live_answer_from_pb(next(self.call))
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
            return [wire.live_answer_from_pb(pb) for pb in self.call]
        except grpc.RpcError as e:
            raise wire.status_to_error(e) from e
