"""`hashhub hook …`: the upload hook, for who has an upload form. A module for each part, loaded when one is asked for.
The hub is asked by the hook's own settings.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from hashhub.cli import load, main
from hashhub.cli.session import LazyGroup, Session, options

if TYPE_CHECKING:
    from hashhub.desk.records import Records
    from hashhub.hook import HookSettings

_PARTS: Final = ("cases", "evidence", "init", "queue", "serve", "storage", "trial", "vault")
SETTINGS: Final = click.option(
    "--settings",
    "settings_file",
    metavar="FILE",
    envvar="HASHHUB_HOOK_SETTINGS",
    help="TOML file with the hook's settings (HASHHUB_HOOK_SETTINGS); see docs/hook/settings.md.",
)
_PERSON: Final = click.option(
    "--person-file",
    metavar="FILE",
    envvar="HASHHUB_HOOK_PERSON_FILE",
    help="File with your own token as a person (HASHHUB_HOOK_PERSON_FILE): who decides is who holds it.",
)


@main.group("hook", cls=LazyGroup, load=lambda: load(*(f"{__name__}.{part}" for part in _PARTS)))
def hook() -> None:
    """Check uploads before anybody sees them, and help with what comes after a match."""


def settings_of(file: str | None) -> HookSettings:
    """Return the settings of the file and the environment. Raises InvalidArgument."""
    from hashhub.hook import load_settings

    return load_settings(Path(file) if file else None, os.environ)


class Desk:
    """The hook's settings and records, and the acting person, read on first use. Raises HashHubError then."""

    def __init__(self, settings_file: str | None, person_file: str | None = None) -> None:
        self._settings_file = settings_file
        self._person_file = person_file

    @cached_property
    def settings(self) -> HookSettings:
        """The hook's settings."""
        return settings_of(self._settings_file)

    @cached_property
    def records(self) -> Records:
        """The hook's records."""
        from hashhub.desk.records import Records

        return Records(Path(self.settings.data))

    def close(self) -> None:
        """Close the records, if they were opened."""
        if "records" in self.__dict__:
            self.records.close()

    def person(self, *, needed: bool = True) -> str:
        """Return the person whose token is in the person file; an empty name without a file, unless one is needed."""
        from hashhub.desk.people import People
        from hashhub.local_files import private_text

        file = self._person_file
        if not file and not needed:
            return ""
        return People(self.records).who(private_text(Path(file), "person-file") if file else "").name

    def actor(self) -> str:
        """Return the person whose token is in the person file. As long as no person exists, the account acts; from the
        first person on, a command without a token is refused.
        """
        from hashhub.desk.people import People

        if not self._person_file and not People(self.records).everybody():
            return account()
        return self.person()


def at_desk(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command the desk that the settings name, as its second argument."""

    @functools.wraps(function)
    def run(session: Session, *, settings_file: str | None, person_file: str | None = None, **others: Any) -> None:
        with closing(Desk(settings_file, person_file)) as desk:
            function(session, desk, **others)

    return SETTINGS(run)


def by_person(function: Callable[..., None]) -> Callable[..., None]:
    """Do so for a command that a person runs, by the token in a file."""
    return options(at_desk, _PERSON)(function)


def account() -> str:
    """Return the account that runs the command, as an actor, which no option and no variable changes."""
    import pwd  # which Windows has not

    from hashhub.desk.people import ACCOUNT

    try:
        return f"{ACCOUNT}{pwd.getpwuid(os.getuid()).pw_name}"
    except KeyError:
        return f"{ACCOUNT}{os.getuid()}"
