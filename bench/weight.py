"""How much source there is, by package, and what became of it since another commit.

    python -m bench.weight COMMIT                  # from COMMIT to HEAD; --to another, --json for programs

Source is hashhub, without the generated hashhub/v1, and the connectors. Code lines are those that hold neither nothing,
nor a comment, nor a docstring alone; physical lines are all. A line that left the source and came to another place in
the same range (tests, bench, templates, data) is moved, not gone: one of at least 20 characters wherever it came to,
and a shorter one where git takes the other file for the same one, renamed or copied.
"""

from __future__ import annotations

import argparse
import ast
import io
import subprocess
import tarfile
from collections import Counter, defaultdict
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Final

import msgspec

from hashhub.cli.terminal import coloured, print_json, say, table

_CONNECTORS: Final = "connectors"
_SHORTEST: Final = 20  # characters by which a line is known again elsewhere


class Weight(msgspec.Struct):
    """Lines of a package at both commits. `gone`: how many fewer there are, those that moved elsewhere left out."""

    package: str
    files: int = 0
    code_before: int = 0
    code: int = 0
    lines_before: int = 0
    lines: int = 0
    moved: int = 0
    gone: int = 0


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], check=True, stdout=subprocess.PIPE).stdout  # noqa: S607


def package_of(path: str) -> str | None:
    """Return which package of the source a file belongs to, None for one of anything else."""
    top, *parts = Path(path).parts
    if not path.endswith(".py") or parts[:1] == ["v1"] or top not in {"hashhub", _CONNECTORS}:
        return None
    return top if top == _CONNECTORS or len(parts) < 2 else f"{top}.{parts[0]}"


def texts_at(commit: str) -> dict[str, str]:
    """Return the files of a commit that are text, by path."""
    texts = {}
    with tarfile.open(fileobj=io.BytesIO(_git("archive", commit))) as archive:
        for member in archive:
            if member.isfile() and (file := archive.extractfile(member)) is not None:
                with suppress(UnicodeDecodeError):
                    texts[member.name] = file.read().decode()
    return texts


def code_lines(text: str) -> int:
    """Return how many lines of a module hold code."""
    words: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            words.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    numbered = enumerate(map(str.strip, text.splitlines()), 1)
    return sum(bool(line) and not line.startswith("#") and n not in words for n, line in numbered)


def _lines(text: str) -> Counter[str]:
    return Counter(filter(None, map(str.strip, text.splitlines())))


def weigh(before: str, after: str) -> list[Weight]:
    """Return the weight of each package at both commits, and that of all."""
    old, new = texts_at(before), texts_at(after)
    found: defaultdict[str, Weight] = defaultdict(lambda: Weight(""))
    left: defaultdict[str, Counter[str]] = defaultdict(Counter)  # what each package has no more
    came, arrived = Counter[str](), Counter[str]()  # in other files of the source, and outside it
    for path in old.keys() | new.keys():
        package, was, now = package_of(path), old.get(path, ""), new.get(path, "")
        came_here = _lines(now) - _lines(was)
        if package is None:
            arrived += came_here
            continue
        left[package] += _lines(was) - _lines(now)
        came += came_here
        weight = found[package]
        weight.files += path in new
        weight.lines_before += len(was.splitlines())
        weight.lines += len(now.splitlines())
        weight.code_before += code_lines(was)
        weight.code += code_lines(now)
    taken = _taken(before, after, old, new)
    rows = []
    for package, weight in sorted(found.items()):
        for line, number in left[package].items():
            inside = min(number, came[line])
            came[line] -= inside
            known = arrived[line] if len(line) >= _SHORTEST else min(arrived[line], taken[line])
            moved = min(number - inside, known)
            arrived[line] -= moved
            taken[line] -= moved
            weight.moved += moved
        weight.package, weight.gone = package, weight.lines_before - weight.lines - weight.moved
        rows.append(weight)
    numbers = Weight.__struct_fields__[1:]
    return [*rows, Weight("all", **{name: sum(getattr(row, name) for row in rows) for name in numbers})]


def _taken(before: str, after: str, old: dict[str, str], new: dict[str, str]) -> Counter[str]:
    """Return the lines that files outside the source have of those of the source that they were made of."""
    told = _git("diff", "-M", "-C", "--name-status", "-z", "--diff-filter=RC", before, after).decode().split("\0")
    pairs = zip(told[1::3], told[2::3], strict=False)
    shared = (_lines(old[a]) & _lines(new[b]) for a, b in pairs if package_of(a) and not package_of(b) and b in new)
    return sum(shared, Counter[str]())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit", help="the commit to compare with")
    parser.add_argument("--to", default="HEAD", help="the commit to weigh (HEAD)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    rows = weigh(options.commit, options.to)
    if options.json:
        print_json({"before": options.commit, "after": options.to, "packages": rows})
        return
    columns = ("package", "files", "code before", "code", "±", "lines before", "lines", "±", "moved", "gone")
    cells = [
        (r.package, r.files, f"{r.code_before:,}", f"{r.code:,}", f"{r.code - r.code_before:+,}",
         f"{r.lines_before:,}", f"{r.lines:,}", f"{r.lines - r.lines_before:+,}", f"{r.moved:,}", f"{r.gone:,}")
        for r in rows
    ]  # fmt: skip
    with redirect_stdout(io.StringIO()) as printed:
        table(columns, cells)
    styles = ["red" if r.lines > r.lines_before else "green" if r.lines < r.lines_before else "dim" for r in rows]
    for line, style in zip(printed.getvalue().splitlines(), ["bold white", *styles], strict=True):
        say(coloured(line, style))


if __name__ == "__main__":
    main()
