"""The command line. One module per group of commands; `session` holds what they share, `terminal` how output looks.

Commands reach data through the client only, as any program does. Nothing heavy is imported before a command needs it,
so that `hashhub --help` is quick and works on the base install. `serve` is loaded without the other commands.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from importlib import import_module


@contextmanager
def _ended_by_interrupts() -> Iterator[None]:
    """Have Ctrl-C end the process by the signal, which a shell tells as 130, instead of by a traceback through whatever
    is being imported: to load the commands takes a fifth of a second, and more on a busy machine.
    """
    if (
        signal.getsignal(signal.SIGINT) is not signal.default_int_handler
        or threading.current_thread() is not threading.main_thread()
    ):
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


with _ended_by_interrupts():
    import click

    from hashhub import __version__
    from hashhub.cli.session import CommandGroup

__all__ = ["main"]


_PARTS = (
    "serve", "contributors", "imports", "exports", "entries", "queue", "match", "scan", "changes", "history",
    "catalogue", "policies", "schemes", "admin", "webhooks", "backup", "reconcile", "conflicts", "sample", "hook",
)  # fmt: skip


class _Commands(CommandGroup):
    """Loads the commands when they are asked for; `serve` alone, for which a hub's start need not wait for the rest."""

    _commands: MutableMapping[str, click.Command]

    @property
    def commands(self) -> MutableMapping[str, click.Command]:
        if not self._commands:
            with _ended_by_interrupts():
                parts = [import_module(f"{__name__}.{part}") for part in _PARTS]
            self._commands = {entry.name or "": entry for part in parts for entry in part.COMMANDS}
        return self._commands

    @commands.setter
    def commands(self, commands: MutableMapping[str, click.Command]) -> None:
        self._commands = commands

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command, or None if there is none of this name."""
        if cmd_name == "serve":
            with _ended_by_interrupts():
                from hashhub.cli import serve
            return serve.serve
        return super().get_command(ctx, cmd_name)


@click.group(
    "hashhub", cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="hashhub")
def main() -> None:
    """Connect hash sets of known child sexual abuse material: attributed contributions in, exact explainable matching
    out.

    Every command has --json and --server. Exit codes: 0 done, 1 refused (or matched, with --fail-on), 2 usage, 3
    unavailable.
    """
