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

class ImportState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    IMPORT_STATE_UNSPECIFIED: _ClassVar[ImportState]
    IMPORT_STATE_OPEN: _ClassVar[ImportState]
    IMPORT_STATE_COMMITTING: _ClassVar[ImportState]
    IMPORT_STATE_COMMITTED: _ClassVar[ImportState]
    IMPORT_STATE_CANCELLED: _ClassVar[ImportState]

class Action(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ACTION_UNSPECIFIED: _ClassVar[Action]
    ACTION_CONTRIBUTE: _ClassVar[Action]
    ACTION_WITHDRAW: _ClassVar[Action]
    ACTION_REVIEW: _ClassVar[Action]

class Disposition(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DISPOSITION_UNSPECIFIED: _ClassVar[Disposition]
    DISPOSITION_ACCEPTED: _ClassVar[Disposition]
    DISPOSITION_QUARANTINED: _ClassVar[Disposition]
    DISPOSITION_REJECTED: _ClassVar[Disposition]
    DISPOSITION_DUPLICATE: _ClassVar[Disposition]
    DISPOSITION_UNCHANGED: _ClassVar[Disposition]
    DISPOSITION_WITHDRAWN: _ClassVar[Disposition]
    DISPOSITION_NOTED: _ClassVar[Disposition]
    DISPOSITION_STAYS_WITHDRAWN: _ClassVar[Disposition]

class EntryAction(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ENTRY_ACTION_UNSPECIFIED: _ClassVar[EntryAction]
    ENTRY_ACTION_WITHDRAW: _ClassVar[EntryAction]
    ENTRY_ACTION_RESTORE: _ClassVar[EntryAction]
    ENTRY_ACTION_QUARANTINE: _ClassVar[EntryAction]
    ENTRY_ACTION_RELEASE: _ClassVar[EntryAction]

class QueueKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    QUEUE_KIND_UNSPECIFIED: _ClassVar[QueueKind]
    QUEUE_KIND_QUARANTINED: _ClassVar[QueueKind]
    QUEUE_KIND_WITHDRAWAL_PENDING: _ClassVar[QueueKind]
    QUEUE_KIND_OBJECTION: _ClassVar[QueueKind]
    QUEUE_KIND_AWAITS_ACCEPTANCE: _ClassVar[QueueKind]
    QUEUE_KIND_OPEN_IMPORT: _ClassVar[QueueKind]
    QUEUE_KIND_OVERDUE: _ClassVar[QueueKind]
    QUEUE_KIND_WEBHOOK_FAILING: _ClassVar[QueueKind]
    QUEUE_KIND_DELETION_PENDING: _ClassVar[QueueKind]
    QUEUE_KIND_CONFLICT: _ClassVar[QueueKind]
    QUEUE_KIND_APPROVAL: _ClassVar[QueueKind]
IMPORT_STATE_UNSPECIFIED: ImportState
IMPORT_STATE_OPEN: ImportState
IMPORT_STATE_COMMITTING: ImportState
IMPORT_STATE_COMMITTED: ImportState
IMPORT_STATE_CANCELLED: ImportState
ACTION_UNSPECIFIED: Action
ACTION_CONTRIBUTE: Action
ACTION_WITHDRAW: Action
ACTION_REVIEW: Action
DISPOSITION_UNSPECIFIED: Disposition
DISPOSITION_ACCEPTED: Disposition
DISPOSITION_QUARANTINED: Disposition
DISPOSITION_REJECTED: Disposition
DISPOSITION_DUPLICATE: Disposition
DISPOSITION_UNCHANGED: Disposition
DISPOSITION_WITHDRAWN: Disposition
DISPOSITION_NOTED: Disposition
DISPOSITION_STAYS_WITHDRAWN: Disposition
ENTRY_ACTION_UNSPECIFIED: EntryAction
ENTRY_ACTION_WITHDRAW: EntryAction
ENTRY_ACTION_RESTORE: EntryAction
ENTRY_ACTION_QUARANTINE: EntryAction
ENTRY_ACTION_RELEASE: EntryAction
QUEUE_KIND_UNSPECIFIED: QueueKind
QUEUE_KIND_QUARANTINED: QueueKind
QUEUE_KIND_WITHDRAWAL_PENDING: QueueKind
QUEUE_KIND_OBJECTION: QueueKind
QUEUE_KIND_AWAITS_ACCEPTANCE: QueueKind
QUEUE_KIND_OPEN_IMPORT: QueueKind
QUEUE_KIND_OVERDUE: QueueKind
QUEUE_KIND_WEBHOOK_FAILING: QueueKind
QUEUE_KIND_DELETION_PENDING: QueueKind
QUEUE_KIND_CONFLICT: QueueKind
QUEUE_KIND_APPROVAL: QueueKind

class ImportCounts(_message.Message):
    __slots__ = ("item_count", "accepted_count", "quarantined_count", "rejected_count", "duplicate_count", "unchanged_count", "withdrawn_count", "noted_count", "superseded_count", "absent_count", "stays_withdrawn_count")
    ITEM_COUNT_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_COUNT_FIELD_NUMBER: _ClassVar[int]
    QUARANTINED_COUNT_FIELD_NUMBER: _ClassVar[int]
    REJECTED_COUNT_FIELD_NUMBER: _ClassVar[int]
    DUPLICATE_COUNT_FIELD_NUMBER: _ClassVar[int]
    UNCHANGED_COUNT_FIELD_NUMBER: _ClassVar[int]
    WITHDRAWN_COUNT_FIELD_NUMBER: _ClassVar[int]
    NOTED_COUNT_FIELD_NUMBER: _ClassVar[int]
    SUPERSEDED_COUNT_FIELD_NUMBER: _ClassVar[int]
    ABSENT_COUNT_FIELD_NUMBER: _ClassVar[int]
    STAYS_WITHDRAWN_COUNT_FIELD_NUMBER: _ClassVar[int]
    item_count: int
    accepted_count: int
    quarantined_count: int
    rejected_count: int
    duplicate_count: int
    unchanged_count: int
    withdrawn_count: int
    noted_count: int
    superseded_count: int
    absent_count: int
    stays_withdrawn_count: int
    def __init__(self, item_count: _Optional[int] = ..., accepted_count: _Optional[int] = ..., quarantined_count: _Optional[int] = ..., rejected_count: _Optional[int] = ..., duplicate_count: _Optional[int] = ..., unchanged_count: _Optional[int] = ..., withdrawn_count: _Optional[int] = ..., noted_count: _Optional[int] = ..., superseded_count: _Optional[int] = ..., absent_count: _Optional[int] = ..., stays_withdrawn_count: _Optional[int] = ...) -> None: ...

class Import(_message.Message):
    __slots__ = ("name", "connector", "connector_version", "source_digest", "replace", "state", "batch_count", "counts", "create_time", "commit_time", "commit_revision", "revision", "has_classifications", "actor", "item_count", "terms", "signature", "signing_key")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CONNECTOR_FIELD_NUMBER: _ClassVar[int]
    CONNECTOR_VERSION_FIELD_NUMBER: _ClassVar[int]
    SOURCE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    REPLACE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    BATCH_COUNT_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    COMMIT_TIME_FIELD_NUMBER: _ClassVar[int]
    COMMIT_REVISION_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    HAS_CLASSIFICATIONS_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    ITEM_COUNT_FIELD_NUMBER: _ClassVar[int]
    TERMS_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    SIGNING_KEY_FIELD_NUMBER: _ClassVar[int]
    name: str
    connector: str
    connector_version: str
    source_digest: str
    replace: bool
    state: ImportState
    batch_count: int
    counts: ImportCounts
    create_time: _timestamp_pb2.Timestamp
    commit_time: _timestamp_pb2.Timestamp
    commit_revision: int
    revision: int
    has_classifications: bool
    actor: str
    item_count: int
    terms: _containers.RepeatedCompositeFieldContainer[_resources_pb2.Marking]
    signature: bytes
    signing_key: str
    def __init__(self, name: _Optional[str] = ..., connector: _Optional[str] = ..., connector_version: _Optional[str] = ..., source_digest: _Optional[str] = ..., replace: _Optional[bool] = ..., state: _Optional[_Union[ImportState, str]] = ..., batch_count: _Optional[int] = ..., counts: _Optional[_Union[ImportCounts, _Mapping]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., commit_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., commit_revision: _Optional[int] = ..., revision: _Optional[int] = ..., has_classifications: _Optional[bool] = ..., actor: _Optional[str] = ..., item_count: _Optional[int] = ..., terms: _Optional[_Iterable[_Union[_resources_pb2.Marking, _Mapping]]] = ..., signature: _Optional[bytes] = ..., signing_key: _Optional[str] = ...) -> None: ...

class HashFault(_message.Message):
    __slots__ = ("algorithm", "reason", "detail")
    ALGORITHM_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    algorithm: str
    reason: str
    detail: str
    def __init__(self, algorithm: _Optional[str] = ..., reason: _Optional[str] = ..., detail: _Optional[str] = ...) -> None: ...

class RecordReview(_message.Message):
    __slots__ = ("kind", "author", "comment")
    KIND_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    COMMENT_FIELD_NUMBER: _ClassVar[int]
    kind: _resources_pb2.ReviewKind
    author: str
    comment: str
    def __init__(self, kind: _Optional[_Union[_resources_pb2.ReviewKind, str]] = ..., author: _Optional[str] = ..., comment: _Optional[str] = ...) -> None: ...

class Record(_message.Message):
    __slots__ = ("position", "hashes", "faults", "action", "external_id", "value", "region", "member", "flags", "media_type", "media_size_bytes", "series", "tags", "quality", "source_time", "reviews", "scheme", "expire_time", "extra", "frames")
    POSITION_FIELD_NUMBER: _ClassVar[int]
    HASHES_FIELD_NUMBER: _ClassVar[int]
    FAULTS_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    EXTERNAL_ID_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    REGION_FIELD_NUMBER: _ClassVar[int]
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    FLAGS_FIELD_NUMBER: _ClassVar[int]
    MEDIA_TYPE_FIELD_NUMBER: _ClassVar[int]
    MEDIA_SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    SERIES_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    SOURCE_TIME_FIELD_NUMBER: _ClassVar[int]
    REVIEWS_FIELD_NUMBER: _ClassVar[int]
    SCHEME_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    EXTRA_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    position: str
    hashes: _containers.RepeatedCompositeFieldContainer[_resources_pb2.Hash]
    faults: _containers.RepeatedCompositeFieldContainer[HashFault]
    action: Action
    external_id: str
    value: str
    region: str
    member: str
    flags: _resources_pb2.Flags
    media_type: str
    media_size_bytes: int
    series: str
    tags: _containers.RepeatedScalarFieldContainer[str]
    quality: int
    source_time: str
    reviews: _containers.RepeatedCompositeFieldContainer[RecordReview]
    scheme: str
    expire_time: _timestamp_pb2.Timestamp
    extra: str
    frames: _containers.RepeatedCompositeFieldContainer[_resources_pb2.VideoFrame]
    def __init__(self, position: _Optional[str] = ..., hashes: _Optional[_Iterable[_Union[_resources_pb2.Hash, _Mapping]]] = ..., faults: _Optional[_Iterable[_Union[HashFault, _Mapping]]] = ..., action: _Optional[_Union[Action, str]] = ..., external_id: _Optional[str] = ..., value: _Optional[str] = ..., region: _Optional[str] = ..., member: _Optional[str] = ..., flags: _Optional[_Union[_resources_pb2.Flags, _Mapping]] = ..., media_type: _Optional[str] = ..., media_size_bytes: _Optional[int] = ..., series: _Optional[str] = ..., tags: _Optional[_Iterable[str]] = ..., quality: _Optional[int] = ..., source_time: _Optional[str] = ..., reviews: _Optional[_Iterable[_Union[RecordReview, _Mapping]]] = ..., scheme: _Optional[str] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., extra: _Optional[str] = ..., frames: _Optional[_Iterable[_Union[_resources_pb2.VideoFrame, _Mapping]]] = ...) -> None: ...

class AlgorithmSequence(_message.Message):
    __slots__ = ("algorithms",)
    ALGORITHMS_FIELD_NUMBER: _ClassVar[int]
    algorithms: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, algorithms: _Optional[_Iterable[str]] = ...) -> None: ...

class RecordColumns(_message.Message):
    __slots__ = ("positions", "templates", "template_indexes", "sequences", "sequence_indexes", "digests", "external_ids", "media_sizes", "qualities", "source_times", "extras")
    POSITIONS_FIELD_NUMBER: _ClassVar[int]
    TEMPLATES_FIELD_NUMBER: _ClassVar[int]
    TEMPLATE_INDEXES_FIELD_NUMBER: _ClassVar[int]
    SEQUENCES_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_INDEXES_FIELD_NUMBER: _ClassVar[int]
    DIGESTS_FIELD_NUMBER: _ClassVar[int]
    EXTERNAL_IDS_FIELD_NUMBER: _ClassVar[int]
    MEDIA_SIZES_FIELD_NUMBER: _ClassVar[int]
    QUALITIES_FIELD_NUMBER: _ClassVar[int]
    SOURCE_TIMES_FIELD_NUMBER: _ClassVar[int]
    EXTRAS_FIELD_NUMBER: _ClassVar[int]
    positions: _containers.RepeatedScalarFieldContainer[str]
    templates: _containers.RepeatedCompositeFieldContainer[Record]
    template_indexes: _containers.RepeatedScalarFieldContainer[int]
    sequences: _containers.RepeatedCompositeFieldContainer[AlgorithmSequence]
    sequence_indexes: _containers.RepeatedScalarFieldContainer[int]
    digests: bytes
    external_ids: _containers.RepeatedScalarFieldContainer[str]
    media_sizes: _containers.RepeatedScalarFieldContainer[int]
    qualities: _containers.RepeatedScalarFieldContainer[int]
    source_times: _containers.RepeatedScalarFieldContainer[str]
    extras: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, positions: _Optional[_Iterable[str]] = ..., templates: _Optional[_Iterable[_Union[Record, _Mapping]]] = ..., template_indexes: _Optional[_Iterable[int]] = ..., sequences: _Optional[_Iterable[_Union[AlgorithmSequence, _Mapping]]] = ..., sequence_indexes: _Optional[_Iterable[int]] = ..., digests: _Optional[bytes] = ..., external_ids: _Optional[_Iterable[str]] = ..., media_sizes: _Optional[_Iterable[int]] = ..., qualities: _Optional[_Iterable[int]] = ..., source_times: _Optional[_Iterable[str]] = ..., extras: _Optional[_Iterable[str]] = ...) -> None: ...

class Reject(_message.Message):
    __slots__ = ("position", "reason", "detail")
    POSITION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    position: str
    reason: str
    detail: str
    def __init__(self, position: _Optional[str] = ..., reason: _Optional[str] = ..., detail: _Optional[str] = ...) -> None: ...

class Finding(_message.Message):
    __slots__ = ("position", "disposition", "reason", "detail", "entry")
    POSITION_FIELD_NUMBER: _ClassVar[int]
    DISPOSITION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    position: str
    disposition: Disposition
    reason: str
    detail: str
    entry: str
    def __init__(self, position: _Optional[str] = ..., disposition: _Optional[_Union[Disposition, str]] = ..., reason: _Optional[str] = ..., detail: _Optional[str] = ..., entry: _Optional[str] = ...) -> None: ...

class CreateImportRequest(_message.Message):
    __slots__ = ("parent", "validate_only", "request_id")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    IMPORT_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    parent: str
    validate_only: bool
    request_id: str
    def __init__(self, parent: _Optional[str] = ..., validate_only: _Optional[bool] = ..., request_id: _Optional[str] = ..., **kwargs) -> None: ...

class AddRecordsRequest(_message.Message):
    __slots__ = ("name", "batch_index", "records", "rejects", "columns")
    NAME_FIELD_NUMBER: _ClassVar[int]
    BATCH_INDEX_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    REJECTS_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    name: str
    batch_index: int
    records: _containers.RepeatedCompositeFieldContainer[Record]
    rejects: _containers.RepeatedCompositeFieldContainer[Reject]
    columns: RecordColumns
    def __init__(self, name: _Optional[str] = ..., batch_index: _Optional[int] = ..., records: _Optional[_Iterable[_Union[Record, _Mapping]]] = ..., rejects: _Optional[_Iterable[_Union[Reject, _Mapping]]] = ..., columns: _Optional[_Union[RecordColumns, _Mapping]] = ...) -> None: ...

class CommitImportRequest(_message.Message):
    __slots__ = ("name", "batch_count", "allow_shrinking", "validate_only")
    NAME_FIELD_NUMBER: _ClassVar[int]
    BATCH_COUNT_FIELD_NUMBER: _ClassVar[int]
    ALLOW_SHRINKING_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    name: str
    batch_count: int
    allow_shrinking: bool
    validate_only: bool
    def __init__(self, name: _Optional[str] = ..., batch_count: _Optional[int] = ..., allow_shrinking: _Optional[bool] = ..., validate_only: _Optional[bool] = ...) -> None: ...

class CancelImportRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetImportRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ListImportsRequest(_message.Message):
    __slots__ = ("parent", "page_size", "page_token")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    parent: str
    page_size: int
    page_token: str
    def __init__(self, parent: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListImportsResponse(_message.Message):
    __slots__ = ("imports", "next_page_token", "revision")
    IMPORTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    imports: _containers.RepeatedCompositeFieldContainer[Import]
    next_page_token: str
    revision: int
    def __init__(self, imports: _Optional[_Iterable[_Union[Import, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., revision: _Optional[int] = ...) -> None: ...

class ListFindingsRequest(_message.Message):
    __slots__ = ("parent", "page_size", "page_token", "dispositions")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    DISPOSITIONS_FIELD_NUMBER: _ClassVar[int]
    parent: str
    page_size: int
    page_token: str
    dispositions: _containers.RepeatedScalarFieldContainer[Disposition]
    def __init__(self, parent: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., dispositions: _Optional[_Iterable[_Union[Disposition, str]]] = ...) -> None: ...

class ListFindingsResponse(_message.Message):
    __slots__ = ("findings", "next_page_token", "revision")
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    findings: _containers.RepeatedCompositeFieldContainer[Finding]
    next_page_token: str
    revision: int
    def __init__(self, findings: _Optional[_Iterable[_Union[Finding, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., revision: _Optional[int] = ...) -> None: ...

class GetEntryRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetEntryProofRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class EntryProof(_message.Message):
    __slots__ = ("name", "signature", "signing_key", "canonical_entry", "index", "hashes")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    SIGNING_KEY_FIELD_NUMBER: _ClassVar[int]
    CANONICAL_ENTRY_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    HASHES_FIELD_NUMBER: _ClassVar[int]
    name: str
    signature: bytes
    signing_key: str
    canonical_entry: str
    index: int
    hashes: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, name: _Optional[str] = ..., signature: _Optional[bytes] = ..., signing_key: _Optional[str] = ..., canonical_entry: _Optional[str] = ..., index: _Optional[int] = ..., hashes: _Optional[_Iterable[bytes]] = ...) -> None: ...

class ListEntriesRequest(_message.Message):
    __slots__ = ("parent", "page_size", "page_token", "states")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    parent: str
    page_size: int
    page_token: str
    states: _containers.RepeatedScalarFieldContainer[_resources_pb2.EntryState]
    def __init__(self, parent: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., states: _Optional[_Iterable[_Union[_resources_pb2.EntryState, str]]] = ...) -> None: ...

class ListEntriesResponse(_message.Message):
    __slots__ = ("entries", "next_page_token", "revision")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[_resources_pb2.Entry]
    next_page_token: str
    revision: int
    def __init__(self, entries: _Optional[_Iterable[_Union[_resources_pb2.Entry, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., revision: _Optional[int] = ...) -> None: ...

class ExportEntriesRequest(_message.Message):
    __slots__ = ("hash_sets", "policy", "position", "format", "recipient")
    HASH_SETS_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    RECIPIENT_FIELD_NUMBER: _ClassVar[int]
    hash_sets: _containers.RepeatedScalarFieldContainer[str]
    policy: str
    position: str
    format: str
    recipient: str
    def __init__(self, hash_sets: _Optional[_Iterable[str]] = ..., policy: _Optional[str] = ..., position: _Optional[str] = ..., format: _Optional[str] = ..., recipient: _Optional[str] = ...) -> None: ...

class LeftOut(_message.Message):
    __slots__ = ("hash_set", "entry_count")
    HASH_SET_FIELD_NUMBER: _ClassVar[int]
    ENTRY_COUNT_FIELD_NUMBER: _ClassVar[int]
    hash_set: str
    entry_count: int
    def __init__(self, hash_set: _Optional[str] = ..., entry_count: _Optional[int] = ...) -> None: ...

class ExportEntriesResponse(_message.Message):
    __slots__ = ("revision", "hash_sets", "left_out", "next_position", "entry_count", "delta", "entries", "reviews")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    HASH_SETS_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    NEXT_POSITION_FIELD_NUMBER: _ClassVar[int]
    ENTRY_COUNT_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    REVIEWS_FIELD_NUMBER: _ClassVar[int]
    revision: int
    hash_sets: _containers.RepeatedCompositeFieldContainer[_resources_pb2.HashSet]
    left_out: _containers.RepeatedCompositeFieldContainer[LeftOut]
    next_position: str
    entry_count: int
    delta: bool
    entries: _containers.RepeatedCompositeFieldContainer[_resources_pb2.Entry]
    reviews: _containers.RepeatedCompositeFieldContainer[EntryReviews]
    def __init__(self, revision: _Optional[int] = ..., hash_sets: _Optional[_Iterable[_Union[_resources_pb2.HashSet, _Mapping]]] = ..., left_out: _Optional[_Iterable[_Union[LeftOut, _Mapping]]] = ..., next_position: _Optional[str] = ..., entry_count: _Optional[int] = ..., delta: _Optional[bool] = ..., entries: _Optional[_Iterable[_Union[_resources_pb2.Entry, _Mapping]]] = ..., reviews: _Optional[_Iterable[_Union[EntryReviews, _Mapping]]] = ...) -> None: ...

class EntryReviews(_message.Message):
    __slots__ = ("entry_index", "reviews")
    ENTRY_INDEX_FIELD_NUMBER: _ClassVar[int]
    REVIEWS_FIELD_NUMBER: _ClassVar[int]
    entry_index: int
    reviews: _containers.RepeatedCompositeFieldContainer[RecordReview]
    def __init__(self, entry_index: _Optional[int] = ..., reviews: _Optional[_Iterable[_Union[RecordReview, _Mapping]]] = ...) -> None: ...

class WithdrawEntryRequest(_message.Message):
    __slots__ = ("name", "request_id", "validate_only", "reason", "comment")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    COMMENT_FIELD_NUMBER: _ClassVar[int]
    name: str
    request_id: str
    validate_only: bool
    reason: _resources_pb2.WithdrawalReason
    comment: str
    def __init__(self, name: _Optional[str] = ..., request_id: _Optional[str] = ..., validate_only: _Optional[bool] = ..., reason: _Optional[_Union[_resources_pb2.WithdrawalReason, str]] = ..., comment: _Optional[str] = ...) -> None: ...

class RestoreEntryRequest(_message.Message):
    __slots__ = ("name", "comment", "request_id", "validate_only")
    NAME_FIELD_NUMBER: _ClassVar[int]
    COMMENT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    name: str
    comment: str
    request_id: str
    validate_only: bool
    def __init__(self, name: _Optional[str] = ..., comment: _Optional[str] = ..., request_id: _Optional[str] = ..., validate_only: _Optional[bool] = ...) -> None: ...

class EraseEntryRequest(_message.Message):
    __slots__ = ("name", "validate_only")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    name: str
    validate_only: bool
    def __init__(self, name: _Optional[str] = ..., validate_only: _Optional[bool] = ...) -> None: ...

class ReleaseEntryRequest(_message.Message):
    __slots__ = ("name", "request_id", "validate_only")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    name: str
    request_id: str
    validate_only: bool
    def __init__(self, name: _Optional[str] = ..., request_id: _Optional[str] = ..., validate_only: _Optional[bool] = ...) -> None: ...

class QuarantineEntryRequest(_message.Message):
    __slots__ = ("name", "request_id", "validate_only")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    name: str
    request_id: str
    validate_only: bool
    def __init__(self, name: _Optional[str] = ..., request_id: _Optional[str] = ..., validate_only: _Optional[bool] = ...) -> None: ...

class DimensionCriterion(_message.Message):
    __slots__ = ("dimension", "values")
    DIMENSION_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    dimension: str
    values: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, dimension: _Optional[str] = ..., values: _Optional[_Iterable[str]] = ...) -> None: ...

class EntrySelection(_message.Message):
    __slots__ = ("parent", "names", "hashes", "external_ids", "imports", "states", "reasons", "dimensions", "tags", "series", "text")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    HASHES_FIELD_NUMBER: _ClassVar[int]
    EXTERNAL_IDS_FIELD_NUMBER: _ClassVar[int]
    IMPORTS_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    DIMENSIONS_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    SERIES_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    parent: str
    names: _containers.RepeatedScalarFieldContainer[str]
    hashes: _containers.RepeatedCompositeFieldContainer[_resources_pb2.Hash]
    external_ids: _containers.RepeatedScalarFieldContainer[str]
    imports: _containers.RepeatedScalarFieldContainer[str]
    states: _containers.RepeatedScalarFieldContainer[_resources_pb2.EntryState]
    reasons: _containers.RepeatedScalarFieldContainer[str]
    dimensions: _containers.RepeatedCompositeFieldContainer[DimensionCriterion]
    tags: _containers.RepeatedScalarFieldContainer[str]
    series: _containers.RepeatedScalarFieldContainer[str]
    text: str
    def __init__(self, parent: _Optional[str] = ..., names: _Optional[_Iterable[str]] = ..., hashes: _Optional[_Iterable[_Union[_resources_pb2.Hash, _Mapping]]] = ..., external_ids: _Optional[_Iterable[str]] = ..., imports: _Optional[_Iterable[str]] = ..., states: _Optional[_Iterable[_Union[_resources_pb2.EntryState, str]]] = ..., reasons: _Optional[_Iterable[str]] = ..., dimensions: _Optional[_Iterable[_Union[DimensionCriterion, _Mapping]]] = ..., tags: _Optional[_Iterable[str]] = ..., series: _Optional[_Iterable[str]] = ..., text: _Optional[str] = ...) -> None: ...

class SearchEntriesRequest(_message.Message):
    __slots__ = ("selection", "page_size", "page_token")
    SELECTION_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    selection: EntrySelection
    page_size: int
    page_token: str
    def __init__(self, selection: _Optional[_Union[EntrySelection, _Mapping]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class SearchEntriesResponse(_message.Message):
    __slots__ = ("entries", "next_page_token", "revision", "looked_at_count")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    LOOKED_AT_COUNT_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[_resources_pb2.Entry]
    next_page_token: str
    revision: int
    looked_at_count: int
    def __init__(self, entries: _Optional[_Iterable[_Union[_resources_pb2.Entry, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., revision: _Optional[int] = ..., looked_at_count: _Optional[int] = ...) -> None: ...

class ChangeEntriesRequest(_message.Message):
    __slots__ = ("selection", "action", "reason", "comment", "limit", "expected_count", "validate_only", "request_id")
    SELECTION_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    COMMENT_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_COUNT_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    selection: EntrySelection
    action: EntryAction
    reason: _resources_pb2.WithdrawalReason
    comment: str
    limit: int
    expected_count: int
    validate_only: bool
    request_id: str
    def __init__(self, selection: _Optional[_Union[EntrySelection, _Mapping]] = ..., action: _Optional[_Union[EntryAction, str]] = ..., reason: _Optional[_Union[_resources_pb2.WithdrawalReason, str]] = ..., comment: _Optional[str] = ..., limit: _Optional[int] = ..., expected_count: _Optional[int] = ..., validate_only: _Optional[bool] = ..., request_id: _Optional[str] = ...) -> None: ...

class SkippedEntries(_message.Message):
    __slots__ = ("reason", "count", "examples")
    REASON_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    reason: str
    count: int
    examples: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, reason: _Optional[str] = ..., count: _Optional[int] = ..., examples: _Optional[_Iterable[str]] = ...) -> None: ...

class ChangeEntriesResponse(_message.Message):
    __slots__ = ("selected_count", "changed_count", "pending_count", "also_count", "skipped", "examples", "unmatched_count", "unmatched_examples", "change_revision", "revision")
    SELECTED_COUNT_FIELD_NUMBER: _ClassVar[int]
    CHANGED_COUNT_FIELD_NUMBER: _ClassVar[int]
    PENDING_COUNT_FIELD_NUMBER: _ClassVar[int]
    ALSO_COUNT_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    UNMATCHED_COUNT_FIELD_NUMBER: _ClassVar[int]
    UNMATCHED_EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    CHANGE_REVISION_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    selected_count: int
    changed_count: int
    pending_count: int
    also_count: int
    skipped: _containers.RepeatedCompositeFieldContainer[SkippedEntries]
    examples: _containers.RepeatedScalarFieldContainer[str]
    unmatched_count: int
    unmatched_examples: _containers.RepeatedScalarFieldContainer[str]
    change_revision: int
    revision: int
    def __init__(self, selected_count: _Optional[int] = ..., changed_count: _Optional[int] = ..., pending_count: _Optional[int] = ..., also_count: _Optional[int] = ..., skipped: _Optional[_Iterable[_Union[SkippedEntries, _Mapping]]] = ..., examples: _Optional[_Iterable[str]] = ..., unmatched_count: _Optional[int] = ..., unmatched_examples: _Optional[_Iterable[str]] = ..., change_revision: _Optional[int] = ..., revision: _Optional[int] = ...) -> None: ...

class QueueItem(_message.Message):
    __slots__ = ("kind", "parent", "reason", "count", "is_capped", "example", "actor", "since")
    KIND_FIELD_NUMBER: _ClassVar[int]
    PARENT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    IS_CAPPED_FIELD_NUMBER: _ClassVar[int]
    EXAMPLE_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    kind: QueueKind
    parent: str
    reason: str
    count: int
    is_capped: bool
    example: str
    actor: str
    since: _timestamp_pb2.Timestamp
    def __init__(self, kind: _Optional[_Union[QueueKind, str]] = ..., parent: _Optional[str] = ..., reason: _Optional[str] = ..., count: _Optional[int] = ..., is_capped: _Optional[bool] = ..., example: _Optional[str] = ..., actor: _Optional[str] = ..., since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ListQueueItemsRequest(_message.Message):
    __slots__ = ("parent", "page_size", "page_token")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    parent: str
    page_size: int
    page_token: str
    def __init__(self, parent: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListQueueItemsResponse(_message.Message):
    __slots__ = ("queue_items", "next_page_token", "revision")
    QUEUE_ITEMS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    queue_items: _containers.RepeatedCompositeFieldContainer[QueueItem]
    next_page_token: str
    revision: int
    def __init__(self, queue_items: _Optional[_Iterable[_Union[QueueItem, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., revision: _Optional[int] = ...) -> None: ...
