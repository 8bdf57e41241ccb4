"""Messages to model and back: every `X_to_pb` makes the message of a model value, every `X_from_pb` the model value of
a message.

`from_pb` is a border: it collects *all* violations before it raises, each with the path that the client sees
(`records[3].hashes[1].digest`); `at` is the path of the message itself. What is true of a value wherever it comes from
stands in `hashhub.model`, and its violations are given the client's paths here.

`to_pb` sets no `revision`: that belongs to the answer, and the servicer sets it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from hashhub import v1
from hashhub.errors import Violation
from hashhub.hashes import Hash
from hashhub.model import (
    TLP,
    Classification,
    Contributor,
    ContributorKind,
    Counts,
    Disposition,
    Entry,
    EntryState,
    Finding,
    Group,
    HashSet,
    Import,
    ImportState,
    Marking,
    Provenance,
    Purpose,
    Reject,
    Reliability,
    Review,
    ReviewKind,
    Role,
    SchemeStatus,
    Unclassified,
    Withdrawal,
    WithdrawalReason,
)
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
    read_hash,
    read_time,
    refuse,
    require,
    timestamp,
)
from hashhub.wire.records import REVIEW_KIND, put_entry_fields, read_entry_fields

_KIND: Final = EnumMap(ContributorKind, v1.ContributorKind, "CONTRIBUTOR_KIND_")
_RELIABILITY: Final = EnumMap(Reliability, v1.Reliability, "RELIABILITY_", Reliability.F)
_PURPOSE: Final = EnumMap(Purpose, v1.Purpose, "PURPOSE_", Purpose.CSAM)
_UNCLASSIFIED: Final = EnumMap(Unclassified, v1.Unclassified, "UNCLASSIFIED_", Unclassified.QUARANTINED)
_TLP: Final = EnumMap(TLP, v1.Tlp, "TLP_", TLP.AMBER)
ROLE: Final = EnumMap(Role, v1.Role, "ROLE_")
_ENTRY_STATE: Final = EnumMap(EntryState, v1.EntryState, "ENTRY_STATE_")
_IMPORT_STATE: Final = EnumMap(ImportState, v1.ImportState, "IMPORT_STATE_", ImportState.OPEN)
_DISPOSITION: Final = EnumMap(Disposition, v1.Disposition, "DISPOSITION_")
_WITHDRAWAL_REASON: Final = EnumMap(WithdrawalReason, v1.WithdrawalReason, "WITHDRAWAL_REASON_")

# Contributors and hash sets


def contributor_to_pb(contributor: Contributor) -> v1.Contributor:
    """Return the message of a contributor."""
    with Sendable("contributor"):
        return v1.Contributor(
            name=names.contributor_name(contributor.id),
            display_name=contributor.display_name,
            kind=_KIND.to_pb(contributor.kind),
            jurisdiction=contributor.jurisdiction,
            reliability=_RELIABILITY.to_pb(contributor.reliability),
            takes_from=[names.contributor_name(other) for other in contributor.takes_from],
            create_time=timestamp(contributor.create_time),
            retire_time=timestamp(contributor.retire_time),
            objections_accepted_revision=contributor.objections_accepted_revision,
        )


def contributor_from_pb(
    pb: v1.Contributor, *, contributor_id: str | None = None, at: str = "contributor"
) -> Contributor:
    """Return the contributor. `contributor_id`: the id that a create request gives instead of a name."""
    wrong: list[Violation] = []
    own_id = (
        checked(wrong, names.parse_contributor, pb.name, f"{at}.name") if contributor_id is None else contributor_id
    )
    taken = tuple(
        checked(wrong, names.parse_contributor, name, f"{at}.takes_from[{i}]") or "-"
        for i, name in enumerate(pb.takes_from)
    )
    values = {
        "id": own_id or "",
        "display_name": pb.display_name,
        "kind": _KIND.from_pb(pb.kind, f"{at}.kind", wrong),
        "jurisdiction": pb.jurisdiction,
        "reliability": _RELIABILITY.from_pb(pb.reliability, f"{at}.reliability", wrong),
        "takes_from": taken,
        "create_time": read_time(pb, "create_time", at, wrong),
        "retire_time": read_time(pb, "retire_time", at, wrong),
        "objections_accepted_revision": pb.objections_accepted_revision,
    }
    id_field = f"{at}.name" if contributor_id is None else "contributor_id"
    return build(Contributor, values, wrong, at, {"id": id_field})


def contributors_from_pb(contributors: Sequence[str], at: str) -> tuple[str, ...]:
    """Return the ids of contributors from their names, each once."""
    wrong = Violations()
    ids = [checked(wrong, names.parse_contributor, name, f"{at}[{i}]") for i, name in enumerate(contributors)]
    refuse(wrong)
    return tuple(dict.fromkeys(contributor for contributor in ids if contributor is not None))


def group_to_pb(group: Group) -> v1.Group:
    """Return the message of a group."""
    with Sendable("group"):
        return v1.Group(
            name=names.group_name(group.id),
            display_name=group.display_name,
            members=[names.contributor_name(member) for member in group.members],
            create_time=timestamp(group.create_time),
        )


def group_from_pb(pb: v1.Group, *, group_id: str | None = None, at: str = "group") -> Group:
    """Return the group. `group_id`: the id that a create request gives instead of a name."""
    wrong: list[Violation] = []
    own_id = checked(wrong, names.parse_group, pb.name, f"{at}.name") if group_id is None else group_id
    nobody: tuple[str, ...] = ()
    members = collect(wrong, contributors_from_pb, pb.members, f"{at}.members", nobody)
    values = {
        "id": own_id or "",
        "display_name": pb.display_name,
        "members": members,
        "create_time": read_time(pb, "create_time", at, wrong),
    }
    return build(Group, values, wrong, at, {"id": f"{at}.name" if group_id is None else "group_id"})


def hash_set_to_pb(hash_set: HashSet) -> v1.HashSet:
    """Return the message of a hash set."""
    with Sendable("hash_set"):
        return v1.HashSet(
            name=names.hash_set_name(hash_set.contributor, hash_set.id),
            display_name=hash_set.display_name,
            scheme=hash_set.scheme,
            purpose=_PURPOSE.to_pb(hash_set.purpose),
            review_depth=hash_set.review_depth,
            marking=marking_to_pb(hash_set.marking),
            create_time=timestamp(hash_set.create_time),
            unclassified=_UNCLASSIFIED.to_pb(hash_set.unclassified),
            accepted_revision=hash_set.accepted_revision,
        )


def hash_set_from_pb(
    pb: v1.HashSet, *, contributor: str | None = None, hash_set_id: str | None = None, at: str = "hash_set"
) -> HashSet:
    """Return the hash set. `contributor` and `hash_set_id`: what a create request gives instead of a name."""
    wrong: list[Violation] = []
    if contributor is None or hash_set_id is None:
        contributor, hash_set_id = checked(wrong, names.parse_hash_set, pb.name, f"{at}.name") or ("", "")
        fields = {"contributor": f"{at}.name", "id": f"{at}.name"}
    else:
        fields = {"contributor": "parent", "id": "hash_set_id"}
        if not pb.purpose:  # what being in the set states is for whoever makes it to say
            wrong.append(
                Violation(f"{at}.purpose", f"must be one of {_PURPOSE.expected}; it is not stated", "REQUIRED")
            )
    values = {
        "contributor": contributor,
        "id": hash_set_id,
        "display_name": pb.display_name,
        "scheme": pb.scheme,
        "purpose": _PURPOSE.from_pb(pb.purpose, f"{at}.purpose", wrong),
        "review_depth": pb.review_depth,
        "marking": collect(wrong, marking_from_pb, pb.marking, f"{at}.marking", Marking()),
        "unclassified": _UNCLASSIFIED.from_pb(pb.unclassified, f"{at}.unclassified", wrong),
        "accepted_revision": pb.accepted_revision,
        "create_time": read_time(pb, "create_time", at, wrong),
    }
    return build(HashSet, values, wrong, at, fields)


def marking_to_pb(marking: Marking) -> v1.Marking:
    """Return the message of handling terms."""
    return v1.Marking(
        tlp=_TLP.to_pb(marking.tlp),
        permitted_purposes=marking.permitted_purposes,
        legal_basis=marking.legal_basis,
        redistribution=marking.redistribution,
        recipients=marking.recipients,
        disclose_existence=marking.disclose_existence,
        bulk=marking.bulk,
        expire_time=timestamp(marking.expire_time),
    )


def marking_from_pb(pb: v1.Marking, at: str = "marking") -> Marking:
    """Return the handling terms."""
    wrong: list[Violation] = []
    values = {
        "tlp": _TLP.from_pb(pb.tlp, f"{at}.tlp", wrong),
        "permitted_purposes": tuple(pb.permitted_purposes),
        "legal_basis": pb.legal_basis,
        "redistribution": pb.redistribution,
        "recipients": tuple(pb.recipients),
        "disclose_existence": pb.disclose_existence,
        "bulk": pb.bulk,
        "expire_time": read_time(pb, "expire_time", at, wrong),
    }
    for i, purpose in enumerate(pb.permitted_purposes):
        check_text(purpose, f"{at}.permitted_purposes[{i}]", wrong)
    # The model names a marking's own fields `marking.…`.
    return build(Marking, values, wrong, at, {f"marking.{name}": f"{at}.{name}" for name in values})


# Hashes and entries


def hash_to_pb(value: Hash) -> v1.Hash:
    """Return the message of a hash."""
    return v1.Hash(algorithm=value.algorithm, digest=value.digest)


def classification_to_pb(classification: Classification) -> v1.Classification:
    """Return the message of a classification."""
    return v1.Classification(
        scheme=f"{classification.scheme}@{classification.version}",
        region=classification.region,
        value=classification.value,
        draft=classification.status is SchemeStatus.DRAFT,
        dimensions=dimensions_to_pb(classification.dimensions),
    )


def classification_from_pb(pb: v1.Classification) -> Classification:
    """Return the classification."""
    scheme, _, version = pb.scheme.partition("@")
    return Classification(
        scheme=scheme,
        version=version,
        region=pb.region,
        value=pb.value,
        status=SchemeStatus.DRAFT if pb.draft else SchemeStatus.VERIFIED,
        dimensions=dimensions_from_pb(pb.dimensions),
    )


def dimensions_to_pb(dimensions: Mapping[str, Sequence[str]]) -> dict[str, v1.DimensionValues]:
    """Return the map of a dimension's name to its possible values."""
    return {name: v1.DimensionValues(values=values) for name, values in dimensions.items()}


def dimensions_from_pb(dimensions: Mapping[str, v1.DimensionValues]) -> dict[str, tuple[str, ...]]:
    """Return the possible values by dimension."""
    return {name: tuple(dimensions[name].values) for name in sorted(dimensions)}


def entry_to_pb(entry: Entry) -> v1.Entry:
    """Return the message of an entry."""
    provenance = entry.provenance
    pb = v1.Entry(
        name=names.entry_name(entry.contributor, entry.hash_set, entry.id),
        state=_ENTRY_STATE.to_pb(entry.state),
        reasons=entry.reasons,
        provenance=v1.Provenance(
            connector=provenance.connector,
            connector_version=provenance.connector_version,
            source_digest=provenance.source_digest,
            position=provenance.position,
            member=provenance.member,
            **{"import": names.import_name(entry.contributor, entry.hash_set, provenance.import_id)},
        ),
        create_revision=entry.create_revision,
        update_revision=entry.update_revision,
    )
    put_entry_fields(pb, entry)
    add = pb.hashes.add
    for value in entry.hashes:
        add(algorithm=value.algorithm, digest=value.digest)
    if entry.classification is not None:
        pb.classification.CopyFrom(classification_to_pb(entry.classification))
    if entry.withdrawal is not None:
        pb.withdrawal.CopyFrom(withdrawal_to_pb(entry.withdrawal))
    pb.predecessors.extend(names.resource_name("Entry", name) for name in entry.predecessors)
    pb.successors.extend(names.resource_name("Entry", name) for name in entry.successors)
    return pb


def entry_from_pb(pb: v1.Entry, at: str = "entry") -> Entry:
    """Return the entry."""
    wrong: list[Violation] = []
    contributor, hash_set, entry_id = checked(wrong, names.parse_entry, pb.name, f"{at}.name") or ("", "", 0)
    source = getattr(pb.provenance, "import")
    _, _, import_id = checked(wrong, names.parse_import, source, f"{at}.provenance.import") or ("", "", "")
    values = {
        "id": entry_id,
        "contributor": contributor,
        "hash_set": hash_set,
        "hashes": tuple([read_hash(h, f"{at}.hashes[{i}]", wrong) for i, h in enumerate(pb.hashes)]),
        "state": _ENTRY_STATE.from_pb(pb.state, f"{at}.state", wrong),
        "provenance": Provenance(
            import_id=import_id,
            connector=pb.provenance.connector,
            connector_version=pb.provenance.connector_version,
            source_digest=pb.provenance.source_digest,
            position=pb.provenance.position,
            member=pb.provenance.member,
        ),
        "classification": classification_from_pb(pb.classification) if pb.HasField("classification") else None,
        "reasons": tuple(pb.reasons),
        "create_revision": pb.create_revision,
        "update_revision": pb.update_revision,
        **read_entry_fields(pb, at, wrong),
        "withdrawal": collect(wrong, withdrawal_from_pb, pb.withdrawal, f"{at}.withdrawal", None)
        if pb.HasField("withdrawal")
        else None,
        "predecessors": _entry_names(pb.predecessors, f"{at}.predecessors", wrong),
        "successors": _entry_names(pb.successors, f"{at}.successors", wrong),
    }
    return build(Entry, values, wrong, at, {})


def withdrawal_to_pb(withdrawal: Withdrawal) -> v1.Withdrawal:
    """Return the message of who withdrew an entry by hand, and why."""
    return v1.Withdrawal(
        reason=_WITHDRAWAL_REASON.to_pb(withdrawal.reason),
        comment=withdrawal.comment,
        actor=names.token_name(withdrawal.actor) if withdrawal.actor else "",
        role=ROLE.to_pb(withdrawal.role) if withdrawal.actor else v1.Role.ROLE_UNSPECIFIED,
        withdraw_revision=withdrawal.revision,
        pending=withdrawal.pending,
    )


def withdrawal_from_pb(pb: v1.Withdrawal, at: str = "withdrawal") -> Withdrawal:
    """Return who withdrew an entry by hand, and why; outsiders are not told by which token."""
    wrong: list[Violation] = []
    values = {
        "reason": _WITHDRAWAL_REASON.from_pb(pb.reason, f"{at}.reason", wrong),
        "comment": pb.comment,
        "actor": checked(wrong, names.parse_token, pb.actor, f"{at}.actor") if pb.actor else "",
        "role": ROLE.from_pb(pb.role, f"{at}.role", wrong) if pb.actor else Role.CONTRIBUTOR,
        "revision": pb.withdraw_revision,
        "pending": pb.pending,
    }
    return build(Withdrawal, values, wrong, at, {})


def withdrawal_reason_to_pb(reason: WithdrawalReason) -> v1.WithdrawalReason:
    """Return the wire value of why an entry is withdrawn."""
    number: v1.WithdrawalReason = _WITHDRAWAL_REASON.to_pb(reason)
    return number


def withdrawal_reason_from_pb(number: int, at: str = "reason") -> WithdrawalReason:
    """Return why an entry is withdrawn. Raises InvalidArgument when it is not stated."""
    wrong: list[Violation] = []
    reason = _WITHDRAWAL_REASON.from_pb(number, at, wrong)
    refuse(wrong)
    return reason


def _entry_names(pb: Iterable[str], at: str, wrong: list[Violation]) -> tuple[str, ...]:
    parsed = [checked(wrong, names.parse_entry, name, f"{at}[{i}]") or ("", "", 0) for i, name in enumerate(pb)]
    return tuple(f"{contributor}/{hash_set}/{entry_id}" for contributor, hash_set, entry_id in parsed)


def entry_states_to_pb(states: Iterable[EntryState]) -> list[v1.EntryState]:
    """Return the wire values of entry states."""
    return [_ENTRY_STATE.to_pb(state) for state in states]


def entry_states_from_pb(states: Iterable[int], at: str = "states") -> tuple[EntryState, ...]:
    """Return the entry states."""
    return enums(_ENTRY_STATE, states, at)


# Imports


def import_to_pb(value: Import) -> v1.Import:
    """Return the message of an import."""
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
        "actor": checked(wrong, names.parse_token, pb.actor, f"{at}.actor") or "" if pb.actor else "",
        "revision": pb.commit_revision,
        "create_time": read_time(pb, "create_time", at, wrong),
        "commit_time": read_time(pb, "commit_time", at, wrong),
    }
    return build(Import, values, wrong, at, {})


def reject_to_pb(reject: Reject) -> v1.Reject:
    """Return the message of a reject."""
    with Sendable("reject"):
        return v1.Reject(position=reject.position, reason=reject.reason, detail=reject.detail)


def rejects_from_pb(rejects: Iterable[v1.Reject], at: str = "rejects") -> list[Reject]:
    """Return the rejects, or raise InvalidArgument with the violations of all of them."""
    wrong = Violations()
    read = []
    for i, pb in enumerate(rejects):
        require(pb, f"{at}[{i}]", ("position", "reason"), wrong)
        for field in ("position", "reason", "detail"):
            check_text(getattr(pb, field), f"{at}[{i}].{field}", wrong)
        read.append(Reject(pb.position, pb.reason, pb.detail))
    refuse(wrong)
    return read


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
    """Return the finding."""
    wrong: list[Violation] = []
    entry_id = 0
    if pb.entry:
        _, _, entry_id = checked(wrong, names.parse_entry, pb.entry, f"{at}.entry") or ("", "", 0)
    disposition = _DISPOSITION.from_pb(pb.disposition, f"{at}.disposition", wrong)
    refuse(wrong)
    return Finding(pb.position, disposition, pb.reason, pb.detail, entry_id)


def dispositions_to_pb(dispositions: Iterable[Disposition]) -> list[v1.Disposition]:
    """Return the wire values of dispositions."""
    return [_DISPOSITION.to_pb(value) for value in dispositions]


def dispositions_from_pb(dispositions: Iterable[int], at: str = "dispositions") -> tuple[Disposition, ...]:
    """Return the dispositions."""
    return enums(_DISPOSITION, dispositions, at)


# Reviews and changes


def review_to_pb(review: Review, contributor: str, hash_set: str) -> v1.Review:
    """Return the message of a review of an entry in this hash set; a review without an id has no name yet."""

    def name(review_id: int) -> str:
        return names.review_name(contributor, hash_set, review.entry_id, review_id) if review_id else ""

    with Sendable("review"):
        return v1.Review(
            name=name(review.id),
            author=names.author_name(review.author) if review.author else "",
            kind=REVIEW_KIND.to_pb(review.kind),
            comment=review.comment,
            create_time=timestamp(review.create_time),
            actor=names.token_name(review.actor) if review.actor else "",
            role=ROLE.to_pb(review.role),
            sets_aside=name(review.sets_aside),
            awaits_acceptance=review.awaits_acceptance,
            create_revision=review.revision,
        )


def review_from_pb(pb: v1.Review, at: str = "review") -> Review:
    """Return a review that was read."""
    wrong: list[Violation] = []
    _, _, entry, review_id = checked(wrong, names.parse_review, pb.name, f"{at}.name") or ("", "", 0, 0)
    aside = checked(wrong, names.parse_review, pb.sets_aside, f"{at}.sets_aside") if pb.sets_aside else None
    values = {
        "id": review_id,
        "entry_id": entry,
        "author": checked(wrong, names.parse_author, pb.author, f"{at}.author") or "",
        "kind": REVIEW_KIND.from_pb(pb.kind, f"{at}.kind", wrong),
        "comment": pb.comment,
        "actor": (checked(wrong, names.parse_token, pb.actor, f"{at}.actor") or "") if pb.actor else "",
        "role": ROLE.from_pb(pb.role, f"{at}.role", wrong),
        "sets_aside": aside[3] if aside else 0,
        "awaits_acceptance": pb.awaits_acceptance,
        "create_time": read_time(pb, "create_time", at, wrong),
        "revision": pb.create_revision,
    }
    return build(Review, values, wrong, at, {})


def new_review_from_pb(pb: v1.Review, at: str = "review") -> tuple[ReviewKind, str]:
    """Return what a caller states about an entry: kind and comment. Who says so is not for the caller to say."""
    wrong: list[Violation] = []
    kind = REVIEW_KIND.from_pb(pb.kind, f"{at}.kind", wrong)
    check_text(pb.comment, f"{at}.comment", wrong)
    refuse(wrong)
    return kind, pb.comment
