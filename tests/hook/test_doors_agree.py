"""A file is the same whoever hashes it, and whoever decides: the hub, a hook that asks it by hashes, a hook's copy."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import msgspec
import numpy as np
import pytest
from PIL import Image, ImageOps

from hashhub.desk.settings import Mode
from hashhub.hashes import Hash
from hashhub.hashing import hash_media
from hashhub.hashing.coverage import coverage, remarked
from hashhub.hook.examiner import HubJudge
from hashhub.model import Effort, Marking, Purpose, Record, Verdict
from hashhub.testing.videos import ALTERATIONS, Clip, clip, encoded
from tests.hook.conftest import jpeg
from tests.hook.local_copies import Local
from tests.hook.test_local_same_answers import comparable
from tests.hub.conftest import OPERATOR, Desk
from tests.hub.receiving import mirroring
from tests.mirror.conftest import Site

_SHOWN: Final = 10  # one that is hashed, in the middle of a clip's first scene


def small(seed: int) -> Clip:
    return clip(seed, seconds=8, size=(160, 120))


def still(video: Clip, *, border: int = 0, turn: Image.Transpose | None = None) -> bytes:
    """A PNG of one of the clip's frames."""
    out = io.BytesIO()
    shown = Image.fromarray(np.ascontiguousarray(video.frames[_SHOWN])).resize((640, 480), Image.Resampling.BICUBIC)
    shown = shown if turn is None else shown.transpose(turn)
    ImageOps.expand(shown, border=border, fill="black").save(out, "PNG")
    return out.getvalue()


class File(NamedTuple):
    """`of_pictures`, `of_videos`: how many of the two listed pictures and of the two listed videos it hits."""

    name: str
    made: Callable[[], bytes]
    of_pictures: int
    of_videos: int


FILES: Final = (
    File("a clip that shows a listed picture", lambda: encoded(ALTERATIONS["inserted"](small(1))), 1, 0),
    File("the same, trimmed", lambda: encoded(ALTERATIONS["trimmed"](small(1))), 0, 0),
    File("a picture out of a listed clip", lambda: still(small(2)), 0, 1),
    File("the same in a border", lambda: still(small(2), border=60), 0, 1),
    File("a listed picture, mirrored", lambda: still(small(1), turn=Image.Transpose.FLIP_LEFT_RIGHT), 1, 0),
    File("the same, turned in a border", lambda: still(small(1), turn=Image.Transpose.ROTATE_90, border=60), 1, 0),
    File("a picture out of a listed clip, mirrored", lambda: still(small(2), turn=Image.Transpose.TRANSPOSE), 0, 1),
    File("a listed clip, scaled", lambda: encoded(ALTERATIONS["scaled"](small(2))), 0, 1),
    File("a listed clip within another", lambda: encoded(ALTERATIONS["inserted"](small(2))), 0, 1),
    File("a picture that is listed as benign and a frame of what is listed", lambda: still(small(3)), 1, 1),
    File("a listed clip that shows a listed picture", lambda: encoded(small(3)), 1, 1),
    File("another clip", lambda: encoded(small(7)), 0, 0),
    File("another picture", lambda: jpeg(99), 0, 0),
)


def pdq(content: bytes) -> Hash:
    return next(h for h in hash_media(content).hashes if h.algorithm == "PDQ")


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, Local]]:
    directory = tmp_path_factory.mktemp("doors")
    site = Site(directory)
    desk: Desk = site.desk
    for name, purpose in (("nl/known", Purpose.CSAM), ("de/known", Purpose.CSAM), ("be/fine", Purpose.BENIGN)):
        desk.hash_set(name, purpose=purpose, marking=Marking(bulk=True))
    desk.contributor("receiver")
    desk.contribute("nl/known", Record(position="1", hashes=(pdq(still(small(1))),)))
    for name in ("nl/known", "de/known"):
        desk.contribute(
            name,
            *(Record(position=f"{n}", frames=hash_media(encoded(small(n))).video_frames) for n in (2, 3)),
        )
    done = desk.contribute("be/fine", Record(position="1", hashes=(pdq(still(small(3))),)))
    desk.hub.hash_sets.accept(OPERATOR, "be", "fine", done.revision)
    local = Local(site, directory, site.token(mirroring()), "any")
    local.sync()
    yield site, local
    site.close()


@pytest.mark.parametrize("effort", [Effort.STANDARD, Effort.PLAIN])
@pytest.mark.parametrize("file", FILES, ids=[file.name for file in FILES])
def test_verdict_reasons_and_hits_are_the_same(doors: tuple[Site, Local], file: File, effort: Effort) -> None:
    local = doors[1]
    settings = msgspec.structs.replace(local.settings, effort=effort, answer_seconds=20.0)
    content = file.made()
    media = hash_media(content, effort=effort)
    covered = coverage(media, effort)
    for policy in ("any", "block"):
        online = HubJudge(msgspec.structs.replace(settings, policy=policy, mode=Mode.ONLINE))
        try:
            of_file = online.judge_media("", content).media
            by_hashes = online.judge(media.query()).result
        finally:
            online.close()
        assert of_file.coverage == covered
        assert remarked(by_hashes, covered) == of_file.result
        if policy == local.settings.policy:
            judge = local.judge(effort=effort)
            try:
                assert comparable(judge.judge(media.query()).result) == comparable(by_hashes)
            finally:
                judge.close()
        if effort is Effort.STANDARD:
            are_videos = [match.entry.frame_count > 0 for match in by_hashes.matches]
            assert are_videos.count(False) == file.of_pictures
            assert are_videos.count(True) == 2 * file.of_videos  # by both hash sets
        assert (by_hashes.verdict is Verdict.NO_MATCH) == (not by_hashes.matches)
