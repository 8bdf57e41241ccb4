"""Nothing has to be built."""

from typing import Any


def build_all_indices(*_: Any) -> None:
    """Each content matches as soon as its bank has it."""
