"""Checkpoints of a hub's log, as whoever comes again compares them: a hub that shows two histories is found out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from hashhub import v1
from hashhub.errors import DataLoss, Reason
from hashhub.tlog.checkpoint import Checkpoint, parse_checkpoint
from hashhub.tlog.note import parse_key
from hashhub.tlog.tree import verify_consistency


class KeptCheckpoint(NamedTuple):
    """A checkpoint that was verified: the signed note, and the key that signed it."""

    note: str
    verifier_key: str

    @property
    def checkpoint(self) -> Checkpoint:
        """What the note says."""
        return parse_checkpoint(self.note.encode())[0]


def followed_checkpoint(ask: Callable[[Any], Any], known: KeptCheckpoint | None) -> KeptCheckpoint:
    """Return the checkpoint that a hub shows now, if it is signed and contains the known one. A new log, which an
    operator began, has another origin: nothing is known of it yet. `ask` makes a call.

    Raises DataLoss (LOG_INCONSISTENT, whose metadata have both notes; PROOF_FAILED).
    """
    before = known.checkpoint if known else None
    answer = ask(v1.GetCheckpointRequest(known_size=before.size if before else 0))
    shown, note = parse_checkpoint(answer.checkpoint.encode())
    key = parse_key(answer.verifier_key)
    if key.name != shown.origin or key not in note.signers([key]):
        raise DataLoss("the hub's checkpoint is not signed by the key that it names", reason=Reason.PROOF_FAILED)
    if known and before and before.origin == shown.origin:
        try:
            verify_consistency(before.size, before.root, shown.size, shown.root, answer.consistency_proof)
            if known.verifier_key != answer.verifier_key:
                raise DataLoss(
                    f"log {shown.origin} is signed by another key than before; ask who operates it",
                    reason=Reason.LOG_INCONSISTENT,
                )
        except DataLoss as e:
            e.metadata.update(known=known.note, shown=answer.checkpoint)
            raise
    return KeptCheckpoint(answer.checkpoint, answer.verifier_key)
