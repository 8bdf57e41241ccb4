"""Measure what is promised, and print each figure beside its target: `make bench`, or `python -m bench`.

    python -m bench                 at full size, for a machine that has nothing else to do: a quarter of an hour
    python -m bench --quick         small sizes, two minutes: shows that all of it runs; its figures say little
    python -m bench --from DIR      only the table, of results that are there
    python -m bench --json          the table as JSON, too, on the last line

Results are in bench/results, with --quick in bench/data/quick, and the table beside them as promises.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench import result

_ROOT: Final = Path(__file__).parent.parent
_QUICK: Final = result.DATA / "quick"

Row = dict[str, Any]


class Promise(NamedTuple):
    """A figure that is promised. `of` takes it from the rows of a result."""

    name: str
    result: str
    of: Callable[[list[Row]], float]
    target: float
    at_most: bool = True

    def is_kept(self, value: float) -> bool:
        return value <= self.target if self.at_most else value >= self.target


def _ours(rows: list[Row]) -> Row:
    return next(row for row in rows if row["engine"] == "hashhub" and row["max_distance"] == 31)


def _times(rows: list[Row], engine: str = "") -> float:
    """Return how many times our time an engine takes: this one, or the fastest of those that find everything."""
    peers = [row for row in rows if row.get("recall") == 1 and row["max_distance"] == 31 and row["engine"] != "hashhub"]
    fastest: float = min(row["p50_us"] for row in peers if not engine or row["engine"] == engine)
    return fastest / float(_ours(rows)["p50_us"])


def _calls(kind: str) -> Callable[[list[Row]], float]:
    return lambda rows: max(row["calls_per_second"] for row in rows if row.get("calls") == kind and not row["offered"])


def _most(rows: list[Row], figure: str) -> float:
    return max(float(row[figure]) for row in rows)


def _step(rows: list[Row], step: str) -> Row:
    return next(row for row in rows if row["step"] == step)


def _sqlite(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row["database"] == "sqlite"]


def _update(rows: list[Row]) -> float:
    return max(
        float(_step(of, "half changed")["seconds"] / _step(of, "import")["seconds"])
        for of in ([row for row in rows if row["database"] == kind] for kind in {row["database"] for row in rows})
    )


def _of_pdqhash(rows: list[Row]) -> float:
    return max(float(row["of_pdqhash"]) for row in rows if row["step"].startswith("file: PDQ"))


PROMISES: Final = (
    Promise("matcher, 1 M digests: p50 of a query, µs", "matchers", lambda r: _ours(r)["p50_us"], 30),
    Promise("p99 / p50", "matchers", lambda r: _ours(r)["p99_us"] / _ours(r)["p50_us"], 3),
    Promise("recall", "matchers", lambda r: _ours(r)["recall"], 1, at_most=False),
    Promise("times faster than FAISS", "matchers", lambda r: _times(r, "faiss-flat"), 35, at_most=False),
    Promise("than the fastest exact peer", "matchers", _times, 10, at_most=False),
    Promise("build, s", "matchers", lambda r: _ours(r)["build_s"], 1),
    Promise("open a snapshot, ms", "matchers", lambda r: _ours(r)["open_ms"], 50),
    Promise("add one, ms", "matchers", lambda r: _ours(r)["add_ms"], 1),
    Promise("withdraw one, ms", "matchers", lambda r: _ours(r)["withdraw_ms"], 1),
    Promise("single lookups a second by Connect, 1 M, two workers", "door", _calls("connect"), 10_000, at_most=False),
    Promise("by plain JSON", "door", _calls("json"), 6_000, at_most=False),
    Promise(
        "entries a second by ThreatExchange's feed", "door", _calls("threatexchange, entries"), 20_000, at_most=False
    ),
    Promise("by TAXII's", "door", _calls("taxii, entries"), 3_000, at_most=False),
    Promise("written into a MISP feed", "door", _calls("misp, entries"), 3_000, at_most=False),
    Promise(
        "entries a second, imported",
        "imports",
        lambda r: _step(_sqlite(r), "import")["entries_per_second"],
        40_000,
        at_most=False,
    ),
    Promise("times an import's time: a list with half changed", "imports", _update, 1.5),
    Promise(
        "p99 of lookups meanwhile, ms",
        "imports",
        lambda r: max(row["lookup_p99_ms"] for row in r if "lookup_p99_ms" in row),
        25,
    ),
    Promise(
        "s until a killed hub is ready",
        "imports",
        lambda r: max(row["ready_seconds"] for row in r if "ready_seconds" in row),
        5,
    ),
    Promise("of pdqhash's time: hashing a picture", "hashing", _of_pdqhash, 0.6),
    Promise("ms of the hook itself, an upload", "hook_asgi", lambda r: r[0]["rest_ms"], 5),
    Promise("µs to know who calls, a warm call", "access", lambda r: max(row["added_us"] for row in r), 50),
    Promise("ms to the first byte of the console's slowest page", "console", lambda r: _most(r, "first_byte_ms"), 100),
    Promise("kB of its largest page", "console", lambda r: _most(r, "kilobytes"), 50),
)


def steps(out: Path, *, is_quick: bool) -> list[list[str]]:
    """Return the benchmarks that the promises need, each after `python -m`."""
    if is_quick:
        return [
            ["bench.matchers", "--n", "100000", "--queries", "200", "--engines", "hashhub,faiss-flat",
             "--name", "matchers", "--out", str(out)],
            ["bench.door", "--entries", "100000", "--seconds", "1", "--out", str(out / "door.json")],
            ["bench.imports", "--entries", "20000", "--databases", "sqlite", "--out", str(out / "imports.json")],
            ["bench.hashing", "--small", "--rounds", "3", "--out", str(out / "hashing.json")],
            ["bench.hook_asgi", "--count", "10", "--out", str(out / "hook_asgi.json")],
            ["bench.access", "--calls", "500", "--proofs", "5", "--out", str(out / "access.json")],
            ["bench.console", "--entries", "3000", "--conflicts", "300", "--rounds", "2",
             "--out", str(out / "console.json")],
        ]  # fmt: skip
    return [
        ["bench.matchers", "--n", "1000000", "--name", "matchers", "--out", str(out)],
        ["bench.door", "--entries", "1000000", "--out", str(out / "door.json")],
        ["bench.imports", "--entries", "1000000", "--out", str(out / "imports.json")],
        ["bench.hashing", "--out", str(out / "hashing.json")],
        ["bench.hook_asgi", "--out", str(out / "hook_asgi.json")],
        ["bench.access", "--out", str(out / "access.json")],
        ["bench.console", "--out", str(out / "console.json")],
    ]


def figures(directory: Path) -> list[Row]:
    """Return each promise beside what the results in a directory say; `measured` is None where they say nothing."""
    told = []
    for promise in PROMISES:
        path = directory / f"{promise.result}.json"
        try:
            value: float | None = promise.of(json.loads(path.read_text("utf-8"))["rows"] if path.exists() else [])
        except (StopIteration, ValueError, IndexError, KeyError):
            value = None
        told.append(
            {
                "promise": promise.name,
                "target": f"{'≤' if promise.at_most else '≥'} {promise.target:,g}",
                "measured": None if value is None else float(f"{value:.4g}"),
                "kept": None if value is None else promise.is_kept(value),
            }
        )
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes; results go to bench/data/quick")
    parser.add_argument("--from", dest="directory", type=Path, help="print the table of these results, run nothing")
    parser.add_argument("--json", action="store_true", help="print the table as JSON, too")
    options = parser.parse_args()
    out = options.directory or (_QUICK if options.quick else result.RESULTS)
    if options.directory is None:
        begin = time.monotonic()
        for step in steps(out, is_quick=options.quick):
            print(f"\n[{time.monotonic() - begin:.0f} s] python -m {' '.join(step)}", flush=True)
            done = subprocess.run([sys.executable, "-m", *step], cwd=_ROOT, check=False)
            if done.returncode:
                print(f"{step[0]} failed; its figures are missing", flush=True)
        print()
    told = figures(out)
    result.show(told)
    (out / "promises.json").write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", "utf-8")
    if options.json:
        print(json.dumps(told))


if __name__ == "__main__":
    main()
