"""`hashhub hook …`: the upload hook, for who has an upload form. A module for each part; the hub is asked by the
hook's own settings.
"""

from __future__ import annotations

from typing import Final

import click

from hashhub.cli.hook import (
    cases,
    checking,
    clamd,
    evidence,
    local,
    queue,
    reports,
    serving,
    starting,
    storing,
    vault,
)
from hashhub.cli.hook.group import hook

__all__ = ["COMMANDS"]

# Each adds its commands to the group when it is imported.
_PARTS: Final = (starting, checking, serving, clamd, storing, local, queue, vault, cases, reports, evidence)

COMMANDS: Final[tuple[click.Command, ...]] = (hook,)
