"""The upload hook as ASGI middleware: FastAPI, Starlette, Litestar, Quart, Django and any other.

    app.add_middleware(UploadHook, settings=Path("hook.toml"))

The app gets a request once each of its files is decided over, and never one that is refused. What was decided is in
`scope["hashhub"]` (`forms.Uploads`) and in the request's headers `hashhub-action` and `hashhub-reference`. What
comes over a WebSocket, or over anything else that is no HTTP request, is not looked at. Runs on asyncio.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeAlias

from hashhub.hook.adapters import opened
from hashhub.hook.core import Hook
from hashhub.hook.decision import Decision
from hashhub.hook.forms import (
    Answer,
    Body,
    BodyRefused,
    CheckedFile,
    Intake,
    Memory,
    Pace,
    Uploads,
    answer_to,
    answer_to_refused,
    is_looked_at,
    too_large,
)
from hashhub.hook.settings import HookSettings

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]

_MOST_THREADS: Final = 64  # each waits for a child process or the hub
_LOOKS_IN_WINDOW: Final = 16  # most of them, for senders that are too slow
_OWN_HEADERS: Final = b"hashhub-"
_BODY_HEADERS: Final = (b"content-type", b"content-encoding", b"content-length", b"transfer-encoding")


class UploadHook:
    """ASGI middleware that decides over uploads before the app gets them."""

    def __init__(
        self,
        app: App,
        *,
        hook: Hook | None = None,
        settings: HookSettings | Path | str | None = None,
        paths: Collection[str] | None = None,
        fields: Collection[str] | None = None,
    ) -> None:
        """Give either `hook`, which stays yours to close, or `settings` or the path of their file: the hook that they
        make is closed when the server tells the app to end; where the app has no lifespan, it ends with the process.

        `paths`: only requests to these paths, and to what is below them, are looked at. `fields`: only files in form
        fields of these names. None: all. Raises HashHubError when the settings or what they name cannot be used.
        """
        self._app = app
        self._is_own = hook is None
        self._hook = opened(hook, settings)
        self._paths, self._fields = paths, fields
        self._limits = self._hook.settings.app
        self._memory = Memory(self._limits.max_total_bytes)
        self._watches: Mapping[asyncio.AbstractEventLoop, _Watch] = {}
        self._lock = threading.Lock()  # around changes of it
        self._threads = ThreadPoolExecutor(
            min(_MOST_THREADS, self._hook.settings.max_waiting), thread_name_prefix="upload-hook"
        )

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one connection."""
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
        elif scope["type"] != "http":
            await self._app(_without_own_headers(scope) if "headers" in scope else scope, receive, send)
        elif not is_looked_at(scope["path"], self._paths, mount=scope.get("root_path", "")):
            await self._app(_without_own_headers(scope), receive, send)
        else:
            await self._answer(scope, receive, send)

    async def _live(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        # An app without a lifespan, such as Django, raises or returns at once, and requests come all the same.
        is_ending = False

        async def hear() -> Message:
            nonlocal is_ending
            message = await receive()
            is_ending = message["type"] == "lifespan.shutdown"
            return message

        async def tell(message: Message) -> None:
            nonlocal is_ending
            is_ending = is_ending or message["type"] == "lifespan.startup.failed"
            await send(message)

        self._hook.start()
        try:
            await self._app(scope, hear, tell)
        except asyncio.CancelledError:
            is_ending = True
            raise
        finally:
            if is_ending:
                if self._is_own:
                    # Uploads that are decided over yet need the loop to come to their end.
                    await asyncio.to_thread(self._hook.close)
                self._threads.shutdown(wait=False)

    async def _answer(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        headers = _read_headers(scope)
        if not _has_body(scope, headers):
            # Not every server keeps to that: bridges of serverless platforms hand on the headers that they were left.
            receive, is_empty = await _begun(receive)
            if is_empty:
                await self._app(_told(scope, Uploads(app=self._limits), None), receive, send)
                return
        try:
            if _length(headers) > self._limits.max_request_bytes:
                raise too_large(self._limits.max_request_bytes)
            with Intake(
                self._hook,
                self._memory,
                door="asgi",
                content_types=headers[b"content-type"],
                content_encodings=headers[b"content-encoding"],
                fields=self._fields,
            ) as intake:
                files = await self._take_in(intake, receive)
                if files is None:
                    return  # the sender is gone: there is nobody to answer, and nothing that the app could use
                uploads = Uploads(files=tuple(files), unchecked=tuple(intake.unchecked), app=self._limits)
                severest = uploads.severest
                answer = answer_to(severest, self._limits)
                if answer is None:
                    await self._app(_told(scope, uploads, severest), _Replay(intake.body, receive), send)
                    return
        except BodyRefused as e:
            answer = answer_to_refused(e)
        await _send(answer, send)

    async def _take_in(self, intake: Intake, receive: Receive) -> list[CheckedFile] | None:
        """Return what was decided over each file; None when the sender has gone before the end. Raises BodyRefused when
        the sender is too slow.
        """
        watch = self._watch_of(asyncio.get_running_loop())
        sender = watch.begin(Pace(self._limits, watch.clock))
        pace, is_more = sender.pace, True
        files: list[CheckedFile] = []
        try:
            while is_more:
                message = await receive()
                # A `receive` that is cancelled could take a piece of the body with it, so that it is cancelled once
                # only; it may also answer all the same.
                if sender.is_too_slow:
                    raise pace.ran_out()
                if message["type"] != "http.request":
                    return None
                piece, is_more = message.get("body", b""), message.get("more_body", False)
                intake.write(piece)
                pace.came(len(piece))
                if not is_more:
                    intake.end()
                for ended in intake.take():
                    sender.is_waited_for = False  # it cannot go on meanwhile
                    files.append(await ended.adecide(self._threads))
                    pace.restart()
                    sender.is_waited_for = True
        except asyncio.CancelledError as e:
            if not sender.let_go():
                raise
            raise pace.ran_out() from e
        finally:
            watch.end(sender)
        return files

    def _watch_of(self, loop: asyncio.AbstractEventLoop) -> _Watch:
        watch = self._watches.get(loop)
        if watch is None:
            watch = _Watch(loop, self._limits.slow_seconds)
            with self._lock:
                watches = {running: its for running, its in self._watches.items() if not running.is_closed()}
                self._watches = {**watches, loop: watch}
        return watch


class _Sender:
    """Who sends a body, and the task that waits for it. `is_too_slow`: by its pace, so that the task was cancelled."""

    __slots__ = ("_cancelling", "_is_cut_off_alone", "_task", "is_too_slow", "is_waited_for", "pace")

    def __init__(self, pace: Pace, task: asyncio.Task[Any]) -> None:
        self.pace = pace
        self.is_waited_for, self.is_too_slow = True, False
        self._task, self._cancelling = task, task.cancelling()
        self._is_cut_off_alone: bool | None = None

    def cut_off(self) -> None:
        """End the wait for it."""
        self.is_too_slow = True
        self._task.cancel()

    def let_go(self) -> bool:
        """Take back what `cut_off` told the task; return whether nobody else cancelled it."""
        if self.is_too_slow and self._is_cut_off_alone is None:
            self._is_cut_off_alone = self._task.uncancel() <= self._cancelling
        return bool(self._is_cut_off_alone)


class _Watch:
    """Cuts off senders that are too slow by their pace, on one event loop.

    Their deadlines move as pieces come, and a timer for each move, or only for each request, takes longer than they do.
    So there is one timer for all, that looks for the deadlines when it runs out: after a window at most, since none is
    nearer than that when it moves.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self.clock = loop.time
        self._loop, self._seconds = loop, seconds
        self._senders: set[_Sender] = set()
        self._is_timed = False

    def begin(self, pace: Pace) -> _Sender:
        """Watch the sender of a body for which the task that runs now waits, until `end`."""
        task = asyncio.current_task(self._loop)
        assert task is not None  # noqa: S101 - a coroutine runs in one
        sender = _Sender(pace, task)
        if pace.deadline is not None:
            self._senders.add(sender)
            if not self._is_timed:
                self._is_timed = True
                self._loop.call_at(pace.deadline, self._look)
        return sender

    def end(self, sender: _Sender) -> None:
        """Watch it no more."""
        self._senders.discard(sender)
        sender.let_go()

    def _look(self) -> None:
        at = self.clock()
        following = at + self._seconds
        for sender in self._senders:
            deadline = sender.pace.deadline
            if deadline is None or not sender.is_waited_for or sender.is_too_slow:
                continue
            if deadline <= at:
                sender.cut_off()
            else:
                following = min(following, deadline)
        self._is_timed = bool(self._senders)
        if self._is_timed:
            # However many there are, they are looked at so often only: one is cut off that much later at most.
            self._loop.call_at(max(following, at + self._seconds / _LOOKS_IN_WINDOW), self._look)


class _Replay:
    """`receive` for the app: the body as it came, then what the server says."""

    def __init__(self, body: Body, receive: Receive) -> None:
        self._body, self._receive = body, receive
        self._is_done = False

    async def __call__(self) -> Message:
        if self._is_done:
            return await self._receive()
        if self._body.is_closed:  # the app has answered; the rest was dropped
            return {"type": "http.disconnect"}
        piece = self._body.take_piece()
        self._is_done = self._body.size == 0
        return {"type": "http.request", "body": piece, "more_body": not self._is_done}


def _read_headers(scope: MutableMapping[str, Any]) -> Mapping[bytes, Sequence[str]]:
    """Return the values of the headers that say what the body is, each name in lower case."""
    values: dict[bytes, list[str]] = {name: [] for name in _BODY_HEADERS}
    for key, value in scope["headers"]:
        if (name := key.lower()) in values:
            values[name].append(value.decode("latin-1"))
    return values


def _has_body(scope: MutableMapping[str, Any], headers: Mapping[bytes, Sequence[str]]) -> bool:
    # HTTP/1 says so in its headers; later versions need not.
    is_said = headers[b"content-length"] or headers[b"transfer-encoding"]
    return bool(is_said) or not scope.get("http_version", "1.1").startswith("1")


async def _begun(receive: Receive) -> tuple[Receive, bool]:
    """Return `receive` as it was before its first message was taken, and whether there is no body by that message."""
    first = await receive()
    is_empty = first["type"] != "http.request" or not (first.get("body") or first.get("more_body"))
    coming = [first]

    async def again() -> Message:
        return coming.pop() if coming else await receive()

    return again, is_empty


def _length(headers: Mapping[bytes, Sequence[str]]) -> int:
    values = headers[b"content-length"]
    return int(values[0]) if values and values[0].isascii() and values[0].isdigit() else 0


def _without_own_headers(scope: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Return the scope without headers by which a sender would speak as the hook, also as WSGI would spell them."""
    headers = [
        (name, value)
        for name, value in scope["headers"]
        if not name.lower().replace(b"_", b"-").startswith(_OWN_HEADERS)
    ]
    return {**scope, "headers": headers}


def _told(scope: MutableMapping[str, Any], uploads: Uploads, severest: Decision | None) -> MutableMapping[str, Any]:
    """Return the scope with what was decided."""
    told = _without_own_headers(scope)
    told["hashhub"] = uploads
    if severest is not None:
        told["headers"] += [
            (b"hashhub-action", severest.action.encode("ascii")),
            (b"hashhub-reference", severest.reference.encode("ascii")),
        ]
    return told


async def _send(answer: Answer, send: Send) -> None:
    headers = [(name.encode("ascii"), value.encode("ascii")) for name, value in answer.headers]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
