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

class Verdict(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VERDICT_UNSPECIFIED: _ClassVar[Verdict]
    VERDICT_MATCH: _ClassVar[Verdict]
    VERDICT_REVIEW: _ClassVar[Verdict]
    VERDICT_BENIGN: _ClassVar[Verdict]
    VERDICT_NO_MATCH: _ClassVar[Verdict]
    VERDICT_UNAVAILABLE: _ClassVar[Verdict]

class Effort(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EFFORT_UNSPECIFIED: _ClassVar[Effort]
    EFFORT_PLAIN: _ClassVar[Effort]
    EFFORT_STANDARD: _ClassVar[Effort]
    EFFORT_THOROUGH: _ClassVar[Effort]
VERDICT_UNSPECIFIED: Verdict
VERDICT_MATCH: Verdict
VERDICT_REVIEW: Verdict
VERDICT_BENIGN: Verdict
VERDICT_NO_MATCH: Verdict
VERDICT_UNAVAILABLE: Verdict
EFFORT_UNSPECIFIED: Effort
EFFORT_PLAIN: Effort
EFFORT_STANDARD: Effort
EFFORT_THOROUGH: Effort

class VariantHashes(_message.Message):
    __slots__ = ("variant", "hashes", "frames")
    VARIANT_FIELD_NUMBER: _ClassVar[int]
    HASHES_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    variant: str
    hashes: _containers.RepeatedCompositeFieldContainer[_resources_pb2.Hash]
    frames: _containers.RepeatedCompositeFieldContainer[_resources_pb2.VideoFrame]
    def __init__(self, variant: _Optional[str] = ..., hashes: _Optional[_Iterable[_Union[_resources_pb2.Hash, _Mapping]]] = ..., frames: _Optional[_Iterable[_Union[_resources_pb2.VideoFrame, _Mapping]]] = ...) -> None: ...

class Query(_message.Message):
    __slots__ = ("label", "hashes", "variants", "frames")
    LABEL_FIELD_NUMBER: _ClassVar[int]
    HASHES_FIELD_NUMBER: _ClassVar[int]
    VARIANTS_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    label: str
    hashes: _containers.RepeatedCompositeFieldContainer[_resources_pb2.Hash]
    variants: _containers.RepeatedCompositeFieldContainer[VariantHashes]
    frames: _containers.RepeatedCompositeFieldContainer[_resources_pb2.VideoFrame]
    def __init__(self, label: _Optional[str] = ..., hashes: _Optional[_Iterable[_Union[_resources_pb2.Hash, _Mapping]]] = ..., variants: _Optional[_Iterable[_Union[VariantHashes, _Mapping]]] = ..., frames: _Optional[_Iterable[_Union[_resources_pb2.VideoFrame, _Mapping]]] = ...) -> None: ...

class MatchOptions(_message.Message):
    __slots__ = ("policy", "max_distances", "match_limit", "effort")
    class MaxDistancesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    POLICY_FIELD_NUMBER: _ClassVar[int]
    MAX_DISTANCES_FIELD_NUMBER: _ClassVar[int]
    MATCH_LIMIT_FIELD_NUMBER: _ClassVar[int]
    EFFORT_FIELD_NUMBER: _ClassVar[int]
    policy: str
    max_distances: _containers.ScalarMap[str, int]
    match_limit: int
    effort: Effort
    def __init__(self, policy: _Optional[str] = ..., max_distances: _Optional[_Mapping[str, int]] = ..., match_limit: _Optional[int] = ..., effort: _Optional[_Union[Effort, str]] = ...) -> None: ...

class ReasonLine(_message.Message):
    __slots__ = ("code", "clause", "text", "entries")
    CODE_FIELD_NUMBER: _ClassVar[int]
    CLAUSE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    code: str
    clause: str
    text: str
    entries: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, code: _Optional[str] = ..., clause: _Optional[str] = ..., text: _Optional[str] = ..., entries: _Optional[_Iterable[str]] = ...) -> None: ...

class EntryMatch(_message.Message):
    __slots__ = ("entry", "algorithm", "distance", "query_digest", "reviews", "marking", "variant", "video")
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    ALGORITHM_FIELD_NUMBER: _ClassVar[int]
    DISTANCE_FIELD_NUMBER: _ClassVar[int]
    QUERY_DIGEST_FIELD_NUMBER: _ClassVar[int]
    REVIEWS_FIELD_NUMBER: _ClassVar[int]
    MARKING_FIELD_NUMBER: _ClassVar[int]
    VARIANT_FIELD_NUMBER: _ClassVar[int]
    VIDEO_FIELD_NUMBER: _ClassVar[int]
    entry: _resources_pb2.Entry
    algorithm: str
    distance: int
    query_digest: bytes
    reviews: _containers.RepeatedCompositeFieldContainer[ReviewSummary]
    marking: _resources_pb2.Marking
    variant: str
    video: VideoMatch
    def __init__(self, entry: _Optional[_Union[_resources_pb2.Entry, _Mapping]] = ..., algorithm: _Optional[str] = ..., distance: _Optional[int] = ..., query_digest: _Optional[bytes] = ..., reviews: _Optional[_Iterable[_Union[ReviewSummary, _Mapping]]] = ..., marking: _Optional[_Union[_resources_pb2.Marking, _Mapping]] = ..., variant: _Optional[str] = ..., video: _Optional[_Union[VideoMatch, _Mapping]] = ...) -> None: ...

class TimeRange(_message.Message):
    __slots__ = ("begin_ms", "end_ms", "entry_begin_ms", "entry_end_ms")
    BEGIN_MS_FIELD_NUMBER: _ClassVar[int]
    END_MS_FIELD_NUMBER: _ClassVar[int]
    ENTRY_BEGIN_MS_FIELD_NUMBER: _ClassVar[int]
    ENTRY_END_MS_FIELD_NUMBER: _ClassVar[int]
    begin_ms: int
    end_ms: int
    entry_begin_ms: int
    entry_end_ms: int
    def __init__(self, begin_ms: _Optional[int] = ..., end_ms: _Optional[int] = ..., entry_begin_ms: _Optional[int] = ..., entry_end_ms: _Optional[int] = ...) -> None: ...

class VideoMatch(_message.Message):
    __slots__ = ("query_share", "entry_share", "ranges")
    QUERY_SHARE_FIELD_NUMBER: _ClassVar[int]
    ENTRY_SHARE_FIELD_NUMBER: _ClassVar[int]
    RANGES_FIELD_NUMBER: _ClassVar[int]
    query_share: float
    entry_share: float
    ranges: _containers.RepeatedCompositeFieldContainer[TimeRange]
    def __init__(self, query_share: _Optional[float] = ..., entry_share: _Optional[float] = ..., ranges: _Optional[_Iterable[_Union[TimeRange, _Mapping]]] = ...) -> None: ...

class ReviewSummary(_message.Message):
    __slots__ = ("kind", "review_count")
    KIND_FIELD_NUMBER: _ClassVar[int]
    REVIEW_COUNT_FIELD_NUMBER: _ClassVar[int]
    kind: _resources_pb2.ReviewKind
    review_count: int
    def __init__(self, kind: _Optional[_Union[_resources_pb2.ReviewKind, str]] = ..., review_count: _Optional[int] = ...) -> None: ...

class MatchResult(_message.Message):
    __slots__ = ("label", "verdict", "reasons", "matches", "truncated", "withheld")
    LABEL_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    MATCHES_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    WITHHELD_FIELD_NUMBER: _ClassVar[int]
    label: str
    verdict: Verdict
    reasons: _containers.RepeatedCompositeFieldContainer[ReasonLine]
    matches: _containers.RepeatedCompositeFieldContainer[EntryMatch]
    truncated: bool
    withheld: bool
    def __init__(self, label: _Optional[str] = ..., verdict: _Optional[_Union[Verdict, str]] = ..., reasons: _Optional[_Iterable[_Union[ReasonLine, _Mapping]]] = ..., matches: _Optional[_Iterable[_Union[EntryMatch, _Mapping]]] = ..., truncated: _Optional[bool] = ..., withheld: _Optional[bool] = ...) -> None: ...

class MatchHashesRequest(_message.Message):
    __slots__ = ("query", "options", "with_hash_sets")
    QUERY_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    WITH_HASH_SETS_FIELD_NUMBER: _ClassVar[int]
    query: Query
    options: MatchOptions
    with_hash_sets: bool
    def __init__(self, query: _Optional[_Union[Query, _Mapping]] = ..., options: _Optional[_Union[MatchOptions, _Mapping]] = ..., with_hash_sets: _Optional[bool] = ...) -> None: ...

class MatchHashesResponse(_message.Message):
    __slots__ = ("result", "policy", "revision", "hash_sets")
    RESULT_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    HASH_SETS_FIELD_NUMBER: _ClassVar[int]
    result: MatchResult
    policy: str
    revision: int
    hash_sets: _containers.RepeatedCompositeFieldContainer[_resources_pb2.HashSet]
    def __init__(self, result: _Optional[_Union[MatchResult, _Mapping]] = ..., policy: _Optional[str] = ..., revision: _Optional[int] = ..., hash_sets: _Optional[_Iterable[_Union[_resources_pb2.HashSet, _Mapping]]] = ...) -> None: ...

class BatchMatchHashesRequest(_message.Message):
    __slots__ = ("queries", "options")
    QUERIES_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    queries: _containers.RepeatedCompositeFieldContainer[Query]
    options: MatchOptions
    def __init__(self, queries: _Optional[_Iterable[_Union[Query, _Mapping]]] = ..., options: _Optional[_Union[MatchOptions, _Mapping]] = ...) -> None: ...

class BatchMatchHashesResponse(_message.Message):
    __slots__ = ("results", "policy", "revision")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[MatchResult]
    policy: str
    revision: int
    def __init__(self, results: _Optional[_Iterable[_Union[MatchResult, _Mapping]]] = ..., policy: _Optional[str] = ..., revision: _Optional[int] = ...) -> None: ...

class Media(_message.Message):
    __slots__ = ("label", "content")
    LABEL_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    label: str
    content: bytes
    def __init__(self, label: _Optional[str] = ..., content: _Optional[bytes] = ...) -> None: ...

class MatchMediaRequest(_message.Message):
    __slots__ = ("media", "options", "with_hash_sets")
    MEDIA_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    WITH_HASH_SETS_FIELD_NUMBER: _ClassVar[int]
    media: Media
    options: MatchOptions
    with_hash_sets: bool
    def __init__(self, media: _Optional[_Union[Media, _Mapping]] = ..., options: _Optional[_Union[MatchOptions, _Mapping]] = ..., with_hash_sets: _Optional[bool] = ...) -> None: ...

class Coverage(_message.Message):
    __slots__ = ("algorithms", "effort", "variants", "frame_count", "frames_hashed", "gaps", "unsearched")
    ALGORITHMS_FIELD_NUMBER: _ClassVar[int]
    EFFORT_FIELD_NUMBER: _ClassVar[int]
    VARIANTS_FIELD_NUMBER: _ClassVar[int]
    FRAME_COUNT_FIELD_NUMBER: _ClassVar[int]
    FRAMES_HASHED_FIELD_NUMBER: _ClassVar[int]
    GAPS_FIELD_NUMBER: _ClassVar[int]
    UNSEARCHED_FIELD_NUMBER: _ClassVar[int]
    algorithms: _containers.RepeatedScalarFieldContainer[str]
    effort: Effort
    variants: _containers.RepeatedScalarFieldContainer[str]
    frame_count: int
    frames_hashed: int
    gaps: _containers.RepeatedCompositeFieldContainer[ReasonLine]
    unsearched: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, algorithms: _Optional[_Iterable[str]] = ..., effort: _Optional[_Union[Effort, str]] = ..., variants: _Optional[_Iterable[str]] = ..., frame_count: _Optional[int] = ..., frames_hashed: _Optional[int] = ..., gaps: _Optional[_Iterable[_Union[ReasonLine, _Mapping]]] = ..., unsearched: _Optional[_Iterable[str]] = ...) -> None: ...

class MediaResult(_message.Message):
    __slots__ = ("result", "hashes", "quality", "media_type", "coverage")
    RESULT_FIELD_NUMBER: _ClassVar[int]
    HASHES_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    MEDIA_TYPE_FIELD_NUMBER: _ClassVar[int]
    COVERAGE_FIELD_NUMBER: _ClassVar[int]
    result: MatchResult
    hashes: _containers.RepeatedCompositeFieldContainer[_resources_pb2.Hash]
    quality: int
    media_type: str
    coverage: Coverage
    def __init__(self, result: _Optional[_Union[MatchResult, _Mapping]] = ..., hashes: _Optional[_Iterable[_Union[_resources_pb2.Hash, _Mapping]]] = ..., quality: _Optional[int] = ..., media_type: _Optional[str] = ..., coverage: _Optional[_Union[Coverage, _Mapping]] = ...) -> None: ...

class MatchMediaResponse(_message.Message):
    __slots__ = ("result", "policy", "revision", "hash_sets")
    RESULT_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    HASH_SETS_FIELD_NUMBER: _ClassVar[int]
    result: MediaResult
    policy: str
    revision: int
    hash_sets: _containers.RepeatedCompositeFieldContainer[_resources_pb2.HashSet]
    def __init__(self, result: _Optional[_Union[MediaResult, _Mapping]] = ..., policy: _Optional[str] = ..., revision: _Optional[int] = ..., hash_sets: _Optional[_Iterable[_Union[_resources_pb2.HashSet, _Mapping]]] = ...) -> None: ...

class BatchMatchMediaRequest(_message.Message):
    __slots__ = ("media", "options")
    MEDIA_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    media: _containers.RepeatedCompositeFieldContainer[Media]
    options: MatchOptions
    def __init__(self, media: _Optional[_Iterable[_Union[Media, _Mapping]]] = ..., options: _Optional[_Union[MatchOptions, _Mapping]] = ...) -> None: ...

class BatchMatchMediaResponse(_message.Message):
    __slots__ = ("results", "policy", "revision")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[MediaResult]
    policy: str
    revision: int
    def __init__(self, results: _Optional[_Iterable[_Union[MediaResult, _Mapping]]] = ..., policy: _Optional[str] = ..., revision: _Optional[int] = ...) -> None: ...

class Hysteresis(_message.Message):
    __slots__ = ("enter_hits", "enter_frames", "leave_ms", "unread_frames")
    ENTER_HITS_FIELD_NUMBER: _ClassVar[int]
    ENTER_FRAMES_FIELD_NUMBER: _ClassVar[int]
    LEAVE_MS_FIELD_NUMBER: _ClassVar[int]
    UNREAD_FRAMES_FIELD_NUMBER: _ClassVar[int]
    enter_hits: int
    enter_frames: int
    leave_ms: int
    unread_frames: int
    def __init__(self, enter_hits: _Optional[int] = ..., enter_frames: _Optional[int] = ..., leave_ms: _Optional[int] = ..., unread_frames: _Optional[int] = ...) -> None: ...

class LiveStart(_message.Message):
    __slots__ = ("label", "options", "frames_per_second", "hysteresis", "changes_only")
    LABEL_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    FRAMES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    HYSTERESIS_FIELD_NUMBER: _ClassVar[int]
    CHANGES_ONLY_FIELD_NUMBER: _ClassVar[int]
    label: str
    options: MatchOptions
    frames_per_second: float
    hysteresis: Hysteresis
    changes_only: bool
    def __init__(self, label: _Optional[str] = ..., options: _Optional[_Union[MatchOptions, _Mapping]] = ..., frames_per_second: _Optional[float] = ..., hysteresis: _Optional[_Union[Hysteresis, _Mapping]] = ..., changes_only: _Optional[bool] = ...) -> None: ...

class LivePicture(_message.Message):
    __slots__ = ("offset_ms", "content")
    OFFSET_MS_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    offset_ms: int
    content: bytes
    def __init__(self, offset_ms: _Optional[int] = ..., content: _Optional[bytes] = ...) -> None: ...

class MatchLiveRequest(_message.Message):
    __slots__ = ("start", "picture", "frame")
    START_FIELD_NUMBER: _ClassVar[int]
    PICTURE_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    start: LiveStart
    picture: LivePicture
    frame: _resources_pb2.VideoFrame
    def __init__(self, start: _Optional[_Union[LiveStart, _Mapping]] = ..., picture: _Optional[_Union[LivePicture, _Mapping]] = ..., frame: _Optional[_Union[_resources_pb2.VideoFrame, _Mapping]] = ...) -> None: ...

class LiveRange(_message.Message):
    __slots__ = ("entry", "begin_ms", "end_ms", "hit_count", "ended", "video")
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    BEGIN_MS_FIELD_NUMBER: _ClassVar[int]
    END_MS_FIELD_NUMBER: _ClassVar[int]
    HIT_COUNT_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    VIDEO_FIELD_NUMBER: _ClassVar[int]
    entry: str
    begin_ms: int
    end_ms: int
    hit_count: int
    ended: bool
    video: VideoMatch
    def __init__(self, entry: _Optional[str] = ..., begin_ms: _Optional[int] = ..., end_ms: _Optional[int] = ..., hit_count: _Optional[int] = ..., ended: _Optional[bool] = ..., video: _Optional[_Union[VideoMatch, _Mapping]] = ...) -> None: ...

class MatchLiveResponse(_message.Message):
    __slots__ = ("offset_ms", "verdict", "result", "ranges", "hit_count", "quality", "unread", "frames_hashed", "frames_unread", "frames_skipped", "policy", "revision")
    OFFSET_MS_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    RANGES_FIELD_NUMBER: _ClassVar[int]
    HIT_COUNT_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    UNREAD_FIELD_NUMBER: _ClassVar[int]
    FRAMES_HASHED_FIELD_NUMBER: _ClassVar[int]
    FRAMES_UNREAD_FIELD_NUMBER: _ClassVar[int]
    FRAMES_SKIPPED_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    offset_ms: int
    verdict: Verdict
    result: MatchResult
    ranges: _containers.RepeatedCompositeFieldContainer[LiveRange]
    hit_count: int
    quality: int
    unread: ReasonLine
    frames_hashed: int
    frames_unread: int
    frames_skipped: int
    policy: str
    revision: int
    def __init__(self, offset_ms: _Optional[int] = ..., verdict: _Optional[_Union[Verdict, str]] = ..., result: _Optional[_Union[MatchResult, _Mapping]] = ..., ranges: _Optional[_Iterable[_Union[LiveRange, _Mapping]]] = ..., hit_count: _Optional[int] = ..., quality: _Optional[int] = ..., unread: _Optional[_Union[ReasonLine, _Mapping]] = ..., frames_hashed: _Optional[int] = ..., frames_unread: _Optional[int] = ..., frames_skipped: _Optional[int] = ..., policy: _Optional[str] = ..., revision: _Optional[int] = ...) -> None: ...

class Policy(_message.Message):
    __slots__ = ("name", "display_name", "explanation", "version", "text", "actor", "create_time", "retire_time", "current", "fault", "revision")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    RETIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    CURRENT_FIELD_NUMBER: _ClassVar[int]
    FAULT_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    name: str
    display_name: str
    explanation: str
    version: int
    text: str
    actor: str
    create_time: _timestamp_pb2.Timestamp
    retire_time: _timestamp_pb2.Timestamp
    current: bool
    fault: str
    revision: int
    def __init__(self, name: _Optional[str] = ..., display_name: _Optional[str] = ..., explanation: _Optional[str] = ..., version: _Optional[int] = ..., text: _Optional[str] = ..., actor: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., retire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., current: _Optional[bool] = ..., fault: _Optional[str] = ..., revision: _Optional[int] = ...) -> None: ...

class ListPoliciesRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListPoliciesResponse(_message.Message):
    __slots__ = ("policies", "next_page_token", "revision")
    POLICIES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    policies: _containers.RepeatedCompositeFieldContainer[Policy]
    next_page_token: str
    revision: int
    def __init__(self, policies: _Optional[_Iterable[_Union[Policy, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., revision: _Optional[int] = ...) -> None: ...

class SchemeValue(_message.Message):
    __slots__ = ("value", "title", "dimensions", "note", "aliases")
    class DimensionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _resources_pb2.DimensionValues
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_resources_pb2.DimensionValues, _Mapping]] = ...) -> None: ...
    VALUE_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    DIMENSIONS_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    ALIASES_FIELD_NUMBER: _ClassVar[int]
    value: str
    title: str
    dimensions: _containers.MessageMap[str, _resources_pb2.DimensionValues]
    note: str
    aliases: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, value: _Optional[str] = ..., title: _Optional[str] = ..., dimensions: _Optional[_Mapping[str, _resources_pb2.DimensionValues]] = ..., note: _Optional[str] = ..., aliases: _Optional[_Iterable[str]] = ...) -> None: ...

class SignOff(_message.Message):
    __slots__ = ("actor", "contributor", "time", "comment")
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTOR_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    COMMENT_FIELD_NUMBER: _ClassVar[int]
    actor: str
    contributor: str
    time: _timestamp_pb2.Timestamp
    comment: str
    def __init__(self, actor: _Optional[str] = ..., contributor: _Optional[str] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., comment: _Optional[str] = ...) -> None: ...

class Scheme(_message.Message):
    __slots__ = ("name", "title", "region", "draft", "source", "values", "lossy", "region_aliases", "source_names", "value_required", "stored", "actor", "create_time", "retire_time", "sign_offs", "text", "revision")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    DRAFT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    LOSSY_FIELD_NUMBER: _ClassVar[int]
    REGION_ALIASES_FIELD_NUMBER: _ClassVar[int]
    SOURCE_NAMES_FIELD_NUMBER: _ClassVar[int]
    VALUE_REQUIRED_FIELD_NUMBER: _ClassVar[int]
    STORED_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    RETIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    SIGN_OFFS_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    name: str
    title: str
    region: str
    draft: bool
    source: str
    values: _containers.RepeatedCompositeFieldContainer[SchemeValue]
    lossy: _containers.RepeatedScalarFieldContainer[str]
    region_aliases: _containers.RepeatedScalarFieldContainer[str]
    source_names: _containers.RepeatedScalarFieldContainer[str]
    value_required: bool
    stored: bool
    actor: str
    create_time: _timestamp_pb2.Timestamp
    retire_time: _timestamp_pb2.Timestamp
    sign_offs: _containers.RepeatedCompositeFieldContainer[SignOff]
    text: str
    revision: int
    def __init__(self, name: _Optional[str] = ..., title: _Optional[str] = ..., region: _Optional[str] = ..., draft: _Optional[bool] = ..., source: _Optional[str] = ..., values: _Optional[_Iterable[_Union[SchemeValue, _Mapping]]] = ..., lossy: _Optional[_Iterable[str]] = ..., region_aliases: _Optional[_Iterable[str]] = ..., source_names: _Optional[_Iterable[str]] = ..., value_required: _Optional[bool] = ..., stored: _Optional[bool] = ..., actor: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., retire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., sign_offs: _Optional[_Iterable[_Union[SignOff, _Mapping]]] = ..., text: _Optional[str] = ..., revision: _Optional[int] = ...) -> None: ...

class ListSchemesRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListSchemesResponse(_message.Message):
    __slots__ = ("schemes", "next_page_token", "revision")
    SCHEMES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    schemes: _containers.RepeatedCompositeFieldContainer[Scheme]
    next_page_token: str
    revision: int
    def __init__(self, schemes: _Optional[_Iterable[_Union[Scheme, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., revision: _Optional[int] = ...) -> None: ...
