"""Names that say nothing of the thing are not given: that it was looked for, kept, or is the same as another."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SAYING_NOTHING = {"akin", "found", "kept", "same", "twofold"}


def given(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the name of each variable and parameter that a module gives a name that says nothing."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name) if name.strip("_") in SAYING_NOTHING:
                yield node.lineno, name


def test_names_say_what_a_thing_is() -> None:
    wrong = []
    for path in [*(ROOT / "hashhub").rglob("*.py"), *(ROOT / "connectors").rglob("*.py")]:
        place = path.relative_to(ROOT).as_posix()
        if not place.startswith("hashhub/v1/"):
            wrong += [f"{place}:{line}: {name}" for line, name in given(path.read_text("utf-8"))]
    assert not wrong, "name what each of these is:\n" + "\n".join(wrong)


@pytest.mark.parametrize(
    "source",
    [
        "found = 1",
        "for same in x: ...",
        "def f(kept): ...",
        "[akin for akin in x]",
        "if (_found := 1): ...",
        "(a, same) = x",
    ],
)
def test_all_ways_to_give_a_name_are_seen(source: str) -> None:
    assert list(given(source))
    assert not list(given("page.found; keep = same_item(found=1)"))
