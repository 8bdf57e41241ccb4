"""`Hook`: an upload in, a decision out. No framework, no wire; every door asks it.

bytes, as they come ── digests, and memory that no file system has ── hashed in child processes ── judged ── action
                                 (beyond the limit: TOO_LARGE)          (UNREADABLE, TOO_LARGE)   (HUB_AWAY)
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, Protocol, Self, runtime_checkable

from hashhub.errors import Cancelled, HashHubError, InvalidArgument, LimitExceeded, Reason, Unavailable
from hashhub.hashes import SEARCHED, Hash, parse
from hashhub.hook.decision import Action, Checked, Decision, NoAnswer
from hashhub.hook.judges import Judge, Judged
from hashhub.model import Query, ReasonLine, Verdict, now

if TYPE_CHECKING:
    from hashhub.hashing.media import MediaHashes
    from hashhub.hook.settings import HookSettings

_PIECE: Final = 1 << 20  # bytes read at a time
_REFERENCE_BYTES: Final = 10
_MEDIA_MEMORY: Final = 1 << 30
_TOO_LARGE: Final = frozenset({Reason.MEDIA_TOO_LARGE, Reason.MEDIA_TOO_COSTLY, Reason.TOO_LARGE})
_UNREADABLE: Final = frozenset({Reason.UNREADABLE_MEDIA, Reason.MEDIA_PROCESS_DIED, Reason.MISSING_EXTRA})
_SEVERITY: Final = (Action.ALLOW, Action.HOLD, Action.BLOCK)

OnChecked = Callable[[Checked, IO[bytes] | None], None]
"""Is told of each decision before the app is, with the upload's bytes where there are some. What it raises makes the
decision HOLD at least: what should have been kept was not.
"""


@runtime_checkable
class Readable(Protocol):
    """A binary stream, as frameworks hand an upload over."""

    def read(self, size: int, /) -> bytes:
        """Return at most so many bytes; none at the end."""
        ...


class Hook:
    """Decides over uploads. Safe to be shared by threads; use it as a context manager, or close it."""

    def __init__(self, settings: HookSettings, *, judge: Judge, on_checked: OnChecked | None = None) -> None:
        """`judge`: who is asked; closed with the hook. See `opening.open_hook`."""
        from hashhub.hashing.limits import Limits
        from hashhub.hashing.pool import MediaPool

        self.settings = settings
        self._judge = judge
        self._on_checked = on_checked
        self._pool = MediaPool(
            children=settings.hashing_processes or len(os.sched_getaffinity(0)),
            max_queued=settings.max_waiting,
            seconds=settings.media_seconds,
            memory_bytes=_MEDIA_MEMORY,
            limits=Limits(max_bytes=settings.max_bytes),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the processes that hash, and let go of the hub."""
        self._pool.close()
        self._judge.close()

    def check(
        self,
        upload: bytes | bytearray | memoryview | Path | Readable | Query | Iterable[Hash],
        *,
        upload_id: str = "",
        door: str = "api",
    ) -> Decision:
        """Decide over one upload: its bytes, a path, a stream (read from where it stands to its end), or its hashes.

        Never raises because of the upload, the hub or the network: what has no answer is decided as the settings say.
        Raises InvalidArgument for a path that cannot be opened.
        """
        if isinstance(upload, Query):
            return self._decide_hashes(upload, upload_id=upload_id, door=door)
        if isinstance(upload, Path):
            try:
                opened = upload.open("rb")
            except OSError as e:
                raise InvalidArgument.field("upload", f"cannot be opened: {e.strerror}") from e
            with opened:
                return self._receive_all(opened, upload_id=upload_id, door=door)
        if isinstance(upload, (bytes, bytearray, memoryview)):
            with self.receive(upload_id=upload_id, door=door) as receiving:
                receiving.write(upload)
                return receiving.decide()
        if isinstance(upload, Readable):
            return self._receive_all(upload, upload_id=upload_id, door=door)
        return self._decide_hashes(Query(hashes=tuple(upload)), upload_id=upload_id, door=door)

    def start(self) -> None:
        """Begin to start the processes that hash, so that the first uploads need not wait for them; return at once."""
        self._pool.start()

    def probe(self) -> None:
        """Ask about a digest that nobody has, as a look whether answers can be had. Raises HashHubError when not.
        Nothing is decided, counted or recorded.
        """
        judged = self._judge.judge(Query(hashes=(parse("SHA256", secrets.token_hex(32)),)))
        if judged.result.verdict is Verdict.UNAVAILABLE or judged.is_past_limit:
            raise Unavailable("the hub answers, but cannot say who knows an upload; look at its own health")

    def receive(self, *, upload_id: str = "", door: str = "api") -> Upload:
        """Return an upload to be written as it streams in, and decided over at its end."""
        return Upload(self, upload_id=upload_id, door=door)

    def _receive_all(self, stream: Readable, *, upload_id: str, door: str) -> Decision:
        with self.receive(upload_id=upload_id, door=door) as receiving:
            while piece := stream.read(_PIECE):
                receiving.write(piece)
            return receiving.decide()

    def _decide_hashes(self, query: Query, *, upload_id: str, door: str) -> Decision:
        perceptual = bool(query.frames) or any(SEARCHED[h.algorithm].is_perceptual for h in query.hashes)
        return self._decided(query, None, None, None, exact_only=not perceptual, upload_id=upload_id, door=door)

    def _decide_content(
        self,
        content: IO[bytes],
        size: int,
        *,
        upload_id: str,
        door: str,
        is_wanted: Callable[[], bool],
        on_query: Callable[[Query], None],
    ) -> Decision:
        if size > self.settings.max_bytes:
            line = ReasonLine(code=Reason.MEDIA_TOO_LARGE, text=f"larger than {self.settings.max_bytes} bytes")
            return self._unanswered(NoAnswer.TOO_LARGE, line, None, content, size, upload_id=upload_id, door=door)
        try:
            with self._pool.room() as place:
                hashed = place.hash(content, dihedral=False, effort=self.settings.effort, is_wanted=is_wanted)
        except HashHubError as e:
            if not is_wanted():
                raise Cancelled("the upload was given up before it was decided over") from e
            if e.reason in _UNREADABLE:
                cause = NoAnswer.UNREADABLE
            elif isinstance(e, LimitExceeded) and e.reason in _TOO_LARGE:
                cause = NoAnswer.TOO_LARGE
            else:
                cause = NoAnswer.HUB_AWAY
            line = ReasonLine(code=e.reason, text=e.message)
            return self._unanswered(cause, line, None, content, size, upload_id=upload_id, door=door)
        exact_only = not hashed.frames and not hashed.video_frames
        query = hashed.query()
        on_query(query)
        return self._decided(query, hashed, content, size, exact_only=exact_only, upload_id=upload_id, door=door)

    def _decided(
        self,
        query: Query,
        hashed: MediaHashes | None,
        content: IO[bytes] | None,
        size: int | None,
        *,
        exact_only: bool,
        upload_id: str,
        door: str,
    ) -> Decision:
        try:
            judged = self._judge.judge(query)
        except HashHubError as e:
            line = ReasonLine(code=e.reason, text=e.message)
            return self._unanswered(NoAnswer.HUB_AWAY, line, query, content, size or 0, upload_id=upload_id, door=door)
        action, no_answer = self._action(judged, exact_only=exact_only)
        decision = Decision(
            action=severest(action, judged.at_least),
            verdict=judged.result.verdict,
            reasons=judged.result.reasons,
            reference=_reference(),
            no_answer=no_answer,
            policy=judged.policy,
            revision=judged.revision,
            stale_since=judged.stale_since,
        )
        checked = Checked(
            decision=decision,
            time=now(),
            door=door,
            upload_id=upload_id,
            size_bytes=size or 0,
            media_type=hashed.media_type if hashed else "",
            hashes=query.hashes,
            result=judged.result,
        )
        return self._told(checked, content)

    def _action(self, judged: Judged, *, exact_only: bool) -> tuple[Action, NoAnswer | None]:
        verdict = judged.result.verdict
        if verdict is Verdict.MATCH:
            return self.settings.on_match, None
        if verdict is Verdict.REVIEW:
            return self.settings.on_review, None
        if verdict is Verdict.UNAVAILABLE:
            return self.settings.without_answer.hub_away, NoAnswer.HUB_AWAY
        if judged.is_past_limit:
            return severest(Action.HOLD, self.settings.without_answer.hub_away), NoAnswer.HUB_AWAY
        if verdict is Verdict.NO_MATCH and exact_only:
            return self.settings.without_answer.no_perceptual_hash, NoAnswer.NO_PERCEPTUAL_HASH
        return Action.ALLOW, None

    def _unanswered(
        self,
        cause: NoAnswer,
        line: ReasonLine,
        query: Query | None,
        content: IO[bytes] | None,
        size: int,
        *,
        upload_id: str,
        door: str,
    ) -> Decision:
        decision = Decision(
            action=self.settings.without_answer.action(cause),
            verdict=Verdict.UNAVAILABLE,
            reasons=(line,),
            reference=_reference(),
            no_answer=cause,
        )
        checked = Checked(
            decision=decision,
            time=now(),
            door=door,
            upload_id=upload_id,
            size_bytes=size,
            hashes=query.hashes if query else (),
        )
        return self._told(checked, content)

    def _told(self, checked: Checked, content: IO[bytes] | None) -> Decision:
        if self._on_checked is not None:
            self._on_checked(checked, content)
        return checked.decision


class Upload:
    """An upload as it streams in. Its bytes are in memory that no file system has, until it is closed.

    `query`: what was asked about it, once it is decided over; None where it could not be hashed.
    """

    def __init__(self, hook: Hook, *, upload_id: str, door: str) -> None:
        self._hook = hook
        self._upload_id, self._door = upload_id, door
        self._content = os.fdopen(os.memfd_create("upload", os.MFD_CLOEXEC), "w+b")
        self._size = 0
        self._is_wanted = True
        self.query: Query | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def pass_over(self, count: int) -> None:
        """Count bytes that are not read, since the upload has more than the limit by what its store says. Nothing is
        then known of it, not even a digest.
        """
        self._size += max(count, self._hook.settings.max_bytes + 1)

    def write(self, piece: bytes | bytearray | memoryview) -> None:
        """Take in the next bytes. What is beyond the limit is counted and not kept."""
        self._size += len(piece)
        if self._size <= self._hook.settings.max_bytes:
            self._content.write(piece)

    def decide(self) -> Decision:
        """Decide over what was written; call it once, at the end. Raises Cancelled when it was abandoned meanwhile."""
        self._content.flush()
        self._content.seek(0)
        return self._hook._decide_content(  # noqa: SLF001 - of one piece
            self._content,
            self._size,
            upload_id=self._upload_id,
            door=self._door,
            is_wanted=lambda: self._is_wanted,
            on_query=self._take_query,
        )

    def abandon(self) -> None:
        """Say, from any thread, that nobody waits for the decision: hashing ends, and nothing is recorded."""
        self._is_wanted = False

    def _take_query(self, query: Query) -> None:
        self.query = query

    def close(self) -> None:
        """Drop the bytes."""
        self._content.close()


def severest(*actions: Action) -> Action:
    """Return the action that keeps the most from others."""
    return max(actions, key=_SEVERITY.index)


def _reference() -> str:
    return secrets.token_hex(_REFERENCE_BYTES)
