"""Local mode on bad days: stopped in the middle, the hub away, files put back, clocks set, terms ended."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any, Final

import msgspec
import pytest

from hashhub.client import mirror
from hashhub.errors import FailedPrecondition, HashHubError, InvalidArgument, Reason, Unavailable
from hashhub.hashes import Hash
from hashhub.hook import Action, Hook, NoAnswer, open_hook
from hashhub.hook import copy as copies
from hashhub.hook import local as local_module
from hashhub.hook.copy import DIRECTORY, Index, ListCopy
from hashhub.hook.examiner import CaseJudge
from hashhub.hook.local import LocalJudge, Sync
from hashhub.model import EntryState, Marking, Query, Record, VariantHashes, Verdict, now
from tests.hook.local_copies import Local
from tests.hub.conftest import OPERATOR, digest, item
from tests.hub.receiving import mirroring
from tests.hub.test_videos import video
from tests.mirror.conftest import Site
from tests.patience import wait_until

_WHO: Final = mirroring()


@pytest.fixture
def judges() -> Iterator[list[LocalJudge]]:
    """Judges that are closed in the end."""
    opened: list[LocalJudge] = []
    yield opened
    for judge in opened:
        judge.close()


def md5(number: int) -> Query:
    return Query(hashes=(digest("MD5", number),))


def answers(judge: LocalJudge) -> bool:
    try:
        judge.judge(md5(99))
    except Unavailable:
        return False
    return True


def verdict(judge: LocalJudge, number: int) -> Verdict:
    return judge.judge(md5(number)).result.verdict


class _Stopped(Exception):
    pass


def test_a_copy_that_was_never_complete_judges_nothing(
    local: Local, judges: list[LocalJudge], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "PAGE", 3)

    def stop(lines: int, is_complete: bool) -> None:
        if lines >= 9:
            raise _Stopped

    with pytest.raises(_Stopped):
        local.sync(stop)
    judges.append(local.judge())
    for number in (1, 99):
        with pytest.raises(Unavailable, match="not complete yet") as e:
            judges[0].judge(md5(number))
        assert e.value.reason is Reason.MATCHER_NOT_READY
    hook = Hook(local.settings, judge=judges[0])
    decision = hook.check(md5(99))
    assert (decision.action, decision.no_answer) == (Action.HOLD, NoAnswer.HUB_AWAY)
    assert hook.hashing is not None
    hook.hashing.pool.close()
    local.sync()
    judges[0].catch_up()
    assert verdict(judges[0], 1) is Verdict.MATCH
    assert verdict(judges[0], 99) is Verdict.NO_MATCH


def test_what_changes_reaches_who_reads_without_a_restart(
    site: Site, local: Local, judges: list[LocalJudge], monkeypatch: pytest.MonkeyPatch
) -> None:
    local.sync()
    judges += [local.judge(), local.judge()]
    with Sync(local.settings) as sync:
        with pytest.raises(FailedPrecondition, match="another process keeps this copy"):
            Sync(local.settings)
        for step in range(4):
            site.desk.contribute("alpha/one", item(100 + step, algorithms=("MD5", "PDQ"), quality=90))
            gone = site.desk.entries("alpha/one", EntryState.ACTIVE)[0]
            site.hub.store.transitions.withdraw([gone.id], "FALSE_POSITIVE")
            site.hub.follower.catch_up()
            sync.update()
            if step == 2:
                sync.index.matcher.compact()  # a snapshot is published, and the journal trimmed behind it
                sync.trim()
            for judge in judges:
                judge.catch_up()
                assert verdict(judge, 100 + step) is Verdict.MATCH
                assert [m.entry.contributor for m in judge.judge(md5(step)).result.matches] == ["beta"]
                assert judge.judge(md5(step)).revision == site.hub.revision()
        [(left,)] = _rows(local, "SELECT count(*) FROM journal")
        assert left <= 6
    assert local.missing() == 0


def test_a_digest_that_nobody_lists_any_more_leaves_the_index(site: Site, local: Local) -> None:
    local.sync()
    ids = [e.id for name in ("alpha/one", "beta/one") for e in site.desk.entries(name, EntryState.ACTIVE)[:4]]
    site.hub.store.transitions.withdraw(ids, "FALSE_POSITIVE")
    site.desk.contribute("alpha/one", Record(position="1", frames=video(range(5))))
    local.sync()
    with Sync(local.settings) as sync:
        assert sync.state().index_digests == 2 * 6 + 5
        site.hub.store.resources.update_hash_set("alpha", "one", {"marking": Marking(bulk=False)})
        sync.update()
        assert sync.state().index_digests == 2 * 6
        sync.reindex()
        assert sync.state().index_digests == 2 * 6


@pytest.mark.parametrize("seed", range(3))
def test_stopped_anywhere_the_index_lacks_nothing(
    site: Site, local: Local, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the page and its digests, between the mark and the matcher, with a snapshot half published."""
    random = Random(seed)
    monkeypatch.setattr(mirror, "PAGE", 4)

    def sometimes(of: type, name: str) -> None:
        whole = getattr(of, name)

        def broken(self: Any, *args: Any) -> Any:
            if random.random() < 0.2:
                raise _Stopped
            return whole(self, *args)

        monkeypatch.setattr(of, name, broken)

    def sometimes_stop(_lines: int, _complete: bool) -> None:
        if random.random() < 0.1:
            raise _Stopped

    for name in ("look", "_follow", "_apply", "_write_mark"):
        sometimes(Index, name)
    backup = None
    for step in range(12):
        numbers = random.sample(range(60), 6)
        frames = Record(position="v", frames=video(range(step, step + 4)))
        listed = [item(n, algorithms=("MD5", "PDQ"), quality=90) for n in numbers]
        site.desk.contribute("alpha/one", *listed, frames, replace=random.random() < 0.4, allow_shrinking=True)
        for _ in range(random.randrange(3)):
            with suppress(_Stopped, HashHubError):
                local.sync(sometimes_stop)
        if random.random() < 0.3 and (local.directory / "mirror.db").exists():
            backup = backup or local.directory.parent / "backup.db"
            with closing(sqlite3.connect(local.directory / "mirror.db")) as c:
                backup.unlink(missing_ok=True)
                c.execute("VACUUM INTO ?", (str(backup),))
        elif random.random() < 0.3 and backup is not None:
            local.put_back(backup)
    monkeypatch.undo()
    local.sync()
    assert local.missing() == 0
    with closing(sqlite3.connect(local.directory / "mirror.db")) as c:
        counts = dict(c.execute("SELECT entry, digest_count FROM video").fetchall())
        videos = {e for (e,) in c.execute("SELECT DISTINCT entry FROM frame")}
    assert counts == dict.fromkeys(videos, 4)


def test_killed_at_any_moment(site: Site, local: Local) -> None:
    """A real process, killed while it keeps the copy; the next one goes on."""
    site.desk.contribute("alpha/one", *[item(n) for n in range(1000, 4000)])
    code = (
        "import sys, msgspec; from hashhub.hook.settings import HookSettings; from hashhub.hook.local import Sync\n"
        "from hashhub.client import mirror; mirror.PAGE = 200\n"
        "settings = msgspec.json.decode(sys.argv[1], type=HookSettings)\n"
        "def told(lines, is_complete): print(lines, flush=True)\n"
        "with Sync(settings) as sync: sync.follow(told)\n"
    )
    settings = msgspec.json.encode(local.settings).decode()
    for lines in (400, 2000, 3100):
        with subprocess.Popen([sys.executable, "-c", code, settings], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if int(line) >= lines or _rows(local, "SELECT complete FROM meta") == [(1,)]:
                    break
            os.kill(process.pid, signal.SIGKILL)
        site.desk.contribute("alpha/one", item(5000 + lines))
    local.sync()
    assert local.missing() == 0
    assert _rows(local, "SELECT count(*) FROM entry") == [(3020 + 3,)]


def test_an_index_of_another_copy_is_not_believed(
    site: Site, local: Local, tmp_path: Path, judges: list[LocalJudge]
) -> None:
    local.sync()
    with closing(sqlite3.connect(local.directory / "mirror.db")) as c:
        c.execute("VACUUM INTO ?", (str(tmp_path / "backup.db"),))
    site.desk.contribute("alpha/one", item(50))
    local.sync()
    # Put back, it goes on with other pages under the same numbers; the index knows of item 50, and not of item 51.
    local.put_back(tmp_path / "backup.db")
    site.desk.contribute("alpha/one", item(51), replace=True, allow_shrinking=True)
    with Sync(local.settings) as sync:
        sync.mirror.update()  # pages without the index, as after a crash
    judges.append(local.judge())
    with pytest.raises(Unavailable, match="not of this copy"):
        judges[0].judge(md5(99))
    local.sync()
    judges[0].catch_up()
    assert (verdict(judges[0], 51), verdict(judges[0], 99)) == (Verdict.MATCH, Verdict.NO_MATCH)
    # Likewise without any index, or with an index and no copy.
    shutil.rmtree(local.directory / DIRECTORY)
    judges.append(local.judge())
    with pytest.raises(Unavailable, match="missing"):
        judges[1].judge(md5(51))
    local.sync()
    judges[1].catch_up()
    assert verdict(judges[1], 51) is Verdict.MATCH
    for name in ("mirror.db", "mirror.db-wal", "mirror.db-shm"):
        (local.directory / name).unlink(missing_ok=True)
    local.sync()
    assert local.missing() == 0


@pytest.mark.parametrize("again", ["at once", "stopped", "started over twice"])
def test_a_hub_that_was_restored_is_missed_nothing_of_at_any_page(
    site: Site, local: Local, judges: list[LocalJudge], monkeypatch: pytest.MonkeyPatch, again: str
) -> None:
    """Its lists came back in another order, so that ids of entries stand for other items than they did."""
    monkeypatch.setattr(mirror, "PAGE", 7)
    film = Record(position="v", frames=video(range(30)))
    first, second = ([item(n) for n in range(start, start + 30)] for start in (100, 200))
    backup = site.back_up()
    for records in (first, second, [film]):
        site.desk.contribute("alpha/one", *records)
    local.sync()
    site.restore(backup)
    for records in ([film], second, first, [item(300)]):
        site.desk.contribute("alpha/one", *records)
    local.settings = msgspec.structs.replace(local.settings, hub=site.doors.grpc_address)
    judges.append(local.judge())
    pages = 0

    def look(_lines: int, is_complete: bool) -> None:
        nonlocal pages
        pages += 1
        judges[0].catch_up()
        for tens in (0, 100, 110, 120, 200, 210, 220):
            listed = tuple(digest("MD5", n) for n in range(tens, tens + 10))
            matches = judges[0].judge(Query(hashes=listed)).result.matches
            assert {match.query_digest for match in matches} == {given.digest for given in listed}
        assert judges[0].judge(Query(hashes=(), frames=film.frames)).result.verdict is Verdict.MATCH
        if not is_complete and again != "at once" and pages in {5, 8}:
            raise _Stopped

    for _ in range(3):
        with suppress(_Stopped), Sync(local.settings) as sync:
            if again == "started over twice" and pages == 5:
                sync.start_over()
            sync.update(look)
    assert pages > 8
    assert verdict(judges[0], 300) is Verdict.MATCH
    assert local.missing() == 0
    ids = {e.id for name in ("alpha/one", "beta/one") for e in site.desk.entries(name, EntryState.ACTIVE)}
    assert {row[0] for row in _rows(local, "SELECT id FROM entry")} == ids
    for table in ("hash", "frame", "review", "video"):
        assert {row[0] for row in _rows(local, f"SELECT entry FROM {table}")} <= ids  # noqa: S608 - our own names


def test_a_damaged_index_says_nothing_and_is_written_anew(local: Local, judges: list[LocalJudge]) -> None:
    local.sync()
    for file in (local.directory / DIRECTORY / "snapshots").rglob("*"):
        if file.is_file() and file.suffix != ".json" and file.stat().st_size:
            content = bytearray(file.read_bytes())
            content[len(content) // 2] ^= 0xFF
            file.chmod(0o600)
            file.write_bytes(content)
    judges.append(local.judge())
    with pytest.raises(Unavailable):
        judges[0].judge(md5(99))
    with Sync(local.settings) as sync:
        sync.update()
        sync.reindex()
    judges[0].catch_up()
    assert (verdict(judges[0], 1), verdict(judges[0], 99)) == (Verdict.MATCH, Verdict.NO_MATCH)


def test_an_index_that_is_damaged_under_the_hook_says_nothing_until_it_is_synced(
    local: Local, judges: list[LocalJudge], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hashhub.matcher.compaction.RECHECK_SECONDS", 0.05)
    monkeypatch.setattr("hashhub.matcher.compaction.RECHECK_LOOK_SECONDS", 0.02)
    with Sync(local.settings) as sync:
        sync.update()
        sync.reindex()
    judges.append(local.judge())
    assert verdict(judges[0], 1) is Verdict.MATCH
    for file in (local.directory / DIRECTORY / "snapshots").rglob("*.rows"):
        with file.open("r+b") as f:
            f.write(bytes(255 - byte for byte in file.read_bytes()))
    wait_until(lambda: not answers(judges[0]))
    with pytest.raises(Unavailable):
        judges[0].judge(md5(99))
    with Sync(local.settings) as sync:
        sync.update()
    wait_until(lambda: answers(judges[0]))
    assert (verdict(judges[0], 1), verdict(judges[0], 99)) == (Verdict.MATCH, Verdict.NO_MATCH)


def test_a_day_without_the_hub(
    site: Site, local: Local, judges: list[LocalJudge], monkeypatch: pytest.MonkeyPatch
) -> None:
    local.sync()
    site.doors.close()
    hook = open_hook(local.settings)
    assert isinstance(hook.judge, CaseJudge)
    assert isinstance(hook.judge.behind, LocalJudge)
    [(heard,)] = _rows(local, "SELECT complete_time FROM meta")
    try:
        for hours, is_stale, is_past in ((0, False, False), (24, True, False), (49, True, True), (-1, True, True)):
            at = now() + timedelta(hours=hours)
            monkeypatch.setattr(local_module, "wall_clock", at.timestamp)
            listed, unknown = hook.check(md5(1)), hook.check(Query(hashes=(digest("PDQ", 99),)))
            assert listed.action is Action.BLOCK
            assert unknown.action is (Action.HOLD if is_past else Action.ALLOW)
            assert unknown.verdict is (Verdict.UNAVAILABLE if is_past else Verdict.NO_MATCH)
            for decision in (listed, unknown):
                assert (decision.stale_since is not None) is is_stale
                if decision.stale_since is not None:
                    assert decision.stale_since.isoformat(timespec="milliseconds").replace("+00:00", "Z") == heard
    finally:
        hook.close()


def test_a_clock_that_is_set_back_makes_no_copy_younger(
    site: Site, local: Local, judges: list[LocalJudge], monkeypatch: pytest.MonkeyPatch
) -> None:
    local.sync()
    site.doors.close()
    begun, ran = now().timestamp(), 0.0
    at = begun
    monkeypatch.setattr(local_module, "wall_clock", lambda: at)
    monkeypatch.setattr(local_module, "running_seconds", lambda: ran)
    judges.append(local.judge())
    unknown = Query(hashes=(digest("PDQ", 99),))

    def age(hours: float, *, shown: float) -> tuple[bool, bool]:
        nonlocal at, ran
        at, ran = begun + shown * 3600, hours * 3600
        judges[0].catch_up()
        judged = judges[0].judge(unknown)
        return judged.stale_since is not None, judged.is_past_limit

    assert age(0, shown=0) == (False, False)
    assert age(24, shown=24) == (True, False)
    assert age(25, shown=0.5) == (True, False)
    assert age(49, shown=24.5) == (True, True)


def test_terms_that_end_while_the_hub_is_away(
    site: Site, local: Local, judges: list[LocalJudge], monkeypatch: pytest.MonkeyPatch
) -> None:
    end = now() + timedelta(hours=1)
    site.desk.hash_set("gamma/quiet", marking=Marking(bulk=True, expire_time=end))
    site.desk.contribute("gamma/quiet", item(30))
    site.desk.hash_set("gamma/told", marking=Marking(bulk=True, expire_time=end, disclose_existence=True))
    site.desk.contribute("gamma/told", item(31))
    own = Marking(bulk=True, expire_time=now())
    site.desk.hash_set("receiver/own", marking=own)
    site.desk.contribute("receiver/own", item(32))
    local.sync()
    judges.append(local.judge())
    assert [verdict(judges[0], n) for n in (30, 31, 99)] == [Verdict.MATCH, Verdict.MATCH, Verdict.NO_MATCH]
    monkeypatch.setattr(copies, "now", lambda: end + timedelta(seconds=1))
    assert verdict(judges[0], 30) is Verdict.NO_MATCH
    withheld = judges[0].judge(md5(31)).result
    assert (withheld.verdict, withheld.withheld, withheld.matches) == (Verdict.REVIEW, True, ())
    # One's own, whose terms ended long before the hub gave it last, is one's own.
    monkeypatch.setattr(copies, "CLOCKS", timedelta(0))
    assert verdict(judges[0], 32) is Verdict.MATCH


def test_policies_come_from_the_hub_and_stay(site: Site, local: Local, judges: list[LocalJudge]) -> None:
    own = msgspec.structs.replace(local.settings, policy="own")
    with pytest.raises(InvalidArgument, match="own"):
        local_module.LocalJudge(own)
    text = site.hub.policies.get(OPERATOR, "any").text.replace('name = "any"', 'name = "own"')
    site.hub.policies.put(OPERATOR, text)
    with Sync(own) as sync:
        sync.update()
    judges.append(LocalJudge(own))
    assert judges[0].judge(md5(1)).policy == "own@1"
    site.hub.policies.put(OPERATOR, text.replace('title = "', 'title = "Newer: ', 1))
    with Sync(own) as sync:
        sync.update()
    judges[0].catch_up()
    assert judges[0].judge(md5(1)).policy == "own@2"
    pinned = msgspec.structs.replace(own, policy="own@1")
    with Sync(pinned) as sync:
        sync.update()
    judges.append(LocalJudge(pinned))
    assert judges[1].judge(md5(1)).policy == "own@1"
    site.hub.policies.retire(OPERATOR, "own@1")
    with Sync(pinned) as sync, pytest.raises(InvalidArgument, match="retired"):
        sync.update()
    judges[1].catch_up()
    with pytest.raises(Unavailable, match="retired"):
        judges[1].judge(md5(1))
    assert judges[0].judge(md5(1)).policy == "own@2"


def test_what_is_remembered_ends_with_the_policy_and_with_the_copys_age(
    site: Site, local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A policy that was changed after the last change of a list, and a clock, leave the copy's revision as it is."""
    own = msgspec.structs.replace(local.settings, policy="own", cache_seconds=3600.0)
    text = site.hub.policies.get(OPERATOR, "any").text.replace('name = "any"', 'name = "own"')
    site.hub.policies.put(OPERATOR, text)
    with Sync(own) as sync:
        sync.update()
    hook = open_hook(own)
    try:
        assert isinstance(hook.judge, CaseJudge)
        judge = hook.judge.behind
        assert isinstance(judge, LocalJudge)
        assert hook.check(b"a text").policy == "own@1"
        site.hub.policies.put(OPERATOR, text.replace('title = "', 'title = "Newer: ', 1))
        [(revision,)] = _rows(local, "SELECT complete_revision FROM meta")
        with Sync(own) as sync:
            sync.fetch_policy()  # as between two pages
        judge.catch_up()
        assert judge.revision() == revision
        assert hook.check(b"a text").policy == "own@2"
        at = now() + timedelta(days=3)
        monkeypatch.setattr(local_module, "wall_clock", at.timestamp)
        assert (hook.check(b"a text").action, hook.check(b"a text").stale_since is None) == (Action.HOLD, False)
    finally:
        hook.close()


def test_without_a_policy_and_without_the_hub_nothing_starts(site: Site, local: Local) -> None:
    local.sync()
    site.doors.close()
    other = msgspec.structs.replace(local.settings, policy="block", hub="127.0.0.1:1")
    with pytest.raises(Unavailable, match="hashhub hook sync") as e:
        LocalJudge(other)
    assert e.value.reason is Reason.POLICY_UNREADABLE


def test_a_policy_that_asks_for_what_a_copy_does_not_know_is_refused(site: Site, local: Local) -> None:
    text = site.hub.policies.get(OPERATOR, "any").text.replace('name = "any"', 'name = "recent"')
    head, clause, rest = text.partition("[[clauses]]\n")
    site.hub.policies.put(OPERATOR, f"{head}{clause}stated_within_days = 30\n{rest}")
    recent = msgspec.structs.replace(local.settings, policy="recent")
    with Sync(recent) as sync, pytest.raises(InvalidArgument, match="how long ago"):
        sync.update()
    with pytest.raises(InvalidArgument, match="ONLINE"):
        LocalJudge(recent)


def test_hashes_that_no_hub_takes(local: Local, judges: list[LocalJudge]) -> None:
    local.sync()
    judges.append(local.judge())
    known = Hash("MD5", bytes(16))
    for wrong in (
        *(Hash("PDQ", bytes(3)), Hash("CRC", bytes(4)), Hash("VPDQ", bytes(31))),
        *(Hash("PHOTODNA", bytes(144)), Hash("PHOTODNA", bytes(3))),  # there is no distance for it
    ):
        variants = (VariantHashes("flipped", (known, wrong)),)
        for query in (Query(hashes=(wrong,)), Query(hashes=(known, wrong)), Query(hashes=(known,), variants=variants)):
            with pytest.raises(InvalidArgument):
                judges[0].judge(query)
    for nothing in (Query(hashes=()), Query(hashes=(), variants=(VariantHashes("flipped", (known,)),))):
        with pytest.raises(InvalidArgument):
            judges[0].judge(nothing)
    variants = (VariantHashes("flipped", (Hash("PDQ", bytes(32)),)),)
    assert judges[0].judge(Query(hashes=(known,), variants=variants)).revision


@pytest.mark.usefixtures("local")
def test_an_app_keeps_the_copy_itself_where_nobody_does(site: Site, tmp_path: Path, judges: list[LocalJudge]) -> None:
    following = Local(site, tmp_path, f"hh_{_WHO.name}", "any", follow=True)
    judges += [following.judge(), following.judge()]
    wait_until(lambda: all(_answer(judge, 1) is Verdict.MATCH for judge in judges))
    site.desk.contribute("alpha/one", item(77))
    wait_until(lambda: all(_answer(judge, 77) is Verdict.MATCH for judge in judges))


def test_a_list_that_is_stated_again_fills_no_disk(site: Site, local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_module, "JOURNAL_PAGES", 3)
    monkeypatch.setattr(mirror, "PAGE", 5)
    local.sync()
    for step in range(6):
        listed = [item(n, algorithms=("MD5", "PDQ"), quality=90, tags=(f"{step}",)) for n in range(10)]
        site.desk.contribute("alpha/one", *listed)
        local.sync()
    [(pages,)] = _rows(local, "SELECT count(*) FROM journal_page")
    assert pages <= 3 + 3
    assert local.missing() == 0


def test_a_copy_that_is_removed_or_exchanged_under_an_app(
    site: Site, local: Local, tmp_path: Path, judges: list[LocalJudge]
) -> None:
    local.sync()
    judges.append(local.judge())
    local.directory.rename(tmp_path / "away")
    with pytest.raises(Unavailable, match="there is no copy"):
        judges[0].catch_up()
    with pytest.raises(Unavailable):
        judges[0].judge(md5(1))
    site.desk.contribute("alpha/one", item(40))
    local.sync()
    judges[0].catch_up()
    assert (verdict(judges[0], 1), verdict(judges[0], 40)) == (Verdict.MATCH, Verdict.MATCH)


def test_a_worker_that_was_forked_off_is_told(local: Local, judges: list[LocalJudge]) -> None:
    local.sync()
    judges.append(local.judge())
    judges[0].process_id += 1
    with pytest.raises(FailedPrecondition, match="in each worker"):
        judges[0].judge(md5(99))


def _answer(judge: LocalJudge, number: int) -> Verdict | None:
    try:
        return verdict(judge, number)
    except Unavailable:
        return None


def test_a_plain_mirror_of_a_hooks_copy_goes_on_with_its_journal(site: Site, local: Local) -> None:
    local.sync()
    site.desk.contribute("alpha/one", item(60))
    with site.client(f"hh_{_WHO.name}") as client, client.mirror(local.directory) as plain:
        plain.update()
    assert local.missing() == 0
    with ListCopy(local.directory).look() as look:
        assert [n for n, _, _ in look.touched(0)]


def _rows(local: Local, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(local.directory / "mirror.db")) as c:
        return c.execute(sql).fetchall()


def test_a_copy_with_nothing_to_compare_with_says_so_with_each_answer(
    site: Site, local: Local, judges: list[LocalJudge], caplog: pytest.LogCaptureFixture
) -> None:
    """At the start and while it answers: lists lose their terms, and nobody runs `hook sync` by hand."""
    update = site.hub.store.resources.update_hash_set
    for contributor in ("alpha", "beta"):
        update(contributor, "one", {"marking": Marking(bulk=False)})
    local.sync()
    judges.append(local.judge())
    warning = "uploads are compared with nothing, so that none matches: the copy has no entry"

    def told() -> int:
        return sum(record.getMessage().startswith(warning) for record in caplog.records)

    assert told() == 1
    empty = judges[0].judge(md5(1))
    for judged in (empty, judges[0].judge(md5(99))):
        assert [line.code for line in judged.result.reasons] == ["NOTHING_LISTED", "NOTHING_KNOWN"]
        assert not judged.is_listed
    for _ in range(3):
        judges[0].catch_up()
    assert told() == 1
    update("alpha", "one", {"marking": Marking(bulk=True)})
    local.sync()
    judges[0].catch_up()
    listed = judges[0].judge(md5(99))
    assert (listed.is_listed, [line.code for line in listed.result.reasons]) == (True, ["NOTHING_KNOWN"])
    update("alpha", "one", {"marking": Marking(bulk=True, expire_time=now() + timedelta(seconds=1))})
    local.sync()

    def has_told_again() -> bool:
        judges[0].catch_up()
        return told() == 2

    wait_until(has_told_again)
    assert not judges[0].judge(md5(1)).is_listed, "the terms of what it has have ended"
