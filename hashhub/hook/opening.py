"""A hook put together from its settings: who is asked, what is kept, who is told. Every door opens its hook here."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from hashhub.errors import FailedPrecondition, Reason
from hashhub.hook.core import Hook
from hashhub.hook.judges import Breaker, HubJudge
from hashhub.hook.records import HOOK, Records
from hashhub.hook.settings import Hashing
from hashhub.hook.telling import AppUrl

if TYPE_CHECKING:
    from hashhub.errors import HashHubError
    from hashhub.hook.judges import Judge
    from hashhub.hook.rechecks import OnRecheck
    from hashhub.hook.settings import HookSettings


def open_hook(settings: HookSettings, *, on_recheck: OnRecheck | None = None, keeps_records: bool = True) -> Hook:
    """Return the hook of these settings. Raises HashHubError when a file or directory that they name cannot be used.

    `on_recheck`: is told what an upload without an answer turned out to be, in whichever process of those that share
    the records finds out; the URL of the settings is called besides. `keeps_records`: False for a look that leaves
    nothing behind.
    """
    if settings.hashing is Hashing.HERE and find_spec("PIL") is None:  # known now rather than at each upload
        raise FailedPrecondition(
            "uploads are to be hashed here, and the libraries for that are not installed; run: pip install "
            "'hashhub[hook]', or set hashing = \"hub\"",
            reason=Reason.MISSING_EXTRA,
        )
    tell = [on_recheck] if on_recheck is not None else []
    if settings.recheck.url:
        tell.append(AppUrl(settings.recheck.url, settings.recheck.secret_file))
    hub = HubJudge(settings)
    records = Records(Path(settings.data)) if keeps_records else None

    def note(error: HashHubError | None) -> None:
        if records is not None:
            kind, reason = ("hub.back", "") if error is None else ("hub.away", error.reason)
            records.note(actor=HOOK, kind=kind, subject=settings.hub, reason=reason)

    asked = Breaker(hub, failures=settings.breaker_failures, seconds=settings.breaker_seconds, on_change=note)
    judge: Judge = asked
    return Hook(settings, judge=judge, media_judge=asked, records=records, on_recheck=tell)
