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

class ChangeKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CHANGE_KIND_UNSPECIFIED: _ClassVar[ChangeKind]
    CHANGE_KIND_UPSERT: _ClassVar[ChangeKind]
    CHANGE_KIND_WITHDRAW: _ClassVar[ChangeKind]
CHANGE_KIND_UNSPECIFIED: ChangeKind
CHANGE_KIND_UPSERT: ChangeKind
CHANGE_KIND_WITHDRAW: ChangeKind

class FeedReview(_message.Message):
    __slots__ = ("name", "author", "kind", "role", "sets_aside", "awaits_acceptance", "create_revision")
    NAME_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    SETS_ASIDE_FIELD_NUMBER: _ClassVar[int]
    AWAITS_ACCEPTANCE_FIELD_NUMBER: _ClassVar[int]
    CREATE_REVISION_FIELD_NUMBER: _ClassVar[int]
    name: str
    author: str
    kind: _resources_pb2.ReviewKind
    role: _resources_pb2.Role
    sets_aside: str
    awaits_acceptance: bool
    create_revision: int
    def __init__(self, name: _Optional[str] = ..., author: _Optional[str] = ..., kind: _Optional[_Union[_resources_pb2.ReviewKind, str]] = ..., role: _Optional[_Union[_resources_pb2.Role, str]] = ..., sets_aside: _Optional[str] = ..., awaits_acceptance: _Optional[bool] = ..., create_revision: _Optional[int] = ...) -> None: ...

class Change(_message.Message):
    __slots__ = ("change_revision", "kind", "entry", "reviews", "hash_set", "contributor", "name", "same_hash_entries")
    CHANGE_REVISION_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    REVIEWS_FIELD_NUMBER: _ClassVar[int]
    HASH_SET_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTOR_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    SAME_HASH_ENTRIES_FIELD_NUMBER: _ClassVar[int]
    change_revision: int
    kind: ChangeKind
    entry: _resources_pb2.Entry
    reviews: _containers.RepeatedCompositeFieldContainer[FeedReview]
    hash_set: _resources_pb2.HashSet
    contributor: _resources_pb2.Contributor
    name: str
    same_hash_entries: _containers.RepeatedCompositeFieldContainer[_resources_pb2.Entry]
    def __init__(self, change_revision: _Optional[int] = ..., kind: _Optional[_Union[ChangeKind, str]] = ..., entry: _Optional[_Union[_resources_pb2.Entry, _Mapping]] = ..., reviews: _Optional[_Iterable[_Union[FeedReview, _Mapping]]] = ..., hash_set: _Optional[_Union[_resources_pb2.HashSet, _Mapping]] = ..., contributor: _Optional[_Union[_resources_pb2.Contributor, _Mapping]] = ..., name: _Optional[str] = ..., same_hash_entries: _Optional[_Iterable[_Union[_resources_pb2.Entry, _Mapping]]] = ...) -> None: ...

class ListChangesRequest(_message.Message):
    __slots__ = ("page_size", "position", "from_now", "withdrawn_entries", "reader", "since_time", "hash_sets", "first_entry")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    FROM_NOW_FIELD_NUMBER: _ClassVar[int]
    WITHDRAWN_ENTRIES_FIELD_NUMBER: _ClassVar[int]
    READER_FIELD_NUMBER: _ClassVar[int]
    SINCE_TIME_FIELD_NUMBER: _ClassVar[int]
    HASH_SETS_FIELD_NUMBER: _ClassVar[int]
    FIRST_ENTRY_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    position: str
    from_now: bool
    withdrawn_entries: bool
    reader: str
    since_time: _timestamp_pb2.Timestamp
    hash_sets: _containers.RepeatedScalarFieldContainer[str]
    first_entry: str
    def __init__(self, page_size: _Optional[int] = ..., position: _Optional[str] = ..., from_now: _Optional[bool] = ..., withdrawn_entries: _Optional[bool] = ..., reader: _Optional[str] = ..., since_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., hash_sets: _Optional[_Iterable[str]] = ..., first_entry: _Optional[str] = ...) -> None: ...

class ListChangesResponse(_message.Message):
    __slots__ = ("changes", "revision", "next_position", "complete", "head", "hub", "read_time")
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    NEXT_POSITION_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    HEAD_FIELD_NUMBER: _ClassVar[int]
    HUB_FIELD_NUMBER: _ClassVar[int]
    READ_TIME_FIELD_NUMBER: _ClassVar[int]
    changes: _containers.RepeatedCompositeFieldContainer[Change]
    revision: int
    next_position: str
    complete: bool
    head: str
    hub: str
    read_time: _timestamp_pb2.Timestamp
    def __init__(self, changes: _Optional[_Iterable[_Union[Change, _Mapping]]] = ..., revision: _Optional[int] = ..., next_position: _Optional[str] = ..., complete: _Optional[bool] = ..., head: _Optional[str] = ..., hub: _Optional[str] = ..., read_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class FollowChangesRequest(_message.Message):
    __slots__ = ("position", "from_now", "withdrawn_entries")
    POSITION_FIELD_NUMBER: _ClassVar[int]
    FROM_NOW_FIELD_NUMBER: _ClassVar[int]
    WITHDRAWN_ENTRIES_FIELD_NUMBER: _ClassVar[int]
    position: str
    from_now: bool
    withdrawn_entries: bool
    def __init__(self, position: _Optional[str] = ..., from_now: _Optional[bool] = ..., withdrawn_entries: _Optional[bool] = ...) -> None: ...

class FollowChangesResponse(_message.Message):
    __slots__ = ("changes", "revision", "next_position", "complete", "head", "hub")
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    NEXT_POSITION_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    HEAD_FIELD_NUMBER: _ClassVar[int]
    HUB_FIELD_NUMBER: _ClassVar[int]
    changes: _containers.RepeatedCompositeFieldContainer[Change]
    revision: int
    next_position: str
    complete: bool
    head: str
    hub: str
    def __init__(self, changes: _Optional[_Iterable[_Union[Change, _Mapping]]] = ..., revision: _Optional[int] = ..., next_position: _Optional[str] = ..., complete: _Optional[bool] = ..., head: _Optional[str] = ..., hub: _Optional[str] = ...) -> None: ...
