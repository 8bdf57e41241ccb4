"""One process's doors to a hub: the gRPC server, the HTTP door, health and reflection, and how they open and close.

Threads are kept apart, so that no kind of call can starve another: each room (`rooms`) has its own, and in it each
token its lane (`lanes`); refusals have a few that never wait for anything, and so have probes (`probes`).
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import grpc
from google.protobuf.internal import api_implementation
from google.protobuf.message import Message
from grpc_status import rpc_status

from hashhub import structs
from hashhub.addresses import bind, parse_address, shown, taken, with_port
from hashhub.errors import HashHubError, InvalidArgument, LimitExceeded, Reason, Unauthenticated, Unavailable
from hashhub.server import servicers
from hashhub.server.counts import Counts
from hashhub.server.health import Health
from hashhub.server.http_door import HTTPDoor
from hashhub.server.interceptors import Envelope, Gate, Method
from hashhub.server.lanes import STRANGERS, Callers, Lane, Threads, Unmet, belong_to, end_call
from hashhub.server.metrics import Ledger, Metrics
from hashhub.server.packed import ALGORITHMS, unpacked
from hashhub.server.probes import Probes
from hashhub.server.rooms import Room, rooms_of
from hashhub.server.shares import TokenShares
from hashhub.server.slow import READER, Answers, Slow
from hashhub.wire import error_to_status

if TYPE_CHECKING:
    from collections.abc import Callable

    from hashhub.config import Config
    from hashhub.hub import Hub
    from hashhub.model import Principal

_log = logging.getLogger("hashhub.server")

_SMALL_POOL: Final = 2  # threads for refusals: those wait for nothing
_SMALL_QUEUE: Final = 100_000  # refusals that wait for those threads: each takes some 0.1 ms
_HANDSHAKE_SECONDS: Final = 30.0  # until it is known what a connection speaks; gRPC's own is two minutes
_IDLE_SECONDS: Final = 600.0  # until a connection without calls makes place; clients open it anew with their next call
# A connection with calls whose other end has vanished is noticed after both of these. gRPC's own first is two hours.
_SILENT_SECONDS: Final = 60.0
_PING_SECONDS: Final = 120.0  # its answer waits behind what is on a slow line
_STREAMS: Final = 512
# Calls of all connections that wait to be looked at: beyond the first number gRPC cancels some, whosever they are,
# beyond the second all. Its own 1,000 and 3,000 are what two connections may have; these wait a second or two.
_PENDING: Final = (4096, 8192)
_WINDOW_BYTES: Final = 65_536
_ANSWER_BYTES: Final = -1  # no limit of ours: what a caller may ask for is limited in items


class Doors:
    """The doors of one process: made open, served from `start` on, drained by `close`."""

    def __init__(
        self,
        hub: Hub,
        config: Config,
        *,
        listen: str,
        http: str,
        shared: bool = False,
        scrape: Callable[[Metrics], str] | None = None,
        counts: Counts | None = None,
    ) -> None:
        """Take the ports.

        `listen` and `http`: addresses as in the configuration, with the actual ports where the parent chose them.
        `shared`: other processes serve the same ports; `scrape` then gives the metrics of all, and in `counts` all
        count what tokens take. Raises FailedPrecondition when a port is taken, InvalidArgument for unusable TLS files.
        """
        _warn_about_slow_protobuf()
        self._drain_seconds = config.drain_seconds
        self._stopping = threading.Event()
        self.metrics = Metrics()
        rooms = rooms_of(config)
        shares = TokenShares(config, cores=os.cpu_count() or 1, counts=counts)
        self._gate = Gate(hub.tokens.authenticate, self.metrics, rooms, shares, hub.tokens.recall)
        self._methods = servicers.methods(hub, self._stopping.is_set, config.max_message_bytes)
        structs.prepare()
        self._condition = hub.condition
        self._health = Health(hub.condition.met)
        self._threads = _threads(rooms.values(), shares, config.max_concurrent_calls)
        callers = Callers()
        self._slow = Slow(config.slow_sender_seconds)
        handlers = _Handlers(self._methods, self._gate, self._threads, self._slow, callers, config.token_calls)
        services = sorted({path.split("/")[1] for path in self._methods})
        self._probes = Probes(self._health, services, watchers=config.max_connections)
        self._grpc = grpc.server(
            self._threads["small"].lane("small"),
            handlers=[handlers, self._probes],
            options=_options(config, shared=shared),
        )
        self.metrics.watch(
            hub,
            is_up=self._health.up,
            # A call that waits in its room does so on a thread, which counts it already.
            rooms=lambda: {
                room.name: (self._threads[room.name].in_progress, room.working + room.waiting)
                for room in rooms.values()
            },
            threads=lambda: [
                *hub.threads(),
                self._slow.thread,
                self._probes.thread,
                *([self._http.clock.thread] if self._http else []),
            ],
        )
        self._ledger = Ledger()
        self._ledger.started(0)
        self.http_address = ""
        self._http: HTTPDoor | None = None
        with contextlib.ExitStack() as undo:
            listener = undo.enter_context(bind("http", http, shared=shared)) if http else None
            self.grpc_address = self._listen(listen, config)
            undo.pop_all()
        if listener is not None:
            self.http_address = with_port("http", http, listener.getsockname()[1])
            self._http = HTTPDoor(
                self._gate,
                self._methods,
                self._run,
                health=self._health.page,
                scrape=functools.partial(scrape or self._own_scrape, self.metrics),
                max_message_bytes=config.max_message_bytes,
                body_bytes=config.max_bytes_in_progress,
                callers=callers,
            )
            self._http.open(listener, connections=config.max_connections)

    @property
    def is_serving(self) -> bool:
        """Whether the hub matches and the doors are not closing: what health says."""
        return self._health.is_serving

    def start(self) -> None:
        """Take calls over gRPC too (HTTP does already), and say from now on which services can answer."""
        self._condition.thread.start()
        self._grpc.start()
        self._health.open()

    def close(self) -> None:
        """Drain: take no new calls, give those in progress `drain_seconds`, then cut them off. Closing twice is
        fine.
        """
        self._stopping.set()
        stopped = self._grpc.stop(self._drain_seconds)
        self._health.close()
        self._probes.tell_watchers()
        if self._http is not None:
            self._http.close(self._drain_seconds)
            self._http = None
        stopped.wait()
        for threads in self._threads.values():
            threads.close()
        self._slow.close()
        self._probes.close()

    def _run(self, work: Callable[[], None], method: Method | None, principal: Principal | None) -> bool:
        """Run a call that came over HTTP in its room and its token's lane, or, without a method, the look for who makes
        it, in the lane of whose it seems to be; False when there is no place. Raises LimitExceeded when its token has
        taken its share of calls.
        """
        threads = self._threads["tokens" if method is None else method.room]
        lane = threads.lane(STRANGERS if principal is None else principal.name)
        if threads.is_full or lane.in_progress >= threads.most_in_lane:
            return False
        if principal is not None and method is not None:
            self._gate.shares.take(principal, "calls")
        try:
            lane.submit(work)
        except RuntimeError:  # the doors close
            return False
        return True

    def _listen(self, address: str, config: Config) -> str:
        host, port = parse_address("listen", address)
        target = shown(host, port)
        try:
            if config.tls_certificate:
                bound = self._grpc.add_secure_port(target, _credentials(config))
            else:
                bound = self._grpc.add_insecure_port(target)
        except RuntimeError as e:
            raise taken("listen", address) from e
        return shown(host, bound)

    def _own_scrape(self, metrics: Metrics) -> str:
        self._ledger.put(0, metrics.families())
        return self._ledger.text()


def _options(config: Config, *, shared: bool) -> list[tuple[str, int]]:
    """Return what the gRPC server is told of connections and messages."""
    return [
        ("grpc.max_receive_message_length", config.max_message_bytes),
        ("grpc.max_send_message_length", _ANSWER_BYTES),
        ("grpc.per_message_decompression", 0),
        ("grpc.compression_enabled_algorithms_bitset", ALGORITHMS),
        ("grpc.so_reuseport", int(shared)),
        ("grpc.max_allowed_incoming_connections", config.max_connections),
        ("grpc.server_handshake_timeout_ms", round(_HANDSHAKE_SECONDS * 1000)),
        ("grpc.max_connection_idle_ms", round(_IDLE_SECONDS * 1000)),
        ("grpc.keepalive_time_ms", round(_SILENT_SECONDS * 1000)),
        ("grpc.http2.ping_timeout_ms", round(_PING_SECONDS * 1000)),
        # Of one connection: twice what a token may have, since gRPC counts a call that has been answered or reset until
        # nothing of it is left, and refuses the one too many.
        ("grpc.max_concurrent_streams", max(_STREAMS, 2 * (config.token_calls + config.token_streams))),
        ("grpc.server.max_pending_requests", _PENDING[0]),
        ("grpc.server.max_pending_requests_hard_limit", _PENDING[1]),
        # What a stream may send before its request is asked for: fixed, and not what a fast sender makes of it.
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", _WINDOW_BYTES),
    ]


def _threads(rooms: Iterable[Room], shares: TokenShares, most_looks: int) -> dict[str, Threads]:
    """Return the threads of each room, of refusals over gRPC, and of looks for who makes a call over HTTP."""
    threads: dict[str, Threads] = {room.name: _threads_of(room, shares) for room in rooms}
    for name, waiting, most_in_lane in (
        ("small", _SMALL_QUEUE, _SMALL_POOL + _SMALL_QUEUE),
        ("tokens", most_looks, _most_of_one(_SMALL_POOL + most_looks)),
    ):
        threads[name] = Threads(name, _SMALL_POOL, waiting, most_each=_SMALL_POOL, most_in_lane=most_in_lane)
    return threads


def _most_of_one(places: int) -> int:
    """Return how many places one token's calls take at most, waiting ones included: the rest is for somebody else."""
    return max(1, places * 3 // 4)


def _threads_of(room: Room, shares: TokenShares) -> Threads:
    # Of streams a token has few anyway, and one unknown when it began stays among the strangers.
    capacity = room.working + room.waiting
    if room.name in {"feeds", "live"}:
        return Threads(room.name, room.working, 0, most_each=capacity, most_in_lane=capacity)

    def give(token: str) -> None:
        if token != STRANGERS and room.name != "exports":  # those are counted as streams, while they are worked on
            shares.give(token, "calls")

    return Threads(
        room.name,
        room.working,
        room.waiting,
        most_each=room.most_each,
        most_in_lane=_most_of_one(capacity),
        most_strangers=max(1, room.working // 2),
        on_end=give,
    )


class _Handlers(grpc.GenericRpcHandler):
    """Finds the handler of a call, and refuses calls beyond what their room, or their token's lane in it, can hold.

    To grpc every call is one that streams its requests: of those it reads nothing until the handler asks, on its
    thread, after the token was checked and there was room. Till then a caller can send what HTTP/2's window of one
    stream takes, 64 KiB. On the wire a call with one request looks the same.
    """

    def __init__(
        self,
        methods: Mapping[str, Method],
        gate: Gate,
        threads: Mapping[str, Threads],
        slow: Slow,
        callers: Callers,
        most_calls: int,
    ) -> None:
        """`most_calls`: of strangers, as of a token, that may work or wait in a room."""
        self._methods, self._gate, self._threads, self._slow = methods, gate, threads, slow
        self._most_calls = most_calls
        self._callers = callers
        self._answers = Answers(slow)
        self._small = threads["small"].lane("small")
        self._refusing = {path: self._refusal(method) for path, method in methods.items()}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Return the handler; called on grpc's polling thread, so it looks nothing up that can wait."""
        method = self._methods.get(handler_call_details.method)
        if method is None:
            return None
        authorization = _authorization(handler_call_details.invocation_metadata)
        threads = self._threads[method.room]
        caller = self._callers.who(authorization)
        lane = threads.lane(STRANGERS if caller is None else caller.name)
        if threads.is_full:
            return self._refusing[method.path]
        executor = Unmet(lane, functools.partial(self._lane_of, authorization)) if caller is None else lane
        if method.streams:
            return _on_lane(method, functools.partial(_stream, self, method, caller), executor)
        if caller is None:
            if lane.in_progress >= min(self._most_calls, threads.most_in_lane):
                return self._refusing[method.path]
        elif lane.in_progress >= threads.most_in_lane:
            return self._refusal(method, self._gate.shares.exceeded(caller.name, "calls", threads.most_in_lane, 1.0))
        elif self._answers.untaken(caller.name) >= (most := self._gate.shares.most(caller, "message_bytes")):
            return self._refusal(method, self._gate.shares.exceeded(caller.name, "message_bytes", most, 1.0))
        else:
            try:
                self._gate.shares.take(caller, "calls")  # given back when the lane has done with it
            except LimitExceeded as e:
                return self._refusal(method, e)
        return _on_lane(method, functools.partial(_unary, self, method, caller), executor)

    def _lane_of(self, authorization: str) -> str | None:
        caller = self._callers.who(authorization)
        return None if caller is None else caller.name

    def envelope(self, context: grpc.ServicerContext, caller: Principal | None, *, is_counted: bool) -> Envelope:
        """Return what came with a call besides its body. `caller`: whose it seems to be. `is_counted`: in that token's
        share of calls.
        """
        authorization = _authorization(context.invocation_metadata())
        return Envelope(
            authorization=authorization,
            peer=context.peer,
            remaining=context.time_remaining(),
            is_wanted=context.is_active,
            known=functools.partial(self._note, authorization, caller),
            counted=caller.name if caller is not None and is_counted else "",
        )

    def read(self, method: Method, requests: Iterator[bytes], context: grpc.ServicerContext) -> Message:
        """Read the one request of a call. Raises InvalidArgument when there is none, LimitExceeded when it is too
        large, Unavailable when its sender has gone or is too slow.
        """
        with self._slow.watch(context.cancel) as watched:
            try:
                body = next(requests)
            except StopIteration as e:
                raise InvalidArgument.field("request", "is missing: the call ended without one", "REQUIRED") from e
            except grpc.RpcError as e:
                if watched.is_late:
                    raise watched.error from e
                raise Unavailable(
                    "the caller cancelled the call or went away before its request had come",
                    reason=Reason.CALLER_GONE,
                ) from e
        return method.parse(unpacked(body, method.bounds.bytes))

    def call(
        self, method: Method, caller: Principal | None, requests: Iterator[bytes], context: grpc.ServicerContext
    ) -> bytes:
        """Make a unary call."""
        envelope = self.envelope(context, caller, is_counted=True)
        try:
            answer = self._gate.call(method, envelope, lambda: self.read(method, requests, context), _encoded)
        except Unauthenticated:
            self._callers.forget(envelope.authorization)
            raise
        finally:
            end_call()
        caller = caller or self._callers.who(envelope.authorization)
        self._answers.wait(STRANGERS if caller is None else caller.name, len(answer), context)
        return answer

    def stream(
        self, method: Method, caller: Principal | None, requests: Iterator[bytes], context: grpc.ServicerContext
    ) -> Iterator[bytes]:
        """Make a streaming call."""
        if method.listens:
            return self._converse(method, caller, requests, context)
        answers = self._gate.stream(
            method,
            self.envelope(context, caller, is_counted=False),
            lambda: self.read(method, requests, context),
            _encoded,
        )
        return self._taken(answers, context, times=READER)

    def _converse(
        self, method: Method, caller: Principal | None, requests: Iterator[bytes], context: grpc.ServicerContext
    ) -> Iterator[bytes]:
        answers = self._gate.converse(
            method,
            self.envelope(context, caller, is_counted=False),
            lambda: self.read(method, requests, context),
            _following(method, requests),
            _encoded,
        )
        return self._taken(answers, context)

    def _taken(self, answers: Iterator[bytes], context: grpc.ServicerContext, *, times: int = 1) -> Iterator[bytes]:
        """Yield each answer, and cut the call off when its reader does not take it. `times`: see `Slow.watch`."""
        for answer in answers:
            with self._slow.watch(context.cancel, times=times):
                yield answer

    def refuse(self, method: Method, error: LimitExceeded | None, context: grpc.ServicerContext) -> NoReturn:
        """Refuse a call for what its token has taken, or because its room has no place."""
        if error is None:
            room = self._gate.rooms[method.room]
            error = room.full()
            self._gate.shares.count_refusal(room.name)
        self._gate.refuse(method, self.envelope(context, None, is_counted=False), error)

    def _note(self, authorization: str, was: Principal | None, principal: Principal) -> None:
        if was is None or was.name != principal.name or was.shares != principal.shares:
            self._callers.note(authorization, principal)
            belong_to(principal.name)

    def _refusal(self, method: Method, error: LimitExceeded | None = None) -> grpc.RpcMethodHandler[Any, Any]:
        call = _refuse_stream if method.streams else _refuse
        return _on_lane(method, functools.partial(call, self, method, error), self._small)


def _following(method: Method, requests: Iterator[bytes]) -> Iterator[Message]:
    """Yield the further requests of a call. Raises LimitExceeded, InvalidArgument, and Unavailable when the caller has
    gone.
    """
    try:
        for body in requests:
            yield method.parse(unpacked(body, method.bounds.bytes))
    except grpc.RpcError as e:
        raise Unavailable("the caller cancelled the call or went away", reason=Reason.CALLER_GONE) from e


def _on_lane(method: Method, behaviour: Any, lane: Lane | Unmet) -> grpc.RpcMethodHandler[Any, Any]:
    # grpc's name for it; without it every call would run on the server's one pool.
    behaviour.experimental_thread_pool = lane
    if method.streams:
        return grpc.stream_stream_rpc_method_handler(behaviour)
    return grpc.stream_unary_rpc_method_handler(behaviour)


def _unary(
    handlers: _Handlers,
    method: Method,
    caller: Principal | None,
    requests: Iterator[bytes],
    context: grpc.ServicerContext,
) -> bytes:
    try:
        return handlers.call(method, caller, requests, context)
    except HashHubError as e:
        _abort(context, e)


def _stream(
    handlers: _Handlers,
    method: Method,
    caller: Principal | None,
    requests: Iterator[bytes],
    context: grpc.ServicerContext,
) -> Iterator[bytes]:
    try:
        yield from handlers.stream(method, caller, requests, context)
    except HashHubError as e:
        _abort(context, e)


def _refuse(
    handlers: _Handlers,
    method: Method,
    error: LimitExceeded | None,
    requests: Iterator[bytes],
    context: grpc.ServicerContext,
) -> bytes:
    del requests
    try:
        handlers.refuse(method, error, context)
    except HashHubError as e:
        _abort(context, e)


def _refuse_stream(
    handlers: _Handlers,
    method: Method,
    error: LimitExceeded | None,
    requests: Iterator[bytes],
    context: grpc.ServicerContext,
) -> Iterator[bytes]:
    yield _refuse(handlers, method, error, requests, context)


def _authorization(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    for key, value in metadata:
        if key == "authorization" and isinstance(value, str):
            return value
    return ""


def _encoded(answer: Message) -> bytes:
    return answer.SerializeToString()


def _abort(context: grpc.ServicerContext, error: HashHubError) -> NoReturn:
    # An error that its own frames hold, as where it is an argument, would keep the call, and so the call's place on its
    # connection, until the collector comes by.
    error.__traceback__ = None
    context.abort_with_status(rpc_status.to_status(error_to_status(error)))


def _credentials(config: Config) -> grpc.ServerCredentials:
    try:
        # grpc says nothing useful about bad files; the standard library does.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(config.tls_certificate, config.tls_key)
        chain, key = Path(config.tls_certificate).read_bytes(), Path(config.tls_key).read_bytes()
    except ssl.SSLError as e:
        raise InvalidArgument.field(
            "tls_certificate",
            f"is no PEM chain that fits tls_key ({e.reason or 'unreadable'}); check both files",
            "TLS",
        ) from e
    except OSError as e:
        raise InvalidArgument.field(
            "tls_certificate", f"or tls_key cannot be read ({e.strerror}); check both files", "TLS"
        ) from e
    return grpc.ssl_server_credentials([(key, chain)])


def _warn_about_slow_protobuf() -> None:
    if api_implementation.Type() != "upb":
        _log.warning(
            "protobuf runs on its %s implementation, up to a hundred times slower than upb; reinstall protobuf from a "
            "wheel",
            api_implementation.Type(),
        )
