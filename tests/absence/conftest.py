from __future__ import annotations

from tests.hub.conftest import open_hub

__all__ = ["open_hub"]
