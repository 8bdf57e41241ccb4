from hashhub.v1 import resources_pb2 as _resources_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ComparedBy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    COMPARED_BY_UNSPECIFIED: _ClassVar[ComparedBy]
    COMPARED_BY_HASH_SET: _ClassVar[ComparedBy]
    COMPARED_BY_CONTRIBUTOR: _ClassVar[ComparedBy]
    COMPARED_BY_JURISDICTION: _ClassVar[ComparedBy]

class Engine(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ENGINE_UNSPECIFIED: _ClassVar[Engine]
    ENGINE_DUCKDB: _ClassVar[Engine]
    ENGINE_RAY: _ClassVar[Engine]
COMPARED_BY_UNSPECIFIED: ComparedBy
COMPARED_BY_HASH_SET: ComparedBy
COMPARED_BY_CONTRIBUTOR: ComparedBy
COMPARED_BY_JURISDICTION: ComparedBy
ENGINE_UNSPECIFIED: Engine
ENGINE_DUCKDB: Engine
ENGINE_RAY: Engine

class ResultFile(_message.Message):
    __slots__ = ("path", "sha256", "size_bytes")
    PATH_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    path: str
    sha256: str
    size_bytes: int
    def __init__(self, path: _Optional[str] = ..., sha256: _Optional[str] = ..., size_bytes: _Optional[int] = ...) -> None: ...

class ExtractEntriesResponse(_message.Message):
    __slots__ = ("extract_revision", "hash_sets", "left_out", "files")
    EXTRACT_REVISION_FIELD_NUMBER: _ClassVar[int]
    HASH_SETS_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    extract_revision: int
    hash_sets: _containers.RepeatedScalarFieldContainer[str]
    left_out: _containers.RepeatedScalarFieldContainer[str]
    files: _containers.RepeatedCompositeFieldContainer[ResultFile]
    def __init__(self, extract_revision: _Optional[int] = ..., hash_sets: _Optional[_Iterable[str]] = ..., left_out: _Optional[_Iterable[str]] = ..., files: _Optional[_Iterable[_Union[ResultFile, _Mapping]]] = ...) -> None: ...

class ContributorLeftOut(_message.Message):
    __slots__ = ("contributor", "reliability", "by_choice")
    CONTRIBUTOR_FIELD_NUMBER: _ClassVar[int]
    RELIABILITY_FIELD_NUMBER: _ClassVar[int]
    BY_CHOICE_FIELD_NUMBER: _ClassVar[int]
    contributor: str
    reliability: _resources_pb2.Reliability
    by_choice: bool
    def __init__(self, contributor: _Optional[str] = ..., reliability: _Optional[_Union[_resources_pb2.Reliability, str]] = ..., by_choice: _Optional[bool] = ...) -> None: ...

class OverlapGroup(_message.Message):
    __slots__ = ("name", "entry_count", "alone_count")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ENTRY_COUNT_FIELD_NUMBER: _ClassVar[int]
    ALONE_COUNT_FIELD_NUMBER: _ClassVar[int]
    name: str
    entry_count: int
    alone_count: int
    def __init__(self, name: _Optional[str] = ..., entry_count: _Optional[int] = ..., alone_count: _Optional[int] = ...) -> None: ...

class OverlapCell(_message.Message):
    __slots__ = ("left", "right", "exact_count", "near_count")
    LEFT_FIELD_NUMBER: _ClassVar[int]
    RIGHT_FIELD_NUMBER: _ClassVar[int]
    EXACT_COUNT_FIELD_NUMBER: _ClassVar[int]
    NEAR_COUNT_FIELD_NUMBER: _ClassVar[int]
    left: str
    right: str
    exact_count: int
    near_count: int
    def __init__(self, left: _Optional[str] = ..., right: _Optional[str] = ..., exact_count: _Optional[int] = ..., near_count: _Optional[int] = ...) -> None: ...

class ComputeOverlapResponse(_message.Message):
    __slots__ = ("by", "extract_revision", "groups", "cells", "max_distances", "left_out")
    class MaxDistancesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    BY_FIELD_NUMBER: _ClassVar[int]
    EXTRACT_REVISION_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    CELLS_FIELD_NUMBER: _ClassVar[int]
    MAX_DISTANCES_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    by: ComparedBy
    extract_revision: int
    groups: _containers.RepeatedCompositeFieldContainer[OverlapGroup]
    cells: _containers.RepeatedCompositeFieldContainer[OverlapCell]
    max_distances: _containers.ScalarMap[str, int]
    left_out: _containers.RepeatedCompositeFieldContainer[ContributorLeftOut]
    def __init__(self, by: _Optional[_Union[ComparedBy, str]] = ..., extract_revision: _Optional[int] = ..., groups: _Optional[_Iterable[_Union[OverlapGroup, _Mapping]]] = ..., cells: _Optional[_Iterable[_Union[OverlapCell, _Mapping]]] = ..., max_distances: _Optional[_Mapping[str, int]] = ..., left_out: _Optional[_Iterable[_Union[ContributorLeftOut, _Mapping]]] = ...) -> None: ...

class Share(_message.Message):
    __slots__ = ("count", "item_count", "low", "high")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    ITEM_COUNT_FIELD_NUMBER: _ClassVar[int]
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    count: int
    item_count: int
    low: float
    high: float
    def __init__(self, count: _Optional[int] = ..., item_count: _Optional[int] = ..., low: _Optional[float] = ..., high: _Optional[float] = ...) -> None: ...

class DimensionAgreement(_message.Message):
    __slots__ = ("dimension", "item_count", "contributor_count", "metric", "alpha", "low", "high")
    DIMENSION_FIELD_NUMBER: _ClassVar[int]
    ITEM_COUNT_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTOR_COUNT_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    ALPHA_FIELD_NUMBER: _ClassVar[int]
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    dimension: str
    item_count: int
    contributor_count: int
    metric: str
    alpha: float
    low: float
    high: float
    def __init__(self, dimension: _Optional[str] = ..., item_count: _Optional[int] = ..., contributor_count: _Optional[int] = ..., metric: _Optional[str] = ..., alpha: _Optional[float] = ..., low: _Optional[float] = ..., high: _Optional[float] = ...) -> None: ...

class ContributorAgreement(_message.Message):
    __slots__ = ("contributor", "dimension", "share", "period", "by_one_other_count")
    CONTRIBUTOR_FIELD_NUMBER: _ClassVar[int]
    DIMENSION_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    PERIOD_FIELD_NUMBER: _ClassVar[int]
    BY_ONE_OTHER_COUNT_FIELD_NUMBER: _ClassVar[int]
    contributor: str
    dimension: str
    share: Share
    period: str
    by_one_other_count: int
    def __init__(self, contributor: _Optional[str] = ..., dimension: _Optional[str] = ..., share: _Optional[_Union[Share, _Mapping]] = ..., period: _Optional[str] = ..., by_one_other_count: _Optional[int] = ...) -> None: ...

class Confusion(_message.Message):
    __slots__ = ("contributor", "dimension", "consensus", "stated", "share")
    CONTRIBUTOR_FIELD_NUMBER: _ClassVar[int]
    DIMENSION_FIELD_NUMBER: _ClassVar[int]
    CONSENSUS_FIELD_NUMBER: _ClassVar[int]
    STATED_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    contributor: str
    dimension: str
    consensus: str
    stated: str
    share: Share
    def __init__(self, contributor: _Optional[str] = ..., dimension: _Optional[str] = ..., consensus: _Optional[str] = ..., stated: _Optional[str] = ..., share: _Optional[_Union[Share, _Mapping]] = ...) -> None: ...

class EntryPair(_message.Message):
    __slots__ = ("left", "right")
    LEFT_FIELD_NUMBER: _ClassVar[int]
    RIGHT_FIELD_NUMBER: _ClassVar[int]
    left: str
    right: str
    def __init__(self, left: _Optional[str] = ..., right: _Optional[str] = ...) -> None: ...

class SuggestedRow(_message.Message):
    __slots__ = ("scheme", "value", "other_scheme", "other_value", "share", "relation", "examples", "contributors")
    SCHEME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    OTHER_SCHEME_FIELD_NUMBER: _ClassVar[int]
    OTHER_VALUE_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    RELATION_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTORS_FIELD_NUMBER: _ClassVar[int]
    scheme: str
    value: str
    other_scheme: str
    other_value: str
    share: Share
    relation: str
    examples: _containers.RepeatedCompositeFieldContainer[EntryPair]
    contributors: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, scheme: _Optional[str] = ..., value: _Optional[str] = ..., other_scheme: _Optional[str] = ..., other_value: _Optional[str] = ..., share: _Optional[_Union[Share, _Mapping]] = ..., relation: _Optional[str] = ..., examples: _Optional[_Iterable[_Union[EntryPair, _Mapping]]] = ..., contributors: _Optional[_Iterable[str]] = ...) -> None: ...

class ComputeAgreementResponse(_message.Message):
    __slots__ = ("extract_revision", "item_count", "dimensions", "contributors", "confusions", "drift", "suggestions", "left_out")
    EXTRACT_REVISION_FIELD_NUMBER: _ClassVar[int]
    ITEM_COUNT_FIELD_NUMBER: _ClassVar[int]
    DIMENSIONS_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTORS_FIELD_NUMBER: _ClassVar[int]
    CONFUSIONS_FIELD_NUMBER: _ClassVar[int]
    DRIFT_FIELD_NUMBER: _ClassVar[int]
    SUGGESTIONS_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    extract_revision: int
    item_count: int
    dimensions: _containers.RepeatedCompositeFieldContainer[DimensionAgreement]
    contributors: _containers.RepeatedCompositeFieldContainer[ContributorAgreement]
    confusions: _containers.RepeatedCompositeFieldContainer[Confusion]
    drift: _containers.RepeatedCompositeFieldContainer[ContributorAgreement]
    suggestions: _containers.RepeatedCompositeFieldContainer[SuggestedRow]
    left_out: _containers.RepeatedCompositeFieldContainer[ContributorLeftOut]
    def __init__(self, extract_revision: _Optional[int] = ..., item_count: _Optional[int] = ..., dimensions: _Optional[_Iterable[_Union[DimensionAgreement, _Mapping]]] = ..., contributors: _Optional[_Iterable[_Union[ContributorAgreement, _Mapping]]] = ..., confusions: _Optional[_Iterable[_Union[Confusion, _Mapping]]] = ..., drift: _Optional[_Iterable[_Union[ContributorAgreement, _Mapping]]] = ..., suggestions: _Optional[_Iterable[_Union[SuggestedRow, _Mapping]]] = ..., left_out: _Optional[_Iterable[_Union[ContributorLeftOut, _Mapping]]] = ...) -> None: ...

class Link(_message.Message):
    __slots__ = ("left", "right", "algorithm", "distance", "exact", "why")
    LEFT_FIELD_NUMBER: _ClassVar[int]
    RIGHT_FIELD_NUMBER: _ClassVar[int]
    ALGORITHM_FIELD_NUMBER: _ClassVar[int]
    DISTANCE_FIELD_NUMBER: _ClassVar[int]
    EXACT_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    left: str
    right: str
    algorithm: str
    distance: int
    exact: bool
    why: str
    def __init__(self, left: _Optional[str] = ..., right: _Optional[str] = ..., algorithm: _Optional[str] = ..., distance: _Optional[int] = ..., exact: _Optional[bool] = ..., why: _Optional[str] = ...) -> None: ...

class FindLinksResponse(_message.Message):
    __slots__ = ("extract_revision", "exact_count", "near_count", "row_count", "cut", "left_out")
    EXTRACT_REVISION_FIELD_NUMBER: _ClassVar[int]
    EXACT_COUNT_FIELD_NUMBER: _ClassVar[int]
    NEAR_COUNT_FIELD_NUMBER: _ClassVar[int]
    ROW_COUNT_FIELD_NUMBER: _ClassVar[int]
    CUT_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    extract_revision: int
    exact_count: int
    near_count: int
    row_count: int
    cut: bool
    left_out: _containers.RepeatedCompositeFieldContainer[ContributorLeftOut]
    def __init__(self, extract_revision: _Optional[int] = ..., exact_count: _Optional[int] = ..., near_count: _Optional[int] = ..., row_count: _Optional[int] = ..., cut: _Optional[bool] = ..., left_out: _Optional[_Iterable[_Union[ContributorLeftOut, _Mapping]]] = ...) -> None: ...

class Gap(_message.Message):
    __slots__ = ("entries", "jurisdictions", "contributors", "verdicts", "entry_count")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    JURISDICTIONS_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTORS_FIELD_NUMBER: _ClassVar[int]
    VERDICTS_FIELD_NUMBER: _ClassVar[int]
    ENTRY_COUNT_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedScalarFieldContainer[str]
    jurisdictions: _containers.RepeatedScalarFieldContainer[str]
    contributors: _containers.RepeatedScalarFieldContainer[str]
    verdicts: _containers.RepeatedScalarFieldContainer[str]
    entry_count: int
    def __init__(self, entries: _Optional[_Iterable[str]] = ..., jurisdictions: _Optional[_Iterable[str]] = ..., contributors: _Optional[_Iterable[str]] = ..., verdicts: _Optional[_Iterable[str]] = ..., entry_count: _Optional[int] = ...) -> None: ...

class FindGapsResponse(_message.Message):
    __slots__ = ("jurisdiction", "extract_revision", "item_count", "counts_by_contributor", "counts_by_verdict", "row_count", "cut", "max_distances", "left_out")
    class CountsByContributorEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class CountsByVerdictEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class MaxDistancesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    JURISDICTION_FIELD_NUMBER: _ClassVar[int]
    EXTRACT_REVISION_FIELD_NUMBER: _ClassVar[int]
    ITEM_COUNT_FIELD_NUMBER: _ClassVar[int]
    COUNTS_BY_CONTRIBUTOR_FIELD_NUMBER: _ClassVar[int]
    COUNTS_BY_VERDICT_FIELD_NUMBER: _ClassVar[int]
    ROW_COUNT_FIELD_NUMBER: _ClassVar[int]
    CUT_FIELD_NUMBER: _ClassVar[int]
    MAX_DISTANCES_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    jurisdiction: str
    extract_revision: int
    item_count: int
    counts_by_contributor: _containers.ScalarMap[str, int]
    counts_by_verdict: _containers.ScalarMap[str, int]
    row_count: int
    cut: bool
    max_distances: _containers.ScalarMap[str, int]
    left_out: _containers.RepeatedCompositeFieldContainer[ContributorLeftOut]
    def __init__(self, jurisdiction: _Optional[str] = ..., extract_revision: _Optional[int] = ..., item_count: _Optional[int] = ..., counts_by_contributor: _Optional[_Mapping[str, int]] = ..., counts_by_verdict: _Optional[_Mapping[str, int]] = ..., row_count: _Optional[int] = ..., cut: _Optional[bool] = ..., max_distances: _Optional[_Mapping[str, int]] = ..., left_out: _Optional[_Iterable[_Union[ContributorLeftOut, _Mapping]]] = ...) -> None: ...

class WriteReportResponse(_message.Message):
    __slots__ = ("extract_revision", "files", "left_out")
    EXTRACT_REVISION_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    extract_revision: int
    files: _containers.RepeatedCompositeFieldContainer[ResultFile]
    left_out: _containers.RepeatedCompositeFieldContainer[ContributorLeftOut]
    def __init__(self, extract_revision: _Optional[int] = ..., files: _Optional[_Iterable[_Union[ResultFile, _Mapping]]] = ..., left_out: _Optional[_Iterable[_Union[ContributorLeftOut, _Mapping]]] = ...) -> None: ...
