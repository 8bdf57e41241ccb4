"""Others' software judges our log: sigsum-witness and spicy-litetlog (Debian), aics-witness (Python 3.12 or newer)."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_public_key

from hashhub.tlog.checkpoint import Checkpoint
from hashhub.tlog.note import COSIGNATURE, NoteSigner, SignedNote, VerifierKey
from hashhub.tlog.proof import LogProof
from hashhub.tlog.tree import entry_of, inclusion_proof, leaf_hash
from tests.tlog.trees import KeptTree, signer
from tests.witness.judged import check_witness


def _program(name: str) -> str:
    if path := shutil.which(name):
        return path
    pytest.skip(f"there is no {name} on this machine")


@contextmanager
def _listening(*command: str, port: int, cwd: Path) -> Iterator[str]:
    with ExitStack() as stack:
        environment = {**os.environ, "GODEBUG": "httpmuxgo121=0"}  # sigsum-witness has paths of Go 1.21
        process = stack.enter_context(subprocess.Popen(command, cwd=cwd, env=environment, stderr=subprocess.DEVNULL))
        stack.callback(process.terminate)
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                assert process.poll() is None
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def test_sigsum_witness(tmp_path: Path) -> None:
    program, port = _program("sigsum-witness"), _free_port()
    private = Ed25519PrivateKey.generate()
    (tmp_path / "log.pub").write_bytes(
        private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH) + b"\n"
    )
    subprocess.run([_program("sigsum-key"), "generate", "-o", "key"], cwd=tmp_path, check=True)
    public = load_ssh_public_key((tmp_path / "key.pub").read_bytes()).public_bytes(Encoding.Raw, PublicFormat.Raw)
    name = f"sigsum.org/v1/witness/{hashlib.sha256(public).hexdigest()}"
    log = f"sigsum.org/v1/tree/{hashlib.sha256(private.public_key().public_bytes_raw()).hexdigest()}"
    arguments = ("-k", "key", "--log-key", "log.pub", "--state-file", "state", f"127.0.0.1:{port}")
    with _listening(program, *arguments, port=port, cwd=tmp_path) as url:
        check_witness(
            url, str(VerifierKey(name, COSIGNATURE, public)), NoteSigner(log, private), tmp_path / "witnessed"
        )


def test_aics_witness(tmp_path: Path) -> None:
    program, port, log = _program("aics-witness"), _free_port(), signer("log.example.com/hub")

    def run(*arguments: str) -> str:
        command = [program, *arguments, "-c", "w.json"]
        return subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    key = run("init", "--name", "witness.example.com/aics").splitlines()[-1]
    run("add-log", "--origin", log.key.name, "--vkey", str(log.key))
    with _listening(program, "serve", "-c", "w.json", "--listen", f"127.0.0.1:{port}", port=port, cwd=tmp_path) as url:
        check_witness(url, key, log, tmp_path / "witnessed")


def test_spicy_litetlog_finds_the_entry_of_a_receipt(tmp_path: Path) -> None:
    program, log, tree = _program("spicy-litetlog"), signer("log.example.com/hub"), KeptTree()
    entries = [entry_of(b"salt" * 8, b"%d" % i) for i in range(300)]
    tree.append(map(leaf_hash, entries))
    text = Checkpoint(log.key.name, tree.size, tree.root).text
    note = str(SignedNote(text, (log.sign(text),))).encode()
    proof = LogProof(257, tuple(inclusion_proof(257, tree.size, tree.read)), note).encode()
    (tmp_path / "entry.spicy").write_bytes(proof.partition(b"\n")[2])  # its format is ours without the first line
    for index, code in ((257, 0), (256, 1)):
        (tmp_path / "entry").write_bytes(entries[index])
        judged = subprocess.run(
            [program, "-verify", str(log.key), "entry"], cwd=tmp_path, capture_output=True, check=False
        )
        assert judged.returncode == code, judged.stderr
