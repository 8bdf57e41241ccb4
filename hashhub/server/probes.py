"""What anybody may ask over gRPC without a token: health and reflection.

Nobody is known here, and a request is read on a thread that waits for it. So these calls have threads of their own.
One that has waited a while for its request gives its thread up as soon as another call would have to wait for one:
a probe's request comes with its header, and is there by then. Nothing of a request outlives its call.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health, health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

from hashhub.background import Background
from hashhub.server.lanes import STRANGERS, Threads

if TYPE_CHECKING:
    from hashhub.server.health import Health

_THREADS: Final = 64
_WAITING: Final = 10_000  # each takes some 0.2 ms; what is beyond is refused
_PATIENCE_SECONDS: Final = 1.0  # far beyond what a request takes that has come with its header
_LOOK_SECONDS: Final = 0.25  # for calls that wait for a thread while no further ones come
_NAME_BYTES: Final = 1_000  # of a service, a file or a symbol that is asked for

_Request = TypeVar("_Request", health_pb2.HealthCheckRequest, reflection_pb2.ServerReflectionRequest)


class Probes(grpc.GenericRpcHandler):
    """Answers health checks, those who watch health, and reflection."""

    def __init__(self, served: Health, services: Sequence[str], *, watchers: int) -> None:
        """`services`: what reflection lists besides these two. `watchers`: how many may watch at a time."""
        self._health, self._most_watchers = served, watchers
        self._watching = 0
        self._lock = threading.Lock()
        self._reflection = reflection.ReflectionServicer((*services, health.SERVICE_NAME, reflection.SERVICE_NAME))
        capacity = _THREADS + _WAITING
        self._threads = Threads("probes", _THREADS, _WAITING, most_each=_THREADS, most_in_lane=capacity)
        self._lane = self._threads.lane(STRANGERS)
        self._reading: dict[grpc.ServicerContext, float] = {}  # since when each is waited for
        self.thread = Background("probes", self._look, complaint="slow probes are not cut off", pause=_LOOK_SECONDS)
        self.thread.start()
        of_health = f"/{health.SERVICE_NAME}/"
        self._handlers = {
            f"{of_health}Check": self._handler(grpc.stream_unary_rpc_method_handler, self._check),
            f"{of_health}Watch": self._handler(grpc.stream_stream_rpc_method_handler, self._watch, holds=False),
            f"/{reflection.SERVICE_NAME}/ServerReflectionInfo": self._handler(
                grpc.stream_stream_rpc_method_handler, self._reflect
            ),
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Return the handler; called on grpc's polling thread."""
        handler = self._handlers.get(handler_call_details.method)
        if handler is not None and self._threads.in_progress >= _THREADS:
            self._cut_off()
        return handler

    def close(self) -> None:
        """End the threads."""
        self.thread.close()
        self._threads.close()

    def _handler(
        self, kind: Callable[..., grpc.RpcMethodHandler[Any, Any]], behaviour: Callable[..., Any], *, holds: bool = True
    ) -> grpc.RpcMethodHandler[Any, Any]:
        """Return a handler on these threads. `holds`: the call has its thread until it ends."""
        work: Any = functools.partial(behaviour)  # grpc reads the two below off it
        work.experimental_thread_pool = self._lane
        work.experimental_non_blocking = not holds
        return kind(work, None, lambda answer: answer.SerializeToString())

    def _check(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> health_pb2.HealthCheckResponse:
        request = self._read(health_pb2.HealthCheckRequest, requests, context)
        if request is None:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "a health check takes one request, and none came")
        return self._health.check(request, context)

    def _watch(self, requests: Iterator[bytes], context: grpc.ServicerContext, send: Callable[[Any], object]) -> None:
        request = self._read(health_pb2.HealthCheckRequest, requests, context)
        if request is None:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "who watches health sends one request, and none came")
        with self._lock:
            has_place = self._watching < self._most_watchers
            self._watching += has_place
        if not has_place:
            context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"{self._most_watchers} callers watch this hub's health already; call Check, or retry later",
            )
        if not context.add_callback(self._ended):
            self._ended()
        self._health.watch(request, context, send)

    def _ended(self) -> None:
        with self._lock:
            self._watching -= 1

    def _reflect(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[Any]:
        of = reflection_pb2.ServerReflectionRequest
        each = iter(lambda: self._read(of, requests, context), None)
        yield from self._reflection.ServerReflectionInfo(each, context)

    def _read(self, kind: type[_Request], requests: Iterator[bytes], context: grpc.ServicerContext) -> _Request | None:
        """Wait for the next request; None: there is none. Ends the call of one that is none of these or too long."""
        self._reading[context] = time.monotonic()
        if self._threads.in_progress > _THREADS:
            self._cut_off()
        try:
            body = next(requests)
        except StopIteration:
            return None
        finally:
            self._reading.pop(context, None)
        if len(body) > _NAME_BYTES:
            context.abort(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"the request has {len(body)} bytes, and at most {_NAME_BYTES} are taken; ask by a service's name",
            )
        try:
            return kind.FromString(body)
        except DecodeError:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"the request is no {kind.DESCRIPTOR.full_name}")

    def _look(self) -> None:
        if self._threads.in_progress > _THREADS:
            self._cut_off()

    def _cut_off(self) -> None:
        """Cancel the calls whose requests have been waited for long enough."""
        before = time.monotonic() - _PATIENCE_SECONDS
        for context, since in list(self._reading.items()):
            if since < before:
                context.cancel()
