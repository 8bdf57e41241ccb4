"""`python -m hashhub.hashing`: compile the kernels into `HASHHUB_KERNEL_CACHE`, so that no start has to.

A container image is built with it.
"""

from __future__ import annotations

import sys
import time

from hashhub.hashing import compiled


def main() -> int:
    """Compile what is not compiled; return 1 when there is no compiler or no directory to keep it in."""
    began = time.perf_counter()
    if not compiled.has_numba():
        sys.stderr.write("there is nothing to compile kernels with; run: pip install 'hashhub[kernels]'\n")
        return 1
    from hashhub.kernel_cache import cache_directories

    if not cache_directories():
        sys.stderr.write("there is no safe directory for compiled kernels; name one with HASHHUB_KERNEL_CACHE\n")
        return 1
    had_some = compiled.load(compiles=False) or not compiled.load()
    sys.stdout.write(f"kernels {'loaded' if had_some else 'compiled'} in {time.perf_counter() - began:.1f} s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
