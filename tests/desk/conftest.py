"""The desk is tried with the hook, hub and pictures of tests/hook."""

from __future__ import annotations

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
