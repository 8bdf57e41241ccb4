"""How soon a live stream is answered.

    python -m bench.live

A hub in a process of its own with a list of `--entries` PDQ hashes, and streams from this one: so many at once, each
sending so many frames a second: hashes of which every tenth is near a listed picture, hashes of a listed video that is
played from its begin, or 720p JPEG pictures. A frame's time is from when it is sent to when its
answer is there; `unanswered` are frames that were skipped for newer ones. `hub_cpu` is the hub's CPU time for a second
of the clock, its children that hash included.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import ImageEnhance

from bench import result
from hashhub import vpdq
from hashhub.client import Client
from hashhub.model import (
    Contributor,
    ContributorKind,
    HashSet,
    LiveOptions,
    LivePicture,
    MatchOptions,
    Purpose,
    VideoFrame,
)
from hashhub.testing.hub_process import RunningHub, running_hub
from hashhub.testing.pictures import picture

_SIZE: Final = (1280, 720)
_VIDEO_SECONDS: Final = 600  # of the listed video, a frame a second
_NOISE_BITS: Final = 16  # of a played frame's hash
_SCENES: Final = 8  # pictures, each with a few changes of brightness: a stream repeats them


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=10_000, help="PDQ hashes in the list (10000)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement (10)")
    parser.add_argument("--out", type=Path, help="where to write the result; default: bench/results/live.json")
    options = parser.parse_args()
    rng = np.random.default_rng(result.SEED)
    listed = rng.integers(0, 256, (options.entries, 32), np.uint8)
    video = rng.integers(0, 256, (_VIDEO_SECONDS, 32), np.uint8)
    rows = []
    with tempfile.TemporaryDirectory() as directory, running_hub(Path(directory) / "data") as hub:
        token = _prepare(hub, Path(directory), listed, video)
        for kind, files in (("hash", []), ("video", []), ("picture", pictures())):
            for streams in (1, 4):
                for rate in (1, 5, 10):
                    rows.append(
                        measure(
                            hub,
                            token,
                            kind,
                            files,
                            video if kind == "video" else listed,
                            streams,
                            rate,
                            options.seconds,
                        )
                    )
                    result.show(rows[-1:])
    result.save(
        "live",
        {"entries": options.entries, "seconds": options.seconds},
        rows,
        out=options.out,
        packages=("grpcio", "pillow"),
    )


def pictures() -> list[bytes]:
    """Return JPEG files of some scenes at 720p."""
    files = []
    for seed in range(_SCENES):
        scene = picture(seed, _SIZE)
        for brightness in (0.95, 1.0, 1.05):
            file = io.BytesIO()
            ImageEnhance.Brightness(scene).enhance(brightness).save(file, "JPEG", quality=85)
            files.append(file.getvalue())
    return files


def measure(
    hub: RunningHub,
    token: str,
    kind: str,
    files: list[bytes],
    listed: np.ndarray[Any, np.dtype[np.uint8]],
    streams: int,
    rate: int,
    seconds: float,
) -> dict[str, Any]:
    """Send so many streams at once and return what became of their frames."""
    taken: list[float] = []
    counts = [0, 0, 0]  # sent, answered, hit
    lock = threading.Lock()

    def watch(number: int) -> None:
        rng = np.random.default_rng(number)
        sent: dict[int, float] = {}

        def frames() -> Iterator[LivePicture | VideoFrame]:
            begun = time.monotonic() + number / (streams * rate)
            for n in range(int(seconds * rate)):
                time.sleep(max(0.0, begun + n / rate - time.monotonic()))
                offset_ms = n * 1000 // rate
                digest = rng.integers(0, 256, 32, np.uint8)
                if kind == "video":
                    digest = np.packbits(np.unpackbits(listed[n // rate]) ^ _noise(rng))
                elif n % 10 == 0:
                    digest = listed[n % len(listed)]
                sent[offset_ms] = time.monotonic()
                if kind == "picture":
                    yield LivePicture(offset_ms, files[n % len(files)])
                else:
                    yield VideoFrame(offset_ms, 100, digest.tobytes())

        mine: dict[int, float] = {}
        hits = 0
        with Client(hub.address, token) as client:
            options = LiveOptions(match=MatchOptions(policy="any"), frames_per_second=rate)
            for answer in client.match_live(frames(), options):
                mine.setdefault(answer.offset_ms, time.monotonic() - sent[answer.offset_ms])
                hits += bool(answer.hit_count)
        with lock:
            taken.extend(mine.values())
            counts[0] += len(sent)
            counts[1] += len(mine)
            counts[2] += hits

    threads = [threading.Thread(target=watch, args=(n,)) for n in range(streams)]
    begun, cpu = time.monotonic(), sum(map(result.cpu_seconds, result.family(hub.pid)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spent, cpu = time.monotonic() - begun, sum(map(result.cpu_seconds, result.family(hub.pid))) - cpu
    ms = np.array(taken) * 1000
    return {
        "kind": kind,
        "streams": streams,
        "rate": rate,
        "frames": counts[0],
        "unanswered": counts[0] - counts[1],
        "hits": counts[2],
        "p50_ms": float(np.percentile(ms, 50)),
        "p99_ms": float(np.percentile(ms, 99)),
        "longest_ms": float(ms.max()),
        "hub_cpu": cpu / spent,
    }


def _noise(rng: np.random.Generator) -> np.ndarray[Any, np.dtype[np.uint8]]:
    bits = np.zeros(256, np.uint8)
    bits[rng.choice(256, _NOISE_BITS, replace=False)] = 1
    return bits


def _prepare(
    hub: RunningHub,
    directory: Path,
    listed: np.ndarray[Any, np.dtype[np.uint8]],
    video: np.ndarray[Any, np.dtype[np.uint8]],
) -> str:
    """Contribute the list and the video, and return the token of an operator."""
    token = hub.token_file.read_text().strip()
    file = directory / "list.txt"
    file.write_text("".join(f"PDQ:{row.tobytes().hex()}\n" for row in listed))
    with Client(hub.address, token) as client:
        client.create_contributor(
            Contributor(id="nl", display_name="Hotline", kind=ContributorKind.HOTLINE, jurisdiction="NL")
        )
        client.create_hash_set(HashSet(contributor="nl", id="list", purpose=Purpose.CSAM))
        client.import_source(file, hash_set="nl/list", connector="hash-lines")
        client.create_hash_set(HashSet(contributor="nl", id="videos", purpose=Purpose.CSAM))
        frames = directory / "video.txt"
        frames.write_text(vpdq.render([VideoFrame(n * 1000, 100, row.tobytes()) for n, row in enumerate(video)]))
        client.import_source(frames, hash_set="nl/videos", connector="vpdq")
    return token


if __name__ == "__main__":
    main()
