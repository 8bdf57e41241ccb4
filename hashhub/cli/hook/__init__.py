"""`hashhub hook …`: the upload hook, for who has an upload form. A module for each part; the hub is asked by the
hook's own settings.
"""

from __future__ import annotations

from typing import Final

import click

from hashhub.cli.hook import checking, starting
from hashhub.cli.hook.group import hook

__all__ = ["COMMANDS"]

# Each adds its commands to the group when it is imported.
_PARTS: Final = (starting, checking)

COMMANDS: Final[tuple[click.Command, ...]] = (hook,)
