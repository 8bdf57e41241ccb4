"""Groups, terms and tokens on the command line."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.cli.conftest import Run

DONE, REFUSED, USAGE = 0, 1, 2


def one(run: Run, *arguments: str) -> dict[str, Any]:
    """Run the command with --json and return the one object that it prints."""
    done = run(*arguments, "--json")
    assert done.exit_code == DONE, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_groups(run: Run, police: str) -> None:
    one(run, "contributor", "create", "ally", "--kind", "ngo", "--jurisdiction", "ZZ")
    made = one(run, "group", "create", "allies", "--display-name", "Allies", "--member", police)
    assert (made["id"], made["members"]) == ("allies", [police])
    assert one(run, "group", "update", "allies", "--add-member", "ally")["members"] == [police, "ally"]
    changed = one(run, "group", "update", "allies", "--remove-member", police, "--display-name", "Allied")
    assert (changed["members"], changed["display_name"]) == (["ally"], "Allied")
    assert one(run, "group", "update", "allies", "--member", police)["members"] == [police]
    assert one(run, "group", "get", "allies")["display_name"] == "Allied"
    assert "allies" in run("group", "list").stdout
    assert run("group", "update", "allies").exit_code == REFUSED
    assert run("group", "update", "allies", "--member", "ally", "--add-member", "ally").exit_code == USAGE
    assert "nobody" in run("group", "update", "allies", "--remove-member", police).stdout
    assert run("group", "delete", "allies").exit_code == DONE
    assert run("group", "create", "allies").exit_code == REFUSED


def test_terms_change_one_by_one(run: Run, hash_set: str, police: str) -> None:
    def terms(*options: str) -> dict[str, Any]:
        item: dict[str, Any] = one(run, "hash-set", "update", hash_set, *options)["marking"]
        return item

    before = terms(
        "--recipient", f"contributors/{police}", "--permitted-purpose", "x", "--permitted-purpose", "y", "--bulk",
        "--legal-basis", "law", "--redistribution", "--disclose-existence", "--terms-expire", "30d", "--tlp", "red",
    )  # fmt: skip
    assert (before["tlp"], before["bulk"], before["permitted_purposes"]) == ("RED", True, ["x", "y"])
    assert before["expire_time"] is not None
    refused = run("hash-set", "update", hash_set, "--clear-recipients")
    assert refused.exit_code == REFUSED
    assert "TLP:RED needs" in refused.stderr
    assert terms("--clear-recipients", "--tlp", "green") == {**before, "recipients": [], "tlp": "GREEN"}
    assert terms("--clear-purposes")["permitted_purposes"] == []
    assert terms("--terms-expire", "never")["expire_time"] is None
    assert terms("--terms-expire", "2030-01-31")["expire_time"] == "2030-01-31T00:00:00Z"
    after = terms("--no-bulk", "--no-redistribution", "--conceal-existence")
    assert (after["bulk"], after["redistribution"], after["disclose_existence"]) == (False, False, False)
    assert after["legal_basis"] == "law"
    shown = run("hash-set", "get", hash_set).stdout
    assert "TLP:GREEN; until 2030-01-31 00:00Z" in shown
    assert "legal basis: law" in shown.splitlines()
    for wrong in ("nobody", "contributors/nobody", ""):
        assert run("hash-set", "update", hash_set, "--recipient", wrong).exit_code == REFUSED
    both = run("hash-set", "update", hash_set, "--recipient", f"contributors/{police}", "--clear-recipients")
    assert both.exit_code == USAGE
    for wrong in ("tomorrow", "30", "2030-13-01", "99999999d", "-1d"):
        assert run("hash-set", "update", hash_set, "--terms-expire", wrong).exit_code == USAGE, wrong


def test_accepting_what_was_seen(run: Run, hash_set: str, police: str) -> None:
    revision = one(run, "status")["revision"]
    done = run("hash-set", "accept", hash_set, "--comment", "looked", "--json")
    assert done.exit_code == DONE
    assert done.stderr == f"accepted {hash_set} up to revision {revision}: 0 active entries\n"
    assert json.loads(done.stdout)["accepted_revision"] == revision
    assert one(run, "hash-set", "accept", hash_set, "--revision", "1")["accepted_revision"] == 1
    assert run("hash-set", "accept", hash_set, "--revision", "999999").exit_code == REFUSED
    now = one(run, "status")["revision"]
    assert one(run, "contributor", "accept-objections", police)["objections_accepted_revision"] == now


def test_retiring_asks_first(run: Run) -> None:
    one(run, "contributor", "create", "leaving", "--kind", "ngo", "--jurisdiction", "ZZ")
    assert run("contributor", "retire", "leaving", "--entries", "keep", input="n\n").exit_code == REFUSED
    assert one(run, "contributor", "get", "leaving")["retire_time"] is None
    assert one(run, "contributor", "retire", "leaving", "--entries", "keep", "--yes", "--comment", "merged")[
        "retire_time"
    ]
    assert "leaving (retired)" in run("contributor", "list").stdout
    assert run("hash-set", "create", "leaving/new", "--purpose", "csam").exit_code == REFUSED


def test_each_list_of_a_token_is_emptied_by_command(run: Run, police: str) -> None:
    identity = ("--identity", "DNS:moved.example")
    run("token", "create", "old", "--role", "consumer", "--contributor", police, "--purpose", "moderation",
        *identity, "--from", "192.0.2.0/24")  # fmt: skip
    taken = ("token", "create", "new", "--role", "consumer", "--contributor", police, *identity)
    assert run(*taken).exit_code == REFUSED
    for name, field in (("networks", "addresses"), ("identities", "identities"), ("purposes", "purposes")):
        before = one(run, "token", "get", "old")
        assert before[field]
        assert one(run, "token", "update", "old", f"--clear-{name}") == {**before, field: []}
    assert run(*taken).exit_code == DONE
    assert run("token", "update", "new", "--clear-identities", "--identity", "DNS:x.example").exit_code == USAGE


def test_tokens_live_and_end(run: Run, police: str, tmp_path: Any) -> None:
    file = tmp_path / "secret"
    made = run(
        "token", "create", "till", "--role", "consumer", "--contributor", police, "--purpose", "moderation",
        "--description", "at the till", "--acts-for-others", "--may-mirror", "--expires", "90d", "--out", str(file),
    )  # fmt: skip
    assert made.exit_code == DONE, made.stderr
    shown = one(run, "token", "get", "till")
    assert (shown["contributor"], shown["acts_for_others"], shown["may_mirror"]) == (police, True, True)
    assert shown["expire_time"] is not None
    changed = one(run, "token", "update", "till", "--acts-for-itself", "--expires", "never", "--clear-purposes")
    assert (changed["acts_for_others"], changed["expire_time"], changed["purposes"]) == (False, None, [])
    assert (changed["may_mirror"], changed["description"]) == (True, "at the till")
    shared = one(run, "token", "update", "till", "--share", "calls=64", "--share", "media-seconds=5")
    assert (shared["shares"]["calls"], shared["shares"]["media_seconds"]) == (64, 5)
    shared = one(run, "token", "update", "till", "--share", "calls=0")
    assert (shared["shares"]["calls"], shared["shares"]["media_seconds"]) == (0, 5)
    assert run("token", "update", "till", "--share", "cows=1").exit_code == USAGE
    assert shown["max_effort"] is None
    assert one(run, "token", "update", "till", "--max-effort", "standard")["max_effort"] == "STANDARD"
    assert "effort standard at most" in run("token", "list").stdout
    assert one(run, "token", "update", "till", "--description", "again")["max_effort"] == "STANDARD"
    assert one(run, "token", "update", "till", "--max-effort", "default")["max_effort"] is None
    assert run("token", "update", "till", "--max-effort", "much").exit_code == USAGE
    assert one(run, "token", "update", "till", "--description", "at the till")["description"] == "at the till"
    assert "media-seconds 5" in run("token", "list").stdout
    assert run("token", "update", "till").exit_code == REFUSED
    assert run("token", "get", "nobody").exit_code == REFUSED

    query = ("match", "--hash", "MD5:" + "0d" * 16)
    renewed = tmp_path / "renewed"
    rotated = run("token", "rotate", "till", "--grace", "1h", "--out", str(renewed), "--token-file", str(file))
    assert rotated.exit_code == DONE, rotated.stderr  # by itself
    assert run(*query, "--token-file", str(file)).exit_code == DONE
    file = renewed.rename(tmp_path / "between")
    rotated = run("token", "rotate", "till", "--grace", "0", "--out", str(renewed))
    assert rotated.exit_code == DONE, rotated.stderr  # by an operator
    assert run(*query, "--token-file", str(renewed)).exit_code == DONE
    time.sleep(1.1)
    ended = run(*query, "--token-file", str(file))
    assert ended.exit_code == REFUSED
    assert "got a new secret" in ended.stderr
    one(run, "token", "update", "till", "--expires", "now")
    time.sleep(1.1)
    ended = run(*query, "--token-file", str(renewed))
    assert "has expired" in ended.stderr
    assert "hashhub token update" in ended.stderr
    assert "till" in run("token", "list").stdout


def test_a_token_without_a_contributor_says_what_to_do_first(run: Run) -> None:
    refused = run("token", "create", "lonely", "--role", "consumer")
    assert refused.exit_code == REFUSED
    assert "hashhub contributor create" in refused.stderr


@pytest.mark.parametrize("grace", ["1", "1w", "d", "-1d", "31d"])
def test_a_grace_is_a_time_span_of_at_most_thirty_days(run: Run, grace: str) -> None:
    assert run("token", "rotate", "operator", "--grace", grace).exit_code in {USAGE, REFUSED}
