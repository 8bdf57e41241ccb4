"""`serve`: a hub, in one process or several, from start to drain.

    one worker      this process: lock the data, open the hub and its listeners, wait for a signal, drain
    several         `supervisor`: this process holds the lock and the ports, and keeps the workers alive

Nothing heavy is imported here: with several workers, this process only looks after them.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hashhub.errors import HashHubError, Unavailable, missing_extra
from hashhub.server.exposure import check_exposure, lock_data
from hashhub.server.messages import LINGER_SECONDS, LOADING, OnPhase, OnReady, StartPhase
from hashhub.signals import stopping_on_signals

if TYPE_CHECKING:
    from hashhub.config import Config
    from hashhub.hub import Hub
    from hashhub.server.admission import QuotaCounts
    from hashhub.server.listeners import Listeners
    from hashhub.server.metrics import Metrics


_log = logging.getLogger("hashhub.server")

TOKEN_FILE: Final = "operator.token"  # noqa: S105 - the file's name, not a secret
_LOG_FORMAT: Final = "%(asctime)s %(levelname)s %(process)d %(name)s %(message)s"
_TURN_SECONDS: Final = 0.000_5
_LOOK_SECONDS: Final = 0.05  # between looks whether the matcher has caught up
_REPORT_SECONDS: Final = 0.5  # between words on how far it has


def serve_here(
    config: Config,
    *,
    on_ready: OnReady,
    on_phase: OnPhase,
    stop: threading.Event,
    on_opened: Callable[[], None] = lambda: None,
    on_listeners: Callable[[Listeners], None] = lambda _: None,
    alone: bool = True,
    shared: bool = False,
    worker: int = 0,
    scrape: Callable[[Metrics], str] | None = None,
    counts: QuotaCounts | None = None,
) -> None:
    """Open the hub and its listeners in this process, and serve until `stop`.

    `alone`: no other process serves the data yet. `on_opened` is called when the database is there and the first token
    written, `on_listeners` when they are made. `shared`, `scrape` and `counts`: as for `Listeners`.
    """

    @contextmanager
    def phase(what: str, *, is_long: bool = False) -> Iterator[None]:
        began = time.perf_counter()
        on_phase(StartPhase(what, is_long=is_long, worker=worker))
        yield
        on_phase(StartPhase(what, time.perf_counter() - began, is_long=is_long, worker=worker))

    with contextlib.nullcontext() if shared else phase(LOADING):  # a worker has loaded it before
        has_kernels = load_program()
        from hashhub.hub import Hub
        from hashhub.matcher import warm_up
        from hashhub.server.listeners import Listeners

    with Hub.open(config, publisher=worker == 0, phase=phase) as hub:
        if alone:
            hub.take_over()
        if worker == 0:
            _write_first_token(hub, Path(config.data))
        on_opened()
        listeners = Listeners(hub, config, shared=shared, scrape=scrape, counts=counts)
        try:
            on_listeners(listeners)
            listeners.start()
            # They take calls meanwhile: health says NOT_SERVING, and matching raises Unavailable (MATCHER_NOT_READY).
            warm_up(lambda has: phase("loading the kernels" if has else "compiling the kernels", is_long=not has))
            hub.start(wait=False)
            _catch_up(hub, phase, on_phase, stop, worker)
            if hub.is_ready:
                if not has_kernels:
                    gc.collect()  # compiling leaves much behind; without it there are some hundred objects, for 90 ms
                gc.freeze()
                # Threads take turns ten times as often as Python's default: one that computes, a commit's for example,
                # keeps the interpreter for an interval, and a match needs it several times. While a commit of 200,000
                # records ran on two busy cores, a match's p99 was 120 to 410 ms with 5 ms, 36 to 59 ms with this.
                sys.setswitchinterval(_TURN_SECONDS)
                on_ready(listeners.grpc_address, listeners.http_address, listeners.certificates_address)
                # Not before: its processes take as long to load as this one. A file that comes first starts them too.
                hub.match.media_pool.start()
            stop.wait()
            _log.info("draining for at most %g seconds", config.drain_seconds)
        finally:
            listeners.close()


def load_program() -> bool:
    """Import what a hub needs; return whether its kernels are compiled already. For processes that only serve.

    From here on the garbage collector looks less often, and `serve_here` exempts what is there when the hub is ready.
    With Python's defaults it took nearly half of an import's commit and a fifth of a start, and a full collection
    stopped every call for as long as hundreds of lookups take.
    """
    gc.set_threshold(50_000, 20, 50)
    import hashhub.hub
    import hashhub.server.listeners  # noqa: F401 - for its time
    from hashhub.matcher import has_kernels

    return has_kernels()


def _catch_up(
    hub: Hub,
    phase: Callable[[str], AbstractContextManager[None]],
    on_phase: OnPhase,
    stop: threading.Event,
    worker: int,
) -> None:
    """Wait until the matcher has caught up, and tell how far it is."""
    with phase("catching up"):
        due = time.monotonic() + _REPORT_SECONDS
        while not hub.is_ready and not stop.wait(_LOOK_SECONDS):
            if time.monotonic() >= due:
                with contextlib.suppress(HashHubError):
                    done, total = hub.matcher.revision, hub.revision()
                    on_phase(StartPhase(f"catching up: revision {done} of {total}", is_long=True, worker=worker))
                due = time.monotonic() + _REPORT_SECONDS


def set_up_logging() -> None:
    """One line an event on stderr, unless the caller has set logging up already."""
    if not logging.root.handlers:
        logging.basicConfig(level=logging.INFO, format=_LOG_FORMAT)
        logging.getLogger("alembic").setLevel(logging.WARNING)  # tells its plugins one by one


def _write_first_token(hub: Hub, data: Path) -> None:
    """Make the operator's token if none works, the file first: a kill in between leaves no unknown token."""

    def keep(secret: str) -> None:
        try:
            # Created for its owner only; a file that is there already belongs to a database that is gone.
            with contextlib.suppress(FileNotFoundError):
                (data / TOKEN_FILE).unlink()
            file = os.open(data / TOKEN_FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(file, "w", encoding="ascii") as out:
                out.write(secret + "\n")
        except OSError as e:
            raise Unavailable(
                f"cannot write the operator's token to {TOKEN_FILE} in the data directory ({e.strerror}); correct that "
                "and start again"
            ) from e

    hub.tokens.bootstrap(keep)


def serve(
    config: Config, *, on_ready: OnReady, on_phase: OnPhase = lambda _: None, stop: threading.Event | None = None
) -> None:
    """Serve a hub until SIGTERM or SIGINT (or until `stop` is set), then drain.

    `on_ready` is called once, with the addresses of gRPC, of HTTP and of gRPC with certificates (empty without), when
    every worker has caught up and answers; `on_phase` as each step of the start begins and ends. The first start writes
    the operator's token to `operator.token` in the data directory. Raises InvalidArgument for settings that cannot work
    or would expose tokens, FailedPrecondition when the data or a port is in use or others can read the data,
    Unavailable without a database.
    """
    try:
        _serve(config, on_ready, on_phase, stop or threading.Event())
    except ModuleNotFoundError as e:
        raise missing_extra(e, "server", what="serving") from e


def _serve(config: Config, on_ready: OnReady, on_phase: OnPhase, stop: threading.Event) -> None:
    set_up_logging()
    check_exposure(config)
    # Callers' secrets are in memory, and are to be in no file. Workers inherit it.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if config.workers == 1:
        with lock_data(config.data), stopping_on_signals(stop.set, within=config.drain_seconds + LINGER_SECONDS):
            serve_here(config, on_ready=on_ready, on_phase=on_phase, stop=stop)
        return
    with lock_data(config.data), stopping_on_signals(stop.set):
        from hashhub.server.supervisor import Supervisor

        Supervisor(config, on_ready, on_phase, stop).run()
