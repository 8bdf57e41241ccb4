"""What hashing a picture costs, beside others' libraries, in one run: CPU milliseconds of one core.

    python -m bench.hashing --perception /tmp/perception/bin/python

Synthetic photographs (JPEG, quality 88) of 0.3, 2 and 12 megapixels; PDQ alone also at 48. A round takes each step
once, so that whatever else the machine does meets all of them; medians of the rounds, after one that does not count.

`perception` wants an older `rich` than this environment has, so it needs one of its own, whose Python `--perception`
names; without it the rest is measured:

    python3 -m venv /tmp/perception
    /tmp/perception/bin/pip install --require-hashes -r bench/perception/requirements.lock
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench import result
from bench.reference_hashes import MIRRORS
from hashhub.hashing import compiled, hash_media, pdq
from hashhub.model import Effort
from hashhub.testing.pictures import picture

_SIZES: Final = ((640, 480), (1632, 1224), (4000, 3000))
_PDQ_ONLY: Final = (8000, 6000)
_QUALITY: Final = 88
_UPRIGHT: Final = [(False, False)]
_PERCEPTION: Final = Path(__file__).parent / "perception" / "hashing.py"
_GRAIN: Final = 6  # of 255; photographs are not smooth, and JPEG files of smooth pictures decode too fast


def photograph(width: int, height: int) -> Any:
    """Return a synthetic photograph, with the grain of a sensor."""
    from PIL import Image

    smooth = picture(7).convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
    grain = np.random.default_rng(result.SEED).integers(-_GRAIN, _GRAIN + 1, (height, width, 3), np.int16)
    return Image.fromarray(np.clip(np.asarray(smooth) + grain, 0, 255).astype(np.uint8))


def steps(file: bytes, pixels: Any, *, pdq_only: bool) -> dict[str, Callable[[], object]]:
    """Return what is measured, by name."""
    import imagehash
    import pdqhash
    from PIL import Image
    from threatexchange.signal_type.pdq import pdq_hasher

    def decode() -> Any:
        with Image.open(io.BytesIO(file)) as opened:
            opened.load()
            return opened

    of_pdq: dict[str, Callable[[], object]] = {
        "PDQ": lambda: pdq.compute(pixels, _UPRIGHT),
        "PDQ, all eight turns": lambda: pdq.compute(pixels, MIRRORS),
        "pdqhash": lambda: pdqhash.compute(pixels),
    }
    if pdq_only:
        return of_pdq
    return {
        "Pillow decodes": decode,
        "file: PDQ, pHash, dHash, MD5, SHA-1, SHA-256": lambda: hash_media(file),
        "file: the same, all eight turns": lambda: hash_media(file, effort=Effort.STANDARD),
        **of_pdq,
        "PDQ in NumPy": lambda: pdq.compute_with_numpy(pixels, _UPRIGHT),
        "threatexchange, file: PDQ": lambda: pdq_hasher.pdq_from_bytes(file),
        "imagehash, file: pHash, dHash": lambda: (imagehash.phash(image := decode()), imagehash.dhash(image)),
    }


def measured(of: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Return the CPU milliseconds of each round, by step."""
    times: dict[str, list[float]] = {name: [] for name in of}
    for counts in [False] + [True] * rounds:
        for name, step in of.items():
            began = time.process_time()
            step()
            if counts:
                times[name].append((time.process_time() - began) * 1e3)
    return times


def by_perception(python: Path, files: dict[str, bytes], rounds: int) -> dict[str, dict[str, list[float]]]:
    """Return the same of `perception`, by file, from a process of its own."""
    with tempfile.TemporaryDirectory(prefix="hashhub-bench-") as directory:
        paths = []
        for name, content in files.items():
            paths.append(Path(directory) / name)
            paths[-1].write_bytes(content)
        done = subprocess.run(
            [python, _PERCEPTION, str(rounds), *map(str, paths)],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": "", "OMP_NUM_THREADS": "1"},
        )
    times: dict[str, dict[str, list[float]]] = json.loads(done.stdout)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--small", action="store_true", help="0.3 megapixels only")
    parser.add_argument("--perception", type=Path, help="the Python of an environment with `perception`")
    parser.add_argument("--out", type=Path, help="where to write the result; default: bench/results/hashing.json")
    options = parser.parse_args()
    assert compiled.load(), "the kernels need Numba: pip install 'hashhub[kernels]'"
    times: dict[tuple[int, int], dict[str, list[float]]] = {}
    files = {}
    for width, height in _SIZES[: 1 if options.small else None]:
        photo = photograph(width, height)
        file = io.BytesIO()
        photo.save(file, "JPEG", quality=_QUALITY)
        files[f"{width}x{height}"] = file.getvalue()
        times[width, height] = measured(steps(file.getvalue(), np.asarray(photo), pdq_only=False), options.rounds)
    if not options.small:
        times[_PDQ_ONLY] = measured(steps(b"", np.asarray(photograph(*_PDQ_ONLY)), pdq_only=True), options.rounds)
    if options.perception is None:
        sys.stderr.write("perception is not measured: name the Python of an environment that has it (--help)\n")
    else:
        for name, of in by_perception(options.perception, files, options.rounds).items():
            width, height = map(int, name.split("x"))
            times[width, height] |= of
    rows = [
        {
            "megapixels": width * height / 1e6,
            "width": width,
            "height": height,
            "step": step,
            "cpu_ms": statistics.median(of_step),
            "fastest_cpu_ms": min(of_step),
            "cpu_ms_of_rounds": [round(ms, 3) for ms in of_step],
            "ns_per_pixel": statistics.median(of_step) * 1e6 / (width * height),
            "of_pdqhash": statistics.median(of_step) / statistics.median(of["pdqhash"]),
        }
        for (width, height), of in times.items()
        for step, of_step in of.items()
    ]
    result.show(rows, ("megapixels", "step", "cpu_ms", "ns_per_pixel", "of_pdqhash"))
    result.save(
        "hashing",
        {"rounds": options.rounds, "jpeg_quality": _QUALITY, "perception": options.perception is not None},
        rows,
        out=options.out,
        packages=("Pillow", "numpy", "numba", "pdqhash", "threatexchange", "imagehash"),
    )


if __name__ == "__main__":
    main()
