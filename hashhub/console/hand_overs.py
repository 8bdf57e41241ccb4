"""Files that sessions hand over, checked and committed in threads while pages ask how far they are.

A file lies in a folder of its session, for its owner alone, until it is committed, cancelled or replaced, the session
ends, or a day is over. After a restart of the console the person goes on from there: the hub holds what it was sent.
"""

from __future__ import annotations

import logging
import re
import shutil
import time
from concurrent.futures import CancelledError, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from threading import RLock
from typing import BinaryIO, Final

import msgspec

from hashhub.background import Background
from hashhub.client import Client, ImportProgress, ImportReport
from hashhub.console.pages import _
from hashhub.console.sessions import Sessions
from hashhub.errors import Conflict, HashHubError
from hashhub.local_files import digest_of, make_directory, read_file, written
from hashhub.model import ImportState

_log = logging.getLogger("hashhub.console")
_LONGEST_NS: Final = 24 * 3600 * 10**9
_SUFFIX: Final = re.compile(r"(?:\.[A-Za-z0-9]{1,8}){0,2}\Z")  # of a file's name, which may tell its format


class HandOver(msgspec.Struct, kw_only=True):
    """A file that a session hands over.

    `changed`: when a form last did, in nanoseconds; it stands in all of them, so that a tab with an older state changes
    nothing. `fields`: what a person says of a table's columns. `doing`: the action that goes on, or was cut off by a
    restart. `problem`: why the last one failed.
    """

    hash_set: str
    filename: str
    digest: str = ""
    changed: int = 0
    replace: bool = False
    may_shrink: bool = False
    taken_for: str = ""
    format: str = ""
    options: dict[str, str] = {}
    fields: dict[str, str] = {}
    values: dict[str, str] = {}
    date_order: str = ""
    doing: str = ""
    progress: ImportProgress | None = None
    report: ImportReport | None = None
    problem: str = ""

    @property
    def file(self) -> str:
        """The name under which the file is kept."""
        return "list" + "".join(_SUFFIX.findall(self.filename)[:1])

    @property
    def is_committed(self) -> bool:
        """Whether the hub has it, and the file is gone."""
        return self.report is not None and not self.report.validate_only


class HandOvers:
    """The hand-overs of all sessions, one each, in a folder. Thread-safe."""

    def __init__(self, folder: Path, sessions: Sessions) -> None:
        self._folder, self._sessions = folder, sessions
        self._lock = RLock()
        self.works: dict[bytes, HandOver] = {}
        """What goes on now, by session."""
        self._threads = ThreadPoolExecutor(8, "hand-over")  # of all sessions; more wait for their turn
        self._sweeper = Background(
            "hand-overs", self._sweep, complaint="cannot delete files that were handed over", pause=5.0
        )
        self._sweeper.start()

    def close(self) -> None:
        """Stop what goes on, soon."""
        self._sweeper.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def of(self, session: bytes) -> HandOver | None:
        """Return the hand-over of a session."""
        with suppress(OSError, msgspec.MsgspecError):
            return msgspec.json.decode(read_file(self._state(session)), type=HandOver)
        return None

    def take(self, session: bytes, hand_over: HandOver, content: BinaryIO) -> None:
        """Keep a file, instead of the one that the session had. Raises LimitExceeded where the disk is full."""
        with self._lock:
            self.end(session)
            path = self.path(session, hand_over)
            make_directory(path.parent)
            with written(path) as target:
                shutil.copyfileobj(content, target, 1 << 20)
            hand_over.digest = digest_of(path)
            self.change(session, hand_over)

    def path(self, session: bytes, hand_over: HandOver) -> Path:
        """Return where the file is."""
        return self._state(session).with_name(hand_over.file)

    def change(self, session: bytes, hand_over: HandOver, doing: str = "") -> None:
        """Keep what a form changed: what came of an earlier state holds no more. Raises Conflict while work goes on."""
        if session in self.works:
            raise Conflict(_("this list is being worked on; wait until it is done, or cancel it"))
        hand_over.changed, hand_over.doing, hand_over.problem = time.time_ns(), doing, ""
        hand_over.progress = hand_over.report = None
        self._keep(session, hand_over)

    def end(self, session: bytes) -> None:
        """Stop what goes on and delete the file and all about it."""
        with self._lock:
            self.works.pop(session, None)
            shutil.rmtree(self._state(session).parent, ignore_errors=True)

    def start(self, session: bytes, hand_over: HandOver, hub: Client, doing: str) -> None:
        """`check` the list, or `commit` it; wait a moment for the end."""
        with self._lock:
            self.change(session, hand_over, doing)
            self.works[session] = hand_over
        wait([self._threads.submit(self._do, session, hand_over, hub)], 0.8)  # a short list is done in that

    def _state(self, session: bytes) -> Path:
        return self._folder / session.hex() / "state.json"

    def _keep(self, session: bytes, hand_over: HandOver) -> None:
        with written(self._state(session), replace=True) as target:
            target.write(msgspec.json.encode(hand_over))

    def _do(self, session: bytes, hand_over: HandOver, hub: Client) -> None:
        def tell(progress: ImportProgress) -> None:
            hand_over.progress = progress
            is_current = self.works.get(session) is hand_over and self._sessions.lasts(session)
            if self._sweeper.is_stopping or not is_current:
                raise CancelledError

        path = self.path(session, hand_over)
        try:
            with path.open("rb") as source:
                hand_over.report = hub.import_source(
                    source, hash_set=hand_over.hash_set, connector=hand_over.format, options=hand_over.options,
                    replace=hand_over.replace, allow_shrinking=hand_over.may_shrink,
                    validate_only=hand_over.doing == "check", progress=tell,
                )  # fmt: skip
        except FileNotFoundError:  # cancelled before its turn came
            return
        except CancelledError:
            if not self._sweeper.is_stopping:  # the console ends, and goes on with it when it is back
                cancel_open(hub, hand_over)
            return
        except HashHubError as e:
            hand_over.problem = "\n".join((e.message, *getattr(e, "__notes__", ())))
        except Exception:  # noqa: BLE001 - the page says it
            _log.exception("unexpected error while a list was handed over")
            hand_over.problem = "something went wrong here; the log has it"
        with self._lock:
            is_over = hand_over.report or not self._sweeper.is_stopping  # what is committed is, whatever else ends
            if is_over and self.works.get(session) is hand_over:
                hand_over.doing = ""
                self._keep(session, hand_over)
                if hand_over.is_committed:
                    path.unlink(missing_ok=True)
                del self.works[session]

    def _sweep(self) -> None:
        for folder in self._folder.glob("*"):
            session = bytes.fromhex(folder.name)
            with self._lock:
                hand_over = self.of(session)
                is_old = hand_over is None or time.time_ns() - hand_over.changed > _LONGEST_NS
                if is_old or not self._sessions.lasts(session):
                    self.end(session)


def cancel_open(hub: Client, hand_over: HandOver) -> None:
    """Cancel what the hub holds of a file that was not committed."""
    for one in hub.list_imports(hand_over.hash_set).page().items:
        if one.source_digest == hand_over.digest and one.state in {ImportState.OPEN, ImportState.COMMITTING}:
            hub.cancel_import(f"{hand_over.hash_set}/{one.id}")
