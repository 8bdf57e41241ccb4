"""The hub's console: its screens, who may see which, and the calls that each person's session makes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from datetime import datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.requests import Request

from hashhub.addresses import is_loopback_host, parse_address
from hashhub.client import Client
from hashhub.config import Config
from hashhub.console import (
    conflicts,
    definitions,
    entries,
    hand_over,
    history,
    home,
    lists,
    members,
    reconcile,
    sources,
    terms,
)
from hashhub.console.hand_overs import HandOvers
from hashhub.console.hub_visit import HubVisit
from hashhub.console.pages import _
from hashhub.console.sessions import BrowserSession, Sessions
from hashhub.console.sign_in import link_way, openid_way
from hashhub.console.site import Site
from hashhub.console.visit import SiteSettings
from hashhub.local_files import make_directory, named_file
from hashhub.model import Role

_MODULES: Final = (
    home, hand_over, lists, members, entries, history, conflicts, reconcile, terms, sources, definitions,
)  # fmt: skip
_CLIENTS: Final = 256  # that are kept open
_RETRY_SECONDS: Final = 20.0  # in which a hub has read a key that its issuer has just begun to sign with


def folder_of(data: str) -> Path:
    """Return the console's folder in a hub's data directory."""
    return Path(data) / "console"


def url_of(config: Config) -> str:
    """Return the URL by which browsers reach the console."""
    return config.console_url.rstrip("/") or f"http{'s' if config.tls_certificate else ''}://{config.console}"


class HubConsole:
    """The application."""

    def __init__(self, config: Config) -> None:
        """Open the file of sessions. `config`: a hub's, with `listen` and `console` as they are listened on."""
        folder = folder_of(config.data)
        make_directory(folder)
        self.sessions = Sessions(folder / "sessions.db")
        self.hand_overs: Final = HandOvers(folder / "hand-over", self.sessions)
        self._hub = config.console_hub or config.listen
        self._ca = named_file("console_hub_ca", config.console_hub_ca) if config.console_hub_ca else None
        self._clients: OrderedDict[bytes, Client] = OrderedDict()
        self._lock = threading.Lock()
        url = urlsplit(url_of(config))
        ways = [openid_way(config.oidc_issuer, config.oidc_audience, self._enter)] if config.oidc_issuer else []
        names = [url.netloc]
        if is_loopback_host(parse_address("console", config.console)[0]) and is_loopback_host(url.hostname or ""):
            ways.append(link_way())
            names += [f"{host}:{url.port}" for host in ("127.0.0.1", "localhost", "[::1]")]
        settings = SiteSettings(
            title="hashhub console",
            sessions=self.sessions,
            navigation=_navigation,
            origins=[f"{url.scheme}://{name}" for name in names],
            ways=ways,
            handbook=config.handbook,
        )
        screens = [one for module in _MODULES for one in module.SCREENS]
        self.site = Site(settings, screens, visit=self._visit)
        self.application = Starlette(routes=self.site.routes)

    def close(self) -> None:
        """Close the connections and the file."""
        self.hand_overs.close()
        with self._lock:
            for client in self._clients.values():
                client.close()
            self._clients.clear()
        self.sessions.close()

    def client(self, session: BrowserSession) -> Client:
        """Return the client of a session; the least used of more than 256 is closed."""
        with self._lock:
            client = self._clients.pop(session.digest, None) or self._connect(session.secret)
            self._clients[session.digest] = client
            if len(self._clients) > _CLIENTS:
                self._clients.popitem(last=False)[1].close()
            return client

    def _visit(self, site: SiteSettings, session: BrowserSession, request: Request) -> HubVisit:
        return HubVisit(site, session, request, hub=self.client(session), hand_overs=self.hand_overs)

    def _connect(self, secret: str, retry_seconds: float = 2.0) -> Client:
        return Client(self._hub, secret, ca_certificates=self._ca, retry_seconds=retry_seconds)

    def _enter(self, id_token: str) -> tuple[str, datetime]:
        with self._connect(id_token, retry_seconds=_RETRY_SECONDS) as hub:
            return hub.begin_session()


def _navigation(visit: HubVisit) -> list[tuple[str, str]]:
    """Return where a person may go, by role."""
    overseers, members = {Role.OPERATOR, Role.AUDITOR}, {Role.OPERATOR, Role.AUDITOR, Role.CONTRIBUTOR}
    places = [
        ("/", _("Today"), set(Role)),
        ("/lists", _("Lists"), members),
        ("/search", _("Search"), members),
        ("/objections", _("Objections"), members),
        ("/conflicts", _("Conflicts"), members),
        ("/reconciliation", _("Reconciliation"), members),
        ("/members", _("Members"), overseers),
        ("/tokens", _("Tokens"), overseers),
        ("/sources", _("Sources"), overseers),
        ("/terms", _("Terms"), overseers),
        ("/policies", _("Policies"), set(Role)),
        ("/schemes", _("Schemes"), set(Role)),
        ("/history", _("History"), members),
    ]
    return [(path, label) for path, label, roles in places if visit.caller.role in roles]
