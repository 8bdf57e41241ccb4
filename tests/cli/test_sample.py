"""Sample files are what they say, and nothing is overwritten."""

from __future__ import annotations

import io
import json
from pathlib import Path

import msgspec
from click.testing import CliRunner

from hashhub import connector
from hashhub.cli import main
from hashhub.hashing import hash_media
from hashhub.model import Record


def test_the_list_holds_the_listed_upload_and_not_the_other(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["sample", str(tmp_path), "--json"])
    assert done.exit_code == 0, done.output
    assert {Path(json.loads(line)["file"]).name for line in done.output.splitlines()} == {
        "list.json", "sums.txt", "part1.txt", "part2.txt", "known.txt", "opinions.json", "listed.png", "unlisted.png",
        "liste.csv", "liste.xlsx", "liste.toml", "gb.csv", "careful.toml",
        "us.json", "gb.toml", "nl.xml", "harmless.txt", "uploads.txt",
    }  # fmt: skip
    items = list(connector.get("vics").read(io.BytesIO((tmp_path / "list.json").read_bytes()), {}))
    listed = {h for item in items if isinstance(item, Record) for h in item.hashes}
    assert len(items) == 21
    for name, is_listed in (("listed", True), ("unlisted", False)):
        hashes = hash_media((tmp_path / f"uploads/{name}.png").read_bytes(), algorithms=("MD5", "SHA1")).hashes
        assert set(hashes).issubset(listed) == is_listed


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
