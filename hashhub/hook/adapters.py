"""What the adapters for Python's frameworks share: the hook that they are given or open."""

from __future__ import annotations

import os
from pathlib import Path

from hashhub.errors import InvalidArgument
from hashhub.hook.core import Hook
from hashhub.hook.opening import open_hook
from hashhub.hook.settings import HookSettings, load

SETTINGS_VARIABLE = "HASHHUB_HOOK_SETTINGS"


def opened(hook: Hook | None, settings: HookSettings | Path | str | None) -> Hook:
    """Return the hook that an adapter was given, or one of the settings, of the file of this path, or of the file that
    HASHHUB_HOOK_SETTINGS names. Raises HashHubError when it cannot be opened.
    """
    if hook is not None:
        if settings is not None:
            raise InvalidArgument.field("settings", "give either `hook` or `settings`")
        return hook
    if isinstance(settings, HookSettings):
        return open_hook(settings)
    file = settings or os.environ.get(SETTINGS_VARIABLE)
    return open_hook(load(Path(file) if file else None, os.environ))
