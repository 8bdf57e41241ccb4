"""Messages between the supervisor of several workers and a worker, over a pipe for each worker.

    supervisor ── Assignment, OpenCommand, Ping, MetricsText ──► worker
               ◄── StartPhase, DatabaseNotice, ReadyNotice, StartFailure, Pong, MetricsReport ──

The end of the pipe towards a worker tells it to drain; towards the supervisor it says that the worker has ended.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from hashhub.config import Config

LOADING: Final = "loading the program"
LINGER_SECONDS: Final = 5.0  # beyond the drain, before a process that does not end is ended


class StartPhase(msgspec.Struct, frozen=True, tag=True):
    """A step of a start. `seconds` is None while it goes on; `is_long` says that it may take more than a moment."""

    what: str
    seconds: float | None = None
    is_long: bool = False
    worker: int = 0


OnReady = Callable[[str, str, str], None]
OnPhase = Callable[[StartPhase], None]


class Assignment(msgspec.Struct, frozen=True, tag=True):
    """How all workers serve, which one this is, and the descriptor of their counts. Sent first, and once."""

    config: Config
    index: int
    counts: int


class OpenCommand(msgspec.Struct, frozen=True, tag=True):
    """Open the hub. `alone`: no other process serves the data."""

    alone: bool


class Ping(msgspec.Struct, frozen=True, tag=True):
    """Answer, if the event loop that serves goes round."""


class MetricsText(msgspec.Struct, frozen=True, tag=True):
    """The metrics of all workers as text: the answer to a MetricsReport that asks for them."""

    text: str


class DatabaseNotice(msgspec.Struct, frozen=True, tag=True):
    """The database is there, migrated, and so is the first token: others can open it."""


class ReadyNotice(msgspec.Struct, frozen=True, tag=True):
    """The worker has caught up and answers."""


class Pong(msgspec.Struct, frozen=True, tag=True):
    """The answer to Ping."""


class StartFailure(msgspec.Struct, frozen=True, tag=True):
    """The worker cannot start, as a google.rpc.Status."""

    status: bytes


class MetricSample(msgspec.Struct, frozen=True, array_like=True):
    """One line of a scrape: its name (that of a histogram with a suffix), labels and value."""

    name: str
    labels: dict[str, str]
    value: float


class MetricFamily(msgspec.Struct, frozen=True, array_like=True):
    """The lines of one metric of one process."""

    name: str
    samples: list[MetricSample]


class MetricsReport(msgspec.Struct, frozen=True, tag=True):
    """What the worker has counted. `is_asked_for`: somebody scrapes it, and it wants those of all."""

    families: list[MetricFamily]
    is_asked_for: bool = False


FromWorker = StartPhase | DatabaseNotice | ReadyNotice | StartFailure | Pong | MetricsReport
ToWorker = Assignment | OpenCommand | Ping | MetricsText

ENCODER: Final = msgspec.msgpack.Encoder()
TO_WORKER: Final = msgspec.msgpack.Decoder(ToWorker)
FROM_WORKER: Final = msgspec.msgpack.Decoder(FromWorker)
