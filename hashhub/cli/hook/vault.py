"""`hashhub hook vault`: what is kept of uploads, encrypted; until when; who took it out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from hashhub.cli.hook.group import SETTINGS, hook
from hashhub.cli.hook.queue import PERSON, account, actor_of, opened, person_of
from hashhub.cli.session import REFUSED, CommandGroup, Session, command
from hashhub.cli.terminal import clean, note, plain, print_json, say, show_path, table

if TYPE_CHECKING:
    from hashhub.desk.vault import Vault

_REASON: Final = click.option("--reason", required=True, metavar="TEXT", help="Why; stays on record.")
_IDENTITY: Final = click.option(
    "--identity", "identity_file", metavar="FILE", help="age: the file with the identity that opens."
)
_OLD_KEY: Final = click.option(
    "--old-key", "old_key", metavar="FILE", help="The key file for which things were kept until now."
)


@click.group("vault", cls=CommandGroup)
def vault() -> None:
    """Keep encrypted copies of uploads that were held or blocked. Off unless the settings choose it."""


hook.add_command(vault)


@command(vault, "key", local=True)
@click.option("--out", required=True, metavar="FILE", help="New file for the key, for its owner only.")
def make_key(session: Session, *, out: str) -> None:
    """Make a key file. Keep a copy of it elsewhere: without it nobody opens anything."""
    from hashhub.desk import vault_keys

    vault_keys.make_key(Path(out))
    print_json({"file": out}) if session.json else say(f"{show_path(Path(out))} has a new key; keep a copy elsewhere")


@command(vault, "list", local=True)
@SETTINGS
def list_items(session: Session, *, settings_file: str | None) -> None:
    """List what is kept and when it is erased, the soonest first; never what it shows."""
    items = _vault(settings_file).items()
    if session.json:
        for item in items:
            print_json(plain(item))
        return
    table(
        ("reference", "bytes", "kept since", "erased on", "why then"),
        [
            (
                i.reference,
                i.size_bytes,
                f"{i.time:%Y-%m-%d}",
                f"{i.due_time:%Y-%m-%d}" if i.due_time else "-",
                i.due_why,
            )
            for i in items
        ],
        empty="no uploads",
    )


@command(vault, "export", local=True)
@click.argument("reference", metavar="REFERENCE")
@click.option("--out", required=True, metavar="FILE", help="New file for the upload, for its owner only.")
@_REASON
@SETTINGS
@PERSON
@_IDENTITY
def export(
    session: Session,
    *,
    reference: str,
    out: str,
    reason: str,
    settings_file: str | None,
    person_file: str | None,
    identity_file: str | None,
) -> None:
    """Take one upload out, decrypted, for whoever the law lets have it. That you did, and why, is on record first."""
    records, _ = opened(settings_file)
    actor = person_of(records, person_file, needed=True)
    size = _vault(settings_file, identity_file).export(reference, Path(out), actor=actor, reason=reason)
    if session.json:
        print_json({"reference": reference, "file": out, "size_bytes": size})
    else:
        say(f"{reference}: {size} bytes in {show_path(Path(out))}; it is on record that {actor} took it out")


@command(vault, "hold", local=True)
@click.argument("references", nargs=-1, required=True, metavar="REFERENCE…")
@click.option("--case", default="", metavar="NAME", help="Which case or order it is for.")
@_REASON
@SETTINGS
@PERSON
def hold(
    session: Session,
    *,
    references: tuple[str, ...],
    case: str,
    reason: str,
    settings_file: str | None,
    person_file: str | None,
) -> None:
    """Keep uploads until this legal hold is lifted, whatever the time."""
    records, _ = opened(settings_file)
    actor = person_of(records, person_file, needed=True)
    count = _vault(settings_file).hold(list(references), case=case, actor=actor, reason=reason)
    print_json({"case": case, "held": count}) if session.json else say(
        f"{count} held{f' for {clean(case)}' if case else ''}"
    )


@command(vault, "lift", local=True)
@click.argument("reference", required=False, metavar="[REFERENCE]")
@click.option("--case", default="", metavar="NAME", help="Which hold; without REFERENCE of all its uploads.")
@_REASON
@SETTINGS
@PERSON
def lift(
    session: Session,
    *,
    reference: str | None,
    case: str,
    reason: str,
    settings_file: str | None,
    person_file: str | None,
) -> None:
    """Lift a legal hold. What is due by then is erased with the next sweep."""
    if not reference and not case:
        raise click.UsageError("name a REFERENCE, a --case, or both")
    records, _ = opened(settings_file)
    actor = person_of(records, person_file, needed=True)
    count = _vault(settings_file).lift(case=case, reference=reference, actor=actor, reason=reason)
    print_json({"case": case, "lifted": count}) if session.json else say(f"{count} lifted")


@command(vault, "sweep", local=True)
@SETTINGS
@PERSON
@click.option("--clock-is-right", is_flag=True, help="You looked at the clock: what is due by it may be erased.")
def sweep(session: Session, *, settings_file: str | None, person_file: str | None, clock_is_right: bool) -> None:
    """Erase what is due. A running hook does so each hour. After the clock went ahead by days, nothing is erased until
    the machine has run for a day by it, or somebody says that it is right; that can be said without a vault, too.
    """
    from hashhub.desk.clock import believe, is_believed
    from hashhub.desk.settings import Encryption

    records, settings = opened(settings_file)
    is_there = not clock_is_right or settings.vault.encryption is not Encryption.OFF
    asked = _vault(settings_file, sweep_first=False) if is_there else None
    if clock_is_right:
        believe(records, actor=actor_of(records, person_file))
    references = asked.sweep(actor=account()) if asked is not None else []
    is_doubted = not is_believed(records)
    if session.json:
        print_json({"erased": references, "is_clock_doubted": is_doubted})
    else:
        say(f"{len(references)} erased{'; the clock is doubted' if is_doubted else ''}")


@command(vault, "check", local=True)
@SETTINGS
@_IDENTITY
@_OLD_KEY
def check(session: Session, *, settings_file: str | None, identity_file: str | None, old_key: str | None) -> None:
    """Open everything that is kept, let nothing out, and say what cannot be opened. Ends with 1 if anything cannot."""
    asked = _vault(settings_file, identity_file, old_key=old_key or "", rotating=old_key is not None)
    checked = asked.check(actor=account())
    if session.json:
        print_json(plain(checked))
    else:
        for problem in checked.problems:
            note(f"{problem.reference}: {problem.reason}: {problem.message}")
        say(f"{checked.opened} of {checked.items} open")
    if checked.problems:
        raise click.exceptions.Exit(REFUSED)


@command(vault, "rotate", local=True)
@SETTINGS
@_IDENTITY
@_OLD_KEY
def rotate(session: Session, *, settings_file: str | None, identity_file: str | None, old_key: str | None) -> None:
    """Wrap what was kept for another key for the one in the settings. It can be stopped and run again."""
    asked = _vault(settings_file, identity_file, old_key=old_key or "", rotating=True)
    done, failed = asked.rotate(actor=account())
    if session.json:
        print_json({"rotated": done, "failed": failed})
    else:
        say(f"{done} rotated, {failed} could not be opened")
    if failed:
        raise click.exceptions.Exit(REFUSED)


def _vault(
    settings_file: str | None,
    identity_file: str | None = None,
    *,
    old_key: str = "",
    rotating: bool = False,
    sweep_first: bool = True,
) -> Vault:
    from hashhub.desk.vault import Vault

    records, settings = opened(settings_file)
    return Vault(
        records,
        settings,
        identity_file=identity_file or "",
        old_key=old_key,
        rotating=rotating,
        sweep_first=sweep_first,
    )
