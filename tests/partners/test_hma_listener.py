"""The listener for clients of HMA that send no token, and the settings that it needs."""

from __future__ import annotations

import logging
import socket
import stat
from http.client import HTTPConnection
from pathlib import Path

import pytest

from hashhub.config import Config
from hashhub.errors import HashHubError, InvalidArgument
from hashhub.hub import Hub
from hashhub.model import Principal, Role
from hashhub.server.listeners import Listeners
from tests.partners.conftest import HMAClient
from tests.server.conftest import OPERATOR, Serve, Served

SIGNAL = "facd8bcb2a49bcebdec1985298d5fe84bcd006c187c598c720c3c087b3fdb318"


def bound(serve_hub: Serve, tmp_path: Path, address: str = "127.0.0.1:0") -> tuple[Served, Path]:
    """A hub whose address is bound to its contributor's token, which stands in a file."""
    file = tmp_path / "token"
    file.write_text("hh_not_yet\n", "ascii")
    served = serve_hub(listen_hma=address, hma_bound_token_file=str(file), hma_purpose="test")
    file.write_text(served.tokens["CONTRIBUTOR"] + "\n", "ascii")
    return served, file


def reach(address: str) -> HMAClient:
    return HMAClient(address, prefix="")


def test_whoever_reaches_it_is_the_token_that_it_is_bound_to(serve_hub: Serve, tmp_path: Path) -> None:
    served, file = bound(serve_hub, tmp_path)
    here = reach(served.doors.hma_address)
    assert here.get("/status").body == b"I-AM-ALIVE"
    assert here.json("POST", "//c/banks", {"name": "BANK"}).status == 201
    assert here.json("POST", "/c/bank/BANK/signal", {"pdq": SIGNAL}).status == 200
    assert here.lookup(SIGNAL).json.keys() == {"BANK"}
    # It is that token whatever a client says.
    here.token = served.tokens["OPERATOR"]
    assert here.get("/m/index/status").json["pdq"]["size"] == -1
    # Nothing else is to be had there.
    for path in ("/hma/c/banks", "/healthz", "/metrics", "/hashhub.v1.AdminService/GetStatus"):
        assert here.get(path).status == 404, path
    # The token is replaced.
    _, reader = served.hub.tokens.create(OPERATOR, Principal(name="r", role=Role.CONSUMER, contributor="home"))
    file.write_text(reader, "ascii")
    assert here.get("/c/banks").status == 403
    file.write_text("", "ascii")
    assert here.lookup(SIGNAL).status == 503
    file.unlink()
    assert here.lookup(SIGNAL).status == 503


def test_web_pages_on_this_machine_reach_nothing(serve_hub: Serve, tmp_path: Path) -> None:
    served, _ = bound(serve_hub, tmp_path)
    here = reach(served.doors.hma_address)
    port = served.doors.hma_address.rpartition(":")[2]
    for headers in ({"origin": "https://evil.example"}, {"host": f"evil.example:{port}"}, {"host": "evil.example"}):
        assert here.send("GET", "/c/banks", None, headers).status == 403, headers
        assert here.send("POST", "/m/lookup", b"x", headers).status == 403, headers
    for host in (f"localhost:{port}", f"127.0.0.1:{port}", f"[::1]:{port}", "LOCALHOST"):
        assert here.send("GET", "/c/banks", None, {"host": host}).status == 200, host


def test_a_socket_in_the_file_system(serve_hub: Serve, tmp_path: Path) -> None:
    path = tmp_path / "hma.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))  # by a hub that ended without a word
    served, file = bound(serve_hub, tmp_path, f"unix:{path}")
    assert served.doors.hma_address == f"unix:{path}"
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    connection = HTTPConnection("hma.example")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(path))
    connection.request("GET", "/c/banks")
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (200, b"[]")
    connection.close()
    with pytest.raises(HashHubError, match="cannot listen"):
        serve_hub(listen_hma=f"unix:{path}", hma_bound_token_file=str(file))
    served.doors.close()
    assert not path.exists()


def test_the_start_says_whose_everything_is(serve_hub: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "token"
    file.write_text("hh_unknown", "ascii")
    with caplog.at_level(logging.WARNING, "hashhub.server"):
        served = serve_hub(listen_hma="127.0.0.1:0", hma_bound_token_file=str(file))
    assert f"{served.doors.hma_address} (listen_hma) lets nobody in" in caplog.text
    assert reach(served.doors.hma_address).lookup(SIGNAL).status == 401
    served.doors.close()
    file.write_text(served.tokens["CONTRIBUTOR"], "ascii")
    config = Config(
        data=str(tmp_path), listen="127.0.0.1:0", http="", listen_hma="127.0.0.1:0", hma_bound_token_file=str(file)
    )
    with caplog.at_level(logging.WARNING, "hashhub.server"):
        doors = _listen(served.hub, config)
    assert f"{doors.hma_address} (listen_hma) asks nobody for a token" in caplog.text
    assert "is token contributor, role CONTRIBUTOR, contributor home" in caplog.text
    assert served.tokens["CONTRIBUTOR"] not in caplog.text
    doors.close()


def _listen(hub: Hub, config: Config) -> Listeners:
    return Listeners(hub, config)


@pytest.mark.parametrize(
    ("field", "settings"),
    [
        ("listen_hma", {"listen_hma": "127.0.0.1:8480"}),
        ("listen_hma", {"listen_hma": "0.0.0.0:8480", "hma_bound_token_file": "x"}),
        ("listen_hma", {"listen_hma": "hub.example:8480", "hma_bound_token_file": "x", "insecure_listen": True}),
        ("listen_hma", {"listen_hma": "unix:", "hma_bound_token_file": "x"}),
        ("listen_hma", {"listen_hma": "unix:/run/x", "hma_bound_token_file": "x", "workers": 2}),
        ("hma_distances", {"hma_distances": "BANK"}),
        ("hma_distances", {"hma_distances": "257"}),
        ("hma_distances", {"hma_distances": "BANK=-1"}),
        ("hma_policies", {"hma_policies": "any, BANK="}),
    ],
)
def test_settings_that_cannot_work_are_refused(field: str, settings: dict[str, object]) -> None:
    with pytest.raises(InvalidArgument) as refused:
        Config(**settings)  # type: ignore[arg-type]
    assert [v.field for v in refused.value.violations] == [field]


def test_a_token_file_that_is_not_there_stops_the_start(serve_hub: Serve, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="hma_bound_token_file"):
        serve_hub(listen_hma="127.0.0.1:0", hma_bound_token_file=str(tmp_path / "none"))
