"""`hashhub reconcile conflicts` for several conflicts at once."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator

import pytest
from click.testing import CliRunner, Result

from hashhub.cli import main
from tests.warm import Warm

Run = Callable[..., Result]
DONE, REFUSED, USAGE = 0, 1, 2


@pytest.fixture(scope="module")
def run(warmed: Warm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Run a command against a hub in which two contributors contradict each other about three items."""
    place = tmp_path_factory.mktemp("conflicts")
    with warmed.hub(place / "hub") as hub:

        def run_command(*arguments: str) -> Result:
            environment = {"HASHHUB_SERVER": hub.address, "HASHHUB_TOKEN_FILE": str(hub.token_file)}
            return CliRunner().invoke(main, arguments, env=environment, catch_exceptions=False)

        (place / "list.toml").write_text('scheme = "ncmec-industry"\n[columns]\nmd5 = "md5"\nvalue = "value"\n')
        for name, value in (("one", "A1"), ("other", "B2")):
            rows = [f"{number:032x},{value}" for number in (0xA1, 0xB2, 0xC3)]
            (place / f"{name}.csv").write_text("\n".join(["md5,value", *rows, ""]))
            made = [
                run_command("contributor", "create", name, "--kind", "hotline", "--jurisdiction", "NL"),
                run_command("hash-set", "create", f"{name}/known", "--scheme", "ncmec-industry"),
                run_command(
                    *("import", str(place / f"{name}.csv"), "--format", "csv", "--hash-set", f"{name}/known"),
                    *("--mapping", str(place / "list.toml")),
                ),
            ]
            assert [one.exit_code for one in made] == [DONE] * 3, [one.stderr for one in made]
        yield run_command


def names(run: Run, kind: str) -> list[str]:
    return run("reconcile", "conflicts", "list", "--kind", kind, "--names", "--wait").stdout.split()


def states(run: Run) -> dict[str, str]:
    lines = run("reconcile", "conflicts", "list", "--json").stdout.splitlines()
    return {c["name"]: c["state"] for c in map(json.loads, lines)}


def test_the_summary_counts_in_english(run: Run) -> None:
    text = run("reconcile", "conflicts", "summary", "--wait").stdout
    parties = [line for line in text.splitlines() if " has " in line]
    assert parties
    assert not [line for line in parties if re.search(r"\b1 (?:conflicts|items|other parties)\b", line)]


def test_each_is_shown_with_its_own_statements(run: Run) -> None:
    wanted = names(run, "act")
    assert len(wanted) == 3
    done = run("reconcile", "conflicts", "get", *wanted)
    assert done.exit_code == DONE
    assert [line.split()[0] for line in done.stdout.splitlines() if " ACT " in line] == wanted
    as_json = run("reconcile", "conflicts", "get", *wanted, "--json").stdout.splitlines()
    assert [json.loads(line)["name"] for line in as_json] == wanted
    entries = {json.loads(line)["left"]["statements"][0]["entry"] for line in as_json}
    assert len(entries) == 3


def test_what_was_done_before_a_refusal_stands_and_is_told(run: Run) -> None:
    first, second, third = names(run, "act")
    done = run("reconcile", "conflicts", "assign", first, "0" * 16, second, "--to", "Ann")
    assert done.exit_code == REFUSED
    assert first in done.stdout
    assert second not in done.stdout
    assert "error" in done.stderr
    by_name = states(run)
    assert (by_name[first], by_name[second], by_name[third]) == ("ASSIGNED", "OPEN", "OPEN")


def test_one_reason_for_many_is_a_record_of_each(run: Run) -> None:
    wanted = names(run, "age-band")
    assert len(wanted) == 3
    resolve = ("reconcile", "conflicts", "resolve", *wanted, "--reason", "left-standing", "--comment", "their criteria")
    assert run(*resolve, "--dry-run").exit_code == DONE
    assert {states(run)[name] for name in wanted} == {"OPEN"}
    done = run(*resolve)
    assert done.exit_code == DONE, done.stderr
    assert [line.split()[:1] for line in done.stdout.splitlines()[1:]] == [[name] for name in wanted]
    for line in run("reconcile", "conflicts", "get", *wanted, "--json").stdout.splitlines():
        conflict = json.loads(line)
        assert conflict["state"] == "RESOLVED"
        assert [r["comment"] for r in conflict["resolutions"]] == ["their criteria"]


def test_an_etag_is_of_one(run: Run) -> None:
    first, second, _ = names(run, "act")
    before = states(run)
    resolve = ("reconcile", "conflicts", "resolve", first, second, "--reason", "other", "--comment", "x", "--etag", "y")
    refused = run(*resolve)
    assert refused.exit_code == USAGE
    assert "--etag" in refused.stderr
    assert states(run) == before
    assert run("reconcile", "conflicts", "get").exit_code == USAGE


def test_all_that_fit_are_changed_after_a_question(run: Run) -> None:
    wanted = names(run, "act")
    resolve = ("reconcile", "conflicts", "resolve", "--kind", "act", "--reason", "other", "--comment", "x")
    for refused in (run(*resolve, wanted[0]), run(*resolve, "--etag", "y"), run(*resolve[:3], *resolve[5:])):
        assert refused.exit_code == USAGE
    assert run(*resolve, "--expect", "2").exit_code == REFUSED
    assert run(*resolve).exit_code == REFUSED  # nobody says yes
    assert "RESOLVED" not in {states(run)[name] for name in wanted}
    done = json.loads(run(*resolve, "--expect", "3", "--json").stdout)
    assert (done["action"], done["selected"], done["changed"]) == ("RESOLVE", 3, 3)
    assert {states(run)[name] for name in wanted} == {"RESOLVED"}
    reopened = run("reconcile", "conflicts", "reopen", "--kind", "act", "--comment", "x", "--yes")
    assert reopened.exit_code == DONE
    assert "RESOLVED" not in {states(run)[name] for name in wanted}
