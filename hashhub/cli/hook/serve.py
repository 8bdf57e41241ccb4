"""`hashhub hook serve`, `clamd`, `sync` and `check`: sidecar, clamd door, copy for local mode, single files."""

from __future__ import annotations

import logging
import resource
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import msgspec

from hashhub.cli.hook import SETTINGS, hook, settings_of
from hashhub.cli.interrupts import Interrupts
from hashhub.cli.session import REFUSED, Session, command, private_files
from hashhub.cli.terminal import copy_progress, note, plain, print_json, say, table
from hashhub.errors import InvalidArgument, missing_extra
from hashhub.model import Verdict
from hashhub.trust import ReasonCode

if TYPE_CHECKING:
    from hashhub.hook import Decision
    from hashhub.hook.local import Sync

_LOG_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s %(message)s"
_DESCRIPTORS: Final = 8192  # a connection has up to 12: its own, and two for each upload of a session


@command(hook, "serve", local=True)
@SETTINGS
@click.option("--listen", metavar="HOST:PORT", help="Address to listen on; port 0: any free one.")
@click.option("--quiet", is_flag=True, help="No line for each request.")
def serve(session: Session, *, settings_file: str | None, listen: str | None, quiet: bool) -> None:
    """Run the sidecar until it is stopped: POST an upload's bytes to /check, get a decision.

    One line of JSON for each request goes to stderr: path, status, decision, no names of files. See
    docs/hook/sidecar.md.
    """
    settings = settings_of(settings_file)
    if listen is not None:
        settings = msgspec.structs.replace(settings, sidecar=msgspec.structs.replace(settings.sidecar, listen=listen))
    try:
        from hashhub.hook.sidecar import serve as serve_sidecar
    except ImportError as e:
        raise missing_extra(e, "hook", what="the sidecar") from e
    from hashhub.hook import open_hook

    logging.basicConfig(stream=sys.stderr, format="%(message)s", level=logging.WARNING)
    logging.getLogger("hashhub").setLevel(logging.INFO)
    logging.getLogger("hashhub.hook.access").setLevel(logging.WARNING if quiet else logging.INFO)

    def ready(address: str) -> None:
        with suppress(OSError):  # a closed pipe is no reason not to serve
            session.answer({"listen": address}, f"the hook is ready: http://{address}/docs")
            if not (session.json or settings.sidecar.secret_file):
                note("no secret is set: whoever reaches this address may ask")

    with private_files(), open_hook(settings) as opened:
        serve_sidecar(opened, on_ready=ready)


@command(hook, "clamd", local=True)
@SETTINGS
def serve_clamd(session: Session, *, settings_file: str | None) -> None:
    """Answer clients of clamd until it is stopped: uploads are checked, and scanned by the real clamd behind.

    The section [clamd] of the settings says where clients come in, and where the real clamd is: docs/hook/clamd.md.
    """
    from hashhub.hook import open_hook
    from hashhub.hook.clamd import serve

    settings = settings_of(settings_file)

    def ready(address: str, socket: str) -> None:
        with suppress(OSError):  # a closed pipe is no reason not to serve
            if session.print_if_json({"listen": address, "socket": socket, "chained": settings.clamd.chained}):
                return
            say(f"listening as clamd on {' and '.join(filter(None, (address, socket)))}")
            if settings.clamd.is_chained:
                note(f"uploads go on to the real clamd at {settings.clamd.chained}")
            else:
                note("there is no real clamd behind it: nobody looks for viruses")

    if not logging.root.handlers:
        logging.basicConfig(level=logging.INFO, format=_LOG_FORMAT)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    with open_hook(settings) as checks:
        serve(checks, ready)


@command(hook, "sync", local=True)
@SETTINGS
@click.option(
    "--follow/--once",
    default=False,
    help="Keep the copy up to date until interrupted, or end once it is.  [default: once]",
)
@click.option("--start-over", is_flag=True, help="Replace what the copy holds, for another token or another hub.")
@click.option("--reindex", is_flag=True, help="Write the index anew; nothing of what was dropped is left in it.")
def sync_copy(session: Session, *, settings_file: str | None, follow: bool, start_over: bool, reindex: bool) -> None:
    """Keep a copy of what the token may hold, with an index, for hooks in the mode LOCAL.

    It goes on where the last run ended, wherever that was. The token must have been made with --may-mirror. One process
    keeps the copy; any number read it, also while it is kept.
    """
    with Interrupts() as interrupts:
        from hashhub.hook.local import Sync

        with Sync(settings_of(settings_file)) as sync:
            interrupts.call(sync.stop)
            if start_over:
                sync.start_over()
            with copy_progress((lambda: _tell(session, sync)) if follow else None) as on_page:
                if follow:
                    sync.follow(on_page)
                sync.update(on_page)
            if reindex:
                sync.reindex()
            _tell(session, sync)


def _tell(session: Session, sync: Sync) -> None:
    from hashhub.hook.local import IN_BULK

    state = sync.state()
    if not state.entries:
        note(f"note: the copy has no entry, so that no upload matches by it. {IN_BULK}")
    if session.print_if_json(state):
        return
    say(
        f"complete at revision {state.revision}; entries: {state.entries}, hash sets: {state.hash_sets}, "
        f"digests: {state.index_digests}; policy {state.policy}; {state.lines} changes in {state.seconds:.1f} s"
    )


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
