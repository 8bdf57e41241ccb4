"""`hashhub init`: a new hub, from questions on a terminal or from a file with the answers."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import Any

import click

from hashhub.cli import main
from hashhub.cli.session import Session, command, private_files
from hashhub.cli.terminal import clean, coloured, note, table
from hashhub.errors import InvalidArgument, Violation, missing_extra
from hashhub.local_files import named_file


@command(main, "init", local=True)
@click.argument("file", required=False)
@click.option("--dir", "directory", default="hashhub-hub", show_default=True, metavar="DIR", help="A new directory.")
def init(session: Session, *, file: str | None, directory: str) -> None:
    """Make a new hub, ready to be started.

    Asks on a terminal, or takes FILE with the answers (docs/operate/national-hub.md). DIR then has settings, a systemd
    unit, a compose file, certificates, the first tokens and a checklist; database, contributor and hash set are made.
    Nothing that exists is replaced, no partner is called, and where something goes wrong, nothing is left.
    """
    try:
        from hashhub.cli import installation
    except ModuleNotFoundError as e:
        raise missing_extra(e, "server", what="a hub") from e
    place = Path(directory).absolute()
    installation.check_directory(place)
    if not file and not sys.stdin.isatty():
        raise click.UsageError("nobody can be asked here; name a FILE with the answers")
    answers = _read(file) if file else _ask()
    with private_files():
        made = installation.install(answers, place)
    session.answer({"name": answers["name"], **made}, f"made {clean(answers['name'])}; go on with {made['checklist']}")


def _read(file: str) -> dict[str, str]:
    """Return the answers of a file. Raises InvalidArgument with everything that is wrong in it."""
    from hashhub.cli.hub_questions import QUESTIONS, default_for, faults

    try:
        given: dict[str, Any] = tomllib.loads(named_file("file", file).decode("utf-8-sig"))
    except ValueError as e:
        raise InvalidArgument.field("file", f"{file!r} cannot be read as TOML: {e}") from e
    wrong = [Violation(name[:40], f"is unknown; known are {', '.join(QUESTIONS)}", "BAD_KEY")
             for name in given if name not in QUESTIONS]  # fmt: skip
    answers: dict[str, str] = {}
    for field, question in QUESTIONS.items():
        value = given.get(field, default_for(field, given | answers))
        if not isinstance(value, str):
            wrong.append(Violation(field, f"must be a text in quotes: {question.text}", "REQUIRED"))
        elif not_taken := faults(field, value, answers):
            wrong += not_taken
        else:
            answers[field] = value
    if wrong:
        text = "; ".join(f"{v.field} {v.description}" for v in wrong)
        raise InvalidArgument(f"{file}: {text}", violations=tuple(wrong))
    return answers


def _ask() -> dict[str, str]:
    """Return what a person answers. It is asked on stderr: stdout is for the result."""
    from hashhub.cli.hub_questions import QUESTIONS, default_for, faults
    from hashhub.schemes import load as load_schemes

    answers: dict[str, str] = {}
    left = list(QUESTIONS)
    while left:
        field = left.pop(0)
        question = QUESTIONS[field]
        if field == "scheme":
            columns = ("scheme", "region", "status", "title")
            table(columns, [(s.name, s.region, s.status.lower(), s.title) for s in load_schemes().list()], err=True)
        is_asked = not question.only_with or answers[question.only_with]
        proposed = answers.get(field, default_for(field, answers))
        value = click.prompt(question.text, proposed, err=True, show_default=bool(proposed)) if is_asked else ""
        if not_taken := faults(field, value.strip(), answers):
            for fault in not_taken:
                note(coloured(f"{field} {fault.description}", "yellow"))
            left = list(QUESTIONS)[list(QUESTIONS).index(question.back or field) :]
        else:
            answers[field] = value.strip()
    return answers
