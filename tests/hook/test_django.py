"""The upload handler, the middleware and the form fields in a real Django, by both of its handlers."""

from __future__ import annotations

import hashlib
import json
import socket
import sys
import types
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any, TypeAlias

import pytest

from hashhub.hook import Action, Hook
from hashhub.hook.settings import OnHold
from tests.hook.web import (
    DOUBTED,
    FORM_TYPE,
    LISTED,
    OTHER,
    File,
    Known,
    Reply,
    ask,
    changed,
    form,
    serving_asgi,
    serving_wsgi,
)

Serve: TypeAlias = Callable[[], AbstractContextManager[tuple[str, int]]]


@pytest.fixture(scope="module")
def calls() -> list[str]:
    return []


@pytest.fixture(scope="module")
def project(hook: Hook, calls: list[str]) -> Iterator[None]:
    """Set Django up with views that say what they were given."""
    import django
    from django.conf import settings

    if not settings.configured:
        settings.configure(SECRET_KEY="of tests")  # noqa: S106 - no secret
    from django.test.utils import override_settings

    with override_settings(
        SECRET_KEY="of a test",  # noqa: S106 - no secret
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF="hook_project_urls",
        DEFAULT_CHARSET="utf-8",
        LOGGING_CONFIG=None,
        FILE_UPLOAD_HANDLERS=["hashhub.hook.django.UploadHookHandler"],
        MIDDLEWARE=["hashhub.hook.django.UploadHookMiddleware"],
        HASHHUB_HOOK=hook,
    ):
        django.setup()
        from django import forms
        from django.http import JsonResponse
        from django.urls import clear_url_caches, path

        from hashhub.hook import django as adapter

        class Picture(forms.Form):  # type: ignore[misc]
            picture = adapter.AllowedFileField(required=False, allow_empty_file=True)

        def given(request: Any) -> dict[str, Any]:
            calls.append(request.path)
            return {
                "files": [hashlib.sha256(file.read()).hexdigest() for file in request.FILES.values()],
                "actions": [file.decision and file.decision.action for file in request.FILES.values()],
                "errors": Picture(request.POST, request.FILES).errors,
                "title": request.POST.get("title", ""),
            }

        def view(request: Any) -> Any:
            return JsonResponse(given(request))

        async def later(request: Any) -> Any:
            return JsonResponse(given(request))

        urls = types.ModuleType("hook_project_urls")
        urls.urlpatterns = [path("", view), path("later", later)]  # type: ignore[attr-defined]
        sys.modules["hook_project_urls"] = urls
        clear_url_caches()
        adapter.made_hooks.clear()
        yield
        adapter.made_hooks.clear()
        clear_url_caches()


@pytest.fixture(params=["wsgi", "asgi"])
def serve(request: pytest.FixtureRequest, project: None) -> Serve:
    """Return what serves the project, and closes Django's own files, which it leaves to the collector."""
    from django.core.handlers.asgi import ASGIHandler
    from django.core.handlers.wsgi import WSGIHandler

    if request.param == "wsgi":
        return lambda: serving_wsgi(WSGIHandler())
    return lambda: serving_asgi(ASGIHandler(), lifespan="off")


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def memory() -> int:
    from hashhub.hook import django as adapter

    return adapter.process_hook()[1].taken


def test_each_file_has_its_decision_and_a_listed_one_reaches_no_view(serve: Serve, calls: list[str]) -> None:
    with serve() as address:
        for path in ("/", "/later"):
            calls.clear()
            body = form(File("picture", "a", OTHER), File("b", "b", b"\x00second"), File("title", None, b"text", None))
            given = json.loads(ask(address, body, path=path).body)
            assert given == {
                "files": [digest(OTHER), digest(b"\x00second")],
                "actions": ["ALLOW", "ALLOW"],
                "errors": {},
                "title": "text",
            }
            for refused in (LISTED, DOUBTED):
                reply = ask(address, form(File("a", "a", OTHER), File("picture", "b", refused)), path=path)
                assert (reply.status, set(json.loads(reply.body)["error"])) == (451, {"reason", "message", "reference"})
            assert calls == [path]
    assert memory() == 0


def test_base64_that_django_decodes_is_decided_over_decoded(serve: Serve, calls: list[str]) -> None:
    import base64

    body = form(File("picture", "a", base64.b64encode(LISTED))).replace(
        b"Content-Type: image/jpeg", b"Content-Type: image/jpeg\r\nContent-Transfer-Encoding: base64"
    )
    calls.clear()
    with serve() as address:
        assert (ask(address, body).status, calls) == (451, [])


def test_an_empty_file_is_no_upload(serve: Serve) -> None:
    with serve() as address:
        given = json.loads(ask(address, form(File("picture", "a", b""))).body)
        assert (given["actions"], given["errors"]) == ([None], {})


def test_a_form_of_which_django_reads_nothing_is_the_views(
    request: pytest.FixtureRequest, serve: Serve, calls: list[str]
) -> None:
    calls.clear()
    with serve() as address:
        assert json.loads(ask(address, b"").body)["files"] == []
        # Django takes no chunks under WSGI: it hands an empty form on.
        pieces = iter([form(File("picture", "a", LISTED))])
        reply = ask(address, pieces, says_end="wsgi" in request.node.name)
        assert reply.status == 451 or json.loads(reply.body)["files"] == []
    assert set(calls) == {"/"}


def test_what_is_held_goes_where_the_settings_say_and_fails_the_form(hook: Hook, serve: Serve) -> None:
    with serve() as address:
        with changed(hook, on_hold=OnHold.APP):
            given = json.loads(ask(address, form(File("picture", "a", DOUBTED))).body)
            assert given["actions"] == ["HOLD"]
            assert given["errors"] == {"picture": ["This file was not accepted."]}
        with changed(hook, on_hold=OnHold.KEEP):
            assert ask(address, form(File("picture", "a", DOUBTED))).status == 202


def test_without_the_middleware_a_refused_file_is_missing(project: None, serve: Serve) -> None:
    from django.test.utils import override_settings

    with override_settings(MIDDLEWARE=[]), serve() as address:
        given = json.loads(ask(address, form(File("picture", "a", LISTED), File("b", "b", OTHER))).body)
        assert given["files"] == [digest(OTHER)]


def test_a_file_that_was_not_checked_fails_the_form(project: None) -> None:
    from django.core.exceptions import ValidationError
    from django.core.files.uploadedfile import SimpleUploadedFile

    from hashhub.hook.django import validate_allowed

    with pytest.raises(ValidationError) as refused:
        validate_allowed(SimpleUploadedFile("a", OTHER))
    assert refused.value.code == "not_checked"


def test_a_handler_that_is_not_the_last_is_refused(project: None, calls: list[str]) -> None:
    from django.core.exceptions import ImproperlyConfigured
    from django.test import Client
    from django.test.utils import override_settings

    handlers = [
        "hashhub.hook.django.UploadHookHandler",
        "django.core.files.uploadhandler.MemoryFileUploadHandler",
    ]
    calls.clear()
    for wrong in (handlers, handlers[1:]):
        with override_settings(FILE_UPLOAD_HANDLERS=wrong), pytest.raises(ImproperlyConfigured):
            Client().post("/", form(File("picture", "a", OTHER)), content_type=FORM_TYPE)
    assert calls == []


def test_a_file_that_another_handler_takes_before_reaches_no_view(serve: Serve, calls: list[str]) -> None:
    """As where the hook was added behind Django's own handlers."""
    from django.test.utils import override_settings

    of_django = "django.core.files.uploadhandler."
    hook = "hashhub.hook.django.UploadHookHandler"
    for before in ("MemoryFileUploadHandler", "TemporaryFileUploadHandler"):
        calls.clear()
        with override_settings(FILE_UPLOAD_HANDLERS=[of_django + before, hook]), serve() as address:
            assert ask(address, form(File("picture", "a", LISTED))).status == 500, before
        assert calls == [], before


def test_the_signal_tells_of_each_file(project: None, serve: Serve) -> None:
    from hashhub.hook.django import upload_checked

    told: list[tuple[str, Action]] = []

    def receiver(file: Any, **_: Any) -> None:
        told.append((file.field, file.decision.action))

    upload_checked.connect(receiver)
    try:
        with serve() as address:
            ask(address, form(File("a", "a", OTHER), File("b", "b", LISTED)))
    finally:
        upload_checked.disconnect(receiver)
    assert told == [("a", Action.ALLOW), ("b", Action.BLOCK)]


def test_limits_and_senders_that_go_away(hook: Hook, serve: Serve, calls: list[str]) -> None:
    calls.clear()
    body = form(File("a", "a", OTHER * 30_000))
    with serve() as address:
        with changed(hook, max_request_bytes=1000):
            assert ask(address, body).status == 413
        with changed(hook, max_files=1):
            assert ask(address, form(File("a", "a", OTHER), File("b", "b", OTHER))).status == 413
        for _ in range(3):
            with socket.create_connection(address, timeout=60) as connection:
                head = f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\nContent-Type: {FORM_TYPE}\r\n\r\n"
                connection.sendall(head.encode() + body[:-1000])
        assert ask(address, form(File("a", "a", OTHER))).status == 200
    assert (calls.count("/"), memory()) == (1, 0)


def test_twenty_at_once_each_get_their_own_answer(serve: Serve) -> None:
    contents = [LISTED if number % 4 == 0 else b"\x00%d" % number for number in range(20)]

    with serve() as address, ThreadPoolExecutor(20) as pool:

        def send(content: bytes) -> Reply:
            return ask(address, form(File("a", "a", content)))

        replies = list(pool.map(send, contents))
    for content, reply in zip(contents, replies, strict=True):
        assert reply.status == (451 if content == LISTED else 200)
        if reply.status == 200:
            assert json.loads(reply.body)["files"] == [digest(content)]


@pytest.mark.parametrize("chosen", [Action.ALLOW, Action.HOLD])
def test_without_the_hub_it_is_as_chosen(
    hook: Hook, judge: Known, monkeypatch: pytest.MonkeyPatch, serve: Serve, chosen: Action
) -> None:
    monkeypatch.setattr(judge, "is_away", True)
    with changed(hook, without_answer=chosen), serve() as address:
        assert ask(address, form(File("a", "a", OTHER))).status == (200 if chosen is Action.ALLOW else 451)
