"""The upload hook as WSGI middleware: Flask, Bottle, Pyramid, Django and any other.

    app.wsgi_app = WSGIUploadHook(app.wsgi_app, settings=Path("hook.toml"))

The app gets a request once each of its files is decided over, and never one that is refused. What was decided is in
`environ["hashhub"]` (`forms.Uploads`), and as headers in `HTTP_HASHHUB_ACTION` and `HTTP_HASHHUB_REFERENCE`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from itertools import chain
from typing import IO, Any, Final, TypeAlias

from hashhub.hook.factory import UploadMiddleware
from hashhub.hook.forms import (
    BodyRefused,
    CheckedFile,
    RefusalResponse,
    RequestIntake,
    Uploads,
    answer_to,
    answer_to_refused,
    is_looked_at,
    sender_pace,
    too_large,
    too_slow,
)
from hashhub.hook.hashing import PIECE_BYTES
from hashhub.senders import SenderPace

Environ: TypeAlias = dict[str, Any]
App: TypeAlias = Callable[[Any, Any], Iterable[bytes]]

_OWN_VARIABLES: Final = "HTTP_HASHHUB_"
KEY: Final = "hashhub"
"""Where in the environ the decisions are."""


class WSGIUploadHook(UploadMiddleware):
    """WSGI middleware that decides over uploads before the app gets them."""

    _app: App

    def start(self, *, wait_seconds: float = 0.0) -> None:
        """Begin to start before the first request. `wait_seconds`: see `Hook.start`."""
        self.process.get().start(wait_seconds=wait_seconds)

    def close(self) -> None:
        """Close the hook of this process unless it was given."""
        self.process.close()

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one request."""
        hook = self.process.get()
        for name in [name for name in environ if name.upper().replace("-", "_").startswith(_OWN_VARIABLES)]:
            del environ[name]  # by these a sender would speak as the hook
        if not is_looked_at(_path(environ, "PATH_INFO"), self._paths, mount=_path(environ, "SCRIPT_NAME")):
            return self._app(environ, start_response)
        try:
            length = self._length(environ)
            pace = sender_pace(self._limits)
            pieces = _pieces(environ["wsgi.input"], length, is_ended=_is_ended(environ))
            if not length:
                first = next(pieces, b"")
                if not first:
                    environ[KEY] = Uploads(app=self._limits)
                    return self._app(environ, start_response)
                pieces = chain((first,), pieces)
            intake = RequestIntake(
                hook,
                self.memory,
                door="wsgi",
                content_types=[environ["CONTENT_TYPE"]] if environ.get("CONTENT_TYPE") else [],
                content_encodings=[environ.get("HTTP_CONTENT_ENCODING", "")],
                fields=self._fields,
                upload_id=self._upload_id(environ) if self._upload_id is not None else "",
            )
            try:
                return self._handled(environ, start_response, intake, self._take_in(intake, pieces, pace))
            except BaseException:
                intake.close()
                raise
        except BodyRefused as e:
            return _send(answer_to_refused(e), start_response)

    def _length(self, environ: Environ) -> int | None:
        """Return how many bytes the body has; None if that is known at its end only. Raises BodyRefused."""
        text = environ.get("CONTENT_LENGTH") or ""
        if text:
            if not (text.isascii() and text.isdigit()):
                raise BodyRefused(400, "the Content-Length is no number")
            if int(text) > self._limits.max_request_bytes:
                raise too_large(self._limits.max_request_bytes)
        if environ.get("HTTP_TRANSFER_ENCODING", "identity").strip().lower() != "identity":
            # Beside chunks a length says nothing: servers end the body where they do, or apps read them themselves.
            if _is_ended(environ):
                return None
            raise BodyRefused(411, "this server takes no body in chunks; send it whole, with a Content-Length")
        if text:
            return int(text)
        return None if _is_ended(environ) else 0  # HTTP/2 needs no length either

    def _handled(
        self, environ: Environ, start_response: Callable[..., Any], intake: RequestIntake, files: list[CheckedFile]
    ) -> Iterable[bytes]:
        uploads = Uploads(files=tuple(files), unchecked=tuple(intake.unchecked), app=self._limits)
        answer = answer_to(uploads.severest, self._limits)
        if answer is not None:
            intake.close()
            return _send(answer, start_response)
        environ[KEY] = uploads
        if uploads.severest is not None:
            environ["HTTP_HASHHUB_ACTION"] = str(uploads.severest.action)
            environ["HTTP_HASHHUB_REFERENCE"] = uploads.severest.reference
        environ["wsgi.input"] = intake.open_body()
        environ["wsgi.input_terminated"] = True
        environ["CONTENT_LENGTH"] = str(intake.body.size)
        environ.pop("HTTP_TRANSFER_ENCODING", None)
        return _AppAnswer(self._app(environ, start_response), intake)

    def _take_in(self, intake: RequestIntake, pieces: Iterable[bytes], pace: SenderPace) -> list[CheckedFile]:
        files: list[CheckedFile] = []
        for piece in pieces:
            if pace.came(len(piece)) <= 0:
                raise too_slow()
            intake.write(piece)
            files += [ended.decide() for ended in intake.take()]
            pace.wait()
        intake.end()
        return files + [ended.decide() for ended in intake.take()]


def _is_ended(environ: Environ) -> bool:
    """Whether the server shows where the body ends. Elsewhere a read behind the end can wait for ever."""
    return bool(environ.get("wsgi.input_terminated"))


def _pieces(stream: IO[bytes], length: int | None, *, is_ended: bool) -> Iterator[bytes]:
    """Give the body in pieces: all that an app can read. `length`: None: to its end. Raises BodyRefused."""
    count = 0
    while is_ended or length is None or count < length:
        try:
            piece = stream.read(PIECE_BYTES if is_ended or length is None else min(PIECE_BYTES, length - count))
        except OSError as e:
            raise BodyRefused(400, "the body was cut off") from e
        if not piece:
            break
        count += len(piece)
        yield piece
    if length is not None and count < length:
        raise BodyRefused(400, "the body is shorter than its Content-Length")


def _path(environ: Environ, name: str) -> str:
    """Return a path of the environ as text: WSGI has each of its bytes as a character of its own (PEP 3333)."""
    return str(environ.get(name, "")).encode("latin-1", "replace").decode("utf-8", "replace")


class _AppAnswer:
    """An app's answer; the body's memory is freed with it."""

    def __init__(self, answer: Iterable[bytes], intake: RequestIntake) -> None:
        self._answer, self._intake = answer, intake

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._answer)

    def close(self) -> None:
        try:
            close = getattr(self._answer, "close", None)
            if close is not None:
                close()
        finally:
            self._intake.close()


def _send(answer: RefusalResponse, start_response: Callable[..., Any]) -> Iterable[bytes]:
    try:
        phrase = HTTPStatus(answer.status).phrase
    except ValueError:  # a status of the settings that no standard names
        phrase = "Refused"
    start_response(f"{answer.status} {phrase}", list(answer.headers))
    return [answer.body]
