import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from hashhub.v1 import resources_pb2 as _resources_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ConflictKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CONFLICT_KIND_UNSPECIFIED: _ClassVar[ConflictKind]
    CONFLICT_KIND_BENIGN_AGAINST_HARMFUL: _ClassVar[ConflictKind]
    CONFLICT_KIND_VERDICT: _ClassVar[ConflictKind]
    CONFLICT_KIND_AGE_BAND: _ClassVar[ConflictKind]
    CONFLICT_KIND_ACT: _ClassVar[ConflictKind]
    CONFLICT_KIND_MEDIUM: _ClassVar[ConflictKind]
    CONFLICT_KIND_LEGAL_STATUS: _ClassVar[ConflictKind]
    CONFLICT_KIND_CONTRADICTORY_DIGESTS: _ClassVar[ConflictKind]
    CONFLICT_KIND_PERSONS: _ClassVar[ConflictKind]
    CONFLICT_KIND_SELF_GENERATED: _ClassVar[ConflictKind]

class Severity(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SEVERITY_UNSPECIFIED: _ClassVar[Severity]
    SEVERITY_LOW: _ClassVar[Severity]
    SEVERITY_MEDIUM: _ClassVar[Severity]
    SEVERITY_HIGH: _ClassVar[Severity]

class ConflictState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CONFLICT_STATE_UNSPECIFIED: _ClassVar[ConflictState]
    CONFLICT_STATE_OPEN: _ClassVar[ConflictState]
    CONFLICT_STATE_ASSIGNED: _ClassVar[ConflictState]
    CONFLICT_STATE_RESOLVED: _ClassVar[ConflictState]
    CONFLICT_STATE_ENDED: _ClassVar[ConflictState]

class ConflictReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CONFLICT_REASON_UNSPECIFIED: _ClassVar[ConflictReason]
    CONFLICT_REASON_LEFT_STANDING: _ClassVar[ConflictReason]
    CONFLICT_REASON_CORRECTED: _ClassVar[ConflictReason]
    CONFLICT_REASON_NOT_THE_SAME_ITEM: _ClassVar[ConflictReason]
    CONFLICT_REASON_DECIDED_FOR: _ClassVar[ConflictReason]
    CONFLICT_REASON_OTHER: _ClassVar[ConflictReason]

class ConflictAction(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CONFLICT_ACTION_UNSPECIFIED: _ClassVar[ConflictAction]
    CONFLICT_ACTION_ASSIGN: _ClassVar[ConflictAction]
    CONFLICT_ACTION_RESOLVE: _ClassVar[ConflictAction]
    CONFLICT_ACTION_REOPEN: _ClassVar[ConflictAction]
CONFLICT_KIND_UNSPECIFIED: ConflictKind
CONFLICT_KIND_BENIGN_AGAINST_HARMFUL: ConflictKind
CONFLICT_KIND_VERDICT: ConflictKind
CONFLICT_KIND_AGE_BAND: ConflictKind
CONFLICT_KIND_ACT: ConflictKind
CONFLICT_KIND_MEDIUM: ConflictKind
CONFLICT_KIND_LEGAL_STATUS: ConflictKind
CONFLICT_KIND_CONTRADICTORY_DIGESTS: ConflictKind
CONFLICT_KIND_PERSONS: ConflictKind
CONFLICT_KIND_SELF_GENERATED: ConflictKind
SEVERITY_UNSPECIFIED: Severity
SEVERITY_LOW: Severity
SEVERITY_MEDIUM: Severity
SEVERITY_HIGH: Severity
CONFLICT_STATE_UNSPECIFIED: ConflictState
CONFLICT_STATE_OPEN: ConflictState
CONFLICT_STATE_ASSIGNED: ConflictState
CONFLICT_STATE_RESOLVED: ConflictState
CONFLICT_STATE_ENDED: ConflictState
CONFLICT_REASON_UNSPECIFIED: ConflictReason
CONFLICT_REASON_LEFT_STANDING: ConflictReason
CONFLICT_REASON_CORRECTED: ConflictReason
CONFLICT_REASON_NOT_THE_SAME_ITEM: ConflictReason
CONFLICT_REASON_DECIDED_FOR: ConflictReason
CONFLICT_REASON_OTHER: ConflictReason
CONFLICT_ACTION_UNSPECIFIED: ConflictAction
CONFLICT_ACTION_ASSIGN: ConflictAction
CONFLICT_ACTION_RESOLVE: ConflictAction
CONFLICT_ACTION_REOPEN: ConflictAction

class Conflict(_message.Message):
    __slots__ = ("name", "kind", "dimension", "severity", "state", "left", "right", "why", "assignee", "resolutions", "open_time", "update_time", "conflict_revision", "ended_by", "ended_side", "etag", "revision")
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    DIMENSION_FIELD_NUMBER: _ClassVar[int]
    SEVERITY_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    LEFT_FIELD_NUMBER: _ClassVar[int]
    RIGHT_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    ASSIGNEE_FIELD_NUMBER: _ClassVar[int]
    RESOLUTIONS_FIELD_NUMBER: _ClassVar[int]
    OPEN_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    CONFLICT_REVISION_FIELD_NUMBER: _ClassVar[int]
    ENDED_BY_FIELD_NUMBER: _ClassVar[int]
    ENDED_SIDE_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    name: str
    kind: ConflictKind
    dimension: str
    severity: Severity
    state: ConflictState
    left: ConflictParty
    right: ConflictParty
    why: str
    assignee: str
    resolutions: _containers.RepeatedCompositeFieldContainer[ConflictResolution]
    open_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    conflict_revision: int
    ended_by: str
    ended_side: str
    etag: str
    revision: int
    def __init__(self, name: _Optional[str] = ..., kind: _Optional[_Union[ConflictKind, str]] = ..., dimension: _Optional[str] = ..., severity: _Optional[_Union[Severity, str]] = ..., state: _Optional[_Union[ConflictState, str]] = ..., left: _Optional[_Union[ConflictParty, _Mapping]] = ..., right: _Optional[_Union[ConflictParty, _Mapping]] = ..., why: _Optional[str] = ..., assignee: _Optional[str] = ..., resolutions: _Optional[_Iterable[_Union[ConflictResolution, _Mapping]]] = ..., open_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., conflict_revision: _Optional[int] = ..., ended_by: _Optional[str] = ..., ended_side: _Optional[str] = ..., etag: _Optional[str] = ..., revision: _Optional[int] = ...) -> None: ...

class ConflictParty(_message.Message):
    __slots__ = ("hash_set", "jurisdiction", "reliability", "purpose", "entry_count", "statements")
    HASH_SET_FIELD_NUMBER: _ClassVar[int]
    JURISDICTION_FIELD_NUMBER: _ClassVar[int]
    RELIABILITY_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    ENTRY_COUNT_FIELD_NUMBER: _ClassVar[int]
    STATEMENTS_FIELD_NUMBER: _ClassVar[int]
    hash_set: str
    jurisdiction: str
    reliability: _resources_pb2.Reliability
    purpose: _resources_pb2.Purpose
    entry_count: int
    statements: _containers.RepeatedCompositeFieldContainer[ConflictStatement]
    def __init__(self, hash_set: _Optional[str] = ..., jurisdiction: _Optional[str] = ..., reliability: _Optional[_Union[_resources_pb2.Reliability, str]] = ..., purpose: _Optional[_Union[_resources_pb2.Purpose, str]] = ..., entry_count: _Optional[int] = ..., statements: _Optional[_Iterable[_Union[ConflictStatement, _Mapping]]] = ...) -> None: ...

class ConflictStatement(_message.Message):
    __slots__ = ("entry", "state", "scheme", "value", "dimensions", "flags", "digests", "create_revision", "update_revision")
    class DimensionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _resources_pb2.DimensionValues
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_resources_pb2.DimensionValues, _Mapping]] = ...) -> None: ...
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SCHEME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    DIMENSIONS_FIELD_NUMBER: _ClassVar[int]
    FLAGS_FIELD_NUMBER: _ClassVar[int]
    DIGESTS_FIELD_NUMBER: _ClassVar[int]
    CREATE_REVISION_FIELD_NUMBER: _ClassVar[int]
    UPDATE_REVISION_FIELD_NUMBER: _ClassVar[int]
    entry: str
    state: _resources_pb2.EntryState
    scheme: str
    value: str
    dimensions: _containers.MessageMap[str, _resources_pb2.DimensionValues]
    flags: _resources_pb2.Flags
    digests: _containers.RepeatedCompositeFieldContainer[_resources_pb2.Hash]
    create_revision: int
    update_revision: int
    def __init__(self, entry: _Optional[str] = ..., state: _Optional[_Union[_resources_pb2.EntryState, str]] = ..., scheme: _Optional[str] = ..., value: _Optional[str] = ..., dimensions: _Optional[_Mapping[str, _resources_pb2.DimensionValues]] = ..., flags: _Optional[_Union[_resources_pb2.Flags, _Mapping]] = ..., digests: _Optional[_Iterable[_Union[_resources_pb2.Hash, _Mapping]]] = ..., create_revision: _Optional[int] = ..., update_revision: _Optional[int] = ...) -> None: ...

class ConflictResolution(_message.Message):
    __slots__ = ("contributor", "actor", "role", "reason", "comment", "decided_for", "closes", "stands", "create_time", "create_revision")
    CONTRIBUTOR_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    COMMENT_FIELD_NUMBER: _ClassVar[int]
    DECIDED_FOR_FIELD_NUMBER: _ClassVar[int]
    CLOSES_FIELD_NUMBER: _ClassVar[int]
    STANDS_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    CREATE_REVISION_FIELD_NUMBER: _ClassVar[int]
    contributor: str
    actor: str
    role: _resources_pb2.Role
    reason: ConflictReason
    comment: str
    decided_for: str
    closes: bool
    stands: bool
    create_time: _timestamp_pb2.Timestamp
    create_revision: int
    def __init__(self, contributor: _Optional[str] = ..., actor: _Optional[str] = ..., role: _Optional[_Union[_resources_pb2.Role, str]] = ..., reason: _Optional[_Union[ConflictReason, str]] = ..., comment: _Optional[str] = ..., decided_for: _Optional[str] = ..., closes: _Optional[bool] = ..., stands: _Optional[bool] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., create_revision: _Optional[int] = ...) -> None: ...

class ConflictFilter(_message.Message):
    __slots__ = ("kinds", "severities", "states", "contributor", "other", "hash_set", "jurisdiction", "assignee", "since_revision", "entry")
    KINDS_FIELD_NUMBER: _ClassVar[int]
    SEVERITIES_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTOR_FIELD_NUMBER: _ClassVar[int]
    OTHER_FIELD_NUMBER: _ClassVar[int]
    HASH_SET_FIELD_NUMBER: _ClassVar[int]
    JURISDICTION_FIELD_NUMBER: _ClassVar[int]
    ASSIGNEE_FIELD_NUMBER: _ClassVar[int]
    SINCE_REVISION_FIELD_NUMBER: _ClassVar[int]
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    kinds: _containers.RepeatedScalarFieldContainer[ConflictKind]
    severities: _containers.RepeatedScalarFieldContainer[Severity]
    states: _containers.RepeatedScalarFieldContainer[ConflictState]
    contributor: str
    other: str
    hash_set: str
    jurisdiction: str
    assignee: str
    since_revision: int
    entry: str
    def __init__(self, kinds: _Optional[_Iterable[_Union[ConflictKind, str]]] = ..., severities: _Optional[_Iterable[_Union[Severity, str]]] = ..., states: _Optional[_Iterable[_Union[ConflictState, str]]] = ..., contributor: _Optional[str] = ..., other: _Optional[str] = ..., hash_set: _Optional[str] = ..., jurisdiction: _Optional[str] = ..., assignee: _Optional[str] = ..., since_revision: _Optional[int] = ..., entry: _Optional[str] = ...) -> None: ...

class ListConflictsRequest(_message.Message):
    __slots__ = ("filter", "page_size", "page_token")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    filter: ConflictFilter
    page_size: int
    page_token: str
    def __init__(self, filter: _Optional[_Union[ConflictFilter, _Mapping]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListConflictsResponse(_message.Message):
    __slots__ = ("conflicts", "next_page_token", "revision", "looked_revision")
    CONFLICTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    LOOKED_REVISION_FIELD_NUMBER: _ClassVar[int]
    conflicts: _containers.RepeatedCompositeFieldContainer[Conflict]
    next_page_token: str
    revision: int
    looked_revision: int
    def __init__(self, conflicts: _Optional[_Iterable[_Union[Conflict, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., revision: _Optional[int] = ..., looked_revision: _Optional[int] = ...) -> None: ...

class GetConflictRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class AssignConflictRequest(_message.Message):
    __slots__ = ("name", "assignee", "validate_only", "request_id", "etag")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ASSIGNEE_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    name: str
    assignee: str
    validate_only: bool
    request_id: str
    etag: str
    def __init__(self, name: _Optional[str] = ..., assignee: _Optional[str] = ..., validate_only: _Optional[bool] = ..., request_id: _Optional[str] = ..., etag: _Optional[str] = ...) -> None: ...

class ResolveConflictRequest(_message.Message):
    __slots__ = ("name", "reason", "comment", "decided_for", "etag", "validate_only", "request_id")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    COMMENT_FIELD_NUMBER: _ClassVar[int]
    DECIDED_FOR_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    name: str
    reason: ConflictReason
    comment: str
    decided_for: str
    etag: str
    validate_only: bool
    request_id: str
    def __init__(self, name: _Optional[str] = ..., reason: _Optional[_Union[ConflictReason, str]] = ..., comment: _Optional[str] = ..., decided_for: _Optional[str] = ..., etag: _Optional[str] = ..., validate_only: _Optional[bool] = ..., request_id: _Optional[str] = ...) -> None: ...

class ReopenConflictRequest(_message.Message):
    __slots__ = ("name", "comment", "validate_only", "request_id", "etag")
    NAME_FIELD_NUMBER: _ClassVar[int]
    COMMENT_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    name: str
    comment: str
    validate_only: bool
    request_id: str
    etag: str
    def __init__(self, name: _Optional[str] = ..., comment: _Optional[str] = ..., validate_only: _Optional[bool] = ..., request_id: _Optional[str] = ..., etag: _Optional[str] = ...) -> None: ...

class ChangeConflictsRequest(_message.Message):
    __slots__ = ("filter", "action", "assignee", "reason", "comment", "decided_for", "expected_count", "validate_only", "request_id", "page_size", "page_token")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    ASSIGNEE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    COMMENT_FIELD_NUMBER: _ClassVar[int]
    DECIDED_FOR_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_COUNT_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    filter: ConflictFilter
    action: ConflictAction
    assignee: str
    reason: ConflictReason
    comment: str
    decided_for: str
    expected_count: int
    validate_only: bool
    request_id: str
    page_size: int
    page_token: str
    def __init__(self, filter: _Optional[_Union[ConflictFilter, _Mapping]] = ..., action: _Optional[_Union[ConflictAction, str]] = ..., assignee: _Optional[str] = ..., reason: _Optional[_Union[ConflictReason, str]] = ..., comment: _Optional[str] = ..., decided_for: _Optional[str] = ..., expected_count: _Optional[int] = ..., validate_only: _Optional[bool] = ..., request_id: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ChangeConflictsResponse(_message.Message):
    __slots__ = ("selected_count", "changed_count", "skipped_counts", "examples", "change_revision", "revision", "total_count", "next_page_token")
    class SkippedCountsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    SELECTED_COUNT_FIELD_NUMBER: _ClassVar[int]
    CHANGED_COUNT_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_COUNTS_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    CHANGE_REVISION_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    TOTAL_COUNT_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    selected_count: int
    changed_count: int
    skipped_counts: _containers.ScalarMap[str, int]
    examples: _containers.RepeatedScalarFieldContainer[str]
    change_revision: int
    revision: int
    total_count: int
    next_page_token: str
    def __init__(self, selected_count: _Optional[int] = ..., changed_count: _Optional[int] = ..., skipped_counts: _Optional[_Mapping[str, int]] = ..., examples: _Optional[_Iterable[str]] = ..., change_revision: _Optional[int] = ..., revision: _Optional[int] = ..., total_count: _Optional[int] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class SummariseConflictsRequest(_message.Message):
    __slots__ = ("filter", "counts_only")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    COUNTS_ONLY_FIELD_NUMBER: _ClassVar[int]
    filter: ConflictFilter
    counts_only: bool
    def __init__(self, filter: _Optional[_Union[ConflictFilter, _Mapping]] = ..., counts_only: _Optional[bool] = ...) -> None: ...

class ConflictCount(_message.Message):
    __slots__ = ("left", "right", "kind", "severity", "state", "count")
    LEFT_FIELD_NUMBER: _ClassVar[int]
    RIGHT_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SEVERITY_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    left: str
    right: str
    kind: ConflictKind
    severity: Severity
    state: ConflictState
    count: int
    def __init__(self, left: _Optional[str] = ..., right: _Optional[str] = ..., kind: _Optional[_Union[ConflictKind, str]] = ..., severity: _Optional[_Union[Severity, str]] = ..., state: _Optional[_Union[ConflictState, str]] = ..., count: _Optional[int] = ...) -> None: ...

class ConflictingContributor(_message.Message):
    __slots__ = ("contributor", "reliability", "conflict_count", "item_count", "other_count")
    CONTRIBUTOR_FIELD_NUMBER: _ClassVar[int]
    RELIABILITY_FIELD_NUMBER: _ClassVar[int]
    CONFLICT_COUNT_FIELD_NUMBER: _ClassVar[int]
    ITEM_COUNT_FIELD_NUMBER: _ClassVar[int]
    OTHER_COUNT_FIELD_NUMBER: _ClassVar[int]
    contributor: str
    reliability: _resources_pb2.Reliability
    conflict_count: int
    item_count: int
    other_count: int
    def __init__(self, contributor: _Optional[str] = ..., reliability: _Optional[_Union[_resources_pb2.Reliability, str]] = ..., conflict_count: _Optional[int] = ..., item_count: _Optional[int] = ..., other_count: _Optional[int] = ...) -> None: ...

class SummariseConflictsResponse(_message.Message):
    __slots__ = ("counts", "contributors", "looked_revision", "revision")
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTORS_FIELD_NUMBER: _ClassVar[int]
    LOOKED_REVISION_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    counts: _containers.RepeatedCompositeFieldContainer[ConflictCount]
    contributors: _containers.RepeatedCompositeFieldContainer[ConflictingContributor]
    looked_revision: int
    revision: int
    def __init__(self, counts: _Optional[_Iterable[_Union[ConflictCount, _Mapping]]] = ..., contributors: _Optional[_Iterable[_Union[ConflictingContributor, _Mapping]]] = ..., looked_revision: _Optional[int] = ..., revision: _Optional[int] = ...) -> None: ...
