"""Every benchmark, one after the other: `make bench`, or `python -m bench`.

Without options at full size, which renews bench/results, the page and its charts: for a machine that has nothing else
to do. With --quick everything is small, and results, page and charts go to bench/data/quick, beside nothing that is
committed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from bench import result

_ROOT: Final = Path(__file__).parent.parent
_MICRO: Final = ["pytest", "bench/micro", "-q", "-p", "no:randomly", "--benchmark-columns=min,median,ops"]
QUICK: Final = result.DATA / "quick"


def full() -> list[list[str]]:
    """Return the commands at full size, each after `python -m`."""
    return [
        ["bench.reference_hashes"],
        ["bench.identity"],
        ["bench.hashing"],
        ["bench.pictures"],
        ["bench.matchers", "--n", "1000000,10000000"],
        ["bench.matchers", "--n", "100000000", "--engines", "hashhub,faiss-flat", "--queries", "300",
         "--timeout", "3600"],
        ["bench.matchers", "--n", "1000000,10000000", "--workloads", "pdq,clustered", "--max-distance", "0,8,16,24,31",
         "--engines", "hashhub"],
        ["bench.matchers", "--n", "1000000", "--workloads", "phash", "--max-distance", "0,4,8,10",
         "--engines", "hashhub,faiss-flat"],
        ["bench.imports", "--entries", "1000000", "--databases", "sqlite,postgresql", "--variants", "plain,mixed"],
        ["bench.overhead", "--sizes", "100000,1000000"],
        ["bench.terms"],
        ["bench.updates", "--entries", "1000000"],
        ["bench.exports", "--entries", "1000000"],
        ["bench.reconcile"],
        ["bench.agreement"],
        ["bench.conflicts", "--entries", "1000000"],
        ["bench.video_matching"],
        ["bench.day", "--entries", "1000000"],
        ["bench.server", "--n", "10000000", "--workers", "1,2"],
        ["bench.door", "--entries", "10000000"],
        ["bench.hook_core"],
        ["bench.false_positives"],
        ["bench.alterations"],
        ["bench.robustness", "--count", "200", "--uploads", "5000", "--listed", "50000", "--n", "10000000"],
        ["bench.video"],
        ["bench.findings"],
        ["bench.adversaries", "--sequences", "10000"],
        [*_MICRO, "--benchmark-warmup=on"],
        ["bench.report"],
    ]  # fmt: skip


def quick(out: Path) -> list[list[str]]:
    """Return the commands for a machine that is needed again in three minutes; nothing but `out` and bench/data is
    written to.
    """
    return [
        ["bench.reference_hashes"],
        ["bench.identity", "--count", "1000", "--out", str(out / "identity.json")],
        ["bench.hashing", "--small", "--rounds", "3", "--out", str(out / "hashing.json")],
        ["bench.pictures", "--count", "8192"],
        ["bench.matchers", "--n", "50000", "--queries", "200", "--timeout", "30", "--out", str(out)],
        ["bench.matchers", "--n", "200000", "--queries", "200", "--engines", "hashhub,faiss-flat", "--out", str(out)],
        ["bench.imports", "--entries", "20000", "--variants", "plain", "--out", str(out / "imports.json")],
        ["bench.overhead", "--sizes", "20000", "--rounds", "3", "--out", str(out / "overhead.json")],
        ["bench.terms", "--rounds", "300", "--out", str(out / "terms.json")],
        ["bench.exports", "--entries", "5000", "--out", str(out / "exports.json")],
        ["bench.reconcile", "--entries", "5000", "--near", "2000", "--stored", "5000", "--runs", "1",
         "--out", str(out / "reconcile.json")],
        ["bench.agreement", "--items", "2000", "--runs", "1", "--out", str(out / "agreement.json")],
        ["bench.conflicts", "--entries", "5000", "--out", str(out / "conflicts-sqlite.json")],
        ["bench.video_matching", "--frames", "50000", "--videos", "20", "--rounds", "3",
         "--out", str(out / "video-matching.json")],
        ["bench.day", "--entries", "10000", "--seconds", "2", "--share", "0.05", "--out", str(out / "day.json")],
        ["bench.server", "--n", "100000", "--seconds", "1", "--out", str(out / "server.json")],
        ["bench.door", "--entries", "100000", "--seconds", "1", "--out", str(out / "door.json")],
        ["bench.false_positives", "--n", "100000", "--seconds", "1", "--out", str(out / "false-positives.json")],
        ["bench.alterations", "--count", "20", "--out", str(out / "alterations.json")],
        ["bench.robustness", "--count", "2", "--uploads", "20", "--listed", "300", "--screens", "1", "--n", "20000",
         "--out", str(out / "robustness")],
        ["bench.video", "--loops", "1", "--height", "180", "--out", str(out / "video.json")],
        ["bench.findings"],
        ["bench.adversaries", "--sequences", "40", "--out", str(out / "adversaries.json")],
        [*_MICRO, "--benchmark-max-time=0.1"],
        ["bench.report", "--results", str(out), "--out", str(out)],
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes; results go to bench/data/quick")
    begin = time.monotonic()
    for step in quick(QUICK) if parser.parse_args().quick else full():
        print(f"\n[{time.monotonic() - begin:.0f} s] python -m {' '.join(step)}", flush=True)
        subprocess.run([sys.executable, "-m", *step], cwd=_ROOT, check=True)
    print(f"\nall of it took {time.monotonic() - begin:.0f} s", flush=True)


if __name__ == "__main__":
    main()
