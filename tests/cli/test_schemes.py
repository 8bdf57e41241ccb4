"""Schemes on the command line: files, pictures, spreadsheets, and what is said where something is wrong."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from defusedxml import ElementTree

from hashhub.cli import main
from hashhub.cli.session import DONE, REFUSED, USAGE
from tests.cli.conftest import Run

TEXT = """
id = "{name}"
version = "1"
region = "NL"
status = "verified"
title = "{title}"
source = ["a letter"]
[values.1]
title = "One"
dimensions = {{ verdict = "csam" }}
["values"."=1+1"]
title = "{title}"
dimensions = {{ verdict = "{verdict}" }}
"""


def write(path: Path, *, name: str = "own", title: str = "Own", verdict: str = "comparison") -> str:
    path.write_text(TEXT.format(name=name, title=title, verdict=verdict), "utf-8")
    return str(path)


def alone(*arguments: str) -> str:
    """Run a command where no hub can be reached."""
    done = CliRunner().invoke(main, arguments, env={"HASHHUB_SERVER": "127.0.0.1:1"}, catch_exceptions=False)
    assert done.exit_code == DONE, done.stderr
    return done.stdout


class TestFilesAlone:
    def test_two_files_are_compared_without_a_hub(self, tmp_path: Path) -> None:
        old, new = write(tmp_path / "old.toml"), write(tmp_path / "new.toml", verdict="exploitative")
        assert "verdict: comparison before, exploitative now, which contradicts it" in alone("scheme", "diff", old, new)
        assert "Their values say the same." in alone("scheme", "diff", old, old)
        (told,) = map(json.loads, alone("scheme", "diff", old, new, "--json").splitlines())
        assert [(v["value"], v["change"]) for v in told["values"]] == [("=1+1", "CHANGED")]

    def test_a_crosswalk_for_spreadsheets_holds_no_formula(self, tmp_path: Path) -> None:
        one = write(tmp_path / "one.toml", title="@SUM(A1)")
        other = write(tmp_path / "other.toml", name="other", title="-1")
        rows = list(csv.DictReader(io.StringIO(alone("reconcile", "crosswalk", one, other, "--csv"))))
        assert [(r["value"], r["other value"], r["relation"], r["written"]) for r in rows] == [
            ("1", "1", "corresponds", "yes"),
            ("1", "'=1+1", "conflicts", "-"),
            ("'=1+1", "1", "conflicts", "-"),
            ("'=1+1", "'=1+1", "corresponds", "yes"),
        ]
        assert (rows[3]["title"], rows[3]["other title"]) == ("'@SUM(A1)", "'-1")

    def test_a_picture_is_not_written_over_another_file(self, tmp_path: Path) -> None:
        one, picture = write(tmp_path / "one.toml"), tmp_path / "it.svg"
        alone("reconcile", "crosswalk", one, one, "--svg", str(picture))
        first = picture.read_text("utf-8")
        assert ElementTree.fromstring(first).tag.endswith("svg")
        picture.write_text("mine", "utf-8")
        arguments = ["reconcile", "crosswalk", one, one, "--svg", str(picture)]
        refused = CliRunner().invoke(main, arguments, catch_exceptions=False)
        assert refused.exit_code == REFUSED
        assert "--force" in refused.stderr
        assert picture.read_text("utf-8") == "mine"
        alone(*arguments, "--force")
        assert picture.read_text("utf-8") == first

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (None, "cannot be read: No such file"),
            (b"\xff", "is not UTF-8"),
            (b"#" * (1024 * 1024 + 1), "has more than 1048576 bytes"),
            (b"id = 1", "it.toml: id must be a text in quotes, got 1"),
            (b"titel = 1", "it.toml: titel is unknown; did you mean title?"),
        ],
    )
    def test_a_file_that_is_none_is_named(self, tmp_path: Path, content: bytes | None, said: str) -> None:
        path = tmp_path / "it.toml"
        if content is not None:
            path.write_bytes(content)
        done = CliRunner().invoke(main, ["scheme", "diff", str(path), str(path)], catch_exceptions=False)
        assert done.exit_code == REFUSED
        assert said in done.stderr
        assert "it.toml" in done.stderr

    @pytest.mark.parametrize(
        "line", ["reconcile crosswalk a.toml b.toml --csv --json", "scheme show x --toml --json", "scheme sign-off x@1"]
    )
    def test_what_excludes_each_other_is_said(self, line: str) -> None:
        assert CliRunner().invoke(main, line.split(), catch_exceptions=False).exit_code == USAGE


class TestWithAHub:
    def test_a_file_beside_what_the_hub_has(self, run: Run, tmp_path: Path) -> None:
        file = write(tmp_path / "it.toml", name="beside")
        put = run("scheme", "put", file, "--comment", "a letter")
        assert put.exit_code == DONE, put.stderr
        assert "sign-off beside@1" in put.stderr
        assert "put into the hub by operator at" in put.stdout
        assert "nothing was retired" in run("scheme", "retire", "beside@1", "--dry-run").stderr
        assert run("scheme", "show", "beside", "--toml").stdout == Path(file).read_text("utf-8")
        told = run("scheme", "diff", "beside", file)
        assert "status: draft -> verified" in told.stdout
        assert "Their values say the same." in told.stdout
        # The draft writes nothing, the file would.
        rows = list(map(json.loads, run("reconcile", "crosswalk", "beside", "vic-us", "--json").stdout.splitlines()))
        assert not any(r["written"] or r["written_back"] for r in rows)
        rows = list(map(json.loads, run("reconcile", "crosswalk", file, "vic-us", "--json").stdout.splitlines()))
        assert {(r["value"], r["other_value"]) for r in rows if r["written_back"]} == {("1", "1"), ("=1+1", "4")}

    def test_what_the_hub_refuses_is_said_with_its_reason(self, run: Run, tmp_path: Path) -> None:
        file = write(tmp_path / "it.toml", name="vic-us")
        Path(file).write_text(Path(file).read_text("utf-8").replace('"1"', '"2"', 1), "utf-8")
        done = run("scheme", "put", file, "--json")
        assert done.exit_code == REFUSED
        assert json.loads(done.stdout.splitlines()[-1])["error"]["reason"] == "RESOURCE_EXISTS"
        done = run("scheme", "show", "none", "--toml")
        assert (done.exit_code, done.stdout) == (REFUSED, "")

    def test_nothing_is_put_where_it_is_only_tried(self, run: Run, tmp_path: Path) -> None:
        file = write(tmp_path / "it.toml", name="tried")
        done = run("scheme", "put", file, "--dry-run")
        assert "nothing was put" in done.stderr
        assert "put into the hub" not in done.stdout, "a try is not told as done"
        assert run("scheme", "show", "tried").exit_code == REFUSED

    def test_a_sign_off_that_is_only_tried_is_told_as_such(self, run: Run, tmp_path: Path) -> None:
        for name in ("first", "second"):  # nobody signs off what they put themselves
            token = tmp_path / f"{name}.token"
            token.write_text(run("token", "create", f"{name}-operator", "--role", "operator").stdout)
        file = write(tmp_path / "it.toml", name="signed")
        assert run("scheme", "put", file, "--token-file", str(tmp_path / "first.token")).exit_code == DONE
        tried, done = (
            run("scheme", "sign-off", "signed@1", "--comment", "read", "--token-file", str(token), *options)
            for options in (["--dry-run"], [])
        )
        assert (tried.exit_code, done.exit_code) == (DONE, DONE), tried.stderr + done.stderr
        assert "nothing was signed off" in tried.stderr
        assert "nothing was signed off" not in done.stderr
