"""The upload hook in Django: an upload handler, a middleware that answers what is refused, and a form field.

    FILE_UPLOAD_HANDLERS = ["hashhub.hook.django.UploadHookHandler"]
    MIDDLEWARE = [..., "hashhub.hook.django.UploadHookMiddleware"]
    HASHHUB_HOOK = BASE_DIR / "hook.toml"  # or HookSettings, or a Hook
    HASHHUB_ON_HELD = store  # `on_held` of `open_hook`; not needed where the vault keeps what is held
    HASHHUB_UPLOAD_ID = lambda request: …  # the app's own name for an upload: ACCOUNT/UPLOAD

Each file of `request.FILES` was decided over while it came, and has its `decision`. What is refused is not in
`request.FILES` at all; `request.hashhub` (`forms.Uploads`) tells what became of each file. Only what Django itself
parses is looked at: forms that are POSTed. For other bodies use the ASGI or WSGI middleware.
"""

from __future__ import annotations

import threading
from typing import Any, Final

from django import forms as django_forms
from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured, RequestDataTooBig, ValidationError
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler, StopFutureHandlers
from django.dispatch import Signal
from django.http import HttpRequest, HttpResponse, UnreadablePostError

from hashhub.desk.decision import Action, Decision
from hashhub.hook import forms
from hashhub.hook.core import Hook, Upload
from hashhub.hook.factory import ProcessHook
from hashhub.hook.forms import BodyRefused, CheckedFile, ReceivedFile, Uploads
from hashhub.hook.hashing import PIECE_BYTES, UploadBytes
from hashhub.senders import ByteBudget

upload_checked: Final = Signal()
"""Sent once a file is decided over, before the view is called: `request`, and `file`, a `forms.CheckedFile`."""


class RequestRefused(BodyRefused, RequestDataTooBig):
    """A request that is too large; Django answers it with 413 where no middleware of ours does."""


class CheckedUpload(UploadedFile):
    """A file of `request.FILES`, in memory, with its `decision`; None for a file without a byte."""

    def __init__(self, body: UploadBytes, decision: Decision | None, handler: FileUploadHandler) -> None:
        super().__init__(
            file=body.open(),
            name=handler.file_name,
            content_type=handler.content_type,
            size=body.size,
            charset=handler.charset,
            content_type_extra=handler.content_type_extra,
        )
        self.decision = decision
        self._body = body

    def close(self) -> None:
        """Drop the bytes."""
        super().close()
        self._body.drop()


class UploadHookHandler(FileUploadHandler):
    """Decides over each file, and makes it. It must be the last of FILE_UPLOAD_HANDLERS, and alone make files."""

    chunk_size = PIECE_BYTES

    def __init__(self, request: Any = None) -> None:
        super().__init__(request)
        process, self._memory = process_hook()
        self._hook = process.get()
        self._limits = self._hook.settings.app
        self._size = 0
        self._files: list[CheckedFile] = []
        self._upload: Upload | None = None
        self._body: UploadBytes | None = None
        self.is_interrupted = False

    def handle_raw_input(
        self, input_data: Any, META: Any, content_length: int, boundary: Any, encoding: Any = None
    ) -> None:
        """Begin a request. Raises RequestRefused for one that is too large."""
        if self.request.upload_handlers[-1] is not self:
            raise ImproperlyConfigured(
                "UploadHookHandler must be the last of FILE_UPLOAD_HANDLERS: those behind it would get no file"
            )
        if content_length > self._limits.max_request_bytes:
            raise RequestRefused(413, forms.too_large(self._limits.max_request_bytes).message)
        for handler in self.request.upload_handlers[:-1]:
            _let_make_no_file(handler)
        self.request.hashhub = Uploads()
        close = self.request.close

        def close_all() -> None:
            self._drop()
            close()

        self.request.close = close_all  # Django calls it whatever happens, also for a sender that has gone

    def new_file(self, *args: Any, **named: Any) -> None:
        """Begin a file."""
        super().new_file(*args, **named)
        self._drop()
        if len(self._files) >= self._limits.max_files:
            raise RequestRefused(413, f"the form has more than {self._limits.max_files} files")
        name = getattr(django_settings, "HASHHUB_UPLOAD_ID", None)
        self._upload = self._hook.receive(door="django", upload_id=name(self.request) if name is not None else "")
        self._body = UploadBytes(self._memory, self._limits.max_request_bytes - self._size, is_digested=False)
        raise StopFutureHandlers

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        """Take the next bytes in."""
        assert self._upload is not None  # noqa: S101 - Django begins a file first
        assert self._body is not None  # noqa: S101 - likewise
        try:
            forms.write_body(self._body, raw_data)
        except BodyRefused as e:
            raise RequestRefused(e.status, e.message) from e
        self._upload.write(raw_data)

    def file_complete(self, file_size: int) -> CheckedUpload | None:
        """Decide over the file, and return it unless it is refused."""
        upload, body = self._upload, self._body
        if upload is None or body is None:
            return None
        if body.size == 0:
            upload.close()
            decision = None
        else:
            file = ReceivedFile(field=str(self.field_name), filename=str(self.file_name), upload=upload).decide()
            self._files.append(file)
            self.request.hashhub = Uploads(files=tuple(self._files))
            upload_checked.send_robust(sender=type(self), request=self.request, file=file)
            decision = file.decision
            if forms.answer_to(decision, self._limits) is not None:
                self._drop()
                return None
        self._size += body.size
        self._upload = self._body = None
        return CheckedUpload(body, decision, self)

    def upload_interrupted(self) -> None:
        """Drop what came of a file whose sender has gone."""
        self.is_interrupted = True
        self._drop()

    def _drop(self) -> None:
        if self._upload is not None:
            self._upload.close()
        if self._body is not None:
            self._body.drop()
        self._upload = self._body = None


class UploadHookMiddleware:
    """Answers in the view's place when a form has a file that is refused."""

    def __init__(self, get_response: Any) -> None:
        """Raises HashHubError when the settings or what they name cannot be used: the server then does not start."""
        self._get_response = get_response
        self._process, _ = process_hook()

    def __call__(self, request: HttpRequest) -> Any:
        """Go on. With the first request of any kind the hook begins to start."""
        self._process.get()
        return self._get_response(request)

    def process_view(self, request: HttpRequest, *_: Any) -> HttpResponse | None:
        """Let Django read the form, and refuse it or let the view have it."""
        # Django reads forms of other methods neither here nor in the view.
        if request.method != "POST" or request.content_type != "multipart/form-data":
            return None
        try:
            request.FILES  # noqa: B018 - reads the form
            if getattr(request.upload_handlers[-1], "is_interrupted", False):
                raise UnreadablePostError
        except BodyRefused as e:
            answer: forms.RefusalResponse | None = forms.answer_to_refused(e)
        except UnreadablePostError:
            answer = forms.answer_to_refused(BodyRefused(400, "the body was cut off"))
        else:
            if not any(isinstance(handler, UploadHookHandler) for handler in request.upload_handlers):
                raise ImproperlyConfigured("UploadHookMiddleware needs UploadHookHandler in FILE_UPLOAD_HANDLERS")
            # Of a form without a length Django asks no handler, and hands no file on.
            uploads = getattr(request, "hashhub", Uploads())
            answer = forms.answer_to(uploads.severest, self._process.get().settings.app)
        if answer is None:
            return None
        response = HttpResponse(answer.body, status=answer.status)
        for name, value in answer.headers:
            response[name] = value
        return response


def validate_allowed(upload: Any) -> None:
    """Raise ValidationError unless the hook allows this upload; also for one that it has not decided over."""
    while upload is not None and not isinstance(upload, CheckedUpload):
        upload = getattr(upload, "file", None)  # of a model's field: what is being stored
    if upload is None:
        raise ValidationError("This file was not checked.", code="not_checked")
    if upload.size and (upload.decision is None or upload.decision.action is not Action.ALLOW):
        raise ValidationError("This file was not accepted.", code="upload_refused")


class AllowedFileField(django_forms.FileField):
    """A form's file field that takes only what the hook allows."""

    default_validators = [validate_allowed]  # noqa: RUF012 - as Django writes it


class AllowedImageField(django_forms.ImageField):
    """A form's image field that takes only what the hook allows."""

    default_validators = [*django_forms.ImageField.default_validators, validate_allowed]  # noqa: RUF012 - likewise


def start(*, wait_seconds: float = 0.0) -> None:
    """Begin to start before the first request. `wait_seconds`: see `Hook.start`. Raises HashHubError."""
    process, _ = process_hook()
    process.get().start(wait_seconds=wait_seconds)


_lock: Final = threading.Lock()
made_hooks: list[tuple[ProcessHook, ByteBudget]] = []


def process_hook() -> tuple[ProcessHook, ByteBudget]:
    """Return the hook that the settings name, and the memory of request bodies."""
    with _lock:
        if not made_hooks:
            given = getattr(django_settings, "HASHHUB_HOOK", None)
            own = (None, given, getattr(django_settings, "HASHHUB_ON_HELD", None))
            process = ProcessHook(given, None) if isinstance(given, Hook) else ProcessHook(*own)
            made_hooks.append((process, ByteBudget(process.settings.app.max_total_bytes)))
        return made_hooks[0]


def _let_make_no_file(handler: FileUploadHandler) -> None:
    """Have a handler before ours raise ImproperlyConfigured for a file: Django would then not ask ours."""
    complete = handler.file_complete

    def completed(file_size: int) -> None:
        made = complete(file_size)
        if made is not None:
            made.close()
            raise ImproperlyConfigured(
                f"{type(handler).__name__} of FILE_UPLOAD_HANDLERS makes files, which UploadHookHandler then never "
                "sees; remove it: UploadHookHandler makes the files itself"
            )

    handler.file_complete = completed
