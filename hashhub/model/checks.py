"""What the checks of several types share."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

from hashhub.errors import InvalidArgument, Violation

SLUG: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
MAX_TEXT: Final = 1024  # characters in any one free-text field of a record


def wrong_in_slug(field: str, value: str) -> list[Violation]:
    """Return what is wrong with an id that its owner chose."""
    if SLUG.fullmatch(value):
        return []
    return [Violation(field, "must be 1 to 63 of a-z, 0-9 and -, not beginning or ending with -", "PATTERN")]


def wrong_in_text(field: str, value: str, *, required: bool = True) -> list[Violation]:
    """Return what is wrong with a free text."""
    if required and not value.strip():
        return [Violation(field, "must not be empty", "REQUIRED")]
    if len(value) > MAX_TEXT:
        return [Violation(field, f"must be at most {MAX_TEXT} characters, got {len(value)}", "TOO_LONG")]
    return []


def refuse(what: str, wrong: list[Violation]) -> None:
    """Raise InvalidArgument with all violations, if there are any."""
    if wrong:
        raise InvalidArgument(
            f"invalid {what}: " + "; ".join(f"{v.field} {v.description}" for v in wrong), violations=tuple(wrong)
        )


def now() -> datetime:
    """Return the current time in UTC, to the millisecond (what both databases keep)."""
    t = datetime.now(UTC)
    return t.replace(microsecond=t.microsecond // 1000 * 1000)
