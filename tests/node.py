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
    """Give the command that runs a script with the packages of the lock file beside it. Skips the test where there is
    no Node.js.
    """
    copy = node_packages(script.parent) / f"{script.stem}-{os.getpid()}.js"  # where Node.js looks for its packages
    shutil.copy(script, copy)
    try:
        yield [shutil.which("node") or "", str(copy)]
    finally:
        copy.unlink()


def node_packages(here: Path) -> Path:
    """Return the directory outside the tree in which a lock file's packages are installed, once for each lock file.
    Skips the test where there is no Node.js.
    """
    npm = shutil.which("npm")
    if shutil.which("node") is None or npm is None:
        pytest.skip("there is no Node.js on this machine")
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
    return installed
