"""The hub, or a copy of its lists, as a desk asks it: the answer to a query, who gives one, and a client."""

from __future__ import annotations

import os
from datetime import datetime
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from hashhub.desk.decision import Action
from hashhub.local_files import named_file
from hashhub.model import MatchResult, Query
from hashhub.trust import ReasonCode

if TYPE_CHECKING:
    from hashhub.client import Client
    from hashhub.desk.settings import DeskSettings

_NOTHING_LISTED: Final = ReasonCode.NOTHING_LISTED.value


class HubAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to one query: by which policy (NAME@VERSION), at which revision of the hub.

    `stale_since`: when the copy that answered last heard from its hub, once that is longer ago than the settings call
    current. `is_past_limit`: so long ago that what the copy does not hold allows nothing any more. `at_least`: what is
    done with the upload at least, whatever the verdict means by the settings. `without_lists`: the verdict comes from a
    case alone, as the hub, or a copy that is current enough, gave no answer; it is still to be asked.
    """

    result: MatchResult
    policy: str
    revision: int
    stale_since: datetime | None = None
    is_past_limit: bool = False
    at_least: Action = Action.ALLOW
    without_lists: bool = False

    @property
    def is_listed(self) -> bool:
        """Whether there was a list to compare with; without one everything is unknown."""
        return all(line.code != _NOTHING_LISTED for line in self.result.reasons)


class Judge(Protocol):
    """Answers who knows an upload, by the policy of the settings. Safe to be shared by threads."""

    def judge(self, query: Query) -> HubAnswer:
        """Answer one query. Raises HashHubError when no answer can be had."""
        ...

    def revision(self) -> int:
        """Return the newest revision known here, at which alone remembered answers count. Never waits."""
        ...

    def close(self) -> None:
        """Let go of connections and files."""
        ...


def client_of(settings: DeskSettings, *, timeout: float, retry_seconds: float = 2.0, token_file: str = "") -> Client:
    """Return a lazy client of the settings' hub, with their token or that of a file. Raises InvalidArgument for bad
    files.
    """
    from hashhub.client import Client

    own = (settings.certificate, settings.certificate_key) if settings.certificate and not token_file else None
    file, token = token_file or settings.token_file, "" if own else os.environ.get("HASHHUB_TOKEN", "")
    if file:
        token = named_file("token_file", file).decode("utf-8", "replace")
    return Client(
        settings.hub,
        token.strip(),
        tls=False if settings.insecure_hub else None,
        ca_certificates=named_file("ca_file", settings.ca_file) if settings.ca_file else None,
        certificate=own,
        timeout=timeout,
        retry_seconds=retry_seconds,
    )
