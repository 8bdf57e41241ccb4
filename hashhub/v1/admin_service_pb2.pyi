import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import field_mask_pb2 as _field_mask_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from hashhub.v1 import match_service_pb2 as _match_service_pb2
from hashhub.v1 import resources_pb2 as _resources_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DisclosureChannel(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DISCLOSURE_CHANNEL_UNSPECIFIED: _ClassVar[DisclosureChannel]
    DISCLOSURE_CHANNEL_ANSWER: _ClassVar[DisclosureChannel]
    DISCLOSURE_CHANNEL_LIST: _ClassVar[DisclosureChannel]
    DISCLOSURE_CHANNEL_FEED: _ClassVar[DisclosureChannel]
    DISCLOSURE_CHANNEL_EXPORT: _ClassVar[DisclosureChannel]

class SourceStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SOURCE_STATUS_UNSPECIFIED: _ClassVar[SourceStatus]
    SOURCE_STATUS_NEW: _ClassVar[SourceStatus]
    SOURCE_STATUS_OK: _ClassVar[SourceStatus]
    SOURCE_STATUS_SILENT: _ClassVar[SourceStatus]
    SOURCE_STATUS_HELD: _ClassVar[SourceStatus]
    SOURCE_STATUS_FAILED: _ClassVar[SourceStatus]

class PeerStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PEER_STATUS_UNSPECIFIED: _ClassVar[PeerStatus]
    PEER_STATUS_INVITED: _ClassVar[PeerStatus]
    PEER_STATUS_NEW: _ClassVar[PeerStatus]
    PEER_STATUS_OK: _ClassVar[PeerStatus]
    PEER_STATUS_AWAY: _ClassVar[PeerStatus]
    PEER_STATUS_FAILED: _ClassVar[PeerStatus]
    PEER_STATUS_REFUSED: _ClassVar[PeerStatus]
DISCLOSURE_CHANNEL_UNSPECIFIED: DisclosureChannel
DISCLOSURE_CHANNEL_ANSWER: DisclosureChannel
DISCLOSURE_CHANNEL_LIST: DisclosureChannel
DISCLOSURE_CHANNEL_FEED: DisclosureChannel
DISCLOSURE_CHANNEL_EXPORT: DisclosureChannel
SOURCE_STATUS_UNSPECIFIED: SourceStatus
SOURCE_STATUS_NEW: SourceStatus
SOURCE_STATUS_OK: SourceStatus
SOURCE_STATUS_SILENT: SourceStatus
SOURCE_STATUS_HELD: SourceStatus
SOURCE_STATUS_FAILED: SourceStatus
PEER_STATUS_UNSPECIFIED: PeerStatus
PEER_STATUS_INVITED: PeerStatus
PEER_STATUS_NEW: PeerStatus
PEER_STATUS_OK: PeerStatus
PEER_STATUS_AWAY: PeerStatus
PEER_STATUS_FAILED: PeerStatus
PEER_STATUS_REFUSED: PeerStatus

class Token(_message.Message):
    __slots__ = ("name", "role", "contributor", "purposes", "description", "acts_for_others", "may_mirror", "create_time", "expire_time", "last_use_time", "revision", "shares", "max_effort", "identities", "addresses", "person", "creator", "excluded")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTOR_FIELD_NUMBER: _ClassVar[int]
    PURPOSES_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    ACTS_FOR_OTHERS_FIELD_NUMBER: _ClassVar[int]
    MAY_MIRROR_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    LAST_USE_TIME_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    SHARES_FIELD_NUMBER: _ClassVar[int]
    MAX_EFFORT_FIELD_NUMBER: _ClassVar[int]
    IDENTITIES_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    PERSON_FIELD_NUMBER: _ClassVar[int]
    CREATOR_FIELD_NUMBER: _ClassVar[int]
    EXCLUDED_FIELD_NUMBER: _ClassVar[int]
    name: str
    role: _resources_pb2.Role
    contributor: str
    purposes: _containers.RepeatedScalarFieldContainer[str]
    description: str
    acts_for_others: bool
    may_mirror: bool
    create_time: _timestamp_pb2.Timestamp
    expire_time: _timestamp_pb2.Timestamp
    last_use_time: _timestamp_pb2.Timestamp
    revision: int
    shares: TokenShares
    max_effort: _match_service_pb2.Effort
    identities: _containers.RepeatedScalarFieldContainer[str]
    addresses: _containers.RepeatedScalarFieldContainer[str]
    person: str
    creator: str
    excluded: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., role: _Optional[_Union[_resources_pb2.Role, str]] = ..., contributor: _Optional[str] = ..., purposes: _Optional[_Iterable[str]] = ..., description: _Optional[str] = ..., acts_for_others: _Optional[bool] = ..., may_mirror: _Optional[bool] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., last_use_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., revision: _Optional[int] = ..., shares: _Optional[_Union[TokenShares, _Mapping]] = ..., max_effort: _Optional[_Union[_match_service_pb2.Effort, str]] = ..., identities: _Optional[_Iterable[str]] = ..., addresses: _Optional[_Iterable[str]] = ..., person: _Optional[str] = ..., creator: _Optional[str] = ..., excluded: _Optional[_Iterable[str]] = ...) -> None: ...

class TokenShares(_message.Message):
    __slots__ = ("calls", "streams", "message_bytes", "media_seconds")
    CALLS_FIELD_NUMBER: _ClassVar[int]
    STREAMS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MEDIA_SECONDS_FIELD_NUMBER: _ClassVar[int]
    calls: int
    streams: int
    message_bytes: int
    media_seconds: int
    def __init__(self, calls: _Optional[int] = ..., streams: _Optional[int] = ..., message_bytes: _Optional[int] = ..., media_seconds: _Optional[int] = ...) -> None: ...

class CreateTokenRequest(_message.Message):
    __slots__ = ("token_id", "token")
    TOKEN_ID_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    token_id: str
    token: Token
    def __init__(self, token_id: _Optional[str] = ..., token: _Optional[_Union[Token, _Mapping]] = ...) -> None: ...

class CreateTokenResponse(_message.Message):
    __slots__ = ("token", "secret", "revision")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    SECRET_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    token: Token
    secret: str
    revision: int
    def __init__(self, token: _Optional[_Union[Token, _Mapping]] = ..., secret: _Optional[str] = ..., revision: _Optional[int] = ...) -> None: ...

class BeginSessionRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class BeginSessionResponse(_message.Message):
    __slots__ = ("secret", "expire_time", "certificate_digest", "revision")
    SECRET_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    secret: str
    expire_time: _timestamp_pb2.Timestamp
    certificate_digest: bytes
    revision: int
    def __init__(self, secret: _Optional[str] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., certificate_digest: _Optional[bytes] = ..., revision: _Optional[int] = ...) -> None: ...

class GetCallerRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Caller(_message.Message):
    __slots__ = ("name", "role", "contributor", "groups", "person", "second_person", "revision")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTOR_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    PERSON_FIELD_NUMBER: _ClassVar[int]
    SECOND_PERSON_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    name: str
    role: _resources_pb2.Role
    contributor: str
    groups: _containers.RepeatedScalarFieldContainer[str]
    person: str
    second_person: bool
    revision: int
    def __init__(self, name: _Optional[str] = ..., role: _Optional[_Union[_resources_pb2.Role, str]] = ..., contributor: _Optional[str] = ..., groups: _Optional[_Iterable[str]] = ..., person: _Optional[str] = ..., second_person: _Optional[bool] = ..., revision: _Optional[int] = ...) -> None: ...

class GetAccessRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetAccessResponse(_message.Message):
    __slots__ = ("hash_sets", "revision")
    HASH_SETS_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    hash_sets: _containers.RepeatedCompositeFieldContainer[SetAccess]
    revision: int
    def __init__(self, hash_sets: _Optional[_Iterable[_Union[SetAccess, _Mapping]]] = ..., revision: _Optional[int] = ...) -> None: ...

class SetAccess(_message.Message):
    __slots__ = ("hash_set", "channels")
    HASH_SET_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    hash_set: str
    channels: _containers.RepeatedCompositeFieldContainer[ChannelAccess]
    def __init__(self, hash_set: _Optional[str] = ..., channels: _Optional[_Iterable[_Union[ChannelAccess, _Mapping]]] = ...) -> None: ...

class ChannelAccess(_message.Message):
    __slots__ = ("channel", "permitted", "refusal")
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    PERMITTED_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    channel: DisclosureChannel
    permitted: bool
    refusal: str
    def __init__(self, channel: _Optional[_Union[DisclosureChannel, str]] = ..., permitted: _Optional[bool] = ..., refusal: _Optional[str] = ...) -> None: ...

class ListTokensRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListTokensResponse(_message.Message):
    __slots__ = ("tokens", "next_page_token", "revision")
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    tokens: _containers.RepeatedCompositeFieldContainer[Token]
    next_page_token: str
    revision: int
    def __init__(self, tokens: _Optional[_Iterable[_Union[Token, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., revision: _Optional[int] = ...) -> None: ...

class UpdateTokenRequest(_message.Message):
    __slots__ = ("token", "update_mask")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    token: Token
    update_mask: _field_mask_pb2.FieldMask
    def __init__(self, token: _Optional[_Union[Token, _Mapping]] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ...) -> None: ...

class RotateTokenRequest(_message.Message):
    __slots__ = ("name", "grace")
    NAME_FIELD_NUMBER: _ClassVar[int]
    GRACE_FIELD_NUMBER: _ClassVar[int]
    name: str
    grace: _duration_pb2.Duration
    def __init__(self, name: _Optional[str] = ..., grace: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class RotateTokenResponse(_message.Message):
    __slots__ = ("token", "secret", "revision")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    SECRET_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    token: Token
    secret: str
    revision: int
    def __init__(self, token: _Optional[_Union[Token, _Mapping]] = ..., secret: _Optional[str] = ..., revision: _Optional[int] = ...) -> None: ...

class DeleteTokenRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class DeleteTokenResponse(_message.Message):
    __slots__ = ("revision",)
    REVISION_FIELD_NUMBER: _ClassVar[int]
    revision: int
    def __init__(self, revision: _Optional[int] = ...) -> None: ...

class GetStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetPartnersRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Partners(_message.Message):
    __slots__ = ("sources", "peers", "faults", "revision")
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    PEERS_FIELD_NUMBER: _ClassVar[int]
    FAULTS_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    sources: _containers.RepeatedCompositeFieldContainer[SourceReport]
    peers: _containers.RepeatedCompositeFieldContainer[PeerReport]
    faults: _containers.RepeatedScalarFieldContainer[str]
    revision: int
    def __init__(self, sources: _Optional[_Iterable[_Union[SourceReport, _Mapping]]] = ..., peers: _Optional[_Iterable[_Union[PeerReport, _Mapping]]] = ..., faults: _Optional[_Iterable[str]] = ..., revision: _Optional[int] = ...) -> None: ...

class SourceReport(_message.Message):
    __slots__ = ("name", "protocol", "hash_set", "status", "detail", "position", "items", "has_credentials", "begin_time", "end_time", "success_time", "next_time", "is_late")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    HASH_SET_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    HAS_CREDENTIALS_FIELD_NUMBER: _ClassVar[int]
    BEGIN_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    SUCCESS_TIME_FIELD_NUMBER: _ClassVar[int]
    NEXT_TIME_FIELD_NUMBER: _ClassVar[int]
    IS_LATE_FIELD_NUMBER: _ClassVar[int]
    name: str
    protocol: str
    hash_set: str
    status: SourceStatus
    detail: str
    position: str
    items: int
    has_credentials: bool
    begin_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    success_time: _timestamp_pb2.Timestamp
    next_time: _timestamp_pb2.Timestamp
    is_late: bool
    def __init__(self, name: _Optional[str] = ..., protocol: _Optional[str] = ..., hash_set: _Optional[str] = ..., status: _Optional[_Union[SourceStatus, str]] = ..., detail: _Optional[str] = ..., position: _Optional[str] = ..., items: _Optional[int] = ..., has_credentials: _Optional[bool] = ..., begin_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., success_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., next_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., is_late: _Optional[bool] = ...) -> None: ...

class PeerReport(_message.Message):
    __slots__ = ("name", "status", "detail", "join_time", "answer_time", "complete_time", "entries", "taken", "given", "is_late")
    class TakenEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class GivenEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    JOIN_TIME_FIELD_NUMBER: _ClassVar[int]
    ANSWER_TIME_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_TIME_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    TAKEN_FIELD_NUMBER: _ClassVar[int]
    GIVEN_FIELD_NUMBER: _ClassVar[int]
    IS_LATE_FIELD_NUMBER: _ClassVar[int]
    name: str
    status: PeerStatus
    detail: str
    join_time: _timestamp_pb2.Timestamp
    answer_time: _timestamp_pb2.Timestamp
    complete_time: _timestamp_pb2.Timestamp
    entries: int
    taken: _containers.ScalarMap[str, int]
    given: _containers.ScalarMap[str, int]
    is_late: bool
    def __init__(self, name: _Optional[str] = ..., status: _Optional[_Union[PeerStatus, str]] = ..., detail: _Optional[str] = ..., join_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., answer_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., complete_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., entries: _Optional[int] = ..., taken: _Optional[_Mapping[str, int]] = ..., given: _Optional[_Mapping[str, int]] = ..., is_late: _Optional[bool] = ...) -> None: ...

class NameHubRequest(_message.Message):
    __slots__ = ("hub",)
    HUB_FIELD_NUMBER: _ClassVar[int]
    hub: str
    def __init__(self, hub: _Optional[str] = ...) -> None: ...

class NameHubResponse(_message.Message):
    __slots__ = ("hub", "revision")
    HUB_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    hub: str
    revision: int
    def __init__(self, hub: _Optional[str] = ..., revision: _Optional[int] = ...) -> None: ...

class AlgorithmStatus(_message.Message):
    __slots__ = ("algorithm", "digest_count", "tail_count", "engine")
    ALGORITHM_FIELD_NUMBER: _ClassVar[int]
    DIGEST_COUNT_FIELD_NUMBER: _ClassVar[int]
    TAIL_COUNT_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    algorithm: str
    digest_count: int
    tail_count: int
    engine: str
    def __init__(self, algorithm: _Optional[str] = ..., digest_count: _Optional[int] = ..., tail_count: _Optional[int] = ..., engine: _Optional[str] = ...) -> None: ...

class Status(_message.Message):
    __slots__ = ("version", "database", "matcher_revision", "algorithms", "warnings", "revision", "backup_time", "hub", "backup_bytes")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DATABASE_FIELD_NUMBER: _ClassVar[int]
    MATCHER_REVISION_FIELD_NUMBER: _ClassVar[int]
    ALGORITHMS_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    BACKUP_TIME_FIELD_NUMBER: _ClassVar[int]
    HUB_FIELD_NUMBER: _ClassVar[int]
    BACKUP_BYTES_FIELD_NUMBER: _ClassVar[int]
    version: str
    database: str
    matcher_revision: int
    algorithms: _containers.RepeatedCompositeFieldContainer[AlgorithmStatus]
    warnings: _containers.RepeatedScalarFieldContainer[str]
    revision: int
    backup_time: _timestamp_pb2.Timestamp
    hub: str
    backup_bytes: int
    def __init__(self, version: _Optional[str] = ..., database: _Optional[str] = ..., matcher_revision: _Optional[int] = ..., algorithms: _Optional[_Iterable[_Union[AlgorithmStatus, _Mapping]]] = ..., warnings: _Optional[_Iterable[str]] = ..., revision: _Optional[int] = ..., backup_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., hub: _Optional[str] = ..., backup_bytes: _Optional[int] = ...) -> None: ...
