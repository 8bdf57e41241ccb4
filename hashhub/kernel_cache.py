"""Where compiled kernels are kept, so that only the first start on a kind of processor has to compile them.

`HASHHUB_KERNEL_CACHE` names directories, by default `$XDG_CACHE_HOME/hashhub/kernels`. Numba keeps kernels in the first
that can be written; what others have, such as those of a container image, is copied there. Without one every start
compiles.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import os
import shutil
import stat
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any, Final, cast

import numba
from llvmlite import binding

from hashhub.local_files import lock

_log = logging.getLogger(__name__)
_VARIABLE: Final = "HASHHUB_KERNEL_CACHE"
_LOCK: Final = "compiling.lock"
_COMPLETE: Final = "complete"
_LOOK_SECONDS: Final = 0.05
_LONGEST_WAIT: Final = 300.0  # for another process, which may have been stopped
_FREE_BYTES: Final = 64 << 20  # some ten times what is kept; Numba raises when the disk is full


def jit(function: Callable[..., Any]) -> Any:
    """Return the kernel of a function, without the GIL, compiled or loaded at its first call; other packages' are
    untouched.
    """
    directory = _directory(Path(function.__code__.co_filename))
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(directory)
    try:
        return numba.njit(nogil=True, error_model="numpy", cache=directory is not None)(function)
    finally:
        numba.config.CACHE_DIR = before


def is_kept(*modules: ModuleType) -> bool:
    """Whether all kernels of these modules are kept, as compiled for this processor."""
    return all(path is not None and (path / _COMPLETE).exists() for path in _directories(modules))


def load(
    modules: Sequence[ModuleType],
    use: Callable[[], object],
    phase: Callable[[bool], AbstractContextManager[None]] = lambda _: nullcontext(),
) -> None:
    """Run `use`, which compiles or loads every kernel of these modules. Of several processes one compiles, and the
    others wait and load. `phase` is told whether the kernels are kept, and is entered meanwhile.
    """
    directories = [path for path in _directories(modules) if path is not None]
    with contextlib.ExitStack() as stack:
        if directories and not is_kept(*modules):
            with contextlib.suppress(OSError):
                file = stack.enter_context((directories[0].parent / _LOCK).open("w"))
                end = time.monotonic() + _LONGEST_WAIT
                while not lock(file) and time.monotonic() < end:
                    time.sleep(_LOOK_SECONDS)
            for path in directories:
                _copy_from_others(path)
        if not (has_some := is_kept(*modules)):
            _log.info("compiling the kernels for this processor, once")
        with phase(has_some):
            try:
                use()
            except Exception as e:  # noqa: BLE001 - a damaged pickle can raise anything
                _log.warning("the kept kernels cannot be used (%s); compiling them anew", type(e).__name__)
                for path in directories:
                    shutil.rmtree(path, ignore_errors=True)
                use()
                return  # those that had been loaded are missing there; the next start compiles them
        if not has_some:
            for path in directories:
                with contextlib.suppress(OSError):
                    (path / _COMPLETE).touch()


def compiled_for(kernel: Any, arguments: Sequence[Any]) -> Callable[..., Any]:
    """Return the kernel compiled for these arguments' types; to look that up at each call takes 10 µs."""
    if numba.config.DISABLE_JIT:
        return cast("Callable[..., Any]", kernel)
    compiled: Callable[..., Any] = kernel.compile(tuple(map(numba.typeof, arguments)))
    return compiled


def cache_directories() -> list[Path]:
    """Return the safe directories for kernels, the first made (0700) if need be: Numba's index is a pickle, so whoever
    can write there can run code here.
    """
    named = os.environ.get(_VARIABLE)
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        default = (Path(base) if base else Path.home() / ".cache") / "hashhub" / "kernels"
    except RuntimeError:  # no home at all
        default = None
    paths = [Path(name) for name in named.split(":") if name] if named else [default] if default else []
    for path in paths[:1]:
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError:  # a read-only home, a full disk
            break
    return [path for path in paths if _is_safe(path)]


def _is_safe(path: Path) -> bool:
    try:
        status = path.stat()
    except OSError:
        return False
    ours_or_roots = status.st_uid in {os.geteuid(), 0}
    return ours_or_roots and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and os.access(path, os.R_OK | os.X_OK)


def _directories(modules: Sequence[ModuleType]) -> list[Path | None]:
    return [_directory(Path(str(module.__file__))) for module in modules]


@functools.cache
def _directory(source: Path) -> Path | None:
    """Return where the kernels of a source file are kept, by code, place, versions and processor; None if nowhere."""
    cpu = (binding.get_host_cpu_name(), binding.get_host_cpu_features().flatten())
    chosen = (str(numba.config.CPU_NAME), str(numba.config.CPU_FEATURES))
    parts = (str(source), numba.__version__, str(sys.implementation.cache_tag), *cpu, *chosen)
    key = hashlib.sha256("\0".join(parts).encode() + source.read_bytes()).hexdigest()[:16]
    for path in cache_directories():
        has_room = (path / key / _COMPLETE).exists() or shutil.disk_usage(path).free >= _FREE_BYTES
        if has_room and os.access(path, os.W_OK):
            return path / key
    return None


def _copy_from_others(directory: Path) -> None:
    for path in cache_directories():
        other = path / directory.name
        if (other / _COMPLETE).exists() and not (directory / _COMPLETE).exists():
            with contextlib.suppress(OSError):
                shutil.rmtree(directory, ignore_errors=True)
                copy = shutil.copytree(other, directory.with_suffix(".copy"), dirs_exist_ok=True)
                copy.rename(directory)
