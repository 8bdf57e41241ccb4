"""The command line. One module per group of commands; `session` holds what they share, `terminal` how output looks.

Commands reach data through the client only, as any program does. Nothing heavy is imported before a command needs it,
so that `hashhub --help` is quick and works on the base install.
"""

from __future__ import annotations

import signal
import threading

# To load the commands takes a second. Ctrl-C within it ends the process by the signal, which a shell tells as 130,
# instead of by a traceback through whatever is being imported.
_interrupts = (
    signal.getsignal(signal.SIGINT) is signal.default_int_handler
    and threading.current_thread() is threading.main_thread()
)
if _interrupts:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import click

from hashhub import __version__
from hashhub.cli import (
    admin,
    backup,
    catalogue,
    changes,
    conflicts,
    contributors,
    entries,
    exports,
    history,
    hook,
    imports,
    matching,
    policies,
    queue,
    reconcile,
    sample,
    scanning,
    schemes,
    serving,
    webhooks,
)
from hashhub.cli.session import CommandGroup

__all__ = ["main"]

if _interrupts:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@click.group(
    "hashhub", cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="hashhub")
def main() -> None:
    """Connect hash sets of known child sexual abuse material: attributed contributions in, exact explainable matching
    out.

    Every command has --json and --server. Exit codes: 0 done, 1 refused (or matched, with --fail-on), 2 usage, 3
    unavailable.
    """


_MODULES = (
    serving, contributors, imports, exports, entries, queue, matching, scanning, changes, history, catalogue, policies,
    schemes, admin, webhooks, backup, reconcile, conflicts, sample,
    hook,
)  # fmt: skip
for group in _MODULES:
    for entry in group.COMMANDS:
        main.add_command(entry)
