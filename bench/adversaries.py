"""Adversaries at a hub: random sequences of what four characters do, each step held against a model of what must hold.

    python -m bench.adversaries --seed 6 --sequences 10000
    python -m bench.adversaries --characters hostile --seed 6 --first 17 --sequences 1

hostile     two contributors do all that their tokens allow against what three honest ones list
curious     a consumer and a contributor ask two hubs that differ only in what they may not see
careless    an operator mistypes recipients, deletes groups, changes terms to and fro, restores a backup
lost        a contributor re-sends, sends parts and old lists, breaks off, replaces, forgets what it withdrew

The characters and their models are in tests/adversaries, where a few hundred sequences run as tests. `--sequences` is
the number of all, shared equally. A sequence follows from the seed and its number alone; of one that fails the shortest
form is printed. The exit code is 1 if any failed.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any, Final

from bench import result
from tests.adversaries.characters import CHARACTERS
from tests.adversaries.sequences import Character, run, steps_of

_SAY_SECONDS: Final = 30.0


def measure(character: type[Character], seed: int, first: int, sequences: int) -> dict[str, Any]:
    """Play sequences of one character and print what fails; return how many there were, and how long it took."""
    begin = said = time.monotonic()
    played = failed = 0

    def seen(number: int) -> None:
        nonlocal played, said
        del number
        played += 1
        if time.monotonic() - said > _SAY_SECONDS:
            said = time.monotonic()
            print(f"{character.name}: {played} of {sequences}, {played / (said - begin):.1f} a second", flush=True)

    numbers = range(first, first + sequences)
    for failure in run(character, seed, numbers, seen=seen):
        failed += 1
        print(f"\n{failure}\n", flush=True)
    seconds = time.monotonic() - begin
    return {
        "character": character.name,
        "sequences": played,
        "steps": sum(len(steps_of(character, seed, n)) for n in numbers[:played]),
        "failed": failed,
        "seconds": seconds,
        "sequences_per_second": played / seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=result.SEED)
    parser.add_argument("--sequences", type=int, default=400, help="of all characters together")
    parser.add_argument("--first", type=int, default=0, help="number of the first sequence")
    parser.add_argument("--characters", default=",".join(CHARACTERS))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    names = options.characters.split(",")
    each = -(-options.sequences // len(names))
    rows = [measure(CHARACTERS[name], options.seed, options.first, each) for name in names]
    result.show(rows)
    path = result.save(
        "adversaries",
        {"sequences": each * len(names), "first": options.first},
        rows,
        out=options.out,
        packages=(),
        seed=options.seed,
    )
    print(path)
    sys.exit(1 if any(row["failed"] for row in rows) else 0)


if __name__ == "__main__":
    main()
