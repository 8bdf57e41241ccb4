"""A picture out of a listed video: found as a frame of it, where somebody asks."""

from __future__ import annotations

import io
from random import Random
from typing import Any

import pytest
from PIL import Image

from hashhub.answering import videos
from hashhub.hashes import Hash
from hashhub.hashing import hash_media
from hashhub.matcher import Matcher
from hashhub.model import (
    TLP,
    Effort,
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
from tests.hub.test_videos import listed, noisy, picture, video

ASKED = {"VPDQ": 31}


def ask(desk: Desk, *digests: bytes, policy: str = "any", who: Principal = PLATFORM, **options: Any) -> MatchResult:
    query = Query(hashes=tuple(Hash("PDQ", d) for d in digests))
    options = {"max_distances": ASKED, **options}
    return desk.hub.match.hashes(who, [query], MatchOptions(policy=policy, **options))[0][0]


def test_a_still_picture_of_a_listed_video_is_found(any_desk: Desk) -> None:
    desk = any_desk
    desk.hash_set("nl/known")
    desk.contribute("nl/known", listed(1, [1, 2, 3, 3, 4, 3, 5, 6, 7, 8]))
    result = ask(desk, noisy(picture(3), 20))
    (match,) = result.matches
    assert (match.algorithm, match.variant, match.distance) == ("VPDQ", "frame", 20)
    assert match.query_digest == noisy(picture(3), 20)
    assert match.video is not None
    assert (match.video.query_share, match.video.entry_share) == (100.0, 12.5)  # one of eight different frames
    assert match.video.ranges == (TimeRange(0, 0, 2000, 3000), TimeRange(0, 0, 5000, 5000))
    assert ask(desk, picture(3), policy="block").verdict is Verdict.REVIEW
    assert ask(desk, noisy(picture(3), 32)).verdict is Verdict.NO_MATCH
    assert ask(desk, noisy(picture(3), 32), who=OPERATOR, max_distances={"VPDQ": 32}).verdict is Verdict.MATCH
    (entry,) = desk.entries("nl/known")
    desk.hub.entries.withdraw(writer("nl"), "nl", "known", entry.id, WithdrawalReason.ERROR)
    assert ask(desk, picture(3)).verdict is Verdict.NO_MATCH


def test_a_lookup_by_hash_searches_frames_only_if_asked(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.hash_set("nl/known")
    desk.contribute("nl/known", listed(1, range(10)))
    searched: list[str] = []
    for name in ("search", "hits_nothing"):
        plain = getattr(Matcher, name)

        def counted(self: Matcher, algorithm: str, *given: Any, _plain: Any = plain, **more: Any) -> Any:
            searched.append(algorithm)
            return _plain(self, algorithm, *given, **more)

        monkeypatch.setattr(Matcher, name, counted)
    query, options = Query(hashes=(Hash("PDQ", picture(3)),)), MatchOptions(policy="any")
    assert desk.hub.match.miss(PLATFORM, query, options) is not None
    assert desk.hub.match.hashes(PLATFORM, [query], options)[0][0].verdict is Verdict.NO_MATCH
    assert searched == ["PDQ", "PDQ"]
    asking = MatchOptions(policy="any", max_distances=ASKED)
    assert desk.hub.match.hashes(PLATFORM, [query], asking)[0][0].verdict is Verdict.MATCH
    assert searched == ["PDQ", "PDQ", "PDQ", "VPDQ"]


def test_what_is_on_no_list_and_in_no_video_needs_no_database(desk: Desk) -> None:
    desk.hash_set("nl/known")
    desk.contribute("nl/known", listed(1, range(10)))

    def is_answered_at_once(own: bytes, turned: bytes, **max_distances: int) -> bool:
        variants = (VariantHashes("content-box", (Hash("PDQ", turned),)),)
        query = Query(hashes=(Hash("PDQ", own), digest("MD5", 1)), variants=variants)
        options = MatchOptions(policy="any", max_distances=max_distances)
        return desk.hub.match.miss(PLATFORM, query, options) is not None

    far, shown = picture(900), picture(3)
    assert is_answered_at_once(far, far, VPDQ=31)
    assert not is_answered_at_once(far, far, VPDQ=32)  # a longer distance may take in the whole index
    assert not is_answered_at_once(noisy(shown, 31), far, VPDQ=31)
    assert not is_answered_at_once(far, noisy(shown, 31), VPDQ=31)
    assert is_answered_at_once(noisy(shown, 31), far, VPDQ=30)
    assert is_answered_at_once(shown, shown)


def test_pictures_near_a_frame_of_a_video_trip_no_sooner_than_those_near_a_picture(desk: Desk) -> None:
    """Uploads that hit nothing count among those of which some do: also where they are answered at once."""
    desk.hash_set("nl/known")
    desk.contribute("nl/known", listed(1, [3]))
    breaker = desk.hub.matcher.breaker
    options = MatchOptions(policy="any", max_distances=ASKED)
    desk.hub.match.hashes(PLATFORM, [Query(hashes=(Hash("PDQ", noisy(picture(3), 5)),))], options)
    for n in range(20):
        assert desk.hub.match.miss(PLATFORM, Query(hashes=(Hash("PDQ", picture(100 + n)),)), options) is not None
    desk.hub.match.hashes(PLATFORM, [Query(hashes=(Hash("PDQ", noisy(picture(3), 6)),))], options)
    (window,) = breaker._windows.values()
    assert window.queries == {"PDQ": 22, "VPDQ": 22}


def test_a_picture_file_is_looked_for_among_frames_unless_plain(desk: Desk) -> None:
    random = Random("picture")
    small = Image.frombytes("L", (24, 18), bytes(random.randrange(256) for _ in range(24 * 18)))
    target = io.BytesIO()
    small.resize((640, 480), Image.Resampling.BICUBIC).save(target, "PNG")
    shown = next(h for h in hash_media(io.BytesIO(target.getvalue())).hashes if h.algorithm == "PDQ").digest
    desk.hash_set("nl/known")
    desk.contribute(
        "nl/known", Record(position="1", frames=(*video([1, 2]), VideoFrame(5000, 90, shown), *video([3], begin=6000)))
    )

    def answer(effort: Effort) -> MatchResult:
        options = MatchOptions(policy="block", effort=effort)
        return desk.hub.match.media(PLATFORM, [("a.png", target.getvalue())], options)[0][0].result

    for effort in (Effort.STANDARD, Effort.THOROUGH):
        result = answer(effort)
        assert result.verdict is Verdict.REVIEW
        (match,) = result.matches
        assert (match.variant, match.distance) == ("frame", 0)
        assert match.video is not None
        assert match.video.ranges == (TimeRange(0, 0, 5000, 5000),)
    assert answer(Effort.PLAIN).verdict is Verdict.NO_MATCH


def test_variants_of_a_picture_are_looked_for_among_frames_too(desk: Desk) -> None:
    desk.hash_set("nl/known")
    desk.contribute("nl/known", listed(1, range(10)))
    query = Query(
        hashes=(Hash("PDQ", picture(900)),), variants=(VariantHashes("content-box", (Hash("PDQ", picture(4)),)),)
    )
    (match,) = desk.hub.match.hashes(PLATFORM, [query], MatchOptions(policy="any", max_distances=ASKED))[0][0].matches
    assert (match.variant, match.query_digest) == ("frame", picture(4))


def test_a_benign_video_clears_no_picture(desk: Desk) -> None:
    desk.hash_set("nl/fine", purpose=Purpose.BENIGN)
    done = desk.contribute("nl/fine", listed(1, range(10)))
    desk.hub.hash_sets.accept(OPERATOR, "nl", "fine", done.revision)
    assert ask(desk, picture(3)).verdict is not Verdict.BENIGN


def test_a_listed_picture_counts_as_itself_beside_a_video_that_shows_it(desk: Desk) -> None:
    desk.hash_set("nl/known")
    desk.contribute("nl/known", listed(1, range(10)), Record(position="2", hashes=(Hash("PDQ", picture(3)),)))
    result = ask(desk, picture(3))
    assert [(m.algorithm, m.variant) for m in result.matches] == [("PDQ", ""), ("VPDQ", "frame")]


def test_hidden_videos_tell_nothing_of_a_picture(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(videos, "MOST_OF_DIGEST", 5)
    desk.hash_set("nl/hidden", marking=Marking(tlp=TLP.RED, recipients=("contributors/nl",)))
    before = ask(desk, picture(3))
    desk.contribute("nl/hidden", *(listed(n, [3, 100 + n]) for n in range(20)))
    assert ask(desk, picture(3)) == before
    told = Marking(tlp=TLP.RED, recipients=("contributors/nl",), disclose_existence=True)
    desk.hash_set("nl/told", marking=told)
    desk.contribute("nl/told", listed(1, [3, 50]))
    result = ask(desk, picture(3))
    assert (result.verdict, result.withheld, result.matches) == (Verdict.REVIEW, True, ())


def test_five_thousand_videos_that_share_a_frame(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A title card is in all of them. An upload that has it finds them no more than bounds allow, and in one search."""
    desk.hash_set("nl/known")
    desk.contribute("nl/known", *(listed(n, [1, 10_000 + n]) for n in range(5_000)))
    result = ask(desk, picture(1), policy="block", match_limit=10)
    assert (result.verdict, len(result.matches), result.truncated) == (Verdict.REVIEW, 10, True)
    # One of two frames is no hit between videos, whoever else has it.
    query = Query(hashes=(), frames=video([1, *range(900_000, 900_020)]))
    answer = desk.hub.match.hashes(PLATFORM, [query], MatchOptions(policy="any"))[0][0]
    assert (answer.verdict, answer.truncated) == (Verdict.NO_MATCH, False)
    query = Query(hashes=(), frames=video([1, 12_345]))
    (match,) = (
        m
        for m in desk.hub.match.hashes(PLATFORM, [query], MatchOptions(policy="any"))[0][0].matches
        if m.video is not None and m.video.entry_share == 100.0
    )
    assert match.entry.provenance.position == "line 2345"
    # Beyond a bound the answer says that there may be more, and is never clean.
    monkeypatch.setattr(videos, "MOST_ROWS", 1_000)
    cut = ask(desk, picture(1), policy="block")
    assert (cut.verdict, cut.truncated) == (Verdict.REVIEW, True)


def test_an_exact_hash_and_a_frame_of_one_entry_are_one_match(desk: Desk) -> None:
    desk.hash_set("nl/known")
    desk.contribute("nl/known", item(1, frames=video(range(5))))
    query = Query(hashes=(*item(1).hashes, Hash("PDQ", picture(2))))
    (match,) = desk.hub.match.hashes(PLATFORM, [query], MatchOptions(policy="any", max_distances=ASKED))[0][0].matches
    assert match.variant == ""
    assert match.video is not None
