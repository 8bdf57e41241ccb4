"""Videos as entries: listed, matched by share of frames, replaced, withdrawn, restored, erased."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import pytest

from hashhub.answering import videos
from hashhub.errors import InvalidArgument
from hashhub.hashes import Hash
from hashhub.hub import Hub
from hashhub.model import (
    TLP,
    EntryState,
    Marking,
    MatchOptions,
    MatchResult,
    Principal,
    Purpose,
    Query,
    Record,
    TimeRange,
    VariantHashes,
    Verdict,
    VideoFrame,
    WithdrawalReason,
)
from tests.hub.conftest import OPERATOR, PLATFORM, Desk, digest, item, writer


def picture(scene: int) -> bytes:
    """The PDQ digest of a synthetic scene: 128 of its bits are set, as those of pictures are."""
    random = Random(f"scene {scene}")
    ones = set(random.sample(range(256), 128))
    return sum(1 << bit for bit in ones).to_bytes(32)


def noisy(value: bytes, bits: int, seed: int = 0) -> bytes:
    number = int.from_bytes(value)
    for bit in Random(f"{value.hex()} {seed}").sample(range(256), bits):
        number ^= 1 << bit
    return number.to_bytes(32)


def video(
    scenes: Sequence[int], *, step: int = 1000, bits: int = 0, quality: int = 90, begin: int = 0
) -> tuple[VideoFrame, ...]:
    """A frame a second, one scene each."""
    return tuple(
        VideoFrame(begin + i * step, quality, noisy(picture(s), bits, i) if bits else picture(s))
        for i, s in enumerate(scenes)
    )


def ask(
    desk: Desk,
    frames: Sequence[VideoFrame],
    *,
    who: Principal = PLATFORM,
    policy: str = "any",
    hub: Hub | None = None,
    **options: Any,
) -> MatchResult:
    query = Query(hashes=(), frames=tuple(frames))
    return (hub or desk.hub).match.hashes(who, [query], MatchOptions(policy=policy, **options))[0][0]


def listed(number: int, scenes: Sequence[int], **fields: Any) -> Record:
    return Record(position=f"line {number}", frames=video(scenes), **fields)


def test_a_video_is_hit_by_its_altered_frames(desk: Desk) -> None:
    desk.hash_set("nl/known")
    done = desk.contribute("nl/known", listed(1, range(60), external_id="v1"))
    assert done.counts.accepted == 1
    result = ask(desk, video(range(60), bits=20))
    assert result.verdict is Verdict.MATCH
    (match,) = result.matches
    assert (match.algorithm, match.distance, match.variant) == ("VPDQ", 20, "")
    assert match.entry.frame_count == 60
    assert match.video is not None
    assert (match.video.query_share, match.video.entry_share) == (100.0, 100.0)
    assert match.video.ranges == (TimeRange(0, 59_000, 0, 59_000),)


def test_clips_and_compilations(desk: Desk) -> None:
    desk.hash_set("nl/known")
    desk.contribute("nl/known", listed(1, range(100)), listed(2, range(200, 210)))
    # A clip cut out of what is listed: all of the upload is known.
    clip = ask(desk, video(range(40, 60), bits=10), policy="any").matches[0]
    assert clip.variant == ""
    assert clip.video is not None
    assert (clip.video.query_share, clip.video.entry_share) == (100.0, 20.0)
    assert clip.video.ranges == (TimeRange(0, 19_000, 40_000, 59_000),)
    # A listed clip within a long upload: a part of it is.
    compilation = video([*range(1000, 1060), *range(200, 210), *range(2000, 2060)], bits=8)
    (part,) = ask(desk, compilation).matches
    assert part.variant == "frame"
    assert part.video is not None
    assert (part.video.query_share, part.video.entry_share) == (7.7, 100.0)
    assert part.video.ranges == (TimeRange(60_000, 69_000, 0, 9_000),)
    assert ask(desk, compilation, policy="block").verdict is Verdict.REVIEW
    # Less than 80 % either way is a part, if it is of one piece, and 32 bits are too far.
    assert [m.variant for m in ask(desk, video([*range(79), *range(3000, 3021)])).matches] == ["frame"]
    assert ask(desk, video([*range(80), *range(3000, 3020)])).verdict is Verdict.MATCH
    assert ask(desk, video(range(100), bits=32)).verdict is Verdict.NO_MATCH
    assert ask(desk, video(range(100), bits=32), who=OPERATOR, max_distances={"VPDQ": 32}).verdict is Verdict.MATCH


def test_a_benign_part_clears_nothing(desk: Desk) -> None:
    desk.hash_set("nl/fine", purpose=Purpose.BENIGN)
    done = desk.contribute("nl/fine", listed(1, range(10)))
    desk.hub.hash_sets.accept(OPERATOR, "nl", "fine", done.revision)
    assert ask(desk, video(range(10))).verdict is Verdict.BENIGN
    assert ask(desk, video([*range(10), *range(500, 560)])).verdict is not Verdict.BENIGN


def test_frames_of_low_quality_and_blank_ones_count_for_nothing(desk: Desk) -> None:
    desk.hash_set("nl/known")
    blank = VideoFrame(0, 100, bytes([0x80, *bytes(31)]))
    done = desk.contribute(
        "nl/known",
        Record(position="dim", frames=video(range(5), quality=49)),
        Record(position="black", frames=(blank, VideoFrame(1000, 100, bytes(32)))),
        Record(position="half", frames=(*video(range(10, 14), quality=10), *video(range(14, 18), begin=4000))),
        Record(position="late", frames=(*video([1], begin=5), *video([2], begin=4))),
        Record(position="short", frames=(VideoFrame(0, 90, b"too short"),)),
    )
    assert desk.reasons(done) == {
        "dim": ["LOW_QUALITY"],
        "black": ["LOW_QUALITY"],
        "late": ["BAD_FIELD"],
        "short": ["BAD_FIELD"],
    }
    (match,) = ask(desk, video(range(14, 18))).matches
    assert match.video is not None
    assert match.video.entry_share == 100.0  # of its frames of quality
    assert ask(desk, video(range(10, 14))).verdict is Verdict.NO_MATCH
    assert ask(desk, [blank]).verdict is Verdict.NO_MATCH


def test_replaced_withdrawn_restored_erased(any_desk: Desk) -> None:
    desk = any_desk
    desk.hash_set("nl/known")
    desk.contribute("nl/known", listed(1, range(20), external_id="v1"), listed(2, range(40, 60)))
    again = desk.contribute("nl/known", listed(1, range(20), external_id="v1"), listed(2, range(40, 60)))
    assert again.counts.unchanged == 2
    newer = desk.contribute("nl/known", listed(1, range(100, 120), external_id="v1"))
    assert (newer.counts.accepted, newer.counts.superseded) == (1, 1)
    assert ask(desk, video(range(20))).verdict is Verdict.NO_MATCH
    assert ask(desk, video(range(100, 120))).verdict is Verdict.MATCH
    by_frames = next(e for e in desk.entries("nl/known", EntryState.ACTIVE) if not e.external_id)
    hub = desk.hub
    hub.entries.withdraw(writer("nl"), "nl", "known", by_frames.id, WithdrawalReason.ERROR)
    assert ask(desk, video(range(40, 60))).verdict is Verdict.NO_MATCH
    held = desk.contribute("nl/known", listed(2, range(40, 60)))
    assert held.counts.stays_withdrawn == 1  # known by nothing but its frames
    hub.entries.restore(writer("nl"), "nl", "known", by_frames.id)
    assert ask(desk, video(range(40, 60))).verdict is Verdict.MATCH
    assert hub.entries.get(writer("nl"), "nl", "known", by_frames.id).frames == video(range(40, 60))
    hub.entries.erase(OPERATOR, "nl", "known", by_frames.id)
    assert ask(desk, video(range(40, 60))).verdict is Verdict.NO_MATCH
    erased = hub.entries.get(writer("nl"), "nl", "known", by_frames.id)
    assert (erased.frames, erased.frame_count) == ((), 0)
    assert desk.contribute("nl/known", listed(2, range(40, 60)), source="later").counts.accepted == 0


def test_hidden_videos_tell_nothing(desk: Desk) -> None:
    hidden = Marking(tlp=TLP.RED, recipients=("contributors/nl",))
    desk.hash_set("nl/hidden", marking=hidden)
    desk.hash_set("fr/open")
    before = ask(desk, video(range(30)))
    desk.contribute("nl/hidden", *(listed(n, [*range(30), 1000 + n]) for n in range(50)))
    assert ask(desk, video(range(30))) == before
    told = Marking(tlp=TLP.RED, recipients=("contributors/nl",), disclose_existence=True)
    desk.hash_set("nl/told", marking=told)
    desk.contribute("nl/told", listed(1, range(30)))
    result = ask(desk, video(range(30)))
    assert (result.verdict, result.withheld, result.matches) == (Verdict.REVIEW, True, ())
    assert ask(desk, video(range(27, 90))).withheld is False  # too little of either


def test_a_frame_of_a_video_hits_a_still_picture(desk: Desk) -> None:
    desk.hash_set("nl/known")
    desk.contribute("nl/known", Record(position="1", hashes=(Hash("PDQ", picture(7)),)))
    result = ask(desk, video([3, 4, 7, 7, 9, 7], bits=0))
    (match,) = result.matches
    assert (match.algorithm, match.variant) == ("PDQ", "frame")
    assert match.video is not None
    assert match.video.ranges == (TimeRange(2000, 3000, 0, 0), TimeRange(5000, 5000, 0, 0))
    assert ask(desk, video([3, 4, 7]), policy="block").verdict is Verdict.REVIEW
    exact = desk.hub.match.hashes(
        PLATFORM, [Query(hashes=(digest("MD5", 5),), frames=video([7]))], MatchOptions(policy="any")
    )[0][0]
    assert exact.matches[0].video is not None


def test_videos_that_share_an_intro(desk: Desk) -> None:
    """Everybody's first frames are in thousands of entries: they find none by themselves, and hide none."""
    desk.hash_set("nl/known")
    desk.contribute("nl/known", *(listed(n, [1, 2, *range(1000 * n, 1000 * n + 8)]) for n in range(1, 1500)))
    result = ask(desk, video([1, 2, *range(5_000_000, 5_000_030)]))
    assert (result.verdict, result.truncated) == (Verdict.NO_MATCH, False)
    (match,) = ask(desk, video([1, 2, *range(700_000, 700_008)], bits=5)).matches
    assert match.entry.provenance.position == "line 700"


def test_an_item_with_a_file_and_frames_is_known_by_its_file(desk: Desk) -> None:
    desk.hash_set("nl/known")
    one = item(1, frames=video(range(10)))
    desk.contribute("nl/known", one)
    assert desk.contribute("nl/known", one, source="x").counts.unchanged == 1
    finer = desk.contribute("nl/known", item(1, frames=video(range(10), step=500)))
    assert (finer.counts.accepted, finer.counts.quarantined, finer.counts.superseded) == (1, 0, 1)
    twice = desk.contribute("nl/known", item(2), item(2, frames=video(range(20, 30))), item(2, frames=video([5])))
    assert (twice.counts.accepted, twice.counts.duplicate) == (1, 2)
    (match,) = ask(desk, video(range(20, 30))).matches
    assert match.entry.frame_count == 10


def test_a_restart_and_another_process_know_the_same(desk: Desk, open_hub: Any) -> None:
    desk.hash_set("nl/known")
    desk.contribute("nl/known", *(listed(n, range(100 * n, 100 * n + 10)) for n in range(1, 30)))
    first = ask(desk, video(range(500, 510), bits=9))
    assert first.verdict is Verdict.MATCH
    other = open_hub(publisher=False)
    assert ask(desk, video(range(500, 510), bits=9), hub=other) == first


def test_a_query_needs_something(desk: Desk) -> None:
    assert ask(desk, video([1])).verdict is Verdict.NO_MATCH
    with pytest.raises(InvalidArgument):
        ask(desk, ())


def brute_force(
    query: Sequence[VideoFrame], entries: dict[str, Sequence[VideoFrame]], most: int = 31
) -> dict[str, tuple[float, float]]:
    """The shares of every entry with a frame that is near, by comparing each distinct frame of quality with each."""
    asked = {f.digest for f in query if f.quality >= 50}
    shares = {}
    for name, listed_frames in entries.items():
        own = {f.digest for f in listed_frames if f.quality >= 50}
        near = {(a, b) for a in asked for b in own if (int.from_bytes(a) ^ int.from_bytes(b)).bit_count() <= most}
        query_share = 100 * len({a for a, _ in near}) / max(1, len(asked))
        entry_share = 100 * len({b for _, b in near}) / max(1, len(own))
        if near:
            shares[name] = round(query_share, 1), round(entry_share, 1)
    return shares


def test_hits_and_shares_are_those_of_comparing_every_frame(desk: Desk) -> None:
    random = Random("shares")
    desk.hash_set("nl/known")

    def any_video() -> tuple[VideoFrame, ...]:
        begin = random.choice((0, 10, 20, 300))
        scenes = [begin + i if random.random() < 0.9 else random.randint(0, 60) for i in range(random.randint(1, 25))]
        frames = video(scenes, bits=random.choice((0, 6, 15)), quality=90)
        return tuple(f if random.random() < 0.9 else VideoFrame(f.offset_ms, 20, f.digest) for f in frames)

    entries = {f"line {n}": any_video() for n in range(60)}
    done = desk.contribute("nl/known", *(Record(position=p, frames=f) for p, f in entries.items()))
    waiting = set(desk.reasons(done))
    hit = 0
    for _ in range(40):
        query = any_video()
        if not any(f.quality >= 50 for f in query):
            continue
        by_hub = {
            m.entry.provenance.position: (m.video.query_share, m.video.entry_share)
            for m in ask(desk, query, match_limit=100).matches
            if m.video is not None
        }
        expected = brute_force(query, {p: f for p, f in entries.items() if p not in waiting})
        assert by_hub.items() <= expected.items()  # what has less is an excerpt
        assert {p: s for p, s in by_hub.items() if max(s) >= 80} == {p: s for p, s in expected.items() if max(s) >= 80}
        hit += sum(max(s) >= 80 for s in expected.values())
    assert hit > 100


def test_who_lists_everybodys_intro_gets_no_more_than_a_look(any_desk: Desk) -> None:
    """A hostile list of nothing but the first frames of everybody's videos blocks none of them."""
    desk = any_desk
    desk.hash_set("spite/list")
    desk.contribute("spite/list", *(listed(n, [1, 2, 3]) for n in range(30)))
    upload = video([1, 2, 3, *range(100, 160)])
    result = ask(desk, upload, policy="block")
    assert result.verdict is Verdict.REVIEW
    assert {m.variant for m in result.matches} == {"frame"}
    # And what others list of such a video is hit as if there were no such list.
    desk.contributor("nl", reliability="A")
    desk.hash_set("nl/known")
    desk.contribute("nl/known", listed(1, [1, 2, 3, *range(100, 160)]))
    (first, *_) = ask(desk, upload, policy="block").matches
    assert (first.entry.contributor, first.variant) == ("nl", "")


def test_more_videos_of_one_frame_than_are_looked_at(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound nobody is called clean: the answer says that it was cut short."""
    monkeypatch.setattr(videos, "MOST_OF_DIGEST", 40)
    desk.hash_set("nl/known")
    desk.contribute("nl/known", *(listed(n, [1, *range(1000 * n, 1000 * n + 20)]) for n in range(1, 61)))
    result = ask(desk, video([1, *range(900_000, 900_030)]))
    assert (result.verdict, result.truncated) == (Verdict.REVIEW, True)
    # One that is found by its other frames is not hidden by that.
    hit = ask(desk, video([1, *range(55_000, 55_020)]))
    assert [m.entry.provenance.position for m in hit.matches] == ["line 55"]
    assert hit.verdict is Verdict.MATCH


def test_hidden_entries_do_not_cut_an_answer_short(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(videos, "MOST_OF_DIGEST", 40)
    desk.hash_set("nl/hidden", marking=Marking(tlp=TLP.RED, recipients=("contributors/nl",)))
    desk.contribute("nl/hidden", *(listed(n, [1, 5000 + n]) for n in range(1, 61)))
    result = ask(desk, video([1, *range(900_000, 900_030)]))
    assert (result.verdict, result.truncated, result.withheld) == (Verdict.NO_MATCH, False, False)


def test_deleting_a_hash_set_leaves_no_frame(any_desk: Desk) -> None:
    desk = any_desk
    desk.hash_set("nl/known")
    desk.hash_set("nl/other")
    desk.contribute("nl/known", *(listed(n, range(10 * n, 10 * n + 10)) for n in range(30)))
    desk.contribute("nl/other", listed(1, range(10)))
    opened = desk.open("nl/known")
    desk.hub.contribute.cancel(writer("nl"), desk.add(opened, [listed(99, range(990, 999))]).id)
    store = desk.hub.store

    def rows() -> tuple[int, int]:
        count = "SELECT count(*) FROM frames"
        digests = "SELECT count(*) FROM hash WHERE algorithm = 8"
        return store.database.fetch(count)[0][0], store.database.fetch(digests)[0][0]

    assert rows() == (31, 310)
    desk.hub.retention.delete(OPERATOR, "nl", "known")
    desk.hub.keeper.delete_rows()
    assert rows() == (1, 10)
    assert ask(desk, video(range(100, 110))).verdict is Verdict.NO_MATCH
    assert ask(desk, video(range(10))).verdict is Verdict.MATCH


@pytest.mark.parametrize(
    ("shown", "is_hit"),
    [
        ([*range(100, 160), *range(20, 30), *range(200, 260)], True),  # 10 of 130 seconds, of 60 that are listed
        ([*range(100, 160), *range(20, 23), *range(200, 260)], False),  # 3 seconds
        ([*range(100, 160), *[20] * 10, *range(200, 260)], False),  # one still for 10
        ([*range(100, 160), *range(29, 19, -1), *range(200, 260)], False),  # the same frames, backwards
        ([s for n in range(10) for s in (20 + n, *range(300 + 9 * n, 309 + 9 * n))], False),  # here and there
    ],
)
@pytest.mark.parametrize("name", ["", "border-removed"])
def test_an_excerpt_between_other_material_is_for_people_to_look_at(
    desk: Desk, shown: list[int], is_hit: bool, name: str
) -> None:
    for contributor in ("nl", "de"):
        desk.hash_set(f"{contributor}/known")
        desk.contribute(f"{contributor}/known", listed(1, range(60), external_id="v1"))
    frames = video(shown, bits=12)
    query = Query(hashes=(), frames=frames)
    if name:
        query = Query(hashes=(), frames=video(range(900, 910)), variants=(VariantHashes(name, (), frames),))
    options = MatchOptions(policy="block")
    result = desk.hub.match.hashes(PLATFORM, [query], options)[0][0]
    assert result.verdict is (Verdict.REVIEW if is_hit else Verdict.NO_MATCH)
    assert {m.variant for m in result.matches} == ({"frame"} if is_hit else set())
    if is_hit:
        [stretch] = result.matches[0].video.ranges  # type: ignore[union-attr]
        assert stretch == TimeRange(60_000, 69_000, 20_000, 29_000)


def test_a_video_without_its_border_is_a_variant(desk: Desk) -> None:
    desk.hash_set("nl/known")
    desk.contribute("nl/known", listed(1, range(60), external_id="v1"))
    without = VariantHashes("border-removed", (), video(range(60), bits=12))
    query = Query(hashes=(), frames=video(range(500, 560)), variants=(without,))
    for policy, verdict in (("any", Verdict.MATCH), ("block", Verdict.REVIEW)):
        [result], _ = desk.hub.match.hashes(PLATFORM, [query], MatchOptions(policy=policy))
        assert result.verdict is verdict
        assert [m.variant for m in result.matches] == ["border-removed"]


def test_an_excerpt_is_found_however_many_others_share_its_frames(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever lists many videos with a few of its frames makes nobody else's unseen."""
    monkeypatch.setattr(videos, "MOST_EXCERPTS", 4)
    for name in ("nl/known", "xx/flood"):
        desk.hash_set(name)
    desk.contribute("nl/known", listed(1, range(60), external_id="v1"))
    scattered = [s for n in range(9) for s in (20 + n, *range(1000 + 9 * n, 1009 + 9 * n))]
    flood = [listed(n, [*scattered, 5000 + n], external_id=f"f{n}") for n in range(30)]
    desk.contribute("xx/flood", *flood)
    result = ask(desk, video([*range(100, 160), *range(20, 29), *range(200, 260)]), policy="any")
    assert "nl/known/1" in {m.entry.name for m in result.matches}
