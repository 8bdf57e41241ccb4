"""The hub's console: its screens, who may see which, and the calls that each person's session makes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import msgspec
from starlette.applications import Starlette

from hashhub.addresses import is_loopback_host, parse_address
from hashhub.client import Client
from hashhub.console import (
    access,
    conflicts,
    entries,
    hand_over,
    history,
    home,
    lists,
    members,
    policies,
    reconcile,
    schemes,
    terms,
)
from hashhub.console.hand_overs import HandOvers
from hashhub.console.pages import _
from hashhub.console.sessions import Sessions
from hashhub.console.sign_in import LinkSignIn, OpenIDSignIn
from hashhub.console.site import SignInWay, Site
from hashhub.console.visit import Link, Screen, SiteSettings, Visit
from hashhub.local_files import make_directory, named_file
from hashhub.model import Caller, Role

if TYPE_CHECKING:
    from starlette.requests import Request

    from hashhub.config import Config
    from hashhub.console.sessions import Session

_CLIENTS: Final = 256  # that are kept open
_RETRY_SECONDS: Final = 20.0  # in which a hub has read a key that its issuer has just begun to sign with


class ConsoleSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the console's process is told. `folder`: its own, for sessions and files that are being handed over."""

    hub: str
    folder: str
    url: str
    address: str
    ca_file: str = ""
    issuer: str = ""
    client_id: str = ""
    tls_certificate: str = ""
    tls_key: str = ""
    handbook: str = ""

    @classmethod
    def of(cls, config: Config, *, address: str, hub: str) -> ConsoleSettings:
        """Return those of a hub's settings. `address`: that it listens on; `hub`: the hub's, as it listens."""
        scheme = "https" if config.tls_certificate else "http"
        return cls(
            hub=config.console_hub or hub,
            folder=str(folder_of(config.data)),
            url=config.console_url.rstrip("/") or f"{scheme}://{address}",
            address=address,
            ca_file=config.console_hub_ca,
            issuer=config.oidc_issuer,
            client_id=config.oidc_audience,
            tls_certificate=config.tls_certificate,
            tls_key=config.tls_key,
            handbook=config.handbook,
        )


def folder_of(data: str) -> Path:
    """Return the console's folder in a hub's data directory."""
    return Path(data) / "console"


class HubVisit(Visit):
    """A visit with the hub's calls, as the person who makes it."""

    def __init__(self, console: HubConsole, site: SiteSettings, session: Session, request: Request) -> None:
        """Raise Unauthenticated where the session's secret works no more."""
        self.console = console
        self.hub = console.client(session)
        self.caller: Caller = self.hub.caller()
        super().__init__(site, session, request, who=self.caller.name)

    def is_role(self, *roles: Role) -> bool:
        """Whether the person has one of these roles; the hub decides, pages only leave out what it would refuse."""
        return self.caller.role in roles


class HubConsole:
    """The application."""

    def __init__(self, settings: ConsoleSettings, screens: list[Screen] | None = None) -> None:
        """Open the file of sessions. `screens`: instead of all."""
        make_directory(Path(settings.folder))
        self.settings = settings
        self.folder: Final = Path(settings.folder)
        self.sessions = Sessions(self.folder / "sessions.db")
        self.hand_overs: Final = HandOvers(self.folder / "hand-over", self.sessions)
        self._ca = named_file("console", settings.ca_file) if settings.ca_file else None
        self._clients: OrderedDict[bytes, Client] = OrderedDict()
        self._lock = threading.Lock()
        host, port = parse_address("console", settings.address)
        ways: list[SignInWay] = []
        if settings.issuer:
            ways.append(OpenIDSignIn(settings.issuer, settings.client_id, enter=self._enter))
        is_local = is_loopback_host(host) and is_loopback_host(urlsplit(settings.url).hostname or "")
        if is_local:
            ways.append(LinkSignIn())
        scheme = settings.url.partition(":")[0]
        names = (f"127.0.0.1:{port}", f"localhost:{port}", f"[::1]:{port}") if is_local else ()
        shared = SiteSettings(
            title="hashhub console",
            sessions=self.sessions,
            navigation=_navigation,
            origins=[settings.url, *(f"{scheme}://{name}" for name in names)],
            ways=[way.template for way in ways],
            handbook=settings.handbook,
        )
        self.site = Site(
            shared,
            all_screens() if screens is None else screens,
            visit=lambda site, session, request: HubVisit(self, site, session, request),
            ways=ways,
        )
        self.application = Starlette(routes=self.site.routes)

    def close(self) -> None:
        """Close the connections and the file."""
        self.hand_overs.close()
        with self._lock:
            for client in self._clients.values():
                client.close()
            self._clients.clear()
        self.sessions.close()

    def client(self, session: Session) -> Client:
        """Return the client of a session; the least used of more than 256 is closed."""
        with self._lock:
            client = self._clients.pop(session.digest, None) or self._connect(session.secret)
            self._clients[session.digest] = client
            if len(self._clients) > _CLIENTS:
                self._clients.popitem(last=False)[1].close()
            return client

    def _connect(self, secret: str, retry_seconds: float = 2.0) -> Client:
        return Client(self.settings.hub, secret, ca_certificates=self._ca, retry_seconds=retry_seconds)

    def _enter(self, id_token: str) -> tuple[str, datetime]:
        with self._connect(id_token, retry_seconds=_RETRY_SECONDS) as hub:
            return hub.begin_session()


def all_screens() -> list[Screen]:
    """Return the screens of all page modules."""
    modules: list[tuple[Screen, ...]] = [
        home.SCREENS,
        hand_over.SCREENS,
        lists.SCREENS,
        members.SCREENS,
        access.SCREENS,
        entries.SCREENS,
        history.SCREENS,
        conflicts.SCREENS,
        reconcile.SCREENS,
        terms.SCREENS,
        policies.SCREENS,
        schemes.SCREENS,
    ]
    return [one for screens in modules for one in screens]


def _navigation(visit: HubVisit) -> list[Link]:
    """Return where a person may go, by role."""
    role = visit.caller.role
    overseer = {Role.OPERATOR, Role.AUDITOR}
    places: list[tuple[str, str, set[Role]]] = [
        ("/", _("Today"), set(Role)),
        ("/lists", _("Lists"), {*overseer, Role.CONTRIBUTOR}),
        ("/search", _("Search"), {*overseer, Role.CONTRIBUTOR}),
        ("/objections", _("Objections"), {*overseer, Role.CONTRIBUTOR}),
        ("/conflicts", _("Conflicts"), {*overseer, Role.CONTRIBUTOR}),
        ("/reconciliation", _("Reconciliation"), {*overseer, Role.CONTRIBUTOR}),
        ("/members", _("Members"), overseer),
        ("/tokens", _("Tokens"), overseer),
        ("/terms", _("Terms"), overseer),
        ("/policies", _("Policies"), set(Role)),
        ("/schemes", _("Schemes"), set(Role)),
        ("/history", _("History"), {*overseer, Role.CONTRIBUTOR}),
    ]
    return [Link(path=path, label=label) for path, label, roles in places if role in roles]
