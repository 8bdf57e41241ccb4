"""`python -m hashhub.matcher`: compile the kernels into `HASHHUB_KERNEL_CACHE`, for container images."""

from __future__ import annotations

import sys
import time

from hashhub.kernel_cache import cache_directories
from hashhub.matcher.live import has_kernels, warm_up


def main() -> int:
    """Compile what is not compiled; return 1 when there is no directory to keep it in."""
    began = time.perf_counter()
    if not cache_directories():
        sys.stderr.write("there is no safe directory for compiled kernels; name one with HASHHUB_KERNEL_CACHE\n")
        return 1
    had_some = has_kernels()
    warm_up()
    seconds = time.perf_counter() - began
    sys.stdout.write(f"kernels {'loaded' if had_some else 'compiled'} in {seconds:.1f} s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
