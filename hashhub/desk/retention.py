"""How long what was reported must be kept, by country: data with sources, in `data/retention.toml`."""

from __future__ import annotations

import tomllib
from datetime import datetime, timedelta
from importlib import resources
from typing import TYPE_CHECKING

import msgspec

from hashhub.desk.settings import RetentionStart
from hashhub.errors import InvalidArgument

if TYPE_CHECKING:
    from hashhub.desk.settings import VaultSettings


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
