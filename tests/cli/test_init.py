"""`hashhub init`: what it writes makes a hub that starts and matches; whatever goes wrong, nothing is left."""

from __future__ import annotations

import json
import os
import pty
import re
import socket
import ssl
import stat
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from hashhub.authority import Authority
from hashhub.cli import main
from hashhub.cli.installation import install
from hashhub.client import Client
from hashhub.config import load
from hashhub.model import Verdict
from hashhub.store import Store
from hashhub.testing.hub_process import serving
from hashhub.testing.lists import list_file, random_items
from tests.conftest import PostgreSQL
from tests.disks import fill, small_disk
from tests.killed import Steps, killable

FILES = {
    "ca/authority.pem", "ca/authority.key", "ca/hub.pem", "ca/hub.key", "ca/issued", "ca/revoked.pem", "checklist.md",
    "compose.yaml", "hashhub.service", "hashhub.toml", "hotline-nl.token", "data/operator.token",
}  # fmt: skip


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def answers(**changed: str) -> dict[str, str]:
    return {
        "name": "National hub of Exampleland",
        "country": "NL",
        "listen": f"127.0.0.1:{free_port()}",
        "http": f"127.0.0.1:{free_port()}",
        "host": "hub.example.org",
        "contributor": "hotline-nl",
        "reliability": "a",
        "scheme": "vic-us",
        **changed,
    }


def init(given: dict[str, str], directory: Path, *options: str) -> Result:
    file = directory.parent / "answers.toml"
    file.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in given.items()), "utf-8")
    return CliRunner().invoke(main, ["init", str(file), "--dir", str(directory), *options], catch_exceptions=False)


def made(given: dict[str, str], directory: Path) -> dict[str, Any]:
    done = init(given, directory, "--json")
    assert done.exit_code == 0, done.stderr
    files: dict[str, Any] = json.loads(done.stdout)
    return files


def left_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if path.name != "answers.toml")


@contextmanager
def started(directory: Path) -> Iterator[Client]:
    """The hub as its unit starts it, and a client that shakes hands by its authority."""
    unit = (directory / "hashhub.service").read_text("utf-8")
    command = re.search(r"^ExecStart=\S+/hashhub (.*)$", unit, re.MULTILINE)
    assert command is not None
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HASHHUB_")}
    with serving("hub", directory / "hub.log", [*command[1].split(), "--json"], environment) as (_, ready):
        authority = (directory / "ca/authority.pem").read_bytes()
        port = ready["listen"].rpartition(":")[2]
        token = (directory / "data/operator.token").read_text("ascii").strip()
        with Client(f"localhost:{port}", token, tls=True, ca_certificates=authority) as hub:
            yield hub


def test_the_hub_starts_takes_a_list_and_matches(tmp_path: Path, database: str) -> None:
    url = database if database.startswith("postgresql") else ""
    if url:
        with_tables = Store.open(url)  # an empty hub's: nobody has a token
        with_tables.close()
    directory = tmp_path / "hub"
    files = made(answers(database=url), directory)
    own = {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}
    assert own >= FILES
    assert ("data/hashhub.db" in own) is not bool(url)
    assert all(stat.S_IMODE(path.stat().st_mode) & 0o077 == 0 for path in (directory, *directory.rglob("*")))
    with started(directory) as hub:
        assert [(c.display_name, c.jurisdiction) for c in hub.list_contributors() if c.id != "hotline-nl"] == [
            ("National hub of Exampleland", "NL")
        ]
        contributor = hub.get_contributor("hotline-nl")
        assert (contributor.jurisdiction, contributor.reliability) == ("NL", "A")
        listed = list_file("vics-2.0", random_items(3, seed=5, values=("1",)))
        (directory / "list.json").write_bytes(listed.data)
        secret = Path(files["contributor_token"]).read_text("ascii").strip()
        authority = Path(files["authority"]).read_bytes()
        port = tomllib.loads(Path(files["settings"]).read_text("utf-8"))["listen"].rpartition(":")[2]
        with Client(f"localhost:{port}", secret, tls=True, ca_certificates=authority) as desk:
            report = desk.import_source(directory / "list.json", hash_set="hotline-nl/known")
            assert report.counts.accepted == 3
            assert next(iter(desk.match([listed.items[0].hashes[0]], policy="any"))).verdict is Verdict.MATCH
    again = init(answers(database=url), tmp_path / "other")
    assert again.exit_code == (1 if url else 0)
    if url:
        assert "is a hub's already" in again.stderr
        assert not (tmp_path / "other").exists()
