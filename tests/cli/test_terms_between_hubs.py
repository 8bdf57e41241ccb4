"""Hub, file, hub, file: terms hold at the receiver as a floor, and reviews keep their authors."""

from __future__ import annotations

import gzip
import json
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from hashhub.cli import main
from hashhub.testing.hub_process import RunningHub
from hashhub.testing.lists import list_file, random_items
from tests.warm import Warm

Run = Callable[..., Result]
AMBER = ("--permitted-purpose", "CHILD_PROTECTION", "--terms-expire", "2036-01-31", "--legal-basis", "an agreement")


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def hub(request: pytest.FixtureRequest, warmed: Warm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    """A hub on each kind of database in turn."""
    more = []
    if request.param == "postgresql":
        more = ["--database", request.getfixturevalue("postgresql").create_database()]
    with warmed.hub(tmp_path_factory.mktemp("hub"), *more) as running:
        yield running


@pytest.fixture(scope="session")
def police(hub: RunningHub) -> str:
    """Return the name of a contributor that exists at this hub, and not only at that of other modules."""
    environment = {"HASHHUB_SERVER": hub.address, "HASHHUB_TOKEN_FILE": str(hub.token_file)}
    arguments = ["contributor", "create", "police-us", "--kind", "law-enforcement", "--jurisdiction", "US"]
    made = CliRunner().invoke(main, arguments, env=environment, catch_exceptions=False)
    assert made.exit_code == 0, made.stderr
    return "police-us"


def done(run: Run, *arguments: str) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.stderr
    return result.stdout


def told(run: Run, *arguments: str) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(done(run, *arguments, "--json"))
    return made


@pytest.fixture
def handed_over(run: Run, hash_set: str, tmp_path: Path) -> Path:
    """Return the file of a list under terms, with an objection of somebody else's to its first entry."""
    listed = list_file("vics-2.0", random_items(5, seed=1, values=("1",)))
    (tmp_path / "in.json").write_bytes(listed.data)
    done(run, "import", str(tmp_path / "in.json"), "--format", "vics", "--hash-set", hash_set)
    done(run, "hash-set", "update", hash_set, *AMBER)
    entry = json.loads(done(run, "entry", "search", "--hash-set", hash_set, "--json").splitlines()[0])["name"]
    done(run, "review", "add", entry, "--kind", "false-positive", "--comment", "not what it says")
    out = tmp_path / "out.jsonl"
    done(run, "export", "--format", "hashhub-jsonl", "--hash-set", hash_set, "--out", str(out),
         *own_token(run, hash_set.partition("/")[0], tmp_path))  # fmt: skip
    return out


def own_token(run: Run, contributor: str, directory: Path, *more: str) -> tuple[str, str]:
    """Return the options that use a new token of the contributor, which may hand on what is its own."""
    file = directory / f"{contributor}.token"
    done(run, "token", "create", f"{contributor}-{abs(hash(directory))}", "--contributor", contributor,
         "--role", "contributor", "--out", str(file), *more)  # fmt: skip
    return ("--token-file", str(file))


def receiving(run: Run, name: str, *terms: str) -> str:
    contributor = name.partition("/")[0]
    run("contributor", "create", contributor, "--kind", "platform", "--jurisdiction", "FR")
    done(run, "hash-set", "create", name, "--scheme", "vic-us", *terms)
    return name


def test_looser_terms_are_refused_with_what_to_do(run: Run, handed_over: Path) -> None:
    name = receiving(run, "fr-a/partner")
    for extra in ((), ("--dry-run",)):
        refused = run("import", str(handed_over), "--hash-set", name, *extra)
        assert refused.exit_code == 1
        for said in ("permitted_purposes", "expire_time", "legal_basis", f"hashhub hash-set update {name}"):
            assert said in refused.stderr
    remedy = refused.stderr.partition("hashhub hash-set update ")[2].partition(";")[0]
    done(run, "hash-set", "update", *shlex.split(remedy))
    report = told(run, "import", str(handed_over), "--hash-set", name)
    assert report["counts"]["accepted"] == 5


def test_the_floor_holds_while_entries_stand_under_it(run: Run, handed_over: Path, tmp_path: Path) -> None:
    name = receiving(run, "fr-b/partner", *AMBER)
    first = told(run, "import", str(handed_over), "--hash-set", name)
    for looser in (("--tlp", "green"), ("--clear-purposes",), ("--terms-expire", "never"), ("--disclose-existence",),
                   ("--bulk",), ("--redistribution",), ("--legal-basis", "none")):  # fmt: skip
        refused = run("hash-set", "update", name, *looser)
        assert refused.exit_code == 1, looser
        assert "TERMS_TOO_LOOSE" in refused.stderr or "under which entries stand" in refused.stderr
    assert told(run, "import", str(handed_over), "--hash-set", name)["repeated"]
    # The same statements under the same terms are unchanged, and those of a plain list lose no terms.
    again = told(run, "export", "--format", "hashhub-jsonl", "--hash-set", name, "--out", str(tmp_path / "2.jsonl"),
                 *own_token(run, "fr-b", tmp_path))  # fmt: skip
    assert again["written"] == 5
    head, *lines = (tmp_path / "2.jsonl").read_text().splitlines()
    marking = json.loads(head)["hash_sets"][0]["marking"]
    assert (marking["tlp"], marking["permitted_purposes"]) == ("AMBER", ["CHILD_PROTECTION"])
    reviews = [r for line in lines for r in json.loads(line).get("reviews", [])]
    assert [(r["kind"], r["comment"]) for r in reviews] == [("FALSE_POSITIVE", "not what it says")]
    assert reviews[0]["author"].startswith("fr-")
    done(run, "entry", "withdraw", "--import", f"{name}/{first['name'].rpartition('/')[2]}", "--reason", "error",
         "--comment", "c", "--yes")  # fmt: skip
    done(run, "hash-set", "update", name, "--tlp", "green")  # nothing stands under the floor
    restored = run("entry", "restore", "--import", f"{name}/{first['name'].rpartition('/')[2]}", "--yes",
                   "--comment", "c")  # fmt: skip
    assert restored.exit_code == 1
    assert "under which the entries were listed" in restored.stderr


def test_reviews_arrive_as_those_of_members(run: Run, handed_over: Path) -> None:
    name = receiving(run, "fr-c/partner", *AMBER)
    done(run, "import", str(handed_over), "--hash-set", name)
    found = done(run, "entry", "search", "--hash-set", name, "--json").splitlines()
    entries = [json.loads(line)["name"] for line in found]
    said = [json.loads(r) for e in entries for r in done(run, "review", "list", e, "--json").splitlines()]
    assert [(r["kind"], r["comment"]) for r in said] == [("FALSE_POSITIVE", "not what it says")]
    assert said[0]["author"].startswith("fr-")


def test_the_floor_is_shown_to_whom_it_binds(run: Run, handed_over: Path, tmp_path: Path) -> None:
    name = receiving(run, "fr-e/partner", *AMBER)
    assert told(run, "hash-set", "get", name)["floors"] == []
    done(run, "import", str(handed_over), "--hash-set", name)
    (floor,) = told(run, "hash-set", "get", name)["floors"]
    assert (floor["tlp"], floor["permitted_purposes"], floor["legal_basis"]) == (
        "AMBER", ["CHILD_PROTECTION"], "an agreement")  # fmt: skip
    words = "no looser than entries in it came with: TLP:AMBER; for CHILD_PROTECTION; until 2036-01-31 00:00Z"
    assert words in done(run, "hash-set", "get", name)
    own = own_token(run, "fr-e", tmp_path)
    assert words in done(run, "hash-set", "get", name, *own)
    receiving(run, "fr-f/other")
    others = own_token(run, "fr-f", tmp_path, "--purpose", "CHILD_PROTECTION")
    assert told(run, "hash-set", "get", name, *others)["floors"] == []
    (shown,) = [json.loads(x) for x in done(run, "hash-set", "list", "fr-e", "--json").splitlines()]
    assert shown["name"] == name


def test_an_export_that_comes_back_changes_nothing(run: Run, handed_over: Path, tmp_path: Path) -> None:
    """Neither where it was exported nor at a receiver: the same statements are unchanged, whatever they say."""
    listed = list_file("vics-2.0", random_items(9, seed=3, values=("1", "2", "")))
    (tmp_path / "in.json").write_bytes(listed.data)
    name = receiving(run, "fr-g/own", *AMBER)
    counted = told(run, "import", str(tmp_path / "in.json"), "--format", "vics", "--hash-set", name)["counts"]
    entry = json.loads(done(run, "entry", "search", "--hash-set", name, "--json").splitlines()[0])["name"]
    done(run, "review", "add", entry, "--kind", "false-positive", "--comment", "not what it says")
    own = own_token(run, "fr-g", tmp_path)
    done(run, "review", "add", entry, "--kind", "confirmed", "--comment", "seen again", *own)
    said = reviews_of(run, entry)
    for number in range(3):
        out = str(tmp_path / f"{number}.jsonl")
        done(run, "export", "--format", "hashhub-jsonl", "--hash-set", name, "--out", out, *own)
        for way in (("--dry-run",), ()):
            counts = told(run, "import", out, "--hash-set", name, *way)["counts"]
            assert (counts["unchanged"], counts["superseded"]) == (counts["items"], 0)
            assert counts["items"] == counted["accepted"]
    assert reviews_of(run, entry) == said
    done(run, "hash-set", "update", name, "--tlp", "green")  # its own file is no floor for itself
    changed = tmp_path / "changed.jsonl"
    changed.write_text((tmp_path / "0.jsonl").read_text().replace('"position":', '"series":"a","position":', 1))
    assert told(run, "import", str(changed), "--hash-set", name)["counts"]["superseded"] == 1

    there = receiving(run, "fr-h/partner", *AMBER)
    for number in range(3):
        out = str(tmp_path / f"there-{number}.jsonl")
        done(run, "export", "--format", "hashhub-jsonl", "--hash-set", name, "--out", out, *own)
        counts = told(run, "import", out, "--hash-set", there)["counts"]
        assert counts["unchanged" if number else "accepted"] == counts["items"]


def reviews_of(run: Run, entry: str) -> list[tuple[str, str, str]]:
    listed = map(json.loads, done(run, "review", "list", entry, "--json").splitlines())
    return sorted((r["kind"], r["author"], r["comment"]) for r in listed)


def test_a_hash_set_of_the_same_name_at_another_hub_is_another(
    warmed: Warm, run: Run, handed_over: Path, hash_set: str, tmp_path: Path
) -> None:
    """It is no source of its own: what comes from elsewhere under its name comes under a floor."""
    with warmed.hub(tmp_path / "other") as other:

        def there(*arguments: str) -> Result:
            environment = {"HASHHUB_SERVER": other.address, "HASHHUB_TOKEN_FILE": str(other.token_file)}
            return CliRunner().invoke(main, arguments, env=environment, catch_exceptions=False)

        contributor = hash_set.partition("/")[0]
        done(there, "contributor", "create", contributor, "--kind", "platform", "--jurisdiction", "FR")
        done(there, "hash-set", "create", hash_set, "--scheme", "vic-us", "--purpose", "csam", *AMBER)
        assert told(there, "import", str(handed_over), "--hash-set", hash_set)["counts"]["accepted"] == 5
        assert told(there, "hash-set", "get", hash_set)["floors"]
        refused = there("hash-set", "update", hash_set, "--tlp", "green")
        assert refused.exit_code == 1
        counts = told(run, "import", str(handed_over), "--hash-set", hash_set)["counts"]
        assert (counts["unchanged"], counts["superseded"]) == (5, 0)


def test_what_a_file_states_is_told_before_it_is_imported(run: Run, handed_over: Path, tmp_path: Path) -> None:
    words = "TLP:AMBER; for CHILD_PROTECTION; until 2036-01-31 00:00Z"
    name = receiving(run, "fr-d/partner", *AMBER)
    packed = tmp_path / "out.jsonl.gz"
    packed.write_bytes(gzip.compress(handed_over.read_bytes()))
    for file in (handed_over, packed):
        assert words in done(run, "formats", "detect", str(file))
        (terms,) = told(run, "formats", "detect", str(file))["terms"]
        assert (terms["tlp"], terms["legal_basis"]) == ("AMBER", "an agreement")
    for way in (("--dry-run",), ()):
        assert words in done(run, "import", str(handed_over), "--hash-set", name, *way)
        assert told(run, "import", str(handed_over), "--hash-set", name, *way)["terms"] == [terms]
    assert words in done(run, "hash-set", "get", name)


def test_how_often_a_field_was_left_out_is_a_number(run: Run, hash_set: str, tmp_path: Path) -> None:
    listed = list_file("vics-2.0", random_items(1_200, seed=2, values=("1",)))
    document = json.loads(listed.data)
    for one in document["value"]:
        one["Nickname"] = "nobody"
    path = tmp_path / "in.json"
    path.write_text(json.dumps(document))
    for way in (("--dry-run",), ()):
        found = told(run, "import", str(path), "--hash-set", hash_set, *way)["findings"]
        groups = [f for f in found if f["reason"] == "FIELD_LEFT_OUT"]
        assert {"field Nickname": 1_200}.items() <= {g["positions"][0]: g["count"] for g in groups}.items()
        assert all(g["detail"].startswith("left out 1,200 times") for g in groups if g["count"] == 1_200)
