"""`serve`: a hub, in one process or several, from start to drain.

    one worker      this process: lock the data, open the hub and its listeners, wait for a signal, drain
    several         `supervisor`: this process holds the lock and the ports, and keeps the workers alive

Nothing heavy is imported here: with several workers, this process only looks after them.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from hashhub.errors import missing_extra
from hashhub.server.exposure import check_exposure
from hashhub.server.locking import lock_data
from hashhub.server.process import serve_here, set_up_logging
from hashhub.server.startup import LINGER_SECONDS, OnPhase, OnReady, StartPhase
from hashhub.signals import stopping_on_signals

if TYPE_CHECKING:
    from hashhub.config import Config


def _report_nothing(_: StartPhase) -> None:
    """Report no progress."""


def serve(
    config: Config, *, on_ready: OnReady, on_phase: OnPhase = _report_nothing, stop: threading.Event | None = None
) -> None:
    """Serve a hub until SIGTERM or SIGINT (or until `stop` is set), then drain.

    `on_ready` is called once, with the actual addresses of gRPC and of HTTP (empty without one), when every
    worker has caught up and answers; `on_phase` before that, as each step of the start begins and ends. The first start
    writes the operator's token to `operator.token` in the data directory, for its owner only.

    Raises InvalidArgument for settings that cannot work or would expose tokens, FailedPrecondition when the data or a
    port is in use or others can read the data, Unavailable when the database is away.
    """
    try:
        _serve(config, on_ready, on_phase, stop or threading.Event())
    except ModuleNotFoundError as e:
        raise missing_extra(e, "server", what="serving") from e


def _serve(config: Config, on_ready: OnReady, on_phase: OnPhase, stop: threading.Event) -> None:
    set_up_logging()
    check_exposure(config)
    if config.workers == 1:
        with lock_data(config.data), stopping_on_signals(stop.set, within=config.drain_seconds + LINGER_SECONDS):
            serve_here(config, on_ready=on_ready, on_phase=on_phase, stop=stop)
        return
    with lock_data(config.data), stopping_on_signals(stop.set):
        from hashhub.server.supervisor import Supervisor

        Supervisor(config, on_ready, on_phase, stop).run()
