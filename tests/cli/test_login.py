"""`hashhub login`: the device flow, where the session is kept, and which commands use it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from hashhub.cli import main
from hashhub.client import Client
from hashhub.errors import Reason, Unauthenticated
from hashhub.model import Contributor, ContributorKind, Principal, Role
from hashhub.testing.hub_process import RunningHub, running_hub
from tests.patience import PATIENCE
from tests.server.issuer import AUDIENCE, Issuer, issuing

Login = Callable[..., Result]
PENDING = {"error": "authorization_pending"}


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with issuing() as running:
        yield running


@pytest.fixture(scope="module")
def people_hub(issuer: Issuer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningHub]:
    directory = tmp_path_factory.mktemp("people")
    settings = directory / "hub.toml"
    settings.write_text(f'oidc_issuer = "{issuer.url}"\noidc_audience = "{AUDIENCE}"\n')
    with running_hub(directory / "data", "--config", str(settings), "--workers", "2") as hub:
        with Client(hub.address, hub.token, timeout=PATIENCE) as operator:
            operator.create_contributor(
                Contributor(id="home", display_name="Home", kind=ContributorKind.HOTLINE, jurisdiction="GB")
            )
            operator.create_token(
                Principal(name="desk", role=Role.CONTRIBUTOR, contributor="home", identities=("OIDC:analysts",))
            )
        yield hub


@pytest.fixture
def run(people_hub: RunningHub, issuer: Issuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Login]:
    """Run a command as somebody who has no token."""
    monkeypatch.setattr("hashhub.cli.login.PAUSE", 0.01)
    monkeypatch.chdir(tmp_path)
    environment = {
        "HASHHUB_SERVER": people_hub.address, "HASHHUB_ISSUER": issuer.url, "HASHHUB_CLIENT_ID": AUDIENCE,
        "XDG_CONFIG_HOME": str(tmp_path / "config"), "HASHHUB_TOKEN": "", "HASHHUB_TOKEN_FILE": "",
    }  # fmt: skip

    def run_command(*arguments: str, **more: str) -> Result:
        return CliRunner().invoke(main, arguments, env={**environment, **more}, catch_exceptions=False)

    issuer.forms.clear()
    yield run_command
    issuer.device.clear()
    issuer.answers.clear()


def kept(tmp_path: Path) -> list[Path]:
    return [file for file in tmp_path.rglob("*") if file.is_file()]


def test_a_person_logs_in_works_and_logs_out(
    run: Login, issuer: Issuer, people_hub: RunningHub, tmp_path: Path
) -> None:
    assert run("contributor", "get", "home").exit_code == 1
    token = issuer.token(preferred_username="Ada")
    issuer.device += [PENDING, {"error": "slow_down"}, PENDING, {"id_token": token, "access_token": "x"}]
    done = run("login")
    assert done.exit_code == 0, done.stderr
    assert f"open {issuer.url}/device and enter ABCD-EFGH" in done.stderr
    assert "logged in until" in done.stdout
    assert issuer.forms[0] == {"client_id": [AUDIENCE], "scope": ["openid profile email"]}
    assert issuer.forms[1]["grant_type"] == ["urn:ietf:params:oauth:grant-type:device_code"]
    (file,) = kept(tmp_path)
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    secret, until = file.read_text().split()
    assert secret.startswith("hhs_")
    assert secret not in done.output
    assert token not in done.output

    assert run("hash-set", "create", "home/known", "--scheme", "vic-us").exit_code == 0
    events = run("history", "home/known", "--json").stdout
    assert json.loads(events.splitlines()[0])["actor"]["person"] == "Ada <u1>"
    assert run("token", "list").exit_code == 1  # as a contributor may not
    # Another token that is given goes first, and another hub gets nothing.
    assert run("token", "list", HASHHUB_TOKEN=people_hub.token).exit_code == 0
    assert run("contributor", "get", "home", "--server", people_hub.address.replace("127.0.0.1", "localhost")).exit_code
    # The operator's own token, which commands on this machine find, does not stand in for a person who is logged in.
    data = {"HASHHUB_DATA": str(people_hub.data)}
    assert run("token", "list", **data).exit_code == 1
    # Once that is over it does, or nobody could work while the identity provider is away.
    file.write_text(f"{secret} {datetime.fromisoformat(until) - timedelta(hours=9)}")
    done = run("token", "list", **data)
    assert (done.exit_code, "the login is over" in done.stderr) == (0, True)
    # Of a damaged file nobody can say that it is over: it is not used either, and that is said.
    for damaged in ("2026-13-45", datetime.fromisoformat(until).replace(tzinfo=None).isoformat(), "\u0660", until[:-9]):
        file.write_text(f"{secret} {damaged}", "utf-8")
        done = run("token", "list", **data)
        assert (done.exit_code, "log in again" in done.stderr) == (0, True), damaged

    assert run("logout").exit_code == 0
    assert kept(tmp_path) == []
    assert run("contributor", "get", "home").exit_code == 1
    assert run("token", "list", **data).exit_code == 0
    assert json.loads(run("logout", "--json").stdout) == {"name": people_hub.address, "deleted": True}


KEYRING = """
import json, os, pathlib
file, mode = pathlib.Path(os.environ["KEYRING_FILE"]), os.environ["KEYRING_MODE"]
class Backend:
    name = "test keyring"
def get_keyring():
    return Backend()
def _kept():
    if mode == "locked":
        raise Exception("locked")
    return json.loads(file.read_text()) if file.exists() else {}
def set_password(service, name, secret):
    kept = _kept()
    if mode == "works":
        file.write_text(json.dumps({**kept, f"{service} {name}": secret}))
def get_password(service, name):
    return _kept().get(f"{service} {name}")
def delete_password(service, name):
    kept = _kept()
    del kept[f"{service} {name}"]
    file.write_text(json.dumps(kept))
"""


def test_a_keyring_that_works_has_the_secret(people_hub: RunningHub, issuer: Issuer, tmp_path: Path) -> None:
    (tmp_path / "keyring.py").write_text(KEYRING)
    environment = {
        **os.environ, "HASHHUB_SERVER": people_hub.address, "HASHHUB_ISSUER": issuer.url, "HASHHUB_CLIENT_ID": AUDIENCE,
        "XDG_CONFIG_HOME": str(tmp_path / "config"), "HASHHUB_TOKEN": "", "HASHHUB_TOKEN_FILE": "",
        "HASHHUB_DATA": str(people_hub.data), "KEYRING_FILE": str(tmp_path / "kept.json"),
        "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path]),
    }  # fmt: skip

    def run(mode: str, *arguments: str) -> tuple[int, Any]:
        done = subprocess.run(
            [sys.executable, "-m", "hashhub.cli", *arguments, "--json"],
            env={**environment, "KEYRING_MODE": mode}, stdout=subprocess.PIPE, timeout=PATIENCE, check=False,
        )  # fmt: skip
        return done.returncode, json.loads(done.stdout)

    def log_in(mode: str) -> str:
        issuer.device.append({"id_token": issuer.token()})
        code, said = run(mode, "login")
        assert code == 0, said
        return str(said["kept_in"])

    assert log_in("works") == "test keyring"
    (file,) = kept(tmp_path / "config")
    (secret,) = json.loads((tmp_path / "kept.json").read_text()).values()
    assert (secret[:4], secret in file.read_text()) == ("hhs_", False)
    assert run("works", "whoami")[1]["name"] == "desk"
    # One that gives nothing is no reason to go on as the operator, and no reason to say that it is forgotten.
    for arguments in (["whoami"], ["logout"]):
        assert run("locked", *arguments)[0] == 1, arguments
    assert file.exists()
    # Without one that works the file is as it was.
    for mode in ("locked", "keeps nothing"):
        assert log_in(mode) == str(file), mode
        assert file.read_text().startswith("hhs_"), mode
        assert run(mode, "whoami")[1]["name"] == "desk", mode
    assert run("works", "logout")[0] == 0
    assert (kept(tmp_path / "config"), json.loads((tmp_path / "kept.json").read_text())) == ([], {})


def test_one_persons_session_is_ended_early(run: Login, issuer: Issuer, people_hub: RunningHub) -> None:
    def begin(person: str) -> str:
        with Client(people_hub.address, issuer.token(sub=person), timeout=PATIENCE, retry_seconds=PATIENCE) as client:
            return client.begin_session()[0]

    def can_call(secret: str) -> set[bool]:
        answers = set()
        for _ in range(12):  # connections to both workers
            with Client(people_hub.address, secret, timeout=PATIENCE) as client:
                try:
                    answers.add(client.get_contributor("home").id == "home")
                except Unauthenticated as e:
                    assert e.reason is Reason.PERSON_UNKNOWN
                    answers.add(False)
        return answers

    def update(*options: str) -> Result:
        return run("token", "update", "desk", *options, HASHHUB_TOKEN=people_hub.token)

    leaver, other = begin("u1"), begin("u11")
    assert can_call(leaver) == can_call(other) == {True}
    assert update("--exclude", "Ada <u1>").exit_code == 1  # which would exclude nobody
    assert update("--exclude", "u1").exit_code == 0
    time.sleep(1.1)
    assert (can_call(leaver), can_call(other)) == ({False}, {True})
    with pytest.raises(Unauthenticated):
        begin("u1")
    assert update("--clear-excluded").exit_code == 0
    time.sleep(1.1)
    assert can_call(leaver) == {True}


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({"error": "access_denied", "error_description": "You said no\u001b[2J"}, "You said no"),
        ({"error": "expired_token"}, "expired_token"),
        ({"access_token": "x"}, "it gave no ID token"),
        ({"id_token": None, "error": None}, "it gave no ID token"),
        ({"error": ["access_denied"]}, "access_denied"),
        ({"id_token": f"a.{'b' * 9_000}.c"}, "groups"),
    ],
)
def test_what_the_issuer_refuses(run: Login, issuer: Issuer, tmp_path: Path, answer: dict[str, Any], told: str) -> None:
    issuer.device += [PENDING, answer]
    done = run("login", "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["error"]["reason"] == "LOGIN_REFUSED"
    assert told in done.stderr
    assert "\u001b" not in done.stderr
    assert kept(tmp_path) == []


def test_an_issuer_that_is_busy_for_a_moment_is_asked_again(run: Login, issuer: Issuer) -> None:
    def busy(handler: Any) -> None:
        del issuer.answers["/token"]
        handler.send(b"<h1>busy</h1>")

    issuer.answers["/token"] = busy
    issuer.device += [{"id_token": issuer.token()}]
    done = run("login")
    assert (done.exit_code, issuer.device) == (0, []), done.stderr


def test_a_code_that_nobody_enters(run: Login, issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(issuer.begun, "expires_in", 0.1)
    issuer.device += [PENDING] * 100
    done = run("login")
    assert (done.exit_code, "nobody entered the code in time" in done.stderr) == (1, True)
    assert len(issuer.device) > 90


@pytest.mark.parametrize("begun", [{"error": "authorization_pending"}, {"interval": "5", "expires_in": "60"}])
def test_an_issuer_that_begins_in_its_own_way(
    run: Login, issuer: Issuer, monkeypatch: pytest.MonkeyPatch, begun: dict[str, Any]
) -> None:
    monkeypatch.setattr(issuer, "begun", {**(issuer.begun if "error" not in begun else {}), **begun})
    issuer.device += [PENDING, {"error": "access_denied"}]
    done = run("login", "--json")
    assert (done.exit_code, json.loads(done.stdout)["error"]["reason"]) == (1, "LOGIN_REFUSED")


def test_a_client_that_the_issuer_does_not_know(run: Login, issuer: Issuer) -> None:
    issuer.answers["/authorize-device"] = lambda handler: handler.send({"error": "invalid_client"})
    done = run("login")
    assert (done.exit_code, "invalid_client" in done.stderr) == (1, True)


def test_whom_the_hub_does_not_know_is_not_logged_in(run: Login, issuer: Issuer, tmp_path: Path) -> None:
    issuer.device += [{"id_token": issuer.token(groups=["others"])}]
    done = run("login", "--json")
    assert json.loads(done.stdout)["error"]["reason"] == "PERSON_UNKNOWN"
    assert kept(tmp_path) == []


def test_an_issuer_that_is_away_or_unsafe(run: Login) -> None:
    away = run("login", "--issuer", "http://127.0.0.1:1", "--json")
    assert (away.exit_code, json.loads(away.stdout)["error"]["reason"]) == (3, "ISSUER_UNAVAILABLE")
    for unsafe in ("http://id.example.org", "alpha", "file:///etc/passwd"):
        done = run("login", "--issuer", unsafe, "--json")
        assert (done.exit_code, json.loads(done.stdout)["error"]["reason"]) == (1, "INVALID_FIELD"), unsafe
