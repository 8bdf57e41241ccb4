"""Several processes, restarts and damage: every matcher ends at what the database says, and says so until it does."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from hashhub.config import Config
from hashhub.errors import Conflict, HashHubError, InvalidArgument, Reason, Unavailable
from hashhub.hub import Hub, Need
from hashhub.hub.follow import Follower, parts_of_changes
from hashhub.matcher import Matcher
from hashhub.model import EntryState, Import, ImportState, ReviewKind, Verdict, WithdrawalReason
from hashhub.store import IdSet, MatcherChange
from tests.hub.conftest import OPERATOR, Desk, Open, digest, item, near, writer
from tests.patience import wait_until


def matches(desk: Desk, hub: Hub, number: int) -> bool:
    return desk.match(near(digest("PDQ", number), 31), hub=hub).verdict is Verdict.MATCH


class TestTwoProcesses:
    def test_each_sees_what_the_other_commits_and_withdraws(self, open_hub: Open) -> None:
        first, second = Desk(open_hub()), Desk(open_hub(publisher=False))
        first.hash_set("alpha/list")
        for number, (here, there) in enumerate([(first, second), (second, first)]):
            here.contribute("alpha/list", item(number, algorithms=("PDQ",)))
            assert matches(here, here.hub, number)
            wait_until(lambda desk=there, n=number: matches(desk, desk.hub, n))  # type: ignore[misc]  # names bound now
        for entry, (here, there) in zip(first.entries("alpha/list"), [(second, first), (first, second)], strict=True):
            here.hub.entries.withdraw(OPERATOR, "alpha", "list", entry.id, WithdrawalReason.ERROR)
            number = int(entry.provenance.position.split()[1])
            # The other process asks the database about every hit, so it needs no time at all.
            assert not matches(there, there.hub, number)
            assert not matches(here, here.hub, number)

    def test_a_newer_snapshot_is_adopted(self, open_hub: Open) -> None:
        first = Desk(open_hub())
        first.hash_set("alpha/list")
        second = open_hub(publisher=False)
        first.contribute("alpha/list", *(item(n, algorithms=("PDQ",)) for n in range(50)))
        wait_until(lambda: matches(first, second, 7))
        first.hub.matcher.compact()
        adopted = first.hub.matcher.status().snapshot_revision
        wait_until(lambda: second.matcher.status().snapshot_revision == adopted)
        assert all(matches(first, second, n) for n in range(50))

    def test_what_is_staged_is_taken_in_many_pieces_at_once(
        self, open_hub: Open, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("hashhub.hub.contribute.PIECE", 10)
        monkeypatch.setattr("hashhub.hub.follow.PIECE", 100)
        monkeypatch.setattr("hashhub.hub.follow.GATHERED_SECONDS", 3600.0)
        first, second = Desk(open_hub()), Desk(open_hub(publisher=False))
        taken = {desk.hub.matcher: list[int]() for desk in (first, second)}
        apply = Matcher.apply

        def noted(self: Matcher, revision: int, **changes: Any) -> None:
            apply(self, revision, **changes)
            if added := changes.get("add"):
                taken[self].append(len(added["PDQ"]))

        monkeypatch.setattr(Matcher, "apply", noted)
        taken_in_before: list[int] = []
        catch_up = Follower.catch_up

        def counted(self: Follower) -> int:
            taken_in_before.append(sum(taken[self._matcher]))
            return catch_up(self)

        monkeypatch.setattr(Follower, "catch_up", counted)
        first.hash_set("alpha/list")
        batches = ([item(n, algorithms=("PDQ",)) for n in range(k, k + 10)] for k in range(0, 250, 10))
        opened = first.add(first.open("alpha/list"), *batches)
        assert first.commit(opened).counts.accepted == 250
        wait_until(lambda: matches(first, second.hub, 249))
        for desk in (first, second):
            assert all(matches(first, desk.hub, n) for n in range(250))
            assert sum(taken[desk.hub.matcher]) == 250
            assert len(taken[desk.hub.matcher]) <= 6  # and not 25
        assert any(150 < count < 250 for count in taken_in_before)  # less than a piece is left once all is staged

    def test_staged_entries_come_together_up_to_a_piece_and_everything_else_alone(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("hashhub.hub.follow.PIECE", 20)
        kinds = ["STAGED"] * 5 + ["WITHDRAW"] * 2 + ["STAGED", "UPSERT"]
        changes = [MatcherChange(n, kind, IdSet(10 * n, 10 * n + 9), 1) for n, kind in enumerate(kinds)]
        parts = list(parts_of_changes(changes))
        assert [[change.revision for change in part] for part, _ in parts] == [[0, 1], [2, 3], [4], [5], [6], [7], [8]]
        assert [following and following.revision for _, following in parts] == [2, 4, 5, 6, 7, 8, None]

    def test_staged_entries_wait_for_others_for_some_time_only(
        self, open_hub: Open, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("hashhub.hub.follow.GATHERED_SECONDS", 0.0)
        first, second = Desk(open_hub()), open_hub(publisher=False)
        first.hash_set("alpha/list")
        opened = first.add(first.open("alpha/list"), [item(1, algorithms=("PDQ",))])
        finish_commit = first.hub.store.commits.finish_commit

        def after_a_while(*arguments: Any, **named: Any) -> Import:
            staged = first.hub.store.revision()
            wait_until(lambda: second.matcher.revision == staged)
            return finish_commit(*arguments, **named)

        monkeypatch.setattr(first.hub.store.commits, "finish_commit", after_a_while)
        assert first.commit(opened).counts.accepted == 1

    def test_so_many_digests_at_once_and_no_more(self, open_hub: Open, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("hashhub.hub.contribute.PIECE", 10)
        monkeypatch.setattr("hashhub.hub.follow.MOST_GATHERED", 20)
        monkeypatch.setattr("hashhub.hub.follow.GATHERED_SECONDS", 3600.0)
        desk = Desk(open_hub())
        taken: list[int] = []
        apply = Matcher.apply

        def noted(self: Matcher, revision: int, **changes: Any) -> None:
            # First: whoever commits goes on as soon as another thread has applied the last ones.
            taken.extend(len(rows) for rows in changes.get("add", {}).values())
            apply(self, revision, **changes)

        monkeypatch.setattr(Matcher, "apply", noted)
        desk.hash_set("alpha/list")
        # What a start reads from the database at once is not taken in: it would have the first items with it.
        wait_until(lambda: desk.hub.matcher.revision == desk.hub.store.revision())
        batches = ([item(n, algorithms=("PDQ",)) for n in range(k, k + 10)] for k in range(0, 50, 10))
        assert desk.commit(desk.add(desk.open("alpha/list"), *batches)).counts.accepted == 50
        assert taken == [20, 20, 10]
        assert all(matches(desk, desk.hub, n) for n in range(50))

    @pytest.mark.parametrize("ends_with", ["write", "cancel"])
    def test_the_revision_behind_staged_entries_is_reached(
        self, open_hub: Open, monkeypatch: pytest.MonkeyPatch, ends_with: str
    ) -> None:
        """The entries of a commit that was given up are not staged any more: nothing says that they still wait."""
        monkeypatch.setattr("hashhub.hub.follow.GATHERED_SECONDS", 3600.0)
        first, second = Desk(open_hub()), open_hub(publisher=False)
        first.hash_set("alpha/list")
        opened = first.add(first.open("alpha/list"), [item(1, algorithms=("PDQ",))])
        # What it lacks from before has nothing to gather: it would take in the staged entries with that.
        wait_until(lambda: second.matcher.revision == first.hub.store.revision())

        def fails(*_: object, **__: object) -> NoReturn:
            wait_until(lambda: second.follower.gathering_since is not None)
            raise Unavailable("the database is away")

        with monkeypatch.context() as once:
            once.setattr(first.hub.store.commits, "finish_commit", fails)
            with pytest.raises(Unavailable):
                first.commit(opened)
        if ends_with == "write":
            first.commit(opened)
        else:
            first.hub.contribute.cancel(OPERATOR, opened.id)
        revision = first.hub.store.history.position().revision
        wait_until(lambda: second.matcher.revision >= revision)
        assert matches(first, second, 1) is (ends_with == "write")

    @pytest.mark.parametrize("what", ["review", "token", "contributor"])
    def test_what_is_no_change_of_digests_does_not_wait_for_staged_entries_to_gather(
        self, open_hub: Open, monkeypatch: pytest.MonkeyPatch, what: str
    ) -> None:
        """Whoever follows changes at another process waits until its matcher is past the last one that it has seen."""
        monkeypatch.setattr("hashhub.hub.follow.GATHERED_SECONDS", 3600.0)
        first, second = Desk(open_hub()), open_hub(publisher=False)
        commits = first.hub.store.commits
        first.hash_set("alpha/list")
        first.contribute("alpha/list", item(1, algorithms=("PDQ",)))
        (entry,) = first.entries("alpha/list")
        opened = first.add(first.open("alpha/list"), [item(2, algorithms=("PDQ",))])
        finish_commit = commits.finish_commit

        def with_something_before(*arguments: Any, **named: Any) -> Import:
            staged = first.hub.store.revision()
            assert not second.follower.wait(staged - 1, 0.3)  # it gathers
            match what:
                case "review":
                    first.hub.reviews.create(writer("alpha"), "alpha", "list", entry.id, ReviewKind.CONFIRMED)
                case "token":
                    first.recipient("tokens/new")
                case _:
                    first.contributor("beta")
            assert second.follower.wait(staged, 30.0)
            return finish_commit(*arguments, **named)

        monkeypatch.setattr(commits, "finish_commit", with_something_before)
        wait_until(lambda: second.matcher.revision == first.hub.store.revision())
        assert first.commit(opened).counts.accepted == 1

    def test_both_cannot_commit_one_import(self, open_hub: Open) -> None:
        first, second = Desk(open_hub()), Desk(open_hub(publisher=False))
        first.hash_set("alpha/list")
        begun = first.add(first.open("alpha/list"), [item(1)])
        first.hub.store.commits.begin_commit(begun.id)
        with pytest.raises(Conflict):
            second.commit(begun)
        first.hub.store.leases.release_commit(begun.id)
        done = second.commit(begun)
        assert first.commit(begun) == done
        assert first.known(1) == [1]

    def test_a_follower_waits_for_news(self, open_hub: Open) -> None:
        desk = Desk(open_hub())
        desk.hash_set("alpha/list")
        wait_until(lambda: desk.hub.matcher.revision == desk.hub.revision())
        now = desk.hub.revision()
        assert not desk.hub.follower.wait(now, 0.05)
        desk.contribute("alpha/list", item(1))
        assert desk.hub.follower.wait(now, 30.0)
        desk.hub.follower.close()
        start = time.monotonic()
        assert not desk.hub.follower.wait(desk.hub.revision(), 30.0)
        assert time.monotonic() - start < 25


class TestRestarts:
    def test_a_snapshot_older_than_the_database_is_caught_up(self, open_hub: Open) -> None:
        hub = open_hub()
        desk = Desk(hub)
        desk.hash_set("alpha/list")
        desk.contribute("alpha/list", item(1), item(2))
        hub.matcher.compact()
        desk.contribute("alpha/list", item(3))
        desk.hub.entries.withdraw(OPERATOR, "alpha", "list", desk.entries("alpha/list")[0].id, WithdrawalReason.ERROR)
        hub.close()
        desk = Desk(open_hub())
        assert desk.hub.matcher.count("MD5") == 2
        assert desk.known(1, 2, 3) == [2, 3]

    def test_a_damaged_snapshot_is_rebuilt(self, open_hub: Open, sqlite_directory: Path) -> None:
        hub = open_hub()
        desk = Desk(hub)
        desk.hash_set("alpha/list")
        desk.contribute("alpha/list", *(item(n) for n in range(20)))
        hub.matcher.compact()
        hub.close()
        for file in sqlite_directory.glob("matcher/*/*/*"):
            if file.is_file():
                file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        desk = Desk(open_hub())
        assert desk.known(*range(21)) == list(range(20))

    def test_a_snapshot_that_is_damaged_under_the_hub_is_rebuilt(
        self, open_hub: Open, sqlite_directory: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("hashhub.matcher.compaction.RECHECK_SECONDS", 0.05)
        monkeypatch.setattr("hashhub.matcher.compaction.RECHECK_LOOK_SECONDS", 0.02)
        hub = open_hub()
        desk = Desk(hub)
        desk.hash_set("alpha/list")
        desk.contribute("alpha/list", *(item(n) for n in range(200)))
        hub.matcher.compact()
        other = open_hub(publisher=False)
        wait_until(lambda: other.matcher.snapshot_revision == hub.matcher.snapshot_revision)
        rebuilding, go_on = threading.Event(), threading.Event()
        rebuild = Matcher.rebuild

        def slowly(self: Matcher, *arguments: Any, **options: Any) -> None:
            rebuilding.set()
            assert go_on.wait(60)
            rebuild(self, *arguments, **options)

        monkeypatch.setattr(Matcher, "rebuild", slowly)
        written = sqlite_directory.glob("matcher/*/snapshots/*/*.rows")
        for file in {f.stat().st_ino: f for f in written}.values():  # snapshots share files: twice would undo it
            with file.open("r+b") as f:
                f.write(bytes(255 - byte for byte in file.read_bytes()))
        assert rebuilding.wait(60)
        wait_until(lambda: other.matcher.is_damaged)
        for each in (hub, other):
            with pytest.raises(Unavailable, match="is damaged"):
                desk.match(digest("MD5", 1), hub=each)
            wait_until(lambda x=each: Need.MATCHER not in x.condition.met())  # type: ignore[misc]  # bound now
        assert any("is damaged" in warning for warning in hub.status(OPERATOR).warnings)
        go_on.set()
        for each in (hub, other):
            wait_until(lambda x=each: x.is_ready and not x.matcher.is_damaged)  # type: ignore[misc]  # likewise
            found = [desk.match(digest("MD5", n), hub=each).verdict for n in range(200)]
            assert found == [Verdict.MATCH] * 200
        assert other.matcher.status().snapshot_revision is not None, "adopted, not a copy of its own"
        assert any("is damaged" in warning for warning in hub.status(OPERATOR).warnings), "what was found stays told"
        assert hub.matcher.status().damages == 1

    def test_a_database_restored_from_a_backup_is_believed(self, open_hub: Open, sqlite_directory: Path) -> None:
        hub = open_hub()
        desk = Desk(hub)
        desk.hash_set("alpha/list")
        desk.contribute("alpha/list", item(1))
        backup = sqlite_directory / "backup.db"
        _copy(sqlite_directory, backup)
        desk.contribute("alpha/list", item(2))
        hub.matcher.compact()
        hub.close()
        _restore(sqlite_directory, backup)
        desk = Desk(open_hub())
        desk.contribute("alpha/list", item(3))
        assert desk.known(1, 2, 3) == [1, 3]
        assert desk.hub.matcher.count("MD5") == 2

    def test_a_database_restored_under_a_running_hub_stops_its_answers(
        self, open_hub: Open, sqlite_directory: Path
    ) -> None:
        hub = open_hub(poll_interval=60.0)
        desk = Desk(hub)
        desk.hash_set("alpha/list")
        desk.contribute("alpha/list", item(1))
        with sqlite3.connect(next(sqlite_directory.glob("*.db"))) as c:
            c.execute("UPDATE metadata SET revision = revision - 1")
        c.close()
        with pytest.raises(Unavailable, match="restored from an older backup"):
            hub.follower.catch_up()
        with pytest.raises(Unavailable) as refused:
            desk.verdict(1)
        assert refused.value.reason is Reason.MATCHER_NOT_READY
        assert not hub.is_ready

    @pytest.mark.parametrize("damage", ["", "remove", "garble"])
    def test_one_restored_and_written_past_the_snapshot_is_believed(
        self, open_hub: Open, sqlite_directory: Path, monkeypatch: pytest.MonkeyPatch, damage: str
    ) -> None:
        hub, mark = _parted(open_hub, sqlite_directory)
        hub.matcher.compact()
        hub.close()
        _write_past(sqlite_directory)
        if damage == "remove":
            mark.unlink()
        elif damage == "garble":
            mark.write_bytes(b"12 \xff")
        waiting = open_hub(publisher=False, start=False)
        with pytest.raises(Unavailable, match="not of this database's history"):
            waiting.start()
        desk = Desk(open_hub())
        assert desk.hub.matcher.revision == desk.hub.revision()
        # What was withdrawn in the past that is lost stays withdrawn.
        assert desk.known(*range(9)) == [3, 4, 5, 6, 7, 8]
        waiting.start()
        assert waiting.matcher.count("MD5") == 6
        desk.hub.close()
        waiting.close()
        # The snapshot that took its place is of this history, and is believed.
        hub = open_hub(start=False)
        assert hub.matcher.count("MD5") == 6
        with monkeypatch.context() as once:
            once.setattr(hub.store.feeds, "all_digests", pytest.fail)
            hub.start()

    def test_one_restored_and_written_past_under_a_running_hub_stops_its_answers(
        self, open_hub: Open, sqlite_directory: Path
    ) -> None:
        hub, _ = _parted(open_hub, sqlite_directory)
        _write_past(sqlite_directory)
        with pytest.raises(Unavailable, match="restored from an older backup"):
            hub.follower.catch_up()
        assert not hub.is_ready

    def test_a_full_disk_costs_a_rebuild_not_trust(self, open_hub: Open) -> None:
        hub = open_hub()
        path = hub.follower.mark.path
        path.unlink()
        path.mkdir()  # cannot be replaced by a file
        desk = Desk(hub)
        desk.hash_set("alpha/list")
        desk.contribute("alpha/list", item(1))
        hub.matcher.compact()
        assert desk.known(1) == [1]
        assert hub.follower.mark.read()[0].revision == -1

    def test_the_mark_is_never_behind_what_was_applied(self, open_hub: Open, monkeypatch: pytest.MonkeyPatch) -> None:
        hub, other = open_hub(start=False), Desk(open_hub(publisher=False))
        other.hash_set("alpha/list")
        changes = hub.store.feeds.matcher_changes

        def late(after_revision: int, limit: int) -> list[MatcherChange]:
            """Commit between the look at the position and that at the changes."""
            monkeypatch.undo()
            other.contribute("alpha/list", item(1))
            return changes(after_revision, limit)

        monkeypatch.setattr(hub.store.feeds, "matcher_changes", late)
        hub.follower.catch_up()
        assert hub.matcher.count("MD5") == 1
        assert hub.follower.mark.read()[0] == hub.store.history.position()

    def test_until_it_has_caught_up_it_does_not_answer(self, open_hub: Open) -> None:
        hub = open_hub(start=False)
        desk = Desk(hub)
        with pytest.raises(Unavailable) as refused:
            desk.verdict(1)
        assert refused.value.reason is Reason.MATCHER_NOT_READY
        hub.start(wait=False)
        wait_until(lambda: hub.is_ready)
        assert desk.verdict(1) is Verdict.NO_MATCH

    def test_a_hub_that_cannot_start_can_be_closed(
        self, sqlite_directory: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hub = Hub.open(Config(data=str(sqlite_directory)))
        with monkeypatch.context() as away:

            def fails() -> NoReturn:
                raise Unavailable("the database is away", reason=Reason.DATABASE_UNAVAILABLE)

            away.setattr(hub.store.history, "position", fails)
            with pytest.raises(Unavailable):
                hub.start()
        hub.close()

    def test_a_hub_that_is_told_to_stop_while_it_rebuilds_gives_up(
        self, open_hub: Open, sqlite_directory: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """To read millions of digests takes minutes, after which nobody would ask for them."""
        desk = Desk(open_hub())
        desk.hash_set("alpha/list")
        desk.contribute("alpha/list", item(1), item(2))
        desk.hub.matcher.compact()
        desk.hub.close()
        next(sqlite_directory.glob("matcher/*/POSITION")).unlink()
        hub = open_hub(start=False)
        reading = threading.Event()
        digests = next(iter(hub.store.feeds.all_digests()))

        def for_ever() -> Iterator[Any]:
            reading.set()
            while True:
                yield digests

        monkeypatch.setattr(hub.store.feeds, "all_digests", for_ever)
        hub.start(wait=False)
        assert reading.wait(60)
        assert not hub.is_ready
        hub.close()
        again = open_hub()
        assert Desk(again).known(1, 2, 3) == [1, 2]

    def test_bad_settings_leave_nothing_open(self, sqlite_directory: Path, tmp_path: Path) -> None:
        with pytest.raises(InvalidArgument, match="policies"):
            Hub.open(Config(data=str(sqlite_directory), policies=str(tmp_path / "missing")))
        Hub.open(Config(data=str(sqlite_directory))).close()  # the snapshots are not held by the one that failed

    def test_the_database_away_for_a_while_is_followed_again(
        self, open_hub: Open, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hub, other = open_hub(), open_hub(publisher=False)
        desk = Desk(other)
        desk.hash_set("alpha/list")
        with monkeypatch.context() as away:

            def fails() -> NoReturn:
                raise Unavailable("the database is away", reason=Reason.DATABASE_UNAVAILABLE)

            away.setattr(hub.store.history, "position", fails)
            wait_until(lambda: "database is away" in hub.follower.thread.warning)
        desk.contribute("alpha/list", item(1, algorithms=("PDQ",)))
        wait_until(lambda: matches(desk, hub, 1))
        wait_until(lambda: not hub.status(OPERATOR).warnings)


_CRASHING = """
import os, signal, sys
from pathlib import Path
from typing import NoReturn
from hashhub.config import Config
from hashhub.hub import Hub, Need
from hashhub.model import Principal, Role

hub = Hub.open(Config(data=sys.argv[1]), publisher=False)
hub.start()
parts = (hub.store.commits, hub.store.stage)
store = next(part for part in parts if hasattr(part, sys.argv[3]))
step = getattr(store, sys.argv[3])

def killed(*arguments, **keywords):
    if sys.argv[4] == "after":
        step(*arguments, **keywords)
    os.kill(os.getpid(), signal.SIGKILL)

setattr(store, sys.argv[3], killed)
hub.contribute.commit(Principal(name="op", role=Role.OPERATOR), sys.argv[2], batch_count=2)
"""


class TestKilledCommits:
    @pytest.mark.parametrize(
        ("step", "when", "visible"),
        [
            ("allocate_entries", "after", False),
            ("stage_entries", "after", False),
            ("add_findings", "after", False),
            ("finish_commit", "before", False),
            ("finish_commit", "after", True),
        ],
    )
    def test_all_or_nothing_is_visible_and_it_can_be_repeated(
        self, open_hub: Open, sqlite_directory: Path, step: str, when: str, *, visible: bool
    ) -> None:
        desk = Desk(open_hub())
        desk.hash_set("alpha/list")
        desk.contribute("alpha/list", item(1), item(2))
        begun = desk.add(desk.open("alpha/list", replace=True), [item(2), item(3)], [item(4, hashes=())])
        killed = subprocess.run(
            [sys.executable, "-c", _CRASHING, str(sqlite_directory), begun.id, step, when],
            check=False,
            timeout=300,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert killed.returncode == -signal.SIGKILL
        wait_until(lambda: desk.known(1, 2, 3) == ([2, 3] if visible else [1, 2]))
        assert [e.state for e in desk.entries("alpha/list")][:2] == [
            EntryState.WITHDRAWN if visible else EntryState.ACTIVE, EntryState.ACTIVE,
        ]  # fmt: skip
        if not visible:
            assert desk.hub.contribute.get(OPERATOR, begun.id).state is ImportState.COMMITTING
            assert desk.hub.contribute.findings(OPERATOR, begun.id, 10, 0)[0] == []
        done = desk.commit(begun)  # at once: that process is known to be gone
        assert (done.state, done.counts.items) == (ImportState.COMMITTED, 3)
        assert (done.counts.accepted, done.counts.unchanged, done.counts.absent, done.counts.rejected) == (1, 1, 1, 1)
        assert desk.known(1, 2, 3, 4) == [2, 3]
        assert len(desk.report(done)) == 2


def _parted(open_hub: Open, data: Path) -> tuple[Hub, Path]:
    """Open a hub, make a backup of its database, and let the two have different pasts from there."""
    hub = open_hub(poll_interval=60.0)
    desk = Desk(hub)
    desk.hash_set("alpha/list")
    desk.contribute("alpha/list", item(1))
    _copy(data, data / "backup.db")
    desk.contribute("alpha/list", item(2))
    desk.hub.entries.withdraw(OPERATOR, "alpha", "list", desk.entries("alpha/list")[0].id, WithdrawalReason.ERROR)
    return hub, hub.follower.mark.path


def _write_past(data: Path) -> None:
    """Restore the backup into the database, even under a running hub, and take it past the revision where it was
    before.
    """
    database = next(f for f in data.glob("*.db") if f.name != "backup.db")
    backup, live = sqlite3.connect(data / "backup.db"), sqlite3.connect(database)
    revision = live.execute("SELECT revision FROM metadata").fetchone()[0]
    backup.backup(live)
    backup.close()
    live.close()
    # By a hub on another machine, so to speak: it has snapshots of its own.
    with Hub.open(Config(data=str(data / "elsewhere"), database=f"sqlite:///{database}")) as other:
        other.start()
        desk = Desk(other)
        for number in range(3, 9):
            desk.contribute("alpha/list", item(number))
        assert other.revision() > revision


def _copy(data: Path, to: Path) -> None:
    """Make a backup of a database in use."""
    source, target = sqlite3.connect(next(data.glob("*.db"))), sqlite3.connect(to)
    source.backup(target)
    source.close()
    target.close()


def _restore(data: Path, backup: Path) -> None:
    database = next(f for f in data.glob("*.db") if f != backup)
    for file in data.glob(f"{database.name}-*"):
        file.unlink()
    shutil.move(backup, database)


def test_the_matcher_is_at_the_directory_of_its_database(open_hub: Open, sqlite_directory: Path) -> None:
    hub = open_hub()
    assert (sqlite_directory / "matcher" / hub.store.database_id).is_dir()
    with pytest.raises(HashHubError):  # and nobody else may publish there
        Matcher(sqlite_directory / "matcher" / hub.store.database_id)
