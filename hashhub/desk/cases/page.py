"""The record of a case as a page to read or print (Markdown), in which no text of others is read as the page's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hashhub.desk.cases.clocks import in_utc

if TYPE_CHECKING:
    from hashhub.desk.cases.life import CaseCopy, CaseRecord, Scan


def page(record: CaseRecord) -> str:
    """Return the record as a page to read or print (Markdown)."""
    case = record.case
    state = f"{case.state.lower()}, {case.outcome.lower()}" if case.outcome else case.state.lower()
    lines = [
        f"# {case.name}",
        "",
        f"{'Complete.' if record.is_complete else 'NOT complete:'}",
        *(f"- {line}" for line in record.missing),
        "",
        f"- complaint: {_cell(case.complaint)}, about {case.purpose.lower().replace('_', ' ')}",
        f"- received {in_utc(case.receive_time)}, opened {in_utc(case.open_time)} by {_cell(case.opened_by)}",
        f"- reason: {_cell(case.reason)}",
        f"- state: {state}; copies are now: {case.action}",
        f"- uploads stopped: {case.stopped}",
        *(f"- not looked for: {_cell(line)}" for line in case.not_searched),
        "",
        "## Clocks (for legal review)",
        "",
        "| rule | due | standing | source |",
        "|---|---|---|---|",
        *(
            f"| {_cell(c.title)} | {in_utc(c.due)} | {c.standing.lower()} | {c.source} |"
            if c.due
            else f"| {_cell(c.title)} | no number of hours | - | {c.source} |"
            for c in case.clocks
        ),
        "",
        "## Copies",
        "",
        *_copies(record.copies),
        "",
        "## Looked through",
        "",
        *(
            f"- {_cell(s.place)}: {s.looked} files, {s.unread} unread, {s.partly} in part only, {s.copies} copies; "
            f"{in_utc(s.begin_time)} to {in_utc(s.end_time)}"
            for s in record.scans
        ),
        *(["Nothing."] if not record.scans else []),
        "",
        *_looked_at_in_part(record.scans),
        "## What was done",
        "",
        *(
            f"- {e['time']} {e['kind']} by {_cell(e['actor'])}{': ' * bool(e['reason'])}{_cell(e['reason'])}"
            for e in record.history
        ),
        "",
        f"Written {in_utc(record.write_time)}.",
        "",
    ]
    return "\n".join(lines)


def _copies(copies: Sequence[CaseCopy]) -> list[str]:
    if not copies:
        return ["None were noticed."]
    return [
        "| place | noticed | state | when | by whom | reason |",
        "|---|---|---|---|---|---|",
        *(
            f"| {_cell(c.place)} | {_cell(c.how)} | {c.state.lower()} | {in_utc(c.time)} | {_cell(c.actor)} | "
            f"{_cell(c.reason)} |"
            for c in copies
        ),
    ]


def _looked_at_in_part(scans: Sequence[Scan]) -> list[str]:
    """Return which files were looked at in part only, by the last look through each place."""
    last = [scan for scan in {scan.place: scan for scan in scans}.values() if scan.partly]
    if not last:
        return []
    more = sum(scan.partly - len(scan.partial) for scan in last)
    return [
        "## Looked at in part only",
        "",
        *(f"- {_cell(file.place)}: {_cell(file.why)}" for scan in last for file in scan.partial),
        *([f"- and {more} more"] if more else []),
        "",
    ]


def _cell(text: str) -> str:
    """Return the text on one line, without what a page would read as its own."""
    shown = "".join(c if c.isprintable() else " " for c in text)
    return "".join(f"\\{c}" if c in "\\|`*_[]<>#&" else c for c in shown)
