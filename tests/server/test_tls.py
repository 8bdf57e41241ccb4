"""TLS with certificates made here."""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import socket
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from hashhub import v1
from hashhub.errors import InvalidArgument
from hashhub.server import listeners
from tests.server.conftest import OPERATOR
from tests.server.test_metrics import scrape, value

if TYPE_CHECKING:
    from tests.server.conftest import Serve, Served


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """Return a self-signed certificate for 127.0.0.1 and its key, as PEM files."""
    return _made(tmp_path)


def _made(directory: Path, *, days_old: float = 1, days_left: float = 1) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=days_old))
        .not_valid_after(now + dt.timedelta(days=days_left))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (directory / "certificate.pem").write_bytes(made.public_bytes(pem))
    (directory / "key.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return directory / "certificate.pem", directory / "key.pem"


def test_calls_over_tls(serve_hub: Serve, certificate: tuple[Path, Path]) -> None:
    chain, key = certificate
    served = serve_hub(tls_certificate=str(chain), tls_key=str(key))
    assert _status(served, chain).database == "SQLITE"
    with grpc.insecure_channel(served.doors.grpc_address) as channel:
        plain: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
            "/hashhub.v1.AdminService/GetStatus", None, None
        )
        with pytest.raises(grpc.RpcError):
            plain(b"", metadata=served.metadata(), timeout=2)


def _status(served: Served, chain: Path) -> v1.Status:
    """Ask the hub by a connection of its own."""
    with grpc.secure_channel(
        served.doors.grpc_address,
        grpc.ssl_channel_credentials(chain.read_bytes()),
        (("grpc.use_local_subchannel_pool", 1),),
    ) as channel:
        ask: grpc.UnaryUnaryMultiCallable[bytes, v1.Status] = channel.unary_unary(
            "/hashhub.v1.AdminService/GetStatus", None, v1.Status.FromString
        )
        return ask(b"", metadata=served.metadata(), timeout=30)


def test_a_certificate_that_ends_soon_is_told_until_it_is_renewed(serve_hub: Serve, tmp_path: Path) -> None:
    chain, key = _made(tmp_path, days_old=60, days_left=5)
    served = serve_hub(tls_certificate=str(chain), tls_key=str(key), tls_client_ca=str(chain))
    warnings = served.hub.status(OPERATOR).warnings
    assert [w.split(":")[0] for w in warnings if "ends" in w] == ["tls_certificate", "tls_client_ca"]
    assert abs(_left(served) - 5 * 86_400) < 600
    _made(tmp_path, days_old=0, days_left=5)  # of those that live for a week
    assert not any("ends" in w for w in served.hub.status(OPERATOR).warnings)
    chain.write_text("no certificate")
    assert any("has no certificate" in w for w in served.hub.status(OPERATOR).warnings)
    assert not any(name == "hashhub_certificate_seconds_left" for name, _ in scrape(served))


def _left(served: Served) -> float:
    return value(served, "hashhub_certificate_seconds_left", setting="tls_certificate")


@pytest.mark.parametrize("is_plain", [False, True])
def test_connections_that_stop_midway_make_place_for_others(
    serve_hub: Serve, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, *, is_plain: bool
) -> None:
    """Nobody knows yet who they are: as many as there may be would keep everybody else out."""
    monkeypatch.setattr(listeners, "HANDSHAKE_SECONDS", 1.0)
    chain, key = certificate
    files = {} if is_plain else {"tls_certificate": str(chain), "tls_key": str(key)}
    served = serve_hub(max_connections=4, **files)
    host, _, port = served.doors.grpc_address.rpartition(":")
    with ExitStack() as stack:
        stopped = [stack.enter_context(socket.create_connection((host, int(port)))) for _ in range(4)]
        for connection in stopped:
            connection.settimeout(60)  # half of what gRPC would give them
            connection.sendall(b"PRI * HTTP/2.0" if is_plain else b"\x16\x03\x01\x02\x00\x01")
        for connection in stopped:
            with suppress(ConnectionResetError):
                while connection.recv(4096):
                    pass
        credentials = grpc.ssl_channel_credentials(chain.read_bytes())
        channel = stack.enter_context(
            grpc.insecure_channel(served.doors.grpc_address)
            if is_plain
            else grpc.secure_channel(served.doors.grpc_address, credentials)
        )
        ask: grpc.UnaryUnaryMultiCallable[bytes, v1.Status] = channel.unary_unary(
            "/hashhub.v1.AdminService/GetStatus", None, v1.Status.FromString
        )
        assert ask(b"", metadata=served.metadata(), timeout=30, wait_for_ready=True).database == "SQLITE"


def test_a_new_connection_replaces_no_certificate_that_is_the_same(
    serve_hub: Serve, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """gRPC frees the one that is replaced while other handshakes begin with it: strangers ended the hub in two seconds,
    by 20,000 connections.
    """
    made: list[object] = []
    configuration = grpc.ssl_server_certificate_configuration

    def noted(*given: Any) -> grpc.ServerCertificateConfiguration:
        made.append(given)
        return configuration(*given)

    monkeypatch.setattr(grpc, "ssl_server_certificate_configuration", noted)
    chain, key = certificate
    served = serve_hub(tls_certificate=str(chain), tls_key=str(key))
    assert len(made) == 1
    for renewals in range(3):
        for _ in range(5):
            assert _status(served, chain).database == "SQLITE"
        assert len(made) == 1 + renewals
        os.utime(chain)


@pytest.mark.parametrize("damage", ["missing", "no PEM", "swapped"])
def test_files_that_cannot_be_used_are_named(serve_hub: Serve, certificate: tuple[Path, Path], damage: str) -> None:
    chain, key = certificate
    if damage == "missing":
        key.unlink()
    elif damage == "no PEM":
        chain.write_text("no certificate")
    else:
        chain, key = key, chain
    with pytest.raises(InvalidArgument) as caught:
        serve_hub(tls_certificate=str(chain), tls_key=str(key))
    assert caught.value.violations[0].field == "tls_certificate"
    assert str(chain.parent) not in caught.value.message
