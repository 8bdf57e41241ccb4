"""`hashhub serve`: the hub itself."""

from __future__ import annotations

import os
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import msgspec

from hashhub import config
from hashhub.addresses import bind, with_port
from hashhub.cli import main
from hashhub.cli.session import Session, command, private_files
from hashhub.cli.terminal import is_terminal, note, say

if TYPE_CHECKING:
    from rich.status import Status

    from hashhub.server import StartPhase

_WORTH_TELLING: Final = 0.1  # seconds; shorter steps are left out of the sum


@command(main, "serve", local=True)
@click.option("--data", metavar="DIR", help="Directory for the embedded database, snapshots and the first token.")
@click.option("--database", metavar="URL", help="PostgreSQL database: postgresql+psycopg://… Otherwise SQLite in DIR.")
@click.option("--listen", metavar="HOST:PORT", help="Address of the gRPC service. Port 0: any free one.")
@click.option("--http", metavar="HOST:PORT", help="Address of the HTTP listener (Connect, JSON). Empty: none.")
@click.option("--console", metavar="HOST:PORT", help="Address of the console, pages for people in a browser.")
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Processes that share the ports.")
@click.option("--tls-certificate", metavar="FILE", help="PEM file with the server's certificate chain.")
@click.option("--tls-key", metavar="FILE", help="PEM file with the certificate's private key.")
@click.option(
    "--insecure-listen",
    is_flag=True,
    default=None,
    help="A proxy in front ends TLS: listen beyond this machine without it.",
)
@click.option("--config", "config_file", metavar="FILE", help="TOML file with these and all other settings.")
def serve(session: Session, *, config_file: str | None, **options: object) -> None:
    """Run a hub until it is stopped.

    Settings come from options, then the environment (HASHHUB_DATA, …), then the file, then defaults
    (docs/operate/config.md). The first start writes an operator's token to DIR/operator.token.
    """
    # gRPC's core writes a line for each malformed header that a stranger sends, past our own log and its bounds. It
    # reads this when it is loaded, which is below, and in each worker.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    settings = config.load(Path(config_file) if config_file else None, os.environ, **options)
    from hashhub import server

    steps = _StartDisplay()
    consoles = ExitStack()

    def ready(*addresses: str) -> None:
        steps.end()
        url = _start_console(settings, addresses[0], consoles) if settings.console else ""
        with suppress(OSError):  # a full disk behind the pipe, or a closed one, is no reason not to serve
            announce(*addresses, console=url)

    def announce(listen: str, http: str, certificates: str, *, console: str) -> None:
        where = {
            "listen": listen,
            "http": http,
            "listen_certificates": certificates,
            "console": console,
            "data": settings.data,
        }
        if session.print_if_json(where):
            return
        by_http = f", HTTP on http://{http}" if http else ""
        by_certificate = f", with certificates on {certificates}" if certificates else ""
        by_browser = f", the console on {console}" if console else ""
        say(f"hashhub is ready: gRPC on {listen}{by_http}{by_certificate}{by_browser}")
        note(
            f"operator's token: {Path(settings.data) / 'operator.token'} (commands on this machine find it by "
            "themselves)"
        )

    with private_files(), consoles:  # its database and snapshots, too
        try:
            server.serve(settings, on_ready=ready, on_phase=steps.show)
        finally:
            steps.close()


def _start_console(settings: config.Config, hub: str, consoles: ExitStack) -> str:
    """Start the console beside the hub, until `consoles` ends; return the URL that browsers reach it by."""
    from hashhub.console.hub_console import url_of
    from hashhub.console.process import ConsoleProcess

    bound = consoles.enter_context(bind("console", settings.console))
    bound.listen()
    address = with_port("console", settings.console, bound.getsockname()[1])
    settings = msgspec.structs.replace(settings, console=address, listen=hub)
    consoles.callback(ConsoleProcess(settings, bound).close)
    return url_of(settings)


class _StartDisplay:
    """Shows what a start does, on stderr: a spinner on a terminal; in a pipe a line for long steps, one at the end."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._seconds: dict[str, float] = {}
        self._status: Status | None = None
        self._is_terminal = is_terminal(sys.stderr)

    def show(self, phase: StartPhase) -> None:
        """Show that a step begins, goes on or has ended."""
        with suppress(OSError):
            self._show(phase)

    def _show(self, phase: StartPhase) -> None:
        what = phase.what if phase.worker == 0 else f"worker {phase.worker}: {phase.what}"
        if phase.seconds is not None:
            self._seconds[what] = phase.seconds
            if phase.is_long and not self._is_terminal:
                note(f"{what}: {phase.seconds:.1f} s")
        elif self._is_terminal:
            if self._status is None:
                from rich.console import Console

                self._status = Console(stderr=True).status(what)
                self._status.start()
            self._status.update(f"{what} …")
        elif phase.is_long:
            note(f"{what} …")

    def end(self) -> None:
        """Say how long everything took."""
        self.close()
        total = time.perf_counter() - self._began
        longest = sorted(self._seconds.items(), key=lambda item: -item[1])
        parts = ", ".join(f"{what} {seconds:.1f}" for what, seconds in longest if seconds >= _WORTH_TELLING)
        with suppress(OSError):
            note(f"started in {total:.1f} s" + (f": {parts}" if parts else ""))

    def close(self) -> None:
        """Clear the line."""
        if self._status is not None:
            self._status.stop()
            self._status = None
