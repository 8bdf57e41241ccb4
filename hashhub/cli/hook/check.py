"""`hashhub hook check`: what would become of these files?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hashhub.cli.hook import SETTINGS, hook, settings_of
from hashhub.cli.session import REFUSED, Session, command
from hashhub.cli.terminal import note, plain, print_json, table
from hashhub.errors import InvalidArgument
from hashhub.model import Verdict
from hashhub.trust import ReasonCode

if TYPE_CHECKING:
    from hashhub.hook import Decision


def _why(decision: Decision) -> str:
    """Return the reason that weighs most; of a file that nobody knows, what was not looked for."""
    texts = [reason.text for reason in decision.reasons]
    unsought = [reason.text for reason in decision.reasons if reason.code != ReasonCode.NOTHING_KNOWN]
    if decision.verdict == Verdict.NO_MATCH and unsought:
        return "; ".join(unsought)
    return texts[0] if texts else ""


@command(hook, "check", local=True)
@click.argument("files", nargs=-1, required=True, metavar="FILE…")
@SETTINGS
@click.option("--fail-on-block", is_flag=True, help="Exit with 1 unless every file is allowed.")
def check_files(session: Session, *, files: tuple[str, ...], settings_file: str | None, fail_on_block: bool) -> None:
    """Decide over files as over uploads, and say why. Nothing is kept of them."""
    from hashhub.hook import Action, open_hook

    rows = []
    unread: list[str] = []
    is_allowed = True
    unsearched: dict[str, None] = {}
    with open_hook(settings_of(settings_file), keeps_records=False) as checks:
        checks.connect()
        try:
            for file in files:
                try:
                    decision = checks.check(Path(file), upload_id=Path(file).name, door="cli")
                except InvalidArgument as e:
                    unread.append(file)
                    if session.json:
                        print_json({"file": file, "error": {"reason": e.reason, "message": e.message, "hint": ""}})
                    else:
                        rows.append((file, "-", "-", e.message))
                    continue
                is_allowed &= decision.action is Action.ALLOW
                unsearched |= dict.fromkeys(decision.coverage.unsearched)
                if session.json:
                    print_json({"file": file, "decision": plain(decision)})
                else:
                    rows.append((file, decision.action, decision.verdict, _why(decision)))
        finally:
            if rows:
                table(("file", "action", "verdict", "reason"), rows)
            if unsearched and not session.json:
                note(f"note: not looked for: {'; '.join(unsearched)}")
    if unread:
        note(f"error: {len(unread)} of {len(files)} files could not be read: nothing is known of them")
        raise click.exceptions.Exit(REFUSED)
    if fail_on_block and not is_allowed:
        raise click.exceptions.Exit(REFUSED)
