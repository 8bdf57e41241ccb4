"""Random sequences of what a character does, each from its number and a seed, and the shortest that still goes wrong.

A step is a move's name and three numbers, of which the move makes what it likes, so that any step can follow any other
and any can be left out. Everything else about a sequence follows from the seed and its number.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import ClassVar, Final, Protocol

from hashhub.errors import HashHubError, StatusCode
from tests.adversaries.scene import World

Step = tuple[str, int, int, int]

_FRESH_AFTER: Final = 50  # sequences at one hub: a step then costs what it costs at an empty one
_LONGEST: Final = 14  # steps
_RANGE: Final = 1 << 16


class Broken(AssertionError):
    """Something that must hold whatever anybody does does not."""


class Character(Protocol):
    """Somebody at a hub, with the model of what must hold beside them."""

    name: ClassVar[str]
    hubs: ClassVar[int]
    """How many hubs they are at, at the same time."""
    moves: ClassVar[Mapping[str, int]]
    """What they do, and how often in comparison."""

    def __init__(self, worlds: Sequence[World], key: str, random: Random) -> None:
        """Set the scene, with names that begin with `key`."""

    def move(self, name: str, a: int, b: int, c: int) -> str:
        """Make a move; return it in words. Raises HashHubError when it is refused."""

    def check(self) -> None:
        """Raise Broken when something does not hold."""


@dataclass(frozen=True)
class Failure:
    """A sequence that went wrong: what does not hold, and the shortest way there."""

    character: str
    seed: int
    number: int
    what: str
    steps: tuple[Step, ...]
    trace: tuple[str, ...]

    def __str__(self) -> str:
        """Return all that is needed to see it again."""
        lines = [f"{self.character}, seed {self.seed}, sequence {self.number}: {self.what}", *self.trace]
        again = (
            f"python -m bench.adversaries --characters {self.character} --seed {self.seed} --first {self.number} "
            "--sequences 1"
        )
        return "\n  ".join([*lines, f"again: {again}"])


class Worlds:
    """The hubs that sequences share, replaced by fresh ones from time to time."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._used = 0
        self._open: list[World] = []
        self._keys = 0

    def key(self) -> str:
        """Return a beginning for names that no other sequence has."""
        self._keys += 1
        return f"s{self._keys}"

    def get(self) -> list[World]:
        """Return the hubs for one more sequence."""
        if self._used % _FRESH_AFTER == 0:
            self.close()
            self._open = [World() for _ in range(self._count)]
        self._used += 1
        return self._open

    def close(self) -> None:
        """Close them."""
        for world in self._open:
            world.close()
        self._open = []


def steps_of(character: type[Character], seed: int, number: int) -> tuple[Step, ...]:
    """Return the steps of one sequence."""
    random = Random(f"{character.name} {seed} {number} steps")
    names, weights = zip(*character.moves.items(), strict=True)
    return tuple(
        (name, random.randrange(_RANGE), random.randrange(_RANGE), random.randrange(_RANGE))
        for name in random.choices(names, weights, k=random.randint(3, _LONGEST))
    )


def play(character: type[Character], worlds: Worlds, seed: int, number: int, steps: Sequence[Step]) -> Failure | None:
    """Play one sequence; return how it failed, if it did."""
    trace: list[str] = []
    try:
        who = character(worlds.get(), worlds.key(), Random(f"{character.name} {seed} {number} scene"))
        who.check()
        for step in steps:
            trace.append(f"{step[0]}{step[1:]}")  # stays so where the step itself goes wrong
            try:
                trace[-1] = who.move(*step)
            except HashHubError as e:
                if e.code is StatusCode.INTERNAL:
                    raise
                trace[-1] += f": refused with {e.code} {e.reason}"
            who.check()
    except Broken as e:
        return Failure(character.name, seed, number, str(e), tuple(steps), tuple(trace))
    except Exception as e:  # noqa: BLE001 - whatever it is, it is told with the way there
        where = traceback.extract_tb(e.__traceback__)[-1]
        what = f"{type(e).__name__}: {e} ({where.filename.rpartition('/')[2]}:{where.lineno})"
        return Failure(character.name, seed, number, what, tuple(steps), tuple(trace))
    return None


def shortest(character: type[Character], worlds: Worlds, failure: Failure) -> Failure:
    """Return the failure with every step left out that it does not need."""
    changed = True
    while changed:
        changed = False
        for i in reversed(range(len(failure.steps))):
            fewer = failure.steps[:i] + failure.steps[i + 1 :]
            again = play(character, worlds, failure.seed, failure.number, fewer)
            if again is not None:
                failure, changed = again, True
    return failure


def run(
    character: type[Character],
    seed: int,
    numbers: Sequence[int],
    *,
    most_failures: int = 3,
    seen: Callable[[int], None] = lambda _: None,
) -> Iterator[Failure]:
    """Play sequences; yield the shortest form of each that fails, at most `most_failures`.

    `seen` is told each number when done.
    """
    worlds = Worlds(character.hubs)
    try:
        failures = 0
        for number in numbers:
            failure = play(character, worlds, seed, number, steps_of(character, seed, number))
            if failure is not None:
                failures += 1
                yield shortest(character, worlds, failure)
            seen(number)
            if failures >= most_failures:
                return
    finally:
        worlds.close()
