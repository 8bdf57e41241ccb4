"""`hashhub export`: the file, what it does not say, and that there is none otherwise."""

from __future__ import annotations

import csv
import json
import re
import signal
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from hashhub.testing.hub_process import RunningHub
from hashhub.testing.lists import list_file, random_items

Run = Callable[..., Result]
DONE, REFUSED, USAGE = 0, 1, 2


def contribute(run: Run, hash_set: str, path: Path, *, seed: int = 1, count: int = 20) -> None:
    listed = list_file("vics-2.0", random_items(count, seed=seed, values=("0", "1", "2")))
    path.write_bytes(listed.data)
    done = run("import", str(path), "--format", "vics", "--hash-set", hash_set)
    assert done.exit_code == DONE, done.stderr


@pytest.fixture
def full(run: Run, hash_set: str, tmp_path: Path) -> str:
    """Return the name of a hash set with entries, whose terms let files leave."""
    contribute(run, hash_set, tmp_path / "in.json")
    terms = run("hash-set", "update", hash_set, "--tlp", "clear", "--bulk")
    assert terms.exit_code == DONE, terms.stderr
    return hash_set


def told(done: Result) -> dict[str, Any]:
    assert done.exit_code == DONE, done.stderr
    made: dict[str, Any] = json.loads(done.stdout)
    return made


class TestFile:
    def test_appears_whole_and_private_and_reads_back(self, run: Run, full: str, tmp_path: Path) -> None:
        out = tmp_path / "out.json"
        report = told(run("export", "--format", "vics", "--hash-set", full, "--out", str(out), "--json"))
        media = json.loads(out.read_text())["value"]
        assert len(media) == report["written"] == report["taken"] > 0
        assert report["losses"] == []
        assert stat.S_IMODE(out.stat().st_mode) == 0o600
        assert sorted(p.name for p in tmp_path.iterdir()) == ["in.json", "out.json"]
        checked = run("import", str(out), "--format", "vics", "--hash-set", full, "--validate-only", "--json")
        counts = told(checked)["counts"]
        assert counts["unchanged"] == counts["items"] == len(media)

    def test_never_replaces_another_unless_told(self, run: Run, full: str, tmp_path: Path) -> None:
        out = tmp_path / "out.txt"
        out.write_text("precious")
        arguments = ("export", "--format", "hash-lines", "--hash-set", full, "--out", str(out))
        refused = run(*arguments)
        assert refused.exit_code == REFUSED
        assert "exists" in refused.stderr
        assert out.read_text() == "precious"
        assert run(*arguments, "--force").exit_code == DONE
        assert "MD5:" in out.read_text()

    def test_goes_to_standard_output_with_the_report_beside(self, run: Run, full: str) -> None:
        done = run("export", "--format", "hash-lines", "--option", "algorithm=MD5", "--hash-set", full, "--out", "-")
        assert done.exit_code == DONE
        assert all(len(line) == 32 for line in done.stdout.splitlines())
        assert "for somebody outside" in done.stderr

    def test_strict_refuses_and_writes_only_the_losses(self, run: Run, full: str, tmp_path: Path) -> None:
        out, losses = tmp_path / "out.txt", tmp_path / "losses.csv"
        arguments = ("--hash-set", full, "--out", str(out), "--losses", str(losses), "--strict")
        refused = run("export", "--format", "hash-lines", *arguments)
        assert refused.exit_code == REFUSED
        assert "nothing was written" in refused.stdout
        assert not out.exists()
        rows = list(csv.DictReader(losses.read_text().splitlines()))
        assert {"entry", "field", "reason", "detail"} == set(rows[0])
        assert any(r["field"] == "value" and r["reason"] == "NO_PLACE" for r in rows)
        assert (
            run("export", "--format", "hashhub-jsonl", "--hash-set", full, "--out", str(out), "--strict").exit_code == 0
        )
        assert out.exists()

    def test_full_table_comes_with_the_mapping_that_reads_it(self, run: Run, full: str, tmp_path: Path) -> None:
        out = tmp_path / "table.csv"
        done = run("export", "--format", "csv", "--hash-set", full, "--out", str(out))
        assert done.exit_code == DONE
        mapping = tmp_path / "table.csv.mapping.toml"
        assert f"--mapping {mapping}" in done.stdout
        checked = run(
            "import", str(out), "--format", "csv", "--mapping", str(mapping), "--hash-set", full, "--validate-only",
            "--json",
        )  # fmt: skip
        counts = told(checked)["counts"]
        # The table has no place for what VICS said beyond the hub's fields, as the report tells: else all is unchanged.
        assert re.search(rf"extra +NO_PLACE +{counts['items']} ", done.stdout)
        assert counts["accepted"] == counts["superseded"] == counts["items"] > 0

    def test_a_killed_client_leaves_nothing(
        self, full: str, tmp_path: Path, hub: RunningHub, start: Callable[..., Any], run: Run
    ) -> None:
        contribute(run, full, tmp_path / "many.json", seed=5, count=3000)
        target = tmp_path / "target"
        target.mkdir()
        process = start("export", "--format", "ncmec-xml", "--hash-set", full, "--out", str(target / "out.xml"))
        time.sleep(0.6)
        process.send_signal(signal.SIGKILL)
        process.wait()
        left = list(target.iterdir())
        assert left in ([], [target / "out.xml"])  # it may have been quicker
        if left:
            assert left[0].read_bytes().endswith(b"</queryResult>\n")


class TestSelection:
    def test_takes_one(self, run: Run, full: str) -> None:
        assert run("export", "--format", "vics", "--out", "-").exit_code == USAGE
        both = run("export", "--format", "vics", "--hash-set", full, "--policy", "block", "--out", "-")
        assert both.exit_code == USAGE

    def test_an_unknown_format_lists_the_writers(self, run: Run, full: str) -> None:
        refused = run("export", "--format", "word", "--hash-set", full, "--out", "-")
        assert refused.exit_code == REFUSED
        assert "installed writers are" in refused.stderr
        assert "hashhub-jsonl" in refused.stderr

    def test_a_wrong_option_is_refused_before_anything_is_recorded(self, run: Run, full: str, tmp_path: Path) -> None:
        before = run("history", full).stdout
        refused = run(
            "export", "--format", "vics", "--option", "version=3", "--hash-set", full, "--out", str(tmp_path / "x")
        )
        assert refused.exit_code == REFUSED
        assert run("history", full).stdout == before
        assert [p.name for p in tmp_path.iterdir()] == ["in.json"]

    def test_changes_go_on_from_the_position(self, run: Run, full: str, tmp_path: Path) -> None:
        first = told(
            run("export", "--format", "hashhub-jsonl", "--hash-set", full, "--out", str(tmp_path / "1"), "--json")
        )
        withdrawn = json.loads((tmp_path / "1").read_text().splitlines()[1])["entry"]
        assert run("entry", "withdraw", withdrawn, "--reason", "error").exit_code == DONE
        contribute(run, full, tmp_path / "more.json", seed=9, count=3)
        arguments = ("export", "--format", "hashhub-jsonl", "--changes-from", first["position"], "--json")
        second = told(run(*arguments, "--out", str(tmp_path / "2")))
        lines = [json.loads(x) for x in (tmp_path / "2").read_text().splitlines()]
        assert lines[0]["is_delta"] is second["delta"] is True
        assert [x["entry"] for x in lines if x.get("state") == "WITHDRAWN"] == [withdrawn]
        assert (
            len([x for x in lines if "hashes" in x and x.get("state", "ACTIVE") == "ACTIVE"]) == second["written"] - 1
        )
        third = told(
            run(
                "export",
                "--format",
                "hashhub-jsonl",
                "--changes-from",
                second["position"],
                "--json",
                "--out",
                str(tmp_path / "3"),
            )
        )
        assert third["taken"] == 0

    def test_a_policy_takes_what_satisfies_it_by_itself(self, run: Run, full: str, tmp_path: Path) -> None:
        report = told(
            run("export", "--format", "hashhub-jsonl", "--policy", "block", "--out", str(tmp_path / "p"), "--json")
        )
        lines = [json.loads(x) for x in (tmp_path / "p").read_text().splitlines()[1:-1]]
        assert {x["value"] for x in lines if x["entry"].startswith(f"{full}/")} == {"1", "2"}  # 0 is no harm
        assert report["position"] is None


class TestTerms:
    def test_nothing_leaves_that_may_not_and_the_history_tells_what_did(
        self, run: Run, full: str, police: str, tmp_path: Path
    ) -> None:
        assert run("hash-set", "update", full, "--tlp", "amber").exit_code == DONE
        refused = run("export", "--format", "vics", "--hash-set", full, "--out", str(tmp_path / "x.json"))
        assert refused.exit_code == REFUSED
        assert "let nothing leave" in refused.stderr
        assert not (tmp_path / "x.json").exists()
        for_owner = told(
            run(
                "export", "--format", "vics", "--hash-set", full, "--for", f"contributors/{police}", "--out",
                str(tmp_path / "own.json"), "--json",
            )
        )  # fmt: skip
        assert for_owner["written"] > 0
        events = [json.loads(x) for x in run("history", full, "--json").stdout.splitlines()]
        exported = [e for e in events if e["kind"] == "ENTRIES_EXPORTED"]
        assert exported[0]["facts"]["recipient"] == f"contributors/{police}"
        assert exported[0]["facts"]["format"] == "vics"
        assert exported[0]["facts"]["entries"] == str(for_owner["taken"])
