"""docs/operate/metrics.md has every metric, and no other; the alert rules use what exists."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from hashhub.peers import run as peers
from hashhub.server.health import NEEDS
from hashhub.server.metrics import DESCRIPTIONS
from hashhub.sources import schedule as sources

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/operate/metrics.md").read_text("utf-8")


def test_the_table_is_what_a_scrape_has() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*?) \| .+ \|$", PAGE, re.MULTILINE)
    told = [(name, kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows]
    assert told == [(d.name, d.kind, d.labels) for d in DESCRIPTIONS]


def test_every_service_has_its_needs_told() -> None:
    table = PAGE.split("| service | needs |")[1].split("\n\n")[0]
    assert set(re.findall(r"`(\w+Service)`", table)) == set(NEEDS)


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((ROOT / "docker/alerts.yaml").read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_alerts_name_metrics_and_labels_that_exist(tmp_path: Path) -> None:
    """That a scrape has each of them is shown by tests/server/test_metrics.py."""
    known = {d.name for d in DESCRIPTIONS} | {
        f"{d.name}_{part}" for d in DESCRIPTIONS if d.kind == "histogram" for part in ("bucket", "count", "sum")
    }
    for edge in (sources, peers):
        edge.write_reports(tmp_path)
        known |= set(re.findall(r"# TYPE (\w+)", (tmp_path / edge.METRICS).read_text("utf-8")))
    labels = {"worker", "le", "job", "instance", *(label for d in DESCRIPTIONS for label in d.labels)}
    labels |= {"source", "peer", "status"}
    used: set[str] = set()
    for rule in rules():
        names = set(re.findall(r"\b(?:hashhub|process)_\w+", rule["expr"]))
        assert names or rule["expr"].startswith("up{"), rule["alert"]
        assert names <= known, rule["alert"]
        selectors = re.findall(r"(\w+)=~?\"", rule["expr"])
        grouped = [label for by in re.findall(r"by \(([\w, ]+)\)", rule["expr"]) for label in by.split(", ")]
        shown = re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"])
        assert {*selectors, *grouped, *shown} <= labels, rule["alert"]
        used |= names
    assert "hashhub_list_overdue_ratio" in used
    for services in re.findall(r"service=~?\"([\w|]+)\"", " ".join(rule["expr"] for rule in rules())):
        assert set(services.split("|")) <= set(NEEDS)


def test_alerts_have_names_of_their_own_and_say_what_is_wrong() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(names) == len(set(names))
    for rule in rules():
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert rule["annotations"]["summary"]
