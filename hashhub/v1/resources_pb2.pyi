import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ContributorKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CONTRIBUTOR_KIND_UNSPECIFIED: _ClassVar[ContributorKind]
    CONTRIBUTOR_KIND_HOTLINE: _ClassVar[ContributorKind]
    CONTRIBUTOR_KIND_LAW_ENFORCEMENT: _ClassVar[ContributorKind]
    CONTRIBUTOR_KIND_CLEARINGHOUSE: _ClassVar[ContributorKind]
    CONTRIBUTOR_KIND_PLATFORM: _ClassVar[ContributorKind]
    CONTRIBUTOR_KIND_NGO: _ClassVar[ContributorKind]

class Reliability(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RELIABILITY_UNSPECIFIED: _ClassVar[Reliability]
    RELIABILITY_A: _ClassVar[Reliability]
    RELIABILITY_B: _ClassVar[Reliability]
    RELIABILITY_C: _ClassVar[Reliability]
    RELIABILITY_D: _ClassVar[Reliability]
    RELIABILITY_E: _ClassVar[Reliability]
    RELIABILITY_F: _ClassVar[Reliability]

class Purpose(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PURPOSE_UNSPECIFIED: _ClassVar[Purpose]
    PURPOSE_CSAM: _ClassVar[Purpose]
    PURPOSE_EXPLOITATIVE: _ClassVar[Purpose]
    PURPOSE_BENIGN: _ClassVar[Purpose]
    PURPOSE_TEST: _ClassVar[Purpose]

class Tlp(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TLP_UNSPECIFIED: _ClassVar[Tlp]
    TLP_CLEAR: _ClassVar[Tlp]
    TLP_GREEN: _ClassVar[Tlp]
    TLP_AMBER: _ClassVar[Tlp]
    TLP_AMBER_STRICT: _ClassVar[Tlp]
    TLP_RED: _ClassVar[Tlp]

class Unclassified(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    UNCLASSIFIED_UNSPECIFIED: _ClassVar[Unclassified]
    UNCLASSIFIED_QUARANTINED: _ClassVar[Unclassified]
    UNCLASSIFIED_LISTED: _ClassVar[Unclassified]

class EntryState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ENTRY_STATE_UNSPECIFIED: _ClassVar[EntryState]
    ENTRY_STATE_ACTIVE: _ClassVar[EntryState]
    ENTRY_STATE_QUARANTINED: _ClassVar[EntryState]
    ENTRY_STATE_WITHDRAWN: _ClassVar[EntryState]

class ReviewKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REVIEW_KIND_UNSPECIFIED: _ClassVar[ReviewKind]
    REVIEW_KIND_CONFIRMED: _ClassVar[ReviewKind]
    REVIEW_KIND_FALSE_POSITIVE: _ClassVar[ReviewKind]
    REVIEW_KIND_NOT_ILLEGAL_HERE: _ClassVar[ReviewKind]
    REVIEW_KIND_MISCLASSIFIED: _ClassVar[ReviewKind]
    REVIEW_KIND_DUPLICATE: _ClassVar[ReviewKind]
    REVIEW_KIND_SET_ASIDE: _ClassVar[ReviewKind]

class Role(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ROLE_UNSPECIFIED: _ClassVar[Role]
    ROLE_CONTRIBUTOR: _ClassVar[Role]
    ROLE_CONSUMER: _ClassVar[Role]
    ROLE_OPERATOR: _ClassVar[Role]
    ROLE_AUDITOR: _ClassVar[Role]
    ROLE_PEER: _ClassVar[Role]

class WithdrawalReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WITHDRAWAL_REASON_UNSPECIFIED: _ClassVar[WithdrawalReason]
    WITHDRAWAL_REASON_FALSE_POSITIVE: _ClassVar[WithdrawalReason]
    WITHDRAWAL_REASON_NOT_ILLEGAL_HERE: _ClassVar[WithdrawalReason]
    WITHDRAWAL_REASON_REQUESTED_BY_PERSON_SHOWN: _ClassVar[WithdrawalReason]
    WITHDRAWAL_REASON_ERROR: _ClassVar[WithdrawalReason]
    WITHDRAWAL_REASON_OTHER: _ClassVar[WithdrawalReason]
CONTRIBUTOR_KIND_UNSPECIFIED: ContributorKind
CONTRIBUTOR_KIND_HOTLINE: ContributorKind
CONTRIBUTOR_KIND_LAW_ENFORCEMENT: ContributorKind
CONTRIBUTOR_KIND_CLEARINGHOUSE: ContributorKind
CONTRIBUTOR_KIND_PLATFORM: ContributorKind
CONTRIBUTOR_KIND_NGO: ContributorKind
RELIABILITY_UNSPECIFIED: Reliability
RELIABILITY_A: Reliability
RELIABILITY_B: Reliability
RELIABILITY_C: Reliability
RELIABILITY_D: Reliability
RELIABILITY_E: Reliability
RELIABILITY_F: Reliability
PURPOSE_UNSPECIFIED: Purpose
PURPOSE_CSAM: Purpose
PURPOSE_EXPLOITATIVE: Purpose
PURPOSE_BENIGN: Purpose
PURPOSE_TEST: Purpose
TLP_UNSPECIFIED: Tlp
TLP_CLEAR: Tlp
TLP_GREEN: Tlp
TLP_AMBER: Tlp
TLP_AMBER_STRICT: Tlp
TLP_RED: Tlp
UNCLASSIFIED_UNSPECIFIED: Unclassified
UNCLASSIFIED_QUARANTINED: Unclassified
UNCLASSIFIED_LISTED: Unclassified
ENTRY_STATE_UNSPECIFIED: EntryState
ENTRY_STATE_ACTIVE: EntryState
ENTRY_STATE_QUARANTINED: EntryState
ENTRY_STATE_WITHDRAWN: EntryState
REVIEW_KIND_UNSPECIFIED: ReviewKind
REVIEW_KIND_CONFIRMED: ReviewKind
REVIEW_KIND_FALSE_POSITIVE: ReviewKind
REVIEW_KIND_NOT_ILLEGAL_HERE: ReviewKind
REVIEW_KIND_MISCLASSIFIED: ReviewKind
REVIEW_KIND_DUPLICATE: ReviewKind
REVIEW_KIND_SET_ASIDE: ReviewKind
ROLE_UNSPECIFIED: Role
ROLE_CONTRIBUTOR: Role
ROLE_CONSUMER: Role
ROLE_OPERATOR: Role
ROLE_AUDITOR: Role
ROLE_PEER: Role
WITHDRAWAL_REASON_UNSPECIFIED: WithdrawalReason
WITHDRAWAL_REASON_FALSE_POSITIVE: WithdrawalReason
WITHDRAWAL_REASON_NOT_ILLEGAL_HERE: WithdrawalReason
WITHDRAWAL_REASON_REQUESTED_BY_PERSON_SHOWN: WithdrawalReason
WITHDRAWAL_REASON_ERROR: WithdrawalReason
WITHDRAWAL_REASON_OTHER: WithdrawalReason

class Hash(_message.Message):
    __slots__ = ("algorithm", "digest")
    ALGORITHM_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    algorithm: str
    digest: bytes
    def __init__(self, algorithm: _Optional[str] = ..., digest: _Optional[bytes] = ...) -> None: ...

class Contributor(_message.Message):
    __slots__ = ("name", "display_name", "kind", "jurisdiction", "reliability", "takes_from", "create_time", "revision", "retire_time", "objections_accepted_revision", "origin", "signing_keys")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    JURISDICTION_FIELD_NUMBER: _ClassVar[int]
    RELIABILITY_FIELD_NUMBER: _ClassVar[int]
    TAKES_FROM_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    RETIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    OBJECTIONS_ACCEPTED_REVISION_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    SIGNING_KEYS_FIELD_NUMBER: _ClassVar[int]
    name: str
    display_name: str
    kind: ContributorKind
    jurisdiction: str
    reliability: Reliability
    takes_from: _containers.RepeatedScalarFieldContainer[str]
    create_time: _timestamp_pb2.Timestamp
    revision: int
    retire_time: _timestamp_pb2.Timestamp
    objections_accepted_revision: int
    origin: PeerOrigin
    signing_keys: _containers.RepeatedCompositeFieldContainer[SigningKey]
    def __init__(self, name: _Optional[str] = ..., display_name: _Optional[str] = ..., kind: _Optional[_Union[ContributorKind, str]] = ..., jurisdiction: _Optional[str] = ..., reliability: _Optional[_Union[Reliability, str]] = ..., takes_from: _Optional[_Iterable[str]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., revision: _Optional[int] = ..., retire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., objections_accepted_revision: _Optional[int] = ..., origin: _Optional[_Union[PeerOrigin, _Mapping]] = ..., signing_keys: _Optional[_Iterable[_Union[SigningKey, _Mapping]]] = ...) -> None: ...

class SigningKey(_message.Message):
    __slots__ = ("id", "public_key", "create_time", "revoke_time", "stolen")
    ID_FIELD_NUMBER: _ClassVar[int]
    PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    REVOKE_TIME_FIELD_NUMBER: _ClassVar[int]
    STOLEN_FIELD_NUMBER: _ClassVar[int]
    id: str
    public_key: str
    create_time: _timestamp_pb2.Timestamp
    revoke_time: _timestamp_pb2.Timestamp
    stolen: bool
    def __init__(self, id: _Optional[str] = ..., public_key: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., revoke_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., stolen: _Optional[bool] = ...) -> None: ...

class PeerOrigin(_message.Message):
    __slots__ = ("path", "contributor")
    PATH_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTOR_FIELD_NUMBER: _ClassVar[int]
    path: _containers.RepeatedScalarFieldContainer[str]
    contributor: str
    def __init__(self, path: _Optional[_Iterable[str]] = ..., contributor: _Optional[str] = ...) -> None: ...

class Group(_message.Message):
    __slots__ = ("name", "display_name", "members", "create_time", "revision")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    name: str
    display_name: str
    members: _containers.RepeatedScalarFieldContainer[str]
    create_time: _timestamp_pb2.Timestamp
    revision: int
    def __init__(self, name: _Optional[str] = ..., display_name: _Optional[str] = ..., members: _Optional[_Iterable[str]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., revision: _Optional[int] = ...) -> None: ...

class Marking(_message.Message):
    __slots__ = ("tlp", "permitted_purposes", "legal_basis", "redistribution", "recipients", "disclose_existence", "bulk", "expire_time", "max_distances")
    class MaxDistancesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    TLP_FIELD_NUMBER: _ClassVar[int]
    PERMITTED_PURPOSES_FIELD_NUMBER: _ClassVar[int]
    LEGAL_BASIS_FIELD_NUMBER: _ClassVar[int]
    REDISTRIBUTION_FIELD_NUMBER: _ClassVar[int]
    RECIPIENTS_FIELD_NUMBER: _ClassVar[int]
    DISCLOSE_EXISTENCE_FIELD_NUMBER: _ClassVar[int]
    BULK_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    MAX_DISTANCES_FIELD_NUMBER: _ClassVar[int]
    tlp: Tlp
    permitted_purposes: _containers.RepeatedScalarFieldContainer[str]
    legal_basis: str
    redistribution: bool
    recipients: _containers.RepeatedScalarFieldContainer[str]
    disclose_existence: bool
    bulk: bool
    expire_time: _timestamp_pb2.Timestamp
    max_distances: _containers.ScalarMap[str, int]
    def __init__(self, tlp: _Optional[_Union[Tlp, str]] = ..., permitted_purposes: _Optional[_Iterable[str]] = ..., legal_basis: _Optional[str] = ..., redistribution: _Optional[bool] = ..., recipients: _Optional[_Iterable[str]] = ..., disclose_existence: _Optional[bool] = ..., bulk: _Optional[bool] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., max_distances: _Optional[_Mapping[str, int]] = ...) -> None: ...

class Bank(_message.Message):
    __slots__ = ("name", "enabled_ratio")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ENABLED_RATIO_FIELD_NUMBER: _ClassVar[int]
    name: str
    enabled_ratio: float
    def __init__(self, name: _Optional[str] = ..., enabled_ratio: _Optional[float] = ...) -> None: ...

class HashSet(_message.Message):
    __slots__ = ("name", "display_name", "scheme", "purpose", "review_depth", "marking", "create_time", "revision", "unclassified", "accepted_revision", "floors", "bank", "bank_number", "require_signature")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    SCHEME_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    REVIEW_DEPTH_FIELD_NUMBER: _ClassVar[int]
    MARKING_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    UNCLASSIFIED_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_REVISION_FIELD_NUMBER: _ClassVar[int]
    FLOORS_FIELD_NUMBER: _ClassVar[int]
    BANK_FIELD_NUMBER: _ClassVar[int]
    BANK_NUMBER_FIELD_NUMBER: _ClassVar[int]
    REQUIRE_SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    name: str
    display_name: str
    scheme: str
    purpose: Purpose
    review_depth: int
    marking: Marking
    create_time: _timestamp_pb2.Timestamp
    revision: int
    unclassified: Unclassified
    accepted_revision: int
    floors: _containers.RepeatedCompositeFieldContainer[Marking]
    bank: Bank
    bank_number: int
    require_signature: bool
    def __init__(self, name: _Optional[str] = ..., display_name: _Optional[str] = ..., scheme: _Optional[str] = ..., purpose: _Optional[_Union[Purpose, str]] = ..., review_depth: _Optional[int] = ..., marking: _Optional[_Union[Marking, _Mapping]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., revision: _Optional[int] = ..., unclassified: _Optional[_Union[Unclassified, str]] = ..., accepted_revision: _Optional[int] = ..., floors: _Optional[_Iterable[_Union[Marking, _Mapping]]] = ..., bank: _Optional[_Union[Bank, _Mapping]] = ..., bank_number: _Optional[int] = ..., require_signature: _Optional[bool] = ...) -> None: ...

class Flags(_message.Message):
    __slots__ = ("victim_identified", "offender_identified", "distributed", "suspected", "self_generated")
    VICTIM_IDENTIFIED_FIELD_NUMBER: _ClassVar[int]
    OFFENDER_IDENTIFIED_FIELD_NUMBER: _ClassVar[int]
    DISTRIBUTED_FIELD_NUMBER: _ClassVar[int]
    SUSPECTED_FIELD_NUMBER: _ClassVar[int]
    SELF_GENERATED_FIELD_NUMBER: _ClassVar[int]
    victim_identified: bool
    offender_identified: bool
    distributed: bool
    suspected: bool
    self_generated: bool
    def __init__(self, victim_identified: _Optional[bool] = ..., offender_identified: _Optional[bool] = ..., distributed: _Optional[bool] = ..., suspected: _Optional[bool] = ..., self_generated: _Optional[bool] = ...) -> None: ...

class DimensionValues(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, values: _Optional[_Iterable[str]] = ...) -> None: ...

class Classification(_message.Message):
    __slots__ = ("scheme", "region", "value", "draft", "dimensions")
    class DimensionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: DimensionValues
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[DimensionValues, _Mapping]] = ...) -> None: ...
    SCHEME_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    DRAFT_FIELD_NUMBER: _ClassVar[int]
    DIMENSIONS_FIELD_NUMBER: _ClassVar[int]
    scheme: str
    region: str
    value: str
    draft: bool
    dimensions: _containers.MessageMap[str, DimensionValues]
    def __init__(self, scheme: _Optional[str] = ..., region: _Optional[str] = ..., value: _Optional[str] = ..., draft: _Optional[bool] = ..., dimensions: _Optional[_Mapping[str, DimensionValues]] = ...) -> None: ...

class Provenance(_message.Message):
    __slots__ = ("connector", "connector_version", "source_digest", "position", "member")
    IMPORT_FIELD_NUMBER: _ClassVar[int]
    CONNECTOR_FIELD_NUMBER: _ClassVar[int]
    CONNECTOR_VERSION_FIELD_NUMBER: _ClassVar[int]
    SOURCE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    connector: str
    connector_version: str
    source_digest: str
    position: str
    member: str
    def __init__(self, connector: _Optional[str] = ..., connector_version: _Optional[str] = ..., source_digest: _Optional[str] = ..., position: _Optional[str] = ..., member: _Optional[str] = ..., **kwargs) -> None: ...

class Withdrawal(_message.Message):
    __slots__ = ("reason", "comment", "actor", "role", "withdraw_revision", "pending")
    REASON_FIELD_NUMBER: _ClassVar[int]
    COMMENT_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    WITHDRAW_REVISION_FIELD_NUMBER: _ClassVar[int]
    PENDING_FIELD_NUMBER: _ClassVar[int]
    reason: WithdrawalReason
    comment: str
    actor: str
    role: Role
    withdraw_revision: int
    pending: bool
    def __init__(self, reason: _Optional[_Union[WithdrawalReason, str]] = ..., comment: _Optional[str] = ..., actor: _Optional[str] = ..., role: _Optional[_Union[Role, str]] = ..., withdraw_revision: _Optional[int] = ..., pending: _Optional[bool] = ...) -> None: ...

class VideoFrame(_message.Message):
    __slots__ = ("offset_ms", "quality", "digest")
    OFFSET_MS_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    offset_ms: int
    quality: int
    digest: bytes
    def __init__(self, offset_ms: _Optional[int] = ..., quality: _Optional[int] = ..., digest: _Optional[bytes] = ...) -> None: ...

class Entry(_message.Message):
    __slots__ = ("name", "hashes", "classification", "flags", "state", "reasons", "provenance", "external_id", "media_type", "media_size_bytes", "series", "tags", "quality", "source_time", "create_revision", "update_revision", "revision", "expire_time", "withdrawal", "predecessors", "successors", "extra", "frame_count", "frames")
    NAME_FIELD_NUMBER: _ClassVar[int]
    HASHES_FIELD_NUMBER: _ClassVar[int]
    CLASSIFICATION_FIELD_NUMBER: _ClassVar[int]
    FLAGS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    PROVENANCE_FIELD_NUMBER: _ClassVar[int]
    EXTERNAL_ID_FIELD_NUMBER: _ClassVar[int]
    MEDIA_TYPE_FIELD_NUMBER: _ClassVar[int]
    MEDIA_SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    SERIES_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    SOURCE_TIME_FIELD_NUMBER: _ClassVar[int]
    CREATE_REVISION_FIELD_NUMBER: _ClassVar[int]
    UPDATE_REVISION_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    WITHDRAWAL_FIELD_NUMBER: _ClassVar[int]
    PREDECESSORS_FIELD_NUMBER: _ClassVar[int]
    SUCCESSORS_FIELD_NUMBER: _ClassVar[int]
    EXTRA_FIELD_NUMBER: _ClassVar[int]
    FRAME_COUNT_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    name: str
    hashes: _containers.RepeatedCompositeFieldContainer[Hash]
    classification: Classification
    flags: Flags
    state: EntryState
    reasons: _containers.RepeatedScalarFieldContainer[str]
    provenance: Provenance
    external_id: str
    media_type: str
    media_size_bytes: int
    series: str
    tags: _containers.RepeatedScalarFieldContainer[str]
    quality: int
    source_time: str
    create_revision: int
    update_revision: int
    revision: int
    expire_time: _timestamp_pb2.Timestamp
    withdrawal: Withdrawal
    predecessors: _containers.RepeatedScalarFieldContainer[str]
    successors: _containers.RepeatedScalarFieldContainer[str]
    extra: str
    frame_count: int
    frames: _containers.RepeatedCompositeFieldContainer[VideoFrame]
    def __init__(self, name: _Optional[str] = ..., hashes: _Optional[_Iterable[_Union[Hash, _Mapping]]] = ..., classification: _Optional[_Union[Classification, _Mapping]] = ..., flags: _Optional[_Union[Flags, _Mapping]] = ..., state: _Optional[_Union[EntryState, str]] = ..., reasons: _Optional[_Iterable[str]] = ..., provenance: _Optional[_Union[Provenance, _Mapping]] = ..., external_id: _Optional[str] = ..., media_type: _Optional[str] = ..., media_size_bytes: _Optional[int] = ..., series: _Optional[str] = ..., tags: _Optional[_Iterable[str]] = ..., quality: _Optional[int] = ..., source_time: _Optional[str] = ..., create_revision: _Optional[int] = ..., update_revision: _Optional[int] = ..., revision: _Optional[int] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., withdrawal: _Optional[_Union[Withdrawal, _Mapping]] = ..., predecessors: _Optional[_Iterable[str]] = ..., successors: _Optional[_Iterable[str]] = ..., extra: _Optional[str] = ..., frame_count: _Optional[int] = ..., frames: _Optional[_Iterable[_Union[VideoFrame, _Mapping]]] = ...) -> None: ...
