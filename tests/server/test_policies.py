"""Policies through the door: versions, explanations and trials as clients see them."""

from __future__ import annotations

import pytest

from hashhub import v1
from hashhub.client import Client
from hashhub.errors import InvalidArgument, NotFound, PermissionDenied
from hashhub.hashes import Hash
from hashhub.model import (
    HashSet,
    Import,
    MatchOptions,
    Principal,
    Query,
    Record,
    Role,
    Verdict,
)
from tests.server.conftest import OPERATOR, Serve, Served
from tests.trust.test_policies import text

MINE = text().replace('verdicts = ["csam"]', 'verdicts = ["csam", "exploitative"]')


def listed(number: int) -> Hash:
    return Hash.of("MD5", number.to_bytes(16))


def filled(served: Served, count: int) -> None:
    hub = served.hub
    hub.hash_sets.create(OPERATOR, HashSet(contributor="home", id="list"))
    who = Principal(name="desk", role=Role.CONTRIBUTOR, contributor="home")
    opened = hub.contribute.open(
        who,
        Import(
            id="", contributor="home", hash_set="list", connector="t", connector_version="1", source_digest="0" * 64
        ),
    )
    records = [Record(position=f"line {n}", hashes=(listed(n),)) for n in range(1, count + 1)]
    hub.contribute.add(who, opened.id, 0, records, [])
    hub.contribute.commit(who, opened.id, batch_count=1)


def client(served: Served, who: str = "OPERATOR") -> Client:
    return Client(served.doors.grpc_address, served.tokens[who])


@pytest.fixture
def hub(serve_hub: Serve) -> Served:
    served = serve_hub()
    filled(served, 7)
    return served


def test_versions_and_pins(hub: Served) -> None:
    with client(hub) as operator, client(hub, Role.CONSUMER) as consumer:
        assert operator.put_policy(MINE, "first", validate_only=True).name == "mine@1"
        with pytest.raises(NotFound):
            operator.get_policy("mine")
        made = operator.put_policy(MINE, "first")
        assert (made.name, made.text, made.is_current, made.actor) == ("mine@1", MINE, True, "operator")
        assert consumer.get_policy("mine").actor == ""  # whose token that was is the operators' affair
        operator.put_policy(text(), "second")
        assert [(v.name, v.is_current) for v in consumer.list_policy_versions("mine")] == [
            ("mine@1", False), ("mine@2", True),
        ]  # fmt: skip
        current = {(p.id, p.version) for p in consumer.list_policies()}
        assert current == {("any", 1), ("block", 1), ("block-corroborated", 1), ("mine", 2)}
        for reference, expected in (("mine", "mine@2"), ("mine@1", "mine@1")):
            for number in (1, 99):  # what is hit, and what is not
                answer = consumer.match(Query(hashes=(listed(number),)), MatchOptions(policy=reference))
                assert answer.policy == expected
            (many,) = consumer.match_hashes([Query(hashes=(listed(1),))], MatchOptions(policy=reference))
            assert many.policy == expected
        retired = operator.retire_policy("mine@2", "no")
        assert retired.retire_time is not None
        with pytest.raises(InvalidArgument, match="retired; choose one of mine@1"):
            consumer.match(Query(hashes=(listed(1),)), MatchOptions(policy="mine@2"))
        with pytest.raises(PermissionDenied):
            consumer.put_policy(MINE)


def test_an_explanation_comes_over_whole(hub: Served) -> None:
    query, options = Query(hashes=(listed(1),)), MatchOptions(policy="block")
    trace, verdict, _ = hub.hub.policies.explain(Principal(name="c", role=Role.CONSUMER), query, options)
    with client(hub, Role.CONSUMER) as consumer:
        explained = consumer.explain_match(query, options)
    assert explained.trace == trace
    assert explained.trace.judgement.verdict is verdict is Verdict.REVIEW


def test_a_trial_goes_on_piece_by_piece(hub: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hashhub.hub.policies.MAX_TRIED", 3)
    told: list[tuple[int, int | None]] = []
    with client(hub, Role.AUDITOR) as auditor:
        trial = auditor.simulate_policy("block", text=MINE, since=0, progress=lambda *x: told.append(x))
        assert told == [(3, 7), (6, 7), (7, 7)]
        assert (trial.before, trial.after, trial.total) == ("block@1", "mine@1", 7)
        assert [(c.before, c.after, c.count) for c in trial.changes] == [(Verdict.REVIEW, Verdict.MATCH, 7)]
        assert len(trial.changes[0].examples) == 5
        queries = (Query(hashes=(listed(n),), label=str(n)) for n in range(5, 10))
        asked = auditor.simulate_policy("block", "any", queries=queries)
        assert {(c.before, c.after): c.count for c in asked.changes} == {
            (Verdict.REVIEW, Verdict.MATCH): 3, (Verdict.NO_MATCH, Verdict.NO_MATCH): 2,
        }  # fmt: skip
        assert auditor.simulate_policy("block", "any", hash_sets=["home/list"]).total == 7
        assert auditor.simulate_policy("block", "any", since=hub.hub.revision()).total == 0
        with pytest.raises(InvalidArgument):
            auditor.simulate_policy("block", "any")


@pytest.mark.parametrize("position", ["x", "1", "1:2:3", "-1:0", f"{10**30}:0"])
def test_a_damaged_page_token_is_refused(hub: Served, position: str) -> None:
    from hashhub.server import pages

    token = pages.encode(position, "trial", 0, None, ("home/list",))
    request = v1.SimulatePolicyRequest(
        before="any", after="block", hash_sets=["contributors/home/hashSets/list"], page_token=token
    )
    with pytest.raises(InvalidArgument, match="page_token"):
        hub.call("PolicyService/SimulatePolicy", request, v1.SimulatePolicyResponse)
