"""`hashhub login` with a real identity provider: oidc-provider, which is certified by the OpenID Foundation."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from hashhub.client import Client
from hashhub.model import Contributor, ContributorKind, Principal, Role
from hashhub.testing.hub_process import running_hub
from tests.node import node_script
from tests.patience import PATIENCE, wait_until

SCRIPT = Path(__file__).parent / "oidc_node" / "provider.js"


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return str(server.getsockname()[1])


def approve(url: str, login: str) -> None:
    """Do in a browser what the provider asks a person for."""
    with httpx.Client(follow_redirects=True, timeout=PATIENCE) as browser:
        page = browser.get(url)
        while form := re.search(r'<form.*?action="([^"]*)"', page.text):
            fields = dict(re.findall(r'name="([^"]+)"[^>]*value="([^"]*)"', page.text))
            if 'name="login"' in page.text:
                fields |= {"login": login, "password": "any"}
            page = browser.post(page.url.join(form[1]), data=fields)
        assert "Sign-in Success" in page.text, page.text


@pytest.mark.timeout(280)
def test_a_person_of_a_real_provider(tmp_path: Path) -> None:
    port = free_port()
    issuer = f"http://127.0.0.1:{port}"
    settings = tmp_path / "hub.toml"
    settings.write_text(f'oidc_issuer = "{issuer}"\noidc_audience = "hashhub"\n')
    with (
        node_script(SCRIPT) as command,
        running_hub(tmp_path / "data", "--config", str(settings)) as hub,
        Client(hub.address, hub.token, timeout=PATIENCE) as operator,
    ):
        # The hub was first: it goes on without its provider, and says so.
        wait_until(lambda: "identity provider's keys cannot be read" in "".join(operator.status().warnings))
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("HASHHUB_")},
            "HASHHUB_SERVER": hub.address, "HASHHUB_ISSUER": issuer, "HASHHUB_CLIENT_ID": "hashhub",
            "XDG_CONFIG_HOME": str(tmp_path), "HASHHUB_DATA": str(tmp_path / "none"),
        }  # fmt: skip

        def run(*arguments: str) -> subprocess.Popen[str]:
            program = [sys.executable, "-m", "hashhub.cli", *arguments]
            return subprocess.Popen(program, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

        with subprocess.Popen([*command, port], stdout=subprocess.PIPE, text=True) as provider:
            try:
                assert provider.stdout is not None
                assert provider.stdout.readline() == "ready\n"
                home = Contributor(id="home", display_name="Home", kind=ContributorKind.HOTLINE, jurisdiction="GB")
                operator.create_contributor(home)
                operator.create_token(
                    Principal(name="desk", role=Role.CONTRIBUTOR, contributor="home", identities=("OIDC:analysts",))
                )
                for login, code in (("analysts", 0), ("strangers", 1)):
                    with run("login") as logging_in:
                        assert logging_in.stderr is not None
                        line = logging_in.stderr.readline()
                        asked = re.match(r"open (\S+) and enter [A-Z]{4}-[A-Z]{4}", line)
                        assert asked, line
                        approve(asked[1], login)
                        _, told = logging_in.communicate(timeout=PATIENCE)
                    assert logging_in.returncode == code, told
                assert "no token" in told
            finally:
                provider.terminate()
        # The session goes on without the provider.
        with run("hash-set", "create", "home/known", "--scheme", "vic-us") as made:
            _, told = made.communicate(timeout=PATIENCE)
            assert made.returncode == 0, told
        assert next(operator.list_events("home/known", limit=1)).actor.person == "Ada Lovelace <analysts>"
