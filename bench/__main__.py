"""A short version of every benchmark, in a few minutes: `make bench`, or `python -m bench`.

Results go to bench/data/short, beside nothing that is committed. Each benchmark alone (`python -m bench.NAME --help`) goes further.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Final

from bench import result

_ROOT: Final = Path(__file__).parent.parent


def steps(out: Path, *, tiny: bool) -> list[list[str]]:
    """Return the commands, each after `python -m`."""
    n, pictures, seconds = ("2000", "4096", "0.3") if tiny else ("100000", "8192", "3")
    engines = ["--engines", "hashhub,faiss-flat"] if tiny else []
    return [
        ["bench.imports", "--entries", n, "--variants", "plain", "--out", str(out / "imports.json")],
        ["bench.overhead", "--sizes", n, "--rounds", "2" if tiny else "5", "--out", str(out / "overhead.json")],
        ["bench.matchers", "--n", n, "--queries", "100" if tiny else "500", *engines, "--out", str(out)],
        ["bench.server", "--n", n, "--seconds", seconds, "--out", str(out / "server.json")],
        ["bench.pictures", "--count", pictures],
        ["bench.false_positives", "--out", str(out / "false-positives.json")],
        ["pytest", "bench/micro", "-q", "-p", "no:randomly", "--benchmark-columns=min,median,ops", "--benchmark-warmup=on",
         f"--benchmark-max-time={0.05 if tiny else 1}"],
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="only see that everything runs")
    parser.add_argument("--out", type=Path, default=result.DATA / "short", help="where the results go")
    options = parser.parse_args()
    for step in steps(options.out, tiny=options.tiny):
        print(f"\n$ python -m {' '.join(step)}", flush=True)
        subprocess.run([sys.executable, "-m", *step], cwd=_ROOT, check=True)


if __name__ == "__main__":
    main()
