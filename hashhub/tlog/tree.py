"""The Merkle tree of RFC 6962 over SHA-256, kept as tiles of 256 hashes.

A hash of the tile at level L covers 256^L leaves; tile N of a level has the hashes from 256 N on, and the last tile of
a level may have fewer. A tree of a given size needs of each tile the first `Tile.width(size)` hashes, so that tiles of
a larger tree serve every smaller one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from typing import Final, NamedTuple

from hashhub.errors import DataLoss, InvalidArgument, Reason

HASH_BYTES: Final = 32
TILE_HEIGHT: Final = 8
TILE_HASHES: Final = 1 << TILE_HEIGHT
TILE_BYTES: Final = TILE_HASHES * HASH_BYTES
EMPTY_ROOT: Final = sha256(b"").digest()
MAX_SIZE: Final = (1 << 63) - 1
MAX_PROOF: Final = 63
"""Hashes of a proof in a tree of at most MAX_SIZE leaves."""

ENTRIES: Final = -1
"""The level of `Tile` under which bundles of entries have their paths."""
_PATH: Final = re.compile(r"(entries|0|[1-9][0-9]?)((?:/x[0-9]{3}){0,6})/([0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?")
_MAX_LEVEL: Final = 63


class Tile(NamedTuple):
    """Which tile it is: its level from the leaves up, and its number within the level."""

    level: int
    number: int

    def width(self, size: int) -> int:
        """Return how many hashes (or entries) a tree of this size needs of the tile, at most TILE_HASHES."""
        complete = size >> (TILE_HEIGHT * max(self.level, 0))
        return max(0, min(TILE_HASHES, complete - (self.number << TILE_HEIGHT)))

    def path(self, width: int = TILE_HASHES) -> str:
        """Return where it is served, below `tile/`."""
        groups, number = [f"{self.number % 1000:03d}"], self.number // 1000
        while number:
            groups.append(f"x{number % 1000:03d}")
            number //= 1000
        level = "entries" if self.level == ENTRIES else str(self.level)
        part = "" if width == TILE_HASHES else f".p/{width}"
        return f"{level}/{'/'.join(reversed(groups))}{part}"


Tiles = Callable[[Collection[Tile]], Mapping[Tile, bytes]]
"""Reads tiles, each with at least the hashes that the tree at hand needs."""


class Growth(NamedTuple):
    """What an append makes of a tree: its size and root, and the tiles that are new or longer."""

    size: int
    root: bytes
    tiles: dict[Tile, bytes]


def parse_tile_path(path: str) -> tuple[Tile, int]:
    """Return the tile (level ENTRIES: the bundle) that a path below `tile/` names, and how wide it shall be. Raises
    InvalidArgument for anything but the one way to write it.
    """
    if parts := _PATH.fullmatch(path):
        level, high, low, width = parts.groups()
        tile = Tile(ENTRIES if level == "entries" else int(level), int(high.replace("/x", "") + low))
        asked = int(width or TILE_HASHES)
        if tile.level <= _MAX_LEVEL and asked <= TILE_HASHES and tile.path(asked) == path:
            return tile, asked
    raise InvalidArgument.field("path", "is no tile's; expected LEVEL/NUMBER or entries/NUMBER, as c2sp.org/tlog-tiles")


def leaf_hash(entry: bytes) -> bytes:
    """Return the leaf of an entry."""
    return sha256(b"\0" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the node above two others."""
    return sha256(b"\1" + left + right).digest()


def entry_of(salt: bytes, body: bytes) -> bytes:
    """Return the entry of an event, which tells who has no salt nothing about it."""
    return sha256(salt + body).digest()


def entry_bundle(entries: Iterable[bytes]) -> bytes:
    """Return entries as they are served beside the tiles of level 0."""
    return b"".join([len(entry).to_bytes(2, "big") + entry for entry in entries])


def edge(size: int) -> list[Tile]:
    """Return the incomplete tiles of a tree, which an append continues: at most one of each level."""
    levels = range((size.bit_length() + TILE_HEIGHT - 1) // TILE_HEIGHT)
    last = (Tile(level, size >> (TILE_HEIGHT * (level + 1))) for level in levels)
    return [tile for tile in last if tile.width(size)]


def append(size: int, tiles: Mapping[Tile, bytes], leaves: Iterable[bytes]) -> Growth:
    """Append leaves (of `leaf_hash`) to a tree of which the tiles of its `edge` are given."""
    added = b"".join(leaves)
    grown = size + len(added) // HASH_BYTES
    if not 0 <= size <= grown <= MAX_SIZE:
        raise InvalidArgument.field("size", f"must be from 0 to {MAX_SIZE}")
    changed: dict[Tile, bytes] = {}
    level, before = 0, size
    while added:
        number = before >> TILE_HEIGHT
        first = Tile(level, number)
        run = _hashes(tiles, first, before % TILE_HASHES) + added
        for start in range(0, len(run), TILE_BYTES):
            changed[Tile(level, number + start // TILE_BYTES)] = run[start : start + TILE_BYTES]
        added = _raised(run[: len(run) // TILE_BYTES * TILE_BYTES], TILE_HEIGHT)
        level, before = level + 1, before >> TILE_HEIGHT
    return Growth(grown, _root(grown, {**tiles, **changed}), changed)


def root_at(size: int, read: Tiles) -> bytes:
    """Return the root of the tree when it had this size."""
    return _root(size, read(edge(size)))


def inclusion_proof(index: int, size: int, read: Tiles) -> list[bytes]:
    """Return the proof that the leaf of an index is in the tree of a size. Raises InvalidArgument where none is."""
    if not 0 <= index < size:
        raise InvalidArgument.field("index", f"is {index}, in a log of {size} entries; expected a smaller one")
    start, end, ranges = 0, size, []
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((start, middle))
            start = middle
    return _range_hashes(ranges[::-1], read)


def consistency_proof(old: int, size: int, read: Tiles) -> list[bytes]:
    """Return the proof that the tree of a size begins with the tree of an old size. Raises InvalidArgument where that
    is larger.
    """
    if not 0 <= old <= size:
        raise InvalidArgument.field("old", f"is {old}, of a log of {size} entries; expected at most as many")
    start, end, ranges = 0, size, []
    if 0 < old < size:
        while old < end:
            middle = start + _split(end - start)
            if old <= middle:
                ranges.append((middle, end))
                end = middle
            else:
                ranges.append((start, middle))
                start = middle
        if start:
            ranges.append((start, end))
    return _range_hashes(ranges[::-1], read)


def verify_inclusion(index: int, size: int, leaf: bytes, root: bytes, proof: Sequence[bytes]) -> None:
    """Raise DataLoss (PROOF_FAILED) unless the proof shows that the leaf is at that index of the tree."""
    result, at, last = leaf, index, size - 1
    fits = 0 <= index < size <= MAX_SIZE and _is_proof(proof)
    for sibling in proof if fits else ():
        if not last:
            fits = False
            break
        if at & 1 or at == last:
            result = node_hash(sibling, result)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            result = node_hash(result, sibling)
        at, last = at >> 1, last >> 1
    if not fits or last or result != root:
        raise DataLoss(
            f"the proof does not show the entry at index {index} of a log of {size}; ask for the proof again, and "
            "check that the file is the one that it is about",
            reason=Reason.PROOF_FAILED,
        )


def verify_consistency(old: int, old_root: bytes, size: int, root: bytes, proof: Sequence[bytes]) -> None:
    """Raise DataLoss (LOG_INCONSISTENT) unless the proof shows that the tree begins with the old one."""
    if not _is_consistent(old, old_root, size, root, proof):
        raise DataLoss(
            f"the log of {size} entries is not shown to begin with the {old} that it had: it was rewritten, or "
            "restored from a backup; keep both checkpoints, and ask who operates it",
            reason=Reason.LOG_INCONSISTENT,
        )


def _is_consistent(old: int, old_root: bytes, size: int, root: bytes, proof: Sequence[bytes]) -> bool:
    if not 0 <= old <= size <= MAX_SIZE or not _is_proof(proof):
        return False
    if old in {0, size}:
        is_empty = (root == EMPTY_ROOT) == (size == 0)
        return not proof and is_empty and old_root == (root if old == size else EMPTY_ROOT)
    hashes = iter([old_root, *proof] if old & (old - 1) == 0 else proof)
    first = next(hashes, None)
    at, last = old - 1, size - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    if first is None:
        return False
    before = after = first
    for sibling in hashes:
        if not last:
            return False
        if at & 1 or at == last:
            before, after = node_hash(sibling, before), node_hash(sibling, after)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            after = node_hash(after, sibling)
        at, last = at >> 1, last >> 1
    return not last and before == old_root and after == root


def _is_proof(proof: Sequence[bytes]) -> bool:
    return len(proof) <= MAX_PROOF and all(len(hash_) == HASH_BYTES for hash_ in proof)


def _split(size: int) -> int:
    """Return the largest power of two below a size, which is 2 at least."""
    return 1 << (size - 1).bit_length() - 1


def _raised(hashes: bytes, levels: int) -> bytes:
    """Return the nodes so many levels above hashes, of which there is a multiple of 2^levels."""
    for _ in range(levels):
        hashes = b"".join(
            [sha256(b"\1" + hashes[i : i + 2 * HASH_BYTES]).digest() for i in range(0, len(hashes), 2 * HASH_BYTES)]
        )
    return hashes


@lru_cache(maxsize=512)  # of 4 kB at most: an append and a proof meet the same subtrees as those before, 450 → 90 µs
def _subtree_root(hashes: bytes, levels: int) -> bytes:
    return _raised(hashes, levels)


def _complete(start: int, end: int) -> Iterator[tuple[int, int]]:
    """Give the complete subtrees of a subtree's range of leaves, the largest first: height and number."""
    while start < end:
        height = (end - start).bit_length() - 1
        yield height, start >> height
        start += 1 << height


def _place(height: int, number: int) -> tuple[Tile, int, int]:
    """Return the tile in which the hashes below a complete subtree's root are, their place there, and their levels."""
    level, levels = divmod(height, TILE_HEIGHT)
    first = number << levels
    return Tile(level, first >> TILE_HEIGHT), first % TILE_HASHES, levels


def _range_hashes(ranges: Sequence[tuple[int, int]], read: Tiles) -> list[bytes]:
    needed = {_place(*subtree)[0] for bounds in ranges for subtree in _complete(*bounds)}
    tiles = read(needed) if needed else {}
    return [_range_hash(start, end, tiles) for start, end in ranges]


def _range_hash(start: int, end: int, tiles: Mapping[Tile, bytes]) -> bytes:
    """Return the root of the subtree over a range of leaves."""
    result = b""
    for height, number in reversed(list(_complete(start, end))):
        tile, first, levels = _place(height, number)
        below = _hashes(tiles, tile, first + (1 << levels))[first * HASH_BYTES :]
        root = _subtree_root(below, levels)
        result = node_hash(root, result) if result else root
    return result


def _root(size: int, tiles: Mapping[Tile, bytes]) -> bytes:
    return _range_hash(0, size, tiles) if size else EMPTY_ROOT


def _hashes(tiles: Mapping[Tile, bytes], tile: Tile, count: int) -> bytes:
    """Return the first hashes of a tile."""
    hashes = tiles.get(tile, b"")
    if len(hashes) < count * HASH_BYTES:
        raise DataLoss(
            f"tile {tile.path()} of the log has {len(hashes) // HASH_BYTES} hashes, of {count} that it must have; run "
            "hashhub doctor",
            reason=Reason.HISTORY_BROKEN,
        )
    return hashes[: count * HASH_BYTES]
