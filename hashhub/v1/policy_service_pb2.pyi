import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from hashhub.v1 import match_service_pb2 as _match_service_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetPolicyRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ListPolicyVersionsRequest(_message.Message):
    __slots__ = ("parent", "page_size", "page_token")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    parent: str
    page_size: int
    page_token: str
    def __init__(self, parent: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListPolicyVersionsResponse(_message.Message):
    __slots__ = ("policies", "next_page_token", "revision")
    POLICIES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    policies: _containers.RepeatedCompositeFieldContainer[_match_service_pb2.Policy]
    next_page_token: str
    revision: int
    def __init__(self, policies: _Optional[_Iterable[_Union[_match_service_pb2.Policy, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., revision: _Optional[int] = ...) -> None: ...

class PutPolicyRequest(_message.Message):
    __slots__ = ("text", "comment", "validate_only", "request_id")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    COMMENT_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    text: str
    comment: str
    validate_only: bool
    request_id: str
    def __init__(self, text: _Optional[str] = ..., comment: _Optional[str] = ..., validate_only: _Optional[bool] = ..., request_id: _Optional[str] = ...) -> None: ...

class RetirePolicyRequest(_message.Message):
    __slots__ = ("name", "comment", "validate_only", "request_id")
    NAME_FIELD_NUMBER: _ClassVar[int]
    COMMENT_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    name: str
    comment: str
    validate_only: bool
    request_id: str
    def __init__(self, name: _Optional[str] = ..., comment: _Optional[str] = ..., validate_only: _Optional[bool] = ..., request_id: _Optional[str] = ...) -> None: ...

class ExplainMatchRequest(_message.Message):
    __slots__ = ("query", "options")
    QUERY_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    query: _match_service_pb2.Query
    options: _match_service_pb2.MatchOptions
    def __init__(self, query: _Optional[_Union[_match_service_pb2.Query, _Mapping]] = ..., options: _Optional[_Union[_match_service_pb2.MatchOptions, _Mapping]] = ...) -> None: ...

class ExplainedEntry(_message.Message):
    __slots__ = ("entry", "hit", "claim")
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    HIT_FIELD_NUMBER: _ClassVar[int]
    CLAIM_FIELD_NUMBER: _ClassVar[int]
    entry: str
    hit: str
    claim: str
    def __init__(self, entry: _Optional[str] = ..., hit: _Optional[str] = ..., claim: _Optional[str] = ...) -> None: ...

class FailedDemand(_message.Message):
    __slots__ = ("entry", "why")
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    entry: str
    why: str
    def __init__(self, entry: _Optional[str] = ..., why: _Optional[str] = ...) -> None: ...

class ExplainedDemand(_message.Message):
    __slots__ = ("key", "text", "fulfilled", "failed", "fulfilled_count", "failed_count")
    KEY_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    FULFILLED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    FULFILLED_COUNT_FIELD_NUMBER: _ClassVar[int]
    FAILED_COUNT_FIELD_NUMBER: _ClassVar[int]
    key: str
    text: str
    fulfilled: _containers.RepeatedScalarFieldContainer[str]
    failed: _containers.RepeatedCompositeFieldContainer[FailedDemand]
    fulfilled_count: int
    failed_count: int
    def __init__(self, key: _Optional[str] = ..., text: _Optional[str] = ..., fulfilled: _Optional[_Iterable[str]] = ..., failed: _Optional[_Iterable[_Union[FailedDemand, _Mapping]]] = ..., fulfilled_count: _Optional[int] = ..., failed_count: _Optional[int] = ...) -> None: ...

class ExplainedClause(_message.Message):
    __slots__ = ("id", "title", "contributor_count", "met", "entries", "demands", "apart")
    ID_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTOR_COUNT_FIELD_NUMBER: _ClassVar[int]
    MET_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    DEMANDS_FIELD_NUMBER: _ClassVar[int]
    APART_FIELD_NUMBER: _ClassVar[int]
    id: str
    title: str
    contributor_count: int
    met: bool
    entries: _containers.RepeatedScalarFieldContainer[str]
    demands: _containers.RepeatedCompositeFieldContainer[ExplainedDemand]
    apart: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, id: _Optional[str] = ..., title: _Optional[str] = ..., contributor_count: _Optional[int] = ..., met: _Optional[bool] = ..., entries: _Optional[_Iterable[str]] = ..., demands: _Optional[_Iterable[_Union[ExplainedDemand, _Mapping]]] = ..., apart: _Optional[_Iterable[str]] = ...) -> None: ...

class ExplainMatchResponse(_message.Message):
    __slots__ = ("verdict", "reasons", "conclusion", "closeness", "entries", "clauses", "disputes", "policy", "revision")
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    CONCLUSION_FIELD_NUMBER: _ClassVar[int]
    CLOSENESS_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    CLAUSES_FIELD_NUMBER: _ClassVar[int]
    DISPUTES_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    verdict: _match_service_pb2.Verdict
    reasons: _containers.RepeatedCompositeFieldContainer[_match_service_pb2.ReasonLine]
    conclusion: str
    closeness: str
    entries: _containers.RepeatedCompositeFieldContainer[ExplainedEntry]
    clauses: _containers.RepeatedCompositeFieldContainer[ExplainedClause]
    disputes: _containers.RepeatedCompositeFieldContainer[_match_service_pb2.ReasonLine]
    policy: str
    revision: int
    def __init__(self, verdict: _Optional[_Union[_match_service_pb2.Verdict, str]] = ..., reasons: _Optional[_Iterable[_Union[_match_service_pb2.ReasonLine, _Mapping]]] = ..., conclusion: _Optional[str] = ..., closeness: _Optional[str] = ..., entries: _Optional[_Iterable[_Union[ExplainedEntry, _Mapping]]] = ..., clauses: _Optional[_Iterable[_Union[ExplainedClause, _Mapping]]] = ..., disputes: _Optional[_Iterable[_Union[_match_service_pb2.ReasonLine, _Mapping]]] = ..., policy: _Optional[str] = ..., revision: _Optional[int] = ...) -> None: ...

class SimulatePolicyRequest(_message.Message):
    __slots__ = ("before", "after", "text", "queries", "since_revision", "since_time", "hash_sets", "page_token", "max_distances")
    class MaxDistancesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    QUERIES_FIELD_NUMBER: _ClassVar[int]
    SINCE_REVISION_FIELD_NUMBER: _ClassVar[int]
    SINCE_TIME_FIELD_NUMBER: _ClassVar[int]
    HASH_SETS_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    MAX_DISTANCES_FIELD_NUMBER: _ClassVar[int]
    before: str
    after: str
    text: str
    queries: _containers.RepeatedCompositeFieldContainer[_match_service_pb2.Query]
    since_revision: int
    since_time: _timestamp_pb2.Timestamp
    hash_sets: _containers.RepeatedScalarFieldContainer[str]
    page_token: str
    max_distances: _containers.ScalarMap[str, int]
    def __init__(self, before: _Optional[str] = ..., after: _Optional[str] = ..., text: _Optional[str] = ..., queries: _Optional[_Iterable[_Union[_match_service_pb2.Query, _Mapping]]] = ..., since_revision: _Optional[int] = ..., since_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., hash_sets: _Optional[_Iterable[str]] = ..., page_token: _Optional[str] = ..., max_distances: _Optional[_Mapping[str, int]] = ...) -> None: ...

class VerdictChangeExample(_message.Message):
    __slots__ = ("label", "before_reasons", "after_reasons")
    LABEL_FIELD_NUMBER: _ClassVar[int]
    BEFORE_REASONS_FIELD_NUMBER: _ClassVar[int]
    AFTER_REASONS_FIELD_NUMBER: _ClassVar[int]
    label: str
    before_reasons: _containers.RepeatedCompositeFieldContainer[_match_service_pb2.ReasonLine]
    after_reasons: _containers.RepeatedCompositeFieldContainer[_match_service_pb2.ReasonLine]
    def __init__(self, label: _Optional[str] = ..., before_reasons: _Optional[_Iterable[_Union[_match_service_pb2.ReasonLine, _Mapping]]] = ..., after_reasons: _Optional[_Iterable[_Union[_match_service_pb2.ReasonLine, _Mapping]]] = ...) -> None: ...

class VerdictChange(_message.Message):
    __slots__ = ("before", "after", "query_count", "examples")
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    QUERY_COUNT_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    before: _match_service_pb2.Verdict
    after: _match_service_pb2.Verdict
    query_count: int
    examples: _containers.RepeatedCompositeFieldContainer[VerdictChangeExample]
    def __init__(self, before: _Optional[_Union[_match_service_pb2.Verdict, str]] = ..., after: _Optional[_Union[_match_service_pb2.Verdict, str]] = ..., query_count: _Optional[int] = ..., examples: _Optional[_Iterable[_Union[VerdictChangeExample, _Mapping]]] = ...) -> None: ...

class SimulatePolicyResponse(_message.Message):
    __slots__ = ("before", "after", "changes", "next_page_token", "entry_count", "revision")
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    ENTRY_COUNT_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    before: str
    after: str
    changes: _containers.RepeatedCompositeFieldContainer[VerdictChange]
    next_page_token: str
    entry_count: int
    revision: int
    def __init__(self, before: _Optional[str] = ..., after: _Optional[str] = ..., changes: _Optional[_Iterable[_Union[VerdictChange, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., entry_count: _Optional[int] = ..., revision: _Optional[int] = ...) -> None: ...
