"""People sign in by their organisation's account: authorization code with PKCE, and no step of it can be another's."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
from starlette.testclient import TestClient

from hashhub.console.hub_console import HubConsole
from hashhub.model import Principal, Role
from tests.console.conftest import ORIGIN, console_of
from tests.server.conftest import OPERATOR
from tests.server.conftest import Serve as ServeHub
from tests.server.conftest import serve_hub as serve_hub  # noqa: PLC0414 - a fixture
from tests.server.issuer import AUDIENCE, Issuer, issuing


@dataclass
class Place:
    issuer: Issuer
    console: HubConsole

    def browser(self, **headers: str) -> TestClient:
        client = TestClient(self.console.application, base_url=ORIGIN, follow_redirects=False)
        client.headers |= headers
        return client

    def begin(self, browser: TestClient) -> dict[str, str]:
        """Return what the browser is sent to the issuer with."""
        place = urlsplit(browser.get("/sign-in/begin").headers["location"])
        assert f"{place.scheme}://{place.netloc}{place.path}" == f"{self.issuer.url}/authorize"
        return dict(parse_qsl(place.query))

    def back(self, browser: TestClient, asked: dict[str, str], *, state: str = "", **claims: Any) -> Any:
        """Come back from the issuer, which gives an ID token with these claims for the code."""
        self.issuer.device.append({"id_token": self.issuer.token(**{"nonce": asked["nonce"], **claims})})
        return browser.get("/sign-in/back", params={"code": "c", "state": state or asked["state"]})


@pytest.fixture
def place(serve_hub: ServeHub) -> Iterator[Place]:
    with issuing() as issuer:
        usual = issuer.usual
        issuer.answers["/.well-known/openid-configuration"] = lambda handler: handler.send(
            {**usual("/"), "authorization_endpoint": f"{issuer.url}/authorize"}
        )
        served = serve_hub(oidc_issuer=issuer.url, oidc_audience=AUDIENCE)
        served.hub.tokens.create(OPERATOR, Principal(name="analysts", role=Role.AUDITOR, identities=("OIDC:analysts",)))
        console = console_of(served, oidc_issuer=issuer.url, oidc_audience=AUDIENCE)
        yield Place(issuer, console)
        console.close()


def test_a_person_signs_in_and_is_named(place: Place) -> None:
    browser = place.browser()
    asked = place.begin(browser)
    answer = place.back(browser, asked, name="Ada")
    assert answer.status_code == 200
    assert "u1" in browser.get("/reader").text  # the person, and not the token of all analysts
    [form] = place.issuer.forms
    digest = hashlib.sha256(form["code_verifier"][0].encode()).digest()
    assert base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == asked["code_challenge"]
    assert form["redirect_uri"] == [asked["redirect_uri"]] == [f"{ORIGIN}/sign-in/back"]
    assert asked["code_challenge_method"] == "S256"
    assert asked["client_id"] == AUDIENCE


def test_what_is_not_this_browsers_sign_in_begins_no_session(place: Place) -> None:
    browser, other = place.browser(), place.browser()
    asked, theirs = place.begin(browser), place.begin(other)
    assert place.back(browser, asked, state=theirs["state"]).status_code == 403  # somebody else's code
    assert place.back(place.browser(), asked).status_code == 403  # another browser
    place.issuer.device.clear()
    assert place.back(browser, asked, nonce="another's").status_code == 401  # an ID token that was stolen
    assert place.back(browser, asked, groups=["nobody"]).status_code == 401
    assert place.back(browser, asked, aud="another").status_code == 401
    assert place.back(browser, asked, exp=1).status_code == 401
    refused = browser.get(
        "/sign-in/back", params={"state": asked["state"], "error": "x", "error_description": "<script>no"}
    )
    assert refused.status_code == 401
    assert "<script>no" not in refused.text
    assert browser.get("/reader").status_code == 303


def test_only_ones_own_failures_are_counted(place: Place) -> None:
    """Any site can have a browser open our addresses: it locks nobody out."""
    browser = place.browser()
    for _ in range(60):
        assert browser.get("/sign-in/back", params={"code": "c", "state": "forged"}).status_code == 403
    assert place.back(browser, place.begin(browser)).status_code == 200
    for _ in range(30):
        last = place.back(browser, place.begin(browser), exp=1).status_code
    assert last == 429
    assert len(place.issuer.forms) <= 20


def test_an_issuer_that_is_away_is_told(place: Place) -> None:
    place.issuer.answers["/.well-known/openid-configuration"] = lambda handler: handler.send(b"no json")
    assert place.browser().get("/sign-in/begin").status_code == 503


def test_the_cookie_of_a_sign_in_is_of_no_use_alone(place: Place) -> None:
    browser = place.browser()
    told = browser.get("/sign-in/begin").headers["set-cookie"].lower()
    assert "httponly" in told
    assert "secure" in told
    assert "samesite=lax" in told
    assert json.dumps(parse_qs(told)).count("id_token") == 0
