"""Files that sessions hand over, checked and committed in threads while pages ask how far they are.

A file lies in a folder of its session, for its owner alone, until it is committed, cancelled or replaced, the session
ends, or a day is over. After a restart of the console the person goes on from there: the hub holds what it was sent.
"""

from __future__ import annotations

import logging
import secrets
import shutil
import time
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, BinaryIO, Final

import msgspec

from hashhub.background import Background
from hashhub.client import ImportProgress, ImportReport
from hashhub.console.pages import _
from hashhub.errors import Conflict, HashHubError, Reason
from hashhub.local_files import digest_of, make_directory, read_file, written
from hashhub.model import ImportState

if TYPE_CHECKING:
    from hashhub.client import Client
    from hashhub.console.sessions import Sessions

_log = logging.getLogger("hashhub.console")
_AT_ONCE: Final = 8  # checks and commits of all sessions; more wait for their turn
_MOMENT: Final = 0.8  # seconds in which a short list is done, so that no page has to ask
_LONGEST_SECONDS: Final = 24 * 3600.0
_SWEEP_SECONDS: Final = 5.0
_IMPORTS: Final = 50  # the last of a hash set, that are looked through for one to cancel
_STATE: Final = "state.json"


class Step(StrEnum):
    """How far a list is; CHECKING and COMMITTING go on in a thread."""

    CHOOSE = "CHOOSE"
    CHECKING = "CHECKING"
    CHECKED = "CHECKED"
    COMMITTING = "COMMITTING"
    COMMITTED = "COMMITTED"


class HandOver(msgspec.Struct, kw_only=True):
    """A file that a session hands over.

    `mark` is new after each change by a form and stands in all of them: a tab that shows an older state changes
    nothing. `guesses`: (format, certainty, why, options). `problem`: why the last check or commit failed;
    `has_shrunk`: because too few entries would be left.
    """

    hash_set: str
    filename: str
    file: str
    size: int
    digest: str = ""
    begun: float
    mark: str = ""
    replace: bool = False
    may_shrink: bool = False
    guesses: tuple[tuple[str, str, str, dict[str, str]], ...] = ()
    format: str = ""
    options: dict[str, str] = {}
    step: Step = Step.CHOOSE
    report: ImportReport | None = None
    problem: str = ""
    has_shrunk: bool = False


class _Stopped(Exception):
    """The person cancelled, the session has ended, or the console ends."""


class Work:
    """A check or a commit that goes on: how far it is, and whether it is to stop."""

    progress: ImportProgress | None = None
    is_stopped = False


class HandOvers:
    """The hand-overs of all sessions, one each, in a folder. Thread-safe."""

    def __init__(self, folder: Path, sessions: Sessions) -> None:
        self._folder, self._sessions = folder, sessions
        self._lock = RLock()
        self.works: dict[bytes, Work] = {}
        """What goes on now, by session."""
        self._threads = ThreadPoolExecutor(_AT_ONCE, "hand-over")
        self._sweeper = Background(
            "hand-overs", self._sweep, complaint="cannot delete files that were handed over", pause=_SWEEP_SECONDS
        )
        self._sweeper.start()

    def close(self) -> None:
        """Stop what goes on, soon."""
        self._sweeper.close()
        with self._lock:
            for work in self.works.values():
                work.is_stopped = True
        self._threads.shutdown(wait=False, cancel_futures=True)

    def of(self, session: bytes) -> HandOver | None:
        """Return the hand-over of a session."""
        with suppress(OSError, msgspec.MsgspecError):
            return msgspec.json.decode(read_file(self._folder / session.hex() / _STATE), type=HandOver)
        return None

    def take(self, session: bytes, hand_over: HandOver, content: BinaryIO) -> None:
        """Keep a file, instead of the one that the session had. Raises LimitExceeded where the disk is full."""
        with self._lock:
            self.end(session)
            make_directory(self._folder / session.hex())
            with written(self.path(session, hand_over)) as target:
                shutil.copyfileobj(content, target, 1 << 20)
            hand_over.digest = digest_of(self.path(session, hand_over))
            self.keep(session, hand_over, is_new=True)

    def path(self, session: bytes, hand_over: HandOver) -> Path:
        """Return where the file is."""
        return self._folder / session.hex() / hand_over.file

    def keep(self, session: bytes, hand_over: HandOver, *, is_new: bool = False) -> None:
        """Keep what was changed; `is_new`: by a form, so that older ones work no more."""
        if is_new:
            hand_over.mark = secrets.token_hex(8)
        with written(self._folder / session.hex() / _STATE, replace=True) as target:
            target.write(msgspec.json.encode(hand_over))

    def end(self, session: bytes) -> None:
        """Stop what goes on and delete the file and all about it."""
        with self._lock:
            if work := self.works.pop(session, None):
                work.is_stopped = True
            shutil.rmtree(self._folder / session.hex(), ignore_errors=True)

    def start(self, session: bytes, hand_over: HandOver, hub: Client, *, is_commit: bool) -> None:
        """Check the list, or commit it; wait a moment for the end."""
        with self._lock:
            if session in self.works:
                raise Conflict(_("this list is being worked on; wait until it is done, or cancel it"))
            hand_over.step = Step.COMMITTING if is_commit else Step.CHECKING
            hand_over.problem, hand_over.has_shrunk = "", False
            self.keep(session, hand_over, is_new=True)
            work = self.works[session] = Work()
        wait([self._threads.submit(self._do, session, hand_over, work, hub)], _MOMENT)

    def _do(self, session: bytes, hand_over: HandOver, work: Work, hub: Client) -> None:
        is_commit = hand_over.step is Step.COMMITTING

        def tell(progress: ImportProgress) -> None:
            work.progress = progress
            if work.is_stopped or not self._sessions.lasts(session):
                raise _Stopped

        path = self.path(session, hand_over)
        try:
            with path.open("rb") as source:
                try:
                    hand_over.report = hub.import_source(
                        source,
                        hash_set=hand_over.hash_set,
                        connector=hand_over.format,
                        options=hand_over.options,
                        progress=tell,
                        replace=hand_over.replace,
                        allow_shrinking=hand_over.may_shrink,
                        validate_only=not is_commit,
                    )
                    hand_over.step = Step.COMMITTED if is_commit else Step.CHECKED
                except _Stopped:
                    if not self._sweeper.is_stopping:  # the console ends, and goes on with it when it is back
                        cancel_open(hub, hand_over)
                    return
        except FileNotFoundError:  # cancelled before its turn came
            return
        except HashHubError as e:
            hand_over.step = Step.CHOOSE
            hand_over.problem = "\n".join((e.message, *getattr(e, "__notes__", ())))
            hand_over.has_shrunk = e.reason is Reason.LIST_SHRANK
        except Exception:  # noqa: BLE001 - the page says it
            _log.exception("unexpected error while a list was handed over")
            hand_over.step, hand_over.problem = Step.CHOOSE, "something went wrong here; the log has it"
        finally:
            with self._lock:
                if self.works.get(session) is work:
                    del self.works[session]
                    if not work.is_stopped or hand_over.step is not Step.CHOOSE:
                        self.keep(session, hand_over)
                    if hand_over.step is Step.COMMITTED:
                        path.unlink(missing_ok=True)

    def _sweep(self) -> None:
        for folder in self._folder.glob("*"):
            session = bytes.fromhex(folder.name)
            with self._lock:
                hand_over = self.of(session)
                is_old = hand_over is None or time.time() - hand_over.begun > _LONGEST_SECONDS
                if is_old or not self._sessions.lasts(session):
                    self.end(session)


def cancel_open(hub: Client, hand_over: HandOver) -> None:
    """Cancel what the hub holds of a file that was not committed."""
    for one in hub.list_imports(hand_over.hash_set).page(_IMPORTS).items:
        if one.source_digest == hand_over.digest and one.state in {ImportState.OPEN, ImportState.COMMITTING}:
            hub.cancel_import(f"{hand_over.hash_set}/{one.id}")
