"""An upload in, a decision out, against a real hub."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hashhub.errors import InvalidArgument
from hashhub.hook import Action, NoAnswer, load_settings
from hashhub.model import Verdict

if TYPE_CHECKING:
    from tests.hook.conftest import Listed, MakeHook


def test_a_listed_upload_is_blocked_however_it_comes(make_hook: MakeHook, listed: Listed, tmp_path: Path) -> None:
    hook = make_hook()
    path = tmp_path / "upload.jpg"
    path.write_bytes(listed.known)
    for upload in (listed.known, path, io.BytesIO(listed.known)):
        decision = hook.check(upload)
        assert (decision.action, decision.verdict) == (Action.BLOCK, Verdict.MATCH), decision
        assert decision.policy.startswith("block@")
    assert hook.check(listed.unknown).action is Action.ALLOW


def test_each_case_without_an_answer_is_as_chosen(make_hook: MakeHook, listed: Listed) -> None:
    away = make_hook(hub="127.0.0.1:9", answer_seconds=0.2)
    decision = away.check(listed.known)
    assert (decision.action, decision.verdict, decision.no_answer) == (
        Action.HOLD,
        Verdict.UNAVAILABLE,
        NoAnswer.HUB_AWAY,
    )
    small = make_hook(max_bytes=1000)
    assert small.check(listed.unknown).no_answer is NoAnswer.TOO_LARGE
    hook = make_hook()
    assert hook.check(listed.known[:3000]).no_answer is NoAnswer.UNREADABLE
    decision = hook.check(b"a text")
    assert (decision.action, decision.no_answer) == (Action.ALLOW, NoAnswer.NO_PERCEPTUAL_HASH)


def test_settings_without_a_choice_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "hook.toml"
    file.write_text('policy = "block"\n[without_answer]\nhub_away = "hold"\nunreadable = "hold"\ntoo_large = "hold"\n')
    with pytest.raises(InvalidArgument, match="no_perceptual_hash"):
        load_settings(file, {})
    settings = load_settings(file, {"HASHHUB_HOOK_WITHOUT_ANSWER_NO_PERCEPTUAL_HASH": "allow"})
    assert settings.without_answer.no_perceptual_hash is Action.ALLOW
