"""What the parent of several workers, the template that they are forked from, and the workers say to each other.

    parent ── Serving, Fork, End ──► template            over the control socket, one message a packet
           ◄── Loaded, Ended ──

    parent ── Go, Scraped ──► worker                     over its line, a socket of its own
           ◄── Told, Opened, Ready, Failed, Counted ──

The end of a line towards a worker tells it to drain. The end of it towards the parent says that the worker has ended,
whatever has become of the template.
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
    """How all workers serve; the file of their counts comes beside it. The first message, and sent once."""

    config: Config


class Fork(msgspec.Struct, frozen=True, tag=True):
    """Fork this worker. Its end of the line comes beside the message."""

    index: int


class End(msgspec.Struct, frozen=True, tag=True):
    """Tell how the worker ended; kill it if it goes on for so many seconds."""

    index: int
    seconds: float


class Loaded(msgspec.Struct, frozen=True, tag=True):
    """The template is ready to fork."""


class Ended(msgspec.Struct, frozen=True, tag=True):
    """The worker's exit code; negative: the signal that ended it."""

    code: int


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
TO_TEMPLATE: Final = msgspec.msgpack.Decoder(Serving | Fork | End)
FROM_TEMPLATE: Final = msgspec.msgpack.Decoder(Loaded | Ended)
TO_WORKER: Final = msgspec.msgpack.Decoder(Go | Scraped)
FROM_WORKER: Final = msgspec.msgpack.Decoder(FromWorker)

MOST_BYTES: Final = 1 << 16
"""Bytes of the longest message to the template or from it."""


def hang_up(line: connection.Connection) -> None:
    """End the line towards its other side, which can go on sending. One that has ended already stays so."""
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(line.fileno())) as end:
        end.shutdown(socket.SHUT_WR)
