"""What every witness must do for a log of ours."""

from __future__ import annotations

from pathlib import Path

from hashhub.hub.witnessing import LogWitnessRounds
from hashhub.tlog.checkpoint import Checkpoint
from hashhub.tlog.note import NoteSigner, SignedNote
from hashhub.tlog.policy import parse_policy
from hashhub.tlog.tree import consistency_proof, leaf_hash
from tests.tlog.trees import KeptTree


def check_witness(url: str, key: str, log: NoteSigner, file: Path) -> None:
    """Have a log witnessed while it grows, and see that nothing else of its name is."""
    policy = parse_policy(f"log {log.key}\nwitness w {key} {url}\nquorum w\n".encode())

    def tree_of(size: int, name: str = "") -> KeptTree:
        tree = KeptTree()
        tree.append(leaf_hash(f"{name if i else ''}{i}".encode()) for i in range(size))
        return tree

    shown = tree_of(1)

    def newest() -> str:
        text = Checkpoint(log.key.name, shown.size, shown.root).text
        return str(SignedNote(text, (log.sign(text),)))

    def is_witnessed(tree: KeptTree) -> bool:
        nonlocal shown
        shown = tree
        rounds.round()
        return file.exists() and policy.believe(file.read_bytes()).checkpoint[1:3] == (tree.size, tree.root)

    def rounds_anew() -> LogWitnessRounds:  # as after a restart
        return LogWitnessRounds(
            policy, newest, lambda old, size: consistency_proof(old, size, shown.read), file, seconds=1
        )

    rounds = rounds_anew()
    assert all(is_witnessed(tree_of(size)) for size in (1, 7, 300))
    rounds = rounds_anew()
    assert is_witnessed(tree_of(301))
    for wrong in (tree_of(301, "rewritten"), tree_of(400, "forked"), tree_of(300), tree_of(5, "forked")):
        assert not is_witnessed(wrong)
        assert "rewritten" in rounds.problems["w"], rounds.problems
        rounds = rounds_anew()
        assert not is_witnessed(wrong)
        assert "rewritten" in rounds.problems["w"], rounds.problems
    assert is_witnessed(tree_of(302))
    assert not rounds.problems
