"""What edges keep, where it is damaged: told, and never taken for a beginning."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from hashhub.cli import main
from hashhub.errors import DataLoss
from hashhub.misp_feed import MISPFeed
from hashhub.peers.state import Peer, PeerState, begin
from hashhub.sources.settings import path_of
from hashhub.sources.state import SourceState
from hashhub.state_file import StateFile


def peer(directory: Path) -> StateFile:
    if not (directory / "x.db").exists():
        begin(directory, Peer(name="x", hub="own", token="peer-x"))  # noqa: S106 - a name
    return PeerState(directory, "x")


def source(directory: Path) -> StateFile:
    added = [
        "source",
        "add",
        "misp",
        "x",
        "--dir",
        str(directory),
        "--url",
        "https://misp.example",
        "--hash-set",
        "a/b",
    ]
    CliRunner().invoke(main, added)
    return SourceState(path_of(directory, "x", ".db"))


def feed(directory: Path) -> StateFile:
    return MISPFeed(directory)


def file_of(directory: Path) -> Path:
    (file,) = directory.glob("*.db")
    return file


@pytest.mark.parametrize("make", [peer, source, feed])
def test_one_that_is_damaged_is_told_and_not_begun_anew(make: Callable[[Path], StateFile], tmp_path: Path) -> None:
    make(tmp_path).close()
    file = file_of(tmp_path)
    file.write_bytes(b"no database at all" * 1000)
    with pytest.raises(DataLoss, match=file.name):
        make(tmp_path).close()
    assert file.read_bytes().startswith(b"no database")


def test_a_damaged_source_is_listed_as_such(tmp_path: Path) -> None:
    source(tmp_path).close()
    file_of(tmp_path).write_bytes(b"no database at all" * 1000)
    done = CliRunner().invoke(main, ["source", "show", "x", "--dir", str(tmp_path), "--json"])
    assert (done.exit_code, "x.db" in json.loads(done.stdout)["error"]["message"]) == (1, True)
