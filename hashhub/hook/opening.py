"""A hook put together from its settings: who is asked, what is kept, who is told. Every door opens its hook here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hashhub.hook.core import Hook
from hashhub.hook.judges import HubJudge
from hashhub.hook.settings import Mode

if TYPE_CHECKING:
    from hashhub.hook.judges import Judge
    from hashhub.hook.settings import HookSettings


def open_hook(settings: HookSettings) -> Hook:
    """Return the hook of these settings. Raises HashHubError when a file or directory that they name cannot be used."""
    return Hook(settings, judge=_judge(settings))


def _judge(settings: HookSettings) -> Judge:
    if settings.mode is Mode.LOCAL:
        from hashhub.hook.local import LocalJudge

        return LocalJudge(settings)
    return HubJudge(settings)
