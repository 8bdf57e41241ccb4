"""What the adapters for Python's frameworks share: the hook that they are given or open."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from hashhub.errors import FailedPrecondition, InvalidArgument
from hashhub.hook.core import Hook, OnChecked
from hashhub.hook.factory import open_hook
from hashhub.hook.settings import HookSettings, OnHold, load

SETTINGS_VARIABLE = "HASHHUB_HOOK_SETTINGS"


class ProcessHook:
    """The hook of an adapter: one that it was given, or one for each process, since servers fork once the app is
    loaded. Safe to be shared by threads.
    """

    def __init__(
        self, hook: Hook | None, settings: HookSettings | Path | str | None, on_held: OnChecked | None = None
    ) -> None:
        """Take a hook, settings, the path of their file, or else the file that HASHHUB_HOOK_SETTINGS names. Settings
        are tried here, and nothing stays open. Raises HashHubError when the hook cannot be opened, or would lose what
        is held.
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


def refuse_to_lose(hook: Hook) -> None:
    """Raise FailedPrecondition for a hook by which uploads that are HELD would be lost although nobody chose that."""
    if hook.settings.app.on_hold is OnHold.KEEP and not hook.keeps_uploads:
        raise FailedPrecondition(
            "uploads that are HELD would be lost, since nothing keeps them: set up [vault] (docs/hook/vault.md), give "
            'on_held=… to the adapter or to open_hook, or choose [app] on_hold = "app" or "refuse" '
            "(docs/hook/python.md)"
        )
