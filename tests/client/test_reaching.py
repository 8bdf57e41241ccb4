"""Why a hub cannot be reached, asked of real servers that are not what the client takes them for."""

from __future__ import annotations

import http.server
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from hashhub.client import Client
from hashhub.errors import HashHubError, InvalidArgument, Reason, Unavailable
from hashhub.testing.hub_process import RunningHub
from tests.relay import slow_way_to


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """A certificate for localhost, and its key."""
    place = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-keyout", place / "key.pem", "-out", place / "certificate.pem", "-days", "2"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
        ],
        check=True,
        capture_output=True,
    )
    return (place / "certificate.pem").read_bytes(), (place / "key.pem").read_bytes()


@pytest.fixture(scope="module")
def plain() -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(2))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


@pytest.fixture(scope="module")
def secured(pair: tuple[bytes, bytes]) -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(2))
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(pair[1], pair[0])]))
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def fault(address: str, *, retry_seconds: float = 600.0, **settings: Any) -> HashHubError:
    """Return what a call says; it has ten minutes to try again where that may help."""
    with (
        Client(address, "t", retry_seconds=retry_seconds, timeout=20, **settings) as client,
        pytest.raises(HashHubError) as caught,
    ):
        client.status()
    return caught.value


def test_nothing_listens() -> None:
    error = fault("127.0.0.1:1", retry_seconds=0)
    assert isinstance(error, Unavailable)
    assert error.reason is Reason.SERVER_UNAVAILABLE
    assert "nothing listens on 127.0.0.1:1; start the hub" in error.message


def test_a_host_that_nobody_knows() -> None:
    error = fault("no-such-host.invalid:8470", retry_seconds=0, tls=False)
    assert "host of no-such-host.invalid:8470 is not known" in error.message


def test_tls_spoken_to_a_plain_hub(plain: str) -> None:
    error = fault(plain, tls=True)
    assert f"{plain} speaks no TLS" in error.message
    assert "--no-tls" in error.message


def test_plain_spoken_to_a_hub_with_tls(secured: str) -> None:
    error = fault(secured, retry_seconds=0)
    assert "closed the connection" in error.message
    assert "speak TLS" in error.message


def test_a_certificate_of_an_authority_that_is_not_trusted(secured: str) -> None:
    error = fault(secured, tls=True)
    assert "authority" in error.message
    assert "--ca-file" in error.message


def test_a_certificate_for_another_name(secured: str, pair: tuple[bytes, bytes]) -> None:
    assert "for another name" in fault(secured, ca_certificates=pair[0]).message


def test_the_http_address_instead_of_grpc_s(web: str) -> None:
    error = fault(web)
    assert "HTTP address" in error.message
    assert "8470" in error.message


@pytest.mark.parametrize("address", ["http://127.0.0.1:8471", "https://hub.example", "grpc://hub:1", "unix:///x"])
def test_a_url_instead_of_an_address(address: str) -> None:
    if address.startswith("unix:"):
        Client(address, "t").close()
        return
    with pytest.raises(InvalidArgument, match="HOST:PORT of the hub's gRPC service"):
        Client(address, "t")


def test_what_somebody_has_to_correct_is_told_at_once_and_what_may_pass_is_waited_for(web: str) -> None:
    began = time.monotonic()
    fault(web)
    assert time.monotonic() - began < 60, "it did not wait for ten minutes"
    attempts: list[str] = []
    server = grpc.server(ThreadPoolExecutor(1))
    with socket.socket() as kept:  # nobody else takes the port before it is listened on
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        kept.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{kept.getsockname()[1]}"

        def start() -> None:
            time.sleep(0.5)
            attempts.append("started")
            server.add_insecure_port(address)
            server.start()

        threading.Thread(target=start).start()
        error = fault(address, retry_seconds=60)
        server.stop(None).wait()
    assert attempts == ["started"]
    assert not isinstance(error, Unavailable), "it was reached, and does not know the call"


def test_a_connection_that_takes_half_a_second_is_made_at_the_first_attempt(hub: RunningHub) -> None:
    """As with TLS to another continent, or on a busy machine."""
    with slow_way_to(hub.address) as way, Client(way.address, hub.token, timeout=30.0, retry_seconds=0.0) as client:
        threading.Timer(0.5, way.opens.set).start()
        assert client.status().revision >= 0
        assert way.connections == 1
