"""Signing a list and checking who signed it, from the command line; the rest is in tests/hub/test_signatures.py."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from hashhub.cli import main

DONE, REFUSED, USAGE = 0, 1, 2
Run = Callable[..., Result]


class SigningPlace:
    """A directory with a list and a P-256 key behind a password, and commands that need no hub."""

    def __init__(self, directory: Path) -> None:
        key = generate_private_key(SECP256R1())
        self.key, self.public, self.list = (str(directory / n) for n in ("key.pem", "key.pub", "list.txt"))
        encryption = serialization.BestAvailableEncryption(b"secret")
        pem = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
        Path(self.key).write_bytes(key.private_bytes(*pem))
        public = (serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        Path(self.public).write_bytes(key.public_key().public_bytes(*public))
        Path(self.list).write_text("".join(f"{n:032x}\n" for n in range(0xABCDE, 0xABCE2)), "ascii")
        self.signature = f"{self.list}.sig"

    def sign(self, hash_set: str, *options: str, password: str = "secret\n") -> Result:  # noqa: S107 - a test's
        arguments = ["sign", self.list, "--hash-set", hash_set, "--sign-with", self.key, "-o", self.signature]
        return CliRunner().invoke(main, [*arguments, *options], input=password)

    def verify(self, *options: str) -> tuple[int, dict[str, Any]]:
        done = CliRunner().invoke(main, ["verify", self.list, "--trusted-keys", self.public, "--json", *options])
        return done.exit_code, json.loads(done.stdout)


@pytest.fixture
def place(tmp_path: Path) -> SigningPlace:
    return SigningPlace(tmp_path)


def test_a_list_is_verified_offline(place: SigningPlace) -> None:
    assert place.sign("nl/known", password="wrong\n").exit_code == REFUSED  # noqa: S106 - a test's
    assert not Path(place.signature).exists()
    assert place.sign("nl/known").exit_code == DONE
    code, told = place.verify()
    assert (code, told["signed"], told["entry_count"], told["hash_set"]) == (DONE, True, 4, "nl/known")
    other = SigningPlace(Path(place.list).parent / "..")
    code, told = place.verify("--trusted-keys", other.public)
    assert (code, told["signed"], told["keys"]) == (REFUSED, False, [])
    Path(place.list).write_text("ab" * 16 + "\n", "ascii")
    code, told = place.verify()
    assert (code, told["signed"], len(told["problems"])) == (REFUSED, False, 2)
    Path(place.signature).unlink()
    code, told = place.verify()
    assert (code, told["error"]["reason"]) == (REFUSED, "INVALID_FIELD")


def test_an_entry_is_verified_by_what_the_hub_proves(place: SigningPlace, run: Run, tmp_path: Path) -> None:
    for command in (
        ("contributor", "create", "signers", "--kind", "hotline", "--jurisdiction", "NL"),
        ("hash-set", "create", "signers/list", "--require-signature"),
        ("contributor", "key", "add", "signers", "desk", place.public),
    ):
        assert run(*command).exit_code == DONE
    assert run("import", place.list, "--hash-set", "signers/list").exit_code == REFUSED
    assert place.sign("signers/list").exit_code == DONE
    both = run("import", place.list, "--hash-set", "signers/list", "--signature", place.signature, "--sign-with", "k")
    assert both.exit_code == USAGE
    done = run("import", place.list, "--hash-set", "signers/list", "--signature", place.signature, "--json")
    told = json.loads(done.stdout.splitlines()[-1])
    assert (told["signing_key"], told["counts"]["accepted"], told["resumed_batches"]) == ("desk", 4, 1)
    proof = str(tmp_path / "proof.json")
    assert "signers/list/2 is signed by signers/desk" in run("verify", "signers/list/2", "-o", proof).stdout
    keys = tmp_path / "keys"
    keys.write_text(run("contributor", "key", "list", "signers", "--allowed-signers").stdout)
    offline = CliRunner().invoke(main, ["verify", proof, "--trusted-keys", str(keys)])
    assert offline.stdout == run("verify", "signers/list/2").stdout
    assert CliRunner().invoke(main, ["verify", proof]).exit_code == USAGE
    forged = Path(proof).read_text().replace(f"{0xABCDF:032x}", f"{0xABCDD:032x}")
    Path(proof).write_text(forged)
    assert CliRunner().invoke(main, ["verify", proof, "--trusted-keys", str(keys)]).exit_code == REFUSED
    revoked = run("contributor", "key", "revoke", "signers", "desk", "--stolen", "--json")
    assert json.loads(revoked.stdout)["imports"] == [told["import"]]
    assert run("verify", "signers/list/2").exit_code == REFUSED


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="there is no ssh-keygen")
def test_what_ssh_keygen_cannot_sign_is_told(place: SigningPlace, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\n")
    done = place.sign("nl/known", "--sign-with", str(tmp_path / "key"))
    assert (done.exit_code, "ssh-keygen did not sign" in done.stderr) == (REFUSED, True)
