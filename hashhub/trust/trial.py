"""What another policy would change, as counts and examples."""

from __future__ import annotations

import msgspec

from hashhub.model import ReasonLine, Verdict


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """A query whose verdict changes: its label, and the reasons for both verdicts."""

    label: str
    before: tuple[ReasonLine, ...]
    after: tuple[ReasonLine, ...]


class VerdictChange(msgspec.Struct, frozen=True, kw_only=True):
    """How many queries get one verdict by the policy before and one by the policy after, and examples of them."""

    before: Verdict
    after: Verdict
    count: int
    examples: tuple[Example, ...] = ()


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """What a policy would change: every query is counted in one of the changes, also where both verdicts are one.

    `before` and `after` are NAME@VERSION. `next_after`: the entry behind which the next call goes on; 0: nothing is
    left. `total`: entries that a trial of entries goes through, told where it begins. `since_revision`: behind which
    they became visible.
    """

    before: str
    after: str
    changes: tuple[VerdictChange, ...]
    revision: int
    next_after: int = 0
    total: int = 0
    since_revision: int = 0
