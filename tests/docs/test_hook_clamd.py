"""docs/hook/clamd.md, followed literally, with the real clamd where the page has it; and the command's end."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hashhub.hook.settings import ClamdSettings
from hashhub.testing.hub_process import running_hub
from tests.docs.test_handbook import Reader, blocks, free_port
from tests.hook.clamd_parts import RealClamd

ROOT = Path(__file__).parents[2]


class Operator(Reader):
    """Somebody who follows the page, and leaves the door open while going on."""

    doors: list[subprocess.Popen[bytes]]
    told: dict[str, str]

    def run(self, text: str) -> None:
        if not text.startswith("hashhub hook clamd "):
            super().run(text)
            return
        log = (self.directory / "door.log").open("ab")
        with log:
            door = subprocess.Popen(
                [sys.executable, "-m", "hashhub.cli", *text.split()[1:], "--json"],
                stdout=subprocess.PIPE,
                stderr=log,
                env=self.environment,
                cwd=self.directory,
            )
        self.doors.append(door)
        assert door.stdout is not None
        line = door.stdout.readline()
        assert line, (self.directory / "door.log").read_text("utf-8")
        self.told = json.loads(line)
        self.ran += 1

    def close(self) -> None:
        """Stop the door as an operator does, and see that it ends well."""
        for door in self.doors:
            door.send_signal(signal.SIGTERM)
            with door:
                ended = door.wait(180)
            assert ended == 0, (self.directory / "door.log").read_text("utf-8")


@pytest.mark.usefixtures("warm")
@pytest.mark.timeout(240)
def test_the_page_works_as_written(tmp_path: Path) -> None:
    (tmp_path / "clamd").mkdir()
    real = RealClamd(tmp_path / "clamd")
    real.start()
    try:
        with running_hub(tmp_path / "hashhub-data") as hub:
            port = free_port()
            reader = Operator(
                "hook-clamd",
                tmp_path,
                {"/run/clamav/clamd.ctl": real.path, "3310": str(port)},
                HASHHUB_SERVER=hub.address,
                HASHHUB_HOOK_HUB=hub.address,
                HASHHUB_HOOK_ANSWER_SECONDS="20",
                HASHHUB_HOOK_CLAMD_LISTEN=f"127.0.0.1:{port}",
            )
            reader.doors = []
            try:
                reader.follow(blocks("hook/clamd"))
            finally:
                reader.close()
            assert reader.told == {"listen": f"127.0.0.1:{port}", "socket": "", "chained": real.path}
            assert reader.ran == 3
    finally:
        real.stop()


def test_the_page_has_every_setting_and_its_default() -> None:
    page = (ROOT / "docs/hook/clamd.md").read_text("utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \| .* \|$", page.split("\n## Settings\n")[1], re.MULTILINE))
    usual = ClamdSettings()
    assert rows.keys() == set(ClamdSettings.__struct_fields__)
    for name, said in rows.items():
        default = getattr(usual, name)
        if said == "none: choose":
            assert not default
        else:
            assert json.loads(said.strip("`")) == (default.lower() if isinstance(default, str) else default), name
