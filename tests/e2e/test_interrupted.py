"""Imports that are repeated, cut off on either side, or meet a full disk."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hashhub.client.contribution import BATCH_ITEMS
from hashhub.errors import HashHubError, Reason
from hashhub.model import Verdict, WithdrawalReason
from tests.disks import fill, small_disk
from tests.e2e.conftest import stop_when

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.e2e.conftest import Desk, OpenHub

DONE, REFUSED, UNAVAILABLE = 0, 1, 3


def free_port() -> str:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{s.getsockname()[1]}"


def test_the_same_file_twice_and_by_two_contributors(desk: Desk, new_set: str) -> None:
    source, items = desk.vics("list.json", 20, seed=10)
    first = desk.contribute(source, new_set)
    again = desk.contribute(source, new_set)
    assert again["repeated"]
    assert (again["import"], again["revision"]) == (first["import"], first["revision"])
    assert desk.visible(new_set) == 20

    other = desk.hash_set(new_set.replace("hotline/", "police/"))
    second = desk.contribute(source, other)
    assert not second["repeated"]
    assert second["counts"]["accepted"] == 20
    # The same statement by another one is another statement: both are there, each attributed.
    done = desk.run("match", "--hash", f"MD5:{items[0].digest('MD5')}", "--policy", "any", "--json")
    assert {m["hash_set"] for m in json.loads(done.stdout)["matches"]} == {new_set, other}
    # Taking back one leaves the other.
    with desk.client() as hub:
        for entry in list(hub.list_entries(new_set)):
            hub.withdraw_entry(entry.name, WithdrawalReason.ERROR)
        assert desk.verdict(items[0]) == Verdict.MATCH
        for entry in list(hub.list_entries(other)):
            hub.withdraw_entry(entry.name, WithdrawalReason.ERROR)
    assert desk.verdicts(*items) == [Verdict.NO_MATCH] * 20


def test_the_same_file_from_two_clients_at_once(desk: Desk, new_set: str) -> None:
    source, items = desk.vics("list.json", 6_000, seed=11)
    arguments = ("import", source, "--format", "vics", "--hash-set", new_set, "--json")
    processes = [desk.start(*arguments) for _ in range(3)]
    ended = [(*p.communicate(timeout=300), p.returncode) for p in processes]
    assert DONE in [code for *_, code in ended], ended
    for out, err, code in ended:
        # Whoever did not do it says why, and what to do; nobody says that it is done when it is not.
        assert code == DONE or "again" in err or "retry" in err, (out, err)
    assert desk.visible(new_set) == 6_000
    assert desk.states(new_set) == ["COMMITTED"]
    assert desk.verdicts(*items[::600]) == [Verdict.MATCH] * 10


def test_a_client_that_is_killed_is_resumed_by_the_same_command(desk: Desk, new_set: str) -> None:
    source, items = desk.vics("list.json", 30_000, seed=12)
    arguments = ("import", source, "--format", "vics", "--hash-set", new_set, "--json")
    process = desk.start(*arguments)
    with desk.client() as hub:
        stop_when(process, lambda: any(i.batch_count >= 2 for i in hub.list_imports(new_set)))
    process.kill()
    process.wait()
    assert desk.states(new_set) == ["OPEN"]
    assert desk.visible(new_set) == 0
    assert desk.verdict(items[0]) == Verdict.NO_MATCH

    report = desk.contribute(source, new_set)
    assert report["resumed_batches"] >= 2
    assert report["counts"]["accepted"] == 30_000
    assert desk.verdicts(items[0], items[15_000], items[-1]) == [Verdict.MATCH] * 3


def test_a_server_that_is_killed_mid_import_and_mid_commit(
    tmp_path: Path, wait_until: Callable[..., None], kill: Callable[[int], None], open_hub: OpenHub
) -> None:
    data, listen = tmp_path / "data", free_port()
    with open_hub(data, "--listen", listen) as desk:
        hash_set = desk.hash_set("hotline/known")
        kept, kept_items = desk.vics("kept.json", 10, seed=13)
        desk.contribute(kept, hash_set)
        source, items = desk.vics("list.json", 60_000, seed=14)
        arguments = ("import", source, "--format", "vics", "--hash-set", hash_set, "--json")
        process = desk.start(*arguments)
        with desk.client() as hub:
            stop_when(process, lambda: next(iter(hub.list_imports(hash_set))).batch_count >= 2)
        # Killed in the middle of an import: the client waits for its return and goes on by itself.
        kill(desk.hub.pid)
        process.send_signal(signal.SIGCONT)
        assert desk.verdict(kept_items[0]) == Reason.SERVER_UNAVAILABLE

    with open_hub(data, "--listen", listen) as desk:
        assert process.poll() is None, process.communicate()
        assert desk.verdicts(kept_items[0], items[0]) == [Verdict.MATCH, Verdict.NO_MATCH]
        with desk.client() as hub:
            wait_until(lambda: next(iter(hub.list_imports(hash_set))).state == "COMMITTING")
        kill(desk.hub.pid)
        process.kill()
        process.communicate()

    with open_hub(data, "--listen", listen) as desk:
        # Killed in the middle of the commit: nothing of it is visible, and whoever asks again gets it done, without
        # waiting.
        assert desk.states(hash_set)[0] == "COMMITTING"
        assert desk.visible(hash_set) == 10
        assert desk.verdicts(kept_items[0], items[0], items[-1]) == [Verdict.MATCH, Verdict.NO_MATCH, Verdict.NO_MATCH]
        report = desk.contribute(source, hash_set)
        assert report["resumed_batches"] == 60_000 // BATCH_ITEMS + 1  # with what was left out of the items
        assert report["counts"]["accepted"] == 60_000
        assert desk.verdicts(*items[::6_000], items[-1]) == [Verdict.MATCH] * 11


def test_a_hub_that_is_killed_in_a_large_withdrawal_has_done_all_of_it(
    tmp_path: Path, open_hub: OpenHub, wait_until: Callable[..., None], kill: Callable[[int], None]
) -> None:
    """It is visible in one small transaction; what was not written into the rows by then is, after the next start."""
    data, listen = tmp_path / "data", free_port()
    with open_hub(data, "--listen", listen) as desk:
        hash_set = desk.hash_set("hotline/known")
        source, items = desk.vics("list.json", 15_000, seed=17)
        desk.contribute(source, hash_set)
        process = desk.start("entry", "withdraw", "--hash-set", hash_set, "--reason", "error", "--yes")
        with desk.client() as hub:
            wait_until(lambda: any(e.kind == "ENTRIES_WITHDRAWN" for e in hub.list_events(hash_set, limit=1)))
        kill(desk.hub.pid)
        process.kill()
        process.communicate()

    with open_hub(data, "--listen", listen) as desk:
        assert desk.verdicts(*items[::1_500], items[-1]) == [Verdict.NO_MATCH] * 11
        with desk.client() as hub:
            states = {(e.state, e.withdrawal.reason if e.withdrawal else None) for e in hub.list_entries(hash_set)}
            assert states == {("WITHDRAWN", WithdrawalReason.ERROR)}
        # What was withdrawn by hand stays so, whatever the list says.
        again, _ = desk.vics("again.json", 15_000, seed=17)
        again.write_bytes(again.read_bytes() + b"\n")
        assert desk.contribute(again, hash_set)["counts"]["stays_withdrawn"] == 15_000


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", 48) as disk:
        yield disk


def test_a_full_disk_is_named_and_over_when_there_is_room(disk: Path, open_hub: OpenHub) -> None:
    with open_hub(disk / "data") as desk:
        hash_set = desk.hash_set("hotline/known")
        kept, kept_items = desk.vics("kept.json", 10, seed=15)
        desk.contribute(kept, hash_set)
        source, items = desk.vics("list.json", 20_000, seed=16)
        # Nearly full: the disk fills up while batches are sent, or in the commit; or nothing fits at all.
        for leave in (0, 1_000_000, 6_000_000):
            ballast = fill(disk, leave)
            done = desk.run("import", source, "--format", "vics", "--hash-set", hash_set)
            assert done.exit_code == REFUSED, (leave, done.stderr)
            assert "disk is full" in done.stderr
            assert "Traceback" not in done.stderr
            assert desk.visible(hash_set) == 10
            assert desk.verdicts(kept_items[0], kept_items[-1]) == [Verdict.MATCH] * 2
            assert desk.verdict(items[0]) == Verdict.NO_MATCH
            ballast.unlink()
        report = desk.contribute(source, hash_set)
        assert report["counts"]["accepted"] == 20_000
        assert desk.verdicts(*items[::2_000], kept_items[0]) == [Verdict.MATCH] * 11
        # A withdrawal that does not fit is refused, and the entry matches on; one that was acknowledged holds.
        ballast = fill(disk)
        with desk.client() as hub:
            entry = next(iter(hub.list_entries(hash_set))).name
            try:
                hub.withdraw_entry(entry, WithdrawalReason.ERROR)
            except HashHubError as e:
                assert e.reason is Reason.DISK_FULL
                assert desk.verdict(kept_items[0]) == Verdict.MATCH
                ballast.unlink()
                hub.withdraw_entry(entry, WithdrawalReason.ERROR)
        assert desk.verdict(kept_items[0]) == Verdict.NO_MATCH
    with open_hub(disk / "data") as desk:
        assert desk.verdicts(*items[::2_000]) == [Verdict.MATCH] * 10
        assert desk.verdict(kept_items[0]) == Verdict.NO_MATCH
