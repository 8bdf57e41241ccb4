"""What the adapters for Python's frameworks share: the hook that they are given or open."""

from __future__ import annotations

import os
from pathlib import Path

from hashhub.errors import FailedPrecondition, InvalidArgument
from hashhub.hook.core import Hook, OnChecked
from hashhub.hook.opening import open_hook
from hashhub.hook.settings import HookSettings, OnHold, load

SETTINGS_VARIABLE = "HASHHUB_HOOK_SETTINGS"


def opened(hook: Hook | None, settings: HookSettings | Path | str | None, on_held: OnChecked | None = None) -> Hook:
    """Return the hook that an adapter was given, or one of the settings, of the file of this path, or of the file that
    HASHHUB_HOOK_SETTINGS names. Raises HashHubError when it cannot be opened, or would lose what is held.
    """
    if hook is not None:
        if settings is not None or on_held is not None:
            raise InvalidArgument.field("settings", "give either `hook` or `settings`, and `on_held` to what opens it")
        refuse_to_lose(hook)
        return hook
    if not isinstance(settings, HookSettings):
        file = settings or os.environ.get(SETTINGS_VARIABLE)
        settings = load(Path(file) if file else None, os.environ)
    hook = open_hook(settings, on_held=on_held)
    try:
        refuse_to_lose(hook)
    except BaseException:
        hook.close()
        raise
    return hook


def refuse_to_lose(hook: Hook) -> None:
    """Raise FailedPrecondition for a hook by which uploads that are HELD would be lost although nobody chose that."""
    if hook.settings.app.on_hold is OnHold.KEEP and not hook.keeps_uploads:
        raise FailedPrecondition(
            "uploads that are HELD would be lost, since nothing keeps them: set up [vault] (docs/hook-vault.md), give "
            'on_held=… to the adapter or to open_hook, or choose [app] on_hold = "app" or "refuse" '
            "(docs/hook-python.md)"
        )
