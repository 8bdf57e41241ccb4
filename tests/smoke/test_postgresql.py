"""A hub on PostgreSQL, with two workers."""

from __future__ import annotations

from pathlib import Path

from hashhub.model import Verdict, WithdrawalReason
from hashhub.testing.hub_process import running_hub
from tests.e2e.conftest import Desk
from tests.patience import wait_until


def test_the_main_job_and_a_restart(tmp_path: Path, postgresql_url: str) -> None:
    data = tmp_path / "data"
    with running_hub(data, "--database", postgresql_url, "--workers", "2") as hub:
        desk = Desk(hub, tmp_path)
        hash_set = desk.hash_set("hotline/known")
        source, items = desk.vics("list.json", 20, seed=8)
        counts = desk.contribute(source, hash_set)["counts"]
        assert counts["accepted"] == counts["items"] == 20
        wait_until(lambda: desk.verdicts(*items) == [Verdict.MATCH] * 20)  # whichever worker is asked
        with desk.client() as client:
            client.withdraw_entry(next(iter(client.list_entries(hash_set))).name, WithdrawalReason.ERROR)
        wait_until(lambda: desk.verdicts(*items).count(Verdict.NO_MATCH) == 1)
    with running_hub(data, "--database", postgresql_url) as hub:
        desk = Desk(hub, tmp_path)
        assert desk.verdicts(*items).count(Verdict.NO_MATCH) == 1
        source.write_bytes(source.read_bytes() + b"\n")
        assert desk.contribute(source, hash_set)["counts"]["stays_withdrawn"] == 1
        assert desk.run("doctor", "--data", data, "--database", postgresql_url).exit_code == 0
