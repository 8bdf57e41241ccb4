"""The log as others see it: checkpoints, tiles and receipts of the tree over the events (c2sp.org/tlog-tiles).

Within one log no two checkpoints of one size have different roots. So what is signed is written to `log.checkpoint` in
the data directory, outside the database, before it leaves the hub, and nothing is signed that does not contain what
stands there: a restored backup, or a history that was rewritten, must begin a new log, on an operator's word. Whoever
signs holds `log.lock`.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from hashhub.errors import FailedPrecondition, HashHubError, InvalidArgument, NotFound, Reason, Unavailable
from hashhub.hub.witnessing import LogWitnessRounds
from hashhub.local_files import lock_file, named_file, sync, written
from hashhub.model import EventKind
from hashhub.tlog.checkpoint import Checkpoint, parse_checkpoint
from hashhub.tlog.note import MAX_NOTE, NoteSigner, SignedNote, load_private_key, new_private_key, parse_key
from hashhub.tlog.policy import parse_policy
from hashhub.tlog.proof import LogProof
from hashhub.tlog.tree import (
    ENTRIES,
    HASH_BYTES,
    TILE_HASHES,
    Tiles,
    consistency_proof,
    entry_bundle,
    inclusion_proof,
    parse_tile_path,
    root_at,
)

if TYPE_CHECKING:
    from hashhub.config import Config
    from hashhub.store import LogState, Store

KEY: Final = "log.key"
LAST: Final = "log.checkpoint"
LOCK: Final = "log.lock"
WITNESSED: Final = "log.witnessed"
_WITNESS_SECONDS: Final = 10.0  # between two rounds, at least
_TEXT: Final = "text/plain; charset=utf-8"
_BYTES: Final = "application/octet-stream"
_ADVICE: Final = "no checkpoint is signed until an operator begins a new log: hashhub log begin --comment TEXT"


class LogView(NamedTuple):
    """A checkpoint as it was signed, who signs, and the proof that it contains the tree of a size asked about."""

    checkpoint: str
    verifier_key: str
    consistency_proof: tuple[bytes, ...]


class _Signed(NamedTuple):
    """A checkpoint that has left the hub, and when it was signed (seconds since 1970)."""

    checkpoint: Checkpoint
    note: SignedNote
    time: float


class TransparencyLog:
    """The log of one database, signed by the key of one data directory. `witnesses`: who cosigns it, if anybody."""

    def __init__(self, store: Store, config: Config) -> None:
        """Raises InvalidArgument for a policy that cannot be used."""
        self._store = store
        self._data = Path(config.data)
        self._is_own_key = not config.log_key
        self._key_file = Path(config.log_key or self._data / KEY)
        self._origin = config.log_origin or f"hashhub/{store.database_id}"
        self._seconds = config.log_seconds
        self.is_withheld = False
        """Whether no checkpoint could be signed when one was asked for last."""
        self.witnesses: LogWitnessRounds | None = None
        if config.log_witnesses:
            self.witnesses = LogWitnessRounds(
                parse_policy(named_file("log_witnesses", config.log_witnesses)),
                lambda: self.view().checkpoint,
                lambda old, size: consistency_proof(old, size, self._tiles()),
                self._data / WITNESSED,
                seconds=max(config.log_seconds, _WITNESS_SECONDS),
            )

    def view(self, known_size: int = 0) -> LogView:
        """Return a checkpoint that is as new as the settings let it be, and how the tree of `known_size` leads to it.

        Raises FailedPrecondition (LOG_WITHHELD) while none may be signed.
        """
        try:
            with self._locked():
                last, key = self._newest()
        except FailedPrecondition:
            self.is_withheld = True
            raise
        self.is_withheld = False
        size = last.checkpoint.size
        # To who knows a larger size nothing can be proved, which is told by what is signed.
        proof = consistency_proof(known_size, size, self._tiles()) if 0 < known_size < size else ()
        return LogView(str(last.note), key, tuple(proof))

    def warnings(self) -> list[str]:
        """Return why no checkpoint is signed, and which witness does not cosign."""
        problems = self.witnesses.problems if self.witnesses else {}
        told = [f"witness {name} does not cosign the log: {problem}" for name, problem in problems.items()]
        try:
            with self._locked():
                state, last = self._state(), self._last()
                if last or state.verifier_key:
                    told.append(self._fault(state, str(self._signer(state).key), last))
        except HashHubError as e:
            told.append(e.message)
        return [one for one in told if one]

    def receipt(self, revision: int) -> tuple[bytes, bytes]:
        """Return the event of a revision as the log has it, salt first, and the proof that it does: by what witnesses
        cosigned last, if that has the event.

        Raises FailedPrecondition as `view`, and for an event of a log that has ended; Unavailable while no checkpoint
        has it.
        """
        index = revision - self._state().first_revision
        if index < 0:
            raise FailedPrecondition(
                f"event {revision} is in a log that has ended, of which no checkpoint is signed any more",
                reason=Reason.LOG_WITHHELD,
            )
        checkpoint, note = self._shown(index + 1)
        if index >= checkpoint.size:
            raise Unavailable("no checkpoint has the event yet; ask again", retry_after=self._seconds)
        hashes = inclusion_proof(index, checkpoint.size, self._tiles())
        return self._store.history.leaf(revision), LogProof(index, tuple(hashes), str(note).encode()).encode()

    def serve(self, path: str) -> tuple[bytes, str]:
        """Return what stands at a path below `/log/`, and its media type: nothing beyond the last checkpoint.

        Raises NotFound, InvalidArgument; FailedPrecondition as `view`.
        """
        if path == "checkpoint":
            return str(self._shown(0)[1]).encode(), _TEXT
        tile, width = parse_tile_path(path.removeprefix("tile/"))
        state, last = self._state(), self._last()
        size = last.checkpoint.size if last and last.checkpoint.origin == self._name(state.number) else 0
        if not path.startswith("tile/") or width > tile.width(min(size, state.size)):
            raise NotFound("the log has no such tile up to its last checkpoint", kind="Tile", name=path[:100])
        if tile.level == ENTRIES:
            entries = self._store.history.leaf_entries(state, tile.number * TILE_HASHES, width)
            return entry_bundle(entries), _BYTES
        return self._tiles()([tile])[tile][: width * HASH_BYTES], _BYTES

    def begin(self, kind: EventKind = EventKind.LOG_BEGUN, *, comment: str, last: bytes = b"") -> None:
        """Begin a new log, whose first leaf names the old one's last known checkpoint: `last`, where a newer one than
        that of the data directory is kept elsewhere. A key of its own that is not there is made anew. Raises
        InvalidArgument.
        """
        with self._locked():
            try:
                kept = self._last()
            except FailedPrecondition:  # it is damaged
                kept = None
            known = [*([parse_checkpoint(last)[0]] if last else []), *([kept.checkpoint] if kept else [])]
            facts = {"checkpoint": _told(known[0])} if known else {}
            number = max((self._number(checkpoint.origin) for checkpoint in known), default=0)
            self._store.history.begin_log(kind, facts, reason=comment, least=number + 1)
            self._put(self._data / LAST, b"")

    def _newest(self) -> tuple[_Signed, str]:
        """Return a checkpoint, signed if need be, and who signs."""
        state = self._state()
        signer, last = self._signer(state), self._last()
        if fault := self._fault(state, str(signer.key), last):
            raise FailedPrecondition(fault, reason=Reason.LOG_WITHHELD)
        if last is None or not self._is_current(state, last):
            last = self._signed(state, signer)
        if not state.verifier_key:
            self._store.history.note_verifier_key(state.number, str(signer.key))
        return last, str(signer.key)

    def lacks(self, content: bytes) -> str:
        """Return why the history does not contain a checkpoint that was kept elsewhere; empty: it does. Raises
        InvalidArgument for what is none.
        """
        checkpoint, note = parse_checkpoint(content)
        number = self._number(checkpoint.origin)
        state = next((log for log in self._store.history.logs() if log.number == number), None)
        if state is None:
            return f"no log of this database is called {checkpoint.origin}"
        if state.verifier_key and not note.signers([parse_key(state.verifier_key)]):
            return f"the checkpoint is not signed by {state.verifier_key}"
        return self._contradiction(state, checkpoint)

    def _contradiction(self, state: LogState, checkpoint: Checkpoint) -> str:
        tiles = self._store.history.tiles(state.number)
        if checkpoint.size <= state.size and root_at(checkpoint.size, tiles) == checkpoint.root:
            return ""
        return (
            f"the history does not contain the checkpoint {_told(checkpoint)}: a backup was restored, or the history "
            "was rewritten"
        )

    def _state(self) -> LogState:
        return self._store.history.logs()[-1]

    def _tiles(self) -> Tiles:
        return self._store.history.tiles(self._state().number)

    def _shown(self, size: int) -> tuple[Checkpoint, SignedNote]:
        """Return what witnesses have cosigned last, if it is of this log and has so many entries; else the newest."""
        newest = parse_checkpoint(self.view().checkpoint.encode())
        try:
            cosigned = parse_checkpoint((self._data / WITNESSED).read_bytes()) if self.witnesses else newest
        except (FileNotFoundError, InvalidArgument):
            return newest
        is_of_this = cosigned[0].origin == newest[0].origin and size <= cosigned[0].size <= newest[0].size
        return cosigned if is_of_this else newest

    def _fault(self, state: LogState, key: str, last: _Signed | None) -> str:
        """Return why nothing may be signed."""
        fault = ""
        if state.verifier_key not in {"", key}:
            fault = (
                f"this log is signed by {state.verifier_key}, which {self._key_file.name} and log_origin do not make"
            )
        elif last is None and state.verifier_key:
            fault = f"{LAST} is gone from the data directory, so that nobody knows what was signed last"
        elif last is not None and last.checkpoint.origin != self._name(state.number):
            fault = f"{LAST} is of {last.checkpoint.origin}, and not of this log"
        elif last is not None:
            fault = self._contradiction(state, last.checkpoint)
        return fault and f"{fault}: {_ADVICE}"

    def _is_current(self, state: LogState, last: _Signed) -> bool:
        return last.checkpoint.size == state.size or 0 <= time.time() - last.time < self._seconds

    def _signed(self, state: LogState, signer: NoteSigner) -> _Signed:
        checkpoint = Checkpoint(signer.key.name, state.size, root_at(state.size, self._tiles()))
        note = SignedNote(checkpoint.text, (signer.sign(checkpoint.text),))
        self._put(self._data / LAST, str(note).encode())
        return _Signed(checkpoint, note, time.time())

    def _signer(self, state: LogState) -> NoteSigner:
        if self._is_own_key and not state.verifier_key and not self._key_file.exists():
            self._put(self._key_file, new_private_key())
        try:
            pem = self._key_file.read_bytes()
        except OSError as e:
            raise FailedPrecondition(
                f"the log's key {self._key_file.name} cannot be read ({e.strerror}): bring it back; if it is lost, "
                "begin a new log, with a new key: hashhub log begin --comment TEXT",
                reason=Reason.LOG_WITHHELD,
            ) from e
        return NoteSigner(self._name(state.number), load_private_key(pem, "log_key"))

    def _last(self) -> _Signed | None:
        try:
            with (self._data / LAST).open("rb") as file:
                content = file.read(MAX_NOTE)
                changed = os.fstat(file.fileno()).st_mtime
            return _Signed(*parse_checkpoint(content), changed) if content else None
        except FileNotFoundError:
            return None
        except (InvalidArgument, OSError) as e:
            damaged = f"{LAST} in the data directory is damaged: {_ADVICE}"
            raise FailedPrecondition(damaged, reason=Reason.LOG_WITHHELD) from e

    @staticmethod
    def _put(path: Path, content: bytes) -> None:
        with written(path, replace=True) as file:
            file.write(content)
        sync(path.parent)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            lock = lock_file(self._data / LOCK, wait=True)
        except OSError as e:
            raise Unavailable(f"{LOCK} in the data directory cannot be opened ({e.strerror}): correct that") from e
        try:
            yield
        finally:
            if lock is not None:
                lock.close()

    def _name(self, number: int) -> str:
        return self._origin if number == 1 else f"{self._origin}-{number}"

    def _number(self, origin: str) -> int:
        """Return which of the database's logs is called so; 0: none."""
        parts = re.fullmatch(rf"{re.escape(self._origin)}(?:-([1-9][0-9]{{0,3}}))?", origin)
        return int(parts[1] or 1) if parts else 0


def _told(checkpoint: Checkpoint) -> str:
    return f"{checkpoint.origin} {checkpoint.size} {checkpoint.root.hex()}"
