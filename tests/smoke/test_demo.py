"""The demonstration: run as `make demo` runs it, its output read as a newcomer would."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def demo(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hashhub.testing.demo", *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=240)


def test_shows_the_main_job_and_can_be_kept(tmp_path: Path) -> None:
    done = demo("--data", tmp_path)
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
    again = demo("--data", tmp_path)
    assert again.returncode == 1
    assert "name an empty directory" in again.stdout
