"""A few hundred sequences of the adversaries; `python -m bench.adversaries` plays as many as you like."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import ClassVar, Final

import pytest

from tests.adversaries.characters import CHARACTERS
from tests.adversaries.sequences import Broken, Worlds, play, run, shortest, steps_of

SEED: Final = 6
SEQUENCES: Final = 60


@pytest.mark.parametrize("name", CHARACTERS)
def test_nobody_brings_about_what_must_not_be(name: str) -> None:
    failures = list(run(CHARACTERS[name], SEED, range(SEQUENCES)))
    assert not failures, "\n\n".join(map(str, failures))


class Clumsy:
    """Breaks what it carries when it has stumbled twice after picking it up."""

    name: ClassVar[str] = "clumsy"
    hubs: ClassVar[int] = 0
    moves: ClassVar[Mapping[str, int]] = {"pick_up": 1, "stumble": 2, "rest": 5}

    def __init__(self, worlds: object, key: str, random: Random) -> None:
        del worlds, key, random
        self.carries, self.stumbles = False, 0

    def move(self, name: str, a: int, b: int, c: int) -> str:
        del a, b, c
        self.carries |= name == "pick_up"
        self.stumbles += name == "stumble" and self.carries
        return name

    def check(self) -> None:
        if self.stumbles > 1:
            raise Broken("it lies in pieces")


def test_a_failure_is_told_in_its_shortest_form() -> None:
    failures = list(run(Clumsy, 1, range(200)))
    assert len(failures) == 3
    for failure in failures:
        assert failure.what == "it lies in pieces"
        assert list(failure.trace) == ["pick_up", "stumble", "stumble"]
        assert f"--seed 1 --first {failure.number} --sequences 1" in str(failure)


def test_a_sequence_follows_from_its_seed_and_number() -> None:
    assert steps_of(Clumsy, 1, 2) == steps_of(Clumsy, 1, 2) != steps_of(Clumsy, 1, 3)
    assert steps_of(Clumsy, 1, 2) != steps_of(Clumsy, 2, 2)
    worlds = Worlds(0)
    steps = (("pick_up", 0, 0, 0), ("stumble", 0, 0, 0), ("rest", 0, 0, 0), ("stumble", 0, 0, 0))
    failure = play(Clumsy, worlds, 1, 2, steps)
    assert failure is not None
    assert shortest(Clumsy, worlds, failure).steps == (steps[0], steps[1], steps[3])
