"""What a protocol is: how a partner's pages are asked for, and how their records make one document of a format."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from datetime import timedelta
from typing import ClassVar, NamedTuple

from hashhub.errors import InvalidArgument, MalformedSource
from hashhub.sources.partner import Partner
from hashhub.sources.settings import SourceSettings, secret


class FetchedPage(NamedTuple):
    """A part of a fetch. `records`: (key, bytes) each. An item that changes while pages are asked for may stand on two
    of them: of one key the last counts, and empty bytes take it away. `token`: where the fetch goes on; empty: this is
    all. `cursor`: the position once the fetch is applied, if this is all.
    """

    records: list[tuple[str, bytes]]
    token: str
    cursor: str


class FetchPosition(NamedTuple):
    """Where to ask on. `cursor`: all up to there was applied; empty: a full list is wanted. `token`, `reached`: token
    and cursor of the last page that was staged, if any; `page`: how many were. `keys`: of the records that are there.
    """

    cursor: str
    token: str
    reached: str
    page: int
    keys: Callable[[], AbstractSet[str]]


class PartnerProtocol(ABC):
    """One partner's protocol. `connector`: of its items. `credentials`: the secrets that it takes, of one choice."""

    connector: ClassVar[str]
    credentials: ClassVar[tuple[tuple[str, ...], ...]]
    full_after: ClassVar[timedelta | None] = None
    """How old the last full list may be, where what was deleted is told for a while only, or not at all."""
    lapses_after: ClassVar[timedelta | None] = None
    """How long after the last fetch a position is of use."""
    is_kept: ClassVar[bool] = False
    """Whether records refer to each other across fetches: they are kept, and each import is of all of them."""
    is_list: ClassVar[bool] = False
    """Whether what a partner has is told as a whole, so that each import replaces."""
    head: ClassVar[bytes]
    tail: ClassVar[bytes]
    between: ClassVar[bytes] = b",\n"
    accept: ClassVar[str] = "application/json"
    """The media type that is asked for."""
    headers: ClassVar[Mapping[str, str]] = {}
    """By what headers credentials are sent; `user` and `password` are those of the basic scheme."""

    def __init__(self, settings: SourceSettings) -> None:
        """Raises InvalidArgument for credentials that are missing or not this protocol's."""
        self.settings = settings
        if tuple(settings.credentials) not in self.credentials:
            choices = " or ".join(", ".join(choice) or "none" for choice in self.credentials)
            given = ", ".join(settings.credentials)[:80] or "none"
            told = f"must be {choices} for {settings.protocol}, in this order; got {given}"
            raise InvalidArgument.field("credentials", told)

    @abstractmethod
    def pages(self, partner: Partner, position: FetchPosition) -> Iterator[FetchedPage]:
        """Yield the pages that follow a position. Raises what `Partner.get` does, MalformedSource also for a page that
        is older than the position.
        """

    def partner(self, is_cancelled: Callable[[], bool]) -> Partner:
        """Return what asks, with the secrets as they are now."""
        secrets = self.secrets()
        headers = {header: secrets[name] for name, header in self.headers.items() if name in secrets}
        basic = (secrets["user"], secrets["password"]) if "user" in secrets else None
        return Partner(self.settings, {"accept": self.accept, **headers}, basic, is_cancelled)

    def document(self, contents: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the document of the connector's format that has these records."""
        yield self.head
        between = b""
        for content in contents:
            yield between
            yield content
            between = self.between
        yield self.tail

    def secrets(self) -> Mapping[str, str]:
        """Return the credentials."""
        return {name: secret(f"credentials.{name}", text) for name, text in self.settings.credentials.items()}


def older(what: str, position: str) -> MalformedSource:
    """Return the error for an answer from before the position, as a restored or replayed server gives it."""
    return MalformedSource(
        f"the partner's answer is older than what it gave before ({what}), so that nothing of it was applied; ask the "
        "partner whether its database was restored. To begin again with its full list: hashhub source fetch NAME "
        "--full",
        position=position,
    )


def check_more(path: str, more: str, following: str, *, says_more: bool, token: str) -> None:
    """Raise MalformedSource where an answer says that there is more, and not where, or the other way round."""
    if says_more != bool(token):
        told = f"the answer says {more} without a {following}, or the other way round; expected both or neither"
        raise MalformedSource(told, position=path)
