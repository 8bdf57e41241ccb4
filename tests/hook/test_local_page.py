"""docs/hook/local.md: its commands run as written, its settings load, its tables are those of a copy."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest

from hashhub.testing.hub_process import running_hub
from tests.docs.test_readme import ROOT, commands
from tests.json_samples import SAMPLES

PAGE: Final = "docs/hook/local.md"


@pytest.mark.usefixtures("warm")
def test_every_command_works_as_written(tmp_path: Path) -> None:
    text = (ROOT / PAGE).read_text("utf-8")
    [settings] = re.findall(r"^```toml hook.toml\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    (tmp_path / "hook.toml").write_text(settings)
    with running_hub(tmp_path / "hashhub-data") as hub:
        environment = {
            **os.environ,
            "HASHHUB_SERVER": hub.address,
            "HASHHUB_HOOK_HUB": hub.address,
        }

        def run(line: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                ["bash", "-c", line],
                cwd=tmp_path,
                env=environment,
                timeout=300,
                capture_output=True,
                text=True,
                check=False,
            )

        listed = commands(PAGE)
        assert len(listed) == 9
        for command, ends_with, _ in listed:
            line = f"timeout 5 {command} || [ $? = 124 ]" if "--follow" in command else command
            done = run(line)
            assert done.returncode == ends_with, f"{command}\n{done.stdout}\n{done.stderr}"
            assert "Traceback" not in done.stderr
        told = run("hashhub hook sync --settings hook.toml --json")
        _fits(json.loads(told.stdout))
        with closing(sqlite3.connect(tmp_path / "hook" / "copy" / "mirror.db")) as c:
            tables = ("journal_page", "journal", "video", "policy")
            for table in tables:
                [described] = re.findall(rf"\*\*{table}\*\*: (.*?)(?:\. |\*\*)", text, re.DOTALL)
                columns = {row[1] for row in c.execute(f"PRAGMA table_info({table})")}
                assert columns <= set(re.findall(r"`(\w+)`", described)), table
            known = {row[0] for row in c.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert set(tables) == known - set(re.findall(r"\*\*(\w+)\*\*", (ROOT / "docs/match/mirror.md").read_text("utf-8")))


def _fits(printed: dict[str, Any]) -> None:
    """The line has the shape of the recorded sample."""
    assert {k: type(v) for k, v in printed.items()} == {k: type(v) for k, v in SAMPLES["hook sync"].items()}
