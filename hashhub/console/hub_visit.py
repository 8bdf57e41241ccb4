"""A visit to the hub's console, as its page modules see it."""

from __future__ import annotations

from starlette.requests import Request

from hashhub.client import Client
from hashhub.console.hand_overs import HandOvers
from hashhub.console.sessions import BrowserSession
from hashhub.console.visit import SiteSettings, Visit
from hashhub.model import Caller, Role


class HubVisit(Visit):
    """A visit with the hub's calls, as the person who makes it."""

    def __init__(
        self, site: SiteSettings, session: BrowserSession, request: Request, *, hub: Client, hand_overs: HandOvers
    ) -> None:
        """`hub`: by the session's secret. Raises Unauthenticated where that works no more."""
        self.hub, self.hand_overs = hub, hand_overs
        self.caller: Caller = self.hub.caller()
        super().__init__(site, session, request, who=self.caller.person or self.caller.name)

    @property
    def may_write(self) -> bool:
        """Whether the person is an operator."""
        return self.is_role(Role.OPERATOR)

    def is_role(self, *roles: Role) -> bool:
        """Whether the person has one of these roles; the hub decides, pages only leave out what it would refuse."""
        return self.caller.role in roles
