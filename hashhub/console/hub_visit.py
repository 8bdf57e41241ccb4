"""A visit to the hub's console, as its page modules see it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hashhub.console.visit import Visit
from hashhub.model import Caller, Role

if TYPE_CHECKING:
    from starlette.requests import Request

    from hashhub.client import Client
    from hashhub.console.hand_overs import HandOvers
    from hashhub.console.sessions import BrowserSession
    from hashhub.console.visit import SiteSettings


class HubVisit(Visit):
    """A visit with the hub's calls, as the person who makes it."""

    def __init__(
        self, site: SiteSettings, session: BrowserSession, request: Request, *, hub: Client, hand_overs: HandOvers
    ) -> None:
        """`hub`: by the session's secret. Raises Unauthenticated where that works no more."""
        self.hub, self.hand_overs = hub, hand_overs
        self.caller: Caller = self.hub.caller()
        super().__init__(site, session, request, who=self.caller.person or self.caller.name)

    def is_role(self, *roles: Role) -> bool:
        """Whether the person has one of these roles; the hub decides, pages only leave out what it would refuse."""
        return self.caller.role in roles
