"""Writes the Python API reference from docstrings and sources: `python tests/docs/reference.py docs/reference`; a test
compares the two.

One page for each module, with what it exports: its `__all__`, else what it defines without an underscore. Signatures,
fields and members are shown as the source has them, so that comments beside them come along.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

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
MOST_LINES = 12  # of a constant; a longer one is shown without its value

Function = ast.FunctionDef | ast.AsyncFunctionDef

INTRODUCTION = """\
# Python API

What may be relied on from outside: these modules, and in them what has no leading underscore. `make reference` writes
these pages from the docstrings; a test keeps them true. Whatever is not here may change without notice.

| module | what it is for |
|---|---|
"""


def pages() -> dict[str, str]:
    """Return the text of each page by its file name."""
    modules = [importlib.import_module(name) for name in MODULES]
    rows = [f"| [`{m.__name__}`]({m.__name__}.md) | {_first_sentence(m.__doc__)} |\n" for m in modules]
    return {"README.md": INTRODUCTION + "".join(rows), **{f"{m.__name__}.md": _page(m) for m in modules}}


def public_names(module: ModuleType) -> list[str]:
    """Return what the module exports, in the order of its `__all__` or of its source."""
    exported = getattr(module, "__all__", None)
    if exported is not None:
        return list(exported)
    return [name for node in _source(module.__name__).body for name in _names(node) if not name.startswith("_")]


def _page(module: ModuleType) -> str:
    names = public_names(module)
    parts = [f"# {module.__name__}", _prose(module.__doc__)]
    anchors = [name.lower() for name in names]
    for place, anchor in enumerate(anchors):
        if before := anchors[:place].count(anchor):  # headings that differ in case only are numbered
            anchors[place] = f"{anchor}-{before}"
    rows = [f"| [`{n}`](#{a}) | {_summary(module, n)} |" for n, a in zip(names, anchors, strict=True)]
    parts.append("\n".join(["| name | what it is |", "|---|---|", *rows]))
    for name in names:
        parts += [f"## {name}", *_entry(module, name)]
    return "\n\n".join(parts) + "\n"


def _entry(module: ModuleType, name: str) -> Iterator[str]:
    value = getattr(module, name)
    match _definition(module, name):
        case ast.ClassDef() as node:
            yield from _class(value, node)
        case (ast.FunctionDef() | ast.AsyncFunctionDef()) as node:
            yield _code(_header(node, value.__module__))
            yield _prose(ast.get_docstring(node))
        case ast.stmt() as node:
            yield _code(_constant(node, _home(module, name)))
            yield from filter(None, [_remark(module, name)])


def _class(kind: type, node: ast.ClassDef) -> Iterator[str]:
    lines = _lines(kind.__module__)
    start = next((f for f in node.body if isinstance(f, Function) and f.name == "__init__"), None)
    fields = _fields(node, lines)
    if fields and start is not None:
        fields += "\n\n" + textwrap.indent(_header(start, kind.__module__), "    ")
    head = f"class {node.name}({', '.join(ast.unparse(b) for b in [*node.bases, *node.keywords])})".replace("()", "")
    if start is not None and not fields:
        head = _header(start, kind.__module__).replace("def __init__", f"class {node.name}", 1)
        head = re.sub(r"self,?\s*", "", head, count=1).removesuffix(" -> None")
    above = "".join(f"@{ast.unparse(d)}\n" for d in node.decorator_list)
    yield _code(above + (f"{head}:\n{fields}" if fields else head))
    yield _prose(ast.get_docstring(node))
    if start is not None and (said := ast.get_docstring(start)):
        yield _prose(said)
    for owner, method in _methods(kind):
        yield f"### {node.name}.{method.name}"
        decorators = [f"@{ast.unparse(d)}\n" for d in method.decorator_list]
        yield _code("".join(decorators) + _header(method, owner.__module__))
        yield _prose(ast.get_docstring(method))


def _methods(kind: type) -> Iterator[tuple[type, Function]]:
    """Yield the public methods in the order of the source, those of bases that have no entry of their own first."""
    seen: set[str] = set()
    for owner in [*kind.__mro__[1:], kind]:
        if owner.__module__.partition(".")[0] != "hashhub":
            continue
        if owner is not kind and owner.__module__ in MODULES and not owner.__name__.startswith("_"):
            continue
        for node in _class_node(owner).body:
            if isinstance(node, Function) and not node.name.startswith("_") and node.name not in seen:
                seen.add(node.name)
                yield owner, node


def _fields(node: ast.ClassDef, lines: list[str]) -> str:
    """Return the class's body without its docstring and functions."""
    hidden: set[int] = set()
    for part in node.body:
        if isinstance(part, Function) or (part is node.body[0] and ast.get_docstring(node)):
            first = min([part.lineno, *(d.lineno for d in getattr(part, "decorator_list", []))])
            assert part.end_lineno
            hidden.update(range(first, part.end_lineno + 1))
    assert node.end_lineno
    visible = [lines[n - 1] for n in range(node.body[0].lineno, node.end_lineno + 1) if n not in hidden]
    text = re.sub(r"\n{3,}", "\n\n", "\n".join(visible).strip("\n"))
    text = re.sub(r"  # noqa: .*", "", text)
    return "" if all(not line.strip() or line.strip().startswith("#") for line in visible) else text


def _header(node: Function, module: str) -> str:
    """Return the signature as the source has it."""
    first = node.body[0].lineno
    text = textwrap.dedent("\n".join(_lines(module)[node.lineno - 1 : max(first - 1, node.lineno)]))
    return re.sub(r"\s*# noqa.*$", "", text.rstrip().removesuffix("..."), flags=re.MULTILINE).rstrip().rstrip(":")


def _constant(node: ast.stmt, module: str) -> str:
    """Return the assignment as the source has it, without its value where that is long."""
    assert isinstance(node, ast.Assign | ast.AnnAssign)
    assert node.end_lineno
    lines = _lines(module)[node.lineno - 1 : node.end_lineno]
    if len(lines) > MOST_LINES and isinstance(node, ast.AnnAssign):
        return f"{ast.unparse(node.target)}: {ast.unparse(node.annotation)} = …"
    return "\n".join(line.partition("  # ")[0] for line in lines)


def _remark(module: ModuleType, name: str) -> str:
    """Return what is said of a constant: below it, at the end of its line, or above it."""
    node, home = _definition(module, name), _home(module, name)
    body = _source(home).body
    match body[body.index(node) + 1 :][:1] if node in body else []:
        case [ast.Expr(value=ast.Constant(value=str(text)))]:
            return _prose(text)
    lines = _lines(home)
    assert node.end_lineno
    for line in lines[node.lineno - 1 : node.end_lineno]:
        if "  # " in line and "# noqa" not in line:
            comment = line.split("  # ", 1)[1]
            return f"{comment[0].upper()}{comment[1:]}."
    above = []
    for line in reversed(lines[: node.lineno - 1]):
        if not line.startswith("# ") or line.startswith("# ---"):
            break
        above.append(line.removeprefix("# "))
    return "\n".join(reversed(above))


def _summary(module: ModuleType, name: str) -> str:
    node = _definition(module, name)
    if isinstance(node, ast.ClassDef | Function):
        return _first_sentence(ast.get_docstring(node))
    return _first_sentence(_remark(module, name))


def _definition(module: ModuleType, name: str) -> ast.stmt:
    return next(node for node in _source(_home(module, name)).body if name in _names(node))


def _home(module: ModuleType, name: str) -> str:
    """Return the module in which the name is defined."""
    value = getattr(module, name)
    home = module.__name__
    if isinstance(value, type) or inspect.isroutine(value):
        home = value.__module__
    elif name not in {n for node in _source(home).body for n in _names(node)}:
        [home] = [
            f"{node.module}"
            for node in _source(home).body
            if isinstance(node, ast.ImportFrom) and name in {alias.asname or alias.name for alias in node.names}
        ]
    return home


def _class_node(kind: type) -> ast.ClassDef:
    return next(n for n in _source(kind.__module__).body if isinstance(n, ast.ClassDef) and n.name == kind.__name__)


def _names(node: ast.stmt) -> list[str]:
    match node:
        case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            return [name]
        case ast.AnnAssign(target=ast.Name(id=name)):
            return [name]
        case ast.Assign(targets=targets):
            return [t.id for t in targets if isinstance(t, ast.Name)]
    return []


@cache
def _lines(module: str) -> list[str]:
    file = importlib.import_module(module).__file__
    assert file
    return Path(file).read_text("utf-8").splitlines()


@cache
def _source(module: str) -> ast.Module:
    return ast.parse("\n".join(_lines(module)))


def _code(text: str) -> str:
    return f"```python\n{text}\n```"


def _prose(docstring: str | None) -> str:
    """Return a docstring as Markdown: sections of Google's style become lists."""
    lines = []
    in_section = False
    for line in inspect.cleandoc(docstring or "").splitlines():
        if re.fullmatch(r"(Attributes|Args|Raises|Returns|Yields):", line):
            in_section = True
            lines += [f"{line}\n"]
        elif in_section and (item := re.fullmatch(r" {4}(\w+): (.*)", line)):
            lines.append(f"- `{item[1]}`: {item[2]}")
        elif in_section and line.startswith("        "):
            lines.append(line.removeprefix("      "))
        else:
            in_section &= not line
            lines.append(line)
    return "\n".join(lines).strip()


def _first_sentence(text: Any) -> str:
    paragraph = " ".join(inspect.cleandoc(text or "").split("\n\n")[0].split())
    return re.split(r"(?<=\.)\s", paragraph)[0].replace("|", "\\|")


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    for old in target.glob("*.md"):
        old.unlink()
    for file_name, page in pages().items():
        (target / file_name).write_text(page, "utf-8")
