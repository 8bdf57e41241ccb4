"""How many examples a property is tried with where it says so itself, in the quick profile and otherwise."""

from __future__ import annotations

import os
from typing import Final

QUICK: Final = 15  # what the quick profile tries


def examples(count: int) -> int:
    """Return for `max_examples` this count, and as few as the quick profile has where that is chosen."""
    return min(count, QUICK) if os.environ.get("HYPOTHESIS_PROFILE") == "quick" else count
