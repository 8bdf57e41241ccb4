"""The pages about cases, reports and countries: their commands run, their claims have sources."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from hashhub.hook import Action
from hashhub.hook.cases import rules
from hashhub.hook.decision import Checked, Decision
from hashhub.hook.records import Records
from hashhub.hook.settings import load
from hashhub.model import Verdict, now
from hashhub.testing.hub_process import running_hub
from tests.docs.test_readme import commands

ROOT = Path(__file__).parents[2]
HEADINGS = (
    "Whom to report to",
    "What to keep and how long",
    "Intimate images",
    "What not to do",
    "Not verified",
)
COUNTRIES = re.split(r"^## ", (ROOT / "docs/countries.md").read_text("utf-8"), flags=re.MULTILINE)[1:]


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("page", "least"), [("docs/hook-cases.md", 12), ("docs/hook-reports.md", 6)])
def test_every_command_works_as_written(tmp_path: Path, page: str, least: int) -> None:
    text = (ROOT / page).read_text("utf-8")
    tables = re.findall(r"^```toml (\S+)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    with running_hub(tmp_path / "hashhub-data") as hub:
        for file, table in tables:
            (tmp_path / file).write_text(table.replace("127.0.0.1:8470", hub.address), "utf-8")
        load(tmp_path / "hook.toml", {})
        if "report draft" in text:  # what the page says is on record
            _keep(tmp_path / "hashhub-hook")
        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "HASHHUB_SERVER": hub.address,
            "HASHHUB_TOKEN": hub.token,
        }
        assert len(commands(page)) >= least
        for command, ends_with, _ in commands(page):
            if command.startswith("export "):
                name, _, value = command.removeprefix("export ").partition("=")
                environment[name] = value
                continue
            done = subprocess.run(
                ["bash", "-c", command], cwd=tmp_path, env=environment, timeout=60, capture_output=True, text=True,
                check=False,
            )  # fmt: skip
            assert done.returncode == ends_with, f"{command}\n{done.stdout}\n{done.stderr}"
            assert "Traceback" not in done.stderr
    if page == "docs/hook-cases.md":
        assert "Complete." in (tmp_path / "record.md").read_text("utf-8")


def _keep(directory: Path) -> None:
    records = Records(directory)
    reference = "0123456789abcdef0123"
    checked = Checked(
        decision=Decision(action=Action.BLOCK, verdict=Verdict.MATCH, reasons=(), reference=reference),
        time=now(),
        door="api",
    )
    records.write(
        "INSERT INTO upload VALUES (?, ?, 'BLOCKED', 'api', '', ?)",
        (reference, now().isoformat(), msgspec.msgpack.encode(checked)),
    )
    records.close()


@pytest.mark.parametrize("country", COUNTRIES, ids=lambda text: text.partition("\n")[0])
def test_each_country_has_the_headings_and_each_claim_a_source(country: str) -> None:
    parts = re.split(r"^### ", country, flags=re.MULTILINE)
    assert tuple(part.partition("\n")[0] for part in parts[1:]) == HEADINGS
    for part in parts[1:]:
        heading, _, body = re.sub(r"\n +", " ", part).partition("\n")
        lines = [line for line in body.splitlines() if line]
        assert lines, heading
        for line in lines:
            assert line.startswith("- "), line
            if heading != "Not verified" and not line.startswith("- Nothing was found with a source"):
                assert re.search(r"\]\((https?://\S+|hook-reports\.md\S*)\)$", line), line


def test_countries_are_for_legal_review_and_the_rules_have_their_sources_there() -> None:
    text = (ROOT / "docs/countries.md").read_text("utf-8")
    assert re.search(r"For legal review, as of \d{4}-\d{2}-\d{2}", text)
    for rule in rules().values():
        if rule.source.startswith("http"):
            assert rule.source in text, rule.name


def test_the_page_of_cases_names_every_command_of_its_group() -> None:
    from hashhub.cli.hook.cases import case_group

    text = (ROOT / "docs/hook-cases.md").read_text("utf-8")
    for name in case_group.commands:
        assert f"hook case {name}" in text or f"`{name}`" in text, name
