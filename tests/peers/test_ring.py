"""Hubs in a ring and in a line: what happens in any order, through partitions, restarts, terms that change and a hub
that is restored from a backup, ends as the terms say. Every seed has hash sets of its own at the same hubs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from random import Random

import pytest

from hashhub.model import TLP, Marking
from tests.peers.conftest import GREEN, HANDED_ON, Nation, digests

LABELS = (
    GREEN,
    HANDED_ON,
    Marking(tlp=TLP.CLEAR, bulk=True),
    Marking(tlp=TLP.AMBER, bulk=True),
    Marking(tlp=TLP.AMBER, bulk=True, redistribution=True),
    Marking(tlp=TLP.AMBER_STRICT, bulk=True),
    Marking(tlp=TLP.CLEAR),
)
SHAPES = {"ring": (("a", "b"), ("b", "c"), ("c", "a")), "line": (("a", "b"), ("b", "c"))}


@pytest.fixture(scope="module", params=sorted(SHAPES))
def joined(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Nation]]:
    """Return three hubs that are joined in a ring or a line."""
    directory: Path = tmp_path_factory.mktemp(request.param)
    with ExitStack() as stack:
        nations = {name: Nation(directory, name) for name in "abc"}
        for nation in nations.values():
            stack.callback(nation.close)
        for one, other in SHAPES[request.param]:
            nations[one].invite(nations[other])
        yield nations


def may_leave(marking: Marking, *, again: bool) -> bool:
    """Whether terms let a hub have the entries: one that is joined to theirs, or, `again`, one beyond that."""
    if not marking.bulk or marking.tlp is TLP.AMBER_STRICT:
        return False
    return marking.redistribution or marking.tlp is TLP.CLEAR or (marking.tlp is TLP.GREEN and not again)


def expected(nations: dict[str, Nation], at: str, origin: str, hash_set: str) -> set[str]:
    """Return what must be active at a hub of a hash set of another: by brute force, from what the origin has now."""
    there = nations[origin]
    marking = there.hub.get_hash_set(hash_set).marking
    is_direct = nations[at].is_joined(origin)
    return there.standing(hash_set) if may_leave(marking, again=not is_direct) else set()


@pytest.mark.parametrize("seed", range(10))
def test_everything_ends_as_the_terms_say(joined: dict[str, Nation], seed: int) -> None:
    random = Random(seed)
    sets = {name: joined[name].contribute(f"s{seed}", "known", random.choice(LABELS)) for name in joined}
    backups: list[tuple[str, Path]] = []
    for _ in range(18):
        name = random.choice("abc")
        one, items = joined[name], [random.randrange(6) for _ in range(2)]
        is_named = random.random() < 0.7
        match random.randrange(9):
            case 0 | 1:
                one.state(sets[name], digests(*items), named=is_named, full=random.random() < 0.3)
            case 2 | 3:
                one.withdraw(sets[name], digests(*items), named=is_named)
            case 4:
                one.update_terms(sets[name], random.choice(LABELS))
            case 5 if seed % 5 == 0:
                backups.append((name, one.back_up()))
            case 6 if backups and seed % 5 == 0:
                who, backup = backups.pop(0)
                joined[who].restore(backup)
            case 6 if seed % 5 == 1:
                one.close()
                one.open()
            case _:
                one.follow(random.choice(one.peer_names()))
    heal(joined)
    for at, nation in joined.items():
        for origin, hash_set in sets.items():
            if origin != at:
                here = nation.standing(f"{origin}--{hash_set}")
                assert here == expected(joined, at, origin, hash_set), (at, origin)


def heal(nations: dict[str, Nation]) -> None:
    """Follow all until everything went as far as it can."""
    for _ in range(len(nations)):
        for nation in nations.values():
            nation.settle()
