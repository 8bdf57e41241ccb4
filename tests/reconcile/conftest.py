"""Stores to make extracts of, filled in few words."""

from __future__ import annotations

from tests.store.conftest import fill, filled

__all__ = ["fill", "filled"]
