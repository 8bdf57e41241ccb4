"""The picture and the video that cases are about here, and what is made of them."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from functools import cache
from typing import Any

import numpy as np
from PIL import Image

from hashhub.desk.cases.clocks import CasePurpose
from hashhub.desk.cases.item import CaseItem
from hashhub.desk.cases.life import Case, Cases
from hashhub.desk.hub import HubAnswer
from hashhub.errors import Unavailable
from hashhub.hashing import hash_media
from hashhub.model import Effort, MatchResult, Query, Verdict
from hashhub.testing import videos
from hashhub.testing.videos import Clip, clip

SEED = 41  # of the picture that is reported; on no list


def opened(cases: Cases, item: CaseItem, **given: Any) -> Case:
    usual: dict[str, Any] = {
        "purpose": CasePurpose.INTIMATE_IMAGE,
        "complaint": "T-1",
        "reason": "came by the form",
        "actor": "ann",
        "receive_time": datetime.now(UTC),
    }
    return cases.open(item, **usual | given)


def query(content: bytes) -> Query:
    return hash_media(content, effort=Effort.STANDARD).query()


@cache
def footage() -> Clip:
    return clip(77, seconds=6, size=(160, 120))


def filmed(video: Clip) -> bytes:
    return videos.encoded(video)


@cache
def film() -> bytes:
    return filmed(footage())


def still(video: Clip) -> bytes:
    """A picture out of a video: one of the frames that are hashed, larger."""
    return encoded(Image.fromarray(np.ascontiguousarray(video.frames[10])).resize((640, 480)))


def encoded(changed: Image.Image, kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    changed.save(out, kind)
    return out.getvalue()


class Fixed:
    """A judge that answers always the same, or not at all."""

    def __init__(self, verdict: Verdict | None) -> None:
        self.verdict = verdict

    def judge(self, query: Query) -> HubAnswer:
        if self.verdict is None:
            raise Unavailable("the hub is away")
        return HubAnswer(result=MatchResult(verdict=self.verdict, label=query.label), policy="block@1", revision=7)

    def revision(self) -> int:
        return 7

    def close(self) -> None:
        pass
