"""`history`, `revert`, `doctor`, and withdrawals by one and by two, on the command line."""

from __future__ import annotations

import json
import re
import zlib
from pathlib import Path

import pytest

from hashhub.client import Client
from hashhub.testing import lists
from hashhub.testing.hub_process import RunningHub
from tests.cli.conftest import Run


@pytest.fixture
def imported(run: Run, hash_set: str, tmp_path: Path) -> str:
    """A hash set with a list of 40 items of its own: what an operator withdraws stays so in all sets of a
    contributor.
    """
    path = tmp_path / "list.json"
    path.write_bytes(
        lists.list_file("vics-2.0", lists.random_items(40, seed=zlib.crc32(hash_set.encode()), values=("1", "2"))).data
    )
    done = run("import", str(path), "--format", "vics", "--hash-set", hash_set)
    assert done.exit_code == 0, done.output
    return hash_set


def names(run: Run, hash_set: str) -> list[str]:
    return [json.loads(line)["name"] for line in run("entry", "list", hash_set, "--json").stdout.splitlines()]


def test_the_history_of_an_entry(run: Run, imported: str) -> None:
    entry = names(run, imported)[0]
    assert run("review", "add", entry, "--kind", "false-positive", "--comment", "a logo").exit_code == 0
    done = run("entry", "withdraw", entry, "--reason", "other", "--comment", "a logo, indeed")
    assert done.exit_code == 0, done.output
    assert run("entry", "restore", entry, "--comment", "no logo").exit_code == 0
    shown = run("history", entry)
    assert shown.exit_code == 0, shown.output
    lines = shown.stdout.splitlines()
    assert [re.split(r"\s{2,}", line)[2] for line in lines] == ["WHAT", "restored", "withdrawn", "reviewed", "imported"]
    assert "no logo" in lines[1]
    assert "OTHER; a logo, indeed" in lines[2]
    assert "operator (operator)" in lines[2]
    assert run("entry", "get", entry, "--history").stdout.endswith(shown.stdout)
    events = [json.loads(line) for line in run("history", entry, "--json").stdout.splitlines()]
    assert [e["kind"] for e in events][:2] == ["ENTRIES_RESTORED", "ENTRIES_WITHDRAWN"]
    withdrawn = run("history", entry, "--kind", "entries-withdrawn", "--kind", "entry-erased", "--json").stdout
    assert [json.loads(line) for line in withdrawn.splitlines()] == [events[1]]
    revision = str(events[1]["revision"])
    assert "details erased" in run("history", "redact", revision, "--yes").stdout
    assert "indeed" not in run("history", "list", entry).stdout
    assert run("history", "--actor", "nobody").stdout == "no events\n"
    assert run("history", "--since", "yesterday").exit_code == 2


def test_withdrawals_are_restored_together_after_a_look(
    run: Run, imported: str, hub: RunningHub, tmp_path: Path
) -> None:
    first, second, third = names(run, imported)[:3]
    contributor, _, set_id = imported.partition("/")
    thief = f"thief-{set_id}"
    secret = tmp_path / "secret"
    assert (
        run(
            "token", "create", thief, "--role", "contributor", "--contributor", contributor, "--out", str(secret)
        ).exit_code
        == 0
    )
    for entry in (first, second, third):
        done = run("entry", "withdraw", entry, "--reason", "error", "--token-file", str(secret))
        assert done.exit_code == 0, done.output
    assert "STILL MATCHES" in done.stderr
    assert f"another token of {contributor} than {thief}" in done.stderr
    asked = run("entry", "list", imported, "--reason", "withdrawal-pending", "--json").stdout.splitlines()
    assert [json.loads(line)["name"] for line in asked] == [third]
    with Client(hub.address, hub.token) as client:
        assert client.get_entry(first).withdrawal is not None
    arguments = ("entry", "restore", "--actor", thief, "--since", "2020-01-01")
    refused = run(*arguments, input="n\n")
    assert refused.exit_code == 1
    assert first in refused.stdout
    assert len(run("entry", "list", imported, "--state", "withdrawn", "--json").stdout.splitlines()) == 2
    tried = run(*arguments, "--validate-only")
    assert "nothing was undone" in tried.stderr
    done = run(*arguments, "--yes")
    assert done.exit_code == 0, done.output
    assert done.stdout == tried.stdout
    assert f"the token {thief} still works" in done.stderr
    assert run("entry", "list", imported, "--state", "withdrawn", "--json").stdout == ""
    assert "nothing is left to undo" in run("revert", "--actor", thief, "--since", "2020-01-01").stderr
    assert run("entry", "restore").exit_code == 2


def test_a_token_that_never_was_is_not_said_to_have_written_nothing(run: Run, imported: str) -> None:
    contributor = imported.partition("/")[0]
    role = ("--role", "contributor", "--contributor", contributor)
    assert run("token", "create", "left-early", *role).exit_code == 0
    since = ("--since", "2020-01-01", "--validate-only")
    idle = run("revert", "--actor", "left-early", *since)
    assert (idle.exit_code, idle.stdout) == (0, "the token wrote nothing since then\n")
    assert run("token", "delete", "left-early").exit_code == 0
    gone = run("revert", "--actor", "left-early", *since)
    assert (gone.exit_code, gone.stdout) == (0, "the token wrote nothing since then\n")
    for command in (("revert",), ("entry", "restore")):
        mistaken = run(*command, "--actor", "left-erly", *since)
        assert mistaken.exit_code == 1
        assert "no token 'left-erly' was ever here" in mistaken.stderr
        assert "hashhub token list" in mistaken.stderr
        assert not mistaken.stdout


def test_the_doctor_reads_the_data_of_a_running_hub(run: Run, hub: RunningHub, imported: str) -> None:
    names(run, imported)
    done = run("doctor", "--data", str(hub.data))
    assert done.exit_code == 0, done.output
    head = re.search(r"^head (\d+:[0-9a-f]{64})$", done.stdout, re.MULTILINE)
    assert head
    assert run("doctor", "--data", str(hub.data), "--head", head[1]).exit_code == 0
    forged = run("doctor", "--data", str(hub.data), "--head", head[1][:-4] + "0000", "--json")
    assert forged.exit_code == 1
    assert json.loads(forged.stdout)["is_sound"] is False
    assert "history head" in (hub.data / "hub.log").read_text("utf-8")
    assert run("doctor", "--data", str(hub.data / "nowhere")).exit_code == 1


def test_an_entry_is_erased_after_a_look(run: Run, imported: str) -> None:
    entry = names(run, imported)[0]
    assert run("entry", "erase", entry, input="n\n").exit_code == 1
    done = run("entry", "erase", entry, "--yes")
    assert done.exit_code == 0, done.output
    assert "ERASED" in done.stdout
    assert "HASH" not in done.stdout
