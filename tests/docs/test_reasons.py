"""docs/reasons.md has every reason code, and no other."""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

from hashhub import errors, hygiene
from hashhub.errors import HashHubError, Reason, StatusCode
from hashhub.trust import ReasonCode

ROOT = Path(__file__).parents[2]
CODE = re.compile(r"[A-Z][A-Z_]{2,}")

# Violations are made by these; so are, by the last, faults of hashes.
MAKERS = {"Violation", "field", "unknown_name", "_wrong", "_fault"}


def chapter(title: str) -> dict[str, list[str]]:
    """Return the rows of the chapter's table by their first cell."""
    page = (ROOT / "docs/reasons.md").read_text("utf-8")
    text = page.split(f"\n## {title}\n")[1].split("\n## ")[0]
    rows = [re.split(r" \| ", line.strip("| ")) for line in text.splitlines() if line.startswith("| `")]
    cells_by_code = {cells[0].strip("`"): cells[1:] for cells in rows}
    assert len(cells_by_code) == len(rows), f"a code stands twice in {title}"
    return cells_by_code


@functools.cache
def sources() -> list[ast.AST]:
    """Return all that the sources consist of."""
    paths = [path for folder in ("hashhub", "connectors") for path in (ROOT / folder).rglob("*.py")]
    texts = [path.read_text("utf-8") for path in paths if not {"v1", "testing"} & {*path.parts}]
    return [node for text in texts for node in ast.walk(ast.parse(text))]


def codes(node: ast.expr) -> set[str]:
    """Return the codes that an argument may be: a text, or one of two."""
    match node:
        case ast.Constant(value=str(text)) | ast.Attribute(value=ast.Name("Reason"), attr=text) if CODE.fullmatch(text):
            return {text}
        case ast.IfExp(body=body, orelse=orelse):
            return codes(body) | codes(orelse)
    return set()


def test_errors() -> None:
    rows = chapter("Errors")
    assert set(rows) == set(Reason)
    for reason, (code, meaning, remedy) in rows.items():
        assert code in set(StatusCode)
        assert meaning, reason
        assert remedy, reason
    assert {code for code, *_ in rows.values()} == set(StatusCode)
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, HashHubError):
            assert rows[kind.default_reason][0] == kind.code


def test_verdicts() -> None:
    assert set(chapter("Verdicts")) == set(ReasonCode)


def test_intake() -> None:
    assert chapter("Intake").keys() == {code.value for code in hygiene.Code}


def test_wrong_fields() -> None:
    used = {"INVALID"}  # the default
    for call in sources():
        if isinstance(call, ast.Call):
            name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            if name in MAKERS:
                for argument in [*call.args[1:], *(k.value for k in call.keywords if k.arg == "reason")]:
                    used |= codes(argument)
    assert set(chapter("Wrong fields")) == used


def test_every_code_is_given_somewhere() -> None:
    """A code that nothing gives is no code: in the sources there is a second mention of each, beside its definition."""
    mentions: dict[str, int] = {}
    for node in sources():
        match node:
            case ast.Attribute(attr=name) | ast.Constant(value=str(name)) if CODE.fullmatch(name):
                mentions[name] = mentions.get(name, 0) + 1
    made = {f"DIGEST_{reason}" for reason in ("EMPTY", "WRONG_LENGTH", "NOT_ENCODED")}  # in `connector.parse`
    for code in (*Reason, *ReasonCode, *hygiene.Code):
        assert mentions[code.value] > 1 or code.value in made, f"nothing gives {code.value}"
