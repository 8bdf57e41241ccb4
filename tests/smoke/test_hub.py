"""A hub as a process: a list comes in, both doors match it, a withdrawal takes it out, and so it stays."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from hashhub.errors import HashHubError, Reason
from hashhub.model import (
    TLP,
    Contributor,
    ContributorKind,
    HashSet,
    Marking,
    Principal,
    Role,
    Verdict,
    WithdrawalReason,
)
from hashhub.testing.hub_process import running_hub
from tests.e2e.conftest import Desk, kill
from tests.patience import wait_until

if TYPE_CHECKING:
    from hashhub.testing.lists import ListItem


def verdict_by_http(desk: Desk, item: ListItem) -> str:
    """Ask by plain JSON."""
    digest = base64.b64encode(bytes.fromhex(item.digest("MD5"))).decode()
    answer = httpx.post(
        f"http://{desk.hub.http}/hashhub.v1.MatchService/MatchHashes",
        json={"query": {"hashes": [{"algorithm": "MD5", "digest": digest}]}, "options": {"policy": "any"}},
        headers={"Authorization": f"Bearer {desk.token}"},
        timeout=60,
    )
    assert answer.status_code == 200, answer.text
    return str(answer.json()["result"]["verdict"]).removeprefix("VERDICT_")


def test_from_list_to_match_to_withdrawal(desk: Desk, new_set: str) -> None:
    source, items = desk.vics("list.json", 20, seed=1)
    assert desk.verdicts(*items) == [Verdict.NO_MATCH] * 20
    report = desk.contribute(source, new_set)
    counts = report["counts"]
    assert counts["accepted"] == counts["items"] == 20
    assert desk.verdicts(*items) == [Verdict.MATCH] * 20
    assert verdict_by_http(desk, items[3]) == "MATCH"

    answer = desk.run("match", "--hash", f"MD5:{items[3].digest('MD5')}", "--policy", "any", "--json")
    (match,) = json.loads(answer.stdout)["matches"]
    assert desk.run("entry", "withdraw", match["entry"], "--reason", "error").exit_code == 0
    assert desk.verdict(items[3]) == Verdict.NO_MATCH
    assert verdict_by_http(desk, items[3]) == "NO_MATCH"

    source.write_bytes(source.read_bytes() + b"\n")  # another file with the same list
    again = desk.contribute(source, new_set)
    assert (again["counts"]["unchanged"], again["counts"]["stays_withdrawn"]) == (19, 1)
    assert desk.verdicts(items[2], items[3]) == [Verdict.MATCH, Verdict.NO_MATCH]


def test_no_contributor_silences_another(desk: Desk, new_set: str) -> None:
    source, items = desk.vics("list.json", 3, seed=2)
    other = desk.hash_set(new_set.replace("hotline/", "police/"))
    desk.contribute(source, new_set)
    desk.contribute(source, other)
    with desk.client() as hub:
        theirs = Desk(desk.hub, desk.directory, hub.create_token(writer("hotline", new_set)))
        for entry in list(hub.list_entries(new_set)):
            hub.withdraw_entry(entry.name, WithdrawalReason.ERROR)
        entry = next(iter(hub.list_entries(other)))
    with theirs.client() as hub, pytest.raises(HashHubError) as refused:
        hub.withdraw_entry(entry.name, WithdrawalReason.ERROR)
    assert refused.value.reason == Reason.NOT_YOUR_CONTRIBUTOR
    assert desk.verdicts(*items) == [Verdict.MATCH] * 3


def writer(contributor: str, name: str) -> Principal:
    return Principal(name=name.replace("/", "-"), role=Role.CONTRIBUTOR, contributor=contributor)


def test_terms_hold_and_roles_do(desk: Desk, new_set: str) -> None:
    contributor = new_set.replace("/", "-")
    source, items = desk.vics("list.json", 2, seed=3)
    with desk.client() as hub:
        hub.create_contributor(
            Contributor(id=contributor, display_name="x", kind=ContributorKind.HOTLINE, jurisdiction="GB")
        )
        hub.create_hash_set(
            HashSet(
                contributor=contributor,
                id="own",
                scheme="vic-us",
                marking=Marking(tlp=TLP.RED, recipients=(f"contributors/{contributor}",)),
            )
        )
        consumer = Principal(name=contributor, role=Role.CONSUMER, contributor="hotline")
        shop = Desk(desk.hub, desk.directory, hub.create_token(consumer))
    desk.contribute(source, f"{contributor}/own")
    assert desk.verdict(items[0]) == Verdict.MATCH
    assert shop.verdict(items[0]) == Verdict.NO_MATCH
    assert desk.as_("hh_unknown").verdict(items[0]) == Reason.TOKEN_UNKNOWN
    with shop.client() as hub, pytest.raises(HashHubError) as refused:
        hub.create_hash_set(HashSet(contributor="hotline", id="mine"))
    assert refused.value.reason == Reason.ROLE_NOT_ALLOWED


def test_a_damaged_list_changes_nothing_and_says_where(desk: Desk, new_set: str) -> None:
    source, items = desk.vics("list.json", 30, seed=4)
    cut = desk.file("cut.json", source.read_bytes()[:-700])
    done = desk.run("import", cut, "--format", "vics", "--hash-set", new_set)
    assert done.exit_code == 1
    assert "Traceback" not in done.stderr
    assert desk.visible(new_set) == 0
    assert desk.verdict(items[0]) == Verdict.NO_MATCH


def test_lists_out_and_in_again(desk: Desk, new_set: str) -> None:
    source, items = desk.vics("list.json", 10, seed=5)
    desk.contribute(source, new_set)
    out = desk.directory / "out.json"
    with desk.client() as hub:
        own = desk.as_(hub.create_token(writer("hotline", new_set)))
    done = own.run("export", "--hash-set", new_set, "--format", "vics", "--out", out)
    assert done.exit_code == 0, done.output
    other = desk.hash_set(new_set.replace("hotline/", "police/"))
    assert desk.contribute(out, other)["counts"]["accepted"] == 10
    with desk.client() as hub:
        digests = {h.digest.hex() for e in hub.list_entries(other) for h in e.hashes if h.algorithm == "MD5"}
    assert digests == {item.digest("MD5").lower() for item in items}


def test_killed_in_a_commit_it_has_all_or_nothing_and_what_was_there_before(tmp_path: Path) -> None:
    with running_hub(tmp_path / "data") as hub:
        desk = Desk(hub, tmp_path)
        kept, hash_set = desk.hash_set("hotline/kept"), desk.hash_set("hotline/known")
        source, kept_items = desk.vics("kept.json", 10, seed=6)
        desk.contribute(source, kept)
        with desk.client() as client:
            client.withdraw_entry(next(iter(client.list_entries(kept))).name, WithdrawalReason.ERROR)
        before = desk.verdicts(*kept_items)
        assert before.count(Verdict.MATCH) == 9
        source, items = desk.vics("list.json", 10_000, seed=7)
        process = desk.start("import", source, "--format", "vics", "--hash-set", hash_set, "--json")
        with desk.client() as client:
            wait_until(lambda: any(i.state in {"COMMITTING", "COMMITTED"} for i in client.list_imports(hash_set)))
        kill(hub.pid)
        desk.close()
    with running_hub(tmp_path / "data") as hub:
        desk = Desk(hub, tmp_path)
        assert desk.verdicts(*kept_items) == before
        # The client is told that all is there only if it is.
        assert desk.visible(hash_set) in ({0, 10_000} if process.returncode else {10_000})
        desk.contribute(source, hash_set)
        assert desk.visible(hash_set) == 10_000
        assert desk.verdicts(*items[::2_000], items[-1]) == [Verdict.MATCH] * 6
