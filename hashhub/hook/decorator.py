"""The upload hook around any function that takes an upload.

    @checked_upload(argument="file", hook=hook)
    def store(file: BinaryIO) -> None: ...

For functions of tasks, scripts and frameworks without an adapter of their own.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import io
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, ParamSpec, TypeVar, cast

from hashhub.desk.decision import Action, Decision, severest_of
from hashhub.errors import FailedPrecondition, InvalidArgument, LimitExceeded, Reason
from hashhub.hook.core import Hook
from hashhub.hook.factory import refuse_to_lose
from hashhub.hook.hashing import PIECE_BYTES, UploadBytes
from hashhub.senders import ByteBudget

P = ParamSpec("P")
R = TypeVar("R")

_UNSEEN: Final = frozenset({Action.HOLD, Action.BLOCK})
_WRAPPERS: Final = ("stream", "file")  # where the upload objects of Werkzeug, Starlette and Django have their stream


class UploadRefused(FailedPrecondition):
    """An upload is not accepted. `decision` says why, for the app only; the message may be shown to the sender."""

    default_reason = Reason.UPLOAD_REFUSED

    def __init__(self, decision: Decision) -> None:
        super().__init__(f"the upload was not accepted; name the reference {decision.reference} when you ask why")
        self.decision = decision


def checked_upload(
    *,
    argument: str,
    hook: Hook | Callable[[], Hook],
    refuse: Collection[Action] = _UNSEEN,
    decision: str | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Call the function only with an upload that the hook allows.

    `argument`: the parameter that has the upload: bytes, a Path, a binary stream, an upload of Flask, Starlette or
    Django, a list or tuple of these, or None. Streams are read to their end and put back to where they stood; one that
    cannot be is replaced by a copy in memory. One that does not stand at its begin is checked from there and from its
    begin, since the function may read either. A file that a path names must not change before the function reads it.
    `hook`: the hook, or a function that returns it, called for each upload. `refuse`: what raises UploadRefused. A
    function that is called with what is HELD must take the decision and keep the upload unpublished.
    `decision`: the parameter that gets the Decision over the upload, the severest of several; None without an upload.

    Coroutine functions are checked in a thread, generators when they are begun. Raises InvalidArgument for a function
    without such parameters; a call raises it for what is no upload.
    """
    if Action.BLOCK not in refuse:
        raise InvalidArgument.field("refuse", "must have BLOCK: known material is never handed on")
    if Action.HOLD not in refuse and decision is None:
        raise InvalidArgument.field("decision", "must name a parameter if HOLD is not refused, or nobody would know")

    if isinstance(hook, Hook) and Action.HOLD in refuse:
        refuse_to_lose(hook)

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)
        for name in (argument, decision):
            if name is not None and name not in signature.parameters:
                raise InvalidArgument.field("argument", f"{function.__qualname__} has no parameter {name!r}")
        if inspect.isasyncgenfunction(function):
            raise InvalidArgument.field("argument", "an asynchronous generator cannot be checked; decorate its caller")

        @contextmanager
        def checked(*args: P.args, **kwargs: P.kwargs) -> Iterator[inspect.BoundArguments]:
            if decision is not None:
                if decision in kwargs:
                    raise InvalidArgument.field(decision, "is given by the upload hook, not by the caller")
                kwargs[decision] = None
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            asked = hook() if callable(hook) else hook
            if Action.HOLD in refuse:
                refuse_to_lose(asked)
            copies: list[IO[bytes]] = []
            try:
                bound.arguments[argument], decisions = _check(asked, argument, bound.arguments[argument], copies)
                worst = severest_of(decisions)
                if worst is not None and worst.action in refuse:
                    raise UploadRefused(worst)
                if decision is not None:
                    bound.arguments[decision] = worst
                yield bound
            finally:
                for copy in copies:
                    copy.close()

        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def called_later(*args: P.args, **kwargs: P.kwargs) -> Any:
                checking = checked(*args, **kwargs)
                bound = await asyncio.to_thread(checking.__enter__)
                try:
                    return await function(*bound.args, **bound.kwargs)
                finally:
                    checking.__exit__(None, None, None)

            return cast("Callable[P, R]", called_later)

        if inspect.isgeneratorfunction(function):

            @functools.wraps(function)
            def called_as_generator(*args: P.args, **kwargs: P.kwargs) -> Any:
                with checked(*args, **kwargs) as bound:  # a copy in memory stays until it has ended
                    return (yield from function(*bound.args, **bound.kwargs))

            return cast("Callable[P, R]", called_as_generator)

        @functools.wraps(function)
        def called(*args: P.args, **kwargs: P.kwargs) -> R:
            with checked(*args, **kwargs) as bound:
                return function(*bound.args, **bound.kwargs)

        return called

    return decorate


def _check(hook: Hook, name: str, upload: Any, copies: list[IO[bytes]]) -> tuple[Any, list[Decision]]:
    """Return what the function gets as its upload, and the decisions."""
    if upload is None:
        return None, []
    if isinstance(upload, (list, tuple)):
        pairs = [_check(hook, name, one, copies) for one in cast("Sequence[Any]", upload)]
        return type(upload)(one for one, _ in pairs), [decision for _, decisions in pairs for decision in decisions]
    if isinstance(upload, (bytes, bytearray, memoryview)):
        content = bytes(upload)  # what is changed later is not what was decided over
        return content, [hook.check(content, door="python")]
    if isinstance(upload, Path):
        return upload, [hook.check(upload, door="python")]
    stream = next((inner for inner in (getattr(upload, wrapper, None) for wrapper in _WRAPPERS) if inner), upload)
    if not callable(getattr(stream, "read", None)) or isinstance(stream, io.TextIOBase):
        raise InvalidArgument.field(name, f"must be bytes, a Path or a binary stream, got {type(upload).__name__}")
    try:
        start = stream.tell()
        stream.seek(0)
    except (AttributeError, OSError, ValueError):
        if stream is not upload:
            raise InvalidArgument.field(name, "its stream cannot be put back to its begin; give the stream") from None
        stream = upload = _copy(stream, hook.settings.app.max_request_bytes)
        copies.append(stream)
        start = 0
    # Begun to be read, it may be stored from its begin (as Django does), or from where it stands (as Werkzeug does).
    decisions = []
    for begin in sorted({0, start}):
        stream.seek(begin)
        decisions.append(hook.check(stream, door="python"))
    stream.seek(start)
    return upload, decisions


def _copy(stream: IO[bytes], most: int) -> IO[bytes]:
    """Return what is left of a stream, in memory that no file system has. Raises LimitExceeded beyond `most` bytes."""
    kept = UploadBytes(ByteBudget(most), most, is_digested=False)
    try:
        while kept.is_kept and (piece := stream.read(PIECE_BYTES)):
            kept.write(piece)
        if (copy := kept.open()) is None:
            raise LimitExceeded(
                f"the upload has more than {most} bytes; give a path, or a stream that can seek",
                reason=Reason.TOO_LARGE,
            )
        return copy
    finally:
        kept.drop()
