"""Sample files are what they say, and nothing is overwritten."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from hashhub import connector
from hashhub.cli import main
from hashhub.hashes import distance
from hashhub.hashing import hash_media
from hashhub.model import Effort, Record


def test_the_list_holds_the_listed_upload_and_not_the_other(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["sample", str(tmp_path), "--json"])
    assert done.exit_code == 0, done.output
    assert {Path(json.loads(line)["file"]).name for line in done.output.splitlines()} == {
        "list.json", "sums.txt", "part1.txt", "part2.txt", "known.txt", "opinions.json", "listed.png", "unlisted.png",
        "liste.csv", "liste.xlsx", "liste.toml", "gb.csv", "careful.toml",
        "border.jpg", "screenshot.jpg", "cut.jpg", "turned.jpg",
        "us.json", "gb.toml", "nl.xml", "harmless.txt", "uploads.txt",
    }  # fmt: skip
    items = list(connector.get("vics").read(io.BytesIO((tmp_path / "list.json").read_bytes()), {}))
    listed = {h for item in items if isinstance(item, Record) for h in item.hashes}
    assert len(items) == 21
    for name, is_listed in (("listed", True), ("unlisted", False)):
        hashes = hash_media(tmp_path / f"uploads/{name}.png", algorithms=("MD5", "SHA1", "PDQ")).hashes
        assert set(hashes).issubset(listed) == is_listed


def test_altered_pictures_are_found_and_videos_are_written_where_they_are_asked_for(tmp_path: Path) -> None:
    pytest.importorskip("av")
    assert CliRunner().invoke(main, ["sample", str(tmp_path), "--videos"]).exit_code == 0
    [listed] = hash_media(tmp_path / "uploads/listed.png", algorithms=["PDQ"]).hashes
    for name, variant in (("border", "border-removed"), ("screenshot", "content-box"), ("turned", "as-stored")):
        query = hash_media(tmp_path / f"altered/{name}.jpg", algorithms=["PDQ"], effort=Effort.STANDARD).query()
        near = {v.variant for v in query.variants for h in v.hashes if distance(h, listed) <= 31}
        assert variant in near
        assert distance(query.hashes[0], listed) > 31
    videos = list((tmp_path / "videos").iterdir())
    assert len(videos) == 7
    assert all(hash_media(path).video_frames for path in videos)


def test_without_the_library_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    done = CliRunner().invoke(main, ["sample", str(tmp_path), "--videos"])
    assert done.exit_code == 1
    assert "hashhub[video]" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_german_list_says_the_same_as_a_workbook(tmp_path: Path) -> None:
    assert CliRunner().invoke(main, ["sample", str(tmp_path)]).exit_code == 0
    mapping = {"mapping": (tmp_path / "liste.toml").read_text("utf-8")}
    as_text, as_workbook = (
        list(connector.get("csv").read(io.BytesIO((tmp_path / name).read_bytes()), mapping))
        for name in ("liste.csv", "liste.xlsx")
    )
    refused = {i: one.reason for i, one in enumerate(as_text) if not isinstance(one, Record)}
    assert refused == {2: "EXCEL_MANGLED", 5: "DIGEST_WRONG_LENGTH"}
    for one, other in zip(as_text, as_workbook, strict=True):
        assert msgspec.structs.replace(one, position="") == msgspec.structs.replace(other, position="")


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text("mine")
    done = CliRunner().invoke(main, ["sample", str(tmp_path)])
    assert done.exit_code == 1
    assert (tmp_path / "list.json").read_text() == "mine"
    assert not (tmp_path / "sums.txt").exists()
