"""Policies of a hub: put, pinned, retired, explained, tried out; in every process, on both kinds of database."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from hashhub.answering.answer import gather
from hashhub.config import Config
from hashhub.errors import (
    AlreadyExists,
    Conflict,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Reason,
    Unavailable,
)
from hashhub.hub import Hub
from hashhub.hub.policies import MAX_TRIED, Policies, ReplaySelection
from hashhub.model import (
    MAX_QUERIES,
    Definition,
    DefinitionKind,
    Marking,
    MatchOptions,
    Principal,
    Purpose,
    Query,
    ReviewKind,
    Role,
    Verdict,
    WithdrawalReason,
    now,
)
from hashhub.store import schema
from hashhub.trust import Trial
from tests.hub.conftest import AUDITOR, OPERATOR, PLATFORM, Desk, digest, item, near, writer
from tests.trust.test_policies import text

MATCHES = text(name='"mine"').replace('verdicts = ["csam"]', 'verdicts = ["csam", "exploitative", "unclassified"]')
NEVER = text('jurisdictions = ["QQ"]')


def block(version: str = "") -> str:
    """The policy `block`, so that one contributor suffices."""
    content = text(name='"block"', version=version)
    return content.replace('verdicts = ["csam"]', 'verdicts = ["csam", "exploitative"]')


def cells(trial: Trial) -> dict[tuple[str, str], int]:
    return {(c.before.value, c.after.value): c.count for c in trial.changes}


class TestPutting:
    def test_it_holds_at_once_for_whoever_pins_no_other(self, any_desk: Desk) -> None:
        any_desk.hash_set("alpha/list")
        any_desk.contribute("alpha/list", item(1))
        assert any_desk.verdict(1, policy="block") is Verdict.REVIEW
        made = any_desk.hub.policies.put(OPERATOR, block(), comment="enough")
        assert (made.full_name, made.actor) == ("block@2", "operator")
        assert any_desk.verdict(1, policy="block") is Verdict.MATCH
        assert any_desk.verdict(1, policy="block@2") is Verdict.MATCH
        assert any_desk.verdict(1, policy="block@1") is Verdict.REVIEW
        (event,) = any_desk.hub.history.list(OPERATOR, "policies/block@2", "", None, 10, 0)[0]
        assert (event.kind, event.actor.name, (event.details or {})["reason"]) == ("POLICY_PUT", "operator", "enough")
        retired = any_desk.hub.policies.retire(OPERATOR, "block@2")
        assert retired.retire_time is not None
        assert any_desk.verdict(1, policy="block") is Verdict.REVIEW
        with pytest.raises(InvalidArgument, match="block@2' was retired; choose one of block@1"):
            any_desk.verdict(1, policy="block@2")
        assert any_desk.hub.policies.put(OPERATOR, block()).full_name == "block@3"  # no number is given twice

    def test_a_retired_text_can_be_put_again_and_the_current_one_makes_no_version(self, desk: Desk) -> None:
        first = desk.hub.policies.put(OPERATOR, MATCHES)
        revision = desk.hub.revision()
        assert desk.hub.policies.put(OPERATOR, MATCHES) == first
        assert desk.hub.revision() == revision
        desk.hub.policies.put(OPERATOR, NEVER)
        assert desk.hub.policies.put(OPERATOR, MATCHES).full_name == "mine@3"

    def test_nothing_is_written_by_a_dry_run(self, desk: Desk) -> None:
        revision = desk.hub.revision()
        assert desk.hub.policies.put(OPERATOR, MATCHES, validate_only=True).full_name == "mine@1"
        desk.hub.policies.put(OPERATOR, MATCHES)
        desk.hub.policies.retire(OPERATOR, "mine@1", validate_only=True)
        assert desk.hub.revision() == revision + 1
        assert desk.hub.policies.get(OPERATOR, "mine").retire_time is None

    def test_a_repeated_call_gives_the_first_answer(self, desk: Desk) -> None:
        first = desk.hub.policies.put(OPERATOR, MATCHES, request_id="r")
        desk.hub.policies.put(OPERATOR, NEVER)
        assert desk.hub.policies.put(OPERATOR, MATCHES, request_id="r").full_name == first.full_name
        with pytest.raises(AlreadyExists):
            desk.hub.policies.put(OPERATOR, block(), request_id="r")

    def test_two_at_once_get_two_numbers(self, desk: Desk) -> None:
        definitions = desk.hub.store.definitions
        made = [
            definitions.put(Definition(kind=DefinitionKind.POLICY, id="mine", version="", text=content), number_from=1)
            for content in (MATCHES, NEVER)
        ]
        assert [d.name for d in made] == ["mine@1", "mine@2"]

    def test_of_two_at_once_that_state_a_version_one_is_told(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        stale = desk.hub.catalogue.now()
        desk.hub.policies.put(OPERATOR, block("2"))
        monkeypatch.setattr(desk.hub.catalogue, "now", lambda: stale)
        with pytest.raises(Conflict, match="block@2"):
            desk.hub.policies.put(OPERATOR, block("2") + "# mine")
        assert desk.hub.policies.put(OPERATOR, block() + "# mine", validate_only=True).version == 3

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            ("", "name"),
            ("x" * 70_000, "at most 65536 bytes"),
            (text(version="7"), "the next one is 1, got 7"),
            (block(version="1"), "the next one is 2, got 1"),
            (text("colour = 1"), "colour"),
        ],
    )
    def test_what_is_refused(self, desk: Desk, content: str, words: str) -> None:
        revision = desk.hub.revision()
        with pytest.raises(InvalidArgument, match=words):
            desk.hub.policies.put(OPERATOR, content)
        assert desk.hub.revision() == revision

    def test_only_versions_that_were_put_are_retired_and_once(self, desk: Desk) -> None:
        for name in ("any@1", "block@1"):
            with pytest.raises(FailedPrecondition, match="comes from a file"):
                desk.hub.policies.retire(OPERATOR, name)
        with pytest.raises(InvalidArgument, match="NAME@VERSION"):
            desk.hub.policies.retire(OPERATOR, "block")
        with pytest.raises(NotFound):
            desk.hub.policies.retire(OPERATOR, "block@9")
        desk.hub.policies.put(OPERATOR, MATCHES)
        desk.hub.policies.retire(OPERATOR, "mine@1")
        with pytest.raises(FailedPrecondition, match="before"):
            desk.hub.policies.retire(OPERATOR, "mine@1")
        with pytest.raises(InvalidArgument, match="mine' was retired; choose one of any, block"):
            desk.match(digest("MD5", 1), policy="mine")

    def test_only_operators_write(self, desk: Desk) -> None:
        desk.hub.policies.put(OPERATOR, MATCHES)
        for who in (AUDITOR, PLATFORM, writer("alpha")):
            with pytest.raises(PermissionDenied):
                desk.hub.policies.put(who, NEVER)
            with pytest.raises(PermissionDenied):
                desk.hub.policies.retire(who, "mine@1")

    def test_a_text_that_cannot_be_read_any_more_answers_nothing(self, desk: Desk) -> None:
        """A newer hashhub wrote it, say: another version would answer another question."""
        desk.hash_set("alpha/list")
        desk.contribute("alpha/list", item(1))
        desk.hub.store.definitions.put(
            Definition(kind=DefinitionKind.POLICY, id="block", version="2", text=text(name='"block"', later="1"))
        )
        desk.hub.catalogue.now()
        for number in (1, 2):  # hit or miss
            with pytest.raises(Unavailable, match="block@2") as refused:
                desk.verdict(number, policy="block")
            assert refused.value.reason is Reason.POLICY_UNREADABLE
        assert desk.verdict(1, policy="block@1") is Verdict.REVIEW
        assert any("block@2" in w for w in desk.hub.status(OPERATOR).warnings)
        assert [v.fault for v in desk.hub.policies.currents(PLATFORM) if v.name == "block"] != [""]
        desk.hub.policies.retire(OPERATOR, "block@2")
        assert desk.verdict(1, policy="block") is Verdict.REVIEW

    def test_what_a_token_put_is_retired_by_a_revert_and_what_it_retired_comes_back(self, desk: Desk) -> None:
        began = now()
        desk.hub.policies.put(OPERATOR, MATCHES)
        thief = Principal(name="thief", role=Role.OPERATOR, contributor="operator")
        desk.hub.policies.put(thief, block())
        desk.hub.policies.retire(thief, "mine@1")
        for dry in (True, False):
            undone = desk.hub.history.revert(OPERATOR, "thief", began, comment="stolen", validate_only=dry)
            assert [(e.event.kind, e.reverted) for e in undone] == [("POLICY_RETIRED", True), ("POLICY_PUT", True)]
        assert desk.hub.policies.get(OPERATOR, "mine").full_name == "mine@1"
        assert desk.hub.policies.get(OPERATOR, "block").full_name == "block@1"
        assert desk.hub.policies.get(OPERATOR, "block@2").retire_time is not None


class TestTwoProcesses:
    def test_both_answer_by_what_one_put(self, database: str, tmp_path: Path) -> None:
        """Two hubs on one database: neither is started anew."""
        is_url = "://" in database

        def opened(name: str, *, publisher: bool) -> Hub:
            data = str(tmp_path / name) if is_url else database
            config = Config(data=data, database=database if is_url else "", poll_interval=0.05)
            return Hub.open(config, publisher=publisher)

        with opened("one", publisher=True) as one, opened("two", publisher=is_url) as other:
            for hub in (one, other):
                hub.start()
            one.policies.put(OPERATOR, MATCHES)
            options = MatchOptions(policy="mine@1")
            assert other.match.policy(PLATFORM, "mine").full_name == "mine@1"  # what is not known is looked for at once
            assert other.match.hashes(PLATFORM, [Query(hashes=(digest("MD5", 1),))], options)[0][0].verdict
            other.policies.put(OPERATOR, NEVER)
            assert other.match.policy(PLATFORM, "mine").full_name == "mine@2"
            one.follower.catch_up()
            assert one.match.policy(PLATFORM, "mine").full_name == "mine@2"
            one.policies.retire(OPERATOR, "mine@1")
            other.follower.catch_up()
            with pytest.raises(InvalidArgument, match="retired"):
                other.match.policy(PLATFORM, "mine@1")


class TestExplaining:
    def test_it_says_what_matching_says_and_why(self, desk: Desk) -> None:
        desk.hash_set("alpha/list")
        desk.hash_set("beta/list")
        desk.contribute("alpha/list", item(1))
        desk.contribute("beta/list", item(1))
        desk.contribute("beta/list", item(2))
        for number, policy in ((1, "block"), (2, "block"), (3, "any"), (2, "any")):
            query, options = Query(hashes=(digest("MD5", number),)), MatchOptions(policy=policy)
            (answer,), revision = desk.hub.match.hashes(PLATFORM, [query], options)
            trace, verdict, at = desk.hub.policies.explain(PLATFORM, query, options)
            assert (verdict, at) == (answer.verdict, revision)
            if answer.matches:
                assert trace.judgement.reasons == answer.reasons
                assert {e.entry for e in trace.entries} == {m.entry.name for m in answer.matches}
        trace, _, _ = desk.hub.policies.explain(
            PLATFORM, Query(hashes=(digest("MD5", 2),)), MatchOptions(policy="block")
        )
        (needed,) = [d for d in trace.clauses[1].demands if d.key == "reliability"]
        assert [(f.entry, f.why) for f in needed.failed] == [("beta/list/2", "its contributor is of reliability C")]

    def test_it_tells_of_nothing_that_the_caller_may_not_see(self, desk: Desk) -> None:
        desk.hash_set("alpha/list")
        desk.hash_set("hidden/list", marking=Marking(recipients=("contributors/friend",)))
        desk.hash_set("hinted/list", marking=Marking(recipients=("contributors/friend",), disclose_existence=True))
        query, options = Query(hashes=(digest("MD5", 1),)), MatchOptions(policy="any")
        desk.contribute("alpha/list", item(1))
        alone = desk.hub.policies.explain(PLATFORM, query, options)[0]
        desk.contribute("hidden/list", item(1))
        assert desk.hub.policies.explain(PLATFORM, query, options)[0] == alone
        assert len(desk.hub.policies.explain(OPERATOR, query, options)[0].entries) == 2
        desk.contribute("hinted/list", item(2))
        trace, verdict, _ = desk.hub.policies.explain(PLATFORM, Query(hashes=(digest("MD5", 2),)), options)
        assert (verdict, trace.entries) == (Verdict.REVIEW, ())
        assert "WITHHELD" in {r.code for r in trace.judgement.reasons}

    def test_all_ways_of_a_hit_are_told_and_count(self, desk: Desk) -> None:
        desk.hash_set("alpha/list")
        desk.contribute("alpha/list", item(1, algorithms=("MD5", "PDQ", "PHASH")))
        desk.hub.policies.put(OPERATOR, text('algorithms = ["PDQ"]\nmax_distance = { PDQ = 7 }'))
        hashes = (digest("MD5", 1), near(digest("PDQ", 1), 20), near(digest("PDQ", 1), 7), digest("PHASH", 1))
        assert desk.match(*hashes, policy="mine").verdict is Verdict.MATCH
        assert desk.match(hashes[0], hashes[1], policy="mine").verdict is Verdict.REVIEW
        trace, _, _ = desk.hub.policies.explain(PLATFORM, Query(hashes=hashes), MatchOptions(policy="mine"))
        assert trace.entries[0].hit == "MD5 at distance 0 and PDQ at distance 7 and PHASH at distance 0"


class TestFreshness:
    FRESH = text("stated_within_days = 30")

    def age(self, desk: Desk, days: int) -> None:
        """Let all that was committed have been so many days earlier."""
        t = schema.imports
        with desk.hub.store.database.write() as c:
            c.execute(sa.update(t).values(commit_time=t.c.commit_time - days * 24 * 3600 * 1000))

    def test_by_import_whole_list_and_confirmation(self, any_desk: Desk) -> None:
        desk = any_desk
        desk.hub.policies.put(OPERATOR, self.FRESH)
        for name in ("alpha/list", "beta/list"):
            desk.hash_set(name)
            desk.contribute(name, item(1 if name < "b" else 2), item(7))
        assert [desk.verdict(n, policy="mine") for n in (1, 2)] == [Verdict.MATCH] * 2
        self.age(desk, 31)
        assert [desk.verdict(n, policy="mine") for n in (1, 2)] == [Verdict.REVIEW] * 2
        # A list that takes the place of the one before states again what it still has.
        desk.contribute("alpha/list", item(1), item(7), item(3), replace=True)
        assert [desk.verdict(n, policy="mine") for n in (1, 2, 3)] == [Verdict.MATCH, Verdict.REVIEW, Verdict.MATCH]
        # One that adds to it states what it has, and of the rest nothing.
        desk.contribute("beta/list", item(4))
        assert [desk.verdict(n, policy="mine") for n in (2, 4)] == [Verdict.REVIEW, Verdict.MATCH]
        entry = next(e for e in desk.entries("beta/list") if e.hashes[0] == digest("MD5", 2))
        desk.hub.reviews.create(OPERATOR, "beta", "list", entry.id, ReviewKind.CONFIRMED, "looked again")
        assert desk.verdict(2, policy="mine") is Verdict.MATCH

    def test_what_was_restored_by_hand_was_not_stated_again(self, desk: Desk) -> None:
        desk.hub.policies.put(OPERATOR, self.FRESH)
        desk.hash_set("alpha/list")
        desk.contribute("alpha/list", item(1), item(2))
        self.age(desk, 31)
        (first, _) = desk.entries("alpha/list")
        desk.contribute("alpha/list", item(2), replace=True, allow_shrinking=True)
        desk.hub.entries.restore(writer("alpha"), "alpha", "list", first.id)
        assert [desk.verdict(n, policy="mine") for n in (1, 2)] == [Verdict.REVIEW, Verdict.MATCH]


class TestTrying:
    def filled(self, desk: Desk) -> None:
        for name in ("alpha/list", "beta/list"):
            desk.hash_set(name)
        desk.contribute("alpha/list", *(item(n) for n in range(1, 7)))
        desk.contribute("beta/list", *(item(n) for n in (1, 2)))
        desk.hash_set("nist/known", purpose=Purpose.BENIGN)
        desk.contribute("nist/known", item(6))
        desk.hub.hash_sets.accept(OPERATOR, "nist", "known", desk.hub.revision())

    def test_every_query_is_counted_by_both_verdicts(self, any_desk: Desk) -> None:
        self.filled(any_desk)
        queries = [Query(hashes=(digest("MD5", n),), label=f"line {n}") for n in range(1, 9)]
        trial = any_desk.hub.policies.try_out(OPERATOR, "block", "any", queries=queries)
        assert (trial.before, trial.after) == ("block@1", "any@1")
        expected: dict[tuple[str, str], int] = {}
        for n in range(1, 9):
            pair = (any_desk.verdict(n, policy="block").value, any_desk.verdict(n, policy="any").value)
            expected[pair] = expected.get(pair, 0) + 1
        assert cells(trial) == expected == {
            ("MATCH", "MATCH"): 2, ("REVIEW", "MATCH"): 3, ("REVIEW", "REVIEW"): 1, ("NO_MATCH", "NO_MATCH"): 2,
        }  # fmt: skip
        (changed,) = [c for c in trial.changes if c.before is not c.after]
        assert [e.label for e in changed.examples] == ["line 3", "line 4", "line 5"]
        assert changed.examples[0].before[0].code == "CLAUSE_NOT_MET"
        assert changed.examples[0].after[0].code == "CLAUSE_MET"
        assert not any(c.examples for c in trial.changes if c.before is c.after)

    def test_a_text_is_judged_and_not_stored(self, desk: Desk) -> None:
        self.filled(desk)
        revision = desk.hub.revision()
        queries = [Query(hashes=(digest("MD5", n),)) for n in (1, 3)]
        trial = desk.hub.policies.try_out(OPERATOR, "block", "", text=block(), queries=queries)
        assert trial.after == "block@2"
        assert cells(trial) == {("MATCH", "MATCH"): 1, ("REVIEW", "MATCH"): 1}
        assert desk.hub.revision() == revision
        assert desk.hub.policies.get(OPERATOR, "block").full_name == "block@1"
        with pytest.raises(InvalidArgument, match="colour"):
            desk.hub.policies.try_out(OPERATOR, "block", "", text=text("colour = 1"), queries=queries)

    def test_entries_since_a_revision_or_time_are_asked_about_by_their_own_hashes(self, any_desk: Desk) -> None:
        self.filled(any_desk)
        at, time = any_desk.hub.revision(), now()
        trying = any_desk.hub.policies.try_out
        assert cells(trying(OPERATOR, "block", "any", since=ReplaySelection(revision=at))) == {}
        any_desk.contribute("beta/list", item(3), item(20))
        since = trying(OPERATOR, "block", "any", since=ReplaySelection(revision=at))
        assert cells(since) == {("MATCH", "MATCH"): 1, ("REVIEW", "MATCH"): 1}
        assert since.total == 2
        assert cells(trying(AUDITOR, "block", "any", since=ReplaySelection(time=time))) == cells(since)
        everything = trying(OPERATOR, "block", "any", since=ReplaySelection())
        assert sum(c.count for c in everything.changes) == everything.total == 11
        only = trying(OPERATOR, "block", "any", since=ReplaySelection(hash_sets=("beta/list",)))
        assert sum(c.count for c in only.changes) == 4
        (withdrawn,) = [e for e in any_desk.entries("beta/list") if e.hashes[0] == digest("MD5", 20)]
        any_desk.hub.entries.withdraw(writer("beta"), "beta", "list", withdrawn.id, WithdrawalReason.ERROR)
        assert cells(trying(OPERATOR, "block", "any", since=ReplaySelection(revision=at))) == {("MATCH", "MATCH"): 1}

    def test_pieces_go_on_where_the_last_ended(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("hashhub.hub.policies.MAX_TRIED", 4)
        self.filled(desk)
        for since in (
            ReplaySelection(),
            ReplaySelection(revision=1),
            ReplaySelection(hash_sets=("alpha/list", "beta/list")),
        ):
            judged: list[int] = []
            after, rounds = 0, 0
            while True:
                trial = desk.hub.policies.try_out(
                    OPERATOR, "block", "any", since=msgspec.structs.replace(since, after=after)
                )
                judged.append(sum(c.count for c in trial.changes))
                rounds += 1
                assert rounds < 9
                if not (after := trial.next_after):
                    break
            assert sum(judged) == (8 if since.hash_sets else 9)
            assert max(judged) <= 4

    def test_both_policies_judge_one_search(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        self.filled(desk)
        searched: list[int] = []

        def counting(*args: Any, **options: Any) -> Any:
            searched.append(len(args[2]))
            return gather(*args, **options)

        monkeypatch.setattr("hashhub.hub.policies.gather", counting)
        queries = [Query(hashes=(digest("MD5", n),)) for n in range(120)]
        desk.hub.policies.try_out(OPERATOR, "block", "any", queries=queries)
        assert searched == [50, 50, 20]

    def test_it_rests_between_pieces_and_trips_nobodys_circuit_breaker(self, desk: Desk) -> None:
        desk.hash_set("alpha/list")
        desk.contribute("alpha/list", item(1, algorithms=("PDQ",)))
        rests: list[float] = []
        hub = desk.hub
        trying = Policies(
            hub.store, hub.matcher, hub.catalogue, hub.readiness, hub.learned, hub.match.walks, rest=rests.append
        )
        queries = [Query(hashes=(near(digest("PDQ", 1), 1 + n % 30),)) for n in range(1000)]
        for _ in range(2):
            trying.try_out(OPERATOR, "block", "any", queries=queries)
        assert len(rests) == 40
        assert all(r >= 0 for r in rests)
        assert sum(rests) > 0
        breaker = hub.matcher.breaker
        assert (len(breaker._windows), len(breaker._handed)) == (0, 0)

    @pytest.mark.parametrize("who", [PLATFORM, writer("alpha")])
    def test_operators_and_auditors_only(self, desk: Desk, who: Principal) -> None:
        with pytest.raises(PermissionDenied):
            desk.hub.policies.try_out(who, "block", "any", since=ReplaySelection())

    @pytest.mark.parametrize(
        ("options", "error"),
        [
            ({}, InvalidArgument),
            ({"queries": [Query(hashes=())]}, InvalidArgument),
            ({"queries": [Query(hashes=(digest("MD5", 1),))], "since": ReplaySelection()}, InvalidArgument),
            ({"since": ReplaySelection(hash_sets=("no/such",))}, NotFound),
        ],
    )
    def test_what_is_refused(self, desk: Desk, options: dict[str, Any], error: type[Exception]) -> None:
        with pytest.raises(error):
            desk.hub.policies.try_out(OPERATOR, "block", "any", **options)
        with pytest.raises(InvalidArgument, match="no policy 'x'"):
            desk.hub.policies.try_out(OPERATOR, "x", "any", since=ReplaySelection())

    def test_photodna_needs_a_distance_and_is_left_out_of_entries_without(self, desk: Desk) -> None:
        desk.hash_set("alpha/list")
        desk.contribute("alpha/list", item(1, algorithms=("PHOTODNA",)), item(2, algorithms=("PHOTODNA", "MD5")))
        trying: Callable[..., Trial] = desk.hub.policies.try_out
        assert sum(cells(trying(OPERATOR, "any", "block", since=ReplaySelection())).values()) == 1
        both = trying(OPERATOR, "any", "block", since=ReplaySelection(), max_distances={"PHOTODNA": 0})
        assert sum(cells(both).values()) == 2


def test_an_answer_names_the_limits_it_shares() -> None:
    assert MAX_TRIED <= MAX_QUERIES
