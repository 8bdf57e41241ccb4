"""The hook's settings: what works, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hashhub.errors import InvalidArgument
from hashhub.hook import Action, load_settings

CHOSEN = {
    f"HASHHUB_HOOK_WITHOUT_ANSWER_{name}": "hold"
    for name in ("HUB_AWAY", "UNREADABLE", "TOO_LARGE", "NO_PERCEPTUAL_HASH")
}


def test_the_environment_suffices_and_goes_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "hook.toml"
    file.write_text('policy = "block"\non_match = "hold"\n[recheck]\nseconds = 9\n')
    settings = load_settings(file, {**CHOSEN, "HASHHUB_HOOK_MAX_WAITING": "4", "HASHHUB_HOOK_RECHECK_SECONDS": "1.5"})
    assert (settings.policy, settings.on_match, settings.max_waiting, settings.recheck.seconds) == (
        "block", Action.HOLD, 4, 1.5
    )  # fmt: skip
    assert settings.without_answer.hub_away is Action.HOLD


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ON_MATCH", "allow"),
        ("ANSWER_SECONDS", "nan"),
        ("ANSWER_SECONDS", "0"),
        ("MAX_TOTAL_BYTES", "0"),
        ("CACHE_SECONDS", "-1"),
        ("BREAKER_FAILURES", "0"),
        ("MAX_RECORDS", "many"),
        ("POLICY", ""),
        ("WITHOUT_ANSWER_HUB_AWAY", "perhaps"),
        ("RECHECK_URL", "https://app.example/told"),
    ],
)
def test_values_that_cannot_work_are_refused(name: str, value: Any) -> None:
    environment = {"HASHHUB_HOOK_POLICY": "block", **CHOSEN}
    load_settings(None, environment)
    with pytest.raises(InvalidArgument):
        load_settings(None, {**environment, f"HASHHUB_HOOK_{name}": value})


def test_unknown_keys_and_broken_files_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "hook.toml"
    for text in ('polcy = "block"', "[recheck]\nlink = 1", "policy = ", "recheck = 5", "without_answer = 'hold'"):
        file.write_text(text)
        with pytest.raises(InvalidArgument):
            load_settings(file, {"HASHHUB_HOOK_POLICY": "block", **CHOSEN})
    with pytest.raises(InvalidArgument):
        load_settings(tmp_path / "missing.toml", CHOSEN)
