"""Where compiled kernels are kept, so that only the first start on a kind of processor has to compile them.

`HASHHUB_KERNEL_CACHE` names directories, separated by colons; by default it is `$XDG_CACHE_HOME/hashhub/kernels`.
Kernels are read from all of them and written to the first that can be written: a container image brings some along in
a directory that it cannot write. What cannot be read is compiled, and what cannot be written is compiled again next
time: no cache is a reason not to match.

`matcher` and `hashing` define kernels with `jit`. Nothing is cached before `use_cache`, and no setting of Numba is
touched: another package's kernels keep their own.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import logging
import os
import stat
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, cast

import numba
from numba.core.caching import CompileResultCacheImpl, FunctionCache, _Cache, _CacheLocator
from numba.core.dispatcher import Dispatcher

_log = logging.getLogger(__name__)
_VARIABLE: Final = "HASHHUB_KERNEL_CACHE"
_LOCK: Final = "compiling.lock"
_LOOK_SECONDS: Final = 0.05
_LONGEST_WAIT: Final = 300.0  # for another process, which may have been stopped
_dispatchers: list[Any] = []


def jit(function: Callable[..., Any]) -> Any:
    """Return the kernel of a function: without the GIL, compiled at its first call with arguments of a kind."""
    dispatcher = numba.njit(nogil=True, error_model="numpy")(function)
    _dispatchers.append(dispatcher)
    return dispatcher


def use_cache() -> bool:
    """Read and write compiled kernels from now on; return whether there are some for these sources.

    Counts for the kernels of all modules that are imported so far: every `Matcher` calls it, and so does the first
    picture. Whether they are for this processor shows only when they are loaded.
    """
    directories = _directories()
    for dispatcher in _dispatchers:
        if not isinstance(dispatcher._cache, _KernelCache):  # noqa: SLF001 - what enable_caching sets
            dispatcher._cache = _KernelCache(dispatcher.py_func, directories)  # noqa: SLF001 - likewise
    sources = {_source(dispatcher.py_func) for dispatcher in _dispatchers}
    return all(any(_has_some(_of_source(path, source)) for path in directories) for source in sources)


@contextlib.contextmanager
def compiling() -> Iterator[bool]:
    """Wait while another process compiles into the same directory, and let others wait for this block, which is to
    compile or load; yield what `use_cache` returns then. Those that only load do not wait for each other.
    """
    has_some = use_cache()
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError, IndexError):  # no directory that can be written
            lock = os.open(_directories()[0] / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            stack.callback(os.close, lock)
            end = time.monotonic() + _LONGEST_WAIT
            while not _is_taken(lock, fcntl.LOCK_SH if has_some else fcntl.LOCK_EX) and time.monotonic() < end:
                time.sleep(_LOOK_SECONDS)
                has_some = use_cache()
        if not (has_some := use_cache()):
            _log.info("compiling the kernels for this processor, once")
        yield has_some


def _is_taken(lock: int, how: int) -> bool:
    try:
        fcntl.flock(lock, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def compiled_for(kernel: Any, arguments: Sequence[Any]) -> Callable[..., Any]:
    """Return the kernel as it is compiled for arguments of these types, which is called with such alone: what a kernel
    does to find that out at each call takes 10 µs of code that is in no cache.
    """
    if not isinstance(kernel, Dispatcher):  # Numba is told to compile nothing
        return cast("Callable[..., Any]", kernel)
    compiled: Callable[..., Any] = kernel.compile(tuple(map(numba.typeof, arguments)))
    return compiled


def load_without_blas() -> None:
    """Load Numba without the linear algebra of SciPy, which takes 0.13 s to import and which no kernel of ours uses.

    For a process of our own: another package's kernels that multiply matrices would not compile.
    """
    if "scipy.linalg" in sys.modules:
        return
    sys.modules["scipy.linalg"] = None  # type: ignore[assignment]  # says that there is none
    try:
        import numba.np.arraymath  # noqa: F401 - looks for it once
    finally:
        del sys.modules["scipy.linalg"]


def is_kept(kernel: Any, arguments: tuple[Any, ...]) -> bool:
    """Whether the kernel for arguments of these Numba types can be had without compiling; it is loaded then.

    `use_cache` must have been called.
    """
    if kernel._cache.load_overload(arguments, kernel.targetctx) is None:  # noqa: SLF001 - as above
        return False
    kernel.compile(arguments)
    return True


@functools.cache
def _directories() -> list[Path]:
    return cache_directories()


def cache_directories() -> list[Path]:
    """Return the directories for compiled kernels that are safe, the first of them created with mode 0700 if need be.

    Numba's cache index is a pickle: a directory that others can write would be a way to run code here.
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


def _source(function: Callable[..., Any]) -> Path:
    """Return the file that defines a kernel, and all that it calls."""
    return Path(function.__code__.co_filename)


@functools.cache
def _source_digest(source: Path) -> str:
    """Return what changes with the kernels' source: unlike a file's time it outlives copying and packing."""
    return hashlib.sha256(source.read_bytes()).hexdigest()[:16]


def _of_source(directory: Path, source: Path) -> Path:
    return directory / _source_digest(source)


def _has_some(directory: Path) -> bool:
    try:
        return any(name.endswith(".nbc") for name in os.listdir(directory))  # noqa: PTH208 - closes what it opens
    except OSError:
        return False


class _KernelCache(_Cache):  # type: ignore[misc]  # Numba is untyped
    """The cache of one kernel over several directories; whatever goes wrong with it is the same as not having it."""

    def __init__(self, function: Callable[..., Any], directories: Sequence[Path]) -> None:
        self._name = function.__name__
        self._caches = [_cache_in(_of_source(path, _source(function)), function) for path in directories]

    @property
    def cache_path(self) -> str:
        return str(self._caches[0].cache_path) if self._caches else ""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        for cache in self._caches:
            try:
                if (compiled := cache.load_overload(sig, target_context)) is not None:
                    return compiled
            except Exception as e:  # noqa: BLE001 - a damaged pickle can raise anything
                _log.warning("a compiled kernel (%s) cannot be read: %s", self._name, type(e).__name__)
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        for cache in self._caches:
            try:
                cache.save_overload(sig, data)
            except Exception as e:  # noqa: BLE001 - a full or read-only disk, or a damaged index that is to be replaced
                _log.debug("a compiled kernel (%s) cannot be written: %s", self._name, type(e).__name__)
            else:
                return

    def enable(self) -> None:
        for cache in self._caches:
            cache.enable()

    def disable(self) -> None:
        for cache in self._caches:
            cache.disable()

    def flush(self) -> None:
        for cache in self._caches:
            cache.flush()


def _cache_in(directory: Path, function: Callable[..., Any]) -> Any:
    """Return Numba's own cache of a function, in this directory."""

    class Locator(_CacheLocator):  # type: ignore[misc]  # as above
        def get_cache_path(self) -> str:
            return str(directory)

        def get_source_stamp(self) -> str:
            return _source_digest(_source(function))

        def get_disambiguator(self) -> str:
            return str(function.__code__.co_firstlineno)

        @classmethod
        def from_function(cls, py_func: Any, py_file: str) -> Any:
            del py_func, py_file
            return cls()

    class Implementation(CompileResultCacheImpl):  # type: ignore[misc]  # as above
        _locator_classes = (Locator,)

    class Cache(FunctionCache):  # type: ignore[misc]  # as above
        _impl_class = Implementation

    return Cache(function)
