"""Entries out of a hub and into a file of each format: how fast, in how much memory, and how large the file is.

    python -m bench.exports --entries 1000000

A VICS list is imported, then exported in every format that can say what it says, by a client in a process of its own.
`read_back` is the same file given back to the hub with `validate_only`: what its connector makes of it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from bench import result
from bench.updates import import_list, write_list
from hashhub.client import Client
from hashhub.model import Contributor, ContributorKind, HashSet
from hashhub.testing.hub_process import running_hub

_SLOW: Final = 10  # these are given one entry in so many
_FORMATS: Final = (
    "vics", "csv", "hash-lines", "hashhub-jsonl", "ncmec-xml", "threatexchange", "stix", "misp",
)  # fmt: skip
_LIBRARIES: Final = frozenset({"stix", "misp"})  # whose objects others' libraries make and check
_EXPORTER: Final = """
import json, sys, time
from pathlib import Path
from hashhub.client import Client
with Client(sys.argv[1], sys.argv[2]) as client, Path(sys.argv[5]).open("wb") as out:
    begun, cpu = time.perf_counter(), time.process_time()
    report = client.export(out, writer=sys.argv[3], hash_sets=[sys.argv[4]], recipient="contributors/bench")
    seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
peak = int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024
print(json.dumps({"taken": report.taken, "written": report.written, "seconds": seconds, "client_cpu": cpu,
                  "client_peak_mib": peak, "losses": sum(g.count for g in report.losses)}))
"""


def measure(entries: int, directory: Path) -> list[dict[str, Any]]:
    """Export the same entries in each format."""
    rows: list[dict[str, Any]] = []
    with running_hub(directory / "hub") as hub, Client(hub.address, hub.token) as client:
        client.create_contributor(
            Contributor(id="bench", display_name="Bench", kind=ContributorKind.LAW_ENFORCEMENT, jurisdiction="US")
        )
        for name, count in (("list", entries), ("few", max(1, entries // _SLOW))):
            client.create_hash_set(HashSet(contributor="bench", id=name, scheme="vic-us"))
            import_list(client, write_list(directory, name, count, result.SEED), f"bench/{name}")
        for name in _FORMATS:
            chosen = "few" if name in _LIBRARIES else "list"
            target = directory / f"out.{name}"
            before, begun = result.cpu_seconds(hub.pid), time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-c", _EXPORTER, hub.address, hub.token, name, f"bench/{chosen}", str(target)],
                capture_output=True,
                text=True,
                check=True,
            )
            row = {"format": name, **json.loads(done.stdout), "with_start": time.perf_counter() - begun}
            row["server_cpu"] = result.cpu_seconds(hub.pid) - before
            row["bytes"] = target.stat().st_size
            rows.append(row | {"entries_per_second": row["taken"] / row["seconds"]})
            print(json.dumps(result.rounded(rows[-1])), flush=True)
            target.unlink()
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=100_000, help="in the list (100,000); a tenth for STIX and MISP")
    parser.add_argument("--out", type=Path, help="where to write the result; default: bench/results/exports.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hashhub-bench-") as name:
        rows = measure(options.entries, Path(name))
    result.show(rows)
    result.save("exports", {"entries": options.entries}, rows, out=options.out, packages=("stix2", "grpcio", "msgspec"))


if __name__ == "__main__":
    main()
