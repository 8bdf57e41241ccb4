"""Imports, with their rejects and findings: the messages, to the model and back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from hashhub import v1
from hashhub.errors import Violation
from hashhub.model import Counts, Disposition, Finding, Import, ImportState, Marking, Reject
from hashhub.wire import names
from hashhub.wire.fields import (
    EnumMap,
    Sendable,
    Violations,
    build,
    check_text,
    checked,
    collect,
    enums,
    read_time,
    refuse,
    require,
    timestamp,
)
from hashhub.wire.hash_sets import marking_from_pb, marking_to_pb

_IMPORT_STATE: Final = EnumMap(ImportState, v1.ImportState, "IMPORT_STATE_", ImportState.OPEN)
_DISPOSITION: Final = EnumMap(Disposition, v1.Disposition, "DISPOSITION_")


def import_to_pb(value: Import) -> v1.Import:
    counts = value.counts
    with Sendable("import"):
        return v1.Import(
            name=names.import_name(value.contributor, value.hash_set, value.id) if value.id else "",
            connector=value.connector,
            connector_version=value.connector_version,
            source_digest=value.source_digest,
            replace=value.replace,
            state=_IMPORT_STATE.to_pb(value.state),
            batch_count=value.batch_count,
            item_count=value.item_count,
            counts=v1.ImportCounts(
                item_count=counts.items,
                accepted_count=counts.accepted,
                quarantined_count=counts.quarantined,
                rejected_count=counts.rejected,
                duplicate_count=counts.duplicate,
                unchanged_count=counts.unchanged,
                withdrawn_count=counts.withdrawn,
                noted_count=counts.noted,
                superseded_count=counts.superseded,
                absent_count=counts.absent,
                stays_withdrawn_count=counts.stays_withdrawn,
            ),
            has_classifications=value.has_classifications,
            actor=names.token_name(value.actor) if value.actor else "",
            create_time=timestamp(value.create_time),
            commit_time=timestamp(value.commit_time),
            commit_revision=value.revision,
            takes_columns=True,
            terms=map(marking_to_pb, value.terms),
        )


def import_from_pb(pb: v1.Import, *, hash_set: tuple[str, str] | None = None, at: str = "import") -> Import:
    """Return the import. `hash_set`: the contributor's and hash set's ids from a create request's parent; the id is
    then empty.
    """
    wrong: list[Violation] = []
    if hash_set is None:
        contributor, set_id, import_id = checked(wrong, names.parse_import, pb.name, f"{at}.name") or ("", "", "")
    else:
        contributor, set_id, import_id = *hash_set, ""
    counts = pb.counts
    values = {
        "id": import_id,
        "contributor": contributor,
        "hash_set": set_id,
        "connector": pb.connector,
        "connector_version": pb.connector_version,
        "source_digest": pb.source_digest,
        "replace": pb.replace,
        "state": _IMPORT_STATE.from_pb(pb.state, f"{at}.state", wrong),
        "batch_count": pb.batch_count,
        "item_count": pb.item_count,
        "counts": Counts(
            items=counts.item_count,
            accepted=counts.accepted_count,
            quarantined=counts.quarantined_count,
            rejected=counts.rejected_count,
            duplicate=counts.duplicate_count,
            unchanged=counts.unchanged_count,
            withdrawn=counts.withdrawn_count,
            noted=counts.noted_count,
            superseded=counts.superseded_count,
            absent=counts.absent_count,
            stays_withdrawn=counts.stays_withdrawn_count,
        ),
        "has_classifications": pb.has_classifications if pb.HasField("has_classifications") else None,
        "terms": tuple(
            collect(wrong, marking_from_pb, one, f"{at}.terms[{i}]", Marking()) for i, one in enumerate(pb.terms)
        ),
        "actor": checked(wrong, names.parse_token, pb.actor, f"{at}.actor") or "" if pb.actor else "",
        "revision": pb.commit_revision,
        "create_time": read_time(pb, "create_time", at, wrong),
        "commit_time": read_time(pb, "commit_time", at, wrong),
    }
    return build(Import, values, wrong, at, {})


def reject_to_pb(reject: Reject) -> v1.Reject:
    with Sendable("reject", expected="Reject"):
        return v1.Reject(position=reject.position, reason=reject.reason, detail=reject.detail)


def rejects_from_pb(rejects: Iterable[v1.Reject], at: str = "rejects") -> list[Reject]:
    """Return the rejects, or raise InvalidArgument with the violations of all of them."""
    wrong = Violations()
    rejects_read = []
    for i, pb in enumerate(rejects):
        require(pb, f"{at}[{i}]", ("position", "reason"), wrong)
        for field in ("position", "reason", "detail"):
            check_text(getattr(pb, field), f"{at}[{i}].{field}", wrong)
        rejects_read.append(Reject(pb.position, pb.reason, pb.detail))
    refuse(wrong)
    return rejects_read


def finding_to_pb(finding: Finding, contributor: str, hash_set: str) -> v1.Finding:
    """Return the message of a finding of an import into this hash set."""
    return v1.Finding(
        position=finding.position,
        disposition=_DISPOSITION.to_pb(finding.disposition),
        reason=finding.reason,
        detail=finding.detail,
        entry=names.entry_name(contributor, hash_set, finding.entry_id) if finding.entry_id else "",
    )


def finding_from_pb(pb: v1.Finding, at: str = "finding") -> Finding:
    wrong: list[Violation] = []
    entry_id = 0
    if pb.entry:
        _, _, entry_id = checked(wrong, names.parse_entry, pb.entry, f"{at}.entry") or ("", "", 0)
    disposition = _DISPOSITION.from_pb(pb.disposition, f"{at}.disposition", wrong)
    refuse(wrong)
    return Finding(pb.position, disposition, pb.reason, pb.detail, entry_id)


def dispositions_to_pb(dispositions: Iterable[Disposition]) -> list[v1.Disposition]:
    return [_DISPOSITION.to_pb(value) for value in dispositions]


def dispositions_from_pb(dispositions: Iterable[int], at: str = "dispositions") -> tuple[Disposition, ...]:
    return enums(_DISPOSITION, dispositions, at)
