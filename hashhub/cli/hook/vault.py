"""`hashhub hook vault`: what is kept of uploads, encrypted; until when; who took it out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from hashhub.cli.hook import Desk, account, at_desk, by_person, hook
from hashhub.cli.session import REFUSED, CommandGroup, Session, command
from hashhub.cli.terminal import clean, note, show_path

if TYPE_CHECKING:
    from hashhub.desk.vault import Vault

_REASON: Final = click.option("--reason", required=True, metavar="TEXT", help="Why; stays on record.")
_IDENTITY: Final = click.option(
    "--identity", "identity_file", metavar="FILE", help="age: the file with the identity that opens."
)
_OLD_KEY: Final = click.option(
    "--old-key", "old_key", metavar="FILE", help="The key file for which things were kept until now."
)


@hook.group("vault", cls=CommandGroup)
def vault() -> None:
    """Keep encrypted copies of uploads that were held or blocked. Off unless the settings choose it."""


@command(vault, "key", local=True)
@click.option("--out", required=True, metavar="FILE", help="New file for the key, for its owner only.")
def make_key(session: Session, *, out: str) -> None:
    """Make a key file. Keep a copy of it elsewhere: without it nothing can be opened."""
    from hashhub.desk import vault_keys

    vault_keys.make_key(Path(out))
    session.answer({"file": out}, f"{show_path(Path(out))} has a new key; keep a copy elsewhere")


@command(vault, "list", local=True)
@at_desk
def list_items(session: Session, desk: Desk) -> None:
    """List kept uploads by the time of their erasure, soonest first; content is never shown."""
    session.show(
        _vault(desk).items(),
        ("reference", "bytes", "kept since", "erased on", "why then"),
        lambda i: (
            i.reference, i.size_bytes, f"{i.time:%Y-%m-%d}", f"{i.due_time:%Y-%m-%d}" if i.due_time else "-", i.due_why,
        ),
        empty="no uploads",
    )  # fmt: skip


@command(vault, "export", local=True)
@click.argument("reference", metavar="REFERENCE")
@click.option("--out", required=True, metavar="FILE", help="New file for the upload, for its owner only.")
@_REASON
@by_person
@_IDENTITY
def export(session: Session, desk: Desk, *, reference: str, out: str, reason: str, identity_file: str | None) -> None:
    """Take one upload out, decrypted, for whoever the law lets have it. That you did, and why, is on record first."""
    actor = desk.person()
    size = _vault(desk, identity_file).export(reference, Path(out), actor=actor, reason=reason)
    session.answer(
        {"reference": reference, "file": out, "size_bytes": size},
        f"{reference}: {size} bytes in {show_path(Path(out))}; it is on record that {actor} took it out",
    )


@command(vault, "hold", local=True)
@click.argument("references", nargs=-1, required=True, metavar="REFERENCE…")
@click.option("--case", default="", metavar="NAME", help="Which case or order it is for.")
@_REASON
@by_person
def hold(session: Session, desk: Desk, *, references: tuple[str, ...], case: str, reason: str) -> None:
    """Keep uploads until this legal hold is lifted, whatever the time."""
    actor = desk.person()
    count = _vault(desk).hold(list(references), case=case, actor=actor, reason=reason)
    session.answer({"case": case, "held": count}, f"{count} held{f' for {clean(case)}' if case else ''}")


@command(vault, "lift", local=True)
@click.argument("reference", required=False, metavar="[REFERENCE]")
@click.option("--case", default="", metavar="NAME", help="Which hold; without REFERENCE of all its uploads.")
@_REASON
@by_person
def lift(session: Session, desk: Desk, *, reference: str | None, case: str, reason: str) -> None:
    """Lift a legal hold. What is due by then is erased with the next sweep."""
    if not reference and not case:
        raise click.UsageError("name a REFERENCE, a --case, or both")
    actor = desk.person()
    count = _vault(desk).lift(case=case, reference=reference, actor=actor, reason=reason)
    session.answer({"case": case, "lifted": count}, f"{count} lifted")


@command(vault, "sweep", local=True)
@by_person
@click.option("--clock-is-right", is_flag=True, help="You looked at the clock: what is due by it may be erased.")
def sweep(session: Session, desk: Desk, *, clock_is_right: bool) -> None:
    """Erase what is due. A running hook does so each hour. After the clock went ahead by days, nothing is erased until
    the machine has run for a day by it, or somebody says that it is right; that can be said without a vault, too.
    """
    from hashhub.desk.clock import believe, is_believed
    from hashhub.desk.settings import Encryption

    is_there = not clock_is_right or desk.settings.vault.encryption is not Encryption.OFF
    asked = _vault(desk, sweep_first=False) if is_there else None
    if clock_is_right:
        believe(desk.records, actor=desk.actor())
    references = asked.sweep(actor=account()) if asked is not None else []
    is_doubted = not is_believed(desk.records)
    session.answer(
        {"erased": references, "is_clock_doubted": is_doubted},
        f"{len(references)} erased{'; the clock is doubted' if is_doubted else ''}",
    )


@command(vault, "check", local=True)
@at_desk
@_IDENTITY
@_OLD_KEY
def check(session: Session, desk: Desk, *, identity_file: str | None, old_key: str | None) -> None:
    """Open everything that is kept, let nothing out, and say what cannot be opened. Ends with 1 if anything cannot."""
    checked = _vault(desk, identity_file, old_key=old_key or "", rotating=old_key is not None).check(actor=account())
    for problem in () if session.json else checked.problems:
        note(f"{problem.reference}: {problem.reason}: {problem.message}")
    session.answer(checked, f"{checked.opened} of {checked.items} open")
    if checked.problems:
        raise click.exceptions.Exit(REFUSED)


@command(vault, "rotate", local=True)
@at_desk
@_IDENTITY
@_OLD_KEY
def rotate(session: Session, desk: Desk, *, identity_file: str | None, old_key: str | None) -> None:
    """Wrap what was kept for another key for the one in the settings. It can be stopped and run again."""
    done, failed = _vault(desk, identity_file, old_key=old_key or "", rotating=True).rotate(actor=account())
    session.answer({"rotated": done, "failed": failed}, f"{done} rotated, {failed} could not be opened")
    if failed:
        raise click.exceptions.Exit(REFUSED)


def _vault(desk: Desk, identity_file: str | None = None, **how: Any) -> Vault:
    from hashhub.desk.vault import Vault

    return Vault(desk.records, desk.settings, identity_file=identity_file or "", **how)
