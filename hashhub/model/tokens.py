"""What a token may do, and how much of a hub it may take."""

from __future__ import annotations

from datetime import datetime

import msgspec

from hashhub.errors import InvalidArgument, Violation
from hashhub.model.contributors import Role
from hashhub.model.matching import Effort


class Shares(msgspec.Struct, frozen=True, kw_only=True):
    """How much of a hub one token may take at a time, of all its workers together; 0: as the server's settings say.

    `calls`: in progress or waiting. `streams`: followed feeds, live streams and exports. `message_bytes`: of requests
    that are being read or worked on, and of answers that were not taken yet. `media_seconds`: of a core, for hashing
    media, in a minute.
    """

    calls: int = 0
    streams: int = 0
    message_bytes: int = 0
    media_seconds: int = 0

    def __post_init__(self) -> None:
        """Raise InvalidArgument for a share below 0."""
        wrong = tuple(
            Violation(f"shares.{name}", f"must not be negative, got {getattr(self, name)}", "OUT_OF_RANGE")
            for name in self.__struct_fields__
            if getattr(self, name) < 0
        )
        if wrong:
            raise InvalidArgument("; ".join(f"{v.field} {v.description}" for v in wrong), violations=wrong)


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Who calls: a token of one contributor.

    `shares`: how much of the server it may take at a time, where that differs from the settings.
    `purposes`: for which it may see entries. `acts_for_others`: it answers for clients of its contributor, which some
    terms exclude. `may_mirror`: it reads the change feed. `max_effort`: with which its media are hashed at most; None:
    as the settings say. `last_use_time` is true to a minute. `by_old_secret`: it was let in by a secret that another
    one has taken the place of; not kept, and not sent.
    """

    name: str
    role: Role
    contributor: str = ""
    purposes: tuple[str, ...] = ()
    description: str = ""
    acts_for_others: bool = False
    may_mirror: bool = False
    max_effort: Effort | None = None
    shares: Shares = Shares()
    create_time: datetime | None = None
    expire_time: datetime | None = None
    last_use_time: datetime | None = None
    by_old_secret: bool = False
