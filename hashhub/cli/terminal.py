"""How output looks: tables, colour and progress bars on a terminal, plain text in a pipe, JSON where asked.

Rich is imported only for the progress bar of a terminal. Whatever comes from files or from other people is cleaned
before it is shown: a list may hold control sequences, which a terminal would obey, or characters that turn the
direction of writing, so that a line reads as what it does not say.
"""

from __future__ import annotations

import csv
import io
import itertools
import os
import re
import shutil
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import IO, BinaryIO, Final, Protocol

import click
import msgspec

from hashhub.hashes import Hash
from hashhub.model import Contributor, Entry, Event, Group, HashSet, Import, Verdict, Webhook, WebhookDelivery

_GAP: Final = "  "
COLOURS: Final = {
    Verdict.MATCH: "bold red",
    Verdict.REVIEW: "yellow",
    Verdict.BENIGN: "green",
    Verdict.NO_MATCH: "dim",
    Verdict.UNAVAILABLE: "magenta",
}


class ProgressDisplay(Protocol):
    """Shows progress: `done` of `total` (None: unknown), with a word for the activity."""

    def __call__(self, done: int, total: int | None, what: str) -> None:
        """Show it."""
        ...


def clean(text: str) -> str:
    """Return `text` on one line, without anything that a terminal would act on."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in " ".join(text.splitlines()))


def show_path(path: Path | str) -> str:
    """Return the path as text that can be printed and encoded, whatever bytes its name holds."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def say(text: str = "") -> None:
    """Print a line of human output as it is: a name, a command, what is aligned."""
    click.echo(text)


def tell(text: str) -> None:
    """Print a sentence, broken between words where it is known how wide a line may be."""
    most = width()
    for line in _wrapped(text, most) if most is not None else [text]:
        click.echo(line)


def note(text: str) -> None:
    """Print a remark beside the output, on stderr."""
    click.echo(text, err=True)


def minute(time: datetime | None) -> str:
    """Return a time to the minute, in UTC."""
    return time.strftime("%Y-%m-%d %H:%MZ") if time else "-"


def counted(number: int, one: str, many: str = "") -> str:
    """Return a number with its noun: `1 upload`, `2 uploads`, and with `many` `2 copies`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def coloured(text: str, style: str) -> str:
    """Return `text` in a style on a terminal that wants colours, and unchanged anywhere else."""
    if not is_terminal(sys.stdout) or os.environ.get("NO_COLOR"):
        return text
    *modifiers, colour = style.split()
    bold = True if "bold" in modifiers else None
    return click.style(text, dim=True) if colour == "dim" else click.style(text, fg=colour, bold=bold)


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, empty: str = "none", err: bool = False) -> None:
    """Print a table, or `empty` where it has no rows. On a terminal, and wherever COLUMNS says how wide it is, it fits:
    cells are broken between words and never within one, so that a name can be copied whole. Where the words alone are
    too wide, each row becomes a block of lines. In a pipe nothing is broken: one row, one line. `err`: on stderr, where
    stdout has something else.
    """
    if not rows:
        click.echo(empty, err=err)
        return
    cells = [[clean(str(cell)) for cell in row] for row in rows]
    heads = [column.upper() for column in columns]
    most = width(sys.stderr if err else sys.stdout)
    natural = [max(_len(line[i]) for line in [heads, *cells]) for i in range(len(columns))]
    if most is None or sum(natural) + len(_GAP) * (len(columns) - 1) <= most:
        for line in [heads, *cells]:
            click.echo(_GAP.join(_padded(cell, n) for cell, n in zip(line, natural, strict=True)).rstrip(), err=err)
        return
    least = [
        max(_len(word) for line in [heads, *cells] for word in line[i].split() or [""]) for i in range(len(columns))
    ]
    room = most - sum(least) - len(_GAP) * (len(columns) - 1)
    if room < 0:
        _blocks(columns, cells, most, err=err)
        return
    # What is left goes to the columns in their order, names first, as far as they can use it.
    widths = []
    for n, full in zip(least, natural, strict=True):
        more = min(room, full - n)
        widths.append(n + more)
        room -= more
    for line in [heads, *cells]:
        wrapped = [_wrapped(cell, n) for cell, n in zip(line, widths, strict=True)]
        for parts in itertools.zip_longest(*wrapped, fillvalue=""):
            click.echo(_GAP.join(_padded(part, n) for part, n in zip(parts, widths, strict=True)).rstrip(), err=err)


def _blocks(columns: Sequence[str], cells: Sequence[Sequence[str]], width: int, *, err: bool) -> None:
    """Print each row as lines of a label and its value, an empty line between two rows."""
    label = max(map(len, columns))
    inner = max(width - label - len(_GAP), 1)
    for number, row in enumerate(cells):
        if number:
            click.echo(err=err)
        for name, cell in zip(columns, row, strict=True):
            if not cell:
                continue
            for i, part in enumerate(_wrapped(cell, inner)):
                text = f"{(name.upper() if i == 0 else '').ljust(label)}{_GAP}{part}"
                if _len(text) > width:  # a word alone, which has a line of its own
                    if i == 0:
                        click.echo(name.upper(), err=err)
                    text = part
                click.echo(text, err=err)


def _wrapped(text: str, width: int) -> list[str]:
    """Return the text in lines of at most `width` columns, broken between words; a longer word has its own line."""
    lines = [""]
    indent = text[: len(text) - len(text.lstrip())]
    for word in text.split():
        word = indent + word if lines == [""] else word  # noqa: PLW2901 - the first one of an indented line
        if lines[-1] and _len(lines[-1]) + 1 + _len(word) > width:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}" if lines[-1] else word
    return lines


def _len(text: str) -> int:
    """Return how many columns a text takes: East Asian wide characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in {"W", "F"} else 1 for c in text
    )


def _padded(text: str, width: int) -> str:
    return text + " " * (width - _len(text))


def width(stream: IO[str] | None = None) -> int | None:
    """Return how many columns a line may take, of stdout by default; None in a pipe, unless COLUMNS says."""
    stream = stream or sys.stdout
    stated = os.environ.get("COLUMNS", "")
    if stated.isdecimal() and int(stated) > 0:
        return int(stated)
    return shutil.get_terminal_size().columns if is_terminal(stream) else None


def print_json(value: object, *, err: bool = False) -> None:
    """Print one JSON object on one line. `err`: on stderr, where stdout has something else."""
    click.echo(json_line(value), err=err)


def json_line(value: object) -> str:
    """Return a JSON object on one line, in printable ASCII: what is in it may be a stranger's text (see above)."""

    def escaped(character: re.Match[str]) -> str:
        units = character[0].encode("utf-16-be", "surrogatepass").hex()  # one or two UTF-16 units
        return "".join(f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4))

    return re.sub("[^ -~]", escaped, msgspec.json.encode(value).decode())


def plain(value: object) -> object:
    """Return a value of the model as JSON holds it: `ALGORITHM:digest`, RFC 3339 times, names as commands take them."""
    match value:
        case Hash():
            return value.text
        case Entry():
            fields = fields_of(value)
            fields.pop("frames_digest")  # the store's own
            return {"name": value.name, **fields}
        case HashSet() | Webhook():
            return {"name": value.name, **fields_of(value)}
        case Import():
            return {"name": f"{value.contributor}/{value.hash_set}/{value.id}", **fields_of(value)}
        case WebhookDelivery() | Contributor() | Group():
            return {"name": value.id, **fields_of(value)}
        case Event():
            return {"name": f"events/{value.revision}", **fields_of(value)}
        case msgspec.Struct():
            return fields_of(value)
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


_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def safe(cell: str) -> str:
    """Return the text of a cell so that no spreadsheet computes it."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def csv_rows(target: BinaryIO, end: str = "\n") -> Callable[[Iterable[str]], None]:
    """Return what writes a row of CSV, whose cells no spreadsheet takes for formulas."""

    def write(cells: Iterable[str]) -> None:
        line = io.StringIO()
        csv.writer(line, lineterminator=end).writerow([safe(cell) for cell in cells])
        target.write(line.getvalue().encode())

    return write


@contextmanager
def progress(*, unit_bytes: bool) -> Iterator[ProgressDisplay]:
    """Show a progress bar on stderr while the block runs, if stderr is a terminal; it is removed at the end."""
    if not is_terminal(sys.stderr):
        yield lambda _done, _total, _what: None
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
            nonlocal shown, task
            (before,) = bar.tasks
            if done < before.completed or (total is None) != (before.total is None):  # a stage with a speed of its own
                bar.remove_task(task)
                task = bar.add_task(what, total=total)
            bar.update(task, completed=done, total=total, description=what)
            if what != shown:  # a stage shorter than a tenth of a second is drawn as well
                shown = what
                bar.refresh()

        yield advance


@contextmanager
def copy_progress(tell: Callable[[], None] | None = None) -> Iterator[Callable[[int, bool], None]]:
    """Give a callback for a mirror that shows its progress. `tell`: called whenever the copy becomes complete."""
    was_complete = False
    with progress(unit_bytes=False) as advance:

        def on_page(lines: int, is_complete: bool) -> None:  # noqa: FBT001 - the mirror's signature
            nonlocal was_complete
            advance(lines, None, "up to date" if is_complete else "changes")
            if is_complete and not was_complete and tell is not None:
                tell()
            was_complete = is_complete

        yield on_page


def fields_of(value: msgspec.Struct) -> dict[str, object]:
    """Return the fields of a value of the model as what JSON holds; see plain."""
    return picked(value, *value.__struct_fields__)


def picked(value: object, *names: str) -> dict[str, object]:
    """Return these fields of a value of the model as what JSON holds; see plain."""
    return {name: plain(getattr(value, name)) for name in names}


def is_terminal(stream: object) -> bool:
    """Whether the stream is an interactive terminal."""
    isatty: Callable[[], bool] | None = getattr(stream, "isatty", None)
    return isatty is not None and isatty() and os.environ.get("TERM") != "dumb"
