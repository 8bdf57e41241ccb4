"""How long a queried video of 600 frames takes against a hub that knows ten million frames.

    python -m bench.video_matching --frames 10000000 --videos 1000

So many videos of 600 frames each are committed into a hub on SQLite, imports, entries and all; the rest of the frames,
random digests, is given to the matcher alone, which is what a search goes through: no entry has them, and nothing is
near them. `listed`: the frames of a listed video with 20 bits changed in each; `clip`: 60 of its frames among 540
others; `unknown`: nothing is near; `intro`: unknown but for 10 frames that every listed video has. Each query is asked
so often for its median and its slowest; times are those of `Match.hashes`, on one thread.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench import result
from hashhub.config import Config
from hashhub.hub import Hub
from hashhub.model import (
    Contributor,
    ContributorKind,
    HashSet,
    Import,
    MatchOptions,
    Principal,
    Query,
    Record,
    Role,
    VideoFrame,
)

LENGTH: Final = 600  # frames of a video: ten minutes at one a second
SHARED: Final = 10  # frames that all listed videos begin with
BITS: Final = 20  # changed in each frame of a query
_PIECE: Final = 1_000_000
OPERATOR: Final = Principal(name="operator", role=Role.OPERATOR, contributor="operator")
WRITER: Final = Principal(name="desk", role=Role.CONTRIBUTOR, contributor="bench")


def video(number: int, random: np.random.Generator, intro: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the digests of a video, uint8[LENGTH, 32]."""
    own = random.integers(0, 256, (LENGTH - len(intro), 32), dtype=np.uint8)
    own[:, :4] = np.frombuffer(hashlib.sha256(b"%d" % number).digest()[:4], np.uint8)
    return np.concatenate([intro, own])


def frames_of(digests: NDArray[np.uint8]) -> tuple[VideoFrame, ...]:
    """Return the digests as frames, one a second."""
    return tuple(VideoFrame(1000 * i, 90, row.tobytes()) for i, row in enumerate(digests))


def changed(digests: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    """Return the digests with BITS bits changed in each."""
    bits = np.unpackbits(digests, axis=1)
    for row in bits:
        row[random.choice(256, BITS, replace=False)] ^= 1
    return np.packbits(bits, axis=1)


def contribute(hub: Hub, videos: list[NDArray[np.uint8]]) -> float:
    """Commit the videos and return how many seconds that took."""
    hub.contributors.create(
        OPERATOR, Contributor(id="bench", display_name="Bench", kind=ContributorKind.HOTLINE, jurisdiction="ZZ")
    )
    hub.hash_sets.create(OPERATOR, HashSet(contributor="bench", id="videos"))
    begun = time.perf_counter()
    opened = hub.contribute.open(
        WRITER,
        Import(
            id="",
            contributor="bench",
            hash_set="videos",
            connector="bench",
            connector_version="1",
            source_digest="0" * 64,
        ),
    )
    count = 0
    for start in range(0, len(videos), 100):
        records = [
            Record(position=f"line {n}", frames=frames_of(videos[n]))
            for n in range(start, min(start + 100, len(videos)))
        ]
        hub.contribute.add(WRITER, opened.id, count, records, [])
        count += 1
    hub.contribute.commit(WRITER, opened.id, batch_count=count)
    return time.perf_counter() - begun


def measure(frames: int, videos: int, rounds: int, directory: Path) -> list[dict[str, Any]]:
    """Return one row a kind of query."""
    random = np.random.default_rng(result.SEED)
    intro = random.integers(0, 256, (SHARED, 32), dtype=np.uint8)
    listed = [video(n, random, intro) for n in range(videos)]
    rows: list[dict[str, Any]] = []
    with Hub.open(Config(data=str(directory))) as hub:
        hub.start()
        seconds = contribute(hub, listed)
        matcher = hub._matcher  # noqa: SLF001 - the rest goes past the store
        rest = frames - matcher.count("VPDQ")
        while rest > 0:
            piece = random.integers(0, 256, (min(rest, _PIECE), 32), dtype=np.uint8)
            matcher.apply(matcher.revision, add={"VPDQ": piece})
            rest = frames - matcher.count("VPDQ")
        matcher.compact()

        def asked(kind: str) -> tuple[NDArray[np.uint8], int]:
            one = listed[int(random.integers(videos))]
            other = random.integers(0, 256, (LENGTH, 32), dtype=np.uint8)
            if kind == "listed":
                return changed(one, random), 1
            if kind == "clip":
                other[100:160] = changed(one[SHARED : SHARED + 60], random)
                return other, 0  # a tenth of either: looked up, and no hit
            if kind == "intro":
                other[:SHARED] = changed(intro, random)
            return other, 0

        for kind in ("unknown", "listed", "clip", "intro"):
            wall, cpu, hits = [], [], 0
            for _ in range(rounds):
                digests, expected = asked(kind)
                query = Query(hashes=(), frames=frames_of(digests))
                begun, worked = time.perf_counter(), time.process_time()
                answers, _ = hub.match.hashes(OPERATOR, [query], MatchOptions(policy="any"))
                wall.append(1000 * (time.perf_counter() - begun))
                cpu.append(1000 * (time.process_time() - worked))
                hits += len(answers[0].matches)
                assert len(answers[0].matches) == expected, (kind, answers)
            rows.append(
                {
                    "query": kind,
                    "frames": matcher.count("VPDQ"),
                    "videos": videos,
                    "hits": hits,
                    "p50_ms": float(np.median(wall)),
                    "max_ms": max(wall),
                    "cpu_p50_ms": float(np.median(cpu)),
                    "import_frames_per_s": videos * LENGTH / seconds,
                    "peak_mib": result.peak_mib(),
                }
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=10_000_000, help="distinct frames that the matcher knows")
    parser.add_argument("--videos", type=int, default=1_000, help="of them in the store, 600 frames each")
    parser.add_argument("--rounds", type=int, default=20, help="queries of each kind")
    parser.add_argument("--out", type=Path, help="where the result goes; bench/results/video-matching.json")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        rows = measure(given.frames, given.videos, given.rounds, Path(directory) / "hub")
    result.show(rows)
    result.save("video-matching", {k: v for k, v in vars(given).items() if k != "out"}, rows, out=given.out)


if __name__ == "__main__":
    main()
