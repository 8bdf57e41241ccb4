"""A real sidecar for demonstrations, tests and measurements: `hashhub hook serve` as a process of its own.

with running_sidecar(directory / "hook.toml") as sidecar:
    urllib.request.urlopen(f"{sidecar.url}/healthz")
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from hashhub.errors import Unavailable

_PROGRAM: Final = (sys.executable, "-m", "hashhub.cli")
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
    command = [*_PROGRAM, "hook", "serve", "--json", "--settings", str(settings_file)]
    command += ["--listen", "127.0.0.1:0", *arguments]
    others = {k: v for k, v in os.environ.items() if not k.startswith("HASHHUB_HOOK_")}
    with (
        log.open("ab") as errors,
        subprocess.Popen(  # noqa: S603 - our own command
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env={**others, **(environment or {})}
        ) as process,
    ):
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                said = log.read_text("utf-8", "replace").strip().splitlines()
                raise Unavailable(f"the sidecar did not start: {said[-1] if said else 'it said nothing'}")
            yield RunningSidecar(url=f"http://{json.loads(line)['listen']}", pid=process.pid, log=log)
        finally:
            process.terminate()
            try:
                process.wait(timeout=_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
