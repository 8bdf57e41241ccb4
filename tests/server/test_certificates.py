"""Callers that prove themselves by certificates: who is let in, as whom, and until when."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, aclosing, closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtensionOID
from msgspec.structs import replace

from hashhub.authority import Authority
from hashhub.client import AsyncClient, Client
from hashhub.errors import (
    AlreadyExists,
    FailedPrecondition,
    HashHubError,
    InvalidArgument,
    PermissionDenied,
    Reason,
    Unauthenticated,
    Unavailable,
)
from hashhub.hub.certificates import ClientCertificates
from hashhub.model import Contributor, ContributorKind, HashSet, Principal, Role
from hashhub.testing.hub_process import RunningHub, running_hub
from tests.patience import PATIENCE, wait_until

NL, DE = "URI:spiffe://pilot.example/nl", "DNS:hub.de.example"


class Place:
    """A hub with two listeners, and an authority."""

    def __init__(self, hub: RunningHub, authority: Authority, directory: Path) -> None:
        self.hub, self.authority, self.directory = hub, authority, directory
        self.address = f"localhost:{hub.certificates.rpartition(':')[2]}"
        self.ca = (directory / "authority.pem").read_bytes()

    @property
    def operator(self) -> Client:
        return self.by_secret(self.hub.token)

    def by_secret(self, secret: str) -> Client:
        address = f"localhost:{self.hub.address.rpartition(':')[2]}"
        return Client(address, secret, ca_certificates=self.ca, timeout=PATIENCE, retry_seconds=0)

    def pair(self, name: str) -> tuple[str, str]:
        return str(self.directory / f"{name}.pem"), str(self.directory / f"{name}.key")

    def client(self, name: str) -> Client:
        return Client(
            self.address, "", ca_certificates=self.ca, certificate=self.pair(name), timeout=PATIENCE, retry_seconds=0
        )

    def who(self, name: str) -> str:
        """Return as which token the certificate's holder writes."""
        with self.client(name) as client:
            client.create_hash_set(HashSet(contributor="nl", id=name, scheme="vic-us"))
            return next(client.list_events(f"nl/{name}", limit=1)).actor.name

    def over_http(self, secret: str) -> int:
        url = f"http://{self.hub.http}/hashhub.v1.ContributorService/GetContributor"
        sent = {"authorization": f"Bearer {secret}"}
        return httpx.post(url, json={"name": "contributors/nl"}, headers=sent, timeout=PATIENCE).status_code

    def refused(self, name: str) -> Reason:
        with self.client(name) as client, pytest.raises(HashHubError) as refused:
            client.get_contributor("nl")
        return refused.value.reason


@contextmanager
def place(directory: Path, *arguments: str) -> Iterator[Place]:
    authority = Authority.create(directory / "ca", "test")
    authority.issue("hub", ["DNS:localhost", "IP:127.0.0.1"], days=2, server=True)
    ca = directory / "ca"
    (directory / "hub.toml").write_text(
        f'listen_certificates = "127.0.0.1:0"\ntls_certificate = "{ca}/hub.pem"\ntls_key = "{ca}/hub.key"\n'
        f'tls_client_ca = "{ca}/authority.pem"\ntls_client_revoked = "{ca}/revoked.pem"\n'
    )
    with running_hub(directory / "data", "--config", str(directory / "hub.toml"), *arguments) as hub:
        made = Place(hub, authority, ca)
        with made.operator as operator:
            for name in ("nl", "de"):
                operator.create_contributor(
                    Contributor(id=name, display_name=name, kind=ContributorKind.HOTLINE, jurisdiction=name.upper())
                )
            for name, identity in (("nl", NL), ("de", DE)):
                token = Principal(
                    name=f"{name}-machine", role=Role.CONTRIBUTOR, contributor=name, identities=(identity,)
                )
                assert operator.create_token(token) == ""
        yield made


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(tmp_path_factory.mktemp("certificates"), "--workers", "2") as made:
        yield made


@pytest.fixture
def new(at: Place, request: pytest.FixtureRequest) -> Callable[..., str]:
    """Return a function that issues a certificate with a name of its own."""
    count = iter(range(100))

    def issue(*identities: str, days: float = 1) -> str:
        name = f"c{abs(hash(request.node.name)) % 10**9}-{next(count)}"
        return at.authority.issue(name, identities, days=days).stem

    return issue


def test_a_certificate_is_the_token_that_has_its_name(at: Place, new: Callable[..., str]) -> None:
    assert at.who(new(NL)) == "nl-machine"
    with at.client(new(DE)) as client, pytest.raises(HashHubError) as refused:
        client.create_hash_set(HashSet(contributor="nl", id="of-de", scheme="vic-us"))
    assert refused.value.reason is Reason.NOT_YOUR_CONTRIBUTOR


def test_a_certificate_gets_no_secret_that_would_outlive_it(at: Place, new: Callable[..., str]) -> None:
    with at.client(new(NL)) as client, pytest.raises(PermissionDenied):
        client.rotate_token("nl-machine")


def test_names_that_prove_nobody_or_several_let_nobody_in(at: Place, new: Callable[..., str]) -> None:
    unknown = ("URI:spiffe://pilot.example/other", "DNS:nl", f"{NL}/more", NL.replace("pilot", "Pilot"))
    for identities in (*zip(unknown), (NL, DE), (NL, "URI:https://pilot.example/nl")):
        assert at.refused(new(*identities)) is Reason.CERTIFICATE_UNKNOWN, identities


def test_without_a_certificate_of_the_authorities_there_is_no_connection(at: Place, tmp_path: Path) -> None:
    other = Authority.create(tmp_path / "other", "test")
    other.issue("nl", [NL], days=1)
    foreign = str(tmp_path / "other" / "nl.pem"), str(tmp_path / "other" / "nl.key")
    for pair in (foreign, None):
        with (
            Client(at.address, "", ca_certificates=at.ca, certificate=pair, timeout=5, retry_seconds=0) as client,
            pytest.raises(HashHubError) as refused,
        ):
            client.get_contributor("nl")
        assert not isinstance(refused.value, Unauthenticated)
        assert "certificate" in refused.value.message
    with pytest.raises(InvalidArgument, match="MISMATCH"):
        Client(at.address, "", ca_certificates=at.ca, certificate=(at.pair("hub")[0], foreign[1]))


def test_a_revoked_one_is_refused_within_a_second_by_every_worker(at: Place, new: Callable[..., str]) -> None:
    name = new(NL)
    clients = [at.client(name) for _ in range(12)]  # connections to both workers
    for client in clients:
        client.get_contributor("nl")
    secret, _ = clients[0].begin_session()
    assert at.over_http(secret) == 200
    at.authority.renew(name, days=1)
    with at.client(name) as renewed:
        renewed.get_contributor("nl")
    at.authority.revoke(name)
    time.sleep(1.1)
    for client in (*clients, at.client(name)):
        with client, pytest.raises(Unauthenticated) as refused:
            client.get_contributor("nl")
        assert refused.value.reason is Reason.CERTIFICATE_REVOKED
    assert at.over_http(secret) == 401
    assert at.who(new(NL)) == "nl-machine"


def test_one_that_ends_is_refused_on_an_open_connection_too(at: Place, new: Callable[..., str]) -> None:
    for seconds in (5, 40, 300):  # a busy machine opens the connection too late
        name = new(NL, days=seconds / 86_400)
        with at.client(name) as client, suppress(Unavailable):
            secret, until = client.begin_session()
            time.sleep(max(0.0, (until - datetime.now(UTC)).total_seconds()) + 1.1)
            with pytest.raises(Unauthenticated) as refused:
                client.get_contributor("nl")
            assert refused.value.reason is Reason.CERTIFICATE_EXPIRED
            assert at.over_http(secret) == 401
            return
    pytest.fail("no certificate was taken before it ended")


def test_while_the_list_cannot_be_read_no_certificate_is_known_to_be_good(at: Place, new: Callable[..., str]) -> None:
    revoked, good, bad = at.directory / "revoked.pem", new(NL), new(NL)
    at.authority.revoke(bad)
    whole = revoked.read_bytes()
    try:
        for damaged in (whole[: len(whole) // 2], b"", whole.replace(b"A", b"B", 40), None):
            revoked.unlink() if damaged is None else revoked.write_bytes(damaged)
            time.sleep(1.1)
            for name in (good, bad):
                with at.client(name) as client, pytest.raises(Unavailable):
                    client.get_contributor("nl")
            with at.operator as operator:
                assert any("tls_client_revoked" in warning for warning in operator.status().warnings)
    finally:
        revoked.write_bytes(whole)
    at.who(good)
    assert at.refused(bad) is Reason.CERTIFICATE_REVOKED


def test_names_of_a_kind_that_nobody_reads_are_nobodys(tmp_path: Path) -> None:
    authority = Authority.create(tmp_path / "ca", "test")
    whole = x509.load_pem_x509_certificate(authority.issue("nl", [NL], days=1).read_bytes())
    key = ec.generate_private_key(ec.SECP256R1())
    uri = NL.removeprefix("URI:").encode()
    for kind in (0xA3, 0xA5):  # an X.400 address, and an EDI party's name
        names = bytes([kind, 0, 0x86, len(uri)]) + uri
        told = x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, bytes([0x30, len(names)]) + names)
        builder = x509.CertificateBuilder(
            whole.issuer, whole.subject, key.public_key(), 1, whole.not_valid_before_utc, whole.not_valid_after_utc
        )
        made = builder.add_extension(told, critical=False).sign(key, hashes.SHA256())
        taken = ClientCertificates("", str(tmp_path / "ca" / "authority.pem"))
        with pytest.raises(Unauthenticated):
            taken.read(made.public_bytes(serialization.Encoding.PEM))


def test_a_list_that_was_to_be_replaced_counts_further_and_is_told(at: Place, new: Callable[..., str]) -> None:
    bad, revoked, now = new(NL), at.directory / "revoked.pem", datetime.now(UTC)
    whole = at.authority.revoke(bad).read_bytes()
    key = serialization.load_pem_private_key((at.directory / "authority.key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    old = x509.CertificateRevocationListBuilder(
        x509.load_pem_x509_certificate(at.ca).subject, now - timedelta(days=2), now - timedelta(days=1)
    )
    for one in x509.load_pem_x509_crl(whole):
        old = old.add_revoked_certificate(one)

    def told() -> bool:
        with at.operator as operator:
            return any("tls_client_revoked" in warning for warning in operator.status().warnings)

    assert not told()
    try:
        revoked.write_bytes(old.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        assert told()
        assert at.refused(bad) is Reason.CERTIFICATE_REVOKED
        at.who(new(NL))
    finally:
        revoked.write_bytes(whole)
    assert not told()


def test_lists_count_together_and_an_issuer_without_one_is_not_known(tmp_path: Path) -> None:
    """Two authorities of one name, as after a change of key, and lists of both; a third one has none."""
    made = {name: Authority.create(tmp_path / name, name[:3]) for name in ("one-a", "one-b", "two")}
    pem = {name: made[name].issue("nl", [NL], days=1).read_bytes() for name in made}
    for name in ("one-a", "one-b"):
        made[name].revoke("nl")
    authorities, lists = tmp_path / "authorities", tmp_path / "lists"
    authorities.write_bytes(b"".join((tmp_path / name / "authority.pem").read_bytes() for name in made))
    of_one = [(tmp_path / name / "revoked.pem").read_bytes() for name in ("one-a", "one-b")]
    lists.write_bytes(b"".join(of_one))
    taken = ClientCertificates(str(lists), str(authorities))
    for name in ("one-a", "one-b"):
        with pytest.raises(Unauthenticated) as refused:
            taken.read(pem[name])
        assert refused.value.reason is Reason.CERTIFICATE_REVOKED
    with pytest.raises(Unavailable) as unknown:
        taken.read(pem["two"])
    assert unknown.value.reason is Reason.REVOCATIONS_UNREADABLE
    lists.write_bytes(b"".join([*of_one, (tmp_path / "two" / "revoked.pem").read_bytes()]))
    assert taken.read(pem["two"])[1] == [NL]


def test_a_session_works_over_http_and_ends_with_what_it_was_got_by(at: Place, new: Callable[..., str]) -> None:
    with at.client(new(NL)) as client, at.operator as operator:
        secret, _ = client.begin_session()
        assert at.over_http(secret) == 200
        for forged in (f"{secret[:-2]}AA", f"{secret}A", "hhs_", "hhs_%", secret.replace("_", "_A", 1)):
            assert at.over_http(forged) == 401
        with at.by_secret(secret) as thief, pytest.raises(FailedPrecondition) as refused:
            thief.begin_session()
        assert refused.value.reason is Reason.CERTIFICATE_MISSING
        with pytest.raises(FailedPrecondition):
            operator.begin_session()
        token = next(token for token in operator.list_tokens() if token.name == "nl-machine")
        operator.update_token(replace(token, identities=("URI:spiffe://pilot.example/moved",)), ["identities"])
        wait_until(lambda: at.over_http(secret) == 401)
        time.sleep(1.1)
        with pytest.raises(Unauthenticated):
            client.get_contributor("nl")
        operator.update_token(replace(token, identities=(NL,)), ["identities"])


def test_one_name_proves_one_token(at: Place) -> None:
    with at.operator as operator:
        taken = Principal(name="other", role=Role.CONTRIBUTOR, contributor="de", identities=(NL,))
        with pytest.raises(AlreadyExists, match="nl-machine"):
            operator.create_token(taken)
        for wrong in ("nl", "URI:", "DNS:*.example", "DNS:Hub.example", "IP:127.0.0.1", "URI:spiffe://a b", NL + "\n"):
            with pytest.raises(InvalidArgument):
                operator.create_token(replace(taken, identities=(wrong,)))


def test_a_renewed_server_certificate_needs_no_restart(at: Place) -> None:
    before = _serial_of(at.hub.address)
    at.authority.renew("hub", days=3)
    after = _serial_of(at.hub.address)
    assert after != before
    file = at.directory / "hub.pem"
    whole = file.read_bytes()
    try:
        file.write_bytes(b"in the middle of a change")
        assert _serial_of(at.hub.address) in {before, after}
        with at.operator as operator:
            operator.status()
    finally:
        file.write_bytes(whole)


def _serial_of(address: str) -> str:
    host, _, port = address.rpartition(":")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with socket.create_connection((host, int(port)), PATIENCE) as raw, context.wrap_socket(raw) as connection:
        certificate = x509.load_der_x509_certificate(connection.getpeercert(binary_form=True) or b"")
    return f"{certificate.serial_number:x}"


def test_clients_live_through_their_certificates_renewal(at: Place, tmp_path: Path) -> None:
    identity = "URI:spiffe://pilot.example/copy"
    with at.operator as operator:
        operator.create_token(
            Principal(name="copy", role=Role.CONTRIBUTOR, contributor="nl", may_mirror=True, identities=(identity,))
        )
    first = x509.load_pem_x509_certificate(at.authority.issue("copy", [identity], days=1).read_bytes())
    stop = threading.Event()

    def renew() -> None:
        whole = (at.directory / "copy.pem").read_bytes()
        (at.directory / "copy.pem").write_bytes(whole[:100])  # in the middle of a change
        client.get_contributor("nl")
        (at.directory / "copy.pem").write_bytes(whole)
        at.authority.renew("copy", days=1)
        revoked = x509.load_pem_x509_crl((at.directory / "revoked.pem").read_bytes())
        at.authority.write_list({*(one.serial_number for one in revoked), first.serial_number})
        time.sleep(1.1)

    async def call_twice() -> None:
        async with AsyncClient(
            at.address, "", ca_certificates=at.ca, certificate=at.pair("copy"), timeout=PATIENCE, retry_seconds=0
        ) as loop_client:
            await anext(loop_client.list_changes())
            await asyncio.to_thread(renew)
            await anext(loop_client.list_changes())

    with (
        ThreadPoolExecutor(1) as threads,
        at.client("copy") as client,
        closing(client.mirror(tmp_path)) as copy,
        ExitStack() as end,
    ):
        end.callback(stop.set)
        following = threads.submit(copy.follow, stop=stop)
        wait_until(lambda: copy.state().is_complete)
        asyncio.run(call_twice())
        client.create_hash_set(HashSet(contributor="nl", id="renewed", scheme="vic-us"))
        made = next(client.list_events("nl/renewed", limit=1)).revision
        wait_until(lambda: following.done() or copy.state().revision >= made)
        stop.set()
        client.close()
        following.result(PATIENCE)
        assert copy.state().revision >= made


@pytest.mark.parametrize("way", ["the program", "an event loop"])
def test_changes_are_followed_beyond_their_certificates_end(at: Place, new: Callable[..., str], way: str) -> None:
    name = new(identity := f"URI:spiffe://pilot.example/{way.replace(' ', '-')}")
    with at.operator as operator:
        made = Principal(name=name, role=Role.CONTRIBUTOR, contributor="nl", may_mirror=True, identities=(identity,))
        operator.create_token(made)
    certificate, key = at.pair(name)
    first = x509.load_pem_x509_certificate(Path(certificate).read_bytes())

    def renew() -> None:
        at.authority.renew(name, days=1)
        revoked = x509.load_pem_x509_crl((at.directory / "revoked.pem").read_bytes())
        at.authority.write_list({*(one.serial_number for one in revoked), first.serial_number})
        time.sleep(1.1)
        with at.client(name) as client:
            client.create_hash_set(HashSet(contributor="nl", id=name, scheme="vic-us"))

    async def on_the_loop() -> bool:
        async with (
            AsyncClient(
                at.address, "", ca_certificates=at.ca, certificate=(certificate, key), retry_seconds=0
            ) as client,
            aclosing(client.follow_changes(from_now=True)) as pages,
        ):
            await anext(pages)
            await asyncio.to_thread(renew)
            async for page in pages:
                if any(change.hash_set and change.hash_set.id == name for change in page.changes):
                    return True
        return False

    if way == "an event loop":
        assert asyncio.run(asyncio.wait_for(on_the_loop(), PATIENCE))
        return
    command = [sys.executable, "-m", "hashhub.cli", "changes", "--follow", "--from-now", "--json"]
    command += ["--server", at.address, "--ca-file", str(at.directory / "authority.pem")]
    with subprocess.Popen([*command, "--certificate", certificate, "--key", key], stdout=subprocess.PIPE) as program:
        guard = threading.Timer(PATIENCE, program.kill)
        guard.start()
        try:
            assert program.stdout is not None
            program.stdout.readline()
            renew()
            assert any(name.encode() in line for line in program.stdout)
        finally:
            guard.cancel()
            program.kill()


def test_what_is_followed_waits_for_the_renewal_of_what_has_expired(
    at: Place, new: Callable[..., str], tmp_path: Path
) -> None:
    identity = "URI:spiffe://pilot.example/late"
    with at.operator as operator:
        made = Principal(name="late", role=Role.CONTRIBUTOR, contributor="nl", may_mirror=True, identities=(identity,))
        operator.create_token(made)
    stop = threading.Event()

    async def on_the_loop(has_expired: threading.Event) -> bool:
        async with AsyncClient(at.address, "", ca_certificates=at.ca, certificate=at.pair(name)) as client:
            await anext(client.list_changes())
            await asyncio.to_thread(has_expired.wait)
            async with aclosing(client.follow_changes()) as pages:
                return bool((await anext(pages)).position)

    for seconds in (5, 40, 300):  # a busy machine opens the connections too late
        name, has_expired = new(identity, days=seconds / 86_400), threading.Event()
        with (
            ThreadPoolExecutor(3) as threads,
            at.client(name) as client,
            at.client(name) as of_copy,
            closing(of_copy.mirror(tmp_path / name)) as copy,
            ExitStack() as end,
            suppress(Unavailable),
        ):
            end.callback(has_expired.set)
            looped = threads.submit(asyncio.run, on_the_loop(has_expired))
            of_copy.begin_session()
            until = client.begin_session()[1]
            time.sleep(max(0.0, (until - datetime.now(UTC)).total_seconds()) + 1.1)
            has_expired.set()
            copied = threads.submit(copy.follow, stop=stop)
            paged = threads.submit(lambda: next(iter(client.follow_changes())).position)
            time.sleep(1.5)
            assert not looped.done()
            assert not paged.done()
            at.authority.renew(name, days=1)
            assert looped.result(PATIENCE)
            assert paged.result(PATIENCE)
            while not (copied.done() or copy.state().is_complete):
                time.sleep(0.05)
            stop.set()
            of_copy.close()
            copied.result(PATIENCE)
            return
    pytest.fail("no certificate was taken before it ended")


def test_a_token_is_let_in_from_its_networks_alone(at: Place) -> None:
    with at.operator as operator:
        made = Principal(name="office", role=Role.CONTRIBUTOR, contributor="nl", addresses=("192.0.2.0/24",))
        secret = operator.create_token(made)
        with at.by_secret(secret) as client:
            with pytest.raises(PermissionDenied) as refused:
                client.get_contributor("nl")
            assert refused.value.reason is Reason.ADDRESS_NOT_ALLOWED
            assert at.over_http(secret) == 403
            for networks in (("192.0.2.0/24", "127.0.0.0/8", "::1/128"), ("0.0.0.0/0", "::/0"), ()):
                operator.update_token(replace(made, addresses=networks), ["addresses"])
                wait_until(lambda: at.over_http(secret) == 200)
                time.sleep(1.1)
                client.get_contributor("nl")
        for wrong in ("192.0.2.1/24", "nl.example", "", "192.0.2.0/33", "::ffff:192.0.2.0/120"):
            with pytest.raises(InvalidArgument):
                operator.update_token(replace(made, addresses=(wrong,)), ["addresses"])


def test_who_made_a_token_is_told(at: Place) -> None:
    with at.operator as operator:
        second = operator.create_token(Principal(name="second", role=Role.OPERATOR, person="Ada"))
        with at.by_secret(second) as client:
            client.create_token(Principal(name="third", role=Role.CONSUMER, contributor="nl"))
        tokens = {token.name: token for token in operator.list_tokens()}
    assert (tokens["operator"].creator, tokens["second"].creator, tokens["third"].creator) == ("", "operator", "second")
    assert tokens["second"].person == "Ada"


def test_the_history_has_the_person_for_those_whose_business_it_is(at: Place) -> None:
    with at.operator as operator:
        held = operator.create_token(Principal(name="desk", role=Role.OPERATOR, person="Grace"))
        own = operator.create_token(Principal(name="own", role=Role.CONTRIBUTOR, contributor="de"))
        with at.by_secret(held) as desk:
            desk.update_contributor(replace(desk.get_contributor("de"), display_name="Hotline"), ["display_name"])
        event = next(operator.list_events("de", limit=1))
        assert (event.actor.name, event.actor.person) == ("desk", "Grace")
        with at.by_secret(own) as outsider:
            told = next(outsider.list_events("de", limit=1))
        assert (told.actor.name, told.actor.person) == ("", "")
        assert "Grace" not in repr(told)
        operator.redact_event(event.revision)
        assert "Grace" not in repr(next(e for e in operator.list_events("de") if e.revision == event.revision))
