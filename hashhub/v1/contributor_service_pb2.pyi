import datetime

from google.protobuf import field_mask_pb2 as _field_mask_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from hashhub.v1 import resources_pb2 as _resources_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RetiredEntries(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RETIRED_ENTRIES_UNSPECIFIED: _ClassVar[RetiredEntries]
    RETIRED_ENTRIES_KEPT: _ClassVar[RetiredEntries]
    RETIRED_ENTRIES_WITHDRAWN: _ClassVar[RetiredEntries]
RETIRED_ENTRIES_UNSPECIFIED: RetiredEntries
RETIRED_ENTRIES_KEPT: RetiredEntries
RETIRED_ENTRIES_WITHDRAWN: RetiredEntries

class CreateContributorRequest(_message.Message):
    __slots__ = ("contributor_id", "contributor", "validate_only", "request_id")
    CONTRIBUTOR_ID_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTOR_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    contributor_id: str
    contributor: _resources_pb2.Contributor
    validate_only: bool
    request_id: str
    def __init__(self, contributor_id: _Optional[str] = ..., contributor: _Optional[_Union[_resources_pb2.Contributor, _Mapping]] = ..., validate_only: _Optional[bool] = ..., request_id: _Optional[str] = ...) -> None: ...

class GetContributorRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ListContributorsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListContributorsResponse(_message.Message):
    __slots__ = ("contributors", "next_page_token", "revision")
    CONTRIBUTORS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    contributors: _containers.RepeatedCompositeFieldContainer[_resources_pb2.Contributor]
    next_page_token: str
    revision: int
    def __init__(self, contributors: _Optional[_Iterable[_Union[_resources_pb2.Contributor, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., revision: _Optional[int] = ...) -> None: ...

class UpdateContributorRequest(_message.Message):
    __slots__ = ("contributor", "update_mask", "validate_only", "request_id")
    CONTRIBUTOR_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    contributor: _resources_pb2.Contributor
    update_mask: _field_mask_pb2.FieldMask
    validate_only: bool
    request_id: str
    def __init__(self, contributor: _Optional[_Union[_resources_pb2.Contributor, _Mapping]] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ..., validate_only: _Optional[bool] = ..., request_id: _Optional[str] = ...) -> None: ...

class AddSigningKeyRequest(_message.Message):
    __slots__ = ("name", "signing_key")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SIGNING_KEY_FIELD_NUMBER: _ClassVar[int]
    name: str
    signing_key: _resources_pb2.SigningKey
    def __init__(self, name: _Optional[str] = ..., signing_key: _Optional[_Union[_resources_pb2.SigningKey, _Mapping]] = ...) -> None: ...

class RevokeSigningKeyRequest(_message.Message):
    __slots__ = ("name", "key_id", "stolen", "comment")
    NAME_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    STOLEN_FIELD_NUMBER: _ClassVar[int]
    COMMENT_FIELD_NUMBER: _ClassVar[int]
    name: str
    key_id: str
    stolen: bool
    comment: str
    def __init__(self, name: _Optional[str] = ..., key_id: _Optional[str] = ..., stolen: _Optional[bool] = ..., comment: _Optional[str] = ...) -> None: ...

class CreateHashSetRequest(_message.Message):
    __slots__ = ("parent", "hash_set_id", "hash_set", "validate_only", "request_id")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    HASH_SET_ID_FIELD_NUMBER: _ClassVar[int]
    HASH_SET_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    parent: str
    hash_set_id: str
    hash_set: _resources_pb2.HashSet
    validate_only: bool
    request_id: str
    def __init__(self, parent: _Optional[str] = ..., hash_set_id: _Optional[str] = ..., hash_set: _Optional[_Union[_resources_pb2.HashSet, _Mapping]] = ..., validate_only: _Optional[bool] = ..., request_id: _Optional[str] = ...) -> None: ...

class GetHashSetRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ListHashSetsRequest(_message.Message):
    __slots__ = ("parent", "page_size", "page_token")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    parent: str
    page_size: int
    page_token: str
    def __init__(self, parent: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListHashSetsResponse(_message.Message):
    __slots__ = ("hash_sets", "next_page_token", "revision")
    HASH_SETS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    hash_sets: _containers.RepeatedCompositeFieldContainer[_resources_pb2.HashSet]
    next_page_token: str
    revision: int
    def __init__(self, hash_sets: _Optional[_Iterable[_Union[_resources_pb2.HashSet, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., revision: _Optional[int] = ...) -> None: ...

class UpdateHashSetRequest(_message.Message):
    __slots__ = ("hash_set", "update_mask", "validate_only", "request_id")
    HASH_SET_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    hash_set: _resources_pb2.HashSet
    update_mask: _field_mask_pb2.FieldMask
    validate_only: bool
    request_id: str
    def __init__(self, hash_set: _Optional[_Union[_resources_pb2.HashSet, _Mapping]] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ..., validate_only: _Optional[bool] = ..., request_id: _Optional[str] = ...) -> None: ...

class RetireContributorRequest(_message.Message):
    __slots__ = ("name", "comment", "entries")
    NAME_FIELD_NUMBER: _ClassVar[int]
    COMMENT_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    name: str
    comment: str
    entries: RetiredEntries
    def __init__(self, name: _Optional[str] = ..., comment: _Optional[str] = ..., entries: _Optional[_Union[RetiredEntries, str]] = ...) -> None: ...

class DeleteHashSetRequest(_message.Message):
    __slots__ = ("name", "comment", "validate_only")
    NAME_FIELD_NUMBER: _ClassVar[int]
    COMMENT_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    name: str
    comment: str
    validate_only: bool
    def __init__(self, name: _Optional[str] = ..., comment: _Optional[str] = ..., validate_only: _Optional[bool] = ...) -> None: ...

class DeleteHashSetResponse(_message.Message):
    __slots__ = ("name", "entry_count", "import_count", "finding_count", "review_count", "hold_count", "pending", "delete_revision", "revision")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ENTRY_COUNT_FIELD_NUMBER: _ClassVar[int]
    IMPORT_COUNT_FIELD_NUMBER: _ClassVar[int]
    FINDING_COUNT_FIELD_NUMBER: _ClassVar[int]
    REVIEW_COUNT_FIELD_NUMBER: _ClassVar[int]
    HOLD_COUNT_FIELD_NUMBER: _ClassVar[int]
    PENDING_FIELD_NUMBER: _ClassVar[int]
    DELETE_REVISION_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    name: str
    entry_count: int
    import_count: int
    finding_count: int
    review_count: int
    hold_count: int
    pending: bool
    delete_revision: int
    revision: int
    def __init__(self, name: _Optional[str] = ..., entry_count: _Optional[int] = ..., import_count: _Optional[int] = ..., finding_count: _Optional[int] = ..., review_count: _Optional[int] = ..., hold_count: _Optional[int] = ..., pending: _Optional[bool] = ..., delete_revision: _Optional[int] = ..., revision: _Optional[int] = ...) -> None: ...

class Retention(_message.Message):
    __slots__ = ("name", "days", "hold", "deletion_asked_by", "deletion_ask_time", "revision")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DAYS_FIELD_NUMBER: _ClassVar[int]
    HOLD_FIELD_NUMBER: _ClassVar[int]
    DELETION_ASKED_BY_FIELD_NUMBER: _ClassVar[int]
    DELETION_ASK_TIME_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    name: str
    days: int
    hold: bool
    deletion_asked_by: str
    deletion_ask_time: _timestamp_pb2.Timestamp
    revision: int
    def __init__(self, name: _Optional[str] = ..., days: _Optional[int] = ..., hold: _Optional[bool] = ..., deletion_asked_by: _Optional[str] = ..., deletion_ask_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., revision: _Optional[int] = ...) -> None: ...

class GetRetentionRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class UpdateRetentionRequest(_message.Message):
    __slots__ = ("name", "days", "hold", "drop_deletion_request", "comment")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DAYS_FIELD_NUMBER: _ClassVar[int]
    HOLD_FIELD_NUMBER: _ClassVar[int]
    DROP_DELETION_REQUEST_FIELD_NUMBER: _ClassVar[int]
    COMMENT_FIELD_NUMBER: _ClassVar[int]
    name: str
    days: int
    hold: bool
    drop_deletion_request: bool
    comment: str
    def __init__(self, name: _Optional[str] = ..., days: _Optional[int] = ..., hold: _Optional[bool] = ..., drop_deletion_request: _Optional[bool] = ..., comment: _Optional[str] = ...) -> None: ...

class AcceptObjectionsRequest(_message.Message):
    __slots__ = ("name", "accepted_revision", "comment")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_REVISION_FIELD_NUMBER: _ClassVar[int]
    COMMENT_FIELD_NUMBER: _ClassVar[int]
    name: str
    accepted_revision: int
    comment: str
    def __init__(self, name: _Optional[str] = ..., accepted_revision: _Optional[int] = ..., comment: _Optional[str] = ...) -> None: ...

class AcceptHashSetRequest(_message.Message):
    __slots__ = ("name", "accepted_revision", "comment")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_REVISION_FIELD_NUMBER: _ClassVar[int]
    COMMENT_FIELD_NUMBER: _ClassVar[int]
    name: str
    accepted_revision: int
    comment: str
    def __init__(self, name: _Optional[str] = ..., accepted_revision: _Optional[int] = ..., comment: _Optional[str] = ...) -> None: ...

class CreateGroupRequest(_message.Message):
    __slots__ = ("group_id", "group", "validate_only", "request_id")
    GROUP_ID_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    group_id: str
    group: _resources_pb2.Group
    validate_only: bool
    request_id: str
    def __init__(self, group_id: _Optional[str] = ..., group: _Optional[_Union[_resources_pb2.Group, _Mapping]] = ..., validate_only: _Optional[bool] = ..., request_id: _Optional[str] = ...) -> None: ...

class GetGroupRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ListGroupsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListGroupsResponse(_message.Message):
    __slots__ = ("groups", "next_page_token", "revision")
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    groups: _containers.RepeatedCompositeFieldContainer[_resources_pb2.Group]
    next_page_token: str
    revision: int
    def __init__(self, groups: _Optional[_Iterable[_Union[_resources_pb2.Group, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., revision: _Optional[int] = ...) -> None: ...

class UpdateGroupRequest(_message.Message):
    __slots__ = ("group", "update_mask", "validate_only", "request_id", "add_members", "remove_members")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ADD_MEMBERS_FIELD_NUMBER: _ClassVar[int]
    REMOVE_MEMBERS_FIELD_NUMBER: _ClassVar[int]
    group: _resources_pb2.Group
    update_mask: _field_mask_pb2.FieldMask
    validate_only: bool
    request_id: str
    add_members: _containers.RepeatedScalarFieldContainer[str]
    remove_members: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, group: _Optional[_Union[_resources_pb2.Group, _Mapping]] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ..., validate_only: _Optional[bool] = ..., request_id: _Optional[str] = ..., add_members: _Optional[_Iterable[str]] = ..., remove_members: _Optional[_Iterable[str]] = ...) -> None: ...

class DeleteGroupRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class DeleteGroupResponse(_message.Message):
    __slots__ = ("revision",)
    REVISION_FIELD_NUMBER: _ClassVar[int]
    revision: int
    def __init__(self, revision: _Optional[int] = ...) -> None: ...
