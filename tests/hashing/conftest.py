"""The pool's own tests: each starts what it needs."""

from __future__ import annotations

import pytest


@pytest.fixture
def shared_templates() -> None:
    """Nothing is shared."""
