"""`hashhub reconcile` over an extract on this machine, and over a hub; `hashhub operation`."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hashhub.cli import main
from tests.extracts import ListedEntry, ListedSet, write_extract

Run = Callable[..., Result]
DONE, REFUSED, USAGE = 0, 1, 2


def made(directory: Path, sets: int, *, entries: int = 4) -> Path:
    """An extract of so many hash sets, each of which shares all but its first entry with the one before."""
    names = [ListedSet(name=f"police-{n:02}/known", jurisdiction=("NL", "GB", "US")[n % 3]) for n in range(sets)]
    items = [
        ListedEntry(hash_set=name.name, digests={"MD5": f"file {n + i}", "SHA1": f"file {n + i}"})
        for n, name in enumerate(names)
        for i in range(entries)
    ]
    write_extract(directory, names, items)
    return directory


def run_local(*arguments: str, columns: int | None = None) -> Result:
    environment = {"COLUMNS": str(columns)} if columns else {}
    return CliRunner().invoke(main, ["reconcile", *arguments], env=environment, catch_exceptions=False)


def test_a_matrix_that_fits(tmp_path: Path) -> None:
    directory = made(tmp_path / "extract", 3)
    done = run_local("overlap", "--extract", str(directory), columns=80)
    assert done.exit_code == DONE, done.stderr
    rows = [line.split() for line in done.stdout.splitlines() if line[:1].isdigit()]
    assert rows == [
        ["1", "police-00/known", "4", "1", ".", "3", "2"],
        ["2", "police-01/known", "4", "0", "3", ".", "3"],
        ["3", "police-02/known", "4", "1", "2", "3", "."],
    ]
    assert "with that number" in done.stdout


@pytest.mark.parametrize("columns", [60, 80])
def test_pairs_where_a_matrix_would_not_fit(tmp_path: Path, columns: int) -> None:
    directory = made(tmp_path / "extract", 30)
    done = run_local("overlap", "--near", "--extract", str(directory), columns=columns)
    assert done.exit_code == DONE, done.stderr
    assert all(len(line) <= columns for line in done.stdout.splitlines())
    assert ["police-00/known", "police-01/known", "3", "0", "75.0%"] in [x.split() for x in done.stdout.splitlines()]
    assert "share nothing" in done.stdout


def test_pairs_in_a_pipe_are_one_line_each(tmp_path: Path) -> None:
    done = run_local("overlap", "--extract", str(made(tmp_path / "extract", 30)))
    assert sum("75.0%" in line for line in done.stdout.splitlines()) == 58


def test_json_has_all_of_it(tmp_path: Path) -> None:
    directory = str(made(tmp_path / "extract", 3))
    overlap = json.loads(run_local("overlap", "--by", "jurisdiction", "--extract", directory, "--json").stdout)
    assert overlap["entries"] == {"GB": 4, "NL": 4, "US": 4}
    links = [json.loads(line) for line in run_local("links", "--extract", directory, "--json").stdout.splitlines()]
    assert all(link["is_exact"] and link["why"] for link in links)
    gaps = [
        json.loads(line)
        for line in run_local("gaps", "--jurisdiction", "nl", "--extract", directory, "--json").stdout.splitlines()
    ]
    assert [gap["jurisdictions"] for gap in gaps] == [["GB", "US"], ["US"]]
    agreement = json.loads(run_local("agreement", "--extract", directory, "--json").stdout)
    assert agreement["items"] == 0


def test_a_work_list_as_csv_and_as_json_lines(tmp_path: Path) -> None:
    directory = str(made(tmp_path / "extract", 3))
    for name in ("work.csv", "work.jsonl"):
        arguments = ("gaps", "--jurisdiction", "NL", "--extract", directory, "--out", str(tmp_path / name))
        assert run_local(*arguments).exit_code == DONE
        before = (tmp_path / name).read_bytes()
        refused = run_local(*arguments, "--json")
        assert refused.exit_code == REFUSED
        assert (tmp_path / name).read_bytes() == before
        replaced = run_local(*arguments, "--force", "--json")
        assert json.loads(replaced.stdout)["rows"] == 2
    with (tmp_path / "work.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    lines = [json.loads(line) for line in (tmp_path / "work.jsonl").read_text("utf-8").splitlines()]
    assert [row["entries"].split() for row in rows] == [line["entries"] for line in lines]
    assert rows[0]["jurisdictions"] == "GB US"


def test_what_is_told_in_a_terminal_has_the_first_rows(tmp_path: Path) -> None:
    directory = str(made(tmp_path / "extract", 2, entries=60))
    done = run_local("links", "--extract", directory, columns=80)
    assert sum("both have the same" in line for line in done.stdout.splitlines()) == 20
    assert "--out FILE" in done.stdout
    assert "59 links by an exact digest" in done.stdout


def test_nothing_at_all(tmp_path: Path) -> None:
    directory = str(made(tmp_path / "extract", 1, entries=1))
    for command in (["overlap"], ["links", "--near"], ["gaps", "--jurisdiction", "FR"], ["agreement"]):
        done = run_local(*command, "--extract", directory)
        assert done.exit_code == DONE, done.stderr


def test_what_is_no_extract_is_told(tmp_path: Path) -> None:
    done = run_local("overlap", "--extract", str(tmp_path), "--json")
    assert done.exit_code == REFUSED
    assert "hashhub reconcile extract" in json.loads(done.stdout)["error"]["message"]
    wrong = run_local("gaps", "--jurisdiction", "Netherlands", "--extract", str(made(tmp_path / "e", 1)))
    assert wrong.exit_code == REFUSED
    assert "ISO 3166-1" in wrong.stderr
    assert run_local("overlap", "--extract", str(tmp_path), "--no-wait").exit_code == USAGE


def test_a_code_that_nobody_has_is_not_told_as_a_nation_that_lacks_everything(run: Run, hash_set: str) -> None:
    done = run("reconcile", "gaps", "--jurisdiction", "sw")  # Sweden is SE
    assert done.exit_code == DONE, done.stderr
    assert "no contributor of SW is here" in done.stderr
    assert "no contributor" not in run("reconcile", "gaps", "--jurisdiction", "us").stderr


def test_a_hub_answers_as_its_extract_does(run: Run, hash_set: str, tmp_path: Path) -> None:
    source = tmp_path / "list.txt"
    source.write_text("".join(f"{n:032x}\n" for n in range(1, 6)), "ascii")
    imported = run("import", str(source), "--format", "hash-lines", "--hash-set", hash_set)
    assert imported.exit_code in {DONE, REFUSED}
    directory = tmp_path / "extract"
    assert run("reconcile", "extract", str(directory)).exit_code == DONE
    of_hub = json.loads(run("reconcile", "overlap", "--json").stdout)
    of_extract = json.loads(run("reconcile", "overlap", "--json", "--extract", str(directory)).stdout)
    of_hub["revision"] = of_extract["revision"] = 0
    assert of_hub == of_extract
    assert hash_set in of_hub["names"]


def test_operations(run: Run, hash_set: str) -> None:
    started = json.loads(run("reconcile", "links", "--no-wait", "--json").stdout)
    assert (started["method"], started["state"]) == ("FindLinks", "WAITING")
    shown = run("operation", "get", started["name"], "--wait")
    assert shown.exit_code == DONE
    assert "succeeded" in shown.stdout
    assert "links by an exact digest" in shown.stdout
    listed = json.loads(run("operation", "list", "--limit", "1", "--json").stdout)
    assert listed["name"]
    assert run("operation", "cancel", started["name"]).exit_code == DONE
    deleted = run("operation", "delete", started["name"], "--json")
    assert json.loads(deleted.stdout) == {"name": started["name"], "deleted": True}
    gone = run("operation", "get", started["name"], "--json")
    assert gone.exit_code == REFUSED
    assert json.loads(gone.stdout)["error"]["reason"] == "RESOURCE_NOT_FOUND"
    assert hash_set


def test_a_report_and_a_chart(tmp_path: Path) -> None:
    directory = str(made(tmp_path / "extract", 3))
    done = run_local("report", "--extract", directory, "--out", str(tmp_path / "report"), "--title", "A <b>meeting</b>")
    assert done.exit_code == DONE, done.stderr
    page = (tmp_path / "report" / "report.html").read_text("utf-8")
    assert "A &lt;b&gt;meeting" in page
    assert "police-00" in page
    assert run_local("report", "--extract", directory, "--out", str(tmp_path / "report"), "--json").exit_code == DONE
    chart = tmp_path / "overlap.svg"
    assert run_local("overlap", "--extract", directory, "--svg", str(chart)).exit_code == DONE
    assert chart.read_text("utf-8").startswith("<svg")
    assert run_local("overlap", "--extract", directory, "--svg", str(chart)).exit_code == REFUSED
    many = str(made(tmp_path / "many", 30))
    refused = run_local("overlap", "--extract", many, "--svg", str(tmp_path / "many.svg"))
    assert refused.exit_code == REFUSED
    assert "--by" in refused.stderr
    assert not (tmp_path / "many.svg").exists()
