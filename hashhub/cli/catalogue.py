"""`hashhub formats …` and `connectors …`: the installed formats."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import click

from hashhub.cli import main
from hashhub.cli.session import CommandGroup, Session, command, terms_of
from hashhub.cli.terminal import clean, picked, plain, print_json, say, table
from hashhub.errors import InvalidArgument

if TYPE_CHECKING:
    from hashhub.model import Marking


@main.group("formats", cls=CommandGroup)
def formats() -> None:
    """Formats of files: what can be read and written, and what a file is."""


@command(formats, "list", local=True)
def list_formats(session: Session) -> None:
    """List the formats that this machine reads (import) and writes (export)."""
    from hashhub import connector

    readers, writers = connector.discover(), connector.writers()
    session.show(
        [(n, n in readers, n in writers, (readers.get(n) or writers[n]).summary) for n in sorted({*readers, *writers})],
        ("format", "reads", "writes", "summary"),
        lambda row: (row[0], "yes" if row[1] else "-", "yes" if row[2] else "-", row[3]),
        as_json=lambda row: dict(zip(("name", "reads", "writes", "summary"), row, strict=True)),
    )


@command(formats, "detect", local=True)
@click.argument("file", metavar="FILE")
def detect_format(session: Session, *, file: str) -> None:
    """Say what FILE is, why, how sure that is, and how to import it.

    Only its beginning is read, and nothing leaves this machine. Exit code 1 when no format fits.
    """
    from hashhub import connector
    from hashhub.cli.imports import opened
    from hashhub.client import sources

    with opened(file) as source:
        seen = sources.look(source, source.read(connector.HEAD_BYTES), sources.name_of(source))
        if not seen.guesses:
            connector.choose([], seen.what)  # says so
        try:
            chosen = connector.choose(seen.guesses)[0]
        except InvalidArgument:
            chosen = ""
        terms: tuple[Marking, ...] = ()
        if chosen and isinstance(reader := connector.get(chosen), connector.HasTerms):
            seen.stream.seek(0)
            stated = [s.marking for s in reader.hash_sets(seen.stream)]
            terms = tuple(m for i, m in enumerate(stated) if m not in stated[:i])
    commands = {
        name: shlex.join(["hashhub", "import", file, *([] if name == chosen else ["--format", name])])
        + (" --mapping FILE.toml" if name == "csv" else "")
        + " --hash-set CONTRIBUTOR/SET"
        for name, _ in seen.guesses
    }
    if session.json:
        candidates = [
            {
                "name": name,
                "certainty": guess.certainty.name,
                "why": guess.why,
                "options": plain(dict(guess.options)),
                "command": commands[name],
            }
            for name, guess in seen.guesses
        ]
        print_json({"format": chosen, "container": seen.container, "terms": plain(terms), "candidates": candidates})
        return
    if seen.container:
        say(f"a list in {seen.container}")
    table(
        ("format", "certainty", "why"),
        [(name, guess.certainty.name.lower(), guess.why) for name, guess in seen.guesses],
    )
    for floor in terms:
        say(clean(f"It states terms of its items, a floor for those of the hash set: {terms_of(floor)}"))
    if chosen:
        say(f"To import it: {clean(commands[chosen])}")
    else:
        say("This is not sure enough to be imported untold. Say which it is, with what it asks for:")
        for text in commands.values():
            say(f"  {clean(text)}")
    if "csv" in commands:
        proposal = shlex.join(["hashhub", "import", file, "--propose-mapping"])
        say(f"FILE.toml says what the columns mean; to have one proposed: {clean(proposal)}")


@main.group("connectors", cls=CommandGroup)
def connectors() -> None:
    """Formats that can be imported."""


@command(connectors, "list", local=True)
def list_connectors(session: Session) -> None:
    """List the connectors installed on this machine, with their options."""
    from hashhub import connector

    session.show(
        connector.discover().values(),
        ("format", "version", "summary", "options"),
        lambda c: (
            c.name,
            c.version,
            c.summary,
            "; ".join(f"{o.name}{' (required)' if o.required else ''}: {o.description}" for o in c.options) or "-",
        ),
        as_json=lambda c: picked(c, "name", "version", "summary", "options"),
    )
