"""What becomes of an upload, and why."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Final

import msgspec

from hashhub.errors import DataLoss
from hashhub.hashes import Hash
from hashhub.model import Coverage, MatchResult, ReasonLine, Verdict


class Action(StrEnum):
    """What the app does with an upload. HOLD: it is kept from everybody until a person has decided."""

    ALLOW = "ALLOW"
    HOLD = "HOLD"
    BLOCK = "BLOCK"


class NoAnswer(StrEnum):
    """Why an upload has no answer, or a part of one only.

    HUB_AWAY: the hub, or the copy of its lists, could not be asked: away, too busy, too late, the token refused.
    UNREADABLE: a picture or video that cannot be decoded. TOO_LARGE: more bytes, pixels or time than is allowed.
    NO_PERCEPTUAL_HASH: looked for by exact digests only, which any change to a file evades.
    """

    HUB_AWAY = "HUB_AWAY"
    UNREADABLE = "UNREADABLE"
    TOO_LARGE = "TOO_LARGE"
    NO_PERCEPTUAL_HASH = "NO_PERCEPTUAL_HASH"


class WithoutAnswer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is done with an upload that has no answer: each case is chosen, and none has a default."""

    hub_away: Action
    unreadable: Action
    too_large: Action
    no_perceptual_hash: Action

    def action(self, cause: NoAnswer) -> Action:
        """Return what was chosen for this case."""
        chosen: Action = getattr(self, cause.lower())
        return chosen


class PublicDecision(msgspec.Struct, frozen=True, kw_only=True):
    """What an uploader may be told: action and reference. Nothing of why, which would tell what is listed."""

    action: Action
    reference: str


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of one upload. For the app; see `public` for the uploader.

    Attributes:
        action: What the app does.
        verdict: The policy's; UNAVAILABLE without an answer, which is never NO_MATCH.
        reasons: Why, in the policy's words, then in the hook's.
        reference: Names this decision in records, queue and logs; tells nothing about the upload.
        no_answer: Why the policy's verdict is missing, or says less than it could.
        is_kept: Whether what is to be recorded and kept of the upload was. If not, the action is HOLD at least, and an
            app must not delete its own copy.
        policy: NAME@VERSION that judged; empty without an answer.
        revision: The hub's, at which the answer is true; 0 without one.
        stale_since: When the copy that answered last heard from its hub; None for the hub itself.
        coverage: What was looked for, and what was not.
    """

    action: Action
    verdict: Verdict
    reasons: tuple[ReasonLine, ...]
    reference: str
    no_answer: NoAnswer | None = None
    is_kept: bool = True
    policy: str = ""
    revision: int = 0
    stale_since: datetime | None = None
    coverage: Coverage = Coverage()

    @property
    def public(self) -> PublicDecision:
        """What may be shown to the uploader; all else is for the app and its staff."""
        return PublicDecision(action=self.action, reference=self.reference)


class DecisionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A decision with what it rests on, for records, vault, queue and cases. `door`: the way it came, such as `sidecar`
    or `clamd`. `upload_id`: the app's own name. `size_bytes`: 0 for hashes alone. `media_type`: by signature, or empty.
    `hashes`: without variants; exact digests first. `result`: the answer, if any.
    """

    decision: Decision
    time: datetime
    door: str
    upload_id: str = ""
    size_bytes: int = 0
    media_type: str = ""
    hashes: tuple[Hash, ...] = ()
    result: MatchResult | None = None


def read_checked(stored: bytes, reference: str) -> DecisionRecord:
    """Return what is on record of an upload. Raises DataLoss for what cannot be read."""
    try:
        return msgspec.msgpack.decode(stored, type=DecisionRecord)
    except msgspec.DecodeError as e:
        raise damaged(reference) from e


def damaged(reference: str) -> DataLoss:
    """Return the error for the record of an upload that cannot be read."""
    return DataLoss(
        f"the record of upload {reference} is damaged; keep hook.db as it is, and restore a backup beside it"
    )


class FollowUp(msgspec.Struct, frozen=True, kw_only=True):
    """What an upload without an answer turned out to be, or what a person decided over one: `before` and now, at
    `time`. `action`: ALLOW where a person released it, BLOCK where one confirmed it. `verdict`: the policy's, now.
    """

    reference: str
    upload_id: str
    door: str
    time: datetime
    before: Action
    action: Action
    verdict: Verdict


_SEVERITY: Final = (Action.ALLOW, Action.HOLD, Action.BLOCK)


def severest(*actions: Action) -> Action:
    """Return the action that keeps the most from others."""
    return max(actions, key=_SEVERITY.index)


def severest_of(decisions: Sequence[Decision]) -> Decision | None:
    """Return the first of the severest decisions, one whose upload was not kept before others; None of none."""
    return max(decisions, key=lambda d: (_SEVERITY.index(d.action), not d.is_kept), default=None)
