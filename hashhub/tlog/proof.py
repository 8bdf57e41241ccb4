"""That an entry is in a log, in one text that is verified offline (c2sp.org/tlog-proof@v1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from hashhub.errors import InvalidArgument
from hashhub.tlog.note import MAX_NOTE, decode_base64, encode_base64, parse_number
from hashhub.tlog.policy import BelievedCheckpoint, LogPolicy
from hashhub.tlog.tree import HASH_BYTES, MAX_PROOF, leaf_hash, verify_inclusion

PROOF_SUFFIX: Final = ".tlog-proof"
_FORMAT: Final = "c2sp.org/tlog-proof@v1"
_MAX_EXTRA: Final = 64 * 1024  # characters


@dataclass(frozen=True)
class LogProof:
    """The index of an entry, its inclusion proof, a checkpoint, and data that nothing vouches for (`extra`)."""

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes = b""

    def encode(self) -> bytes:
        """Return the text."""
        extra = [f"extra {encode_base64(self.extra)}"] if self.extra else []
        lines = [_FORMAT, *extra, f"index {self.index}", *map(encode_base64, self.hashes), "", ""]
        return "\n".join(lines).encode() + self.checkpoint

    def verify(self, entry: bytes, policy: LogPolicy) -> BelievedCheckpoint:
        """Return the checkpoint with which the policy believes that the entry is in the log. Raises InvalidArgument for
        a malformed one, DataLoss (PROOF_FAILED) where it does not.
        """
        believed = policy.believe(self.checkpoint)
        checkpoint = believed.checkpoint
        verify_inclusion(self.index, checkpoint.size, leaf_hash(entry), checkpoint.root, self.hashes)
        return believed


def parse_log_proof(content: bytes) -> LogProof:
    """Return a proof from its text. Raises InvalidArgument."""
    head, _, checkpoint = content[: MAX_NOTE + 2 * _MAX_EXTRA].partition(b"\n\n")
    first, *lines = head.decode("ascii", "replace").split("\n")
    extra = lines.pop(0).removeprefix("extra ") if lines and lines[0].startswith("extra ") else ""
    index, *hashes = (*lines, "")
    hashes = hashes[:-1]
    if first != _FORMAT or len(extra) > _MAX_EXTRA or not index.startswith("index ") or len(hashes) > MAX_PROOF:
        raise InvalidArgument.field(
            "proof", f"must begin with {_FORMAT!r}, then an index, at most {MAX_PROOF} hashes, and a checkpoint"
        )
    proof = tuple([decode_base64(line, "proof") for line in hashes])
    if any(len(hash_) != HASH_BYTES for hash_ in proof):
        raise InvalidArgument.field("proof", f"must have hashes of {HASH_BYTES} bytes")
    return LogProof(
        parse_number(index.removeprefix("index "), "index"), proof, checkpoint, decode_base64(extra, "extra")
    )
