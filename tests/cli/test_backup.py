"""The restore drill, on both databases; and what a backup refuses, notices and does not hold."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import re
import shlex
import shutil
import threading
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from hashhub import vpdq
from hashhub.cli import main
from hashhub.client import Client
from hashhub.config import Config
from hashhub.errors import FailedPrecondition, LimitExceeded
from hashhub.hashes import parse
from hashhub.hub import Hub, backup
from hashhub.model import (
    SYSTEM,
    Contributor,
    ContributorKind,
    EntryState,
    HashSet,
    MatchOptions,
    Principal,
    Query,
    Role,
    Verdict,
    VideoFrame,
    WithdrawalReason,
)
from hashhub.store import Store, database_copy
from hashhub.testing.hub_process import RunningHub, running_hub
from tests.json_samples import SAMPLES

pytestmark = pytest.mark.usefixtures("programs")
OPERATOR = Principal(name="operator", role=Role.OPERATOR, contributor="operator")
NL = Contributor(id="nl", display_name="Hotline", kind=ContributorKind.HOTLINE, jurisdiction="NL")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments], catch_exceptions=False)


def done(*arguments: object) -> dict[str, Any]:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def digests(first: int, count: int) -> io.BytesIO:
    return io.BytesIO(
        b"".join(b"%032x\n" % (0xC3C3_0000_0000_0000_0000_0000_0000_0001 + n) for n in range(first, first + count))
    )


def asked(hub: Client, n: int) -> list[str]:
    """The entries that an item is matched by."""
    digest = parse("MD5", f"{0xC3C3_0000_0000_0000_0000_0000_0000_0001 + n:032x}")
    result = hub.match(Query(hashes=(digest,)), MatchOptions(policy="any")).result
    assert (result.verdict is Verdict.NO_MATCH) == (not result.matches)
    return [m.entry.name for m in result.matches]


@contextlib.contextmanager
def writing(hub: RunningHub) -> Iterator[None]:
    """Lists go on coming while the block runs."""
    stop, written = threading.Event(), threading.Event()

    def write() -> None:
        with Client(hub.address, hub.token, timeout=60.0, retry_seconds=60.0) as client:
            n = 0
            while not stop.is_set():
                n += 1
                client.import_source(digests(1_000 + 10 * n, 10), hash_set="nl/known", connector="hash-lines")
                written.set()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        assert written.wait(180)
        yield
    finally:
        stop.set()
        thread.join()


def backup_age(hub: RunningHub) -> float | None:
    connection = http.client.HTTPConnection(hub.http, timeout=60)
    connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {hub.token}"})
    text = connection.getresponse().read().decode()
    connection.close()
    lines = [line for line in text.splitlines() if line.startswith("hashhub_backup_age_seconds")]
    return float(lines[0].split()[-1]) if lines else None


def film(number: int) -> tuple[VideoFrame, ...]:
    random = Random(number)
    return tuple(VideoFrame(1000 * i, 90, random.randbytes(32)) for i in range(10))


def films() -> io.BytesIO:
    return io.BytesIO("".join(vpdq.render(film(n), vpdq.FrameFormat.ARRAY) for n in (1, 2)).encode())


def shown(client: Client, number: int) -> list[str]:
    result = client.match(Query(hashes=(), frames=film(number)), MatchOptions(policy="any")).result
    return [m.entry.name for m in result.matches]


@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_the_restore_drill(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    first: tuple[str, ...] = ()
    new: tuple[str, ...] = ()
    if kind == "postgresql":
        server = request.getfixturevalue("postgresql")
        first, new = (("--database", server.create_database()) for _ in range(2))
    copy = tmp_path / "backup"
    with running_hub(tmp_path / "lost", *first) as hub, Client(hub.address, hub.token, timeout=60.0) as client:
        client.create_contributor(NL)
        client.create_hash_set(HashSet(contributor="nl", id="known"))
        client.import_source(digests(0, 100), hash_set="nl/known", connector="hash-lines")
        client.create_hash_set(HashSet(contributor="nl", id="films"))
        client.import_source(films(), hash_set="nl/films", connector="vpdq")
        withdrawn_film = shown(client, 1)[0]
        before, after, restored = (asked(client, n)[0] for n in (1, 2, 3))
        client.withdraw_entry(before, WithdrawalReason.ERROR)
        client.withdraw_entry(restored, WithdrawalReason.ERROR)
        assert (client.status().backup_time, backup_age(hub)) == (None, None)
        with writing(hub):
            made = done("backup", copy, "--data", hub.data, *first)
        taken = client.status().backup_time
        assert client.status().backup_bytes > 0
        assert taken == msgspec.convert(made["create_time"], datetime)
        assert 0 <= (backup_age(hub) or -1) < 600
        assert done("backup", "verify", copy) == made
        # The hub goes on: a withdrawal by hand, one that is taken back, and a list that the backup does not have.
        client.withdraw_entry(after, WithdrawalReason.ERROR, "wrong item")
        client.restore_entry(restored)
        client.withdraw_entry(withdrawn_film, WithdrawalReason.ERROR)
        client.import_source(digests(500, 10), hash_set="nl/known", connector="hash-lines")
        assert client.status().revision >= made["revision"] + 3
        saved = shutil.copy(hub.data / "withdrawals.log", tmp_path / "saved.log")
        operator = shutil.copy(hub.token_file, tmp_path / "operator.token")
    shutil.rmtree(tmp_path / "lost")

    data = tmp_path / "new"
    assert done("backup", "restore", copy, "--data", data, *new, "--withdrawals", saved) == made
    shutil.copy(operator, data / "operator.token")
    with running_hub(data, *new) as hub, Client(hub.address, hub.token, timeout=60.0) as client:
        sound = done("doctor", "--data", data, *new, "--head", made["head"])
        assert sound["is_sound"]
        assert client.status().backup_time is None, "of the lost machine's data directory"
        assert not asked(client, 1)
        assert not asked(client, 2), "what was withdrawn after the backup matches again"
        assert client.get_entry(after).state is EntryState.WITHDRAWN
        assert asked(client, 4)
        assert not shown(client, 1), "a video that was withdrawn after the backup matches again"
        assert client.get_entry(shown(client, 2)[0]).frames == film(2)
        assert not asked(client, 500)  # was not in the backup: the contributor sends the list again
        client.import_source(digests(0, 100), hash_set="nl/known", connector="hash-lines")
        assert not asked(client, 2), "the next list brought back what was withdrawn after the backup"
        report = client.import_source(digests(500, 10), hash_set="nl/known", connector="hash-lines")
        assert (report.repeated, report.source.counts.accepted) == (False, 10)
        assert asked(client, 500)
        assert client.status().revision > made["revision"]


def settled(data: Path) -> Config:
    store = Store.open(data)
    store.close()
    (data / "withdrawals.log").write_bytes(b'{"a":1}\n{"b":2}\n{"torn')
    (data / "operator.token").write_text("hh_secret_of_the_operator")
    (data / "matcher").mkdir()
    (data / "matcher" / "snapshot").write_bytes(b"derived")
    return Config(data=str(data))


def test_the_sample_shows_what_is_printed(tmp_path: Path) -> None:
    shown = SAMPLES["backup create DIR"]
    made = done("backup", tmp_path / "backup", "--data", settled(tmp_path / "data").data)
    assert list(made) == list(shown)
    assert list(made["files"][0]) == list(shown["files"][0])
    assert [type(v) for v in made.values()] == [type(v) for v in shown.values()]


def nothing(what: str, copied: int, total: int) -> None:
    assert 0 <= copied <= total, what


def test_what_is_in_a_backup_and_what_is_not(tmp_path: Path) -> None:
    config = settled(tmp_path / "data")
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "mine.toml").write_text("name = 'mine'\n")
    config = Config(
        data=config.data, policies=str(tmp_path / "policies"), workers=4, tls_key="/etc/key", tls_certificate="/c"
    )
    target = tmp_path / "a" / "backup"
    made = backup.back_up(config, target, nothing)
    assert [f.name for f in made.files] == ["hashhub.db", "policies/mine.toml", "settings.toml", "withdrawals.log"]
    assert (target / "withdrawals.log").read_bytes() == b'{"a":1}\n{"b":2}\n'
    assert {p.stat().st_mode & 0o077 for p in [target, *target.rglob("*")]} == {0}
    whole = b"".join(p.read_bytes() for p in target.rglob("*") if p.is_file())
    assert b"hh_secret_of_the_operator" not in whole
    assert b"derived" not in whole
    # The settings are a file that a server takes.
    (tmp_path / "settings.toml").write_bytes((target / "settings.toml").read_bytes())
    from hashhub import config as settings

    assert settings.load(tmp_path / "settings.toml", {}) == config
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["backup"], "something unfinished is left"


def test_no_password_is_in_a_backup(tmp_path: Path, postgresql_url: str) -> None:
    scheme, _, rest = postgresql_url.partition("://")
    user = rest.partition(":")[0].partition("@")[0]
    url = f"{scheme}://{user}:hunter2@{rest.partition('@')[2]}"
    Store.open(url).close()
    backup.back_up(Config(data=str(tmp_path / "data"), database=url), tmp_path / "backup", lambda *_: None)
    assert b"hunter2" not in b"".join(p.read_bytes() for p in (tmp_path / "backup").iterdir())
    assert user in (tmp_path / "backup" / "settings.toml").read_text()


def test_a_backup_never_replaces_anything(tmp_path: Path) -> None:
    config = settled(tmp_path / "data")
    target = tmp_path / "backup"
    backup.back_up(config, target, nothing)
    before = {p: p.read_bytes() for p in target.iterdir()}
    first = json.loads((target / "manifest.json").read_bytes())
    with Hub.open(config) as hub:  # also one that is started later
        assert hub.status(OPERATOR).backup_time == msgspec.convert(first["create_time"], datetime)
    with pytest.raises(FailedPrecondition, match="never replaces"):
        backup.back_up(config, target, nothing)
    with pytest.raises(FailedPrecondition, match="never replaces"):
        backup.restore(target, config, None, nothing)
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert run("backup", tmp_path / "link", "--data", config.data).exit_code == 1
    assert {p: p.read_bytes() for p in target.iterdir()} == before


def test_a_backup_that_fails_leaves_nothing(tmp_path: Path) -> None:
    failed = run("backup", tmp_path / "backup", "--data", tmp_path / "none")
    assert (failed.exit_code, "--data" in failed.stderr) == (1, True)
    (tmp_path / "file").write_text("")
    assert run("backup", tmp_path / "file" / "x", "--data", settled(tmp_path / "data").data).exit_code == 3
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data", "file"]


@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "empty", "add", "link"])
def test_damage_to_any_file_is_noticed(tmp_path: Path, damage: str) -> None:
    config = settled(tmp_path / "data")
    backup.back_up(config, tmp_path / "sound", nothing)
    names = [p.name for p in (tmp_path / "sound").iterdir()]
    assert len(names) == 4
    for number, name in enumerate(names):
        copy = shutil.copytree(tmp_path / "sound", tmp_path / f"copy-{number}")
        path = copy / name
        content = path.read_bytes()
        match damage:
            case "flip":
                middle = len(content) // 2
                path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
            case "cut":
                path.write_bytes(content[:-2])
            case "remove":
                path.unlink()
            case "empty":
                path.write_bytes(b"")
            case "add":
                (copy / f"{name}.1").write_bytes(content)
            case "link":
                if name == "manifest.json":
                    continue
                path.unlink()
                path.symlink_to(tmp_path / "sound" / name)
        refused = run("backup", "verify", copy)
        assert refused.exit_code == 1, (name, refused.stdout)
        assert run("backup", "restore", copy, "--data", tmp_path / "new", "--without-withdrawals").exit_code == 1
        assert not (tmp_path / "new").exists()


def test_a_copy_is_of_one_moment_however_much_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each piece of the copy is followed by a write. It never begins anew, and holds what was there at first."""
    monkeypatch.setattr(database_copy, "PAGES", 3)
    store = Store.open(tmp_path / "data")
    (tmp_path / "copy").mkdir()
    try:
        store.resources.create_contributor(NL, by=SYSTEM)
        at = store.history.position()
        steps: list[int] = []

        def progress(copied: int, total: int) -> None:
            steps.append(copied)
            store.resources.create_contributor(
                Contributor(id=f"c{len(steps)}", display_name="x" * 1000, kind=ContributorKind.NGO, jurisdiction="NL"),
                by=SYSTEM,
            )

        copied = database_copy.copy_out(tmp_path / "data", tmp_path / "copy", progress)
        assert copied.position == at
        assert len(steps) > 10
        assert steps == sorted(set(steps))
        assert store.history.position().revision == at.revision + len(steps)
    finally:
        store.close()
    again = Store.open(tmp_path / "copy", create=False)
    assert not [c for c in again.resources.contributors() if c.startswith("c")]
    assert again.history.verify_history(again.database_id) == at
    again.close()


def test_lines_of_all_logs_are_there_after_a_restore(tmp_path: Path) -> None:
    config = settled(tmp_path / "data")
    backup.back_up(config, tmp_path / "backup", nothing)
    (tmp_path / "saved.log").write_bytes(b'{"b":2}\n{"c":3}\n')
    new = tmp_path / "new"
    new.mkdir()
    (new / "withdrawals.log").write_bytes(b'{"c":3}\n{"d":4}\n')
    backup.restore(tmp_path / "backup", Config(data=str(new)), tmp_path / "saved.log", nothing)
    assert (new / "withdrawals.log").read_bytes() == b'{"a":1}\n{"b":2}\n{"c":3}\n{"d":4}\n'
    assert (new / "hashhub.db").stat().st_mode & 0o077 == 0


def test_what_a_restore_says_comes_next_is_about_the_restored_hub(tmp_path: Path) -> None:
    """Without a directory, `doctor` would look at the hub that was lost, or at none."""
    backup.back_up(settled(tmp_path / "data"), tmp_path / "backup", nothing)
    new = tmp_path / "new hub"
    refused = run("backup", "restore", tmp_path / "backup", "--data", new)
    assert (refused.exit_code, new.exists()) == (1, False)
    assert "no newer withdrawals.log was given" in refused.stderr
    restored = run("backup", "restore", tmp_path / "backup", "--data", new, "--without-withdrawals")
    assert restored.exit_code == 0, restored.stderr
    start, check = (line.partition(": hashhub ")[2] for line in restored.stderr.splitlines())
    assert start == f"serve --data '{new}'"
    checked = run(*shlex.split(check), "--json")
    assert checked.exit_code == 0, checked.stderr
    again = run("doctor", "--data", new, "--json")
    assert re.sub(r"in [\d.]+ s", "", checked.stdout) == re.sub(r"in [\d.]+ s", "", again.stdout)


@pytest.mark.parametrize("end", ["", "-wal", "-shm", "-journal"])
def test_nothing_is_put_beside_what_another_database_left(tmp_path: Path, end: str) -> None:
    """A log that stays behind when only the database is removed would be replayed into the restored one."""
    backup.back_up(settled(tmp_path / "data"), tmp_path / "backup", nothing)
    new = tmp_path / "new"
    new.mkdir()
    (new / f"hashhub.db{end}").write_bytes(b"left over")
    with pytest.raises(FailedPrecondition, match=f"there is hashhub.db{end} in"):
        backup.restore(tmp_path / "backup", Config(data=str(new)), None, nothing)
    assert {p.name for p in new.iterdir()} == {f"hashhub.db{end}", "withdrawals.log"}
    assert (new / f"hashhub.db{end}").read_bytes() == b"left over"


def test_a_restore_that_breaks_off_can_be_made_again(tmp_path: Path) -> None:
    backup.back_up(settled(tmp_path / "data"), tmp_path / "backup", nothing)
    config = Config(data=str(tmp_path / "new"))

    def full(what: str, copied: int, total: int) -> None:
        if what == "database":
            raise OSError(28, "No space left on device")

    with pytest.raises(LimitExceeded, match="disk is full"):
        backup.restore(tmp_path / "backup", config, None, full)
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["withdrawals.log"]
    backup.restore(tmp_path / "backup", config, None, nothing)
    store = Store.open(tmp_path / "new", create=False)
    store.close()


def test_a_backup_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    config = settled(tmp_path / "data")

    def full(what: str, copied: int, total: int) -> None:
        if what == "checksums":
            raise OSError(28, "No space left on device")

    with pytest.raises(LimitExceeded, match="disk is full"):
        backup.back_up(config, tmp_path / "backups" / "one", full)
    assert not list((tmp_path / "backups").iterdir())


@pytest.mark.parametrize("program", ["pg_dump", "pg_restore"])
def test_without_the_programs_it_is_said_what_to_run(
    tmp_path: Path, postgresql: Any, postgresql_url: str, program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config(data=str(tmp_path / "data"), database=postgresql_url)
    backup.back_up(config, tmp_path / "backup", lambda *_: None)
    new = Config(data=str(tmp_path / "new"), database=postgresql.create_database())
    monkeypatch.setenv("PATH", str(tmp_path))
    ask = (
        partial(backup.back_up, config, tmp_path / "another", lambda *_: None)
        if program == "pg_dump"
        else partial(backup.restore, tmp_path / "backup", new, None, lambda *_: None)
    )
    with pytest.raises(FailedPrecondition, match=rf"{program} --.*postgresql://") as refused:
        ask()
    assert "postgresql+psycopg" not in refused.value.message
    assert not (tmp_path / "another").exists()


def test_a_database_of_the_other_kind_is_refused(tmp_path: Path, postgresql_url: str, postgresql: Any) -> None:
    backup.back_up(settled(tmp_path / "data"), tmp_path / "lite", nothing)
    backup.back_up(Config(data=str(tmp_path / "d"), database=postgresql_url), tmp_path / "dump", lambda *_: None)
    for source, database in (("lite", postgresql.create_database()), ("dump", "")):
        with pytest.raises(FailedPrecondition, match="--database"):
            backup.restore(
                tmp_path / source, Config(data=str(tmp_path / "new"), database=database), None, lambda *_: None
            )
    with pytest.raises(FailedPrecondition, match="tables already"):
        backup.restore(
            tmp_path / "dump", Config(data=str(tmp_path / "new"), database=postgresql_url), None, lambda *_: None
        )
