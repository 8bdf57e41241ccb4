"""A witness of logs, for hubs that others operate: `add-checkpoint` of c2sp.org/tlog-witness.

It cosigns a checkpoint when the log shows that it only grew since the one before. What it cosigned last of each log is
on the disk before the cosignature leaves it: a kill between the two costs the log another request, and no log gets two
of one size with different roots. Which logs there are says a policy; whoever else asks is told so, and nothing is kept.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import signal
import socket
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, NamedTuple

from hashhub.edge_state import DATABASE, EdgeState
from hashhub.errors import HTTP_STATUS, DataLoss, HashHubError, InvalidArgument, Reason
from hashhub.local_files import make_directory, private_text, written
from hashhub.server.bodies import RequestBody, body_budget
from hashhub.server.connections import HTTPServer
from hashhub.server.http_listener import HEADER_SECONDS, HTTPRequest
from hashhub.tlog.checkpoint import Checkpoint, parse_checkpoint
from hashhub.tlog.note import COSIGNATURE, NoteSigner, SignedNote, load_private_key, new_private_key
from hashhub.tlog.policy import LogPolicy
from hashhub.tlog.submission import MAX_SUBMISSION, SIZE_TYPE, Submission, parse_submission
from hashhub.tlog.tree import EMPTY_ROOT, verify_consistency

_log = logging.getLogger(__name__)

_NAME: Final = "witness"
_CONNECTIONS: Final = 256
_BODY_BYTES: Final = 32 * MAX_SUBMISSION  # held at a time
_DRAIN_SECONDS: Final = 5.0
_TEXT: Final = "text/plain; charset=utf-8"
_SCHEMA: Final = """
PRAGMA synchronous = FULL;
CREATE TABLE IF NOT EXISTS cosigned (
  origin TEXT PRIMARY KEY, hash TEXT NOT NULL UNIQUE, size INTEGER NOT NULL, root BLOB NOT NULL, note TEXT NOT NULL
) WITHOUT ROWID;
"""


class WitnessAnswer(NamedTuple):
    """What is answered over HTTP."""

    status: HTTPStatus
    body: str = ""
    media_type: str = _TEXT


class LogWitnessing(EdgeState):
    """The witness of the logs of a policy: its key and what it has cosigned, in one directory."""

    what = "a witness"

    def __init__(self, directory: Path, name: str, policy: LogPolicy) -> None:
        """Make the directory and the key in it, or open them. Raises InvalidArgument, FailedPrecondition."""
        make_directory(directory, field="dir")
        key = directory / f"{_NAME}.key"
        if not key.exists():
            with written(key, field="dir") as file:
                file.write(new_private_key())
        self._signer = NoteSigner(name, load_private_key(private_text(key, "dir").encode(), "dir"), COSIGNATURE)
        self.key = str(self._signer.key)
        self._logs = policy.logs
        self._one_by_one = threading.Lock()
        super().__init__(directory / f"{_NAME}{DATABASE}")

    def _open(self) -> None:
        self._db.executescript(_SCHEMA)

    def add_checkpoint(self, content: bytes) -> WitnessAnswer:
        """Cosign a checkpoint that goes on from the last one, or say why not."""
        try:
            submission = parse_submission(content)
            checkpoint, note = parse_checkpoint(submission.checkpoint)
        except InvalidArgument as e:
            return WitnessAnswer(HTTPStatus.BAD_REQUEST, e.message)
        keys = [key for key in self._logs if key.name == checkpoint.origin]
        if not keys:
            return WitnessAnswer(HTTPStatus.NOT_FOUND, "this witness does not know the log; ask its operator to add it")
        try:
            signers = note.signers(keys)
        except DataLoss as e:
            return WitnessAnswer(HTTPStatus.FORBIDDEN, e.message)
        if not signers:
            return WitnessAnswer(
                HTTPStatus.FORBIDDEN, "no key that this witness knows for the log signed the checkpoint"
            )
        if submission.old > checkpoint.size:
            return WitnessAnswer(HTTPStatus.BAD_REQUEST, "the old size is larger than that of the checkpoint")
        known = {(key.name, key.id) for key in signers}
        by_log = note._replace(signatures=tuple([s for s in note.signatures if (s.name, s.key_id) in known]))
        with self._one_by_one, self.transaction():
            return self._cosigned(submission, checkpoint, by_log)

    def _cosigned(self, submission: Submission, checkpoint: Checkpoint, note: SignedNote) -> WitnessAnswer:
        row = self._db.execute("SELECT size, root FROM cosigned WHERE origin = ?", (checkpoint.origin,)).fetchone()
        size, root = row or (0, EMPTY_ROOT)
        if submission.old != size:
            return WitnessAnswer(HTTPStatus.CONFLICT, f"{size}\n", SIZE_TYPE)
        try:
            verify_consistency(size, root, checkpoint.size, checkpoint.root, submission.proof)
        except DataLoss as e:
            _log.error("NOT cosigned: %s: %s", checkpoint.origin, e.message)
            return WitnessAnswer(HTTPStatus.UNPROCESSABLE_ENTITY, e.message)
        cosignature = self._signer.sign(note.text, int(time.time()))
        origin_hash = hashlib.sha256(checkpoint.origin.encode()).hexdigest()
        self._db.execute(
            "INSERT OR REPLACE INTO cosigned (origin, hash, size, root, note) VALUES (?, ?, ?, ?, ?)",
            (
                checkpoint.origin,
                origin_hash,
                checkpoint.size,
                checkpoint.root,
                str(note.with_signatures([cosignature])),
            ),
        )
        return WitnessAnswer(HTTPStatus.OK, f"{cosignature}\n")

    def checkpoint(self, origin_hash: str) -> WitnessAnswer:
        """Return what was cosigned last of the log whose origin has this SHA-256."""
        with self._one_by_one:
            row = self._db.execute("SELECT note FROM cosigned WHERE hash = ?", (origin_hash,)).fetchone()
        return WitnessAnswer(HTTPStatus.OK, row[0]) if row else WitnessAnswer(HTTPStatus.NOT_FOUND)


def serve(witness: LogWitnessing, listener: socket.socket, on_ready: Callable[[], None]) -> None:
    """Answer at a bound socket until SIGTERM or SIGINT comes."""
    budget = body_budget(_BODY_BYTES, MAX_SUBMISSION)

    async def answered(request: HTTPRequest) -> WitnessAnswer:
        if request.path == "/add-checkpoint" and request.verb == "POST":
            body = RequestBody(request.receive, request.length, budget, "", limit=MAX_SUBMISSION, until=None)
            try:
                content = await body.read()
                request.is_read = True
                return await asyncio.to_thread(witness.add_checkpoint, content)
            finally:
                body.release()
        first, _, last = request.path.removeprefix("/").partition("/")
        if last == "checkpoint" and request.verb in {"GET", "HEAD"}:
            return await asyncio.to_thread(witness.checkpoint, first)
        return WitnessAnswer(HTTPStatus.NOT_FOUND, "there are POST /add-checkpoint and GET /HASH/checkpoint")

    async def application(scope: Any, receive: Any, send: Any) -> None:
        connection = scope["state"]["connection"]
        request = HTTPRequest(scope, receive, send)
        try:
            is_short = connection.begin()
            answer = await answered(request) if is_short else WitnessAnswer(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        except HashHubError as e:
            status = 413 if e.reason is Reason.TOO_LARGE else HTTP_STATUS[e.code]
            answer = WitnessAnswer(HTTPStatus(status), e.message)
        try:
            await request.drain()
            headers = ((b"content-type", answer.media_type.encode()), (b"cache-control", b"no-store"))
            await request.answer(answer.status, headers, answer.body.encode())
        finally:
            connection.end()

    async def run() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        server = HTTPServer(application, listener, connections=_CONNECTIONS, header_seconds=HEADER_SECONDS)
        on_ready()
        await stop.wait()
        await server.close(_DRAIN_SECONDS)

    asyncio.run(run())
