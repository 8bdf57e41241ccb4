"""The licences of what ships: every package of the locks that images and installations are built from."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
LOCKS: Final = ("docker/requirements.lock", "docker/hook.requirements.lock")
# Permissive ones, and those that ask for changes to the package itself to be given away, which are used unchanged.
ALLOWED: Final = frozenset(
    {
        "0BSD", "AFL-2.1", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD", "BSD-2-Clause", "BSD-3-Clause",
        "CC0-1.0", "LGPL-3.0-only", "MIT", "MIT-0", "MIT-CMU", "MPL-2.0", "PSF-2.0", "Zlib",
    }
)  # fmt: skip
_WORDS: Final = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD",
    "2-clause BSD License": "BSD-2-Clause",
    "3-Clause BSD License": "BSD-3-Clause",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
# Whose metadata name none: what the licence file in the package says.
_UNSTATED: Final = {"pyrage": {"MIT"}}


def shipped() -> set[str]:
    """Return the names of all packages that ship."""
    texts = [(ROOT / lock).read_text("utf-8") for lock in LOCKS]
    return {name for text in texts for name in re.findall(r"^([\w.-]+)==", text, re.MULTILINE)}


def licences_of(package: str) -> set[str] | None:
    """Return the licences of an installed package by their SPDX identifiers, all that it names; None: not installed
    here, as what only other systems need.
    """
    try:
        told = metadata(package)
    except PackageNotFoundError:
        return None
    if expressions := told.get_all("License-Expression"):
        named = re.split(r"\s+(?:AND|OR)\s+", expressions[0].strip("()"))
    else:
        osi = [c for c in told.get_all("Classifier", []) if c.startswith("License :: OSI Approved :: ")]
        named = [c.rpartition(" :: ")[2] for c in osi] or told.get_all("License", [])
        named = [part for name in named for part in name.split(" OR ")]
    return {_WORDS.get(name, name) for name in named if name} or _UNSTATED.get(package, set())
