"""A request of a partner's client, whose sender is let in, and what answers it; bodies as JSON and as forms."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl

from google.protobuf.message import Message
from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from hashhub.errors import InvalidArgument

JSON: Final = "application/json"
_LONG: Final = 64 * 1024  # bytes of a form that is taken apart on a thread
_FIELDS: Final = 32  # parameters of a query; parts of a form

_M = TypeVar("_M", bound=Message)


@dataclass(frozen=True, slots=True)
class PartnerAnswer:
    """What is answered: a status, a body, and headers of its own."""

    status: int
    body: bytes
    media_type: str = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()

    @classmethod
    def json(cls, value: Any, status: int = 200, headers: tuple[tuple[bytes, bytes], ...] = ()) -> PartnerAnswer:
        """Return an answer with a value as JSON."""
        return cls(status, json.dumps(value, separators=(",", ":")).encode(), JSON, headers)


@dataclass(frozen=True, slots=True)
class Form:
    """The parts of a form: files by the name of their field, and fields with text."""

    files: tuple[tuple[str, bytes], ...]
    fields: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class PartnerRequest:
    """A request, and what its sender's token can have done.

    `contributor`: the token's own; empty: none. `oversees`: whether it may read all that is here. `read()`: the whole
    body, within the bounds of bodies. `call(path, request)`: makes a call of hashhub.v1 as this token. `fetch(url)`:
    the bytes and the media type that stand at an address. Each raises a HashHubError.
    """

    verb: str
    path: str
    query_string: str
    content_type: str
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
        try:
            value = json.loads(await self.read())
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
        reader = _FormReader()
        try:
            # Its end is told by `on_end`: a parser that is only finalized takes what was cut off for whole.
            parser = MultipartParser(boundary, reader.callbacks)
            parser.write(body)
            parser.finalize()
        except FormParserError as e:
            raise InvalidArgument.field("body", f"is no multipart form: {str(e)[:80]}", "NOT_DECODABLE") from e
        if not reader.is_whole:
            raise InvalidArgument.field("body", "is cut off before the form's end; send it again", "INCOMPLETE")
        return Form(tuple(reader.files), reader.fields)


class _FormReader:
    """Takes what the parser finds of a form that is in memory as a whole."""

    def __init__(self) -> None:
        self.files: list[tuple[str, bytes]] = []
        self.fields: dict[str, str] = {}
        self.is_whole = False
        self._parts = 0
        self._name, self._value = bytearray(), bytearray()
        self._headers: dict[str, bytes] = {}
        self._data = bytearray()
        self.callbacks: Any = {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._name.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._end_header,
            "on_part_data": lambda data, start, end: self._data.extend(memoryview(data)[start:end]),
            "on_part_end": self._end,
            "on_end": self._close,
        }

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > _FIELDS:
            raise InvalidArgument.field("body", f"has more than {_FIELDS} parts; send one file", "OUT_OF_RANGE")
        self._headers, self._data = {}, bytearray()

    def _end_header(self) -> None:
        self._headers[self._name.decode("latin-1").lower()] = bytes(self._value)
        self._name.clear()
        self._value.clear()

    def _end(self) -> None:
        _, options = parse_options_header(self._headers.get("content-disposition", b""))
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if b"filename" in options:
            self.files.append((name, bytes(self._data)))
        else:
            self.fields[name] = self._data.decode("utf-8", "replace")

    def _close(self) -> None:
        self.is_whole = True
