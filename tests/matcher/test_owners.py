"""Who has a digest: known through every way in which a matcher's segments change, and each contributor's share."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from random import Random

import numpy as np
import pytest
from numpy.typing import NDArray

from hashhub.matcher import Matcher

ALL = frozenset(range(1, 6))


def rows(*numbers: int) -> NDArray[np.uint8]:
    return np.array([list(Random(n).randbytes(32)) for n in numbers], np.uint8).reshape(-1, 32)


def owners(matcher: Matcher, number: int) -> frozenset[int] | None:
    found = matcher.search("PDQ", rows(number), max_distance=0, among=lambda: [ALL], caller=None)
    return found.owners[0] if len(found) else frozenset()


@pytest.mark.parametrize("seed", range(4))
def test_owners_are_known_whatever_becomes_of_segments(tmp_path: Path, seed: int) -> None:
    random, model = Random(seed), defaultdict[int, set[int]](set)
    publisher = Matcher(tmp_path, threads=1)
    other = Matcher(tmp_path, publisher=False, threads=1)
    with publisher, other:
        for revision in range(1, 60):
            key, numbers = random.randint(1, 5), random.sample(range(3_000), random.choice((1, 40, 900)))
            for matcher in (publisher, other):
                matcher.apply(revision, add={"PDQ": rows(*numbers)}, hash_set=key)
            for n in numbers:
                model[n].add(key)
            gone = random.sample(sorted(model), min(len(model), 3))
            for matcher in (publisher, other):
                matcher.apply(revision, withdraw={"PDQ": rows(*gone)})
            for n in gone:
                del model[n]
            match random.randrange(12):
                case 0:
                    publisher.compact()
                case 1:
                    other.compact()
                case 2:
                    publisher.compact()
                    other.refresh()
                case 3:
                    pairs = [(n, k) for n, keys in model.items() for k in keys]
                    random.shuffle(pairs)
                    chunk = ("PDQ", rows(*(n for n, _ in pairs)), np.array([k for _, k in pairs], np.int64))
                    publisher.rebuild(revision, [chunk])
            if random.randrange(6) == 0:
                for n in random.sample(range(3_000), 150):
                    for matcher in (publisher, other):
                        assert owners(matcher, n) == frozenset(model.get(n, set())), (revision, n)
    with Matcher(tmp_path, threads=1) as again:  # what is behind the snapshot comes from the store
        lately = again.revision
        assert all(keys <= (owners(again, n) or set()) or lately < 59 for n, keys in model.items())


def test_each_contributor_has_its_own_share_and_others_none() -> None:
    base = rows(1)[0]
    near = np.repeat(base[None], 200, axis=0)
    for i in range(200):
        near[i, i // 8] ^= 1 << (i % 8)
        near[i, 31] ^= 1 + i // 100  # the second hundred is at a greater distance or the same
    with Matcher(threads=1) as matcher:
        matcher.apply(1, add={"PDQ": near[:120]}, hash_set=1)
        matcher.apply(2, add={"PDQ": near[120:160]}, hash_set=2)
        matcher.apply(3, add={"PDQ": near[160:190]}, hash_set=3)
        matcher.apply(4, add={"PDQ": near[190:]})  # nobody knows whose

        def found(among: list[set[int]], limit: int | None) -> tuple[dict[frozenset[int] | None, int], bool]:
            answer = matcher.search("PDQ", base[None], max_distance=31, limit=limit, among=lambda: among)
            counts: dict[frozenset[int] | None, int] = {}
            for of in answer.owners:
                counts[of] = counts.get(of, 0) + 1
            return counts, bool(answer.truncated[0])

        one, two, three = (frozenset({k}) for k in (1, 2, 3))
        assert found([{1}, {2}], None) == ({one: 120, two: 40, None: 10}, False)
        assert found([{1}, {3}], 30) == ({one: 30, three: 30, None: 10}, True)
        assert found([{3}], 30) == ({three: 30, None: 10}, False)
        assert found([{1, 2}, {3}], 50)[0][three] == 30
        assert sum(found([{1, 2}, {3}], 50)[0].values()) == 50 + 30 + 10
        assert found([], 5) == ({None: 10}, False)
        first = matcher.search("PDQ", base[None], max_distance=31, limit=7, among=lambda: [{1}])
        everything = matcher.search("PDQ", base[None], max_distance=31)
        own = [d for d in everything.digests.tolist() if d in near[:120].tolist()]
        assert [d for d, of in zip(first.digests.tolist(), first.owners, strict=True) if of == one] == own[:7]


def test_a_digest_that_several_have_counts_for_each(tmp_path: Path) -> None:
    with Matcher(tmp_path, threads=1) as matcher:
        for revision, key in enumerate((1, 2, 3), 1):
            matcher.apply(revision, add={"PDQ": rows(1, 2)}, hash_set=key)
        matcher.compact()
        matcher.apply(4, add={"PDQ": rows(1)}, hash_set=4)
        assert owners(matcher, 1) == frozenset({1, 2, 3, 4})
        assert owners(matcher, 2) == frozenset({1, 2, 3})
        matcher.apply(5, add={"PDQ": rows(2)})
        assert owners(matcher, 2) is None
        matcher.compact()
        assert (owners(matcher, 1), owners(matcher, 2)) == (frozenset({1, 2, 3, 4}), None)
