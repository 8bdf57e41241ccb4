"""`hashhub ca …`: a small certificate authority, for pilots."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from hashhub.cli import main
from hashhub.cli.session import CommandGroup, Session, command, options
from hashhub.cli.terminal import clean
from hashhub.errors import missing_extra

if TYPE_CHECKING:
    from hashhub.authority import Authority

_directory: Final = options(
    click.option("--dir", "directory", default="hashhub-ca", show_default=True, metavar="DIR", help="Where it is kept.")
)
_days: Final = options(
    click.option("--days", type=click.IntRange(1, 825), default=90, show_default=True, help="How long it holds.")
)


@main.group("ca", cls=CommandGroup)
def ca() -> None:
    """A small certificate authority, for pilots."""


def _kind() -> type[Authority]:
    try:
        from hashhub.authority import Authority
    except ModuleNotFoundError as e:
        raise missing_extra(e, "server", what="a certificate authority") from e
    return Authority


def _tell(session: Session, file: Path) -> None:
    session.answer({"file": str(file)}, f"wrote {clean(str(file))}")


@command(ca, "init", local=True)
@_directory
@click.option("--name", default="hashhub pilot", show_default=True, metavar="TEXT", help="How people know it.")
def init(session: Session, *, directory: str, name: str) -> None:
    """Make an authority. Whoever has its key can be anybody: keep the directory where only you can read it."""
    _kind().create(Path(directory), name)
    _tell(session, Path(directory, "authority.pem"))


@command(ca, "issue", local=True)
@click.argument("name")
@click.argument("identities", nargs=-1, required=True, metavar="IDENTITY…")
@_directory
@_days
@click.option("--hub", "is_hub", is_flag=True, help="For a hub, whose clients check its name.")
def issue(session: Session, *, name: str, identities: tuple[str, ...], directory: str, days: int, is_hub: bool) -> None:
    """Issue a certificate, DIR/NAME.pem, with its key, DIR/NAME.key.

    IDENTITY: URI:spiffe://example.org/hub or DNS:hub.example.org; for a hub also IP:192.0.2.1.
    """
    _tell(session, _kind()(Path(directory)).issue(name, identities, days=days, server=is_hub))


@command(ca, "renew", local=True)
@click.argument("name")
@_directory
@_days
def renew(session: Session, *, name: str, directory: str, days: int) -> None:
    """Replace a certificate and its key. The one before works until it ends, or is revoked."""
    _tell(session, _kind()(Path(directory)).renew(name, days=days))


@command(ca, "revoke", local=True)
@click.argument("name")
@_directory
def revoke(session: Session, *, name: str, directory: str) -> None:
    """Revoke all certificates of a name: DIR/revoked.pem has them, which a hub obeys within a second."""
    _tell(session, _kind()(Path(directory)).revoke(name))
