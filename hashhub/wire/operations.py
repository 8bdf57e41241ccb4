"""Operations, what they take and what they answer with: the messages, to the model and back."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec
from google.rpc.status_pb2 import Status

from hashhub import v1
from hashhub.errors import Code, HashHubError, InvalidArgument, Violation
from hashhub.model import Actor, Failure, Operation, OperationState, Reliability
from hashhub.reconcile import results as r
from hashhub.reconcile import tasks
from hashhub.wire import names
from hashhub.wire.administration import ROLE
from hashhub.wire.conflicts import RELIABILITY
from hashhub.wire.fields import EnumMap, read_time, refuse, timestamp
from hashhub.wire.status import error_of, error_to_status, status_pb_to_error

_BY: Final = EnumMap(r.By, v1.ComparedBy, "COMPARED_BY_", default=r.By.HASH_SET)
_ENGINE: Final = EnumMap(r.Engine, v1.Engine, "ENGINE_", default=r.Engine.DUCKDB)

# Requests


def task_from_pb(request: Any) -> tasks.Task:
    """Return what a request of one of the calls that start operations asks for."""
    wrong: list[Violation] = []
    task: tasks.Task
    whose: dict[str, Any] = {}
    if not isinstance(request, v1.ExtractEntriesRequest):
        whose["contributors"] = tuple(names.parse_contributor(x, "contributors") for x in request.contributors)
        if request.min_reliability:
            whose["min_reliability"] = RELIABILITY.from_pb(request.min_reliability, "min_reliability", wrong)
    match request:
        case v1.ExtractEntriesRequest():
            task = tasks.ExtractEntries()
        case v1.ComputeOverlapRequest():
            by, engine = _BY.from_pb(request.by, "by", wrong), _ENGINE.from_pb(request.engine, "engine", wrong)
            task = tasks.ComputeOverlap(by=by, near=request.near, engine=engine, **whose)
        case v1.ComputeAgreementRequest():
            task = tasks.ComputeAgreement(engine=_ENGINE.from_pb(request.engine, "engine", wrong), **whose)
        case v1.FindLinksRequest():
            task = tasks.FindLinks(near=request.near, **whose)
        case v1.FindGapsRequest():
            task = tasks.FindGaps(jurisdiction=request.jurisdiction, near=request.near, **whose)
        case v1.WriteReportRequest():
            task = tasks.WriteReport(
                title=request.title, jurisdictions=tuple(request.jurisdictions), near=request.near, **whose
            )
        case _:
            raise HashHubError("this request starts no operation")
    refuse(wrong)
    return task


def task_to_pb(task: tasks.Task, request_id: str) -> Any:
    """Return the request of the call that is named as the task."""
    more: dict[str, Any] = {"request_id": request_id}
    if isinstance(task, tasks.Compare):
        more["contributors"] = map(names.contributor_name, task.contributors)
        if task.min_reliability is not None:
            more["min_reliability"] = RELIABILITY.to_pb(task.min_reliability)
    match task:
        case tasks.ExtractEntries():
            return v1.ExtractEntriesRequest(**more)
        case tasks.ComputeOverlap():
            return v1.ComputeOverlapRequest(
                by=_BY.to_pb(task.by), near=task.near, engine=_ENGINE.to_pb(task.engine), **more
            )
        case tasks.ComputeAgreement():
            return v1.ComputeAgreementRequest(engine=_ENGINE.to_pb(task.engine), **more)
        case tasks.FindLinks():
            return v1.FindLinksRequest(near=task.near, **more)
        case tasks.FindGaps():
            return v1.FindGapsRequest(jurisdiction=task.jurisdiction, near=task.near, **more)
        case tasks.WriteReport():
            return v1.WriteReportRequest(title=task.title, jurisdictions=task.jurisdictions, near=task.near, **more)


# Operations


def operation_to_pb(operation: Operation, *, is_brief: bool = False) -> v1.Operation:
    """Return the message; `is_brief`: in a list, without what the response says."""
    by = operation.actor
    pb = v1.Operation(
        name=names.operation_name(operation.id),
        metadata=v1.OperationMetadata(
            method=operation.method,
            actor=names.token_name(by.name),
            contributor=names.contributor_name(by.contributor) if by.contributor else "",
            role=ROLE.to_pb(by.role),
            waiting=operation.state is OperationState.WAITING,
            done_count=operation.done,
            total_count=operation.total,
            doing=operation.doing,
            create_time=timestamp(operation.create_time),
            update_time=timestamp(operation.update_time),
            end_time=timestamp(operation.end_time),
            expire_time=timestamp(operation.expire_time),
            cancelled=operation.is_cancelled,
        ),
        done=operation.has_ended,
    )
    if operation.failure is not None:
        pb.error.CopyFrom(_status(operation.failure))
    elif operation.has_ended and is_brief:
        pb.response.SetInParent()
    elif operation.has_ended:
        response: Any = msgspec.json.decode(operation.response, type=tasks.RESPONSE_OF[operation.method])
        pb.response.CopyFrom(_response_to_pb(response))
    return pb


def operation_from_pb(pb: v1.Operation, at: str = "operation") -> Operation:
    """Return an operation; `response` is JSON of what its method answers with."""
    wrong: list[Violation] = []
    about = pb.metadata
    create_time = read_time(about, "create_time", f"{at}.metadata", wrong)
    update_time = read_time(about, "update_time", f"{at}.metadata", wrong)
    role = ROLE.from_pb(about.role, f"{at}.metadata.role", wrong)
    if about.method not in tasks.RESPONSE_OF:
        wrong.append(Violation(f"{at}.metadata.method", f"is not known: {about.method[:40]!r}", "UNKNOWN_VALUE"))
    if create_time is None or update_time is None:
        wrong.append(Violation(f"{at}.metadata.create_time", "is missing", "REQUIRED"))
    refuse(wrong)
    failure, response = None, b""
    state = OperationState.WAITING if about.waiting else OperationState.RUNNING
    match pb.WhichOneof("result"):
        case "error":
            error = status_pb_to_error(pb.error)
            failure = Failure(code=error.code, reason=error.reason, message=error.message)
            state = OperationState.CANCELLED if error.code is Code.CANCELLED else OperationState.FAILED
        case "response":
            state = OperationState.SUCCEEDED
            if pb.response.WhichOneof("response"):
                response = msgspec.json.encode(_response_from_pb(pb.response))
    return Operation(
        id=names.parse_operation(pb.name, f"{at}.name"),
        method=about.method,
        request=b"",
        actor=Actor(
            names.parse_token(about.actor, f"{at}.metadata.actor"),
            names.parse_contributor(about.contributor, f"{at}.metadata.contributor") if about.contributor else "",
            role,
        ),
        state=state,
        done=about.done_count,
        total=about.total_count,
        doing=about.doing,
        create_time=create_time,  # type: ignore[arg-type]  # refused above
        update_time=update_time,  # type: ignore[arg-type]  # likewise
        end_time=read_time(about, "end_time", f"{at}.metadata", wrong),
        expire_time=read_time(about, "expire_time", f"{at}.metadata", wrong),
        response=response,
        failure=failure,
        is_cancelled=about.cancelled,
    )


def _status(failure: Failure) -> Status:
    return error_to_status(error_of(failure.code, failure.reason, failure.message))


# Responses


def _response_to_pb(response: tasks.Response) -> v1.OperationResponse:
    match response:
        case tasks.ExtractMade():
            return v1.OperationResponse(
                extract_entries=v1.ExtractEntriesResponse(
                    extract_revision=response.revision,
                    hash_sets=map(_hash_set_to_pb, response.hash_sets),
                    left_out=map(_hash_set_to_pb, response.left_out),
                    files=map(_file_to_pb, response.files),
                )
            )
        case r.Overlap():
            return v1.OperationResponse(compute_overlap=overlap_to_pb(response))
        case r.Agreement():
            return v1.OperationResponse(compute_agreement=agreement_to_pb(response))
        case tasks.LinksFound():
            return v1.OperationResponse(
                find_links=v1.FindLinksResponse(
                    extract_revision=response.revision,
                    exact_count=response.exact,
                    near_count=response.near,
                    row_count=response.rows,
                    cut=response.is_cut,
                    left_out=map(_left_out_to_pb, response.left_out),
                )
            )
        case tasks.GapsFound():
            gaps = response.gaps
            return v1.OperationResponse(
                find_gaps=v1.FindGapsResponse(
                    jurisdiction=gaps.jurisdiction,
                    extract_revision=gaps.revision,
                    item_count=gaps.items,
                    counts_by_contributor={names.contributor_name(k): v for k, v in gaps.by_contributor.items()},
                    counts_by_verdict=gaps.by_verdict,
                    row_count=response.rows,
                    cut=response.is_cut,
                    max_distances=gaps.max_distances,
                    left_out=map(_left_out_to_pb, gaps.left_out),
                )
            )
        case tasks.ReportMade():
            return v1.OperationResponse(
                write_report=v1.WriteReportResponse(
                    extract_revision=response.revision,
                    files=map(_file_to_pb, response.files),
                    left_out=map(_left_out_to_pb, response.left_out),
                )
            )


def _response_from_pb(pb: v1.OperationResponse) -> tasks.Response:
    match pb.WhichOneof("response"):
        case "extract_entries":
            made = pb.extract_entries
            return tasks.ExtractMade(
                revision=made.extract_revision,
                hash_sets=tuple(map(_hash_set_from_pb, made.hash_sets)),
                left_out=tuple(map(_hash_set_from_pb, made.left_out)),
                files=tuple(map(_file_from_pb, made.files)),
            )
        case "compute_overlap":
            return overlap_from_pb(pb.compute_overlap)
        case "compute_agreement":
            return agreement_from_pb(pb.compute_agreement)
        case "find_links":
            links = pb.find_links
            return tasks.LinksFound(
                revision=links.extract_revision,
                exact=links.exact_count,
                near=links.near_count,
                rows=links.row_count,
                is_cut=links.cut,
                left_out=_left_out_from_pb(links.left_out),
            )
        case "find_gaps":
            gaps = pb.find_gaps
            return tasks.GapsFound(
                gaps=r.Gaps(
                    jurisdiction=gaps.jurisdiction,
                    revision=gaps.extract_revision,
                    items=gaps.item_count,
                    by_contributor={
                        names.parse_contributor(k): gaps.counts_by_contributor[k]
                        for k in sorted(gaps.counts_by_contributor)
                    },
                    by_verdict=dict(sorted(gaps.counts_by_verdict.items())),
                    max_distances=dict(sorted(gaps.max_distances.items())),
                    left_out=_left_out_from_pb(gaps.left_out),
                ),
                rows=gaps.row_count,
                is_cut=gaps.cut,
            )
        case "write_report":
            made_report = pb.write_report
            return tasks.ReportMade(
                revision=made_report.extract_revision,
                files=tuple(map(_file_from_pb, made_report.files)),
                left_out=_left_out_from_pb(made_report.left_out),
            )
    raise InvalidArgument.field("response", "is of a kind that this version does not know", "UNKNOWN_VALUE")


def _left_out_to_pb(x: r.LeftOut) -> v1.ContributorLeftOut:
    reliability = RELIABILITY.to_pb(Reliability(x.reliability))
    return v1.ContributorLeftOut(
        contributor=names.contributor_name(x.contributor), reliability=reliability, by_choice=x.by_choice
    )


def _left_out_from_pb(pbs: Iterable[v1.ContributorLeftOut]) -> tuple[r.LeftOut, ...]:
    wrong: list[Violation] = []
    left_out = tuple(
        r.LeftOut(
            contributor=names.parse_contributor(pb.contributor),
            reliability=RELIABILITY.from_pb(pb.reliability, "left_out.reliability", wrong),
            by_choice=pb.by_choice,
        )
        for pb in pbs
    )
    refuse(wrong)
    return left_out


def _file_to_pb(file: tasks.File) -> v1.ResultFile:
    return v1.ResultFile(path=file.path, sha256=file.sha256, size_bytes=file.size)


def _file_from_pb(pb: v1.ResultFile) -> tasks.File:
    return tasks.File(path=pb.path, sha256=pb.sha256, size=pb.size_bytes)


def _hash_set_to_pb(name: str) -> str:
    return names.hash_set_name(*name.split("/"))


def _hash_set_from_pb(name: str) -> str:
    return "/".join(names.parse_hash_set(name))


def _entry_to_pb(name: str) -> str:
    contributor, hash_set, entry = name.split("/")
    return names.entry_name(contributor, hash_set, int(entry))


def _entry_from_pb(name: str) -> str:
    return "/".join(map(str, names.parse_entry(name)))


_NAMES: Final[dict[r.By, tuple[Callable[[str], str], Callable[[str], str]]]] = {
    r.By.HASH_SET: (_hash_set_to_pb, _hash_set_from_pb),
    r.By.CONTRIBUTOR: (names.contributor_name, names.parse_contributor),
    r.By.JURISDICTION: (str, str),
}


def overlap_to_pb(overlap: r.Overlap) -> v1.ComputeOverlapResponse:
    named = _NAMES[overlap.by][0]
    return v1.ComputeOverlapResponse(
        by=_BY.to_pb(overlap.by),
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
        left_out=map(_left_out_to_pb, overlap.left_out),
    )


def overlap_from_pb(pb: v1.ComputeOverlapResponse) -> r.Overlap:
    wrong: list[Violation] = []
    by = _BY.from_pb(pb.by, "by", wrong)
    refuse(wrong)
    plain = _NAMES[by][1]
    groups = [(plain(g.name), g) for g in pb.groups]
    return r.Overlap(
        by=by,
        revision=pb.extract_revision,
        names=tuple(name for name, _ in groups),
        entries={name: g.entry_count for name, g in groups},
        alone={name: g.alone_count for name, g in groups},
        cells=tuple(
            r.OverlapCell(left=plain(c.left), right=plain(c.right), exact=c.exact_count, near=c.near_count)
            for c in pb.cells
        ),
        max_distances=dict(sorted(pb.max_distances.items())),
        left_out=_left_out_from_pb(pb.left_out),
    )


def agreement_to_pb(agreement: r.Agreement) -> v1.ComputeAgreementResponse:
    return v1.ComputeAgreementResponse(
        extract_revision=agreement.revision,
        item_count=agreement.items,
        dimensions=(
            v1.DimensionAgreement(
                dimension=d.dimension,
                item_count=d.items,
                contributor_count=d.contributors,
                metric=d.metric,
                alpha=d.alpha,
                low=d.low,
                high=d.high,
            )
            for d in agreement.dimensions
        ),
        contributors=map(_agreeing_to_pb, agreement.contributors),
        confusions=(
            v1.Confusion(
                contributor=names.contributor_name(c.contributor),
                dimension=c.dimension,
                consensus=c.consensus,
                stated=c.stated,
                share=_share_to_pb(c.share),
            )
            for c in agreement.confusions
        ),
        drift=map(_agreeing_to_pb, agreement.drift),
        suggestions=(
            v1.SuggestedRow(
                scheme=f"schemes/{s.scheme}",
                value=s.value,
                other_scheme=f"schemes/{s.other_scheme}",
                other_value=s.other_value,
                share=_share_to_pb(s.share),
                relation=s.relation,
                examples=(v1.EntryPair(left=_entry_to_pb(a), right=_entry_to_pb(b)) for a, b in s.examples),
                contributors=map(names.contributor_name, s.contributors),
            )
            for s in agreement.suggestions
        ),
        left_out=map(_left_out_to_pb, agreement.left_out),
    )


def agreement_from_pb(pb: v1.ComputeAgreementResponse) -> r.Agreement:
    def optional(of: v1.DimensionAgreement, field: str) -> float | None:
        return float(getattr(of, field)) if of.HasField(field) else None

    return r.Agreement(
        revision=pb.extract_revision,
        items=pb.item_count,
        dimensions=tuple(
            r.DimensionAgreement(
                dimension=d.dimension,
                items=d.item_count,
                contributors=d.contributor_count,
                metric=d.metric,
                alpha=optional(d, "alpha"),
                low=optional(d, "low"),
                high=optional(d, "high"),
            )
            for d in pb.dimensions
        ),
        contributors=tuple(map(_agreeing_from_pb, pb.contributors)),
        confusions=tuple(
            r.Confusion(
                contributor=names.parse_contributor(c.contributor),
                dimension=c.dimension,
                consensus=c.consensus,
                stated=c.stated,
                share=_share_from_pb(c.share),
            )
            for c in pb.confusions
        ),
        drift=tuple(map(_agreeing_from_pb, pb.drift)),
        suggestions=tuple(
            r.SuggestedRow(
                scheme=names.parse_scheme(s.scheme),
                value=s.value,
                other_scheme=names.parse_scheme(s.other_scheme),
                other_value=s.other_value,
                share=_share_from_pb(s.share),
                relation=s.relation,
                examples=tuple((_entry_from_pb(e.left), _entry_from_pb(e.right)) for e in s.examples),
                contributors=tuple(names.parse_contributor(c) for c in s.contributors),
            )
            for s in pb.suggestions
        ),
        left_out=_left_out_from_pb(pb.left_out),
    )


def _agreeing_to_pb(value: r.ContributorAgreement) -> v1.ContributorAgreement:
    return v1.ContributorAgreement(
        contributor=names.contributor_name(value.contributor),
        dimension=value.dimension,
        share=_share_to_pb(value.share),
        period=value.period,
        by_one_other_count=value.by_one_other,
    )


def _agreeing_from_pb(pb: v1.ContributorAgreement) -> r.ContributorAgreement:
    return r.ContributorAgreement(
        contributor=names.parse_contributor(pb.contributor),
        dimension=pb.dimension,
        share=_share_from_pb(pb.share),
        period=pb.period,
        by_one_other=pb.by_one_other_count,
    )


def _share_to_pb(share: r.Share) -> v1.Share:
    return v1.Share(count=share.count, item_count=share.items, low=share.low, high=share.high)


def _share_from_pb(pb: v1.Share) -> r.Share:
    return r.Share(count=pb.count, items=pb.item_count, low=pb.low, high=pb.high)


# Rows


def link_to_pb(link: r.Link) -> v1.Link:
    return v1.Link(
        left=_entry_to_pb(link.left),
        right=_entry_to_pb(link.right),
        algorithm=link.algorithm,
        distance=link.distance,
        exact=link.is_exact,
        why=link.why,
    )


def link_from_pb(pb: v1.Link) -> r.Link:
    return r.Link(
        left=_entry_from_pb(pb.left),
        right=_entry_from_pb(pb.right),
        algorithm=pb.algorithm,
        distance=pb.distance,
        is_exact=pb.exact,
        why=pb.why,
    )


def gap_to_pb(gap: r.Gap) -> v1.Gap:
    return v1.Gap(
        entries=map(_entry_to_pb, gap.entries),
        jurisdictions=gap.jurisdictions,
        contributors=map(names.contributor_name, gap.contributors),
        verdicts=gap.verdicts,
        entry_count=gap.entry_count,
    )


def gap_from_pb(pb: v1.Gap) -> r.Gap:
    return r.Gap(
        entries=tuple(map(_entry_from_pb, pb.entries)),
        jurisdictions=tuple(pb.jurisdictions),
        contributors=tuple(names.parse_contributor(c) for c in pb.contributors),
        verdicts=tuple(pb.verdicts),
        entry_count=pb.entry_count,
    )
