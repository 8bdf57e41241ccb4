"""Break the source in one place after the other, and see `make test` fail.

    python -m tests.mutations                # all of mutations.toml; the names of some as arguments: only these

Each mutation is made in a copy of HEAD. It is killed if some of those tests fail there that `make test` runs: those in
the directories named with it, which is quicker than all of them. The exit code is 1 where one survives, or no longer
fits the source.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from hashhub.cli.terminal import coloured, say

ROOT: Final = Path(__file__).parents[2]
_MOST_SECONDS: Final = 600


class Mutation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One place of the source made wrong. `old` occurs once in `file`; `breaks`: what users are promised by it."""

    name: str
    breaks: str
    file: str
    old: str
    new: str
    tests: list[str]


def mutations(names: Sequence[str] = ()) -> list[Mutation]:
    """Return the mutations with these names, all without one."""
    listed = tomllib.loads(Path(__file__).with_name("mutations.toml").read_text("utf-8"))["mutation"]
    return [m for m in msgspec.convert(listed, list[Mutation]) if not names or m.name in names]


def _selection() -> list[str]:
    """Return the marks by which `make test` chooses."""
    lines = (ROOT / "Makefile").read_text("utf-8").splitlines()
    line = next(line for line in lines if "HYPOTHESIS_PROFILE=quick" in line)
    return ["-m", line.split('"')[1]]


def failing(copy: Path, tests: Sequence[str]) -> str | None:
    """Return the first of the tests that fails in the copy, of those that `make test` would run."""
    surroundings = os.environ | {"HYPOTHESIS_PROFILE": "quick", "PYTHONPATH": f"{copy}:{copy / 'connectors'}"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-rfE", *_selection(), *tests]
    run = subprocess.run(
        command, cwd=copy, env=surroundings, capture_output=True, text=True, timeout=_MOST_SECONDS, check=False
    )
    if not run.returncode:
        return None
    for line in run.stdout.splitlines():
        if line.startswith(("FAILED ", "ERROR ")):
            return line.partition(" ")[2].partition(" - ")[0]
    raise SystemExit(f"the tests could not run\n{run.stdout[-2000:]}{run.stderr[-2000:]}")


def killer(mutation: Mutation, copy: Path) -> str | None:
    """Return a test that fails with the mutation and passes without it; the copy is left as it was."""
    path = copy / mutation.file
    text = path.read_text("utf-8")
    if text.count(mutation.old) != 1:
        raise SystemExit(f"{mutation.name}: {mutation.file} has {text.count(mutation.old)} places like this, not one")
    path.write_text(text.replace(mutation.old, mutation.new), "utf-8")
    try:
        test = failing(copy, mutation.tests)
    finally:
        path.write_text(text, "utf-8")
    if test is not None and failing(copy, [test]) is not None:
        raise SystemExit(f"{test} fails without a mutation, too")
    return test


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="of mutations; all without one")
    chosen = mutations(parser.parse_args().names)
    survivors = 0
    with tempfile.TemporaryDirectory(prefix="hashhub-mutations-") as directory:
        command = ("git", "archive", "HEAD")
        archive = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            tar.extractall(directory, filter="data")
        for mutation in chosen:
            began = time.monotonic()
            test = killer(mutation, Path(directory))
            survivors += test is None
            fate = coloured("killed  ", "green") if test else coloured("SURVIVED", "bold red")
            seconds = time.monotonic() - began
            say(f"{fate} {mutation.name:34} {seconds:5.0f} s  {test or mutation.breaks}")
    say(f"{len(chosen) - survivors} of {len(chosen)} killed")
    raise SystemExit(1 if survivors else 0)


if __name__ == "__main__":
    main()
