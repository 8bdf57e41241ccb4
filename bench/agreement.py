"""How long it takes to say how far contributors agree, and in how much memory.

    python -m bench.agreement --items 1000000 --contributors 30 --each 4

Synthetic items with a truth; each contributor states some of them under a scheme of its own, some rightly, some not,
some only in part, each with an MD5 and a SHA-1 digest. The extract is written beforehand. Its reading and the figures
are measured in a process of their own, `--runs` times. `--each`: how many contributors state an item, on average.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench import result
from hashhub import schemes
from hashhub.model import EntryState
from hashhub.reconcile.agreement import compute
from hashhub.reconcile.columns import DIGEST_COLUMNS, bits_of
from hashhub.reconcile.extract import Extract, arrow
from hashhub.schemes.dimensions import DIMENSIONS
from hashhub.testing.extracts import ListedSet, write_tables

_ALGORITHMS: Final = {"MD5": 16, "SHA1": 20}
_BANDS: Final = ("0-2", "3-6", "7-10", "11-13", "14-15", "16-17")
_QUARTERS: Final = tuple(datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=91 * n) for n in range(8))
_RIGHT: Final = 0.85  # of what a contributor states


def write(directory: Path, items: int, contributors: int, each: float) -> int:
    """Write the extract and return how many entries it has."""
    random = np.random.default_rng(result.SEED)
    digests = {
        name: random.integers(0, 256, (items, size), np.uint8, endpoint=False) for name, size in _ALGORITHMS.items()
    }
    truth = {
        "age_band": random.integers(0, len(_BANDS), items),
        "act": random.integers(0, 8, items),
        "verdict": (random.random(items) < 0.1).astype(np.int64),
        "medium": (random.random(items) < 0.2).astype(np.int64),
    }
    registry = schemes.load().list()
    sets, tables, entries = [], {}, 0
    for number in range(contributors):
        scheme = registry[number % len(registry)]
        listed = ListedSet(name=f"c{number:02}/list", scheme=scheme.name)
        chosen = np.flatnonzero(random.random(items) < each / contributors)
        stated = {name: _stated(random, values[chosen]) for name, values in truth.items()}
        masks = {name: np.int64(1) << values for name, values in stated.items()}
        if number % 3 == 1:  # it tells children before puberty from others
            bits = bits_of("age_band")
            masks["age_band"] = np.where(stated["age_band"] < 3, bits["prepubescent"], bits["pubescent"])
        if number % 3 == 2:  # it states no age
            masks["age_band"] = np.zeros(len(chosen), np.int64)
        names = list(scheme.values)
        value = [names[n % len(names)] for n in stated["act"].tolist()]
        quarter = random.integers(0, len(_QUARTERS), len(chosen))
        tables[listed.name] = _table(listed, entries, chosen, digests, masks, value, quarter)
        sets.append(listed)
        entries += len(chosen)
    write_tables(directory, sets, tables)
    return entries


def _stated(random: np.random.Generator, truth: NDArray[np.int64]) -> NDArray[np.int64]:
    other = truth[random.permutation(len(truth))]
    return np.where(random.random(len(truth)) < _RIGHT, truth, other)


def _table(
    listed: ListedSet,
    before: int,
    chosen: NDArray[np.intp],
    digests: dict[str, NDArray[np.uint8]],
    masks: dict[str, NDArray[np.int64]],
    value: list[str],
    quarter: NDArray[np.int64],
) -> Any:
    pyarrow = arrow()

    count = len(chosen)

    def word(text: str) -> Any:
        return pyarrow.DictionaryArray.from_arrays(pyarrow.array(np.zeros(count, np.int32)), [text])

    parts = []
    for algorithm, digest in digests.items():
        columns = {
            "number": np.arange(before + 1, before + 1 + count),
            "hash_set": word(listed.name),
            "contributor": word(listed.contributor),
            "jurisdiction": word(listed.jurisdiction),
            "state": word(EntryState.ACTIVE.value),
            "algorithm": word(algorithm),
            "digest": pyarrow.array([row.tobytes() for row in digest[chosen]], pyarrow.binary()),
            "scheme": word(listed.scheme),
            "value": pyarrow.array(value).dictionary_encode(),
            "is_unclassified": np.zeros(count, np.bool_),
            "revision": np.full(count, 7),
            "create_time": pyarrow.array(_QUARTERS, pyarrow.timestamp("ms", "UTC")).take(pyarrow.array(quarter)),
            "stated_time": pyarrow.array(_QUARTERS, pyarrow.timestamp("ms", "UTC")).take(pyarrow.array(quarter)),
            **{f"d_{name}": masks.get(name, np.zeros(count, np.int64)) for name in DIMENSIONS},
            "d_legal_status": pyarrow.nulls(count, pyarrow.list_(pyarrow.string())),
        }
        parts.append(pyarrow.table({name: columns[name] for name in DIGEST_COLUMNS}))
    return pyarrow.concat_tables(parts).unify_dictionaries()


def measure(directory: Path) -> dict[str, Any]:
    """Compute it once in this process, and return what it cost."""
    at: list[tuple[float, str]] = []
    result.reset_peak()
    cpu, begun = time.process_time(), time.perf_counter()
    agreement = compute(
        Extract.open(directory),
        schemes.load(),
        progress=lambda _done, _all, what: at.append((time.perf_counter(), what)),
    )
    seconds = time.perf_counter() - begun
    steps = {what: round(later - earlier, 2) for (earlier, what), (later, _) in pairwise(at)}
    return {
        "seconds": seconds,
        "cpu_seconds": time.process_time() - cpu,
        "peak_mib": result.peak_mib(),
        "shared_items": agreement.items,
        "dimensions": len(agreement.dimensions),
        "confusions": len(agreement.confusions),
        "suggestions": len(agreement.suggestions),
        "steps": steps,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--contributors", type=int, default=30)
    parser.add_argument("--each", type=float, default=4.0, help="contributors of an item, on average (4)")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help="where to write the result; default: bench/results/agreement.json")
    options = parser.parse_args()
    if options.measure is not None:
        print(json.dumps(measure(options.measure)))
        return
    with tempfile.TemporaryDirectory(prefix="hashhub-bench-") as name:
        entries = write(Path(name), options.items, options.contributors, options.each)
        rows = []
        for run in range(options.runs):
            done = subprocess.run(
                [sys.executable, "-m", "bench.agreement", "--measure", name], capture_output=True, text=True, check=True
            )
            rows.append({"run": run, "entries": entries, **json.loads(done.stdout)})
            print(json.dumps(result.rounded(rows[-1])), flush=True)
    parameters = {"items": options.items, "contributors": options.contributors, "each": options.each}
    result.save("agreement", parameters, rows, out=options.out, packages=("numpy", "duckdb", "pyarrow"))


if __name__ == "__main__":
    main()
