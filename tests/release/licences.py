"""The licences of what ships: every package of the locks that images and installations are built from, and the
libraries that their wheels bundle. docs/operate/licences.md says them to people.
"""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any, Final

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
_GCC: Final = "GPL-3.0-or-later WITH GCC-exception-3.1"
_GNU: Final = "LGPL-3.0-or-later OR GPL-2.0-or-later"
# Shared libraries in the wheels, by the beginning of the file's name; the first that fits. FFmpeg's as av's wheel
# configures it (`av._core.library_meta`), libheif, libde265 and x265 as pillow-heif's LICENSES_bundled.txt has them.
BUNDLED: Final = {
    "libSvtAv1Enc": "BSD-3-Clause-Clear",
    "libXau": "MIT",
    "libasound": "LGPL-2.1-or-later",
    "libavif": "BSD-2-Clause",
    **dict.fromkeys(("libav", "libswresample", "libswscale"), "LGPL-3.0-or-later"),
    "libbrotli": "MIT",
    "libcom_err": "MIT",
    **dict.fromkeys(("libcrypto", "libssl"), "Apache-2.0"),
    "libcrypt": "LGPL-2.1-or-later",
    "libdav1d": "BSD-2-Clause",
    "libde265": "LGPL-3.0-or-later",
    "libdrm": "MIT",
    "libfreetype": "FTL OR GPL-2.0-only",
    **dict.fromkeys(("libgfortran", "libgomp"), _GCC),
    **dict.fromkeys(("libgmp", "libhogweed", "libnettle", "libunistring"), _GNU),
    "libgnutls": "LGPL-2.1-or-later",
    **dict.fromkeys(("libgssapi_krb5", "libk5crypto", "libkrb5"), "MIT"),
    "libharfbuzz": "MIT",
    "libheif": "LGPL-3.0-or-later",
    "libjpeg": "IJG AND BSD-3-Clause AND Zlib",
    "libkeyutils": "LGPL-2.1-or-later",
    "liblcms2": "MIT",
    **dict.fromkeys(("liblber", "libldap"), "OLDAP-2.8"),
    "liblzma": "0BSD",
    "libmp3lame": "LGPL-2.0-or-later",
    "libopencore": "Apache-2.0",
    "libopenjp2": "BSD-2-Clause",
    "libopus": "BSD-3-Clause",
    "libpng16": "libpng-2.0",
    "libpq": "PostgreSQL",
    "libquadmath": "LGPL-2.1-or-later",
    "libsasl2": "BSD-Attribution-HPND-disclaimer",
    **dict.fromkeys(("libscipy_openblas", "libopenblas"), "BSD-3-Clause"),
    "libtiff": "libtiff",
    "libvpl": "MIT",
    "libvpx": "BSD-3-Clause",
    **dict.fromkeys(("libsharpyuv", "libwebp"), "BSD-3-Clause"),
    **dict.fromkeys(("libx264", "libx265"), "GPL-2.0-or-later"),
    "libxcb": "MIT",
    "libzstd": "BSD-3-Clause OR GPL-2.0-only",
}


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


def bundled(site: Path) -> dict[str, dict[tuple[str, str], str]]:
    """Return the licence of each (library, version) beside each package that ships and is installed in `site`.

    Raises LookupError for one whose licence is not known here.
    """
    libraries: dict[str, dict[tuple[str, str], str]] = {}
    for package in shipped():
        for file in sorted((site / f"{package.replace('-', '_')}.libs").glob("*.so*")):
            licence = next((text for begin, text in BUNDLED.items() if file.name.startswith(begin)), None)
            if licence is None:
                raise LookupError(f"{package} bundles {file.name}: find its licence, and say it in BUNDLED")
            name, _, version = re.sub(r"(-[0-9a-f]{8})+(?=[.-])", "", file.name).partition(".so")
            libraries.setdefault(package, {})[name, version.strip(".")] = licence
    return libraries


def add_bundled(sbom: dict[str, Any], site: Path) -> None:
    """Add to an SBOM what each package bundles, as parts of its component."""
    libraries = bundled(site)
    for component in sbom["components"]:
        if parts := libraries.get(re.sub(r"[-_.]+", "-", component["name"]).lower()):
            component["components"] = [
                {"type": "library", "name": name, "version": version, "licenses": [{"expression": licence}]}
                for (name, version), licence in parts.items()
            ]
