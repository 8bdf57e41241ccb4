"""Who is asked about an upload's hashes: the hub, or (`local`) a copy of its lists."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

from hashhub.errors import InvalidArgument
from hashhub.hook.decision import Action
from hashhub.model import MatchOptions, MatchResult, MediaResult, Query

if TYPE_CHECKING:
    from hashhub.client import Client
    from hashhub.hook.settings import HookSettings


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to one query: by which policy (NAME@VERSION), at which revision of the hub.

    `stale_since`: when the copy that answered last heard from its hub, once that is longer ago than the settings call
    current. `is_past_limit`: so long ago that what the copy does not hold allows nothing any more. `at_least`: what is
    done with the upload at least, whatever the verdict means by the settings.
    """

    result: MatchResult
    policy: str
    revision: int
    stale_since: datetime | None = None
    is_past_limit: bool = False
    at_least: Action = Action.ALLOW


class Judge(Protocol):
    """Answers who knows an upload, by the policy of the settings. Safe to be shared by threads."""

    def judge(self, query: Query) -> Judged:
        """Answer one query. Raises HashHubError when no answer can be had."""
        ...

    def revision(self) -> int:
        """Return the newest revision that this judge is known to answer by; an answer that was remembered counts only
        at that revision. Never waits.
        """
        ...

    def close(self) -> None:
        """Let go of connections and files."""
        ...


class HubJudge:
    """Asks the hub, by a client of its own."""

    def __init__(self, settings: HookSettings) -> None:
        """Connect lazily. Raises InvalidArgument when a file that the settings name cannot be read."""
        from hashhub.client import Client

        self._options = MatchOptions(policy=settings.policy, effort=settings.effort)
        self._revision = 0
        self._client: Client = Client(
            settings.hub,
            token(settings),
            tls=False if settings.insecure_hub else None,
            ca_certificates=certificates(settings),
            timeout=settings.answer_seconds,
            retry_seconds=0.0,
        )

    def judge(self, query: Query) -> Judged:
        """Answer one query. Raises HashHubError when the hub does not answer in time, or refuses."""
        answer = self._client.match(query, self._options)
        self._revision = max(self._revision, answer.revision)
        return Judged(result=answer.result, policy=answer.policy, revision=answer.revision)

    def judge_media(self, label: str, content: bytes) -> tuple[MediaResult, str, int]:
        """Let the hub hash an upload and answer; return the policy and revision, too. Raises HashHubError likewise."""
        [answer] = self._client.match_media([(label, content)], self._options)
        self._revision = max(self._revision, answer.revision)
        return answer.media, answer.policy, answer.revision

    def revision(self) -> int:
        """Return the newest revision that the hub has answered with."""
        return self._revision

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def token(settings: HookSettings) -> str:
    """Return the token with which the hub is asked. Raises InvalidArgument when its file cannot be read."""
    if settings.token_file:
        return _bytes_of(settings.token_file).decode("utf-8", "replace").strip()
    return os.environ.get("HASHHUB_TOKEN", "").strip()


def certificates(settings: HookSettings) -> bytes | None:
    """Return the authorities to trust instead of the system's. Raises InvalidArgument when they cannot be read."""
    return _bytes_of(settings.ca_file) if settings.ca_file else None


def _bytes_of(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as e:
        raise InvalidArgument.field("settings", f"a file that they name cannot be read: {e.strerror}") from e
