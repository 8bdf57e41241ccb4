"""What the caller may not see counts towards no limit and shows in no answer; floods push nobody out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from hashhub.answering import lookup
from hashhub.config import Config
from hashhub.hashes import Hash
from hashhub.hub import Hub
from hashhub.matcher import CircuitBreaker
from hashhub.model import (
    TLP,
    Marking,
    MatchOptions,
    MatchResult,
    Principal,
    Purpose,
    Query,
    Record,
    ReviewKind,
    Role,
    Verdict,
)
from tests.hub.conftest import OPERATOR, PLATFORM, Desk, digest, item, near, writer

HIDDEN = Marking(tlp=TLP.RED, recipients=("contributors/nobody-else",))


def neighbours(h: Hash, count: int, bits: int, seed: int = 0) -> list[Hash]:
    """So many different hashes at exactly this distance."""
    rng = Random(f"{seed}")
    value = int.from_bytes(h.digest)
    distinct: set[int] = set()
    while len(distinct) < count:
        distinct.add(value ^ sum(1 << bit for bit in rng.sample(range(256), bits)))
    return [Hash(h.algorithm, n.to_bytes(len(h.digest))) for n in sorted(distinct)]


def flood(desk: Desk, name: str, hashes: list[Hash]) -> None:
    desk.contribute(name, *(item(i, hashes=(h,)) for i, h in enumerate(hashes)), batch=2000)


@pytest.fixture
def listed(desk: Desk) -> Desk:
    """Two hotlines list a picture; an upload of it, re-encoded, is 20 bits away."""
    for name in ("alpha", "beta"):
        desk.hash_set(f"{name}/list")
        desk.contribute(f"{name}/list", item(1, algorithms=("PDQ", "MD5")))
    desk.contributor("nobody-else")
    desk.contributor("hostile", reliability="F")
    return desk


UPLOAD = near(digest("PDQ", 1), 20)


class TestFloods:
    @pytest.mark.parametrize("count", [1_001, 15_000])
    def test_hidden_digests_nearer_than_the_listed_one_change_nothing(self, listed: Desk, count: int) -> None:
        before = [listed.match(UPLOAD, policy=p) for p in ("any", "block")]
        listed.hash_set("hostile/red", marking=HIDDEN)
        flood(listed, "hostile/red", neighbours(UPLOAD, count, 3))
        after = [listed.match(UPLOAD, policy=p) for p in ("any", "block")]
        assert after == before
        assert [x.verdict for x in after] == [Verdict.MATCH, Verdict.MATCH]
        assert not after[0].truncated
        assert len(listed.match(UPLOAD, who=writer("hostile")).matches) == 100, "its contributor sees them"

    def test_hidden_benign_ones_neither(self, listed: Desk) -> None:
        before = listed.match(UPLOAD, policy="block")
        listed.hash_set("hostile/red", marking=HIDDEN, purpose=Purpose.BENIGN)
        flood(listed, "hostile/red", neighbours(UPLOAD, 1_001, 3))
        assert listed.match(UPLOAD, policy="block") == before

    def test_5000_visible_ones_push_nobody_out(self, listed: Desk) -> None:
        listed.hash_set("hostile/list")
        flood(listed, "hostile/list", neighbours(UPLOAD, 5_000, 3))
        answer = listed.match(UPLOAD, policy="block")
        assert (answer.verdict, answer.truncated, len(answer.matches)) == (Verdict.MATCH, True, 100)
        assert "JUDGEMENT_CUT_SHORT" in {r.code for r in answer.reasons}
        assert answer.reasons[0].entries == tuple(
            e.name for name in ("alpha/list", "beta/list") for e in listed.entries(name)
        )
        assert max(len(r.entries) for r in answer.reasons) == 1_000, "a reason is no longer than an answer"

    def test_thousands_of_entries_on_one_digest(self, listed: Desk) -> None:
        listed.hash_set("hostile/list")
        many = (item(1, external_id=f"x{i}", position=f"line {i}", algorithms=("MD5",)) for i in range(12_000))
        listed.contribute("hostile/list", *many, batch=2000)
        answer = listed.match(digest("MD5", 1), policy="block")
        assert (answer.verdict, answer.truncated) == (Verdict.MATCH, True)
        assert listed.match(digest("MD5", 1), policy="block", match_limit=3).verdict is Verdict.MATCH

    def test_a_judgement_cut_short_is_fair_and_never_clean(self, listed: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(lookup, "MAX_JUDGED", 50)
        listed.hash_set("hostile/list")
        flood(listed, "hostile/list", neighbours(UPLOAD, 300, 3))
        listed.hash_set("hostile/good", purpose=Purpose.BENIGN)
        accepted = neighbours(digest("PDQ", 9), 300, 3)
        flood(listed, "hostile/good", accepted)
        listed.hub.hash_sets.accept(OPERATOR, "hostile", "good", listed.hub.revision())
        answer = listed.match(UPLOAD, policy="block")
        assert (answer.verdict, answer.truncated) == (Verdict.MATCH, True)
        assert "JUDGEMENT_CUT_SHORT" in {r.code for r in answer.reasons}
        benign = listed.match(digest("PDQ", 9), policy="block")
        assert (benign.verdict, benign.reasons[0].code) == (Verdict.REVIEW, "JUDGEMENT_CUT_SHORT")
        assert listed.match(accepted[0], policy="block", max_distances={"PDQ": 0}).verdict is Verdict.BENIGN

    def test_a_search_that_takes_too_long_is_never_clean(self, listed: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        listed.hash_set("hostile/good", purpose=Purpose.BENIGN)
        flood(listed, "hostile/good", neighbours(UPLOAD, 5, 3))
        listed.hub.hash_sets.accept(OPERATOR, "hostile", "good", listed.hub.revision())
        monkeypatch.setattr(lookup, "SECONDS", -1.0)
        monkeypatch.setattr(lookup, "LOOKED_UP", 5)
        answer = listed.match(UPLOAD, policy="block")
        assert (answer.verdict, answer.truncated, len(answer.matches)) == (Verdict.REVIEW, True, 5)
        assert "JUDGEMENT_CUT_SHORT" in {r.code for r in answer.reasons}
        assert listed.match(digest("PDQ", 1), max_distances={"PDQ": 0}).verdict is Verdict.MATCH


class TestHostile:
    """The findings of issue 6, as they must end."""

    @pytest.mark.parametrize("policy", ["any", "block"])
    def test_a_benign_set_silences_nobody(self, listed: Desk, policy: str) -> None:
        listed.hash_set("hostile/good", purpose=Purpose.BENIGN)
        listed.contribute("hostile/good", item(1, algorithms=("PDQ", "MD5")))
        for code in ("DOUBT_NOT_ACCEPTED", "DOUBT_LESS_RELIABLE"):
            answer = listed.match(digest("MD5", 1), policy=policy)
            assert answer.verdict is Verdict.MATCH
            assert (code, "BENIGN_SET") in {(r.code, r.clause) for r in answer.reasons}
            listed.hub.hash_sets.accept(OPERATOR, "hostile", "good", listed.hub.revision())

    def test_a_near_benign_picture_does_not_turn_an_exact_match(self, listed: Desk) -> None:
        listed.hash_set("good/list", purpose=Purpose.BENIGN)
        listed.contribute("good/list", item(7, hashes=(near(digest("PDQ", 1), 30),)))
        listed.hub.hash_sets.accept(OPERATOR, "good", "list", listed.hub.revision())
        both = listed.match(digest("MD5", 1), digest("PDQ", 1), policy="block")
        assert both.verdict is Verdict.MATCH
        assert "DOUBT_LESS_CLOSE" in {r.code for r in both.reasons}
        assert listed.match(near(digest("PDQ", 1), 30), policy="block").verdict is Verdict.REVIEW

    def test_two_of_reliability_f_corroborate_nothing(self, desk: Desk) -> None:
        for name in ("one", "two", "three"):
            desk.contributor(name, reliability="F")
            desk.hash_set(f"{name}/list")
            desk.contribute(f"{name}/list", item(1))
        assert desk.verdict(1, policy="block") is Verdict.REVIEW

    def test_an_objection_of_somebody_who_does_not_count_is_told(self, listed: Desk) -> None:
        (entry,) = listed.entries("alpha/list")
        listed.hub.reviews.create(writer("hostile"), "alpha", "list", entry.id, ReviewKind.FALSE_POSITIVE)
        answer = listed.match(digest("MD5", 1), policy="block")
        assert answer.verdict is Verdict.MATCH
        assert [r.entries for r in answer.reasons if r.code == "DOUBT_LESS_RELIABLE"] == [(entry.name,)]


class TestCircuitBreaker:
    def trip(self, desk: Desk, number: int) -> Hash:
        """Trip the breaker of a listed digest and return a query near it."""
        # Before any search.
        desk.hub.matcher.breaker.__init__(CircuitBreaker(share=0.5, min_hits=20))  # type: ignore[misc]
        queries = [Query(hashes=(near(digest("PDQ", number), n),)) for n in range(32)]
        desk.hub.match.hashes(PLATFORM, queries, MatchOptions(policy="any"))
        altered = near(digest("PDQ", number), 3)
        # Only for whose traffic it was.
        assert "CIRCUIT_BREAKER" not in {r.code for r in desk.match(altered, who=OPERATOR).reasons}
        return altered

    def test_one_that_only_hidden_sets_hold_changes_no_answer(self, listed: Desk) -> None:
        listed.hash_set("hostile/red", marking=HIDDEN)
        listed.contribute("hostile/red", item(5, algorithms=("PDQ",)))
        altered = self.trip(listed, 5)
        assert not listed.hub.matcher.status().tripped
        assert listed.match(altered) == listed.match(digest("PDQ", 77))
        listed.hash_set("hostile/hinted", marking=msgspec.structs.replace(HIDDEN, disclose_existence=True))
        listed.contribute("hostile/hinted", item(5, algorithms=("PDQ",)))
        hinted = listed.match(altered)
        assert (hinted.verdict, hinted.withheld) == (Verdict.REVIEW, True)
        assert "CIRCUIT_BREAKER" not in {r.code for r in hinted.reasons}

    def test_an_exact_match_beside_it_stays_one(self, listed: Desk) -> None:
        altered = self.trip(listed, 1)
        assert listed.match(altered, policy="block").verdict is Verdict.REVIEW
        answer = listed.match(altered, digest("MD5", 1), policy="block")
        assert answer.verdict is Verdict.MATCH
        assert answer.reasons[-1].code == "CIRCUIT_BREAKER"


def plain(result: MatchResult) -> Any:
    """The answer without revisions and entry ids."""
    ids: dict[int, int] = {}

    def cleaned(x: Any) -> Any:
        if isinstance(x, dict):
            return {k: cleaned(v) for k, v in x.items() if k not in {"create_revision", "update_revision", "import_id"}}
        return [cleaned(v) for v in x] if isinstance(x, list) else x

    for match in result.matches:
        ids.setdefault(match.entry.id, len(ids))

    def renamed(names: tuple[str, ...]) -> list[str]:
        return [name.rpartition("/")[0] for name in names]

    entries = [
        msgspec.structs.replace(m, entry=msgspec.structs.replace(m.entry, id=ids[m.entry.id])) for m in result.matches
    ]
    return (
        result.verdict,
        result.truncated,
        result.withheld,
        [(r.code, r.clause, r.text, renamed(r.entries)) for r in result.reasons],
        cleaned(msgspec.to_builtins(entries)),
    )


class TestTwoWorlds:
    """Two hubs that differ only in what a caller may not see answer it alike."""

    @pytest.fixture
    def worlds(self, tmp_path: Path) -> Iterator[Callable[[], tuple[Desk, Desk]]]:
        with ExitStack() as stack:

            def open_both() -> tuple[Desk, Desk]:
                desks = []
                for name in ("without", "with"):
                    hub = stack.enter_context(Hub.open(Config(data=str(tmp_path / name), poll_interval=0.05)))
                    hub.start()
                    desks.append(Desk(hub))
                return desks[0], desks[1]

            yield open_both

    @staticmethod
    def lists(rng: Random) -> list[tuple[str, Purpose, list[Record], bool]]:
        """What is contributed, in this order: set, purpose, items, whether it is hidden."""
        made: list[tuple[str, Purpose, list[Record], bool]] = []
        for i, (name, purpose, hidden) in enumerate(
            [
                ("secretive/red", Purpose.CSAM, True),
                ("alpha/list", Purpose.CSAM, False),
                ("secretive/good", Purpose.BENIGN, True),
                ("beta/list", Purpose.EXPLOITATIVE, False),
                ("hostile/list", Purpose.CSAM, False),
                ("secretive/near", Purpose.CSAM, True),
                ("good/list", Purpose.BENIGN, False),
                ("beta/more", Purpose.CSAM, False),
            ]
        ):
            numbers = rng.sample(range(12), 8)
            records = [item(n, algorithms=rng.choice([("MD5", "SHA1"), ("MD5", "PDQ"), ("PDQ",)])) for n in numbers]
            if hidden:
                records += [item(100 + n, hashes=(near(digest("PDQ", n), 1 + i),)) for n in range(12)]
                # Made-up bindings of known digests.
                records += [item(200 + n, hashes=(digest("MD5", n), digest("SHA1", 500 + n))) for n in range(12)]
            made.append((name, purpose, records, hidden))
        return made

    @pytest.mark.parametrize("seed", range(2))
    def test_all_answers_are_alike(
        self, worlds: Callable[[], tuple[Desk, Desk]], monkeypatch: pytest.MonkeyPatch, seed: int
    ) -> None:
        monkeypatch.setattr(lookup, "SECONDS", 600.0)  # a busy machine is no reason for another answer
        rng = Random(seed)
        lists = self.lists(rng)
        desks = worlds()
        for desk in desks:
            for name, reliability in (
                ("secretive", "A"),
                ("alpha", "A"),
                ("beta", "C"),
                ("hostile", "F"),
                ("good", "B"),
                ("nobody-else", "B"),
            ):
                desk.contributor(name, reliability=reliability)
        # So that ids differ from the beginning.
        desks[1].hash_set("secretive/first", marking=HIDDEN)
        desks[1].contribute("secretive/first", *(item(n) for n in range(1000, 1097)))
        for name, purpose, records, hidden in lists:
            for desk in desks[1:] if hidden else desks:
                desk.hash_set(name, purpose=purpose, marking=HIDDEN if hidden else None)
                desk.contribute(name, *records, source=name)
                contributor, _, set_id = name.partition("/")
                desk.hub.hash_sets.accept(OPERATOR, contributor, set_id, desk.hub.revision())
        crowd = neighbours(digest("PDQ", 3), 1_500, 6)
        desks[1].hash_set("secretive/flood", marking=HIDDEN)
        flood(desks[1], "secretive/flood", crowd)
        asked: list[tuple[Hash, ...]] = []
        for n in range(14):
            asked += [(digest("MD5", n),), (digest("SHA1", n),), (digest("SHA1", 500 + n),), (digest("PDQ", n),)]
            asked += [(near(digest("PDQ", n), bits),) for bits in (2, 9, 31)]
            asked += [
                (digest("MD5", n), digest("SHA1", n), digest("PDQ", n)),
                (digest("MD5", n), digest("SHA1", 500 + n)),
            ]
        asked += [(h,) for h in crowd[:4]]
        consumers = [PLATFORM, Principal(name="other", role=Role.CONSUMER, purposes=("detection",)), writer("alpha")]
        seen = 0
        for who in consumers:
            for policy in ("any", "block"):
                for limit in (0, 1, 2):
                    options = MatchOptions(policy=policy, match_limit=limit)
                    queries = [Query(hashes=hashes, label=str(i)) for i, hashes in enumerate(asked)]
                    without, with_ = (desk.hub.match.hashes(who, queries, options)[0] for desk in desks)
                    assert [plain(x) for x in with_] == [plain(x) for x in without]
                    seen += sum(bool(x.matches) for x in without)
        assert seen > 500, "many of them hit something"
        blind, sighted = (desks[1].match(crowd[0], who=who, max_distances={"PDQ": 0}) for who in (PLATFORM, OPERATOR))
        assert not blind.matches
        assert sighted.matches, "the worlds do differ"
