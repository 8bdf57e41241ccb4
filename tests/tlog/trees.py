"""The definitions of RFC 6962, section 2.1, word for word: the oracle for hashhub.tlog.tree. And a tree, and keys."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hashhub.tlog.note import ED25519, NoteSigner
from hashhub.tlog.tree import Tile, append


def _power_below(size: int) -> int:
    power = 1
    while power * 2 < size:
        power *= 2
    return power


class Definitions:
    """Roots and proofs of entries D[0:n]; subtrees are remembered, so that many sizes can be asked for."""

    def __init__(self, entries: Sequence[bytes]) -> None:
        self._entries = entries
        self._roots: dict[tuple[int, int], bytes] = {}

    def root(self, start: int, end: int) -> bytes:
        """MTH(D[start:end])."""
        if start == end:
            return sha256(b"").digest()
        if (start, end) not in self._roots:
            if end - start == 1:
                value = sha256(b"\0" + self._entries[start]).digest()
            else:
                k = start + _power_below(end - start)
                value = sha256(b"\1" + self.root(start, k) + self.root(k, end)).digest()
            self._roots[start, end] = value
        return self._roots[start, end]

    def path(self, index: int, start: int, end: int) -> list[bytes]:
        """PATH(index, D[start:end]), with the index counted from 0."""
        if end - start == 1:
            return []
        k = start + _power_below(end - start)
        if index < k:
            return [*self.path(index, start, k), self.root(k, end)]
        return [*self.path(index, k, end), self.root(start, k)]

    def proof(self, old: int, size: int) -> list[bytes]:
        """PROOF(old, D[size])."""
        return self._subproof(old, 0, size, is_old_root=True) if old else []

    def _subproof(self, old: int, start: int, end: int, *, is_old_root: bool) -> list[bytes]:
        if old == end:
            return [] if is_old_root else [self.root(start, end)]
        k = start + _power_below(end - start)
        if old <= k:
            return [*self._subproof(old, start, k, is_old_root=is_old_root), self.root(k, end)]
        return [*self._subproof(old, k, end, is_old_root=False), self.root(start, k)]


class KeptTree:
    """A tree in memory, as a database would keep it."""

    def __init__(self) -> None:
        self.size = 0
        self.root = b""
        self.tiles: dict[Tile, bytes] = {}

    def append(self, leaves: Iterable[bytes]) -> None:
        self.size, self.root, changed = append(self.size, self.tiles, leaves)
        self.tiles.update(changed)

    def read(self, tiles: Collection[Tile]) -> Mapping[Tile, bytes]:
        return {tile: self.tiles[tile] for tile in tiles}


def signer(name: str, kind: int = ED25519, seed: int = 1) -> NoteSigner:
    return NoteSigner(name, Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32), kind)
