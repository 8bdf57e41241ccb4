"""What is held at the doors for Python apps is kept, and the app is told of it and of what becomes of it."""

from __future__ import annotations

import asyncio
import io
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import IO, Any, Final

import msgspec
import pytest
from click.testing import CliRunner
from starlette.responses import Response
from starlette.routing import Route, Router

from hashhub.cli import main
from hashhub.desk.decision import DecisionRecord, FollowUp
from hashhub.desk.queue.rulings import Rulings
from hashhub.desk.queue.view import RulingCode
from hashhub.desk.records import Records, UploadState
from hashhub.desk.settings import Encryption, VaultSettings
from hashhub.desk.vault_keys import make_key
from hashhub.errors import FailedPrecondition, HashHubError
from hashhub.hashes import Hash
from hashhub.hook import Action, Hook, HookSettings, load_settings, open_hook
from hashhub.hook.asgi import UploadHook as AsgiHook
from hashhub.hook.decorator import UploadRefused, checked_upload
from hashhub.hook.factory import open_vault
from hashhub.hook.settings import AppSettings, OnHold
from hashhub.hook.wsgi import WSGIUploadHook as WsgiHook
from tests.hook.conftest import HELD, Listed, jpeg
from tests.hook.web import File, ask, form, serving_asgi, serving_wsgi

UPLOAD: Final = b"\0some bytes that nobody could look at"


@pytest.fixture
def settings(tmp_path: Path) -> HookSettings:
    """Of a hook whose hub is away, so that each upload is held."""
    return HookSettings(
        policy="block", hub="127.0.0.1:1", data=str(tmp_path / "hook"), without_answer=HELD, hashing_processes=1
    )


class Store:
    """An app's own store."""

    def __init__(self) -> None:
        self.kept: list[tuple[DecisionRecord, bytes]] = []
        self.is_full = False

    def __call__(self, checked: DecisionRecord, content: IO[bytes] | None) -> None:
        if self.is_full:
            raise OSError("no room")
        self.kept.append((checked, content.read() if content is not None else b""))


async def never(*_: Any) -> None:
    raise AssertionError("what is held is for nobody")


class TestNobodyLosesWithoutAWord:
    def test_no_adapter_opens_by_default_where_nothing_keeps_what_is_held(self, settings: HookSettings) -> None:
        pytest.importorskip("fastapi")
        from hashhub.hook.fastapi import checked

        with open_hook(settings) as hook:
            opening: tuple[Callable[[], object], ...] = (
                lambda: AsgiHook(never, settings=settings),
                lambda: AsgiHook(never, hook=hook),
                lambda: WsgiHook(never, settings=settings),
                lambda: WsgiHook(never, hook=hook),
                lambda: checked("file", hook=hook),
                lambda: checked_upload(argument="file", hook=hook),
                lambda: checked_upload(argument="file", hook=lambda: hook)(lambda file: file)(b"an upload"),
            )
            for opens in opening:
                with pytest.raises(FailedPrecondition, match="would be lost"):
                    opens()

    @pytest.mark.parametrize("on_hold", [OnHold.REFUSE, OnHold.APP])
    def test_what_was_chosen_opens(self, settings: HookSettings, on_hold: OnHold) -> None:
        chosen = HookSettings(policy="block", data=settings.data, without_answer=HELD, app=AppSettings(on_hold=on_hold))
        with closing(WsgiHook(never, settings=chosen)):
            pass

    def test_init_says_it_in_capitals(self, tmp_path: Path) -> None:
        out = tmp_path / "hook.toml"
        chosen = ["--policy", "block", "--hub-away", "hold", "--unreadable", "hold", "--too-large", "hold"]
        line = ["hook", "init", *chosen, "--no-perceptual-hash", "allow", "--out", str(out)]
        done = CliRunner().invoke(main, line, catch_exceptions=False)
        assert done.exit_code == 0
        assert "UPLOADS THAT ARE HELD ARE REFUSED, AND NOBODY KEEPS THEM" in done.stderr
        assert "UPLOADS THAT ARE HELD ARE REFUSED" in out.read_text()
        assert load_settings(out, {}).app.on_hold is OnHold.REFUSE


class TestTheAppsOwnStore:
    def test_it_has_what_is_held_before_the_sender_is_told(self, settings: HookSettings) -> None:
        store = Store()
        wrapped = AsgiHook(never, settings=settings, on_held=store, upload_id=lambda scope: f"account-7{scope['path']}")
        with serving_asgi(wrapped, lifespan="off") as address:
            reply = ask(address, form(File("file", "a.bin", UPLOAD, "application/octet-stream")))
            assert reply.status == 202
            [(checked, content)] = store.kept
            assert content == UPLOAD
            assert checked.decision.reference.encode() in reply.body
            assert checked.upload_id == "account-7/"
            store.is_full = True
            assert ask(address, form(File("file", "a.bin", UPLOAD + b"2", "application/octet-stream"))).status == 503
        wrapped.process.close()

    def test_it_has_what_is_held_in_every_other_way(self, settings: HookSettings) -> None:
        store = Store()
        wrapped = WsgiHook(never, settings=settings, on_held=store)
        with closing(wrapped), serving_wsgi(wrapped) as address:
            assert ask(address, form(File("file", "a.bin", UPLOAD, "application/octet-stream"))).status == 202
        with open_hook(settings, on_held=store) as hook:
            take = checked_upload(argument="file", hook=hook)(lambda file: file)
            with pytest.raises(UploadRefused) as refused:
                take(io.BytesIO(UPLOAD))
            decision = hook.check(UPLOAD, upload_id="photo 7")
        assert [content for _, content in store.kept] == [UPLOAD] * 3
        references = [checked.decision.reference for checked, _ in store.kept]
        assert references[1:] == [refused.value.decision.reference, decision.reference]
        assert store.kept[2][0].upload_id == "photo 7"


@pytest.mark.parametrize("does", ["release", "confirm"])
def test_the_app_is_told_what_a_person_decided(settings: HookSettings, tmp_path: Path, does: str) -> None:
    make_key(tmp_path / "vault.key")
    vault = VaultSettings(
        encryption=Encryption.KEY_FILE, key_file=str(tmp_path / "vault.key"), country="US", days_without_report=9
    )
    kept = HookSettings(
        policy="block", hub="127.0.0.1:1", data=settings.data, without_answer=HELD, vault=vault, hashing_processes=1
    )
    told: list[FollowUp] = []
    with open_hook(kept, on_recheck=told.append) as hook:
        assert hook.keeps_uploads
        decision = hook.check(UPLOAD, upload_id="photo 7")
        assert (decision.action, decision.is_kept) == (Action.HOLD, True)
        with closing(Records(Path(kept.data))) as records:  # as a command does
            rulings = Rulings(records, kept)
            if does == "release":
                state = rulings.release(decision.reference, code=RulingCode.DIFFERENT_PICTURE, actor="ann")
            else:
                state = rulings.confirm(decision.reference, actor="ann")
        assert state is (UploadState.RELEASED if does == "release" else UploadState.REMOVED)
        hook.recheck()
    [one] = told
    assert (one.reference, one.upload_id, one.before) == (decision.reference, "photo 7", Action.HOLD)
    assert one.action is (Action.ALLOW if does == "release" else Action.BLOCK)


class TestCheck:
    """The app's own code, without an adapter."""

    def test_it_keeps_what_is_held(self, settings: HookSettings, tmp_path: Path) -> None:
        make_key(tmp_path / "vault.key")
        vault = VaultSettings(
            encryption=Encryption.KEY_FILE, key_file=str(tmp_path / "vault.key"), country="US", days_without_report=9
        )
        kept = msgspec.structs.replace(settings, vault=vault)
        contents = [b"\0" + bytes([i]) * 9 for i in range(6)]
        path = tmp_path / "upload"
        path.write_bytes(contents[1])

        async def pieces() -> AsyncIterator[bytes]:
            yield contents[4]

        with open_hook(kept) as hook:
            decisions = [
                hook.check(contents[0]),
                hook.check(path),
                hook.check(io.BytesIO(contents[2])),
                asyncio.run(hook.acheck(contents[3])),
                asyncio.run(hook.acheck(pieces())),
            ]
            with hook.receive() as upload:
                upload.write(contents[5])
                decisions.append(upload.decide())
            assert {(d.action, d.is_kept) for d in decisions} == {(Action.HOLD, True)}
            with closing(Records(Path(kept.data))) as records:
                opened = open_vault(kept, records)
                assert opened is not None
                assert {item.reference for item in opened.items()} == {d.reference for d in decisions}
            # Of hashes there is nothing that could be kept.
            decision = hook.check([Hash("MD5", bytes(16))])
            assert (decision.action, decision.is_kept) == (Action.HOLD, False)
            again = hook.check([Hash("MD5", bytes(16))], earlier=decision.reference)
            assert (again.reference, again.is_kept) == (decision.reference, False)

    @pytest.mark.parametrize(("on_hold", "is_kept"), [(OnHold.KEEP, False), (OnHold.APP, True), (OnHold.REFUSE, True)])
    def test_it_says_what_is_left_to_its_caller(self, settings: HookSettings, on_hold: OnHold, is_kept: bool) -> None:
        with open_hook(msgspec.structs.replace(settings, app=AppSettings(on_hold=on_hold))) as hook:
            decision = hook.check(UPLOAD)
            assert (decision.action, decision.is_kept) == (Action.HOLD, is_kept)
            assert hook.state_of(decision.reference) is UploadState.UNANSWERED


class TestStart:
    @pytest.mark.parametrize("lifespan", ["auto", "on"])
    @pytest.mark.parametrize("wrong", ["hub_awya = 'hold'", "policy = 7", "token_file = '/nowhere'", ""])
    def test_fastapi_does_not_start_with_broken_settings(self, tmp_path: Path, wrong: str, lifespan: str) -> None:
        pytest.importorskip("fastapi")
        choices = "hub_away = 'hold'\nunreadable = 'hold'\ntoo_large = 'hold'\nno_perceptual_hash = 'hold'\n"
        policy = "" if "policy" in wrong else "policy = 'block'\n"
        (tmp_path / "hook.toml").write_text(f"{wrong}\n{policy}[without_answer]\n{choices}")  # "": it keeps nothing
        (tmp_path / "fast.py").write_text(
            textwrap.dedent("""
                from fastapi import FastAPI
                from hashhub.hook.asgi import UploadHook

                app = FastAPI()
                app.add_middleware(UploadHook, settings="hook.toml")
            """)
        )
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        line = [sys.executable, "-m", "uvicorn", "fast:app", "--port", str(port), "--lifespan", lifespan]
        done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode != 0
        assert "the upload hook: " in done.stderr
        assert "Uvicorn running" not in done.stderr

    def test_where_no_start_is_told_an_app_that_is_wrapped_does_not_start(self, tmp_path: Path) -> None:
        (tmp_path / "plain.py").write_text(
            "from hashhub.hook.asgi import UploadHook\napp = UploadHook(None, settings='nowhere.toml')\n"
        )
        line = [sys.executable, "-m", "uvicorn", "plain:app", "--port", "0", "--lifespan", "off"]
        done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode != 0
        assert "nowhere.toml" in done.stderr
        assert "Uvicorn running" not in done.stderr

    @pytest.mark.parametrize("door", [AsgiHook, WsgiHook], ids=["asgi", "wsgi"])
    def test_an_app_that_is_wrapped_where_it_is_written_raises_it_there(self, door: Any, tmp_path: Path) -> None:
        with pytest.raises(HashHubError):
            door(never, settings=tmp_path / "nowhere.toml")

    def test_where_the_server_says_nothing_of_its_start_each_request_fails(self, tmp_path: Path) -> None:
        async def made() -> AsgiHook:
            return AsgiHook(never, settings=tmp_path / "nowhere.toml")

        wrapped = asyncio.run(made())
        with pytest.raises(HashHubError):
            asyncio.run(wrapped({"type": "http"}, never, never))  # type: ignore[arg-type]

    def test_django_does_not_start_with_broken_settings(self, tmp_path: Path) -> None:
        pytest.importorskip("django")
        code = """
            from django.conf import settings
            settings.configure(MIDDLEWARE=["hashhub.hook.django.UploadHookMiddleware"], HASHHUB_HOOK="nowhere.toml")
            from django.core.wsgi import get_wsgi_application
            get_wsgi_application()
        """
        line = [sys.executable, "-c", textwrap.dedent(code)]
        done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode != 0
        assert "cannot be read" in done.stderr

    @pytest.mark.parametrize("door", ["wsgi", "asgi", "django"])
    def test_nothing_is_shared_with_workers_that_are_forked_once_the_app_is_loaded(
        self, door: str, tmp_path: Path
    ) -> None:
        pytest.importorskip("django")
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(FORKING), door], cwd=tmp_path, capture_output=True, text=True,
            timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == ["1", "thread", "202", "202"], done.stderr

    @pytest.mark.parametrize("door", ["wsgi", "asgi"])
    def test_the_first_upload_takes_as_long_as_the_next(
        self, door: str, make_settings: Callable[..., HookSettings], listed: Listed
    ) -> None:
        settings = make_settings(app=AppSettings(on_hold=OnHold.REFUSE))

        def is_warm(seeds: range) -> bool:
            wsgi = WsgiHook(lambda _, start: (start("200 OK", []), [b""])[1], settings=settings)
            asgi = AsgiHook(Router([Route("/", _empty, methods=["GET", "POST"])]), settings=settings)
            wsgi.start(wait_seconds=10.0) if door == "wsgi" else None
            with closing(wsgi), serving_wsgi(wsgi) if door == "wsgi" else serving_asgi(asgi) as address:
                seconds = []
                for seed in seeds:
                    began = time.monotonic()
                    assert ask(address, jpeg(seed), headers=[("Content-Type", "image/jpeg")]).status == 200
                    seconds.append(time.monotonic() - began)
            return seconds[0] < 5 * max(seconds[1:]) + 0.3  # of a cold start: seconds

        # A cold start is cold each time; a machine that stands still for a moment is not.
        assert any(is_warm(range(first, first + 6)) for first in (200, 210, 220))

    def test_where_no_start_is_told_the_first_request_is_one(self, settings: HookSettings) -> None:
        wrapped = AsgiHook(Router([Route("/", _empty)]), settings=settings, on_held=Store())
        with serving_asgi(wrapped, lifespan="off") as address:
            assert ask(address, method="GET").status == 200
            hook = wrapped.process.get()
            [child] = _children(hook)
            until = time.monotonic() + 60
            while not child.cpu_seconds:
                assert time.monotonic() < until
                time.sleep(0.01)
        wrapped.process.close()

    def test_once_it_has_started_every_child_has_hashed(self, settings: HookSettings) -> None:
        with Hook(settings, judge=Nobody()) as hook:
            hook.start(wait_seconds=2.0)
            assert hook.hashing is not None
            children = _children(hook)
            assert len(children) == 1
            assert all(child.cpu_seconds > 0 for child in children)
            seconds = [child.cpu_seconds for child in children]
            hook.start(wait_seconds=2.0)
            assert [child.cpu_seconds for child in _children(hook)] == seconds, "it starts once"

    def test_a_picture_is_taken_the_whole_way_once_the_hub_is_there(
        self, make_settings: Callable[..., HookSettings]
    ) -> None:
        with open_hook(make_settings()) as hook:
            hook.start(wait_seconds=60.0)
            until = time.monotonic() + 60
            while not len(hook.examiner.answers) and time.monotonic() < until:
                time.sleep(0.01)
            assert len(hook.examiner.answers)
            assert hook.counts == {}
            assert hook.records is not None
            assert hook.records.rows("SELECT 1 FROM upload") == []


FORKING: Final = """
    import asyncio, io, os, sys, threading
    from hashhub.hook import Action, HookSettings, WithoutAnswer
    from hashhub.hook.asgi import UploadHook as AsgiHook
    from hashhub.hook.wsgi import WSGIUploadHook as WsgiHook

    held = WithoutAnswer(**dict.fromkeys(("hub_away", "unreadable", "too_large", "no_perceptual_hash"), Action.HOLD))
    settings = HookSettings(policy="block", hub="127.0.0.1:1", data="hook", without_answer=held, hashing_processes=1)
    keep = lambda *_: None
    kind = "multipart/form-data; boundary=b"
    body = b'--b\\r\\nContent-Disposition: form-data; name="f"; filename="f"\\r\\n\\r\\n\\0bytes\\r\\n--b--\\r\\n'
    if sys.argv[1] == "wsgi":
        app = WsgiHook(None, settings=settings, on_held=keep)
    elif sys.argv[1] == "asgi":
        app = AsgiHook(None, settings=settings, on_held=keep)
    else:
        from types import ModuleType
        from django.conf import settings as project
        from django.urls import path
        urls = ModuleType("urls")
        urls.urlpatterns = [path("", lambda request: None)]
        project.configure(
            SECRET_KEY="of a test", ALLOWED_HOSTS=["*"], ROOT_URLCONF=urls, HASHHUB_HOOK=settings,
            FILE_UPLOAD_HANDLERS=["hashhub.hook.django.UploadHookHandler"], HASHHUB_ON_HELD=keep,
            MIDDLEWARE=["hashhub.hook.django.UploadHookMiddleware"],
        )
        from django.core.wsgi import get_wsgi_application
        app = get_wsgi_application()

    def status():
        if sys.argv[1] != "asgi":
            said = []
            environ = {
                "REQUEST_METHOD": "POST", "PATH_INFO": "/", "CONTENT_TYPE": kind, "CONTENT_LENGTH": str(len(body)),
                "wsgi.input": io.BytesIO(body), "SERVER_NAME": "app", "SERVER_PORT": "80", "wsgi.url_scheme": "http",
            }
            app(environ, lambda status, headers, *_: said.append(status[:3]))
            return said[0]
        headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
        sent = []

        async def receive():
            return {"type": "http.request", "body": body}

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "http_version": "1.1", "method": "POST", "path": "/", "headers": headers}
        asyncio.run(app(scope, receive, send))
        return sent[0]["status"]

    print(threading.active_count(), "thread", flush=True)
    for worker in range(2):
        if not os.fork():
            os.write(1, b"%d\\n" % int(status()))  # whole, beside the other's
            os._exit(0)
    for worker in range(2):
        os.wait()
"""


async def _empty(_request: Any) -> Response:
    return Response()


class Nobody:
    def judge(self, query: object) -> Any:
        raise FailedPrecondition("nobody is asked")

    def revision(self) -> int:
        return 0

    def close(self) -> None:
        pass


def _children(hook: Hook) -> list[Any]:
    pool = hook.hashing.pool  # type: ignore[union-attr]
    children = [pool.children.get(timeout=60) for _ in range(pool.size)]
    for child in children:
        pool.children.put(child)
    return children
