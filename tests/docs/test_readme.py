"""The commands and programs of pages that show some, run as a new user would, in their order, against a real hub."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from hashhub.testing.hub_process import running_hub

ROOT = Path(__file__).parents[2]


class Command(NamedTuple):
    """A line of a page's shell blocks without its comment, how it ends, and how lines that it prints begin."""

    line: str
    ends_with: int
    prints: list[str]


def commands(page: str) -> list[Command]:
    """Return the commands of a page, continued lines joined. A command ends with 0 unless its comment tells; a block
    that is called `text` has lines of what the last command before it prints. A block of Python that is no file is a
    program.
    """
    blocks: list[Command] = []
    for language, file, block in re.findall(
        r"^```(\w*) ?([^\n]*)\n(.*?)^```$", (ROOT / page).read_text("utf-8"), re.DOTALL | re.MULTILINE
    ):
        if language == "text":
            blocks[-1].prints.extend(block.splitlines())
        if language == "python" and not file:
            blocks.append(Command(shlex.join([sys.executable, "-c", block]), 0, []))
        if language:
            continue
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith(("hashhub ", "curl ", "sed ", "export ")):
                end = re.search(r"# ends with ([0-9])", line)
                blocks.append(Command(re.sub(r"\s+# .*$", "", line), int(end[1]) if end else 0, []))
    return blocks


def test_what_is_run_is_what_the_page_shows() -> None:
    day = commands("docs/contribute/analyst.md")
    page = (ROOT / "docs/contribute/analyst.md").read_text("utf-8")
    assert sum(c.line.startswith("hashhub ") for c in day) == len(re.findall(r"^hashhub ", page, re.MULTILINE))
    assert sum(bool(c.prints) for c in day) == len(re.findall(r"^```text$", page, re.MULTILINE)) >= 10


@pytest.mark.usefixtures("warm")
@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("page", "least"),
    [
        ("README.md", 8),
        ("docs/terms.md", 8),
        ("docs/operate/history.md", 8),
        ("docs/match/mirror.md", 8),
        ("docs/match/misp.md", 7),
        ("docs/match/feeds.md", 12),
        ("docs/api.md", 2),
        ("docs/contribute/formats.md", 15),
        ("docs/reconcile/schemes.md", 18),
        ("docs/contribute/analyst.md", 35),
        ("docs/contribute/csv.md", 12),
        ("docs/contribute/export.md", 15),
        ("docs/contribute/entries.md", 18),
        ("docs/reconcile/README.md", 27),
        ("docs/contribute/webhooks.md", 11),
        ("docs/operate/retention.md", 15),
        ("docs/reconcile/conflicts.md", 17),
        ("docs/policies.md", 22),
        ("docs/hook/README.md", 10),
    ],
)
def test_every_command_works_as_written(tmp_path: Path, page: str, least: int) -> None:
    with running_hub(tmp_path / "hashhub-data") as hub:
        environment = {
            **os.environ,
            "HASHHUB_SERVER": hub.address,
        }
        assert len(commands(page)) >= least
        for command, ends_with, prints in commands(page):
            if command.startswith("curl") and not shutil.which("curl"):
                continue
            if command.startswith("export "):  # of the shell that the reader types into
                name, _, value = command.removeprefix("export ").partition("=")
                environment[name] = value
                continue
            line = command.replace(
                "http://127.0.0.1:8471", hub.http if hub.http.startswith("http") else f"http://{hub.http}"
            )
            line = line.replace("127.0.0.1:8470", hub.address)
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
            told = f"{command}\n{done.stdout}\n{done.stderr}"
            assert done.returncode == ends_with, told
            assert "Traceback" not in done.stderr
            printed = [f"{' '.join(one.split())} " for one in done.stdout.splitlines()]
            for one in prints:  # columns have other widths on a page, and a line may be cut between two words
                begins = f"{' '.join(one.split())} "
                assert any(p.startswith(begins) for p in printed), f"{one!r} is not printed by\n{told}"
