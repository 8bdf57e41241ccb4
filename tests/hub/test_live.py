"""What a live stream shows, on a real store and matcher: judged by policy, within terms, and never clean by silence."""

from __future__ import annotations

import io
from typing import Any

import msgspec
import pytest
from PIL import Image

from hashhub.errors import InvalidArgument, PermissionDenied, Reason, Unavailable
from hashhub.hashes import Hash
from hashhub.hub.live import HITS, LiveStream
from hashhub.model import (
    TLP,
    Hysteresis,
    LiveAnswer,
    LiveOptions,
    LivePicture,
    Marking,
    MatchOptions,
    Principal,
    Purpose,
    Record,
    Role,
    Verdict,
    VideoFrame,
    WithdrawalReason,
)
from hashhub.testing.pictures import picture
from tests.hub.conftest import AUDITOR, OPERATOR, PLATFORM, Desk, Open, Stock, digest, near, writer
from tests.trust.test_policies import text

LISTED = digest("PDQ", 1)
NEAR = near(LISTED, 20)
OTHER = digest("PDQ", 2)


class Watched:
    """A stream at a desk: a frame a second, unless told otherwise."""

    def __init__(self, desk: Desk, *, who: Principal = PLATFORM, policy: str = "any", **options: Any) -> None:
        self.who = who
        fields = {"label": "cam", "match": MatchOptions(policy=policy), **options}
        self.stream: LiveStream = desk.hub.live.open(who, LiveOptions(**fields))
        self.at = -1000

    def _next(self, after_ms: int) -> int:
        self.at += after_ms
        return self.at

    def see(self, h: Hash, *, quality: int = 100, after_ms: int = 1000) -> LiveAnswer:
        answer = self.stream.frame(self.who, VideoFrame(self._next(after_ms), quality, h.digest))
        assert answer is not None
        return answer

    def picture(self, content: bytes, **media: Any) -> LiveAnswer:
        answer = self.stream.frame(self.who, LivePicture(self._next(1000), content), **media)
        assert answer is not None
        return answer


def listed(number: int, **fields: Any) -> Record:
    return Record(position=f"line {number}", hashes=(digest("PDQ", number),), **fields)


def _fill(desk: Desk) -> None:
    desk.hash_set("hotline/set")
    desk.contribute("hotline/set", listed(1), has_classifications=False)


@pytest.fixture
def known(any_stock: Stock) -> Desk:
    """A desk at a hub that knows LISTED."""
    return any_stock(_fill)


@pytest.fixture
def small(stock: Stock) -> Desk:
    """The same on SQLite alone."""
    return stock(_fill)


def test_a_stream_is_watched_from_its_first_frame_to_its_last(known: Desk) -> None:
    watched = Watched(known, hysteresis=Hysteresis(leave_ms=3_000))
    first = watched.see(OTHER)
    assert (first.verdict, first.hit_count, first.ranges) == (Verdict.NO_MATCH, 0, ())
    assert first.result is not None
    assert (first.result.label, first.policy) == ("cam", "any@1")
    once = watched.see(NEAR)
    assert (once.verdict, once.result, once.hit_count) == (Verdict.NO_MATCH, None, 1)  # a flicker, or the beginning
    twice = watched.see(NEAR)
    assert twice.verdict is Verdict.MATCH
    assert twice.result is not None
    (match,) = twice.result.matches
    assert (match.algorithm, match.distance, match.query_digest) == ("PDQ", 20, NEAR.digest)
    (shown,) = twice.ranges
    assert (shown.entry, shown.begin_ms, shown.end_ms, shown.hit_count) == (match.entry.name, 1_000, 2_000, 2)
    assert watched.see(OTHER).verdict is Verdict.MATCH  # a frame without it ends nothing
    assert watched.see(NEAR).ranges[0].end_ms == 4_000
    quiet = [watched.see(OTHER) for _ in range(3)]
    assert [a.verdict for a in quiet] == [Verdict.MATCH, Verdict.MATCH, Verdict.NO_MATCH]
    (over,) = quiet[-1].ranges
    assert (over.is_ended, over.begin_ms, over.end_ms, over.hit_count) == (True, 1_000, 4_000, 3)
    assert quiet[-1].result is not None
    assert not quiet[-1].result.matches
    assert (quiet[-1].frames_hashed, quiet[-1].frames_unread, quiet[-1].frames_skipped) == (8, 0, 0)


def test_the_listed_picture_itself_counts_at_once(small: Desk) -> None:
    answer = Watched(small).see(LISTED)
    assert answer.verdict is Verdict.MATCH
    assert answer.result is not None
    assert answer.result.matches[0].distance == 0


def test_a_blank_frame_counts_once_in_any_case(small: Desk) -> None:
    watched = Watched(small)
    assert watched.see(LISTED, quality=0).verdict is Verdict.NO_MATCH
    assert watched.see(LISTED, quality=0).verdict is Verdict.MATCH


def test_entries_are_told_apart(small: Desk) -> None:
    small.contribute("hotline/set", listed(3), has_classifications=False)
    watched = Watched(small)
    for number in (1, 3):  # a hit each: no entry is shown
        assert watched.see(near(digest("PDQ", number), 20)).verdict is Verdict.NO_MATCH


def test_the_nearest_hit_is_what_is_judged(small: Desk) -> None:
    watched = Watched(small)
    watched.see(near(LISTED, 30))
    for bits in (30, 5, 25):
        answer = watched.see(near(LISTED, bits))
    assert watched.stream.sent is not None
    assert watched.stream.sent.matches[0].distance == 5
    assert answer.result is None


def test_the_policy_decides(small: Desk) -> None:
    blocking, asking = Watched(small, policy="block"), Watched(small)
    for watched in (blocking, asking):
        watched.see(NEAR)
    assert asking.see(NEAR).verdict is Verdict.MATCH
    answer = blocking.see(NEAR)
    assert answer.result is not None
    alone = small.match(NEAR, policy="block")
    assert (answer.verdict, {r.code for r in answer.result.reasons}) == (alone.verdict, {r.code for r in alone.reasons})
    assert answer.verdict is not Verdict.NO_MATCH


def test_what_is_known_as_harmless_is_benign(small: Desk) -> None:
    small.hash_set("operator/fine", purpose=Purpose.BENIGN)
    small.hub.hash_sets.accept(OPERATOR, "operator", "fine", small.hub.revision(), "checked")
    small.contribute("operator/fine", listed(7), has_classifications=False)
    small.hub.hash_sets.accept(OPERATOR, "operator", "fine", small.hub.revision(), "checked")
    alone = small.match(digest("PDQ", 7)).verdict
    assert Watched(small).see(digest("PDQ", 7)).verdict is alone


# Unread


def test_what_was_not_looked_for_is_not_clean(small: Desk) -> None:
    watched = Watched(small, hysteresis=Hysteresis(unread_frames=3))
    answer = watched.picture(b"no picture at all")
    assert (answer.verdict, answer.frames_unread) == (Verdict.UNAVAILABLE, 1)  # nothing was looked for yet
    assert answer.unread is not None
    assert answer.result is not None
    assert answer.result.reasons[-1].code == answer.unread.code == Reason.INVALID_FIELD
    assert watched.see(OTHER).verdict is Verdict.NO_MATCH
    verdicts = [watched.picture(_png()[:200]).verdict for _ in range(4)]
    assert verdicts == [Verdict.NO_MATCH, Verdict.NO_MATCH, Verdict.UNAVAILABLE, Verdict.UNAVAILABLE]
    back = watched.see(OTHER)
    assert (back.verdict, back.frames_unread, back.frames_hashed) == (Verdict.NO_MATCH, 5, 2)


def test_what_cannot_be_looked_for_ends_no_alarm(small: Desk) -> None:
    watched = Watched(small, hysteresis=Hysteresis(unread_frames=2, leave_ms=1_000))
    assert watched.see(LISTED).verdict is Verdict.MATCH
    for _ in range(50):
        assert watched.picture(b"").verdict is Verdict.MATCH
    assert watched.see(OTHER).verdict is Verdict.MATCH  # a second of watching is not over yet
    assert watched.see(OTHER).verdict is Verdict.NO_MATCH


def test_a_frame_must_be_later_than_the_one_before(small: Desk) -> None:
    watched = Watched(small)
    watched.see(NEAR)
    again = watched.see(NEAR, after_ms=0)  # the same one sent twice is not two hits
    assert (again.verdict, again.frames_unread, again.hit_count) == (Verdict.NO_MATCH, 1, 0)
    assert again.unread is not None
    assert "must be later" in again.unread.text
    back = watched.see(NEAR, after_ms=-500)
    assert (back.verdict, back.frames_unread, back.offset_ms) == (Verdict.NO_MATCH, 2, 0)
    assert watched.see(NEAR, after_ms=1_500).verdict is Verdict.MATCH


def test_blank_frames_are_said_to_say_little(small: Desk) -> None:
    watched = Watched(small)
    answers = [watched.see(OTHER, quality=10) for _ in range(3)]
    assert [a.quality for a in answers] == [10, 10, 10]
    assert answers[1].result is None
    assert answers[2].result is not None
    assert "LOW_QUALITY" in {r.code for r in answers[2].result.reasons}
    cleared = watched.see(OTHER).result
    assert cleared is not None
    assert "LOW_QUALITY" not in {r.code for r in cleared.reasons}


def test_while_the_database_is_away_a_frame_is_unread(small: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(small)
    watched.see(OTHER)

    def away(*_: object, **__: object) -> None:
        raise Unavailable("the database is away", reason=Reason.DATABASE_UNAVAILABLE)

    with monkeypatch.context() as patched:
        patched.setattr(small.hub.store.entries, "hits_by_digests", away)
        answer = watched.see(NEAR)
        assert answer.unread is not None
        assert answer.unread.code == Reason.DATABASE_UNAVAILABLE
    assert watched.see(LISTED).verdict is Verdict.MATCH


def test_what_cannot_be_judged_again_is_unavailable(small: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(small)
    assert watched.see(LISTED).verdict is Verdict.MATCH
    small.contribute("hotline/set", listed(9), has_classifications=False)  # so that it is judged again

    def away(*_: object, **__: object) -> None:
        raise Unavailable("the database is away", reason=Reason.DATABASE_UNAVAILABLE)

    with monkeypatch.context() as patched:
        patched.setattr(small.hub.store.entries, "reviews_of", away)
        assert watched.see(OTHER).verdict is Verdict.UNAVAILABLE
    assert watched.see(OTHER).verdict is Verdict.MATCH


def test_the_caller_may_have_used_its_media_seconds_up(small: Desk) -> None:
    watched = Watched(small)

    def spent() -> None:
        raise Unavailable("no seconds left", reason=Reason.SHARE_EXCEEDED)

    answer = watched.picture(_png(), check_media=spent)
    assert (answer.verdict, answer.unread is not None and answer.unread.code) == (
        Verdict.UNAVAILABLE,
        Reason.SHARE_EXCEEDED,
    )


def test_pictures_are_hashed_and_charged(small: Desk) -> None:
    charged: list[float] = []
    watched = Watched(small)
    answer = watched.picture(_png(), charge_media=charged.append)
    assert (answer.verdict, answer.frames_hashed) == (Verdict.NO_MATCH, 1)
    assert answer.quality is not None
    assert answer.quality >= 50
    assert sum(charged) > 0


def test_a_stream_of_skipped_frames_alone_is_not_clean(small: Desk) -> None:
    watched = Watched(small)
    watched.stream.skip(5)
    last = watched.stream.end()
    assert last is not None
    assert (last.verdict, last.frames_skipped) == (Verdict.UNAVAILABLE, 5)


# Changes in the middle of a stream


def test_a_withdrawn_entry_is_shown_no_more(known: Desk) -> None:
    watched = Watched(known)
    (shown,) = watched.see(LISTED).ranges
    contributor, set_id, entry_id = shown.entry.split("/")
    known.hub.entries.withdraw(
        writer("hotline"), contributor, set_id, int(entry_id), WithdrawalReason.ERROR, "an error"
    )
    answer = watched.stream.look_again(PLATFORM)
    assert answer is not None
    assert (answer.verdict, answer.ranges) == (Verdict.NO_MATCH, ())
    assert watched.see(LISTED).verdict is Verdict.NO_MATCH


def test_terms_that_change_hold_in_the_middle_of_a_stream(small: Desk) -> None:
    watched = Watched(small)
    assert watched.see(LISTED).verdict is Verdict.MATCH
    small.hub.hash_sets.update(writer("hotline"), _hidden(small), ("marking",))
    answer = watched.see(OTHER)
    assert answer.verdict is Verdict.NO_MATCH
    assert "hotline" not in str(answer)


def _hidden(desk: Desk) -> Any:
    (name,) = (h for h in desk.hub.hash_sets.list(OPERATOR, "hotline", 10, "")[0] if h.id == "set")
    return msgspec.structs.replace(name, marking=Marking(tlp=TLP.RED, recipients=("contributors/hotline",)))


def test_an_entry_that_the_caller_may_not_see_leaves_no_trace(small: Desk) -> None:
    small.hash_set("secret/set", marking=Marking(tlp=TLP.RED, recipients=("contributors/secret",)))
    small.contribute("secret/set", listed(5), has_classifications=False)
    hidden = Watched(small)
    nothing = Watched(small)
    for _ in range(5):
        assert hidden.see(digest("PDQ", 5)) == nothing.see(digest("PDQ", 6))
    assert Watched(small, who=writer("secret")).see(digest("PDQ", 5)).verdict is Verdict.MATCH


def test_that_something_is_known_is_told_once_it_lasts(small: Desk) -> None:
    small.hash_set(
        "secret/set", marking=Marking(tlp=TLP.RED, recipients=("contributors/secret",), disclose_existence=True)
    )
    small.contribute("secret/set", listed(5), has_classifications=False)
    watched = Watched(small)
    first = watched.see(digest("PDQ", 5))
    assert (first.verdict, first.hit_count) == (Verdict.NO_MATCH, 0)
    second = watched.see(digest("PDQ", 5))
    assert second.verdict is Verdict.REVIEW
    assert second.result is not None
    assert (second.result.withheld, second.result.matches, second.ranges) == (True, (), ())


def test_a_policy_that_is_retired_ends_the_stream(small: Desk) -> None:
    small.hub.policies.put(OPERATOR, text())
    own = next(v for v in small.hub.policies.currents(OPERATOR) if not v.is_from_file)
    watched = Watched(small, policy=own.full_name)
    watched.see(OTHER)
    small.hub.policies.retire(OPERATOR, own.full_name)
    small.hub.catalogue.now()  # as a poll does, soon
    with pytest.raises(InvalidArgument, match="retired"):
        watched.see(OTHER)


def test_roles(small: Desk) -> None:
    with pytest.raises(PermissionDenied):
        Watched(small, who=AUDITOR)
    watched = Watched(small)
    watched.who = Principal(name="platform", role=Role.AUDITOR)
    with pytest.raises(PermissionDenied):
        watched.see(OTHER)


# Adversaries and bounds


def test_a_flood_of_entries_near_a_frame_is_bounded_and_never_clean(small: Desk) -> None:
    flood = [Record(position=f"line {n}", hashes=(near_number(n),)) for n in range(HITS + 50)]
    small.hash_set("flood/set", purpose=Purpose.TEST)
    small.contribute("flood/set", *flood, has_classifications=False)
    watched = Watched(small)
    for _ in range(3):
        answer = watched.see(LISTED)
    assert answer.hit_count <= HITS
    assert answer.verdict is Verdict.MATCH  # another contributor's flood does not push it out
    assert len(watched.stream.nearest) <= 2 * HITS


def near_number(n: int) -> Hash:
    value = int.from_bytes(LISTED.digest) ^ (n + 1)
    return Hash("PDQ", value.to_bytes(32))


def test_frames_are_nobodys_traffic(small: Desk) -> None:
    """An abuser who streams something known for hours must not make the platform's circuit breaker trip."""
    watched = Watched(small)
    for n in range(1_300):
        watched.see(near_number(n))
    assert not small.hub.matcher.status().tripped
    assert small.match(near(LISTED, 12)).verdict is Verdict.MATCH


def test_changes_only_answers_changes_and_now_and_then(small: Desk) -> None:
    stream = small.hub.live.open(PLATFORM, LiveOptions(match=MatchOptions(policy="any"), changes_only=True))
    answers = [
        stream.frame(PLATFORM, VideoFrame(second * 1000, 100, (NEAR if second == 30 else OTHER).digest))
        for second in range(41)
    ]
    assert [n for n, a in enumerate(answers) if a is not None] == [0, 10, 20, 30, 40]
    stream.skip(1)
    last = stream.end()
    assert last is not None
    assert (last.frames_hashed, last.frames_skipped) == (41, 1)
    assert stream.end() is None


@pytest.mark.parametrize(
    "options",
    [{"match": MatchOptions(policy="nonsense")}, {"match": MatchOptions(policy="any", max_distances={"PDQ": 257})}],
)
def test_options_are_checked_when_a_stream_is_opened(small: Desk, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        Watched(small, **options)


@pytest.mark.parametrize("rate", [0.0, -1.0, 61.0, float("nan")])
def test_the_announced_rate_has_bounds(rate: float) -> None:
    with pytest.raises(InvalidArgument):
        LiveOptions(match=MatchOptions(policy="any"), frames_per_second=rate)


def _png() -> bytes:
    buffer = io.BytesIO()
    image: Image.Image = picture(3, (128, 96))
    image.save(buffer, "PNG")
    return buffer.getvalue()


def test_it_goes_on_where_the_matcher_was_restarted(open_hub: Open) -> None:
    """A stream does not outlive its process; the next one begins anew and finds the same."""
    desk = Desk(open_hub())
    desk.hash_set("hotline/set")
    desk.contribute("hotline/set", listed(1), has_classifications=False)
    assert Watched(desk).see(LISTED).verdict is Verdict.MATCH
    desk.hub.close()
    again = Desk(open_hub())
    assert Watched(again).see(LISTED).verdict is Verdict.MATCH
