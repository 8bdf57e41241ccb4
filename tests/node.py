"""Scripts for Node.js, and the packages that they need."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def node_script(script: Path) -> Iterator[list[str]]:
    """Give the command that runs a script; the packages of the lock file beside it are installed outside the tree, once
    for each lock file. Skips the test where there is no Node.js.
    """
    runtime, npm = shutil.which("node"), shutil.which("npm")
    if runtime is None or npm is None:
        pytest.skip("there is no Node.js on this machine")
    here = script.parent
    lock = hashlib.sha256((here / "package-lock.json").read_bytes()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hashhub-tests"
    installed = cache / f"{here.name.replace('_', '-')}-{lock}"
    if not installed.exists():
        making = cache / f"{installed.name}-{os.getpid()}"
        making.mkdir(parents=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(here / name, making)
        subprocess.run([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=making, check=True, timeout=240)
        with contextlib.suppress(OSError):  # another process was first
            making.rename(installed)
    copy = installed / f"{script.stem}-{os.getpid()}.js"  # beside its packages, where Node.js looks for them
    shutil.copy(script, copy)
    try:
        yield [runtime, str(copy)]
    finally:
        copy.unlink()
