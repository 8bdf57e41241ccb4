"""What may be asked of hash sets that are closed to a token, what answers tell of them, and that it is counted."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hashhub.config import Config
from hashhub.errors import InvalidArgument, PermissionDenied, Reason
from hashhub.hashes import SEARCHED, Hash
from hashhub.hub import Hub
from hashhub.model import (
    TLP,
    HashSet,
    LiveOptions,
    Marking,
    MatchOptions,
    Principal,
    Query,
    Role,
    VariantHashes,
    Verdict,
    VideoFrame,
)
from tests.hub.conftest import AUDITOR, OPERATOR, PLATFORM, Desk, Open, digest, item, near, writer

CLOSED = Marking(tlp=TLP.AMBER_STRICT)
Ask = Callable[[Desk, Principal, dict[str, int]], Any]


def _hashes(desk: Desk, who: Principal, distances: dict[str, int]) -> object:
    return desk.match(digest("PDQ", 1), who=who, max_distances=distances)


def _explain(desk: Desk, who: Principal, distances: dict[str, int]) -> object:
    options = MatchOptions(policy="any", max_distances=distances)
    return desk.hub.policies.explain(who, Query(hashes=(digest("PDQ", 1),)), options)


def _live(desk: Desk, who: Principal, distances: dict[str, int]) -> object:
    options = LiveOptions(match=MatchOptions(policy="any", max_distances=distances), frames_per_second=1.0)
    return desk.hub.live.open(who, options).frame(who, VideoFrame(0, 100, digest("PDQ", 1).digest))


WAYS: list[Ask] = [_hashes, _explain, _live]


@pytest.mark.parametrize("ask", WAYS)
@pytest.mark.parametrize("disclosed", [False, True])
def test_beyond_the_usual_distance_a_closed_hash_set_is_not_asked_about(desk: Desk, ask: Ask, disclosed: bool) -> None:
    """Not of a set that answers show, nor of one of which they tell only that something is known: how far away that is
    would tell the digest, bit by bit.
    """
    marking = Marking(tlp=TLP.RED, recipients=("contributors/other",), disclose_existence=True) if disclosed else CLOSED
    desk.hash_set("nl/known", marking=marking)
    desk.contribute("nl/known", item(1, algorithms=("PDQ",)))
    ask(desk, PLATFORM, {"PDQ": 31, "VPDQ": 31, "PHASH": 10})
    for name, most in (("PDQ", 31), ("VPDQ", 31), ("PHASH", 10), ("DHASH", 10), ("PHOTODNA", 0)):
        with pytest.raises(PermissionDenied) as refused:
            ask(desk, PLATFORM, {name: most + 1})
        assert refused.value.reason is Reason.DISTANCE_NOT_ALLOWED
        assert f"options.max_distances[{name}] must be at most {most}" in refused.value.message
    for who in (OPERATOR, writer("nl"), *([AUDITOR] if ask is _explain else [])):
        ask(desk, who, {name: of.max_possible_distance for name, of in SEARCHED.items()})


def test_of_lists_that_are_open_any_distance_may_be_asked(desk: Desk) -> None:
    """And of hash sets that the caller knows nothing of: a refusal would tell that they are there."""
    desk.hash_set("nl/open", marking=Marking(bulk=True))
    desk.hash_set("nl/hidden", marking=Marking(tlp=TLP.RED, recipients=("contributors/other",)))
    desk.contribute("nl/open", item(1, algorithms=("PDQ", "MD5")))
    (match,) = desk.match(digest("PDQ", 2), max_distances={"PDQ": 256}).matches
    assert len(match.entry.hashes) == 2
    desk.hash_set("nl/closed")
    with pytest.raises(PermissionDenied):
        desk.match(digest("PDQ", 2), max_distances={"PDQ": 256})


def test_terms_can_allow_more_and_all_of_them_must(desk: Desk) -> None:
    desk.hash_set("nl/known", marking=Marking(max_distances={"PDQ": 60, "PHOTODNA": 9}))
    desk.contribute("nl/known", item(1, algorithms=("PDQ",)))
    assert desk.match(near(digest("PDQ", 1), 60), max_distances={"PDQ": 60}).verdict is Verdict.MATCH
    desk.match(digest("PDQ", 1), max_distances={"PHOTODNA": 9})
    with pytest.raises(PermissionDenied, match="at most 60"):
        desk.match(digest("PDQ", 1), max_distances={"PDQ": 61})
    desk.hash_set("de/known", marking=Marking(max_distances={"PDQ": 40}))
    with pytest.raises(PermissionDenied, match="at most 40"):
        desk.match(digest("PDQ", 1), max_distances={"PDQ": 60})
    desk.hub.hash_sets.update(
        writer("de"), HashSet(contributor="de", id="known", marking=Marking(bulk=True)), ["marking"]
    )
    desk.match(digest("PDQ", 1), max_distances={"PDQ": 60})


@pytest.mark.parametrize("wrong", [{"PDQ": 30}, {"PDQ": 257}, {"MD5": 1}, {"PHOTODNA": -1}, {"XYZ": 40}])
def test_terms_cannot_refuse_what_everybody_may_ask(wrong: dict[str, int]) -> None:
    with pytest.raises(InvalidArgument, match="max_distances"):
        Marking(max_distances=wrong)


def test_the_distance_of_photodna_is_a_setting(open_hub: Open) -> None:
    desk = Desk(open_hub(max_photodna_distance=5))
    desk.hash_set("nl/known")
    desk.match(digest("MD5", 1), max_distances={"PHOTODNA": 5})
    with pytest.raises(PermissionDenied, match="max_photodna_distance"):
        desk.match(digest("MD5", 1), max_distances={"PHOTODNA": 6})


def test_an_answer_gives_no_digest_of_a_closed_list_but_those_asked_about(desk: Desk) -> None:
    desk.hash_set("nl/known")
    record = item(1, algorithms=("MD5", "SHA256", "PDQ"))
    desk.contribute("nl/known", record)

    def told(*hashes: Hash, who: Principal = PLATFORM, variants: tuple[VariantHashes, ...] = ()) -> set[Hash]:
        query = Query(hashes=hashes, variants=variants)
        ((result,), _) = desk.hub.match.hashes(who, [query], MatchOptions(policy="any"))
        return set(result.matches[0].entry.hashes)

    md5, sha256, pdq = record.hashes
    assert told(near(pdq, 3)) == set()
    assert told(pdq) == {pdq}
    assert told(near(pdq, 3), md5) == {md5}
    assert told(near(pdq, 40), variants=(VariantHashes("border-removed", (pdq,)),)) == {pdq}
    for who in (OPERATOR, writer("nl")):
        assert told(near(pdq, 3), who=who) == {md5, sha256, pdq}
    desk.hub.hash_sets.update(
        writer("nl"), HashSet(contributor="nl", id="known", marking=Marking(bulk=True)), ["marking.bulk"]
    )
    assert told(near(pdq, 3)) == {md5, sha256, pdq}


def test_how_much_a_token_learns_is_counted_and_told(
    database: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Once for each entry, of closed sets only, by matches and by reasons; and it survives a restart."""
    is_url = "://" in database
    config = Config(
        data=str(tmp_path / "hub") if is_url else database, database=database if is_url else "", learned_alarm=5
    )
    with Hub.open(config) as hub:
        hub.start()
        desk = Desk(hub)
        curious = Principal(name="curious", role=Role.CONSUMER, contributor=desk.contributor("platform"))
        desk.hub.tokens.create(OPERATOR, curious)
        for name, marking in (("nl/known", Marking()), ("nl/open", Marking(bulk=True))):
            desk.hash_set(name, marking=marking)
            desk.contribute(name, *(item(n) for n in range(20)))
        who = Principal(name="curious", role=Role.CONSUMER)
        for n in (1, 1, 2, 3, 4):
            desk.match(digest("MD5", n), who=who)
            desk.match(digest("MD5", n), who=OPERATOR)
        desk.hub.learned.write()
        assert desk.hub.learned.counts() == {"curious": 4}
        assert not [w for w in desk.hub.status(OPERATOR).warnings if "curious" in w]
    with Hub.open(config) as hub:
        hub.start()
        desk = Desk(hub)
        options = MatchOptions(policy="any", match_limit=1)
        desk.hub.policies.explain(who, Query(hashes=(digest("MD5", 5),)), options)
        with caplog.at_level(logging.WARNING):
            desk.hub.learned.write()
        assert desk.hub.learned.counts() == {"curious": 5}
        (warning,) = (w for w in desk.hub.status(OPERATOR).warnings if "curious" in w)
        assert "5 entries" in warning
        assert len([r for r in caplog.records if "curious" in r.getMessage()]) == 1
        desk.hub.tokens.delete(OPERATOR, "curious")
        assert not [w for w in desk.hub.status(OPERATOR).warnings if "curious" in w]


def test_a_count_is_bounded_in_memory_and_close_beyond(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hashhub.hub.match.MOST_UNWRITTEN", 3_000)
    desk.hash_set("nl/known")
    desk.hub.store.resources.registry()  # what an answer has read
    for start in range(0, 20_000, 1_000):
        desk.hub.learned.note(PLATFORM, [f"nl/known/{n}" for n in range(start, start + 1_000)])
        desk.hub.learned.write()
    assert desk.hub.learned.counts()["platform"] == pytest.approx(20_000, rel=0.15)
    (row,) = desk.hub.store.database.fetch("SELECT length(smallest) FROM learned")
    assert row[0] == 8 * 1_024


def test_what_waits_to_be_written_is_bounded(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hashhub.hub.match.MOST_UNWRITTEN", 3_000)
    desk.hash_set("nl/known")
    desk.hub.store.resources.registry()  # what an answer has read
    for start in range(0, 10_000, 1_000):
        desk.hub.learned.note(PLATFORM, [f"nl/known/{n}" for n in range(start, start + 1_000)])
    desk.hub.learned.write()
    assert desk.hub.learned.counts()["platform"] == pytest.approx(3_000, rel=0.15)
