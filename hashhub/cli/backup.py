"""`hashhub backup`: a copy of a hub on its own machine, its check, and the way back."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from hashhub import config
from hashhub.cli import main
from hashhub.cli.session import CommandGroup, Session, as_one, command, private_files
from hashhub.cli.terminal import clean, note, progress, say
from hashhub.errors import FailedPrecondition, missing_extra

if TYPE_CHECKING:
    from types import ModuleType

    from hashhub.hub.backup import BackupManifest

_MEGABYTE: Final = 1_000_000


@main.group("backup", cls=CommandGroup, default="create")
def backup() -> None:
    """Back a hub up, check a backup, restore it.

    `hashhub backup DIR` is short for `hashhub backup create DIR`. Run it as the hub's user on the hub's own machine;
    docs/operate/README.md has the drill.
    """


def _settings(config_file: str | None, **options: str | None) -> config.Config:
    return config.load(Path(config_file) if config_file else None, os.environ, **options)


of_a_hub = as_one(
    _settings,
    ("config_file", "data", "database"),
    click.option("--data", metavar="DIR", help="The hub's data directory."),
    click.option("--database", metavar="URL", help="Its PostgreSQL database, if it has one."),
    click.option("--config", "config_file", metavar="FILE", help="TOML file with the hub's settings."),
)
"""Gives a command that runs beside a hub the hub's settings, as its second argument."""


@command(backup, "create", local=True)
@click.argument("directory", type=click.Path(path_type=Path))
@of_a_hub
def create(session: Session, settings: config.Config, *, directory: Path) -> None:
    """Write a backup to DIRECTORY, which must not exist yet. The hub may run, and goes on writing.

    What is copied is the hub at one revision. PostgreSQL needs `pg_dump` of the server's version or a newer one. Keep
    the backup as you keep the hub's data: manifest.json says what in it must stay secret, and what it lacks.
    """
    module = _module()
    with private_files(), progress(unit_bytes=True) as advance:
        manifest = module.back_up(settings, directory, lambda what, done, all_: advance(done, all_ or None, what))
    _show(session, manifest)
    if not session.json:
        note("not in it: " + "; ".join(manifest.lacks))


@command(backup, "verify", local=True)
@click.argument("directory", type=click.Path(path_type=Path))
def verify(session: Session, *, directory: Path) -> None:
    """Check that every file of a backup is as it was written, and that its database can be read."""
    module = _module()
    with progress(unit_bytes=True) as advance:
        manifest = module.verify(directory, lambda what, done, all_: advance(done, all_ or None, what))
    _show(session, manifest)


@command(backup, "restore", local=True)
@click.argument("directory", type=click.Path(path_type=Path))
@of_a_hub
@click.option(
    "--withdrawals", type=click.Path(path_type=Path), metavar="FILE", help="A newer withdrawals.log of the hub."
)
@click.option("--without-withdrawals", is_flag=True, help="Do not ask when there is no newer withdrawals.log.")
def restore(
    session: Session, settings: config.Config, *, directory: Path, withdrawals: Path | None, without_withdrawals: bool
) -> None:
    """Write a backup to a data directory, and with PostgreSQL to a database, that has no hub in it.

    The backup is checked first. Give the newest withdrawals.log that was saved: the first start withdraws again what
    was withdrawn after the backup, as far as that file knows it. One that the data directory has counts by itself.
    """
    module = _module()
    if not (without_withdrawals or withdrawals or (Path(settings.data) / module.WITHDRAWALS).exists()):
        _confirm_without_withdrawals()
    with private_files(), progress(unit_bytes=True) as advance:
        manifest = module.restore(
            directory, settings, withdrawals, lambda what, done, all_: advance(done, all_ or None, what)
        )
    _show(session, manifest)
    if not session.json:
        given = click.get_current_context().params
        again = ["--config", given["config_file"]] if given["config_file"] else []
        again += ["--data", given["data"]] if given["data"] else []
        where = clean(shlex.join(again))
        database = " --database …, as here" if given["database"] else ""
        for told, program in (("start the hub", "serve"), ("then check it", "doctor")):
            note(f"{told}: hashhub {program} {where}".rstrip() + database)


def _confirm_without_withdrawals() -> None:
    """Ask, on a terminal, whether what was withdrawn after the backup is to match again; refuse without one."""
    missing = "no newer withdrawals.log was given: what was withdrawn after the backup will match again"
    if not sys.stdin.isatty():
        raise FailedPrecondition(f"{missing}; give --withdrawals FILE, or say --without-withdrawals")
    note(missing)
    click.confirm("Restore without it?", abort=True, err=True)


def _module() -> ModuleType:
    try:
        from hashhub.hub import backup as module
    except ModuleNotFoundError as e:
        raise missing_extra(e, "server") from e
    return module


def _show(session: Session, manifest: BackupManifest) -> None:
    if session.print_if_json(manifest):
        return
    say(f"revision {manifest.revision}, taken {manifest.create_time:%Y-%m-%d %H:%M:%S}Z by {manifest.hashhub_version}")
    say(f"head {manifest.head}")
    size = sum(f.size_bytes for f in manifest.files) / _MEGABYTE
    say(f"{len(manifest.files)} files, {size:.1f} MB, of a {manifest.database} database; each is as it was written")
