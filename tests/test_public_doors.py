"""Tests use what everybody may use: of private names only so many, which must not become more. The source uses no
private name of a library.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent

MOST_USES: Final = 58
MOST_PATCHES: Final = 7

# Those that guard the promises stay as they are.
GUARDS: Final = (
    *("absence/", "adversaries/", "hygiene/", "matcher/", "schemes/", "trust/"),
    *("connectors/test_contract.py", "connectors/test_exchange_contract.py"),
    *(f"hub/test_{name}.py" for name in ("access", "history", "intake", "match", "terms")),
    *(f"hook/test_{name}.py" for name in ("doors_agree", "local_same_answers", "sidecar_adversaries")),
    *("e2e/test_bad_input.py", "e2e/test_safety.py", "server/test_hostile_requests.py", "server/test_tls.py"),
    "interop/hma/OpenMediaMatch/tests/test_",  # others' tests, unedited
)
_PRIVATE: Final = re.compile(r"_[A-Za-z]\w*")
_ABOUT_TO_USE: Final = re.compile(  # whatever has none of these uses none; most files are not parsed for it
    r"""(?<!\bself)(?<!\bcls)\.\s*_[A-Za-z]|["']_[A-Za-z]|^\s*from hashhub[\w.]* import (\([^)]*|[^\n]*)\b_[A-Za-z]""",
    re.MULTILINE,
)
_PATCHING: Final = frozenset({"setattr", "delattr", "object", "patch"})
_OF_NAMED_TUPLES: Final = frozenset({"_replace", "_asdict", "_fields", "_make"})
_PUBLIC_ALL_THE_SAME: Final = frozenset({"os._exit", "sys._getframe", "sys._current_frames"})


def uses_and_patches(source: str) -> Iterator[tuple[str, int, str]]:
    """Yield (kind, line, name) of each private name that a module uses or replaces and does not define."""
    if not _ABOUT_TO_USE.search(source):
        return
    nodes = list(ast.walk(ast.parse(source)))
    own = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    own |= {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    own |= {
        node.attr
        for node in nodes
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    }
    for node in nodes:
        if isinstance(node, ast.Attribute) and _PRIVATE.fullmatch(node.attr) and node.attr not in own:
            base = node.value.id if isinstance(node.value, ast.Name) else ""
            if (
                base not in {"self", "cls"}
                and node.attr not in _OF_NAMED_TUPLES
                and f"{base}.{node.attr}" not in _PUBLIC_ALL_THE_SAME
            ):
                yield "use", node.lineno, node.attr
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("hashhub"):
            yield from (("use", node.lineno, name.name) for name in node.names if _PRIVATE.fullmatch(name.name))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _PATCHING:
            for argument in node.args[:2]:
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    name = argument.value.rpartition(".")[2]
                    if _PRIVATE.fullmatch(name) and re.fullmatch(r"[\w.]+", argument.value):
                        yield "patch", node.lineno, name


def counted() -> dict[str, Counter[str]]:
    """Return how many there are of each kind, by file."""
    counts: dict[str, Counter[str]] = {"use": Counter(), "patch": Counter()}
    for path in sorted(ROOT.rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        if not name.startswith(GUARDS):
            for kind, _, _ in uses_and_patches(path.read_text("utf-8")):
                counts[kind][name] += 1
    return counts


def test_private_names_are_few() -> None:
    counts = counted()
    assert counts["use"].total() <= MOST_USES, counts["use"].most_common(20)
    assert counts["patch"].total() <= MOST_PATCHES, counts["patch"].most_common(20)


def private_names_of_others(sources: Iterable[str]) -> list[str]:
    """Return the private names that these modules use, or import from elsewhere, and none of them defines."""
    own: set[str] = set()
    used: set[str] = set()
    for node in (node for source in sources for node in ast.walk(ast.parse(source))):  # all trees at once slow it down
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                own.add(node.name)
            case ast.Name(ctx=ast.Store()):
                own.add(node.id)
            case ast.Attribute():
                (own if isinstance(node.ctx, ast.Store) else used).add(node.attr)
            case ast.ImportFrom() if not (node.module or "").startswith("hashhub"):
                used.update((node.module or "").split("."), (name.name for name in node.names))
            case ast.Import():
                used.update(part for name in node.names for part in name.name.split("."))
    public = _OF_NAMED_TUPLES | {name.partition(".")[2] for name in _PUBLIC_ALL_THE_SAME}
    return sorted({name for name in used if _PRIVATE.fullmatch(name)} - own - public)


def test_the_source_uses_no_private_name_of_a_library() -> None:
    files = [path for name in ("hashhub", "connectors") for path in (ROOT.parent / name).rglob("*.py")]
    assert private_names_of_others(f.read_text("utf-8") for f in files if "v1" not in f.parts) == []


def test_a_private_name_of_a_library_is_seen() -> None:
    module = "import a._b\nfrom c import _d\nclass E(F):\n    def _g(self): return self._g, self._h\n"
    assert private_names_of_others([module]) == ["_b", "_d", "_h"]
