"""The group, and what its commands share: the settings."""

from __future__ import annotations

import importlib
import os
from collections.abc import MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from hashhub.cli.session import CommandGroup

if TYPE_CHECKING:
    from hashhub.hook import HookSettings

SETTINGS: Final = click.option(
    "--settings",
    "settings_file",
    metavar="FILE",
    envvar="HASHHUB_HOOK_SETTINGS",
    help="TOML file with the hook's settings (HASHHUB_HOOK_SETTINGS); see docs/hook/settings.md.",
)


class _HookGroup(CommandGroup):
    """Loads its commands when they are first asked for: with the hook's own code they take as long as all others."""

    @property
    def commands(self) -> MutableMapping[str, click.Command]:
        importlib.import_module("hashhub.cli.hook.parts")
        return self._commands

    @commands.setter
    def commands(self, commands: MutableMapping[str, click.Command]) -> None:
        self._commands = commands

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        self._commands[name or cmd.name or ""] = cmd  # by a part, which is not to load those that need it


@click.group("hook", cls=_HookGroup)
def hook() -> None:
    """Check uploads before anybody sees them, and help with what comes after a match."""


def settings_of(file: str | None) -> HookSettings:
    """Return the settings of the file and the environment. Raises InvalidArgument."""
    from hashhub.hook import load_settings

    return load_settings(Path(file) if file else None, os.environ)
