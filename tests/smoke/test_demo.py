"""The demonstration: run as `make demo` runs it, its output read as a newcomer would."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from hashhub.testing.demo import main
from tests.patience import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_shows_the_main_job_and_can_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [sys.executable, "-m", "hashhub.testing.demo", "--data", str(tmp_path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert "\x1b" not in done.stdout, "a pipe gets plain text"
    line_by_label = {line.split(":")[0].strip(): line for line in done.stdout.splitlines()}
    for picture, verdicts in {
        "picture 0": ("MATCH", "MATCH"),
        "picture 1": ("MATCH", "MATCH"),
        "picture 14": ("MATCH", "REVIEW"),
        "picture 5": ("MATCH", "REVIEW"),
        "picture 2": ("REVIEW", "REVIEW"),
        "picture 16": ("BENIGN", "BENIGN"),
        "picture 99": ("NO_MATCH", "NO_MATCH"),
    }.items():
        words = line_by_label[picture].split()
        assert tuple(w for w in words if w in {"MATCH", "REVIEW", "BENIGN", "NO_MATCH"})[:2] == verdicts, line_by_label[
            picture
        ]
    assert "Nothing is lost" in done.stdout
    assert "CONFLICT in verdict" in done.stdout
    assert line_by_label["after the withdrawal"].split()[3] == "NO_MATCH"
    # It does not run over what it left there.
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    assert main(["--data", str(tmp_path)]) == 1
    assert "name an empty directory" in " ".join(capsys.readouterr().out.split())
