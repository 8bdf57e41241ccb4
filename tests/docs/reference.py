"""Write the pages that are made from the code: `python -m tests.docs.reference DIR`, which `make reference` does.

`python/` is the API of the modules that programs may rely on, from their docstrings; `openapi.json` the HTTP interface,
from the contract; `json.md` what commands print with --json.
"""

from __future__ import annotations

import importlib
import runpy
import sys
from pathlib import Path
from types import ModuleType

from pdoc import render
from pdoc.doc import Module

from tests import json_samples

MODULES = (
    "hashhub.client",
    "hashhub.client.aio",
    "hashhub.model",
    "hashhub.hashes",
    "hashhub.errors",
    "hashhub.connector",
    "hashhub.testing.connectors",
    "hashhub.hygiene",
    "hashhub.schemes",
    "hashhub.schemes.alignment",
    "hashhub.schemes.crosswalk",
    "hashhub.schemes.dimensions",
    "hashhub.trust",
)
OPENAPI = Path(__file__).parents[2] / "proto/openapi.py"


def openapi() -> str:
    """Return the OpenAPI document, as JSON."""
    return str(runpy.run_path(str(OPENAPI))["text"]())


def _imported(name: str) -> ModuleType:
    """Return a module with all that it exports; pdoc does not see what is only imported when asked for."""
    module = importlib.import_module(name)
    vars(module).update({exported: getattr(module, exported) for exported in getattr(module, "__all__", ())})
    return module


def write(target: Path) -> None:
    """Write all pages into `target`."""
    (target / "python").mkdir(parents=True, exist_ok=True)
    (target / "openapi.json").write_text(openapi(), "utf-8")
    (target / "json.md").write_text(json_samples.page(), "utf-8")
    render.configure(docformat="google", search=False)
    modules = {name: Module(_imported(name)) for name in MODULES}
    (target / "python/index.html").write_text(render.html_index(modules), "utf-8")
    for name, module in modules.items():
        page = target / "python" / f"{name.replace('.', '/')}.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(render.html_module(module, modules), "utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
