"""`hashhub init`: what it writes makes a hub that starts and matches; whatever goes wrong, nothing is left."""

from __future__ import annotations

import configparser
import json
import os
import pty
import re
import select
import shutil
import socket
import stat
import subprocess
import sys
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
from hashhub.testing.hub_process import serving
from hashhub.testing.lists import list_file, random_items
from tests.disks import fill, small_disk
from tests.docs.test_handbook import blocks
from tests.killed import Steps, killable
from tests.warm import Warm

ROOT = Path(__file__).parents[2]

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
    file = directory.parent.with_name(f"{directory.parent.name}-answers.toml")
    file.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in given.items()), "utf-8")
    return CliRunner().invoke(main, ["init", str(file), "--dir", str(directory), *options], catch_exceptions=False)


def made(given: dict[str, str], directory: Path) -> dict[str, Any]:
    done = init(given, directory, "--json")
    assert done.exit_code == 0, done.stderr
    files: dict[str, Any] = json.loads(done.stdout)
    return files


def left_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@contextmanager
def started(directory: Path) -> Iterator[tuple[str, Client]]:
    """The hub as its unit starts it: its address, and an operator's client that trusts its authority."""
    unit = (directory / "hashhub.service").read_text("utf-8")
    command = re.search(r"^ExecStart=\S+/hashhub (.*)$", unit, re.MULTILINE)
    assert command is not None
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HASHHUB_")}
    with serving("hub", directory / "hub.log", [*command[1].split(), "--json"], environment) as (_, ready):
        authority = (directory / "ca/authority.pem").read_bytes()
        server = f"localhost:{ready['listen'].rpartition(':')[2]}"
        token = (directory / "data/operator.token").read_text("ascii").strip()
        with Client(server, token, tls=True, ca_certificates=authority) as hub:
            yield server, hub


def list_of(directory: Path) -> tuple[Path, str]:
    """Write a list of three items, and return its file with a hash of it."""
    items = random_items(3, seed=5, values=("1",))
    path = directory / "list.json"
    path.write_bytes(list_file("vics-2.0", items).data)
    return path, "{}:{}".format(*items[0].digests[0])


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_the_hub_starts_takes_a_list_and_matches(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest, warmed: Warm
) -> None:
    url = "" if kind == "sqlite" else request.getfixturevalue("postgresql").create_database()
    directory = tmp_path / "hub"
    files = made(answers(database=url, sources="ncmec, misp", readers="police-de"), directory)
    own = {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}
    assert own >= FILES
    assert ("data/hashhub.db" in own) is not bool(url)
    assert all(stat.S_IMODE(path.stat().st_mode) & 0o077 == 0 for path in (directory, *directory.rglob("*")))
    source, listed = list_of(tmp_path)
    with warmed.used(), started(directory) as (server, hub):
        assert {(c.id, c.jurisdiction) for c in hub.list_contributors()} == {("operator", "NL"), ("hotline-nl", "NL")}
        assert hub.get_contributor("operator").display_name == "National hub of Exampleland"
        by = {"HASHHUB_SERVER": server, "HASHHUB_TOKEN_FILE": files["contributor_token"]}
        tls = ("--tls", "--ca-file", files["authority"])
        for line in (
            ("import", str(source), "--hash-set", "hotline-nl/known", *tls),
            ("match", "--hash", listed, "--policy", "any", *tls),
        ):
            done = CliRunner().invoke(main, line, env=by, catch_exceptions=False)
            assert done.exit_code == 0, done.stderr
        assert done.stdout.startswith("MATCH ")
    again = init(answers(database=url), tmp_path / "other")
    assert again.exit_code == (1 if url else 0), again.stderr
    assert not url or ("is a hub's already" in again.stderr and left_in(tmp_path) == ["hub", "list.json"])


def test_what_is_there_is_named_and_stays(tmp_path: Path) -> None:
    directory = tmp_path / "hub"
    directory.mkdir()
    for name in ("hashhub.toml", "mine.txt"):
        (directory / name).write_text("mine", "utf-8")
    done = init(answers(), directory)
    assert done.exit_code == 1
    assert all(str(directory / name) in done.stderr for name in ("hashhub.toml", "mine.txt"))
    assert left_in(directory) == ["hashhub.toml", "mine.txt"]
    assert left_in(tmp_path) == ["hub"]
    (directory / "mine.txt").unlink()
    (directory / "hashhub.toml").unlink()
    made(answers(), directory)  # an empty one will do
    before = (directory / "data/operator.token").read_bytes()
    assert init(answers(), directory).exit_code == 1
    assert (directory / "data/operator.token").read_bytes() == before


def test_all_faults_of_a_file_are_told_at_once(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        wrong = answers(
            country="UK",
            listen=address,
            http=f"0.0.0.0:{free_port()}",
            contributor="Hotline NL",
            contributor_country="Netherlands",
            contributor_kind="club",
            reliability="z",
            scheme="vic",
            sources="ncmec, friends",
            readers="police_de",
            database="mysql://hub",
            tls_key="server.key",
            hash_sett="known",
        )
        done = init(wrong, tmp_path / "hub", "--json")
    assert done.exit_code == 1
    message = json.loads(done.stdout)["error"]["message"]
    for field in set(wrong) - {"name", "host"}:
        assert f" {field} " in message
    assert address in message
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("name", ["name", "country", "contributor", "scheme", "host"])
def test_what_must_be_answered_is_not_chosen_for_you(tmp_path: Path, name: str) -> None:
    given = answers()
    del given[name]
    done = init(given, tmp_path / "hub")
    assert done.exit_code == 1
    assert f"{name} must be a text" in done.stderr
    assert ";" not in done.stderr  # one fault, told once
    assert left_in(tmp_path) == []


def test_a_certificate_that_members_would_refuse_is_refused_here(tmp_path: Path) -> None:
    authority = Authority.create(tmp_path / "pki", "of a country")
    for name, days in (("hub", 30), ("old", 0), ("other", 30)):
        authority.issue(name, ("DNS:hub.example.org",), days=days, server=True)

    def said(certificate: str, key: str, **changed: str) -> str:
        files = {"tls_certificate": f"{tmp_path}/pki/{certificate}", "tls_key": f"{tmp_path}/pki/{key}"}
        done = init(answers(**files, **changed), tmp_path / "hub")
        assert done.exit_code == (0 if done.stdout else 1)
        return done.stderr

    assert "KEY_VALUES_MISMATCH" in said("hub.pem", "other.key")
    assert "expired" in said("old.pem", "old.key")
    assert "Hostname mismatch" in said("hub.pem", "hub.key", host="hub.example.net")
    assert "No such file" in said("gone.pem", "hub.key")
    assert not (tmp_path / "hub").exists()
    assert said("hub.pem", "hub.key") == ""
    settings = load(tmp_path / "hub/hashhub.toml", {})
    assert settings.tls_key == f"{tmp_path}/pki/hub.key"
    assert not (tmp_path / "hub/ca").exists()
    compose = yaml.safe_load((tmp_path / "hub/compose.yaml").read_text("utf-8"))
    assert f"{tmp_path}/pki:{tmp_path}/pki:ro" in compose["services"]["hub"]["volumes"]


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    given = answers()
    with small_disk(tmp_path / "disk", 8) as disk:
        for room in (0, 4_096, 40_000, 200_000):
            filler = fill(disk, room)
            done = init(given, disk / "hub")
            assert done.exit_code != 0
            assert "disk" in done.stderr
            filler.unlink()
            assert left_in(disk) == []
        assert init(given, disk / "hub").exit_code == 0


def test_a_directory_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    for place, said in ((Path("/proc/hub"), "cannot be written"), (tmp_path / "a hub", "must be a path of")):
        file = tmp_path / "given.toml"
        file.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in answers().items()), "utf-8")
        done = CliRunner().invoke(main, ["init", str(file), "--dir", str(place)], catch_exceptions=False)
        assert done.exit_code == 1
        assert said in done.stderr


def make_in(argument: str, steps: Steps) -> None:
    directory, database = argument.split()
    steps.count_files_in(directory)
    chosen = dict.fromkeys(("tls_certificate", "tls_key", "database_password_file", "sources", "readers"), "")
    more = {"contributor_name": "x", "contributor_kind": "hotline", "contributor_country": "NL", "hash_set": "known"}
    install(answers(**chosen, **more, database="" if database == "-" else database), Path(directory))


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_kill_leaves_a_whole_directory_or_none(tmp_path: Path, kind: str, request: pytest.FixtureRequest) -> None:
    url = "-" if kind == "sqlite" else request.getfixturevalue("postgresql").create_database()
    killed = whole = 0
    with killable(make_in) as process:
        for step in [*range(1, 60, 4), *range(60, 400, 10)]:
            directory = tmp_path / f"hub-{step}"
            code = process.work(f"{directory} {url}", step)
            if directory.exists():
                whole += 1
                assert load(directory / "hashhub.toml", {}).database == ("" if url == "-" else url)
                assert {str(p.relative_to(directory)) for p in directory.rglob("*") if p.is_file()} >= FILES
            if code == 0:
                break
            killed += 1
    assert code == 0
    assert killed > 10
    assert whole >= 1


def test_the_unit_is_as_systemd_has_it_and_as_the_handbook(tmp_path: Path) -> None:
    directory = tmp_path / "hub"
    made(answers(), directory)
    if (systemd := shutil.which("systemd-analyze")) is not None:
        elsewhere = tmp_path / "hashhub.service"  # it refuses directories of tests that are in memory
        text = (directory / "hashhub.service").read_text("utf-8")
        elsewhere.write_text(text.replace(str(directory), "/srv/hub"), "utf-8")
        done = subprocess.run([systemd, "verify", elsewhere], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "hashhub" not in done.stderr
    handbook = next(block for block in blocks("operate/install") if block.file.endswith(".service"))
    units = []
    for text in (handbook.text, (directory / "hashhub.service").read_text("utf-8")):
        unit = configparser.ConfigParser(interpolation=None)
        unit.optionxform = str  # type: ignore[assignment,method-assign] # names have capitals
        unit.read_string(text)
        units.append(unit)
    of_places = {"ExecStart", "WorkingDirectory", "ReadWritePaths", "Environment", "ProtectHome"}
    theirs, ours = ({k: v for k, v in unit["Service"].items() if k not in of_places} for unit in units)
    assert {k: v for k, v in theirs.items() if not k.startswith("StateDirectory")} == ours


def test_the_compose_file_is_hardened_as_docker_s(tmp_path: Path) -> None:
    made(answers(), tmp_path / "hub")
    ours = yaml.safe_load((tmp_path / "hub/compose.yaml").read_text("utf-8"))["services"]["hub"]
    theirs = yaml.safe_load((ROOT / "docker/compose.yaml").read_text("utf-8"))["services"]["hub"]
    for name in ("read_only", "tmpfs", "cap_drop", "security_opt", "restart"):
        assert ours[name] == theirs[name]
    assert ours["command"] == ["serve", "--config", f"{tmp_path}/hub/hashhub.toml"]
    assert ours["build"]["dockerfile"] == "docker/Dockerfile"
    assert (ROOT / ours["build"]["dockerfile"]).exists()


def test_on_a_terminal_a_wrong_answer_is_asked_again(tmp_path: Path) -> None:
    given = answers()
    script = [
        ("Name of the hub", "National hub"),
        ("Its country", "uk"),
        ("country must be an ISO 3166-1", ""),
        ("Its country", "NL"),
        ("Address that it listens on", given["listen"]),
        ("Address on this machine", given["http"]),
        ("PEM file with its certificate", ""),
        ("DNS name or IP address", "hub.example.org"),
        ("PostgreSQL database", "postgresql+psycopg://hub@127.0.0.1:1/hub"),
        ("File with the database's password", ""),
        ("nothing listens on 127.0.0.1:1", ""),
        ("PostgreSQL database", " "),
        ("Id of the first contributor", "hotline-nl"),
        ("Its name, for people [hotline-nl]", ""),
        ("What it is", ""),
        ("Its country [NL]", ""),
        ("Your judgement", "a"),
        ("Id of its first hash set [known]", ""),
        ("vic-us@2.0", ""),
        ("Classification scheme", "vic-us"),
        ("Partners whose lists", ""),
        ("Ids of partners", ""),
        ("made National hub", ""),
    ]
    shown = typed(["init", "--dir", str(tmp_path / "hub")], script)
    assert "\x1b[33m" in shown
    assert load(tmp_path / "hub/hashhub.toml", {}).listen == given["listen"]


def typed(arguments: list[str], script: list[tuple[str, str]]) -> str:
    """Run a command on a terminal, waiting for each text and typing what stands beside it; return what was shown."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "200", "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-m", "hashhub.cli", *arguments], stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    )
    os.close(theirs)
    shown, seen = "", 0
    try:
        for awaited, answer in script:
            while (at := shown.find(awaited, seen)) < 0:
                more = read_terminal(ours)
                assert more, f"{awaited!r} was not shown:\n{shown}"
                shown += more
            seen = at + len(awaited)
            if awaited != script[-1][0] and not awaited.startswith(("country must", "nothing listens", "vic-us@")):
                os.write(ours, f"{answer}\n".encode())
        while more := read_terminal(ours):
            shown += more
        assert process.wait(60) == 0, shown
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    return shown


def read_terminal(terminal: int) -> str:
    """Return what is shown next, empty once the command has ended."""
    try:
        return os.read(terminal, 65_536).decode() if select.select([terminal], [], [], 60)[0] else ""
    except OSError:  # Linux says so that nobody has the other end any more
        return ""
