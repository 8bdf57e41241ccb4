"""docs/video.md: its program runs, its tables are those of the code, its text is vPDQ's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hashhub import vpdq
from hashhub.hashing import DEFAULT_LIMITS, video
from hashhub.hub import match
from hashhub.testing.videos import clip, encoded

PAGE = (Path(__file__).parents[2] / "docs/video.md").read_text("utf-8")


def test_the_program_prints_what_was_hashed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("av")
    [program] = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (tmp_path / "clip.mp4").write_bytes(encoded(clip(3, seconds=6, size=(160, 120))))
    monkeypatch.chdir(tmp_path)
    exec(program, {})  # noqa: S102 - the page's own
    assert capsys.readouterr().out.splitlines() == [
        "6 of 6 frames; nothing was skipped",
        "key frames alone were read, as was asked for: 3 of 6 frames were hashed",
    ]
    assert len(vpdq.parse((tmp_path / "clip.txt").read_text("ascii"))) == 6


def test_the_types_and_demuxers_are_those_of_the_code() -> None:
    told: dict[str, str] = {}
    for types, demuxers in re.findall(r"^\| (`video/.*?) \| .* \| ([\w, ]+) \|$", PAGE, re.MULTILINE):
        told |= dict.fromkeys(re.findall(r"`(video/[\w-]+)`", types), demuxers.split(",")[0])
    assert told == video._DEMUXERS


def test_the_limits_are_those_of_the_code() -> None:
    rows = re.findall(r"^\| `(\w+)`.*? \| ([\d,]+) \| .* \|$", PAGE, re.MULTILINE)
    assert {name: int(number.replace(",", "")) for name, number in rows} == {
        name: getattr(DEFAULT_LIMITS, name)
        for name in DEFAULT_LIMITS.__struct_fields__
        if "video" in name or name in ("max_pixels", "max_side")
    }
    assert f"{match._VIDEO_PIXELS // 1_000_000} million for each second" in " ".join(PAGE.split())


def test_the_text_is_vpdqs() -> None:
    [text] = re.findall(r"^```text\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert vpdq.render(vpdq.parse(text)) == text
