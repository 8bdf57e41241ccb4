"""docs/match/video.md: its tables are those of the code, its text is vPDQ's. `test_handbook.py` runs what it shows."""

from __future__ import annotations

import re
from pathlib import Path

from hashhub import vpdq
from hashhub.hashing import DEFAULT_LIMITS, structure, video

PAGE = (Path(__file__).parents[2] / "docs/match/video.md").read_text("utf-8")


def test_the_types_and_demuxers_are_those_of_the_code() -> None:
    told: dict[str, str] = {}
    for types, demuxers in re.findall(r"^\| (`video/.*?) \| .* \| ([\w, ]+) \|$", PAGE, re.MULTILINE):
        told |= dict.fromkeys(re.findall(r"`(video/[\w-]+)`", types), demuxers.split(",")[0])
    assert told == video.DEMUXERS


def test_the_limits_are_those_of_the_code() -> None:
    rows = re.findall(r"^\| `(\w+)`.*? \| ([\d,]+) \| .* \|$", PAGE, re.MULTILINE)
    assert {name: int(number.replace(",", "")) for name, number in rows} == {
        name: getattr(DEFAULT_LIMITS, name)
        for name in DEFAULT_LIMITS.__struct_fields__
        if "video" in name or name in ("max_pixels", "max_side")
    }
    assert f"{structure.VIDEO_PIXELS // 1_000_000} million for each second" in " ".join(PAGE.split())


def test_the_text_is_vpdqs() -> None:
    [text] = re.findall(r"^```csv [^\n]*\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert vpdq.render(vpdq.parse(text)) == text
