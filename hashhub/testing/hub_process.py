"""A real hub, or sidecar, for demonstrations, tests and measurements: processes on free ports.

with running_hub(directory) as hub, Client(hub.address, hub.token) as client:
    client.status()
with running_sidecar(directory / "hook.toml") as sidecar:
    urllib.request.urlopen(f"{sidecar.url}/healthz")
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
_STOP_SECONDS: Final = 40.0  # more than the default drain, and than `sidecar.end_seconds`


@contextmanager
def serving(
    what: str,
    log: Path,
    command: Sequence[str],
    environment: Mapping[str, str],
) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """Run a serving command of `hashhub`; give its process and first line of JSON. Raises Unavailable with its last log
    line.
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
                process.wait(timeout=_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


class RunningHub(msgspec.Struct, frozen=True, kw_only=True):
    """Where a running hub is (`certificates`: for callers with one), its operator's token, its data and its process."""

    address: str
    http: str
    certificates: str
    token: str
    token_file: Path
    data: Path
    pid: int


@contextmanager
def running_hub(data: Path, *arguments: str) -> Iterator[RunningHub]:
    """Start a hub over `data`, on free ports unless the arguments of `hashhub serve` name others; stop it at the end.
    Its log is `data`/hub.log. Raises Unavailable with the last line of it when it does not start.
    """
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    command = ["serve", "--json", "--data", str(data), "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", *arguments]
    # The caller's own hub must not be meant by accident.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HASHHUB_")}
    with serving("hub", data / "hub.log", command, environment) as (process, ready):
        token_file = data / "operator.token"
        yield RunningHub(
            address=ready["listen"],
            http=ready["http"],
            certificates=ready["listen_certificates"],
            token=token_file.read_text("ascii").strip(),
            token_file=token_file,
            data=data,
            pid=process.pid,
        )


class RunningSidecar(msgspec.Struct, frozen=True, kw_only=True):
    """Where a running sidecar is, its process, and the file with its log."""

    url: str
    pid: int
    log: Path


@contextmanager
def running_sidecar(
    settings_file: Path, *arguments: str, environment: Mapping[str, str] | None = None
) -> Iterator[RunningSidecar]:
    """Start a sidecar on a free port; stop it at the end. Its log is `sidecar.log` beside the settings. Raises
    Unavailable with the last line of it when it does not start.
    """
    log = settings_file.parent / "sidecar.log"
    command = ["hook", "serve", "--json", "--settings", str(settings_file), "--listen", "127.0.0.1:0", *arguments]
    others = {k: v for k, v in os.environ.items() if not k.startswith("HASHHUB_HOOK_")}
    given = {**others, **(environment or {})}
    with serving("sidecar", log, command, given) as (process, ready):
        yield RunningSidecar(url=f"http://{ready['listen']}", pid=process.pid, log=log)
