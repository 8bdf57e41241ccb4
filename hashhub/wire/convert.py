"""Messages to model and back: every `X_to_pb` makes the message of a model value, every `X_from_pb` the model value of a message.

`from_pb` is a border: it collects *all* violations before it raises, each with the path that the client sees
(`records[3].hashes[1].digest`); `at` is the path of the message itself. What is true of a value wherever it comes from stands in
`hashhub.model`, and its violations are given the client's paths here.

`to_pb` sets no `revision`: that belongs to the answer, and the servicer sets it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, Generic, Protocol, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

from hashhub import hashes, v1
from hashhub.errors import InvalidArgument, Violation
from hashhub.hashes import ALGORITHMS, Hash, HashError
from hashhub.model import (
    MAX_HASHES_PER_ENTRY,
    MAX_HASHES_PER_QUERY,
    MAX_TEXT,
    NO_FLAGS,
    TLP,
    Action,
    AlgorithmStatus,
    ChangedEntry,
    ChangeKind,
    Classification,
    Contributor,
    ContributorKind,
    Counts,
    Disposition,
    Entry,
    EntryMatch,
    EntryState,
    Finding,
    Flags,
    HashFault,
    HashSet,
    Import,
    ImportState,
    Marking,
    MatchOptions,
    MatchResult,
    MediaResult,
    Principal,
    Provenance,
    Purpose,
    Query,
    ReasonLine,
    Record,
    RecordReview,
    Reject,
    Reliability,
    Review,
    ReviewKind,
    Role,
    SchemeStatus,
    Status,
    Verdict,
)
from hashhub.wire import names

DEFAULT_MATCH_LIMIT: Final = 100
MAX_MATCH_LIMIT: Final = 1000

_E = TypeVar("_E", bound=StrEnum)


class _PbEnum(Protocol):
    def items(self) -> list[tuple[str, Any]]: ...


class _EnumMap(Generic[_E]):
    """The two directions of one enumeration. `default` is what UNSPECIFIED reads as; None: it is refused."""

    def __init__(self, kind: type[_E], wire: _PbEnum, prefix: str, default: _E | None = None) -> None:
        numbers = {name.removeprefix(prefix): number for name, number in wire.items()}
        # A value that the contract lacks is found at import, by every test, and not by the first caller who sends it.
        self._to_pb: dict[_E, Any] = {value: numbers[value.value] for value in kind}
        self._from_pb: dict[int, _E] = {number: value for value, number in self._to_pb.items()}
        if default is not None:
            self._from_pb[0] = default
        self._expected = ", ".join(f"{prefix}{value}" for value in kind)
        self.to_pb = self._to_pb.__getitem__
        self.get = self._from_pb.get

    def from_pb(self, number: int, field: str, wrong: list[Violation]) -> _E:
        """Return the value; for an unknown number note a violation and return any value, which the caller then drops."""
        found = self._from_pb.get(number)
        if found is not None:
            return found
        got = "it is not stated" if number == 0 else f"got {number}, which this version does not know"
        expected = f"must be one of {self._expected}; {got}"
        wrong.append(Violation(field, expected, "REQUIRED" if number == 0 else "UNKNOWN_VALUE"))
        return next(iter(self._to_pb))


_KIND: Final = _EnumMap(ContributorKind, v1.ContributorKind, "CONTRIBUTOR_KIND_")
_RELIABILITY: Final = _EnumMap(Reliability, v1.Reliability, "RELIABILITY_", Reliability.F)
_PURPOSE: Final = _EnumMap(Purpose, v1.Purpose, "PURPOSE_", Purpose.CSAM)
_TLP: Final = _EnumMap(TLP, v1.Tlp, "TLP_", TLP.AMBER)
_ROLE: Final = _EnumMap(Role, v1.Role, "ROLE_")
_ENTRY_STATE: Final = _EnumMap(EntryState, v1.EntryState, "ENTRY_STATE_")
_IMPORT_STATE: Final = _EnumMap(ImportState, v1.ImportState, "IMPORT_STATE_", ImportState.OPEN)
_DISPOSITION: Final = _EnumMap(Disposition, v1.Disposition, "DISPOSITION_")
_ACTION: Final = _EnumMap(Action, v1.Action, "ACTION_", Action.CONTRIBUTE)
_REVIEW_KIND: Final = _EnumMap(ReviewKind, v1.ReviewKind, "REVIEW_KIND_")
_CHANGE_KIND: Final = _EnumMap(ChangeKind, v1.ChangeKind, "CHANGE_KIND_")
_VERDICT: Final = _EnumMap(Verdict, v1.Verdict, "VERDICT_", Verdict.UNAVAILABLE)

_WIDTHS: Final = {a.name: a.digest_bytes for a in ALGORITHMS.values()}


# Contributors and hash sets


def contributor_to_pb(contributor: Contributor) -> v1.Contributor:
    """Return the message of a contributor."""
    with _Sendable("contributor"):
        return v1.Contributor(
            name=names.contributor_name(contributor.id),
            display_name=contributor.display_name,
            kind=_KIND.to_pb(contributor.kind),
            jurisdiction=contributor.jurisdiction,
            reliability=_RELIABILITY.to_pb(contributor.reliability),
            takes_from=[names.contributor_name(other) for other in contributor.takes_from],
            create_time=_timestamp(contributor.create_time),
        )


def contributor_from_pb(
    pb: v1.Contributor, *, contributor_id: str | None = None, at: str = "contributor"
) -> Contributor:
    """Return the contributor. `contributor_id`: the id that a create request gives instead of a name."""
    wrong: list[Violation] = []
    own_id = (
        _checked(wrong, names.parse_contributor, pb.name, f"{at}.name") if contributor_id is None else contributor_id
    )
    taken = tuple(
        _checked(wrong, names.parse_contributor, name, f"{at}.takes_from[{i}]") or "-"
        for i, name in enumerate(pb.takes_from)
    )
    values = {
        "id": own_id or "unnamed",
        "display_name": pb.display_name,
        "kind": _KIND.from_pb(pb.kind, f"{at}.kind", wrong),
        "jurisdiction": pb.jurisdiction,
        "reliability": _RELIABILITY.from_pb(pb.reliability, f"{at}.reliability", wrong),
        "takes_from": taken,
        "create_time": _datetime(pb, "create_time"),
    }
    id_field = f"{at}.name" if contributor_id is None else "contributor_id"
    return _build(Contributor, values, wrong, at, {"id": id_field})


def hash_set_to_pb(hash_set: HashSet) -> v1.HashSet:
    """Return the message of a hash set."""
    with _Sendable("hash_set"):
        return v1.HashSet(
            name=names.hash_set_name(hash_set.contributor, hash_set.id),
            display_name=hash_set.display_name,
            scheme=hash_set.scheme,
            purpose=_PURPOSE.to_pb(hash_set.purpose),
            review_depth=hash_set.review_depth,
            marking=marking_to_pb(hash_set.marking),
            create_time=_timestamp(hash_set.create_time),
        )


def hash_set_from_pb(
    pb: v1.HashSet, *, contributor: str | None = None, hash_set_id: str | None = None, at: str = "hash_set"
) -> HashSet:
    """Return the hash set. `contributor` and `hash_set_id`: what a create request gives instead of a name."""
    wrong: list[Violation] = []
    if contributor is None or hash_set_id is None:
        contributor, hash_set_id = _checked(wrong, names.parse_hash_set, pb.name, f"{at}.name") or (
            "unnamed",
            "unnamed",
        )
        fields = {"contributor": f"{at}.name", "id": f"{at}.name"}
    else:
        fields = {"contributor": "parent", "id": "hash_set_id"}
    values = {
        "contributor": contributor,
        "id": hash_set_id,
        "display_name": pb.display_name,
        "scheme": pb.scheme,
        "purpose": _PURPOSE.from_pb(pb.purpose, f"{at}.purpose", wrong),
        "review_depth": pb.review_depth,
        "marking": _collect(wrong, marking_from_pb, pb.marking, f"{at}.marking", Marking()),
        "create_time": _datetime(pb, "create_time"),
    }
    return _build(HashSet, values, wrong, at, fields)


def marking_to_pb(marking: Marking) -> v1.Marking:
    """Return the message of handling terms."""
    return v1.Marking(
        tlp=_TLP.to_pb(marking.tlp),
        permitted_purposes=marking.permitted_purposes,
        legal_basis=marking.legal_basis,
        redistribution=marking.redistribution,
        recipients=marking.recipients,
        disclose_existence=marking.disclose_existence,
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
    }
    # The model names a marking's own fields `marking.…`.
    return _build(Marking, values, wrong, at, {f"marking.{name}": f"{at}.{name}" for name in values})


# Hashes and entries


def hash_to_pb(value: Hash) -> v1.Hash:
    """Return the message of a hash."""
    return v1.Hash(algorithm=value.algorithm, digest=value.digest)


def hash_from_pb(pb: v1.Hash, at: str = "hash") -> Hash:
    """Return the checked hash; aliases of its algorithm's name become the canonical name."""
    wrong: list[Violation] = []
    found = _hash(pb, at, wrong)
    _refuse(wrong)
    return found


def flags_to_pb(flags: Flags) -> v1.Flags:
    """Return the message of tri-state flags: what is not stated stays absent."""
    return v1.Flags(
        victim_identified=flags.victim_identified,
        offender_identified=flags.offender_identified,
        distributed=flags.distributed,
        suspected=flags.suspected,
        self_generated=flags.self_generated,
    )


def flags_from_pb(pb: v1.Flags) -> Flags:
    """Return the flags: absent is None, not False."""
    has = pb.HasField
    return Flags(
        victim_identified=pb.victim_identified if has("victim_identified") else None,
        offender_identified=pb.offender_identified if has("offender_identified") else None,
        distributed=pb.distributed if has("distributed") else None,
        suspected=pb.suspected if has("suspected") else None,
        self_generated=pb.self_generated if has("self_generated") else None,
    )


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
        external_id=entry.external_id,
        media_type=entry.media_type,
        media_size_bytes=entry.media_size,
        series=entry.series,
        tags=entry.tags,
        quality=entry.quality,
        source_time=entry.source_time,
        create_revision=entry.create_revision,
        update_revision=entry.update_revision,
    )
    add = pb.hashes.add
    for value in entry.hashes:
        add(algorithm=value.algorithm, digest=value.digest)
    if entry.classification is not None:
        pb.classification.CopyFrom(classification_to_pb(entry.classification))
    if entry.flags != NO_FLAGS:
        pb.flags.CopyFrom(flags_to_pb(entry.flags))
    return pb


def entry_from_pb(pb: v1.Entry, at: str = "entry") -> Entry:
    """Return the entry."""
    wrong: list[Violation] = []
    contributor, hash_set, entry_id = _checked(wrong, names.parse_entry, pb.name, f"{at}.name") or ("", "", 0)
    source = getattr(pb.provenance, "import")
    _, _, import_id = _checked(wrong, names.parse_import, source, f"{at}.provenance.import") or ("", "", "")
    values = {
        "id": entry_id,
        "contributor": contributor,
        "hash_set": hash_set,
        "hashes": tuple([_hash(h, f"{at}.hashes[{i}]", wrong) for i, h in enumerate(pb.hashes)]),
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
        "flags": flags_from_pb(pb.flags) if pb.HasField("flags") else NO_FLAGS,
        "external_id": pb.external_id,
        "media_type": pb.media_type,
        "media_size": pb.media_size_bytes if pb.HasField("media_size_bytes") else None,
        "series": pb.series,
        "tags": tuple(pb.tags),
        "quality": pb.quality if pb.HasField("quality") else None,
        "source_time": pb.source_time,
        "reasons": tuple(pb.reasons),
        "create_revision": pb.create_revision,
        "update_revision": pb.update_revision,
    }
    return _build(Entry, values, wrong, at, {})


def entry_states_to_pb(states: Iterable[EntryState]) -> list[v1.EntryState]:
    """Return the wire values of entry states."""
    return [_ENTRY_STATE.to_pb(state) for state in states]


def entry_states_from_pb(states: Iterable[int], at: str = "states") -> tuple[EntryState, ...]:
    """Return the entry states."""
    return _enums(_ENTRY_STATE, states, at)


# Imports


def import_to_pb(value: Import) -> v1.Import:
    """Return the message of an import."""
    counts = value.counts
    with _Sendable("import"):
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
            ),
            create_time=_timestamp(value.create_time),
            commit_time=_timestamp(value.commit_time),
            commit_revision=value.revision,
        )


def import_from_pb(pb: v1.Import, *, hash_set: tuple[str, str] | None = None, at: str = "import") -> Import:
    """Return the import. `hash_set`: the contributor's and hash set's ids from a create request's parent; the id is then empty."""
    wrong: list[Violation] = []
    if hash_set is None:
        contributor, set_id, import_id = _checked(wrong, names.parse_import, pb.name, f"{at}.name") or ("", "", "")
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
        ),
        "revision": pb.commit_revision,
        "create_time": _datetime(pb, "create_time"),
        "commit_time": _datetime(pb, "commit_time"),
    }
    return _build(Import, values, wrong, at, {})


def record_to_pb(record: Record) -> v1.Record:
    """Return the message of a record. Raises InvalidArgument for text that is not Unicode or a number that does not fit."""
    pb = v1.Record()
    try:
        # Field by field, and only what is set: two to three times as fast as keyword arguments, and imports have millions.
        pb.position = record.position
        add = pb.hashes.add
        for value in record.hashes:
            h = add()
            h.algorithm = value.algorithm
            h.digest = value.digest
        for fault in record.faults:
            pb.faults.add(algorithm=fault.algorithm, reason=fault.reason, detail=fault.detail)
        pb.action = _ACTION.to_pb(record.action)
        if record.external_id:
            pb.external_id = record.external_id
        if record.value:
            pb.value = record.value
        if record.region:
            pb.region = record.region
        if record.member:
            pb.member = record.member
        if record.flags is not NO_FLAGS:
            pb.flags.CopyFrom(flags_to_pb(record.flags))
        if record.media_type:
            pb.media_type = record.media_type
        if record.media_size is not None:
            pb.media_size_bytes = record.media_size
        if record.series:
            pb.series = record.series
        if record.tags:
            pb.tags.extend(record.tags)
        if record.quality is not None:
            pb.quality = record.quality
        if record.source_time:
            pb.source_time = record.source_time
        for review in record.reviews:
            pb.reviews.add(kind=_REVIEW_KIND.to_pb(review.kind), author=review.author, comment=review.comment)
    except ValueError as e:
        raise _unsendable(f"record at {record.position[:80]!r}") from e
    return pb


def records_from_pb(records: Iterable[v1.Record], at: str = "records") -> list[Record]:
    """Return the records, or raise InvalidArgument with the violations of all of them. No field may hold NUL or endless text."""
    wrong: list[Violation] = []
    found = [_record(pb, at, i, wrong) for i, pb in enumerate(records)]
    _refuse(wrong)
    return found


def reject_to_pb(reject: Reject) -> v1.Reject:
    """Return the message of a reject."""
    with _Sendable("reject"):
        return v1.Reject(position=reject.position, reason=reject.reason, detail=reject.detail)


def rejects_from_pb(rejects: Iterable[v1.Reject], at: str = "rejects") -> list[Reject]:
    """Return the rejects, or raise InvalidArgument with the violations of all of them."""
    wrong: list[Violation] = []
    found = []
    for i, pb in enumerate(rejects):
        _require(pb, f"{at}[{i}]", ("position", "reason"), wrong)
        for field in ("position", "reason", "detail"):
            _check_text(getattr(pb, field), f"{at}[{i}].{field}", wrong)
        found.append(Reject(pb.position, pb.reason, pb.detail))
    _refuse(wrong)
    return found


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
        _, _, entry_id = _checked(wrong, names.parse_entry, pb.entry, f"{at}.entry") or ("", "", 0)
    disposition = _DISPOSITION.from_pb(pb.disposition, f"{at}.disposition", wrong)
    _refuse(wrong)
    return Finding(pb.position, disposition, pb.reason, pb.detail, entry_id)


def dispositions_to_pb(dispositions: Iterable[Disposition]) -> list[v1.Disposition]:
    """Return the wire values of dispositions."""
    return [_DISPOSITION.to_pb(value) for value in dispositions]


def dispositions_from_pb(dispositions: Iterable[int], at: str = "dispositions") -> tuple[Disposition, ...]:
    """Return the dispositions."""
    return _enums(_DISPOSITION, dispositions, at)


# Reviews and changes


def review_to_pb(review: Review, contributor: str, hash_set: str) -> v1.Review:
    """Return the message of a review of an entry in this hash set; a review without an id has no name yet."""
    with _Sendable("review"):
        return v1.Review(
            name=names.review_name(contributor, hash_set, review.entry_id, review.id) if review.id else "",
            author=review.author,
            kind=_REVIEW_KIND.to_pb(review.kind),
            comment=review.comment,
            create_time=_timestamp(review.create_time),
        )


def review_from_pb(pb: v1.Review, *, entry_id: int | None = None, at: str = "review") -> Review:
    """Return the review. `entry_id`: the entry from a create request's parent; the review then has the id 0 and no author."""
    wrong: list[Violation] = []
    entry, review_id = entry_id or 0, 0
    if entry_id is None:
        _, _, entry, review_id = _checked(wrong, names.parse_review, pb.name, f"{at}.name") or ("", "", 0, 0)
    kind = _REVIEW_KIND.from_pb(pb.kind, f"{at}.kind", wrong)
    _check_text(pb.comment, f"{at}.comment", wrong)
    _refuse(wrong)
    return Review(
        id=review_id,
        entry_id=entry,
        author=pb.author,
        kind=kind,
        comment=pb.comment,
        create_time=_datetime(pb, "create_time"),
    )


def changed_entry_to_pb(change: ChangedEntry) -> v1.Change:
    """Return the message of one line of the change feed."""
    return v1.Change(
        change_revision=change.revision,
        kind=_CHANGE_KIND.to_pb(change.kind),
        entry=entry_to_pb(change.entry),
        marking=marking_to_pb(change.marking),
    )


def changed_entry_from_pb(pb: v1.Change, at: str = "change") -> ChangedEntry:
    """Return one line of the change feed."""
    wrong: list[Violation] = []
    kind = _CHANGE_KIND.from_pb(pb.kind, f"{at}.kind", wrong)
    _refuse(wrong)
    return ChangedEntry(
        revision=pb.change_revision,
        kind=kind,
        entry=entry_from_pb(pb.entry, f"{at}.entry"),
        marking=marking_from_pb(pb.marking, f"{at}.marking"),
    )


# Matching


def query_to_pb(query: Query) -> v1.Query:
    """Return the message of a query."""
    with _Sendable("query"):
        pb = v1.Query(label=query.label)
        add = pb.hashes.add
        for value in query.hashes:
            add(algorithm=value.algorithm, digest=value.digest)
        return pb


def queries_from_pb(request: v1.BatchMatchHashesRequest) -> list[Query]:
    """Return the queries, or raise InvalidArgument with the violations of all of them. Each needs a hash."""
    return _uniform_queries(request) or _any_queries(request.queries)


def _uniform_queries(request: v1.BatchMatchHashesRequest) -> list[Query]:
    """Return the queries of a batch if each has one hash of the same algorithm and no label; otherwise nothing.

    Most batches are like that, and reading their fields one by one takes longer than all else that the hub does to them. Here the first
    query is read, and the others are cut out of the encoded request. They must have the same bytes, tags and lengths, up to
    the digest, whose length is the last of them; and all queries must follow each other at that distance.
    """
    count = len(request.queries)
    if not count or len(request.queries[0].hashes) != 1:
        return []
    first = request.queries[0].hashes[0]
    name, width = first.algorithm, len(first.digest)
    one = v1.BatchMatchHashesRequest(queries=request.queries[:1]).SerializeToString()
    head = one[:-width]
    if request.queries[0].label or _WIDTHS.get(name) != width or not one.endswith(first.digest):
        return []
    encoded = request.SerializeToString()
    starts = range(0, count * len(one), len(one))
    if {encoded[at : at + len(head)] for at in starts} != {head}:
        return []
    ends = range(len(one), count * len(one) + 1, len(one))
    return [Query(hashes=(Hash(name, encoded[at - width : at]),)) for at in ends]


def _any_queries(queries: Sequence[v1.Query]) -> list[Query]:
    wrong: list[Violation] = []
    found: list[Query] = []
    width = _WIDTHS.get
    # Plain loops over slices: comprehensions and protobuf's own iterators take half as long again. What is left is reading fields.
    for i, pb in enumerate(queries[:]):
        given = []
        fits = True
        for h in pb.hashes[:]:
            name, digest = h.algorithm, h.digest
            if width(name) != len(digest):
                fits = False
            given.append(Hash(name, digest))
        label = pb.label
        if fits and 0 < len(given) <= MAX_HASHES_PER_QUERY and len(label) <= MAX_TEXT:
            found.append(Query(hashes=tuple(given), label=label))
        else:
            found.append(_query(pb, f"queries[{i}]", wrong))
    _refuse(wrong)
    return found


def query_from_pb(pb: v1.Query, at: str = "query") -> Query:
    """Return the query; it needs a hash."""
    wrong: list[Violation] = []
    found = _query(pb, at, wrong)
    _refuse(wrong)
    return found


def options_to_pb(options: MatchOptions) -> v1.MatchOptions:
    """Return the message of match options."""
    with _Sendable("options"):
        return v1.MatchOptions(
            policy=options.policy,
            max_distances=options.max_distances,
            match_limit=options.match_limit,
            dihedral=options.dihedral,
        )


def options_from_pb(pb: v1.MatchOptions, at: str = "options") -> MatchOptions:
    """Return the match options. A limit of 0 means 100, one over 1000 means 1000. Whether the policy exists is for the hub to say."""
    wrong: list[Violation] = []
    max_distances = {}
    for name, distance in pb.max_distances.items():
        field = f"{at}.max_distances[{name[:40]}]"
        algorithm = _checked(wrong, _algorithm, name, field)
        if distance < 0:
            wrong.append(Violation(field, f"must not be negative, got {distance}", "OUT_OF_RANGE"))
        if algorithm is not None:
            max_distances[algorithm] = distance
    if pb.match_limit < 0:
        wrong.append(Violation(f"{at}.match_limit", f"must not be negative, got {pb.match_limit}", "OUT_OF_RANGE"))
    _refuse(wrong)
    return MatchOptions(
        policy=pb.policy,
        max_distances=max_distances,
        match_limit=min(pb.match_limit or DEFAULT_MATCH_LIMIT, MAX_MATCH_LIMIT),
        dihedral=pb.dihedral,
    )


def match_result_to_pb(result: MatchResult) -> v1.MatchResult:
    """Return the message of the answer to one query."""
    pb = v1.MatchResult()
    pb.label = result.label
    pb.verdict = _VERDICT.to_pb(result.verdict)
    pb.truncated = result.truncated
    pb.withheld = result.withheld
    for reason in result.reasons:
        pb.reasons.add(
            code=reason.code, clause=reason.clause, text=reason.text, entries=[_long_name(e) for e in reason.entries]
        )
    for match in result.matches:
        pb.matches.append(_entry_match_to_pb(match))
    return pb


def match_results_to_pb(results: Sequence[MatchResult], policy: str, revision: int) -> v1.BatchMatchHashesResponse:
    """Return the message of the answers to a batch's queries, in their order."""
    # Nearly all queries of a batch find nothing and are told so in the same words, which are encoded once: protobuf reads
    # concatenated messages as one, several times faster than it copies or fills them.
    chunks: list[bytes] = []
    labelled: list[int] = []
    chunk, last = b"", MatchResult(verdict=Verdict.UNAVAILABLE)
    for i, result in enumerate(results):
        # The most telling differences first. What has matches is never the same.
        if (
            result.reasons is not last.reasons
            or result.matches
            or last.matches
            or result.verdict is not last.verdict
            or result.truncated is not last.truncated
            or result.withheld is not last.withheld
            or not chunk
        ):
            pb = match_result_to_pb(result)
            pb.ClearField("label")
            chunk, last = v1.BatchMatchHashesResponse(results=[pb]).SerializeToString(), result
        chunks.append(chunk)
        if result.label:
            labelled.append(i)
    answer = v1.BatchMatchHashesResponse(policy=policy, revision=revision)
    answer.MergeFromString(b"".join(chunks))
    into = answer.results
    for i in labelled:
        into[i].label = results[i].label
    return answer


def match_result_from_pb(pb: v1.MatchResult, at: str = "result") -> MatchResult:
    """Return the answer to one query. A verdict that this version does not know is read as UNAVAILABLE, never as harmless."""
    return MatchResult(
        verdict=_VERDICT.get(pb.verdict, Verdict.UNAVAILABLE),
        reasons=tuple(
            ReasonLine(
                code=r.code,
                clause=r.clause,
                text=r.text,
                entries=tuple(_short_name(e, f"{at}.reasons[{i}].entries") for e in r.entries),
            )
            for i, r in enumerate(pb.reasons)
        ),
        matches=tuple(_entry_match_from_pb(m, f"{at}.matches[{i}]") for i, m in enumerate(pb.matches)),
        label=pb.label,
        truncated=pb.truncated,
        withheld=pb.withheld,
    )


def media_result_to_pb(value: MediaResult) -> v1.MediaResult:
    """Return the message of the answer about one media file."""
    return v1.MediaResult(
        result=match_result_to_pb(value.result),
        hashes=[hash_to_pb(h) for h in value.hashes],
        quality=value.quality,
        media_type=value.media_type,
    )


def media_result_from_pb(pb: v1.MediaResult, at: str = "result") -> MediaResult:
    """Return the answer about one media file."""
    wrong: list[Violation] = []
    found = tuple(_hash(h, f"{at}.hashes[{i}]", wrong) for i, h in enumerate(pb.hashes))
    _refuse(wrong)
    return MediaResult(
        result=match_result_from_pb(pb.result, f"{at}.result"),
        hashes=found,
        quality=pb.quality if pb.HasField("quality") else None,
        media_type=pb.media_type,
    )


# Administration


def token_to_pb(token: Principal) -> v1.Token:
    """Return the message of a token."""
    with _Sendable("token"):
        return v1.Token(
            name=names.token_name(token.name),
            role=_ROLE.to_pb(token.role),
            contributor=names.contributor_name(token.contributor) if token.contributor else "",
            purposes=token.purposes,
        )


def token_from_pb(pb: v1.Token, *, token_id: str | None = None, at: str = "token") -> Principal:
    """Return the token's principal. `token_id`: the id that a create request gives instead of a name."""
    wrong: list[Violation] = []
    name = _checked(wrong, names.parse_token, pb.name, f"{at}.name") if token_id is None else token_id
    contributor = ""
    if pb.contributor:
        contributor = _checked(wrong, names.parse_contributor, pb.contributor, f"{at}.contributor") or ""
    role = _ROLE.from_pb(pb.role, f"{at}.role", wrong)
    for i, purpose in enumerate(pb.purposes):
        _check_text(purpose, f"{at}.purposes[{i}]", wrong)
    _refuse(wrong)
    return Principal(name=name or "", role=role, contributor=contributor, purposes=tuple(pb.purposes))


def status_to_pb(status: Status) -> v1.Status:
    """Return the message of the state of a hub."""
    return v1.Status(
        version=status.version,
        database=status.database,
        matcher_revision=status.matcher_revision,
        algorithms=[
            v1.AlgorithmStatus(
                algorithm=a.algorithm, digest_count=a.digest_count, tail_count=a.tail_count, engine=a.engine
            )
            for a in status.algorithms
        ],
        warnings=status.warnings,
        revision=status.revision,
    )


def status_from_pb(pb: v1.Status) -> Status:
    """Return the state of a hub."""
    return Status(
        version=pb.version,
        database=pb.database,
        revision=pb.revision,
        matcher_revision=pb.matcher_revision,
        algorithms=tuple(
            AlgorithmStatus(
                algorithm=a.algorithm, digest_count=a.digest_count, tail_count=a.tail_count, engine=a.engine
            )
            for a in pb.algorithms
        ),
        warnings=tuple(pb.warnings),
    )


# The parts


def _hash(pb: v1.Hash, at: str, wrong: list[Violation]) -> Hash:
    name, digest = pb.algorithm, pb.digest
    if _WIDTHS.get(name) == len(digest):
        return Hash(name, digest)
    try:
        return Hash.of(name, digest)
    except HashError as e:
        # Hexadecimal text read as base64 gives three bytes where the digest has two: the commonest mistake in JSON.
        hint = "; JSON carries bytes in base64, not in hexadecimal" if 2 * len(digest) == 3 * _width(name) else ""
        wrong.append(Violation(f"{at}.digest", e.message + hint, e.violations[0].reason))
    except InvalidArgument as e:
        wrong.append(Violation(f"{at}.algorithm", e.message, e.violations[0].reason))
    return Hash(name, digest)


def _record(pb: v1.Record, at: str, index: int, wrong: list[Violation]) -> Record:
    position, external_id, value, region = pb.position, pb.external_id, pb.value, pb.region
    member, media_type, series, source_time = pb.member, pb.media_type, pb.series, pb.source_time
    found: list[Hash] = []
    clean = position != ""
    for h in pb.hashes[:]:
        name, digest = h.algorithm, h.digest
        if _WIDTHS.get(name) == len(digest):
            found.append(Hash(name, digest))
        else:
            clean = False
    tags, faults, reviews = tuple(pb.tags[:]), pb.faults, pb.reviews
    # One look at all texts together: if the whole is short and free of NUL, so is each.
    text = "".join((position, external_id, value, region, member, media_type, series, source_time, *tags))
    has = pb.HasField
    flags = flags_from_pb(pb.flags) if has("flags") else NO_FLAGS
    media_size = pb.media_size_bytes if has("media_size_bytes") else None
    quality = pb.quality if has("quality") else None
    action = _ACTION.get(pb.action)
    if (
        not clean
        or len(text) > MAX_TEXT
        or "\0" in text
        or faults
        or reviews
        or action is None
        or len(found) > MAX_HASHES_PER_ENTRY
        or len(tags) > MAX_HASHES_PER_ENTRY
        or (media_size is not None and media_size < 0)
        or (quality is not None and not 0 <= quality <= 100)  # noqa: PLR2004 - PDQ quality is a percentage
    ):
        return _unusual_record(pb, f"{at}[{index}]", wrong)
    return Record(
        position=position,
        hashes=tuple(found),
        action=action,
        external_id=external_id,
        value=value,
        region=region,
        member=member,
        flags=flags,
        media_type=media_type,
        media_size=media_size,
        series=series,
        tags=tags,
        quality=quality,
        source_time=source_time,
    )


def _unusual_record(pb: v1.Record, at: str, wrong: list[Violation]) -> Record:
    """Convert a record that has rare parts or is wrong, checking field by field."""
    if not pb.position:
        wrong.append(Violation(f"{at}.position", "must not be empty", "REQUIRED"))
    for field in _RECORD_TEXTS:
        _check_text(getattr(pb, field), f"{at}.{field}", wrong)
    for name, count in (("hashes", len(pb.hashes)), ("faults", len(pb.faults)), ("tags", len(pb.tags))):
        if count > MAX_HASHES_PER_ENTRY:
            wrong.append(Violation(f"{at}.{name}", f"must be at most {MAX_HASHES_PER_ENTRY}, got {count}", "TOO_MANY"))
    for i, tag in enumerate(pb.tags):
        _check_text(tag, f"{at}.tags[{i}]", wrong)
    for i, fault in enumerate(pb.faults):
        for text in ("algorithm", "reason", "detail"):
            _check_text(getattr(fault, text), f"{at}.faults[{i}].{text}", wrong)
    for i, review in enumerate(pb.reviews):
        for text in ("author", "comment"):
            _check_text(getattr(review, text), f"{at}.reviews[{i}].{text}", wrong)
    media_size = pb.media_size_bytes if pb.HasField("media_size_bytes") else None
    if media_size is not None and media_size < 0:
        wrong.append(Violation(f"{at}.media_size_bytes", f"must not be negative, got {media_size}", "OUT_OF_RANGE"))
    quality = pb.quality if pb.HasField("quality") else None
    if quality is not None and not 0 <= quality <= 100:  # noqa: PLR2004 - PDQ quality is a percentage
        wrong.append(Violation(f"{at}.quality", f"must be between 0 and 100, got {quality}", "OUT_OF_RANGE"))
    return Record(
        position=pb.position,
        hashes=tuple(_hash(h, f"{at}.hashes[{i}]", wrong) for i, h in enumerate(pb.hashes)),
        faults=tuple(HashFault(f.algorithm, f.reason, f.detail) for f in pb.faults),
        action=_ACTION.from_pb(pb.action, f"{at}.action", wrong),
        external_id=pb.external_id,
        value=pb.value,
        region=pb.region,
        member=pb.member,
        flags=flags_from_pb(pb.flags) if pb.HasField("flags") else NO_FLAGS,
        media_type=pb.media_type,
        media_size=media_size,
        series=pb.series,
        tags=tuple(pb.tags),
        quality=quality,
        source_time=pb.source_time,
        reviews=tuple(
            RecordReview(_REVIEW_KIND.from_pb(r.kind, f"{at}.reviews[{i}].kind", wrong), r.author, r.comment)
            for i, r in enumerate(pb.reviews)
        ),
    )


_RECORD_TEXTS: Final = (
    "position",
    "external_id",
    "value",
    "region",
    "member",
    "media_type",
    "series",
    "source_time",
)


def _query(pb: v1.Query, at: str, wrong: list[Violation]) -> Query:
    found = tuple([_hash(h, f"{at}.hashes[{i}]", wrong) for i, h in enumerate(pb.hashes)])
    if not found:
        wrong.append(Violation(f"{at}.hashes", "must hold at least one hash", "REQUIRED"))
    elif len(found) > MAX_HASHES_PER_QUERY:
        wrong.append(Violation(f"{at}.hashes", f"must be at most {MAX_HASHES_PER_QUERY}, got {len(found)}", "TOO_MANY"))
    if len(pb.label) > MAX_TEXT:
        _check_text(pb.label, f"{at}.label", wrong)
    return Query(hashes=found, label=pb.label)


def _entry_match_to_pb(match: EntryMatch) -> v1.EntryMatch:
    return v1.EntryMatch(
        entry=entry_to_pb(match.entry),
        algorithm=match.algorithm,
        distance=match.distance,
        query_digest=match.query_digest,
        reviews=[
            v1.ReviewSummary(kind=_REVIEW_KIND.to_pb(kind), review_count=count) for kind, count in match.reviews.items()
        ],
        marking=marking_to_pb(match.marking),
    )


def _entry_match_from_pb(pb: v1.EntryMatch, at: str) -> EntryMatch:
    wrong: list[Violation] = []
    reviews = {
        _REVIEW_KIND.from_pb(r.kind, f"{at}.reviews[{i}].kind", wrong): r.review_count for i, r in enumerate(pb.reviews)
    }
    _refuse(wrong)
    return EntryMatch(
        entry=entry_from_pb(pb.entry, f"{at}.entry"),
        algorithm=pb.algorithm,
        distance=pb.distance,
        query_digest=pb.query_digest,
        reviews=reviews,
        marking=marking_from_pb(pb.marking, f"{at}.marking"),
    )


def _long_name(entry: str) -> str:
    """`CONTRIBUTOR/SET/ID`, as the model names an entry, to its resource name."""
    contributor, hash_set, entry_id = entry.split("/")
    return names.entry_name(contributor, hash_set, int(entry_id))


def _short_name(name: str, field: str) -> str:
    contributor, hash_set, entry_id = names.parse_entry(name, field)
    return f"{contributor}/{hash_set}/{entry_id}"


def _width(algorithm: str) -> int:
    return hashes.algorithm(algorithm).digest_bytes


def _algorithm(name: str, _field: str) -> str:
    return hashes.algorithm(name).name


def _enums(table: _EnumMap[_E], numbers: Iterable[int], at: str) -> tuple[_E, ...]:
    wrong: list[Violation] = []
    found = tuple(table.from_pb(number, f"{at}[{i}]", wrong) for i, number in enumerate(numbers))
    _refuse(wrong)
    return found


_T = TypeVar("_T")
_P = TypeVar("_P")


def _checked(wrong: list[Violation], parse: Callable[[str, str], _T], text: str, field: str) -> _T | None:
    """Return `parse(text, field)`, or note its violations under `field` and return None."""
    try:
        return parse(text, field)
    except InvalidArgument as e:
        wrong += [Violation(field, v.description, v.reason) for v in e.violations]
        return None


def _collect(wrong: list[Violation], convert: Callable[[_P, str], _T], pb: _P, at: str, otherwise: _T) -> _T:
    """Return `convert(pb, at)`, or note its violations and return `otherwise`, which the caller then drops."""
    try:
        return convert(pb, at)
    except InvalidArgument as e:
        wrong += e.violations
        return otherwise


def _build(
    kind: Callable[..., _T], values: Mapping[str, Any], wrong: list[Violation], at: str, fields: Mapping[str, str]
) -> _T:
    """Return `kind(**values)`; raise the violations found so far together with the model's own, under the client's paths."""
    try:
        built = kind(**values)
    except InvalidArgument as e:
        seen = {v.field for v in wrong}
        renamed = (Violation(fields.get(v.field, f"{at}.{v.field}"), v.description, v.reason) for v in e.violations)
        # A field that could not even be read stands in with a placeholder; what the model says of that is no news.
        wrong += [v for v in renamed if v.field not in seen]
        raise _invalid(wrong) from e
    _refuse(wrong)
    return built


def _require(pb: Any, at: str, fields: Iterable[str], wrong: list[Violation]) -> None:
    wrong += [Violation(f"{at}.{field}", "must not be empty", "REQUIRED") for field in fields if not getattr(pb, field)]


def _check_text(text: str, field: str, wrong: list[Violation]) -> None:
    if len(text) > MAX_TEXT:
        wrong.append(Violation(field, f"must be at most {MAX_TEXT} characters, got {len(text)}", "TOO_LONG"))
    if "\0" in text:
        wrong.append(Violation(field, "must not hold NUL characters", "NUL_CHARACTER"))


def _refuse(wrong: list[Violation]) -> None:
    if wrong:
        raise _invalid(wrong)


def _invalid(wrong: list[Violation]) -> InvalidArgument:
    first = wrong[0]
    more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
    return InvalidArgument(f"{first.field}: {first.description}{more}", violations=tuple(wrong))


class _Sendable:
    """Maps what protobuf says of a value that it cannot hold to InvalidArgument naming the message."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ValueError):
            raise _unsendable(self._what) from error


def _unsendable(what: str) -> InvalidArgument:
    return InvalidArgument(
        f"{what}: cannot be sent: some text is not valid Unicode, or a number is out of range; correct the source",
        violations=(
            Violation(what.split(" ", 1)[0], "must hold valid Unicode text and numbers in range", "NOT_SENDABLE"),
        ),
    )


def _timestamp(time: datetime | None) -> Timestamp | None:
    if time is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(time)
    return stamp


def _datetime(pb: Any, field: str) -> datetime | None:
    if not pb.HasField(field):
        return None
    found: datetime = getattr(pb, field).ToDatetime(tzinfo=UTC)
    return found
