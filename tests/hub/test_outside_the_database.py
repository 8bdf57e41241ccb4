"""Withdrawals outside the database, which a restored backup must not lack."""

from __future__ import annotations

import base64
import json
import shutil
import time
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from hashhub.errors import PermissionDenied, Unauthenticated
from hashhub.model import (
    Action,
    EntryState,
    HashSet,
    Marking,
    Principal,
    Record,
    Role,
    WithdrawalReason,
    now,
)
from tests.hub.conftest import OPERATOR, Desk, Open, digest, item
from tests.hub.test_entries import ALPHA, SECOND, entry_of, restore, withdraw
from tests.hub.test_record import history
from tests.hub.test_selections import WITHDRAW, change


class TestOutsideTheDatabase:
    def test_a_restored_backup_lacks_nothing_that_was_withdrawn(
        self, open_hub: Open, sqlite_directory: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        hub = open_hub()
        desk = Desk(hub)
        desk.hash_set("alpha/list")
        desk.contribute("alpha/list", *(item(n, external_id=f"secret-id-{n}") for n in range(1, 60)))
        hub.close()
        backup = sqlite_directory.parent / "backup.db"
        shutil.copy(sqlite_directory / "hashhub.db", backup)
        hub = open_hub()
        desk = Desk(hub)
        withdraw(desk, 1, reason="REQUESTED_BY_PERSON_SHOWN")
        withdraw(desk, 2)
        restored = withdraw(desk, 3)
        restore(desk, restored)
        gone = Record(position="x", action=Action.WITHDRAW, hashes=(digest("MD5", 4),))
        desk.contribute("alpha/list", gone, item(61))
        erased = entry_of(desk, 5)
        hub.entries.erase(OPERATOR, "alpha", "list", erased.id)
        hub.close()
        log = sqlite_directory / "withdrawals.log"
        assert b"secret-id" not in log.read_bytes()
        assert digest("MD5", 1).digest.hex().encode() not in log.read_bytes()
        assert log.stat().st_mode & 0o077 == 0

        for path in sqlite_directory.glob("hashhub.db*"):
            path.unlink()
        shutil.copy(backup, sqlite_directory / "hashhub.db")
        with caplog.at_level("WARNING"):
            hub = open_hub()
        assert "4 entries that had been withdrawn since were withdrawn again" in caplog.text
        desk = Desk(hub)
        assert desk.known(1, 2, 3, 4, 5, 6) == [3, 6]
        assert [e.reason for e in history(desk)[:4]] == ["REAPPLIED_AFTER_RESTORE"] * 4
        assert entry_of(desk, 1).withdrawal is not None
        assert hub.entries.get(OPERATOR, "alpha", "list", erased.id).reasons == ("ERASED",)
        with pytest.raises(PermissionDenied):
            restore(desk, entry_of(desk, 1))
        again = desk.contribute("alpha/list", *(item(n, external_id=f"secret-id-{n}") for n in (1, 2, 3, 5)))
        assert again.counts.stays_withdrawn == 3
        hub.close()
        caplog.clear()
        open_hub()
        assert "withdrawn again" not in caplog.text

    def test_nor_does_a_restored_backup_let_anybody_in_who_was_shut_out(
        self, open_hub: Open, sqlite_directory: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        hub = open_hub()
        desk = Desk(hub)
        for name in ("alpha", "beta"):
            desk.contributor(name)
        desk.contributor("gamma")
        names = ("deleted", "named", "stolen", "ended", "renewed", "kept")
        secrets = {
            name: hub.tokens.create(OPERATOR, Principal(name=name, role=Role.CONSUMER, contributor="alpha"))[1]
            for name in names
        }
        _, secrets["retired"] = hub.tokens.create(
            OPERATOR, Principal(name="retired", role=Role.CONSUMER, contributor="beta")
        )
        desk.hash_set("gamma/list", marking=Marking(recipients=("tokens/named",)))
        hub.close()
        backup = sqlite_directory.parent / "backup.db"
        shutil.copy(sqlite_directory / "hashhub.db", backup)
        hub = open_hub()
        hub.hash_sets.update(OPERATOR, HashSet(contributor="gamma", id="list"), ["marking.recipients"])
        for name in ("deleted", "named"):
            hub.tokens.delete(OPERATOR, name)
        for name, grace in (("stolen", timedelta(0)), ("renewed", timedelta(hours=2)), ("stolen", timedelta(0))):
            _, secrets[f"{name}, new"] = hub.tokens.rotate(OPERATOR, name, grace)
        over = Principal(name="ended", role=Role.CONSUMER, contributor="alpha", expire_time=now())
        hub.tokens.update(OPERATOR, over, ["expire_time"])
        hub.contributors.retire(OPERATOR, "beta", withdraw_entries=False)
        log = sqlite_directory / "withdrawals.log"
        until = time.monotonic() + 180
        while b"contributors/beta" not in log.read_bytes() and time.monotonic() < until:
            time.sleep(0.05)
        assert not any(secret.encode() in log.read_bytes() for secret in secrets.values())
        hub.close()
        for path in sqlite_directory.glob("hashhub.db*"):
            path.unlink()
        shutil.copy(backup, sqlite_directory / "hashhub.db")
        with caplog.at_level("WARNING"):
            hub = open_hub()

        def is_let_in(secret: str) -> bool:
            try:
                hub.tokens.authenticate(secret)
            except Unauthenticated:
                return False
            return True

        assert {name for name, secret in secrets.items() if is_let_in(secret)} == {
            "kept",
            "renewed",
            "renewed, new",
            "stolen, new",
        }
        assert "tokens/stolen" in caplog.text
        assert "contributors/beta" in caplog.text
        hub.close()
        caplog.clear()
        open_hub()
        assert "tokens/" not in caplog.text

    def test_nor_does_it_revive_older_statements_about_it_or_let_a_list_do_so(
        self, open_hub: Open, sqlite_directory: Path
    ) -> None:
        """The backup has an older entry of the item, an entry of it in another hash set, or none."""
        hub = open_hub()
        desk = Desk(hub)
        for name in ("alpha/list", "alpha/other", "beta/list"):
            desk.hash_set(name)
        everything = range(1, 60)
        pdq = item(30, hashes=(digest("PDQ", 30),))
        desk.contribute("alpha/list", *(item(n) for n in everything if n not in {7, 8, 9, 11, 30}), pdq)
        desk.contribute("alpha/list", item(11, external_id="a"), item(11, external_id="b"))
        for name in ("alpha/other", "beta/list"):
            desk.contribute(name, item(2), item(3), item(60))
        hub.close()
        backup = sqlite_directory.parent / "backup.db"
        shutil.copy(sqlite_directory / "hashhub.db", backup)
        hub = open_hub()
        desk = Desk(hub)
        new = {"tags": ("new",)}
        changed = [item(n, **new) for n in (1, 2, 3, 4, 5)]
        sibling = item(11, external_id="a", **new)
        desk.contribute("alpha/list", *changed, sibling, msgspec.structs.replace(pdq, tags=("new",)))
        desk.contribute("alpha/list", *(item(n) for n in (7, 8, 9)), item(60))
        for number, reason, who in (
            (1, "ERROR", OPERATOR),
            (2, "ERROR", OPERATOR),
            (3, "REQUESTED_BY_PERSON_SHOWN", OPERATOR),
            (7, "ERROR", OPERATOR),
            (8, "REQUESTED_BY_PERSON_SHOWN", ALPHA),
        ):
            withdraw(desk, number, who=who, reason=reason)
        for number in (4, 9, 60):
            (entry,) = [e for e in desk.entries("alpha/list", EntryState.ACTIVE) if digest("MD5", number) in e.hashes]
            hub.entries.withdraw(ALPHA, "alpha", "list", entry.id, WithdrawalReason.ERROR)
            hub.entries.withdraw(SECOND, "alpha", "list", entry.id, WithdrawalReason.ERROR)
        for entry in desk.entries("alpha/list", EntryState.ACTIVE):
            if entry.external_id == "a" or entry.hashes == pdq.hashes:
                hub.entries.withdraw(ALPHA, "alpha", "list", entry.id, WithdrawalReason.ERROR)
                hub.entries.withdraw(SECOND, "alpha", "list", entry.id, WithdrawalReason.ERROR)
        gone = withdraw(desk, 5, who=OPERATOR)
        restore(desk, gone, who=OPERATOR)
        hub.close()
        log = (sqlite_directory / "withdrawals.log").read_bytes()
        for number in (1, 2, 3, 7, 8, 9):
            for h in item(number).hashes:
                assert h.digest.hex().encode() not in log
                assert base64.b64encode(h.digest)[:12] not in log
        for path in sqlite_directory.glob("hashhub.db*"):
            path.unlink()
        shutil.copy(backup, sqlite_directory / "hashhub.db")
        for _ in range(2):  # the second start finds nothing left to do
            hub = open_hub()
            desk = Desk(hub)
            active = {
                name: sorted(
                    {
                        n
                        for n in range(1, 61)
                        for e in desk.entries(name, EntryState.ACTIVE)
                        if digest("MD5", n) in e.hashes
                    }
                )
                for name in ("alpha/list", "alpha/other", "beta/list")
            }
            assert active["beta/list"] == [2, 3, 60]
            assert active["alpha/other"] == [60]
            assert active["alpha/list"] == [n for n in everything if n not in {1, 2, 3, 4, 7, 8, 9, 30}]
            assert not [e for e in desk.entries("alpha/list", EntryState.ACTIVE) if e.hashes == pdq.hashes]
            assert [e.external_id for e in desk.entries("alpha/list", EntryState.ACTIVE) if e.external_id] == ["b"]
            revision = hub.revision()
            hub.close()
        hub = open_hub()
        desk = Desk(hub)
        assert hub.revision() == revision
        for week in range(2):
            tags = {"tags": (f"week {week}",)}
            done = desk.contribute("alpha/list", *(item(n, **tags) for n in (1, 2, 3, 4, 7, 8, 9)))
            assert (done.counts.accepted, done.counts.stays_withdrawn, done.counts.quarantined) == (0, 4, 3)
            assert {f.reason for f in desk.report(done)} == {"STAYS_WITHDRAWN"}
            other = desk.contribute("alpha/other", *(item(n, **tags) for n in (7, 8, 9)))
            assert (other.counts.accepted, other.counts.quarantined) == (1, 2)
            assert desk.contribute("beta/list", item(7, **tags)).counts.accepted == 1
        (waiting,) = [e for e in desk.entries("alpha/list", EntryState.QUARANTINED) if digest("MD5", 7) in e.hashes]
        hub.entries.release(OPERATOR, "alpha", "list", waiting.id)
        assert desk.contribute("alpha/list", item(7, tags=("at last",))).counts.accepted == 1

    def test_a_hold_on_what_was_withdrawn_already_is_kept_too(self, open_hub: Open, sqlite_directory: Path) -> None:
        hub = open_hub()
        desk = Desk(hub)
        desk.hash_set("alpha/list")
        desk.contribute("alpha/list", *(item(n) for n in range(1, 60)))
        desk.contribute("alpha/list", *(item(n) for n in range(2, 60)), replace=True)
        hub.close()
        backup = sqlite_directory.parent / "backup.db"
        shutil.copy(sqlite_directory / "hashhub.db", backup)
        hub = open_hub()
        desk = Desk(hub)
        desk.contribute("alpha/list", *(item(n) for n in range(3, 60)), replace=True)
        for number in (1, 2):  # both fell out of the list
            withdraw(desk, number, reason="REQUESTED_BY_PERSON_SHOWN")
        hub.close()
        for path in sqlite_directory.glob("hashhub.db*"):
            path.unlink()
        shutil.copy(backup, sqlite_directory / "hashhub.db")
        desk = Desk(open_hub())
        assert desk.contribute("alpha/list", item(1), item(2), item(3)).counts.stays_withdrawn == 2
        assert desk.known(1, 2, 3) == [3]

    def test_a_line_that_a_crash_cut_off_and_a_file_that_is_gone(self, open_hub: Open, sqlite_directory: Path) -> None:
        hub = open_hub()
        desk = Desk(hub)
        desk.hash_set("alpha/list")
        desk.contribute("alpha/list", *(item(n) for n in range(1, 60)))
        withdraw(desk, 1)
        log = sqlite_directory / "withdrawals.log"
        whole = log.read_bytes()
        log.write_bytes(whole[: len(whole) // 2])
        hub.close()
        hub = open_hub()
        assert log.read_bytes().splitlines()[-1] == whole.splitlines()[-1]
        hub.close()
        log.unlink()
        hub = open_hub()
        withdraw(Desk(hub), 2)
        assert len(log.read_bytes().splitlines()) == 2

    def test_an_event_of_which_a_crash_cut_lines_off_is_written_down_anew(
        self, open_hub: Open, sqlite_directory: Path
    ) -> None:
        desk = Desk(open_hub())
        for name in ("alpha/list", "alpha/other"):
            desk.hash_set(name)
            desk.contribute(name, item(1, external_id="x"))
        change(desk, OPERATOR, WITHDRAW, external_ids=("x",), contributor="alpha")
        desk.hub.close()
        log = sqlite_directory / "withdrawals.log"
        whole = log.read_bytes().splitlines(keepends=True)
        sets = [json.loads(line)["hash_set"] for line in whole]
        assert sets == ["alpha/list", "alpha/other"]
        log.write_bytes(whole[0])
        open_hub().close()
        assert log.read_bytes() == whole[0] + b"".join(whole)
        open_hub().close()
        assert log.read_bytes() == whole[0] + b"".join(whole)

    def test_two_processes_write_each_withdrawal_once(self, open_hub: Open, sqlite_directory: Path) -> None:
        first, second = Desk(open_hub()), Desk(open_hub(publisher=False))
        first.hash_set("alpha/list")
        first.contribute("alpha/list", *(item(n) for n in range(1, 60)))
        withdraw(first, 1)
        withdraw(second, 2)
        first.hub.follower.catch_up()
        lines = [json.loads(line) for line in (sqlite_directory / "withdrawals.log").read_bytes().splitlines()]
        assert len(lines) == len({line["revision"] for line in lines}) == 2
