"""The vault: what is kept opens again with its key only, whole or not at all; until its time, and no longer."""

from __future__ import annotations

import errno
import fcntl
import io
import os
import signal
import stat
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashhub.desk.queue.rulings import Rulings
from hashhub.desk.queue.view import RulingCode
from hashhub.desk.records import Records
from hashhub.desk.rounds import QueueRounds
from hashhub.desk.settings import Encryption, QueueSettings, RetentionStart, VaultSettings
from hashhub.desk.vault import RetentionPeriod, Vault, rules
from hashhub.desk.vault_keys import CHUNK_BYTES, make_key, seal, unseal, write_private
from hashhub.errors import (
    AlreadyExists,
    DataLoss,
    FailedPrecondition,
    HashHubError,
    InvalidArgument,
    LimitExceeded,
    NotFound,
    Reason,
    Unavailable,
)
from hashhub.hook import Action, HookSettings
from hashhub.hook.examiner import HubJudge
from hashhub.local_files import lock
from tests.desk.test_record_expiry import LONG_AGO
from tests.hook.conftest import HELD
from tests.hook.waiting import checked, hit, put

if TYPE_CHECKING:
    from tests.hook.conftest import Listed, MakeHook

pyrage = pytest.importorskip("pyrage", reason="age needs the extra hashhub[hook]")

QUEUE = ("queue.reviews", "queue.rulings", "queue.view")
CONTENT = b"no picture, but bytes of a test " * 9000  # some chunks


class Place:
    """A data directory with a vault by a key file; `open` opens it as each process does."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.data = directory / "hook"
        self.key = directory / "vault.key"
        make_key(self.key)

    def settings(self, **given: Any) -> HookSettings:
        usual: dict[str, Any] = {"encryption": Encryption.KEY_FILE, "days_without_report": 90, "country": "US"}
        if given.get("encryption", Encryption.KEY_FILE) is Encryption.KEY_FILE:
            usual["key_file"] = str(self.key)
        return HookSettings(
            policy="block", without_answer=HELD, data=str(self.data), vault=VaultSettings(**usual | given)
        )

    def records(self) -> Records:
        return Records(self.data)

    def open(
        self,
        *,
        identity_file: str = "",
        old_key: str = "",
        rotating: bool = False,
        sweep_first: bool = True,
        **given: Any,
    ) -> Vault:
        return Vault(
            self.records(),
            self.settings(**given),
            identity_file=identity_file,
            old_key=old_key,
            rotating=rotating,
            sweep_first=sweep_first,
        )

    def files(self) -> list[Path]:
        return [p for p in (self.data / "vault").rglob("*") if p.is_file()]

    def kinds(self) -> list[str]:
        return [event.kind for event in self.records().events()]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def keep(vault: Vault, content: bytes = CONTENT, **given: Any) -> str:
    one = checked(hit("police-nl/known/1"), size_bytes=len(content), **given)
    vault.on_checked(one, io.BytesIO(content))
    return one.decision.reference


# The form


@given(
    size=st.one_of(
        st.integers(0, 300), st.sampled_from([CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES])
    ),
    how=st.sampled_from(["cut", "append", "flip", "swap", "drop"]),
    at=st.integers(0, 1 << 30),
)
def test_what_was_sealed_opens_whole_or_not_at_all(size: int, how: str, at: int) -> None:
    key, content = os.urandom(32), os.urandom(size)
    sealed = io.BytesIO()
    assert seal(io.BytesIO(content), sealed, key, "a", max_bytes=size) == size
    opened = io.BytesIO()
    assert unseal(io.BytesIO(sealed.getvalue()), opened, key, "a") == size
    assert opened.getvalue() == content
    data = bytearray(sealed.getvalue())
    block = CHUNK_BYTES + 16
    body = [data[16 + i : 16 + i + block] for i in range(0, len(data) - 16, block)]
    if how == "cut":
        data = data[: at % len(data)]
    elif how == "append":
        data += os.urandom(1 + at % 40)
    elif how == "flip":
        data[at % len(data)] ^= 1 << at % 8
    elif how == "swap" and len(body) > 2:
        data = data[:16] + b"".join([body[1], body[0], *body[2:]])
    elif how == "drop" and len(body) > 1:
        data = data[:16] + b"".join(body[:-1])  # ends at the border of a chunk
    else:
        return
    with pytest.raises(DataLoss) as error:
        unseal(io.BytesIO(bytes(data)), io.BytesIO(), key, "a")
    assert error.value.reason is Reason.VAULT_DAMAGED
    for other_key, other_name in ((os.urandom(32), "a"), (key, "b")):
        with pytest.raises(DataLoss):
            unseal(io.BytesIO(sealed.getvalue()), io.BytesIO(), other_key, other_name)


# Keeping


def test_what_is_held_or_blocked_is_kept_and_what_is_allowed_is_not(place: Place, tmp_path: Path) -> None:
    vault = place.open()
    reference = keep(vault, upload_id="private name.jpg")
    allowed = checked(size_bytes=3)
    allowed = msgspec.structs.replace(allowed, decision=msgspec.structs.replace(allowed.decision, action=Action.ALLOW))
    vault.on_checked(allowed, io.BytesIO(b"abc"))
    vault.on_checked(checked(), None)  # hashes have no content
    assert [item.reference for item in vault.items()] == [reference]
    [file] = place.files()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert reference not in str(file)
    assert "private" not in str(file)
    raw = file.read_bytes()
    assert CONTENT[:32] not in raw
    out = tmp_path / "out.bin"
    assert vault.export(reference, out, actor="ann", reason="asked by the police, file 7") == len(CONTENT)
    assert out.read_bytes() == CONTENT
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert place.kinds() == ["vault.stored", "vault.opened", "vault.exported"]
    opened = place.records().events(subject=reference)[1]
    assert (opened.actor, opened.reason) == ("ann", "asked by the police, file 7")
    with pytest.raises(AlreadyExists):  # nothing is written over
        vault.export(reference, out, actor="ann", reason="again")
    with pytest.raises(InvalidArgument, match="why"):
        vault.export(reference, tmp_path / "other", actor="ann", reason="  ")
    with pytest.raises(NotFound):
        vault.export("0" * 20, tmp_path / "other", actor="ann", reason="why")
    assert not (tmp_path / "other").exists()


def test_the_core_keeps_before_it_answers(
    make_hook: MakeHook, make_settings: Callable[..., HookSettings], listed: Listed, place: Place
) -> None:
    given = place.settings().vault
    hook = make_hook(vault=given)
    decision = hook.check(listed.known)
    assert decision.action is Action.BLOCK
    assert hook.check(listed.unknown).action is Action.ALLOW
    settings = make_settings(vault=given)
    [item] = Vault(Records(Path(settings.data)), settings).items()
    assert (item.reference, item.size_bytes) == (decision.reference, len(listed.known))


def test_bounds_of_one_and_of_all(place: Place) -> None:
    vault = place.open(max_upload_bytes=100, max_total_bytes=250)
    for _ in range(2):
        keep(vault, b"x" * 100)
    with pytest.raises(LimitExceeded, match="nothing of the upload was kept") as error:
        keep(vault, b"x" * 100)
    assert error.value.reason is Reason.DISK_FULL
    with pytest.raises(LimitExceeded) as error:
        keep(vault, b"x" * 101)
    assert error.value.reason in {Reason.TOO_LARGE, Reason.DISK_FULL}
    one = checked(
        hit("police-nl/known/1"), size_bytes=40
    )  # a part of it only was received: it was larger than the hook looks at
    with pytest.raises(LimitExceeded, match="nothing of it was kept"):
        vault.on_checked(one, io.BytesIO(b"x" * 20))
    assert len(vault.items()) == len(place.files()) == 2
    assert place.kinds().count("vault.not_kept") == 3


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_full_or_broken_disk_is_said_and_leaves_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    vault = place.open()

    def fail(_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(Unavailable if number == errno.EIO else LimitExceeded):
        keep(vault)
    monkeypatch.undo()
    assert vault.items() == []
    assert place.files() == []
    assert place.kinds() == ["vault.not_kept"]
    keep(vault)


def test_a_process_killed_in_the_middle_leaves_nothing_that_is_not_said(place: Place) -> None:
    vault = place.open()
    reference = keep(vault)
    code = textwrap.dedent("""
        import os, signal, sys, io
        from tests.desk.test_vault import Place, keep
        from hashhub.desk import vault as v
        from pathlib import Path
        place = Place.__new__(Place)
        place.directory = Path(sys.argv[1]); place.data = place.directory / "hook"
        place.key = place.directory / "vault.key"
        vault = place.open()
        setattr(v, sys.argv[2], lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
        keep(vault)
    """)
    for where in ("seal", "sync"):  # before the first byte; after the file has its name and before its row
        done = subprocess.run(
            [sys.executable, "-c", code, str(place.directory), where],
            cwd=Path(__file__).parents[2],
            timeout=300,
            check=False,
        )
        assert done.returncode == -signal.SIGKILL
        assert len(place.files()) == 2
        again = place.open()
        assert [item.reference for item in again.items()] == [reference]
        assert len(place.files()) == 1
    assert place.kinds().count("vault.orphans_removed") == 2


def test_a_file_that_is_being_written_is_no_orphan(place: Place) -> None:
    place.open()
    busy = place.data / "vault" / "ab" / ("ab" * 16 + ".part")
    busy.parent.mkdir(mode=0o700)
    with busy.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        place.open()
        assert busy.exists()
    place.open()
    assert not busy.exists()


def test_what_is_written_is_locked_even_if_somebody_looks_whether_it_is_an_orphan(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lock_later(file: Any, **how: Any) -> bool:
        looking = Path(f"/proc/self/fd/{file.fileno()}").open("rb")  # noqa: SIM115 - closed by the timer
        assert lock(looking)
        ends.append(threading.Timer(0.2, looking.close))
        ends[0].start()
        return lock(file, **how)

    def seal_and_look(content: Any, file: Any, *rest: Any, **more: Any) -> int:
        ends[0].join()
        with Path(f"/proc/self/fd/{file.fileno()}").open("rb") as looking:
            locked.append(not lock(looking))
        return seal(content, file, *rest, **more)

    ends: list[threading.Timer] = []
    locked: list[bool] = []
    vault = place.open()
    monkeypatch.setattr("hashhub.desk.vault.lock", lock_later)
    monkeypatch.setattr("hashhub.desk.vault.seal", seal_and_look)
    keep(vault)
    assert locked == [True]
    assert len(place.files()) == 1


def test_a_missing_file_is_said_once_and_at_the_start(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    vault = place.open()
    reference = keep(vault)
    place.files()[0].unlink()
    for _ in range(2):
        caplog.clear()
        vault = place.open()
        assert reference in caplog.text
    assert place.kinds().count("vault.file_missing") == 1
    outcome = vault.check(actor="ann")
    assert (outcome.items, outcome.opened, outcome.problems[0].reason) == (1, 0, Reason.VAULT_DAMAGED)


# Keys


def test_a_lost_key_is_said_at_the_start(place: Place) -> None:
    keep(place.open())
    place.key.unlink()
    with pytest.raises(InvalidArgument, match=r"vault\.key_file"):
        place.open()
    make_key(place.key)
    with pytest.raises(FailedPrecondition, match="rotate") as error:
        place.open()
    assert error.value.reason is Reason.VAULT_KEY_LOST


def test_a_key_that_others_can_read_or_that_lies_with_the_data_is_refused(place: Place) -> None:
    place.key.chmod(0o640)
    with pytest.raises(InvalidArgument, match="chmod 600"):
        place.open()
    place.records()
    inside = place.data / "vault.key"
    make_key(inside)
    with pytest.raises(InvalidArgument, match="within the data directory"):
        place.open(key_file=str(inside))
    with pytest.raises(AlreadyExists, match="exists already"):
        make_key(inside)


def test_keys_are_rotated_and_the_old_one_is_of_no_use(place: Place, tmp_path: Path) -> None:
    vault = place.open()
    references = [keep(vault) for _ in range(3)]
    old = place.key.rename(tmp_path / "old.key")
    make_key(place.key)
    vault = place.open(old_key=str(old), rotating=True)
    with pytest.raises(FailedPrecondition):
        vault.export(references[0], tmp_path / "out", actor="ann", reason="why")
    assert not (tmp_path / "out").exists()
    assert vault.rotate(actor="account:root") == (3, 0)
    assert vault.rotate(actor="account:root") == (0, 0)
    vault = place.open()
    assert vault.check(actor="ann").opened == 3
    vault.export(references[0], tmp_path / "out", actor="ann", reason="why")
    with pytest.raises(FailedPrecondition):
        place.open(key_file=str(old))
    make_key(tmp_path / "third.key")
    wrong = place.open(
        key_file=str(tmp_path / "third.key"), old_key=str(old), rotating=True
    )  # opens nothing of what is there
    assert wrong.rotate(actor="account:root") == (0, 3)
    assert place.open().check(actor="ann").opened == 3


def test_a_check_with_the_old_key_opens_what_is_for_either_and_names_what_is_for_neither(
    place: Place, tmp_path: Path
) -> None:
    third = keep(place.open())
    place.key.rename(tmp_path / "third.key")
    make_key(place.key)
    keep(place.open(old_key=str(tmp_path / "third.key"), rotating=True))
    old = place.key.rename(tmp_path / "old.key")
    make_key(place.key)
    vault = place.open(old_key=str(old), rotating=True)
    keep(vault)
    checked = vault.check(actor="ann")
    assert (checked.items, checked.opened) == (3, 2)
    assert [(p.reference, p.reason) for p in checked.problems] == [(third, Reason.VAULT_KEY_LOST)]
    for path in place.files():
        path.write_bytes(path.read_bytes()[:-1])
    reasons = sorted(p.reason for p in vault.check(actor="ann").problems)
    assert reasons == [Reason.VAULT_DAMAGED, Reason.VAULT_DAMAGED, Reason.VAULT_KEY_LOST]


def test_of_two_rotations_at_once_none_undoes_or_counts_what_the_other_did(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault = place.open()
    for _ in range(3):
        keep(vault)
    old = place.key.rename(tmp_path / "old.key")
    make_key(place.key)
    make_key(tmp_path / "other.key")
    slow = place.open(old_key=str(old), rotating=True)
    wrap = slow._keys.wrap
    others: list[tuple[int, int]] = []

    def late(key: bytes, name: str) -> bytes:
        if not others:
            other = place.open(key_file=str(tmp_path / "other.key"), old_key=str(old), rotating=True)
            others.append(other.rotate(actor="account:bob"))
        return wrap(key, name)

    monkeypatch.setattr(slow._keys, "wrap", late)
    assert slow.rotate(actor="account:root") == (0, 0)
    assert others == [(3, 0)]
    assert place.open(key_file=str(tmp_path / "other.key")).check(actor="ann").opened == 3


@pytest.mark.parametrize("call", ["rotate", "check"])
def test_that_keys_were_opened_is_on_record_also_of_who_was_killed(place: Place, call: str) -> None:
    vault = place.open()
    for _ in range(3):
        keep(vault)
    old = place.key.rename(place.directory / "old.key")
    make_key(place.key)
    if call == "check":
        place.open(old_key=str(old), rotating=True).rotate(actor="account:root")
    before = len(place.kinds())
    code = textwrap.dedent("""
        import os, signal, sys
        from tests.desk.test_vault import Place
        from hashhub.desk.vault_keys import KeyFile
        from pathlib import Path
        place = Place.__new__(Place)
        place.directory = Path(sys.argv[1]); place.data = place.directory / "hook"
        place.key = place.directory / "vault.key"
        unwrap, opened = KeyFile.unwrap, []
        def killed_at_the_third(self, wrapped, name):
            opened.append(name)
            return os.kill(os.getpid(), signal.SIGKILL) if len(opened) == 3 else unwrap(self, wrapped, name)
        is_rotating = sys.argv[2] == "rotate"
        vault = place.open(old_key=str(place.directory / "old.key") if is_rotating else "", rotating=is_rotating)
        KeyFile.unwrap = killed_at_the_third
        getattr(vault, sys.argv[2])(actor="account:mallory")
    """)
    done = subprocess.run(
        [sys.executable, "-c", code, str(place.directory), call],
        cwd=Path(__file__).parents[2],
        timeout=300,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    events = place.records().events()[before:]
    kind = {"rotate": "vault.rotation_begun", "check": "vault.check_begun"}[call]
    assert [(event.kind, event.actor, event.details["items"]) for event in events] == [(kind, "account:mallory", 3)]
    if call == "rotate":  # what is left is done, and all opens
        vault = place.open(old_key=str(old), rotating=True)
        assert vault.rotate(actor="account:root") == (1, 0)
    assert place.open().check(actor="ann").opened == 3


def test_what_a_door_that_still_runs_keeps_for_the_old_key_is_said_and_can_be_rotated_yet(place: Place) -> None:
    running = place.open()
    keep(running)
    old = place.key.rename(place.directory / "old.key")
    make_key(place.key)
    assert place.open(old_key=str(old), rotating=True).rotate(actor="account:root") == (1, 0)
    keep(running)
    with pytest.raises(FailedPrecondition, match="--old-key"):
        place.open()
    assert place.open(old_key=str(old), rotating=True).rotate(actor="account:root") == (1, 0)
    assert place.open().check(actor="ann").opened == 2


@pytest.fixture
def age(tmp_path: Path) -> tuple[str, str]:
    """A file with a recipient, and one with its identity."""
    identity = pyrage.x25519.Identity.generate()
    (tmp_path / "recipients").write_text(f"# desk\n{identity.to_public()}\n")
    write_private(tmp_path / "identity", f"# created by a test\n{identity}\n")
    return str(tmp_path / "recipients"), str(tmp_path / "identity")


def test_by_age_who_stores_cannot_read(place: Place, age: tuple[str, str], tmp_path: Path) -> None:
    recipients, identity = age
    by_age: dict[str, Any] = {"encryption": Encryption.AGE, "recipients_file": recipients}
    vault = place.open(**by_age)
    reference = keep(vault)
    out = tmp_path / "out"
    with pytest.raises(FailedPrecondition, match="identity") as error:
        vault.export(reference, out, actor="ann", reason="why")
    assert error.value.reason is Reason.VAULT_KEY_LOST
    assert not out.exists()
    assert vault.check(actor="ann").opened == 0
    with_identity = place.open(identity_file=identity, **by_age)
    assert with_identity.export(reference, out, actor="ann", reason="why") == len(CONTENT)
    assert out.read_bytes() == CONTENT
    # another person's key: the old identity opens, the new one after the rotation only
    second = pyrage.x25519.Identity.generate()
    (tmp_path / "recipients").write_text(f"{second.to_public()}\n")
    write_private(tmp_path / "second", f"{second}\n")
    assert place.open(identity_file=identity, rotating=True, **by_age).rotate(actor="account:root") == (1, 0)
    assert place.open(identity_file=str(tmp_path / "second"), **by_age).check(actor="ann").opened == 1
    with pytest.raises(FailedPrecondition):  # which is said at the start
        place.open(identity_file=identity, **by_age)
    (tmp_path / "recipients").write_text("age1nonsense\n")
    with pytest.raises(InvalidArgument, match="recipient"):
        place.open(**by_age)


@pytest.fixture(scope="module")
def kms() -> Iterator[str]:
    """A KMS from a wheel, with the key alias/vault; its address."""
    server = pytest.importorskip("moto.server", reason="the KMS of the tests is moto's")
    boto3 = pytest.importorskip("boto3")
    running = server.ThreadedMotoServer(port=0)
    running.start()
    _, port = running.get_host_and_port()
    endpoint = f"http://127.0.0.1:{port}"
    credentials = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}  # moto takes any
    client = boto3.client("kms", endpoint_url=endpoint, region_name="eu-west-1", **credentials)
    key = client.create_key()["KeyMetadata"]["KeyId"]
    client.create_alias(AliasName="alias/vault", TargetKeyId=key)
    yield f"awskms:///alias/vault?region=eu-west-1&endpoint={endpoint}"
    running.stop()


def test_by_a_key_service(place: Place, kms: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    vault = place.open(encryption=Encryption.KMS, kms_key=kms)
    reference = keep(vault)
    assert vault.export(reference, tmp_path / "out", actor="ann", reason="why") == len(CONTENT)
    assert vault.check(actor="ann").opened == 1
    with pytest.raises(Unavailable):  # no such key: said at the start
        place.open(encryption=Encryption.KMS, kms_key=kms.replace("alias/vault", "alias/other"))


@pytest.mark.parametrize(
    "url", ["awskms://host/alias/a", "http://x/", "awskms:///", "awskms:///alias/a?endpoint=http://203.0.113.9/"]
)
def test_addresses_of_key_services_that_are_refused(place: Place, url: str) -> None:
    with pytest.raises(InvalidArgument, match=r"vault\.kms_key"):
        place.open(encryption=Encryption.KMS, kms_key=url)


# Time


class TestTime:
    @pytest.fixture(autouse=True)
    def _clock(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at = datetime(2026, 1, 1, tzinfo=UTC)
        for module in ("vault", *QUEUE, "records"):
            monkeypatch.setattr(f"hashhub.desk.{module}.now", lambda: self.at)

    def pass_(self, days: float) -> None:
        self.at += timedelta(days=days)

    def test_what_nobody_reported_goes_after_the_chosen_days(self, place: Place) -> None:
        vault = place.open()
        reference = keep(vault)
        self.pass_(89.9)
        assert vault.sweep() == []
        self.pass_(0.2)
        assert vault.sweep() == [reference]
        assert vault.items() == []
        assert place.files() == []
        assert place.records().rows("SELECT wrapped_key FROM vault_item") == [(None,)]
        assert place.records().events(subject=reference)[-1].reason == "90 days without a report"
        with pytest.raises(NotFound):
            vault.export(reference, place.directory / "out", actor="ann", reason="why")

    def test_what_was_reported_in_the_us_is_kept_a_year_from_the_report(self, place: Place) -> None:
        vault = place.open()
        rulings = Rulings(place.records(), place.settings())
        reference = keep(vault)
        put(place.records(), checked_as(reference))
        self.pass_(80)
        rulings.reported(reference, recipient="ncmec", filed_as="1", actor="ann")
        self.pass_(364.9)
        assert vault.sweep() == []
        assert "2258A" in vault.items()[0].due_why
        self.pass_(0.2)
        assert vault.sweep() == [reference]

    def test_a_legal_hold_stops_the_clock_until_it_is_lifted(self, place: Place) -> None:
        vault = place.open()
        first, second = keep(vault), keep(vault)
        with pytest.raises(NotFound):
            vault.hold([first, "0" * 20], case="court-7", actor="ann", reason="order of the court")
        assert vault.hold([first, second], case="court-7", actor="ann", reason="order of the court") == 2
        assert vault.hold([first], case="court-8", actor="ann", reason="another") == 1
        self.pass_(4000)
        assert vault.sweep() == []
        with pytest.raises(NotFound):
            vault.lift(case="court-9", reference=None, actor="bob", reason="ended")
        assert vault.lift(case="court-7", reference=None, actor="bob", reason="ended") == 2
        assert vault.sweep() == [second]
        assert [(i.reference, i.due_time, i.due_why) for i in vault.items()] == [(first, None, "legal hold court-8")]
        lifted = place.records().events(subject=first)[-1]
        assert (lifted.kind, lifted.actor, lifted.reason) == ("legal_hold.lifted", "bob", "ended")

    def test_a_release_erases_after_some_days_within_which_it_can_be_taken_back(self, place: Place) -> None:
        vault = place.open()
        rulings = Rulings(place.records(), place.settings())
        reference, wrong = keep(vault), keep(vault)
        for one in (reference, wrong):
            put(place.records(), checked_as(one))
            rulings.release(one, code=RulingCode.DIFFERENT_PICTURE, actor="eve")
        self.pass_(6)
        assert vault.sweep() == []
        rulings.confirm(wrong, actor="ann")  # an insider's release was noticed
        self.pass_(2)
        assert vault.sweep() == [reference]
        assert [item.reference for item in vault.items()] == [wrong]

    def test_a_release_does_not_shorten_what_a_report_asks_for(self, place: Place) -> None:
        vault = place.open()
        rulings = Rulings(place.records(), place.settings())
        reference = keep(vault)
        put(place.records(), checked_as(reference))
        rulings.reported(reference, recipient="ncmec", filed_as="1", actor="ann")
        rulings.release(reference, code=RulingCode.DIFFERENT_PICTURE, actor="eve")
        self.pass_(300)
        assert vault.sweep() == []


def test_a_running_hook_erases_what_is_due_without_any_upload(place: Place) -> None:
    vault = place.open()
    reference, young = keep(vault), keep(vault)
    records = place.records()
    rounds = QueueRounds(records, place.settings(), HubJudge(place.settings()), vault=vault)
    records.write("UPDATE vault_item SET time = ? WHERE reference = ?", (LONG_AGO.isoformat(), reference))
    rounds.round()
    assert [item.reference for item in vault.items()] == [young]
    assert len(place.files()) == 1


def checked_as(reference: str) -> Any:
    one = checked()
    return msgspec.structs.replace(one, decision=msgspec.structs.replace(one.decision, reference=reference))


def test_a_killed_sweep_is_finished_at_the_next_start(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    vault = place.open()
    keep(vault)
    monkeypatch.setattr("hashhub.desk.vault.now", lambda: datetime(2036, 1, 1, tzinfo=UTC))
    monkeypatch.setattr(vault, "_unlink", lambda _: None)  # died between the key and the file
    vault.sweep()
    assert len(place.files()) == 1
    place.open()
    assert place.files() == []


def test_one_person_takes_out_a_few_a_day(place: Place, tmp_path: Path) -> None:
    vault = place.open(exports_a_day=2)
    reference = keep(vault)
    for number in range(2):
        vault.export(reference, tmp_path / str(number), actor="ann", reason="why")
    with pytest.raises(LimitExceeded, match="exports_a_day"):
        vault.export(reference, tmp_path / "more", actor="ann", reason="why")
    vault.export(reference, tmp_path / "more", actor="bob", reason="why")


def test_taking_something_out_removes_no_file_of_others(place: Place, tmp_path: Path) -> None:
    vault = place.open()
    reference = keep(vault)
    other = tmp_path / "evidence.part"
    other.write_bytes(b"of somebody else")
    vault.export(reference, tmp_path / "evidence", actor="ann", reason="why")
    assert (tmp_path / "evidence").read_bytes() == CONTENT
    assert stat.S_IMODE((tmp_path / "evidence").stat().st_mode) == 0o600
    with pytest.raises(AlreadyExists, match="name a new file"):
        vault.export(reference, other, actor="ann", reason="why")
    assert other.read_bytes() == b"of somebody else"


def test_a_file_that_comes_while_something_is_taken_out_stays(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault = place.open()
    reference = keep(vault)
    out = tmp_path / "evidence"

    def slowly(*given: Any) -> int:
        size = unseal(*given)
        out.write_bytes(b"of somebody else")
        return size

    monkeypatch.setattr("hashhub.desk.vault.unseal", slowly)
    with pytest.raises(AlreadyExists, match="name a new file"):
        vault.export(reference, out, actor="ann", reason="why")
    assert out.read_bytes() == b"of somebody else"


def test_what_is_damaged_is_written_to_no_pipe(place: Place, tmp_path: Path) -> None:
    vault = place.open()
    reference = keep(vault)
    [file] = (place.data / "vault").glob("*/*")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        with pytest.raises(DataLoss):
            vault.export(reference, tmp_path / "pipe", actor="ann", reason="why")
        assert os.read(reader, 1) == b""
    finally:
        os.close(reader)


def test_who_is_killed_while_something_is_taken_out_leaves_nothing_of_it(place: Place, tmp_path: Path) -> None:
    reference = keep(place.open())
    code = textwrap.dedent("""
        import os, signal, sys
        from tests.desk.test_vault import Place
        from hashhub.desk import vault as v
        from pathlib import Path
        place = Place.__new__(Place)
        place.directory = Path(sys.argv[1]); place.data = place.directory / "hook"
        place.key = place.directory / "vault.key"
        unseal = v.unseal
        def killed(source, target, *given):
            unseal(source, target, *given)
            target.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        v.unseal = killed
        place.open().export(sys.argv[2], place.directory / "out" / "evidence", actor="ann", reason="why")
    """)
    (place.directory / "out").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", code, str(place.directory), reference],
        cwd=Path(__file__).parents[2],
        timeout=300,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert list((place.directory / "out").iterdir()) == []
    assert place.kinds()[-1] == "vault.opened"
    size = place.open().export(reference, place.directory / "out" / "evidence", actor="ann", reason="why")
    assert size == len(CONTENT)


def test_a_large_upload_takes_no_memory(place: Place) -> None:
    """As much as the vault takes of one, with room for a small part of it."""
    code = textwrap.dedent("""
        import io, resource, sys
        from tests.desk.test_vault import Place, keep
        from tests.hook.waiting import checked, hit
        from pathlib import Path
        place = Place.__new__(Place)
        place.directory = Path(sys.argv[1]); place.data = place.directory / "hook"
        place.key = place.directory / "vault.key"
        size = 64 << 20
        class Zeros(io.RawIOBase):
            at = 0
            def readable(self): return True
            def seek(self, at, whence=0): self.at = at; return at
            def readinto(self, into):
                count = min(len(into), size - self.at)
                into[:count] = bytes(count)
                self.at += count
                return count
        vault = place.open(max_upload_bytes=size)
        vault.export(keep(vault), place.directory / "small", actor="ann", reason="why")
        vault.check(actor="ann")
        now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + (24 << 20), resource.RLIM_INFINITY))
        large = checked(hit("police-nl/known/1"), size_bytes=size)
        vault.on_checked(large, Zeros())
        assert vault.check(actor="ann").problems == ()
        vault.export(large.decision.reference, place.directory / "large", actor="ann", reason="why")
        assert (place.directory / "large").stat().st_size == size
        (place.directory / "large").unlink()
    """)
    subprocess.run(
        [sys.executable, "-c", code, str(place.directory)], cwd=Path(__file__).parents[2], timeout=300, check=True
    )


def test_retention_that_nobody_chose_is_refused(place: Place) -> None:
    for country in ("", "XX"):
        with pytest.raises(InvalidArgument, match="must be chosen"):
            place.open(country=country)
    with pytest.raises(InvalidArgument, match="days_without_report"):
        place.settings(days_without_report=0)
    with pytest.raises(InvalidArgument, match="key_file"):
        VaultSettings(encryption=Encryption.KEY_FILE, days_without_report=1)
    with pytest.raises(InvalidArgument, match="recipients_file"):
        place.settings(recipients_file="x")


def test_a_country_s_rule_is_a_least(place: Place) -> None:
    held, reported = datetime(2028, 2, 1, tzinfo=UTC), datetime(2028, 2, 29, tzinfo=UTC)
    for days, end in ((10, datetime(2029, 3, 1, tzinfo=UTC)), (730, reported + timedelta(days=730))):
        retention = RetentionPeriod(place.settings(days=days).vault)
        assert retention.due(held=held, reported=reported, released=None)[0] == end
    own = RetentionPeriod(place.settings(country="", days=30, clock=RetentionStart.HELD).vault)
    assert own.due(held=held, reported=reported, released=None)[0] == held + timedelta(days=30)


def test_each_rule_has_its_source() -> None:
    for country, rule in rules().items():
        assert len(country) == 2
        assert rule.source.startswith("https://")
        assert rule.rule
        assert rule.says
        assert rule.years or rule.days


def test_no_server_gives_out_what_the_vault_keeps() -> None:
    """No module that answers a network names the vault's reading side."""
    root = Path(__file__).parents[2] / "hashhub"
    for path in [
        *root.joinpath("server").rglob("*.py"),
        *root.joinpath("hook").glob("*.py"),
        *root.joinpath("desk").glob("*.py"),
    ]:
        text = path.read_text("utf-8")
        if "starlette" in text or "asyncio" in text or "socketserver" in text:
            assert ".export(" not in text, path
            assert "unseal" not in text, path


def test_off_is_off(place: Place) -> None:
    with pytest.raises(FailedPrecondition) as error:
        Vault(place.records(), msgspec.structs.replace(place.settings(), vault=VaultSettings()))
    assert error.value.reason is Reason.VAULT_OFF
    assert QueueSettings() == place.settings().queue
    assert issubclass(FailedPrecondition, HashHubError)
