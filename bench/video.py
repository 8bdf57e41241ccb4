"""How fast a video becomes hashes, on one core: a frame a second, and key frames alone.

    python -m bench.video                         ten minutes of 1920 x 1080 at 30 frames a second
    python -m bench.video --loops 1 --height 480  a minute, smaller

The clip is a minute of pans over synthetic pictures with a sensor's noise, cuts every four seconds, encoded once with
x264 as most sites do (`veryfast`, quality 23, a key frame at least every 250 frames) and repeated by copying packets.
Beside it: FFmpeg decoding every frame and doing nothing with it, the C++ reference's PDQ of the frames at full size
(`pdqhash`), and with `--vpdq` vPDQ's own program (facebook/ThreatExchange, vpdq/cpp), which has to be built with a
compiler and FFmpeg's headers. Times are of the processor: its threads count together.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
import pdqhash

from bench import result
from hashhub import vpdq
from hashhub.hashing import Limits, MediaHashes, hash_media
from hashhub.testing.pictures import picture

_SECONDS: Final = 60  # of a loop
_RATE: Final = 30
_SCENE_SECONDS: Final = 4
_MARGIN: Final = 8  # a scene's picture is larger than a frame by one part in so many
_NOISE: Final = 3.0  # standard deviation of the sensor's noise, of 255
_FIRST_SEED: Final = 30_000_000


def made(directory: Path, height: int, loops: int) -> Path:
    """Return the clip, which is made unless it is there."""
    loop = directory / f"{height}.mp4"
    whole = directory / f"{height}x{loops}.mp4"
    directory.mkdir(parents=True, exist_ok=True)
    if not loop.exists():
        _encode(loop, height)
    if not whole.exists():
        _repeat(loop, whole, loops)
    return whole


def _frames(height: int) -> Iterator[np.ndarray[Any, np.dtype[np.uint8]]]:
    rng = np.random.default_rng(_FIRST_SEED)
    width = height * 16 // 9
    noise = [rng.normal(0, _NOISE, (height, width, 1)).astype(np.int16) for _ in range(8)]
    count = _SCENE_SECONDS * _RATE
    for scene in range(_SECONDS // _SCENE_SECONDS):
        right, down = width // _MARGIN, height // _MARGIN
        wide = np.asarray(picture(_FIRST_SEED + scene, (width + right, height + down))).astype(np.int16)
        for i in range(count):
            left, top = right * i // count, down * i // count
            shown = wide[top : top + height, left : left + width] + noise[int(rng.integers(8))]
            yield np.clip(shown, 0, 255).astype(np.uint8)


def _encode(path: Path, height: int) -> None:
    partial = path.with_suffix(".part")
    with av.open(str(partial), "w", format="mp4") as output:
        stream: Any = output.add_stream("libx264", rate=_RATE)
        stream.width, stream.height, stream.pix_fmt = height * 16 // 9, height, "yuv420p"
        stream.options = {"preset": "veryfast", "crf": "23"}
        for i, pixels in enumerate(_frames(height)):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, _RATE)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    partial.rename(path)


def _repeat(loop: Path, path: Path, loops: int) -> None:
    partial = path.with_suffix(".part")
    with av.open(str(partial), "w", format="mp4", options={"movflags": "faststart"}) as output:
        stream: Any = None
        for number in range(loops):
            with av.open(str(loop)) as source:
                video: Any = source.streams.video[0]
                if stream is None:
                    stream = output.add_stream_from_template(video)
                shift = int(number * _SECONDS / video.time_base)
                for packet in source.demux(video):
                    if packet.dts is None:
                        continue
                    packet.pts += shift
                    packet.dts += shift
                    packet.stream = stream
                    output.mux(packet)
    partial.rename(path)


def _decode_all(path: Path) -> int:
    with av.open(str(path)) as source:
        source.streams.video[0].codec_context.thread_count = 1
        return sum(1 for _ in source.decode(video=0))


def _measured(
    what: str, seconds: float, work: Callable[[], Any], count: Callable[[Any], int]
) -> tuple[dict[str, Any], Any]:
    """Return a row and what `work` returned. Processor time, since others may use this machine's cores."""
    begin_cpu, begin = time.process_time(), time.perf_counter()
    done = work()
    cpu, wall = time.process_time() - begin_cpu, time.perf_counter() - begin
    row = {"what": what, "frames": count(done), "cpu_s": cpu, "wall_s": wall, "times_real_time": seconds / cpu}
    return row, done


def _hashed(path: Path, **limits: Any) -> MediaHashes:
    bounds = Limits(max_video_pixels=1 << 50, **limits)
    return hash_media(path, algorithms=["PDQ"], limits=bounds)


def distances(path: Path, media: MediaHashes, most: int) -> list[int]:
    """Return how far the first `most` frames are from the reference's PDQ of the decoded frame at full size."""
    wanted = {frame.offset_ms: frame for frame in media.video_frames[:most]}
    apart = []
    with av.open(str(path)) as source:
        for frame in source.decode(video=0):
            ours = wanted.pop(round(float(frame.time) * 1000), None)
            if ours is not None:
                bits, _ = pdqhash.compute(frame.to_ndarray(format="rgb24", src_colorspace="ITU601"))
                reference = int.from_bytes(np.packbits(bits).tobytes())
                apart.append((reference ^ int.from_bytes(ours.digest)).bit_count())
            if not wanted:
                break
    return apart


def _beside(program: Path, path: Path, seconds: float, media: MediaHashes) -> dict[str, Any]:
    """Return the row of vPDQ's own program: its time, and how far our hashes of the same frames are from its."""
    text = path.with_suffix(".txt")
    text.unlink(missing_ok=True)
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([program, "-i", path, "-o", text, "-r", "1"], check=True)
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - begin
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    reference = vpdq.parse(text.read_text("ascii"))
    ours = {frame.offset_ms: frame for frame in media.video_frames}
    pairs = [(frame, ours[frame.offset_ms]) for frame in reference if frame.offset_ms in ours]
    apart = [(int.from_bytes(a.digest) ^ int.from_bytes(b.digest)).bit_count() for a, b in pairs]
    return {
        "what": "vpdq-hash-video",
        "frames": len(reference),
        "cpu_s": cpu,
        "wall_s": wall,
        "times_real_time": seconds / cpu,
        "compared": len(apart),
        "max_distance": max(apart, default=0),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--height", type=int, default=1080, help="of a frame; its width is 16/9 of it (1080)")
    parser.add_argument("--loops", type=int, default=10, help="minutes (10)")
    parser.add_argument("--compared", type=int, default=60, help="frames compared with the reference's PDQ (60)")
    parser.add_argument("--vpdq", type=Path, help="vPDQ's program vpdq-hash-video, to measure beside it")
    parser.add_argument("--out", type=Path, help="where to write the result; default: bench/results/video.json")
    options = parser.parse_args()
    path = made(result.DATA / "video", options.height, options.loops)
    seconds = float(options.loops * _SECONDS)
    rows = []
    row, media = _measured("a frame a second", seconds, lambda: _hashed(path), lambda m: m.frames_hashed)
    apart = distances(path, media, options.compared)
    rows.append(row | {"compared": len(apart), "max_distance": max(apart, default=0)})
    row, _ = _measured(
        "key frames alone", seconds, lambda: _hashed(path, key_frames_only=True), lambda m: m.frames_hashed
    )
    rows.append(row)
    row, _ = _measured("FFmpeg decodes all", seconds, lambda: _decode_all(path), int)
    rows.append(row)
    if options.vpdq is not None:
        rows.append(_beside(options.vpdq, path, seconds, media))
    result.show(rows)
    parameters = {
        "seconds": seconds,
        "height": options.height,
        "rate": _RATE,
        "file_mib": round(path.stat().st_size / 2**20, 1),
    }
    packages = ("av", "numpy", "numba", "pdqhash")
    result.save("video", parameters, rows, out=options.out, packages=packages, seed=_FIRST_SEED)


if __name__ == "__main__":
    main()
