"""Operations, requests and results survive the wire, whatever they hold."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from hashhub import v1, wire
from hashhub.errors import InvalidArgument, Reason, StatusCode
from hashhub.model import Actor, Failure, Operation, OperationState, Role
from hashhub.reconcile import results as r
from hashhub.reconcile import tasks

TIME = datetime(2026, 11, 26, 3, 4, 5, 678_000, tzinfo=UTC)
IDS = st.from_regex("[a-z0-9]{1,9}", fullmatch=True)
SETS = st.builds("{}/{}".format, IDS, IDS)
ENTRIES = st.builds("{}/{}".format, SETS, st.integers(1, 2**32 - 1))
NUMBERS = st.integers(0, 2**53)
WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
PARTS = st.floats(0, 1)
COUNTRIES = st.sampled_from(["NL", "GB", "US"])
SCHEMES = st.builds("{}@{}".format, IDS, st.just("1.0"))
SHARES = st.builds(r.Proportion, count=NUMBERS, items=NUMBERS, low=PARTS, high=PARTS)
FILES = st.builds(tasks.ResultFile, path=WORDS, sha256=IDS, size=NUMBERS)


def several(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(values, max_size=3, unique=True).map(tuple)


@st.composite
def overlaps(draw: st.DrawFn) -> r.Overlap:
    by = draw(st.sampled_from(r.By))
    kind = {r.By.HASH_SET: SETS, r.By.CONTRIBUTOR: IDS, r.By.JURISDICTION: COUNTRIES}[by]
    names = draw(several(kind))
    cells = tuple(
        r.OverlapCell(left=a, right=b, exact=draw(NUMBERS), near=draw(NUMBERS)) for a in names for b in names if a != b
    )
    counts = {name: draw(NUMBERS) for name in names}
    distances = draw(st.sampled_from([{}, {"PDQ": 31}]))
    return r.Overlap(
        by=by, revision=draw(NUMBERS), names=names, entries=counts, alone=counts, cells=cells, max_distances=distances
    )


MAYBE = st.none() | st.floats(-1, 1)
AGREEING = st.builds(
    r.ContributorAgreement, contributor=IDS, dimension=IDS, share=SHARES, period=WORDS, by_one_other=NUMBERS
)
RESPONSES = st.one_of(
    overlaps(),
    st.builds(
        tasks.ExtractResult, revision=NUMBERS, hash_sets=several(SETS), left_out=several(SETS), files=several(FILES)
    ),
    st.builds(tasks.LinksResult, revision=NUMBERS, exact=NUMBERS, near=NUMBERS, rows=NUMBERS, is_cut=st.booleans()),
    st.builds(
        tasks.GapsResult,
        gaps=st.builds(
            r.Gaps,
            jurisdiction=COUNTRIES,
            revision=NUMBERS,
            items=NUMBERS,
            by_contributor=st.dictionaries(IDS, NUMBERS, max_size=3),
            by_verdict=st.dictionaries(IDS, NUMBERS, max_size=3),
            max_distances=st.sampled_from([{}, {"PDQ": 31}]),
        ),
        rows=NUMBERS,
        is_cut=st.booleans(),
    ),
    st.builds(tasks.ReportResult, revision=NUMBERS, files=several(FILES)),
    st.builds(
        r.Agreement,
        revision=NUMBERS,
        items=NUMBERS,
        dimensions=several(
            st.builds(
                r.DimensionAgreement,
                dimension=IDS,
                items=NUMBERS,
                contributors=st.integers(0, 99),
                metric=IDS,
                alpha=MAYBE,
                low=MAYBE,
                high=MAYBE,
            )
        ),
        contributors=several(AGREEING),
        confusions=several(
            st.builds(r.Confusion, contributor=IDS, dimension=IDS, consensus=WORDS, stated=WORDS, share=SHARES)
        ),
        drift=several(AGREEING),
        suggestions=several(
            st.builds(
                r.SuggestedRow,
                scheme=SCHEMES,
                value=WORDS,
                other_scheme=SCHEMES,
                other_value=WORDS,
                share=SHARES,
                relation=WORDS,
                examples=several(st.tuples(ENTRIES, ENTRIES)),
                contributors=several(IDS),
            )
        ),
    ),
)
METHOD_OF = {kind: method for method, kind in tasks.RESPONSE_OF.items()}


def operation(**fields: Any) -> Operation:
    base = {"id": "op-1", "method": "FindLinks", "request": b"", "actor": Actor("ada", "nl", Role.OPERATOR)}
    return Operation(**{**base, "create_time": TIME, "update_time": TIME, **fields})


def sent(value: Operation) -> Operation:
    return wire.operation_from_pb(v1.Operation.FromString(wire.operation_to_pb(value).SerializeToString()))


@given(RESPONSES)
def test_every_response_arrives_as_it_was(response: Any) -> None:
    method = METHOD_OF[type(response)]
    ended = operation(
        method=method, state=OperationState.SUCCEEDED, response=msgspec.json.encode(response), end_time=TIME
    )
    arrived = sent(ended)
    assert msgspec.json.decode(arrived.response, type=type(response)) == response
    assert msgspec.structs.replace(arrived, response=b"") == msgspec.structs.replace(ended, response=b"")


@given(st.builds(r.Link, left=ENTRIES, right=ENTRIES, algorithm=IDS, distance=st.integers(0, 256),
                 is_exact=st.booleans(), why=WORDS))  # fmt: skip
def test_links(link: r.Link) -> None:
    assert wire.LINK.from_pb(wire.LINK.to_pb(link)) == link


@given(st.builds(r.Gap, entries=several(ENTRIES), jurisdictions=several(COUNTRIES), contributors=several(IDS),
                 verdicts=several(WORDS), entry_count=NUMBERS))  # fmt: skip
def test_gaps(gap: r.Gap) -> None:
    assert wire.GAP.from_pb(wire.GAP.to_pb(gap)) == gap


@pytest.mark.parametrize(
    "task",
    [
        tasks.ExtractEntries(),
        tasks.ComputeOverlap(by=r.By.JURISDICTION, near=True, engine=r.Backend.RAY),
        tasks.ComputeAgreement(engine=r.Backend.RAY),
        tasks.FindLinks(near=True),
        tasks.FindGaps(jurisdiction="NL", near=True),
        tasks.WriteReport(title="Three", jurisdictions=("NL", "GB"), near=True),
    ],
    ids=lambda t: type(t).__name__,
)
def test_every_task_arrives_as_it_was(task: tasks.Task) -> None:
    request = wire.task_to_pb(task)
    assert wire.task_from_pb(request) == task
    assert tasks.task_from_json(msgspec.json.encode(task)) == task
    assert request.DESCRIPTOR.name == f"{tasks.method_of(task)}Request"


def test_what_is_not_stated_is_the_plainest() -> None:
    assert wire.task_from_pb(v1.ComputeOverlapRequest()) == tasks.ComputeOverlap()
    with pytest.raises(InvalidArgument) as refused:
        wire.task_from_pb(v1.ComputeOverlapRequest(by=99, engine=99))  # type: ignore[arg-type]  # of a newer client
    assert [v.field for v in refused.value.violations] == ["by", "engine"]


def test_states_and_failures() -> None:
    for state in (OperationState.WAITING, OperationState.RUNNING):
        assert sent(operation(state=state, done=3, total=9, doing="x")).state is state
    for code, reason, state in (
        (StatusCode.CANCELLED, Reason.OPERATION_CANCELLED, OperationState.CANCELLED),
        (StatusCode.ABORTED, Reason.OPERATION_ABORTED, OperationState.FAILED),
        (StatusCode.PERMISSION_DENIED, Reason.RESULT_WITHHELD, OperationState.FAILED),
    ):
        failure = Failure(code=code, reason=reason, message="why")
        failed = operation(state=state, failure=failure, end_time=TIME)
        assert sent(failed) == failed
        pb = wire.operation_to_pb(failed)
        assert pb.done
        assert json.loads(json_format.MessageToJson(pb))["error"]["message"] == "why"
    assert wire.operation_to_pb(operation(state=OperationState.CANCELLED, failure=Failure(
        code=StatusCode.CANCELLED, reason=Reason.OPERATION_CANCELLED, message="x"))).error.code == 1  # fmt: skip


def test_in_a_list_a_response_is_there_and_says_nothing() -> None:
    ended = operation(state=OperationState.SUCCEEDED, response=b"not read", end_time=TIME)
    pb = wire.operation_to_pb(ended, is_brief=True)
    assert pb.WhichOneof("result") == "response"
    arrived = wire.operation_from_pb(pb)
    assert (arrived.state, arrived.response) == (OperationState.SUCCEEDED, b"")
