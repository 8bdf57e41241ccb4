"""The commands of pages that show some, run as a new user would, in their order, against a real hub."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hashhub.testing.hub_process import running_hub

ROOT = Path(__file__).parents[2]


def commands(page: str) -> list[tuple[str, int]]:
    """Return the lines of a page's shell blocks, continued lines joined, comments cut; and how each ends, 0 unless its
    comment tells.
    """
    blocks, fence = [], None
    for line in (ROOT / page).read_text("utf-8").splitlines():
        if line.startswith("```"):
            fence = line if fence is None else None
        elif fence == "```":
            blocks.append(line)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    ends = re.compile(r"# ends with ([0-9])")
    return [
        (re.sub(r"\s+# .*$", "", line), int(m[1]) if (m := ends.search(line)) else 0)
        for line in lines
        if line.startswith(("hashhub ", "curl ", "sed "))
    ]


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("page", "least"),
    [
        ("README.md", 8),
        ("docs/terms.md", 8),
        ("docs/history.md", 8),
        ("docs/mirror.md", 8),
        ("docs/api.md", 2),
        ("docs/formats-forensic.part.md", 8),
        ("docs/formats.md", 15),
        ("docs/csv.md", 12),
        ("docs/export.md", 15),
        ("docs/entries.md", 18),
    ],
)
def test_every_command_works_as_written(tmp_path: Path, page: str, least: int) -> None:
    with running_hub(tmp_path / "hashhub-data") as hub:
        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "HASHHUB_SERVER": hub.address,
        }
        assert len(commands(page)) >= least
        for command, ends_with in commands(page):
            if command.startswith("curl") and not shutil.which("curl"):
                continue
            line = command.replace(
                "http://127.0.0.1:8471", hub.http if hub.http.startswith("http") else f"http://{hub.http}"
            )
            seconds = 60
            if "--follow" in line:
                line, seconds = f"timeout 3 {line} || [ $? = 124 ]", 30
            done = subprocess.run(
                ["bash", "-c", line],
                cwd=tmp_path,
                env=environment,
                timeout=seconds,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == ends_with, f"{command}\n{done.stdout}\n{done.stderr}"
            assert "Traceback" not in done.stderr
