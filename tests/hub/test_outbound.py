"""Where webhooks may lead: nowhere inside, whatever the URL, its name or its answer say."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from hashhub.errors import InvalidArgument
from hashhub.hub import outbound as module
from hashhub.hub.outbound import CallOutcome, Outbound, is_public
from hashhub.model import DeliveryError
from tests.hub.receiver import raw_server, receiver

REFUSED = CallOutcome(0, DeliveryError.ADDRESS_NOT_ALLOWED)
INSIDE = (
    "127.0.0.1", "127.8.9.1", "0.0.0.1", "10.0.0.1", "172.16.3.4", "192.168.1.1", "100.64.0.1", "100.100.100.200",
    "169.254.169.254", "192.0.0.192", "192.0.2.1", "192.88.99.1", "198.18.0.1", "224.0.0.1", "239.1.1.1", "240.0.0.1",
    "255.255.255.255", "168.63.129.16",
    "::", "::1", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1",
    "64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::1", "2002:7f00:1::1", "2001::1", "2001:db8::1", "fec0::1",
    "3fff::1",
)  # fmt: skip
OUTSIDE = ("8.8.8.8", "1.1.1.1", "2606:4700::1111", "2a00:1450:4001::1")


@pytest.mark.parametrize("address", INSIDE)
def test_what_is_inside_is_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", OUTSIDE)
def test_what_is_outside_is(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@given(st.ip_addresses(v=6))
def test_no_address_of_ipv6_carries_one_of_ipv4_inside(address: ipaddress.IPv6Address) -> None:
    if is_public(address):
        assert address.ipv4_mapped is None
        assert address.sixtofour is None
        assert address.teredo is None
        assert not address.is_private


@given(st.ip_addresses(v=4))
def test_public_is_never_wider_than_the_registry(address: ipaddress.IPv4Address) -> None:
    if is_public(address):
        assert address.is_global
        assert not address.is_reserved


def _known(addresses: list[str], _host: str, _port: int) -> list[str]:
    return addresses


def _say(said: bytes, connection: socket.socket) -> None:
    connection.sendall(said)


def _wait(end: threading.Event) -> None:
    end.wait(30)


class _Watched:
    """Whether anything was connected to, without connecting."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.called: list[str] = []
        monkeypatch.setattr(Outbound, "call", self._call)

    def _call(self, _target: object, address: object, *_: object) -> CallOutcome:
        self.called.append(str(address))
        return CallOutcome(204, None)


@pytest.mark.parametrize("address", INSIDE)
def test_a_name_that_leads_inside_is_not_called(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = _Watched(monkeypatch)
    for known in ([address], ["8.8.8.8", address], [address, "8.8.8.8"]):
        calls = Outbound(resolve=partial(_known, known))
        assert calls.post("https://example.com/", {}, b"") == REFUSED
    assert watched.called == []


def test_a_name_that_leads_nowhere_reads_like_one_that_leads_inside() -> None:
    def away(_host: str, _port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    assert Outbound(resolve=away).post("https://example.com/", {}, b"") == REFUSED
    assert Outbound(resolve=lambda *_: []).post("https://example.com/", {}, b"") == REFUSED


def test_the_address_that_was_checked_is_the_one_that_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = _Watched(monkeypatch)
    monkeypatch.setattr(module, "is_own", lambda *_: False)
    answers = iter([["8.8.8.8"], ["127.0.0.1"], ["127.0.0.1"]])
    calls = Outbound(resolve=lambda *_: next(answers))
    assert calls.post("https://example.com/", {}, b"") == CallOutcome(204, None)
    assert watched.called == ["8.8.8.8"]


def test_this_machine_is_inside_whatever_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = _Watched(monkeypatch)
    monkeypatch.setattr(module, "is_public", lambda _: True)  # as a hub's own address on the Internet is
    assert Outbound(resolve=lambda *_: ["127.0.0.1"]).post("https://example.com/", {}, b"") == REFUSED
    assert watched.called == []


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "2130706433", "0x7f000001", "127.1", "localhost", "0"])
def test_addresses_in_disguise_are_resolved_and_refused(host: str) -> None:
    assert Outbound().post(f"https://{host}/", {}, b"") == REFUSED


@pytest.mark.parametrize(
    "url",
    [
        "", "https://", "http://example.com/", "ftp://example.com/", "https://u:p@example.com/",
        "https://example.com/#f",
        "https://example.com:22/", "https://example.com:443:443/", "https://example.com:0/", "https://exa mple.com/",
        "https://example.com/\r\nhost: x", "https://example.com/\t", "https://exämple.com/", "https://example.com\\@x/",
        "https://[fe80::1%25eth0]/", "https://[::1/", "file:///etc/passwd", "gopher://example.com/", "//example.com/",
    ],
)  # fmt: skip
def test_urls_that_are_never_called(url: str) -> None:
    with pytest.raises(InvalidArgument):
        Outbound().check(url)
    assert Outbound().post(url, {}, b"") == REFUSED


def test_http_is_for_this_machine_only_and_only_where_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = _Watched(monkeypatch)
    assert Outbound("127.0.0.1", ports="80").post("http://127.0.0.1/", {}, b"") == CallOutcome(204, None)
    assert watched.called == ["127.0.0.1"]
    allowed = Outbound("inside.example:8080", resolve=lambda *_: ["10.0.0.5"])
    assert allowed.post("http://inside.example:8080/", {}, b"") == REFUSED
    assert allowed.post("https://inside.example:8080/", {}, b"") == CallOutcome(204, None)
    with pytest.raises(InvalidArgument):
        allowed.check("https://inside.example:8081/")
    with pytest.raises(InvalidArgument):
        allowed.check("https://other.example:8080/")


def test_what_is_denied_is_denied_although_it_is_public_or_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = _Watched(monkeypatch)
    monkeypatch.setattr(module, "is_own", lambda *_: False)
    calls = Outbound("8.8.4.4", "8.8.0.0/16, 2606:4700::/32", resolve=lambda host, _: [host])
    for host in ("8.8.8.8", "8.8.4.4"):
        assert calls.post(f"https://{host}/", {}, b"") == REFUSED
    assert calls.post("https://[2606:4700::1111]/", {}, b"") == REFUSED
    assert calls.post("https://1.1.1.1/", {}, b"") == CallOutcome(204, None)
    assert watched.called == ["1.1.1.1"]


def test_a_name_that_is_allowed_does_not_lead_to_the_metadata_service(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = _Watched(monkeypatch)
    assert Outbound("a.example", resolve=lambda *_: ["169.254.169.254"]).post("https://a.example/", {}, b"") == REFUSED
    assert watched.called == []


@pytest.mark.parametrize("allow", ["a b", "http://x", "10.0.0.0/33", "host:port", "host:70000", "10.0.0.1/8"])
def test_settings_that_cannot_be_read_are_refused(allow: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        Outbound(allow)
    assert refused.value.violations[0].field == "webhook_allow"
    with pytest.raises(InvalidArgument):
        Outbound(deny="example.com")
    with pytest.raises(InvalidArgument):
        Outbound(ports="https")


def _post(answer: Callable[[socket.socket], None], *, seconds: float = 10.0) -> CallOutcome:
    with raw_server(answer) as port:
        module_seconds = module.SECONDS
        try:
            module.SECONDS = seconds  # type: ignore[misc]  # of this test only
            return Outbound(f"127.0.0.1:{port}").post(f"http://127.0.0.1:{port}/", {}, b"{}")
        finally:
            module.SECONDS = module_seconds  # type: ignore[misc]


def test_answers_that_are_none() -> None:
    for said in (b"", b"hello\r\n\r\n", b"HTTP/2 200\r\n\r\n", b"HTTP/1.1 999 x\r\n\r\n", b"HTTP/1.1 200 OK\r\nx: "):
        assert _post(partial(_say, said)) == CallOutcome(0, DeliveryError.NOT_HTTP)


def test_an_answer_without_end_is_not_read_to_its_end() -> None:
    sent = 0

    def flood(connection: socket.socket) -> None:
        nonlocal sent
        try:
            connection.sendall(b"HTTP/1.1 200 OK\r\n")
            while sent < 1 << 26:
                connection.sendall(b"x: " + b"y" * 1000 + b"\r\n")
                sent += 1000
        except OSError:
            pass

    assert _post(flood) == CallOutcome(0, DeliveryError.NOT_HTTP)
    assert sent < 1 << 26  # what the sockets buffer, and no more


def test_a_body_is_not_read_at_all() -> None:
    assert _post(lambda c: c.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n")) == CallOutcome(
        200, None
    )


def test_interim_answers_are_passed_over_and_advice_is_taken() -> None:
    said = b"HTTP/1.1 103 Early\r\nlink: x\r\n\r\nHTTP/1.1 429 Too Many\r\nRetry-After: 17\r\n\r\n"
    assert _post(lambda c: c.sendall(said)) == CallOutcome(429, DeliveryError.STATUS, 17.0)


def test_interim_answers_without_end_are_not_read_to_their_end() -> None:
    sent = 0

    def flood(connection: socket.socket) -> None:
        nonlocal sent
        try:
            while sent < 1 << 26:
                connection.sendall(b"HTTP/1.1 103 Early\r\nlink: x\r\n\r\n" * 100)
                sent += 3100
        except OSError:
            pass

    assert _post(flood) == CallOutcome(0, DeliveryError.NOT_HTTP)
    assert sent < 1 << 26  # what the sockets buffer, and no more


def test_an_endpoint_that_drips_has_no_more_time_than_one_that_is_silent() -> None:
    def drip(connection: socket.socket) -> None:
        try:
            for _ in range(10_000):
                connection.sendall(b"H")
                time.sleep(0.01)
        except OSError:
            pass

    assert _post(drip, seconds=0.3) == CallOutcome(0, DeliveryError.TIMED_OUT)
    silent = threading.Event()
    try:
        assert _post(lambda _: _wait(silent), seconds=0.3) == CallOutcome(0, DeliveryError.TIMED_OUT)
    finally:
        silent.set()


def test_closing_ends_what_is_waited_for() -> None:
    begun, end = threading.Event(), threading.Event()

    def wait(_: socket.socket) -> None:
        begun.set()
        end.wait(180)

    with raw_server(wait) as port:
        calls = Outbound(f"127.0.0.1:{port}")
        outcomes: list[CallOutcome] = []
        thread = threading.Thread(
            target=lambda: outcomes.append(calls.post(f"http://127.0.0.1:{port}/", {}, b"")), daemon=True
        )
        thread.start()
        assert begun.wait(180)
        calls.close()
        thread.join(60)
        end.set()
    assert [o.error for o in outcomes] == [DeliveryError.NOT_HTTP]


def test_proxies_of_the_environment_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiver() as proxy, receiver() as direct:
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert Outbound(f"127.0.0.1:{direct.port}").post(direct.url, {}, b"{}") == CallOutcome(204, None)
        assert not proxy.received
        assert len(direct.received) == 1


def _certificate(directory: Path, name: str) -> Path:
    """Write a self-signed certificate and its key for a host name into one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    at = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(at - timedelta(hours=1))
        .not_valid_after(at + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = directory / f"{name}.pem"
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return file


def test_tls_is_verified_for_the_name_and_not_for_the_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = _certificate(tmp_path, "hook.example")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate)
    heard: list[bytes] = []

    def answer(plain: socket.socket) -> None:
        try:
            with server.wrap_socket(plain, server_side=True) as connection:
                heard.append(connection.recv(65_536))
                connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        except OSError:
            pass

    with raw_server(answer) as port:
        allow = f"hook.example:{port},other.example:{port}"
        calls = Outbound(allow, resolve=lambda *_: ["127.0.0.1"])
        url = f"https://hook.example:{port}/x?y=1"
        assert calls.post(url, {}, b"{}") == CallOutcome(0, DeliveryError.TLS_FAILED)  # nobody vouches for it
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert calls.post(url, {"webhook-id": "msg_1"}, b"{}") == CallOutcome(200, None)
        assert calls.post(f"https://other.example:{port}/", {}, b"{}") == CallOutcome(0, DeliveryError.TLS_FAILED)
    (request,) = heard
    assert request.startswith(b"POST /x?y=1 HTTP/1.1\r\nhost: hook.example:%d\r\n" % port)
    assert request.endswith(b"webhook-id: msg_1\r\n\r\n{}")
