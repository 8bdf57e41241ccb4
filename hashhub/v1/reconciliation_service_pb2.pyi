from hashhub.v1 import conflicts_pb2 as _conflicts_pb2
from hashhub.v1 import operation_service_pb2 as _operation_service_pb2
from hashhub.v1 import reconciliation_pb2 as _reconciliation_pb2
from hashhub.v1 import resources_pb2 as _resources_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ExtractEntriesRequest(_message.Message):
    __slots__ = ("request_id",)
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    def __init__(self, request_id: _Optional[str] = ...) -> None: ...

class ComputeOverlapRequest(_message.Message):
    __slots__ = ("by", "near", "engine", "request_id", "contributors", "min_reliability")
    BY_FIELD_NUMBER: _ClassVar[int]
    NEAR_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTORS_FIELD_NUMBER: _ClassVar[int]
    MIN_RELIABILITY_FIELD_NUMBER: _ClassVar[int]
    by: _reconciliation_pb2.ComparedBy
    near: bool
    engine: _reconciliation_pb2.Engine
    request_id: str
    contributors: _containers.RepeatedScalarFieldContainer[str]
    min_reliability: _resources_pb2.Reliability
    def __init__(self, by: _Optional[_Union[_reconciliation_pb2.ComparedBy, str]] = ..., near: _Optional[bool] = ..., engine: _Optional[_Union[_reconciliation_pb2.Engine, str]] = ..., request_id: _Optional[str] = ..., contributors: _Optional[_Iterable[str]] = ..., min_reliability: _Optional[_Union[_resources_pb2.Reliability, str]] = ...) -> None: ...

class ComputeAgreementRequest(_message.Message):
    __slots__ = ("engine", "request_id", "contributors", "min_reliability")
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTORS_FIELD_NUMBER: _ClassVar[int]
    MIN_RELIABILITY_FIELD_NUMBER: _ClassVar[int]
    engine: _reconciliation_pb2.Engine
    request_id: str
    contributors: _containers.RepeatedScalarFieldContainer[str]
    min_reliability: _resources_pb2.Reliability
    def __init__(self, engine: _Optional[_Union[_reconciliation_pb2.Engine, str]] = ..., request_id: _Optional[str] = ..., contributors: _Optional[_Iterable[str]] = ..., min_reliability: _Optional[_Union[_resources_pb2.Reliability, str]] = ...) -> None: ...

class FindLinksRequest(_message.Message):
    __slots__ = ("near", "request_id", "contributors", "min_reliability")
    NEAR_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTORS_FIELD_NUMBER: _ClassVar[int]
    MIN_RELIABILITY_FIELD_NUMBER: _ClassVar[int]
    near: bool
    request_id: str
    contributors: _containers.RepeatedScalarFieldContainer[str]
    min_reliability: _resources_pb2.Reliability
    def __init__(self, near: _Optional[bool] = ..., request_id: _Optional[str] = ..., contributors: _Optional[_Iterable[str]] = ..., min_reliability: _Optional[_Union[_resources_pb2.Reliability, str]] = ...) -> None: ...

class FindGapsRequest(_message.Message):
    __slots__ = ("jurisdiction", "near", "request_id", "contributors", "min_reliability")
    JURISDICTION_FIELD_NUMBER: _ClassVar[int]
    NEAR_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTORS_FIELD_NUMBER: _ClassVar[int]
    MIN_RELIABILITY_FIELD_NUMBER: _ClassVar[int]
    jurisdiction: str
    near: bool
    request_id: str
    contributors: _containers.RepeatedScalarFieldContainer[str]
    min_reliability: _resources_pb2.Reliability
    def __init__(self, jurisdiction: _Optional[str] = ..., near: _Optional[bool] = ..., request_id: _Optional[str] = ..., contributors: _Optional[_Iterable[str]] = ..., min_reliability: _Optional[_Union[_resources_pb2.Reliability, str]] = ...) -> None: ...

class WriteReportRequest(_message.Message):
    __slots__ = ("title", "jurisdictions", "near", "request_id", "contributors", "min_reliability")
    TITLE_FIELD_NUMBER: _ClassVar[int]
    JURISDICTIONS_FIELD_NUMBER: _ClassVar[int]
    NEAR_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTORS_FIELD_NUMBER: _ClassVar[int]
    MIN_RELIABILITY_FIELD_NUMBER: _ClassVar[int]
    title: str
    jurisdictions: _containers.RepeatedScalarFieldContainer[str]
    near: bool
    request_id: str
    contributors: _containers.RepeatedScalarFieldContainer[str]
    min_reliability: _resources_pb2.Reliability
    def __init__(self, title: _Optional[str] = ..., jurisdictions: _Optional[_Iterable[str]] = ..., near: _Optional[bool] = ..., request_id: _Optional[str] = ..., contributors: _Optional[_Iterable[str]] = ..., min_reliability: _Optional[_Union[_resources_pb2.Reliability, str]] = ...) -> None: ...

class ReadResultRequest(_message.Message):
    __slots__ = ("name", "page_size", "page_token")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    name: str
    page_size: int
    page_token: str
    def __init__(self, name: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ReadResultResponse(_message.Message):
    __slots__ = ("links", "gaps", "next_page_token", "revision")
    LINKS_FIELD_NUMBER: _ClassVar[int]
    GAPS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    links: _containers.RepeatedCompositeFieldContainer[_reconciliation_pb2.Link]
    gaps: _containers.RepeatedCompositeFieldContainer[_reconciliation_pb2.Gap]
    next_page_token: str
    revision: int
    def __init__(self, links: _Optional[_Iterable[_Union[_reconciliation_pb2.Link, _Mapping]]] = ..., gaps: _Optional[_Iterable[_Union[_reconciliation_pb2.Gap, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., revision: _Optional[int] = ...) -> None: ...

class ReadFilesRequest(_message.Message):
    __slots__ = ("name", "paths")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PATHS_FIELD_NUMBER: _ClassVar[int]
    name: str
    paths: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., paths: _Optional[_Iterable[str]] = ...) -> None: ...

class ReadFilesResponse(_message.Message):
    __slots__ = ("path", "data", "last")
    PATH_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    path: str
    data: bytes
    last: bool
    def __init__(self, path: _Optional[str] = ..., data: _Optional[bytes] = ..., last: _Optional[bool] = ...) -> None: ...
