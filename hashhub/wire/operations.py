"""Conflicts, operations, what they take and what they answer with: the messages, to the model and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from hashhub import v1
from hashhub.errors import HashHubError, InvalidArgument, StatusCode, Violation
from hashhub.model import (
    Actor,
    Conflict,
    ConflictChanges,
    ConflictCount,
    ConflictFilter,
    ConflictingContributor,
    ConflictOrder,
    ConflictParty,
    ConflictResolution,
    ConflictStatement,
    ConflictSummary,
    Failure,
    Operation,
    OperationState,
    Reliability,
)
from hashhub.reconcile import results as r
from hashhub.reconcile import tasks
from hashhub.wire import fields
from hashhub.wire.codec import NOT_NEGATIVE, TEXT, FieldCodec, Ids, MessageCodec, messages, name_of, names_of
from hashhub.wire.fields import BY, RELIABILITY, refuse
from hashhub.wire.status import error_of, error_to_status, status_pb_to_error

_CONTRIBUTOR: Final = name_of("Contributor", is_required=True)
_CONTRIBUTORS: Final = names_of("Contributor")
_ENTRY: Final = name_of("Entry", is_required=True)
_SCHEME: Final = name_of("Scheme", is_required=True)

MessageCodec(ConflictStatement, v1.ConflictStatement, entry=_ENTRY)
MessageCodec(
    ConflictParty,
    v1.ConflictParty,
    ids=Ids(
        ("hash_set", "contributor"),
        lambda hash_set, _: fields.resource_name("HashSet", hash_set),
        lambda name, field: ("/".join(parts := fields.parse_hash_set(name, field)), parts[0]),
        "hash_set",
    ),
)
MessageCodec(
    ConflictResolution,
    v1.ConflictResolution,
    contributor=name_of("Contributor"),
    actor=name_of("Token"),
    decided_for=name_of("Contributor"),
    revision="create_revision",
)
CONFLICT: Final = MessageCodec(
    Conflict,
    v1.Conflict,
    at="conflict",
    sends="",
    name=name_of("Conflict", is_required=True),
    revision="conflict_revision",
    ended_side=name_of("HashSet"),
)
CONFLICT_FILTER: Final = MessageCodec(
    ConflictFilter,
    v1.ConflictFilter,
    at="filter",
    sends="ConflictFilter",
    contributor=name_of("Contributor"),
    other=name_of("Contributor"),
    hash_set=name_of("HashSet"),
    jurisdiction=TEXT,
    since_revision=NOT_NEGATIVE,
    assignee=TEXT,
    entry=name_of("Entry"),
)
MessageCodec(ConflictCount, v1.ConflictCount, left=_CONTRIBUTOR, right=_CONTRIBUTOR)
MessageCodec(
    ConflictingContributor,
    v1.ConflictingContributor,
    contributor=_CONTRIBUTOR,
    conflicts="conflict_count",
    items="item_count",
    others="other_count",
)
CONFLICT_ORDER: Final = MessageCodec(
    ConflictOrder,
    v1.ChangeConflictsRequest,
    sends="ConflictOrder",
    assignee=TEXT,
    comment=TEXT,
    decided_for=name_of("Contributor"),
)
CONFLICT_CHANGES: Final = MessageCodec(
    ConflictChanges,
    v1.ChangeConflictsResponse,
    without="action validate_only",
    selected="selected_count",
    changed="changed_count",
    skipped="skipped_counts",
    examples=names_of("Conflict"),
    revision="change_revision",
    total="total_count",
)
CONFLICT_SUMMARY: Final = MessageCodec(
    ConflictSummary, v1.SummariseConflictsResponse, at="summary", sends="", looked_upto="looked_revision"
)


# Requests

_REQUESTS: Final[dict[Any, Any]] = {
    tasks.ExtractEntries: v1.ExtractEntriesRequest,
    tasks.ComputeOverlap: v1.ComputeOverlapRequest,
    tasks.ComputeAgreement: v1.ComputeAgreementRequest,
    tasks.FindLinks: v1.FindLinksRequest,
    tasks.FindGaps: v1.FindGapsRequest,
    tasks.WriteReport: v1.WriteReportRequest,
}
_WHOSE: Final[dict[str, Any]] = {"contributors": _CONTRIBUTORS}
_TASKS: Final[dict[Any, MessageCodec[Any, Any]]] = {
    task: MessageCodec(task, request, **(_WHOSE if issubclass(task, tasks.Compare) else {}))
    for task, request in _REQUESTS.items()
}


def task_from_pb(request: Any) -> tasks.Task:
    """Return what a request of one of the calls that start operations asks for."""
    for task, kind in _REQUESTS.items():
        if isinstance(request, kind):
            asked: tasks.Task = _TASKS[task].from_pb(request)
            return asked
    raise HashHubError("this request starts no operation")


def task_to_pb(task: tasks.Task) -> Any:
    """Return the request of the call that is named as the task."""
    return _TASKS[type(task)].to_pb(task)


# Operations

_ACTOR: Final = MessageCodec(
    Actor,
    v1.OperationMetadata,
    name=name_of("Token", "actor", is_required=True),
    contributor=name_of("Contributor"),
    without="person second_person",
)
_OPERATION: Final = MessageCodec(
    Operation,
    v1.OperationMetadata,
    without="id request actor state hash_sets response failure size",
    done="done_count",
    total="total_count",
    is_cancelled="cancelled",
)


def operation_to_pb(operation: Operation, *, is_brief: bool = False) -> v1.Operation:
    """Return the message; `is_brief`: in a list, without what the response says."""
    pb = v1.Operation(
        name=fields.operation_name(operation.id),
        metadata=_OPERATION.to_pb(operation, waiting=operation.state is OperationState.WAITING),
        done=operation.has_ended,
    )
    pb.metadata.MergeFrom(_ACTOR.to_pb(operation.actor))
    if operation.failure is not None:
        failure = operation.failure
        pb.error.CopyFrom(error_to_status(error_of(failure.code, failure.reason, failure.message)))
    elif operation.has_ended and is_brief:
        pb.response.SetInParent()
    elif operation.has_ended:
        response: Any = msgspec.json.decode(operation.response, type=tasks.RESPONSE_OF[operation.method])
        field, put, _ = _RESPONSES[type(response)]
        pb.response.CopyFrom(v1.OperationResponse(**{field: put(response)}))
    return pb


def operation_from_pb(pb: v1.Operation, at: str = "operation") -> Operation:
    """Return an operation; `response` is JSON of what its method answers with."""
    about, path = pb.metadata, f"{at}.metadata"
    if about.method not in tasks.RESPONSE_OF:
        refuse([Violation(f"{path}.method", f"is not known: {about.method[:40]!r}", "UNKNOWN_VALUE")])
    failure, response = None, b""
    state = OperationState.WAITING if about.waiting else OperationState.RUNNING
    match pb.WhichOneof("result"):
        case "error":
            error = status_pb_to_error(pb.error)
            failure = Failure(code=error.code, reason=error.reason, message=error.message)
            state = OperationState.CANCELLED if error.code is StatusCode.CANCELLED else OperationState.FAILED
        case "response":
            state = OperationState.SUCCEEDED
            if pb.response.WhichOneof("response"):
                response = msgspec.json.encode(_response_from_pb(pb.response))
    return _OPERATION.from_pb(
        about,
        path,
        id=fields.parse_operation(pb.name, f"{at}.name"),
        request=b"",
        actor=_ACTOR.from_pb(about, path),
        state=state,
        response=response,
        failure=failure,
    )


# Responses

MessageCodec(
    r.Omission,
    v1.ContributorLeftOut,
    contributor=_CONTRIBUTOR,
    reliability=FieldCodec(
        lambda value: RELIABILITY.to_pb(Reliability(value)),
        lambda pb, field, at, wrong: RELIABILITY.from_pb(pb.reliability, f"{at}.{field}", wrong),
    ),
)
MessageCodec(tasks.ResultFile, v1.ResultFile, size="size_bytes")
MessageCodec(r.Proportion, v1.Share, items="item_count")
MessageCodec(r.DimensionAgreement, v1.DimensionAgreement, items="item_count", contributors="contributor_count")
MessageCodec(
    r.ContributorAgreement, v1.ContributorAgreement, contributor=_CONTRIBUTOR, by_one_other="by_one_other_count"
)
MessageCodec(r.Confusion, v1.Confusion, contributor=_CONTRIBUTOR)
MessageCodec(
    r.SuggestedRow,
    v1.SuggestedRow,
    scheme=_SCHEME,
    other_scheme=_SCHEME,
    examples=FieldCodec(
        lambda pairs: [v1.EntryPair(left=_ENTRY.put(a), right=_ENTRY.put(b)) for a, b in pairs],
        lambda pb, field, at, wrong: tuple(
            (_ENTRY.read(one, "left", at, wrong), _ENTRY.read(one, "right", at, wrong)) for one in getattr(pb, field)
        ),
    ),
    contributors=_CONTRIBUTORS,
)
_AGREEMENT: Final = MessageCodec(
    r.Agreement, v1.ComputeAgreementResponse, revision="extract_revision", items="item_count"
)
_EXTRACT: Final = MessageCodec(
    tasks.ExtractResult,
    v1.ExtractEntriesResponse,
    revision="extract_revision",
    hash_sets=names_of("HashSet"),
    left_out=names_of("HashSet"),
)
_LINKS: Final = MessageCodec(
    tasks.LinksResult,
    v1.FindLinksResponse,
    revision="extract_revision",
    exact="exact_count",
    near="near_count",
    rows="row_count",
    is_cut="cut",
)
_GAPS: Final = MessageCodec(
    r.Gaps,
    v1.FindGapsResponse,
    revision="extract_revision",
    items="item_count",
    by_contributor=FieldCodec(
        lambda counts: {fields.contributor_name(k): v for k, v in counts.items()},
        lambda pb, field, *_: {fields.parse_contributor(k): v for k, v in sorted(getattr(pb, field).items())},
        "counts_by_contributor",
    ),
    by_verdict="counts_by_verdict",
)
_REPORT: Final = MessageCodec(tasks.ReportResult, v1.WriteReportResponse, revision="extract_revision")


_NAMES: Final = {r.By.HASH_SET: "HashSet", r.By.CONTRIBUTOR: "Contributor", r.By.JURISDICTION: ""}
_LEFT_OUT: Final = messages(r.Omission)


def overlap_to_pb(overlap: r.Overlap) -> v1.ComputeOverlapResponse:
    def named(name: str) -> str:
        return fields.resource_name(_NAMES[overlap.by], name)

    return v1.ComputeOverlapResponse(
        by=BY.to_pb(overlap.by),
        extract_revision=overlap.revision,
        groups=(
            v1.OverlapGroup(name=named(n), entry_count=overlap.entries[n], alone_count=overlap.alone[n])
            for n in overlap.names
        ),
        cells=(
            v1.OverlapCell(left=named(c.left), right=named(c.right), exact_count=c.exact, near_count=c.near)
            for c in overlap.cells
        ),
        max_distances=overlap.max_distances,
        left_out=_LEFT_OUT.put(overlap.left_out),
    )


def overlap_from_pb(pb: v1.ComputeOverlapResponse) -> r.Overlap:
    wrong: list[Violation] = []
    by = BY.from_pb(pb.by, "by", wrong)
    kind = _NAMES[by]

    def plain(one: v1.OverlapGroup | v1.OverlapCell, field: str) -> str:
        name: str = name_of(kind, is_required=True).read(one, field, "", wrong) if kind else getattr(one, field)
        return name

    groups = [(plain(g, "name"), g) for g in pb.groups]
    cells = tuple(
        r.OverlapCell(left=plain(c, "left"), right=plain(c, "right"), exact=c.exact_count, near=c.near_count)
        for c in pb.cells
    )
    left_out = _LEFT_OUT.read(pb, "left_out", "", wrong)
    refuse(wrong)
    return r.Overlap(
        by=by,
        revision=pb.extract_revision,
        names=tuple(name for name, _ in groups),
        entries={name: g.entry_count for name, g in groups},
        alone={name: g.alone_count for name, g in groups},
        cells=cells,
        max_distances=dict(sorted(pb.max_distances.items())),
        left_out=left_out,
    )


_RESPONSES: Final[dict[type, tuple[str, Callable[[Any], Any], Callable[[Any], tasks.Response]]]] = {
    tasks.ExtractResult: ("extract_entries", _EXTRACT.to_pb, _EXTRACT.from_pb),
    r.Overlap: ("compute_overlap", overlap_to_pb, overlap_from_pb),
    r.Agreement: ("compute_agreement", _AGREEMENT.to_pb, _AGREEMENT.from_pb),
    tasks.LinksResult: ("find_links", _LINKS.to_pb, _LINKS.from_pb),
    tasks.GapsResult: (
        "find_gaps",
        lambda answer: _GAPS.to_pb(answer.gaps, row_count=answer.rows, cut=answer.is_cut),
        lambda pb: tasks.GapsResult(gaps=_GAPS.from_pb(pb), rows=pb.row_count, is_cut=pb.cut),
    ),
    tasks.ReportResult: ("write_report", _REPORT.to_pb, _REPORT.from_pb),
}
"""By type: where an answer stands in the message, and the two ways."""


def _response_from_pb(pb: v1.OperationResponse) -> tasks.Response:
    held = pb.WhichOneof("response")
    for field, _, read in _RESPONSES.values():
        if field == held:
            return read(getattr(pb, field))
    raise InvalidArgument.field("response", "is of a kind that this version does not know", "UNKNOWN_VALUE")


# Rows

LINK: Final = MessageCodec(r.Link, v1.Link, left=_ENTRY, right=_ENTRY, is_exact="exact")
GAP: Final = MessageCodec(r.Gap, v1.Gap, entries=names_of("Entry"), contributors=_CONTRIBUTORS)
