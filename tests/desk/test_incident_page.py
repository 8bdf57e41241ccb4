"""docs/hook/incident.md, followed as it stands: a hub and doors in terminals of their own, stopped where it says so."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hashhub.desk.records import Records, UploadState
from tests.desk.test_reports import SCHEMA
from tests.hook.guide import Step, steps

if TYPE_CHECKING:
    from tests.hook.guide import Reader

pytest.importorskip("starlette", reason="the sidecar needs hashhub[hook]")
pytest.importorskip("s3fs", reason="the worker needs hashhub[hook-bucket]")
pytest.importorskip("cryptography", reason="the vault needs hashhub[hook]")

ROOT = Path(__file__).parents[2]
PAGE = "docs/hook/incident.md"
STEPS = steps((ROOT / PAGE).read_text("utf-8"))


@pytest.mark.timeout(400)
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed here")
def test_the_incident_goes_as_told_with_the_hub_switched_off_twice(reader: Reader) -> None:
    printed = {step.text: reader.follow(step) for step in STEPS}
    reader.close()
    assert len(STEPS) > 80
    work = reader.work
    upload = reader.environment["UPLOAD"]
    # The vault had the upload before anybody decided, and has it for a year from the report.
    assert upload in printed["hashhub hook vault list"]
    assert "US: 18 U.S.C. 2258A(h)(1)" in printed["hashhub hook vault list"]
    # The draft is what the recipient's description asks for.
    [report] = (work / "report").glob("*-report.draft.xml")
    SCHEMA.validate(str(report))
    case = (work / "record.md").read_text("utf-8")
    assert len(re.findall(r"\| removed \|", case)) == 3
    # Nothing is lost: each upload that had no answer got one, and each step is in an unbroken chain.
    records = Records(work / "hashhub-hook")
    try:
        assert records.count(UploadState.UNANSWERED) == 0
        events = records.events()
        assert records.verify() == len(events)
    finally:
        records.close()
    unanswered = {event.subject for event in events if event.kind == "upload.unanswered"}
    # Two at the sidecar, one at the clamd door; the worker's waits where it is, and is on record once it is decided.
    assert len(unanswered) == 3
    # What a case held meanwhile is asked about again, too.
    assert {event.subject for event in events if event.kind == "upload.rechecked"} >= unanswered
    assert {"hub.away", "hub.back"} <= {event.kind for event in events}
    evidence = json.loads((work / "evidence" / "evidence.json").read_text("utf-8"))
    assert evidence["unknown"] is not None
    assert (work / "evidence" / "evidence.html").stat().st_size > 1000


def test_what_is_stopped_was_started() -> None:
    running: list[str] = []
    for step in STEPS:
        if step.text.startswith("# Ctrl-C: "):
            stopped = step.text.removeprefix("# Ctrl-C: ").strip()
            assert [line for line in running if line.startswith(stopped)], stopped
            running = [line for line in running if not line.startswith(stopped)]
        elif step.text.startswith(("hashhub serve", "hashhub hook serve", "hashhub hook clamd")):
            assert step.text not in running
            running.append(step.text)
    assert running == ["hashhub serve"]


def test_a_reader_sees_what_is_not_as_the_page_says(reader: Reader) -> None:
    reader.follow(Step("", "export NAME=$(echo $((40 + 2)))"))
    assert reader.follow(Step("", "echo a $NAME", prints=("a   42",))) == "a 42\n"
    for wrong in (Step("", "echo a", prints=("b",)), Step("", "false"), Step("", "true", ends_with=1)):
        with pytest.raises(AssertionError):
            reader.follow(wrong)
