"""What a test run that is killed leaves behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil

_RUN = """
import tempfile, time
from tests.leftovers import clean_up_after_this_process
clean_up_after_this_process()
from tests.conftest import PostgreSQL
server = PostgreSQL()
print(tempfile.gettempdir(), flush=True)
time.sleep(600)
"""


def test_a_killed_run_leaves_no_server_and_no_directory() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _RUN],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as run:
        assert run.stdout is not None
        directory = Path(run.stdout.readline().strip())
        [pid_file] = directory.glob("*/postmaster.pid")
        server = int(pid_file.read_text().split()[0])
        assert psutil.pid_exists(server)
        run.kill()
    until = time.monotonic() + 60
    while directory.exists() or psutil.pid_exists(server):
        assert time.monotonic() < until
        time.sleep(0.1)
