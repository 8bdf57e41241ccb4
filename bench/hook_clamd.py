"""What the clamd door adds to the real clamd, for 2-megapixel JPEGs that nobody knows.

    python -m bench.hook_clamd --pictures 30

Each picture goes, in turn, to the real clamd; to a door with no clamd behind it; and to a door before the real clamd:
one client, one connection a picture, a real hub and all processes on the same machine. `cpu_ms` is the processor time
of the door and its children, `clamd_cpu_ms` the real clamd's. The real clamd has one signature: with ClamAV's own it
takes longer, and the ratio is lower. Its cache is off, or it would scan each picture the first time only.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench import result
from hashhub.client import Client
from hashhub.model import Contributor, ContributorKind, Principal, Role
from hashhub.testing.hub_process import running_hub
from hashhub.testing.pictures import picture

_SIZE: Final = (1732, 1155)  # 2 megapixels
_PIECE: Final = 1 << 16
_SETTINGS: Final = """
policy = "block"
[without_answer]
hub_away = "hold"
unreadable = "hold"
too_large = "hold"
no_perceptual_hash = "allow"
"""


def scan(path: str, content: bytes) -> str:
    """Return what is answered to a stream."""
    with socket.socket(socket.AF_UNIX) as connected:
        connected.connect(path)
        connected.sendall(b"zINSTREAM\0")
        for i in range(0, len(content), _PIECE):
            piece = content[i : i + _PIECE]
            connected.sendall(struct.pack("!L", len(piece)) + piece)
        connected.sendall(bytes(4))
        return connected.makefile("rb").read().rstrip(b"\0").decode()


@contextmanager
def real_clamd(directory: Path, path: Path | None = None) -> Iterator[tuple[str, int]]:
    """Run the real clamd with one signature, and yield its socket (`path`, or one in the directory) and its process."""
    program = shutil.which("clamd", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        raise SystemExit("clamd is not installed: apt-get install clamav-daemon")
    path = path or directory / "clamd.sock"
    (directory / "db").mkdir()
    (directory / "db" / "one.ndb").write_text(f"Hashhub.Test.Harmless:0:*:{b'HASHHUB-HARMLESS-TEST-STRING'.hex()}\n")
    (directory / "clamd.conf").write_text(
        f"LocalSocket {path}\nDatabaseDirectory {directory / 'db'}\nTemporaryDirectory {directory}\nForeground yes\n"
        "DisableCache yes\n"
    )
    command = [program, "--config-file", str(directory / "clamd.conf")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            for _ in range(600):
                with suppress(OSError):
                    scan(str(path), b"x")
                    break
                time.sleep(0.1)
            yield str(path), process.pid
        finally:
            process.kill()


@contextmanager
def door(directory: Path, name: str, chained: str, environment: dict[str, str]) -> Iterator[tuple[str, int]]:
    """Run `hashhub hook clamd`, and yield its socket and its process."""
    path = directory / f"{name}.sock"
    given = {
        **environment,
        "HASHHUB_HOOK_DATA": str(directory / name),
        "HASHHUB_HOOK_CLAMD_LISTEN": "",
        "HASHHUB_HOOK_CLAMD_SOCKET": str(path),
        "HASHHUB_HOOK_CLAMD_CHAINED": chained,
        "HASHHUB_HOOK_CLAMD_WITHOUT_CLAMD": "error",
    }
    command = [sys.executable, "-m", "hashhub.cli", "hook", "clamd", "--settings", str(directory / "hook.toml")]
    with (
        (directory / f"{name}.log").open("wb") as log,
        subprocess.Popen([*command, "--json"], stdout=subprocess.PIPE, stderr=log, env=given) as process,
    ):
        try:
            assert process.stdout is not None
            json.loads(process.stdout.readline())
            yield str(path), process.pid
        finally:
            process.terminate()


def cpu_of(pid: int) -> float:
    """Return the processor time of a process and its descendants."""
    return sum(result.cpu_seconds(member) for member in result.family(pid))


def measure(pictures: int, directory: Path) -> list[dict[str, Any]]:
    """Send the same pictures each way."""
    (directory / "hook.toml").write_text(_SETTINGS)
    contents = []
    for i in range(pictures + 1):
        out = io.BytesIO()
        picture(1000 + i, _SIZE).save(out, "JPEG", quality=90)
        contents.append(out.getvalue())
    with running_hub(directory / "hub") as hub, Client(hub.address, hub.token) as client:
        client.create_contributor(
            Contributor(id="app", display_name="App", kind=ContributorKind.PLATFORM, jurisdiction="IE")
        )
        (directory / "hook.token").write_text(
            client.create_token(Principal(name="app-hook", role=Role.CONSUMER, contributor="app"))
        )
        environment = {
            **os.environ,
            "HASHHUB_HOOK_HUB": hub.address,
            "HASHHUB_HOOK_TOKEN_FILE": str(directory / "hook.token"),
            "HASHHUB_HOOK_ANSWER_SECONDS": "20",
            "HASHHUB_HOOK_MEDIA_SECONDS": "60",
        }
        with (
            real_clamd(directory) as (real, clamd_pid),
            door(directory, "alone", "none", environment) as (alone, alone_pid),
            door(directory, "before", real, environment) as (before, before_pid),
        ):
            ways = {
                "clamd alone": (real, clamd_pid),
                "door alone": (alone, alone_pid),
                "door before clamd": (before, before_pid),
            }
            seconds: dict[str, list[float]] = {way: [] for way in ways}
            cpu = dict.fromkeys(ways, 0.0)
            clamd_cpu = dict.fromkeys(ways, 0.0)
            for i, content in enumerate(contents):
                for way, (path, pid) in ways.items():
                    used, clamd_used = cpu_of(pid), cpu_of(clamd_pid)
                    begun = time.perf_counter()
                    answer = scan(path, content)
                    took = time.perf_counter() - begun
                    assert answer == "stream: OK", (way, answer)
                    if i:  # the first one starts the processes that hash
                        seconds[way].append(took)
                        cpu[way] += cpu_of(pid) - used
                        clamd_cpu[way] += cpu_of(clamd_pid) - clamd_used
    real_p50 = float(np.median(seconds["clamd alone"]))
    return [
        {
            "way": way,
            "kilobytes": sum(map(len, contents[1:])) / pictures / 1000,
            "p50_ms": float(np.median(seconds[way])) * 1e3,
            "times_clamd_alone": float(np.median(seconds[way])) / real_p50,
            "cpu_ms": 0.0 if way == "clamd alone" else cpu[way] / pictures * 1e3,
            "clamd_cpu_ms": clamd_cpu[way] / pictures * 1e3,
        }
        for way in ways
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=30, help="pictures to send (30)")
    parser.add_argument("--out", type=Path, help="where to write the result; default: bench/results/hook-clamd.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hashhub-bench-") as name:
        rows = measure(options.pictures, Path(name))
    result.show(rows)
    result.save("hook-clamd", {"pictures": options.pictures}, rows, out=options.out, packages=("pillow", "numba"))


if __name__ == "__main__":
    main()
