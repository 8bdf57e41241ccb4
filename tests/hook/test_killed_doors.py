"""A door that is killed has on record, and in the vault, all that it answered, whatever commands ran beside it."""

from __future__ import annotations

import http.client
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final
from unittest import mock

import pytest

from hashhub.desk.hub import HubAnswer
from hashhub.desk.records import FILE_NAME, Records
from hashhub.desk.vault import Vault
from hashhub.desk.vault_keys import make_key
from hashhub.errors import HashHubError
from hashhub.hook import HookSettings, factory, load_settings, open_hook
from hashhub.hook.archive import FILE_NAME as SCAN_FILE
from hashhub.hook.archive import scan_memory
from hashhub.hook.buckets import BucketWorker, HandledUpload
from hashhub.hook.places import FolderPlace, StoredObject
from hashhub.model import MatchResult, Query, Verdict
from tests.hook.clamd_parts import stream, until_closed
from tests.hook.web import File, ask, form, serving_asgi, serving_wsgi

pytest.importorskip("pyrage", reason="the vault needs the extra hashhub[hook]")

SETTINGS: Final = """
policy = "block"
hub = "127.0.0.1:1"
data = "{place}/hook"
hashing_processes = 1

[without_answer]
hub_away = "hold"
unreadable = "hold"
too_large = "hold"
no_perceptual_hash = "hold"

[vault]
encryption = "key-file"
key_file = "{place}/vault.key"
country = "US"
days_without_report = 90

[sidecar]
tusd_directory = "{place}"

[clamd]
chained = "none"
listen = "127.0.0.1:0"

[bucket]
quarantine = "{place}/incoming"
held = "{place}/held"
public = "{place}/public"
settle_seconds = 0
poll_seconds = 0.1
"""
REFERENCE: Final = re.compile(rb"[0-9a-f]{20}")


class Doubting:
    """A hub that says REVIEW to everything."""

    def __init__(self, settings: HookSettings) -> None:
        pass

    def judge(self, query: Query) -> HubAnswer:
        return HubAnswer(result=MatchResult(verdict=Verdict.REVIEW), policy="block@1", revision=1)

    def connect(self) -> None:
        pass

    def revision(self) -> int:
        return 1

    def close(self) -> None:
        pass


def serve(kind: str, settings: str) -> None:
    """Be a door of this kind: say where it is, and be there until the end."""
    if kind == "api":
        with open_hook(load_settings(Path(settings), {})) as hook:
            _write("{}")
            for line in sys.stdin:
                _write(hook.check(line.encode()).reference)
    elif kind == "bucket":
        # What has no answer yet is asked about again, and on record only then.
        with mock.patch.object(factory, "HubJudge", Doubting), open_hook(load_settings(Path(settings), {})) as hook:

            def tell(handled: HandledUpload) -> None:
                assert handled.decision is not None
                _write(handled.decision.reference)

            with BucketWorker(hook, tell) as worker:
                worker.run(wake=threading.Event(), on_trouble=lambda *_: None)
    elif kind == "asgi":
        from hashhub.hook.asgi import UploadHook as Asgi

        async def never(*_: object) -> None:
            raise AssertionError("held uploads are for nobody")

        with serving_asgi(Asgi(never, settings=settings), lifespan="off") as address:
            _say(address)
    elif kind == "wsgi":
        from hashhub.hook.wsgi import WSGIUploadHook as Wsgi

        with serving_wsgi(Wsgi(lambda *_: [], settings=settings)) as address:
            _say(address)
    else:
        from django.conf import settings as project

        project.configure(
            SECRET_KEY="of a test",  # noqa: S106 - no secret
            ALLOWED_HOSTS=["*"],
            ROOT_URLCONF=__name__,
            FILE_UPLOAD_HANDLERS=["hashhub.hook.django.UploadHookHandler"],
            MIDDLEWARE=["hashhub.hook.django.UploadHookMiddleware"],
            HASHHUB_HOOK=settings,
        )
        from django.core.wsgi import get_wsgi_application
        from django.http import HttpResponse
        from django.urls import path

        globals()["urlpatterns"] = [path("", lambda _: HttpResponse())]
        with serving_wsgi(get_wsgi_application()) as address:
            _say(address)


def _say(address: tuple[str, int]) -> None:
    _write(json.dumps({"listen": f"{address[0]}:{address[1]}"}))
    sys.stdin.read()


def _write(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _line(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], 120)[0]
    line: bytes = process.stdout.readline()
    return line


class Place:
    """A directory with settings, a vault's key, and three folders."""

    def __init__(self, path: Path) -> None:
        self.path, self.data, self.settings = path, path / "hook", path / "hook.toml"
        make_key(path / "vault.key")
        for name in ("incoming", "held", "public"):
            (path / name).mkdir()
        self.settings.write_text(SETTINGS.format(place=path))

    def run(self, *command: str, exit_code: int = 0) -> None:
        """Run a command of the hook beside its doors."""
        arguments = ["hashhub", "hook", *command, "--settings", str(self.settings)]
        done = subprocess.run(arguments, capture_output=True, timeout=120, check=False)
        assert done.returncode == exit_code, done.stderr

    @contextmanager
    def door(self, kind: str) -> Iterator[tuple[subprocess.Popen[bytes], Callable[[bytes], str]]]:
        """Run a door; what is given sends an upload and returns its reference."""
        command = {"sidecar": "serve", "clamd": "clamd"}.get(kind)
        if command:
            arguments = ["-m", "hashhub.cli", "hook", command, "--json", "--settings", str(self.settings)]
        else:
            arguments = ["-c", f"from {__name__} import serve; serve({kind!r}, {str(self.settings)!r})"]
        if kind == "sidecar":
            arguments += ["--listen", "127.0.0.1:0"]
        process = subprocess.Popen(
            [sys.executable, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        try:
            host, port = "", 0
            if kind != "bucket":
                host, _, number = json.loads(_line(process)).get("listen", ":0").rpartition(":")
                port = int(number)

            def send(content: bytes) -> str:
                return self._send(kind, process, (host, port), content)

            yield process, send
        finally:
            process.kill()
            process.communicate(timeout=60)

    def post(self, path: str, content: bytes) -> tuple[int, bytes]:
        """Ask the sidecar that was asked last."""
        with closing(http.client.HTTPConnection(*self._address, timeout=60)) as connection:
            connection.request("POST", path, content)
            answer = connection.getresponse()
            return answer.status, answer.read()

    def _send(self, kind: str, process: subprocess.Popen[bytes], address: tuple[str, int], content: bytes) -> str:
        match kind:
            case "api":
                assert process.stdin is not None
                process.stdin.write(content + b"\n")
                process.stdin.flush()
                answer = _line(process)
            case "bucket":
                (self.path / "incoming" / content.decode()).write_bytes(content)
                answer = _line(process)
            case "clamd":
                with socket.create_connection(address, timeout=60) as connected:
                    connected.sendall(b"zINSTREAM\0" + stream(content))
                    answer = until_closed(connected)
            case "sidecar":
                self._address = address
                answer = self.post("/check", content)[1]
                assert json.loads(answer)["is_kept"] is True
            case _:
                reply = ask(address, form(File("file", "a.bin", content, "application/octet-stream")))
                assert reply.status == 202
                answer = reply.body
        found = REFERENCE.search(answer)
        assert found, answer
        return found[0].decode()


@pytest.fixture
def place(tmp_path: Path, warm: None) -> Place:
    return Place(tmp_path)


@pytest.mark.parametrize("kind", ["api", "sidecar", "clamd", "bucket", "asgi", "wsgi", "django"])
def test_what_a_door_answered_is_there_when_it_was_killed_after_commands(place: Place, kind: str) -> None:
    with place.door(kind) as (process, send):
        told = [send(f"{kind} first {number}".encode()) for number in range(2)]
        place.run("queue", "list")
        told += [send(f"{kind} second {number}".encode()) for number in range(3)]
        place.run("vault", "list")
        told += [send(f"{kind} third {number}".encode()) for number in range(3)]
        place.run("queue", "list")
        process.send_signal(signal.SIGKILL)
        process.wait(60)
    with closing(Records(place.data)) as records:
        assert {reference for (reference,) in records.rows("SELECT reference FROM upload")} == set(told)
        assert records.verify() >= 2 * len(told)
        checked = Vault(records, load_settings(place.settings, {})).check(actor="test")
        assert (checked.opened, checked.items, checked.problems) == (len(told), len(told), ())


def _keeps_its_locks(path: Path) -> bool:
    """Whether SQLite's locks of this process on a database stand, as another process finds."""
    asked = (
        "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); db.execute('SELECT 1 FROM sqlite_master'); db.close()"
    )
    subprocess.run([sys.executable, "-c", asked, str(path)], check=True, timeout=60)
    return path.with_name(f"{path.name}-wal").exists()  # the last one to close removes it


def test_no_database_is_opened_as_an_upload(place: Place) -> None:
    """Uploads are named by paths, too: by apps, by tusd, and by who keeps the hook's data below a place."""
    path = place.data / FILE_NAME
    with open_hook(load_settings(place.settings, {})) as hook:
        hook.check(b"an upload")
        assert _keeps_its_locks(path)
        os.link(path, place.path / "linked")
        (place.path / "symbolic").symlink_to(path)
        for name in ("hook/hook.db", "hook/hook.db-shm", "hook/hook.db-wal", "linked", "symbolic"):
            with pytest.raises(HashHubError, match="has open"):
                hook.check(place.path / name)
        assert _keeps_its_locks(path)


def test_no_database_is_read_as_an_object_of_a_folder(place: Place) -> None:
    with open_hook(load_settings(place.settings, {})) as hook, scan_memory(hook.settings):
        hook.check(b"an upload")
        folder = FolderPlace(str(place.path))
        unread = set()
        for stored in folder.objects():
            assert isinstance(stored, StoredObject)
            try:
                list(folder.read(stored))
            except HashHubError as e:
                assert "has open" in e.message
                unread.add(stored.name)
        names = {f"hook/{name}{end}" for name in (FILE_NAME, SCAN_FILE) for end in ("", "-wal", "-shm")}
        assert unread == names
        assert _keeps_its_locks(place.data / FILE_NAME)


def test_tusd_names_no_database(place: Place) -> None:
    with place.door("sidecar") as (process, send):
        told = [send(b"one upload")]
        body = {"Type": "pre-finish", "Event": {"Upload": {"ID": "1", "Storage": {"Type": "filestore"}}}}
        for name in ("hook.db", "hook.db-shm"):
            body["Event"]["Upload"]["Storage"]["Path"] = str(place.data / name)  # type: ignore[index]
            assert place.post("/tusd", json.dumps(body).encode())[0] == 400
        told.append(send(b"another upload"))
        place.run("queue", "list")
        process.send_signal(signal.SIGKILL)
        process.wait(60)
    with closing(Records(place.data)) as records:
        assert {reference for (reference,) in records.rows("SELECT reference FROM upload")} == set(told)
