"""The hook's doors before a hub: a listed picture gets through none of them, and another one through all."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from click.testing import CliRunner
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from hashhub.cli import main
from hashhub.hook import Action, NoAnswer
from hashhub.hook.asgi import UploadHook
from hashhub.testing.hub_process import running_sidecar
from tests.hook.clamd_parts import stream, until_closed
from tests.hook.conftest import hook_toml
from tests.hook.web import File, ask, form, serving_asgi

if TYPE_CHECKING:
    from tests.hook.conftest import Listed, MakeHook


def test_no_listed_picture_reaches_an_asgi_app(make_hook: MakeHook, listed: Listed) -> None:
    uploads: list[bytes] = []

    async def take(request: Request) -> PlainTextResponse:
        uploads.append(await request.body())
        return PlainTextResponse("taken")

    app = UploadHook(Starlette(routes=[Route("/", take, methods=["POST"])]), hook=make_hook())
    with serving_asgi(app) as address:
        refused = ask(address, form(File("a", "a.jpg", listed.unknown), File("b", "b.jpg", listed.known)))
        assert (refused.status, uploads) == (451, [])
        assert ask(address, form(File("a", "a.jpg", listed.unknown))).status == 200
    assert len(uploads) == 1


def test_what_gets_no_answer_is_as_chosen(make_hook: MakeHook, listed: Listed) -> None:
    away = make_hook(hub="127.0.0.1:1", answer_seconds=1.0).check(listed.unknown)
    assert (away.action, away.no_answer) == (Action.HOLD, NoAnswer.HUB_AWAY)
    unreadable = make_hook().check(listed.unknown[:3000])
    assert (unreadable.action, unreadable.no_answer) == (Action.HOLD, NoAnswer.UNREADABLE)


def test_a_sidecar_decides(listed: Listed, tmp_path: Path) -> None:
    with (
        running_sidecar(hook_toml(tmp_path, listed)) as sidecar,
        httpx.Client(base_url=sidecar.url, timeout=60.0) as client,
    ):
        assert client.post("/check", content=listed.known).json()["action"] == "BLOCK"
        assert client.post("/check", content=listed.unknown).json()["action"] == "ALLOW"
        held = client.post("/check", content=listed.known[:3000]).json()
        assert (held["action"], held["no_answer"]) == ("HOLD", "UNREADABLE")


def test_clients_of_clamd_are_answered(listed: Listed, tmp_path: Path) -> None:
    settings = hook_toml(tmp_path, listed)
    settings.write_text(settings.read_text() + '\n[clamd]\nchained = "none"\nlisten = "127.0.0.1:0"\n')
    command = [sys.executable, "-m", "hashhub.cli", "hook", "clamd", "--json", "--settings", str(settings)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        host, _, port = json.loads(process.stdout.readline())["listen"].rpartition(":")
        answers = []
        for content in (listed.known, listed.unknown):
            with socket.create_connection((host, int(port)), timeout=60) as connection:
                connection.sendall(b"zINSTREAM\0" + stream(content))
                answers.append(until_closed(connection))
        process.terminate()
    assert answers[0].endswith(b" FOUND\0")
    assert answers[1] == b"stream: OK\0"


def test_a_folder_is_watched(listed: Listed, tmp_path: Path) -> None:
    settings = hook_toml(tmp_path, listed)
    places = "".join(f'{name} = "{tmp_path / name}"\n' for name in ("quarantine", "held", "public"))
    settings.write_text(f"{settings.read_text()}\n[bucket]\n{places}settle_seconds = 0\n")
    for name, content in (("known.jpg", listed.known), ("other.jpg", listed.unknown)):
        (tmp_path / "quarantine").mkdir(exist_ok=True)
        (tmp_path / "quarantine" / name).write_bytes(content)
    for name in ("held", "public"):
        (tmp_path / name).mkdir()
    done = run("hook", "watch", "--once", "--settings", settings)
    assert done.exit_code == 0, done.output
    assert [p.name for p in (tmp_path / "public").iterdir()] == ["other.jpg"]


def test_a_copy_of_the_lists_answers_without_the_hub(listed: Listed, tmp_path: Path) -> None:
    settings = hook_toml(tmp_path, listed, top='mode = "local"\n')
    (tmp_path / "hook.token").write_text(listed.mirror_token)
    done = run("hook", "sync", "--once", "--settings", settings)
    assert done.exit_code == 0, done.output
    settings.write_text(settings.read_text().replace(listed.hub.address, "127.0.0.1:1"))
    decided = []
    for name, content in (("known.jpg", listed.known), ("other.jpg", listed.unknown)):
        (tmp_path / name).write_bytes(content)
        done = run("hook", "check", "--json", "--settings", settings, tmp_path / name)
        decided.append(json.loads(done.stdout)["decision"]["action"])
    assert decided == ["BLOCK", "ALLOW"]


def test_a_mirror_holds_what_its_token_may_hold(listed: Listed, tmp_path: Path) -> None:
    environment = {"HASHHUB_SERVER": listed.hub.address, "HASHHUB_TOKEN": listed.mirror_token}
    for _ in range(2):  # from the beginning, and what came since
        done = run("mirror", tmp_path / "copy", "--once", "--json", environment=environment)
        assert done.exit_code == 0, done.output
    assert json.loads(done.stdout.splitlines()[-1])["entries"] == 4


def run(*arguments: Any, environment: dict[str, str] | None = None) -> Any:
    return CliRunner().invoke(main, [str(a) for a in arguments], env=environment, catch_exceptions=False)
