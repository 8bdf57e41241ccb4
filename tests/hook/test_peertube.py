"""The PeerTube plugin of examples/peertube, in Node.js, at a real sidecar, and at sidecars that are none."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.hook.conftest import Listed, Start

HERE = Path(__file__).parent
PLUGIN = HERE.parents[1] / "examples/peertube"
ACCEPTED = {"accepted": True}
OF_FILES = tuple(f"filter:api.video.{what}.accept.result" for what in ("upload", "update-file", "user-import"))
OF_IMPORTS = tuple(f"filter:api.video.post-import-{what}.accept.result" for what in ("url", "torrent"))
BEFORE_PUBLISHING = "filter:video.auto-blacklist.result"
HOUR = 3_600_000


class PeerTube:
    """A PeerTube that has the plugin."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, hook: str, result: Any, parameters: dict[str, Any], **more: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        step = {"hook": hook, "result": result, "parameters": parameters, **more}
        self._process.stdin.write(f"{json.dumps(step)}\n")
        self._process.stdin.flush()
        said: dict[str, Any] = json.loads(self._process.stdout.readline())
        return said

    def upload(self, file: Path | str, user: int = 1, hook: str = OF_FILES[0]) -> dict[str, Any]:
        return self.run(hook, ACCEPTED, {"videoFile": {"path": str(file)}, "user": {"id": user}})

    def is_blocked(self, user: int = 1, *, before: bool = False, later: int = 0, **changed: Any) -> bool:
        """Is a video that this user brings blocked, where PeerTube itself would say `before`?"""
        asked = {"video": {"id": 7}, "user": {"id": user}, "isRemote": False, "isNew": True, "isNewFile": True}
        said = self.run(BEFORE_PUBLISHING, before, asked | changed, later=later)
        assert said["errors"] == []
        return bool(said["result"])


@contextmanager
def peertube(url: str, **settings: str) -> Iterator[PeerTube]:
    if (node := shutil.which("node")) is None:
        pytest.skip("there is no Node.js on this machine")
    package = json.loads((PLUGIN / "package.json").read_text("utf-8"))
    library = str(PLUGIN / package["library"])
    command = [node, str(HERE / "peertube_hooks.js"), library, json.dumps({"url": url, **settings})]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield PeerTube(process)
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(20) == 0
        finally:
            process.kill()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, listed: Listed) -> dict[str, Path]:
    """Files of which the sidecar says BLOCK, ALLOW and HOLD."""
    made = {}
    directory = tmp_path_factory.mktemp("uploads")
    for action, data in (("BLOCK", listed.known), ("ALLOW", listed.unknown), ("HOLD", listed.known[:3000])):
        made[action] = directory / f"{action}.jpg"
        made[action].write_bytes(data)
    return made


@pytest.fixture(scope="module")
def product(started: Start, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PeerTube]:
    secret = tmp_path_factory.mktemp("secret") / "secret"
    secret.write_text(secret.name * 4, "ascii")
    secret.chmod(0o600)
    with peertube(started(sidecar=f'secret_file = "{secret}"').url, secret=secret.read_text("ascii")) as product:
        yield product


@pytest.mark.parametrize("hook", OF_FILES)
def test_of_a_file_only_block_refuses_and_hold_blocks_the_video(
    product: PeerTube, files: dict[str, Path], hook: str
) -> None:
    user = 10 + OF_FILES.index(hook)
    assert product.upload(files["ALLOW"], user, hook) == {"result": ACCEPTED, "blocked": [], "errors": []}
    assert not product.is_blocked(user)
    refused = product.upload(files["BLOCK"], user, hook)["result"]
    assert refused["accepted"] is False
    assert refused["errorMessage"]
    assert not product.is_blocked(user)  # a refused file says nothing of the next one
    assert product.upload(files["HOLD"], user, hook)["result"] == ACCEPTED
    assert product.is_blocked(user)


@pytest.mark.parametrize("hook", OF_IMPORTS)
def test_of_an_import_only_block_refuses_and_hold_blocks_its_video(
    product: PeerTube, files: dict[str, Path], hook: str
) -> None:
    def imported(action: str, **more: Any) -> dict[str, Any]:
        parameters = {"videoFilePath": str(files[action]), "video": {"id": 7}, "videoFile": {"videoId": 7}}
        return product.run(hook, ACCEPTED, {**parameters, "user": {"id": 2}}, **more)

    assert imported("ALLOW") == {"result": ACCEPTED, "blocked": [], "errors": []}
    assert imported("BLOCK")["result"]["accepted"] is False
    held = imported("HOLD")
    assert held["result"] == ACCEPTED
    assert [(one["videoIdOrUUID"], one["createOptions"]["unfederate"]) for one in held["blocked"]] == [(7, True)]
    again = imported("HOLD", blacklistFails=True)
    assert again["result"] == ACCEPTED
    assert len(again["errors"]) == 1  # told to who runs PeerTube
    assert not product.is_blocked(2)  # others of this user's are not meant


def test_a_hold_is_about_new_videos_of_this_user_for_an_hour(product: PeerTube, files: dict[str, Path]) -> None:
    assert product.is_blocked(3, before=True)  # PeerTube's own answer stays
    product.upload(files["HOLD"], 3)
    assert product.is_blocked(3)
    assert product.is_blocked(3, isNew=False)  # a new file of an old video
    assert not product.is_blocked(4)
    assert not product.is_blocked(3, isNew=False, isNewFile=False)
    assert not product.is_blocked(3, isRemote=True)
    assert not product.is_blocked(3, video={"id": 8, "isLive": True})
    assert product.is_blocked(3, later=HOUR - 60_000)
    assert not product.is_blocked(3, later=HOUR + 60_000)


def test_what_others_refused_is_not_let_in(product: PeerTube, files: dict[str, Path]) -> None:
    refused = {"accepted": False, "errorMessage": "by another plugin"}
    for hook in (*OF_FILES, *OF_IMPORTS):
        parameters = {"videoFile": {"path": str(files["ALLOW"])}, "videoFilePath": str(files["ALLOW"])}
        assert product.run(hook, refused, parameters)["result"] == refused


def test_what_is_no_file_is_held(product: PeerTube, tmp_path: Path) -> None:
    for number, path in enumerate((str(tmp_path / "gone.mp4"), str(tmp_path), "")):
        assert product.upload(path, 20 + number)["result"] == ACCEPTED
        assert product.is_blocked(20 + number)
    said = product.run(OF_FILES[0], ACCEPTED, {"user": {"id": 30}})
    assert said["result"] == ACCEPTED
    assert product.is_blocked(30)


class Impostor(BaseHTTPRequestHandler):
    """Answers what no sidecar does."""

    answers = (
        (200, b'{"action": "block"}'),
        (200, b'{"action": ["BLOCK"]}'),
        (200, b"null"),
        (200, b'{"verdict": "MATCH"}'),
        (200, b"<html>It works!</html>"),
        (200, b""),
        (502, b'{"action": "BLOCK"}'),
        (401, b'{"action": "ALLOW"}'),
        (307, b""),
    )
    end = Event()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        number = int(self.headers["authorization"].rpartition("-")[2])
        if number >= len(self.answers):
            self.end.wait(30)  # too late
        status, body = self.answers[number] if number < len(self.answers) else (200, b'{"action": "ALLOW"}')
        self.send_response(status)
        if status == 307:
            self.send_header("location", "/check")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None: ...


@contextmanager
def impostor() -> Iterator[str]:
    Impostor.end.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Impostor) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            Impostor.end.set()
            server.shutdown()
            thread.join()


def test_without_an_answer_the_video_comes_in_and_is_blocked(started: Start, files: dict[str, Path]) -> None:
    def held(url: str, **settings: str) -> None:
        with peertube(url, **settings) as product:
            assert product.upload(files["ALLOW"])["result"] == ACCEPTED
            assert product.is_blocked()

    with impostor() as url:
        for number in range(len(Impostor.answers)):
            held(url, secret=f"n-{number}")
        held(url, secret=f"n-{len(Impostor.answers)}", seconds="0.5")  # never answers
    held(url)  # nobody listens there now
    held("no address")
