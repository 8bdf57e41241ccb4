"""What hashes here, by name and version: of two runs with the same, a file has the same hashes."""

from __future__ import annotations

from contextlib import suppress
from importlib import metadata
from typing import Final

from hashhub import __version__

_LIBRARIES: Final = ("pillow", "pillow-heif", "av", "imagehash")  # what can be hashed, and to what, depends on them


def software() -> str:
    """Return the versions, as text to compare."""
    versions = [f"hashhub {__version__}"]
    for name in _LIBRARIES:
        with suppress(metadata.PackageNotFoundError):
            versions.append(f"{name} {metadata.version(name)}")
    return ", ".join(versions)
