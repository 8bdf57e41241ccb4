"""How many examples a property is tried with where it wants more, or fewer, than the profile's."""

from __future__ import annotations

import os
from typing import Final

_QUICK: Final = 15


def examples(count: int) -> int:
    """Return for `max_examples` this count, and as few as the quick profile has where that is chosen."""
    return min(count, _QUICK) if os.environ.get("HYPOTHESIS_PROFILE") == "quick" else count
