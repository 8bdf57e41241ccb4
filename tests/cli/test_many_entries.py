"""Many entries on the command line: choosing them, seeing first what would happen, and doing exactly that."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from hashhub.cli import main
from hashhub.testing.hub_process import RunningHub
from hashhub.testing.lists import list_file, random_items

Run = Callable[..., Result]
Start = Callable[..., Any]
DONE, REFUSED, USAGE, UNAVAILABLE = 0, 1, 2, 3


def objects(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def listed(run: Run, hash_set: str, *options: str) -> list[dict[str, Any]]:
    done = run("entry", "list", hash_set, "--json", *options)
    assert done.exit_code == DONE, done.stderr
    return objects(done.stdout)


@pytest.fixture
def stocked(run: Run, hash_set: str, tmp_path: Path) -> str:
    """A hash set with six classified entries and two that wait."""
    seed = abs(hash(hash_set))
    items = [*random_items(6, seed=seed, values=("1",)), *random_items(2, seed=seed + 1)]
    source = tmp_path / "list.json"
    source.write_bytes(list_file("vics-2.0", items).data)
    done = run("import", str(source), "--format", "vics", "--hash-set", hash_set)
    assert done.exit_code == DONE, done.stderr
    return hash_set


class TestChoosing:
    def test_list_and_search_take_the_same_options(self, run: Run, stocked: str) -> None:
        first = listed(run, stocked)[0]
        for options, count in (
            ((), 8),
            (("--state", "quarantined"), 2),
            (("--reason", "unclassified"), 2),
            (("--where", "verdict=csam"), 6),
            (("--where", "verdict=csam", "--state", "quarantined"), 0),
            (("--hash", first["hashes"][0]), 1),
            (("--import", f"{stocked}/latest"), 8),
            (("--import", f"{stocked}/{first['provenance']['import_id'][:9]}"), 8),
            (("--limit", "3"), 3),
        ):
            assert len(listed(run, stocked, *options)) == count, options
            found_anywhere = objects(run("entry", "search", "--hash-set", stocked, *options, "--json").stdout)
            assert len(found_anywhere) == count, options

    def test_latest_is_the_newest_import_that_was_committed(self, run: Run, stocked: str, tmp_path: Path) -> None:
        """A list that was only checked has no entry."""
        source = tmp_path / "next.json"
        source.write_bytes(list_file("vics-2.0", random_items(3, seed=abs(hash(stocked)) + 7, values=("1",))).data)
        done = run("import", str(source), "--hash-set", stocked, "--validate-only")
        assert done.exit_code == DONE, done.stderr
        assert len(listed(run, stocked, "--import", f"{stocked}/latest")) == 8
        done = run("entry", "withdraw", "--import", f"{stocked}/latest", "--reason", "error", "--dry-run", "--json")
        assert json.loads(done.stdout)["selected"] == 8, done.stdout

    def test_latest_says_that_nothing_was_committed(self, run: Run, hash_set: str) -> None:
        done = run("entry", "list", hash_set, "--import", f"{hash_set}/latest")
        assert done.exit_code == REFUSED
        assert "has no committed import yet" in done.stderr

    def test_says_when_there_is_more(self, run: Run, stocked: str) -> None:
        done = run("entry", "search", "--hash-set", stocked, "--limit", "2")
        assert "more than these 2" in done.stderr
        assert run("entry", "search", "--hash-set", stocked, "--limit", "8").stderr == ""

    @pytest.mark.parametrize(
        ("content", "count"),
        [
            ("{0}\n{1}\n", 2),
            ("\ufeff{0}\r\n\r\n {1} \r\n", 2),
            ("{hash0}\n{hash1}", 2),
            ("{0}\n{0}\n", 1),
        ],
    )
    def test_reads_names_or_hashes_from_a_file(
        self, run: Run, stocked: str, tmp_path: Path, content: str, count: int
    ) -> None:
        entries = listed(run, stocked)
        file = tmp_path / "names.txt"
        upper = [f"{e['hashes'][0].partition(':')[0]}:{e['hashes'][0].partition(':')[2].upper()}" for e in entries]
        text = content.format(entries[0]["name"], entries[1]["name"], hash0=upper[0], hash1=upper[1])
        file.write_bytes(text.encode())
        assert len(objects(run("entry", "search", "--names-from", str(file), "--json").stdout)) == count

    @pytest.mark.parametrize(
        ("content", "says"),
        [
            (b"", "names nothing"),
            (b"\n\n", "names nothing"),
            (b"a/b/1\nMD5:" + b"ab" * 16, "line 2"),
            (b"a/b/1\n4711\n", "line 2"),
            (b"MD5:zz\n", "line 1"),
            ("a/b/1\n".encode("utf-16"), "UTF-16"),
            (b"a/b/1\n\xff\n", "line 2"),
            (b"a" * 10_000, "too long"),
        ],
    )
    def test_says_what_is_wrong_with_a_file(self, run: Run, tmp_path: Path, content: bytes, says: str) -> None:
        file = tmp_path / "names.txt"
        file.write_bytes(content)
        done = run("entry", "withdraw", "--names-from", str(file), "--reason", "error", "--yes")
        assert (done.exit_code, says in done.stderr) == (REFUSED, True), done.stderr

    def test_a_file_that_is_not_there(self, run: Run, tmp_path: Path) -> None:
        for option in ("--names-from", "--external-ids-from"):
            done = run("entry", "search", option, str(tmp_path / "none.txt"))
            assert (done.exit_code, "cannot read" in done.stderr) == (REFUSED, True)

    @pytest.mark.parametrize("command", ["withdraw", "restore", "release", "quarantine"])
    def test_nothing_is_no_selection(self, run: Run, command: str) -> None:
        more = ("--reason", "error") if command == "withdraw" else ()
        assert run("entry", command, *more, "--yes").exit_code == USAGE
        done = run("entry", command, *more, "--yes", "--contributor", "police-us", "--json")
        assert (done.exit_code, objects(done.stdout)[-1]["error"]["reason"]) == (REFUSED, "INVALID_FIELD")

    def test_wrong_conditions_are_named(self, run: Run, stocked: str) -> None:
        assert run("entry", "search", "--where", "verdict").exit_code == USAGE
        unknown = run("entry", "search", "--where", "colour=red")
        assert (unknown.exit_code, "the dimensions are" in unknown.stderr) == (REFUSED, True)
        assert "expected csam" in run("entry", "search", "--where", "verdict=red").stderr
        assert run("entry", "search").exit_code == USAGE
        assert run("entry", "search", "--import", f"{stocked}/imp-0").exit_code == REFUSED
        assert run("entry", "search", "--import", f"{stocked}/ffffffffffff").exit_code == REFUSED


class TestDoing:
    def test_a_dry_run_tells_what_the_command_then_does(self, run: Run, stocked: str) -> None:
        chosen = ("--hash-set", stocked, "--where", "verdict=csam", "--reason", "error")
        would = run("entry", "withdraw", *chosen, "--dry-run")
        assert would.exit_code == DONE
        assert "would be withdrawn" in would.stdout
        assert "--expect 6" in would.stdout
        assert len(listed(run, stocked, "--state", "active")) == 6
        done = run("entry", "withdraw", *chosen, "--expect", "6")
        assert done.exit_code == DONE, done.stderr
        assert "Done at revision" in done.stdout
        assert len(listed(run, stocked, "--state", "withdrawn")) == 6
        (event, *_) = objects(run("history", stocked, "--json").stdout)
        assert (event["kind"], event["facts"]["entries"]) == ("ENTRIES_WITHDRAWN", "6")
        assert "verdict=csam" in event["details"]["selection"]

    def test_asks_and_does_what_was_shown(self, run: Run, stocked: str) -> None:
        chosen = ("entry", "withdraw", "--hash-set", stocked, "--reason", "error")
        refused = run(*chosen, input="n\n")
        assert refused.exit_code == REFUSED
        assert "Withdraw 8 entries?" in refused.stderr
        assert len(listed(run, stocked, "--state", "withdrawn")) == 0
        assert run(*chosen, input="y\n").exit_code == DONE
        assert len(listed(run, stocked, "--state", "withdrawn")) == 8

    def test_refuses_when_more_are_hit_than_expected(self, run: Run, stocked: str) -> None:
        done = run("entry", "withdraw", "--hash-set", stocked, "--reason", "error", "--expect", "7")
        assert done.exit_code == REFUSED
        assert "8 entries" in done.stderr
        assert "--dry-run" in done.stderr

    def test_names_and_back(self, run: Run, stocked: str) -> None:
        names = [e["name"] for e in listed(run, stocked)[:3]]
        for command, more, state in (
            ("quarantine", (), "quarantined"),
            ("release", (), "active"),
            ("withdraw", ("--reason", "error"), "withdrawn"),
            ("restore", (), "active"),
        ):
            done = run("entry", command, *names, *more, "--yes", "--json")
            assert done.exit_code == DONE, done.stderr
            (told,) = objects(done.stdout)
            assert (told["changed"], told["examples"]) == (3, names)
            assert {e["state"].lower() for e in listed(run, stocked) if e["name"] in names} == {state}

    def test_what_has_no_entry_is_told(self, run: Run, stocked: str) -> None:
        name = listed(run, stocked)[0]["name"]
        (told,) = objects(run("entry", "quarantine", name, f"{stocked}/999999", "--dry-run", "--json").stdout)
        assert (told["selected"], told["unmatched"], told["unmatched_examples"]) == (1, 1, [f"{stocked}/999999"])

    def test_a_contributor_reaches_its_own(self, hub: RunningHub, run: Run, stocked: str, tmp_path: Path) -> None:
        entry = listed(run, stocked)[0]
        other = f"other-{abs(hash(stocked)) % 10**9}"
        assert run("contributor", "create", other, "--kind", "ngo", "--jurisdiction", "US").exit_code == DONE
        file = tmp_path / "other.token"
        for role in ("contributor", "consumer"):
            token = f"{other}-{role}"
            file = tmp_path / f"{token}.token"
            made = run("token", "create", token, "--role", role, "--contributor", other, "--out", str(file))
            assert made.exit_code == DONE, made.stderr

            def as_other(*arguments: str, file: Path = file) -> Result:
                environment = {"HASHHUB_SERVER": hub.address, "HASHHUB_TOKEN_FILE": str(file)}
                return CliRunner().invoke(main, arguments, env=environment)

            by_hash = as_other(
                "entry", "withdraw", "--hash", entry["hashes"][0], "--reason", "error", "--yes", "--json"
            )
            searched = as_other("entry", "search", "--hash", entry["hashes"][0], "--json")
            waiting = as_other("queue", "--json")
            if role == "consumer":
                assert [d.exit_code for d in (by_hash, searched, waiting)] == [REFUSED] * 3
                continue
            (told,) = objects(by_hash.stdout)
            assert (told["selected"], told["changed"], told["unmatched"]) == (0, 0, 1)
            assert (searched.stdout, waiting.stdout) == ("", "")
            for chosen in ((entry["name"], f"{stocked}/2"), ("--hash-set", stocked)):
                refused = as_other("entry", "withdraw", *chosen, "--reason", "error", "--yes")
                assert refused.exit_code == REFUSED
        assert len(listed(run, stocked, "--state", "withdrawn")) == 0

    def test_ten_thousand_names_in_one_go_while_others_match(
        self, run: Run, start: Start, hash_set: str, tmp_path: Path
    ) -> None:
        source = tmp_path / "many.txt"
        hashes = [os.urandom(16).hex() for _ in range(10_000)]
        source.write_text("".join(f"{h}  x\n" for h in hashes), "ascii")
        (counts,) = objects(
            run("import", str(source), "--format", "hash-lines", "--hash-set", hash_set, "--json").stdout
        )
        assert counts["counts"]["items"] == 10_000
        names = tmp_path / "names.txt"
        names.write_text("".join(f"{e['name']}\n" for e in listed(run, hash_set)), "ascii")
        process = start("entry", "withdraw", "--names-from", str(names), "--reason", "error", "--yes", "--json")
        while process.poll() is None:
            assert run("match", "--hash", f"MD5:{hashes[0]}", "--json").exit_code == DONE
        out, err = process.communicate()
        assert process.returncode == DONE, err
        (told,) = objects(out)
        assert told["selected"] == told["changed"] == 10_000
        (answer,) = objects(run("match", "--hash", f"MD5:{hashes[-1]}", "--json").stdout)
        assert answer["verdict"] == "NO_MATCH"


def test_the_queue_tells_what_goes_on_with_each(run: Run, stocked: str) -> None:
    contributor = stocked.partition("/")[0]
    text = run("queue", contributor).stdout
    assert "in quarantine" in text
    waiting = [one for one in objects(run("queue", "--json").stdout) if one["hash_set"] == stocked]
    assert [(one["kind"], one["reason"], one["count"]) for one in waiting] == [("QUARANTINED", "UNCLASSIFIED", 2)]
    for line in waiting[0]["next"]:
        assert run(*line.split()[1:]).exit_code == DONE
    # The contributor has other tests' hash sets, too, of which other things may wait.
    of_operators = [line for line in text.splitlines() if line.endswith("# for an operator") and f" {stocked} " in line]
    assert {tuple(line.split()[1:3]) for line in of_operators} == {("entry", "release")}
    assert run("queue", "nobody-of-that-name").exit_code == REFUSED
