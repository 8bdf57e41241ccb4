"""Calls over gRPC: what they bring to the pipeline, and how their answers leave.

To gRPC every call streams its requests: nothing of them is read before the token was checked and there was room. Until
then a caller can send 64 KiB, HTTP/2's window of one stream.

Nothing here can end a call whose answer its reader does not take. Its bytes count for the token until they have left,
and beyond the token's quota its calls are refused; a stream loses its place after a time; and each connection ends
when it is old (`listeners`).
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections import Counter
from collections.abc import Coroutine, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar

import grpc
from grpc_status import rpc_status

from hashhub.errors import Cancelled, HashHubError, InvalidArgument, Reason, Unavailable
from hashhub.server.bodies import is_packed, unpacked
from hashhub.server.pipeline import Envelope, Method, Pipeline
from hashhub.wire import error_to_status

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from hashhub.model import Principal

_READER: Final = 10
"""Times as long as a sender has, in which who reads must take a piece of an answer: the line may be slow, and the
reader busy with what it took before.
"""
_CALL_BYTES: Final = 8 * 1024  # what gRPC keeps of a call besides its answer

_T = TypeVar("_T")


class Handlers(grpc.GenericRpcHandler):
    """Finds the handler of a call."""

    def __init__(self, methods: Mapping[str, Method], pipeline: Pipeline, slow_sender_seconds: float) -> None:
        self._pipeline, self._seconds = pipeline, slow_sender_seconds
        self.untaken_bytes: Counter[str] = Counter()
        self._handlers = {path: self._handler(method) for path, method in methods.items()}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Return the handler, None for a call that there is not."""
        return self._handlers.get(handler_call_details.method or "")

    def _handler(self, method: Method) -> grpc.RpcMethodHandler[Any, Any]:
        kind: Any = grpc.stream_stream_rpc_method_handler if method.streams else grpc.stream_unary_rpc_method_handler
        handler: grpc.RpcMethodHandler[Any, Any] = kind(
            functools.partial(self._stream if method.streams else self._unary, method)
        )
        return handler

    async def _unary(self, method: Method, _: object, context: Any) -> bytes:
        envelope, caller = self._envelope(context)
        try:
            answer = await self._pipeline.call(
                method,
                envelope,
                functools.partial(self._read, context, envelope),
                functools.partial(_parsed, method),
                lambda message: message.SerializeToString(),
            )
        except HashHubError as e:
            await _abort(context, e)
            raise AssertionError from e
        self._count(caller[0], size := len(answer) + _CALL_BYTES)
        context.add_done_callback(functools.partial(self._count, caller[0], -size))
        return answer

    async def _stream(self, method: Method, _: object, context: Any) -> None:
        envelope, caller = self._envelope(context)
        loop = asyncio.get_running_loop()
        sending: list[asyncio.Task[None]] = []  # the answer that its reader has not taken in time

        async def send(answer: bytes) -> None:
            task = loop.create_task(context.write(answer))
            self._count(caller[0], len(answer))
            task.add_done_callback(functools.partial(self._count, caller[0], -len(answer)))
            await asyncio.wait({task}, timeout=self._seconds * (1 if method.listens else _READER))
            if not task.done():
                sending.append(task)
                raise Cancelled("the call was ended (CANCELLED): its answers were not taken in time; read faster")
            try:
                task.result()
            except Exception as e:
                raise Unavailable("the caller cancelled the call or went away", reason=Reason.CALLER_GONE) from e

        try:
            await self._pipeline.stream(
                method,
                envelope,
                functools.partial(self._read, context, envelope),
                functools.partial(_parsed, method),
                lambda answer: _on(loop, send(answer)),
                _following(loop, method, context),
            )
        except HashHubError as e:
            for task in sending:  # nothing else can be sent before it
                with contextlib.suppress(Exception):
                    await task
            await _abort(context, e)

    def _envelope(self, context: Any) -> tuple[Envelope, list[str]]:
        """Return what came with a call, and a list in which the token's name is once that is known."""
        caller = [""]

        def check(principal: Principal) -> None:
            caller[0] = principal.name
            most = self._pipeline.quotas.most(principal, "message_bytes")
            if self.untaken_bytes[principal.name] >= most:
                raise self._pipeline.quotas.exceeded(principal.name, "message_bytes", most, 1.0)

        remaining = context.time_remaining()
        until = None if remaining is None else time.monotonic() + remaining
        metadata = context.invocation_metadata()
        authorization = next((v for key, v in metadata if key == "authorization" and isinstance(v, str)), "")
        certificate = b"".join(context.auth_context().get("x509_pem_cert", ()))
        return Envelope(authorization, context.peer, certificate, until, check=check), caller

    def _count(self, token: str, nbytes: int, _: object = None) -> None:
        self.untaken_bytes[token] += nbytes
        if self.untaken_bytes[token] <= 0:
            del self.untaken_bytes[token]

    async def _read(self, context: Any, envelope: Envelope, _: str) -> bytes:
        """Return the bytes of the request, and note how many they are unless they are packed.

        Raises InvalidArgument when there is none, Unavailable when its sender is too slow.
        """
        try:
            async with asyncio.timeout(self._seconds):
                body = await context.read()
        except TimeoutError:
            raise Unavailable(
                f"the request had not come whole within {self._seconds:g} s; send smaller ones",
                reason=Reason.SLOW_SENDER,
            ) from None
        if not isinstance(body, bytes):
            raise InvalidArgument.field("request", "is missing: the call ended without one", "REQUIRED")
        if not is_packed(body):
            envelope.size = len(body)
        return body


def _on(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, _T]) -> _T:
    """Do work of the event loop's from another thread."""
    return asyncio.run_coroutine_threadsafe(work, loop).result()


def _following(loop: asyncio.AbstractEventLoop, method: Method, context: Any) -> Iterator[Message]:
    """Yield further requests, on a thread. Raises LimitExceeded, InvalidArgument, Unavailable for a caller gone."""
    while True:
        try:
            body = _on(loop, context.read())
        except BaseException as e:
            raise Unavailable("the caller cancelled the call or went away", reason=Reason.CALLER_GONE) from e
        if not isinstance(body, bytes):
            return
        yield _parsed(method, body)


def _parsed(method: Method, body: bytes) -> Message:
    return method.parse(unpacked(body, method.bounds.bytes))


async def _abort(context: Any, error: HashHubError) -> None:
    status = rpc_status.to_status(error_to_status(error))
    # gRPC keeps the frames of an aborted call, and all that they hold, until the collector comes by: a message that was
    # refused may have 32 MiB.
    error.__traceback__ = error.__cause__ = error.__context__ = None
    await context.abort_with_status(status)
