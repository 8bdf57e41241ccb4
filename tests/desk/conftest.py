"""The desk is tried with the hook, hub and pictures of tests/hook."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from hashhub.desk.records import Records
from tests.hook.conftest import (
    at_work,
    bucket_store,
    hashers,
    listed,
    local,
    make_hook,
    make_settings,
    pictures,
    reader,
    scene,
    site,
    started,
)

__all__ = [
    "at_work",
    "bucket_store",
    "hashers",
    "listed",
    "local",
    "make_hook",
    "make_settings",
    "pictures",
    "reader",
    "scene",
    "site",
    "started",
]


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    """Give a desk's records, which are closed at the test's end."""
    with closing(Records(tmp_path / "hook")) as opened:
        yield opened
