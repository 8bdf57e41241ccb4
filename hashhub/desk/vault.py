"""The vault: encrypted copies of held or blocked uploads, and how long what was reported must be kept, by country.

    DATA/vault/ab/<random>   the content, in chunks (`vault_keys.seal`), by a key of its own
    hook.db, vault_item      that key, wrapped for the operator (`vault_keys`)
    data/retention.toml      the countries' rules, with their sources

Off unless chosen; no route or call gives out what it holds. Erasing destroys the wrapped key and then the file, so that
neither is of use in a backup. A file is locked until its row is written: one without row and lock was left by a process
that died, and nobody has its key.
"""

from __future__ import annotations

import errno
import logging
import os
import secrets
import shutil
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from importlib import resources
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, NamedTuple

import msgspec

from hashhub.desk.clock import AHEAD, Times, is_believed
from hashhub.desk.decision import Action, DecisionRecord
from hashhub.desk.records import HOOK, UploadState
from hashhub.desk.settings import RetentionStart
from hashhub.desk.vault_keys import KeyFile, lost, open_keys, seal, unseal
from hashhub.errors import (
    DataLoss,
    FailedPrecondition,
    HashHubError,
    InvalidArgument,
    LimitExceeded,
    NotFound,
    Reason,
    Unavailable,
)
from hashhub.local_files import check, lock, sync, written
from hashhub.model import Verdict, now

if TYPE_CHECKING:
    from hashhub.desk.records import Records
    from hashhub.desk.settings import DeskSettings, VaultSettings
    from hashhub.desk.vault_keys import Keys


class RetentionRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """For how long, counted from what, by which rule. `source` is where it can be read."""

    clock: RetentionStart
    rule: str
    says: str
    source: str
    years: int = 0
    days: int = 0

    def end(self, begin: datetime) -> datetime:
        """Return when the time is over that began then."""
        try:
            later = begin.replace(year=begin.year + self.years)
        except ValueError:  # 29 February
            later = begin.replace(year=begin.year + self.years, month=3, day=1)
        return later + timedelta(days=self.days)


def rules() -> dict[str, RetentionRule]:
    """Return the rules that are known, by country."""
    data = resources.files("hashhub.desk").joinpath("data/retention.toml").read_text("utf-8")
    return msgspec.convert(tomllib.loads(data), dict[str, RetentionRule])


class RetentionPeriod:
    """When what a vault holds is to be erased, by its settings."""

    def __init__(self, settings: VaultSettings) -> None:
        """Raises InvalidArgument for a country without a rule where no days are chosen."""
        known = rules()
        self.rule = known.get(settings.country)
        if self.rule is None and not settings.days:
            about = f"no rule for {settings.country!r} is known" if settings.country else "no country is given"
            raise InvalidArgument.field(
                "vault.days",
                f"must be chosen: {about} (known: {', '.join(sorted(known))}); ask a lawyer how long, and from when",
                "REQUIRED",
            )
        self._settings = settings

    def due(self, *, held: datetime, reported: datetime | None, released: datetime | None) -> tuple[datetime, str]:
        """Return from when on an upload may be erased, and why then. The latest of what applies counts."""
        chosen = timedelta(days=self._settings.days)
        ends = []
        if reported is not None:
            if self.rule is not None:
                begin = reported if self.rule.clock is RetentionStart.REPORTED else held
                ends.append((self.rule.end(begin), f"{self._settings.country}: {self.rule.rule}"))
            if self._settings.days:
                begin = reported if self._settings.clock is RetentionStart.REPORTED else held
                ends.append((begin + chosen, f"{self._settings.days} days from {self._settings.clock}"))
        elif released is not None:
            days = self._settings.days_after_release
            ends.append((released + timedelta(days=days), f"{days} days from its release"))
        else:
            days = self._settings.days_without_report
            ends.append((held + timedelta(days=days), f"{days} days without a report"))
            if self._settings.days and self._settings.clock is RetentionStart.HELD:
                ends.append((held + chosen, f"{self._settings.days} days from HELD"))
        return max(ends)


_LOG: Final = logging.getLogger("hashhub.hook")
_NAME_BYTES: Final = 16
_SWEEP_ITEMS: Final = 1000  # erased in one go, so that an upload never waits for a year's worth
_PART: Final = ".part"
MAX_REASON: Final = 1000


class _Row(NamedTuple):
    name: str
    reference: str
    size: int
    time: str
    key_id: str
    wrapped_key: bytes


class VaultItem(msgspec.Struct, frozen=True, kw_only=True):
    """What the vault says of an upload that it keeps. `due_time`: None while a legal hold stands."""

    reference: str
    size_bytes: int
    time: datetime
    key_id: str
    due_time: datetime | None
    due_why: str


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """Something that cannot be opened as it should."""

    reference: str
    reason: str
    message: str


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """What a check of the vault brought to light."""

    items: int
    opened: int
    problems: tuple[Problem, ...]


class Vault:
    """Keeps uploads, and lets a person with the key and a reason take one out. Safe to be shared by threads."""

    def __init__(
        self,
        records: Records,
        settings: DeskSettings,
        *,
        identity_file: str = "",
        old_key: str = "",
        rotating: bool = False,
        sweep_first: bool = True,
    ) -> None:
        """Open it, try the key, clear away what a killed process left, and erase what is due. `rotating`: it is opened
        for `rotate` or `check`, by `old_key` or an age identity that is no recipient any more. Raises
        FailedPrecondition: VAULT_OFF, or VAULT_KEY_LOST for another key than what is kept was kept for.
        """
        self._records = records
        self._settings = settings.vault
        data = Path(settings.data)
        self._directory = data / "vault"
        self._keys: Keys = open_keys(settings.vault, data=data, identity_file=identity_file)
        self._retention = RetentionPeriod(settings.vault)
        self._old_keys: Keys = KeyFile(old_key, data=data) if old_key else self._keys
        with _disk():
            self._directory.mkdir(mode=0o700, exist_ok=True)
        self._try_keys(rotating=rotating)
        self._recover()
        if sweep_first:
            self.sweep()

    # Keeping

    def on_checked(self, checked: DecisionRecord, content: IO[bytes] | None) -> None:
        """Keep an upload that others are not to see, and that has content. Raises HashHubError when nothing could be
        kept.
        """
        if checked.decision.action is Action.ALLOW or (content is None and not checked.size_bytes):
            return
        try:
            if content is None:
                raise LimitExceeded(
                    f"the upload's {checked.size_bytes} bytes were not received, as they are more than max_bytes, or "
                    "than max_total_bytes left room for; nothing of it was kept",
                    reason=Reason.TOO_LARGE,
                )
            content.seek(0)
            # Half the room is for what somebody knows: files that nobody can read cost nothing to make.
            is_known = checked.decision.verdict is not Verdict.UNAVAILABLE
            most = self._settings.max_total_bytes if is_known else self._settings.max_total_bytes // 2
            self.store(checked.decision.reference, content, size=checked.size_bytes, most=most)
        except HashHubError as e:
            with suppress(HashHubError):
                self._records.note("vault.not_kept", checked.decision.reference, e.reason)
            raise

    def store(self, reference: str, content: IO[bytes], *, size: int, most: int) -> None:
        """Keep `size` bytes durably, at most `most` of all uploads. Raises LimitExceeded (DISK_FULL, TOO_LARGE),
        Unavailable.
        """
        if self._records.rows("SELECT 1 FROM vault_item WHERE reference = ?", (reference,)):
            return
        self._check_room(size, most)
        name = secrets.token_hex(_NAME_BYTES)
        key, wrapped = self._keys.new(name)
        path = self._path(name)
        part = path.with_name(name + _PART)
        with _disk():
            path.parent.mkdir(mode=0o700, exist_ok=True)
            try:
                with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
                    lock(file, wait=True)  # who looks for orphans may have it for a moment
                    written = seal(content, file, key, name, max_bytes=self._settings.max_upload_bytes)
                    if written != size:
                        raise LimitExceeded(
                            f"only {written} of the upload's {size} bytes were received, as it is larger than "
                            "max_bytes; nothing of it was kept",
                            reason=Reason.TOO_LARGE,
                        )
                    file.flush()
                    os.fsync(file.fileno())
                    part.rename(path)
                    sync(path.parent)
                    with self._records.transaction():
                        self._check_room(size, most)
                        self._records.write(
                            "INSERT INTO vault_item VALUES (?, ?, ?, ?, ?, ?, NULL)",
                            (name, reference, size, now().isoformat(), self._keys.id, wrapped),
                        )
                        self._records.note("vault.stored", reference, size_bytes=size)
            except BaseException:
                part.unlink(missing_ok=True)
                path.unlink(missing_ok=True)
                raise

    def _check_room(self, size: int, most: int) -> None:
        [(total,)] = self._records.rows("SELECT bytes FROM vault_size")
        if total + size > most:
            raise LimitExceeded(
                f"the vault is full: it may hold {self._settings.max_total_bytes} bytes, and half of them where nobody "
                "could say what an upload is; nothing of the upload was kept. Decide over what waits, or raise "
                "vault.max_total_bytes",
                reason=Reason.DISK_FULL,
            )

    # Reading

    def items(self) -> list[VaultItem]:
        """Return what is kept, the soonest to be erased first, legal holds last."""
        times = Times(self._records)
        items = [self._item(row, times) for row in self._rows()]
        return sorted(items, key=lambda i: (i.due_time is None, i.due_time or i.time, i.reference))

    def export(self, reference: str, out: Path, *, actor: str, reason: str) -> int:
        """Write an upload to a new file for its owner only, and return its size; that it is opened is on record before.
        Raises NotFound, AlreadyExists, InvalidArgument without a reason, LimitExceeded (`exports_a_day`),
        FailedPrecondition (VAULT_KEY_LOST), DataLoss (VAULT_DAMAGED); nothing is written then.
        """
        _check_reason(reason)
        item = self._kept_item(reference)
        check(out)
        with self._records.transaction():
            at = now()
            [(count,)] = self._records.rows(
                "SELECT count(*) FROM event WHERE kind = 'vault.opened' AND actor = ? AND time > ? AND time <= ?",
                (actor, (at - timedelta(days=1)).isoformat(), (at + AHEAD).isoformat()),
            )
            if count >= self._settings.exports_a_day:
                raise LimitExceeded(
                    f"{actor} has opened {count} uploads within 24 hours, as many as vault.exports_a_day allows"
                )
            self._records.note("vault.opened", reference, reason, actor=actor)
        key = self._keys.unwrap(item.wrapped_key, item.name)
        with _disk(), self._open(item) as source, os.fdopen(os.memfd_create("export"), "w+b") as content:
            size = unseal(source, content, key, item.name)
            content.seek(0)
            with written(out) as file:  # only now: a pipe takes nothing back
                shutil.copyfileobj(content, file)
        self._records.note("vault.exported", reference, reason, actor=actor, size_bytes=size)
        return size

    def check(self, *, actor: str) -> Check:
        """Open everything that is kept by its key, let nothing out, and say what cannot be opened."""
        problems = []
        rows = self._rows()
        self._records.note("vault.check_begun", "vault", actor=actor, items=len(rows))
        for row in rows:
            keys = self._old_keys if row.key_id == self._old_keys.id else self._keys
            try:
                with _disk(), self._open(row) as source, Path(os.devnull).open("wb") as nowhere:
                    unseal(source, nowhere, keys.unwrap(row.wrapped_key, row.name), row.name)
            except HashHubError as e:
                problems.append(Problem(reference=row.reference, reason=e.reason, message=e.message))
        opened = len(rows) - len(problems)
        self._records.note("vault.checked", "vault", actor=actor, opened=opened, failed=len(problems))
        return Check(items=len(rows), opened=opened, problems=tuple(problems))

    # Time

    def hold(self, references: list[str], *, case: str, actor: str, reason: str) -> int:
        """Keep these uploads whatever the time, until the hold is lifted; return how many were not held for this case
        before. Raises NotFound for one that is not kept: nothing is held then.
        """
        _check_reason(reason)
        count = 0
        with self._records.transaction():
            for reference in references:
                self._kept_item(reference)
                if self._records.write(
                    "INSERT OR IGNORE INTO legal_hold VALUES (?, ?, ?, ?, ?)",
                    (reference, case, actor, reason, now().isoformat()),
                ):
                    count += 1
                    self._records.note("legal_hold.set", reference, reason, actor=actor, case=case)
        return count

    def lift(self, *, case: str, reference: str | None, actor: str, reason: str) -> int:
        """End a hold: of one upload, or of all of a case; return how many. Raises NotFound when there is none."""
        _check_reason(reason)
        with self._records.transaction():
            which, values = ("", [case]) if reference is None else (" AND reference = ?", [case, reference])
            sql = f"SELECT reference FROM legal_hold WHERE case_name = ?{which}"  # noqa: S608 - no value in it
            held = self._records.rows(sql, values)
            if not held:
                raise NotFound("there is no such legal hold; see `hashhub hook vault list`")
            for (one,) in held:
                self._records.write("DELETE FROM legal_hold WHERE case_name = ? AND reference = ?", (case, one))
                self._records.note("legal_hold.lifted", one, reason, actor=actor, case=case)
        return len(held)

    def sweep(self, *, actor: str = HOOK) -> list[str]:
        """Erase what is due, at most 1,000 items, and return their references; nothing while the clock is doubted."""
        if not is_believed(self._records):
            return []
        at, times = now(), Times(self._records)
        due = []
        for row in self._rows():
            item = self._item(row, times)
            if item.due_time is not None and item.due_time <= at:
                due.append((row.name, item))
        erased = [(name, item) for name, item in due[:_SWEEP_ITEMS] if self._erase(name, item, actor)]
        if erased:
            # The write-ahead log still holds the pages with the keys; with a reader in between it stays until later.
            self._records.rows("PRAGMA wal_checkpoint(TRUNCATE)")
            for name, _ in erased:
                self._unlink(name)
        return [item.reference for _, item in erased]

    def rotate(self, *, actor: str) -> tuple[int, int]:
        """Wrap the keys of what was kept for another key anew for this one, each by itself, so that it can be stopped
        and started again. Return how many were, and how many could not be opened.
        """
        done = failed = 0
        rows = [row for row in self._rows() if row.key_id != self._keys.id]
        # Before the first key is opened: one that is killed has opened some.
        self._records.note("vault.rotation_begun", "vault", actor=actor, key=self._keys.id, items=len(rows))
        for row in rows:
            try:
                anew = self._keys.wrap(self._old_keys.unwrap(row.wrapped_key, row.name), row.name)
            except HashHubError as e:
                _LOG.warning("the vault's key of %s was not rotated: %s", row.reference, e.message)
                failed += 1
                continue
            # Not what was erased, or rotated by somebody else, meanwhile.
            done += self._records.write(
                "UPDATE vault_item SET key_id = ?, wrapped_key = ? WHERE name = ? AND wrapped_key = ?",
                (self._keys.id, anew, row.name, row.wrapped_key),
            )
        self._records.note("vault.rotated", "vault", actor=actor, key=self._keys.id, rotated=done, failed=failed)
        self._records.rows("PRAGMA wal_checkpoint(TRUNCATE)")
        return done, failed

    # Within

    def _rows(self, which: str = "true", *values: str) -> list[_Row]:
        sql = f"SELECT {', '.join(_Row._fields)} FROM vault_item "  # noqa: S608 - no value in it
        where = f"WHERE erase_time IS NULL AND {which} ORDER BY time, name"
        return [_Row(*row) for row in self._records.rows(sql + where, values)]

    def _kept_item(self, reference: str) -> _Row:
        rows = self._rows("reference = ?", reference)
        if not rows:
            raise NotFound(f"the vault keeps nothing under {reference[:40]!r}; see `hashhub hook vault list`")
        return rows[0]

    def _item(self, row: _Row, times: Times) -> VaultItem:
        reference, held = row.reference, datetime.fromisoformat(row.time)
        holds = self._records.rows("SELECT case_name FROM legal_hold WHERE reference = ?", (reference,))
        due: datetime | None
        if holds:
            due, why = None, "legal hold" + "".join(f" {case}" for (case,) in holds if case)
        else:
            rows = self._records.rows("SELECT time FROM filed_report WHERE reference = ?", (reference,))
            reported = [times.latest(datetime.fromisoformat(time), reference) for (time,) in rows]
            due, why = self._retention.due(
                held=times.latest(held, reference),
                reported=max(reported, default=None),
                released=self._release_time(reference, times),
            )
        return VaultItem(
            reference=reference, size_bytes=row.size, time=held, key_id=row.key_id, due_time=due, due_why=why
        )

    def _release_time(self, reference: str, times: Times) -> datetime | None:
        """Return when the upload was released, by persons or by a later answer; None where it is not."""
        if not self._records.rows(
            "SELECT 1 FROM upload WHERE reference = ? AND state = ?", (reference, UploadState.RELEASED)
        ):
            return None
        rows = self._records.rows(
            "SELECT time FROM event WHERE subject = ? AND kind IN ('upload.released', 'upload.rechecked')",
            (reference,),
        )
        return max((times.latest(datetime.fromisoformat(time), reference) for (time,) in rows), default=None)

    def _erase(self, name: str, item: VaultItem, actor: str) -> bool:
        with self._records.transaction():
            # Looked at again in the transaction: a hold may have been set, or a report filed, meanwhile.
            rows = self._rows("name = ?", name)
            still = self._item(rows[0], Times(self._records)).due_time if rows else None
            if still is None or still > now():
                return False
            self._records.write(
                "UPDATE vault_item SET wrapped_key = NULL, erase_time = ? WHERE name = ?", (now().isoformat(), name)
            )
            self._records.note("vault.erased", item.reference, item.due_why, actor=actor)
        return True

    def _unlink(self, name: str) -> None:
        [(erased,)] = self._records.rows("SELECT erase_time FROM vault_item WHERE name = ?", (name,))
        if erased is not None:
            with _disk():
                self._path(name).unlink(missing_ok=True)
                sync(self._path(name).parent)

    def _try_keys(self, *, rotating: bool) -> None:
        name = "self-test"
        key, wrapped = self._keys.new(name)
        if self._keys.can_open and not rotating and self._keys.unwrap(wrapped, name) != key:
            raise lost()
        others = [row for row in self._rows() if row.key_id != self._keys.id]
        if not others or rotating:
            return
        if isinstance(self._keys, KeyFile):
            raise FailedPrecondition(
                f"{len(others)} uploads were kept for another key ({others[0].key_id}), and this one ({self._keys.id}) "
                "does not open them; name the old key file again, or run `hashhub hook vault rotate --old-key FILE` "
                "(`hashhub hook vault check --old-key FILE` says before whether they open)",
                reason=Reason.VAULT_KEY_LOST,
            )
        _LOG.warning(
            "%d uploads in the vault were kept for another key than %s; run `hashhub hook vault rotate`, and "
            "`hashhub hook vault check` to see whether they open",
            len(others),
            self._keys.id,
        )

    def _recover(self) -> None:
        """Finish what a killed process had begun, and say so."""
        rows = self._records.rows("SELECT name, reference, erase_time FROM vault_item")
        erased = {name for name, _, erase_time in rows if erase_time is not None}
        names = {name for name, _, _ in rows}
        present = set()
        orphans = 0
        with _disk():
            for path in self._directory.glob("[0-9a-f][0-9a-f]/*"):
                if path.name in erased:
                    path.unlink(missing_ok=True)
                elif path.name in names:
                    present.add(path.name)
                else:
                    orphans += self._remove_orphan(path)
        if orphans:
            _LOG.warning("%d files in the vault were left unfinished by a process that died; removed", orphans)
            self._records.note("vault.orphans_removed", "vault", files=orphans)
        for name, reference, erase_time in rows:
            if erase_time is None and name not in present and not self._path(name).exists():
                if not self._records.rows(
                    "SELECT 1 FROM event WHERE kind = 'vault.file_missing' AND subject = ?", (reference,)
                ):
                    self._records.note("vault.file_missing", reference)
                _LOG.error("the vault's file of %s is missing; restore it from a backup", reference)

    def _remove_orphan(self, path: Path) -> int:
        try:
            with path.open("rb") as file:
                # Once nobody else has it locked: its row may have been written since the rows were read.
                if not lock(file) or self._records.rows("SELECT 1 FROM vault_item WHERE name = ?", (path.name,)):
                    return 0
                path.unlink(missing_ok=True)
                return 1
        except FileNotFoundError:
            return 0  # its process is at work, or was until now

    @contextmanager
    def _open(self, row: _Row) -> Iterator[IO[bytes]]:
        try:
            file = self._path(row.name).open("rb")
        except FileNotFoundError as e:
            raise DataLoss(
                f"the vault's file of {row.reference} is missing; restore it from a backup", reason=Reason.VAULT_DAMAGED
            ) from e
        with file:
            yield file

    def _path(self, name: str) -> Path:
        return self._directory / name[:2] / name


def _check_reason(reason: str) -> None:
    if not reason.strip() or len(reason) > MAX_REASON or not reason.isprintable():
        raise InvalidArgument.field(
            "reason", f"must say why, in one line of at most {MAX_REASON} characters", "REQUIRED"
        )


@contextmanager
def _disk() -> Iterator[None]:
    try:
        yield
    except OSError as e:
        if e.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            raise LimitExceeded(
                "the disk is full: nothing of the upload was kept; make room", reason=Reason.DISK_FULL
            ) from e
        raise Unavailable(f"the vault cannot be used now ({e.strerror}); check the disk and the rights") from e
