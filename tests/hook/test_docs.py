"""docs/hook/settings.md has the table that is made from the settings, and the programs of docs/hook/README.md run."""

from __future__ import annotations

import ast
import builtins
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from hashhub.desk.decision import WithoutAnswer
from hashhub.desk.settings import DeskSettings, RecheckSettings, RecordsSettings
from hashhub.hook import settings

if TYPE_CHECKING:
    import pytest

    from hashhub.hook import HookSettings
    from tests.hook.conftest import Listed

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "hook/settings.md"
SECTIONS: dict[str, type[msgspec.Struct]] = {
    "": settings.HookSettings,
    "without_answer": WithoutAnswer,
    "recheck": RecheckSettings,
    "records": RecordsSettings,
}


def _told(of: type[msgspec.Struct]) -> dict[str, str]:
    """Return what stands below each field."""
    [body] = [node for node in ast.parse(inspect.getsource(of)).body if isinstance(node, ast.ClassDef)]
    told = {}
    for field, below in zip(body.body, body.body[1:], strict=False):
        match field, below:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                told[name] = " ".join(text.split())
    return told


def rows() -> Iterator[str]:
    """Yield the table's lines."""
    yield "| key | default | |"
    yield "|---|---|---|"
    for section, of in SECTIONS.items():
        told = _told(of) if of is not settings.HookSettings else _told(DeskSettings) | _told(of)
        for field in msgspec.structs.fields(of):
            if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
                continue
            default = "required" if field.required else f"`{msgspec.json.encode(field.default).decode()}`"
            name = f"{section}.{field.name}" if section else field.name
            text = told.get(field.name, "`allow`, `hold` or `block`; see above").replace("|", "\\|")
            yield f"| `{name}` | {default} | {text} |"


def test_each_setting_is_told() -> None:
    table = re.search(r"<!-- settings -->\n\n?(.*?)\n?<!-- /settings -->", PAGE.read_text("utf-8"), re.DOTALL)
    assert table is not None
    assert table[1].strip().splitlines() == list(rows()), "run: python -m tests.hook.test_docs"


def test_the_programs_run(
    listed: Listed,
    make_settings: Callable[..., HookSettings],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    of_test = make_settings()
    (tmp_path / "hook.toml").write_text(
        f'policy = "block"\nhub = "{of_test.hub}"\ntoken_file = "{of_test.token_file}"\nanswer_seconds = 20\n'
        '[without_answer]\nhub_away = "hold"\nunreadable = "hold"\ntoo_large = "hold"\nno_perceptual_hash = "allow"\n',
        "utf-8",
    )
    (tmp_path / "uploads").mkdir()
    (tmp_path / "uploads" / "listed.png").write_bytes(listed.known)
    monkeypatch.chdir(tmp_path)
    first, streamed = re.findall(
        r"^```python\n(.*?)^```$", (DOCS / "hook/README.md").read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    exec(first, {})  # noqa: S102 - as a reader would
    assert capsys.readouterr().out.startswith("BLOCK ")
    exec(streamed, {})  # noqa: S102 - likewise
    assert capsys.readouterr().out == "ALLOW\n"
    pieces = '(b"the bytes, ", b"as your framework gives them")'
    assert pieces in streamed
    monkeypatch.setattr(builtins, "pieces", [listed.known[:1000], listed.known[1000:]], raising=False)
    exec(streamed.replace(pieces, "pieces"), {})  # noqa: S102 - likewise
    assert capsys.readouterr().out == "BLOCK\n"


def write() -> None:
    """Put the table into the page."""
    text = PAGE.read_text("utf-8")
    table = "\n".join(rows())
    made = re.sub(
        r"<!-- settings -->.*<!-- /settings -->",
        lambda _: f"<!-- settings -->\n\n{table}\n\n<!-- /settings -->",
        text,
        flags=re.DOTALL,
    )
    PAGE.write_text(made, "utf-8")


if __name__ == "__main__":
    write()
