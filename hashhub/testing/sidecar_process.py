"""A real sidecar for demonstrations, tests and measurements: `hashhub hook serve` as a process of its own.

with running_sidecar(directory / "hook.toml") as sidecar:
    urllib.request.urlopen(f"{sidecar.url}/healthz")
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from hashhub.testing.hub_process import serving

_STOP_SECONDS: Final = 40.0  # more than `sidecar.end_seconds`


class RunningSidecar(msgspec.Struct, frozen=True, kw_only=True):
    """Where a running sidecar is, its process, and the file with its log."""

    url: str
    pid: int
    log: Path


@contextmanager
def running_sidecar(
    settings_file: Path, *arguments: str, environment: Mapping[str, str] | None = None
) -> Iterator[RunningSidecar]:
    """Start a sidecar on a free port of this machine; stop it at the end.

    What it logs goes to `sidecar.log` beside the settings. Raises Unavailable with the log's last line when it does not
    start.
    """
    log = settings_file.parent / "sidecar.log"
    command = ["hook", "serve", "--json", "--settings", str(settings_file), "--listen", "127.0.0.1:0", *arguments]
    others = {k: v for k, v in os.environ.items() if not k.startswith("HASHHUB_HOOK_")}
    given = {**others, **(environment or {})}
    with serving("sidecar", log, command, given, stop_seconds=_STOP_SECONDS) as (process, ready):
        yield RunningSidecar(url=f"http://{ready['listen']}", pid=process.pid, log=log)
