"""A request's body as it streams in: which parts of it are files, and what is decided over each. No framework, no
network: the ASGI and WSGI adapters feed it, and hand the buffered body on once everything is decided.

What an app reads as a file and this module does not would pass unseen, and parsers differ. So only bodies that all of
them read alike are accepted (`BodyRefused`), and a part or body that is not plain text is a file, whatever its headers
call it.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Collection, Sequence
from typing import IO, TYPE_CHECKING, Final, NamedTuple, Self, TypeAlias

import msgspec

from hashhub.desk.decision import Action, Decision, NoAnswer, severest_of
from hashhub.errors import FailedPrecondition, InvalidArgument, Reason
from hashhub.hook.hashing import UploadBytes
from hashhub.hook.settings import AppSettings, OnHold
from hashhub.senders import ByteBudget, SenderPace

if TYPE_CHECKING:
    from hashhub.hook.core import Hook, Upload

_MOST_HEADER_BYTES: Final = 16 * 1024  # of one part; browsers send some 200
# Of one part, and of one line: what python-multipart takes, by which Starlette and FastAPI read forms.
_MOST_HEADERS: Final = 8
_MOST_LINE_BYTES: Final = 4096 + 128
_BLANK_LINE: Final = b"\r\n\r\n"
_BODY_FIELD: Final = ""  # what the body itself is called where it is no form

# RFC 2046, 5.1.1, without a space, which parsers strip or do not, and without a comma, at which Rack ends.
_BOUNDARY: Final = re.compile(r"[0-9A-Za-z'()+_./:=?-]{1,70}")
# RFC 9110, 5.6.6. A value in quotes has no control characters; whether a backslash escapes is left to each parameter.
_WORD: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_PARAMETER: Final = re.compile(rf'[ \t]*;[ \t]*({_WORD})=({_WORD}|"(?:[^"\\\x00-\x1f\x7f]|\\[^\x00-\x1f\x7f])*")')
_PLAIN: Final = re.compile(_WORD)
_FILENAME: Final = re.compile(r"filename\*?\s*=", re.IGNORECASE)
_HEADER: Final = re.compile(rf"({_WORD}):([^\r]*)".encode("ascii"))
_ESCAPED: Final = re.compile(r'\\(["\\])')
_NOT_IN_HEADER: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")
_MEDIA_TYPE: Final = re.compile(rf"({_WORD})/({_WORD})")
_TEXT_TYPES: Final = re.compile(
    r"text/.*|application/(?:[\w.+-]+\+)?(?:json|xml|x-www-form-urlencoded|x-ndjson|graphql|javascript|yaml)"
)
# PBM, PGM and PPM in their plain form: two numbers, behind and between which comments may stand; XBM; XPM.
_TEXT_PICTURE: Final = re.compile(
    rb"P[1-3]\s(?:\s|#[^\r\n]*[\r\n])*\d+\s(?:\s|#[^\r\n]*[\r\n])*\d"
    rb"|\s*/\*\s*XPM|(?s:.{0,4096}?)#define[ \t]+(?:\S*_)?width[ \t]"
)
_HEAD_BYTES: Final = 65_536
_NOT_IN_TEXT: Final = re.compile(rb"[\x00-\x08\x0e-\x1f\x7f]")
_REASON: Final = {408: Reason.SLOW_SENDER, 413: Reason.TOO_LARGE, 503: Reason.TOO_MANY_REQUESTS}


class BodyRefused(InvalidArgument):
    """A request that is refused before anything is decided; `status` is the HTTP status that says so."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message, reason=_REASON.get(status))
        self.status = status


class CheckedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a request, and what was decided. `field`: the form field's name; empty for a body that is no form."""

    field: str
    filename: str
    decision: Decision


class Uploads(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided over a request. `unchecked`: fields that were not to be looked at. `app`: by which it is
    answered.
    """

    files: tuple[CheckedFile, ...] = ()
    unchecked: tuple[str, ...] = ()
    app: AppSettings = AppSettings()

    @property
    def severest(self) -> Decision | None:
        """The decision that keeps the most from others; None if the request had no file."""
        if len(self.files) == 1:
            return self.files[0].decision
        return severest_of([file.decision for file in self.files])

    def of(self, field: str) -> tuple[Decision, ...]:
        """Return the decisions over a field's files. Raises FailedPrecondition for files that were not looked at."""
        if field in self.unchecked:
            raise FailedPrecondition(
                f"the files of {field!r} were not checked: the upload hook was told to look at other fields; add it "
                "to `fields`"
            )
        return tuple(file.decision for file in self.files if file.field == field)


class RefusalResponse(msgspec.Struct, frozen=True, kw_only=True):
    """What the sender is told in the app's place: a status, and a body that says nothing about the upload."""

    status: int
    body: bytes
    retry_after: int | None = None

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """The answer's headers."""
        retry = (("retry-after", str(self.retry_after)),) if self.retry_after is not None else ()
        return (
            ("content-type", "application/json"),
            ("content-length", str(len(self.body))),
            ("cache-control", "no-store"),
            *retry,
        )


def answer_to(decision: Decision | None, app: AppSettings) -> RefusalResponse | None:
    """Return what the sender is told about an upload that the app does not get; None when the app gets it."""
    if decision is None or decision.action is Action.ALLOW:
        return None
    if decision.action is Action.HOLD and app.on_hold is not OnHold.REFUSE:
        if app.on_hold is OnHold.APP:
            return None
        if not decision.is_kept:  # accepted, it would be gone: nobody else has it
            # Sent again, it would be too large again.
            if decision.reasons[-1].code == Reason.TOO_LARGE and decision.no_answer is not NoAnswer.HUB_AWAY:
                return answer_to_refused(BodyRefused(413, "the upload is larger than what is taken in"))
            return answer_to_refused(BodyRefused(503, "the upload could not be taken in now; send it again later"))
        return RefusalResponse(
            status=202, body=msgspec.json.encode({"status": "received", "reference": decision.reference})
        )
    error = {
        "reason": "UPLOAD_REFUSED",
        "message": "the upload was not accepted; name the reference when you ask why",
        "reference": decision.reference,
    }
    return RefusalResponse(status=app.block_status, body=msgspec.json.encode({"error": error}))


def answer_to_refused(refused: BodyRefused) -> RefusalResponse:
    """Return what the sender of a refused request is told."""
    error = {"reason": "REQUEST_REFUSED", "message": refused.message}
    retry_after = 10 if refused.status == 503 else None  # noqa: PLR2004 - Service Unavailable
    return RefusalResponse(status=refused.status, body=msgspec.json.encode({"error": error}), retry_after=retry_after)


def sender_pace(app: AppSettings) -> SenderPace:
    """Return the pace that a request's sender must keep: a slow one would hold memory that others need."""
    return SenderPace(app.slow_bytes / app.slow_seconds, app.slow_seconds, too_slow)


def too_slow() -> BodyRefused:
    """Return what a sender that is too slow is told."""
    return BodyRefused(408, "the upload came too slowly; send it again")


def write_body(body: UploadBytes, piece: bytes) -> None:
    """Append to a request's body. Raises BodyRefused beyond its or everybody's limit."""
    body.write(piece)
    if body.is_too_large:
        raise too_large(body.most)
    if body.is_crowded_out:
        raise BodyRefused(503, "too many uploads are under way; try again in some seconds")


def too_large(most: int) -> BodyRefused:
    """Return what a sender of too large a body is told."""
    return BodyRefused(413, f"the request is larger than {most} bytes; send fewer or smaller files at once")


class ReceivedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that has come to its end and waits to be decided over."""

    field: str
    filename: str
    upload: Upload

    def decide(self) -> CheckedFile:
        """Decide, and drop the file's bytes. Waits for hashes and the hub."""
        try:
            return CheckedFile(field=self.field, filename=self.filename, decision=self.upload.decide())
        finally:
            self.upload.close()

    async def adecide(self) -> CheckedFile:
        """Decide as `decide` does, without blocking the event loop."""
        try:
            decision = await self.upload.adecide()
            return CheckedFile(field=self.field, filename=self.filename, decision=decision)
        finally:
            self.upload.close()


class RequestIntake:
    """One request's body. Write each piece, decide over what `take` returns, then `end`; close it in any case.

    with RequestIntake(…) as intake:
        for piece in body:
            intake.write(piece)
            files += [ended.decide() for ended in intake.take()]
        intake.end()
        files += [ended.decide() for ended in intake.take()]
    """

    def __init__(
        self,
        hook: Hook,
        memory: ByteBudget,
        *,
        door: str,
        content_types: Sequence[str],
        content_encodings: Sequence[str] = (),
        fields: Collection[str] | None = None,
        upload_id: str = "",
    ) -> None:
        """`content_types`, `content_encodings`: the values of these headers. `fields`: whose files are looked at; None:
        all. `upload_id`: the app's own name for them. Raises BodyRefused.
        """
        if any(encoding.strip().lower() not in {"", "identity"} for encoding in content_encodings):
            raise BodyRefused(415, "a body with a Content-Encoding is not taken; send it as it is")
        if len(content_types) > 1:
            raise BodyRefused(400, "there must be one Content-Type")
        content_type = content_types[0].strip(" \t") if content_types else ""
        app = hook.settings.app

        def receive() -> Upload:
            return hook.receive(door=door, upload_id=upload_id)

        self.body = UploadBytes(memory, app.max_request_bytes, is_digested=False)
        self._file: IO[bytes] | None = None
        self._taken: list[ReceivedFile] = []
        self._reader: FormReader | _WholeBody
        if "multipart" in content_type.lower():
            self._reader = FormReader(
                content_type,
                lambda _: receive(),
                fields=fields,
                max_files=app.max_files,
                max_fields=app.max_fields,
                max_field_bytes=app.max_field_bytes,
            )
        else:
            self._reader = _WholeBody(content_type, receive, self.body)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, piece: bytes) -> None:
        """Take the next bytes in. Raises BodyRefused."""
        if piece:
            piece = bytes(piece)  # some servers give other buffers, in which Python searches for nothing
            write_body(self.body, piece)
            self._reader.write(piece)

    def end(self) -> None:
        """Take note that the body ends here. Raises BodyRefused when it may not."""
        self._reader.end()

    def take(self) -> list[ReceivedFile]:
        """Return the files that have ended since, to be decided over."""
        ended = self._reader.take()
        self._taken += ended
        return ended

    def open_body(self) -> IO[bytes]:
        """Return the body as a file at its begin, which is closed with this."""
        self._file = self.body.open()
        assert self._file is not None  # noqa: S101 - what is not kept was refused
        return self._file

    @property
    def unchecked(self) -> Sequence[str]:
        """Form fields with files that were not looked at."""
        return self._reader.unchecked

    def close(self) -> None:
        """Drop the bytes of the body and of files, but for those that are being decided over."""
        self._reader.close()
        for ended in self._taken:
            ended.upload.close()
        if self._file is not None:
            self._file.close()
        self.body.drop()


def boundary_of(content_type: str) -> bytes:
    """Return the boundary of a form. Raises BodyRefused unless every parser reads the same one."""
    boundary = _boundary(content_type)
    marker = f"--{boundary}"
    # Parsers that search for it would disagree where it is. No client in use makes such a one. The shortest end that is
    # a beginning as well has half of it at most: a longer one would overlap itself, and so have a shorter one.
    start = marker.find(marker[0], -(len(marker) // 2))
    while start > 0 and not marker.startswith(marker[start:]):
        start = marker.find(marker[0], start + 1)
    if start > 0:
        raise BodyRefused(400, "the boundary must not end as it begins; choose another")
    return boundary.encode("ascii")


def _boundary(content_type: str) -> str:
    kind, parameters = _parameters(content_type)
    if kind != "multipart/form-data":
        raise BodyRefused(415, "of the multipart types only multipart/form-data is taken")
    boundary = parameters.get("boundary", "")
    if not _BOUNDARY.fullmatch(boundary):
        raise BodyRefused(400, "the Content-Type must have one boundary, of 1 to 70 letters, digits and '()+_-./:=?")
    # Some parsers take what follows the first or last "boundary" wherever it is, or count quotes in their own way.
    others = [t for item in parameters.items() if item[0] != "boundary" for t in item] if len(parameters) > 1 else []
    if "boundary=" in boundary.lower() or any("boundary" in t.lower() or not _PLAIN.fullmatch(t) for t in others):
        raise BodyRefused(400, "the Content-Type of a form can be read in two ways; send it with a boundary only")
    if parameters.get("charset", "utf-8").lower() not in {"utf-8", "utf8", "us-ascii"}:
        raise BodyRefused(415, "the charset of a form must be utf-8")
    return boundary


def _parameters(value: str) -> tuple[str, dict[str, str]]:
    """Return a header's value and its parameters by name in lower case. Raises BodyRefused unless the grammar is kept
    to the letter, no name comes twice and none is of RFC 2231 but `filename*`: parsers differ in which they take.
    """
    kind, semicolon, _ = value.partition(";")
    position = len(kind) if semicolon else len(value)
    parameters: dict[str, str] = {}
    rest = value.rstrip(" \t")
    # Some parsers take a backslash before a quote as an escape, others as itself, or wherever it is: they disagree in
    # where a value ends, and with semicolons in values in what is a parameter.
    has_doubtful_quotes = '\\"' in rest
    while position < len(rest):
        match = _PARAMETER.match(rest, position)
        if match is None:
            raise BodyRefused(400, "a header of the form cannot be read without doubt; see RFC 7578")
        name, text = match[1].lower(), match[2]
        if name in parameters or ("*" in name and name != "filename*"):
            raise BodyRefused(400, f"a header of the form has an ambiguous parameter {name!r}")
        if text.startswith('"'):
            if has_doubtful_quotes and ";" in text:
                raise BodyRefused(400, f"the parameter {name!r} can be read in two ways; encode its quotes as %22")
            text = text[1:-1]
            if "\\" in text:
                text = _ESCAPED.sub(r"\1", text)
        parameters[name] = text
        position = match.end()
    return kind.strip(" \t").lower(), parameters


class _WholeBody:
    """A body that is no form: one file unless it is text."""

    unchecked: Final = ()

    def __init__(self, content_type: str, receive: Callable[[], Upload], body: UploadBytes) -> None:
        self._receive = receive
        self._body = body
        self._is_ended = False
        self._text = _PlainText()
        self._upload: Upload | None = None
        kind = content_type.partition(";")[0].strip(" \t").lower()
        if kind and not _TEXT_TYPES.fullmatch(kind):
            self._upload = receive()

    def write(self, piece: bytes) -> None:
        if self._upload is not None:
            self._upload.write(piece)
        elif not self._text.goes_on(piece):
            self._promote()

    def _promote(self) -> None:
        """It is no text after all: what came so far belongs to the file."""
        self._upload = self._receive()
        for piece in self._body.pieces():
            self._upload.write(piece)

    def end(self) -> None:
        head = bytearray()
        for piece in self._body.pieces():
            head += piece[: _HEAD_BYTES - len(head)]
        if self._upload is None and (not self._text.ends_here() or _is_text_picture(head)):
            self._promote()
        self._is_ended = self._body.size > 0

    def take(self) -> list[ReceivedFile]:
        if self._upload is None or not self._is_ended:
            return []
        ended = ReceivedFile(field=_BODY_FIELD, filename="", upload=self._upload)
        self._upload = None
        return [ended]

    def close(self) -> None:
        if self._upload is not None:
            self._upload.close()


class FormReader:
    """A form as it streams: `write` each piece, decide over what `take` returns, then `end`; close it in any case. All
    raise BodyRefused. `unchecked`: fields with files not looked at. `not_files`: text, or left empty.
    """

    def __init__(
        self,
        content_type: str,
        receive: Callable[[int], Upload],
        *,
        fields: Collection[str] | None = None,
        max_files: int,
        max_fields: int,
        max_field_bytes: int,
    ) -> None:
        """`content_type`: the request's header. `receive`: opens an upload for the nth part, from 1. `fields`: names of
        those whose files are looked at; None: all. `max_field_bytes`: text that is longer is a file.
        """
        self._receive, self._fields = receive, fields
        self._max_files, self._max_fields, self._max_field_bytes = max_files, max_fields, max_field_bytes
        self._ended: list[ReceivedFile] = []
        self.unchecked: list[str] = []
        self.not_files: list[str] = []
        self._marker = b"--" + boundary_of(content_type)
        self._line = b"\r\n" + self._marker
        self._read: _Reading = FormReader._read_begin
        self._held = b""  # of what came last, and makes sense only with what comes next
        self._parts = self._files = self._other_parts = 0
        self._field = self._filename = ""
        self._is_looked_at = True
        self._text: _PlainText | None = None  # while the part may be text
        self._came = bytearray()  # of a part that is text so far
        self._upload: Upload | None = None
        self._has_data = False

    def write(self, piece: bytes) -> None:
        """Take the next bytes in."""
        data, begin = self._held + piece, 0
        self._held = b""
        size = len(data)
        while begin < size:
            begin = self._read(self, data, begin)

    # Where in a form one is: before its first marker, in a part's headers or its data, behind the last marker. Each of
    # these takes in what it can of the bytes, holds what it can take in only with the next ones, and returns where to
    # go on.

    def _read_begin(self, data: bytes, begin: int) -> int:
        assert begin == 0  # noqa: S101 - what is held makes sense only with what comes next
        if not data.startswith(self._marker[: len(data)]):
            raise BodyRefused(400, "the form must begin with its boundary")
        return self._read_line_end(data, 0, len(self._marker))

    def _read_headers(self, data: bytes, begin: int) -> int:
        # They begin with the end of the marker's line, so that a blank line ends them also where there are none.
        end = data.find(_BLANK_LINE, begin, begin + _MOST_HEADER_BYTES + len(_BLANK_LINE))
        if end < 0:
            if len(data) - begin >= _MOST_HEADER_BYTES + len(_BLANK_LINE):
                raise BodyRefused(400, f"the headers of a part have more than {_MOST_HEADER_BYTES} bytes")
            return self._hold(data, begin)
        lines = data[begin:end]
        if self._marker in lines:
            raise _misplaced_marker()
        self._begin_part(_part(lines))
        self._read = FormReader._read_data
        return end + len(_BLANK_LINE)

    def _read_data(self, data: bytes, begin: int) -> int:
        marker = data.find(self._marker, begin)
        if marker < 0:
            end = len(data)
            last = data[max(begin, end - len(self._line) + 1) :]
            if b"\r" in last or b"-" in last:
                end -= max(_begun(data, begin, self._line), _begun(data, begin, self._marker))
            self._take_data(data, begin, end)
            return self._hold(data, end)
        line = marker - 2
        if line < begin or not data.startswith(self._line, line):
            raise _misplaced_marker()
        self._take_data(data, begin, line)
        return self._read_line_end(data, line, marker + len(self._marker))

    def _read_line_end(self, data: bytes, line: int, end: int) -> int:
        """Read what follows a marker. `line`: where its line begins; `end`: where the marker ends."""
        following = data[end : end + 2]
        if following == b"\r\n":
            is_last = False
        elif following == b"--":
            is_last = True
        elif following in {b"", b"\r", b"-"}:
            return self._hold(data, line)
        else:
            raise _misplaced_marker()
        if self._read is FormReader._read_data:
            self._end_part()
        if is_last:
            self._read = FormReader._read_rest
            return end + 2
        self._read = FormReader._read_headers
        return end

    def _read_rest(self, data: bytes, begin: int) -> int:
        if not b"\r\n".startswith(data[begin:]):
            raise _not_ended()
        return self._hold(data, begin)

    def _hold(self, data: bytes, begin: int) -> int:
        self._held = data[begin:]
        return len(data)

    def end(self) -> None:
        """Take note that the body ends here."""
        if self._read is FormReader._read_begin and not self._held:
            return  # nothing in it can be a file; what it lacks is for the app to say
        # Behind the last marker is the end of its line at most, so that no other parser takes more parts.
        if self._read is not FormReader._read_rest or self._held not in {b"", b"\r\n"}:
            raise _not_ended()

    def take(self) -> list[ReceivedFile]:
        """Return the files that have ended since; whoever takes them decides or closes them."""
        ended, self._ended = self._ended, []
        return ended

    def close(self) -> None:
        """Drop the bytes of files that nobody has taken."""
        self._drop()
        for ended in self.take():
            ended.upload.close()

    def _drop(self) -> None:
        if self._upload is not None:
            self._upload.close()
            self._upload = None

    def _begin_part(self, part: _Part) -> None:
        self._parts += 1
        self._field, self._filename = part.field, part.filename
        self._is_looked_at = self._fields is None or self._field in self._fields
        self._text = None if part.is_file else _PlainText()
        self._has_data = False
        if part.is_file:
            self._begin_file()
        else:
            self._other_parts += 1
            if self._other_parts > self._max_fields:
                raise BodyRefused(413, f"the form has more than {self._max_fields} fields")

    def _begin_file(self) -> None:
        self._files += 1
        if self._files > self._max_files:
            raise BodyRefused(413, f"the form has more than {self._max_files} files")
        if self._is_looked_at:
            self._upload = self._receive(self._parts)

    def _take_data(self, data: bytes, begin: int, end: int) -> None:
        if begin == end:
            return
        piece = data if begin == 0 and end == len(data) else memoryview(data)[begin:end]
        self._has_data = True
        if self._text is None:
            if self._upload is not None:
                self._upload.write(piece)
        elif self._text.goes_on(piece) and len(self._came) + len(piece) <= self._max_field_bytes:
            self._came += piece
        else:
            self._promote(piece)

    def _promote(self, piece: memoryview | bytes) -> None:
        """It is no text after all, or too long for a field: what came so far belongs to a file."""
        self._text = None
        self._begin_file()
        if self._upload is not None:
            self._upload.write(self._came)
            self._upload.write(piece)
        self._came.clear()

    def _end_part(self) -> None:
        if self._text is not None and (not self._text.ends_here() or _is_text_picture(self._came)):
            self._promote(b"")
        self._came.clear()
        # A browser sends a file field that was left empty without a name and without bytes: that is no upload.
        if self._text is not None or not (self._has_data or self._filename):
            self._drop()
            self.not_files.append(self._field)
        elif self._upload is None:
            self.unchecked.append(self._field)
        else:
            self._ended.append(ReceivedFile(field=self._field, filename=self._filename, upload=self._upload))
            self._upload = None


_Reading: TypeAlias = Callable[[FormReader, bytes, int], int]  # what reads on where one is in a form


def _misplaced_marker() -> BodyRefused:
    # Parsers differ in whether it counts without a line of its own, with white space behind it, and with LF only.
    return BodyRefused(400, "the boundary must be on lines of its own that end with CR LF, and occur nowhere else")


def _not_ended() -> BodyRefused:
    return BodyRefused(400, "the form does not end with its boundary; it was cut off, or something follows")


class _Part(NamedTuple):
    """What a part's headers say. `is_file`: whether they name a file, or a type that is no text."""

    field: str
    filename: str
    is_file: bool


def _part(lines: bytes) -> _Part:
    """Read a part's headers, each of which CR LF precedes. Raises BodyRefused for what a parser may read otherwise."""
    headers = _headers(lines[2:])
    kind, parameters = _parameters(headers.get("content-disposition", ""))
    if kind != "form-data" or not parameters.get("name"):
        raise BodyRefused(400, "each part must have a Content-Disposition: form-data with a name")
    if headers.get("content-transfer-encoding", "binary").lower() not in {"7bit", "8bit", "binary"}:
        raise BodyRefused(415, "a part with a Content-Transfer-Encoding is not taken; send it as it is")
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise BodyRefused(415, "a part with a Content-Encoding is not taken; send it as it is")
    media_type = headers.get("content-type", "")
    if "multipart" in media_type.lower():
        raise BodyRefused(415, "a form within a form is not taken; send each file as a part of its own")
    field = parameters["name"]
    if "\\" in field or field != field.strip():  # which Django strips
        raise BodyRefused(400, "the name of a field must not begin or end with white space, nor have a backslash")
    declared = media_type.partition(";")[0].strip(" \t").lower()
    # Wherever it is: some parsers look for it without regard to quotes.
    names_file = "filename" in parameters or _FILENAME.search(headers["content-disposition"]) is not None
    is_file = names_file or bool(declared and not _TEXT_TYPES.fullmatch(declared))
    return _Part(field, parameters.get("filename", parameters.get("filename*", "")), is_file)


def _headers(lines: bytes) -> dict[str, str]:
    """Return a part's headers by name in lower case. Raises BodyRefused for what a parser may read otherwise."""
    headers: dict[str, str] = {}
    for line in lines.split(b"\r\n") if lines else ():
        match = _HEADER.fullmatch(line)
        if match is None or len(line) > _MOST_LINE_BYTES or len(headers) == _MOST_HEADERS:
            raise BodyRefused(400, "the form cannot be read; see RFC 7578")
        name = match[1].decode("ascii").lower()
        try:
            value = match[2].decode("utf-8").strip(" \t")
        except UnicodeDecodeError:
            raise BodyRefused(400, "the headers of a part must be UTF-8") from None
        if name in headers or _NOT_IN_HEADER.search(value):
            raise BodyRefused(400, "a part has a header twice, or one with control characters")
        headers[name] = value
    return headers


class _PlainText:
    """Whether bytes are UTF-8 without control characters: no picture is, but for `_is_text_picture`."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    def goes_on(self, piece: memoryview | bytes) -> bool:
        if _NOT_IN_TEXT.search(piece):
            return False
        try:
            self._decoder.decode(piece)
        except UnicodeDecodeError:
            return False
        return True

    def ends_here(self) -> bool:
        try:
            self._decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
        return True


def _is_text_picture(head: bytes | bytearray) -> bool:
    """Whether text begins as a picture that is written in digits or letters, and that libraries open as any other."""
    is_cut = len(head) == _HEAD_BYTES  # in the middle of a comment, perhaps
    return _TEXT_PICTURE.match(head) is not None or (is_cut and re.match(rb"P[1-3]\s", head) is not None)


def _begun(data: bytes, begin: int, needle: bytes) -> int:
    """Return how many of the last bytes are the needle's first ones; the needle itself is not there."""
    at = data.find(needle[:1], max(begin, len(data) - len(needle) + 1))
    while at >= 0 and not needle.startswith(data[at:]):
        at = data.find(needle[:1], at + 1)
    return len(data) - at if at >= 0 else 0


def is_looked_at(path: str, prefixes: Collection[str] | None, *, mount: str = "") -> bool:
    """Whether a request's path is one of the prefixes or below one, in any case and with any slashes, since frameworks
    differ; None: every path is. `mount`: of the app; prefixes and paths may begin with it or not.
    """
    if prefixes is None:
        return True
    whole, outer = _segments(path), _segments(mount)
    inner = whole[len(outer) :] if whole[: len(outer)] == outer else whole
    paths = (whole, inner, outer + inner)
    return any(some[: len(prefix)] == prefix for prefix in map(_segments, prefixes) for some in paths)


def _segments(path: str) -> list[str]:
    return [segment for segment in path.casefold().split("/") if segment]
