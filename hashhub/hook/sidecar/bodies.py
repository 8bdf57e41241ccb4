"""What a request brings, piece by piece, within bounds of bytes, parts and time.

Multipart is read so that no part can be hidden from the hook which an app behind it might see: what two parsers could
read differently is refused.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Final

import msgspec

from hashhub.errors import Cancelled, InvalidArgument, LimitExceeded, Reason, Unavailable

if TYPE_CHECKING:
    from starlette.types import Receive

    from hashhub.hook.core import Upload
    from hashhub.hook.settings import SidecarSettings

_FIELD_BYTES: Final = 64 * 1024  # a form field that is text and no longer is no file
_SHOWN: Final = 200  # characters of a name that come back
_PART_HEADERS: Final = 16
_PART_HEADER_BYTES: Final = 4096
_BOUNDARY_BYTES: Final = 70  # RFC 2046, 5.1.1
_UNCLOSED: Final = "the multipart body must end with its closing boundary, and nothing may follow"
_PLAIN_ENCODINGS: Final = frozenset({"", "7bit", "8bit", "binary"})

# It tells of what it skips; here that is refused, and its lines would show what an uploader wrote.
logging.getLogger("python_multipart").setLevel(logging.CRITICAL)


class Body:
    """A request's body. `size`: bytes so far; `is_whole`: it came to its end."""

    def __init__(self, receive: Receive, settings: SidecarSettings, *, most: int) -> None:
        """`most`: bytes that are read; the piece that goes beyond is the last."""
        self._receive = receive
        self._most = most
        self._settings = settings
        self.size = 0
        self.is_whole = False

    async def pieces(self) -> AsyncIterator[bytes]:
        """Give the pieces as they come, and end early once there are more bytes than may be read.

        Raises Cancelled when the caller has gone, Unavailable when it sends too slowly.
        """
        loop = asyncio.get_running_loop()
        waited = 0.0
        while not self.is_whole and self.size <= self._most:
            # Only the time that the sender takes counts, not what is done with a piece.
            allowed = self._settings.slow_seconds + self.size / self._settings.slow_bytes_a_second - waited
            began = loop.time()
            try:
                async with asyncio.timeout(min(self._settings.slow_seconds, max(allowed, 0.0))):
                    message = await self._receive()
            except TimeoutError as e:
                raise Unavailable(
                    f"the body came slower than {self._settings.slow_bytes_a_second} bytes a second; send it again",
                    reason=Reason.SLOW_SENDER,
                ) from e
            waited += loop.time() - began
            if message["type"] == "http.disconnect":
                raise Cancelled("the caller has gone", reason=Reason.CALLER_GONE)
            piece: bytes = message.get("body", b"")
            self.is_whole = not message.get("more_body", False)
            self.size += len(piece)
            if piece:
                yield piece

    async def all(self, most: int) -> bytes:
        """Return a body that may have so many bytes at most. Raises LimitExceeded, and what `pieces` raises."""
        content = bytearray()
        async for piece in self.pieces():
            content += piece
            if len(content) > most:
                raise LimitExceeded(f"the body has more than {most} bytes; send less", reason=Reason.TOO_LARGE)
        return bytes(content)


class Part(msgspec.Struct, kw_only=True):
    """A part of a form that has come to its end. `upload` is None for a field of text, which is no file."""

    field: str
    file_name: str
    upload: Upload | None


def boundary_of(content_type: str) -> bytes:
    """Return the boundary of a multipart request. Raises InvalidArgument when there is none, or more than one."""
    from python_multipart.multipart import parse_options_header

    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if content_type.lower().count("boundary") != 1 or not 1 <= len(boundary) <= _BOUNDARY_BYTES:
        raise _malformed(f"Content-Type must name one boundary of 1 to {_BOUNDARY_BYTES} characters")
    return boundary


class Parts:
    """A multipart body as it streams: `feed` it, take the parts that have ended, `end` it."""

    def __init__(self, boundary: bytes, *, most: int, receive: Callable[[int], Upload]) -> None:
        """`receive`: opens an upload for the nth part, from 1. Whatever is not taken is closed by `close`."""
        from python_multipart.multipart import MultipartParser

        self._closing = b"\r\n--" + boundary + b"--"
        self._before = b"\r\n"  # the last bytes before a piece, in which its closing boundary may begin
        self._most = most
        self._receive = receive
        self._count = 0
        self._is_ended = False
        self._headers: dict[str, str] = {}
        self._name, self._value = bytearray(), bytearray()
        self._field = self._file_name = ""
        self._upload: Upload | None = None
        self._text: bytearray | None = None  # of a part that may be a field
        self._ready: list[Part] = []
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin_part,
                "on_header_field": self._take_name,
                "on_header_value": self._take_value,
                "on_header_end": self._end_header,
                "on_headers_finished": self._end_headers,
                "on_part_data": self._take_data,
                "on_part_end": self._end_part,
                "on_end": self._end,
            },
            max_header_count=_PART_HEADERS,
            max_header_size=_PART_HEADER_BYTES,
        )

    def feed(self, piece: bytes) -> list[Part]:
        """Take in the next bytes and return the parts that end in them. Raises InvalidArgument, LimitExceeded."""
        from python_multipart.exceptions import FormParserError

        if self._has_closed():
            self._refuse_more(piece)
            return []
        try:
            self._parser.write(piece)
        except FormParserError as e:
            raise _malformed("the multipart body cannot be read; a part or its headers are not as RFC 7578 says") from e
        window = self._before + piece
        if self._has_closed():  # nothing but a closing boundary ends it, and the first one does
            _, closing, rest = window.partition(self._closing)
            self._refuse_more(rest if closing else b"?")
        self._before = window[-len(self._closing) :]
        ready, self._ready = self._ready, []
        return ready

    def finish(self) -> None:
        """Raise InvalidArgument unless the closing boundary has come."""
        if not self._has_closed():
            raise _malformed(_UNCLOSED)

    def _has_closed(self) -> bool:
        return self._is_ended

    def _refuse_more(self, rest: bytes) -> None:
        if rest.strip(b" \t\r\n"):
            raise _malformed(_UNCLOSED)

    def close(self) -> None:
        """Drop the bytes of parts that nobody took."""
        for part in self._ready:
            if part.upload is not None:
                part.upload.close()
        if self._upload is not None:
            self._upload.close()
            self._upload = None

    def _begin_part(self) -> None:
        self._count += 1
        if self._count > self._most:
            raise LimitExceeded(f"a form may have {self._most} parts; send fewer at once", reason=Reason.TOO_LARGE)
        self._headers = {}

    def _take_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _take_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        name = self._name.decode("latin-1").strip().lower()
        if name in self._headers:
            raise _malformed("a part has the same header twice")
        self._headers[name] = self._value.decode("utf-8", "replace")
        self._name, self._value = bytearray(), bytearray()

    def _end_headers(self) -> None:
        from python_multipart.multipart import parse_options_header

        kind = self._headers.get("content-type", "").strip().lower()
        if kind.startswith(("multipart/", "message/")):
            raise _malformed("a part is multipart itself; send each file as a part of its own")
        if self._headers.get("content-transfer-encoding", "").strip().lower() not in _PLAIN_ENCODINGS:
            raise _malformed("a part has a Content-Transfer-Encoding; send the file's bytes as they are")
        disposition = self._headers.get("content-disposition", "")
        _, options = parse_options_header(disposition)
        self._field = options.get(b"name", b"").decode("utf-8", "replace")[:_SHOWN]
        self._file_name = options.get(b"filename", b"").decode("utf-8", "replace")[:_SHOWN]
        # Any mention of a file name, however it is spelled, makes it a file; so does a type of its own.
        is_file = bool(kind) or "filename" in disposition.lower() or not self._field
        self._text = None if is_file else bytearray()
        self._upload = self._receive(self._count)

    def _take_data(self, data: bytes, start: int, end: int) -> None:
        if self._upload is None:
            raise _malformed("a part has no headers")
        piece = memoryview(data)[start:end]
        self._upload.write(piece)
        if self._text is not None:
            self._text += piece
            if len(self._text) > _FIELD_BYTES:
                self._text = None

    def _end_part(self) -> None:
        upload, self._upload = self._upload, None
        if upload is not None and self._text is not None and _is_text(self._text):
            upload.close()
            upload = None
        self._text = None
        self._ready.append(Part(field=self._field, file_name=self._file_name, upload=upload))

    def _end(self) -> None:
        self._is_ended = True


def _is_text(content: bytearray) -> bool:
    try:
        return "\0" not in content.decode("utf-8")
    except UnicodeDecodeError:
        return False


def _malformed(what: str) -> InvalidArgument:
    return InvalidArgument.field("body", what)
