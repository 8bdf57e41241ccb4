"""A hook put together from its settings: who is asked, what is kept, who is told. Every door opens its hook here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hashhub.hook.case_judge import CaseJudge
from hashhub.hook.core import Hook
from hashhub.hook.judges import HubJudge
from hashhub.hook.settings import Encryption, Mode
from hashhub.hook.records import Records

if TYPE_CHECKING:
    from hashhub.hook.judges import Judge
    from hashhub.hook.settings import HookSettings
    from hashhub.hook.vault import Vault


def open_hook(settings: HookSettings) -> Hook:
    """Return the hook of these settings. Raises HashHubError when a file or directory that they name cannot be used."""
    vault = open_vault(settings)
    judge = CaseJudge(_judge(settings), Records(Path(settings.data)), settings)
    return Hook(settings, judge=judge, on_checked=vault.on_checked if vault else None)


def _judge(settings: HookSettings) -> Judge:
    if settings.mode is Mode.LOCAL:
        from hashhub.hook.local import LocalJudge

        return LocalJudge(settings)
    return HubJudge(settings)


def open_vault(settings: HookSettings) -> Vault | None:
    """Return the vault, None where there is none. Raises HashHubError when its key or its directory cannot be used."""
    if settings.vault.encryption is Encryption.OFF:
        return None
    from hashhub.hook.records import Records
    from hashhub.hook.vault import Vault

    return Vault(Records(Path(settings.data)), settings)
