"""`hashhub hook init` and `check`: settings that are written as they are chosen, and refused where they are not."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hashhub.cli import main
from hashhub.hook import Action, load_settings
from hashhub.hook.settings import Hashing

CHOSEN = ("--policy", "block", "--hub-away", "hold", "--unreadable", "hold", "--too-large", "block")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["hook", "init", *arguments])


def test_a_file_that_a_hook_reads_is_written(tmp_path: Path) -> None:
    out = tmp_path / 'my "hook".toml'
    done = run(
        *(*CHOSEN, "--no-perceptual-hash", "allow", "--out", str(out), "--hashing", "hub"),
        *("--server", "hub.example:8470", "--token-file", 'C:\\"a"'),
    )
    assert done.exit_code == 0, done.output
    settings = load_settings(out, {})
    chosen = settings.without_answer
    assert (chosen.hub_away, chosen.too_large, chosen.no_perceptual_hash) == (Action.HOLD, Action.BLOCK, Action.ALLOW)
    assert (settings.hub, settings.token_file, settings.hashing) == ("hub.example:8470", 'C:\\"a"', Hashing.HUB)
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    before = out.read_text()
    assert run(*CHOSEN, "--no-perceptual-hash", "block", "--out", str(out)).exit_code == 1
    assert out.read_text() == before


@pytest.mark.parametrize("left_out", range(0, len(CHOSEN), 2))
def test_nothing_is_chosen_for_you(tmp_path: Path, left_out: int) -> None:
    out = tmp_path / "hook.toml"
    arguments = (*CHOSEN, "--no-perceptual-hash", "allow")
    done = run(*arguments[:left_out], *arguments[left_out + 2 :], "--out", str(out))
    assert done.exit_code == 2
    assert arguments[left_out] in done.output
    assert not out.exists()


def test_values_that_would_break_the_file_are_refused(tmp_path: Path) -> None:
    out = tmp_path / "hook.toml"
    done = run(*CHOSEN, "--no-perceptual-hash", "allow", "--out", str(out), "--data", 'a"\nhub = "evil:1')
    assert done.exit_code == 1
    assert not out.exists()
