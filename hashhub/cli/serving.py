"""`hashhub serve`: the hub itself."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import click

from hashhub import config
from hashhub.cli.session import Session, command
from hashhub.cli.terminal import note, print_json, say
from hashhub.errors import FailedPrecondition, Reason


@command(None, "serve", local=True)
@click.option("--data", metavar="DIR", help="Directory for the embedded database, snapshots and the first token.")
@click.option("--database", metavar="URL", help="PostgreSQL database: postgresql+psycopg://… Otherwise SQLite in DIR.")
@click.option("--listen", metavar="HOST:PORT", help="Address of the gRPC service. Port 0: any free one.")
@click.option("--http", metavar="HOST:PORT", help="Address of the HTTP door (Connect, JSON). Empty: none.")
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

    Settings come from options, then the environment (HASHHUB_DATA, …), then the file, then defaults (docs/config.md).
    The first start writes an operator's token to DIR/operator.token.
    """
    settings = config.load(Path(config_file) if config_file else None, os.environ, **options)
    try:
        from hashhub import server
    except ModuleNotFoundError as e:
        raise FailedPrecondition(
            f"serving needs the package {e.name!r}, which is not installed; run: pip install 'hashhub[server]'",
            reason=Reason.MISSING_EXTRA,
        ) from e

    def ready(grpc_address: str, http_address: str) -> None:
        if session.json:
            print_json({"listen": grpc_address, "http": http_address, "data": settings.data})
            return
        say(f"hashhub is ready: gRPC on {grpc_address}" + (f", HTTP on http://{http_address}" if http_address else ""))
        note(
            f"operator's token: {Path(settings.data) / 'operator.token'} (commands on this machine find it by "
            "themselves)"
        )

    # Lists are regulated data: whatever the hub writes, its database and snapshots too, is for its own user alone.
    before = os.umask(0o077)
    try:
        server.serve(settings, on_ready=ready)
    finally:
        os.umask(before)


COMMANDS: Final = (serve,)
