"""Others' software judges what hashhub writes. `make interop` installs it; without it these tests are skipped."""

from __future__ import annotations

import importlib.util
import shutil

import pytest


def needs(module: str) -> pytest.MarkDecorator:
    """Skip a test where this module is not installed."""
    return pytest.mark.skipif(importlib.util.find_spec(module) is None, reason=f"no {module}: `make interop`")


def needs_command(name: str) -> pytest.MarkDecorator:
    """Skip a test where this command is not installed."""
    return pytest.mark.skipif(shutil.which(name) is None, reason=f"no {name}: install it from the system's packages")
