"""This engine beside the others: the same digests, the same queries, one run.

    python -m bench.matchers --n 1000000 --max-distance 31 --engines hashhub,faiss-flat --workloads uniform,pdq

Each engine runs in a process of its own. Latencies are of single calls with one query each, on one thread; queries a
second are of one call with all queries, on one thread and on all. Building uses all cores. Recall is against a
comparison with every digest by code that shares nothing with any engine; four queries of five are about nothing stored,
the others are near a stored digest, half of them at the very radius.

`memory_mib` is what the process's resident memory grew by once the digests themselves were freed, mapped pages
included; `disk_bytes` what the saved index takes on disk. An engine that takes more memory than was free, or longer
than --timeout, is stopped, and its row says so.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench import result, workloads
from bench.engines import ENGINES, Engine, Unsupported

_CORES: Final = len(os.sched_getaffinity(0))
_CHANGES: Final = 20  # digests added and withdrawn one by one
_SLOW: Final = 0.5  # seconds; what takes longer is measured once
_BUDGET: Final = 60.0  # seconds for the latencies of one engine at one radius
_SPARE_MIB: Final = 1024.0  # memory that no engine may take, so that the machine does not choose what to kill


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", default="100000", help="digests, comma-separated (100000)")
    parser.add_argument("--max-distance", default="31", help="radii, comma-separated (31); for phash up to 10 is usual")
    parser.add_argument("--engines", default=",".join(ENGINES), help=f"which of {','.join(ENGINES)} (all)")
    parser.add_argument("--workloads", default="uniform", help=f"which of {','.join(workloads.WORKLOADS)} (uniform)")
    parser.add_argument("--queries", type=int, default=1000, help="queries (1000)")
    parser.add_argument("--timeout", type=float, default=900.0, help="seconds for one engine, building included (900)")
    parser.add_argument("--scratch", type=Path, help="directory for digests and indexes; default: a temporary one")
    parser.add_argument("--name", default="", help="name of the result; default: matchers-WORKLOAD-N")
    parser.add_argument("--out", type=Path, help="directory for the results; default: bench/results")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(_measure(options.one, options.scratch, _numbers(options.max_distance))))
        return
    for kind in options.workloads.split(","):
        for n in _numbers(options.n):
            _compare(kind, n, options)


def _numbers(text: str) -> list[int]:
    return [int(part.replace("_", "")) for part in text.split(",")]


def _compare(kind: str, n: int, options: argparse.Namespace) -> None:
    radii = _numbers(options.max_distance)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="hashhub-bench-", dir=options.scratch) as name:
        directory = Path(name)
        made = workloads.make(kind, n, options.queries, radii, result.SEED)
        facts = made.facts
        workloads.save(made, radii, directory)
        del made
        for engine in options.engines.split(","):
            found = _in_own_process(engine, directory, options)
            rows += [{"workload": kind, "n": n, "engine": engine, **row} for row in found]
            result.show(
                rows[-len(found) :],
                ("workload", "n", "engine", "max_distance", "recall", "wrong", "p50_us", "p99_us", "qps_one", "qps_all",
                 "build_s", "memory_mib", "disk_bytes", "add_ms", "withdraw_ms", "open_ms", "failed"),
            )  # fmt: skip
    name = options.name or f"matchers-{kind}-{n}"
    packages = ("numpy", "numba", "faiss-cpu", "threatexchange", "pynear", "usearch")
    parameters = {"queries": options.queries, "cores": _CORES, "workload": facts}
    result.save(name, parameters, rows, out=options.out and options.out / f"{name}.json", packages=packages)


def _in_own_process(engine: str, directory: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "bench.matchers", "--one", engine, "--scratch", str(directory)]
    command += ["--max-distance", options.max_distance]
    most = _available_mib() - _SPARE_MIB
    deadline = time.monotonic() + options.timeout
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        while True:
            try:
                out, err = run.communicate(timeout=0.1)
                break
            except subprocess.TimeoutExpired:
                pass
            taken = result.resident_mib(run.pid)
            if taken > most:
                run.kill()
                told = f"it took {taken / 1024:.1f} GiB of memory, and {most / 1024:.1f} GiB were free"
                return [{"failed": f"stopped: {told}"}]
            if time.monotonic() > deadline:
                run.kill()
                return [{"failed": f"stopped: not done after {options.timeout:g} s"}]
    if run.returncode:
        said = err.strip().splitlines()
        return [{"failed": said[-1][:200] if said else f"ended with code {run.returncode}"}]
    found: list[dict[str, Any]] = json.loads(out.strip().splitlines()[-1])
    return found


def _available_mib() -> float:
    """Return the memory that a process can have without swapping (Linux: proc(5), meminfo)."""
    lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("MemAvailable:"))


def _measure(name: str, directory: Path, radii: list[int]) -> list[dict[str, Any]]:
    """Measure one engine over what `workloads.save` left in `directory`."""
    own = directory / name
    own.mkdir()
    queries: NDArray[np.uint8] = np.load(directory / "queries.npy")
    mapped: NDArray[np.uint8] = np.load(directory / "base.npy", mmap_mode="r")
    engine = ENGINES[name](8 * queries.shape[1])
    try:
        _warm(engine, own, queries, radii[0])
    except Unsupported:
        return [{"failed": "knows no digests of this width or no such distance"}]
    engine = ENGINES[name](8 * queries.shape[1])
    before = _settled_mib()
    base = np.load(directory / "base.npy")
    result.reset_peak()
    start = time.perf_counter()
    engine.build(base, own, _CORES)
    build = time.perf_counter() - start
    peak = result.peak_mib()
    del base
    shared: dict[str, Any] = {"build_s": build, "build_peak_mib": peak - before}
    rows = []
    for radius in radii:
        with np.load(directory / f"truth-{radius}.npz") as truth:
            lims, expected = truth["lims"], truth["rows"]
        rows.append({"max_distance": radius, **_searches(engine, queries, radius, mapped, lims, expected)})
    shared["memory_mib"] = _settled_mib() - before
    shared |= _changes(engine, mapped)
    shared["open_ms"] = _opening(engine, own, queries, radii[0])
    shared["disk_bytes"] = _file_bytes(own) if shared["open_ms"] is not None else None
    engine.close()
    return [{**row, **shared} for row in rows]


def _warm(engine: Engine, own: Path, queries: NDArray[np.uint8], radius: int) -> None:
    """Load and compile what the engine needs, on a few digests, so that it counts neither as building nor as memory."""
    few = own / "few"
    few.mkdir()
    random = np.random.default_rng(0).integers(0, 256, (20_000, queries.shape[1]), np.uint8)
    engine.build(random, few, 1)
    engine.search(queries[:70], radius)
    engine.close()
    shutil.rmtree(few)


def _settled_mib() -> float:
    """Return the resident memory after giving back what is free."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return result.resident_mib()


def _searches(
    engine: Engine,
    queries: NDArray[np.uint8],
    radius: int,
    base: NDArray[np.uint8],
    lims: NDArray[np.int64],
    expected: NDArray[np.int64],
) -> dict[str, Any]:
    with contextlib.suppress(Unsupported):
        engine.use_threads(1)
    try:
        # The first call of all takes much longer than others: what it touches is not in memory yet.
        once = min(result.timed(lambda: engine.search(queries[:1], radius)) for _ in range(3))
    except Unsupported:
        return {"failed": "no such distance"}
    asked = queries[: max(30, min(len(queries), int(_BUDGET / 6 / max(once, 1e-9))))]
    answer = engine.search(asked, radius)
    found = engine.found(answer, radius, base)
    right = wrong = 0
    for i, digests in enumerate(found):
        wanted = {row.tobytes() for row in base[expected[lims[i] : lims[i + 1]]]}
        got = {row.tobytes() for row in digests}
        right += len(wanted & got)
        wrong += len(got - wanted)
    total = int(lims[len(asked)])
    del answer, found
    singles = [np.ascontiguousarray(asked[i : i + 1]) for i in range(len(asked))]
    _settle()
    times: list[float] = []
    started = time.perf_counter()
    passes = 0
    while passes < 5 and (not passes or time.perf_counter() - started < _BUDGET / 5):
        for single in singles:
            start = time.perf_counter()
            engine.search(single, radius)
            times.append(time.perf_counter() - start)
        passes += 1
    one = _rate(engine, asked, radius)
    every = one
    with contextlib.suppress(Unsupported):
        engine.use_threads(_CORES)
        every = _rate(engine, asked, radius)
        engine.use_threads(1)
    return {
        "queries": len(asked),
        "matches": total,
        "recall": right / total if total else 1.0,
        "wrong": wrong,
        **result.percentiles(times),
        "qps_one": one,
        "qps_all": every,
    }


def _settle() -> None:
    """Wait, a minute at most, until nothing goes on in the background of this process: an opened index may still be
    mapping its pages.
    """
    for _ in range(1200):
        before = time.process_time()
        time.sleep(0.05)
        if time.process_time() - before < 0.005:
            return


def _file_bytes(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def _rate(engine: Engine, queries: NDArray[np.uint8], radius: int) -> float:
    """Return the queries answered in a second, in batches: the best of three calls."""
    first = result.timed(lambda: engine.search(queries, radius))
    again = 2 if first < _BUDGET / 10 else 0
    return len(queries) / min([first, *(result.timed(lambda: engine.search(queries, radius)) for _ in range(again))])


def _changes(engine: Engine, base: NDArray[np.uint8]) -> dict[str, float | None]:
    """Time adding and withdrawing one digest, until a search would see it."""
    rng = np.random.default_rng(1)
    fresh = rng.integers(0, 256, (_CHANGES, base.shape[1]), np.uint8)
    old = rng.choice(len(base), _CHANGES, replace=False)
    digests = np.array(base[old])  # not while the clock runs: they come from a file
    withdrawn = _each(lambda i: engine.withdraw(int(old[i]), digests[i]))
    added = _each(lambda i: engine.add(fresh[i]))
    return {"add_ms": added, "withdraw_ms": withdrawn}


def _each(change: Callable[[int], None]) -> float | None:
    times = []
    try:
        for i in range(_CHANGES):
            times.append(result.timed(lambda: change(i)))  # noqa: B023 - called at once
            if times[0] > _SLOW:
                break
    except Unsupported:
        return None
    return float(np.median(times)) * 1e3


def _opening(engine: Engine, own: Path, queries: NDArray[np.uint8], radius: int) -> float | None:
    """Time opening an index that exists, until its first answer."""
    try:
        engine.save(own)
    except Unsupported:
        return None
    times = []
    for _ in range(3):
        engine.close()
        start = time.perf_counter()
        engine.open(own)
        times.append(time.perf_counter() - start)
        engine.search(queries[:1], radius)
    return float(np.median(times)) * 1e3


if __name__ == "__main__":
    main()
