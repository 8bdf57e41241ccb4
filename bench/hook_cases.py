"""What cases add to a check: a picture and a video of 600 different frames against 1,000 and 10,000 cases.

    python -m bench.hook_cases

Each case is one synthetic picture, hashed as a reported one is: with its turns and mirrorings. CPU time of
`CaseIndex.hits`, the median; memory is what the process grew by.
"""

from __future__ import annotations

import argparse
import io
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, Final

from bench import result
from hashhub.desk.cases import Cases, Item, item_of
from hashhub.desk.cases.index import CaseIndex
from hashhub.desk.records import Records
from hashhub.desk.settings import CaseSettings
from hashhub.hashing import hash_media
from hashhub.model import Effort, Query, VideoFrame
from hashhub.testing.pictures import picture

_FIRST_SEED: Final = 40_000_000
_SIZE: Final = (320, 240)
_MADE: Final = 1_000  # pictures that are hashed; further cases have their digests with bits exchanged
_FRAMES: Final = 600


def _hashed(seed: int) -> Item:
    out = io.BytesIO()
    picture(seed, _SIZE).save(out, "PNG")
    return item_of(hash_media(out.getvalue(), effort=Effort.STANDARD))


def _filled(records: Records, items: list[Item], count: int) -> None:
    """Write cases as `Cases.open` does, many at once."""
    with records.transaction():
        for number in range(count):
            name = f"case-{number:012x}"
            records.write(
                "INSERT INTO hook_case (id, state, outcome, change, until, facts) VALUES (?, 'OPEN', '', ?, '', '{}')",
                (name, number + 1),
            )
            turn = number // len(items)
            for h, variant in items[number % len(items)].hashes:
                digest = h.digest[turn:] + h.digest[:turn]
                records.write("INSERT INTO case_hash VALUES (?, ?, ?, ?)", (name, h.algorithm, digest, variant))


def _milliseconds(work: Callable[[], Any], times: int) -> float:
    taken = []
    for _ in range(times):
        begin = time.process_time()
        work()
        taken.append(1000 * (time.process_time() - begin))
    return statistics.median(taken)


def main() -> None:
    """Print a row for each number of cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, nargs="*", default=[1_000, 10_000])
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with ProcessPoolExecutor() as workers:
        seeds = range(_FIRST_SEED, _FIRST_SEED + _MADE + _FRAMES)
        made = list(workers.map(_hashed, seeds, chunksize=20))
    items, others = made[:_MADE], made[_MADE:]
    digests = [next(h for h, variant in one.hashes if h.algorithm == "PDQ" and not variant).digest for one in others]
    frames = tuple(VideoFrame(1000 * i, 100, digest) for i, digest in enumerate(digests))
    video = Query(hashes=(), frames=frames)
    pictures = itertools.cycle(Query(hashes=tuple(h for h, variant in one.hashes if not variant)) for one in others)
    rows = []
    for count in options.cases:
        with tempfile.TemporaryDirectory() as directory:
            records = Records(Path(directory))
            _filled(records, items, count)
            before = result.resident_mib()
            index = CaseIndex(Cases(records, CaseSettings(max_open=20_000)))
            begin = time.process_time()
            index.hits(video)
            row = {
                "cases": count,
                "digests": sum(len(stops.hashes) for stops in index._stops.values()),  # noqa: SLF001 - counted
                "read_s": time.process_time() - begin,
                "grew_mib": result.resident_mib() - before,
                "picture_ms": _milliseconds(lambda index=index: index.hits(next(pictures)), 500),  # type: ignore[misc]
                "video_ms": _milliseconds(lambda index=index: index.hits(video), 30),  # type: ignore[misc]
            }
            records.close()
            rows.append(row)
    result.show(rows)
    print(result.save("hook_cases", {"cases": options.cases, "frames": _FRAMES}, rows, out=options.out))


if __name__ == "__main__":
    main()
