"""A request of a partner's client, whose sender is let in, and what answers it; bodies as JSON and as forms."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, ClassVar, Final, TypeVar
from urllib.parse import parse_qsl

import msgspec
from google.protobuf.message import Message
from python_multipart import FormParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File, parse_options_header

from hashhub.errors import HashHubError, InvalidArgument, Reason, StatusCode

JSON: Final = "application/json"
_STATUS: Final[Mapping[StatusCode, int]] = {
    StatusCode.UNAUTHENTICATED: 401,
    StatusCode.PERMISSION_DENIED: 403,
    StatusCode.ALREADY_EXISTS: 403,
    StatusCode.NOT_FOUND: 404,
    StatusCode.ABORTED: 409,
    StatusCode.RESOURCE_EXHAUSTED: 429,
    StatusCode.UNAVAILABLE: 503,
    StatusCode.CANCELLED: 503,
    StatusCode.INTERNAL: 500,
    StatusCode.DATA_LOSS: 500,
}
_LONG: Final = 64 * 1024  # bytes of a body that is taken apart on a thread
_FIELDS: Final = 32  # parameters of a query
_IN_MEMORY: Final = {"MAX_MEMORY_FILE_SIZE": float("inf")}  # the body is, too

_M = TypeVar("_M", bound=Message)
Headers = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class PartnerAnswer:
    """What is answered: a status, a body, and headers of its own."""

    status: int
    body: bytes
    media_type: str = JSON
    headers: Headers = ()

    @classmethod
    def json(cls, value: Any, status: int = 200, headers: Headers = ()) -> PartnerAnswer:
        """Return an answer with a value as JSON."""
        return cls(status, msgspec.json.encode(value), JSON, headers)


def status_of(error: HashHubError) -> tuple[int, Headers]:
    """Return the HTTP status of an error, and the headers that say more of it, where partners' clients do not look."""
    status = 413 if error.reason is Reason.TOO_LARGE else _STATUS.get(error.code, 400)
    headers: list[tuple[bytes, bytes]] = [(b"hashhub-reason", error.reason.encode())]
    if error.retry_after is not None:
        headers.append((b"retry-after", b"%d" % max(1, round(error.retry_after))))
    if status == 401:  # noqa: PLR2004 - HTTP's code
        headers.append((b"www-authenticate", b"Bearer"))
    return status, tuple(headers)


def basic_password(authorization: str) -> str:
    """Return, of a header of the basic scheme, one with its password as token; another as it is."""
    scheme, _, given = authorization.partition(" ")
    if scheme.lower() != "basic":
        return authorization
    try:
        return f"Bearer {base64.b64decode(given, validate=True).decode().partition(':')[2]}"
    except (binascii.Error, UnicodeDecodeError):
        return ""


class PartnerDoor(ABC):
    """One partner's protocol. `name`: for the log and the metrics. Paths begin behind the protocol's own part."""

    name: ClassVar[str]

    def status(self, path: str) -> PartnerAnswer | None:  # noqa: ARG002 - of those that have one
        """Return the answer to a GET that needs no token; None for a path that does."""
        return None

    def authorization(self, header: Callable[[bytes], str], query_string: str) -> str:  # noqa: ARG002 - where some have it
        """Return what a client sends of its token, as the header `Authorization` of hashhub's own calls. `header`: of
        the request, by name in small letters; empty: not sent.
        """
        return header(b"authorization")

    def reads(self, verb: str, path: str) -> bool:  # noqa: ARG002 - some read by other verbs
        """Whether a request changes nothing."""
        return verb in {"GET", "HEAD"}

    @abstractmethod
    async def answer(self, request: PartnerRequest) -> PartnerAnswer:
        """Answer a request. Raises a HashHubError, which `refusal` words."""

    @abstractmethod
    def refused(self, status: int, message: str, headers: Headers = ()) -> PartnerAnswer:
        """Return the answer that refuses a request, as the partner writes it."""

    def refusal(self, error: HashHubError, path: str = "") -> PartnerAnswer:  # noqa: ARG002 - alike for most
        """Return the answer that an error is."""
        status, headers = status_of(error)
        return self.refused(status, error.message, headers)


@dataclass(frozen=True, slots=True)
class Form:
    """The parts of a form: files by the name of their field, and fields with text."""

    files: tuple[tuple[str, bytes], ...]
    fields: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class PartnerRequest:
    """A request, and what its sender's token can have done.

    `url`: of the protocol's own part, as the sender reaches it. `contributor`: the token's own; empty: none.
    `oversees`: whether it may read all that is here. `read()`: the whole body, within the bounds of bodies.
    `call(path, request)`: makes a call of hashhub.v1 as this token. `fetch(url)`: the bytes and the media type that
    stand at an address. Each raises a HashHubError.
    """

    verb: str
    url: str
    path: str
    query_string: str
    content_type: str
    accept: str
    contributor: str
    oversees: bool
    read: Callable[[], Awaitable[bytes]]
    call: Callable[[str, Message], Awaitable[Message]]
    fetch: Callable[[str], Awaitable[tuple[bytes, str]]]
    query: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        """Raise InvalidArgument for a query with too many parameters."""
        try:
            query = dict(parse_qsl(self.query_string, keep_blank_values=True, max_num_fields=_FIELDS))
        except ValueError as e:
            raise InvalidArgument.field("query", f"has more than {_FIELDS} parameters; send fewer") from e
        object.__setattr__(self, "query", query)

    async def ask(self, method: str, request: Message, answer: type[_M]) -> _M:
        """Make the call `Service/Method` and return its answer."""
        given = await self.call(f"/hashhub.v1.{method}", request)
        assert isinstance(given, answer), method  # noqa: S101 - the contract says so
        return given

    @property
    def media_type(self) -> str:
        """Of the body, without parameters."""
        return self.content_type.partition(";")[0].strip().lower()

    async def read_json(self) -> dict[str, Any]:
        """Return the body's JSON object. Raises InvalidArgument for anything else."""
        if self.media_type != JSON:
            raise InvalidArgument.field("Content-Type", f"must be {JSON}, got {self.media_type[:40]!r}", "NOT_ALLOWED")
        body = await self.read()
        try:
            value = await asyncio.to_thread(json.loads, body) if len(body) > _LONG else json.loads(body)
        except (ValueError, RecursionError) as e:
            raise InvalidArgument.field("body", f"is no JSON: {str(e)[:80]}; send a JSON object", "NOT_JSON") from e
        if not isinstance(value, dict):
            raise InvalidArgument.field("body", "must be a JSON object", "NOT_JSON")
        return value

    async def read_form(self) -> Form:
        """Return the parts of a multipart form. Raises InvalidArgument for what is none, or is cut off."""
        body = await self.read()
        if len(body) > _LONG:
            return await asyncio.to_thread(self._form, body)
        return self._form(body)

    def _form(self, body: bytes) -> Form:
        kind, options = parse_options_header(self.content_type)
        boundary = options.get(b"boundary")
        if kind != b"multipart/form-data" or not boundary:
            expected = "must be multipart/form-data with a boundary: one file in the field `photo` or `video`"
            raise InvalidArgument.field("Content-Type", expected, "NOT_ALLOWED")
        parts: list[Field | File] = []
        is_whole: list[bool] = []
        parser = FormParser(
            kind.decode(), parts.append, parts.append, lambda: is_whole.append(True), boundary, config=_IN_MEMORY
        )
        try:
            parser.write(body)
            parser.finalize()
        except FormParserError as e:
            raise InvalidArgument.field("body", f"is no multipart form: {str(e)[:80]}", "NOT_DECODABLE") from e
        if not is_whole:  # what was cut off is otherwise taken for a form
            raise InvalidArgument.field("body", "is cut off before the form's end; send it again", "INCOMPLETE")
        return Form(
            tuple((_text(part.field_name), _content(part)) for part in parts if isinstance(part, File)),
            {_text(part.field_name): _text(part.value) for part in parts if isinstance(part, Field)},
        )


def _content(file: File) -> bytes:
    assert isinstance(file.file_object, BytesIO)  # noqa: S101 - none is written to a disk, whatever its size
    return file.file_object.getvalue()


def _text(value: bytes | None) -> str:
    return (value or b"").decode("utf-8", "replace")
