"""docs/hook/settings.md has every setting, and the programs of docs/hook/README.md run."""

from __future__ import annotations

import builtins
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from hashhub.desk.decision import WithoutAnswer
from hashhub.desk.settings import RecheckSettings, RecordsSettings
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


def _defaults() -> Iterator[tuple[str, str]]:
    """Yield each key of the settings, and its default as the page has it."""
    for section, of in SECTIONS.items():
        for field in msgspec.structs.fields(of):
            if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
                continue
            default = "required" if field.required else f"`{msgspec.json.encode(field.default).decode()}`"
            yield f"{section}.{field.name}" if section else field.name, default


def test_each_setting_is_told() -> None:
    table = PAGE.read_text("utf-8").split("\n| key | default | |\n")[1].split("\n\n")[0]
    assert re.findall(r"^\| `([\w.]+)` \| (.+?) \| .+ \|$", table, re.MULTILINE) == list(_defaults())


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
