"""Fetching on a schedule, the commands, and a real kill."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from click.testing import CliRunner, Result

from hashhub.authority import Authority
from hashhub.cli import main
from hashhub.client import Client
from hashhub.errors import Conflict, Unavailable
from hashhub.model import REPORT, SourceStatus
from hashhub.sources.fetch import fetch
from hashhub.sources.schedule import METRICS, run
from hashhub.sources.state import Progress
from hashhub.testing.hub_process import RunningHub
from tests.patience import PATIENCE, wait_until
from tests.sources.conftest import AddSource, digests_of
from tests.sources.partners import Asked, NCMECPartner, Reply, StopNCIIPartner
from tests.warm import Warm


@contextmanager
def running_schedule(place: Path, hub: Client) -> Iterator[list[tuple[str, Progress]]]:
    told: list[tuple[str, Progress]] = []
    stop = threading.Event()
    thread = threading.Thread(target=run, args=(place, hub, stop, lambda *of: told.append(of)))
    thread.start()
    try:
        yield told
    finally:
        stop.set()
        thread.join()


def test_it_is_fetched_when_it_is_due(hub: Client, add_source: AddSource, tmp_path: Path) -> None:
    rng = random.Random(21)
    with NCMECPartner().serving() as partner:
        hash_set = add_source(partner, interval_seconds=0.1, drop=0.5)
        partner.add(rng)
        with running_schedule(tmp_path, hub) as told:
            wait_until(lambda: digests_of(hub, hash_set) == partner.digests())
            partner.add(rng)
            wait_until(lambda: digests_of(hub, hash_set) == partner.digests())
            with pytest.raises(Conflict, match="one is enough"):
                run(tmp_path, hub, threading.Event(), lambda *_: None)
            for item in list(partner.items.values()):
                partner.remove(item)
            wait_until(lambda: told[-1][1].status is SourceStatus.HELD)
            wait_until(lambda: 'status="HELD"} 1' in (tmp_path / METRICS).read_text())
            count = len(partner.asked)
            assert not threading.Event().wait(2.5)
            assert len(partner.asked) == count  # it waits for a person
    assert f'hashhub_source_fetches_total{{source="partner"}} {told[-1][1].fetches}' in (tmp_path / METRICS).read_text()


def test_who_fails_is_left_alone_for_a_while(hub: Client, add_source: AddSource, tmp_path: Path) -> None:
    with StopNCIIPartner().serving() as partner:
        add_source(partner, interval_seconds=0.1)
        partner.answer = lambda _: Reply(503, b"")
        with running_schedule(tmp_path, hub) as told:
            wait_until(lambda: told)
            assert not threading.Event().wait(2.5)
        assert [progress.status for _, progress in told] == [SourceStatus.FAILED]
        assert len(partner.asked) == 1


@pytest.fixture
def command(running: RunningHub, tmp_path: Path) -> Callable[..., Result]:
    environment = {"HASHHUB_SERVER": running.address, "HASHHUB_TOKEN": running.token, "HASHHUB_SOURCES": str(tmp_path)}

    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(main, ["source", *arguments], env=environment, catch_exceptions=False)

    return invoke


def told_by(done: Result) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_commands(hub: Client, add_source: AddSource, tmp_path: Path, command: Callable[..., Result]) -> None:
    rng = random.Random(22)
    with NCMECPartner().serving() as partner:
        hash_set = add_source(partner)
        (tmp_path / "partner.toml").unlink()
        words = [
            "add", "ncmec", "partner", "--url", partner.url, "--hash-set", hash_set,
            "--credential", f"user=file:{tmp_path}/secret", "--credential", f"password=file:{tmp_path}/secret",
            "--option", "environment=csam", "--interval-seconds", "600",
        ]  # fmt: skip
        assert command(*words).exit_code == 0
        assert "no source" not in command("list").stdout
        again = command(*words)
        assert again.exit_code == 1
        other = command(*words[:2], "other", *words[3:])
        assert other.exit_code == 1
        assert "keeps" in other.stderr
        for _ in range(10):
            partner.add(rng)
        fetched = told_by(command("fetch", "partner", "--json"))
        assert (fetched["status"], fetched["last"]["accepted"]) == ("OK", 10)
        assert digests_of(hub, hash_set) == partner.digests()
        for item in list(partner.items.values())[:5]:
            partner.remove(item)
        held = command("fetch", "partner", "--json")
        assert (held.exit_code, told_by(held)["status"], told_by(held)["would"]["withdrawn"]) == (1, "HELD", 5)
        assert "partner: it would withdraw 5 entries" in command("list").stderr
        assert "HELD" in command("show", "partner").stdout
        (tmp_path / "broken.toml").write_text("protocol = 5")
        assert "broken" in command("list").stderr
        assert told_by(command("show", "partner", "--json"))["status"] == "HELD"
        (tmp_path / "broken.toml").unlink()
        (tmp_path / "broken.db").unlink()
        assert command("fetch", "partner", "--apply").exit_code == 0
        assert digests_of(hub, hash_set) == partner.digests()
        assert "sesame" not in command("show", "partner", "--json").stdout
        partner.answer = lambda _: Reply(503, b"")
        assert command("fetch", "partner").exit_code == 3
        assert command("remove", "partner").exit_code == 0
        assert {file.name for file in tmp_path.iterdir()} == {"secret", REPORT, METRICS}
        assert command("show", "partner").exit_code == 1


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("misp", "a", "--url", "http://partner.example/"), "https URL"),
        (("misp", "a", "--url", "https://partner.example/?key=1"), "without a query"),
        (("misp", "A/b", "--url", "https://partner.example/"), "must be at most 63"),
        (("ncmec", "a", "--url", "https://partner.example/"), "must be user, password"),
        (("ncmec", "a", "--url", "https://partner.example/", "--credential", "user=bob"), "must be file:PATH"),
        (("misp", "a", "--url", "https://partner.example/", "--option", "no=1"), "is no option of misp"),
        (("misp", "a", "--url", "https://partner.example/", "--interval-seconds", "0"), "must be at least"),
    ],
)
def test_what_cannot_work_is_refused_as_it_is_added(
    words: tuple[str, ...], expected: str, command: Callable[..., Result], tmp_path: Path
) -> None:
    done = command("add", *words, "--hash-set", "line/any")
    assert done.exit_code == 1
    assert expected in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_killed_process_loses_nothing(
    running: RunningHub, hub: Client, add_source: AddSource, tmp_path: Path, warmed: Warm
) -> None:
    rng = random.Random(23)
    with StopNCIIPartner().serving() as partner:
        hash_set = add_source(partner)
        for _ in range(60):
            partner.add(rng)
        stuck, gone_on = threading.Event(), threading.Event()

        def answer(_: Asked) -> None:
            if len(partner.asked) == 5:
                stuck.set()
                gone_on.wait(PATIENCE)

        partner.answer = answer
        environment = {
            "HASHHUB_SERVER": running.address, "HASHHUB_TOKEN": running.token, "HASHHUB_SOURCES": str(tmp_path),
            "PATH": "/usr/bin:/bin",
        }  # fmt: skip
        with subprocess.Popen([str(warmed.program), "source", "fetch", "partner"], env=environment) as process:
            assert stuck.wait(PATIENCE)
            file = Path(f"{warmed.program}.{process.pid}")
            wait_until(file.exists)

            os.kill(int(file.read_text()), signal.SIGKILL)
        gone_on.set()
        assert digests_of(hub, hash_set) == set()
        partner.asked.clear()
        fetch(tmp_path, "partner", hub)
        assert len(partner.asked) == 9 - 4  # four pages are there
        assert digests_of(hub, hash_set) == partner.digests()


def test_the_partners_certificate_is_checked(hub: Client, add_source: AddSource, tmp_path: Path) -> None:
    ours = Authority.create(tmp_path / "ours", "ours")
    others = Authority.create(tmp_path / "others", "others")
    for authority in (ours, others):
        authority.issue("partner", ("DNS:localhost",), days=1, server=True)
    with StopNCIIPartner().serving() as partner:
        partner.add(random.Random(24))
        with _tls_before(partner.url, tmp_path / "ours") as url:
            plain, partner.url = partner.url, url
            hash_set = add_source(partner, ca_file=str(tmp_path / "others" / "authority.pem"))
            with pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
                fetch(tmp_path, "partner", hub)
            assert partner.asked == []
            file = tmp_path / "partner.toml"
            file.write_text(file.read_text().replace("/others/", "/ours/"))
            assert fetch(tmp_path, "partner", hub).status is SourceStatus.OK
            assert digests_of(hub, hash_set) == partner.digests()
            partner.url = plain


@contextmanager
def _tls_before(url: str, authority: Path) -> Iterator[str]:
    """Give the URL of a server that takes TLS and passes GETs on."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            _pass_on(self, url.removesuffix("/base") + self.path)

        def log_message(self, *_: object) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "partner.pem", authority / "partner.key")

    class Server(ThreadingHTTPServer):
        def get_request(self) -> tuple[socket.socket, Any]:
            connection, address = super().get_request()
            return context.wrap_socket(connection, server_side=True), address

        def handle_error(self, *_: object) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"https://localhost:{server.server_port}/base"
    server.shutdown()
    thread.join()
    server.server_close()


def _pass_on(handler: BaseHTTPRequestHandler, url: str) -> None:
    from urllib.request import Request

    names = ("x-functions-key", "ocp-apim-subscription-key")
    request = Request(url, headers={name: handler.headers[name] for name in names})  # noqa: S310 - the mock's
    with urlopen(request) as answer:  # noqa: S310 - likewise
        body = answer.read()
    handler.send_response(200)
    handler.send_header("content-length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def test_a_proxy_is_used_where_one_is_set(hub: Client, add_source: AddSource, tmp_path: Path) -> None:
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.headers["proxy-authorization"])
            _pass_on(self, self.path)

        def log_message(self, *_: object) -> None:
            pass

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=proxy.serve_forever, args=(0.05,))
    thread.start()
    secret = tmp_path / "proxy"
    secret.write_text(f"http://me:word@127.0.0.1:{proxy.server_port}")
    secret.chmod(0o600)
    try:
        with StopNCIIPartner().serving() as partner:
            partner.add(random.Random(25))
            hash_set = add_source(partner, proxy=f"file:{secret}")
            fetch(tmp_path, "partner", hub)
            assert digests_of(hub, hash_set) == partner.digests()
        assert asked == ["Basic bWU6d29yZA=="]
    finally:
        proxy.shutdown()
        thread.join()
        proxy.server_close()
