"""A run: the hashes that a commit has gathered, handed over in order, without being held twice."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from numpy.typing import NDArray

from hashhub.store.leases import PIECE, Piece, ordered_pieces

Gathered = dict[int, list[tuple[NDArray[np.uint8], NDArray[np.int64]]]]
WIDTHS = {1: 16, 2: 20, 3: 32, 9: 144}


def _gathered(most: int, widths: dict[int, int] = WIDTHS) -> Gathered:
    random = np.random.default_rng(1)
    gathered: Gathered = {code: [] for code in widths}
    first = 0
    for rows in random.integers(1, most, 12).tolist():
        for code, width in widths.items():
            entries = np.arange(first, first + rows)
            gathered[code].append((random.integers(0, 256, (rows, width), np.uint8), entries))
        first += rows
    return gathered


def _joined(pieces: list[Piece]) -> dict[int, tuple[list[bytes], list[int]]]:
    joined: dict[int, tuple[list[bytes], list[int]]] = {}
    for code, digests, entries in pieces:
        assert 0 < len(digests) == len(entries) <= PIECE
        texts, ids = joined.setdefault(code, ([], []))
        texts += [row.tobytes() for row in digests]
        ids += entries.tolist()
    return joined


@pytest.mark.parametrize("most", [2, 500, 12_000])
def test_a_run_hands_over_all_hashes_in_the_order_of_algorithms_and_digests(most: int) -> None:
    gathered = _gathered(most)
    expected = {}
    for code, columns in gathered.items():
        pairs = [(row.tobytes(), int(i)) for digests, ids in columns for row, i in zip(digests, ids, strict=True)]
        pairs.sort()
        expected[code] = [digest for digest, _ in pairs], [i for _, i in pairs]
    pieces = list(ordered_pieces(gathered))
    assert _joined(pieces) == expected
    assert list(dict.fromkeys(code for code, _, _ in pieces)) == sorted(WIDTHS)


def test_a_run_puts_one_algorithm_in_order_at_a_time_and_gives_it_back() -> None:
    """What is gathered is up to 256 MiB; all of it in order beside it would be as much again."""
    tracemalloc.start()
    try:
        gathered = _gathered(100_000, dict.fromkeys(range(8), 32))
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        during = [tracemalloc.get_traced_memory()[0] for _ in ordered_pieces(gathered)]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1.5 * held
    assert during[-1] < 0.4 * held
