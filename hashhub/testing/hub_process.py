"""A real hub for demonstrations and tests: `hashhub serve` as a process of its own, on free ports of this machine.

with running_hub(directory) as hub, Client(hub.address, hub.token) as client:
    client.status()
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from hashhub.errors import Unavailable

PROGRAM: Final = (sys.executable, "-m", "hashhub.cli")
_STOP_SECONDS: Final = 20.0  # more than the default drain


@contextmanager
def serving(
    what: str, log: Path, command: Sequence[str], environment: Mapping[str, str], *, stop_seconds: float
) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """Run a command of `hashhub` that serves; give its process and what it says once it is ready, and stop it at the
    end. Raises Unavailable with the last line of its log when it does not start.
    """
    with (
        log.open("ab") as errors,
        subprocess.Popen(  # noqa: S603 - our own command
            [*PROGRAM, *command], stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
        ) as process,
    ):
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                said = log.read_text("utf-8", "replace").strip().splitlines()
                raise Unavailable(f"the {what} did not start: {said[-1] if said else 'it said nothing'}")
            yield process, json.loads(line)
        finally:
            process.terminate()
            try:
                process.wait(timeout=stop_seconds)
            except subprocess.TimeoutExpired:
                process.kill()


class RunningHub(msgspec.Struct, frozen=True, kw_only=True):
    """Where a running hub is, its operator's token, its data directory and its process."""

    address: str
    http: str
    token: str
    token_file: Path
    data: Path
    pid: int


@contextmanager
def running_hub(data: Path, *arguments: str) -> Iterator[RunningHub]:
    """Start a hub over `data`, with further arguments of `hashhub serve`; stop it at the end.

    Ports are free ones unless the arguments say otherwise. What the hub logs goes to `hub.log` in `data`. Raises
    Unavailable with the last line of the log when it does not start.
    """
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    command = ["serve", "--json", "--data", str(data), "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", *arguments]
    # The caller's own hub must not be meant by accident.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HASHHUB_")}
    with serving("hub", data / "hub.log", command, environment, stop_seconds=_STOP_SECONDS) as (process, ready):
        token_file = data / "operator.token"
        yield RunningHub(
            address=ready["listen"],
            http=ready["http"],
            token=token_file.read_text("ascii").strip(),
            token_file=token_file,
            data=data,
            pid=process.pid,
        )
