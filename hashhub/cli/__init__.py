"""The command line. One module per group of commands; `session` holds what they share, `terminal` how output looks.

Commands reach data through the client only, as any program does. Nothing heavy is imported before a command needs it,
so that `hashhub --help` is quick and works on the base install. `serve` is loaded without the other commands.
"""

from __future__ import annotations

import importlib
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _ended_by_interrupts() -> Iterator[None]:
    """Let Ctrl-C end the process by the signal (130 for a shell) instead of by a traceback through an import: loading
    the commands takes a fifth of a second, and more on a busy machine.
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
    from hashhub.cli.session import LazyGroup

__all__ = ["main"]

_PARTS = (
    "admin", "audit", "authority", "catalogue", "conflicts", "console", "contributors", "entries", "exports", "feed",
    "history", "hook", "imports", "init", "log", "login", "match", "peer", "policies", "reconcile", "sample", "scan",
    "schemes", "serve", "signing", "signing_keys", "source", "witness",
)  # fmt: skip


def load(*modules: str) -> None:
    """Import modules, which add their commands."""
    with _ended_by_interrupts():
        for module in modules:
            importlib.import_module(module)


class _Main(LazyGroup):
    """Loads `serve` alone, for which a hub's start need not wait for the rest."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command, or None if there is none of this name."""
        if cmd_name == "serve":
            load("hashhub.cli.serve")
            return self._commands[cmd_name]
        return super().get_command(ctx, cmd_name)


@click.group(
    "hashhub",
    cls=_Main,
    load=lambda: load(*(f"hashhub.cli.{part}" for part in _PARTS)),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="hashhub")
def main() -> None:
    """Connect hash sets of known child sexual abuse material: attributed contributions in, exact explainable matching
    out.

    Every command has --json and --server. Exit codes: 0 done, 1 refused (or matched, with --fail-on), 2 usage, 3
    unavailable.
    """
