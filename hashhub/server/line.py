"""What the parent of several workers and a worker say to each other, over a socket for each worker.

    parent ── Serving, Go, Scraped ──► worker
           ◄── Told, Opened, Ready, Failed, Counted ──

The end of the line towards a worker tells it to drain; towards the parent it says that the worker has ended.
"""

from __future__ import annotations

import contextlib
import os
import socket
from multiprocessing import connection
from typing import Final

import msgspec

from hashhub.config import Config
from hashhub.server.app import Phase


class Serving(msgspec.Struct, frozen=True, tag=True):
    """How all workers serve, which one this is, and the descriptor of their counts. Sent first, and once."""

    config: Config
    index: int
    counts: int


class Go(msgspec.Struct, frozen=True, tag=True):
    """Open the hub. `alone`: no other process serves the data."""

    alone: bool


class Scraped(msgspec.Struct, frozen=True, tag=True):
    """The metrics of all workers as text: the answer to a Counted that asks for them."""

    text: str


class Told(msgspec.Struct, frozen=True, tag=True):
    """A step of the worker's start begins or ends."""

    phase: Phase


class Opened(msgspec.Struct, frozen=True, tag=True):
    """The database is there, migrated, and so is the first token: others can open it."""


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The worker has caught up and answers."""


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The worker cannot start, as a google.rpc.Status."""

    status: bytes


class Sample(msgspec.Struct, frozen=True, array_like=True):
    """One line of a scrape: its name (that of a histogram with a suffix), labels and value."""

    name: str
    labels: dict[str, str]
    value: float


class Family(msgspec.Struct, frozen=True, array_like=True):
    """The lines of one metric of one process."""

    name: str
    samples: list[Sample]


class Counted(msgspec.Struct, frozen=True, tag=True):
    """What the worker has counted. `is_asked_for`: somebody scrapes it, and it wants those of all."""

    families: list[Family]
    is_asked_for: bool = False


FromWorker = Told | Opened | Ready | Failed | Counted

ENCODER: Final = msgspec.msgpack.Encoder()
TO_WORKER: Final = msgspec.msgpack.Decoder(Serving | Go | Scraped)
FROM_WORKER: Final = msgspec.msgpack.Decoder(FromWorker)


def hang_up(line: connection.Connection) -> None:
    """End the line towards its other side, which can go on sending. One that has ended already stays so."""
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(line.fileno())) as end:
        end.shutdown(socket.SHUT_WR)
