"""cosign and OpenSSH verify what contributors sign here, what they sign is verified here, and a card signs, too."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hashhub.signing.envelope import read_envelope, read_public_key, read_trusted_keys, signers
from hashhub.signing.manifest import read_statement

LIST = "".join(f"{n:032x}\n" for n in range(0xABCDE, 0xABCE2))
LIBRARY = next(iter(Path("/usr/lib").rglob("libsofthsm2.so")), None)


def program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"there is no {name}")
    return path


def call(directory: Path, *command: str, **more: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # where hashhub is
    environment = {**os.environ, "COSIGN_PASSWORD": "", "PATH": path, **more}
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False, env=environment)


def done(directory: Path, *command: str, **more: str) -> str:
    result = call(directory, *command, **more)
    assert result.returncode == 0, (command, result.stdout, result.stderr)
    return result.stdout


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "list.txt").write_text(LIST)
    return tmp_path


@pytest.mark.parametrize("kind", [("ed25519",), ("EC", "-pkeyopt", "ec_paramgen_curve:P-256")])
def test_cosign_verifies_our_envelopes(place: Path, kind: tuple[str, ...]) -> None:
    cosign, openssl = program("cosign"), program("openssl")
    done(place, openssl, "genpkey", "-algorithm", *kind, "-out", "key")
    done(place, openssl, "pkey", "-in", "key", "-pubout", "-out", "key.pub")
    done(place, "hashhub", "sign", "list.txt", "--hash-set", "nl/known", "--sign-with", "key", "-o", "list.sig")
    verify = [cosign, "verify-blob-attestation", "--insecure-ignore-tlog=true", "--key", "key.pub"]
    verify += ["--signature", "list.sig", "--type", "urn:hashhub:contribution:v1", "list.txt"]
    done(place, *verify)
    (place / "list.txt").write_text(LIST[:-33])
    assert call(place, *verify).returncode != 0


def test_what_cosign_signs_is_verified_here(place: Path) -> None:
    cosign = program("cosign")
    done(place, cosign, "generate-key-pair")
    done(place, "hashhub", "sign", "list.txt", "--hash-set", "nl/known", "-o", "statement")
    statement = json.loads((place / "statement").read_text())
    (place / "predicate").write_text(json.dumps(statement["predicate"]))
    attest = ["attest-blob", "--key", "cosign.key", "--predicate", "predicate", "--type", statement["predicateType"]]
    signed = done(place, cosign, *attest, "--tlog-upload=false", "--yes", "list.txt")
    (place / "list.sig").write_text(signed)
    told = done(place, "hashhub", "verify", "list.txt", "--signature", "list.sig", "--trusted-keys", "cosign.pub")
    assert "list.txt is signed by" in told
    payload = base64.b64decode(json.loads(signed)["payload"])
    assert read_statement(payload) == read_statement((place / "statement").read_bytes())


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_openssh_verifies_our_envelopes_and_we_its(place: Path, kind: str) -> None:
    keygen = program("ssh-keygen")
    done(place, keygen, "-q", "-t", kind, "-N", "", "-f", "key")
    done(place, "hashhub", "sign", "list.txt", "--hash-set", "nl/known", "--sign-with", "key", "-o", "list.sig")
    statement, _, signature = (place / "list.sig").read_text().partition("\n")
    (place / "signature").write_text(signature)
    (place / "keys").write_text(f'nl/desk namespaces="contribution@hashhub" {(place / "key.pub").read_text()}')
    verify = [keygen, "-Y", "verify", "-f", "keys", "-I", "nl/desk", "-n", "contribution@hashhub", "-s", "signature"]
    for text, code in ((statement + "\n", 0), (statement + " \n", 255)):
        result = subprocess.run(verify, cwd=place, input=text.encode(), check=False, capture_output=True)
        assert result.returncode == code, result.stderr
    [key] = signers(
        read_envelope((place / "list.sig").read_bytes()), read_trusted_keys((place / "keys").read_text()), "nl"
    )
    assert key.name == "nl/desk"


@pytest.mark.skipif(LIBRARY is None, reason="there is no SoftHSM")
def test_a_key_on_a_card_signs_through_an_agent(place: Path) -> None:
    agent, pkcs11, token = program("ssh-agent"), program("pkcs11-tool"), program("softhsm2-util")
    (place / "tokens").mkdir()
    (place / "hsm.conf").write_text(f"directories.tokendir = {place}/tokens\n")
    where = {"SOFTHSM2_CONF": str(place / "hsm.conf")}
    done(place, token, "--init-token", "--free", "--label", "desk", "--pin", "1234", "--so-pin", "1234", **where)
    made = ["--login", "--pin", "1234", "--keypairgen", "--key-type", "EC:prime256v1", "--id", "01", "--label", "desk"]
    done(place, pkcs11, "--module", str(LIBRARY), *made, **where)
    (place / "ask").write_text("#!/bin/sh\necho 1234\n")
    (place / "ask").chmod(0o700)
    socket = str(place / "agent")
    # The agent ends with the command that it was started for.
    script = (
        f"ssh-add -s {LIBRARY} && ssh-add -L > card.pub && "
        "hashhub sign list.txt --hash-set nl/known --sign-with card.pub -o list.sig"
    )
    asks = {"SSH_ASKPASS": str(place / "ask"), "SSH_ASKPASS_REQUIRE": "force"}
    done(place, agent, "-a", socket, "-P", "/usr/lib/*", "bash", "-c", script, **where, **asks)
    assert read_envelope((place / "list.sig").read_bytes()).is_signed_by(
        read_public_key((place / "card.pub").read_text())
    )
