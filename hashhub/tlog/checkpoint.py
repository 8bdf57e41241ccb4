"""Checkpoints: the origin, size and root of a log, as a signed note (c2sp.org/tlog-checkpoint)."""

from __future__ import annotations

from typing import NamedTuple

from hashhub.errors import InvalidArgument
from hashhub.tlog.note import SignedNote, decode_base64, encode_base64, parse_note, parse_number
from hashhub.tlog.tree import HASH_BYTES


class Checkpoint(NamedTuple):
    """How far a log is. `extensions`: further lines of its text, which nobody here interprets."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """What is signed."""
        return "".join([f"{line}\n" for line in (self.origin, self.size, encode_base64(self.root), *self.extensions)])


def parse_checkpoint(content: bytes) -> tuple[Checkpoint, SignedNote]:
    """Return what a checkpoint says, and its note, of which no signature is verified yet. Raises InvalidArgument."""
    note = parse_note(content)
    lines = note.text.removesuffix("\n").split("\n")
    if len(lines) < 3 or not all(lines):  # noqa: PLR2004 - origin, size, root
        raise InvalidArgument.field("checkpoint", "must have lines with the origin, the size and the root of a log")
    origin, size, root, *extensions = lines
    checkpoint = Checkpoint(origin, parse_number(size, "size"), decode_base64(root, "root"), tuple(extensions))
    if len(checkpoint.root) != HASH_BYTES:
        raise InvalidArgument.field("root", f"must have {HASH_BYTES} bytes")
    return checkpoint, note
