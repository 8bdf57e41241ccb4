"""Matrix.org's policyserv at a hub: its `content/hma.go` with `harms`, unedited (commit
1c5dc229fc4f4257f808c2b60f1a2f5bb5e5f9f3, Apache 2.0), with a stub for its metrics. Needs Go 1.24.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.partners.conftest import HMAClient, blank, client, hub, picture
from tests.server.conftest import Serve, Served, patient_matchers, serve_hub

__all__ = ["blank", "hub", "patient_matchers", "picture", "serve_hub"]

Scan = Callable[..., str]


@pytest.fixture(scope="session")
def scanner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Policyserv's scanner as a program."""
    if not shutil.which("go"):
        pytest.skip("there is no Go on this machine")
    to = tmp_path_factory.mktemp("go")
    environment = {**os.environ, "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=mod", "GOPROXY": "off", "GOCACHE": str(to)}
    subprocess.run(
        ["go", "build", "-o", str(to / "scanner"), "."],
        cwd=Path(__file__).with_name("policyserv"),
        env=environment,
        check=True,
    )
    return to / "scanner"


@pytest.fixture
def scan(scanner: Path, tmp_path: Path) -> Scan:
    def scan(here: HMAClient, content: bytes, kind: str = "photo", *, address: str = "") -> str:
        file = tmp_path / "file"
        file.write_bytes(content)
        url = f"http://{address or here.address}/hma"
        command = [str(scanner), url, here.token, kind, str(file), "KNOWN"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=100).stdout.strip()

    return scan


def test_known_pictures_and_videos_are_prohibited_and_others_not(
    hub: Served, scan: Scan, picture: bytes, blank: bytes
) -> None:
    home = client(hub)
    for name in ("KNOWN", "OTHER"):
        assert home.json("POST", "/c/banks", {"name": name}).status == 201
    assert scan(home, picture) == "Neutral"
    assert scan(home, blank) == "Neutral"
    for field, content in (("photo", picture), ("video", b"not a video")):
        assert home.file("/c/bank/OTHER/content", field, content).status == 200
        assert scan(home, content, field) == "Neutral"  # in a bank that policyserv was not told of
        assert home.file("/c/bank/KNOWN/content", field, content).status == 200
        assert scan(home, content, field) == "Prohibited"


def test_what_could_not_be_looked_for_is_an_error(
    serve_hub: Serve, hub: Served, scan: Scan, picture: bytes, without_token: Callable[[str], str]
) -> None:
    home = client(hub)
    assert scan(home, b"no picture").startswith("error:")
    assert scan(HMAClient(home.address, "hh_nobody"), picture).startswith("error:")
    assert scan(client(serve_hub(start=False)), picture).startswith("error:")
    # It looks at no status of a lookup: what the hub answers must not be an answer without banks to it.
    assert scan(home, picture, address=without_token(home.address)).startswith("error:")


@pytest.fixture
def without_token() -> Iterator[Callable[[str], str]]:
    """Return a function that gives the address of a proxy that loses the token on the way to a lookup."""
    servers: list[ThreadingHTTPServer] = []

    def start(address: str) -> str:
        class Proxy(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.hand_on({})

            def do_POST(self) -> None:
                names = ("authorization", "content-type")
                self.hand_on({name: self.headers[name] for name in names})

            def hand_on(self, headers: dict[str, str]) -> None:
                host, _, port = address.rpartition(":")
                connection = HTTPConnection(host, int(port), timeout=60)
                connection.request(
                    self.command, self.path, self.rfile.read(int(self.headers["content-length"] or 0)), headers
                )
                answer = connection.getresponse()
                body = answer.read()
                connection.close()
                self.send_response(answer.status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
