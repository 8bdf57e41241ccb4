"""`hashhub ca …`: a small certificate authority, for pilots."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from hashhub.cli import main
from hashhub.cli.session import CommandGroup, Session, command, options
from hashhub.cli.terminal import clean, minute
from hashhub.errors import missing_extra

if TYPE_CHECKING:
    from hashhub.authority import Authority, IssuedCertificate

_directory: Final = options(
    click.option(
        "--dir",
        "directory",
        default="hashhub-ca",
        show_default=True,
        metavar="DIR",
        help="Where the authority is kept.",
    )
)
_days: Final = options(
    click.option(
        "--days", type=click.IntRange(1, 825), default=90, show_default=True, metavar="N", help="How long it holds."
    )
)


@main.group("ca", cls=CommandGroup)
def ca() -> None:
    """A small certificate authority, for pilots."""


def _authority(directory: str) -> Authority:
    try:
        from hashhub.authority import Authority
    except ModuleNotFoundError as e:
        raise missing_extra(e, "server", what="certificates") from e
    return Authority(Path(directory))


@command(ca, "init", local=True)
@_directory
@click.option("--name", default="hashhub pilot", show_default=True, metavar="TEXT", help="How people know it.")
def init(session: Session, *, directory: str, name: str) -> None:
    """Make an authority. Whoever has its key can be anybody: keep the directory where only you can read it."""
    try:
        from hashhub.authority import Authority
    except ModuleNotFoundError as e:
        raise missing_extra(e, "server", what="certificates") from e
    Authority.create(Path(directory), name)
    session.answer({"directory": directory}, f"made the authority {clean(name)} in {clean(directory)}")


@command(ca, "issue", local=True)
@click.argument("name")
@click.argument("identities", nargs=-1, required=True, metavar="IDENTITY…")
@_directory
@_days
@click.option("--server", "is_server", is_flag=True, help="For a hub: what its clients check.")
def issue(
    session: Session, *, name: str, identities: tuple[str, ...], directory: str, days: int, is_server: bool
) -> None:
    """Issue a certificate, DIR/NAME.pem, with its key, DIR/NAME.key.

    IDENTITY: URI:spiffe://example.org/hub or DNS:hub.example.org; for a server also IP:192.0.2.1.
    """
    _show(session, [_authority(directory).issue(name, identities, days=days, server=is_server)])


@command(ca, "renew", local=True)
@click.argument("name")
@_directory
@_days
def renew(session: Session, *, name: str, directory: str, days: int) -> None:
    """Replace a certificate and its key. The one before works until it ends, or is revoked."""
    _show(session, [_authority(directory).renew(name, days=days)])


@command(ca, "revoke", local=True)
@click.argument("name")
@_directory
def revoke(session: Session, *, name: str, directory: str) -> None:
    """Revoke all certificates of a name: DIR/revoked.pem has them, which a hub reads within a second."""
    _show(session, _authority(directory).revoke(name))


@command(ca, "list", local=True)
@_directory
def list_certificates(session: Session, *, directory: str) -> None:
    """List the certificates."""
    _show(session, _authority(directory).certificates())


def _show(session: Session, certificates: list[IssuedCertificate]) -> None:
    session.show(
        certificates,
        ("name", "identities", "serial", "until", "remarks"),
        lambda c: (c.name, ", ".join(c.identities), c.serial, minute(c.expire_time), "revoked" if c.is_revoked else ""),
        as_json=lambda c: c._asdict(),
    )
