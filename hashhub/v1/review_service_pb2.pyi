import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from hashhub.v1 import resources_pb2 as _resources_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Review(_message.Message):
    __slots__ = ("name", "author", "kind", "comment", "create_time", "revision", "actor", "role", "sets_aside", "awaits_acceptance", "create_revision")
    NAME_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    COMMENT_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    SETS_ASIDE_FIELD_NUMBER: _ClassVar[int]
    AWAITS_ACCEPTANCE_FIELD_NUMBER: _ClassVar[int]
    CREATE_REVISION_FIELD_NUMBER: _ClassVar[int]
    name: str
    author: str
    kind: _resources_pb2.ReviewKind
    comment: str
    create_time: _timestamp_pb2.Timestamp
    revision: int
    actor: str
    role: _resources_pb2.Role
    sets_aside: str
    awaits_acceptance: bool
    create_revision: int
    def __init__(self, name: _Optional[str] = ..., author: _Optional[str] = ..., kind: _Optional[_Union[_resources_pb2.ReviewKind, str]] = ..., comment: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., revision: _Optional[int] = ..., actor: _Optional[str] = ..., role: _Optional[_Union[_resources_pb2.Role, str]] = ..., sets_aside: _Optional[str] = ..., awaits_acceptance: _Optional[bool] = ..., create_revision: _Optional[int] = ...) -> None: ...

class SetAsideReviewRequest(_message.Message):
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

class CreateReviewRequest(_message.Message):
    __slots__ = ("parent", "review", "validate_only", "request_id", "member")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    REVIEW_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    parent: str
    review: Review
    validate_only: bool
    request_id: str
    member: str
    def __init__(self, parent: _Optional[str] = ..., review: _Optional[_Union[Review, _Mapping]] = ..., validate_only: _Optional[bool] = ..., request_id: _Optional[str] = ..., member: _Optional[str] = ...) -> None: ...

class ListReviewsRequest(_message.Message):
    __slots__ = ("parent", "page_size", "page_token")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    parent: str
    page_size: int
    page_token: str
    def __init__(self, parent: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListReviewsResponse(_message.Message):
    __slots__ = ("reviews", "next_page_token", "revision")
    REVIEWS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    reviews: _containers.RepeatedCompositeFieldContainer[Review]
    next_page_token: str
    revision: int
    def __init__(self, reviews: _Optional[_Iterable[_Union[Review, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., revision: _Optional[int] = ...) -> None: ...
