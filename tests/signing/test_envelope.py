"""Envelopes of both kinds, and what a change of any byte makes of them."""

from __future__ import annotations

import json
import shutil
import subprocess
from base64 import b64decode, b64encode
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from hashhub.errors import InvalidArgument
from hashhub.signing.envelope import (
    MAX_ENVELOPE,
    NAMESPACE,
    PrivateKey,
    SignedEnvelope,
    TrustedKey,
    public_text,
    read_envelope,
    read_private_key,
    read_public_key,
    read_trusted_keys,
    sign,
    signers,
)

KEYS: list[PrivateKey] = [ed25519.Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256R1())]
STATEMENT = b'{"_type":"x"}\n'
TIME = datetime(2026, 12, 3, tzinfo=UTC)
needs_ssh = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="there is no ssh-keygen")


def ssh_envelope(directory: Path, kind: str, namespace: str = NAMESPACE) -> bytes:
    key = str(directory / kind)
    if not Path(key).exists():
        subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", key], check=True)
    command = ["ssh-keygen", "-q", "-Y", "sign", "-n", namespace, "-f", key]
    return STATEMENT + subprocess.run(command, input=STATEMENT, capture_output=True, check=True).stdout


@pytest.mark.parametrize("key", KEYS)
def test_a_dsse_envelope_is_its_signers_alone(key: PrivateKey) -> None:
    envelope = read_envelope(sign(STATEMENT, key))
    assert envelope.statement == STATEMENT
    assert [envelope.is_signed_by(other.public_key()) for other in KEYS] == [other is key for other in KEYS]


@needs_ssh
@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_an_ssh_signature_is_its_signers_alone(kind: str, tmp_path: Path) -> None:
    envelope = read_envelope(ssh_envelope(tmp_path, kind))
    assert envelope.statement == STATEMENT
    assert envelope.is_signed_by(read_public_key((tmp_path / f"{kind}.pub").read_text()))
    assert not any(envelope.is_signed_by(other.public_key()) for other in KEYS)


@needs_ssh
def test_an_ssh_signature_of_something_else_is_none(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=NAMESPACE):
        read_envelope(ssh_envelope(tmp_path, "ed25519", "git"))
    signed = ssh_envelope(tmp_path, "ed25519")
    other = read_envelope(signed.replace(b'"x"', b'"y"'))
    assert not other.is_signed_by(read_public_key((tmp_path / "ed25519.pub").read_text()))


@given(st.data())
def test_a_change_of_any_byte_is_noticed(data: st.DataObject) -> None:
    key = KEYS[0]
    dsse = json.loads(sign(STATEMENT, key))
    part = data.draw(st.sampled_from(["payload", "sig"]))
    holder = dsse if part == "payload" else dsse["signatures"][0]
    content = bytearray(b64decode(holder[part]))
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    holder[part] = b64encode(content).decode()
    assert not read_envelope(json.dumps(dsse).encode()).is_signed_by(key.public_key())


@given(st.binary(max_size=300))
def test_what_is_no_envelope_is_refused(data: bytes) -> None:
    for content in (data, STATEMENT + b"-----BEGIN SSH SIGNATURE-----\n" + b64encode(b"SSHSIG\0\0\0\1" + data)):
        with pytest.raises(InvalidArgument, match="must be a DSSE envelope"):
            read_envelope(content)


def test_bounds() -> None:
    dsse = json.loads(sign(STATEMENT, KEYS[0]))
    for wrong in (
        {**dsse, "payload": b64encode(bytes(MAX_ENVELOPE)).decode()},
        {**dsse, "signatures": dsse["signatures"] * 17},
        {**dsse, "signatures": []},
        {**dsse, "payloadType": "text/plain"},
    ):
        with pytest.raises(InvalidArgument):
            read_envelope(json.dumps(wrong).encode())


def test_keys_of_other_kinds_are_refused() -> None:
    for other in (rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP384R1())):
        private = other.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        public = other.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        with pytest.raises(InvalidArgument, match="Ed25519 or P-256"):
            read_private_key(private)
        with pytest.raises(InvalidArgument, match="Ed25519 or P-256"):
            read_public_key(public.decode())
    with pytest.raises(InvalidArgument, match="Ed25519 or P-256"):
        read_public_key("nothing")


def test_a_key_behind_a_password() -> None:
    encryption = serialization.BestAvailableEncryption(b"right")
    pem = KEYS[0].private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    assert read_private_key(pem, b"right").public_key() == KEYS[0].public_key()
    for password in (b"wrong", None):
        with pytest.raises(InvalidArgument, match="password"):
            read_private_key(pem, password)


def test_a_file_of_trusted_keys_is_read_as_it_was_written() -> None:
    keys = [
        TrustedKey("nl/a", KEYS[0].public_key(), TIME, TIME + timedelta(days=1)),
        TrustedKey("nl/b", KEYS[1].public_key(), TIME),
        TrustedKey("de/a", KEYS[0].public_key()),
    ]
    text = "# keys\n\n" + "\n".join(key.allowed_signer for key in keys)
    assert [k._replace(key=public_text(k.key)) for k in read_trusted_keys(text)] == [  # type: ignore[arg-type]
        k._replace(key=public_text(k.key))  # type: ignore[arg-type]
        for k in keys
    ]
    assert [keys[0].is_valid_at(TIME + timedelta(days=n)) for n in (-1, 0, 1)] == [False, True, False]


@pytest.mark.parametrize("line", ["nl/a", 'nl/a namespaces="git" ssh-ed25519 AAAA', 'nl/a valid-after="soon" {}'])
def test_another_file_holds_no_keys(line: str) -> None:
    with pytest.raises(InvalidArgument, match="keys:"):
        read_trusted_keys(line.format(public_text(KEYS[0].public_key())))


def test_a_strangers_key_signs_nothing() -> None:
    envelope = read_envelope(sign(STATEMENT, KEYS[0]))
    keys = [TrustedKey("de/a", KEYS[0].public_key()), TrustedKey("nl-2/a", KEYS[0].public_key())]
    assert signers(envelope, keys, "nl") == []
    assert signers(envelope, [TrustedKey("nl/a", KEYS[1].public_key())], "nl") == []
    own = TrustedKey("nl/a", KEYS[0].public_key())
    assert signers(envelope, [*keys, own], "nl") == [own]
    assert not SignedEnvelope(STATEMENT, ()).is_signed_by(KEYS[0].public_key())
