from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hashhub.cli import main
from hashhub.testing.hub_process import RunningHub
from hashhub.tlog.checkpoint import Checkpoint
from hashhub.tlog.note import COSIGNATURE, SignedNote
from hashhub.tlog.proof import LogProof
from hashhub.tlog.tree import entry_of, inclusion_proof, leaf_hash
from tests.tlog.trees import KeptTree, signer
from tests.warm import Warm

_LOG, _WITNESS = signer("log.example.com/hub"), signer("w.example.com", COSIGNATURE, 2)
_SALT = b"s" * 32
_BODY = (
    b'["hashhub-event-1",12,1760000000000,"nl-desk","nl","CONTRIBUTOR","ENTRIES_WITHDRAWN","entries/nl/known/1",'
    b'"FALSE_POSITIVE",{"entries":1},"",""]'
)


def _verify(receipt: Path, *options: str) -> Result:
    """Verify without any hub."""
    policy = str(receipt.with_name("policy"))
    return CliRunner().invoke(main, ["audit", "verify", str(receipt), "--policy", policy, *options])


@pytest.fixture
def receipt(tmp_path: Path) -> Path:
    """A receipt of index 11 among 20, and the policy that believes it."""
    tree = KeptTree()
    tree.append(leaf_hash(entry_of(_SALT, _BODY if i == 11 else b"%d" % i)) for i in range(20))
    text = Checkpoint(_LOG.key.name, tree.size, tree.root).text
    note = str(SignedNote(text, (_LOG.sign(text), _WITNESS.sign(text, 1_760_000_060))))
    proof = LogProof(11, tuple(inclusion_proof(11, tree.size, tree.read)), note.encode())
    (tmp_path / "event.tlog-proof").write_bytes(proof.encode())
    (tmp_path / "event").write_bytes(_SALT + _BODY)
    (tmp_path / "policy").write_text(f"log {_LOG.key}\nwitness w {_WITNESS.key}\nquorum w\n")
    return tmp_path / "event"


def test_a_receipt_tells_what_happened_without_any_hub(receipt: Path) -> None:
    told = json.loads(_verify(receipt, "--json").stdout)
    assert told["event"]["subject"] == "entries/nl/known/1"
    assert (told["log"], told["index"], told["size"]) == (_LOG.key.name, 11, 20)
    assert told["witnessed"] == {"w": "2025-10-09T08:54:20Z"}
    assert "FALSE_POSITIVE" in _verify(receipt).stdout


_STRANGER = signer("v.example.com", COSIGNATURE, 3)


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("event", b"FALSE_POSITIVE", b"ERROR"),
        ("event", b"sss", b"sst"),
        ("event.tlog-proof", b"index 11", b"index 12"),
        ("event.tlog-proof", b"\n20\n", b"\n21\n"),
        ("event.tlog-proof", b"c2sp.org", b"c2sp.com"),
        ("policy", b"quorum w", b"quorum v"),
        ("policy", str(_WITNESS.key).encode(), str(_STRANGER.key).encode()),
        ("policy", str(_LOG.key).encode(), str(signer(_LOG.key.name, seed=4).key).encode()),
    ],
)  # fmt: skip
def test_nothing_else_is_believed(receipt: Path, name: str, before: bytes, after: bytes) -> None:
    file = receipt.with_name(name)
    file.write_bytes(file.read_bytes().replace(before, after))
    refused = _verify(receipt)
    assert refused.exit_code != 0
    assert not refused.stdout


def test_what_happened_at_a_hub_is_shown_without_it(warmed: Warm, tmp_path: Path) -> None:
    with warmed.hub(tmp_path / "hub") as hub:
        _show(hub, tmp_path)


def _show(hub: RunningHub, tmp_path: Path) -> None:
    data = ("--data", str(hub.data))
    environment = {"HASHHUB_SERVER": hub.address, "HASHHUB_TOKEN_FILE": str(hub.token_file)}

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(main, arguments, env=environment, catch_exceptions=False)

    assert run("group", "create", "receipted").exit_code == 0
    shown = json.loads(run("log", "show", *data, "--json").stdout)
    (tmp_path / "policy").write_text(f"log {shown['key']}\nquorum none\n")
    revision = json.loads(run("history", "groups/receipted", "--json").stdout.splitlines()[0])["revision"]
    file = tmp_path / "event"
    assert run("log", "proof", str(revision), "--out", str(file)).exit_code == 0
    assert run("log", "proof", str(revision), "--out", str(file)).exit_code == 1  # nothing is replaced unasked
    told = json.loads(_verify(file, "--json").stdout)
    assert (told["event"]["kind"], told["event"]["subject"]) == ("GROUP_CREATED", "groups/receipted")
    begun = json.loads(run("log", "begin", "--comment", "a test", *data, "--json").stdout)
    assert begun["key"].split("+")[0] == shown["key"].split("+")[0] + "-2"
    assert run("log", "proof", str(revision), "--out", str(file), "--force").exit_code == 1
    assert _verify(file).exit_code == 0
