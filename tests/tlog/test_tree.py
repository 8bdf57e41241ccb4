from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashhub.errors import DataLoss, InvalidArgument
from hashhub.tlog.tree import (
    EMPTY_ROOT,
    ENTRIES,
    HASH_BYTES,
    TILE_BYTES,
    Tile,
    append,
    consistency_proof,
    edge,
    inclusion_proof,
    leaf_hash,
    parse_tile_path,
    root_at,
    verify_consistency,
    verify_inclusion,
)
from tests.tlog.trees import Definitions, KeptTree

_SIZE = 300
_ENTRIES = [sha256(b"entry %d" % i).digest() for i in range(_SIZE)]
_ORACLE = Definitions(_ENTRIES)
# Of the reference implementation of Certificate Transparency (RFC 6962's authors): merkle_tree_test.cc.
_VECTORS = [bytes.fromhex(x) for x in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657")]
_VECTORS.append(bytes(range(0x60, 0x70)))
_ROOTS = (
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)


def _kept(entries: list[bytes]) -> KeptTree:
    tree = KeptTree()
    tree.append(map(leaf_hash, entries))
    return tree


def _changes(proof: list[bytes]) -> list[list[bytes]]:
    """Give proofs that are nearly this one: a hash missing, too many, changed, in another's place."""
    bad = [proof[:-1], proof[1:]] if proof else []
    bad += [[*proof, EMPTY_ROOT], [EMPTY_ROOT, *proof], [*proof, *[EMPTY_ROOT] * 64]]
    bad += [[*proof[:i], EMPTY_ROOT, *proof[i + 1 :]] for i in range(len(proof))]
    return [*bad, [*proof, b"short"], proof[::-1] if proof != proof[::-1] else [EMPTY_ROOT, *proof]]


def test_the_roots_are_those_of_the_authors_of_rfc_6962() -> None:
    tree = KeptTree()
    for entry, root in zip(_VECTORS, _ROOTS, strict=True):
        tree.append([leaf_hash(entry)])
        assert tree.root.hex() == root
    assert root_at(0, tree.read) == EMPTY_ROOT


@pytest.mark.parametrize(
    "sizes",
    [[*range(40), 64, 127, 255, 256, 257, 300], pytest.param([*range(_SIZE + 1)], marks=pytest.mark.deep)],
)
def test_every_root_and_proof_up_to_300_is_as_the_definitions_say(sizes: list[int]) -> None:
    tree = _kept(_ENTRIES)
    for size in sizes:
        root = root_at(size, tree.read)
        assert root == _ORACLE.root(0, size)
        for index in range(size):
            proof = inclusion_proof(index, size, tree.read)
            assert proof == _ORACLE.path(index, 0, size)
            verify_inclusion(index, size, leaf_hash(_ENTRIES[index]), root, proof)
        for old in range(size + 1):
            proof = consistency_proof(old, size, tree.read)
            assert proof == _ORACLE.proof(old, size)
            verify_consistency(old, _ORACLE.root(0, old), size, root, proof)


@given(st.integers(1, _SIZE), st.data())
def test_nothing_else_is_proved(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    old = data.draw(st.integers(0, size))
    tree, root, old_root = _kept(_ENTRIES[:size]), _ORACLE.root(0, size), _ORACLE.root(0, old)
    leaf, proof = leaf_hash(_ENTRIES[index]), inclusion_proof(index, size, tree.read)
    other = data.draw(st.integers(0, size - 1).filter(lambda i: i != index)) if size > 1 else size
    wrong_inclusions = [(index, size, leaf, root, bad) for bad in _changes(proof)]
    wrong_inclusions += [(other, size, leaf, root, proof), (index, size, leaf_hash(b"x"), root, proof)]
    wrong_inclusions += [(index, size, leaf, EMPTY_ROOT, proof), (-1, size, leaf, root, proof)]
    for inclusion in wrong_inclusions:
        with pytest.raises(DataLoss):
            verify_inclusion(*inclusion)
    growth = consistency_proof(old, size, tree.read)
    wrong = [(old, old_root, size, root, bad) for bad in _changes(growth)]
    wrong += [(size + 1, old_root, size, root, growth), (-1, old_root, size, root, growth)]
    wrong += [(old, bytes(HASH_BYTES), size, root, growth)]
    wrong += [(old, old_root, size, bytes(HASH_BYTES), growth)] if old else []
    for pair in wrong:
        with pytest.raises(DataLoss):
            verify_consistency(*pair)


@given(st.lists(st.integers(0, 700), max_size=8))
def test_the_tiles_are_the_same_whatever_is_appended_together(counts: list[int]) -> None:
    leaves = [leaf_hash(b"%d" % i) for i in range(sum(counts))]
    tiles: dict[Tile, bytes] = {}
    size, root = 0, EMPTY_ROOT
    for count in counts:
        given_tiles = {tile: tiles[tile] for tile in edge(size)}  # all that an append may look at
        growth = append(size, given_tiles, leaves[size : size + count])
        size, root = growth.size, growth.root
        tiles |= growth.tiles
    whole = append(0, {}, leaves)
    assert (size, root, tiles) == (*whole[:2], whole.tiles)
    assert {tile: len(data) // HASH_BYTES for tile, data in tiles.items()} == {tile: tile.width(size) for tile in tiles}


def test_a_tree_of_70000_has_the_tiles_that_the_specification_counts() -> None:
    tree = KeptTree()
    tree.append(leaf_hash(b"%d" % i) for i in range(70_000))
    widths: dict[int, list[int]] = {}
    for tile in sorted(tree.tiles):
        widths.setdefault(tile.level, []).append(len(tree.tiles[tile]) // HASH_BYTES)
    assert widths == {0: [256] * 273 + [112], 1: [256, 17], 2: [1]}
    for old, size in ((1, 70_000), (255, 256), (65_535, 65_537), (65_536, 70_000), (4_097, 69_999)):
        proof = consistency_proof(old, size, tree.read)
        verify_consistency(old, root_at(old, tree.read), size, root_at(size, tree.read), proof)
        verify_inclusion(old, size, leaf_hash(b"%d" % old), root_at(size, tree.read),
                         inclusion_proof(old, size, tree.read))  # fmt: skip


def test_a_tile_that_is_missing_or_too_short_is_told() -> None:
    tree = _kept(_ENTRIES)
    for tile in list(tree.tiles):
        short = tree.tiles | {tile: tree.tiles[tile][:-HASH_BYTES]}
        with pytest.raises(DataLoss, match="doctor"):
            append(_SIZE, short, [EMPTY_ROOT]) if tile in edge(_SIZE) else inclusion_proof(0, _SIZE, lambda _: short)  # noqa: B023


@pytest.mark.parametrize(
    ("tile", "width", "path"),
    [
        (Tile(0, 0), 256, "0/000"),
        (Tile(3, 1_234_067), 256, "3/x001/x234/067"),
        (Tile(ENTRIES, 999), 1, "entries/999.p/1"),
        (Tile(63, 1_000), 255, "63/x001/000.p/255"),
    ],
)
def test_paths_are_those_of_the_specification(tile: Tile, width: int, path: str) -> None:
    assert tile.path(width) == path
    assert parse_tile_path(path) == (tile, width)


@pytest.mark.parametrize(
    "path",
    ["", "0", "0/1", "0/0000", "00/000", "64/000", "-1/000", "0/x000/001", "0/001/002", "0/x001", "0/000.p/0",
     "0/000.p/256", "0/000.p/01", "0/000.p/", "0/000/", "/0/000", "0/000\n", "0/\N{ARABIC-INDIC DIGIT THREE}00",
     "0/" + "x999/" * 7 + "999"],
)  # fmt: skip
def test_other_ways_to_write_a_path_are_refused(path: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_tile_path(path)


def test_no_proof_is_made_of_what_a_log_has_not() -> None:
    tree = _kept(_ENTRIES)
    assert len(tree.tiles[Tile(0, 0)]) == TILE_BYTES
    for index, size in ((300, 300), (-1, 300)):
        with pytest.raises(InvalidArgument):
            inclusion_proof(index, size, tree.read)
    with pytest.raises(InvalidArgument):
        consistency_proof(301, 300, tree.read)
