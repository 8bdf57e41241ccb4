"""How output looks: tables, colour and progress bars on a terminal, plain text in a pipe, JSON where asked.

Rich is imported only for a terminal. Whatever comes from files or from other people is cleaned before it is shown: a
list may hold control sequences, which a terminal would obey, or characters that turn the direction of writing, so that
a line reads as what it does not say.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol

import click
import msgspec

from hashhub.hashes import Hash
from hashhub.model import Entry, HashSet, Verdict

_NOT_ASCII: Final = re.compile("[^ -~]")
COLOURS: Final = {
    Verdict.MATCH: "bold red",
    Verdict.REVIEW: "yellow",
    Verdict.BENIGN: "green",
    Verdict.NO_MATCH: "dim",
    Verdict.UNAVAILABLE: "magenta",
}


class Advance(Protocol):
    """Shows how far something is: `done` of `total`, with a word on what is being done; total None means unknown."""

    def __call__(self, done: int, total: int | None, what: str) -> None:
        """Show it."""
        ...


def clean(text: str) -> str:
    """Return `text` on one line, without anything that a terminal would act on."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in " ".join(text.splitlines()))


def show_path(path: Path) -> str:
    """Return the path as text that can be printed and encoded, whatever bytes its name holds."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def say(text: str = "") -> None:
    """Print a line of human output."""
    click.echo(text)


def note(text: str) -> None:
    """Print a remark beside the output, on stderr."""
    click.echo(text, err=True)


def coloured(text: str, style: str) -> str:
    """Return `text` in a style on a terminal that wants colours, and unchanged anywhere else."""
    if not is_terminal(sys.stdout) or os.environ.get("NO_COLOR"):
        return text
    *modifiers, colour = style.split()
    bold = True if "bold" in modifiers else None
    return click.style(text, dim=True) if colour == "dim" else click.style(text, fg=colour, bold=bold)


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, err: bool = False) -> None:
    """Print a table: boxed on a terminal, aligned columns of plain text in a pipe. Nothing is cut off in a pipe.

    `err`: on stderr, where stdout has something else.
    """
    cells = [[clean(str(cell)) for cell in row] for row in rows]
    if is_terminal(sys.stderr if err else sys.stdout):
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        boxed = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for name in columns:
            boxed.add_column(name, overflow="fold")
        for row in cells:
            boxed.add_row(*map(Text, row))
        Console(stderr=err).print(boxed)
        return
    widths = [max(len(line[i]) for line in [list(columns), *cells]) for i in range(len(columns))]
    for line in [[c.upper() for c in columns], *cells]:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip(), err=err)


def print_json(value: object, *, err: bool = False) -> None:
    """Print one JSON object on one line, in printable ASCII: what is in it may be a stranger's text (see above).

    `err`: on stderr, where stdout has something else.
    """
    click.echo(_NOT_ASCII.sub(_escaped, msgspec.json.encode(value).decode()), err=err)


def plain(value: object) -> object:
    """Return a value of the model as what JSON holds: hashes as `ALGORITHM:digest`, times in RFC 3339, names as
    commands take them.
    """
    match value:
        case Hash():
            return value.text
        case Entry():
            return {"name": value.name, **_fields(value)}
        case HashSet():
            return {"name": value.name, **_fields(value)}
        case msgspec.Struct():
            return _fields(value)
        case StrEnum():
            return str(value)
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case bytes():
            return value.hex()
        case tuple() | list():
            return [plain(v) for v in value]
        case dict():
            return {str(plain(k)): plain(v) for k, v in value.items()}
        case _:
            return value


@contextmanager
def progress(unit_bytes: bool) -> Iterator[Advance]:  # noqa: FBT001 - read at the two places that call it
    """Show a progress bar on stderr while the block runs, if stderr is a terminal; it is removed at the end."""
    if not is_terminal(sys.stderr):
        yield _nowhere
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        ProgressColumn,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.progress import Progress as Bar

    amounts: list[ProgressColumn] = [DownloadColumn(), TransferSpeedColumn()] if unit_bytes else [MofNCompleteColumn()]
    columns = [TextColumn("{task.description}"), BarColumn(), *amounts, TimeRemainingColumn()]
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=None)
        shown = "starting"

        def advance(done: int, total: int | None, what: str) -> None:
            nonlocal shown
            bar.update(task, completed=done, total=total, description=what)
            if what != shown:  # a stage shorter than a tenth of a second is drawn as well
                shown = what
                bar.refresh()

        yield advance


def _escaped(character: re.Match[str]) -> str:
    """Return the character as JSON escapes it: one or two UTF-16 units."""
    units = character[0].encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4))


def _nowhere(done: int, total: int | None, what: str) -> None:
    """Stand in for a progress bar where there is no terminal."""


def _fields(value: msgspec.Struct) -> dict[str, object]:
    return {name: plain(getattr(value, name)) for name in value.__struct_fields__}


def is_terminal(stream: object) -> bool:
    """Whether the stream leads to somebody who watches it."""
    isatty: Callable[[], bool] | None = getattr(stream, "isatty", None)
    return isatty is not None and isatty() and os.environ.get("TERM") != "dumb"
