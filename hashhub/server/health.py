"""Health: which services can answer now, for gRPC's health service, for `/healthz` and for metrics.

What a service needs stands in `NEEDS`; whether that is there is what `hub.condition` saw. Nothing here asks the
database or waits, so probes cost nothing and are answered while everything else hangs.

The whole hub (gRPC's empty service name, and `/healthz`' status code) is healthy while it matches: a balancer must not
turn uploads away because the disk has no room for another list.

Over gRPC anybody may ask for health and reflection without a token: a call costs some memory for as long as it is open.
So there are so many, of which each connection has its part.
"""

from __future__ import annotations

import asyncio
import functools
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_reflection.v1alpha import reflection, reflection_pb2

from hashhub.errors import HashHubError
from hashhub.hub.health import Need
from hashhub.server.bodies import unpacked

PACKAGE: Final = "hashhub.v1."
NEEDS: Final[Mapping[str, frozenset[Need]]] = {
    "AdminService": frozenset({Need.DATABASE}),  # also the way to ask what is wrong
    "ChangeService": frozenset({Need.DATABASE}),
    "ContributionService": frozenset({Need.DATABASE, Need.ROOM, Need.MATCHER}),  # a commit returns once it matches
    "ContributorService": frozenset({Need.DATABASE, Need.ROOM}),
    "HistoryService": frozenset({Need.DATABASE}),
    "MatchService": frozenset({Need.DATABASE, Need.MATCHER}),
    "OperationService": frozenset({Need.DATABASE}),
    "ReconciliationService": frozenset({Need.DATABASE}),
    "PolicyService": frozenset({Need.DATABASE, Need.MATCHER}),
    "ReviewService": frozenset({Need.DATABASE, Need.ROOM}),
    "SchemeService": frozenset({Need.DATABASE, Need.ROOM}),
    "WebhookService": frozenset({Need.DATABASE, Need.ROOM}),
}
_MAIN: Final = "MatchService"


class Health:
    """The health of one process's services."""

    def __init__(self, met: Callable[[], frozenset[Need]]) -> None:
        """`met` returns which needs are met now, without waiting for anything. All services start as NOT_SERVING."""
        self.met = met
        self._is_open = False

    def open(self) -> None:
        """Report actual readiness from now on instead of NOT_SERVING."""
        self._is_open = True

    def close(self) -> None:
        """Say NOT_SERVING from now on: the server drains."""
        self._is_open = False

    def up(self) -> dict[str, bool]:
        """Return whether each service can answer now."""
        met = self.met() if self._is_open else frozenset()
        return {name: needs <= met for name, needs in NEEDS.items()}

    @property
    def is_serving(self) -> bool:
        """Whether the hub matches now."""
        return self.up()[_MAIN]

    def page(self) -> tuple[bool, bytes]:
        """Return whether the hub matches now, and that of all services as JSON."""
        up = self.up()
        services = {name: _word(is_up) for name, is_up in up.items()}
        return up[_MAIN], json.dumps({"status": _word(up[_MAIN]), "services": services}).encode()

    def statuses(self) -> dict[str, HealthCheckResponse.ServingStatus]:
        """Return what gRPC's health service says now, by the name of each service; the empty one is the hub's."""
        up = self.up()
        words = {"": up[_MAIN], **{PACKAGE + name: is_up for name, is_up in up.items()}}
        return {name: HealthCheckResponse.ServingStatus.Value(_word(is_up)) for name, is_up in words.items()}


def _word(is_up: bool) -> str:  # noqa: FBT001 - what it turns into a word
    return "SERVING" if is_up else "NOT_SERVING"


MOST_OPEN: Final = 10_000  # calls
_OF_CONNECTION: Final = 16  # each has so many, however many connections there are
LOOK_SECONDS: Final = 0.25  # for changes of health
_NAME_BYTES: Final = 1_000  # of a service, a file or a symbol that is asked for

_Request = TypeVar("_Request", HealthCheckRequest, reflection_pb2.ServerReflectionRequest)


class _Refusal(Exception):
    """What ends a call: a code, and why."""


class Probes(grpc.GenericRpcHandler):
    """Answers health checks, those who watch health, and reflection."""

    def __init__(self, served: Health, services: Sequence[str], *, watchers: int, seconds: float) -> None:
        """`services`: what reflection lists besides these two. `watchers`: how many may watch at a time. `seconds`: in
        which a request must come.
        """
        self._health, self._most_watchers, self._seconds = served, watchers, seconds
        self.watchers = 0
        self.open_calls: Counter[str] = Counter()
        # What watchers are told. One that looked by itself might see what is over by the next look, and hear no more.
        self._statuses = served.statuses()
        self._changed = asyncio.Event()
        self._reflection = reflection.ReflectionServicer((*services, health.SERVICE_NAME, reflection.SERVICE_NAME))
        of_health = f"/{health.SERVICE_NAME}/"
        self._handlers = {
            f"{of_health}Check": grpc.stream_unary_rpc_method_handler(
                functools.partial(self._counted, self._check), None, HealthCheckResponse.SerializeToString
            ),
            f"{of_health}Watch": self._streaming(self._watch),
            f"/{reflection.SERVICE_NAME}/ServerReflectionInfo": self._streaming(self._reflect),
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Return the handler, None for a call that there is not."""
        return self._handlers.get(handler_call_details.method or "")

    async def watch_health(self) -> None:
        """Let those who watch health be told of each change; goes on until it is cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.tell_watchers()

    def tell_watchers(self) -> None:
        """Tell those who watch health what it is now, if that changed."""
        if (statuses := self._health.statuses()) != self._statuses:
            self._statuses = statuses
            self._changed.set()
            self._changed = asyncio.Event()

    def _streaming(self, behaviour: Callable[..., Awaitable[None]]) -> grpc.RpcMethodHandler[Any, Any]:
        return grpc.stream_stream_rpc_method_handler(
            functools.partial(self._counted, behaviour), None, lambda answer: answer.SerializeToString()
        )

    async def _counted(self, behaviour: Callable[..., Awaitable[Any]], _: object, context: Any) -> Any:
        # By the connection: what stands behind it is not known.
        peer = context.peer()
        if self.open_calls[peer] >= max(_OF_CONNECTION, MOST_OPEN // (len(self.open_calls) or 1)):
            code, why = grpc.StatusCode.RESOURCE_EXHAUSTED, "this connection has as many probes open as it may"
        else:
            self.open_calls[peer] += 1
            context.add_done_callback(functools.partial(self._ended, peer))
            try:
                return await behaviour(context)
            except _Refusal as e:
                code, why = e.args
        # gRPC keeps the frames of an aborted call until the collector comes by: none of them may hold a request.
        await context.abort(code, why)
        raise AssertionError

    def _ended(self, peer: str, _: object) -> None:
        self.open_calls[peer] -= 1
        if not self.open_calls[peer]:
            del self.open_calls[peer]

    async def _check(self, context: Any) -> HealthCheckResponse:
        request = await self._read(HealthCheckRequest, context)
        if request is None:
            raise _Refusal(grpc.StatusCode.INVALID_ARGUMENT, "a health check takes one request, and none came")
        status = self._health.statuses().get(request.service)
        if status is None:
            raise _Refusal(
                grpc.StatusCode.NOT_FOUND,
                f"this hub has no service {request.service!r}; ask without a name for the whole hub",
            )
        return HealthCheckResponse(status=status)

    async def _watch(self, context: Any) -> None:
        request = await self._read(HealthCheckRequest, context)
        if request is None:
            raise _Refusal(grpc.StatusCode.INVALID_ARGUMENT, "who watches health sends one request, and none came")
        if self.watchers >= self._most_watchers:
            raise _Refusal(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"{self._most_watchers} callers watch this hub's health already; call Check, or retry later",
            )
        told: int | None = None
        self.tell_watchers()
        self.watchers += 1
        try:
            while True:
                changed = self._changed
                status = self._statuses.get(request.service, HealthCheckResponse.SERVICE_UNKNOWN)
                if status != told:
                    told = status
                    await context.write(HealthCheckResponse(status=status))
                else:
                    await changed.wait()
        finally:
            self.watchers -= 1

    async def _reflect(self, context: Any) -> None:
        of = reflection_pb2.ServerReflectionRequest
        while (request := await self._read(of, context)) is not None:
            for answer in self._reflection.ServerReflectionInfo(iter([request]), context):
                await context.write(answer)

    async def _read(self, kind: type[_Request], context: Any) -> _Request | None:
        """Return the next request, None after the last. Raises _Refusal for one that is none of these, long or slow."""
        try:
            async with asyncio.timeout(self._seconds):
                body = await context.read()
        except TimeoutError:
            raise _Refusal(grpc.StatusCode.UNAVAILABLE, f"no request came within {self._seconds:g} s") from None
        if not isinstance(body, bytes):
            return None
        if len(body) > _NAME_BYTES:
            raise _Refusal(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"the request has {len(body)} bytes, and at most {_NAME_BYTES} are taken; ask by a service's name",
            )
        try:
            return kind.FromString(unpacked(body, _NAME_BYTES))
        except (DecodeError, HashHubError):
            raise _Refusal(grpc.StatusCode.INVALID_ARGUMENT, f"the request is no {kind.DESCRIPTOR.full_name}") from None
