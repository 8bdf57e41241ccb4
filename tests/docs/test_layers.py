"""No module needs itself by way of others, imports inside functions and for types included."""

from __future__ import annotations

from functools import cache

import grimp
import pytest


def circles(graph: grimp.ImportGraph) -> list[list[str]]:
    """Return the strongly connected components of more than one module (Tarjan's algorithm)."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    components: list[list[str]] = []

    def visit(module: str) -> None:
        number[module] = lowest[module] = len(number)
        stack.append(module)
        for other in graph.find_modules_directly_imported_by(module):
            if other not in number:
                visit(other)
                lowest[module] = min(lowest[module], lowest[other])
            elif other in stack:
                lowest[module] = min(lowest[module], number[other])
        if lowest[module] == number[module]:
            at = stack.index(module)
            if len(stack) - at > 1:
                components.append(sorted(stack[at:]))
            del stack[at:]

    for module in graph.modules:
        if module not in number:
            visit(module)
    return components


def test_there_are_no_circles() -> None:
    assert (
        circles(grimp.build_graph("hashhub", "hashhub_connectors", include_external_packages=False, cache_dir=None))
        == []
    )


def test_a_circle_is_seen() -> None:
    graph = grimp.ImportGraph()
    for importer, imported in (("a", "b"), ("b", "c"), ("c", "b"), ("c", "d")):
        graph.add_import(importer=importer, imported=imported)
    assert circles(graph) == [["b", "c"]]


def floors(graph: grimp.ImportGraph, package: str) -> int:
    """Return how many modules of a package stand on one another, the longest chain of imports."""
    inside = {m for m in graph.modules if m.startswith(f"{package}.")}

    @cache
    def floor(module: str) -> int:
        below = graph.find_modules_directly_imported_by(module) & inside
        return 1 + max(map(floor, below), default=0)

    return max(map(floor, inside))


@pytest.mark.parametrize(("package", "most"), [("hashhub.store", 8), ("hashhub.hub", 7)])
def test_a_package_is_not_deep(package: str, most: int) -> None:
    assert floors(grimp.build_graph("hashhub", include_external_packages=False, cache_dir=None), package) <= most
