"""The pages that are made from the code can be made, and what programs may rely on is explained."""

from __future__ import annotations

import importlib
import inspect
import json
from pathlib import Path

import pytest

from tests.docs import reference


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("reference")
    reference.write(directory)
    return directory


def test_all_pages_are_built(built: Path) -> None:
    assert json.loads((built / "openapi.json").read_text("utf-8"))["openapi"].startswith("3.1")
    assert (built / "json.md").read_text("utf-8").count("```json\n") > 50
    index = (built / "python/index.html").read_text("utf-8")
    for name in reference.MODULES:
        assert f"{name.replace('.', '/')}.html" in index


@pytest.mark.parametrize("name", reference.MODULES)
def test_every_public_name_has_an_entry_and_is_explained(built: Path, name: str) -> None:
    module = importlib.import_module(name)
    page = (built / "python" / f"{name.replace('.', '/')}.html").read_text("utf-8")
    own = [n for n, v in vars(module).items() if not n.startswith("_") and getattr(v, "__module__", "") == name]
    public = getattr(module, "__all__", own)
    assert public
    for exported in public:
        assert f'id="{exported}"' in page, exported
        value = getattr(module, exported)
        if inspect.isclass(value) or inspect.isroutine(value):
            assert inspect.getdoc(value), f"{name}.{exported} is not explained"
