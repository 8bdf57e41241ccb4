"""Who walks towards a listed digest is noticed, and told no more; what goes round at a busy platform is not a walk."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from random import Random

import pytest

from hashhub.errors import LimitExceeded, Reason
from hashhub.hashes import Hash
from hashhub.hashing import hash_media
from hashhub.matcher import CircuitBreaker
from hashhub.model import Marking, MatchOptions, MatchResult, Principal, Query, Record, Role, Verdict
from hashhub.testing.pictures import picture
from tests.hub.conftest import OPERATOR, PLATFORM, Desk, digest, item, near, writer

sys.path.insert(0, str(Path(__file__).parents[2]))
from bench import oracle

ANY = MatchOptions(policy="any")


def codes(result: MatchResult) -> set[str]:
    return {line.code for line in result.reasons}


def flipped(h: Hash, *bits: int) -> Hash:
    value = int.from_bytes(h.digest)
    for bit in bits:
        value ^= 1 << bit
    return Hash(h.algorithm, value.to_bytes(len(h.digest)))


@pytest.mark.parametrize("attack", oracle.ATTACKS)
def test_a_walk_learns_a_fraction_of_a_digest(attack: str) -> None:
    before, after = (oracle.attack(attack, alarm) for alarm in (0, 32))
    assert before["bits learned"] == 256
    assert after["bits learned"] <= 64  # type: ignore[operator]


@pytest.fixture
def closed(desk: Desk) -> Desk:
    desk.hash_set("nl/known")
    desk.contribute("nl/known", item(1, algorithms=("PDQ", "MD5")), item(2, algorithms=("PDQ",)))
    return desk


def walk(desk: Desk, who: Principal) -> list[MatchResult]:
    """Ask at the edge, bit by bit; return the answers."""
    edge = near(digest("PDQ", 1), 31)
    return [desk.match(flipped(edge, bit), who=who) for bit in range(150)]


def test_of_a_walk_nothing_more_is_told_and_everybody_else_is_answered_as_ever(closed: Desk) -> None:
    told = walk(closed, PLATFORM)
    late = told[100:]
    assert {(r.verdict, r.matches, r.withheld, r.truncated) for r in late} == {(Verdict.REVIEW, (), True, True)}
    assert {frozenset(codes(r)) for r in late} == {frozenset({"NEAR_VARIANTS"})}
    assert not any(line.entries for r in late for line in r.reasons)
    (warning,) = [w for w in closed.hub.status(OPERATOR).warnings if "near_variants_alarm" in w]
    assert "token platform" in warning
    # The very file, the very digest, other pictures, and other tokens.
    assert closed.match(digest("MD5", 1)).verdict is Verdict.MATCH
    assert closed.match(digest("PDQ", 1)).verdict is Verdict.MATCH
    assert closed.match(near(digest("PDQ", 2), 20)).matches
    assert closed.match(digest("PDQ", 3)).verdict is Verdict.NO_MATCH
    other = Principal(name="other", role=Role.CONSUMER)
    assert closed.match(near(digest("PDQ", 1), 20), who=other).matches[0].distance == 20
    with pytest.raises(LimitExceeded) as e:
        closed.hub.policies.explain(PLATFORM, Query(hashes=(near(digest("PDQ", 1), 20),)), ANY)
    assert e.value.reason == Reason.SHARE_EXCEEDED


def test_who_may_list_may_ask(closed: Desk) -> None:
    for who in (writer("nl"), OPERATOR):
        assert not any(codes(r) & {"NEAR_VARIANTS", "DISTANCE_WITHHELD"} for r in walk(closed, who))
    closed.hash_set("nl/open", marking=Marking(bulk=True))
    closed.contribute("nl/open", item(9, algorithms=("PDQ",)))
    edge = near(digest("PDQ", 9), 31)
    assert not any("NEAR_VARIANTS" in codes(closed.match(flipped(edge, bit))) for bit in range(150))


def test_a_picture_that_goes_round_is_answered_ten_thousand_times(closed: Desk) -> None:
    """Its verdict, its entry and its contributor each time, though some edits are too heavy to be hit."""
    closed.hub.matcher.breaker.__init__(CircuitBreaker(min_hits=100_000))  # type: ignore[misc] # it has other uploads
    random = Random("meme")
    weak = random.sample(range(256), 120)  # bits that encoders turn; most turn few
    hits = 0
    for _ in range(10):
        several = [
            flipped(digest("PDQ", 1), *random.sample(weak, min(random.randrange(1, 26), random.randrange(1, 32))))
            for _ in range(990)
        ] + [flipped(digest("PDQ", 1), *random.sample(weak, random.randrange(32, 45))) for _ in range(10)]
        answers, _ = closed.hub.match.hashes(PLATFORM, [Query(hashes=(h,)) for h in several], ANY)
        hits += sum(r.verdict is Verdict.MATCH and r.matches[0].entry.contributor == "nl" for r in answers)
        assert {r.verdict for r in answers[990:]} == {Verdict.NO_MATCH}
    assert hits == 9_900
    assert not [w for w in closed.hub.status(OPERATOR).warnings if "near_variants_alarm" in w]


def test_what_encoders_make_of_a_picture_is_no_walk(desk: Desk) -> None:
    drawn = picture(5)

    def hashed(quality: int, size: tuple[int, int]) -> Hash:
        stream = io.BytesIO()
        drawn.resize(size).save(stream, "JPEG", quality=quality)
        return next(h for h in hash_media(stream.getvalue(), algorithms=["PDQ"]).hashes if h.algorithm == "PDQ")

    desk.hash_set("nl/known")
    desk.contribute("nl/known", Record(position="1", hashes=(hashed(95, drawn.size),)))
    variants = {hashed(q, (w, w * 3 // 4)) for q in range(5, 95, 6) for w in (160, 230, 301, 512, 700)}
    assert len(variants) > 30
    for variant in variants:
        result = desk.match(variant)
        assert result.verdict is Verdict.MATCH
        assert result.matches


def test_a_distance_that_is_not_told_is_the_largest_searched(closed: Desk) -> None:
    base = near(digest("PDQ", 1), 10)
    answers = [closed.match(flipped(base, bit), max_distances={"PDQ": 28}) for bit in range(60)]
    assert {m.distance for r in answers[:30] for m in r.matches} <= {9, 11}
    assert {m.distance for r in answers[40:] for m in r.matches} == {28}
    assert all(r.verdict is Verdict.MATCH and "DISTANCE_WITHHELD" in codes(r) for r in answers[40:])
    assert closed.match(digest("PDQ", 1)).matches[0].distance == 0


def test_what_is_watched_is_bounded(closed: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hashhub.hub.digest_walks.MOST_ENTRIES", 4)
    monkeypatch.setattr("hashhub.hub.digest_walks.MOST_TOKENS", 3)
    guard, base = closed.hub.match.walks, digest("PDQ", 1)

    def ask(token: str, entry: int, asked: Hash) -> frozenset[str]:
        who = Principal(name=token, role=Role.CONSUMER)
        return guard.note(who, Query(hashes=(asked,)), [(f"nl/known/{entry}", "PDQ", 3, asked.digest)])[0]

    assert [ask("first", 1, flipped(base, bit)) for bit in range(40)][-1] == {"nl/known/1"}
    for entry in range(2, 11):
        ask("first", entry, digest("PDQ", entry))
    assert ask("first", 1, base) == {"nl/known/1"}, "what is asked about most is watched on"
    for token in ("second", "third", "fourth"):
        ask(token, 1, base)
    assert ask("first", 1, base) == frozenset(), "who asked longest ago is forgotten first"
