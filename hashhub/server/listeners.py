"""One process's listeners: gRPC with health and reflection, and HTTP, on one event loop in a thread of its own.

The loop waits for nothing but the network: what may ask the database or compute runs on the pipeline's threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import threading
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final, TypeVar

import grpc
import uvloop

from hashhub import structs
from hashhub.addresses import bind, parse_address, shown, taken, with_port
from hashhub.errors import InvalidArgument
from hashhub.hub.outbound import Downloads
from hashhub.key_pair import KeyPair
from hashhub.server import servicers
from hashhub.server.admission import TokenQuotas, limiters_of
from hashhub.server.grpc_listener import Handlers
from hashhub.server.health import Health, Probes
from hashhub.server.http_listener import HTTPListener
from hashhub.server.metrics import MergedMetrics, Metrics
from hashhub.server.partners import BoundToken, PartnerRoutes, bind_hma, shown_hma, unlink_hma
from hashhub.server.pipeline import Pipeline

if TYPE_CHECKING:
    import socket

    from hashhub.config import Config
    from hashhub.hub import Hub
    from hashhub.server.admission import QuotaCounts

_log = logging.getLogger("hashhub.server")

HANDSHAKE_SECONDS: Final = 30.0  # until it is known what a connection speaks; gRPC's own is two minutes
IDLE_SECONDS: Final = 600.0  # until a connection without calls makes place; clients open it anew with their next call
# A connection with calls whose other end has vanished is noticed after both of these. gRPC's own first is two hours.
SILENT_SECONDS: Final = 60.0
PING_SECONDS: Final = 120.0  # its answer waits behind what is on a slow line
# Each connection ends when it is old, after the calls that it has then, of which a live stream may take 12 hours: one
# whose reader takes no answer, and answers pings, would stay for ever. Clients open another without noticing.
OLD_SECONDS: Final = 3600.0
LAST_CALLS_SECONDS: Final = 13 * 3600.0
STREAMS: Final = 512
# Calls of all connections that wait to be looked at: beyond the first number gRPC cancels some, whosever they are,
# beyond the second all. Its own 1,000 and 3,000 are what two connections may have; these wait a second or two.
_PENDING: Final = (4096, 8192)
_WINDOW_BYTES: Final = 65_536
_ANSWER_BYTES: Final = -1  # no limit of ours: what a caller may ask for is limited in items
_GZIP: Final = 0b101  # algorithms as gRPC numbers them: none, gzip; deflate's first byte could be a message's
_LINGER_SECONDS: Final = 1.0  # for gRPC, beyond the drain
_BEGIN_SECONDS: Final = 0.5  # for handshakes that are about to begin: 20 µs where a core is free

_T = TypeVar("_T")


class Listeners:
    """The listeners of one process: made open, served from `start` on, drained by `close`."""

    def __init__(
        self,
        hub: Hub,
        config: Config,
        *,
        shared: bool = False,
        scrape: Callable[[Metrics], str] | None = None,
        counts: QuotaCounts | None = None,
    ) -> None:
        """Take the ports. `shared`: other processes serve the same ports; `scrape` then gives the metrics of all, and
        in `counts` all count what tokens take. Raises FailedPrecondition when a port is taken, InvalidArgument for
        unusable TLS files.
        """
        self._config = config
        self._bound_token = BoundToken(config.hma_bound_token_file) if config.listen_hma else None
        self.stopping = threading.Event()
        self.metrics = Metrics()
        limiters = limiters_of(config)
        self._condition = hub.condition
        self._serve_log = hub.log.serve
        self.health = Health(hub.condition.met)
        quotas = TokenQuotas(config, cores=os.cpu_count() or 1, counts=counts)
        self.pipeline = Pipeline(hub.tokens.authenticate, self.metrics, limiters, quotas, hub.tokens.recall)
        self.methods = servicers.methods(hub, self.stopping.is_set, config.max_message_bytes)
        structs.prepare()
        self.metrics.watch(
            hub,
            is_up=self.health.up,
            limiters=lambda: {name: (sum(limiter.depth), limiter.capacity) for name, limiter in limiters.items()},
            threads=hub.threads,
        )
        self._ledger = MergedMetrics()
        self._ledger.started(0)
        self.http: HTTPListener | None = None
        self.hma_address = ""
        self._downloads = Downloads(config.hma_url_hosts, config.webhook_deny, config.max_media_bytes)
        self.http_address = ""
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="listeners", daemon=True)
        self._thread.start()
        try:
            with contextlib.ExitStack() as undo:
                listener = undo.enter_context(bind("http", config.http, shared=shared)) if config.http else None
                self.grpc_address, self.certificates_address = self._run(self._listen(shared=shared))
                hma = undo.enter_context(bind_hma(config)) if config.listen_hma else None
                undo.pop_all()
            if listener is not None:
                self.http_address = with_port("http", config.http, listener.getsockname()[1])
            if listener is not None or hma is not None:
                self._run(self._open_http(listener, hma, functools.partial(scrape or self.own_metrics, self.metrics)))
        except BaseException:
            self._end_loop()
            raise

    @property
    def is_serving(self) -> bool:
        """Whether the hub matches and nothing is closing: what health says."""
        return self.health.is_serving

    def start(self) -> None:
        """Take calls over gRPC too (HTTP does already), and say from now on which services can answer."""
        self._condition.thread.start()
        self.health.open()
        self._run(self._grpc.start())
        self._health_watch = asyncio.run_coroutine_threadsafe(self.probes.watch_health(), self._loop)

    def ping(self, answer: Callable[[], None]) -> None:
        """Have the event loop itself call `answer`. Returns at once."""
        with contextlib.suppress(RuntimeError):  # it was closed
            self._loop.call_soon_threadsafe(answer)

    def close(self) -> None:
        """Drain: take no new calls, give others `drain_seconds`, then cut them off. May be called twice."""
        self.stopping.set()
        self._downloads.close()
        if self._thread.is_alive():
            self._run(self._close())
            self._end_loop()
        if self.hma_address:
            unlink_hma(self._config)

    def _run(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _end_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        if tasks := asyncio.all_tasks(self._loop):
            for task in tasks:
                task.cancel()
            self._loop.run_until_complete(asyncio.wait(tasks, timeout=_LINGER_SECONDS))
        self._loop.close()
        self.pipeline.close()

    async def _listen(self, *, shared: bool) -> tuple[str, str]:
        config = self._config
        services = sorted({path.split("/")[1] for path in self.methods})
        self.probes = Probes(self.health, services, watchers=config.max_connections, seconds=config.slow_sender_seconds)
        # What it says of calls whose callers have gone has no bound; ours are written down by the pipeline.
        logging.getLogger("grpc").setLevel(logging.CRITICAL)
        self.handlers = Handlers(self.methods, self.pipeline, config.slow_sender_seconds)
        self._grpc = grpc.aio.server(handlers=[self.handlers, self.probes], options=_options(config, shared=shared))
        if not config.tls_certificate:
            return self._bind("listen", config.listen, None), ""
        files = "tls_certificate", config.tls_certificate, config.tls_key
        bound = self._bind("listen", config.listen, _renewable(KeyPair(*files)))
        if not config.listen_certificates:
            return bound, ""
        of_clients = _renewable(KeyPair(*files, config.tls_client_ca))
        return bound, self._bind("listen_certificates", config.listen_certificates, of_clients)

    def _bind(self, field: str, address: str, credentials: grpc.ServerCredentials | None) -> str:
        """Take a port, without TLS where there are no credentials; return the address with the actual port."""
        host, port = parse_address(field, address)
        target = shown(host, port)
        try:
            if credentials is None:
                return shown(host, self._grpc.add_insecure_port(target))
            return shown(host, self._grpc.add_secure_port(target, credentials))
        except RuntimeError as e:
            raise taken(field, address) from e

    async def _open_http(
        self, listener: socket.socket | None, hma: socket.socket | None, scrape: Callable[[], str]
    ) -> None:
        self.http = HTTPListener(
            self.pipeline,
            self.methods,
            health=self.health.page,
            scrape=scrape,
            max_message_bytes=self._config.max_message_bytes,
            body_bytes=self._config.max_bytes_in_progress,
        )
        partners = PartnerRoutes(
            self.http, self.methods, self._config, lambda: self.health.is_serving, self._downloads.get
        )
        self.http.others.update(dict.fromkeys(partners.doors, partners.answer))
        self.http.others["log"] = functools.partial(self.http.answer_log, serve=self._serve_log)
        if listener is not None:
            self.http.open(listener, connections=self._config.max_connections)
        if hma is not None and self._bound_token is not None:
            self.hma_address = shown_hma(hma)
            answer = functools.partial(partners.answer_bound, self._bound_token)
            self.http.open(hma, connections=self._config.max_connections, answer=answer)
            self._bound_token.announce(self.hma_address, self.pipeline.authenticate)

    async def _close(self) -> None:
        seconds = self._config.drain_seconds
        closing = [asyncio.ensure_future(self._grpc.stop(seconds))]
        if self.http is not None:
            closing.append(asyncio.ensure_future(self.http.close(seconds)))
        await asyncio.sleep(0)  # after which neither takes anything new
        self.health.close()
        self.probes.tell_watchers()
        await asyncio.wait(closing, timeout=seconds + _LINGER_SECONDS)

    def own_metrics(self, metrics: Metrics) -> str:
        """Return metrics of this process alone as the text of a scrape."""
        self._ledger.put(0, metrics.families())
        return self._ledger.text()


def _options(config: Config, *, shared: bool) -> list[tuple[str, int]]:
    """Return what the gRPC server is told of connections and messages."""
    return [
        ("grpc.max_receive_message_length", config.max_message_bytes),
        ("grpc.max_send_message_length", _ANSWER_BYTES),
        ("grpc.per_message_decompression", 0),
        ("grpc.compression_enabled_algorithms_bitset", _GZIP),
        ("grpc.so_reuseport", int(shared)),
        ("grpc.max_allowed_incoming_connections", config.max_connections),
        ("grpc.server_handshake_timeout_ms", round(HANDSHAKE_SECONDS * 1000)),
        ("grpc.max_connection_idle_ms", round(IDLE_SECONDS * 1000)),
        ("grpc.keepalive_time_ms", round(SILENT_SECONDS * 1000)),
        ("grpc.http2.ping_timeout_ms", round(PING_SECONDS * 1000)),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", round(SILENT_SECONDS * 500)),  # clients ask so often, too
        ("grpc.max_connection_age_ms", round(OLD_SECONDS * 1000)),
        ("grpc.max_connection_age_grace_ms", round(LAST_CALLS_SECONDS * 1000)),
        # Of one connection: twice what a token may have, since gRPC counts a call that has been answered or reset until
        # nothing of it is left, and refuses the one too many.
        ("grpc.max_concurrent_streams", max(STREAMS, 2 * (config.token_calls + config.token_streams))),
        ("grpc.server.max_pending_requests", _PENDING[0]),
        ("grpc.server.max_pending_requests_hard_limit", _PENDING[1]),
        # What a stream may send before its request is asked for: fixed, and not what a fast sender makes of it.
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", _WINDOW_BYTES),
    ]


def _renewable(pair: KeyPair) -> grpc.ServerCredentials:
    """Return credentials of a listener; with authorities it takes only callers with a certificate of theirs."""

    def configuration() -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration([(pair.key, pair.chain)], pair.authorities)

    def renewed() -> grpc.ServerCertificateConfiguration | None:
        """Return what a new connection asks for, if it is new. gRPC frees what that replaces, though handshakes may be
        about to begin with it, at which the process ends: so it is given once, and after those have begun.
        """
        try:
            if not pair.refresh():
                return None
        except InvalidArgument as e:
            _log.error("the last certificate is used further: %s", e.message)
            return None
        time.sleep(_BEGIN_SECONDS)  # others wait for this one meanwhile
        return configuration()

    return grpc.dynamic_ssl_server_credentials(
        configuration(),
        renewed,  # type: ignore[arg-type]  # its types lack the documented None
        require_client_authentication=pair.authorities is not None,
    )
