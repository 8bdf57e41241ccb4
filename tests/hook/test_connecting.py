"""The first upload finds the hub connected: what takes long the first time is done before."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
from click.testing import CliRunner

from hashhub.cli import main
from hashhub.hook import Action, NoAnswer, open_hook
from hashhub.hook.examiner import query_of_nothing
from hashhub.testing.hub_process import running_sidecar
from tests.hook.conftest import hook_toml
from tests.relay import slow_way_to

if TYPE_CHECKING:
    from collections.abc import Callable

    from hashhub.hook import HookSettings
    from tests.hook.conftest import Listed

SECONDS = 1.0  # for an answer


def test_a_hook_that_starts_connects_before_an_upload_comes(
    make_settings: Callable[..., HookSettings], listed: Listed
) -> None:
    with slow_way_to(listed.hub.address) as way, open_hook(make_settings(hub=way.address)) as hook:
        assert way.connections == 0  # what is opened may be forked yet
        way.opens.set()
        hook.start()
        while hook.judge.revision() == 0:  # until an answer came
            time.sleep(0.01)
        assert way.connections == 1
        assert hook.check(query_of_nothing()).action is Action.ALLOW
        assert way.connections == 1


def test_an_upload_after_connecting_does_not_pay_for_it(
    make_settings: Callable[..., HookSettings], listed: Listed
) -> None:
    with slow_way_to(listed.hub.address) as way:
        settings = make_settings(hub=way.address, answer_seconds=SECONDS)
        with open_hook(settings) as hook:
            assert hook.check(query_of_nothing()).no_answer is NoAnswer.HUB_AWAY  # what would else come of it
            threading.Timer(1.5 * SECONDS, way.opens.set).start()
            hook.connect()
            assert way.opens.is_set()
            assert hook.check(query_of_nothing()).no_answer is NoAnswer.NO_PERCEPTUAL_HASH


def test_without_a_hub_connecting_ends_at_once(make_settings: Callable[..., HookSettings]) -> None:
    with open_hook(make_settings(hub="127.0.0.1:1")) as hook:
        hook.connect()
        assert hook.check(query_of_nothing()).no_answer is NoAnswer.HUB_AWAY


def test_the_command_waits_for_the_connection(listed: Listed, tmp_path: Path) -> None:
    with slow_way_to(listed.hub.address) as way:
        file = hook_toml(tmp_path, listed, top=f"answer_seconds = {SECONDS}")
        file.write_text(file.read_text("utf-8").replace(listed.hub.address, way.address))
        (tmp_path / "notes.txt").write_text("neither a picture nor a video")
        threading.Timer(1.5 * SECONDS, way.opens.set).start()
        command = ["hook", "check", "--json", "--settings", str(file), str(tmp_path / "notes.txt")]
        done = CliRunner().invoke(main, command, catch_exceptions=False)
    assert json.loads(done.stdout)["decision"]["verdict"] == "NO_MATCH", done.output


def test_the_sidecar_opens_once_the_hub_is_connected_and_without_one_all_the_same(
    listed: Listed, tmp_path: Path, warm: None
) -> None:
    file = hook_toml(tmp_path, listed, top=f"answer_seconds = {SECONDS}")
    told = file.read_text("utf-8")
    with slow_way_to(listed.hub.address) as way:
        way.opens.set()
        file.write_text(told.replace(listed.hub.address, way.address))
        with running_sidecar(file):
            assert way.connections == 1
    with slow_way_to(listed.hub.address) as way:
        file.write_text(told.replace(listed.hub.address, way.address))
        with running_sidecar(file) as sidecar:
            answer = httpx.post(f"{sidecar.url}/check", content=b"a text", timeout=60.0)
            assert answer.json()["no_answer"] == "HUB_AWAY"
