"""The pages about cases, reports and countries: their commands run, their claims have sources."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hashhub.desk.cases.clocks import rules
from tests.desk.test_reports import SCHEMA
from tests.hook.guide import needs_hub, steps

if TYPE_CHECKING:
    from tests.hook.guide import Reader

ROOT = Path(__file__).parents[2]
HEADINGS = (
    "Whom to report to",
    "What to keep and how long",
    "Intimate images",
    "What not to do",
    "Not verified",
)
COUNTRIES = re.split(r"^## ", (ROOT / "docs/hook/countries.md").read_text("utf-8"), flags=re.MULTILINE)[1:]


@pytest.mark.timeout(240)
def test_cases_are_as_told(reader: Reader) -> None:
    for step in steps((ROOT / "docs/hook/cases.md").read_text("utf-8")):
        reader.follow(step)
    assert "Complete." in (reader.work / "record.md").read_text("utf-8")


def test_a_hub_is_started_for_guides_that_ask_one_and_for_no_other() -> None:
    """The page about cases shows what is done where none runs."""
    asking = {path.stem for path in (ROOT / "docs/hook").glob("*.md") if needs_hub(steps(path.read_text("utf-8")))}
    assert asking == {"README", "clamd", "local", "python", "sidecar"}


@pytest.mark.timeout(240)
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed here")
def test_reports_are_as_told(reader: Reader) -> None:
    for step in steps((ROOT / "docs/hook/reports.md").read_text("utf-8")):
        reader.follow(step)
    for directory in ("us", "gb", "ca", "hotline"):
        assert list((reader.work / directory).glob("*.draft.*")), directory
    [report] = (reader.work / "us").glob("*-report.draft.xml")
    SCHEMA.validate(str(report))
    evidence = json.loads((reader.work / "evidence/evidence.json").read_text("utf-8"))
    assert "nl/known" in json.dumps(evidence)


@pytest.mark.parametrize("country", COUNTRIES, ids=lambda text: text.partition("\n")[0])
def test_each_country_has_the_headings_and_each_claim_a_source(country: str) -> None:
    _, *parts = re.split(r"^- \*\*(.*?)\*\*: ", re.sub(r"\n +", " ", country), flags=re.MULTILINE)
    assert tuple(parts[::2]) == HEADINGS
    for heading, body in zip(parts[::2], parts[1::2], strict=True):
        first, *others = [line for line in body.splitlines() if line]
        assert all(line.startswith("- ") for line in others)
        for line in (first, *others):
            if heading != "Not verified" and not line.startswith("Nothing was found with a source"):
                assert re.search(r"\]\((https?://\S+|reports\.md\S*)\)$", line), line


def test_countries_are_for_legal_review_and_the_rules_have_their_sources_there() -> None:
    text = (ROOT / "docs/hook/countries.md").read_text("utf-8")
    assert re.search(r"For legal review, as of \d{4}-\d{2}-\d{2}", text)
    for rule in rules().values():
        if rule.source.startswith("http"):
            assert rule.source in text, rule.name


def test_the_page_of_cases_names_every_command_of_its_group() -> None:
    from hashhub.cli.hook.cases import case_group

    text = (ROOT / "docs/hook/cases.md").read_text("utf-8")
    for name in case_group.commands:
        assert f"hook case {name}" in text or f"`{name}`" in text, name
