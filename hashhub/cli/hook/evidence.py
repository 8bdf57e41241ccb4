"""`hashhub hook evidence …` and `hashhub hook report draft`: what a regulator asks for, and what a person files."""

from __future__ import annotations

import re
import secrets
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Final

import click
import msgspec

from hashhub.cli.hook import Desk, account, at_desk, hook
from hashhub.cli.session import CommandGroup, Session, choice, command
from hashhub.cli.terminal import note, plain, say
from hashhub.desk.reports.assembly import gather, note_drafted
from hashhub.desk.reports.draft import NOT_FILED
from hashhub.desk.reports.recipients import Recipient, render
from hashhub.errors import InvalidArgument
from hashhub.local_files import check, make_directory, text_written, written

_HUB_SECONDS: Final = 20.0
_MOST_FACTS: Final = 1 << 20  # bytes


@hook.group("evidence", cls=CommandGroup, default="write")
def evidence_group() -> None:
    """Show which uploads were checked, by which lists and rules, with which results and precision."""


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


@hook.group("report", cls=CommandGroup)
def report_group() -> None:
    """Draft reports. Nothing is filed, and nothing is sent: a person checks a draft and files it."""


@command(report_group, "draft", local=True)
@click.argument("references", nargs=-1, required=True, metavar="REFERENCE…")
@click.option("--to", "recipient", required=True, type=choice(Recipient), help="Who it is for.")
@click.option("--out", required=True, metavar="DIR", help="Where the draft is written; files that are there stay.")
@click.option("--facts", metavar="FILE", help="TOML with what a person states; see docs/hook/reports.md.")
@at_desk
def draft_report(
    session: Session, desk: Desk, *, references: tuple[str, ...], recipient: Recipient, out: str, facts: str | None
) -> None:
    """Draft a report about uploads, or about a case, from their records and a file of facts. Fields that the recipient
    does not take are left out, and listed beside the draft.
    """
    to = recipient
    cases = [r for r in references if r.startswith("case-")]
    draft = gather(
        desk.records,
        references,
        reporter=desk.settings.reporter,
        facts=_read(facts) if facts else "",
        case=cases[0] if len(cases) == 1 else "",
    )
    rendered = render(draft, to)
    beside = {
        "draft": NOT_FILED,
        "to": to,
        "dropped": [{"path": d.path, "why": d.why} for d in rendered.dropped],
        "missing": list(rendered.missing),
    }
    files = {
        **rendered.files,
        f"{to.lower()}-report.dropped.json": msgspec.json.format(msgspec.json.encode(beside), indent=2) + b"\n",
    }
    _write(Path(out), files)
    note_drafted(desk.records, draft, rendered, to, actor=account())
    if session.print_if_json({"draft": NOT_FILED, "to": to, "files": sorted(files), "dropped": rendered.dropped,
                              "missing": rendered.missing}):  # fmt: skip
        return
    say(f"{NOT_FILED}. A person checks it, and files it where the law says so.")
    for name in sorted(files):
        say(f"  {Path(out) / name}")
    paths_by_why: dict[str, list[str]] = {}
    for one in rendered.dropped:
        paths_by_why.setdefault(one.why, []).append(one.path)
    for why, paths in paths_by_why.items():
        note(f"left out ({why}): {', '.join(paths)}")
    for line in rendered.missing:
        note(f"missing: {line}")


def _read(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            text = file.read(_MOST_FACTS + 1)
        if len(text) > _MOST_FACTS:
            raise InvalidArgument.field("facts", f"the file has more than {_MOST_FACTS} bytes")
        return text.decode("utf-8")
    except (OSError, ValueError) as e:
        raise InvalidArgument.field("facts", f"cannot be read: {getattr(e, 'strerror', None) or e}") from e


def _write(directory: Path, files: dict[str, bytes]) -> None:
    """Write new files, for their owner only. Raises AlreadyExists before the first where one is there already."""
    make_directory(directory)
    for name in files:
        check(directory / name, taken="name another directory")
    for name, content in files.items():
        with written(directory / name, taken="name another directory") as file:
            file.write(content)
