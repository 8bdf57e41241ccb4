"""Sets of ids as arrays and bitmaps: what they hold, and that a large one keeps nobody waiting."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hashhub.store import IdSet
from hashhub.store.entry_codec import are_among, ascending
from tests.turns import keeps_waiting_less

_NUMBERS = st.lists(st.integers(-5, 30), max_size=30)
_MANY = 1_000_000


@given(_NUMBERS, _NUMBERS)
def test_numbers_are_among_others(values: list[int], others: list[int]) -> None:
    ordered = ascending(np.array(others, np.int64))
    assert ordered.tolist() == sorted(set(others))
    assert are_among(np.array(values, np.int64), ordered).tolist() == [value in others for value in values]


@given(st.sets(st.integers(1, 400_000), min_size=1, max_size=50), st.integers(1, 10))
def test_a_set_has_the_ids_that_it_was_built_from(ids: set[int], size: int) -> None:
    built = IdSet.of(ids)
    read = IdSet(built.first, built.last, built.packed)
    for one in (built, read):
        assert [i for piece in one.pieces(size) for i in piece.tolist()] == sorted(ids)
        assert len(one) == len(ids)


def test_a_large_set_has_all_of_its_ids() -> None:
    ids = np.flatnonzero(np.random.default_rng(1).random(700_000) < 0.5).astype(np.int64)
    assert np.array_equal(np.concatenate(list(IdSet.of(ids[::-1]).pieces(100_000))), ids)


def test_a_large_set_keeps_no_other_thread_waiting() -> None:
    ids = np.arange(0, 2 * _MANY, 2, dtype=np.int64)
    assert keeps_waiting_less(lambda: IdSet.of(ids), ids.tolist)


def test_looking_for_many_ids_keeps_no_other_thread_waiting() -> None:
    ids = np.random.default_rng(1).integers(0, 1 << 60, _MANY // 2)
    ordered = ascending(ids)
    assert keeps_waiting_less(lambda: ascending(ids), lambda: np.unique(ids))
    assert keeps_waiting_less(lambda: are_among(ordered[::2], ordered), lambda: np.unique(ids))
