"""Compiled kernels: brought along, kept, and never a reason not to match."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout, suppress
from pathlib import Path

import pytest

from hashhub.kernel_cache import cache_directories, jit
from tests.killed import Killable, Steps, killable

NOBODY = 54321
# A kernel of its own: compiling ours takes too long for a test.
KERNELS = """
from hashhub.kernel_cache import jit

@jit
def is_set(values, bit):
    return values[bit >> 3] >> (7 - (bit & 7)) & 1 == 1
"""
ONE = """
import contextlib, os, sys
import numba
import numpy as np
from hashhub.kernel_cache import load

@numba.njit
def first(values):
    return values[0] > 1

first(np.array([255], np.uint8))  # loads the compiler, while the interpreter's own files can still be read
user = int(sys.argv[1])
if user:
    os.setgid(user); os.setuid(user)
sys.path.insert(0, sys.argv[2])
import kernels_of_a_test
kernel = kernels_of_a_test.is_set
had_some = []

def use():
    assert kernel(np.array([255], np.uint8), 3) and not kernel(np.array([0], np.uint8), 3)

def phase(has):
    had_some.append(has)
    return contextlib.nullcontext()

load([kernels_of_a_test], use, phase)
print(*had_some, sum(kernel.stats.cache_hits.values()), sum(kernel.stats.cache_misses.values()))
"""


def use_kernels(argument: str, _: Steps) -> None:
    """Do in this process what `run` does in one that it starts, and write what it tells into a file."""
    place, cache, user, told = json.loads(argument)
    os.environ["HASHHUB_KERNEL_CACHE"] = cache
    sys.argv[1:] = [user, place]
    with open(told, "w", encoding="ascii") as file, redirect_stdout(file):  # noqa: PTH123 - before another user's time
        exec(ONE, {})  # noqa: S102 - our own


@pytest.fixture(scope="module")
def loaded() -> Iterator[Killable]:
    """A process that has loaded the compiler, and forks one for each run."""
    with killable(use_kernels) as process:
        yield process


@pytest.fixture
def forked(loaded: Killable, tmp_path: Path) -> Callable[..., str]:
    """Return `run`, in a process that is forked from the loaded one."""

    def run(place: Path, cache: str, user: int = 0) -> str:
        argument = json.dumps([str(place), cache, str(user), str(tmp_path / "told")])
        assert loaded.work(argument, 0) == 0
        return (tmp_path / "told").read_text("ascii").strip()

    return run


def run(place: Path, cache: str, user: int = 0, code: str = ONE) -> str:
    done = subprocess.run(
        [sys.executable, "-B", "-c", code, str(user), place],
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
    """A directory that every user can read; pytest's are for their owner only."""
    with tempfile.TemporaryDirectory(prefix="hashhub-") as directory:
        Path(directory).chmod(0o755)
        Path(directory, "kernels_of_a_test.py").write_text(KERNELS)
        yield Path(directory)


def test_what_one_process_compiled_the_next_one_loads(place: Path) -> None:
    assert run(place, str(place / "kernels")) == "False 0 1"
    assert run(place, str(place / "kernels")) == "True 1 0"
    assert (place / "kernels").stat().st_mode & 0o777 == 0o700


def test_another_installation_compiles_its_own(place: Path, forked: Callable[..., str]) -> None:
    """Numba keeps kernels by where their source is."""
    with tempfile.TemporaryDirectory(prefix="hashhub-") as directory:
        shutil.copy(place / "kernels_of_a_test.py", directory)
        for installation in (place, Path(directory)):
            assert forked(installation, str(place / "kernels")) == "False 0 1"
            assert forked(installation, str(place / "kernels")) == "True 1 0"


def test_of_several_processes_one_compiles_and_the_others_load(place: Path) -> None:
    with ThreadPoolExecutor() as threads:
        said = threads.map(lambda _: run(place, str(place / "kernels")), range(3))
    assert sorted(said) == ["False 0 1", "True 1 0", "True 1 0"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_an_image_brings_them_along_in_a_directory_that_its_user_cannot_write(
    place: Path, forked: Callable[..., str]
) -> None:
    """As in docker/Dockerfile: made by root, readable by all, used by somebody else beside a directory of their own."""
    brought, own, other = place / "brought", place / "own", place / "other"
    forked(place, str(brought))
    subprocess.run(["chmod", "-R", "a+rX", brought], check=True)
    for path in (own, other):
        path.mkdir()
        os.chown(path, NOBODY, NOBODY)
    assert forked(place, f"{own}:{brought}", NOBODY) == "True 1 0"
    # Kernels that nobody brought go into their own.
    assert forked(place, f"{other}:{place / 'none'}", NOBODY) == "False 0 1"
    assert list(other.rglob("*.nbc"))
    assert forked(place, f"{other}:{place / 'none'}", NOBODY) == "True 1 0"


@pytest.mark.parametrize("part", ["*.nbi", "*.nbc"])
def test_what_is_damaged_is_compiled_anew(place: Path, forked: Callable[..., str], part: str) -> None:
    forked(place, str(place))
    for path in place.rglob(part):
        path.write_bytes(path.read_bytes()[:40])
    assert forked(place, str(place)).endswith("0 1")
    assert forked(place, str(place)).endswith("1 0"), "it was replaced"


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="needs the right to mount a small disk")
def test_a_full_disk_is_no_reason_not_to_match(place: Path, forked: Callable[..., str]) -> None:
    disk = place / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=0700", "tmpfs", disk], check=False)
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        assert forked(place, str(disk)) == "False 0 1"
        assert not list(disk.iterdir()), "it would be full before all are kept"
        forked(place, str(place / "kernels"))
        shutil.copytree(place / "kernels", disk, dirs_exist_ok=True)
        with suppress(OSError):
            (disk / "filler").write_bytes(bytes(4 << 20))
        assert forked(place, str(disk)) == "True 1 0"
    finally:
        subprocess.run(["umount", disk], check=True)


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
print("same")
"""
    assert run(place, str(place / "kernels"), code=code) == "same"


def test_a_kernel_s_options() -> None:
    @jit
    def twice(x: int) -> int:
        return 2 * x

    assert twice(21) == 42
    assert twice.targetoptions["nogil"]
