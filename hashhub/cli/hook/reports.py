"""`hashhub hook report draft`: a report for a person to check and file."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from hashhub.cli.hook import Desk, account, at_desk, hook
from hashhub.cli.session import CommandGroup, Session, choice, command
from hashhub.cli.terminal import note, say
from hashhub.desk.reports.assembly import gather
from hashhub.desk.reports.draft import NOT_FILED
from hashhub.desk.reports.recipients import Recipient, render
from hashhub.errors import InvalidArgument
from hashhub.writing import check, make_directory, written

_MOST_FACTS = 1 << 20  # bytes


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
    """Draft a report about uploads, or about what a case stopped, from their records and what a person states. What
    the recipient does not take is left out and named beside the draft.
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
    with desk.records.transaction():
        for file in draft.files:
            desk.records.note("REPORT_DRAFTED", file.reference, actor=account(), to=to, dropped=len(rendered.dropped))
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
