"""One process's doors to a hub: the gRPC server, the JSON bridge, health and reflection, and how they open and close.

Threads are kept apart, so that no kind of call can starve another: calls on `config.threads`; calls with media, which
mostly wait for child processes, and followed feeds, which hold a thread for as long as they are read, on their own;
health and refusals on a few that never wait for anything.
"""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import logging
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import grpc
from google.protobuf.internal import api_implementation
from grpc_health.v1 import health, health_pb2
from grpc_reflection.v1alpha import reflection
from grpc_status import rpc_status

from hashhub.errors import FailedPrecondition, HashHubError, InvalidArgument, LimitExceeded, Reason
from hashhub.server import servicers
from hashhub.server.bridge import Application, Bridge
from hashhub.server.interceptors import Envelope, Gate, Method, Metrics
from hashhub.wire import error_to_status

if TYPE_CHECKING:
    from hashhub.config import Config
    from hashhub.hub import Hub

_log = logging.getLogger("hashhub.server")

_FOLLOWERS: Final = 64  # followed feeds in one process; each holds a thread that mostly sleeps
_SMALL_POOL: Final = 2  # threads for health and refusals: neither waits for anything
_ANSWER_BYTES: Final = -1  # no limit of ours: what a caller may ask for is limited in items
_RETRY_SECONDS: Final = 0.5  # advice to a caller that found the server full: a few times the longest usual call


class Doors:
    """The doors of one process: made open, served from `start` on, drained by `close`."""

    def __init__(
        self, hub: Hub, config: Config, *, listen: str, http: str, shared: bool = False, worker: int = 0
    ) -> None:
        """Take the ports.

        `listen` and `http`: addresses as in the configuration, with the actual ports where the parent chose them.
        `shared`: other processes serve the same ports. Raises FailedPrecondition when a port is taken, InvalidArgument
        for unusable TLS files.
        """
        _warn_about_slow_protobuf()
        self._hub = hub
        self._drain_seconds = config.drain_seconds
        self._stopping = threading.Event()
        self._gate = Gate(hub.tokens.authenticate, Metrics())
        self._methods = servicers.methods(hub, self._stopping.is_set)
        self._health = health.HealthServicer()
        self._pools = {
            "call": _CountingPool(config.threads, "call"),
            "media": _CountingPool(hub.match.media_pool.most_calls, "media"),
            "follow": _CountingPool(_FOLLOWERS, "follow"),
            "small": _CountingPool(_SMALL_POOL, "small"),
        }
        most = {"call": config.max_concurrent_calls, "media": hub.match.media_pool.most_calls, "follow": _FOLLOWERS}
        handlers = _Handlers(self._methods, self._gate, self._pools, most)
        self._grpc = grpc.server(
            self._pools["call"],
            handlers=[handlers, _health_handler(self._health, self._pools["small"])],
            options=[
                ("grpc.max_receive_message_length", config.max_message_bytes),
                ("grpc.max_send_message_length", _ANSWER_BYTES),
                ("grpc.so_reuseport", int(shared)),
            ],
        )
        self._services = sorted({path.split("/")[1] for path in self._methods})
        reflection.enable_server_reflection((*self._services, health.SERVICE_NAME, reflection.SERVICE_NAME), self._grpc)
        self._set_health(serving=False)
        self.http_address = ""
        self._bridge: Bridge | None = None
        with contextlib.ExitStack() as undo:
            listener = undo.enter_context(bind("http", http, shared=shared)) if http else None
            self.grpc_address = self._listen(listen, config)
            undo.pop_all()
        if listener is not None:
            application = Application(
                self._gate,
                self._methods,
                lambda: self.is_serving,
                worker=worker,
                max_message_bytes=config.max_message_bytes,
                max_media_calls=max(1, config.threads // 2),
            )
            self._bridge = Bridge(application, listener, config.threads)
            self.http_address = with_port("http", http, listener.getsockname()[1])

    @property
    def is_serving(self) -> bool:
        """Whether the matcher has caught up and the doors are not closing: what health says."""
        return self._hub.is_ready and not self._stopping.is_set()

    def start(self) -> None:
        """Take calls over gRPC too (the bridge does already). Health says SERVING once `announce` was called."""
        self._grpc.start()

    def announce(self) -> None:
        """Let health say what `is_serving` says now."""
        self._set_health(serving=self.is_serving)

    def close(self) -> None:
        """Drain: take no new calls, give those in progress `drain_seconds`, then cut them off. Closing twice is
        fine.
        """
        self._stopping.set()
        self._health.enter_graceful_shutdown()
        stopped = self._grpc.stop(self._drain_seconds)
        if self._bridge is not None:
            self._bridge.close(self._drain_seconds)
            self._bridge = None
        stopped.wait()
        for pool in self._pools.values():
            pool.shutdown(wait=False)

    def _listen(self, address: str, config: Config) -> str:
        host, port = parse_address("listen", address)
        target = _shown(host, port)
        try:
            if config.tls_certificate:
                bound = self._grpc.add_secure_port(target, _credentials(config))
            else:
                bound = self._grpc.add_insecure_port(target)
        except RuntimeError as e:
            raise taken("listen", address) from e
        return _shown(host, bound)

    def _set_health(self, *, serving: bool) -> None:
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in ("", *self._services):
            self._health.set(name, status)


class _CountingPool(ThreadPoolExecutor):
    """A thread pool that knows how many calls it runs or has waiting."""

    def __init__(self, threads: int, name: str) -> None:
        super().__init__(threads, thread_name_prefix=name)
        self._count_lock = threading.Lock()
        self.in_progress = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        with self._count_lock:
            self.in_progress += 1
        future = super().submit(fn, *args, **kwargs)
        future.add_done_callback(self._done)
        return future

    def _done(self, _: Future[Any]) -> None:
        with self._count_lock:
            self.in_progress -= 1


class _Handlers(grpc.GenericRpcHandler):
    """Finds the handler of a call, and refuses calls beyond what the process can hold.

    Handlers take and give bytes: requests are decoded on a pool's thread, after the token was checked.
    """

    def __init__(
        self, methods: dict[str, Method], gate: Gate, pools: dict[str, _CountingPool], most: dict[str, int]
    ) -> None:
        self._gate = gate
        self._pools = pools
        self._most = most
        self._handlers = {
            path: (kind := _kind(method), self._handler(method, kind), self._refusing(method))
            for path, method in methods.items()
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Return the handler; called on grpc's polling thread, so it looks nothing up that can wait."""
        handlers = self._handlers.get(handler_call_details.method)
        if handlers is None:
            return None
        kind, handler, refusing = handlers
        return handler if self._pools[kind].in_progress < self._most[kind] else refusing

    def _handler(self, method: Method, kind: str) -> grpc.RpcMethodHandler[Any, Any]:
        call = _stream if method.streams else _unary
        return _on_pool(method, functools.partial(call, self._gate, method), self._pools[kind])

    def _refusing(self, method: Method) -> grpc.RpcMethodHandler[Any, Any]:
        call = _refuse_stream if method.streams else _refuse
        return _on_pool(method, functools.partial(call, self._gate, method), self._pools["small"])


def _kind(method: Method) -> str:
    if method.hashes_media:
        return "media"
    return "follow" if method.streams else "call"


def _on_pool(method: Method, behaviour: Any, pool: ThreadPoolExecutor) -> grpc.RpcMethodHandler[Any, Any]:
    # grpc's name for it; without it every call would run on the server's one pool.
    behaviour.experimental_thread_pool = pool
    if method.streams:
        return grpc.unary_stream_rpc_method_handler(behaviour)
    return grpc.unary_unary_rpc_method_handler(behaviour)


def _unary(gate: Gate, method: Method, body: bytes, context: grpc.ServicerContext) -> bytes:
    try:
        return gate.call(
            method,
            _envelope(context),
            lambda: method.request.FromString(body),
            lambda answer: answer.SerializeToString(),
        )
    except HashHubError as e:
        _abort(context, e)


def _stream(gate: Gate, method: Method, body: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
    try:
        yield from gate.stream(
            method,
            _envelope(context),
            lambda: method.request.FromString(body),
            lambda answer: answer.SerializeToString(),
        )
    except HashHubError as e:
        _abort(context, e)


def _refuse(gate: Gate, method: Method, body: bytes, context: grpc.ServicerContext) -> bytes:
    del body
    full = LimitExceeded(
        "the server has as many calls in progress as it takes; retry in a moment, with fewer at once",
        retry_after=_RETRY_SECONDS,
    )
    try:
        gate.refuse(method, _envelope(context), full)
    except HashHubError as e:
        _abort(context, e)


def _refuse_stream(gate: Gate, method: Method, body: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
    yield _refuse(gate, method, body, context)


def _envelope(context: grpc.ServicerContext) -> Envelope:
    authorization = ""
    for key, value in context.invocation_metadata():
        if key == "authorization" and isinstance(value, str):
            authorization = value
    return Envelope(
        authorization=authorization,
        peer=context.peer,
        remaining=context.time_remaining(),
        is_wanted=context.is_active,
    )


def _abort(context: grpc.ServicerContext, error: HashHubError) -> NoReturn:
    context.abort_with_status(rpc_status.to_status(error_to_status(error)))


def _health_handler(servicer: health.HealthServicer, pool: ThreadPoolExecutor) -> grpc.GenericRpcHandler:
    """Health on its own threads: a probe must be answered however busy the calls' threads are."""

    def check(request: Any, context: grpc.ServicerContext) -> Any:
        return servicer.Check(request, context)

    def watch(request: Any, context: grpc.ServicerContext, send: Any = None) -> Any:
        return servicer.Watch(request, context, send)

    check.experimental_thread_pool = pool  # type: ignore[attr-defined]  # grpc reads it
    watch.experimental_thread_pool = pool  # type: ignore[attr-defined]  # likewise
    watch.experimental_non_blocking = True  # type: ignore[attr-defined]  # grpc reads it: watching holds no thread
    request, answer = health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse
    return grpc.method_handlers_generic_handler(
        health.SERVICE_NAME,
        {
            "Check": grpc.unary_unary_rpc_method_handler(check, request.FromString, answer.SerializeToString),
            "Watch": grpc.unary_stream_rpc_method_handler(watch, request.FromString, answer.SerializeToString),
        },
    )


def parse_address(field: str, address: str) -> tuple[str, int]:
    """Return host and port of `HOST:PORT` or `[IPV6]:PORT`. Raises InvalidArgument."""
    host, colon, port = address.rpartition(":")
    if colon and host and port.isdecimal() and int(port) < 1 << 16 and (":" not in host or host.startswith("[")):
        return host.strip("[]"), int(port)
    raise InvalidArgument.field(
        field, f"must be HOST:PORT, such as 127.0.0.1:8470 or [::1]:8470, got {address[:80]!r}", "PATTERN"
    )


def check_exposure(config: Config) -> None:
    """Raise InvalidArgument when a door would be open to other machines in clear text and nobody said that this is
    intended.
    """
    for field, address, secured in (
        ("listen", config.listen, bool(config.tls_certificate)),
        ("http", config.http, False),
    ):
        if not address or secured or config.insecure_listen or _is_loopback(parse_address(field, address)[0]):
            continue
        remedy = (
            "set tls_certificate and tls_key"
            if field == "listen"
            else "keep it on 127.0.0.1 (it speaks no TLS of its own), or leave it out"
        )
        raise InvalidArgument.field(
            field,
            f"{address} is reachable from other machines, and tokens and hashes would cross the network in clear text: "
            f"{remedy}; "
            "or, if a proxy in front ends TLS, say so with insecure_listen",
            "INSECURE",
        )


def bind(field: str, address: str, *, shared: bool) -> socket.socket:
    """Return a socket bound to the address. Raises FailedPrecondition when it is taken or not this machine's."""
    host, port = parse_address(field, address)
    try:
        family, kind, proto, _, where = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, proto)
    except OSError as e:
        raise taken(field, address) from e
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind(where)
    except OSError as e:
        bound.close()
        raise taken(field, address) from e
    return bound


def taken(field: str, address: str) -> FailedPrecondition:
    """Return the error for an address that cannot be listened on."""
    return FailedPrecondition(
        f"cannot listen on {address} ({field}): another program uses the port, or the address is not this machine's; "
        "stop the other program or choose another address",
        reason=Reason.ADDRESS_IN_USE,
        metadata={"address": address},
    )


def with_port(field: str, address: str, port: int) -> str:
    """Return the address with another port."""
    return _shown(parse_address(field, address)[0], port)


def _shown(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # a name can mean any address, and another one tomorrow


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
