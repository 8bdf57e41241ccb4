"""Two hubs of their own processes over TLS, joined by the command line, each followed by `hashhub peer run`."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from hashhub.authority import Authority
from hashhub.testing.hub_process import RunningHub, running_hub
from tests.patience import wait_until

pytestmark = [pytest.mark.timeout(120), pytest.mark.usefixtures("warm")]
LIST = "5e918b2201c3e4d5428253c3cdea8e53\nbb26615c7faed2a60ad09f1f72d39b64\n"


class Operator:
    """Somebody who runs commands at a hub."""

    def __init__(self, directory: Path, hub: RunningHub) -> None:
        self.directory, self.hub = directory, hub
        self.environment = {
            **os.environ,
            "HASHHUB_SERVER": hub.address,
            "HASHHUB_TOKEN_FILE": str(hub.token_file),
            "HASHHUB_PEERS": str(directory / "peers"),
        }

    def tls(self, *command: str) -> tuple[str, ...]:
        return (
            () if command[:2] == ("peer", "list") else ("--tls", "--ca-file", str(self.directory / "ca/authority.pem"))
        )

    def own(self) -> tuple[str, ...]:
        return "--address", self.hub.address, "--own-ca-file", str(self.directory / "ca/authority.pem")

    def run(self, *arguments: str, fails: bool = False, given: str = "") -> str:
        done = subprocess.run(
            ["hashhub", *arguments, *self.tls(*arguments)],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            input=given,
        )
        assert (done.returncode != 0) == fails, done.stderr
        return done.stderr if fails else done.stdout.strip()

    @contextmanager
    def following(self) -> Iterator[subprocess.Popen[str]]:
        process = subprocess.Popen(
            ["hashhub", "peer", "run", *self.tls()], env=self.environment, stderr=subprocess.PIPE, text=True
        )
        try:
            yield process
        finally:
            process.terminate()
            process.communicate(timeout=60)

    def entries(self, hash_set: str) -> int:
        listed = self.run("entry", "list", hash_set, "--state", "active", "--json")
        return len(listed.splitlines())

    def listed(self, name: str) -> dict[str, Any]:
        lines: list[dict[str, Any]] = [json.loads(line) for line in self.run("peer", "list", "--json").splitlines()]
        return next((one for one in lines if one["name"] == name), {"status": ""})

    def status(self, name: str) -> str:
        return str(self.listed(name)["status"])


@pytest.fixture
def operators(tmp_path: Path) -> Iterator[tuple[Operator, Operator]]:
    """Return the operators of the hubs `nl` and `de`, each with an authority of its own."""
    with ExitStack() as stack:
        made = []
        for name in ("nl", "de"):
            directory = tmp_path / name
            directory.mkdir()
            chain = Authority.create(directory / "ca", name).issue("server", ["IP:127.0.0.1"], days=2, server=True)
            tls = ["--tls-certificate", str(chain), "--tls-key", str(chain.with_suffix(".key"))]
            hub = stack.enter_context(running_hub(directory / "data", *tls))
            made.append(Operator(directory, hub))
            made[-1].run("peer", "name", name)
        yield made[0], made[1]


def test_two_operators_join_follow_and_leave(operators: tuple[Operator, Operator]) -> None:
    nl, de = operators
    nl.run("contributor", "create", "hotline", "--kind", "hotline", "--jurisdiction", "NL", "--reliability", "a")
    nl.run("hash-set", "create", "hotline/known", "--purpose", "csam", "--tlp", "green", "--bulk")
    (nl.directory / "list.md5").write_text(LIST)
    nl.run("import", str(nl.directory / "list.md5"), "--format", "hash-lines", "--hash-set", "hotline/known")

    line = nl.run("peer", "invite", "de", *nl.own())
    assert de.run("peer", "join", "-", *de.own(), fails=True, given=line)  # nobody confirms
    answer = de.run("peer", "join", "-", "--yes", "--reliability", "A=B", *de.own(), given=line)
    assert "is joined already" in de.run("peer", "join", "-", "--yes", *de.own(), fails=True, given=line)
    assert "joined de" in nl.run("peer", "join", "-", "--yes", given=answer)
    for text in (line, answer):
        assert (nl.directory / "peers/de.secret").read_text().strip() not in text
    assert (de.directory / "peers/nl.secret").stat().st_mode & 0o077 == 0

    with nl.following(), de.following() as one:
        wait_until(lambda: de.status("nl") == "OK" and nl.status("de") == "OK")
        assert de.entries("nl--hotline/known") == 2
        wait_until(lambda: nl.listed("de")["given"] == {"GREEN": 1})
        assert (de.listed("nl")["given"], nl.listed("de")["offers"]) == ({}, [])
        assert [(o["hash_set"], o["is_taken"]) for o in de.listed("nl")["offers"]] == [("nl--hotline/known", True)]
        assert "another process" in de.run("peer", "run", fails=True)
        nl.run("entry", "withdraw", "hotline/known/1", "--reason", "error", "--yes")
        wait_until(lambda: de.entries("nl--hotline/known") == 1)
        assert one.poll() is None
        nl.run("peer", "leave", "de", "--yes")
        wait_until(lambda: de.entries("nl--hotline/known") == 0)
        wait_until(lambda: de.status("nl") == "REFUSED")
    assert nl.run("peer", "list", "--json") == ""
