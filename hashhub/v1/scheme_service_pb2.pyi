from hashhub.v1 import match_service_pb2 as _match_service_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Correspondence(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CORRESPONDENCE_UNSPECIFIED: _ClassVar[Correspondence]
    CORRESPONDENCE_CORRESPONDS: _ClassVar[Correspondence]
    CORRESPONDENCE_BROADER: _ClassVar[Correspondence]
    CORRESPONDENCE_NARROWER: _ClassVar[Correspondence]
    CORRESPONDENCE_OVERLAPS: _ClassVar[Correspondence]
    CORRESPONDENCE_CONFLICTS: _ClassVar[Correspondence]
    CORRESPONDENCE_INCOMPARABLE: _ClassVar[Correspondence]

class ValueChange(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VALUE_CHANGE_UNSPECIFIED: _ClassVar[ValueChange]
    VALUE_CHANGE_ADDED: _ClassVar[ValueChange]
    VALUE_CHANGE_REMOVED: _ClassVar[ValueChange]
    VALUE_CHANGE_CHANGED: _ClassVar[ValueChange]
CORRESPONDENCE_UNSPECIFIED: Correspondence
CORRESPONDENCE_CORRESPONDS: Correspondence
CORRESPONDENCE_BROADER: Correspondence
CORRESPONDENCE_NARROWER: Correspondence
CORRESPONDENCE_OVERLAPS: Correspondence
CORRESPONDENCE_CONFLICTS: Correspondence
CORRESPONDENCE_INCOMPARABLE: Correspondence
VALUE_CHANGE_UNSPECIFIED: ValueChange
VALUE_CHANGE_ADDED: ValueChange
VALUE_CHANGE_REMOVED: ValueChange
VALUE_CHANGE_CHANGED: ValueChange

class DimensionLine(_message.Message):
    __slots__ = ("dimension", "correspondence", "first", "second", "text")
    DIMENSION_FIELD_NUMBER: _ClassVar[int]
    CORRESPONDENCE_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    SECOND_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    dimension: str
    correspondence: Correspondence
    first: str
    second: str
    text: str
    def __init__(self, dimension: _Optional[str] = ..., correspondence: _Optional[_Union[Correspondence, str]] = ..., first: _Optional[str] = ..., second: _Optional[str] = ..., text: _Optional[str] = ...) -> None: ...

class CrosswalkRow(_message.Message):
    __slots__ = ("value", "other_value", "correspondence", "dimensions", "written", "written_back")
    VALUE_FIELD_NUMBER: _ClassVar[int]
    OTHER_VALUE_FIELD_NUMBER: _ClassVar[int]
    CORRESPONDENCE_FIELD_NUMBER: _ClassVar[int]
    DIMENSIONS_FIELD_NUMBER: _ClassVar[int]
    WRITTEN_FIELD_NUMBER: _ClassVar[int]
    WRITTEN_BACK_FIELD_NUMBER: _ClassVar[int]
    value: str
    other_value: str
    correspondence: Correspondence
    dimensions: _containers.RepeatedCompositeFieldContainer[DimensionLine]
    written: bool
    written_back: bool
    def __init__(self, value: _Optional[str] = ..., other_value: _Optional[str] = ..., correspondence: _Optional[_Union[Correspondence, str]] = ..., dimensions: _Optional[_Iterable[_Union[DimensionLine, _Mapping]]] = ..., written: _Optional[bool] = ..., written_back: _Optional[bool] = ...) -> None: ...

class TextChange(_message.Message):
    __slots__ = ("field", "before", "after")
    FIELD_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    field: str
    before: str
    after: str
    def __init__(self, field: _Optional[str] = ..., before: _Optional[str] = ..., after: _Optional[str] = ...) -> None: ...

class ValueDifference(_message.Message):
    __slots__ = ("value", "change", "dimensions", "texts", "meant_before")
    VALUE_FIELD_NUMBER: _ClassVar[int]
    CHANGE_FIELD_NUMBER: _ClassVar[int]
    DIMENSIONS_FIELD_NUMBER: _ClassVar[int]
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    MEANT_BEFORE_FIELD_NUMBER: _ClassVar[int]
    value: str
    change: ValueChange
    dimensions: _containers.RepeatedCompositeFieldContainer[DimensionLine]
    texts: _containers.RepeatedCompositeFieldContainer[TextChange]
    meant_before: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, value: _Optional[str] = ..., change: _Optional[_Union[ValueChange, str]] = ..., dimensions: _Optional[_Iterable[_Union[DimensionLine, _Mapping]]] = ..., texts: _Optional[_Iterable[_Union[TextChange, _Mapping]]] = ..., meant_before: _Optional[_Iterable[str]] = ...) -> None: ...

class GetSchemeRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class PutSchemeRequest(_message.Message):
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

class SignOffSchemeRequest(_message.Message):
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

class RetireSchemeRequest(_message.Message):
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

class CompareSchemesRequest(_message.Message):
    __slots__ = ("name", "other_name", "page_size", "page_token")
    NAME_FIELD_NUMBER: _ClassVar[int]
    OTHER_NAME_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    name: str
    other_name: str
    page_size: int
    page_token: str
    def __init__(self, name: _Optional[str] = ..., other_name: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class CompareSchemesResponse(_message.Message):
    __slots__ = ("name", "other_name", "rows", "next_page_token", "revision")
    NAME_FIELD_NUMBER: _ClassVar[int]
    OTHER_NAME_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    name: str
    other_name: str
    rows: _containers.RepeatedCompositeFieldContainer[CrosswalkRow]
    next_page_token: str
    revision: int
    def __init__(self, name: _Optional[str] = ..., other_name: _Optional[str] = ..., rows: _Optional[_Iterable[_Union[CrosswalkRow, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., revision: _Optional[int] = ...) -> None: ...

class DiffSchemesRequest(_message.Message):
    __slots__ = ("name", "other_name")
    NAME_FIELD_NUMBER: _ClassVar[int]
    OTHER_NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    other_name: str
    def __init__(self, name: _Optional[str] = ..., other_name: _Optional[str] = ...) -> None: ...

class DiffSchemesResponse(_message.Message):
    __slots__ = ("name", "other_name", "texts", "values", "revision")
    NAME_FIELD_NUMBER: _ClassVar[int]
    OTHER_NAME_FIELD_NUMBER: _ClassVar[int]
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    name: str
    other_name: str
    texts: _containers.RepeatedCompositeFieldContainer[TextChange]
    values: _containers.RepeatedCompositeFieldContainer[ValueDifference]
    revision: int
    def __init__(self, name: _Optional[str] = ..., other_name: _Optional[str] = ..., texts: _Optional[_Iterable[_Union[TextChange, _Mapping]]] = ..., values: _Optional[_Iterable[_Union[ValueDifference, _Mapping]]] = ..., revision: _Optional[int] = ...) -> None: ...
