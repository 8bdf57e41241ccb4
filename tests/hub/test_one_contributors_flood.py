"""However often somebody lists a digest, or others around it: what is read for one question is bounded by contributor,
and what its caller may not see is not read at all.
"""

from __future__ import annotations

import itertools
from random import Random
from typing import Any

import msgspec
import pytest

from hashhub.answering.lookup import ENDS, OF_CONTRIBUTOR
from hashhub.hashes import Hash
from hashhub.hub import playback
from hashhub.hygiene import Code
from hashhub.model import TLP, Disposition, Marking, Purpose, Record, Verdict, VideoFrame
from hashhub.store.entries import EntryTable
from tests.hub.conftest import OPERATOR, Desk, digest, item, near, writer
from tests.hub.test_live_videos import Watched
from tests.hub.test_videos import noisy, picture, video

MANY = 400
RED = Marking(tlp=TLP.RED, recipients=("contributors/flooder",))
FILE, PICTURE = digest("MD5", 1), digest("PDQ", 1)


@pytest.fixture
def crowd(any_desk: Desk) -> Desk:
    desk = any_desk
    for name, reliability in (("hotline", "A"), ("second", "B"), ("flooder", "F")):
        desk.contributor(name, reliability=reliability)
        desk.hash_set(f"{name}/list")
    for name in ("hotline", "second"):
        desk.contribute(f"{name}/list", item(1, hashes=(FILE,)), item(2, hashes=(PICTURE,)))
    return desk


def flood_file(desk: Desk, name: str, count: int = MANY) -> Any:
    return desk.contribute(name, *[item(i, hashes=(FILE,), external_id=f"x{i}") for i in range(count)])


def around(h: Hash, count: int, bits: int = 11) -> list[Hash]:
    random, value = Random(h.digest), int.from_bytes(h.digest)
    flips = {sum(1 << b for b in random.sample(range(256), random.randint(1, bits))) for _ in range(2 * count)}
    return [Hash(h.algorithm, (value ^ flip).to_bytes(len(h.digest))) for flip in sorted(flips)[:count]]


def flood_picture(desk: Desk, name: str, query: Hash, count: int = MANY) -> None:
    desk.contribute(name, *[item(i, hashes=(h,), external_id=f"p{i}") for i, h in enumerate(around(query, count))])


@pytest.fixture
def rows_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The set keys of all rows that are read to tell who has a digest."""
    read: list[int] = []
    ends = EntryTable.ends

    def noted(*arguments: Any, **named: Any) -> Any:
        rows = ends(*arguments, **named)
        read.extend(row[0] >> 32 for row in rows)
        return rows

    monkeypatch.setattr(EntryTable, "ends", noted)
    return read


def test_what_the_caller_may_not_see_is_not_read(crowd: Desk, rows_read: list[int]) -> None:
    crowd.hash_set("flooder/red", marking=RED)
    before = crowd.match(FILE, policy="block"), crowd.match(near(PICTURE, 20), policy="block")
    rows_read.clear()
    flood_file(crowd, "flooder/red")
    flood_picture(crowd, "flooder/red", near(PICTURE, 20))
    after = crowd.match(FILE, policy="block"), crowd.match(near(PICTURE, 20), policy="block")
    assert after == before
    assert [x.verdict for x in after] == [Verdict.MATCH] * 2
    assert len(rows_read) == 4
    assert crowd.match(FILE, who=writer("flooder")).truncated, "it sees its own"


@pytest.mark.parametrize(("database", "sets"), [("sqlite", 1), ("sqlite", 5), ("postgresql", 5)], indirect=["database"])
@pytest.mark.parametrize("purpose", [Purpose.CSAM, Purpose.BENIGN, Purpose.TEST])
def test_what_is_seen_is_read_in_part_however_many_hash_sets_it_is_in(
    crowd: Desk, rows_read: list[int], sets: int, purpose: Purpose
) -> None:
    for i in range(sets):
        crowd.hash_set(f"flooder/flood{i}", purpose=purpose)
        flood_file(crowd, f"flooder/flood{i}", MANY // sets)
        flood_picture(crowd, f"flooder/flood{i}", near(PICTURE, 20), 2 * OF_CONTRIBUTOR // sets + 7 * i)
    for policy in ("any", "block"):
        rows_read.clear()
        exact = crowd.match(FILE, policy=policy)
        assert (exact.verdict, exact.truncated) == (Verdict.MATCH, True)
        assert len(rows_read) <= 2 + 2 * ENDS
        rows_read.clear()
        close = crowd.match(near(PICTURE, 20), policy=policy)
        assert (close.verdict, close.truncated) == (Verdict.MATCH, True)
        assert len(rows_read) <= 2 + OF_CONTRIBUTOR * sets
        for answer in (exact, close):
            assert {m.entry.contributor for m in answer.matches} == {"hotline", "second", "flooder"}
        named = [{e.split("/")[0] for e in answer.reasons[0].entries} for answer in (exact, close)]
        assert all({"hotline", "second"} <= names for names in named) or policy == "any"


def test_what_one_states_first_and_last_is_judged_and_the_same_each_time(any_desk: Desk) -> None:
    desk = any_desk
    desk.hash_set("hotline/list")
    flood_file(desk, "hotline/list", 3 * ENDS)
    first = desk.match(FILE)
    ids = [e.id for e in desk.entries("hotline/list")]
    assert {m.entry.id for m in first.matches} == {*ids[:ENDS], *ids[-ENDS:]}
    assert first == desk.match(FILE)
    assert (first.verdict, first.truncated) == (Verdict.MATCH, True)


def test_a_benign_flood_clears_nothing_by_what_is_not_judged(any_desk: Desk) -> None:
    desk = any_desk
    desk.hash_set("hotline/benign", purpose=Purpose.BENIGN)
    flood_file(desk, "hotline/benign", 2 * ENDS - 1)
    desk.hub.hash_sets.accept(OPERATOR, "hotline", "benign", desk.hub.revision())
    assert desk.match(FILE).verdict is Verdict.BENIGN
    desk.contribute("hotline/benign", *[item(i, hashes=(FILE,), external_id=f"y{i}") for i in range(2)])
    desk.hub.hash_sets.accept(OPERATOR, "hotline", "benign", desk.hub.revision())
    cut = desk.match(FILE)
    assert (cut.verdict, cut.truncated) == (Verdict.REVIEW, True)


def test_entries_that_were_withdrawn_hide_none_that_stand(any_desk: Desk, rows_read: list[int]) -> None:
    """An item that is stated anew each week leaves a withdrawn entry each time."""
    desk = any_desk
    desk.hash_set("hotline/list")
    for week in range(4):
        desk.contribute("hotline/list", item(1, hashes=(FILE,), external_id="x", series=f"week {week}"))
    rows_read.clear()
    assert desk.match(FILE).verdict is Verdict.MATCH
    assert len(rows_read) == 4


def test_those_between_many_that_were_withdrawn_are_judged(any_desk: Desk) -> None:
    desk = any_desk
    desk.hash_set("hotline/list")
    flood_file(desk, "hotline/list", 3 * ENDS)
    middle = [item(i, hashes=(FILE,), external_id=f"x{i}") for i in range(ENDS, 2 * ENDS)]
    desk.contribute("hotline/list", *middle, replace=True, allow_shrinking=True)
    answer = desk.match(FILE)
    assert (answer.verdict, answer.truncated, len(answer.matches)) == (Verdict.MATCH, False, ENDS)
    assert desk.match(FILE, who=OPERATOR).verdict is Verdict.MATCH


def test_a_source_that_states_one_digest_too_often_is_told_and_kept(any_desk: Desk) -> None:
    desk = any_desk
    desk.hash_set("hotline/list")
    done = flood_file(desk, "hotline/list", 2 * ENDS)
    assert (done.counts.accepted, done.counts.noted) == (2 * ENDS, 0)
    others = [item(i, hashes=(digest("MD5", i),)) for i in range(5, 9)]
    repeated = [item(i, hashes=(digest("MD5", 2),), external_id=f"z{i}", position=f"row {i}") for i in range(MANY)]
    done = desk.contribute("hotline/list", *others, *repeated)
    assert (done.counts.items, done.counts.accepted, done.counts.noted) == (MANY + 4, MANY + 4, 1)
    [line] = desk.report(done)
    assert (line.disposition, line.reason, line.position) == (
        Disposition.NOTED, Code.REPEATED_DIGEST, f"row {2 * ENDS}"
    )  # fmt: skip
    assert str(MANY - 2 * ENDS - 1) in line.detail


def planted(scene: int, at: int, count: int) -> Record:
    """A video whose frames are nearer to a stream's frame than what is listed of the scene, and come before it."""
    shown, target = noisy(picture(scene), 12, at), picture(scene)
    nearer = (noisy(shown, 1 + n % 10, n) for n in range(10 * count))
    before = itertools.islice(dict.fromkeys(d for d in nearer if d < target), count)
    frames = tuple(VideoFrame(1000 * n, 90, d) for n, d in enumerate(before))
    return Record(position=f"scene {scene}", external_id=f"scene {scene}", frames=frames)


@pytest.mark.parametrize("is_seen", [True, False])
def test_a_live_stream_is_answered_as_without_a_flood_around_its_frames(
    crowd: Desk, rows_read: list[int], monkeypatch: pytest.MonkeyPatch, is_seen: bool
) -> None:
    monkeypatch.setattr(playback, "MOST_ROWS", 100)
    crowd.contribute("hotline/list", Record(position="v", external_id="v", frames=video(range(60))))
    crowd.hash_set("flooder/flood", purpose=Purpose.TEST, marking=Marking() if is_seen else RED)
    copies = 4 if is_seen else 1
    flood = [planted(20 + n, 1000 * n, 150) for n in range(12)]
    for copy in range(copies):
        again = [msgspec.structs.replace(r, external_id=f"{r.external_id} {copy}") for r in flood]
        crowd.contribute("flooder/flood", *again)
    watched = Watched(crowd)
    rows_read.clear()
    answer = watched.play(range(20, 32))[-1]
    assert answer.verdict is Verdict.MATCH
    assert [r.entry.split("/")[0] for r in answer.ranges if r.video].count("hotline") == 1
    own = crowd.entries("hotline/list")[-1].id >> 32
    assert len(rows_read) <= 12 * (2 * 150 * 4 + 10)
    assert is_seen or set(rows_read) == {own}
