"""The console beside a real hub: it starts with it, again when it is killed, and ends with it however that ends."""

from __future__ import annotations

import contextlib
import signal
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
from click.testing import CliRunner

from hashhub.authority import Authority
from hashhub.cli import main
from hashhub.testing.hub_process import RunningHub
from tests.warm import Warm

SECONDS = 30.0


def until(true: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + SECONDS
    while not (value := true()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return value


def consoles(hub: RunningHub) -> list[psutil.Process]:
    children = psutil.Process(hub.pid).children(recursive=True)
    return [child for child in children if "hashhub.console" in child.cmdline()]


@pytest.fixture
def hub(warmed: Warm, tmp_path: Path) -> Any:
    with warmed.hub(tmp_path / "hub", "--console", "127.0.0.1:0") as running:
        yield running


def _link(hub: RunningHub) -> str:
    done = CliRunner().invoke(
        main, ["console", "link", "--server", hub.address, "--token-file", str(hub.token_file), "--data", str(hub.data)]
    )
    assert done.exit_code == 0, done.stderr
    return done.stdout.strip()


def test_it_starts_again_and_ends_with_the_hub(hub: RunningHub) -> None:
    url = _link(hub)
    with httpx.Client(follow_redirects=False, timeout=SECONDS) as browser:
        answer = until(lambda: browser.get(url))
        assert answer.status_code == 303
        cookie = answer.headers["set-cookie"].partition(";")[0]
        [first] = consoles(hub)
        first.send_signal(signal.SIGKILL)
        first.wait(SECONDS)
        origin = url.partition("/sign-in")[0]
        # It waits in the queue of the socket until there is a console again, and the session holds.
        assert browser.get(f"{origin}/reader", headers={"cookie": cookie}).status_code == 200
    [second] = consoles(hub)
    assert second.pid != first.pid
    psutil.Process(hub.pid).kill()
    second.wait(SECONDS)


def test_it_speaks_tls_takes_a_renewed_certificate_and_waits_for_nobodys_handshake(
    warmed: Warm, tmp_path: Path
) -> None:
    authority = Authority.create(tmp_path / "ca", "test")
    chain = authority.issue("server", ["IP:127.0.0.1", "DNS:localhost"], days=1, server=True)
    root = tmp_path / "ca/authority.pem"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = {
        "console": "127.0.0.1:0", "console_hub": f"localhost:{port}", "console_hub_ca": root,
        "tls_certificate": chain, "tls_key": chain.with_suffix(".key"),
    }  # fmt: skip
    settings = tmp_path / "hub.toml"
    settings.write_text("".join(f'{name} = "{value}"\n' for name, value in arguments.items()))
    with warmed.hub(tmp_path / "hub", "--config", str(settings), "--listen", f"127.0.0.1:{port}") as hub:
        link = ["console", "link", "--server", f"localhost:{port}", "--ca-file", str(root)]
        done = CliRunner().invoke(main, [*link, "--token-file", str(hub.token_file), "--data", str(hub.data)])
        assert done.exit_code == 0, done.stderr
        url = done.stdout.strip()
        address = str(urlsplit(url).hostname), int(urlsplit(url).port or 0)
        trusted = ssl.create_default_context(cafile=str(root))

        def serial() -> str:
            with (
                socket.create_connection(address, SECONDS) as plain,
                trusted.wrap_socket(plain, server_hostname="localhost") as secured,
            ):
                return str(secured.getpeercert()["serialNumber"])  # type: ignore[index]

        with contextlib.ExitStack() as silent, httpx.Client(verify=trusted, timeout=SECONDS) as browser:
            for _ in range(20):  # who connects and says nothing
                silent.enter_context(socket.create_connection(address, SECONDS))
            answer = browser.get(url)
            assert answer.status_code == 303
            cookie = answer.headers["set-cookie"].partition(";")[0]
            origin = url.partition("/sign-in")[0]
            assert browser.get(f"{origin}/reader", headers={"cookie": cookie}).status_code == 200
            first = serial()
            authority.renew("server", days=1)
            assert until(lambda: serial() != first)
