"""A hook put together from its settings: who is asked, what is kept, who is told. Every door opens its hook here;
adapters for Python's frameworks one in each process.
"""

from __future__ import annotations

import logging
import os
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hashhub.config import MEDIA_MEMORY_BYTES, MEDIA_SECONDS
from hashhub.desk.app_webhook import AppUrl
from hashhub.desk.decision import Action
from hashhub.desk.records import FILE_NAME, Records
from hashhub.desk.rounds import QueueRounds
from hashhub.desk.settings import Encryption, HashingSite, Mode
from hashhub.errors import FailedPrecondition, HashHubError, InvalidArgument, Reason
from hashhub.hook.core import Hook, OnChecked
from hashhub.hook.examiner import CaseJudge, HubBreaker, HubJudge
from hashhub.hook.settings import HookSettings, OnHold, load
from hashhub.senders import ByteBudget

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import IO

    from hashhub.desk.decision import DecisionRecord
    from hashhub.desk.hub import Judge
    from hashhub.desk.rounds import OnRecheck
    from hashhub.desk.vault import Vault

_log: Final = logging.getLogger("hashhub.hook")
SETTINGS_VARIABLE: Final = "HASHHUB_HOOK_SETTINGS"


def open_hook(
    settings: HookSettings,
    *,
    on_held: OnChecked | None = None,
    on_recheck: OnRecheck | None = None,
    keeps_records: bool = True,
) -> Hook:
    """Return the hook of these settings. Raises HashHubError when a file or directory that they name cannot be used.
    `on_held`: keeps each upload that is HELD in the app's own store, before the decision is given. `on_recheck`: is
    told later answers and persons' decisions, in any process that shares the records; the settings' URL is called
    besides. `keeps_records`: False for a look that leaves nothing behind.
    """
    if settings.hashing is HashingSite.HERE and find_spec("PIL") is None:  # known now rather than at each upload
        raise FailedPrecondition(
            "uploads are to be hashed here, and the libraries for that are not installed; run: pip install "
            "'hashhub[hook]', or set hashing = \"hub\"",
            reason=Reason.MISSING_EXTRA,
        )
    _say_what_differs(settings)
    tell = [on_recheck] if on_recheck is not None else []
    if settings.recheck.url:
        tell.append(AppUrl(settings.recheck.url, settings.recheck.secret_file))
    directory = Path(settings.data)
    records = Records(directory) if keeps_records else None
    vault = open_vault(settings, records) if records is not None else None
    judge: Judge
    connect = None
    if settings.mode is Mode.LOCAL:
        from hashhub.hook.local import LocalJudge

        judge = LocalJudge(settings)
    else:
        hub = HubJudge(settings)
        connect = hub.connect
        judge = _watched(hub, settings, records)
    rounds = QueueRounds(records, settings, judge, vault=vault) if records is not None else None
    listeners: list[OnChecked] = [vault.on_checked] if vault is not None else []
    if on_held is not None:
        listeners.append(_if_held(on_held))
    # Cases come first: they hold whatever the lists say, and without a hub.
    if records is not None or (directory / FILE_NAME).exists():
        judge = CaseJudge(judge, records or Records(directory), settings, owns_records=records is None)
    return Hook(
        settings,
        judge=judge,
        connect=connect,
        records=records,
        on_checked=listeners,
        on_recheck=tell,
        queue_rounds=rounds,
    )


def _if_held(on_held: OnChecked) -> OnChecked:
    def told(checked: DecisionRecord, content: IO[bytes] | None) -> None:
        if checked.decision.action is Action.HOLD:
            on_held(checked, content)

    return told


def _say_what_differs(settings: HookSettings) -> None:
    for name, usual in (("media_seconds", MEDIA_SECONDS), ("media_memory_bytes", MEDIA_MEMORY_BYTES)):
        if (here := getattr(settings, name)) != usual:
            _log.info(
                "%s is %.12g here, and %.12g at a hub that does not set it: unless both are alike, one may give up a "
                "file that the other hashes",
                name,
                here,
                usual,
            )
    if settings.hashing is HashingSite.HERE and settings.media_memory_bytes > (memory := _memory_bytes()):
        _log.warning(
            "one upload may take %d bytes of memory, and there are %d here: one that does may end the hook; lower "
            "media_memory_bytes, at the hub too",
            settings.media_memory_bytes,
            memory,
        )


def _memory_bytes() -> int:
    """Return what memory there is: the machine's, or what a container or unit may take of it."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        _, is_unified, group = Path("/proc/self/cgroup").read_text("ascii").rpartition("0::")
        most = Path(f"/sys/fs/cgroup{group.strip()}/memory.max").read_text("ascii").strip() if is_unified else "max"
    except (OSError, UnicodeDecodeError):
        return memory
    return min(memory, int(most)) if most.isdecimal() else memory


def open_vault(settings: HookSettings, records: Records) -> Vault | None:
    """Return the vault, None where there is none. Raises HashHubError when its key or its directory cannot be used."""
    if settings.vault.encryption is Encryption.OFF:
        return None
    from hashhub.desk.vault import Vault

    return Vault(records, settings)


def _watched(hub: HubJudge, settings: HookSettings, records: Records | None) -> HubBreaker:
    """Return the hub, which is not asked for a while once it fails; the record says when that was."""

    def note(error: HashHubError | None) -> None:
        if records is not None:
            kind, reason = ("hub.back", "") if error is None else ("hub.away", error.reason)
            records.note(kind, settings.hub, reason)

    return HubBreaker(hub, failures=settings.breaker_failures, seconds=settings.breaker_seconds, on_change=note)


class ProcessHook:
    """An adapter's hook: the given one, or one for each process, since servers fork. Safe to be shared by threads."""

    def __init__(
        self, hook: Hook | None, settings: HookSettings | Path | str | None, on_held: OnChecked | None = None
    ) -> None:
        """Take a hook, settings, their file, or else the file that HASHHUB_HOOK_SETTINGS names, and try them. Raises
        HashHubError when the hook cannot be opened, or would lose what is held.
        """
        if hook is not None:
            if settings is not None or on_held is not None:
                raise InvalidArgument.field(
                    "settings", "give either `hook` or `settings`, and `on_held` to what opens it"
                )
            refuse_to_lose(hook)
            settings = hook.settings
        elif not isinstance(settings, HookSettings):
            file = settings or os.environ.get(SETTINGS_VARIABLE)
            settings = load(Path(file) if file else None, os.environ)
        if hook is None:
            with open_hook(settings, on_held=on_held) as tried:
                refuse_to_lose(tried)
        self.settings, self.is_own = settings, hook is None
        self._given, self._on_held = hook, on_held
        self._lock = threading.Lock()
        self._opened: dict[int, Hook] = {}  # by process; a forked one leaves those of its parent alone

    def get(self) -> Hook:
        """Return the hook of this process, which begins to start. Raises HashHubError."""
        pid = os.getpid()
        with self._lock:
            if self._given is None and pid not in self._opened:
                self._opened[pid] = open_hook(self.settings, on_held=self._on_held)
            hook = self._given or self._opened[pid]
        hook.start()
        return hook

    def close(self) -> None:
        """Close the hook of this process unless it was given."""
        if (hook := self._opened.get(os.getpid())) is not None:
            hook.close()


class UploadMiddleware:
    """What the ASGI and the WSGI middleware are made of."""

    def __init__(
        self,
        app: Any,
        *,
        hook: Hook | None = None,
        settings: HookSettings | Path | str | None = None,
        paths: Collection[str] | None = None,
        fields: Collection[str] | None = None,
        on_held: OnChecked | None = None,
        upload_id: Callable[[Any], str] | None = None,
    ) -> None:
        """Give either `hook`, which stays yours to close, or `settings` or the path of their file; of the hook that
        they make each process has its own. `on_held`: see `open_hook`. `upload_id`: gives the app's own name for the
        files of a request, by its scope or environ: ACCOUNT/UPLOAD, as the queue and `upload.rechecked` have it.

        `paths`: only requests to these paths, and to what is below them, are looked at. `fields`: only files in form
        fields of these names. None: all. Raises HashHubError when the settings or what they name cannot be used.
        """
        self._app = app
        self._paths, self._fields, self._upload_id = paths, fields, upload_id
        self._error: HashHubError | None = None
        try:
            self.process = ProcessHook(hook, settings, on_held)
        except HashHubError as e:
            if not self._is_told_later():
                raise
            self._error = e
            return
        self._limits = self.process.settings.app
        self.memory = ByteBudget(self._limits.max_total_bytes)

    def _is_told_later(self) -> bool:
        """Whether the server can be told what is wrong once it starts."""
        return False


def refuse_to_lose(hook: Hook) -> None:
    """Raise FailedPrecondition for a hook by which uploads that are HELD would be lost although nobody chose that."""
    if hook.settings.app.on_hold is OnHold.KEEP and not hook.keeps_uploads:
        raise FailedPrecondition(
            "uploads that are HELD would be lost, since nothing keeps them: set up [vault] (docs/hook/vault.md), give "
            'on_held=… to the adapter or to open_hook, or choose [app] on_hold = "app" or "refuse" '
            "(docs/hook/python.md)"
        )
