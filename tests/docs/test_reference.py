"""docs/reference is what the sources say, and what may be relied on is explained."""

from __future__ import annotations

import ast
import importlib
import inspect
import runpy
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

REFERENCE: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("reference.py")))
PAGES = Path(__file__).parents[2] / "docs/reference"


@pytest.fixture(params=REFERENCE["MODULES"])
def module(request: pytest.FixtureRequest) -> ModuleType:
    return importlib.import_module(request.param)


def test_the_pages_are_what_make_reference_writes() -> None:
    pages = REFERENCE["pages"]()
    assert {p.name for p in PAGES.glob("*")} == set(pages)
    for name, text in pages.items():
        assert (PAGES / name).read_text("utf-8") == text, f"{name} is out of date; run: make reference"


def test_every_public_name_has_an_entry_and_is_explained(module: ModuleType) -> None:
    page = (PAGES / f"{module.__name__}.md").read_text("utf-8")
    for name in REFERENCE["public_names"](module):
        assert f"\n## {name}\n" in page
        value = getattr(module, name)
        if inspect.isclass(value) or inspect.isroutine(value):
            assert inspect.getdoc(value), f"{module.__name__}.{name} is not explained"
    assert "|  |" not in page, "a constant is not explained"


def test_every_signature_of_a_function_is_whole() -> None:
    signatures = 0
    for path in PAGES.glob("hashhub.*.md"):
        for block in path.read_text("utf-8").split("```python\n")[1:]:
            code = block.split("\n```")[0]
            if code.startswith(("def ", "@")) and "class " not in code:
                ast.parse(f"{code}: ...")
                signatures += 1
    assert signatures > 80
