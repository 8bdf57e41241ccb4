"""docs/hook-clamd.md, followed literally, with the real clamd where the page has it; and the command's end."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hashhub.hook.settings import ClamdSettings
from hashhub.testing.hub_process import running_hub
from tests.docs.test_handbook import Reader, blocks, free_port
from tests.hook.clamd_parts import RealClamd

ROOT = Path(__file__).parents[2]
PAGE = "hook-clamd"


@contextmanager
def opened(reader: Reader, line: str) -> Iterator[dict[str, str]]:
    """The door: what the page's command runs."""
    program, *arguments = line.split()
    assert program == "hashhub"
    log = reader.directory / "door.log"
    with (
        log.open("ab") as errors,
        subprocess.Popen(
            [sys.executable, "-m", "hashhub.cli", *arguments, "--json"],
            stdout=subprocess.PIPE,
            stderr=errors,
            env=reader.environment,
            cwd=reader.directory,
        ) as process,
    ):
        try:
            assert process.stdout is not None
            told = process.stdout.readline()
            assert told, log.read_text("utf-8")
            yield json.loads(told)
        finally:
            process.send_signal(signal.SIGTERM)
            ended = process.wait(60)
    assert ended == 0, log.read_text("utf-8")


@pytest.mark.timeout(240)
def test_the_page_works_as_written(tmp_path: Path) -> None:
    (tmp_path / "clamd").mkdir()
    real = RealClamd(tmp_path / "clamd")
    real.start()
    try:
        with running_hub(tmp_path / "hashhub-data") as hub:
            port = free_port()
            reader = Reader(
                PAGE,
                tmp_path,
                {"/run/clamav/clamd.ctl": real.path, "3310": str(port)},
                HASHHUB_SERVER=hub.address,
                HASHHUB_HOOK_HUB=hub.address,
                HASHHUB_HOOK_ANSWER_SECONDS="20",
                HASHHUB_HOOK_CLAMD_LISTEN=f"127.0.0.1:{port}",
            )
            every = blocks(PAGE)
            [at] = [i for i, block in enumerate(every) if block.first.startswith("hashhub hook clamd")]
            reader.follow(every[:at])
            with opened(reader, every[at].text) as told:
                assert told == {"listen": f"127.0.0.1:{port}", "socket": "", "chained": real.path}
                reader.follow(every[at + 1 :])
            assert reader.ran == 2
    finally:
        real.stop()


def test_the_page_has_every_setting_and_its_default() -> None:
    page = (ROOT / f"docs/{PAGE}.md").read_text("utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \| .* \|$", page.split("\n## Settings\n")[1], re.MULTILINE))
    usual = ClamdSettings()
    assert rows.keys() == set(ClamdSettings.__struct_fields__)
    for name, said in rows.items():
        default = getattr(usual, name)
        if said == "none: choose":
            assert not default
        else:
            assert json.loads(said.strip("`")) == (default.lower() if isinstance(default, str) else default), name
