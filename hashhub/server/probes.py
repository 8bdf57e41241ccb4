"""What anybody may ask over gRPC without a token: health and reflection.

Nobody is known here, and a thread waits for each request, and for whoever watches health or asks reflection to take an
answer. So these calls have threads of their own. One whose client has been waited for for a while gives its thread up
as soon as another call would have to wait for one: a probe's request comes with its header, and is there by then. The
more calls wait, the shorter is that while; what passes while this process stands still is no part of it, since nothing
that has come is read then. Of reflection it is the whole call, which asks as often as it likes. Nothing
of a request outlives its call.

Health is watched here, and not by the servicer of gRPC's own package: that sends to a watcher under the lock that every
other probe needs, and gRPC's polling thread too when a watcher leaves; but without that thread no sending ends. One
watcher who leaves, or takes nothing, at the wrong moment stops all of gRPC. No lock is held over a sending here.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_reflection.v1alpha import reflection, reflection_pb2

from hashhub.background import Background
from hashhub.errors import HashHubError
from hashhub.server.lanes import STRANGERS, Threads
from hashhub.server.packed import unpacked

if TYPE_CHECKING:
    from hashhub.server.health import Health

_THREADS: Final = 64
_WAITING: Final = 10_000  # each takes some 0.2 ms; what is beyond is refused
_PATIENCE_SECONDS: Final = 1.0  # far beyond what a request takes that has come with its header
_SHORTEST_PATIENCE_SECONDS: Final = 0.05  # where thousands wait: they are through within some ten seconds
_LOOK_SECONDS: Final = 0.25  # for calls that wait for a thread while no further ones come, and for changes of health
_TICK_SECONDS: Final = 0.025  # between two looks while somebody is waited for; no more is believed to have passed
_NAME_BYTES: Final = 1_000  # of a service, a file or a symbol that is asked for

_Request = TypeVar("_Request", HealthCheckRequest, reflection_pb2.ServerReflectionRequest)


@dataclass(eq=False)
class _Watcher:
    """Somebody who watches the health of a service."""

    service: str
    context: grpc.ServicerContext
    send: Callable[[HealthCheckResponse], object]
    is_told_now: bool = True  # a thread sends to it; the thread of its call begins
    last_told: int | None = None

    def is_behind(self, statuses: Mapping[str, HealthCheckResponse.ServingStatus]) -> bool:
        return self.last_told != _status(statuses, self.service)


def _status(statuses: Mapping[str, HealthCheckResponse.ServingStatus], service: str) -> int:
    status: int = statuses.get(service, HealthCheckResponse.SERVICE_UNKNOWN)
    return status


class _Clock:
    """Seconds as this process saw them: of what passes between two looks, `_TICK_SECONDS` count at most."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._looked, self._seconds = time.monotonic(), 0.0

    def now(self) -> float:
        with self._lock:
            time_now = time.monotonic()
            self._seconds += min(time_now - self._looked, _TICK_SECONDS)
            self._looked = time_now
            return self._seconds


class Probes(grpc.GenericRpcHandler):
    """Answers health checks, those who watch health, and reflection."""

    def __init__(self, served: Health, services: Sequence[str], *, watchers: int) -> None:
        """`services`: what reflection lists besides these two. `watchers`: how many may watch at a time."""
        self._health, self._most_watchers = served, watchers
        self._watchers: set[_Watcher] = set()
        self._lock = threading.Lock()  # of the watchers; gRPC's polling thread takes it
        self._reflection = reflection.ReflectionServicer((*services, health.SERVICE_NAME, reflection.SERVICE_NAME))
        capacity = _THREADS + _WAITING
        self._threads = Threads("probes", _THREADS, _WAITING, most_each=_THREADS, most_in_lane=capacity)
        self._lane = self._threads.lane(STRANGERS)
        self._clock = _Clock()
        self._waited_for: dict[grpc.ServicerContext, float] = {}  # since when, for a request or to take an answer
        self.thread = Background(
            "probes",
            self._look,
            complaint="slow probes are not cut off, and who watches health hears of no change",
            pause=_LOOK_SECONDS,
        )
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

    def tell_watchers(self) -> None:
        """Let each who watches health be told what has changed for it; waits for nobody."""
        statuses = self._health.statuses()
        with self._lock:
            behind = [one for one in self._watchers if not one.is_told_now and one.is_behind(statuses)]
            for watcher in behind:
                watcher.is_told_now = True
        for watcher in behind:
            self._lane.submit(self._tell, watcher)

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

    def _check(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> HealthCheckResponse:
        request = self._read(HealthCheckRequest, requests, context)
        if request is None:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "a health check takes one request, and none came")
        status = self._health.statuses().get(request.service)
        if status is None:
            context.abort(
                grpc.StatusCode.NOT_FOUND,
                f"this hub has no service {request.service!r}; ask without a name for the whole hub",
            )
        return HealthCheckResponse(status=status)

    def _watch(
        self,
        requests: Iterator[bytes],
        context: grpc.ServicerContext,
        send: Callable[[HealthCheckResponse], object],
    ) -> None:
        request = self._read(HealthCheckRequest, requests, context)
        if request is None:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "who watches health sends one request, and none came")
        watcher = _Watcher(request.service, context, send)
        with self._lock:
            has_place = len(self._watchers) < self._most_watchers
            if has_place:
                self._watchers.add(watcher)
        if not has_place:
            context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"{self._most_watchers} callers watch this hub's health already; call Check, or retry later",
            )
        ended = functools.partial(self._ended, watcher)
        if not context.add_callback(ended):
            ended()
        self._tell(watcher)

    def _tell(self, watcher: _Watcher) -> None:
        """Send what is so, and wait until it has left or the call has ended, until the last that was sent is so. What
        changes just then is seen by the next look.
        """
        try:
            while watcher.is_behind(statuses := self._health.statuses()):
                watcher.last_told = _status(statuses, watcher.service)
                with self._waiting_for(watcher.context):
                    watcher.send(HealthCheckResponse(status=watcher.last_told))
        finally:
            watcher.is_told_now = False

    def _ended(self, watcher: _Watcher) -> None:
        with self._lock:
            self._watchers.discard(watcher)

    def _reflect(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[Any]:
        of = reflection_pb2.ServerReflectionRequest
        each = iter(lambda: self._next(of, requests, context), None)
        # All of it: who takes no answer is waited for as well, and who asks again and again gives the thread up, too.
        with self._waiting_for(context):
            yield from self._reflection.ServerReflectionInfo(each, context)

    def _read(self, kind: type[_Request], requests: Iterator[bytes], context: grpc.ServicerContext) -> _Request | None:
        """Wait for the one request, as `_next` does."""
        with self._waiting_for(context):
            return self._next(kind, requests, context)

    @contextmanager
    def _waiting_for(self, context: grpc.ServicerContext) -> Iterator[None]:
        """Let the call be cut off in the body when others wait for its thread."""
        self._waited_for[context] = self._clock.now()
        if self._threads.in_progress > _THREADS:
            self._cut_off()
        try:
            yield
        finally:
            self._waited_for.pop(context, None)

    def _next(self, kind: type[_Request], requests: Iterator[bytes], context: grpc.ServicerContext) -> _Request | None:
        """Return the next request; None: there is none. Ends the call of one that is none of these or too long."""
        try:
            body = next(requests)
        except StopIteration:
            return None
        if len(body) > _NAME_BYTES:
            context.abort(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"the request has {len(body)} bytes, and at most {_NAME_BYTES} are taken; ask by a service's name",
            )
        try:
            return kind.FromString(unpacked(body, _NAME_BYTES))
        except (DecodeError, HashHubError):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"the request is no {kind.DESCRIPTOR.full_name}")

    def _look(self) -> None:
        until = time.monotonic() + _LOOK_SECONDS
        while self._waited_for and time.monotonic() < until:
            if self._threads.in_progress > _THREADS:
                self._cut_off()
            else:
                self._clock.now()
            time.sleep(_TICK_SECONDS)
        self.tell_watchers()

    def _cut_off(self) -> None:
        """Cancel the calls whose clients have been waited for long enough."""
        # As long for all that wait together as for the first ones, so that a crowd of them holds nobody up for minutes.
        patience = _PATIENCE_SECONDS * min(1.0, _THREADS / max(1, self._threads.in_progress))
        before = self._clock.now() - max(patience, _SHORTEST_PATIENCE_SECONDS)
        for context, since in list(self._waited_for.items()):
            if since < before:
                context.cancel()
