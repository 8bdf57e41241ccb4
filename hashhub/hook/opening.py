"""A hook put together from its settings: who is asked, what is kept, who is told. Every door opens its hook here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hashhub.hook.case_judge import CaseJudge
from hashhub.hook.core import Hook
from hashhub.hook.judges import HubJudge
from hashhub.hook.records import Records

if TYPE_CHECKING:
    from hashhub.hook.judges import Judge
    from hashhub.hook.settings import HookSettings


def open_hook(settings: HookSettings) -> Hook:
    """Return the hook of these settings. Raises HashHubError when a file or directory that they name cannot be used."""
    judge: Judge = HubJudge(settings)
    judge = CaseJudge(judge, Records(Path(settings.data)), settings)
    return Hook(settings, judge=judge)
