"""Adversaries with videos: still scenes that are near each other all over, floods, and harm cut into what is benign."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

import numpy as np
import pytest

from hashhub.answering import answer as answering
from hashhub.answering import lookup, videos
from hashhub.frames import FrameColumns
from hashhub.hashes import Hash
from hashhub.model import (
    TLP,
    Marking,
    MatchOptions,
    MatchResult,
    Principal,
    Purpose,
    Query,
    Record,
    Role,
    TimeRange,
    Verdict,
    VideoFrame,
)
from tests.adversaries.scene import OPERATOR, World, near

CONSUMER = Principal(name="platform", role=Role.CONSUMER, contributor="platform")


def picture(scene: object) -> bytes:
    """Return the PDQ digest of a synthetic scene: half of its bits are set, as those of pictures are."""
    ones = Random(f"scene {scene}").sample(range(256), 128)
    return sum(1 << bit for bit in ones).to_bytes(32)


def beside(scene: object, count: int, seed: object, bits: int = 8) -> list[bytes]:
    """Return digests that are so many bits away from a scene's."""
    return [near(Hash("PDQ", picture(scene)), bits, (seed, i)).digest for i in range(count)]


def frames(digests: Sequence[bytes], *, step: int = 1000, quality: int = 90) -> tuple[VideoFrame, ...]:
    return tuple(VideoFrame(i * step, quality, digest) for i, digest in enumerate(digests))


def scenes(*numbers: object) -> list[bytes]:
    return [picture(n) for n in numbers]


@pytest.fixture
def world() -> Iterator[World]:
    with World() as opened:
        for name, reliability in (("hotline", "A"), ("hostile", "C"), ("platform", "F")):
            opened.contributor(name, reliability)
        opened.hash_set("hotline/list")
        opened.hash_set("hostile/list")
        yield opened


def list_videos(world: World, name: str, *listed: Sequence[VideoFrame]) -> None:
    world.lists(name, [Record(position=f"line {i}", frames=tuple(of_one)) for i, of_one in enumerate(listed)])


def ask(world: World, asked: Sequence[VideoFrame], policy: str = "any") -> MatchResult:
    query = Query(hashes=(), frames=tuple(asked))
    return world.hub.match.hashes(CONSUMER, [query], MatchOptions(policy=policy))[0][0]


def near_frames(world: World, asked: Sequence[VideoFrame]) -> videos.NearFrames:
    near = videos.near_frames(world.hub.matcher, Query(hashes=(), frames=tuple(asked)), None, None)
    assert near is not None
    return near


def test_scenes_that_are_near_all_over_cost_no_more_than_is_allowed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    list_videos(world, "hotline/list", frames(beside("still", 400, "listed")))
    asked = frames(beside("still", 400, "asked"))
    assert near_frames(world, asked).pairs.count == 400 * 400
    monkeypatch.setattr(videos, "_FIRST_PAIRS", 4_000)
    monkeypatch.setattr(videos, "_MOST_PAIRS", 30_000)
    few = near_frames(world, asked)
    assert few.pairs.count <= 30_000 + 400
    assert 0 < np.count_nonzero(few.is_complete) < 400
    answer = ask(world, asked)
    assert (answer.verdict, answer.truncated) == (Verdict.MATCH, True)


def test_what_was_not_searched_for_is_not_clean(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    list_videos(world, "hotline/list", frames(scenes(*range(20))))
    monkeypatch.setattr(videos, "_SECONDS", -1.0)
    answer = ask(world, frames(scenes(*range(20))), "block")
    assert (answer.verdict, answer.truncated) == (Verdict.REVIEW, True)


def test_nearer_frames_of_somebody_else_drown_no_video(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(videos, "_FIRST_PAIRS", 100 * 5)
    monkeypatch.setattr(videos, "_MOST_PAIRS", 1_500)
    list_videos(world, "hotline/list", frames([beside(i, 1, "listed", 20)[0] for i in range(100)]))
    list_videos(world, "hostile/list", frames([d for i in range(100) for d in beside(i, 12, "flood", 2)]))
    answer = ask(world, frames(scenes(*range(100))))
    assert (answer.verdict, answer.truncated) == (Verdict.MATCH, True)
    assert any(match.entry.contributor == "hotline" for match in answer.matches)


@pytest.mark.parametrize("bound", ["MOST_OF_DIGEST", "MOST_ROWS", "_MOST_COMPARED"])
def test_entries_of_somebody_else_that_share_the_frames_push_no_video_out(
    world: World, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    monkeypatch.setattr(videos, bound, 40)
    shown = scenes(*range(10))
    padding = [frames([*shown, *scenes(*((n, i) for i in range(90)))]) for n in range(50)]
    list_videos(world, "hostile/list", *padding)
    list_videos(world, "hotline/list", frames(shown))
    answer = ask(world, frames([*shown, *scenes("else")]))
    assert answer.truncated
    assert any(match.entry.contributor == "hotline" for match in answer.matches)
    assert answer.verdict is Verdict.MATCH


def test_what_nobody_may_see_pushes_nothing_out(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(videos, "MOST_ROWS", 40)
    world.hash_set("hostile/hidden", marking=Marking(tlp=TLP.RED, recipients=("contributors/hotline",)))
    shown = scenes(*range(10))
    list_videos(world, "hotline/list", frames(shown))
    before = ask(world, frames(shown))
    list_videos(world, "hostile/hidden", *[frames([*shown, picture((n, "own"))]) for n in range(50)])
    after = ask(world, frames(shown))
    assert (after.matches, after.truncated, after.withheld) == (before.matches, before.truncated, before.withheld)


def test_many_frames_near_many_pictures_are_one_hit_of_each(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = beside("still", 60, "pictures", 4)
    world.lists("hotline/list", [Record(position=f"{i}", hashes=(Hash("PDQ", d),)) for i, d in enumerate(listed)])
    made: list[object] = []
    hit = lookup.Hit

    def counted(*args: object) -> lookup.Hit:
        made.append(args)
        return hit(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(lookup, "Hit", counted)
    answer = ask(world, frames(beside("still", 300, "asked")))
    assert answer.verdict is Verdict.MATCH
    assert len(made) == 60


def test_pictures_that_flood_a_frame_drown_none(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookup, "_FIRST_DIGESTS", 10)
    flood = beside(1, 50, "flood", 2)
    world.lists("hostile/list", [Record(position=f"{i}", hashes=(Hash("PDQ", d),)) for i, d in enumerate(flood)])
    world.lists("hotline/list", [Record(position="1", hashes=(Hash("PDQ", beside(1, 1, "listed", 20)[0]),))])
    answer = ask(world, frames(scenes(*range(5))))
    assert any(match.entry.contributor == "hotline" for match in answer.matches)
    assert not answer.truncated


def test_harm_cut_into_a_benign_video_is_not_benign(world: World) -> None:
    world.hash_set("hotline/fine", purpose=Purpose.BENIGN)
    list_videos(world, "hotline/fine", frames(scenes(*range(40))))
    world.hub.hash_sets.accept(OPERATOR, "hotline", "fine", world.hub.revision())
    assert ask(world, frames(scenes(*range(40)))).verdict is Verdict.BENIGN
    assert ask(world, frames(scenes(*range(20)))).verdict is Verdict.BENIGN  # a clip out of it
    assert ask(world, frames(scenes(*range(38), "new", "newer"))).verdict is Verdict.NO_MATCH
    # Nor is one whose other frames nobody can tell apart.
    dim = [VideoFrame(40_000 + i * 1000, 49, picture(("dim", i))) for i in range(20)]
    assert ask(world, [*frames(scenes(*range(40))), *dim]).verdict is Verdict.NO_MATCH
    assert ask(world, [*frames(scenes(*range(40))), *dim[:5]]).verdict is Verdict.BENIGN
    # And what is said of harm in the video disputes nothing less than before.
    list_videos(world, "hostile/list", frames(scenes("new", "newer")))
    assert ask(world, frames(scenes(*range(38), "new", "newer")), "any").verdict is not Verdict.BENIGN


def test_where_a_still_or_sparse_video_was_hit(world: World) -> None:
    still = frames([picture("still")] * 3_000)
    sparse = frames(scenes(*range(300)), step=10_000)  # key frames are often so far apart
    list_videos(world, "hotline/list", still, sparse)
    (match,) = ask(world, still).matches
    assert match.video is not None
    assert match.video.ranges[0].end_ms - match.video.ranges[0].begin_ms > 2_000_000
    (match,) = ask(world, sparse[100:200]).matches
    assert match.video is not None
    assert match.video.ranges == (TimeRange(1_000_000, 1_990_000, 1_000_000, 1_990_000),)


def test_the_frames_of_a_query_are_read_once_for_all_pictures_in_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = [Record(position=f"{i}", hashes=(Hash("PDQ", picture(i)),)) for i in range(50)]
    world.lists("hotline/list", listed)
    asked = frames(scenes(*range(50), *range(10)))
    reads: list[Query] = []
    read = videos.matching_frames

    def counted(query: Query) -> FrameColumns:
        reads.append(query)
        return read(query)

    monkeypatch.setattr(answering, "matching_frames", counted)
    answer = ask(world, asked)
    assert (len(answer.matches), len(reads)) == (50, 1)
    first = min(answer.matches, key=lambda m: m.video.ranges[0].begin_ms if m.video else 0)
    assert first.video is not None
    assert first.video.ranges == (TimeRange(0, 0, 0, 0), TimeRange(50_000, 50_000, 0, 0))
