"""The hook's settings: what works, and what is refused."""

from __future__ import annotations

import os
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


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('mode = "LOKAL"', "hook.toml: mode must be ONLINE or LOCAL, got 'LOKAL'; did you mean LOCAL?"),
        ('moed = "LOCAL"', "hook.toml: moed is unknown; did you mean mode?"),
        ("max_waiting = 'many'", "hook.toml: max_waiting must be a whole number, got 'many'"),
        ("[vault]\nencription = 'off'", "hook.toml: vault.encription is unknown; did you mean encryption?"),
        ("[sidecar]\nstatus = '451'", "hook.toml: sidecar.status must be ALWAYS_200 or 451_ON_BLOCK, got '451'"),
        ("[case]\npeople = 'ann'", "hook.toml: case.people must be a list"),
        ("recheck = 5", "hook.toml: recheck must be a section of its own: [recheck]"),
        ("[queue]\nover_http = 'perhaps'", "hook.toml: queue.over_http must be true or false, got 'perhaps'"),
        ("[sidecar]\nmax_parts = 0", "hook.toml: sidecar.max_parts must be at least 1, got 0"),
    ],
)
def test_an_error_names_the_file_the_setting_and_what_may_stand_there(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "hook.toml"
    file.write_text(text)
    with pytest.raises(InvalidArgument) as refused:
        load_settings(file, {"HASHHUB_HOOK_POLICY": "block", **CHOSEN})
    assert f"{tmp_path}/{said}" in str(refused.value)
    assert "`" not in str(refused.value), "nothing of the library's own words"


def test_a_file_that_was_written_on_windows_is_read(tmp_path: Path) -> None:
    file = tmp_path / "hook.toml"
    file.write_bytes(b'\xef\xbb\xbfpolicy = "block"\r\n')
    assert load_settings(file, CHOSEN).policy == "block"


def test_a_section_has_no_variable_of_the_environment(tmp_path: Path) -> None:
    """The environment of a process takes offence at a name that is none, as a dictionary does not."""
    file = tmp_path / "hook.toml"
    file.write_text("recheck = 5\n")
    with pytest.raises(InvalidArgument, match=r"hook\.toml: recheck must be a section of its own"):
        load_settings(file, os.environ)


def test_only_what_may_stand_there_is_offered(tmp_path: Path) -> None:
    file = tmp_path / "hook.toml"
    file.write_text('policy = "block"\non_match = "quarantine"\n')
    with pytest.raises(InvalidArgument, match="on_match must be HOLD or BLOCK, got 'quarantine'"):
        load_settings(file, {})


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    file = tmp_path / "hook.toml"
    file.write_text('effort = "thoroug"\n[without_answer]\nhub_away = "hodl"\n')
    with pytest.raises(InvalidArgument) as refused:
        load_settings(file, {"HASHHUB_HOOK_MAX_WAITING": "4,5"})
    assert [violation.field for violation in refused.value.violations] == [
        "policy",
        *(f"without_answer.{name}" for name in ("hub_away", "unreadable", "too_large", "no_perceptual_hash")),
        *("effort", "max_waiting"),
    ]
    assert "without_answer.unreadable is missing; it must be ALLOW, HOLD or BLOCK" in str(refused.value)
    assert "HASHHUB_HOOK_MAX_WAITING must be a whole number, got '4,5'" in str(refused.value)


@pytest.mark.parametrize("name", ["MOED", "MAX_WAITNG", "WITHOUT_ANSWER_HUBAWAY", "SIDECAR_LISTN"])
def test_a_misspelt_variable_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgument, match=f"HASHHUB_HOOK_{name} is unknown; did you mean HASHHUB_HOOK_"):
        load_settings(None, {"HASHHUB_HOOK_POLICY": "block", **CHOSEN, f"HASHHUB_HOOK_{name}": "1"})


@pytest.mark.parametrize(
    "name",
    ["SETTINGS", "PERSON_FILE", "URL", "SECRET", "SECRET_FILE", "SERVICE_HOST", "SERVICE_PORT", "PORT", "PORT_8472_TCP",
     "PORT_8472_TCP_ADDR", "SERVICE_PORT_HTTP", "SIDECAR_SERVICE_HOST", "SIDECAR_PORT", "SIDECAR_PORT_8472_TCP_PROTO",
     "CLAMD_SERVICE_PORT", "CLAMD_PORT_3310_TCP"],
)  # fmt: skip
def test_a_variable_that_is_somebody_elses_is_let_be(name: str) -> None:
    load_settings(None, {"HASHHUB_HOOK_POLICY": "block", **CHOSEN, f"HASHHUB_HOOK_{name}": "tcp://10.0.0.1:1"})
