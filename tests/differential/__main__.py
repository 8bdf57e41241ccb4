"""Play the same steps to a hub of another environment and to this one, and compare all that they answer.

    python -m tests.differential --old ENVIRONMENT/bin/python --steps 300 --seed 1
    python -m tests.differential --old ENVIRONMENT/bin/python --database postgresql --steps 3000

The old environment has the frozen hashhub: a copy of an environment of this project in which a wheel of the commit to
compare with takes the place of the editable installation. `--new` is this one's interpreter unless it is given. Both
hubs, their commands, their calls and their hooks run as processes of their own; what they are asked comes from the seed
alone. Some 300 steps take less than a minute and have a little of everything; 3,000 have every format and every call by
every role many times. The exit code is 1 where something differs that `differences.toml` does not declare.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
import tomllib
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Final

from hashhub.cli.terminal import coloured, note, say
from tests.differential import chapters, hooks
from tests.differential.playing import Difference, Player
from tests.differential.sides import Side
from tests.server.calls import RPCS

_DECLARED: Final = Path(__file__).with_name("differences.toml")
_MOST_DECLARED: Final = 10
_MOST_SHOWN: Final = 20


def play(player: Player, steps: int) -> None:
    """Play a run of about so many steps."""
    share = max(1, steps // 300)
    chapters.world(player)
    chapters.looks(player, 3 * share)
    chapters.calls(player, 30 * (share - 1))
    chapters.imports(player, 2 * share)
    chapters.sources(player, 4 * share)
    chapters.updates(player, 2 * share)
    chapters.terms(player, 2 * share)
    chapters.exports(player, 3 * share)
    chapters.decisions(player, 6 * share)
    chapters.restated(player)
    chapters.disputed(player)
    chapters.mirrored(player)
    doors = hooks.DOORS if share > 1 else tuple(player.random.sample(hooks.DOORS, 2))
    hooks.uploads(player, 4 * share, doors)
    chapters.killed(player)
    chapters.reverts(player)
    chapters.restored(player)
    chapters.calls(player, max(100, steps - player.steps - 30))
    chapters.everything(player)
    chapters.resources(player)


def _declared() -> list[dict[str, str]]:
    declared: list[dict[str, str]] = tomllib.loads(_DECLARED.read_text("utf-8")).get("difference", [])
    if len(declared) > _MOST_DECLARED:
        raise SystemExit(f"{_DECLARED.name} declares {len(declared)} differences; at most {_MOST_DECLARED} may stay")
    return declared


def _is(difference: Difference, declared: dict[str, str]) -> bool:
    told = {"what": difference.what, "path": difference.path, "old": str(difference.old), "new": str(difference.new)}
    return all(re.search(declared[name], text) for name, text in told.items() if name in declared)


def _show(difference: Difference) -> None:
    say(coloured(f"\nstep {difference.step}: {difference.what[:300]}", "bold yellow"))
    say(f"  at {difference.path or 'the whole'}")
    for name, value, colour in (("old", difference.old, "red"), ("new", difference.new, "green")):
        say(coloured(f"  {name}: {value if isinstance(value, str) else json.dumps(value)}"[:2000], colour))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--old", required=True, help="the interpreter of the environment with the frozen hashhub")
    parser.add_argument("--new", default=sys.executable, help="the interpreter of the other one (this one's)")
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--steps", type=int, default=300, help="how many steps, about (300)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--verbose", action="store_true", help="print each step to stderr")
    parser.add_argument("--keep", action="store_true", help="leave both hubs' directories there")
    options = parser.parse_args()
    began, declared = time.monotonic(), _declared()
    with ExitStack() as stack:
        root = Path(tempfile.mkdtemp(prefix="hashhub-differential-"))
        if not options.keep:
            stack.callback(_remove, root)
        urls = ["", ""]
        if options.database == "postgresql":
            from tests.conftest import PostgreSQL

            server = PostgreSQL()
            stack.callback(server.close)
            urls = [server.create_database() for _ in urls]
        sides = [
            Side(n, p, root / n, u) for n, p, u in zip(("old", "new"), (options.old, options.new), urls, strict=True)
        ]
        for side in sides:
            stack.callback(side.close)
            side.start()

        def on_step(what: str) -> None:
            if options.verbose:
                note(f"{time.monotonic() - began:.1f} {player.steps} {what[:300]}")

        player = Player(
            (sides[0], sides[1]), Random(options.seed), on_step, lambda d: any(_is(d, one) for one in declared)
        )
        try:
            play(player, options.steps)
        finally:
            report(player, declared)
    undeclared = len(_undeclared(player, declared))
    said = f"{player.steps} steps, {time.monotonic() - began:.0f} s, seed {options.seed}: {undeclared} differences"
    say(coloured(said, "bold red" if undeclared else "bold green"))
    sys.exit(undeclared > 0)


def _undeclared(player: Player, declared: list[dict[str, str]]) -> list[Difference]:
    return [d for d in player.found if not any(_is(d, one) for one in declared)]


def report(player: Player, declared: list[dict[str, str]]) -> None:
    """Say what differed, and what was played."""
    kinds: dict[tuple[str, str], list[Difference]] = {}
    for difference in _undeclared(player, declared):
        kind = difference.what[:60], re.sub(r"\[\d+]", "[]", difference.path)
        kinds.setdefault(kind, []).append(difference)
    for alike in [*kinds.values()][:_MOST_SHOWN]:
        _show(alike[0])
        if len(alike) > 1:
            say(f"  and {len(alike) - 1} times more")
    met = Counter(one["reason"] for d in player.found for one in declared if _is(d, one))
    for reason, number in met.items():
        say(f"declared, {number} times: {reason}")
    asked = {call for call, _ in player.asked}
    answered = {call for call, _ in player.answered}
    say(f"{len(asked)} of {len(RPCS)} calls were made; never answered: {', '.join(sorted(set(RPCS) - answered))}")


def _remove(root: Path) -> None:
    import shutil

    shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
