"""What tells somebody to run a command, in a page's prose or in an error, names one that exists, with its options."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from hashhub.cli import main
from hashhub.cli.session import CommandGroup

ROOT = Path(__file__).parents[2]


def told(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the line and the words of each `hashhub …` between backquotes. What a word stands for is in capitals."""
    for match in re.finditer(r"`hashhub ([a-z][^`]*)`", text):
        try:
            words = shlex.split(match[1].replace("\\\n", " ").replace("…", " "), comments=True)
        except ValueError:  # an apostrophe of prose
            continue
        yield text.count("\n", 0, match.start()) + 1, words


def wrong_in(words: list[str]) -> str:
    """Return the word that no command or option is called, or nothing."""
    assert isinstance(main, CommandGroup)
    command: click.Command = main
    rest = list(words)
    while isinstance(command, CommandGroup) and rest:
        if rest[0] not in command.commands:
            break
        command = command.commands[rest.pop(0)]
    if isinstance(command, CommandGroup):
        if command.default and rest:  # `backup DIR`
            command = command.commands[command.default]
        elif rest and not re.match(r"[A-Z]+$|\[", rest[0]):
            return rest[0]
    known = {"--help", *(name for p in command.params for name in (*p.opts, *p.secondary_opts))}
    return next((w for w in (word.partition("=")[0] for word in rest) if w.startswith("--") and w not in known), "")


def test_commands_that_are_told_exist() -> None:
    files = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "docker").glob("*.md")]
    files += [p for root in ("hashhub", "connectors") for p in (ROOT / root).rglob("*.py")]
    wrong, checked = [], 0
    for path in files:
        if path.name == "CHANGELOG.md":  # tells of commands that were
            continue
        for line, words in told(path.read_text("utf-8")):
            checked += 1
            if word := wrong_in(words):
                wrong.append(f"{path.relative_to(ROOT)}:{line}: hashhub {' '.join(words)}: there is no {word}")
    assert not wrong, "\n".join(wrong)
    assert checked > 150, "the commands of the pages were not found"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("`hashhub imports list`", "imports"),
        ("`hashhub entry withdrawn NAME`", "withdrawn"),
        ("`hashhub import FILE --hashset X`", "--hashset"),
        ("`hashhub entry list nl/known --state active`", ""),
        ("`hashhub backup DIR --config FILE`", ""),
        ("`hashhub history --since 1d`", ""),
    ],
)
def test_a_command_that_does_not_exist_is_seen(text: str, word: str) -> None:
    [(_, words)] = list(told(text))
    assert wrong_in(words) == word
