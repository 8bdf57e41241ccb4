"""`hashhub hook evidence …`: what a regulator asks for."""

from __future__ import annotations

import re
import secrets
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Final

import click

from hashhub.cli.hook import Desk, account, at_desk, hook
from hashhub.cli.session import CommandGroup, Session, command
from hashhub.cli.terminal import note, plain, say
from hashhub.writing import make_directory, text_written

_HUB_SECONDS: Final = 20.0


@hook.group("evidence", cls=CommandGroup, default="write")
def evidence_group() -> None:
    """Show what was checked, by which lists and rules, how well, and what was done."""


@command(evidence_group, "write")
@click.option("--out", required=True, metavar="DIR", help="Where evidence.html and evidence.json are written.")
@at_desk
def write_evidence(session: Session, desk: Desk, *, out: str) -> None:
    """Write the evidence as one page and as data. Numbers come from the records; what is not known is said so. The hub
    is that of the settings; it shows its lists to an auditor's or contributor's token, which --token-file names.
    """
    from hashhub.desk.evidence import COMPARED_WITH_NOTHING, collect, page, write_json
    from hashhub.desk.hub import client_of
    from hashhub.desk.settings import Mode

    records, settings = desk.records, desk.settings
    with closing(client_of(settings, timeout=_HUB_SECONDS, token_file=session.token_file or "")) as client:
        lists_of_copy = None
        if settings.mode is Mode.LOCAL:
            from hashhub.hook.copy import copied_lists

            lists_of_copy = partial(copied_lists, Path(settings.data))
        evidence = collect(records, settings, client, lists_of_copy)
    directory = Path(out)
    make_directory(directory)
    with text_written(directory / "evidence.json") as file:
        write_json(plain(evidence), records, file, event_count=evidence.event_count)
    with text_written(directory / "evidence.html") as file:
        file.write(page(evidence))
    records.note("evidence.written", "evidence", actor=account(), unknown=len(evidence.unknown))
    if session.print_if_json({"files": ["evidence.html", "evidence.json"], "unknown": evidence.unknown}):
        return
    say(f"{Path(out) / 'evidence.html'} and evidence.json")
    if evidence.are_lists_known and not evidence.lists:
        note(f"warning: {COMPARED_WITH_NOTHING}")
    for line in evidence.unknown:
        note(f"not known: {line}")


@command(evidence_group, "sample", local=True)
@click.argument("name", metavar="NAME")
@click.option("--size", type=click.IntRange(1, 100_000), help="How many to draw; without it the sample is shown.")
@click.option("--seed", type=int, help="Draws the same again from the same record; by default one by chance.")
@at_desk
def sample_uploads(session: Session, desk: Desk, *, name: str, size: int | None, seed: int | None) -> None:
    """Draw uploads that were held or blocked, by chance, for people to decide over; or show a sample and how far it is
    decided.
    """
    from hashhub.desk.evidence import draw_sample, sampled

    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{0,62}", name):
        raise click.BadParameter("a sample's name has a-z, 0-9, '.' and '-'")
    if size is not None:
        by = secrets.randbelow(1 << 32) if seed is None else seed
        draw_sample(desk.records, name, size=size, seed=by, actor=account())
    columns = ("reference", "state")
    session.show(
        sampled(desk.records, name),
        columns,
        lambda one: one,
        empty="no uploads",
        as_json=lambda one: dict(zip(columns, one, strict=True)),
    )
