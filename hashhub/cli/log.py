"""`hashhub log …`: the log over the history, and receipts from it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hashhub.cli import main
from hashhub.cli.history import of_a_hub
from hashhub.cli.session import CommandGroup, Session, command, private_files
from hashhub.cli.terminal import clean, note
from hashhub.errors import InvalidArgument, missing_extra
from hashhub.local_files import TAKEN, check, named_file, written
from hashhub.tlog.checkpoint import parse_checkpoint
from hashhub.tlog.proof import PROOF_SUFFIX, parse_log_proof

if TYPE_CHECKING:
    from hashhub.config import Config
    from hashhub.hub.log import TransparencyLog


@main.group("log", cls=CommandGroup)
def log() -> None:
    """The log: a tree over the history, by which whoever kept a checkpoint sees that nothing was rewritten."""


@contextmanager
def _opened(settings: Config) -> Iterator[TransparencyLog]:
    try:
        from hashhub.hub.log import TransparencyLog
        from hashhub.store import Store
    except ModuleNotFoundError as e:
        raise missing_extra(e, "server") from e
    store = Store.open(settings.database_url() or Path(settings.data), create=False)
    try:
        with private_files():
            yield TransparencyLog(store, settings)
    finally:
        store.close()


@command(log, "show", local=True)
@of_a_hub
def show(session: Session, settings: Config) -> None:
    """Print the log's newest checkpoint and the key that verifies it, on the hub's own machine."""
    with _opened(settings) as opened:
        view = opened.view()
    told = {"key": view.verifier_key, "checkpoint": view.checkpoint}
    session.answer(told, f"log {view.verifier_key}\n", view.checkpoint.rstrip("\n"))


@command(log, "begin", local=True)
@of_a_hub
@click.option("--comment", default="", metavar="TEXT", help="Why, for the history.")
@click.option(
    "--checkpoint", metavar="FILE", help="The newest checkpoint of the old log that anybody has, if it is lost here."
)
def begin(session: Session, settings: Config, *, comment: str, checkpoint: str | None) -> None:
    """Begin a new log, with another name, behind a restored backup, a mended history or a lost key.

    Its first entry names the last checkpoint of the old one. Whoever verifies or witnesses the log must be told, and
    shown why. The hub may run. Without its key in the data directory, a new one is made.
    """
    if not comment.strip():
        raise InvalidArgument.field("comment", "must say why a new log is begun", "REQUIRED")
    with _opened(settings) as opened:
        opened.begin(comment=comment, last=named_file("checkpoint", checkpoint) if checkpoint else b"")
        view = opened.view()
    session.answer({"key": view.verifier_key, "checkpoint": view.checkpoint}, f"log {view.verifier_key}")


@command(log, "proof")
@click.argument("revision", type=click.IntRange(min=1))
@click.option("--out", required=True, metavar="FILE", help="Where the event is written; its proof is FILE.tlog-proof.")
@click.option("--force", is_flag=True, help="Replace the files.")
def proof(session: Session, *, revision: int, out: str, force: bool) -> None:
    """Write the receipt of an event, which `hashhub audit verify` and whoever knows the log's key can verify.

    Whoever has it reads the event: who did what to which resource, when, and the reason's code, but no comments.
    """
    files = (Path(out), Path(f"{out}{PROOF_SUFFIX}"))
    for file in files:
        check(file, replace=force, taken=TAKEN)
    with session.connect() as hub:
        receipt = hub.receipt(revision)
    checkpoint, signed = parse_checkpoint(parse_log_proof(receipt[1]).checkpoint)
    for file, content in zip(files, receipt, strict=True):
        with written(file, replace=force, taken=TAKEN) as target:
            target.write(content)
    names = sorted({signature.name for signature in signed.signatures} - {checkpoint.origin})
    told = {"event": revision, "file": out, "log": checkpoint.origin, "size": checkpoint.size, "witnesses": names}
    session.answer(told, f"{clean(out)} and its proof: event {revision} in {clean(checkpoint.origin)}")
    if not (names or session.json):
        note("no witness has cosigned as much of the log yet")
