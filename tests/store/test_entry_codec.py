from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashhub.errors import DataLoss
from hashhub.hashes import ALGORITHMS, STORED, Hash
from hashhub.model import Flags
from hashhub.store import entry_codec
from hashhub.store.schema import ALGORITHM_CODES

hashes = st.sampled_from(sorted(ALGORITHMS)).flatmap(
    lambda name: st.binary(min_size=ALGORITHMS[name].digest_bytes, max_size=ALGORITHMS[name].digest_bytes).map(
        lambda digest: Hash(name, digest)
    )
)
tri = st.sampled_from([None, False, True])


def test_every_algorithm_has_a_code_of_its_own() -> None:
    assert ALGORITHM_CODES.keys() == STORED.keys()
    assert len(set(ALGORITHM_CODES.values())) == len(ALGORITHM_CODES)
    # Databases hold these; another number would make every stored hash one of another algorithm.
    stored = {"MD5": 1, "SHA1": 2, "SHA256": 3, "PDQ": 4, "PHASH": 5, "DHASH": 6, "PHOTODNA": 7, "VPDQ": 8, "FRAMES": 9}
    assert {name: ALGORITHM_CODES[name] for name in stored} == stored
    assert all(0 < code < 128 for code in ALGORITHM_CODES.values()), "a code is packed as one byte"


@given(st.lists(hashes, max_size=8).map(tuple))
def test_hashes_come_back_in_order(value: tuple[Hash, ...]) -> None:
    assert entry_codec.unpack_hashes(entry_codec.pack_hashes(value)) == value


@given(st.lists(hashes, min_size=1, max_size=3).map(entry_codec.pack_hashes), st.data())
def test_bytes_that_are_not_whole_hashes_are_data_loss(packed: bytes, data: st.DataObject) -> None:
    cut = data.draw(st.integers(1, min(8, len(packed) - 1)))
    with pytest.raises(DataLoss):
        entry_codec.unpack_hashes(packed[:-cut])
    with pytest.raises(DataLoss):
        entry_codec.unpack_hashes(b"\xff" + packed)


@given(st.builds(Flags, **dict.fromkeys(Flags.__struct_fields__, tri)))
def test_flags_come_back(flags: Flags) -> None:
    assert entry_codec.unpack_flags(entry_codec.pack_flags(flags)) == flags


@given(st.lists(st.lists(hashes, max_size=4), max_size=20))
def test_digests_are_gathered_once_each_in_order(entries: list[list[Hash]]) -> None:
    gathered = entry_codec.digests_by_algorithm([entry_codec.pack_hashes(entry) for entry in entries])
    expected: dict[str, set[bytes]] = {}
    for h in (h for entry in entries for h in entry):
        expected.setdefault(h.algorithm, set()).add(h.digest)
    assert {name: [row.tobytes() for row in rows] for name, rows in gathered.items()} == {
        name: sorted(digests) for name, digests in expected.items()
    }


@given(st.lists(st.binary(min_size=3, max_size=3)))
def test_zero_bytes_do_not_confuse_the_order(digests: list[bytes]) -> None:
    matrix = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 3)
    assert [row.tobytes() for row in entry_codec.distinct(matrix)] == sorted(set(digests))


wide = st.tuples(
    st.sampled_from([bytes(8), b"\0\0\0\0\0\0\0\1", b"\xff" * 8]) | st.binary(min_size=8, max_size=8),
    st.binary(min_size=8, max_size=8),
)


@given(st.lists(wide.map(b"".join)))
def test_digests_that_begin_alike_are_in_order_and_once_each(digests: list[bytes]) -> None:
    matrix = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 16)
    assert [row.tobytes() for row in entry_codec.distinct(matrix)] == sorted(set(digests))


@given(st.lists(st.lists(hashes, max_size=2), max_size=30))
def test_every_entry_is_cut_apart_once_with_those_of_its_shape(entries: list[list[Hash]]) -> None:
    packed = [entry_codec.pack_hashes(entry) for entry in entries]
    parts = list(entry_codec.cut(packed))
    assert sorted(
        (i, row.tobytes()) for _, rows, matrix in parts for i, row in zip(rows.tolist(), matrix, strict=True)
    ) == [(i, whole) for i, whole in enumerate(packed) if whole]
    assert all(entry_codec.shape_of(row.tobytes()) == shape for shape, _, matrix in parts for row in matrix)
    assert all(rows.tolist() == sorted(rows.tolist()) for _, rows, _ in parts)
    assert len({shape for shape, _, _ in parts}) == len(parts)
