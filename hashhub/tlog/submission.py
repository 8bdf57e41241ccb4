"""What a log sends a witness: a checkpoint, and the proof that it goes on from the last one (c2sp.org/tlog-witness)."""

from __future__ import annotations

from typing import Final, NamedTuple

from hashhub.errors import InvalidArgument
from hashhub.tlog.note import MAX_NOTE, decode_base64, encode_base64, parse_number
from hashhub.tlog.tree import HASH_BYTES, MAX_PROOF

MAX_SUBMISSION: Final = MAX_NOTE + 4_096
"""Bytes."""
SIZE_TYPE: Final = "text/x.tlog.size"
"""The media type of the answer that says how large the witness knows the log."""


class Submission(NamedTuple):
    """The body of a request to `add-checkpoint`. `old`: the size that the witness has cosigned last."""

    old: int
    proof: tuple[bytes, ...]
    checkpoint: bytes

    def encode(self) -> bytes:
        """Return the body."""
        lines = [f"old {self.old}", *map(encode_base64, self.proof), "", ""]
        return "\n".join(lines).encode() + self.checkpoint


def parse_submission(content: bytes) -> Submission:
    """Return what a body says, whose checkpoint is not read yet. Raises InvalidArgument."""
    head, _, checkpoint = content[:MAX_SUBMISSION].partition(b"\n\n")
    old, *proof = head.decode("ascii", "replace").split("\n")
    hashes = tuple([decode_base64(line, "proof") for line in proof[: MAX_PROOF + 1]])
    if not old.startswith("old ") or len(hashes) > MAX_PROOF or any(len(hash_) != HASH_BYTES for hash_ in hashes):
        raise InvalidArgument.field(
            "body", f"must be a line 'old SIZE', at most {MAX_PROOF} lines with hashes, an empty line and a checkpoint"
        )
    return Submission(parse_number(old.removeprefix("old "), "old"), hashes, checkpoint)
