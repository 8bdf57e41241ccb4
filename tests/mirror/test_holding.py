"""The copy against the hub: after anything, in any order, interrupted anywhere, never an entry too many, never one too
few.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any, Final

import msgspec
import pytest

from hashhub.client import mirror
from hashhub.errors import HashHubError, PermissionDenied, Unauthenticated
from hashhub.model import Entry, EntryState, Marking, Principal, ReviewKind, Role
from tests.hub.conftest import OPERATOR, item
from tests.hub.receiving import entitled, mirroring
from tests.mirror.conftest import Site, copied, due
from tests.patience import wait_until

_SETS: Final = ("alpha/one", "alpha/two", "beta/one")
_RECEIVER: Final = msgspec.structs.replace(mirroring(), purposes=("moderation",))
_OVERSEER: Final = mirroring(Role.AUDITOR, "overseer")
_TERMS: Final = (
    Marking(bulk=True),
    Marking(bulk=True, permitted_purposes=("moderation",)),
    Marking(bulk=True, permitted_purposes=("research",)),
    Marking(bulk=True, recipients=("contributors/receiver",)),
    Marking(bulk=True, recipients=("contributors/alpha",)),
    Marking(bulk=False),
)


class _Interrupted(Exception):
    pass


class World:
    """Random days of a hub."""

    def __init__(self, site: Site, seed: int) -> None:
        self.site = site
        self.random = Random(seed)
        self.backup: Path | None = None
        for name in _SETS:
            site.desk.hash_set(name, marking=Marking(bulk=True))
        site.desk.contributor("receiver")

    def step(self) -> None:
        steps = [self.contribute] * 4 + [self.withdraw, self.move, self.move, self.review, self.terms, self.terms]
        steps += [self.contributor, self.back_up, self.restore]
        self.random.choice(steps)()

    def contribute(self) -> None:
        name = self.random.choice(_SETS)
        numbers = self.random.sample(range(40), self.random.randrange(1, 30))
        items = [
            item(
                n, algorithms=("MD5", "PDQ"), tags=(self.random.choice("xy"),), quality=self.random.choice((90, 90, 10))
            )
            for n in numbers
        ]
        self.site.desk.contribute(name, *items, replace=self.random.random() < 0.3, allow_shrinking=True)

    def withdraw(self) -> None:
        ids = [e.id for e in self._entries(EntryState.ACTIVE, EntryState.QUARANTINED)]
        if ids:
            chosen = self.random.sample(ids, self.random.randrange(1, min(len(ids), 12) + 1))
            self.site.hub.store.transitions.withdraw(chosen, "FALSE_POSITIVE")

    def move(self) -> None:
        state, move = self.random.choice(((EntryState.ACTIVE, "quarantine"), (EntryState.QUARANTINED, "release")))
        if entries := self._entries(state):
            e = self.random.choice(entries)
            getattr(self.site.hub.entries, move)(OPERATOR, e.contributor, e.hash_set, e.id)

    def review(self) -> None:
        if entries := self._entries(*EntryState):
            e = self.random.choice(entries)
            kind = self.random.choice([*ReviewKind][:4])
            self.site.hub.reviews.create(OPERATOR, e.contributor, e.hash_set, e.id, kind, "x")

    def terms(self) -> None:
        contributor, _, set_id = self.random.choice(_SETS).partition("/")
        self.site.hub.store.resources.update_hash_set(contributor, set_id, {"marking": self.random.choice(_TERMS)})

    def contributor(self) -> None:
        fields = {"display_name": str(self.random.random())}
        self.site.hub.store.resources.update_contributor(
            self.random.choice(("alpha", "receiver")), fields, lambda _: None
        )

    def back_up(self) -> None:
        self.backup = self.site.back_up()

    def restore(self) -> None:
        if self.backup is not None and self.random.random() < 0.5:
            self.site.restore(self.backup)

    def _entries(self, *states: EntryState) -> list[Entry]:
        return [e for name in _SETS for e in self.site.desk.entries(name, *states)]


@pytest.mark.parametrize("seed", range(4))
def test_a_copy_holds_what_its_token_may_hold(
    site: Site, tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "PAGE", 1 + seed * 3)
    monkeypatch.setattr(mirror, "PATIENCE", 2.0)
    world = World(site, seed)
    random = Random(seed)
    secrets = {who.name: (who, site.token(who)) for who in (_RECEIVER, _OVERSEER)}
    complete = 0
    for _ in range(40):
        for _ in range(random.randrange(1, 4)):
            world.step()
        who, secret = random.choice([*secrets.values()])
        ends = random.randrange(1, 12)

        def interrupt(lines: int, is_complete: bool, ends: int = ends) -> None:
            """Now and then the run ends between two pages, or something happens between them."""
            if is_complete:
                return
            if random.random() < 0.1:
                world.review()
            if random.random() < 0.1:
                world.withdraw()
            if random.random() < 0.1:
                world.terms()
            if lines > ends * 5 and random.random() < 0.5:
                raise _Interrupted

        directory = tmp_path / who.name
        with site.client(secret) as client, client.mirror(directory) as copy:
            try:
                copy.update(interrupt)
                # The last page may have been on its way already when the last write was made.
                if copy.state().revision != site.hub.revision():
                    copy.update()
            except _Interrupted:
                assert not copy.state().is_complete
                continue
            state = copy.state()
            assert (state.is_complete, state.revision) == (True, site.hub.revision())
            complete += 1
            entries, sets = copied(directory)
            wanted = due(site.hub, who)
            assert entries.keys() == wanted[0].keys()
            assert (entries, sets) == wanted
    assert complete > 10


def test_a_write_that_fails_inside_a_page_leaves_the_copy_where_it_was(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.desk.hash_set("alpha/one", marking=Marking(bulk=True))
    site.desk.contribute("alpha/one", *(item(n) for n in range(30)))
    monkeypatch.setattr(mirror, "PAGE", 10)
    secret = site.token(_RECEIVER)
    real = mirror.Mirror._row
    rows = 0

    def failing(self: mirror.Mirror, entry_id: int, entry: Any) -> Any:
        nonlocal rows
        rows += 1
        if rows == 13:
            raise _Interrupted
        return real(self, entry_id, entry)

    monkeypatch.setattr(mirror.Mirror, "_row", failing)
    with site.client(secret) as client, client.mirror(tmp_path / "copy") as copy:
        with pytest.raises(_Interrupted):
            copy.update()
        assert len(copied(tmp_path / "copy")[0]) < 13
        copy.update()
        assert copied(tmp_path / "copy") == due(site.hub, _RECEIVER)


def test_a_large_import_is_taken_in_by_runs_that_are_killed(site: Site, tmp_path: Path) -> None:
    """Processes of their own, killed at random, over real gRPC."""
    site.desk.hash_set("alpha/one", marking=Marking(bulk=True))
    site.desk.hash_set("beta/one", marking=Marking(bulk=True))
    site.desk.contribute("beta/one", *(item(-n) for n in range(1, 2000)))
    secret = site.token(_RECEIVER)
    directory = tmp_path / "copy"
    with site.client(secret) as client, client.mirror(directory) as copy:
        copy.update()
    site.desk.contribute("alpha/one", *(item(n, algorithms=("MD5",)) for n in range(15_000)), batch=5_000)
    random = Random(7)
    codes: list[int] = []
    for _ in range(4):
        before = _count(directory)
        process = _run(site, secret, directory)
        wait_until(lambda: process.poll() is not None or _count(directory) > before)  # noqa: B023 - called in this turn
        time.sleep(random.uniform(0, 0.2) if codes else 0)  # the first has most to do, and must not get done
        process.kill()
        codes.append(process.wait())
        ids = [int(i) for i in site.hub.store.entries.active_ids("alpha", "one")]
        site.hub.store.transitions.withdraw(random.sample(ids, 500), "X")
    assert codes[0] == -signal.SIGKILL
    assert set(codes) <= {-signal.SIGKILL, 0}
    assert _run(site, secret, directory).wait(timeout=120) == 0
    held, sets = entitled(site.hub, _RECEIVER)
    entries, copied_sets = copied(directory)
    assert (entries.keys(), copied_sets) == (held.keys(), set(sets))
    assert len(entries) == 2000 - 1 + 15_000 - 500 * len(codes)


def _count(directory: Path) -> int:
    with closing(sqlite3.connect(directory / "mirror.db")) as c:
        [(count,)] = c.execute("SELECT count(*) FROM entry")
    return int(count)


def _run(site: Site, secret: str, directory: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "hashhub.cli", "mirror", str(directory), "--server", site.doors.grpc_address]
    return subprocess.Popen(command, env={**os.environ, "HASHHUB_TOKEN": secret}, stdout=subprocess.DEVNULL)


def test_a_restored_hub_never_empties_a_copy(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror, "PAGE", 7)
    site.desk.hash_set("alpha/one", marking=Marking(bulk=True))
    site.desk.contribute("alpha/one", *(item(n) for n in range(40)))
    secret = site.token(_RECEIVER)
    backup = site.back_up()
    site.desk.contribute("alpha/one", *(item(n) for n in range(40, 60)))
    site.desk.hash_set("beta/one", marking=Marking(bulk=True))
    site.desk.contribute("beta/one", item(99))
    directory = tmp_path / "copy"
    with site.client(secret) as client, client.mirror(directory) as copy:
        copy.update()
    site.restore(backup)
    # Another set under the same key, other entries under the same ids.
    site.desk.hash_set("gamma/one", marking=Marking(bulk=True))
    site.desk.contribute("gamma/one", *(item(n) for n in range(200, 230)))
    sizes = []
    with site.client(secret) as client, client.mirror(directory) as copy:
        copy.update(lambda *_: sizes.append(len(copied(directory)[0])))
        assert copy.state().has_started_over
    assert min(sizes) >= 60
    assert copied(directory) == due(site.hub, _RECEIVER)


def test_a_hub_that_shows_two_histories_is_told_and_followed_all_the_same(site: Site, tmp_path: Path) -> None:
    site.desk.hash_set("alpha/one", marking=Marking(bulk=True))
    secret = site.token(_RECEIVER)
    backup = site.back_up()
    directory = tmp_path / "copy"

    def updated() -> str:
        with site.client(secret) as client, client.mirror(directory) as copy:
            copy.update()
            assert copied(directory) == due(site.hub, _RECEIVER)
            return copy.state().log_fault

    site.desk.contribute("alpha/one", item(1))
    assert updated() == ""
    site.desk.contribute("alpha/one", item(2))
    assert updated() == ""
    site.restore(backup)
    site.desk.contribute("alpha/one", *(item(n) for n in range(3, 9)), batch=1)
    assert updated() == ""  # it signs nothing
    last = site.data / "log.checkpoint"
    kept = last.read_bytes()
    last.unlink()
    with site.hub.store.database.write() as c:
        c.exec_driver_sql("UPDATE log SET verifier_key = ''")
    assert "rewritten" in updated()
    assert (directory / "log-known.checkpoint").read_bytes() == kept
    assert (directory / "log-shown.checkpoint").read_bytes() == last.read_bytes()
    last.write_bytes(kept)
    site.hub.log.begin(comment="restored")
    assert updated() == ""  # a new log, which an operator began


def test_what_a_restored_hub_withdraws_takes_no_other_item_of_its_id_out_of_a_copy(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "PAGE", 7)
    for name, numbers in (("alpha/one", range(10)), ("beta/one", range(10, 50))):
        site.desk.hash_set(name, marking=Marking(bulk=True))
        site.desk.contribute(name, *(item(n) for n in numbers))
    secret = site.token(_RECEIVER)
    backup = site.back_up()
    site.desk.contribute("beta/one", item(50))
    directory = tmp_path / "copy"
    with site.client(secret) as client, client.mirror(directory) as copy:
        copy.update()
    in_beta = {name: row for name, row in copied(directory)[0].items() if name.startswith("beta/")}
    last, (*_, wanted, _) = max(in_beta.items(), key=lambda x: int(x[0].rpartition("/")[2]))
    site.restore(backup)
    held: list[bool] = []

    def on_page(*_: object) -> None:
        held.append(any(hashes == wanted for *_, hashes, _ in copied(directory)[0].values()))
        if len(held) == 4:  # alpha's are read, and beta's are not
            # In this past another item has the number and is withdrawn at once; the same one comes pages later.
            site.desk.contribute("beta/one", item(200))
            site.hub.store.transitions.withdraw([site.hub.store.entries.id_of(last)], "X")
            site.desk.contribute("beta/one", item(50))

    with site.client(secret) as client, client.mirror(directory) as copy:
        copy.update(on_page)
        assert copy.state().has_started_over
    assert len(held) > 6
    assert all(held)
    assert copied(directory) == due(site.hub, _RECEIVER)


def test_a_followed_copy_is_kept_up_to_date_and_ends_with_its_token(site: Site, tmp_path: Path) -> None:
    site.desk.hash_set("alpha/one", marking=Marking(bulk=True))
    secret = site.token(_RECEIVER)
    n = 0

    def on_page(lines: int, is_complete: bool) -> None:
        nonlocal n
        if is_complete:
            assert copied(tmp_path / "copy") == due(site.hub, _RECEIVER)
            n += 1
            if n < 4:
                site.desk.contribute("alpha/one", item(n), item(n + 100))
            else:
                site.hub.store.tokens.delete_token(_RECEIVER.name)

    started = time.monotonic()
    with site.client(secret) as client, client.mirror(tmp_path / "copy") as copy, pytest.raises(Unauthenticated):
        copy.follow(on_page)
    assert n == 4
    assert time.monotonic() - started < 120


def test_what_cannot_be_gone_on_from_is_refused_in_words(site: Site, tmp_path: Path) -> None:
    secret = site.token(_RECEIVER)
    site.desk.hash_set("alpha/one", marking=Marking(bulk=True))
    other = site.token(_OVERSEER)
    directory = tmp_path / "copy"
    with site.client(secret) as client, client.mirror(directory) as copy:
        copy.update()
    with site.client(other) as client, client.mirror(directory) as copy:
        with pytest.raises(HashHubError, match="--start-over"):
            copy.update()
        copy.start_over()
        copy.update()
        assert copied(directory) == due(site.hub, _OVERSEER)
    plain = site.token(Principal(name="plain", role=Role.OPERATOR, contributor="receiver"))
    with (
        site.client(plain) as client,
        client.mirror(tmp_path / "another") as copy,
        pytest.raises(PermissionDenied, match="may mirror"),
    ):
        copy.update()


def test_a_copy_is_for_its_owner_only(site: Site, tmp_path: Path) -> None:
    secret = site.token(_RECEIVER)
    open_ = tmp_path / "open"
    open_.mkdir(mode=0o755)
    (open_ / "notes.txt").write_text("x")
    with site.client(secret) as client:
        with pytest.raises(HashHubError, match="others can read it"):
            client.mirror(open_)
        (open_ / "notes.txt").unlink()
        for directory in (open_, tmp_path / "new" / "deep"):
            with client.mirror(directory) as copy:
                copy.update()
                modes = {p.name: p.stat().st_mode & 0o777 for p in [directory, *directory.iterdir()]}
            assert modes[directory.name] == 0o700
            assert {m for name, m in modes.items() if name.startswith("mirror.db")} == {0o600}


def test_two_that_keep_one_copy(site: Site, tmp_path: Path) -> None:
    secret = site.token(_RECEIVER)
    site.desk.hash_set("alpha/one", marking=Marking(bulk=True))
    with site.client(secret) as client, client.mirror(tmp_path) as one, client.mirror(tmp_path) as two:
        one.update()
        with pytest.raises(HashHubError, match="another process"):
            two.update()


def test_the_heads_of_the_history_are_kept(site: Site, tmp_path: Path) -> None:
    secret = site.token(_RECEIVER)
    with site.client(secret) as client, client.mirror(tmp_path) as copy:
        copy.update()
        state = copy.state()
    revision, _, digest = state.head.partition(":")
    with closing(sqlite3.connect(tmp_path / "mirror.db")) as c:
        assert c.execute("SELECT revision, digest FROM head").fetchall() == [(int(revision), digest)]
    position = site.hub.store.history.position()
    assert (int(revision), digest) == (position.revision, position.digest.hex())
