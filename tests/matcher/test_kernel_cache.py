"""Compiled kernels: brought along, kept, and never a reason not to match."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hashhub.kernel_cache import cache_directories, jit, use_cache

NOBODY = 54321
# Uses the smallest kernel alone: compiling all of them takes too long for a test.
ONE = """
import os, sys
import numba
import numpy as np
from hashhub.matcher import kernels
from hashhub.kernel_cache import use_cache

@numba.njit
def first(values):
    return values[0] > 1

first(np.array([255], np.uint8))  # loads the compiler, while the interpreter's own files can still be read
user = int(sys.argv[1])
if user:
    os.setgid(user); os.setuid(user)
had_some = use_cache()
kernel = kernels.is_set
assert kernel(np.array([255], np.uint8), 3) and not kernel(np.array([0], np.uint8), 3)
print(had_some, sum(kernel.stats.cache_hits.values()), sum(kernel.stats.cache_misses.values()))
"""


def run(cache: str, user: int = 0, code: str = ONE) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, str(user)],
        check=False,
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, "HASHHUB_KERNEL_CACHE": cache},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that every user can pass through; pytest's are for their owner only."""
    with tempfile.TemporaryDirectory(prefix="hashhub-") as directory:
        Path(directory).chmod(0o711)
        yield Path(directory)


def test_what_one_process_compiled_the_next_one_loads(place: Path) -> None:
    assert run(str(place / "kernels")) == "False 0 1"
    assert run(str(place / "kernels")) == "True 1 0"
    assert (place / "kernels").stat().st_mode & 0o777 == 0o700


def test_of_several_processes_one_compiles_and_the_others_load(place: Path) -> None:
    together = ONE.replace("had_some = use_cache()\n", "").replace("import use_cache", "import compiling")
    used = "kernel = kernels.is_set\n"
    call = next(line for line in together.splitlines() if line.startswith("assert"))
    together = together.replace(used, "").replace(call, f"with compiling() as had_some:\n    {used}    {call}")
    with ThreadPoolExecutor() as threads:
        said = threads.map(lambda _: run(str(place / "kernels"), code=together), range(3))
    assert sorted(said) == ["False 0 1", "True 1 0", "True 1 0"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_an_image_brings_them_along_in_a_directory_that_its_user_cannot_write(place: Path) -> None:
    """As in docker/Dockerfile: made by root, readable by all, used by somebody else beside a directory of their own."""
    brought, own = place / "brought", place / "own"
    run(str(brought))
    subprocess.run(["chmod", "-R", "a+rX", brought], check=True)
    own.mkdir()
    os.chown(own, NOBODY, NOBODY)
    assert run(f"{own}:{brought}", NOBODY) == "True 1 0"
    assert not list(own.rglob("*.nbc"))
    # Kernels that nobody brought go into their own.
    assert run(f"{own}:{place / 'none'}", NOBODY) == "False 0 1"
    assert list(own.rglob("*.nbc"))
    assert run(f"{own}:{place / 'none'}", NOBODY) == "True 1 0"


@pytest.mark.parametrize("part", ["*.nbi", "*.nbc"])
def test_what_is_damaged_is_compiled_anew(place: Path, part: str) -> None:
    run(str(place))
    for path in place.rglob(part):
        path.write_bytes(path.read_bytes()[:40])
    assert run(str(place)).endswith("0 1")
    if part == "*.nbc":
        assert run(str(place)).endswith("1 0"), "it was replaced"


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="needs the right to mount a small disk")
def test_a_full_disk_is_no_reason_not_to_match(place: Path) -> None:
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k,mode=0700", "tmpfs", place], check=False)
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        (place / "filler").write_bytes(bytes(4096))
        assert run(str(place)).endswith("0 1")
    finally:
        subprocess.run(["umount", place], check=True)


def test_a_directory_that_others_can_write_is_not_read(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in it is executed."""
    safe, open_to_all = place / "safe", place / "open"
    for path in (safe, open_to_all):
        path.mkdir(mode=0o700)
    open_to_all.chmod(0o777)
    monkeypatch.setenv("HASHHUB_KERNEL_CACHE", f"{open_to_all}:{safe}:{place / 'none'}")
    assert cache_directories() == [safe]


def test_importing_the_kernels_changes_nothing_of_numba(place: Path) -> None:
    code = """
import numba
before = {name: getattr(numba.config, name) for name in dir(numba.config) if name.isupper()}
import gc, hashhub.matcher, hashhub.server, hashhub.hub
assert {name: getattr(numba.config, name) for name in before} == before
assert gc.get_threshold() == (700, 10, 10) and gc.get_freeze_count() == 0
hashhub.matcher.use_cache()
assert {name: getattr(numba.config, name) for name in before} == before
print("same")
"""
    assert run(str(place / "kernels"), code=code) == "same"


def test_a_kernel_s_options() -> None:
    assert use_cache() in {True, False}

    @jit
    def twice(x: int) -> int:
        return 2 * x

    assert twice(21) == 42
    assert twice.targetoptions["nogil"]
