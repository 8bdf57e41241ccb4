"""The part of `bench.hashing` that runs in an environment of its own: `perception` wants an older `rich` than ours.

    python bench/perception/hashing.py ROUNDS FILE…

Prints, as JSON, the CPU milliseconds of each round: {file: {step: [ms, …]}}. Nothing of hashhub is imported.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import cv2
from perception import hashers


def main() -> None:
    cv2.setNumThreads(1)
    rounds, files = int(sys.argv[1]), sys.argv[2:]
    steps = {"perception PDQ": hashers.PDQHash(), "perception pHash": hashers.PHash()}
    times: dict[str, dict[str, list[float]]] = {}
    for file in files:
        times[Path(file).name] = {}
        for step, hasher in steps.items():
            hasher.compute(file)
            of_step = times[Path(file).name][step] = []
            for _ in range(rounds):
                began = time.process_time()
                hasher.compute(file)
                of_step.append((time.process_time() - began) * 1e3)
    print(json.dumps(times))


if __name__ == "__main__":
    main()
