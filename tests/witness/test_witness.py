from __future__ import annotations

import hashlib
import http.client
import signal
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from hashhub.errors import Conflict
from hashhub.tlog.checkpoint import Checkpoint, parse_checkpoint
from hashhub.tlog.note import MAX_SIGNATURES, SignedNote, parse_key, parse_signatures
from hashhub.tlog.policy import parse_policy
from hashhub.tlog.submission import MAX_SUBMISSION, Submission
from hashhub.tlog.tree import EMPTY_ROOT, consistency_proof, leaf_hash
from hashhub.witness import LogWitnessing
from tests.tlog.trees import KeptTree, signer
from tests.witness.served import ServedWitness

_LOG = signer("log.example.com/hub")
_POLICY = parse_policy(f"log {_LOG.key}\nquorum none\n".encode())


def _tree(size: int, name: str = "") -> KeptTree:
    tree = KeptTree()
    tree.append(leaf_hash(f"{name}{i}".encode()) for i in range(size))
    return tree


def _submission(old: int, tree: KeptTree, *, proof: list[bytes] | None = None) -> bytes:
    text = Checkpoint(_LOG.key.name, tree.size, tree.root).text
    note = SignedNote(text, (_LOG.sign(text),))
    if proof is None:
        proof = consistency_proof(old, tree.size, tree.read) if old <= tree.size else []
    return Submission(old, tuple(proof), str(note).encode()).encode()


@pytest.fixture
def witness(tmp_path: Path) -> Iterator[LogWitnessing]:
    with LogWitnessing(tmp_path / "w", "w.example.com", _POLICY) as opened:
        yield opened


def _cosigned(witness: LogWitnessing, old: int, tree: KeptTree) -> None:
    answer = witness.add_checkpoint(_submission(old, tree))
    assert answer.status == 200, answer
    kept = witness.checkpoint(hashlib.sha256(_LOG.key.name.encode()).hexdigest())
    checkpoint, note = parse_checkpoint(kept.body.encode())
    key = parse_key(witness.key)
    assert note.with_signatures(parse_signatures(answer.body)).signers([key, _LOG.key]).keys() == {key, _LOG.key}
    assert (checkpoint.size, checkpoint.root) == (tree.size, tree.root)


def test_a_log_that_grows_is_cosigned_also_after_a_restart(witness: LogWitnessing, tmp_path: Path) -> None:
    before = 0
    for size in (1, 1, 5, 256, 300):
        _cosigned(witness, before, _tree(size))
        before = size
    with LogWitnessing(tmp_path / "w", "w.example.com", _POLICY) as again:
        assert again.key == witness.key
        _cosigned(again, 300, _tree(301))
        with again.locked(), pytest.raises(Conflict), witness.locked():
            pass


def test_a_log_that_was_forked_shrunk_or_rewritten_is_not(witness: LogWitnessing) -> None:
    tree, other = _tree(9), _tree(20, "another")
    _cosigned(witness, 0, tree)
    forked = KeptTree()
    forked.append([leaf_hash(b"0"), *[leaf_hash(b"new")] * 11])
    for old, log, status in (
        (9, _tree(9, "rewritten"), 422),
        (9, other, 422),
        (9, forked, 422),
        (9, _tree(5), 400),
        (5, _tree(5), 409),
        (0, _tree(5), 409),
        (0, other, 409),
        (20, tree, 400),
    ):
        answer = witness.add_checkpoint(_submission(old, log))
        assert (answer.status, log.size) == (status, log.size)
        assert "—" not in answer.body
    assert witness.add_checkpoint(_submission(9, _tree(9), proof=[EMPTY_ROOT])).status == 422
    conflict = witness.add_checkpoint(_submission(0, tree))
    assert (conflict.body, conflict.media_type) == ("9\n", "text/x.tlog.size")
    _cosigned(witness, 9, _tree(10))


def test_strangers_and_nonsense_are_told_apart(witness: LogWitnessing) -> None:
    known = _submission(0, _tree(3))
    unknown = known.replace(b"log.example.com", b"lag.example.com")
    forged = known[:-8] + b"AAAAAA==\n"[-8:]
    other_key = signer(_LOG.key.name, seed=9)
    text = Checkpoint(_LOG.key.name, 3, _tree(3).root).text
    stranger = Submission(0, (), str(SignedNote(text, (other_key.sign(text),))).encode()).encode()
    empty = Checkpoint(_LOG.key.name, 0, bytes(32)).text
    wrong_root = Submission(0, (), str(SignedNote(empty, (_LOG.sign(empty),))).encode()).encode()
    for body, status in (
        (unknown, 404), (stranger, 403), (forged, 403), (b"", 400), (b"old 0\n", 400), (wrong_root, 422),
        (known.replace(b"old 0", b"old 00"), 400), (known.replace(b"old 0", b"old 0\n" + b"A" * 43 + b"="), 422),
        (b"old 0\n" + (b"A" * 43 + b"=\n") * 64 + known[6:], 400), (b"old 0\n\n" + b"x" * MAX_SUBMISSION, 400),
        (known + b"\xe2\x80\x94 a AAAAAAAAAAA=\n" * MAX_SIGNATURES, 400),
    ):  # fmt: skip
        answer = witness.add_checkpoint(body)
        assert answer.status == status, (body[:80], answer)
    assert witness.checkpoint("0" * 64).status == 404
    _cosigned(witness, 0, _tree(3))


def test_no_kill_makes_it_cosign_two_trees_of_one_size(tmp_path: Path) -> None:
    roots: dict[int, bytes] = {}
    leaves: list[bytes] = []
    sent = leaves
    for turn in range(6):
        served = ServedWitness(tmp_path / "w", _LOG.key)
        killer = threading.Timer(0.03 + 0.02 * turn, served.process.kill)
        killer.start()
        with suppress(OSError, http.client.HTTPException):
            while True:
                unsent, sent = sent, [*leaves, leaf_hash(f"{turn} {len(leaves)}".encode())]
                tree = KeptTree()
                tree.append(sent)
                status, body = served.post(_submission(len(leaves), tree))
                if status == 409:  # it was killed after it had written down what was sent last, and before it said so
                    assert int(body) == len(unsent) > len(leaves)
                    leaves = sent = unsent
                else:
                    assert status == 200
                    assert roots.setdefault(len(sent), tree.root) == tree.root
                    leaves = sent
        served.end(signal.SIGKILL)
    assert len(roots) > 6


def test_it_is_bounded_and_ends_when_told(tmp_path: Path) -> None:
    served = ServedWitness(tmp_path / "w", _LOG.key)
    assert served.post(b"x" * (MAX_SUBMISSION + 1))[0] == 413
    assert served.post(_submission(0, _tree(7)))[0] == 200
    origin_hash = hashlib.sha256(_LOG.key.name.encode()).hexdigest()
    with urllib.request.urlopen(f"{served.url}/{origin_hash}/checkpoint", timeout=30) as answer:  # noqa: S310
        assert parse_checkpoint(answer.read())[0].size == 7
    assert served.end(signal.SIGTERM) == 0
