"""Conflicts: the messages, to the model and back."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Final, TypeVar

from hashhub import v1
from hashhub.errors import Violation
from hashhub.model import (
    Conflict,
    ConflictCount,
    ConflictFilter,
    ConflictingContributor,
    ConflictKind,
    ConflictParty,
    ConflictReason,
    ConflictResolution,
    ConflictState,
    ConflictStatement,
    ConflictSummary,
    EntryState,
    Purpose,
    Reliability,
    Severity,
)
from hashhub.wire import names
from hashhub.wire.administration import ROLE
from hashhub.wire.entries import dimensions_from_pb, dimensions_to_pb, hash_to_pb
from hashhub.wire.fields import (
    EnumMap,
    Sendable,
    build,
    check_text,
    checked,
    enums,
    read_hash,
    read_time,
    refuse,
    timestamp,
)
from hashhub.wire.records import flags_from_pb, flags_to_pb

_E = TypeVar("_E", bound=StrEnum)

_KIND: Final = EnumMap(ConflictKind, v1.ConflictKind, "CONFLICT_KIND_")
_SEVERITY: Final = EnumMap(Severity, v1.Severity, "SEVERITY_")
_STATE: Final = EnumMap(ConflictState, v1.ConflictState, "CONFLICT_STATE_")
_REASON: Final = EnumMap(ConflictReason, v1.ConflictReason, "CONFLICT_REASON_")
RELIABILITY: Final = EnumMap(Reliability, v1.Reliability, "RELIABILITY_", Reliability.F)
_PURPOSE: Final = EnumMap(Purpose, v1.Purpose, "PURPOSE_", Purpose.CSAM)
_ENTRY_STATE: Final = EnumMap(EntryState, v1.EntryState, "ENTRY_STATE_")


def conflict_to_pb(conflict: Conflict) -> v1.Conflict:
    with Sendable("conflict"):
        return v1.Conflict(
            name=names.conflict_name(conflict.name),
            kind=_KIND.to_pb(conflict.kind),
            dimension=conflict.dimension,
            severity=_SEVERITY.to_pb(conflict.severity),
            state=_STATE.to_pb(conflict.state),
            left=_party_to_pb(conflict.left),
            right=_party_to_pb(conflict.right),
            why=conflict.why,
            assignee=conflict.assignee,
            resolutions=map(_resolution_to_pb, conflict.resolutions),
            open_time=timestamp(conflict.open_time),
            update_time=timestamp(conflict.update_time),
            conflict_revision=conflict.revision,
            ended_by=conflict.ended_by,
            ended_side=names.resource_name("HashSet", conflict.ended_side) if conflict.ended_side else "",
            etag=conflict.etag,
        )


def conflict_from_pb(pb: v1.Conflict, at: str = "conflict") -> Conflict:
    """Return the conflict. Raises InvalidArgument with all that is wrong."""
    wrong: list[Violation] = []
    ended = checked(wrong, names.parse_hash_set, pb.ended_side, f"{at}.ended_side") if pb.ended_side else None
    values = {
        "name": checked(wrong, names.parse_conflict, pb.name, f"{at}.name") or "",
        "kind": _KIND.from_pb(pb.kind, f"{at}.kind", wrong),
        "dimension": pb.dimension,
        "severity": _SEVERITY.from_pb(pb.severity, f"{at}.severity", wrong),
        "state": _STATE.from_pb(pb.state, f"{at}.state", wrong),
        "left": _party_from_pb(pb.left, f"{at}.left", wrong),
        "right": _party_from_pb(pb.right, f"{at}.right", wrong),
        "why": pb.why,
        "assignee": pb.assignee,
        "resolutions": tuple(
            _resolution_from_pb(r, f"{at}.resolutions[{i}]", wrong) for i, r in enumerate(pb.resolutions)
        ),
        "open_time": read_time(pb, "open_time", at, wrong),
        "update_time": read_time(pb, "update_time", at, wrong),
        "revision": pb.conflict_revision,
        "ended_by": pb.ended_by,
        "ended_side": "/".join(ended) if ended else "",
        "etag": pb.etag,
    }
    return build(Conflict, values, wrong, at, {})


def conflict_filter_to_pb(wanted: ConflictFilter) -> v1.ConflictFilter:
    def contributor(name: str) -> str:
        return names.contributor_name(name) if name else ""

    with Sendable("filter", expected="ConflictFilter"):
        return v1.ConflictFilter(
            kinds=map(_KIND.to_pb, wanted.kinds),
            severities=map(_SEVERITY.to_pb, wanted.severities),
            states=map(_STATE.to_pb, wanted.states),
            contributor=contributor(wanted.contributor),
            other=contributor(wanted.other),
            hash_set=names.resource_name("HashSet", wanted.hash_set) if wanted.hash_set else "",
            jurisdiction=wanted.jurisdiction,
            assignee=wanted.assignee,
            since_revision=wanted.since_revision,
            entry=names.resource_name("Entry", wanted.entry) if wanted.entry else "",
        )


def conflict_filter_from_pb(pb: v1.ConflictFilter, at: str = "filter") -> ConflictFilter:
    """Return the filter. Raises InvalidArgument with all that is wrong."""
    wrong: list[Violation] = []

    def contributor(field: str) -> str:
        name = getattr(pb, field)
        return (checked(wrong, names.parse_contributor, name, f"{at}.{field}") or "") if name else ""

    hash_set = checked(wrong, names.parse_hash_set, pb.hash_set, f"{at}.hash_set") if pb.hash_set else None
    entry = checked(wrong, names.parse_entry, pb.entry, f"{at}.entry") if pb.entry else None
    check_text(pb.assignee, f"{at}.assignee", wrong)
    check_text(pb.jurisdiction, f"{at}.jurisdiction", wrong)
    if pb.since_revision < 0:
        wrong.append(
            Violation(f"{at}.since_revision", f"must not be negative, got {pb.since_revision}", "OUT_OF_RANGE")
        )

    def several(table: EnumMap[_E], field: str) -> tuple[_E, ...]:
        return checked(wrong, lambda _, at: enums(table, getattr(pb, field), at), "", f"{at}.{field}") or ()

    values: dict[str, object] = {
        "kinds": several(_KIND, "kinds"),
        "severities": several(_SEVERITY, "severities"),
        "states": several(_STATE, "states"),
        "contributor": contributor("contributor"),
        "other": contributor("other"),
        "hash_set": "/".join(hash_set) if hash_set else "",
        "jurisdiction": pb.jurisdiction,
        "assignee": pb.assignee,
        "since_revision": pb.since_revision,
        "entry": "/".join(map(str, entry)) if entry else "",
    }
    return build(ConflictFilter, values, wrong, at, {})


def conflict_reason_to_pb(reason: ConflictReason) -> v1.ConflictReason:
    number: v1.ConflictReason = _REASON.to_pb(reason)
    return number


def conflict_reason_from_pb(number: int, at: str = "reason") -> ConflictReason:
    """Return what a conflict comes to. Raises InvalidArgument when it is not stated."""
    wrong: list[Violation] = []
    reason = _REASON.from_pb(number, at, wrong)
    refuse(wrong)
    return reason


def conflict_summary_to_pb(summary: ConflictSummary) -> v1.SummariseConflictsResponse:
    with Sendable("summary"):
        return v1.SummariseConflictsResponse(
            counts=(
                v1.ConflictCount(
                    left=names.contributor_name(c.left),
                    right=names.contributor_name(c.right),
                    kind=_KIND.to_pb(c.kind),
                    severity=_SEVERITY.to_pb(c.severity),
                    state=_STATE.to_pb(c.state),
                    count=c.count,
                )
                for c in summary.counts
            ),
            contributors=(
                v1.ConflictingContributor(
                    contributor=names.contributor_name(c.contributor),
                    reliability=RELIABILITY.to_pb(c.reliability),
                    conflict_count=c.conflicts,
                    item_count=c.items,
                    other_count=c.others,
                )
                for c in summary.contributors
            ),
            looked_revision=summary.looked_upto,
        )


def conflict_summary_from_pb(pb: v1.SummariseConflictsResponse) -> ConflictSummary:
    """Return the summary. Raises InvalidArgument with all that is wrong."""
    wrong: list[Violation] = []
    values = {
        "counts": tuple(
            ConflictCount(
                left=checked(wrong, names.parse_contributor, c.left, f"counts[{i}].left") or "",
                right=checked(wrong, names.parse_contributor, c.right, f"counts[{i}].right") or "",
                kind=_KIND.from_pb(c.kind, f"counts[{i}].kind", wrong),
                severity=_SEVERITY.from_pb(c.severity, f"counts[{i}].severity", wrong),
                state=_STATE.from_pb(c.state, f"counts[{i}].state", wrong),
                count=c.count,
            )
            for i, c in enumerate(pb.counts)
        ),
        "contributors": tuple(
            ConflictingContributor(
                contributor=checked(wrong, names.parse_contributor, c.contributor, f"contributors[{i}]") or "",
                reliability=RELIABILITY.from_pb(c.reliability, f"contributors[{i}].reliability", wrong),
                conflicts=c.conflict_count,
                items=c.item_count,
                others=c.other_count,
            )
            for i, c in enumerate(pb.contributors)
        ),
        "looked_upto": pb.looked_revision if pb.HasField("looked_revision") else None,
    }
    return build(ConflictSummary, values, wrong, "summary", {})


def _party_to_pb(party: ConflictParty) -> v1.ConflictParty:
    return v1.ConflictParty(
        hash_set=names.resource_name("HashSet", party.hash_set),
        jurisdiction=party.jurisdiction,
        reliability=RELIABILITY.to_pb(party.reliability),
        purpose=_PURPOSE.to_pb(party.purpose),
        entry_count=party.entry_count,
        statements=(
            v1.ConflictStatement(
                entry=names.resource_name("Entry", s.entry),
                state=_ENTRY_STATE.to_pb(s.state),
                scheme=s.scheme,
                value=s.value,
                dimensions=dimensions_to_pb(s.dimensions),
                flags=flags_to_pb(s.flags),
                digests=map(hash_to_pb, s.digests),
                create_revision=s.create_revision,
                update_revision=s.update_revision,
            )
            for s in party.statements
        ),
    )


def _party_from_pb(pb: v1.ConflictParty, at: str, wrong: list[Violation]) -> ConflictParty:
    contributor, hash_set = checked(wrong, names.parse_hash_set, pb.hash_set, f"{at}.hash_set") or ("", "")
    return ConflictParty(
        hash_set=f"{contributor}/{hash_set}",
        contributor=contributor,
        jurisdiction=pb.jurisdiction,
        reliability=RELIABILITY.from_pb(pb.reliability, f"{at}.reliability", wrong),
        purpose=_PURPOSE.from_pb(pb.purpose, f"{at}.purpose", wrong),
        entry_count=pb.entry_count,
        statements=tuple(_statement_from_pb(s, f"{at}.statements[{i}]", wrong) for i, s in enumerate(pb.statements)),
    )


def _statement_from_pb(pb: v1.ConflictStatement, at: str, wrong: list[Violation]) -> ConflictStatement:
    return ConflictStatement(
        entry="/".join(map(str, checked(wrong, names.parse_entry, pb.entry, f"{at}.entry") or ())),
        state=_ENTRY_STATE.from_pb(pb.state, f"{at}.state", wrong),
        scheme=pb.scheme,
        value=pb.value,
        dimensions=dimensions_from_pb(pb.dimensions),
        flags=flags_from_pb(pb.flags),
        digests=tuple(read_hash(h, f"{at}.digests[{i}]", wrong) for i, h in enumerate(pb.digests)),
        create_revision=pb.create_revision,
        update_revision=pb.update_revision,
    )


def _resolution_to_pb(resolution: ConflictResolution) -> v1.ConflictResolution:
    return v1.ConflictResolution(
        contributor=names.contributor_name(resolution.contributor) if resolution.contributor else "",
        actor=names.token_name(resolution.actor) if resolution.actor else "",
        role=ROLE.to_pb(resolution.role),
        reason=_REASON.to_pb(resolution.reason),
        comment=resolution.comment,
        decided_for=names.contributor_name(resolution.decided_for) if resolution.decided_for else "",
        closes=resolution.closes,
        stands=resolution.stands,
        create_time=timestamp(resolution.create_time),
        create_revision=resolution.revision,
    )


def _resolution_from_pb(pb: v1.ConflictResolution, at: str, wrong: list[Violation]) -> ConflictResolution:
    def read(parse: Callable[[str, str], str], field: str) -> str:
        name = getattr(pb, field)
        return (checked(wrong, parse, name, f"{at}.{field}") or "") if name else ""

    return ConflictResolution(
        contributor=read(names.parse_contributor, "contributor"),
        actor=read(names.parse_token, "actor"),
        role=ROLE.from_pb(pb.role, f"{at}.role", wrong),
        reason=_REASON.from_pb(pb.reason, f"{at}.reason", wrong),
        comment=pb.comment,
        decided_for=read(names.parse_contributor, "decided_for"),
        closes=pb.closes,
        stands=pb.stands,
        create_time=read_time(pb, "create_time", at, wrong),
        revision=pb.create_revision,
    )
