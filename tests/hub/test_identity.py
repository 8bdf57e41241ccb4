"""Keys as arrays: in order, each once, and found among each other."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hashhub.hub.intake.hash_set import expand_ranges, least_by_key
from hashhub.hub.intake.identity import as_scalars, distinct, heads, places_among
from tests.turns import keeps_waiting_less

# Few different beginnings and ends, so that keys share the first, the second or both.
_KEYS = st.lists(
    st.builds(
        bytes.__add__,
        st.sampled_from(
            [bytes(8), b"\x00\x00\x00\x00\x00\x00\x00\x01", b"\x01" + bytes(7), b"\xff" * 8, b"\x80abcdefg"]
        ),
        st.sampled_from([bytes(8), bytes(7) + b"\x01", b"\xff" * 8]),
    ),
    max_size=30,
)


@given(_KEYS)
def test_keys_are_told_apart_and_sorted_as_bytes(keys: list[bytes]) -> None:
    values, numbers = distinct(np.frombuffer(b"".join(keys), np.uint8).reshape(-1, 16))
    packed = values.tobytes()  # an element by itself would lose the zeros at its end
    told_apart = [packed[at : at + 16] for at in range(0, len(packed), 16)]
    assert told_apart == sorted(set(keys))
    assert [told_apart[number] for number in numbers.tolist()] == keys


@given(_KEYS, _KEYS)
def test_places_are_those_of_a_search_one_by_one(known: list[bytes], wanted: list[bytes]) -> None:
    ordered, looked_for = (heads(np.frombuffer(b"".join(keys), np.uint8).reshape(-1, 16)) for keys in (known, wanted))
    ordered = np.sort(ordered)
    places = places_among(ordered, looked_for)
    assert places.tolist() == [int(np.searchsorted(ordered, one)) for one in looked_for]


def test_keys_of_which_some_come_often_are_told_apart() -> None:
    keys = np.random.default_rng(1).integers(0, 256, (5_000, 20), np.uint8)
    keys[::7] = keys[0]
    values, numbers = distinct(keys)
    assert values.tolist() == sorted(set(values.tolist()))
    assert (values[numbers] == as_scalars(keys)).all()


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 20)), max_size=30))
def test_the_least_value_of_each_key(pairs: list[tuple[int, int]]) -> None:
    keys, values = (np.array([pair[side] for pair in pairs], np.int64) for side in (0, 1))
    least = least_by_key(keys, values, 7)
    for key in range(7):
        assert least[key] == min((v for k, v in pairs if k == key), default=np.iinfo(np.int64).max)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3), st.integers(0, 9)), max_size=12))
def test_ranges_are_written_out(ranges: list[tuple[int, int, int]]) -> None:
    numbers, values = expand_ranges(*(np.array([one[side] for one in ranges], np.int64) for side in range(3)))
    expected = [(start + n, value) for start, count, value in ranges for n in range(count)]
    assert list(zip(numbers.tolist(), values.tolist(), strict=True)) == expected


def test_a_long_list_keeps_no_other_thread_waiting() -> None:
    many = 3_000_000
    keys = np.random.default_rng(1).permutation(many)
    least = np.full(many, many)
    assert keeps_waiting_less(lambda: least_by_key(keys, keys, many), lambda: np.minimum.at(least, keys, keys))

    keys = np.arange(4 * many)
    ones = np.ones(4 * many, np.int64)
    assert keeps_waiting_less(lambda: expand_ranges(keys, ones, keys), lambda: np.repeat(keys, ones))
