"""The group, and what its commands share: the settings."""

from __future__ import annotations

import os
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
    help="TOML file with the hook's settings (HASHHUB_HOOK_SETTINGS); see docs/hook.md.",
)


@click.group("hook", cls=CommandGroup)
def hook() -> None:
    """Check uploads before anybody sees them, and help with what comes after a match."""


def settings_of(file: str | None) -> HookSettings:
    """Return the settings of the file and the environment. Raises InvalidArgument."""
    from hashhub.hook import load_settings

    return load_settings(Path(file) if file else None, os.environ)
