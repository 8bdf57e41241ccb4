"""Whether the compiled loops of hashing are used: they give the same bits as NumPy and Pillow, many times sooner.

Numba (the extra `kernels`) compiles them, which takes seconds, once: `kernel_cache` keeps what it compiled. A process
that hashes pictures itself has that done at its first picture, or loads what is kept; children that decode what
strangers send only ever load (`hashing.child`).
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import logging
import threading
from typing import Final

_log = logging.getLogger("hashhub.hashing")
_IMPORTING: Final = threading.Lock()


def import_scipy_and_numba() -> None:
    """Import what is there of SciPy, which imagehash uses, and of Numba; one thread at a time, and in this order.

    Two threads that import SciPy at once, one through Numba, get modules half imported, and a whole picture fails.
    """
    with _IMPORTING:
        for name in ("scipy.fftpack", "numba"):
            with contextlib.suppress(ImportError):
                importlib.import_module(name)


class _State:
    """Of this process. `is_decided`: whether there are kernels, until `load` is called again."""

    is_loaded = False
    is_decided = False


def load(*, compiles: bool = True) -> bool:
    """Use the kernels from now on; return whether they are used. Those that are not kept are compiled; unless
    `compiles` is false: the process then does without until this is called again. Without Numba, false.
    """
    if _State.is_loaded:
        return True
    _State.is_decided = True
    try:
        _State.is_loaded = _loaded(compiles=compiles)
    except ImportError:
        return False
    except Exception as e:  # noqa: BLE001 - no kernel is a reason not to hash, whatever Numba or LLVM has to say
        _log.warning("compiled kernels cannot be used: %s", type(e).__name__)
        return False
    return _State.is_loaded


def _loaded(*, compiles: bool) -> bool:
    import_scipy_and_numba()
    from hashhub.hashing import kernels
    from hashhub.kernel_cache import is_kept
    from hashhub.kernel_cache import load as load_kernels

    if not compiles and not is_kept(kernels):
        return False
    load_kernels([kernels], lambda: [kernel.compile(arguments) for kernel, arguments in kernels.SIGNATURES])
    return True


def are_used() -> bool:
    """Whether to call the kernels; the first time, they are loaded, or compiled if nobody has called `load`."""
    return _State.is_loaded if _State.is_decided else load()


def has_numba() -> bool:
    """Whether kernels can be compiled here."""
    return importlib.util.find_spec("numba") is not None
