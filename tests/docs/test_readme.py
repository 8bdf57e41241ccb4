"""The commands of pages that show some, run as a new user would, in their order, against a real hub."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hashhub.testing import lists
from hashhub.testing.hub_process import running_hub
from hashhub.testing.pictures import picture

ROOT = Path(__file__).parents[2]


def commands(page: str) -> list[str]:
    """Return the lines of a page's shell blocks, continued lines joined, comments cut."""
    blocks, fence = [], None
    for line in (ROOT / page).read_text("utf-8").splitlines():
        if line.startswith("```"):
            fence = line if fence is None else None
        elif fence == "```":
            blocks.append(line)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [re.sub(r"\s+# .*$", "", line) for line in lines if line.startswith(("hashhub ", "curl "))]


@pytest.mark.timeout(240)
@pytest.mark.parametrize("page", ["README.md", "docs/terms.md"])
def test_every_command_works_as_written(tmp_path: Path, page: str) -> None:
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    picture(1, (160, 120)).save(uploads / "one.png")
    items = lists.random_items(20, seed=5, values=("1", "2"))
    (tmp_path / "list.json").write_bytes(lists.list_file("vics-2.0", items).data)
    with running_hub(tmp_path / "hashhub-data") as hub:
        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "HASHHUB_SERVER": hub.address,
        }
        assert len(commands(page)) >= 15
        for command in commands(page):
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
            assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
            assert "Traceback" not in done.stderr
