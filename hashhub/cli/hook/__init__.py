"""`hashhub hook …`: the upload hook, for who has an upload form. A module for each part, which `parts` gathers; the hub
is asked by the hook's own settings.
"""

from __future__ import annotations

from typing import Final

import click

from hashhub.cli.hook.group import hook

__all__ = ["COMMANDS"]

COMMANDS: Final[tuple[click.Command, ...]] = (hook,)
