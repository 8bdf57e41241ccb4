"""A hub is killed between any two steps of appending to the log and of signing it: no event is lost, and no two
checkpoints of one size differ.
"""

from __future__ import annotations

import os
from pathlib import Path

from hashhub.config import Config
from hashhub.hub.log import TransparencyLog
from hashhub.model import SYSTEM
from hashhub.store import Store
from hashhub.tlog.checkpoint import parse_checkpoint
from hashhub.tlog.tree import root_at, verify_consistency
from tests.killed import Steps, killable

_ROUNDS = 3


def work(argument: str, steps: Steps) -> None:
    """Append events, and give a checkpoint out after each: a line of a file that nobody takes back."""
    data, out = argument.split("|")
    store = Store.open(Path(data))
    log = TransparencyLog(store, Config(data=data))
    steps.count_files_in(data)
    for _ in range(_ROUNDS):
        steps.step()
        store.history.note_export({"hash-sets/a/b": {}}, by=SYSTEM, details={})
        steps.step()
        checkpoint, _ = parse_checkpoint(log.view().checkpoint.encode())
        with open(out, "ab", buffering=0) as file:  # noqa: PTH123 - no step of the hub's
            file.write(b"%s %d %s\n" % (checkpoint.origin.encode(), checkpoint.size, checkpoint.root.hex().encode()))
    store.close()


def test_a_kill_between_any_two_steps_contradicts_nothing_that_was_given_out(tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    Store.open(data).close()
    with killable(work) as process:
        kills = 0
        while process.work(f"{data}|{out}", kills + 1):
            kills += 1
    assert kills > 3 * _ROUNDS
    store = Store.open(data)
    log = TransparencyLog(store, Config(data=os.fspath(data)))
    assert not log.warnings()
    newest, _ = parse_checkpoint(log.view().checkpoint.encode())
    assert newest.size == store.history.verify_history(store.database_id).revision
    given = {tuple(line.split()) for line in out.read_text().splitlines()}
    assert len({size for _, size, _ in given}) == len(given) >= _ROUNDS
    for origin, size, root in given:
        assert (origin, root) == (newest.origin, root_at(int(size), store.history.tiles(1)).hex())
        proof = log.view(int(size)).consistency_proof
        verify_consistency(int(size), bytes.fromhex(root), newest.size, newest.root, proof)
    store.close()
